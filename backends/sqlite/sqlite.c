/*
 * The SQLite engine: its descriptor and its calls. Every call holds the gate's read side, so that
 * the file is not exchanged under it. Small reads use the writing connection when nobody has it,
 * for its cache survives our own commits; all others take a connection from the pool.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backends/sql/plain.h"
#include "backends/sqlite/rows.h"
#include "backends/sqlite/sqlite.h"
#include "backends/sqlite/tables.h"

#define SMALL_READ 65536

static struct sqlite_store *store_of(struct pfs_store *s)
{
	return pfs_container_of(s, struct sqlite_store, base);
}

/* ---- entering and leaving ------------------------------------------------------------------- */

/* Take the gate's read side: 0, or -errno (not taken) when there is no file to work with. */
static int enter(struct sqlite_backend *b)
{
	pthread_rwlock_rdlock(&b->gate);
	if (sqlite_is_open(b) && !__atomic_load_n(&b->moved, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&b->health_lock);
	pfs_error_text_set("%s", b->trouble.text[0] ? b->trouble.text
						    : "the database file was exchanged");
	pthread_mutex_unlock(&b->health_lock);
	pthread_rwlock_unlock(&b->gate);
	return -EIO;
}

static void leave(struct sqlite_backend *b)
{
	pthread_rwlock_unlock(&b->gate);
}

/* A connection to read with, the gate taken. */
static int reader_get(struct sqlite_backend *b, bool small, struct sqlite_conn **out)
{
	void *conn = NULL;
	int err;

	err = enter(b);
	if (err)
		return err;
	*out = small ? sqlite_writer_try(b) : NULL;
	if (*out)
		return 0;
	err = pfs_pool_get(&b->pool, pfs_monotonic_ns() + b->timeout, &conn);
	if (err == -EBUSY)
		pfs_error_text_set("all %u connections were busy", b->pool_size + b->max_overflow);
	if (err) {
		leave(b);
		return err;
	}
	*out = conn;
	return 0;
}

static void reader_put(struct sqlite_backend *b, struct sqlite_conn *c, int err)
{
	if (err == -EIO)
		sqlite_note_damage(b, c);
	if (c == b->conn)
		sqlite_writer_put(b);
	else
		pfs_pool_put(&b->pool, c, err == -EIO);
	leave(b);
}

/* ---- namespaces ----------------------------------------------------------------------------- */

/* The number of the store's namespace in this epoch. With the gate taken. */
static int store_ns(struct sqlite_store *s, struct sqlite_conn *c)
{
	struct sqlite_backend *b = sqlite_of(s->base.backend);
	uint64_t ns = 0, root = 0;
	int err;

	if (__atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE) == b->base.epoch)
		return 0;
	err = pfs_kv_ns_get(&c->sql, s->base.ns, &ns, &root);
	if (err)
		return err;
	__atomic_store_n(&s->ns, ns, __ATOMIC_RELAXED);
	__atomic_store_n(&s->epoch, b->base.epoch, __ATOMIC_RELEASE);
	return 0;
}

struct ns_create {
	const char *name;
	uint64_t id;
};

static int ns_create(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	struct ns_create *a = arg;
	uint64_t ns = 0, root = 0;
	int err;

	err = pfs_kv_ns_get(&c->sql, a->name, &ns, &root);
	if (err == -ENOENT)
		err = pfs_kv_ns_create(&c->sql, a->name, a->id, 0755, (uint32_t)getuid(),
				       (uint32_t)getgid(), pfs_now_ns());
	if (!err && b->kv.shared)
		err = pfs_kv_change_add(&b->kv, &c->sql, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	return err;
}

static int alloc_ids(struct sqlite_backend *b, unsigned n, uint64_t *first)
{
	int err = 0;

	while (!err && !pfs_kv_take_ids(&b->kv, n, first)) {
		sqlite_writer_get(b, false);
		err = sqlite_reserve(b, n);
		sqlite_writer_put(b);
	}
	return err;
}

static int sq_namespace_open(struct pfs_backend *base, const char *ns, bool create,
			     struct pfs_store **out, struct pfs_msg *msg)
{
	struct sqlite_backend *b = sqlite_of(base);
	struct sqlite_store *s = calloc(1, sizeof(*s));
	struct ns_create arg = {.name = ns};
	struct sqlite_conn *c = NULL;
	int err;

	if (!s)
		return -ENOMEM;
	s->epoch = UINT64_MAX;
	err = pfs_store_init(&s->base, base, ns);
	if (err) {
		free(s);
		return err;
	}
	err = reader_get(b, true, &c);
	if (err)
		goto out;
	err = store_ns(s, c);
	reader_put(b, c, err);
	if (err == -ENOENT && create) {
		err = enter(b);
		if (err)
			goto out;
		err = alloc_ids(b, 1, &arg.id);
		if (!err)
			err = sqlite_txn(b, ns_create, &arg);
		leave(b);
		if (!err)
			err = reader_get(b, true, &c);
		if (!err) {
			err = store_ns(s, c);
			reader_put(b, c, err);
		}
	}
out:
	if (err) {
		if (err == -ENOENT)
			pfs_msg_set(msg, "database %s has no namespace '%s'", b->path, ns);
		else
			pfs_msg_set(msg, "namespace '%s' of %s: %s", ns, b->path,
				    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
		pfs_store_release(&s->base);
		free(s);
	} else {
		*out = &s->base;
	}
	return err;
}

static void sq_store_free(struct pfs_store *base)
{
	pfs_store_release(base);
	free(store_of(base));
}

static int sq_namespace_list(struct pfs_backend *base, struct pfs_namespace_list *out)
{
	struct sqlite_backend *b = sqlite_of(base);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = pfs_kv_ns_list(&c->sql, out);
	reader_put(b, c, err);
	return err;
}

static int ns_remove(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	return pfs_kv_ns_remove(&b->kv, &c->sql, arg);
}

static int sq_namespace_remove(struct pfs_backend *base, const char *ns)
{
	struct sqlite_backend *b = sqlite_of(base);
	int err;

	err = enter(b);
	if (err)
		return err;
	err = sqlite_txn(b, ns_remove, (void *)(uintptr_t)ns);
	leave(b);
	return err;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int sq_root(struct pfs_store *base, uint64_t *id)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = store_ns(store_of(base), c);
	if (!err)
		err = pfs_kv_ns_root(&c->sql, store_of(base)->ns, id);
	reader_put(b, c, err);
	return err;
}

static int sq_alloc_ids(struct pfs_store *base, unsigned n, uint64_t *first)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	int err;

	err = enter(b);
	if (err)
		return err;
	err = alloc_ids(b, n, first);
	leave(b);
	return err;
}

static int sq_lookup(struct pfs_store *base, uint64_t dir, struct pfs_bytes name,
		     struct pfs_attr *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	struct pfs_kv_object o;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = pfs_kv_lookup(&b->kv, &c->sql, store_of(base)->ns, dir, name, &o);
	reader_put(b, c, err);
	if (!err)
		*out = o.a;
	return err;
}

static int sq_getattr(struct pfs_store *base, uint64_t id, struct pfs_attr *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	struct pfs_kv_object o;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = pfs_kv_getattr(&b->kv, &c->sql, store_of(base)->ns, id, &o);
	reader_put(b, c, err);
	if (!err)
		*out = o.a;
	return err;
}

static int sq_list(struct pfs_store *base, uint64_t dir, uint64_t cursor, size_t limit,
		   struct pfs_list **out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, limit <= 128, &c);
	if (err)
		return err;
	err = pfs_kv_list(&b->kv, &c->sql, store_of(base)->ns, dir, cursor, limit, out);
	reader_put(b, c, err);
	return err;
}

static int sq_parent(struct pfs_store *base, uint64_t dir, uint64_t *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = pfs_kv_parent(&b->kv, &c->sql, store_of(base)->ns, dir, out);
	reader_put(b, c, err);
	return err;
}

static ssize_t sq_read(struct pfs_store *base, uint64_t id, uint64_t off, void *buf, size_t len)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	ssize_t ret;

	ret = reader_get(b, len <= SMALL_READ, &c);
	if (ret)
		return ret;
	ret = pfs_kv_read(&b->kv, &c->sql, store_of(base)->ns, id, off, buf, len);
	reader_put(b, c, ret < 0 ? (int)ret : 0);
	return ret;
}

static int sq_seek(struct pfs_store *base, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, false, &c);
	if (err)
		return err;
	err = pfs_kv_seek(&b->kv, &c->sql, store_of(base)->ns, id, off, hole, out);
	reader_put(b, c, err);
	return err;
}

static ssize_t sq_xattr_get(struct pfs_store *base, uint64_t id, struct pfs_bytes name, void *buf,
			    size_t len)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	ssize_t ret;

	ret = reader_get(b, true, &c);
	if (ret)
		return ret;
	ret = pfs_kv_xattr_get(&b->kv, &c->sql, store_of(base)->ns, id, name, buf, len);
	reader_put(b, c, ret < 0 ? (int)ret : 0);
	return ret;
}

static int sq_xattr_list(struct pfs_store *base, uint64_t id, struct pfs_buf *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = pfs_kv_xattr_list(&b->kv, &c->sql, store_of(base)->ns, id, out);
	reader_put(b, c, err);
	return err;
}

static int sq_usage(struct pfs_store *base, struct pfs_usage *out)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_conn *c = NULL;
	int err;

	err = reader_get(b, true, &c);
	if (err)
		return err;
	err = store_ns(store_of(base), c);
	if (!err)
		err = pfs_kv_usage_get(&b->kv, &c->sql, store_of(base)->ns, out);
	reader_put(b, c, err);
	return err;
}

/* ---- writing -------------------------------------------------------------------------------- */

static int sq_commit(struct pfs_store *base, struct pfs_batch *batch)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct sqlite_store *s = store_of(base);
	int err;

	pfs_msg_clear(&batch->msg);
	err = enter(b);
	if (err) {
		pfs_msg_set(&batch->msg, "%s", pfs_error_text());
		return err;
	}
	if (batch->epoch != b->base.epoch || s->epoch != b->base.epoch) {
		pfs_error_text_set("the database file %s was replaced", b->path);
		err = -ESTALE;
	} else {
		err = sqlite_commit(b, s, batch);
	}
	leave(b);
	return err;
}

static int sq_sync(struct pfs_backend *base)
{
	struct sqlite_backend *b = sqlite_of(base);
	int err;

	if (!base->own) /* nothing is written through it */
		return 0;
	err = enter(b);
	if (err)
		return err;
	err = sqlite_dirtimes(b);
	if (!err)
		err = sqlite_sync(b);
	leave(b);
	return err;
}

static void sq_hold(struct pfs_store *base, uint64_t id)
{
	pfs_kv_hold(&sqlite_of(base->backend)->kv, id);
}

static void sq_release(struct pfs_store *base, uint64_t id)
{
	struct sqlite_backend *b = sqlite_of(base->backend);

	if (pfs_kv_unhold(&b->kv, id))
		pfs_wake_up(&b->house);
}

struct lock_work {
	uint64_t ns, id;
	const struct pfs_lock *lock;
	struct pfs_lock *conflict;
	int err;
};

static int lock_work(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	struct lock_work *w = arg;
	bool tell = false;

	w->err = pfs_kv_lock(&b->kv, &c->sql, w->ns, w->id, w->lock, w->conflict, &tell);
	/* Before another transaction can find that the session was ended. */
	if (!w->err && w->lock->mode != PFS_LOCK_NONE)
		__atomic_store_n(&b->has_locks, true, __ATOMIC_RELEASE);
	return w->err == -EAGAIN && tell ? 0 : w->err;
}

static int sq_lock(struct pfs_store *base, uint64_t id, const struct pfs_lock *lock,
		   struct pfs_lock *conflict)
{
	struct sqlite_backend *b = sqlite_of(base->backend);
	struct lock_work work = {
		.ns = store_of(base)->ns, .id = id, .lock = lock, .conflict = conflict};
	int err;

	err = enter(b);
	if (err)
		return err;
	err = sqlite_txn(b, lock_work, &work);
	leave(b);
	return err ? err : work.err;
}

/* ---- how it is ------------------------------------------------------------------------------ */

static int sq_heartbeat(struct pfs_backend *base)
{
	struct sqlite_backend *b = sqlite_of(base);
	int err;

	err = enter(b);
	if (err)
		return err;
	err = sqlite_beat(b);
	if (__atomic_exchange_n(&b->declared_dead, false, __ATOMIC_ACQ_REL))
		err = -ESTALE;
	leave(b);
	return err;
}

static int sq_catch_up(struct pfs_backend *base)
{
	struct sqlite_backend *b = sqlite_of(base);
	int err;

	if (!base->own)
		return 0;
	err = enter(b);
	if (err)
		return err;
	sqlite_catch_up(b);
	leave(b);
	return 0;
}

static unsigned sq_sessions(struct pfs_backend *base)
{
	return __atomic_load_n(&sqlite_of(base)->sessions, __ATOMIC_RELAXED);
}

static int sq_statfs(struct pfs_backend *base, struct pfs_statfs *out)
{
	struct statvfs fs;

	if (statvfs(sqlite_of(base)->path, &fs) != 0) {
		pfs_error_text_set("%s: %s", sqlite_of(base)->path, strerror(errno));
		return -EIO;
	}
	out->total = (uint64_t)fs.f_blocks * fs.f_frsize;
	out->available = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

static void sq_health(struct pfs_backend *base, struct pfs_health *out)
{
	struct sqlite_backend *b = sqlite_of(base);

	memset(out, 0, sizeof(*out));
	out->ok = !base->own; /* views have connections of their own */
	if (out->ok)
		return;
	pthread_mutex_lock(&b->health_lock);
	out->why = b->trouble;
	pthread_mutex_unlock(&b->health_lock);
	out->ok = sqlite_is_open(b) && out->why.text[0] == '\0';
	if (!out->ok && out->why.text[0] == '\0')
		pfs_msg_set(&out->why, "database %s is not open", b->path);
	if (b->volatile_fs)
		pfs_msg_set(&out->durable, "%s is on a file system in memory", b->path);
	if (b->readonly)
		pfs_msg_set(&out->durable, "%s is read-only; nothing can be written", b->path);
}

static void sq_connections(struct pfs_backend *base, struct pfs_connections *out)
{
	struct sqlite_backend *b = sqlite_of(base);

	memset(out, 0, sizeof(*out));
	pfs_pool_counts(&b->pool, out);
	if (sqlite_is_open(b)) {
		out->open += b->readonly ? 1 : 2;
		out->opened += b->readonly ? 1 : 2;
	}
	out->limit += 2;
}

static int sweep_all(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	(void)arg;
	return pfs_kv_recover(&b->kv, &c->sql, !b->kv.shared);
}

static int check_database(struct sqlite_backend *b, struct pfs_msg *msg)
{
	struct sqlite_conn *c = NULL;
	sqlite3_stmt *stmt = NULL;
	void *conn = NULL;
	int err, rc;

	err = pfs_pool_get(&b->pool, pfs_monotonic_ns() + b->timeout, &conn);
	if (err)
		return err;
	c = conn;
	rc = sqlite3_prepare_v2(c->db, "PRAGMA integrity_check(1)", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	err = rc == SQLITE_ROW ? 0 : sqlite_error(c->db, rc);
	if (!err && strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0) {
		err = -EIO;
		pfs_msg_set(msg, "database %s is damaged: %s", b->path,
			    sqlite3_column_text(stmt, 0));
	}
	sqlite3_finalize(stmt);
	pfs_pool_put(&b->pool, c, false);
	return err;
}

static int sq_maintain(struct pfs_backend *base, const char *verb, struct pfs_msg *msg)
{
	struct sqlite_backend *b = sqlite_of(base);
	struct sqlite_conn *c;
	int err;

	err = enter(b);
	if (err)
		return err;
	if (strcmp(verb, "sweep") == 0) {
		err = sqlite_sweep(b, INT64_MAX);
		if (!err)
			err = sqlite_txn(b, sweep_all, NULL);
		if (!err)
			err = sqlite_sweep(b, INT64_MAX);
		if (!err)
			err = sqlite_checkpoint(b);
	} else if (strcmp(verb, "check") == 0) {
		err = check_database(b, msg);
	} else if (strcmp(verb, "analyze") == 0 || strcmp(verb, "compact") == 0) {
		c = sqlite_writer_get(b, false);
		err = sqlite_exec(c, verb[0] == 'a' ? "ANALYZE" : "VACUUM");
		sqlite_writer_put(b);
	} else {
		err = -EINVAL;
		pfs_msg_set(msg, "no such verb '%s'; available: analyze, check, compact, sweep",
			    verb);
	}
	leave(b);
	if (err && msg && !msg->text[0])
		pfs_msg_set(msg, "%s: %s", verb,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void sq_free(struct pfs_backend *base)
{
	struct sqlite_backend *b = sqlite_of(base);

	sqlite_threads_stop(b);
	if (sqlite_is_open(b))
		sqlite_file_close(b, !sqlite_file_same(b));
	sqlite_write_release(b);
	pfs_wake_release(&b->watch);
	pfs_wake_release(&b->house);
	pfs_pool_release(&b->pool);
	pfs_kv_release(&b->kv);
	pthread_rwlock_destroy(&b->gate);
	pthread_mutex_destroy(&b->health_lock);
	free(b->path);
	free(b->wal_path);
	free(b->host);
	pfs_backend_release(base);
	free(b);
}

static int sq_start(struct pfs_backend *base, struct pfs_msg *msg)
{
	struct sqlite_backend *b = sqlite_of(base);
	int err;

	if (!base->own)
		return 0;
	err = sqlite_file_start(b, msg);
	if (err)
		return err;
	err = sqlite_threads_start(b);
	if (err)
		pfs_msg_set(msg, "cannot start a thread: %s", strerror(-err));
	return err;
}

static const struct pfs_backend_ops sqlite_ops = {
	.start = sq_start,
	.free = sq_free,
	.namespace_open = sq_namespace_open,
	.namespace_list = sq_namespace_list,
	.namespace_remove = sq_namespace_remove,
	.store_free = sq_store_free,
	.root = sq_root,
	.alloc_ids = sq_alloc_ids,
	.lookup = sq_lookup,
	.getattr = sq_getattr,
	.list = sq_list,
	.parent = sq_parent,
	.read = sq_read,
	.seek = sq_seek,
	.xattr_get = sq_xattr_get,
	.xattr_list = sq_xattr_list,
	.commit = sq_commit,
	.sync = sq_sync,
	.hold = sq_hold,
	.release = sq_release,
	.lock = sq_lock,
	.heartbeat = sq_heartbeat,
	.sessions = sq_sessions,
	.catch_up = sq_catch_up,
	.usage = sq_usage,
	.statfs = sq_statfs,
	.health = sq_health,
	.connections = sq_connections,
	.maintain = sq_maintain,
};

/*
 * Before SQLite is first used: every connection has one user at a time, and nobody asks for
 * statistics of memory, which would cost a lock per allocation.
 */
static void configure_library(void)
{
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite_gather_register();
}

static int sq_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		     struct pfs_msg *msg)
{
	struct sqlite_backend *b = calloc(1, sizeof(*b));
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_rwlockattr_t attr;
	struct pfs_buf wal = {0};
	int err;

	if (!b)
		return -ENOMEM;
	pthread_once(&once, configure_library);
	err = pfs_backend_init(&b->base, &pfs_sqlite_engine, &sqlite_ops, name, set);
	if (err) {
		free(b);
		return err;
	}
	b->wal_fd = -1;
	b->sessions = 1;
	b->create = pfs_option_get(set, "create")->num != 0;
	b->pool_size = (unsigned)pfs_option_get(set, "pool_size")->num;
	b->max_overflow = (unsigned)pfs_option_get(set, "max_overflow")->num;
	b->timeout = pfs_option_get(set, "timeout")->num;
	b->retry_timeout = pfs_option_get(set, "retry_timeout")->num;
	b->path = strdup(pfs_option_get(set, "path")->str);
	b->host = pfs_kv_describe_host();
	pfs_buf_printf(&wal, "%s-wal", b->path ? b->path : "");
	b->wal_path = wal.data;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&b->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&b->health_lock, NULL);
	pfs_wake_init(&b->watch);
	pfs_wake_init(&b->house);
	err = sqlite_write_init(b);
	if (!err)
		err = pfs_kv_init(&b->kv);
	b->kv.lease = pfs_option_get(set, "lock_timeout")->num;
	if (!err)
		err = pfs_pool_init(&b->pool, &sqlite_pool_ops, b, b->pool_size, b->max_overflow,
				    0);
	if (!err && (!b->path || !b->host || wal.failed))
		err = -ENOMEM;
	if (err) {
		pfs_msg_set(msg, "%s", strerror(-err));
		sq_free(&b->base);
		return err;
	}
	*out = &b->base;
	return 0;
}

static int sq_adopt(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		    const struct pfs_option_set *store, struct pfs_backend **out,
		    struct pfs_msg *msg)
{
	bool read_only = pfs_option_get(store, "read_only")->num != 0;
	struct pfs_rows_db *db = NULL;
	int err;

	if (layout == PFS_LAYOUT_TABLES)
		return sqlite_tables_adopt(host, name, store, out, msg);
	if (layout != PFS_LAYOUT_PLAIN)
		return -EOPNOTSUPP;
	err = sqlite_rows_new(host, read_only, &db);
	return err ? err : plain_adopt(host, db, &plain_sqlite, name, store, out, msg);
}

static bool sq_others(const char *path)
{
	bool ours, others;

	return sqlite_tables_of(path, &ours, &others) == 0 && others;
}

static const struct pfs_option sqlite_options[] = {
	{.name = "path", .type = PFS_OPT_PATH, .required = true, .help = "the database file"},
	{.name = "create",
	 .type = PFS_OPT_BOOL,
	 .def = "yes",
	 .help = "make the file and its directory when they do not exist"},
	{.name = NULL},
};

const struct pfs_engine pfs_sqlite_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "sqlite",
	.help = "an SQLite database file",
	.kinds = PFS_KIND_KV | PFS_KIND_SQL,
	.layouts = PFS_LAYOUT_OWN | PFS_LAYOUT_PLAIN | PFS_LAYOUT_TABLES,
	.capabilities = PFS_CAP_HARD_LINKS | PFS_CAP_XATTRS | PFS_CAP_PUSH | PFS_CAP_DURABLE_SYNC |
			PFS_CAP_RANGED_WRITES | PFS_CAP_LOCKS | PFS_CAP_NAMESPACES |
			PFS_CAP_SPARSE | PFS_CAP_PERSISTENT | PFS_CAP_LISTS_ALL,
	.options = sqlite_options,
	.create = sq_create,
	.schemes = "sqlite",
	.others = sq_others,
	.adopt = sq_adopt,
};
