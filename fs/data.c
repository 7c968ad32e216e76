/*
 * The uncommitted state of files: bytes that were written and are not in the engine yet, contents
 * that are being replaced, creates that wait for their close. Decides what a commit of one file
 * consists of (plan_...), and what is left when one fails. When to commit is up to the callers:
 * flush, fsync and release in file.c, the committer in queue.c. Reading is in data_read.c.
 *
 * data->lock guards a struct pfs_data; it is never held during an engine call. While `busy`,
 * `committing` belongs to the commit under way and is still laid over what the engine says.
 */
#include <stdio.h>
#include <time.h>

#include "fs/internal.h"

/* How long the rest of a write may take that the kernel has cut in two. */
#define PART_TIME (20 * 1000 * 1000LL)
/* Where such writes have followed each other for so long, the commit takes place between two. */
#define PART_LONG (250 * 1000 * 1000LL)

struct pfs_data *pfs_data_get(struct pfs_fs *fs, struct pfs_node *node, bool make, int *err)
{
	struct pfs_data *data, *fresh = NULL;

	*err = 0;
	if (make) {
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh) {
			*err = -ENOMEM;
			return NULL;
		}
	}
	pfs_node_lock(fs, node);
	data = node->data;
	if (!data && make) {
		data = fresh;
		fresh = NULL;
		pthread_mutex_init(&data->lock, NULL);
		pthread_cond_init(&data->cond, NULL);
		data->append_at = UINT64_MAX;
		data->node = node;
		node->data = data;
		atomic_fetch_add(&node->refs, 1);
		pfs_store_hold(atomic_load(&node->vol->store), node->id);
	}
	if (data)
		atomic_fetch_add(&data->users, 1);
	pfs_node_unlock(fs, node);
	free(fresh);
	return data;
}

void pfs_data_put(struct pfs_data *data)
{
	struct pfs_node *node = data->node;
	struct pfs_fs *fs = node->vol->fs;
	bool gone;

	pfs_node_lock(fs, node);
	gone = atomic_fetch_sub(&data->users, 1) == 1;
	if (gone)
		node->data = NULL;
	pfs_node_unlock(fs, node);
	if (!gone)
		return;
	pfs_store_release_id(atomic_load(&node->vol->store), node->id);
	/* A file that was to be there with its first content only is not. */
	if ((data->lost || data->refused) && pfs_vol_offers(node->vol, PFS_CAP_LATE_CREATE)) {
		pfs_node_drop_attr(fs, node);
		pfs_inval_known_later(fs, node);
	}
	pfs_dirty_clear(&data->dirty);
	pthread_mutex_destroy(&data->lock);
	pthread_cond_destroy(&data->cond);
	free(data);
	pfs_node_unref(fs, node);
}

bool pfs_data_clean(const struct pfs_data *data)
{
	return pfs_dirty_empty(&data->dirty) && !data->busy && !data->rewrite && !data->create;
}

/* Put it in, or take it out of, the list that the committer looks through. */
static void relink(struct pfs_data *data)
{
	struct pfs_vol *vol = data->node->vol;
	bool want = !pfs_data_clean(data);

	if (want == data->linked)
		return;
	pthread_mutex_lock(&vol->lock);
	if (want) {
		data->dirty_since = pfs_monotonic_ns();
		data->prev = NULL;
		data->next = vol->dirty;
		if (vol->dirty)
			vol->dirty->prev = data;
		vol->dirty = data;
		atomic_fetch_add(&data->users, 1);
		pfs_queue_wake(vol, data->dirty_since + vol->config->commit_interval);
	} else {
		if (data->prev)
			data->prev->next = data->next;
		else
			vol->dirty = data->next;
		if (data->next)
			data->next->prev = data->prev;
		/* Not the last user: whoever calls is one too. */
		atomic_fetch_sub(&data->users, 1);
	}
	data->linked = want;
	pthread_mutex_unlock(&vol->lock);
}

void pfs_data_link(struct pfs_data *data)
{
	relink(data);
}

static void account(struct pfs_data *data, uint64_t before, uint64_t after)
{
	atomic_fetch_add(&data->node->vol->fs->dirty_bytes, after - before);
}

static void wake_committer(struct pfs_data *data, int64_t due)
{
	struct pfs_vol *vol = data->node->vol;

	pthread_mutex_lock(&vol->lock);
	pfs_queue_wake(vol, due);
	pthread_mutex_unlock(&vol->lock);
}

void pfs_data_wait_idle(struct pfs_data *data)
{
	while (data->busy)
		pthread_cond_wait(&data->cond, &data->lock);
}

bool pfs_data_shared(const struct pfs_data *data)
{
	return !data->rewrite && !data->create && !pfs_vol_alone(data->node->vol);
}

/* ---- what a commit consists of -------------------------------------------------------------- */

struct plan {
	struct pfs_mutation ops[4];
	size_t nops;
	struct pfs_seg *segs;
	size_t nsegs;
	bool moved;	/* dirty went to committing */
	bool published; /* ends the rewrite */
	uint64_t append_at;
	bool written;
	struct pfs_pending *create;
	size_t append_op; /* index + 1; 0: none */
	struct pfs_stamp stamp;
	int64_t now; /* of the batch */
};

static struct pfs_mutation *plan_op(struct plan *p, struct pfs_data *data, enum pfs_op op)
{
	struct pfs_mutation *m = &p->ops[p->nops++];

	m->op = op;
	m->id = data->node->id;
	m->set.mtime = data->mtime;
	m->set.mask = PFS_SET_MTIME | (data->killpriv ? PFS_SET_KILLPRIV : 0);
	if (op != PFS_OP_CREATE && op != PFS_OP_STAGE)
		pfs_vol_refresh(data->node, m);
	return m;
}

/* Move the dirty bytes to committing and list them. */
static int plan_take_bytes(struct plan *p, struct pfs_data *data)
{
	int err;

	err = pfs_dirty_segs(&data->dirty, &p->segs, &p->nsegs);
	if (err)
		return err;
	data->committing = data->dirty;
	memset(&data->dirty, 0, sizeof(data->dirty));
	p->moved = true;
	p->append_at = data->committing_at = data->append_at;
	data->append_at = UINT64_MAX;
	p->written = data->written;
	data->written = false;
	return 0;
}

static void plan_create(struct plan *p, struct pfs_data *data, bool with_content)
{
	struct pfs_pending *item = data->create;
	struct pfs_mutation *m = plan_op(p, data, PFS_OP_CREATE);
	struct pfs_attr attr = pfs_node_attr_known(data->node);

	p->create = item;
	m->dir = item->op.dir;
	m->name = item->op.name;
	m->set = (struct pfs_set){
		.mode = attr.mode,
		.uid = attr.uid,
		.gid = attr.gid,
		.mtime = data->mtime,
		.expires = pfs_vol_expires(data->node->vol, attr.mode),
	};
	if (data->killpriv)
		m->set.mode = pfs_mode_killpriv(m->set.mode);
	if (with_content) {
		m->size = data->size;
		m->segs = p->segs;
		m->nsegs = p->nsegs;
	}
}

static void plan_stage(struct plan *p, struct pfs_data *data)
{
	struct pfs_mutation *m = plan_op(p, data, PFS_OP_STAGE);

	m->content = data->content;
	m->segs = p->segs;
	m->nsegs = p->nsegs;
}

static void plan_publish(struct plan *p, struct pfs_data *data)
{
	struct pfs_mutation *m;

	if (data->content) {
		if (p->nsegs)
			plan_stage(p, data);
		m = plan_op(p, data, PFS_OP_PUBLISH);
		m->content = data->content;
	} else {
		m = plan_op(p, data, PFS_OP_REPLACE);
		m->segs = p->segs;
		m->nsegs = p->nsegs;
	}
	m->size = data->size;
}

static void plan_segs(struct plan *p, struct pfs_data *data, enum pfs_op op, size_t from, size_t to)
{
	struct pfs_mutation *m;

	if (from == to)
		return;
	m = plan_op(p, data, op);
	m->segs = p->segs + from;
	m->nsegs = to - from;
}

/*
 * Bytes in place: what lies before append_at is written there, what follows it without a gap is
 * appended. Behind a gap (only after an append that failed) bytes go where they were written.
 */
static void plan_in_place(struct plan *p, struct pfs_data *data)
{
	size_t n = 0, end;

	while (n < p->nsegs && p->segs[n].off < p->append_at)
		n++;
	if (n > 0 && p->segs[n - 1].off + p->segs[n - 1].len > p->append_at) {
		/* One range reaches across: its part behind append_at is appended. */
		struct pfs_seg *s = &p->segs[n - 1];
		size_t cut = (size_t)(p->append_at - s->off);

		memmove(p->segs + n, p->segs + n - 1, (p->nsegs - n + 1) * sizeof(*s));
		p->nsegs++;
		p->segs[n - 1].len = cut;
		p->segs[n].off += cut;
		p->segs[n].p = (const char *)p->segs[n].p + cut;
		p->segs[n].len -= cut;
	}
	end = n < p->nsegs ? n + 1 : n;
	while (end < p->nsegs && p->segs[end].off == p->segs[end - 1].off + p->segs[end - 1].len)
		end++;
	plan_segs(p, data, PFS_OP_WRITE, 0, n);
	plan_segs(p, data, PFS_OP_APPEND, n, end);
	p->append_op = end > n ? p->nops : 0;
	plan_segs(p, data, PFS_OP_WRITE, end, p->nsegs);
}

/* Fill the plan. Nothing to do leaves nops 0. data->lock is held. */
static int plan_make(struct plan *p, struct pfs_data *data, enum pfs_data_goal goal)
{
	bool hold_back = data->rewrite && goal == PFS_GOAL_CREATE;
	int err = 0;

	p->append_at = UINT64_MAX;
	if (!hold_back && !pfs_dirty_empty(&data->dirty)) {
		err = plan_take_bytes(p, data);
		if (err)
			return err;
	}
	if (data->rewrite && goal == PFS_GOAL_SPILL) {
		if (p->nsegs)
			plan_stage(p, data);
		return 0;
	}
	if (data->create) {
		bool whole = !data->content && !hold_back;

		plan_create(p, data, whole);
		p->published = whole && data->rewrite;
		if (data->content && !hold_back) {
			plan_publish(p, data);
			p->published = true;
		}
		return 0;
	}
	if (data->rewrite) {
		if (hold_back)
			return 0;
		p->published = true;
		if (!data->fresh || data->size > 0 || data->content)
			plan_publish(p, data);
		return 0;
	}
	plan_in_place(p, data);
	return 0;
}

static bool worth_retrying(int err)
{
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
	case -EHOSTDOWN:
	case -EBUSY:
	case -ENOMEM:
	case -EIO:
		return true;
	default:
		return false;
	}
}

/* The engine has it: what this mount remembers becomes what the engine said. */
static void plan_done(struct plan *p, struct pfs_data *data)
{
	struct pfs_node *node = data->node;
	struct pfs_fs *fs = node->vol->fs;

	if (p->published) {
		data->rewrite = false;
		data->content = 0;
		data->publish = false;
	}
	if (p->create) {
		data->create = NULL;
		data->fresh = true;
		if (p->create->dir)
			pfs_node_touch_dir(fs, p->create->dir, p->create->op.name, p->now);
		pfs_queue_done(node->vol, p->create);
	}
	if (p->published || (p->moved && !data->rewrite))
		data->fresh = false;
	if (p->nops && p->ops[p->nops - 1].op != PFS_OP_STAGE)
		pfs_node_set_attr(fs, node, &p->ops[p->nops - 1].attr, p->stamp);
	if (p->append_op && p->ops[p->append_op - 1].offset != p->append_at)
		pfs_inval_node_later(fs, node);
	if (p->published || p->moved) {
		/* What was written meanwhile takes them away once more, and has its own time. */
		data->killpriv = data->killpriv && !pfs_dirty_empty(&data->dirty);
		data->dirty_since = pfs_monotonic_ns();
	}
	data->last_error = 0;
	data->failing_since = 0;
	data->local = data->rewrite || data->create || !pfs_dirty_empty(&data->dirty);
}

/* The committer tries again soon. data->lock is held. */
static void failed(struct pfs_data *data, int err)
{
	int64_t now = pfs_monotonic_ns();

	data->last_error = err;
	if (!data->failing_since)
		data->failing_since = now;
	data->retry_at = now + NSEC_PER_SEC / 5;
	data->want_commit = false;
}

/* It did not happen: the bytes are dirty again, under what was written meanwhile. */
static void plan_undo(struct plan *p, struct pfs_data *data, enum pfs_data_goal goal, int err)
{
	uint64_t before = data->dirty.bytes;

	if (p->moved) {
		if (pfs_dirty_merge_under(&data->dirty, &data->committing)) {
			pfs_log(PFS_LOG_ERROR, "out of memory while keeping uncommitted data");
			data->lost++;
		}
		data->written |= p->written;
		if (p->append_at < data->append_at)
			data->append_at = p->append_at;
	}
	account(data, before, data->dirty.bytes);
	data->publish |= goal == PFS_GOAL_PUBLISH;
	failed(data, err);
}

/*
 * A commit has ended. What was appended during it follows what it published; it is a part of the whole
 * where that has not been published. data->lock is held.
 */
static void commit_ended(struct pfs_data *data)
{
	if (data->rewrite || data->create)
		data->append_at = UINT64_MAX;
	data->busy = false;
	data->commits++;
	pthread_cond_broadcast(&data->cond);
}

/* *final: it is not to be tried again. */
static int commit_once(struct pfs_data *data, enum pfs_data_goal goal, bool *final)
{
	struct pfs_node *node = data->node;
	struct pfs_vol *vol = node->vol;
	struct plan p = {.stamp = pfs_stamp_take(vol->fs)};
	struct pfs_batch batch = {.ops = p.ops};
	uint64_t committing, id;
	int err;

	data->want_commit = false;
	err = plan_make(&p, data, goal);
	committing = data->committing.bytes;
	if (!err && p.nops == 0) {
		plan_done(&p, data);
		goto out;
	}
	data->busy = true;
	p.now = data->ctime;
	pthread_mutex_unlock(&data->lock);
	if (!err)
		err = pfs_node_id(node, &id);
	if (!err) {
		batch.nops = p.nops;
		batch.now = p.now;
		batch.epoch = node->epoch;
		err = pfs_vol_commit(vol, &batch, node, PFS_BYTES(""));
		*final = err && batch.final;
		/* Others removed it before this mount held it. */
		if (err == -ENOENT && !p.create)
			err = -ESTALE;
	}
	pthread_mutex_lock(&data->lock);
	if (err)
		plan_undo(&p, data, goal, err);
	else
		plan_done(&p, data);
	pfs_dirty_clear(&data->committing);
	account(data, committing, 0);
	commit_ended(data);
out:
	relink(data);
	free(p.segs);
	return err;
}

/* A staged content needs its id before the plan is made. data->lock is held, and dropped meanwhile. */
static int stage_id(struct pfs_data *data)
{
	uint64_t id;
	int err;

	pthread_mutex_unlock(&data->lock);
	err = pfs_store_alloc_ids(atomic_load(&data->node->vol->store), 1, &id);
	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	if (!err && data->rewrite && !data->content)
		data->content = id;
	if (err)
		failed(data, err);
	return err;
}

static bool part_may_follow(const struct pfs_data *data, int64_t since)
{
	int64_t now = pfs_monotonic_ns(), left = data->part_until - now;

	if (!data->part_until || !pfs_data_shared(data))
		return false;
	return now - since < PART_LONG ? left > 0 : left > PART_TIME - PART_TIME / 10;
}

/*
 * One write(2) is appended whole: where the kernel sends the rest of it with another request, that
 * one comes at once. data->lock is held, and dropped meanwhile.
 */
static void wait_part(struct pfs_data *data)
{
	const struct timespec step = {.tv_nsec = PART_TIME / 10};
	int64_t since = pfs_monotonic_ns();

	while (part_may_follow(data, since)) {
		pthread_mutex_unlock(&data->lock);
		nanosleep(&step, NULL);
		pthread_mutex_lock(&data->lock);
		pfs_data_wait_idle(data);
	}
	data->part_until = 0;
}

/* Remove a staged content that will not be published. Best effort: it goes with the session anyway. */
static void discard(struct pfs_vol *vol, uint64_t content)
{
	struct pfs_mutation m = {.op = PFS_OP_DISCARD, .content = content};
	struct pfs_batch batch = {.ops = &m, .nops = 1};

	if (content)
		(void)pfs_vol_commit(vol, &batch, NULL, PFS_BYTES(""));
}

static void give_up(struct pfs_data *data, int err, const char *text)
{
	struct pfs_node *node = data->node;
	struct pfs_vol *vol = node->vol;
	struct pfs_pending *create;
	uint64_t bytes, content;

	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	data->commits++;
	bytes = data->dirty.bytes;
	account(data, bytes, 0);
	pfs_dirty_clear(&data->dirty);
	content = data->content;
	create = data->create;
	data->create = NULL;
	data->content = 0;
	data->append_at = UINT64_MAX;
	data->rewrite = data->written = data->publish = data->local = data->want_commit = false;
	data->failing_since = 0;
	data->lost++;
	data->last_error = 0;
	relink(data);
	pthread_cond_broadcast(&data->cond);
	pthread_mutex_unlock(&data->lock);
	pfs_vol_note_failure(vol, err, node, PFS_BYTES(""), text);
	if (create) {
		if (create->dir)
			pfs_inval_entry_later(vol->fs, create->dir, create->op.name);
		pfs_queue_done(vol, create);
	}
	discard(vol, content);
	pfs_node_drop_attr(vol->fs, node);
	pfs_inval_node_later(vol->fs, node);
}

int pfs_data_commit_now(struct pfs_data *data, enum pfs_data_goal goal)
{
	bool final = false;
	int err = 0;

	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	if (data->part_until)
		wait_part(data);
	if (goal == PFS_GOAL_SPILL && data->rewrite && !data->content &&
	    !pfs_dirty_empty(&data->dirty))
		err = stage_id(data);
	if (!err && !pfs_data_clean(data))
		err = commit_once(data, goal, &final);
	pthread_mutex_unlock(&data->lock);
	if (final && err == -EIO)
		give_up(data, err, "what was written may have been committed, or not: look");
	else if (err && (final || !worth_retrying(err)))
		pfs_data_give_up(data, err);
	else if (err)
		wake_committer(data, data->retry_at);
	return err;
}

int pfs_data_commit(struct pfs_data *data, enum pfs_data_goal goal)
{
	struct pfs_vol *vol = data->node->vol;
	int err = 0;

	if (vol->config->write_mode == PFS_WRITE_QUEUED)
		err = pfs_queue_settle(vol);
	return err ? err : pfs_data_commit_now(data, goal);
}

int pfs_data_commit_node(struct pfs_fs *fs, struct pfs_node *node, enum pfs_data_goal goal)
{
	struct pfs_data *data;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	if (!data)
		return err;
	err = pfs_data_commit(data, goal);
	pfs_data_put(data);
	return err;
}

void pfs_data_give_up(struct pfs_data *data, int err)
{
	give_up(data, err, "uncommitted data was lost; the last committed value stands");
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Know the size this mount shows. data->lock is held, and dropped where the engine must be asked. */
static int know_size(struct pfs_data *data)
{
	struct pfs_attr attr;
	uint64_t commits;
	int err;

	while (!data->local) {
		commits = data->commits;
		pthread_mutex_unlock(&data->lock);
		err = pfs_node_attr(data->node->vol->fs, data->node, &attr);
		pthread_mutex_lock(&data->lock);
		if (err)
			return err;
		if (data->local || commits != data->commits)
			continue;
		data->size = attr.size;
		return 0;
	}
	return 0;
}

/* Keep memory bounded: wait for the background, or commit or stage by ourselves. Lock held. */
static int make_room(struct pfs_data *data)
{
	struct pfs_fs *fs = data->node->vol->fs;
	enum pfs_data_goal goal = PFS_GOAL_SPILL;
	int err = 0;

	while (data->busy && data->dirty.bytes > PFS_FLUSH_WAIT_BYTES)
		pthread_cond_wait(&data->cond, &data->lock);
	while (!err && atomic_load(&fs->dirty_bytes) > fs->dirty_limit &&
	       (data->busy || !pfs_dirty_empty(&data->dirty))) {
		pthread_mutex_unlock(&data->lock);
		err = pfs_data_commit(data, goal);
		pthread_mutex_lock(&data->lock);
	}
	if (!err && data->failing_since && data->dirty.bytes > PFS_FLUSH_WAIT_BYTES)
		err = data->last_error;
	return err;
}

int pfs_data_write(struct pfs_data *data, const void *buf, size_t len, uint64_t off,
		   enum pfs_append append, bool killpriv)
{
	/* The kernel cuts a write where its pages are not up to date. */
	bool part = append == PFS_APPEND_PAGES && (off + len) % 4096 == 0;
	uint64_t before;
	int err;

	pthread_mutex_lock(&data->lock);
	err = make_room(data);
	if (!err)
		err = know_size(data);
	if (err)
		goto out;
	if (append) {
		/* The kernel may know of another end, and keeps pages by that. */
		if (off != data->size)
			pfs_inval_node_later(data->node->vol->fs, data->node);
		off = data->size;
	}
	if (off > data->size && data->append_at != UINT64_MAX) {
		/* A hole behind appended bytes cannot be appended: commit those first. */
		pthread_mutex_unlock(&data->lock);
		err = pfs_data_commit(data, PFS_GOAL_SPILL);
		pthread_mutex_lock(&data->lock);
		if (err)
			goto out;
	}
	before = data->dirty.bytes;
	err = pfs_dirty_write(&data->dirty, off, buf, len);
	account(data, before, data->dirty.bytes);
	if (err)
		goto out;
	/* A whole that is being published ends with what it has: others may append once it is there. */
	if (append && (data->busy || (!data->rewrite && !data->create)) &&
	    data->append_at == UINT64_MAX)
		data->append_at = off;
	if (off + len > data->size)
		data->size = off + len;
	data->part_until = part ? pfs_monotonic_ns() + PART_TIME : 0;
	data->local = true;
	data->written = true;
	data->killpriv |= killpriv;
	data->mtime = data->ctime = pfs_now_ns();
	relink(data);
	if (data->dirty.bytes >= PFS_FLUSH_BYTES && !data->want_commit && !data->busy &&
	    !data->failing_since) {
		data->want_commit = true;
		wake_committer(data, 0);
	}
out:
	pthread_mutex_unlock(&data->lock);
	return err;
}

int pfs_data_start_rewrite(struct pfs_data *data, bool killpriv)
{
	struct pfs_vol *vol = data->node->vol;
	uint64_t before, content;

	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	data->commits++;
	before = data->dirty.bytes;
	account(data, before, 0);
	pfs_dirty_clear(&data->dirty);
	content = data->content;
	data->content = 0;
	data->append_at = UINT64_MAX;
	data->rewrite = data->local = true;
	data->fresh = false;
	data->written = data->publish = data->refused = false;
	data->failing_since = 0;
	data->killpriv |= killpriv;
	data->size = 0;
	data->mtime = data->ctime = pfs_now_ns();
	relink(data);
	pthread_mutex_unlock(&data->lock);
	discard(vol, content);
	return 0;
}

void pfs_data_set_fresh(struct pfs_data *data)
{
	pthread_mutex_lock(&data->lock);
	data->fresh = true;
	pthread_mutex_unlock(&data->lock);
}

bool pfs_data_unpublished(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_data *data;
	bool is;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	if (!data)
		return false;
	pthread_mutex_lock(&data->lock);
	is = data->rewrite && data->written && !data->queued;
	pthread_mutex_unlock(&data->lock);
	pfs_data_put(data);
	return is;
}

void pfs_data_drop_unwritten(struct pfs_data *data)
{
	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	if (data->rewrite && !data->written && !data->publish && !data->create) {
		data->rewrite = data->local = false;
		relink(data);
	}
	pthread_mutex_unlock(&data->lock);
}

/* Change a staged content engine-side. */
static int change_content(struct pfs_data *data, struct pfs_mutation *m)
{
	struct pfs_batch batch = {.ops = m, .nops = 1};
	int err;

	m->content = data->content;
	data->busy = true;
	pthread_mutex_unlock(&data->lock);
	err = pfs_vol_commit(data->node->vol, &batch, data->node, PFS_BYTES(""));
	pthread_mutex_lock(&data->lock);
	commit_ended(data);
	return err;
}

int pfs_data_truncate(struct pfs_data *data, uint64_t size, bool *done)
{
	struct pfs_mutation m = {.op = PFS_OP_TRUNCATE, .size = size};
	uint64_t before;
	int err = 0;

	*done = false;
	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	if (!data->rewrite) {
		pthread_mutex_unlock(&data->lock);
		return pfs_data_commit(data, PFS_GOAL_PUBLISH);
	}
	*done = true;
	if (data->content && size < data->size)
		err = change_content(data, &m);
	if (!err) {
		before = data->dirty.bytes;
		pfs_dirty_drop(&data->dirty, size, UINT64_MAX);
		account(data, before, data->dirty.bytes);
		data->size = size;
		data->written = true;
		data->mtime = data->ctime = pfs_now_ns();
	}
	pthread_mutex_unlock(&data->lock);
	return err;
}

int pfs_data_punch(struct pfs_data *data, uint64_t off, uint64_t len, bool *done)
{
	struct pfs_mutation m = {.op = PFS_OP_PUNCH, .offset = off, .length = len};
	uint64_t before;
	int err = 0;

	*done = false;
	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	if (!data->rewrite) {
		pthread_mutex_unlock(&data->lock);
		return pfs_data_commit(data, PFS_GOAL_PUBLISH);
	}
	*done = true;
	if (data->content)
		err = change_content(data, &m);
	if (!err) {
		before = data->dirty.bytes;
		pfs_dirty_drop(&data->dirty, off, len);
		account(data, before, data->dirty.bytes);
		data->written = true;
		data->mtime = data->ctime = pfs_now_ns();
	}
	pthread_mutex_unlock(&data->lock);
	return err;
}
