/*
 * The contract about the tree: namespaces, names, creating, finding, linking, removing, attributes
 * and extended attributes, each with every error that it names.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* ---- namespaces ----------------------------------------------------------------------------- */

static void a_new_namespace_is_an_empty_directory_whose_parent_is_itself(void **state)
{
	struct contract *c = *state;
	struct pfs_attr attr = c_attr(c, c->root);
	struct pfs_list *list;
	struct pfs_usage usage;
	uint64_t parent;

	assert_true(S_ISDIR(attr.mode));
	assert_int_equal(attr.nlink, 2);
	assert_true(attr.id >= PFS_ID_FIRST && attr.id <= PFS_ID_MAX);
	assert_int_equal(pfs_store_list(c->s, c->root, 0, 10, &list), 0);
	assert_int_equal(list->n, 0);
	assert_true(list->end);
	pfs_list_free(list);
	assert_int_equal(pfs_store_parent(c->s, c->root, &parent), 0);
	assert_int_equal(parent, c->root);
	assert_int_equal(pfs_store_usage(c->s, &usage), 0);
	assert_int_equal(usage.objects, 0);
	assert_int_equal(usage.bytes, 0);
}

static void with_create_on_write_a_start_makes_nothing(void **state)
{
	struct contract *c = *state;
	const struct pfs_engine *engine = pfs_engine_find(c->engine->name);
	struct pfs_backend *first, *second;
	struct pfs_store *s = NULL;
	struct pfs_msg msg = {{0}};
	char path[300];

	/* A place where nothing is. */
	pfs_store_free(c->s);
	c->s = NULL;
	pfs_backend_free(c->b);
	c->b = NULL;
	if (c->engine->file) {
		snprintf(path, sizeof(path), "%s/elsewhere.db", c->dir);
		c_option(c, "path", path);
	} else {
		c->engine->remove(c);
	}
	c_option(c, "create_on_write", "yes");
	assert_int_equal(pfs_backend_new("first", engine, &c->set, &first, &msg), 0);
	assert_int_equal(pfs_backend_start(first, &msg), -ENODATA);
	assert_int_equal(pfs_backend_start(first, &msg), -ENODATA);
	assert_int_equal(pfs_backend_open(first, "test", true, &s, &msg), -EHOSTDOWN);
	assert_int_equal(pfs_backend_new("second", engine, &c->set, &second, &msg), 0);
	assert_int_equal(pfs_backend_start(second, &msg), -ENODATA);
	assert_false(c->engine->file && access(path, F_OK) == 0);

	assert_int_equal(pfs_backend_make(first, &msg), 0);
	assert_int_equal(pfs_backend_make(first, &msg), 0);
	assert_int_equal(pfs_backend_open(first, "test", true, &s, &msg), 0);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_start(second, &msg), 0);
	assert_int_equal(pfs_backend_open(second, "test", false, &s, &msg), 0);
	pfs_store_free(s);
	pfs_backend_free(second);
	pfs_backend_free(first);
}

static void opening_a_missing_namespace_without_create_is_enoent(void **state)
{
	struct contract *c = *state;
	struct pfs_store *s = NULL;
	struct pfs_msg msg = {{0}};

	assert_int_equal(pfs_backend_open(c->b, "nowhere", false, &s, &msg), -ENOENT);
	assert_null(s);
	assert_true(msg.text[0] != '\0');
	assert_int_equal(pfs_backend_open(c->b, "test", false, &s, &msg), 0);
	pfs_store_free(s);
}

static void what_is_no_name_for_a_namespace_is_einval(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/"};
	struct contract *c = *state;
	struct pfs_store *s;
	struct pfs_msg msg;
	char longest[PFS_NAME_MAX + 2];
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		assert_int_equal(pfs_backend_open(c->b, bad[i], true, &s, &msg), -EINVAL);
		assert_int_equal(pfs_backend_namespace_remove(c->b, bad[i]), -EINVAL);
	}
	memset(longest, 'n', sizeof(longest));
	longest[PFS_NAME_MAX + 1] = '\0';
	assert_int_equal(pfs_backend_open(c->b, longest, true, &s, &msg), -EINVAL);
	longest[PFS_NAME_MAX] = '\0';
	assert_int_equal(pfs_backend_open(c->b, longest, true, &s, &msg), 0);
	pfs_store_free(s);
}

static void namespaces_do_not_see_each_other(void **state)
{
	struct contract *c = *state;
	struct pfs_store *other;
	struct pfs_mutation m;
	struct pfs_attr attr;
	struct pfs_list *list;
	struct pfs_usage usage;
	uint64_t file, root2;

	file = c_file(c, c->root, "a", "mine");
	assert_int_equal(pfs_backend_open(c->b, "other", true, &other, NULL), 0);
	assert_int_equal(pfs_store_root(other, &root2), 0);
	assert_int_not_equal(root2, c->root);
	assert_int_equal(s_lookup(other, root2, "a", &attr), -ENOENT);
	assert_int_equal(pfs_store_list(other, root2, 0, 10, &list), 0);
	assert_int_equal(list->n, 0);
	pfs_list_free(list);
	m = m_create(c_id(c), root2, "a", S_IFREG | 0600);
	assert_int_equal(s_batch(other, &m, 1, NULL), 0);
	assert_int_equal(pfs_store_usage(other, &usage), 0);
	assert_int_equal(usage.objects, 1);
	assert_int_equal(usage.bytes, 0);
	c_assert_text(c, file, "mine");
	m = m_remove(root2, "a", 0);
	assert_int_equal(s_batch(other, &m, 1, NULL), 0);
	assert_int_equal(c_lookup(c, c->root, "a"), file);
	assert_int_equal(pfs_store_usage(c->s, &usage), 0);
	assert_int_equal(usage.objects, 1);
	assert_int_equal(usage.bytes, 4);
	pfs_store_free(other);
}

static void namespaces_are_listed_by_id_and_removed_when_empty(void **state)
{
	struct contract *c = *state;
	struct pfs_namespace_list list;
	struct pfs_store *s;
	int seen = 0;
	size_t i;

	assert_int_equal(pfs_backend_open(c->b, "zz", true, &s, NULL), 0);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_open(c->b, "aa \n\x80", true, &s, NULL), 0);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_namespaces(c->b, &list), 0);
	assert_int_equal(list.n, 3);
	for (i = 0; i < list.n; i++) {
		assert_true(i == 0 || list.items[i - 1].id < list.items[i].id);
		seen += strcmp(list.items[i].name, "test") == 0;
		seen += 10 * (strcmp(list.items[i].name, "zz") == 0);
		seen += 100 * (strcmp(list.items[i].name, "aa \n\x80") == 0);
	}
	assert_int_equal(seen, 111);
	pfs_namespace_list_release(&list);

	c_file(c, c->root, "f", "");
	assert_int_equal(pfs_backend_namespace_remove(c->b, "test"), -ENOTEMPTY);
	assert_int_equal(pfs_backend_namespace_remove(c->b, "none"), -ENOENT);
	assert_int_equal(pfs_backend_namespace_remove(c->b, "zz"), 0);
	assert_int_equal(pfs_backend_namespace_remove(c->b, "zz"), -ENOENT);
	assert_int_equal(pfs_backend_namespaces(c->b, &list), 0);
	assert_int_equal(list.n, 2);
	pfs_namespace_list_release(&list);
}

static void a_removed_namespace_that_comes_back_has_new_ids(void **state)
{
	struct contract *c = *state;
	struct pfs_store *s;
	uint64_t before, after;

	assert_int_equal(pfs_backend_open(c->b, "again", true, &s, NULL), 0);
	assert_int_equal(pfs_store_root(s, &before), 0);
	assert_int_equal(pfs_backend_namespace_remove(c->b, "again"), 0);
	assert_int_equal(pfs_store_root(s, &after), -ENOENT);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_open(c->b, "again", true, &s, NULL), 0);
	assert_int_equal(pfs_store_root(s, &after), 0);
	assert_int_not_equal(before, after);
	pfs_store_free(s);
}

static void everything_is_there_after_a_reopen(void **state)
{
	struct contract *c = *state;
	struct pfs_seg value = {0, "v\0w", 3};
	struct pfs_mutation m;
	uint64_t root = c->root, dir, file;
	char *before;

	dir = c_dir(c, root, "d");
	file = c_file(c, dir, "f", "some text");
	c_symlink(c, dir, "s", "f");
	c_write(c, file, 1 << 20, "far", 3);
	if (c_has(c, PFS_CAP_HARD_LINKS)) {
		m = m_link(file, root, "again");
		c_do(c, &m);
	}
	if (c_has(c, PFS_CAP_XATTRS)) {
		m = m_setxattr(file, "user.x", &value, 0);
		c_do(c, &m);
	}
	before = c_dump(c);
	assert_int_equal(pfs_backend_sync(c->b), 0);
	c_reopen(c);
	assert_int_equal(c->root, root);
	c_assert_unchanged(c, before);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void every_byte_but_slash_and_nul_can_be_in_a_name(void **state)
{
	struct contract *c = *state;
	char name[3] = {0};
	uint64_t ids[256];
	int i;

	for (i = 1; i < 256; i++) {
		name[0] = (char)i;
		name[1] = '\0';
		if (i != '/')
			ids[i] = c_file(c, c->root, i == '.' ? ".x" : name, "1");
	}
	for (i = 1; i < 256; i++) {
		name[0] = (char)i;
		if (i != '/')
			assert_int_equal(c_lookup(c, c->root, i == '.' ? ".x" : name), ids[i]);
	}
}

static void odd_names_are_kept_byte_for_byte(void **state)
{
	static const char *const names[] = {
		"%",
		"%41",
		"A",
		"100%",
		"foo%20bar",
		":",
		"a:b",
		"\n",
		"two\nlines",
		" ",
		"  ",
		"-",
		"--help",
		"*",
		"'",
		"\"",
		"`$(id)`",
		"...",
		".hidden",
		"..x",
		"a.",
		"\xff\xfe",
		"\xc3\x28",
		"\xed\xa0\x80",
		"\xe2\x82",
		"\xc3\xa9",
		"e\xcc\x81",
		"E\xcc\x81",
		"\\",
		"a\\b",
		"NULL",
		"\x7f",
		"\x01",
		"0",
		"00",
		"1e3",
		"1.0",
		"x'41'",
		"\xef\xbb\xbf"
		"bom",
	};
	struct contract *c = *state;
	uint64_t ids[PFS_ARRAY_SIZE(names)], cursor = 0;
	struct pfs_list *list;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		ids[i] = c_file(c, c->root, names[i], names[i]);
	assert_int_equal(pfs_store_list(c->s, c->root, cursor, 4096, &list), 0);
	assert_int_equal(list->n, PFS_ARRAY_SIZE(names));
	for (i = 0; i < PFS_ARRAY_SIZE(names); i++) {
		assert_true(pfs_bytes_eq(list->entries[i].name, pfs_bytes_str(names[i])));
		assert_int_equal(list->entries[i].attr.id, ids[i]);
		assert_int_equal(c_lookup(c, c->root, names[i]), ids[i]);
		c_assert_text(c, ids[i], names[i]);
	}
	pfs_list_free(list);
	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		c_remove(c, c->root, names[i]);
	assert_int_equal(c_lookup(c, c->root, "A"), 0);
}

static void a_name_of_255_bytes_works_and_one_more_is_enametoolong(void **state)
{
	struct contract *c = *state;
	char name[PFS_NAME_MAX + 2];
	struct pfs_attr attr;
	uint64_t id;

	memset(name, '\xfe', sizeof(name));
	name[PFS_NAME_MAX + 1] = '\0';
	c_fails(c, m_create(c_id(c), c->root, name, S_IFREG), -ENAMETOOLONG);
	assert_int_equal(s_lookup(c->s, c->root, name, &attr), -ENAMETOOLONG);
	c_file(c, c->root, "x", "");
	c_fails(c, m_rename(c->root, "x", c->root, name, 0), -ENAMETOOLONG);
	c_fails(c, m_remove(c->root, name, 0), -ENAMETOOLONG);
	name[PFS_NAME_MAX] = '\0';
	id = c_file(c, c->root, name, "long");
	assert_int_equal(c_lookup(c, c->root, name), id);
	name[PFS_NAME_MAX - 1] = '\0';
	assert_int_equal(c_lookup(c, c->root, name), 0);
}

static void what_is_no_name_is_einval_everywhere(void **state)
{
	static const struct pfs_bytes bad[] = {
		{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}, {"\0", 1},
	};
	struct contract *c = *state;
	uint64_t file = c_file(c, c->root, "f", "");
	struct pfs_mutation m;
	struct pfs_attr attr;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		assert_int_equal(pfs_store_lookup(c->s, c->root, bad[i], &attr), -EINVAL);
		m = m_create(c_id(c), c->root, "x", S_IFREG);
		m.name = bad[i];
		c_fails(c, m, -EINVAL);
		m = m_remove(c->root, "x", 0);
		m.name = bad[i];
		c_fails(c, m, -EINVAL);
		m = m_link(file, c->root, "x");
		m.name = bad[i];
		c_fails(c, m, -EINVAL);
		m = m_rename(c->root, "f", c->root, "x", 0);
		m.name2 = bad[i];
		c_fails(c, m, -EINVAL);
		m = m_rename(c->root, "x", c->root, "f", 0);
		m.name = bad[i];
		c_fails(c, m, -EINVAL);
	}
}

/* ---- creating and finding ------------------------------------------------------------------- */

static void create_keeps_every_attribute_of_every_type(void **state)
{
	static const uint32_t modes[] = {
		S_IFREG | 0640,	 S_IFREG | 07777, S_IFDIR | 01777, S_IFLNK | 0777, S_IFIFO | 0600,
		S_IFSOCK | 0755, S_IFCHR | 0666,  S_IFBLK | 0660,  S_IFDIR | 0,
	};
	struct contract *c = *state;
	int64_t before = pfs_now_ns();
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(modes); i++) {
		struct pfs_seg target = {0, "to/where", 8};
		bool link = S_ISLNK(modes[i]);
		char name[16];
		struct pfs_mutation m;
		struct pfs_attr attr;

		snprintf(name, sizeof(name), "o%zu", i);
		m = m_create(c_id(c), c->root, name, modes[i]);
		m.set.uid = 4000000000u;
		m.set.gid = 7;
		m.set.rdev = S_ISCHR(modes[i]) || S_ISBLK(modes[i]) ? makedev(259, 70000) : 0;
		m.set.mtime = -5 * NSEC_PER_SEC + 1; /* before the epoch, not a whole second */
		m.segs = &target;
		m.nsegs = link ? 1 : 0;
		m.size = link ? 8 : 0;
		c_do(c, &m);
		assert_int_equal(s_lookup(c->s, c->root, name, &attr), 0);
		c_assert_attr_equal(&attr, &m.attr);
		assert_int_equal(attr.id, m.id);
		assert_int_equal(attr.mode, modes[i]);
		assert_int_equal(attr.uid, 4000000000u);
		assert_int_equal(attr.gid, 7);
		assert_int_equal(attr.nlink, S_ISDIR(modes[i]) ? 2 : 1);
		assert_int_equal(attr.rdev, m.set.rdev);
		assert_int_equal(attr.size, link ? 8 : 0);
		assert_int_equal(attr.mtime, -5 * NSEC_PER_SEC + 1);
		assert_true(attr.ctime >= before && attr.btime == attr.ctime);
	}
}

static void create_over_any_existing_name_is_eexist(void **state)
{
	struct contract *c = *state;
	char *before;

	c_file(c, c->root, "f", "x");
	c_dir(c, c->root, "d");
	c_symlink(c, c->root, "s", "nowhere");
	before = c_dump(c);
	c_fails(c, m_create(c_id(c), c->root, "f", S_IFREG), -EEXIST);
	c_fails(c, m_create(c_id(c), c->root, "f", S_IFDIR), -EEXIST);
	c_fails(c, m_create(c_id(c), c->root, "d", S_IFREG), -EEXIST);
	c_fails(c, m_create(c_id(c), c->root, "s", S_IFREG), -EEXIST);
	c_assert_unchanged(c, before);
}

static void create_in_what_is_no_directory_says_so(void **state)
{
	struct contract *c = *state;
	uint64_t file = c_file(c, c->root, "f", ""), link = c_symlink(c, c->root, "s", "d");
	uint64_t gone = c_dir(c, c->root, "d");

	c_fails(c, m_create(c_id(c), file, "x", S_IFREG), -ENOTDIR);
	c_fails(c, m_create(c_id(c), link, "x", S_IFREG), -ENOTDIR);
	c_fails(c, m_create(c_id(c), c_id(c), "x", S_IFREG), -ENOENT);
	c_fails(c, m_create(c_id(c), PFS_ID_MAX, "x", S_IFREG), -ENOENT);
	pfs_store_hold(c->s, gone);
	c_remove(c, c->root, "d");
	assert_int_equal(c_attr(c, gone).nlink, 0);
	c_fails(c, m_create(c_id(c), gone, "x", S_IFREG), -ENOENT);
	c_fails(c, m_rename(c->root, "f", gone, "x", 0), -ENOENT);
	pfs_store_release_id(c->s, gone);
}

static void finding_what_is_not_there_says_what_is_wrong(void **state)
{
	struct contract *c = *state;
	uint64_t file = c_file(c, c->root, "f", "text"), dir = c_dir(c, c->root, "d");
	uint64_t never = c_id(c), parent;
	struct pfs_attr attr;
	struct pfs_list *list;
	char buf[8];

	assert_int_equal(s_lookup(c->s, c->root, "none", &attr), -ENOENT);
	assert_int_equal(s_lookup(c->s, c->root, "F", &attr), -ENOENT);
	assert_int_equal(s_lookup(c->s, file, "x", &attr), -ENOTDIR);
	assert_int_equal(s_lookup(c->s, never, "x", &attr), -ENOENT);
	assert_int_equal(pfs_store_getattr(c->s, never, &attr), -ENOENT);
	assert_int_equal(pfs_store_getattr(c->s, 0, &attr), -ENOENT);
	assert_int_equal(pfs_store_list(c->s, file, 0, 10, &list), -ENOTDIR);
	assert_int_equal(pfs_store_list(c->s, never, 0, 10, &list), -ENOENT);
	assert_int_equal(pfs_store_list(c->s, dir, 0, 0, &list), -EINVAL);
	assert_int_equal(pfs_store_list(c->s, dir, 0, 4097, &list), -EINVAL);
	assert_int_equal(pfs_store_parent(c->s, file, &parent), -ENOTDIR);
	assert_int_equal(pfs_store_parent(c->s, never, &parent), -ENOENT);
	assert_int_equal(pfs_store_parent(c->s, dir, &parent), 0);
	assert_int_equal(parent, c->root);
	assert_int_equal(pfs_store_read(c->s, dir, 0, buf, 8), -EISDIR);
	assert_int_equal(pfs_store_read(c->s, never, 0, buf, 8), -ENOENT);
}

static void a_symlink_reads_as_its_target(void **state)
{
	struct contract *c = *state;
	char longest[PFS_SYMLINK_MAX + 2], buf[PFS_SYMLINK_MAX + 10];
	struct pfs_seg seg = {0, longest, PFS_SYMLINK_MAX + 1};
	struct pfs_mutation m;
	uint64_t id = c_symlink(c, c->root, "s", "../\xff\n");

	c_assert_text(c, id, "../\xff\n");
	memset(longest, 't', sizeof(longest));
	longest[PFS_SYMLINK_MAX] = '\0';
	id = c_symlink(c, c->root, "long", longest);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, sizeof(buf)), PFS_SYMLINK_MAX);
	assert_memory_equal(buf, longest, PFS_SYMLINK_MAX);
	m = m_create(c_id(c), c->root, "longer", S_IFLNK | 0777);
	m.segs = &seg;
	m.nsegs = 1;
	m.size = seg.len;
	c_fails(c, m, -ENAMETOOLONG);
	c_fails(c, m_create(c_id(c), c->root, "empty", S_IFLNK | 0777), -EINVAL);
}

static void a_directory_moves_its_times_when_a_child_comes_or_goes(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d");
	struct pfs_attr before, after;
	int64_t start;

	before = c_attr(c, dir);
	start = pfs_now_ns();
	c_file(c, dir, "f", "");
	after = c_attr(c, dir);
	assert_true(after.mtime >= start && after.ctime == after.mtime);
	assert_true(after.version > before.version);
	before = after;
	c_rename(c, dir, "f", c->root, "g", 0);
	after = c_attr(c, dir);
	assert_true(after.version > before.version && after.mtime >= before.mtime);
	before = c_attr(c, c->root);
	c_remove(c, c->root, "g");
	after = c_attr(c, c->root);
	assert_true(after.version > before.version && after.mtime >= before.mtime);
}

/* ---- removing ------------------------------------------------------------------------------- */

static void remove_wants_the_right_kind_and_an_empty_directory(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), file = c_file(c, c->root, "f", "");
	char *before;

	c_file(c, dir, "inside", "");
	before = c_dump(c);
	c_fails(c, m_remove(c->root, "none", 0), -ENOENT);
	c_fails(c, m_remove(c->root, "none", PFS_F_DIR), -ENOENT);
	c_fails(c, m_remove(c->root, "f", PFS_F_DIR), -ENOTDIR);
	c_fails(c, m_remove(c->root, "d", 0), -EISDIR);
	c_fails(c, m_remove(c->root, "d", PFS_F_DIR), -ENOTEMPTY);
	c_fails(c, m_remove(file, "x", 0), -ENOTDIR);
	c_fails(c, m_remove(c_id(c), "x", 0), -ENOENT);
	c_assert_unchanged(c, before);
	c_remove(c, dir, "inside");
	c_remove(c, c->root, "d");
	assert_int_equal(c_lookup(c, c->root, "d"), 0);
	c_assert_usage_exact(c);
}

static void remove_tells_what_it_removed(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "12345");
	struct pfs_mutation m = m_remove(c->root, "f", 0);

	c_do(c, &m);
	assert_int_equal(m.other.id, id);
	assert_int_equal(m.other.nlink, 0);
	assert_int_equal(m.other.size, 5);
	assert_true(S_ISREG(m.other.mode));
	assert_int_equal(c_lookup(c, c->root, "f"), 0);
	c_assert_usage_exact(c);
}

static void hard_links_are_names_of_one_object(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "a", "one"), dir = c_dir(c, c->root, "d");
	struct pfs_mutation m = m_link(id, dir, "b");

	c_do(c, &m);
	assert_int_equal(m.attr.nlink, 2);
	assert_int_equal(c_lookup(c, dir, "b"), id);
	c_write(c, id, 0, "two", 3);
	c_assert_text(c, c_lookup(c, dir, "b"), "two");
	m = m_remove(c->root, "a", 0);
	c_do(c, &m);
	assert_int_equal(m.other.nlink, 1);
	c_assert_text(c, c_lookup(c, dir, "b"), "two");
	c_assert_usage_exact(c);
	c_remove(c, dir, "b");
	c_assert_usage_exact(c);
}

static void links_are_refused_where_they_cannot_be(void **state)
{
	struct contract *c = *state;
	uint64_t file = c_file(c, c->root, "f", ""), dir = c_dir(c, c->root, "d");
	uint64_t link = c_symlink(c, c->root, "s", "f");
	struct pfs_mutation m;

	c_fails(c, m_link(dir, c->root, "x"), -EPERM);
	c_fails(c, m_link(file, c->root, "d"), -EEXIST);
	c_fails(c, m_link(file, c->root, "f"), -EEXIST);
	c_fails(c, m_link(c_id(c), c->root, "x"), -ENOENT);
	c_fails(c, m_link(file, c_id(c), "x"), -ENOENT);
	c_fails(c, m_link(file, link, "x"), -ENOTDIR);
	m = m_link(link, dir, "s2");
	c_do(c, &m);
	c_assert_text(c, c_lookup(c, dir, "s2"), "f");
	pfs_store_hold(c->s, file);
	c_remove(c, c->root, "f");
	c_fails(c, m_link(file, c->root, "back"), -ENOENT);
	pfs_store_release_id(c->s, file);
}

/* ---- attributes ----------------------------------------------------------------------------- */

static void setattr_changes_what_its_mask_names_and_nothing_else(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	struct pfs_attr before = c_attr(c, id);
	struct pfs_mutation m = m_setattr(id, PFS_SET_MODE, S_IFDIR | 04711);

	m.set.uid = 1;
	m.set.mtime = 2;
	c_do(c, &m);
	assert_int_equal(m.attr.mode, S_IFREG | 04711); /* the type never changes */
	assert_int_equal(m.attr.uid, before.uid);
	assert_int_equal(m.attr.mtime, before.mtime);
	assert_true(m.attr.version > before.version);
	assert_int_equal(m.attr.content_version, before.content_version);
	assert_true(m.attr.ctime >= before.ctime);

	m = m_setattr(id, PFS_SET_UID | PFS_SET_GID | PFS_SET_MTIME, 0);
	m.set.uid = 0;
	m.set.gid = 4294967294u;
	m.set.mtime = INT64_C(4102444800123456789); /* beyond 2038, to the ns */
	c_do(c, &m);
	assert_int_equal(m.attr.mode, S_IFREG | 04711);
	assert_int_equal(m.attr.uid, 0);
	assert_int_equal(m.attr.gid, 4294967294u);
	assert_int_equal(m.attr.mtime, INT64_C(4102444800123456789));
	c_assert_text(c, id, "text");
	c_fails(c, m_setattr(c_id(c), PFS_SET_MODE, 0), -ENOENT);
}

static void killpriv_clears_setuid_and_setgid_where_executable(void **state)
{
	static const struct {
		uint32_t before, after;
	} modes[] = {{06755, 0755}, {06744, 02744}, {04644, 0644}, {0644, 0644}, {01777, 01777}};
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	struct pfs_seg seg = {0, "x", 1};
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(modes); i++) {
		struct pfs_mutation m = m_setattr(id, PFS_SET_MODE, modes[i].before);

		c_do(c, &m);
		m = m_content(PFS_OP_WRITE, id, &seg, 1);
		c_do(c, &m);
		assert_int_equal(m.attr.mode, S_IFREG | modes[i].before);
		m.set.mask = PFS_SET_KILLPRIV;
		c_do(c, &m);
		assert_int_equal(m.attr.mode, S_IFREG | modes[i].after);
	}
}

static void versions_grow_with_every_change(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "0123456789");
	struct pfs_seg seg = {2, "xyz", 3};
	struct pfs_mutation content[] = {
		m_content(PFS_OP_WRITE, id, &seg, 1),
		m_content(PFS_OP_APPEND, id, &seg, 1),
		m_content(PFS_OP_REPLACE, id, &seg, 1),
		m_size(PFS_OP_TRUNCATE, id, 100),
		m_punch(id, 0, 10),
		m_copy(id, 0, 5, id, 50),
	};
	struct pfs_mutation other[] = {
		m_setattr(id, PFS_SET_MODE, 0600),
		m_rename(c->root, "f", c->root, "g", 0),
	};
	struct pfs_attr last = c_attr(c, id);
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(content); i++) {
		c_do(c, &content[i]);
		assert_true(content[i].attr.version > last.version);
		assert_true(content[i].attr.content_version > last.content_version);
		last = content[i].attr;
	}
	for (i = 0; i < PFS_ARRAY_SIZE(other); i++) {
		c_do(c, &other[i]);
		assert_true(other[i].attr.version >= last.version);
		assert_int_equal(other[i].attr.content_version, last.content_version);
		last = other[i].attr;
	}
}

/* ---- extended attributes -------------------------------------------------------------------- */

static void xattrs_keep_any_bytes_on_any_object(void **state)
{
	static const char *const names[] = {
		"user.a", "user.%41", "user. \n", "user.\xff", "security.x", "user.'\"", "x",
	};
	struct contract *c = *state;
	uint64_t ids[] = {
		c_file(c, c->root, "f", ""),
		c_dir(c, c->root, "d"),
		c_symlink(c, c->root, "s", "t"),
		c->root,
	};
	size_t i, j;

	for (i = 0; i < PFS_ARRAY_SIZE(ids); i++) {
		struct pfs_buf list = {0};
		size_t total = 0;

		for (j = 0; j < PFS_ARRAY_SIZE(names); j++) {
			struct pfs_seg value = {0, "\0\xff value", j};
			struct pfs_mutation m = m_setxattr(ids[i], names[j], &value, 0);
			char buf[16];

			c_do(c, &m);
			total += strlen(names[j]) + 1;
			assert_int_equal(pfs_store_xattr_get(c->s, ids[i], m.name, NULL, 0), j);
			assert_int_equal(pfs_store_xattr_get(c->s, ids[i], m.name, buf, 16), j);
			assert_memory_equal(buf, value.p, j);
		}
		assert_int_equal(pfs_store_xattr_list(c->s, ids[i], &list), 0);
		assert_int_equal(list.len, total);
		for (j = 0; j < PFS_ARRAY_SIZE(names); j++)
			assert_non_null(
				memmem(list.data, list.len, names[j], strlen(names[j]) + 1));
		pfs_buf_release(&list);
	}
}

static void xattr_flags_and_errors_are_as_promised(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	struct pfs_seg value = {0, "12345", 5};
	struct pfs_mutation m;
	struct pfs_buf list = {0};
	struct pfs_attr before;
	char buf[8];

	c_fails(c, m_setxattr(id, "user.a", &value, PFS_F_REPLACE), -ENODATA);
	c_fails(c, m_removexattr(id, "user.a"), -ENODATA);
	assert_int_equal(pfs_store_xattr_get(c->s, id, PFS_BYTES("user.a"), buf, 8), -ENODATA);
	before = c_attr(c, id);
	m = m_setxattr(id, "user.a", &value, PFS_F_CREATE);
	c_do(c, &m);
	assert_true(m.attr.version > before.version);
	assert_int_equal(m.attr.content_version, before.content_version);
	c_fails(c, m_setxattr(id, "user.a", &value, PFS_F_CREATE), -EEXIST);
	value.len = 4;
	m = m_setxattr(id, "user.a", &value, PFS_F_REPLACE);
	c_do(c, &m);
	assert_int_equal(pfs_store_xattr_get(c->s, id, PFS_BYTES("user.a"), buf, 3), -ERANGE);
	assert_int_equal(pfs_store_xattr_get(c->s, id, PFS_BYTES("user.a"), buf, 4), 4);
	assert_int_equal(pfs_store_xattr_get(c->s, id, PFS_BYTES("user.A"), buf, 4), -ENODATA);
	m = m_removexattr(id, "user.a");
	c_do(c, &m);
	assert_int_equal(pfs_store_xattr_list(c->s, id, &list), 0);
	assert_int_equal(list.len, 0);
	pfs_buf_release(&list);
	c_fails(c, m_setxattr(c_id(c), "user.a", &value, 0), -ENOENT);
	assert_int_equal(pfs_store_xattr_get(c->s, c_id(c), PFS_BYTES("user.a"), buf, 4), -ENOENT);
	assert_int_equal(pfs_store_xattr_list(c->s, c_id(c), &list), -ENOENT);
}

static void xattrs_have_limits(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	char *big = malloc(PFS_XATTR_SIZE_MAX + 1), *back = malloc(PFS_XATTR_SIZE_MAX);
	struct pfs_seg value = {0, big, PFS_XATTR_SIZE_MAX + 1};
	char name[PFS_XATTR_NAME_MAX + 2];
	struct pfs_mutation m;
	uint64_t seed = 1;

	assert_true(big && back);
	c_fill(&seed, big, PFS_XATTR_SIZE_MAX + 1);
	c_fails(c, m_setxattr(id, "user.a", &value, 0), -E2BIG);
	c_fails(c, m_setxattr(id, "", &value, 0), -ERANGE);
	memset(name, 'n', sizeof(name));
	name[PFS_XATTR_NAME_MAX + 1] = '\0';
	value.len = PFS_XATTR_SIZE_MAX;
	c_fails(c, m_setxattr(id, name, &value, 0), -ERANGE);
	assert_int_equal(pfs_store_xattr_get(c->s, id, pfs_bytes_str(name), NULL, 0), -ERANGE);
	name[PFS_XATTR_NAME_MAX] = '\0';
	m = m_setxattr(id, name, &value, 0);
	c_do(c, &m);
	assert_int_equal(pfs_store_xattr_get(c->s, id, m.name, back, PFS_XATTR_SIZE_MAX),
			 PFS_XATTR_SIZE_MAX);
	assert_memory_equal(big, back, PFS_XATTR_SIZE_MAX);
	free(big);
	free(back);
}

/* ---- ids, epoch, telling -------------------------------------------------------------------- */

static void ids_are_fresh_also_after_a_reopen(void **state)
{
	struct contract *c = *state;
	uint64_t first, next, i;

	assert_int_equal(pfs_store_alloc_ids(c->s, 0, &first), -EINVAL);
	assert_int_equal(pfs_store_alloc_ids(c->s, 65537, &first), -EINVAL);
	assert_int_equal(pfs_store_alloc_ids(c->s, 65536, &first), 0);
	assert_true(first >= PFS_ID_FIRST && first > c->root);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pfs_store_alloc_ids(c->s, 1000, &next), 0);
		assert_true(next >= first + 65536 || next + 1000 <= first);
		first = next - 64536; /* [first, first + 65536) ends where next does */
	}
	if (!c_has(c, PFS_CAP_PERSISTENT))
		return;
	c_reopen(c);
	assert_int_equal(pfs_store_alloc_ids(c->s, 1, &first), 0);
	assert_true(first >= next + 1000);
}

static void a_batch_of_another_epoch_is_estale(void **state)
{
	struct contract *c = *state;
	struct pfs_mutation m = m_create(c_id(c), c->root, "f", S_IFREG);
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = pfs_now_ns()};
	uint64_t epoch = pfs_store_epoch(c->s);
	char *before = c_dump(c);

	assert_true(epoch != 0);
	batch.epoch = epoch + 1;
	assert_int_equal(pfs_store_commit(c->s, &batch), -ESTALE);
	c_assert_unchanged(c, before);
	assert_int_equal(pfs_store_epoch(c->s), epoch);
	batch.epoch = epoch;
	assert_int_equal(pfs_store_commit(c->s, &batch), 0);
}

static void the_backend_tells_how_it_is(void **state)
{
	struct contract *c = *state;
	struct pfs_call_stats before[PFS_CALL_COUNT_], after[PFS_CALL_COUNT_];
	struct pfs_connections connections;
	struct pfs_health health;
	struct pfs_statfs fs;
	struct pfs_msg msg = {{0}};
	struct pfs_attr attr;
	unsigned i;
	uint64_t sum = 0;

	pfs_backend_stats(c->b, before);
	assert_int_equal(s_lookup(c->s, c->root, "none", &attr), -ENOENT);
	pfs_backend_stats(c->b, after);
	assert_int_equal(after[PFS_CALL_LOOKUP].calls, before[PFS_CALL_LOOKUP].calls + 1);
	assert_int_equal(after[PFS_CALL_LOOKUP].errors, before[PFS_CALL_LOOKUP].errors);
	for (i = 0; i < PFS_LATENCY_BUCKETS; i++)
		sum += after[PFS_CALL_LOOKUP].buckets[i];
	assert_int_equal(sum, after[PFS_CALL_LOOKUP].calls);

	pfs_backend_health(c->b, &health);
	assert_true(health.ok);
	assert_string_equal(health.why.text, "");
	if (!c_has(c, PFS_CAP_DURABLE_SYNC))
		assert_true(health.durable.text[0] != '\0');
	assert_int_equal(pfs_backend_statfs(c->b, &fs), 0);
	assert_true(fs.available <= fs.total);
	pfs_backend_connections(c->b, &connections);
	assert_true(connections.busy <= connections.open);
	assert_int_equal(pfs_backend_sessions(c->b), 1);
	assert_int_equal(pfs_backend_heartbeat(c->b), 0);
	assert_int_equal(pfs_backend_sync(c->b), 0);
	assert_int_equal(pfs_backend_maintain(c->b, "frobnicate", &msg), -EINVAL);
	assert_non_null(strstr(msg.text, "sweep"));
	assert_int_equal(pfs_backend_start(c->b, &msg), 0); /* started: does nothing */
}

static void every_maintenance_verb_leaves_the_tree_as_it_is(void **state)
{
	static const char *const verbs[] = {"sweep", "analyze", "compact", "check"};
	struct contract *c = *state;
	struct pfs_msg msg = {{0}};
	char *before;
	size_t i;

	c_file(c, c_dir(c, c->root, "d"), "f", "text");
	c_file(c, c->root, "gone", "more text");
	c_remove(c, c->root, "gone");
	before = c_dump(c);
	for (i = 0; i < PFS_ARRAY_SIZE(verbs); i++) {
		int err = pfs_backend_maintain(c->b, verbs[i], &msg);

		if (err)
			fail_msg("%s: %s (%s)", verbs[i], msg.text, strerror(-err));
	}
	c_assert_unchanged(c, before);
}

const struct contract_case contract_tree_cases[] = {
	CASE(a_new_namespace_is_an_empty_directory_whose_parent_is_itself),
	CASE_NEEDS(opening_a_missing_namespace_without_create_is_enoent, PFS_CAP_NAMESPACES),
	CASE_NEEDS(with_create_on_write_a_start_makes_nothing, NEEDS_SHARED),
	CASE_NEEDS(what_is_no_name_for_a_namespace_is_einval, PFS_CAP_NAMESPACES),
	CASE_NEEDS(namespaces_do_not_see_each_other, PFS_CAP_NAMESPACES),
	CASE_NEEDS(namespaces_are_listed_by_id_and_removed_when_empty, PFS_CAP_NAMESPACES),
	CASE_NEEDS(a_removed_namespace_that_comes_back_has_new_ids, PFS_CAP_NAMESPACES),
	CASE_NEEDS(everything_is_there_after_a_reopen, PFS_CAP_PERSISTENT),
	CASE(every_byte_but_slash_and_nul_can_be_in_a_name),
	CASE(odd_names_are_kept_byte_for_byte),
	CASE(a_name_of_255_bytes_works_and_one_more_is_enametoolong),
	CASE_NEEDS(what_is_no_name_is_einval_everywhere, PFS_CAP_HARD_LINKS),
	CASE(create_keeps_every_attribute_of_every_type),
	CASE(create_over_any_existing_name_is_eexist),
	CASE(create_in_what_is_no_directory_says_so),
	CASE(finding_what_is_not_there_says_what_is_wrong),
	CASE(a_symlink_reads_as_its_target),
	CASE(a_directory_moves_its_times_when_a_child_comes_or_goes),
	CASE(remove_wants_the_right_kind_and_an_empty_directory),
	CASE(remove_tells_what_it_removed),
	CASE_NEEDS(hard_links_are_names_of_one_object, PFS_CAP_HARD_LINKS),
	CASE_NEEDS(links_are_refused_where_they_cannot_be, PFS_CAP_HARD_LINKS),
	CASE(setattr_changes_what_its_mask_names_and_nothing_else),
	CASE(killpriv_clears_setuid_and_setgid_where_executable),
	CASE(versions_grow_with_every_change),
	CASE_NEEDS(xattrs_keep_any_bytes_on_any_object, PFS_CAP_XATTRS),
	CASE_NEEDS(xattr_flags_and_errors_are_as_promised, PFS_CAP_XATTRS),
	CASE_NEEDS(xattrs_have_limits, PFS_CAP_XATTRS),
	CASE(ids_are_fresh_also_after_a_reopen),
	CASE(a_batch_of_another_epoch_is_estale),
	CASE(the_backend_tells_how_it_is),
	CASE(every_maintenance_verb_leaves_the_tree_as_it_is),
	{NULL},
};
