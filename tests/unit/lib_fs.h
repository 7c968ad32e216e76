/*
 * A file system over the memory engine (or one that a test wraps around it), driven through fs.h as
 * mount/ would do it. Everything asserts; a failure ends the test.
 */
#ifndef PFS_TESTS_LIB_FS_H
#define PFS_TESTS_LIB_FS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/fs.h"

struct test_fs {
	struct pfs_fs *fs;
	struct pfs_fs_config config;
	struct pfs_store_config store;
	struct pfs_backend *backends[1];
	bool lazy[1];
	struct pfs_option *options;
	struct pfs_option_set set;
	struct pfs_store *side; /* the same namespace, as another program sees it */
	struct pfs_node *root;	/* of the store */
	struct pfs_ctx ctx;
};

/* `wrap` (may be NULL) puts another backend around the one that was made. */
typedef struct pfs_backend *(*test_wrap_fn)(struct pfs_backend *inner);
struct test_fs *test_fs_new(enum pfs_write_mode mode, test_wrap_fn wrap);
void test_fs_free(struct test_fs *t);

struct pfs_node *test_lookup(struct test_fs *t, struct pfs_node *dir, const char *name);
int test_lookup_err(struct test_fs *t, struct pfs_node *dir, const char *name);
struct pfs_file *test_open(struct test_fs *t, struct pfs_node *node, int flags);
struct pfs_file *test_create(struct test_fs *t, const char *name, int flags);
void test_write(struct test_fs *t, struct pfs_file *f, const char *text, off_t off);
/* What this mount shows, and what another program finds in the engine (NULL: no such entry). */
char *test_shown(struct test_fs *t, const char *name);
char *test_stored(struct test_fs *t, const char *name);
void test_expect_shown(struct test_fs *t, const char *name, const char *text);
void test_expect_stored(struct test_fs *t, const char *name, const char *text);
/* open, write, flush, release */
void test_put(struct test_fs *t, const char *name, const char *text);

#endif
