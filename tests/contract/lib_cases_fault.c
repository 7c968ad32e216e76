/*
 * What a failure leaves behind, on every engine behind the fault wrapper: the old state or the new
 * one, an error that is counted, and an engine that works again.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/lib_fault.h"

/* Put the wrapper between the case and its engine. */
static void wrap(struct contract *c)
{
	const struct pfs_engine *engine = pfs_engine_find(c->engine->name);
	struct pfs_backend *inner;
	struct pfs_msg msg = {{0}};

	pfs_store_free(c->s);
	pfs_backend_free(c->b);
	assert_int_equal(pfs_backend_new("it", engine, &c->set, &inner, &msg), 0);
	c->b = fault_new(inner);
	assert_int_equal(pfs_backend_start(c->b, &msg), 0);
	assert_int_equal(pfs_backend_open(c->b, "test", true, &c->s, &msg), 0);
	assert_int_equal(pfs_store_root(c->s, &c->root), 0);
}

/* What an editor does: write a new file, rename it over the old one. -errno of the first failure. */
static int save(struct contract *c, const char *text)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m;
	uint64_t id;
	int err = pfs_store_alloc_ids(c->s, 1, &id);

	if (err)
		return err;
	m = m_create(id, c->root, "f.new", S_IFREG | 0600);
	err = s_batch(c->s, &m, 1, NULL);
	if (err && err != -EEXIST)
		return err;
	if (err) { /* left behind by an attempt that failed */
		struct pfs_attr attr;

		err = s_lookup(c->s, c->root, "f.new", &attr);
		if (err)
			return err;
		id = attr.id;
	}
	m = m_content(PFS_OP_REPLACE, id, &seg, 1);
	err = s_batch(c->s, &m, 1, NULL);
	if (err)
		return err;
	m = m_rename(c->root, "f.new", c->root, "f", 0);
	err = s_batch(c->s, &m, 1, NULL);
	return err ? err : pfs_backend_sync(c->b);
}

static void after_each_failure_a_save_is_the_old_text_or_the_new(void **state)
{
	struct contract *c = *state;
	int after;

	wrap(c);
	for (after = 0; after < 2; after++) {
		unsigned nth = 1, fired;

		do {
			struct fault plan = {.calls = FAULT_COMMIT | FAULT_LOOKUP | FAULT_SYNC |
						      FAULT_IDS};
			int err;

			fault_plan(c->b, NULL);
			assert_int_equal(save(c, "old"), 0);
			plan.nth = nth++;
			plan.err = -EIO;
			plan.after = after;
			fault_plan(c->b, &plan);
			err = save(c, "new");
			fired = fault_fired(c->b);
			fault_plan(c->b, NULL);
			assert_int_equal(err, fired ? -EIO : 0);
			if (err && !after && nth < 6)
				c_assert_text(c, c_lookup(c, c->root, "f"), "old");
			assert_int_equal(save(c, "newer"), 0);
			c_assert_text(c, c_lookup(c, c->root, "f"), "newer");
			assert_int_equal(c_lookup(c, c->root, "f.new"), 0);
			c_assert_usage_exact(c);
		} while (fired);
		assert_in_range(nth, 5, 9);
	}
}

static void a_fault_that_lasts_fails_every_call_until_it_is_over(void **state)
{
	struct contract *c = *state;
	struct fault plan = {.calls = FAULT_ALL, .nth = 1, .times = UINT_MAX, .err = -EHOSTDOWN};
	struct pfs_call_stats stats[PFS_CALL_COUNT_];
	struct pfs_list *list = NULL;
	struct pfs_attr attr;
	uint64_t id, out;
	char buf[8];

	wrap(c);
	id = c_file(c, c->root, "f", "text");
	fault_plan(c->b, &plan);
	assert_int_equal(s_lookup(c->s, c->root, "f", &attr), -EHOSTDOWN);
	assert_string_equal(pfs_error_text(), "made to fail by the test");
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -EHOSTDOWN);
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 10, &list), -EHOSTDOWN);
	assert_null(list);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, 8), -EHOSTDOWN);
	assert_int_equal(pfs_store_seek(c->s, id, 0, true, &out), -EHOSTDOWN);
	assert_int_equal(pfs_store_parent(c->s, c->root, &out), -EHOSTDOWN);
	assert_int_equal(pfs_store_root(c->s, &out), -EHOSTDOWN);
	assert_int_equal(pfs_store_alloc_ids(c->s, 1, &out), -EHOSTDOWN);
	assert_int_equal(c_try(c, m_size(PFS_OP_TRUNCATE, id, 0)), -EHOSTDOWN);
	assert_int_equal(pfs_backend_sync(c->b), -EHOSTDOWN);
	assert_int_equal(fault_seen(c->b), 10);
	assert_int_equal(fault_fired(c->b), 10);
	fault_plan(c->b, NULL);
	c_assert_text(c, id, "text");
	pfs_backend_stats(c->b, stats);
	assert_int_equal(stats[PFS_CALL_COMMIT].errors, 1);
	assert_int_equal(stats[PFS_CALL_READ].errors, 2);
	assert_int_equal(stats[PFS_CALL_SYNC].errors, 1);
}

static void a_backend_that_failed_to_start_starts_when_it_can(void **state)
{
	struct contract *c = *state;
	const struct pfs_engine *engine = pfs_engine_find(c->engine->name);
	struct fault plan = {.calls = FAULT_START, .nth = 1, .times = 2, .err = -EHOSTDOWN};
	struct pfs_backend *inner, *b;
	struct pfs_store *s;
	struct pfs_msg msg = {{0}};

	assert_int_equal(pfs_backend_new("late", engine, &c->set, &inner, &msg), 0);
	b = fault_new(inner);
	fault_plan(b, &plan);
	assert_int_equal(pfs_backend_open(b, "test", true, &s, &msg), -EHOSTDOWN);
	assert_int_equal(pfs_backend_start(b, &msg), -EHOSTDOWN);
	assert_int_equal(pfs_backend_start(b, &msg), -EHOSTDOWN);
	assert_int_equal(pfs_backend_open(b, "test", true, &s, &msg), -EHOSTDOWN);
	assert_int_equal(pfs_backend_start(b, &msg), 0);
	assert_int_equal(pfs_backend_start(b, &msg), 0);
	assert_int_equal(fault_seen(b), 3);
	assert_int_equal(pfs_backend_open(b, "test", true, &s, &msg), 0);
	pfs_store_free(s);
	pfs_backend_free(b);
}

const struct contract_case contract_fault_cases[] = {
	CASE(after_each_failure_a_save_is_the_old_text_or_the_new),
	CASE(a_fault_that_lasts_fails_every_call_until_it_is_over),
	CASE(a_backend_that_failed_to_start_starts_when_it_can),
	{NULL},
};
