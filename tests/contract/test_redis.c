/*
 * The Redis engine and other programs: what redis-cli writes is seen by the store, what the store
 * writes by redis-cli, at once and in both directions, and what is not ours is left alone.
 */
#include "tests/contract/lib_redis_server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

static int started(void **state)
{
	rs_setup(state);
	rs_start(*state);
	return 0;
}

static void assert_key(struct rs *r, const char *key, const char *want)
{
	redisReply *reply = rd_command(r->cli, "GET %s", key);

	if (!want) {
		assert_int_equal(reply->type, REDIS_REPLY_NIL);
	} else {
		assert_int_equal(reply->type, REDIS_REPLY_STRING);
		assert_string_equal(reply->str, want);
	}
	freeReplyObject(reply);
}

static size_t listed(struct pfs_store *s, uint64_t dir)
{
	struct pfs_list *list;
	size_t n;

	assert_int_equal(pfs_store_list(s, dir, 0, 4096, &list), 0);
	assert_true(list->end);
	n = list->n;
	pfs_list_free(list);
	return n;
}

/* ---- ours, seen by them --------------------------------------------------------------------- */

static void a_file_is_the_string_at_its_key(void **state)
{
	struct rs *r = *state;
	uint64_t dir = rs_dir(r, r->root, "a dir"), id = rs_file(r, dir, "f", "one");
	struct pfs_seg seg = {1, "XX", 2};

	assert_key(r, "test:a dir/f", "one");
	assert_int_equal(rs_do(r, m_content(PFS_OP_WRITE, id, &seg, 1)), 0);
	assert_key(r, "test:a dir/f", "oXX");
	assert_int_equal(rs_do(r, m_content(PFS_OP_APPEND, id, &seg, 1)), 0);
	assert_key(r, "test:a dir/f", "oXXXX");
	assert_int_equal(rs_do(r, m_size(PFS_OP_TRUNCATE, id, 2)), 0);
	assert_key(r, "test:a dir/f", "oX");
	assert_int_equal(rs_do(r, m_rename(dir, "f", r->root, "g", 0)), 0);
	assert_key(r, "test:a dir/f", NULL);
	assert_key(r, "test:g", "oX");
	rs_file(r, dir, "h", "");
	assert_key(r, "test:a dir/h", "");
	assert_int_equal(rs_do(r, m_rename(r->root, "a dir", r->root, "b", 0)), 0);
	assert_key(r, "test:b/h", "");
	assert_int_equal(rs_do(r, m_remove(r->root, "g", 0)), 0);
	assert_key(r, "test:g", NULL);
}

static void a_large_file_is_a_string_again_once_it_is_small(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "small");
	struct pfs_seg far = {UINT64_C(1) << 33, "far", 3}, seg = {0, "again", 5};
	char *nine = calloc(1, 9 << 20);
	struct pfs_seg large = {0, nine, 9 << 20};
	struct pfs_attr attr;

	assert_non_null(nine);
	assert_int_equal(rs_do(r, m_content(PFS_OP_WRITE, id, &far, 1)), 0);
	assert_key(r, "test:f", NULL);
	assert_int_equal(rs_do(r, m_size(PFS_OP_TRUNCATE, id, 5)), 0);
	assert_key(r, "test:f", "small");
	assert_int_equal(rs_do(r, m_content(PFS_OP_REPLACE, id, &large, 1)), 0);
	assert_key(r, "test:f", NULL);
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	assert_int_equal(attr.stored, 9 << 20);
	assert_int_equal(rs_do(r, m_content(PFS_OP_REPLACE, id, &seg, 1)), 0);
	assert_key(r, "test:f", "again");
	/* Nothing is left of the chunks. */
	assert_int_equal(rd_number(r->cli, "EVAL %s 0", "return #redis.call('KEYS', '/test:c*')"),
			 0);
	free(nine);
}

/* Also where there is no PEXPIRETIME, to a few ms. */
static void assert_expires(struct rs *r, const char *key, int64_t ms)
{
	int64_t left = rd_number(r->cli, "PTTL %s", key), now = pfs_now_ns() / 1000000;

	assert_in_range(now + left, ms - 1000, ms + 1000);
}

static void an_expiry_is_the_key_s(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	struct pfs_mutation m = m_setattr(id, PFS_SET_EXPIRES, 0);
	int64_t ms = pfs_now_ns() / 1000000 + 1000000;
	struct pfs_seg seg = {0, "other", 5};
	struct pfs_attr attr;

	m.set.expires = ms * 1000000;
	assert_int_equal(rs_do(r, m), 0);
	assert_expires(r, "test:f", ms);
	assert_int_equal(rs_do(r, m_content(PFS_OP_REPLACE, id, &seg, 1)), 0);
	assert_expires(r, "test:f", ms);
	rd_do(r->cli, "PEXPIREAT test:f %lld", (long long)ms + 5000);
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	assert_int_equal(attr.expires, (ms + 5000) * 1000000);
	rd_do(r->cli, "PERSIST test:f");
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	assert_int_equal(attr.expires, 0);
}

/* ---- theirs, seen by us --------------------------------------------------------------------- */

static void what_others_write_is_read_at_once(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	struct pfs_attr before, attr;
	struct pfs_usage usage;

	assert_int_equal(pfs_store_getattr(r->s, id, &before), 0);
	rd_do(r->cli, "SET test:f %s", "a longer text");
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	assert_int_equal(attr.size, 13);
	assert_true(attr.version > before.version);
	assert_true(attr.content_version > before.content_version);
	assert_true(attr.mtime > before.mtime);
	s_assert_text(r->s, id, "a longer text");
	rd_do(r->cli, "APPEND test:f %s", ", longer");
	s_assert_text(r->s, id, "a longer text, longer");
	rd_do(r->cli, "SETRANGE test:f 0 A");
	s_assert_text(r->s, id, "A longer text, longer");
	assert_int_equal(pfs_store_usage(r->s, &usage), 0);
	assert_int_equal(usage.bytes, 21);
	rd_do(r->cli, "APPEND test:f !");
	assert_int_equal(rs_do(r, m_content(PFS_OP_APPEND, id, &(struct pfs_seg){0, "?", 1}, 1)),
			 0);
	assert_key(r, "test:f", "A longer text, longer!?");
	assert_int_equal(pfs_store_usage(r->s, &usage), 0);
	assert_int_equal(usage.bytes, 23);
}

static void a_change_that_leaves_the_length_is_told(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	struct pfs_attr before, attr;
	int64_t slowest = 0, took;
	int i;

	for (i = 0; i < 20; i++) {
		size_t from = rs_events(r);

		assert_int_equal(pfs_store_getattr(r->s, id, &before), 0);
		rd_do(r->cli, "SET test:f tex%d", i % 10);
		took = rs_wait_event(r, from, PFS_EVENT_CONTENT, id, NULL);
		slowest = took > slowest ? took : slowest;
		assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
		assert_true(attr.content_version > before.content_version);
		assert_true(attr.mtime > before.mtime);
	}
	print_message("slowest: %lld ms\n", (long long)slowest);
}

static void a_key_that_others_make_is_a_file_at_once(void **state)
{
	struct rs *r = *state;
	struct pfs_attr attr, again;
	struct pfs_usage usage;
	size_t from = rs_events(r);

	rd_do(r->cli, "SET test:new %s", "by redis-cli");
	assert_int_equal(rs_walk(r->s, "new", &attr), 0);
	assert_true(S_ISREG(attr.mode));
	assert_int_equal(attr.size, 12);
	s_assert_text(r->s, attr.id, "by redis-cli");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "new");
	assert_int_equal(rs_walk(r->s, "new", &again), 0);
	assert_int_equal(again.id, attr.id);
	assert_int_equal(listed(r->s, r->root), 1);
	assert_int_equal(rs_do(r, m_setattr(attr.id, PFS_SET_MODE, 0600)), 0);
	assert_key(r, "test:new", "by redis-cli");
	assert_int_equal(pfs_store_usage(r->s, &usage), 0);
	assert_int_equal(usage.objects, 1);
	assert_int_equal(usage.bytes, 12);
	rd_do(r->cli, "SET test:other x");
	assert_int_equal(rs_do(r, m_create(rs_id(r), r->root, "other", S_IFREG)), -EEXIST);
}

static void a_key_implies_its_directories(void **state)
{
	struct rs *r = *state;
	struct pfs_attr attr, dir;
	size_t from = rs_events(r);
	int64_t took;

	rd_do(r->cli, "SET test:a/b/c deep");
	took = rs_walk_until(r->s, "a/b/c", 0, &attr);
	print_message("seen after %lld ms\n", (long long)took);
	s_assert_text(r->s, attr.id, "deep");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "a");
	assert_int_equal(rs_walk(r->s, "a/b", &dir), 0);
	assert_true(S_ISDIR(dir.mode));
	assert_int_equal(listed(r->s, dir.id), 1);
	from = rs_events(r);
	rd_do(r->cli, "SET test:a/b/d more");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, dir.id, "d");
	assert_int_equal(listed(r->s, dir.id), 2);
	rs_file(r, dir.id, "ours", "x");
	assert_key(r, "test:a/b/ours", "x");
}

static void a_key_that_others_remove_is_gone_at_once(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	struct pfs_attr attr;
	struct pfs_usage usage;
	size_t from = rs_events(r);
	char buf[8];

	rd_do(r->cli, "DEL test:f");
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), -ENOENT);
	assert_int_equal(rs_walk(r->s, "f", &attr), -ENOENT);
	assert_int_equal(pfs_store_read(r->s, id, 0, buf, 8), -ENOENT);
	assert_int_equal(rs_do(r, m_remove(r->root, "f", 0)), -ENOENT);
	assert_int_equal(listed(r->s, r->root), 0);
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "f");
	assert_int_equal(pfs_store_usage(r->s, &usage), 0);
	assert_int_equal(usage.objects, 0);
	/* The same without a look in between: the watcher hears it. */
	rs_file(r, r->root, "g", "text");
	from = rs_events(r);
	rd_do(r->cli, "DEL test:g");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "g");
	rs_file(r, r->root, "h", "text");
	rd_do(r->cli, "RENAME test:h test:i");
	assert_int_equal(rs_walk(r->s, "i", &attr), 0);
	s_assert_text(r->s, attr.id, "text");
	assert_int_equal(rs_walk(r->s, "h", &attr), -ENOENT);
}

static void what_expires_is_told(void **state)
{
	struct rs *r = *state;
	size_t from;
	struct pfs_attr attr;

	rs_file(r, r->root, "f", "text");
	from = rs_events(r);
	rd_do(r->cli, "PEXPIRE test:f 100");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "f");
	assert_int_equal(rs_walk(r->s, "f", &attr), -ENOENT);
}

static void removing_by_others_empties_directories(void **state)
{
	struct rs *r = *state;
	uint64_t dir = rs_dir(r, r->root, "d");

	rs_file(r, dir, "f", "text");
	assert_int_equal(rs_do(r, m_remove(r->root, "d", PFS_F_DIR)), -ENOTEMPTY);
	rd_do(r->cli, "DEL test:d/f");
	assert_int_equal(rs_do(r, m_remove(r->root, "d", PFS_F_DIR)), 0);
}

static void keys_of_other_types_are_left_alone(void **state)
{
	struct rs *r = *state;
	struct pfs_attr attr;
	uint64_t id;

	rd_do(r->cli, "RPUSH test:list a b");
	assert_int_equal(rs_walk(r->s, "list", &attr), -EIO);
	assert_non_null(strstr(pfs_error_text(), "list"));
	assert_int_equal(rs_do(r, m_create(rs_id(r), r->root, "list", S_IFREG)), -EEXIST);
	assert_int_equal(rs_do(r, m_create(rs_id(r), r->root, "list", S_IFDIR)), -EEXIST);
	rs_file(r, r->root, "f", "x");
	assert_int_equal(rs_do(r, m_rename(r->root, "f", r->root, "list", 0)), -EIO);
	assert_int_equal(rs_do(r, m_remove(r->root, "list", 0)), -EIO);
	assert_int_equal(listed(r->s, r->root), 1);
	assert_int_equal(rd_number(r->cli, "LLEN test:list"), 2);
	id = rs_file(r, r->root, "g", "x");
	rd_do(r->cli, "EVAL %s 0",
	      "redis.call('DEL', 'test:g') redis.call('SADD', 'test:g', 'member')");
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), -EIO);
	assert_int_equal(rs_do(r, m_size(PFS_OP_TRUNCATE, id, 0)), -EIO);
	assert_int_equal(rd_number(r->cli, "SCARD test:g"), 1);
	rd_do(r->cli, "DEL test:g test:list");
}

static void keys_that_are_no_paths_are_no_files(void **state)
{
	static const char *const keys[] = {"test:",	"test:/x",  "test:a//b", "test:a/",
					   "test:../x", "test:./y", "test:z/.."};
	struct rs *r = *state;
	struct pfs_attr attr;
	size_t i, from = rs_events(r);

	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++)
		rd_do(r->cli, "SET %s x", keys[i]);
	rd_do(r->cli, "SET testing:no x");
	rd_do(r->cli, "SET test:last x");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "last");
	assert_int_equal(rs_walk(r->s, "last", &attr), 0);
	assert_int_equal(listed(r->s, r->root), 1);
	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++)
		assert_int_equal(rd_number(r->cli, "EXISTS %s", keys[i]), 1);
}

static void keys_that_were_there_before_are_found(void **state)
{
	struct rs *r = *state;
	struct pfs_attr attr;
	char path[64];
	int i;

	for (i = 0; i < 1500; i++)
		rd_do(r->cli, "SET test:old/%d/%d value%d", i % 7, i, i);
	rd_do(r->cli, "SET other:old/x no");
	rs_start(r);
	for (i = 0; i < 1500; i++) {
		snprintf(path, sizeof(path), "old/%d/%d", i % 7, i);
		rs_walk_until(r->s, path, 0, &attr);
	}
	assert_int_equal(rs_walk(r->s, "old", &attr), 0);
	assert_int_equal(listed(r->s, attr.id), 7);
}

static void two_backends_agree_about_what_others_made(void **state)
{
	struct rs *r = *state;
	struct pfs_store *s;
	struct pfs_backend *b = rs_second(r, &s);
	struct pfs_attr one, two;
	char key[32];
	int i;

	for (i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "d%d/f%d", i % 3, i);
		rd_do(r->cli, "SET test:%s v%d", key, i);
		rs_walk_until(i % 2 ? r->s : s, key, 0, &one);
		rs_walk_until(i % 2 ? s : r->s, key, 0, &two);
		assert_int_equal(one.id, two.id);
	}
	pfs_store_free(s);
	pfs_backend_free(b);
}

/* ---- together ------------------------------------------------------------------------------- */

struct writing {
	struct rs *r;
	uint64_t id;
	bool with_mode; /* in one batch with a change of mode */
	int err;
};

static const char *write_our_own(void *arg, unsigned i)
{
	struct writing *t = arg;
	struct pfs_seg seg = {0, "ours", 4};
	int k;

	(void)i;
	for (k = 0; k < 300; k++)
		if (rs_do(t->r, m_content(PFS_OP_WRITE, t->id, &seg, 1)))
			return "a write failed";
	return NULL;
}

/* Others write amid our own writes, so that both are announced together: none of theirs is missed. */
static void changes_amid_our_own_are_told(void **state)
{
	struct rs *r = *state;
	struct writing t = {.r = r, .id = rs_file(r, r->root, "ours", "ours")};
	uint64_t id = rs_file(r, r->root, "theirs", "0000");
	struct pfs_attr attr;
	int i;

	for (i = 1; i <= 20; i++) {
		size_t from = rs_events(r);

		if (i % 5 == 1)
			c_threads(1, write_our_own, &t);
		rd_do(r->cli, "SET test:theirs %04d", i);
		rs_wait_event(r, from, PFS_EVENT_CONTENT, id, NULL);
	}
	assert_int_equal(rs_walk(r->s, "ours", &attr), 0);
	s_assert_text(r->s, t.id, "ours");
}

static void *write_once(void *arg)
{
	struct writing *t = arg;

	const struct pfs_seg seg = {0, "ours", 4};
	struct pfs_mutation m[2] = {m_content(PFS_OP_REPLACE, t->id, &seg, 1),
				    m_setattr(t->id, PFS_SET_MODE, S_IFREG | 0600)};

	t->err = s_batch(t->r->s, m, t->with_mode ? 2 : 1, NULL);
	return NULL;
}

/*
 * The server stands still while both writes are sent to it, so that it does them in one turn of its
 * loop: ours first, theirs after.
 */
static void write_in_the_same_turn(struct rs *r, bool with_mode)
{
	struct writing t = {
		.r = r, .id = rs_file(r, r->root, "f", "text"), .with_mode = with_mode};
	int i, theirs = 0;

	for (i = 0; i < 10; i++) {
		size_t from;
		pthread_t thread;
		redisReply *reply;
		char buf[8];
		int done = 0;

		pause_ms(50); /* what came before has been told */
		from = rs_events(r);
		kill(r->pid, SIGSTOP);
		pthread_create(&thread, NULL, write_once, &t);
		pause_ms(50);
		redisAppendCommand(r->cli, "SET test:f they");
		while (!done)
			assert_int_equal(redisBufferWrite(r->cli, &done), REDIS_OK);
		kill(r->pid, SIGCONT);
		assert_int_equal(redisGetReply(r->cli, (void **)&reply), REDIS_OK);
		freeReplyObject(reply);
		pthread_join(thread, NULL);
		assert_int_equal(t.err, 0);
		assert_int_equal(pfs_store_read(r->s, t.id, 0, buf, 8), 4);
		if (!memcmp(buf, "they", 4)) {
			theirs++;
			rs_wait_event(r, from, PFS_EVENT_CONTENT, t.id, NULL);
		}
	}
	print_message("theirs came last in %d of 10 rounds\n", theirs);
	assert_true(theirs > 0);
}

static void a_write_in_the_same_turn_as_ours_is_told(void **state)
{
	write_in_the_same_turn(*state, false);
}

static void a_write_in_the_same_turn_as_a_batch_of_ours_is_told(void **state)
{
	write_in_the_same_turn(*state, true);
}

static void our_own_writes_are_not_told(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	size_t from, i, n;

	from = rs_events(r);
	for (i = 0; i < 50; i++)
		assert_int_equal(
			rs_do(r, m_content(PFS_OP_WRITE, id, &(struct pfs_seg){i, "x", 1}, 1)), 0);
	rd_do(r->cli, "SET test:marker x");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "marker");
	n = rs_events(r);
	for (i = from; i < n; i++)
		assert_true(r->events[i].event.id != id);
}

#define CASE_STARTED(fn) cmocka_unit_test_setup_teardown(fn, started, rs_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE_STARTED(a_file_is_the_string_at_its_key),
		CASE_STARTED(a_large_file_is_a_string_again_once_it_is_small),
		CASE_STARTED(an_expiry_is_the_key_s),
		CASE_STARTED(what_others_write_is_read_at_once),
		CASE_STARTED(a_change_that_leaves_the_length_is_told),
		CASE_STARTED(a_key_that_others_make_is_a_file_at_once),
		CASE_STARTED(a_key_implies_its_directories),
		CASE_STARTED(a_key_that_others_remove_is_gone_at_once),
		CASE_STARTED(what_expires_is_told),
		CASE_STARTED(removing_by_others_empties_directories),
		CASE_STARTED(keys_of_other_types_are_left_alone),
		CASE_STARTED(keys_that_are_no_paths_are_no_files),
		cmocka_unit_test_setup_teardown(keys_that_were_there_before_are_found, rs_setup,
						rs_teardown),
		CASE_STARTED(two_backends_agree_about_what_others_made),
		CASE_STARTED(changes_amid_our_own_are_told),
		CASE_STARTED(a_write_in_the_same_turn_as_ours_is_told),
		CASE_STARTED(a_write_in_the_same_turn_as_a_batch_of_ours_is_told),
		CASE_STARTED(our_own_writes_are_not_told),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("redis and others", tests, NULL, NULL);
}
