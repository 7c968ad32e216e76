/*
 * The writing connection: who has it, its transactions, group commit and sync.
 *
 * writer.lock guards who has the connection and is never held over I/O. A transaction notices at
 * its begin, by data_version, that another program wrote: it then knows exactly whether other
 * sessions are registered, and the watching thread is told to look what changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backends/sqlite/sqlite.h"

#define COMMIT_MAX_COST (8u << 20) /* bytes in one group */
#define LOG_FRAMES_MAX	65536	   /* 256 MiB: committers wait for the checkpoint */

static void commit_run(void *arg, struct pfs_commit_item **items, size_t n);

int sqlite_write_init(struct sqlite_backend *b)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&b->writer.lock, NULL);
	pthread_cond_init(&b->writer.cond, NULL);
	pthread_mutex_init(&b->ckpt_lock, NULL);
	pthread_mutex_init(&b->sync_lock, NULL);
	pthread_mutex_init(&b->drained_lock, NULL);
	pthread_mutex_init(&b->news_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->drained, &attr);
	pthread_condattr_destroy(&attr);
	return pfs_commit_init(&b->commit, commit_run, b, COMMIT_MAX_COST);
}

void sqlite_write_release(struct sqlite_backend *b)
{
	pfs_commit_release(&b->commit);
	pthread_cond_destroy(&b->drained);
	pthread_mutex_destroy(&b->drained_lock);
	pthread_mutex_destroy(&b->news_lock);
	pthread_mutex_destroy(&b->sync_lock);
	pthread_mutex_destroy(&b->ckpt_lock);
	pthread_cond_destroy(&b->writer.cond);
	pthread_mutex_destroy(&b->writer.lock);
}

/* ---- who has it ----------------------------------------------------------------------------- */

struct sqlite_conn *sqlite_writer_get(struct sqlite_backend *b, bool urgent)
{
	pthread_mutex_lock(&b->writer.lock);
	b->writer.urgent += urgent;
	while (b->writer.busy || (!urgent && b->writer.urgent > 0))
		pthread_cond_wait(&b->writer.cond, &b->writer.lock);
	b->writer.urgent -= urgent;
	b->writer.busy = true;
	pthread_mutex_unlock(&b->writer.lock);
	return b->conn;
}

struct sqlite_conn *sqlite_writer_try(struct sqlite_backend *b)
{
	bool got;

	pthread_mutex_lock(&b->writer.lock);
	got = !b->writer.busy && b->writer.urgent == 0;
	if (got)
		b->writer.busy = true;
	pthread_mutex_unlock(&b->writer.lock);
	return got ? b->conn : NULL;
}

void sqlite_writer_put(struct sqlite_backend *b)
{
	pthread_mutex_lock(&b->writer.lock);
	b->writer.busy = false;
	pthread_cond_broadcast(&b->writer.cond);
	pthread_mutex_unlock(&b->writer.lock);
}

/* ---- transactions --------------------------------------------------------------------------- */

/* Are other sessions registered now? Then what this one kept in memory while alone is written. */
static int count_sessions(struct sqlite_backend *b, struct sqlite_conn *c)
{
	bool own = true;
	unsigned n = 1;
	int err;

	err = pfs_kv_session_count(&b->kv, &c->sql, &n, &own);
	if (!err && !own && b->kv.session != 0)
		err = -ESTALE; /* others ended it */
	if (err)
		return err;
	__atomic_store_n(&b->sessions, n > 0 ? n : 1, __ATOMIC_RELAXED);
	return pfs_kv_session_shared(&b->kv, &c->sql, n > 1, &b->flushed_usage);
}

/*
 * SQLite's counter of changes as this connection has noticed them: our own commits count too, so it
 * is read after each transaction and compared at the begin of the next.
 */
static unsigned data_version(struct sqlite_backend *b)
{
	unsigned version = 0;

	sqlite3_file_control(b->conn->db, "main", SQLITE_FCNTL_DATA_VERSION, &version);
	return version;
}

/* Did somebody else write since our last transaction? With a read transaction just begun. */
static bool data_moved(struct sqlite_backend *b)
{
	unsigned version = data_version(b);
	bool moved = version != b->data_version;

	b->data_version = version;
	if (moved) {
		b->recount = true;
		b->kv.known_dir = 0;
		__atomic_store_n(&b->foreign, true, __ATOMIC_RELEASE);
		pfs_wake_up(&b->watch);
	}
	return moved;
}

bool sqlite_look(struct sqlite_backend *b)
{
	int64_t ignored;

	/* Any read makes the connection notice. */
	pfs_sql_integer(&b->conn->sql, SQLITE_STMT_DATA_VERSION, &ignored, "");
	return data_moved(b);
}

void sqlite_looked(struct sqlite_backend *b)
{
	unsigned version = data_version(b);

	if (version == b->data_version)
		return;
	b->data_version = version;
	b->recount = true;
	b->kv.known_dir = 0;
}

/* BEGIN IMMEDIATE, trying again while another program has the lock. */
static int begin_wait(struct sqlite_backend *b)
{
	int64_t until = pfs_monotonic_ns() + b->retry_timeout;
	int err;

	do {
		err = sqlite_run(b->conn, SQLITE_STMT_BEGIN);
	} while (err == -EBUSY && pfs_monotonic_ns() < until);
	return err;
}

/* One try; -ESTALE: others ended the session. */
static int txn_begin(struct sqlite_backend *b)
{
	int err;

	err = begin_wait(b);
	if (err)
		return err;
	data_moved(b);
	if (b->recount)
		err = count_sessions(b, b->conn);
	b->recount = err != 0;
	if (err)
		sqlite_txn_rollback(b);
	return err;
}

/*
 * Others ended the session, which was silent for too long: it begins anew. Its locks are lost; if it
 * had any, nothing is written until heartbeat has told that.
 */
static int revive(struct sqlite_backend *b)
{
	uint64_t id = b->kv.session;
	int err;

	err = sqlite_session_register(b, id);
	if (err) {
		b->kv.session = id;
		return err;
	}
	pfs_log(PFS_LOG_WARN, "backend %s: this session was silent for too long and begins anew",
		b->base.name);
	if (__atomic_exchange_n(&b->has_locks, false, __ATOMIC_ACQ_REL))
		__atomic_store_n(&b->declared_dead, true, __ATOMIC_RELEASE);
	__atomic_store_n(&b->revived, true, __ATOMIC_RELEASE);
	__atomic_store_n(&b->foreign, true, __ATOMIC_RELEASE);
	pfs_wake_up(&b->watch);
	return 0;
}

int sqlite_txn_begin(struct sqlite_backend *b)
{
	int err;

	if (b->readonly) {
		pfs_error_text_set("%s is read-only", b->path);
		return -EROFS;
	}
	if (!sqlite_file_same(b))
		return -ESTALE;
	if (!__atomic_load_n(&b->declared_dead, __ATOMIC_ACQUIRE)) {
		err = txn_begin(b);
		if (err != -ESTALE)
			return err;
		err = revive(b);
		if (err)
			return err;
	}
	if (!__atomic_load_n(&b->declared_dead, __ATOMIC_ACQUIRE))
		return txn_begin(b);
	pfs_error_text_set("this session was silent for too long: others ended it");
	return -ESTALE;
}

int sqlite_txn_commit(struct sqlite_backend *b)
{
	int err = sqlite_run(b->conn, SQLITE_STMT_COMMIT);

	if (err) {
		sqlite_txn_rollback(b);
		return err;
	}
	b->data_version = data_version(b);
	__atomic_add_fetch(&b->committed, 1, __ATOMIC_RELEASE);
	if (b->flushed_usage) {
		pfs_kv_usage_flushed(&b->kv);
		b->flushed_usage = false;
	}
	return 0;
}

void sqlite_txn_rollback(struct sqlite_backend *b)
{
	struct pfs_sql_query *q = NULL;

	if (b->flushed_usage) {
		b->flushed_usage = false;
		b->kv.shared = false;
	}
	b->recount = true;
	b->kv.known_dir = 0;
	if (sqlite3_get_autocommit(b->conn->db)) {
		b->data_version = data_version(b); /* SQLite has rolled back by itself */
		return;
	}
	if (pfs_sql_begin(&b->conn->sql, SQLITE_STMT_ROLLBACK, &q, "") == 0)
		sqlite3_step((sqlite3_stmt *)(void *)q);
	pfs_sql_end(&b->conn->sql, q);
	b->data_version = data_version(b);
}

int sqlite_txn(struct sqlite_backend *b, sqlite_txn_fn fn, void *arg)
{
	struct sqlite_conn *c = sqlite_writer_get(b, false);
	int err;

	err = sqlite_txn_begin(b);
	if (!err) {
		err = fn(b, c, arg);
		if (err)
			sqlite_txn_rollback(b);
		else
			err = sqlite_txn_commit(b);
	}
	sqlite_writer_put(b);
	return err;
}

int sqlite_reserve(struct sqlite_backend *b, uint64_t n)
{
	uint64_t first = 0, end = 0;
	int err;

	err = sqlite_txn_begin(b);
	if (err)
		return err;
	err = pfs_kv_reserve_ids(&b->conn->sql, n, &first, &end);
	if (err) {
		sqlite_txn_rollback(b);
		return err;
	}
	err = sqlite_txn_commit(b);
	if (!err)
		pfs_kv_add_ids(&b->kv, first, end);
	return err;
}

/* ---- group commit --------------------------------------------------------------------------- */

struct commit_work {
	struct sqlite_store *store;
	struct pfs_batch *batch;
};

/* Apply one batch of a group. alone: the whole transaction is undone when it fails. */
static int group_apply(struct sqlite_backend *b, struct pfs_kv_txn *t, struct commit_work *work,
		       bool alone, bool *unexpected)
{
	struct pfs_batch *batch = work->batch;
	uint64_t ns = work->store->ns;
	bool save = !alone && batch->nops > 1;
	struct pfs_kv_mark mark;
	int err = 0;

	*unexpected = false;
	pfs_kv_mark(t, ns, &mark);
	if (save)
		err = sqlite_run(b->conn, SQLITE_STMT_SAVE);
	if (!err)
		err = pfs_kv_apply(t, batch, unexpected);
	else
		*unexpected = true;
	if (*unexpected)
		return err;
	if (err)
		pfs_kv_undo(t, ns, &mark);
	if (save && err && sqlite_run(b->conn, SQLITE_STMT_UNDO) != 0)
		*unexpected = true;
	if (save && sqlite_run(b->conn, SQLITE_STMT_RELEASE) != 0)
		*unexpected = true;
	return *unexpected && !err ? -EIO : err;
}

/* Ids for the whole group, taken before the transaction so that a rollback gives none back. */
static int group_ids(struct sqlite_backend *b, struct pfs_commit_item **items, size_t n,
		     struct pfs_kv_txn *t)
{
	uint64_t want = 0;
	size_t i;
	int err = 0;

	for (i = 0; i < n; i++)
		want += pfs_kv_batch_ids(((struct commit_work *)items[i]->work)->batch);
	while (!err && !pfs_kv_take_ids(&b->kv, want, &t->next_id))
		err = sqlite_reserve(b, want);
	t->end_id = t->next_id + want;
	return err;
}

/*
 * Make sure, before COMMIT, that the database file can take what the transaction adds: a log that
 * cannot be moved into a full disk could not be begun anew either, and then nothing could be
 * removed. bytes: what the group brings.
 */
static int reserve_room(struct sqlite_backend *b, size_t bytes)
{
	int64_t pages = 0, size;
	int ret;

	b->unreserved += bytes;
	if (b->unreserved < SQLITE_GROWTH / 2)
		return 0;
	ret = pfs_sql_integer(&b->conn->sql, SQLITE_STMT_PAGE_COUNT, &pages, "");
	if (ret < 0)
		return ret;
	size = pages * SQLITE_PAGE + SQLITE_GROWTH;
	if (sqlite3_file_control(b->conn->db, "main", SQLITE_FCNTL_SIZE_HINT, &size) != SQLITE_OK) {
		pfs_error_text_set("no room for %s to grow", b->path);
		return -ENOSPC;
	}
	b->unreserved = 0;
	return 0;
}

/* One transaction with all items. Returns an error that concerns all of them. */
static int group_run(struct sqlite_backend *b, struct pfs_commit_item **items, size_t n)
{
	struct pfs_kv_txn t = {.kv = &b->kv, .c = &b->conn->sql};
	size_t i, good = 0, bytes = 0;
	bool unexpected = false;
	int err;

	err = group_ids(b, items, n, &t);
	if (!err)
		err = sqlite_txn_begin(b);
	if (err)
		goto out;
	for (i = 0; i < n; i++) {
		items[i]->err = group_apply(b, &t, items[i]->work, n == 1, &unexpected);
		if (unexpected)
			err = items[i]->err;
		if (unexpected)
			break;
		good += items[i]->err == 0;
		bytes += items[i]->cost;
	}
	if (!err && good > 0)
		err = pfs_kv_txn_finish(&t);
	if (!err && good > 0)
		err = reserve_room(b, bytes);
	if (err == -EIO)
		sqlite_note_damage(b, b->conn);
	if (err || good == 0)
		sqlite_txn_rollback(b);
	else
		err = sqlite_txn_commit(b);
	if (!err && good > 0)
		pfs_kv_txn_committed(&t);
out:
	if (t.end_id > 0)
		pfs_kv_return_ids(&b->kv, t.next_id, t.end_id);
	pfs_kv_txn_release(&t);
	return err;
}

/* The log is very long: wait until the housekeeping thread has shortened it, a while at most. */
static void wait_for_room(struct sqlite_backend *b)
{
	int64_t until = pfs_monotonic_ns() + 5 * NSEC_PER_SEC;
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	int rc = 0;

	if (__atomic_load_n(&b->wal_frames, __ATOMIC_RELAXED) < LOG_FRAMES_MAX)
		return;
	pfs_wake_up(&b->house);
	pthread_mutex_lock(&b->drained_lock);
	while (rc == 0 && __atomic_load_n(&b->wal_frames, __ATOMIC_RELAXED) >= LOG_FRAMES_MAX)
		rc = pthread_cond_timedwait(&b->drained, &b->drained_lock, &ts);
	pthread_mutex_unlock(&b->drained_lock);
}

static void group_fail(struct pfs_commit_item **items, size_t n, int err)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct pfs_batch *batch = ((struct commit_work *)items[i]->work)->batch;

		items[i]->err = err;
		pfs_msg_set(&batch->msg, "%s", pfs_error_text());
	}
}

static void commit_run(void *arg, struct pfs_commit_item **items, size_t n)
{
	struct sqlite_backend *b = arg;
	size_t i;
	int err;

	wait_for_room(b);
	sqlite_writer_get(b, false);
	err = group_run(b, items, n);
	if (err == -ENOSPC) {
		sqlite_writer_put(b);
		sqlite_checkpoint(b);
		sqlite_sweep(b, pfs_monotonic_ns() + b->timeout);
		sqlite_checkpoint(b);
		sqlite_writer_get(b, false);
		err = group_run(b, items, n);
	}
	if (err && n > 1 && err != -EROFS && err != -ESTALE && err != -EBUSY) {
		for (i = 0; i < n; i++) {
			err = group_run(b, &items[i], 1);
			if (err)
				group_fail(&items[i], 1, err);
		}
	} else if (err) {
		group_fail(items, n, err);
	}
	sqlite_writer_put(b);
}

int sqlite_commit(struct sqlite_backend *b, struct sqlite_store *s, struct pfs_batch *batch)
{
	struct commit_work work = {.store = s, .batch = batch};
	struct pfs_commit_item item = {.work = &work};
	int err;

	item.cost = pfs_kv_batch_cost(batch);
	err = pfs_commit_submit(&b->commit, &item);
	if (err && batch->msg.text[0])
		pfs_error_text_set("%s", batch->msg.text);
	return err;
}

/* ---- sync ----------------------------------------------------------------------------------- */

/*
 * What is committed is in the log or, checkpointed and synced by SQLite, in the database file: so
 * syncing the log makes all of it durable. One call serves all that wait for it.
 */
int sqlite_sync(struct sqlite_backend *b)
{
	uint64_t want = __atomic_load_n(&b->committed, __ATOMIC_ACQUIRE), now;
	int err = 0;

	pthread_mutex_lock(&b->sync_lock);
	if (b->synced < want) {
		now = __atomic_load_n(&b->committed, __ATOMIC_ACQUIRE);
		if (b->wal_fd >= 0 && fdatasync(b->wal_fd) != 0) {
			err = -errno;
			pfs_error_text_set("%s: %s", b->wal_path, strerror(-err));
			pfs_log(PFS_LOG_ERROR, "%s: %s", b->wal_path, strerror(-err));
			if (err != -ENOSPC && err != -EDQUOT)
				err = -EIO;
		} else {
			b->synced = now;
		}
	}
	pthread_mutex_unlock(&b->sync_lock);
	return err;
}
