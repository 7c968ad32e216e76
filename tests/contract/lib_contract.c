/*
 * See lib_contract.h. The fixture gives each case a directory, a backend and a store of its own, and
 * takes them down through the engine's own check.
 */
#include "tests/contract/lib_contract.h"

#include "tests/contract/lib_postgres.h"
#include "tests/contract/lib_redis.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct contract_engine contract_engines[] = {
	{"memory", .file = false, .shared = false},
	{"postgres", .shared = true, .server = "PERSISTFS_TEST_POSTGRES", .prepare = pq_prepare,
	 .remove = pq_remove},
	{"redis", .shared = true, .server = "PERSISTFS_TEST_REDIS", .prepare = rd_prepare,
	 .remove = rd_remove},
	{"sqlite", .file = true, .shared = true},
	{NULL},
};

/* ---- fixture -------------------------------------------------------------------------------- */

struct pfs_backend *c_backend(struct contract *c, pfs_watch_fn watch, void *arg)
{
	const struct pfs_engine *engine = pfs_engine_find(c->engine->name);
	struct pfs_backend *b = NULL;
	struct pfs_msg msg = {{0}};
	int err = pfs_backend_new("it", engine, &c->set, &b, &msg);

	if (!err && watch)
		pfs_backend_watch(b, watch, arg);
	if (!err)
		err = pfs_backend_start(b, &msg);
	if (err)
		fail_msg("cannot start %s: %s (%s)", c->engine->name, msg.text, strerror(-err));
	return b;
}

void c_option(struct contract *c, const char *name, const char *value)
{
	struct pfs_msg msg = {{0}};

	if (pfs_option_set_text(&c->set, name, value, &msg) != 0)
		fail_msg("%s = %s: %s", name, value, msg.text);
}

static void open_store(struct contract *c)
{
	struct pfs_msg msg = {{0}};
	int err;

	c->b = c_backend(c, NULL, NULL);
	err = pfs_backend_open(c->b, "test", true, &c->s, &msg);
	if (err)
		fail_msg("cannot open the store: %s (%s)", msg.text, strerror(-err));
	assert_int_equal(pfs_store_root(c->s, &c->root), 0);
	c->next_id = c->last_id = 0;
}

int contract_setup(void **state)
{
	struct contract *c = calloc(1, sizeof(*c));
	const struct pfs_engine *engine;
	const char *tmp = getenv("TMPDIR");
	char path[300];

	assert_non_null(c);
	c->engine = *state;
	*state = c;
	snprintf(c->dir, sizeof(c->dir), "%.200s/contract-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(c->dir));
	engine = pfs_engine_find(c->engine->name);
	assert_non_null(engine);
	c->table = pfs_engine_options(engine);
	assert_non_null(c->table);
	assert_int_equal(pfs_option_set_init(&c->set, c->table), 0);
	if (c->engine->file) {
		snprintf(path, sizeof(path), "%s/store.db", c->dir);
		c_option(c, "path", path);
	}
	if (c->engine->prepare)
		c->engine->prepare(c);
	open_store(c);
	return 0;
}

void c_reopen(struct contract *c)
{
	pfs_store_free(c->s);
	pfs_backend_free(c->b);
	c->s = NULL;
	c->b = NULL;
	open_store(c);
}

static void remove_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

int contract_teardown(void **state)
{
	struct contract *c = *state;
	struct pfs_msg msg = {{0}};
	int err = c->b ? pfs_backend_maintain(c->b, "check", &msg) : 0;

	if (err && err != -EOPNOTSUPP)
		print_error("the store is damaged: %s (%s)\n", msg.text, strerror(-err));
	pfs_store_free(c->s);
	pfs_backend_free(c->b);
	if (c->engine->remove)
		c->engine->remove(c);
	pfs_option_set_release(&c->set);
	free(c->table);
	remove_dir(c->dir);
	free(c);
	return err == -EOPNOTSUPP ? 0 : err;
}

bool c_has(const struct contract *c, uint32_t capabilities)
{
	return (pfs_backend_capabilities(c->b) & capabilities) == capabilities;
}

/* ---- mutations ------------------------------------------------------------------------------ */

uint64_t c_id(struct contract *c)
{
	if (c->next_id == c->last_id) {
		assert_int_equal(pfs_store_alloc_ids(c->s, 64, &c->next_id), 0);
		c->last_id = c->next_id + 64;
	}
	return c->next_id++;
}

struct pfs_mutation m_create(uint64_t id, uint64_t dir, const char *name, uint32_t mode)
{
	return (struct pfs_mutation){
		.op = PFS_OP_CREATE,
		.id = id,
		.dir = dir,
		.name = pfs_bytes_str(name),
		.set = {.mode = mode, .uid = 1000, .gid = 100, .mtime = 1234567890123456789},
	};
}

struct pfs_mutation m_content(enum pfs_op op, uint64_t id, const struct pfs_seg *segs, size_t nsegs)
{
	struct pfs_mutation m = {.op = op, .id = id, .segs = segs, .nsegs = nsegs};
	size_t i;

	if (op == PFS_OP_STAGE) {
		m.content = id;
		m.id = 0;
	}
	for (i = 0; op == PFS_OP_REPLACE && i < nsegs; i++) {
		if (segs[i].off + segs[i].len > m.size)
			m.size = segs[i].off + segs[i].len;
	}
	return m;
}

struct pfs_mutation m_size(enum pfs_op op, uint64_t id, uint64_t size)
{
	return (struct pfs_mutation){.op = op, .id = id, .size = size};
}

struct pfs_mutation m_punch(uint64_t id, uint64_t off, uint64_t len)
{
	return (struct pfs_mutation){.op = PFS_OP_PUNCH, .id = id, .offset = off, .length = len};
}

struct pfs_mutation m_copy(uint64_t from, uint64_t off, uint64_t len, uint64_t to, uint64_t off2)
{
	return (struct pfs_mutation){
		.op = PFS_OP_COPY,
		.id = to,
		.source = from,
		.offset = off,
		.length = len,
		.offset2 = off2,
	};
}

struct pfs_mutation m_remove(uint64_t dir, const char *name, uint32_t flags)
{
	return (struct pfs_mutation){
		.op = PFS_OP_REMOVE, .dir = dir, .name = pfs_bytes_str(name), .flags = flags};
}

struct pfs_mutation m_rename(uint64_t dir, const char *name, uint64_t dir2, const char *name2,
			     uint32_t flags)
{
	return (struct pfs_mutation){
		.op = PFS_OP_RENAME,
		.dir = dir,
		.name = pfs_bytes_str(name),
		.dir2 = dir2,
		.name2 = pfs_bytes_str(name2),
		.flags = flags,
	};
}

struct pfs_mutation m_link(uint64_t id, uint64_t dir, const char *name)
{
	return (struct pfs_mutation){
		.op = PFS_OP_LINK, .id = id, .dir = dir, .name = pfs_bytes_str(name)};
}

struct pfs_mutation m_setattr(uint64_t id, uint32_t mask, uint32_t mode)
{
	return (struct pfs_mutation){
		.op = PFS_OP_SETATTR, .id = id, .set = {.mask = mask, .mode = mode}};
}

struct pfs_mutation m_setxattr(uint64_t id, const char *name, const struct pfs_seg *value,
			       uint32_t flags)
{
	return (struct pfs_mutation){
		.op = PFS_OP_SETXATTR,
		.id = id,
		.name = pfs_bytes_str(name),
		.segs = value,
		.nsegs = value ? 1 : 0,
		.flags = flags,
	};
}

struct pfs_mutation m_removexattr(uint64_t id, const char *name)
{
	return (struct pfs_mutation){
		.op = PFS_OP_REMOVEXATTR, .id = id, .name = pfs_bytes_str(name)};
}

int s_batch(struct pfs_store *s, struct pfs_mutation *m, size_t n, size_t *failed)
{
	struct pfs_batch batch = {
		.ops = m,
		.nops = n,
		.now = pfs_now_ns(),
		.epoch = pfs_store_epoch(s),
	};
	int err = pfs_store_commit(s, &batch);

	if (failed)
		*failed = batch.failed;
	return err;
}

int c_try(struct contract *c, struct pfs_mutation m)
{
	return s_batch(c->s, &m, 1, NULL);
}

void c_assert_attr_equal(const struct pfs_attr *a, const struct pfs_attr *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->nlink, b->nlink);
	assert_int_equal(a->rdev, b->rdev);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->stored, b->stored);
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->content_version, b->content_version);
	assert_int_equal(a->mtime, b->mtime);
	assert_int_equal(a->ctime, b->ctime);
	assert_int_equal(a->btime, b->btime);
	assert_false(a->derived || a->unsized || a->intake || b->derived || b->unsized || b->intake); /* of views alone */
}

void c_do(struct contract *c, struct pfs_mutation *m)
{
	struct pfs_attr attr;
	int err = s_batch(c->s, m, 1, NULL);

	if (err)
		fail_msg("operation %d failed: %s (%s)", m->op, strerror(-err), pfs_error_text());
	switch (m->op) {
	case PFS_OP_STAGE:
	case PFS_OP_DISCARD:
		return;
	case PFS_OP_REMOVE:
		if (m->other.nlink == 0)
			return;
		attr = c_attr(c, m->other.id);
		c_assert_attr_equal(&m->other, &attr);
		return;
	case PFS_OP_RENAME:
		if (m->other.id && m->other.nlink) {
			attr = c_attr(c, m->other.id);
			c_assert_attr_equal(&m->other, &attr);
		}
		break;
	default:
		assert_int_equal(m->attr.id, m->id);
		break;
	}
	attr = c_attr(c, m->attr.id);
	c_assert_attr_equal(&m->attr, &attr);
}

/* ---- whole steps ---------------------------------------------------------------------------- */

uint64_t c_file(struct contract *c, uint64_t dir, const char *name, const char *text)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = m_create(c_id(c), dir, name, S_IFREG | 0644);

	m.segs = &seg;
	m.nsegs = seg.len ? 1 : 0;
	m.size = seg.len;
	c_do(c, &m);
	return m.id;
}

uint64_t c_dir(struct contract *c, uint64_t dir, const char *name)
{
	struct pfs_mutation m = m_create(c_id(c), dir, name, S_IFDIR | 0755);

	c_do(c, &m);
	return m.id;
}

uint64_t c_symlink(struct contract *c, uint64_t dir, const char *name, const char *target)
{
	struct pfs_seg seg = {0, target, strlen(target)};
	struct pfs_mutation m = m_create(c_id(c), dir, name, S_IFLNK | 0777);

	m.segs = &seg;
	m.nsegs = 1;
	m.size = seg.len;
	c_do(c, &m);
	return m.id;
}

void c_remove(struct contract *c, uint64_t dir, const char *name)
{
	struct pfs_mutation m = m_remove(dir, name, 0);
	struct pfs_attr attr;

	assert_int_equal(s_lookup(c->s, dir, name, &attr), 0);
	m.flags = S_ISDIR(attr.mode) ? PFS_F_DIR : 0;
	c_do(c, &m);
}

void c_write(struct contract *c, uint64_t id, uint64_t off, const void *p, size_t len)
{
	struct pfs_seg seg = {off, p, len};
	struct pfs_mutation m = m_content(PFS_OP_WRITE, id, &seg, 1);

	c_do(c, &m);
}

void c_rename(struct contract *c, uint64_t dir, const char *name, uint64_t dir2, const char *name2,
	      uint32_t flags)
{
	struct pfs_mutation m = m_rename(dir, name, dir2, name2, flags);

	c_do(c, &m);
}

int s_lookup(struct pfs_store *s, uint64_t dir, const char *name, struct pfs_attr *out)
{
	return pfs_store_lookup(s, dir, pfs_bytes_str(name), out);
}

uint64_t c_lookup(struct contract *c, uint64_t dir, const char *name)
{
	struct pfs_attr attr;
	int err = s_lookup(c->s, dir, name, &attr);

	if (err == -ENOENT)
		return 0;
	assert_int_equal(err, 0);
	return attr.id;
}

struct pfs_attr c_attr(struct contract *c, uint64_t id)
{
	struct pfs_attr attr;

	assert_int_equal(pfs_store_getattr(c->s, id, &attr), 0);
	return attr;
}

void s_assert_text(struct pfs_store *s, uint64_t id, const char *text)
{
	size_t len = strlen(text);
	char *buf = malloc(len + 2);

	assert_non_null(buf);
	assert_int_equal(pfs_store_read(s, id, 0, buf, len + 1), len);
	assert_memory_equal(buf, text, len);
	free(buf);
}

void c_assert_text(struct contract *c, uint64_t id, const char *text)
{
	assert_int_equal(c_attr(c, id).size, strlen(text));
	s_assert_text(c->s, id, text);
}

/* ---- dumps ---------------------------------------------------------------------------------- */

struct dump {
	struct contract *c;
	struct pfs_buf text;
};

static uint64_t content_hash(struct contract *c, const struct pfs_attr *attr)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325), off = 0, data;
	unsigned char buf[4096];

	/* Sparse files are walked by their data. */
	while (pfs_store_seek(c->s, attr->id, off, false, &data) == 0) {
		ssize_t n = pfs_store_read(c->s, attr->id, data, buf, sizeof(buf)), i;

		assert_true(n > 0);
		for (i = 0; i < n; i++) {
			if (buf[i])
				h = (h ^ (data + (uint64_t)i) ^ ((uint64_t)buf[i] << 56)) *
				    UINT64_C(0x100000001b3);
		}
		off = data + (uint64_t)n;
	}
	return h;
}

static int by_string(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dump_xattrs(struct dump *d, uint64_t id)
{
	struct pfs_buf names = {0};
	char *sorted[64], *p;
	size_t n = 0, i;

	if (!c_has(d->c, PFS_CAP_XATTRS))
		return;
	assert_int_equal(pfs_store_xattr_list(d->c->s, id, &names), 0);
	for (p = names.data; p && p < names.data + names.len; p += strlen(p) + 1) {
		assert_in_range(n, 0, PFS_ARRAY_SIZE(sorted) - 1);
		sorted[n++] = p;
	}
	qsort(sorted, n, sizeof(*sorted), by_string);
	for (i = 0; i < n; i++) {
		static char value[PFS_XATTR_SIZE_MAX];
		ssize_t len = pfs_store_xattr_get(d->c->s, id, pfs_bytes_str(sorted[i]), value,
						  sizeof(value));

		assert_true(len >= 0);
		pfs_buf_str(&d->text, "  ");
		pfs_buf_json(&d->text, sorted[i], strlen(sorted[i]));
		pfs_buf_str(&d->text, " = ");
		pfs_buf_json(&d->text, value, (size_t)len);
		pfs_buf_str(&d->text, "\n");
	}
	pfs_buf_release(&names);
}

static void dump_object(struct dump *d, const char *path, const struct pfs_attr *a);

static void dump_children(struct dump *d, const char *path, uint64_t dir)
{
	uint64_t cursor = 0;
	bool end = false;

	while (!end) {
		struct pfs_list *list;
		size_t i;

		assert_int_equal(pfs_store_list(d->c->s, dir, cursor, 100, &list), 0);
		for (i = 0; i < list->n; i++) {
			struct pfs_dirent *e = &list->entries[i];
			struct pfs_attr attr;
			char child[4096];

			assert_true(e->cursor > cursor);
			cursor = e->cursor;
			assert_int_equal(pfs_store_lookup(d->c->s, dir, e->name, &attr), 0);
			c_assert_attr_equal(&e->attr, &attr);
			snprintf(child, sizeof(child), "%s/%.*s", path, (int)e->name.len,
				 e->name.p);
			dump_object(d, child, &e->attr);
		}
		assert_true(list->n || list->end);
		end = list->end;
		pfs_list_free(list);
	}
}

static void dump_object(struct dump *d, const char *path, const struct pfs_attr *a)
{
	pfs_buf_json(&d->text, path, strlen(path));
	pfs_buf_printf(&d->text,
		       ": id %" PRIu64 " mode %o uid %u gid %u nlink %u rdev %" PRIu64
		       " size %" PRIu64 " stored %" PRIu64 " version %" PRIu64 "/%" PRIu64
		       " times %" PRId64 " %" PRId64 " %" PRId64,
		       a->id, a->mode, a->uid, a->gid, a->nlink, a->rdev, a->size, a->stored,
		       a->version, a->content_version, a->mtime, a->ctime, a->btime);
	if (S_ISREG(a->mode) || S_ISLNK(a->mode))
		pfs_buf_printf(&d->text, " content %" PRIx64, content_hash(d->c, a));
	pfs_buf_str(&d->text, "\n");
	dump_xattrs(d, a->id);
	if (S_ISDIR(a->mode))
		dump_children(d, path, a->id);
}

char *c_dump(struct contract *c)
{
	struct dump d = {.c = c};
	struct pfs_usage usage;
	struct pfs_attr attr;

	pfs_buf_str(&d.text, "");
	attr = c_attr(c, c->root);
	dump_object(&d, "", &attr);
	assert_int_equal(pfs_store_usage(c->s, &usage), 0);
	pfs_buf_printf(&d.text, "usage %" PRIu64 " objects %" PRIu64 " bytes\n", usage.objects,
		       usage.bytes);
	assert_false(d.text.failed);
	return d.text.data;
}

void c_assert_unchanged(struct contract *c, char *before)
{
	char *after = c_dump(c);

	assert_string_equal(before, after);
	free(before);
	free(after);
}

/* ---- usage ---------------------------------------------------------------------------------- */

struct ids {
	uint64_t *id;
	size_t n, cap;
};

static bool ids_add(struct ids *ids, uint64_t id)
{
	size_t i;

	for (i = 0; i < ids->n; i++) {
		if (ids->id[i] == id)
			return false;
	}
	if (ids->n == ids->cap) {
		ids->cap = ids->cap ? 2 * ids->cap : 64;
		ids->id = realloc(ids->id, ids->cap * sizeof(*ids->id));
		assert_non_null(ids->id);
	}
	ids->id[ids->n++] = id;
	return true;
}

static void count_below(struct contract *c, uint64_t dir, struct ids *linked, struct pfs_usage *u)
{
	struct pfs_list *list;
	uint64_t cursor = 0;
	bool end = false;
	size_t i;

	while (!end) {
		assert_int_equal(pfs_store_list(c->s, dir, cursor, 1000, &list), 0);
		for (i = 0; i < list->n; i++) {
			struct pfs_dirent *e = &list->entries[i];

			cursor = e->cursor;
			if (!S_ISDIR(e->attr.mode) && e->attr.nlink > 1 &&
			    !ids_add(linked, e->attr.id))
				continue;
			u->objects++;
			u->bytes += e->attr.size;
			if (S_ISDIR(e->attr.mode))
				count_below(c, e->attr.id, linked, u);
		}
		end = list->end;
		pfs_list_free(list);
	}
}

void c_assert_usage_exact(struct contract *c)
{
	struct pfs_usage told = {0}, counted = {0};
	struct ids linked = {0};
	int tries;

	count_below(c, c->root, &linked, &counted);
	/* Objects that were held go in the background. */
	for (tries = 0; tries < 500; tries++) {
		struct timespec ts = {.tv_nsec = 10000000};

		assert_int_equal(pfs_store_usage(c->s, &told), 0);
		if (told.objects == counted.objects && told.bytes == counted.bytes)
			break;
		nanosleep(&ts, NULL);
	}
	free(linked.id);
	assert_int_equal(told.objects, counted.objects);
	assert_int_equal(told.bytes, counted.bytes);
}

/* ---- chance --------------------------------------------------------------------------------- */

uint64_t c_seed(const char *what, uint64_t fallback)
{
	const char *given = getenv("PERSISTFS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : fallback;

	print_message("%s: PERSISTFS_SEED=%" PRIu64 "\n", what, seed);
	return seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

uint64_t c_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t c_below(uint64_t *state, uint64_t n)
{
	return c_random(state) % n;
}

void c_fill(uint64_t *state, void *p, size_t n)
{
	unsigned char *out = p;

	while (n--)
		*out++ = (unsigned char)(1 + c_below(state, 255));
}

/* ---- threads -------------------------------------------------------------------------------- */

struct runner {
	pthread_t thread;
	pthread_barrier_t *start;
	const char *(*fn)(void *arg, unsigned i);
	void *arg;
	unsigned i;
	const char *wrong;
};

static void *run_one(void *arg)
{
	struct runner *r = arg;

	pthread_barrier_wait(r->start);
	r->wrong = r->fn(r->arg, r->i);
	return NULL;
}

void c_threads(unsigned n, const char *(*fn)(void *arg, unsigned i), void *arg)
{
	struct runner *r = calloc(n, sizeof(*r));
	pthread_barrier_t start;
	const char *wrong = NULL;
	unsigned i;

	assert_non_null(r);
	pthread_barrier_init(&start, NULL, n);
	for (i = 0; i < n; i++) {
		r[i] = (struct runner){.start = &start, .fn = fn, .arg = arg, .i = i};
		assert_int_equal(pthread_create(&r[i].thread, NULL, run_one, &r[i]), 0);
	}
	for (i = 0; i < n; i++) {
		pthread_join(r[i].thread, NULL);
		if (r[i].wrong && !wrong)
			wrong = r[i].wrong;
	}
	pthread_barrier_destroy(&start);
	free(r);
	if (wrong)
		fail_msg("%s", wrong);
}
