/*
 * Private to backends/postgres/: a connection, the backend, and what its files offer each other.
 *
 *	postgres.c	the engine's descriptor, beginning and end, maintenance
 *	calls.c		the calls of the contract
 *	conn.c		opening connections, errors
 *	driver.c	statements in a pipeline: the driver for backends/sql/
 *	ahead.c		reads that are made before they are asked for
 *	gather.c	rows that are put together
 *	statements.c	what is said to PostgreSQL in other words than to SQLite
 *	text.c		names that are no UTF-8
 *	txn.c		write transactions: one at a time in the whole schema, each exactly once
 *	commit.c	group commit
 *	session.c	the session: beginning, end, heartbeat, being declared dead
 *	rows.c		others' tables: the driver of rows.h
 *	watch.c		the two threads: listening; sweeping
 *	schema.c	tables, telling ours from others'
 *	view.c		the view for SQL clients and its triggers
 *
 * Whoever writes holds the advisory lock of the schema, from the first statement of the transaction
 * to its end; so all that was decided by reading still holds when it is written, across mounts and
 * SQL clients. A connection is used by one thread at a time.
 *
 * Lock order: writer (one write transaction of this process at a time), and then the leaves:
 * health_lock, pool, kv.lock.
 */
#ifndef PFS_BACKENDS_POSTGRES_POSTGRES_H
#define PFS_BACKENDS_POSTGRES_POSTGRES_H

#include <libpq-fe.h>
#include <pthread.h>

#include "backends/commit.h"
#include "backends/pool.h"
#include "backends/sql/kv.h"
#include "backends/sql/wake.h"

#define PG_LOCK_BASE (INT64_C(0x70667300) << 32) /* + the schema's oid: the key of its writers */

/* Statements of this engine alone, behind those of the own schema. */
enum pg_stmt {
	PG_STMT_BEGIN = KV_STMT_COUNT,
	PG_STMT_COMMIT,
	PG_STMT_ROLLBACK,
	PG_STMT_SAVE,
	PG_STMT_RELEASE,
	PG_STMT_UNDO,
	PG_STMT_LOCK,
	PG_STMT_PATIENT,
	PG_STMT_ENTER,
	PG_STMT_DONE,
	PG_STMT_STATUS,
	PG_STMT_NOTIFY,
	PG_STMT_FLUSH_LOG,
	PG_STMT_READ,
	PG_STMT_TAIL_GET,
	PG_STMT_TAIL_LEN,
	PG_STMT_PUT_FILE,
	PG_STMT_PUT_FILES,
	PG_STMT_PUT_CHUNKS,
	PG_STMT_TOUCH_DIRS,
	PG_STMT_COUNT
};
/* NULL: as pfs_kv_sql has it. */
extern const char *const pg_sql[PG_STMT_COUNT];

struct pg_conn;

/* A query whose rows are being read. */
struct pg_query {
	struct pg_conn *c;
	PGresult *res;
	int row;
	bool used, borrowed; /* borrowed: res belongs to the reads ahead */
	struct pfs_buf text; /* a name, as bytes */
};

/* What was sent and is not answered. */
struct pg_sent {
	enum pg_sent_kind {
		PG_SENT_PREPARE,
		PG_SENT_WRITE,
		PG_SENT_READ,
		PG_SENT_LATER,
		PG_SENT_SYNC
	} kind;
	unsigned stmt;
	void *out; /* READ: PGresult **; LATER: int64_t * */
	size_t ahead;
};

/* A read that was made ahead, by statement and parameters. */
struct pg_ahead {
	unsigned stmt;
	struct pfs_buf key; /* the parameters as they are bound */
	PGresult *res;
	bool valid;
};

/* Rows that wait to be put together, by table: the parameters that one row has. */
enum pg_table { PG_ENTRIES, PG_CHUNKS, PG_OBJECTS, PG_TIMES, PG_TABLES };
#define PG_COLUMNS 11
struct pg_rows {
	unsigned n;
	struct pfs_buf columns[PG_COLUMNS]; /* each an array as it travels */
};

#define PG_QUERIES 8
#define PG_PARAMS  20

struct pg_conn {
	struct pfs_sql_conn sql;
	struct pg_backend *b;
	PGconn *pq;
	bool lost;		      /* it cannot be used any more */
	bool prepared[PG_STMT_COUNT]; /* or about to be */
	bool in_txn;		      /* BEGIN was sent */
	bool told;		      /* the transaction wrote what others must hear of */
	bool told_sessions;	      /* and it began or ended a session */
	int server;		      /* the process that serves it, as that says itself */
	char state[6];		      /* SQLSTATE of the last failure */
	int64_t patience;	      /* ns: how long an answer may take */
	int64_t changes;
	struct pg_sent *sent;
	size_t nsent, sent_cap;
	struct pg_query queries[PG_QUERIES];
	struct pg_ahead *ahead;
	size_t nahead, ahead_cap;
	struct pg_rows rows[PG_TABLES];
	size_t kept;   /* bytes in them */
	bool sending;  /* they are being sent */
	size_t unsent; /* bytes that were queued since the connection was last made to send */
};

struct pg_backend {
	struct pfs_backend base;
	char *url, *schema;
	char *ident;	/* the schema, quoted */
	char *password; /* never in a text; NULL: none was given */
	bool create;
	unsigned pool_size, max_overflow;
	int64_t timeout, retry_timeout;
	char *host;

	struct pfs_pool pool;
	struct pfs_kv kv;
	struct pfs_commit commit;
	pthread_mutex_t writer; /* held over a write transaction, from its first try to its last */

	/* Set before the pool is used: */
	int64_t lock_key, generation;
	char channel[40];

	/* Guarded by writer: */
	bool flushed_usage; /* by the transaction that runs */
	uint64_t done;	    /* counts the transactions: what the last one says in the session's row */

	/* Atomic: */
	bool opened, started;
	bool readonly;	    /* the server takes no writes */
	bool lazy_sync;	    /* synchronous_commit is off: sync() makes up for it */
	bool has_locks;	    /* a lock was granted to the session */
	bool declared_dead; /* others ended the session; heartbeat has not told it yet */
	unsigned sessions;
	uint64_t committed;

	pthread_mutex_t health_lock;
	struct pfs_msg trouble, durable; /* guarded by health_lock; empty: none */

	struct pfs_wake house;
	pthread_t watch_thread, house_thread;
	bool threads;
	int stop_fd;		  /* wakes the listening thread */
	bool stop;		  /* atomic */
	struct pg_conn *listener; /* the listening thread's */
	uint64_t seen_change;	  /* its: the last row of `changes` that was looked at */
	unsigned unacked;	  /* its: rows since the last acknowledgement */
	/* Who waits until the listening thread has told all that was committed before: */
	pthread_mutex_t heard_lock;
	pthread_cond_t heard_cond; /* CLOCK_MONOTONIC */
	uint64_t asked, heard;	   /* guarded by heard_lock */
	bool recover;		   /* atomic: an SQL client removed something, or a session died */
	bool pooler_known;	   /* atomic: the pooler between, if there is one, lends sessions */
	bool revived; /* atomic: the session began anew; changes may have been missed */

	/* Connections to others' tables. */
	struct {
		struct pfs_pool pool;
		pthread_mutex_t lock; /* guards probing */
		bool probing;
		bool readonly; /* atomic: the last new connection may only read */
		pthread_t thread;
		struct pfs_wake wake;
	} others;
};

struct pg_store {
	struct pfs_store base;
	uint64_t ns, root;
};

static inline struct pg_backend *pg_of(struct pfs_backend *b)
{
	return pfs_container_of(b, struct pg_backend, base);
}

static inline bool pg_is_open(const struct pg_backend *b)
{
	return __atomic_load_n(&b->opened, __ATOMIC_ACQUIRE);
}

static inline bool pg_readonly(const struct pg_backend *b)
{
	return __atomic_load_n(&b->readonly, __ATOMIC_RELAXED);
}

static inline struct pg_conn *pg_conn_of(struct pfs_sql_conn *c)
{
	return pfs_container_of(c, struct pg_conn, sql);
}

/* ---- conn.c --------------------------------------------------------------------------------- */

/*
 * Open a connection and set it up. whole: with all statements, which needs the layout. 0 and *out, or
 * -errno: -EHOSTDOWN where the server cannot be reached (yet); other errors with the error text.
 */
int pg_conn_open(struct pg_backend *b, bool whole, struct pg_conn **out);
/* The same, and nothing is set up. */
int pg_conn_connect(struct pg_backend *b, struct pg_conn **out);
void pg_conn_close(struct pg_conn *c); /* NULL: no-op */
/* Begin to pipeline. all: prepare every statement, which tells whether the tables are as we know them. */
int pg_conn_prepare(struct pg_conn *c, bool all);
/* Queue the preparation of one statement. */
int pg_send_prepare(struct pg_conn *c, unsigned stmt);
/* Run SQL that may be several statements, before the pipeline begins. *res: the last result. */
int pg_exec(struct pg_conn *c, const char *sql, PGresult **res);
extern const struct pfs_pool_ops pg_pool_ops;
/* A connection of the pool; -EHOSTDOWN sets the error text. */
int pg_get(struct pg_backend *b, int64_t deadline, struct pg_conn **out);
void pg_put(struct pg_backend *b, struct pg_conn *c);
/* Map a failure: sets c->state, c->lost and the error text, logs it once in a while. */
int pg_error(struct pg_conn *c, const PGresult *res);
/* Was the failure one after which the same may be tried again? */
bool pg_again(const struct pg_conn *c);
/* Say what is wrong, or that nothing is (fmt NULL). */
void pg_trouble(struct pg_backend *b, const char *fmt, ...) PFS_PRINTF(2, 3);
/* Wait for input, and for room to send if something is unsent; 0 or -EHOSTDOWN. */
int pg_wait(struct pg_conn *c, bool unsent, int64_t until);
/* The connection broke: sets the error text. -EHOSTDOWN. */
int pg_lost(struct pg_conn *c, const char *why);
/* A pooler gave the connection another session: sets the error text; it is lost. -EIO. */
int pg_shared(struct pg_conn *c);
/* The next result, waiting for it. */
int pg_result(struct pg_conn *c, PGresult **out);

/* ---- driver.c ------------------------------------------------------------------------------- */

struct pg_params {
	int n;
	const char *values[PG_PARAMS];
	int lengths[PG_PARAMS];
	int formats[PG_PARAMS];
	int64_t ints[PG_PARAMS];
	struct pfs_buf text[4]; /* names that were escaped */
	unsigned ntext;
};

extern const struct pfs_sql_driver pg_driver;
/* Queue one of the statements above, which yields nothing. 0 or -errno. */
int pg_queue(struct pg_conn *c, enum pg_stmt stmt);
/* Send what is queued and wait for all answers: 0 or the first failure. */
int pg_drain(struct pg_conn *c);
/* Forget results and reads ahead; the connection is idle then. */
void pg_conn_reset(struct pg_conn *c);
int pg_params_bind(struct pg_params *p, const char *types, va_list ap);
void pg_params_release(struct pg_params *p);
int pg_send(struct pg_conn *c, unsigned stmt, const struct pg_params *p, enum pg_sent_kind kind,
	    void *out);

/* ---- ahead.c -------------------------------------------------------------------------------- */

/*
 * Queue a read that will be asked for: when it is, there is no round trip. Writes of the same
 * connection make those void that they may have changed.
 */
int pg_ahead(struct pg_conn *c, unsigned stmt, const char *types, ...);
/* The answer of a read that was made ahead, or NULL. */
struct pg_ahead *pg_ahead_find(struct pg_conn *c, unsigned stmt, const struct pg_params *p);
/* A write is queued: what was read ahead may be old. */
void pg_ahead_void(struct pg_conn *c, unsigned stmt, const struct pg_params *p);
void pg_ahead_clear(struct pg_conn *c);
/* What the mutations of a batch will read first. */
int pg_ahead_batch(struct pg_conn *c, const struct pfs_batch *batch);
/* After these were read: the last chunk of a file that is written to, under its own key. */
void pg_ahead_tails(struct pg_conn *c);

/* ---- gather.c ------------------------------------------------------------------------------- */

/*
 * A row that may wait for others inside a transaction: *kept, and p is copied. Otherwise the statement is
 * to be sent. pg_send() sends what is kept before anything else. 0 or -errno.
 */
int pg_gather_keep(struct pg_conn *c, unsigned stmt, const struct pg_params *p, bool *kept);
int pg_gather_send(struct pg_conn *c);
/* What is kept is not wanted any more. */
void pg_gather_drop(struct pg_conn *c);
void pg_gather_release(struct pg_conn *c);

/* ---- text.c --------------------------------------------------------------------------------- */

/*
 * Names in the database are text. Bytes that are no UTF-8 are written %XX (80..FF), and a percent
 * sign that would read as such, or as "%25", is written %25. False: it stays as it is.
 */
bool pg_text_escape(struct pfs_bytes name, struct pfs_buf *out);
bool pg_text_unescape(struct pfs_bytes text, struct pfs_buf *out);

/* ---- txn.c ---------------------------------------------------------------------------------- */

/*
 * A write transaction, which may run several times until it is committed once. ahead (may be NULL)
 * queues reads; run does the work: 0: commit, 1: there is nothing to commit, or -errno. committed
 * (may be NULL) comes after COMMIT, before any other write transaction of this process.
 */
struct pg_job {
	int (*ahead)(struct pg_backend *b, struct pg_conn *c, void *arg);
	int (*run)(struct pg_backend *b, struct pg_conn *c, void *arg);
	void (*committed)(struct pg_backend *b, void *arg);
	bool anonymous; /* runs also without a session */
	bool patient;	/* its statements may take long */
};
int pg_txn(struct pg_backend *b, const struct pg_job *job, void *arg);
/*
 * The same with the writer lock held by the caller. -EINPROGRESS: it may have been committed, or may
 * still be, and nobody could say so until `retry_timeout`.
 */
int pg_txn_locked(struct pg_backend *b, const struct pg_job *job, void *arg);
/* A call that reads: with a connection, tried again while the server is away. */
typedef int (*pg_read_fn)(struct pg_backend *b, struct pg_conn *c, void *arg);
int pg_read(struct pg_backend *b, pg_read_fn fn, void *arg);

/* ---- commit.c ------------------------------------------------------------------------------- */

int pg_commit_init(struct pg_backend *b);
int pg_commit(struct pg_backend *b, struct pg_store *s, struct pfs_batch *batch);
int pg_sync(struct pg_backend *b);

/* ---- session.c ------------------------------------------------------------------------------ */

/* Begin a session, or begin anew after others ended it. */
int pg_session_begin(struct pg_backend *b);
void pg_session_end(struct pg_backend *b);
/* The same, with the writer lock held, because others ended the session: -ESTALE if that must be told. */
int pg_session_revive(struct pg_backend *b);
/* Say that it lives, on any connection; -ESTALE: others ended it. */
int pg_session_beat(struct pg_backend *b, struct pg_conn *c);
/* End the sessions that died; look what nobody owns. */
int pg_session_reap(struct pg_backend *b);
int pg_session_recover(struct pg_backend *b);
int pg_reserve(struct pg_backend *b, uint64_t n);

/* ---- watch.c -------------------------------------------------------------------------------- */

/* Wait until what others committed before was told; `timeout` at most. */
int pg_catch_up(struct pg_backend *b);
void pg_watch_init(struct pg_backend *b);
void pg_watch_release(struct pg_backend *b);
int pg_threads_start(struct pg_backend *b);
void pg_threads_stop(struct pg_backend *b);
/* Sweep until nothing is left or `until` (monotonic ns) has passed. */
int pg_sweep(struct pg_backend *b, int64_t until);

/* ---- schema.c, view.c ----------------------------------------------------------------------- */

/*
 * Is this schema ours? Creates the layout where there is none (if b->create), migrates an older one.
 * -errno with msg: foreign, newer, damaged.
 */
int pg_layout(struct pg_conn *c, struct pfs_msg *msg);
extern const char pg_view_sql[];

/* ---- rows.c --------------------------------------------------------------------------------- */

extern const struct pfs_pool_ops pg_rows_pool_ops;
void pg_rows_init(struct pg_backend *b); /* but for the pool */
void pg_rows_release(struct pg_backend *b);

/* ---- postgres.c, calls.c --------------------------------------------------------------------- */

int pg_backend_start(struct pfs_backend *base, struct pfs_msg *msg);
void pg_backend_free(struct pfs_backend *base);
int pg_backend_maintain(struct pfs_backend *base, const char *verb, struct pfs_msg *msg);
extern const struct pfs_backend_ops pg_ops;
extern const struct pfs_engine pfs_postgres_engine;

#endif
