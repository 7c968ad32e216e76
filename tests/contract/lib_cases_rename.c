/*
 * The contract about renames: every kind of source over every kind of target with every flag, held
 * against what rename(2) says, and the cases that a table does not show.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NOTHING, FILE_, SYMLINK, EMPTY_DIR, FULL_DIR, KINDS };

static uint64_t make(struct contract *c, uint64_t dir, const char *name, enum kind kind)
{
	uint64_t id = 0;

	switch (kind) {
	case FILE_:
		id = c_file(c, dir, name, name);
		break;
	case SYMLINK:
		id = c_symlink(c, dir, name, name);
		break;
	case EMPTY_DIR:
		id = c_dir(c, dir, name);
		break;
	case FULL_DIR:
		id = c_dir(c, dir, name);
		c_file(c, id, "inside", name);
		break;
	default:
		break;
	}
	return id;
}

static int expected(enum kind from, enum kind to, uint32_t flags)
{
	bool from_dir = from >= EMPTY_DIR, to_dir = to >= EMPTY_DIR;

	if (from == NOTHING || (to == NOTHING && flags & PFS_F_EXCHANGE))
		return -ENOENT;
	if (to != NOTHING && flags & PFS_F_NOREPLACE)
		return -EEXIST;
	if (to == NOTHING || flags & PFS_F_EXCHANGE)
		return 0;
	if (from_dir && !to_dir)
		return -ENOTDIR;
	if (!from_dir && to_dir)
		return -EISDIR;
	return to == FULL_DIR ? -ENOTEMPTY : 0;
}

/* One cell of the matrix, in `dir` to `dir2`. */
static void try_rename(struct contract *c, uint64_t dir, uint64_t dir2, enum kind from,
		       enum kind to, uint32_t flags)
{
	uint64_t a = make(c, dir, "from", from), b = make(c, dir2, "to", to), parent;
	struct pfs_mutation m = m_rename(dir, "from", dir2, "to", flags);
	char *before = c_dump(c);
	int err = expected(from, to, flags);

	if (err) {
		c_fails(c, m, err);
		c_assert_unchanged(c, before);
		return;
	}
	free(before);
	c_do(c, &m);
	assert_int_equal(m.attr.id, a);
	assert_int_equal(m.other.id, b);
	assert_int_equal(c_lookup(c, dir2, "to"), a);
	assert_int_equal(c_lookup(c, dir, "from"), flags & PFS_F_EXCHANGE ? b : 0);
	if (from >= EMPTY_DIR) {
		assert_int_equal(pfs_store_parent(c->s, a, &parent), 0);
		assert_int_equal(parent, dir2);
	}
	if (to >= EMPTY_DIR && flags & PFS_F_EXCHANGE) {
		assert_int_equal(pfs_store_parent(c->s, b, &parent), 0);
		assert_int_equal(parent, dir);
	}
	if (from == FULL_DIR)
		c_assert_text(c, c_lookup(c, a, "inside"), "from");
	if (to && !(flags & PFS_F_EXCHANGE))
		assert_int_equal(m.other.nlink, 0);
	c_assert_usage_exact(c);
}

static void rename_does_what_rename_2_says_in_every_combination(void **state)
{
	static const uint32_t flags[] = {0, PFS_F_NOREPLACE, PFS_F_EXCHANGE};
	struct contract *c = *state;
	enum kind from, to;
	size_t i;

	for (from = NOTHING; from < KINDS; from++) {
		for (to = NOTHING; to < KINDS; to++) {
			for (i = 0; i < PFS_ARRAY_SIZE(flags); i++) {
				uint64_t dir = c_dir(c, c->root, "same");
				uint64_t dir2 = c_dir(c, c->root, "one");
				char name[32];

				try_rename(c, dir, dir, from, to, flags[i]);
				try_rename(c, dir2, c_dir(c, dir2, "sub"), from, to, flags[i]);
				snprintf(name, sizeof(name), "same-%d%d%zu", from, to, i);
				c_rename(c, c->root, "same", c->root, name, 0);
				snprintf(name, sizeof(name), "one-%d%d%zu", from, to, i);
				c_rename(c, c->root, "one", c->root, name, 0);
			}
		}
	}
}

static void a_directory_cannot_go_into_itself(void **state)
{
	struct contract *c = *state;
	uint64_t a = c_dir(c, c->root, "a"), b = c_dir(c, a, "b"), d = c_dir(c, b, "d");
	char *before;

	c_file(c, d, "f", "");
	before = c_dump(c);
	c_fails(c, m_rename(c->root, "a", a, "x", 0), -EINVAL);
	c_fails(c, m_rename(c->root, "a", d, "x", 0), -EINVAL);
	c_fails(c, m_rename(c->root, "a", b, "d", PFS_F_EXCHANGE), -EINVAL);
	c_fails(c, m_rename(b, "d", c->root, "a", PFS_F_EXCHANGE), -EINVAL);
	c_fails(c, m_rename(b, "d", c->root, "a", 0), -ENOTEMPTY);
	c_fails(c, m_rename(a, "b", c->root, "a", 0), -ENOTEMPTY);
	c_fails(c, m_rename(d, "f", c->root, "a", PFS_F_EXCHANGE), -EINVAL);
	c_assert_unchanged(c, before);
	c_rename(c, b, "d", c->root, "d", 0);
	c_rename(c, c->root, "a", d, "a", 0);
	assert_int_equal(c_lookup(c, d, "a"), a);
	c_fails(c, m_rename(c->root, "d", b, "d", 0), -EINVAL);
}

static void rename_from_or_to_what_is_no_directory_says_so(void **state)
{
	struct contract *c = *state;
	uint64_t file = c_file(c, c->root, "f", ""), link = c_symlink(c, c->root, "s", "d");

	c_fails(c, m_rename(file, "x", c->root, "y", 0), -ENOTDIR);
	c_fails(c, m_rename(c->root, "f", file, "y", 0), -ENOTDIR);
	c_fails(c, m_rename(c->root, "f", link, "y", 0), -ENOTDIR);
	c_fails(c, m_rename(c->root, "f", c_id(c), "y", 0), -ENOENT);
	c_fails(c, m_rename(c_id(c), "f", c->root, "y", 0), -ENOENT);
	c_fails(c, m_rename(c->root, "f", c->root, "s", PFS_F_NOREPLACE | PFS_F_EXCHANGE), -EINVAL);
}

static void rename_onto_another_name_of_the_same_object_does_nothing(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "a", "text");
	struct pfs_mutation m = m_link(id, c->root, "b");
	char *before;

	c_do(c, &m);
	before = c_dump(c);
	c_rename(c, c->root, "a", c->root, "b", 0);
	assert_int_equal(c_lookup(c, c->root, "a"), id);
	assert_int_equal(c_lookup(c, c->root, "b"), id);
	c_rename(c, c->root, "a", c->root, "a", 0);
	c_fails(c, m_rename(c->root, "a", c->root, "b", PFS_F_NOREPLACE), -EEXIST);
	c_fails(c, m_rename(c->root, "a", c->root, "a", PFS_F_NOREPLACE), -EEXIST);
	c_assert_unchanged(c, before);
}

static void rename_over_one_of_two_names_leaves_the_other(void **state)
{
	struct contract *c = *state;
	uint64_t old = c_file(c, c->root, "a", "old"), new = c_file(c, c->root, "n", "new");
	struct pfs_mutation m = m_link(old, c->root, "b");

	c_do(c, &m);
	m = m_rename(c->root, "n", c->root, "a", 0);
	c_do(c, &m);
	assert_int_equal(m.other.id, old);
	assert_int_equal(m.other.nlink, 1);
	c_assert_text(c, c_lookup(c, c->root, "b"), "old");
	assert_int_equal(c_lookup(c, c->root, "a"), new);
	c_assert_usage_exact(c);
}

static void a_renamed_directory_takes_its_whole_tree_along(void **state)
{
	struct contract *c = *state;
	uint64_t top = c_dir(c, c->root, "top"), to = c_dir(c, c->root, "to"), dir = top;
	uint64_t version, parent;
	int i;

	for (i = 0; i < 30; i++) {
		c_file(c, dir, "file", "deep");
		dir = c_dir(c, dir, "dir");
	}
	version = c_attr(c, dir).version;
	c_rename(c, c->root, "top", to, "moved", 0);
	assert_int_equal(c_lookup(c, to, "moved"), top);
	assert_int_equal(pfs_store_parent(c->s, top, &parent), 0);
	assert_int_equal(parent, to);
	for (dir = top, i = 0; i < 30; i++) {
		c_assert_text(c, c_lookup(c, dir, "file"), "deep");
		dir = c_lookup(c, dir, "dir");
		assert_true(dir != 0);
	}
	assert_int_equal(c_attr(c, dir).version, version);
	c_rename(c, to, "moved", c->root, "top", 0);
	c_assert_usage_exact(c);
}

const struct contract_case contract_rename_cases[] = {
	CASE(rename_does_what_rename_2_says_in_every_combination),
	CASE(a_directory_cannot_go_into_itself),
	CASE(rename_from_or_to_what_is_no_directory_says_so),
	CASE_NEEDS(rename_onto_another_name_of_the_same_object_does_nothing, PFS_CAP_HARD_LINKS),
	CASE_NEEDS(rename_over_one_of_two_names_leaves_the_other, PFS_CAP_HARD_LINKS),
	CASE(a_renamed_directory_takes_its_whole_tree_along),
	{NULL},
};
