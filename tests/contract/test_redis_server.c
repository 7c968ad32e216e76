/*
 * The Redis engine and its server in trouble: scripts that are gone, no memory, a replica, passwords,
 * restarts with and without a log, connections that are killed, a server that stands still, a session
 * that dies; and how long the server is busy with large things.
 */
#include "tests/contract/lib_redis_server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MiB (UINT64_C(1) << 20)

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static int started(void **state)
{
	rs_setup(state);
	rs_start(*state);
	return 0;
}

/* Starting a new backend gives `err`, with `want` in the message and `secret` nowhere. */
static void assert_refused(struct rs *r, int err, const char *want, const char *secret)
{
	struct pfs_backend *b = NULL;
	struct pfs_msg msg = {{0}};
	int got = pfs_backend_new("it", pfs_engine_find("redis"), &r->set, &b, &msg);

	if (!got)
		got = pfs_backend_start(b, &msg);
	pfs_backend_free(b);
	assert_int_equal(got, err);
	if (!strstr(msg.text, want))
		fail_msg("said '%s', not '%s'", msg.text, want);
	if (secret && (strstr(msg.text, secret) || strstr(pfs_error_text(), secret)))
		fail_msg("a secret is in '%s'", msg.text);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void urls_say_where_the_server_is(void **state)
{
	static const char *const bad[] = {"http://x",	   "redis://h:port", "unix://relative",
					  "unix:///s?x=1", "redis://h/db",   "redis://[::1"};
	struct rs *r = *state;
	char url[300];
	size_t i;

	pfs_option_set_release(&r->set);
	assert_int_equal(pfs_option_set_init(&r->set, r->table), 0);
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		rs_option(r, "url", bad[i]);
		assert_refused(r, -EINVAL, "url: ", NULL);
	}
	rs_option(r, "url", "rediss://:hidden@localhost/1");
	assert_refused(r, -EINVAL, "TLS", "hidden");
	rs_option(r, "url", "redis://user:hid%64en@localhost:1/1");
	assert_refused(r, -EHOSTDOWN, "localhost:1", "hid");
	snprintf(url, sizeof(url), "unix://%s?db=3", r->socket);
	rs_option(r, "url", url);
	rs_start(r);
	rs_file(r, r->root, "f", "there");
	rd_do(r->cli, "SELECT 3");
	assert_int_equal(rd_number(r->cli, "STRLEN test:f"), 5);
}

static void passwords_are_needed_and_never_told(void **state)
{
	struct rs *r = *state;

	rd_do(r->cli, "ACL SETUSER mount on >s3cret ~* &* +@all");
	rd_do(r->cli, "ACL SETUSER weak on >s3cret ~nothing:* &* +@all");
	rd_do(r->cli, "ACL SETUSER default >other");
	assert_refused(r, -EACCES, "NOAUTH", NULL);
	rs_option(r, "password", "wr0ng");
	assert_refused(r, -EACCES, "WRONGPASS", "wr0ng");
	rs_option(r, "user", "mount");
	assert_refused(r, -EACCES, "WRONGPASS", "wr0ng");
	rs_option(r, "user", "weak");
	rs_option(r, "password", "s3cret");
	assert_refused(r, -EACCES, "", "s3cret");
	rs_option(r, "user", "mount");
	rs_start(r);
	rs_file(r, r->root, "f", "x");
}

static void an_empty_database_is_refused_without_create(void **state)
{
	struct rs *r = *state;

	rs_option(r, "create", "no");
	assert_refused(r, -ENOENT, "create = no", NULL);
	assert_int_equal(rd_number(r->cli, "DBSIZE"), 0);
}

static void records_of_somebody_else_are_refused_and_left_alone(void **state)
{
	struct rs *r = *state;

	rd_do(r->cli, "SET //meta mine");
	assert_refused(r, -EINVAL, "//meta", NULL);
	rd_do(r->cli, "DEL //meta");
	rd_do(r->cli, "HSET //meta layout 99 gen x");
	assert_refused(r, -EINVAL, "layout 99", NULL);
	assert_int_equal(rd_number(r->cli, "DBSIZE"), 1);
}

static void namespaces_whose_keys_would_mix_are_refused(void **state)
{
	struct rs *r = *state;
	struct pfs_store *s;
	struct pfs_msg msg = {{0}};

	assert_int_equal(pfs_backend_open(r->b, "test:sub", true, &s, &msg), -EINVAL);
	assert_non_null(strstr(msg.text, "test:sub"));
	assert_int_equal(pfs_backend_open(r->b, "te", true, &s, &msg), 0);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_open(r->b, "a:b", true, &s, &msg), 0);
	pfs_store_free(s);
	assert_int_equal(pfs_backend_open(r->b, "a", true, &s, &msg), -EINVAL);
}

/* ---- what a server may do ------------------------------------------------------------------- */

static void scripts_that_are_gone_are_loaded_again(void **state)
{
	struct rs *r = *state;
	struct pfs_attr attr;

	rs_file(r, r->root, "a", "x");
	rd_do(r->cli, "SCRIPT FLUSH");
	rs_file(r, r->root, "b", "x");
	rd_do(r->cli, "SCRIPT FLUSH");
	assert_int_equal(rs_walk(r->s, "b", &attr), 0);
	assert_int_equal(pfs_backend_heartbeat(r->b), 0);
}

static void without_memory_writing_is_enospc_and_removing_works(void **state)
{
	struct rs *r = *state;
	char *text = malloc(MiB);
	struct pfs_seg seg = {0, text, MiB};
	uint64_t id = rs_file(r, r->root, "f", "kept");
	struct pfs_mutation two[2];
	struct pfs_attr attr, gone;
	int tries;

	assert_non_null(text);
	memset(text, 't', MiB);
	rs_file(r, r->root, "victim", "x");
	rd_do(r->cli, "CONFIG SET maxmemory 1000000");
	assert_int_equal(rs_do(r, m_content(PFS_OP_REPLACE, id, &seg, 1)), -ENOSPC);
	assert_non_null(strstr(pfs_error_text(), "OOM"));
	two[0] = m_create(rs_id(r), r->root, "new", S_IFREG);
	two[1] = m_remove(r->root, "victim", 0);
	assert_int_equal(s_batch(r->s, two, 2, NULL), -ENOSPC);
	assert_int_equal(rs_walk(r->s, "new", &attr), -ENOENT);
	assert_int_equal(rs_walk(r->s, "victim", &attr), 0);
	s_assert_text(r->s, id, "kept");
	assert_int_equal(rs_walk(r->s, "victim", &attr), 0);
	assert_int_equal(rs_do(r, m_remove(r->root, "victim", 0)), 0);
	assert_int_equal(rs_walk(r->s, "victim", &gone), -ENOENT);
	/* Its content goes, too, and the session stays. */
	for (tries = 0; tries < 100 && rd_number(r->cli, "EXISTS /test:u%llu",
						(unsigned long long)attr.id);
	     tries++)
		pause_ms(100);
	assert_true(tries < 100);
	assert_int_equal(pfs_backend_heartbeat(r->b), 0);
	rd_do(r->cli, "CONFIG SET maxmemory 0");
	assert_int_equal(rs_do(r, m_content(PFS_OP_REPLACE, id, &seg, 1)), 0);
	free(text);
}

static void a_replica_is_read_only(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");
	struct pfs_attr attr;

	rd_do(r->cli, "REPLICAOF 127.0.0.1 1");
	assert_int_equal(rs_do(r, m_remove(r->root, "f", 0)), -EROFS);
	assert_int_equal(rs_do(r, m_setattr(id, PFS_SET_MODE, 0600)), -EROFS);
	assert_int_equal(rs_walk(r->s, "f", &attr), 0);
	s_assert_text(r->s, id, "text");
	rd_do(r->cli, "REPLICAOF NO ONE");
	assert_int_equal(rs_do(r, m_remove(r->root, "f", 0)), 0);
}

static void a_policy_that_takes_records_away_is_unhealthy(void **state)
{
	struct rs *r = *state;
	struct pfs_health health;
	int tries;

	pfs_backend_health(r->b, &health);
	assert_true(health.ok);
	assert_string_equal(health.durable.text, "");
	rd_do(r->cli, "CONFIG SET maxmemory 1gb");
	rd_do(r->cli, "CONFIG SET maxmemory-policy allkeys-lru");
	rd_do(r->cli, "CONFIG SET appendfsync everysec");
	for (tries = 0; tries < 100 && health.ok; tries++) {
		pause_ms(100);
		pfs_backend_health(r->b, &health);
	}
	assert_false(health.ok);
	assert_non_null(strstr(health.why.text, "noeviction"));
	assert_non_null(strstr(health.durable.text, "everysec"));
}

static void a_long_directory_is_not_renamed_at_once(void **state)
{
	struct rs *r = *state;
	uint64_t dir, sub;
	char name[16];
	int i;

	rs_option(r, "rename_limit", "10");
	rs_start(r);
	dir = rs_dir(r, r->root, "d");
	sub = rs_dir(r, dir, "sub");
	for (i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		rs_file(r, i % 2 ? sub : dir, name, "x");
	}
	assert_int_equal(rs_do(r, m_rename(r->root, "d", r->root, "e", 0)), 0);
	rs_file(r, sub, "one too many", "x");
	assert_int_equal(rs_do(r, m_rename(r->root, "e", r->root, "d", 0)), -EXDEV);
	assert_int_equal(rd_number(r->cli, "EXISTS test:e/sub/f1"), 1);
	assert_int_equal(rs_do(r, m_rename(dir, "f0", r->root, "f0", 0)), 0);
	assert_int_equal(rs_do(r, m_rename(r->root, "e", r->root, "d", 0)), 0);
	assert_int_equal(rd_number(r->cli, "EXISTS test:d/sub/f1"), 1);
}

/* ---- going away and coming back ------------------------------------------------------------- */

#define WRITERS 4

struct appending {
	struct rs *r;
	uint64_t id;
	int rounds;
	int failed[WRITERS][400];
};

/* Each record is "<writer> <round>\n"; what was told to have failed may be there or not. */
static const char *append_numbers(void *arg, unsigned i)
{
	struct appending *t = arg;
	char text[32];
	int k;

	for (k = 0; k < t->rounds; k++) {
		struct pfs_seg seg = {0, text,
				      (size_t)snprintf(text, sizeof(text), "%u %d\n", i, k)};

		t->failed[i][k] = rs_do(t->r, m_content(PFS_OP_APPEND, t->id, &seg, 1));
		pause_ms(1);
	}
	return NULL;
}

/* Every append that succeeded is there once, in order; none is there twice or torn. */
static void check_numbers(struct appending *t, int may_fail)
{
	char *text = calloc(1, MiB), *line;
	ssize_t n = pfs_store_read(t->r->s, t->id, 0, text, MiB - 1);
	int seen[WRITERS][400] = {{0}}, last[WRITERS], i, k, failures = 0;

	assert_true(n >= 0);
	for (i = 0; i < WRITERS; i++)
		last[i] = -1;
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		assert_int_equal(sscanf(line, "%d %d", &i, &k), 2);
		assert_in_range(i, 0, WRITERS - 1);
		assert_true(k > last[i]);
		last[i] = k;
		seen[i][k]++;
	}
	for (i = 0; i < WRITERS; i++) {
		for (k = 0; k < t->rounds; k++) {
			failures += t->failed[i][k] != 0;
			if (!t->failed[i][k])
				assert_int_equal(seen[i][k], 1);
		}
	}
	assert_true(failures <= may_fail);
	free(text);
}

static void *append_in_thread(void *arg)
{
	c_threads(WRITERS, append_numbers, arg);
	return NULL;
}

static void killed_connections_lose_no_append_and_do_none_twice(void **state)
{
	struct rs *r = *state;
	struct appending *t = calloc(1, sizeof(*t));
	pthread_t thread;
	int i;

	assert_non_null(t);
	t->r = r;
	t->rounds = 400;
	t->id = rs_file(r, r->root, "log", "");
	pthread_create(&thread, NULL, append_in_thread, t);
	for (i = 0; i < 60; i++) {
		pause_ms(10);
		rd_do(r->cli, "CLIENT KILL TYPE normal SKIPME yes");
	}
	pthread_join(thread, NULL);
	check_numbers(t, 0);
	free(t);
}

static void restarts_with_a_log_lose_no_append_and_do_none_twice(void **state)
{
	struct rs *r = *state;
	struct appending *t = calloc(1, sizeof(*t));
	uint64_t epoch = pfs_store_epoch(r->s);
	pthread_t thread;
	int i;

	assert_non_null(t);
	t->r = r;
	t->rounds = 400;
	t->id = rs_file(r, r->root, "log", "");
	pthread_create(&thread, NULL, append_in_thread, t);
	for (i = 0; i < 4; i++) {
		pause_ms(100);
		rs_server_kill(r);
		pause_ms(50);
		rs_server_start(r, true);
	}
	pthread_join(thread, NULL);
	check_numbers(t, 0);
	assert_int_equal(pfs_store_epoch(r->s), epoch);
	rs_wait_pushing(r->b, true);
	free(t);
}

static void a_server_that_stands_still_does_no_append_twice(void **state)
{
	struct rs *r = *state;
	struct appending *t = calloc(1, sizeof(*t));
	pthread_t thread;
	int i;

	assert_non_null(t);
	rs_option(r, "timeout", "200ms");
	rs_start(r);
	t->r = r;
	t->rounds = 300;
	t->id = rs_file(r, r->root, "log", "");
	pthread_create(&thread, NULL, append_in_thread, t);
	for (i = 0; i < 3; i++) {
		pause_ms(50);
		kill(r->pid, SIGSTOP);
		pause_ms(700);
		kill(r->pid, SIGCONT);
	}
	pthread_join(thread, NULL);
	check_numbers(t, 0);
	free(t);
}

static void calls_fail_in_time_while_the_server_is_away_and_work_after(void **state)
{
	struct rs *r = *state;
	struct pfs_health health;
	struct pfs_attr attr;
	int64_t start;
	int tries;

	rs_option(r, "timeout", "200ms");
	rs_option(r, "retry_timeout", "1s");
	rs_start(r);
	rs_file(r, r->root, "f", "text");
	rs_server_kill(r);
	start = pfs_monotonic_ns();
	assert_int_equal(rs_walk(r->s, "f", &attr), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - start < 3 * NSEC_PER_SEC);
	start = pfs_monotonic_ns();
	assert_int_equal(rs_walk(r->s, "f", &attr), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - start < NSEC_PER_SEC / 2);
	pfs_backend_health(r->b, &health);
	assert_false(health.ok);
	rs_wait_pushing(r->b, false);
	rs_server_start(r, true);
	start = pfs_monotonic_ns();
	for (tries = 0; tries < 400 && rs_walk(r->s, "f", &attr); tries++)
		pause_ms(10);
	assert_int_equal(rs_walk(r->s, "f", &attr), 0);
	assert_true(pfs_monotonic_ns() - start < 2 * NSEC_PER_SEC);
	rs_wait_pushing(r->b, true);
}

/* What an earlier epoch of the session sent late is refused. */
static void a_late_command_of_an_earlier_epoch_does_not_land(void **state)
{
	struct rs *r = *state;
	uint64_t id;
	struct pfs_attr attr;
	int failed;

	rs_option(r, "timeout", "200ms");
	rs_option(r, "retry_timeout", "400ms");
	rs_start(r);
	id = rs_file(r, r->root, "f", "");
	kill(r->pid, SIGSTOP);
	failed = rs_do(r, m_content(PFS_OP_APPEND, id, &(struct pfs_seg){0, "late;", 5}, 1));
	assert_int_equal(failed, -EIO);
	assert_non_null(strstr(pfs_error_text(), "outcome"));
	kill(r->pid, SIGCONT);
	for (failed = 1; failed;) {
		failed = rs_do(r, m_content(PFS_OP_APPEND, id, &(struct pfs_seg){0, "then", 4}, 1));
		pause_ms(10);
	}
	/* It came before the epoch was raised, or never; not after, and not twice. */
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	pause_ms(300);
	if (attr.size == 9)
		s_assert_text(r->s, id, "late;then");
	else
		s_assert_text(r->s, id, "then");
}

static void a_restart_without_a_log_makes_every_id_void(void **state)
{
	struct rs *r = *state;
	struct pfs_mutation m;
	struct pfs_attr attr;
	struct pfs_batch batch = {.ops = &m, .nops = 1};
	uint64_t id = rs_file(r, r->root, "f", "text"), epoch = pfs_store_epoch(r->s),
		 root = r->root;
	size_t from = rs_events(r);

	m = m_create(rs_id(r), r->root, "late", S_IFREG);
	batch.epoch = epoch;
	rd_do(r->cli, "CONFIG SET appendonly no");
	rs_server_kill(r);
	rs_server_start(r, false);
	rs_wait_event(r, from, PFS_EVENT_REPLACED, 0, NULL);
	assert_int_not_equal(pfs_store_epoch(r->s), epoch);
	assert_int_equal(pfs_store_commit(r->s, &batch), -ESTALE);
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), -ENOENT);
	assert_int_equal(pfs_store_root(r->s, &r->root), 0);
	assert_int_not_equal(r->root, root);
	assert_true(rs_file(r, r->root, "f", "new") > id);
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), -ENOENT);
	assert_int_equal(rs_walk(r->s, "f", &attr), 0);
	rs_wait_pushing(r->b, true);
}

/* `early`: the session is in the snapshot that the server comes back with. */
static void come_back_with_a_snapshot(struct rs *r, bool early)
{
	uint64_t old, epoch, lost;
	size_t from;
	struct pfs_attr attr;

	rd_do(r->cli, "CONFIG SET appendonly no");
	if (early)
		rs_start(r);
	rd_do(r->cli, "SET test:old kept");
	rd_do(r->cli, "SAVE");
	if (!early)
		rs_start(r);
	rs_walk_until(r->s, "old", 0, &attr);
	old = attr.id;
	lost = rs_file(r, r->root, "lost", "text");
	epoch = pfs_store_epoch(r->s);
	from = rs_events(r);
	rs_server_kill(r);
	rs_server_start(r, false);
	rs_wait_event(r, from, PFS_EVENT_REPLACED, 0, NULL);
	assert_int_not_equal(pfs_store_epoch(r->s), epoch);
	assert_int_equal(pfs_store_root(r->s, &r->root), 0);
	assert_int_equal(rs_walk(r->s, "lost", &attr), -ENOENT);
	rs_walk_until(r->s, "old", 0, &attr);
	s_assert_text(r->s, attr.id, "kept");
	/* No id comes again. */
	assert_true(rs_file(r, r->root, "new", "") > lost);
	assert_true(rs_id(r) > old);
}

static void a_snapshot_that_lacks_our_commits_is_other_data(void **state)
{
	come_back_with_a_snapshot(*state, true);
}

static void a_snapshot_that_lacks_our_session_is_other_data(void **state)
{
	come_back_with_a_snapshot(*state, false);
}

static void a_flushed_database_is_noticed(void **state)
{
	struct rs *r = *state;
	size_t from = rs_events(r);
	struct pfs_attr attr;

	rs_file(r, r->root, "f", "text");
	rd_do(r->cli, "FLUSHALL");
	rs_wait_event(r, from, PFS_EVENT_REPLACED, 0, NULL);
	assert_int_equal(pfs_store_root(r->s, &r->root), 0);
	assert_int_equal(rs_walk(r->s, "f", &attr), -ENOENT);
	rs_file(r, r->root, "f", "again");
	from = rs_events(r);
	rs_wait_pushing(r->b, true);
	rd_do(r->cli, "SET test:g x");
	rs_wait_event(r, from, PFS_EVENT_ENTRY, r->root, "g");
}

/* ---- the channel ---------------------------------------------------------------------------- */

static void kill_client_of(struct rs *r, const char *what)
{
	redisReply *list = rd_command(r->cli, "CLIENT LIST");
	char *line, *save = NULL;
	int killed = 0;

	for (line = strtok_r(list->str, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strstr(line, what)) {
			rd_do(r->cli, "CLIENT KILL ID %lld", atoll(line + 3));
			killed++;
		}
	}
	freeReplyObject(list);
	assert_true(killed > 0);
}

/* Kill one of its connections; what changes while nothing is heard is told as "anything". */
static void break_channel(struct rs *r, const char *what, const char *name)
{
	size_t from = rs_events(r);
	struct pfs_attr attr;

	rs_wait_pushing(r->b, true);
	kill_client_of(r, what);
	rd_do(r->cli, "SET test:%s meanwhile", name);
	rs_wait_event(r, from, PFS_EVENT_ALL, 0, NULL);
	rs_wait_pushing(r->b, true);
	assert_int_equal(rs_walk(r->s, name, &attr), 0);
	from = rs_events(r);
	rd_do(r->cli, "SET test:%s/after x", "dir");
	rs_walk_until(r->s, "dir/after", 0, &attr);
	rd_do(r->cli, "SET test:%s later....", name);
	assert_int_equal(rs_walk(r->s, name, &attr), 0);
	rs_wait_event(r, from, PFS_EVENT_CONTENT, attr.id, NULL);
}

static void a_broken_channel_is_told_and_mended(void **state)
{
	struct rs *r = *state;

	break_channel(r, "sub=2", "one");
	break_channel(r, "flags=t", "two");
}

static void a_channel_that_is_silent_is_given_up(void **state)
{
	struct rs *r = *state;

	kill(r->pid, SIGSTOP);
	rs_wait_pushing(r->b, false);
	kill(r->pid, SIGCONT);
	rs_wait_pushing(r->b, true);
}

static void catching_up_waits_for_what_others_did(void **state)
{
	struct rs *r = *state;
	struct pfs_store *s;
	struct pfs_backend *b = rs_second(r, &s);
	uint64_t id = rs_file(r, r->root, "f", ""), own = rs_file(r, r->root, "own", "");
	int i;

	for (i = 0; i < 200; i++) {
		struct pfs_mutation m =
			m_content(PFS_OP_APPEND, id, &(struct pfs_seg){0, "x", 1}, 1);
		size_t from = rs_events(r), k, n;
		bool found = false;

		/* Our own are heard as well, and are no answer. */
		assert_int_equal(rs_do(r, m_setattr(own, PFS_SET_MODE, 0600)), 0);
		assert_int_equal(s_batch(s, &m, 1, NULL), 0);
		assert_int_equal(pfs_backend_catch_up(r->b), 0);
		n = rs_events(r);
		for (k = from; k < n; k++)
			found |= r->events[k].event.type == PFS_EVENT_CONTENT &&
				 r->events[k].event.id == id;
		assert_true(found);
	}
	pfs_store_free(s);
	pfs_backend_free(b);
}

/* ---- other sessions ------------------------------------------------------------------------- */

static void the_holder_of_a_lock_hears_who_wants_it(void **state)
{
	struct rs *r = *state;
	struct pfs_lock all = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE}, conflict;
	struct pfs_store *s;
	struct pfs_backend *b = rs_second(r, &s);
	uint64_t id = rs_file(r, r->root, "f", "");
	size_t from = rs_events(r);
	int64_t took;

	assert_int_equal(pfs_store_lock(r->s, id, &all, &conflict), 0);
	assert_int_equal(pfs_store_lock(s, id, &all, &conflict), -EAGAIN);
	took = rs_wait_event(r, from, PFS_EVENT_LOCK, id, NULL);
	print_message("heard after %lld ms\n", (long long)took);
	assert_true(took < 500);
	pfs_store_free(s);
	pfs_backend_free(b);
}

struct mortal {
	uint64_t root, locked, held, content;
};

/* A process that locks, holds and stages what it is told of, and dies without a word. */
static void live_and_die(struct rs *r, int from)
{
	struct pfs_lock all = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE}, conflict;
	struct pfs_seg seg = {0, "staged", 6};
	struct pfs_mutation m[2];
	struct pfs_backend *b;
	struct pfs_store *s;
	struct pfs_msg msg;
	struct mortal it;

	if (read(from, &it, sizeof(it)) != sizeof(it))
		_exit(1);
	b = rs_new(r);
	if (pfs_backend_start(b, &msg) || pfs_backend_open(b, "test", false, &s, &msg))
		_exit(2);
	pfs_store_hold(s, it.held);
	m[0] = m_content(PFS_OP_STAGE, it.content, &seg, 1);
	m[1] = m_remove(it.root, "held", 0);
	if (pfs_store_lock(s, it.locked, &all, &conflict) || s_batch(s, m, 2, NULL))
		_exit(3);
	_exit(0);
}

static void a_session_that_dies_leaves_nothing_behind(void **state)
{
	struct rs *r = *state;
	struct pfs_lock all = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE}, conflict;
	struct pfs_usage usage;
	struct mortal it;
	int tries, status, pipes[2];
	pid_t pid;

	rs_option(r, "lock_timeout", "1s");
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0)
		live_and_die(r, pipes[0]);
	rs_start(r);
	it.root = r->root;
	it.locked = rs_file(r, r->root, "locked", "");
	it.held = rs_file(r, r->root, "held", "text");
	it.content = rs_id(r);
	assert_int_equal(write(pipes[1], &it, sizeof(it)), sizeof(it));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(pfs_store_lock(r->s, it.locked, &all, &conflict), -EAGAIN);
	assert_int_equal(pfs_store_lock_wait(r->s, it.locked, &all, &conflict, 5 * NSEC_PER_SEC),
			 0);
	for (tries = 0; tries < 500; tries++) {
		assert_int_equal(pfs_store_usage(r->s, &usage), 0);
		if (usage.objects == 1 && !rd_number(r->cli, "EXISTS /test:t /test:u /test:u%llu",
						     (unsigned long long)it.held))
			break;
		pause_ms(10);
	}
	assert_int_equal(usage.objects, 1);
	assert_int_equal(rd_number(r->cli, "EXISTS /test:t /test:u"), 0);
	assert_int_equal(rd_number(r->cli, "ZCARD //sessions"), 1);
}

/* A mount that was stopped for too long is told so, and goes on with a new session. */
static void a_session_declared_dead_is_told_and_works_again(void **state)
{
	struct rs *r = *state;
	uint64_t id = rs_file(r, r->root, "f", "text");

	rd_do(r->cli, "EVAL %s 0",
	      "for _, s in ipairs(redis.call('ZRANGE', '//sessions', 0, -1)) do "
	      "redis.call('DEL', '//s' .. s, '//k' .. s) end redis.call('DEL', '//sessions')");
	assert_int_equal(rs_do(r, m_setattr(id, PFS_SET_MODE, 0600)), 0);
	assert_int_equal(pfs_backend_heartbeat(r->b), -ESTALE);
	assert_int_equal(pfs_backend_heartbeat(r->b), 0);
	rs_wait_pushing(r->b, true);
	rs_file(r, r->root, "g", "x");
}

/* ---- the server's time ---------------------------------------------------------------------- */

static void fill_large(struct rs *r, uint64_t content, char *data)
{
	struct pfs_seg seg = {0, data, MiB};
	uint64_t i;

	for (i = 0; i < 64; i++) {
		seg.off = i * MiB;
		assert_int_equal(rs_do(r, m_content(PFS_OP_STAGE, content, &seg, 1)), 0);
	}
}

static void make_many(struct rs *r, uint64_t dir, unsigned n)
{
	struct pfs_mutation *m = calloc(n, sizeof(*m));
	char(*names)[16] = calloc(n, sizeof(*names));
	unsigned i, k;

	assert_true(m && names);
	for (i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "f%u", i);
		m[i] = m_create(rs_id(r), dir, names[i], S_IFREG | 0600);
	}
	for (i = 0; i < n; i += k) {
		k = n - i < 500 ? n - i : 500;
		assert_int_equal(s_batch(r->s, m + i, k, NULL), 0);
	}
	free(m);
	free(names);
}

/* How many commands the server has run, those of scripts included. */
static long long commands_run(struct rs *r)
{
	redisReply *info = rd_command(r->cli, "INFO commandstats");
	long long n, sum = 0;
	const char *p = info->str;

	while ((p = strstr(p, "calls="))) {
		p += strlen("calls=");
		if (p[-strlen("calls=") - 1] == ':' && sscanf(p, "%lld", &n) == 1)
			sum += n;
	}
	freeReplyObject(info);
	return sum;
}

/*
 * What keeps a server busy is what one call makes it do: the commands of one script, and the bytes that it
 * moves. (How long that took is printed, and judged by nobody: it depends on the machine.)
 */
static void bounded(struct rs *r, const char *what, struct pfs_mutation m, long long most)
{
	long long before = commands_run(r), n;

	assert_int_equal(rs_do(r, m), 0);
	n = commands_run(r) - before;
	print_message("%s: %lld commands\n", what, n);
	if (n > most)
		fail_msg("%s took %lld commands, of at most %lld", what, n, most);
}

static void print_slow_calls(struct rs *r)
{
	redisReply *log = rd_command(r->cli, "SLOWLOG GET 100");
	long long worst = 0;
	size_t i;

	for (i = 0; i < log->elements; i++)
		if (log->element[i]->element[2]->integer > worst)
			worst = log->element[i]->element[2]->integer;
	print_message("%zu calls above 20 ms, the longest %lld ms\n", log->elements, worst / 1000);
	freeReplyObject(log);
}

static void large_things_are_done_in_bounded_steps(void **state)
{
	struct rs *r = *state;
	char *data = malloc(MiB);
	uint64_t id = rs_file(r, r->root, "large", "old"), content = rs_id(r), dir;
	struct pfs_mutation m = m_size(PFS_OP_PUBLISH, id, 64 * MiB);
	struct pfs_attr attr;
	uint64_t done;

	assert_non_null(data);
	memset(data, 'x', MiB);
	rd_do(r->cli, "CONFIG SET slowlog-log-slower-than 20000");
	fill_large(r, content, data);
	m.content = content;
	bounded(r, "publish 64 MiB", m, 1000);
	content = rs_file(r, r->root, "copy", "");
	for (done = 0; done < 64 * MiB; done += m.length) {
		m = m_copy(id, done, 64 * MiB, content, done);
		assert_int_equal(s_batch(r->s, &m, 1, NULL), 0);
		assert_in_range(m.length, MiB, 16 * MiB);
	}
	bounded(r, "cut the last byte", m_size(PFS_OP_TRUNCATE, id, 64 * MiB - 1), 1000);
	bounded(r, "punch 60 MiB", m_punch(id, 1, 60 * MiB), 1000);
	bounded(r, "grow to 10 GiB", m_size(PFS_OP_TRUNCATE, id, UINT64_C(10) << 30), 1000);
	bounded(r, "write its last byte",
		m_content(PFS_OP_WRITE, id, &(struct pfs_seg){(UINT64_C(10) << 30) - 1, "x", 1}, 1),
		1000);
	assert_int_equal(pfs_store_getattr(r->s, id, &attr), 0);
	assert_int_equal(attr.size, UINT64_C(10) << 30);
	bounded(r, "remove 10 GiB", m_remove(r->root, "large", 0), 1000);
	dir = rs_dir(r, r->root, "many");
	make_many(r, dir, 9000);
	bounded(r, "rename a directory of 9,000", m_rename(r->root, "many", r->root, "more", 0),
		2 * 9000);
	assert_int_equal(rd_number(r->cli, "EXISTS test:more/f0 test:more/f8999"), 2);
	print_slow_calls(r);
	free(data);
}

#define CASE_STARTED(fn) cmocka_unit_test_setup_teardown(fn, started, rs_teardown)
#define CASE_SERVER(fn)	 cmocka_unit_test_setup_teardown(fn, rs_setup, rs_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE_SERVER(urls_say_where_the_server_is),
		CASE_SERVER(passwords_are_needed_and_never_told),
		CASE_SERVER(an_empty_database_is_refused_without_create),
		CASE_SERVER(records_of_somebody_else_are_refused_and_left_alone),
		CASE_STARTED(namespaces_whose_keys_would_mix_are_refused),
		CASE_STARTED(scripts_that_are_gone_are_loaded_again),
		CASE_STARTED(without_memory_writing_is_enospc_and_removing_works),
		CASE_STARTED(a_replica_is_read_only),
		CASE_STARTED(a_policy_that_takes_records_away_is_unhealthy),
		CASE_SERVER(a_long_directory_is_not_renamed_at_once),
		CASE_STARTED(killed_connections_lose_no_append_and_do_none_twice),
		CASE_STARTED(restarts_with_a_log_lose_no_append_and_do_none_twice),
		CASE_SERVER(a_server_that_stands_still_does_no_append_twice),
		CASE_SERVER(calls_fail_in_time_while_the_server_is_away_and_work_after),
		CASE_SERVER(a_late_command_of_an_earlier_epoch_does_not_land),
		CASE_STARTED(a_restart_without_a_log_makes_every_id_void),
		CASE_SERVER(a_snapshot_that_lacks_our_commits_is_other_data),
		CASE_SERVER(a_snapshot_that_lacks_our_session_is_other_data),
		CASE_STARTED(a_flushed_database_is_noticed),
		CASE_STARTED(a_broken_channel_is_told_and_mended),
		CASE_STARTED(a_channel_that_is_silent_is_given_up),
		CASE_STARTED(catching_up_waits_for_what_others_did),
		CASE_STARTED(the_holder_of_a_lock_hears_who_wants_it),
		CASE_SERVER(a_session_that_dies_leaves_nothing_behind),
		CASE_STARTED(a_session_declared_dead_is_told_and_works_again),
		CASE_STARTED(large_things_are_done_in_bounded_steps),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("redis server", tests, NULL, NULL);
}
