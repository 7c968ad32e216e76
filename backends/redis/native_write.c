/*
 * Changes. Each looks at what is there with the keys watched, decides, and does it between MULTI and
 * EXEC; where one of the keys was changed meanwhile nothing was done, and it begins anew. So a key of
 * another type is refused before anything is written, and its time to live stays.
 */
#include "backends/redis/native_change.h"

#define TRIES_MAX 1000

/* ---- transactions --------------------------------------------------------------------------- */

int native_begin(redisContext *c)
{
	return native_send(c, PFS_BYTES("MULTI"));
}

/*
 * MULTI and n commands were appended: send them with EXEC. 0 and *out owned, an array of n replies;
 * NATIVE_AGAIN; REDIS_LOST or -errno. *sent is set when from here on nobody can know what was done.
 */
int native_finish(redisContext *c, size_t n, bool *sent, redisReply **out)
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
		refused = NATIVE_AGAIN;
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
int native_unwatch(redisContext *c)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("UNWATCH"));

	if (!err)
		err = native_reply(c, &r);
	freeReplyObject(r);
	return err;
}

/* ---- one change ----------------------------------------------------------------------------- */


static int change_now(struct native *v, redisContext *c, void *arg)
{
	struct native_change *ch = arg;
	int err = NATIVE_AGAIN, tries;

	for (tries = 0; err == NATIVE_AGAIN && tries < TRIES_MAX; tries++) {
		ch->value.len = 0;
		err = ch->fn(v, c, ch);
	}
	if (ch->repeatable)
		ch->sent = false;
	if (err != NATIVE_AGAIN)
		return err;
	pfs_error_text_set("others change the key all the time");
	return -EAGAIN;
}

void native_change_release(struct native_change *ch)
{
	native_place_release(&ch->place);
	native_place_release(&ch->to);
	pfs_buf_release(&ch->value);
	native_moves_release(&ch->moves);
}

int native_change_do(struct native *v, struct native_change *ch)
{
	int err = native_do(v, change_now, ch, &ch->sent);

	return err == -EIO && ch->sent ? -EINPROGRESS : err;
}

int native_refuse(int err, const char *why)
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
static int new_value(const struct native *v, struct native_change *ch, struct pfs_bytes old)
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
static int get_string(struct native *v, redisContext *c, struct native_change *ch, redisReply **r)
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

static int write_string(struct native *v, redisContext *c, struct native_change *ch)
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
		err = native_begin(c);
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
		err = native_finish(c, 2, &ch->sent, &r);
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

int native_get_element(redisContext *c, const struct native_found *f, redisReply **out)
{
	int err = f->missing ? -ENOENT : native_element_send(c, f->type, f->key, f->element);

	if (!err)
		err = native_element_reply(c, f->type, out);
	return err == -ENOENT ? 0 : err;
}

/* The score as it is meant, without the newline of `echo`. */
struct pfs_bytes native_score_of(const struct pfs_buf *value)
{
	struct pfs_bytes s = native_bytes(value);

	while (s.len && (s.p[s.len - 1] == '\n' || s.p[s.len - 1] == ' '))
		s.len--;
	return s;
}

int native_put_element(redisContext *c, const struct native_found *f, const struct pfs_buf *value)
{
	switch (f->type) {
	case NATIVE_HASH:
		return native_send(c, PFS_BYTES("HSET"), f->key, f->element, native_bytes(value));
	case NATIVE_ZSET:
		return native_send(c, PFS_BYTES("ZADD"), f->key, native_score_of(value), f->element);
	case NATIVE_SET:
		if (value->len)
			return native_refuse(-EINVAL, "a member of a set has no content");
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
static int put_in_list(redisContext *c, struct native_change *ch, uint64_t length, bool there)
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
		return native_refuse(-EPERM, "elements of a list have numbers; + appends, +head prepends");
	if (!there && index == length)
		return native_send(c, PFS_BYTES("RPUSH"), f->key, value);
	if (!there)
		return native_refuse(-EINVAL, "the list does not reach there; + appends");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)index);
	return native_send(c, PFS_BYTES("LSET"), f->key, pfs_bytes_str(text), value);
}

int native_send_expires(redisContext *c, struct pfs_bytes key, int64_t expires)
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

static int write_element(struct native *v, redisContext *c, struct native_change *ch)
{
	const struct native_found *f = &ch->found;
	struct pfs_view_write *w = ch->w;
	struct pfs_view_attr attr = {0};
	redisReply *old = NULL, *r = NULL;
	uint64_t length = 0;
	bool list = f->type == NATIVE_LIST, grows = grows_list(f);
	int err = grows ? 0 : native_get_element(c, f, &old);

	if (!err && !grows)
		err = check_there(w, old != NULL);
	if (!err && old)
		native_element_attr(f->type, old, &attr);
	if (!err && list && old && w->seen && w->seen != attr.version)
		err = native_refuse(-ESTALE, "another element is at this place of the list by now");
	if (!err && list && !f->missing)
		err = length_of_list(c, f, &length);
	if (!err)
		err = new_value(v, ch,
				old && f->type != NATIVE_SET
					? (struct pfs_bytes){old->str, old->len}
					: (struct pfs_bytes){old ? "" : NULL, 0});
	if (!err)
		err = native_begin(c);
	if (!err)
		err = list ? put_in_list(c, ch, length, old != NULL)
			   : native_put_element(c, f, &ch->value);
	freeReplyObject(old);
	if (!err)
		err = grows ? native_send(c, PFS_BYTES("LLEN"), f->key)
			    : native_element_send(c, f->type, f->key, f->element);
	if (!err && f->expires)
		err = native_send_expires(c, f->key, f->expires);
	if (!err)
		err = native_finish(c, f->expires ? 3 : 2, &ch->sent, &r);
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

static int write_stream(struct native *v, redisContext *c, struct native_change *ch)
{
	struct pfs_view_write *w = ch->w;
	struct pfs_buf old = {0};
	struct pfs_bytes more;
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
			err = native_refuse(-EPERM, "a stream only grows: lines are appended with >>");
	} else if (!err) {
		pfs_buf_add(&ch->value, w->data.p, w->data.len);
	}
	more = (struct pfs_bytes){(ch->value.data ? ch->value.data : "") + skip, ch->value.len - skip};
	if (!err)
		err = native_stream_check(c, ch->found.key, true, more);
	if (!err)
		err = native_begin(c);
	if (!err)
		err = native_stream_add(c, ch->found.key, more, &n);
	if (!err)
		err = native_finish(c, n, &ch->sent, &r);
	freeReplyObject(r);
	if (!err) {
		w->attr = (struct pfs_view_attr){.mode = S_IFREG, .expires = ch->found.expires};
		ch->now = NATIVE_STREAM;
		/* With the ids that the server gave. It is written, whatever becomes of this question. */
		old.len = 0;
		if (!native_stream_text(c, ch->found.key, &old)) {
			w->attr.size = old.len;
			w->attr.version = redis_hash(old.data, old.len);
		}
	}
	pfs_buf_release(&old);
	return err;
}

/* ---- write ---------------------------------------------------------------------------------- */

int native_nothing_there(const struct native_found *f, const struct native_place *p)
{
	if (f->room)
		return 0;
	if (p->is_key && !f->type)
		return -ENOENT;
	return native_refuse(-EPERM, "there can be no key of this name here");
}

static int write_change(struct native *v, redisContext *c, struct native_change *ch)
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
		err = native_nothing_there(&ch->found, &ch->place);
		if (err)
			return err;
		break;
	default:
		if (native_has_elements(ch->found.type))
			return -EISDIR;
		if (ch->found.type == NATIVE_STREAM)
			return write_stream(v, c, ch);
		if (ch->found.type != NATIVE_STRING)
			return native_refuse(-EOPNOTSUPP, "keys of a module's type cannot be written");
	}
	ch->repeatable = ch->w->how == PFS_VIEW_WHOLE && !ch->w->create;
	return write_string(v, c, ch);
}

int native_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct native *v = native_of(view);
	struct native_change ch = {.fn = write_change, .w = w};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = native_change_do(v, &ch);
	if (!err)
		native_tree_wrote(v, ch.found.key, ch.now);
	if (!err && ch.found.missing) {
		pthread_mutex_lock(&v->tree.lock);
		native_tree_set_expires(&v->tree, ch.found.sort, 0);
		pthread_mutex_unlock(&v->tree.lock);
	}
	native_change_release(&ch);
	return err;
}

/* ---- remove, mkdir -------------------------------------------------------------------------- */

/* Is it what is to be removed? `element` p NULL: it is a key. */
static int check_content(redisContext *c, const struct native_change *ch, struct pfs_bytes element)
{
	const struct native_found *f = &ch->found;
	const struct pfs_view_content *only = ch->how->only;
	struct pfs_buf text = {0};
	redisReply *r = NULL;
	bool same = true;
	int err = 0;

	if (only && element.p) {
		same = pfs_view_is_content(only, element);
	} else if (only && f->type == NATIVE_STREAM) {
		err = native_stream_text(c, f->key, &text);
		same = !err && pfs_view_is_content(only, native_bytes(&text));
	} else if (only && (f->type != NATIVE_STRING || f->size != only->size)) {
		same = false;
	} else if (only) {
		err = native_send(c, PFS_BYTES("GET"), f->key);
		if (!err)
			err = native_reply(c, &r);
		same = !err && pfs_view_is_content(only, (struct pfs_bytes){r->str, r->len});
	}
	pfs_buf_release(&text);
	freeReplyObject(r);
	return err ? err : same ? 0 : native_refuse(-ESTALE, "it holds something else by now");
}

static int check_index(redisContext *c, const struct native_found *f, bool *last)
{
	uint64_t index, length = 0;
	int err = length_of_list(c, f, &length);

	if (!err && (!native_list_index(f->element, &index) || index >= length))
		err = -ENOENT;
	if (!err && index && index + 1 != length)
		err = native_refuse(-EPERM, "only the first and the last element of a list can be removed");
	*last = !err && index;
	return err;
}

static int remove_element(redisContext *c, const struct native_change *ch)
{
	const struct native_found *f = &ch->found;
	struct pfs_bytes command = f->type == NATIVE_HASH  ? PFS_BYTES("HDEL")
				   : f->type == NATIVE_SET ? PFS_BYTES("SREM")
							   : PFS_BYTES("ZREM");
	struct pfs_view_attr attr;
	redisReply *r = NULL;
	bool list = f->type == NATIVE_LIST, last = false;
	int err = list ? check_index(c, f, &last) : 0;

	if (!err)
		err = native_get_element(c, f, &r);
	if (!err && !r)
		err = -ENOENT;
	if (!err)
		native_element_attr(f->type, r, &attr);
	if (!err && list && ch->how->seen && ch->how->seen != attr.version)
		err = native_refuse(-ESTALE, "another element is at this place of the list by now");
	if (!err)
		err = check_content(c, ch, f->type == NATIVE_SET ? PFS_BYTES("")
								 : (struct pfs_bytes){r->str, r->len});
	freeReplyObject(r);
	if (!err)
		err = native_begin(c);
	if (!err && list)
		return native_send(c, last ? PFS_BYTES("RPOP") : PFS_BYTES("LPOP"), f->key);
	return err ? err : native_send(c, command, f->key, f->element);
}

static int remove_change(struct native *v, redisContext *c, struct native_change *ch)
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
		if (!ch->how->dir)
			return -EISDIR;
		return f->kind == NATIVE_IS_PENDING ? native_unwatch(c) : -ENOTEMPTY;
	}
	if (ch->how->dir)
		return -ENOTDIR;
	if (f->kind == NATIVE_IS_ELEMENT)
		err = remove_element(c, ch);
	else
		err = check_content(c, ch, (struct pfs_bytes){NULL, 0});
	if (!err && f->kind == NATIVE_IS_KEY)
		err = native_begin(c);
	if (!err && f->kind == NATIVE_IS_KEY)
		err = native_send(c, PFS_BYTES("DEL"), f->key);
	if (!err)
		err = native_send(c, PFS_BYTES("EXISTS"), f->key);
	if (!err)
		err = native_finish(c, 2, &ch->sent, &r);
	if (!err)
		ch->now = redis_number(r, 1) ? f->type : NATIVE_NONE;
	freeReplyObject(r);
	return err;
}

int native_set_pending(struct native *v, struct pfs_bytes sort, enum native_type type)
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

int native_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how)
{
	struct native *v = native_of(view);
	struct native_change ch = {.fn = remove_change, .how = how};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = native_change_do(v, &ch);
	if (!err && ch.found.kind == NATIVE_IS_PENDING) {
		err = native_set_pending(v, ch.found.sort, NATIVE_NONE);
		if (!err)
			err = native_tree_keep_dirs(v, ch.found.sort);
	} else if (!err) {
		native_tree_wrote(v, ch.found.key, ch.now);
		/* An emptied directory stays one. */
		if (!ch.now && ch.found.kind == NATIVE_IS_ELEMENT)
			err = native_set_pending(v, ch.found.sort, ch.found.type);
		else if (!ch.now)
			err = native_tree_keep_dirs(v, ch.found.sort);
	}
	native_change_release(&ch);
	return err;
}

/* Can there be a new directory? What is below one that is nobody's yet makes that one of keys. */
int native_dir_may_be(struct native_found *f, const struct native_place *p)
{
	if (f->kind == NATIVE_IS_NOTHING)
		return native_nothing_there(f, p);
	if (f->kind != NATIVE_IS_ELEMENT)
		return -EEXIST;
	if (!f->missing || !p->is_key)
		return native_refuse(-EPERM, "the elements of a key are no directories");
	f->key = native_bytes(&p->key);
	f->sort = native_bytes(&p->sort);
	return 0;
}

static int mkdir_change(struct native *v, redisContext *c, struct native_change *ch)
{
	int err = native_find(v, c, &ch->place, false, &ch->found);

	if (err)
		return err;
	return native_dir_may_be(&ch->found, &ch->place);
}

int native_mkdir(struct pfs_view *view, struct pfs_bytes path)
{
	struct native *v = native_of(view);
	struct native_change ch = {.fn = mkdir_change};
	int err = native_place_init(v, path, &ch.place);

	if (!err)
		err = native_change_do(v, &ch);
	if (!err)
		err = native_set_pending(v, ch.found.sort, v->new_dirs);
	native_change_release(&ch);
	return err;
}
