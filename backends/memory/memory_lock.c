/*
 * The memory engine's byte-range locks, as fcntl has them: what an owner asks for takes the place of
 * what it had in that range, ranges split and join, and only other owners conflict. There is one
 * session here, so an owner is a number.
 */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>

void mem_ranges_free(struct mem_object *o)
{
	struct mem_range *r, *next;

	for (r = o->ranges; r; r = next) {
		next = r->next;
		free(r);
	}
	o->ranges = NULL;
}

static bool overlap(const struct pfs_lock *a, const struct pfs_lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

static const struct pfs_lock *find_conflict(const struct mem_object *o, const struct pfs_lock *lock)
{
	const struct mem_range *r;

	if (lock->mode == PFS_LOCK_NONE)
		return NULL;
	for (r = o->ranges; r; r = r->next) {
		if (r->lock.owner != lock->owner && overlap(&r->lock, lock) &&
		    (r->lock.mode == PFS_LOCK_EXCLUSIVE || lock->mode == PFS_LOCK_EXCLUSIVE))
			return &r->lock;
	}
	return NULL;
}

/* Same owner and mode, and nothing between the two. */
static bool joins(const struct pfs_lock *a, const struct pfs_lock *b)
{
	return a->owner == b->owner && a->mode == b->mode &&
	       (overlap(a, b) || (a->end != UINT64_MAX && a->end + 1 == b->start) ||
		(b->end != UINT64_MAX && b->end + 1 == a->start));
}

static void add_range(struct mem_object *o, struct mem_range *r, const struct pfs_lock *lock)
{
	r->lock = *lock;
	r->next = o->ranges;
	o->ranges = r;
}

/*
 * Take [lock->start, lock->end] out of the owner's ranges. What remains of a range on the right, where
 * one is cut in two, goes to *spare.
 */
static void carve(struct mem_object *o, const struct pfs_lock *lock, struct mem_range **spare)
{
	struct mem_range **p = &o->ranges, *r;

	while ((r = *p)) {
		struct pfs_lock right = r->lock;

		if (r->lock.owner != lock->owner || !overlap(&r->lock, lock)) {
			p = &r->next;
			continue;
		}
		if (r->lock.start < lock->start && r->lock.end > lock->end) {
			r->lock.end = lock->start - 1;
			right.start = lock->end + 1;
			add_range(o, *spare, &right);
			*spare = NULL;
			return; /* ranges of one owner do not overlap */
		}
		if (r->lock.start < lock->start) {
			r->lock.end = lock->start - 1;
			p = &r->next;
		} else if (r->lock.end > lock->end) {
			r->lock.start = lock->end + 1;
			p = &r->next;
		} else {
			*p = r->next;
			free(r);
		}
	}
}

static void join_and_add(struct mem_object *o, struct mem_range *added, const struct pfs_lock *lock)
{
	struct mem_range **p = &o->ranges, *r;
	struct pfs_lock whole = *lock;

	while ((r = *p)) {
		if (!joins(&r->lock, &whole)) {
			p = &r->next;
			continue;
		}
		if (r->lock.start < whole.start)
			whole.start = r->lock.start;
		if (r->lock.end > whole.end)
			whole.end = r->lock.end;
		*p = r->next;
		free(r);
	}
	add_range(o, added, &whole);
}

int mem_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
	     struct pfs_lock *conflict)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_range *added = malloc(sizeof(*added));
	struct mem_range *spare = malloc(sizeof(*spare));
	const struct pfs_lock *other;
	struct mem_object *o;
	int err = -ENOMEM;

	if (!added || !spare)
		goto out;
	mem_expire(mb);
	pthread_rwlock_wrlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	other = o ? find_conflict(o, lock) : NULL;
	if (!o) {
		err = -ENOENT;
	} else if (other) {
		*conflict = *other;
		err = -EAGAIN;
	} else {
		carve(o, lock, &spare);
		if (lock->mode != PFS_LOCK_NONE) {
			join_and_add(o, added, lock);
			added = NULL;
		}
		err = 0;
	}
	pthread_rwlock_unlock(&mb->lock);
out:
	free(added);
	free(spare);
	return err;
}
