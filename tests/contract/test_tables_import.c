/*
 * Files that become rows of a table, over a SQLite file. What the mount and PostgreSQL add is in
 * tests/mount/49_tables_import.sh.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/config.h"
#include "tests/contract/lib_contract.h"

struct ti {
	char dir[64], path[128];
	struct pfs_option *table;
	struct pfs_option_set set, store;
	struct pfs_backend *host, *view;
	struct pfs_store *s;
	sqlite3 *sql;
	char error[512]; /* of the last import */
};

/* ---- the ground ----------------------------------------------------------------------------- */

static const char schema[] =
	"CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE,"
	" age INT CHECK (age < 1000), score REAL, pic BLOB, meta JSON,"
	" up TEXT GENERATED ALWAYS AS (upper(name)) VIRTUAL, third REAL AS (score / 3));"
	"INSERT INTO users (id, name, email, age, score, pic, meta) VALUES"
	" (1, 'alice', 'a@x', 42, 1.5, x'00ff10', '{\"a\": 1}'), (2, 'bob', NULL, NULL, 0.1, NULL, "
	"NULL),"
	" (-3, '', '', -7, 1e300, x'', 5), (9223372036854775807, 'l1' || char(13, 10) || "
	"'\"l2\",', 'm@x',"
	" 42, -9e999, x'35', 12345678901234567890);"
	"CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users "
	"(id),"
	" note TEXT);"
	"INSERT INTO orders VALUES (1, 1, 'first');"
	"CREATE TABLE any (k PRIMARY KEY, v);"
	"INSERT INTO any VALUES (5, 'int'), ('5', 5.0), ('', NULL), ('Inf', 9e999), (5.5, '5.5'), "
	"(NULL, 0.1 + 0.2),"
	" ('exact', 1234567890123456.0), ('zero', 0.0), ('tiny', 5e-324);"
	"CREATE TABLE one (v TEXT);"
	"INSERT INTO one VALUES ('a'), (NULL), (''), ('b');"
	"CREATE TABLE parents (id INTEGER PRIMARY KEY);"
	"INSERT INTO parents VALUES (1);"
	"CREATE TABLE children (p INTEGER REFERENCES parents (id) ON DELETE CASCADE, n INTEGER,"
	" PRIMARY KEY (p, n)) WITHOUT ROWID;"
	"INSERT INTO children VALUES (1, 1);"
	"CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree (id) ON DELETE "
	"CASCADE);"
	"INSERT INTO tree VALUES (1, 2), (2, NULL);"
	"CREATE TABLE loose (id INTEGER PRIMARY KEY ON CONFLICT IGNORE, n INTEGER);"
	"INSERT INTO loose VALUES (1, 1);"
	"CREATE TABLE kept_out (id INTEGER PRIMARY KEY);"
	"CREATE TRIGGER keep BEFORE INSERT ON kept_out WHEN new.id > 9 BEGIN SELECT RAISE(IGNORE); "
	"END;"
	"CREATE VIEW grown AS SELECT name, age FROM users WHERE age > 0;";

static void sql(struct ti *t, const char *text)
{
	char *msg = NULL;

	if (sqlite3_exec(t->sql, text, NULL, NULL, &msg) != SQLITE_OK)
		fail_msg("%s: %.60s", msg, text);
}

static const char *sql_text(struct ti *t, const char *text)
{
	static char out[8192];
	sqlite3_stmt *stmt;

	assert_int_equal(sqlite3_prepare_v2(t->sql, text, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(out, sizeof(out), "%s",
		 sqlite3_column_text(stmt, 0) ? (const char *)sqlite3_column_text(stmt, 0)
					      : "NULL");
	sqlite3_finalize(stmt);
	return out;
}

static void option(struct pfs_option_set *set, const char *name, const char *value)
{
	struct pfs_msg msg = {""};

	if (pfs_option_set_text(set, name, value, &msg))
		fail_msg("%s: %s", name, msg.text);
}

static int setup(void **state)
{
	const struct pfs_engine *engine = pfs_engine_find("sqlite");
	struct ti *t = calloc(1, sizeof(*t));
	struct pfs_msg msg = {""};

	assert_non_null(t);
	snprintf(t->dir, sizeof(t->dir), "/tmp/pfs-import-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->path, sizeof(t->path), "%s/app.db", t->dir);
	assert_int_equal(sqlite3_open(t->path, &t->sql), SQLITE_OK);
	sqlite3_busy_timeout(t->sql, 5000);
	sql(t, schema);
	t->table = pfs_engine_options(engine);
	assert_int_equal(pfs_option_set_init(&t->set, t->table), 0);
	option(&t->set, "path", t->path);
	assert_int_equal(pfs_option_set_init(&t->store, pfs_store_options), 0);
	option(&t->store, "read_only", "no");
	assert_int_equal(pfs_backend_new("app", engine, &t->set, &t->host, &msg), 0);
	if (engine->adopt(t->host, PFS_LAYOUT_TABLES, "t", &t->store, &t->view, &msg))
		fail_msg("adopt: %s", msg.text);
	if (pfs_backend_start(t->view, &msg))
		fail_msg("start: %s", msg.text);
	assert_int_equal(pfs_backend_open(t->view, "t", false, &t->s, &msg), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct ti *t = *state;
	char command[128];

	pfs_store_free(t->s);
	pfs_backend_free(t->view);
	pfs_backend_free(t->host);
	pfs_option_set_release(&t->store);
	pfs_option_set_release(&t->set);
	free(t->table);
	sqlite3_close(t->sql);
	snprintf(command, sizeof(command), "rm -rf '%s'", t->dir);
	assert_int_equal(system(command), 0);
	free(t);
	return 0;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int look(struct ti *t, const char *path, struct pfs_attr *out)
{
	const char *p = path;
	uint64_t root;
	int err = pfs_store_root(t->s, &root);

	if (!err)
		err = pfs_store_getattr(t->s, root, out);
	while (!err && *p) {
		size_t n = strcspn(p, "/");

		err = pfs_store_lookup(t->s, out->id, (struct pfs_bytes){p, n}, out);
		p += n + (p[n] == '/');
	}
	return err;
}

static int noted(struct ti *t, int err)
{
	snprintf(t->error, sizeof(t->error), "%s", err ? pfs_error_text() : "");
	return err;
}

/* PATH is TABLE/HOW/FORMAT. */
static int begin(struct ti *t, const char *path, struct pfs_intake **in)
{
	const char *slash = strchr(path, '/');
	struct pfs_attr attr;
	char full[256];
	int err;

	snprintf(full, sizeof(full), "%.*s/.import%s", (int)(slash - path), path, slash);
	err = look(t, full, &attr);
	if (err)
		return err;
	assert_true(attr.intake && attr.derived && attr.size == 0);
	assert_int_equal(attr.mode, S_IFREG | 0200);
	return noted(t, pfs_store_intake(t->s, attr.id, in));
}

static int add(struct ti *t, struct pfs_intake *in, const char *text)
{
	return noted(t, pfs_intake_write(in, -1, pfs_bytes_str(text)));
}

static int end(struct ti *t, struct pfs_intake *in)
{
	int err = noted(t, pfs_intake_finish(in));

	pfs_intake_free(in);
	return err;
}

/* The whole of an import, in writes of so many bytes. */
static int import_in(struct ti *t, const char *path, const char *text, size_t len, size_t piece)
{
	struct pfs_intake *in = NULL;
	size_t at, n;
	int err = begin(t, path, &in);

	for (at = 0; at < len && !err; at += n) {
		n = len - at < piece ? len - at : piece;
		err = noted(t, pfs_intake_write(in, (int64_t)at, (struct pfs_bytes){text + at, n}));
	}
	if (err) {
		pfs_intake_free(in);
		return err;
	}
	return end(t, in);
}

static int import(struct ti *t, const char *path, const char *text)
{
	return import_in(t, path, text, strlen(text), 1 << 20);
}

/* What TABLE/.export/FORMAT has. */
static char *export(struct ti *t, const char *table, const char *format)
{
	struct pfs_attr attr;
	char path[256], *out = calloc(1, 65536);
	int fd = -1;

	assert_non_null(out);
	snprintf(path, sizeof(path), "%s/.export/%s", table, format);
	assert_int_equal(look(t, path, &attr), 0);
	assert_int_equal(pfs_store_snapshot(t->s, attr.id, &fd), 0);
	assert_true(pread(fd, out, 65535, 0) >= 0);
	close(fd);
	return out;
}

#define assert_sql(t, text, want) assert_string_equal(sql_text(t, text), want)
/* The import is refused so, with these words. */
#define assert_refused(t, path, text, err, words)                                                  \
	do {                                                                                       \
		assert_int_equal(import(t, path, text), err);                                      \
		if (!strstr((t)->error, words))                                                    \
			fail_msg("no '%s' in: %s", words, (t)->error);                             \
	} while (0)

/* ---- what comes back ------------------------------------------------------------------------ */

static void what_is_exported_is_imported(void **state)
{
	static const char *const tables[] = {"users", "any", "one", "children", "tree"};
	static const char *const formats[] = {"csv", "json", "jsonl"};
	static const char *const hows[] = {"append", "replace"};
	static const size_t pieces[] = {1, 7, 1 << 20};
	struct ti *t = *state;
	char path[128], dump[512], *before, *text;
	size_t i, f, h;

	for (i = 0; i < PFS_ARRAY_SIZE(tables); i++)
		for (f = 0; f < PFS_ARRAY_SIZE(formats); f++)
			for (h = 0; h < PFS_ARRAY_SIZE(hows); h++) {
				snprintf(dump, sizeof(dump),
					 "SELECT group_concat(r, '|') FROM (SELECT %s AS r FROM %s "
					 "ORDER BY 1)",
					 i == 0	  ? "quote(id) || quote(name) || quote(email) ||"
						    " quote(age) || quote(score) || quote(pic) || "
						    "quote(meta)"
					 : i == 1 ? "quote(k) || quote(v) || (k IS NULL AND v = "
						    "0.1 + 0.2)"
					 : i == 2 ? "quote(v)"
					 : i == 3 ? "quote(p) || quote(n)"
						  : "quote(id) || quote(up)",
					 tables[i]);
				before = strdup(sql_text(t, dump));
				text = export(t, tables[i], formats[f]);
				snprintf(path, sizeof(path),
					 "PRAGMA foreign_keys = OFF; DELETE FROM %s", tables[i]);
				if (h == 0)
					sql(t, path);
				snprintf(path, sizeof(path), "%s/%s/%s", tables[i], hows[h],
					 formats[f]);
				/* Its first row refers to one that comes later. */
				if (i == 4 && h == 0) {
					assert_int_equal(import(t, path, text), -EBUSY);
					sql(t, "INSERT INTO tree VALUES (1, 2), (2, NULL)");
				} else if (import_in(t, path, text, strlen(text),
						     pieces[(i + f) % 3])) {
					fail_msg("%s: %s", path, t->error);
				}
				assert_sql(t, dump, before);
				free(before);
				free(text);
			}
	assert_sql(t, "SELECT count(*) FROM orders", "1");
}

static void csv_is_read_as_rfc_4180_says(void **state)
{
	struct ti *t = *state;

	assert_int_equal(
		import(t, "users/append/csv",
		       "\xef\xbb\xbfname,\"id\",age\r\n\"a,\"\"b\"\"\r\nc\",10,\r\nd ,11,5"),
		0);
	assert_sql(t, "SELECT quote(name) || ifnull(age, 'null') FROM users WHERE id = 10",
		   "'a,\"b\"\r\nc'null");
	assert_sql(t, "SELECT quote(name) || age || typeof(age) FROM users WHERE id = 11",
		   "'d '5integer");
	assert_refused(t, "users/append/csv", "id,name\n12,a\"b\n", -EINVAL,
		       "row 1, line 2: a quote");
	assert_refused(t, "users/append/csv", "id,name\n12,\"a\"b\n", -EINVAL,
		       "row 1, line 2: something behind");
	assert_refused(t, "users/append/csv", "id,name\n12,a\rb\n", -EINVAL,
		       "a carriage return alone");
	assert_refused(t, "users/append/csv", "id,name\n12,a\n13\n", -EINVAL,
		       "row 2, line 3: it has 1 values, and the line of names 2");
	assert_refused(t, "users/append/csv", "id,name\n12,\"a\nb", -EINVAL,
		       "row 1, line 2: it is cut off");
	assert_refused(t, "users/append/csv", "id,nom\n", -EINVAL,
		       "line 1: users has no column 'nom'; available: id, name, email, age");
	assert_refused(t, "users/append/csv", "id,id\n", -EINVAL,
		       "column id INTEGER: is named twice");
	assert_refused(t, "users/append/csv", "\n", -EINVAL, "no column ''");
	assert_refused(t, "users/append/csv", "\xef\xbb\xbf", -EINVAL, "missing");
	assert_refused(t, "users/append/csv", "id,name\n12,a\n13,\xff\n", -EILSEQ, "row 2, line 3");
	assert_refused(t, "users/append/csv", "id,name,age\n12,a,\"\"\n", -EINVAL, "empty text");
	assert_refused(t, "users/append/csv", "id,name,score\n12,a,nan\n", -EINVAL,
		       "wants a number");
	assert_refused(t, "users/append/csv", "id,name,pic\n12,a,x\n", -EINVAL, "wants base64");
	assert_sql(t, "SELECT count(*) FROM users WHERE id IN (12, 13)", "0");
}

static void json_is_an_array_and_jsonl_one_object_a_line(void **state)
{
	struct ti *t = *state;

	assert_int_equal(import(t, "users/append/json",
				" [ {\"id\": 10, \"name\": "
				"\"{]\\\"\"},\n\t{\"name\":\"b\",\n\"id\":11} ]\n"),
			 0);
	assert_sql(t, "SELECT quote(name) FROM users WHERE id = 10", "'{]\"'");
	assert_int_equal(import(t, "users/append/jsonl",
				"\n{\"id\":12,\"name\":\"c\"}\r\n \n{\"name\":\"d\"}"),
			 0);
	assert_sql(t,
		   "SELECT group_concat(name) FROM (SELECT name FROM users WHERE id > 10 AND"
		   " id < 99 ORDER BY id)",
		   "b,c");
	assert_sql(t, "SELECT count(*) FROM users WHERE name = 'd'", "1");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"name\":\"x\"},]", -EINVAL,
		       "a row is an object");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"name\":\"x\"} {", -EINVAL, "a comma");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"name\":\"x\"}", -EINVAL, "cut off");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"name\":\"x\"}] x", -EINVAL,
		       "follows the array");
	assert_refused(t, "users/append/json", "{\"id\":20}", -EINVAL, "does not begin with [");
	assert_refused(t, "users/append/json", "[5]", -EINVAL, "a row is an object");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"name\":\"x\"},\n{\"id\":21,,}]",
		       -EINVAL, "row 2, line 2: no JSON object");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"nom\":\"x\"}]", -EINVAL,
		       "available: id, name");
	assert_refused(t, "users/append/json", "[{\"id\":20,\"id\":21}]", -EINVAL,
		       "is given twice");
	assert_refused(t, "users/append/json", "[{\"name\":\"x\",\"age\":[5]}]", -EINVAL,
		       "wants a number");
	assert_refused(t, "users/append/json", "[{\"name\":\"x\",\"pic\":{}}]", -EINVAL,
		       "wants base64");
	assert_refused(t, "users/append/json", "[{\"name\":\"x\",\"age\":18446744073709551616}]",
		       -EINVAL, "64 bits");
	assert_refused(t, "users/append/json", "[{}]", -EINVAL, "a column at least");
	assert_refused(t, "users/append/jsonl", "{\"id\":20,\"name\":\"x\"}\n{\"id\":21,", -EINVAL,
		       "row 2, line 2: it is cut off");
	assert_refused(t, "users/append/jsonl", "{\"id\":20,\n", -EINVAL,
		       "does not end in its line");
	assert_refused(t, "users/append/jsonl", "{\"id\":20,\"name\":\"x\"}{\"id\":21}\n", -EINVAL,
		       "follows");
	assert_refused(t, "users/append/jsonl", "[{\"id\":20}]\n", -EINVAL, "is json, not jsonl");
	assert_sql(t, "SELECT count(*) FROM users WHERE id IN (20, 21)", "0");
}

static void a_row_of_more_values_than_columns_can_be_is_not_read(void **state)
{
	static const char *const formats[] = {"csv", "json", "jsonl"};
	static const char *const values[] = {",", "\"\":1,"};
	struct ti *t = *state;
	struct pfs_buf text = {0};
	char path[64];
	size_t i, k;

	for (i = 0; i < PFS_ARRAY_SIZE(formats); i++) {
		text.len = 0;
		pfs_buf_str(&text, i == 0 ? "" : i == 1 ? "[{" : "{");
		for (k = 0; k < 40000; k++)
			pfs_buf_str(&text, values[i > 0]);
		pfs_buf_str(&text, i == 0 ? "\n" : i == 1 ? "\"\":1}]" : "\"\":1}\n");
		snprintf(path, sizeof(path), "users/append/%s", formats[i]);
		assert_refused(t, path, text.data, -EINVAL, "more values than");
	}
	pfs_buf_release(&text);
}

/* ---- all or nothing ------------------------------------------------------------------------- */

static void a_row_that_is_refused_takes_all_with_it(void **state)
{
	struct ti *t = *state;
	struct pfs_attr attr;
	char value[512] = "";

	assert_refused(t, "users/append/csv", "id,name\n20,x\n1,y\n", -EEXIST,
		       "row 2, line 3: SQLite: UNIQUE");
	assert_refused(t, "users/append/jsonl", "{\"id\":20,\"name\":\"x\"}\n{\"id\":21}\n",
		       -EINVAL, "row 2, line 2: SQLite: NOT NULL");
	assert_refused(t, "users/append/csv", "id,name,age\n20,x,\n21,y,1000\n", -EINVAL,
		       "row 2, line 3: SQLite: CHECK");
	assert_refused(t, "orders/append/csv", "id,user_id\n20,1\n21,7\n", -EBUSY,
		       "row 2, line 3: SQLite: FOREIGN");
	assert_refused(t, "loose/append/csv", "id,n\n2,2\n1,5\n", -EEXIST, "row 2, line 3");
	assert_refused(t, "kept_out/append/csv", "id\n1\n10\n", -EINVAL,
		       "row 2, line 3: the engine did not put it in");
	assert_sql(t,
		   "SELECT (SELECT count(*) FROM users WHERE id > 9 AND id < 99) ||"
		   " (SELECT count(*) FROM orders) || (SELECT count(*) FROM loose) ||"
		   " (SELECT count(*) FROM kept_out)",
		   "0110");
	assert_int_equal(look(t, "kept_out/.import/append/csv", &attr), 0);
	assert_true(pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.error"), value,
					sizeof(value) - 1) > 0);
	assert_non_null(strstr(value, "row 2, line 3"));
	assert_int_equal(import(t, "kept_out/append/csv", "id\n1\n"), 0);
	assert_int_equal(pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.error"),
					     value, sizeof(value)),
			 -ENODATA);
}

static void what_a_write_was_told_the_end_is_told_too(void **state)
{
	struct ti *t = *state;
	struct pfs_intake *in;

	assert_int_equal(begin(t, "users/append/jsonl", &in), 0);
	assert_int_equal(add(t, in, "{\"id\":20,\"name\":\"x\"}\n{\"id\":\"z\"}\n"), -EINVAL);
	assert_non_null(strstr(t->error, "row 2, line 2: column id INTEGER: wants a number"));
	assert_int_equal(add(t, in, "{\"id\":21,\"name\":\"x\"}\n"), -EINVAL);
	assert_non_null(strstr(t->error, "row 2, line 2"));
	assert_int_equal(end(t, in), -EINVAL);
	assert_non_null(strstr(t->error, "row 2, line 2"));
	assert_sql(t, "SELECT count(*) FROM users WHERE id IN (20, 21)", "0");
}

static void an_import_is_written_once_and_in_order(void **state)
{
	struct ti *t = *state;
	struct pfs_intake *in;

	assert_int_equal(begin(t, "users/append/csv", &in), 0);
	assert_int_equal(pfs_intake_finish(in), 0); /* nothing was written yet */
	assert_int_equal(add(t, in, "id,name\n20,x\n"), 0);
	assert_sql(t, "SELECT count(*) FROM users WHERE id = 20", "0");
	assert_int_equal(pfs_intake_finish(in), 0);
	assert_sql(t, "SELECT count(*) FROM users WHERE id = 20", "1");
	assert_int_equal(add(t, in, "21,x\n"), -EINVAL);
	assert_non_null(strstr(t->error, "has ended this import"));
	assert_int_equal(end(t, in), 0); /* which was told */

	assert_int_equal(begin(t, "users/append/csv", &in), 0);
	assert_int_equal(add(t, in, "id,name\n21,x\n"), 0);
	assert_int_equal(noted(t, pfs_intake_write(in, 40, PFS_BYTES("22,x\n"))), -EINVAL);
	assert_non_null(strstr(t->error, "from its first byte"));
	assert_int_equal(end(t, in), -EINVAL);

	assert_int_equal(begin(t, "users/append/csv", &in), 0);
	assert_int_equal(add(t, in, "id,name\n21,x\n"), 0);
	pfs_intake_free(in); /* never ended */
	assert_sql(t, "SELECT count(*) FROM users WHERE id > 20 AND id < 99", "0");
}

/* ---- upsert and replace --------------------------------------------------------------------- */

static void an_upsert_changes_what_it_is_given(void **state)
{
	struct ti *t = *state;

	assert_int_equal(import(t, "users/upsert/jsonl",
				"{\"id\":1,\"age\":43}\n{\"id\":20,\"name\":\"new\"}\n"
				"{\"id\":20,\"name\":\"newer\"}\n{\"id\":2}\n"),
			 0);
	assert_sql(t, "SELECT name || email || age || score FROM users WHERE id = 1",
		   "alicea@x431.5");
	assert_sql(t, "SELECT name FROM users WHERE id = 20", "newer");
	assert_sql(t, "SELECT name || score FROM users WHERE id = 2", "bob0.1");
	assert_int_equal(import(t, "users/upsert/csv", "email,name\na@x,anna\nz@x,zoe\n"), 0);
	assert_sql(t, "SELECT name || age FROM users WHERE id = 1", "anna43");
	assert_sql(t, "SELECT count(*) FROM users WHERE email = 'z@x'", "1");
	assert_refused(t, "users/upsert/csv", "name\nx\n", -EINVAL,
		       "row 1, line 2: users cannot be updated by");
	assert_refused(t, "children/upsert/csv", "p\n1\n", -EINVAL, "all of its primary key");
	assert_refused(t, "users/upsert/csv", "id,name,email\n20,x,a@x\n", -EEXIST, "UNIQUE");
	assert_refused(t, "users/upsert/jsonl", "{\"id\":77}\n", -EINVAL, "NOT NULL");
	assert_refused(t, "users/upsert/csv", "id,up\n1,wrong\n", -EINVAL,
		       "column up: the engine computes it, as ANNA");
	assert_int_equal(import(t, "users/upsert/csv", "id,up\n1,ANNA\n"), 0);
	assert_int_equal(import(t, "children/upsert/csv", "p,n\n1,1\n1,2\n"), 0);
	assert_sql(t, "SELECT count(*) FROM children", "2");
	assert_int_equal(import(t, "loose/upsert/csv", "id,n\n1,7\n"), 0);
	assert_sql(t, "SELECT n FROM loose", "7");
}

static void replace_leaves_the_rows_that_it_was_given(void **state)
{
	struct ti *t = *state;

	assert_refused(t, "one/replace/jsonl", "\n \n", -EINVAL, "[] as json");
	assert_int_equal(import(t, "one/replace/csv", ""), 0); /* not written at all */
	assert_sql(t, "SELECT count(*) FROM one", "4");
	assert_int_equal(import(t, "one/replace/csv", "v\nx\n"), 0);
	assert_sql(t, "SELECT group_concat(v) FROM one", "x");
	assert_int_equal(import(t, "one/replace/json", "[]"), 0);
	assert_sql(t, "SELECT count(*) FROM one", "0");
	sql(t, "INSERT INTO one VALUES ('y')");
	assert_refused(t, "one/replace/csv", "v\n", -EINVAL, "[] as json");
	assert_sql(t, "SELECT count(*) FROM one", "1");
	assert_int_equal(import(t, "one/append/jsonl", "\n"), 0);
	/* Others refer to its rows. */
	assert_refused(t, "users/replace/csv", "id,name\n2,x\n", -EBUSY, "FOREIGN KEY");
	assert_refused(t, "users/replace/csv", "id,name\n1,x\n1,y\n", -EEXIST, "row 2, line 3");
	assert_sql(t, "SELECT name FROM users WHERE id = 1", "alice");
	assert_int_equal(import(t, "users/replace/csv", "id,name\n1,x\n"), 0);
	assert_sql(t, "SELECT count(*) || name FROM users", "1x");
	/* Others would go with them. */
	assert_refused(t, "parents/replace/csv", "id\n1\n", -EPERM, "children would lose rows");
	assert_sql(t, "SELECT count(*) FROM children", "1");
}

/* ---- what is not ---------------------------------------------------------------------------- */

static void only_tables_that_can_be_written_take_rows(void **state)
{
	struct ti *t = *state;
	struct pfs_intake *in = NULL;
	struct pfs_attr attr;

	assert_int_equal(begin(t, "grown/append/csv", &in), -EPERM);
	assert_non_null(strstr(t->error, "grown cannot be written: a view"));
	assert_int_equal(look(t, "users/.import", &attr), 0);
	assert_true(S_ISDIR(attr.mode));
	assert_int_equal(look(t, "users/.import/append", &attr), 0);
	assert_true(S_ISDIR(attr.mode));
	assert_int_equal(look(t, "users/.import/append/tsv", &attr), -ENOENT);
	assert_int_equal(look(t, "users/.import/insert", &attr), -ENOENT);
	assert_int_equal(look(t, "users/.first/1/.import", &attr), -ENOENT);
	assert_int_equal(look(t, ".import", &attr), -ENOENT);
}

static void a_table_that_became_another_takes_none(void **state)
{
	struct ti *t = *state;
	struct pfs_intake *in;

	assert_int_equal(begin(t, "loose/append/csv", &in), 0);
	assert_int_equal(add(t, in, "id,n\n5,6\n"), 0);
	sql(t, "CREATE TABLE new_one (x)");
	assert_int_equal(end(t, in), 0);
	assert_sql(t, "SELECT n FROM loose WHERE id = 5", "6");
	assert_int_equal(begin(t, "loose/append/csv", &in), 0);
	assert_int_equal(add(t, in, "id,n\n7,8\n"), 0);
	sql(t, "ALTER TABLE loose RENAME COLUMN n TO m");
	assert_int_equal(end(t, in), -ESTALE);
	assert_int_equal(begin(t, "loose/append/csv", &in), 0);
	assert_int_equal(add(t, in, "id,m\n7,8\n"), 0);
	sql(t, "DROP TABLE loose");
	assert_int_equal(end(t, in), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE_OF(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		CASE_OF(what_is_exported_is_imported),
		CASE_OF(csv_is_read_as_rfc_4180_says),
		CASE_OF(json_is_an_array_and_jsonl_one_object_a_line),
		CASE_OF(a_row_of_more_values_than_columns_can_be_is_not_read),
		CASE_OF(a_row_that_is_refused_takes_all_with_it),
		CASE_OF(what_a_write_was_told_the_end_is_told_too),
		CASE_OF(an_import_is_written_once_and_in_order),
		CASE_OF(an_upsert_changes_what_it_is_given),
		CASE_OF(replace_leaves_the_rows_that_it_was_given),
		CASE_OF(only_tables_that_can_be_written_take_rows),
		CASE_OF(a_table_that_became_another_takes_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
