/*
 * Are the keys that we wrote a moment ago as we wrote them? See listen.h. All of this is the engine's
 * thread's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/listen.h"

uint64_t redis_hash(const void *p, size_t n)
{
	const unsigned char *in = p;
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ n, word;

	for (; n >= 8; n -= 8, in += 8) {
		memcpy(&word, in, 8);
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	for (; n; n--)
		h = (h ^ *in++) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	return (h ^ (h >> 29)) | 1;
}

void redis_written_drop(struct redis_listener *l, struct pfs_bytes key)
{
	uint64_t h = redis_hash(key.p, key.len);
	size_t i;

	for (i = 0; i < l->nwritten; i++)
		if (l->written[i].key_hash == h)
			l->written[i].superseded = true;
}

void redis_written_note(struct redis_listener *l, struct pfs_bytes key, uint64_t hash,
			uint64_t size)
{
	struct redis_namespace *ns = redis_namespace_of_key(l, key);
	struct redis_written *w = l->written;
	size_t cap = l->written_cap ? 2 * l->written_cap : 64;

	redis_written_drop(l, key);
	if (!ns)
		return;
	if (l->nwritten == l->written_cap) {
		w = realloc(w, cap * sizeof(*w));
		if (!w)
			goto fail;
		l->written = w;
		l->written_cap = cap;
	}
	w = &l->written[l->nwritten];
	*w = (struct redis_written){.ns = ns, .len = key.len, .hash = hash, .size = size};
	w->key_hash = redis_hash(key.p, key.len);
	w->key = malloc(key.len);
	if (!w->key)
		goto fail;
	memcpy(w->key, key.p, key.len);
	l->nwritten++;
	return;
fail:
	l->failed = true;
}

/* Forget the first n. */
static void forget_first(struct redis_listener *l, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		free(l->written[i].key);
	l->nwritten -= n;
	if (l->nwritten)
		memmove(l->written, l->written + n, l->nwritten * sizeof(*l->written));
}

void redis_written_clear(struct redis_listener *l)
{
	forget_first(l, l->nwritten);
}

/* Is the content to be compared, or its length alone? */
static bool compares(const struct redis_written *w)
{
	return w->hash && w->size <= REDIS_VERIFY_MAX;
}

static int ask_for(redisContext *c, const struct redis_written *w)
{
	const char *argv[2] = {compares(w) ? "GET" : "STRLEN", w->key};
	size_t len[2] = {strlen(argv[0]), w->len};

	return redisAppendCommandArgv(c, 2, argv, len) == REDIS_OK ? 0 : REDIS_LOST;
}

static bool is_as_written(const struct redis_written *w, const redisReply *r)
{
	if (!compares(w))
		return r->type == REDIS_REPLY_INTEGER && (uint64_t)r->integer == w->size;
	return r->type == REDIS_REPLY_STRING && r->len == w->size &&
	       redis_hash(r->str, r->len) == w->hash;
}

/* Ask for the first n in one exchange; wrong[i]: it is not as it was written. */
static int compare(redisContext *c, const struct redis_written *w, size_t n, bool *wrong)
{
	size_t i;
	int err = 0;

	for (i = 0; i < n && !err; i++)
		if (!w[i].superseded)
			err = ask_for(c, &w[i]);
	for (i = 0; i < n && !err; i++) {
		redisReply *r = NULL;

		if (w[i].superseded)
			continue;
		err = redis_reply(c, &r);
		if (!err)
			wrong[i] = !is_as_written(&w[i], r);
		freeReplyObject(r);
	}
	return err;
}

int redis_verify(struct redis_listener *l)
{
	size_t n = l->nwritten, i;
	bool any = false, *wrong = calloc(n ? n : 1, sizeof(*wrong));
	struct redis_conn *conn = NULL;
	int err = wrong ? redis_get(l->b, pfs_monotonic_ns() + l->b->timeout, &conn) : -ENOMEM;

	if (!err) {
		err = compare(conn->ctx, l->written, n, wrong);
		redis_put(l->b, conn, err);
	}
	/* Some may have been written again before they were read. */
	for (i = 0; i < n && !err; i++)
		any |= wrong[i];
	if (any && !redis_hear_all(l))
		err = -EIO;
	for (i = 0; i < n && !err; i++) {
		const struct redis_written *w = &l->written[i];

		if (wrong[i] && !w->superseded)
			redis_foreign_note(l, w->ns, (struct pfs_bytes){w->key, w->len});
	}
	forget_first(l, n);
	free(wrong);
	return err ? err : redis_foreign_check(l);
}
