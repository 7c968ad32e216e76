/*
 * See lib_fault.h. The wrapper is an engine of its own whose stores wrap the inner stores; `lock`
 * guards the plan and its counters.
 */
#include "tests/contract/lib_fault.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

struct fault_backend {
	struct pfs_backend base;
	struct pfs_engine engine; /* the inner one's, under another name */
	struct pfs_backend *inner;
	pthread_mutex_t lock;
	struct fault plan;
	unsigned seen, fired;
};

struct fault_store {
	struct pfs_store base;
	struct pfs_store *inner;
};

static struct fault_backend *fault_backend(struct pfs_backend *b)
{
	return pfs_container_of(b, struct fault_backend, base);
}

static struct pfs_store *inner_store(struct pfs_store *s)
{
	return pfs_container_of(s, struct fault_store, base)->inner;
}

/* Is it this call's turn? Then *err is what it fails with. Returns whether to make the call. */
static bool proceed(struct pfs_backend *b, unsigned call, int *err)
{
	struct fault_backend *fb = fault_backend(b);
	struct fault plan;
	unsigned times;
	bool hit = false;

	pthread_mutex_lock(&fb->lock);
	plan = fb->plan;
	times = plan.times ? plan.times : 1;
	if (plan.calls & call) {
		fb->seen++;
		hit = fb->seen >= plan.nth && fb->seen - plan.nth < times;
		fb->fired += hit;
	}
	pthread_mutex_unlock(&fb->lock);
	*err = hit ? plan.err : 0;
	if (hit && plan.pause_ns) {
		struct timespec ts = {plan.pause_ns / NSEC_PER_SEC, plan.pause_ns % NSEC_PER_SEC};

		nanosleep(&ts, NULL);
	}
	if (hit)
		pfs_error_text_set("made to fail by the test");
	return !hit || plan.after;
}

/* Make `call` unless the plan says otherwise; the plan's error takes the place of the answer's. */
#define FAULT_CALL(b, kind, answer, call)                                                          \
	do {                                                                                       \
		int fault_err_;                                                                    \
		if (proceed(b, kind, &fault_err_))                                                 \
			(answer) = (call);                                                         \
		if (fault_err_)                                                                    \
			(answer) = fault_err_;                                                     \
	} while (0)

/* ---- backends ------------------------------------------------------------------------------- */

static void forward(void *arg, const struct pfs_event *events, size_t n)
{
	struct fault_backend *fb = arg;
	uint64_t epoch = __atomic_load_n(&fb->inner->epoch, __ATOMIC_ACQUIRE);

	__atomic_store_n(&fb->base.epoch, epoch, __ATOMIC_RELEASE);
	pfs_backend_notify(&fb->base, events, n);
}

static int fault_start(struct pfs_backend *b, struct pfs_msg *msg)
{
	struct fault_backend *fb = fault_backend(b);
	int err = 0;

	pfs_msg_set(msg, "made to fail by the test");
	FAULT_CALL(b, FAULT_START, err, pfs_backend_start(fb->inner, msg));
	if (!err)
		__atomic_store_n(&b->epoch, fb->inner->epoch, __ATOMIC_RELEASE);
	return err;
}

static void fault_free(struct pfs_backend *b)
{
	struct fault_backend *fb = fault_backend(b);

	pfs_backend_free(fb->inner);
	pthread_mutex_destroy(&fb->lock);
	pfs_backend_release(b);
	free(fb);
}

static int fault_open(struct pfs_backend *b, const char *ns, bool create, struct pfs_store **out,
		      struct pfs_msg *msg)
{
	struct fault_store *s = calloc(1, sizeof(*s));
	int err = s ? pfs_store_init(&s->base, b, ns) : -ENOMEM;

	if (!err)
		FAULT_CALL(b, FAULT_OPEN, err,
			   pfs_backend_open(fault_backend(b)->inner, ns, create, &s->inner, msg));
	if (!err) {
		*out = &s->base;
		return 0;
	}
	if (s) {
		pfs_store_free(s->inner);
		pfs_store_release(&s->base);
	}
	free(s);
	return err;
}

static void fault_store_free(struct pfs_store *s)
{
	pfs_store_free(inner_store(s));
	pfs_store_release(s);
	free(pfs_container_of(s, struct fault_store, base));
}

static int fault_namespaces(struct pfs_backend *b, struct pfs_namespace_list *out)
{
	int err = 0;

	FAULT_CALL(b, FAULT_OPEN, err, pfs_backend_namespaces(fault_backend(b)->inner, out));
	if (err)
		pfs_namespace_list_release(out);
	return err;
}

static int fault_namespace_remove(struct pfs_backend *b, const char *ns)
{
	int err = 0;

	FAULT_CALL(b, FAULT_OPEN, err, pfs_backend_namespace_remove(fault_backend(b)->inner, ns));
	return err;
}

static int fault_sync(struct pfs_backend *b)
{
	int err = 0;

	FAULT_CALL(b, FAULT_SYNC, err, pfs_backend_sync(fault_backend(b)->inner));
	return err;
}

static int fault_heartbeat(struct pfs_backend *b)
{
	return pfs_backend_heartbeat(fault_backend(b)->inner);
}

static unsigned fault_sessions(struct pfs_backend *b)
{
	return pfs_backend_sessions(fault_backend(b)->inner);
}

static int fault_statfs(struct pfs_backend *b, struct pfs_statfs *out)
{
	return pfs_backend_statfs(fault_backend(b)->inner, out);
}

static void fault_health(struct pfs_backend *b, struct pfs_health *out)
{
	pfs_backend_health(fault_backend(b)->inner, out);
}

static void fault_connections(struct pfs_backend *b, struct pfs_connections *out)
{
	pfs_backend_connections(fault_backend(b)->inner, out);
}

static int fault_maintain(struct pfs_backend *b, const char *verb, struct pfs_msg *msg)
{
	return pfs_backend_maintain(fault_backend(b)->inner, verb, msg);
}

/* ---- stores --------------------------------------------------------------------------------- */

static int fault_root(struct pfs_store *s, uint64_t *id)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_GETATTR, err, pfs_store_root(inner_store(s), id));
	return err;
}

static int fault_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_IDS, err, pfs_store_alloc_ids(inner_store(s), n, first));
	return err;
}

static int fault_lookup(struct pfs_store *s, uint64_t dir, struct pfs_bytes name,
			struct pfs_attr *out)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_LOOKUP, err, pfs_store_lookup(inner_store(s), dir, name, out));
	return err;
}

static int fault_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_GETATTR, err, pfs_store_getattr(inner_store(s), id, out));
	return err;
}

static int fault_list(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		      struct pfs_list **out)
{
	struct pfs_list *list = NULL;
	int err = 0;

	FAULT_CALL(s->backend, FAULT_LIST, err,
		   pfs_store_list(inner_store(s), dir, cursor, limit, &list));
	if (err)
		pfs_list_free(list);
	else
		*out = list;
	return err;
}

static int fault_parent(struct pfs_store *s, uint64_t dir, uint64_t *out)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_GETATTR, err, pfs_store_parent(inner_store(s), dir, out));
	return err;
}

static ssize_t fault_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len)
{
	ssize_t n = 0;

	FAULT_CALL(s->backend, FAULT_READ, n, pfs_store_read(inner_store(s), id, off, buf, len));
	return n;
}

static int fault_seek(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_READ, err, pfs_store_seek(inner_store(s), id, off, hole, out));
	return err;
}

static ssize_t fault_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			       size_t len)
{
	ssize_t n = 0;

	FAULT_CALL(s->backend, FAULT_XATTR, n,
		   pfs_store_xattr_get(inner_store(s), id, name, buf, len));
	return n;
}

static int fault_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_XATTR, err, pfs_store_xattr_list(inner_store(s), id, out));
	return err;
}

static int fault_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	struct fault_backend *fb = fault_backend(s->backend);
	int err = 0;

	FAULT_CALL(s->backend, FAULT_COMMIT, err, pfs_store_commit(inner_store(s), batch));
	pthread_mutex_lock(&fb->lock);
	batch->final = err == -EIO && fb->plan.after;
	pthread_mutex_unlock(&fb->lock);
	return err;
}

static void fault_hold(struct pfs_store *s, uint64_t id)
{
	pfs_store_hold(inner_store(s), id);
}

static void fault_release(struct pfs_store *s, uint64_t id)
{
	pfs_store_release_id(inner_store(s), id);
}

static int fault_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
		      struct pfs_lock *conflict)
{
	int err = 0;

	FAULT_CALL(s->backend, FAULT_LOCK, err, pfs_store_lock(inner_store(s), id, lock, conflict));
	return err;
}

static int fault_usage(struct pfs_store *s, struct pfs_usage *out)
{
	return pfs_store_usage(inner_store(s), out);
}

static const struct pfs_backend_ops fault_ops = {
	.start = fault_start,
	.free = fault_free,
	.namespace_open = fault_open,
	.namespace_list = fault_namespaces,
	.namespace_remove = fault_namespace_remove,
	.store_free = fault_store_free,
	.root = fault_root,
	.alloc_ids = fault_alloc_ids,
	.lookup = fault_lookup,
	.getattr = fault_getattr,
	.list = fault_list,
	.parent = fault_parent,
	.read = fault_read,
	.seek = fault_seek,
	.xattr_get = fault_xattr_get,
	.xattr_list = fault_xattr_list,
	.commit = fault_commit,
	.sync = fault_sync,
	.hold = fault_hold,
	.release = fault_release,
	.lock = fault_lock,
	.heartbeat = fault_heartbeat,
	.sessions = fault_sessions,
	.usage = fault_usage,
	.statfs = fault_statfs,
	.health = fault_health,
	.connections = fault_connections,
	.maintain = fault_maintain,
};

/* ---- planning ------------------------------------------------------------------------------- */

struct pfs_backend *fault_new(struct pfs_backend *inner)
{
	struct fault_backend *fb = calloc(1, sizeof(*fb));
	int err;

	assert(fb && !inner->started);
	fb->engine = *inner->engine;
	fb->engine.name = "fault";
	fb->inner = inner;
	err = pfs_backend_init(&fb->base, &fb->engine, &fault_ops, inner->name, inner->set);
	assert(!err);
	(void)err;
	pthread_mutex_init(&fb->lock, NULL);
	pfs_backend_watch(inner, forward, fb);
	return &fb->base;
}

void fault_plan(struct pfs_backend *b, const struct fault *plan)
{
	struct fault_backend *fb = fault_backend(b);

	pthread_mutex_lock(&fb->lock);
	fb->plan = plan ? *plan : (struct fault){0};
	fb->seen = fb->fired = 0;
	pthread_mutex_unlock(&fb->lock);
}

unsigned fault_seen(struct pfs_backend *b)
{
	struct fault_backend *fb = fault_backend(b);
	unsigned n;

	pthread_mutex_lock(&fb->lock);
	n = fb->seen;
	pthread_mutex_unlock(&fb->lock);
	return n;
}

unsigned fault_fired(struct pfs_backend *b)
{
	struct fault_backend *fb = fault_backend(b);
	unsigned n;

	pthread_mutex_lock(&fb->lock);
	n = fb->fired;
	pthread_mutex_unlock(&fb->lock);
	return n;
}

struct pfs_backend *fault_inner(struct pfs_backend *b)
{
	return fault_backend(b)->inner;
}
