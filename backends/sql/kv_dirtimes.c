/*
 * The times of directories whose entries changed. Writing them with every change would dirty one
 * more page of the database each time; so, while this session is alone, they are kept in memory, laid
 * over what rows say, and written down together: by the engine's housekeeping a few times a second,
 * by sync, before another session is let in and at the end. A crash loses the times of the last
 * moment and nothing else.
 *
 * Laying over is idempotent (a row that has the time already is left alone), and what was written
 * stays here for one more round, for readers that read the row before. Changes come with the writing
 * connection held; kv->lock guards the list against readers.
 */
#include <errno.h>
#include <stdlib.h>

#include "backends/sql/kv.h"

#define DIRTIMES_MAX 256

/* Forget what rows have had since the last round. */
static void drop_written(struct pfs_kv *kv)
{
	size_t i, kept = 0;

	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < kv->ndirtimes; i++)
		if (!kv->dirtimes[i].written)
			kv->dirtimes[kept++] = kv->dirtimes[i];
	__atomic_store_n(&kv->ndirtimes, kept, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&kv->lock);
}

bool pfs_kv_dirtimes_reserve(struct pfs_kv *kv, size_t n)
{
	struct pfs_kv_dirtime *list;
	bool ok = true;

	if (kv->ndirtimes + n > DIRTIMES_MAX)
		drop_written(kv);
	pthread_mutex_lock(&kv->lock);
	if (kv->ndirtimes + n > DIRTIMES_MAX) {
		ok = false;
	} else if (!kv->dirtimes) {
		list = calloc(DIRTIMES_MAX, sizeof(*list));
		kv->dirtimes = list;
		ok = list != NULL;
	}
	pthread_mutex_unlock(&kv->lock);
	return ok;
}

static struct pfs_kv_dirtime *find(const struct pfs_kv *kv, uint64_t dir)
{
	size_t i;

	for (i = kv->ndirtimes; i > 0; i--)
		if (kv->dirtimes[i - 1].dir == dir)
			return &kv->dirtimes[i - 1];
	return NULL;
}

void pfs_kv_dirtimes_add(struct pfs_kv *kv, uint64_t dir, int64_t now)
{
	struct pfs_kv_dirtime *d;

	pthread_mutex_lock(&kv->lock);
	d = find(kv, dir);
	if (!d) {
		d = &kv->dirtimes[kv->ndirtimes];
		*d = (struct pfs_kv_dirtime){.dir = dir, .written = true};
		__atomic_store_n(&kv->ndirtimes, kv->ndirtimes + 1, __ATOMIC_RELEASE);
	}
	if (now > d->now)
		d->now = now;
	d->count = d->written ? 1 : d->count + 1;
	d->written = false;
	pthread_mutex_unlock(&kv->lock);
}

void pfs_kv_dirtimes_drop(struct pfs_kv *kv, uint64_t dir)
{
	struct pfs_kv_dirtime *d;

	if (__atomic_load_n(&kv->ndirtimes, __ATOMIC_ACQUIRE) == 0)
		return;
	pthread_mutex_lock(&kv->lock);
	d = find(kv, dir);
	if (d) {
		*d = kv->dirtimes[kv->ndirtimes - 1];
		__atomic_store_n(&kv->ndirtimes, kv->ndirtimes - 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&kv->lock);
}

void pfs_kv_dirtimes_lay(struct pfs_kv *kv, struct pfs_attr *a)
{
	const struct pfs_kv_dirtime *d;

	if (!S_ISDIR(a->mode) || __atomic_load_n(&kv->ndirtimes, __ATOMIC_ACQUIRE) == 0)
		return;
	pthread_mutex_lock(&kv->lock);
	d = find(kv, a->id);
	if (d && d->now > a->ctime) {
		a->mtime = a->ctime = d->now;
		a->version += d->count;
	}
	pthread_mutex_unlock(&kv->lock);
}

bool pfs_kv_dirtimes_waiting(struct pfs_kv *kv)
{
	bool waiting = false;
	size_t i;

	if (__atomic_load_n(&kv->ndirtimes, __ATOMIC_ACQUIRE) == 0)
		return false;
	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < kv->ndirtimes && !waiting; i++)
		waiting = !kv->dirtimes[i].written;
	pthread_mutex_unlock(&kv->lock);
	return waiting;
}

int pfs_kv_dirtimes_flush(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	int64_t ret = 0;
	size_t i;

	/* Only holders of the writing connection change the list: reading it needs no lock. */
	for (i = 0; i < kv->ndirtimes && ret >= 0; i++) {
		const struct pfs_kv_dirtime *d = &kv->dirtimes[i];

		if (d->written)
			continue;
		ret = pfs_sql_write(c, KV_DIR_TOUCH, "iii", (int64_t)d->dir, d->now,
				    (int64_t)d->count);
		if (ret >= 0 && kv->shared)
			ret = pfs_kv_change_add(kv, c, KV_CHANGE_ATTR, 0, d->dir, PFS_BYTES(""));
	}
	return ret < 0 ? (int)ret : 0;
}

void pfs_kv_dirtimes_flushed(struct pfs_kv *kv)
{
	size_t i;

	drop_written(kv);
	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < kv->ndirtimes; i++)
		kv->dirtimes[i].written = true;
	pthread_mutex_unlock(&kv->lock);
}
