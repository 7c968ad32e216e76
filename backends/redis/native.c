/* The view of a Redis as it is: see native.h. */
#include "backends/redis/native.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/adopt/options.h"

static const char *const type_names[] = {
	[NATIVE_NONE] = "none",	    [NATIVE_STRING] = "string", [NATIVE_HASH] = "hash",
	[NATIVE_LIST] = "list",	    [NATIVE_SET] = "set",	[NATIVE_ZSET] = "zset",
	[NATIVE_STREAM] = "stream", [NATIVE_OTHER] = "",	[NATIVE_KEYS] = "keys",
};

enum native_type native_type_of(struct pfs_bytes name)
{
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(type_names); i++)
		if (type_names[i][0] && pfs_bytes_eq(name, pfs_bytes_str(type_names[i])))
			return (enum native_type)i;
	return NATIVE_OTHER;
}

const char *native_type_name(enum native_type type)
{
	return type_names[type];
}

bool native_has_elements(enum native_type type)
{
	return type == NATIVE_HASH || type == NATIVE_LIST || type == NATIVE_SET ||
	       type == NATIVE_ZSET;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int native_start(struct pfs_view *view, struct pfs_msg *msg)
{
	struct native *v = native_of(view);
	struct redis_conn *conn;
	redisReply *r = NULL;
	int err = redis_get(v->host, pfs_monotonic_ns(), &conn);

	if (!err) {
		/* A server before 7.0 does not know it. */
		err = native_send(conn->ctx, PFS_BYTES("PEXPIRETIME"), PFS_BYTES("//"));
		if (!err)
			err = native_any_reply(conn->ctx, &r);
		if (!err)
			__atomic_store_n(&v->has_expiretime, r->type == REDIS_REPLY_INTEGER,
					 __ATOMIC_RELAXED);
		freeReplyObject(r);
		redis_put(v->host, conn, err);
	}
	if (!err)
		err = native_watch_start(v);
	if (err)
		pfs_msg_set(msg, "%s", pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}

/* As the backend's own: an answer is given when the server has done its log's part. */
static int sync_now(struct native *v, redisContext *c, void *arg)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("PING"));

	(void)v;
	(void)arg;
	if (!err)
		err = native_any_reply(c, &r);
	freeReplyObject(r);
	return err;
}

static int native_sync(struct pfs_view *view)
{
	struct native *v = native_of(view);

	return pfs_pool_down(&v->host->pool) ? native_do(v, sync_now, NULL, NULL) : 0;
}

static int native_statfs(struct pfs_view *view, struct pfs_statfs *out)
{
	return pfs_backend_statfs(&native_of(view)->host->base, out);
}

static void native_health(struct pfs_view *view, struct pfs_health *out)
{
	struct native *v = native_of(view);
	bool complete;
	size_t n;

	pfs_backend_health(&v->host->base, out);
	pthread_mutex_lock(&v->tree.lock);
	complete = v->tree.complete;
	n = v->tree.keys.n;
	pthread_mutex_unlock(&v->tree.lock);
	pthread_mutex_lock(&v->watch_lock);
	pfs_msg_set(&out->note, "index: %zu keys, complete: %s%s%s", n, complete ? "yes" : "no",
		    v->trouble.text[0] ? "; changes of others are not heard: " : "",
		    v->trouble.text);
	pthread_mutex_unlock(&v->watch_lock);
}

static void native_connections(struct pfs_view *view, struct pfs_connections *out)
{
	pfs_pool_counts(&native_of(view)->host->pool, out);
}

static void native_free(struct pfs_view *view)
{
	struct native *v = native_of(view);

	native_watch_stop(v);
	native_tree_release(&v->tree);
	native_names_release(v);
	native_texts_release(v);
	pfs_buf_release(&v->look);
	if (v->wake_fd >= 0)
		close(v->wake_fd);
	pthread_mutex_destroy(&v->names_lock);
	pthread_mutex_destroy(&v->watch_lock);
	pthread_cond_destroy(&v->watch_cond);
	free(v);
}

static const struct pfs_view_ops native_ops = {
	.free = native_free,
	.start = native_start,
	.stat = native_stat,
	.list = native_list,
	.read = native_read,
	.write = native_write,
	.remove = native_remove,
	.mkdir = native_mkdir,
	.rename = native_rename,
	.set_expires = native_set_expires,
	.xattr_get = native_xattr_get,
	.xattr_list = native_xattr_list,
	.xattr_set = native_xattr_set,
	.sync = native_sync,
	.catch_up = native_catch_up,
	.statfs = native_statfs,
	.health = native_health,
	.connections = native_connections,
};

static const struct pfs_engine native_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "redis",
	.help = "the keys of a Redis server as they are",
	.kinds = PFS_KIND_KV,
	.layouts = PFS_LAYOUT_NATIVE,
	.capabilities = PFS_CAP_LATE_CREATE | PFS_CAP_TOLD_XATTRS | PFS_CAP_PERSISTENT |
			PFS_CAP_EXPIRY | PFS_CAP_PUSH | PFS_CAP_DURABLE_SYNC,
};

/* ---- construction --------------------------------------------------------------------------- */

static int read_options(struct native *v, const struct pfs_option_set *store, struct pfs_msg *msg)
{
	const struct pfs_option_value *preset = pfs_option_get(store, "preset");
	const struct pfs_option_value *separator = pfs_option_get(store, "separator");
	const char *prefix = pfs_option_get(store, "prefix")->str;

	if (pfs_option_get(store, "namespace")->given) {
		pfs_msg_set(msg, "namespace is for layout own; prefix = says which keys are shown");
		return -EINVAL;
	}
	v->enc.separator = PFS_BYTES(":");
	v->new_dirs = NATIVE_HASH;
	if (preset->given && strcmp(preset->str, "marimo") != 0) {
		pfs_msg_set(msg, "preset '%s' is not for Redis; of the presets marimo is",
			    preset->str);
		return -EINVAL;
	}
	if (preset->given) { /* all are strings */
		v->enc.separator = PFS_BYTES("/");
		v->new_dirs = NATIVE_KEYS;
	}
	if (separator->given)
		v->enc.separator = pfs_bytes_str(separator->str ? separator->str : "");
	v->prefix = pfs_bytes_str(prefix ? prefix : "");
	v->strip = pfs_option_get(store, "final_newline")->given &&
		   pfs_option_get(store, "final_newline")->num == PFS_NEWLINE_STRIP;
	return 0;
}

static void init_locks(struct native *v)
{
	pthread_condattr_t attr;

	native_texts_init(v);
	pthread_mutex_init(&v->names_lock, NULL);
	pthread_mutex_init(&v->watch_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&v->watch_cond, &attr);
	pthread_condattr_destroy(&attr);
	native_tree_init(&v->tree);
}

int redis_adopt(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		const struct pfs_option_set *store, struct pfs_backend **out, struct pfs_msg *msg)
{
	struct native *v;
	int err;

	if (layout != PFS_LAYOUT_NATIVE) {
		pfs_msg_set(msg, "Redis has no such layout; it has: own, native");
		return -EINVAL;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		pfs_msg_set(msg, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	v->view.ops = &native_ops;
	v->host = redis_of(host);
	init_locks(v);
	v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = v->wake_fd < 0 ? -errno : read_options(v, store, msg);
	if (err) {
		native_free(&v->view);
		return err;
	}
	err = pfs_adopt_new(name, &native_engine, host, store, &v->view, out, msg);
	if (!err)
		pfs_backend_set_pushing(*out, false);
	return err;
}
