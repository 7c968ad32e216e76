/*
 * Renaming a directory of keys: all keys below it, and the one that has its name, in one transaction. What
 * somebody else puts there at the same time stays behind under the old name.
 */
#include "backends/redis/native.h"

/* The tree's lock is held. */
static int add(struct native *v, struct native_moves *m, struct pfs_bytes from, struct pfs_bytes to,
	       struct pfs_bytes rest, enum native_type type, bool pending)
{
	struct native_move *more, *it;
	int err;

	if (m->n == v->host->rename_limit) {
		pfs_error_text_set("there are more than %llu keys below it (rename_limit)",
				   (unsigned long long)v->host->rename_limit);
		return -EFBIG;
	}
	if (m->n == m->cap) {
		more = realloc(m->items, (m->cap ? 2 * m->cap : 64) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		m->items = more;
		m->cap = m->cap ? 2 * m->cap : 64;
	}
	it = &m->items[m->n++];
	*it = (struct native_move){.type = type, .pending = pending};
	pfs_buf_add(&it->from, from.p, from.len);
	pfs_buf_add(&it->from, rest.p, rest.len);
	pfs_buf_str(&it->from, "");
	pfs_buf_add(&it->to, to.p, to.len);
	pfs_buf_add(&it->to, rest.p, rest.len);
	pfs_buf_str(&it->to, "");
	if (it->from.failed || it->to.failed)
		return -ENOMEM;
	err = native_key_of_sort(v, native_bytes(&it->from), &it->from_key);
	if (!err)
		err = native_key_of_sort(v, native_bytes(&it->to), &it->to_key);
	if (!err && !native_shown(v, native_bytes(&it->to_key))) {
		pfs_error_text_set("keys of this name are persistfs's own");
		err = -EPERM;
	}
	return err;
}

/* What is in the index at or below `from`. The lock is held. */
static int gather(struct native *v, const struct native_index *ix, struct pfs_bytes from,
		  struct pfs_bytes to, bool pending, struct native_moves *m)
{
	enum native_type type = native_index_find(ix, from);
	struct pfs_buf next = {0};
	struct pfs_bytes found, rest;
	int err = 0;

	if (type)
		err = add(v, m, from, to, PFS_BYTES(""), type, pending);
	pfs_buf_add(&next, from.p, from.len);
	pfs_buf_add(&next, "\0", 1);
	while (!err && !next.failed) {
		type = native_index_seek(ix, native_bytes(&next), &found);
		if (!type || found.len <= from.len || found.p[from.len] != '\0' ||
		    memcmp(found.p, from.p, from.len) != 0)
			break;
		rest = (struct pfs_bytes){found.p + from.len, found.len - from.len};
		err = add(v, m, from, to, rest, type, pending);
		next.len = 0;
		pfs_buf_add(&next, found.p, found.len);
		pfs_buf_add(&next, "\0", 1);
	}
	if (next.failed)
		err = -ENOMEM;
	pfs_buf_release(&next);
	return err;
}

int native_moves_init(struct native *v, struct pfs_bytes from, struct pfs_bytes to,
		      struct native_moves *out)
{
	int err;

	*out = (struct native_moves){0};
	pthread_mutex_lock(&v->tree.lock);
	err = native_tree_wait(v);
	if (!err)
		err = gather(v, &v->tree.keys, from, to, false, out);
	if (!err)
		err = gather(v, &v->tree.pending, from, to, true, out);
	pthread_mutex_unlock(&v->tree.lock);
	return err;
}

void native_moves_release(struct native_moves *m)
{
	size_t i;

	for (i = 0; i < m->n; i++) {
		pfs_buf_release(&m->items[i].from);
		pfs_buf_release(&m->items[i].to);
		pfs_buf_release(&m->items[i].from_key);
		pfs_buf_release(&m->items[i].to_key);
	}
	free(m->items);
	*m = (struct native_moves){0};
}

static int ask_exists(redisContext *c, const struct native_moves *m)
{
	size_t i;
	int err = 0;

	for (i = 0; i < m->n && !err; i++) {
		const struct native_move *it = &m->items[i];

		err = native_send(c, PFS_BYTES("WATCH"), native_bytes(&it->from_key),
				  native_bytes(&it->to_key));
		if (!err)
			err = native_send(c, PFS_BYTES("EXISTS"), native_bytes(&it->from_key));
		if (!err)
			err = native_send(c, PFS_BYTES("EXISTS"), native_bytes(&it->to_key));
	}
	return err;
}

static int take_number(redisContext *c, long long *out)
{
	redisReply *r = NULL;
	int err = native_reply(c, &r);

	*out = err ? 0 : r->integer;
	freeReplyObject(r);
	return err;
}

int native_moves_watch(redisContext *c, struct native_moves *m)
{
	long long watched, from, to;
	bool taken = false;
	size_t i;
	int err = ask_exists(c, m);

	for (i = 0; i < m->n && !err; i++) {
		err = take_number(c, &watched);
		if (!err)
			err = take_number(c, &from);
		if (!err)
			err = take_number(c, &to);
		if (!err && !from && !m->items[i].pending) /* it has gone just now */
			m->items[i].type = NATIVE_NONE;
		taken |= !err && to;
	}
	return err ? err : taken ? -ENOTEMPTY : 0;
}

int native_moves_send(redisContext *c, const struct native_moves *m, size_t *n)
{
	size_t i;
	int err = 0;

	*n = 0;
	for (i = 0; i < m->n && !err; i++) {
		const struct native_move *it = &m->items[i];

		if (it->pending || !it->type)
			continue;
		err = native_send(c, PFS_BYTES("RENAME"), native_bytes(&it->from_key),
				  native_bytes(&it->to_key));
		++*n;
	}
	return err;
}

int native_moves_done(struct native *v, const struct native_moves *m)
{
	unsigned char old;
	size_t i;
	int err = 0;

	for (i = 0; i < m->n; i++) {
		const struct native_move *it = &m->items[i];

		if (it->pending) {
			pthread_mutex_lock(&v->tree.lock);
			native_index_remove(&v->tree.pending, native_bytes(&it->from));
			if (!err)
				err = native_index_put(&v->tree.pending, native_bytes(&it->to),
						       (unsigned char)it->type, &old);
			pthread_mutex_unlock(&v->tree.lock);
			continue;
		}
		native_tree_holds(v, native_bytes(&it->from_key), NULL, 0);
		native_tree_holds(v, native_bytes(&it->to_key), NULL, 0);
		if (it->type)
			native_tree_wrote(v, native_bytes(&it->to_key), it->type);
		native_tree_wrote(v, native_bytes(&it->from_key), NATIVE_NONE);
	}
	return err;
}
