/*
 * The own schema: entries, objects, chunks of content, attributes, sessions and changes in tables
 * of a SQL engine. What is here works over any driver (sql.h); the engine brings the schema, the
 * connections and the transactions.
 *
 * Content is cut into chunks. A chunk that is missing is a hole; one that is shorter than its place
 * reads as zeros behind its end. No chunk reaches behind its object's size. A chunk's key is
 * (content << PFS_KV_INDEX_BITS | index).
 *
 * Lock order: none of the functions here takes a lock but kv->lock, which is a leaf.
 */
#ifndef PFS_BACKENDS_SQL_KV_H
#define PFS_BACKENDS_SQL_KV_H

#include <pthread.h>

#include "backends/backend.h"
#include "backends/sql/sql.h"

#define PFS_KV_LAYOUT	  1
#define PFS_KV_CHUNK	  16384
#define PFS_KV_INDEX_BITS 26
#define PFS_KV_ID_MAX	  ((UINT64_C(1) << (64 - PFS_KV_INDEX_BITS)) - 1)
#define PFS_KV_SIZE_MAX	  ((uint64_t)PFS_KV_CHUNK << PFS_KV_INDEX_BITS) /* PFS_SIZE_MAX */
#define PFS_KV_ID_BLOCK	  8192
/* One COPY copies at most so much data (and any holes), and says so in `length`. */
#define PFS_KV_COPY_MAX (64u << 20)

/* The statements, in the order of pfs_kv_sql[]. */
enum pfs_kv_stmt {
	KV_LOOKUP,
	KV_LOOKUP_IN,
	KV_GETATTR,
	KV_LIST,
	KV_PARENT,
	KV_READ,
	KV_ENTRY_ANY,
	KV_ENTRY_PUT,
	KV_ENTRY_DEL,
	KV_ENTRY_MOVE,
	KV_ENTRY_SET,
	KV_OBJECT_ADD,
	KV_OBJECT_PUT,
	KV_OBJECT_DEL,
	KV_DIR_TOUCH,
	KV_DIR_ADD,
	KV_DIR_DEL,
	KV_DIR_PATH,
	KV_DIR_MOVE,
	KV_DIRS_MOVE,
	KV_CHUNK_GET,
	KV_CHUNK_LEN,
	KV_CHUNK_PUT,
	KV_CHUNK_CUT,
	KV_CHUNKS_LEN,
	KV_CHUNKS_DEL,
	KV_CHUNKS_DEL_SOME,
	KV_CHUNKS_NEXT,
	KV_XATTR_GET,
	KV_XATTR_LIST,
	KV_XATTR_ADD,
	KV_XATTR_PUT,
	KV_XATTR_DEL,
	KV_XATTRS_DEL,
	KV_STAGED_ADD,
	KV_STAGED_GET,
	KV_STAGED_DEL,
	KV_STAGED_DEAD,
	KV_ORPHAN_ADD,
	KV_ORPHANS_DEAD,
	KV_ORPHANS_CLAIM,
	KV_ORPHAN_DEL,
	KV_ORPHANS_SCAN,
	KV_HOLD_ADD,
	KV_HOLDS_DEL,
	KV_HELD_ELSEWHERE,
	KV_IDS_RESERVE,
	KV_IDS_RETURN,
	KV_NS_GET,
	KV_NS_BY_ID,
	KV_NS_LIST,
	KV_NS_ADD,
	KV_NS_DEL,
	KV_USAGE_GET,
	KV_USAGE_ADD,
	KV_USAGE_FOLD,
	KV_USAGE_FOLD_DEL,
	KV_USAGE_CLEAR,
	KV_USAGE_SCAN,
	KV_SESSION_ADD,
	KV_SESSION_BEAT,
	KV_SESSION_DEL,
	KV_SESSION_COUNT,
	KV_SESSION_LIST,
	KV_SESSION_ACK,
	KV_SESSION_ACKED,
	KV_LOCKS_SESSION_DEL,
	KV_HOLDS_SESSION_DEL,
	KV_CHANGE_ADD,
	KV_CHANGES_AFTER,
	KV_CHANGES_LAST,
	KV_CHANGES_TRIM,
	KV_LOCK_CONFLICT,
	KV_LOCK_OWN,
	KV_LOCK_DEL,
	KV_LOCK_ADD,
	KV_STMT_COUNT
};
extern const char *const pfs_kv_sql[KV_STMT_COUNT];
/* The columns that pfs_kv_row_object() reads, of an object named o. */
#define PFS_KV_OBJECT                                                                              \
	"o.id, o.mode, o.uid, o.gid, o.nlink, o.rdev, o.size, o.stored, o.version, "               \
	"o.content_version, o.mtime, o.ctime, o.btime, o.content, o.ns"

/* What a row of `changes` tells. */
enum pfs_kv_change {
	KV_CHANGE_NONE,
	KV_CHANGE_ENTRY,
	KV_CHANGE_ATTR,
	KV_CHANGE_CONTENT,
	KV_CHANGE_GONE,
	KV_CHANGE_LOCK /* session `dir` has a lock on the object that another one wants */
};

/* A growing list of ids. Zero-initialised is empty. */
struct pfs_kv_ids {
	uint64_t *v;
	size_t n, cap;
};
int pfs_kv_ids_add(struct pfs_kv_ids *ids, uint64_t id);

/* Objects or contents to be swept, once the other sessions have acknowledged change `after`. */
struct pfs_kv_orphans {
	struct pfs_kv_orphan {
		uint64_t id, after;
		bool done;
	} * v;
	size_t n, cap;
};

struct pfs_kv_usage {
	uint64_t ns;
	int64_t objects, bytes;
};

/* What a backend knows beside its tables. */
struct pfs_kv {
	pthread_mutex_t lock;	  /* guards all but session, shared and known_... */
	uint64_t next_id, end_id; /* the reserved block */
	struct pfs_kv_held {
		uint64_t id;
		uint32_t count;
	} * held; /* open addressing, a power of two */
	size_t nheld, held_cap;
	struct pfs_kv_orphans orphans;	/* objects without a name, to be swept */
	struct pfs_kv_orphans parked;	/* the same, but held */
	struct pfs_kv_orphans contents; /* contents without an object, to be swept */
	struct pfs_kv_usage *usage;	/* not yet written down */
	size_t nusage;
	struct pfs_kv_dirtime {
		uint64_t dir;
		int64_t now;
		uint64_t count; /* changes: the version grows by so much */
		bool written;	/* the row has it */
	} * dirtimes;		/* kv_dirtimes.c; changed with the writing connection held */
	size_t ndirtimes;
	uint64_t session;
	int64_t lease; /* ns: a session silent for longer is dead */
	/*
	 * Times of directories are written with every commit, and no rows of `changes` that tell
	 * nothing: others hear of commits by a channel of the engine's own.
	 */
	bool eager;
	/* Refused locks that were told lately, so that polling does not tell each time. */
	struct pfs_kv_told {
		uint64_t id;
		int64_t at; /* monotonic ns */
	} told[8];
	unsigned ntold;
	/* The next three are changed with the writing connection held. */
	bool shared; /* other sessions are registered */
	uint64_t known_dir,
		known_ns; /* a directory that is there, in the state of the transaction */
};

int pfs_kv_init(struct pfs_kv *kv);
void pfs_kv_release(struct pfs_kv *kv);
/* Forget what belongs to one database file: ids, orphans, usage; what is held stays counted. */
void pfs_kv_reset(struct pfs_kv *kv);

/* ---- ids and holds: no I/O ------------------------------------------------------------------ */

/* n ids from the block: true and *first, or false: reserve more first. */
bool pfs_kv_take_ids(struct pfs_kv *kv, uint64_t n, uint64_t *first);
/* Give back what was taken last, if nobody took since. */
void pfs_kv_return_ids(struct pfs_kv *kv, uint64_t first, uint64_t end);
/* Reserve at least n ids in the database: inside a transaction of its own. */
int pfs_kv_reserve_ids(struct pfs_sql_conn *c, uint64_t n, uint64_t *first, uint64_t *end);
/* At the end of a session: what is left of the block goes back, if nobody reserved since. */
int pfs_kv_end_ids(struct pfs_kv *kv, struct pfs_sql_conn *c);
void pfs_kv_add_ids(struct pfs_kv *kv, uint64_t first, uint64_t end);

void pfs_kv_hold(struct pfs_kv *kv, uint64_t id);
/* True when this was the last hold of an object that has no name: it can be swept now. */
bool pfs_kv_unhold(struct pfs_kv *kv, uint64_t id);
bool pfs_kv_is_held(struct pfs_kv *kv, uint64_t id);
bool pfs_kv_held_locked(const struct pfs_kv *kv, uint64_t id); /* with kv->lock held */

/* ---- reading: on any connection ------------------------------------------------------------- */

struct pfs_kv_object {
	struct pfs_attr a;
	uint64_t ns, content;
	uint64_t seq; /* of the entry, after a look-up */
};

/* The columns of KV_GETATTR and KV_LOOKUP from column `first` on. */
void pfs_kv_row_object(struct pfs_sql_conn *c, struct pfs_sql_query *q, int first,
		       struct pfs_kv_object *out);
/* All of these see the objects of namespace `ns` alone; others are -ENOENT. */
/* The object at (dir, name): 1, 0 (there is none, or no such directory) or -errno. */
int pfs_kv_entry(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		 struct pfs_bytes name, struct pfs_kv_object *out);
/*
 * The same in one statement with the directory: -ENOENT: there is none, -ENOTDIR. *nlink: the
 * directory's; 0: it was removed.
 */
int pfs_kv_entry_in(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		    struct pfs_bytes name, struct pfs_kv_object *out, uint32_t *nlink);
int pfs_kv_lookup(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		  struct pfs_bytes name, struct pfs_kv_object *out);
int pfs_kv_getattr(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		   struct pfs_kv_object *out);
int pfs_kv_list(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		uint64_t cursor, size_t limit, struct pfs_list **out);
int pfs_kv_parent(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		  uint64_t *out);
ssize_t pfs_kv_read(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		    uint64_t off, void *buf, size_t len);
/* A content that this session has staged. */
ssize_t pfs_kv_read_staged(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t content,
			   uint64_t off, void *buf, size_t len);
/*
 * As pfs_kv_read, from the rows of one query that is at its first: `o` (id, mode, nlink, size, ns), and
 * in `column` and the next the key and data of its chunks (key 0: none).
 */
ssize_t pfs_kv_read_rows(struct pfs_kv *kv, struct pfs_sql_conn *c, struct pfs_sql_query *q,
			 uint64_t ns, const struct pfs_kv_object *o, int column, uint64_t off,
			 void *buf, size_t len);
int pfs_kv_seek(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id, uint64_t off,
		bool hole, uint64_t *out);
ssize_t pfs_kv_xattr_get(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
			 struct pfs_bytes name, void *buf, size_t len);
int pfs_kv_xattr_list(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		      struct pfs_buf *out);
int pfs_kv_usage_get(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, struct pfs_usage *out);
int pfs_kv_ns_list(struct pfs_sql_conn *c, struct pfs_namespace_list *out);
/* -ENOENT. */
int pfs_kv_ns_get(struct pfs_sql_conn *c, const char *name, uint64_t *ns, uint64_t *root);
/* The root of namespace number `ns`; -ENOENT when it is gone. */
int pfs_kv_ns_root(struct pfs_sql_conn *c, uint64_t ns, uint64_t *root);

/* ---- content: kv_content.c; in a transaction ------------------------------------------------ */

/* The data at or behind `off`: its start, and the end of its chunk (run: of all that follow
 * without a hole). -ENXIO: there is none before `size`. */
int pfs_kv_content_next(struct pfs_sql_conn *c, uint64_t content, uint64_t size, uint64_t off,
			bool run, uint64_t *start, uint64_t *end);

/* Gathers the bytes [off, off+len) of a content from its chunks, told in order. */
struct pfs_kv_gather {
	uint64_t off, end, done;
	char *to;
	bool any;
};
void pfs_kv_gather_begin(struct pfs_kv_gather *g, uint64_t off, void *buf, size_t len);
void pfs_kv_gather_add(struct pfs_kv_gather *g, int64_t key, struct pfs_bytes data);
void pfs_kv_gather_end(struct pfs_kv_gather *g); /* zeros where nothing was told */

/* Bytes [off, off+len) of a content, zeros where nothing is stored. any: something was stored. */
int pfs_kv_content_read(struct pfs_sql_conn *c, uint64_t content, uint64_t off, void *buf,
			size_t len, bool *any);
/* Write segs. *stored follows. size: of the content so far. */
int pfs_kv_content_write(struct pfs_sql_conn *c, uint64_t content, uint64_t size,
			 const struct pfs_seg *segs, size_t nsegs, uint64_t *stored);
/* Make the content segs and zeros elsewhere; old_size: what it had. */
int pfs_kv_content_replace(struct pfs_sql_conn *c, uint64_t content, uint64_t old_size,
			   const struct pfs_seg *segs, size_t nsegs, uint64_t *stored);
int pfs_kv_content_punch(struct pfs_sql_conn *c, uint64_t content, uint64_t off, uint64_t end,
			 uint64_t *stored);
int pfs_kv_content_truncate(struct pfs_sql_conn *c, uint64_t content, uint64_t old_size,
			    uint64_t size, uint64_t *stored);

/* ---- times of directories: kv_dirtimes.c ---------------------------------------------------- */

/* Is there room for n more directories? */
bool pfs_kv_dirtimes_reserve(struct pfs_kv *kv, size_t n);
/* An entry of `dir` was changed at `now`, and that is committed. Room has been reserved. */
void pfs_kv_dirtimes_add(struct pfs_kv *kv, uint64_t dir, int64_t now);
/* The row of `dir` was written with what was kept for it, and that is committed. */
void pfs_kv_dirtimes_drop(struct pfs_kv *kv, uint64_t dir);
/* Correct what a directory's row said. */
void pfs_kv_dirtimes_lay(struct pfs_kv *kv, struct pfs_attr *a);
/* Is there anything that no row has? */
bool pfs_kv_dirtimes_waiting(struct pfs_kv *kv);
/* Write them down, in a transaction; after COMMIT pfs_kv_dirtimes_flushed(). */
int pfs_kv_dirtimes_flush(struct pfs_kv *kv, struct pfs_sql_conn *c);
void pfs_kv_dirtimes_flushed(struct pfs_kv *kv);

/* ---- writing: kv_write.c -------------------------------------------------------------------- */

/* One transaction: a group of batches. */
struct pfs_kv_txn {
	struct pfs_kv *kv;
	struct pfs_sql_conn *c;
	uint64_t ns;		  /* of the batch that is applied */
	uint64_t next_id, end_id; /* taken from the block beforehand: see pfs_kv_batch_ids() */
	struct pfs_kv_touch {
		uint64_t dir;
		int64_t now;
		unsigned batch;	  /* which batch asked for it */
		unsigned flushed; /* which batch had it written; 0: still to be */
	} * touched;
	size_t ntouched, touched_cap;
	struct pfs_kv_usage *usage;
	size_t nusage, usage_cap;
	struct pfs_kv_ids orphans, contents;
	struct pfs_kv_ids dirs; /* directories whose rows were written as a whole */
	int64_t last_change; /* the last change when it was finished, if sessions share the store */
	unsigned batch;	     /* counts the batches, from 1 */
	uint64_t changed;    /* how many rows of `changes` were written */
};

/* How many ids pfs_kv_apply() may take from the transaction for a batch. */
uint64_t pfs_kv_batch_ids(const struct pfs_batch *batch);
/* How much work a batch is, in bytes. */
size_t pfs_kv_batch_cost(const struct pfs_batch *batch);
/*
 * Apply one batch inside the transaction. On failure the caller undoes the batch (a savepoint, or
 * the whole transaction), and pfs_kv_mark/pfs_kv_undo do it for the txn's own lists. A batch of
 * one mutation that fails with *unexpected false has written nothing.
 */
int pfs_kv_apply(struct pfs_kv_txn *t, struct pfs_batch *batch, bool *unexpected);
struct pfs_kv_mark {
	size_t ntouched, norphans, ncontents, ndirs;
	struct pfs_kv_usage usage;
	bool had_usage;
};
/* Begins a batch: comes before pfs_kv_apply(). */
void pfs_kv_mark(struct pfs_kv_txn *t, uint64_t ns, struct pfs_kv_mark *mark);
void pfs_kv_undo(struct pfs_kv_txn *t, uint64_t ns, const struct pfs_kv_mark *mark);
/* Before COMMIT: parents' times, usage where it is shared, changes. */
int pfs_kv_txn_finish(struct pfs_kv_txn *t);
/* After COMMIT: hand usage and orphans to the backend. */
void pfs_kv_txn_committed(struct pfs_kv_txn *t);
void pfs_kv_txn_release(struct pfs_kv_txn *t);

/* ---- namespaces, sessions, sweeping, locks: kv_session.c; in a transaction ------------------ */

/* Make namespace `name`; its number is the id of its root. */
int pfs_kv_ns_create(struct pfs_sql_conn *c, const char *name, uint64_t root, uint32_t mode,
		     uint32_t uid, uint32_t gid, int64_t now);
/* -ENOENT, -ENOTEMPTY. */
int pfs_kv_ns_remove(struct pfs_kv *kv, struct pfs_sql_conn *c, const char *name);

/* How other sessions can tell that this process lives. */
struct pfs_kv_self {
	int64_t pid, started;
	const char *host; /* host, boot and pid namespace in one string */
};
/* Host, boot and pid namespace: where a pid means the same process. Owned; NULL: no memory. */
char *pfs_kv_describe_host(void);
/* When process `pid` started, in the kernel's ticks; 0: there is none. */
uint64_t pfs_kv_process_started(uint64_t pid);
/* Register this session under `id`. */
int pfs_kv_session_add(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id,
		       const struct pfs_kv_self *self);
/* -ESTALE: the session is not there any more. */
int pfs_kv_session_beat(struct pfs_kv *kv, struct pfs_sql_conn *c);
/* How many are registered; *own: this one too. own may be NULL. */
int pfs_kv_session_count(struct pfs_kv *kv, struct pfs_sql_conn *c, unsigned *out, bool *own);
/* Remove the sessions that died; *dead: how many. What they left is found by pfs_kv_recover(). */
int pfs_kv_session_reap(struct pfs_kv *kv, struct pfs_sql_conn *c, const struct pfs_kv_self *self,
			unsigned *dead);
/* Others are registered, or not any more: *flushed says that what was kept in memory was written. */
int pfs_kv_session_shared(struct pfs_kv *kv, struct pfs_sql_conn *c, bool shared, bool *flushed);
/* The last transaction of this session. After COMMIT pfs_kv_usage_flushed(). */
int pfs_kv_session_leave(struct pfs_kv *kv, struct pfs_sql_conn *c);
/* End session `id`: its locks and holds go. */
int pfs_kv_session_end(struct pfs_sql_conn *c, uint64_t id);
/*
 * Collect what nobody owns, to be swept. scan: after a session died that was alone: by reading all
 * objects, which counts the usage anew.
 */
int pfs_kv_recover(struct pfs_kv *kv, struct pfs_sql_conn *c, bool scan);
/* Write down what was only counted in memory; after COMMIT pfs_kv_usage_flushed(). */
int pfs_kv_usage_flush(struct pfs_kv *kv, struct pfs_sql_conn *c);
void pfs_kv_usage_flushed(struct pfs_kv *kv);
/* Write down which objects wait to be swept, for when this session dies. */
int pfs_kv_orphans_flush(struct pfs_kv *kv, struct pfs_sql_conn *c);
/* Remember an object without a name (kv->orphans) or a content without an object (kv->contents). */
void pfs_kv_orphan(struct pfs_kv *kv, struct pfs_kv_orphans *list, uint64_t id, uint64_t after);
/* How many objects and contents wait to be swept. */
size_t pfs_kv_sweepable(struct pfs_kv *kv);
/* What a housekeeping thread remembers between its rounds. */
struct pfs_kv_house {
	uint64_t committed; /* transactions, when it looked last */
	int64_t since;	    /* something waits to be swept; 0: nothing */
};
/*
 * Is it time to sweep? Not while requests come, unless much waits or it has waited for long: then a
 * sweep would only delay them, and what it removes now is removed more cheaply in one go.
 */
bool pfs_kv_sweep_time(struct pfs_kv *kv, uint64_t committed, struct pfs_kv_house *h);
/*
 * One small step of sweeping, which removes about `budget` rows. After COMMIT or ROLLBACK comes
 * pfs_kv_sweep_done(), which says whether another step would find work.
 */
struct pfs_kv_sweep {
	struct pfs_kv_orphans taken, contents;
	bool progress;
};
int pfs_kv_sweep_step(struct pfs_kv *kv, struct pfs_sql_conn *c, struct pfs_kv_sweep *s,
		      int64_t budget);
bool pfs_kv_sweep_done(struct pfs_kv *kv, struct pfs_kv_sweep *s, bool committed);

/* Positions of locks are kept in signed columns, in the same order. */
static inline int64_t pfs_kv_lock_pos(uint64_t pos)
{
	return (int64_t)(pos ^ (UINT64_C(1) << 63));
}

/*
 * fcntl rules over the table of locks. *tell, with -EAGAIN: another session has it and is to be told;
 * that is written, and the transaction must be committed.
 */
int pfs_kv_lock(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		const struct pfs_lock *lock, struct pfs_lock *conflict, bool *tell);
int pfs_kv_change_add(struct pfs_kv *kv, struct pfs_sql_conn *c, enum pfs_kv_change type,
		      uint64_t dir, uint64_t id, struct pfs_bytes name);

/* ---- what others changed: kv_news.c --------------------------------------------------------- */

#define PFS_KV_EVENTS_MAX 1000 /* in one go */

struct pfs_kv_news {
	struct pfs_event events[PFS_KV_EVENTS_MAX];
	struct pfs_buf names;
	struct pfs_kv_ids gone; /* objects that lost their last name */
	size_t n, rows;		/* rows: by others, and rows that tell nothing */
	size_t seen;		/* all rows, own ones too */
	bool all;		/* events tells not everything */
	bool foreign;		/* other sessions or programs wrote rows */
	bool by_client;		/* an SQL client removed something */
};
/* Read the rows of `changes` after *last, which follows. On failure `all` is set. */
int pfs_kv_news_read(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t *last,
		     struct pfs_kv_news *news);
void pfs_kv_news_release(struct pfs_kv_news *news);
/*
 * Say that they were told: objects that this session holds are put down as held first. Any
 * transaction will do, or none at all.
 */
int pfs_kv_news_ack(struct pfs_kv *kv, struct pfs_sql_conn *c, const struct pfs_kv_news *news,
		    uint64_t last);

#endif
