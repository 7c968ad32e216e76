/*
 * The session: one row that says that this mount lives, measured by the server's clock. Whoever was
 * silent for `lock_timeout` is ended by others: then its locks and what it held are gone. If it lives
 * nevertheless it begins anew under its old number; the loss of locks is told by heartbeat, and until
 * that was heard nothing is written, for somebody may believe in a lock that others have by now.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backends/postgres/postgres.h"

/* ---- ids ------------------------------------------------------------------------------------ */

struct ids {
	uint64_t n, first, end;
};

static int reserve(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct ids *ids = arg;

	(void)b;
	return pfs_kv_reserve_ids(&c->sql, ids->n, &ids->first, &ids->end);
}

/* One statement, which takes no lock but that row's. If its answer is lost so are some numbers. */
int pg_reserve(struct pg_backend *b, uint64_t n)
{
	struct ids ids = {.n = n};
	int err = pg_read(b, reserve, &ids);

	if (!err)
		pfs_kv_add_ids(&b->kv, ids.first, ids.end);
	return err;
}

/* ---- beginning ------------------------------------------------------------------------------ */

struct begin {
	uint64_t id;
	int64_t last;
	unsigned sessions;
};

static struct pfs_kv_self self_of(const struct pg_backend *b)
{
	return (struct pfs_kv_self){.pid = getpid(),
				    .started = (int64_t)pfs_kv_process_started((uint64_t)getpid()),
				    .host = b->host};
}

static int begin(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	const struct pfs_kv_self self = self_of(b);
	struct begin *a = arg;
	unsigned dead = 0;
	int err;

	err = pfs_kv_session_reap(&b->kv, &c->sql, &self, &dead);
	if (!err)
		err = pfs_kv_session_end(&c->sql, a->id); /* a try whose answer was lost */
	if (!err)
		err = pfs_kv_session_add(&b->kv, &c->sql, a->id, &self);
	if (!err)
		err = pfs_kv_session_count(&b->kv, &c->sql, &a->sessions, NULL);
	b->kv.shared = a->sessions > 1;
	if (!err)
		err = pfs_kv_recover(&b->kv, &c->sql, dead > 0 && a->sessions == 1);
	if (!err)
		err = pfs_sql_later(&c->sql, KV_CHANGES_LAST, &a->last, "");
	c->told_sessions = true;
	return err;
}

static const struct pg_job begin_job = {.run = begin, .anonymous = true, .patient = true};

static int session_begin(struct pg_backend *b, struct begin *a)
{
	int err = pg_txn_locked(b, &begin_job, a);

	if (err == -EINPROGRESS)
		err = -EIO;
	if (!err)
		__atomic_store_n(&b->sessions, a->sessions, __ATOMIC_RELAXED);
	return err;
}

int pg_session_begin(struct pg_backend *b)
{
	struct begin a = {.id = 0};
	int err = 0;

	while (!err && !pfs_kv_take_ids(&b->kv, 1, &a.id))
		err = pg_reserve(b, 1);
	if (err)
		return err;
	b->kv.session = a.id;
	pthread_mutex_lock(&b->writer);
	err = session_begin(b, &a);
	pthread_mutex_unlock(&b->writer);
	if (!err)
		b->seen_change = (uint64_t)a.last;
	return err;
}

int pg_session_revive(struct pg_backend *b)
{
	struct begin a = {.id = b->kv.session};
	int err = 0;

	/* There was none while the server took no writes. */
	while (a.id == 0 && !err && !pfs_kv_take_ids(&b->kv, 1, &a.id))
		err = pg_reserve(b, 1);
	b->kv.session = a.id;
	if (!err)
		err = session_begin(b, &a);
	if (err)
		return err;
	pfs_log(PFS_LOG_WARN, "backend %s: this session was silent for too long and begins anew",
		b->base.name);
	__atomic_store_n(&b->revived, true, __ATOMIC_RELEASE);
	if (!__atomic_exchange_n(&b->has_locks, false, __ATOMIC_ACQ_REL))
		return 0;
	__atomic_store_n(&b->declared_dead, true, __ATOMIC_RELEASE);
	return -ESTALE;
}

/* ---- living --------------------------------------------------------------------------------- */

int pg_session_beat(struct pg_backend *b, struct pg_conn *c)
{
	unsigned sessions = 1;
	int err;

	err = pfs_kv_session_beat(&b->kv, &c->sql);
	if (!err)
		err = pfs_kv_session_count(&b->kv, &c->sql, &sessions, NULL);
	if (!err)
		__atomic_store_n(&b->sessions, sessions, __ATOMIC_RELAXED);
	return err;
}

static int reap(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	const struct pfs_kv_self self = {.host = b->host};
	unsigned *dead = arg;
	int err;

	err = pfs_kv_session_reap(&b->kv, &c->sql, &self, dead);
	if (!err && *dead > 0)
		err = pfs_kv_recover(&b->kv, &c->sql, false);
	c->told_sessions = *dead > 0;
	return err ? err : *dead == 0;
}

int pg_session_reap(struct pg_backend *b)
{
	static const struct pg_job job = {.run = reap, .patient = true};
	unsigned dead = 0;
	int err = pg_txn(b, &job, &dead);

	if (!err && dead > 0)
		pfs_wake_up(&b->house);
	return err;
}

static int recover(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	return pfs_kv_recover(&b->kv, &c->sql, *(bool *)arg);
}

int pg_session_recover(struct pg_backend *b)
{
	static const struct pg_job job = {.run = recover, .patient = true};
	bool scan = false;

	return pg_txn(b, &job, &scan);
}

/* ---- the end -------------------------------------------------------------------------------- */

static int end(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	(void)arg;
	b->flushed_usage = true;
	c->told_sessions = true;
	return pfs_kv_session_leave(&b->kv, &c->sql);
}

void pg_session_end(struct pg_backend *b)
{
	static const struct pg_job job = {.run = end};

	(void)pg_txn(b, &job, NULL);
}
