/* Tests of what the kernel is told while its pages are of another content than the engine has. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/lib_fs.h"

/* A kernel whose invalidations take as long as the test wants. */
struct kernel {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned begun, ended; /* invalidations of pages */
	bool open;	       /* they may end */
	unsigned grew;	       /* files it was told the size of, the last: */
	int64_t size;
	char last;
	unsigned names, known_after; /* names taken back; the first it says it had */
};

static bool inval_inode(void *arg, struct pfs_node *node, int64_t off, int64_t len)
{
	struct kernel *k = arg;

	(void)node;
	(void)len;
	if (off < 0)
		return true;
	pthread_mutex_lock(&k->lock);
	k->begun++;
	pthread_cond_broadcast(&k->cond);
	while (!k->open)
		pthread_cond_wait(&k->cond, &k->lock);
	k->ended++;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	return true;
}

static void file_grew(void *arg, struct pfs_node *node, int64_t size, char last)
{
	struct kernel *k = arg;

	(void)node;
	pthread_mutex_lock(&k->lock);
	k->grew++;
	k->size = size;
	k->last = last;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
}

static bool inval_entry(void *arg, struct pfs_node *parent, struct pfs_bytes name)
{
	struct kernel *k = arg;
	bool known;

	(void)parent;
	(void)name;
	pthread_mutex_lock(&k->lock);
	known = k->names++ >= k->known_after;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	return known;
}

static const struct pfs_kernel_ops ops = {
	.inval_entry = inval_entry, .inval_inode = inval_inode, .file_grew = file_grew};

static void kernel_init(struct kernel *k, struct test_fs *t)
{
	*k = (struct kernel){.open = false};
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->cond, NULL);
	pfs_fs_set_kernel(t->fs, &ops, k);
}

static void wait_for(struct kernel *k, const unsigned *count, unsigned n)
{
	pthread_mutex_lock(&k->lock);
	while (*count < n)
		pthread_cond_wait(&k->cond, &k->lock);
	pthread_mutex_unlock(&k->lock);
}

static void let_go(struct kernel *k)
{
	pthread_mutex_lock(&k->lock);
	k->open = true;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
}

/* Somebody else appends, and the engine tells. */
static void append_elsewhere(struct test_fs *t, const char *name, const char *text)
{
	struct pfs_seg seg = {.p = text, .len = strlen(text)};
	struct pfs_mutation m = {.op = PFS_OP_APPEND, .segs = &seg, .nsegs = 1};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .epoch = pfs_store_epoch(t->side)};
	struct pfs_event ev = {.type = PFS_EVENT_CONTENT};
	struct pfs_attr attr;
	uint64_t root;

	assert_int_equal(pfs_store_root(t->side, &root), 0);
	assert_int_equal(pfs_store_lookup(t->side, root, pfs_bytes_str(name), &attr), 0);
	m.id = ev.id = attr.id;
	assert_int_equal(pfs_store_commit(t->side, &batch), 0);
	pfs_backend_notify(t->backends[0], &ev, 1);
}

static void expect_size(struct test_fs *t, struct pfs_node *node, off_t size, bool cached)
{
	struct pfs_entry e;

	assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), 0);
	assert_int_equal(e.st.st_size, size);
	assert_int_equal(e.attr_timeout > 0, cached);
}

static void a_new_size_is_told_when_the_old_pages_are_gone(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct pfs_file *f;
	struct kernel k;
	char buf[32];

	(void)state;
	kernel_init(&k, t);
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_RDONLY);
	expect_size(t, node, 5, true);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 5);
	append_elsewhere(t, "f", " and more");
	wait_for(&k, &k.begun, 1);
	/* With this size and those pages a reader would see zeros behind the old end. */
	expect_size(t, node, 5, false);
	let_go(&k);
	wait_for(&k, &k.ended, 1);
	wait_for(&k, &k.grew, 1);
	append_elsewhere(t, "f", "!");
	wait_for(&k, &k.ended, 2);
	while (1) {
		struct pfs_entry e;

		assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), 0);
		assert_true(e.st.st_size == 14 || e.st.st_size == 15);
		if (e.st.st_size == 15 && e.attr_timeout > 0)
			break;
	}
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void a_size_is_told_at_once_where_nothing_was_read(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct kernel k;

	(void)state;
	kernel_init(&k, t);
	let_go(&k);
	test_put(t, "f", "value");
	append_elsewhere(t, "f", " and more");
	wait_for(&k, &k.ended, 1);
	node = test_lookup(t, t->root, "f");
	while (1) {
		struct pfs_entry e;

		assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), 0);
		if (e.attr_timeout > 0)
			break;
	}
	expect_size(t, node, 14, true);
	pfs_fs_forget(t->fs, node, 1);
	test_fs_free(t);
}

static void own_changes_leave_the_pages_alone(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct pfs_file *f;
	struct kernel k;
	char buf[32];
	int i;

	(void)state;
	kernel_init(&k, t);
	let_go(&k);
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_RDWR);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 5);
	for (i = 0; i < 5; i++) {
		test_write(t, f, "more", 5 + 4 * i);
		assert_int_equal(pfs_fs_flush(t->fs, f), 0);
		expect_size(t, node, 9 + 4 * i, true);
	}
	assert_int_equal(k.begun, 0);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void an_open_file_that_grew_elsewhere_is_told_of(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct pfs_file *f;
	struct kernel k;

	(void)state;
	kernel_init(&k, t);
	let_go(&k);
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	f = test_open(t, node, O_RDONLY);
	append_elsewhere(t, "f", " and more");
	wait_for(&k, &k.grew, 1);
	assert_int_equal(k.size, 14);
	assert_int_equal(k.last, 'e');
	append_elsewhere(t, "f", "!");
	wait_for(&k, &k.grew, 2);
	assert_int_equal(k.size, 15);
	assert_int_equal(k.last, '!');
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	test_fs_free(t);
}

static void a_file_that_grew_while_it_was_closed_is_told_of_when_it_is_opened(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct pfs_file *f;
	struct kernel k;

	(void)state;
	kernel_init(&k, t);
	let_go(&k);
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	append_elsewhere(t, "f", " and more");
	wait_for(&k, &k.ended, 1);
	f = test_open(t, node, O_RDONLY);
	wait_for(&k, &k.grew, 1);
	assert_int_equal(k.size, 14);
	pfs_fs_release(t->fs, f);
	/* Once is enough: what comes next is about the other file. */
	f = test_open(t, node, O_RDONLY);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	test_put(t, "g", "1");
	node = test_lookup(t, t->root, "g");
	f = test_open(t, node, O_RDONLY);
	append_elsewhere(t, "g", "2");
	wait_for(&k, &k.grew, 2);
	assert_int_equal(k.size, 2);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	test_fs_free(t);
}

static void tell_of_name(struct test_fs *t, const char *name)
{
	struct pfs_event ev = {.type = PFS_EVENT_ENTRY, .name = pfs_bytes_str(name)};

	assert_int_equal(pfs_store_root(t->side, &ev.dir), 0);
	pfs_backend_notify(t->backends[0], &ev, 1);
}

/* The kernel says that it does not have the name: its caller has not run since the answer. */
static void a_name_that_changes_while_its_answer_is_under_way_is_taken_back_again(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_entry e;
	struct kernel k;

	(void)state;
	kernel_init(&k, t);
	let_go(&k);
	k.known_after = 2 + 3;
	/* Of these it was told nothing: there is nothing to wait for. */
	tell_of_name(t, "never asked for");
	wait_for(&k, &k.names, 1);
	tell_of_name(t, "nor this");
	wait_for(&k, &k.names, 2);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("absent"), &e), 0);
	assert_null(e.node);
	tell_of_name(t, "absent");
	wait_for(&k, &k.names, 6);
	test_fs_free(t);
	/* In the end it had the name, and that is that. */
	assert_int_equal(k.names, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_size_is_told_when_the_old_pages_are_gone),
		cmocka_unit_test(a_size_is_told_at_once_where_nothing_was_read),
		cmocka_unit_test(own_changes_leave_the_pages_alone),
		cmocka_unit_test(an_open_file_that_grew_elsewhere_is_told_of),
		cmocka_unit_test(a_name_that_changes_while_its_answer_is_under_way_is_taken_back_again),
		cmocka_unit_test(a_file_that_grew_while_it_was_closed_is_told_of_when_it_is_opened),
	};

	return cmocka_run_group_tests_name("fs agreement", tests, NULL, NULL);
}
