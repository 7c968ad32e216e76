/*
 * The ground of the tests of the SQLite engine alone: a backend on a file of the case's own, with
 * what its watcher was told, and an SQL client beside it.
 */
#ifndef PFS_TESTS_LIB_SQLITE_H
#define PFS_TESTS_LIB_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "tests/contract/lib_contract.h"

#define SQ_EVENTS 4096

struct sq {
	char dir[64], path[128];
	struct pfs_option *table;
	struct pfs_option_set set;
	struct pfs_backend *b;
	struct pfs_store *s; /* namespace "notes" */
	uint64_t root;
	sqlite3 *sql;
	/* What the watcher was told. */
	pthread_mutex_t lock;
	pthread_cond_t told;
	struct {
		enum pfs_event_type type;
		uint64_t dir, id;
		char name[PFS_NAME_MAX + 1];
		int64_t at;
	} events[SQ_EVENTS];
	size_t nevents;
};

/* A fixture that is started; sq_setup_cold() does not start it. */
int sq_setup(void **state);
int sq_setup_cold(void **state);
int sq_teardown(void **state);

/* Start the backend and open "notes"; the message of a failure in msg. */
int sq_start(struct sq *q, struct pfs_msg *msg);
/* A fresh backend with the options as they are now. */
void sq_renew(struct sq *q);
void sq_stop(struct sq *q); /* store, backend and client closed */
void sq_option(struct sq *q, const char *name, const char *text);

/* The SQL client: opened when first used. */
void sq_sql(struct sq *q, const char *sql);
/* The error that `sql` must give contains `want`. */
void sq_sql_fails(struct sq *q, const char *sql, const char *want);
int64_t sq_sql_int(struct sq *q, const char *sql);
/* The first column as bytes: owned by the caller; *len. */
char *sq_sql_bytes(struct sq *q, const char *sql, size_t *len);

/* Wait for an event; how many ns after `since` (monotonic) it came. Fails after 5 s. */
int64_t sq_await(struct sq *q, enum pfs_event_type type, uint64_t dir, uint64_t id,
		 const char *name, int64_t since);
void sq_forget_events(struct sq *q);

/* The attributes of the object at a path from the root: 0 or -errno. */
int sq_path(struct sq *q, const char *path, struct pfs_attr *out);
/* The file at `path` holds exactly these bytes. */
void sq_assert_file(struct sq *q, const char *path, const void *p, size_t len);
uint64_t sq_file(struct sq *q, uint64_t dir, const char *name, const void *p, size_t len);
uint64_t sq_dir(struct sq *q, uint64_t dir, const char *name);
uint64_t sq_id(struct sq *q);
void sq_do(struct sq *q, struct pfs_mutation m);
/* The database is sound: nothing without an owner, usage exact, directories' paths true. */
void sq_assert_sound(struct sq *q);

#endif
