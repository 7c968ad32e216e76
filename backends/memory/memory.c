/*
 * The memory engine: a whole store in this process's memory, gone with the mount. It is the contract
 * in its plainest form, and what the other engines are compared with.
 *
 * This file has construction, namespaces, reading and telling; see memory.h for the others.
 */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- namespaces ----------------------------------------------------------------------------- */

static struct mem_namespace *find_namespace(struct mem_backend *mb, const char *name)
{
	struct mem_namespace *ns = mb->namespaces;

	while (ns && (!ns->root || strcmp(ns->name, name) != 0))
		ns = ns->next;
	return ns;
}

static int new_namespace(struct mem_backend *mb, const char *name, struct mem_namespace **out)
{
	struct mem_namespace *ns = calloc(1, sizeof(*ns)), **end = &mb->namespaces;
	struct pfs_attr attr = {
		.mode = S_IFDIR | 0755,
		.uid = getuid(),
		.gid = getgid(),
		.nlink = 2,
		.version = 1,
		.content_version = 1,
	};
	int err = -ENOMEM;

	if (!ns)
		goto fail;
	ns->name = strdup(name);
	if (!ns->name)
		goto fail;
	attr.id = __atomic_fetch_add(&mb->next_id, 1, __ATOMIC_RELAXED);
	attr.mtime = attr.ctime = attr.btime = pfs_now_ns();
	err = mem_object_new(mb, ns, &attr, &ns->root);
	if (err)
		goto fail;
	ns->root->parent = ns->root;
	ns->usage.objects = 0; /* the root is not counted */
	while (*end)
		end = &(*end)->next;
	*end = ns;
	*out = ns;
	return 0;
fail:
	if (ns)
		free(ns->name);
	free(ns);
	return err;
}

static int mem_namespace_open(struct pfs_backend *b, const char *name, bool create,
			      struct pfs_store **out, struct pfs_msg *msg)
{
	struct mem_backend *mb = mem_backend(b);
	struct mem_store *s = calloc(1, sizeof(*s));
	int err = s ? pfs_store_init(&s->base, b, name) : -ENOMEM;

	if (err)
		goto out;
	pthread_rwlock_wrlock(&mb->lock);
	s->ns = find_namespace(mb, name);
	if (!s->ns)
		err = create ? new_namespace(mb, name, &s->ns) : -ENOENT;
	pthread_rwlock_unlock(&mb->lock);
out:
	if (err == -ENOENT)
		pfs_msg_set(msg, "there is no namespace '%s' in backend '%s'", name, b->name);
	else if (err)
		pfs_msg_set(msg, "cannot open namespace '%s': %s", name, strerror(-err));
	if (err && s) {
		pfs_store_release(&s->base);
		free(s);
	} else if (!err) {
		*out = &s->base;
	}
	return err;
}

static int mem_namespace_list(struct pfs_backend *b, struct pfs_namespace_list *out)
{
	struct mem_backend *mb = mem_backend(b);
	struct mem_namespace *ns;
	size_t n = 0;
	int err = 0;

	pthread_rwlock_rdlock(&mb->lock);
	for (ns = mb->namespaces; ns; ns = ns->next)
		n++;
	out->items = calloc(n ? n : 1, sizeof(*out->items));
	if (!out->items)
		err = -ENOMEM;
	for (ns = mb->namespaces; ns && !err; ns = ns->next) {
		struct pfs_namespace *item = &out->items[out->n];

		if (!ns->root)
			continue;
		item->name = strdup(ns->name);
		item->id = ns->root->attr.id;
		if (!item->name)
			err = -ENOMEM;
		out->n++;
	}
	pthread_rwlock_unlock(&mb->lock);
	if (err)
		pfs_namespace_list_release(out);
	return err;
}

/*
 * The struct stays, without a root, until the backend goes: stores that are open and held objects
 * refer to it.
 */
static int mem_namespace_remove(struct pfs_backend *b, const char *name)
{
	struct mem_backend *mb = mem_backend(b);
	struct mem_namespace *ns;
	int err = 0;

	mem_expire(mb);
	pthread_rwlock_wrlock(&mb->lock);
	ns = find_namespace(mb, name);
	if (!ns) {
		err = -ENOENT;
	} else if (ns->root->children.live) {
		err = -ENOTEMPTY;
	} else {
		mem_object_free(mb, ns->root);
		ns->root = NULL;
		ns->usage.objects++; /* the root was not counted */
	}
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

static void mem_store_free(struct pfs_store *s)
{
	pfs_store_release(s);
	free(mem_store(s));
}

static int mem_root(struct pfs_store *s, uint64_t *id)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_namespace *ns = mem_store(s)->ns;
	int err = -ENOENT;

	pthread_rwlock_rdlock(&mb->lock);
	if (ns->root) {
		*id = ns->root->attr.id;
		err = 0;
	}
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int mem_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first)
{
	struct mem_backend *mb = mem_store_backend(s);

	*first = __atomic_fetch_add(&mb->next_id, n, __ATOMIC_RELAXED);
	return *first + n - 1 > PFS_ID_MAX ? -ENOSPC : 0;
}

static int find_dir(struct pfs_store *s, uint64_t id, struct mem_object **out)
{
	*out = mem_object_find(mem_store_backend(s), mem_store(s)->ns, id);
	if (!*out)
		return -ENOENT;
	return S_ISDIR((*out)->attr.mode) ? 0 : -ENOTDIR;
}

static int mem_lookup(struct pfs_store *s, uint64_t dir_id, struct pfs_bytes name,
		      struct pfs_attr *out)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_entry *e = NULL;
	struct mem_object *dir;
	int err;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	err = find_dir(s, dir_id, &dir);
	if (!err) {
		e = mem_entry_find(mb, dir, name);
		err = e ? 0 : -ENOENT;
	}
	if (!err)
		mem_object_attr(e->object, out);
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

static int mem_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_object *o;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	if (o)
		mem_object_attr(o, out);
	pthread_rwlock_unlock(&mb->lock);
	return o ? 0 : -ENOENT;
}

/* Fill from the slots of c after cursor; sets *end when nothing follows. */
static int fill_list(const struct mem_children *c, uint64_t cursor, size_t limit,
		     struct pfs_list *list, bool *end)
{
	size_t i = mem_children_after(c, cursor);
	struct pfs_attr attr;
	int err = 0;

	for (; i < c->n && list->n < limit && !err; i++) {
		const struct mem_entry *e = c->slots[i].entry;

		if (!e)
			continue;
		mem_object_attr(e->object, &attr);
		err = pfs_list_add(list, e->sequence, (struct pfs_bytes){e->name, e->len}, &attr);
	}
	while (i < c->n && !c->slots[i].entry)
		i++;
	*end = i == c->n;
	return err;
}

static int mem_list(struct pfs_store *s, uint64_t dir_id, uint64_t cursor, size_t limit,
		    struct pfs_list **out)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct pfs_list *list = NULL;
	struct mem_object *dir;
	bool end = true;
	int err;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	err = find_dir(s, dir_id, &dir);
	if (!err) {
		list = pfs_list_new(dir->children.live < limit ? dir->children.live : limit);
		err = list ? fill_list(&dir->children, cursor, limit, list, &end) : -ENOMEM;
	}
	pthread_rwlock_unlock(&mb->lock);
	if (err) {
		pfs_list_free(list);
		return err;
	}
	pfs_list_finish(list, end);
	*out = list;
	return 0;
}

static int mem_parent(struct pfs_store *s, uint64_t dir_id, uint64_t *out)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_object *dir;
	int err;

	pthread_rwlock_rdlock(&mb->lock);
	err = find_dir(s, dir_id, &dir);
	if (!err && !dir->parent)
		err = -ENOENT;
	if (!err)
		*out = dir->parent->attr.id;
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

/* A content that is staged has no end: what was not staged reads as zeros. mb->lock is held. */
static ssize_t read_staged(struct mem_backend *mb, struct pfs_store *s, uint64_t id, uint64_t off,
			   void *buf, size_t len)
{
	struct mem_link *link = mem_table_first(&mb->staged, mem_hash_id(id));

	for (; link; link = mem_table_next(link)) {
		struct mem_content *c = pfs_container_of(link, struct mem_content, link);

		if (c->id == id && c->ns == mem_store(s)->ns) {
			mem_content_read(c, off, buf, len);
			return (ssize_t)len;
		}
	}
	return -ENOENT;
}

static ssize_t mem_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_object *o;
	ssize_t n;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	if (!o) {
		n = read_staged(mb, s, id, off, buf, len);
	} else if (!o->content) {
		n = S_ISDIR(o->attr.mode) ? -EISDIR : -EINVAL;
	} else if (off >= o->attr.size) {
		n = 0;
	} else {
		n = (ssize_t)(len < o->attr.size - off ? len : o->attr.size - off);
		mem_content_read(o->content, off, buf, (size_t)n);
	}
	pthread_rwlock_unlock(&mb->lock);
	return n;
}

static int mem_seek(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_object *o;
	int err;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	if (!o)
		err = -ENOENT;
	else if (!o->content)
		err = S_ISDIR(o->attr.mode) ? -EISDIR : -EINVAL;
	else
		err = mem_content_seek(o->content, o->attr.size, off, hole, out);
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

static ssize_t mem_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			     size_t len)
{
	struct mem_backend *mb = mem_store_backend(s);
	const struct mem_xattr *x = NULL;
	struct mem_object *o;
	ssize_t n;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	if (o)
		x = mem_xattr_find(o, name);
	if (!o) {
		n = -ENOENT;
	} else if (!x) {
		n = -ENODATA;
	} else if (len && len < x->value_len) {
		n = -ERANGE;
	} else {
		n = (ssize_t)x->value_len;
		if (len)
			memcpy(buf, x->data + x->name_len, x->value_len);
	}
	pthread_rwlock_unlock(&mb->lock);
	return n;
}

static int mem_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out)
{
	struct mem_backend *mb = mem_store_backend(s);
	const struct mem_xattr *x;
	struct mem_object *o;

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	o = mem_object_find(mb, mem_store(s)->ns, id);
	for (x = o ? o->xattrs : NULL; x; x = x->next) {
		pfs_buf_add(out, x->data, x->name_len);
		pfs_buf_add(out, "", 1);
	}
	pthread_rwlock_unlock(&mb->lock);
	if (!o)
		return -ENOENT;
	return out->failed ? -ENOMEM : 0;
}

/* ---- telling -------------------------------------------------------------------------------- */

/* Nothing here outlives the process, so there is nothing to wait for; health says so. */
static int mem_sync(struct pfs_backend *b)
{
	(void)b;
	return 0;
}

static int mem_usage(struct pfs_store *s, struct pfs_usage *out)
{
	struct mem_backend *mb = mem_store_backend(s);

	mem_expire(mb);
	pthread_rwlock_rdlock(&mb->lock);
	*out = mem_store(s)->ns->usage;
	pthread_rwlock_unlock(&mb->lock);
	return 0;
}

static int mem_statfs(struct pfs_backend *b, struct pfs_statfs *out)
{
	struct mem_backend *mb = mem_backend(b);

	pthread_rwlock_rdlock(&mb->lock);
	out->total = mb->max_size;
	out->available = mb->max_size - mb->used;
	pthread_rwlock_unlock(&mb->lock);
	return 0;
}

static void mem_health(struct pfs_backend *b, struct pfs_health *out)
{
	(void)b;
	pfs_msg_set(&out->durable, "data is kept in memory only and goes with the mount");
}

/* The links that lead to o, counted by walking every entry. */
static int check_links(struct mem_backend *mb, struct pfs_msg *msg)
{
	uint64_t links = 0, named = 0;
	size_t i;

	for (i = 0; i < mb->entries.nbuckets; i++) {
		const struct mem_link *link;

		for (link = mb->entries.buckets[i]; link; link = link->next)
			links++;
	}
	for (i = 0; i < mb->objects.nbuckets; i++) {
		const struct mem_link *link;

		for (link = mb->objects.buckets[i]; link; link = link->next) {
			const struct mem_object *o =
				pfs_container_of(link, struct mem_object, link);

			if (!S_ISDIR(o->attr.mode))
				named += o->attr.nlink;
			else if (o->attr.nlink && o->parent != o)
				named++;
			if (!o->attr.nlink && mem_hold_count(mb, o->attr.id) == 0) {
				pfs_msg_set(msg, "object %llu has no name and nobody holds it",
					    (unsigned long long)o->attr.id);
				return -EIO;
			}
		}
	}
	if (links != named) {
		pfs_msg_set(msg, "%llu entries, but link counts add up to %llu",
			    (unsigned long long)links, (unsigned long long)named);
		return -EIO;
	}
	return 0;
}

static int mem_maintain(struct pfs_backend *b, const char *verb, struct pfs_msg *msg)
{
	struct mem_backend *mb = mem_backend(b);
	int err = 0;

	if (strcmp(verb, "check") != 0)
		return 0; /* always swept, analyzed and compact */
	pthread_rwlock_rdlock(&mb->lock);
	err = check_links(mb, msg);
	pthread_rwlock_unlock(&mb->lock);
	return err;
}

/* ---- construction --------------------------------------------------------------------------- */

/* Frees what is in a table by walking it; `release` frees one. */
static void drain_table(struct mem_backend *mb, struct mem_table *t,
			void (*release)(struct mem_backend *mb, struct mem_link *link))
{
	size_t i;

	for (i = 0; i < t->nbuckets; i++) {
		while (t->buckets[i]) {
			struct mem_link *link = t->buckets[i];

			mem_table_remove(t, link);
			release(mb, link);
		}
	}
	mem_table_release(t);
}

static void release_entry(struct mem_backend *mb, struct mem_link *link)
{
	(void)mb;
	free(pfs_container_of(link, struct mem_entry, link));
}

static void release_staged(struct mem_backend *mb, struct mem_link *link)
{
	mem_content_free(mb, pfs_container_of(link, struct mem_content, link));
}

static void release_hold(struct mem_backend *mb, struct mem_link *link)
{
	(void)mb;
	free(pfs_container_of(link, struct mem_hold, link));
}

static void release_objects(struct mem_backend *mb)
{
	size_t i;

	for (i = 0; i < mb->objects.nbuckets; i++) {
		while (mb->objects.buckets[i])
			mem_object_free(mb, pfs_container_of(mb->objects.buckets[i],
							     struct mem_object, link));
	}
	mem_table_release(&mb->objects);
}

static void mem_free(struct pfs_backend *b)
{
	struct mem_backend *mb = mem_backend(b);
	struct mem_namespace *ns, *next;

	drain_table(mb, &mb->entries, release_entry);
	drain_table(mb, &mb->staged, release_staged);
	drain_table(mb, &mb->holds, release_hold);
	release_objects(mb);
	for (ns = mb->namespaces; ns; ns = next) {
		next = ns->next;
		free(ns->name);
		free(ns);
	}
	pthread_rwlock_destroy(&mb->lock);
	pfs_backend_release(b);
	free(mb);
}

static const struct pfs_backend_ops mem_ops = {
	.free = mem_free,
	.namespace_open = mem_namespace_open,
	.namespace_list = mem_namespace_list,
	.namespace_remove = mem_namespace_remove,
	.store_free = mem_store_free,
	.root = mem_root,
	.alloc_ids = mem_alloc_ids,
	.lookup = mem_lookup,
	.getattr = mem_getattr,
	.list = mem_list,
	.parent = mem_parent,
	.read = mem_read,
	.seek = mem_seek,
	.xattr_get = mem_xattr_get,
	.xattr_list = mem_xattr_list,
	.commit = mem_commit,
	.sync = mem_sync,
	.hold = mem_hold,
	.release = mem_release,
	.lock = mem_lock,
	.usage = mem_usage,
	.statfs = mem_statfs,
	.health = mem_health,
	.maintain = mem_maintain,
};

static int mem_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		      struct pfs_msg *msg)
{
	struct mem_backend *mb = calloc(1, sizeof(*mb));
	int err =
		mb ? pfs_backend_init(&mb->base, &pfs_memory_engine, &mem_ops, name, set) : -ENOMEM;

	if (err)
		goto fail;
	pthread_rwlock_init(&mb->lock, NULL);
	mb->max_size = (uint64_t)pfs_option_get(set, "max_size")->num;
	mb->next_id = PFS_ID_FIRST;
	mb->next_sequence = PFS_ID_FIRST;
	mb->next_batch = 1;
	if (mem_table_init(&mb->objects) || mem_table_init(&mb->entries) ||
	    mem_table_init(&mb->staged) || mem_table_init(&mb->holds)) {
		mem_free(&mb->base);
		mb = NULL;
		err = -ENOMEM;
		goto fail;
	}
	*out = &mb->base;
	return 0;
fail:
	free(mb);
	pfs_msg_set(msg, "backend '%s': %s", name, strerror(-err));
	return err;
}

static const struct pfs_option mem_options[] = {
	{
		.name = "max_size",
		.type = PFS_OPT_SIZE,
		.def = "1G",
		.min = 1 << 20,
		.max = INT64_MAX,
		.help = "how much memory the data may take; beyond it: no space left on device",
	},
	PFS_OPTION_END,
};

/* Nobody else can change what is here, so the watcher hears all there is: PFS_CAP_PUSH. */
const struct pfs_engine pfs_memory_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "memory",
	.help = "in this process's memory: data lives as long as the mount",
	.kinds = PFS_KIND_KV,
	.layouts = PFS_LAYOUT_OWN,
	.capabilities = PFS_CAP_HARD_LINKS | PFS_CAP_XATTRS | PFS_CAP_PUSH | PFS_CAP_RANGED_WRITES |
			PFS_CAP_LOCKS | PFS_CAP_EXPIRY | PFS_CAP_NAMESPACES | PFS_CAP_SPARSE |
			PFS_CAP_LISTS_ALL,
	.options = mem_options,
	.create = mem_create,
};
