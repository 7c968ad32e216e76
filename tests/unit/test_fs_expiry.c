/* Tests of keys that expire, as a mount shows them: ttl, user.persistfs.ttl and .expires. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#include "tests/unit/lib_fs.h"

#define TTL	"user.persistfs.ttl"
#define EXPIRES "user.persistfs.expires"

static int set(struct test_fs *t, struct pfs_node *node, const char *name, const char *value)
{
	return pfs_fs_setxattr(t->fs, node, pfs_bytes_str(name), value, strlen(value), 0);
}

/* Seconds, or -errno. */
static double get(struct test_fs *t, struct pfs_node *node, const char *name)
{
	char text[64] = "";
	ssize_t n = pfs_fs_getxattr(t->fs, node, pfs_bytes_str(name), text, sizeof(text) - 1);

	return n < 0 ? (double)n : atof(text);
}

static void nap(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

	nanosleep(&ts, NULL);
}

static bool near(double a, double b)
{
	return a > b - 5 && a < b + 5;
}

static void a_ttl_can_be_set_read_and_removed(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;

	(void)state;
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	assert_int_equal((int)get(t, node, TTL), -ENODATA);
	assert_int_equal((int)get(t, node, EXPIRES), -ENODATA);
	assert_int_equal(set(t, node, TTL, "90"), 0);
	assert_true(near(get(t, node, TTL), 90));
	assert_true(near(get(t, node, EXPIRES), (double)time(NULL) + 90));
	assert_int_equal(set(t, node, TTL, "2h"), 0);
	assert_true(near(get(t, node, TTL), 7200));
	assert_int_equal(set(t, node, EXPIRES, "4102444800"), 0);
	assert_true(near(get(t, node, EXPIRES), 4102444800.0));
	assert_int_equal(set(t, node, EXPIRES, "2100-01-02T00:00:00Z"), 0);
	assert_true(near(get(t, node, EXPIRES), 4102531200.0));
	assert_int_equal(set(t, node, TTL, "0"), 0);
	assert_int_equal((int)get(t, node, TTL), -ENODATA);
	assert_int_equal(pfs_fs_removexattr(t->fs, node, PFS_BYTES(TTL)), -ENODATA);
	assert_int_equal(set(t, node, TTL, "1d"), 0);
	assert_int_equal(pfs_fs_removexattr(t->fs, node, PFS_BYTES(EXPIRES)), 0);
	assert_int_equal((int)get(t, node, TTL), -ENODATA);
	assert_int_equal(set(t, node, TTL, "soon"), -EINVAL);
	assert_int_equal(set(t, node, EXPIRES, "tomorrow"), -EINVAL);
	assert_int_equal(set(t, node, TTL, ""), -EINVAL);
	assert_int_equal(set(t, t->root, TTL, "90"), -EOPNOTSUPP);
	test_fs_free(t);
}

static void what_expired_is_gone_and_shows_nothing(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_open_hints hints;
	struct pfs_node *node;
	struct pfs_file *f;
	struct pfs_entry e;
	char buf[16];

	(void)state;
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	assert_int_equal(set(t, node, TTL, "0.4"), 0);
	assert_int_equal(pfs_fs_lookup(t->fs, t->root, PFS_BYTES("f"), &e), 0);
	assert_true(e.entry_timeout <= 0.4 && e.attr_timeout <= 0.4);
	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, O_RDONLY, &f, &hints), 0);
	assert_true(hints.direct_io);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), 5);
	nap(NSEC_PER_SEC / 2);
	assert_int_equal(pfs_fs_read(t->fs, f, buf, sizeof(buf), 0), -ESTALE);
	assert_int_equal(pfs_fs_getattr(t->fs, node, NULL, &e), -ESTALE);
	assert_int_equal(test_lookup_err(t, t->root, "f"), -ENOENT);
	pfs_fs_release(t->fs, f);
	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, O_RDONLY, &f, &hints), -ESTALE);
	test_put(t, "f", "another");
	test_expect_shown(t, "f", "another");
	test_fs_free(t);
}

static void new_files_of_a_store_with_ttl_expire(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_node *node;
	struct pfs_file *f;
	struct pfs_entry e;

	(void)state;
	t->store.ttl = 100 * NSEC_PER_SEC;
	test_put(t, "f", "value");
	node = test_lookup(t, t->root, "f");
	assert_true(near(get(t, node, TTL), 100));
	assert_int_equal(pfs_fs_mkdir(t->fs, &t->ctx, t->root, PFS_BYTES("d"), 0755, &e), 0);
	assert_int_equal((int)get(t, e.node, TTL), -ENODATA);
	/* ttl_on_write = keep */
	assert_int_equal(set(t, node, TTL, "1000"), 0);
	test_put(t, "f", "other");
	assert_true(near(get(t, node, TTL), 1000));
	/* refresh */
	t->store.ttl_refresh = true;
	f = test_open(t, node, O_WRONLY | O_APPEND);
	test_write(t, f, "more", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_true(near(get(t, node, TTL), 100));
	/* What never expires goes on so. */
	assert_int_equal(set(t, node, TTL, "0"), 0);
	test_write(t, f, "more", 0);
	assert_int_equal(pfs_fs_flush(t->fs, f), 0);
	assert_int_equal((int)get(t, node, TTL), -ENODATA);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ttl_can_be_set_read_and_removed),
		cmocka_unit_test(what_expired_is_gone_and_shows_nothing),
		cmocka_unit_test(new_files_of_a_store_with_ttl_expire),
	};

	return cmocka_run_group_tests_name("fs expiry", tests, NULL, NULL);
}
