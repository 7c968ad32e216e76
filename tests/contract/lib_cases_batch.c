/*
 * The contract about batches: all or nothing at every position, in order, preconditions, one step of
 * a parent's times, and what a batch of another namespace or none does.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A tree with something for every mutation to work on. */
struct ground {
	uint64_t file, other, dir, full, staged, old_stage;
};

static void make_ground(struct contract *c, struct ground *g)
{
	struct pfs_seg seg = {0, "staged before", 13};
	struct pfs_mutation m;

	g->file = c_file(c, c->root, "file", "the content of a file");
	g->other = c_file(c, c->root, "other", "another one");
	g->dir = c_dir(c, c->root, "dir");
	g->full = c_dir(c, c->root, "full");
	c_file(c, g->full, "inside", "x");
	c_file(c, c->root, "victim", "replaced by a rename");
	c_symlink(c, c->root, "link", "file");
	c_write(c, g->other, 100000, "far", 3);
	if (c_has(c, PFS_CAP_XATTRS)) {
		seg.len = 6;
		m = m_setxattr(g->file, "user.old", &seg, 0);
		c_do(c, &m);
		seg.len = 13;
	}
	g->staged = c_id(c);
	g->old_stage = c_id(c);
	m = m_content(PFS_OP_STAGE, g->old_stage, &seg, 1);
	c_do(c, &m);
}

#define LONG_BATCH 26

/* One batch with every kind of mutation, each of which succeeds. Returns how many. */
static size_t every_mutation(struct contract *c, const struct ground *g, struct pfs_mutation *m)
{
	static const struct pfs_seg seg = {3, "written", 7}, text = {0, "some text", 9};
	uint64_t sub = c_id(c);
	size_t n = 0;

	m[n] = m_create(c_id(c), c->root, "new", S_IFREG | 0600);
	m[n].segs = &text;
	m[n].nsegs = 1;
	m[n++].size = 9;
	m[n++] = m_create(sub, g->dir, "sub", S_IFDIR | 0700);
	m[n++] = m_create(c_id(c), sub, "deeper", S_IFREG | 0600);
	m[n++] = m_create(c_id(c), sub, "brief", S_IFIFO | 0600);
	m[n++] = m_remove(sub, "brief", 0);
	m[n++] = m_content(PFS_OP_WRITE, g->file, &seg, 1);
	m[n++] = m_content(PFS_OP_APPEND, g->file, &text, 1);
	m[n++] = m_content(PFS_OP_WRITE, g->other, &seg, 1);
	m[n++] = m_size(PFS_OP_TRUNCATE, g->other, 99999);
	m[n++] = m_punch(g->other, 2, 50000);
	m[n++] = m_copy(g->file, 0, 10, g->other, 70000);
	m[n++] = m_content(PFS_OP_REPLACE, g->file, &text, 1);
	m[n] = m_setattr(g->full, PFS_SET_MODE | PFS_SET_MTIME, 0711);
	m[n++].set.mtime = 5;
	m[n++] = m_rename(c->root, "other", c->root, "victim", 0);
	m[n++] = m_rename(c->root, "full", g->dir, "moved", 0);
	m[n++] = m_rename(c->root, "link", g->dir, "moved", PFS_F_EXCHANGE);
	m[n++] = m_content(PFS_OP_STAGE, g->staged, &text, 1);
	m[n] = m_size(PFS_OP_PUBLISH, g->file, 9);
	m[n++].content = g->staged;
	m[n++] = m_content(PFS_OP_STAGE, g->old_stage, &seg, 1);
	m[n] = m_size(PFS_OP_DISCARD, 0, 0);
	m[n++].content = g->old_stage;
	if (c_has(c, PFS_CAP_HARD_LINKS))
		m[n++] = m_link(g->file, g->dir, "again");
	if (c_has(c, PFS_CAP_XATTRS)) {
		m[n++] = m_setxattr(g->file, "user.new", &text, 0);
		m[n++] = m_setxattr(g->file, "user.old", &text, PFS_F_REPLACE);
		m[n++] = m_removexattr(g->file, "user.old");
	}
	m[n++] = m_remove(c->root, "file", 0);
	assert_in_range(n, 20, LONG_BATCH - 1);
	return n;
}

static struct pfs_mutation failing(struct contract *c, int kind, int *err)
{
	struct pfs_mutation m;

	switch (kind) {
	case 0:
		*err = -EEXIST;
		return m_create(c_id(c), c->root, "dir", S_IFREG);
	case 1:
		*err = -ENOENT;
		return m_remove(c->root, "none", 0);
	case 2:
		*err = -EAGAIN;
		m = m_setattr(c->root, PFS_SET_MODE, 0700);
		m.flags = PFS_F_IF_VERSION;
		m.expect_version = UINT64_C(1) << 60;
		return m;
	case 3:
		*err = -EINVAL;
		return m_create(c_id(c), c->root, "..", S_IFREG);
	default:
		*err = -ENOENT;
		m = m_size(PFS_OP_PUBLISH, c->root, 0);
		m.id = c_id(c);
		return m;
	}
}

/* The staged content is what it was, and no more: published, it is this text. */
static void check_old_stage(struct contract *c, const struct ground *g)
{
	uint64_t id = c_file(c, c->root, "published", "");
	struct pfs_mutation m = m_size(PFS_OP_PUBLISH, id, 13);

	m.content = g->old_stage;
	c_do(c, &m);
	c_assert_text(c, id, "staged before");
}

static void a_failing_mutation_at_any_position_leaves_nothing_of_its_batch(void **state)
{
	struct contract *c = *state;
	struct pfs_mutation m[LONG_BATCH], good[LONG_BATCH], publish;
	struct ground g;
	size_t n, at, failed;
	char *before;
	int kind, err;

	make_ground(c, &g);
	n = every_mutation(c, &g, good);
	before = c_dump(c);
	for (kind = 0; kind < 5; kind++) {
		for (at = 0; at <= n; at++) {
			char *after;

			memcpy(m, good, at * sizeof(*m));
			m[at] = failing(c, kind, &err);
			memcpy(m + at + 1, good + at, (n - at) * sizeof(*m));
			assert_int_equal(s_batch(c->s, m, n + 1, &failed), err);
			assert_int_equal(failed, at);
			after = c_dump(c);
			assert_string_equal(before, after);
			free(after);
		}
	}
	free(before);
	publish = m_size(PFS_OP_PUBLISH, g.file, 9);
	publish.content = g.staged;
	c_fails(c, publish, -ENOENT);
	check_old_stage(c, &g);
	c_assert_usage_exact(c);
}

static void a_batch_applies_its_mutations_in_order(void **state)
{
	struct contract *c = *state;
	struct pfs_mutation m[LONG_BATCH];
	struct ground g;
	uint64_t sub;
	size_t n, failed;

	make_ground(c, &g);
	n = every_mutation(c, &g, m);
	if (s_batch(c->s, m, n, &failed))
		fail_msg("mutation %zu of %zu failed", failed, n);
	c_assert_text(c, c_lookup(c, c->root, "new"), "some text");
	sub = c_lookup(c, g.dir, "sub");
	assert_true(c_lookup(c, sub, "deeper") != 0);
	assert_int_equal(c_lookup(c, sub, "brief"), 0);
	assert_int_equal(c_lookup(c, c->root, "file"), 0);
	assert_int_equal(c_lookup(c, c->root, "victim"), g.other);
	assert_int_equal(c_lookup(c, c->root, "link"), g.full);
	assert_int_equal(c_attr(c, g.full).mode, S_IFDIR | 0711);
	assert_int_equal(c_attr(c, g.other).size, 99999);
	c_assert_text(c, c_lookup(c, g.dir, "moved"), "file");
	if (c_has(c, PFS_CAP_HARD_LINKS)) {
		c_assert_text(c, c_lookup(c, g.dir, "again"), "some text");
		assert_int_equal(c_attr(c, g.file).nlink, 1);
	}
	c_assert_usage_exact(c);
}

static void what_a_batch_writes_twice_is_as_written_last(void **state)
{
	static const struct pfs_seg text = {0, "first", 5}, over = {1, "ECO", 3},
				    long_way = {40000, "far", 3};
	struct contract *c = *state;
	uint64_t id = c_id(c), dir = c_dir(c, c->root, "d");
	struct pfs_mutation m[6];
	char buf[3];

	m[0] = m_create(id, dir, "f", S_IFREG | 0600);
	m[0].segs = &text;
	m[0].nsegs = 1;
	m[0].size = 5;
	m[1] = m_content(PFS_OP_WRITE, id, &over, 1);
	m[2] = m_create(c_id(c), dir, "g", S_IFREG | 0600);
	m[3] = m_content(PFS_OP_REPLACE, id, &text, 1);
	m[3].size = 5;
	m[4] = m_content(PFS_OP_WRITE, id, &over, 1);
	m[5] = m_content(PFS_OP_WRITE, id, &long_way, 1);
	assert_int_equal(s_batch(c->s, m, 6, NULL), 0);
	assert_int_equal(c_attr(c, id).size, 40003);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, 3), 3);
	assert_memory_equal(buf, "fEC", 3);
	assert_int_equal(pfs_store_read(c->s, id, 40000, buf, 3), 3);
	assert_memory_equal(buf, "far", 3);
	assert_true(c_lookup(c, dir, "g") != 0);
	c_assert_usage_exact(c);
}

static void an_empty_batch_does_nothing(void **state)
{
	struct contract *c = *state;
	char *before = c_dump(c);

	assert_int_equal(s_batch(c->s, NULL, 0, NULL), 0);
	c_assert_unchanged(c, before);
}

static void a_trial_changes_nothing(void **state)
{
	static const enum pfs_op ops[] = {PFS_OP_WRITE, PFS_OP_APPEND, PFS_OP_REPLACE};
	static const struct pfs_seg seg = {0, "tried", 5};
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "what is there");
	char *before = c_dump(c);
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(ops); i++) {
		struct pfs_mutation m = m_content(ops[i], id, &seg, 1);
		struct pfs_batch batch = {.ops = &m, .nops = 1, .now = 1, .trial = true,
					  .epoch = pfs_store_epoch(c->s)};

		m.size = 5;
		assert_int_equal(pfs_store_commit(c->s, &batch),
				 c_has(c, PFS_CAP_TRIALS) ? 0 : -EOPNOTSUPP);
	}
	c_assert_unchanged(c, before);
}

static void a_version_that_moved_fails_the_batch_with_eagain(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "one");
	struct pfs_seg seg = {0, "two", 3};
	struct pfs_mutation m = m_content(PFS_OP_REPLACE, id, &seg, 1), old;
	uint64_t version = c_attr(c, id).version;

	m.flags = PFS_F_IF_VERSION;
	m.expect_version = version;
	old = m;
	c_do(c, &m);
	c_assert_text(c, id, "two");
	seg.p = "six";
	c_fails(c, old, -EAGAIN);
	c_assert_text(c, id, "two");
	old.id = c_id(c);
	c_fails(c, old, -ENOENT);
}

static void a_precondition_sees_what_its_own_batch_did_before(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "one");
	struct pfs_seg seg = {0, "two", 3};
	struct pfs_mutation m[2] = {
		m_content(PFS_OP_REPLACE, id, &seg, 1),
		m_setattr(id, PFS_SET_MODE, 0600),
	};
	size_t failed;

	m[1].flags = PFS_F_IF_VERSION;
	m[1].expect_version = c_attr(c, id).version;
	assert_int_equal(s_batch(c->s, m, 2, &failed), -EAGAIN);
	assert_int_equal(failed, 1);
	c_assert_text(c, id, "one");
}

static void a_batch_moves_a_directory_s_times_to_its_own(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d");
	struct pfs_mutation m[3] = {
		m_create(c_id(c), dir, "a", S_IFREG),
		m_create(c_id(c), dir, "b", S_IFREG),
		m_remove(dir, "a", 0),
	};
	struct pfs_batch batch = {.ops = m, .nops = 3, .now = INT64_C(1800000000000000007)};
	struct pfs_attr attr;

	batch.epoch = pfs_store_epoch(c->s);
	assert_int_equal(pfs_store_commit(c->s, &batch), 0);
	attr = c_attr(c, dir);
	assert_int_equal(attr.mtime, batch.now);
	assert_int_equal(attr.ctime, batch.now);
	attr = c_attr(c, c_lookup(c, dir, "b"));
	assert_int_equal(attr.btime, batch.now);
}

static void results_of_a_batch_are_what_getattr_says(void **state)
{
	struct contract *c = *state;
	uint64_t a = c_file(c, c->root, "a", "1"), b = c_file(c, c->root, "b", "2");
	struct pfs_seg seg = {0, "appended", 8};
	struct pfs_mutation m[5] = {
		m_content(PFS_OP_APPEND, a, &seg, 1),	  m_setattr(b, PFS_SET_MODE, 0),
		m_create(c_id(c), c->root, "c", S_IFDIR), m_rename(c->root, "b", c->root, "d", 0),
		m_create(c_id(c), c->root, "e", S_IFREG),
	};
	struct pfs_attr attr;
	size_t i;

	assert_int_equal(s_batch(c->s, m, 5, NULL), 0);
	assert_int_equal(m[0].offset, 1);
	for (i = 0; i < 5; i++) {
		attr = c_attr(c, m[i].attr.id);
		if (i != 1) /* changed again by the rename */
			c_assert_attr_equal(&m[i].attr, &attr);
	}
}

static void thousands_of_mutations_go_in_one_batch(void **state)
{
	enum { N = 3000 };
	struct contract *c = *state;
	struct pfs_mutation *m = calloc(N, sizeof(*m));
	char(*names)[16] = calloc(N, sizeof(*names));
	uint64_t dir = c_dir(c, c->root, "d");
	struct pfs_usage usage;
	size_t failed;
	int i;

	assert_true(m && names);
	for (i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "f%d", i);
		m[i] = m_create(c_id(c), dir, names[i], S_IFREG | 0600);
	}
	m[N - 1].name = m[7].name;
	assert_int_equal(s_batch(c->s, m, N, &failed), -EEXIST);
	assert_int_equal(failed, N - 1);
	assert_int_equal(pfs_store_usage(c->s, &usage), 0);
	assert_int_equal(usage.objects, 1);
	m[N - 1].name = pfs_bytes_str(names[N - 1]);
	assert_int_equal(s_batch(c->s, m, N, NULL), 0);
	assert_int_equal(pfs_store_usage(c->s, &usage), 0);
	assert_int_equal(usage.objects, N + 1);
	c_assert_usage_exact(c);
	free(m);
	free(names);
}

/* ---- holding -------------------------------------------------------------------------------- */

static void a_held_object_lives_on_without_a_name(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "still here");
	struct pfs_seg seg = {0, "; and more", 10};
	struct pfs_mutation m;
	struct pfs_attr attr;
	int tries;

	pfs_store_hold(c->s, id);
	pfs_store_hold(c->s, id);
	c_remove(c, c->root, "f");
	assert_int_equal(c_lookup(c, c->root, "f"), 0);
	assert_int_equal(c_attr(c, id).nlink, 0);
	c_assert_text(c, id, "still here");
	m = m_content(PFS_OP_APPEND, id, &seg, 1);
	c_do(c, &m);
	m = m_size(PFS_OP_TRUNCATE, id, 20);
	c_do(c, &m);
	m = m_setattr(id, PFS_SET_MODE, 0400);
	c_do(c, &m);
	pfs_store_release_id(c->s, id);
	c_assert_text(c, id, "still here; and more");
	c_file(c, c->root, "f", "another");
	pfs_store_release_id(c->s, id);
	for (tries = 0; tries < 500 && pfs_store_getattr(c->s, id, &attr) == 0; tries++) {
		assert_int_equal(pfs_backend_maintain(c->b, "sweep", NULL), 0);
		usleep(10000);
	}
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -ENOENT);
	c_assert_usage_exact(c);
}

static void a_replaced_target_that_is_held_lives_on(void **state)
{
	struct contract *c = *state;
	uint64_t old = c_file(c, c->root, "f", "old"), new = c_file(c, c->root, "g", "new");

	pfs_store_hold(c->s, old);
	c_rename(c, c->root, "g", c->root, "f", 0);
	c_assert_text(c, old, "old");
	assert_int_equal(c_attr(c, old).nlink, 0);
	assert_int_equal(c_lookup(c, c->root, "f"), new);
	pfs_store_release_id(c->s, old);
	c_assert_usage_exact(c);
}

static void held_objects_go_with_their_session(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "held");
	struct pfs_attr attr;

	pfs_store_hold(c->s, id);
	c_remove(c, c->root, "f");
	pfs_store_release_id(c->s, id);
	id = c_file(c, c->root, "g", "held to the end");
	pfs_store_hold(c->s, id);
	c_remove(c, c->root, "g");
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), 0);
	c_reopen(c);
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -ENOENT);
	c_assert_usage_exact(c);
}

const struct contract_case contract_batch_cases[] = {
	CASE(a_failing_mutation_at_any_position_leaves_nothing_of_its_batch),
	CASE(a_batch_applies_its_mutations_in_order),
	CASE(what_a_batch_writes_twice_is_as_written_last),
	CASE(an_empty_batch_does_nothing),
	CASE(a_trial_changes_nothing),
	CASE(a_version_that_moved_fails_the_batch_with_eagain),
	CASE(a_precondition_sees_what_its_own_batch_did_before),
	CASE(a_batch_moves_a_directory_s_times_to_its_own),
	CASE(results_of_a_batch_are_what_getattr_says),
	CASE(thousands_of_mutations_go_in_one_batch),
	CASE(a_held_object_lives_on_without_a_name),
	CASE(a_replaced_target_that_is_held_lives_on),
	CASE_NEEDS(held_objects_go_with_their_session, PFS_CAP_PERSISTENT),
	{NULL},
};
