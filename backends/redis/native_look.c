/* Looking at keys and their elements; and how anything is asked of the server. */
#include <poll.h>

#include "backends/redis/native.h"

/* ---- asking --------------------------------------------------------------------------------- */

int native_sendv(redisContext *c, const struct pfs_bytes *argv, size_t n)
{
	const char *few[16], **p = n > PFS_ARRAY_SIZE(few) ? malloc(n * sizeof(*p)) : few;
	size_t few_len[16], *len = n > PFS_ARRAY_SIZE(few) ? malloc(n * sizeof(*len)) : few_len, i;
	int err = REDIS_LOST;

	for (i = 0; p && len && i < n; i++) {
		p[i] = argv[i].len ? argv[i].p : "";
		len[i] = argv[i].len;
	}
	if (p && len && redisAppendCommandArgv(c, (int)n, p, len) == REDIS_OK)
		err = 0;
	else
		pfs_error_text_set("no memory for a request to redis");
	if (p != few)
		free(p);
	if (len != few_len)
		free(len);
	return err;
}

int native_reply(redisContext *c, redisReply **out)
{
	redisReply *r = NULL;
	int err = redis_reply(c, &r);

	if (!err)
		err = redis_error(r);
	/* What is of another type than it was a moment ago. */
	if (err && r && r->str && !strncmp(r->str, "WRONGTYPE", 9))
		err = -ESTALE;
	if (err && r)
		freeReplyObject(r);
	else
		*out = r;
	return err;
}

int native_reply_there(redisContext *c, redisReply **out)
{
	redisReply *there = NULL;
	int err = native_reply(c, out), gone = err;

	if (err != REDIS_LOST)
		gone = native_reply(c, &there);
	if (!err && !gone && !there->integer)
		gone = -ENOENT;
	if (!err && gone) {
		freeReplyObject(*out);
		*out = NULL;
	}
	freeReplyObject(there);
	return err ? err : gone;
}

/* A connection that waited in the pool while the server went away: better known before than after. */
static bool is_dead(const redisContext *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* What failed in the middle of an exchange has left answers behind, and keys that are watched. */
static int clean(redisContext *c)
{
	static const struct pfs_bytes end = {"the end of what was asked", 25};
	bool found = false;
	int err;

	err = native_send(c, PFS_BYTES("DISCARD"));
	if (!err)
		err = native_send(c, PFS_BYTES("UNWATCH"));
	if (!err)
		err = native_send(c, PFS_BYTES("ECHO"), end);
	while (!err && !found) {
		redisReply *r = NULL;

		err = native_any_reply(c, &r);
		found = !err && r->type == REDIS_REPLY_STRING &&
			pfs_bytes_eq((struct pfs_bytes){r->str, r->len}, end);
		freeReplyObject(r);
	}
	return err;
}

/* As clean(), but what the error text says is of the failure. */
static int clean_quietly(redisContext *c)
{
	char *text = strdup(pfs_error_text());
	int err = clean(c);

	if (text)
		pfs_error_text_set("%s", text);
	free(text);
	return err;
}

int native_do(struct native *v, native_fn fn, void *arg, const bool *once)
{
	int64_t deadline = pfs_monotonic_ns() + v->host->retry_timeout;
	struct redis_conn *conn;
	int err;

	do {
		err = redis_get(v->host, deadline, &conn);
		if (err)
			return err;
		err = is_dead(conn->ctx) ? REDIS_LOST : fn(v, conn->ctx, arg);
		redis_put(v->host, conn,
			  err && err != REDIS_LOST && (once || err != -ENOENT) &&
					  clean_quietly(conn->ctx)
				  ? REDIS_LOST
				  : err);
	} while (err == REDIS_LOST && !(once && *once) && pfs_monotonic_ns() < deadline);
	if (err == REDIS_LOST && once && *once) {
		pfs_error_text_set("the connection to %s broke while something was written: "
				   "outcome unknown",
				   v->host->target.where);
		return -EIO;
	}
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}

/* ---- expiry --------------------------------------------------------------------------------- */

int native_expires_send(struct native *v, redisContext *c, struct pfs_bytes key)
{
	if (__atomic_load_n(&v->has_expiretime, __ATOMIC_RELAXED))
		return native_send(c, PFS_BYTES("PEXPIRETIME"), key);
	return native_send(c, PFS_BYTES("PTTL"), key);
}

int native_expires_reply(struct native *v, redisContext *c, int64_t *out)
{
	redisReply *r = NULL;
	int err = native_reply(c, &r);

	*out = 0;
	if (!err && r->integer == -2)
		err = -ENOENT;
	else if (!err && r->integer >= 0)
		*out = r->integer * INT64_C(1000000);
	if (*out && !__atomic_load_n(&v->has_expiretime, __ATOMIC_RELAXED))
		*out += pfs_now_ns();
	freeReplyObject(r);
	return err;
}

/* ---- strings -------------------------------------------------------------------------------- */

int native_string_send(redisContext *c, struct pfs_bytes key)
{
	int err = native_send(c, PFS_BYTES("STRLEN"), key);

	return err ? err
		   : native_send(c, PFS_BYTES("GETRANGE"), key, PFS_BYTES("0"), NATIVE_SMALL_LAST);
}

int native_string_reply(redisContext *c, uint64_t *size, uint64_t *version)
{
	redisReply *length = NULL, *head = NULL;
	int err = native_any_reply(c, &length);

	if (!err)
		err = native_any_reply(c, &head);
	if (!err && (length->type != REDIS_REPLY_INTEGER || head->type != REDIS_REPLY_STRING))
		err = -ENOENT;
	if (!err) {
		*size = (uint64_t)length->integer;
		*version = *size > NATIVE_SMALL ? 0 : redis_hash(head->str, head->len);
	}
	freeReplyObject(length);
	freeReplyObject(head);
	return err;
}

/* ---- elements ------------------------------------------------------------------------------- */

int native_element_send(redisContext *c, enum native_type type, struct pfs_bytes key,
			struct pfs_bytes element)
{
	uint64_t index;
	char text[24];

	switch (type) {
	case NATIVE_HASH:
		return native_send(c, PFS_BYTES("HGET"), key, element);
	case NATIVE_SET:
		return native_send(c, PFS_BYTES("SISMEMBER"), key, element);
	case NATIVE_ZSET:
		return native_send(c, PFS_BYTES("ZSCORE"), key, element);
	case NATIVE_LIST:
		if (!native_list_index(element, &index))
			index = (uint64_t)1 << 40; /* where no list reaches */
		snprintf(text, sizeof(text), "%llu", (unsigned long long)index);
		return native_send(c, PFS_BYTES("LINDEX"), key, pfs_bytes_str(text));
	default:
		return REDIS_LOST;
	}
}

int native_element_reply(redisContext *c, enum native_type type, redisReply **out)
{
	redisReply *r = NULL;
	int err = native_reply(c, &r);

	if (!err && (type == NATIVE_SET ? !(r->type == REDIS_REPLY_INTEGER && r->integer)
					: r->type != REDIS_REPLY_STRING))
		err = -ENOENT;
	if (err && r)
		freeReplyObject(r);
	else if (!err)
		*out = r;
	return err;
}

void native_element_attr(enum native_type type, const redisReply *r, struct pfs_view_attr *out)
{
	*out = (struct pfs_view_attr){.mode = S_IFREG, .version = 1};
	if (type == NATIVE_SET)
		return;
	out->size = r->len;
	out->version = redis_hash(r->str, r->len);
}

/* The names by which lists grow open, and hold nothing. */
static bool is_growing(const struct native_found *f)
{
	return f->type == NATIVE_LIST && (pfs_bytes_eq(f->element, NATIVE_TAIL) ||
					  pfs_bytes_eq(f->element, NATIVE_HEAD));
}

static int get_element(redisContext *c, const struct native_found *f, redisReply **out)
{
	int err;

	if (f->missing)
		return -ENOENT;
	err = native_element_send(c, f->type, f->key, f->element);
	return err ? err : native_element_reply(c, f->type, out);
}

/* ---- stat ----------------------------------------------------------------------------------- */

struct question {
	struct native_place *place;
	struct native_found found;
	struct pfs_view_attr attr;
	/* read */
	uint64_t off;
	char *buf;
	size_t len;
	ssize_t n;
};

static int stat_element(redisContext *c, struct question *q)
{
	redisReply *r = NULL;
	int err;

	q->attr = (struct pfs_view_attr){.mode = S_IFREG};
	if (is_growing(&q->found)) {
		q->attr.mode |= 0222;
		return 0;
	}
	err = get_element(c, &q->found, &r);
	if (err)
		return err;
	native_element_attr(q->found.type, r, &q->attr);
	freeReplyObject(r);
	return 0;
}

static int stat_key(struct native *v, redisContext *c, struct question *q)
{
	struct pfs_buf text = {0};
	int err = 0;

	q->attr.expires = q->found.expires;
	if (native_has_elements(q->found.type)) {
		q->attr.mode = S_IFDIR;
		return 0;
	}
	q->attr.mode = S_IFREG;
	q->attr.size = q->found.size;
	q->attr.version = q->found.version;
	if (q->found.type == NATIVE_STRING)
		native_tree_saw(v, q->found.key, q->found.size, NULL);
	if (q->found.type == NATIVE_STREAM) {
		err = native_stream_text(c, q->found.key, &text);
		q->attr.size = text.len;
		q->attr.version = redis_hash(text.data ? text.data : "", text.len);
		pfs_buf_release(&text);
	}
	return err;
}

/* A key that has become one of another type between two questions is looked at again. */
#define LOOK_TRIES 100

static int look_again(struct native *v, redisContext *c, struct question *q,
		      int (*once)(struct native *, redisContext *, struct question *))
{
	int err = -ESTALE, tries;

	for (tries = 0; err == -ESTALE && tries < LOOK_TRIES; tries++)
		err = once(v, c, q);
	return err;
}

static int stat_once(struct native *v, redisContext *c, struct question *q)
{
	int err = native_find(v, c, q->place, false, &q->found);

	q->attr = (struct pfs_view_attr){0};
	if (err)
		return err;
	switch (q->found.kind) {
	case NATIVE_IS_NOTHING:
		return -ENOENT;
	case NATIVE_IS_DIR:
	case NATIVE_IS_PENDING:
		q->attr.mode = S_IFDIR;
		q->attr.expires = q->found.expires;
		return 0;
	case NATIVE_IS_ELEMENT:
		return stat_element(c, q);
	default:
		return stat_key(v, c, q);
	}
}

static int stat_now(struct native *v, redisContext *c, void *arg)
{
	return look_again(v, c, arg, stat_once);
}

int native_stat(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out)
{
	struct native *v = native_of(view);
	struct native_place place;
	struct question q = {.place = &place};
	int err = native_place_init(v, path, &place);

	if (!err)
		err = native_do(v, stat_now, &q, NULL);
	if (!err)
		*out = q.attr;
	native_place_release(&place);
	return err;
}

/* ---- read ----------------------------------------------------------------------------------- */

static int read_string(struct native *v, redisContext *c, struct question *q)
{
	struct pfs_bytes value = {NULL, 0};
	char from[24], to[24];
	redisReply *r = NULL;
	int err;

	if (!q->len || q->off > INT64_MAX / 2)
		return 0;
	snprintf(from, sizeof(from), "%llu", (unsigned long long)q->off);
	snprintf(to, sizeof(to), "%llu", (unsigned long long)(q->off + q->len - 1));
	err = native_send(c, PFS_BYTES("GETRANGE"), q->found.key, pfs_bytes_str(from),
			  pfs_bytes_str(to));
	if (!err)
		err = native_send(c, PFS_BYTES("EXISTS"), q->found.key);
	if (!err)
		err = native_reply_there(c, &r);
	if (err)
		return err;
	q->n = (ssize_t)(r->len < q->len ? r->len : q->len);
	memcpy(q->buf, r->str, (size_t)q->n);
	if (!q->off && r->len < q->len)
		value = (struct pfs_bytes){r->str, r->len};
	native_tree_saw(v, q->found.key, value.p ? value.len : q->found.size, &value);
	freeReplyObject(r);
	return 0;
}

static int read_text(struct native *v, redisContext *c, struct question *q)
{
	if (is_growing(&q->found))
		return 0;
	q->n = native_text_read(v, c, &q->found, q->off, q->buf, q->len, &q->attr.version);
	return q->n < 0 ? (int)q->n : 0;
}

static int read_once(struct native *v, redisContext *c, struct question *q)
{
	int err = native_find(v, c, q->place, false, &q->found);

	q->attr = (struct pfs_view_attr){0};
	q->n = 0;
	if (err)
		return err;
	if (q->found.kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	if (q->found.kind == NATIVE_IS_ELEMENT)
		return read_text(v, c, q);
	if (q->found.kind != NATIVE_IS_KEY || native_has_elements(q->found.type))
		return -EISDIR;
	if (q->found.type == NATIVE_STREAM)
		return read_text(v, c, q);
	if (q->found.type == NATIVE_STRING)
		return read_string(v, c, q);
	pfs_error_text_set("keys of a module's type cannot be read as files");
	return -EOPNOTSUPP;
}

static int read_now(struct native *v, redisContext *c, void *arg)
{
	return look_again(v, c, arg, read_once);
}

ssize_t native_read(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf, size_t len,
		    uint64_t *version)
{
	struct native *v = native_of(view);
	struct native_place place;
	struct question q = {.place = &place, .off = off, .buf = buf, .len = len};
	int err = native_place_init(v, path, &place);

	if (!err)
		err = native_do(v, read_now, &q, NULL);
	native_place_release(&place);
	if (err)
		return err;
	*version = q.attr.version;
	return q.n;
}

/* ---- attributes ----------------------------------------------------------------------------- */

/* The name of the type of what is at a path; "" for elements. */
struct type_of {
	struct native_place *place;
	struct native_found found;
	struct pfs_buf name;
};

static int ask_type(struct native *v, redisContext *c, void *arg)
{
	struct type_of *t = arg;
	redisReply *r = NULL;
	int err = native_find(v, c, t->place, false, &t->found);

	t->name.len = 0;
	pfs_buf_str(&t->name, "");
	if (err)
		return err;
	switch (t->found.kind) {
	case NATIVE_IS_NOTHING:
		return -ENOENT;
	case NATIVE_IS_DIR:
		pfs_buf_str(&t->name, native_type_name(NATIVE_KEYS));
		return 0;
	case NATIVE_IS_PENDING:
		pfs_buf_str(&t->name, native_type_name(t->found.type));
		return 0;
	case NATIVE_IS_ELEMENT:
		return 0;
	default:
		break;
	}
	if (t->found.type != NATIVE_OTHER) {
		pfs_buf_str(&t->name, native_type_name(t->found.type));
		return 0;
	}
	err = native_send(c, PFS_BYTES("TYPE"), t->found.key);
	if (!err)
		err = native_reply(c, &r);
	if (!err)
		pfs_buf_add(&t->name, r->str, r->len);
	freeReplyObject(r);
	return err;
}

static int type_at(struct native *v, struct pfs_bytes path, struct type_of *t)
{
	struct native_place place;
	int err = native_place_init(v, path, &place);

	t->place = &place;
	if (!err)
		err = native_do(v, ask_type, t, NULL);
	t->place = NULL;
	native_place_release(&place);
	if (!err && t->name.failed)
		err = -ENOMEM;
	return err;
}

ssize_t native_xattr_get(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			 void *buf, size_t len)
{
	struct type_of t = {0};
	ssize_t n;

	if (!pfs_bytes_eq(name, PFS_BYTES("type")))
		return -ENODATA;
	n = type_at(native_of(view), path, &t);
	if (!n && !t.name.len)
		n = -ENODATA;
	else if (!n && len && t.name.len > len)
		n = -ERANGE;
	else if (!n)
		n = (ssize_t)t.name.len;
	if (n > 0 && len && t.name.data)
		memcpy(buf, t.name.data, t.name.len);
	pfs_buf_release(&t.name);
	return n;
}

int native_xattr_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out)
{
	struct type_of t = {0};
	int err = type_at(native_of(view), path, &t);

	/* A file is a string, unless it is told otherwise; the root is what it is. */
	if (!err && path.len && t.name.len && t.found.type != NATIVE_STRING)
		pfs_buf_add(out, "type", 5);
	if (!err && t.found.kind != NATIVE_IS_ELEMENT && t.found.expires)
		pfs_buf_add(out, "expires", 8);
	pfs_buf_release(&t.name);
	return err;
}
