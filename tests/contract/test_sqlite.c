/*
 * The SQLite engine's file: what is refused and how it is said, a file that is exchanged, removed,
 * read-only or full, processes that die, and committers that meet.
 */
#include "tests/contract/lib_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void put_file(const char *path, const void *p, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* start() gives `err`, and a message with both texts. */
static void assert_refused(struct sq *q, int err, const char *want, const char *want2)
{
	struct pfs_msg msg = {""};

	sqlite3_close(q->sql);
	q->sql = NULL;
	assert_int_equal(sq_start(q, &msg), err);
	if (!strstr(msg.text, want) || !strstr(msg.text, want2))
		fail_msg("said '%s', not '%s' and '%s'", msg.text, want, want2);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void a_new_database_is_made_for_its_owner_alone(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};
	char path[192];
	struct stat st;
	mode_t mask = umask(0);

	snprintf(path, sizeof(path), "%s/new/dirs/store.db", q->dir);
	sq_option(q, "path", path);
	sq_renew(q);
	assert_int_equal(sq_start(q, &msg), 0);
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(path, sizeof(path), "%s/new/dirs", q->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/new/dirs/store.db-wal", q->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	sq_stop(q);
	assert_int_equal(stat(path, &st), -1); /* the last one out leaves no log */
}

static void a_missing_database_is_refused_without_create(void **state)
{
	struct sq *q = *state;

	sq_option(q, "create", "no");
	sq_renew(q);
	assert_refused(q, -ENOENT, q->path, "create = no");
	assert_int_equal(access(q->path, F_OK), -1);
}

static void a_path_that_is_a_directory_is_refused(void **state)
{
	struct sq *q = *state;

	assert_int_equal(mkdir(q->path, 0700), 0);
	assert_refused(q, -EISDIR, q->path, "is a directory");
}

static void a_path_through_a_file_is_refused(void **state)
{
	struct sq *q = *state;
	char path[192];

	put_file(q->path, "x", 1);
	snprintf(path, sizeof(path), "%s/below", q->path);
	sq_option(q, "path", path);
	sq_renew(q);
	assert_refused(q, -ENOTDIR, q->path, "Not a directory");
}

static void a_directory_without_permission_is_refused(void **state)
{
	struct sq *q = *state;

	assert_int_equal(chmod(q->dir, 0555), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_refused(q, -EACCES, q->path, "Permission denied");
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
}

static void a_file_that_is_no_database_is_refused_and_left_alone(void **state)
{
	struct sq *q = *state;
	char text[5000], now[5000];
	FILE *f;

	memset(text, 'x', sizeof(text));
	put_file(q->path, text, sizeof(text));
	assert_refused(q, -EIO, q->path, "is not a database");
	f = fopen(q->path, "r");
	assert_non_null(f);
	assert_int_equal(fread(now, 1, sizeof(now), f), sizeof(now));
	fclose(f);
	assert_memory_equal(text, now, sizeof(now));
}

static void a_database_of_somebody_else_is_refused_and_left_alone(void **state)
{
	struct sq *q = *state;

	sq_sql(q, "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)");
	assert_refused(q, -EINVAL, q->path, "not a persistfs database");
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM sqlite_master"), 1);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM pragma_journal_mode"
				       " WHERE journal_mode = 'delete'"),
			 1);
}

static void a_foreign_table_of_our_name_is_not_touched(void **state)
{
	struct sq *q = *state;

	sq_sql(q, "CREATE TABLE persistfs_meta(a, b); INSERT INTO persistfs_meta VALUES (1, 2)");
	assert_refused(q, -EINVAL, q->path, "not persistfs's own");
	assert_int_equal(sq_sql_int(q, "SELECT a + b FROM persistfs_meta"), 3);
	sq_sql(q, "DROP TABLE persistfs_meta; CREATE TABLE persistfs_meta(key PRIMARY KEY, value);"
		  "INSERT INTO persistfs_meta VALUES ('layout', 1);"
		  "CREATE TABLE persistfs_objects(mine)");
	assert_refused(q, -EINVAL, q->path, "not of layout 1");
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM sqlite_master WHERE type = 'table'"),
			 2);
}

static void a_newer_layout_is_refused_with_both_versions(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};

	assert_int_equal(sq_start(q, &msg), 0);
	sq_stop(q);
	sq_sql(q, "UPDATE persistfs_meta SET value = 7 WHERE key = 'layout'");
	sq_renew(q);
	assert_refused(q, -EINVAL, "layout 7", "up to 1");
	sq_sql(q, "UPDATE persistfs_meta SET value = 1 WHERE key = 'layout'");
	assert_int_equal(sq_start(q, &msg), 0); /* start may be called again */
}

static void foreign_tables_may_stand_beside(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};

	assert_int_equal(sq_start(q, &msg), 0);
	sq_sql(q, "CREATE TABLE users(name); INSERT INTO users VALUES ('somebody')");
	sq_file(q, q->root, "f", "text", 4);
	sq_renew(q);
	assert_int_equal(sq_start(q, &msg), 0);
	sq_assert_file(q, "f", "text", 4);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM users"), 1);
}

static void damage_is_told_as_damage(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};
	char junk[4096];
	FILE *f;

	assert_int_equal(sq_start(q, &msg), 0);
	sq_file(q, q->root, "f", "text", 4);
	sq_stop(q);
	memset(junk, 0xee, sizeof(junk));
	f = fopen(q->path, "r+");
	assert_non_null(f);
	fseek(f, 100, SEEK_SET);
	fwrite(junk, 1, 3000, f); /* the schema, behind the header */
	fclose(f);
	sq_renew(q);
	assert_refused(q, -EIO, q->path, "damaged");
}

/* ---- a file that changes under us ------------------------------------------------------------ */

/* Another store in q->dir/other.db, with a file `name`. */
static void make_other(struct sq *q, const char *name, char path[128])
{
	struct sq *other = calloc(1, sizeof(*other));
	struct pfs_msg msg = {""};

	assert_non_null(other);
	snprintf(path, 128, "%s/other.db", q->dir);
	pthread_mutex_init(&other->lock, NULL);
	pthread_cond_init(&other->told, NULL);
	snprintf(other->path, sizeof(other->path), "%s", path);
	other->table = pfs_engine_options(pfs_engine_find("sqlite"));
	assert_int_equal(pfs_option_set_init(&other->set, other->table), 0);
	sq_option(other, "path", path);
	sq_renew(other);
	assert_int_equal(sq_start(other, &msg), 0);
	sq_file(other, other->root, name, "other", 5);
	sq_stop(other);
	pfs_option_set_release(&other->set);
	free(other->table);
	free(other);
}

static void a_replaced_file_is_noticed_and_read(void **state)
{
	struct sq *q = *state;
	uint64_t epoch = pfs_store_epoch(q->s), id = sq_file(q, q->root, "mine", "text", 4);
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, id, 0);
	struct pfs_batch stale = {.ops = &m, .nops = 1, .now = pfs_now_ns(), .epoch = epoch};
	struct pfs_attr attr;
	char path[128];
	int64_t since;

	make_other(q, "theirs", path);
	sqlite3_close(q->sql);
	q->sql = NULL;
	since = pfs_monotonic_ns();
	assert_int_equal(rename(path, q->path), 0);
	sq_await(q, PFS_EVENT_REPLACED, 0, 0, NULL, since);
	while (pfs_store_epoch(q->s) == epoch)
		;
	assert_int_equal(pfs_store_commit(q->s, &stale), -ESTALE);
	assert_int_equal(pfs_store_root(q->s, &q->root), 0);
	sq_assert_file(q, "theirs", "other", 5);
	assert_int_equal(sq_path(q, "mine", &attr), -ENOENT);
	sq_file(q, q->root, "more", "x", 1);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_kv"), 2);
	sq_assert_sound(q);
}

static void nothing_is_written_into_a_removed_file(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "mine", "text", 4);
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, id, 0);
	struct pfs_health health;
	struct pfs_attr attr;
	char away[192];
	int64_t since = pfs_monotonic_ns();
	int err;

	snprintf(away, sizeof(away), "%s/away.db", q->dir);
	assert_int_equal(rename(q->path, away), 0);
	err = s_batch(q->s, &m, 1, NULL);
	assert_true(err == -ESTALE || err == -EIO);
	assert_non_null(strstr(pfs_error_text(), "removed"));
	do {
		pfs_backend_health(q->b, &health);
	} while (health.ok && pfs_monotonic_ns() - since < 5 * NSEC_PER_SEC);
	assert_false(health.ok);
	assert_non_null(strstr(health.why.text, q->path));
	assert_int_equal(s_batch(q->s, &m, 1, NULL), -EIO);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), -EIO);
	/* It comes back by itself. */
	assert_int_equal(rename(away, q->path), 0);
	do {
		err = pfs_store_root(q->s, &q->root);
	} while (err && pfs_monotonic_ns() - since < 10 * NSEC_PER_SEC);
	assert_int_equal(err, 0);
	sq_assert_file(q, "mine", "text", 4);
	pfs_backend_health(q->b, &health);
	assert_true(health.ok);
}

static void a_read_only_file_is_read_and_refuses_writes(void **state)
{
	struct sq *q = *state;
	struct pfs_mutation m;
	struct pfs_health health;
	struct pfs_msg msg = {""};

	sq_file(q, q->root, "f", "text", 4);
	sq_stop(q);
	assert_int_equal(chmod(q->path, 0444), 0);
	assert_int_equal(chmod(q->dir, 0555), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	sq_renew(q);
	if (sq_start(q, &msg))
		fail_msg("%s", msg.text);
	sq_assert_file(q, "f", "text", 4);
	m = m_remove(q->root, "f", 0);
	assert_int_equal(s_batch(q->s, &m, 1, NULL), -EROFS);
	pfs_backend_health(q->b, &health);
	assert_true(health.ok);
	assert_non_null(strstr(health.durable.text, "read-only"));
	sq_assert_file(q, "f", "text", 4);
	sq_stop(q);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(q->dir, 0755), 0);
}

static void a_lock_of_another_program_is_busy_in_bounded_time(void **state)
{
	struct sq *q = *state;
	struct pfs_mutation m;
	struct pfs_msg msg = {""};
	int64_t since;

	sq_option(q, "timeout", "100ms");
	sq_option(q, "retry_timeout", "300ms");
	sq_renew(q);
	assert_int_equal(sq_start(q, &msg), 0);
	sq_sql(q, "BEGIN IMMEDIATE");
	m = m_create(sq_id(q), q->root, "f", S_IFREG | 0644);
	since = pfs_monotonic_ns();
	assert_int_equal(s_batch(q->s, &m, 1, NULL), -EBUSY);
	assert_true(pfs_monotonic_ns() - since < 3 * NSEC_PER_SEC);
	assert_non_null(strstr(pfs_error_text(), "database is locked by another program"));
	sq_sql(q, "COMMIT");
	assert_int_equal(s_batch(q->s, &m, 1, NULL), 0);
	assert_int_equal(sq_path(q, "f", &(struct pfs_attr){0}), 0);
}

/* ---- full ----------------------------------------------------------------------------------- */

static void a_full_disk_is_enospc_and_nothing_is_lost(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};
	char path[80], *data = malloc(256 << 10);
	uint64_t first, last = 0, dir;
	struct pfs_seg seg = {0, data, 256 << 10};
	int err = 0, n;

	assert_non_null(data);
	memset(data, 'x', 256 << 10);
	snprintf(path, sizeof(path), "%s/small", q->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=8m") != 0) {
		print_message("SKIPPED: cannot mount a small file system: %s\n", strerror(errno));
		free(data);
		return;
	}
	snprintf(q->path, sizeof(q->path), "%s/store.db", path);
	sq_option(q, "path", q->path);
	sq_renew(q);
	assert_int_equal(sq_start(q, &msg), 0);
	dir = sq_dir(q, q->root, "d");
	first = sq_file(q, dir, "first", "kept", 4);
	for (n = 0; n < 100 && !err; n++) {
		char name[16];
		struct pfs_mutation m;

		snprintf(name, sizeof(name), "f%d", n);
		m = m_create(sq_id(q), dir, name, S_IFREG | 0644);
		m.segs = &seg;
		m.nsegs = 1;
		m.size = seg.len;
		err = s_batch(q->s, &m, 1, NULL);
		if (!err)
			last = m.id;
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 3);
	sq_assert_file(q, "d/first", "kept", 4);
	/* Removing makes room at once. */
	for (; n > 1; n--) {
		struct pfs_mutation m;
		char name[16];

		snprintf(name, sizeof(name), "f%d", n - 2);
		m = m_remove(dir, name, 0);
		err = s_batch(q->s, &m, 1, NULL);
		if (err)
			fail_msg("remove: %s (%s)", strerror(-err), pfs_error_text());
	}
	sq_file(q, dir, "again", data, seg.len);
	assert_int_equal(pfs_store_getattr(q->s, last, &(struct pfs_attr){0}), -ENOENT);
	assert_int_equal(pfs_store_getattr(q->s, first, &(struct pfs_attr){0}), 0);
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	sq_assert_sound(q);
	sq_stop(q);
	assert_int_equal(umount(path), 0);
	free(data);
}

/* ---- processes that die ---------------------------------------------------------------------- */

/* Work until somebody kills us; a byte through `fd` for every file that is there for good. */
static void child_works(struct sq *q, int fd)
{
	struct pfs_msg msg = {""};
	char *big = malloc(3 << 20);
	uint64_t content;
	unsigned i;

	sq_renew(q);
	if (!big || sq_start(q, &msg))
		_exit(1);
	memset(big, 'b', 3 << 20);
	content = sq_id(q);
	for (i = 0;; i++) {
		struct pfs_seg seg = {(uint64_t)i * 100000, big, 100000};
		char name[32];
		uint64_t id;

		snprintf(name, sizeof(name), "f%u", i);
		id = sq_file(q, q->root, name, big, (i * 7919) % 200000);
		sq_do(q, m_content(PFS_OP_STAGE, content, &seg, 1));
		pfs_store_hold(q->s, id);
		snprintf(name, sizeof(name), "t%u", i);
		sq_file(q, q->root, name, big, 2 << 20);
		sq_do(q, m_remove(q->root, name, 0));
		if (i % 3 == 0) {
			snprintf(name, sizeof(name), "f%u", i);
			sq_do(q, m_remove(q->root, name, 0));
		}
		if (write(fd, "+", 1) != 1)
			_exit(1);
	}
}

static void killed_writers_leave_no_orphans(void **state)
{
	struct sq *q = *state;
	struct pfs_msg msg = {""};
	uint64_t seed = c_seed("kill", 5);
	int round;

	for (round = 0; round < 6; round++) {
		int fds[2], wish = 3 + (int)c_below(&seed, 25), got = 0, i, status;
		char *buf, byte;
		pid_t pid;

		sq_stop(q);
		unlink(q->path);
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child_works(q, fds[1]);
		close(fds[1]);
		while (got < wish && read(fds[0], &byte, 1) == 1)
			got++;
		kill(pid, SIGKILL);
		while (read(fds[0], &byte, 1) == 1)
			got++;
		close(fds[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_true(got >= wish);
		sq_renew(q);
		assert_int_equal(sq_start(q, &msg), 0);
		buf = malloc(200000);
		assert_non_null(buf);
		memset(buf, 'b', 200000);
		for (i = 0; i < got; i++) {
			struct pfs_attr attr;
			char name[32];

			snprintf(name, sizeof(name), "f%d", i);
			if (i % 3 == 0)
				assert_int_equal(sq_path(q, name, &attr), -ENOENT);
			else
				sq_assert_file(q, name, buf, (unsigned)(i * 7919) % 200000);
		}
		free(buf);
		assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
		assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_staged"), 0);
		assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_objects"
					       " WHERE nlink = 0"),
				 0);
		assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_sessions"), 1);
		sq_assert_sound(q);
	}
}

static void a_staged_content_can_be_read_and_cut_before_it_is_published(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "old", 3), content = sq_id(q);
	struct pfs_seg segs[2] = {{0, "begin", 5}, {40000, "middle", 6}};
	struct pfs_mutation m = m_content(PFS_OP_STAGE, content, segs, 2);
	char buf[40010], zeros[40010] = "";

	assert_int_equal(pfs_store_read(q->s, content, 0, buf, 10), -ENOENT);
	sq_do(q, m);
	assert_int_equal(pfs_store_read(q->s, content, 0, buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, "begin\0", 6);
	assert_memory_equal(buf + 40000, "middle\0\0\0\0", 10);
	m = (struct pfs_mutation){
		.op = PFS_OP_PUNCH, .content = content, .offset = 2, .length = 40001};
	sq_do(q, m);
	assert_int_equal(pfs_store_read(q->s, content, 0, buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, "be", 2);
	assert_memory_equal(buf + 2, zeros, 40001);
	assert_memory_equal(buf + 40003, "dle", 3);
	m = (struct pfs_mutation){.op = PFS_OP_TRUNCATE, .content = content, .size = 1};
	sq_do(q, m);
	assert_int_equal(pfs_store_read(q->s, content, 0, buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, "b", 1);
	assert_memory_equal(buf + 1, zeros, sizeof(buf) - 1);
	m = m_size(PFS_OP_PUBLISH, id, 4);
	m.content = content;
	sq_do(q, m);
	sq_assert_file(q, "f", "b\0\0\0", 4);
	m = (struct pfs_mutation){.op = PFS_OP_TRUNCATE, .content = content, .size = 1};
	assert_int_equal(s_batch(q->s, &m, 1, NULL), -ENOENT);
	sq_assert_sound(q);
}

/* ---- two sessions ---------------------------------------------------------------------------- */

static void what_another_session_holds_is_not_swept(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "text", 4);
	struct pfs_backend *b = NULL;
	struct pfs_store *s = NULL;
	struct pfs_attr attr;
	int64_t since;
	char buf[8];

	assert_int_equal(pfs_backend_new("second", pfs_engine_find("sqlite"), &q->set, &b, NULL),
			 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "notes", false, &s, NULL), 0);
	pfs_store_hold(s, id);
	since = pfs_monotonic_ns();
	sq_do(q, m_remove(q->root, "f", 0));
	/* What the other one then does comes after its own notice of the removal. */
	while (sq_sql_int(q, "SELECT count(*) FROM persistfs_holds") == 0)
		assert_true(pfs_monotonic_ns() - since < 5 * NSEC_PER_SEC);
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	assert_int_equal(pfs_store_read(s, id, 0, buf, 8), 4);
	assert_memory_equal(buf, "text", 4);
	assert_int_equal(pfs_backend_sessions(b), 2);
	pfs_store_free(s);
	pfs_backend_free(b);
	assert_int_equal(pfs_backend_maintain(q->b, "sweep", NULL), 0);
	assert_int_equal(pfs_store_getattr(q->s, id, &attr), -ENOENT);
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_objects"), 1);
	sq_assert_sound(q);
}

static void changes_of_sessions_are_trimmed(void **state)
{
	struct sq *q = *state;
	struct pfs_backend *b = NULL;
	struct pfs_store *s = NULL;
	int64_t since = pfs_monotonic_ns();
	int i;

	assert_int_equal(pfs_backend_new("second", pfs_engine_find("sqlite"), &q->set, &b, NULL),
			 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "notes", false, &s, NULL), 0);
	for (i = 0; i < 300; i++) {
		char name[16];
		struct pfs_mutation m;
		uint64_t id = 0, root = 0;

		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(pfs_store_alloc_ids(s, 1, &id), 0);
		assert_int_equal(pfs_store_root(s, &root), 0);
		m = m_create(id, root, name, S_IFREG | 0644);
		assert_int_equal(s_batch(s, &m, 1, NULL), 0);
	}
	sq_await(q, PFS_EVENT_ENTRY, q->root, 0, "f299", since);
	while (sq_sql_int(q, "SELECT count(*) FROM persistfs_changes") > 100)
		assert_true(pfs_monotonic_ns() - since < 10 * NSEC_PER_SEC);
	pfs_store_free(s);
	pfs_backend_free(b);
	sq_assert_sound(q);
}

static void an_idle_pair_of_sessions_writes_nothing(void **state)
{
	struct sq *q = *state;
	struct pfs_backend *b = NULL;
	int64_t last, since;

	assert_int_equal(pfs_backend_new("second", pfs_engine_find("sqlite"), &q->set, &b, NULL),
			 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	sq_file(q, q->root, "f", "x", 1);
	since = pfs_monotonic_ns();
	do { /* until they have told each other; then half a second without a word */
		last = sq_sql_int(q, "SELECT max(seq) FROM persistfs_changes");
		usleep(500000);
	} while (sq_sql_int(q, "SELECT max(seq) FROM persistfs_changes") != last &&
		 pfs_monotonic_ns() - since < 8 * NSEC_PER_SEC);
	assert_int_equal(sq_sql_int(q, "SELECT max(seq) FROM persistfs_changes"), last);
	pfs_backend_free(b);
}

/* ---- committers that meet -------------------------------------------------------------------- */

struct meeting {
	struct sq *q;
	unsigned done[8], refused[8];
};

static const char *commit_and_clash(void *arg, unsigned n)
{
	struct meeting *meeting = arg;
	struct sq *q = meeting->q;
	unsigned i;

	for (i = 0; i < 200; i++) {
		uint64_t ids[2];
		struct pfs_mutation m[2];
		char own[32], shared[32];
		int err;

		if (pfs_store_alloc_ids(q->s, 2, ids))
			return "alloc";
		snprintf(own, sizeof(own), "own-%u-%u", n, i);
		snprintf(shared, sizeof(shared), "shared-%u", i);
		m[0] = m_create(ids[0], q->root, own, S_IFREG | 0644);
		m[1] = m_create(ids[0] + 1, q->root, shared, S_IFREG | 0644);
		err = s_batch(q->s, m, 2, NULL);
		if (err == 0)
			meeting->done[n]++;
		else if (err == -EEXIST)
			meeting->refused[n]++;
		else
			return "commit";
		if (i % 2 == 0 && s_batch(q->s, &m[0], 1, NULL) != (err ? 0 : -EEXIST))
			return "a batch that failed left something, or one that did not is gone";
	}
	return NULL;
}

static void batches_of_one_group_fail_alone(void **state)
{
	struct meeting meeting = {.q = *state};
	unsigned i, done = 0, refused = 0;

	c_threads(8, commit_and_clash, &meeting);
	for (i = 0; i < 8; i++) {
		done += meeting.done[i];
		refused += meeting.refused[i];
	}
	assert_int_equal(done, 200);
	assert_int_equal(refused, 1400);
	assert_int_equal(sq_sql_int(meeting.q, "SELECT count(*) FROM persistfs_kv"
					       " WHERE name LIKE 'shared-%'"),
			 200);
	sq_assert_sound(meeting.q);
}

static const char *read_while_others_write(void *arg, unsigned n)
{
	struct sq *q = arg;
	char name[32], buf[4096];
	struct pfs_attr attr;
	unsigned i;

	for (i = 0; i < 300; i++) {
		struct pfs_mutation m;
		struct pfs_seg seg = {0, buf, sizeof(buf)};
		uint64_t id;

		snprintf(name, sizeof(name), "f%u", n % 2);
		if (s_lookup(q->s, q->root, name, &attr))
			return "lookup";
		if (n < 2) {
			memset(buf, 'a' + (int)(i % 26), sizeof(buf));
			m = m_content(PFS_OP_REPLACE, attr.id, &seg, 1);
			m.size = sizeof(buf);
			if (s_batch(q->s, &m, 1, NULL))
				return "replace";
			continue;
		}
		id = attr.id;
		if (pfs_store_read(q->s, id, 0, buf, sizeof(buf)) != sizeof(buf))
			return "read";
		if (memcmp(buf, buf + 1, sizeof(buf) - 1) != 0)
			return "a torn value";
	}
	return NULL;
}

static void readers_beside_writers_see_whole_values(void **state)
{
	struct sq *q = *state;
	char zeros[4096] = "";

	sq_file(q, q->root, "f0", zeros, sizeof(zeros));
	sq_file(q, q->root, "f1", zeros, sizeof(zeros));
	c_threads(8, read_while_others_write, q);
}

static void the_log_stays_bounded(void **state)
{
	struct sq *q = *state;
	char *data = malloc(1 << 20), wal[160];
	uint64_t id = sq_file(q, q->root, "f", "", 0);
	struct stat st;
	off_t most = 0;
	int i;

	assert_non_null(data);
	memset(data, 'd', 1 << 20);
	snprintf(wal, sizeof(wal), "%s-wal", q->path);
	for (i = 0; i < 400; i++) {
		struct pfs_seg seg = {(uint64_t)(i % 40) << 20, data, 1 << 20};

		data[i] = (char)i;
		sq_do(q, m_content(PFS_OP_WRITE, id, &seg, 1));
		assert_int_equal(stat(wal, &st), 0);
		if (st.st_size > most)
			most = st.st_size;
	}
	print_message("the log grew to %lld MiB\n", (long long)(most >> 20));
	assert_true(most <= (off_t)300 << 20);
	free(data);
	sq_assert_sound(q);
}

static void sync_is_one_for_all_who_wait(void **state)
{
	struct sq *q = *state;

	sq_file(q, q->root, "f", "x", 1);
	assert_int_equal(pfs_backend_sync(q->b), 0);
	assert_int_equal(pfs_backend_sync(q->b), 0);
}

/* 0 or -errno of one mutation. */
static int chmod_600(struct sq *q, uint64_t id)
{
	struct pfs_mutation m = m_setattr(id, PFS_SET_MODE, 0600);

	return s_batch(q->s, &m, 1, NULL);
}

static void a_session_that_others_ended_begins_anew(void **state)
{
	struct sq *q = *state;
	uint64_t id = sq_file(q, q->root, "f", "x", 1);
	struct pfs_lock lock = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE};
	int64_t since = pfs_monotonic_ns();

	sq_sql(q, "DELETE FROM persistfs_sessions");
	assert_int_equal(chmod_600(q, id), 0); /* it had no locks: nobody needs to know */
	assert_int_equal(sq_sql_int(q, "SELECT count(*) FROM persistfs_sessions"), 1);
	sq_await(q, PFS_EVENT_ALL, 0, 0, "", since);
	assert_int_equal(pfs_store_lock(q->s, id, &lock, NULL), 0);
	sq_sql(q, "DELETE FROM persistfs_locks");
	sq_sql(q, "DELETE FROM persistfs_sessions");
	assert_int_equal(chmod_600(q, id), -ESTALE);
	assert_int_equal(chmod_600(q, id), -ESTALE);
	assert_int_equal(pfs_backend_heartbeat(q->b), -ESTALE);
	assert_int_equal(pfs_backend_heartbeat(q->b), 0);
	assert_int_equal(chmod_600(q, id), 0);
	assert_int_equal(pfs_store_lock(q->s, id, &lock, NULL), 0);
}

#define T(fn)	 cmocka_unit_test_setup_teardown(fn, sq_setup, sq_teardown)
#define COLD(fn) cmocka_unit_test_setup_teardown(fn, sq_setup_cold, sq_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		COLD(a_new_database_is_made_for_its_owner_alone),
		COLD(a_missing_database_is_refused_without_create),
		COLD(a_path_that_is_a_directory_is_refused),
		COLD(a_path_through_a_file_is_refused),
		COLD(a_directory_without_permission_is_refused),
		COLD(a_file_that_is_no_database_is_refused_and_left_alone),
		COLD(a_database_of_somebody_else_is_refused_and_left_alone),
		COLD(a_foreign_table_of_our_name_is_not_touched),
		COLD(a_newer_layout_is_refused_with_both_versions),
		COLD(foreign_tables_may_stand_beside),
		COLD(damage_is_told_as_damage),
		T(a_replaced_file_is_noticed_and_read),
		T(nothing_is_written_into_a_removed_file),
		T(a_read_only_file_is_read_and_refuses_writes),
		COLD(a_lock_of_another_program_is_busy_in_bounded_time),
		COLD(a_full_disk_is_enospc_and_nothing_is_lost),
		COLD(killed_writers_leave_no_orphans),
		T(a_staged_content_can_be_read_and_cut_before_it_is_published),
		T(what_another_session_holds_is_not_swept),
		T(changes_of_sessions_are_trimmed),
		T(an_idle_pair_of_sessions_writes_nothing),
		T(batches_of_one_group_fail_alone),
		T(readers_beside_writers_see_whole_values),
		T(the_log_stays_bounded),
		T(sync_is_one_for_all_who_wait),
		T(a_session_that_others_ended_begins_anew),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
