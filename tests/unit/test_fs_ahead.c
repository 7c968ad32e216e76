/*
 * Look-ups that are answered from pages read ahead: that they are, that few look-ups cost no page, and
 * above all that nothing is told from a page that is not true any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/contract/lib_fault.h"
#include "tests/unit/lib_fs.h"

#define MS    1000000
#define FILES 100

/* ---- another program, and what it takes for this mount to hear of it ------------------------ */

static uint64_t side_root(struct test_fs *t)
{
	uint64_t root;

	assert_int_equal(pfs_store_root(t->side, &root), 0);
	return root;
}

static void side_commit(struct test_fs *t, struct pfs_mutation *m)
{
	struct pfs_batch batch = {.ops = m, .nops = 1, .now = pfs_now_ns(),
				  .epoch = pfs_store_epoch(t->side)};

	assert_int_equal(pfs_store_commit(t->side, &batch), 0);
}

static uint64_t side_create(struct test_fs *t, const char *name)
{
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .dir = side_root(t),
				 .name = pfs_bytes_str(name), .set = {.mode = S_IFREG | 0644}};

	assert_int_equal(pfs_store_alloc_ids(t->side, 1, &m.id), 0);
	side_commit(t, &m);
	return m.id;
}

static void side_remove(struct test_fs *t, const char *name)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .dir = side_root(t),
				 .name = pfs_bytes_str(name)};

	side_commit(t, &m);
}

static void side_chmod(struct test_fs *t, uint64_t id, uint32_t mode)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR, .id = id,
				 .set = {.mask = PFS_SET_MODE, .mode = mode}};

	side_commit(t, &m);
}

static uint64_t side_id(struct test_fs *t, const char *name)
{
	struct pfs_attr attr;

	assert_int_equal(pfs_store_lookup(t->side, side_root(t), pfs_bytes_str(name), &attr), 0);
	return attr.id;
}

static void tell(struct test_fs *t, enum pfs_event_type type, uint64_t id, const char *name)
{
	struct pfs_event ev = {.type = type, .id = id};

	if (name) {
		ev.dir = side_root(t);
		ev.name = pfs_bytes_str(name);
	}
	pfs_backend_notify(t->backends[0], &ev, 1);
}

/* ---- this mount ----------------------------------------------------------------------------- */

static const char *numbered(char buf[16], const char *prefix, unsigned i)
{
	snprintf(buf, 16, "%s%04u", prefix, i);
	return buf;
}

static uint64_t calls(struct test_fs *t, enum pfs_call call)
{
	struct pfs_call_stats stats[PFS_CALL_COUNT_];

	pfs_backend_stats(t->backends[0], stats);
	return stats[call].calls;
}

static void fill(struct test_fs *t, unsigned n)
{
	char buf[16];
	unsigned i;

	for (i = 0; i < n; i++)
		side_create(t, numbered(buf, "f", i));
}

static mode_t mode_of(struct test_fs *t, const char *name)
{
	struct pfs_node *node = test_lookup(t, t->root, name);
	struct pfs_entry e;

	assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), 0);
	pfs_fs_forget(t->fs, node, 1);
	return e.st.st_mode & 07777;
}

static nlink_t links_of(struct test_fs *t, const char *name)
{
	struct pfs_entry e;

	assert_int_equal(pfs_fs_lookup(t->fs, t->root, pfs_bytes_str(name), &e), 0);
	assert_non_null(e.node);
	pfs_fs_forget(t->fs, e.node, 1);
	return e.st.st_nlink;
}

/* Look the files up, one after another, until a look-up of the next name asks the engine nothing. */
static void read_ahead(struct test_fs *t)
{
	uint64_t before;
	char buf[16];
	unsigned i;

	for (i = 0; i < FILES; i++)
		(void)test_lookup_err(t, t->root, numbered(buf, "f", i));
	for (i = 0; i < 1000; i++) {
		before = calls(t, PFS_CALL_LOOKUP) + calls(t, PFS_CALL_LIST);
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "no", i)), -ENOENT);
		if (calls(t, PFS_CALL_LOOKUP) + calls(t, PFS_CALL_LIST) == before)
			return;
	}
	fail_msg("the directory is never known");
}

/* The same after a file of these was removed. */
static void read_ahead_again(struct test_fs *t, const char *name)
{
	test_put(t, name, "");
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	read_ahead(t);
}

static void chmod_here(struct test_fs *t, const char *name, mode_t mode)
{
	struct pfs_node *node = test_lookup(t, t->root, name);
	struct stat st = {.st_mode = mode};
	struct pfs_entry e;

	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, node, NULL, &st, PFS_FS_SET_MODE, &e), 0);
	pfs_fs_forget(t->fs, node, 1);
}

/* A new file, which the kernel does not forget; its name is what is in it. */
static void keep(struct test_fs *t, const char *name)
{
	struct pfs_file *f = test_create(t, name, O_WRONLY);

	test_write(t, f, name, 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
}

static int set_through(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, fault_new);

	fill(t, FILES);
	*state = t;
	return 0;
}

static int set_queued(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_QUEUED, fault_new);

	fill(t, FILES);
	*state = t;
	return 0;
}

static int unset(void **state)
{
	struct test_fs *t = *state;

	fault_plan(t->backends[0], NULL);
	test_fs_free(t);
	return 0;
}

/* ---- what it is for ------------------------------------------------------------------------- */

static void lookups_in_a_row_are_answered_from_pages(void **state)
{
	struct test_fs *t = *state;
	uint64_t lookups = calls(t, PFS_CALL_LOOKUP), getattrs = calls(t, PFS_CALL_GETATTR);
	uint64_t lists = calls(t, PFS_CALL_LIST);
	struct pfs_entry e;
	char buf[16];
	unsigned i;

	for (i = 0; i < FILES; i++) {
		assert_int_equal(pfs_fs_lookup(t->fs, t->root,
					       pfs_bytes_str(numbered(buf, "f", i)), &e), 0);
		assert_non_null(e.node);
		assert_int_equal(e.st.st_mode, S_IFREG | 0644);
		assert_true(e.entry_timeout > 0 && e.attr_timeout > 0);
		pfs_fs_forget(t->fs, e.node, 1);
	}
	assert_true(calls(t, PFS_CALL_LOOKUP) - lookups <= 3);
	assert_true(calls(t, PFS_CALL_LIST) - lists <= 4);
	assert_int_equal(calls(t, PFS_CALL_GETATTR), getattrs);
}

static void of_a_whole_directory_missing_names_are_known(void **state)
{
	struct test_fs *t = *state;
	uint64_t lookups;
	struct pfs_entry e;
	char buf[16];
	unsigned i;

	read_ahead(t);
	lookups = calls(t, PFS_CALL_LOOKUP);
	for (i = 0; i < 50; i++) {
		numbered(buf, "m", i);
		assert_int_equal(pfs_fs_lookup(t->fs, t->root, pfs_bytes_str(buf), &e), 0);
		assert_null(e.node);
		assert_true(e.entry_timeout > 0);
	}
	assert_int_equal(calls(t, PFS_CALL_LOOKUP), lookups);
}

static void a_few_lookups_list_nothing(void **state)
{
	struct test_fs *t = *state;
	uint64_t lists = calls(t, PFS_CALL_LIST);
	unsigned i;

	for (i = 0; i < 20; i++)
		assert_int_equal(test_lookup_err(t, t->root, "f0001"), 0);
	assert_int_equal(test_lookup_err(t, t->root, "f0050"), 0);
	assert_int_equal(calls(t, PFS_CALL_LIST), lists);
}

static void lookups_here_and_there_in_a_large_directory_list_little(void **state)
{
	struct test_fs *t = *state;
	uint64_t lists = calls(t, PFS_CALL_LIST);
	char buf[16];
	unsigned i;

	for (i = FILES; i < 3000; i++)
		side_create(t, numbered(buf, "f", i));
	for (i = 0; i < 20000; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "m", i % 9000)), -ENOENT);
	assert_true(calls(t, PFS_CALL_LIST) - lists <= 10);
}

static void a_directory_larger_than_the_memory_is_walked_in_pages(void **state)
{
	struct test_fs *t = *state;
	uint64_t lookups;
	char buf[16];
	unsigned i;

	for (i = FILES; i < 5000; i++)
		side_create(t, numbered(buf, "f", i));
	lookups = calls(t, PFS_CALL_LOOKUP);
	for (i = 0; i < 5000; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "f", i)), 0);
	assert_true(calls(t, PFS_CALL_LOOKUP) - lookups <= 3);
	/* The start of it has been dropped: what is missing there is not known. */
	assert_int_equal(test_lookup_err(t, t->root, "f0001"), 0);
}

static void a_create_in_a_known_directory_asks_for_no_name(void **state)
{
	struct test_fs *t = *state;
	struct pfs_entry e;
	uint64_t lookups;
	char buf[16];
	unsigned i;

	read_ahead(t);
	lookups = calls(t, PFS_CALL_LOOKUP);
	/* The kernel does not forget them. */
	for (i = 0; i < 50; i++) {
		numbered(buf, "new", i);
		assert_int_equal(test_lookup_err(t, t->root, buf), -ENOENT);
		assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, pfs_bytes_str(buf), 0755,
					      &e), 0);
	}
	assert_int_equal(calls(t, PFS_CALL_LOOKUP), lookups);
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	for (i = 0; i < 50; i++)
		(void)side_id(t, numbered(buf, "new", i));
	for (i = 0; i < 50; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "new", i)), 0);
}

static void many_changes_of_a_known_directory_take_bounded_memory(void **state)
{
	struct test_fs *t = *state;
	char buf[16];
	unsigned i;

	read_ahead(t);
	for (i = 0; i < 3000; i++)
		keep(t, numbered(buf, "new", i));
	for (i = 0; i < 3000; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "new", i)), 0);
}

static void pages_that_changes_make_void_are_not_fetched_again_and_again(void **state)
{
	struct test_fs *t = *state;
	uint64_t lists;
	char buf[16];
	unsigned i;

	lists = calls(t, PFS_CALL_LIST);
	for (i = 0; i < 200; i++) {
		test_lookup_err(t, t->root, numbered(buf, "x", i));
		test_lookup_err(t, t->root, numbered(buf, "y", i));
		test_lookup_err(t, t->root, numbered(buf, "z", i));
		test_put(t, numbered(buf, "new", i), "v");
	}
	assert_true(calls(t, PFS_CALL_LIST) - lists <= 3);
}

/* ---- what this mount changes ---------------------------------------------------------------- */

static void own_creates_and_removals_show_at_once(void **state)
{
	struct test_fs *t = *state;
	struct pfs_entry e;

	read_ahead(t);
	assert_int_equal(test_lookup_err(t, t->root, "new"), -ENOENT);
	test_put(t, "new", "value");
	test_expect_shown(t, "new", "value");
	read_ahead(t);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f0007")), 0);
	assert_int_equal(test_lookup_err(t, t->root, "f0007"), -ENOENT);
	read_ahead_again(t, "f0007");
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	pfs_fs_forget(t->fs, e.node, 1);
	assert_int_equal(test_lookup_err(t, t->root, "d"), 0);
	read_ahead(t);
	assert_int_equal(pfs_fs_rmdir(t->fs, t->root, PFS_BYTES("d")), 0);
	assert_int_equal(test_lookup_err(t, t->root, "d"), -ENOENT);
	read_ahead(t);
	assert_int_equal(pfs_fs_symlink(t->fs, &t->ctx, t->root, PFS_BYTES("l"), PFS_BYTES("f0001"),
					&e), 0);
	pfs_fs_forget(t->fs, e.node, 1);
	assert_int_equal(test_lookup_err(t, t->root, "l"), 0);
}

static void own_renames_show_at_once(void **state)
{
	struct test_fs *t = *state;

	read_ahead(t);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("f0003"), t->root,
				       PFS_BYTES("r"), 0), 0);
	assert_int_equal(test_lookup_err(t, t->root, "f0003"), -ENOENT);
	assert_int_equal(test_lookup_err(t, t->root, "r"), 0);
	read_ahead_again(t, "f0003");
	chmod_here(t, "f0003", 0600);
	read_ahead(t);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("f0003"), t->root,
				       PFS_BYTES("r"), RENAME_EXCHANGE), 0);
	assert_int_equal(mode_of(t, "r"), 0600);
	assert_int_equal(mode_of(t, "f0003"), 0644);
	read_ahead(t);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("r"), t->root,
				       PFS_BYTES("f0004"), 0), 0);
	assert_int_equal(mode_of(t, "f0004"), 0600);
}

static void a_move_shows_in_both_directories(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *d;
	struct pfs_entry e;
	char buf[16];
	unsigned i;

	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	d = e.node;
	read_ahead(t);
	for (i = 0; i < 50; i++)
		assert_int_equal(test_lookup_err(t, d, numbered(buf, "f", i)), -ENOENT);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("f0003"), d, PFS_BYTES("f0003"), 0),
			 0);
	assert_int_equal(test_lookup_err(t, t->root, "f0003"), -ENOENT);
	assert_int_equal(test_lookup_err(t, d, "f0003"), 0);
	pfs_fs_forget(t->fs, d, 1);
}

static void own_changes_of_attributes_show_also_after_the_kernel_forgot(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;

	read_ahead(t);
	node = test_lookup(t, t->root, "f0005");
	chmod_here(t, "f0005", 0600);
	assert_int_equal(mode_of(t, "f0005"), 0600);
	pfs_fs_forget(t->fs, node, 1);
	assert_int_equal(mode_of(t, "f0005"), 0600);
	read_ahead(t);
	test_put(t, "f0006", "some text");
	test_expect_shown(t, "f0006", "some text");
}

static void own_links_are_counted_at_once(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node, *d;
	struct pfs_entry e;

	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	d = e.node;
	read_ahead(t);
	node = test_lookup(t, t->root, "f0005");
	assert_int_equal(pfs_fs_link(t->fs, node, d, PFS_BYTES("link"), &e), 0);
	pfs_fs_forget(t->fs, node, 2);
	assert_int_equal(links_of(t, "f0005"), 2);
	read_ahead(t);
	/* No node stands for the object. */
	assert_int_equal(pfs_fs_unlink(t->fs, d, PFS_BYTES("link")), 0);
	assert_int_equal(links_of(t, "f0005"), 1);
	pfs_fs_forget(t->fs, d, 1);
}

static void a_change_below_shows_in_a_directorys_times(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f;
	struct pfs_open_hints hints;
	struct pfs_entry e, after;
	struct pfs_node *d;

	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	pfs_fs_forget(t->fs, e.node, 1);
	read_ahead(t);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("d"), &e), 0);
	d = e.node;
	assert_int_equal(pfs_fs_create(t->fs, &t->ctx, d, PFS_BYTES("x"), 0644, O_WRONLY, &after,
				       &f, &hints), 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, after.node, 1);
	pfs_fs_forget(t->fs, d, 1);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("d"), &after), 0);
	assert_true(after.st.st_mtim.tv_sec > e.st.st_mtim.tv_sec ||
		    (after.st.st_mtim.tv_sec == e.st.st_mtim.tv_sec &&
		     after.st.st_mtim.tv_nsec > e.st.st_mtim.tv_nsec));
	pfs_fs_forget(t->fs, after.node, 1);
}

static void after_a_commit_of_unknown_outcome_the_engine_is_asked(void **state)
{
	struct test_fs *t = *state;
	struct fault plan = {.calls = FAULT_COMMIT, .nth = 1, .err = -EIO, .after = true};
	struct pfs_entry e;

	read_ahead(t);
	fault_plan(t->backends[0], &plan);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f0007")), -EIO);
	fault_plan(t->backends[0], NULL);
	assert_int_equal(test_lookup_err(t, t->root, "f0007"), -ENOENT);
	read_ahead_again(t, "f0007");
	fault_plan(t->backends[0], &plan);
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), -EIO);
	fault_plan(t->backends[0], NULL);
	assert_int_equal(test_lookup_err(t, t->root, "d"), 0);
}

static void what_a_refusal_tells_of_is_found(void **state)
{
	struct test_fs *t = *state;
	struct pfs_entry e;

	read_ahead(t);
	side_create(t, "d");
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), -EEXIST);
	assert_int_equal(test_lookup_err(t, t->root, "d"), 0);
}

static void queued_changes_show_before_and_after_their_commit(void **state)
{
	struct test_fs *t = *state;
	struct pfs_entry e;
	int i;

	read_ahead(t);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f0007")), 0);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("f0008"), t->root,
				       PFS_BYTES("r"), 0), 0);
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	pfs_fs_forget(t->fs, e.node, 1);
	chmod_here(t, "f0009", 0600);
	for (i = 0; i < 2; i++) {
		assert_int_equal(test_lookup_err(t, t->root, "f0007"), -ENOENT);
		assert_int_equal(test_lookup_err(t, t->root, "f0008"), -ENOENT);
		assert_int_equal(test_lookup_err(t, t->root, "r"), 0);
		assert_int_equal(test_lookup_err(t, t->root, "d"), 0);
		assert_int_equal(mode_of(t, "f0009"), 0600);
		assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	}
}

/* ---- what others change --------------------------------------------------------------------- */

static void anothers_changes_show_as_soon_as_they_are_told(void **state)
{
	struct test_fs *t = *state;
	uint64_t id;

	read_ahead(t);
	side_create(t, "new");
	tell(t, PFS_EVENT_ENTRY, 0, "new");
	assert_int_equal(test_lookup_err(t, t->root, "new"), 0);
	read_ahead(t);
	side_remove(t, "f0007");
	tell(t, PFS_EVENT_ENTRY, 0, "f0007");
	assert_int_equal(test_lookup_err(t, t->root, "f0007"), -ENOENT);
	id = side_create(t, "f0007");
	read_ahead(t);
	side_chmod(t, id, 0600);
	tell(t, PFS_EVENT_ATTR, id, NULL);
	assert_int_equal(mode_of(t, "f0007"), 0600);
	read_ahead(t);
	side_chmod(t, id, 0640);
	tell(t, PFS_EVENT_CONTENT, id, NULL);
	assert_int_equal(mode_of(t, "f0007"), 0640);
	read_ahead(t);
	side_chmod(t, id, 0644);
	tell(t, PFS_EVENT_ALL, 0, NULL);
	assert_int_equal(mode_of(t, "f0007"), 0644);
}

static void of_replaced_data_no_page_is_left(void **state)
{
	struct test_fs *t = *state;
	struct pfs_backend *b = t->backends[0];
	uint64_t lookups;

	read_ahead(t);
	__atomic_fetch_add(&b->epoch, 1, __ATOMIC_SEQ_CST);
	lookups = calls(t, PFS_CALL_LOOKUP);
	/* Before the event is told: the new data is asked. */
	assert_int_equal(test_lookup_err(t, t->root, "f0001"), 0);
	assert_int_equal(calls(t, PFS_CALL_LOOKUP), lookups + 1);
	tell(t, PFS_EVENT_REPLACED, 0, NULL);
	assert_int_equal(test_lookup_err(t, t->root, "f0002"), 0);
	assert_int_equal(calls(t, PFS_CALL_LOOKUP), lookups + 2);
}

static void while_nobody_tells_nothing_is_read_ahead(void **state)
{
	struct test_fs *t = *state;
	uint64_t id = side_id(t, "f0007");
	char buf[16];
	unsigned i;

	read_ahead(t);
	pfs_backend_set_pushing(t->backends[0], false);
	for (i = 0; i < FILES; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "f", i)), 0);
	side_chmod(t, id, 0600);
	assert_int_equal(mode_of(t, "f0007"), 0600);
	side_create(t, "new");
	assert_int_equal(test_lookup_err(t, t->root, "new"), 0);
	pfs_backend_set_pushing(t->backends[0], true);
	assert_int_equal(test_lookup_err(t, t->root, "new"), 0);
}

static void what_expires_is_not_told_from_a_page(void **state)
{
	struct test_fs *t = *state;
	struct pfs_mutation m = {.op = PFS_OP_SETATTR, .id = side_id(t, "f0007"),
				 .set = {.mask = PFS_SET_EXPIRES,
					 .expires = pfs_now_ns() + NSEC_PER_SEC}};

	side_commit(t, &m);
	read_ahead(t);
	while (pfs_now_ns() <= m.set.expires)
		nanosleep(&(struct timespec){.tv_nsec = 20 * MS}, NULL);
	assert_int_equal(test_lookup_err(t, t->root, "f0007"), -ENOENT);
}

/* ---- changes while a page is on its way ----------------------------------------------------- */

static void *lookups_main(void *arg)
{
	struct test_fs *t = arg;
	char buf[16];
	unsigned i;

	for (i = 20; i < 30; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "f", i)), 0);
	return NULL;
}

/* A page has been made, and has not arrived. */
static pthread_t page_on_its_way(struct test_fs *t)
{
	struct fault plan = {.calls = FAULT_LIST, .nth = 1, .after = true, .pause_ns = 200 * MS};
	pthread_t thread;
	int i;

	fault_plan(t->backends[0], &plan);
	assert_int_equal(pthread_create(&thread, NULL, lookups_main, t), 0);
	for (i = 0; i < 5000 && !fault_fired(t->backends[0]); i++)
		nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
	assert_int_equal(fault_fired(t->backends[0]), 1);
	return thread;
}

static void what_others_change_while_a_page_comes_is_not_lost(void **state)
{
	struct test_fs *t = *state;
	uint64_t id = side_id(t, "f0007");
	pthread_t thread = page_on_its_way(t);

	side_chmod(t, id, 0600);
	tell(t, PFS_EVENT_ATTR, id, NULL);
	side_remove(t, "f0008");
	tell(t, PFS_EVENT_ENTRY, 0, "f0008");
	pthread_join(thread, NULL);
	assert_int_equal(mode_of(t, "f0007"), 0600);
	assert_int_equal(test_lookup_err(t, t->root, "f0008"), -ENOENT);
}

static void what_this_mount_changes_while_a_page_comes_is_not_lost(void **state)
{
	struct test_fs *t = *state;
	pthread_t thread = page_on_its_way(t);

	chmod_here(t, "f0009", 0600);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f0008")), 0);
	pthread_join(thread, NULL);
	assert_int_equal(mode_of(t, "f0009"), 0600);
	assert_int_equal(test_lookup_err(t, t->root, "f0008"), -ENOENT);
}

static void a_page_that_does_not_come_costs_no_lookup(void **state)
{
	struct test_fs *t = *state;
	struct fault plan = {.calls = FAULT_LIST, .nth = 1, .times = UINT_MAX, .err = -EIO};
	char buf[16];
	unsigned i;

	fault_plan(t->backends[0], &plan);
	for (i = 0; i < FILES; i++)
		assert_int_equal(test_lookup_err(t, t->root, numbered(buf, "f", i)), 0);
}

#define THROUGH(f) cmocka_unit_test_setup_teardown(f, set_through, unset)
#define QUEUED(f)  cmocka_unit_test_setup_teardown(f, set_queued, unset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		THROUGH(lookups_in_a_row_are_answered_from_pages),
		THROUGH(of_a_whole_directory_missing_names_are_known),
		THROUGH(a_few_lookups_list_nothing),
		THROUGH(lookups_here_and_there_in_a_large_directory_list_little),
		THROUGH(a_directory_larger_than_the_memory_is_walked_in_pages),
		THROUGH(a_create_in_a_known_directory_asks_for_no_name),
		QUEUED(a_create_in_a_known_directory_asks_for_no_name),
		THROUGH(many_changes_of_a_known_directory_take_bounded_memory),
		THROUGH(pages_that_changes_make_void_are_not_fetched_again_and_again),
		THROUGH(own_creates_and_removals_show_at_once),
		QUEUED(own_creates_and_removals_show_at_once),
		THROUGH(own_renames_show_at_once),
		QUEUED(own_renames_show_at_once),
		THROUGH(a_move_shows_in_both_directories),
		QUEUED(a_move_shows_in_both_directories),
		THROUGH(own_changes_of_attributes_show_also_after_the_kernel_forgot),
		QUEUED(own_changes_of_attributes_show_also_after_the_kernel_forgot),
		THROUGH(own_links_are_counted_at_once),
		QUEUED(own_links_are_counted_at_once),
		THROUGH(a_change_below_shows_in_a_directorys_times),
		THROUGH(after_a_commit_of_unknown_outcome_the_engine_is_asked),
		THROUGH(what_a_refusal_tells_of_is_found),
		QUEUED(queued_changes_show_before_and_after_their_commit),
		THROUGH(anothers_changes_show_as_soon_as_they_are_told),
		THROUGH(of_replaced_data_no_page_is_left),
		THROUGH(while_nobody_tells_nothing_is_read_ahead),
		THROUGH(what_expires_is_not_told_from_a_page),
		THROUGH(what_others_change_while_a_page_comes_is_not_lost),
		THROUGH(what_this_mount_changes_while_a_page_comes_is_not_lost),
		THROUGH(a_page_that_does_not_come_costs_no_lookup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
