/*
 * The queue of group commit. The lock guards the queue alone and is never held while a group runs;
 * items are run in the order of their submission.
 */
#include "backends/commit.h"

#include <errno.h>

int pfs_commit_init(struct pfs_commit *q, pfs_commit_run_fn run, void *arg, size_t max_cost)
{
	*q = (struct pfs_commit){.run = run, .arg = arg, .max_cost = max_cost};
	q->tail = &q->head;
	return -pthread_mutex_init(&q->lock, NULL);
}

void pfs_commit_release(struct pfs_commit *q)
{
	pthread_mutex_destroy(&q->lock);
}

/* Take from the queue what fits one group, at least one item. */
static size_t commit_take(struct pfs_commit *q, struct pfs_commit_item **group)
{
	size_t n = 0, cost = 0;

	while (q->head && n < PFS_COMMIT_GROUP_MAX) {
		struct pfs_commit_item *item = q->head;

		if (n > 0 && cost + item->cost > q->max_cost)
			break;
		cost += item->cost;
		group[n++] = item;
		q->head = item->next;
	}
	if (!q->head)
		q->tail = &q->head;
	return n;
}

/* Lead one group, which holds the leader's own item, then pass the lead on. */
static void commit_lead(struct pfs_commit *q, struct pfs_commit_item *own)
{
	struct pfs_commit_item *group[PFS_COMMIT_GROUP_MAX];
	size_t n, i;

	n = commit_take(q, group);
	pthread_mutex_unlock(&q->lock);
	q->run(q->arg, group, n);
	pthread_mutex_lock(&q->lock);
	for (i = 0; i < n; i++) {
		group[i]->done = true;
		if (group[i] != own)
			pthread_cond_signal(&group[i]->cond);
	}
	if (q->head) {
		q->head->lead = true;
		pthread_cond_signal(&q->head->cond);
	} else {
		q->leading = false;
	}
}

int pfs_commit_submit(struct pfs_commit *q, struct pfs_commit_item *item)
{
	item->next = NULL;
	item->done = false;
	item->lead = false;
	item->err = 0;
	pthread_mutex_lock(&q->lock);
	*q->tail = item;
	q->tail = &item->next;
	if (!q->leading) {
		q->leading = true;
		item->lead = true;
	} else {
		pthread_cond_init(&item->cond, NULL);
		while (!item->done && !item->lead)
			pthread_cond_wait(&item->cond, &q->lock);
		pthread_cond_destroy(&item->cond);
	}
	if (!item->done)
		commit_lead(q, item);
	pthread_mutex_unlock(&q->lock);
	return item->err;
}
