/*
 * Entries: look-up, and everything that makes, moves or removes one. In through mode a change is
 * committed before it is answered; with write_mode = queued what needs nothing but its own names is
 * queued (queue.c), and the rest waits for the queue.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/internal.h"

static bool queued(const struct pfs_node *dir)
{
	return dir->vol->config->write_mode == PFS_WRITE_QUEUED;
}

static bool is_dir(struct pfs_node *node)
{
	return S_ISDIR(pfs_node_attr_known(node).mode);
}

bool pfs_node_writable(const struct pfs_node *node)
{
	return !node->vol->config->read_only && !node->vol->config->backend->readonly;
}

int pfs_node_prepare(struct pfs_node *node)
{
	if (!pfs_node_is_object(node))
		return -EPERM;
	if (!pfs_node_writable(node))
		return -EROFS;
	return pfs_vol_make(node->vol);
}

/*
 * Commit what waits before a change of (dir, name). In through mode that is creates alone, which have
 * no order: one that cannot be made now keeps only its own name from being changed, unless `all`.
 */
static int settle_before(struct pfs_node *dir, struct pfs_bytes name, bool all)
{
	struct pfs_node *node = NULL;
	uint64_t id;
	int err;

	err = pfs_queue_settle(dir->vol);
	if (!err || all || queued(dir) || pfs_node_id(dir, &id))
		return err;
	if (!pfs_overlay_find(dir->vol, id, name, &node))
		return 0;
	if (node)
		pfs_node_unref(dir->vol->fs, node);
	return err;
}

/* ---- the fixed part ------------------------------------------------------------------------- */

static struct pfs_vol *set_find(struct pfs_set_store *set, struct pfs_bytes ns)
{
	size_t i;

	for (i = 0; i < set->nvols; i++)
		if (!atomic_load(&set->vols[i]->closed) &&
		    pfs_bytes_eq(pfs_bytes_str(set->vols[i]->ns), ns))
			return set->vols[i];
	return NULL;
}

/* Another mount may have removed the namespace, and made one of the same name since. */
static bool still_there(struct pfs_vol *vol)
{
	struct pfs_store *store = atomic_load(&vol->store);
	uint64_t epoch = vol->root->epoch, known = vol->root->id, id;
	int err;

	err = pfs_store_root(store, &id);
	if (err)
		return err != -ENOENT;
	return id == known || epoch != pfs_store_epoch(store);
}

/* A volume for namespace `ns` of the set. set->lock is held. */
static struct pfs_vol *set_add(struct pfs_set_store *set, const char *ns)
{
	struct pfs_vol **vols, *vol;
	char name[2 * PFS_NAME_MAX];

	snprintf(name, sizeof(name), "%s/%s", set->config->name, ns);
	vols = realloc(set->vols, (set->nvols + 1) * sizeof(*vols));
	if (!vols)
		return NULL;
	set->vols = vols;
	vol = pfs_vol_new(set->fs, set->config, name, ns);
	if (vol)
		vols[set->nvols++] = vol;
	return vol;
}

/* The volume of a namespace that exists, or that is made. */
static int set_vol(struct pfs_set_store *set, struct pfs_bytes name, bool create,
		   struct pfs_vol **out)
{
	char ns[PFS_NAME_MAX + 1];
	struct pfs_store *store = NULL;
	int err;

	if (name.len > PFS_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(ns, name.p, name.len);
	ns[name.len] = '\0';
	pthread_mutex_lock(&set->lock);
	*out = set_find(set, name);
	if (*out && !still_there(*out)) {
		pfs_vol_close(*out);
		*out = NULL;
	}
	err = *out && create ? -EEXIST : 0;
	if (*out || err)
		goto out;
	err = create ? pfs_backend_make(set->config->backend, NULL)
		     : pfs_backend_start(set->config->backend, NULL);
	if (err)
		goto out;
	if (create) {
		err = pfs_backend_open(set->config->backend, ns, false, &store, NULL);
		pfs_store_free(store);
		store = NULL;
		if (err != -ENOENT) {
			err = err ? err : -EEXIST;
			goto out;
		}
	}
	err = pfs_backend_open(set->config->backend, ns, create, &store, NULL);
	if (err)
		goto out;
	*out = set_add(set, ns);
	if (*out)
		atomic_store(&(*out)->store, store);
	else
		pfs_store_free(store);
	err = *out ? 0 : -ENOMEM;
out:
	pthread_mutex_unlock(&set->lock);
	return err;
}

static int set_remove(struct pfs_set_store *set, struct pfs_bytes name)
{
	struct pfs_vol *vol;
	int err;

	err = set_vol(set, name, false, &vol);
	if (err)
		return err;
	err = pfs_queue_settle(vol);
	if (!err)
		err = pfs_backend_namespace_remove(set->config->backend, vol->ns);
	if (!err)
		pfs_vol_close(vol);
	return err;
}

static int fixed_lookup(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
			struct pfs_node **out)
{
	struct pfs_vdir *dir = parent->vdir;
	struct pfs_vol *vol;
	size_t i;
	int err;

	if (dir == fs->top && pfs_bytes_eq(name, PFS_BYTES(PFS_CONTROL_NAME)))
		return pfs_control_lookup(fs, NULL, name, out);
	if (parent->kind == PFS_NODE_SET) {
		err = set_vol(dir->set, name, false, &vol);
		if (!err)
			*out = vol->root;
		return err;
	}
	for (i = 0; i < dir->nchildren; i++) {
		if (!pfs_bytes_eq(pfs_bytes_str(dir->children[i]->name), name))
			continue;
		*out = dir->children[i]->vol ? dir->children[i]->vol->root
					     : dir->children[i]->node;
		return 0;
	}
	return -ENOENT;
}

/* ---- look-up -------------------------------------------------------------------------------- */

/* The object at (dir, name) as this mount sees it: *out has a lookup counted. */
static int object_lookup(struct pfs_fs *fs, struct pfs_node *dir, struct pfs_bytes name,
			 struct pfs_stamp *stamp, struct pfs_node **out)
{
	enum pfs_ahead_answer known;
	struct pfs_attr attr;
	struct pfs_node *node;
	uint64_t id;
	int err;

	err = pfs_entry_name_check(name);
	if (!err)
		err = pfs_node_id(dir, &id);
	if (err)
		return err;
	if (pfs_overlay_find(dir->vol, id, name, &node)) {
		if (!node)
			return -ENOENT;
		pfs_node_lock(fs, node);
		node->lookups++;
		pfs_node_unlock(fs, node);
		pfs_node_unref(fs, node);
		*out = node;
		return 0;
	}
	*stamp = pfs_stamp_take(fs);
	known = pfs_ahead_lookup(dir, id, name, &attr, stamp);
	if (known == PFS_AHEAD_UNKNOWN)
		err = pfs_store_lookup(atomic_load(&dir->vol->store), id, name, &attr);
	else if (known == PFS_AHEAD_ABSENT)
		err = -ENOENT;
	if (err == -ENOENT)
		pfs_vol_note_absent(dir->vol, id, name);
	if (err)
		return err;
	*out = pfs_node_get(dir->vol, &attr, *stamp, 1, 0);
	return *out ? 0 : -ENOMEM;
}

int pfs_fs_lookup(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		  struct pfs_entry *out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_node *node = NULL;
	int err;

	if (pfs_node_is_object(parent))
		err = object_lookup(fs, parent, name, &stamp, &node);
	else if (parent->kind == PFS_NODE_CONTROL)
		err = pfs_control_lookup(fs, parent, name, &node);
	else
		err = fixed_lookup(fs, parent, name, &node);
	/* Nothing has been made here yet; others may do so at any time. */
	if (err == -ENODATA)
		return -ENOENT;
	if (err == -ENOENT && pfs_node_is_object(parent)) {
		*out = (struct pfs_entry){.seen = stamp.seen};
		out->entry_timeout = pfs_vol_negative_timeout(parent->vol, parent, name);
		pfs_inval_naming(fs, parent, name);
		return 0;
	}
	if (err)
		return err;
	/* Creates that wait have not moved their directory's times yet. */
	if (pfs_node_is_object(node) && is_dir(node) && !pfs_root_unreachable(node))
		(void)pfs_queue_settle_dir(node);
	err = pfs_entry_fill(fs, node, parent, name, stamp, out);
	if (err)
		pfs_fs_forget(fs, node, 1);
	/* Removed by another between the look-up and its attributes. */
	return err == -ESTALE ? -ENOENT : err;
}

/* ---- making --------------------------------------------------------------------------------- */

int pfs_new_attr(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent, mode_t mode,
		 struct pfs_attr *out)
{
	struct pfs_attr dir;
	int err;

	err = pfs_node_attr(fs, parent, &dir);
	if (err)
		return err;
	*out = (struct pfs_attr){.mode = (uint32_t)mode, .uid = ctx->uid, .gid = ctx->gid};
	out->nlink = S_ISDIR(mode) ? 2 : 1;
	out->mtime = out->ctime = out->btime = pfs_now_ns();
	if (dir.mode & S_ISGID) {
		out->gid = dir.gid;
		if (S_ISDIR(mode))
			out->mode |= S_ISGID;
	}
	return pfs_store_alloc_ids(atomic_load(&parent->vol->store), 1, &out->id);
}

static void create_op(struct pfs_mutation *m, const struct pfs_attr *attr, uint64_t dir,
		      struct pfs_bytes name, const struct pfs_seg *target, int64_t expires)
{
	m->op = PFS_OP_CREATE;
	m->id = attr->id;
	m->dir = dir;
	m->name = name;
	m->set = (struct pfs_set){.mode = attr->mode, .uid = attr->uid, .gid = attr->gid,
				  .rdev = attr->rdev, .mtime = attr->mtime};
	m->set.expires = expires;
	if (target) {
		m->size = target->len;
		m->segs = target;
		m->nsegs = 1;
	}
}

/* Answer at once, commit soon. */
static int make_queued(struct pfs_node *parent, uint64_t dir, struct pfs_bytes name,
		       const struct pfs_attr *attr, const struct pfs_seg *target,
		       struct pfs_node **out)
{
	struct pfs_fs *fs = parent->vol->fs;
	struct pfs_shown show = {.dir = dir, .name = name};
	struct pfs_pending *item;
	struct pfs_seg *seg = NULL;
	int err;

	*out = pfs_node_get(parent->vol, attr, pfs_stamp_take(fs), 1, 0);
	if (!*out)
		return -ENOMEM;
	item = pfs_pending_new(PFS_PENDING_OP, *out, parent, name);
	if (item && target) {
		/* The target's bytes behind the segment, in one piece. */
		seg = malloc(sizeof(*seg) + target->len);
		if (seg) {
			memcpy(seg + 1, target->p, target->len);
			*seg = (struct pfs_seg){.p = seg + 1, .len = target->len};
		}
	}
	if (!item || (target && !seg)) {
		pfs_pending_free(fs, item);
		err = -ENOMEM;
	} else {
		create_op(&item->op, attr, dir, item->op.name, seg,
			  pfs_vol_expires(parent->vol, attr->mode));
		item->pins = true;
		show.node = *out;
		err = pfs_queue_add(parent->vol, item, &show, 1);
	}
	if (err)
		pfs_fs_forget(fs, *out, 1);
	return err;
}

static int make_through(struct pfs_node *parent, uint64_t dir, struct pfs_bytes name,
			const struct pfs_attr *attr, const struct pfs_seg *target,
			struct pfs_node **out)
{
	struct pfs_fs *fs = parent->vol->fs;
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_mutation m = {0};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = attr->ctime};
	int err;

	create_op(&m, attr, dir, name, target, pfs_vol_expires(parent->vol, attr->mode));
	err = pfs_vol_commit(parent->vol, &batch, parent, name);
	if (err)
		return err;
	pfs_node_touch_dir(fs, parent, name, batch.now);
	*out = pfs_node_get(parent->vol, &m.attr, stamp, 1, 0);
	return *out ? 0 : -ENOMEM;
}

/* Anything but a regular file that is opened as well: mknod, mkdir, symlink. */
static int make_object(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		       struct pfs_bytes name, mode_t mode, dev_t rdev, const struct pfs_seg *target,
		       struct pfs_entry *out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_node *node = NULL, *there;
	struct pfs_attr attr;
	uint64_t dir;
	int err;

	err = pfs_node_prepare(parent);
	if (!err)
		err = pfs_entry_name_check(name);
	if (!err)
		err = pfs_node_id(parent, &dir);
	if (!err && pfs_overlay_find(parent->vol, dir, name, &there)) {
		err = there ? -EEXIST : 0;
		if (there)
			pfs_node_unref(fs, there);
	}
	if (!err)
		err = pfs_new_attr(fs, ctx, parent, mode, &attr);
	if (err)
		return err;
	attr.rdev = rdev;
	attr.size = target ? target->len : 0;
	err = queued(parent) ? make_queued(parent, dir, name, &attr, target, &node)
			     : make_through(parent, dir, name, &attr, target, &node);
	if (err)
		return err;
	err = pfs_entry_fill(fs, node, parent, name, stamp, out);
	if (err)
		pfs_fs_forget(fs, node, 1);
	return err;
}

int pfs_fs_mknod(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		 struct pfs_bytes name, mode_t mode, dev_t rdev, struct pfs_entry *out)
{
	return make_object(fs, ctx, parent, name, mode, rdev, NULL, out);
}

int pfs_fs_mkdir(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		 struct pfs_bytes name, mode_t mode, struct pfs_entry *out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_vol *vol;
	int err;

	if (parent->kind != PFS_NODE_SET)
		return make_object(fs, ctx, parent, name, S_IFDIR | (mode & 07777), 0, NULL, out);
	if (parent->vdir->set->config->read_only)
		return -EROFS;
	err = set_vol(parent->vdir->set, name, true, &vol);
	return err ? err : pfs_entry_fill(fs, vol->root, NULL, name, stamp, out);
}

int pfs_fs_symlink(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		   struct pfs_bytes name, struct pfs_bytes target, struct pfs_entry *out)
{
	struct pfs_seg seg = {.p = target.p, .len = target.len};

	if (target.len == 0)
		return -ENOENT;
	if (target.len > PFS_SYMLINK_MAX)
		return -ENAMETOOLONG;
	return make_object(fs, ctx, parent, name, S_IFLNK | 0777, 0, &seg, out);
}

int pfs_fs_readlink(struct pfs_fs *fs, struct pfs_node *node, char **out)
{
	struct pfs_attr attr;
	uint64_t id;
	ssize_t n;
	char *buf;
	int err;

	if (!pfs_node_is_object(node))
		return -EINVAL;
	/* A queued link is in the engine before it is followed. */
	if (node->pins) {
		err = pfs_queue_settle(node->vol);
		if (err)
			return err;
	}
	err = pfs_node_attr(fs, node, &attr);
	if (!err)
		err = pfs_node_id(node, &id);
	if (err)
		return err;
	if (!S_ISLNK(attr.mode))
		return -EINVAL;
	buf = malloc(PFS_SYMLINK_MAX + 1);
	if (!buf)
		return -ENOMEM;
	n = pfs_store_read(atomic_load(&node->vol->store), id, 0, buf, PFS_SYMLINK_MAX);
	if (n < 0) {
		free(buf);
		return (int)n;
	}
	buf[n] = '\0';
	*out = buf;
	return 0;
}

int pfs_fs_link(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		struct pfs_bytes name, struct pfs_entry *out)
{
	struct pfs_mutation m = {.op = PFS_OP_LINK, .name = name};
	struct pfs_batch batch = {.ops = &m, .nops = 1};
	struct pfs_stamp stamp;
	int err;

	err = pfs_node_prepare(parent);
	if (err)
		return err;
	if (!pfs_node_is_object(node) || node->vol != parent->vol)
		return -EXDEV;
	if (!pfs_vol_offers(node->vol, PFS_CAP_HARD_LINKS))
		return -EPERM;
	err = pfs_entry_name_check(name);
	if (!err)
		err = settle_before(parent, name, node->pins > 0);
	stamp = pfs_stamp_take(fs);
	if (!err)
		err = pfs_node_id(parent, &m.dir);
	if (!err)
		err = pfs_node_id(node, &m.id);
	batch.epoch = node->epoch;
	if (!err)
		err = pfs_vol_commit(parent->vol, &batch, parent, name);
	if (err)
		return err;
	pfs_node_touch_dir(fs, parent, name, batch.now);
	pfs_node_set_attr(fs, node, &m.attr, stamp);
	pfs_node_lock(fs, node);
	node->lookups++;
	pfs_node_unlock(fs, node);
	err = pfs_entry_fill(fs, node, parent, name, stamp, out);
	if (err)
		pfs_fs_forget(fs, node, 1);
	return err;
}

/* ---- removing ------------------------------------------------------------------------------- */

/* What a commit said of an object that lost or changed its entry. */
static void told_attr(struct pfs_vol *vol, const struct pfs_attr *attr, struct pfs_stamp stamp)
{
	struct pfs_node *node;

	if (!attr->id)
		return;
	node = pfs_node_find(vol->fs, vol->config->backend, attr->id);
	if (!node) {
		pfs_nodes_changed(vol->fs);
		return;
	}
	pfs_node_set_attr(vol->fs, node, attr, stamp);
	pfs_node_unref(vol->fs, node);
}

static int remove_through(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
			  uint32_t flags)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .name = name, .flags = flags};
	struct pfs_batch batch = {.ops = &m, .nops = 1};
	struct pfs_stamp stamp;
	int err;

	err = settle_before(parent, name, flags & PFS_F_DIR);
	stamp = pfs_stamp_take(fs);
	if (!err)
		err = pfs_node_id(parent, &m.dir);
	if (!err)
		err = pfs_vol_commit(parent->vol, &batch, parent, name);
	if (err)
		return err;
	pfs_node_touch_dir(fs, parent, name, batch.now);
	told_attr(parent->vol, &m.other, stamp);
	return 0;
}

/*
 * A queued change takes a name from the object: its count says so at once. Pinned until the item has
 * a pin of its own, so that no commit meanwhile takes it back.
 */
static void loses_name(struct pfs_fs *fs, struct pfs_node *node)
{
	pfs_node_lock(fs, node);
	node->pins++;
	if (node->attr.nlink > 0)
		node->attr.nlink--;
	pfs_node_unlock(fs, node);
}

static void lost_name(struct pfs_fs *fs, struct pfs_node *node, int err)
{
	pfs_node_lock(fs, node);
	node->pins--;
	pfs_node_unlock(fs, node);
	if (err)
		pfs_node_drop_attr(fs, node);
}

static int unlink_queued(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name)
{
	struct pfs_shown show = {.name = name};
	struct pfs_stamp stamp;
	struct pfs_pending *item;
	struct pfs_node *node;
	int err;

	err = pfs_node_id(parent, &show.dir);
	if (!err)
		err = object_lookup(fs, parent, name, &stamp, &node);
	if (err)
		return err;
	item = pfs_pending_new(PFS_PENDING_OP, node, parent, name);
	if (!item) {
		err = -ENOMEM;
	} else if (is_dir(node)) {
		pfs_pending_free(fs, item);
		err = -EISDIR;
	} else {
		item->op.op = PFS_OP_REMOVE;
		item->op.dir = show.dir;
		item->pins = true;
		loses_name(fs, node);
		err = pfs_queue_add(parent->vol, item, &show, 1);
		lost_name(fs, node, err);
	}
	pfs_fs_forget(fs, node, 1);
	return err;
}

int pfs_fs_unlink(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name)
{
	int err;

	err = pfs_node_prepare(parent);
	if (!err)
		err = pfs_entry_name_check(name);
	if (err)
		return err;
	return queued(parent) ? unlink_queued(fs, parent, name)
			      : remove_through(fs, parent, name, 0);
}

int pfs_fs_rmdir(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name)
{
	int err;

	if (parent->kind == PFS_NODE_SET) {
		if (parent->vdir->set->config->read_only)
			return -EROFS;
		return set_remove(parent->vdir->set, name);
	}
	err = pfs_node_prepare(parent);
	if (!err)
		err = pfs_entry_name_check(name);
	return err ? err : remove_through(fs, parent, name, PFS_F_DIR);
}

/* ---- moving --------------------------------------------------------------------------------- */

static void moved(struct pfs_vol *vol, const struct pfs_attr *attr, struct pfs_stamp stamp,
		  struct pfs_node *from, struct pfs_bytes old, struct pfs_node *to,
		  struct pfs_bytes name)
{
	struct pfs_node *node = pfs_node_find(vol->fs, vol->config->backend, attr->id);

	if (!node) {
		pfs_nodes_changed(vol->fs);
		return;
	}
	pfs_node_set_attr(vol->fs, node, attr, stamp);
	pfs_node_moved(vol->fs, node, from, old, to, name);
	pfs_node_unref(vol->fs, node);
}

/* A file that is renamed before it was closed takes along what was written so far. */
static int publish_source(struct pfs_node *dir, uint64_t id, struct pfs_bytes name)
{
	struct pfs_vol *vol = dir->vol;
	struct pfs_node *node = NULL;
	struct pfs_attr attr;
	bool any;
	int err = 0;

	pthread_mutex_lock(&vol->lock);
	any = vol->dirty != NULL;
	pthread_mutex_unlock(&vol->lock);
	if (!any)
		return 0;
	if (!pfs_overlay_find(vol, id, name, &node) &&
	    !pfs_store_lookup(atomic_load(&vol->store), id, name, &attr))
		node = pfs_node_find(vol->fs, vol->config->backend, attr.id);
	if (!node)
		return 0;
	if (pfs_data_unpublished(vol->fs, node))
		err = pfs_data_commit_node(vol->fs, node, PFS_GOAL_PUBLISH);
	pfs_node_unref(vol->fs, node);
	return err;
}

static int rename_through(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_node *parent2,
			  struct pfs_mutation *m)
{
	struct pfs_vol *vol = parent->vol;
	struct pfs_batch batch = {.ops = m, .nops = 1};
	struct pfs_stamp stamp;
	int err;

	err = publish_source(parent, m->dir, m->name);
	if (!err)
		err = settle_before(parent, m->name, false);
	if (!err)
		err = settle_before(parent2, m->name2, false);
	stamp = pfs_stamp_take(fs);
	if (!err)
		err = pfs_vol_commit(vol, &batch, parent, m->name);
	if (err)
		return err;
	pfs_node_touch_dir(fs, parent, m->name, batch.now);
	pfs_node_touch_dir(fs, parent2, m->name2, batch.now);
	moved(vol, &m->attr, stamp, parent, m->name, parent2, m->name2);
	if (m->flags & PFS_F_EXCHANGE)
		moved(vol, &m->other, stamp, parent2, m->name2, parent, m->name);
	else
		told_attr(vol, &m->other, stamp);
	return 0;
}

/* -EAGAIN: it is one that cannot be queued. */
static int rename_queued(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_node *parent2,
			 const struct pfs_mutation *m)
{
	struct pfs_shown show[2] = {{.dir = m->dir, .name = m->name},
				    {.dir = m->dir2, .name = m->name2}};
	struct pfs_node *node, *victim = NULL;
	struct pfs_pending *item = NULL;
	struct pfs_stamp stamp;
	int err;

	err = object_lookup(fs, parent, m->name, &stamp, &node);
	if (err)
		return err;
	err = object_lookup(fs, parent2, m->name2, &stamp, &victim);
	if (err == -ENOENT)
		err = 0;
	if (!err && (is_dir(node) || victim == node || (victim && is_dir(victim)) ||
		     pfs_data_unpublished(fs, node)))
		err = -EAGAIN;
	if (err)
		goto out;
	err = -ENOMEM;
	item = pfs_pending_new(PFS_PENDING_OP, node, parent, m->name);
	if (!item)
		goto out;
	item->name2 = strndup(m->name2.p, m->name2.len);
	if (!item->name2) {
		pfs_pending_free(fs, item);
		goto out;
	}
	item->op.op = PFS_OP_RENAME;
	item->op.dir = m->dir;
	item->op.dir2 = m->dir2;
	item->op.name2 = (struct pfs_bytes){item->name2, m->name2.len};
	item->dir2 = parent2;
	pfs_node_ref(fs, parent2);
	item->other = victim;
	if (victim)
		pfs_node_ref(fs, victim);
	item->pins = true;
	show[1].node = node;
	if (victim)
		loses_name(fs, victim);
	err = pfs_queue_add(parent->vol, item, show, 2);
	if (victim)
		lost_name(fs, victim, err);
	if (!err)
		pfs_node_moved(fs, node, parent, m->name, parent2, m->name2);
out:
	pfs_fs_forget(fs, node, 1);
	if (victim)
		pfs_fs_forget(fs, victim, 1);
	return err;
}

int pfs_fs_rename(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		  struct pfs_node *parent2, struct pfs_bytes name2, unsigned flags)
{
	struct pfs_mutation m = {.op = PFS_OP_RENAME, .name = name, .name2 = name2};
	int err;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = pfs_node_prepare(parent);
	if (!err)
		err = pfs_node_prepare(parent2);
	if (!err && parent->vol != parent2->vol)
		err = -EXDEV;
	if (!err)
		err = pfs_entry_name_check(name);
	if (!err)
		err = pfs_entry_name_check(name2);
	if (!err)
		err = pfs_node_id(parent, &m.dir);
	if (!err)
		err = pfs_node_id(parent2, &m.dir2);
	if (err)
		return err;
	if (flags & RENAME_NOREPLACE)
		m.flags |= PFS_F_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		m.flags |= PFS_F_EXCHANGE;
	if (queued(parent) && !flags) {
		err = rename_queued(fs, parent, parent2, &m);
		if (err != -EAGAIN)
			return err;
	}
	return rename_through(fs, parent, parent2, &m);
}
