/*
 * The memory engine's tree: hash tables, objects, entries, and directories as arrays in order of
 * entry sequence. Knows nothing of batches, except that an entry can be hidden before it goes.
 */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What an object or entry takes beside its data, roughly: it keeps max_size honest. */
#define OBJECT_ROOM 256
#define ENTRY_ROOM  96

/* ---- hash tables ---------------------------------------------------------------------------- */

static uint64_t hash_mix(uint64_t h)
{
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	return h;
}

uint64_t mem_hash_id(uint64_t id)
{
	return hash_mix(id * UINT64_C(0xd6e8feb86659fd93));
}

/* FNV-1a, mixed once more: the table looks at low bits. */
uint64_t mem_hash_name(uint64_t dir, struct pfs_bytes name)
{
	uint64_t h = mem_hash_id(dir);
	size_t i;

	for (i = 0; i < name.len; i++) {
		h ^= (unsigned char)name.p[i];
		h *= UINT64_C(0x100000001b3);
	}
	return hash_mix(h);
}

int mem_table_init(struct mem_table *t)
{
	t->n = 0;
	t->buckets = calloc(64, sizeof(struct mem_link *));
	t->nbuckets = t->buckets ? 64 : 0;
	return t->buckets ? 0 : -ENOMEM;
}

void mem_table_release(struct mem_table *t)
{
	free(t->buckets);
	*t = (struct mem_table){0};
}

static void table_grow(struct mem_table *t)
{
	size_t i, n = 2 * t->nbuckets;
	struct mem_link **buckets = calloc(n, sizeof(struct mem_link *));

	if (!buckets)
		return;
	for (i = 0; i < t->nbuckets; i++) {
		struct mem_link *link = t->buckets[i], *next;

		for (; link; link = next) {
			next = link->next;
			link->next = buckets[link->hash & (n - 1)];
			buckets[link->hash & (n - 1)] = link;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->nbuckets = n;
}

void mem_table_add(struct mem_table *t, struct mem_link *link, uint64_t hash)
{
	struct mem_link **bucket;

	if (t->n >= t->nbuckets)
		table_grow(t);
	bucket = &t->buckets[hash & (t->nbuckets - 1)];
	link->hash = hash;
	link->next = *bucket;
	*bucket = link;
	t->n++;
}

void mem_table_remove(struct mem_table *t, struct mem_link *link)
{
	struct mem_link **p = &t->buckets[link->hash & (t->nbuckets - 1)];

	while (*p != link)
		p = &(*p)->next;
	*p = link->next;
	t->n--;
}

static struct mem_link *chain_find(struct mem_link *link, uint64_t hash)
{
	while (link && link->hash != hash)
		link = link->next;
	return link;
}

struct mem_link *mem_table_first(const struct mem_table *t, uint64_t hash)
{
	return chain_find(t->buckets[hash & (t->nbuckets - 1)], hash);
}

struct mem_link *mem_table_next(const struct mem_link *link)
{
	return chain_find(link->next, link->hash);
}

/* ---- room ----------------------------------------------------------------------------------- */

int mem_take_room(struct mem_backend *mb, uint64_t n)
{
	if (n > mb->max_size || mb->used > mb->max_size - n)
		return -ENOSPC;
	mb->used += n;
	return 0;
}

void mem_give_room(struct mem_backend *mb, uint64_t n)
{
	mb->used -= n;
}

/* ---- objects -------------------------------------------------------------------------------- */

struct mem_object *mem_object_find(struct mem_backend *mb, const struct mem_namespace *ns,
				   uint64_t id)
{
	struct mem_link *link = mem_table_first(&mb->objects, mem_hash_id(id));

	for (; link; link = mem_table_next(link)) {
		struct mem_object *o = pfs_container_of(link, struct mem_object, link);

		if (o->attr.id == id)
			return o->ns == ns ? o : NULL;
	}
	return NULL;
}

int mem_object_new(struct mem_backend *mb, struct mem_namespace *ns, const struct pfs_attr *attr,
		   struct mem_object **out)
{
	struct mem_object *o;
	int err = mem_take_room(mb, OBJECT_ROOM);

	if (err)
		return err;
	o = calloc(1, sizeof(*o));
	if (!o) {
		mem_give_room(mb, OBJECT_ROOM);
		return -ENOMEM;
	}
	o->attr = *attr;
	o->ns = ns;
	mem_table_add(&mb->objects, &o->link, mem_hash_id(attr->id));
	ns->usage.objects++;
	ns->usage.bytes += attr->size;
	*out = o;
	return 0;
}

void mem_object_free(struct mem_backend *mb, struct mem_object *o)
{
	struct mem_xattr *x, *next;

	mem_table_remove(&mb->objects, &o->link);
	o->ns->usage.objects--;
	o->ns->usage.bytes -= o->attr.size;
	for (x = o->xattrs; x; x = next) {
		next = x->next;
		mem_give_room(mb, x->name_len + x->value_len);
		free(x);
	}
	mem_give_room(mb, OBJECT_ROOM);
	mem_content_free(mb, o->content);
	mem_ranges_free(o);
	free(o->children.slots);
	free(o);
}

void mem_object_reap(struct mem_backend *mb, struct mem_object *o)
{
	if (o->attr.nlink == 0 && mem_hold_count(mb, o->attr.id) == 0)
		mem_object_free(mb, o);
}

void mem_object_resize(struct mem_object *o, uint64_t size)
{
	o->ns->usage.bytes += size - o->attr.size;
	o->attr.size = size;
}

void mem_object_attr(const struct mem_object *o, struct pfs_attr *out)
{
	*out = o->attr;
	out->stored = o->content ? o->content->stored : 0;
	if (S_ISDIR(o->attr.mode))
		out->size = 0;
}

bool mem_is_below(const struct mem_object *o, const struct mem_object *dir)
{
	while (o && o != dir && o->parent != o)
		o = o->parent;
	return o == dir;
}

struct mem_xattr *mem_xattr_find(const struct mem_object *o, struct pfs_bytes name)
{
	struct mem_xattr *x = o->xattrs;

	while (x && !pfs_bytes_eq((struct pfs_bytes){x->data, x->name_len}, name))
		x = x->next;
	return x;
}

/* ---- entries -------------------------------------------------------------------------------- */

struct mem_entry *mem_entry_find(struct mem_backend *mb, const struct mem_object *dir,
				 struct pfs_bytes name)
{
	struct mem_link *link = mem_table_first(&mb->entries, mem_hash_name(dir->attr.id, name));

	for (; link; link = mem_table_next(link)) {
		struct mem_entry *e = pfs_container_of(link, struct mem_entry, link);

		if (e->dir == dir && pfs_bytes_eq((struct pfs_bytes){e->name, e->len}, name))
			return e;
	}
	return NULL;
}

static int children_append(struct mem_children *c, uint64_t sequence, struct mem_entry *e)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 8;
		struct mem_child *slots = realloc(c->slots, cap * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		c->slots = slots;
		c->cap = cap;
	}
	c->slots[c->n++] = (struct mem_child){sequence, e};
	c->live++;
	return 0;
}

size_t mem_children_after(const struct mem_children *c, uint64_t cursor)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->slots[mid].sequence <= cursor)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Close up the slots of entries that are gone once they are the majority. */
static void children_compact(struct mem_children *c)
{
	size_t i, n = 0;

	if (c->n < 32 || c->live >= c->n / 2)
		return;
	for (i = 0; i < c->n; i++) {
		if (c->slots[i].entry)
			c->slots[n++] = c->slots[i];
	}
	c->n = n;
}

int mem_entry_new(struct mem_backend *mb, struct mem_object *dir, struct pfs_bytes name,
		  struct mem_object *object, struct mem_entry **out)
{
	struct mem_entry *e = NULL;
	int err = mem_take_room(mb, ENTRY_ROOM + name.len);

	if (err)
		return err;
	e = malloc(sizeof(*e) + name.len);
	if (!e || children_append(&dir->children, mb->next_sequence, e)) {
		mem_give_room(mb, ENTRY_ROOM + name.len);
		free(e);
		return -ENOMEM;
	}
	*e = (struct mem_entry){.dir = dir, .object = object, .len = name.len};
	e->sequence = mb->next_sequence++;
	memcpy(e->name, name.p, name.len);
	mem_table_add(&mb->entries, &e->link, mem_hash_name(dir->attr.id, name));
	*out = e;
	return 0;
}

void mem_entry_hide(struct mem_backend *mb, struct mem_entry *e)
{
	e->dir->children.live--;
	mem_table_remove(&mb->entries, &e->link);
}

void mem_entry_unhide(struct mem_backend *mb, struct mem_entry *e)
{
	e->dir->children.live++;
	mem_table_add(&mb->entries, &e->link, e->link.hash);
}

void mem_entry_drop(struct mem_backend *mb, struct mem_entry *e)
{
	struct mem_children *c = &e->dir->children;
	size_t slot = mem_children_after(c, e->sequence - 1);

	c->slots[slot].entry = NULL;
	if (slot == c->n - 1)
		c->n--;
	else
		children_compact(c);
	mem_give_room(mb, ENTRY_ROOM + e->len);
	free(e);
}

/* ---- holds ---------------------------------------------------------------------------------- */

static struct mem_hold *hold_find(struct mem_backend *mb, uint64_t id)
{
	struct mem_link *link = mem_table_first(&mb->holds, mem_hash_id(id));

	for (; link; link = mem_table_next(link)) {
		struct mem_hold *h = pfs_container_of(link, struct mem_hold, link);

		if (h->id == id)
			return h;
	}
	return NULL;
}

uint64_t mem_hold_count(struct mem_backend *mb, uint64_t id)
{
	struct mem_hold *h = hold_find(mb, id);

	return h ? h->count : 0;
}

/* Without memory for the count the object is not held: it goes with its last name. */
void mem_hold(struct pfs_store *s, uint64_t id)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_hold *h;

	pthread_rwlock_wrlock(&mb->lock);
	h = hold_find(mb, id);
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (!h)
			goto out;
		h->id = id;
		mem_table_add(&mb->holds, &h->link, mem_hash_id(id));
	}
	h->count++;
out:
	pthread_rwlock_unlock(&mb->lock);
}

void mem_release(struct pfs_store *s, uint64_t id)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_object *o;
	struct mem_hold *h;

	pthread_rwlock_wrlock(&mb->lock);
	h = hold_find(mb, id);
	if (!h || --h->count > 0)
		goto out;
	mem_table_remove(&mb->holds, &h->link);
	free(h);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	if (o)
		mem_object_reap(mb, o);
out:
	pthread_rwlock_unlock(&mb->lock);
}
