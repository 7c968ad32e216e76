/*
 * Attributes as the kernel sees them: what the engine says, this mount's dirty data on top. Filling
 * answers to look-ups; getattr, setattr, statfs.
 */
#include <fcntl.h>
#include <stdio.h>

#include "fs/internal.h"

#define BLOCK_SIZE  (128u << 10) /* what applications should read and write at once */
#define STATFS_UNIT 4096u

static struct timespec to_timespec(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += NSEC_PER_SEC;
		ts.tv_sec--;
	}
	return ts;
}

int64_t pfs_timespec_ns(const struct timespec *ts)
{
	int64_t ns;

	/* Times that 64 bits of ns cannot hold become the nearest that they can. */
	if (__builtin_mul_overflow((int64_t)ts->tv_sec, NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
		return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

uint32_t pfs_mode_killpriv(uint32_t mode)
{
	return mode & ~(uint32_t)(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
}

void pfs_node_stat(struct pfs_node *node, const struct pfs_attr *attr, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = node->ino;
	st->st_mode = attr->mode;
	/* A directory's count of subdirectories is not kept: 1 says so, as on btrfs. */
	st->st_nlink = S_ISDIR(attr->mode) ? attr->nlink > 0 : attr->nlink;
	st->st_uid = attr->uid;
	st->st_gid = attr->gid;
	st->st_rdev = attr->rdev;
	st->st_size = (off_t)attr->size;
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)((attr->stored + 511) / 512);
	st->st_mtim = to_timespec(attr->mtime);
	st->st_atim = st->st_mtim;
	st->st_ctim = to_timespec(attr->ctime);
}

static void virtual_stat(struct pfs_fs *fs, const struct pfs_node *node, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = node->ino;
	st->st_mode = S_IFDIR | 0755;
	st->st_nlink = 1;
	st->st_uid = fs->config->uid;
	st->st_gid = fs->config->gid;
	st->st_blksize = BLOCK_SIZE;
	st->st_mtim = st->st_atim = st->st_ctim = to_timespec(fs->started_at);
}

int pfs_node_visible(struct pfs_fs *fs, struct pfs_node *node, struct pfs_attr *out)
{
	struct pfs_data *data;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	err = pfs_node_attr(fs, node, out);
	if (!data)
		return err;
	pthread_mutex_lock(&data->lock);
	if (!err && !data->local) {
		/* A commit may have come between: ask again, now that nothing is on top. */
		pthread_mutex_unlock(&data->lock);
		err = pfs_node_attr(fs, node, out);
		pthread_mutex_lock(&data->lock);
	}
	if (!err && data->local) {
		if (data->killpriv)
			out->mode = pfs_mode_killpriv(out->mode);
		if (data->rewrite || data->size > out->size)
			out->size = data->size;
		if (data->rewrite || out->stored < data->size)
			out->stored = data->size;
		if (data->written || data->rewrite) {
			out->mtime = data->mtime;
			out->ctime = data->ctime;
		}
	}
	pthread_mutex_unlock(&data->lock);
	pfs_data_put(data);
	return err;
}

/* Of what cannot be taken back. */
static double short_timeout(const struct pfs_vol *vol)
{
	return (double)vol->config->attr_timeout / NSEC_PER_SEC;
}

/* No longer than the file lives. */
static void cap_timeouts(const struct pfs_attr *attr, struct pfs_entry *e)
{
	double left = (double)(attr->expires - pfs_now_ns()) / NSEC_PER_SEC;

	if (!attr->expires)
		return;
	left = left > 0 ? left : 0;
	e->entry_timeout = e->entry_timeout < left ? e->entry_timeout : left;
	e->attr_timeout = e->attr_timeout < left ? e->attr_timeout : left;
}

/* Has the store's backend been found unreachable? Does not ask it. */
static bool known_down(const struct pfs_vol *vol)
{
	struct pfs_backend *backend = vol->config->backend;
	struct pfs_health health;

	if (!__atomic_load_n(&backend->started, __ATOMIC_ACQUIRE) || pfs_backend_pushing(backend))
		return false;
	pfs_backend_health(backend, &health);
	return !health.ok;
}

bool pfs_root_unreachable(const struct pfs_node *node)
{
	return pfs_node_is_object(node) && node == node->vol->root && known_down(node->vol);
}

void pfs_root_fill(struct pfs_fs *fs, struct pfs_node *node, struct pfs_entry *out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_attr attr;
	bool valid;

	*out = (struct pfs_entry){.node = node, .seen = stamp.seen};
	pfs_node_lock(fs, node);
	attr = node->attr;
	valid = node->attr_valid;
	pfs_node_unlock(fs, node);
	if (attr.mode)
		pfs_node_stat(node, &attr, &out->st);
	else
		virtual_stat(fs, node, &out->st);
	if (valid)
		out->attr_timeout = pfs_vol_timeout(node->vol);
	if (valid && strcmp(node->vol->config->ns, "*") != 0)
		out->entry_timeout = PFS_LONG_TIMEOUT;
}

int pfs_entry_fill(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		   struct pfs_bytes name, struct pfs_stamp stamp, struct pfs_entry *out)
{
	struct pfs_attr attr;
	int err;

	*out = (struct pfs_entry){.node = node, .seen = stamp.seen};
	switch (node->kind) {
	case PFS_NODE_CONTROL:
		pfs_control_stat(fs, node, &out->st);
		out->entry_timeout = 1;
		return 0;
	case PFS_NODE_VIRTUAL:
	case PFS_NODE_SET:
		virtual_stat(fs, node, &out->st);
		out->entry_timeout = out->attr_timeout = PFS_LONG_TIMEOUT;
		return 0;
	default:
		break;
	}
	err = pfs_root_unreachable(node) ? -EHOSTDOWN : pfs_node_visible(fs, node, &attr);
	if (err && node == node->vol->root) {
		/* The store cannot be reached: its place is there all the same, and says so inside. */
		pfs_root_fill(fs, node, out);
		out->entry_timeout = out->attr_timeout = 0;
		return 0;
	}
	if (err)
		return err;
	out->entry_timeout = out->attr_timeout = pfs_vol_timeout(node->vol);
	if (S_ISREG(attr.mode) &&
	    !pfs_node_tell_size(fs, node, attr.content_version, &attr.size))
		out->attr_timeout = 0;
	pfs_node_stat(node, &attr, &out->st);
	/* A store's place is fixed; a namespace can be removed elsewhere, and nobody tells. */
	if (node == node->vol->root)
		out->entry_timeout = strcmp(node->vol->config->ns, "*") ? PFS_LONG_TIMEOUT
									: short_timeout(node->vol);
	else if (parent && !pfs_node_know(fs, node, parent, name))
		out->entry_timeout = short_timeout(node->vol);
	if (parent && node != node->vol->root)
		pfs_inval_naming(fs, parent, name);
	cap_timeouts(&attr, out);
	if (attr.derived)
		out->entry_timeout = out->attr_timeout = 0;
	return 0;
}

static bool is_directory(struct pfs_fs *fs, struct pfs_node *node)
{
	bool is;

	if (!pfs_node_is_object(node))
		return false;
	pfs_node_lock(fs, node);
	is = node->permanent || S_ISDIR(node->attr.mode);
	pfs_node_unlock(fs, node);
	return is;
}

int pfs_node_settle(struct pfs_fs *fs, struct pfs_node *node)
{
	if (!is_directory(fs, node))
		return pfs_data_commit_node(fs, node, PFS_GOAL_CREATE);
	/* One that cannot be made now has moved nothing. */
	(void)pfs_queue_settle_dir(node);
	return 0;
}

int pfs_fs_getattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_file *file,
		   struct pfs_entry *out)
{
	struct pfs_stamp stamp;
	int err;

	(void)file;
	/* Creates that wait have not moved their directory's times yet. */
	if (is_directory(fs, node) && !pfs_root_unreachable(node))
		(void)pfs_queue_settle_dir(node);
	stamp = pfs_stamp_take(fs);
	err = pfs_entry_fill(fs, node, NULL, PFS_BYTES(""), stamp, out);
	out->node = NULL;
	return err;
}

/* ---- setattr -------------------------------------------------------------------------------- */

/*
 * Cut to nothing by who has the file open to write it: vim saves so. Where values are whole or not at all the
 * empty one is nobody's, and a rewrite begins, as with O_TRUNC.
 */
static bool begins_rewrite(struct pfs_data *data, uint64_t size)
{
	bool begins;

	if (size || !pfs_vol_offers(data->node->vol, PFS_CAP_LATE_CREATE))
		return false;
	pthread_mutex_lock(&data->lock);
	begins = data->writers > 0 && !data->rewrite;
	pthread_mutex_unlock(&data->lock);
	return begins;
}

static int set_size(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *node,
		    uint64_t size)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_mutation m = {.op = PFS_OP_TRUNCATE, .size = size};
	struct pfs_batch batch = {.ops = &m, .nops = 1};
	struct pfs_data *data;
	bool done = false;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	if (data && begins_rewrite(data, size)) {
		err = pfs_data_start_rewrite(data, ctx->uid != 0);
		done = true;
	} else if (data) {
		err = pfs_data_truncate(data, size, &done);
	}
	if (!err && !done)
		err = pfs_node_id(node, &m.id);
	if (!err && !done) {
		m.set.mask = ctx->uid ? PFS_SET_KILLPRIV : 0;
		pfs_vol_refresh(node, &m);
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
		if (!err)
			pfs_node_set_attr(fs, node, &m.attr, stamp);
	}
	if (data)
		pfs_data_put(data);
	return err == -ENOENT ? -ESTALE : err;
}

static void apply_set(struct pfs_attr *attr, const struct pfs_set *set, int64_t now)
{
	if (set->mask & PFS_SET_MODE)
		attr->mode = (attr->mode & S_IFMT) | (set->mode & 07777);
	if (set->mask & PFS_SET_UID)
		attr->uid = set->uid;
	if (set->mask & PFS_SET_GID)
		attr->gid = set->gid;
	if (set->mask & PFS_SET_MTIME)
		attr->mtime = set->mtime;
	attr->ctime = now;
}

/* On an object whose create has not been committed: it will be created so. */
static bool set_on_pending_create(struct pfs_fs *fs, struct pfs_node *node,
				  const struct pfs_set *set)
{
	int64_t now = pfs_now_ns();
	struct pfs_data *data;
	bool pending;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	if (!data)
		return false;
	pthread_mutex_lock(&data->lock);
	pending = data->create && !data->busy;
	if (pending) {
		pfs_node_lock(fs, node);
		apply_set(&node->attr, set, now);
		pfs_node_unlock(fs, node);
		if (set->mask & PFS_SET_MODE)
			data->killpriv = false;
	}
	if (data->local && (set->mask & PFS_SET_MTIME))
		data->mtime = set->mtime;
	if (data->local)
		data->ctime = now;
	pthread_mutex_unlock(&data->lock);
	pfs_data_put(data);
	return pending;
}

static int queue_set(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_set *set)
{
	struct pfs_pending *item;
	struct pfs_attr attr;
	int err;

	err = pfs_node_attr(fs, node, &attr);
	if (err)
		return err;
	item = pfs_pending_new(PFS_PENDING_OP, node, NULL, PFS_BYTES(""));
	if (!item)
		return -ENOMEM;
	item->op.op = PFS_OP_SETATTR;
	item->op.id = node->id;
	item->op.set = *set;
	item->op.name = (struct pfs_bytes){NULL, 0};
	item->pins = true;
	pfs_node_lock(fs, node);
	if (!node->attr_valid && !node->pins)
		node->attr = attr;
	/* Until the item has its own pin, so that no commit meanwhile takes it back. */
	node->pins++;
	apply_set(&node->attr, set, item->now);
	pfs_node_unlock(fs, node);
	err = pfs_queue_add(node->vol, item, NULL, 0);
	node->pins--;
	return err;
}

static int commit_set(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_set *set)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_mutation m = {.op = PFS_OP_SETATTR, .set = *set};
	struct pfs_batch batch = {.ops = &m, .nops = 1};
	int err;

	err = pfs_node_id(node, &m.id);
	if (!err)
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
	if (!err)
		pfs_node_set_attr(fs, node, &m.attr, stamp);
	return err == -ENOENT ? -ESTALE : err;
}

static int set_others(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_set *set)
{
	int err;

	if (set_on_pending_create(fs, node, set))
		return 0;
	if (node->vol->config->write_mode == PFS_WRITE_QUEUED)
		return queue_set(fs, node, set);
	err = pfs_node_settle(fs, node);
	return err ? err : commit_set(fs, node, set);
}

static int make_set(struct pfs_fs *fs, struct pfs_node *node, const struct stat *st, unsigned mask,
		    struct pfs_set *set)
{
	struct pfs_attr attr;
	int err;

	*set = (struct pfs_set){.uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode & 07777};
	if (mask & PFS_FS_SET_MODE)
		set->mask |= PFS_SET_MODE;
	if (mask & PFS_FS_SET_UID)
		set->mask |= PFS_SET_UID;
	if (mask & PFS_FS_SET_GID)
		set->mask |= PFS_SET_GID;
	if (mask & (PFS_FS_SET_MTIME | PFS_FS_SET_MTIME_NOW))
		set->mask |= PFS_SET_MTIME;
	set->mtime = mask & PFS_FS_SET_MTIME_NOW ? pfs_now_ns() : pfs_timespec_ns(&st->st_mtim);
	if (!(set->mask & (PFS_SET_UID | PFS_SET_GID)) || (set->mask & PFS_SET_MODE))
		return 0;
	/* A new owner does not inherit setuid, nor setgid where the group may execute. */
	err = pfs_node_attr(fs, node, &attr);
	if (!err && S_ISREG(attr.mode) && (attr.mode & (S_ISUID | S_ISGID))) {
		set->mask |= PFS_SET_MODE;
		set->mode = pfs_mode_killpriv(attr.mode) & 07777;
	}
	return err;
}

int pfs_fs_setattr(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *node,
		   struct pfs_file *file, const struct stat *st, unsigned mask,
		   struct pfs_entry *out)
{
	struct pfs_set set;
	int err = 0;

	err = pfs_node_prepare(node);
	if (!err && file)
		err = file->refused;
	if (err)
		return err;
	if ((mask & PFS_FS_SET_SIZE) && pfs_node_attr_known(node).intake) {
		/* It is empty, but for what an open file has written and cannot take back. */
		if (st->st_size || (file && file->taken))
			return -EINVAL;
		mask &= ~(unsigned)PFS_FS_SET_SIZE;
	}
	if (mask & PFS_FS_SET_SIZE) {
		if (st->st_size < 0)
			return -EINVAL;
		if (st->st_size > PFS_SIZE_MAX)
			return -EFBIG;
		if (node->vol->config->write_mode == PFS_WRITE_QUEUED)
			err = pfs_queue_settle(node->vol);
		if (!err)
			err = set_size(fs, ctx, node, (uint64_t)st->st_size);
	}
	if (!err)
		err = make_set(fs, node, st, mask, &set);
	if (!err && set.mask)
		err = set_others(fs, node, &set);
	if (err)
		return err;
	if (mask & PFS_FS_SET_SIZE)
		pfs_node_told_size(node, (uint64_t)st->st_size);
	return pfs_fs_getattr(fs, node, NULL, out);
}

/* ---- statfs --------------------------------------------------------------------------------- */

/* The backend whose room a directory of the fixed part shows: there is one only, and it runs. */
static struct pfs_backend *only_backend(const struct pfs_fs *fs)
{
	struct pfs_backend *backend = fs->config->nbackends == 1 ? fs->config->backends[0] : NULL;

	return backend && backend->started ? backend : NULL;
}

int pfs_fs_statfs(struct pfs_fs *fs, struct pfs_node *node, struct statvfs *out)
{
	struct pfs_backend *backend = only_backend(fs);
	struct pfs_statfs space = {0, 0};
	struct pfs_usage usage = {0, 0};
	int err = 0;

	memset(out, 0, sizeof(*out));
	out->f_bsize = out->f_frsize = STATFS_UNIT;
	out->f_namemax = PFS_NAME_MAX;
	if (pfs_node_is_object(node)) {
		err = pfs_vol_open(node->vol, NULL);
		backend = node->vol->config->backend;
		if (!err)
			err = pfs_store_usage(atomic_load(&node->vol->store), &usage);
		if (err == -EOPNOTSUPP) /* others' data is not counted */
			err = 0;
		if (err == -ENODATA) /* nothing has been made yet */
			return 0;
	}
	if (!err && backend)
		err = pfs_backend_statfs(backend, &space);
	if (err || !backend)
		return err;
	out->f_blocks = space.total / STATFS_UNIT;
	out->f_bfree = out->f_bavail = space.available / STATFS_UNIT;
	out->f_ffree = out->f_favail = PFS_ID_MAX / 2 - usage.objects;
	out->f_files = usage.objects + out->f_ffree;
	return 0;
}
