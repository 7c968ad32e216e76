/*
 * The memory engine, private to backends/memory/: the whole store contract over hash tables, for
 * tests and for data that may go with the mount.
 *
 *	memory.c	the engine: construction, namespaces, reading, telling
 *	memory_tree.c	hash tables, objects, entries, directories in order of sequence
 *	memory_data.c	contents: sparse, in chunks
 *	memory_commit.c	batches, and the journal by which a failed one is undone
 *	memory_lock.c	byte-range locks
 *	memory_expiry.c	what goes by itself
 *
 * One rwlock guards everything of a backend: shared for reading, exclusive for commits, holds and
 * locks. Every function below wants it held, exclusively where it changes something, except where
 * it says otherwise.
 */
#ifndef PFS_BACKENDS_MEMORY_H
#define PFS_BACKENDS_MEMORY_H

#include "backends/backend.h"

extern const struct pfs_engine pfs_memory_engine;

/* ---- hash tables ---------------------------------------------------------------------------- */

/* Embedded in what is hashed; the owner compares keys. */
struct mem_link {
	struct mem_link *next;
	uint64_t hash;
};

struct mem_table {
	struct mem_link **buckets;
	size_t nbuckets, n;
};

uint64_t mem_hash_id(uint64_t id);
uint64_t mem_hash_name(uint64_t dir, struct pfs_bytes name);
/* Makes the first buckets. 0 or -ENOMEM. Later growth that fails only makes chains longer. */
int mem_table_init(struct mem_table *t);
void mem_table_release(struct mem_table *t); /* frees buckets, not what is in them */
void mem_table_add(struct mem_table *t, struct mem_link *link, uint64_t hash);
void mem_table_remove(struct mem_table *t, struct mem_link *link);
/* The first link of the hash's chain, or of what follows `link`, with this hash. */
struct mem_link *mem_table_first(const struct mem_table *t, uint64_t hash);
struct mem_link *mem_table_next(const struct mem_link *link);

/* ---- what is kept --------------------------------------------------------------------------- */

#define MEM_CHUNK_SIZE 16384u

/* One piece of a content; bytes past cap (a power of two up to MEM_CHUNK_SIZE) read as zeros. */
struct mem_chunk {
	uint32_t cap;
	uint64_t batch; /* the batch that made it: only that one may change it in place */
	char data[];
};

/* The data of a file or symlink, or staged data. Missing chunks are holes. */
struct mem_content {
	struct mem_link link; /* in mem_backend.staged, while staged */
	uint64_t id;	      /* while staged */
	struct mem_namespace *ns;
	struct mem_slot {
		uint64_t index;
		struct mem_chunk *chunk;
	} * slots; /* by index */
	size_t n, cap;
	uint64_t stored;
};

struct mem_xattr {
	struct mem_xattr *next;
	size_t name_len, value_len;
	char data[]; /* name, then value */
};

struct mem_entry {
	struct mem_link link; /* in mem_backend.entries */
	struct mem_object *dir, *object;
	uint64_t sequence;
	size_t len;
	char name[];
};

/* Children by sequence. Slots of entries that are gone stay, with NULL, until half are. */
struct mem_children {
	struct mem_child {
		uint64_t sequence;
		struct mem_entry *entry;
	} * slots;
	size_t n, cap;
	size_t live; /* entries that are there, the removed of the batch in progress not counted */
};

struct mem_range {
	struct mem_range *next;
	struct pfs_lock lock;
};

struct mem_object {
	struct mem_link link; /* in mem_backend.objects */
	struct pfs_attr attr; /* stored is in the content */
	struct mem_namespace *ns;
	struct mem_content *content; /* files and symlinks */
	struct mem_object *parent;   /* directories; the root's is itself, a removed one's NULL */
	struct mem_children children;
	struct mem_xattr *xattrs;
	struct mem_range *ranges; /* locks */
	uint64_t touched;	  /* the batch that has moved its times as a parent */
};

struct mem_namespace {
	struct mem_namespace *next;
	char *name;
	struct mem_object *root; /* NULL: removed */
	struct pfs_usage usage;
};

struct mem_hold {
	struct mem_link link;
	uint64_t id, count;
};

struct mem_backend {
	struct pfs_backend base;
	pthread_rwlock_t lock;
	uint64_t max_size, used; /* bytes, with an allowance for what is beside the data */
	uint64_t next_id;	 /* atomic */
	uint64_t next_sequence, next_batch;
	int64_t next_expiry; /* atomic: no object expires before; ns, 0: none does */
	struct mem_table objects, entries, staged, holds;
	struct mem_namespace *namespaces;
};

struct mem_store {
	struct pfs_store base;
	struct mem_namespace *ns;
};

static inline struct mem_backend *mem_backend(struct pfs_backend *b)
{
	return pfs_container_of(b, struct mem_backend, base);
}

static inline struct mem_store *mem_store(struct pfs_store *s)
{
	return pfs_container_of(s, struct mem_store, base);
}

static inline struct mem_backend *mem_store_backend(struct pfs_store *s)
{
	return mem_backend(s->backend);
}

/* ---- room ----------------------------------------------------------------------------------- */

/* Account for n bytes more. 0 or -ENOSPC. */
int mem_take_room(struct mem_backend *mb, uint64_t n);
void mem_give_room(struct mem_backend *mb, uint64_t n);

/* ---- the tree ------------------------------------------------------------------------------- */

/* NULL: no such object in this namespace. */
struct mem_object *mem_object_find(struct mem_backend *mb, const struct mem_namespace *ns,
				   uint64_t id);
/* A new object in the table, counted in usage, with nlink as in attr. 0, -ENOMEM or -ENOSPC. */
int mem_object_new(struct mem_backend *mb, struct mem_namespace *ns, const struct pfs_attr *attr,
		   struct mem_object **out);
/* Takes it out of table and usage, gives its room back and frees all that it has. */
void mem_object_free(struct mem_backend *mb, struct mem_object *o);
/* Frees it if it has no name and nobody holds it. */
void mem_object_reap(struct mem_backend *mb, struct mem_object *o);
/* Sets attr.size, and usage with it. */
void mem_object_resize(struct mem_object *o, uint64_t size);
/* Its attributes as the contract tells them. */
void mem_object_attr(const struct mem_object *o, struct pfs_attr *out);
bool mem_is_below(const struct mem_object *o, const struct mem_object *dir); /* or the same */

struct mem_entry *mem_entry_find(struct mem_backend *mb, const struct mem_object *dir,
				 struct pfs_bytes name);
/* A new entry, last in its directory. 0, -ENOMEM or -ENOSPC. Does not touch the object's nlink. */
int mem_entry_new(struct mem_backend *mb, struct mem_object *dir, struct pfs_bytes name,
		  struct mem_object *object, struct mem_entry **out);
/*
 * Removal has two steps, so that it can be undone: hide (gone for everyone), then drop (freed) or
 * unhide.
 */
void mem_entry_hide(struct mem_backend *mb, struct mem_entry *e);
void mem_entry_unhide(struct mem_backend *mb, struct mem_entry *e);
void mem_entry_drop(struct mem_backend *mb, struct mem_entry *e);
/* Index of the first slot with a sequence above `cursor`. */
size_t mem_children_after(const struct mem_children *c, uint64_t cursor);
struct mem_xattr *mem_xattr_find(const struct mem_object *o, struct pfs_bytes name);

uint64_t mem_hold_count(struct mem_backend *mb, uint64_t id);
/* The slots of these names; they take the lock themselves. */
void mem_hold(struct pfs_store *s, uint64_t id);
void mem_release(struct pfs_store *s, uint64_t id);

/* ---- expiry ---------------------------------------------------------------------------------- */

/* Something will expire then (0: never). */
void mem_expiry_note(struct mem_backend *mb, int64_t expires);
/* Remove what has expired. Takes the lock itself: every call that looks at objects begins with it. */
void mem_expire(struct mem_backend *mb);

/* ---- contents ------------------------------------------------------------------------------- */

struct mem_journal;

struct mem_content *mem_content_new(struct mem_namespace *ns);	      /* NULL: no memory */
void mem_content_free(struct mem_backend *mb, struct mem_content *c); /* NULL: no-op */
/* Bytes of [off, off + len) to buf, zeros for holes. */
void mem_content_read(const struct mem_content *c, uint64_t off, void *buf, size_t len);
/* 0, -ENOMEM, -ENOSPC; what was changed before a failure is in the journal. */
int mem_content_write(struct mem_journal *j, struct mem_content *c, uint64_t off, const void *p,
		      size_t len);
/* [off, end) becomes zeros, whole chunks of it holes. */
int mem_content_punch(struct mem_journal *j, struct mem_content *c, uint64_t off, uint64_t end);
/* [off, off + len) of `from` to `off2` of c, holes as holes where whole chunks are. */
int mem_content_copy(struct mem_journal *j, struct mem_content *c, uint64_t off2,
		     const struct mem_content *from, uint64_t off, uint64_t len);
/* As pfs_store_seek, for a content of `size` bytes. */
int mem_content_seek(const struct mem_content *c, uint64_t size, uint64_t off, bool hole,
		     uint64_t *out);
/* For the journal: chunk `index` becomes `chunk` (NULL: a hole). Never fails: room is there. */
void mem_content_restore(struct mem_content *c, uint64_t index, struct mem_chunk *chunk);

/* ---- batches -------------------------------------------------------------------------------- */

/* What a batch has done so far, to be undone backwards or finished. */
struct mem_journal {
	struct mem_backend *mb;
	struct mem_namespace *ns;
	uint64_t batch;
	int64_t now;
	struct mem_undo *records;
	size_t n, cap;
};

/*
 * Note that chunk `index` of c was `old` (NULL: a hole); the journal owns old from now on. Called
 * with room made by mem_journal_reserve(), so that it cannot fail.
 */
void mem_journal_chunk(struct mem_journal *j, struct mem_content *c, uint64_t index,
		       struct mem_chunk *old);
int mem_journal_reserve(struct mem_journal *j); /* room for some records: 0 or -ENOMEM */

/* The slots of these names; they take the lock themselves. */
int mem_commit(struct pfs_store *s, struct pfs_batch *batch);
int mem_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
	     struct pfs_lock *conflict);
void mem_ranges_free(struct mem_object *o);

#endif
