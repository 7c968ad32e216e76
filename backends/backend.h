/*
 * The store contract: what fs/ may ask of an engine, and what every engine promises.
 *
 * A *backend* is one configured engine (a SQLite file, a server). A *store* is one namespace of a
 * backend: a tree of objects with a root directory. It follows the shape of the VFS: an id names
 * an object (file, directory, symlink, ...), is issued by the backend, is never used again, and
 * survives a rename by anyone. Names and content are bytes; no call assumes that a value fits in
 * memory.
 *
 * Every call is thread-safe and may block on I/O unless it says otherwise. Every int is 0 or
 * -errno. The errors any call may return beside its own:
 *	-EHOSTDOWN	the engine cannot be reached (after retry_timeout; at once while known down)
 *	-EBUSY		the engine stayed locked by another program for retry_timeout
 *	-EIO		data lost, damaged, or an outcome unknown
 *	-ENOMEM, -ENOSPC, -EROFS, -EACCES as the engine reports them
 *	-ESTALE		the id was issued in an earlier epoch of the store (see pfs_store_epoch)
 *	-EOPNOTSUPP	the engine lacks the capability
 * After an unexpected failure pfs_error_text() has the engine's own words, in the calling thread.
 *
 * Callers use the pfs_backend_... and pfs_store_... functions, never the slots. Only those
 * functions know which slots may be NULL.
 */
#ifndef PFS_BACKENDS_BACKEND_H
#define PFS_BACKENDS_BACKEND_H

#include <pthread.h>
#include <sys/stat.h>

#include "backends/base.h"
#include "backends/option.h"

/* Raised whenever a slot or structure below changes its meaning. */
#define PFS_SPEC_VERSION 4

#define PFS_NAME_MAX	   255 /* bytes in a name */
#define PFS_XATTR_NAME_MAX 255
#define PFS_XATTR_SIZE_MAX 65536
#define PFS_SYMLINK_MAX	   4095
#define PFS_SIZE_MAX	   (INT64_C(1) << 40) /* bytes in a file; beyond: -EFBIG */

/*
 * What a name is: 1..PFS_NAME_MAX bytes without '/' and NUL, and neither "." nor "..". The calls
 * below check it before an engine sees it. 0, -EINVAL or -ENAMETOOLONG. Does not block.
 */
int pfs_entry_name_check(struct pfs_bytes name);

/* Ids 1..PFS_ID_FIRST-1 are never issued; cursors of entries are never below PFS_ID_FIRST. */
#define PFS_ID_FIRST 16
#define PFS_ID_MAX   ((UINT64_C(1) << 39) - 1)

/* What an engine can do. */
enum pfs_capability {
	PFS_CAP_HARD_LINKS = 1u << 0,
	PFS_CAP_XATTRS = 1u << 1,
	PFS_CAP_PUSH = 1u << 2,		/* watch() tells what others changed */
	PFS_CAP_DURABLE_SYNC = 1u << 3, /* sync() survives power loss */
	PFS_CAP_RANGED_WRITES = 1u << 4,
	PFS_CAP_LOCKS = 1u << 5,
	PFS_CAP_EXPIRY = 1u << 6,	/* objects can go by themselves: attr.expires */
	PFS_CAP_NAMESPACES = 1u << 7,	/* several namespaces in one backend, listable */
	PFS_CAP_SPARSE = 1u << 8,	/* holes are kept as holes */
	PFS_CAP_PERSISTENT = 1u << 9,	/* data outlives the process */
	PFS_CAP_LISTS_ALL = 1u << 10,	/* a listing has every entry that a look-up finds */
	/*
	 * PFS_F_LATE: the engine has no place for a file without its first content, so that nobody
	 * else sees it empty.
	 */
	PFS_CAP_LATE_CREATE = 1u << 11,
	/*
	 * The engine has attributes user.persistfs.NAME of its own: get, list, set and remove take these
	 * names, beside those of fs/.
	 */
	PFS_CAP_TOLD_XATTRS = 1u << 12,
	PFS_CAP_TRIALS = 1u << 13, /* batch.trial */
};
/* The names of the bits, in order, ended by NULL ("hard_links", ...). */
extern const char *const pfs_capability_names[];

enum pfs_kind { PFS_KIND_KV = 1u << 0, PFS_KIND_SQL = 1u << 1 };

/*
 * How the data lies: as persistfs lays it out itself (namespaces of a backend), or as another
 * application does. Data of others is shown by a *view*: a backend of its own with one store, made by
 * engine->adopt from the backend that says where the data is.
 */
enum pfs_layout {
	PFS_LAYOUT_OWN = 1u << 0,
	PFS_LAYOUT_PLAIN = 1u << 1,  /* a table of keys and values */
	PFS_LAYOUT_NATIVE = 1u << 2, /* the engine's own types of keys */
	PFS_LAYOUT_TABLES = 1u << 3, /* kind = sql: tables, rows and columns */
};

struct pfs_attr {
	uint64_t id;
	uint32_t mode; /* type and permissions, as st_mode */
	uint32_t uid, gid;
	uint32_t nlink; /* directories: 2; others: number of entries */
	uint64_t rdev;
	uint64_t size;	 /* bytes; symlinks: length of the target; directories: 0 */
	uint64_t stored; /* bytes that take room in the store; holes do not */
	uint64_t version;	  /* grows with every change of content or attributes, nlink too */
	uint64_t content_version; /* grows with every change of content */
	int64_t mtime, ctime, btime; /* ns since the epoch */
	int64_t expires; /* when it goes by itself, ns since the epoch; 0: never */
	/*
	 * Made of other objects at every look, which nobody is told of (views alone): neither name nor
	 * attributes nor content are kept.
	 */
	bool derived;
	/*
	 * With `derived`: too much to be made for its size alone, which says 0. Its content is what
	 * pfs_store_snapshot() has.
	 */
	bool unsized;
	/*
	 * With `derived`: it has no content, and what is written to it is one thing, which is taken in as a
	 * whole: see pfs_store_intake().
	 */
	bool intake;
};

/* ---- mutations ------------------------------------------------------------------------------ */

/*
 * Ops on the content of `id` (WRITE to COPY, PUBLISH), and COPY's `source`, want a regular file:
 * -ENOENT, -EISDIR for a directory, -EINVAL for anything else. Data or a size beyond PFS_SIZE_MAX:
 * -EFBIG. Xattrs may be on every object; a name of 0 or more than PFS_XATTR_NAME_MAX bytes: -ERANGE;
 * a value above PFS_XATTR_SIZE_MAX: -E2BIG. A segment beyond `size` in CREATE or REPLACE: -EINVAL.
 *
 * Expiry (PFS_CAP_EXPIRY; without it setting one is -EOPNOTSUPP): only regular files have one. Ops
 * on content and SETATTR set it with PFS_SET_EXPIRES and leave it alone otherwise. An object whose
 * time has come is gone: look-ups, listings and ops by id answer as if it had been removed.
 */
enum pfs_op {
	/*
	 * CREATE: a new object `id` (from pfs_store_alloc_ids) of set.mode at (dir, name), with
	 * size and segs as its first content (regular files; symlinks: the target).
	 * -EEXIST, -ENOENT or -ENOTDIR for dir, -ENAMETOOLONG.
	 */
	PFS_OP_CREATE,
	/* WRITE: segs into `id`, growing it where needed. mtime from set.mtime. */
	PFS_OP_WRITE,
	/*
	 * APPEND: segs, one after the other, at the end of `id` as the engine finds it; seg.off is
	 * ignored. The mutation's `offset` tells afterwards where they landed.
	 */
	PFS_OP_APPEND,
	/* REPLACE: the content of `id` becomes `size` bytes: segs, zeros elsewhere. */
	PFS_OP_REPLACE,
	/*
	 * TRUNCATE: to `size`; growth reads as zeros. With `content` set (id 0) it cuts that staged
	 * content instead.
	 */
	PFS_OP_TRUNCATE,
	/*
	 * PUNCH: [offset, offset+length) reads as zeros, its room is freed; the size stays. With
	 * `content` set (id 0) in that staged content.
	 */
	PFS_OP_PUNCH,
	/*
	 * COPY: [offset, offset+length) of object `source` to `offset2` of `id`, engine-side. The
	 * source range is cut at its size, and may be cut further (to no less than 1 MiB): `length`
	 * tells afterwards how much was copied. Ranges of one object that overlap: -EINVAL.
	 */
	PFS_OP_COPY,
	/* SETATTR: the fields in set.mask. */
	PFS_OP_SETATTR,
	/*
	 * REMOVE: the entry (dir, name). With PFS_F_DIR it must be an empty directory (-ENOTDIR,
	 * -ENOTEMPTY), without it must not be a directory (-EISDIR). -ENOENT. `other` tells the
	 * removed object's attributes afterwards (nlink 0: it lives while held, then goes).
	 */
	PFS_OP_REMOVE,
	/*
	 * RENAME: (dir, name) to (dir2, name2). With PFS_F_NOREPLACE: -EEXIST; with
	 * PFS_F_EXCHANGE both must exist and change places. Otherwise an existing target is
	 * replaced: -EISDIR, -ENOTDIR, -ENOTEMPTY as rename(2) has them; source and target being the
	 * same object: nothing happens. A directory into itself or below: -EINVAL. -EXDEV: a
	 * directory of more keys than the engine moves in one step. A file that never expires
	 * takes over the expiry of the one that it replaces. `attr` is the moved object's, `other`
	 * the replaced or exchanged one's (id 0: none).
	 */
	PFS_OP_RENAME,
	/*
	 * LINK: `id`, no directory (-EPERM), also at (dir, name). -EEXIST, -ENOENT (also an object
	 * without a name), -ENOTDIR, -EMLINK.
	 */
	PFS_OP_LINK,
	/* SETXATTR: PFS_F_CREATE: -EEXIST, PFS_F_REPLACE: -ENODATA. Value is segs[0]. */
	PFS_OP_SETXATTR,
	/* REMOVEXATTR: -ENODATA. */
	PFS_OP_REMOVEXATTR,
	/*
	 * Staged contents: `content` (an id from pfs_store_alloc_ids) gathers data that nobody sees
	 * until PUBLISH makes it the content of `id` with length `size`, in one row. A staged
	 * content that is never published goes with its session, or by DISCARD.
	 */
	PFS_OP_STAGE, /* segs into `content`; the first STAGE of a content makes it */
	PFS_OP_PUBLISH, /* -ENOENT: also no such staged content */
	PFS_OP_DISCARD, /* -ENOENT: no such staged content */
};

enum pfs_op_flags {
	PFS_F_NOREPLACE = 1u << 0,
	PFS_F_EXCHANGE = 1u << 1,
	PFS_F_DIR = 1u << 2,
	PFS_F_CREATE = 1u << 3,
	PFS_F_REPLACE = 1u << 4,
	/* Precondition on `id`: its version is expect_version, else -EAGAIN. */
	PFS_F_IF_VERSION = 1u << 5,
	/*
	 * With CREATE of a regular file without content, where PFS_CAP_LATE_CREATE is offered: its first
	 * content will follow, and until then the file is this session's alone. One that is released
	 * without any is gone.
	 */
	PFS_F_LATE = 1u << 6,
};

enum pfs_set_mask {
	PFS_SET_MODE = 1u << 0, /* permission bits; the type never changes */
	PFS_SET_UID = 1u << 1,
	PFS_SET_GID = 1u << 2,
	PFS_SET_MTIME = 1u << 3,
	PFS_SET_KILLPRIV = 1u << 4, /* with a content op: clear setuid, and setgid where executable */
	PFS_SET_EXPIRES = 1u << 5,
};

struct pfs_set {
	uint32_t mask; /* CREATE ignores it and takes all fields */
	uint32_t mode, uid, gid;
	uint64_t rdev;
	int64_t mtime;
	int64_t expires; /* ns since the epoch; 0: never */
};

/* A piece of content: len bytes at offset off. Borrowed until the batch is done. */
struct pfs_seg {
	uint64_t off;
	const void *p;
	size_t len;
};

struct pfs_mutation {
	enum pfs_op op;
	uint32_t flags;
	uint64_t id;
	uint64_t dir, dir2;
	struct pfs_bytes name, name2; /* also: the xattr's name */
	uint64_t source, content;
	uint64_t offset, offset2, length, size;
	const struct pfs_seg *segs;
	size_t nsegs;
	struct pfs_set set;
	uint64_t expect_version;
	/*
	 * Results, valid when the batch succeeded. attr: the object after the mutation (not set by
	 * STAGE and DISCARD; SETXATTR and REMOVEXATTR set it).
	 */
	struct pfs_attr attr, other;
};

/*
 * A batch is all or nothing: when one mutation fails nothing of the batch is visible, now or later.
 * `now` (ns) stamps ctime, and mtime of directories and where set.mask lacks PFS_SET_MTIME on a
 * content op. Parents' mtime and ctime move once for the batch, and never back: a `now` before their
 * ctime leaves them.
 */
struct pfs_batch {
	struct pfs_mutation *ops;
	size_t nops;
	int64_t now;
	uint64_t epoch; /* pfs_store_epoch() when the ids in it were obtained; -ESTALE if it moved */
	/*
	 * PFS_CAP_TRIALS; without it -EOPNOTSUPP. Nothing is changed, and no result set: what would be said
	 * of the batch, which is one WRITE, APPEND or REPLACE (else -EINVAL), as far as that is known before a
	 * commit. 0: nothing is against it now, nor against what its content may be the beginning of.
	 */
	bool trial;
	/* Results. */
	size_t failed;	    /* index of the mutation that failed */
	/* Not to be tried again: with -EIO it may have been done already, else it is refused for good. */
	bool final;
	struct pfs_msg msg; /* the engine's words on an unexpected failure */
};

/* ---- listing -------------------------------------------------------------------------------- */

struct pfs_dirent {
	uint64_t cursor; /* sequence of this entry: pass it to resume after it; never used again */
	struct pfs_bytes name;
	struct pfs_attr attr;
};

struct pfs_list {
	struct pfs_dirent *entries;
	size_t n;
	bool end; /* nothing followed the last entry */
	/* Private to pfs_list_add(): */
	struct pfs_buf names;
	size_t cap;
};
void pfs_list_free(struct pfs_list *list);

/*
 * For engines. A new list with room for n entries, or NULL. pfs_list_add() copies the name and
 * grows where needed; pfs_list_finish() sets the name pointers. Returns 0 or -ENOMEM.
 */
struct pfs_list *pfs_list_new(size_t n);
int pfs_list_add(struct pfs_list *list, uint64_t cursor, struct pfs_bytes name,
		 const struct pfs_attr *attr);
void pfs_list_finish(struct pfs_list *list, bool end);

/* ---- watching ------------------------------------------------------------------------------- */

enum pfs_event_type {
	PFS_EVENT_ENTRY,   /* (dir, name) appeared, went or changed its object */
	PFS_EVENT_ATTR,	   /* attributes of id changed, its content did not */
	PFS_EVENT_CONTENT, /* content (and attributes) of id changed */
	PFS_EVENT_ALL,	   /* anything in the backend may have changed */
	/*
	 * The data is another one now (a replaced database file): every id is void and the epoch
	 * has moved. Told before any call answers from the new data.
	 */
	PFS_EVENT_REPLACED,
	/*
	 * Another session asked for a lock on `id` and was refused because of one that this session
	 * has. May be told more often than needed.
	 */
	PFS_EVENT_LOCK,
};

/*
 * What others (not this backend's own commits) changed. dir and id are unique in the whole backend,
 * so an event needs no store. name is borrowed.
 */
struct pfs_event {
	enum pfs_event_type type;
	uint64_t dir, id;
	struct pfs_bytes name;
};

/*
 * Called from a thread of the backend, with none of its locks held except for REPLACED, where it
 * must not call back into the backend.
 */
typedef void (*pfs_watch_fn)(void *arg, const struct pfs_event *events, size_t n);

/* ---- locks ---------------------------------------------------------------------------------- */

enum pfs_lock_mode { PFS_LOCK_NONE, PFS_LOCK_SHARED, PFS_LOCK_EXCLUSIVE };

/* A byte range [start, end] (end inclusive; UINT64_MAX: to the end whatever it becomes). */
struct pfs_lock {
	uint64_t owner; /* within this session */
	uint64_t start, end;
	enum pfs_lock_mode mode; /* PFS_LOCK_NONE releases */
};

/* ---- telling how it is ---------------------------------------------------------------------- */

struct pfs_usage {
	uint64_t objects; /* files, directories, symlinks, ... without the root */
	uint64_t bytes;	  /* their sizes added up */
};

struct pfs_statfs {
	uint64_t total, available; /* bytes the engine can hold and still take; 0, 0: not known */
};

struct pfs_health {
	bool ok;
	struct pfs_msg why;	/* when not ok: what is wrong and what to do */
	struct pfs_msg durable; /* empty: sync() survives power loss; else why it does not */
	struct pfs_msg note;	/* empty, or a line that says what else there is to know */
	struct pfs_msg read_only; /* why nothing can be written, whatever the store's options say */
};

struct pfs_connections {
	unsigned open, busy, limit; /* limit: pool_size + max_overflow */
	uint64_t opened, errors, waits;
};

/*
 * Counters by kind of call, since the start. Each call is in one bucket: in bucket i those under
 * 2^i us that are in no lower one, in the last all the slower ones too. errors counts failures of
 * the engine (-EIO, -EHOSTDOWN, -ENOSPC, ...), not answers such as -ENOENT.
 */
enum pfs_call {
	PFS_CALL_LOOKUP, PFS_CALL_GETATTR, PFS_CALL_LIST, PFS_CALL_READ, PFS_CALL_XATTR,
	PFS_CALL_COMMIT, PFS_CALL_SYNC, PFS_CALL_COUNT_
};
extern const char *const pfs_call_names[PFS_CALL_COUNT_];
#define PFS_LATENCY_BUCKETS 24
struct pfs_call_stats {
	uint64_t calls, errors, nanoseconds;
	uint64_t buckets[PFS_LATENCY_BUCKETS];
};

struct pfs_namespace_list {
	struct pfs_namespace {
		char *name;
		uint64_t id; /* stable, unique in the backend */
	} *items;	     /* by id */
	size_t n;
};
void pfs_namespace_list_release(struct pfs_namespace_list *list);

/* ---- taking in ------------------------------------------------------------------------------ */

struct pfs_backend;
struct pfs_intake;

/* What one open file writes to an object that is an `intake`. See the functions of the same names. */
struct pfs_intake_ops {
	int (*write)(struct pfs_intake *in, int64_t off, struct pfs_bytes data);
	int (*finish)(struct pfs_intake *in);
	void (*free)(struct pfs_intake *in);
};

struct pfs_intake {
	const struct pfs_intake_ops *ops;
	struct pfs_backend *backend; /* set by pfs_store_intake() */
};

/* ---- engines -------------------------------------------------------------------------------- */

struct pfs_store;

/* Options every backend has beside the engine's own: type, connect, pool_size, ... */
extern const struct pfs_option pfs_backend_common_options[];

struct pfs_engine {
	unsigned spec_version; /* PFS_SPEC_VERSION it was built for */
	const char *name;      /* the `type =` of persistfs.ini */
	const char *help;      /* one line */
	unsigned kinds;	       /* enum pfs_kind bits */
	unsigned layouts;      /* enum pfs_layout bits */
	uint32_t capabilities;
	/*
	 * Own ones; ended by name NULL. The loader knows two by their names: a PFS_OPT_PATH `path` is
	 * the file that holds the data, by which two backends of the same data are recognised; a
	 * PFS_OPT_PATH `X_file` beside a secret `X` is a file that X is read from.
	 */
	const struct pfs_option *options;
	/*
	 * Construct: cheap, no I/O. `set` was parsed with the common and the own table joined, stays
	 * valid as long as the backend. `name` is borrowed. 0 and *out owned, or -errno with msg.
	 */
	int (*create)(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		      struct pfs_msg *msg);
	/*
	 * How a backend is named on a command line without an ini: schemes separated by '|'; NULL: it
	 * cannot be. "scheme://..." as a whole is the option `url`; of an engine that has none, what
	 * follows "scheme:" is the option `path`.
	 */
	const char *schemes;
	/*
	 * Whether others have data in the file at `path`. Reads, and nothing else; false also where that
	 * cannot be told. NULL: an engine that has no `path`.
	 */
	bool (*others)(const char *path);
	/*
	 * Append what two sets of options have in common when they lead to the same data, as well as
	 * that can be known without I/O: no credentials. Nothing appended: it cannot be known. NULL: as
	 * said for `path` above.
	 */
	void (*place)(const struct pfs_option_set *set, struct pfs_buf *out);
	/*
	 * NULL, or: a view of others' data in `host`. Cheap, no I/O; `store` is the section of the store
	 * with its options (pfs_store_options), valid as long as the view; so is host. *out is owned, and
	 * freed before host. -EINVAL with msg: options that are missing, too many or impossible. Nothing is
	 * ever added to the data that it shows but what is written to its files.
	 */
	int (*adopt)(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		     const struct pfs_option_set *store, struct pfs_backend **out,
		     struct pfs_msg *msg);
};

struct pfs_backend_ops {
	/* See the functions of the same names below for what each promises. */
	int (*start)(struct pfs_backend *b, struct pfs_msg *msg);
	void (*free)(struct pfs_backend *b);
	int (*namespace_open)(struct pfs_backend *b, const char *ns, bool create, struct pfs_store **out,
			      struct pfs_msg *msg);
	int (*namespace_list)(struct pfs_backend *b, struct pfs_namespace_list *out);
	int (*namespace_remove)(struct pfs_backend *b, const char *ns);
	void (*store_free)(struct pfs_store *s);
	int (*root)(struct pfs_store *s, uint64_t *id);
	int (*alloc_ids)(struct pfs_store *s, unsigned n, uint64_t *first);
	int (*lookup)(struct pfs_store *s, uint64_t dir, struct pfs_bytes name, struct pfs_attr *out);
	int (*getattr)(struct pfs_store *s, uint64_t id, struct pfs_attr *out);
	int (*list)(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		    struct pfs_list **out);
	int (*parent)(struct pfs_store *s, uint64_t dir, uint64_t *out);
	ssize_t (*read)(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len);
	int (*snapshot)(struct pfs_store *s, uint64_t id, int *fd);
	int (*intake)(struct pfs_store *s, uint64_t id, struct pfs_intake **out);
	int (*seek)(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out);
	ssize_t (*xattr_get)(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			     size_t len);
	int (*xattr_list)(struct pfs_store *s, uint64_t id, struct pfs_buf *out);
	int (*commit)(struct pfs_store *s, struct pfs_batch *batch);
	int (*sync)(struct pfs_backend *b);
	void (*hold)(struct pfs_store *s, uint64_t id);
	void (*release)(struct pfs_store *s, uint64_t id);
	int (*lock)(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
		    struct pfs_lock *conflict);
	int (*heartbeat)(struct pfs_backend *b);
	unsigned (*sessions)(struct pfs_backend *b);
	int (*usage)(struct pfs_store *s, struct pfs_usage *out);
	int (*statfs)(struct pfs_backend *b, struct pfs_statfs *out);
	int (*catch_up)(struct pfs_backend *b);
	void (*health)(struct pfs_backend *b, struct pfs_health *out);
	void (*connections)(struct pfs_backend *b, struct pfs_connections *out);
	int (*maintain)(struct pfs_backend *b, const char *verb, struct pfs_msg *msg);
};

/* What an engine embeds as its first member. Set up by pfs_backend_init(). */
struct pfs_backend {
	const struct pfs_engine *engine;
	const struct pfs_backend_ops *ops;
	char *name;
	const struct pfs_option_set *set; /* borrowed */
	struct pfs_backend *host;	  /* of a view: whose data it shows; else NULL */
	/*
	 * Some store has the own layout: start looks for it, and makes it where that is wanted. Without,
	 * nothing is made and nobody is registered; views alone use the backend. Set before start.
	 */
	bool own;
	uint64_t epoch;			  /* atomic; moves with PFS_EVENT_REPLACED */
	pthread_mutex_t watch_lock; /* held while the watcher runs */
	pfs_watch_fn watch_fn;
	void *watch_arg;
	bool started;		    /* atomic */
	pthread_mutex_t start_lock; /* pfs_backend_start() */
	/*
	 * Start makes the own layout where there is none. Cleared by the option create_on_write: then
	 * start says -ENODATA where there is none, and has changed nothing.
	 */
	bool make;
	bool unmade; /* atomic: the last start said so */
	bool pushing;		    /* atomic: see pfs_backend_pushing() */
	bool readonly; /* of a view, by start: what it shows cannot be written; health says why */
	struct pfs_call_stats *stats; /* PFS_CALL_COUNT_ of them, updated atomically */
};

struct pfs_store {
	struct pfs_backend *backend;
	char *ns; /* owned */
};

/* For engines: fill and empty the embedded parts. */
int pfs_backend_init(struct pfs_backend *b, const struct pfs_engine *engine,
		     const struct pfs_backend_ops *ops, const char *name,
		     const struct pfs_option_set *set);
void pfs_backend_release(struct pfs_backend *b);
int pfs_store_init(struct pfs_store *s, struct pfs_backend *b, const char *ns);
void pfs_store_release(struct pfs_store *s);
/* Pass events to the watcher; does nothing without one. */
void pfs_backend_notify(struct pfs_backend *b, const struct pfs_event *events, size_t n);
/*
 * The channel by which others' changes are heard broke, or is there (again). A change of it is told
 * as PFS_EVENT_ALL, after pfs_backend_pushing() has changed. An engine with PFS_CAP_PUSH begins as
 * pushing; one that must connect first says false in its constructor.
 */
void pfs_backend_set_pushing(struct pfs_backend *b, bool pushing);

/* ---- the registry --------------------------------------------------------------------------- */

/* The engines of this build, ended by NULL, in order of name. */
const struct pfs_engine *const *pfs_engines(void);
const struct pfs_engine *pfs_engine_find(const char *name); /* NULL: none */
/* Common and own options joined: owned array (free with free()), ended by name NULL; NULL: ENOMEM. */
struct pfs_option *pfs_engine_options(const struct pfs_engine *engine);

/* ---- the calls ------------------------------------------------------------------------------ */

/* Construct a backend: no I/O. As engine->create. */
int pfs_backend_new(const char *name, const struct pfs_engine *engine,
		    const struct pfs_option_set *set, struct pfs_backend **out, struct pfs_msg *msg);
/*
 * Set the watcher (fn NULL: none); before start. When the call returns the watcher that was set
 * before is not running and is called no more: a watcher must not call this.
 */
void pfs_backend_watch(struct pfs_backend *b, pfs_watch_fn fn, void *arg);
/*
 * Connect, check or create the layout, register the session, start the backend's own threads.
 * Must come after the process has forked for the last time. -errno with msg; may be called again
 * after a failure; on a started backend does nothing. -ENODATA: see pfs_backend_make().
 */
int pfs_backend_start(struct pfs_backend *b, struct pfs_msg *msg);
/*
 * As pfs_backend_start, where that has said -ENODATA: there is no layout, and create_on_write keeps the
 * start from making one. Now it is made.
 */
int pfs_backend_make(struct pfs_backend *b, struct pfs_msg *msg);
/*
 * End the session (its held and staged objects go), stop threads, close. All stores must have been
 * freed. NULL: no-op.
 */
void pfs_backend_free(struct pfs_backend *b);

/*
 * Open namespace `ns`, creating it if `create`. What a store answers for an id that another store
 * issued is undefined; names never lead from one into another. *out: owned, pfs_store_free(). -ENOENT: there is
 * none; -EINVAL: no name for a namespace (pfs_entry_name_check). -EHOSTDOWN: not started.
 */
int pfs_backend_open(struct pfs_backend *b, const char *ns, bool create, struct pfs_store **out,
		     struct pfs_msg *msg);
int pfs_backend_namespaces(struct pfs_backend *b, struct pfs_namespace_list *out);
/* -ENOENT, -ENOTEMPTY. */
int pfs_backend_namespace_remove(struct pfs_backend *b, const char *ns);
void pfs_store_free(struct pfs_store *s); /* NULL: no-op */

/* Does not block. Moves when the data behind the store became another one. */
uint64_t pfs_store_epoch(const struct pfs_store *s);

/* The id of the root directory, in the current epoch. -ENOENT: the namespace is gone. */
int pfs_store_root(struct pfs_store *s, uint64_t *id);
/*
 * n (1..65536; else -EINVAL) fresh ids, *first and up, never issued before or again. Seldom does
 * I/O.
 */
int pfs_store_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first);
/* -ENOENT, -ENOTDIR. */
int pfs_store_lookup(struct pfs_store *s, uint64_t dir, struct pfs_bytes name,
		     struct pfs_attr *out);
/* -ENOENT. An object that is held answers with nlink 0. */
int pfs_store_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out);
/*
 * The children of `dir` in order of entry sequence, after `cursor` (0: from the start), at most
 * `limit` (1..4096). An entry that exists during the whole listing is told exactly once.
 * *out: owned on 0, untouched otherwise; free with pfs_list_free(). -ENOENT, -ENOTDIR.
 */
int pfs_store_list(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		   struct pfs_list **out);
/* The parent of directory `dir` (the root's is itself). -ENOENT, -ENOTDIR. */
int pfs_store_parent(struct pfs_store *s, uint64_t dir, uint64_t *out);
/*
 * Up to len bytes of `id` (file or symlink) at `off`, from one consistent state. Returns the number
 * of bytes: short only at the end of the object. Holes read as zeros. -ENOENT, -EISDIR.
 * `id` may also be a content that this session has staged; that one has no end: bytes never staged
 * read as zeros.
 */
ssize_t pfs_store_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len);
/*
 * All of an `unsized` object, of one consistent state, as a file without a name: *fd is the caller's.
 * -ENOENT, -EISDIR.
 */
int pfs_store_snapshot(struct pfs_store *s, uint64_t id, int *fd);
/*
 * Begin to write to an `intake`. *out: owned, pfs_intake_free(). -ENOENT; -EPERM: nothing can be.
 */
int pfs_store_intake(struct pfs_store *s, uint64_t id, struct pfs_intake **out);
/*
 * The bytes that follow those before; off: where they are to stand, -1: behind what there is. What can be
 * known of them is said at once. -EINVAL: they do not follow, or it has been finished. After a failure it
 * stays failed, and says the same again.
 */
int pfs_intake_write(struct pfs_intake *in, int64_t off, struct pfs_bytes data);
/*
 * That was all: it is taken in as a whole, or nothing of it. Without a byte written nothing happens; done
 * twice it says the same again.
 */
int pfs_intake_finish(struct pfs_intake *in);
/* What was not finished has not happened. NULL: no-op. */
void pfs_intake_free(struct pfs_intake *in);
/*
 * lseek's SEEK_DATA (hole false) and SEEK_HOLE. -ENXIO: off is at or past the end, or no data
 * follows. Engines without PFS_CAP_SPARSE see one piece of data.
 */
int pfs_store_seek(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out);
/* The value's length; copied to buf if it fits in len (len 0: only the length). -ENODATA, -ERANGE. */
ssize_t pfs_store_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			    size_t len);
/* Appends every name with a NUL behind it. */
int pfs_store_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out);
/*
 * Apply a batch: returns when it is committed and visible to every client of the engine (not yet
 * durable: see sync). Concurrent batches of one backend are merged into one transaction and still
 * succeed or fail alone. Not retried by the caller where it is `final`.
 */
int pfs_store_commit(struct pfs_store *s, struct pfs_batch *batch);
/* What was committed before the call survives power loss, as far as the engine can promise. */
int pfs_backend_sync(struct pfs_backend *b);
/*
 * Counted. While this session holds an object, removing its last name leaves it readable and
 * writable by id. Does no I/O. After the last release an object without a name goes, in the
 * background.
 */
void pfs_store_hold(struct pfs_store *s, uint64_t id);
void pfs_store_release_id(struct pfs_store *s, uint64_t id);
/*
 * Take, change or drop a lock (fcntl semantics within the owner). -EAGAIN and *conflict where
 * another owner or session has it (then a session in the way hears PFS_EVENT_LOCK); does not wait.
 * Locks die with the session: at its end, or when it was silent for `lock_timeout`.
 */
int pfs_store_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
		   struct pfs_lock *conflict);
/* As pfs_store_lock, trying again until `timeout_ns` has passed; -EAGAIN then. */
int pfs_store_lock_wait(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
			struct pfs_lock *conflict, int64_t timeout_ns);
/* The session says that it lives. The backend's own thread calls it; -ESTALE: it was declared dead. */
int pfs_backend_heartbeat(struct pfs_backend *b);
/*
 * What others committed before the call has been told to the watcher when it returns. 0 also where
 * there is nothing to wait for. Not from the watcher.
 */
int pfs_backend_catch_up(struct pfs_backend *b);
/*
 * How many live sessions the backend has, this one included; 0: others write without having any. Does no
 * I/O.
 */
unsigned pfs_backend_sessions(struct pfs_backend *b);

int pfs_store_usage(struct pfs_store *s, struct pfs_usage *out);
int pfs_backend_statfs(struct pfs_backend *b, struct pfs_statfs *out);
/* These two do no I/O on the request path: the last known state. */
void pfs_backend_health(struct pfs_backend *b, struct pfs_health *out);
void pfs_backend_connections(struct pfs_backend *b, struct pfs_connections *out);
/* "sweep" (remove what nobody can reach now), "analyze", "compact", "check". -EINVAL: no such verb. */
int pfs_backend_maintain(struct pfs_backend *b, const char *verb, struct pfs_msg *msg);
uint32_t pfs_backend_capabilities(const struct pfs_backend *b);
/*
 * Are others' changes told now? Never without PFS_CAP_PUSH; with it, while the channel holds. Does
 * not block.
 */
bool pfs_backend_pushing(const struct pfs_backend *b);
/* A copy of the counters. */
void pfs_backend_stats(const struct pfs_backend *b, struct pfs_call_stats out[PFS_CALL_COUNT_]);

#endif
