/*
 * Group commit: concurrent submissions to one queue are merged. Whoever finds no leader leads: it
 * takes what is queued, runs it in one go and completes each. A single client so pays no thread
 * hand-off, and nobody waits for a timer.
 */
#ifndef PFS_BACKENDS_COMMIT_H
#define PFS_BACKENDS_COMMIT_H

#include <pthread.h>

#include "backends/base.h"

/* One submission; lives in the submitter's frame until pfs_commit_submit() returns. */
struct pfs_commit_item {
	void *work;  /* the submitter's */
	size_t cost; /* of any unit: a group is closed when it reaches the queue's max_cost */
	int err;     /* set by run */
	/* Private: */
	struct pfs_commit_item *next;
	pthread_cond_t cond;
	bool done, lead;
};

/* Run a group: set err of every item. Called by one thread at a time. */
typedef void (*pfs_commit_run_fn)(void *arg, struct pfs_commit_item **items, size_t n);

#define PFS_COMMIT_GROUP_MAX 128

struct pfs_commit {
	pthread_mutex_t lock; /* guards all below */
	struct pfs_commit_item *head, **tail;
	bool leading;
	pfs_commit_run_fn run;
	void *arg;
	size_t max_cost;
};

int pfs_commit_init(struct pfs_commit *q, pfs_commit_run_fn run, void *arg, size_t max_cost);
void pfs_commit_release(struct pfs_commit *q);
/* Blocks until `item` has been run; returns its err. work and cost are set by the caller. */
int pfs_commit_submit(struct pfs_commit *q, struct pfs_commit_item *item);

#endif
