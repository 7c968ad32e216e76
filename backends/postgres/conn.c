/*
 * Connections: opening and setting up, waiting with a limit, and the one place where PostgreSQL's
 * SQLSTATEs become errnos. No text that leaves here has a password in it.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define SERVER_MIN    130000 /* pg_xact_status() with xid8 */
#define POOLER_ROUNDS 4

/* ---- errors --------------------------------------------------------------------------------- */

static void replace_all(char *text, size_t size, const char *secret)
{
	size_t len = secret ? strlen(secret) : 0;
	char *p;

	if (len == 0 || size == 0)
		return;
	for (p = strstr(text, secret); p; p = strstr(p + 1, secret)) {
		memmove(p + 1, p + len, strlen(p + len) + 1);
		*p = '*';
	}
}

static bool state_is(const char *state, const char *const *list)
{
	for (; *list; list++)
		if (strncmp(state, *list, strlen(*list)) == 0)
			return true;
	return false;
}

/* The server is away, coming, going, or has no room: the connection is of no use. */
static bool state_is_down(const char *state)
{
	static const char *const list[] = {"08",    "57P01", "57P02", "57P03", "57P04",
					   "57P05", "53300", "25P03", NULL};

	return state_is(state, list);
}

/* Somebody was in the way: the same may do the next time. */
static bool state_is_passing(const char *state)
{
	static const char *const list[] = {"40001", "40P01", "55P03", "57014", NULL};

	return state_is(state, list);
}

/* Tell it to the caller and, not too often, to the log. */
static void say(struct pg_conn *c, const char *state, const char *fmt, ...) PFS_PRINTF(3, 4);
static void say(struct pg_conn *c, const char *state, const char *fmt, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char logged[8];
	static int64_t logged_at;
	int64_t now = pfs_monotonic_ns();
	char text[400];
	va_list ap;
	bool log;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text[strcspn(text, "\n")] = '\0';
	replace_all(text, sizeof(text), c->b->password);
	if (c->pq)
		replace_all(text, sizeof(text), PQpass(c->pq));
	pfs_error_text_set("PostgreSQL: %s", text);
	pthread_mutex_lock(&lock);
	log = strcmp(logged, state) != 0 || now - logged_at > 10 * NSEC_PER_SEC;
	if (log) {
		snprintf(logged, sizeof(logged), "%s", state);
		logged_at = now;
	}
	pthread_mutex_unlock(&lock);
	if (log)
		pfs_log(state_is_passing(state) ? PFS_LOG_WARN : PFS_LOG_ERROR,
			"backend %s: PostgreSQL: %s (%s)", c->b->base.name, text, state);
}

int pg_lost(struct pg_conn *c, const char *why)
{
	if (!c->lost)
		say(c, "lost", "%s", why && why[0] ? why : "the connection broke");
	c->lost = true;
	__atomic_store_n(&c->b->pooler_known, false, __ATOMIC_RELAXED);
	return -EHOSTDOWN;
}

static int state_error(const char *state)
{
	if (state_is_down(state))
		return -EHOSTDOWN;
	if (state_is_passing(state))
		return -EBUSY;
	if (strcmp(state, "53100") == 0)
		return -ENOSPC;
	if (strcmp(state, "53200") == 0)
		return -ENOMEM;
	if (strcmp(state, "25006") == 0)
		return -EROFS;
	if (strcmp(state, "42501") == 0)
		return -EACCES;
	return -EIO;
}

/*
 * The connection is not the session that it was: a pooler gives its transactions to one session or
 * another. What was set up, prepared and listened for is with somebody else.
 */
int pg_shared(struct pg_conn *c)
{
	say(c, "pool",
	    "a pooler between gives each transaction another session of the server; persistfs needs"
	    " one of its own for each connection: pool_mode = session, or the server itself");
	c->lost = true;
	__atomic_store_n(&c->b->pooler_known, false, __ATOMIC_RELAXED);
	return -EIO;
}

/* A statement that was prepared is not there, or one that was not is: not our session. */
static bool state_is_shared(const char *state)
{
	return strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0;
}

int pg_error(struct pg_conn *c, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	int err;

	if (!state)
		return pg_lost(c, PQresultErrorMessage(res));
	snprintf(c->state, sizeof(c->state), "%s", state);
	if (state_is_shared(state))
		return pg_shared(c);
	err = state_error(state);
	say(c, state, "%s", text ? text : "an error without a text");
	if (err == -EROFS)
		__atomic_store_n(&c->b->readonly, true, __ATOMIC_RELAXED);
	if (err == -EHOSTDOWN ||
	    (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))) {
		c->lost = true;
		err = -EHOSTDOWN;
	}
	return err;
}

bool pg_again(const struct pg_conn *c)
{
	return c->lost || state_is_passing(c->state);
}

void pg_trouble(struct pg_backend *b, const char *fmt, ...)
{
	struct pfs_msg msg = {""};
	bool changed;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(msg.text, sizeof(msg.text), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_lock(&b->health_lock);
	changed = strcmp(msg.text, b->trouble.text) != 0;
	b->trouble = msg;
	pthread_mutex_unlock(&b->health_lock);
	if (changed && msg.text[0])
		pfs_log(PFS_LOG_ERROR, "backend %s: %s", b->base.name, msg.text);
	else if (changed)
		pfs_log(PFS_LOG_INFO, "backend %s: in order again", b->base.name);
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Wait until the socket is ready for one of `events`: 1, 0 after `until`, -1. */
static int wait_socket(PGconn *pq, short events, int64_t until)
{
	struct pollfd fd = {.fd = PQsocket(pq), .events = events};
	int64_t left;
	int n;

	do {
		left = until - pfs_monotonic_ns();
		n = poll(&fd, 1, left > 0 ? (int)((left + 999999) / 1000000) : 0);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Does the server answer at all? */
static bool answers(struct pg_backend *b)
{
	struct pg_conn *c = NULL;
	int err = pg_conn_open(b, false, &c);

	pg_conn_close(c);
	return err == 0;
}

/* Who has more patience than `timeout` asks each time whether the server is still there. */
int pg_wait(struct pg_conn *c, bool unsent, int64_t until)
{
	int64_t step = pfs_monotonic_ns() + c->b->timeout;
	char text[64];
	int n;

	n = wait_socket(c->pq, unsent ? POLLIN | POLLOUT : POLLIN, step < until ? step : until);
	if (n == 0 && step < until)
		return answers(c->b) ? 0 : pg_lost(c, "the server does not answer");
	if (n == 0) {
		snprintf(text, sizeof(text), "no answer within %.3g s", (double)c->patience / 1e9);
		return pg_lost(c, text);
	}
	if (n < 0 || !PQconsumeInput(c->pq))
		return pg_lost(c, PQerrorMessage(c->pq));
	return 0;
}

int pg_result(struct pg_conn *c, PGresult **out)
{
	int64_t until = 0;
	int err = 0, unsent;

	while (!err && PQisBusy(c->pq)) {
		if (until == 0)
			until = pfs_monotonic_ns() + c->patience;
		unsent = PQflush(c->pq);
		err = unsent < 0 ? pg_lost(c, PQerrorMessage(c->pq)) : pg_wait(c, unsent, until);
	}
	if (!err)
		*out = PQgetResult(c->pq);
	return err;
}

int pg_exec(struct pg_conn *c, const char *sql, PGresult **out)
{
	PGresult *res = NULL, *last = NULL;
	int err = 0, ret;

	if (!PQsendQuery(c->pq, sql))
		return pg_lost(c, PQerrorMessage(c->pq));
	do {
		ret = pg_result(c, &res);
		if (ret) {
			err = ret;
			break;
		}
		if (res && PQresultStatus(res) == PGRES_FATAL_ERROR && !err)
			err = pg_error(c, res);
		if (res) {
			PQclear(last);
			last = res;
		}
	} while (res && !c->lost);
	if (out && !err) {
		*out = last;
		last = NULL;
	}
	PQclear(last);
	return err;
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void ignore_notice(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

/* Words for libpq, from the options that were given. */
struct words {
	const char *keys[12], *values[12];
	int n;
};

static void word(struct words *w, const char *key, const char *value)
{
	if (!value || !value[0])
		return;
	w->keys[w->n] = key;
	w->values[w->n++] = value;
}

static void words_of(struct pg_backend *b, struct words *w, const char *seconds)
{
	static const char *const options[] = {"host", "port", "dbname", "user"};
	size_t i;

	*w = (struct words){.n = 0};
	word(w, "dbname", b->url); /* libpq takes it apart; what follows goes before its parts */
	for (i = 0; i < PFS_ARRAY_SIZE(options); i++)
		word(w, options[i], pfs_option_get(b->base.set, options[i])->str);
	word(w, "password", b->password);
	word(w, "connect_timeout", seconds);
	word(w, "fallback_application_name", "persistfs");
}

/* libpq tries several hosts one after the other only if it waits by itself. */
static bool several_hosts(const PGconn *pq)
{
	PQconninfoOption *info = PQconninfo((PGconn *)(uintptr_t)pq), *o;
	bool several = false;

	for (o = info; o && o->keyword; o++)
		if (strncmp(o->keyword, "host", 4) == 0 && o->val && strchr(o->val, ','))
			several = true;
	PQconninfoFree(info);
	return several;
}

static int connect_wait(struct pg_conn *c)
{
	int64_t until = pfs_monotonic_ns() + c->b->timeout;
	PostgresPollingStatusType st = PGRES_POLLING_WRITING;
	char text[64];

	while (st != PGRES_POLLING_OK) {
		if (PQstatus(c->pq) == CONNECTION_BAD || st == PGRES_POLLING_FAILED)
			return -ECONNREFUSED;
		if (wait_socket(c->pq, st == PGRES_POLLING_READING ? POLLIN : POLLOUT, until) ==
		    0) {
			snprintf(text, sizeof(text), "no connection within %.3g s",
				 (double)c->b->timeout / 1e9);
			return pg_lost(c, text);
		}
		st = PQconnectPoll(c->pq);
	}
	return 0;
}

/* What a refused connection means: try again, or something that a person must mend. */
static int connect_failed(struct pg_conn *c)
{
	static const char *const hopeless[] = {"authentication failed",
					       "no password supplied",
					       "does not exist",
					       "no pg_hba.conf entry",
					       "permission denied",
					       "is not permitted to log in",
					       "invalid ",
					       "missing \"=\"",
					       "definition of service",
					       "not currently accepting connections",
					       "does not support SSL",
					       "certificate verify failed",
					       "server certificate for",
					       NULL};
	const char *text = PQerrorMessage(c->pq);
	const char *sock = strstr(text, "No such file or directory");
	size_t i;

	for (i = 0; hopeless[i] && !sock; i++)
		if (strstr(text, hopeless[i])) {
			say(c, "conn", "%s", text);
			return -EACCES;
		}
	return pg_lost(c, text);
}

static int connect_server(struct pg_conn *c)
{
	char seconds[24];
	struct words w;
	int err = 0;

	snprintf(seconds, sizeof(seconds), "%lld",
		 (long long)((c->b->timeout + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
	words_of(c->b, &w, seconds);
	c->pq = PQconnectStartParams(w.keys, w.values, 1);
	if (!c->pq)
		return -ENOMEM;
	if (PQstatus(c->pq) != CONNECTION_BAD && several_hosts(c->pq)) {
		PQfinish(c->pq);
		c->pq = PQconnectdbParams(w.keys, w.values, 1);
		if (!c->pq)
			return -ENOMEM;
		if (PQstatus(c->pq) == CONNECTION_BAD)
			err = -ECONNREFUSED;
	} else {
		err = connect_wait(c);
	}
	if (err == -ECONNREFUSED)
		err = connect_failed(c);
	if (!err)
		PQsetnonblocking(c->pq, 1);
	return err;
}

/* ---- setting up ----------------------------------------------------------------------------- */

/*
 * Said by SET, which a pooler passes on. The limits are the server's own, so that a mount that
 * freezes cannot keep the lock. Look-ups are by index whatever the statistics say.
 */
static int set_up(struct pg_conn *c)
{
	struct pg_backend *b = c->b;
	long long ms = b->timeout / 1000000;
	PGresult *res = NULL;
	struct pfs_buf sql = {0};
	int err;

	if (ms < 1)
		ms = 1;
	pfs_buf_printf(&sql,
		       "SET client_encoding = 'UTF8'; SET search_path = %s;"
		       "SET statement_timeout = %lld; SET lock_timeout = %lld;"
		       "SET idle_in_transaction_session_timeout = %lld;"
		       "SET client_min_messages = error; SET plan_cache_mode = force_generic_plan;"
		       "SET enable_seqscan = off; SET enable_bitmapscan = off;"
		       "SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
		       "SELECT set_config('persistfs.session', '%llu', false),"
		       " current_setting('fsync'), current_setting('full_page_writes'),"
		       " current_setting('synchronous_commit'), current_setting('server_encoding'),"
		       " pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
		       b->ident, ms, ms > 1 ? ms - ms / 5 : 1, ms,
		       (unsigned long long)b->kv.session);
	err = sql.failed ? -ENOMEM : pg_exec(c, sql.data, &res);
	pfs_buf_release(&sql);
	if (!err && (PQntuples(res) != 1 || PQnfields(res) != 6))
		err = pg_lost(c, "an answer is missing");
	if (err) {
		PQclear(res);
		return err;
	}
	__atomic_store_n(&b->lazy_sync, strcmp(PQgetvalue(res, 0, 3), "off") == 0,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&b->readonly, PQgetvalue(res, 0, 5)[0] == 't', __ATOMIC_RELAXED);
	pthread_mutex_lock(&b->health_lock);
	pfs_msg_clear(&b->durable);
	if (strcmp(PQgetvalue(res, 0, 1), "off") == 0)
		pfs_msg_set(&b->durable, "the server runs with fsync = off");
	else if (strcmp(PQgetvalue(res, 0, 2), "off") == 0)
		pfs_msg_set(&b->durable, "the server runs with full_page_writes = off");
	pthread_mutex_unlock(&b->health_lock);
	if (strcmp(PQgetvalue(res, 0, 4), "UTF8") != 0) {
		pfs_error_text_set("PostgreSQL: database %s has encoding %s; persistfs needs UTF8",
				   PQdb(c->pq), PQgetvalue(res, 0, 4));
		err = -EINVAL;
	}
	PQclear(res);
	return err;
}

static int check_server(struct pg_conn *c)
{
	int version = PQserverVersion(c->pq);

	if (version >= SERVER_MIN)
		return 0;
	pfs_error_text_set("PostgreSQL: the server has version %d; persistfs needs %d or newer",
			   version / 10000, SERVER_MIN / 10000);
	return -EINVAL;
}

/* ---- poolers -------------------------------------------------------------------------------- */

/* Which session of the server is it that runs this? */
static int ask_session(struct pg_conn *c, const char *sql, int *out)
{
	PGresult *res = NULL;
	int err = pg_exec(c, sql, &res);

	if (!err && (PQntuples(res) != 1 || PQnfields(res) != 1))
		err = pg_lost(c, "an answer is missing");
	if (!err)
		*out = atoi(PQgetvalue(res, 0, 0));
	PQclear(res);
	return err;
}

/* A connection on which nothing was said yet that a session keeps. */
static int open_server(struct pg_backend *b, struct pg_conn **out)
{
	struct pg_conn *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->sql.driver = &pg_driver;
	c->b = b;
	c->patience = b->timeout;
	err = connect_server(c);
	if (!err) {
		PQsetNoticeProcessor(c->pq, ignore_notice, NULL);
		err = check_server(c);
	}
	if (!err)
		err = ask_session(c, "SELECT pg_backend_pid()", &c->server);
	if (err)
		pg_conn_close(c);
	else
		*out = c;
	return err;
}

/* Begin a transaction: it must be the session that it was. */
static int begin_same(struct pg_conn *c)
{
	int server = 0, err = ask_session(c, "BEGIN; SELECT pg_backend_pid()", &server);

	if (err && strcmp(c->state, "08P01") == 0) /* statements are lent, transactions refused */
		return pg_shared(c);
	return err ? err : server == c->server ? 0 : pg_shared(c);
}

/*
 * Transactions of two connections beside each other. Given back in this order, a pooler that lends by
 * the transaction has something else for whoever begins the next time.
 */
static int begin_both(struct pg_conn *first, struct pg_conn *second)
{
	int err = begin_same(first);

	if (!err)
		err = begin_same(second);
	if (!err)
		err = pg_exec(second, "ROLLBACK", NULL);
	return err ? err : pg_exec(first, "ROLLBACK", NULL);
}

/*
 * A pooler tells another number of the session than the server does. Whether it lends sessions for as
 * long as a connection lasts cannot be asked: a second connection must have a session of its own, and
 * both must keep theirs. That is tried once, until a connection breaks, and before the session is set
 * up: it may be others' as well.
 */
static int check_pooler(struct pg_conn *c)
{
	struct pg_conn *other = NULL;
	int err = 0, i;

	if (PQbackendPID(c->pq) == c->server ||
	    __atomic_load_n(&c->b->pooler_known, __ATOMIC_RELAXED))
		return 0;
	err = open_server(c->b, &other);
	if (!err && other->server == c->server)
		err = pg_shared(c);
	for (i = 0; i < POOLER_ROUNDS && !err; i++)
		err = i % 2 ? begin_both(other, c) : begin_both(c, other);
	pg_conn_close(other);
	if (!err)
		__atomic_store_n(&c->b->pooler_known, true, __ATOMIC_RELAXED);
	return err;
}

/* ---- preparing ------------------------------------------------------------------------------ */

/* ?NNN as $NNN. */
static void dollars(const char *sql, struct pfs_buf *out)
{
	for (; *sql; sql++)
		pfs_buf_add(out, *sql == '?' ? "$" : sql, 1);
}

int pg_send_prepare(struct pg_conn *c, unsigned stmt)
{
	const char *sql = pg_sql[stmt] ? pg_sql[stmt] : pfs_kv_sql[stmt];
	struct pfs_buf text = {0};
	char name[16];
	int ok;

	dollars(sql, &text);
	snprintf(name, sizeof(name), "s%u", stmt);
	ok = !text.failed && PQsendPrepare(c->pq, name, text.data, 0, NULL);
	pfs_buf_release(&text);
	return ok ? 0 : pg_lost(c, PQerrorMessage(c->pq));
}

/* One answer while statements are prepared. */
static int prepared(struct pg_conn *c, bool last, PGresult **keep)
{
	PGresult *res = NULL, *end = NULL;
	int err;

	err = pg_result(c, &res);
	if (!err && res && PQresultStatus(res) == PGRES_FATAL_ERROR)
		err = pg_error(c, res);
	else if (!err && res && PQresultStatus(res) == PGRES_PIPELINE_ABORTED)
		err = -ECANCELED;
	if (!c->lost && !last) {
		int ret = pg_result(c, &end);

		err = err ? err : ret;
		PQclear(end);
	}
	if (!err && keep) {
		*keep = res;
		res = NULL;
	}
	PQclear(res);
	return err;
}

/* The tables must be those that the first connection saw. */
static int check_generation(struct pg_conn *c, const PGresult *res)
{
	int64_t generation = PQntuples(res) > 0 ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;
	int64_t oid = PQntuples(res) > 0 ? strtoll(PQgetvalue(res, 0, 1), NULL, 10) : 0;

	if (c->b->generation == 0) {
		c->b->generation = generation;
		c->b->lock_key = PG_LOCK_BASE + oid;
		snprintf(c->b->channel, sizeof(c->b->channel), "persistfs_%lld", (long long)oid);
	}
	if (generation == c->b->generation && PG_LOCK_BASE + oid == c->b->lock_key)
		return 0;
	pfs_error_text_set("PostgreSQL: schema %s was replaced by another one; mount again",
			   c->b->schema);
	return -EIO;
}

int pg_conn_prepare(struct pg_conn *c, bool all)
{
	static const char generation[] =
		"SELECT m.value, n.oid FROM persistfs_meta m, pg_catalog.pg_namespace n"
		" WHERE m.key = 'generation' AND n.nspname = current_schema()";
	unsigned i, n = all ? PG_STMT_COUNT : 0;
	PGresult *res = NULL;
	int err = 0, ret;

	if (!PQenterPipelineMode(c->pq))
		return pg_lost(c, PQerrorMessage(c->pq));
	for (i = 0; i < n && !err; i++) {
		err = pg_send_prepare(c, i);
		c->prepared[i] = true;
	}
	if (!err && (!PQsendQueryParams(c->pq, generation, 0, NULL, NULL, NULL, NULL, 0) ||
		     !PQpipelineSync(c->pq)))
		err = pg_lost(c, PQerrorMessage(c->pq));
	for (i = 0; i <= n + 1 && !c->lost; i++) {
		ret = prepared(c, i > n, i == n ? &res : NULL);
		if (ret && (!err || c->lost))
			err = ret;
	}
	if (!err)
		err = check_generation(c, res);
	PQclear(res);
	return err;
}

int pg_conn_connect(struct pg_backend *b, struct pg_conn **out)
{
	struct pg_conn *c = NULL;
	int err;

	err = open_server(b, &c);
	if (!err)
		err = check_pooler(c);
	if (err)
		pg_conn_close(c);
	else
		*out = c;
	return err;
}

int pg_conn_open(struct pg_backend *b, bool whole, struct pg_conn **out)
{
	struct pg_conn *c = NULL;
	int err;

	err = pg_conn_connect(b, &c);
	if (!err)
		err = set_up(c);
	if (!err && whole)
		err = pg_conn_prepare(c, false);
	if (err)
		pg_conn_close(c);
	else
		*out = c;
	return err;
}

void pg_conn_close(struct pg_conn *c)
{
	size_t i;

	if (!c)
		return;
	pg_conn_reset(c);
	for (i = 0; i < PG_QUERIES; i++)
		pfs_buf_release(&c->queries[i].text);
	for (i = 0; i < c->ahead_cap; i++)
		pfs_buf_release(&c->ahead[i].key);
	pg_gather_release(c);
	free(c->ahead);
	free(c->sent);
	PQfinish(c->pq);
	free(c);
}

/* ---- the pool ------------------------------------------------------------------------------- */

static int pool_open(void *arg, void **out)
{
	struct pg_conn *c = NULL;
	int err = pg_conn_open(arg, true, &c);

	if (!err)
		*out = c;
	return err;
}

static void pool_close(void *arg, void *conn)
{
	(void)arg;
	pg_conn_close(conn);
}

const struct pfs_pool_ops pg_pool_ops = {.open = pool_open, .close = pool_close};

int pg_get(struct pg_backend *b, int64_t deadline, struct pg_conn **out)
{
	void *conn = NULL;
	int err;

	err = pfs_pool_get(&b->pool, deadline, &conn);
	if (err == -EBUSY)
		pfs_error_text_set("all %u connections were busy", b->pool.size + b->pool.overflow);
	else if (err == -EHOSTDOWN && !pfs_error_text()[0])
		pfs_error_text_set("the server cannot be reached");
	*out = conn;
	return err;
}

void pg_put(struct pg_backend *b, struct pg_conn *c)
{
	if (!c)
		return;
	pg_conn_reset(c);
	c->state[0] = '\0';
	c->patience = b->timeout;
	pfs_pool_put(&b->pool, c, c->lost);
}
