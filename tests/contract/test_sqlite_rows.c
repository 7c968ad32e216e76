/*
 * The driver for rows of others' tables in SQLite (backends/sqlite/rows.h): what it notices of other
 * programs, and that they do not notice it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "backends/sqlite/rows.h"

struct ground {
	char dir[200], path[256];
	struct pfs_option *options;
	struct pfs_option_set set;
	struct pfs_backend *host;
	struct pfs_rows_db *db;
	sqlite3 *other; /* another program */
};

static void other_does(struct ground *g, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(g->other, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

static int setup(void **state)
{
	const struct pfs_engine *engine = pfs_engine_find("sqlite");
	const char *tmp = getenv("TMPDIR");
	struct ground *g = calloc(1, sizeof(*g));
	struct pfs_msg msg;

	assert_non_null(g);
	snprintf(g->dir, sizeof(g->dir), "%.150s/rows-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(g->dir));
	snprintf(g->path, sizeof(g->path), "%s/app.db", g->dir);
	g->options = pfs_engine_options(engine);
	assert_int_equal(pfs_option_set_init(&g->set, g->options), 0);
	assert_int_equal(pfs_option_set_text(&g->set, "path", g->path, &msg), 0);
	assert_int_equal(pfs_option_set_text(&g->set, "timeout", "200ms", &msg), 0);
	assert_int_equal(pfs_backend_new("app", engine, &g->set, &g->host, &msg), 0);
	assert_int_equal(sqlite3_open(g->path, &g->other), SQLITE_OK);
	other_does(g, "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)");
	assert_int_equal(sqlite_rows_new(g->host, false, &g->db), 0);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct ground *g = *state;
	char command[300];

	g->db->ops->free(g->db);
	sqlite3_close(g->other);
	pfs_backend_free(g->host);
	pfs_option_set_release(&g->set);
	free(g->options);
	snprintf(command, sizeof(command), "rm -r '%s'", g->dir);
	assert_int_equal(system(command), 0);
	free(g);
	return 0;
}

static uint64_t version(struct ground *g)
{
	uint64_t v = 0;

	assert_int_equal(g->db->ops->data_version(g->db, &v), 0);
	return v;
}

static void we_write(struct ground *g)
{
	struct pfs_rows_conn *c = NULL;

	assert_int_equal(g->db->ops->get(g->db, true, &c), 0);
	assert_int_equal(g->db->ops->begin(c, true), 0);
	assert_int_equal(pfs_rows_run(g->db, c, "REPLACE INTO t VALUES ('ours', 'v')", NULL, 0), 1);
	assert_int_equal(g->db->ops->commit(c), 0);
	g->db->ops->put(g->db, c, false);
}

static void changes(struct ground *g)
{
	uint64_t v = version(g);

	assert_true(version(g) == v);
	other_does(g, "REPLACE INTO t VALUES ('theirs', 'v')");
	assert_true(version(g) != v);
	v = version(g);
	we_write(g);
	assert_true(version(g) == v);
	assert_true(version(g) == v);
	/* Both, one after the other, in either order. */
	we_write(g);
	other_does(g, "DELETE FROM t WHERE k = 'theirs'");
	assert_true(version(g) != v);
	v = version(g);
	other_does(g, "REPLACE INTO t VALUES ('theirs', 'w')");
	we_write(g);
	assert_true(version(g) != v);
}

static void others_changes_are_noticed_and_our_own_are_not(void **state)
{
	changes(*state);
}

static void the_same_with_a_write_ahead_log(void **state)
{
	struct ground *g = *state;

	other_does(g, "PRAGMA journal_mode = WAL");
	changes(g);
	other_does(g, "PRAGMA journal_mode");
}

/* An application that locks its file, or has no patience, is not in our way nor we in its. */
static void looking_for_changes_takes_no_lock(void **state)
{
	struct ground *g = *state;
	uint64_t v = version(g), seen;

	other_does(g, "BEGIN EXCLUSIVE; REPLACE INTO t VALUES ('theirs', 'x')");
	seen = version(g); /* would be -EBUSY */
	assert_true(seen == v);
	other_does(g, "COMMIT");
	assert_true(version(g) != v);
}

static void another_file_at_the_path_is_a_change(void **state)
{
	struct ground *g = *state;
	uint64_t v = version(g);
	char copy[300], command[1200];

	snprintf(copy, sizeof(copy), "%s/copy.db", g->dir);
	snprintf(command, sizeof(command), "cp '%s' '%s' && mv '%s' '%s'", g->path, copy, copy, g->path);
	assert_int_equal(system(command), 0);
	assert_true(version(g) != v);
	v = version(g);
	assert_true(version(g) == v);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(others_changes_are_noticed_and_our_own_are_not),
		T(the_same_with_a_write_ahead_log),
		T(looking_for_changes_takes_no_lock),
		T(another_file_at_the_path_is_a_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
