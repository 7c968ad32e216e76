/*
 * A set of dirty byte ranges of one file with their bytes: what was written and not yet committed.
 * Ranges stay exact (a byte that was not written is never in the set), so that committing them
 * cannot undo what another writer put beside them. Not thread-safe: the owner locks.
 */
#ifndef PFS_FS_DIRTY_H
#define PFS_FS_DIRTY_H

#include "backends/backend.h"

#define PFS_DIRTY_BLOCK (64u << 10)

/* Zero-initialised is empty. */
struct pfs_dirty {
	struct pfs_dirty_block **buckets;
	size_t nbuckets, nblocks;
	uint64_t bytes; /* memory taken by the blocks, for the mount's limit */
	struct pfs_dirty_block *last; /* the block of the last write */
};

/* All of it or -ENOMEM and nothing. */
int pfs_dirty_write(struct pfs_dirty *d, uint64_t off, const void *p, size_t len);
/* Copy the dirty bytes of [off, off+len) over buf; the others are left alone. */
void pfs_dirty_overlay(const struct pfs_dirty *d, uint64_t off, void *buf, size_t len);
/* Forget the dirty bytes of [off, off+len). */
void pfs_dirty_drop(struct pfs_dirty *d, uint64_t off, uint64_t len);
/*
 * Put the bytes of `older` where d has none. `older` is empty afterwards. -ENOMEM: some may be
 * missing, `older` still has them all.
 */
int pfs_dirty_merge_under(struct pfs_dirty *d, struct pfs_dirty *older);
/*
 * The ranges in order of offset: *out owned (free), pointing into the blocks, with room for one
 * more.
 */
int pfs_dirty_segs(const struct pfs_dirty *d, struct pfs_seg **out, size_t *n);
/* Where the last dirty byte before `below` ends; 0: there is none. */
uint64_t pfs_dirty_end(const struct pfs_dirty *d, uint64_t below);
bool pfs_dirty_empty(const struct pfs_dirty *d);
void pfs_dirty_clear(struct pfs_dirty *d);

#endif
