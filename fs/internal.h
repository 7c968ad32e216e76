/*
 * What the files of fs/ share. Nothing outside fs/ includes this.
 *
 * Lock order (an earlier one may be held while a later one is taken, never the other way round):
 *	vol->open_lock -> data->lock -> vol->lock -> fs->node_locks[i]
 *	locker->beat_lock -> locker->lock -> fs->node_locks[i]
 * No engine call is made under any of them but vol->open_lock, which only opening a store takes, and
 * beat_lock, which is for heartbeats.
 * The kernel is called (pfs_kernel_ops) with none of them held.
 */
#ifndef PFS_FS_INTERNAL_H
#define PFS_FS_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dirty.h"
#include "fs/fs.h"

/* Kernel timeout, in seconds, of what push keeps true. */
#define PFS_LONG_TIMEOUT 86400.0
/* How long a create may wait for its close (through mode), ns. */
#define PFS_CREATE_DELAY (5 * 1000 * 1000LL)
/* Dirty bytes of one file from which they are committed (or staged) in the background. */
#define PFS_FLUSH_BYTES (4u << 20)
/* ... and from which its writer waits for that. */
#define PFS_FLUSH_WAIT_BYTES (16u << 20)
/* Nodes beyond which readdirplus leaves it to the kernel to look entries up. */
#define PFS_PLUS_NODES_MAX 65536
/* Negative answers remembered per store so that they can be taken back one by one. */
#define PFS_NEGATIVE_MAX 65536

/* Latest negative answers kept for creates, per store. */
#define PFS_ABSENT 64

#define PFS_NODE_LOCKS 64

/* Names that the kernel was told lately are remembered by hash. */
#define PFS_NAMED_SLOTS 4096

enum pfs_node_kind {
	PFS_NODE_VIRTUAL, /* the root and directories on the way to a store */
	PFS_NODE_SET,	  /* a store with namespace = *: its namespaces are directories */
	PFS_NODE_OBJECT,  /* an object of a store */
	PFS_NODE_CONTROL, /* in .persistfs */
};

/* A directory of the fixed part of the tree, or a store at its place there. */
struct pfs_vdir {
	char *name; /* "" for the root */
	struct pfs_vdir *parent;
	struct pfs_vdir **children;
	size_t nchildren;
	struct pfs_set_store *set; /* namespace = * */
	struct pfs_vol *vol;	   /* a store */
	struct pfs_node *node;	   /* virtual and set nodes; permanent */
};

/* A store with namespace = *: a volume for every namespace somebody looked up. */
struct pfs_set_store {
	struct pfs_fs *fs;
	const struct pfs_store_config *config;
	pthread_mutex_t lock;
	struct pfs_vol **vols; /* never shrinks; a removed namespace's volume is closed */
	size_t nvols;
};

/* When something was asked of the engine; an answer is only believed if nothing passed since. */
struct pfs_stamp {
	uint64_t seen, own;
};

struct pfs_node {
	struct pfs_node *hash_next;
	uint64_t lookups; /* the kernel's; permanent nodes ignore it */
	_Atomic uint32_t refs; /* ours: open state, queue, directory handles */
	uint8_t kind;
	bool permanent;
	bool attr_valid;
	_Atomic uint32_t pins; /* attr is newer than the engine's: a queued change waits */
	uint64_t changed; /* fs->own at the last change by this mount */
	/*
	 * What the kernel may have of a file's content: pages, from some time on not older than
	 * version pages_of (0: not known); being dropped; and the size that it goes by.
	 */
	_Atomic bool pages, dropping;
	_Atomic uint64_t pages_of, told_size;
	/*
	 * Others have changed the content since, and the kernel may still go by a size as small as
	 * grown_from - 1 where it does not ask (0: no). See inval.c.
	 */
	_Atomic uint64_t grown_from;
	_Atomic bool growth_queued;
	_Atomic(struct pfs_locks *) locks; /* once one was asked for; owned */
	struct pfs_attr attr;
	struct pfs_data *data; /* open or dirty; under the node's lock */
	/* PFS_NODE_OBJECT: */
	struct pfs_vol *vol;
	_Atomic uint64_t id, epoch; /* constant but for the root of a volume */
	/* The entry the kernel knows it by, so that it can be taken back. */
	struct pfs_node *known_parent; /* counted in its refs */
	char *known_name;
	/* The others: */
	struct pfs_vdir *vdir;
	char *control; /* path below .persistfs, "" for itself */
	struct pfs_node *control_next;
	uint64_t ino;
};

/* Uncommitted state of an open or dirty file. One per node, freed with the last open and commit. */
struct pfs_data {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct pfs_node *node; /* counted */
	unsigned opens, writers, appenders; /* writers: those opened for writing */
	unsigned direct; /* of the opens: past the kernel's pages */
	_Atomic unsigned users; /* opens, being linked, and calls under way */
	bool busy;	 /* a commit is under way: `committing` belongs to it */
	uint64_t commits; /* counts finished commits */
	struct pfs_dirty dirty, committing;
	/* The content is being replaced: nothing of the engine's shows through until published. */
	bool rewrite;
	bool fresh;	  /* what the engine has is empty, made by this mount */
	bool written;	  /* something to publish since the last publication */
	bool publish;	  /* a publication was asked for and has not happened */
	bool refused;	  /* a trial was, and nobody has begun anew since */
	uint64_t content; /* staged content, 0: none */
	/* With dirty bytes, or rewrite, or a pending create: the size and mtime this mount shows. */
	bool local;
	uint64_t size;
	int64_t mtime;
	int64_t ctime;
	bool killpriv;
	/* Bytes from append_at on go by APPEND. UINT64_MAX: none do. */
	uint64_t append_at, committing_at;
	/* Appended through the kernel's pages up to the end of one: the rest of the write may follow. */
	int64_t part_until; /* monotonic */
	/* A create that has not been committed. */
	struct pfs_pending *create;
	/* Trouble. */
	uint64_t lost;	       /* counts losses of data; files remember what they have told */
	int last_error;	       /* of the last commit, 0: fine */
	_Atomic int64_t failing_since; /* monotonic, 0: not failing */
	int64_t retry_at;
	/* In vol->dirty, when linked. */
	struct pfs_data *prev, *next;
	bool linked;
	bool want_commit; /* the committer should not wait for the interval */
	bool queued;	  /* a DATA item waits in the queue */
	int64_t dirty_since;
};

struct pfs_file {
	struct pfs_node *node; /* counted */
	struct pfs_data *data; /* object nodes */
	int flags;
	bool direct; /* reads past the kernel's pages */
	uint64_t lost_told;	  /* data->lost as last told to this file */
	uint64_t queue_lost_told; /* vol->queue_lost likewise */
	struct pfs_buf text; /* control files: content as of the open */
	_Atomic bool tried;  /* its first write was */
	_Atomic int refused; /* ... and this said of it: nothing of this file is committed */
	int snapshot;	     /* objects without a size: theirs, a descriptor; else -1 */
	struct pfs_intake *intake; /* what is taken in as a whole; else NULL */
	_Atomic bool taken;	   /* something was written to it */
	_Atomic uint64_t writer;   /* by whom at last; 0: unknown, or taken in */
	_Atomic bool cut;	   /* who wrote it was killed */
	struct pfs_lock_call *unlock; /* once it had a lock: for its end */
};

/* A change that the application was told and the engine was not. */
enum pfs_pending_type { PFS_PENDING_CREATE, PFS_PENDING_OP, PFS_PENDING_DATA };

struct pfs_pending {
	enum pfs_pending_type type;
	struct pfs_pending *prev, *next;
	struct pfs_node *node;	/* counted: created, moved, changed; DATA: whose data */
	struct pfs_node *other; /* counted: removed or replaced; may be NULL */
	struct pfs_node *dir, *dir2; /* counted; may be NULL */
	struct pfs_mutation op;
	char *name, *name2;
	int64_t now;
	int64_t due; /* monotonic */
	uint64_t seq;
	uint64_t epoch; /* in which the ids in op were issued */
	bool pins; /* node's attributes are ahead of the engine's */
};

/* What names mean while changes are pending. */
struct pfs_overlay {
	struct pfs_overlay *next;
	struct pfs_pending *by; /* the last change that decided it */
	uint64_t dir;
	struct pfs_node *node; /* counted; NULL: no such entry */
	size_t len;
	char name[];
};
#define PFS_OVERLAY_BUCKETS 256

struct pfs_failure {
	int64_t when;
	int err;
	char path[256];
	char text[256];
};
#define PFS_FAILURES 100

/* A mounted namespace of a backend. */
struct pfs_vol {
	struct pfs_fs *fs;
	const struct pfs_store_config *config;
	char *name; /* as in the tree */
	char *ns;
	unsigned ordinal;
	struct pfs_node *root; /* permanent */

	pthread_mutex_t open_lock;
	_Atomic(struct pfs_store *) store; /* NULL until opened */
	uint64_t root_epoch;
	int64_t open_failed_at;
	int open_error;
	struct pfs_msg open_msg;
	bool create;	     /* open makes the namespace */
	_Atomic bool closed; /* its namespace was removed */

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t work;  /* for the committer */
	pthread_cond_t room;  /* progress: for waiters */
	pthread_t committer;
	bool committer_runs, stop; /* it is started with the first thing to do */
	int64_t wake_at; /* when the committer looks again; 0: it is awake */
	bool poked;	 /* something came while it was awake */
	bool queue_busy; /* somebody works on the queue */
	struct pfs_pending *first, *last;
	_Atomic size_t npending;
	uint64_t queued_total; /* ever; the seq of the last item */
	int64_t queue_failing_since, queue_retry_at;
	_Atomic uint64_t queue_lost; /* queued changes that were lost */
	struct pfs_overlay *overlay[PFS_OVERLAY_BUCKETS];
	struct pfs_data *dirty;
	struct pfs_failure *failures; /* PFS_FAILURES of them, with the first */
	_Atomic size_t nfailures;     /* ever */
	/* Negative answers the kernel may hold. */
	struct pfs_negative {
		struct pfs_node *dir; /* counted */
		char *name;
	} *negatives;
	size_t nnegatives, negatives_cap;
	/* The latest negative answers by hash of the entry, for creates that come right after. */
	struct pfs_absent {
		_Atomic uint64_t hash;
		_Atomic int64_t when; /* monotonic */
	} absent[PFS_ABSENT];
	int64_t prune_at; /* not before: looking for those that can be forgotten takes a while */
};

/* Per backend: events on their way to the kernel. */
struct pfs_invalidator {
	struct pfs_fs *fs;
	struct pfs_backend *backend;
	pthread_t thread;
	bool runs, stop;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct pfs_inval_item *first, *last;
	size_t n;
	bool all;
	bool negatives; /* some volume's list of them is full */
	uint64_t pushed, told; /* items, ever */
	uint64_t alls, alls_told; /* wishes to take back everything, ever */
	struct pfs_inval_item *grown, *grown_last; /* files, when the others are told */
	uint64_t grown_pushed, grown_told;
	struct pfs_again *again; /* names to be taken back once more; the thread's own */
	size_t nagain;
	int64_t again_at; /* monotonic, while there are any */
	pthread_cond_t quiet;  /* told has moved */
};

struct pfs_fs {
	const struct pfs_fs_config *config;
	struct pfs_vdir *top;
	struct pfs_vol **vols; /* all, sets' included; grows under vols_lock */
	size_t nvols;
	pthread_mutex_t vols_lock;
	struct pfs_set_store **sets;
	size_t nsets;
	struct pfs_invalidator *invalidators; /* one per backend */
	struct pfs_locker *lockers;	      /* one per backend */
	bool started;
	int64_t started_at;

	pthread_mutex_t node_locks[PFS_NODE_LOCKS];
	struct pfs_node **node_hash[PFS_NODE_LOCKS];
	size_t node_mask[PFS_NODE_LOCKS]; /* buckets - 1 */
	size_t node_count[PFS_NODE_LOCKS];
	_Atomic size_t nnodes;

	/* When the kernel was last told what a name of this hash is; monotonic. See inval.c. */
	_Atomic int64_t named_at[PFS_NAMED_SLOTS];
	_Atomic uint64_t seen; /* moves with every batch of foreign events */
	_Atomic uint64_t own;  /* moves with every change by this mount */
	/* The last change of an object that has no node: what was asked before is not believed of any. */
	_Atomic uint64_t forgotten;
	pthread_rwlock_t reply_lock;
	struct pfs_kernel_ops kernel;
	void *kernel_arg;

	struct pfs_ahead *ahead;
	_Atomic uint64_t dirty_bytes;
	uint64_t dirty_limit;
	struct pfs_node *controls; /* nodes in .persistfs that were looked up; permanent */
	pthread_mutex_t control_lock;
};

/* node.c */
void pfs_node_lock(struct pfs_fs *fs, const struct pfs_node *node);
void pfs_node_unlock(struct pfs_fs *fs, const struct pfs_node *node);
int pfs_nodes_init(struct pfs_fs *fs);
void pfs_nodes_release(struct pfs_fs *fs);
/* A permanent node outside the table. */
struct pfs_node *pfs_node_new_fixed(struct pfs_fs *fs, enum pfs_node_kind kind, uint64_t ino);
/* Take before asking the engine. */
struct pfs_stamp pfs_stamp_take(struct pfs_fs *fs);
/*
 * The node of (vol, attr->id), made when there is none. Adds `lookups` and `refs`. Takes attr when
 * nothing passed since `stamp`.
 */
struct pfs_node *pfs_node_get(struct pfs_vol *vol, const struct pfs_attr *attr,
			      struct pfs_stamp stamp, uint64_t lookups, uint32_t refs);
/* The node of (backend, id) if there is one, with one more ref; NULL otherwise. */
struct pfs_node *pfs_node_find(struct pfs_fs *fs, const struct pfs_backend *backend, uint64_t id);
void pfs_node_ref(struct pfs_fs *fs, struct pfs_node *node);
void pfs_node_unref(struct pfs_fs *fs, struct pfs_node *node); /* NULL: no-op */
/* The engine's id of an object node, -ESTALE when its epoch has passed. */
int pfs_node_id(struct pfs_node *node, uint64_t *id);
/* This mount changed the object: attr is what the engine said afterwards, asked at `stamp`. */
void pfs_node_set_attr(struct pfs_fs *fs, struct pfs_node *node, const struct pfs_attr *attr,
		       struct pfs_stamp stamp);
/* This mount changed what `node` has, not its attributes: listings of before are not to be used. */
void pfs_node_changed(struct pfs_fs *fs, struct pfs_node *node);
/* This mount changed, or may have changed, what no node stands for. */
void pfs_nodes_changed(struct pfs_fs *fs);
/* This mount, or somebody else, changed the object in a way that is not known here. */
void pfs_node_drop_attr(struct pfs_fs *fs, struct pfs_node *node);
/*
 * This mount changed the entry `name` of `dir` at `now`, and the engine has moved its times. As the
 * only session it knows how; otherwise they are asked for again. Before the overlay forgets the change.
 */
void pfs_node_touch_dir(struct pfs_fs *fs, struct pfs_node *dir, struct pfs_bytes name,
			int64_t now);
/* What this mount last knew of the object, be it true or not: its type never changes. */
struct pfs_attr pfs_node_attr_known(struct pfs_node *node);
/* Is it over with the object, as far as is known here? The engine is asked again then. */
bool pfs_node_expired(struct pfs_node *node);
/* Attributes, from the cache or the engine, without what is dirty. */
int pfs_node_attr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_attr *out);
/*
 * Are the attributes to be told to the kernel now? Not while it has pages of another content, as
 * with them a new size would show what never was: then *size becomes the one it knows, the pages
 * are dropped soon, and the attributes must not be cached.
 */
bool pfs_node_tell_size(struct pfs_fs *fs, struct pfs_node *node, uint64_t version, uint64_t *size);
/* This mount set the size, and the kernel goes by it. */
void pfs_node_told_size(struct pfs_node *node, uint64_t size);
/* The kernel has grown its own idea of the file to `end`; it keeps what was written, or not (direct). */
void pfs_node_kernel_wrote(struct pfs_node *node, uint64_t end, bool direct);
/* The kernel was not told what others made of the size: it goes by `size` plus one, or by more. */
void pfs_node_grown_from(struct pfs_node *node, uint64_t from);
/* The kernel's pages are gone but for what it read since `pages` was cleared. */
void pfs_node_dropped(struct pfs_fs *fs, struct pfs_node *node);
/* Before the engine is read for the kernel's pages. */
int pfs_node_kernel_reads(struct pfs_fs *fs, struct pfs_node *node);
/* Remember the entry by which the kernel gets to know the node; false: it knows it by another one. */
bool pfs_node_know(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		   struct pfs_bytes name);
/* The entry (from, old) is (to, name) now. */
void pfs_node_moved(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *from,
		    struct pfs_bytes old, struct pfs_node *to, struct pfs_bytes name);
/* The path of an object in its store as this mount has walked it, before what `out` has already. */
void pfs_node_key(struct pfs_fs *fs, struct pfs_node *node, struct pfs_buf *out);
/* Call fn for every object node of the backend, each with a ref held, no lock held. */
void pfs_nodes_each(struct pfs_fs *fs, const struct pfs_backend *backend,
		    void (*fn)(void *arg, struct pfs_node *node), void *arg);

/* ahead.c: look-ups that are answered from pages of the directory */
enum pfs_ahead_answer { PFS_AHEAD_UNKNOWN, PFS_AHEAD_FOUND, PFS_AHEAD_ABSENT };
int pfs_ahead_init(struct pfs_fs *fs);
void pfs_ahead_release(struct pfs_fs *fs);
/*
 * What is known of the entry `name` of directory `dir`, whose id is `id`, but for changes that are
 * pending. *stamp: of now; with an answer it becomes that of when the engine was asked. May ask the
 * engine for a page, and so block.
 */
enum pfs_ahead_answer pfs_ahead_lookup(struct pfs_node *dir, uint64_t id, struct pfs_bytes name,
				       struct pfs_attr *attr, struct pfs_stamp *stamp);
/* For pfs_node_touch_dir(). */
void pfs_ahead_changed(struct pfs_node *dir, struct pfs_bytes name);

/* tree.c */
/* Where others have sessions too: let them hear of ours. Blocks for a moment. */
void pfs_backend_started(struct pfs_backend *backend);
/* All volumes at this moment: owned array (free), *n. */
struct pfs_vol **pfs_vols_snapshot(struct pfs_fs *fs, size_t *n);

/* vol.c */
struct pfs_vol *pfs_vol_new(struct pfs_fs *fs, const struct pfs_store_config *config,
			    const char *name, const char *ns);
/* -ENODATA: nothing is there, and nothing is made before the first write (pfs_vol_make). */
int pfs_vol_open(struct pfs_vol *vol, struct pfs_msg *msg);
int pfs_vol_make(struct pfs_vol *vol);
/* Has nothing been made yet? Asks the engine, at most once a second. */
bool pfs_vol_unmade(struct pfs_vol *vol);
bool pfs_vol_pushes(const struct pfs_vol *vol);
bool pfs_vol_offers(const struct pfs_vol *vol, uint32_t capability);
/* Is this mount the only one there is, and would it hear of another? Does no I/O. */
bool pfs_vol_alone(const struct pfs_vol *vol);
double pfs_vol_timeout(const struct pfs_vol *vol);
/* When something new of this mode expires, as the store is configured; 0: never. */
int64_t pfs_vol_expires(const struct pfs_vol *vol, uint32_t mode);
/* An op on the content of a file that expires: its time begins anew, where the store says so. */
void pfs_vol_refresh(struct pfs_node *node, struct pfs_mutation *m);
/* Commit and note what failed for .persistfs. `node` (may be NULL) and name say what it was about. */
int pfs_vol_commit(struct pfs_vol *vol, struct pfs_batch *batch, struct pfs_node *node,
		   struct pfs_bytes name);
void pfs_vol_note_failure(struct pfs_vol *vol, int err, struct pfs_node *node,
			  struct pfs_bytes name, const char *text);
/* How long the kernel may remember that there is no such entry. */
double pfs_vol_negative_timeout(struct pfs_vol *vol, struct pfs_node *dir, struct pfs_bytes name);
void pfs_vol_close(struct pfs_vol *vol);   /* its namespace was removed */
uint64_t pfs_entry_hash(uint64_t dir, struct pfs_bytes name);
/*
 * The engine was asked for (dir, name) and had no such entry; was that a moment ago? A hint: the
 * commit of a create finds out in any case.
 */
void pfs_vol_note_absent(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name);
bool pfs_vol_just_absent(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name);
void pfs_vol_stop(struct pfs_vol *vol);	   /* ends the committer */
void pfs_vol_release(struct pfs_vol *vol); /* drops what it refers to, uncommitted data too */
void pfs_vol_free(struct pfs_vol *vol);
/* attr.c */
/* What a write leaves of permission bits: no setuid, and no setgid where the group may execute. */
uint32_t pfs_mode_killpriv(uint32_t mode);
void pfs_node_stat(struct pfs_node *node, const struct pfs_attr *attr, struct stat *st);
/* Attributes with this mount's dirty data on top. */
int pfs_node_visible(struct pfs_fs *fs, struct pfs_node *node, struct pfs_attr *out);
/* Fill an entry for a node whose lookup has been counted. parent NULL: attributes only. */
int pfs_entry_fill(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node *parent,
		   struct pfs_bytes name, struct pfs_stamp stamp, struct pfs_entry *out);
/*
 * Before the object's attributes are changed: what waits to be committed of it, or in it, is of an earlier
 * time, and must not come later.
 */
int pfs_node_settle(struct pfs_fs *fs, struct pfs_node *node);
/* What is known of a store's root, without asking its engine; to be cached only where it is true. */
void pfs_root_fill(struct pfs_fs *fs, struct pfs_node *node, struct pfs_entry *out);
/* The place of a store whose backend was found unreachable: it is answered without asking. */
bool pfs_root_unreachable(const struct pfs_node *node);
int64_t pfs_timespec_ns(const struct timespec *ts);

/* data.c: the uncommitted state of files */
struct pfs_data *pfs_data_get(struct pfs_fs *fs, struct pfs_node *node, bool make, int *err);
void pfs_data_put(struct pfs_data *data);
bool pfs_data_clean(const struct pfs_data *data); /* under data->lock */
void pfs_data_link(struct pfs_data *data);	  /* under data->lock */
enum pfs_data_goal {
	PFS_GOAL_PUBLISH, /* everything, also a rewrite */
	PFS_GOAL_SPILL,	  /* bytes out of memory: in place, or into a staged content */
	PFS_GOAL_CREATE,  /* let the create be seen; in-place data too */
};
/*
 * Commit what is dirty, behind everything that is queued. Waits for a commit under way. Returns the error of the commit; the data then
 * stays dirty and the committer tries again until retry_timeout.
 */
int pfs_data_commit(struct pfs_data *data, enum pfs_data_goal goal);
/* The same without waiting for queued changes first: for the queue itself. */
int pfs_data_commit_now(struct pfs_data *data, enum pfs_data_goal goal);
/* Lose what is dirty: said in the log and to every open file. */
void pfs_data_give_up(struct pfs_data *data, int err);
int pfs_data_commit_node(struct pfs_fs *fs, struct pfs_node *node, enum pfs_data_goal goal);
/* Until no commit is under way. Under data->lock, which is dropped meanwhile. */
void pfs_data_wait_idle(struct pfs_data *data);
/* May others append too, so that the engine alone knows where appended bytes go? */
bool pfs_data_shared(const struct pfs_data *data);
/* data_read.c */
ssize_t pfs_data_read(struct pfs_data *data, void *buf, size_t len, uint64_t off);
/* The same, but what has no place yet is not given one: it is not there. */
ssize_t pfs_data_peek(struct pfs_data *data, void *buf, size_t len, uint64_t off);
/* data.c */
/* Write; append: at the end, wherever `off` is. Returns 0 or -errno. */
enum pfs_append { PFS_APPEND_NOT, PFS_APPEND_PAGES, PFS_APPEND_DIRECT };
int pfs_data_write(struct pfs_data *data, const void *buf, size_t len, uint64_t off,
		   enum pfs_append append, bool killpriv);
/* open with O_TRUNC: from now on nothing of the old content shows. */
int pfs_data_start_rewrite(struct pfs_data *data, bool killpriv);
/* What the engine has is empty, as this mount made it: nothing need be published while it stays so. */
void pfs_data_set_fresh(struct pfs_data *data);
/* Whether the node is being rewritten, and something was written already. */
bool pfs_data_unpublished(struct pfs_fs *fs, struct pfs_node *node);
/* A rewrite that has not written anything leaves the old content as it is. */
void pfs_data_drop_unwritten(struct pfs_data *data);
/*
 * Cut or punch what a rewrite has so far. *done false: there is no rewrite, nothing was done, what was
 * dirty is committed, and the engine's object is the one to change.
 */
int pfs_data_truncate(struct pfs_data *data, uint64_t size, bool *done);
int pfs_data_punch(struct pfs_data *data, uint64_t off, uint64_t len, bool *done);
/* trial.c */
/*
 * Before the first write of an open file: what the engine has against it, as far as that is known before
 * the commit. An error is for good: what was written through this file is not committed.
 */
int pfs_data_try(struct pfs_data *data, const void *buf, size_t len, uint64_t off,
		 enum pfs_append append);
/* queue.c */
void pfs_queue_wake(struct pfs_vol *vol, int64_t due); /* under vol->lock */
void *pfs_committer_main(void *arg);
/* Make everything pending committed; returns the first error of what could not be. */
int pfs_queue_settle(struct pfs_vol *vol);
/* The same, if anything pending may yet change the attributes of directory `dir`. */
int pfs_queue_settle_dir(const struct pfs_node *dir);
/*
 * Append an item; it is consumed, also on failure. Waits while a queue of changes is full.
 * show: the names that it decides, at most two.
 */
struct pfs_shown {
	uint64_t dir;
	struct pfs_bytes name;
	struct pfs_node *node; /* borrowed; NULL: there is no such entry any more */
};
int pfs_queue_add(struct pfs_vol *vol, struct pfs_pending *item, const struct pfs_shown *show,
		  size_t nshow);
/* node, dir: borrowed, counted by the item; may be NULL. */
struct pfs_pending *pfs_pending_new(enum pfs_pending_type type, struct pfs_node *node,
				    struct pfs_node *dir, struct pfs_bytes name);
void pfs_pending_free(struct pfs_fs *fs, struct pfs_pending *item);
/* An item's change is committed (or lost): unlink it and what it decided. */
void pfs_queue_done(struct pfs_vol *vol, struct pfs_pending *item);
/*
 * What pending changes say about (dir, name). True: *node is the answer (a ref counted) or NULL for
 * no such entry.
 */
bool pfs_overlay_find(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name,
		      struct pfs_node **node);

/* inval.c */
int pfs_invalidators_start(struct pfs_fs *fs);
void pfs_invalidators_stop(struct pfs_fs *fs);
void pfs_invalidators_release(struct pfs_fs *fs);
int pfs_invalidators_init(struct pfs_fs *fs);
/* Ask for the kernel's copy of a node's content and attributes to be dropped, soon. */
void pfs_inval_node_later(struct pfs_fs *fs, struct pfs_node *node);
/* Take back the oldest negative answers of a volume, so that newer ones can be remembered. */
void pfs_inval_negatives_later(struct pfs_vol *vol);
void pfs_inval_entry_later(struct pfs_fs *fs, struct pfs_node *dir, struct pfs_bytes name);
/* The node, and the entry that the kernel knows it by: it asks for both again. */
void pfs_inval_known_later(struct pfs_fs *fs, struct pfs_node *node);
/* The file was opened while others' changes of its size were not told: see to it soon. */
void pfs_inval_growth_later(struct pfs_fs *fs, struct pfs_node *node);
/* The kernel is about to be told what `name` is in `dir`, or that it is not. */
void pfs_inval_naming(struct pfs_fs *fs, const struct pfs_node *dir, struct pfs_bytes name);
/* Wait until the kernel was told everything that is queued now. Not from inside a request. */
void pfs_inval_settle(struct pfs_fs *fs, const struct pfs_backend *backend);
/*
 * Ask the engine for the node's attributes as they are now, and have the kernel forget its own, and
 * pages of another content. Not from inside a request: waits for reads of the file that are under
 * way.
 */
int pfs_inval_node_now(struct pfs_fs *fs, struct pfs_node *node);

/* lock.c: locks, within the mount and across mounts */
int pfs_lockers_init(struct pfs_fs *fs);
void pfs_lockers_stop(struct pfs_fs *fs);
void pfs_lockers_release(struct pfs_fs *fs);
void pfs_locks_free(struct pfs_locks *locks); /* with its node; NULL: no-op */
/* PFS_EVENT_LOCK; id 0: any lock of this session may be in somebody's way. */
void pfs_locks_asked(struct pfs_fs *fs, const struct pfs_backend *backend, uint64_t id);
/* The backend's data was replaced: what was locked is no more. */
void pfs_locks_replaced(struct pfs_fs *fs, const struct pfs_backend *backend);
/* -EIO: the file was written under a lock that is lost. Does not block. */
int pfs_locks_check(const struct pfs_node *node);
/* The same before a commit; may ask the engine whether the session lives. */
int pfs_locks_fence(const struct pfs_node *node);
/* The open file ends: drop what was locked through it and not unlocked. */
void pfs_locks_end(struct pfs_fs *fs, struct pfs_file *file);
/* Whether fcntl locks were seen on the node. */
bool pfs_locks_posix(const struct pfs_node *node);

/* control.c: .persistfs */
#define PFS_CONTROL_NAME ".persistfs"
int pfs_control_init(struct pfs_fs *fs);
void pfs_control_release(struct pfs_fs *fs);
/* parent NULL: .persistfs itself. -ENOENT. */
int pfs_control_lookup(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		       struct pfs_node **out);
void pfs_control_stat(struct pfs_fs *fs, struct pfs_node *node, struct stat *st);
/* The content of a file as of now. */
int pfs_control_render(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_buf *out);
/* The index-th child: its name (owned, free) or -ENOENT behind the last. */
int pfs_control_child(struct pfs_fs *fs, const struct pfs_node *node, uint64_t index, char **name);

/* process.c: has a signal ended the thread, which is just leaving? Where that cannot be told: no. */
bool pfs_process_killed(uint32_t pid);

/* entry.c */
bool pfs_node_writable(const struct pfs_node *node);
/*
 * Before a change of it or in it: virtual directories -EPERM, read-only stores -EROFS; opens the store,
 * and makes what was to be made with the first write.
 */
int pfs_node_prepare(struct pfs_node *node);
/* The attributes of something new in `parent`, as mode and ctx have it. */
int pfs_new_attr(struct pfs_fs *fs, const struct pfs_ctx *ctx, struct pfs_node *parent, mode_t mode,
		 struct pfs_attr *out);

/* xattr.c: user.persistfs.* */
#define PFS_XATTR_PREFIX "user.persistfs."

/* Most calls begin so: refuse what is not an object of a store. */
static inline bool pfs_node_is_object(const struct pfs_node *node)
{
	return node->kind == PFS_NODE_OBJECT;
}

#endif
