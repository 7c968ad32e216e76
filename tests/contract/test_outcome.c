/*
 * Others' data on a server that breaks the connection when it is told to commit: what may be done twice is
 * done again, and of the rest it is said that nobody knows. Nothing is ever there twice.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/config.h"
#include "tests/contract/lib_postgres.h"
#include "tests/contract/lib_redis.h"
#include "tests/contract/lib_relay.h"

/* What a client sends to have it done, and nothing else. */
#define PG_COMMIT  "\x0b" "COMMIT"
#define REDIS_EXEC "EXEC\r\n"

struct ot {
	char dir[64], place[64];
	const struct pfs_engine *engine;
	const char *word;
	enum pfs_layout layout;
	struct relay *relay;
	struct pfs_option *table;
	struct pfs_option_set host_set, set;
	struct pfs_backend *host, *view;
	struct pfs_store *s;
	uint64_t root;
	bool final; /* the last batch was */
	PGconn *pg;
	redisContext *redis;
};

/* ---- the ground ----------------------------------------------------------------------------- */

static void option(struct pfs_option_set *set, const char *name, const char *value)
{
	struct pfs_msg msg = {""};

	if (pfs_option_set_text(set, name, value, &msg))
		fail_msg("%s: %s", name, msg.text);
}

static struct ot *begin(const char *engine)
{
	struct ot *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	snprintf(t->dir, sizeof(t->dir), "/tmp/pfs-outcome-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->engine = pfs_engine_find(engine);
	t->table = pfs_engine_options(t->engine);
	assert_int_equal(pfs_option_set_init(&t->host_set, t->table), 0);
	assert_int_equal(pfs_option_set_init(&t->set, pfs_store_options), 0);
	option(&t->set, "read_only", "no");
	return t;
}

static void open_view(struct ot *t, enum pfs_layout layout)
{
	struct pfs_msg msg = {""};

	if (pfs_backend_new("app", t->engine, &t->host_set, &t->host, &msg))
		fail_msg("%s", msg.text);
	t->layout = layout;
	t->host->own = false;
	assert_int_equal(pfs_backend_start(t->host, &msg), 0);
	if (t->engine->adopt(t->host, layout, "view", &t->set, &t->view, &msg) ||
	    pfs_backend_start(t->view, &msg) ||
	    pfs_backend_open(t->view, "view", false, &t->s, &msg))
		fail_msg("%s", msg.text);
	assert_int_equal(pfs_store_root(t->s, &t->root), 0);
}

/* A part "name=value" of the connection string of the tests' server. */
static void part(const char *name, char *out, size_t size)
{
	const char *url = getenv("PERSISTFS_TEST_POSTGRES"), *at = strstr(url, name);

	assert_non_null(at);
	at += strlen(name);
	snprintf(out, size, "%.*s", (int)strcspn(at, " "), at);
}

static int setup_postgres(void **state, enum pfs_layout layout)
{
	struct ot *t = begin("postgres");
	char host[128], port[16], user[64], dbname[64], path[256], server[256], url[600];
	static unsigned count;

	t->word = PG_COMMIT;
	part("host=", host, sizeof(host));
	part("port=", port, sizeof(port));
	part("user=", user, sizeof(user));
	part("dbname=", dbname, sizeof(dbname));
	snprintf(path, sizeof(path), "%s/.s.PGSQL.%s", t->dir, port);
	snprintf(server, sizeof(server), "%s/.s.PGSQL.%s", host, port);
	t->relay = relay_new(path, server);
	t->pg = pq_client(NULL);
	snprintf(t->place, sizeof(t->place), "outcome_%d_%u", (int)getpid(), ++count);
	pq_sql(t->pg, "CREATE SCHEMA %s", t->place);
	pq_sql(t->pg, "SET search_path = %s", t->place);
	pq_sql(t->pg, "CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT);"
		      "INSERT INTO kv VALUES ('k', 'old'), ('n', '5')");
	snprintf(url, sizeof(url), "host=%s port=%s user=%s dbname=%s options='-c search_path=%s'",
		 t->dir, port, user, dbname, t->place);
	option(&t->host_set, "url", url);
	if (layout == PFS_LAYOUT_PLAIN)
		option(&t->set, "table", "kv");
	open_view(t, layout);
	*state = t;
	return 0;
}

static int setup_plain(void **state)
{
	return setup_postgres(state, PFS_LAYOUT_PLAIN);
}

static int setup_tables(void **state)
{
	return setup_postgres(state, PFS_LAYOUT_TABLES);
}

static int setup_redis(void **state)
{
	const char *server = getenv("PERSISTFS_TEST_REDIS");
	struct ot *t = begin("redis");
	char path[128], url[300];

	t->word = REDIS_EXEC;
	snprintf(path, sizeof(path), "%s/s", t->dir);
	t->relay = relay_new(path, server + strlen("unix://"));
	t->redis = rd_connect(RD_DATABASE);
	rd_do(t->redis, "FLUSHDB");
	rd_do(t->redis, "MSET k old n 5");
	rd_do(t->redis, "RPUSH list one");
	snprintf(url, sizeof(url), "unix://%s?db=%d", path, RD_DATABASE);
	option(&t->host_set, "url", url);
	open_view(t, PFS_LAYOUT_NATIVE);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct ot *t = *state;
	char command[128];

	pfs_store_free(t->s);
	pfs_backend_free(t->view);
	pfs_backend_free(t->host);
	relay_free(t->relay);
	if (t->pg)
		pq_sql(t->pg, "DROP SCHEMA %s CASCADE", t->place);
	PQfinish(t->pg);
	if (t->redis) {
		rd_do(t->redis, "FLUSHDB");
		redisFree(t->redis);
	}
	pfs_option_set_release(&t->host_set);
	pfs_option_set_release(&t->set);
	free(t->table);
	snprintf(command, sizeof(command), "rm -rf '%s'", t->dir);
	assert_int_equal(system(command), 0);
	free(t);
	return 0;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* The directory of `path` and, as *name, its last name. */
static uint64_t dir_of(struct ot *t, const char *path, struct pfs_bytes *name)
{
	uint64_t dir = t->root;
	struct pfs_attr attr;
	const char *slash;

	while ((slash = strchr(path, '/'))) {
		assert_int_equal(pfs_store_lookup(t->s, dir,
						  (struct pfs_bytes){path, (size_t)(slash - path)},
						  &attr), 0);
		dir = attr.id;
		path = slash + 1;
	}
	*name = pfs_bytes_str(path);
	return dir;
}

static uint64_t id_of(struct ot *t, const char *path)
{
	struct pfs_bytes name;
	uint64_t dir = dir_of(t, path, &name);
	struct pfs_attr attr;

	assert_int_equal(pfs_store_lookup(t->s, dir, name, &attr), 0);
	return attr.id;
}

/* Commit while the connection breaks. */
static int commit(struct ot *t, struct pfs_mutation m, bool arrives)
{
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = pfs_now_ns(),
				  .epoch = pfs_store_epoch(t->s)};
	int err;

	relay_cut(t->relay, t->word, arrives);
	err = pfs_store_commit(t->s, &batch);
	assert_int_equal(relay_cuts(t->relay), 1);
	t->final = batch.final;
	if (t->final)
		assert_non_null(strstr(batch.msg.text, "outcome unknown"));
	return err;
}

static int put(struct ot *t, const char *path, const char *text, bool arrives)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = m_content(PFS_OP_REPLACE, id_of(t, path), &seg, 1);

	m.size = seg.len;
	return commit(t, m, arrives);
}

static int append(struct ot *t, const char *path, const char *text, bool arrives)
{
	struct pfs_seg seg = {0, text, strlen(text)};

	return commit(t, m_content(PFS_OP_APPEND, id_of(t, path), &seg, 1), arrives);
}

static int make(struct ot *t, const char *path, const char *text, bool arrives)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .set.mode = S_IFREG | 0600, .size = seg.len,
				 .segs = &seg, .nsegs = 1};

	m.dir = dir_of(t, path, &m.name);
	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &m.id), 0);
	return commit(t, m, arrives);
}

static int drop(struct ot *t, const char *path, uint32_t flags, bool arrives)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .flags = flags};

	m.dir = dir_of(t, path, &m.name);
	return commit(t, m, arrives);
}

static int increment(struct ot *t, const char *path, bool arrives)
{
	struct pfs_seg seg = {0, "1", 1};

	return commit(t, m_setxattr(id_of(t, path), "user.persistfs.incr", &seg, 0), arrives);
}

/* Nobody knows, and that is said. */
#define assert_unknown(t, call)                                                                    \
	do {                                                                                       \
		assert_int_equal(call, -EIO);                                                      \
		assert_true((t)->final);                                                         \
	} while (0)

static const char *kv(struct ot *t, const char *key)
{
	static char out[100];
	char *text = pq_text(t->pg, "SELECT string_agg(value, '|') FROM kv WHERE key = '%s'", key);

	snprintf(out, sizeof(out), "%s", text ? text : "(none)");
	free(text);
	return out;
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void a_key_of_a_table_is_written_once(void **state)
{
	struct ot *t = *state;

	/* A value is a value, whether it was there already or not. */
	assert_int_equal(put(t, "k", "one", true), 0);
	assert_string_equal(kv(t, "k"), "one");
	assert_int_equal(put(t, "k", "two", false), 0);
	assert_string_equal(kv(t, "k"), "two");
	assert_unknown(t, append(t, "k", "+", true));
	assert_string_equal(kv(t, "k"), "two+");
	assert_unknown(t, append(t, "k", "+", false));
	assert_string_equal(kv(t, "k"), "two+");
	assert_unknown(t, increment(t, "n", true));
	assert_string_equal(kv(t, "n"), "6");
	assert_unknown(t, make(t, "new", "v", true));
	assert_string_equal(kv(t, "new"), "v");
	assert_unknown(t, make(t, "newer", "v", false));
	assert_string_equal(kv(t, "newer"), "(none)");
	assert_int_equal(drop(t, "k", 0, true), 0);
	assert_string_equal(kv(t, "k"), "(none)");
	assert_int_equal(drop(t, "n", 0, false), 0);
	assert_string_equal(kv(t, "n"), "(none)");
}

static void a_row_is_written_once(void **state)
{
	struct ot *t = *state;

	assert_int_equal(put(t, "kv/k/value", "one", true), 0);
	assert_string_equal(kv(t, "k"), "one");
	assert_int_equal(put(t, "kv/k.json", "{\"value\": \"two\"}", false), 0);
	assert_string_equal(kv(t, "k"), "two");
	assert_unknown(t, append(t, "kv/k/value", "+", true));
	assert_string_equal(kv(t, "k"), "two+");
	assert_unknown(t, append(t, "kv/k/value", "+", false));
	assert_string_equal(kv(t, "k"), "two+");
	assert_unknown(t, make(t, "kv/new.json", "{\"value\": \"v\"}", true));
	assert_string_equal(kv(t, "new"), "v");
	assert_unknown(t, make(t, "kv/newer.json", "{\"value\": \"v\"}", false));
	assert_string_equal(kv(t, "newer"), "(none)");
	assert_unknown(t, drop(t, "kv/n", PFS_F_DIR, true));
	assert_string_equal(kv(t, "n"), "(none)");
	assert_unknown(t, drop(t, "kv/k", PFS_F_DIR, false));
	assert_string_equal(kv(t, "k"), "two+");
}

static void a_connection_that_broke_is_made_anew(void **state)
{
	struct ot *t = *state;
	bool tables = t->layout == PFS_LAYOUT_TABLES;
	const char *path = tables ? "kv/k/value" : "k";
	uint64_t id = id_of(t, path);
	struct pfs_attr attr;

	relay_cut(t->relay, tables ? "BEGIN" : "SELECT", false);
	assert_int_equal(pfs_store_getattr(t->s, id, &attr), 0);
	assert_int_equal(relay_cuts(t->relay), 1);
	assert_int_equal(put(t, path, "v", false), 0);
	assert_string_equal(kv(t, "k"), "v");
}

static const char *redis_text(struct ot *t, const char *key)
{
	redisReply *r = rd_command(t->redis, "GET %s", key);
	static char out[100];

	snprintf(out, sizeof(out), "%s", r->str ? r->str : "(none)");
	freeReplyObject(r);
	return out;
}

static void a_key_of_redis_is_written_once(void **state)
{
	struct ot *t = *state;

	assert_int_equal(put(t, "k", "one", true), 0);
	assert_string_equal(redis_text(t, "k"), "one");
	assert_int_equal(put(t, "k", "two", false), 0);
	assert_string_equal(redis_text(t, "k"), "two");
	assert_unknown(t, append(t, "k", "+", true));
	assert_string_equal(redis_text(t, "k"), "two+");
	assert_unknown(t, append(t, "k", "+", false));
	assert_string_equal(redis_text(t, "k"), "two+");
	assert_unknown(t, increment(t, "n", true));
	assert_string_equal(redis_text(t, "n"), "6");
	assert_unknown(t, make(t, "new", "v", true));
	assert_string_equal(redis_text(t, "new"), "v");
	assert_unknown(t, put(t, "list/+", "two", true));
	assert_int_equal(rd_number(t->redis, "LLEN list"), 2);
	assert_unknown(t, put(t, "list/+", "three", false));
	assert_int_equal(rd_number(t->redis, "LLEN list"), 2);
}

/* ---- the list ------------------------------------------------------------------------------- */

static bool there(const char *server)
{
	const char *ci = getenv("CI");

	if (getenv(server))
		return true;
	fprintf(stderr, "NOT TESTED: %s says of no server (scripts/with-services has one)\n", server);
	if (ci && strcmp(ci, "true") == 0)
		exit(1);
	return false;
}

int main(void)
{
	const struct CMUnitTest postgres[] = {
		cmocka_unit_test_setup_teardown(a_key_of_a_table_is_written_once, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(a_row_is_written_once, setup_tables, teardown),
		cmocka_unit_test_setup_teardown(a_connection_that_broke_is_made_anew, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(a_connection_that_broke_is_made_anew, setup_tables, teardown),
	};
	const struct CMUnitTest redis[] = {
		cmocka_unit_test_setup_teardown(a_key_of_redis_is_written_once, setup_redis, teardown),
	};
	int failed = 0;

	if (there("PERSISTFS_TEST_POSTGRES"))
		failed += cmocka_run_group_tests(postgres, NULL, NULL);
	if (there("PERSISTFS_TEST_REDIS"))
		failed += cmocka_run_group_tests(redis, NULL, NULL);
	return failed;
}
