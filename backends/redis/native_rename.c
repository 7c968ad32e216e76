/*
 * Renaming. A string that takes the place of another gives it its value, and the other keeps its time to
 * live; everything else moves only to where nothing is.
 */
#include "backends/redis/native_change.h"

/* The value of one string to another, which keeps what else it has. */
static int move_value(redisContext *c, struct native_change *ch)
{
	redisReply *r = NULL;
	int err = native_send(c, PFS_BYTES("GET"), ch->found.key);

	if (!err)
		err = native_reply(c, &r);
	if (!err && r->type != REDIS_REPLY_STRING)
		err = NATIVE_AGAIN;
	if (!err)
		err = native_begin(c);
	if (!err)
		err = native_send(c, PFS_BYTES("SET"), ch->target.key,
				  (struct pfs_bytes){r->str, r->len}, PFS_BYTES("KEEPTTL"));
	freeReplyObject(r);
	if (!err)
		err = native_send(c, PFS_BYTES("DEL"), ch->found.key);
	return err;
}

static int rename_key(struct native *v, redisContext *c, struct native_change *ch)
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
		return native_refuse(-EINVAL, "a key of another type is there");
	if (t->kind == NATIVE_IS_KEY && elements)
		return -ENOTEMPTY;
	if (t->kind == NATIVE_IS_NOTHING && !t->room)
		return native_nothing_there(t, &ch->to);
	if (f->type == NATIVE_STREAM && t->kind == NATIVE_IS_NOTHING) {
		err = native_stream_room(v, c, &ch->to);
		if (err)
			return err;
		t->key = native_bytes(&ch->to.stream);
		t->sort = native_bytes(&ch->to.stream_sort);
	}
	if (t->kind == NATIVE_IS_KEY && f->type != NATIVE_STRING)
		return native_refuse(-EINVAL, "only a string can take another one's place");
	if (t->kind == NATIVE_IS_KEY) {
		err = move_value(c, ch);
	} else {
		err = native_begin(c);
		if (!err)
			err = native_send(c, PFS_BYTES("RENAME"), f->key, t->key);
	}
	if (!err)
		err = native_finish(c, t->kind == NATIVE_IS_KEY ? 2 : 1, &ch->sent, &r);
	ch->now = NATIVE_NONE;
	ch->target_now = f->type;
	freeReplyObject(r);
	return err;
}

static int rename_element(redisContext *c, struct native_change *ch)
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
		return native_refuse(-EPERM, "the elements of a list have no names");
	err = native_get_element(c, f, &value);
	if (!err && !value)
		err = -ENOENT;
	if (!err)
		err = native_get_element(c, t, &there);
	if (!err && there && !ch->replace)
		err = -EEXIST;
	if (!err && f->type != NATIVE_SET)
		pfs_buf_add(&ch->value, value->str, value->len);
	pfs_buf_str(&ch->value, "");
	if (!err)
		err = ch->value.failed ? -ENOMEM : native_begin(c);
	if (!err)
		err = native_put_element(c, t, &ch->value);
	if (!err)
		err = native_send(c, command, f->key, f->element);
	if (!err)
		err = native_finish(c, 2, &ch->sent, &r);
	ch->now = ch->target_now = f->type;
	freeReplyObject(value);
	freeReplyObject(there);
	freeReplyObject(r);
	return err;
}

static int rename_dir(struct native *v, redisContext *c, struct native_change *ch)
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
		err = native_dir_may_be(t, &ch->to);
	native_moves_release(&ch->moves);
	if (!err)
		err = native_moves_init(v, f->sort, t->sort, &ch->moves);
	if (!err)
		err = native_moves_watch(c, &ch->moves);
	if (!err)
		err = native_begin(c);
	if (!err)
		err = native_moves_send(c, &ch->moves, &n);
	if (!err)
		err = native_finish(c, n, &ch->sent, &r);
	freeReplyObject(r);
	return err;
}

static int rename_change(struct native *v, redisContext *c, struct native_change *ch)
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
			return native_unwatch(c);
		err = native_dir_may_be(&ch->target, &ch->to);
		return err ? err : native_unwatch(c);
	case NATIVE_IS_ELEMENT:
		return rename_element(c, ch);
	default:
		return rename_key(v, c, ch);
	}
}

static int renamed(struct native *v, struct native_change *ch)
{
	int err = 0;

	if (ch->found.kind == NATIVE_IS_DIR) {
		err = native_moves_done(v, &ch->moves);
		return err ? err : native_tree_keep_dirs(v, ch->found.sort);
	}
	if (ch->found.kind == NATIVE_IS_PENDING) {
		err = native_set_pending(v, ch->target.sort, ch->found.type);
		if (!err)
			err = native_set_pending(v, ch->found.sort, NATIVE_NONE);
		return err ? err : native_tree_keep_dirs(v, ch->found.sort);
	}
	native_tree_holds(v, ch->found.key, NULL, 0);
	native_tree_holds(v, ch->target.key, NULL, 0);
	native_tree_wrote(v, ch->target.key, ch->target_now);
	native_tree_wrote(v, ch->found.key, ch->now);
	if (ch->now)
		return 0;
	err = native_set_pending(v, ch->found.sort, NATIVE_NONE);
	return err ? err : native_tree_keep_dirs(v, ch->found.sort);
}

int native_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		  struct pfs_view_attr *out)
{
	struct native *v = native_of(view);
	struct native_change ch = {.fn = rename_change, .replace = replace};
	int err = native_place_init(v, from, &ch.place);

	if (!err)
		err = native_place_init(v, to, &ch.to);
	if (!err)
		err = native_change_do(v, &ch);
	if (!err)
		err = renamed(v, &ch);
	if (!err)
		err = native_stat(view, to, out);
	native_change_release(&ch);
	return err;
}
