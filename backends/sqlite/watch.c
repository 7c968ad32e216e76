/*
 * The two threads of a backend. The watching thread looks every 20 ms whether another program
 * wrote, tells what it was, keeps the session alive and notices that the file was exchanged. The
 * housekeeping thread moves the log into the database file, so that requests do not, and sweeps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "backends/sqlite/sqlite.h"

#define WATCH_PERIOD	(20 * 1000000LL)
#define BEAT_PERIOD	(5 * NSEC_PER_SEC)
#define HOUSE_PERIOD	(250 * 1000000LL)
#define CHECKPOINT_LATE 400 /* so few may be moved while committers wait */
#define HOUSE_NICE	10
#define SWEEP_ROWS	128 /* in one transaction */
#define SWEEP_PAUSE	(1 * 1000000LL)
#define SWEEP_PERIOD	(50 * 1000000LL) /* to see whether requests come */
#define SWEEP_LATEST	(5 * NSEC_PER_SEC)
#define SWEEP_MANY	20000 /* objects and contents */
#define EVENTS_MAX	1000  /* in one go */

/* ---- sleeping and waking -------------------------------------------------------------------- */

void sqlite_wake_init(struct sqlite_wake *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	w->asked = w->stop = false;
}

void sqlite_wake_release(struct sqlite_wake *w)
{
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
}

void sqlite_wake(struct sqlite_wake *w)
{
	pthread_mutex_lock(&w->lock);
	w->asked = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

/* Sleep at most `ns`; false: the thread is to end. */
static bool wake_wait(struct sqlite_wake *w, int64_t ns)
{
	int64_t until = pfs_monotonic_ns() + ns;
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	int rc = 0;
	bool go_on;

	pthread_mutex_lock(&w->lock);
	while (!w->asked && !w->stop && rc == 0)
		rc = pthread_cond_timedwait(&w->cond, &w->lock, &ts);
	w->asked = false;
	go_on = !w->stop;
	pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void wake_stop(struct sqlite_wake *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

/* ---- what others changed -------------------------------------------------------------------- */

struct news {
	struct pfs_event events[EVENTS_MAX];
	struct pfs_buf names;
	struct pfs_kv_ids gone; /* objects that lost their last name */
	size_t n, rows;
	bool all, foreign; /* foreign: other sessions or programs wrote rows */
	bool by_client;	   /* an SQL client removed something */
};

static enum pfs_event_type event_type(int64_t change)
{
	switch (change) {
	case KV_CHANGE_ENTRY:
		return PFS_EVENT_ENTRY;
	case KV_CHANGE_CONTENT:
		return PFS_EVENT_CONTENT;
	default:
		return PFS_EVENT_ATTR;
	}
}

/* One row of changes, by somebody else. */
static int news_add(struct news *news, struct pfs_sql_conn *c, struct pfs_sql_query *q)
{
	int64_t type = c->driver->integer(q, 2);
	struct pfs_bytes name = c->driver->bytes(q, 5);
	struct pfs_event *event;
	int err = 0;

	news->rows++;
	if (type == KV_CHANGE_NONE)
		return 0;
	news->foreign = true;
	if (type == KV_CHANGE_GONE) {
		news->by_client = news->by_client || c->driver->integer(q, 1) == 0;
		err = pfs_kv_ids_add(&news->gone, (uint64_t)c->driver->integer(q, 4));
	}
	if (err || news->n == EVENTS_MAX) {
		news->all = true;
		return err;
	}
	event = &news->events[news->n++];
	event->type = event_type(type);
	event->dir = (uint64_t)c->driver->integer(q, 3);
	event->id = (uint64_t)c->driver->integer(q, 4);
	event->name.len = name.len;
	event->name.p = (const char *)(uintptr_t)news->names.len; /* made a pointer at the end */
	pfs_buf_add(&news->names, name.p, name.len);
	return 0;
}

/* Read the rows of `changes` that were not seen yet; with the writing connection held. */
static int news_read(struct sqlite_backend *b, struct news *news)
{
	struct pfs_sql_conn *c = &b->conn->sql;
	struct pfs_sql_query *q = NULL;
	size_t i;
	int ret;

	ret = pfs_sql_begin(c, KV_CHANGES_AFTER, &q, "ii", (int64_t)b->seen_change,
			    INT64_C(1000000));
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		ret = 0;
		b->seen_change = (uint64_t)c->driver->integer(q, 0);
		b->unacked++;
		if ((uint64_t)c->driver->integer(q, 1) != b->kv.session)
			ret = news_add(news, c, q);
	}
	pfs_sql_end(c, q);
	for (i = 0; i < news->n; i++)
		news->events[i].name.p = news->names.data + (uintptr_t)news->events[i].name.p;
	if (news->rows == 0 || news->names.failed || ret)
		news->all =
			true; /* somebody wrote past the view and us: anything may be different */
	return ret;
}

static int acknowledge(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	const struct news *news = arg;
	int64_t ret = 0, least = 0;
	size_t i;

	for (i = 0; i < news->gone.n && ret >= 0; i++)
		if (b->kv.shared && pfs_kv_is_held(&b->kv, news->gone.v[i]))
			ret = pfs_sql_run(&c->sql, KV_HOLD_ADD, "ii", (int64_t)news->gone.v[i],
					  (int64_t)b->kv.session);
	if (ret >= 0)
		ret = pfs_sql_run(&c->sql, KV_SESSION_ACK, "ii", (int64_t)b->kv.session,
				  (int64_t)b->seen_change);
	if (ret >= 0)
		ret = pfs_sql_integer(&c->sql, KV_SESSION_ACKED, &least, "i", INT64_C(0));
	if (ret >= 0)
		ret = pfs_sql_run(&c->sql, KV_CHANGES_TRIM, "i", least);
	if (ret >= 0 && b->kv.shared)
		ret = pfs_kv_change_add(&b->kv, &c->sql, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	if (ret >= 0 && news->by_client)
		ret = pfs_kv_recover(&b->kv, &c->sql, false);
	b->unacked = 0;
	return ret < 0 ? (int)ret : 0;
}

/* Somebody wrote: tell it, and let the others know that it was told. */
static void tell_news(struct sqlite_backend *b)
{
	struct news *news = calloc(1, sizeof(*news));
	const struct pfs_event all = {.type = PFS_EVENT_ALL};
	unsigned sessions = 1;
	bool ack;

	if (!news || !__atomic_exchange_n(&b->foreign, false, __ATOMIC_ACQ_REL))
		goto out;
	sqlite_writer_get(b, true);
	news_read(b, news);
	if (pfs_kv_session_count(&b->conn->sql, &sessions) == 0)
		__atomic_store_n(&b->sessions, sessions > 0 ? sessions : 1, __ATOMIC_RELAXED);
	ack = news->by_client || (sessions > 1 && news->foreign) || b->unacked > 64;
	sqlite_writer_put(b);
	if (news->all)
		pfs_backend_notify(&b->base, &all, 1);
	else if (news->n > 0)
		pfs_backend_notify(&b->base, news->events, news->n);
	if (ack && !b->readonly)
		sqlite_txn(b, acknowledge, news);
	if (news->by_client)
		sqlite_wake(&b->house);
	free(news->gone.v);
	pfs_buf_release(&news->names);
out:
	free(news);
}

/* ---- the session ---------------------------------------------------------------------------- */

static int beat(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	unsigned *dead = arg;
	const struct pfs_kv_self self = {.host = b->host};
	int err;

	err = pfs_kv_session_beat(&b->kv, &c->sql);
	if (!err && b->kv.shared)
		err = pfs_kv_session_reap(&b->kv, &c->sql, &self, dead);
	if (!err && *dead > 0)
		err = pfs_kv_recover(&b->kv, &c->sql, false);
	return err;
}

int sqlite_beat(struct sqlite_backend *b)
{
	unsigned dead = 0;
	int err;

	if (b->readonly)
		return 0;
	err = sqlite_txn(b, beat, &dead);
	if (dead > 0) {
		sqlite_writer_get(b, false);
		b->recount = true;
		sqlite_writer_put(b);
		sqlite_wake(&b->house);
	}
	return err;
}

static void *watch_main(void *arg)
{
	struct sqlite_backend *b = arg;
	int64_t beat_at = pfs_monotonic_ns() + BEAT_PERIOD, exchange_at = 0;

	while (wake_wait(&b->watch, WATCH_PERIOD)) {
		if (!sqlite_is_open(b) || !sqlite_file_same(b) ||
		    __atomic_load_n(&b->moved, __ATOMIC_RELAXED)) {
			if (sqlite_is_open(b) || pfs_monotonic_ns() >= exchange_at)
				sqlite_file_exchange(b);
			exchange_at = pfs_monotonic_ns() + NSEC_PER_SEC / 4;
			continue;
		}
		if (sqlite_writer_try(b)) {
			sqlite_look(b);
			sqlite_writer_put(b);
		}
		if (__atomic_load_n(&b->foreign, __ATOMIC_ACQUIRE))
			tell_news(b);
		if (pfs_monotonic_ns() >= beat_at) {
			if (sqlite_beat(b) == -ESTALE)
				__atomic_store_n(&b->declared_dead, true, __ATOMIC_RELAXED);
			beat_at = pfs_monotonic_ns() + BEAT_PERIOD;
		}
	}
	return NULL;
}

/* ---- housekeeping --------------------------------------------------------------------------- */

/* What the housekeeping thread remembers. */
struct house {
	uint64_t committed; /* when it looked last */
	int64_t since;	    /* something waits to be swept; 0: nothing */
};

static int checkpoint_once(struct sqlite_backend *b, int *left)
{
	int frames = 0, done = 0, rc;

	rc = sqlite3_wal_checkpoint_v2(b->ckpt->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames,
				       &done);
	*left = frames - done;
	if ((rc & 0xff) == SQLITE_BUSY)
		return -EBUSY;
	return sqlite_error(b->ckpt->db, rc);
}

/*
 * Passive checkpoints run beside the committers until little is left; that is moved while they
 * wait, and the next commit begins the log anew.
 */
int sqlite_checkpoint(struct sqlite_backend *b)
{
	int left = 0, round = 0, err;
	sqlite3_file *file = NULL;

	pthread_mutex_lock(&b->ckpt_lock);
	do {
		err = checkpoint_once(b, &left);
	} while (!err && left > CHECKPOINT_LATE && ++round < 4);
	/* What was moved goes to the disk now, so that little is left to do while they wait. */
	sqlite3_file_control(b->ckpt->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
	if (!err && file && file->pMethods)
		file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
	if (!err) {
		sqlite_writer_get(b, true);
		err = checkpoint_once(b, &left);
		if (!err && left == 0)
			__atomic_store_n(&b->wal_frames, 0, __ATOMIC_RELAXED);
		sqlite_writer_put(b);
	}
	pthread_mutex_unlock(&b->ckpt_lock);
	pthread_mutex_lock(&b->drained_lock);
	pthread_cond_broadcast(&b->drained);
	pthread_mutex_unlock(&b->drained_lock);
	return err;
}

static int sweep_step(struct sqlite_backend *b, bool *more)
{
	struct pfs_kv_sweep sweep = {0};
	struct sqlite_conn *c = sqlite_writer_get(b, false);
	int err;

	err = sqlite_txn_begin(b);
	if (!err) {
		err = pfs_kv_sweep_step(&b->kv, &c->sql, &sweep, SWEEP_ROWS);
		if (err || !sweep.progress)
			sqlite_txn_rollback(b);
		else
			err = sqlite_txn_commit(b);
	}
	*more = pfs_kv_sweep_done(&b->kv, &sweep, !err && sweep.progress);
	sqlite_writer_put(b);
	return err;
}

int sqlite_sweep(struct sqlite_backend *b, int64_t until)
{
	bool more = pfs_kv_sweepable(&b->kv) > 0;
	int err = 0;

	while (more && !err && pfs_monotonic_ns() < until)
		err = sweep_step(b, &more);
	return err;
}

/* Write down the times of directories that wait. */
int sqlite_dirtimes(struct sqlite_backend *b)
{
	struct sqlite_conn *c;
	int err;

	if (b->readonly || !pfs_kv_dirtimes_waiting(&b->kv))
		return 0;
	c = sqlite_writer_get(b, false);
	err = sqlite_txn_begin(b);
	if (!err) {
		err = pfs_kv_dirtimes_flush(&b->kv, &c->sql);
		if (err)
			sqlite_txn_rollback(b);
		else
			err = sqlite_txn_commit(b);
	}
	if (!err)
		pfs_kv_dirtimes_flushed(&b->kv);
	sqlite_writer_put(b);
	return err;
}

/*
 * Is it time to sweep? Not while requests come, unless much waits or it has waited for long: then a
 * sweep would only delay them, and what it removes now is removed more cheaply in one go.
 */
static bool sweep_time(struct sqlite_backend *b, struct house *h)
{
	uint64_t committed = __atomic_load_n(&b->committed, __ATOMIC_RELAXED);
	bool quiet = committed == h->committed;
	size_t waiting = pfs_kv_sweepable(&b->kv);

	h->committed = committed;
	if (waiting == 0)
		h->since = 0;
	else if (h->since == 0)
		h->since = pfs_monotonic_ns();
	return waiting > 0 &&
	       (quiet || waiting > SWEEP_MANY || pfs_monotonic_ns() - h->since > SWEEP_LATEST);
}

/* One round; how long until the next, at most. */
static int64_t house_round(struct sqlite_backend *b, struct house *h)
{
	bool more = false;

	if (!sqlite_is_open(b) || b->readonly || __atomic_load_n(&b->moved, __ATOMIC_RELAXED))
		return HOUSE_PERIOD;
	if (__atomic_load_n(&b->wal_frames, __ATOMIC_RELAXED) >= SQLITE_CHECKPOINT_AT)
		sqlite_checkpoint(b);
	(void)sqlite_dirtimes(b); /* what fails waits for the next round */
	if (!sweep_time(b, h))
		return h->since ? SWEEP_PERIOD : HOUSE_PERIOD;
	if (sweep_step(b, &more) != 0 || !more)
		return HOUSE_PERIOD;
	h->committed = __atomic_load_n(&b->committed, __ATOMIC_RELAXED); /* our own is no request */
	return SWEEP_PAUSE;
}

static void *house_main(void *arg)
{
	struct sqlite_backend *b = arg;
	struct house h = {0};
	int64_t pause = HOUSE_PERIOD;

	/* Requests come first where processors are few; what nice refuses does no harm. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), HOUSE_NICE);
	while (wake_wait(&b->house, pause)) {
		pthread_rwlock_rdlock(&b->gate);
		pause = house_round(b, &h);
		pthread_rwlock_unlock(&b->gate);
	}
	return NULL;
}

/* ---- starting and stopping ------------------------------------------------------------------ */

int sqlite_threads_start(struct sqlite_backend *b)
{
	int err;

	b->watch.stop = b->house.stop = false;
	err = -pthread_create(&b->watch_thread, NULL, watch_main, b);
	if (err)
		return err;
	err = -pthread_create(&b->house_thread, NULL, house_main, b);
	if (err) {
		wake_stop(&b->watch);
		pthread_join(b->watch_thread, NULL);
	}
	b->threads = !err;
	return err;
}

void sqlite_threads_stop(struct sqlite_backend *b)
{
	if (!b->threads)
		return;
	wake_stop(&b->watch);
	wake_stop(&b->house);
	pthread_join(b->watch_thread, NULL);
	pthread_join(b->house_thread, NULL);
	b->threads = false;
}
