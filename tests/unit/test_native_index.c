/* The sorted set of keys: against a plain array, with keys of all lengths; and how much it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/redis/native_index.h"

#define MODEL_MAX 3000

struct model {
	struct entry {
		char s[64];
		size_t len;
		unsigned char type;
	} entries[MODEL_MAX];
	size_t n;
};

static int compare(const struct entry *e, struct pfs_bytes s)
{
	size_t n = e->len < s.len ? e->len : s.len;
	int c = n ? memcmp(e->s, s.p, n) : 0;

	return c ? c : (e->len > s.len) - (e->len < s.len);
}

/* The first at or behind s. */
static size_t at(const struct model *m, struct pfs_bytes s)
{
	size_t i = 0;

	while (i < m->n && compare(&m->entries[i], s) < 0)
		i++;
	return i;
}

static unsigned char model_put(struct model *m, struct pfs_bytes s, unsigned char type)
{
	size_t i = at(m, s);
	unsigned char old = 0;

	if (i < m->n && !compare(&m->entries[i], s)) {
		old = m->entries[i].type;
	} else {
		memmove(&m->entries[i + 1], &m->entries[i], (m->n - i) * sizeof(m->entries[0]));
		memcpy(m->entries[i].s, s.p, s.len);
		m->entries[i].len = s.len;
		m->n++;
	}
	m->entries[i].type = type;
	return old;
}

static unsigned char model_remove(struct model *m, struct pfs_bytes s)
{
	size_t i = at(m, s);
	unsigned char old;

	if (i == m->n || compare(&m->entries[i], s) != 0)
		return 0;
	old = m->entries[i].type;
	m->n--;
	memmove(&m->entries[i], &m->entries[i + 1], (m->n - i) * sizeof(m->entries[0]));
	return old;
}

static uint64_t chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void it_is_a_sorted_set_whatever_comes(void **state)
{
	static struct model m;
	struct native_index ix = {0};
	uint64_t seed = 88172645463325252u;
	int i;

	(void)state;
	for (i = 0; i < 40000; i++) {
		char text[64];
		struct pfs_bytes s = {text, 0}, found;
		unsigned char type = (unsigned char)(1 + chance(&seed) % 7), old, got;
		size_t k;

		/* Few different bytes, so that keys meet and begin with each other; some are long. */
		s.len = chance(&seed) % (chance(&seed) % 4 ? 6 : 60);
		for (k = 0; k < s.len; k++)
			text[k] = "\0\1a\xff"[chance(&seed) % 4];
		if (chance(&seed) % 5 < 3 && m.n < MODEL_MAX - 1) {
			assert_int_equal(native_index_put(&ix, s, type, &old), 0);
			assert_int_equal(old, model_put(&m, s, type));
		} else {
			assert_int_equal(native_index_remove(&ix, s), model_remove(&m, s));
		}
		assert_int_equal(ix.n, m.n);
		k = at(&m, s);
		got = native_index_seek(&ix, s, &found);
		assert_int_equal(got, k < m.n ? m.entries[k].type : 0);
		if (got)
			assert_int_equal(compare(&m.entries[k], found), 0);
		assert_int_equal(native_index_begins(&ix, s),
				 k < m.n && m.entries[k].len >= s.len &&
					 !memcmp(m.entries[k].s, text, s.len));
	}
	native_index_release(&ix);
}

static void a_key_that_is_larger_than_a_block_has_one(void **state)
{
	struct native_index ix = {0};
	struct pfs_bytes large, found;
	unsigned char old;
	char *p = malloc(100000);

	(void)state;
	assert_non_null(p);
	memset(p, 'l', 100000);
	large = (struct pfs_bytes){p, 100000};
	assert_int_equal(native_index_put(&ix, PFS_BYTES("a"), 1, &old), 0);
	assert_int_equal(native_index_put(&ix, large, 2, &old), 0);
	assert_int_equal(native_index_put(&ix, PFS_BYTES("z"), 3, &old), 0);
	assert_int_equal(native_index_find(&ix, large), 2);
	assert_int_equal(native_index_seek(&ix, PFS_BYTES("b"), &found), 2);
	assert_int_equal(found.len, 100000);
	assert_int_equal(native_index_remove(&ix, large), 2);
	assert_int_equal(native_index_seek(&ix, PFS_BYTES("b"), &found), 3);
	native_index_release(&ix);
	free(p);
}

static void a_million_keys_take_less_than_100_mib(void **state)
{
	struct native_index ix = {0};
	unsigned char old;
	uint64_t seed = 1;
	char text[64];
	int i;

	(void)state;
	for (i = 0; i < 1000000; i++) { /* in no order, as SCAN tells them */
		int n = snprintf(text, sizeof(text), "tenant:%03u:session:%016llx",
				 (unsigned)(chance(&seed) % 1000),
				 (unsigned long long)chance(&seed));

		assert_int_equal(native_index_put(&ix, (struct pfs_bytes){text, (size_t)n}, 1, &old),
				 0);
	}
	assert_int_equal(ix.n, 1000000);
	if (ix.bytes > 100u << 20)
		fail_msg("%zu bytes", ix.bytes);
	native_index_release(&ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_a_sorted_set_whatever_comes),
		cmocka_unit_test(a_key_that_is_larger_than_a_block_has_one),
		cmocka_unit_test(a_million_keys_take_less_than_100_mib),
	};

	return cmocka_run_group_tests_name("native index", tests, NULL, NULL);
}
