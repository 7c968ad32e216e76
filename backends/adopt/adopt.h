/*
 * Private to backends/adopt/.
 *
 *	adopt.c		the backend's calls: look-up, listing, reading
 *	commit.c	what a batch means to a view; with key.c, content.c, entry.c, attr.c and rename.c: commit.h
 *	node.c		the table of nodes
 *	edit.c		what mutations make of a value
 *	intake.c	what is taken in as a whole
 *	scratch.c	which names are scratch
 *	trial.c		what an error means to a value that may not be whole
 *	options.c	the options of a store
 *
 * One lock, adopt->lock, guards nodes and contents in memory. It is a leaf: no view is called under it.
 */
#ifndef PFS_BACKENDS_ADOPT_ADOPT_H
#define PFS_BACKENDS_ADOPT_ADOPT_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/adopt/options.h"
#include "backends/adopt/view.h"

/* Nodes that nobody has open are forgotten beyond so many, the least recently used first. */
#define ADOPT_NODES_MAX 131072
/* What all files in memory may take together. */
#define ADOPT_MEMORY_MAX (1024u << 20)

enum adopt_state {
	ADOPT_KEY,     /* the view has it, as far as is known */
	ADOPT_SCRATCH, /* in memory; never in the engine */
	ADOPT_NEW,     /* PFS_F_LATE: in memory until its first content */
	ADOPT_GONE,    /* has no name any more; `text` is what it had, if it was open */
};

struct adopt_node {
	struct adopt_node *id_next, *name_next; /* in the tables */
	struct adopt_node *older, *younger;	/* by last use; KEY nodes alone */
	uint64_t id;
	struct adopt_node *parent; /* NULL: the root, or GONE */
	size_t children;	   /* nodes that have it as parent */
	unsigned holds;		   /* open files */
	unsigned pins;		   /* calls under way */
	enum adopt_state state;
	uint32_t mode, uid, gid; /* KEY: only the type counts */
	uint64_t version, content_version;
	int64_t mtime, btime;
	/* What the view said last, and whether that was ever asked. */
	struct pfs_view_attr told;
	bool known;
	uint64_t changed;	 /* adopt->changes when pfs_view_changed() was about it */
	uint64_t told_changes;	 /* adopt->changes when `told` was asked */
	uint64_t read_version;	 /* of the bytes that were last read */
	struct pfs_buf text;	 /* SCRATCH, NEW, GONE */
	int64_t expires;	 /* SCRATCH, NEW: what the key will have; 0: as it comes */
	/*
	 * A key that was moved to a scratch name stays in the engine, and is not shown, while the
	 * scratch file is there and nobody has made the key anew: its node is `hidden`, and the scratch
	 * file has it, pinned, as `kept`.
	 */
	bool hidden;
	struct adopt_node *kept;
	struct pfs_view_content content; /* hidden: that was moved */
	/* Renames of it under way: who finds nothing at its path does not know that it has gone. */
	unsigned moving;
	bool over; /* NEW: the engine has the key, of another file's time */
	/*
	 * SCRATCH, NEW: the view's attributes that were set on it, for the key that it will be, each as
	 * NAME, NUL, a length of four bytes, the value.
	 */
	struct pfs_buf xattrs;
	char *error; /* why the last write failed; NULL: it did not */
	char *name; /* owned */
	size_t len;
};

struct adopt_staged {
	struct adopt_staged *next;
	uint64_t id;
	struct pfs_buf text;
};

struct adopt {
	struct pfs_backend base;
	struct pfs_view *view;
	uint32_t file_mode, dir_mode, uid, gid;
	enum pfs_scratch scratch;
	int64_t started_at;

	pthread_mutex_t lock;
	uint64_t next_id;
	struct adopt_node *root;
	struct adopt_node **by_id, **by_name;
	size_t buckets, nnodes; /* buckets: a power of two */
	struct adopt_node *oldest, *youngest;
	struct adopt_staged *staged;
	uint64_t changes; /* calls of pfs_view_changed(), and the like */
	uint64_t memory; /* bytes of all texts */
};

static inline struct adopt *adopt_of(struct pfs_backend *b)
{
	return pfs_container_of(b, struct adopt, base);
}

static inline bool adopt_in_memory(const struct adopt_node *node)
{
	return node->state != ADOPT_KEY;
}

/* What the view's own attributes are called outside. */
#define ADOPT_XATTR_PREFIX "user.persistfs."
/* Is it one of those? Then *name is what the view calls it. */
bool adopt_own_name(struct pfs_bytes *name);

/* ---- node.c: all with adopt->lock held ------------------------------------------------------ */

int adopt_nodes_init(struct adopt *a);
void adopt_nodes_release(struct adopt *a);
struct adopt_node *adopt_find(struct adopt *a, uint64_t id);
struct adopt_node *adopt_child(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name);
/* A node at (dir, name), where there is none; id 0: a fresh one. NULL: out of memory. */
struct adopt_node *adopt_node_new(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name,
				  uint64_t id, enum adopt_state state, uint32_t mode);
/* It has lost its name. Freed with the last hold and pin. */
void adopt_detach(struct adopt *a, struct adopt_node *node);
/* It has another name now; what was there is detached. 0 or -ENOMEM. */
int adopt_move(struct adopt *a, struct adopt_node *node, struct adopt_node *dir,
	       struct pfs_bytes name);
void adopt_state_set(struct adopt *a, struct adopt_node *node, enum adopt_state state);
/* Keep a node over a call without the lock. */
void adopt_pin(struct adopt_node *node);
void adopt_unpin(struct adopt *a, struct adopt_node *node);
/* Is it, or a directory that it lies in, being renamed? */
bool adopt_moving(const struct adopt_node *node);
/* Append the path of (node, name) or, name.p NULL, of node. -ENOENT: it has no name; -ENOMEM. */
int adopt_path(const struct adopt_node *node, struct pfs_bytes name, struct pfs_buf *out);
/* The node at `path`, or NULL; *dir: its directory, if that is known. */
struct adopt_node *adopt_by_path(struct adopt *a, struct pfs_bytes path, struct adopt_node **dir,
				 struct pfs_bytes *name);
/* A kept attribute of a scratch file, at *at, which is moved behind it; false: there are no more. */
bool adopt_kept_xattr(const struct adopt_node *node, size_t *at, struct pfs_bytes *name,
		      struct pfs_bytes *value);
/* The view has said what there is at the node's path, asked when adopt->changes was as given. */
void adopt_told(struct adopt *a, struct adopt_node *node, const struct pfs_view_attr *told,
		uint64_t changes);
/* A text has changed in length. */
void adopt_account(struct adopt *a, size_t before, size_t after);
void adopt_text_clear(struct adopt *a, struct pfs_buf *text);
void adopt_attr(const struct adopt *a, const struct adopt_node *node, struct pfs_attr *out);

/* ---- edit.c --------------------------------------------------------------------------------- */

/*
 * What content ops, in order, make of `old`: into the empty *out. staged: the content that PUBLISH
 * takes (NULL: none there). -EFBIG: more than PFS_VIEW_VALUE_MAX; -ENOENT: no staged content; -ENOMEM.
 */
int adopt_edit(const struct pfs_mutation *ops, size_t n, const struct pfs_buf *staged,
	       struct pfs_bytes old, struct pfs_buf *out);
/* Does the op need nothing of the old value? */
bool adopt_edit_whole(const struct pfs_mutation *m);
bool adopt_is_content_op(enum pfs_op op);

/* ---- trial.c -------------------------------------------------------------------------------- */

/* Is the error of a trial for good, whatever else is written behind `value`? */
bool adopt_refused(int err, struct pfs_bytes value);

/* ---- commit.c ------------------------------------------------------------------------------- */

int adopt_commit(struct pfs_store *s, struct pfs_batch *batch);
/* What a slot of the view said that changes something, as backends/backend.h has it. */
int adopt_change_error(int err, bool *final);
/* Why the last write failed is told by an attribute. The lock is held. */
void adopt_note_error(struct adopt_node *node, int err);

/* ---- intake.c ------------------------------------------------------------------------------- */

int adopt_intake(struct pfs_store *s, uint64_t id, struct pfs_intake **out);

/* ---- adopt.c -------------------------------------------------------------------------------- */

/* Ask the view about `node`, which is pinned, and is a KEY. The lock is not held. */
int adopt_ask(struct adopt *a, struct adopt_node *node, struct pfs_attr *out);

#endif
