/* Changes by attributes: when a key expires, counters, types. */
#include "backends/redis/native_change.h"

static int expires_change(struct native *v, redisContext *c, struct native_change *ch)
{
	redisReply *r = NULL;
	int err = native_find(v, c, &ch->place, true, &ch->found);

	if (err)
		return err;
	if (ch->found.kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	if (ch->found.kind == NATIVE_IS_PENDING && ch->found.type != NATIVE_KEYS)
		return native_unwatch(c); /* with its first element */
	if (ch->found.kind != NATIVE_IS_KEY)
		return native_refuse(-EOPNOTSUPP, "only keys expire");
	err = native_begin(c);
	if (!err)
		err = native_send_expires(c, ch->found.key, ch->expires);
	if (!err)
		err = native_finish(c, 1, &ch->sent, &r);
	freeReplyObject(r);
	return err;
}

int native_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires)
{
	struct native *v = native_of(view);
	struct native_change ch = {.fn = expires_change, .repeatable = true, .expires = expires};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = native_change_do(v, &ch);
	if (!err && ch.found.kind == NATIVE_IS_PENDING) {
		pthread_mutex_lock(&v->tree.lock);
		err = native_tree_set_expires(&v->tree, ch.found.sort, expires);
		pthread_mutex_unlock(&v->tree.lock);
	} else if (!err) {
		native_watch_look(v, ch.found.key);
	}
	native_change_release(&ch);
	return err;
}

static bool is_integer(struct pfs_bytes s)
{
	size_t i = s.len && (s.p[0] == '-' || s.p[0] == '+');

	if (i == s.len)
		return false;
	for (; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

static int incr_change(struct native *v, redisContext *c, struct native_change *ch)
{
	struct native_found *f = &ch->found;
	struct pfs_bytes by = ch->number;
	bool whole = is_integer(by);
	redisReply *r = NULL;
	int err = native_find(v, c, &ch->place, true, f);

	if (err)
		return err;
	if (whole && by.p[0] == '+') {
		by.p++;
		by.len--;
	}
	if (f->kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	err = native_begin(c);
	if (err)
		return err;
	if (f->kind == NATIVE_IS_KEY && f->type == NATIVE_STRING)
		err = native_send(c, whole ? PFS_BYTES("INCRBY") : PFS_BYTES("INCRBYFLOAT"), f->key,
				  by);
	else if (f->kind == NATIVE_IS_ELEMENT && f->type == NATIVE_HASH)
		err = native_send(c, whole ? PFS_BYTES("HINCRBY") : PFS_BYTES("HINCRBYFLOAT"),
				  f->key, f->element, by);
	else if (f->kind == NATIVE_IS_ELEMENT && f->type == NATIVE_ZSET)
		err = native_send(c, PFS_BYTES("ZINCRBY"), f->key, by, f->element);
	else
		err = native_refuse(-EOPNOTSUPP, "only strings, fields of hashes and scores are counters");
	if (!err)
		err = native_finish(c, 1, &ch->sent, &r);
	freeReplyObject(r);
	ch->now = f->type;
	return err;
}

/* A string of JSON lines becomes the stream that is shown so. */
static int make_stream(struct native *v, redisContext *c, struct native_change *ch)
{
	struct native_found *f = &ch->found;
	redisReply *r = NULL, *old = NULL;
	struct pfs_bytes text = PFS_BYTES("");
	size_t n = 0;
	int err;

	err = native_stream_room(v, c, &ch->place);
	if (!err)
		err = native_send(c, PFS_BYTES("GET"), f->key);
	if (!err)
		err = native_reply(c, &old);
	if (!err)
		text = (struct pfs_bytes){old->str ? old->str : "", old->len};
	if (!err)
		err = native_stream_check(c, native_bytes(&ch->place.stream), false, text);
	if (!err)
		err = native_begin(c);
	if (!err)
		err = native_stream_add(c, native_bytes(&ch->place.stream), text, &n);
	if (!err && !n)
		err = native_refuse(-EINVAL, "a stream has one entry at least");
	if (!err)
		err = native_send_expires(c, native_bytes(&ch->place.stream), f->expires);
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	if (!err)
		err = native_finish(c, n + 2, &ch->sent, &r);
	freeReplyObject(old);
	freeReplyObject(r);
	ch->target_now = NATIVE_STREAM;
	return err;
}

/* Queue what makes a key of `type` of a hash's field; `i`: which one in order. */
static int convert_field(redisContext *c, struct native_change *ch, enum native_type type, size_t i,
			 const redisReply *field, const redisReply *value)
{
	struct pfs_bytes name = {field->str, field->len}, what = {value->str, value->len};
	uint64_t index;

	switch (type) {
	case NATIVE_LIST:
		if (!native_list_index(name, &index) || index != i)
			return native_refuse(-EINVAL, "the elements of a list are 00000000 and so on");
		return native_send(c, PFS_BYTES("RPUSH"), ch->found.key, what);
	case NATIVE_SET:
		if (what.len)
			return native_refuse(-EINVAL, "a member of a set has no content");
		return native_send(c, PFS_BYTES("SADD"), ch->found.key, name);
	case NATIVE_ZSET:
		ch->value.len = 0;
		pfs_buf_add(&ch->value, what.p, what.len);
		pfs_buf_str(&ch->value, "");
		return native_send(c, PFS_BYTES("ZADD"), ch->found.key, native_score_of(&ch->value), name);
	default:
		return native_refuse(-EINVAL, "it has a type already");
	}
}

static int by_field(const void *a, const void *b)
{
	const redisReply *x = *(redisReply *const *)a, *y = *(redisReply *const *)b;
	size_t n = x->len < y->len ? x->len : y->len;
	int c = n ? memcmp(x->str, y->str, n) : 0;

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* One that the server takes as a score, whatever else it takes. */
static bool is_plain_number(const redisReply *r)
{
	char text[64], *end;
	double d;

	if (!r->len || r->len >= sizeof(text))
		return false;
	memcpy(text, r->str, r->len + 1);
	if (text[r->len - 1] == '\n')
		text[r->len - 1] = '\0';
	if (!text[0] || strspn(text, "+-.0123456789eE") != strlen(text))
		return false;
	errno = 0;
	d = strtod(text, &end);
	return !*end && !errno && d - d == 0;
}

/*
 * A hash that was made here, as a directory that was not told otherwise: cp -a tells what it is to be when
 * all is in it.
 */
static int convert_hash(redisContext *c, struct native_change *ch, enum native_type type)
{
	struct native_found *f = &ch->found;
	redisReply *all = NULL, *r = NULL;
	size_t i;
	int err = native_send(c, PFS_BYTES("HGETALL"), f->key);

	if (!err)
		err = native_reply(c, &all);
	if (err)
		return err;
	if (all->elements)
		qsort(all->element, all->elements / 2, 2 * sizeof(redisReply *), by_field);
	for (i = 1; type == NATIVE_ZSET && !err && i < all->elements; i += 2)
		if (!is_plain_number(all->element[i]))
			err = native_refuse(-EINVAL, "a score is a number");
	if (!err)
		err = native_begin(c);
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	for (i = 0; !err && i + 1 < all->elements; i += 2)
		err = convert_field(c, ch, type, i / 2, all->element[i], all->element[i + 1]);
	if (!err)
		err = native_send_expires(c, f->key, f->expires);
	if (!err)
		err = native_finish(c, all->elements / 2 + 2, &ch->sent, &r);
	freeReplyObject(all);
	freeReplyObject(r);
	ch->now = type;
	ch->converted = !err;
	return err;
}

static bool was_made_here(struct native *v, const struct native_found *f)
{
	bool made;

	pthread_mutex_lock(&v->tree.lock);
	made = native_index_find(&v->tree.pending, f->sort) == NATIVE_HASH;
	pthread_mutex_unlock(&v->tree.lock);
	return made;
}

static int type_change(struct native *v, redisContext *c, struct native_change *ch)
{
	enum native_type type = native_type_of(ch->number);
	struct native_found *f = &ch->found;
	int err = native_find(v, c, &ch->place, true, f);

	if (err)
		return err;
	if (f->kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	if (f->kind == NATIVE_IS_KEY && f->type == NATIVE_STRING && type == NATIVE_STREAM)
		return make_stream(v, c, ch);
	if (f->kind == NATIVE_IS_KEY && f->type == NATIVE_HASH && type != NATIVE_HASH &&
	    native_has_elements(type) && was_made_here(v, f))
		return convert_hash(c, ch, type);
	err = native_unwatch(c);
	if (err)
		return err;
	if (f->kind == NATIVE_IS_DIR)
		f->type = NATIVE_KEYS;
	if (type == f->type && f->kind != NATIVE_IS_ELEMENT && type != NATIVE_OTHER)
		return 0;
	if (f->kind != NATIVE_IS_PENDING)
		return native_refuse(-EINVAL, "it has a type already; only that of a new, empty directory "
				       "can be chosen");
	if (!native_has_elements(type) && type != NATIVE_KEYS)
		return native_refuse(-EINVAL, "the type of a directory is hash, list, set, zset or keys");
	ch->now = type;
	return 0;
}

int native_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		     struct pfs_bytes value, struct pfs_view_attr *out)
{
	struct native *v = native_of(view);
	struct native_change ch = {.number = value};
	int err;

	if (pfs_bytes_eq(name, PFS_BYTES("type")))
		ch.fn = type_change;
	else if (pfs_bytes_eq(name, PFS_BYTES("incr")))
		ch.fn = incr_change;
	if (!ch.fn || !value.p)
		return ch.fn ? -EPERM : -EOPNOTSUPP;
	if (value.len == 0)
		return -EINVAL;
	err = native_place_init(v, path, &ch.place);
	if (!err)
		err = native_change_do(v, &ch);
	if (!err && ch.fn == incr_change) {
		native_tree_wrote(v, ch.found.key, ch.now);
	} else if (!err && ch.target_now) {
		native_tree_wrote(v, native_bytes(&ch.place.stream), ch.target_now);
		native_tree_wrote(v, ch.found.key, NATIVE_NONE);
	} else if (!err && ch.now) {
		if (ch.converted)
			native_tree_wrote(v, ch.found.key, ch.now);
		err = native_set_pending(v, ch.found.sort, ch.now);
	}
	native_change_release(&ch);
	return err ? err : native_stat(view, path, out);
}
