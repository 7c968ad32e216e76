/*
 * Private to backends/sqlite/: a connection, the backend, and what its files offer each other.
 *
 *	sqlite.c	the engine's descriptor and its calls
 *	file.c		the database file: start, layout, replacement, the end
 *	conn.c		connections, the driver, errors
 *	gather.c	the VFS under the writing connection
 *	write.c		the writing connection: transactions, group commit, sync
 *	watch.c		the two threads: watching; checkpoints and sweeping
 *	schema.c	tables, telling ours from others'
 *	view.c		the view for SQL clients and its triggers
 *
 * Lock order: gate (read side for every call, write side to exchange the file), ckpt_lock, writer, and
 * then the leaves: health_lock, sync_lock, wake.lock, pool, kv.lock.
 */
#ifndef PFS_BACKENDS_SQLITE_SQLITE_H
#define PFS_BACKENDS_SQLITE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>

#include "backends/commit.h"
#include "backends/pool.h"
#include "backends/sql/kv.h"
#include "backends/sql/wake.h"

#define SQLITE_PAGE	     4096
#define SQLITE_CHECKPOINT_AT 4000	 /* frames in the log: 16 MiB */
#define SQLITE_GROWTH	     (256 << 10) /* the file grows by multiples of this */

/* Statements of this engine alone, behind those of the own schema. */
enum sqlite_stmt {
	SQLITE_STMT_BEGIN = KV_STMT_COUNT,
	SQLITE_STMT_COMMIT,
	SQLITE_STMT_ROLLBACK,
	SQLITE_STMT_SAVE,
	SQLITE_STMT_RELEASE,
	SQLITE_STMT_UNDO,
	SQLITE_STMT_DATA_VERSION,
	SQLITE_STMT_PAGE_COUNT,
	SQLITE_STMT_COUNT
};

struct sqlite_conn {
	struct pfs_sql_conn sql;
	struct sqlite_backend *b;
	sqlite3 *db;
	sqlite3_stmt *stmts[SQLITE_STMT_COUNT]; /* prepared when first used */
	bool broken;				/* close it instead of keeping it */
};

struct sqlite_backend {
	struct pfs_backend base;
	char *path, *wal_path;
	bool create;
	unsigned pool_size, max_overflow;
	int64_t timeout, retry_timeout;
	char *host;

	pthread_rwlock_t gate;
	/* Guarded by the gate's write side: */
	struct sqlite_conn *conn; /* the writing connection */
	struct sqlite_conn *ckpt; /* for checkpoints; also guarded by ckpt_lock */
	struct pfs_pool pool;	  /* reading connections */
	int wal_fd;		  /* for sync; -1 */
	dev_t dev;
	ino_t ino;
	bool readonly, immutable;
	bool volatile_fs; /* the file system is in memory */
	int open_code;	  /* SQLite's, when a connection could not be opened */

	/* The writing connection is its holder's: see sqlite_writer_get(). */
	struct {
		pthread_mutex_t lock;
		pthread_cond_t cond;
		bool busy;
		unsigned urgent; /* how many wait who go first */
	} writer;
	/* Guarded by holding the writing connection: */
	unsigned data_version; /* as last seen */
	bool recount;	       /* the sessions are to be counted again */
	uint64_t seen_change;  /* the last row of `changes` that was looked at */
	unsigned unacked;      /* rows seen since the last acknowledgement */
	bool flushed_usage;    /* by the transaction that runs */
	size_t unreserved;     /* bytes that were written since room was last made sure of */

	struct pfs_kv kv;
	struct pfs_commit commit;

	/* Atomic: */
	bool opened;	    /* there is a database to work with */
	uint64_t committed; /* counts commits */
	unsigned wal_frames;
	unsigned sessions;
	bool foreign;	    /* somebody else changed something: to be told */
	bool moved;	    /* the path names another file, or none */
	bool has_locks;	    /* a lock was granted to the session */
	bool declared_dead; /* others ended the session; heartbeat has not told it yet */
	bool revived;	    /* the session began anew: changes may have been missed */

	pthread_mutex_t ckpt_lock;
	pthread_mutex_t sync_lock;
	uint64_t synced; /* guarded by sync_lock */

	pthread_mutex_t health_lock;
	struct pfs_msg trouble; /* guarded by health_lock; empty: none */

	struct pfs_wake watch, house;
	pthread_t watch_thread, house_thread;
	bool threads;
	pthread_mutex_t drained_lock;
	pthread_mutex_t news_lock; /* one at a time reads what others changed, and tells it */
	pthread_cond_t drained;	   /* the log became shorter */
};

struct sqlite_store {
	struct pfs_store base;
	/* Of `epoch`: atomic. */
	uint64_t ns, epoch;
};

static inline struct sqlite_backend *sqlite_of(struct pfs_backend *b)
{
	return pfs_container_of(b, struct sqlite_backend, base);
}

static inline bool sqlite_is_open(const struct sqlite_backend *b)
{
	return __atomic_load_n(&b->opened, __ATOMIC_ACQUIRE);
}

/* ---- conn.c --------------------------------------------------------------------------------- */

/* Map a result code of SQLite: sets the error text and logs it once in a while. */
int sqlite_error(sqlite3 *db, int rc);
/* Open a connection to b->path. vfs: NULL: SQLite's own. flags: SQLITE_OPEN_READWRITE or SQLITE_OPEN_READONLY. */
int sqlite_conn_open(struct sqlite_backend *b, int flags, int cache_kib, const char *vfs,
		     struct sqlite_conn **out);
/* keep_log: do not checkpoint and do not remove the log (it may be another database's by now). */
void sqlite_conn_close(struct sqlite_conn *c, bool keep_log);
/* Run SQL without results. */
int sqlite_exec(struct sqlite_conn *c, const char *sql);
/* The first column of the first row of a statement that is used once; -ENODATA: no row. */
int sqlite_query_int(struct sqlite_conn *c, const char *sql, int64_t *out);
/* Run one of the statements above: 0 or -errno. */
int sqlite_run(struct sqlite_conn *c, enum sqlite_stmt stmt);
extern const struct pfs_pool_ops sqlite_pool_ops;

/* ---- gather.c ------------------------------------------------------------------------------- */

/* The VFS of the writing connection: one system call per commit. Once per process. */
#define SQLITE_GATHER "persistfs-gather"
void sqlite_gather_register(void);

/* ---- schema.c ------------------------------------------------------------------------------- */

/*
 * Is this database ours? Creates the layout in an empty one (if `create`), migrates an older one.
 * -EINVAL with msg: foreign, newer, damaged.
 */
int sqlite_layout(struct sqlite_conn *c, bool create, struct pfs_msg *msg);
/*
 * Whose tables are in the file at `path`? Opens it for reading, and changes nothing, but that what an
 * application which crashed had not committed is undone. -errno: that cannot be told (there is no file, ...).
 */
int sqlite_tables_of(const char *path, bool *ours, bool *others);
/* The view persistfs_kv and its triggers, one statement or more each, ended by NULL. */
extern const char *const sqlite_view_sql[];

/* ---- file.c --------------------------------------------------------------------------------- */

/*
 * Register the session under `id` (0: a new one), in a transaction of its own; with the writing
 * connection held or no threads running.
 */
int sqlite_session_register(struct sqlite_backend *b, uint64_t id);
int sqlite_file_start(struct sqlite_backend *b, struct pfs_msg *msg);
/* Close everything. keep_log as above. With the gate's write side held, or no threads running. */
void sqlite_file_close(struct sqlite_backend *b, bool keep_log);
/* Does the path still name the file that is open? */
bool sqlite_file_same(struct sqlite_backend *b);
/* The path names another file now: open that one; told as REPLACED. By the watching thread. */
void sqlite_file_exchange(struct sqlite_backend *b);
/* After a failure on `c`: was it damage of the file? Then health says so. */
void sqlite_note_damage(struct sqlite_backend *b, struct sqlite_conn *c);
/* Say what is wrong, or that nothing is (fmt NULL). */
void sqlite_trouble(struct sqlite_backend *b, const char *fmt, ...) PFS_PRINTF(2, 3);

/* ---- write.c -------------------------------------------------------------------------------- */

int sqlite_write_init(struct sqlite_backend *b);
void sqlite_write_release(struct sqlite_backend *b);
/* Wait for the writing connection. urgent: before those who wait already. */
struct sqlite_conn *sqlite_writer_get(struct sqlite_backend *b, bool urgent);
/* NULL: somebody has it. */
struct sqlite_conn *sqlite_writer_try(struct sqlite_backend *b);
void sqlite_writer_put(struct sqlite_backend *b);
/* With the writing connection held. begin checks the file and notices other writers. */
int sqlite_txn_begin(struct sqlite_backend *b);
int sqlite_txn_commit(struct sqlite_backend *b);
void sqlite_txn_rollback(struct sqlite_backend *b);
/* Run fn in a transaction of its own. */
typedef int (*sqlite_txn_fn)(struct sqlite_backend *b, struct sqlite_conn *c, void *arg);
int sqlite_txn(struct sqlite_backend *b, sqlite_txn_fn fn, void *arg);
/* More ids into the block: with the writing connection held and no transaction. */
int sqlite_reserve(struct sqlite_backend *b, uint64_t n);
int sqlite_commit(struct sqlite_backend *b, struct sqlite_store *s, struct pfs_batch *batch);
int sqlite_sync(struct sqlite_backend *b);
/* Has another connection written? Notes it for the watching thread. */
bool sqlite_look(struct sqlite_backend *b);
/* The changes were just read, up to what the connection sees: that need not be noticed again. */
void sqlite_looked(struct sqlite_backend *b);

/* ---- watch.c -------------------------------------------------------------------------------- */

/* Tell now what others changed before. */
void sqlite_catch_up(struct sqlite_backend *b);
int sqlite_threads_start(struct sqlite_backend *b);
void sqlite_threads_stop(struct sqlite_backend *b);
/* Sweep until nothing is left or `until` (monotonic ns) has passed. */
int sqlite_sweep(struct sqlite_backend *b, int64_t until);
/* Move the log into the database file as far as possible. */
int sqlite_checkpoint(struct sqlite_backend *b);
int sqlite_dirtimes(struct sqlite_backend *b); /* write down the times of directories */
int sqlite_beat(struct sqlite_backend *b);

extern const struct pfs_engine pfs_sqlite_engine;

#endif
