/*
 * How an engine's own thread sleeps until something is to do.
 */
#ifndef PFS_BACKENDS_SQL_WAKE_H
#define PFS_BACKENDS_SQL_WAKE_H

#include <pthread.h>

#include "backends/base.h"

struct pfs_wake {
	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC */
	bool asked, stop;
};

void pfs_wake_init(struct pfs_wake *w);
void pfs_wake_release(struct pfs_wake *w);
/* Something is to do. */
void pfs_wake_up(struct pfs_wake *w);
/* The thread is to end. */
void pfs_wake_stop(struct pfs_wake *w);
/* Sleep at most `ns`; false: the thread is to end. */
bool pfs_wake_wait(struct pfs_wake *w, int64_t ns);

#endif
