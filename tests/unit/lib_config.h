/*
 * What the tests of the configuration share: a temporary directory with an ini in it, engines that
 * offer what those of the build may not, and the comparison of faults.
 */
#ifndef PFS_TESTS_UNIT_LIB_CONFIG_H
#define PFS_TESTS_UNIT_LIB_CONFIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mount/config.h"

/*
 * Engines for tests, by name: "file" (namespaces, an option `path`), "ram" (one namespace, no
 * options), "vault" (kinds kv and sql, namespaces, expiry, secrets).
 */
extern const struct pfs_engine *const cfgtest_engines[];

/* The directory of this test: made by lib_config_setup, removed with all in it by _teardown. */
extern char cfgtest_dir[256];
int lib_config_setup(void **state);
int lib_config_teardown(void **state);

/* "DIR/name", in a static buffer that the next call but three overwrites. */
const char *cfgtest_path(const char *name);
/* Write a file below the directory; directories on the way are made. */
void cfgtest_write(const char *name, const char *text);
void cfgtest_write_bytes(const char *name, const void *p, size_t n);

/* Load DIR/persistfs.ini with the test engines; must succeed. Free with pfs_config_free(). */
struct pfs_config *cfgtest_load(const char *ini);
/* The first store of that name; fails if there is none. */
const struct pfs_store_config *cfgtest_store(const struct pfs_config *config, const char *name);

/*
 * Load `ini` with the test engines: it must be refused with exactly these faults, in order, ended by
 * NULL. In them "F" at the start stands for the path of the ini and "@" for its directory.
 */
void cfgtest_faults_(const char *ini, const char *const *want);
#define cfgtest_faults(ini, ...) cfgtest_faults_(ini, (const char *const[]){__VA_ARGS__, NULL})
/* The same for faults that are there already. */
void cfgtest_same_faults_(const struct pfs_faults *faults, const char *const *want);
#define cfgtest_same_faults(f, ...)                                                                \
	cfgtest_same_faults_(f, (const char *const[]){__VA_ARGS__, NULL})

#endif
