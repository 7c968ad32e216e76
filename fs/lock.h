/*
 * Between lock.c and locker.c only: the state of a file's locks, and the thread per backend that
 * speaks to the engine about them.
 */
#ifndef PFS_FS_LOCK_H
#define PFS_FS_LOCK_H

#include "fs/internal.h"
#include "fs/lockset.h"

/* The locks of one node. locker->lock guards all but what is atomic. */
struct pfs_locks {
	struct pfs_node *node; /* counted while `active` */
	struct pfs_locker *locker;
	struct pfs_lockset local;  /* owners of this mount */
	struct pfs_lockset engine; /* what this session has in the engine; its owner is 0 */
	struct pfs_lock_call *calls, **last; /* that wait, the oldest first */
	_Atomic bool posix;		     /* fcntl locks were seen */
	_Atomic bool lost;     /* the engine gave away what was locked: until all is unlocked */
	_Atomic bool guards;   /* what is written here must not land once the session is dead */
	bool alone;	       /* the engine has no locks: what the mount has is all there is */
	bool active;	       /* in the locker's list */
	bool working;	       /* the locker has it: others only add calls */
	bool answering;	       /* finished calls are being told */
	bool ready;	       /* something changed since the locker looked */
	bool asked;	       /* somebody else wants a lock */
	bool voided;	       /* the engine forgot what it had locked for us */
	bool owes;	       /* unlocked without a commit: due before the engine's lock goes */
	bool given_up;	       /* after a loss: what was written is dropped */
	int64_t due;	       /* when the locker looks again */
	int64_t exact_until;   /* others want locks here: no whole-file lease until then */
	int64_t held_since;    /* since when others were kept out, while they wanted in */
	int64_t yield_until;   /* they are let in first */
	int64_t pause, try_at; /* after a refusal */
	int64_t idle_since;
	struct pfs_locks *prev, *next;
};

/* Per backend; its thread runs from the first lock on. */
struct pfs_locker {
	struct pfs_fs *fs;
	struct pfs_backend *backend;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool runs, stop, quiet; /* quiet: the session ended, nobody waits any more */
	bool poked;
	pthread_cond_t answered; /* while quiet: calls were */
	struct pfs_locks *active;
	int64_t lock_timeout;
	int64_t beat_at;	   /* monotonic */
	pthread_mutex_t beat_lock; /* one at a time asks whether it lives, and acts on it */
	_Atomic int64_t alive_at;  /* boot time: the session lived then */
	_Atomic bool dead;	   /* it was declared dead */
};

/* lock.c */
bool pfs_locks_is_unlock(const struct pfs_lock_call *call);
/* May it have what it asks for, as far as this mount's owners go? */
bool pfs_locks_free_here(const struct pfs_locks *s, const struct pfs_lock_call *call);
/* Does what the session has in the engine suffice for it? */
bool pfs_locks_covered(const struct pfs_locks *s, const struct pfs_lock_call *call);
bool pfs_locks_lease(const struct pfs_locks *s);
/* Would the call wait for an owner who, over others maybe, waits for its own? */
bool pfs_locks_deadlock(const struct pfs_locks *s, const struct pfs_lock_call *call);
/* Write it into the table of the mount. 0 or -ENOMEM. */
int pfs_locks_apply(struct pfs_locks *s, struct pfs_lock_call *call);

/* locker.c: all with locker->lock held */
void pfs_locker_activate(struct pfs_locks *s);
void pfs_locker_poke(struct pfs_locker *lk);
/*
 * Does the session live? Else every lock is lost when this returns -ESTALE, to whomever the engine said
 * so. Without locker->lock; blocks.
 */
int pfs_locker_beat(struct pfs_locker *lk);
/* Every lock of the session is gone. */
void pfs_locker_lost(struct pfs_locker *lk, const char *why);
/* Time that goes on while the machine sleeps, as other machines' does. */
int64_t pfs_boottime_ns(void);

#endif
