/*
 * What a return means: which calls of fs.h leave what in the engine, and what this mount shows
 * meanwhile. Over the memory engine; another program's view is a second store on the same namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/lib_fs.h"

static int set_through(void **state)
{
	*state = test_fs_new(PFS_WRITE_THROUGH, NULL);
	return 0;
}

static int set_queued(void **state)
{
	*state = test_fs_new(PFS_WRITE_QUEUED, NULL);
	return 0;
}

static int unset(void **state)
{
	test_fs_free(*state);
	return 0;
}

static void close_commits_what_was_written(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = test_create(t, "f", O_WRONLY);

	test_write(t, f, "hello", 0);
	test_expect_shown(t, "f", "hello");
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	test_expect_stored(t, "f", "hello");
	test_expect_shown(t, "f", "hello");
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "f", "hello");
}

static void a_rewrite_shows_the_old_value_to_others_until_published(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	test_put(t, "f", "old");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_WRONLY | O_TRUNC);
	test_expect_shown(t, "f", "");
	test_expect_stored(t, "f", "old");
	/* Shells dup and close before they write. */
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	test_expect_stored(t, "f", "old");
	test_write(t, f, "newer", 0);
	test_expect_shown(t, "f", "newer");
	test_expect_stored(t, "f", "old");
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	test_expect_stored(t, "f", "newer");
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

static void truncating_and_closing_empties_with_the_last_close(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	test_put(t, "f", "old");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_WRONLY | O_TRUNC);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	test_expect_stored(t, "f", "old");
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "f", "");
	test_expect_shown(t, "f", "");
	pfs_fs_forget(t->fs, node, 1);
}

static void a_rewrite_larger_than_memory_is_staged_and_read_back(void **state)
{
	struct test_fs *t = *state;
	size_t piece = 1 << 20, total = 24 << 20, off;
	char *buf = malloc(piece), *back = malloc(piece);
	struct pfs_node *node;
	struct pfs_file *f;

	test_put(t, "big", "old");
	node = test_lookup(t, t->root, "big");
	f = test_open(t, node, O_RDWR | O_TRUNC);
	for (off = 0; off < total; off += piece) {
		memset(buf, (int)('a' + off / piece), piece);
		assert_int_equal(pfs_fs_write(t->fs, &t->ctx, f, buf, piece, (off_t)off, false),
				 piece);
	}
	test_expect_stored(t, "big", "old");
	for (off = 0; off < total; off += piece) {
		memset(buf, (int)('a' + off / piece), piece);
		assert_int_equal(pfs_fs_read(t->fs, f, back, piece, (off_t)off), piece);
		assert_memory_equal(back, buf, piece);
	}
	test_expect_stored(t, "big", "old");
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	f = test_open(t, node, O_RDONLY);
	for (off = 0; off < total; off += piece) {
		memset(buf, (int)('a' + off / piece), piece);
		assert_int_equal(pfs_fs_read(t->fs, f, back, piece, (off_t)off), piece);
		assert_memory_equal(back, buf, piece);
	}
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	free(buf);
	free(back);
}

static void cutting_a_staged_rewrite_leaves_no_old_bytes(void **state)
{
	struct test_fs *t = *state;
	size_t piece = 1 << 20, i;
	char *buf = malloc(piece);
	struct stat st = {.st_size = 10};
	struct pfs_entry e;
	struct pfs_file *f = test_create(t, "cut", O_RDWR | O_TRUNC);

	memset(buf, 'x', piece);
	for (i = 0; i < 24; i++)
		assert_int_equal(pfs_fs_write(t->fs, &t->ctx, f, buf, piece,
					      (off_t)(i * piece), false), piece);
	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, test_lookup(t, t->root, "cut"), f, &st,
					PFS_FS_SET_SIZE, &e), 0);
	assert_int_equal(e.st.st_size, 10);
	test_write(t, f, "end", 20);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, 100, 0), 23);
	assert_memory_equal(buf, "xxxxxxxxxx\0\0\0\0\0\0\0\0\0\0end", 23);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, 100, 0), 23);
	assert_memory_equal(buf, "xxxxxxxxxx\0\0\0\0\0\0\0\0\0\0end", 23);
	pfs_fs_release(t->fs, f);
	free(buf);
}

static void appends_of_two_writers_are_whole_and_in_order(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = test_create(t, "log", O_WRONLY | O_APPEND), *b;
	struct pfs_node *node = test_lookup(t, t->root, "log");

	b = test_open(t, node, O_WRONLY | O_APPEND);
	test_write(t, a, "one\n", 0);
	test_write(t, b, "two\n", 0);
	test_write(t, a, "three\n", 0);
	test_expect_shown(t, "log", "one\ntwo\nthree\n");
	assert_int_equal(pfs_fs_flush(t->fs, a), 0);
	test_expect_stored(t, "log", "one\ntwo\nthree\n");
	test_write(t, b, "four\n", 2);
	pfs_fs_release(t->fs, b);
	pfs_fs_release(t->fs, a);
	test_expect_stored(t, "log", "one\ntwo\nthree\nfour\n");
	pfs_fs_forget(t->fs, node, 1);
}

/* Another program appends while this mount holds bytes to append. */
static void an_append_goes_behind_what_others_appended(void **state)
{
	struct test_fs *t = *state;
	struct pfs_seg seg = {.p = "foreign\n", .len = 8};
	struct pfs_mutation m = {.op = PFS_OP_APPEND, .segs = &seg, .nsegs = 1};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = 1};
	struct pfs_attr attr;
	struct pfs_node *node;
	struct pfs_file *f;
	uint64_t root;

	test_put(t, "log", "first\n");
	node = test_lookup(t, t->root, "log");
	f = test_open(t, node, O_WRONLY | O_APPEND);
	test_write(t, f, "mine\n", 0);
	assert_int_equal(pfs_store_root(t->side, &root), 0);
	assert_int_equal(pfs_store_lookup(t->side, root, PFS_BYTES("log"), &attr), 0);
	m.id = attr.id;
	batch.epoch = pfs_store_epoch(t->side);
	assert_int_equal(pfs_store_commit(t->side, &batch), 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "log", "first\nforeign\nmine\n");
	pfs_fs_forget(t->fs, node, 1);
}

static void writes_in_place_keep_the_bytes_around_them(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	test_put(t, "f", "0123456789");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_RDWR);
	test_write(t, f, "AB", 3);
	test_write(t, f, "CD", 7);
	test_expect_shown(t, "f", "012AB56CD9");
	test_expect_stored(t, "f", "0123456789");
	assert_int_equal(pfs_fs_fsync(t->fs, f, false), 0);
	test_expect_stored(t, "f", "012AB56CD9");
	test_write(t, f, "!", 12);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

static void a_created_file_is_there_for_this_mount_at_once(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = test_create(t, "new", O_WRONLY);
	struct pfs_open_hints hints;
	struct pfs_entry e;
	struct pfs_file *g;
	struct pfs_msg msg;

	assert_int_equal(test_lookup_err(t, t->root, "new"), 0);
	assert_int_equal(pfs_fs_create(t->fs, &t->ctx, t->root, PFS_BYTES("new"), 0644,
				       O_CREAT | O_EXCL | O_WRONLY, &e, &g, &hints), -EEXIST);
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("new"), 0755, &e),
			 -EEXIST);
	pfs_fs_release(t->fs, f);
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	test_expect_stored(t, "new", "");
}

static void attributes_set_before_the_first_close_are_kept(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = test_create(t, "f", O_WRONLY);
	struct pfs_node *node = test_lookup(t, t->root, "f");
	struct stat st = {.st_mode = 0600, .st_mtim = {.tv_sec = 1000000, .tv_nsec = 5}};
	struct pfs_attr attr;
	struct pfs_entry e;
	uint64_t root;

	test_write(t, f, "x", 0);
	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, node, f, &st,
					PFS_FS_SET_MODE | PFS_FS_SET_MTIME, &e), 0);
	assert_int_equal(e.st.st_mtim.tv_sec, 1000000);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	assert_int_equal(pfs_store_root(t->side, &root), 0);
	assert_int_equal(pfs_store_lookup(t->side, root, PFS_BYTES("f"), &attr), 0);
	assert_int_equal(attr.mode & 07777, 0600);
	assert_true(attr.mtime == 1000000 * NSEC_PER_SEC + 5);
	assert_int_equal(attr.size, 1);
	pfs_fs_forget(t->fs, node, 1);
}

/* A create that waits for its close is of an earlier time than what comes after it. */
static void attributes_of_a_directory_change_after_the_creates_in_it(void **state)
{
	struct test_fs *t = *state;
	struct stat st = {.st_mtim = {.tv_sec = 1000}};
	struct pfs_seg value = {.p = "v", .len = 1};
	struct pfs_entry e;
	struct pfs_file *f;
	int64_t before;
	int i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, t->root, NULL, &st,
						PFS_FS_SET_MTIME, &e), 0);
		before = pfs_now_ns();
		f = test_create(t, i ? "g" : "f", O_WRONLY);
		st.st_mode = 0700;
		if (i == 0)
			assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, t->root, NULL, &st,
							PFS_FS_SET_MODE, &e), 0);
		else
			assert_int_equal(pfs_fs_setxattr(t->fs, t->root, PFS_BYTES("user.x"),
							 value.p, value.len, 0), 0);
		pfs_fs_release(t->fs, f);
		assert_int_equal(pfs_fs_getattr(t->fs, t->root, NULL, &e), 0);
		assert_true((int64_t)e.st.st_mtim.tv_sec * NSEC_PER_SEC + e.st.st_mtim.tv_nsec >=
			    before);
	}
}

static void an_unlinked_open_file_stays_readable_and_writable(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;
	struct pfs_entry e;
	char buf[16];

	test_put(t, "f", "content");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_RDWR);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f")), 0);
	assert_int_equal(test_lookup_err(t, t->root, "f"), -ENOENT);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 7);
	test_write(t, f, "C", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 7);
	assert_memory_equal(buf, "Content", 7);
	assert_int_equal(pfs_fs_getattr(t->fs, node, f, &e), 0);
	assert_int_equal(e.st.st_nlink, 0);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

static bool count_entry(void *arg, const char *name, const struct pfs_entry *e, off_t next)
{
	size_t *n = arg;

	(void)e;
	(void)next;
	*n += strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
	return true;
}

static size_t count_entries(struct test_fs *t)
{
	struct pfs_open_hints hints;
	struct pfs_dir *dir;
	size_t n = 0;

	assert_int_equal(pfs_fs_opendir(t->fs, t->root, &dir, &hints), 0);
	assert_int_equal(pfs_fs_readdir(t->fs, dir, 0, false, count_entry, &n), 0);
	pfs_fs_releasedir(t->fs, dir);
	return n;
}

static void a_listing_has_what_waits_to_be_committed(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *a = test_create(t, "a", O_WRONLY), *b = test_create(t, "b", O_WRONLY);

	assert_int_equal(count_entries(t), 2);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("a")), 0);
	assert_int_equal(count_entries(t), 1);
	pfs_fs_release(t->fs, a);
	pfs_fs_release(t->fs, b);
}

static void renames_of_files_show_at_once_and_arrive_in_order(void **state)
{
	struct test_fs *t = *state;
	struct pfs_msg msg;

	test_put(t, "tmp", "new");
	test_put(t, "f", "old");
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("tmp"), t->root, PFS_BYTES("f"),
				       0), 0);
	test_expect_shown(t, "f", "new");
	assert_int_equal(test_lookup_err(t, t->root, "tmp"), -ENOENT);
	test_put(t, "tmp", "again");
	test_expect_shown(t, "tmp", "again");
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	test_expect_stored(t, "f", "new");
	test_expect_stored(t, "tmp", "again");
}

static void noreplace_and_exchange_do_what_they_say(void **state)
{
	struct test_fs *t = *state;

	test_put(t, "a", "A");
	test_put(t, "b", "B");
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("a"), t->root, PFS_BYTES("b"),
				       RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("a"), t->root, PFS_BYTES("b"),
				       RENAME_EXCHANGE), 0);
	test_expect_shown(t, "a", "B");
	test_expect_shown(t, "b", "A");
}

static void a_queued_tree_is_usable_before_it_is_committed(void **state)
{
	struct test_fs *t = *state;
	struct pfs_entry d, l;
	struct pfs_open_hints hints;
	struct pfs_entry e;
	struct pfs_file *f;
	struct pfs_msg msg;
	char *target;

	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &d), 0);
	assert_int_equal(pfs_fs_create(t->fs, &t->ctx, d.node, PFS_BYTES("f"), 0644,
				       O_CREAT | O_WRONLY, &e, &f, &hints), 0);
	test_write(t, f, "deep", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	assert_int_equal(pfs_fs_symlink(t->fs, &t->ctx, d.node, PFS_BYTES("l"), PFS_BYTES("f"),
					&l), 0);
	assert_int_equal(test_lookup_err(t, d.node, "f"), 0);
	assert_int_equal(test_lookup_err(t, d.node, "nope"), -ENOENT);
	assert_int_equal(pfs_fs_readlink(t->fs, l.node, &target), 0);
	assert_string_equal(target, "f");
	free(target);
	assert_int_equal(pfs_fs_rmdir(t->fs, t->root, PFS_BYTES("d")), -ENOTEMPTY);
	assert_int_equal(pfs_fs_unlink(t->fs, d.node, PFS_BYTES("f")), 0);
	assert_int_equal(pfs_fs_unlink(t->fs, d.node, PFS_BYTES("l")), 0);
	assert_int_equal(pfs_fs_rmdir(t->fs, t->root, PFS_BYTES("d")), 0);
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	assert_int_equal(test_lookup_err(t, t->root, "d"), -ENOENT);
	pfs_fs_forget(t->fs, e.node, 1);
	pfs_fs_forget(t->fs, l.node, 1);
	pfs_fs_forget(t->fs, d.node, 1);
}

static void a_queued_close_is_in_the_engine_after_fsync(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f = test_create(t, "f", O_WRONLY);

	test_write(t, f, "v", 0);
	assert_int_equal(pfs_fs_fsync(t->fs, f, false), 0);
	test_expect_stored(t, "f", "v");
	pfs_fs_release(t->fs, f);
}

/* 300 files through a queue of 100: the producer waits, nothing is lost. */
static void a_full_queue_makes_its_writer_wait(void **state)
{
	struct test_fs *t = *state;
	struct pfs_msg msg;
	char name[16];
	int i;

	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		test_put(t, name, name);
	}
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		test_expect_stored(t, name, name);
	}
}

static void virtual_directories_take_no_entries(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *root = pfs_fs_root(t->fs);
	struct pfs_entry e;

	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, root, PFS_BYTES("x"), 0755, &e), -EPERM);
	assert_int_equal(pfs_fs_unlink(t->fs, root, PFS_BYTES("s")), -EPERM);
	assert_int_equal(pfs_fs_rmdir(t->fs, root, PFS_BYTES("s")), -EPERM);
	assert_int_equal(pfs_fs_rename(t->fs, root, PFS_BYTES("s"), root, PFS_BYTES("t"), 0),
			 -EPERM);
}

static void what_is_not_pushed_is_cached_for_a_moment_only(void **state)
{
	struct test_fs *t = *state;
	struct pfs_open_hints hints;
	struct pfs_entry e;
	struct pfs_file *f;

	test_put(t, "f", "value");
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("f"), &e), 0);
	assert_true(e.entry_timeout > 1000 && e.attr_timeout > 1000);
	pfs_backend_set_pushing(t->backends[0], false);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("f"), &e), 0);
	assert_true(e.entry_timeout <= 1 && e.attr_timeout <= 1);
	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, e.node, O_RDONLY, &f, &hints), 0);
	assert_false(hints.keep_cache);
	pfs_fs_release(t->fs, f);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("none"), &e), 0);
	assert_null(e.node);
	assert_true(e.entry_timeout <= 1);
	pfs_backend_set_pushing(t->backends[0], true);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("f"), &e), 0);
	assert_true(e.entry_timeout > 1000 && e.attr_timeout > 1000);
}

#define THROUGH(f) cmocka_unit_test_setup_teardown(f, set_through, unset)
#define QUEUED(f)  cmocka_unit_test_setup_teardown(f, set_queued, unset)

int main(void)
{
	const struct CMUnitTest through[] = {
		THROUGH(close_commits_what_was_written),
		THROUGH(a_rewrite_shows_the_old_value_to_others_until_published),
		THROUGH(truncating_and_closing_empties_with_the_last_close),
		THROUGH(a_rewrite_larger_than_memory_is_staged_and_read_back),
		THROUGH(cutting_a_staged_rewrite_leaves_no_old_bytes),
		THROUGH(appends_of_two_writers_are_whole_and_in_order),
		THROUGH(an_append_goes_behind_what_others_appended),
		THROUGH(writes_in_place_keep_the_bytes_around_them),
		THROUGH(a_created_file_is_there_for_this_mount_at_once),
		THROUGH(attributes_set_before_the_first_close_are_kept),
		THROUGH(attributes_of_a_directory_change_after_the_creates_in_it),
		QUEUED(attributes_of_a_directory_change_after_the_creates_in_it),
		THROUGH(an_unlinked_open_file_stays_readable_and_writable),
		THROUGH(a_listing_has_what_waits_to_be_committed),
		THROUGH(renames_of_files_show_at_once_and_arrive_in_order),
		THROUGH(noreplace_and_exchange_do_what_they_say),
		THROUGH(virtual_directories_take_no_entries),
		THROUGH(what_is_not_pushed_is_cached_for_a_moment_only),
	};
	const struct CMUnitTest queued[] = {
		QUEUED(a_created_file_is_there_for_this_mount_at_once),
		QUEUED(an_unlinked_open_file_stays_readable_and_writable),
		QUEUED(a_listing_has_what_waits_to_be_committed),
		QUEUED(renames_of_files_show_at_once_and_arrive_in_order),
		QUEUED(noreplace_and_exchange_do_what_they_say),
		QUEUED(a_queued_tree_is_usable_before_it_is_committed),
		QUEUED(a_queued_close_is_in_the_engine_after_fsync),
		QUEUED(a_full_queue_makes_its_writer_wait),
	};
	int failed = cmocka_run_group_tests(through, NULL, NULL);

	return failed + cmocka_run_group_tests(queued, NULL, NULL);
}
