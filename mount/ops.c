/*
 * One function for each request of the kernel: it translates the arguments, lets fs/fs.h do the
 * work, and sends one reply, after which it does not touch the request. Node ids are addresses of
 * nodes; file handles are addresses of struct pfs_handle, which are listed (ops->lock guards the list
 * alone), because a kernel that is cut off by a lazy unmount never releases them.
 *
 * An answer that hands out a lookup or an open file, but that the kernel did not take (the caller
 * was interrupted meanwhile), is undone, since no forget or release will follow.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "mount/ops.h"

/* ---- small helpers -------------------------------------------------------------------------- */

static struct pfs_ops_data *req_ops(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct pfs_fs *req_fs(fuse_req_t req)
{
	return req_ops(req)->fs;
}

static struct pfs_node *node_of(fuse_req_t req, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? pfs_fs_root(req_fs(req)) : (struct pfs_node *)(uintptr_t)ino;
}

fuse_ino_t pfs_ops_ino(struct pfs_fs *fs, struct pfs_node *node)
{
	return node == pfs_fs_root(fs) ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

static struct pfs_ctx ctx_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return (struct pfs_ctx){
		.uid = c->uid, .gid = c->gid, .pid = (uint32_t)c->pid, .umask = c->umask};
}

/*
 * A buffer of at least `len` bytes that belongs to the calling thread, page-aligned, valid until the
 * thread's next call. NULL: no memory.
 */
struct thread_buf {
	size_t cap;
	void *data;
};
static pthread_key_t thread_buf_key;
static pthread_once_t thread_buf_once = PTHREAD_ONCE_INIT;

static void thread_buf_free(void *arg)
{
	struct thread_buf *b = arg;

	free(b->data);
	free(b);
}

static void thread_buf_make_key(void)
{
	if (pthread_key_create(&thread_buf_key, thread_buf_free))
		abort();
}

static void *thread_buf(size_t len)
{
	struct thread_buf *b;
	size_t cap = 65536;
	void *data;

	pthread_once(&thread_buf_once, thread_buf_make_key);
	b = pthread_getspecific(thread_buf_key);
	if (b && b->cap >= len)
		return b->data;
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		if (pthread_setspecific(thread_buf_key, b)) {
			free(b);
			return NULL;
		}
	}
	while (cap < len)
		cap *= 2;
	if (posix_memalign(&data, 4096, cap))
		return NULL;
	free(b->data);
	b->data = data;
	b->cap = cap;
	return data;
}

/* ---- handles -------------------------------------------------------------------------------- */

/* An open file or directory, as the kernel's `fh`. */
struct pfs_handle {
	struct pfs_handle *prev, *next;
	struct pfs_file *file;
	struct pfs_dir *dir;
};

void pfs_ops_init(struct pfs_ops_data *ops, struct pfs_fs *fs)
{
	ops->fs = fs;
	ops->handles = NULL;
	ops->parked = NULL;
	pthread_mutex_init(&ops->lock, NULL);
}

/* Consumes file or dir. Returns 0 with fi->fh set, or -ENOMEM. */
static int handle_new(struct pfs_ops_data *ops, struct fuse_file_info *fi, struct pfs_file *file,
		      struct pfs_dir *dir)
{
	struct pfs_handle *h = malloc(sizeof(*h));

	if (!h) {
		if (file)
			pfs_fs_release(ops->fs, file);
		else
			pfs_fs_releasedir(ops->fs, dir);
		return -ENOMEM;
	}
	*h = (struct pfs_handle){.file = file, .dir = dir};
	pthread_mutex_lock(&ops->lock);
	h->next = ops->handles;
	if (h->next)
		h->next->prev = h;
	ops->handles = h;
	pthread_mutex_unlock(&ops->lock);
	fi->fh = (uintptr_t)h;
	return 0;
}

static void handle_close(struct pfs_ops_data *ops, struct pfs_handle *h)
{
	pthread_mutex_lock(&ops->lock);
	if (h->next)
		h->next->prev = h->prev;
	if (h->prev)
		h->prev->next = h->next;
	else
		ops->handles = h->next;
	pthread_mutex_unlock(&ops->lock);
	if (h->file)
		pfs_fs_release(ops->fs, h->file);
	else
		pfs_fs_releasedir(ops->fs, h->dir);
	free(h);
}

void pfs_ops_close_all(struct pfs_ops_data *ops)
{
	pfs_ops_answer_all(ops);
	while (ops->handles)
		handle_close(ops, ops->handles);
	pthread_mutex_destroy(&ops->lock);
}

static struct pfs_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct pfs_handle *)(uintptr_t)fi->fh;
}

static struct pfs_file *file_of(const struct fuse_file_info *fi)
{
	return fi ? handle_of(fi)->file : NULL;
}

struct pfs_file *pfs_ops_file(const struct fuse_file_info *fi)
{
	return file_of(fi);
}

static struct pfs_dir *dir_of(const struct fuse_file_info *fi)
{
	return handle_of(fi)->dir;
}

/* ---- replies -------------------------------------------------------------------------------- */

/* err: 0 or -errno. */
static void reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
}

static void reply_buf(fuse_req_t req, const void *buf, ssize_t n)
{
	if (n < 0)
		reply_err(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void entry_param(struct pfs_fs *fs, const struct pfs_entry *e, struct fuse_entry_param *out)
{
	memset(out, 0, sizeof(*out));
	out->entry_timeout = e->entry_timeout;
	if (!e->node)
		return;
	out->ino = pfs_ops_ino(fs, e->node);
	out->generation = 1;
	out->attr = e->st;
	out->attr_timeout = e->attr_timeout;
}

static void reply_entry(fuse_req_t req, int err, struct pfs_entry *e)
{
	struct pfs_fs *fs = req_fs(req);
	struct fuse_entry_param p;

	if (err) {
		reply_err(req, err);
		return;
	}
	pfs_fs_reply_begin(fs, e);
	entry_param(fs, e, &p);
	err = fuse_reply_entry(req, &p);
	pfs_fs_reply_end(fs);
	if (err && e->node)
		pfs_fs_forget(fs, e->node, 1);
}

static void reply_attr(fuse_req_t req, int err, struct pfs_entry *e)
{
	struct pfs_fs *fs = req_fs(req);

	if (err) {
		reply_err(req, err);
		return;
	}
	pfs_fs_reply_begin(fs, e);
	fuse_reply_attr(req, &e->st, e->attr_timeout);
	pfs_fs_reply_end(fs);
}

static void use_hints(struct fuse_file_info *fi, const struct pfs_open_hints *hints)
{
	fi->direct_io = hints->direct_io;
	fi->keep_cache = hints->keep_cache;
	fi->noflush = hints->noflush;
	fi->cache_readdir = hints->cache_dir;
	fi->nonseekable = hints->nonseekable;
}

/* err: of opening; otherwise fi->fh is open, and closed again if the kernel does not take it. */
static void reply_open(fuse_req_t req, int err, struct fuse_file_info *fi,
		       const struct pfs_open_hints *hints)
{
	struct pfs_ops_data *ops = req_ops(req);

	if (err) {
		reply_err(req, err);
		return;
	}
	use_hints(fi, hints);
	if (fuse_reply_open(req, fi))
		handle_close(ops, handle_of(fi));
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ATOMIC_O_TRUNC |
			FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA |
			FUSE_CAP_ASYNC_DIO | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;

	(void)userdata;
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
	want |= FUSE_CAP_HANDLE_KILLPRIV_V2;
#endif
	conn->want = conn->capable & want;
	conn->max_write = 1u << 20;
	/*
	 * The kernel counts readahead and closes of all stores together: a low limit would let those
	 * of a backend that does not answer keep the others' waiting.
	 */
	conn->max_background = UINT16_MAX;
	conn->congestion_threshold = UINT16_MAX;
	conn->time_gran = 1;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_lookup(req_fs(req), node_of(req, parent), pfs_bytes_str(name), &e);
	reply_entry(req, err, &e);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	if (ino != FUSE_ROOT_ID)
		pfs_fs_forget(req_fs(req), node_of(req, ino), n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (forgets[i].ino != FUSE_ROOT_ID)
			pfs_fs_forget(req_fs(req), node_of(req, forgets[i].ino),
				      forgets[i].nlookup);
	}
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_getattr(req_fs(req), node_of(req, ino), file_of(fi), &e);
	reply_attr(req, err, &e);
}

static unsigned set_mask(int to_set)
{
	static const struct {
		int fuse;
		unsigned fs;
	} map[] = {
		{FUSE_SET_ATTR_MODE, PFS_FS_SET_MODE},	 {FUSE_SET_ATTR_UID, PFS_FS_SET_UID},
		{FUSE_SET_ATTR_GID, PFS_FS_SET_GID},	 {FUSE_SET_ATTR_SIZE, PFS_FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, PFS_FS_SET_ATIME}, {FUSE_SET_ATTR_MTIME, PFS_FS_SET_MTIME},
		{FUSE_SET_ATTR_CTIME, PFS_FS_SET_CTIME},
	};
	unsigned mask = 0;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(map); i++) {
		if (to_set & map[i].fuse)
			mask |= map[i].fs;
	}
	/* The kernel says MTIME with MTIME_NOW: then the time it sends is not set. */
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		mask = (mask & ~PFS_FS_SET_MTIME) | PFS_FS_SET_MTIME_NOW;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		mask |= PFS_FS_SET_ATIME;
	return mask;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		       struct fuse_file_info *fi)
{
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_setattr(req_fs(req), &ctx, node_of(req, ino), file_of(fi), st,
			     set_mask(to_set), &e);
	reply_attr(req, err, &e);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char *target = NULL;
	int err;

	err = pfs_fs_readlink(req_fs(req), node_of(req, ino), &target);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_readlink(req, target);
	free(target);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_mknod(req_fs(req), &ctx, node_of(req, parent), pfs_bytes_str(name), mode, rdev,
			   &e);
	reply_entry(req, err, &e);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_mkdir(req_fs(req), &ctx, node_of(req, parent), pfs_bytes_str(name), mode, &e);
	reply_entry(req, err, &e);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_symlink(req_fs(req), &ctx, node_of(req, parent), pfs_bytes_str(name),
			     pfs_bytes_str(target), &e);
	reply_entry(req, err, &e);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_link(req_fs(req), node_of(req, ino), node_of(req, parent), pfs_bytes_str(name),
			  &e);
	reply_entry(req, err, &e);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_err(req, pfs_fs_unlink(req_fs(req), node_of(req, parent), pfs_bytes_str(name)));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_err(req, pfs_fs_rmdir(req_fs(req), node_of(req, parent), pfs_bytes_str(name)));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t parent2,
		      const char *name2, unsigned flags)
{
	reply_err(req, pfs_fs_rename(req_fs(req), node_of(req, parent), pfs_bytes_str(name),
				     node_of(req, parent2), pfs_bytes_str(name2), flags));
}

/* ---- files ---------------------------------------------------------------------------------- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct pfs_ops_data *ops = req_ops(req);
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_open_hints hints = {0};
	struct pfs_file *file = NULL;
	int err;

	err = pfs_fs_open(ops->fs, &ctx, node_of(req, ino), fi->flags, &file, &hints);
	if (!err)
		err = handle_new(ops, fi, file, NULL);
	reply_open(req, err, fi, &hints);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct pfs_ops_data *ops = req_ops(req);
	struct pfs_ctx ctx = ctx_of(req);
	struct pfs_fs *fs = ops->fs;
	struct pfs_open_hints hints = {0};
	struct pfs_file *file = NULL;
	struct fuse_entry_param p;
	struct pfs_entry e = {0};
	int err;

	err = pfs_fs_create(fs, &ctx, node_of(req, parent), pfs_bytes_str(name), mode, fi->flags,
			    &e, &file, &hints);
	if (!err) {
		err = handle_new(ops, fi, file, NULL);
		if (err)
			pfs_fs_forget(fs, e.node, 1);
	}
	if (err) {
		reply_err(req, err);
		return;
	}
	use_hints(fi, &hints);
	pfs_fs_reply_begin(fs, &e);
	entry_param(fs, &e, &p);
	err = fuse_reply_create(req, &p, fi);
	pfs_fs_reply_end(fs);
	if (err) {
		handle_close(ops, handle_of(fi));
		pfs_fs_forget(fs, e.node, 1);
	}
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	void *buf = thread_buf(size);
	ssize_t n = -ENOMEM;

	(void)ino;
	if (buf)
		n = pfs_fs_read(req_fs(req), file_of(fi), buf, size, off);
	reply_buf(req, buf, n);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct pfs_ctx ctx = ctx_of(req);
	ssize_t n;

	(void)ino;
	ctx.owner = fi->lock_owner;
	n = pfs_fs_write(req_fs(req), &ctx, file_of(fi), buf, size, off, fi->writepage);
	if (n < 0)
		reply_err(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_close(req_ops(req), handle_of(fi));
	reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	reply_err(req, pfs_fs_fsync(req_fs(req), file_of(fi), datasync != 0));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct pfs_ctx ctx = ctx_of(req);

	(void)ino;
	reply_err(req, pfs_fs_fallocate(req_fs(req), &ctx, file_of(fi), mode, off, len));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	off_t at = 0;
	int err;

	(void)ino;
	err = pfs_fs_lseek(req_fs(req), file_of(fi), off, whence, &at);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_lseek(req, at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct pfs_ctx ctx = ctx_of(req);
	ssize_t n = -EINVAL;

	(void)ino_in;
	(void)ino_out;
	if (!flags)
		n = pfs_fs_copy_file_range(req_fs(req), &ctx, file_of(fi_in), off_in,
					   file_of(fi_out), off_out, len);
	if (n < 0)
		reply_err(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* ---- directories ---------------------------------------------------------------------------- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct pfs_ops_data *ops = req_ops(req);
	struct pfs_open_hints hints = {0};
	struct pfs_dir *dir = NULL;
	int err;

	err = pfs_fs_opendir(ops->fs, node_of(req, ino), &dir, &hints);
	if (!err)
		err = handle_new(ops, fi, NULL, dir);
	reply_open(req, err, fi, &hints);
}

/* A reply to readdir as it grows. */
struct listing {
	struct pfs_fs *fs;
	fuse_req_t req; /* until the reply */
	char *buf;
	size_t size, len;
	bool plus;
	struct pfs_entry
		oldest; /* the first answer in buf that the kernel may cache; node NULL: none */
};

static bool listing_add(void *arg, const char *name, const struct pfs_entry *e, off_t next_off)
{
	struct listing *l = arg;
	struct fuse_entry_param p;
	size_t room = l->size - l->len;
	size_t n;

	if (l->plus) {
		entry_param(l->fs, e, &p);
		p.attr = e->st;
		n = fuse_add_direntry_plus(l->req, l->buf + l->len, room, name, &p, next_off);
	} else {
		n = fuse_add_direntry(l->req, l->buf + l->len, room, name, &e->st, next_off);
	}
	if (n > room)
		return false;
	l->len += n;
	if (e->node && !l->oldest.node && (e->entry_timeout > 0 || e->attr_timeout > 0))
		l->oldest = *e;
	return true;
}

/* Call fn for every entry of a readdirplus reply that counts a lookup. */
static void listing_each(struct listing *l, void (*fn)(struct listing *, struct fuse_entry_out *))
{
	struct fuse_direntplus *d;
	size_t at;

	for (at = 0; at < l->len; at += FUSE_DIRENTPLUS_SIZE(d)) {
		d = (struct fuse_direntplus *)(l->buf + at);
		if (d->entry_out.nodeid)
			fn(l, &d->entry_out);
	}
}

static void listing_forget(struct listing *l, struct fuse_entry_out *e)
{
	pfs_fs_forget(l->fs, (struct pfs_node *)(uintptr_t)e->nodeid, 1);
}

static void listing_distrust(struct listing *l, struct fuse_entry_out *e)
{
	(void)l;
	e->entry_valid = e->attr_valid = 0;
	e->entry_valid_nsec = e->attr_valid_nsec = 0;
}

static void list_dir(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct pfs_fs *fs = req_fs(req);
	struct listing l = {.fs = fs, .req = req, .size = size, .plus = plus};
	bool cacheable;
	int err = -ENOMEM;

	l.buf = thread_buf(size);
	if (l.buf)
		err = pfs_fs_readdir(fs, dir_of(fi), off, plus, listing_add, &l);
	/* An error behind some entries is told when the kernel asks for the next ones. */
	if (err && !l.len) {
		reply_err(req, err);
		return;
	}
	cacheable = l.oldest.node != NULL;
	pfs_fs_reply_begin(fs, cacheable ? &l.oldest : NULL);
	if (cacheable && l.oldest.entry_timeout <= 0 && l.oldest.attr_timeout <= 0)
		listing_each(&l, listing_distrust);
	err = fuse_reply_buf(req, l.buf, l.len);
	pfs_fs_reply_end(fs);
	if (err && plus)
		listing_each(&l, listing_forget);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)ino;
	list_dir(req, size, off, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)ino;
	list_dir(req, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_close(req_ops(req), handle_of(fi));
	reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	reply_err(req, pfs_fs_fsyncdir(req_fs(req), node_of(req, ino)));
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = {0};
	struct pfs_fs *fs = req_fs(req);
	int err;

	err = pfs_fs_statfs(fs, ino ? node_of(req, ino) : pfs_fs_root(fs), &st);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_statfs(req, &st);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	reply_err(req, pfs_fs_setxattr(req_fs(req), node_of(req, ino), pfs_bytes_str(name), value,
				       size, flags));
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	void *buf = size ? thread_buf(size) : NULL;
	ssize_t n = -ENOMEM;

	if (buf || !size)
		n = pfs_fs_getxattr(req_fs(req), node_of(req, ino), pfs_bytes_str(name), buf, size);
	if (n >= 0 && !size)
		fuse_reply_xattr(req, (size_t)n);
	else
		reply_buf(req, buf, n);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct pfs_buf names = {0};
	int err;

	err = pfs_fs_listxattr(req_fs(req), node_of(req, ino), &names);
	if (!err && names.failed)
		err = -ENOMEM;
	if (!err && size && names.len > size)
		err = -ERANGE;
	if (err)
		reply_err(req, err);
	else if (!size)
		fuse_reply_xattr(req, names.len);
	else
		fuse_reply_buf(req, names.data, names.len);
	pfs_buf_release(&names);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	reply_err(req, pfs_fs_removexattr(req_fs(req), node_of(req, ino), pfs_bytes_str(name)));
}

/*
 * Not here: access (the kernel checks permissions), ioctl, poll, bmap (nothing to say).
 */
const struct fuse_lowlevel_ops pfs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = pfs_op_flush,
	.getlk = pfs_op_getlk,
	.setlk = pfs_op_setlk,
	.flock = pfs_op_flock,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
};
