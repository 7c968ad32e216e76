/*
 * The store contract alone, without FUSE: microseconds per call of an engine, with one thread and
 * with eight, each thread in a directory of its own. It tells which part of a slow row of the mount's
 * table is the engine's. Each call is one batch of one mutation, as a mount in through mode makes it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

#define THREADS_MAX 8
#define FILES	    4000 /* shared among the threads */
#define SYNCS	    400
#define BLOCK	    4096

struct worker;

struct call {
	const char *name;
	unsigned total; /* calls of all threads together; 0: FILES */
	int (*run)(struct worker *w, unsigned i);
	int (*run_all)(struct worker *w,
		       unsigned *calls); /* instead: all calls of a thread at once */
};

/* One thread, its directory and what it made there. */
struct worker {
	struct pfs_backend *backend;
	struct pfs_store *store;
	const struct call *call;
	pthread_barrier_t *start;
	uint64_t dir, first_id, big;
	unsigned calls;
	int err;
	char buf[BLOCK];
};

static struct pfs_bytes name_of(char buf[16], char prefix, unsigned i)
{
	int len = snprintf(buf, 16, "%c%06u", prefix, i);

	return (struct pfs_bytes){buf, (size_t)len};
}

static int commit_one(struct worker *w, struct pfs_mutation *m)
{
	struct pfs_batch batch = {
		.ops = m, .nops = 1, .now = pfs_now_ns(), .epoch = pfs_store_epoch(w->store)};

	return pfs_store_commit(w->store, &batch);
}

static int make(struct worker *w, uint64_t dir, uint64_t id, struct pfs_bytes name, uint32_t mode,
		const struct pfs_seg *seg)
{
	struct pfs_mutation m = {.op = PFS_OP_CREATE,
				 .id = id,
				 .dir = dir,
				 .name = name,
				 .segs = seg,
				 .nsegs = seg ? 1 : 0,
				 .size = seg ? seg->len : 0,
				 .set = {.mode = mode, .mtime = pfs_now_ns()}};

	return commit_one(w, &m);
}

static int run_create(struct worker *w, unsigned i)
{
	struct pfs_seg seg = {0, w->buf, BLOCK};
	char buf[16];

	return make(w, w->dir, w->first_id + i, name_of(buf, 'f', i), S_IFREG | 0644, &seg);
}

static int run_create_empty(struct worker *w, unsigned i)
{
	uint64_t id;
	char buf[16];
	int err = pfs_store_alloc_ids(w->store, 1, &id);

	return err ? err : make(w, w->dir, id, name_of(buf, 'e', i), S_IFREG | 0644, NULL);
}

static int run_lookup(struct worker *w, unsigned i)
{
	struct pfs_attr attr;
	char buf[16];

	return pfs_store_lookup(w->store, w->dir, name_of(buf, 'f', i), &attr);
}

static int run_missing(struct worker *w, unsigned i)
{
	struct pfs_attr attr;
	char buf[16];
	int err = pfs_store_lookup(w->store, w->dir, name_of(buf, 'm', i), &attr);

	return err == -ENOENT ? 0 : err ? err : -EEXIST;
}

static int run_getattr(struct worker *w, unsigned i)
{
	struct pfs_attr attr;

	return pfs_store_getattr(w->store, w->first_id + i, &attr);
}

static int run_read(struct worker *w, unsigned i)
{
	ssize_t n = pfs_store_read(w->store, w->first_id + i, 0, w->buf, BLOCK);

	return n == BLOCK ? 0 : n < 0 ? (int)n : -EIO;
}

static int run_list(struct worker *w, unsigned *calls)
{
	uint64_t cursor = 0;
	bool end = false;

	for (*calls = 0; !end;) {
		struct pfs_list *list;
		int err = pfs_store_list(w->store, w->dir, cursor, 256, &list);

		if (err)
			return err;
		*calls += (unsigned)list->n;
		end = list->end;
		if (list->n)
			cursor = list->entries[list->n - 1].cursor;
		pfs_list_free(list);
	}
	return 0;
}

static int content(struct worker *w, enum pfs_op op, uint64_t id, uint64_t off, size_t len)
{
	struct pfs_seg seg = {off, w->buf, len};
	struct pfs_mutation m = {.op = op, .id = id, .segs = &seg, .nsegs = 1, .size = len};

	return commit_one(w, &m);
}

static int run_replace(struct worker *w, unsigned i)
{
	return content(w, PFS_OP_REPLACE, w->first_id + i, 0, BLOCK);
}

static int run_append(struct worker *w, unsigned i)
{
	return content(w, PFS_OP_APPEND, w->first_id + i, 0, 100);
}

static int run_setattr(struct worker *w, unsigned i)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR,
				 .id = w->first_id + i,
				 .set = {.mask = PFS_SET_MODE, .mode = 0600}};

	return commit_one(w, &m);
}

static int run_rename(struct worker *w, unsigned i)
{
	char from[16], to[16];
	struct pfs_mutation m = {.op = PFS_OP_RENAME,
				 .dir = w->dir,
				 .name = name_of(from, 'f', i),
				 .dir2 = w->dir,
				 .name2 = name_of(to, 'r', i)};

	return commit_one(w, &m);
}

static int run_remove(struct worker *w, unsigned i)
{
	char buf[16];
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .dir = w->dir, .name = name_of(buf, 'r', i)};

	return commit_one(w, &m);
}

static int run_write(struct worker *w, unsigned i)
{
	return content(w, PFS_OP_WRITE, w->big, (uint64_t)i * BLOCK, BLOCK);
}

static int run_read_big(struct worker *w, unsigned i)
{
	ssize_t n = pfs_store_read(w->store, w->big, (uint64_t)i * BLOCK, w->buf, BLOCK);

	return n == BLOCK ? 0 : n < 0 ? (int)n : -EIO;
}

static int run_sync(struct worker *w, unsigned i)
{
	int err = content(w, PFS_OP_WRITE, w->big, (uint64_t)i * BLOCK, BLOCK);

	return err ? err : pfs_backend_sync(w->backend);
}

static const struct call calls[] = {
	{.name = "create with 4 KiB", .run = run_create},
	{.name = "create, empty", .run = run_create_empty},
	{.name = "lookup", .run = run_lookup},
	{.name = "lookup of a missing name", .run = run_missing},
	{.name = "getattr", .run = run_getattr},
	{.name = "read 4 KiB", .run = run_read},
	{.name = "list, per entry", .run_all = run_list},
	{.name = "replace 4 KiB", .run = run_replace},
	{.name = "append 100 B", .run = run_append},
	{.name = "setattr", .run = run_setattr},
	{.name = "rename", .run = run_rename},
	{.name = "remove", .run = run_remove},
	{.name = "write 4 KiB in a large file", .run = run_write},
	{.name = "read 4 KiB of a large file", .run = run_read_big},
	{.name = "write 4 KiB, sync", .total = SYNCS, .run = run_sync},
};

/* ---- running them --------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned i;

	pthread_barrier_wait(w->start);
	w->err = 0;
	if (w->call->run_all) {
		w->err = w->call->run_all(w, &w->calls);
		return NULL;
	}
	for (i = 0; i < w->calls && !w->err; i++)
		w->err = w->call->run(w, i);
	return NULL;
}

/* Microseconds per call, threads together; negative: -errno. */
static double run_call(struct worker *workers, unsigned threads, const struct call *call)
{
	pthread_t thread[THREADS_MAX];
	pthread_barrier_t start;
	unsigned i, n = 0;
	int64_t begin;
	int err = 0;

	pthread_barrier_init(&start, NULL, threads + 1);
	for (i = 0; i < threads; i++) {
		workers[i].call = call;
		workers[i].start = &start;
		workers[i].calls = (call->total ? call->total : FILES) / threads;
		if (pthread_create(&thread[i], NULL, worker_main, &workers[i])) {
			fprintf(stderr, "engine: no thread\n");
			exit(1);
		}
	}
	pthread_barrier_wait(&start);
	begin = pfs_monotonic_ns();
	for (i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		n += workers[i].calls;
		err = err ? err : workers[i].err;
	}
	pthread_barrier_destroy(&start);
	return err ? err : (double)(pfs_monotonic_ns() - begin) / 1000 / n;
}

/* A directory and a large file for each of `threads` workers. */
static int prepare(struct worker *workers, struct pfs_backend *b, struct pfs_store *s,
		   unsigned threads)
{
	uint64_t root;
	unsigned i;
	int err = pfs_store_root(s, &root);

	for (i = 0; i < threads && !err; i++) {
		struct worker *w = &workers[i];
		char buf[16];

		memset(w, 0, sizeof(*w));
		memset(w->buf, 'x', BLOCK);
		w->backend = b;
		w->store = s;
		err = pfs_store_alloc_ids(s, 1, &w->dir);
		if (!err)
			err = pfs_store_alloc_ids(s, 1, &w->big);
		if (!err)
			err = pfs_store_alloc_ids(s, FILES, &w->first_id);
		if (!err)
			err = make(w, root, w->dir, name_of(buf, 'd', threads * 100 + i),
				   S_IFDIR | 0755, NULL);
		if (!err)
			err = make(w, w->dir, w->big, name_of(buf, 'b', 0), S_IFREG | 0644, NULL);
	}
	return err;
}

/* A connection string, NAME=VALUE, or PATH. */
static int set_option(struct pfs_option_set *set, const char *arg, struct pfs_msg *msg)
{
	const char *eq = strchr(arg, '=');
	char name[32];

	if (strncmp(arg, "url=", 4) == 0)
		return pfs_option_set_text(set, "url", arg + 4, msg);
	if (strstr(arg, "://") || (strchr(arg, ' ') && pfs_option_find(set->table, "url")))
		return pfs_option_set_text(set, "url", arg, msg);
	if (!eq || arg[0] == '/' || eq - arg >= (ptrdiff_t)sizeof(name))
		return pfs_option_set_text(set, "path", arg, msg);
	snprintf(name, sizeof(name), "%.*s", (int)(eq - arg), arg);
	return pfs_option_set_text(set, name, eq + 1, msg);
}

static int open_backend(const char *type, char **args, struct pfs_option_set *set,
			struct pfs_backend **out, struct pfs_msg *msg)
{
	const struct pfs_engine *engine = pfs_engine_find(type);
	struct pfs_option *options;
	int err;

	if (!engine) {
		pfs_msg_set(msg, "no such engine: %s", type);
		return -EINVAL;
	}
	options = pfs_engine_options(engine);
	if (!options)
		return -ENOMEM;
	err = pfs_option_set_init(set, options);
	for (; !err && *args; args++)
		err = set_option(set, *args, msg);
	if (!err)
		err = pfs_backend_new("bench", engine, set, out, msg);
	return err ? err : pfs_backend_start(*out, msg);
}

static void print_cell(double us)
{
	if (us < 0)
		printf(" failed: %s |", strerror((int)-us));
	else
		printf(" %.1f µs |", us);
}

static int run_calls(struct pfs_backend *b, struct pfs_store *s)
{
	static struct worker workers[2][THREADS_MAX];
	unsigned i;
	int err = prepare(workers[0], b, s, 1);

	if (!err)
		err = prepare(workers[1], b, s, THREADS_MAX);
	if (err)
		return err;
	printf("| call | 1 thread | %u threads |\n|---|--:|--:|\n", THREADS_MAX);
	for (i = 0; i < PFS_ARRAY_SIZE(calls); i++) {
		double one = run_call(workers[0], 1, &calls[i]);
		double many = run_call(workers[1], THREADS_MAX, &calls[i]);

		printf("| %s |", calls[i].name);
		print_cell(one);
		print_cell(many);
		printf("\n");
		fflush(stdout);
		if (one < 0 || many < 0)
			err = -EIO;
	}
	printf("\n");
	return err;
}

int main(int argc, char **argv)
{
	struct pfs_option_set set = {0};
	struct pfs_backend *b = NULL;
	struct pfs_store *s = NULL;
	struct pfs_msg msg = {""};
	int err;

	if (argc < 2) {
		fprintf(stderr, "usage: engine TYPE [PATH | URL | OPTION=VALUE]...\n");
		return 64;
	}
	err = open_backend(argv[1], argv + 2, &set, &b, &msg);
	if (!err)
		err = pfs_backend_open(b, "bench", true, &s, &msg);
	if (!err)
		err = run_calls(b, s);
	if (err)
		fprintf(stderr, "engine: %s: %s\n", strerror(-err), msg.text);
	pfs_store_free(s);
	pfs_backend_free(b);
	return err ? 1 : 0;
}
