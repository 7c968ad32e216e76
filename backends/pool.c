/*
 * The connection pool. The lock guards counters, the stack of idle connections and what is known of
 * the engine; opening and closing happen outside of it.
 *
 * There is trouble from a failed open, or a connection that was found broken, until the next open
 * that succeeds: retry_at is set, and only one thread at a time opens. The engine is down when in
 * trouble no connection is left that may be sound. A growing pool that the server turns away, while
 * others of its connections work, is in trouble but not down.
 *
 * Each loss starts a new generation. What was opened in an older one is not kept.
 */
#include "backends/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define POOL_DELAY_MIN (20 * 1000000LL)
#define POOL_DELAY_MAX NSEC_PER_SEC
#define POOL_PATIENCE  (20 * 1000000LL)	  /* before more than `size` are opened */
#define POOL_LINGER    (2 * NSEC_PER_SEC) /* before more than `size` idle ones are closed */

int pfs_pool_init(struct pfs_pool *p, const struct pfs_pool_ops *ops, void *arg, unsigned size,
		  unsigned overflow, int64_t grace)
{
	pthread_condattr_t attr;

	*p = (struct pfs_pool){
		.ops = ops, .arg = arg, .size = size, .overflow = overflow, .grace = grace};
	if (!size || size > PFS_POOL_MAX || overflow > PFS_POOL_MAX - size)
		return -EINVAL;
	p->idle = calloc(size + overflow, sizeof(*p->idle));
	p->busy = calloc(size + overflow, sizeof(*p->busy));
	if (!p->idle || !p->busy) {
		free(p->idle);
		free(p->busy);
		p->idle = NULL;
		return -ENOMEM;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void pfs_pool_release(struct pfs_pool *p)
{
	if (!p->idle)
		return;
	pfs_pool_drain(p);
	free(p->idle);
	free(p->busy);
	p->idle = NULL;
	p->busy = NULL;
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

/* ---- what is known of the engine; all with the lock ----------------------------------------- */

/* Whether a connection is open that was not lost with the others. Idle ones never were. */
static bool pool_has_sound(const struct pfs_pool *p)
{
	unsigned i;

	for (i = 0; i < p->nbusy; i++)
		if (p->busy[i].generation == p->generation)
			return true;
	return p->nidle > 0;
}

/* The next try: twice as late as the last one, plus or minus a quarter. */
static void pool_back_off(struct pfs_pool *p, int64_t now)
{
	int64_t delay = p->delay ? p->delay * 2 : POOL_DELAY_MIN;

	if (p->retry_at > now)
		return; /* of several that failed together one counts */
	if (delay > POOL_DELAY_MAX)
		delay = POOL_DELAY_MAX;
	p->delay = delay;
	p->retry_at = now + delay - delay / 4 + pfs_now_ns() % (delay / 2 + 1);
}

static void pool_try_failed(struct pfs_pool *p, int err)
{
	int64_t now = pfs_monotonic_ns();

	p->errors++;
	p->why = err;
	if (!p->down_since && !pool_has_sound(p))
		p->down_since = now;
	pool_back_off(p, now);
}

static void pool_reached(struct pfs_pool *p)
{
	p->retry_at = 0;
	p->delay = 0;
	p->down_since = 0;
	p->why = 0;
}

/* A new generation: takes the idle ones out, for the caller to close. */
static unsigned pool_renew(struct pfs_pool *p, struct pfs_pool_conn *taken)
{
	unsigned i, n = p->nidle;

	for (i = 0; i < n; i++)
		taken[i] = p->idle[i];
	p->nopen -= n;
	p->nidle = 0;
	p->low = 0;
	p->generation++;
	return n;
}

static void pool_lost(struct pfs_pool *p)
{
	int64_t now = pfs_monotonic_ns();

	if (!p->down_since)
		p->down_since = now;
	if (!p->retry_at)
		p->retry_at = now;
}

static bool pool_down_for_long(const struct pfs_pool *p, int64_t now)
{
	return p->down_since && p->why && now - p->down_since >= p->grace;
}

static bool pool_has_room(const struct pfs_pool *p)
{
	return p->nopen < p->size + p->overflow;
}

static bool pool_try_due(const struct pfs_pool *p, int64_t now)
{
	return !p->retry_at || (!p->trying && now >= p->retry_at);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Open one more. The lock is held on entry and return, not between. */
static int pool_open(struct pfs_pool *p, struct pfs_pool_conn *out)
{
	bool trying = p->retry_at != 0;
	int err;

	out->conn = NULL;
	out->generation = p->generation;
	if (trying)
		p->trying = true;
	p->nopen++;
	pthread_mutex_unlock(&p->lock);
	err = p->ops->open(p->arg, &out->conn);
	pthread_mutex_lock(&p->lock);
	if (trying)
		p->trying = false;
	if (err) {
		p->nopen--;
		pool_try_failed(p, err);
	} else {
		p->opened++;
		if (out->generation == p->generation)
			pool_reached(p);
	}
	if (p->nwaiting)
		pthread_cond_broadcast(&p->changed);
	return err;
}

/* ---- getting -------------------------------------------------------------------------------- */

/* Nothing is free and no try is due: 0 and when to look again, or the error to give up with. */
static int pool_how_long(const struct pfs_pool *p, int64_t deadline, int64_t now, int64_t *out)
{
	int64_t until = deadline;

	if (p->down_since && p->why && p->why != -EHOSTDOWN)
		return p->why;
	if (pool_down_for_long(p, now))
		return -EHOSTDOWN;
	if (now >= deadline)
		return p->down_since ? -EHOSTDOWN : -EBUSY;
	if (p->retry_at && !p->trying && pool_has_room(p) && p->retry_at < until)
		until = p->retry_at;
	if (p->down_since && p->why && p->grace < until - p->down_since)
		until = p->down_since + p->grace;
	*out = until;
	return 0;
}

static void pool_wait(struct pfs_pool *p, int64_t until)
{
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};

	p->nwaiting++;
	pthread_cond_timedwait(&p->changed, &p->lock, &ts);
	p->nwaiting--;
}

/* One look: 0 and the connection, -EAGAIN to look again, or the error. */
static int pool_look(struct pfs_pool *p, int64_t deadline, int64_t *since,
		     struct pfs_pool_conn *out)
{
	int64_t now, until;
	int err;

	if (p->nidle > 0) {
		*out = p->idle[--p->nidle];
		if (p->nidle < p->low)
			p->low = p->nidle;
		return 0;
	}
	now = pfs_monotonic_ns();
	if (!*since)
		*since = now;
	until = *since + POOL_PATIENCE < deadline ? *since + POOL_PATIENCE : deadline;
	if (p->nopen >= p->size && pool_has_room(p) && !p->retry_at && now < until) {
		/* Most often one comes back sooner than another is opened. */
		pool_wait(p, until);
		return -EAGAIN;
	}
	if (pool_has_room(p) && pool_try_due(p, now) && !(p->grace && pool_down_for_long(p, now))) {
		err = pool_open(p, out);
		return err == -EHOSTDOWN ? -EAGAIN : err;
	}
	err = pool_how_long(p, deadline, now, &until);
	if (err)
		return err;
	pool_wait(p, until);
	return -EAGAIN;
}

int pfs_pool_get(struct pfs_pool *p, int64_t deadline, void **out)
{
	struct pfs_pool_conn c;
	uint64_t waited = 0;
	int64_t since = 0;
	int err;

	pthread_mutex_lock(&p->lock);
	while ((err = pool_look(p, deadline, &since, &c)) == -EAGAIN)
		waited = 1;
	p->waits += waited;
	if (!err) {
		p->busy[p->nbusy++] = c;
		*out = c.conn;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

/* ---- giving back ---------------------------------------------------------------------------- */

static uint64_t pool_take_busy(struct pfs_pool *p, const void *conn)
{
	uint64_t generation;
	unsigned i = 0;

	while (p->busy[i].conn != conn)
		i++;
	generation = p->busy[i].generation;
	p->busy[i] = p->busy[--p->nbusy];
	return generation;
}

/*
 * With the lock: takes those out, for the caller to close, that are more than `size` and were idle
 * since the last look: the ones at the bottom of the stack.
 */
static unsigned pool_surplus(struct pfs_pool *p, struct pfs_pool_conn *taken)
{
	int64_t now = pfs_monotonic_ns();
	unsigned i, n = 0;

	if (now - p->low_since < POOL_LINGER)
		return 0;
	if (p->nidle > p->size)
		n = p->nidle - p->size < p->low ? p->nidle - p->size : p->low;
	for (i = 0; i < n; i++)
		taken[i] = p->idle[i];
	p->nidle -= n;
	p->nopen -= n;
	for (i = 0; i < p->nidle && n; i++)
		p->idle[i] = p->idle[i + n];
	p->low = p->nidle;
	p->low_since = now;
	return n;
}

static void pool_close(struct pfs_pool *p, const struct pfs_pool_conn *conns, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		p->ops->close(p->arg, conns[i].conn);
}

void pfs_pool_put(struct pfs_pool *p, void *conn, bool broken)
{
	struct pfs_pool_conn gone[PFS_POOL_MAX];
	uint64_t generation;
	unsigned n = 0;
	bool keep;

	if (!conn)
		return;
	pthread_mutex_lock(&p->lock);
	generation = pool_take_busy(p, conn);
	keep = !broken && generation == p->generation;
	if (keep)
		p->idle[p->nidle++] = (struct pfs_pool_conn){conn, generation};
	else
		p->nopen--;
	if (broken)
		p->errors++;
	if (broken && generation == p->generation) {
		n = pool_renew(p, gone);
		pool_lost(p);
	} else if (p->nidle > p->size) {
		n = pool_surplus(p, gone);
	}
	if (p->nwaiting && broken)
		pthread_cond_broadcast(&p->changed);
	else if (p->nwaiting)
		pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (!keep)
		p->ops->close(p->arg, conn);
	pool_close(p, gone, n);
}

/* ---- the rest ------------------------------------------------------------------------------- */

void pfs_pool_probe(struct pfs_pool *p)
{
	struct pfs_pool_conn c, gone[PFS_POOL_MAX];
	unsigned n;

	pthread_mutex_lock(&p->lock);
	if (p->down_since && pool_has_room(p) && pool_try_due(p, pfs_monotonic_ns()) &&
	    pool_open(p, &c) == 0) {
		p->busy[p->nbusy++] = c;
		pthread_mutex_unlock(&p->lock);
		pfs_pool_put(p, c.conn, false);
		return;
	}
	n = pool_surplus(p, gone);
	pthread_mutex_unlock(&p->lock);
	pool_close(p, gone, n);
}

bool pfs_pool_down(struct pfs_pool *p)
{
	bool down;

	pthread_mutex_lock(&p->lock);
	down = p->down_since != 0;
	pthread_mutex_unlock(&p->lock);
	return down;
}

void pfs_pool_drain(struct pfs_pool *p)
{
	struct pfs_pool_conn idle[PFS_POOL_MAX];
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = pool_renew(p, idle);
	if (p->nwaiting)
		pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pool_close(p, idle, n);
}

void pfs_pool_counts(struct pfs_pool *p, struct pfs_connections *out)
{
	pthread_mutex_lock(&p->lock);
	out->open += p->nopen;
	out->busy += p->nopen - p->nidle;
	out->limit += p->size + p->overflow;
	out->opened += p->opened;
	out->errors += p->errors;
	out->waits += p->waits;
	pthread_mutex_unlock(&p->lock);
}
