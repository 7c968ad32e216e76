/*
 * Every engine against the memory engine: the same random batches go to both; both must do them or
 * fail at the same mutation, and the trees must be the same. Objects are named by their number, since
 * each store has its own ids. Which errno tells of a mutation that is wrong in two ways is left open.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECTS	  400
#define BATCH_MAX 6
#define NAMES	  9

struct twin {
	struct contract *c;
	struct pfs_option *table;
	struct pfs_option_set set;
	struct pfs_backend *b; /* the memory engine's */
	struct pfs_store *s[2];
	uint64_t ids[2][OBJECTS]; /* object number -> id; 0 is the root */
	uint32_t modes[OBJECTS];
	size_t n;
	uint64_t seed;
	char *noise;
};

static void twin_open(struct twin *t, struct contract *c)
{
	const struct pfs_engine *engine = pfs_engine_find("memory");

	t->c = c;
	t->table = pfs_engine_options(engine);
	assert_non_null(t->table);
	assert_int_equal(pfs_option_set_init(&t->set, t->table), 0);
	assert_int_equal(pfs_backend_new("twin", engine, &t->set, &t->b, NULL), 0);
	assert_int_equal(pfs_backend_start(t->b, NULL), 0);
	t->s[0] = c->s;
	assert_int_equal(pfs_backend_open(t->b, "test", true, &t->s[1], NULL), 0);
	t->ids[0][0] = c->root;
	assert_int_equal(pfs_store_root(t->s[1], &t->ids[1][0]), 0);
	t->modes[0] = S_IFDIR;
	t->n = 1;
	t->noise = malloc(70000);
	assert_non_null(t->noise);
	c_fill(&t->seed, t->noise, 70000);
}

static void twin_close(struct twin *t)
{
	pfs_store_free(t->s[1]);
	pfs_backend_free(t->b);
	pfs_option_set_release(&t->set);
	free(t->table);
	free(t->noise);
}

/* ---- random batches ------------------------------------------------------------------------- */

/* A mutation whose ids are object numbers. */
struct step {
	struct pfs_mutation m;
	struct pfs_seg seg;
	size_t id, dir, dir2, source;
};

static const char *const names[NAMES] = {"a", "b", "c", "d", "e", "f", "%2F", "\xff", "long name"};

static struct pfs_bytes some_name(struct twin *t)
{
	return pfs_bytes_str(names[c_below(&t->seed, NAMES)]);
}

static size_t some_object(struct twin *t)
{
	/* Mostly young ones, which are more likely to be there. */
	size_t back = c_below(&t->seed, c_below(&t->seed, 3) ? 40 : OBJECTS);

	return c_below(&t->seed, 6) == 0 || back >= t->n ? 0 : t->n - 1 - back;
}

/* An object of this type, if one is soon found. */
static size_t some_of(struct twin *t, uint32_t type)
{
	size_t i = some_object(t), tries;

	for (tries = 0; tries < 20 && (t->modes[i] & S_IFMT) != type; tries++)
		i = some_object(t);
	return i;
}

static void some_data(struct twin *t, struct step *s)
{
	s->seg.off = c_below(&t->seed, c_below(&t->seed, 3) ? 100 : 100000);
	s->seg.len = c_below(&t->seed, c_below(&t->seed, 3) ? 200 : 40000);
	s->seg.p = t->noise + c_below(&t->seed, 1000);
	s->m.segs = &s->seg;
	s->m.nsegs = 1;
	s->m.size = s->seg.off + s->seg.len;
	if (c_below(&t->seed, 3) == 0)
		s->m.set.mask = PFS_SET_KILLPRIV;
}

static void step_create(struct twin *t, struct step *s)
{
	static const uint32_t modes[] = {S_IFREG | 06755, S_IFREG | 0644, S_IFDIR | 0755,
					 S_IFDIR | 0700,  S_IFLNK | 0777, S_IFIFO | 0600};

	s->m.op = PFS_OP_CREATE;
	s->m.set.mode = modes[c_below(&t->seed, PFS_ARRAY_SIZE(modes))];
	s->m.set.uid = (uint32_t)c_below(&t->seed, 5);
	s->m.set.mtime = (int64_t)c_below(&t->seed, 1000);
	if (S_ISREG(s->m.set.mode) || S_ISLNK(s->m.set.mode)) {
		some_data(t, s);
		s->m.set.mask = 0;
	}
	if (S_ISLNK(s->m.set.mode)) {
		s->seg.off = 0;
		s->seg.len = 1 + s->seg.len % 100;
		s->m.size = s->seg.len;
	}
	s->id = t->n < OBJECTS ? t->n++ : OBJECTS - 1;
	t->modes[s->id] = s->m.set.mode;
}

static void step_content(struct twin *t, struct step *s)
{
	static const enum pfs_op ops[] = {PFS_OP_WRITE, PFS_OP_APPEND,	 PFS_OP_REPLACE,
					  PFS_OP_PUNCH, PFS_OP_TRUNCATE, PFS_OP_COPY};

	s->m.op = ops[c_below(&t->seed, PFS_ARRAY_SIZE(ops))];
	some_data(t, s);
	s->m.offset = s->seg.off;
	s->m.length = s->seg.len;
	s->m.offset2 = c_below(&t->seed, 100000);
	if (s->m.op != PFS_OP_WRITE && s->m.op != PFS_OP_APPEND && s->m.op != PFS_OP_REPLACE)
		s->m.nsegs = 0;
}

static void step_other(struct twin *t, struct step *s)
{
	static const enum pfs_op ops[] = {PFS_OP_SETATTR, PFS_OP_LINK, PFS_OP_SETXATTR,
					  PFS_OP_REMOVEXATTR};
	static const uint32_t xattr_flags[] = {0, 0, PFS_F_CREATE, PFS_F_REPLACE};

	s->m.op = ops[c_below(&t->seed, PFS_ARRAY_SIZE(ops))];
	s->m.set.mask = (uint32_t)c_below(&t->seed, 16);
	s->m.set.mode = (uint32_t)c_below(&t->seed, 07777);
	s->m.set.uid = s->m.set.gid = (uint32_t)c_below(&t->seed, 100);
	s->m.set.mtime = (int64_t)c_below(&t->seed, 1000000);
	if (s->m.op != PFS_OP_SETXATTR)
		return;
	s->seg = (struct pfs_seg){0, t->noise, c_below(&t->seed, 50)};
	s->m.segs = &s->seg;
	s->m.nsegs = 1;
	s->m.flags = xattr_flags[c_below(&t->seed, 4)];
}

static void make_step(struct twin *t, struct step *s)
{
	static const uint32_t rename_flags[] = {0, 0, 0, PFS_F_NOREPLACE, PFS_F_EXCHANGE};

	*s = (struct step){.m = {.name = some_name(t), .name2 = some_name(t)}};
	s->id = some_of(t, c_below(&t->seed, 20) ? S_IFREG : S_IFDIR);
	s->dir = some_of(t, c_below(&t->seed, 20) ? S_IFDIR : S_IFREG);
	s->dir2 = some_of(t, c_below(&t->seed, 20) ? S_IFDIR : S_IFREG);
	s->source = some_of(t, S_IFREG);
	switch (c_below(&t->seed, 10)) {
	case 0:
	case 1:
	case 2:
		step_create(t, s);
		break;
	case 3:
	case 4:
		step_content(t, s);
		break;
	case 5:
		s->m.op = PFS_OP_REMOVE;
		s->m.flags = c_below(&t->seed, 2) ? PFS_F_DIR : 0;
		break;
	case 6:
	case 7:
		s->m.op = PFS_OP_RENAME;
		s->m.flags = rename_flags[c_below(&t->seed, PFS_ARRAY_SIZE(rename_flags))];
		break;
	default:
		step_other(t, s);
		break;
	}
}

/* The steps for store k, with its own ids. */
static void translate(const struct twin *t, int k, const struct step *steps, size_t n,
		      struct pfs_mutation *out)
{
	size_t i;

	for (i = 0; i < n; i++) {
		out[i] = steps[i].m;
		out[i].id = t->ids[k][steps[i].id];
		out[i].dir = t->ids[k][steps[i].dir];
		out[i].dir2 = t->ids[k][steps[i].dir2];
		out[i].source = t->ids[k][steps[i].source];
	}
}

/* ---- comparing ------------------------------------------------------------------------------ */

static size_t number_of(const struct twin *t, int k, uint64_t id)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (t->ids[k][i] == id)
			return i;
	}
	return OBJECTS;
}

static void compare_attr(const struct twin *t, const struct pfs_attr *a, const struct pfs_attr *b)
{
	assert_int_equal(number_of(t, 0, a->id), number_of(t, 1, b->id));
	if (a->id == 0)
		return;
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->nlink, b->nlink);
	assert_int_equal(a->size, b->size);
	if (S_ISREG(a->mode) || S_ISLNK(a->mode))
		assert_int_equal(a->mtime, b->mtime);
}

static void compare_content(struct twin *t, const struct pfs_attr *a, const struct pfs_attr *b)
{
	char *x = malloc(a->size + 1), *y = malloc(a->size + 1);

	assert_true(x && y);
	assert_int_equal(pfs_store_read(t->s[0], a->id, 0, x, a->size + 1), a->size);
	assert_int_equal(pfs_store_read(t->s[1], b->id, 0, y, a->size + 1), a->size);
	assert_memory_equal(x, y, a->size);
	free(x);
	free(y);
}

static void compare_xattrs(struct twin *t, const struct pfs_attr *a, const struct pfs_attr *b)
{
	size_t i;

	for (i = 0; i < NAMES; i++) {
		char x[64], y[64];
		struct pfs_bytes name = pfs_bytes_str(names[i]);
		ssize_t n = pfs_store_xattr_get(t->s[0], a->id, name, x, sizeof(x));

		assert_int_equal(pfs_store_xattr_get(t->s[1], b->id, name, y, sizeof(y)), n);
		if (n > 0)
			assert_memory_equal(x, y, (size_t)n);
	}
}

static void compare_dir(struct twin *t, uint64_t a, uint64_t b)
{
	struct pfs_list *x, *y;
	size_t i;

	assert_int_equal(pfs_store_list(t->s[0], a, 0, 4096, &x), 0);
	assert_int_equal(pfs_store_list(t->s[1], b, 0, 4096, &y), 0);
	assert_int_equal(x->n, y->n);
	for (i = 0; i < x->n; i++) {
		const struct pfs_attr *p = &x->entries[i].attr;
		struct pfs_attr q;

		assert_int_equal(pfs_store_lookup(t->s[1], b, x->entries[i].name, &q), 0);
		compare_attr(t, p, &q);
		compare_xattrs(t, p, &q);
		if (S_ISREG(p->mode) || S_ISLNK(p->mode))
			compare_content(t, p, &q);
		if (S_ISDIR(p->mode))
			compare_dir(t, p->id, q.id);
	}
	pfs_list_free(x);
	pfs_list_free(y);
}

static void compare_usage(struct twin *t)
{
	struct pfs_usage u[2];
	int k;

	for (k = 0; k < 2; k++)
		assert_int_equal(pfs_store_usage(t->s[k], &u[k]), 0);
	assert_int_equal(u[0].objects, u[1].objects);
	assert_int_equal(u[0].bytes, u[1].bytes);
}

/* One batch to both; the same answer from both. Returns whether it was done. */
static bool run_batch(struct twin *t, struct step *steps, size_t n)
{
	struct pfs_mutation m[2][BATCH_MAX];
	struct pfs_batch batch[2];
	int err[2], k;
	size_t i;

	for (k = 0; k < 2; k++) {
		translate(t, k, steps, n, m[k]);
		batch[k] = (struct pfs_batch){.ops = m[k], .nops = n, .now = 777};
		batch[k].epoch = pfs_store_epoch(t->s[k]);
		err[k] = pfs_store_commit(t->s[k], &batch[k]);
	}
	if (!err[0] != !err[1] || (err[0] && batch[0].failed != batch[1].failed))
		fail_msg("%s at %zu (op %d), but the memory engine: %s at %zu (op %d)",
			 strerror(-err[0]), batch[0].failed, m[0][batch[0].failed].op,
			 strerror(-err[1]), batch[1].failed, m[1][batch[1].failed].op);
	for (i = 0; i < n && !err[0]; i++) {
		if (m[0][i].op == PFS_OP_REMOVE) {
			compare_attr(t, &m[0][i].other, &m[1][i].other);
			continue;
		}
		compare_attr(t, &m[0][i].attr, &m[1][i].attr);
		if (m[0][i].op == PFS_OP_APPEND)
			assert_int_equal(m[0][i].offset, m[1][i].offset);
		if (m[0][i].op == PFS_OP_COPY)
			assert_int_equal(m[0][i].length, m[1][i].length);
	}
	return !err[0];
}

static void random_batches_match_the_memory_engine(void **state)
{
	struct contract *c = *state;
	struct twin *t = calloc(1, sizeof(*t));
	size_t n, i;
	int round, done = 0;

	assert_non_null(t);
	t->seed = c_seed("batches", 31);
	twin_open(t, c);
	for (i = 1; i < OBJECTS; i++) {
		t->ids[0][i] = c_id(c);
		assert_int_equal(pfs_store_alloc_ids(t->s[1], 1, &t->ids[1][i]), 0);
	}
	for (round = 0; round < 1500 && t->n < OBJECTS - BATCH_MAX; round++) {
		struct step steps[BATCH_MAX];
		size_t before = t->n;

		n = 1 + c_below(&t->seed, c_below(&t->seed, 4) ? 2 : BATCH_MAX);
		for (i = 0; i < n; i++)
			make_step(t, &steps[i]);
		if (run_batch(t, steps, n))
			done++;
		else
			t->n = before; /* what it would have made is still to be made */
		if (round % 50 == 0) {
			compare_dir(t, t->ids[0][0], t->ids[1][0]);
			compare_usage(t);
		}
	}
	print_message("%d of %d batches were done\n", done, round);
	assert_true(done > 100 && done < round);
	compare_dir(t, t->ids[0][0], t->ids[1][0]);
	c_assert_usage_exact(c);
	twin_close(t);
	free(t);
	if (!c_has(c, PFS_CAP_PERSISTENT))
		return;
	c_reopen(c);
	c_assert_usage_exact(c);
}

const struct contract_case contract_model_cases[] = {
	CASE_NEEDS(random_batches_match_the_memory_engine,
		   PFS_CAP_HARD_LINKS | PFS_CAP_XATTRS | PFS_CAP_SPARSE),
	{NULL},
};
