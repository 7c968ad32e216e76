/*
 * The two threads of a backend. The listening thread has a connection of its own: it hears when
 * others commit, reads what they changed and tells it, keeps the session alive, and says whether
 * the channel holds. The housekeeping thread sweeps and brings the pool back after an outage.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backends/postgres/postgres.h"

#define PING_PERIOD  (1 * NSEC_PER_SEC) /* a channel that is silent for so long is asked */
#define RETRY_PERIOD (200 * 1000000LL)
#define ACK_ROWS     64
#define HOUSE_PERIOD (200 * 1000000LL)
#define HOUSE_NICE   10
#define SWEEP_ROWS   256 /* in one transaction */
#define SWEEP_AHEAD  100 /* objects */
#define SWEEP_PAUSE  (2 * 1000000LL)
#define SWEEP_PERIOD (50 * 1000000LL) /* to see whether requests come */

static bool stopped(struct pg_backend *b)
{
	return __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE);
}

/* ---- catching up ---------------------------------------------------------------------------- */

void pg_watch_init(struct pg_backend *b)
{
	pthread_condattr_t attr;

	b->stop_fd = -1;
	pthread_mutex_init(&b->heard_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->heard_cond, &attr);
	pthread_condattr_destroy(&attr);
	pfs_wake_init(&b->house);
}

void pg_watch_release(struct pg_backend *b)
{
	pthread_cond_destroy(&b->heard_cond);
	pthread_mutex_destroy(&b->heard_lock);
	pfs_wake_release(&b->house);
}

/* What is asked for now is answered by reading the changes after this. */
static uint64_t asked_now(struct pg_backend *b)
{
	uint64_t asked;

	pthread_mutex_lock(&b->heard_lock);
	asked = b->asked;
	pthread_mutex_unlock(&b->heard_lock);
	return asked;
}

static void answer(struct pg_backend *b, uint64_t asked)
{
	pthread_mutex_lock(&b->heard_lock);
	if (asked > b->heard)
		b->heard = asked;
	pthread_cond_broadcast(&b->heard_cond);
	pthread_mutex_unlock(&b->heard_lock);
}

int pg_catch_up(struct pg_backend *b)
{
	int64_t until = pfs_monotonic_ns() + b->timeout;
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	uint64_t mine;
	int rc = 0;

	if (pg_readonly(b) || !b->threads)
		return 0;
	pthread_mutex_lock(&b->heard_lock);
	mine = ++b->asked;
	eventfd_write(b->stop_fd, 1);
	while (b->heard < mine && rc == 0)
		rc = pthread_cond_timedwait(&b->heard_cond, &b->heard_lock, &ts);
	rc = b->heard < mine ? -EHOSTDOWN : 0;
	pthread_mutex_unlock(&b->heard_lock);
	if (rc)
		pfs_error_text_set("the channel by which changes are told is down");
	return rc;
}

/* ---- listening ------------------------------------------------------------------------------ */

/* Say what was told; the connection needs no transaction. */
static int acknowledge(struct pg_backend *b, const struct pfs_kv_news *news)
{
	int err;

	err = pfs_kv_news_ack(&b->kv, &b->listener->sql, news, b->seen_change);
	if (!err)
		err = pg_drain(b->listener);
	b->unacked = 0;
	return err;
}

/*
 * Read and tell what others changed. The last row is read first: what is committed later is read
 * again the next time, and nothing is missed.
 */
static int tell_news(struct pg_backend *b)
{
	struct pfs_kv_news *news = calloc(1, sizeof(*news));
	const struct pfs_event all = {.type = PFS_EVENT_ALL};
	uint64_t seen = b->seen_change, before;
	int64_t last = 0;
	int err;

	if (!news)
		return -ENOMEM;
	err = pfs_sql_integer(&b->listener->sql, KV_CHANGES_LAST, &last, "");
	if (err >= 0)
		err = pfs_kv_news_read(&b->kv, &b->listener->sql, &seen, news);
	if (!err && (uint64_t)last > seen)
		seen = (uint64_t)last;
	if (!err) {
		before = b->seen_change;
		b->unacked += (unsigned)(seen - before);
		b->seen_change = seen;
		if (news->all)
			pfs_backend_notify(&b->base, &all, 1);
		if (news->n > 0)
			pfs_backend_notify(&b->base, news->events, news->n);
		if (news->gone.n > 0 || b->unacked > ACK_ROWS)
			err = acknowledge(b, news);
		if (err)
			b->seen_change = before; /* told again, and then held */
		if (news->by_client) {
			__atomic_store_n(&b->recover, true, __ATOMIC_RELEASE);
			pfs_wake_up(&b->house);
		}
	}
	pfs_kv_news_release(news);
	free(news);
	return err < 0 ? err : 0;
}

/* Take the notifications that came: has anybody else written, or come and gone? */
static int take_notifications(struct pg_backend *b, bool *foreign, bool *sessions)
{
	struct pg_conn *c = b->listener;
	char own[32];
	PGnotify *n;

	if (!PQconsumeInput(c->pq))
		return pg_lost(c, PQerrorMessage(c->pq));
	snprintf(own, sizeof(own), "%llu", (unsigned long long)b->kv.session);
	while ((n = PQnotifies(c->pq))) {
		if (strcmp(n->extra, own) != 0)
			*foreign = true;
		if (strncmp(n->extra, "sessions", 8) == 0)
			*sessions = true;
		PQfreemem(n);
	}
	if (PQstatus(c->pq) == CONNECTION_BAD)
		return pg_lost(c, PQerrorMessage(c->pq));
	return 0;
}

/* Open the channel; what was said while there was none is read afterwards. */
static int listen_begin(struct pg_backend *b)
{
	struct pg_conn *c = NULL;
	char sql[80];
	int err;

	err = pg_conn_open(b, false, &c);
	if (err)
		return err;
	snprintf(sql, sizeof(sql), "LISTEN %s", b->channel);
	err = pg_exec(c, sql, NULL);
	if (!err)
		err = pg_conn_prepare(c, false);
	if (err) {
		pg_conn_close(c);
		return err;
	}
	b->listener = c;
	err = tell_news(b);
	if (!err) {
		pg_trouble(b, NULL);
		pfs_backend_set_pushing(&b->base, true);
	}
	return err;
}

static void listen_end(struct pg_backend *b)
{
	if (!b->listener)
		return;
	pg_conn_close(b->listener);
	b->listener = NULL;
	pfs_backend_set_pushing(&b->base, false);
}

/* Rows that every session knows are of no use any more. */
static int trim(struct pg_backend *b)
{
	struct pfs_sql_conn *c = &b->listener->sql;
	int64_t least = 0;
	int err;

	err = pfs_sql_integer(c, KV_SESSION_ACKED, &least, "i", INT64_C(0));
	if (err == 1 && least > 0)
		err = pfs_sql_write(c, KV_CHANGES_TRIM, "i", least);
	return err < 0 ? err : pg_drain(b->listener);
}

/* The heartbeat of the session, and what is done as seldom. */
static int beat(struct pg_backend *b)
{
	const struct pfs_kv_news none = {.n = 0};
	int err;

	if (b->kv.session == 0)
		return 0;
	err = pg_session_beat(b, b->listener);
	if (err == -EROFS)
		return 0; /* asked again by the next beat */
	if (!err && pg_readonly(b))
		__atomic_store_n(&b->readonly, false, __ATOMIC_RELAXED);
	if (err == -ESTALE) {
		pthread_mutex_lock(&b->writer);
		(void)pg_session_revive(b);
		pthread_mutex_unlock(&b->writer);
		return 0;
	}
	if (!err)
		err = acknowledge(b, &none);
	if (!err)
		err = trim(b);
	if (!err && __atomic_load_n(&b->sessions, __ATOMIC_RELAXED) > 1)
		(void)pg_session_reap(b);
	return err;
}

/* Sleep until something is said, `until`, or the end: 1: something came. */
static int listen_wait(struct pg_backend *b, int64_t until)
{
	struct pollfd fds[2] = {{.fd = b->stop_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	int64_t left = until - pfs_monotonic_ns();
	eventfd_t ignored;

	if (b->listener)
		fds[1].fd = PQsocket(b->listener->pq);
	if (poll(fds, 2, left > 0 ? (int)(left / 1000000 + 1) : 0) < 0)
		return 0;
	if (fds[0].revents)
		eventfd_read(b->stop_fd, &ignored);
	return fds[1].revents != 0;
}

/* One round with a channel. */
static int listen_round(struct pg_backend *b, int64_t *ping_at, int64_t *beat_at)
{
	int64_t until = *ping_at < *beat_at ? *ping_at : *beat_at, now;
	bool foreign = false, sessions = false;
	uint64_t asked;
	int err;

	/* What came with the answers to the last round's questions is no longer in the socket. */
	err = take_notifications(b, &foreign, &sessions);
	if (!err && !foreign && !sessions) {
		(void)listen_wait(b, until);
		if (stopped(b))
			return 0;
		err = take_notifications(b, &foreign, &sessions);
	}
	asked = asked_now(b);
	foreign |= asked != b->heard;
	now = pfs_monotonic_ns();
	if (__atomic_exchange_n(&b->revived, false, __ATOMIC_ACQ_REL)) {
		const struct pfs_event all = {.type = PFS_EVENT_ALL};

		pfs_backend_notify(&b->base, &all, 1);
		foreign = true;
	}
	if (!err && (foreign || now >= *ping_at)) {
		err = tell_news(b);
		*ping_at = now + PING_PERIOD;
		if (!err)
			answer(b, asked);
	}
	if (!err && (sessions || now >= *beat_at)) {
		err = beat(b);
		*beat_at = pfs_monotonic_ns() + b->kv.lease / 4;
	}
	pg_ahead_clear(b->listener);
	return err;
}

static void *watch_main(void *arg)
{
	struct pg_backend *b = arg;
	int64_t ping_at = 0, beat_at = pfs_monotonic_ns() + b->kv.lease / 4;

	while (!stopped(b)) {
		int err;

		if (b->listener) {
			err = listen_round(b, &ping_at, &beat_at);
		} else {
			err = pg_readonly(b) ? 0 : listen_begin(b);
			ping_at = pfs_monotonic_ns() + PING_PERIOD;
		}
		if (err && !stopped(b)) {
			if (err == -EHOSTDOWN || !b->listener)
				pg_trouble(b, "%s", pfs_error_text());
			listen_end(b);
		}
		if (!b->listener)
			(void)listen_wait(b, pfs_monotonic_ns() + RETRY_PERIOD);
	}
	return NULL;
}

/* ---- sweeping ------------------------------------------------------------------------------- */

/* What is about to be swept is asked for with the lock. */
static int sweep_ahead(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	uint64_t ids[SWEEP_AHEAD];
	size_t n = 0, i;
	int err;

	(void)arg;
	pthread_mutex_lock(&b->kv.lock);
	for (i = b->kv.orphans.n; i > 0 && n < SWEEP_AHEAD; i--)
		ids[n++] = b->kv.orphans.v[i - 1].id;
	pthread_mutex_unlock(&b->kv.lock);
	err = pg_ahead(c, KV_SESSION_ACKED, "i", (int64_t)b->kv.session);
	for (i = 0; i < n && !err; i++) {
		err = pg_ahead(c, KV_GETATTR, "i", (int64_t)ids[i]);
		if (!err && b->kv.shared)
			err = pg_ahead(c, KV_HELD_ELSEWHERE, "ii", (int64_t)ids[i],
				       (int64_t)b->kv.session);
	}
	return err;
}

static int sweep_run(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct pfs_kv_sweep *s = arg;
	int err;

	pfs_kv_sweep_done(&b->kv, s, false); /* of a try that failed */
	err = pfs_kv_sweep_step(&b->kv, &c->sql, s, SWEEP_ROWS);
	return err ? err : !s->progress;
}

static int sweep_step(struct pg_backend *b, bool *more)
{
	static const struct pg_job job = {.ahead = sweep_ahead, .run = sweep_run};
	struct pfs_kv_sweep sweep = {0};
	int ret;

	pthread_mutex_lock(&b->writer);
	ret = pg_txn_locked(b, &job, &sweep);
	*more = pfs_kv_sweep_done(&b->kv, &sweep, ret == 0);
	pthread_mutex_unlock(&b->writer);
	return ret < 0 ? ret : 0;
}

int pg_sweep(struct pg_backend *b, int64_t until)
{
	bool more = pfs_kv_sweepable(&b->kv) > 0;
	int err = 0;

	while (more && !err && pfs_monotonic_ns() < until)
		err = sweep_step(b, &more);
	return err;
}

/* ---- housekeeping --------------------------------------------------------------------------- */

/* One round; how long until the next, at most. */
static int64_t house_round(struct pg_backend *b, struct pfs_kv_house *h)
{
	bool more = false;

	pfs_pool_probe(&b->pool);
	if (pfs_pool_down(&b->pool))
		return HOUSE_PERIOD;
	if (pg_readonly(b))
		return HOUSE_PERIOD;
	if (__atomic_exchange_n(&b->recover, false, __ATOMIC_ACQ_REL) && pg_session_recover(b) != 0)
		__atomic_store_n(&b->recover, true, __ATOMIC_RELEASE);
	if (!pfs_kv_sweep_time(&b->kv, __atomic_load_n(&b->committed, __ATOMIC_RELAXED), h))
		return h->since ? SWEEP_PERIOD : HOUSE_PERIOD;
	if (sweep_step(b, &more) != 0 || !more)
		return HOUSE_PERIOD;
	h->committed = __atomic_load_n(&b->committed, __ATOMIC_RELAXED); /* our own is no request */
	return SWEEP_PAUSE;
}

static void *house_main(void *arg)
{
	struct pg_backend *b = arg;
	struct pfs_kv_house h = {0};
	int64_t pause = HOUSE_PERIOD;

	/* Requests come first where processors are few; what nice refuses does no harm. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), HOUSE_NICE);
	while (pfs_wake_wait(&b->house, pause))
		pause = house_round(b, &h);
	return NULL;
}

/* ---- starting and stopping ------------------------------------------------------------------ */

int pg_threads_start(struct pg_backend *b)
{
	int err;

	b->stop = false;
	b->house.stop = false;
	b->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->stop_fd < 0)
		return -errno;
	err = pg_readonly(b) ? 0 : listen_begin(b); /* so that it pushes from the first call on */
	if (!err)
		err = -pthread_create(&b->watch_thread, NULL, watch_main, b);
	if (!err) {
		err = -pthread_create(&b->house_thread, NULL, house_main, b);
		b->threads = !err;
		if (err) {
			__atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
			eventfd_write(b->stop_fd, 1);
			pthread_join(b->watch_thread, NULL);
		}
	}
	if (err) {
		listen_end(b);
		close(b->stop_fd);
		b->stop_fd = -1;
	}
	return err;
}

void pg_threads_stop(struct pg_backend *b)
{
	if (!b->threads)
		return;
	__atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
	eventfd_write(b->stop_fd, 1);
	pfs_wake_stop(&b->house);
	pthread_join(b->watch_thread, NULL);
	pthread_join(b->house_thread, NULL);
	listen_end(b);
	close(b->stop_fd);
	b->stop_fd = -1;
	b->threads = false;
}
