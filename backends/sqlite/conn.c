/*
 * Connections: opening, the driver for backends/sql/, and the one place where SQLite's codes become
 * errnos. A connection is used by one thread at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/sqlite/sqlite.h"

/* ---- errors --------------------------------------------------------------------------------- */

static int error_number(sqlite3 *db, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		if (db &&
		    (sqlite3_system_errno(db) == ENOSPC || sqlite3_system_errno(db) == EDQUOT))
			return -ENOSPC;
		if (rc == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		return -EIO;
	default:
		return -EIO;
	}
}

int sqlite_error(sqlite3 *db, int rc)
{
	static int64_t logged_at;
	static int logged;
	int err = error_number(db, rc);
	const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
	int64_t now = pfs_monotonic_ns();

	if (!err)
		return 0;
	if (err == -EBUSY)
		text = "database is locked by another program";
	pfs_error_text_set("SQLite: %s", text);
	if (__atomic_exchange_n(&logged, rc, __ATOMIC_RELAXED) != rc ||
	    now - __atomic_load_n(&logged_at, __ATOMIC_RELAXED) > 10 * NSEC_PER_SEC) {
		__atomic_store_n(&logged_at, now, __ATOMIC_RELAXED);
		pfs_log(PFS_LOG_ERROR, "SQLite: %s (code %d)", text, rc);
	}
	return err;
}

/* ---- the driver ----------------------------------------------------------------------------- */

static const char *const own_sql[SQLITE_STMT_COUNT - KV_STMT_COUNT] = {
	[SQLITE_STMT_BEGIN - KV_STMT_COUNT] = "BEGIN IMMEDIATE",
	[SQLITE_STMT_COMMIT - KV_STMT_COUNT] = "COMMIT",
	[SQLITE_STMT_ROLLBACK - KV_STMT_COUNT] = "ROLLBACK",
	[SQLITE_STMT_SAVE - KV_STMT_COUNT] = "SAVEPOINT batch",
	[SQLITE_STMT_RELEASE - KV_STMT_COUNT] = "RELEASE batch",
	[SQLITE_STMT_UNDO - KV_STMT_COUNT] = "ROLLBACK TO batch",
	[SQLITE_STMT_DATA_VERSION - KV_STMT_COUNT] = "PRAGMA data_version",
	[SQLITE_STMT_PAGE_COUNT - KV_STMT_COUNT] = "PRAGMA page_count",
};

static struct sqlite_conn *conn_of(struct pfs_sql_conn *c)
{
	return pfs_container_of(c, struct sqlite_conn, sql);
}

static sqlite3_stmt *stmt_of(struct pfs_sql_query *q)
{
	return (sqlite3_stmt *)(void *)q;
}

static int conn_prepare(struct sqlite_conn *c, unsigned n)
{
	const char *sql = n < KV_STMT_COUNT ? pfs_kv_sql[n] : own_sql[n - KV_STMT_COUNT];
	int rc;

	rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->stmts[n], NULL);
	return sqlite_error(c->db, rc);
}

static int conn_begin(struct pfs_sql_conn *sql, unsigned n, struct pfs_sql_query **out,
		      const char *types, va_list ap)
{
	struct sqlite_conn *c = conn_of(sql);
	sqlite3_stmt *stmt;
	int i, rc = SQLITE_OK;

	if (!c->stmts[n]) {
		int err = conn_prepare(c, n);

		if (err)
			return err;
	}
	stmt = c->stmts[n];
	for (i = 1; types[i - 1] && rc == SQLITE_OK; i++) {
		const void *p;
		size_t len;

		if (types[i - 1] == 'i') {
			rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
			continue;
		}
		p = va_arg(ap, const void *);
		len = va_arg(ap, size_t);
		if (!p)
			p = "";
		if (types[i - 1] == 't')
			rc = sqlite3_bind_text64(stmt, i, p, len, SQLITE_STATIC, SQLITE_UTF8);
		else
			rc = sqlite3_bind_blob64(stmt, i, p, len, SQLITE_STATIC);
	}
	*out = (struct pfs_sql_query *)(void *)stmt;
	return rc == SQLITE_OK ? 0 : sqlite_error(c->db, rc);
}

static int conn_step(struct pfs_sql_conn *sql, struct pfs_sql_query *q)
{
	int rc = sqlite3_step(stmt_of(q));

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : sqlite_error(conn_of(sql)->db, rc);
}

static int64_t conn_integer(struct pfs_sql_query *q, int column)
{
	return sqlite3_column_int64(stmt_of(q), column);
}

static struct pfs_bytes conn_bytes(struct pfs_sql_query *q, int column)
{
	const void *p = sqlite3_column_blob(stmt_of(q), column);

	return (struct pfs_bytes){p ? p : "", (size_t)sqlite3_column_bytes(stmt_of(q), column)};
}

static void conn_end(struct pfs_sql_conn *sql, struct pfs_sql_query *q)
{
	(void)sql;
	if (q)
		sqlite3_reset(stmt_of(q));
}

static int64_t conn_changes(struct pfs_sql_conn *sql)
{
	return sqlite3_changes64(conn_of(sql)->db);
}

static const struct pfs_sql_driver sqlite_driver = {
	.begin = conn_begin,
	.step = conn_step,
	.integer = conn_integer,
	.bytes = conn_bytes,
	.end = conn_end,
	.changes = conn_changes,
};

int sqlite_run(struct sqlite_conn *c, enum sqlite_stmt stmt)
{
	int64_t ret = pfs_sql_run(&c->sql, stmt, "");

	return ret < 0 ? (int)ret : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Wait for a lock of another connection: short naps first, `timeout` in all. */
static int conn_busy(void *arg, int n)
{
	struct sqlite_conn *c = arg;
	static const int64_t naps[] = {50, 100, 200, 500, 1000, 2000, 5000, 10000}; /* us */
	int64_t spent = 0, nap;
	int i;

	for (i = 0; i < n && i < 7; i++)
		spent += naps[i];
	if (n > 7)
		spent += (n - 7) * naps[7];
	nap = naps[n < 7 ? n : 7] * 1000;
	if (spent * 1000 + nap > c->b->timeout)
		return 0;
	nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
	return 1;
}

/* The path as a file: URI that says immutable. */
static char *immutable_uri(const char *path)
{
	struct pfs_buf uri = {0};
	const char *p;

	pfs_buf_str(&uri, "file:");
	for (p = path; *p; p++) {
		if (*p == '%' || *p == '?' || *p == '#')
			pfs_buf_printf(&uri, "%%%02X", (unsigned char)*p);
		else
			pfs_buf_add(&uri, p, 1);
	}
	pfs_buf_str(&uri, "?immutable=1");
	if (uri.failed)
		pfs_buf_release(&uri);
	return uri.data;
}

static int conn_settings(struct sqlite_conn *c, int cache_kib)
{
	char sql[384];

	snprintf(sql, sizeof(sql),
		 "PRAGMA cache_size=-%d; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=OFF;"
		 "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA foreign_keys=OFF;"
		 "PRAGMA recursive_triggers=OFF; PRAGMA wal_autocheckpoint=0;"
		 "PRAGMA journal_size_limit=67108864",
		 cache_kib);
	return sqlite_exec(c, sql);
}

int sqlite_conn_open(struct sqlite_backend *b, int flags, int cache_kib, const char *vfs,
		     struct sqlite_conn **out)
{
	struct sqlite_conn *c = calloc(1, sizeof(*c));
	char *uri = NULL;
	int rc, err = -ENOMEM, growth = SQLITE_GROWTH;

	if (!c)
		return -ENOMEM;
	c->sql.driver = &sqlite_driver;
	c->b = b;
	if (b->immutable) {
		uri = immutable_uri(b->path);
		if (!uri)
			goto out;
		flags |= SQLITE_OPEN_URI;
	}
	rc = sqlite3_open_v2(uri ? uri : b->path, &c->db,
			     flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, vfs);
	err = sqlite_error(c->db, rc);
	if (err)
		goto out;
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_busy_handler(c->db, conn_busy, c);
	err = conn_settings(c, cache_kib);
	if (err)
		goto out;
	if (!b->readonly)
		sqlite3_file_control(c->db, "main", SQLITE_FCNTL_CHUNK_SIZE, &growth);
	*out = c;
	c = NULL;
out:
	free(uri);
	if (c && c->db)
		b->open_code = sqlite3_errcode(c->db) & 0xff;
	sqlite_conn_close(c, true);
	return err;
}

void sqlite_conn_close(struct sqlite_conn *c, bool keep_log)
{
	size_t i;

	if (!c)
		return;
	for (i = 0; i < SQLITE_STMT_COUNT; i++)
		sqlite3_finalize(c->stmts[i]);
	if (keep_log && c->db)
		sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close(c->db);
	free(c);
}

int sqlite_exec(struct sqlite_conn *c, const char *sql)
{
	return sqlite_error(c->db, sqlite3_exec(c->db, sql, NULL, NULL, NULL));
}

int sqlite_query_int(struct sqlite_conn *c, const char *sql, int64_t *out)
{
	sqlite3_stmt *stmt = NULL;
	int rc, err;

	rc = sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(stmt, 0);
	err = rc == SQLITE_DONE ? -ENODATA : sqlite_error(c->db, rc);
	sqlite3_finalize(stmt);
	return err;
}

/* ---- the pool of reading connections -------------------------------------------------------- */

static int reader_open(void *arg, void **out)
{
	struct sqlite_backend *b = arg;
	struct sqlite_conn *c = NULL;
	int err;

	err = sqlite_conn_open(b, SQLITE_OPEN_READONLY, 2048, NULL, &c);
	if (!err)
		*out = c;
	return err;
}

static void reader_close(void *arg, void *conn)
{
	(void)arg;
	sqlite_conn_close(conn, true);
}

const struct pfs_pool_ops sqlite_pool_ops = {.open = reader_open, .close = reader_close};
