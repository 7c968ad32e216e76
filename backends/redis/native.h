/*
 * A Redis as it is: the keys of other applications as files (layout = native), a view (adopt/view.h)
 * over the connections of a Redis backend.
 *
 *	native.c		the view: options, construction, health
 *	native_index.c		a sorted set of keys in little memory
 *	native_tree.c		the index of all keys, directories that are nobody's yet, what is hidden
 *	native_path.c		which key, or which part of one, a path means
 *	native_look.c		stat, read, attributes
 *	native_list.c		listing
 *	native_write.c		writing, removing, making directories
 *	native_rename.c		renaming
 *	native_move.c		renaming directories of keys
 *	native_attr.c		changes by attributes
 *	native_stream.c		streams as lines of JSON
 *	native_text.c		streams and elements that are being read in pieces
 *	native_watch.c		the view's thread: the keys that there are, what others change
 *
 * A string is a file; a hash, list, set or sorted set is a directory of its elements. What is written
 * is written by WATCH, a look at what is there, MULTI and EXEC, so that a key of another type is refused
 * and no script is needed on the server.
 *
 * Locks: tree.lock guards the index and what belongs to it; watch_lock what others ask of the thread. Both
 * are leaves, no I/O under them.
 */
#ifndef PFS_BACKENDS_REDIS_NATIVE_H
#define PFS_BACKENDS_REDIS_NATIVE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/adopt/view.h"
#include "backends/names.h"
#include "backends/redis/native_index.h"
#include "backends/redis/redis.h"

enum native_type {
	NATIVE_NONE,
	NATIVE_STRING,
	NATIVE_HASH,
	NATIVE_LIST,
	NATIVE_SET,
	NATIVE_ZSET,
	NATIVE_STREAM,
	NATIVE_OTHER, /* of a module */
	NATIVE_KEYS,  /* no key: a directory of keys */
};

/* As TYPE says it; NATIVE_KEYS: "keys". NATIVE_OTHER for what is not known. */
enum native_type native_type_of(struct pfs_bytes name);
const char *native_type_name(enum native_type type);
/* Shown as a directory of its elements. */
bool native_has_elements(enum native_type type);

/* ---- native_tree.c -------------------------------------------------------------------------- */

#define NATIVE_MARKS   1024 /* a power of two */
#define NATIVE_WRITTEN 1024 /* a power of two */

/*
 * A string that this mount wrote a moment ago, and what it holds: hearing of it is no news, unless this
 * mount has seen another content meanwhile.
 */
struct native_written {
	uint64_t key, hash; /* hashes; 0: none */
	uint64_t size;
	int64_t expires;
};

/* Strings up to this have a version: a hash. What is longer is of the version 0. */
#define NATIVE_SMALL	  1024
#define NATIVE_SMALL_LAST PFS_BYTES("1023")

/* Keys that begin so are persistfs's own. */
struct native_hidden {
	char *p;
	size_t len;
};

struct native_tree {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct native_index keys;    /* without the prefix, in sorting form; the type */
	struct native_index pending; /* the same of directories that are nobody's yet */
	struct native_later *later;  /* when those will expire that are to */
	bool complete;		     /* `keys` has all */
	bool broken;		     /* there was no memory for one */
	uint32_t marks[NATIVE_MARKS]; /* by hash: how often a key was written here */
	struct native_written written[NATIVE_WRITTEN];
	struct native_hidden *hidden;
	size_t nhidden;
};

struct native;

int native_tree_init(struct native_tree *t);
void native_tree_release(struct native_tree *t);
/* The sorting form of a key without prefix, appended; and back. -ENOMEM. */
int native_sort_form(const struct pfs_key_encoding *enc, struct pfs_bytes key, struct pfs_buf *out);
/* The same of one component, in which a separator has no meaning. */
int native_sort_component(struct pfs_bytes component, struct pfs_buf *out);
int native_key_of_sort(const struct native *v, struct pfs_bytes sort, struct pfs_buf *out);
/* Is the key (with its prefix) one that the view shows? The tree's lock is held. */
bool native_shown(const struct native *v, struct pfs_bytes key);
/* This mount has made or removed the key (NATIVE_NONE), just now. */
void native_tree_wrote(struct native *v, struct pfs_bytes key, enum native_type type);
/* ... and it holds this: NULL: forget it. */
void native_tree_holds(struct native *v, struct pfs_bytes key, const struct pfs_bytes *value,
		       int64_t expires);
/* The key was seen with this size; `value`: all of it; p NULL: some of it was read. */
void native_tree_saw(struct native *v, struct pfs_bytes key, uint64_t size,
		     const struct pfs_bytes *value);
/* No more, if it is still what is noted. */
void native_tree_forget(struct native_tree *t, struct pfs_bytes key,
			const struct native_written *what);
uint32_t *native_tree_mark(struct native_tree *t, struct pfs_bytes key);
struct native_written *native_tree_written(struct native_tree *t, struct pfs_bytes key);
/*
 * Is there anything below the directory of this sorting form? Pending directories count. The tree's
 * lock is held, also for the next ones.
 */
bool native_tree_has_below(const struct native_tree *t, struct pfs_bytes sort);
/* Or is it a directory of keys although there is nothing? */
bool native_tree_is_dir(const struct native_tree *t, struct pfs_bytes sort);
/* When the key that a pending directory will be expires; 0: never. */
int64_t native_tree_expires(struct native_tree *t, struct pfs_bytes sort);
int native_tree_set_expires(struct native_tree *t, struct pfs_bytes sort, int64_t expires);
/* Wait until all keys are known. -EAGAIN or -EHOSTDOWN with the error text. The lock is held. */
int native_tree_wait(struct native *v);
/* Wait until more of them are; until: monotonic ns. */
int native_tree_wait_more(struct native *v, int64_t until);
/* The key of this path was removed here: directories that were there only for it stay. */
int native_tree_keep_dirs(struct native *v, struct pfs_bytes sort);

/* ---- native_path.c -------------------------------------------------------------------------- */

/* What a path can mean. */
struct native_place {
	bool root;
	bool top;	 /* in the root */
	bool own_value;	 /* ends with %VALUE: the key itself, not what is below it */
	bool dir_own;	 /* its directory does */
	bool is_key;	 /* `key` and `sort` are set: the last name can be of a key */
	bool is_short;	 /* `element` is a name in its short form, to be looked for */
	bool is_element; /* `element` is set: it can be one of `dir_key` */
	struct pfs_buf key, sort;
	struct pfs_buf dir_key, dir_sort; /* of the directory; of the root: just the prefix */
	struct pfs_buf element;
	struct pfs_buf stream, stream_sort; /* where the name is that of a stream; len 0: no */
};

/* 0, -EILSEQ, -ENOENT (a name of somewhere that is not), -ENOMEM. Release it in any case. */
int native_place_init(struct native *v, struct pfs_bytes path, struct native_place *out);
void native_place_release(struct native_place *p);

enum native_kind {
	NATIVE_IS_NOTHING, /* a key may be made of it, if `room` */
	NATIVE_IS_DIR,	   /* directory of keys */
	NATIVE_IS_PENDING, /* directory that is nobody's yet: `type` */
	NATIVE_IS_KEY,
	NATIVE_IS_ELEMENT, /* of a key of `type`, whether or not there is such an element */
};

/* What a path does mean. */
struct native_found {
	enum native_kind kind;
	enum native_type type;
	bool room;	/* NOTHING: its directory is one of keys */
	bool missing;	/* ELEMENT: the key itself is not there yet */
	uint64_t size, version; /* KEY: of a string */
	int64_t expires; /* KEY, PENDING; ELEMENT of a missing key: when that will */
	/* Borrowed from the place: KEY, ELEMENT: the key; and its sorting form. */
	struct pfs_bytes key, sort, element;
};

/*
 * Look at a place; watched: and have the server WATCH what was looked at. 0, REDIS_LOST, or -errno with
 * the error text.
 */
int native_find(struct native *v, redisContext *c, struct native_place *p, bool watched,
		struct native_found *out);
/* Canonical name of an element, or of one component of a key; appended. */
int native_element_name(struct pfs_bytes element, struct pfs_buf *out);
/* What the short form of such a name begins with; appended. */
void native_element_begins(struct pfs_bytes name, struct pfs_buf *out);
/* The element that a name stands for; 1: it is a short form. */
int native_element_of(struct pfs_bytes name, struct pfs_buf *out);
/* The names of lists' elements. */
bool native_list_index(struct pfs_bytes name, uint64_t *out);
#define NATIVE_TAIL PFS_BYTES("+")
#define NATIVE_HEAD PFS_BYTES("+head")

/* ---- asking --------------------------------------------------------------------------------- */

/* Append a command to what is sent next: 0 or REDIS_LOST. */
int native_sendv(redisContext *c, const struct pfs_bytes *argv, size_t n);
#define native_send(c, ...)                                                                        \
	native_sendv(c, (struct pfs_bytes[]){__VA_ARGS__},                                         \
		     sizeof((struct pfs_bytes[]){__VA_ARGS__}) / sizeof(struct pfs_bytes))
/*
 * The next reply, owned; an error reply is an error: 0, REDIS_LOST or -errno; -ESTALE: the key is of another
 * type than it was a moment ago.
 */
int native_reply(redisContext *c, redisReply **out);
/*
 * The same of a command to which a key that is not there is as an empty one, and of the EXISTS behind it:
 * -ENOENT.
 */
int native_reply_there(redisContext *c, redisReply **out);
/* The same, where an error reply may be an answer. */
#define native_any_reply redis_reply

static inline struct pfs_bytes native_bytes(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->data ? b->data : "", b->len};
}

typedef int (*native_fn)(struct native *v, redisContext *c, void *arg);
/*
 * Do something on a connection of the pool. While it says REDIS_LOST it is done again, until
 * retry_timeout is over; *once (NULL: never): it must not be done again, -EIO then.
 */
int native_do(struct native *v, native_fn fn, void *arg, const bool *once);

/* ---- native_look.c, native_list.c, native_write.c, native_stream.c -------------------------- */

int native_stat(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out);
ssize_t native_read(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf, size_t len,
		    uint64_t *version);
ssize_t native_xattr_get(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			 void *buf, size_t len);
int native_xattr_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out);
/* Append the command that reads an element; and what its reply says. -ENOENT: there is none. */
int native_element_send(redisContext *c, enum native_type type, struct pfs_bytes key,
			struct pfs_bytes element);
int native_element_reply(redisContext *c, enum native_type type, redisReply **out);
void native_element_attr(enum native_type type, const redisReply *r, struct pfs_view_attr *out);
/* Two commands that ask for size and version of a string, and what they say. -ENOENT: it is none. */
int native_string_send(redisContext *c, struct pfs_bytes key);
int native_string_reply(redisContext *c, uint64_t *size, uint64_t *version);
/* The command that asks when a key expires, and its answer: ns, 0: never; -ENOENT. */
int native_expires_send(struct native *v, redisContext *c, struct pfs_bytes key);
int native_expires_reply(struct native *v, redisContext *c, int64_t *out);

/* The element whose name is this short form, appended: -ENOENT, REDIS_LOST... */
int native_element_short(redisContext *c, enum native_type type, struct pfs_bytes key,
			 struct pfs_bytes name, struct pfs_buf *out);
void native_names_release(struct native *v);

int native_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
		pfs_view_entry_fn fn, void *arg, bool *end);

int native_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w);
int native_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how);
int native_mkdir(struct pfs_view *view, struct pfs_bytes path);
int native_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		  struct pfs_view_attr *out);
int native_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires);
int native_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		     struct pfs_bytes value, struct pfs_view_attr *out);

/* All of a stream as lines of JSON, appended. 0, REDIS_LOST or -errno; -ENOENT, -EFBIG. */
int native_stream_text(redisContext *c, struct pfs_bytes key, struct pfs_buf *out);
/*
 * Can there be a new stream at p->stream, which is watched? -EINVAL: it is no name of a stream; -EEXIST: a key
 * of another type has the name, or it is one of a directory. With the error text.
 */
int native_stream_room(struct native *v, redisContext *c, const struct native_place *p);
/*
 * Will the server take each line of `text`, behind what is in the stream (`there`: there is one)? To be
 * asked before MULTI, for EXEC does what it can: the lines before a refused one, and what is queued behind
 * it. -EINVAL with the error text.
 */
int native_stream_check(redisContext *c, struct pfs_bytes key, bool there, struct pfs_bytes text);
/* Queue an XADD for each line of `text`; *n: how many. -EINVAL with the error text. */
int native_stream_add(redisContext *c, struct pfs_bytes key, struct pfs_bytes text, size_t *n);

/* ---- native_text.c -------------------------------------------------------------------------- */

#define NATIVE_TEXTS 64 /* a power of two */

struct native_texts {
	pthread_mutex_t lock; /* guards the rest; a leaf */
	struct pfs_buf key, element, text; /* text.data NULL: none is kept */
	bool is_element;
	uint64_t version;
	uint32_t changes[NATIVE_TEXTS]; /* by hash of the key: how often it was written */
};

void native_texts_init(struct native *v);
void native_texts_release(struct native *v);
/* A piece of a stream's text, or of an element: bytes, REDIS_LOST or -errno as native_stream_text(). */
ssize_t native_text_read(struct native *v, redisContext *c, const struct native_found *f, uint64_t off,
			 void *buf, size_t len, uint64_t *version);
/* The key was written; any may have been. */
void native_text_changed(struct native *v, struct pfs_bytes key);
void native_text_all_changed(struct native *v);

/* ---- native_move.c -------------------------------------------------------------------------- */

/* What is at and below a directory of keys, and what it will be. */
struct native_moves {
	struct native_move {
		struct pfs_buf from, to; /* sorting forms */
		struct pfs_buf from_key, to_key;
		enum native_type type;
		bool pending; /* it is in the daemon only */
	} *items;
	size_t n, cap;
};

/* Gather it from the index. -EFBIG with the error text: more than rename_limit. Release in any case. */
int native_moves_init(struct native *v, struct pfs_bytes from, struct pfs_bytes to,
		      struct native_moves *out);
void native_moves_release(struct native_moves *m);
/* WATCH all, and see what is still there. -ENOTEMPTY: one of the new names is taken. */
int native_moves_watch(redisContext *c, struct native_moves *m);
/* Queue it; *n: how many commands. */
int native_moves_send(redisContext *c, const struct native_moves *m, size_t *n);
/* It is done. */
int native_moves_done(struct native *v, const struct native_moves *m);

/* ---- native_watch.c ------------------------------------------------------------------------- */

int native_watch_start(struct native *v);
void native_watch_stop(struct native *v); /* not started: no-op */
/* The thread shall look at the key again: an answer that it has may be from before a write. */
void native_watch_look(struct native *v, struct pfs_bytes key);
int native_catch_up(struct pfs_view *view);

/* ---- the view ------------------------------------------------------------------------------- */

struct native_names;

struct native {
	struct pfs_view view;
	struct redis_backend *host;
	struct pfs_key_encoding enc;
	struct pfs_bytes prefix;   /* of all keys that are shown */
	enum native_type new_dirs; /* what mkdir makes */
	bool strip;		   /* final_newline */
	bool has_expiretime;	   /* atomic: the server knows PEXPIRETIME */
	struct native_tree tree;

	pthread_mutex_t names_lock; /* guards the listing that is under way */
	struct native_names *names;
	struct native_texts texts;

	pthread_t thread;
	bool thread_started;
	int wake_fd;
	pthread_mutex_t watch_lock; /* guards the rest */
	pthread_cond_t watch_cond;
	bool stop;
	struct pfs_buf look; /* keys to look at, each with its length before it */
	uint64_t token, token_heard;
	unsigned tries; /* to begin to hear */
	struct pfs_msg trouble; /* why it does not hear */
};

static inline struct native *native_of(struct pfs_view *view)
{
	return pfs_container_of(view, struct native, view);
}

#endif
