/*
 * The contract about listing: order of sequence, pages, and entries that come and go meanwhile.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_files_from(struct contract *c, uint64_t dir, const char *prefix, int first, int n)
{
	struct pfs_mutation *m = calloc((size_t)n, sizeof(*m));
	char(*names)[32] = calloc((size_t)n, sizeof(*names));
	int i;

	assert_true(m && names);
	for (i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%s%d", prefix, first + i);
		m[i] = m_create(c_id(c), dir, names[i], S_IFREG | 0600);
	}
	assert_int_equal(s_batch(c->s, m, (size_t)n, NULL), 0);
	free(m);
	free(names);
}

static void make_files(struct contract *c, uint64_t dir, const char *prefix, int n)
{
	make_files_from(c, dir, prefix, 0, n);
}

static void entries_are_listed_in_order_of_their_coming(void **state)
{
	static const char *const names[] = {"z", "a", "M", "\xff", "0"};
	struct contract *c = *state;
	struct pfs_list *list;
	uint64_t last = PFS_ID_FIRST - 1;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		c_file(c, c->root, names[i], names[i]);
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 100, &list), 0);
	assert_int_equal(list->n, PFS_ARRAY_SIZE(names));
	assert_true(list->end);
	for (i = 0; i < list->n; i++) {
		assert_true(pfs_bytes_eq(list->entries[i].name, pfs_bytes_str(names[i])));
		assert_true(list->entries[i].cursor > last);
		last = list->entries[i].cursor;
	}
	pfs_list_free(list);
	assert_int_equal(pfs_store_list(c->s, c->root, last, 100, &list), 0);
	assert_int_equal(list->n, 0);
	assert_true(list->end);
	pfs_list_free(list);
	assert_int_equal(pfs_store_list(c->s, c->root, UINT64_MAX >> 1, 100, &list), 0);
	assert_int_equal(list->n, 0);
	pfs_list_free(list);
}

static void every_page_size_tells_every_entry_once(void **state)
{
	static const size_t limits[] = {1, 2, 99, 100, 101, 299, 300, 301, 4096};
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d");
	size_t i, j;

	make_files(c, dir, "f", 300);
	c_file(c, c->root, "not in d", "");
	for (i = 0; i < PFS_ARRAY_SIZE(limits); i++) {
		uint64_t cursor = 0;
		size_t n = 0;
		bool end = false;

		while (!end) {
			struct pfs_list *list;

			assert_int_equal(pfs_store_list(c->s, dir, cursor, limits[i], &list), 0);
			assert_true(list->n <= limits[i]);
			for (j = 0; j < list->n; j++, n++) {
				char name[32];

				snprintf(name, sizeof(name), "f%zu", n);
				assert_true(
					pfs_bytes_eq(list->entries[j].name, pfs_bytes_str(name)));
				cursor = list->entries[j].cursor;
			}
			end = list->end;
			assert_true(end || list->n == limits[i]);
			pfs_list_free(list);
		}
		assert_int_equal(n, 300);
	}
}

static void a_removed_cursor_still_resumes(void **state)
{
	struct contract *c = *state;
	struct pfs_list *list;
	uint64_t cursor;
	int i;

	make_files(c, c->root, "f", 100);
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 50, &list), 0);
	cursor = list->entries[49].cursor;
	pfs_list_free(list);
	for (i = 20; i < 70; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		c_remove(c, c->root, name);
	}
	assert_int_equal(pfs_store_list(c->s, c->root, cursor, 50, &list), 0);
	assert_int_equal(list->n, 30);
	assert_true(pfs_bytes_eq(list->entries[0].name, PFS_BYTES("f70")));
	pfs_list_free(list);
}

static void a_name_that_stays_keeps_its_place_when_its_object_changes(void **state)
{
	struct contract *c = *state;
	struct pfs_list *before, *after;
	uint64_t a, b;
	size_t i;

	a = c_file(c, c->root, "a", "");
	b = c_file(c, c->root, "b", "");
	c_file(c, c->root, "c", "");
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 10, &before), 0);
	c_rename(c, c->root, "a", c->root, "b", PFS_F_EXCHANGE);
	c_rename(c, c->root, "c", c->root, "a", 0);
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 10, &after), 0);
	assert_int_equal(after->n, 2);
	for (i = 0; i < 2; i++) {
		assert_true(pfs_bytes_eq(before->entries[i].name, after->entries[i].name));
		assert_int_equal(before->entries[i].cursor, after->entries[i].cursor);
	}
	assert_int_equal(after->entries[1].attr.id, a);
	assert_int_not_equal(after->entries[0].attr.id, b);
	pfs_list_free(before);
	pfs_list_free(after);
}

/* The number in "s123". */
static int number_of(struct pfs_bytes name)
{
	char digits[32] = {0};

	assert_in_range(name.len, 2, sizeof(digits));
	memcpy(digits, name.p + 1, name.len - 1);
	return atoi(digits);
}

/* Something comes, goes or is renamed; the entries named s<number> stay. */
static void disturb(struct contract *c, uint64_t dir, uint64_t *seed, int *next)
{
	char name[32], name2[32];
	int i = (int)c_below(seed, (uint64_t)*next + 1);

	snprintf(name, sizeof(name), "t%d", i);
	snprintf(name2, sizeof(name2), "t%d", *next);
	switch (c_below(seed, 4)) {
	case 0:
		if (c_lookup(c, dir, name)) {
			c_remove(c, dir, name);
			break;
		}
		/* fall through */
	case 1:
	case 2:
		c_file(c, dir, name2, "");
		++*next;
		break;
	default:
		if (c_lookup(c, dir, name)) {
			c_rename(c, dir, name, dir, name2, 0);
			++*next;
		} else {
			snprintf(name, sizeof(name), "s%d", (int)c_below(seed, 300));
			snprintf(name2, sizeof(name2), "s%d", (int)c_below(seed, 300));
			c_rename(c, dir, name, dir, name2, PFS_F_EXCHANGE);
		}
		break;
	}
}

static void an_entry_that_stays_is_told_exactly_once_whatever_comes_and_goes(void **state)
{
	struct contract *c = *state;
	uint64_t seed = c_seed("listing", 7), dir = c_dir(c, c->root, "d");
	int round, next = 100;

	make_files(c, dir, "s", 150);
	make_files(c, dir, "t", next);
	make_files_from(c, dir, "s", 150, 150);
	for (round = 0; round < 6; round++) {
		unsigned char seen[300] = {0};
		uint64_t cursor = 0;
		bool end = false;
		size_t i;
		int pages = 0;

		while (!end) {
			struct pfs_list *list;

			assert_int_equal(
				pfs_store_list(c->s, dir, cursor, 1 + c_below(&seed, 30), &list),
				0);
			for (i = 0; i < list->n; i++) {
				const struct pfs_dirent *e = &list->entries[i];

				assert_true(e->cursor > cursor);
				cursor = e->cursor;
				if (e->name.p[0] == 's')
					seen[number_of(e->name)]++;
			}
			end = list->end;
			pfs_list_free(list);
			for (i = 0; i < 5 && ++pages < 400; i++)
				disturb(c, dir, &seed, &next);
		}
		for (i = 0; i < 300; i++)
			assert_int_equal(seen[i], 1);
	}
	c_assert_usage_exact(c);
}

const struct contract_case contract_list_cases[] = {
	CASE(entries_are_listed_in_order_of_their_coming),
	CASE(every_page_size_tells_every_entry_once),
	CASE(a_removed_cursor_still_resumes),
	CASE(a_name_that_stays_keeps_its_place_when_its_object_changes),
	CASE(an_entry_that_stays_is_told_exactly_once_whatever_comes_and_goes),
	{NULL},
};
