/*
 * Dirty ranges against a plain model: a byte array and a map of what was written. Random operations
 * with a printed seed; replay one with PERSISTFS_SEED=N.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fs/dirty.h"

#define SPAN (5 * PFS_DIRTY_BLOCK)

struct model {
	unsigned char bytes[SPAN];
	unsigned char written[SPAN];
};

static unsigned seed_from_env(void)
{
	const char *s = getenv("PERSISTFS_SEED");
	unsigned seed = s ? (unsigned)strtoul(s, NULL, 10) : (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	return seed;
}

static size_t last_written(const struct model *m, size_t below)
{
	while (below > 0 && !m->written[below - 1])
		below--;
	return below;
}

static void expect_same(const struct pfs_dirty *d, const struct model *m)
{
	unsigned char *buf = malloc(SPAN), *want = malloc(SPAN);
	struct pfs_seg *segs;
	size_t n, i, total = 0, written = 0;
	uint64_t last = 0;

	memset(buf, 0xee, SPAN);
	for (i = 0; i < SPAN; i++) {
		want[i] = m->written[i] ? m->bytes[i] : 0xee;
		written += m->written[i];
	}
	pfs_dirty_overlay(d, 0, buf, SPAN);
	assert_memory_equal(buf, want, SPAN);
	assert_int_equal(pfs_dirty_segs(d, &segs, &n), 0);
	for (i = 0; i < n; i++) {
		assert_true(i == 0 || segs[i].off >= last);
		assert_memory_equal(segs[i].p, m->bytes + segs[i].off, segs[i].len);
		last = segs[i].off + segs[i].len;
		total += segs[i].len;
	}
	assert_int_equal(total, written);
	assert_int_equal(pfs_dirty_end(d, UINT64_MAX), last_written(m, SPAN));
	assert_int_equal(pfs_dirty_end(d, SPAN / 2), last_written(m, SPAN / 2));
	assert_int_equal(pfs_dirty_empty(d), written == 0);
	free(segs);
	free(buf);
	free(want);
}

static void random_range(uint64_t *off, size_t *len)
{
	size_t max = rand() % 4 == 0 ? 3 * PFS_DIRTY_BLOCK : rand() % 3 == 0 ? 9000 : 50;

	*off = (uint64_t)rand() % SPAN;
	*len = 1 + (size_t)rand() % max;
	if (*off + *len > SPAN)
		*len = SPAN - *off;
}

static void random_write(struct pfs_dirty *d, struct model *m, unsigned char *src)
{
	uint64_t off;
	size_t len, i;

	random_range(&off, &len);
	for (i = 0; i < len; i++)
		src[i] = (unsigned char)rand();
	assert_int_equal(pfs_dirty_write(d, off, src, len), 0);
	memcpy(m->bytes + off, src, len);
	memset(m->written + off, 1, len);
}

static void random_drop(struct pfs_dirty *d, struct model *m)
{
	uint64_t off;
	size_t len;

	random_range(&off, &len);
	if (rand() % 3 == 0) {
		pfs_dirty_drop(d, off, UINT64_MAX);
		len = SPAN - off;
	} else {
		pfs_dirty_drop(d, off, len);
	}
	memset(m->written + off, 0, len);
}

static void random_writes_and_drops_equal_the_model(void **state)
{
	struct pfs_dirty d = {0};
	struct model *m = calloc(1, sizeof(*m));
	unsigned char *src = malloc(SPAN);
	int i;

	(void)state;
	srand(seed_from_env());
	for (i = 0; i < 3000; i++) {
		if (rand() % 5 < 4)
			random_write(&d, m, src);
		else
			random_drop(&d, m);
		if (i % 50 == 0)
			expect_same(&d, m);
	}
	expect_same(&d, m);
	pfs_dirty_drop(&d, 0, UINT64_MAX);
	assert_true(pfs_dirty_empty(&d));
	assert_int_equal(d.bytes, 0);
	pfs_dirty_clear(&d);
	free(src);
	free(m);
}

static void merging_under_keeps_newer_bytes(void **state)
{
	struct pfs_dirty newer = {0}, older = {0};
	struct model *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	unsigned char *src = malloc(SPAN);
	int round, i;
	size_t k;

	(void)state;
	srand(seed_from_env());
	for (round = 0; round < 30; round++) {
		for (i = 0; i < 20; i++) {
			random_write(&newer, a, src);
			random_write(&older, b, src);
			random_drop(&newer, a);
		}
		for (k = 0; k < SPAN; k++) {
			if (!a->written[k] && b->written[k]) {
				a->written[k] = 1;
				a->bytes[k] = b->bytes[k];
			}
		}
		assert_int_equal(pfs_dirty_merge_under(&newer, &older), 0);
		assert_true(pfs_dirty_empty(&older));
		expect_same(&newer, a);
		pfs_dirty_clear(&newer);
		memset(a, 0, sizeof(*a));
		memset(b, 0, sizeof(*b));
	}
	free(src);
	free(a);
	free(b);
}

static void one_byte_far_away_takes_little_memory(void **state)
{
	struct pfs_dirty d = {0};
	struct pfs_seg *segs;
	size_t n;

	(void)state;
	assert_int_equal(pfs_dirty_write(&d, UINT64_C(1) << 39, "x", 1), 0);
	assert_true(d.bytes <= 4096);
	assert_int_equal(pfs_dirty_segs(&d, &segs, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(segs[0].off, UINT64_C(1) << 39);
	free(segs);
	pfs_dirty_clear(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_writes_and_drops_equal_the_model),
		cmocka_unit_test(merging_under_keeps_newer_bytes),
		cmocka_unit_test(one_byte_far_away_takes_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
