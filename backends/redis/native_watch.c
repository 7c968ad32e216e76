/*
 * The view's thread. It has the server tell which keys are written (client tracking, to a connection of
 * its own that is redirected to), gathers all keys with SCAN, and looks again at each that it is told of.
 * Where it does not hear, what is known is void: the view is not pushing, and begins anew when it hears.
 *
 * `track` carries the thread's own questions too, so that its end is noticed; the redirection is asked
 * after once in a while. Invalidations come on `sub` in the order of the changes, and before the answer
 * to a PING there that was sent after them, which is how native_catch_up() knows.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/redis/native.h"

#define MS		 INT64_C(1000000)
#define ASK_PERIOD	 NSEC_PER_SEC
#define ASK_PATIENCE	 (5 * NSEC_PER_SEC)
#define HEALTH_PERIOD	 (5 * NSEC_PER_SEC)
#define PROBE_PERIOD	 (100 * MS)
#define LISTEN_DELAY_MIN (20 * MS)
#define LISTEN_DELAY_MAX NSEC_PER_SEC
#define SCAN_COUNT	 "2500"
#define LOOK_MAX	 2500
#define QUEUE_MAX	 (64u << 20) /* bytes of keys to look at; more: everything anew */

/* A key that is looked at. */
struct look {
	struct pfs_bytes key; /* borrowed from the queue */
	bool quiet;	      /* it is known that this mount wrote it */
	bool shown, compare;
	uint32_t mark;
	struct native_written written;
	enum native_type type;
	uint64_t hash;
	int64_t expires;
};

struct hearing {
	struct native *v;
	redisContext *sub, *track; /* NULL: deaf */
	char redirect[24], cursor[32];
	bool scanning, flushed, failed;
	bool records; /* those of stores of our own have changed */
	struct pfs_buf queue; /* keys that were told, each with its length before it */
	size_t done;	      /* bytes of it that are looked at */
	struct look *looks;   /* LOOK_MAX */
	int64_t listen_at, delay, ask_at, health_at, probe_at;
	int64_t pinged; /* when; 0: no answer is due */
	uint64_t token, token_asked; /* answered, and asked with the PING */
	unsigned long long swaps;    /* how often databases were swapped, as the server counts */
};

/* ---- queues of keys ------------------------------------------------------------------------- */

static void queue_add(struct pfs_buf *q, struct pfs_bytes key)
{
	uint32_t len = (uint32_t)key.len;

	pfs_buf_add(q, &len, sizeof(len));
	pfs_buf_add(q, key.p, key.len);
}

static bool queue_take(const struct pfs_buf *q, size_t *at, struct pfs_bytes *key)
{
	uint32_t len;

	if (*at >= q->len)
		return false;
	memcpy(&len, q->data + *at, sizeof(len));
	*key = (struct pfs_bytes){q->data + *at + sizeof(len), len};
	*at += sizeof(len) + len;
	return true;
}

static void wake(struct native *v)
{
	uint64_t one = 1;

	if (write(v->wake_fd, &one, sizeof(one)) < 0)
		return; /* it has been woken often enough */
}

void native_watch_look(struct native *v, struct pfs_bytes key)
{
	pthread_mutex_lock(&v->watch_lock);
	queue_add(&v->look, key);
	pthread_mutex_unlock(&v->watch_lock);
	wake(v);
}

/* ---- telling -------------------------------------------------------------------------------- */

/* The key has another type than it had: its path, the directories of it, what it hides or shows. */
static void tell_type(struct native *v, struct pfs_buf *path, enum native_type type)
{
	static const char *const ends[] = {"", ".jsonl", "/%VALUE"};
	struct pfs_bytes p;
	size_t i, len = path->len;

	for (i = 0; i < PFS_ARRAY_SIZE(ends); i++) {
		path->len = len;
		if (i == 1 && type != NATIVE_STREAM)
			continue;
		pfs_buf_str(path, ends[i]);
		p = native_bytes(path);
		pfs_view_changed_below(&v->view, &p);
	}
	p = (struct pfs_bytes){path->data, len};
	while (p.p && p.len) {
		p.len--;
		if (p.p[p.len] == '/')
			pfs_view_changed(&v->view, &p);
	}
	path->len = len;
}

static void tell_content(struct native *v, struct pfs_buf *path, enum native_type type, bool own_value)
{
	struct pfs_bytes p;

	if (own_value)
		pfs_buf_str(path, "/%VALUE");
	p = native_bytes(path);
	if (native_has_elements(type))
		pfs_view_changed_below(&v->view, &p);
	else
		pfs_view_changed(&v->view, &p);
	if (type == NATIVE_STREAM && !own_value) {
		pfs_buf_str(path, ".jsonl");
		p = native_bytes(path);
		pfs_view_changed(&v->view, &p);
	}
}

/* ---- looking at keys ------------------------------------------------------------------------ */

static void prepare(struct native *v, struct look *looks, size_t n)
{
	size_t i;

	pthread_mutex_lock(&v->tree.lock);
	for (i = 0; i < n; i++) {
		struct look *l = &looks[i];

		l->shown = native_shown(v, l->key);
		l->mark = *native_tree_mark(&v->tree, l->key);
		l->written = *native_tree_written(&v->tree, l->key);
		l->compare = l->shown && l->written.key == redis_hash(l->key.p, l->key.len);
	}
	pthread_mutex_unlock(&v->tree.lock);
}

static int ask_one(struct hearing *h, const struct look *l)
{
	int err;

	if (!l->shown)
		return 0;
	err = native_send(h->track, PFS_BYTES("TYPE"), l->key);
	if (!err && l->compare)
		err = native_send(h->track, PFS_BYTES("GETRANGE"), l->key, PFS_BYTES("0"),
				  PFS_BYTES("65536"));
	if (!err && l->compare)
		err = native_expires_send(h->v, h->track, l->key);
	return err;
}

static int answer_one(struct hearing *h, struct look *l)
{
	redisReply *r = NULL;
	int err;

	if (!l->shown)
		return 0;
	err = native_reply(h->track, &r);
	if (!err)
		l->type = native_type_of((struct pfs_bytes){r->str, r->len});
	freeReplyObject(r);
	r = NULL;
	if (err || !l->compare)
		return err;
	err = native_any_reply(h->track, &r);
	if (!err && r->type == REDIS_REPLY_STRING && r->len <= REDIS_VERIFY_MAX)
		l->hash = redis_hash(r->str, r->len);
	freeReplyObject(r);
	if (!err)
		err = native_expires_reply(h->v, h->track, &l->expires);
	return err == -ENOENT ? 0 : err;
}

/* It is as this mount wrote it. */
static bool is_own(const struct look *l)
{
	return l->compare && l->type == NATIVE_STRING && l->hash == l->written.hash &&
	       l->expires == l->written.expires;
}

/* Note what was seen, and tell what is new. */
static int apply(struct hearing *h, const struct look *l)
{
	struct native *v = h->v;
	struct pfs_buf sort = {0}, path = {0};
	struct pfs_bytes key = {l->key.p + v->prefix.len, l->key.len - v->prefix.len};
	unsigned char old = 0;
	bool moved, dir = false;
	int err;

	if (!l->shown)
		return 0;
	native_text_changed(v, l->key);
	err = native_sort_form(&v->enc, key, &sort);
	pthread_mutex_lock(&v->tree.lock);
	moved = *native_tree_mark(&v->tree, l->key) != l->mark; /* it is looked at again */
	if (!err && !moved && l->type)
		err = native_index_put(&v->tree.keys, native_bytes(&sort), (unsigned char)l->type,
				       &old);
	else if (!err && !moved)
		old = native_index_remove(&v->tree.keys, native_bytes(&sort));
	if (!err)
		dir = native_tree_is_dir(&v->tree, native_bytes(&sort));
	pthread_mutex_unlock(&v->tree.lock);
	/* What is gathered is no news: all of it is told when it is complete. */
	if (err || (l->quiet && (moved || h->scanning || old == l->type)))
		goto out;
	err = pfs_names_from_key(&v->enc, key, false, &path, NULL);
	if (err)
		goto out;
	if (l->compare && !l->quiet) /* once: who writes the same behind it is told of */
		native_tree_forget(&v->tree, l->key, &l->written);
	if (is_own(l) && (!old || old == l->type))
		goto out;
	if (!moved && old != l->type)
		tell_type(v, &path, old == NATIVE_STREAM ? old : l->type);
	else if (l->type && !l->quiet)
		tell_content(v, &path, l->type, dir);
out:
	pfs_buf_release(&sort);
	pfs_buf_release(&path);
	return err;
}

static int look_at(struct hearing *h, struct look *looks, size_t n)
{
	size_t i;
	int err = 0;

	prepare(h->v, looks, n);
	for (i = 0; i < n && !err; i++)
		err = ask_one(h, &looks[i]);
	for (i = 0; i < n && !err; i++)
		err = answer_one(h, &looks[i]);
	for (i = 0; i < n && !err; i++)
		err = apply(h, &looks[i]);
	return err;
}

/* Look at the keys of a queue. With its end reached it is emptied. */
static int look_at_queue(struct hearing *h, struct pfs_buf *q, size_t *at, bool quiet)
{
	struct pfs_bytes key;
	size_t n = 0;
	int err;

	while (n < LOOK_MAX && queue_take(q, at, &key))
		h->looks[n++] = (struct look){.key = key, .quiet = quiet};
	err = look_at(h, h->looks, n);
	if (*at >= q->len)
		q->len = *at = 0;
	return err;
}

static int look_at_own(struct hearing *h)
{
	struct native *v = h->v;
	struct pfs_buf own;
	size_t at = 0;
	int err;

	pthread_mutex_lock(&v->watch_lock);
	own = v->look;
	v->look = (struct pfs_buf){0};
	pthread_mutex_unlock(&v->watch_lock);
	err = own.failed ? -ENOMEM : 0;
	while (!err && at < own.len)
		err = look_at_queue(h, &own, &at, true);
	pfs_buf_release(&own);
	return err;
}

/* ---- what is hidden ------------------------------------------------------------------------- */

static int add_hidden(struct native_hidden **list, size_t *n, const char *before, const char *name,
		      size_t len, const char *behind)
{
	struct native_hidden *more = realloc(*list, (*n + 1) * sizeof(*more));
	struct pfs_buf text = {0};

	if (!more)
		return -ENOMEM;
	*list = more;
	pfs_buf_str(&text, before);
	pfs_buf_add(&text, name, len);
	pfs_buf_str(&text, behind);
	if (text.failed)
		return -ENOMEM;
	more[(*n)++] = (struct native_hidden){text.data, text.len};
	return 0;
}

static void free_hidden(struct native_hidden *list, size_t n)
{
	while (n--)
		free(list[n].p);
	free(list);
}

static bool same_hidden(const struct native_tree *t, const struct native_hidden *list, size_t n)
{
	size_t i;

	if (n != t->nhidden)
		return false;
	for (i = 0; i < n; i++)
		if (list[i].len != t->hidden[i].len ||
		    memcmp(list[i].p, t->hidden[i].p, list[i].len) != 0)
			return false;
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct native_hidden *)a)->p, ((const struct native_hidden *)b)->p);
}

/* The records of stores of our own on this database say which keys are theirs. */
static int ask_hidden(struct hearing *h, struct native_hidden **list, size_t *n)
{
	redisReply *layout = NULL, *names = NULL;
	size_t i;
	int err = native_send(h->track, PFS_BYTES("HGET"), PFS_BYTES("//meta"), PFS_BYTES("layout"));

	if (!err)
		err = native_send(h->track, PFS_BYTES("HKEYS"), PFS_BYTES("//ns"));
	if (!err)
		err = native_any_reply(h->track, &layout);
	if (!err)
		err = native_any_reply(h->track, &names);
	if (!err && layout->type == REDIS_REPLY_STRING && names->type == REDIS_REPLY_ARRAY) {
		err = add_hidden(list, n, "//", "", 0, "");
		for (i = 0; i < names->elements && !err; i++) {
			const redisReply *name = names->element[i];

			err = add_hidden(list, n, "/", name->str, name->len, ":");
			if (!err)
				err = add_hidden(list, n, "", name->str, name->len, ":");
		}
	}
	freeReplyObject(layout);
	freeReplyObject(names);
	return err;
}

/* Returns whether there are others than before; *err: it could not be known. */
static bool hidden_changed(struct hearing *h, int *err)
{
	struct native_tree *t = &h->v->tree;
	struct native_hidden *list = NULL, *old = NULL;
	size_t n = 0, nold = 0;
	bool changed;

	*err = ask_hidden(h, &list, &n);
	if (n)
		qsort(list, n, sizeof(*list), by_text);
	pthread_mutex_lock(&t->lock);
	changed = !*err && !same_hidden(t, list, n);
	if (changed) {
		old = t->hidden;
		nold = t->nhidden;
		t->hidden = list;
		t->nhidden = n;
	} else {
		old = list;
		nold = n;
	}
	pthread_mutex_unlock(&t->lock);
	free_hidden(old, nold);
	return changed;
}

/* ---- gathering all keys --------------------------------------------------------------------- */

static void set_complete(struct native *v, bool complete)
{
	native_text_all_changed(v);
	pthread_mutex_lock(&v->tree.lock);
	v->tree.complete = complete;
	if (!complete) {
		native_index_release(&v->tree.keys);
		memset(v->tree.written, 0, sizeof(v->tree.written));
		v->tree.broken = false;
	}
	pthread_cond_broadcast(&v->tree.changed);
	pthread_mutex_unlock(&v->tree.lock);
}

static void scan_anew(struct hearing *h)
{
	bool told = pfs_backend_pushing(h->v->view.backend);

	set_complete(h->v, false);
	strcpy(h->cursor, "0");
	h->scanning = true;
	h->flushed = false;
	if (told)
		pfs_view_changed(&h->v->view, NULL);
}

/* The prefix as a pattern of SCAN: what has a meaning there is quoted. */
static void make_pattern(const struct native *v, struct pfs_buf *out)
{
	size_t i;

	for (i = 0; i < v->prefix.len; i++) {
		if (strchr("*?[]\\^-", v->prefix.p[i]))
			pfs_buf_str(out, "\\");
		pfs_buf_add(out, &v->prefix.p[i], 1);
	}
	pfs_buf_str(out, "*");
}

static void gathered(struct hearing *h)
{
	struct native *v = h->v;

	h->scanning = false;
	set_complete(v, true);
	if (pfs_backend_pushing(v->view.backend))
		pfs_view_changed(&v->view, NULL);
	pfs_backend_set_pushing(v->view.backend, true);
}

/* What a page of SCAN told goes the way of keys that were written, but is no news. */
static int scan_step(struct hearing *h)
{
	struct pfs_buf pattern = {0}, found = {0};
	redisReply *r = NULL;
	size_t i, at = 0;
	int err;

	make_pattern(h->v, &pattern);
	err = pattern.failed ? -ENOMEM
			     : native_send(h->track, PFS_BYTES("SCAN"), pfs_bytes_str(h->cursor),
					   PFS_BYTES("MATCH"), native_bytes(&pattern),
					   PFS_BYTES("COUNT"), PFS_BYTES(SCAN_COUNT));
	if (!err)
		err = native_reply(h->track, &r);
	if (!err && (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
		     r->element[0]->len >= sizeof(h->cursor) ||
		     r->element[1]->type != REDIS_REPLY_ARRAY))
		err = -EIO;
	for (i = 0; !err && i < r->element[1]->elements; i++)
		queue_add(&found, (struct pfs_bytes){r->element[1]->element[i]->str,
						     r->element[1]->element[i]->len});
	if (!err)
		memcpy(h->cursor, r->element[0]->str, r->element[0]->len + 1);
	freeReplyObject(r);
	if (found.failed)
		err = -ENOMEM;
	while (!err && at < found.len)
		err = look_at_queue(h, &found, &at, true);
	if (!err && !strcmp(h->cursor, "0"))
		gathered(h);
	pthread_cond_broadcast(&h->v->tree.changed);
	pfs_buf_release(&pattern);
	pfs_buf_release(&found);
	return err;
}

/* ---- hearing -------------------------------------------------------------------------------- */

static void set_trouble(struct native *v, const char *why)
{
	pthread_mutex_lock(&v->watch_lock);
	pfs_msg_set(&v->trouble, "%s", why);
	v->tries++;
	/* Whoever waits to be told what is new has been told that all of it may be. */
	v->token_heard = v->token;
	pthread_cond_broadcast(&v->watch_cond);
	pthread_mutex_unlock(&v->watch_lock);
}

static void go_deaf(struct hearing *h, const char *why)
{
	struct native *v = h->v;
	bool again = h->failed;
	char text[400];

	snprintf(text, sizeof(text), "%s", why[0] ? why : "the connection broke");
	if (h->sub && h->track && !h->failed)
		pfs_log(PFS_LOG_WARN, "store '%s': others' changes are not heard: %s",
			v->view.backend->name, text);
	if (h->sub)
		redisFree(h->sub);
	if (h->track)
		redisFree(h->track);
	h->sub = h->track = NULL;
	h->queue.len = h->done = 0;
	h->pinged = 0;
	h->scanning = false;
	h->delay = h->failed ? 2 * h->delay : LISTEN_DELAY_MIN;
	if (h->delay > LISTEN_DELAY_MAX)
		h->delay = LISTEN_DELAY_MAX;
	h->listen_at = pfs_monotonic_ns() + h->delay;
	h->failed = true;
	set_complete(v, false);
	if (!again)
		pfs_view_changed(&v->view, NULL);
	pfs_backend_set_pushing(v->view.backend, false);
	set_trouble(v, text);
}

static int subscribe(struct hearing *h)
{
	redisReply *r = NULL;
	int err = redis_command(h->sub, &r, "CLIENT ID");

	if (err)
		return err;
	snprintf(h->redirect, sizeof(h->redirect), "%lld", r->integer);
	freeReplyObject(r);
	r = NULL;
	err = redis_command(h->sub, &r, "SUBSCRIBE __redis__:invalidate");
	if (!err)
		freeReplyObject(r);
	return err;
}

static int track(struct hearing *h)
{
	struct pfs_bytes argv[] = {PFS_BYTES("CLIENT"),	  PFS_BYTES("TRACKING"),
				   PFS_BYTES("ON"),	  PFS_BYTES("REDIRECT"),
				   pfs_bytes_str(h->redirect), PFS_BYTES("BCAST"),
				   PFS_BYTES("PREFIX"),	  h->v->prefix};
	redisReply *r = NULL;
	int err = native_sendv(h->track, argv,
			       PFS_ARRAY_SIZE(argv) - (h->v->prefix.len ? 0 : 2));

	if (!err)
		err = native_reply(h->track, &r);
	freeReplyObject(r);
	return err;
}

/* Nothing else tells that the keys of this database have become those of another. */
static int ask_swaps(struct hearing *h, bool *swapped)
{
	static const char name[] = "cmdstat_swapdb:calls=";
	unsigned long long n = 0;
	redisReply *r = NULL;
	const char *at;
	int err = native_send(h->track, PFS_BYTES("INFO"), PFS_BYTES("commandstats"));

	if (!err)
		err = native_any_reply(h->track, &r);
	if (!err && r->type == REDIS_REPLY_STRING) { /* it may not be allowed */
		at = strstr(r->str, name);
		n = at ? strtoull(at + strlen(name), NULL, 10) : 0;
	}
	freeReplyObject(r);
	*swapped = !err && n != h->swaps;
	h->swaps = n;
	return err;
}

static void listen_anew(struct hearing *h)
{
	struct native *v = h->v;
	bool swapped;
	int err = redis_connect(v->host, &h->sub);

	if (!err)
		err = redis_connect(v->host, &h->track);
	if (!err)
		err = subscribe(h);
	if (!err)
		err = track(h);
	if (!err)
		err = ask_swaps(h, &swapped);
	if (!err)
		hidden_changed(h, &err);
	if (err) {
		go_deaf(h, pfs_error_text());
		return;
	}
	h->failed = false;
	h->ask_at = pfs_monotonic_ns() + ASK_PERIOD;
	scan_anew(h);
	set_trouble(v, "");
}

/* A message on `sub`. */
static void take_message(struct hearing *h, const redisReply *r)
{
	const redisReply *keys;
	size_t i;

	if (r->type != REDIS_REPLY_ARRAY || r->elements < 2 ||
	    r->element[0]->type != REDIS_REPLY_STRING)
		return;
	if (!strcmp(r->element[0]->str, "pong")) {
		h->pinged = 0;
		h->token = h->token_asked;
		return;
	}
	if (strcmp(r->element[0]->str, "message") != 0 || r->elements != 3)
		return;
	keys = r->element[2];
	if (keys->type != REDIS_REPLY_ARRAY) {
		h->flushed = true;
		return;
	}
	for (i = 0; i < keys->elements; i++) {
		if (keys->element[i]->type != REDIS_REPLY_STRING)
			continue;
		h->records |= !strcmp(keys->element[i]->str, "//ns");
		queue_add(&h->queue, (struct pfs_bytes){keys->element[i]->str,
							keys->element[i]->len});
	}
}

static bool readable(const redisContext *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Take what there is on `sub`. */
static int hear(struct hearing *h)
{
	void *reply;

	while (readable(h->sub) && h->queue.len < QUEUE_MAX) {
		if (redisBufferRead(h->sub) != REDIS_OK)
			return REDIS_LOST;
		for (;;) {
			reply = NULL;
			if (redisGetReplyFromReader(h->sub, &reply) != REDIS_OK)
				return REDIS_LOST;
			if (!reply)
				break;
			take_message(h, reply);
			freeReplyObject(reply);
		}
	}
	if (h->queue.failed)
		return -ENOMEM;
	if (h->queue.len >= QUEUE_MAX) { /* all of them are quicker gathered */
		h->queue.len = h->done = 0;
		h->flushed = true;
	}
	return 0;
}

static int ping(struct hearing *h, uint64_t token)
{
	int done = 0;

	if (redisAppendCommand(h->sub, "PING") != REDIS_OK)
		return REDIS_LOST;
	while (!done)
		if (redisBufferWrite(h->sub, &done) != REDIS_OK)
			return REDIS_LOST;
	h->pinged = pfs_monotonic_ns();
	h->token_asked = token;
	return 0;
}

/* Is what is written still told to `sub`? */
static int ask_tracking(struct hearing *h)
{
	redisReply *r = NULL;
	size_t i, k;
	bool on = false, broken = false, same = false;
	int err = native_send(h->track, PFS_BYTES("CLIENT"), PFS_BYTES("TRACKINGINFO"));

	if (!err)
		err = native_any_reply(h->track, &r);
	if (err)
		return err;
	if (r->type == REDIS_REPLY_ERROR) /* before 6.2 it cannot be asked */
		goto out;
	for (i = 0; i + 1 < r->elements; i += 2) {
		const redisReply *name = r->element[i], *value = r->element[i + 1];

		if (name->type != REDIS_REPLY_STRING)
			continue;
		if (!strcmp(name->str, "redirect"))
			same = value->type == REDIS_REPLY_INTEGER &&
			       value->integer == atoll(h->redirect);
		for (k = 0; !strcmp(name->str, "flags") && k < value->elements; k++) {
			on |= !strcmp(value->element[k]->str, "on");
			broken |= !strcmp(value->element[k]->str, "broken_redirect");
		}
	}
	if (!on || broken || !same) {
		pfs_error_text_set("the server has ended the tracking of keys");
		err = REDIS_LOST;
	}
out:
	freeReplyObject(r);
	return err;
}

/* What is due from time to time. */
static int ask_around(struct hearing *h, int64_t now)
{
	bool swapped = false;
	int err = 0;

	if (h->pinged && now - h->pinged > ASK_PATIENCE) {
		pfs_error_text_set("no sign of life");
		return REDIS_LOST;
	}
	if (now < h->ask_at)
		return 0;
	h->ask_at = now + ASK_PERIOD;
	err = ask_tracking(h);
	if (!err)
		err = ask_swaps(h, &swapped);
	if (!err && (hidden_changed(h, &err) || swapped))
		scan_anew(h);
	if (!err && !h->pinged)
		err = ping(h, h->token_asked);
	return err;
}

/* Everything that was told before the PING has been looked at: tell who waits. */
static int answer_waiters(struct hearing *h)
{
	struct native *v = h->v;
	uint64_t wanted;

	pthread_mutex_lock(&v->watch_lock);
	wanted = v->token;
	if (!h->queue.len && !h->scanning && h->token > v->token_heard) {
		v->token_heard = h->token;
		pthread_cond_broadcast(&v->watch_cond);
	}
	pthread_mutex_unlock(&v->watch_lock);
	return wanted > h->token_asked && !h->pinged ? ping(h, wanted) : 0;
}

/* One turn of hearing and looking. Returns whether there is more to do at once. */
static bool turn(struct hearing *h)
{
	int err = hear(h);

	/* A store was made: its keys come behind its record. */
	if (!err && h->records && hidden_changed(h, &err))
		h->flushed = true;
	h->records = h->records && err;
	if (!err && h->flushed)
		scan_anew(h);
	if (!err)
		err = look_at_own(h);
	if (!err && h->queue.len)
		err = look_at_queue(h, &h->queue, &h->done, false);
	if (!err)
		err = ask_around(h, pfs_monotonic_ns());
	if (!err && h->scanning)
		err = scan_step(h);
	if (!err)
		err = answer_waiters(h);
	if (err)
		go_deaf(h, pfs_error_text()[0] || err == REDIS_LOST ? pfs_error_text()
								     : strerror(-err));
	return !err && (h->scanning || h->queue.len);
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* The backend's own thread does these, if it has one. */
static void chores(struct hearing *h)
{
	struct redis_backend *b = h->v->host;
	int64_t now = pfs_monotonic_ns();

	if (b->base.own)
		return;
	if (now >= h->probe_at) {
		pfs_pool_probe(&b->pool);
		h->probe_at = pfs_monotonic_ns() + PROBE_PERIOD;
	}
	if (now >= h->health_at && !pfs_pool_down(&b->pool)) {
		redis_look_at_health(b);
		h->health_at = now + HEALTH_PERIOD;
	}
}

static void wait_for_work(struct hearing *h)
{
	struct pollfd p[3] = {{.fd = h->v->wake_fd, .events = POLLIN}, {.fd = -1}, {.fd = -1}};
	int64_t now = pfs_monotonic_ns(), until = now + PROBE_PERIOD;
	uint64_t count;

	if (h->sub) {
		p[1] = (struct pollfd){.fd = h->sub->fd, .events = POLLIN};
		p[2] = (struct pollfd){.fd = h->track->fd, .events = POLLIN};
	} else if (h->listen_at < until && !pfs_pool_down(&h->v->host->pool)) {
		until = h->listen_at > now ? h->listen_at : now;
	}
	poll(p, 3, (int)((until - now + MS - 1) / MS));
	if (p[2].revents) /* nothing was asked */
		go_deaf(h, "the connection broke");
	if (p[0].revents && read(h->v->wake_fd, &count, sizeof(count)) < 0)
		return; /* nothing was in it */
}

static bool stopping(struct native *v)
{
	bool stop;

	pthread_mutex_lock(&v->watch_lock);
	stop = v->stop;
	pthread_mutex_unlock(&v->watch_lock);
	return stop;
}

static void *watch_main(void *arg)
{
	struct hearing h = {.v = arg, .looks = calloc(LOOK_MAX, sizeof(*h.looks))};
	bool more = false;

	if (!h.looks)
		set_trouble(h.v, strerror(ENOMEM));
	while (h.looks && !stopping(h.v)) {
		pfs_error_text_clear();
		if (!h.sub && pfs_monotonic_ns() >= h.listen_at &&
		    !pfs_pool_down(&h.v->host->pool))
			listen_anew(&h);
		else if (!more)
			wait_for_work(&h);
		more = h.sub && turn(&h);
		chores(&h);
	}
	if (h.sub)
		redisFree(h.sub);
	if (h.track)
		redisFree(h.track);
	pfs_buf_release(&h.queue);
	free(h.looks);
	return NULL;
}

/* ---- its life ------------------------------------------------------------------------------- */

static struct timespec deadline_in(int64_t ns)
{
	int64_t at = pfs_monotonic_ns() + ns;

	return (struct timespec){.tv_sec = at / NSEC_PER_SEC, .tv_nsec = at % NSEC_PER_SEC};
}

int native_watch_start(struct native *v)
{
	struct timespec ts = deadline_in(v->host->timeout);
	int err, rc = 0;

	if (v->thread_started)
		return 0;
	err = -pthread_create(&v->thread, NULL, watch_main, v);
	if (err)
		return err;
	v->thread_started = true;
	pthread_mutex_lock(&v->watch_lock);
	while (!rc && v->tries == 0)
		rc = pthread_cond_timedwait(&v->watch_cond, &v->watch_lock, &ts);
	pthread_mutex_unlock(&v->watch_lock);
	return 0;
}

void native_watch_stop(struct native *v)
{
	if (!v->thread_started)
		return;
	pthread_mutex_lock(&v->watch_lock);
	v->stop = true;
	pthread_cond_broadcast(&v->watch_cond);
	pthread_mutex_unlock(&v->watch_lock);
	wake(v);
	pthread_join(v->thread, NULL);
	v->thread_started = false;
}

int native_catch_up(struct pfs_view *view)
{
	struct native *v = native_of(view);
	struct timespec ts = deadline_in(v->host->timeout);
	uint64_t token;
	int rc = 0;

	if (!pfs_backend_pushing(view->backend))
		return 0; /* nothing is believed */
	pthread_mutex_lock(&v->watch_lock);
	token = ++v->token;
	pthread_mutex_unlock(&v->watch_lock);
	wake(v);
	pthread_mutex_lock(&v->watch_lock);
	while (!rc && v->token_heard < token && !v->stop)
		rc = pthread_cond_timedwait(&v->watch_cond, &v->watch_lock, &ts);
	pthread_mutex_unlock(&v->watch_lock);
	return rc ? -EHOSTDOWN : 0;
}
