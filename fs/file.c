/*
 * Open files: create, open, read, write, flush, fsync, release, and the calls on ranges. When to
 * commit is decided here for what an application asks (close, fsync); what a commit is, in data.c.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/internal.h"

/* Bytes that one copy_file_range may move: one transaction's worth. */
#define COPY_MAX (64u << 20)

static bool queued(const struct pfs_node *node)
{
	return node->vol->config->write_mode == PFS_WRITE_QUEUED;
}

static bool opened_for_writing(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* Loss of data is told once to every open file. */
static int tell_losses(struct pfs_file *file)
{
	uint64_t queue_lost = atomic_load(&file->node->vol->queue_lost);
	bool news;

	pthread_mutex_lock(&file->data->lock);
	news = file->lost_told != file->data->lost || file->queue_lost_told != queue_lost;
	file->lost_told = file->data->lost;
	file->queue_lost_told = queue_lost;
	pthread_mutex_unlock(&file->data->lock);
	return news ? -EIO : 0;
}

/* Count what a failed call just told as told, so that the next does not tell it again. */
static int told(struct pfs_file *file, int err)
{
	if (err)
		(void)tell_losses(file);
	return err;
}

/* The first write is tried, where the engine can tell then what a close would be too late for. */
static int try_first(struct pfs_file *file, const void *buf, size_t len, off_t off,
		     enum pfs_append append)
{
	if (file->tried || !pfs_vol_offers(file->node->vol, PFS_CAP_TRIALS))
		return 0;
	file->tried = true;
	file->refused = pfs_data_try(file->data, buf, len, (uint64_t)off, append);
	return file->refused;
}

static bool appends(int flags)
{
	return opened_for_writing(flags) && (flags & O_APPEND);
}

/*
 * A file that expires shows nothing afterwards, to nobody: its pages are not left to the kernel; nor are
 * those of one that is made at every look. Where several mounts append, the kernel's pages are in the way: it would place what is appended by
 * a size that may be old, and cut one write into several requests. So whoever opens such a file
 * meanwhile, or opens it to append, goes past them. So does who opens others' data where nobody tells of
 * changes: the kernel would cut what it reads at a size that may be old.
 *
 * Beside each other the two ways are not sound: who reads through pages sees zeros where somebody
 * appends past them, and who reads past them sees parts of what is appended through pages. So all who
 * have the file open go the way of the first, as far as that can be: this mount may become alone
 * meanwhile, or lose its push channel without knowing of another session. data->lock is held.
 */
static bool needs_direct(const struct pfs_file *file)
{
	const struct pfs_data *data = file->data;
	const struct pfs_vol *vol = file->node->vol;
	struct pfs_attr attr = pfs_node_attr_known(file->node);

	if (attr.expires || attr.derived)
		return true;
	if (vol->config->backend->host && !pfs_vol_pushes(vol))
		return true;
	if (data->appenders == 0 && !appends(file->flags))
		return false;
	if (data->direct > 0)
		return true;
	return !pfs_vol_alone(vol) &&
	       (data->opens == 0 || pfs_backend_sessions(vol->config->backend) != 1);
}

static int file_new(struct pfs_fs *fs, struct pfs_node *node, int flags, struct pfs_file **out)
{
	struct pfs_file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	file->node = node;
	file->flags = flags;
	file->snapshot = -1;
	file->data = pfs_data_get(fs, node, true, &err);
	if (!file->data) {
		free(file);
		return -ENOMEM;
	}
	pfs_node_ref(fs, node);
	pthread_mutex_lock(&file->data->lock);
	file->direct = needs_direct(file);
	file->data->opens++;
	file->data->direct += file->direct;
	file->data->writers += opened_for_writing(flags);
	file->data->appenders += appends(flags);
	file->lost_told = file->data->lost;
	pthread_mutex_unlock(&file->data->lock);
	file->queue_lost_told = node->vol->queue_lost;
	*out = file;
	return 0;
}

static void set_hints(const struct pfs_file *file, int flags, struct pfs_open_hints *hints)
{
	const struct pfs_node *node = file->node;

	*hints = (struct pfs_open_hints){
		.direct_io = file->direct,
		.keep_cache = pfs_vol_pushes(node->vol) && !(flags & O_TRUNC),
		/* The close of a process that has fcntl locks must be heard. */
		.noflush = !opened_for_writing(flags) && !pfs_locks_posix(node),
	};
}

static int open_control(struct pfs_fs *fs, struct pfs_node *node, int flags, struct pfs_file **out,
			struct pfs_open_hints *hints)
{
	struct pfs_file *file;
	int err;

	if (opened_for_writing(flags))
		return -EPERM;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->node = node;
	file->flags = flags;
	file->snapshot = -1;
	err = pfs_control_render(fs, node, &file->text);
	if (err) {
		pfs_buf_release(&file->text);
		free(file);
		return err;
	}
	*hints = (struct pfs_open_hints){.direct_io = true, .noflush = true};
	*out = file;
	return 0;
}

/* What is made at once for this open file alone. */
static int take_snapshot(struct pfs_file *file, uint64_t id)
{
	if (!pfs_node_attr_known(file->node).unsized)
		return 0;
	return pfs_store_snapshot(atomic_load(&file->node->vol->store), id, &file->snapshot);
}

/* Whether it failed is the caller's to know; why, for whoever looks. */
static int note_intake(const struct pfs_file *file, int err)
{
	if (err)
		pfs_vol_note_failure(file->node->vol, err, file->node, PFS_BYTES(""), pfs_error_text());
	return err;
}

/* What is taken in as a whole is written by each open file for itself, and never read. */
static int open_intake(struct pfs_file *file, uint64_t id)
{
	if (!pfs_node_attr_known(file->node).intake)
		return 0;
	if ((file->flags & O_ACCMODE) != O_WRONLY)
		return -EACCES;
	return note_intake(file, pfs_store_intake(atomic_load(&file->node->vol->store), id,
						  &file->intake));
}

static int check_cut(const struct pfs_file *file)
{
	if (!file->cut)
		return 0;
	pfs_error_text_set("what wrote it was killed before its end: nothing of it was taken in");
	return note_intake(file, -ECANCELED);
}

static ssize_t write_intake(struct pfs_file *file, uint64_t owner, const void *buf, size_t len,
			    off_t off)
{
	struct pfs_bytes data = {buf, len};
	int err = check_cut(file);

	if (err)
		return err;
	file->taken = true;
	file->writer = owner;
	err = pfs_intake_write(file->intake, file->flags & O_APPEND ? -1 : off, data);
	return err ? note_intake(file, err) : (ssize_t)len;
}

static int finish_intake(struct pfs_file *file)
{
	int err = check_cut(file);

	if (!err && queued(file->node))
		err = pfs_queue_settle(file->node->vol);
	file->writer = 0;
	return err ? err : note_intake(file, pfs_intake_finish(file->intake));
}

int pfs_fs_open(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *node, int flags,
		struct pfs_file **out, struct pfs_open_hints *hints)
{
	uint64_t id;
	int err;

	if (node->kind == PFS_NODE_CONTROL)
		return open_control(fs, node, flags, out, hints);
	if (!pfs_node_is_object(node))
		return -EISDIR;
	if (opened_for_writing(flags) && !pfs_node_writable(node))
		return -EROFS;
	err = pfs_node_id(node, &id);
	if (!err && pfs_node_expired(node))
		err = -ESTALE; /* look it up again */
	if (!err)
		err = file_new(fs, node, flags, out);
	if (err)
		return err;
	err = take_snapshot(*out, id);
	if (!err)
		err = open_intake(*out, id);
	if (err) {
		pfs_fs_release(fs, *out);
		return err;
	}
	if ((flags & O_TRUNC) && opened_for_writing(flags) && !(*out)->intake) {
		/* What was closed before and waits in the queue is not part of the rewrite. */
		if (queued(node))
			err = pfs_queue_settle(node->vol);
		if (!err)
			err = pfs_data_start_rewrite((*out)->data, ctx->uid != 0);
		if (err) {
			pfs_fs_release(fs, *out);
			return err;
		}
		pfs_node_told_size(node, 0);
	}
	if (atomic_load(&node->grown_from))
		pfs_inval_growth_later(fs, node);
	set_hints(*out, flags, hints);
	return 0;
}

/* ---- create --------------------------------------------------------------------------------- */

/*
 * May the create wait for its close? Only while nobody else could ask the engine for the name, or
 * where the store queues everything.
 */
static bool may_defer(const struct pfs_node *parent)
{
	return queued(parent) || pfs_vol_alone(parent->vol);
}

static int create_deferred(struct pfs_fs *fs, struct pfs_node *parent, uint64_t dir,
			   struct pfs_bytes name, const struct pfs_attr *attr, int flags,
			   struct pfs_node **node, struct pfs_file **out)
{
	struct pfs_shown show = {.dir = dir, .name = name};
	struct pfs_pending *item;
	struct pfs_data *data;
	int err;

	*node = pfs_node_get(parent->vol, attr, pfs_stamp_take(fs), 1, 0);
	if (!*node)
		return -ENOMEM;
	err = file_new(fs, *node, flags, out);
	if (err)
		goto fail;
	data = (*out)->data;
	item = pfs_pending_new(PFS_PENDING_CREATE, *node, parent, name);
	if (!item) {
		err = -ENOMEM;
		goto fail_file;
	}
	item->op.dir = dir;
	item->pins = true;
	show.node = *node;
	/* Under data->lock, so that nobody finds the item before the data says what it stands for. */
	pthread_mutex_lock(&data->lock);
	data->create = item;
	data->local = true;
	data->rewrite = (flags & O_TRUNC) && !(flags & O_APPEND);
	data->size = 0;
	data->mtime = data->ctime = attr->ctime;
	err = pfs_queue_add(parent->vol, item, &show, 1);
	if (err) {
		data->create = NULL;
		data->local = data->rewrite = false;
	}
	pfs_data_link(data);
	pthread_mutex_unlock(&data->lock);
	if (!err)
		return 0;
fail_file:
	pfs_fs_release(fs, *out);
fail:
	pfs_fs_forget(fs, *node, 1);
	return err;
}

static int create_through(struct pfs_fs *fs, struct pfs_node *parent, uint64_t dir,
			  struct pfs_bytes name, const struct pfs_attr *attr, int flags,
			  struct pfs_node **node, struct pfs_file **out)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .id = attr->id, .dir = dir, .name = name};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = attr->ctime};
	bool late = pfs_vol_offers(parent->vol, PFS_CAP_LATE_CREATE);
	int err;

	m.set = (struct pfs_set){
		.mode = attr->mode, .uid = attr->uid, .gid = attr->gid, .mtime = attr->mtime,
		.expires = pfs_vol_expires(parent->vol, attr->mode)};
	if (late)
		m.flags = PFS_F_LATE;
	err = pfs_vol_commit(parent->vol, &batch, parent, name);
	if (err)
		return err;
	pfs_node_touch_dir(fs, parent, name, batch.now);
	*node = pfs_node_get(parent->vol, &m.attr, stamp, 1, 0);
	if (!*node)
		return -ENOMEM;
	err = file_new(fs, *node, flags, out);
	if (err) {
		pfs_fs_forget(fs, *node, 1);
		return err;
	}
	/* The first content is seen whole as well; where there is no file without one, it is awaited. */
	if (late || ((flags & O_TRUNC) && !(flags & O_APPEND))) {
		(void)pfs_data_start_rewrite((*out)->data, false);
		if (!late)
			pfs_data_set_fresh((*out)->data);
	}
	return 0;
}

/* The name turned out to exist: open what is there. */
static int create_existing(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
			   struct pfs_bytes name, int flags, struct pfs_entry *entry,
			   struct pfs_file **out, struct pfs_open_hints *hints)
{
	int err;

	if (flags & O_EXCL)
		return -EEXIST;
	err = pfs_fs_lookup(fs, parent, name, entry);
	if (!err && !entry->node)
		err = -ENOENT;
	if (err)
		return err;
	if (!S_ISREG(entry->st.st_mode))
		err = S_ISDIR(entry->st.st_mode) ? -EISDIR : -EEXIST;
	if (!err)
		err = pfs_fs_open(fs, ctx, entry->node, flags & ~O_CREAT, out, hints);
	if (err)
		pfs_fs_forget(fs, entry->node, 1);
	return err;
}

/*
 * The kernel may hold that there is no such name a moment longer than it is true, and a deferred
 * create would notice too late. `hidden`: this mount has removed it, and the engine not yet.
 */
static int check_absent(struct pfs_node *parent, uint64_t dir, struct pfs_bytes name, bool hidden)
{
	struct pfs_attr there;
	int err;

	if (hidden || pfs_vol_just_absent(parent->vol, dir, name))
		return 0;
	err = pfs_store_lookup(atomic_load(&parent->vol->store), dir, name, &there);
	if (err == -ENOENT)
		return 0;
	return err ? err : -EEXIST;
}

int pfs_fs_create(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		  struct pfs_bytes name, mode_t mode, int flags, struct pfs_entry *entry,
		  struct pfs_file **out, struct pfs_open_hints *hints)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_node *node = NULL;
	struct pfs_attr attr;
	bool hidden = false;
	uint64_t dir;
	int err;

	err = pfs_node_prepare(parent);
	if (!err)
		err = pfs_entry_name_check(name);
	if (!err)
		err = pfs_node_id(parent, &dir);
	if (!err)
		hidden = pfs_overlay_find(parent->vol, dir, name, &node);
	if (node) {
		pfs_node_unref(fs, node);
		return create_existing(fs, ctx, parent, name, flags, entry, out, hints);
	}
	if (!err)
		err = pfs_new_attr(fs, ctx, parent, S_IFREG | (mode & 07777), &attr);
	if (err)
		return err;
	if (may_defer(parent)) {
		err = check_absent(parent, dir, name, hidden);
		if (!err)
			err = create_deferred(fs, parent, dir, name, &attr, flags, &node, out);
	} else {
		err = create_through(fs, parent, dir, name, &attr, flags, &node, out);
	}
	if (err == -EEXIST)
		return create_existing(fs, ctx, parent, name, flags, entry, out, hints);
	if (err)
		return err;
	set_hints(*out, flags, hints);
	err = pfs_entry_fill(fs, node, parent, name, stamp, entry);
	if (err) {
		pfs_fs_release(fs, *out);
		pfs_fs_forget(fs, node, 1);
	}
	return err;
}

/* ---- reading and writing -------------------------------------------------------------------- */

/* Nothing is read from, or written to, what has expired while it was open. */
static int check_expiry(struct pfs_fs *fs, struct pfs_file *file)
{
	struct pfs_attr attr;

	if (!file->direct || !pfs_node_expired(file->node))
		return 0;
	return pfs_node_attr(fs, file->node, &attr);
}

ssize_t pfs_fs_read(struct pfs_fs *fs, struct pfs_file *file, void *buf, size_t len, off_t off)
{
	ssize_t n;
	int err;

	if (off < 0)
		return -EINVAL;
	err = file->data && !file->direct ? pfs_node_kernel_reads(fs, file->node) : 0;
	if (!err && file->data)
		err = check_expiry(fs, file);
	if (err)
		return err;
	if (file->snapshot >= 0) {
		n = pread(file->snapshot, buf, len, off);
		return n < 0 ? -errno : n;
	}
	if (file->data)
		return pfs_data_read(file->data, buf, len, (uint64_t)off);
	if ((uint64_t)off >= file->text.len)
		return 0;
	if (len > file->text.len - (size_t)off)
		len = file->text.len - (size_t)off;
	memcpy(buf, file->text.data + off, len);
	return (ssize_t)len;
}

ssize_t pfs_fs_write(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file,
		     const void *buf, size_t len, off_t off, bool from_cache)
{
	enum pfs_append append = PFS_APPEND_NOT;
	uint32_t mode;
	int err;

	if (!file->data)
		return -EPERM;
	if (file->intake)
		return write_intake(file, ctx->owner, buf, len, off);
	if ((file->flags & O_APPEND) && !from_cache)
		append = file->direct ? PFS_APPEND_DIRECT : PFS_APPEND_PAGES;
	mode = pfs_node_attr_known(file->node).mode;
	if (off < 0)
		return -EINVAL;
	if ((uint64_t)off + len > (uint64_t)PFS_SIZE_MAX)
		return -EFBIG;
	err = file->refused ? file->refused : tell_losses(file);
	if (!err)
		err = pfs_locks_check(file->node);
	if (!err)
		err = check_expiry(fs, file);
	if (!err && !from_cache)
		err = try_first(file, buf, len, off, append);
	if (!err)
		err = pfs_data_write(file->data, buf, len, (uint64_t)off, append,
				     ctx->uid != 0 &&
					     pfs_mode_killpriv(mode) != mode);
	if (!err)
		pfs_node_kernel_wrote(file->node, (uint64_t)off + len, file->direct);
	return err ? told(file, err) : (ssize_t)len;
}

/* Whether a close has anything to publish: not a rewrite that has written nothing yet. */
static bool flush_needed(struct pfs_data *data)
{
	bool need;

	pthread_mutex_lock(&data->lock);
	need = !pfs_data_clean(data) && (!data->rewrite || data->written || data->publish);
	pthread_mutex_unlock(&data->lock);
	return need;
}

/* write_mode = queued: the content is accepted, in order with everything else. */
static int queue_data(struct pfs_file *file)
{
	struct pfs_data *data = file->data;
	struct pfs_pending *item;
	bool had;

	pthread_mutex_lock(&data->lock);
	had = data->queued;
	data->queued = true;
	pthread_mutex_unlock(&data->lock);
	if (had)
		return 0;
	item = pfs_pending_new(PFS_PENDING_DATA, file->node, NULL, PFS_BYTES(""));
	if (!item) {
		pthread_mutex_lock(&data->lock);
		data->queued = false;
		pthread_mutex_unlock(&data->lock);
		return -ENOMEM;
	}
	item->op.name = (struct pfs_bytes){NULL, 0};
	return pfs_queue_add(file->node->vol, item, NULL, 0);
}

static int publish(struct pfs_file *file)
{
	return queued(file->node) ? queue_data(file)
				  : pfs_data_commit(file->data, PFS_GOAL_PUBLISH);
}

int pfs_fs_flush(struct pfs_fs *fs, struct pfs_file *file)
{
	int err;

	(void)fs;
	if (!file->data || !opened_for_writing(file->flags))
		return 0;
	if (file->intake)
		return finish_intake(file);
	if (file->refused)
		return file->refused;
	if (flush_needed(file->data)) {
		err = publish(file);
		if (err)
			return told(file, err);
	}
	return tell_losses(file);
}

int pfs_fs_close(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file)
{
	if (file->intake && file->writer) {
		if (file->writer != ctx->owner)
			return 0;
		if (pfs_process_killed(ctx->pid))
			file->cut = true;
	}
	return pfs_fs_flush(fs, file);
}

int pfs_fs_fsync(struct pfs_fs *fs, struct pfs_file *file, bool datasync)
{
	int err;

	(void)fs;
	(void)datasync;
	if (!file->data)
		return 0;
	if (file->refused)
		return file->refused;
	if (queued(file->node)) {
		err = pfs_queue_settle(file->node->vol);
		if (err)
			return told(file, err);
	}
	err = file->intake ? finish_intake(file) : pfs_data_commit(file->data, PFS_GOAL_PUBLISH);
	if (!err)
		err = pfs_backend_sync(file->node->vol->config->backend);
	if (err)
		return told(file, err);
	return tell_losses(file);
}

void pfs_fs_release(struct pfs_fs *fs, struct pfs_file *file)
{
	bool writes = opened_for_writing(file->flags), last, dirty, refused;
	struct pfs_data *data = file->data;

	if (data) {
		pfs_locks_end(fs, file);
		pthread_mutex_lock(&data->lock);
		data->direct -= file->direct;
		data->writers -= writes;
		data->appenders -= appends(file->flags);
		last = --data->opens == 0 || (writes && data->writers == 0);
		dirty = !pfs_data_clean(data);
		/* Who truncated it and was not refused means it to be empty. */
		if (writes && (file->flags & O_TRUNC) && !file->refused)
			data->refused = false;
		refused = data->refused;
		pthread_mutex_unlock(&data->lock);
		if (last && refused)
			pfs_data_drop_unwritten(data);
		/* Nobody is left to be told; what fails is tried again and noted by data.c. */
		if (last && dirty)
			(void)publish(file);
		pfs_data_put(data);
		pfs_node_unref(fs, file->node);
	}
	pfs_buf_release(&file->text);
	if (file->snapshot >= 0)
		close(file->snapshot);
	pfs_intake_free(file->intake);
	free(file);
}

/* ---- ranges --------------------------------------------------------------------------------- */

/* Commit one mutation of a file's content and keep what the engine says of it. */
static int commit_one(struct pfs_fs *fs, struct pfs_node *node, struct pfs_mutation *m)
{
	struct pfs_stamp stamp = pfs_stamp_take(fs);
	struct pfs_batch batch = {.ops = m, .nops = 1};
	int err;

	err = pfs_node_id(node, &m->id);
	pfs_vol_refresh(node, m);
	if (!err)
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
	if (!err)
		pfs_node_set_attr(fs, node, &m->attr, stamp);
	return err == -ENOENT ? -ESTALE : err;
}

/* Bring the file to the length that a range operation reached beyond its end. */
static int grow(struct pfs_fs *fs, struct pfs_node *node, struct pfs_data *data, uint64_t end)
{
	struct pfs_mutation m = {.op = PFS_OP_TRUNCATE, .size = end};
	struct pfs_attr attr;
	bool done;
	int err;

	err = pfs_node_visible(fs, node, &attr);
	if (err || attr.size >= end)
		return err;
	err = pfs_data_truncate(data, end, &done);
	if (err || done)
		return err;
	return commit_one(fs, node, &m);
}

int pfs_fs_fallocate(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file, int mode,
		     off_t off, off_t len)
{
	struct pfs_mutation m = {.op = PFS_OP_PUNCH, .offset = (uint64_t)off,
				 .length = (uint64_t)len};
	struct pfs_attr attr;
	bool done;
	int err;

	if (!file->data)
		return -EPERM;
	if (file->intake)
		return -EOPNOTSUPP;
	if (file->refused)
		return file->refused;
	if (off < 0 || len <= 0)
		return -EINVAL;
	if (off > PFS_SIZE_MAX - len)
		return -EFBIG;
	/* Room cannot be reserved, and is not pretended to be. */
	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && mode != FALLOC_FL_ZERO_RANGE &&
	    mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	err = pfs_data_punch(file->data, m.offset, m.length, &done);
	if (err)
		return told(file, err);
	if (!done) {
		err = pfs_node_attr(fs, file->node, &attr);
		if (!err && m.offset < attr.size) {
			m.set.mask = ctx->uid ? PFS_SET_KILLPRIV : 0;
			err = commit_one(fs, file->node, &m);
		}
	}
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE))
		pfs_node_kernel_wrote(file->node, m.offset + m.length, false);
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE))
		err = grow(fs, file->node, file->data, m.offset + m.length);
	return err;
}

/* True while the content is a rewrite that nobody else can see; its size then. */
static bool rewriting(struct pfs_data *data, uint64_t *size)
{
	bool is;

	pthread_mutex_lock(&data->lock);
	is = data->rewrite;
	*size = data->size;
	pthread_mutex_unlock(&data->lock);
	return is;
}

int pfs_fs_lseek(struct pfs_fs *fs, struct pfs_file *file, off_t off, int whence, off_t *out)
{
	uint64_t size, id, found;
	int err;

	(void)fs;
	if (!file->data)
		return -EINVAL;
	if (off < 0)
		return -ENXIO;
	if (rewriting(file->data, &size)) {
		if ((uint64_t)off >= size)
			return -ENXIO;
		*out = whence == SEEK_HOLE ? (off_t)size : off;
		return 0;
	}
	err = pfs_data_commit(file->data, PFS_GOAL_PUBLISH);
	if (!err)
		err = pfs_node_id(file->node, &id);
	if (!err)
		err = pfs_store_seek(atomic_load(&file->node->vol->store), id, (uint64_t)off,
				     whence == SEEK_HOLE, &found);
	if (!err)
		*out = (off_t)found;
	return err;
}

ssize_t pfs_fs_copy_file_range(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *in,
			       off_t off_in, struct pfs_file *out, off_t off_out, size_t len)
{
	struct pfs_mutation m = {.op = PFS_OP_COPY, .offset = (uint64_t)off_in,
				 .offset2 = (uint64_t)off_out};
	uint64_t size;
	int err;

	if (!in->data || !out->data || in->node->vol != out->node->vol)
		return -EXDEV;
	if (in->snapshot >= 0 || out->intake)
		return -EOPNOTSUPP;
	if (out->refused)
		return out->refused;
	if (off_in < 0 || off_out < 0)
		return -EINVAL;
	/* What no other client may see yet cannot be copied, or copied to, in the engine. */
	if (rewriting(in->data, &size) || rewriting(out->data, &size))
		return -EOPNOTSUPP;
	m.length = len < COPY_MAX ? len : COPY_MAX;
	if (off_out > PFS_SIZE_MAX - (off_t)m.length)
		return -EFBIG;
	err = pfs_data_commit(in->data, PFS_GOAL_PUBLISH);
	if (!err)
		err = pfs_data_commit(out->data, PFS_GOAL_PUBLISH);
	if (!err)
		err = pfs_node_id(in->node, &m.source);
	if (!err) {
		m.set.mask = ctx->uid ? PFS_SET_KILLPRIV : 0;
		err = commit_one(fs, out->node, &m);
	}
	if (!err)
		pfs_node_kernel_wrote(out->node, m.offset2 + m.length, false);
	return err ? told(out, err) : (ssize_t)m.length;
}
