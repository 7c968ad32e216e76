/*
 * Locks as applications know them. Each node that was ever locked has a table of what the owners of
 * this mount have; conflicts among them are decided here. Other mounts are kept out by what the
 * session has locked in the engine, as one owner: with the first lock a lease on the whole file, so
 * that later ones ask nobody; once somebody else wants in (PFS_EVENT_LOCK), just what the mount's
 * owners really have. Whatever must ask the engine, wait, or tell the kernel is the locker's matter
 * (locker.c): a call that needs it is parked and answered from there, and no request thread waits.
 *
 * When the session is declared dead, others may have got what was locked here. Then the file is
 * `lost` until all its locks are dropped: what was written and not committed is given up, and writing
 * and locking fail with EIO.
 */
#include <stdio.h>
#include <time.h>

#include "fs/lock.h"

int64_t pfs_boottime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static struct pfs_locker *locker_of(struct pfs_fs *fs, const struct pfs_backend *backend)
{
	size_t i = 0;

	while (fs->lockers[i].backend != backend)
		i++;
	return &fs->lockers[i];
}

/* ---- the table ------------------------------------------------------------------------------ */

/* The node's locks, made with the first. NULL: no memory. */
static struct pfs_locks *locks_make(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_locks *s = atomic_load(&node->locks), *fresh;

	if (s)
		return s;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	fresh->node = node;
	fresh->last = &fresh->calls;
	fresh->locker = locker_of(fs, node->vol->config->backend);
	fresh->alone = !(pfs_backend_capabilities(fresh->locker->backend) & PFS_CAP_LOCKS);
	if (atomic_compare_exchange_strong(&node->locks, &s, fresh))
		return fresh;
	free(fresh);
	return s;
}

void pfs_locks_free(struct pfs_locks *s)
{
	if (!s)
		return;
	pfs_lockset_release(&s->local);
	pfs_lockset_release(&s->engine);
	free(s);
}

bool pfs_locks_lease(const struct pfs_locks *s)
{
	static const struct pfs_lock whole = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE};

	return s->alone || pfs_lockset_covers(&s->engine, &whole);
}

bool pfs_locks_covered(const struct pfs_locks *s, const struct pfs_lock_call *call)
{
	return s->alone || pfs_lockset_covers(&s->engine, &call->lock);
}

bool pfs_locks_free_here(const struct pfs_locks *s, const struct pfs_lock_call *call)
{
	return !pfs_lockset_conflict(&s->local, &call->lock);
}

bool pfs_locks_is_unlock(const struct pfs_lock_call *call)
{
	return call->lock.mode == PFS_LOCK_NONE && !call->test;
}

/* Has something been unlocked that the locker has not taken out of the table yet? */
static bool unlock_waits(const struct pfs_locks *s)
{
	const struct pfs_lock_call *call;

	for (call = s->calls; call; call = call->next)
		if (pfs_locks_is_unlock(call))
			return true;
	return false;
}

/* Does the call give up something that others may want: an unlock, or a weaker lock? */
static bool lets_go(const struct pfs_locks *s, const struct pfs_lock_call *call)
{
	size_t i;

	for (i = 0; i < s->local.n; i++) {
		const struct pfs_lock *l = &s->local.items[i].lock;

		if (call->whole_file
			    ? s->local.items[i].file == call
			    : l->owner == call->lock.owner && l->mode > call->lock.mode &&
				      l->start <= call->lock.end && call->lock.start <= l->end)
			return true;
	}
	return false;
}

/*
 * What stands for an open file in the table: the call of its end, which outlives the file itself until
 * its locks are dropped. (The address of the file may be another one's by then.)
 */
static const void *file_mark(const struct pfs_file *file)
{
	return __atomic_load_n(&file->unlock, __ATOMIC_ACQUIRE);
}

int pfs_locks_apply(struct pfs_locks *s, struct pfs_lock_call *call)
{
	int err = 0;

	s->owes = s->owes || lets_go(s, call);
	if (call->whole_file)
		pfs_lockset_drop_file(&s->local, call);
	else
		err = pfs_lockset_set(&s->local, &call->lock, call->pid, file_mark(call->file));
	if (s->local.n == 0) {
		s->idle_since = pfs_monotonic_ns();
		s->due = 0;
	}
	atomic_store(&s->guards, !s->alone && (s->local.n > 0 || s->owes));
	return err;
}

/* ---- deadlocks among owners of this mount --------------------------------------------------- */

/* The call in which an owner of fcntl locks waits. */
static const struct pfs_lock_call *waits_in(const struct pfs_locker *lk, uint64_t owner)
{
	const struct pfs_lock_call *call;
	const struct pfs_locks *s;

	for (s = lk->active; s; s = s->next)
		for (call = s->calls; call; call = call->next)
			if (call->wait && call->lock.owner == owner &&
			    call->lock.start <= PFS_LOCK_POSIX_END)
				return call;
	return NULL;
}

bool pfs_locks_deadlock(const struct pfs_locks *s, const struct pfs_lock_call *call)
{
	uint64_t owner = call->lock.owner;
	const struct pfs_held *in_way = pfs_lockset_conflict(&s->local, &call->lock);
	int depth;

	if (call->lock.start > PFS_LOCK_POSIX_END)
		return false; /* flock(2) does not look */
	for (depth = 0; in_way && depth < 64; depth++) {
		if (in_way->lock.owner == owner)
			return true;
		call = waits_in(s->locker, in_way->lock.owner);
		in_way = call ? pfs_lockset_conflict(&call->locks->local, &call->lock) : NULL;
	}
	return false;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void tell(struct pfs_lock_call *call, const struct pfs_held *in_way)
{
	call->lock.mode = PFS_LOCK_NONE;
	call->pid = 0;
	if (!in_way)
		return;
	call->lock = in_way->lock;
	call->pid = in_way->pid;
}

/* What can be done without asking anybody; 1: not so. locker->lock is held. */
static int do_here(struct pfs_locks *s, struct pfs_lock_call *call)
{
	const struct pfs_held *in_way;
	bool lease;

	if (pfs_locks_is_unlock(call) && !lets_go(s, call))
		return 0;
	if (s->working || s->voided)
		return 1;
	in_way = pfs_lockset_conflict(&s->local, &call->lock);
	lease = pfs_locks_lease(s) && !s->asked;
	if (s->lost)
		return call->lock.mode == PFS_LOCK_NONE ? 1 : -EIO;
	/* Nobody may have that any more: a close waits for no unlock, so the locker may be behind. */
	if (in_way && unlock_waits(s))
		return 1;
	if (call->test) {
		if (!in_way && !lease && !pfs_locks_covered(s, call))
			return 1;
		tell(call, in_way);
		return 0;
	}
	if (in_way && call->wait)
		return pfs_locks_deadlock(s, call) ? -EDEADLK : 1;
	if (in_way)
		return -EAGAIN;
	if (!lease && (lets_go(s, call) || !pfs_locks_covered(s, call)))
		return 1;
	if (pfs_locks_apply(s, call))
		return -ENOMEM;
	if (s->calls) {
		s->ready = true;
		pfs_locker_poke(s->locker);
	}
	return 0;
}

/* What a file that has locks needs at its end is there from the first lock on. */
static bool prepare_end(struct pfs_file *file)
{
	struct pfs_lock_call *end, *none = NULL;

	if (__atomic_load_n(&file->unlock, __ATOMIC_ACQUIRE))
		return true;
	end = calloc(1, sizeof(*end));
	if (!end)
		return false;
	if (!__atomic_compare_exchange_n(&file->unlock, &none, end, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		free(end);
	return true;
}

int pfs_fs_lock(struct pfs_fs *fs, struct pfs_lock_call *call)
{
	struct pfs_node *node = call->file->node;
	bool unlock = call->lock.mode == PFS_LOCK_NONE;
	struct pfs_locks *s;
	int ret;

	if (!pfs_node_is_object(node))
		return unlock ? 0 : -ENOLCK;
	if (call->lock.start > call->lock.end)
		return -EINVAL;
	s = atomic_load(&node->locks);
	if (!s && unlock && !call->test)
		return 0;
	if (!s)
		s = locks_make(fs, node);
	if (!s || (!unlock && !prepare_end(call->file)))
		return -ENOLCK;
	if (!unlock && call->lock.start <= PFS_LOCK_POSIX_END)
		atomic_store(&s->posix, true);
	pthread_mutex_lock(&s->locker->lock);
	ret = do_here(s, call);
	if (ret == 0 && s->local.n > 0)
		pfs_locker_activate(s);
	pthread_mutex_unlock(&s->locker->lock);
	return ret;
}

void pfs_fs_lock_wait(struct pfs_fs *fs, struct pfs_lock_call *call)
{
	struct pfs_locks *s = locks_make(fs, call->file->node);
	struct pfs_locker *lk = s->locker;
	bool refused;

	pthread_mutex_lock(&lk->lock);
	call->next = NULL;
	call->locks = s;
	call->since = pfs_monotonic_ns();
	call->fresh = true;
	call->err = 0;
	refused = lk->quiet || lk->stop;
	if (!refused) {
		pfs_locker_activate(s);
		refused = !lk->runs;
	}
	if (!refused) {
		*s->last = call;
		s->last = &call->next;
		s->ready = true;
		pfs_locker_poke(lk);
	}
	pthread_mutex_unlock(&lk->lock);
	if (refused)
		call->done(call, -EINTR);
}

void pfs_fs_lock_cancel(struct pfs_fs *fs, struct pfs_lock_call *call)
{
	struct pfs_locker *lk = locker_of(fs, call->file->node->vol->config->backend);

	pthread_mutex_lock(&lk->lock);
	call->cancelled = true;
	if (call->locks) {
		call->locks->ready = true;
		pfs_locker_poke(lk);
	}
	pthread_mutex_unlock(&lk->lock);
}

bool pfs_fs_has_posix_locks(struct pfs_file *file)
{
	return pfs_node_is_object(file->node) && pfs_locks_posix(file->node);
}

bool pfs_locks_posix(const struct pfs_node *node)
{
	const struct pfs_locks *s = atomic_load(&node->locks);

	return s && atomic_load(&s->posix);
}

static void end_done(struct pfs_lock_call *call, int err)
{
	(void)err;
	free(call);
}

void pfs_locks_end(struct pfs_fs *fs, struct pfs_file *file)
{
	struct pfs_lock_call *call = file->unlock;

	if (!call)
		return;
	*call = (struct pfs_lock_call){.file = file, .whole_file = true, .done = end_done};
	call->lock.end = UINT64_MAX;
	if (pfs_fs_lock(fs, call) == 1)
		pfs_fs_lock_wait(fs, call);
	else
		free(call);
}

/* ---- what writing asks ---------------------------------------------------------------------- */

int pfs_locks_check(const struct pfs_node *node)
{
	const struct pfs_locks *s = atomic_load(&node->locks);

	return s && atomic_load(&s->lost) ? -EIO : 0;
}

int pfs_locks_fence(const struct pfs_node *node)
{
	struct pfs_locks *s = atomic_load(&node->locks);
	struct pfs_locker *lk;
	int err = 0;

	if (!s || (!atomic_load(&s->guards) && !atomic_load(&s->lost)))
		return 0;
	lk = s->locker;
	if (!atomic_load(&s->lost) &&
	    pfs_boottime_ns() - atomic_load(&lk->alive_at) >= lk->lock_timeout / 2)
		err = pfs_locker_beat(lk);
	/* Also where somebody else was told of the loss meanwhile. */
	if (atomic_load(&s->lost) || err == -ESTALE)
		return -EIO;
	return err;
}

/* ---- what the engine tells ------------------------------------------------------------------ */

static void ask(struct pfs_locks *s)
{
	if (s->alone)
		return;
	s->asked = s->ready = true;
}

void pfs_locks_asked(struct pfs_fs *fs, const struct pfs_backend *backend, uint64_t id)
{
	struct pfs_locker *lk = locker_of(fs, backend);
	struct pfs_node *node = id ? pfs_node_find(fs, backend, id) : NULL;
	struct pfs_locks *s = node ? atomic_load(&node->locks) : NULL;

	pthread_mutex_lock(&lk->lock);
	if (s && s->active)
		ask(s);
	for (s = id ? NULL : lk->active; s; s = s->next)
		ask(s);
	pfs_locker_poke(lk);
	pthread_mutex_unlock(&lk->lock);
	pfs_node_unref(fs, node);
}

void pfs_locks_replaced(struct pfs_fs *fs, const struct pfs_backend *backend)
{
	struct pfs_locker *lk = locker_of(fs, backend);

	pthread_mutex_lock(&lk->lock);
	pfs_locker_lost(lk, "its data was replaced");
	pthread_mutex_unlock(&lk->lock);
}
