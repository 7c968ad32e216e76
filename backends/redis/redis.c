/*
 * The Redis engine: its descriptor, and the calls that ask. Each is one script, one round trip.
 */
#include "backends/redis/redis.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One question to read.lua about namespace ns; releases the arguments. */
static int ask(struct pfs_store *s, struct redis_args *a, redisReply **out)
{
	int err = a->failed ? -ENOMEM : redis_call(redis_of_store(s), REDIS_READ, s->ns, a, 0, out);

	redis_args_release(a);
	return err;
}

/* The beginning of a question about an object. */
static struct redis_args about(struct pfs_store *s, const char *verb, uint64_t id)
{
	struct redis_args a = {0};

	redis_arg_str(&a, verb);
	redis_arg_u64(&a, id);
	redis_arg_u64(&a, redis_held(redis_of_store(s), id));
	return a;
}

static int take_attr(redisReply *r, struct pfs_attr *out)
{
	int err = redis_parse_attr(r->elements > 1 ? r->element[1] : NULL, out);

	freeReplyObject(r);
	return err;
}

/* ---- namespaces ----------------------------------------------------------------------------- */

static int redis_namespace_open(struct pfs_backend *base, const char *name, bool create,
				struct pfs_store **out, struct pfs_msg *msg)
{
	struct redis_backend *b = redis_of(base);
	struct redis_store *s = calloc(1, sizeof(*s));
	uint64_t root;
	int err = s ? pfs_store_init(&s->base, base, name) : -ENOMEM;

	if (!err)
		err = redis_open_namespace(b, name, create, &root, msg);
	if (!err) {
		s->ns = redis_namespace_of(b, name, create);
		s->epoch = pfs_store_epoch(&s->base);
		err = s->ns ? 0 : -ENOMEM;
	}
	if (err) {
		if (s)
			pfs_store_release(&s->base);
		free(s);
		return err;
	}
	redis_watch_namespace(b, s->ns);
	*out = &s->base;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct pfs_namespace *)a)->id,
		 y = ((const struct pfs_namespace *)b)->id;

	return x < y ? -1 : x > y;
}

static int redis_namespace_list(struct pfs_backend *base, struct pfs_namespace_list *out)
{
	struct redis_args a = {0};
	redisReply *r = NULL, *list;
	size_t i;
	int err;

	redis_arg_str(&a, "namespaces");
	err = redis_call(redis_of(base), REDIS_SESSION, "", &a, 0, &r);
	redis_args_release(&a);
	if (err)
		return err;
	list = r->elements > 1 ? r->element[1] : NULL;
	out->items = calloc(list && list->elements ? list->elements : 1, sizeof(*out->items));
	err = out->items ? 0 : -ENOMEM;
	for (i = 0; list && i + 1 < list->elements && !err; i += 2) {
		out->items[out->n].name = strdup(list->element[i]->str);
		out->items[out->n].id = redis_number(list, i + 1);
		err = out->items[out->n++].name ? 0 : -ENOMEM;
	}
	freeReplyObject(r);
	if (err)
		pfs_namespace_list_release(out);
	else
		qsort(out->items, out->n, sizeof(*out->items), by_id);
	return err;
}

static int redis_namespace_remove(struct pfs_backend *base, const char *name)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "remove");
	err = redis_call(redis_of(base), REDIS_SESSION, name, &a, 0, &r);
	redis_args_release(&a);
	if (!err)
		freeReplyObject(r);
	return err;
}

static void redis_store_free(struct pfs_store *s)
{
	pfs_store_release(s);
	free(pfs_container_of(s, struct redis_store, base));
}

/* A namespace that was lost with its server's memory is made anew for those who may make it. */
static int redis_root(struct pfs_store *base, uint64_t *id)
{
	struct redis_store *s = pfs_container_of(base, struct redis_store, base);
	struct redis_backend *b = redis_of_store(base);
	redisReply *r = NULL;
	int err;

	do { /* the answer is of the epoch that is current when it comes */
		struct redis_args a = {0};

		redis_arg_str(&a, "root");
		err = ask(base, &a, &r);
	} while (err == -ESTALE);
	if (err == -ENOENT && s->ns->create &&
	    __atomic_load_n(&s->epoch, __ATOMIC_RELAXED) != pfs_store_epoch(base)) {
		err = redis_open_namespace(b, base->ns, true, id, NULL);
		if (!err)
			redis_watch_namespace(b, s->ns);
	} else if (!err) {
		*id = redis_number(r, 1);
		freeReplyObject(r);
	}
	if (!err)
		__atomic_store_n(&s->epoch, pfs_store_epoch(base), __ATOMIC_RELAXED);
	return err;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int redis_lookup(struct pfs_store *s, uint64_t dir, struct pfs_bytes name,
			struct pfs_attr *out)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_u64(&a, dir);
	redis_arg_bytes(&a, name.p, name.len);
	err = redis_call(redis_of_store(s), REDIS_LOOK, s->ns, &a, 0, &r);
	redis_args_release(&a);
	if (err == -REDIS_OTHERWISE) {
		redis_arg_str(&a, "lookup");
		redis_arg_u64(&a, dir);
		redis_arg_bytes(&a, name.p, name.len);
		err = ask(s, &a, &r);
	}
	return err ? err : take_attr(r, out);
}

static int redis_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	struct redis_args a = about(s, "getattr", id);
	redisReply *r = NULL;
	int err = ask(s, &a, &r);

	return err ? err : take_attr(r, out);
}

static int fill_list(const redisReply *r, struct pfs_list *list)
{
	struct pfs_attr attr;
	size_t i;
	int err = 0;

	for (i = 2; i + 2 < r->elements && !err; i += 3) {
		const redisReply *name = r->element[i + 1];

		err = redis_parse_attr(r->element[i + 2], &attr);
		if (!err)
			err = pfs_list_add(list, redis_number(r, i),
					   (struct pfs_bytes){name->str, name->len}, &attr);
	}
	return err;
}

static int redis_list(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		      struct pfs_list **out)
{
	struct redis_args a = {0};
	struct pfs_list *list;
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "list");
	redis_arg_u64(&a, dir);
	redis_arg_u64(&a, cursor);
	redis_arg_u64(&a, limit);
	err = ask(s, &a, &r);
	if (err)
		return err;
	list = pfs_list_new(r->elements / 3);
	err = list ? fill_list(r, list) : -ENOMEM;
	if (!err)
		pfs_list_finish(list, redis_number(r, 1) == 1);
	freeReplyObject(r);
	if (err)
		pfs_list_free(list);
	else
		*out = list;
	return err;
}

static int redis_parent(struct pfs_store *s, uint64_t dir, uint64_t *out)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "parent");
	redis_arg_u64(&a, dir);
	err = ask(s, &a, &r);
	if (err)
		return err;
	*out = redis_number(r, 1);
	freeReplyObject(r);
	return 0;
}

static ssize_t redis_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len)
{
	struct redis_args a = about(s, "read", id);
	struct redis_state state;
	redisReply *r = NULL;
	size_t n, i;
	int err;

	if (off >= PFS_SIZE_MAX)
		off = PFS_SIZE_MAX;
	redis_state_get(redis_of_store(s), &state);
	redis_arg_u64(&a, off);
	redis_arg_u64(&a, len);
	redis_arg_u64(&a, state.session);
	err = ask(s, &a, &r);
	if (err)
		return err;
	n = (size_t)redis_number(r, 1);
	n = n < len ? n : len;
	if (r->elements != 4 || r->element[3]->len != n)
		memset(buf, 0, n);
	for (i = 2; i + 1 < r->elements; i += 2) {
		uint64_t at = redis_number(r, i);
		const redisReply *piece = r->element[i + 1];

		if (at <= n && piece->len <= n - at)
			memcpy((char *)buf + at, piece->str, piece->len);
	}
	freeReplyObject(r);
	return (ssize_t)n;
}

static int redis_seek(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	struct redis_args a = about(s, "seek", id);
	redisReply *r = NULL;
	int err;

	redis_arg_u64(&a, off < PFS_SIZE_MAX ? off : PFS_SIZE_MAX);
	redis_arg_u64(&a, hole);
	err = ask(s, &a, &r);
	if (err)
		return err;
	*out = redis_number(r, 1);
	freeReplyObject(r);
	return 0;
}

static ssize_t redis_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			       size_t len)
{
	struct redis_args a = about(s, "xget", id);
	redisReply *r = NULL, *value;
	ssize_t n;
	int err;

	redis_arg_bytes(&a, name.p, name.len);
	err = ask(s, &a, &r);
	if (err)
		return err;
	value = r->elements > 1 ? r->element[1] : NULL;
	if (!value || value->type != REDIS_REPLY_STRING) {
		n = -EIO;
	} else if (len && len < value->len) {
		n = -ERANGE;
	} else {
		n = (ssize_t)value->len;
		if (len)
			memcpy(buf, value->str, value->len);
	}
	freeReplyObject(r);
	return n;
}

static int redis_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out)
{
	struct redis_args a = about(s, "xlist", id);
	redisReply *r = NULL, *names;
	size_t i;
	int err = ask(s, &a, &r);

	if (err)
		return err;
	names = r->elements > 1 ? r->element[1] : NULL;
	for (i = 0; names && i < names->elements; i++) {
		pfs_buf_add(out, names->element[i]->str, names->element[i]->len);
		pfs_buf_add(out, "", 1);
	}
	freeReplyObject(r);
	return out->failed ? -ENOMEM : 0;
}

/* ---- telling -------------------------------------------------------------------------------- */

static int redis_usage(struct pfs_store *s, struct pfs_usage *out)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "usage");
	err = ask(s, &a, &r);
	if (err)
		return err;
	out->objects = redis_number(r, 1);
	out->bytes = redis_number(r, 2);
	freeReplyObject(r);
	return 0;
}

static int redis_statfs(struct pfs_backend *base, struct pfs_statfs *out)
{
	struct redis_backend *b = redis_of(base);

	pthread_mutex_lock(&b->state_lock);
	*out = b->statfs;
	pthread_mutex_unlock(&b->state_lock);
	return 0;
}

/*
 * An answer is given when the server has done its log's part (appendfsync always makes that durable), so
 * there is nothing to wait for, but for a server that is away.
 */
static int redis_sync(struct pfs_backend *base)
{
	struct redis_backend *b = redis_of(base);
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	if (!pfs_pool_down(&b->pool) || !base->own)
		return 0;
	redis_arg_str(&a, "namespaces");
	err = redis_call(b, REDIS_SESSION, "", &a, 0, &r);
	redis_args_release(&a);
	if (!err)
		freeReplyObject(r);
	return err;
}

static void redis_health(struct pfs_backend *base, struct pfs_health *out)
{
	struct redis_backend *b = redis_of(base);

	pthread_mutex_lock(&b->state_lock);
	*out = b->health;
	pthread_mutex_unlock(&b->state_lock);
	if (pfs_pool_down(&b->pool)) {
		out->ok = false;
		pfs_msg_set(&out->why, "%s cannot be reached; tried again until it can",
			    b->target.where);
	}
}

static void redis_connections(struct pfs_backend *base, struct pfs_connections *out)
{
	pfs_pool_counts(&redis_of(base)->pool, out);
}

static unsigned redis_sessions(struct pfs_backend *base)
{
	unsigned n = __atomic_load_n(&redis_of(base)->sessions, __ATOMIC_RELAXED);

	return n ? n : 1;
}

static int redis_maintain(struct pfs_backend *base, const char *verb, struct pfs_msg *msg)
{
	struct redis_backend *b = redis_of(base);
	struct redis_namespace *ns;
	int err;

	if (!strcmp(verb, "check"))
		return redis_check_tree(b, msg);
	if (strcmp(verb, "sweep") != 0)
		return 0;    /* the server does both by itself */
	err = redis_beat(b); /* dead sessions */
	pthread_mutex_lock(&b->holds.lock);
	for (ns = b->holds.namespaces; ns; ns = ns->next)
		ns->sweep = true;
	pthread_mutex_unlock(&b->holds.lock);
	redis_watch_wake(b);
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int redis_start(struct pfs_backend *base, struct pfs_msg *msg)
{
	struct redis_backend *b = redis_of(base);
	struct redis_conn *conn;
	int err = redis_get(b, pfs_monotonic_ns(), &conn);

	if (err) {
		pfs_msg_set(msg, "%s", pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
		return err;
	}
	if (base->own) /* others' data alone needs no session: their views do what is to be done */
		err = redis_attach(b, conn->ctx, msg);
	redis_put(b, conn, err == -EHOSTDOWN ? REDIS_LOST : err);
	if (!err)
		err = redis_look_at_health(b);
	if (!err && base->own)
		err = redis_watch_start(b);
	if (err && !msg->text[0])
		pfs_msg_set(msg, "%s: %s", b->target.where, strerror(-err));
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}

static void redis_free(struct pfs_backend *base)
{
	struct redis_backend *b = redis_of(base);

	redis_watch_stop(b);
	redis_session_end(b);
	pfs_pool_release(&b->pool);
	pfs_commit_release(&b->queue);
	redis_holds_release(&b->holds);
	redis_target_release(&b->target);
	close(b->wake_fd);
	pthread_mutex_destroy(&b->session_lock);
	pthread_mutex_destroy(&b->state_lock);
	pthread_mutex_destroy(&b->watch_lock);
	pthread_cond_destroy(&b->watch_cond);
	pfs_backend_release(base);
	free(b);
}

static const struct pfs_backend_ops redis_ops = {
	.start = redis_start,
	.free = redis_free,
	.namespace_open = redis_namespace_open,
	.namespace_list = redis_namespace_list,
	.namespace_remove = redis_namespace_remove,
	.store_free = redis_store_free,
	.root = redis_root,
	.alloc_ids = redis_alloc_ids,
	.lookup = redis_lookup,
	.getattr = redis_getattr,
	.list = redis_list,
	.parent = redis_parent,
	.read = redis_read,
	.seek = redis_seek,
	.xattr_get = redis_xattr_get,
	.xattr_list = redis_xattr_list,
	.commit = redis_commit,
	.sync = redis_sync,
	.hold = redis_hold,
	.release = redis_release,
	.lock = redis_lock,
	.heartbeat = redis_heartbeat,
	.catch_up = redis_catch_up,
	.sessions = redis_sessions,
	.usage = redis_usage,
	.statfs = redis_statfs,
	.health = redis_health,
	.connections = redis_connections,
	.maintain = redis_maintain,
};

static void init_locks(struct redis_backend *b)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&b->session_lock, NULL);
	pthread_mutex_init(&b->state_lock, NULL);
	pthread_mutex_init(&b->watch_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->watch_cond, &attr);
	pthread_condattr_destroy(&attr);
}

static void read_options(struct redis_backend *b, const struct pfs_option_set *set)
{
	b->timeout = pfs_option_get(set, "timeout")->num;
	b->retry_timeout = pfs_option_get(set, "retry_timeout")->num;
	b->lease = pfs_option_get(set, "lock_timeout")->num;
	b->rename_limit = (uint64_t)pfs_option_get(set, "rename_limit")->num;
	b->create = pfs_option_get(set, "create")->num;
}

/* hiredis writes to sockets in a way that a server which goes away would end the process. */
static void ignore_sigpipe(void)
{
	struct sigaction old;

	if (!sigaction(SIGPIPE, NULL, &old) && !(old.sa_flags & SA_SIGINFO) &&
	    old.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

static int redis_create(const char *name, const struct pfs_option_set *set,
			struct pfs_backend **out, struct pfs_msg *msg)
{
	struct redis_backend *b = calloc(1, sizeof(*b));
	struct redis_target target = {0};
	/* Two of the connections listen. */
	unsigned size = (unsigned)pfs_option_get(set, "pool_size")->num;
	int err = b ? redis_target_init(&target, set, msg) : -ENOMEM;

	if (!err)
		err = pfs_backend_init(&b->base, &pfs_redis_engine, &redis_ops, name, set);
	if (err) {
		redis_target_release(&target);
		free(b);
		return err;
	}
	b->target = target;
	read_options(b, set);
	init_locks(b);
	redis_holds_init(&b->holds);
	pfs_commit_init(&b->queue, redis_commit_group, b, 8 << 20);
	b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pfs_backend_set_pushing(&b->base, false);
	b->health.ok = true;
	err = b->wake_fd < 0 ? -errno : 0;
	if (!err)
		err = pfs_pool_init(&b->pool, &redis_pool_ops, b, size > 2 ? size - 2 : 1,
				    (unsigned)pfs_option_get(set, "max_overflow")->num,
				    b->retry_timeout);
	if (err) {
		pfs_msg_set(msg, "backend '%s': %s", name, strerror(-err));
		redis_free(&b->base);
		return err;
	}
	ignore_sigpipe();
	*out = &b->base;
	return 0;
}

static void redis_place(const struct pfs_option_set *set, struct pfs_buf *out)
{
	struct redis_target t;
	char *path;

	if (redis_target_init(&t, set, NULL))
		return;
	path = t.socket ? realpath(t.socket, NULL) : NULL;
	if (t.socket)
		pfs_buf_printf(out, "%s %d", path ? path : t.socket, t.db);
	else
		pfs_buf_printf(out, "%s %d %d", t.host ? t.host : "localhost", t.port, t.db);
	free(path);
	redis_target_release(&t);
}

static const struct pfs_option redis_options[] = {
	{.name = "url",
	 .type = PFS_OPT_STRING,
	 .help = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:///PATH[?db=N]"},
	{.name = "host", .type = PFS_OPT_STRING, .def = "localhost", .help = "name or address"},
	{.name = "port",
	 .type = PFS_OPT_INT,
	 .def = "6379",
	 .min = 1,
	 .max = 65535,
	 .help = "TCP port"},
	{.name = "socket", .type = PFS_OPT_PATH, .help = "Unix socket, instead of host and port"},
	{.name = "db",
	 .type = PFS_OPT_INT,
	 .def = "0",
	 .min = 0,
	 .max = 1 << 20,
	 .help = "database"},
	{.name = "user",
	 .type = PFS_OPT_STRING,
	 .help = "user of the server's access control list"},
	{.name = "password", .type = PFS_OPT_STRING, .secret = true, .help = "its password"},
	{.name = "password_file",
	 .type = PFS_OPT_PATH,
	 .help = "a file whose first line is the password"},
	{.name = "create",
	 .type = PFS_OPT_BOOL,
	 .def = "yes",
	 .help = "begin in an empty database"},
	{.name = "rename_limit",
	 .type = PFS_OPT_INT,
	 .def = "10000",
	 .min = 1,
	 .max = 1000000,
	 .help = "the most keys below a directory that is renamed at once; above, tools like mv "
		 "copy"},
	PFS_OPTION_END,
};

const struct pfs_engine pfs_redis_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "redis",
	.help = "a Redis server: each file is the string at NAMESPACE:path",
	.kinds = PFS_KIND_KV,
	.layouts = PFS_LAYOUT_OWN | PFS_LAYOUT_NATIVE,
	.capabilities = PFS_CAP_XATTRS | PFS_CAP_PUSH | PFS_CAP_DURABLE_SYNC |
			PFS_CAP_RANGED_WRITES | PFS_CAP_LOCKS | PFS_CAP_EXPIRY |
			PFS_CAP_NAMESPACES | PFS_CAP_SPARSE | PFS_CAP_PERSISTENT,
	.options = redis_options,
	.create = redis_create,
	.schemes = "redis|rediss|unix",
	.place = redis_place,
	.adopt = redis_adopt,
};
