/*
 * What only the PostgreSQL engine promises: which schemas it takes, that no password is told, and that
 * every commit lands exactly once whatever happens to connections and server meanwhile.
 */
#include "tests/contract/lib_postgres.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL

/* ---- helpers -------------------------------------------------------------------------------- */

static void nap(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

	nanosleep(&ts, NULL);
}

/* Options for another backend than the case's, begun with what leads to the same place. */
static struct pfs_option_set other_set;

static void other(struct contract *c, const char *name, const char *value)
{
	struct pfs_msg msg = {{0}};

	(void)c;
	if (pfs_option_set_text(&other_set, name, value, &msg) != 0)
		fail_msg("%s = %s: %s", name, value, msg.text);
}

static int setup(void **state)
{
	struct contract *c;

	contract_setup(state);
	c = *state;
	assert_int_equal(pfs_option_set_init(&other_set, c->table), 0);
	other(c, "url", getenv("PERSISTFS_TEST_POSTGRES"));
	other(c, "schema", c->place);
	return 0;
}

static int teardown(void **state)
{
	pfs_option_set_release(&other_set);
	return contract_teardown(state);
}

/* Start another backend: -errno and what was said. */
static int try_start(struct contract *c, struct pfs_msg *msg)
{
	struct pfs_backend *b = NULL;
	int err;

	(void)c;

	pfs_msg_clear(msg);
	err = pfs_backend_new("it", pfs_engine_find("postgres"), &other_set, &b, msg);
	if (!err)
		err = pfs_backend_start(b, msg);
	pfs_backend_free(b);
	return err;
}

static void assert_says(const struct pfs_msg *msg, const char *what)
{
	if (!strstr(msg->text, what))
		fail_msg("\"%s\" says nothing of \"%s\"", msg->text, what);
}

/* An option that begins to count when the case's backend is opened again. */
static void set(struct contract *c, const char *name, const char *value)
{
	c_option(c, name, value);
}

static void control(const char *verb)
{
	const char *ctl = getenv("PERSISTFS_TEST_POSTGRES_CTL");
	char command[512];

	assert_non_null(ctl);
	snprintf(command, sizeof(command), "%s %s >/dev/null 2>&1 </dev/null", ctl, verb);
	assert_int_equal(system(command), 0);
}

/* ---- which schemas -------------------------------------------------------------------------- */

static void foreign_tables_of_our_names_are_refused_and_left_alone(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_msg msg;
	char place[80];

	snprintf(place, sizeof(place), "%s_other", c->place);
	pq_sql(sql,
	       "CREATE SCHEMA \"%s\"; CREATE TABLE \"%s\".persistfs_objects(mine text);"
	       "INSERT INTO \"%s\".persistfs_objects VALUES ('precious')",
	       place, place, place);
	other(c, "schema", place);
	assert_int_equal(try_start(c, &msg), -EINVAL);
	assert_says(&msg, "not persistfs's own");
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM \"%s\".persistfs_objects", place), 1);
	assert_int_equal(pq_int(sql,
				"SELECT count(*) FROM pg_class r JOIN pg_namespace n ON n.oid ="
				" r.relnamespace WHERE n.nspname = '%s' AND relkind = 'r'",
				place),
			 1);
	pq_sql(sql, "ALTER TABLE \"%s\".persistfs_objects RENAME TO persistfs_meta", place);
	assert_int_equal(try_start(c, &msg), -EINVAL);
	assert_says(&msg, "not persistfs's own");
	pq_sql(sql, "DROP SCHEMA \"%s\" CASCADE", place);
	PQfinish(sql);
}

static void foreign_tables_of_other_names_may_stand_beside(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_msg msg;
	char place[80];

	snprintf(place, sizeof(place), "%s \"b", c->place);
	pq_sql(sql, "CREATE SCHEMA \"%s \"\"b\"; CREATE TABLE \"%s \"\"b\".objects(mine text)",
	       c->place, c->place);
	other(c, "schema", place);
	assert_int_equal(try_start(c, &msg), 0);
	assert_int_equal(try_start(c, &msg), 0);
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM \"%s \"\"b\".objects", c->place), 0);
	pq_sql(sql, "DROP SCHEMA \"%s \"\"b\" CASCADE", c->place);
	PQfinish(sql);
}

static void a_newer_layout_is_refused(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(c->place);
	struct pfs_msg msg;

	pq_sql(sql, "UPDATE persistfs_meta SET value = 99 WHERE key = 'layout'");
	assert_int_equal(try_start(c, &msg), -EINVAL);
	assert_says(&msg, "layout 99");
	assert_says(&msg, "newer persistfs");
	pq_sql(sql, "UPDATE persistfs_meta SET value = 1 WHERE key = 'layout'");
	PQfinish(sql);
}

static void a_database_that_is_not_utf8_is_refused(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_msg msg;
	char name[80];

	snprintf(name, sizeof(name), "%s_latin", c->place);
	pq_sql(sql,
	       "CREATE DATABASE \"%s\" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
	       " TEMPLATE template0",
	       name);
	other(c, "dbname", name);
	assert_int_equal(try_start(c, &msg), -EINVAL);
	assert_says(&msg, "LATIN1");
	assert_says(&msg, "needs UTF8");
	pq_sql(sql, "DROP DATABASE \"%s\"", name);
	PQfinish(sql);
}

static void create_no_makes_nothing(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_msg msg;
	char place[80];

	snprintf(place, sizeof(place), "%s_none", c->place);
	other(c, "schema", place);
	other(c, "create", "no");
	assert_int_equal(try_start(c, &msg), -ENOENT);
	assert_says(&msg, "no schema");
	pq_sql(sql, "CREATE SCHEMA \"%s\"", place);
	assert_int_equal(try_start(c, &msg), -ENOENT);
	assert_says(&msg, "create = no");
	assert_int_equal(pq_int(sql,
				"SELECT count(*) FROM pg_class r JOIN pg_namespace n ON n.oid ="
				" r.relnamespace WHERE n.nspname = '%s'",
				place),
			 0);
	pq_sql(sql, "DROP SCHEMA \"%s\"", place);
	other(c, "schema", c->place);
	assert_int_equal(try_start(c, &msg), 0);
	PQfinish(sql);
}

static void a_user_without_permission_is_told_so(void **state)
{
	struct contract *c = *state;
	PGconn *root, *sql = pq_client(NULL);
	char where[512], role[80];
	struct pfs_msg msg;
	int err;

	snprintf(where, sizeof(where), "%s user=postgres", getenv("PERSISTFS_TEST_POSTGRES"));
	root = PQconnectdb(where);
	assert_int_equal(PQstatus(root), CONNECTION_OK);
	snprintf(role, sizeof(role), "%s_nobody", c->place);
	pq_sql(root, "CREATE ROLE \"%s\" LOGIN", role);
	other(c, "user", role);
	err = try_start(c, &msg);
	pq_sql(root, "DROP ROLE \"%s\"", role);
	assert_int_equal(err, -EACCES);
	assert_says(&msg, "permission denied");
	PQfinish(root);
	PQfinish(sql);
}

static void schemas_do_not_see_each_other(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_namespace_list list;
	struct pfs_backend *b;
	char place[80];

	snprintf(place, sizeof(place), "%s_b", c->place);
	c_file(c, c->root, "here", "x");
	other(c, "schema", place);
	assert_int_equal(pfs_backend_new("it", pfs_engine_find("postgres"), &other_set, &b, NULL),
			 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_namespaces(b, &list), 0);
	assert_int_equal(list.n, 0);
	assert_int_equal(pfs_backend_sessions(b), 1);
	pfs_backend_free(b);
	pq_sql(sql, "DROP SCHEMA \"%s\" CASCADE", place);
	PQfinish(sql);
}

/* ---- connection strings --------------------------------------------------------------------- */

/* The value of a word of the server's connection string. */
static void word_of(const char *word, char *out, size_t size)
{
	PQconninfoOption *info = PQconninfoParse(getenv("PERSISTFS_TEST_POSTGRES"), NULL), *o;

	assert_non_null(info);
	out[0] = '\0';
	for (o = info; o->keyword; o++)
		if (strcmp(o->keyword, word) == 0 && o->val)
			snprintf(out, size, "%s", o->val);
	PQconninfoFree(info);
}

static void every_way_to_name_the_server_leads_there(void **state)
{
	static const char *const words[] = {"host", "port", "user", "dbname"};
	struct contract *c = *state;
	char v[4][256], url[1400], *p = url;
	struct pfs_msg msg;
	const char *s;
	size_t i;

	for (i = 0; i < 4; i++)
		word_of(words[i], v[i], sizeof(v[i]));
	/* A URI; the directory of the socket is its host, escaped. */
	p += sprintf(p, "postgres://%s@", v[2]);
	for (s = v[0]; *s; s++)
		p += *s == '/' ? sprintf(p, "%%2F") : sprintf(p, "%c", *s);
	sprintf(p, ":%s/%s?connect_timeout=3", v[1], v[3]);
	other(c, "url", url);
	assert_int_equal(try_start(c, &msg), 0);
	/* Single options, which go before what the string says. */
	other(c, "url", "port=1");
	assert_true(try_start(c, &msg) < 0);
	for (i = 0; i < 4; i++)
		other(c, words[i], v[i]);
	assert_int_equal(try_start(c, &msg), 0);
	/* Several hosts: the first that answers. */
	snprintf(url, sizeof(url), "/nonexistent,%.200s", v[0]);
	other(c, "host", url);
	snprintf(url, sizeof(url), "1,%.200s", v[1]);
	other(c, "port", url);
	assert_int_equal(try_start(c, &msg), 0);
}

static void a_server_that_is_not_there_is_said_at_once(void **state)
{
	struct contract *c = *state;
	int64_t begin = pfs_monotonic_ns();
	struct pfs_msg msg;

	other(c, "host", "/nonexistent");
	assert_int_equal(try_start(c, &msg), -EHOSTDOWN);
	assert_says(&msg, "/nonexistent");
	assert_true(pfs_monotonic_ns() - begin < 2 * NSEC_PER_SEC);
}

static void no_message_has_the_password(void **state)
{
	static const char *const urls[] = {
		"host=/nonexistent password=geheim17",
		"postgres://me:geheim17@127.0.0.1:1/x",
		"postgres://me:geheim17@127.0.0.1:1/x?nonsense=geheim17",
		"geheim17",
		"host=/x geheim17",
		"password='geheim17",
	};
	struct contract *c = *state;
	struct pfs_msg msg;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(urls); i++) {
		other(c, "url", urls[i]);
		assert_true(try_start(c, &msg) < 0);
		assert_null(strstr(msg.text, "geheim17"));
		assert_null(strstr(pfs_error_text(), "geheim17"));
		assert_true(msg.text[0] != '\0');
	}
	other(c, "url", getenv("PERSISTFS_TEST_POSTGRES"));
	other(c, "password", "geheim17");
	other(c, "user", "nobody_of_this_name_geheim17");
	assert_true(try_start(c, &msg) < 0);
	assert_null(strstr(msg.text, "geheim17"));
}

/* ---- exactly once --------------------------------------------------------------------------- */

#define WRITERS 4

struct load {
	struct contract *c;
	uint64_t id;
	unsigned lines; /* each */
	volatile bool stop;
	const char *wrong;
	void (*trouble)(struct load *l);
	unsigned done; /* atomic */
};

/* Each line is one append: "<writer> <number>\n", 8 bytes. */
static const char *append_lines(struct load *l, unsigned writer)
{
	static __thread char why[200];
	char line[16];
	unsigned i;

	for (i = 0; i < l->lines; i++) {
		struct pfs_seg seg = {0, line, 8};
		struct pfs_mutation m = m_content(PFS_OP_APPEND, l->id, &seg, 1);
		int err;

		snprintf(line, sizeof(line), "%u %05u\n", writer, i);
		err = s_batch(l->c->s, &m, 1, NULL);
		if (err) {
			snprintf(why, sizeof(why), "append %u of %u: %s (%s)", i, writer,
				 strerror(-err), pfs_error_text());
			return why;
		}
		__atomic_add_fetch(&l->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static const char *load_thread(void *arg, unsigned i)
{
	struct load *l = arg;
	const char *wrong = NULL;

	if (i < WRITERS) {
		wrong = append_lines(l, i);
		return wrong ? strdup(wrong) : NULL;
	}
	l->trouble(l);
	return NULL;
}

/* Every line is there once, and each writer's in its order. */
static void assert_lines(struct load *l)
{
	size_t size = (size_t)l->lines * WRITERS * 8, i;
	unsigned next[WRITERS] = {0};
	char *text = malloc(size + 8);

	assert_non_null(text);
	assert_int_equal(c_attr(l->c, l->id).size, size);
	assert_int_equal(pfs_store_read(l->c->s, l->id, 0, text, size + 8), size);
	for (i = 0; i < size; i += 8) {
		unsigned writer = (unsigned)(text[i] - '0');

		assert_true(writer < WRITERS);
		assert_int_equal(strtoul(text + i + 2, NULL, 10), next[writer]++);
	}
	free(text);
}

static void hold_the_table(struct load *l);

static void run_load(struct contract *c, unsigned lines, void (*trouble)(struct load *l))
{
	struct load l = {.c = c, .lines = lines, .trouble = trouble};
	struct pfs_connections n;

	c_reopen(c);
	l.id = c_file(c, c->root, "log", "");
	c_threads(WRITERS + 1, load_thread, &l);
	pfs_backend_connections(c->b, &n);
	assert_true(n.errors > 0 || trouble == hold_the_table); /* else nothing was tried */
	assert_lines(&l);
	c_assert_usage_exact(c);
}

/* Wait until so many lines were written. */
static void await_lines(struct load *l, unsigned n)
{
	while (__atomic_load_n(&l->done, __ATOMIC_RELAXED) < n)
		nap(MS);
}

static void kill_connections(struct load *l)
{
	PGconn *sql = pq_client(NULL);
	unsigned i;

	for (i = 1; i <= 20; i++) {
		await_lines(l, i * l->lines * WRITERS / 24);
		pq_sql(sql,
		       "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		       " WHERE application_name = '%s'",
		       l->c->place);
	}
	PQfinish(sql);
}

static void connections_that_are_killed_lose_and_double_nothing(void **state)
{
	run_load(*state, 500, kill_connections);
}

static void restart_server(struct load *l)
{
	await_lines(l, l->lines * WRITERS / 3);
	control("restart");
	await_lines(l, l->lines * WRITERS * 2 / 3);
	control("kill");
	nap(300 * MS);
	control("start");
}

static void a_server_that_crashes_under_load_loses_and_doubles_nothing(void **state)
{
	run_load(*state, 400, restart_server);
}

static void pause_server(struct load *l)
{
	await_lines(l, l->lines * WRITERS / 3);
	control("pause");
	nap(1500 * MS);
	control("resume");
	await_lines(l, l->lines * WRITERS * 2 / 3);
	control("pause");
	nap(700 * MS);
	control("resume");
}

static void a_server_that_stands_still_loses_and_doubles_nothing(void **state)
{
	struct contract *c = *state;

	set(c, "timeout", "400ms");
	run_load(c, 300, pause_server);
}

/*
 * Stop the server's process that has a transaction of ours under way, for longer than `timeout`, then
 * let it go on with what it was told before.
 */
static void stop_one_process(struct load *l)
{
	PGconn *sql = pq_client(NULL);
	unsigned i;

	for (i = 1; i <= 6; i++) {
		int64_t pid = 0;

		await_lines(l, i * l->lines * WRITERS / 8);
		while (pid <= 0)
			pid = pq_int(
				sql,
				"SELECT (SELECT pid FROM pg_stat_activity WHERE"
				" application_name = '%s' AND backend_xid IS NOT NULL LIMIT 1)",
				l->c->place);
		assert_int_equal(kill((pid_t)pid, SIGSTOP), 0);
		nap(500 * MS);
		assert_int_equal(kill((pid_t)pid, SIGCONT), 0);
	}
	PQfinish(sql);
}

static void what_timed_out_does_not_land_late(void **state)
{
	struct contract *c = *state;

	set(c, "timeout", "200ms");
	run_load(c, 300, stop_one_process);
}

/* Let all commits wait inside the server, which gives up before the client does. */
static void hold_the_table(struct load *l)
{
	PGconn *sql = pq_client(l->c->place);
	unsigned i;

	for (i = 1; i <= 3; i++) {
		await_lines(l, i * l->lines * WRITERS / 5);
		pq_sql(sql, "BEGIN; LOCK TABLE persistfs_chunks IN EXCLUSIVE MODE");
		nap(700 * MS);
		pq_sql(sql, "ROLLBACK");
	}
	PQfinish(sql);
}

static void a_table_that_others_lock_is_waited_for(void **state)
{
	struct contract *c = *state;

	set(c, "timeout", "200ms");
	run_load(c, 200, hold_the_table);
}

/*
 * Crash the server while a commit of ours waits inside it, with a transaction number that it has not
 * logged; it gives that number out again, to somebody who commits before we can ask.
 */
static void reuse_numbers(struct load *l)
{
	unsigned i, k;

	for (i = 1; i <= 3; i++) {
		PGconn *sql = pq_client(l->c->place);

		await_lines(l, i * l->lines * WRITERS / 5);
		pq_sql(sql, "BEGIN; LOCK TABLE persistfs_chunks IN EXCLUSIVE MODE");
		nap(300 * MS);
		control("kill");
		PQfinish(sql);
		nap(2500 * MS); /* tries to connect have become rare */
		control("start");
		sql = pq_client(NULL);
		for (k = 0; k < 50; k++)
			pq_sql(sql, "SELECT pg_current_xact_id()");
		PQfinish(sql);
	}
}

static void a_number_that_is_given_out_again_is_not_taken_for_ours(void **state)
{
	run_load(*state, 100, reuse_numbers);
}

/* Append until something fails; every line that was promised counts. */
static const char *append_until_failure(void *arg, unsigned i)
{
	struct load *l = arg;
	unsigned n = 0;
	int err = 0;

	if (i == WRITERS) {
		await_lines(l, 200);
		control("pause");
		return NULL;
	}
	while (!err) {
		char line[16];
		struct pfs_seg seg = {0, line, 8};
		struct pfs_mutation m = m_content(PFS_OP_APPEND, l->id, &seg, 1);

		snprintf(line, sizeof(line), "%u %05u\n", i, n);
		err = s_batch(l->c->s, &m, 1, NULL);
		if (!err) {
			__atomic_add_fetch(&l->done, 1, __ATOMIC_RELAXED);
			n++;
		}
	}
	return err == -EIO || err == -EHOSTDOWN ? NULL : "another error";
}

static void what_has_an_unknown_outcome_is_there_once_at_most(void **state)
{
	struct contract *c = *state;
	struct load l = {.c = c};
	unsigned next[WRITERS] = {0}, i, n;
	struct pfs_attr attr;
	char line[9] = "";
	int64_t until;

	set(c, "timeout", "300ms");
	set(c, "retry_timeout", "1s");
	c_reopen(c);
	l.id = c_file(c, c->root, "log", "");
	c_threads(WRITERS + 1, append_until_failure, &l);
	control("resume");
	until = pfs_monotonic_ns() + 5 * NSEC_PER_SEC;
	while (pfs_store_getattr(c->s, l.id, &attr) != 0 && pfs_monotonic_ns() < until)
		nap(10 * MS);
	nap(700 * MS); /* what the server had still to do is done or given up by then */
	n = (unsigned)(c_attr(c, l.id).size / 8);
	assert_true(n >= l.done && n <= l.done + WRITERS);
	for (i = 0; i < n; i++) {
		assert_int_equal(pfs_store_read(c->s, l.id, (uint64_t)i * 8, line, 8), 8);
		assert_int_equal(strtoul(line + 2, NULL, 10), next[line[0] - '0']++);
	}
	print_message("%u lines were promised, %u are there\n", l.done, n);
}

static void past_retry_timeout_calls_fail_and_come_back(void **state)
{
	struct contract *c = *state;
	struct pfs_health health;
	struct pfs_attr attr;
	int64_t begin;
	uint64_t id;

	set(c, "timeout", "300ms");
	set(c, "retry_timeout", "1s");
	c_reopen(c);
	id = c_file(c, c->root, "f", "text");
	control("pause");
	begin = pfs_monotonic_ns();
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - begin < 3 * NSEC_PER_SEC);
	begin = pfs_monotonic_ns();
	assert_int_equal(pfs_store_getattr(c->s, id, &attr), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - begin < NSEC_PER_SEC / 2);
	assert_int_equal(c_try(c, m_setattr(id, PFS_SET_MODE, 0600)), -EHOSTDOWN);
	pfs_backend_health(c->b, &health);
	assert_false(health.ok);
	assert_true(health.why.text[0] != '\0');
	control("resume");
	begin = pfs_monotonic_ns();
	while (pfs_store_getattr(c->s, id, &attr) != 0 &&
	       pfs_monotonic_ns() - begin < 5 * NSEC_PER_SEC)
		nap(10 * MS);
	print_message("back after %lld ms\n", (long long)((pfs_monotonic_ns() - begin) / MS));
	assert_true(pfs_monotonic_ns() - begin < 2 * NSEC_PER_SEC);
	while (!pfs_backend_pushing(c->b) && pfs_monotonic_ns() - begin < 5 * NSEC_PER_SEC)
		nap(10 * MS);
	assert_true(pfs_monotonic_ns() - begin < 2 * NSEC_PER_SEC);
	pfs_backend_health(c->b, &health);
	assert_true(health.ok);
	c_assert_text(c, id, "text");
}

static const char *sweep_or_write(void *arg, unsigned i)
{
	struct load *l = arg;
	int64_t begin;
	int err;

	if (i == 0) {
		struct pfs_msg msg = {{0}};

		while (!l->stop)
			(void)pfs_backend_maintain(l->c->b, "sweep", &msg);
		return NULL;
	}
	nap(200 * MS);
	control("pause");
	begin = pfs_monotonic_ns();
	err = c_try(l->c, m_setattr(l->id, PFS_SET_MODE, 0600));
	begin = pfs_monotonic_ns() - begin;
	l->stop = true;
	control("resume");
	return err == -EHOSTDOWN && begin < 6 * NSEC_PER_SEC ? NULL : "no EHOSTDOWN in time";
}

/* What may take long must not make others wait when the server stands still. */
static void a_patient_job_does_not_wait_for_a_dead_server(void **state)
{
	struct contract *c = *state;
	struct load l = {.c = c};

	set(c, "timeout", "300ms");
	set(c, "retry_timeout", "1s");
	c_reopen(c);
	l.id = c_file(c, c->root, "f", "text");
	c_threads(2, sweep_or_write, &l);
}

/* ---- the channel ---------------------------------------------------------------------------- */

struct heard {
	pthread_mutex_t lock;
	unsigned all, entries;
	bool pushing; /* when ALL was told last */
	struct pfs_backend *b;
};

static void hear(void *arg, const struct pfs_event *events, size_t n)
{
	struct heard *h = arg;
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < n; i++) {
		h->all += events[i].type == PFS_EVENT_ALL;
		h->entries += events[i].type == PFS_EVENT_ENTRY;
		if (events[i].type == PFS_EVENT_ALL && h->b)
			h->pushing = pfs_backend_pushing(h->b);
	}
	pthread_mutex_unlock(&h->lock);
}

static bool await_pushing(struct pfs_backend *b, bool pushing)
{
	int64_t until = pfs_monotonic_ns() + 5 * NSEC_PER_SEC;

	while (pfs_backend_pushing(b) != pushing && pfs_monotonic_ns() < until)
		nap(MS / 10);
	return pfs_backend_pushing(b) == pushing;
}

static void a_broken_channel_is_said_and_mended(void **state)
{
	struct heard h = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct contract *c = *state;
	PGconn *sql = pq_client(c->place);
	struct pfs_backend *b;
	unsigned before;

	b = c_backend(c, hear, &h);
	h.b = b;
	assert_true(pfs_backend_pushing(b));
	before = h.all;
	/* What is done while nobody listens must not be missed. */
	pq_sql(sql,
	       "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	       " WHERE application_name = '%s'",
	       c->place);
	assert_true(await_pushing(b, false));
	assert_true(await_pushing(b, true));
	pthread_mutex_lock(&h.lock);
	assert_true(h.all >= before + 2);
	assert_true(h.pushing);
	pthread_mutex_unlock(&h.lock);
	before = h.entries;
	c_file(c, c->root, "new", "x");
	assert_int_equal(pfs_backend_catch_up(b), 0);
	assert_true(h.entries > before);
	pfs_backend_free(b);
	PQfinish(sql);
}

static void a_session_that_others_ended_begins_anew(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(c->place);
	struct pfs_lock lock = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE};
	uint64_t id = c_file(c, c->root, "f", "x");

	pq_sql(sql, "DELETE FROM persistfs_sessions");
	c_file(c, c->root, "g", "y"); /* it had no locks: nobody needs to know */
	assert_int_equal(pq_int(sql, "SELECT count(*) FROM persistfs_sessions"), 1);
	assert_int_equal(pfs_store_lock(c->s, id, &lock, NULL), 0);
	pq_sql(sql, "DELETE FROM persistfs_locks; DELETE FROM persistfs_sessions");
	assert_int_equal(c_try(c, m_setattr(id, PFS_SET_MODE, 0600)), -ESTALE);
	assert_int_equal(c_try(c, m_setattr(id, PFS_SET_MODE, 0600)), -ESTALE);
	assert_int_equal(pfs_backend_heartbeat(c->b), -ESTALE);
	assert_int_equal(pfs_backend_heartbeat(c->b), 0);
	assert_int_equal(c_try(c, m_setattr(id, PFS_SET_MODE, 0600)), 0);
	PQfinish(sql);
}

static void a_silent_session_loses_its_locks(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(c->place);
	struct pfs_lock lock = {0, 0, UINT64_MAX, PFS_LOCK_EXCLUSIVE};
	uint64_t id = c_file(c, c->root, "f", "x");
	int64_t begin = pfs_monotonic_ns();
	int err;

	set(c, "lock_timeout", "1s");
	c_reopen(c);
	/* A mount on another host that is not heard of any more. */
	pq_sql(sql,
	       "INSERT INTO persistfs_sessions VALUES (7,"
	       " (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, 1, 1, 'far', 0);"
	       "INSERT INTO persistfs_locks VALUES (%llu, 7, 0, -9223372036854775808,"
	       " 9223372036854775807, 2)",
	       (unsigned long long)id);
	assert_int_equal(pfs_store_lock(c->s, id, &lock, NULL), -EAGAIN);
	do {
		err = pfs_store_lock(c->s, id, &lock, NULL);
		nap(20 * MS);
	} while (err == -EAGAIN && pfs_monotonic_ns() - begin < 5 * NSEC_PER_SEC);
	assert_int_equal(err, 0);
	assert_true(pfs_monotonic_ns() - begin < 3 * NSEC_PER_SEC);
	PQfinish(sql);
}

/* ---- reading only, and much ------------------------------------------------------------------ */

static void a_server_that_takes_no_writes_is_read(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	struct pfs_mutation m = m_setattr(id, PFS_SET_MODE, 0600);
	struct pfs_health health;
	struct pfs_backend *b;
	struct pfs_store *s;
	char url[600];

	snprintf(url, sizeof(url), "%s options='-c default_transaction_read_only=on'",
		 getenv("PERSISTFS_TEST_POSTGRES"));
	other(c, "url", url);
	assert_int_equal(pfs_backend_new("it", pfs_engine_find("postgres"), &other_set, &b, NULL),
			 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "test", true, &s, NULL), 0);
	s_assert_text(s, id, "text");
	assert_int_equal(s_batch(s, &m, 1, NULL), -EROFS);
	assert_false(pfs_backend_pushing(b));
	pfs_backend_health(b, &health);
	assert_true(health.durable.text[0] != '\0');
	pfs_store_free(s);
	pfs_backend_free(b);
	assert_int_equal(c_attr(c, id).mode, S_IFREG | 0644);
}

static void large_batches_do_not_wait_for_anything(void **state)
{
	struct contract *c = *state;
	size_t size = 8 << 20, i;
	char *data = malloc(size), *back = malloc(size);
	uint64_t id, seed = 5;
	struct pfs_connections n;

	assert_true(data && back);
	set(c, "timeout", "2s"); /* a stall ends there, and costs the connection */
	c_reopen(c);
	id = c_file(c, c->root, "big", "");
	for (i = 0; i < 8; i++) {
		c_fill(&seed, data, size);
		c_write(c, id, i * size, data, size);
		assert_int_equal(pfs_store_read(c->s, id, i * size, back, size), size);
		assert_memory_equal(data, back, size);
	}
	pfs_backend_connections(c->b, &n);
	assert_int_equal(n.errors, 0);
	free(data);
	free(back);
}

/* ---- connections ---------------------------------------------------------------------------- */

static const char *read_much(void *arg, unsigned i)
{
	struct contract *c = arg;
	struct pfs_attr attr;
	unsigned k;

	for (k = 0; k < 200; k++)
		if (pfs_store_getattr(c->s, c->root, &attr) != 0)
			return "getattr failed";
	(void)i;
	return NULL;
}

static void no_more_connections_are_open_than_allowed(void **state)
{
	struct contract *c = *state;
	PGconn *sql = pq_client(NULL);
	struct pfs_connections n;

	set(c, "pool_size", "3");
	set(c, "max_overflow", "0");
	c_reopen(c);
	c_threads(16, read_much, c);
	assert_true(pq_int(sql,
			   "SELECT count(*) FROM pg_stat_activity"
			   " WHERE application_name = '%s'",
			   c->place) <= 3);
	pfs_backend_connections(c->b, &n);
	assert_int_equal(n.limit, 3);
	assert_true(n.open <= 3);
	PQfinish(sql);
}

int main(int argc, char **argv)
{
#define IT(fn)                                                                                     \
	{                                                                                          \
#fn, fn, setup, teardown, (void *)engine                                           \
	}
	const struct contract_engine *engine = pq_engine();
	const struct CMUnitTest tests[] = {
		IT(foreign_tables_of_our_names_are_refused_and_left_alone),
		IT(foreign_tables_of_other_names_may_stand_beside),
		IT(a_newer_layout_is_refused),
		IT(a_database_that_is_not_utf8_is_refused),
		IT(create_no_makes_nothing),
		IT(a_user_without_permission_is_told_so),
		IT(schemas_do_not_see_each_other),
		IT(every_way_to_name_the_server_leads_there),
		IT(a_server_that_is_not_there_is_said_at_once),
		IT(no_message_has_the_password),
		IT(connections_that_are_killed_lose_and_double_nothing),
		IT(a_server_that_crashes_under_load_loses_and_doubles_nothing),
		IT(a_server_that_stands_still_loses_and_doubles_nothing),
		IT(what_timed_out_does_not_land_late),
		IT(a_table_that_others_lock_is_waited_for),
		IT(a_number_that_is_given_out_again_is_not_taken_for_ours),
		IT(what_has_an_unknown_outcome_is_there_once_at_most),
		IT(past_retry_timeout_calls_fail_and_come_back),
		IT(a_patient_job_does_not_wait_for_a_dead_server),
		IT(a_broken_channel_is_said_and_mended),
		IT(a_session_that_others_ended_begins_anew),
		IT(a_silent_session_loses_its_locks),
		IT(a_server_that_takes_no_writes_is_read),
		IT(large_batches_do_not_wait_for_anything),
		IT(no_more_connections_are_open_than_allowed),
	};

	return pq_run(tests, PFS_ARRAY_SIZE(tests), argc, argv);
}
