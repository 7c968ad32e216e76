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
#define HOUSE_PERIOD	(250 * 1000000LL)
#define CHECKPOINT_LATE 400 /* so few may be moved while committers wait */
#define HOUSE_NICE	10
#define SWEEP_ROWS	128 /* in one transaction */
#define SWEEP_PAUSE	(1 * 1000000LL)
#define SWEEP_PERIOD	(50 * 1000000LL) /* to see whether requests come */

/* ---- what others changed -------------------------------------------------------------------- */

static int acknowledge(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	const struct pfs_kv_news *news = arg;
	int64_t least = 0;
	int ret;

	ret = pfs_kv_news_ack(&b->kv, &c->sql, news, b->seen_change);
	if (ret >= 0)
		ret = pfs_sql_integer(&c->sql, KV_SESSION_ACKED, &least, "i", INT64_C(0));
	if (ret >= 0)
		ret = pfs_sql_write(&c->sql, KV_CHANGES_TRIM, "i", least);
	if (ret >= 0 && b->kv.shared)
		ret = pfs_kv_change_add(&b->kv, &c->sql, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	if (ret >= 0 && news->by_client)
		ret = pfs_kv_recover(&b->kv, &c->sql, false);
	b->unacked = 0;
	return ret < 0 ? ret : 0;
}

/* Somebody wrote: tell it, and let the others know that it was told. */
static void tell_news(struct sqlite_backend *b)
{
	struct pfs_kv_news *news = calloc(1, sizeof(*news));
	const struct pfs_event all = {.type = PFS_EVENT_ALL};
	unsigned sessions = 1;
	bool ack;

	pthread_mutex_lock(&b->news_lock);
	if (!news || !__atomic_exchange_n(&b->foreign, false, __ATOMIC_ACQ_REL))
		goto out;
	sqlite_writer_get(b, true);
	(void)pfs_kv_news_read(&b->kv, &b->conn->sql, &b->seen_change, news);
	sqlite_looked(b);
	if (news->rows == 0 || __atomic_exchange_n(&b->revived, false, __ATOMIC_ACQ_REL))
		news->all = true; /* past the view and us: anything may be different */
	b->unacked += (unsigned)news->seen;
	if (pfs_kv_session_count(&b->kv, &b->conn->sql, &sessions, NULL) == 0)
		__atomic_store_n(&b->sessions, sessions > 0 ? sessions : 1, __ATOMIC_RELAXED);
	ack = news->by_client || (sessions > 1 && news->foreign) || b->unacked > 64;
	sqlite_writer_put(b);
	if (news->all)
		pfs_backend_notify(&b->base, &all, 1);
	if (news->n > 0)
		pfs_backend_notify(&b->base, news->events, news->n);
	if (ack && !b->readonly)
		sqlite_txn(b, acknowledge, news);
	if (news->by_client)
		pfs_wake_up(&b->house);
	pfs_kv_news_release(news);
out:
	pthread_mutex_unlock(&b->news_lock);
	free(news);
}

void sqlite_catch_up(struct sqlite_backend *b)
{
	sqlite_writer_get(b, true);
	sqlite_look(b);
	sqlite_writer_put(b);
	tell_news(b);
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
		pfs_wake_up(&b->house);
	}
	return err;
}

static void *watch_main(void *arg)
{
	struct sqlite_backend *b = arg;
	int64_t beat_at = pfs_monotonic_ns() + b->kv.lease / 4, exchange_at = 0;

	while (pfs_wake_wait(&b->watch, WATCH_PERIOD)) {
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
			(void)sqlite_beat(b); /* that others ended the session it mends itself */
			beat_at = pfs_monotonic_ns() + b->kv.lease / 4;
		}
	}
	return NULL;
}

/* ---- housekeeping --------------------------------------------------------------------------- */

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

/* One round; how long until the next, at most. */
static int64_t house_round(struct sqlite_backend *b, struct pfs_kv_house *h)
{
	bool more = false;

	if (!sqlite_is_open(b) || b->readonly || __atomic_load_n(&b->moved, __ATOMIC_RELAXED))
		return HOUSE_PERIOD;
	if (__atomic_load_n(&b->wal_frames, __ATOMIC_RELAXED) >= SQLITE_CHECKPOINT_AT)
		sqlite_checkpoint(b);
	(void)sqlite_dirtimes(b); /* what fails waits for the next round */
	if (!pfs_kv_sweep_time(&b->kv, __atomic_load_n(&b->committed, __ATOMIC_RELAXED), h))
		return h->since ? SWEEP_PERIOD : HOUSE_PERIOD;
	if (sweep_step(b, &more) != 0 || !more)
		return HOUSE_PERIOD;
	h->committed = __atomic_load_n(&b->committed, __ATOMIC_RELAXED); /* our own is no request */
	return SWEEP_PAUSE;
}

static void *house_main(void *arg)
{
	struct sqlite_backend *b = arg;
	struct pfs_kv_house h = {0};
	int64_t pause = HOUSE_PERIOD;

	/* Requests come first where processors are few; what nice refuses does no harm. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), HOUSE_NICE);
	while (pfs_wake_wait(&b->house, pause)) {
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
		pfs_wake_stop(&b->watch);
		pthread_join(b->watch_thread, NULL);
	}
	b->threads = !err;
	return err;
}

void sqlite_threads_stop(struct sqlite_backend *b)
{
	if (!b->threads)
		return;
	pfs_wake_stop(&b->watch);
	pfs_wake_stop(&b->house);
	pthread_join(b->watch_thread, NULL);
	pthread_join(b->house_thread, NULL);
	b->threads = false;
}
