/*
 * The memory engine's expiry. Nobody is woken when a time has come: every call first looks whether one
 * has passed since the last, and then removes what has expired, so that nothing else here needs to know.
 */
#include "backends/memory/memory.h"

#include <stdlib.h>

void mem_expiry_note(struct mem_backend *mb, int64_t expires)
{
	if (expires && (!mb->next_expiry || expires < mb->next_expiry))
		__atomic_store_n(&mb->next_expiry, expires, __ATOMIC_RELAXED);
}

/* Take away every entry that leads to an object whose time has come. */
static void remove_expired_entries(struct mem_backend *mb, int64_t now)
{
	struct mem_link *link, *next;
	size_t i;

	for (i = 0; i < mb->entries.nbuckets; i++) {
		for (link = mb->entries.buckets[i]; link; link = next) {
			struct mem_entry *e = pfs_container_of(link, struct mem_entry, link);
			struct pfs_attr *dir = &e->dir->attr;

			next = link->next;
			if (!e->object->attr.expires || e->object->attr.expires > now)
				continue;
			dir->version++;
			if (now > dir->ctime)
				dir->mtime = dir->ctime = now;
			mem_entry_hide(mb, e);
			mem_entry_drop(mb, e);
		}
	}
}

static void remove_expired(struct mem_backend *mb, int64_t now)
{
	struct mem_link *link, *next;
	int64_t first = 0;
	size_t i;

	remove_expired_entries(mb, now);
	for (i = 0; i < mb->objects.nbuckets; i++) {
		for (link = mb->objects.buckets[i]; link; link = next) {
			struct mem_object *o = pfs_container_of(link, struct mem_object, link);

			next = link->next;
			if (o->attr.expires && o->attr.expires <= now) {
				o->attr.nlink = 0;
				o->attr.expires = 0; /* those who hold it have it for good */
				mem_object_reap(mb, o);
			} else if (o->attr.expires && (!first || o->attr.expires < first)) {
				first = o->attr.expires;
			}
		}
	}
	__atomic_store_n(&mb->next_expiry, first, __ATOMIC_RELAXED);
}

void mem_expire(struct mem_backend *mb)
{
	int64_t next = __atomic_load_n(&mb->next_expiry, __ATOMIC_RELAXED), now;

	if (!next)
		return;
	now = pfs_now_ns();
	if (now < next)
		return;
	pthread_rwlock_wrlock(&mb->lock);
	remove_expired(mb, now);
	pthread_rwlock_unlock(&mb->lock);
}
