/*
 * The engine's thread: it hears what others do, keeps the session alive, sweeps, searches for keys that
 * have no record yet, looks at the server's health, and tries to reach a server that is down.
 *
 * watch_lock guards what others ask of the thread; everything else here is the thread's own.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "backends/redis/listen.h"

#define MS		 INT64_C(1000000)
#define ASK_PERIOD	 NSEC_PER_SEC /* for a sign of life */
#define HEALTH_PERIOD	 (5 * NSEC_PER_SEC)
#define PROBE_PERIOD	 (100 * MS)
#define LISTEN_DELAY_MIN (20 * MS)
#define LISTEN_DELAY_MAX NSEC_PER_SEC
#define SWEEP_DELAY_MIN	 (20 * MS)
#define SWEEP_DELAY_MAX	 NSEC_PER_SEC
#define VERIFY_DELAY	 (10 * MS)
#define VERIFY_MANY	 256
#define HEAR_PERIOD	 MS /* under load, what comes in this time is read at once */
#define SCAN_COUNT	 500

struct watch {
	struct redis_backend *b;
	struct redis_listener l;
	int64_t listen_at, listen_delay;
	int64_t beat_at, health_at, probe_at;
	int64_t sweep_at, sweep_delay; /* where others hold what is to be swept */
	int64_t hear_at;
	int64_t verify_at; /* 0: nothing was written */
};

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* ---- asking the thread ---------------------------------------------------------------------- */

void redis_watch_wake(struct redis_backend *b)
{
	uint64_t one = 1;

	if (write(b->wake_fd, &one, sizeof(one)) < 0)
		return; /* it has been woken often enough */
}

static struct timespec deadline_in(int64_t ns)
{
	int64_t at = pfs_monotonic_ns() + ns;

	return (struct timespec){.tv_sec = at / NSEC_PER_SEC, .tv_nsec = at % NSEC_PER_SEC};
}

/* Has the thread tried, without success, since there were `tries`? With watch_lock held. */
static bool in_vain(struct redis_backend *b, uint64_t tries)
{
	return b->stop || (b->tries > tries && !pfs_backend_pushing(&b->base));
}

void redis_watch_namespace(struct redis_backend *b, struct redis_namespace *ns)
{
	struct timespec ts = deadline_in(b->timeout);
	uint64_t tries;
	int rc = 0;

	if (__atomic_load_n(&ns->tracked, __ATOMIC_ACQUIRE))
		return;
	redis_watch_wake(b);
	pthread_mutex_lock(&b->watch_lock);
	tries = b->tries;
	while (!rc && !__atomic_load_n(&ns->tracked, __ATOMIC_ACQUIRE) && !in_vain(b, tries))
		rc = pthread_cond_timedwait(&b->watch_cond, &b->watch_lock, &ts);
	pthread_mutex_unlock(&b->watch_lock);
}

/* Say something on the channel that the thread must hear. */
static int say_token(struct redis_backend *b, uint64_t token)
{
	struct redis_state state;
	struct redis_conn *conn;
	redisReply *r = NULL;
	char channel[64], text[64];
	int err = redis_get(b, pfs_monotonic_ns() + b->timeout, &conn);

	if (err)
		return err;
	redis_state_get(b, &state);
	snprintf(channel, sizeof(channel), "//changes %s", state.gen);
	snprintf(text, sizeof(text), "%llu B%llu;", (unsigned long long)state.session,
		 (unsigned long long)token);
	err = redis_command(conn->ctx, &r, "PUBLISH %s %s", channel, text);
	freeReplyObject(r);
	redis_put(b, conn, err);
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}

int redis_catch_up(struct pfs_backend *base)
{
	struct redis_backend *b = redis_of(base);
	struct timespec ts = deadline_in(b->timeout);
	uint64_t token;
	int rc = 0;

	if (!base->own)
		return 0;
	pthread_mutex_lock(&b->watch_lock);
	token = ++b->token;
	pthread_mutex_unlock(&b->watch_lock);
	rc = say_token(b, token);
	pthread_mutex_lock(&b->watch_lock);
	/* Where the channel broke, everything is told to be unknown. */
	while (!rc && b->token_heard < token && pfs_backend_pushing(base) && !b->stop)
		rc = -pthread_cond_timedwait(&b->watch_cond, &b->watch_lock, &ts);
	pthread_mutex_unlock(&b->watch_lock);
	return rc == -ETIMEDOUT ? -EHOSTDOWN : rc;
}

static void tell_waiters(struct redis_backend *b, bool tried)
{
	pthread_mutex_lock(&b->watch_lock);
	b->tries += tried;
	pthread_cond_broadcast(&b->watch_cond);
	pthread_mutex_unlock(&b->watch_lock);
}

static bool stopping(struct redis_backend *b)
{
	bool stop;

	pthread_mutex_lock(&b->watch_lock);
	stop = b->stop;
	pthread_mutex_unlock(&b->watch_lock);
	return stop;
}

/* ---- hearing -------------------------------------------------------------------------------- */

static void go_deaf(struct watch *w, const char *why)
{
	bool heard = w->l.sub != NULL;

	redis_deaf(&w->l);
	if (heard) {
		pfs_log(PFS_LOG_WARN, "backend '%s': others' changes are not heard: %s",
			w->b->base.name, why);
		w->listen_at = pfs_monotonic_ns();
		w->listen_delay = 0;
	}
	pfs_backend_set_pushing(&w->b->base, false);
	tell_waiters(w->b, !heard);
}

static bool track_all(struct watch *w)
{
	struct redis_namespace *ns = NULL;
	bool new = false;

	while ((ns = redis_namespace_next(w->b, ns)) != NULL) {
		if (__atomic_load_n(&ns->tracked, __ATOMIC_ACQUIRE))
			continue;
		if (redis_listen_to(&w->l, ns))
			return false;
		ns->scanning = true;
		snprintf(ns->scan, sizeof(ns->scan), "0");
		__atomic_store_n(&ns->tracked, true, __ATOMIC_RELEASE);
		new = true;
	}
	if (new)
		tell_waiters(w->b, false);
	return true;
}

static void try_to_hear(struct watch *w)
{
	int err = redis_listen(&w->l);

	if (!err && !track_all(w))
		err = -EIO;
	if (!err)
		err = redis_holds_catch_up(w->b);
	if (err) {
		w->listen_delay = w->listen_delay ? 2 * w->listen_delay : LISTEN_DELAY_MIN;
		if (w->listen_delay > LISTEN_DELAY_MAX)
			w->listen_delay = LISTEN_DELAY_MAX;
		redis_deaf(&w->l);
		w->listen_at = pfs_monotonic_ns() + w->listen_delay;
		tell_waiters(w->b, true);
		return;
	}
	w->listen_delay = 0;
	pfs_backend_set_pushing(&w->b->base, true);
	tell_waiters(w->b, true);
}

static void hear(struct watch *w)
{
	struct redis_state state;
	int64_t now = pfs_monotonic_ns();

	if (!redis_hear(&w->l)) {
		go_deaf(w, "the connection broke");
		return;
	}
	if (redis_foreign_check(&w->l)) {
		go_deaf(w, pfs_error_text());
		return;
	}
	if (w->l.nwritten && !w->verify_at)
		w->verify_at = now + VERIFY_DELAY;
	if (w->verify_at && (now >= w->verify_at || w->l.nwritten >= VERIFY_MANY)) {
		w->verify_at = 0;
		if (redis_verify(&w->l)) {
			go_deaf(w, pfs_error_text());
			return;
		}
	}
	if (w->l.flushed) {
		w->l.flushed = false;
		w->beat_at = now; /* which finds out whether it was our data */
	}
	redis_state_get(w->b, &state);
	if (strcmp(state.gen, w->l.state.gen) != 0 || state.session != w->l.state.session)
		go_deaf(w, "the session is another one");
	else if (w->l.asked && w->l.heard < w->l.asked && now - w->l.asked > REDIS_ASK_PATIENCE)
		go_deaf(w, "no sign of life");
	else if ((!w->l.asked || w->l.heard >= w->l.asked) && now - w->l.asked > ASK_PERIOD) {
		w->l.asked = now;
		if (!redis_listen_ask(&w->l))
			go_deaf(w, "the connection broke");
	}
}

/* ---- searching ------------------------------------------------------------------------------ */

/* The namespace as a pattern of SCAN: what has a meaning there is quoted. */
static void make_pattern(const char *ns, char *out)
{
	for (; *ns; ns++) {
		if (strchr("*?[]\\^-", *ns))
			*out++ = '\\';
		*out++ = *ns;
	}
	memcpy(out, ":*", 3);
}

static int check_found(struct watch *w, struct redis_namespace *ns, const redisReply *keys)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	size_t i;
	int err;

	redis_arg_str(&a, w->l.session);
	for (i = 0; i < keys->elements; i++) {
		redis_arg_str(&a, "k");
		redis_arg_bytes(&a, keys->element[i]->str, keys->element[i]->len);
	}
	err = redis_call(w->b, REDIS_CHECK, ns->name, &a, pfs_monotonic_ns() + w->b->timeout, &r);
	redis_args_release(&a);
	freeReplyObject(r);
	return err;
}

/* One step of the search for keys of ns that have no record. */
static void search_step(struct watch *w, struct redis_namespace *ns)
{
	char pattern[2 * PFS_NAME_MAX + 4];
	struct redis_conn *conn;
	redisReply *r = NULL;
	int err = redis_get(w->b, pfs_monotonic_ns() + w->b->timeout, &conn);

	if (err)
		return;
	make_pattern(ns->name, pattern);
	err = redis_command(conn->ctx, &r, "SCAN %s MATCH %s COUNT %d", ns->scan, pattern,
			    SCAN_COUNT);
	redis_put(w->b, conn, err);
	if (!err &&
	    (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
	     r->element[1]->type != REDIS_REPLY_ARRAY || r->element[0]->len >= sizeof(ns->scan)))
		err = -EIO;
	if (!err && r->element[1]->elements)
		err = check_found(w, ns, r->element[1]);
	if (!err)
		memcpy(ns->scan, r->element[0]->str, r->element[0]->len + 1);
	if (err || !strcmp(ns->scan, "0"))
		ns->scanning = false;
	freeReplyObject(r);
}

/* Returns whether a search goes on. */
static bool search(struct watch *w)
{
	struct redis_namespace *ns = NULL;

	while ((ns = redis_namespace_next(w->b, ns)) != NULL) {
		if (!ns->scanning)
			continue;
		search_step(w, ns);
		return true;
	}
	return false;
}

/* ---- the rest of its work ------------------------------------------------------------------- */

static bool waits_for_others(struct redis_backend *b)
{
	struct redis_namespace *ns;
	bool waits = false;

	pthread_mutex_lock(&b->holds.lock);
	for (ns = b->holds.namespaces; ns; ns = ns->next) {
		waits |= ns->waits;
		ns->sweep |= ns->waits;
	}
	pthread_mutex_unlock(&b->holds.lock);
	return waits;
}

static bool sweep_due(struct redis_backend *b)
{
	struct redis_namespace *ns;
	bool due = false;

	pthread_mutex_lock(&b->holds.lock);
	for (ns = b->holds.namespaces; ns; ns = ns->next)
		due |= ns->sweep;
	pthread_mutex_unlock(&b->holds.lock);
	return due;
}

/*
 * Not for each removal: what comes within SWEEP_DELAY_MIN is swept at once. Where others hold something
 * they are asked again, later and later. Returns whether there is more to do at once.
 */
static bool sweep(struct watch *w, int64_t now)
{
	bool more;

	if (now < w->sweep_at)
		return false;
	if (waits_for_others(w->b))
		w->sweep_delay = least(w->sweep_delay ? 2 * w->sweep_delay : SWEEP_DELAY_MIN,
				       SWEEP_DELAY_MAX);
	else
		w->sweep_delay = 0;
	more = redis_sweep(w->b);
	w->sweep_at = more ? now : now + (w->sweep_delay ? w->sweep_delay : SWEEP_DELAY_MIN);
	return more;
}

/* Returns whether there is more to do at once. */
static bool chores(struct watch *w)
{
	struct redis_backend *b = w->b;
	int64_t now = pfs_monotonic_ns();
	bool more, down = pfs_pool_down(&b->pool);

	if (now >= w->probe_at) { /* it also closes connections that nobody needs any more */
		pfs_pool_probe(&b->pool);
		w->probe_at = pfs_monotonic_ns() + PROBE_PERIOD;
		if (down && !pfs_pool_down(&b->pool))
			w->listen_at = now;
	}
	if (now >= w->beat_at && !pfs_pool_down(&b->pool)) {
		redis_beat(b);
		w->beat_at = now + b->lease / 4;
	}
	if (now >= w->health_at && !pfs_pool_down(&b->pool)) {
		redis_look_at_health(b);
		w->health_at = now + HEALTH_PERIOD;
	}
	more = !pfs_pool_down(&b->pool) && sweep(w, now);
	return (!pfs_pool_down(&b->pool) && search(w)) || more;
}

/* Wait for news, a wake-up or the next thing to do. */
static void wait_for_work(struct watch *w, bool at_once)
{
	struct pollfd p[3] = {{.fd = w->b->wake_fd, .events = POLLIN}, {.fd = -1}, {.fd = -1}};
	int64_t now = pfs_monotonic_ns(), until = least(w->beat_at, w->health_at);
	uint64_t count;

	if (w->l.sub) {
		if (now >= w->hear_at)
			p[1] = (struct pollfd){.fd = w->l.sub->fd, .events = POLLIN};
		else
			until = least(until, w->hear_at);
		p[2] = (struct pollfd){.fd = w->l.track->fd, .events = POLLIN};
		until = least(until, (w->l.asked ? w->l.asked : now) + ASK_PERIOD);
	} else {
		until = least(until, w->listen_at);
	}
	if (pfs_pool_down(&w->b->pool))
		until = least(now + PROBE_PERIOD, w->l.sub ? until : now + PROBE_PERIOD);
	if (w->verify_at && w->l.sub)
		until = least(until, w->verify_at);
	if (w->sweep_delay || sweep_due(w->b))
		until = least(until, w->sweep_at);
	if (at_once || until < now)
		until = now;
	poll(p, 3, (int)((until - now + MS - 1) / MS));
	w->hear_at = p[1].revents ? pfs_monotonic_ns() + HEAR_PERIOD : 0;
	if (p[0].revents && read(w->b->wake_fd, &count, sizeof(count)) < 0)
		return; /* nothing was in it */
}

static void *watch_main(void *arg)
{
	struct redis_backend *b = arg;
	struct watch w = {.b = b, .l = {.b = b}};
	bool more = false;

	w.beat_at = pfs_monotonic_ns() + b->lease / 4;
	w.health_at = pfs_monotonic_ns() + HEALTH_PERIOD;
	while (!stopping(b)) {
		if (!w.l.sub && pfs_monotonic_ns() >= w.listen_at && !pfs_pool_down(&b->pool))
			try_to_hear(&w);
		if (w.l.sub && !track_all(&w))
			go_deaf(&w, "a namespace cannot be watched");
		wait_for_work(&w, more);
		if (w.l.sub)
			hear(&w);
		more = chores(&w);
		if (w.l.sub && pfs_pool_down(&b->pool))
			go_deaf(&w, "the server does not answer");
	}
	redis_deaf(&w.l);
	free(w.l.foreign);
	free(w.l.written);
	return NULL;
}

/* ---- its life ------------------------------------------------------------------------------- */

int redis_watch_start(struct redis_backend *b)
{
	struct timespec ts = deadline_in(b->timeout);
	int err, rc = 0;

	b->stop = false;
	err = -pthread_create(&b->thread, NULL, watch_main, b);
	if (err)
		return err;
	b->thread_started = true;
	pthread_mutex_lock(&b->watch_lock);
	while (!rc && b->tries == 0)
		rc = pthread_cond_timedwait(&b->watch_cond, &b->watch_lock, &ts);
	pthread_mutex_unlock(&b->watch_lock);
	return 0;
}

void redis_watch_stop(struct redis_backend *b)
{
	if (!b->thread_started)
		return;
	pthread_mutex_lock(&b->watch_lock);
	b->stop = true;
	pthread_cond_broadcast(&b->watch_cond);
	pthread_mutex_unlock(&b->watch_lock);
	redis_watch_wake(b);
	pthread_join(b->thread, NULL);
	b->thread_started = false;
}
