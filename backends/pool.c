/*
 * The connection pool. The lock guards counters and the stack of idle connections; opening and
 * closing happen outside of it.
 */
#include "backends/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define POOL_DELAY_MIN (20 * 1000000LL)
#define POOL_DELAY_MAX (5 * NSEC_PER_SEC)

int pfs_pool_init(struct pfs_pool *p, const struct pfs_pool_ops *ops, void *arg, unsigned size,
		  unsigned overflow)
{
	pthread_condattr_t attr;

	*p = (struct pfs_pool){.ops = ops, .arg = arg, .size = size, .overflow = overflow};
	p->idle = calloc(size + overflow + 1, sizeof(*p->idle));
	if (!p->idle)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->freed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void pfs_pool_release(struct pfs_pool *p)
{
	if (!p->idle)
		return;
	pfs_pool_drain(p);
	free(p->idle);
	p->idle = NULL;
	pthread_cond_destroy(&p->freed);
	pthread_mutex_destroy(&p->lock);
}

/* The next try: twice as late as the last one, plus or minus a quarter. */
static void pool_back_off(struct pfs_pool *p)
{
	int64_t delay = p->delay ? p->delay * 2 : POOL_DELAY_MIN;

	if (delay > POOL_DELAY_MAX)
		delay = POOL_DELAY_MAX;
	p->delay = delay;
	p->retry_at = pfs_monotonic_ns() + delay - delay / 4 + pfs_now_ns() % (delay / 2 + 1);
}

/* Open one more; the lock is held on entry and return, and the connection counted already. */
static int pool_open(struct pfs_pool *p, void **out)
{
	int err;

	pthread_mutex_unlock(&p->lock);
	err = p->ops->open(p->arg, out);
	pthread_mutex_lock(&p->lock);
	p->probing = false;
	if (err) {
		p->nopen--;
		p->errors++;
		pool_back_off(p);
		pthread_cond_signal(&p->freed);
	} else {
		p->opened++;
		p->retry_at = 0;
		p->delay = 0;
	}
	return err;
}

int pfs_pool_get(struct pfs_pool *p, int64_t deadline, void **out)
{
	struct timespec ts = {.tv_sec = deadline / NSEC_PER_SEC,
			      .tv_nsec = deadline % NSEC_PER_SEC};
	int err = -EAGAIN;

	pthread_mutex_lock(&p->lock);
	while (err == -EAGAIN) {
		if (p->nidle > 0) {
			*out = p->idle[--p->nidle];
			err = 0;
		} else if (p->retry_at && (p->probing || pfs_monotonic_ns() < p->retry_at)) {
			err = -EHOSTDOWN;
		} else if (p->nopen < p->size + p->overflow) {
			p->probing = p->retry_at != 0;
			p->nopen++;
			err = pool_open(p, out);
		} else {
			p->waits++;
			p->nwaiting++;
			if (pthread_cond_timedwait(&p->freed, &p->lock, &ts) == ETIMEDOUT &&
			    p->nidle == 0)
				err = -EBUSY;
			p->nwaiting--;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

void pfs_pool_put(struct pfs_pool *p, void *conn, bool broken)
{
	bool keep;

	if (!conn)
		return;
	pthread_mutex_lock(&p->lock);
	keep = !broken && (p->nopen <= p->size || p->nwaiting > 0);
	if (keep)
		p->idle[p->nidle++] = conn;
	else
		p->nopen--;
	if (broken)
		p->errors++;
	pthread_cond_signal(&p->freed);
	pthread_mutex_unlock(&p->lock);
	if (!keep)
		p->ops->close(p->arg, conn);
}

void pfs_pool_drain(struct pfs_pool *p)
{
	void *conn;

	do {
		conn = NULL;
		pthread_mutex_lock(&p->lock);
		if (p->nidle > 0) {
			conn = p->idle[--p->nidle];
			p->nopen--;
		}
		pthread_mutex_unlock(&p->lock);
		if (conn)
			p->ops->close(p->arg, conn);
	} while (conn);
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
