/*
 * The calls of the contract. Reads take a connection of the pool and are one exchange each where they
 * can; writes go through txn.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/postgres/postgres.h"

static struct pg_store *store_of(struct pfs_store *s)
{
	return pfs_container_of(s, struct pg_store, base);
}

/* What a call asks for and gets; each uses the fields that it needs. */
struct call {
	struct pg_store *s;
	const char *ns;
	uint64_t id, off, *out;
	struct pfs_bytes name;
	struct pfs_attr *attr;
	void *buf;
	size_t len;
	struct pfs_list **list;
	struct pfs_buf *names;
	struct pfs_namespace_list *namespaces;
	struct pfs_usage *usage;
	ssize_t n;
	bool hole;
};

/* ---- namespaces ----------------------------------------------------------------------------- */

static int ns_get(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;

	(void)b;
	return pfs_kv_ns_get(&c->sql, a->ns, &a->s->ns, &a->s->root);
}

static int ns_create(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	uint64_t ns = 0, root = 0;
	int err;

	(void)b;
	err = pfs_kv_ns_get(&c->sql, a->ns, &ns, &root);
	if (err != -ENOENT)
		return err ? err : 1;
	return pfs_kv_ns_create(&c->sql, a->ns, a->id, 0755, (uint32_t)getuid(), (uint32_t)getgid(),
				pfs_now_ns());
}

static int take_ids(struct pg_backend *b, unsigned n, uint64_t *first)
{
	int err = 0;

	while (!err && !pfs_kv_take_ids(&b->kv, n, first))
		err = pg_reserve(b, n);
	return err;
}

static int namespace_open(struct pg_backend *b, struct pg_store *s, const char *ns, bool create)
{
	static const struct pg_job job = {.run = ns_create};
	struct call a = {.s = s, .ns = ns};
	int err;

	err = pg_read(b, ns_get, &a);
	if (err != -ENOENT || !create)
		return err;
	err = take_ids(b, 1, &a.id);
	if (!err)
		err = pg_txn(b, &job, &a);
	return err ? err : pg_read(b, ns_get, &a);
}

static int pq_namespace_open(struct pfs_backend *base, const char *ns, bool create,
			     struct pfs_store **out, struct pfs_msg *msg)
{
	struct pg_backend *b = pg_of(base);
	struct pg_store *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	err = pfs_store_init(&s->base, base, ns);
	if (err) {
		free(s);
		return err;
	}
	err = namespace_open(b, s, ns, create);
	if (!err) {
		*out = &s->base;
		return 0;
	}
	if (err == -ENOENT)
		pfs_msg_set(msg, "schema %s has no namespace '%s'", b->schema, ns);
	else
		pfs_msg_set(msg, "namespace '%s': %s", ns,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	pfs_store_release(&s->base);
	free(s);
	return err;
}

static void pq_store_free(struct pfs_store *base)
{
	pfs_store_release(base);
	free(store_of(base));
}

static int ns_list(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	(void)b;
	return pfs_kv_ns_list(&c->sql, ((struct call *)arg)->namespaces);
}

static int pq_namespace_list(struct pfs_backend *base, struct pfs_namespace_list *out)
{
	struct call a = {.namespaces = out};

	return pg_read(pg_of(base), ns_list, &a);
}

static int ns_remove(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	return pfs_kv_ns_remove(&b->kv, &c->sql, ((struct call *)arg)->ns);
}

static int pq_namespace_remove(struct pfs_backend *base, const char *ns)
{
	static const struct pg_job job = {.run = ns_remove};
	struct call a = {.ns = ns};

	return pg_txn(pg_of(base), &job, &a);
}

/* ---- reading -------------------------------------------------------------------------------- */

static int do_root(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;

	(void)b;
	return pfs_kv_ns_root(&c->sql, a->s->ns, a->out);
}

static int pq_root(struct pfs_store *base, uint64_t *id)
{
	struct call a = {.s = store_of(base), .out = id};

	return pg_read(pg_of(base->backend), do_root, &a);
}

static int pq_alloc_ids(struct pfs_store *base, unsigned n, uint64_t *first)
{
	return take_ids(pg_of(base->backend), n, first);
}

static int do_lookup(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	struct pfs_kv_object o;
	int err;

	err = pfs_kv_lookup(&b->kv, &c->sql, a->s->ns, a->id, a->name, &o);
	if (!err)
		*a->attr = o.a;
	return err;
}

static int pq_lookup(struct pfs_store *base, uint64_t dir, struct pfs_bytes name,
		     struct pfs_attr *out)
{
	struct call a = {.s = store_of(base), .id = dir, .name = name, .attr = out};

	return pg_read(pg_of(base->backend), do_lookup, &a);
}

static int do_getattr(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	struct pfs_kv_object o;
	int err;

	err = pfs_kv_getattr(&b->kv, &c->sql, a->s->ns, a->id, &o);
	if (!err)
		*a->attr = o.a;
	return err;
}

static int pq_getattr(struct pfs_store *base, uint64_t id, struct pfs_attr *out)
{
	struct call a = {.s = store_of(base), .id = id, .attr = out};

	return pg_read(pg_of(base->backend), do_getattr, &a);
}

static int do_list(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;

	return pfs_kv_list(&b->kv, &c->sql, a->s->ns, a->id, a->off, a->len, a->list);
}

static int pq_list(struct pfs_store *base, uint64_t dir, uint64_t cursor, size_t limit,
		   struct pfs_list **out)
{
	struct call a = {.s = store_of(base), .id = dir, .off = cursor, .len = limit, .list = out};

	return pg_read(pg_of(base->backend), do_list, &a);
}

static int do_parent(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	int err;

	err = pg_ahead(c, KV_PARENT, "i", (int64_t)a->id);
	if (!err)
		err = pg_ahead(c, KV_GETATTR, "i", (int64_t)a->id);
	if (!err)
		err = pg_drain(c);
	return err ? err : pfs_kv_parent(&b->kv, &c->sql, a->s->ns, a->id, a->out);
}

static int pq_parent(struct pfs_store *base, uint64_t dir, uint64_t *out)
{
	struct call a = {.s = store_of(base), .id = dir, .out = out};

	return pg_read(pg_of(base->backend), do_parent, &a);
}

/* Object and chunks in one statement: one state, one exchange. */
static int do_read(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	int64_t (*get)(struct pfs_sql_query *, int) = c->sql.driver->integer;
	uint64_t first = a->off / PFS_KV_CHUNK, last = (a->off + a->len - 1) / PFS_KV_CHUNK;
	struct pfs_kv_object o = {.a = {.id = a->id}};
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(&c->sql, PG_STMT_READ, &q, "iii", (int64_t)a->id, (int64_t)first,
			    (int64_t)(a->len ? last : first));
	if (!ret)
		ret = pfs_sql_step(&c->sql, q);
	if (ret == 1) {
		o.a.mode = (uint32_t)get(q, 0);
		o.a.size = (uint64_t)get(q, 1);
		o.ns = (uint64_t)get(q, 2);
		o.a.nlink = (uint32_t)get(q, 3);
		a->n = pfs_kv_read_rows(&b->kv, &c->sql, q, a->s->ns, &o, 4, a->off, a->buf,
					a->len);
	}
	pfs_sql_end(&c->sql, q);
	if (ret < 0)
		return ret;
	if (ret == 0 || a->n == -ENOENT)
		a->n = pfs_kv_read_staged(&b->kv, &c->sql, a->id, a->off, a->buf, a->len);
	return a->n < 0 ? (int)a->n : 0;
}

static ssize_t pq_read(struct pfs_store *base, uint64_t id, uint64_t off, void *buf, size_t len)
{
	struct call a = {.s = store_of(base), .id = id, .off = off, .buf = buf, .len = len};
	int err = pg_read(pg_of(base->backend), do_read, &a);

	return err ? err : a.n;
}

static int do_seek(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;

	return pfs_kv_seek(&b->kv, &c->sql, a->s->ns, a->id, a->off, a->hole, a->out);
}

static int pq_seek(struct pfs_store *base, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	struct call a = {.s = store_of(base), .id = id, .off = off, .hole = hole, .out = out};

	return pg_read(pg_of(base->backend), do_seek, &a);
}

static int do_xattr_get(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	int err;

	err = pg_ahead(c, KV_GETATTR, "i", (int64_t)a->id);
	if (!err)
		err = pg_ahead(c, KV_XATTR_GET, "it", (int64_t)a->id, a->name.p, a->name.len);
	if (!err)
		err = pg_drain(c);
	if (err)
		return err;
	a->n = pfs_kv_xattr_get(&b->kv, &c->sql, a->s->ns, a->id, a->name, a->buf, a->len);
	return a->n < 0 ? (int)a->n : 0;
}

static ssize_t pq_xattr_get(struct pfs_store *base, uint64_t id, struct pfs_bytes name, void *buf,
			    size_t len)
{
	struct call a = {.s = store_of(base), .id = id, .name = name, .buf = buf, .len = len};
	int err = pg_read(pg_of(base->backend), do_xattr_get, &a);

	return err ? err : a.n;
}

static int do_xattr_list(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;
	size_t before = a->names->len;
	int err;

	err = pg_ahead(c, KV_GETATTR, "i", (int64_t)a->id);
	if (!err)
		err = pg_ahead(c, KV_XATTR_LIST, "i", (int64_t)a->id);
	if (!err)
		err = pg_drain(c);
	if (!err)
		err = pfs_kv_xattr_list(&b->kv, &c->sql, a->s->ns, a->id, a->names);
	if (err)
		a->names->len = before;
	return err;
}

static int pq_xattr_list(struct pfs_store *base, uint64_t id, struct pfs_buf *out)
{
	struct call a = {.s = store_of(base), .id = id, .names = out};

	return pg_read(pg_of(base->backend), do_xattr_list, &a);
}

static int do_usage(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct call *a = arg;

	return pfs_kv_usage_get(&b->kv, &c->sql, a->s->ns, a->usage);
}

static int pq_usage(struct pfs_store *base, struct pfs_usage *out)
{
	struct call a = {.s = store_of(base), .usage = out};

	return pg_read(pg_of(base->backend), do_usage, &a);
}

/* ---- writing -------------------------------------------------------------------------------- */

static int pq_commit(struct pfs_store *base, struct pfs_batch *batch)
{
	return pg_commit(pg_of(base->backend), store_of(base), batch);
}

static int pq_sync(struct pfs_backend *base)
{
	return base->own ? pg_sync(pg_of(base)) : 0; /* else nothing is written through it */
}

static void pq_hold(struct pfs_store *base, uint64_t id)
{
	pfs_kv_hold(&pg_of(base->backend)->kv, id);
}

static void pq_release(struct pfs_store *base, uint64_t id)
{
	struct pg_backend *b = pg_of(base->backend);

	if (pfs_kv_unhold(&b->kv, id))
		pfs_wake_up(&b->house);
}

struct lock_work {
	uint64_t ns, id;
	const struct pfs_lock *lock;
	struct pfs_lock *conflict;
	int err;
};

static int lock_ahead(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct lock_work *w = arg;
	int err;

	err = pg_ahead(c, KV_GETATTR, "i", (int64_t)w->id);
	if (!err && w->lock->mode != PFS_LOCK_NONE)
		err = pg_ahead(c, KV_LOCK_CONFLICT, "iiiiii", (int64_t)w->id,
			       (int64_t)b->kv.session, (int64_t)w->lock->owner,
			       pfs_kv_lock_pos(w->lock->start), pfs_kv_lock_pos(w->lock->end),
			       (int64_t)w->lock->mode);
	if (!err)
		err = pg_ahead(c, KV_LOCK_OWN, "iii", (int64_t)w->id, (int64_t)b->kv.session,
			       (int64_t)w->lock->owner);
	return err;
}

static int lock_run(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	struct lock_work *w = arg;
	bool tell = false;

	w->err = pfs_kv_lock(&b->kv, &c->sql, w->ns, w->id, w->lock, w->conflict, &tell);
	return w->err == -EAGAIN && tell ? 0 : w->err;
}

/* Before another transaction can find that the session was ended. */
static void lock_committed(struct pg_backend *b, void *arg)
{
	const struct lock_work *w = arg;

	if (!w->err && w->lock->mode != PFS_LOCK_NONE)
		__atomic_store_n(&b->has_locks, true, __ATOMIC_RELEASE);
}

static int pq_lock(struct pfs_store *base, uint64_t id, const struct pfs_lock *lock,
		   struct pfs_lock *conflict)
{
	static const struct pg_job job = {
		.ahead = lock_ahead, .run = lock_run, .committed = lock_committed};
	struct lock_work work = {
		.ns = store_of(base)->ns, .id = id, .lock = lock, .conflict = conflict};
	int err = pg_txn(pg_of(base->backend), &job, &work);

	return err ? err : work.err;
}

/* ---- how it is ------------------------------------------------------------------------------ */

static int do_beat(struct pg_backend *b, struct pg_conn *c, void *arg)
{
	(void)arg;
	return pg_session_beat(b, c);
}

static int pq_heartbeat(struct pfs_backend *base)
{
	struct pg_backend *b = pg_of(base);
	int err;

	if (b->kv.session == 0)
		return 0;
	if (!__atomic_load_n(&b->declared_dead, __ATOMIC_ACQUIRE)) {
		err = pg_read(b, do_beat, NULL);
		if (err != -ESTALE)
			return err;
		pthread_mutex_lock(&b->writer);
		(void)pg_session_revive(b);
		pthread_mutex_unlock(&b->writer);
	}
	__atomic_store_n(&b->declared_dead, false, __ATOMIC_RELEASE);
	pfs_error_text_set("this session was silent for too long: others ended it");
	return -ESTALE;
}

static int pq_catch_up(struct pfs_backend *base)
{
	return pg_catch_up(pg_of(base));
}

static unsigned pq_sessions(struct pfs_backend *base)
{
	return __atomic_load_n(&pg_of(base)->sessions, __ATOMIC_RELAXED);
}

static void pq_health(struct pfs_backend *base, struct pfs_health *out)
{
	struct pg_backend *b = pg_of(base);

	memset(out, 0, sizeof(*out));
	out->ok = !base->own; /* views tell for themselves */
	if (out->ok)
		return;
	pthread_mutex_lock(&b->health_lock);
	out->why = b->trouble;
	out->durable = b->durable;
	pthread_mutex_unlock(&b->health_lock);
	if (!out->why.text[0] && !pg_is_open(b))
		pfs_msg_set(&out->why, "the server was not reached yet");
	else if (!out->why.text[0] && pfs_pool_down(&b->pool))
		pfs_msg_set(&out->why, "the server cannot be reached");
	out->ok = out->why.text[0] == '\0';
	if (pg_readonly(b))
		pfs_msg_set(&out->durable, "the server is read-only; nothing can be written");
}

static void pq_connections(struct pfs_backend *base, struct pfs_connections *out)
{
	struct pg_backend *b = pg_of(base);

	memset(out, 0, sizeof(*out));
	pfs_pool_counts(&b->pool, out);
	out->limit += 1; /* the one that listens */
	if (pfs_backend_pushing(base)) {
		out->open += 1;
		out->opened += 1;
	}
}

const struct pfs_backend_ops pg_ops = {
	.start = pg_backend_start,
	.free = pg_backend_free,
	.namespace_open = pq_namespace_open,
	.namespace_list = pq_namespace_list,
	.namespace_remove = pq_namespace_remove,
	.store_free = pq_store_free,
	.root = pq_root,
	.alloc_ids = pq_alloc_ids,
	.lookup = pq_lookup,
	.getattr = pq_getattr,
	.list = pq_list,
	.parent = pq_parent,
	.read = pq_read,
	.seek = pq_seek,
	.xattr_get = pq_xattr_get,
	.xattr_list = pq_xattr_list,
	.commit = pq_commit,
	.sync = pq_sync,
	.hold = pq_hold,
	.release = pq_release,
	.lock = pq_lock,
	.heartbeat = pq_heartbeat,
	.catch_up = pq_catch_up,
	.sessions = pq_sessions,
	.usage = pq_usage,
	.health = pq_health,
	.connections = pq_connections,
	.maintain = pg_backend_maintain,
};
