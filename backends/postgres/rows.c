/*
 * The driver of rows.h for PostgreSQL. Its connections are apart from those of the own layout: they keep
 * the search path and the plans that the user's own would have, and what is set ends with them. All views
 * of a backend share one pool of them, and a thread that looks whether the server is there again.
 *
 * Values travel as text, which is what psql prints; bytea as bytes one way and as hex digits the other.
 * Results come row by row.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/postgres/postgres.h"
#include "backends/postgres/rows.h"

#define BYTEA_OID	  17
#define PARAMS		  1600 /* as many as a table can have columns */
#define PROBE_PERIOD (NSEC_PER_SEC / 4)

/* The result that is being read; of a connection there is one at most. */
struct rows {
	struct pg_rows_conn *rc;
	PGresult *res; /* the row, or the end */
	bool open, ended;
	struct pfs_buf *decoded; /* of each column that was asked for: bytes of a bytea */
	int ndecoded;
};

struct pg_rows_conn {
	struct pg_conn *c;
	struct rows rows;
	int64_t changes;
	bool in_txn;
};

struct pg_rows_db {
	struct pfs_rows_db base;
	struct pg_backend *b;
	bool read_only;
};

static struct pg_rows_db *db_of(struct pfs_rows_db *db)
{
	return pfs_container_of(db, struct pg_rows_db, base);
}

static struct pg_rows_conn *conn_of(struct pfs_rows_conn *c)
{
	return (struct pg_rows_conn *)(void *)c;
}

static struct rows *rows_of(struct pfs_rows *r)
{
	return (struct rows *)(void *)r;
}

/* ---- errors --------------------------------------------------------------------------------- */

/* What a SQLSTATE means to who writes a value; by its first letters, the longest first. */
static const struct {
	const char *state;
	int err;
} meanings[] = {
	{"22021", -EILSEQ}, {"22P05", -EILSEQ}, {"22", -EINVAL},    {"23505", -EEXIST},
	{"23503", -EBUSY},  {"23001", -EBUSY},  {"23", -EINVAL},    {"42501", -EACCES},
	{"428C9", -EINVAL}, {"42804", -EINVAL}, {"44", -EINVAL},    {"P0001", -EINVAL},
	{"54000", -EFBIG},  {"42", -ENOTSUP},   {"3F000", -ENOTSUP}, {"0A000", -EOPNOTSUPP},
};

static int rows_error(struct pg_conn *c, const PGresult *res)
{
	const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	char text[400];
	int err = pg_error(c, res);
	size_t i;

	if (c->lost)
		return err;
	if (err == -EBUSY) /* passing, as a lock */
		return -EAGAIN;
	if (detail) {
		snprintf(text, sizeof(text), "%s. %.200s", pfs_error_text(), detail);
		text[strcspn(text, "\n")] = '\0';
		pfs_error_text_set("%s", text);
	}
	for (i = 0; i < PFS_ARRAY_SIZE(meanings); i++)
		if (strncmp(c->state, meanings[i].state, strlen(meanings[i].state)) == 0)
			return meanings[i].err;
	return err;
}

/* ---- connections ---------------------------------------------------------------------------- */

/*
 * As the own connections', and so that times, numbers and bytes are always written the same way. Pages of
 * large tables are cheap, but the planner, which prices the tables, would have them compiled (jit).
 */
static int set_up(struct pg_conn *c)
{
	long long ms = c->b->timeout / 1000000;
	PGresult *res = NULL;
	char sql[800];
	int err;

	if (ms < 1)
		ms = 1;
	snprintf(sql, sizeof(sql),
		 "SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD';"
		 "SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';"
		 "SET extra_float_digits = 1; SET client_min_messages = error;"
		 "SET standard_conforming_strings = on; SET jit = off;"
		 "SET statement_timeout = %lld; SET lock_timeout = %lld;"
		 "SET idle_in_transaction_session_timeout = %lld;"
		 "SELECT set_config('synchronous_commit', 'on', false)"
		 " WHERE current_setting('synchronous_commit') = 'off';"
		 "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
		 ms, ms > 1 ? ms - ms / 5 : 1, ms);
	err = pg_exec(c, sql, &res);
	if (!err && PQntuples(res) == 1)
		__atomic_store_n(&c->b->others.readonly, PQgetvalue(res, 0, 0)[0] == 't',
				 __ATOMIC_RELAXED);
	PQclear(res);
	return err;
}

static void rows_close(void *arg, void *conn)
{
	struct pg_rows_conn *rc = conn;

	(void)arg;
	PQclear(rc->rows.res);
	pg_conn_close(rc->c);
	free(rc);
}

static int rows_open(void *arg, void **out)
{
	struct pg_rows_conn *rc = calloc(1, sizeof(*rc));
	int err;

	if (!rc)
		return -ENOMEM;
	rc->rows.rc = rc;
	err = pg_conn_connect(arg, &rc->c);
	if (!err)
		err = set_up(rc->c);
	if (err)
		rows_close(NULL, rc);
	else
		*out = rc;
	return err;
}

const struct pfs_pool_ops pg_rows_pool_ops = {.open = rows_open, .close = rows_close};

/* Callers do not try a server that has been down for long: this does. */
static void *probe_main(void *arg)
{
	struct pg_backend *b = arg;

	while (pfs_wake_wait(&b->others.wake, PROBE_PERIOD))
		pfs_pool_probe(&b->others.pool);
	return NULL;
}

/* With the first connection that is wanted: not before the process has forked for the last time. */
static int probe_start(struct pg_backend *b)
{
	int err = 0;

	pthread_mutex_lock(&b->others.lock);
	if (!b->others.probing)
		err = -pthread_create(&b->others.thread, NULL, probe_main, b);
	b->others.probing |= !err;
	pthread_mutex_unlock(&b->others.lock);
	return err;
}

static int pgr_get(struct pfs_rows_db *base, bool write, struct pfs_rows_conn **out)
{
	struct pg_rows_db *db = db_of(base);
	struct pfs_pool *pool = &db->b->others.pool;
	void *conn = NULL;
	int err;

	if (write && db->read_only)
		return -EROFS;
	err = probe_start(db->b);
	if (!err)
		err = pfs_pool_get(pool, pfs_monotonic_ns() + db->b->retry_timeout, &conn);
	if (err == -EBUSY) {
		pfs_error_text_set("all %u connections were busy", pool->size + pool->overflow);
		err = -EAGAIN;
	} else if (err == -EHOSTDOWN && !pfs_error_text()[0]) {
		pfs_error_text_set("the server cannot be reached");
	}
	if (!err)
		*out = conn;
	return err;
}

static void pgr_rollback(struct pfs_rows_conn *conn)
{
	struct pg_rows_conn *rc = conn_of(conn);

	if (rc->in_txn && !rc->c->lost)
		(void)pg_exec(rc->c, "ROLLBACK", NULL);
	rc->in_txn = false;
}

static void pgr_put(struct pfs_rows_db *base, struct pfs_rows_conn *conn, bool broken)
{
	struct pg_rows_conn *rc = conn_of(conn);

	pgr_rollback(conn);
	rc->c->state[0] = '\0';
	pfs_pool_put(&db_of(base)->b->others.pool, rc, broken || rc->c->lost);
}

/* ---- statements ----------------------------------------------------------------------------- */

/* ?1 as $1, but not within names and strings. */
static void dollars(const char *sql, struct pfs_buf *out)
{
	char quote = '\0';

	for (; *sql; sql++) {
		if (quote && *sql == quote)
			quote = '\0';
		else if (!quote && (*sql == '"' || *sql == '\''))
			quote = *sql;
		pfs_buf_add(out, !quote && *sql == '?' ? "$" : sql, 1);
	}
}

/* Parameters as libpq takes them; texts are copied, for they must end with NUL. */
struct bound {
	const char *values[PARAMS];
	int lengths[PARAMS], formats[PARAMS];
	Oid types[PARAMS];
	char *texts[PARAMS];
};

static int bind(struct bound *b, size_t i, const struct pfs_value *v)
{
	char number[24];

	if (v->bytes.len > INT32_MAX)
		return -EFBIG;
	switch (v->type) {
	case PFS_VALUE_NULL:
		return 0;
	case PFS_VALUE_BLOB:
		b->values[i] = v->bytes.p ? v->bytes.p : "";
		b->lengths[i] = (int)v->bytes.len;
		b->formats[i] = 1;
		b->types[i] = BYTEA_OID;
		return 0;
	case PFS_VALUE_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)v->num);
		b->texts[i] = strdup(number);
		break;
	case PFS_VALUE_REAL:
	case PFS_VALUE_TEXT:
		if (v->bytes.len && memchr(v->bytes.p, '\0', v->bytes.len)) {
			pfs_error_text_set("PostgreSQL: a text cannot hold a NUL byte");
			return -EILSEQ;
		}
		b->texts[i] = strndup(v->bytes.len ? v->bytes.p : "", v->bytes.len);
		break;
	}
	b->values[i] = b->texts[i];
	return b->texts[i] ? 0 : -ENOMEM;
}

static int send_statement(struct pg_conn *c, const char *sql, const struct pfs_value *params, size_t n)
{
	struct bound b = {0};
	struct pfs_buf text = {0};
	int err = n > PARAMS ? -E2BIG : 0;
	size_t i;

	for (i = 0; i < n && !err; i++)
		err = bind(&b, i, &params[i]);
	dollars(sql, &text);
	if (!err && text.failed)
		err = -ENOMEM;
	if (!err && (!PQsendQueryParams(c->pq, text.data, (int)n, b.types, b.values, b.lengths,
					b.formats, 0) ||
		     !PQsetSingleRowMode(c->pq)))
		err = pg_lost(c, PQerrorMessage(c->pq));
	for (i = 0; i < n && i < PARAMS; i++)
		free(b.texts[i]);
	pfs_buf_release(&text);
	return err;
}

static int pgr_query(struct pfs_rows_conn *conn, const char *sql, const struct pfs_value *params,
		     size_t n, struct pfs_rows **out)
{
	struct pg_rows_conn *rc = conn_of(conn);
	int err;

	rc->changes = 0;
	err = send_statement(rc->c, sql, params, n);
	if (err)
		return err;
	rc->rows.open = true;
	rc->rows.ended = false;
	*out = (struct pfs_rows *)(void *)&rc->rows;
	return 0;
}

static void row_clear(struct rows *r)
{
	int i;

	for (i = 0; i < r->ndecoded; i++)
		pfs_buf_release(&r->decoded[i]);
	free(r->decoded);
	r->decoded = NULL;
	r->ndecoded = 0;
	PQclear(r->res);
	r->res = NULL;
}

static int pgr_next(struct pfs_rows *rows)
{
	struct rows *r = rows_of(rows);
	struct pg_conn *c = r->rc->c;
	int err;

	row_clear(r);
	if (r->ended)
		return 0;
	err = pg_result(c, &r->res);
	if (err)
		return err;
	if (r->res && PQresultStatus(r->res) == PGRES_SINGLE_TUPLE)
		return 1;
	r->ended = true;
	if (!r->res)
		return 0;
	if (PQresultStatus(r->res) == PGRES_FATAL_ERROR)
		return rows_error(c, r->res);
	r->rc->changes = strtoll(PQcmdTuples(r->res), NULL, 10);
	return 0;
}

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static struct pfs_bytes decode(struct rows *r, int i, struct pfs_bytes hex)
{
	char piece[4096];
	struct pfs_buf *out;
	size_t k, n = 0;

	if (!r->decoded)
		r->decoded = calloc((size_t)PQnfields(r->res), sizeof(*r->decoded));
	if (!r->decoded)
		return PFS_BYTES("");
	r->ndecoded = PQnfields(r->res);
	out = &r->decoded[i];
	out->len = 0;
	for (k = 2; k + 1 < hex.len; k += 2) {
		piece[n++] = (char)(hex_digit(hex.p[k]) << 4 | hex_digit(hex.p[k + 1]));
		if (n == sizeof(piece)) {
			pfs_buf_add(out, piece, n);
			n = 0;
		}
	}
	pfs_buf_add(out, piece, n);
	pfs_buf_str(out, "");
	return (struct pfs_bytes){out->data ? out->data : "", out->len};
}

static void pgr_column(struct pfs_rows *rows, int i, struct pfs_value *out)
{
	struct rows *r = rows_of(rows);

	*out = (struct pfs_value){0};
	if (PQgetisnull(r->res, 0, i))
		return;
	out->type = PFS_VALUE_TEXT;
	out->bytes = (struct pfs_bytes){PQgetvalue(r->res, 0, i),
					(size_t)PQgetlength(r->res, 0, i)};
	switch (PQftype(r->res, i)) {
	case BYTEA_OID:
		out->type = PFS_VALUE_BLOB;
		out->bytes = decode(r, i, out->bytes);
		break;
	case 20: /* bigint, smallint, integer, oid */
	case 21:
	case 23:
	case 26:
		out->type = PFS_VALUE_INTEGER;
		out->num = strtoll(out->bytes.p, NULL, 10);
		break;
	case 700: /* real, double precision, numeric */
	case 701:
	case 1700:
		out->type = PFS_VALUE_REAL;
		break;
	default:
		break;
	}
}

/* What was not read is not wanted: the server need not send it. */
static void give_up(struct pg_conn *c)
{
	PGcancel *cancel = PQgetCancel(c->pq);
	char text[256];

	if (cancel)
		(void)PQcancel(cancel, text, sizeof(text));
	PQfreeCancel(cancel);
}

static void pgr_end(struct pfs_rows *rows)
{
	struct rows *r = rows_of(rows);
	struct pg_conn *c;
	int few = 64;

	if (!r || !r->open)
		return;
	c = r->rc->c;
	/* Mostly only the end was not read; to interrupt the server costs a connection. */
	while (!r->ended && !c->lost && few-- && pgr_next(rows) >= 0)
		;
	row_clear(r);
	if (!r->ended && !c->lost)
		give_up(c);
	/* To the end, which is no result. */
	while (!c->lost && pg_result(c, &r->res) == 0 && r->res)
		row_clear(r);
	row_clear(r);
	r->open = false;
	r->ended = true;
}

static int64_t pgr_changes(struct pfs_rows_conn *c)
{
	return conn_of(c)->changes;
}

/* ---- transactions --------------------------------------------------------------------------- */

static int pgr_begin(struct pfs_rows_conn *conn, bool write)
{
	struct pg_rows_conn *rc = conn_of(conn);
	int err;

	err = pg_exec(rc->c,
		      write ? "BEGIN ISOLATION LEVEL READ COMMITTED"
			    : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		      NULL);
	rc->in_txn = !err;
	return err;
}

static int pgr_check(struct pfs_rows_conn *conn)
{
	struct pfs_rows *r = NULL;
	int err = pgr_query(conn, "SET CONSTRAINTS ALL IMMEDIATE", NULL, 0, &r);

	if (!err)
		err = pgr_next(r);
	pgr_end(r);
	return err;
}

static int pgr_commit(struct pfs_rows_conn *conn)
{
	struct pg_rows_conn *rc = conn_of(conn);
	PGresult *res = NULL, *more = NULL;
	int err;

	if (!PQsendQuery(rc->c->pq, "COMMIT"))
		return pg_lost(rc->c, PQerrorMessage(rc->c->pq));
	err = pg_result(rc->c, &res);
	if (!err && res && PQresultStatus(res) == PGRES_FATAL_ERROR)
		err = rows_error(rc->c, res);
	/* A transaction in which something failed says so here only. */
	else if (!err && res && strcmp(PQcmdStatus(res), "ROLLBACK") == 0)
		err = -EIO;
	while (!rc->c->lost && pg_result(rc->c, &more) == 0 && more)
		PQclear(more);
	PQclear(res);
	rc->in_txn = false;
	return rc->c->lost ? -EINPROGRESS : err;
}

/* ---- how it is ------------------------------------------------------------------------------ */

static int pgr_data_version(struct pfs_rows_db *base, uint64_t *out)
{
	(void)base;
	(void)out;
	return -EOPNOTSUPP;
}

static void pgr_connections(struct pfs_rows_db *base, struct pfs_connections *out)
{
	pfs_pool_counts(&db_of(base)->b->others.pool, out);
}

static void pgr_health(struct pfs_rows_db *base, struct pfs_health *out)
{
	struct pg_backend *b = db_of(base)->b;

	out->ok = !pfs_pool_down(&b->others.pool);
	if (!out->ok)
		pfs_msg_set(&out->why, "the server cannot be reached");
	if (__atomic_load_n(&b->others.readonly, __ATOMIC_RELAXED))
		pfs_msg_set(&out->read_only, "the server lets this user only read: a standby, or"
					     " default_transaction_read_only");
	pthread_mutex_lock(&b->health_lock);
	out->durable = b->durable;
	pthread_mutex_unlock(&b->health_lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

void pg_rows_init(struct pg_backend *b)
{
	pthread_mutex_init(&b->others.lock, NULL);
	pfs_wake_init(&b->others.wake);
}

void pg_rows_release(struct pg_backend *b)
{
	if (b->others.probing) {
		pfs_wake_stop(&b->others.wake);
		pthread_join(b->others.thread, NULL);
	}
	pfs_pool_release(&b->others.pool);
	pfs_wake_release(&b->others.wake);
	pthread_mutex_destroy(&b->others.lock);
}

static void pgr_free(struct pfs_rows_db *base)
{
	free(db_of(base));
}

static const struct pfs_rows_ops pg_rows_ops = {
	.free = pgr_free,
	.get = pgr_get,
	.put = pgr_put,
	.query = pgr_query,
	.next = pgr_next,
	.column = pgr_column,
	.end = pgr_end,
	.changes = pgr_changes,
	.begin = pgr_begin,
	.check = pgr_check,
	.commit = pgr_commit,
	.rollback = pgr_rollback,
	.data_version = pgr_data_version,
	.connections = pgr_connections,
	.health = pgr_health,
};

int pg_rows_new(struct pfs_backend *host, bool read_only, struct pfs_rows_db **out)
{
	struct pg_rows_db *db = calloc(1, sizeof(*db));

	if (!db)
		return -ENOMEM;
	db->base.ops = &pg_rows_ops;
	db->base.lock = " FOR UPDATE";
	db->b = pg_of(host);
	db->read_only = read_only;
	*out = &db->base;
	return 0;
}
