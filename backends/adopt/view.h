/*
 * Views: data of other applications, shown as files. What all of them have in common is adopt.c's: ids
 * and times for what has none, scratch files, what one rewrite, append or cut makes of a value, files
 * that were removed while open. A view itself knows one shape of data, and talks in paths and whole
 * values.
 *
 * A *path* is what stands below the store's directory: names joined by '/', "" for the store itself.
 * It is borrowed. Every name in it has passed pfs_entry_name_check().
 *
 * Calls are thread-safe, may block, and are made with no lock of adopt.c held. They return 0 or
 * -errno, and set pfs_error_text() to the engine's own words for everything that is not an answer.
 * The errors that any of them may return are those of backends/backend.h, and:
 *	-EILSEQ	  the name is canonical for no key, or the bytes are no text where text is wanted
 *	-EINVAL	  the engine refuses the value (its type, a check)
 *	-EPERM	  this shape of data has no such thing
 *	-EACCES	  a privilege is missing
 *	-EBUSY	  something else refers to it
 * Of slots that change something:
 *	-EAGAIN	  others have it locked for now, or change it all the time
 *	-EINPROGRESS	it may have been done, and must not be done twice
 */
#ifndef PFS_BACKENDS_ADOPT_VIEW_H
#define PFS_BACKENDS_ADOPT_VIEW_H

#include "backends/backend.h"

/* Values that are written pass through memory as a whole; larger ones are -EFBIG. Reading is ranged. */
#define PFS_VIEW_VALUE_MAX (256u << 20)

struct pfs_view;

struct pfs_view_attr {
	/*
	 * Type, and the permission bits that are possible at all; without any, all are. The store's
	 * file_mode or dir_mode is cut by them.
	 */
	uint32_t mode;
	uint64_t size; /* bytes; directories: 0 */
	/*
	 * Two contents of one path that differ have different versions; 0: not known. Then the view says
	 * by pfs_view_changed() when there is another content, or the store is not told to be pushing.
	 */
	uint64_t version;
	int64_t mtime;	 /* ns; 0: the time when its version was first seen here */
	int64_t expires; /* ns; 0: never */
	bool derived, unsized, intake; /* as in struct pfs_attr */
};

/* Told of an entry by list; returns 0, or -errno to end the listing with it. name is borrowed. */
typedef int (*pfs_view_entry_fn)(void *arg, struct pfs_bytes name, const struct pfs_view_attr *attr);

enum pfs_view_how {
	PFS_VIEW_WHOLE,	 /* the value becomes `data`, whatever there was */
	PFS_VIEW_APPEND, /* `data` behind what is there, as the engine finds it */
	PFS_VIEW_EDIT,	 /* what `edit` makes of what is there */
};

/* A value that is written. The engine has all of it afterwards, or the old one. */
struct pfs_view_write {
	enum pfs_view_how how;
	struct pfs_bytes data; /* borrowed; WHOLE and APPEND */
	/*
	 * EDIT, and APPEND where the engine cannot: the new value from the old. Called in the engine's
	 * transaction, maybe more than once; *out is empty and the caller's.
	 */
	int (*edit)(void *arg, struct pfs_bytes old, struct pfs_buf *out);
	void *arg;
	/* With WHOLE: there is no value, `data` is empty. Where there is always one that is written. */
	bool null;
	/* create: -EEXIST where the path is; otherwise -ENOENT where it is not. */
	bool create;
	/* The version that this mount last read, or 0: for shapes where a place may hold another thing. */
	uint64_t seen;
	/*
	 * PFS_CAP_TRIALS: nothing is to be changed, and `attr` not set. The error is what a write would say.
	 */
	bool trial;
	struct pfs_view_attr attr; /* result: as stat would say afterwards */
};

/* A content, told from others by all of its bytes. */
struct pfs_view_content {
	uint64_t size, digest;
};

struct pfs_view_content pfs_view_content_of(struct pfs_bytes value);
bool pfs_view_is_content(const struct pfs_view_content *want, struct pfs_bytes value);

struct pfs_view_remove {
	bool dir;
	/* NULL: whatever there is; else this alone, as the engine finds it: -ESTALE. */
	const struct pfs_view_content *only;
	uint64_t seen; /* as in struct pfs_view_write: -ESTALE */
};

struct pfs_view_ops {
	/* All that is left of the view, `view` itself included. */
	void (*free)(struct pfs_view *view);
	/*
	 * Connect, and see that what is to be shown is there and fits. -errno with msg; may be called
	 * again after a failure.
	 */
	int (*start)(struct pfs_view *view, struct pfs_msg *msg);
	/* -ENOENT; -ENOTDIR: a name in it but the last is a file. -EILSEQ is ENOENT to who only looks. */
	int (*stat)(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out);
	/*
	 * Tell at most `limit` names of directory `path`, in an order of the view's own, that follow
	 * `after` in it ("": from the start); `after` need not exist any more. *end: nothing followed.
	 * -ENOENT, -ENOTDIR.
	 */
	int (*list)(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
		    pfs_view_entry_fn fn, void *arg, bool *end);
	/* Bytes read, short only at the end; *version as of stat. -ENOENT, -EISDIR. */
	ssize_t (*read)(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf,
			size_t len, uint64_t *version);
	/* NULL where nothing is `unsized`. As pfs_store_snapshot(). */
	int (*snapshot)(struct pfs_view *view, struct pfs_bytes path, int *fd);
	/*
	 * NULL where nothing is an `intake`. As pfs_store_intake(), but that calls of *out come one at a time,
	 * in the order of the bytes, finish once and after a byte at least, and none after one that failed.
	 */
	int (*intake)(struct pfs_view *view, struct pfs_bytes path, struct pfs_intake **out);
	/* The slots from here on may be NULL: -EPERM, for attributes -EOPNOTSUPP. */
	int (*write)(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w);
	/* A file, or with `dir` a directory that must be empty: -ENOTEMPTY, -ENOTDIR, -EISDIR. */
	int (*remove)(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how);
	int (*mkdir)(struct pfs_view *view, struct pfs_bytes path);
	/*
	 * A file at `from` becomes `to`, in one step. Where `to` exists (then `replace`, else -EEXIST) its
	 * value becomes that of `from`, and it keeps what else it has: key, expiry, row. A different type:
	 * -EINVAL. NULL: -EXDEV, so that the caller copies.
	 */
	int (*rename)(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		      struct pfs_view_attr *out);
	/* When the value expires, ns; 0: never. -EOPNOTSUPP where it cannot. */
	int (*set_expires)(struct pfs_view *view, struct pfs_bytes path, int64_t expires);
	/* Attributes user.persistfs.NAME that are the view's: `name` is NAME. As pfs_store_xattr_get. */
	ssize_t (*xattr_get)(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			     void *buf, size_t len);
	/* Append every NAME with a NUL behind it: those that a copy should carry. */
	int (*xattr_list)(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out);
	/* value.p NULL: remove it. *out: as stat afterwards. */
	int (*xattr_set)(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			 struct pfs_bytes value, struct pfs_view_attr *out);
	/* As those of backends/backend.h; NULL: fine, and nothing to wait for. */
	int (*sync)(struct pfs_view *view);
	int (*catch_up)(struct pfs_view *view);
	int (*statfs)(struct pfs_view *view, struct pfs_statfs *out);
	void (*health)(struct pfs_view *view, struct pfs_health *out);
	void (*connections)(struct pfs_view *view, struct pfs_connections *out);
};

/* What every view embeds; filled by pfs_adopt_new(). */
struct pfs_view {
	const struct pfs_view_ops *ops;
	struct pfs_backend *backend; /* the one that adopt.c made of it */
};

/*
 * A backend that shows `view` (consumed, also on failure) with the options of its store. `engine` is
 * the description of such views: its name and capabilities; it is in no registry. Adds nothing to the
 * capabilities, but the slots that are NULL must not be promised by them.
 */
int pfs_adopt_new(const char *name, const struct pfs_engine *engine, struct pfs_backend *host,
		  const struct pfs_option_set *store, struct pfs_view *view,
		  struct pfs_backend **out, struct pfs_msg *msg);

/*
 * Somebody else changed the value at `path`, made or removed it; a view tells it from a thread of its
 * own, no call of its slots being waited for. NULL: anything may have changed. What the view was made
 * to write by its slots need not be told, but may.
 */
void pfs_view_changed(struct pfs_view *view, const struct pfs_bytes *path);

/* The same of a directory whose entries may all have changed with it. */
void pfs_view_changed_below(struct pfs_view *view, const struct pfs_bytes *path);

/*
 * Names under which editors and copying tools keep what they are about to rename: see scratch.c. Does
 * not block.
 */
bool pfs_scratch_name(struct pfs_bytes name);

#endif
