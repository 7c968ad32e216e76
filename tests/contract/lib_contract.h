/*
 * The contract suite's ground: the table of engines, a fixture that opens one of them for a case,
 * and short words for mutations. A case runs unchanged over every engine; what an engine lacks is
 * told by the capabilities that a case needs.
 *
 * Every helper asserts what it does not return. c_do() also holds every mutation to the promise that
 * its result is what a fresh getattr says.
 */
#ifndef PFS_TESTS_LIB_CONTRACT_H
#define PFS_TESTS_LIB_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backends/backend.h"

struct contract;

struct contract_engine {
	const char *name;   /* as the registry has it */
	bool file;	    /* option `path` is a file of the case's own directory */
	bool shared;	    /* two backends on the same data see each other */
	const char *server; /* the variable that says where the server is; NULL: needs none */
	/* Set the options for a place of the case's own on the server, and remove what is there. */
	void (*prepare)(struct contract *c);
	void (*remove)(struct contract *c);
};
/* Ended by name NULL: an engine joins the suite by one row. */
extern const struct contract_engine contract_engines[];

/* What a case needs beside capability bits. */
#define NEEDS_SHARED (1u << 31)

struct contract_case {
	const char *name; /* a sentence */
	void (*fn)(void **state);
	uint32_t needs; /* enum pfs_capability bits and NEEDS_SHARED */
};
#define CASE(fn)                                                                                   \
	{                                                                                          \
#fn, fn, 0                                                                         \
	}
#define CASE_NEEDS(fn, needs)                                                                      \
	{                                                                                          \
#fn, fn, needs                                                                     \
	}

/* The lists of cases, one per file lib_cases_*.c, each ended by name NULL. */
extern const struct contract_case contract_tree_cases[];
extern const struct contract_case contract_rename_cases[];
extern const struct contract_case contract_content_cases[];
extern const struct contract_case contract_batch_cases[];
extern const struct contract_case contract_list_cases[];
extern const struct contract_case contract_lock_cases[];
extern const struct contract_case contract_expiry_cases[];
extern const struct contract_case contract_many_cases[];
extern const struct contract_case contract_fault_cases[];
extern const struct contract_case contract_model_cases[];

struct contract {
	const struct contract_engine *engine;
	char dir[256];	/* of the case's own; removed afterwards */
	char place[64]; /* the same on a server: a schema, a number */
	struct pfs_option *table;
	struct pfs_option_set set;
	struct pfs_backend *b;
	struct pfs_store *s; /* namespace "test" */
	uint64_t root;
	uint64_t next_id, last_id;
};

int contract_setup(void **state); /* *state: const struct contract_engine * -> struct contract * */
int contract_teardown(void **state); /* checks the store as the engine can */

/* Set an option, or fail. */
void c_option(struct contract *c, const char *name, const char *value);
/* Another backend on the same data, started; free with pfs_backend_free(). */
struct pfs_backend *c_backend(struct contract *c, pfs_watch_fn watch, void *arg);
/* Close everything and open it again. */
void c_reopen(struct contract *c);
bool c_has(const struct contract *c, uint32_t capabilities);

/* ---- mutations ------------------------------------------------------------------------------ */

uint64_t c_id(struct contract *c); /* a fresh id */
/* `name` and data are borrowed until the commit. */
struct pfs_mutation m_create(uint64_t id, uint64_t dir, const char *name, uint32_t mode);
struct pfs_mutation m_content(enum pfs_op op, uint64_t id, const struct pfs_seg *segs,
			      size_t nsegs);
struct pfs_mutation m_size(enum pfs_op op, uint64_t id, uint64_t size);
struct pfs_mutation m_punch(uint64_t id, uint64_t off, uint64_t len);
struct pfs_mutation m_copy(uint64_t from, uint64_t off, uint64_t len, uint64_t to, uint64_t off2);
struct pfs_mutation m_remove(uint64_t dir, const char *name, uint32_t flags);
struct pfs_mutation m_rename(uint64_t dir, const char *name, uint64_t dir2, const char *name2,
			     uint32_t flags);
struct pfs_mutation m_link(uint64_t id, uint64_t dir, const char *name);
struct pfs_mutation m_setattr(uint64_t id, uint32_t mask, uint32_t mode);
struct pfs_mutation m_setxattr(uint64_t id, const char *name, const struct pfs_seg *value,
			       uint32_t flags);
struct pfs_mutation m_removexattr(uint64_t id, const char *name);

/* Commit `n` mutations as one batch. *failed (may be NULL): which one failed. */
int s_batch(struct pfs_store *s, struct pfs_mutation *m, size_t n, size_t *failed);
int c_try(struct contract *c, struct pfs_mutation m);
void c_do(struct contract *c, struct pfs_mutation *m);
#define c_fails(c, m, err) assert_int_equal(c_try(c, m), err)

/* ---- whole steps ---------------------------------------------------------------------------- */

uint64_t c_file(struct contract *c, uint64_t dir, const char *name, const char *text);
uint64_t c_dir(struct contract *c, uint64_t dir, const char *name);
uint64_t c_symlink(struct contract *c, uint64_t dir, const char *name, const char *target);
void c_remove(struct contract *c, uint64_t dir, const char *name);
void c_write(struct contract *c, uint64_t id, uint64_t off, const void *p, size_t len);
void c_rename(struct contract *c, uint64_t dir, const char *name, uint64_t dir2, const char *name2,
	      uint32_t flags);

int s_lookup(struct pfs_store *s, uint64_t dir, const char *name, struct pfs_attr *out);
uint64_t c_lookup(struct contract *c, uint64_t dir, const char *name); /* 0: -ENOENT */
struct pfs_attr c_attr(struct contract *c, uint64_t id);
/* The file's content is exactly this text. */
void c_assert_text(struct contract *c, uint64_t id, const char *text);
void s_assert_text(struct pfs_store *s, uint64_t id, const char *text);
void c_assert_attr_equal(const struct pfs_attr *a, const struct pfs_attr *b);

/*
 * The whole store as text: names, attributes, contents, xattrs, in order of listing, and its usage.
 * Two dumps are equal when nothing that a client can see has changed. free().
 */
char *c_dump(struct contract *c);
/* The dump is still `before` (consumed). */
void c_assert_unchanged(struct contract *c, char *before);
/* Wait until what nobody can reach has gone: usage is what a walk of the tree counts. */
void c_assert_usage_exact(struct contract *c);

/* ---- chance --------------------------------------------------------------------------------- */

/* PERSISTFS_SEED or `fallback`, printed, so that a failure can be run again. */
uint64_t c_seed(const char *what, uint64_t fallback);
uint64_t c_random(uint64_t *state);
uint64_t c_below(uint64_t *state, uint64_t n);
void c_fill(uint64_t *state, void *p, size_t n); /* bytes, never 0 */

/* ---- threads -------------------------------------------------------------------------------- */

/*
 * Run fn(arg, i) in n threads that start together, and wait for all. cmocka's asserts are for the
 * main thread: fn returns NULL or, in words, what went wrong.
 */
void c_threads(unsigned n, const char *(*fn)(void *arg, unsigned i), void *arg);

#endif
