/*
 * The view persistfs_kv: what SQL clients read is what files hold, and what they insert, update and
 * delete is a file, a change or gone, while the store is mounted.
 */
#include "tests/contract/lib_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000

static void assert_value(struct sq *q, const char *key, const void *p, size_t len)
{
	char sql[512], *value;
	size_t n;

	snprintf(sql, sizeof(sql), "SELECT value FROM persistfs_kv WHERE key = '%s'", key);
	value = sq_sql_bytes(q, sql, &n);
	assert_int_equal(n, len);
	assert_memory_equal(value, p, len);
	free(value);
	snprintf(sql, sizeof(sql),
		 "SELECT typeof(value) = 'blob' FROM persistfs_kv"
		 " WHERE key = '%s'",
		 key);
	assert_int_equal(sq_sql_int(q, sql), 1);
}

static void a_row_shows_what_the_file_holds(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 16383, 16384, 16385, 32768, 40000, 300000};
	struct sq *q = *state;
	char *data = malloc(300000), name[32];
	uint64_t seed = c_seed("view", 11), dir = sq_dir(q, q->root, "work");
	size_t i, k;

	assert_non_null(data);
	for (i = 0; i < 300000; i++)
		data[i] = (char)c_random(&seed); /* with zeros and bytes that are no UTF-8 */
	for (i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "f%zu", sizes[i]);
		sq_file(q, dir, name, data, sizes[i]);
	}
	for (k = 0; k < PFS_ARRAY_SIZE(sizes); k++) {
		snprintf(name, sizeof(name), "work/f%zu", sizes[k]);
		assert_value(q, name, data, sizes[k]);
	}
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_kv"
				       " WHERE namespace = 'notes' AND dir = 'work'"),
			 PFS_ARRAY_SIZE(sizes));
	free(data);
}

static void holes_read_as_zeros(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "begin", 5);
	char *want = calloc(1, 100000);
	struct pfs_seg seg = {50000, "middle", 6};

	assert_non_null(want);
	sq_do(q, m_content(PFS_OP_WRITE, id, &seg, 1));
	sq_do(q, m_size(PFS_OP_TRUNCATE, id, 100000));
	memcpy(want, "begin", 5);
	memcpy(want + 50000, "middle", 6);
	assert_value(q, "f", want, 100000);
	sq_do(q, m_size(PFS_OP_TRUNCATE, id, 3));
	sq_do(q, m_size(PFS_OP_TRUNCATE, id, 9));
	assert_value(q, "f", "beg\0\0\0\0\0\0", 9);
	free(want);
}

static void a_large_file_has_no_value_and_it_is_not_built(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "big", "x", 1);

	sq_do(q, m_size(PFS_OP_TRUNCATE, id, 64 << 20));
	assert_int_equal(sq_sql_int(q, "SELECT length(value) FROM persistfs_kv"), 64 << 20);
	sq_do(q, m_size(PFS_OP_TRUNCATE, id, (64 << 20) + 1));
	assert_int_equal(sq_sql_int(q, "SELECT value IS NULL FROM persistfs_kv"), 1);
	sq_do(q, m_size(PFS_OP_TRUNCATE, id, INT64_C(1) << 40));
	assert_int_equal(sq_sql_int(q, "SELECT value IS NULL FROM persistfs_kv"), 1);
	assert_int_equal(sq_sql_int(q, "SELECT size FROM persistfs_kv"), INT64_C(1) << 40);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_kv"), 1);
}

static void a_look_up_scans_no_table(void **state)
{
	struct sq *q = *state;
	sqlite3_stmt *stmt = NULL;
	int rows = 0;

	sq_sql(q, "SELECT 1"); /* opens the client */
	assert_int_equal(sqlite3_prepare_v2(q->sql,
					    "EXPLAIN QUERY PLAN SELECT value FROM"
					    " persistfs_kv WHERE namespace = 'notes' AND"
					    " dir = 'work' AND name = 'todo.txt'",
					    -1, &stmt, NULL),
			 SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *step = (const char *)sqlite3_column_text(stmt, 3);

		rows++;
		/* The pieces of one value are counted, which is no table. */
		if (strncmp(step, "SCAN ", 5) == 0 && strcmp(step, "SCAN i") != 0 &&
		    strcmp(step, "SCAN CONSTANT ROW") != 0 && step[5] != '(')
			fail_msg("%s", step);
	}
	sqlite3_finalize(stmt);
	assert_true(rows > 4);
}

static void other_kinds_of_objects_are_rows_without_harm(void **state)
{
	struct sq *q = *state;
	struct pfs_mutation m = m_create(sq_id(q), q->root, "pipe", S_IFIFO | 0600);
	struct pfs_mutation link = m_create(sq_id(q), q->root, "link", S_IFLNK | 0777);
	struct pfs_seg seg = {0, "a/target", 8};

	sq_do(q, m);
	link.segs = &seg;
	link.nsegs = 1;
	link.size = 8;
	sq_do(q, link);
	assert_int_equal(sq_sql_int(q, "SELECT type = 'fifo' AND value IS NULL FROM persistfs_kv"
				       " WHERE name = 'pipe'"),
			 1);
	assert_int_equal(sq_sql_int(q,
				    "SELECT type = 'symlink' AND value = CAST('a/target' AS BLOB)"
				    " FROM persistfs_kv WHERE name = 'link'"),
			 1);
	sq_sql_fails(q, "UPDATE persistfs_kv SET value = 'x' WHERE name = 'link'", "only ordinary");
	sq_sql_fails(q,
		     "REPLACE INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'pipe', 'x')",
		     "directory or special file");
	sq_sql(q, "DELETE FROM persistfs_kv WHERE name IN ('link', 'pipe')");
	sq_assert_sound(q);
}

static void an_inserted_row_is_a_file_and_is_told_at_once(void **state)
{
	struct sq *q = *state;
	struct pfs_attr attr;
	int64_t since = pfs_monotonic_ns(), took;

	sq_sql(q, "INSERT INTO persistfs_kv(namespace, dir, name, value) VALUES"
		  " ('notes', 'a/b/c', 'todo.txt', 'milk')");
	took = sq_await(q, PFS_EVENT_ENTRY, q->root, 0, "a", since);
	sq_await(q, PFS_EVENT_ENTRY, 0, 0, "todo.txt", since);
	print_message("told after %lld ms\n", (long long)(took / MS));
	sq_assert_file(q, "a/b/c/todo.txt", "milk", 4);
	assert_int_equal(sq_path(q, "a/b", &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0755);
	assert_int_equal(sq_path(q, "a/b/c/todo.txt", &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0644);
	assert_int_equal(attr.nlink, 1);
	sq_assert_sound(q);
}

static void events_of_clients_come_within_a_tenth_of_a_second(void **state)
{
	struct sq *q = *state;
	int64_t total = 0;
	char sql[256], name[32];
	int i;

	for (i = 0; i < 20; i++) {
		int64_t since;

		snprintf(name, sizeof(name), "n%d", i);
		snprintf(sql, sizeof(sql),
			 "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
			 " ('notes', '%s', %d)",
			 name, i);
		sq_sql(q, sql);
		since = pfs_monotonic_ns();
		total += sq_await(q, PFS_EVENT_ENTRY, q->root, 0, name, since);
	}
	print_message("mean: %lld ms\n", (long long)(total / 20 / MS));
	assert_true(total / 20 < 100 * MS);
}

static void values_of_every_kind_and_size_arrive_whole(void **state)
{
	static const int sizes[] = {0, 1, 16383, 16384, 16385, 100000, 5000000};
	struct sq *q = *state;
	char sql[256], name[32];
	size_t i;

	sq_sql(q, "CREATE TEMP TABLE v(n, b)");
	for (i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		size_t len;
		char *want;

		snprintf(sql, sizeof(sql),
			 "INSERT INTO v VALUES (%d, coalesce(randomblob(nullif(%d,"
			 " 0)), x''))",
			 sizes[i], sizes[i]);
		sq_sql(q, sql);
		snprintf(sql, sizeof(sql),
			 "INSERT INTO persistfs_kv(namespace, key, value) SELECT"
			 " 'notes', 'f' || n, b FROM v WHERE n = %d",
			 sizes[i]);
		sq_sql(q, sql);
		snprintf(sql, sizeof(sql), "SELECT b FROM v WHERE n = %d", sizes[i]);
		want = sq_sql_bytes(q, sql, &len);
		snprintf(name, sizeof(name), "f%d", sizes[i]);
		sq_assert_file(q, name, want, len);
		assert_value(q, name, want, len);
		free(want);
	}
	sq_sql(q,
	       "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
	       " ('notes', 'nul', x'6100620000'), ('notes', 'number', 42), ('notes', 'none', NULL),"
	       " ('notes', 'text', 'gr\xc3\xbc\xc3\x9f' || 'e')");
	sq_assert_file(q, "nul", "a\0b\0\0", 5);
	sq_assert_file(q, "number", "42", 2);
	sq_assert_file(q, "none", "", 0);
	sq_assert_file(q, "text",
		       "gr\xc3\xbc\xc3\x9f"
		       "e",
		       7);
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'big', zeroblob(67108865))",
		     "above 64 MiB");
	assert_int_equal(sq_path(q, "big", &(struct pfs_attr){0}), -ENOENT);
	sq_assert_sound(q);
}

static void insert_does_not_overwrite_but_replace_does(void **state)
{
	struct sq *q = *state;
	uint64_t dir = sq_dir(q, q->root, "d"), id = sq_file(q, dir, "f", "old", 3);
	struct pfs_attr attr;
	int64_t since = pfs_monotonic_ns();

	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'd/f', 'new')",
		     "there is a file of this name");
	sq_sql(q, "INSERT OR IGNORE INTO persistfs_kv(namespace, key, value) VALUES"
		  " ('notes', 'd/f', 'new')");
	sq_assert_file(q, "d/f", "old", 3);
	sq_sql(q, "REPLACE INTO persistfs_kv(namespace, key, value) VALUES"
		  " ('notes', 'd/f', 'brand new')");
	sq_await(q, PFS_EVENT_CONTENT, 0, id, NULL, since);
	sq_assert_file(q, "d/f", "brand new", 9);
	assert_int_equal(sq_path(q, "d/f", &attr), 0);
	assert_int_equal(attr.id, id);
	assert_int_equal(attr.nlink, 1);
	/* REPLACE of something new, in directories that are not there, leaves the rest as it is. */
	sq_sql(q, "REPLACE INTO persistfs_kv(namespace, key, value) VALUES"
		  " ('notes', 'd/e/g', 'x'), ('notes', 'h/i/j', 'y')");
	sq_assert_file(q, "d/e/g", "x", 1);
	sq_assert_file(q, "h/i/j", "y", 1);
	assert_int_equal(pfs_store_root(q->s, &attr.id), 0);
	assert_int_equal(attr.id, q->root);
	sq_sql_fails(q,
		     "REPLACE INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'd', 'x')",
		     "directory or special file");
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'd', 'x')",
		     "directory or special file");
	sq_assert_sound(q);
}

static void what_is_no_name_is_refused_and_nothing_stays(void **state)
{
	static const char *const keys[] = {"''",
					   "'.'",
					   "'..'",
					   "'a/..'",
					   "'./a'",
					   "'a//b'",
					   "'/a'",
					   "'a/'",
					   "'/'",
					   "'a/../b'",
					   "'a' || char(0) || 'b'",
					   "'dir' || char(0) || '/b'",
					   "replace(hex(zeroblob(128)), '0', 'n')"};
	static const char *const dirs[] = {"'/'", "'a/'", "'/a'", "'.'", "'a//b'", "'a/../b'"};
	struct sq *q = *state;
	int64_t objects = sq_sql_int(q, "SELECT count(*) FROM persistfs_objects");
	char sql[256];
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
		snprintf(sql, sizeof(sql),
			 "INSERT INTO persistfs_kv(namespace, key, value)"
			 " VALUES ('notes', %s, 'x')",
			 keys[i]);
		sq_sql_fails(q, sql, "");
	}
	for (i = 0; i < PFS_ARRAY_SIZE(dirs); i++) {
		snprintf(sql, sizeof(sql),
			 "INSERT INTO persistfs_kv(namespace, dir, name, value)"
			 " VALUES ('notes', %s, 'f', 'x')",
			 dirs[i]);
		sq_sql_fails(q, sql, "");
	}
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, name, value) VALUES"
		     " ('notes', 'a/b', 'x')",
		     "no file can have this name");
	sq_sql_fails(q, "INSERT INTO persistfs_kv(namespace, value) VALUES ('notes', 'x')", "give");
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('other', 'a', 'x')",
		     "no such namespace");
	sq_sql_fails(q, "INSERT INTO persistfs_kv(key, value) VALUES ('a', 'x')",
		     "no such namespace");
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, dir, name, value) VALUES"
		     " ('notes', 'a/b', 'c', 'd', 'x')",
		     "do not agree");
	sq_file(q, q->root, "file", "x", 1);
	sq_sql_fails(q,
		     "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		     " ('notes', 'file/below', 'x')",
		     "not a directory");
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_objects"), objects + 1);
	sq_assert_sound(q);
}

static void an_update_is_a_rewrite_a_chmod_or_a_rename(void **state)
{
	struct sq *q = *state;
	uint64_t dir = sq_dir(q, q->root, "d"), id = sq_file(q, dir, "f", "old", 3);
	struct pfs_attr before, attr;
	int64_t since = pfs_monotonic_ns();

	assert_int_equal(sq_path(q, "d/f", &before), 0);
	sq_sql(q, "UPDATE persistfs_kv SET value = 'newer' WHERE namespace = 'notes' AND"
		  " dir = 'd' AND name = 'f'");
	sq_await(q, PFS_EVENT_CONTENT, 0, id, NULL, since);
	sq_assert_file(q, "d/f", "newer", 5);
	assert_int_equal(sq_path(q, "d/f", &attr), 0);
	assert_true(attr.content_version > before.content_version && attr.version > before.version);
	assert_true(attr.mtime >= before.mtime - MS);
	sq_sql(q, "UPDATE persistfs_kv SET mode = 384, mtime = 5000000000 WHERE name = 'f'");
	sq_await(q, PFS_EVENT_ATTR, 0, id, NULL, since);
	assert_int_equal(sq_path(q, "d/f", &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0600);
	assert_int_equal(attr.mtime, 5000000000);
	sq_sql(q, "UPDATE persistfs_kv SET name = 'g', value = 'both' WHERE name = 'f'");
	sq_await(q, PFS_EVENT_ENTRY, dir, id, "g", since);
	assert_int_equal(sq_path(q, "d/f", &attr), -ENOENT);
	sq_assert_file(q, "d/g", "both", 4);
	sq_sql(q, "UPDATE persistfs_kv SET key = 'x/y/z' WHERE key = 'd/g'");
	sq_assert_file(q, "x/y/z", "both", 4);
	sq_sql(q, "UPDATE persistfs_kv SET dir = '', name = 'top' WHERE key = 'x/y/z'");
	sq_assert_file(q, "top", "both", 4);
	sq_sql_fails(q, "UPDATE persistfs_kv SET name = 'd' WHERE name = 'top'", "of the new name");
	sq_sql_fails(q, "UPDATE persistfs_kv SET name = 'a/b' WHERE name = 'top'", "no file can");
	sq_sql_fails(q, "UPDATE persistfs_kv SET namespace = 'x' WHERE name = 'top'", "namespace");
	sq_sql_fails(q, "UPDATE persistfs_kv SET size = 1 WHERE name = 'top'", "cannot be set");
	sq_sql_fails(q, "UPDATE persistfs_kv SET mode = 'x' WHERE name = 'top'", "whole numbers");
	sq_assert_sound(q);
}

static void a_directory_moves_with_all_below_it(void **state)
{
	struct sq *q = *state;
	uint64_t a = sq_dir(q, q->root, "a"), b = sq_dir(q, a, "b");

	sq_file(q, b, "f", "text", 4);
	sq_dir(q, q->root, "a0"); /* a name that only begins alike */
	sq_sql(q, "UPDATE persistfs_kv SET key = 'new/place' WHERE key = 'a'");
	sq_assert_file(q, "new/place/b/f", "text", 4);
	assert_value(q, "new/place/b/f", "text", 4);
	sq_sql_fails(q, "UPDATE persistfs_kv SET key = 'new/place/b/c' WHERE key = 'new/place'",
		     "into itself");
	sq_assert_sound(q);
}

static void a_deleted_row_is_a_removed_file(void **state)
{
	struct sq *q = *state;
	uint64_t dir = sq_dir(q, q->root, "d"), id = sq_file(q, dir, "f", "text", 4);
	struct pfs_attr attr;
	int64_t since = pfs_monotonic_ns();

	sq_do(q, m_link(id, q->root, "second"));
	sq_sql_fails(q, "DELETE FROM persistfs_kv WHERE name = 'd'", "not empty");
	sq_sql(q, "DELETE FROM persistfs_kv WHERE namespace = 'notes' AND dir = 'd'");
	sq_await(q, PFS_EVENT_ENTRY, dir, id, "f", since);
	assert_int_equal(sq_path(q, "d/f", &attr), -ENOENT);
	sq_assert_file(q, "second", "text", 4);
	sq_sql(q, "DELETE FROM persistfs_kv WHERE name = 'd'");
	sq_sql(q, "DELETE FROM persistfs_kv WHERE name = 'second'");
	sq_await(q, PFS_EVENT_ATTR, 0, id, NULL, since);
	assert_int_equal(sq_path(q, "d", &attr), -ENOENT);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), -ENOENT);
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_chunks"), 0);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_orphans"), 0);
	sq_assert_sound(q);
}

static void a_file_that_is_open_outlives_its_row(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "still here", 10);
	struct pfs_attr attr;
	char buf[16];

	pfs_store_hold(q->s, id);
	sq_sql(q, "DELETE FROM persistfs_kv WHERE name = 'f'");
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(pfs_store_read(q->s, id, 0, buf, 16), 10);
	assert_memory_equal(buf, "still here", 10);
	pfs_store_release_id(q->s, id);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), -ENOENT);
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_objects"), 1);
	sq_assert_sound(q);
}

static void an_edit_past_the_view_is_told_as_unknown(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "text", 4);
	struct pfs_attr attr;
	int64_t since;

	sq_sql(q, "SELECT 1");
	sq_forget_events(q);
	since = pfs_monotonic_ns();
	sq_sql(q, "UPDATE persistfs_objects SET mode = 33024 WHERE nlink = 1");
	sq_await(q, PFS_EVENT_ALL, 0, 0, NULL, since);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0400);
}

static void our_own_commits_are_not_told(void **state)
{
	struct sq *q = *state;
	uint64_t id;
	int i;

	for (i = 0; i < 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		id = sq_file(q, q->root, name, "x", 1);
		sq_do(q, m_size(PFS_OP_TRUNCATE, id, 0));
	}
	/* Something foreign follows; by then all before it would have been told. */
	sq_forget_events(q);
	sq_sql(q, "INSERT INTO persistfs_kv(namespace, key) VALUES ('notes', 'end')");
	sq_await(q, PFS_EVENT_ENTRY, q->root, 0, "end", 0);
	assert_int_equal(q->nevents, 1);
}

static void the_view_works_while_nothing_is_mounted(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};

	sq_file(q, q->root, "gone", "x", 1);
	sq_stop(q);
	sq_sql(q, "INSERT INTO persistfs_kv(namespace, key, value) VALUES"
		  " ('notes', 'a/b', 'offline')");
	sq_sql(q, "DELETE FROM persistfs_kv WHERE name = 'gone'");
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_orphans"), 1);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_changes"), 0);
	sq_renew(q);
	assert_int_equal(sq_start(q, &msg), 0);
	sq_assert_file(q, "a/b", "offline", 7);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_orphans"), 0);
	sq_assert_sound(q);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, sq_setup, sq_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_row_shows_what_the_file_holds),
		T(holes_read_as_zeros),
		T(a_large_file_has_no_value_and_it_is_not_built),
		T(a_look_up_scans_no_table),
		T(other_kinds_of_objects_are_rows_without_harm),
		T(an_inserted_row_is_a_file_and_is_told_at_once),
		T(events_of_clients_come_within_a_tenth_of_a_second),
		T(values_of_every_kind_and_size_arrive_whole),
		T(insert_does_not_overwrite_but_replace_does),
		T(what_is_no_name_is_refused_and_nothing_stays),
		T(an_update_is_a_rewrite_a_chmod_or_a_rename),
		T(a_directory_moves_with_all_below_it),
		T(a_deleted_row_is_a_removed_file),
		T(a_file_that_is_open_outlives_its_row),
		T(an_edit_past_the_view_is_told_as_unknown),
		T(our_own_commits_are_not_told),
		T(the_view_works_while_nothing_is_mounted),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
