/*
 * Fixture and helpers of the tests of the SQLite engine. Every helper asserts what it does not
 * return.
 */
#include "tests/contract/lib_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the fixture ---------------------------------------------------------------------------- */

static void watcher(void *arg, const struct pfs_event *events, size_t n)
{
	struct sq *q = arg;
	size_t i;

	pthread_mutex_lock(&q->lock);
	for (i = 0; i < n && q->nevents < SQ_EVENTS; i++, q->nevents++) {
		q->events[q->nevents].type = events[i].type;
		q->events[q->nevents].dir = events[i].dir;
		q->events[q->nevents].id = events[i].id;
		q->events[q->nevents].at = pfs_monotonic_ns();
		snprintf(q->events[q->nevents].name, PFS_NAME_MAX + 1, "%.*s",
			 (int)events[i].name.len, events[i].name.p ? events[i].name.p : "");
	}
	pthread_cond_broadcast(&q->told);
	pthread_mutex_unlock(&q->lock);
}

int sq_setup_cold(void **state)
{
	const struct pfs_engine *engine = pfs_engine_find("sqlite");
	struct sq *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;

	assert_non_null(q);
	assert_non_null(engine);
	snprintf(q->dir, sizeof(q->dir), "/tmp/pfs-sqlite-XXXXXX");
	assert_non_null(mkdtemp(q->dir));
	snprintf(q->path, sizeof(q->path), "%s/store.db", q->dir);
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->told, &attr);
	pthread_condattr_destroy(&attr);
	q->table = pfs_engine_options(engine);
	assert_non_null(q->table);
	assert_int_equal(pfs_option_set_init(&q->set, q->table), 0);
	sq_option(q, "path", q->path);
	sq_renew(q);
	*state = q;
	return 0;
}

int sq_setup(void **state)
{
	struct pfs_msg msg = {""};

	sq_setup_cold(state);
	if (sq_start(*state, &msg))
		fail_msg("start: %s", msg.text);
	return 0;
}

int sq_teardown(void **state)
{
	struct sq *q = *state;
	char command[256];

	sq_stop(q);
	pfs_option_set_release(&q->set);
	free(q->table);
	pthread_cond_destroy(&q->told);
	pthread_mutex_destroy(&q->lock);
	snprintf(command, sizeof(command), "chmod -R u+w '%s'; rm -rf '%s'", q->dir, q->dir);
	assert_int_equal(system(command), 0);
	free(q);
	return 0;
}

void sq_option(struct sq *q, const char *name, const char *text)
{
	assert_int_equal(pfs_option_set_text(&q->set, name, text, NULL), 0);
}

void sq_renew(struct sq *q)
{
	struct pfs_msg msg = {""};

	sq_stop(q);
	if (pfs_backend_new("local", pfs_engine_find("sqlite"), &q->set, &q->b, &msg))
		fail_msg("new: %s", msg.text);
	pfs_backend_watch(q->b, watcher, q);
}

int sq_start(struct sq *q, struct pfs_msg *msg)
{
	int err = pfs_backend_start(q->b, msg);

	if (err)
		return err;
	assert_int_equal(pfs_backend_open(q->b, "notes", true, &q->s, msg), 0);
	assert_int_equal(pfs_store_root(q->s, &q->root), 0);
	return 0;
}

void sq_stop(struct sq *q)
{
	sqlite3_close(q->sql);
	q->sql = NULL;
	pfs_store_free(q->s);
	q->s = NULL;
	pfs_backend_free(q->b);
	q->b = NULL;
}

/* ---- the SQL client ------------------------------------------------------------------------- */

static sqlite3 *client(struct sq *q)
{
	if (!q->sql) {
		assert_int_equal(sqlite3_open(q->path, &q->sql), SQLITE_OK);
		sqlite3_busy_timeout(q->sql, 5000);
	}
	return q->sql;
}

void sq_sql(struct sq *q, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(client(q), sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

void sq_sql_fails(struct sq *q, const char *sql, const char *want)
{
	char *text = NULL;

	if (sqlite3_exec(client(q), sql, NULL, NULL, &text) == SQLITE_OK)
		fail_msg("%s: went well, but was to fail: %s", sql, want);
	if (!strstr(text, want))
		fail_msg("%s: said '%s', not '%s'", sql, text, want);
	sqlite3_free(text);
}

static sqlite3_stmt *first_row(struct sq *q, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(client(q), sql, -1, &stmt, NULL) != SQLITE_OK ||
	    sqlite3_step(stmt) != SQLITE_ROW)
		fail_msg("%s: %s", sql, sqlite3_errmsg(q->sql));
	return stmt;
}

int64_t sq_sql_int(struct sq *q, const char *sql)
{
	sqlite3_stmt *stmt = first_row(q, sql);
	int64_t value = sqlite3_column_int64(stmt, 0);

	sqlite3_finalize(stmt);
	return value;
}

char *sq_sql_bytes(struct sq *q, const char *sql, size_t *len)
{
	sqlite3_stmt *stmt = first_row(q, sql);
	const void *p = sqlite3_column_blob(stmt, 0);
	char *copy;

	*len = (size_t)sqlite3_column_bytes(stmt, 0);
	copy = malloc(*len + 1);
	assert_non_null(copy);
	if (*len > 0)
		memcpy(copy, p, *len);
	copy[*len] = '\0';
	sqlite3_finalize(stmt);
	return copy;
}

/* ---- events --------------------------------------------------------------------------------- */

int64_t sq_await(struct sq *q, enum pfs_event_type type, uint64_t dir, uint64_t id,
		 const char *name, int64_t since)
{
	int64_t until = pfs_monotonic_ns() + 5 * NSEC_PER_SEC, at = -1;
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	size_t i = 0;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	while (at < 0 && rc == 0) {
		for (; i < q->nevents && at < 0; i++)
			if (q->events[i].type == type && (dir == 0 || q->events[i].dir == dir) &&
			    (id == 0 || q->events[i].id == id) &&
			    (!name || strcmp(q->events[i].name, name) == 0))
				at = q->events[i].at;
		if (at < 0)
			rc = pthread_cond_timedwait(&q->told, &q->lock, &ts);
	}
	pthread_mutex_unlock(&q->lock);
	if (at < 0)
		fail_msg("no event %d of dir %llu, id %llu, '%s' in 5 s", type,
			 (unsigned long long)dir, (unsigned long long)id, name ? name : "");
	return at - since;
}

void sq_forget_events(struct sq *q)
{
	pthread_mutex_lock(&q->lock);
	q->nevents = 0;
	pthread_mutex_unlock(&q->lock);
}

/* ---- the store ------------------------------------------------------------------------------ */

int sq_path(struct sq *q, const char *path, struct pfs_attr *out)
{
	char *copy = strdup(path), *part, *rest = NULL;
	int err;

	assert_non_null(copy);
	err = pfs_store_getattr(q->s, q->root, out);
	for (part = strtok_r(copy, "/", &rest); part && !err; part = strtok_r(NULL, "/", &rest))
		err = s_lookup(q->s, out->id, part, out);
	free(copy);
	return err;
}

void sq_assert_file(struct sq *q, const char *path, const void *p, size_t len)
{
	char *buf = malloc(len + 1);
	struct pfs_attr attr;
	int err = sq_path(q, path, &attr);

	assert_non_null(buf);
	if (err)
		fail_msg("%s: %s", path, strerror(-err));
	assert_int_equal(attr.size, len);
	assert_int_equal(pfs_store_read(q->s, attr.id, 0, buf, len + 1), len);
	assert_memory_equal(buf, p, len);
	free(buf);
}

uint64_t sq_id(struct sq *q)
{
	uint64_t id = 0;

	assert_int_equal(pfs_store_alloc_ids(q->s, 1, &id), 0);
	return id;
}

void sq_do(struct sq *q, struct pfs_mutation m)
{
	int err = s_batch(q->s, &m, 1, NULL);

	if (err)
		fail_msg("operation %d: %s (%s)", m.op, strerror(-err), pfs_error_text());
}

uint64_t sq_file(struct sq *q, uint64_t dir, const char *name, const void *p, size_t len)
{
	struct pfs_mutation m = m_create(sq_id(q), dir, name, S_IFREG | 0644);
	struct pfs_seg seg = {0, p, len};

	m.size = len;
	m.segs = &seg;
	m.nsegs = len > 0;
	sq_do(q, m);
	return m.id;
}

uint64_t sq_dir(struct sq *q, uint64_t dir, const char *name)
{
	struct pfs_mutation m = m_create(sq_id(q), dir, name, S_IFDIR | 0755);

	sq_do(q, m);
	return m.id;
}

void sq_assert_sound(struct sq *q)
{
	static const char *const none[] = {
		"SELECT count(*) FROM persistfs_entries WHERE object NOT IN"
		" (SELECT id FROM persistfs_objects WHERE nlink > 0)",
		"SELECT count(*) FROM persistfs_entries WHERE parent NOT IN"
		" (SELECT id FROM persistfs_dirs)",
		"SELECT count(*) FROM persistfs_chunks WHERE key >> 26 NOT IN"
		" (SELECT content FROM persistfs_objects UNION SELECT content FROM "
		"persistfs_staged)",
		"SELECT count(*) FROM persistfs_xattrs WHERE object NOT IN"
		" (SELECT id FROM persistfs_objects)",
		"SELECT count(*) FROM persistfs_objects o WHERE stored <> coalesce((SELECT"
		" sum(length(data)) FROM persistfs_chunks c WHERE c.key BETWEEN o.content << 26"
		" AND (o.content << 26) + 67108863), 0)",
		"SELECT count(*) FROM persistfs_objects o WHERE mode & 61440 <> 16384 AND nlink <>"
		" (SELECT count(*) FROM persistfs_entries e WHERE e.object = o.id)",
		"SELECT count(*) FROM persistfs_dirs d JOIN persistfs_entries e ON e.object = d.id"
		" JOIN persistfs_dirs p ON p.id = e.parent WHERE d.parent <> p.id OR d.path <>"
		" CASE p.path WHEN '' THEN '' ELSE p.path || '/' END || e.name",
		"SELECT count(*) FROM persistfs_steps",
		"SELECT count(*) FROM persistfs_probe",
	};
	size_t i, len;
	char *text;

	for (i = 0; i < PFS_ARRAY_SIZE(none); i++)
		if (sq_sql_int(q, none[i]) != 0)
			fail_msg("%s: %lld", none[i], (long long)sq_sql_int(q, none[i]));
	text = sq_sql_bytes(q, "PRAGMA integrity_check", &len);
	assert_string_equal(text, "ok");
	free(text);
	if (q->s) {
		struct pfs_usage usage;

		assert_int_equal(pfs_store_usage(q->s, &usage), 0);
		assert_int_equal(usage.objects,
				 sq_sql_int(q, "SELECT count(*) FROM persistfs_objects"
					       " WHERE nlink > 0") -
					 1);
		assert_int_equal(usage.bytes, sq_sql_int(q, "SELECT total(size) FROM"
							    " persistfs_objects WHERE nlink > 0"));
	}
}
