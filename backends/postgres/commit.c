/*
 * Group commit: the batches of concurrent callers in one write transaction. Each still fails alone:
 * what is expected is found by reading before the first write, and a batch of several mutations is
 * kept apart by a savepoint. What is not expected fails the transaction; then each runs alone.
 */
#include <errno.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define COMMIT_MAX_COST (8u << 20) /* bytes in one group */

struct work {
	struct pg_store *store;
	struct pfs_batch *batch;
};

struct group {
	struct pfs_commit_item **items;
	size_t n;
	struct pfs_kv_txn t;
	uint64_t first_id, end_id;
};

static int group_ahead(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct group *g = arg;
	size_t i;
	int err = 0;

	(void)b;
	for (i = 0; i < g->n && !err; i++)
		err = pg_ahead_batch(c, ((struct work *)g->items[i]->work)->batch);
	return err;
}

/* Undo a batch to its savepoint. */
static int undo_batch(struct pg_conn *c)
{
	int err;

	pg_ahead_void(c, PG_STMT_UNDO, NULL);
	c->b->kv.known_dir = 0;
	err = pg_queue(c, PG_STMT_UNDO);
	return err ? err : pg_queue(c, PG_STMT_RELEASE);
}

/* Apply one batch; *unexpected: the whole transaction failed. */
static int apply_one(struct pg_conn *c, struct group *g, struct work *work, bool *unexpected)
{
	struct pfs_batch *batch = work->batch;
	bool save = g->n > 1 && batch->nops > 1;
	struct pfs_kv_mark mark;
	int err = 0, ret = 0;

	*unexpected = true;
	pfs_kv_mark(&g->t, work->store->ns, &mark);
	if (save)
		err = pg_queue(c, PG_STMT_SAVE);
	if (err)
		return err;
	err = pfs_kv_apply(&g->t, batch, unexpected);
	if (*unexpected)
		return err;
	if (err)
		pfs_kv_undo(&g->t, work->store->ns, &mark);
	if (save)
		ret = err ? undo_batch(c) : pg_queue(c, PG_STMT_RELEASE);
	*unexpected = ret != 0;
	return ret ? ret : err;
}

static int group_run(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct group *g = arg;
	bool unexpected = false;
	size_t i, good = 0;

	pfs_kv_txn_release(&g->t);
	g->t = (struct pfs_kv_txn){
		.kv = &b->kv, .c = &c->sql, .next_id = g->first_id, .end_id = g->end_id};
	for (i = 0; i < g->n; i++) {
		g->items[i]->err = apply_one(c, g, g->items[i]->work, &unexpected);
		if (unexpected)
			return g->items[i]->err;
		good += g->items[i]->err == 0;
	}
	return good > 0 ? pfs_kv_txn_finish(&g->t) : 1;
}

static void group_committed(struct pg_backend *b, void *arg)
{
	struct group *g = arg;

	(void)b;
	pfs_kv_txn_committed(&g->t);
}

static const struct pg_job group_job = {
	.ahead = group_ahead, .run = group_run, .committed = group_committed};

/* Ids for the whole group, taken before the transaction so that a rollback gives none back. */
static int group_ids(struct pg_backend *b, struct group *g)
{
	uint64_t want = 0;
	size_t i;
	int err = 0;

	for (i = 0; i < g->n; i++)
		want += pfs_kv_batch_ids(((struct work *)g->items[i]->work)->batch);
	while (!err && !pfs_kv_take_ids(&b->kv, want, &g->first_id))
		err = pg_reserve(b, want);
	g->end_id = g->first_id + want;
	return err;
}

/* One transaction. Returns an error that concerns all of its items. */
static int group_commit(struct pg_backend *b, struct pfs_commit_item **items, size_t n)
{
	struct group g = {.items = items, .n = n};
	int err;

	err = group_ids(b, &g);
	if (!err)
		err = pg_txn_locked(b, &group_job, &g);
	if (g.end_id > 0)
		pfs_kv_return_ids(&b->kv, g.t.next_id ? g.t.next_id : g.first_id, g.end_id);
	pfs_kv_txn_release(&g.t);
	return err < 0 ? err : 0;
}

/* Would it do no harm if the batch were applied twice? */
static bool repeatable(const struct pfs_batch *batch)
{
	size_t i;

	for (i = 0; i < batch->nops; i++) {
		switch (batch->ops[i].op) {
		case PFS_OP_WRITE:
		case PFS_OP_REPLACE:
		case PFS_OP_TRUNCATE:
		case PFS_OP_PUNCH:
		case PFS_OP_SETATTR:
		case PFS_OP_STAGE:
			break;
		default:
			return false;
		}
		if (batch->ops[i].flags & PFS_F_IF_VERSION)
			return false;
	}
	return true;
}

/* An outcome that is not known is the server's absence to those who may ask again, else EIO. */
static int item_error(struct pfs_batch *batch, int err)
{
	if (err != -EINPROGRESS)
		return err;
	batch->final = !repeatable(batch);
	return batch->final ? -EIO : -EHOSTDOWN;
}

static void group_fail(struct pfs_commit_item **items, size_t n, int err)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct pfs_batch *batch = ((struct work *)items[i]->work)->batch;

		items[i]->err = item_error(batch, err);
		pfs_msg_set(&batch->msg, "%s", pfs_error_text());
	}
}

/* Errors that say nothing about one of the batches. */
static bool concerns_all(int err)
{
	return err == -EHOSTDOWN || err == -EROFS || err == -ESTALE || err == -EBUSY ||
	       err == -EINPROGRESS; /* to try again would be to do it twice */
}

static void commit_run(void *arg, struct pfs_commit_item **items, size_t n)
{
	struct pg_backend *b = arg;
	size_t i;
	int err;

	pthread_mutex_lock(&b->writer);
	err = group_commit(b, items, n);
	if (err && n > 1 && !concerns_all(err)) {
		for (i = 0; i < n; i++) {
			err = group_commit(b, &items[i], 1);
			if (err)
				group_fail(&items[i], 1, err);
		}
	} else if (err) {
		group_fail(items, n, err);
	}
	pthread_mutex_unlock(&b->writer);
}

int pg_commit_init(struct pg_backend *b)
{
	return pfs_commit_init(&b->commit, commit_run, b, COMMIT_MAX_COST);
}

int pg_commit(struct pg_backend *b, struct pg_store *s, struct pfs_batch *batch)
{
	struct work work = {.store = s, .batch = batch};
	struct pfs_commit_item item = {.work = &work};
	int err;

	item.cost = pfs_kv_batch_cost(batch);
	err = pfs_commit_submit(&b->commit, &item);
	if (err && batch->msg.text[0])
		pfs_error_text_set("%s", batch->msg.text);
	return err;
}

/* ---- sync ----------------------------------------------------------------------------------- */

static int flush_log(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct pfs_sql_query *q = NULL;
	int err;

	(void)b;
	(void)arg;
	err = pfs_sql_begin(&c->sql, PG_STMT_FLUSH_LOG, &q, "");
	pfs_sql_end(&c->sql, q);
	return err;
}

/* COMMIT has waited for the log, unless the server is told not to: then one that waits is made. */
int pg_sync(struct pg_backend *b)
{
	return __atomic_load_n(&b->lazy_sync, __ATOMIC_RELAXED) ? pg_read(b, flush_log, NULL) : 0;
}
