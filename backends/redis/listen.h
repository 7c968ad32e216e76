/*
 * Hearing what others do: one connection that is subscribed to what sessions announce and to the keys
 * that the server says were written; one on which that tracking is switched on, and which asks for a
 * sign of life. Only the engine's thread uses it.
 */
#ifndef PFS_BACKENDS_REDIS_LISTEN_H
#define PFS_BACKENDS_REDIS_LISTEN_H

#include "backends/redis/redis.h"

/* A connection that gives no sign of life for so long after it was asked is given up. */
#define REDIS_ASK_PATIENCE (2 * NSEC_PER_SEC)

/* Keys of one namespace that somebody else wrote, to be held against our records. */
struct redis_foreign {
	struct redis_namespace *ns;
	struct pfs_buf bytes; /* the keys themselves, each with its length before it */
	size_t n;
};

/* A key that this session wrote a moment ago, and what it must hold. */
struct redis_written {
	struct redis_namespace *ns;
	char *key;
	size_t len;
	uint64_t key_hash, hash, size; /* hash 0: only the size is known */
	bool superseded;	       /* it was written again */
};

struct redis_listener {
	struct redis_backend *b;
	redisContext *sub, *track; /* NULL: deaf */
	struct redis_state state;  /* when it began to hear */
	char session[24], redirect[24];
	char channel[64];
	int64_t asked,
		heard; /* for a sign of life, and had it: monotonic ns; asked 0: not waiting */
	unsigned answers_due; /* to redis_listen_ask() */
	bool flushed;	      /* everything was removed at once */
	bool failed;	      /* what was heard could not be worked on */
	struct redis_foreign *foreign;
	size_t nforeign;
	struct redis_written *written;
	size_t nwritten, written_cap;
};

/* Begin to hear. 0 or -errno. */
int redis_listen(struct redis_listener *l);
/* End it. */
void redis_deaf(struct redis_listener *l);
/* Have the keys of ns told as well. 0 or REDIS_LOST. */
int redis_listen_to(struct redis_listener *l, struct redis_namespace *ns);
/* Read what there is without waiting, tell it, and note what it says. false: the connection broke. */
bool redis_hear(struct redis_listener *l);
/* Ask for a sign of life; its answer is heard later. false: the connection broke. */
bool redis_listen_ask(struct redis_listener *l);
/*
 * Hear everything that was announced before this call: answers on other connections may come earlier than
 * announcements of what happened before them. false: the connection broke, or is silent.
 */
bool redis_hear_all(struct redis_listener *l);
/*
 * The key was written again, by another session, which tells of it, or as a whole by this one: what was
 * noted of it before does not matter any more.
 */
void redis_foreign_drop(struct redis_listener *l, struct pfs_bytes key);
/* Hold what others wrote against our records. 0 or -errno. */
int redis_foreign_check(struct redis_listener *l);

/* The key was written, by somebody else. */
void redis_foreign_note(struct redis_listener *l, struct redis_namespace *ns, struct pfs_bytes key);
/* NULL: of none that was opened here. */
struct redis_namespace *redis_namespace_of_key(struct redis_listener *l, struct pfs_bytes key);

/*
 * The server tells of the keys that were written in one turn of its loop at once. Another program's
 * write that came in the same turn as ours is so hidden by it; therefore keys that we wrote are read
 * back a little later.
 */
void redis_written_note(struct redis_listener *l, struct pfs_bytes key, uint64_t hash,
			uint64_t size);
/* It was written again, with something that is not known. */
void redis_written_drop(struct redis_listener *l, struct pfs_bytes key);
/* Hold what was noted against the keys; those that differ are foreign. 0 or -errno. */
int redis_verify(struct redis_listener *l);
void redis_written_clear(struct redis_listener *l);

#endif
