/*
 * The driver of rows.h for SQLite. Connections are apart from those of the own layout, which treats them
 * as another program's, and they set nothing that stays: no journal mode, no application id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backends/sqlite/rows.h"
#include "backends/sqlite/sqlite.h"

#define CACHED 32 /* prepared statements of a connection */

struct lite_conn {
	struct lite_db *db;
	uint64_t exchanged; /* as it was when this was opened */
	bool writes;	    /* it is db->writer */
	sqlite3 *sq;
	struct lite_stmt {
		char *sql;
		sqlite3_stmt *stmt;
		uint64_t used;
	} cache[CACHED];
	uint64_t uses;
};

struct lite_db {
	struct pfs_rows_db base;
	struct pfs_pool pool;
	char *path;
	int64_t timeout;
	bool read_only;
	/*
	 * The one connection that writes, and asks for data_version: that tells of others' changes only.
	 * Whoever has `writing` has it.
	 */
	pthread_mutex_t writing;
	struct lite_conn *writer;
	bool wrote;	   /* through this, and `counter` does not have it */
	uint32_t counter;  /* of the file, as it was when others' changes were last looked for */
	bool counts;	   /* the transaction began with this one: */
	uint32_t begun;
	uint64_t pragma;   /* what data_version said last */
	uint64_t version;  /* atomic: counts what others did */
	/* The file that connections are to; another one took its place: `exchanged` counts. */
	pthread_mutex_t lock; /* guards the rest */
	dev_t dev;
	ino_t ino;
	uint64_t exchanged;
	struct pfs_msg trouble; /* empty: none */
	bool unwritable;	/* the file is, whatever is asked for */
};

static struct lite_db *db_of(struct pfs_rows_db *db)
{
	return pfs_container_of(db, struct lite_db, base);
}

static struct lite_conn *conn_of(struct pfs_rows_conn *c)
{
	return (struct lite_conn *)(void *)c;
}

/* ---- errors --------------------------------------------------------------------------------- */

static int lite_error(sqlite3 *sq, int rc)
{
	int err = sqlite_error(sq, rc), ext = sq ? sqlite3_extended_errcode(sq) : rc;

	switch (ext) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return -EEXIST;
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return -EBUSY;
	default:
		break;
	}
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return -EINVAL;
	case SQLITE_ERROR:
		return -ENOTSUP;
	default:
		return err;
	}
}

/* ---- connections ---------------------------------------------------------------------------- */

static int lite_busy(void *arg, int n)
{
	struct lite_conn *c = arg;
	int64_t nap = n < 5 ? 1000000 : 10000000;

	if (n * nap > c->db->timeout)
		return 0;
	nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
	return 1;
}

static void lite_close(void *arg, void *conn)
{
	struct lite_conn *c = conn;
	size_t i;

	(void)arg;
	for (i = 0; i < CACHED; i++) {
		sqlite3_finalize(c->cache[i].stmt);
		free(c->cache[i].sql);
	}
	sqlite3_close(c->sq);
	free(c);
}

/* Which file is at the path; connections to the one before are of no use. */
static int file_now(struct lite_db *db, uint64_t *exchanged)
{
	struct stat st;
	int err = 0;

	pthread_mutex_lock(&db->lock);
	if (stat(db->path, &st) != 0) {
		err = -EIO;
		pfs_msg_set(&db->trouble, "database file %s: %s", db->path, strerror(errno));
		pfs_error_text_set("%s", db->trouble.text);
	} else {
		if (db->ino && (st.st_dev != db->dev || st.st_ino != db->ino)) {
			db->exchanged++;
			pfs_log(PFS_LOG_WARN, "database file %s was replaced by another", db->path);
		}
		db->dev = st.st_dev;
		db->ino = st.st_ino;
		pfs_msg_clear(&db->trouble);
	}
	*exchanged = db->exchanged;
	pthread_mutex_unlock(&db->lock);
	return err;
}

static int lite_open(void *arg, void **out)
{
	struct lite_db *db = arg;
	struct lite_conn *c = calloc(1, sizeof(*c));
	int rc, err;

	if (!c)
		return -ENOMEM;
	c->db = db;
	err = file_now(db, &c->exchanged);
	if (err) {
		free(c);
		return err;
	}
	rc = sqlite3_open_v2(db->path, &c->sq,
			     (db->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
				     SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
			     NULL);
	err = lite_error(c->sq, rc);
	if (!err) {
		sqlite3_extended_result_codes(c->sq, 1);
		sqlite3_busy_handler(c->sq, lite_busy, c);
		err = lite_error(c->sq, sqlite3_exec(c->sq, "PRAGMA foreign_keys = ON", NULL, NULL,
						     NULL));
	}
	if (!err) {
		pthread_mutex_lock(&db->lock);
		db->unwritable = !db->read_only && sqlite3_db_readonly(c->sq, "main") == 1;
		pthread_mutex_unlock(&db->lock);
	}
	if (err)
		lite_close(NULL, c);
	else
		*out = c;
	return err;
}

static const struct pfs_pool_ops lite_pool_ops = {.open = lite_open, .close = lite_close};

/* The writing connection, to the file that is there now; with `writing` held. */
static int writer_open(struct lite_db *db)
{
	uint64_t exchanged;
	void *conn = NULL;
	int err;

	err = file_now(db, &exchanged);
	if (!err && db->writer && db->writer->exchanged != exchanged) {
		lite_close(NULL, db->writer);
		db->writer = NULL;
	}
	if (!err && !db->writer) {
		err = lite_open(db, &conn);
		db->writer = err ? NULL : conn;
		if (!err)
			db->writer->writes = true;
	}
	return err;
}

static int writer_get(struct lite_db *db, struct pfs_rows_conn **out)
{
	struct timespec until;
	int err;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(db->timeout / NSEC_PER_SEC) + 1;
	if (pthread_mutex_timedlock(&db->writing, &until)) {
		pfs_error_text_set("SQLite: another write takes too long");
		return -EAGAIN;
	}
	err = writer_open(db);
	if (err)
		pthread_mutex_unlock(&db->writing);
	else
		*out = (struct pfs_rows_conn *)(void *)db->writer;
	return err;
}

static int lite_get(struct pfs_rows_db *base, bool write, struct pfs_rows_conn **out)
{
	struct lite_db *db = db_of(base);
	uint64_t exchanged;
	void *conn = NULL;
	int err;

	if (write && db->read_only)
		return -EROFS;
	if (write) {
		err = writer_get(db, out);
		db->wrote |= !err;
		return err;
	}
	err = file_now(db, &exchanged);
	while (!err) {
		err = pfs_pool_get(&db->pool, pfs_monotonic_ns() + db->timeout, &conn);
		if (err || ((struct lite_conn *)conn)->exchanged == exchanged)
			break;
		pfs_pool_put(&db->pool, conn, true);
	}
	if (err == -EBUSY) {
		pfs_error_text_set("all %u connections were busy", db->pool.size + db->pool.overflow);
		err = -EAGAIN;
	}
	if (!err)
		*out = conn;
	return err;
}

static void lite_rollback(struct pfs_rows_conn *c)
{
	if (!sqlite3_get_autocommit(conn_of(c)->sq))
		sqlite3_exec(conn_of(c)->sq, "ROLLBACK", NULL, NULL, NULL);
}

static void lite_put(struct pfs_rows_db *base, struct pfs_rows_conn *c, bool broken)
{
	struct lite_db *db = db_of(base);

	lite_rollback(c);
	if (!conn_of(c)->writes) {
		pfs_pool_put(&db->pool, c, broken);
		return;
	}
	if (broken) {
		lite_close(NULL, db->writer);
		db->writer = NULL;
	}
	pthread_mutex_unlock(&db->writing);
}

/* ---- statements ----------------------------------------------------------------------------- */

static int prepare(struct lite_conn *c, const char *sql, sqlite3_stmt **out)
{
	struct lite_stmt *slot = c->cache;
	char *copy;
	size_t i;
	int rc;

	for (i = 0; i < CACHED; i++) {
		if (c->cache[i].sql && !strcmp(c->cache[i].sql, sql)) {
			c->cache[i].used = ++c->uses;
			*out = c->cache[i].stmt;
			return 0;
		}
		if (c->cache[i].used < slot->used)
			slot = &c->cache[i];
	}
	copy = strdup(sql);
	if (!copy)
		return -ENOMEM;
	sqlite3_finalize(slot->stmt);
	free(slot->sql);
	*slot = (struct lite_stmt){0};
	rc = sqlite3_prepare_v3(c->sq, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->stmt, NULL);
	if (rc != SQLITE_OK || !slot->stmt) {
		free(copy);
		return lite_error(c->sq, rc == SQLITE_OK ? SQLITE_ERROR : rc);
	}
	slot->sql = copy;
	slot->used = ++c->uses;
	*out = slot->stmt;
	return 0;
}

static int bind(struct lite_conn *c, sqlite3_stmt *stmt, const struct pfs_value *v, int i)
{
	const char *p = v->bytes.p ? v->bytes.p : "";
	int rc = SQLITE_OK;

	switch (v->type) {
	case PFS_VALUE_NULL:
		rc = sqlite3_bind_null(stmt, i);
		break;
	case PFS_VALUE_INTEGER:
		rc = sqlite3_bind_int64(stmt, i, v->num);
		break;
	case PFS_VALUE_REAL:
		rc = sqlite3_bind_double(stmt, i, pfs_value_real(v));
		break;
	case PFS_VALUE_TEXT:
		rc = sqlite3_bind_text64(stmt, i, p, v->bytes.len, SQLITE_STATIC, SQLITE_UTF8);
		break;
	case PFS_VALUE_BLOB:
		rc = sqlite3_bind_blob64(stmt, i, p, v->bytes.len, SQLITE_STATIC);
		break;
	}
	return rc == SQLITE_OK ? 0 : lite_error(c->sq, rc);
}

static int lite_query(struct pfs_rows_conn *conn, const char *sql, const struct pfs_value *params,
		      size_t n, struct pfs_rows **out)
{
	struct lite_conn *c = conn_of(conn);
	sqlite3_stmt *stmt = NULL;
	size_t i;
	int err;

	err = prepare(c, sql, &stmt);
	for (i = 0; i < n && !err; i++)
		err = bind(c, stmt, &params[i], (int)i + 1);
	if (err && stmt)
		sqlite3_clear_bindings(stmt);
	if (!err)
		*out = (struct pfs_rows *)(void *)stmt;
	return err;
}

static sqlite3_stmt *stmt_of(struct pfs_rows *r)
{
	return (sqlite3_stmt *)(void *)r;
}

static int lite_next(struct pfs_rows *r)
{
	int rc = sqlite3_step(stmt_of(r));

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : lite_error(sqlite3_db_handle(stmt_of(r)), rc);
}

/*
 * SQLite prints 15 digits, which may be another number's too. *text is of this thread, valid until more are
 * asked for than two rows have columns (SQLITE_MAX_COLUMN is 2,000).
 */
static bool needs_digits(double v, const char *printed, struct pfs_bytes *text)
{
	static _Thread_local char texts[4096][32];
	static _Thread_local size_t next;
	char *p = texts[next++ % PFS_ARRAY_SIZE(texts)];
	int n;

	if (!printed || v - v != 0 || strtod(printed, NULL) == v)
		return false;
	n = snprintf(p, sizeof(texts[0]) - 2, "%.17g", v);
	if (!p[strcspn(p, ".e")])
		n += snprintf(p + n, 3, ".0");
	*text = (struct pfs_bytes){p, (size_t)n};
	return true;
}

static void lite_column(struct pfs_rows *r, int i, struct pfs_value *out)
{
	sqlite3_stmt *stmt = stmt_of(r);
	const void *p;
	double real = 0;

	*out = (struct pfs_value){0};
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_NULL:
		return;
	case SQLITE_INTEGER:
		out->type = PFS_VALUE_INTEGER;
		out->num = sqlite3_column_int64(stmt, i);
		break;
	case SQLITE_FLOAT:
		out->type = PFS_VALUE_REAL;
		real = sqlite3_column_double(stmt, i);
		break;
	case SQLITE_TEXT:
		out->type = PFS_VALUE_TEXT;
		break;
	default:
		out->type = PFS_VALUE_BLOB;
		break;
	}
	p = out->type == PFS_VALUE_BLOB ? sqlite3_column_blob(stmt, i)
					: (const void *)sqlite3_column_text(stmt, i);
	if (out->type != PFS_VALUE_REAL || !needs_digits(real, p, &out->bytes))
		out->bytes = (struct pfs_bytes){p ? p : "", (size_t)sqlite3_column_bytes(stmt, i)};
}

static void lite_end(struct pfs_rows *r)
{
	if (!r)
		return;
	sqlite3_reset(stmt_of(r));
	sqlite3_clear_bindings(stmt_of(r));
}

static int64_t lite_changes(struct pfs_rows_conn *c)
{
	return sqlite3_changes64(conn_of(c)->sq);
}

static int lite_exec(struct pfs_rows_conn *c, const char *sql)
{
	return lite_error(conn_of(c)->sq, sqlite3_exec(conn_of(c)->sq, sql, NULL, NULL, NULL));
}

/*
 * The change counter in the file's header, which every commit moves where there is no write-ahead log
 * (https://sqlite.org/fileformat2.html, 1.3.7). Read past SQLite's locks, of which an application without
 * patience would be told SQLITE_BUSY: a commit whose pages are still being written is told early, and who
 * then reads waits for it. false: there is a log, or no such header.
 */
static bool peek_counter(struct lite_db *db, uint32_t *out)
{
	sqlite3_file *file = NULL;
	unsigned char head[28];

	if (sqlite3_file_control(db->writer->sq, "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
		    SQLITE_OK ||
	    !file || !file->pMethods ||
	    file->pMethods->xRead(file, head, sizeof(head), 0) != SQLITE_OK)
		return false;
	if (head[18] != 1 || head[19] != 1)
		return false;
	*out = (uint32_t)head[24] << 24 | (uint32_t)head[25] << 16 | (uint32_t)head[26] << 8 |
	       head[27];
	return true;
}

static int lite_begin(struct pfs_rows_conn *conn, bool write)
{
	struct lite_conn *c = conn_of(conn);
	int err;

	if (write && sqlite3_db_readonly(c->sq, "main") == 1) {
		pfs_error_text_set("SQLite: the file %s cannot be written", c->db->path);
		return -EROFS;
	}
	err = lite_exec(conn, write ? "BEGIN IMMEDIATE" : "BEGIN");
	if (!err && c->writes)
		c->db->counts = write && peek_counter(c->db, &c->db->begun);
	return err;
}

static int lite_check(struct pfs_rows_conn *conn)
{
	int waiting = 0, high;

	sqlite3_db_status(conn_of(conn)->sq, SQLITE_DBSTATUS_DEFERRED_FKS, &waiting, &high, 0);
	if (!waiting)
		return 0;
	pfs_error_text_set("SQLite: FOREIGN KEY constraint failed");
	return -EBUSY;
}

/* Nobody else has committed since it began: the counter has moved by this transaction alone. */
static int lite_commit(struct pfs_rows_conn *conn)
{
	struct lite_conn *c = conn_of(conn);
	struct lite_db *db = c->db;
	int err = lite_exec(conn, "COMMIT");

	if (!err && c->writes && db->counts) {
		db->wrote = false;
		if (db->counter == db->begun)
			db->counter++;
	}
	return err;
}

/* ---- what others do ------------------------------------------------------------------------- */

static int ask_version(struct lite_db *db, uint64_t *out)
{
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	int err;

	err = lite_query((struct pfs_rows_conn *)(void *)db->writer, "PRAGMA data_version", NULL, 0,
			 &r);
	if (!err && (err = lite_next(r)) > 0) {
		lite_column(r, 0, &v);
		/* A connection to another file counts from the beginning. */
		*out = (uint64_t)v.num + (db->writer->exchanged << 40);
		err = 0;
	} else if (!err) {
		err = -EIO;
	}
	lite_end(r);
	return err;
}

/* Have others changed something? With `writing` held. */
static int look_for_changes(struct lite_db *db, bool *changed)
{
	uint64_t pragma = db->pragma;
	uint32_t counter = db->counter;
	bool rollback = peek_counter(db, &counter);
	int err = 0;

	/* Only SQLite knows which of the changes since were our own. */
	if (!rollback || db->wrote || pragma >> 40 != db->writer->exchanged)
		err = ask_version(db, &pragma);
	if (err)
		return err;
	*changed = pragma != db->pragma || (rollback && !db->wrote && counter != db->counter);
	db->pragma = pragma;
	db->counter = counter;
	db->wrote = false;
	return 0;
}

/* While a write is under way the answer is that of before. */
static int lite_data_version(struct pfs_rows_db *base, uint64_t *out)
{
	struct lite_db *db = db_of(base);
	bool changed = false;
	int err = 0;

	*out = __atomic_load_n(&db->version, __ATOMIC_ACQUIRE);
	if (pthread_mutex_trylock(&db->writing) != 0)
		return 0;
	err = writer_open(db);
	if (!err)
		err = look_for_changes(db, &changed);
	if (!err && changed)
		*out = __atomic_add_fetch(&db->version, 1, __ATOMIC_ACQ_REL);
	pthread_mutex_unlock(&db->writing);
	return err;
}

static void lite_connections(struct pfs_rows_db *base, struct pfs_connections *out)
{
	pfs_pool_counts(&db_of(base)->pool, out);
}

static void lite_health(struct pfs_rows_db *base, struct pfs_health *out)
{
	struct lite_db *db = db_of(base);

	pthread_mutex_lock(&db->lock);
	out->why = db->trouble;
	if (db->unwritable)
		pfs_msg_set(&out->read_only, "the file %s cannot be written", db->path);
	pthread_mutex_unlock(&db->lock);
	out->ok = !out->why.text[0];
}

/* ---- life ----------------------------------------------------------------------------------- */

static void lite_free(struct pfs_rows_db *base)
{
	struct lite_db *db = db_of(base);

	pfs_pool_release(&db->pool);
	if (db->writer)
		lite_close(NULL, db->writer);
	pthread_mutex_destroy(&db->writing);
	pthread_mutex_destroy(&db->lock);
	free(db->path);
	free(db);
}

static const struct pfs_rows_ops lite_ops = {
	.free = lite_free,
	.get = lite_get,
	.put = lite_put,
	.query = lite_query,
	.next = lite_next,
	.column = lite_column,
	.end = lite_end,
	.changes = lite_changes,
	.begin = lite_begin,
	.check = lite_check,
	.commit = lite_commit,
	.rollback = lite_rollback,
	.data_version = lite_data_version,
	.connections = lite_connections,
	.health = lite_health,
};

int sqlite_rows_new(struct pfs_backend *host, bool read_only, struct pfs_rows_db **out)
{
	struct lite_db *db = calloc(1, sizeof(*db));
	int err;

	if (!db)
		return -ENOMEM;
	db->base.ops = &lite_ops;
	db->base.lock = "";
	db->path = strdup(pfs_option_get(host->set, "path")->str);
	db->timeout = pfs_option_get(host->set, "timeout")->num;
	db->read_only = read_only;
	pthread_mutex_init(&db->lock, NULL);
	pthread_mutex_init(&db->writing, NULL);
	err = pfs_pool_init(&db->pool, &lite_pool_ops, db,
			    (unsigned)pfs_option_get(host->set, "pool_size")->num,
			    (unsigned)pfs_option_get(host->set, "max_overflow")->num, 0);
	if (!err && !db->path)
		err = -ENOMEM;
	if (err)
		lite_free(&db->base);
	else
		*out = &db->base;
	return err;
}
