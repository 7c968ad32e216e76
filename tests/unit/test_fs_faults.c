/*
 * What is left, and who is told, when the engine fails: each call of a scenario in turn, for a moment
 * or for good. After every failure a file holds its old value or its new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/contract/lib_fault.h"
#include "tests/unit/lib_fs.h"

static int set_through(void **state)
{
	*state = test_fs_new(PFS_WRITE_THROUGH, fault_new);
	return 0;
}

static int set_queued(void **state)
{
	*state = test_fs_new(PFS_WRITE_QUEUED, fault_new);
	return 0;
}

static int unset(void **state)
{
	struct test_fs *t = *state;

	fault_plan(t->backends[0], NULL);
	test_fs_free(t);
	return 0;
}

static void break_calls(struct test_fs *t, unsigned calls, unsigned nth, unsigned times, int err)
{
	struct fault plan = {.calls = calls, .nth = nth, .times = times, .err = err};

	fault_plan(t->backends[0], &plan);
}

/* Wait until the engine has `text`, ten seconds at the most. */
static void await_stored(struct test_fs *t, const char *name, const char *text)
{
	struct timespec pause = {0, 2000000};
	int i;

	for (i = 0; i < 5000; i++) {
		char *got = test_stored(t, name);
		bool same = got && strcmp(got, text) == 0;

		free(got);
		if (same)
			return;
		nanosleep(&pause, NULL);
	}
	fail_msg("%s never became '%s'", name, text);
}

static void close_tells_that_there_is_no_room_and_room_made_in_time_saves_the_data(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	test_put(t, "f", "old");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_WRONLY | O_TRUNC);
	test_write(t, f, "new", 0);
	break_calls(t, FAULT_COMMIT, 1, UINT_MAX, -ENOSPC);
	assert_int_equal(pfs_fs_flush(t->fs, f), -ENOSPC);
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "f", "old");
	test_expect_shown(t, "f", "new");
	fault_plan(t->backends[0], NULL);
	await_stored(t, "f", "new");
	pfs_fs_forget(t->fs, node, 1);
}

static void a_create_without_room_is_told_at_close_and_made_when_there_is(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f;

	break_calls(t, FAULT_COMMIT, 1, UINT_MAX, -ENOSPC);
	f = test_create(t, "f", O_WRONLY);
	test_write(t, f, "v", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), -ENOSPC);
	test_expect_stored(t, "f", NULL);
	test_expect_shown(t, "f", "v");
	fault_plan(t->backends[0], NULL);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	test_expect_stored(t, "f", "v");
	pfs_fs_release(t->fs, f);
}

static void lost_data_is_told_once_to_every_open_file(void **state)
{
	struct timespec pause = {0, 2000000};
	struct test_fs *t = *state;
	struct pfs_file *a, *b;
	struct pfs_node *node;
	int err = 0, i;

	t->store.retry_timeout = 50 * 1000000;
	test_put(t, "f", "old");
	node = test_lookup(t, t->root, "f");
	a = test_open(t, node, O_RDWR);
	b = test_open(t, node, O_RDWR);
	test_write(t, a, "LOST", 0);
	break_calls(t, FAULT_COMMIT, 1, UINT_MAX, -EHOSTDOWN);
	assert_int_equal(pfs_fs_flush(t->fs, a), -EHOSTDOWN);
	for (i = 0; i < 5000 && err != -EIO; i++) {
		nanosleep(&pause, NULL);
		err = pfs_fs_write(t->fs, &t->ctx, b, "", 0, 0, false);
	}
	assert_int_equal(err, -EIO);
	fault_plan(t->backends[0], NULL);
	assert_int_equal(pfs_fs_flush(t->fs, b), 0);
	assert_int_equal(pfs_fs_fsync(t->fs, a, false), -EIO);
	assert_int_equal(pfs_fs_fsync(t->fs, a, false), 0);
	test_expect_shown(t, "f", "old");
	test_expect_stored(t, "f", "old");
	test_write(t, a, "kept", 0);
	assert_int_equal(pfs_fs_flush(t->fs, a), 0);
	test_expect_stored(t, "f", "kept");
	pfs_fs_release(t->fs, a);
	pfs_fs_release(t->fs, b);
	pfs_fs_forget(t->fs, node, 1);
}

/* Append "x" to a file that has "v" while its commit fails; what the engine has when all is written. */
static void append_and_expect(struct test_fs *t, const struct fault *plan, const char *text)
{
	struct pfs_msg msg;
	struct pfs_file *f;

	test_put(t, "f", "v");
	f = test_open(t, test_lookup(t, t->root, "f"), O_WRONLY | O_APPEND);
	test_write(t, f, "x", 1);
	fault_plan(t->backends[0], plan);
	assert_int_equal(pfs_fs_flush(t->fs, f), -EIO);
	fault_plan(t->backends[0], NULL);
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "f", text);
	test_expect_shown(t, "f", text);
}

static void what_may_have_been_appended_is_not_appended_again(void **state)
{
	const struct fault plan = {.calls = FAULT_COMMIT, .nth = 1, .err = -EIO, .after = true};

	append_and_expect(*state, &plan, "vx");
}

static void what_was_not_appended_is_tried_again(void **state)
{
	const struct fault plan = {.calls = FAULT_COMMIT, .nth = 1, .err = -EIO};

	append_and_expect(*state, &plan, "vx");
}

/* One pass of many calls; results are whatever they are, the state must be sound. */
static void scenario(struct test_fs *t)
{
	struct pfs_open_hints hints;
	struct pfs_entry e;
	struct pfs_file *f;

	if (!pfs_fs_create(t->fs, &t->ctx, t->root, PFS_BYTES("tmp"), 0600,
			   O_CREAT | O_WRONLY | O_TRUNC, &e, &f, &hints)) {
		(void)pfs_fs_write(t->fs, &t->ctx, f, "new value", 9, 0, false);
		if (!pfs_fs_flush(t->fs, f))
			(void)pfs_fs_rename(t->fs, t->root, PFS_BYTES("tmp"), t->root,
					    PFS_BYTES("f"), 0);
		pfs_fs_release(t->fs, f);
		pfs_fs_forget(t->fs, e.node, 1);
	}
	if (!pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0700, &e)) {
		(void)pfs_fs_rmdir(t->fs, t->root, PFS_BYTES("d"));
		pfs_fs_forget(t->fs, e.node, 1);
	}
	if (!pfs_fs_lookup(t->fs, t->root, PFS_BYTES("f"), &e) && e.node) {
		(void)pfs_fs_setxattr(t->fs, e.node, PFS_BYTES("user.a"), "b", 1, 0);
		if (!pfs_fs_open(t->fs, &t->ctx, e.node, O_WRONLY | O_TRUNC, &f, &hints)) {
			(void)pfs_fs_write(t->fs, &t->ctx, f, "third", 5, 0, false);
			(void)pfs_fs_flush(t->fs, f);
			pfs_fs_release(t->fs, f);
		}
		pfs_fs_forget(t->fs, e.node, 1);
	}
}

static void expect_one_of(struct test_fs *t, const char *name, const char *a, const char *b,
			  const char *c)
{
	char *got = test_stored(t, name);

	assert_non_null(got);
	if (strcmp(got, a) != 0 && strcmp(got, b) != 0 && strcmp(got, c) != 0)
		fail_msg("%s is '%s'", name, got);
	free(got);
}

static void each_call(struct test_fs *t, unsigned calls, unsigned times, int err)
{
	struct pfs_msg msg;
	unsigned n, fired;

	for (n = 1;; n++) {
		test_put(t, "f", "old");
		assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
		break_calls(t, calls, n, times, err);
		scenario(t);
		fired = fault_fired(t->backends[0]);
		fault_plan(t->backends[0], NULL);
		expect_one_of(t, "f", "old", "new value", "third");
		(void)pfs_fs_drain(t->fs, &msg);
		expect_one_of(t, "f", "old", "new value", "third");
		(void)pfs_fs_unlink(t->fs, t->root, PFS_BYTES("tmp"));
		(void)pfs_fs_rmdir(t->fs, t->root, PFS_BYTES("d"));
		(void)pfs_fs_drain(t->fs, &msg);
		if (!fired)
			break;
		assert_true(n < 200);
	}
	test_expect_stored(t, "f", "third");
}

static void any_call_may_fail_once(void **state)
{
	each_call(*state, FAULT_ALL & ~(FAULT_START | FAULT_OPEN), 1, -EIO);
}

static void any_commit_may_find_no_room(void **state)
{
	each_call(*state, FAULT_COMMIT, 3, -ENOSPC);
}

static void any_commit_may_be_refused_for_good(void **state)
{
	each_call(*state, FAULT_COMMIT, UINT_MAX, -EROFS);
}

static void a_queued_change_that_fails_for_good_lets_the_truth_show_again(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f;
	struct pfs_msg msg;

	test_put(t, "f", "v");
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	f = test_open(t, test_lookup(t, t->root, "f"), O_WRONLY);
	break_calls(t, FAULT_COMMIT, 1, UINT_MAX, -EROFS);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f")), 0);
	assert_int_equal(test_lookup_err(t, t->root, "f"), -ENOENT);
	assert_int_not_equal(pfs_fs_drain(t->fs, &msg), 0);
	fault_plan(t->backends[0], NULL);
	test_expect_shown(t, "f", "v");
	assert_int_equal(pfs_fs_fsync(t->fs, f, false), -EIO);
	assert_int_equal(pfs_fs_fsync(t->fs, f, false), 0);
	pfs_fs_release(t->fs, f);
}

#define THROUGH(f) cmocka_unit_test_setup_teardown(f, set_through, unset)
#define QUEUED(f)  cmocka_unit_test_setup_teardown(f, set_queued, unset)

int main(void)
{
	const struct CMUnitTest through[] = {
		THROUGH(close_tells_that_there_is_no_room_and_room_made_in_time_saves_the_data),
		THROUGH(a_create_without_room_is_told_at_close_and_made_when_there_is),
		THROUGH(lost_data_is_told_once_to_every_open_file),
		THROUGH(what_may_have_been_appended_is_not_appended_again),
		THROUGH(what_was_not_appended_is_tried_again),
		THROUGH(any_call_may_fail_once),
		THROUGH(any_commit_may_find_no_room),
		THROUGH(any_commit_may_be_refused_for_good),
	};
	const struct CMUnitTest queued[] = {
		QUEUED(any_call_may_fail_once),
		QUEUED(any_commit_may_find_no_room),
		QUEUED(a_queued_change_that_fails_for_good_lets_the_truth_show_again),
	};
	int failed = cmocka_run_group_tests(through, NULL, NULL);

	return failed + cmocka_run_group_tests(queued, NULL, NULL);
}
