/*
 * Changes that the application was told and the engine was not: creates that wait for their close,
 * and, with write_mode = queued, everything else. They are kept in order; the overlay says what names
 * mean until they are committed. The committer, one thread per volume, commits them when they are
 * due, and the dirty files of the volume as well (data.c has those).
 *
 * vol->lock guards queue and overlay. One thread at a time works on the queue (queue_busy).
 */
#include <assert.h>
#include <stdio.h>

#include "fs/internal.h"

#define RETRY_DELAY (NSEC_PER_SEC / 5)

/* ---- items ---------------------------------------------------------------------------------- */

struct pfs_pending *pfs_pending_new(enum pfs_pending_type type, struct pfs_node *node,
				    struct pfs_node *dir, struct pfs_bytes name)
{
	struct pfs_pending *item = calloc(1, sizeof(*item));

	if (!item)
		return NULL;
	item->name = strndup(name.p ? name.p : "", name.len);
	if (!item->name) {
		free(item);
		return NULL;
	}
	item->type = type;
	item->op.name = (struct pfs_bytes){item->name, name.len};
	item->now = pfs_now_ns();
	item->node = node;
	item->dir = dir;
	if (dir) {
		pfs_node_ref(dir->vol->fs, dir);
		item->epoch = dir->epoch;
	}
	if (node) {
		pfs_node_ref(node->vol->fs, node);
		item->epoch = node->epoch;
	}
	return item;
}

void pfs_pending_free(struct pfs_fs *fs, struct pfs_pending *item)
{
	if (!item)
		return;
	if (item->node)
		pfs_node_unref(fs, item->node);
	if (item->other)
		pfs_node_unref(fs, item->other);
	if (item->dir)
		pfs_node_unref(fs, item->dir);
	if (item->dir2)
		pfs_node_unref(fs, item->dir2);
	free((void *)item->op.segs);
	free(item->name);
	free(item->name2);
	free(item);
}

static void pin(struct pfs_fs *fs, struct pfs_node *node, int by)
{
	pfs_node_lock(fs, node);
	node->pins += (uint32_t)by;
	pfs_node_unlock(fs, node);
}

/* ---- the overlay ---------------------------------------------------------------------------- */

static size_t overlay_bucket(uint64_t dir, struct pfs_bytes name)
{
	return (size_t)(pfs_entry_hash(dir, name) >> 24) % PFS_OVERLAY_BUCKETS;
}

static struct pfs_overlay **overlay_slot(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name)
{
	struct pfs_overlay **p = &vol->overlay[overlay_bucket(dir, name)];

	while (*p && ((*p)->dir != dir || (*p)->len != name.len ||
		      memcmp((*p)->name, name.p, name.len) != 0))
		p = &(*p)->next;
	return p;
}

static struct pfs_overlay *overlay_new(const struct pfs_shown *show, struct pfs_pending *by)
{
	struct pfs_overlay *o = malloc(sizeof(*o) + show->name.len + 1);

	if (!o)
		return NULL;
	o->by = by;
	o->dir = show->dir;
	o->node = show->node;
	o->len = show->name.len;
	memcpy(o->name, show->name.p, o->len);
	o->name[o->len] = '\0';
	if (o->node)
		pfs_node_ref(o->node->vol->fs, o->node);
	return o;
}

static void overlay_free(struct pfs_vol *vol, struct pfs_overlay *o)
{
	if (!o)
		return;
	if (o->node)
		pfs_node_unref(vol->fs, o->node);
	free(o);
}

bool pfs_overlay_find(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name,
		      struct pfs_node **node)
{
	struct pfs_overlay *o;

	if (atomic_load(&vol->npending) == 0)
		return false;
	pthread_mutex_lock(&vol->lock);
	o = *overlay_slot(vol, dir, name);
	*node = o ? o->node : NULL;
	if (*node)
		pfs_node_ref(vol->fs, *node);
	pthread_mutex_unlock(&vol->lock);
	return o != NULL;
}

/* Take out what `item` decided and nobody decided after it: at most two, freed by the caller. */
static size_t overlay_take(struct pfs_vol *vol, const struct pfs_pending *item,
			   struct pfs_overlay **gone)
{
	struct pfs_bytes names[2] = {item->op.name, item->op.name2};
	uint64_t dirs[2] = {item->op.dir, item->op.dir2};
	struct pfs_overlay **slot;
	size_t i, n = 0;

	for (i = 0; i < 2; i++) {
		if (!names[i].p)
			continue;
		slot = overlay_slot(vol, dirs[i], names[i]);
		if (*slot && (*slot)->by == item) {
			gone[n] = *slot;
			*slot = gone[n++]->next;
		}
	}
	return n;
}

/* ---- adding and finishing ------------------------------------------------------------------- */

static void start_committer(struct pfs_vol *vol)
{
	int err = pthread_create(&vol->committer, NULL, pfs_committer_main, vol);

	if (err)
		pfs_log(PFS_LOG_ERROR, "store '%s': cannot start a thread: %s", vol->name,
			strerror(err));
	vol->committer_runs = err == 0;
}

void pfs_queue_wake(struct pfs_vol *vol, int64_t due)
{
	if (!vol->committer_runs && !vol->stop)
		start_committer(vol);
	if (vol->wake_at == 0) {
		vol->poked = true;
	} else if (due < vol->wake_at) {
		vol->wake_at = due ? due : 1;
		pthread_cond_signal(&vol->work);
	}
}

static bool queue_full(const struct pfs_vol *vol)
{
	return vol->config->write_mode == PFS_WRITE_QUEUED && !vol->stop &&
	       atomic_load(&vol->npending) >= vol->config->max_write_queue_size;
}

int pfs_queue_add(struct pfs_vol *vol, struct pfs_pending *item, const struct pfs_shown *show,
		  size_t nshow)
{
	struct pfs_node *dirs[2] = {item->dir, item->dir2};
	struct pfs_overlay *o[2] = {NULL, NULL}, **slot;
	bool queued = vol->config->write_mode == PFS_WRITE_QUEUED;
	size_t i;

	assert(nshow <= PFS_ARRAY_SIZE(o));
	for (i = 0; i < nshow; i++) {
		o[i] = overlay_new(&show[i], item);
		if (!o[i]) {
			overlay_free(vol, o[0]);
			pfs_pending_free(vol->fs, item);
			return -ENOMEM;
		}
	}
	if (item->pins)
		pin(vol->fs, item->node, 1);
	if (item->other)
		pin(vol->fs, item->other, 1);
	if (item->node)
		pfs_store_hold(atomic_load(&vol->store), item->node->id);
	item->due = pfs_monotonic_ns() + (queued ? vol->config->queue_delay : PFS_CREATE_DELAY);
	pthread_mutex_lock(&vol->lock);
	while (queue_full(vol))
		pthread_cond_wait(&vol->room, &vol->lock);
	for (i = 0; i < nshow; i++) {
		slot = overlay_slot(vol, show[i].dir, show[i].name);
		if (*slot) {
			struct pfs_overlay *old = *slot;

			o[i]->next = old->next;
			*slot = o[i];
			o[i] = old;
		} else {
			o[i]->next = NULL;
			*slot = o[i];
			o[i] = NULL;
		}
	}
	item->seq = ++vol->queued_total;
	item->prev = vol->last;
	item->next = NULL;
	if (vol->last)
		vol->last->next = item;
	else
		vol->first = item;
	vol->last = item;
	atomic_fetch_add(&vol->npending, 1);
	pfs_queue_wake(vol, item->due);
	pthread_mutex_unlock(&vol->lock);
	overlay_free(vol, o[0]);
	overlay_free(vol, o[1]);
	for (i = 0; i < 2; i++)
		if (dirs[i])
			pfs_node_changed(vol->fs, dirs[i]);
	return 0;
}

void pfs_queue_done(struct pfs_vol *vol, struct pfs_pending *item)
{
	struct pfs_overlay *gone[2];
	size_t i, n;

	pthread_mutex_lock(&vol->lock);
	if (item->prev)
		item->prev->next = item->next;
	else
		vol->first = item->next;
	if (item->next)
		item->next->prev = item->prev;
	else
		vol->last = item->prev;
	n = overlay_take(vol, item, gone);
	atomic_fetch_sub(&vol->npending, 1);
	pthread_cond_broadcast(&vol->room);
	pthread_mutex_unlock(&vol->lock);
	if (item->pins)
		pin(vol->fs, item->node, -1);
	if (item->other)
		pin(vol->fs, item->other, -1);
	if (item->node)
		pfs_store_release_id(atomic_load(&vol->store), item->node->id);
	for (i = 0; i < n; i++)
		overlay_free(vol, gone[i]);
	pfs_pending_free(vol->fs, item);
}

/* ---- working on the queue ------------------------------------------------------------------- */

static bool retryable(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -EHOSTDOWN || err == -EBUSY ||
	       err == -ENOMEM || err == -EIO;
}

static void drop_dirs(struct pfs_fs *fs, struct pfs_pending *item)
{
	if (item->dir)
		pfs_node_touch_dir(fs, item->dir, item->op.name, item->now);
	if (item->dir2)
		pfs_node_touch_dir(fs, item->dir2, item->op.name2, item->now);
}

static const char *op_name(enum pfs_op op)
{
	switch (op) {
	case PFS_OP_CREATE:
		return "create";
	case PFS_OP_SETATTR:
		return "change of attributes";
	case PFS_OP_REMOVE:
		return "unlink";
	case PFS_OP_RENAME:
		return "rename";
	default:
		return "change";
	}
}

/* A queued change that cannot be made any more: say so, and let the truth show again. */
static void lose_op(struct pfs_vol *vol, struct pfs_pending *item, int err)
{
	char text[64];

	snprintf(text, sizeof(text), "a queued %s was lost", op_name(item->op.op));
	pfs_vol_note_failure(vol, err, item->dir ? item->dir : item->node, item->op.name, text);
	atomic_fetch_add(&vol->queue_lost, 1);
	if (item->dir)
		pfs_inval_entry_later(vol->fs, item->dir, item->op.name);
	if (item->dir2)
		pfs_inval_entry_later(vol->fs, item->dir2, item->op.name2);
	if (item->node)
		pfs_inval_node_later(vol->fs, item->node);
}

static int commit_op(struct pfs_vol *vol, struct pfs_pending *item, bool last_try)
{
	struct pfs_stamp stamp = pfs_stamp_take(vol->fs);
	struct pfs_batch batch = {
		.ops = &item->op, .nops = 1, .now = item->now, .epoch = item->epoch};
	struct pfs_node *node = item->node, *other = item->other;
	struct pfs_attr attr, victim;
	int err;

	err = pfs_vol_commit(vol, &batch, item->dir, item->op.name);
	if (err && retryable(err) && !batch.final && !last_try)
		return err;
	if (err)
		lose_op(vol, item, err);
	attr = item->op.op == PFS_OP_REMOVE ? item->op.other : item->op.attr;
	victim = item->op.other;
	/* While they are not pinned any more and have no new attributes, older ones are not taken. */
	if (node) {
		pfs_node_ref(vol->fs, node);
		pfs_node_changed(vol->fs, node);
	}
	if (other) {
		pfs_node_ref(vol->fs, other);
		pfs_node_changed(vol->fs, other);
	}
	drop_dirs(vol->fs, item);
	pfs_queue_done(vol, item);
	if (node && !err && attr.id == node->id)
		pfs_node_set_attr(vol->fs, node, &attr, stamp);
	else if (node)
		pfs_node_drop_attr(vol->fs, node);
	if (other && !err && victim.id == other->id)
		pfs_node_set_attr(vol->fs, other, &victim, stamp);
	else if (other)
		pfs_node_drop_attr(vol->fs, other);
	if (node)
		pfs_node_unref(vol->fs, node);
	if (other)
		pfs_node_unref(vol->fs, other);
	return err;
}

/* CREATE and DATA: what data.c has for the node. The item may be gone before we get to it. */
static int commit_data(struct pfs_vol *vol, struct pfs_node *node, struct pfs_pending *data_item,
		       bool last_try)
{
	enum pfs_data_goal goal = data_item ? PFS_GOAL_PUBLISH : PFS_GOAL_CREATE;
	struct pfs_data *data;
	int err;

	data = pfs_data_get(vol->fs, node, false, &err);
	if (data) {
		pthread_mutex_lock(&data->lock);
		if (data->queued)
			goal = PFS_GOAL_PUBLISH;
		if (data_item)
			data->queued = false;
		pthread_mutex_unlock(&data->lock);
		err = pfs_data_commit_now(data, goal);
		pfs_data_put(data);
	}
	/* What was queued behind it waits until it is committed, or lost. */
	if (data_item && (last_try || !err || !retryable(err)))
		pfs_queue_done(vol, data_item);
	return err;
}

/* Work on the first item. vol->lock is held, and dropped meanwhile. */
static int work_on_first(struct pfs_vol *vol, bool last_try)
{
	struct pfs_pending *item = vol->first;
	enum pfs_pending_type type = item->type;
	struct pfs_node *node = item->node;
	int err;

	vol->queue_busy = true;
	if (type != PFS_PENDING_OP)
		pfs_node_ref(vol->fs, node);
	pthread_mutex_unlock(&vol->lock);
	/* A create goes with its file's commit, whoever makes that: its item may be gone by now. */
	if (type == PFS_PENDING_OP) {
		err = commit_op(vol, item, last_try);
	} else {
		err = commit_data(vol, node, type == PFS_PENDING_DATA ? item : NULL, last_try);
		pfs_node_unref(vol->fs, node);
	}
	pthread_mutex_lock(&vol->lock);
	vol->queue_busy = false;
	pthread_cond_broadcast(&vol->room);
	return err;
}

int pfs_queue_settle(struct pfs_vol *vol)
{
	int err, first = 0;
	uint64_t target, seq;

	if (atomic_load(&vol->npending) == 0)
		return 0;
	pthread_mutex_lock(&vol->lock);
	target = vol->queued_total;
	while (vol->first && vol->first->seq <= target) {
		if (vol->queue_busy) {
			pthread_cond_wait(&vol->room, &vol->lock);
			continue;
		}
		seq = vol->first->seq;
		err = work_on_first(vol, false);
		first = first ? first : err;
		if (err && vol->first && vol->first->seq == seq)
			break; /* stays for a later try */
	}
	pthread_mutex_unlock(&vol->lock);
	return first;
}

int pfs_queue_settle_dir(const struct pfs_node *dir)
{
	struct pfs_vol *vol = dir->vol;
	const struct pfs_pending *item;
	bool any = vol->config->write_mode == PFS_WRITE_QUEUED;

	if (atomic_load(&vol->npending) == 0)
		return 0;
	/* Creates wait for their own close: those in other directories are left in peace. */
	pthread_mutex_lock(&vol->lock);
	for (item = vol->first; item && !any; item = item->next)
		any = item->type != PFS_PENDING_CREATE || item->dir == dir;
	pthread_mutex_unlock(&vol->lock);
	return any ? pfs_queue_settle(vol) : 0;
}

/* ---- the committer -------------------------------------------------------------------------- */

/* Commit the items that are due. Returns when the next one is. vol->lock is held. */
static int64_t pass_queue(struct pfs_vol *vol, int64_t now)
{
	uint64_t seq;
	int64_t due;
	bool last_try;
	int err;

	while (vol->first && !vol->stop) {
		if (vol->queue_busy)
			return now + PFS_CREATE_DELAY;
		due = vol->queue_failing_since ? vol->queue_retry_at : vol->first->due;
		if (due > now)
			return due;
		seq = vol->first->seq;
		last_try = vol->queue_failing_since &&
			   now - vol->queue_failing_since > vol->config->retry_timeout;
		err = work_on_first(vol, last_try);
		if (err && vol->first && vol->first->seq == seq) {
			if (!vol->queue_failing_since)
				vol->queue_failing_since = now;
			vol->queue_retry_at = now + RETRY_DELAY;
		} else {
			vol->queue_failing_since = 0;
		}
	}
	return INT64_MAX;
}

/* When, and how, a dirty file is to be committed. data->lock is held. */
static int64_t data_due(const struct pfs_data *data, int64_t now, enum pfs_data_goal *goal)
{
	*goal = data->rewrite && !data->publish ? PFS_GOAL_SPILL : PFS_GOAL_PUBLISH;
	if (data->busy)
		return now + PFS_CREATE_DELAY;
	if (data->failing_since)
		return data->retry_at;
	if (data->want_commit || data->publish)
		return now;
	if (data->rewrite || pfs_dirty_empty(&data->dirty))
		return INT64_MAX;
	return data->dirty_since + data->node->vol->config->commit_interval;
}

static int64_t pass_one(struct pfs_data *data, int64_t now)
{
	int64_t retry_timeout = data->node->vol->config->retry_timeout, due;
	enum pfs_data_goal goal;
	bool expired;
	int err;

	pthread_mutex_lock(&data->lock);
	due = data_due(data, now, &goal);
	expired = data->failing_since && now - data->failing_since > retry_timeout;
	pthread_mutex_unlock(&data->lock);
	if (due > now)
		return due;
	err = pfs_data_commit(data, goal);
	if (err && expired)
		pfs_data_give_up(data, err);
	else if (err)
		return now + RETRY_DELAY;
	/* What was written meanwhile has its own time. */
	pthread_mutex_lock(&data->lock);
	due = data_due(data, now, &goal);
	pthread_mutex_unlock(&data->lock);
	return due;
}

/* The dirty files of the moment, each with a user counted. Owned array. vol->lock is held. */
static struct pfs_data **dirty_snapshot(struct pfs_vol *vol, size_t *n)
{
	struct pfs_data *data, **list;
	size_t count = 0;

	for (data = vol->dirty; data; data = data->next)
		count++;
	*n = 0;
	list = count ? malloc(count * sizeof(*list)) : NULL;
	for (data = vol->dirty; list && data; data = data->next) {
		atomic_fetch_add(&data->users, 1);
		list[(*n)++] = data;
	}
	return list;
}

static int64_t pass_dirty(struct pfs_vol *vol, int64_t now)
{
	int64_t next = INT64_MAX, due;
	struct pfs_data **list;
	size_t i, n;

	list = dirty_snapshot(vol, &n);
	pthread_mutex_unlock(&vol->lock);
	for (i = 0; i < n; i++) {
		due = pass_one(list[i], now);
		next = due < next ? due : next;
		pfs_data_put(list[i]);
	}
	free(list);
	pthread_mutex_lock(&vol->lock);
	return next;
}

/*
 * Sleep until `due`, or until the earlier time that pfs_queue_wake() asked for meanwhile. An earlier
 * time only shortens the sleep, so that a stream of requests wakes this thread once, not each time.
 */
static void sleep_until(struct pfs_vol *vol, int64_t due)
{
	struct timespec ts;

	vol->wake_at = due;
	while (!vol->stop && vol->wake_at > pfs_monotonic_ns()) {
		if (vol->wake_at == INT64_MAX) {
			pthread_cond_wait(&vol->work, &vol->lock);
			continue;
		}
		ts.tv_sec = (time_t)(vol->wake_at / NSEC_PER_SEC);
		ts.tv_nsec = (long)(vol->wake_at % NSEC_PER_SEC);
		pthread_cond_timedwait(&vol->work, &vol->lock, &ts);
	}
	vol->wake_at = 0;
}

void *pfs_committer_main(void *arg)
{
	struct pfs_vol *vol = arg;
	int64_t next, due, now;

	pthread_mutex_lock(&vol->lock);
	while (!vol->stop) {
		vol->poked = false;
		now = pfs_monotonic_ns();
		next = pass_queue(vol, now);
		due = pass_dirty(vol, now);
		next = due < next ? due : next;
		if (!vol->poked && !vol->stop)
			sleep_until(vol, next);
	}
	pthread_mutex_unlock(&vol->lock);
	return NULL;
}
