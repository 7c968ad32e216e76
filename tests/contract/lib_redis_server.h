/*
 * A Redis server of a test program's own, for what would disturb others: it is killed, stopped, made a
 * replica, kept short of memory. And a backend on it, with an observer of its events.
 */
#ifndef PFS_TESTS_LIB_REDIS_SERVER_H
#define PFS_TESTS_LIB_REDIS_SERVER_H

#include <pthread.h>

#include "tests/contract/lib_redis.h"

#define RS_EVENTS 8192

/* One case: a server (appendonly yes, appendfsync always), a backend, a store "test". */
struct rs {
	char dir[200], socket[256];
	int pid; /* of the server; 0: not running */
	redisContext *cli;
	struct pfs_option *table;
	struct pfs_option_set set;
	struct pfs_backend *b;
	struct pfs_store *s;
	uint64_t root;
	pthread_mutex_t lock; /* guards the events */
	pthread_cond_t cond;
	size_t nevents;
	struct {
		struct pfs_event event;
		char name[64];
	} events[RS_EVENTS];
};

int rs_setup(void **state);
int rs_teardown(void **state);

void rs_server_start(struct rs *r, bool appendonly);
void rs_server_kill(struct rs *r);
void rs_connect_cli(struct rs *r);

void rs_option(struct rs *r, const char *name, const char *value);
/* A new backend, not started. */
struct pfs_backend *rs_new(struct rs *r);
/* Start r->b and open r->s, or the other two. */
void rs_start(struct rs *r);
void rs_stop(struct rs *r);
struct pfs_backend *rs_second(struct rs *r, struct pfs_store **s);

uint64_t rs_id(struct rs *r);
/* A file with this text; its id. */
uint64_t rs_file(struct rs *r, uint64_t dir, const char *name, const char *text);
uint64_t rs_dir(struct rs *r, uint64_t dir, const char *name);
int rs_do(struct rs *r, struct pfs_mutation m);
/* Look up a path from the root: 0 or -errno. */
int rs_walk(struct pfs_store *s, const char *path, struct pfs_attr *out);
/* The same, for 5 s at most until it is `want`; how long did it take, in ms? */
int64_t rs_walk_until(struct pfs_store *s, const char *path, int want, struct pfs_attr *out);

size_t rs_events(struct rs *r);
/* Wait for an event after `from`, 10 s at most; how long did it take, in ms? Fails if none comes. */
int64_t rs_wait_event(struct rs *r, size_t from, enum pfs_event_type type, uint64_t id,
		      const char *name);
/* Wait until pushing is `pushing`, 30 s at most. */
void rs_wait_pushing(struct pfs_backend *b, bool pushing);

#endif
