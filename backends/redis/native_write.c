/*
 * Changes. Each looks at what is there with the keys watched, decides, and does it between MULTI and
 * EXEC; where one of the keys was changed meanwhile nothing was done, and it begins anew. So a key of
 * another type is refused before anything is written, and its time to live stays.
 */
#include "backends/redis/native.h"

#define TRIES_MAX 1000
/* Somebody else was faster: never leaves this file. */
#define AGAIN 1

/* ---- transactions --------------------------------------------------------------------------- */

static int begin(redisContext *c)
{
	return native_send(c, PFS_BYTES("MULTI"));
}

/*
 * MULTI and n commands were appended: send them with EXEC. 0 and *out owned, an array of n replies;
 * AGAIN; REDIS_LOST or -errno. *sent is set when from here on nobody can know what was done.
 */
static int finish(redisContext *c, size_t n, bool *sent, redisReply **out)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("EXEC")), refused = 0;
	char text[512] = "";
	size_t i;

	if (err)
		return err;
	*sent = true;
	for (i = 0; i < n + 2; i++) {
		freeReplyObject(r);
		r = NULL;
		err = native_any_reply(c, &r);
		if (err)
			return err;
		if (!refused && r->type == REDIS_REPLY_ERROR) {
			refused = redis_error(r);
			memcpy(text, pfs_error_text(), strnlen(pfs_error_text(), sizeof(text) - 1));
		}
	}
	if (refused)
		pfs_error_text_set("%s", text);
	else if (r->type != REDIS_REPLY_ARRAY)
		refused = AGAIN;
	for (i = 0; !refused && i < r->elements; i++)
		refused = redis_error(r->element[i]);
	if (refused)
		freeReplyObject(r);
	else
		*out = r;
	*sent = false; /* it is known */
	return refused;
}

/* Nothing is to be changed. */
static int unwatch(redisContext *c)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("UNWATCH"));

	if (!err)
		err = native_reply(c, &r);
	freeReplyObject(r);
	return err;
}

/* ---- one change ----------------------------------------------------------------------------- */

struct change;
typedef int (*change_fn)(struct native *v, redisContext *c, struct change *ch);

struct change {
	change_fn fn;
	bool repeatable; /* doing it twice is as doing it once */
	bool sent;
	struct native_place place, to;
	struct native_found found, target;
	struct pfs_view_write *w;
	struct pfs_buf value; /* what was written */
	struct native_moves moves;
	struct pfs_bytes name, number;
	int64_t expires; /* of the key: set_expires, write */
	bool dir, replace, converted;
	/* For the index, afterwards: what the key is now, and that of `target`. */
	enum native_type now, target_now;
};

static int change_now(struct native *v, redisContext *c, void *arg)
{
	struct change *ch = arg;
	int err = AGAIN, tries;

	for (tries = 0; err == AGAIN && tries < TRIES_MAX; tries++) {
		ch->value.len = 0;
		err = ch->fn(v, c, ch);
	}
	if (ch->repeatable)
		ch->sent = false;
	if (err != AGAIN)
		return err;
	pfs_error_text_set("others change the key all the time");
	return -EBUSY;
}

static void change_release(struct change *ch)
{
	native_place_release(&ch->place);
	native_place_release(&ch->to);
	pfs_buf_release(&ch->value);
	native_moves_release(&ch->moves);
}

static int do_change(struct native *v, struct change *ch)
{
	return native_do(v, change_now, ch, &ch->sent);
}

static int refuse(int err, const char *why)
{
	pfs_error_text_set("%s", why);
	return err;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool ends_with_newline(struct pfs_bytes s)
{
	return s.len && s.p[s.len - 1] == '\n';
}

/* The new value of what held `old` (p NULL: is not there), into ch->value. */
static int new_value(const struct native *v, struct change *ch, struct pfs_bytes old)
{
	struct pfs_view_write *w = ch->w;
	struct pfs_bytes was = old.p ? old : PFS_BYTES("");
	int err = 0;

	if (w->how == PFS_VIEW_EDIT) {
		err = w->edit(w->arg, was, &ch->value);
	} else {
		if (w->how == PFS_VIEW_APPEND)
			pfs_buf_add(&ch->value, was.p, was.len);
		pfs_buf_add(&ch->value, w->data.p, w->data.len);
	}
	pfs_buf_str(&ch->value, "");
	if (!err && ch->value.failed)
		err = -ENOMEM;
	if (!err && w->how == PFS_VIEW_WHOLE && v->strip && old.p && !ends_with_newline(old) &&
	    ends_with_newline(native_bytes(&ch->value)))
		ch->value.len--;
	return err;
}

static int check_there(const struct pfs_view_write *w, bool there)
{
	if (there && w->create)
		return -EEXIST;
	return there || w->create ? 0 : -ENOENT;
}

/* The old value of a string where it is needed; *r is owned. */
static int get_string(struct native *v, redisContext *c, struct change *ch, redisReply **r)
{
	bool tail = v->strip && ch->w->how == PFS_VIEW_WHOLE;
	int err;

	if (ch->found.kind != NATIVE_IS_KEY || (ch->w->how != PFS_VIEW_EDIT && !tail))
		return 0;
	if (tail)
		err = native_send(c, PFS_BYTES("GETRANGE"), ch->found.key, PFS_BYTES("-1"),
				  PFS_BYTES("-1"));
	else
		err = native_send(c, PFS_BYTES("GET"), ch->found.key);
	return err ? err : native_reply(c, r);
}

static int write_string(struct native *v, redisContext *c, struct change *ch)
{
	struct pfs_view_write *w = ch->w;
	bool append = w->how == PFS_VIEW_APPEND;
	redisReply *old = NULL, *r = NULL;
	struct pfs_bytes value;
	int err = check_there(w, ch->found.kind == NATIVE_IS_KEY);

	if (!err && !append)
		err = get_string(v, c, ch, &old);
	if (!err && !append)
		err = new_value(v, ch,
				old ? (struct pfs_bytes){old->str, old->len}
				    : (struct pfs_bytes){NULL, 0});
	freeReplyObject(old);
	if (!err)
		err = begin(c);
	if (!err && append)
		err = native_send(c, PFS_BYTES("APPEND"), ch->found.key, w->data);
	else if (!err)
		err = native_send(c, PFS_BYTES("SET"), ch->found.key, native_bytes(&ch->value),
				  PFS_BYTES("KEEPTTL"));
	/* Before it is done, for the thread may hear of it before we do. */
	value = native_bytes(&ch->value);
	ch->expires = ch->found.kind == NATIVE_IS_KEY ? ch->found.expires : 0;
	native_tree_holds(v, ch->found.key, append ? NULL : &value, ch->expires);
	if (!err)
		err = native_send(c, PFS_BYTES("GETRANGE"), ch->found.key, PFS_BYTES("0"),
				  NATIVE_SMALL_LAST);
	if (!err)
		err = finish(c, 2, &ch->sent, &r);
	if (err) {
		native_tree_holds(v, ch->found.key, NULL, 0);
		return err;
	}
	w->attr = (struct pfs_view_attr){
		.mode = S_IFREG,
		.size = append ? redis_number(r, 0) : ch->value.len,
		.expires = ch->expires,
	};
	if (w->attr.size <= NATIVE_SMALL)
		w->attr.version = redis_hash(r->element[1]->str, r->element[1]->len);
	ch->now = NATIVE_STRING;
	freeReplyObject(r);
	return 0;
}

/* ---- elements ------------------------------------------------------------------------------- */

static int get_element(redisContext *c, const struct native_found *f, redisReply **out)
{
	int err = f->missing ? -ENOENT : native_element_send(c, f->type, f->key, f->element);

	if (!err)
		err = native_element_reply(c, f->type, out);
	return err == -ENOENT ? 0 : err;
}

/* The score as it is meant, without the newline of `echo`. */
static struct pfs_bytes score_of(const struct pfs_buf *value)
{
	struct pfs_bytes s = native_bytes(value);

	while (s.len && (s.p[s.len - 1] == '\n' || s.p[s.len - 1] == ' '))
		s.len--;
	return s;
}

static int put_element(redisContext *c, const struct native_found *f, const struct pfs_buf *value)
{
	switch (f->type) {
	case NATIVE_HASH:
		return native_send(c, PFS_BYTES("HSET"), f->key, f->element, native_bytes(value));
	case NATIVE_ZSET:
		return native_send(c, PFS_BYTES("ZADD"), f->key, score_of(value), f->element);
	case NATIVE_SET:
		if (value->len)
			return refuse(-EINVAL, "a member of a set has no content");
		return native_send(c, PFS_BYTES("SADD"), f->key, f->element);
	default:
		return -EPERM;
	}
}

static int length_of_list(redisContext *c, const struct native_found *f, uint64_t *out)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("LLEN"), f->key);

	if (!err)
		err = native_reply(c, &r);
	if (!err)
		*out = (uint64_t)r->integer;
	freeReplyObject(r);
	return err;
}

/* Queue what writes ch->value to a place of a list. */
static int put_in_list(redisContext *c, struct change *ch, uint64_t length, bool there)
{
	const struct native_found *f = &ch->found;
	struct pfs_bytes value = native_bytes(&ch->value);
	uint64_t index = 0;
	char text[24];

	if (pfs_bytes_eq(f->element, NATIVE_TAIL))
		return native_send(c, PFS_BYTES("RPUSH"), f->key, value);
	if (pfs_bytes_eq(f->element, NATIVE_HEAD))
		return native_send(c, PFS_BYTES("LPUSH"), f->key, value);
	if (!native_list_index(f->element, &index))
		return refuse(-EPERM, "elements of a list have numbers; + appends, +head prepends");
	if (!there && index == length)
		return native_send(c, PFS_BYTES("RPUSH"), f->key, value);
	if (!there)
		return refuse(-EINVAL, "the list does not reach there; + appends");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)index);
	return native_send(c, PFS_BYTES("LSET"), f->key, pfs_bytes_str(text), value);
}

static int send_expires(redisContext *c, struct pfs_bytes key, int64_t expires)
{
	char text[24];

	if (!expires)
		return native_send(c, PFS_BYTES("PERSIST"), key);
	snprintf(text, sizeof(text), "%lld", (long long)((expires + 999999) / 1000000));
	return native_send(c, PFS_BYTES("PEXPIREAT"), key, pfs_bytes_str(text));
}

static bool grows_list(const struct native_found *f)
{
	return f->type == NATIVE_LIST && (pfs_bytes_eq(f->element, NATIVE_TAIL) ||
					  pfs_bytes_eq(f->element, NATIVE_HEAD));
}

static int write_element(struct native *v, redisContext *c, struct change *ch)
{
	const struct native_found *f = &ch->found;
	struct pfs_view_write *w = ch->w;
	struct pfs_view_attr attr = {0};
	redisReply *old = NULL, *r = NULL;
	uint64_t length = 0;
	bool list = f->type == NATIVE_LIST, grows = grows_list(f);
	int err = grows ? 0 : get_element(c, f, &old);

	if (!err && !grows)
		err = check_there(w, old != NULL);
	if (!err && old)
		native_element_attr(f->type, old, &attr);
	if (!err && list && old && w->seen && w->seen != attr.version)
		err = refuse(-ESTALE, "another element is at this place of the list by now");
	if (!err && list && !f->missing)
		err = length_of_list(c, f, &length);
	if (!err)
		err = new_value(v, ch,
				old && f->type != NATIVE_SET
					? (struct pfs_bytes){old->str, old->len}
					: (struct pfs_bytes){old ? "" : NULL, 0});
	if (!err)
		err = begin(c);
	if (!err)
		err = list ? put_in_list(c, ch, length, old != NULL)
			   : put_element(c, f, &ch->value);
	freeReplyObject(old);
	if (!err)
		err = grows ? native_send(c, PFS_BYTES("LLEN"), f->key)
			    : native_element_send(c, f->type, f->key, f->element);
	if (!err && f->expires)
		err = send_expires(c, f->key, f->expires);
	if (!err)
		err = finish(c, f->expires ? 3 : 2, &ch->sent, &r);
	if (err)
		return err;
	if (f->type == NATIVE_ZSET && r->elements > 1 && r->element[1]->str) {
		native_element_attr(f->type, r->element[1], &w->attr);
	} else {
		w->attr = (struct pfs_view_attr){.mode = S_IFREG, .version = 1};
		if (f->type != NATIVE_SET && !grows) {
			w->attr.size = ch->value.len;
			w->attr.version = redis_hash(ch->value.data, ch->value.len);
		}
	}
	ch->now = f->type;
	freeReplyObject(r);
	return 0;
}

/* ---- streams -------------------------------------------------------------------------------- */

static int write_stream(struct native *v, redisContext *c, struct change *ch)
{
	struct pfs_view_write *w = ch->w;
	struct pfs_buf old = {0};
	redisReply *r = NULL;
	size_t n = 0, skip = 0;
	int err = w->create ? -EEXIST : 0;

	if (!err && w->how != PFS_VIEW_APPEND) {
		err = native_stream_text(c, ch->found.key, &old);
		if (!err)
			err = new_value(v, ch, native_bytes(&old));
		skip = old.len;
		if (!err && (ch->value.len < skip ||
			     (skip && memcmp(ch->value.data, old.data, skip) != 0)))
			err = refuse(-EPERM, "a stream only grows: lines are appended with >>");
	} else if (!err) {
		pfs_buf_add(&ch->value, w->data.p, w->data.len);
	}
	if (!err)
		err = begin(c);
	if (!err)
		err = native_stream_add(c, ch->found.key,
					(struct pfs_bytes){(ch->value.data ? ch->value.data : "") +
								   skip,
							   ch->value.len - skip},
					&n);
	if (!err)
		err = finish(c, n, &ch->sent, &r);
	freeReplyObject(r);
	if (!err) { /* with the ids that the server gave */
		old.len = 0;
		err = native_stream_text(c, ch->found.key, &old);
		w->attr = (struct pfs_view_attr){.mode = S_IFREG,
						 .size = old.len,
						 .version = redis_hash(old.data, old.len),
						 .expires = ch->found.expires};
		ch->now = NATIVE_STREAM;
	}
	pfs_buf_release(&old);
	return err;
}

/* ---- write ---------------------------------------------------------------------------------- */

static int nothing_there(const struct native_found *f, const struct native_place *p)
{
	if (f->room)
		return 0;
	if (p->is_key && !f->type)
		return -ENOENT;
	return refuse(-EPERM, "there can be no key of this name here");
}

static int write_change(struct native *v, redisContext *c, struct change *ch)
{
	int err = native_find(v, c, &ch->place, true, &ch->found);

	if (err)
		return err;
	switch (ch->found.kind) {
	case NATIVE_IS_DIR:
	case NATIVE_IS_PENDING:
		return -EISDIR;
	case NATIVE_IS_ELEMENT:
		ch->repeatable = ch->w->how == PFS_VIEW_WHOLE && !ch->w->create &&
				 ch->found.type != NATIVE_LIST;
		return write_element(v, c, ch);
	case NATIVE_IS_NOTHING:
		err = nothing_there(&ch->found, &ch->place);
		if (err)
			return err;
		break;
	default:
		if (native_has_elements(ch->found.type))
			return -EISDIR;
		if (ch->found.type == NATIVE_STREAM)
			return write_stream(v, c, ch);
		if (ch->found.type != NATIVE_STRING)
			return refuse(-EOPNOTSUPP, "keys of a module's type cannot be written");
	}
	ch->repeatable = ch->w->how == PFS_VIEW_WHOLE && !ch->w->create;
	return write_string(v, c, ch);
}

int native_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct native *v = native_of(view);
	struct change ch = {.fn = write_change, .w = w};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = do_change(v, &ch);
	if (!err)
		native_tree_wrote(v, ch.found.key, ch.now);
	if (!err && ch.found.missing) {
		pthread_mutex_lock(&v->tree.lock);
		native_tree_set_expires(&v->tree, ch.found.sort, 0);
		pthread_mutex_unlock(&v->tree.lock);
	}
	change_release(&ch);
	return err;
}

/* ---- remove, mkdir -------------------------------------------------------------------------- */

static int remove_from_list(redisContext *c, const struct native_found *f)
{
	uint64_t index, length = 0;
	int err = length_of_list(c, f, &length);

	if (!err && (!native_list_index(f->element, &index) || index >= length))
		err = -ENOENT;
	if (!err && index && index + 1 != length)
		err = refuse(-EPERM, "only the first and the last element of a list can be removed");
	if (!err)
		err = begin(c);
	if (err)
		return err;
	return native_send(c, index ? PFS_BYTES("RPOP") : PFS_BYTES("LPOP"), f->key);
}

static int remove_element(redisContext *c, const struct native_found *f)
{
	struct pfs_bytes command = f->type == NATIVE_HASH  ? PFS_BYTES("HDEL")
				   : f->type == NATIVE_SET ? PFS_BYTES("SREM")
							   : PFS_BYTES("ZREM");
	redisReply *r = NULL;
	int err;

	if (f->type == NATIVE_LIST)
		return remove_from_list(c, f);
	err = get_element(c, f, &r);
	if (!err && !r)
		err = -ENOENT;
	freeReplyObject(r);
	if (!err)
		err = begin(c);
	return err ? err : native_send(c, command, f->key, f->element);
}

static int remove_change(struct native *v, redisContext *c, struct change *ch)
{
	const struct native_found *f = &ch->found;
	redisReply *r = NULL;
	int err = native_find(v, c, &ch->place, true, &ch->found);

	if (err)
		return err;
	if (f->kind == NATIVE_IS_NOTHING || (f->kind == NATIVE_IS_ELEMENT && f->missing))
		return -ENOENT;
	if (f->kind == NATIVE_IS_DIR || f->kind == NATIVE_IS_PENDING ||
	    (f->kind == NATIVE_IS_KEY && native_has_elements(f->type))) {
		if (!ch->dir)
			return -EISDIR;
		return f->kind == NATIVE_IS_PENDING ? unwatch(c) : -ENOTEMPTY;
	}
	if (ch->dir)
		return -ENOTDIR;
	if (f->kind == NATIVE_IS_ELEMENT)
		err = remove_element(c, f);
	else
		err = begin(c);
	if (!err && f->kind == NATIVE_IS_KEY)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	if (!err)
		err = native_send(c, PFS_BYTES("EXISTS"), f->key);
	if (!err)
		err = finish(c, 2, &ch->sent, &r);
	if (!err)
		ch->now = redis_number(r, 1) ? f->type : NATIVE_NONE;
	freeReplyObject(r);
	return err;
}

static int set_pending(struct native *v, struct pfs_bytes sort, enum native_type type)
{
	unsigned char old;
	int err = 0;

	pthread_mutex_lock(&v->tree.lock);
	if (type)
		err = native_index_put(&v->tree.pending, sort, (unsigned char)type, &old);
	else if (native_index_remove(&v->tree.pending, sort))
		native_tree_set_expires(&v->tree, sort, 0);
	pthread_mutex_unlock(&v->tree.lock);
	return err;
}

int native_remove(struct pfs_view *view, struct pfs_bytes path, bool dir)
{
	struct native *v = native_of(view);
	struct change ch = {.fn = remove_change, .dir = dir};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = do_change(v, &ch);
	if (!err && ch.found.kind == NATIVE_IS_PENDING) {
		err = set_pending(v, ch.found.sort, NATIVE_NONE);
		if (!err)
			err = native_tree_keep_dirs(v, ch.found.sort);
	} else if (!err) {
		native_tree_wrote(v, ch.found.key, ch.now);
		/* An emptied directory stays one. */
		if (!ch.now && ch.found.kind == NATIVE_IS_ELEMENT)
			err = set_pending(v, ch.found.sort, ch.found.type);
		else if (!ch.now)
			err = native_tree_keep_dirs(v, ch.found.sort);
	}
	change_release(&ch);
	return err;
}

/* Can there be a new directory? What is below one that is nobody's yet makes that one of keys. */
static int dir_may_be(struct native_found *f, const struct native_place *p)
{
	if (f->kind == NATIVE_IS_NOTHING)
		return nothing_there(f, p);
	if (f->kind != NATIVE_IS_ELEMENT)
		return -EEXIST;
	if (!f->missing || !p->is_key)
		return refuse(-EPERM, "the elements of a key are no directories");
	f->key = native_bytes(&p->key);
	f->sort = native_bytes(&p->sort);
	return 0;
}

static int mkdir_change(struct native *v, redisContext *c, struct change *ch)
{
	int err = native_find(v, c, &ch->place, false, &ch->found);

	if (err)
		return err;
	return dir_may_be(&ch->found, &ch->place);
}

int native_mkdir(struct pfs_view *view, struct pfs_bytes path)
{
	struct native *v = native_of(view);
	struct change ch = {.fn = mkdir_change};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = do_change(v, &ch);
	if (!err)
		err = set_pending(v, ch.found.sort, v->new_dirs);
	change_release(&ch);
	return err;
}

/* ---- rename --------------------------------------------------------------------------------- */

/* The value of one string to another, which keeps what else it has. */
static int move_value(redisContext *c, struct change *ch)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("GET"), ch->found.key);

	if (!err)
		err = native_reply(c, &r);
	if (!err && r->type != REDIS_REPLY_STRING)
		err = AGAIN;
	if (!err)
		err = begin(c);
	if (!err)
		err = native_send(c, PFS_BYTES("SET"), ch->target.key,
				  (struct pfs_bytes){r->str, r->len}, PFS_BYTES("KEEPTTL"));
	freeReplyObject(r);
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), ch->found.key);
	return err;
}

static int rename_key(redisContext *c, struct change *ch)
{
	struct native_found *f = &ch->found, *t = &ch->target;
	bool elements = native_has_elements(f->type);
	redisReply *r = NULL;
	int err = 0;

	if (t->kind == NATIVE_IS_ELEMENT)
		return -EXDEV;
	if (t->kind != NATIVE_IS_NOTHING && !ch->replace)
		return -EEXIST;
	if (t->kind == NATIVE_IS_DIR)
		return elements ? -ENOTEMPTY : -EISDIR;
	if (t->kind == NATIVE_IS_PENDING && !elements)
		return -EISDIR;
	if (t->kind == NATIVE_IS_KEY && t->type != f->type)
		return refuse(-EINVAL, "a key of another type is there");
	if (t->kind == NATIVE_IS_KEY && elements)
		return -ENOTEMPTY;
	if (t->kind == NATIVE_IS_NOTHING && !t->room)
		return nothing_there(t, &ch->to);
	if (f->type == NATIVE_STREAM && t->kind == NATIVE_IS_NOTHING) {
		if (!ch->to.stream.len)
			return refuse(-EINVAL, "the name of a stream ends with .jsonl");
		t->key = native_bytes(&ch->to.stream);
		t->sort = native_bytes(&ch->to.stream_sort);
	}
	if (t->kind == NATIVE_IS_KEY && f->type != NATIVE_STRING)
		return refuse(-EINVAL, "only a string can take another one's place");
	if (t->kind == NATIVE_IS_KEY) {
		err = move_value(c, ch);
	} else {
		err = begin(c);
		if (!err)
			err = native_send(c, PFS_BYTES("RENAME"), f->key, t->key);
	}
	if (!err)
		err = finish(c, t->kind == NATIVE_IS_KEY ? 2 : 1, &ch->sent, &r);
	ch->now = NATIVE_NONE;
	ch->target_now = f->type;
	freeReplyObject(r);
	return err;
}

static int rename_element(redisContext *c, struct change *ch)
{
	struct native_found *f = &ch->found, *t = &ch->target;
	struct pfs_bytes command = f->type == NATIVE_HASH  ? PFS_BYTES("HDEL")
				   : f->type == NATIVE_SET ? PFS_BYTES("SREM")
							   : PFS_BYTES("ZREM");
	redisReply *value = NULL, *there = NULL, *r = NULL;
	int err;

	if (t->kind != NATIVE_IS_ELEMENT || !pfs_bytes_eq(f->key, t->key))
		return -EXDEV;
	if (f->type == NATIVE_LIST)
		return refuse(-EPERM, "the elements of a list have no names");
	err = get_element(c, f, &value);
	if (!err && !value)
		err = -ENOENT;
	if (!err)
		err = get_element(c, t, &there);
	if (!err && there && !ch->replace)
		err = -EEXIST;
	if (!err && f->type != NATIVE_SET)
		pfs_buf_add(&ch->value, value->str, value->len);
	pfs_buf_str(&ch->value, "");
	if (!err)
		err = ch->value.failed ? -ENOMEM : begin(c);
	if (!err)
		err = put_element(c, t, &ch->value);
	if (!err)
		err = native_send(c, command, f->key, f->element);
	if (!err)
		err = finish(c, 2, &ch->sent, &r);
	ch->now = ch->target_now = f->type;
	freeReplyObject(value);
	freeReplyObject(there);
	freeReplyObject(r);
	return err;
}

static int rename_dir(struct native *v, redisContext *c, struct change *ch)
{
	struct native_found *f = &ch->found, *t = &ch->target;
	redisReply *r = NULL;
	size_t n = 0;
	int err = 0;

	if (t->kind == NATIVE_IS_KEY && !native_has_elements(t->type))
		return ch->replace ? -ENOTDIR : -EEXIST;
	if (t->kind == NATIVE_IS_KEY || t->kind == NATIVE_IS_DIR)
		return ch->replace ? -ENOTEMPTY : -EEXIST;
	if (t->kind != NATIVE_IS_PENDING || !ch->replace)
		err = dir_may_be(t, &ch->to);
	native_moves_release(&ch->moves);
	if (!err)
		err = native_moves_init(v, f->sort, t->sort, &ch->moves);
	if (!err)
		err = native_moves_watch(c, &ch->moves);
	if (!err)
		err = begin(c);
	if (!err)
		err = native_moves_send(c, &ch->moves, &n);
	if (!err)
		err = finish(c, n, &ch->sent, &r);
	freeReplyObject(r);
	return err;
}

static int rename_change(struct native *v, redisContext *c, struct change *ch)
{
	int err = native_find(v, c, &ch->place, true, &ch->found);

	if (!err)
		err = native_find(v, c, &ch->to, true, &ch->target);
	if (err)
		return err;
	switch (ch->found.kind) {
	case NATIVE_IS_NOTHING:
		return -ENOENT;
	case NATIVE_IS_DIR:
		return rename_dir(v, c, ch);
	case NATIVE_IS_PENDING:
		if (ch->target.kind == NATIVE_IS_PENDING && ch->replace)
			return unwatch(c);
		err = dir_may_be(&ch->target, &ch->to);
		return err ? err : unwatch(c);
	case NATIVE_IS_ELEMENT:
		return rename_element(c, ch);
	default:
		return rename_key(c, ch);
	}
}

static int renamed(struct native *v, struct change *ch)
{
	int err = 0;

	if (ch->found.kind == NATIVE_IS_DIR) {
		err = native_moves_done(v, &ch->moves);
		return err ? err : native_tree_keep_dirs(v, ch->found.sort);
	}
	if (ch->found.kind == NATIVE_IS_PENDING) {
		err = set_pending(v, ch->target.sort, ch->found.type);
		if (!err)
			err = set_pending(v, ch->found.sort, NATIVE_NONE);
		return err ? err : native_tree_keep_dirs(v, ch->found.sort);
	}
	native_tree_holds(v, ch->found.key, NULL, 0);
	native_tree_holds(v, ch->target.key, NULL, 0);
	native_tree_wrote(v, ch->target.key, ch->target_now);
	native_tree_wrote(v, ch->found.key, ch->now);
	if (ch->now)
		return 0;
	err = set_pending(v, ch->found.sort, NATIVE_NONE);
	return err ? err : native_tree_keep_dirs(v, ch->found.sort);
}

int native_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		  struct pfs_view_attr *out)
{
	struct native *v = native_of(view);
	struct change ch = {.fn = rename_change, .replace = replace};
	int err = native_place_init(v, from, &ch.place);

	if (!err)
		err = native_place_init(v, to, &ch.to);
	if (!err)
		err = do_change(v, &ch);
	if (!err)
		err = renamed(v, &ch);
	if (!err)
		err = native_stat(view, to, out);
	change_release(&ch);
	return err;
}

/* ---- attributes ----------------------------------------------------------------------------- */

static int expires_change(struct native *v, redisContext *c, struct change *ch)
{
	redisReply *r = NULL;
	int err = native_find(v, c, &ch->place, true, &ch->found);

	if (err)
		return err;
	if (ch->found.kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	if (ch->found.kind == NATIVE_IS_PENDING && ch->found.type != NATIVE_KEYS)
		return unwatch(c); /* with its first element */
	if (ch->found.kind != NATIVE_IS_KEY)
		return refuse(-EOPNOTSUPP, "only keys expire");
	err = begin(c);
	if (!err)
		err = send_expires(c, ch->found.key, ch->expires);
	if (!err)
		err = finish(c, 1, &ch->sent, &r);
	freeReplyObject(r);
	return err;
}

int native_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires)
{
	struct native *v = native_of(view);
	struct change ch = {.fn = expires_change, .repeatable = true, .expires = expires};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = do_change(v, &ch);
	if (!err && ch.found.kind == NATIVE_IS_PENDING) {
		pthread_mutex_lock(&v->tree.lock);
		err = native_tree_set_expires(&v->tree, ch.found.sort, expires);
		pthread_mutex_unlock(&v->tree.lock);
	} else if (!err) {
		native_watch_look(v, ch.found.key);
	}
	change_release(&ch);
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

static int incr_change(struct native *v, redisContext *c, struct change *ch)
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
	err = begin(c);
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
		err = refuse(-EOPNOTSUPP, "only strings, fields of hashes and scores are counters");
	if (!err)
		err = finish(c, 1, &ch->sent, &r);
	freeReplyObject(r);
	ch->now = f->type;
	return err;
}

/* A string of JSON lines becomes the stream that is shown so. */
static int make_stream(redisContext *c, struct change *ch)
{
	struct native_found *f = &ch->found;
	redisReply *r = NULL, *old = NULL;
	size_t n = 0;
	int err;

	if (!ch->place.stream.len)
		return refuse(-EINVAL, "the name of a stream ends with .jsonl");
	err = native_send(c, PFS_BYTES("EXISTS"), native_bytes(&ch->place.stream));
	if (!err)
		err = native_reply(c, &r);
	if (!err && r->integer)
		err = refuse(-EEXIST, "there is a key of the name that the stream would have");
	freeReplyObject(r);
	r = NULL;
	if (!err)
		err = native_send(c, PFS_BYTES("GET"), f->key);
	if (!err)
		err = native_reply(c, &old);
	if (!err)
		err = begin(c);
	if (!err)
		err = native_stream_add(c, native_bytes(&ch->place.stream),
					(struct pfs_bytes){old->str ? old->str : "", old->len}, &n);
	if (!err && !n)
		err = refuse(-EINVAL, "a stream has one entry at least");
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	if (!err)
		err = finish(c, n + 1, &ch->sent, &r);
	freeReplyObject(old);
	freeReplyObject(r);
	ch->target_now = NATIVE_STREAM;
	return err;
}

/* Queue what makes a key of `type` of a hash's field; `i`: which one in order. */
static int convert_field(redisContext *c, struct change *ch, enum native_type type, size_t i,
			 const redisReply *field, const redisReply *value)
{
	struct pfs_bytes name = {field->str, field->len}, what = {value->str, value->len};
	uint64_t index;

	switch (type) {
	case NATIVE_LIST:
		if (!native_list_index(name, &index) || index != i)
			return refuse(-EINVAL, "the elements of a list are 00000000 and so on");
		return native_send(c, PFS_BYTES("RPUSH"), ch->found.key, what);
	case NATIVE_SET:
		if (what.len)
			return refuse(-EINVAL, "a member of a set has no content");
		return native_send(c, PFS_BYTES("SADD"), ch->found.key, name);
	case NATIVE_ZSET:
		ch->value.len = 0;
		pfs_buf_add(&ch->value, what.p, what.len);
		pfs_buf_str(&ch->value, "");
		return native_send(c, PFS_BYTES("ZADD"), ch->found.key, score_of(&ch->value), name);
	default:
		return refuse(-EINVAL, "it has a type already");
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
static int convert_hash(redisContext *c, struct change *ch, enum native_type type)
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
			err = refuse(-EINVAL, "a score is a number");
	if (!err)
		err = begin(c);
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	for (i = 0; !err && i + 1 < all->elements; i += 2)
		err = convert_field(c, ch, type, i / 2, all->element[i], all->element[i + 1]);
	if (!err)
		err = send_expires(c, f->key, f->expires);
	if (!err)
		err = finish(c, all->elements / 2 + 2, &ch->sent, &r);
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

static int type_change(struct native *v, redisContext *c, struct change *ch)
{
	enum native_type type = native_type_of(ch->number);
	struct native_found *f = &ch->found;
	int err = native_find(v, c, &ch->place, true, f);

	if (err)
		return err;
	if (f->kind == NATIVE_IS_NOTHING)
		return -ENOENT;
	if (f->kind == NATIVE_IS_KEY && f->type == NATIVE_STRING && type == NATIVE_STREAM)
		return make_stream(c, ch);
	if (f->kind == NATIVE_IS_KEY && f->type == NATIVE_HASH && type != NATIVE_HASH &&
	    native_has_elements(type) && was_made_here(v, f))
		return convert_hash(c, ch, type);
	err = unwatch(c);
	if (err)
		return err;
	if (f->kind == NATIVE_IS_DIR)
		f->type = NATIVE_KEYS;
	if (type == f->type && f->kind != NATIVE_IS_ELEMENT && type != NATIVE_OTHER)
		return 0;
	if (f->kind != NATIVE_IS_PENDING)
		return refuse(-EINVAL, "it has a type already; only that of a new, empty directory "
				       "can be chosen");
	if (!native_has_elements(type) && type != NATIVE_KEYS)
		return refuse(-EINVAL, "the type of a directory is hash, list, set, zset or keys");
	ch->now = type;
	return 0;
}

int native_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		     struct pfs_bytes value, struct pfs_view_attr *out)
{
	struct native *v = native_of(view);
	struct change ch = {.number = value};
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
		err = do_change(v, &ch);
	if (!err && ch.fn == incr_change) {
		native_tree_wrote(v, ch.found.key, ch.now);
	} else if (!err && ch.target_now) {
		native_tree_wrote(v, native_bytes(&ch.place.stream), ch.target_now);
		native_tree_wrote(v, ch.found.key, NATIVE_NONE);
	} else if (!err && ch.now) {
		if (ch.converted)
			native_tree_wrote(v, ch.found.key, ch.now);
		err = set_pending(v, ch.found.sort, ch.now);
	}
	change_release(&ch);
	return err ? err : native_stat(view, path, out);
}
