/*
 * The own schema: what a backend remembers (ids, holds), and all reading. Writing is kv_write.c,
 * chunks are kv_content.c, sessions and sweeping kv_session.c. kv->lock guards what is remembered
 * and is never held over a statement.
 */
#include "backends/sql/kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pfs_kv_ids_add(struct pfs_kv_ids *ids, uint64_t id)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap ? ids->cap * 2 : 16;
		uint64_t *v = realloc(ids->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		ids->v = v;
		ids->cap = cap;
	}
	ids->v[ids->n++] = id;
	return 0;
}

int pfs_kv_init(struct pfs_kv *kv)
{
	*kv = (struct pfs_kv){.held_cap = 256};
	kv->held = calloc(kv->held_cap, sizeof(*kv->held));
	if (!kv->held)
		return -ENOMEM;
	return -pthread_mutex_init(&kv->lock, NULL);
}

void pfs_kv_release(struct pfs_kv *kv)
{
	if (!kv->held)
		return;
	free(kv->held);
	free(kv->orphans.v);
	free(kv->parked.v);
	free(kv->contents.v);
	free(kv->usage);
	free(kv->dirtimes);
	pthread_mutex_destroy(&kv->lock);
	kv->held = NULL;
}

void pfs_kv_reset(struct pfs_kv *kv)
{
	pthread_mutex_lock(&kv->lock);
	kv->next_id = kv->end_id = 0;
	kv->orphans.n = kv->parked.n = kv->contents.n = 0;
	kv->nusage = 0;
	kv->ndirtimes = 0;
	pthread_mutex_unlock(&kv->lock);
}

/* ---- ids ------------------------------------------------------------------------------------ */

bool pfs_kv_take_ids(struct pfs_kv *kv, uint64_t n, uint64_t *first)
{
	bool ok;

	pthread_mutex_lock(&kv->lock);
	ok = kv->end_id - kv->next_id >= n;
	if (ok) {
		*first = kv->next_id;
		kv->next_id += n;
	}
	pthread_mutex_unlock(&kv->lock);
	return ok;
}

void pfs_kv_return_ids(struct pfs_kv *kv, uint64_t first, uint64_t end)
{
	pthread_mutex_lock(&kv->lock);
	if (kv->next_id == end)
		kv->next_id = first;
	pthread_mutex_unlock(&kv->lock);
}

int pfs_kv_reserve_ids(struct pfs_sql_conn *c, uint64_t n, uint64_t *first, uint64_t *end)
{
	int64_t got = 0;
	int ret;

	if (n < PFS_KV_ID_BLOCK)
		n = PFS_KV_ID_BLOCK;
	ret = pfs_sql_integer(c, KV_IDS_RESERVE, &got, "i", (int64_t)n);
	if (ret < 0)
		return ret;
	if (ret == 0 || got < PFS_ID_FIRST) {
		pfs_error_text_set("the store's counter of ids is damaged");
		return -EIO;
	}
	if ((uint64_t)got + n > PFS_KV_ID_MAX) {
		pfs_error_text_set("the store has used up its ids");
		return -ENOSPC;
	}
	*first = (uint64_t)got;
	*end = *first + n;
	return 0;
}

int pfs_kv_end_ids(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	uint64_t next, end;
	int64_t ret;

	pthread_mutex_lock(&kv->lock);
	next = kv->next_id;
	end = kv->end_id;
	kv->next_id = kv->end_id = 0;
	pthread_mutex_unlock(&kv->lock);
	ret = next < end ? pfs_sql_write(c, KV_IDS_RETURN, "ii", (int64_t)next, (int64_t)end) : 0;
	return ret < 0 ? (int)ret : 0;
}

void pfs_kv_add_ids(struct pfs_kv *kv, uint64_t first, uint64_t end)
{
	pthread_mutex_lock(&kv->lock);
	if (kv->end_id != first)
		kv->next_id = first;
	kv->end_id = end;
	pthread_mutex_unlock(&kv->lock);
}

/* ---- holds: a table with open addressing, keys are ids -------------------------------------- */

static size_t held_slot(const struct pfs_kv *kv, uint64_t id)
{
	size_t i = (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (kv->held_cap - 1);

	while (kv->held[i].id != 0 && kv->held[i].id != id)
		i = (i + 1) & (kv->held_cap - 1);
	return i;
}

static void held_grow(struct pfs_kv *kv)
{
	struct pfs_kv_held *old = kv->held;
	size_t cap = kv->held_cap, i;
	struct pfs_kv_held *bigger = calloc(cap * 2, sizeof(*bigger));

	if (!bigger)
		return; /* a fuller table still works */
	kv->held = bigger;
	kv->held_cap = cap * 2;
	for (i = 0; i < cap; i++)
		if (old[i].id != 0)
			kv->held[held_slot(kv, old[i].id)] = old[i];
	free(old);
}

void pfs_kv_hold(struct pfs_kv *kv, uint64_t id)
{
	size_t i;

	pthread_mutex_lock(&kv->lock);
	if (kv->nheld >= kv->held_cap / 2)
		held_grow(kv);
	i = held_slot(kv, id);
	if (kv->held[i].id == 0) {
		kv->held[i].id = id;
		kv->nheld++;
	}
	kv->held[i].count++;
	pthread_mutex_unlock(&kv->lock);
}

/* Empty slot i and close the gap behind it. */
static void held_remove(struct pfs_kv *kv, size_t i)
{
	size_t mask = kv->held_cap - 1, j = i;

	kv->held[i] = (struct pfs_kv_held){0};
	kv->nheld--;
	for (j = (j + 1) & mask; kv->held[j].id != 0; j = (j + 1) & mask) {
		struct pfs_kv_held moved = kv->held[j];

		kv->held[j] = (struct pfs_kv_held){0};
		kv->held[held_slot(kv, moved.id)] = moved;
	}
}

/* An object that is not held any more: is it to be swept? */
static bool held_unpark(struct pfs_kv *kv, uint64_t id)
{
	struct pfs_kv_orphan *v = kv->parked.v;
	size_t i;

	for (i = 0; i < kv->parked.n; i++)
		if (v[i].id == id)
			break;
	if (i == kv->parked.n)
		return false; /* it has a name, or the sweep will come to it */
	if (kv->orphans.n == kv->orphans.cap) {
		size_t cap = kv->orphans.cap * 2 + 64;
		void *p = realloc(kv->orphans.v, cap * sizeof(*kv->orphans.v));

		if (!p)
			return false; /* it stays parked; the next start finds it */
		kv->orphans.v = p;
		kv->orphans.cap = cap;
	}
	kv->orphans.v[kv->orphans.n++] = v[i];
	v[i] = v[--kv->parked.n];
	return true;
}

bool pfs_kv_unhold(struct pfs_kv *kv, uint64_t id)
{
	bool sweep = false;
	size_t i;

	pthread_mutex_lock(&kv->lock);
	i = held_slot(kv, id);
	if (kv->held[i].id == id && --kv->held[i].count == 0) {
		held_remove(kv, i);
		if (kv->parked.n > 0)
			sweep = held_unpark(kv, id);
	}
	pthread_mutex_unlock(&kv->lock);
	return sweep;
}

bool pfs_kv_held_locked(const struct pfs_kv *kv, uint64_t id)
{
	return kv->held[held_slot(kv, id)].id == id;
}

bool pfs_kv_is_held(struct pfs_kv *kv, uint64_t id)
{
	bool held;

	pthread_mutex_lock(&kv->lock);
	held = pfs_kv_held_locked(kv, id);
	pthread_mutex_unlock(&kv->lock);
	return held;
}

/* ---- reading -------------------------------------------------------------------------------- */

void pfs_kv_row_object(struct pfs_sql_conn *c, struct pfs_sql_query *q, int first,
		       struct pfs_kv_object *out)
{
	int64_t (*get)(struct pfs_sql_query *, int) = c->driver->integer;

	out->a = (struct pfs_attr){0}; /* no expiry, nothing derived */
	out->a.id = (uint64_t)get(q, first);
	out->a.mode = (uint32_t)get(q, first + 1);
	out->a.uid = (uint32_t)get(q, first + 2);
	out->a.gid = (uint32_t)get(q, first + 3);
	out->a.nlink = (uint32_t)get(q, first + 4);
	out->a.rdev = (uint64_t)get(q, first + 5);
	out->a.size = (uint64_t)get(q, first + 6);
	out->a.stored = (uint64_t)get(q, first + 7);
	out->a.version = (uint64_t)get(q, first + 8);
	out->a.content_version = (uint64_t)get(q, first + 9);
	out->a.mtime = get(q, first + 10);
	out->a.ctime = get(q, first + 11);
	out->a.btime = get(q, first + 12);
	out->content = (uint64_t)get(q, first + 13);
	out->ns = (uint64_t)get(q, first + 14);
}

/* 0, or -ENOENT: of another namespace, or without a name and not held. */
static int kv_visible(struct pfs_kv *kv, uint64_t ns, const struct pfs_kv_object *o)
{
	if (o->ns != ns || (o->a.nlink == 0 && !pfs_kv_is_held(kv, o->a.id)))
		return -ENOENT;
	return 0;
}

int pfs_kv_getattr(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		   struct pfs_kv_object *out)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_GETATTR, &q, "i", (int64_t)id);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		pfs_kv_row_object(c, q, 0, out);
		pfs_kv_dirtimes_lay(kv, &out->a);
	}
	pfs_sql_end(c, q);
	return ret == 1 ? kv_visible(kv, ns, out) : ret < 0 ? ret : -ENOENT;
}

/* Is `dir` a directory? */
static int kv_check_dir(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir)
{
	struct pfs_kv_object o;
	int err;

	err = pfs_kv_getattr(kv, c, ns, dir, &o);
	if (!err && !S_ISDIR(o.a.mode))
		err = -ENOTDIR;
	return err;
}

int pfs_kv_entry(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		 struct pfs_bytes name, struct pfs_kv_object *out)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_LOOKUP, &q, "it", (int64_t)dir, name.p, name.len);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		pfs_kv_row_object(c, q, 0, out);
		out->seq = (uint64_t)c->driver->integer(q, 15);
	}
	pfs_sql_end(c, q);
	if (ret != 1)
		return ret;
	pfs_kv_dirtimes_lay(kv, &out->a);
	return out->ns == ns ? 1 : 0;
}

int pfs_kv_entry_in(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		    struct pfs_bytes name, struct pfs_kv_object *out, uint32_t *nlink)
{
	int64_t (*get)(struct pfs_sql_query *, int) = c->driver->integer;
	struct pfs_kv_object in = {.a = {.id = dir}};
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_LOOKUP_IN, &q, "it", (int64_t)dir, name.p, name.len);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		pfs_kv_row_object(c, q, 0, out);
		out->seq = (uint64_t)get(q, 15);
		in.a.mode = (uint32_t)get(q, 16);
		in.ns = (uint64_t)get(q, 17);
		in.a.nlink = (uint32_t)get(q, 18);
		pfs_kv_dirtimes_lay(kv, &out->a);
	}
	pfs_sql_end(c, q);
	if (ret <= 0)
		return ret < 0 ? ret : -ENOENT;
	ret = kv_visible(kv, ns, &in);
	if (!ret && !S_ISDIR(in.a.mode))
		ret = -ENOTDIR;
	*nlink = in.a.nlink;
	if (ret)
		return ret;
	return out->a.id != 0 && out->ns == ns;
}

int pfs_kv_lookup(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		  struct pfs_bytes name, struct pfs_kv_object *out)
{
	uint32_t nlink;
	int ret = pfs_kv_entry_in(kv, c, ns, dir, name, out, &nlink);

	if (ret < 0)
		return ret;
	return ret == 1 ? 0 : -ENOENT;
}

int pfs_kv_list(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		uint64_t cursor, size_t limit, struct pfs_list **out)
{
	struct pfs_list *list = pfs_list_new(limit < 64 ? limit : 64);
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_object o = {0};
	size_t n = 0;
	int ret;

	if (!list)
		return -ENOMEM;
	ret = pfs_sql_begin(c, KV_LIST, &q, "iii", (int64_t)dir, (int64_t)cursor, (int64_t)limit);
	if (ret)
		goto out;
	while ((ret = pfs_sql_step(c, q)) == 1) {
		pfs_kv_row_object(c, q, 0, &o);
		ret = o.ns != ns ? -ENOENT : 0;
		if (ret)
			goto out;
		pfs_kv_dirtimes_lay(kv, &o.a);
		ret = pfs_list_add(list, (uint64_t)c->driver->integer(q, 15),
				   c->driver->bytes(q, 16), &o.a);
		if (ret)
			goto out;
		n++;
	}
	pfs_sql_end(c, q);
	q = NULL;
	if (!ret && n == 0)
		ret = kv_check_dir(kv, c, ns, dir);
	if (ret)
		goto out;
	pfs_list_finish(list, n < limit);
	*out = list;
	list = NULL;
out:
	pfs_sql_end(c, q);
	pfs_list_free(list);
	return ret;
}

int pfs_kv_parent(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t dir,
		  uint64_t *out)
{
	int64_t parent = 0;
	int ret;

	ret = pfs_sql_integer(c, KV_PARENT, &parent, "i", (int64_t)dir);
	if (ret >= 0)
		ret = kv_check_dir(kv, c, ns, dir);
	if (!ret && parent == 0)
		ret = -ENOENT;
	if (!ret)
		*out = (uint64_t)parent;
	return ret;
}

/*
 * Read an object and leave the statement open, so that what is read next is of the same state.
 * *q must be ended, also after a failure.
 */
static int kv_open_object(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
			  struct pfs_sql_query **q, struct pfs_kv_object *out)
{
	int ret;

	ret = pfs_sql_begin(c, KV_GETATTR, q, "i", (int64_t)id);
	if (!ret)
		ret = pfs_sql_step(c, *q);
	if (ret != 1)
		return ret < 0 ? ret : -ENOENT;
	pfs_kv_row_object(c, *q, 0, out);
	ret = kv_visible(kv, ns, out);
	return !ret && S_ISDIR(out->a.mode) ? -EISDIR : ret;
}

/* It has no end. */
ssize_t pfs_kv_read_staged(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t content,
			   uint64_t off, void *buf, size_t len)
{
	struct pfs_sql_query *q = NULL;
	bool any;
	int ret;

	ret = pfs_sql_begin(c, KV_STAGED_GET, &q, "ii", (int64_t)content, (int64_t)kv->session);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1)
		ret = pfs_kv_content_read(c, content, off, buf, len, &any);
	else if (ret == 0)
		ret = -ENOENT;
	pfs_sql_end(c, q);
	return ret < 0 ? ret : (ssize_t)len;
}

ssize_t pfs_kv_read(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		    uint64_t off, void *buf, size_t len)
{
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_object o;
	bool any;
	int err;

	err = kv_open_object(kv, c, ns, id, &q, &o);
	if (err == -ENOENT) {
		pfs_sql_end(c, q);
		return pfs_kv_read_staged(kv, c, id, off, buf, len);
	}
	if (!err && off >= o.a.size)
		len = 0;
	else if (!err && len > o.a.size - off)
		len = (size_t)(o.a.size - off);
	if (!err && len > 0)
		err = pfs_kv_content_read(c, o.content, off, buf, len, &any);
	pfs_sql_end(c, q);
	return err ? err : (ssize_t)len;
}

ssize_t pfs_kv_read_rows(struct pfs_kv *kv, struct pfs_sql_conn *c, struct pfs_sql_query *q,
			 uint64_t ns, const struct pfs_kv_object *o, int column, uint64_t off,
			 void *buf, size_t len)
{
	struct pfs_kv_gather g;
	int64_t key;
	int ret;

	ret = kv_visible(kv, ns, o);
	if (!ret && S_ISDIR(o->a.mode))
		ret = -EISDIR;
	if (ret)
		return ret;
	if (off >= o->a.size)
		return 0;
	if (len > o->a.size - off)
		len = (size_t)(o->a.size - off);
	pfs_kv_gather_begin(&g, off, buf, len);
	do {
		key = c->driver->integer(q, column);
		if (key != 0)
			pfs_kv_gather_add(&g, key, c->driver->bytes(q, column + 1));
		ret = pfs_sql_step(c, q);
	} while (ret == 1);
	pfs_kv_gather_end(&g);
	return ret < 0 ? ret : (ssize_t)len;
}

int pfs_kv_seek(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id, uint64_t off,
		bool hole, uint64_t *out)
{
	struct pfs_sql_query *q = NULL;
	uint64_t start = 0, end = 0;
	struct pfs_kv_object o;
	int err;

	err = kv_open_object(kv, c, ns, id, &q, &o);
	if (!err && off >= o.a.size)
		err = -ENXIO;
	if (err)
		goto out;
	err = pfs_kv_content_next(c, o.content, o.a.size, off, hole, &start, &end);
	if (!hole) {
		*out = err ? *out : start;
	} else if (!err || err == -ENXIO) {
		*out = err || start > off ? off : end < o.a.size ? end : o.a.size;
		err = 0;
	}
out:
	pfs_sql_end(c, q);
	return err;
}

ssize_t pfs_kv_xattr_get(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
			 struct pfs_bytes name, void *buf, size_t len)
{
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_object o;
	struct pfs_bytes v;
	ssize_t ret;

	ret = pfs_kv_getattr(kv, c, ns, id, &o);
	if (!ret)
		ret = pfs_sql_begin(c, KV_XATTR_GET, &q, "it", (int64_t)id, name.p, name.len);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		v = c->driver->bytes(q, 0);
		ret = (ssize_t)v.len;
		if (len > 0 && v.len > len)
			ret = -ERANGE;
		else if (len > 0 && v.len > 0)
			memcpy(buf, v.p, v.len);
	} else if (ret == 0) {
		ret = -ENODATA;
	}
	pfs_sql_end(c, q);
	return ret;
}

int pfs_kv_xattr_list(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		      struct pfs_buf *out)
{
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_object o;
	struct pfs_bytes name;
	int ret;

	ret = pfs_kv_getattr(kv, c, ns, id, &o);
	if (!ret)
		ret = pfs_sql_begin(c, KV_XATTR_LIST, &q, "i", (int64_t)id);
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		ret = 0;
		name = c->driver->bytes(q, 0);
		pfs_buf_add(out, name.p, name.len);
		pfs_buf_add(out, "", 1);
	}
	pfs_sql_end(c, q);
	if (!ret && out->failed)
		ret = -ENOMEM;
	return ret;
}

int pfs_kv_usage_get(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, struct pfs_usage *out)
{
	struct pfs_sql_query *q = NULL;
	int64_t objects = 0, bytes = 0;
	size_t i;
	int ret;

	ret = pfs_sql_begin(c, KV_USAGE_GET, &q, "i", (int64_t)ns);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		objects = c->driver->integer(q, 0);
		bytes = c->driver->integer(q, 1);
	}
	pfs_sql_end(c, q);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < kv->nusage; i++)
		if (kv->usage[i].ns == ns) {
			objects += kv->usage[i].objects;
			bytes += kv->usage[i].bytes;
		}
	pthread_mutex_unlock(&kv->lock);
	out->objects = objects > 0 ? (uint64_t)objects : 0;
	out->bytes = bytes > 0 ? (uint64_t)bytes : 0;
	return 0;
}

int pfs_kv_ns_list(struct pfs_sql_conn *c, struct pfs_namespace_list *out)
{
	struct pfs_namespace_list list = {0};
	struct pfs_sql_query *q = NULL;
	size_t cap = 0;
	int ret;

	ret = pfs_sql_begin(c, KV_NS_LIST, &q, "");
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		struct pfs_bytes name = c->driver->bytes(q, 1);

		ret = -ENOMEM;
		if (list.n == cap) {
			void *p = realloc(list.items, (cap = cap * 2 + 8) * sizeof(*list.items));

			if (!p)
				break;
			list.items = p;
		}
		list.items[list.n].id = (uint64_t)c->driver->integer(q, 0);
		list.items[list.n].name = strndup(name.p, name.len);
		if (!list.items[list.n].name)
			break;
		list.n++;
		ret = 0;
	}
	pfs_sql_end(c, q);
	if (ret)
		pfs_namespace_list_release(&list);
	else
		*out = list;
	return ret;
}

int pfs_kv_ns_get(struct pfs_sql_conn *c, const char *name, uint64_t *ns, uint64_t *root)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_NS_GET, &q, "t", name, strlen(name));
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		*ns = (uint64_t)c->driver->integer(q, 0);
		*root = (uint64_t)c->driver->integer(q, 1);
	}
	pfs_sql_end(c, q);
	if (ret == 0)
		return -ENOENT;
	return ret < 0 ? ret : 0;
}

int pfs_kv_ns_root(struct pfs_sql_conn *c, uint64_t ns, uint64_t *root)
{
	int64_t id = 0;
	int ret;

	ret = pfs_sql_integer(c, KV_NS_BY_ID, &id, "i", (int64_t)ns);
	if (ret == 0)
		return -ENOENT;
	if (ret == 1)
		*root = (uint64_t)id;
	return ret < 0 ? ret : 0;
}
