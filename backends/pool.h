/*
 * A pool of connections to one engine, shared by all its stores: `size` are kept, `overflow` more
 * may be open for a while, and a caller waits for one at most until its deadline. Connections are
 * opened when first needed and handed out last in, first out. While the engine cannot be reached
 * callers fail at once, except one at a time, which tries again after a growing, jittered delay.
 */
#ifndef PFS_BACKENDS_POOL_H
#define PFS_BACKENDS_POOL_H

#include <pthread.h>

#include "backends/backend.h"

struct pfs_pool_ops {
	/* 0 and *out owned, or -errno. May block; called with no lock held. */
	int (*open)(void *arg, void **out);
	void (*close)(void *arg, void *conn);
};

struct pfs_pool {
	const struct pfs_pool_ops *ops;
	void *arg;
	unsigned size, overflow;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t freed;
	void **idle; /* a stack */
	unsigned nidle, nopen, nwaiting;
	uint64_t opened, errors, waits;
	int64_t retry_at, delay; /* monotonic ns; 0: reachable */
	bool probing;
};

int pfs_pool_init(struct pfs_pool *p, const struct pfs_pool_ops *ops, void *arg, unsigned size,
		  unsigned overflow);
/* Every connection must have been given back. */
void pfs_pool_release(struct pfs_pool *p);
/*
 * deadline: monotonic ns. *out must be given back with pfs_pool_put(). -EBUSY: none came free in
 * time; -EHOSTDOWN: known to be unreachable; or what open() said.
 */
int pfs_pool_get(struct pfs_pool *p, int64_t deadline, void **out);
/* broken: close it, the next caller opens another. */
void pfs_pool_put(struct pfs_pool *p, void *conn, bool broken);
/* Close what is idle. */
void pfs_pool_drain(struct pfs_pool *p);
/* Adds to *out. */
void pfs_pool_counts(struct pfs_pool *p, struct pfs_connections *out);

#endif
