/*
 * A pool of connections to one engine, shared by all its stores: up to `size` are kept when idle,
 * `overflow` more may be open under load, and a caller waits for one at most until its deadline.
 * Connections are opened when first needed and handed out last in, first out. One beyond `size` is
 * opened when none came back for a moment, and closed when it was not needed for two seconds.
 *
 * While the engine cannot be reached one caller at a time (or pfs_pool_probe()) tries again, after a
 * growing, jittered delay of at most a second. The others wait for its success until the engine has
 * been down for `grace`; from then on they fail at once and only pfs_pool_probe() tries, since a try
 * may block for long. (With a grace of 0 nobody waits, and a caller for whom a try is due makes it.)
 */
#ifndef PFS_BACKENDS_POOL_H
#define PFS_BACKENDS_POOL_H

#include <pthread.h>

#include "backends/backend.h"

#define PFS_POOL_MAX 128 /* size + overflow */

struct pfs_pool_ops {
	/*
	 * 0 and *out owned, or -errno: -EHOSTDOWN where the engine could not be reached (also: is
	 * starting, has no connection to spare). May block; called with no lock held, by several
	 * threads at once.
	 */
	int (*open)(void *arg, void **out);
	void (*close)(void *arg, void *conn);
};

/* An open connection, and how many times the engine had been lost when it was opened. */
struct pfs_pool_conn {
	void *conn;
	uint64_t generation;
};

struct pfs_pool {
	const struct pfs_pool_ops *ops;
	void *arg;
	unsigned size, overflow;
	int64_t grace;		    /* ns */
	pthread_mutex_t lock;	    /* guards all below */
	pthread_cond_t changed;	    /* something came free, or the engine's state changed */
	struct pfs_pool_conn *idle; /* a stack */
	struct pfs_pool_conn *busy; /* in no order */
	unsigned nidle, nbusy;
	unsigned nopen;	   /* idle, busy and being opened */
	unsigned nwaiting; /* threads in pfs_pool_get() */
	unsigned low;	   /* the fewest that were idle since low_since (monotonic ns) */
	int64_t low_since;
	uint64_t generation;
	uint64_t opened, errors, waits;
	int64_t retry_at;   /* monotonic ns: no try before; 0: no trouble */
	int64_t delay;	    /* the last one */
	int64_t down_since; /* monotonic ns; 0: it can be reached */
	int why;	    /* what the last try said since the trouble began; 0: none was made */
	bool trying;	    /* somebody does */
};

/* grace: in ns. -EINVAL: more than PFS_POOL_MAX connections, or none. */
int pfs_pool_init(struct pfs_pool *p, const struct pfs_pool_ops *ops, void *arg, unsigned size,
		  unsigned overflow, int64_t grace);
/* Every connection must have been given back. */
void pfs_pool_release(struct pfs_pool *p);
/*
 * deadline: monotonic ns; one that has passed does not keep the caller from one try that is due.
 * *out must be given back with pfs_pool_put(). -EBUSY: it can be reached, but none came free in
 * time. -EHOSTDOWN: it could not be reached in time, or is known to be down for longer than
 * `grace`. Other errors of open() are returned as they are, and until the next try is due to
 * everybody who finds no connection.
 */
int pfs_pool_get(struct pfs_pool *p, int64_t deadline, void **out);
/*
 * broken: close it, and all others that were opened before it was found broken: idle ones now, busy
 * ones when they come back. NULL: nothing happens.
 */
void pfs_pool_put(struct pfs_pool *p, void *conn, bool broken);
/*
 * From time to time, by the engine's own thread: try to reach the engine if it is down and a try is
 * due, which blocks as long as open() does; else close what was not needed lately.
 */
void pfs_pool_probe(struct pfs_pool *p);
/* From the moment a connection is found broken until one was opened. Does not block. */
bool pfs_pool_down(struct pfs_pool *p);
/* Close what is idle now, and what is busy when it comes back. */
void pfs_pool_drain(struct pfs_pool *p);
/* Adds to *out. */
void pfs_pool_counts(struct pfs_pool *p, struct pfs_connections *out);

#endif
