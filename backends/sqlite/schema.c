/*
 * The layout of the database: its tables, and telling ours from others'. The view for SQL clients
 * and its triggers are in view.c.
 *
 * `meta` has the stamp: the version of the layout, and the counter from which ids come. Every table
 * is named persistfs_..., so that foreign tables may stand beside.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sqlite/sqlite.h"

/* entries and xattrs hold names as text, byte for byte; times are ns since the epoch. */
static const char sqlite_tables[] =
	"CREATE TABLE persistfs_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"INSERT INTO persistfs_meta(key, value) VALUES ('layout', 1), ('next_id', 16);"

	"CREATE TABLE persistfs_namespaces("
	"  id INTEGER PRIMARY KEY," /* of the root directory */
	"  name TEXT NOT NULL UNIQUE,"
	"  root INTEGER NOT NULL);"

	"CREATE TABLE persistfs_entries("
	"  parent INTEGER NOT NULL,"
	"  name TEXT NOT NULL,"
	"  object INTEGER NOT NULL,"
	"  seq INTEGER NOT NULL," /* never used again: the cursor of listings */
	"  PRIMARY KEY(parent, name)) WITHOUT ROWID;"
	"CREATE INDEX persistfs_entries_seq ON persistfs_entries(parent, seq, object);"

	"CREATE TABLE persistfs_objects("
	"  id INTEGER PRIMARY KEY,"
	"  ns INTEGER NOT NULL,"
	"  mode INTEGER NOT NULL,"
	"  uid INTEGER NOT NULL,"
	"  gid INTEGER NOT NULL,"
	"  nlink INTEGER NOT NULL,"
	"  rdev INTEGER NOT NULL,"
	"  size INTEGER NOT NULL,"
	"  stored INTEGER NOT NULL,"
	"  version INTEGER NOT NULL,"
	"  content_version INTEGER NOT NULL,"
	"  content INTEGER NOT NULL,"
	"  mtime INTEGER NOT NULL,"
	"  ctime INTEGER NOT NULL,"
	"  btime INTEGER NOT NULL);"

	/* key: content << 26 | index of a piece of 16384 bytes; a piece may be short or missing */
	"CREATE TABLE persistfs_chunks(key INTEGER PRIMARY KEY, data BLOB NOT NULL);"

	"CREATE TABLE persistfs_dirs("
	"  id INTEGER PRIMARY KEY,"
	"  ns INTEGER NOT NULL,"
	"  parent INTEGER NOT NULL,"
	"  path TEXT NOT NULL);" /* '' is the root; no slash before or behind */
	"CREATE INDEX persistfs_dirs_path ON persistfs_dirs(ns, path);"

	"CREATE TABLE persistfs_xattrs("
	"  object INTEGER NOT NULL,"
	"  name TEXT NOT NULL,"
	"  value BLOB NOT NULL,"
	"  PRIMARY KEY(object, name)) WITHOUT ROWID;"

	"CREATE TABLE persistfs_sessions("
	"  id INTEGER PRIMARY KEY,"
	"  heartbeat INTEGER NOT NULL,"
	"  pid INTEGER NOT NULL,"
	"  started INTEGER NOT NULL,"
	"  host TEXT NOT NULL,"
	"  acked INTEGER NOT NULL);" /* the last of changes that this session knows */
	"CREATE TABLE persistfs_orphans(object INTEGER PRIMARY KEY, session INTEGER NOT NULL);"
	"CREATE TABLE persistfs_holds("
	"  object INTEGER NOT NULL,"
	"  session INTEGER NOT NULL,"
	"  PRIMARY KEY(object, session)) WITHOUT ROWID;"
	"CREATE TABLE persistfs_staged("
	"  content INTEGER PRIMARY KEY,"
	"  session INTEGER NOT NULL,"
	"  size INTEGER NOT NULL,"
	"  stored INTEGER NOT NULL);"
	"CREATE TABLE persistfs_usage("
	"  ns INTEGER NOT NULL,"
	"  session INTEGER NOT NULL,"
	"  objects INTEGER NOT NULL,"
	"  bytes INTEGER NOT NULL,"
	"  PRIMARY KEY(ns, session)) WITHOUT ROWID;"
	"CREATE TABLE persistfs_locks("
	"  object INTEGER NOT NULL,"
	"  session INTEGER NOT NULL,"
	"  owner INTEGER NOT NULL,"
	"  first INTEGER NOT NULL,"
	"  last INTEGER NOT NULL,"
	"  mode INTEGER NOT NULL,"
	"  PRIMARY KEY(object, session, owner, first)) WITHOUT ROWID;"

	/* type: 0 nothing to tell, 1 entry, 2 attributes, 3 content, 4 the last name went */
	"CREATE TABLE persistfs_changes("
	"  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  session INTEGER NOT NULL," /* 0: an SQL client */
	"  type INTEGER NOT NULL,"
	"  dir INTEGER NOT NULL,"
	"  object INTEGER NOT NULL,"
	"  name TEXT NOT NULL);";

/* migrations[n] leads from layout n to n + 1; all that are needed run in one transaction. */
static const char *const migrations[PFS_KV_LAYOUT + 1] = {NULL};

static int make_layout(struct sqlite_conn *c)
{
	size_t i;
	int err;

	err = sqlite_exec(c, sqlite_tables);
	for (i = 0; sqlite_view_sql[i] && !err; i++)
		err = sqlite_exec(c, sqlite_view_sql[i]);
	return err;
}

/* Inside a transaction: make the layout or bring it up to date. */
static int update_layout(struct sqlite_conn *c, int64_t have)
{
	char sql[128];
	int64_t v;
	int err = 0;

	if (have == 0)
		return make_layout(c);
	for (v = have; v < PFS_KV_LAYOUT && migrations[v] && !err; v++)
		err = sqlite_exec(c, migrations[v]);
	sqlite3_snprintf(sizeof(sql), sql,
			 "UPDATE persistfs_meta SET value = %d"
			 " WHERE key = 'layout'",
			 PFS_KV_LAYOUT);
	return err ? err : sqlite_exec(c, sql);
}

static int ask_tables(const char *path, int flags, bool *ours, bool *others)
{
	static const char sql[] =
		"SELECT max(type = 'table' AND name = 'persistfs_meta'),"
		" max(name NOT LIKE 'persistfs\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')"
		" FROM sqlite_master WHERE type IN ('table', 'view')";
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int rc;

	rc = sqlite3_open_v2(path, &db, flags, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, 1000);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*ours = sqlite3_column_int(stmt, 0);
		*others = sqlite3_column_int(stmt, 1);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return rc;
}

int sqlite_tables_of(const char *path, bool *ours, bool *others)
{
	int rc = ask_tables(path, SQLITE_OPEN_READONLY, ours, others);

	/* Whoever opens it first after a crash undoes what was not committed. */
	if ((rc & 0xff) == SQLITE_READONLY)
		rc = ask_tables(path, SQLITE_OPEN_READWRITE, ours, others);
	return rc == SQLITE_ROW ? 0 : -EIO;
}

/*
 * *have: the version of the layout, 0 in an empty database. -EINVAL with msg: it is not ours.
 */
static int read_layout(struct sqlite_conn *c, int64_t *have, struct pfs_msg *msg)
{
	const char *path = c->b->path;
	int64_t tables = 0, ours = 0;
	int err;

	*have = 0;
	err = sqlite_query_int(c, "SELECT count(*) FROM sqlite_master", &tables);
	if (!err)
		err = sqlite_query_int(c,
				       "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
				       " AND name = 'persistfs_meta'",
				       &ours);
	if (err || tables == 0)
		return err;
	if (ours == 0) {
		pfs_msg_set(msg,
			    "%s is not a persistfs database: it has other tables and no"
			    " persistfs layout; name another path (nothing was changed)",
			    path);
		return -EINVAL;
	}
	if (sqlite_query_int(c,
			     "SELECT CAST(value AS INTEGER) FROM persistfs_meta"
			     " WHERE key = 'layout'",
			     have) != 0 ||
	    *have <= 0) {
		pfs_msg_set(msg,
			    "%s has a table persistfs_meta that is not persistfs's own; name"
			    " another path (nothing was changed)",
			    path);
		return -EINVAL;
	}
	if (*have > PFS_KV_LAYOUT) {
		pfs_msg_set(msg,
			    "%s has layout %lld, and this persistfs knows layouts up to %d; use"
			    " a newer persistfs",
			    path, (long long)*have, PFS_KV_LAYOUT);
		return -EINVAL;
	}
	return 0;
}

/* The tables must have the columns that we use: prepare what reads them. */
static int check_shape(struct sqlite_conn *c, struct pfs_msg *msg)
{
	sqlite3_stmt *stmt = NULL;
	size_t i;
	int rc = SQLITE_OK;

	for (i = 0; i < KV_STMT_COUNT && rc == SQLITE_OK; i++) {
		rc = sqlite3_prepare_v2(c->db, pfs_kv_sql[i], -1, &stmt, NULL);
		sqlite3_finalize(stmt);
	}
	if (rc != SQLITE_OK && (rc & 0xff) == SQLITE_ERROR) {
		pfs_msg_set(msg, "the persistfs tables of %s are not of layout %d: %s", c->b->path,
			    PFS_KV_LAYOUT, sqlite3_errmsg(c->db));
		return -EINVAL;
	}
	return sqlite_error(c->db, rc);
}

int sqlite_layout(struct sqlite_conn *c, bool create, struct pfs_msg *msg)
{
	int64_t have = 0;
	int err;

	err = read_layout(c, &have, msg);
	if (!err && have == 0 && !create) {
		pfs_msg_set(msg, "%s is empty and read-only", c->b->path);
		err = -EROFS;
	}
	if (err || !create)
		return err ? err : check_shape(c, msg);
	if (have == 0)
		err = sqlite_exec(c, "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'");
	if (!err)
		err = sqlite_exec(c, "PRAGMA journal_mode = WAL");
	if (!err && have == PFS_KV_LAYOUT)
		return check_shape(c, msg);
	if (!err)
		err = sqlite_exec(c, "BEGIN IMMEDIATE");
	if (err)
		return err;
	err = read_layout(c, &have, msg); /* somebody may have been faster */
	if (!err && have < PFS_KV_LAYOUT)
		err = update_layout(c, have);
	if (err)
		sqlite_exec(c, "ROLLBACK");
	else
		err = sqlite_exec(c, "COMMIT");
	return err ? err : check_shape(c, msg);
}
