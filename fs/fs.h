/*
 * The file system that mount/ shows: every call of the kernel has one function here, which does the
 * work and returns 0 or -errno; nothing here replies, and nothing here knows libfuse, SQL or an
 * engine's protocol.
 *
 * A *node* is what the kernel knows under a node id: its address is stable while its lookup count
 * is above zero. Every function that fills a struct pfs_entry has counted one lookup, which the
 * kernel gives back with forget. The root's node is pfs_fs_root() and needs no forget.
 *
 * All functions are thread-safe and may block, unless they say otherwise.
 */
#ifndef PFS_FS_FS_H
#define PFS_FS_FS_H

#include <sys/statvfs.h>
#include <sys/uio.h>

#include "backends/backend.h"

struct pfs_fs;
struct pfs_node;
struct pfs_file; /* an open file */
struct pfs_dir;	 /* an open directory */

/* ---- what is mounted ------------------------------------------------------------------------ */

enum pfs_write_mode { PFS_WRITE_THROUGH, PFS_WRITE_QUEUED };

/* One [store:NAME]. Strings are borrowed for the life of the pfs_fs. */
struct pfs_store_config {
	const char *name;	     /* may have slashes: nested directories */
	struct pfs_backend *backend; /* borrowed; started by pfs_fs_start() unless lazy */
	const char *backend_name;
	const char *ns; /* "*": every namespace of the backend */
	bool create;	/* make the namespace if there is none */
	bool read_only;
	enum pfs_write_mode write_mode;
	int64_t queue_delay;	 /* ns */
	unsigned max_write_queue_size; /* operations that may wait in queued mode */
	int64_t commit_interval; /* ns */
	int64_t retry_timeout;	 /* ns */
	int64_t attr_timeout;	 /* ns: kernel caching while the engine cannot push */
	int64_t ttl;		 /* ns until keys expire; 0: never */
	bool ttl_refresh;	 /* writing to a key begins its ttl anew */
	uint32_t file_mode, dir_mode; /* permission bits of a store's root (dir_mode) */
};

struct pfs_fs_config {
	struct pfs_store_config *stores;
	size_t nstores;
	struct pfs_backend **backends; /* all that stores refer to, borrowed */
	bool *lazy;		       /* per backend: connect = lazy */
	size_t nbackends;
	uint64_t dirty_limit;	 /* bytes, per mount */
	const char *config_text; /* the redacted configuration, for .persistfs/config */
	uint32_t uid, gid;	 /* owner of virtual directories and of new store roots */
};

/*
 * How fs/ takes back what the kernel has cached. Called from threads of fs/ that hold no lock, never
 * from inside a call of this header. Any slot may be NULL.
 */
struct pfs_kernel_ops {
	/* false: the kernel has no such entry, or not yet. */
	bool (*inval_entry)(void *arg, struct pfs_node *parent, struct pfs_bytes name);
	/* off < 0: attributes only; off 0, len 0: all content too. */
	/* false: the kernel has no such inode, or not yet. */
	bool (*inval_inode)(void *arg, struct pfs_node *node, int64_t off, int64_t len);
	/* The file has grown to `size` > 0, and `last` is its last byte. */
	void (*file_grew)(void *arg, struct pfs_node *node, int64_t size, char last);
};

/*
 * Build the tree: cheap, no I/O. *out owned. `config` is borrowed for the life of the fs.
 */
int pfs_fs_new(const struct pfs_fs_config *config, struct pfs_fs **out, struct pfs_msg *msg);
/*
 * Start backends (lazy ones in the background) and fs's own threads; call it after the last fork.
 * -errno with msg naming the backend; nothing stays started on failure. *failed_backend: index of
 * the backend that could not be started, or SIZE_MAX.
 */
int pfs_fs_start(struct pfs_fs *fs, size_t *failed_backend, struct pfs_msg *msg);
/* Give the kernel side, once the session exists and before its first request. */
void pfs_fs_set_kernel(struct pfs_fs *fs, const struct pfs_kernel_ops *ops, void *arg);
/*
 * Commit everything that is dirty or queued, and sync every backend. Returns 0, or the first error
 * after having tried everything; msg then says what was lost.
 */
int pfs_fs_drain(struct pfs_fs *fs, struct pfs_msg *msg);
/* Stops threads, drops the tree. Backends stay the caller's. Does not drain. NULL: no-op. */
void pfs_fs_free(struct pfs_fs *fs);

/* ---- nodes ---------------------------------------------------------------------------------- */

/* Who asks. */
struct pfs_ctx {
	uint32_t uid, gid, pid;
	uint32_t umask;
	uint64_t owner; /* of a write or close: whose descriptor it is by; 0: unknown */
};

/*
 * The answer to a look-up. A negative answer that may be cached has node NULL and entry_timeout > 0.
 * Timeouts are in seconds. Before replying mount/ calls pfs_fs_reply_begin(), which takes the
 * timeouts away if an invalidation has passed since the answer was computed.
 */
struct pfs_entry {
	struct pfs_node *node;
	struct stat st;
	double entry_timeout, attr_timeout;
	uint64_t seen; /* private */
};

struct pfs_node *pfs_fs_root(struct pfs_fs *fs);

/*
 * Bracket the reply itself (a few instructions and one write to /dev/fuse, nothing that blocks):
 * between the two no invalidation is announced. `e` may be NULL.
 */
void pfs_fs_reply_begin(struct pfs_fs *fs, struct pfs_entry *e);
void pfs_fs_reply_end(struct pfs_fs *fs);

int pfs_fs_lookup(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		  struct pfs_entry *out);
/* Give back n lookups; the node may be gone afterwards. Does not block on I/O. */
void pfs_fs_forget(struct pfs_fs *fs, struct pfs_node *node, uint64_t n);
/* out: node NULL; st and attr_timeout are filled, and no lookup is counted. file may be NULL. */
int pfs_fs_getattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_file *file,
		   struct pfs_entry *out);

enum pfs_fs_set {
	PFS_FS_SET_MODE = 1u << 0,
	PFS_FS_SET_UID = 1u << 1,
	PFS_FS_SET_GID = 1u << 2,
	PFS_FS_SET_SIZE = 1u << 3,
	PFS_FS_SET_ATIME = 1u << 4,	/* accepted and dropped: atime is mtime */
	PFS_FS_SET_MTIME = 1u << 5,	/* st->st_mtim */
	PFS_FS_SET_MTIME_NOW = 1u << 6,
	PFS_FS_SET_CTIME = 1u << 7,	/* accepted and dropped */
};
int pfs_fs_setattr(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *node,
		   struct pfs_file *file, const struct stat *st, unsigned mask,
		   struct pfs_entry *out);

/* *out: owned, NUL-terminated, free(). */
int pfs_fs_readlink(struct pfs_fs *fs, struct pfs_node *node, char **out);
int pfs_fs_mknod(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		 struct pfs_bytes name, mode_t mode, dev_t rdev, struct pfs_entry *out);
int pfs_fs_mkdir(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		 struct pfs_bytes name, mode_t mode, struct pfs_entry *out);
int pfs_fs_symlink(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		   struct pfs_bytes name, struct pfs_bytes target, struct pfs_entry *out);
int pfs_fs_link(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		struct pfs_bytes name, struct pfs_entry *out);
int pfs_fs_unlink(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name);
int pfs_fs_rmdir(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE of <linux/fs.h>; others -EINVAL. */
int pfs_fs_rename(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		  struct pfs_node *parent2, struct pfs_bytes name2, unsigned flags);

/* ---- files ---------------------------------------------------------------------------------- */

/* How the kernel should treat an open file or directory. */
struct pfs_open_hints {
	bool direct_io;
	bool keep_cache;
	bool noflush;	  /* no FLUSH at close needed */
	bool cache_dir;
	bool nonseekable;
};

/* flags: of open(2). *out: owned, pfs_fs_release(). */
int pfs_fs_open(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *node, int flags,
		struct pfs_file **out, struct pfs_open_hints *hints);
int pfs_fs_create(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent,
		  struct pfs_bytes name, mode_t mode, int flags, struct pfs_entry *entry,
		  struct pfs_file **out, struct pfs_open_hints *hints);
/* Returns bytes read into buf (short only at the end) or -errno. */
ssize_t pfs_fs_read(struct pfs_fs *fs, struct pfs_file *file, void *buf, size_t len, off_t off);
/*
 * All of it or -errno. `off` is the kernel's idea; for a file opened with O_APPEND data goes to the
 * end. from_cache: the kernel writes back pages of a shared mapping (never appended, caller
 * unknown).
 */
ssize_t pfs_fs_write(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file,
		     const void *buf, size_t len, off_t off, bool from_cache);
/* close(2) of one descriptor. */
int pfs_fs_flush(struct pfs_fs *fs, struct pfs_file *file);
/*
 * The same, of who is known: what is taken in as a whole is not ended by a process that has inherited the
 * descriptor and closes it, while another writes; and nothing of it is taken in when who writes it is killed.
 */
int pfs_fs_close(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file);
int pfs_fs_fsync(struct pfs_fs *fs, struct pfs_file *file, bool datasync);
/* The last close: file is consumed. */
void pfs_fs_release(struct pfs_fs *fs, struct pfs_file *file);
/* mode: FALLOC_FL_*; what is not offered is -EOPNOTSUPP. */
int pfs_fs_fallocate(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *file, int mode,
		     off_t off, off_t len);
/* whence: SEEK_DATA or SEEK_HOLE. */
int pfs_fs_lseek(struct pfs_fs *fs, struct pfs_file *file, off_t off, int whence, off_t *out);
ssize_t pfs_fs_copy_file_range(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_file *in,
			       off_t off_in, struct pfs_file *out, off_t off_out, size_t len);

/* ---- locks ---------------------------------------------------------------------------------- */

/*
 * fcntl locks lie in [0, PFS_LOCK_POSIX_END]; a flock lock is the single byte PFS_LOCK_FLOCK_AT, so
 * that the two kinds never meet.
 */
#define PFS_LOCK_POSIX_END ((uint64_t)INT64_MAX)
#define PFS_LOCK_FLOCK_AT  (PFS_LOCK_POSIX_END + 1)

/*
 * One request for a lock of an open file. `lock` is what is asked for (PFS_LOCK_NONE: unlock). With
 * `test` nothing is locked: afterwards `lock` is what is in the way, mode PFS_LOCK_NONE if nothing
 * is, and `pid` who has it (0: somebody of another mount).
 */
struct pfs_lock_call {
	struct pfs_file *file;
	struct pfs_lock lock;
	uint32_t pid;
	bool wait; /* until it can be had; else -EAGAIN */
	bool test;
	/* Called once, from any thread, after pfs_fs_lock_wait(). The call is the callee's again. */
	void (*done)(struct pfs_lock_call *call, int err);
	/* Private to fs/. */
	struct pfs_lock_call *next;
	struct pfs_locks *locks;
	int64_t since;
	int err;
	bool fresh, whole_file, cancelled;
};

/*
 * Do it at once if that needs nobody else: 0 or -errno. 1: somebody else must be asked or waited for;
 * then nothing has happened, and pfs_fs_lock_wait() is to be called. Before an unlock lets another
 * mount in, what was written is committed; after a lock was had from another mount, nothing old is
 * read. -EIO: the locks of this file were lost (see lock.c).
 */
int pfs_fs_lock(struct pfs_fs *fs, struct pfs_lock_call *call);
/* Does not block. `call` must stay where it is until done() was called, maybe before the return. */
void pfs_fs_lock_wait(struct pfs_fs *fs, struct pfs_lock_call *call);
/* The caller was interrupted: -EINTR, unless it is too late. Not for unlocks. done() not yet called. */
void pfs_fs_lock_cancel(struct pfs_fs *fs, struct pfs_lock_call *call);
/* At the end of the session: calls that still wait are answered -EINTR, and new ones do not wait. */
void pfs_fs_lock_stop(struct pfs_fs *fs);
/* Whether a process may have fcntl locks on the file that its close must drop. Does not block. */
bool pfs_fs_has_posix_locks(struct pfs_file *file);

/* ---- directories ---------------------------------------------------------------------------- */

int pfs_fs_opendir(struct pfs_fs *fs, struct pfs_node *node, struct pfs_dir **out,
		   struct pfs_open_hints *hints);
/*
 * Tell the entries after `off` (0: from the start; "." and ".." included) to `fill`, which returns
 * false when its buffer is full: that entry was not taken. next_off is what the kernel passes to
 * resume behind the entry. With plus, entry->node has been looked up once for every entry that fill
 * took, except "." and ".."; otherwise only entry->st.st_ino and st_mode are set.
 */
typedef bool (*pfs_fill_fn)(void *arg, const char *name, const struct pfs_entry *entry,
			    off_t next_off);
int pfs_fs_readdir(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, bool plus, pfs_fill_fn fill,
		   void *arg);
void pfs_fs_releasedir(struct pfs_fs *fs, struct pfs_dir *dir);
int pfs_fs_fsyncdir(struct pfs_fs *fs, struct pfs_node *node);

/* ---- the rest ------------------------------------------------------------------------------- */

int pfs_fs_statfs(struct pfs_fs *fs, struct pfs_node *node, struct statvfs *out);
/* flags: XATTR_CREATE, XATTR_REPLACE. */
int pfs_fs_setxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name,
		    const void *value, size_t len, int flags);
/* Length of the value; copied when it fits, len 0: only the length. -ERANGE, -ENODATA. */
ssize_t pfs_fs_getxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name, void *buf,
			size_t len);
/* *out: names, each with its NUL; release with pfs_buf_release(). */
int pfs_fs_listxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_buf *out);
int pfs_fs_removexattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name);

/*
 * The backend that a request about `node` may have to ask, as an index into the configuration's
 * backends; nbackends: none. `name`: of a look-up in it (in a directory of the fixed part that is about
 * the store there), else empty. Does not block; control files ask nobody, but for a store's usage.
 */
size_t pfs_fs_backend_of(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_bytes name);
/*
 * The same for a look-up or getattr, which at a store's place asks nobody while the backend is known
 * to be unreachable.
 */
size_t pfs_fs_backend_of_stat(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_bytes name);

#endif
