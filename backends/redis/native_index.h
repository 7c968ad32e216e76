/*
 * A sorted set of byte strings with a type each: the keys of a database, or directories that are
 * nobody's yet. Built for a million keys in little memory: entries stand packed in blocks of some KiB.
 *
 * Strings are compared as memcmp does, the shorter first. Callers keep keys in *sorting form*, in which
 * the separator is the byte 0 and other bytes 0 and 1 are escaped (native_sort_form), so that what is
 * below a directory stands together, behind the key of its name.
 *
 * Not thread-safe: the caller has a lock.
 */
#ifndef PFS_BACKENDS_REDIS_NATIVE_INDEX_H
#define PFS_BACKENDS_REDIS_NATIVE_INDEX_H

#include "backends/base.h"

struct native_block;

struct native_index {
	struct native_block **blocks; /* none is empty */
	size_t nblocks, cap;
	size_t n;     /* entries */
	size_t bytes; /* of memory, about */
};

void native_index_release(struct native_index *ix);
/* Its type, never 0; *old: the one it had, 0: it is new. 0 or -ENOMEM. */
int native_index_put(struct native_index *ix, struct pfs_bytes s, unsigned char type,
		     unsigned char *old);
/* Returns the type that it had; 0: it was not there. */
unsigned char native_index_remove(struct native_index *ix, struct pfs_bytes s);
unsigned char native_index_find(const struct native_index *ix, struct pfs_bytes s);
/*
 * The first entry at or behind `from`: borrowed until the next change. Returns its type; 0: there is
 * none.
 */
unsigned char native_index_seek(const struct native_index *ix, struct pfs_bytes from,
				struct pfs_bytes *out);
/* Does any entry begin so? */
bool native_index_begins(const struct native_index *ix, struct pfs_bytes s);

#endif
