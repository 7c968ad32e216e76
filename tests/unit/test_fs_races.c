/*
 * What happens between the calls: writes and reads while a commit is under way, listings while names
 * go, changes that wait while the data behind them becomes another.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/contract/lib_fault.h"
#include "tests/unit/lib_fs.h"

#define MS 1000000

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

static void pause_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * MS};

	nanosleep(&ts, NULL);
}

/* The next call of this kind takes a while, and then answers `err` (0: what is true). */
static void slow_call(struct test_fs *t, unsigned calls, int ms, int err)
{
	struct fault plan = {.calls = calls, .nth = 1, .err = err, .after = err == 0,
			     .pause_ns = (int64_t)ms * MS};

	fault_plan(t->backends[0], &plan);
}

/* Wait until that call has begun. */
static void await_call(struct test_fs *t)
{
	int i;

	for (i = 0; i < 5000 && !fault_fired(t->backends[0]); i++)
		pause_ms(1);
	assert_int_equal(fault_fired(t->backends[0]), 1);
}

static void await_stored(struct test_fs *t, const char *name, const char *text)
{
	int i;

	for (i = 0; i < 2500; i++) {
		char *got = test_stored(t, name);
		bool same = got && strcmp(got, text) == 0;

		free(got);
		if (same)
			return;
		pause_ms(2);
	}
	fail_msg("%s never became '%s'", name, text);
}

struct call {
	struct test_fs *t;
	struct pfs_file *file;
	pthread_t thread;
	char *buf;
	size_t len;
	ssize_t result;
};

static void *flush_main(void *arg)
{
	struct call *c = arg;

	c->result = pfs_fs_flush(c->t->fs, c->file);
	return NULL;
}

static void *read_main(void *arg)
{
	struct call *c = arg;

	c->result = pfs_fs_read(c->t->fs, c->file, c->buf, c->len, 0);
	return NULL;
}

static struct pfs_attr stored_attr(struct test_fs *t, const char *name)
{
	struct pfs_attr attr;
	uint64_t root;

	assert_int_equal(pfs_store_root(t->side, &root), 0);
	assert_int_equal(pfs_store_lookup(t->side, root, pfs_bytes_str(name), &attr), 0);
	return attr;
}

/* ---- data ----------------------------------------------------------------------------------- */

static void what_is_written_during_a_commit_is_committed_within_the_interval(void **state)
{
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	t->store.commit_interval = 30 * MS;
	test_put(t, "log", "");
	node = test_lookup(t, t->root, "log");
	f = test_open(t, node, O_WRONLY);
	slow_call(t, FAULT_COMMIT, 100, 0);
	test_write(t, f, "first", 0);
	await_call(t);
	test_write(t, f, " second", 5);
	await_stored(t, "log", "first second");
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

static void a_read_that_meets_the_publication_of_a_large_rewrite_has_its_bytes(void **state)
{
	struct test_fs *t = *state;
	struct call reader = {.t = t, .len = 1 << 20};
	struct pfs_node *node;
	struct pfs_file *f;
	size_t i;

	test_put(t, "big", "old");
	node = test_lookup(t, t->root, "big");
	f = reader.file = test_open(t, node, O_RDWR | O_TRUNC);
	reader.buf = malloc(reader.len);
	memset(reader.buf, 'n', reader.len);
	for (i = 0; i < 24; i++)
		assert_int_equal(pfs_fs_write(t->fs, &t->ctx, f, reader.buf, reader.len,
					      (off_t)(i * reader.len), false), reader.len);
	memset(reader.buf, 0, reader.len);
	slow_call(t, FAULT_READ, 100, 0);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_main, &reader), 0);
	await_call(t);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.result, reader.len);
	for (i = 0; i < reader.len; i++)
		assert_int_equal(reader.buf[i], 'n');
	free(reader.buf);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

/* The kernel knows how long the file is, and takes what is missing for zeros. */
static void a_read_has_what_was_appended_before_though_the_push_channel_is_lost_meanwhile(void **state)
{
	struct test_fs *t = *state;
	char buf[100] = "";
	struct call reader = {.t = t, .buf = buf, .len = sizeof(buf)};
	struct pfs_node *node;
	struct pfs_file *f;

	t->store.commit_interval = 60 * NSEC_PER_SEC;
	test_put(t, "log", "first\n");
	node = test_lookup(t, t->root, "log");
	f = test_open(t, node, O_WRONLY | O_APPEND);
	reader.file = test_open(t, node, O_RDONLY);
	test_write(t, f, "second\n", 6);
	slow_call(t, FAULT_READ, 100, 0);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_main, &reader), 0);
	await_call(t);
	pfs_backend_set_pushing(t->backends[0], false);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.result, 13);
	assert_string_equal(buf, "first\nsecond\n");
	pfs_fs_release(t->fs, f);
	pfs_fs_release(t->fs, reader.file);
	pfs_fs_forget(t->fs, node, 1);
}

/* What lies in front of appended bytes has its place, whether it is committed or not. */
static void bytes_written_before_an_append_are_shown_where_that_waits_for_its_place(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f, *log;
	struct pfs_node *node;
	char buf[4];

	t->store.commit_interval = 60 * NSEC_PER_SEC;
	test_put(t, "log", "");
	pfs_backend_set_pushing(t->backends[0], false);
	node = test_lookup(t, t->root, "log");
	f = test_open(t, node, O_RDWR);
	log = test_open(t, node, O_WRONLY | O_APPEND);
	test_write(t, f, "placed", 0);
	test_write(t, log, "more", 6);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "plac", 4);
	test_expect_stored(t, "log", "");
	test_expect_shown(t, "log", "placedmore");
	test_expect_stored(t, "log", "placedmore");
	pfs_fs_release(t->fs, f);
	pfs_fs_release(t->fs, log);
	pfs_fs_forget(t->fs, node, 1);
}

static void append_elsewhere(struct test_fs *t, const char *name, const char *text)
{
	struct pfs_seg seg = {.p = text, .len = strlen(text)};
	struct pfs_mutation m = {.op = PFS_OP_APPEND, .segs = &seg, .nsegs = 1};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .epoch = pfs_store_epoch(t->side)};

	m.id = stored_attr(t, name).id;
	assert_int_equal(pfs_store_commit(t->side, &batch), 0);
}

/* As soon as the new content is there, others append to it. */
static void appended_during_the_publication_goes_behind_what_others_append_after_it(void **state)
{
	struct test_fs *t = *state;
	struct call call = {.t = t};
	struct pfs_node *node;
	struct pfs_file *log;

	t->store.commit_interval = 60 * NSEC_PER_SEC;
	test_put(t, "log", "old\n");
	node = test_lookup(t, t->root, "log");
	call.file = test_open(t, node, O_WRONLY | O_TRUNC);
	log = test_open(t, node, O_WRONLY | O_APPEND);
	test_write(t, call.file, "one\n", 0);
	slow_call(t, FAULT_COMMIT, 100, 0);
	assert_int_equal(pthread_create(&call.thread, NULL, flush_main, &call), 0);
	await_call(t);
	test_write(t, log, "two\n", 4);
	pthread_join(call.thread, NULL);
	assert_int_equal(call.result, 0);
	test_expect_stored(t, "log", "one\n");
	append_elsewhere(t, "log", "foreign\n");
	pfs_fs_release(t->fs, log);
	pfs_fs_release(t->fs, call.file);
	test_expect_stored(t, "log", "one\nforeign\ntwo\n");
	pfs_fs_forget(t->fs, node, 1);
}

static bool goes_direct(struct test_fs *t, struct pfs_node *node, int flags, struct pfs_file **f)
{
	struct pfs_open_hints hints;

	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, flags, f, &hints), 0);
	return hints.direct_io;
}

/* Who reads through pages what is appended past them, or the reverse, sees what is not there. */
static void who_opens_a_file_that_is_appended_to_goes_the_way_of_those_before(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f[3];
	struct pfs_node *node;
	int i, round;

	test_put(t, "log", "first\n");
	node = test_lookup(t, t->root, "log");
	for (round = 0; round < 2; round++) {
		bool direct = round == 1;

		pfs_backend_set_pushing(t->backends[0], !direct);
		assert_int_equal(goes_direct(t, node, O_WRONLY | O_APPEND, &f[0]), direct);
		pfs_backend_set_pushing(t->backends[0], direct);
		assert_int_equal(goes_direct(t, node, O_RDONLY, &f[1]), direct);
		assert_int_equal(goes_direct(t, node, O_WRONLY | O_APPEND, &f[2]), direct);
		for (i = 0; i < 3; i++)
			pfs_fs_release(t->fs, f[i]);
	}
	/* With the last of them that is over. */
	assert_false(goes_direct(t, node, O_WRONLY | O_APPEND, &f[0]));
	pfs_fs_release(t->fs, f[0]);
	pfs_fs_forget(t->fs, node, 1);
}

static void emptying_a_file_is_published_when_its_writer_closes_though_a_reader_stays(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *reader, *writer;
	struct pfs_node *node;

	test_put(t, "log", "old");
	node = test_lookup(t, t->root, "log");
	reader = test_open(t, node, O_RDONLY);
	writer = test_open(t, node, O_WRONLY | O_TRUNC);
	assert_int_equal(pfs_fs_flush(t->fs, writer), 0);
	test_expect_stored(t, "log", "old");
	pfs_fs_release(t->fs, writer);
	test_expect_stored(t, "log", "");
	pfs_fs_release(t->fs, reader);
	pfs_fs_forget(t->fs, node, 1);
}

/* As when the daemon is told to end while a program is about to write. */
static void a_rewrite_that_wrote_nothing_when_all_ends_leaves_the_old_value(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *empty, *begun;
	struct pfs_msg msg;

	test_put(t, "a", "old");
	test_put(t, "b", "old");
	empty = test_create(t, "a", O_WRONLY | O_TRUNC);
	begun = test_create(t, "b", O_WRONLY | O_TRUNC);
	test_write(t, begun, "new", 0);
	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	test_expect_stored(t, "a", "old");
	test_expect_stored(t, "b", "new");
	pfs_fs_release(t->fs, empty);
	pfs_fs_release(t->fs, begun);
	test_expect_stored(t, "a", "old");
}

/* An editor's save of a file that is not new: nobody sees the old content of the other name. */
static void a_queued_rename_waits_for_the_content_that_was_closed_before_it(void **state)
{
	struct fault full = {.calls = FAULT_COMMIT, .nth = 1, .err = -ENOSPC};
	struct test_fs *t = *state;
	struct pfs_node *node;
	struct pfs_file *f;

	t->store.queue_delay = NSEC_PER_SEC;
	test_put(t, "f", "old");
	test_put(t, "tmp", "rubbish");
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	node = test_lookup(t, t->root, "tmp");
	f = test_open(t, node, O_WRONLY | O_TRUNC);
	test_write(t, f, "new", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	fault_plan(t->backends[0], &full);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("tmp"), t->root, PFS_BYTES("f"),
				       0), 0);
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), -ENOSPC);
	test_expect_stored(t, "f", "old");
	await_stored(t, "f", "new");
	pfs_fs_forget(t->fs, node, 1);
}

static void bytes_far_behind_an_append_that_failed_are_where_they_were_written(void **state)
{
	struct test_fs *t = *state;
	struct call call = {.t = t};
	struct pfs_node *node;
	struct pfs_file *f;
	char buf[100];

	test_put(t, "f", "base");
	node = test_lookup(t, t->root, "f");
	call.file = test_open(t, node, O_WRONLY | O_APPEND);
	f = test_open(t, node, O_RDWR);
	test_write(t, call.file, "xx", 0);
	slow_call(t, FAULT_COMMIT, 100, -ENOSPC);
	assert_int_equal(pthread_create(&call.thread, NULL, flush_main, &call), 0);
	await_call(t);
	test_write(t, f, "z", 10);
	pthread_join(call.thread, NULL);
	assert_int_equal(call.result, -ENOSPC);
	fault_plan(t->backends[0], NULL);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_int_equal(stored_attr(t, "f").size, 11);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 11);
	assert_memory_equal(buf, "basexx\0\0\0\0z", 11);
	pfs_fs_release(t->fs, call.file);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
}

static void a_rewrite_by_another_user_takes_setuid_away_whatever_comes_before_its_close(void **state)
{
	struct test_fs *t = *state;
	struct stat st = {.st_mode = 04755};
	struct pfs_node *node;
	struct pfs_entry e;
	struct pfs_file *f;

	test_put(t, "prog", "old");
	node = test_lookup(t, t->root, "prog");
	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, node, NULL, &st, PFS_FS_SET_MODE, &e), 0);
	t->ctx.uid = 1000;
	f = test_open(t, node, O_WRONLY | O_TRUNC);
	test_write(t, f, "new", 0);
	assert_int_equal(pfs_fs_setattr(t->fs, &t->ctx, node, f, &st, PFS_FS_SET_MTIME_NOW, &e), 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "prog", "new");
	assert_int_equal(stored_attr(t, "prog").mode & 07777, 0755);
	pfs_fs_forget(t->fs, node, 1);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void a_create_that_finds_no_room_does_not_keep_others_from_being_removed(void **state)
{
	struct fault full = {.calls = FAULT_COMMIT, .nth = 1, .err = -ENOSPC};
	struct test_fs *t = *state;
	struct pfs_file *f;

	test_put(t, "old", "takes room");
	f = test_create(t, "new", O_WRONLY);
	/* The create is tried first, and fails; the removal itself does not. */
	fault_plan(t->backends[0], &full);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("old")), 0);
	assert_int_equal(fault_fired(t->backends[0]), 1);
	test_expect_stored(t, "old", NULL);
	fault_plan(t->backends[0], NULL);
	test_write(t, f, "v", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
	test_expect_stored(t, "new", "v");
}

static void a_file_renamed_before_its_close_takes_its_content_along(void **state)
{
	struct test_fs *t = *state;
	struct pfs_file *f;

	test_put(t, "f", "old");
	f = test_create(t, "tmp", O_WRONLY | O_TRUNC);
	test_write(t, f, "new", 0);
	assert_int_equal(pfs_fs_rename(t->fs, t->root, PFS_BYTES("tmp"), t->root, PFS_BYTES("f"),
				       0), 0);
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	test_expect_stored(t, "f", "new");
	pfs_fs_release(t->fs, f);
	test_expect_shown(t, "f", "new");
}

struct names {
	struct test_fs *t;
	size_t n, max;
	off_t next;
	char names[16][8];
};

static bool take_name(void *arg, const char *name, const struct pfs_entry *e, off_t next)
{
	struct names *l = arg;

	if (l->n == l->max)
		return false;
	strncpy(l->names[l->n++], name, sizeof(l->names[0]) - 1);
	l->next = next;
	if (e->node)
		pfs_fs_forget(l->t->fs, e->node, 1);
	return true;
}

static void a_listing_that_goes_on_does_not_tell_what_was_unlinked_meanwhile(void **state)
{
	struct test_fs *t = *state;
	struct names l = {.t = t, .max = 3};
	struct pfs_open_hints hints;
	struct pfs_dir *dir;
	size_t i;

	test_put(t, "a", "");
	test_put(t, "b", "");
	test_put(t, "c", "");
	assert_int_equal(pfs_fs_opendir(t->fs, t->root, &dir, &hints), 0);
	assert_int_equal(pfs_fs_readdir(t->fs, dir, 0, true, take_name, &l), 0);
	assert_string_equal(l.names[2], "a");
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("b")), 0);
	l.max = 16;
	assert_int_equal(pfs_fs_readdir(t->fs, dir, l.next, true, take_name, &l), 0);
	for (i = 0; i < l.n; i++)
		assert_string_not_equal(l.names[i], "b");
	assert_string_equal(l.names[3], "c");
	pfs_fs_releasedir(t->fs, dir);
}

/* Another database in the place of the first: what was meant for the old one is not done to it. */
static void a_queued_unlink_is_not_done_to_data_that_took_the_place_of_its_own(void **state)
{
	struct test_fs *t = *state;
	struct pfs_event replaced = {.type = PFS_EVENT_REPLACED};
	struct fault full = {.calls = FAULT_COMMIT, .nth = 1, .times = UINT_MAX, .err = -ENOSPC};

	test_put(t, "f", "v");
	assert_int_equal(pfs_fs_fsyncdir(t->fs, t->root), 0);
	fault_plan(t->backends[0], &full);
	assert_int_equal(pfs_fs_unlink(t->fs, t->root, PFS_BYTES("f")), 0);
	await_call(t);
	__atomic_add_fetch(&t->backends[0]->epoch, 1, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&fault_inner(t->backends[0])->epoch, 1, __ATOMIC_ACQ_REL);
	pfs_backend_notify(t->backends[0], &replaced, 1);
	fault_plan(t->backends[0], NULL);
	(void)pfs_fs_fsyncdir(t->fs, t->root);
	test_expect_stored(t, "f", "v");
}

#define THROUGH(f) cmocka_unit_test_setup_teardown(f, set_through, unset)
#define QUEUED(f)  cmocka_unit_test_setup_teardown(f, set_queued, unset)

int main(void)
{
	const struct CMUnitTest through[] = {
		THROUGH(what_is_written_during_a_commit_is_committed_within_the_interval),
		THROUGH(a_read_that_meets_the_publication_of_a_large_rewrite_has_its_bytes),
		THROUGH(a_read_has_what_was_appended_before_though_the_push_channel_is_lost_meanwhile),
		THROUGH(bytes_written_before_an_append_are_shown_where_that_waits_for_its_place),
		THROUGH(appended_during_the_publication_goes_behind_what_others_append_after_it),
		THROUGH(who_opens_a_file_that_is_appended_to_goes_the_way_of_those_before),
		THROUGH(emptying_a_file_is_published_when_its_writer_closes_though_a_reader_stays),
		THROUGH(a_rewrite_that_wrote_nothing_when_all_ends_leaves_the_old_value),
		THROUGH(bytes_far_behind_an_append_that_failed_are_where_they_were_written),
		THROUGH(a_rewrite_by_another_user_takes_setuid_away_whatever_comes_before_its_close),
		THROUGH(a_create_that_finds_no_room_does_not_keep_others_from_being_removed),
		THROUGH(a_file_renamed_before_its_close_takes_its_content_along),
		THROUGH(a_listing_that_goes_on_does_not_tell_what_was_unlinked_meanwhile),
	};
	const struct CMUnitTest queued[] = {
		QUEUED(a_file_renamed_before_its_close_takes_its_content_along),
		QUEUED(a_listing_that_goes_on_does_not_tell_what_was_unlinked_meanwhile),
		QUEUED(a_queued_rename_waits_for_the_content_that_was_closed_before_it),
		QUEUED(a_queued_unlink_is_not_done_to_data_that_took_the_place_of_its_own),
	};
	int failed = cmocka_run_group_tests(through, NULL, NULL);

	return failed + cmocka_run_group_tests(queued, NULL, NULL);
}
