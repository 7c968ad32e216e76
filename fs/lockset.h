/*
 * Byte ranges that owners have locked in one file, with fcntl's rules: what an owner asks for takes
 * the place of what it had in that range, ranges split and join, and only other owners conflict.
 *
 * Nothing here locks or blocks.
 */
#ifndef PFS_FS_LOCKSET_H
#define PFS_FS_LOCKSET_H

#include "fs/fs.h"

/* What an owner has. */
struct pfs_held {
	struct pfs_lock lock;
	uint32_t pid;
	const void *file; /* stands for the open file it was taken through; compared only */
};

struct pfs_lockset {
	struct pfs_held *items;
	size_t n, cap;
};

void pfs_lockset_release(struct pfs_lockset *set);
/* Make room, so that the next pfs_lockset_set() cannot fail. 0 or -ENOMEM. */
int pfs_lockset_reserve(struct pfs_lockset *set);
/* The first lock of another owner that is in the way of `want`; NULL: none. */
const struct pfs_held *pfs_lockset_conflict(const struct pfs_lockset *set,
					    const struct pfs_lock *want);
/* Take, change or (PFS_LOCK_NONE) drop. 0, or -ENOMEM with nothing changed. */
int pfs_lockset_set(struct pfs_lockset *set, const struct pfs_lock *lock, uint32_t pid,
		    const void *file);
/* Drop what was taken through `file`, by whomever. */
void pfs_lockset_drop_file(struct pfs_lockset *set, const void *file);
/* Does the owner have anything in [start, end]? */
bool pfs_lockset_has(const struct pfs_lockset *set, uint64_t owner, uint64_t start, uint64_t end);
/* Is every byte of `want` locked, by anybody, at least as strongly as it asks? */
bool pfs_lockset_covers(const struct pfs_lockset *set, const struct pfs_lock *want);
/*
 * The first piece at or behind `from` that `set` has locked more strongly than `needed` has; its
 * mode is the one that `needed` has there. False: there is none.
 */
bool pfs_lockset_excess(const struct pfs_lockset *set, const struct pfs_lockset *needed,
			uint64_t from, struct pfs_lock *out);

#endif
