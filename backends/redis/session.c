/*
 * The session of this backend on the server, and what is asked about the whole: ids, namespaces, locks,
 * health. When the server has lost what it had promised (a restart without a log) the data is another
 * one: a new session is begun, the epoch of the contract moves, and the watcher hears REPLACED before
 * any call uses the new one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "backends/redis/redis.h"

void redis_state_get(struct redis_backend *b, struct redis_state *out)
{
	pthread_mutex_lock(&b->state_lock);
	*out = b->state;
	pthread_mutex_unlock(&b->state_lock);
}

static void state_set(struct redis_backend *b, const struct redis_state *state)
{
	pthread_mutex_lock(&b->state_lock);
	b->state = *state;
	pthread_mutex_unlock(&b->state_lock);
}

static void new_gen(char gen[REDIS_SMALL_GEN])
{
	unsigned char bytes[16];
	size_t i;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		memcpy(bytes, &(int64_t[]){pfs_now_ns(), pfs_monotonic_ns()}, sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++)
		snprintf(gen + 2 * i, 3, "%02x", bytes[i]);
}

/* Call a verb of session.lua on this connection; *out owned when the result is 0. */
static int ask(redisContext *c, const char *gen, const char *ns, struct redis_args *a,
	       redisReply **out)
{
	redisReply *r = NULL;
	int err = redis_eval(c, REDIS_SESSION, gen, ns, a, &r);

	redis_args_release(a);
	if (err)
		return err;
	err = -(int)redis_number(r, 0);
	if (err && r->elements > 1 && r->element[1]->type == REDIS_REPLY_STRING)
		pfs_error_text_set("%s", r->element[1]->str);
	if (err)
		freeReplyObject(r);
	else
		*out = r;
	return err;
}

/* ---- beginning ------------------------------------------------------------------------------ */

/* Does so without a script, which would leave its text on the server. */
static bool has_layout(redisContext *c)
{
	redisReply *r = redisCommand(c, "EXISTS //meta");
	bool absent = r && r->type == REDIS_REPLY_INTEGER && r->integer == 0;

	freeReplyObject(r);
	return !absent;
}

static int find_layout(struct redis_backend *b, redisContext *c, char gen[REDIS_SMALL_GEN])
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	char fresh[REDIS_SMALL_GEN];
	int err;

	if (b->create && !b->base.make && !has_layout(c))
		return -ENODATA;
	new_gen(fresh);
	redis_arg_str(&a, "layout");
	redis_arg_str(&a, REDIS_LAYOUT);
	redis_arg_u64(&a, b->create);
	redis_arg_str(&a, fresh);
	pthread_mutex_lock(&b->state_lock);
	redis_arg_u64(&a, b->last_id + (b->last_id ? 1 << 20 : PFS_ID_FIRST));
	redis_arg_str(&a, b->run);
	pthread_mutex_unlock(&b->state_lock);
	err = ask(c, "", "", &a, &r);
	if (err == -ENOENT)
		pfs_error_text_set("%s has no persistfs data (create = no)", b->target.where);
	if (err)
		return err;
	if (r->elements > 1 && r->element[1]->type == REDIS_REPLY_STRING)
		snprintf(gen, REDIS_SMALL_GEN, "%.*s", REDIS_SMALL_GEN - 1, r->element[1]->str);
	freeReplyObject(r);
	return 0;
}

static int begin(struct redis_backend *b, redisContext *c, struct redis_state *state)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "begin");
	redis_arg_i64(&a, b->lease / 1000000);
	err = ask(c, state->gen, "", &a, &r);
	if (err)
		return err;
	state->session = redis_number(r, 1);
	state->epoch = 1;
	__atomic_store_n(&b->sessions, (unsigned)redis_number(r, 2), __ATOMIC_RELAXED);
	__atomic_store_n(&b->answered, 0, __ATOMIC_RELAXED);
	freeReplyObject(r);
	return 0;
}

int redis_attach(struct redis_backend *b, redisContext *c, struct pfs_msg *msg)
{
	struct redis_state state = {.data_epoch = 1};
	int err;

	pthread_mutex_lock(&b->session_lock);
	err = find_layout(b, c, state.gen);
	if (!err)
		err = begin(b, c, &state);
	if (!err) {
		state.data_epoch = b->base.epoch;
		state_set(b, &state);
	}
	pthread_mutex_unlock(&b->session_lock);
	if (err == REDIS_LOST)
		err = -EHOSTDOWN;
	if (err)
		pfs_msg_set(msg, "%s", pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	return err;
}

/* ---- what was lost -------------------------------------------------------------------------- */

static int renew(redisContext *c, const char *gen)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	char fresh[REDIS_SMALL_GEN];
	int err;

	new_gen(fresh);
	redis_arg_str(&a, "renew");
	redis_arg_str(&a, fresh);
	err = ask(c, gen, "", &a, &r);
	freeReplyObject(r);
	return err == -REDIS_OTHER_DATA ? 0 : err; /* somebody else did */
}

/* With session_lock held. */
static int data_exchange(struct redis_backend *b, redisContext *c)
{
	const struct pfs_event replaced = {.type = PFS_EVENT_REPLACED};
	struct redis_state state;
	char old[REDIS_SMALL_GEN];
	int err;

	redis_state_get(b, &state);
	memcpy(old, state.gen, sizeof(old));
	err = find_layout(b, c, state.gen);
	if (!err && !strcmp(old, state.gen)) {
		err = renew(c, old);
		if (!err)
			err = find_layout(b, c, state.gen);
	}
	if (!err)
		err = begin(b, c, &state);
	if (err)
		return err;
	pfs_log(PFS_LOG_ERROR,
		"backend '%s': the server has lost what it had; everything that is open is void",
		b->base.name);
	state.data_epoch = __atomic_add_fetch(&b->base.epoch, 1, __ATOMIC_ACQ_REL);
	pfs_backend_notify(&b->base, &replaced, 1);
	redis_holds_reset(b);
	pthread_mutex_lock(&b->state_lock);
	b->next_id = b->last_id;
	b->declared_dead = true;
	b->state = state;
	pthread_mutex_unlock(&b->state_lock);
	redis_watch_wake(b);
	return 0;
}

int redis_data_moved(struct redis_backend *b, redisContext *c, const struct redis_state *state)
{
	struct redis_state current;
	int err = 0;

	pthread_mutex_lock(&b->session_lock);
	redis_state_get(b, &current);
	if (!strcmp(current.gen, state->gen))
		err = data_exchange(b, c);
	pthread_mutex_unlock(&b->session_lock);
	return err;
}

/* With session_lock held: the data is there, only the session has been declared dead. */
static int session_exchange(struct redis_backend *b, redisContext *c)
{
	struct redis_state state;
	int err;

	redis_state_get(b, &state);
	err = begin(b, c, &state);
	if (err == -REDIS_OTHER_DATA)
		return data_exchange(b, c);
	if (err)
		return err;
	pfs_log(PFS_LOG_WARN,
		"backend '%s': this mount was silent for too long; its locks are lost",
		b->base.name);
	redis_holds_reset(b);
	pthread_mutex_lock(&b->state_lock);
	b->state = state;
	b->declared_dead = true;
	pthread_mutex_unlock(&b->state_lock);
	redis_watch_wake(b);
	return 0;
}

int redis_session_moved(struct redis_backend *b, redisContext *c, const struct redis_state *state)
{
	struct redis_state current;
	int err = 0;

	pthread_mutex_lock(&b->session_lock);
	redis_state_get(b, &current);
	if (current.session == state->session)
		err = session_exchange(b, c);
	pthread_mutex_unlock(&b->session_lock);
	return err;
}

/* `other`: the server is another run of itself, which may have forgotten what it had. */
static int raise_epoch(struct redis_backend *b, redisContext *c, bool other)
{
	struct redis_args a = {0};
	struct redis_state state;
	redisReply *r = NULL;
	int err;

	redis_state_get(b, &state);
	redis_arg_str(&a, "resume");
	redis_arg_u64(&a, state.session);
	redis_arg_u64(&a, __atomic_load_n(&b->answered, __ATOMIC_RELAXED));
	redis_arg_str(&a, b->run);
	err = ask(c, state.gen, "", &a, &r);
	if (err == -REDIS_OTHER_DATA ||
	    (err == -REDIS_NO_SESSION && other && __atomic_load_n(&b->answered, __ATOMIC_RELAXED)))
		return data_exchange(b, c);
	if (err == -REDIS_NO_SESSION)
		return session_exchange(b, c);
	if (err)
		return err;
	state.epoch = redis_number(r, 1);
	freeReplyObject(r);
	state_set(b, &state);
	return 0;
}

int redis_resume(struct redis_backend *b, redisContext *c, const char *run, bool always)
{
	bool first, other;
	int err = 0;

	pthread_mutex_lock(&b->session_lock);
	pthread_mutex_lock(&b->state_lock);
	first = !b->state.session;
	other = run && strcmp(run, b->run) != 0;
	if (run)
		snprintf(b->run, sizeof(b->run), "%s", run);
	pthread_mutex_unlock(&b->state_lock);
	if (!first && (other || always)) {
		err = raise_epoch(b, c, other);
		if (err && other) { /* to be asked again */
			pthread_mutex_lock(&b->state_lock);
			b->run[0] = '\0';
			pthread_mutex_unlock(&b->state_lock);
		}
	}
	pthread_mutex_unlock(&b->session_lock);
	return err;
}

/* ---- beating and ending --------------------------------------------------------------------- */

int redis_beat(struct redis_backend *b)
{
	struct redis_args a = {0};
	struct redis_state state;
	struct redis_conn *conn;
	redisReply *r = NULL;
	int err = redis_get(b, pfs_monotonic_ns() + b->timeout, &conn);

	if (err)
		return err;
	redis_state_get(b, &state);
	redis_arg_str(&a, "beat");
	redis_arg_u64(&a, state.session);
	redis_arg_i64(&a, b->lease / 1000000);
	err = ask(conn->ctx, state.gen, "", &a, &r);
	if (err == -REDIS_NO_SESSION)
		err = redis_session_moved(b, conn->ctx, &state);
	else if (err == -REDIS_OTHER_DATA)
		err = redis_data_moved(b, conn->ctx, &state);
	if (r)
		__atomic_store_n(&b->sessions, (unsigned)redis_number(r, 1), __ATOMIC_RELAXED);
	freeReplyObject(r);
	redis_put(b, conn, err);
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}

/* Says once that the session was declared dead, as the contract wants it. */
int redis_heartbeat(struct pfs_backend *base)
{
	struct redis_backend *b = redis_of(base);
	bool dead;
	int err = base->own ? redis_beat(b) : 0;

	if (err)
		return err;
	pthread_mutex_lock(&b->state_lock);
	dead = b->declared_dead;
	b->declared_dead = false;
	pthread_mutex_unlock(&b->state_lock);
	return dead ? -ESTALE : 0;
}

int redis_session_end(struct redis_backend *b)
{
	int64_t deadline = pfs_monotonic_ns() + b->timeout;
	struct redis_state state;
	bool gone = false;
	int err = 0;

	redis_state_get(b, &state);
	while (state.session && !gone && !err) {
		struct redis_args a = {0};
		redisReply *r = NULL;

		redis_arg_str(&a, "finish");
		redis_arg_u64(&a, state.session);
		err = redis_call(b, REDIS_SESSION, "", &a, deadline, &r);
		redis_args_release(&a);
		gone = !err && redis_number(r, 1);
		if (!err)
			freeReplyObject(r);
	}
	return err;
}

/* ---- ids ------------------------------------------------------------------------------------ */

static bool take_ids(struct redis_backend *b, unsigned n, uint64_t *first)
{
	bool there;

	pthread_mutex_lock(&b->state_lock);
	there = b->last_id - b->next_id >= n;
	if (there) {
		*first = b->next_id;
		b->next_id += n;
	}
	pthread_mutex_unlock(&b->state_lock);
	return there;
}

int redis_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first)
{
	struct redis_backend *b = redis_of_store(s);
	unsigned block = n > REDIS_ID_BLOCK ? n : REDIS_ID_BLOCK;

	while (!take_ids(b, n, first)) {
		struct redis_args a = {0};
		redisReply *r = NULL;
		uint64_t start;
		int err;

		redis_arg_str(&a, "ids");
		redis_arg_u64(&a, block);
		err = redis_call(b, REDIS_SESSION, "", &a, 0, &r);
		redis_args_release(&a);
		if (err == -ESTALE)
			continue;
		if (err)
			return err;
		start = redis_number(r, 1);
		freeReplyObject(r);
		if (start < PFS_ID_FIRST || start + block - 1 > PFS_ID_MAX)
			return -ENOSPC;
		if (n == block) { /* whoever else asks meanwhile shall not take of it */
			*first = start;
			return 0;
		}
		pthread_mutex_lock(&b->state_lock);
		b->next_id = start;
		b->last_id = start + block;
		pthread_mutex_unlock(&b->state_lock);
	}
	return 0;
}

/* ---- namespaces ----------------------------------------------------------------------------- */

int redis_open_namespace(struct redis_backend *b, const char *ns, bool create, uint64_t *root,
			 struct pfs_msg *msg)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "open");
	redis_arg_u64(&a, create);
	redis_arg_u64(&a, getuid());
	redis_arg_u64(&a, getgid());
	do
		err = redis_call(b, REDIS_SESSION, ns, &a, 0, &r);
	while (err == -ESTALE);
	redis_args_release(&a);
	if (err == -ENOENT)
		pfs_msg_set(msg, "%s has no namespace '%s'", b->target.where, ns);
	else if (err == -EINVAL)
		pfs_msg_set(msg,
			    "namespace '%s' cannot be made in %s: its keys would be among those of "
			    "another one, or the other's among its own",
			    ns, b->target.where);
	else if (err)
		pfs_msg_set(msg, "namespace '%s' of %s: %s", ns, b->target.where,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	if (err)
		return err;
	*root = redis_number(r, 1);
	freeReplyObject(r);
	return 0;
}

/* ---- locks ---------------------------------------------------------------------------------- */

static uint64_t position(const redisReply *r, size_t i)
{
	if (i >= r->elements || r->element[i]->type != REDIS_REPLY_STRING)
		return 0;
	return strtoull(r->element[i]->str, NULL, 10);
}

static int lock_once(struct redis_backend *b, struct redis_conn *conn, const char *ns, uint64_t id,
		     const struct pfs_lock *lock, struct pfs_lock *conflict)
{
	struct redis_args a = {0};
	struct redis_state state;
	redisReply *r = NULL;
	int err;

	redis_state_get(b, &state);
	redis_arg_str(&a, "lock");
	redis_arg_u64(&a, state.session);
	redis_arg_u64(&a, id);
	redis_arg_u64(&a, redis_held(b, id));
	redis_arg_u64(&a, lock->owner);
	redis_arg_position(&a, lock->start);
	redis_arg_position(&a, lock->end);
	redis_arg_u64(&a, lock->mode);
	err = redis_eval(conn->ctx, REDIS_SESSION, state.gen, ns, &a, &r);
	redis_args_release(&a);
	if (err)
		return err;
	err = -(int)redis_number(r, 0);
	if (err == -EAGAIN) {
		conflict->owner = position(r, 1);
		conflict->start = position(r, 2);
		conflict->end = position(r, 3);
		conflict->mode = (enum pfs_lock_mode)position(r, 4);
	} else if (err == -REDIS_NO_SESSION) { /* then the locks are gone; the next call knows */
		err = redis_session_moved(b, conn->ctx, &state);
		err = err ? err : lock->mode == PFS_LOCK_NONE ? 0 : REDIS_OLD_EPOCH;
	} else if (err == -REDIS_OTHER_DATA) {
		err = redis_data_moved(b, conn->ctx, &state);
		err = err ? err : -ESTALE;
	}
	freeReplyObject(r);
	return err;
}

int redis_lock(struct pfs_store *s, uint64_t id, const struct pfs_lock *lock,
	       struct pfs_lock *conflict)
{
	struct redis_backend *b = redis_of_store(s);
	int64_t deadline = pfs_monotonic_ns() + b->retry_timeout;
	struct redis_conn *conn;
	int err;

	do {
		err = redis_get(b, deadline, &conn);
		if (err)
			return err;
		err = lock_once(b, conn, s->ns, id, lock, conflict);
		redis_put(b, conn, err);
	} while ((err == REDIS_LOST || err == REDIS_OLD_EPOCH) && pfs_monotonic_ns() < deadline);
	return err == REDIS_LOST || err == REDIS_OLD_EPOCH ? -EHOSTDOWN : err;
}
