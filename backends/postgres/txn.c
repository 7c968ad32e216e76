/*
 * Write transactions. Two exchanges each: BEGIN, the lock of the schema and the reads that are known
 * beforehand; then all writes and COMMIT. A connection that breaks before COMMIT was sent leaves
 * nothing behind, and the work is done again. One that breaks between COMMIT and its answer leaves
 * the question open: the lock, taken anew, says that the old transaction has ended, and the session's
 * row, in which each writes its number, how. So a late twin cannot land: either it has, and that is
 * the answer, or it never will.
 *
 * The first exchange has no effect, and the second is sent only after its answer: so what was begun
 * and given up cannot write anything, however late its commands arrive.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define PATIENCE (600 * NSEC_PER_SEC) /* of a patient job, for one answer */

/* ---- beginning and ending ------------------------------------------------------------------- */

static int note_sessions(struct pg_backend *b, struct pg_conn *c, int64_t n)
{
	__atomic_store_n(&b->sessions, n > 0 ? (unsigned)n : 1, __ATOMIC_RELAXED);
	return pfs_kv_session_shared(&b->kv, &c->sql, n > 1, &b->flushed_usage);
}

/* The first exchange. *xid: the transaction's number. -ESTALE: others ended the session. */
static int enter(struct pg_backend *b, struct pg_conn *c, const struct pg_job *job, void *arg,
		 int64_t *xid)
{
	struct pfs_sql_query *q = NULL;
	int64_t sessions = 0;
	bool own = false;
	int err;

	c->in_txn = true;
	c->told = c->told_sessions = false;
	b->kv.known_dir = 0;
	err = pg_queue(c, PG_STMT_BEGIN);
	if (!err && job->patient)
		err = pg_queue(c, PG_STMT_PATIENT);
	if (!err)
		err = pfs_sql_write(&c->sql, PG_STMT_LOCK, "i", b->lock_key);
	if (!err && job->ahead)
		err = job->ahead(b, c, arg);
	if (!err)
		err = pfs_sql_begin(&c->sql, PG_STMT_ENTER, &q, "i", (int64_t)b->kv.session);
	if (!err && pfs_sql_step(&c->sql, q) == 1) {
		*xid = c->sql.driver->integer(q, 0);
		sessions = c->sql.driver->integer(q, 1);
		own = c->sql.driver->integer(q, 2) != 0;
		if (c->sql.driver->integer(q, 3) != c->server)
			err = pg_shared(c);
	}
	pfs_sql_end(&c->sql, q);
	if (err)
		return err;
	pg_ahead_tails(c);
	if (job->anonymous)
		return 0;
	return own ? note_sessions(b, c, sessions) : -ESTALE;
}

static void roll_back(struct pg_backend *b, struct pg_conn *c)
{
	if (b->flushed_usage) {
		b->flushed_usage = false;
		b->kv.shared = false;
	}
	b->kv.known_dir = 0;
	if (c->lost || !c->in_txn)
		return;
	if (pg_queue(c, PG_STMT_ROLLBACK) == 0)
		(void)pg_drain(c);
	c->in_txn = false;
}

static int queue_notify(struct pg_backend *b, struct pg_conn *c)
{
	char who[32];
	int n = snprintf(who, sizeof(who), "%s%llu", c->told_sessions ? "sessions " : "",
			 (unsigned long long)b->kv.session);

	return pfs_sql_write(&c->sql, PG_STMT_NOTIFY, "tt", b->channel, strlen(b->channel), who,
			     (size_t)n);
}

static int commit(struct pg_backend *b, struct pg_conn *c)
{
	int err;

	err = pfs_sql_write(&c->sql, PG_STMT_DONE, "ii", (int64_t)b->kv.session,
			    (int64_t)++b->done);
	if (!err && (c->told || c->told_sessions))
		err = queue_notify(b, c);
	if (!err)
		err = pg_queue(c, PG_STMT_COMMIT);
	if (!err)
		err = pg_drain(c);
	if (!err)
		c->in_txn = false;
	return err;
}

static void committed(struct pg_backend *b, const struct pg_job *job, void *arg)
{
	__atomic_add_fetch(&b->committed, 1, __ATOMIC_RELAXED);
	if (pg_readonly(b))
		__atomic_store_n(&b->readonly, false, __ATOMIC_RELAXED); /* not any more */
	if (b->flushed_usage) {
		pfs_kv_usage_flushed(&b->kv);
		b->flushed_usage = false;
	}
	if (job->committed)
		job->committed(b, arg);
}

/* ---- once ----------------------------------------------------------------------------------- */

/* What became of the last transaction, `xid`, on one connection: 1, 0 or -errno. */
static int look_up(struct pg_backend *b, struct pg_conn *c, int64_t xid)
{
	int64_t status = 2;
	int err;

	c->in_txn = true;
	err = pg_queue(c, PG_STMT_BEGIN);
	if (!err)
		err = pfs_sql_write(&c->sql, PG_STMT_LOCK, "i", b->lock_key);
	if (!err)
		err = pg_drain(c);
	if (!err)
		err = pfs_sql_later(&c->sql, PG_STMT_STATUS, &status, "iii", xid,
				    (int64_t)b->kv.session, (int64_t)b->done);
	if (!err)
		err = pg_drain(c);
	/* "In the future": this server, which took over, has never heard of it. */
	if (err && !c->lost && strcmp(c->state, "22023") == 0)
		err = status = 0;
	if (!c->lost && pg_queue(c, PG_STMT_ROLLBACK) == 0)
		(void)pg_drain(c);
	c->in_txn = false;
	if (err)
		return err;
	return status == 2 ? -EINPROGRESS : (int)status;
}

/* COMMIT was sent and not answered: was it done? 1, 0, or -EINPROGRESS: nobody can tell. */
static int resolve(struct pg_backend *b, int64_t xid, int64_t deadline)
{
	struct pg_conn *c = NULL;
	int ret;

	do {
		ret = pg_get(b, deadline, &c);
		if (ret && ret != -EBUSY)
			break;
		if (!ret)
			ret = look_up(b, c, xid);
		pg_put(b, c);
		c = NULL;
	} while (ret < 0 && ret != -EINPROGRESS && pfs_monotonic_ns() < deadline);
	if (ret < 0)
		pfs_error_text_set("PostgreSQL: the connection broke at COMMIT, and it cannot be"
				   " learned whether that was done");
	return ret < 0 ? -EINPROGRESS : ret;
}

/* One try. *unknown: COMMIT was sent and not answered. */
static int attempt(struct pg_backend *b, struct pg_conn *c, const struct pg_job *job, void *arg,
		   int64_t *xid, bool *unknown)
{
	int ret;

	*unknown = false;
	if (job->patient)
		c->patience = PATIENCE;
	ret = enter(b, c, job, arg, xid);
	if (!ret)
		ret = job->run(b, c, arg);
	if (ret == 0) {
		ret = commit(b, c);
		*unknown = ret && c->lost;
		if (ret && !*unknown)
			roll_back(b, c);
	} else {
		roll_back(b, c);
	}
	return ret;
}

int pg_txn_locked(struct pg_backend *b, const struct pg_job *job, void *arg)
{
	int64_t deadline = pfs_monotonic_ns() + b->retry_timeout, xid = 0;
	bool again = true, unknown = false;
	struct pg_conn *c = NULL;
	int ret = 0;

	while (again) {
		if (!job->anonymous && __atomic_load_n(&b->declared_dead, __ATOMIC_ACQUIRE)) {
			pfs_error_text_set("this session was silent for too long: others ended it");
			return -ESTALE;
		}
		ret = pg_get(b, deadline, &c);
		if (ret)
			return ret;
		ret = attempt(b, c, job, arg, &xid, &unknown);
		again = ret < 0 && pg_again(c);
		pg_put(b, c);
		if (unknown) {
			ret = resolve(b, xid, deadline);
			again = ret == 0;
			if (ret < 0)
				b->flushed_usage = false; /* counted twice at worst, until a scan */
			ret = ret == 1 ? 0 : ret < 0 ? ret : -EHOSTDOWN;
			if (again)
				roll_back(b, &(struct pg_conn){.lost = true});
		}
		if (ret == -ESTALE && !job->anonymous) {
			ret = pg_session_revive(b);
			again = ret == 0;
			ret = ret ? ret : -ESTALE;
		}
		again = again && pfs_monotonic_ns() < deadline;
	}
	if (ret == 0)
		committed(b, job, arg);
	return ret;
}

int pg_txn(struct pg_backend *b, const struct pg_job *job, void *arg)
{
	int ret;

	pthread_mutex_lock(&b->writer);
	ret = pg_txn_locked(b, job, arg);
	pthread_mutex_unlock(&b->writer);
	if (ret == -EINPROGRESS)
		ret = -EIO;
	return ret < 0 ? ret : 0;
}

int pg_read(struct pg_backend *b, pg_read_fn fn, void *arg)
{
	int64_t deadline = pfs_monotonic_ns() + b->retry_timeout;
	struct pg_conn *c = NULL;
	bool again;
	int ret;

	do {
		ret = pg_get(b, deadline, &c);
		if (ret)
			return ret;
		ret = fn(b, c, arg);
		again = ret < 0 && pg_again(c);
		pg_put(b, c);
	} while (again && pfs_monotonic_ns() < deadline);
	return ret;
}
