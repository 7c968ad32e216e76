/*
 * The locker: one thread per backend, which gets locks from the engine and gives them back, answers
 * the calls that had to wait (see lock.c), and notices that the session was declared dead.
 *
 * It works on one file at a time (step): with locker->lock held it decides, and drops it for
 * whatever may block, while `working` keeps others from changing the file's table. Before a lock is
 * given back, what was written under it is committed; after one was had, everything that others
 * committed before has reached the kernel.
 */
#include <stdio.h>
#include <time.h>

#include "fs/lock.h"

/* After somebody else wanted a lock: so long no lease on the whole file. */
#define EXACT_TIME (3 * NSEC_PER_SEC)
/* Owners of this mount take turns so long while others wait, and then let them in for so long. */
#define TURN_TIME  (20 * 1000 * 1000LL)
#define YIELD_TIME (15 * 1000 * 1000LL)
/* A refused lock is asked for again after these, growing. */
#define PAUSE_FIRST (1000 * 1000LL)
#define PAUSE_MAX   (8 * 1000 * 1000LL)
#define PAUSE_LONG  (50 * 1000 * 1000LL)
#define LONG_WAIT   (5 * NSEC_PER_SEC)
/* What could not be committed, or given back, is tried again after this. */
#define RETRY_DELAY (NSEC_PER_SEC / 5)
/* A lease that nobody uses goes after this, once the file is closed. */
#define IDLE_TIME (5 * NSEC_PER_SEC)

static const struct pfs_lock whole_file = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE};

/* Calls that are finished, and not told yet. */
struct finished {
	struct pfs_lock_call *first, **last;
};

static struct pfs_store *store_of(const struct pfs_locks *s)
{
	return atomic_load(&s->node->vol->store);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Take the call at *p out of those that wait. */
static void finish(struct pfs_locks *s, struct pfs_lock_call **p, int err, struct finished *done)
{
	struct pfs_lock_call *call = *p;

	*p = call->next;
	if (!*p)
		s->last = p;
	call->err = err;
	call->next = NULL;
	*done->last = call;
	done->last = &call->next;
}

static void answer(struct finished *done)
{
	struct pfs_lock_call *call, *next;

	for (call = done->first; call; call = next) {
		next = call->next;
		call->done(call, call->err);
	}
}

/* Those that need nothing but the table: unlocks, the interrupted, and all where locks are lost. */
static void pass_simple(struct pfs_locks *s, struct finished *done)
{
	struct pfs_lock_call **p = &s->calls;

	while (*p) {
		if (pfs_locks_is_unlock(*p))
			finish(s, p, pfs_locks_apply(s, *p), done);
		else if ((*p)->cancelled || s->locker->quiet || s->locker->stop)
			finish(s, p, -EINTR, done);
		else if (s->lost)
			finish(s, p, -EIO, done);
		else
			p = &(*p)->next;
	}
}

static int grant(struct pfs_locks *s, struct pfs_lock_call *call)
{
	if (!call->test)
		return pfs_locks_apply(s, call);
	call->lock.mode = PFS_LOCK_NONE;
	call->pid = 0;
	return 0;
}

/* A flock that has to wait gives up what it had, as flock(2) does: two that want more would wait forever. */
static void drop_before_waiting(struct pfs_locks *s, const struct pfs_lock_call *call)
{
	struct pfs_lock old = call->lock;

	old.mode = PFS_LOCK_NONE;
	if (call->wait && call->lock.start == PFS_LOCK_FLOCK_AT &&
	    pfs_lockset_has(&s->local, call->lock.owner, call->lock.start, call->lock.end)) {
		s->owes = true;
		(void)pfs_lockset_set(&s->local, &old, 0, NULL);
	}
}

/* What owners of this mount have between them, as far as the engine's locks reach already. */
static void pass_grant(struct pfs_locks *s, int64_t now, struct finished *done)
{
	struct pfs_lock_call **p = &s->calls, *call;

	while ((call = *p)) {
		if (!pfs_locks_free_here(s, call)) {
			if (call->test) {
				const struct pfs_held *h =
					pfs_lockset_conflict(&s->local, &call->lock);

				call->pid = h->pid;
				call->lock = h->lock;
				finish(s, p, 0, done);
			} else if (!call->wait) {
				finish(s, p, -EAGAIN, done);
			} else if (pfs_locks_deadlock(s, call)) {
				finish(s, p, -EDEADLK, done);
			} else {
				drop_before_waiting(s, call);
				p = &call->next;
			}
		} else if (pfs_locks_covered(s, call) && !(call->wait && now < s->yield_until)) {
			finish(s, p, grant(s, call), done);
		} else {
			p = &call->next;
		}
	}
}

/* ---- the engine: giving back ---------------------------------------------------------------- */

/* Give back what nobody of this mount needs. locker->lock is held, and dropped meanwhile. */
static int shrink(struct pfs_locks *s)
{
	struct pfs_locker *lk = s->locker;
	struct pfs_lock piece;
	bool owes = s->owes;
	uint64_t from = 0, id;
	int err = 0;

	if (s->alone || !pfs_lockset_excess(&s->engine, &s->local, 0, &piece))
		return 0;
	pthread_mutex_unlock(&lk->lock);
	if (owes)
		err = pfs_data_commit_node(lk->fs, s->node, PFS_GOAL_PUBLISH);
	/* What is lost is lost: it does not keep others out. */
	if (err == -ESTALE || (err && pfs_locks_check(s->node)))
		err = 0;
	owes = err != 0;
	if (!err)
		err = pfs_node_id(s->node, &id);
	/* Upwards, so that the rest of a lease can be told from a lock that is meant. */
	while (!err && pfs_lockset_excess(&s->engine, &s->local, from, &piece)) {
		err = pfs_store_lock(store_of(s), id, &piece, NULL);
		if (!err || err == -ENOENT)
			err = pfs_lockset_set(&s->engine, &piece, 0, NULL);
		from = piece.end + 1;
		if (piece.end == UINT64_MAX)
			break;
	}
	pthread_mutex_lock(&lk->lock);
	s->owes = s->owes && owes;
	if (err == -ESTALE) {
		pfs_lockset_release(&s->engine);
		err = 0;
	}
	atomic_store(&s->guards, s->local.n > 0 || s->owes);
	return err;
}

/* ---- the engine: getting -------------------------------------------------------------------- */

/*
 * After a lock was had: what others committed before it is seen from now on. The kernel's pages stay
 * when they are of the content that is there.
 */
static int revalidate(struct pfs_locks *s)
{
	struct pfs_locker *lk = s->locker;
	int err;

	err = pfs_backend_catch_up(lk->backend);
	if (err)
		return err;
	pfs_inval_settle(lk->fs, lk->backend);
	return pfs_inval_node_now(lk->fs, s->node);
}

static int try_lock(struct pfs_locks *s, const struct pfs_lock *lock, struct pfs_lock *conflict)
{
	struct pfs_lock want = *lock;
	uint64_t id;
	int err;

	want.owner = 0;
	if (pfs_lockset_reserve(&s->engine))
		return -ENOMEM;
	err = pfs_node_id(s->node, &id);
	if (!err)
		err = pfs_store_lock(store_of(s), id, &want, conflict);
	if (!err)
		(void)pfs_lockset_set(&s->engine, &want, 0, NULL);
	return err;
}

/* The session was declared dead: it cannot lock anything until it lives again. */
static int check_alive(struct pfs_locker *lk)
{
	int err = 0;

	if (atomic_load(&lk->dead) ||
	    pfs_boottime_ns() - atomic_load(&lk->alive_at) >= lk->lock_timeout / 2)
		err = pfs_locker_beat(lk);
	return err == -ESTALE ? -ENOLCK : err;
}

/* Ask the engine for what the call needs: all of the file if nobody else wanted any lately. */
static int ask_engine(struct pfs_locks *s, const struct pfs_lock *want, bool exact,
		      struct pfs_lock *conflict)
{
	int err;

	err = check_alive(s->locker);
	/* It must be there to be locked. */
	if (!err && s->node->pins)
		err = pfs_data_commit_node(s->locker->fs, s->node, PFS_GOAL_CREATE);
	if (err)
		return err;
	err = exact ? -EAGAIN : try_lock(s, &whole_file, conflict);
	if (err == -EAGAIN)
		err = try_lock(s, want, conflict);
	if (!err)
		err = revalidate(s);
	return err;
}

static void refused(struct pfs_locks *s, const struct pfs_lock_call *call, int64_t now)
{
	int64_t most = now - call->since > LONG_WAIT ? PAUSE_LONG : PAUSE_MAX;

	s->pause = s->pause ? 2 * s->pause : PAUSE_FIRST;
	if (s->pause > most)
		s->pause = most;
	s->try_at = now + s->pause;
	s->exact_until = now + EXACT_TIME;
}

/*
 * What the engine said; true: the call is finished. A conflict that reaches to the very end is (the
 * rest of) another mount's lease, which that one is giving back just now: not an answer.
 */
static bool engine_said(struct pfs_locks *s, struct pfs_lock_call **p, int err,
			const struct pfs_lock *conflict, int64_t now, struct finished *done)
{
	struct pfs_lock_call *call = *p;

	if (err == -EROFS || err == -EOPNOTSUPP) {
		/* Nobody can lock there through this mount: its own owners keep to the table. */
		s->alone = true;
		err = 0;
	}
	if (err == -EAGAIN) {
		refused(s, call, now);
		drop_before_waiting(s, call);
		if (call->wait || conflict->end == UINT64_MAX)
			return false;
		if (call->test) {
			call->lock = *conflict;
			call->pid = 0;
			err = 0;
		}
		finish(s, p, err, done);
		return true;
	}
	if (err) {
		finish(s, p, err == -ENOENT ? -ESTALE : err, done);
		return true;
	}
	s->pause = 0;
	finish(s, p, grant(s, call), done);
	return true;
}

static bool same_wish(const struct pfs_lock *a, const struct pfs_lock *b)
{
	return a->start == b->start && a->end == b->end && a->mode == b->mode;
}

/* Get from the engine what calls need. locker->lock is held, and dropped meanwhile. */
static void pass_ask(struct pfs_locks *s, struct finished *done)
{
	struct pfs_lock_call **p = &s->calls, *call;
	struct pfs_lock conflict = {0}, want, last = {.start = 1, .end = 0};
	int64_t now;
	bool exact;
	int err;

	while ((call = *p)) {
		now = pfs_monotonic_ns();
		if (!pfs_locks_free_here(s, call) ||
		    (call->wait && (now < s->yield_until || same_wish(&call->lock, &last))) ||
		    (!call->fresh && now < s->try_at)) {
			p = &call->next;
			continue;
		}
		if (!pfs_locks_covered(s, call)) {
			if (s->engine.n == 0)
				s->held_since = now;
			call->fresh = false;
			want = call->lock;
			exact = now < s->exact_until;
			pthread_mutex_unlock(&s->locker->lock);
			err = ask_engine(s, &want, exact, &conflict);
			pthread_mutex_lock(&s->locker->lock);
			if (s->voided && !s->lost) {
				/* Nothing of it was locked: once more, with the session as it is now. */
				call->fresh = s->ready = true;
				p = &call->next;
				continue;
			}
			if (s->voided)
				err = -EIO;
			if (err == -EAGAIN)
				last = want;
			else if (err)
				s->asked = s->ready = true; /* nothing is kept that may be wrong */
			if (engine_said(s, p, err, &conflict, now, done))
				continue;
			p = &call->next;
		} else {
			finish(s, p, grant(s, call), done);
		}
	}
}

/* ---- loss ----------------------------------------------------------------------------------- */

void pfs_locker_lost(struct pfs_locker *lk, const char *why)
{
	struct pfs_locks *s;
	bool any = false;

	for (s = lk->active; s; s = s->next) {
		if (s->alone)
			continue;
		s->voided = true;
		if (s->local.n > 0 || s->owes) {
			any = any || !s->lost;
			s->given_up = s->given_up && s->lost;
			atomic_store(&s->lost, true);
		}
		s->ready = true;
	}
	if (any)
		pfs_log(PFS_LOG_ERROR, "backend '%s': locks of this mount are lost: %s",
			lk->backend->name, why);
	atomic_store(&lk->dead, true);
	pfs_locker_poke(lk);
}

/* What was written under the lost lock must not land. locker->lock is held, and dropped meanwhile. */
static void drop_written(struct pfs_locks *s)
{
	struct pfs_locker *lk = s->locker;
	struct pfs_data *data;
	bool clean;
	int err;

	pthread_mutex_unlock(&lk->lock);
	data = pfs_data_get(lk->fs, s->node, false, &err);
	if (data) {
		pthread_mutex_lock(&data->lock);
		clean = pfs_data_clean(data);
		pthread_mutex_unlock(&data->lock);
		if (!clean)
			pfs_data_give_up(data, -EIO);
		pfs_data_put(data);
	}
	pthread_mutex_lock(&lk->lock);
}

/* The same the first time. */
static void give_up(struct pfs_locks *s)
{
	struct pfs_locker *lk = s->locker;

	s->given_up = true;
	s->owes = false;
	pthread_mutex_unlock(&lk->lock);
	pfs_vol_note_failure(s->node->vol, -ENOLCK, s->node, PFS_BYTES(""),
			     "a lock on it was lost; until it is unlocked, writing to it fails");
	pthread_mutex_lock(&lk->lock);
	drop_written(s);
}

/* Nothing is locked any more. A write that was under way at the loss ended before its unlock. */
static void forget_loss(struct pfs_locks *s)
{
	drop_written(s);
	s->owes = false;
	atomic_store(&s->guards, false);
	atomic_store(&s->lost, false);
}

/* ---- one file ------------------------------------------------------------------------------- */

static bool others_wait(const struct pfs_locks *s)
{
	const struct pfs_lock_call *call;

	for (call = s->calls; call; call = call->next)
		if (call->wait)
			return true;
	return false;
}

/* Does anything of this mount have the file open? */
static bool in_use(struct pfs_locks *s)
{
	bool open;

	pfs_node_lock(s->locker->fs, s->node);
	open = s->node->data != NULL;
	pfs_node_unlock(s->locker->fs, s->node);
	return open;
}

/* A lease that nobody has used for a while goes with the file's close. */
static bool idle(struct pfs_locks *s, int64_t now)
{
	if (s->local.n > 0 || s->calls || s->engine.n == 0)
		return false;
	return now - s->idle_since >= IDLE_TIME && !in_use(s);
}

/* When to look again, if nothing happens. */
static int64_t next_look(const struct pfs_locks *s, int64_t now)
{
	const struct pfs_lock_call *call;
	int64_t due = INT64_MAX, at;

	for (call = s->calls; call; call = call->next) {
		/* It waits for owners of this mount, who wake us. */
		if (!pfs_locks_free_here(s, call))
			continue;
		at = pfs_locks_covered(s, call) ? 0 : s->try_at;
		if (call->wait && s->yield_until > at)
			at = s->yield_until;
		due = at < due ? at : due;
	}
	if (s->local.n == 0 && s->engine.n > 0 && now + IDLE_TIME < due)
		due = now + IDLE_TIME;
	return due;
}

/* Work on one file. locker->lock is held, and dropped meanwhile. */
static void step(struct pfs_locks *s)
{
	struct finished done = {NULL, &done.first};
	int64_t now = pfs_monotonic_ns();
	bool asked = s->asked, lease, exact;
	int err = 0;

	s->working = true;
	s->ready = s->asked = false;
	s->due = INT64_MAX;
	if (s->lost && !s->given_up)
		give_up(s);
	if (s->voided)
		pfs_lockset_release(&s->engine);
	s->voided = false;
	lease = !s->alone && pfs_locks_lease(s);
	if (asked) {
		s->exact_until = now + EXACT_TIME;
		s->held_since = lease ? now : s->held_since;
	}
	exact = !s->alone && (!lease || asked || idle(s, now));
	pass_simple(s, &done);
	if (s->lost && s->local.n == 0)
		forget_loss(s);
	/* Nobody has it just now, others want it, and it was ours for long enough. */
	if (exact && s->local.n == 0 && s->engine.n > 0 && others_wait(s) &&
	    now - s->held_since > TURN_TIME)
		s->yield_until = now + YIELD_TIME;
	pass_grant(s, now, &done);
	if (exact)
		err = shrink(s);
	if (!err)
		pass_ask(s, &done);
	if (!err && !s->alone && !pfs_locks_lease(s))
		err = shrink(s);
	now = pfs_monotonic_ns();
	s->due = err ? now + RETRY_DELAY : next_look(s, now);
	/* A lease that could not be given back is still wanted by somebody. */
	s->asked = s->asked || (err && lease);
	s->working = false;
	s->answering = true;
	pthread_mutex_unlock(&s->locker->lock);
	answer(&done);
	pthread_mutex_lock(&s->locker->lock);
	s->answering = false;
	if (s->locker->quiet)
		pthread_cond_broadcast(&s->locker->answered);
}

/* ---- the thread ----------------------------------------------------------------------------- */

void pfs_locker_poke(struct pfs_locker *lk)
{
	lk->poked = true;
	pthread_cond_signal(&lk->work);
}

static void *locker_main(void *arg);

void pfs_locker_activate(struct pfs_locks *s)
{
	struct pfs_locker *lk = s->locker;
	int err;

	if (s->active)
		return;
	pfs_node_ref(lk->fs, s->node);
	s->active = true;
	s->due = INT64_MAX;
	s->prev = NULL;
	s->next = lk->active;
	if (s->next)
		s->next->prev = s;
	lk->active = s;
	if (lk->runs || lk->stop)
		return;
	err = pthread_create(&lk->thread, NULL, locker_main, lk);
	if (err)
		pfs_log(PFS_LOG_ERROR, "backend '%s': cannot start a thread: %s", lk->backend->name,
			strerror(err));
	lk->runs = !err;
}

/* Out of the list when nothing is left to do; the node may go with it. */
static bool retire(struct pfs_locks *s)
{
	if (s->local.n > 0 || s->calls || s->engine.n > 0 || s->lost || (s->owes && !s->alone))
		return false;
	if (s->prev)
		s->prev->next = s->next;
	else
		s->locker->active = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->active = false;
	return true;
}

static bool holds_any(const struct pfs_locker *lk)
{
	const struct pfs_locks *s;

	for (s = lk->active; s; s = s->next)
		if (!s->alone && s->engine.n > 0)
			return true;
	return false;
}

int pfs_locker_beat(struct pfs_locker *lk)
{
	int64_t at = pfs_boottime_ns();
	int err;

	pthread_mutex_lock(&lk->beat_lock);
	err = pfs_backend_heartbeat(lk->backend);
	if (!err) {
		atomic_store(&lk->alive_at, at);
		atomic_store(&lk->dead, false);
	} else if (err == -ESTALE) {
		pthread_mutex_lock(&lk->lock);
		pfs_locker_lost(lk, "it was silent for longer than lock_timeout");
		pthread_mutex_unlock(&lk->lock);
	}
	pthread_mutex_unlock(&lk->beat_lock);
	return err;
}

/* Make sure that the session lives. locker->lock is held, and dropped meanwhile. */
static void beat(struct pfs_locker *lk, int64_t now)
{
	lk->beat_at = now + lk->lock_timeout / 4;
	pthread_mutex_unlock(&lk->lock);
	(void)pfs_locker_beat(lk);
	pthread_mutex_lock(&lk->lock);
}

/* Everything that is due. Returns when the next thing is. */
static int64_t round_trip(struct pfs_locker *lk)
{
	struct pfs_locks *s, *next;
	int64_t due = INT64_MAX, now = pfs_monotonic_ns();

	if (holds_any(lk)) {
		if (now >= lk->beat_at)
			beat(lk, now);
		due = lk->beat_at;
	}
	if (lk->active && now + IDLE_TIME < due)
		due = now + IDLE_TIME;
	for (s = lk->active; s; s = next) {
		if (s->ready || pfs_monotonic_ns() >= s->due)
			step(s);
		next = s->next;
		if (s->ready)
			lk->poked = true;
		if (!s->ready && retire(s)) {
			struct pfs_node *node = s->node;

			pthread_mutex_unlock(&lk->lock);
			pfs_node_unref(lk->fs, node);
			pthread_mutex_lock(&lk->lock);
			/* Others may have come meanwhile; `next` is still in the list: only we take out. */
		} else if (s->due < due) {
			due = s->due;
		}
	}
	return due;
}

static void *locker_main(void *arg)
{
	struct pfs_locker *lk = arg;
	struct timespec ts;
	int64_t due;

	pthread_mutex_lock(&lk->lock);
	while (!lk->stop) {
		lk->poked = false;
		due = round_trip(lk);
		while (!lk->poked && !lk->stop && due > pfs_monotonic_ns()) {
			if (due == INT64_MAX) {
				pthread_cond_wait(&lk->work, &lk->lock);
				continue;
			}
			ts.tv_sec = (time_t)(due / NSEC_PER_SEC);
			ts.tv_nsec = (long)(due % NSEC_PER_SEC);
			pthread_cond_timedwait(&lk->work, &lk->lock, &ts);
		}
	}
	pthread_mutex_unlock(&lk->lock);
	return NULL;
}

/* ---- life ----------------------------------------------------------------------------------- */

int pfs_lockers_init(struct pfs_fs *fs)
{
	const struct pfs_option_value *timeout;
	pthread_condattr_t monotonic;
	size_t i;

	fs->lockers =
		calloc(fs->config->nbackends ? fs->config->nbackends : 1, sizeof(*fs->lockers));
	if (!fs->lockers)
		return -ENOMEM;
	for (i = 0; i < fs->config->nbackends; i++) {
		struct pfs_locker *lk = &fs->lockers[i];

		lk->fs = fs;
		lk->backend = fs->config->backends[i];
		timeout = pfs_option_get(lk->backend->set, "lock_timeout");
		lk->lock_timeout = timeout ? timeout->num : 30 * NSEC_PER_SEC;
		pthread_mutex_init(&lk->lock, NULL);
		pthread_mutex_init(&lk->beat_lock, NULL);
		pthread_condattr_init(&monotonic);
		pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
		pthread_cond_init(&lk->work, &monotonic);
		pthread_cond_init(&lk->answered, NULL);
		pthread_condattr_destroy(&monotonic);
	}
	return 0;
}

/* Also finished ones that are not answered yet. */
static bool any_call(const struct pfs_locker *lk)
{
	const struct pfs_locks *s;

	for (s = lk->active; s; s = s->next)
		if (s->calls || s->working || s->answering)
			return true;
	return false;
}

void pfs_fs_lock_stop(struct pfs_fs *fs)
{
	size_t i;

	for (i = 0; fs->lockers && i < fs->config->nbackends; i++) {
		struct pfs_locker *lk = &fs->lockers[i];
		struct pfs_locks *s;

		pthread_mutex_lock(&lk->lock);
		lk->quiet = true;
		for (s = lk->active; s; s = s->next)
			s->ready = true;
		pfs_locker_poke(lk);
		while (lk->runs && any_call(lk))
			pthread_cond_wait(&lk->answered, &lk->lock);
		pthread_mutex_unlock(&lk->lock);
	}
}

void pfs_lockers_stop(struct pfs_fs *fs)
{
	size_t i;

	for (i = 0; fs->lockers && i < fs->config->nbackends; i++) {
		struct pfs_locker *lk = &fs->lockers[i];

		pthread_mutex_lock(&lk->lock);
		lk->stop = true;
		pthread_cond_signal(&lk->work);
		pthread_mutex_unlock(&lk->lock);
		if (lk->runs)
			pthread_join(lk->thread, NULL);
		lk->runs = false;
	}
}

/* The session's end gives the engine's locks back; the nodes are let go here. */
void pfs_lockers_release(struct pfs_fs *fs)
{
	size_t i;

	for (i = 0; fs->lockers && i < fs->config->nbackends; i++) {
		struct pfs_locker *lk = &fs->lockers[i];
		struct pfs_locks *s, *next;

		for (s = lk->active; s; s = next) {
			struct pfs_lock_call *call, *after;

			next = s->next;
			for (call = s->calls; call; call = after) {
				after = call->next;
				call->done(call, -EINTR);
			}
			s->calls = NULL;
			s->active = false;
			pfs_node_unref(fs, s->node);
		}
		lk->active = NULL;
		pthread_cond_destroy(&lk->work);
		pthread_cond_destroy(&lk->answered);
		pthread_mutex_destroy(&lk->lock);
		pthread_mutex_destroy(&lk->beat_lock);
	}
	free(fs->lockers);
	fs->lockers = NULL;
}
