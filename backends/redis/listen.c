/*
 * See listen.h. Announcements of sessions and the server's word that a key was written come on one
 * connection in the order of their happening; for one turn of the server's loop the announcements come
 * first, then each namespace's written keys at once. So a written key that no announcement since the
 * last such list has named was written by another program.
 */
#include "backends/redis/listen.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 128
#define CHECK_KEYS 128

/* ---- keys that are explained ---------------------------------------------------------------- */

static bool begins_with(struct pfs_bytes key, const char *ns)
{
	size_t n = strlen(ns);

	return key.len > n && !memcmp(key.p, ns, n) && key.p[n] == ':';
}

struct redis_namespace *redis_namespace_of_key(struct redis_listener *l, struct pfs_bytes key)
{
	struct redis_namespace *ns;

	pthread_mutex_lock(&l->b->holds.lock);
	ns = l->b->holds.namespaces;
	while (ns && !begins_with(key, ns->name))
		ns = ns->next;
	pthread_mutex_unlock(&l->b->holds.lock);
	return ns;
}

static void set_put(uint64_t *set, size_t cap, uint64_t h)
{
	size_t i = h & (cap - 1);

	while (set[i] && set[i] != h)
		i = (i + 1) & (cap - 1);
	set[i] = h;
}

static bool set_has(const struct redis_namespace *ns, uint64_t h)
{
	size_t i;

	if (!ns->explained_cap)
		return false;
	for (i = h & (ns->explained_cap - 1); ns->explained[i];
	     i = (i + 1) & (ns->explained_cap - 1))
		if (ns->explained[i] == h)
			return true;
	return false;
}

static void explain(struct redis_listener *l, struct pfs_bytes key)
{
	struct redis_namespace *ns = redis_namespace_of_key(l, key);
	size_t cap, i;
	uint64_t *set;

	if (!ns)
		return;
	if (2 * (ns->nexplained + 1) > ns->explained_cap) {
		cap = ns->explained_cap ? 2 * ns->explained_cap : 256;
		set = calloc(cap, sizeof(*set));
		if (!set) {
			l->failed = true;
			return;
		}
		for (i = 0; i < ns->explained_cap; i++)
			if (ns->explained[i])
				set_put(set, cap, ns->explained[i]);
		free(ns->explained);
		ns->explained = set;
		ns->explained_cap = cap;
	}
	set_put(ns->explained, ns->explained_cap, redis_hash(key.p, key.len));
	ns->nexplained++;
}

static void forget_explained(struct redis_namespace *ns)
{
	if (ns->nexplained)
		memset(ns->explained, 0, ns->explained_cap * sizeof(*ns->explained));
	ns->nexplained = 0;
}

/* ---- keys that somebody else wrote ---------------------------------------------------------- */

void redis_foreign_note(struct redis_listener *l, struct redis_namespace *ns, struct pfs_bytes key)
{
	struct redis_foreign *f = l->foreign, *end = f + l->nforeign;
	uint32_t len = (uint32_t)key.len;

	while (f < end && f->ns != ns)
		f++;
	if (f == end) {
		f = realloc(l->foreign, (l->nforeign + 1) * sizeof(*f));
		if (!f) {
			l->failed = true;
			return;
		}
		l->foreign = f;
		f += l->nforeign++;
		*f = (struct redis_foreign){.ns = ns};
	}
	pfs_buf_add(&f->bytes, &len, sizeof(len));
	pfs_buf_add(&f->bytes, key.p, key.len);
	f->n++;
	l->failed |= f->bytes.failed;
}

/* Keys are never empty; one that is dropped is made one of no namespace. */
void redis_foreign_drop(struct redis_listener *l, struct pfs_bytes key)
{
	size_t i, at;
	uint32_t len;

	for (i = 0; i < l->nforeign; i++) {
		struct pfs_buf *b = &l->foreign[i].bytes;

		for (at = 0; at < b->len; at += sizeof(len) + len) {
			memcpy(&len, b->data + at, sizeof(len));
			if (len == key.len && !memcmp(b->data + at + sizeof(len), key.p, len))
				b->data[at + sizeof(len)] = '\0';
		}
	}
}

/* The server's list of keys that were written in one turn: all of one namespace. */
static void written(struct redis_listener *l, const redisReply *keys)
{
	struct redis_namespace *ns = NULL;
	size_t i;

	if (keys->type != REDIS_REPLY_ARRAY) {
		l->flushed = true;
		return;
	}
	for (i = 0; i < keys->elements; i++) {
		struct pfs_bytes key = {keys->element[i]->str, keys->element[i]->len};

		if (keys->element[i]->type != REDIS_REPLY_STRING)
			continue;
		if (!ns || !begins_with(key, ns->name))
			ns = redis_namespace_of_key(l, key);
		if (ns && !set_has(ns, redis_hash(key.p, key.len))) {
			redis_written_drop(l, key);
			redis_foreign_note(l, ns, key);
		}
	}
	if (ns)
		forget_explained(ns);
}

static int check_some(struct redis_listener *l, struct redis_foreign *f, size_t *at)
{
	struct pfs_event events[CHECK_KEYS];
	struct redis_args a = {0};
	redisReply *r = NULL;
	size_t n, i, nevents = 0;
	int err;

	redis_arg_str(&a, l->session);
	for (n = 0; n < CHECK_KEYS && *at < f->bytes.len; n++) {
		uint32_t len;

		memcpy(&len, f->bytes.data + *at, sizeof(len));
		redis_arg_str(&a, "w");
		redis_arg_bytes(&a, f->bytes.data + *at + sizeof(len), len);
		*at += sizeof(len) + len;
	}
	err = a.failed ? -ENOMEM
		       : redis_call(l->b, REDIS_CHECK, f->ns->name, &a,
				    pfs_monotonic_ns() + l->b->timeout, &r);
	redis_args_release(&a);
	if (err)
		return err == -ENOENT ? 0 : err; /* the namespace is gone */
	for (i = 1; i < r->elements && nevents < CHECK_KEYS; i++)
		events[nevents++] =
			(struct pfs_event){.type = PFS_EVENT_CONTENT, .id = redis_number(r, i)};
	pfs_backend_notify(&l->b->base, events, nevents);
	freeReplyObject(r);
	return 0;
}

int redis_foreign_check(struct redis_listener *l)
{
	size_t i;
	int err = 0;

	if (l->nforeign && !redis_hear_all(l))
		return -EIO;
	for (i = 0; i < l->nforeign; i++) {
		struct redis_foreign *f = &l->foreign[i];
		size_t at = 0;

		while (!err && at < f->bytes.len)
			err = check_some(l, f, &at);
		pfs_buf_release(&f->bytes);
	}
	l->nforeign = 0;
	return err;
}

/* ---- announcements -------------------------------------------------------------------------- */

struct reading {
	const char *p, *end;
	bool bad;
};

static uint64_t read_number(struct reading *in)
{
	uint64_t v = 0;

	if (in->p == in->end || *in->p < '0' || *in->p > '9')
		in->bad = true;
	while (in->p < in->end && *in->p >= '0' && *in->p <= '9')
		v = v * 10 + (uint64_t)(*in->p++ - '0');
	return v;
}

static void read_char(struct reading *in, char c)
{
	if (in->p < in->end && *in->p == c)
		in->p++;
	else
		in->bad = true;
}

static struct pfs_bytes read_bytes(struct reading *in)
{
	uint64_t len = read_number(in);
	struct pfs_bytes out = {in->p, 0};

	read_char(in, ':');
	out.p = in->p;
	if (in->bad || len > (uint64_t)(in->end - in->p)) {
		in->bad = true;
		return out;
	}
	out.len = (size_t)len;
	in->p += len;
	return out;
}

static void lock_wanted(struct redis_listener *l, uint64_t session, uint64_t id)
{
	const struct pfs_event event = {.type = PFS_EVENT_LOCK, .id = id};

	if (session == l->state.session)
		pfs_backend_notify(&l->b->base, &event, 1);
}

static void token_heard(struct redis_backend *b, uint64_t token)
{
	pthread_mutex_lock(&b->watch_lock);
	if (token > b->token_heard)
		b->token_heard = token;
	pthread_cond_broadcast(&b->watch_cond);
	pthread_mutex_unlock(&b->watch_lock);
}

/*
 * One item: an event for the watcher, or something that is done here. Returns whether *e is an event;
 * *token is a sign that somebody waits for (0: none).
 */
static bool read_item(struct redis_listener *l, struct reading *in, bool own, struct pfs_event *e,
		      uint64_t *token)
{
	char letter = in->p < in->end ? *in->p++ : '\0';
	struct pfs_bytes key;
	uint64_t a, b;

	*e = (struct pfs_event){0};
	*token = 0;
	switch (letter) {
	case 'E':
		e->type = PFS_EVENT_ENTRY;
		e->dir = read_number(in);
		read_char(in, ' ');
		e->name = read_bytes(in);
		return !own;
	case 'A':
	case 'C':
		e->type = letter == 'A' ? PFS_EVENT_ATTR : PFS_EVENT_CONTENT;
		e->id = read_number(in);
		return !own;
	case 'K':
		key = read_bytes(in);
		explain(l, key);
		if (!own)
			redis_foreign_drop(l, key);
		redis_written_drop(l, key);
		return false;
	case 'V':
		a = read_number(in);
		read_char(in, ' ');
		b = read_number(in);
		read_char(in, ' ');
		key = read_bytes(in);
		explain(l, key);
		if (!own || a)
			redis_foreign_drop(l, key);
		if (own && !in->bad)
			redis_written_note(l, key, a, b);
		else
			redis_written_drop(l, key);
		return false;
	case 'G':
	case 'L':
		a = read_number(in);
		read_char(in, ' ');
		b = read_number(in);
		if (!in->bad && letter == 'G') {
			redis_hold_gone(l->b, a, b);
			if (!own) /* its link count */
				*e = (struct pfs_event){.type = PFS_EVENT_ATTR, .id = b};
			return !own;
		}
		if (!in->bad)
			lock_wanted(l, a, b);
		return false;
	case 'S':
		a = read_number(in);
		__atomic_store_n(&l->b->sessions, (unsigned)a, __ATOMIC_RELAXED);
		return false;
	case 'B':
		a = read_number(in);
		l->heard = own ? pfs_monotonic_ns() : l->heard;
		l->answers_due -= own && a == 0 && l->answers_due > 0;
		*token = own ? a : 0; /* told when what came before has been */
		return false;
	default:
		in->bad = true;
		return false;
	}
}

static void announced(struct redis_listener *l, struct pfs_bytes text)
{
	struct reading in = {.p = text.p, .end = text.p + text.len};
	struct pfs_event events[EVENTS_MAX];
	uint64_t who = read_number(&in);
	bool own = who == l->state.session;
	size_t n = 0;

	read_char(&in, ' ');
	while (!in.bad && in.p < in.end) {
		struct pfs_event e;
		uint64_t token;
		bool told = read_item(l, &in, own, &e, &token);

		read_char(&in, ';');
		if (in.bad)
			break;
		if (told)
			events[n++] = e;
		if (n == EVENTS_MAX || token) {
			pfs_backend_notify(&l->b->base, events, n);
			n = 0;
		}
		if (token)
			token_heard(l->b, token);
	}
	pfs_backend_notify(&l->b->base, events, n);
	l->failed |= in.bad;
}

/* ---- hearing -------------------------------------------------------------------------------- */

static void take_message(struct redis_listener *l, const redisReply *r)
{
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 ||
	    r->element[0]->type != REDIS_REPLY_STRING || strcmp(r->element[0]->str, "message") != 0)
		return;
	if (r->element[1]->type == REDIS_REPLY_STRING &&
	    !strcmp(r->element[1]->str, "__redis__:invalidate"))
		written(l, r->element[2]);
	else if (r->element[2]->type == REDIS_REPLY_STRING)
		announced(l, (struct pfs_bytes){r->element[2]->str, r->element[2]->len});
}

static bool readable(redisContext *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Read from c what is there without waiting; every reply goes to `take`, if there is one. */
static bool drain(struct redis_listener *l, redisContext *c,
		  void (*take)(struct redis_listener *l, const redisReply *r))
{
	void *reply;

	while (readable(c)) {
		if (redisBufferRead(c) != REDIS_OK)
			return false;
		for (;;) {
			reply = NULL;
			if (redisGetReplyFromReader(c, &reply) != REDIS_OK)
				return false;
			if (!reply)
				break;
			if (take)
				take(l, reply);
			freeReplyObject(reply);
		}
	}
	return true;
}

bool redis_hear(struct redis_listener *l)
{
	return drain(l, l->sub, take_message) && drain(l, l->track, NULL) && !l->failed;
}

bool redis_listen_ask(struct redis_listener *l)
{
	char text[64];
	int done = 0;

	snprintf(text, sizeof(text), "%s B0;", l->session);
	if (redisAppendCommand(l->track, "PUBLISH %s %s", l->channel, text) != REDIS_OK)
		return false;
	while (!done)
		if (redisBufferWrite(l->track, &done) != REDIS_OK)
			return false;
	l->answers_due++;
	return true;
}

bool redis_hear_all(struct redis_listener *l)
{
	int64_t start = pfs_monotonic_ns(), patience = REDIS_ASK_PATIENCE, left = patience;
	struct pollfd p = {.fd = l->sub->fd, .events = POLLIN};

	if (!redis_listen_ask(l))
		return false;
	while (l->answers_due > 0 && left > 0) {
		poll(&p, 1, (int)(left / 1000000) + 1);
		if (!redis_hear(l))
			return false;
		left = start + patience - pfs_monotonic_ns();
	}
	return l->answers_due == 0;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static int subscribe(struct redis_listener *l, long long *id)
{
	redisReply *r = NULL;
	int err = redis_command(l->sub, &r, "CLIENT ID");

	if (err)
		return err;
	*id = r->integer;
	freeReplyObject(r);
	err = redis_command(l->sub, &r, "SUBSCRIBE __redis__:invalidate %s", l->channel);
	if (err)
		return err;
	freeReplyObject(r);
	err = redis_reply(l->sub, &r); /* for the second channel */
	if (!err)
		freeReplyObject(r);
	return err;
}

int redis_listen_to(struct redis_listener *l, struct redis_namespace *ns)
{
	redisReply *r = NULL;
	int err = redis_command(l->track, &r,
				"CLIENT TRACKING ON REDIRECT %s BCAST PREFIX %s:", l->redirect,
				ns->name);

	if (err)
		return err;
	freeReplyObject(r);
	return 0;
}

int redis_listen(struct redis_listener *l)
{
	long long id = 0;
	int err;

	redis_state_get(l->b, &l->state);
	snprintf(l->session, sizeof(l->session), "%llu", (unsigned long long)l->state.session);
	snprintf(l->channel, sizeof(l->channel), "//changes %s", l->state.gen);
	l->failed = l->flushed = false;
	l->asked = 0;
	l->answers_due = 0;
	l->heard = pfs_monotonic_ns();
	err = redis_connect(l->b, &l->sub);
	if (!err)
		err = redis_connect(l->b, &l->track);
	if (!err)
		err = subscribe(l, &id);
	snprintf(l->redirect, sizeof(l->redirect), "%lld", id);
	if (err)
		redis_deaf(l);
	return err;
}

void redis_deaf(struct redis_listener *l)
{
	struct redis_namespace *ns = NULL;
	size_t i;

	if (l->sub)
		redisFree(l->sub);
	if (l->track)
		redisFree(l->track);
	l->sub = l->track = NULL;
	for (i = 0; i < l->nforeign; i++)
		pfs_buf_release(&l->foreign[i].bytes);
	l->nforeign = 0;
	redis_written_clear(l);
	while ((ns = redis_namespace_next(l->b, ns)) != NULL) {
		__atomic_store_n(&ns->tracked, false, __ATOMIC_RELEASE);
		forget_explained(ns);
	}
}
