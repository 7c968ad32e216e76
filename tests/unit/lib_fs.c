/* See lib_fs.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/lib_fs.h"

struct test_fs *test_fs_new(enum pfs_write_mode mode, test_wrap_fn wrap)
{
	const struct pfs_engine *engine = pfs_engine_find("memory");
	struct test_fs *t = calloc(1, sizeof(*t));
	struct pfs_entry e;
	struct pfs_msg msg = {""};
	size_t failed;

	assert_non_null(engine);
	t->options = pfs_engine_options(engine);
	assert_int_equal(pfs_option_set_init(&t->set, t->options), 0);
	assert_int_equal(pfs_option_set_text(&t->set, "type", "memory", &msg), 0);
	assert_int_equal(pfs_backend_new("m", engine, &t->set, &t->backends[0], &msg), 0);
	if (wrap)
		t->backends[0] = wrap(t->backends[0]);
	t->store = (struct pfs_store_config){
		.name = "s", .backend = t->backends[0], .backend_name = "m", .ns = "s",
		.create = true, .write_mode = mode, .max_write_queue_size = 100,
		.queue_delay = 5 * 1000000, .commit_interval = NSEC_PER_SEC,
		.retry_timeout = 30 * NSEC_PER_SEC, .attr_timeout = NSEC_PER_SEC,
	};
	t->config = (struct pfs_fs_config){.stores = &t->store, .nstores = 1,
		.backends = t->backends, .lazy = t->lazy, .nbackends = 1,
		.dirty_limit = 64 << 20, .config_text = ""};
	assert_int_equal(pfs_fs_new(&t->config, &t->fs, &msg), 0);
	assert_int_equal(pfs_fs_start(t->fs, &failed, &msg), 0);
	assert_int_equal(pfs_backend_open(t->backends[0], "s", false, &t->side, &msg), 0);
	assert_int_equal(pfs_fs_lookup(t->fs, pfs_fs_root(t->fs), PFS_BYTES("s"), &e), 0);
	t->root = e.node;
	return t;
}

void test_fs_free(struct test_fs *t)
{
	struct pfs_msg msg;

	assert_int_equal(pfs_fs_drain(t->fs, &msg), 0);
	pfs_fs_free(t->fs);
	pfs_store_free(t->side);
	pfs_backend_free(t->backends[0]);
	pfs_option_set_release(&t->set);
	free(t->options);
	free(t);
}

int test_lookup_err(struct test_fs *t, struct pfs_node *dir, const char *name)
{
	struct pfs_entry e;
	int err = pfs_fs_lookup(t->fs, dir, pfs_bytes_str(name), &e);

	if (err)
		return err;
	if (!e.node)
		return -ENOENT;
	pfs_fs_forget(t->fs, e.node, 1);
	return 0;
}

struct pfs_node *test_lookup(struct test_fs *t, struct pfs_node *dir, const char *name)
{
	struct pfs_entry e;

	assert_int_equal(pfs_fs_lookup(t->fs, dir, pfs_bytes_str(name), &e), 0);
	assert_non_null(e.node);
	return e.node;
}

struct pfs_file *test_open(struct test_fs *t, struct pfs_node *node, int flags)
{
	struct pfs_open_hints hints;
	struct pfs_file *f;

	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, flags, &f, &hints), 0);
	return f;
}

struct pfs_file *test_create(struct test_fs *t, const char *name, int flags)
{
	struct pfs_open_hints hints;
	struct pfs_entry e;
	struct pfs_file *f;

	assert_int_equal(pfs_fs_create(t->fs, &t->ctx, t->root, pfs_bytes_str(name), 0644,
				       flags | O_CREAT, &e, &f, &hints), 0);
	return f;
}

void test_write(struct test_fs *t, struct pfs_file *f, const char *text, off_t off)
{
	size_t n = strlen(text);

	assert_int_equal(pfs_fs_write(t->fs, &t->ctx, f, text, n, off, false), n);
}

char *test_shown(struct test_fs *t, const char *name)
{
	struct pfs_node *node = test_lookup(t, t->root, name);
	struct pfs_file *f = test_open(t, node, O_RDONLY);
	struct pfs_entry e;
	char *buf = calloc(1, 1 << 20);
	ssize_t n = pfs_fs_read(t->fs, f, buf, (1 << 20) - 1, 0);

	assert_true(n >= 0);
	assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), 0);
	assert_int_equal(e.st.st_size, n);
	pfs_fs_release(t->fs, f);
	pfs_fs_forget(t->fs, node, 1);
	return buf;
}

char *test_stored(struct test_fs *t, const char *name)
{
	struct pfs_attr attr;
	uint64_t root;
	char *buf;
	ssize_t n;

	assert_int_equal(pfs_store_root(t->side, &root), 0);
	if (pfs_store_lookup(t->side, root, pfs_bytes_str(name), &attr))
		return NULL;
	buf = calloc(1, attr.size + 1);
	n = pfs_store_read(t->side, attr.id, 0, buf, attr.size);
	assert_int_equal(n, attr.size);
	return buf;
}

void test_expect_shown(struct test_fs *t, const char *name, const char *text)
{
	char *got = test_shown(t, name);

	assert_string_equal(got, text);
	free(got);
}

void test_expect_stored(struct test_fs *t, const char *name, const char *text)
{
	char *got = test_stored(t, name);

	if (!text) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, text);
	free(got);
}

void test_put(struct test_fs *t, const char *name, const char *text)
{
	struct pfs_file *f = test_create(t, name, O_WRONLY | O_TRUNC);

	test_write(t, f, text, 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	pfs_fs_release(t->fs, f);
}
