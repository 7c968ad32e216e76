/*
 * Sleeping and waking. The lock is a leaf.
 */
#include "backends/sql/wake.h"

#include <time.h>

void pfs_wake_init(struct pfs_wake *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	w->asked = w->stop = false;
}

void pfs_wake_release(struct pfs_wake *w)
{
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
}

void pfs_wake_up(struct pfs_wake *w)
{
	pthread_mutex_lock(&w->lock);
	w->asked = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

void pfs_wake_stop(struct pfs_wake *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

bool pfs_wake_wait(struct pfs_wake *w, int64_t ns)
{
	int64_t until = pfs_monotonic_ns() + ns;
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	int rc = 0;
	bool go_on;

	pthread_mutex_lock(&w->lock);
	while (!w->asked && !w->stop && rc == 0)
		rc = pthread_cond_timedwait(&w->cond, &w->lock, &ts);
	w->asked = false;
	go_on = !w->stop;
	pthread_mutex_unlock(&w->lock);
	return go_on;
}
