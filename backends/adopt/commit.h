/*
 * Within commit.c and what it is made of: key.c, content.c, entry.c, attr.c, rename.c. Every function takes
 * the lock for itself, unless it says that it is held.
 */
#ifndef PFS_BACKENDS_ADOPT_COMMIT_H
#define PFS_BACKENDS_ADOPT_COMMIT_H

#include "backends/adopt/adopt.h"

/* A node has become another thing meanwhile: to be tried again. */
#define NODE_AGAIN 1

/* ---- key.c ---------------------------------------------------------------------------------- */

struct pfs_bytes adopt_bytes(const struct pfs_buf *b);
/* Pinned, or NULL. */
struct adopt_node *adopt_get(struct adopt *a, uint64_t id);
void adopt_put(struct adopt *a, struct adopt_node *node); /* NULL: no-op */
int adopt_path_of(struct adopt *a, struct adopt_node *node, struct pfs_bytes name,
		  struct pfs_buf *out);
/* A directory of the view's, pinned. */
int adopt_get_dir(struct adopt *a, uint64_t id, struct adopt_node **out);
/* Is there something at `path`? 1, 0 or -errno. A scratch file's name need not be one of keys. */
int adopt_exists(struct adopt *a, const struct pfs_buf *path, bool scratch);
/* Is there memory for so many bytes more? 0 or -ENOSPC. The lock is held. */
int adopt_check_room(const struct adopt *a, size_t more);
/* `text` is consumed. The lock is held. */
void adopt_set_text(struct adopt *a, struct adopt_node *node, struct pfs_buf *text);
/*
 * The file at `path` has been written from memory, where it was given more than its content: the key gets
 * that too. *told is what the write said.
 */
int adopt_carry(struct adopt *a, struct adopt_node *node, const struct pfs_buf *path,
		struct pfs_view_attr *told);
/* A node is a key, as a write has just said. The lock is held. */
void adopt_is_key(struct adopt *a, struct adopt_node *node, const struct pfs_view_attr *told);
/* All of a value, into the empty *out. -EFBIG; -EBUSY: it changes all the time. */
int adopt_load(struct adopt *a, const struct pfs_buf *path, struct pfs_buf *out);
/* Nobody hides the key any more. The lock is held. */
void adopt_unhide(struct adopt *a, struct adopt_node *hidden);
/* The scratch file is going for good: so does the key that it was, unless it has changed since. */
int adopt_remove_kept(struct adopt *a, struct adopt_node *node);

/* ---- content.c, entry.c, attr.c, rename.c ---------------------------------------------------- */

/* The content ops of a batch, and what they need. */
struct adopt_fold {
	struct pfs_mutation *ops; /* owned */
	size_t n;
	struct pfs_buf staged; /* owned: of PUBLISH */
	bool has_staged;
	uint64_t content; /* to be dropped when it was published */
};
/* Gather what the batch does to the content of `id`; staged contents are changed on the way. */
int adopt_fold_make(struct adopt *a, const struct pfs_batch *batch, uint64_t id,
		    struct adopt_fold *f);
void adopt_fold_release(struct adopt_fold *f);
/* What they make of `old`; arg: the fold. As the edit of a view's write. */
int adopt_fold_edit(void *arg, struct pfs_bytes old, struct pfs_buf *out);
/* The results of a batch on one file: where appended bytes went, and its attributes. */
void adopt_results(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
		   const struct pfs_view_write *w);
int adopt_commit_content(struct adopt *a, struct pfs_batch *batch, uint64_t id);
/* One op on a content that is staged. */
int adopt_change_staged(struct adopt *a, const struct pfs_mutation *m);
void adopt_staged_drop(struct adopt *a, uint64_t id);
int adopt_commit_create(struct adopt *a, struct pfs_batch *batch);
int adopt_commit_remove(struct adopt *a, struct pfs_mutation *m);
int adopt_commit_setattr(struct adopt *a, struct pfs_mutation *m);
int adopt_commit_xattr(struct adopt *a, struct pfs_mutation *m);
int adopt_commit_rename(struct adopt *a, struct pfs_mutation *m);

#endif
