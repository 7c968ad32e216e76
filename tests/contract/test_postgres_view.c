/*
 * The view persistfs_kv on PostgreSQL: what SQL clients read is what files hold, and what they insert,
 * update and delete is a file, a change or gone, while the store is mounted, and is told at once.
 */
#include "tests/contract/lib_postgres.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS 1000000LL

/* ---- a client, and what the backend tells ---------------------------------------------------- */

static PGconn *sql;

static struct {
	pthread_mutex_t lock;
	struct {
		enum pfs_event_type type;
		uint64_t dir, id;
		char name[64];
		int64_t at;
	} v[4096];
	size_t n;
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(void *arg, const struct pfs_event *events, size_t n)
{
	size_t i;

	(void)arg;
	pthread_mutex_lock(&heard.lock);
	for (i = 0; i < n && heard.n < PFS_ARRAY_SIZE(heard.v); i++) {
		heard.v[heard.n].type = events[i].type;
		heard.v[heard.n].dir = events[i].dir;
		heard.v[heard.n].id = events[i].id;
		heard.v[heard.n].at = pfs_monotonic_ns();
		snprintf(heard.v[heard.n++].name, 64, "%.*s", (int)events[i].name.len,
			 events[i].name.p ? events[i].name.p : "");
	}
	pthread_mutex_unlock(&heard.lock);
}

/* Wait for an event (dir, id 0: any): how long after `since` it came. */
static int64_t await(enum pfs_event_type type, uint64_t dir, uint64_t id, const char *name,
		     int64_t since)
{
	const struct timespec ts = {.tv_nsec = 200000};
	int64_t until = pfs_monotonic_ns() + 5 * NSEC_PER_SEC, at = 0;
	size_t i;

	while (!at && pfs_monotonic_ns() < until) {
		pthread_mutex_lock(&heard.lock);
		for (i = 0; i < heard.n && !at; i++)
			if (heard.v[i].type == type && (!dir || heard.v[i].dir == dir) &&
			    (!id || heard.v[i].id == id) && strcmp(heard.v[i].name, name) == 0)
				at = heard.v[i].at;
		pthread_mutex_unlock(&heard.lock);
		if (!at)
			nanosleep(&ts, NULL);
	}
	if (!at)
		fail_msg("event %d (%s) was not told", type, name);
	return at - since;
}

static void forget(void)
{
	pthread_mutex_lock(&heard.lock);
	heard.n = 0;
	pthread_mutex_unlock(&heard.lock);
}

static int setup(void **state)
{
	struct contract *c;

	contract_setup(state);
	c = *state;
	pfs_store_free(c->s);
	pfs_backend_free(c->b);
	forget();
	c->b = c_backend(c, hear, NULL);
	assert_int_equal(pfs_backend_open(c->b, "test", true, &c->s, NULL), 0);
	sql = pq_client(c->place);
	return 0;
}

static int teardown(void **state)
{
	PQfinish(sql);
	return contract_teardown(state);
}

/* The object at a path; -ENOENT. */
static int path_lookup(struct contract *c, const char *path, struct pfs_attr *attr)
{
	uint64_t dir = c->root;
	char part[256];
	int err = 0;

	while (!err && *path) {
		size_t n = strcspn(path, "/");

		snprintf(part, sizeof(part), "%.*s", (int)n, path);
		err = s_lookup(c->s, dir, part, attr);
		dir = attr->id;
		path += n + (path[n] == '/');
	}
	return err;
}

static void assert_file(struct contract *c, const char *path, const void *p, size_t len)
{
	struct pfs_attr attr;
	char *buf = malloc(len + 1);

	assert_non_null(buf);
	assert_int_equal(path_lookup(c, path, &attr), 0);
	assert_int_equal(attr.size, len);
	assert_int_equal(pfs_store_read(c->s, attr.id, 0, buf, len + 1), len);
	assert_memory_equal(buf, p, len);
	free(buf);
}

static void assert_value(const char *key, const void *p, size_t len)
{
	size_t n;
	char *value = pq_bytes(sql, &n, "SELECT value FROM persistfs_kv WHERE key = '%s'", key);

	assert_int_equal(n, len);
	assert_memory_equal(value, p, len);
	free(value);
}

static uint64_t file(struct contract *c, uint64_t dir, const char *name, const void *p, size_t len)
{
	uint64_t id = c_file(c, dir, name, "");

	if (len)
		c_write(c, id, 0, p, len);
	return id;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void a_row_shows_what_the_file_holds(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 16383, 16384, 16385, 32768, 40000, 300000};
	struct contract *c = *state;
	char *data = malloc(300000), name[32];
	uint64_t seed = c_seed("view", 11), dir = c_dir(c, c->root, "work");
	size_t i;

	assert_non_null(data);
	for (i = 0; i < 300000; i++)
		data[i] = (char)c_random(&seed); /* with zeros and bytes that are no UTF-8 */
	for (i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "f%zu", sizes[i]);
		file(c, dir, name, data, sizes[i]);
		snprintf(name, sizeof(name), "work/f%zu", sizes[i]);
		assert_value(name, data, sizes[i]);
	}
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM persistfs_kv WHERE namespace = 'test'"
				     " AND dir = 'work'"),
			 PFS_ARRAY_SIZE(sizes));
	free(data);
}

static void holes_read_as_zeros(void **state)
{
	struct contract *c = *state;
	uint64_t id = file(c, c->root, "f", "begin", 5);
	char *want = calloc(1, 100000);
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, id, 100000);

	assert_non_null(want);
	c_write(c, id, 50000, "middle", 6);
	c_do(c, &m);
	memcpy(want, "begin", 5);
	memcpy(want + 50000, "middle", 6);
	assert_value("f", want, 100000);
	m.size = 3;
	c_do(c, &m);
	m.size = 9;
	c_do(c, &m);
	assert_value("f", "beg\0\0\0\0\0\0", 9);
	free(want);
}

static void a_large_file_has_no_value(void **state)
{
	struct contract *c = *state;
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, file(c, c->root, "big", "x", 1), 64 << 20);

	c_do(c, &m);
	assert_int_equal(pq_int(sql, "SELECT length(value) FROM persistfs_kv"), 64 << 20);
	m.size++;
	c_do(c, &m);
	assert_int_equal(pq_int(sql, "SELECT value IS NULL FROM persistfs_kv"), 1);
	m.size = UINT64_C(1) << 40;
	c_do(c, &m);
	assert_int_equal(pq_int(sql, "SELECT value IS NULL FROM persistfs_kv"), 1);
	assert_int_equal(pq_int(sql, "SELECT size FROM persistfs_kv"), INT64_C(1) << 40);
}

static void names_that_are_no_text_are_escaped_and_bijective(void **state)
{
	static const char *const names[] = {
		"caf\xc3\xa9", "\xff",	    "%FF",   "%25",   "%2525",
		"100%",	       "foo%20bar", "%\xff", "a\xc3", "%C3%A9",
	};
	static const char *const shown[] = {
		"caf\xc3\xa9", "%FF",	    "%25FF", "%2525", "%252525",
		"100%",	       "foo%20bar", "%%FF",  "a%C3",  "%25C3%25A9",
	};
	struct contract *c = *state;
	uint64_t ids[PFS_ARRAY_SIZE(names)];
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		ids[i] = c_file(c, c->root, names[i], "x");
	for (i = 0; i < PFS_ARRAY_SIZE(names); i++) {
		char *text = pq_text(sql, "SELECT name FROM persistfs_kv WHERE object = %llu",
				     (unsigned long long)ids[i]);

		assert_string_equal(text, shown[i]);
		free(text);
		assert_int_equal(c_lookup(c, c->root, names[i]), ids[i]);
	}
	pq_sql_fails(sql, "INSERT INTO persistfs_kv(namespace, key) VALUES ('test', 'a%FFb')",
		     "no file can have this name");
	/* Such a row can still be changed and moved. */
	pq_sql(sql, "UPDATE persistfs_kv SET value = 'new', dir = 'sub' WHERE name = '%%FF'");
	assert_file(c, "sub/\xff", "new", 3);
	pq_sql(sql, "UPDATE persistfs_kv SET name = 'plain' WHERE name = '%%FF'");
	assert_file(c, "sub/plain", "new", 3);
}

static void a_look_up_reads_no_table_from_end_to_end(void **state)
{
	struct contract *c = *state;
	PGresult *res;
	int i;

	pq_sql(sql, "INSERT INTO persistfs_kv(namespace, dir, name, value)"
		    " SELECT 'test', 'd' || i, 'f' || i, 'x' FROM generate_series(1, 3000) i");
	pq_sql(sql, "ANALYZE persistfs_entries, persistfs_objects, persistfs_chunks,"
		    " persistfs_dirs");
	assert_int_equal(c_attr(c, c->root).nlink, 2);
	res = PQexec(sql, "EXPLAIN SELECT value FROM persistfs_kv WHERE namespace = 'test' AND"
			  " dir = 'd7' AND name = 'f7'");
	assert_int_equal(PQresultStatus(res), PGRES_TUPLES_OK);
	for (i = 0; i < PQntuples(res); i++) {
		const char *step = PQgetvalue(res, i, 0);

		if (strstr(step, "Seq Scan") && !strstr(step, "persistfs_namespaces"))
			fail_msg("%s", step);
	}
	assert_true(i > 4);
	PQclear(res);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void an_inserted_row_is_a_file_and_is_told_at_once(void **state)
{
	struct contract *c = *state;
	int64_t since = pfs_monotonic_ns();
	struct pfs_attr attr;

	pq_sql(sql, "INSERT INTO persistfs_kv(namespace, dir, name, value) VALUES"
		    " ('test', 'a/b/c', 'todo.txt', 'milk')");
	await(PFS_EVENT_ENTRY, c->root, 0, "a", since);
	await(PFS_EVENT_ENTRY, 0, 0, "todo.txt", since);
	assert_file(c, "a/b/c/todo.txt", "milk", 4);
	assert_int_equal(path_lookup(c, "a/b", &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0755);
	assert_int_equal(path_lookup(c, "a/b/c/todo.txt", &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0644);
	assert_int_equal(attr.nlink, 1);
	c_assert_usage_exact(c);
}

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void changes_of_clients_are_heard_within_milliseconds(void **state)
{
	struct contract *c = *state;
	int64_t took[50], since;
	char name[32];
	int i;

	for (i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		pq_sql(sql,
		       "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		       " ('test', '%s', 'x')",
		       name);
		since = pfs_monotonic_ns();
		took[i] = await(PFS_EVENT_ENTRY, c->root, 0, name, since);
	}
	qsort(took, 50, sizeof(took[0]), by_time);
	print_message("median %.2f ms, slowest %.2f ms\n", (double)took[25] / 1e6,
		      (double)took[49] / 1e6);
	assert_true(took[25] < 20 * MS);
	assert_true(took[49] < 100 * MS);
}

static void values_of_every_size_arrive_whole(void **state)
{
	static const int sizes[] = {0, 1, 16383, 16384, 16385, 100000, 5000000};
	struct contract *c = *state;
	size_t i, len;

	for (i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		char name[32], *want;

		pq_sql(sql,
		       "INSERT INTO persistfs_kv(namespace, key, value) SELECT 'test', 'f%d',"
		       " coalesce(string_agg(decode(md5(i::text), 'hex'), ''), '')"
		       " || substr('\\x000102030405060708090a0b0c0d0e0f'::bytea, 1, %d)"
		       " FROM generate_series(1, %d) i",
		       sizes[i], sizes[i] % 16, sizes[i] / 16);
		snprintf(name, sizeof(name), "f%d", sizes[i]);
		want = pq_bytes(sql, &len, "SELECT value FROM persistfs_kv WHERE key = '%s'", name);
		assert_int_equal(len, sizes[i]);
		assert_file(c, name, want, len);
		free(want);
	}
	pq_sql(sql, "INSERT INTO persistfs_kv(namespace, key) VALUES ('test', 'none')");
	assert_file(c, "none", "", 0);
	pq_sql_fails(sql,
		     "INSERT INTO persistfs_kv(namespace, key, value) SELECT 'test', 'big',"
		     " decode(repeat('00', 67108865), 'hex')",
		     "above 64 MiB");
	assert_int_equal(path_lookup(c, "big", &(struct pfs_attr){0}), -ENOENT);
	c_assert_usage_exact(c);
}

static void what_cannot_be_a_file_is_refused(void **state)
{
	static const char *const bad[][2] = {
		{"('test', NULL, NULL, NULL, 'x')", "give dir and name"},
		{"('test', '/a', NULL, NULL, 'x')", "empty part"},
		{"('test', 'a//b', NULL, NULL, 'x')", "empty part"},
		{"('test', 'a/', NULL, NULL, 'x')", "no file can have this name"},
		{"('test', NULL, '', '..', 'x')", "no file can have this name"},
		{"('test', NULL, '', 'a/b', 'x')", "no file can have this name"},
		{"('test', NULL, '../x', 'b', 'x')", "no path of a directory"},
		{"('test', NULL, 'file', 'b', 'x')", "not a directory"},
		{"('test', 'a/b', 'a', 'c', 'x')", "do not agree"},
		{"('none', 'a', NULL, NULL, 'x')", "no such namespace"},
		{"('test', 'file', NULL, NULL, 'x')", "there is a file of this name"},
		{"('test', 'dir', NULL, NULL, 'x')", "there is a file of this name"},
	};
	struct contract *c = *state;
	char text[300], *before;
	size_t i;

	c_file(c, c->root, "file", "old");
	c_dir(c, c->root, "dir");
	before = c_dump(c);
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text),
			 "INSERT INTO persistfs_kv(namespace, key, dir, name,"
			 " value) VALUES %s",
			 bad[i][0]);
		pq_sql_fails(sql, text, bad[i][1]);
	}
	pq_sql_fails(sql, "UPDATE persistfs_kv SET size = 7 WHERE name = 'file'", "cannot be set");
	pq_sql_fails(sql, "UPDATE persistfs_kv SET namespace = 'x' WHERE name = 'file'",
		     "cannot change its namespace");
	pq_sql_fails(sql, "UPDATE persistfs_kv SET value = 'x' WHERE name = 'dir'",
		     "only ordinary");
	pq_sql_fails(sql, "UPDATE persistfs_kv SET dir = 'dir' WHERE name = 'dir'", "into itself");
	pq_sql_fails(sql, "UPDATE persistfs_kv SET name = 'dir' WHERE name = 'file'",
		     "of the new name");
	c_assert_unchanged(c, before);
}

static void an_update_is_a_change_of_the_file(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), id = file(c, dir, "f", "old text", 8);
	int64_t since = pfs_monotonic_ns();
	struct pfs_attr before = c_attr(c, id), after;

	pq_sql(sql, "UPDATE persistfs_kv SET value = 'new' WHERE namespace = 'test' AND dir = 'd'"
		    " AND name = 'f'");
	await(PFS_EVENT_CONTENT, 0, id, "", since);
	assert_file(c, "d/f", "new", 3);
	after = c_attr(c, id);
	assert_true(after.version > before.version);
	assert_true(after.content_version > before.content_version);
	assert_true(after.mtime > before.mtime);
	pq_sql(sql, "UPDATE persistfs_kv SET value = value || 'er' WHERE name = 'f'");
	assert_file(c, "d/f", "newer", 5);
	pq_sql(sql, "UPDATE persistfs_kv SET mode = 384, mtime = 77 WHERE name = 'f'");
	await(PFS_EVENT_ATTR, 0, id, "", since);
	after = c_attr(c, id);
	assert_int_equal(after.mode, S_IFREG | 0600);
	assert_int_equal(after.mtime, 77);
	c_assert_usage_exact(c);
}

static void an_update_of_the_place_is_a_rename(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), sub = c_dir(c, dir, "sub"), id, parent;
	int64_t since = pfs_monotonic_ns();

	id = file(c, sub, "f", "text", 4);
	pq_sql(sql, "UPDATE persistfs_kv SET key = 'x/y/g' WHERE key = 'd/sub/f'");
	await(PFS_EVENT_ENTRY, sub, 0, "f", since);
	await(PFS_EVENT_ENTRY, 0, id, "g", since);
	assert_file(c, "x/y/g", "text", 4);
	pq_sql(sql, "UPDATE persistfs_kv SET dir = 'd/sub' WHERE key = 'x/y/g'");
	assert_file(c, "d/sub/g", "text", 4);
	/* A directory with all that is in it. */
	pq_sql(sql, "UPDATE persistfs_kv SET key = 'x/moved' WHERE key = 'd'");
	assert_file(c, "x/moved/sub/g", "text", 4);
	assert_value("x/moved/sub/g", "text", 4);
	assert_int_equal(pfs_store_parent(c->s, dir, &parent), 0);
	assert_int_equal(c_lookup(c, c->root, "x"), parent);
	c_assert_usage_exact(c);
}

static void a_deleted_row_is_a_removed_file(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), id = file(c, dir, "f", "text", 4);
	struct pfs_mutation link = m_link(id, c->root, "second");
	int64_t since = pfs_monotonic_ns();

	pq_sql_fails(sql, "DELETE FROM persistfs_kv WHERE key = 'd'", "not empty");
	c_do(c, &link);
	pq_sql(sql, "DELETE FROM persistfs_kv WHERE key = 'd/f'");
	await(PFS_EVENT_ENTRY, dir, id, "f", since);
	assert_int_equal(c_attr(c, id).nlink, 1);
	pfs_store_hold(c->s, id);
	pq_sql(sql, "DELETE FROM persistfs_kv WHERE key = 'second'");
	await(PFS_EVENT_ENTRY, c->root, id, "second", since);
	s_assert_text(c->s, id, "text"); /* held: it lives on */
	pfs_store_release_id(c->s, id);
	pq_sql(sql, "DELETE FROM persistfs_kv WHERE key = 'd'");
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM persistfs_kv"), 0);
	assert_int_equal(pfs_backend_maintain(c->b, "sweep", NULL), 0);
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM persistfs_objects"), 1);
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM persistfs_chunks"), 0);
	c_assert_usage_exact(c);
}

static void a_transaction_of_a_client_is_seen_when_it_commits(void **state)
{
	struct contract *c = *state;

	pq_sql(sql, "BEGIN; INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		    " ('test', 'a', '1'), ('test', 'b', '2')");
	assert_int_equal(c_lookup(c, c->root, "a"), 0);
	pq_sql(sql, "ROLLBACK");
	assert_int_equal(c_lookup(c, c->root, "a"), 0);
	pq_sql(sql, "BEGIN; INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		    " ('test', 'a', '1'), ('test', 'b', '2'); COMMIT");
	assert_file(c, "a", "1", 1);
	assert_file(c, "b", "2", 1);
}

#define ADDERS 3
#define ADDS   40

/* Even ones add to a file through the engine, odd ones through the view. */
static const char *adder(void *arg, unsigned i)
{
	struct contract *c = arg;
	PGconn *client = i % 2 ? pq_client(c->place) : NULL;
	struct pfs_seg seg = {0, "x", 1};
	uint64_t id = 0;
	unsigned k;

	{
		struct pfs_attr attr;

		if (s_lookup(c->s, c->root, "sum", &attr) != 0)
			return "no file";
		id = attr.id;
	}
	for (k = 0; k < ADDS; k++) {
		struct pfs_mutation m = m_content(PFS_OP_APPEND, id, &seg, 1);
		PGresult *res = NULL;
		bool good;

		do { /* a client that finds its value changed meanwhile tries again */
			if (!client)
				break;
			PQclear(res);
			res = PQexec(client,
				     "UPDATE persistfs_kv SET value = value || 'y'"
				     " WHERE namespace = 'test' AND dir = '' AND name = 'sum'");
			good = PQresultStatus(res) == PGRES_COMMAND_OK;
			if (!good && !strstr(PQresultErrorMessage(res), "changed meanwhile"))
				return "an UPDATE failed otherwise";
		} while (!good);
		PQclear(res);
		if (!client && s_batch(c->s, &m, 1, NULL) != 0)
			return "an append failed";
	}
	PQfinish(client);
	return NULL;
}

static void clients_and_mounts_overwrite_nothing_of_each_other(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "sum", "");

	c_threads(ADDERS + 1, adder, c);
	assert_int_equal(c_attr(c, id).size, (ADDERS + 1) * ADDS);
	c_assert_usage_exact(c);
}

int main(int argc, char **argv)
{
#define IT(fn)                                                                                     \
	{                                                                                          \
#fn, fn, setup, teardown, (void *)engine                                           \
	}
	const struct contract_engine *engine = pq_engine();
	const struct CMUnitTest tests[] = {
		IT(a_row_shows_what_the_file_holds),
		IT(holes_read_as_zeros),
		IT(a_large_file_has_no_value),
		IT(names_that_are_no_text_are_escaped_and_bijective),
		IT(a_look_up_reads_no_table_from_end_to_end),
		IT(an_inserted_row_is_a_file_and_is_told_at_once),
		IT(changes_of_clients_are_heard_within_milliseconds),
		IT(values_of_every_size_arrive_whole),
		IT(what_cannot_be_a_file_is_refused),
		IT(an_update_is_a_change_of_the_file),
		IT(an_update_of_the_place_is_a_rename),
		IT(a_deleted_row_is_a_removed_file),
		IT(a_transaction_of_a_client_is_seen_when_it_commits),
		IT(clients_and_mounts_overwrite_nothing_of_each_other),
	};

	return pq_run(tests, PFS_ARRAY_SIZE(tests), argc, argv);
}
