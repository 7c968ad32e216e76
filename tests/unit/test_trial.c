/*
 * Values that the engine is known to refuse are refused by write(2): what that means to an open file
 * (fs/trial.c), and which errors are for good when more may follow (backends/adopt/trial.c). Over the memory
 * engine, made to offer trials.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/adopt/adopt.h"
#include "tests/unit/lib_fs.h"

static struct pfs_engine engine;
static struct pfs_backend_ops ops;
static int (*inner_commit)(struct pfs_store *s, struct pfs_batch *batch);

static int refusal; /* what trials say */
static unsigned trials;
static enum pfs_op tried;
static char tried_text[64];

static int commit_or_try(struct pfs_store *s, struct pfs_batch *batch)
{
	const struct pfs_mutation *m = &batch->ops[0];

	if (!batch->trial)
		return inner_commit(s, batch);
	trials++;
	tried = m->op;
	snprintf(tried_text, sizeof(tried_text), "%.*s", (int)m->segs[0].len,
		 (const char *)m->segs[0].p);
	if (refusal)
		pfs_msg_set(&batch->msg, "the engine's own words");
	return refusal;
}

static struct pfs_backend *offer_trials(struct pfs_backend *b)
{
	engine = *b->engine;
	engine.capabilities |= PFS_CAP_TRIALS;
	b->engine = &engine;
	ops = *b->ops;
	inner_commit = ops.commit;
	ops.commit = commit_or_try;
	b->ops = &ops;
	return b;
}

static int setup(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, offer_trials);

	refusal = 0;
	test_put(t, "f", "old");
	trials = 0;
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	test_fs_free(*state);
	return 0;
}

static ssize_t write_to(struct test_fs *t, struct pfs_file *f, const char *text, off_t off)
{
	return pfs_fs_write(t->fs, &t->ctx, f, text, strlen(text), off, false);
}

static struct pfs_file *open_f(struct test_fs *t, int flags)
{
	struct pfs_node *node = test_lookup(t, t->root, "f");
	struct pfs_file *f = test_open(t, node, flags);

	pfs_fs_forget(t->fs, node, 1);
	return f;
}

static void a_refused_write_fails_and_the_old_value_stands(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = open_f(t, O_WRONLY | O_TRUNC);

	refusal = -EEXIST;
	assert_int_equal(write_to(t, f, "new", 0), -EEXIST);
	test_expect_shown(t, "f", "old");
	/* Whatever else is tried with it. */
	refusal = 0;
	assert_int_equal(write_to(t, f, "new", 0), -EEXIST);
	assert_int_equal(pfs_fs_fsync(t->fs, f, false), -EEXIST);
	assert_int_equal(pfs_fs_fallocate(t->fs, &t->ctx, f, 16, 0, 2), -EEXIST);
	assert_int_equal(pfs_fs_flush(t->fs, f), -EEXIST);
	pfs_fs_release(t->fs, f);
	test_expect_shown(t, "f", "old");
	test_expect_stored(t, "f", "old");
	assert_int_equal(trials, 1);
	test_put(t, "f", "newer");
	test_expect_stored(t, "f", "newer");
}

static void a_size_is_not_set_through_a_refused_file(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = open_f(t, O_WRONLY | O_TRUNC);
	struct pfs_node *node = test_lookup(t, t->root, "f");
	struct stat st = {.st_size = 1};
	struct pfs_entry e;

	refusal = -EINVAL;
	assert_int_equal(write_to(t, f, "new", 0), -EINVAL);
	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, node, f, &st, PFS_FS_SET_SIZE, &e), -EINVAL);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	test_expect_stored(t, "f", "old");
}

static void the_first_write_of_an_open_file_is_tried(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = open_f(t, O_WRONLY | O_TRUNC);

	test_write(t, f, "whole", 0);
	assert_int_equal(tried, PFS_OP_REPLACE);
	assert_string_equal(tried_text, "whole");
	test_write(t, f, " more", 5);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	assert_int_equal(trials, 1);
	test_expect_stored(t, "f", "whole more");
	f = open_f(t, O_WRONLY | O_APPEND);
	test_write(t, f, "!", 0);
	assert_int_equal(tried, PFS_OP_APPEND);
	pfs_fs_release(t->fs, f);
	f = open_f(t, O_WRONLY);
	test_write(t, f, "W", 0);
	assert_int_equal(tried, PFS_OP_WRITE);
	pfs_fs_release(t->fs, f);
	assert_int_equal(trials, 3);
	test_expect_stored(t, "f", "Whole more!");
}

static void others_who_write_the_file_are_not_refused_with_it(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = open_f(t, O_WRONLY | O_TRUNC), *b = open_f(t, O_WRONLY | O_TRUNC);

	refusal = -EINVAL;
	assert_int_equal(write_to(t, a, "bad", 0), -EINVAL);
	refusal = 0;
	test_write(t, b, "b", 0);
	assert_int_equal(pfs_fs_flush(t->fs, a), -EINVAL);
	pfs_fs_release(t->fs, a);
	assert_int_equal(pfs_fs_flush(t->fs, b), 0);
	pfs_fs_release(t->fs, b);
	test_expect_stored(t, "f", "b");
}

static void when_all_are_refused_nothing_is_published(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = open_f(t, O_WRONLY | O_TRUNC), *b = open_f(t, O_WRONLY | O_TRUNC);

	refusal = -EINVAL;
	assert_int_equal(write_to(t, a, "bad", 0), -EINVAL);
	assert_int_equal(write_to(t, b, "worse", 0), -EINVAL);
	pfs_fs_release(t->fs, a);
	pfs_fs_release(t->fs, b);
	test_expect_shown(t, "f", "old");
	test_expect_stored(t, "f", "old");
}

static void a_file_that_is_truncated_after_a_refusal_is_empty(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = open_f(t, O_WRONLY | O_TRUNC), *b = open_f(t, O_RDWR);

	refusal = -EINVAL;
	assert_int_equal(write_to(t, a, "bad", 0), -EINVAL);
	pfs_fs_release(t->fs, open_f(t, O_WRONLY | O_TRUNC));
	pfs_fs_release(t->fs, a);
	pfs_fs_release(t->fs, b);
	test_expect_stored(t, "f", "");
}

static void a_truncation_that_was_closed_stands_whoever_is_refused_then(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = open_f(t, O_WRONLY | O_TRUNC), *b = open_f(t, O_WRONLY | O_APPEND);

	assert_int_equal(pfs_fs_flush(t->fs, a), 0);
	refusal = -EINVAL;
	assert_int_equal(write_to(t, b, "bad", 0), -EINVAL);
	pfs_fs_release(t->fs, a);
	pfs_fs_release(t->fs, b);
	test_expect_stored(t, "f", "");
}

static void a_refusal_is_found_afterwards(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = open_f(t, O_WRONLY | O_TRUNC), *errors;
	struct pfs_node *node = pfs_fs_root(t->fs);
	const char *const path[] = {".persistfs", "stores", "s", "errors"};
	char buf[1000] = "";
	size_t i;

	refusal = -EEXIST;
	assert_int_equal(write_to(t, f, "new", 0), -EEXIST);
	pfs_fs_release(t->fs, f);
	for (i = 0; i < PFS_ARRAY_SIZE(path); i++)
		node = test_lookup(t, node, path[i]);
	errors = test_open(t, node, O_RDONLY);
	assert_true(pfs_fs_read(t->fs, errors, buf, sizeof(buf) - 1, 0) > 0);
	pfs_fs_release(t->fs, errors);
	assert_non_null(strstr(buf, "\ts/f\tEEXIST\tthe engine's own words\n"));
}

/* ---- what is for good ----------------------------------------------------------------------- */

static bool for_good(int err, const char *value)
{
	return adopt_refused(err, pfs_bytes_str(value));
}

static void a_value_that_may_go_on_is_refused_only_for_what_cannot_be_mended(void **state)
{
	static const char *const whole[] = {"x", "", "-5\n", "{\"a\": 1}", "[1]\n", "\"a\"", "{1,2}",
					    "a{", "\xff", "\xc3\xa9", "{\"a\": \"\\\"{\"}", "{}}"};
	static const char *const part[] = {"{", " \n[1,", "\"a", "{\"a\": \"}", "{\"a\": \"\\\"}",
					   "{\"a\": {}", "a\xc3", "\xe2\x82", "\xf0\x9f\x98"};
	char buffer[4097];
	size_t i;

	(void)state;
	memset(buffer, 'a', sizeof(buffer));
	buffer[4096] = '\0';
	for (i = 0; i < PFS_ARRAY_SIZE(whole); i++)
		assert_true(for_good(-EINVAL, whole[i]));
	for (i = 0; i < PFS_ARRAY_SIZE(part); i++) {
		assert_false(for_good(-EINVAL, part[i]));
		assert_false(for_good(-EEXIST, part[i]));
		assert_false(for_good(-EILSEQ, part[i]));
		assert_true(for_good(-EACCES, part[i]));
		assert_true(for_good(-EPERM, part[i]));
	}
	assert_false(for_good(-EBUSY, buffer));
	assert_true(for_good(-EROFS, buffer));
	assert_true(for_good(-EBUSY, buffer + 1));
	assert_false(for_good(-EAGAIN, "x"));
	assert_false(for_good(-EHOSTDOWN, "x"));
	assert_false(for_good(0, "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE_OF(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		CASE_OF(a_refused_write_fails_and_the_old_value_stands),
		CASE_OF(a_size_is_not_set_through_a_refused_file),
		CASE_OF(the_first_write_of_an_open_file_is_tried),
		CASE_OF(others_who_write_the_file_are_not_refused_with_it),
		CASE_OF(when_all_are_refused_nothing_is_published),
		CASE_OF(a_file_that_is_truncated_after_a_refusal_is_empty),
		CASE_OF(a_truncation_that_was_closed_stands_whoever_is_refused_then),
		CASE_OF(a_refusal_is_found_afterwards),
		cmocka_unit_test(a_value_that_may_go_on_is_refused_only_for_what_cannot_be_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
