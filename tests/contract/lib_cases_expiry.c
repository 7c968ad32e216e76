/*
 * The contract about expiry: how a time is set, what keeps it and what takes it along, and that an
 * object whose time has come is gone for every call.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define MS INT64_C(1000000)

/* A time so many ms from now, in whole ms as every engine can keep it. */
static int64_t in_ms(int64_t ms)
{
	return (pfs_now_ns() / MS + ms) * MS;
}

static struct pfs_mutation m_expires(uint64_t id, int64_t expires)
{
	struct pfs_mutation m = m_setattr(id, PFS_SET_EXPIRES, 0);

	m.set.expires = expires;
	return m;
}

static uint64_t expiring_file(struct contract *c, uint64_t dir, const char *name, const char *text,
			      int64_t expires)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = m_create(c_id(c), dir, name, S_IFREG | 0644);

	m.segs = &seg;
	m.nsegs = 1;
	m.size = seg.len;
	m.set.expires = expires;
	c_do(c, &m);
	assert_int_equal(m.attr.expires, expires);
	return m.id;
}

static void sleep_until(int64_t at)
{
	int64_t left = at - pfs_now_ns() + 2 * MS;
	struct timespec ts = {.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};

	if (left > 0)
		nanosleep(&ts, NULL);
}

static void nothing_expires_unless_it_is_told_to(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");

	assert_int_equal(c_attr(c, id).expires, 0);
	assert_int_equal(c_attr(c, c->root).expires, 0);
	assert_int_equal(c_attr(c, c_dir(c, c->root, "d")).expires, 0);
}

static void an_expiry_is_set_changed_and_taken_away(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	int64_t at = in_ms(1000000);
	struct pfs_attr before = c_attr(c, id), attr;
	struct pfs_mutation m = m_expires(id, at);

	c_do(c, &m);
	assert_int_equal(m.attr.expires, at);
	assert_int_equal(c_attr(c, id).expires, at);
	assert_true(m.attr.version > before.version);
	assert_int_equal(m.attr.content_version, before.content_version);
	assert_int_equal(s_lookup(c->s, c->root, "f", &attr), 0);
	assert_int_equal(attr.expires, at);
	m = m_expires(id, at + 5000 * MS);
	c_do(c, &m);
	assert_int_equal(c_attr(c, id).expires, at + 5000 * MS);
	m = m_expires(id, 0);
	c_do(c, &m);
	assert_int_equal(m.attr.expires, 0);
	assert_int_equal(c_attr(c, id).expires, 0);
	c_assert_text(c, id, "text");
}

static void only_regular_files_expire(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), link = c_symlink(c, c->root, "s", "t");
	struct pfs_mutation m = m_create(c_id(c), c->root, "x", S_IFDIR | 0700);

	c_fails(c, m_expires(dir, in_ms(1000000)), -EINVAL);
	c_fails(c, m_expires(link, in_ms(1000000)), -EINVAL);
	m.set.expires = in_ms(1000000);
	c_fails(c, m, -EINVAL);
	assert_int_equal(c_lookup(c, c->root, "x"), 0);
}

static void changes_of_content_and_attributes_leave_the_expiry(void **state)
{
	struct contract *c = *state;
	int64_t at = in_ms(1000000);
	uint64_t id = expiring_file(c, c->root, "f", "0123456789", at), content = c_id(c);
	struct pfs_seg seg = {2, "xyz", 3}, whole = {0, "new", 3};
	struct pfs_mutation stage = m_content(PFS_OP_STAGE, content, &whole, 1);
	struct pfs_mutation m[] = {
		m_content(PFS_OP_WRITE, id, &seg, 1),
		m_content(PFS_OP_APPEND, id, &seg, 1),
		m_content(PFS_OP_REPLACE, id, &whole, 1),
		m_size(PFS_OP_TRUNCATE, id, 100),
		m_size(PFS_OP_TRUNCATE, id, 20),
		m_punch(id, 0, 5),
		m_copy(id, 0, 5, id, 10),
		m_setattr(id, PFS_SET_MODE, 0600),
		m_size(PFS_OP_TRUNCATE, id, 20 << 20),
		m_content(PFS_OP_WRITE, id, &seg, 1),
		m_content(PFS_OP_REPLACE, id, &whole, 1),
		m_size(PFS_OP_PUBLISH, id, 3),
	};
	size_t i;

	c_do(c, &stage);
	m[PFS_ARRAY_SIZE(m) - 1].content = content;
	for (i = 0; i < PFS_ARRAY_SIZE(m); i++) {
		c_do(c, &m[i]);
		assert_int_equal(m[i].attr.expires, at);
		assert_int_equal(c_attr(c, id).expires, at);
	}
	c_rename(c, c->root, "f", c->root, "g", 0);
	assert_int_equal(c_attr(c, id).expires, at);
	c_rename(c, c->root, "g", c_dir(c, c->root, "d"), "g", 0);
	assert_int_equal(c_attr(c, id).expires, at);
}

static void a_write_can_set_the_expiry(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "0123456789");
	int64_t at = in_ms(1000000);
	struct pfs_seg seg = {0, "abc", 3};
	struct pfs_mutation m = m_content(PFS_OP_REPLACE, id, &seg, 1);

	m.set.mask = PFS_SET_EXPIRES;
	m.set.expires = at;
	c_do(c, &m);
	assert_int_equal(m.attr.expires, at);
	assert_int_equal(c_attr(c, id).expires, at);
	m = m_content(PFS_OP_APPEND, id, &seg, 1);
	m.set.mask = PFS_SET_EXPIRES;
	m.set.expires = 0;
	c_do(c, &m);
	assert_int_equal(c_attr(c, id).expires, 0);
	c_assert_text(c, id, "abcabc");
}

static void a_replacing_file_takes_over_the_expiry_unless_it_has_one(void **state)
{
	struct contract *c = *state;
	int64_t at = in_ms(1000000), other = in_ms(2000000);
	uint64_t id;

	expiring_file(c, c->root, "f", "old", at);
	id = c_file(c, c->root, "new", "new");
	c_rename(c, c->root, "new", c->root, "f", 0);
	assert_int_equal(c_attr(c, id).expires, at);
	c_assert_text(c, id, "new");
	id = expiring_file(c, c->root, "new", "newer", other);
	c_rename(c, c->root, "new", c->root, "f", 0);
	assert_int_equal(c_attr(c, id).expires, other);
	id = c_file(c, c->root, "plain", "");
	c_rename(c, c->root, "plain", c->root, "f", PFS_F_EXCHANGE);
	assert_int_equal(c_attr(c, id).expires, 0);
	c_assert_usage_exact(c);
}

static void what_has_expired_is_gone_for_every_call(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), next;
	int64_t at = in_ms(150);
	uint64_t id = expiring_file(c, dir, "f", "text", at), other = c_file(c, dir, "g", "stays");
	struct pfs_seg seg = {0, "x", 1};
	struct pfs_list *list;
	struct pfs_attr attr;
	char buf[8];

	c_assert_text(c, id, "text");
	sleep_until(at);
	assert_int_equal(s_lookup(c->s, dir, "f", &attr), -ENOENT);
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -ENOENT);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, 8), -ENOENT);
	assert_int_equal(pfs_store_seek(c->s, id, 0, false, &next), -ENOENT);
	c_fails(c, m_content(PFS_OP_WRITE, id, &seg, 1), -ENOENT);
	c_fails(c, m_setattr(id, PFS_SET_MODE, 0600), -ENOENT);
	c_fails(c, m_remove(dir, "f", 0), -ENOENT);
	c_fails(c, m_rename(dir, "f", dir, "h", 0), -ENOENT);
	assert_int_equal(pfs_store_list(c->s, dir, 0, 10, &list), 0);
	assert_int_equal(list->n, 1);
	assert_true(list->end);
	assert_int_equal(list->entries[0].attr.id, other);
	pfs_list_free(list);
	c_assert_usage_exact(c);
}

/* Nobody has looked since: the first call that does meets a name that is free again. */
static void the_name_of_what_has_expired_is_free(void **state)
{
	struct contract *c = *state;
	uint64_t dir = c_dir(c, c->root, "d"), id, full = c_dir(c, c->root, "full");
	int64_t at = in_ms(150);
	struct pfs_mutation m;

	expiring_file(c, dir, "a", "1", at);
	expiring_file(c, dir, "b", "1", at);
	expiring_file(c, full, "only", "1", at);
	id = c_file(c, dir, "c", "moves");
	sleep_until(at);
	c_file(c, dir, "a", "again");
	m = m_rename(dir, "c", dir, "b", PFS_F_NOREPLACE);
	c_do(c, &m);
	assert_int_equal(m.other.id, 0);
	assert_int_equal(m.attr.expires, 0);
	assert_int_equal(c_lookup(c, dir, "b"), id);
	m = m_remove(c->root, "full", PFS_F_DIR);
	c_do(c, &m);
	c_assert_usage_exact(c);
}

static void a_large_sparse_file_expires_as_well(void **state)
{
	struct contract *c = *state;
	int64_t at = in_ms(200);
	uint64_t id = expiring_file(c, c->root, "f", "text", at);
	struct pfs_attr attr;

	c_write(c, id, UINT64_C(5) << 30, "far", 3);
	assert_int_equal(c_attr(c, id).expires, at);
	sleep_until(at);
	assert_int_equal(s_lookup(c->s, c->root, "f", &attr), -ENOENT);
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -ENOENT);
	c_file(c, c->root, "f", "another");
	c_assert_usage_exact(c);
}

#define CASE_EXPIRY(fn) CASE_NEEDS(fn, PFS_CAP_EXPIRY)

const struct contract_case contract_expiry_cases[] = {
	CASE_EXPIRY(nothing_expires_unless_it_is_told_to),
	CASE_EXPIRY(an_expiry_is_set_changed_and_taken_away),
	CASE_EXPIRY(only_regular_files_expire),
	CASE_EXPIRY(changes_of_content_and_attributes_leave_the_expiry),
	CASE_EXPIRY(a_write_can_set_the_expiry),
	CASE_EXPIRY(a_replacing_file_takes_over_the_expiry_unless_it_has_one),
	CASE_EXPIRY(what_has_expired_is_gone_for_every_call),
	CASE_EXPIRY(the_name_of_what_has_expired_is_free),
	CASE_NEEDS(a_large_sparse_file_expires_as_well, PFS_CAP_EXPIRY | PFS_CAP_SPARSE),
	{NULL},
};
