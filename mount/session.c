/*
 * The life of a libfuse session: made, mounted, answering, stopped, unmounted; the invalidations
 * that fs/ sends the other way; and what is changed in the answer to INIT that this libfuse has no
 * name for. The threads that take requests are in loop.c, the requests themselves in ops.c.
 *
 * notify_lock is held for reading by every invalidation on its way to the kernel. The session's
 * descriptor is closed only after `quiet` was set and the lock was held for writing, so that nothing
 * is ever written to a descriptor that meanwhile became another file. An invalidation may wait for a
 * READ of the same file to be answered, so going quiet comes before the requests are stopped.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "mount/cli.h"
#include "mount/loop.h"
#include "mount/ops.h"
#include "mount/session.h"

struct pfs_session {
	struct pfs_ops_data ops; /* first: the user data of requests */
	struct fuse_session *se;
	struct pfs_loop *loop;
	size_t nbackends;
	bool mounted;

	pthread_rwlock_t notify_lock;
	_Atomic bool quiet;

	/* The INIT request, until it was answered: seen and answered by one thread. */
	_Atomic bool init_done;
	uint64_t init_unique;
	bool killpriv_v2; /* the kernel offered it */
};

/* ---- INIT ----------------------------------------------------------------------------------- */

/*
 * With FUSE_HANDLE_KILLPRIV_V2 the kernel leaves it to the file system to clear setuid, setgid and
 * capabilities when a file is written, and no longer asks for security.capability before each
 * write. fs/ does that in any case. libfuse 3.14 has no name for the flag and would not pass it on.
 */
static void init_seen(struct pfs_session *s, const void *buf, size_t len)
{
	const struct fuse_in_header *h = buf;
	const struct fuse_init_in *in = (const void *)(h + 1);

	if (len < sizeof(*h) + offsetof(struct fuse_init_in, flags) + sizeof(in->flags) ||
	    h->opcode != FUSE_INIT || in->major != FUSE_KERNEL_VERSION)
		return;
	s->init_unique = h->unique;
	s->killpriv_v2 = in->flags & FUSE_HANDLE_KILLPRIV_V2;
}

static void init_answered(struct pfs_session *s, struct iovec *iov, int count)
{
	const struct fuse_out_header *h = iov[0].iov_base;
	struct fuse_init_out *out;

	if (iov[0].iov_len != sizeof(*h) || h->unique != s->init_unique || !s->init_unique)
		return;
	if (count > 1 && !h->error && s->killpriv_v2 &&
	    iov[1].iov_len >= offsetof(struct fuse_init_out, flags) + sizeof(out->flags)) {
		out = iov[1].iov_base;
		if (out->major == FUSE_KERNEL_VERSION)
			out->flags |= FUSE_HANDLE_KILLPRIV_V2;
	}
	atomic_store_explicit(&s->init_done, !h->error, memory_order_release);
}

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	struct pfs_session *s = userdata;
	ssize_t n = read(fd, buf, len);

	if (n > 0 && !atomic_load_explicit(&s->init_done, memory_order_acquire))
		init_seen(s, buf, (size_t)n);
	return n;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct pfs_session *s = userdata;

	if (!atomic_load_explicit(&s->init_done, memory_order_acquire))
		init_answered(s, iov, count);
	return writev(fd, iov, count);
}

/* ---- invalidation --------------------------------------------------------------------------- */

/* Returns true with notify_lock held if the kernel may be told something. */
static bool notify_begin(struct pfs_session *s)
{
	if (atomic_load(&s->quiet))
		return false;
	pthread_rwlock_rdlock(&s->notify_lock);
	if (!atomic_load(&s->quiet))
		return true;
	pthread_rwlock_unlock(&s->notify_lock);
	return false;
}

static void notify_end(struct pfs_session *s)
{
	pthread_rwlock_unlock(&s->notify_lock);
}

static bool kernel_inval_inode(void *arg, struct pfs_node *node, int64_t off, int64_t len)
{
	struct pfs_session *s = arg;
	int err;

	if (!notify_begin(s))
		return true;
	err = fuse_lowlevel_notify_inval_inode(s->se, pfs_ops_ino(s->ops.fs, node), off, len);
	notify_end(s);
	return err != -ENOENT;
}

static bool kernel_inval_entry(void *arg, struct pfs_node *parent, struct pfs_bytes name)
{
	struct pfs_session *s = arg;
	fuse_ino_t ino = pfs_ops_ino(s->ops.fs, parent);
	char text[PFS_NAME_MAX + 1];
	bool knowable = name.len < sizeof(text);
	int err = -ENOENT;

	if (!notify_begin(s))
		return true;
	if (knowable) {
		memcpy(text, name.p, name.len);
		text[name.len] = '\0';
		err = fuse_lowlevel_notify_inval_entry(s->se, ino, text, name.len);
	}
	/* Without an entry to drop the kernel keeps its cached listing of the directory. */
	if (err == -ENOENT)
		fuse_lowlevel_notify_inval_inode(s->se, ino, 0, 0);
	notify_end(s);
	return err != -ENOENT || !knowable;
}

/*
 * Storing a byte is the one way to make the kernel's idea of a size grow without being asked. The byte
 * is not left there: it was read a moment ago, and others may be writing.
 */
static void kernel_file_grew(void *arg, struct pfs_node *node, int64_t size, char last)
{
	struct pfs_session *s = arg;
	fuse_ino_t ino = pfs_ops_ino(s->ops.fs, node);
	struct fuse_bufvec byte = FUSE_BUFVEC_INIT(1);

	if (!notify_begin(s))
		return;
	byte.buf[0].mem = &last;
	if (!fuse_lowlevel_notify_store(s->se, ino, size - 1, &byte, FUSE_BUF_NO_SPLICE))
		fuse_lowlevel_notify_inval_inode(s->se, ino, size - 1, 1);
	notify_end(s);
}

static const struct pfs_kernel_ops kernel_ops = {
	.inval_entry = kernel_inval_entry,
	.inval_inode = kernel_inval_inode,
	.file_grew = kernel_file_grew,
};

/* From now on nothing is announced, and nothing is on its way. */
static void go_quiet(struct pfs_session *s)
{
	atomic_store(&s->quiet, true);
	pthread_rwlock_wrlock(&s->notify_lock);
	pthread_rwlock_unlock(&s->notify_lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* The share of a request is the backend that may be asked; with one backend statfs of all is about it. */
static size_t request_share(void *arg, const struct fuse_in_header *h, size_t len)
{
	struct pfs_session *s = arg;
	const struct pfs_node *node = (const struct pfs_node *)(uintptr_t)h->nodeid;
	struct pfs_bytes name = {NULL, 0};

	if (!h->nodeid || h->opcode == FUSE_INIT || h->opcode == FUSE_DESTROY)
		return s->nbackends;
	if (h->opcode == FUSE_STATFS && s->nbackends == 1)
		return 0;
	if (h->nodeid == FUSE_ROOT_ID)
		node = pfs_fs_root(s->ops.fs);
	if (h->opcode == FUSE_LOOKUP && len > sizeof(*h)) {
		name.p = (const char *)(h + 1);
		name.len = strnlen(name.p, len - sizeof(*h));
	}
	if (h->opcode == FUSE_LOOKUP || h->opcode == FUSE_GETATTR)
		return pfs_fs_backend_of_stat(s->ops.fs, node, name);
	return pfs_fs_backend_of(s->ops.fs, node, name);
}

static int session_args(const struct pfs_session_config *config, struct fuse_args *args)
{
	struct pfs_buf o = {0};
	int err = -ENOMEM;

	pfs_buf_str(&o, "default_permissions,subtype=persistfs,fsname=");
	pfs_fuse_options_escape(&o, config->source);
	if (config->options)
		pfs_buf_printf(&o, ",%s", config->options);
	if (!o.failed && !fuse_opt_add_arg(args, "persistfs") && !fuse_opt_add_arg(args, "-o") &&
	    !fuse_opt_add_arg(args, o.data))
		err = 0;
	pfs_buf_release(&o);
	return err;
}

static int session_loop(struct pfs_session *s, const struct pfs_session_config *config)
{
	struct pfs_loop_config loop = {
		.se = s->se,
		.nshares = config->nbackends,
		.share_threads = config->max_threads,
		.route = request_share,
		.arg = s,
	};

	return pfs_loop_new(&loop, &s->loop);
}

int pfs_session_new(const struct pfs_session_config *config, struct pfs_fs *fs,
		    struct pfs_session **out, struct pfs_msg *msg)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct pfs_session *s;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	pthread_rwlock_init(&s->notify_lock, NULL);
	pfs_ops_init(&s->ops, fs);
	s->nbackends = config->nbackends;
	err = session_args(config, &args);
	if (err)
		goto out;
	s->se = fuse_session_new(&args, &pfs_ops, sizeof(pfs_ops), s);
	if (!s->se) {
		pfs_msg_set(msg, "libfuse refused the mount options '%s'",
			    config->options ? config->options : "");
		err = -EINVAL;
		goto out;
	}
	err = session_loop(s, config);
	if (err)
		goto out;
	pfs_fs_set_kernel(fs, &kernel_ops, s);
	*out = s;
	s = NULL;
out:
	fuse_opt_free_args(&args);
	pfs_session_free(s);
	return err;
}

int pfs_session_mount(struct pfs_session *s, const char *mountpoint, struct pfs_msg *msg)
{
	static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};
	int err;

	if (fuse_session_mount(s->se, mountpoint)) {
		pfs_msg_set(msg, "cannot mount at %s", mountpoint);
		return -EIO;
	}
	s->mounted = true;
	err = fuse_session_custom_io(s->se, &io, fuse_session_fd(s->se));
	if (err)
		pfs_msg_set(msg, "cannot take over the session at %s: %s", mountpoint,
			    strerror(-err));
	return err;
}

int pfs_session_loop(struct pfs_session *s)
{
	int err = pfs_loop_run(s->loop);

	pfs_ops_answer_all(&s->ops);
	go_quiet(s);
	return err;
}

void pfs_session_stop(struct pfs_session *s)
{
	go_quiet(s);
	pfs_loop_stop(s->loop);
}

void pfs_session_unmount(struct pfs_session *s)
{
	go_quiet(s);
	if (s->mounted)
		fuse_session_unmount(s->se);
	s->mounted = false;
}

void pfs_session_close_files(struct pfs_session *s)
{
	pfs_ops_close_all(&s->ops);
}

void pfs_session_free(struct pfs_session *s)
{
	if (!s)
		return;
	if (s->se) {
		pfs_session_unmount(s);
		fuse_session_destroy(s->se);
	}
	pfs_loop_free(s->loop);
	pthread_rwlock_destroy(&s->notify_lock);
	free(s);
}
