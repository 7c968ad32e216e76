/* See lib_redis_server.h. */
#include "tests/contract/lib_redis_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* ---- the server ----------------------------------------------------------------------------- */

static void exec_server(struct rs *r, bool appendonly)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", r->socket, "--dir",
	       r->dir, "--save", "", "--appendonly", appendonly ? "yes" : "no", "--appendfsync",
	       "always", "--daemonize", "no", (char *)NULL);
	_exit(127);
}

void rs_connect_cli(struct rs *r)
{
	int tries;

	if (r->cli)
		redisFree(r->cli);
	for (tries = 0; tries < 500; tries++) {
		redisReply *reply;
		bool up;

		r->cli = redisConnectUnix(r->socket);
		reply = r->cli->err ? NULL : redisCommand(r->cli, "PING");
		up = reply && reply->type == REDIS_REPLY_STATUS;
		freeReplyObject(reply);
		if (up)
			return;
		redisFree(r->cli);
		r->cli = NULL;
		pause_ms(10);
	}
	fail_msg("redis-server does not start in %s", r->dir);
}

void rs_server_start(struct rs *r, bool appendonly)
{
	unlink(r->socket);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0)
		exec_server(r, appendonly);
	rs_connect_cli(r);
}

void rs_server_kill(struct rs *r)
{
	kill(r->pid, SIGKILL);
	kill(r->pid, SIGCONT);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
}

static void remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char sub[512];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (unlink(sub))
			remove_all(sub);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

/* ---- events --------------------------------------------------------------------------------- */

static void observe(void *arg, const struct pfs_event *events, size_t n)
{
	struct rs *r = arg;
	size_t i;

	pthread_mutex_lock(&r->lock);
	for (i = 0; i < n && r->nevents < RS_EVENTS; i++, r->nevents++) {
		r->events[r->nevents].event = events[i];
		snprintf(r->events[r->nevents].name, sizeof(r->events[0].name), "%.*s",
			 (int)events[i].name.len, events[i].name.p ? events[i].name.p : "");
	}
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

size_t rs_events(struct rs *r)
{
	size_t n;

	pthread_mutex_lock(&r->lock);
	n = r->nevents;
	pthread_mutex_unlock(&r->lock);
	return n;
}

static bool is_event(const struct rs *r, size_t i, enum pfs_event_type type, uint64_t id,
		     const char *name)
{
	const struct pfs_event *e = &r->events[i].event;

	if (e->type != type)
		return false;
	if (type == PFS_EVENT_ENTRY)
		return e->dir == id && !strcmp(r->events[i].name, name);
	return type == PFS_EVENT_ALL || type == PFS_EVENT_REPLACED || e->id == id;
}

int64_t rs_wait_event(struct rs *r, size_t from, enum pfs_event_type type, uint64_t id,
		      const char *name)
{
	int64_t start = pfs_monotonic_ns();
	struct timespec deadline;
	bool found = false;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 10;
	pthread_mutex_lock(&r->lock);
	while (!found && !err) {
		for (; from < r->nevents && !found; from++)
			found = is_event(r, from, type, id, name);
		if (!found)
			err = pthread_cond_timedwait(&r->cond, &r->lock, &deadline);
	}
	pthread_mutex_unlock(&r->lock);
	if (!found)
		fail_msg("no event of type %d for %llu '%s'", type, (unsigned long long)id,
			 name ? name : "");
	return (pfs_monotonic_ns() - start) / 1000000;
}

void rs_wait_pushing(struct pfs_backend *b, bool pushing)
{
	int tries;

	for (tries = 0; tries < 6000 && pfs_backend_pushing(b) != pushing; tries++)
		pause_ms(5);
	assert_int_equal(pfs_backend_pushing(b), pushing);
}

/* ---- the backend ---------------------------------------------------------------------------- */

void rs_option(struct rs *r, const char *name, const char *value)
{
	struct pfs_msg msg = {{0}};

	if (pfs_option_set_text(&r->set, name, value, &msg))
		fail_msg("%s = %s: %s", name, value, msg.text);
}

struct pfs_backend *rs_new(struct rs *r)
{
	struct pfs_backend *b = NULL;
	struct pfs_msg msg = {{0}};
	int err = pfs_backend_new("it", pfs_engine_find("redis"), &r->set, &b, &msg);

	if (err)
		fail_msg("%s (%s)", msg.text, strerror(-err));
	return b;
}

static void start(struct pfs_backend *b, struct pfs_store **s)
{
	struct pfs_msg msg = {{0}};
	int err = pfs_backend_start(b, &msg);

	if (!err)
		err = pfs_backend_open(b, "test", true, s, &msg);
	if (err)
		fail_msg("%s (%s)", msg.text, strerror(-err));
}

void rs_start(struct rs *r)
{
	r->b = rs_new(r);
	pfs_backend_watch(r->b, observe, r);
	start(r->b, &r->s);
	assert_int_equal(pfs_store_root(r->s, &r->root), 0);
}

void rs_stop(struct rs *r)
{
	pfs_store_free(r->s);
	pfs_backend_free(r->b);
	r->s = NULL;
	r->b = NULL;
}

struct pfs_backend *rs_second(struct rs *r, struct pfs_store **s)
{
	struct pfs_backend *b = rs_new(r);

	start(b, s);
	return b;
}

int rs_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct rs *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	*state = r;
	snprintf(r->dir, sizeof(r->dir), "%.150s/redis-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->cond, NULL);
	r->table = pfs_engine_options(pfs_engine_find("redis"));
	assert_non_null(r->table);
	assert_int_equal(pfs_option_set_init(&r->set, r->table), 0);
	rs_option(r, "socket", r->socket);
	rs_server_start(r, true);
	return 0;
}

int rs_teardown(void **state)
{
	struct rs *r = *state;
	struct pfs_msg msg = {{0}};
	int err = r->b && r->pid ? pfs_backend_maintain(r->b, "check", &msg) : 0;

	if (err)
		print_error("the store is damaged: %s (%s)\n", msg.text, strerror(-err));
	rs_stop(r);
	if (r->cli)
		redisFree(r->cli);
	if (r->pid)
		rs_server_kill(r);
	remove_all(r->dir);
	pfs_option_set_release(&r->set);
	free(r->table);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->cond);
	free(r);
	return err;
}

/* ---- whole steps ---------------------------------------------------------------------------- */

uint64_t rs_id(struct rs *r)
{
	uint64_t id;

	assert_int_equal(pfs_store_alloc_ids(r->s, 1, &id), 0);
	return id;
}

int rs_do(struct rs *r, struct pfs_mutation m)
{
	return s_batch(r->s, &m, 1, NULL);
}

uint64_t rs_file(struct rs *r, uint64_t dir, const char *name, const char *text)
{
	struct pfs_seg seg = {0, text, strlen(text)};
	struct pfs_mutation m = m_create(rs_id(r), dir, name, S_IFREG | 0644);

	m.segs = &seg;
	m.nsegs = seg.len ? 1 : 0;
	m.size = seg.len;
	assert_int_equal(rs_do(r, m), 0);
	return m.id;
}

uint64_t rs_dir(struct rs *r, uint64_t dir, const char *name)
{
	struct pfs_mutation m = m_create(rs_id(r), dir, name, S_IFDIR | 0755);

	assert_int_equal(rs_do(r, m), 0);
	return m.id;
}

int rs_walk(struct pfs_store *s, const char *path, struct pfs_attr *out)
{
	char part[256];
	uint64_t id;
	int err = pfs_store_root(s, &id);

	while (!err && *path) {
		size_t n = strcspn(path, "/");

		snprintf(part, sizeof(part), "%.*s", (int)n, path);
		err = s_lookup(s, id, part, out);
		id = out->id;
		path += path[n] ? n + 1 : n;
	}
	return err;
}

int64_t rs_walk_until(struct pfs_store *s, const char *path, int want, struct pfs_attr *out)
{
	int64_t start = pfs_monotonic_ns();
	int err;

	while ((err = rs_walk(s, path, out)) != want &&
	       pfs_monotonic_ns() - start < 5 * NSEC_PER_SEC)
		pause_ms(1);
	assert_int_equal(err, want);
	return (pfs_monotonic_ns() - start) / 1000000;
}
