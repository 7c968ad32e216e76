/*
 * The calls of the store contract: every argument is checked here, so that engines see only what
 * the contract allows; slots that an engine leaves NULL get their meaning here; calls are counted
 * and timed here. Also the parts that every engine embeds, and the listing that engines fill.
 *
 * Nothing here locks, except that start_lock makes one start of a backend out of several. Counters
 * are relaxed atomics: they are told, never decided upon.
 */
#include "backends/backend.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIZE_LIMIT   ((uint64_t)PFS_SIZE_MAX)
#define OFFSET_LIMIT ((uint64_t)INT64_MAX)

const char *const pfs_capability_names[] = {
	"hard_links", "xattrs", "push",	      "durable_sync", "ranged_writes", "locks", "expiry",
	"namespaces", "sparse", "persistent", "lists_all", "late_create", "told_xattrs",
	"trials",     NULL,
};

const char *const pfs_call_names[PFS_CALL_COUNT_] = {
	"lookup", "getattr", "list", "read", "xattr", "commit", "sync",
};

/* ---- counting ------------------------------------------------------------------------------- */

/* What says that the engine is in trouble, as against an answer that the caller may expect. */
static bool is_trouble(int err)
{
	switch (err) {
	case -EIO:
	case -EHOSTDOWN:
	case -EBUSY:
	case -ENOMEM:
	case -ENOSPC:
	case -EROFS:
	case -EACCES:
	case -ESTALE:
		return true;
	default:
		return false;
	}
}

static void count_call(struct pfs_backend *b, enum pfs_call call, int64_t start, int err)
{
	struct pfs_call_stats *st = &b->stats[call];
	int64_t took = pfs_monotonic_ns() - start;
	uint64_t ns = took > 0 ? (uint64_t)took : 0;
	uint64_t us = ns / 1000;
	unsigned bucket = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	if (bucket >= PFS_LATENCY_BUCKETS)
		bucket = PFS_LATENCY_BUCKETS - 1;
	__atomic_fetch_add(&st->nanoseconds, ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&st->buckets[bucket], 1, __ATOMIC_RELAXED);
	if (err < 0 && is_trouble(err))
		__atomic_fetch_add(&st->errors, 1, __ATOMIC_RELAXED);
}

/* calls is the sum of the buckets: one atomic less on every call. */
void pfs_backend_stats(const struct pfs_backend *b, struct pfs_call_stats out[PFS_CALL_COUNT_])
{
	unsigned i, j;

	for (i = 0; i < PFS_CALL_COUNT_; i++) {
		const struct pfs_call_stats *st = &b->stats[i];

		out[i].calls = 0;
		out[i].errors = __atomic_load_n(&st->errors, __ATOMIC_RELAXED);
		out[i].nanoseconds = __atomic_load_n(&st->nanoseconds, __ATOMIC_RELAXED);
		for (j = 0; j < PFS_LATENCY_BUCKETS; j++) {
			out[i].buckets[j] = __atomic_load_n(&st->buckets[j], __ATOMIC_RELAXED);
			out[i].calls += out[i].buckets[j];
		}
	}
}

/* ---- what engines embed --------------------------------------------------------------------- */

int pfs_backend_init(struct pfs_backend *b, const struct pfs_engine *engine,
		     const struct pfs_backend_ops *ops, const char *name,
		     const struct pfs_option_set *set)
{
	*b = (struct pfs_backend){.engine = engine, .ops = ops, .set = set, .own = true, .epoch = 1,
				 .make = true};
	b->pushing = engine->capabilities & PFS_CAP_PUSH;
	b->name = strdup(name);
	b->stats = calloc(PFS_CALL_COUNT_, sizeof(*b->stats));
	if (!b->name || !b->stats) {
		free(b->name);
		free(b->stats);
		b->name = NULL;
		b->stats = NULL;
		return -ENOMEM;
	}
	pthread_mutex_init(&b->start_lock, NULL);
	pthread_mutex_init(&b->watch_lock, NULL);
	return 0;
}

void pfs_backend_release(struct pfs_backend *b)
{
	if (!b->stats)
		return;
	pthread_mutex_destroy(&b->start_lock);
	pthread_mutex_destroy(&b->watch_lock);
	free(b->name);
	free(b->stats);
	b->name = NULL;
	b->stats = NULL;
}

int pfs_store_init(struct pfs_store *s, struct pfs_backend *b, const char *ns)
{
	s->backend = b;
	s->ns = strdup(ns);
	return s->ns ? 0 : -ENOMEM;
}

void pfs_store_release(struct pfs_store *s)
{
	free(s->ns);
	s->ns = NULL;
}

void pfs_backend_notify(struct pfs_backend *b, const struct pfs_event *events, size_t n)
{
	if (n == 0)
		return;
	pthread_mutex_lock(&b->watch_lock);
	if (b->watch_fn)
		b->watch_fn(b->watch_arg, events, n);
	pthread_mutex_unlock(&b->watch_lock);
}

void pfs_backend_set_pushing(struct pfs_backend *b, bool pushing)
{
	static const struct pfs_event all = {.type = PFS_EVENT_ALL};

	if (__atomic_exchange_n(&b->pushing, pushing, __ATOMIC_ACQ_REL) != pushing)
		pfs_backend_notify(b, &all, 1);
}

/* ---- listings ------------------------------------------------------------------------------- */

struct pfs_list *pfs_list_new(size_t n)
{
	struct pfs_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->cap = n ? n : 1;
	list->entries = malloc(list->cap * sizeof(*list->entries));
	if (!list->entries) {
		free(list);
		return NULL;
	}
	return list;
}

int pfs_list_add(struct pfs_list *list, uint64_t cursor, struct pfs_bytes name,
		 const struct pfs_attr *attr)
{
	struct pfs_dirent *e;

	if (list->n == list->cap) {
		e = realloc(list->entries, 2 * list->cap * sizeof(*e));
		if (!e)
			return -ENOMEM;
		list->entries = e;
		list->cap *= 2;
	}
	pfs_buf_add(&list->names, name.p, name.len);
	if (list->names.failed)
		return -ENOMEM;
	e = &list->entries[list->n++];
	e->cursor = cursor;
	e->name = (struct pfs_bytes){NULL, name.len}; /* p: pfs_list_finish() */
	e->attr = *attr;
	return 0;
}

void pfs_list_finish(struct pfs_list *list, bool end)
{
	size_t i, off = 0;

	for (i = 0; i < list->n; i++) {
		list->entries[i].name.p = list->names.data + off;
		off += list->entries[i].name.len;
	}
	list->end = end;
}

void pfs_list_free(struct pfs_list *list)
{
	if (!list)
		return;
	pfs_buf_release(&list->names);
	free(list->entries);
	free(list);
}

void pfs_namespace_list_release(struct pfs_namespace_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct pfs_namespace_list){0};
}

/* ---- argument checks ------------------------------------------------------------------------ */

int pfs_entry_name_check(struct pfs_bytes name)
{
	if (name.len == 0)
		return -EINVAL;
	if (name.len > PFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (name.p[0] == '.' && (name.len == 1 || (name.len == 2 && name.p[1] == '.')))
		return -EINVAL;
	if (memchr(name.p, '/', name.len) || memchr(name.p, '\0', name.len))
		return -EINVAL;
	return 0;
}

static int check_namespace(const char *ns, struct pfs_msg *msg)
{
	if (ns && pfs_entry_name_check(pfs_bytes_str(ns)) == 0)
		return 0;
	pfs_msg_set(
		msg,
		"'%.255s' is no name for a namespace: it must have 1 to %d bytes, no '/', and be "
		"neither '.' nor '..'",
		ns ? ns : "", PFS_NAME_MAX);
	return -EINVAL;
}

static int check_xattr_name(struct pfs_bytes name)
{
	if (name.len == 0 || name.len > PFS_XATTR_NAME_MAX)
		return -ERANGE;
	return memchr(name.p, '\0', name.len) ? -EINVAL : 0;
}

/* [off, off + len) stays below the largest size. */
static int check_range(uint64_t off, uint64_t len)
{
	return off > SIZE_LIMIT || len > SIZE_LIMIT - off ? -EFBIG : 0;
}

static int check_segs(const struct pfs_mutation *m, uint64_t limit)
{
	uint64_t total = 0;
	size_t i;
	int err;

	for (i = 0; i < m->nsegs; i++) {
		const struct pfs_seg *seg = &m->segs[i];

		if (m->op == PFS_OP_APPEND) {
			err = check_range(total, seg->len);
			total += seg->len;
		} else {
			err = check_range(seg->off, seg->len);
			if (!err && seg->off + seg->len > limit)
				err = -EINVAL;
		}
		if (err)
			return err;
	}
	return 0;
}

static int check_create(const struct pfs_mutation *m)
{
	int err = pfs_entry_name_check(m->name);

	if (err)
		return err;
	if (m->id < PFS_ID_FIRST || m->id > PFS_ID_MAX)
		return -EINVAL;
	switch (m->set.mode & S_IFMT) {
	case S_IFREG:
		err = check_range(0, m->size);
		return err ? err : check_segs(m, m->size);
	case S_IFLNK:
		if (m->size > PFS_SYMLINK_MAX)
			return -ENAMETOOLONG;
		return m->size == 0 ? -EINVAL : check_segs(m, m->size);
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return m->size || m->nsegs ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

static int check_copy(const struct pfs_mutation *m)
{
	int err = 0;

	/* The length is cut at the source's size before it is used, so only a wrap is wrong. */
	if (m->offset > OFFSET_LIMIT || m->offset2 > OFFSET_LIMIT || m->length > OFFSET_LIMIT)
		err = -EFBIG;
	if (!err && m->source == m->id && m->offset < m->offset2 + m->length &&
	    m->offset2 < m->offset + m->length)
		err = -EINVAL;
	return err;
}

static int check_rename(const struct pfs_mutation *m)
{
	int err = pfs_entry_name_check(m->name);

	if (!err)
		err = pfs_entry_name_check(m->name2);
	if (!err && (m->flags & PFS_F_NOREPLACE) && (m->flags & PFS_F_EXCHANGE))
		err = -EINVAL;
	return err;
}

static int check_setxattr(const struct pfs_mutation *m)
{
	int err = check_xattr_name(m->name);

	if (err)
		return err;
	if (m->nsegs > 1 || ((m->flags & PFS_F_CREATE) && (m->flags & PFS_F_REPLACE)))
		return -EINVAL;
	return m->nsegs && m->segs[0].len > PFS_XATTR_SIZE_MAX ? -E2BIG : 0;
}

static bool sets_expiry(const struct pfs_mutation *m)
{
	return m->op == PFS_OP_CREATE ? m->set.expires != 0 : m->set.mask & PFS_SET_EXPIRES;
}

/* SETATTR and DISCARD have nothing to check: their fields are whole numbers. */
static int check_mutation(const struct pfs_mutation *m)
{
	switch (m->op) {
	case PFS_OP_CREATE:
		return check_create(m);
	case PFS_OP_REPLACE: {
		int err = check_range(0, m->size);

		return err ? err : check_segs(m, m->size);
	}
	case PFS_OP_WRITE:
	case PFS_OP_APPEND:
		return check_segs(m, SIZE_LIMIT);
	case PFS_OP_STAGE:
		if (m->content < PFS_ID_FIRST || m->content > PFS_ID_MAX)
			return -EINVAL;
		return check_segs(m, SIZE_LIMIT);
	case PFS_OP_TRUNCATE:
	case PFS_OP_PUBLISH:
		return check_range(0, m->size);
	case PFS_OP_PUNCH: /* what is past every size is a hole already */
		return m->offset > OFFSET_LIMIT || m->length > OFFSET_LIMIT - m->offset ? -EFBIG
											: 0;
	case PFS_OP_COPY:
		return check_copy(m);
	case PFS_OP_REMOVE:
	case PFS_OP_LINK:
		return pfs_entry_name_check(m->name);
	case PFS_OP_RENAME:
		return check_rename(m);
	case PFS_OP_SETXATTR:
		return check_setxattr(m);
	case PFS_OP_REMOVEXATTR:
		return check_xattr_name(m->name);
	case PFS_OP_SETATTR:
	case PFS_OP_DISCARD:
		return 0;
	}
	return -EINVAL;
}

/* ---- backends ------------------------------------------------------------------------------- */

int pfs_backend_new(const char *name, const struct pfs_engine *engine,
		    const struct pfs_option_set *set, struct pfs_backend **out, struct pfs_msg *msg)
{
	int err;

	if (engine->spec_version != PFS_SPEC_VERSION) {
		pfs_msg_set(
			msg,
			"engine '%s' was built for version %u of the store contract, this is %u",
			engine->name, engine->spec_version, (unsigned)PFS_SPEC_VERSION);
		return -EOPNOTSUPP;
	}
	err = engine->create(name, set, out, msg);
	if (!err && set && pfs_option_find(set->table, "create_on_write"))
		(*out)->make = !pfs_option_get(set, "create_on_write")->num;
	return err;
}

void pfs_backend_watch(struct pfs_backend *b, pfs_watch_fn fn, void *arg)
{
	assert(!fn || !b->started);
	pthread_mutex_lock(&b->watch_lock);
	b->watch_fn = fn;
	b->watch_arg = arg;
	pthread_mutex_unlock(&b->watch_lock);
}

static int start(struct pfs_backend *b, bool make, struct pfs_msg *msg)
{
	bool before;
	int err = 0;

	if (__atomic_load_n(&b->started, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&b->start_lock);
	if (!b->started) {
		before = b->make;
		b->make |= make;
		err = b->ops->start ? b->ops->start(b, msg) : 0;
		/* What was there once may have to be made again, after others have removed it. */
		b->make = err ? before : true;
		if (!make || !err)
			__atomic_store_n(&b->unmade, err == -ENODATA, __ATOMIC_RELAXED);
		if (!err)
			__atomic_store_n(&b->started, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&b->start_lock);
	return err;
}

int pfs_backend_start(struct pfs_backend *b, struct pfs_msg *msg)
{
	return start(b, false, msg);
}

int pfs_backend_make(struct pfs_backend *b, struct pfs_msg *msg)
{
	return start(b, true, msg);
}

void pfs_backend_free(struct pfs_backend *b)
{
	if (b)
		b->ops->free(b);
}

int pfs_backend_open(struct pfs_backend *b, const char *ns, bool create, struct pfs_store **out,
		     struct pfs_msg *msg)
{
	int err = check_namespace(ns, msg);

	if (err)
		return err;
	if (!__atomic_load_n(&b->started, __ATOMIC_ACQUIRE)) {
		pfs_msg_set(msg, "backend '%s' is not connected", b->name);
		return -EHOSTDOWN;
	}
	return b->ops->namespace_open(b, ns, create, out, msg);
}

int pfs_backend_namespaces(struct pfs_backend *b, struct pfs_namespace_list *out)
{
	*out = (struct pfs_namespace_list){0};
	return b->ops->namespace_list ? b->ops->namespace_list(b, out) : -EOPNOTSUPP;
}

int pfs_backend_namespace_remove(struct pfs_backend *b, const char *ns)
{
	if (check_namespace(ns, NULL))
		return -EINVAL;
	return b->ops->namespace_remove ? b->ops->namespace_remove(b, ns) : -EOPNOTSUPP;
}

int pfs_backend_sync(struct pfs_backend *b)
{
	int64_t start = pfs_monotonic_ns();
	int err = b->ops->sync ? b->ops->sync(b) : -EOPNOTSUPP;

	count_call(b, PFS_CALL_SYNC, start, err);
	return err;
}

int pfs_backend_heartbeat(struct pfs_backend *b)
{
	return b->ops->heartbeat ? b->ops->heartbeat(b) : 0;
}

int pfs_backend_catch_up(struct pfs_backend *b)
{
	return b->ops->catch_up ? b->ops->catch_up(b) : 0;
}

unsigned pfs_backend_sessions(struct pfs_backend *b)
{
	return b->ops->sessions ? b->ops->sessions(b) : 1;
}

int pfs_backend_statfs(struct pfs_backend *b, struct pfs_statfs *out)
{
	*out = (struct pfs_statfs){0};
	return b->ops->statfs ? b->ops->statfs(b, out) : 0;
}

void pfs_backend_health(struct pfs_backend *b, struct pfs_health *out)
{
	*out = (struct pfs_health){.ok = true};
	if (__atomic_load_n(&b->unmade, __ATOMIC_RELAXED))
		pfs_msg_set(&out->note, "nothing is kept here yet: what is needed is made with the "
					"first write");
	else if (b->ops->health)
		b->ops->health(b, out);
	else if (!(b->engine->capabilities & PFS_CAP_DURABLE_SYNC))
		pfs_msg_set(&out->durable, "the %s engine cannot promise it", b->engine->name);
}

void pfs_backend_connections(struct pfs_backend *b, struct pfs_connections *out)
{
	*out = (struct pfs_connections){0};
	if (b->ops->connections)
		b->ops->connections(b, out);
}

int pfs_backend_maintain(struct pfs_backend *b, const char *verb, struct pfs_msg *msg)
{
	static const char *const verbs[] = {"sweep", "analyze", "compact", "check"};
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(verbs) && strcmp(verb, verbs[i]) != 0; i++)
		;
	if (i == PFS_ARRAY_SIZE(verbs)) {
		pfs_msg_set(msg, "no such verb '%.100s'; available: analyze, check, compact, sweep",
			    verb);
		return -EINVAL;
	}
	return b->ops->maintain ? b->ops->maintain(b, verb, msg) : -EOPNOTSUPP;
}

uint32_t pfs_backend_capabilities(const struct pfs_backend *b)
{
	return b->engine->capabilities;
}

bool pfs_backend_pushing(const struct pfs_backend *b)
{
	return __atomic_load_n(&b->pushing, __ATOMIC_ACQUIRE);
}

/* ---- stores --------------------------------------------------------------------------------- */

void pfs_store_free(struct pfs_store *s)
{
	if (s)
		s->backend->ops->store_free(s);
}

uint64_t pfs_store_epoch(const struct pfs_store *s)
{
	return __atomic_load_n(&s->backend->epoch, __ATOMIC_ACQUIRE);
}

int pfs_store_root(struct pfs_store *s, uint64_t *id)
{
	return s->backend->ops->root(s, id);
}

int pfs_store_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first)
{
	if (n < 1 || n > 65536)
		return -EINVAL;
	return s->backend->ops->alloc_ids(s, n, first);
}

int pfs_store_lookup(struct pfs_store *s, uint64_t dir, struct pfs_bytes name, struct pfs_attr *out)
{
	int64_t start;
	int err = pfs_entry_name_check(name);

	if (err)
		return err;
	start = pfs_monotonic_ns();
	err = s->backend->ops->lookup(s, dir, name, out);
	count_call(s->backend, PFS_CALL_LOOKUP, start, err);
	return err;
}

int pfs_store_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	int64_t start = pfs_monotonic_ns();
	int err = s->backend->ops->getattr(s, id, out);

	count_call(s->backend, PFS_CALL_GETATTR, start, err);
	return err;
}

int pfs_store_list(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		   struct pfs_list **out)
{
	int64_t start;
	int err;

	if (limit < 1 || limit > 4096)
		return -EINVAL;
	start = pfs_monotonic_ns();
	err = s->backend->ops->list(s, dir, cursor, limit, out);
	count_call(s->backend, PFS_CALL_LIST, start, err);
	return err;
}

int pfs_store_parent(struct pfs_store *s, uint64_t dir, uint64_t *out)
{
	return s->backend->ops->parent ? s->backend->ops->parent(s, dir, out) : -EOPNOTSUPP;
}

ssize_t pfs_store_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len)
{
	int64_t start;
	ssize_t n;

	if (off > OFFSET_LIMIT)
		return -EINVAL;
	if (len > OFFSET_LIMIT - off)
		len = OFFSET_LIMIT - off;
	start = pfs_monotonic_ns();
	n = s->backend->ops->read(s, id, off, buf, len);
	count_call(s->backend, PFS_CALL_READ, start, n < 0 ? (int)n : 0);
	return n;
}

/* For engines without holes: one piece of data, and the hole that every object ends with. */
static int seek_without_holes(struct pfs_store *s, uint64_t id, uint64_t off, bool hole,
			      uint64_t *out)
{
	struct pfs_attr attr;
	int err = s->backend->ops->getattr(s, id, &attr);

	if (err)
		return err;
	if (off >= attr.size)
		return -ENXIO;
	*out = hole ? attr.size : off;
	return 0;
}

int pfs_store_snapshot(struct pfs_store *s, uint64_t id, int *fd)
{
	int64_t start = pfs_monotonic_ns();
	int err;

	if (!s->backend->ops->snapshot)
		return -EOPNOTSUPP;
	err = s->backend->ops->snapshot(s, id, fd);
	count_call(s->backend, PFS_CALL_READ, start, err);
	return err;
}

int pfs_store_intake(struct pfs_store *s, uint64_t id, struct pfs_intake **out)
{
	int err;

	if (!s->backend->ops->intake)
		return -EOPNOTSUPP;
	err = s->backend->ops->intake(s, id, out);
	if (!err)
		(*out)->backend = s->backend;
	return err;
}

int pfs_intake_write(struct pfs_intake *in, int64_t off, struct pfs_bytes data)
{
	return in->ops->write(in, off, data);
}

int pfs_intake_finish(struct pfs_intake *in)
{
	int64_t start = pfs_monotonic_ns();
	int err = in->ops->finish(in);

	count_call(in->backend, PFS_CALL_COMMIT, start, err);
	return err;
}

void pfs_intake_free(struct pfs_intake *in)
{
	if (in)
		in->ops->free(in);
}

int pfs_store_seek(struct pfs_store *s, uint64_t id, uint64_t off, bool hole, uint64_t *out)
{
	const struct pfs_backend_ops *ops = s->backend->ops;
	int64_t start = pfs_monotonic_ns();
	int err = ops->seek ? ops->seek(s, id, off, hole, out)
			    : seek_without_holes(s, id, off, hole, out);

	count_call(s->backend, PFS_CALL_READ, start, err);
	return err;
}

ssize_t pfs_store_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			    size_t len)
{
	int64_t start;
	ssize_t n = check_xattr_name(name);

	if (n)
		return n;
	if (!s->backend->ops->xattr_get)
		return -EOPNOTSUPP;
	start = pfs_monotonic_ns();
	n = s->backend->ops->xattr_get(s, id, name, buf, len);
	count_call(s->backend, PFS_CALL_XATTR, start, n < 0 ? (int)n : 0);
	return n;
}

int pfs_store_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out)
{
	int64_t start;
	int err;

	if (!s->backend->ops->xattr_list)
		return -EOPNOTSUPP;
	start = pfs_monotonic_ns();
	err = s->backend->ops->xattr_list(s, id, out);
	count_call(s->backend, PFS_CALL_XATTR, start, err);
	return err;
}

static int check_trial(const struct pfs_store *s, const struct pfs_batch *batch)
{
	enum pfs_op op = batch->ops[0].op;

	if (!(s->backend->engine->capabilities & PFS_CAP_TRIALS))
		return -EOPNOTSUPP;
	if (batch->nops != 1 || batch->ops[0].content)
		return -EINVAL;
	return op == PFS_OP_WRITE || op == PFS_OP_APPEND || op == PFS_OP_REPLACE ? 0 : -EINVAL;
}

int pfs_store_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	int64_t start;
	size_t i;
	int err;

	pfs_msg_clear(&batch->msg);
	batch->failed = 0;
	batch->final = false;
	if (batch->nops == 0)
		return 0;
	if (!s->backend->ops->commit)
		return -EOPNOTSUPP;
	err = batch->trial ? check_trial(s, batch) : 0;
	if (err)
		return err;
	if (batch->epoch != pfs_store_epoch(s))
		return -ESTALE;
	for (i = 0; i < batch->nops; i++) {
		err = check_mutation(&batch->ops[i]);
		if (!err && sets_expiry(&batch->ops[i]) &&
		    !(s->backend->engine->capabilities & PFS_CAP_EXPIRY))
			err = -EOPNOTSUPP;
		if (err) {
			batch->failed = i;
			return err;
		}
	}
	start = pfs_monotonic_ns();
	err = s->backend->ops->commit(s, batch);
	count_call(s->backend, PFS_CALL_COMMIT, start, err);
	return err;
}

void pfs_store_hold(struct pfs_store *s, uint64_t id)
{
	if (s->backend->ops->hold)
		s->backend->ops->hold(s, id);
}

void pfs_store_release_id(struct pfs_store *s, uint64_t id)
{
	if (s->backend->ops->release)
		s->backend->ops->release(s, id);
}

int pfs_store_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
		   struct pfs_lock *conflict)
{
	struct pfs_lock ignored;

	if (lock->start > lock->end || lock->mode > PFS_LOCK_EXCLUSIVE)
		return -EINVAL;
	if (!s->backend->ops->lock)
		return -EOPNOTSUPP;
	return s->backend->ops->lock(s, id, lock, conflict ? conflict : &ignored);
}

/*
 * Polls, from 1 ms up to 32 ms: the holder may be another process, which wakes nobody here. A wait
 * is cut so that the last attempt is made when the time is up.
 */
int pfs_store_lock_wait(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
			struct pfs_lock *conflict, int64_t timeout_ns)
{
	int64_t deadline = pfs_monotonic_ns() + timeout_ns;
	int64_t pause = 1000000;

	for (;;) {
		int err = pfs_store_lock(s, id, lock, conflict);
		int64_t left = deadline - pfs_monotonic_ns();
		struct timespec ts = {0};

		if (err != -EAGAIN || left <= 0)
			return err;
		ts.tv_nsec = (long)(left < pause ? left : pause);
		nanosleep(&ts, NULL);
		if (pause < 32000000)
			pause *= 2;
	}
}

int pfs_store_usage(struct pfs_store *s, struct pfs_usage *out)
{
	*out = (struct pfs_usage){0};
	return s->backend->ops->usage ? s->backend->ops->usage(s, out) : -EOPNOTSUPP;
}
