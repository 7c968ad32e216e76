/* See lockset.h. Sets are small: every question is a walk over the items. */
#include "fs/lockset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Setting one range cuts at most one other in two. */
#define ROOM 2

void pfs_lockset_release(struct pfs_lockset *set)
{
	free(set->items);
	*set = (struct pfs_lockset){0};
}

int pfs_lockset_reserve(struct pfs_lockset *set)
{
	size_t cap = set->cap ? set->cap * 2 : 8;
	struct pfs_held *items;

	if (set->n + ROOM <= set->cap)
		return 0;
	items = realloc(set->items, cap * sizeof(*items));
	if (!items)
		return -ENOMEM;
	set->items = items;
	set->cap = cap;
	return 0;
}

static bool overlap(const struct pfs_lock *a, const struct pfs_lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

const struct pfs_held *pfs_lockset_conflict(const struct pfs_lockset *set,
					    const struct pfs_lock *want)
{
	size_t i;

	if (want->mode == PFS_LOCK_NONE)
		return NULL;
	for (i = 0; i < set->n; i++) {
		const struct pfs_lock *has = &set->items[i].lock;

		if (has->owner != want->owner && overlap(has, want) &&
		    (has->mode == PFS_LOCK_EXCLUSIVE || want->mode == PFS_LOCK_EXCLUSIVE))
			return &set->items[i];
	}
	return NULL;
}

static void drop_at(struct pfs_lockset *set, size_t i)
{
	set->items[i] = set->items[--set->n];
}

/* Take [lock->start, lock->end] out of what its owner has. There is room. */
static void carve(struct pfs_lockset *set, const struct pfs_lock *lock)
{
	size_t i = 0;

	while (i < set->n) {
		struct pfs_held *h = &set->items[i], right = *h;

		if (h->lock.owner != lock->owner || !overlap(&h->lock, lock)) {
			i++;
			continue;
		}
		right.lock.start = lock->end + 1;
		if (h->lock.start < lock->start && h->lock.end > lock->end) {
			h->lock.end = lock->start - 1;
			set->items[set->n++] = right;
			return; /* ranges of one owner do not overlap */
		}
		if (h->lock.start < lock->start)
			h->lock.end = lock->start - 1;
		else if (h->lock.end > lock->end)
			*h = right;
		else
			drop_at(set, i--);
		i++;
	}
}

/* Same in everything, and nothing between the two. */
static bool joins(const struct pfs_held *a, const struct pfs_held *b)
{
	const struct pfs_lock *x = &a->lock, *y = &b->lock;

	if (x->owner != y->owner || x->mode != y->mode || a->file != b->file || a->pid != b->pid)
		return false;
	/* The two kinds touch each other, and stay apart. */
	if ((x->start >= PFS_LOCK_FLOCK_AT) != (y->start >= PFS_LOCK_FLOCK_AT))
		return false;
	return (x->end != UINT64_MAX && x->end + 1 == y->start) ||
	       (y->end != UINT64_MAX && y->end + 1 == x->start);
}

static void join(struct pfs_lockset *set, struct pfs_held *added)
{
	size_t i = 0;

	while (i < set->n) {
		struct pfs_held *h = &set->items[i];

		if (!joins(h, added)) {
			i++;
			continue;
		}
		if (h->lock.start < added->lock.start)
			added->lock.start = h->lock.start;
		if (h->lock.end > added->lock.end)
			added->lock.end = h->lock.end;
		drop_at(set, i);
	}
}

int pfs_lockset_set(struct pfs_lockset *set, const struct pfs_lock *lock, uint32_t pid,
		    const void *file)
{
	struct pfs_held added = {.lock = *lock, .pid = pid, .file = file};

	if (pfs_lockset_reserve(set))
		return -ENOMEM;
	carve(set, lock);
	if (lock->mode == PFS_LOCK_NONE)
		return 0;
	join(set, &added);
	set->items[set->n++] = added;
	return 0;
}

void pfs_lockset_drop_file(struct pfs_lockset *set, const void *file)
{
	size_t i = 0;

	while (i < set->n) {
		if (set->items[i].file == file)
			drop_at(set, i);
		else
			i++;
	}
}

bool pfs_lockset_has(const struct pfs_lockset *set, uint64_t owner, uint64_t start, uint64_t end)
{
	size_t i;

	for (i = 0; i < set->n; i++) {
		const struct pfs_lock *l = &set->items[i].lock;

		if (l->owner == owner && l->start <= end && start <= l->end)
			return true;
	}
	return false;
}

/* How strongly byte `at` is locked, and up to where that is so. */
static enum pfs_lock_mode mode_at(const struct pfs_lockset *set, uint64_t at, uint64_t *until)
{
	enum pfs_lock_mode mode = PFS_LOCK_NONE;
	uint64_t end = UINT64_MAX;
	size_t i;

	for (i = 0; i < set->n; i++) {
		const struct pfs_lock *l = &set->items[i].lock;

		if (l->start > at) {
			end = l->start - 1 < end ? l->start - 1 : end;
		} else if (l->end >= at) {
			end = l->end < end ? l->end : end;
			mode = l->mode > mode ? l->mode : mode;
		}
	}
	*until = end;
	return mode;
}

bool pfs_lockset_covers(const struct pfs_lockset *set, const struct pfs_lock *want)
{
	uint64_t at = want->start, until;

	for (;;) {
		if (mode_at(set, at, &until) < want->mode)
			return false;
		if (until >= want->end)
			return true;
		at = until + 1;
	}
}

bool pfs_lockset_excess(const struct pfs_lockset *set, const struct pfs_lockset *needed,
			uint64_t from, struct pfs_lock *out)
{
	uint64_t at = from, until, until2;
	bool found = false;

	for (;;) {
		enum pfs_lock_mode has = mode_at(set, at, &until);
		enum pfs_lock_mode need = mode_at(needed, at, &until2);
		bool excess = has > need;

		until = until2 < until ? until2 : until;
		/* A piece ends where nothing is too much any more, or something else is needed. */
		if (found && (!excess || need != out->mode))
			return true;
		if (excess && !found)
			*out = (struct pfs_lock){.start = at, .mode = need};
		if (excess)
			out->end = until;
		found = excess;
		if (until == UINT64_MAX)
			return found;
		at = until + 1;
	}
}
