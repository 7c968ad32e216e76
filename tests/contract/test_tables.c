/*
 * Tables, rows and columns as directories and files, over a SQLite file with tables of the shapes that
 * applications have. An SQL client stands beside.
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

struct tt {
	char dir[64], path[128];
	struct pfs_option *table;
	struct pfs_option_set set, store;
	struct pfs_backend *host, *view;
	struct pfs_store *s;
	uint64_t root;
	sqlite3 *sql;
};

/* ---- the ground ----------------------------------------------------------------------------- */

static const char schema[] =
	"CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email VARCHAR UNIQUE,"
	" age INT CHECK (age < 1000), score REAL, pic BLOB, meta JSON, born DATE,"
	" up TEXT GENERATED ALWAYS AS (upper(name)) VIRTUAL);"
	"CREATE INDEX users_age ON users (age);"
	"INSERT INTO users (id, name, email, age, score, pic, meta, born) VALUES"
	" (1, 'alice', 'a@x', 42, 1.5, x'00ff10', '{\"a\": 1}', '2020-01-02'),"
	" (2, 'bob', NULL, NULL, 0.1, NULL, NULL, NULL),"
	" (-3, '', 'e@x', -7, 1e300, 'text', 5, 'x'),"
	" (9223372036854775807, 'max', 'm@x', 42, -0.0, x'', '', '');"
	"CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id),"
	" note TEXT);"
	"INSERT INTO orders VALUES (1, 1, 'first');"
	"CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',"
	" checkpoint_id TEXT NOT NULL, parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB,"
	" metadata BLOB, PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));"
	"INSERT INTO checkpoints VALUES ('t1', '', 'c1', NULL, 'msgpack', x'81a161', '{}'),"
	" ('t/1', 'a,b', 'c%2C.json', 'c1', 'json', x'', 'x');"
	"CREATE TABLE writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',"
	" checkpoint_id TEXT NOT NULL, task_id TEXT NOT NULL, task_path TEXT NOT NULL DEFAULT '',"
	" idx INTEGER NOT NULL, channel TEXT NOT NULL, type TEXT, value BLOB,"
	" PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));"
	"INSERT INTO writes VALUES ('t1', '', 'c1', 'k', '', 0, 'ch', NULL, x'c0'),"
	" ('t1', '', 'c1', 'k', '', -1, 'ch', NULL, NULL);"
	"CREATE TABLE chat_completions (id VARCHAR NOT NULL, created INTEGER, model VARCHAR,"
	" choices JSON, PRIMARY KEY (id));"
	"INSERT INTO chat_completions VALUES ('chatcmpl-1', 1700000000, 'm', '[{\"x\": 1}]');"
	"CREATE TABLE collections (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);"
	"INSERT INTO collections (name) VALUES ('palace');"
	"CREATE TABLE documents (collection_id INTEGER NOT NULL, id TEXT NOT NULL,"
	" document TEXT NOT NULL, embedding BLOB NOT NULL, dim INTEGER NOT NULL,"
	" PRIMARY KEY (collection_id, id), FOREIGN KEY (collection_id) REFERENCES"
	" collections (id) ON DELETE CASCADE);"
	"INSERT INTO documents VALUES (1, 'doc:1', 'text', x'0000803f', 1);"
	"CREATE VIRTUAL TABLE docs_fts USING fts5 (doc_id UNINDEXED, document);"
	"INSERT INTO docs_fts VALUES ('doc:1', 'hello world');"
	"CREATE TABLE nopk (a, b);"
	"INSERT INTO nopk VALUES (1, 2), (NULL, 'x');"
	"CREATE TABLE anykey (k PRIMARY KEY, v TEXT);"
	"INSERT INTO anykey VALUES (5, 'int'), ('5', 'text'), (x'35', 'blob'), (5.5, 'real'),"
	" (NULL, 'n1'), (NULL, 'n2'), ('', 'empty'), ('.hidden', 'dot'), ('a.json', 'suffix'),"
	" ('%NULL', 'percent'), (printf('%300s', 'y'), 'long');"
	"CREATE TABLE wr (a TEXT, b INTEGER, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;"
	"INSERT INTO wr VALUES ('x', 1, 'c'), ('x', 2, 'd');"
	"CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);"
	"INSERT INTO nocase VALUES ('Key', 'v');"
	"CREATE TABLE persistfs_meta (k TEXT PRIMARY KEY);"
	"CREATE VIEW grown AS SELECT name, age FROM users WHERE age > 0;"
	"CREATE VIEW broken AS SELECT * FROM gone;";

static void sql(struct tt *t, const char *text)
{
	char *msg = NULL;

	if (sqlite3_exec(t->sql, text, NULL, NULL, &msg) != SQLITE_OK)
		fail_msg("%s: %.60s", msg, text);
}

static char *sql_text(struct tt *t, const char *text)
{
	static char out[4096];
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

static int setup_with(void **state, const char *timeout)
{
	const struct pfs_engine *engine = pfs_engine_find("sqlite");
	struct tt *t = calloc(1, sizeof(*t));
	struct pfs_msg msg = {""};

	assert_non_null(t);
	snprintf(t->dir, sizeof(t->dir), "/tmp/pfs-tables-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->path, sizeof(t->path), "%s/app.db", t->dir);
	assert_int_equal(sqlite3_open(t->path, &t->sql), SQLITE_OK);
	sqlite3_busy_timeout(t->sql, 5000);
	sql(t, schema);
	t->table = pfs_engine_options(engine);
	assert_int_equal(pfs_option_set_init(&t->set, t->table), 0);
	option(&t->set, "path", t->path);
	option(&t->set, "timeout", timeout);
	assert_int_equal(pfs_option_set_init(&t->store, pfs_store_options), 0);
	option(&t->store, "read_only", "no");
	option(&t->store, "mtime_column", "changed at");
	assert_int_equal(pfs_backend_new("app", engine, &t->set, &t->host, &msg), 0);
	if (engine->adopt(t->host, PFS_LAYOUT_TABLES, "t", &t->store, &t->view, &msg))
		fail_msg("adopt: %s", msg.text);
	if (pfs_backend_start(t->view, &msg))
		fail_msg("start: %s", msg.text);
	assert_int_equal(pfs_backend_open(t->view, "t", false, &t->s, &msg), 0);
	assert_int_equal(pfs_store_root(t->s, &t->root), 0);
	*state = t;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, "5s");
}

static int setup_impatient(void **state)
{
	return setup_with(state, "100ms");
}

static int teardown(void **state)
{
	struct tt *t = *state;
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

/* Names joined by '/'; names in the path that have a slash of their own have it escaped. */
static int look(struct tt *t, const char *path, struct pfs_attr *out)
{
	const char *p = path;
	int err;

	err = pfs_store_getattr(t->s, t->root, out);
	while (!err && *p) {
		size_t n = strcspn(p, "/");

		err = pfs_store_lookup(t->s, out->id, (struct pfs_bytes){p, n}, out);
		p += n + (p[n] == '/');
	}
	return err;
}

/* The content of the file at `path`, valid until the next call; "(ERRNO)" where there is none. */
static const char *get(struct tt *t, const char *path)
{
	static char buf[65536];
	struct pfs_attr attr;
	ssize_t n;
	int err;

	err = look(t, path, &attr);
	n = err ? err : pfs_store_read(t->s, attr.id, 0, buf, sizeof(buf) - 1);
	if (n < 0)
		snprintf(buf, sizeof(buf), "(%s)", strerrorname_np((int)-n));
	else
		buf[n] = '\0';
	if (n >= 0)
		assert_int_equal(n, attr.size);
	return buf;
}

/* The names in a directory, read in pages of `page`, each with a space behind it. */
static const char *names(struct tt *t, const char *path, size_t page)
{
	static char buf[65536];
	struct pfs_list *list;
	struct pfs_attr attr;
	uint64_t cursor = 0;
	bool end = false;
	size_t i;
	int err;

	buf[0] = '\0';
	err = look(t, path, &attr);
	while (!err && !end) {
		err = pfs_store_list(t->s, attr.id, cursor, page, &list);
		if (err)
			break;
		for (i = 0; i < list->n; i++) {
			cursor = list->entries[i].cursor;
			strncat(buf, list->entries[i].name.p, list->entries[i].name.len);
			strcat(buf, " ");
		}
		end = list->end;
		pfs_list_free(list);
	}
	if (err)
		snprintf(buf, sizeof(buf), "(%s)", strerrorname_np(-err));
	return buf;
}

static int commit(struct tt *t, struct pfs_mutation m)
{
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = pfs_now_ns(),
				  .epoch = pfs_store_epoch(t->s)};

	return pfs_store_commit(t->s, &batch);
}

/* The directory of `path` and, as *name, its last name. */
static int look_dir(struct tt *t, const char *path, struct pfs_attr *out, struct pfs_bytes *name)
{
	const char *slash = strrchr(path, '/');
	char dir[512];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	*name = pfs_bytes_str(slash ? slash + 1 : path);
	return look(t, dir, out);
}

static int make(struct tt *t, const char *path, uint32_t mode, const char *text, size_t len)
{
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .set = {.mode = mode}, .size = len};
	struct pfs_seg seg = {0, text, len};
	struct pfs_attr dir;
	int err;

	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &m.id), 0);
	err = look_dir(t, path, &dir, &m.name);
	m.dir = dir.id;
	m.segs = &seg;
	m.nsegs = len > 0;
	return err ? err : commit(t, m);
}

/* A rewrite of the file, or a new one. */
static int put_bytes(struct tt *t, const char *path, const char *text, size_t len)
{
	struct pfs_mutation m = {.op = PFS_OP_REPLACE, .size = len};
	struct pfs_seg seg = {0, text, len};
	struct pfs_attr attr;
	int err = look(t, path, &attr);

	if (err == -ENOENT)
		return make(t, path, S_IFREG | 0600, text, len);
	m.id = attr.id;
	m.segs = &seg;
	m.nsegs = len > 0;
	return err ? err : commit(t, m);
}

static int put(struct tt *t, const char *path, const char *text)
{
	return put_bytes(t, path, text, strlen(text));
}

/* What a rewrite would be told. */
static int try_put(struct tt *t, const char *path, const char *text)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = {.op = PFS_OP_REPLACE, .segs = &seg, .nsegs = 1, .size = seg.len};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = pfs_now_ns(), .trial = true,
				  .epoch = pfs_store_epoch(t->s)};
	struct pfs_attr attr;
	int err = look(t, path, &attr);

	m.id = attr.id;
	return err ? err : pfs_store_commit(t->s, &batch);
}

static int make_row(struct tt *t, const char *path)
{
	return make(t, path, S_IFDIR | 0700, "", 0);
}

static int drop(struct tt *t, const char *path, uint32_t flags)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .flags = flags};
	struct pfs_attr dir;
	int err = look_dir(t, path, &dir, &m.name);

	m.dir = dir.id;
	return err ? err : commit(t, m);
}

static int move(struct tt *t, const char *from, const char *to)
{
	struct pfs_mutation m = {.op = PFS_OP_RENAME};
	struct pfs_attr dir, dir2;
	int err = look_dir(t, from, &dir, &m.name);

	if (!err)
		err = look_dir(t, to, &dir2, &m.name2);
	m.dir = dir.id;
	m.dir2 = dir2.id;
	return err ? err : commit(t, m);
}

/* value NULL: removed. */
static int set_xattr(struct tt *t, const char *path, const char *name, const char *value)
{
	struct pfs_mutation m = {.op = value ? PFS_OP_SETXATTR : PFS_OP_REMOVEXATTR,
				 .name = pfs_bytes_str(name)};
	struct pfs_seg seg = {0, value, value ? strlen(value) : 0};
	struct pfs_attr attr;
	int err = look(t, path, &attr);

	m.id = attr.id;
	m.segs = &seg;
	m.nsegs = value != NULL;
	return err ? err : commit(t, m);
}

#define assert_sql(t, text, want) assert_string_equal(sql_text(t, text), want)
#define assert_get(t, path, want) assert_string_equal(get(t, path), want)
#define assert_names(t, path, want)                                                                \
	do {                                                                                       \
		assert_string_equal(names(t, path, 100), want);                                    \
		assert_string_equal(names(t, path, 1), want);                                      \
	} while (0)

/* ---- reading -------------------------------------------------------------------------------- */

static void tables_are_directories_and_ours_are_hidden(void **state)
{
	assert_names(*state, "",
		     "anykey broken chat_completions checkpoints collections docs_fts documents "
		     "grown nocase nopk orders users wr writes ");
}

static void a_column_is_what_the_client_prints(void **state)
{
	static const char *const columns[] = {"id",  "name", "email", "age",
					      "score", "pic", "meta", "born", "up"};
	static const char *const rows[] = {"1", "2", "-3", "9223372036854775807"};
	char path[128], text[128];
	struct tt *t = *state;
	size_t i, k;

	for (i = 0; i < PFS_ARRAY_SIZE(rows); i++)
		for (k = 0; k < PFS_ARRAY_SIZE(columns); k++) {
			snprintf(path, sizeof(path), "users/%s/%s", rows[i], columns[k]);
			if (i == 0 && k == 5)
				continue; /* a blob with a zero byte */
			snprintf(text, sizeof(text),
				 "SELECT coalesce(CAST(%s AS TEXT), '') FROM users WHERE id = %s",
				 columns[k], rows[i]);
			assert_get(t, path, sql_text(t, text));
		}
	assert_memory_equal(get(t, "users/1/pic"), "\x00\xff\x10", 3);
	assert_names(t, "users/1", "id name email age score pic meta born up ");
}

static void a_row_is_one_line_of_json_csv_and_tsv(void **state)
{
	struct tt *t = *state;

	assert_get(t, "users/1.json",
		   "{\"id\":1,\"name\":\"alice\",\"email\":\"a@x\",\"age\":42,\"score\":1.5,"
		   "\"pic\":\"AP8Q\",\"meta\":\"{\\\"a\\\": 1}\",\"born\":\"2020-01-02\","
		   "\"up\":\"ALICE\"}\n");
	assert_get(t, "users/9223372036854775807.json",
		   "{\"id\":9223372036854775807,\"name\":\"max\",\"email\":\"m@x\",\"age\":42,"
		   "\"score\":0.0,\"pic\":\"\",\"meta\":\"\",\"born\":\"\",\"up\":\"MAX\"}\n");
	assert_get(t, "users/2.csv", "id,name,email,age,score,pic,meta,born,up\n"
				     "2,bob,,,0.1,,,,BOB\n");
	assert_get(t, "users/2.tsv", "id\tname\temail\tage\tscore\tpic\tmeta\tborn\tup\n"
				     "2\tbob\t\\N\t\\N\t0.1\t\\N\t\\N\t\\N\tBOB\n");
	assert_get(t, "users/-3.csv", "id,name,email,age,score,pic,meta,born,up\n"
				      "-3,\"\",e@x,-7,1.0e+300,text,5,x,\"\"\n");
	assert_get(t, "users/4.json", "(ENOENT)");
	assert_get(t, "users/1.xml", "(ENOENT)");
}

static void null_is_told_from_empty(void **state)
{
	struct tt *t = *state;
	struct pfs_buf list = {0};
	struct pfs_attr attr;
	char value[8];

	assert_int_equal(look(t, "users/2/email", &attr), 0);
	assert_int_equal(attr.size, 0);
	assert_int_equal(pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.null"), value,
					     sizeof(value)),
			 1);
	assert_int_equal(value[0], '1');
	assert_int_equal(pfs_store_xattr_list(t->s, attr.id, &list), 0);
	assert_string_equal(list.data, "user.persistfs.null");
	assert_int_equal(look(t, "users/-3/name", &attr), 0);
	assert_int_equal(pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.null"), value,
					     sizeof(value)),
			 -ENODATA);
	pfs_buf_release(&list);
}

static void a_key_of_any_type_has_one_name(void **state)
{
	struct tt *t = *state;
	char *copy, *name, *rest;
	char path[600];

	assert_get(t, "anykey/5/v", "int");
	assert_get(t, "anykey/%T5/v", "text");
	assert_get(t, "anykey/%x35/v", "blob");
	assert_get(t, "anykey/5.5/v", "real");
	assert_get(t, "anykey/%EMPTY/v", "empty");
	assert_get(t, "anykey/%2Ehidden/v", "dot");
	assert_get(t, "anykey/a%2Ejson/v", "suffix");
	assert_get(t, "anykey/a%2Ejson.json", "{\"k\":\"a.json\",\"v\":\"suffix\"}\n");
	assert_get(t, "anykey/%25NULL/v", "percent");
	assert_get(t, "anykey/%ROWID5/v", "n1");
	assert_get(t, "anykey/%ROWID6/v", "n2");
	assert_get(t, "anykey/%NULL/v", "(ENOENT)");
	assert_get(t, "anykey/05/v", "(ENOENT)");
	assert_get(t, "anykey/5.50/v", "(ENOENT)");
	assert_get(t, "anykey/%35/v", "(ENOENT)");
	assert_get(t, "anykey/%ROWID1/v", "(ENOENT)");
	assert_get(t, "nocase/Key/v", "v");
	assert_get(t, "nocase/key/v", "(ENOENT)");
	/* What is listed can be opened, the long one too. */
	copy = strdup(names(t, "anykey", 3));
	for (name = strtok_r(copy + strspn(copy, " "), " ", &rest); name;
	     name = strtok_r(NULL, " ", &rest)) {
		if (strstr(name, "%~")) /* the spaces before it were taken off */
			continue;
		snprintf(path, sizeof(path), "anykey/%s/v", name);
		assert_true(get(t, path)[0] != '(');
	}
	free(copy);
	assert_get(t, "anykey/.count", "11\n");
}

static void a_long_key_opens_by_its_short_name(void **state)
{
	struct tt *t = *state;
	struct pfs_list *list;
	struct pfs_attr attr;
	char path[300] = "";
	size_t i;

	sql(t, "DELETE FROM anykey WHERE v <> 'long'");
	assert_int_equal(look(t, "anykey", &attr), 0);
	assert_int_equal(pfs_store_list(t->s, attr.id, 0, 10, &list), 0);
	assert_int_equal(list->n, 1);
	assert_int_equal(list->entries[0].name.len, 255);
	i = (size_t)snprintf(path, sizeof(path), "anykey/");
	memcpy(path + i, list->entries[0].name.p, 255);
	snprintf(path + i + 255, 4, "/v");
	assert_get(t, path, "long");
	pfs_list_free(list);
}

/* Rows that go while they are listed; and text with a NUL, behind which SQLite counts no more. */
static void a_listing_goes_on_behind_a_long_key_that_is_gone(void **state)
{
	struct tt *t = *state;
	struct pfs_list *list;
	struct pfs_attr attr;
	uint64_t cursor = 0;
	size_t n = 0, i;
	bool end = false;
	char text[200];

	sql(t, "CREATE TABLE long (k TEXT PRIMARY KEY NOT NULL, v TEXT);"
	       "WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 5)"
	       " INSERT INTO long SELECT char(97 + i, 0) || printf('%300s', 'y'), 'v' FROM c");
	assert_int_equal(look(t, "long", &attr), 0);
	while (!end) {
		int err = pfs_store_list(t->s, attr.id, cursor, 2, &list);

		if (err)
			fail_msg("%s", strerror(-err));
		for (i = 0; i < list->n; i++) {
			struct pfs_attr row, cell;

			cursor = list->entries[i].cursor;
			assert_int_equal(pfs_store_lookup(t->s, attr.id, list->entries[i].name, &row), 0);
			assert_int_equal(pfs_store_lookup(t->s, row.id, PFS_BYTES("v"), &cell), 0);
			snprintf(text, sizeof(text), "DELETE FROM long WHERE substr(k, 1, 1) = '%c'",
				 list->entries[i].name.p[0]);
		}
		sql(t, text);
		n += list->n;
		end = list->end;
		pfs_list_free(list);
	}
	assert_int_equal(n, 6);
}

static void keys_of_several_columns_are_joined_by_commas(void **state)
{
	struct tt *t = *state;

	assert_names(t, "checkpoints", "t%2F1,a%2Cb,c%252C%2Ejson t1,%EMPTY,c1 ");
	assert_get(t, "checkpoints/t1,%EMPTY,c1/type", "msgpack");
	assert_get(t, "checkpoints/t%2F1,a%2Cb,c%252C%2Ejson/checkpoint_id", "c%2C.json");
	assert_names(t, "writes", "t1,%EMPTY,c1,k,-1 t1,%EMPTY,c1,k,0 ");
	assert_names(t, "documents", "1,doc:1 ");
	assert_get(t, "documents/1,doc:1/document", "text");
	assert_names(t, "wr", "x,1 x,2 ");
	assert_get(t, "wr/x,2/c", "d");
	assert_get(t, "wr/x/c", "(ENOENT)");
}

static void tables_without_a_key_have_row_ids_and_views_numbers(void **state)
{
	struct tt *t = *state;

	assert_names(t, "nopk", "1 2 ");
	assert_get(t, "nopk/2.json", "{\"a\":null,\"b\":\"x\"}\n");
	assert_names(t, "docs_fts", "1 ");
	assert_get(t, "docs_fts/1/document", "hello world");
	assert_names(t, "grown", "1 2 ");
	assert_get(t, "grown/1/name", "alice");
	assert_names(t, "broken", "(EIO)");
	assert_non_null(strstr(get(t, "broken/.info"), "no such table: main.gone"));
}

static void a_selection_is_a_directory(void **state)
{
	struct tt *t = *state;

	assert_names(t, "users", "-3 1 2 9223372036854775807 ");
	assert_names(t, "users/.by", "id email age ");
	assert_names(t, "users/.by/age", "%NULL -7 42 ");
	assert_names(t, "users/.by/age/42", "1 9223372036854775807 ");
	assert_names(t, "users/.by/age/%NULL", "2 ");
	assert_names(t, "users/.by/name", "(ENOENT)");
	assert_names(t, "users/.where/name/like/%25a%", "1 9223372036854775807 ");
	assert_names(t, "users/.where/name/contains/li", "1 ");
	assert_names(t, "users/.where/name/prefix/b", "2 ");
	assert_names(t, "users/.where/age/lt/43/.where/age/ne/-7", "1 9223372036854775807 ");
	assert_names(t, "users/.where/email/is-null/yes", "2 ");
	assert_names(t, "users/.where/email/is-null/no/.by/age/42/.last/1",
		     "9223372036854775807 ");
	assert_names(t, "users/.first/2", "-3 1 ");
	assert_names(t, "users/.last/2", "2 9223372036854775807 ");
	assert_names(t, "users/.page/2/3", "9223372036854775807 ");
	assert_names(t, "users/.columns/name,age/1", "name age ");
	assert_get(t, "users/.columns/name,age/1.json", "{\"name\":\"alice\",\"age\":42}\n");
	assert_get(t, "users/.columns/name/1/age", "(ENOENT)");
	assert_get(t, "users/.by/age/42/.count", "2\n");
	assert_get(t, "users/.by/age/42/2/name", "(ENOENT)");
	assert_get(t, "users/.first/2/2/name", "(ENOENT)");
	assert_get(t, "users/.first/2/.count", "2\n");
	assert_get(t, "users/.sample/3/.count", "3\n");
	/* The order of segments is fixed. */
	assert_names(t, "users/.first/1/.by/age/42", "(ENOENT)");
	assert_names(t, "users/.first/1/.first/1", "(ENOENT)");
	assert_names(t, "users/.first/-1", "(ENOENT)");
	assert_names(t, "users/.page/9223372036854775807/9223372036854775807", "(ENOENT)");
}

static void an_ordered_selection_is_listed_in_its_order(void **state)
{
	struct tt *t = *state;

	assert_names(t, "users/.order/age", "2 -3 1 9223372036854775807 ");
	assert_names(t, "users/.order/age.desc", "1 9223372036854775807 -3 2 ");
	assert_names(t, "users/.order/age.desc/.first/2", "1 9223372036854775807 ");
	assert_names(t, "users/.order/age/.last/2", "1 9223372036854775807 ");
	assert_names(t, "users/.order/name/.page/2/2", "2 9223372036854775807 ");
	/* A sample has its number of rows, each once, whatever the size of the pages. */
	assert_int_equal(strlen(names(t, "nopk/.sample/2", 1)), 4);
	assert_int_equal(strlen(names(t, "nopk/.sample/1", 1)), 2);
	assert_int_equal(strlen(names(t, "nopk/.sample/9", 9)), 4);
}

static void looking_changes_nothing(void **state)
{
	struct tt *t = *state;
	struct stat before, after;

	assert_int_equal(stat(t->path, &before), 0);
	names(t, "users", 1);
	get(t, "users/1.json");
	get(t, "users/.by/age/42/.count");
	assert_int_equal(stat(t->path, &after), 0);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(before.st_size, after.st_size);
	assert_string_equal(sql_text(t, "PRAGMA journal_mode"), "delete");
}

static void a_schema_that_changes_is_seen(void **state)
{
	struct tt *t = *state;

	assert_get(t, "nopk/1/c", "(ENOENT)");
	sql(t, "ALTER TABLE nopk ADD COLUMN c DEFAULT 'new'; CREATE TABLE later (x)");
	assert_get(t, "nopk/1/c", "new");
	assert_names(t, "nopk/1", "a b c ");
	assert_names(t, "later", "");
	sql(t, "DROP VIEW broken; ALTER TABLE nopk DROP COLUMN b; DROP TABLE later");
	assert_names(t, "nopk/1", "a c ");
	assert_get(t, "nopk/1/b", "(ENOENT)");
	assert_names(t, "later", "(ENOENT)");
}

/* Quotes, semicolons, what ends a statement, escapes, dots, lines, what is no UTF-8. */
static const char *const hostile[] = {
	"a\"b",	 "a'b", "a;DROP TABLE users;--", "a]b[",    "a`b",	"%s%n",	  "a%2Fb", "a\nb",
	"\xc3\xa9\xe2\x82\xac", ".dot",	  "x.json", "?1",	  "a,b",	"$a:a@a", "%NULL", "-- x",
	"\\",	 " ",	"select",		 "rowid", "a\tb", "%",	  "%ROWID1", "%T1",
};

static void hostile_names_are_only_names(void **state)
{
	struct tt *t = *state;
	const char *h, *file, *second, *listed;
	char text[1024], path[1024];
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(hostile); i++) {
		char *create = sqlite3_mprintf(
			"CREATE TABLE \"%w\" (\"%w\" TEXT NOT NULL PRIMARY KEY, \"%w 2\" TEXT);"
			"CREATE INDEX \"i%w\" ON \"%w\" (\"%w 2\");"
			"INSERT INTO \"%w\" VALUES (%Q, %Q), ('other', 'x')",
			hostile[i], hostile[i], hostile[i], hostile[i], hostile[i], hostile[i],
			hostile[i], hostile[i], hostile[i]);

		h = hostile[i];
		sql(t, create);
		sqlite3_free(create);
		/* The same rule makes the name of a table, a column and a key of one column. */
		snprintf(path, sizeof(path), "%s", names(t, "", 100));
		file = h;
		if (!strcmp(h, ".dot"))
			file = "%2Edot";
		else if (!strcmp(h, "x.json"))
			file = "x%2Ejson";
		else if (!strcmp(h, "a%2Fb"))
			file = "a%252Fb";
		else if (h[0] == '%') {
			snprintf(text, sizeof(text), "%%25%s", h + 1);
			file = strdup(text);
		}
		second = strcmp(h, "x.json") ? file : h; /* the column "x.json 2" has no suffix */
		snprintf(path, sizeof(path), "%s/%s/%s", file, file, file);
		assert_get(t, path, h);
		snprintf(path, sizeof(path), "%s/.by/%s/%s/%s/%s 2", file, file, file, file, second);
		assert_get(t, path, h);
		snprintf(path, sizeof(path), "%s/.by/%s 2/%s/.count", file, second, file);
		assert_get(t, path, "1\n");
		snprintf(path, sizeof(path), "%s/.where/%s 2/eq/%s/.order/%s.desc/%s/%s 2", file,
			 second, file, file, file, second);
		assert_get(t, path, h);
		snprintf(path, sizeof(path), "%s/.where/%s 2/contains/%s/.first/5/.count", file,
			 second, h[0] == '.' ? h : file);
		assert_get(t, path, "1\n");
		snprintf(path, sizeof(path), "%s", file);
		listed = names(t, path, 10);
		assert_non_null(strstr(listed, file));
		if (file != h && h[0] == '%')
			free((void *)(uintptr_t)file);
	}
	assert_get(t, "users/.count", "4\n");
}

static void a_large_table_is_listed_once_each(void **state)
{
	struct tt *t = *state;
	struct pfs_list *list;
	struct pfs_attr attr;
	uint64_t cursor = 0;
	size_t n = 0, i;
	bool end = false;
	char want[32], last[64] = "";

	sql(t, "CREATE TABLE big (k TEXT PRIMARY KEY NOT NULL);"
	       "WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 19999)"
	       " INSERT INTO big SELECT printf('k%06d', i) FROM c");
	assert_int_equal(look(t, "big", &attr), 0);
	while (!end) {
		assert_int_equal(pfs_store_list(t->s, attr.id, cursor, 1000, &list), 0);
		for (i = 0; i < list->n; i++, n++) {
			snprintf(want, sizeof(want), "k%06zu", n);
			snprintf(last, sizeof(last), "%.*s", (int)list->entries[i].name.len,
				 list->entries[i].name.p);
			assert_string_equal(last, want);
			cursor = list->entries[i].cursor;
		}
		end = list->end;
		pfs_list_free(list);
	}
	assert_int_equal(n, 20000);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void a_column_file_is_an_update_of_that_column(void **state)
{
	struct tt *t = *state;

	assert_int_equal(put(t, "users/1/name", "carol\n"), 0);
	assert_sql(t, "SELECT name || typeof(name) FROM users WHERE id = 1", "caroltext");
	assert_get(t, "users/1/name", "carol");
	assert_get(t, "users/1/up", "CAROL");
	assert_int_equal(put(t, "users/1/name", "two\nlines\n\n"), 0);
	assert_get(t, "users/1/name", "two\nlines\n");
	assert_int_equal(put(t, "users/1/name", "kept\n"), 0);
	assert_get(t, "users/1/name", "kept\n");
	assert_int_equal(put(t, "users/1/age", "43\n"), 0);
	assert_sql(t, "SELECT age || typeof(age) FROM users WHERE id = 1", "43integer");
	assert_int_equal(put(t, "users/1/score", "2.25"), 0);
	assert_sql(t, "SELECT score || typeof(score) FROM users WHERE id = 1", "2.25real");
	assert_int_equal(put_bytes(t, "users/1/pic", "\0\n", 2), 0);
	assert_sql(t, "SELECT hex(pic) || typeof(pic) FROM users WHERE id = 1", "000Ablob");
	assert_int_equal(put(t, "users/-3/pic", "text again"), 0);
	assert_sql(t, "SELECT typeof(pic) FROM users WHERE id = -3", "text");
	assert_int_equal(put(t, "users/2/pic", "new"), 0);
	assert_sql(t, "SELECT typeof(pic) FROM users WHERE id = 2", "blob");
	assert_int_equal(put(t, "checkpoints/t%2F1,a%2Cb,c%252C%2Ejson/type", "'; --"), 0);
	assert_sql(t, "SELECT type FROM checkpoints WHERE thread_id = 't/1'", "'; --");
	assert_int_equal(put(t, "anykey/%ROWID5/v", "null's"), 0);
	assert_sql(t, "SELECT v FROM anykey WHERE rowid = 5", "null's");
	assert_int_equal(put(t, "anykey/%x35/v", "b"), 0);
	assert_sql(t, "SELECT group_concat(v, '') FROM anykey WHERE v IN ('b', 'int', 'text')",
		   "inttextb");
	assert_sql(t, "SELECT count(*) FROM users", "4");
}

static void what_a_column_cannot_take_is_refused(void **state)
{
	struct tt *t = *state;

	assert_int_equal(put(t, "users/1/age", "x"), -EINVAL);
	assert_int_equal(put(t, "users/1/age", "9223372036854775808"), -EINVAL);
	assert_int_equal(put(t, "users/1/age", "1001"), -EINVAL);
	assert_non_null(strstr(pfs_error_text(), "CHECK constraint failed"));
	assert_int_equal(put(t, "users/1/name", "\xff"), -EILSEQ);
	assert_int_equal(put_bytes(t, "users/1/name", "a\0b", 3), -EILSEQ);
	assert_int_equal(put(t, "users/2/email", "a@x"), -EEXIST);
	assert_int_equal(put(t, "users/1/id", "5"), -EPERM);
	assert_int_equal(put(t, "users/1/up", "X"), -EPERM);
	assert_int_equal(put(t, "users/1/other", "x"), -EPERM);
	assert_int_equal(put(t, "orders/1/user_id", "77"), -EBUSY);
	assert_int_equal(put(t, "grown/1/name", "x"), -EPERM);
	assert_int_equal(set_xattr(t, "users/1/name", "user.persistfs.null", "1"), -EINVAL);
	assert_get(t, "users/1.csv", "id,name,email,age,score,pic,meta,born,up\n"
				     "1,alice,a@x,42,1.5,AP8Q,\"{\"\"a\"\": 1}\",2020-01-02,ALICE\n");
	/* The same key again is fine. */
	assert_int_equal(put(t, "users/1/id", "1\n"), 0);
}

static void a_trial_is_told_what_a_write_would_be(void **state)
{
	struct tt *t = *state;
	struct pfs_attr attr;
	char buf[100];
	ssize_t n;

	sql(t, "CREATE TABLE later (id INTEGER PRIMARY KEY, u INTEGER REFERENCES users (id)"
	       " DEFERRABLE INITIALLY DEFERRED); INSERT INTO later VALUES (1, 1)");
	assert_int_equal(try_put(t, "users/1/age", "x"), -EINVAL);
	assert_int_equal(try_put(t, "users/1/age", "1001"), -EINVAL);
	assert_int_equal(try_put(t, "users/1/name", "\xff"), -EILSEQ);
	assert_int_equal(try_put(t, "users/2/email", "a@x"), -EEXIST);
	assert_int_equal(try_put(t, "users/1/id", "5"), -EPERM);
	assert_int_equal(try_put(t, "users/1/up", "X"), -EPERM);
	assert_int_equal(try_put(t, "orders/1/user_id", "77"), -EBUSY);
	assert_int_equal(try_put(t, "later/1/u", "77"), -EBUSY);
	assert_int_equal(put(t, "later/1/u", "77"), -EBUSY);
	assert_int_equal(try_put(t, "grown/1/name", "x"), -EPERM);
	assert_int_equal(try_put(t, "users/1.json", "{\"nmae\": 1}"), -EINVAL);
	assert_int_equal(try_put(t, "users/1.json", "{\"age\": 1001}"), -EINVAL);
	assert_int_equal(try_put(t, "users/1.json", "{\"age\": 5, \"na"), 0);
	assert_int_equal(try_put(t, "users/1/name", "\xc3"), 0);
	/* Why is on the file. */
	assert_int_equal(try_put(t, "users/2/email", "a@x"), -EEXIST);
	assert_int_equal(look(t, "users/2/email", &attr), 0);
	n = pfs_store_xattr_get(t->s, attr.id, PFS_BYTES("user.persistfs.error"), buf, sizeof(buf));
	assert_true(n > 0);
	assert_non_null(memmem(buf, (size_t)n, "UNIQUE constraint failed", 24));
}

static void a_trial_changes_nothing(void **state)
{
	struct tt *t = *state;
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .flags = PFS_F_LATE, .set.mode = S_IFREG | 0600,
				 .name = PFS_BYTES("9.json")};
	struct pfs_attr dir;

	sql(t, "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT NOT NULL);"
	       "CREATE TABLE log (v TEXT); CREATE TRIGGER logged AFTER INSERT ON counted BEGIN"
	       " INSERT INTO log VALUES (new.v); END");
	assert_int_equal(try_put(t, "users/1/name", "other"), 0);
	assert_get(t, "users/1/name", "alice");
	assert_int_equal(try_put(t, "users/1.json", "{\"age\": 5}"), 0);
	assert_get(t, "users/1/age", "42");
	/* A row that is made: its file has no content yet, and none afterwards. */
	assert_int_equal(look(t, "counted", &dir), 0);
	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &m.id), 0);
	m.dir = dir.id;
	assert_int_equal(commit(t, m), 0);
	pfs_store_hold(t->s, m.id);
	assert_int_equal(try_put(t, "counted/9.json", "{\"v\": null}"), -EINVAL);
	assert_int_equal(try_put(t, "counted/9.json", "{\"v\": \"x\"}"), 0);
	assert_sql(t, "SELECT count(*) FROM counted", "0");
	assert_sql(t, "SELECT count(*) FROM log", "0");
	assert_sql(t, "SELECT count(*) FROM sqlite_sequence WHERE name = 'counted'", "0");
	pfs_store_release_id(t->s, m.id);
	assert_get(t, "counted/9.json", "(ENOENT)");
	/* A column of a row that is not complete, and the one that would complete it. */
	assert_int_equal(make_row(t, "documents/1,doc:2"), 0);
	assert_int_equal(put(t, "documents/1,doc:2/document", "d"), 0);
	assert_int_equal(try_put(t, "documents/1,doc:2/document", "e"), 0);
	assert_get(t, "documents/1,doc:2/document", "d");
	assert_int_equal(put(t, "documents/1,doc:2/embedding", "e"), 0);
	assert_int_equal(put(t, "documents/1,doc:2/document", "f"), 0);
	assert_sql(t, "SELECT count(*) FROM documents", "1");
	assert_int_equal(put(t, "documents/1,doc:2/dim", "1"), 0);
	assert_sql(t, "SELECT count(*) FROM documents WHERE document = 'f'", "1");
}

/* Who has a lock now may have none at the commit. */
static void a_trial_finds_no_fault_where_others_have_a_lock(void **state)
{
	struct tt *t = *state;

	sql(t, "BEGIN IMMEDIATE");
	assert_int_equal(try_put(t, "users/1/age", "x"), 0);
	assert_int_equal(put(t, "users/1/age", "5"), -EBUSY);
	sql(t, "ROLLBACK");
	assert_int_equal(try_put(t, "users/1/age", "x"), -EINVAL);
}

static void appending_and_editing_start_from_what_is_there(void **state)
{
	struct pfs_seg seg = {0, "!", 1};
	struct tt *t = *state;
	struct pfs_attr attr;

	assert_int_equal(look(t, "users/1/name", &attr), 0);
	assert_int_equal(commit(t, m_content(PFS_OP_APPEND, attr.id, &seg, 1)), 0);
	assert_get(t, "users/1/name", "alice!");
	assert_int_equal(commit(t, m_content(PFS_OP_WRITE, attr.id, &seg, 1)), 0);
	assert_get(t, "users/1/name", "!lice!");
	assert_int_equal(commit(t, m_size(PFS_OP_TRUNCATE, attr.id, 3)), 0);
	assert_sql(t, "SELECT name FROM users WHERE id = 1", "!li");
}

static void json_changes_some_columns_or_makes_a_row(void **state)
{
	struct tt *t = *state;
	char text[1024];

	assert_int_equal(put(t, "users/1.json", "{\"age\": 7, \"name\": \"z\\u20ac\\n\"}"), 0);
	assert_sql(t, "SELECT name || age || email FROM users WHERE id = 1", "z€\n7a@x");
	/* What was read can be written. */
	snprintf(text, sizeof(text), "%s", get(t, "users/1.json"));
	assert_int_equal(put(t, "users/1.json", text), 0);
	assert_get(t, "users/1.json", text);
	assert_int_equal(put(t, "users/1.json", "{\"pic\":\"aGk=\",\"meta\":{\"b\": [1, 2]},"
						"\"score\":null,\"age\":9007199254740993}"),
			 -EINVAL); /* age < 1000 */
	assert_int_equal(put(t, "users/1.json",
			     "{\"pic\":\"aGk=\",\"meta\":{\"b\": [1, 2]},\"score\":null}"),
			 0);
	assert_sql(t, "SELECT pic || typeof(pic) || meta || ifnull(score, 'N') FROM users WHERE id = 1",
		   "hiblob{\"b\": [1, 2]}N");
	assert_int_equal(put(t, "users/7.json", "{\"name\": \"new\", \"id\": 7}\n"), 0);
	assert_sql(t, "SELECT name FROM users WHERE id = 7", "new");
	assert_int_equal(put(t, "writes/a,b,c,d,9007199254740993.json",
			     "{\"channel\":\"x\",\"value\":\"wA==\"}"), 0);
	assert_sql(t, "SELECT hex(value) FROM writes WHERE idx = 9007199254740993", "C0");
	assert_int_equal(put(t, "users/8.json", "{\"id\": 9, \"name\": \"x\"}"), -EPERM);
	assert_int_equal(put(t, "users/8.json", "{\"email\": \"x\"}"), -EINVAL);
	assert_int_equal(put(t, "users/08.json", "{\"name\": \"x\"}"), -EILSEQ);
	assert_int_equal(put(t, "users/8.json", "{\"nmae\": \"x\"}"), -EINVAL);
	assert_int_equal(put(t, "users/8.json", "{\"name\": \"x\""), -EINVAL);
	assert_int_equal(put(t, "users/8.json", ""), -EINVAL);
	assert_int_equal(put(t, "users/8.csv", "x"), -EPERM);
	assert_int_equal(put(t, "users/1.json", "{\"pic\":\"?\"}"), -EINVAL);
	assert_sql(t, "SELECT count(*) FROM users", "5");
}

static void a_row_is_inserted_when_it_is_complete(void **state)
{
	struct tt *t = *state;

	assert_int_equal(make_row(t, "documents/1,doc:2"), 0);
	assert_int_equal(make_row(t, "documents/1,doc:2"), -EEXIST);
	assert_names(t, "documents", "1,doc:1 1,doc:2 ");
	assert_int_equal(put(t, "documents/1,doc:2/document", "d\n"), 0);
	assert_int_equal(put(t, "documents/1,doc:2/embedding", "\x01"), 0);
	assert_names(t, "documents/1,doc:2", "document embedding ");
	assert_get(t, "documents/1,doc:2/document", "d");
	assert_get(t, "documents/1,doc:2/dim", "(ENOENT)");
	assert_get(t, "documents/1,doc:2/.dim.123456", "(ENOENT)");
	assert_get(t, "documents/1,doc:2.json", "(ENOENT)");
	assert_sql(t, "SELECT count(*) FROM documents", "1");
	assert_int_equal(put(t, "documents/1,doc:2/collection_id", "1"), 0);
	assert_int_equal(put(t, "documents/1,doc:2/id", "other"), -EPERM);
	assert_int_equal(put(t, "documents/1,doc:2/dim", "1"), 0);
	assert_sql(t, "SELECT document || hex(embedding) || dim FROM documents WHERE id = 'doc:2'",
		   "d011");
	assert_names(t, "documents", "1,doc:1 1,doc:2 ");
	assert_names(t, "documents/1,doc:2", "collection_id id document embedding dim ");
	/* One that the engine refuses at the end is still not complete. */
	assert_int_equal(make_row(t, "documents/5,doc:3"), 0);
	assert_int_equal(put(t, "documents/5,doc:3/document", "d"), 0);
	assert_int_equal(put(t, "documents/5,doc:3/embedding", "e"), 0);
	assert_int_equal(put(t, "documents/5,doc:3/dim", "1"), -EBUSY);
	assert_names(t, "documents/5,doc:3", "document embedding ");
	assert_int_equal(drop(t, "documents/5,doc:3", PFS_F_DIR), 0);
	assert_names(t, "documents/5,doc:3", "(ENOENT)");
	assert_sql(t, "SELECT count(*) FROM documents", "2");
	/* Nothing is missing. */
	assert_int_equal(make_row(t, "nopk/9"), 0);
	assert_int_equal(make_row(t, "wr/q,7"), 0);
	assert_sql(t, "SELECT count(*) FROM wr", "3");
	assert_int_equal(make_row(t, "wr/q,08"), -EILSEQ);
	assert_int_equal(make_row(t, "wr/q"), -EILSEQ);
	assert_int_equal(make_row(t, "grown/5"), -EPERM);
	assert_int_equal(make_row(t, "newtable"), -EPERM);
}

static void rows_are_removed_and_nothing_else(void **state)
{
	struct tt *t = *state;

	assert_int_equal(drop(t, "users/2", PFS_F_DIR), 0);
	assert_int_equal(drop(t, "users/-3.json", 0), 0);
	assert_int_equal(drop(t, "users/-3.json", 0), -ENOENT);
	assert_int_equal(drop(t, "users/1", PFS_F_DIR), -EBUSY); /* orders has it */
	assert_int_equal(drop(t, "users/1/name", 0), -EPERM);
	assert_int_equal(drop(t, "users", PFS_F_DIR), -EPERM);
	assert_int_equal(drop(t, "users/.by", PFS_F_DIR), -EPERM);
	assert_int_equal(drop(t, "users/.schema", 0), -EPERM);
	assert_int_equal(drop(t, "grown/1", PFS_F_DIR), -EPERM);
	assert_names(t, "users", "1 9223372036854775807 ");
	assert_sql(t, "SELECT count(*) FROM users", "2");
}

static void a_column_says_when_a_row_was_changed(void **state)
{
	struct tt *t = *state;
	struct pfs_list *list;
	struct pfs_attr attr;

	sql(t, "CREATE TABLE dated (id INTEGER PRIMARY KEY, v TEXT, \"changed at\" TIMESTAMP);"
	       "INSERT INTO dated VALUES (1, 'a', '2025-01-02T03:04:05+00:00'), (2, 'b', 86400)");
	assert_int_equal(look(t, "dated/1/v", &attr), 0);
	assert_int_equal(attr.mtime / NSEC_PER_SEC, 1735787045);
	assert_int_equal(look(t, "dated/2", &attr), 0);
	assert_int_equal(pfs_store_list(t->s, attr.id, 0, 10, &list), 0);
	assert_int_equal(list->n, 3);
	assert_int_equal(list->entries[1].attr.mtime / NSEC_PER_SEC, 86400);
	pfs_list_free(list);
}

static void null_is_set_and_taken_away(void **state)
{
	struct tt *t = *state;

	assert_int_equal(set_xattr(t, "users/1/email", "user.persistfs.null", "1"), 0);
	assert_sql(t, "SELECT email IS NULL FROM users WHERE id = 1", "1");
	assert_get(t, "users/1/email", "");
	assert_int_equal(set_xattr(t, "users/1/email", "user.persistfs.null", NULL), 0);
	assert_sql(t, "SELECT typeof(email) || length(email) FROM users WHERE id = 1", "text0");
	assert_int_equal(put(t, "users/1/age", ""), 0);
	assert_sql(t, "SELECT age IS NULL FROM users WHERE id = 1", "1");
}

/* rsync -X says so before it renames: a column that takes no empty text takes none of it. */
static void a_copy_of_null_is_null_at_once(void **state)
{
	struct tt *t = *state;

	sql(t, "CREATE TABLE strict (id INTEGER PRIMARY KEY, v TEXT CHECK (v <> ''), w BLOB NOT NULL);"
	       "INSERT INTO strict VALUES (1, 'x', x'00')");
	assert_int_equal(put(t, "strict/1/.v.abcdef", ""), 0);
	assert_int_equal(move(t, "strict/1/.v.abcdef", "strict/1/v"), -EINVAL);
	assert_int_equal(set_xattr(t, "strict/1/.v.abcdef", "user.persistfs.null", "1"), 0);
	assert_int_equal(move(t, "strict/1/.v.abcdef", "strict/1/v"), 0);
	assert_sql(t, "SELECT v IS NULL FROM strict", "1");
	assert_int_equal(make_row(t, "strict/2"), 0);
	assert_int_equal(put(t, "strict/2/.v.abcdef", ""), 0);
	assert_int_equal(set_xattr(t, "strict/2/.v.abcdef", "user.persistfs.null", "1"), 0);
	assert_int_equal(move(t, "strict/2/.v.abcdef", "strict/2/v"), 0);
	assert_int_equal(put(t, "strict/2/w", "y"), 0);
	assert_sql(t, "SELECT v IS NULL FROM strict WHERE id = 2", "1");
	assert_int_equal(put(t, "strict/2/.w.abcdef", ""), 0);
	assert_int_equal(set_xattr(t, "strict/2/.w.abcdef", "user.persistfs.null", "1"), 0);
	assert_int_equal(move(t, "strict/2/.w.abcdef", "strict/2/w"), -EINVAL);
	assert_sql(t, "SELECT w FROM strict WHERE id = 2", "y");
}

static void a_number_is_added_to_by_the_engine(void **state)
{
	struct tt *t = *state;

	assert_int_equal(set_xattr(t, "users/1/age", "user.persistfs.incr", "5"), 0);
	assert_int_equal(set_xattr(t, "users/1/age", "user.persistfs.incr", "-2"), 0);
	assert_get(t, "users/1/age", "45");
	assert_int_equal(set_xattr(t, "users/1/score", "user.persistfs.incr", "0.25"), 0);
	assert_get(t, "users/1/score", "1.75");
	assert_int_equal(set_xattr(t, "users/2/age", "user.persistfs.incr", "1"), -EINVAL);
	assert_int_equal(set_xattr(t, "users/1/name", "user.persistfs.incr", "1"), -EINVAL);
	assert_int_equal(set_xattr(t, "users/1/age", "user.persistfs.incr", "x"), -EINVAL);
	assert_int_equal(set_xattr(t, "users/1/age", "user.persistfs.incr", "9223372036854775807"),
			 -EINVAL);
	assert_get(t, "users/1/age", "45");
}

static void hostile_names_are_written(void **state)
{
	struct tt *t = *state;
	char path[512], *create, *count;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(hostile); i++) {
		if (hostile[i][0] == '%' || hostile[i][0] == '.' || strchr(hostile[i], '%') ||
		    !strcmp(hostile[i], "x.json"))
			continue; /* the escapes have their own case */
		create = sqlite3_mprintf("CREATE TABLE \"%w\" (\"%w\" TEXT NOT NULL PRIMARY KEY,"
					 " \"v%w\" TEXT NOT NULL);",
					 hostile[i], hostile[i], hostile[i]);
		sql(t, create);
		sqlite3_free(create);
		snprintf(path, sizeof(path), "%s/%s", hostile[i], hostile[i]);
		assert_int_equal(make_row(t, path), 0);
		snprintf(path, sizeof(path), "%s/%s/v%s", hostile[i], hostile[i], hostile[i]);
		assert_int_equal(put(t, path, hostile[i]), 0);
		assert_get(t, path, hostile[i]);
		count = sqlite3_mprintf("SELECT \"%w\" = %Q AND \"v%w\" = %Q FROM \"%w\"",
					hostile[i], hostile[i], hostile[i], hostile[i], hostile[i]);
		assert_sql(t, count, "1");
		sqlite3_free(count);
		snprintf(path, sizeof(path), "%s/%s", hostile[i], hostile[i]);
		assert_int_equal(drop(t, path, PFS_F_DIR), 0);
		assert_names(t, hostile[i], "");
	}
	assert_sql(t, "SELECT count(*) FROM users", "4");
}

/* Bytes that this process has asked the system for. */
static unsigned long long bytes_read(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "rchar: %llu", &n), 1);
	fclose(f);
	return n;
}

static void expect_piece(struct tt *t, uint64_t id, uint64_t off, char want)
{
	static char piece[65536];
	size_t i;

	assert_int_equal(pfs_store_read(t->s, id, off, piece, sizeof(piece)), sizeof(piece));
	for (i = 0; i < sizeof(piece); i++)
		if (piece[i] != want)
			fail_msg("%c at %zu", piece[i], i);
}

/* A piece costs a piece, and is of what the row holds when it is asked for. */
static void a_large_value_is_read_in_pieces(void **state)
{
	const size_t size = 8 << 20;
	struct tt *t = *state;
	struct pfs_attr attr;
	unsigned long long before;
	uint64_t off, id;

	sql(t, "CREATE TABLE large (id INTEGER PRIMARY KEY, v TEXT, w TEXT);"
	       "INSERT INTO large VALUES (1, replace(hex(zeroblob(4194304)), '0', 'a'), 'w'),"
	       " (2, replace(hex(zeroblob(4194304)), '0', 'z'), 'w')");
	assert_int_equal(look(t, "large/1/v", &attr), 0);
	assert_int_equal(attr.size, size);
	id = attr.id;
	before = bytes_read();
	for (off = 0; off < size; off += 65536)
		expect_piece(t, id, off, 'a');
	assert_true(bytes_read() - before < 8 * size);
	/* By another client; here; another row; and when it has gone. */
	sql(t, "UPDATE large SET v = replace(v, 'a', 'b') WHERE id = 1");
	assert_int_equal(pfs_backend_catch_up(t->view), 0);
	expect_piece(t, id, 65536, 'b');
	expect_piece(t, id, 131072, 'b');
	assert_int_equal(put(t, "large/1/w", "x"), 0);
	sql(t, "UPDATE large SET v = replace(v, 'b', 'c') WHERE id = 1");
	assert_int_equal(pfs_backend_catch_up(t->view), 0);
	expect_piece(t, id, 0, 'c');
	assert_int_equal(look(t, "large/2/v", &attr), 0);
	expect_piece(t, attr.id, 0, 'z');
	expect_piece(t, id, 65536, 'c');
	expect_piece(t, attr.id, 65536, 'z');
	sql(t, "DELETE FROM large WHERE id = 2");
	assert_int_equal(pfs_backend_catch_up(t->view), 0);
	assert_int_equal(pfs_store_read(t->s, attr.id, 0, &attr, sizeof(attr)), -ENOENT);
	assert_int_equal(put(t, "large/1/v", "short"), 0);
	assert_get(t, "large/1/v", "short");
}

/* What looks like a number to C but not to the engine would be kept as text. */
static void a_column_of_numbers_holds_numbers(void **state)
{
	static const char *const none[] = {"0x10", "nan", "inf", "infinity", "1e", ".", "-", "1 2", "+Inf"};
	struct tt *t = *state;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(none); i++) {
		assert_int_equal(put(t, "users/1/score", none[i]), -EINVAL);
		assert_int_equal(put(t, "users/1/age", none[i]), -EINVAL);
	}
	assert_sql(t, "SELECT typeof(score) || typeof(age) FROM users WHERE id = 1", "realinteger");
	assert_int_equal(put(t, "users/1/score", "-Inf\n"), 0);
	assert_sql(t, "SELECT typeof(score) || (score = -9e999) FROM users WHERE id = 1", "real1");
	assert_get(t, "users/1/score", "-Inf");
	assert_int_equal(put(t, "users/1/score", "-.5e-3"), 0);
	assert_sql(t, "SELECT typeof(score) || score FROM users WHERE id = 1", "real-0.0005");
	assert_get(t, "users/.where/score/eq/0x0/.count", "0\n");
}

/* The engine prints 15 digits of a number; what two of them share is no name, and not what a row holds. */
static void a_real_is_shown_with_all_its_digits(void **state)
{
	struct tt *t = *state;

	sql(t, "CREATE TABLE reals (k REAL PRIMARY KEY NOT NULL, v);"
	       "INSERT INTO reals VALUES (0.3, 'a'), (0.1 + 0.2, 'b'), (9e999, 9e999), (-9e999, 'd'),"
	       " (9007199254740992.0, 9007199254740992.0);");
	assert_names(t, "reals", "-Inf 0.3 0.30000000000000004 9007199254740992.0 Inf ");
	assert_get(t, "reals/0.3/v", "a");
	assert_get(t, "reals/0.30000000000000004/v", "b");
	assert_get(t, "reals/9007199254740992.0.json", "{\"k\":9007199254740992.0,\"v\":9007199254740992.0}\n");
	assert_get(t, "reals/Inf.json", "{\"k\":9e999,\"v\":9e999}\n");
	assert_get(t, "reals/-Inf/v", "d");
	assert_int_equal(put(t, "users/1/score", "0.30000000000000004"), 0);
	assert_sql(t, "SELECT score = 0.1 + 0.2 FROM users WHERE id = 1", "1");
	assert_get(t, "users/1/score", "0.30000000000000004");
	assert_int_equal(drop(t, "reals/0.30000000000000004", PFS_F_DIR), 0);
	assert_sql(t, "SELECT group_concat(v) FROM reals WHERE k < 1", "d,a");
}

/* A value may be any text: none of them is the directory itself. */
static void values_of_a_column_are_names(void **state)
{
	struct tt *t = *state;

	sql(t, "CREATE TABLE vals (id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX vals_v ON vals (v);"
	       "INSERT INTO vals (v) VALUES ('.'), ('..'), ('.by'), ('a.json'), (''), (NULL), ('a/b'), ('%x');");
	assert_names(t, "vals/.by/v", "%NULL %EMPTY %25x %2E %2E. %2Eby a.json a%2Fb ");
	assert_names(t, "vals/.by/v/%2E", "1 ");
	assert_names(t, "vals/.by/v/%2E.", "2 ");
	assert_names(t, "vals/.by/v/%2Eby", "3 ");
	assert_names(t, "vals/.by/v/.by", "3 ");
}

/* A key tells rows apart that the engine takes for equal: nothing is changed in either. */
static void a_change_takes_one_row(void **state)
{
	struct tt *t = *state;

	sql(t, "CREATE TABLE two (k TEXT COLLATE NOCASE, v TEXT, PRIMARY KEY (k COLLATE BINARY));"
	       "INSERT INTO two VALUES ('A', '1'), ('a', '2');");
	assert_get(t, "two/A/v", "1");
	assert_int_equal(put(t, "two/A/v", "3"), -EPERM);
	assert_int_equal(drop(t, "two/A", PFS_F_DIR), -EPERM);
	assert_sql(t, "SELECT group_concat(v) FROM two", "1,2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE_OF(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		CASE_OF(a_change_takes_one_row),
		CASE_OF(a_large_value_is_read_in_pieces),
		CASE_OF(a_column_of_numbers_holds_numbers),
		CASE_OF(a_real_is_shown_with_all_its_digits),
		CASE_OF(values_of_a_column_are_names),
		CASE_OF(tables_are_directories_and_ours_are_hidden),
		CASE_OF(a_column_is_what_the_client_prints),
		CASE_OF(a_row_is_one_line_of_json_csv_and_tsv),
		CASE_OF(null_is_told_from_empty),
		CASE_OF(a_key_of_any_type_has_one_name),
		CASE_OF(a_long_key_opens_by_its_short_name),
		CASE_OF(a_listing_goes_on_behind_a_long_key_that_is_gone),
		CASE_OF(keys_of_several_columns_are_joined_by_commas),
		CASE_OF(tables_without_a_key_have_row_ids_and_views_numbers),
		CASE_OF(a_selection_is_a_directory),
		CASE_OF(an_ordered_selection_is_listed_in_its_order),
		CASE_OF(looking_changes_nothing),
		CASE_OF(a_schema_that_changes_is_seen),
		CASE_OF(hostile_names_are_only_names),
		CASE_OF(a_large_table_is_listed_once_each),
		CASE_OF(a_column_file_is_an_update_of_that_column),
		CASE_OF(what_a_column_cannot_take_is_refused),
		CASE_OF(a_trial_is_told_what_a_write_would_be),
		CASE_OF(a_trial_changes_nothing),
		cmocka_unit_test_setup_teardown(a_trial_finds_no_fault_where_others_have_a_lock,
						setup_impatient, teardown),
		CASE_OF(appending_and_editing_start_from_what_is_there),
		CASE_OF(json_changes_some_columns_or_makes_a_row),
		CASE_OF(a_row_is_inserted_when_it_is_complete),
		CASE_OF(rows_are_removed_and_nothing_else),
		CASE_OF(a_column_says_when_a_row_was_changed),
		CASE_OF(null_is_set_and_taken_away),
		CASE_OF(a_copy_of_null_is_null_at_once),
		CASE_OF(a_number_is_added_to_by_the_engine),
		CASE_OF(hostile_names_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
