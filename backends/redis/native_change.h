/*
 * One change of a view of Redis: what native_write.c, native_rename.c and native_attr.c share.
 */
#ifndef PFS_BACKENDS_REDIS_NATIVE_CHANGE_H
#define PFS_BACKENDS_REDIS_NATIVE_CHANGE_H

#include "backends/redis/native.h"

/* Somebody else was faster: a native_change_fn is called again. */
#define NATIVE_AGAIN 1

struct native_change;
typedef int (*native_change_fn)(struct native *v, redisContext *c, struct native_change *ch);

struct native_change {
	native_change_fn fn;
	bool repeatable; /* doing it twice is as doing it once */
	bool sent;
	struct native_place place, to;
	struct native_found found, target;
	struct pfs_view_write *w;
	struct pfs_buf value; /* what was written */
	struct native_moves moves;
	struct pfs_bytes name, number;
	int64_t expires; /* of the key: set_expires, write */
	const struct pfs_view_remove *how;
	bool replace, converted;
	/* For the index, afterwards: what the key is now, and that of `target`. */
	enum native_type now, target_now;
};

/* Do it: ch->fn, again while others are faster. 0, -EBUSY, or what it says. Then release it. */
int native_change_do(struct native *v, struct native_change *ch);
void native_change_release(struct native_change *ch);

/* Append MULTI. */
int native_begin(redisContext *c);
/*
 * MULTI and n commands were appended: send them with EXEC. 0 and *out owned, an array of n replies;
 * NATIVE_AGAIN; REDIS_LOST or -errno. *sent stays set where nobody can know what was done.
 */
int native_finish(redisContext *c, size_t n, bool *sent, redisReply **out);
/* Nothing is to be changed. */
int native_unwatch(redisContext *c);
/* Set the error text; returns err. */
int native_refuse(int err, const char *why);

/* NULL in *out: there is none. */
int native_get_element(redisContext *c, const struct native_found *f, redisReply **out);
/* Append the command that writes it; -EINVAL, -EPERM. */
int native_put_element(redisContext *c, const struct native_found *f, const struct pfs_buf *value);
/* The score as it is meant, without the newline of `echo`. */
struct pfs_bytes native_score_of(const struct pfs_buf *value);
/* Append what makes the key expire; 0: never. */
int native_send_expires(redisContext *c, struct pfs_bytes key, int64_t expires);
/* Can there be a new key at a place where nothing is? 0, -ENOENT or -EPERM. */
int native_nothing_there(const struct native_found *f, const struct native_place *p);
/* Can there be a new directory? What is below one that is nobody's yet makes that one of keys. */
int native_dir_may_be(struct native_found *f, const struct native_place *p);
/* A directory that is nobody's yet; NATIVE_NONE: no more. */
int native_set_pending(struct native *v, struct pfs_bytes sort, enum native_type type);

#endif
