/*
 * The Redis engine, private to backends/redis/. How the data lies in the server is at the head of
 * lib.lua; every call but a few is one script.
 *
 *	redis.c		the engine: options, construction, the calls that ask
 *	url.c		where the server is
 *	conn.c		connections, scripts, what the server's errors mean, calls that are tried again
 *	args.c		arguments and replies
 *	commit.c	batches: one script call each, a group in one exchange, exactly once
 *	session.c	session, ids, namespaces, locks, data that was lost
 *	health.c	how the server is
 *	listen.c	the two connections by which changes are heard, and what is said on them
 *	holds.c		what this mount holds, and the sweeping of what has no name
 *	verify.c	are keys that we wrote a moment ago as we wrote them?
 *	watch.c		the engine's thread: hearing, heartbeat, sweeping, searching
 *	*.lua		the scripts: lib.lua and one of the others make one
 *	native*.c	the keys of other applications, as they are: see native.h
 *
 * Locks, in this order, none held over another but as said: session_lock (while a session or the data
 * is exchanged; I/O under it), state_lock (what calls need to know; no I/O), holds.lock and watch.lock
 * (no I/O).
 */
#ifndef PFS_BACKENDS_REDIS_H
#define PFS_BACKENDS_REDIS_H

#include <hiredis/hiredis.h>

#include "backends/backend.h"
#include "backends/commit.h"
#include "backends/pool.h"

extern const struct pfs_engine pfs_redis_engine;

#define REDIS_LAYOUT	"1"
#define REDIS_ID_BLOCK	4096u
#define REDIS_SLOTS	128u /* results kept by session: commit.lua */
#define REDIS_SMALL_GEN 40

/* What scripts answer beside errno: lib.lua. */
enum redis_code {
	REDIS_OTHER_DATA = 1001,
	REDIS_NO_SESSION,
	REDIS_OLD_EPOCH,
	REDIS_OTHERWISE, /* not by this script: by REDIS_COMMIT or REDIS_READ */
};
/* The connection is of no use any more: never leaves backends/redis/. */
#define REDIS_LOST (-4096)

/* ---- url.c ---------------------------------------------------------------------------------- */

struct redis_target {
	char *socket; /* NULL: TCP */
	char *host;
	int port, db;
	char *user, *password; /* NULL: none */
	char where[256];       /* for people, without secrets */
};

/* From the options of the engine. 0, or -EINVAL or -ENOMEM with msg. */
int redis_target_init(struct redis_target *t, const struct pfs_option_set *set,
		      struct pfs_msg *msg);
void redis_target_release(struct redis_target *t);

/* ---- args.c --------------------------------------------------------------------------------- */

/* The arguments of one call. Bytes are borrowed, numbers are kept here. */
struct redis_args {
	const char **argv;
	size_t *len;
	size_t n, cap;
	struct redis_digits *digits; /* blocks of texts of numbers */
	bool failed;		     /* no memory */
};

void redis_args_release(struct redis_args *a);
void redis_arg_bytes(struct redis_args *a, const void *p, size_t len);
void redis_arg_str(struct redis_args *a, const char *s);
void redis_arg_u64(struct redis_args *a, uint64_t v);
void redis_arg_i64(struct redis_args *a, int64_t v);
/* ns since the epoch as ms, rounded up; 0 stays 0. */
void redis_arg_ms(struct redis_args *a, int64_t ns);
/* Exactly 20 digits. */
void redis_arg_position(struct redis_args *a, uint64_t v);

/* What a script says of an object (attr() in lib.lua). 0, or -EIO: it says something else. */
int redis_parse_attr(const redisReply *r, struct pfs_attr *out);
int redis_parse_attr_text(struct pfs_bytes text, struct pfs_attr *out);
/* Element i of an array as a number; 0 where there is none. */
uint64_t redis_number(const redisReply *r, size_t i);

/* ---- conn.c --------------------------------------------------------------------------------- */

enum redis_script {
	REDIS_READ,
	REDIS_LOOK, /* what REDIS_READ does, for look-ups that are simple */
	REDIS_COMMIT,
	REDIS_CREATE, /* these three: what REDIS_COMMIT does, for single mutations that are simple */
	REDIS_CHANGE,
	REDIS_RENAME,
	REDIS_SESSION,
	REDIS_CHECK,
	REDIS_SCRIPTS_
};

struct redis_conn {
	redisContext *ctx;
};

struct redis_backend;

int redis_scripts_init(void);
/* Connect, authenticate, select: 0 and *out owned; -EHOSTDOWN, -EACCES, -EIO... with the error text. */
int redis_connect(struct redis_backend *b, redisContext **out);
/* One reply, owned; 0 or REDIS_LOST with the error text. */
int redis_reply(redisContext *c, redisReply **out);
/* A plain command. 0 and *out owned, REDIS_LOST, or what its error means. */
int redis_command(redisContext *c, redisReply **out, const char *format, ...);
/* 0, or what an error reply means, with the error text; REDIS_LOST: as if not connected. */
int redis_error(const redisReply *r);
/* Append a call of `script` in namespace ns ("": none) to what is sent next. 0 or REDIS_LOST. */
int redis_append(redisContext *c, enum redis_script script, const char *gen, const char *ns,
		 const struct redis_args *a);
/*
 * One call on this connection, with the script loaded where it is missing. 0 and *out owned, an array
 * whose first element is a number; REDIS_LOST or -errno.
 */
int redis_eval(redisContext *c, enum redis_script script, const char *gen, const char *ns,
	       const struct redis_args *a, redisReply **out);
/* Was the reply that the script is not there? */
bool redis_is_noscript(const redisReply *r);
int redis_load_scripts(redisContext *c);

extern const struct pfs_pool_ops redis_pool_ops;

/* A connection of the pool; trouble is told by the error text. */
int redis_get(struct redis_backend *b, int64_t deadline, struct redis_conn **out);
void redis_put(struct redis_backend *b, struct redis_conn *conn, int err);
/*
 * A call that may be repeated: 0 and *out owned when the script says 0; the script's errno; or the
 * trouble. deadline 0: retry_timeout from now. What it asks is void when the data is another one: -ESTALE.
 */
int redis_call(struct redis_backend *b, enum redis_script script, const char *ns,
	       const struct redis_args *a, int64_t deadline, redisReply **out);

/* ---- holds.c -------------------------------------------------------------------------------- */

struct redis_hold {
	struct redis_hold *next;
	uint64_t id, count;
	char *ns;
	bool told; /* the server knows: it has no name any more */
};

#define REDIS_HOLD_BUCKETS 1024

struct redis_holds {
	pthread_mutex_t lock; /* guards all below */
	struct redis_hold *buckets[REDIS_HOLD_BUCKETS];
	uint64_t heard; /* the last `gone` that was announced */
	struct redis_namespace *namespaces;
};

/* A namespace that was opened here. */
struct redis_namespace {
	struct redis_namespace *next;
	char *name;
	bool create;
	bool tracked;		 /* atomic: keys that others write are announced */
	bool sweep;		 /* there may be something to sweep */
	bool waits;		 /* somebody else holds something that is to be swept */
	uint64_t *tell, *untell; /* ids that we hold, or hold no more, without a name */
	size_t ntell, nuntell;
	/* The engine's thread's alone: */
	uint64_t *explained; /* hashes of keys whose writers have told of it */
	size_t nexplained, explained_cap;
	char scan[24]; /* cursor of the search for keys without a record */
	bool scanning;
	bool looked; /* the search has come to its end once */
};

int redis_holds_init(struct redis_holds *h);
void redis_holds_release(struct redis_holds *h);
bool redis_held(struct redis_backend *b, uint64_t id);
void redis_hold(struct pfs_store *s, uint64_t id);
void redis_release(struct pfs_store *s, uint64_t id);
/* It was announced that `id` has lost its name, as number n. */
void redis_hold_gone(struct redis_backend *b, uint64_t n, uint64_t id);
/* The namespace's entry, made if it is new; NULL: no memory. Entries stay as long as the backend. */
struct redis_namespace *redis_namespace_of(struct redis_backend *b, const char *name, bool create);
/* The one after ns, NULL: the first; NULL at the end. */
struct redis_namespace *redis_namespace_next(struct redis_backend *b,
					     const struct redis_namespace *ns);
/* Sweep all namespaces that need it. Returns whether there is more to do soon. */
bool redis_sweep(struct redis_backend *b);
/* After a time of deafness: which of what we hold has lost its name? 0 or -errno. */
int redis_holds_catch_up(struct redis_backend *b);
/* The session is a new one: nothing was told by it. */
void redis_holds_reset(struct redis_backend *b);

/* ---- session.c ------------------------------------------------------------------------------ */

/* What every call needs; exchanged as a whole. */
struct redis_state {
	char gen[REDIS_SMALL_GEN];
	uint64_t session, epoch;
	uint64_t data_epoch; /* of the contract */
};

void redis_state_get(struct redis_backend *b, struct redis_state *out);
int redis_attach(struct redis_backend *b, redisContext *c, struct pfs_msg *msg);
/* The connection is new: has the server been another one? 0, REDIS_LOST or -errno. */
int redis_resume(struct redis_backend *b, redisContext *c, const char *run, bool always);
/* A script said OTHER_DATA or NO_SESSION to a call made in `state`. 0 or -errno. */
int redis_data_moved(struct redis_backend *b, redisContext *c, const struct redis_state *state);
int redis_session_moved(struct redis_backend *b, redisContext *c, const struct redis_state *state);
int redis_session_end(struct redis_backend *b);
int redis_beat(struct redis_backend *b);
int redis_heartbeat(struct pfs_backend *base);
int redis_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first);
int redis_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
	       struct pfs_lock *conflict);
int redis_open_namespace(struct redis_backend *b, const char *ns, bool create, uint64_t *root,
			 struct pfs_msg *msg);

/* ---- health.c ------------------------------------------------------------------------------- */

/* The value of `name` in the text of INFO, cut at size; "" if it is not there. */
void redis_info(const char *info, const char *name, char *out, size_t size);
/* Ask the server how it is. */
int redis_look_at_health(struct redis_backend *b);
/* Are the records of every namespace that was opened here consistent? 0, or -EIO with msg. */
int redis_check_tree(struct redis_backend *b, struct pfs_msg *msg);

/* ---- commit.c ------------------------------------------------------------------------------- */

void redis_commit_group(void *arg, struct pfs_commit_item **items, size_t n);
int redis_commit(struct pfs_store *s, struct pfs_batch *batch);

/* ---- verify.c ------------------------------------------------------------------------------- */

#define REDIS_VERIFY_MAX 65536 /* contents up to this are compared */

uint64_t redis_hash(const void *p, size_t n); /* never 0 */

/* ---- watch.c -------------------------------------------------------------------------------- */

int redis_watch_start(struct redis_backend *b);
void redis_watch_stop(struct redis_backend *b); /* not started: no-op */
void redis_watch_wake(struct redis_backend *b);
/* Wait until what others do in ns is told, if it can be. */
void redis_watch_namespace(struct redis_backend *b, struct redis_namespace *ns);
int redis_catch_up(struct pfs_backend *base);

/* ---- native.c ------------------------------------------------------------------------------- */

/* A view of the server's keys as they are: engine->adopt. */
int redis_adopt(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		const struct pfs_option_set *store, struct pfs_backend **out, struct pfs_msg *msg);

/* ---- the backend ---------------------------------------------------------------------------- */

struct redis_backend {
	struct pfs_backend base;
	struct redis_target target;
	struct pfs_pool pool;
	struct pfs_commit queue;
	int64_t timeout, retry_timeout, lease; /* ns */
	uint64_t rename_limit;
	bool create;

	pthread_mutex_t session_lock;
	uint64_t number;   /* of the last commit; this and doubtful are the leading committer's */
	bool doubtful;	   /* a commit may be on its way still: the epoch must be raised */
	uint64_t answered; /* atomic: the last one that the server said it has done */

	pthread_mutex_t state_lock; /* guards all below up to the next lock */
	struct redis_state state;
	char run[48];
	uint64_t next_id, last_id;
	bool declared_dead;
	struct pfs_health health;
	struct pfs_statfs statfs;
	unsigned sessions; /* atomic */

	struct redis_holds holds;

	pthread_t thread;
	bool thread_started;
	int wake_fd;
	pthread_mutex_t watch_lock; /* guards the rest */
	pthread_cond_t watch_cond;
	bool stop;
	uint64_t tries;		     /* how often the thread has tried to begin to hear */
	uint64_t token, token_heard; /* of redis_catch_up() */
};

struct redis_store {
	struct pfs_store base;
	struct redis_namespace *ns;
	uint64_t epoch; /* atomic: in which there was a root */
};

static inline struct redis_backend *redis_of(struct pfs_backend *b)
{
	return pfs_container_of(b, struct redis_backend, base);
}

static inline struct redis_backend *redis_of_store(struct pfs_store *s)
{
	return redis_of(s->backend);
}

#endif
