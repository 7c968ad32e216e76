/*
 * Nodes: what the kernel knows under a node id. One node per object of a backend (and epoch), found
 * through a hash in PFS_NODE_LOCKS shards; a shard's lock guards its chains and everything in its
 * nodes that is not constant, attributes above all. A node goes when the kernel has forgotten it and
 * nothing of ours refers to it.
 *
 * Attributes are cached here exactly as long as the kernel may cache them: what others change takes
 * them back (fs->seen), what this mount changes replaces them (fs->own).
 */
#include <assert.h>
#include <stdio.h>

#include "fs/internal.h"

#define FIRST_BUCKETS 64

static size_t hash_id(const struct pfs_backend *backend, uint64_t id)
{
	uint64_t h = (id ^ ((uintptr_t)backend >> 4)) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 16);
}

static unsigned shard_of(const struct pfs_node *node)
{
	if (node->kind != PFS_NODE_OBJECT || node->permanent)
		return 0;
	return (unsigned)(hash_id(node->vol->config->backend, node->id) % PFS_NODE_LOCKS);
}

void pfs_node_lock(struct pfs_fs *fs, const struct pfs_node *node)
{
	pthread_mutex_lock(&fs->node_locks[shard_of(node)]);
}

void pfs_node_unlock(struct pfs_fs *fs, const struct pfs_node *node)
{
	pthread_mutex_unlock(&fs->node_locks[shard_of(node)]);
}

struct pfs_stamp pfs_stamp_take(struct pfs_fs *fs)
{
	return (struct pfs_stamp){atomic_load(&fs->seen), atomic_load(&fs->own)};
}

int pfs_nodes_init(struct pfs_fs *fs)
{
	unsigned i;

	for (i = 0; i < PFS_NODE_LOCKS; i++) {
		pthread_mutex_init(&fs->node_locks[i], NULL);
		fs->node_hash[i] = calloc(FIRST_BUCKETS, sizeof(struct pfs_node *));
		if (!fs->node_hash[i])
			return -ENOMEM;
		fs->node_mask[i] = FIRST_BUCKETS - 1;
	}
	return 0;
}

static void node_free(struct pfs_node *node)
{
	free(node->known_name);
	pfs_locks_free(atomic_load(&node->locks));
	free(node);
}

void pfs_nodes_release(struct pfs_fs *fs)
{
	struct pfs_node *node, *next;
	size_t i, b;

	for (i = 0; i < PFS_NODE_LOCKS; i++) {
		for (b = 0; fs->node_hash[i] && b <= fs->node_mask[i]; b++) {
			for (node = fs->node_hash[i][b]; node; node = next) {
				next = node->hash_next;
				node_free(node);
			}
		}
		free(fs->node_hash[i]);
		pthread_mutex_destroy(&fs->node_locks[i]);
	}
}

struct pfs_node *pfs_node_new_fixed(struct pfs_fs *fs, enum pfs_node_kind kind, uint64_t ino)
{
	struct pfs_node *node = calloc(1, sizeof(*node));

	(void)fs;
	if (!node)
		return NULL;
	node->kind = (uint8_t)kind;
	node->ino = ino;
	node->permanent = true;
	return node;
}

static struct pfs_node **bucket(struct pfs_fs *fs, unsigned shard, size_t h)
{
	return &fs->node_hash[shard][(h / PFS_NODE_LOCKS) & fs->node_mask[shard]];
}

/* Double the shard's table; without memory the chains just get longer. */
static void shard_grow(struct pfs_fs *fs, unsigned shard)
{
	size_t old = fs->node_mask[shard] + 1, i;
	struct pfs_node **table = calloc(old * 2, sizeof(*table)), **from = fs->node_hash[shard];
	struct pfs_node *node, *next, **to;

	if (!table)
		return;
	fs->node_hash[shard] = table;
	fs->node_mask[shard] = old * 2 - 1;
	for (i = 0; i < old; i++) {
		for (node = from[i]; node; node = next) {
			next = node->hash_next;
			to = bucket(fs, shard, hash_id(node->vol->config->backend, node->id));
			node->hash_next = *to;
			*to = node;
		}
	}
	free(from);
}

static struct pfs_node *chain_find(struct pfs_node *node, const struct pfs_backend *backend,
				   uint64_t id, uint64_t epoch)
{
	for (; node; node = node->hash_next)
		if (node->id == id && node->vol->config->backend == backend && node->epoch == epoch)
			return node;
	return NULL;
}

/* Take attr if it is no older than what has passed since. The node's lock is held. */
static void take_attr(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_attr *attr,
		      struct pfs_stamp stamp)
{
	if (node->pins || stamp.own < node->changed || attr->version < node->attr.version)
		return;
	node->attr = *attr;
	node->attr_valid = stamp.seen == atomic_load(&fs->seen);
}

struct pfs_node *pfs_node_get(struct pfs_vol *vol, const struct pfs_attr *attr,
			      struct pfs_stamp stamp, uint64_t lookups, uint32_t refs)
{
	struct pfs_fs *fs = vol->fs;
	const struct pfs_backend *backend = vol->config->backend;
	size_t h = hash_id(backend, attr->id);
	unsigned shard = (unsigned)(h % PFS_NODE_LOCKS);
	uint64_t epoch = pfs_store_epoch(atomic_load(&vol->store));
	struct pfs_node *node, **chain;

	if (vol->root && vol->root->id == attr->id && vol->root->epoch == epoch)
		return vol->root;
	pthread_mutex_lock(&fs->node_locks[shard]);
	node = chain_find(*bucket(fs, shard, h), backend, attr->id, epoch);
	if (!node) {
		node = calloc(1, sizeof(*node));
		if (!node)
			goto out;
		if (++fs->node_count[shard] > fs->node_mask[shard] + 1)
			shard_grow(fs, shard);
		chain = bucket(fs, shard, h);
		node->kind = PFS_NODE_OBJECT;
		node->vol = vol;
		node->id = attr->id;
		node->epoch = epoch;
		node->ino = ((uint64_t)vol->ordinal << 39) | attr->id;
		node->attr = *attr;
		/* A node of this object may have been changed, and freed, since it was asked for. */
		node->attr_valid = stamp.seen == atomic_load(&fs->seen) &&
				   stamp.own >= atomic_load(&fs->forgotten);
		node->hash_next = *chain;
		*chain = node;
		atomic_fetch_add(&fs->nnodes, 1);
	} else {
		take_attr(fs, node, attr, stamp);
	}
	node->lookups += lookups;
	node->refs += refs;
out:
	pthread_mutex_unlock(&fs->node_locks[shard]);
	return node;
}

struct pfs_node *pfs_node_find(struct pfs_fs *fs, const struct pfs_backend *backend, uint64_t id)
{
	size_t h = hash_id(backend, id);
	unsigned shard = (unsigned)(h % PFS_NODE_LOCKS);
	uint64_t epoch = __atomic_load_n(&backend->epoch, __ATOMIC_ACQUIRE);
	struct pfs_node *node;
	size_t i, n;
	struct pfs_vol **vols;

	pthread_mutex_lock(&fs->node_locks[shard]);
	node = chain_find(*bucket(fs, shard, h), backend, id, epoch);
	if (node)
		node->refs++;
	pthread_mutex_unlock(&fs->node_locks[shard]);
	if (node)
		return node;
	vols = pfs_vols_snapshot(fs, &n);
	for (i = 0; vols && i < n && !node; i++)
		if (vols[i]->config->backend == backend && vols[i]->root->id == id &&
		    vols[i]->root->epoch == epoch)
			node = vols[i]->root;
	free(vols);
	return node;
}

static void unhash(struct pfs_fs *fs, unsigned shard, struct pfs_node *node)
{
	struct pfs_node **p = bucket(fs, shard, hash_id(node->vol->config->backend, node->id));

	while (*p != node)
		p = &(*p)->hash_next;
	*p = node->hash_next;
	fs->node_count[shard]--;
	atomic_fetch_sub(&fs->nnodes, 1);
}

/* What is asked of a freed node's object was asked after its last change, or is not believed. */
static void remember_change(struct pfs_fs *fs, uint64_t changed)
{
	uint64_t last = atomic_load(&fs->forgotten);

	while (last < changed && !atomic_compare_exchange_weak(&fs->forgotten, &last, changed))
		;
}

void pfs_nodes_changed(struct pfs_fs *fs)
{
	remember_change(fs, atomic_fetch_add(&fs->own, 1) + 1);
}

/* Give back lookups or refs; free the node when none are left, and so on up its known parents. */
static void node_drop(struct pfs_fs *fs, struct pfs_node *node, uint64_t lookups, uint32_t refs)
{
	while (node && !node->permanent) {
		unsigned shard = shard_of(node);
		struct pfs_node *parent = NULL;
		bool gone;

		pthread_mutex_lock(&fs->node_locks[shard]);
		node->lookups -= lookups < node->lookups ? lookups : node->lookups;
		node->refs -= refs;
		gone = node->lookups == 0 && node->refs == 0;
		if (gone) {
			parent = node->known_parent;
			remember_change(fs, node->changed);
			unhash(fs, shard, node);
		}
		pthread_mutex_unlock(&fs->node_locks[shard]);
		if (!gone)
			return;
		node_free(node);
		node = parent;
		lookups = 0;
		refs = 1;
	}
}

void pfs_fs_forget(struct pfs_fs *fs, struct pfs_node *node, uint64_t n)
{
	node_drop(fs, node, n, 0);
}

void pfs_node_ref(struct pfs_fs *fs, struct pfs_node *node)
{
	(void)fs;
	if (!node->permanent)
		atomic_fetch_add(&node->refs, 1);
}

void pfs_node_unref(struct pfs_fs *fs, struct pfs_node *node)
{
	node_drop(fs, node, 0, 1);
}

/* The root of a store whose data was replaced has another id now. */
static int root_id(struct pfs_node *node, uint64_t *id)
{
	struct pfs_vol *vol = node->vol;
	struct pfs_store *store = atomic_load(&vol->store);
	uint64_t fresh, epoch;
	int err = 0;

	pthread_mutex_lock(&vol->open_lock);
	epoch = pfs_store_epoch(store);
	if (vol->root_epoch != epoch) {
		err = pfs_store_root(store, &fresh);
		if (!err) {
			pfs_node_lock(vol->fs, node);
			node->attr_valid = false;
			memset(&node->attr, 0, sizeof(node->attr));
			pfs_node_unlock(vol->fs, node);
			node->id = fresh;
			node->epoch = epoch;
			vol->root_epoch = epoch;
		}
	}
	*id = node->id;
	pthread_mutex_unlock(&vol->open_lock);
	return err;
}

int pfs_node_id(struct pfs_node *node, uint64_t *id)
{
	struct pfs_vol *vol = node->vol;
	uint64_t epoch;
	int err;

	if (atomic_load(&vol->closed))
		return -ESTALE;
	if (!atomic_load(&vol->store)) {
		err = pfs_vol_open(vol, NULL);
		if (err)
			return err;
	}
	/* The epoch first: root_id() sets it last. */
	epoch = node->epoch;
	*id = node->id;
	if (epoch == pfs_store_epoch(atomic_load(&vol->store)))
		return 0;
	return node == vol->root ? root_id(node, id) : -ESTALE;
}

void pfs_node_set_attr(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_attr *attr,
		       struct pfs_stamp stamp)
{
	pfs_node_lock(fs, node);
	if (node->pins) {
		/* Queued changes of attributes are ahead of the engine; of the content it knows. */
		node->attr.size = attr->size;
		node->attr.stored = attr->stored;
	} else if (attr->version >= node->attr.version) {
		/* One more than before: nobody else changed it in between. */
		if (attr->content_version == node->pages_of + 1)
			node->pages_of = attr->content_version;
		node->attr = *attr;
		node->attr_valid = stamp.seen == atomic_load(&fs->seen);
		node->changed = atomic_fetch_add(&fs->own, 1) + 1;
	}
	pfs_node_unlock(fs, node);
}

void pfs_node_changed(struct pfs_fs *fs, struct pfs_node *node)
{
	pfs_node_lock(fs, node);
	node->changed = atomic_fetch_add(&fs->own, 1) + 1;
	pfs_node_unlock(fs, node);
}

void pfs_node_drop_attr(struct pfs_fs *fs, struct pfs_node *node)
{
	if (!pfs_node_is_object(node))
		return;
	pfs_node_lock(fs, node);
	if (!node->pins)
		node->attr_valid = false;
	node->changed = atomic_fetch_add(&fs->own, 1) + 1;
	pfs_node_unlock(fs, node);
}

void pfs_node_touch_dir(struct pfs_fs *fs, struct pfs_node *dir, struct pfs_bytes name, int64_t now)
{
	bool alone;

	if (!pfs_node_is_object(dir))
		return;
	pfs_ahead_changed(dir, name);
	alone = pfs_vol_alone(dir->vol);
	pfs_node_lock(fs, dir);
	if (!dir->pins) {
		dir->attr_valid &= alone;
		/* Of changes that were committed together the last one counts. */
		if (now > dir->attr.ctime)
			dir->attr.mtime = dir->attr.ctime = now;
	}
	dir->changed = atomic_fetch_add(&fs->own, 1) + 1;
	pfs_node_unlock(fs, dir);
}

struct pfs_attr pfs_node_attr_known(struct pfs_node *node)
{
	struct pfs_fs *fs = node->vol->fs;
	struct pfs_attr attr;

	pfs_node_lock(fs, node);
	attr = node->attr;
	pfs_node_unlock(fs, node);
	return attr;
}

static bool expired(const struct pfs_attr *attr)
{
	return attr->expires && attr->expires <= pfs_now_ns();
}

bool pfs_node_expired(struct pfs_node *node)
{
	struct pfs_attr attr = pfs_node_attr_known(node);

	return expired(&attr);
}

int pfs_node_attr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_attr *out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	bool was_due;
	uint64_t id;
	int err;

	err = pfs_node_id(node, &id);
	if (err)
		return err;
	pfs_node_lock(fs, node);
	was_due = expired(&node->attr);
	if ((node->attr_valid && !was_due && !node->attr.derived) || node->pins) {
		*out = node->attr;
		pfs_node_unlock(fs, node);
		return 0;
	}
	pfs_node_unlock(fs, node);
	err = pfs_store_getattr(atomic_load(&node->vol->store), id, out);
	/* Held here, and gone all the same. */
	if (!err && (expired(out) || (was_due && out->nlink == 0)))
		err = -ESTALE;
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	pfs_node_lock(fs, node);
	take_attr(fs, node, out, stamp);
	if (node->pins)
		*out = node->attr;
	pfs_node_unlock(fs, node);
	return 0;
}

/* ---- what the kernel has of the content ----------------------------------------------------- */

bool pfs_node_tell_size(struct pfs_fs *fs, struct pfs_node *node, uint64_t version, uint64_t *size)
{
	bool now;

	pfs_node_lock(fs, node);
	now = !node->dropping && (!node->pages || !node->pages_of || node->pages_of == version);
	if (now) {
		node->pages_of = version;
		node->told_size = *size;
	} else {
		*size = node->told_size;
	}
	pfs_node_unlock(fs, node);
	if (!now && !atomic_exchange(&node->dropping, true))
		pfs_inval_node_later(fs, node);
	return now;
}

void pfs_node_told_size(struct pfs_node *node, uint64_t size)
{
	atomic_store(&node->told_size, size);
}

void pfs_node_kernel_wrote(struct pfs_node *node, uint64_t end, bool direct)
{
	uint64_t told = atomic_load(&node->told_size);

	while (told < end && !atomic_compare_exchange_weak(&node->told_size, &told, end))
		;
	if (!direct && !atomic_load(&node->pages))
		atomic_store(&node->pages, true);
	/* Those who opened it before may have pages that end where the file did. */
	if (direct && atomic_load(&node->pages) && !atomic_exchange(&node->dropping, true))
		pfs_inval_node_later(node->vol->fs, node);
}

void pfs_node_grown_from(struct pfs_node *node, uint64_t from)
{
	uint64_t old = atomic_load(&node->grown_from);

	while ((!old || from < old) &&
	       !atomic_compare_exchange_weak(&node->grown_from, &old, from))
		;
}

int pfs_node_kernel_reads(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_attr attr;
	int err;

	if (!atomic_load(&node->pages))
		atomic_store(&node->pages, true);
	if (atomic_load(&node->pages_of))
		return 0;
	/* What is read now is of this version or a later one. */
	err = pfs_node_attr(fs, node, &attr);
	if (err)
		return err;
	pfs_node_lock(fs, node);
	if (!node->pages_of)
		node->pages_of = attr.content_version;
	pfs_node_unlock(fs, node);
	return 0;
}

void pfs_node_dropped(struct pfs_fs *fs, struct pfs_node *node)
{
	pfs_node_lock(fs, node);
	node->pages_of = node->attr_valid ? node->attr.content_version : 0;
	node->dropping = false;
	pfs_node_unlock(fs, node);
}

/* The node's lock is held. */
static bool known_by(const struct pfs_node *node, const struct pfs_node *parent,
		     struct pfs_bytes name)
{
	return node->known_parent == parent && strlen(node->known_name) == name.len &&
	       memcmp(node->known_name, name.p, name.len) == 0;
}

static bool know(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		 struct pfs_bytes name)
{
	struct pfs_node *old;
	char *copy;

	copy = strndup(name.p, name.len);
	if (!copy)
		return false;
	pfs_node_ref(fs, parent);
	pfs_node_lock(fs, node);
	old = node->known_parent;
	free(node->known_name);
	node->known_parent = parent;
	node->known_name = copy;
	pfs_node_unlock(fs, node);
	if (old)
		pfs_node_unref(fs, old);
	return true;
}

bool pfs_node_know(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		   struct pfs_bytes name)
{
	bool same, other;

	assert(parent);
	if (node->permanent)
		return true;
	pfs_node_lock(fs, node);
	same = known_by(node, parent, name);
	other = node->known_parent && !S_ISDIR(node->attr.mode) && node->attr.nlink > 1;
	pfs_node_unlock(fs, node);
	if (same)
		return true;
	return !other && know(fs, node, parent, name);
}

void pfs_node_moved(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *from,
		    struct pfs_bytes old, struct pfs_node *to, struct pfs_bytes name)
{
	bool by_old;

	pfs_node_lock(fs, node);
	by_old = known_by(node, from, old);
	pfs_node_unlock(fs, node);
	if (by_old)
		(void)know(fs, node, to, name);
	else
		(void)pfs_node_know(fs, node, to, name);
}

/* The name the node is known by ("?": none) in front of out; *up: its parent, counted, or NULL. */
static void put_name_before(struct pfs_fs *fs, struct pfs_node *node, struct pfs_buf *out,
			    struct pfs_node **up)
{
	struct pfs_buf whole = {0};

	pfs_node_lock(fs, node);
	*up = node->known_parent;
	pfs_buf_str(&whole, *up ? node->known_name : "?");
	if (*up)
		pfs_node_ref(fs, *up);
	pfs_node_unlock(fs, node);
	if (out->len) {
		pfs_buf_str(&whole, "/");
		pfs_buf_add(&whole, out->data, out->len);
	}
	pfs_buf_release(out);
	*out = whole;
}

void pfs_node_key(struct pfs_fs *fs, struct pfs_node *node, struct pfs_buf *out)
{
	struct pfs_node *root = node->vol->root, *up;
	int depth;

	pfs_node_ref(fs, node);
	for (depth = 0; node && node != root && depth < 256; depth++) {
		put_name_before(fs, node, out, &up);
		pfs_node_unref(fs, node);
		node = up;
	}
	if (node)
		pfs_node_unref(fs, node);
}

void pfs_nodes_each(struct pfs_fs *fs, const struct pfs_backend *backend,
		    void (*fn)(void *arg, struct pfs_node *node), void *arg)
{
	struct pfs_node *node, **batch = NULL;
	size_t i, b, n, max, k;

	for (i = 0; i < PFS_NODE_LOCKS; i++) {
		n = 0;
		pthread_mutex_lock(&fs->node_locks[i]);
		max = fs->node_count[i];
		batch = malloc((max ? max : 1) * sizeof(*batch));
		for (b = 0; batch && b <= fs->node_mask[i]; b++) {
			for (node = fs->node_hash[i][b]; node; node = node->hash_next) {
				if (node->vol->config->backend == backend && n < max) {
					node->refs++;
					batch[n++] = node;
				}
			}
		}
		pthread_mutex_unlock(&fs->node_locks[i]);
		for (k = 0; k < n; k++) {
			fn(arg, batch[k]);
			pfs_node_unref(fs, batch[k]);
		}
		free(batch);
	}
}
