/*
 * Tables of keys and values that belong to other applications, over SQLite and PostgreSQL: what a client
 * of the application writes is read, what is written here the client reads, and what cannot be is refused
 * with the old value still there.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/names.h"
#include "mount/config.h"
#include "tests/contract/lib_postgres.h"

/* ---- the ground ----------------------------------------------------------------------------- */

struct plain_test {
	bool postgres;
	char dir[64], path[128], schema[64];
	struct pfs_option *table;
	struct pfs_option_set host_set, set;
	struct pfs_backend *host, *view;
	struct pfs_store *s;
	uint64_t root;
	sqlite3 *lite;
	PGconn *pg;
	int events; /* PFS_EVENT_ALL; atomic */
};

static const char *sql_text(struct plain_test *t, const char *fmt, va_list ap)
{
	static char sql[200000];

	(void)t;
	vsnprintf(sql, sizeof(sql), fmt, ap);
	return sql;
}

/* As the application's own client. */
static void run(struct plain_test *t, const char *fmt, ...) PFS_PRINTF(2, 3);
static void run(struct plain_test *t, const char *fmt, ...)
{
	char *text = NULL;
	const char *sql;
	va_list ap;

	va_start(ap, fmt);
	sql = sql_text(t, fmt, ap);
	va_end(ap);
	if (t->postgres)
		pq_sql(t->pg, "%s", sql);
	else if (sqlite3_exec(t->lite, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

/* The first column of the first row, or "(none)". */
static const char *ask(struct plain_test *t, const char *fmt, ...) PFS_PRINTF(2, 3);
static const char *ask(struct plain_test *t, const char *fmt, ...)
{
	static char out[4][100000];
	static unsigned next;
	char *at = out[next++ % 4];
	sqlite3_stmt *stmt = NULL;
	const char *sql, *got = NULL;
	PGresult *res = NULL;
	va_list ap;

	va_start(ap, fmt);
	sql = sql_text(t, fmt, ap);
	va_end(ap);
	if (t->postgres) {
		res = PQexec(t->pg, sql);
		if (PQresultStatus(res) != PGRES_TUPLES_OK)
			fail_msg("%s: %s", sql, PQresultErrorMessage(res));
		if (PQntuples(res))
			got = PQgetisnull(res, 0, 0) ? "(null)" : PQgetvalue(res, 0, 0);
	} else {
		if (sqlite3_prepare_v2(t->lite, sql, -1, &stmt, NULL) != SQLITE_OK)
			fail_msg("%s: %s", sql, sqlite3_errmsg(t->lite));
		if (sqlite3_step(stmt) == SQLITE_ROW)
			got = (const char *)sqlite3_column_text(stmt, 0);
		if (stmt && !got && sqlite3_data_count(stmt))
			got = "(null)";
	}
	snprintf(at, sizeof(out[0]), "%s", got ? got : "(none)");
	sqlite3_finalize(stmt);
	PQclear(res);
	return at;
}

static void watcher(void *arg, const struct pfs_event *events, size_t n)
{
	struct plain_test *t = arg;
	size_t i;

	for (i = 0; i < n; i++)
		if (events[i].type == PFS_EVENT_ALL)
			__atomic_add_fetch(&t->events, 1, __ATOMIC_SEQ_CST);
}

static void option(struct plain_test *t, const char *name, const char *text)
{
	struct pfs_msg msg = {""};

	if (pfs_option_set_text(&t->set, name, text, &msg))
		fail_msg("%s = %s: %s", name, text, msg.text);
}

static void close_view(struct plain_test *t)
{
	pfs_store_free(t->s);
	pfs_backend_free(t->view);
	t->s = NULL;
	t->view = NULL;
}

/* Options are NAME, VALUE, ..., NULL. The error of adopt or start; msg. */
static int try_open(struct plain_test *t, struct pfs_msg *msg, va_list ap)
{
	const char *name, *value;
	int err;

	close_view(t);
	pfs_option_set_release(&t->set);
	assert_int_equal(pfs_option_set_init(&t->set, pfs_store_options), 0);
	option(t, "read_only", "no");
	while ((name = va_arg(ap, const char *))) {
		value = va_arg(ap, const char *);
		option(t, name, value);
	}
	err = t->host->engine->adopt(t->host, PFS_LAYOUT_PLAIN, "view", &t->set, &t->view, msg);
	if (err)
		return err;
	pfs_backend_watch(t->view, watcher, t);
	err = pfs_backend_start(t->view, msg);
	if (err)
		return err;
	assert_int_equal(pfs_backend_open(t->view, "view", false, &t->s, msg), 0);
	assert_int_equal(pfs_store_root(t->s, &t->root), 0);
	return 0;
}

static void open_view(struct plain_test *t, ...)
{
	struct pfs_msg msg = {""};
	va_list ap;
	int err;

	va_start(ap, t);
	err = try_open(t, &msg, ap);
	va_end(ap);
	if (err)
		fail_msg("%s (%s)", msg.text, strerror(-err));
}

/* It cannot be opened, and the message says `want`. */
static void refused(struct plain_test *t, const char *want, ...)
{
	struct pfs_msg msg = {""};
	va_list ap;
	int err;

	va_start(ap, want);
	err = try_open(t, &msg, ap);
	va_end(ap);
	assert_int_not_equal(err, 0);
	if (!strstr(msg.text, want))
		fail_msg("'%s' says nothing of '%s'", msg.text, want);
}

static int setup(void **state, bool postgres)
{
	struct plain_test *t = calloc(1, sizeof(*t));
	const struct pfs_engine *engine = pfs_engine_find(postgres ? "postgres" : "sqlite");
	static unsigned count;
	struct pfs_msg msg = {""};
	char url[600];

	assert_non_null(t);
	t->postgres = postgres;
	t->table = pfs_engine_options(engine);
	assert_int_equal(pfs_option_set_init(&t->host_set, t->table), 0);
	assert_int_equal(pfs_option_set_init(&t->set, pfs_store_options), 0);
	if (postgres) {
		t->pg = pq_client(NULL);
		snprintf(t->schema, sizeof(t->schema), "plain_%d_%u", (int)getpid(), ++count);
		pq_sql(t->pg, "CREATE SCHEMA %s", t->schema);
		pq_sql(t->pg, "SET search_path = %s", t->schema);
		pq_sql(t->pg, "SET TimeZone = 'Europe/Madrid'");
		snprintf(url, sizeof(url), "%s options='-c search_path=%s' application_name=%s",
			 getenv("PERSISTFS_TEST_POSTGRES"), t->schema, t->schema);
		assert_int_equal(pfs_option_set_text(&t->host_set, "url", url, NULL), 0);
	} else {
		snprintf(t->dir, sizeof(t->dir), "/tmp/pfs-plain-XXXXXX");
		assert_non_null(mkdtemp(t->dir));
		snprintf(t->path, sizeof(t->path), "%s/app.db", t->dir);
		assert_int_equal(sqlite3_open(t->path, &t->lite), SQLITE_OK);
		sqlite3_busy_timeout(t->lite, 5000);
		assert_int_equal(pfs_option_set_text(&t->host_set, "path", t->path, NULL), 0);
	}
	if (pfs_backend_new("app", engine, &t->host_set, &t->host, &msg))
		fail_msg("%s", msg.text);
	t->host->own = false;
	assert_int_equal(pfs_backend_start(t->host, &msg), 0);
	*state = t;
	return 0;
}

static int setup_sqlite(void **state)
{
	return setup(state, false);
}

static int setup_postgres(void **state)
{
	return setup(state, true);
}

static int teardown(void **state)
{
	struct plain_test *t = *state;
	char command[128];

	close_view(t);
	pfs_backend_free(t->host);
	if (t->postgres) {
		pq_sql(t->pg, "DROP SCHEMA %s CASCADE", t->schema);
		PQfinish(t->pg);
	} else {
		sqlite3_close(t->lite);
		snprintf(command, sizeof(command), "rm -rf '%s'", t->dir);
		assert_int_equal(system(command), 0);
	}
	pfs_option_set_release(&t->host_set);
	pfs_option_set_release(&t->set);
	free(t->table);
	free(t);
	return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* The directory of `path` and its last name. */
static int walk(struct plain_test *t, const char *path, uint64_t *dir, const char **name)
{
	struct pfs_attr attr;
	const char *slash;
	int err;

	*dir = t->root;
	while ((slash = strchr(path, '/'))) {
		err = pfs_store_lookup(t->s, *dir,
				       (struct pfs_bytes){path, (size_t)(slash - path)}, &attr);
		if (err)
			return err;
		*dir = attr.id;
		path = slash + 1;
	}
	*name = path;
	return 0;
}

static int look(struct plain_test *t, const char *path, struct pfs_attr *out)
{
	const char *name;
	uint64_t dir;
	int err = walk(t, path, &dir, &name);

	if (!err && !name[0])
		return pfs_store_getattr(t->s, dir, out);
	return err ? err : pfs_store_lookup(t->s, dir, pfs_bytes_str(name), out);
}

static void holds(struct plain_test *t, const char *path, const char *want)
{
	struct pfs_attr attr;
	char buf[70000];
	ssize_t n;
	int err = look(t, path, &attr);

	if (err)
		fail_msg("%s: %s", path, strerror(-err));
	n = pfs_store_read(t->s, attr.id, 0, buf, sizeof(buf) - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, want);
	assert_int_equal(attr.size, n);
}

static void absent(struct plain_test *t, const char *path)
{
	struct pfs_attr attr;

	assert_int_equal(look(t, path, &attr), -ENOENT);
}

static int put_bytes(struct plain_test *t, const char *path, const void *p, size_t len)
{
	struct pfs_seg seg = {.p = p, .len = len};
	struct pfs_mutation m = {.segs = &seg, .nsegs = len ? 1 : 0, .size = len};
	struct pfs_attr attr;
	const char *name;
	int err = walk(t, path, &m.dir, &name);

	if (err)
		return err;
	if (look(t, path, &attr) == 0) {
		m.op = PFS_OP_REPLACE;
		m.id = attr.id;
	} else {
		m.op = PFS_OP_CREATE;
		m.name = pfs_bytes_str(name);
		m.set.mode = S_IFREG | 0600;
		assert_int_equal(pfs_store_alloc_ids(t->s, 1, &m.id), 0);
	}
	err = s_batch(t->s, &m, 1, NULL);
	if (!err) {
		assert_int_equal(pfs_store_getattr(t->s, m.id, &attr), 0);
		assert_int_equal(attr.size, m.attr.size);
		assert_int_equal(attr.content_version, m.attr.content_version);
	}
	return err;
}

static int put(struct plain_test *t, const char *path, const char *text)
{
	return put_bytes(t, path, text, strlen(text));
}

/* What a rewrite would be told. */
static int try_bytes(struct plain_test *t, const char *path, const void *p, size_t len)
{
	struct pfs_seg seg = {.p = p, .len = len};
	struct pfs_mutation m = {.op = PFS_OP_REPLACE, .segs = &seg, .nsegs = 1, .size = len};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = pfs_now_ns(), .trial = true,
				  .epoch = pfs_store_epoch(t->s)};
	struct pfs_attr attr;

	assert_int_equal(look(t, path, &attr), 0);
	m.id = attr.id;
	return pfs_store_commit(t->s, &batch);
}

static int append(struct plain_test *t, const char *path, const char *text)
{
	struct pfs_seg seg = {.p = text, .len = strlen(text)};
	struct pfs_mutation m;
	struct pfs_attr attr;

	assert_int_equal(look(t, path, &attr), 0);
	m = m_content(PFS_OP_APPEND, attr.id, &seg, 1);
	return s_batch(t->s, &m, 1, NULL);
}

static int drop(struct plain_test *t, const char *path, bool is_dir)
{
	struct pfs_mutation m;
	const char *name;
	uint64_t dir;
	int err = walk(t, path, &dir, &name);

	m = m_remove(dir, name, is_dir ? PFS_F_DIR : 0);
	return err ? err : s_batch(t->s, &m, 1, NULL);
}

static int make_dir(struct plain_test *t, const char *path)
{
	struct pfs_mutation m;
	const char *name;
	uint64_t dir, id;
	int err = walk(t, path, &dir, &name);

	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &id), 0);
	m = m_create(id, dir, name, S_IFDIR | 0700);
	return err ? err : s_batch(t->s, &m, 1, NULL);
}

static int move(struct plain_test *t, const char *from, const char *to, uint32_t flags)
{
	const char *name, *name2;
	struct pfs_mutation m;
	uint64_t dir, dir2;

	assert_int_equal(walk(t, from, &dir, &name), 0);
	assert_int_equal(walk(t, to, &dir2, &name2), 0);
	m = m_rename(dir, name, dir2, name2, flags);
	return s_batch(t->s, &m, 1, NULL);
}

static int set_expires(struct plain_test *t, const char *path, int64_t expires)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR};
	struct pfs_attr attr;

	assert_int_equal(look(t, path, &attr), 0);
	m.id = attr.id;
	m.set.mask = PFS_SET_EXPIRES;
	m.set.expires = expires;
	return s_batch(t->s, &m, 1, NULL);
}

/* The names of a directory, each with a blank behind it, / behind directories; in pages of `limit`. */
static const char *list(struct plain_test *t, const char *path, size_t limit)
{
	static char out[100000];
	struct pfs_list *page = NULL;
	struct pfs_attr dir;
	uint64_t cursor = 0;
	size_t i, n = 0;
	bool end = false;

	out[0] = '\0';
	assert_int_equal(look(t, path, &dir), 0);
	while (!end) {
		assert_int_equal(pfs_store_list(t->s, dir.id, cursor, limit, &page), 0);
		for (i = 0; i < page->n; i++) {
			const struct pfs_dirent *e = &page->entries[i];

			n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s%s ",
					      (int)e->name.len, e->name.p,
					      S_ISDIR(e->attr.mode) ? "/" : "");
			cursor = e->cursor;
		}
		end = page->end;
		pfs_list_free(page);
	}
	return out;
}

static void lists(struct plain_test *t, const char *path, const char *want)
{
	size_t limit;

	for (limit = 1; limit < 5; limit++)
		assert_string_equal(list(t, path, limit), want);
	assert_string_equal(list(t, path, 4096), want);
}

/* ---- shapes of applications ----------------------------------------------------------------- */

static void llamastack(struct plain_test *t)
{
	run(t, t->postgres ? "CREATE TABLE llamastack_kvstore (key TEXT PRIMARY KEY, value TEXT,"
			     " expiration TIMESTAMP)"
			   : "CREATE TABLE kvstore (key TEXT PRIMARY KEY, value TEXT,"
			     " expiration TIMESTAMP)");
}

static const char *kvstore(struct plain_test *t)
{
	return t->postgres ? "llamastack_kvstore" : "kvstore";
}

/* INSERT ... ON CONFLICT, as the application has it. */
static void app_set(struct plain_test *t, const char *key, const char *value, const char *expires)
{
	run(t, "INSERT INTO %s (key, value, expiration) VALUES ('%s', '%s', %s%s%s)"
	       " ON CONFLICT (key) DO UPDATE SET value = excluded.value,"
	       " expiration = excluded.expiration",
	    kvstore(t), key, value, expires ? "'" : "", expires ? expires : "NULL",
	    expires ? "'" : "");
}

static const char *app_get(struct plain_test *t, const char *key)
{
	return ask(t, "SELECT value FROM %s WHERE key = '%s'", kvstore(t), key);
}

static void keys_are_files_and_values_their_bytes(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "registry:model", "{\"id\": 1}", NULL);
	app_set(t, "a/b", "slash", NULL);
	app_set(t, "", "empty key", NULL);
	app_set(t, "empty", "", NULL);
	open_view(t, "preset", "llamastack", NULL);
	lists(t, "", "%EMPTY a%2Fb empty registry:model ");
	holds(t, "registry:model", "{\"id\": 1}");
	holds(t, "a%2Fb", "slash");
	holds(t, "%EMPTY", "empty key");
	holds(t, "empty", "");
	absent(t, "nothing");
	assert_int_equal(put(t, "registry:model", "{}"), 0);
	assert_string_equal(app_get(t, "registry:model"), "{}");
	assert_int_equal(put(t, "new", "value"), 0);
	assert_string_equal(app_get(t, "new"), "value");
	assert_int_equal(append(t, "new", " and more"), 0);
	assert_string_equal(app_get(t, "new"), "value and more");
	assert_int_equal(drop(t, "a%2Fb", false), 0);
	assert_string_equal(app_get(t, "a/b"), "(none)");
	assert_int_equal(drop(t, "a%2Fb", false), -ENOENT);
	assert_int_equal(make_dir(t, "dir"), -EPERM);
	if (!t->postgres)
		assert_string_equal(ask(t, "SELECT group_concat(DISTINCT typeof(value)) FROM kvstore"),
				    "text");
}

static void hostile_names_go_through_every_path(void **state)
{
	static const char *const keys[] = {
		"it''s", "\"quoted\"", "%", "%25", "100%", "%2F", "a\nb", "?1", "$1", "ключ", "..",
		".", "%EMPTY", "%VALUE", "x'; DROP TABLE t; --", "a\tb", " ", "\\", "e\xcc\x81",
	};
	struct plain_test *t = *state;
	const struct pfs_key_encoding enc = {.text = true};
	struct pfs_buf name = {0};
	char key[64];
	size_t i, n;

	run(t, "CREATE TABLE \"the \"\"table\"\" ?1 $1\" (\"it's ?2\" TEXT PRIMARY KEY,"
	       " \"va \"\"lue\" TEXT, \"ex;pires\" %s, \"changed at\" %s)",
	    t->postgres ? "TIMESTAMPTZ" : "TIMESTAMP", t->postgres ? "TIMESTAMPTZ" : "TIMESTAMP");
	open_view(t, "table", "the \"table\" ?1 $1", "key_column", "it's ?2", "value_column",
		  "va \"lue", "expires_column", "ex;pires", "mtime_column", "changed at", NULL);
	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
		for (n = 0; keys[i][n]; n++)
			key[n] = keys[i][n];
		key[n] = '\0';
		if (strcmp(key, "it''s") == 0)
			strcpy(key, "it's");
		name.len = 0;
		assert_int_equal(pfs_names_from_key(&enc, pfs_bytes_str(key), false, &name, NULL), 0);
		assert_int_equal(put(t, name.data, key), 0);
		holds(t, name.data, key);
		assert_int_equal(put(t, name.data, "second"), 0);
		assert_int_equal(append(t, name.data, "!"), 0);
		holds(t, name.data, "second!");
		assert_int_equal(set_expires(t, name.data, pfs_now_ns() + 3600 * NSEC_PER_SEC), 0);
		assert_int_equal(move(t, name.data, "moved", 0), 0);
		absent(t, name.data);
		assert_int_equal(move(t, "moved", name.data, PFS_F_NOREPLACE), 0);
		holds(t, name.data, "second!");
	}
	assert_int_equal(atoi(ask(t, "SELECT count(*) FROM \"the \"\"table\"\" ?1 $1\""
				     " WHERE \"va \"\"lue\" = 'second!'")),
			 PFS_ARRAY_SIZE(keys));
	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
		name.len = 0;
		pfs_names_from_key(&enc, pfs_bytes_str(i ? keys[i] : "it's"), false, &name, NULL);
		assert_int_equal(drop(t, name.data, false), 0);
	}
	assert_string_equal(ask(t, "SELECT count(*) FROM \"the \"\"table\"\" ?1 $1\""), "0");
	lists(t, "", "");
	pfs_buf_release(&name);
}

static void looking_changes_nothing(void **state)
{
	struct plain_test *t = *state;
	char before[4000];
	const char *dump = t->postgres
				   ? "SELECT string_agg(x::text || xmin::text, ',' ORDER BY key) ||"
				     " (SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class"
				     " WHERE relnamespace = current_schema()::regnamespace)"
				     " FROM llamastack_kvstore x"
				   : "SELECT group_concat(key || value || coalesce(expiration, '-')) ||"
				     " (SELECT group_concat(sql) FROM sqlite_master) FROM kvstore";

	llamastack(t);
	app_set(t, "a:b", "1", "2031-01-02 03:04:05");
	app_set(t, "a:c", "2", "2001-01-02 03:04:05");
	snprintf(before, sizeof(before), "%s", ask(t, "%s", dump));
	open_view(t, "preset", "llamastack", "separator", ":", NULL);
	lists(t, "", "a/ ");
	lists(t, "a/", "b ");
	holds(t, "a/b", "1");
	absent(t, "a/c");
	close_view(t);
	assert_string_equal(ask(t, "%s", dump), before);
	if (!t->postgres)
		assert_string_equal(ask(t, "PRAGMA journal_mode"), "delete");
}

/* ---- expiry --------------------------------------------------------------------------------- */

static void expired_rows_are_not_there(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr attr;

	llamastack(t);
	app_set(t, "old", "x", "2025-01-02 03:04:05+00:00");
	app_set(t, "old iso", "x", "2025-01-02T03:04:05+00:00");
	app_set(t, "young", "x", "2035-01-02 03:04:05+00:00");
	app_set(t, "young iso", "x", "2035-01-02T03:04:05.5+00:00");
	app_set(t, "for ever", "x", NULL);
	open_view(t, "preset", "llamastack", NULL);
	lists(t, "", "for ever young young iso ");
	absent(t, "old");
	absent(t, "old iso");
	assert_int_equal(look(t, "young iso", &attr), 0);
	assert_int_equal(attr.expires, 2051319845 * NSEC_PER_SEC + NSEC_PER_SEC / 2);
	assert_int_equal(look(t, "for ever", &attr), 0);
	assert_int_equal(attr.expires, 0);
	/* Made anew, such a key has its row, and does not expire. */
	assert_int_equal(put(t, "old", "new"), 0);
	holds(t, "old", "new");
	assert_string_equal(ask(t, "SELECT expiration FROM %s WHERE key = 'old'", kvstore(t)),
			    "(null)");
	/* Nor is it in the way of a rename. */
	assert_int_equal(move(t, "young", "old iso", PFS_F_NOREPLACE), 0);
	lists(t, "", "for ever old old iso young iso ");
}

static void a_write_keeps_the_expiry(void **state)
{
	struct plain_test *t = *state;
	char before[64];

	llamastack(t);
	app_set(t, "k", "x", "2035-01-02 03:04:05+00:00");
	open_view(t, "preset", "llamastack", NULL);
	snprintf(before, sizeof(before), "%s", ask(t, "SELECT expiration FROM %s", kvstore(t)));
	assert_int_equal(put(t, "k", "y"), 0);
	assert_int_equal(append(t, "k", "z"), 0);
	assert_int_equal(move(t, "k", "l", 0), 0);
	assert_int_equal(put(t, "new", "n"), 0);
	assert_int_equal(move(t, "new", "l", 0), 0);
	holds(t, "l", "n");
	assert_string_equal(ask(t, "SELECT expiration FROM %s", kvstore(t)), before);
	assert_string_equal(ask(t, "SELECT count(*) FROM %s", kvstore(t)), "1");
}

static void an_expiry_is_written_as_the_column_has_it(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr attr;
	char names[200];

	llamastack(t);
	app_set(t, "k", "x", NULL);
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(set_expires(t, "k", 2051319845 * NSEC_PER_SEC), 0);
	assert_string_equal(ask(t, "SELECT expiration FROM %s", kvstore(t)),
			    t->postgres ? "2035-01-02 03:04:05" : "2035-01-02T03:04:05+00:00");
	assert_int_equal(look(t, "k", &attr), 0);
	assert_int_equal(attr.expires, 2051319845 * NSEC_PER_SEC);
	{
		struct pfs_buf out = {0};

		assert_int_equal(pfs_store_xattr_list(t->s, attr.id, &out), 0);
		snprintf(names, sizeof(names), "%s", out.data);
		pfs_buf_release(&out);
	}
	assert_string_equal(names, "user.persistfs.expires");
	assert_int_equal(set_expires(t, "k", 0), 0);
	assert_string_equal(ask(t, "SELECT expiration FROM %s", kvstore(t)), "(null)");
	assert_int_equal(set_expires(t, "k", pfs_now_ns() - NSEC_PER_SEC), 0);
	absent(t, "k");
	run(t, "CREATE TABLE numbers (key TEXT PRIMARY KEY, value TEXT, until BIGINT)");
	run(t, "INSERT INTO numbers VALUES ('old', 'x', 1700000000), ('young', 'x', 2051319845)");
	open_view(t, "table", "numbers", "expires_column", "until", NULL);
	lists(t, "", "young ");
	assert_int_equal(set_expires(t, "young", 2051319845 * NSEC_PER_SEC + 1), 0);
	assert_string_equal(ask(t, "SELECT until FROM numbers WHERE key = 'young'"), "2051319846");
	run(t, "CREATE TABLE texts (key TEXT PRIMARY KEY, value TEXT, until TEXT)");
	run(t, "INSERT INTO texts VALUES ('old', 'x', '2025-01-02 03:04:05+00:00'),"
	       " ('odd', 'x', 'whenever'), ('feb', 'x', '2025-02-30T00:00:00Z'),"
	       " ('young', 'x', '2035-01-02T03:04:05+01:00')");
	open_view(t, "table", "texts", "expires_column", "until", NULL);
	lists(t, "", t->postgres ? "odd young " : "odd young ");
	assert_int_equal(set_expires(t, "odd", 2051319845 * NSEC_PER_SEC + 5000), 0);
	assert_string_equal(ask(t, "SELECT until FROM texts WHERE key = 'odd'"),
			    "2035-01-02T03:04:05.000005+00:00");
}

/* rsync's temporary file of a key whose name is an escape. */
static void scratch_files_need_no_name_of_keys(void **state)
{
	struct plain_test *t = *state;
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .flags = PFS_F_LATE, .set.mode = S_IFREG | 0600};
	struct pfs_attr attr;
	const char *name;

	llamastack(t);
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(put(t, ".%2E.abcdef", "value"), 0);
	assert_int_equal(move(t, ".%2E.abcdef", "%2E", 0), 0);
	assert_string_equal(app_get(t, "."), "value");
	assert_int_equal(move(t, "%2E", "%2E~", 0), 0);
	assert_int_equal(put(t, "%2E", "again"), 0);
	assert_string_equal(app_get(t, "."), "again");
	assert_int_equal(look(t, "%2Ex", &attr), -ENOENT);
	/* Told before anything is written. */
	assert_int_equal(walk(t, "%2Ex", &m.dir, &name), 0);
	m.name = pfs_bytes_str(name);
	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &m.id), 0);
	assert_int_equal(s_batch(t->s, &m, 1, NULL), -EILSEQ);
}

/* ---- types ---------------------------------------------------------------------------------- */

static void text_stays_text(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "k", "old", NULL);
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(put_bytes(t, "k", "a\xff", 2), -EILSEQ);
	assert_int_equal(put_bytes(t, "k", "a\0b", 3), -EILSEQ);
	assert_int_equal(put_bytes(t, "n", "a\0b", 3), -EILSEQ);
	assert_non_null(strstr(pfs_error_text(), "UTF-8"));
	holds(t, "k", "old");
	absent(t, "n");
	assert_int_equal(put(t, "k", "не ascii"), 0);
	assert_string_equal(app_get(t, "k"), "не ascii");
}

static void what_does_not_fit_is_told_before_it_is_written(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "k", "old", NULL);
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(try_bytes(t, "k", "a\xff", 2), -EILSEQ);
	assert_int_equal(try_bytes(t, "k", "a\0b", 3), -EILSEQ);
	assert_int_equal(try_bytes(t, "k", "a\xc3", 2), 0); /* the rest may follow */
	assert_int_equal(try_bytes(t, "k", "new", 3), 0);
	holds(t, "k", "old");
	run(t, "CREATE TABLE j (key TEXT PRIMARY KEY, value %s)",
	    t->postgres ? "JSONB" : "JSON CHECK (json_valid(value))");
	run(t, "INSERT INTO j VALUES ('k', '[1]')");
	open_view(t, "table", "j", NULL);
	assert_int_equal(try_bytes(t, "k", "nope", 4), -EINVAL);
	assert_int_equal(try_bytes(t, "k", "{\"a\": ", 6), 0);
	assert_int_equal(try_bytes(t, "k", "{\"a\": 1}", 8), 0);
	holds(t, "k", "[1]");
	assert_int_equal(put(t, "k", "{\"a\": 1}"), 0);
}

static void bytes_stay_bytes(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr attr;
	char buf[10];

	run(t, "CREATE TABLE blobs (key TEXT PRIMARY KEY, value %s)", t->postgres ? "BYTEA" : "BLOB");
	run(t, t->postgres ? "INSERT INTO blobs VALUES ('b', '\\x00ff80')"
			   : "INSERT INTO blobs VALUES ('b', x'00ff80'), ('t', 'text')");
	open_view(t, "table", "blobs", NULL);
	assert_int_equal(look(t, "b", &attr), 0);
	assert_int_equal(attr.size, 3);
	assert_int_equal(pfs_store_read(t->s, attr.id, 1, buf, 10), 2);
	assert_memory_equal(buf, "\xff\x80", 2);
	assert_int_equal(put_bytes(t, "b", "\0\1\xfe", 3), 0);
	assert_int_equal(append(t, "b", "z"), 0);
	assert_int_equal(put(t, "new", "n"), 0);
	if (t->postgres) {
		assert_string_equal(ask(t, "SELECT value FROM blobs WHERE key = 'b'"),
				    "\\x0001fe7a");
		return;
	}
	assert_string_equal(ask(t, "SELECT hex(value) || typeof(value) FROM blobs WHERE key = 'b'"),
			    "0001FE7Ablob");
	assert_string_equal(ask(t, "SELECT typeof(value) FROM blobs WHERE key = 'new'"), "blob");
	assert_int_equal(put(t, "t", "still"), 0);
	assert_string_equal(ask(t, "SELECT typeof(value) FROM blobs WHERE key = 't'"), "text");
}

static void json_is_what_the_engine_makes_of_it(void **state)
{
	struct plain_test *t = *state;

	run(t, "CREATE TABLE docs (key TEXT PRIMARY KEY, value %s NOT NULL%s)",
	    t->postgres ? "JSONB" : "JSON", t->postgres ? "" : " CHECK (json_valid(value))");
	run(t, "INSERT INTO docs VALUES ('k', '{\"a\": 1}')");
	open_view(t, "table", "docs", NULL);
	holds(t, "k", "{\"a\": 1}");
	assert_int_equal(put(t, "k", "{\"b\":2,\"a\":1}"), 0);
	holds(t, "k", t->postgres ? "{\"a\": 1, \"b\": 2}" : "{\"b\":2,\"a\":1}");
	assert_int_equal(put(t, "k", "{nonsense"), -EINVAL);
	assert_non_null(strstr(pfs_error_text(), t->postgres ? "json" : "CHECK"));
	holds(t, "k", t->postgres ? "{\"a\": 1, \"b\": 2}" : "{\"b\":2,\"a\":1}");
	assert_int_equal(put(t, "n", "["), -EINVAL);
	absent(t, "n");
}

static void null_is_an_empty_file_that_says_so(void **state)
{
	struct plain_test *t = *state;
	struct pfs_seg one = {.p = "1", .len = 1};
	struct pfs_mutation m;
	struct pfs_attr attr;
	char buf[8];

	llamastack(t);
	run(t, "INSERT INTO %s (key, value) VALUES ('n', NULL), ('e', '')", kvstore(t));
	open_view(t, "preset", "llamastack", NULL);
	holds(t, "n", "");
	assert_int_equal(look(t, "n", &attr), 0);
	assert_int_equal(pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.null"), buf, 8),
			 1);
	m = m_removexattr(attr.id, "user.persistfs.null");
	assert_int_equal(s_batch(t->s, &m, 1, NULL), 0);
	assert_string_equal(app_get(t, "n"), "");
	assert_int_equal(look(t, "e", &attr), 0);
	m = m_setxattr(attr.id, "user.persistfs.null", &one, 0);
	assert_int_equal(s_batch(t->s, &m, 1, NULL), 0);
	assert_string_equal(app_get(t, "e"), "(null)");
}

/* rsync -X says so before it renames: where no empty text can be, none is written. */
static void a_copy_of_null_is_null_at_once(void **state)
{
	struct plain_test *t = *state;
	struct pfs_seg one = {.p = "1", .len = 1};
	struct pfs_mutation m;
	struct pfs_attr attr;

	run(t, "CREATE TABLE strict (key TEXT PRIMARY KEY, value TEXT CHECK (value <> ''))");
	open_view(t, "table", "strict", NULL);
	assert_int_equal(put(t, ".k.abcdef", ""), 0);
	assert_int_equal(move(t, ".k.abcdef", "k", 0), -EINVAL);
	assert_int_equal(look(t, ".k.abcdef", &attr), 0);
	m = m_setxattr(attr.id, "user.persistfs.null", &one, 0);
	assert_int_equal(s_batch(t->s, &m, 1, NULL), 0);
	assert_int_equal(move(t, ".k.abcdef", "k", 0), 0);
	assert_string_equal(ask(t, "SELECT value FROM strict WHERE key = 'k'"), "(null)");
}

static const char *add_many(void *arg, unsigned i)
{
	struct pfs_seg seg = {.p = "3", .len = 1};
	struct plain_test *t = arg;
	struct pfs_mutation m;
	struct pfs_attr attr;
	int k, err;

	(void)i;
	for (k = 0; k < 10; k++) {
		err = pfs_store_lookup(t->s, t->root, PFS_BYTES("n"), &attr);
		m = m_setxattr(attr.id, "user.persistfs.incr", &seg, 0);
		if (!err)
			err = s_batch(t->s, &m, 1, NULL);
		if (err)
			return strerror(-err);
	}
	return NULL;
}

static void counters_are_added_to(void **state)
{
	struct plain_test *t = *state;
	struct pfs_seg seg = {.p = "-5", .len = 2};
	struct pfs_mutation m;
	struct pfs_attr attr;

	run(t, "CREATE TABLE counters (key TEXT PRIMARY KEY, value %s)", t->postgres ? "TEXT" : "");
	run(t, "INSERT INTO counters VALUES ('n', %s), ('t', 'text')", t->postgres ? "'4'" : "4");
	open_view(t, "table", "counters", NULL);
	c_threads(3, add_many, t);
	holds(t, "n", "94");
	assert_int_equal(look(t, "n", &attr), 0);
	m = m_setxattr(attr.id, "user.persistfs.incr", &seg, 0);
	assert_int_equal(s_batch(t->s, &m, 1, NULL), 0);
	assert_string_equal(ask(t, "SELECT value FROM counters WHERE key = 'n'"), "89");
	assert_int_equal(put(t, "n", "7"), 0);
	if (!t->postgres)
		assert_string_equal(ask(t, "SELECT typeof(value) FROM counters WHERE key = 'n'"),
				    "integer");
	assert_int_equal(look(t, "t", &attr), 0);
	m = m_setxattr(attr.id, "user.persistfs.incr", &seg, 0);
	assert_int_equal(s_batch(t->s, &m, 1, NULL), -EINVAL);
	holds(t, "t", "text");
}

/* ---- directories ---------------------------------------------------------------------------- */

static void a_separator_makes_directories(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr attr;

	llamastack(t);
	app_set(t, "session:A:S", "s", NULL);
	app_set(t, "session:A:S:T1", "t1", NULL);
	app_set(t, "session:A:S!", "between", NULL);
	app_set(t, "session:A:X:1", "1", NULL);
	app_set(t, "session:A:X:2", "2", NULL);
	app_set(t, "vector_io::faiss", "v", NULL);
	app_set(t, "plain", "p", NULL);
	open_view(t, "preset", "llamastack", "separator", ":", NULL);
	lists(t, "", "plain session/ vector_io/ ");
	lists(t, "session/A/", "S/ S! X/ ");
	lists(t, "session/A/S/", "%VALUE T1 ");
	lists(t, "session/A/X/", "1 2 ");
	lists(t, "vector_io/", "%EMPTY/ ");
	holds(t, "session/A/S/%VALUE", "s");
	holds(t, "session/A/S/T1", "t1");
	holds(t, "vector_io/%EMPTY/faiss", "v");
	assert_int_equal(put(t, "session/A/S/%VALUE", "S"), 0);
	assert_string_equal(app_get(t, "session:A:S"), "S");
	assert_int_equal(drop(t, "session/A", true), -ENOTEMPTY);
	assert_int_equal(drop(t, "session/A/X", false), -EISDIR);
	assert_int_equal(drop(t, "plain", true), -ENOTDIR);
	/* What is emptied here stays until it is removed. */
	assert_int_equal(drop(t, "session/A/X/1", false), 0);
	assert_int_equal(drop(t, "session/A/X/2", false), 0);
	lists(t, "session/A/X/", "");
	lists(t, "session/A/", "S/ S! X/ ");
	assert_int_equal(drop(t, "session/A/X", true), 0);
	lists(t, "session/A/", "S/ S! ");
	assert_int_equal(make_dir(t, "new"), 0);
	assert_int_equal(make_dir(t, "new"), -EEXIST);
	assert_int_equal(make_dir(t, "plain"), -EEXIST);
	lists(t, "new/", "");
	assert_int_equal(put(t, "new/k", "v"), 0);
	assert_string_equal(app_get(t, "new:k"), "v");
	lists(t, "new/", "k ");
	assert_int_equal(move(t, "new/k", "session/k", 0), 0);
	assert_string_equal(app_get(t, "session:k"), "v");
	assert_int_equal(move(t, "session", "other", 0), -EXDEV);
	assert_int_equal(look(t, "new", &attr), 0);
	assert_int_equal(drop(t, "new", true), 0);
	absent(t, "new");
}

/* As a walk of all keys says it. */
static void many_keys_are_listed_once_each(void **state)
{
	struct plain_test *t = *state;
	int i, k, n = 0, dirs = 0;
	const char *text, *p;

	llamastack(t);
	run(t, "BEGIN");
	for (i = 0; i < 40; i++)
		for (k = 0; k < (i % 4 ? 3 : 150); k++)
			run(t, "INSERT INTO %s (key, value) VALUES ('d%d:%d', '%d')", kvstore(t), i, k,
			    k);
	for (i = 0; i < 300; i++)
		run(t, "INSERT INTO %s (key, value) VALUES ('f%d', 'x')", kvstore(t), i);
	run(t, "COMMIT");
	open_view(t, "preset", "llamastack", "separator", ":", NULL);
	text = list(t, "", 7);
	for (p = text; (p = strchr(p, ' ')); p++, n++)
		dirs += p[-1] == '/';
	assert_int_equal(n, 340);
	assert_int_equal(dirs, 40);
	assert_int_equal(strlen(text), strlen(list(t, "", 4096)));
	for (n = 0, p = list(t, "d0/", 33); (p = strchr(p, ' ')); p++)
		n++;
	assert_int_equal(n, 150);
}

static void long_keys_have_short_names(void **state)
{
	struct plain_test *t = *state;
	const struct pfs_key_encoding enc = {.text = true};
	struct pfs_buf name = {0};
	char key[401];
	int i;

	llamastack(t);
	memset(key, 'k', 400);
	key[400] = '\0';
	for (i = 0; i < 3; i++) {
		key[399] = (char)('0' + i);
		app_set(t, key, i ? "other" : "long", NULL);
	}
	app_set(t, "a", "1", NULL);
	app_set(t, "z", "2", NULL);
	open_view(t, "preset", "llamastack", NULL);
	key[399] = '0';
	assert_int_equal(pfs_names_from_key(&enc, pfs_bytes_str(key), false, &name, NULL), 0);
	holds(t, name.data, "long");
	assert_int_equal(put(t, name.data, "changed"), 0);
	assert_string_equal(app_get(t, key), "changed");
	assert_int_equal(strlen(list(t, "", 1)), 3 * 256 + 4);
	assert_int_equal(strlen(list(t, "", 100)), 3 * 256 + 4);
	pfs_buf_release(&name);
}

static void a_namespace_column_is_the_first_directory(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr before, attr;

	run(t, "CREATE TABLE store (prefix text NOT NULL, key text NOT NULL, value %s NOT NULL,"
	       " created_at %s DEFAULT CURRENT_TIMESTAMP, updated_at %s DEFAULT CURRENT_TIMESTAMP,"
	       " expires_at %s, ttl_minutes REAL, PRIMARY KEY (prefix, key))",
	    t->postgres ? "jsonb" : "text", t->postgres ? "TIMESTAMPTZ" : "TIMESTAMP",
	    t->postgres ? "TIMESTAMPTZ" : "TIMESTAMP", t->postgres ? "TIMESTAMPTZ" : "TIMESTAMP");
	run(t, "INSERT INTO store (prefix, key, value, updated_at) VALUES"
	       " ('memories.ann', 'm1', '{\"a\": 1}', '2020-01-01 00:00:00'),"
	       " ('memories.ann', 'm2', '{\"a\": 2}', '2020-01-01 00:00:00'),"
	       " ('memories.bob', 'm1', '{\"b\": 1}', '2020-01-01 00:00:00'), ('', 'k', '{}', NULL)");
	open_view(t, "preset", "langgraph-store", NULL);
	lists(t, "", "%EMPTY/ memories.ann/ memories.bob/ ");
	lists(t, "memories.ann/", "m1 m2 ");
	holds(t, "memories.bob/m1", "{\"b\": 1}");
	holds(t, "%EMPTY/k", "{}");
	absent(t, "memories");
	assert_int_equal(look(t, "memories.ann/m1", &before), 0);
	assert_int_equal(put(t, "memories.ann/m1", "{\"a\": 3}"), 0);
	assert_int_equal(look(t, "memories.ann/m1", &attr), 0);
	assert_true(attr.mtime > before.mtime);
	assert_true(pfs_now_ns() - attr.mtime < 60 * NSEC_PER_SEC);
	assert_string_equal(ask(t, "SELECT value FROM store WHERE prefix = 'memories.ann'"
				   " AND key = 'm1'"),
			    "{\"a\": 3}");
	assert_int_equal(make_dir(t, "new.ns"), 0);
	assert_int_equal(put(t, "new.ns/k", "{}"), 0);
	assert_string_equal(ask(t, "SELECT key FROM store WHERE prefix = 'new.ns'"), "k");
	assert_int_equal(move(t, "new.ns/k", "memories.bob/k", 0), 0);
	assert_string_equal(ask(t, "SELECT prefix FROM store WHERE key = 'k' AND prefix <> ''"),
			    "memories.bob");
	lists(t, "", "%EMPTY/ memories.ann/ memories.bob/ new.ns/ ");
	assert_int_equal(drop(t, "new.ns", true), 0);
	assert_int_equal(drop(t, "memories.ann", true), -ENOTEMPTY);
	open_view(t, "preset", "langgraph-store", "namespace", "memories.bob", NULL);
	lists(t, "", "k m1 ");
}

static void a_namespace_can_be_what_keys_begin_with(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "registry:a", "1", NULL);
	app_set(t, "registry:b:c", "2", NULL);
	app_set(t, "registryx", "3", NULL);
	app_set(t, "bare", "4", NULL);
	open_view(t, "preset", "llamastack", "namespace", "registry", NULL);
	lists(t, "", "a b:c ");
	assert_int_equal(put(t, "n", "5"), 0);
	assert_string_equal(app_get(t, "registry:n"), "5");
	assert_int_equal(move(t, "n", "m", 0), 0);
	assert_string_equal(app_get(t, "registry:m"), "5");
	open_view(t, "preset", "llamastack", "prefix", "reg", "separator", ":", NULL);
	lists(t, "", "istry/ istryx ");
}

/* Neither can all be listed, nor has each one name. */
static void a_namespace_is_text(void **state)
{
	struct plain_test *t = *state;

	run(t, "CREATE TABLE users (uid INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,"
	       " PRIMARY KEY (uid, key))");
	run(t, "INSERT INTO users VALUES (10, 'a', 'ten'), (9, 'a', 'nine')");
	refused(t, "column 'uid' of users", "table", "users", "namespace_column", "uid", NULL);
	open_view(t, "table", "users", "namespace_column", "uid", "namespace", "10", NULL);
	lists(t, "", "a ");
	holds(t, "a", "ten");
	assert_int_equal(put(t, "e", "new"), 0);
	assert_string_equal(ask(t, "SELECT value FROM users WHERE uid = 10 AND key = 'e'"), "new");
	if (!t->postgres)
		return;
	run(t, "CREATE COLLATION folds (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
	run(t, "CREATE TABLE folded (ns TEXT COLLATE folds, key TEXT COLLATE folds, value TEXT,"
	       " PRIMARY KEY (ns, key))");
	run(t, "INSERT INTO folded VALUES ('A', 'K:1', 'x')");
	refused(t, "column 'ns' of folded", "table", "folded", "namespace_column", "ns", NULL);
	refused(t, "column 'key' of folded", "table", "folded", "namespace_column", "ns", "namespace", "A",
		"separator", ":", NULL);
	open_view(t, "table", "folded", "namespace_column", "ns", "namespace", "A", NULL);
	lists(t, "", "K:1 ");
	absent(t, "k:1");
	assert_int_equal(put(t, "k:1", "y"), -EEXIST);
}

/* A backup by renaming, as vim's: its end is the key's, while that is what it was. */
static void a_backup_goes_with_the_key_it_was(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "a", "1", NULL);
	app_set(t, "b", "1", NULL);
	open_view(t, "table", kvstore(t), NULL);
	assert_int_equal(move(t, "a", "a~", 0), 0);
	assert_int_equal(move(t, "b", "b~", 0), 0);
	app_set(t, "b", "2", NULL);
	assert_int_equal(drop(t, "a~", false), 0);
	assert_int_equal(drop(t, "b~", false), 0);
	absent(t, "a");
	assert_string_equal(ask(t, "SELECT count(*) FROM %s", kvstore(t)), "1");
	holds(t, "b", "2");
}

/* ---- what is refused, and what can only be read ---------------------------------------------- */

static void what_is_missing_is_said(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	refused(t, "'table' is missing", NULL);
	refused(t, "there is no table 'none'; there are: ", "table", "none", NULL);
	refused(t, "has no column 'k'; it has: key, value, expiration", "table", kvstore(t),
		"key_column", "k", NULL);
	refused(t, "has no column 'until'", "table", kvstore(t), "expires_column", "until", NULL);
	refused(t, "for Redis", "preset", "marimo", NULL);
	refused(t, "given for two things", "table", kvstore(t), "value_column", "key", NULL);
	refused(t, "namespace", "table", kvstore(t), "namespace", "x", NULL);
	refused(t, "namespace_separator", "table", kvstore(t), "namespace_separator", ":", NULL);
	run(t, "CREATE TABLE ints (key INTEGER PRIMARY KEY, value TEXT)");
	refused(t, "neither text nor bytes", "table", "ints", "separator", ":", NULL);
}

static void a_table_without_a_unique_key_is_read_only(void **state)
{
	struct plain_test *t = *state;
	struct pfs_health health = {0};
	struct pfs_attr attr;

	run(t, "CREATE TABLE loose (key TEXT, value TEXT, more TEXT, UNIQUE (key, more))");
	run(t, "INSERT INTO loose VALUES ('a', '1', 'x'), ('a', '2', 'y'), ('b', '3', 'z')");
	open_view(t, "table", "loose", NULL);
	lists(t, "", "a b ");
	holds(t, "b", "3");
	assert_int_equal(put(t, "b", "4"), -EROFS);
	assert_int_equal(drop(t, "b", false), -EROFS);
	pfs_backend_health(t->view, &health);
	assert_true(health.ok);
	assert_non_null(strstr(health.read_only.text, "unique key on (key)"));
	assert_true(t->view->readonly);
	assert_int_equal(look(t, "b", &attr), 0);
	assert_int_equal(attr.mode & 0222, 0);
	run(t, "CREATE VIEW shown AS SELECT key, value FROM loose WHERE key = 'b'");
	open_view(t, "table", "shown", NULL);
	lists(t, "", "b ");
	holds(t, "b", "3");
	run(t, "UPDATE loose SET value = '5' WHERE key = 'b'");
	holds(t, "b", "5");
	assert_int_equal(put(t, "b", "4"), -EROFS);
	pfs_backend_health(t->view, &health);
	assert_non_null(strstr(health.read_only.text, "is a view"));
}

static void numbers_can_be_keys(void **state)
{
	struct plain_test *t = *state;

	run(t, "CREATE TABLE ints (key INTEGER PRIMARY KEY, value TEXT)");
	run(t, "INSERT INTO ints VALUES (10, 'ten'), (9, 'nine'), (-1, 'minus')");
	open_view(t, "table", "ints", NULL);
	lists(t, "", "-1 9 10 ");
	holds(t, "10", "ten");
	absent(t, "010");
	absent(t, "x");
	assert_int_equal(put(t, "11", "eleven"), 0);
	assert_string_equal(ask(t, "SELECT value FROM ints WHERE key = 11"), "eleven");
	assert_int_equal(put(t, "012", "twelve"), -EINVAL);
	assert_int_equal(put(t, "y", "why"), -EINVAL);
	lists(t, "", "-1 9 10 11 ");
}

static void the_engine_says_why_a_row_cannot_be(void **state)
{
	struct plain_test *t = *state;

	run(t, "CREATE TABLE strict (key TEXT PRIMARY KEY, value TEXT CHECK (length(value) < 9),"
	       " owner TEXT NOT NULL)");
	run(t, "INSERT INTO strict VALUES ('k', 'old', 'me')");
	open_view(t, "table", "strict", NULL);
	assert_int_equal(put(t, "new", "x"), -EINVAL);
	assert_non_null(strstr(pfs_error_text(), "owner"));
	assert_int_equal(put(t, "k", "far too long"), -EINVAL);
	holds(t, "k", "old");
	absent(t, "new");
	assert_string_equal(ask(t, "SELECT count(*) FROM strict"), "1");
}

static void another_order_of_the_column_loses_nothing(void **state)
{
	struct plain_test *t = *state;

	run(t, "CREATE TABLE odd (key TEXT COLLATE %s PRIMARY KEY, value TEXT)",
	    t->postgres ? "\"und-x-icu\"" : "NOCASE");
	run(t, "INSERT INTO odd VALUES ('b:1', 'x'), ('A:1', 'x'), ('a:2', 'x'), ('B', 'x')");
	open_view(t, "table", "odd", NULL);
	assert_int_equal(strlen(list(t, "", 1)), strlen("b:1 A:1 a:2 B "));
	holds(t, "A:1", "x");
	absent(t, "a:1");
	open_view(t, "table", "odd", "separator", ":", NULL);
	lists(t, "", "A/ B a/ b/ ");
	lists(t, "a/", "2 ");
	open_view(t, "table", "odd", "prefix", "b:", NULL);
	lists(t, "", "1 ");
	holds(t, "1", "x");
}

/* What is equal to the engine and has another name: no change goes there too. */
static void a_change_takes_one_row(void **state)
{
	struct plain_test *t = *state;

	if (t->postgres) { /* a key of a table says nothing of the tables that inherit from it */
		run(t, "CREATE TABLE one (key TEXT PRIMARY KEY, value TEXT)");
		run(t, "CREATE TABLE more (UNIQUE (key)) INHERITS (one)");
		run(t, "INSERT INTO one VALUES ('k', '1')");
		run(t, "INSERT INTO more VALUES ('k', '2')");
		open_view(t, "table", "one", NULL);
		assert_int_equal(put(t, "k", "3"), -EPERM);
		assert_non_null(strstr(pfs_error_text(), "2 rows"));
		assert_int_equal(drop(t, "k", false), -EPERM);
		assert_string_equal(ask(t, "SELECT string_agg(value, ',' ORDER BY value) FROM one"),
				    "1,2");
		return;
	}
	run(t, "CREATE TABLE spaces (ns TEXT COLLATE NOCASE, key TEXT, value TEXT)");
	run(t, "CREATE UNIQUE INDEX by_both ON spaces (ns COLLATE BINARY, key)");
	run(t, "INSERT INTO spaces VALUES ('A', 'k', '1'), ('a', 'k', '2'), ('B', 'k', '3')");
	open_view(t, "table", "spaces", "namespace_column", "ns", NULL);
	lists(t, "", "A/ B/ a/ ");
	holds(t, "A/k", "1");
	holds(t, "a/k", "2");
	absent(t, "b/k");
	assert_int_equal(put(t, "a/k", "4"), 0);
	assert_string_equal(ask(t, "SELECT value FROM spaces WHERE ns COLLATE BINARY = 'A'"), "1");
	assert_string_equal(ask(t, "SELECT value FROM spaces WHERE ns COLLATE BINARY = 'a'"), "4");
	assert_int_equal(drop(t, "A/k", false), 0);
	assert_string_equal(ask(t, "SELECT value FROM spaces WHERE ns COLLATE BINARY = 'a'"), "4");
	lists(t, "a/", "k ");
}

/* ---- others --------------------------------------------------------------------------------- */

static void what_others_write_is_read(void **state)
{
	struct plain_test *t = *state;
	struct pfs_attr before, attr;
	int64_t until = pfs_monotonic_ns() + 10 * NSEC_PER_SEC;

	llamastack(t);
	app_set(t, "k", "one", NULL);
	open_view(t, "preset", "llamastack", NULL);
	holds(t, "k", "one");
	assert_int_equal(look(t, "k", &before), 0);
	app_set(t, "k", "two", NULL);
	assert_int_equal(look(t, "k", &attr), 0);
	assert_true(attr.content_version > before.content_version);
	holds(t, "k", "two");
	assert_int_equal(pfs_backend_pushing(t->view), !t->postgres);
	if (t->postgres)
		return;
	assert_int_equal(pfs_backend_catch_up(t->view), 0);
	assert_true(__atomic_load_n(&t->events, __ATOMIC_SEQ_CST) > 0);
	/* What is written here is no news; what others write is told without being asked for. */
	__atomic_store_n(&t->events, 0, __ATOMIC_SEQ_CST);
	assert_int_equal(put(t, "k", "three"), 0);
	assert_int_equal(pfs_backend_catch_up(t->view), 0);
	assert_int_equal(__atomic_load_n(&t->events, __ATOMIC_SEQ_CST), 0);
	app_set(t, "k", "four", NULL);
	while (!__atomic_load_n(&t->events, __ATOMIC_SEQ_CST) && pfs_monotonic_ns() < until)
		usleep(1000);
	assert_int_not_equal(__atomic_load_n(&t->events, __ATOMIC_SEQ_CST), 0);
}

static void a_final_newline_is_left_out_where_there_was_none(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "without", "a", NULL);
	app_set(t, "with", "a\n", NULL);
	open_view(t, "preset", "llamastack", "final_newline", "strip", NULL);
	assert_int_equal(put(t, "without", "b\n"), 0);
	assert_string_equal(app_get(t, "without"), "b");
	assert_int_equal(put(t, "with", "b\n"), 0);
	assert_string_equal(app_get(t, "with"), "b\n");
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(put(t, "without", "c\n"), 0);
	assert_string_equal(app_get(t, "without"), "c\n");
}

static const char *append_many(void *arg, unsigned i)
{
	struct plain_test *t = arg;
	struct pfs_mutation m;
	struct pfs_attr attr;
	char text[2] = {(char)('a' + i), '\0'};
	struct pfs_seg seg = {.p = text, .len = 1};
	int k, err;

	for (k = 0; k < 25; k++) {
		err = pfs_store_lookup(t->s, t->root, PFS_BYTES("log"), &attr);
		m = m_content(PFS_OP_APPEND, attr.id, &seg, 1);
		if (!err)
			err = s_batch(t->s, &m, 1, NULL);
		if (err)
			return strerror(-err);
	}
	return NULL;
}

static void appends_of_several_are_all_there(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	app_set(t, "log", "", NULL);
	open_view(t, "preset", "llamastack", NULL);
	c_threads(4, append_many, t);
	assert_int_equal(strlen(app_get(t, "log")), 100);
}

static void a_lost_connection_is_made_anew(void **state)
{
	struct plain_test *t = *state;
	char path[160];

	llamastack(t);
	app_set(t, "k", "one", NULL);
	open_view(t, "preset", "llamastack", NULL);
	holds(t, "k", "one");
	if (t->postgres) {
		run(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		       " WHERE application_name = '%s'",
		    t->schema);
		holds(t, "k", "one");
		run(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		       " WHERE application_name = '%s'",
		    t->schema);
		assert_int_equal(put(t, "k", "two"), 0);
		assert_string_equal(app_get(t, "k"), "two");
		return;
	}
	/* Another file in its place. */
	snprintf(path, sizeof(path), "%s.new", t->path);
	run(t, "VACUUM INTO '%s'", path);
	sqlite3_close(t->lite);
	assert_int_equal(sqlite3_open(path, &t->lite), SQLITE_OK);
	app_set(t, "k", "of the new file", NULL);
	assert_int_equal(rename(path, t->path), 0);
	holds(t, "k", "of the new file");
	assert_int_equal(put(t, "k", "written"), 0);
	sqlite3_close(t->lite);
	assert_int_equal(sqlite3_open(t->path, &t->lite), SQLITE_OK);
	assert_string_equal(app_get(t, "k"), "written");
}

static void privileges_are_respected(void **state)
{
	struct plain_test *t = *state;

	if (!t->postgres)
		return;
	llamastack(t);
	app_set(t, "k", "one", NULL);
	run(t, "REVOKE ALL ON llamastack_kvstore FROM CURRENT_USER");
	refused(t, "may not read llamastack_kvstore", "preset", "llamastack", NULL);
	run(t, "GRANT SELECT ON llamastack_kvstore TO CURRENT_USER");
	open_view(t, "preset", "llamastack", NULL);
	holds(t, "k", "one");
	assert_int_equal(put(t, "k", "two"), -EROFS);
	run(t, "GRANT INSERT ON llamastack_kvstore TO CURRENT_USER");
	open_view(t, "preset", "llamastack", NULL);
	assert_int_equal(put(t, "n", "new"), 0);
	assert_int_equal(put(t, "k", "two"), -EACCES);
	assert_int_equal(drop(t, "k", false), -EACCES);
	holds(t, "k", "one");
}

static void the_host_makes_nothing_of_its_own(void **state)
{
	struct plain_test *t = *state;

	llamastack(t);
	open_view(t, "preset", "llamastack", NULL);
	if (t->postgres)
		assert_string_equal(ask(t, "SELECT count(*) FROM pg_class WHERE relname ~ 'persistfs'"
					   " AND relnamespace = '%s'::regnamespace",
					t->schema),
				    "0");
	else
		assert_string_equal(ask(t, "SELECT count(*) FROM sqlite_master WHERE name LIKE"
					   " 'persistfs%%'"),
				    "0");
	assert_int_equal(pfs_backend_sync(t->host), 0);
	assert_int_equal(pfs_backend_sync(t->view), 0);
}

/* ---- the list ------------------------------------------------------------------------------- */

#define BOTH(fn)                                                                                   \
	{"sqlite: " #fn, fn, setup_sqlite, teardown, NULL},                                        \
	{                                                                                          \
		"postgres: " #fn, fn, setup_postgres, teardown, NULL                               \
	}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		BOTH(keys_are_files_and_values_their_bytes),
		BOTH(hostile_names_go_through_every_path),
		BOTH(looking_changes_nothing),
		BOTH(expired_rows_are_not_there),
		BOTH(a_write_keeps_the_expiry),
		BOTH(an_expiry_is_written_as_the_column_has_it),
		BOTH(scratch_files_need_no_name_of_keys),
		BOTH(text_stays_text),
		BOTH(what_does_not_fit_is_told_before_it_is_written),
		BOTH(bytes_stay_bytes),
		BOTH(json_is_what_the_engine_makes_of_it),
		BOTH(a_copy_of_null_is_null_at_once),
		BOTH(null_is_an_empty_file_that_says_so),
		BOTH(counters_are_added_to),
		BOTH(a_separator_makes_directories),
		BOTH(many_keys_are_listed_once_each),
		BOTH(long_keys_have_short_names),
		BOTH(a_namespace_column_is_the_first_directory),
		BOTH(a_namespace_can_be_what_keys_begin_with),
		BOTH(a_namespace_is_text),
		BOTH(a_backup_goes_with_the_key_it_was),
		BOTH(what_is_missing_is_said),
		BOTH(a_table_without_a_unique_key_is_read_only),
		BOTH(numbers_can_be_keys),
		BOTH(the_engine_says_why_a_row_cannot_be),
		BOTH(another_order_of_the_column_loses_nothing),
		BOTH(a_change_takes_one_row),
		BOTH(what_others_write_is_read),
		BOTH(a_final_newline_is_left_out_where_there_was_none),
		BOTH(appends_of_several_are_all_there),
		BOTH(a_lost_connection_is_made_anew),
		BOTH(privileges_are_respected),
		BOTH(the_host_makes_nothing_of_its_own),
	};
	const char *ci = getenv("CI");

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (!getenv("PERSISTFS_TEST_POSTGRES")) {
		fprintf(stderr, "postgres: NOT TESTED: PERSISTFS_TEST_POSTGRES says of no server\n");
		if (ci && strcmp(ci, "true") == 0)
			return 1;
		if (argc == 1)
			cmocka_set_test_filter("sqlite*");
	}
	return _cmocka_run_group_tests("plain", tests, PFS_ARRAY_SIZE(tests), NULL, NULL);
}
