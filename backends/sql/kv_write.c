/*
 * Mutations of the own schema: each is checked completely before its first write, so that a batch
 * of one mutation that fails has written nothing. Parents' times are gathered and written once per
 * transaction; usage and objects without a name are gathered and handed to the backend after COMMIT.
 *
 * Names: kv_entries.c has what changes entries (create, remove, rename, link); this file has the
 * transaction, what changes one object, and the dispatch.
 */
#include "backends/sql/kv_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the transaction ------------------------------------------------------------------------ */

uint64_t pfs_kv_batch_ids(const struct pfs_batch *batch)
{
	return batch->nops;
}

size_t pfs_kv_batch_cost(const struct pfs_batch *batch)
{
	size_t cost = 0, i, k;

	for (i = 0; i < batch->nops; i++) {
		cost += 4096;
		if (batch->ops[i].op == PFS_OP_COPY)
			cost += (size_t)(batch->ops[i].length < PFS_KV_COPY_MAX
						 ? batch->ops[i].length
						 : PFS_KV_COPY_MAX);
		for (k = 0; k < batch->ops[i].nsegs; k++)
			cost += batch->ops[i].segs[k].len;
	}
	return cost;
}

uint64_t kv_txn_id(struct pfs_kv_txn *t)
{
	return t->next_id < t->end_id ? t->next_id++ : 0;
}

int kv_touch(struct pfs_kv_txn *t, uint64_t dir, int64_t now)
{
	size_t i;

	for (i = t->ntouched; i > 0 && t->touched[i - 1].batch == t->batch; i--)
		if (t->touched[i - 1].dir == dir && t->touched[i - 1].flushed == 0)
			return 0;
	if (t->ntouched == t->touched_cap) {
		size_t cap = t->touched_cap ? t->touched_cap * 2 : 16;
		void *p = realloc(t->touched, cap * sizeof(*t->touched));

		if (!p)
			return -ENOMEM;
		t->touched = p;
		t->touched_cap = cap;
	}
	t->touched[t->ntouched++] =
		(struct pfs_kv_touch){.dir = dir, .now = now, .batch = t->batch};
	return 0;
}

int kv_touch_flush(struct pfs_kv_txn *t, uint64_t dir)
{
	int64_t ret = 0;
	size_t i, k;

	for (i = 0; i < t->ntouched && ret >= 0; i++) {
		struct pfs_kv_touch *touch = &t->touched[i];
		int64_t now = touch->now;

		if (touch->flushed != 0 || (dir != 0 && touch->dir != dir))
			continue;
		for (k = i; k < t->ntouched; k++) {
			if (t->touched[k].dir != touch->dir || t->touched[k].flushed != 0)
				continue;
			if (t->touched[k].now > now)
				now = t->touched[k].now;
			t->touched[k].flushed = t->batch;
		}
		ret = pfs_sql_write(t->c, KV_DIR_TOUCH, "iii", (int64_t)touch->dir, now,
				    INT64_C(1));
	}
	return ret < 0 ? (int)ret : 0;
}

int kv_usage(struct pfs_kv_txn *t, uint64_t ns, int64_t objects, int64_t bytes)
{
	size_t i;

	for (i = 0; i < t->nusage; i++)
		if (t->usage[i].ns == ns)
			break;
	if (i == t->nusage) {
		if (t->nusage == t->usage_cap) {
			void *p = realloc(t->usage, (t->usage_cap + 8) * sizeof(*t->usage));

			if (!p)
				return -ENOMEM;
			t->usage = p;
			t->usage_cap += 8;
		}
		t->usage[t->nusage++] = (struct pfs_kv_usage){.ns = ns};
	}
	t->usage[i].objects += objects;
	t->usage[i].bytes += bytes;
	return 0;
}

void pfs_kv_mark(struct pfs_kv_txn *t, uint64_t ns, struct pfs_kv_mark *mark)
{
	size_t i;

	t->batch++;
	t->ns = ns;
	*mark = (struct pfs_kv_mark){.ntouched = t->ntouched,
				     .norphans = t->orphans.n,
				     .ncontents = t->contents.n,
				     .ndirs = t->dirs.n};
	for (i = 0; i < t->nusage; i++)
		if (t->usage[i].ns == ns) {
			mark->usage = t->usage[i];
			mark->had_usage = true;
		}
}

void pfs_kv_undo(struct pfs_kv_txn *t, uint64_t ns, const struct pfs_kv_mark *mark)
{
	size_t i;

	t->ntouched = mark->ntouched;
	for (i = 0; i < t->ntouched; i++)
		if (t->touched[i].flushed == t->batch)
			t->touched[i].flushed = 0; /* that was undone with the batch */
	t->orphans.n = mark->norphans;
	t->contents.n = mark->ncontents;
	t->dirs.n = mark->ndirs;
	for (i = 0; i < t->nusage; i++)
		if (t->usage[i].ns == ns)
			t->usage[i] =
				mark->had_usage ? mark->usage : (struct pfs_kv_usage){.ns = ns};
}

int pfs_kv_change_add(struct pfs_kv *kv, struct pfs_sql_conn *c, enum pfs_kv_change type,
		      uint64_t dir, uint64_t id, struct pfs_bytes name)
{
	if (type == KV_CHANGE_NONE && kv->eager)
		return 0;
	return pfs_sql_write(c, KV_CHANGE_ADD, "iiiit", (int64_t)kv->session, (int64_t)type,
			     (int64_t)dir, (int64_t)id, name.p ? name.p : "", name.len);
}

int kv_change(struct pfs_kv_txn *t, enum pfs_kv_change type, uint64_t dir, uint64_t id,
	      struct pfs_bytes name)
{
	if (!t->kv->shared)
		return 0;
	t->changed++;
	return pfs_kv_change_add(t->kv, t->c, type, dir, id, name);
}

int pfs_kv_txn_finish(struct pfs_kv_txn *t)
{
	int64_t ret;
	size_t i;

	/* Alone, the times of directories wait until they can be written together. */
	if (!t->kv->shared && !t->kv->eager && pfs_kv_dirtimes_reserve(t->kv, t->ntouched))
		return 0;
	ret = kv_touch_flush(t, 0);
	if (!t->kv->shared || ret < 0)
		return (int)ret;
	if (t->changed == 0)
		ret = kv_change(t, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	for (i = 0; i < t->nusage && ret >= 0; i++) {
		struct pfs_kv_usage *u = &t->usage[i];

		if (u->objects != 0 || u->bytes != 0)
			ret = pfs_sql_write(t->c, KV_USAGE_ADD, "iiii", (int64_t)u->ns,
					    (int64_t)t->kv->session, u->objects, u->bytes);
	}
	t->nusage = 0;
	for (i = 0; i < t->orphans.n && ret >= 0; i++)
		ret = pfs_sql_write(t->c, KV_ORPHAN_ADD, "ii", (int64_t)t->orphans.v[i],
				    (int64_t)t->kv->session);
	if (ret >= 0 && t->orphans.n > 0)
		ret = pfs_sql_later(t->c, KV_CHANGES_LAST, &t->last_change, "");
	return ret < 0 ? (int)ret : 0;
}

/* Add to what the backend counts in memory; what finds no room is found by the next recovery. */
static void kv_usage_merge(struct pfs_kv *kv, const struct pfs_kv_usage *u)
{
	size_t i;
	void *p;

	for (i = 0; i < kv->nusage; i++)
		if (kv->usage[i].ns == u->ns)
			break;
	if (i == kv->nusage) {
		p = realloc(kv->usage, (kv->nusage + 1) * sizeof(*kv->usage));
		if (!p)
			return;
		kv->usage = p;
		kv->usage[kv->nusage++] = (struct pfs_kv_usage){.ns = u->ns};
	}
	kv->usage[i].objects += u->objects;
	kv->usage[i].bytes += u->bytes;
}

void pfs_kv_txn_committed(struct pfs_kv_txn *t)
{
	struct pfs_kv *kv = t->kv;
	size_t i;

	for (i = 0; i < t->dirs.n; i++)
		pfs_kv_dirtimes_drop(kv, t->dirs.v[i]);
	for (i = 0; i < t->ntouched; i++)
		if (t->touched[i].flushed == 0)
			pfs_kv_dirtimes_add(kv, t->touched[i].dir, t->touched[i].now);
	if (t->nusage == 0 && t->orphans.n == 0 && t->contents.n == 0)
		return;
	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < t->nusage; i++)
		kv_usage_merge(kv, &t->usage[i]);
	pthread_mutex_unlock(&kv->lock);
	for (i = 0; i < t->orphans.n; i++)
		pfs_kv_orphan(kv, &kv->orphans, t->orphans.v[i], (uint64_t)t->last_change);
	for (i = 0; i < t->contents.n; i++)
		pfs_kv_orphan(kv, &kv->contents, t->contents.v[i], 0);
}

void pfs_kv_txn_release(struct pfs_kv_txn *t)
{
	free(t->touched);
	free(t->usage);
	free(t->orphans.v);
	free(t->contents.v);
	free(t->dirs.v);
}

/* ---- one object ----------------------------------------------------------------------------- */

/* Read the object of a mutation, with its precondition. */
static int kv_object(struct pfs_kv_txn *t, const struct pfs_mutation *m, struct pfs_kv_object *o)
{
	int err = 0;

	if (t->ntouched > 0)
		err = kv_touch_flush(t, m->id);
	if (!err)
		err = pfs_kv_getattr(t->kv, t->c, t->ns, m->id, o);
	if (!err && (m->flags & PFS_F_IF_VERSION) && o->a.version != m->expect_version)
		err = -EAGAIN;
	return err;
}

int kv_object_put(struct pfs_kv_txn *t, const struct pfs_kv_object *o)
{
	const struct pfs_attr *a = &o->a;
	int64_t ret;

	ret = pfs_sql_write(t->c, KV_OBJECT_PUT, "iiiiiiiiiiii", (int64_t)a->id, (int64_t)a->mode,
			    (int64_t)a->uid, (int64_t)a->gid, (int64_t)a->nlink, (int64_t)a->size,
			    (int64_t)a->stored, (int64_t)a->version, (int64_t)a->content_version,
			    (int64_t)o->content, a->mtime, a->ctime);
	if (ret >= 0 && S_ISDIR(a->mode))
		ret = pfs_kv_ids_add(&t->dirs, a->id);
	return ret < 0 ? (int)ret : 0;
}

/* An object whose content is to change. */
static int kv_file(struct pfs_kv_txn *t, const struct pfs_mutation *m, struct pfs_kv_object *o)
{
	int err = kv_object(t, m, o);

	if (!err && S_ISDIR(o->a.mode))
		err = -EISDIR;
	else if (!err && !S_ISREG(o->a.mode))
		err = -EINVAL;
	return err;
}

/* Write back an object whose content changed; old_size: what usage counts so far. */
static int kv_file_put(struct pfs_kv_txn *t, struct pfs_mutation *m, struct pfs_kv_object *o,
		       uint64_t old_size, int64_t now)
{
	int err = 0;

	o->a.version++;
	o->a.content_version++;
	o->a.mtime = m->set.mask & PFS_SET_MTIME ? m->set.mtime : now;
	o->a.ctime = now;
	if (m->set.mask & PFS_SET_KILLPRIV) {
		o->a.mode &= ~(uint32_t)S_ISUID;
		if (o->a.mode & S_IXGRP)
			o->a.mode &= ~(uint32_t)S_ISGID;
	}
	if (o->a.size != old_size && o->a.nlink > 0)
		err = kv_usage(t, o->ns, 0, (int64_t)(o->a.size - old_size));
	if (!err)
		err = kv_object_put(t, o);
	if (!err)
		err = kv_change(t, KV_CHANGE_CONTENT, 0, o->a.id, PFS_BYTES(""));
	m->attr = o->a;
	return err;
}

/* The end of the last seg, or -EFBIG. */
static int kv_segs_end(const struct pfs_mutation *m, uint64_t *end)
{
	size_t i;

	*end = 0;
	for (i = 0; i < m->nsegs; i++) {
		uint64_t off = m->segs[i].off;

		if (m->segs[i].len == 0)
			continue;
		if (off >= PFS_KV_SIZE_MAX || m->segs[i].len > PFS_KV_SIZE_MAX - off)
			return -EFBIG;
		if (off + m->segs[i].len > *end)
			*end = off + m->segs[i].len;
	}
	return 0;
}

/*
 * A content is given up: a small one goes at once, a large one is left to the sweep, by a row that
 * belongs to no session.
 */
static int kv_content_give_up(struct pfs_kv_txn *t, uint64_t content, uint64_t size,
			      uint64_t stored)
{
	int64_t ret;

	if (stored <= KV_DROP_NOW)
		return pfs_kv_content_truncate(t->c, content, size, 0, &stored);
	ret = pfs_sql_write(t->c, KV_STAGED_ADD, "iiii", (int64_t)content, INT64_C(0),
			    (int64_t)size, (int64_t)stored);
	if (ret >= 0)
		ret = pfs_kv_ids_add(&t->contents, content);
	return ret < 0 ? (int)ret : 0;
}

/* The content of `o` becomes `fresh` (0: a new id), which is empty. */
static int kv_content_renew(struct pfs_kv_txn *t, struct pfs_kv_object *o, uint64_t fresh)
{
	int err;

	if (fresh == 0)
		fresh = kv_txn_id(t);
	if (fresh == 0)
		return -EIO;
	err = kv_content_give_up(t, o->content, o->a.size, o->a.stored);
	o->content = fresh;
	o->a.stored = 0;
	o->a.size = 0;
	return err;
}

static int op_write(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	uint64_t end = 0, old_size;
	int err;

	err = kv_file(t, m, &o);
	if (!err)
		err = kv_segs_end(m, &end);
	if (err)
		return err;
	old_size = o.a.size;
	err = pfs_kv_content_write(t->c, o.content, o.a.size, m->segs, m->nsegs, &o.a.stored);
	if (end > o.a.size)
		o.a.size = end;
	return err ? err : kv_file_put(t, m, &o, old_size, now);
}

static int op_append(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	uint64_t old_size;
	size_t i;
	int err;

	err = kv_file(t, m, &o);
	if (err)
		return err;
	m->offset = old_size = o.a.size;
	for (i = 0; i < m->nsegs && !err; i++) {
		struct pfs_seg seg = {.off = o.a.size, .p = m->segs[i].p, .len = m->segs[i].len};

		if (seg.len > PFS_KV_SIZE_MAX - seg.off)
			return -EFBIG;
		err = pfs_kv_content_write(t->c, o.content, o.a.size, &seg, 1, &o.a.stored);
		o.a.size += seg.len;
	}
	return err ? err : kv_file_put(t, m, &o, old_size, now);
}

static int op_replace(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	uint64_t end = 0, old_size;
	int err;

	err = kv_file(t, m, &o);
	if (!err)
		err = kv_segs_end(m, &end);
	if (!err && m->size > PFS_KV_SIZE_MAX)
		err = -EFBIG;
	if (!err && end > m->size)
		err = -EINVAL;
	if (err)
		return err;
	old_size = o.a.size;
	if (o.a.stored > KV_DROP_NOW)
		err = kv_content_renew(t, &o, 0);
	if (!err)
		err = pfs_kv_content_replace(t->c, o.content, o.a.size, m->segs, m->nsegs,
					     &o.a.stored);
	o.a.size = m->size;
	return err ? err : kv_file_put(t, m, &o, old_size, now);
}

static int op_truncate(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	uint64_t old_size;
	int err;

	err = kv_file(t, m, &o);
	if (!err && m->size > PFS_KV_SIZE_MAX)
		err = -EFBIG;
	if (err)
		return err;
	old_size = o.a.size;
	if (m->size == 0 && o.a.stored > KV_DROP_NOW)
		err = kv_content_renew(t, &o, 0);
	else
		err = pfs_kv_content_truncate(t->c, o.content, old_size, m->size, &o.a.stored);
	o.a.size = m->size;
	return err ? err : kv_file_put(t, m, &o, old_size, now);
}

static int op_punch(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	uint64_t end;
	int err;

	err = kv_file(t, m, &o);
	if (err)
		return err;
	end = m->length > UINT64_MAX - m->offset ? UINT64_MAX : m->offset + m->length;
	if (m->offset >= o.a.size)
		err = 0;
	else if (end >= o.a.size)
		err = pfs_kv_content_truncate(t->c, o.content, o.a.size, m->offset, &o.a.stored);
	else
		err = pfs_kv_content_punch(t->c, o.content, m->offset, end, &o.a.stored);
	return err ? err : kv_file_put(t, m, &o, o.a.size, now);
}

/* Nothing is stored in the source's range: nor is it in [off, off+len) of the target. */
static int copy_hole(struct pfs_kv_txn *t, struct pfs_kv_object *to, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	int err = 0;

	if (off < to->a.size)
		err = pfs_kv_content_punch(t->c, to->content, off,
					   end < to->a.size ? end : to->a.size, &to->a.stored);
	if (end > to->a.size)
		to->a.size = end;
	return err;
}

/* Copy `len` bytes that are stored, cut at the chunks of the target. */
static int copy_data(struct pfs_kv_txn *t, uint64_t from, uint64_t off, struct pfs_kv_object *to,
		     uint64_t off2, uint64_t len)
{
	char buf[PFS_KV_CHUNK];
	struct pfs_seg seg = {.p = buf};
	bool any;
	int err = 0;

	while (len > 0 && !err) {
		size_t n = (size_t)(PFS_KV_CHUNK - off2 % PFS_KV_CHUNK);

		if (n > len)
			n = (size_t)len;
		seg.off = off2;
		seg.len = n;
		err = pfs_kv_content_read(t->c, from, off, buf, n, &any);
		if (!err)
			err = pfs_kv_content_write(t->c, to->content, to->a.size, &seg, 1,
						   &to->a.stored);
		if (off2 + n > to->a.size)
			to->a.size = off2 + n;
		off += n;
		off2 += n;
		len -= n;
	}
	return err;
}

/* Copy [off, off+*len) of `from`, holes as holes; *len: how much it was. */
static int copy_range(struct pfs_kv_txn *t, const struct pfs_kv_object *from, uint64_t off,
		      struct pfs_kv_object *to, uint64_t off2, uint64_t *len)
{
	uint64_t end = off + *len, pos = off, data = 0;
	int err = 0;

	while (pos < end && data < PFS_KV_COPY_MAX && !err) {
		uint64_t start = end, stop = end;

		err = pfs_kv_content_next(t->c, from->content, from->a.size, pos, false, &start,
					  &stop);
		if (err == -ENXIO)
			err = 0;
		if (err)
			break;
		if (start > end)
			start = end;
		if (stop > end)
			stop = end;
		if (start > pos)
			err = copy_hole(t, to, off2 + (pos - off), start - pos);
		if (!err && stop > start)
			err = copy_data(t, from->content, start, to, off2 + (start - off),
					stop - start);
		data += stop - start;
		pos = stop;
	}
	*len = pos - off;
	return err;
}

static int op_copy(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object from, to;
	uint64_t old_size, len = m->length;
	int err;

	err = kv_file(t, m, &to);
	if (!err)
		err = pfs_kv_getattr(t->kv, t->c, t->ns, m->source, &from);
	if (!err && !S_ISREG(from.a.mode))
		err = S_ISDIR(from.a.mode) ? -EISDIR : -EINVAL;
	if (err)
		return err;
	if (m->offset >= from.a.size)
		len = 0;
	else if (len > from.a.size - m->offset)
		len = from.a.size - m->offset;
	if (m->offset2 > PFS_KV_SIZE_MAX || len > PFS_KV_SIZE_MAX - m->offset2)
		return -EFBIG;
	if (m->source == m->id && len > 0 && m->offset < m->offset2 + len &&
	    m->offset2 < m->offset + len)
		return -EINVAL;
	old_size = to.a.size;
	err = copy_range(t, &from, m->offset, &to, m->offset2, &len);
	m->length = len;
	return err ? err : kv_file_put(t, m, &to, old_size, now);
}

static int op_setattr(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	int err;

	err = kv_object(t, m, &o);
	if (err)
		return err;
	if (m->set.mask & PFS_SET_MODE)
		o.a.mode = (o.a.mode & S_IFMT) | (m->set.mode & 07777);
	if (m->set.mask & PFS_SET_UID)
		o.a.uid = m->set.uid;
	if (m->set.mask & PFS_SET_GID)
		o.a.gid = m->set.gid;
	if (m->set.mask & PFS_SET_MTIME)
		o.a.mtime = m->set.mtime;
	o.a.version++;
	o.a.ctime = now;
	err = kv_object_put(t, &o);
	if (!err)
		err = kv_change(t, KV_CHANGE_ATTR, 0, o.a.id, PFS_BYTES(""));
	m->attr = o.a;
	return err;
}

static int op_xattr(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	const struct pfs_bytes name = m->name;
	struct pfs_kv_object o;
	int64_t ret, have = 0;
	int err;

	if (name.len == 0 || name.len > PFS_XATTR_NAME_MAX)
		return -ERANGE;
	err = kv_object(t, m, &o);
	if (err)
		return err;
	if (m->op == PFS_OP_REMOVEXATTR) {
		ret = pfs_sql_run(t->c, KV_XATTR_DEL, "it", (int64_t)m->id, name.p, name.len);
		have = ret == 1 ? 0 : -ENODATA;
	} else {
		const void *p = m->nsegs > 0 ? m->segs[0].p : "";
		size_t len = m->nsegs > 0 ? m->segs[0].len : 0;

		if (len > PFS_XATTR_SIZE_MAX)
			return -E2BIG;
		if (m->flags & PFS_F_REPLACE) {
			ret = pfs_kv_xattr_get(t->kv, t->c, t->ns, m->id, name, NULL, 0);
			if (ret < 0)
				return (int)ret;
		}
		ret = pfs_sql_run(t->c, m->flags & PFS_F_CREATE ? KV_XATTR_ADD : KV_XATTR_PUT,
				  "itb", (int64_t)m->id, name.p, name.len, p, len);
		have = ret == 1 ? 0 : -EEXIST;
	}
	if (ret < 0 || have < 0)
		return ret < 0 ? (int)ret : (int)have;
	o.a.version++;
	o.a.ctime = now;
	err = kv_object_put(t, &o);
	if (!err)
		err = kv_change(t, KV_CHANGE_ATTR, 0, o.a.id, PFS_BYTES(""));
	m->attr = o.a;
	return err;
}

/* ---- staged contents ------------------------------------------------------------------------ */

/* 1: this session has staged `content`; 0: not; or -errno. */
static int staged_get(struct pfs_kv_txn *t, uint64_t content, uint64_t *size, uint64_t *stored)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	*size = *stored = 0;
	ret = pfs_sql_begin(t->c, KV_STAGED_GET, &q, "ii", (int64_t)content,
			    (int64_t)t->kv->session);
	if (!ret)
		ret = pfs_sql_step(t->c, q);
	if (ret == 1) {
		*size = (uint64_t)t->c->driver->integer(q, 0);
		*stored = (uint64_t)t->c->driver->integer(q, 1);
	}
	pfs_sql_end(t->c, q);
	return ret;
}

static int op_stage(struct pfs_kv_txn *t, struct pfs_mutation *m)
{
	uint64_t size, stored, end = 0;
	int64_t ret;
	int err;

	err = kv_segs_end(m, &end);
	if (err)
		return err;
	ret = staged_get(t, m->content, &size, &stored);
	if (ret < 0)
		return (int)ret;
	err = pfs_kv_content_write(t->c, m->content, size, m->segs, m->nsegs, &stored);
	if (err)
		return err;
	ret = pfs_sql_write(t->c, KV_STAGED_ADD, "iiii", (int64_t)m->content,
			    (int64_t)t->kv->session, (int64_t)(end > size ? end : size),
			    (int64_t)stored);
	return ret < 0 ? (int)ret : 0;
}

static int op_publish(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	uint64_t size, stored, old_size;
	struct pfs_kv_object o;
	int64_t ret;
	int err;

	err = kv_file(t, m, &o);
	if (!err && m->size > PFS_KV_SIZE_MAX)
		err = -EFBIG;
	if (err)
		return err;
	ret = staged_get(t, m->content, &size, &stored);
	if (ret <= 0)
		return ret < 0 ? (int)ret : -ENOENT;
	old_size = o.a.size;
	err = kv_content_renew(t, &o, m->content);
	if (!err)
		err = pfs_kv_content_truncate(t->c, m->content, size, m->size, &stored);
	if (err)
		return err;
	ret = pfs_sql_write(t->c, KV_STAGED_DEL, "i", (int64_t)m->content);
	if (ret < 0)
		return (int)ret;
	o.a.size = m->size;
	o.a.stored = stored;
	return kv_file_put(t, m, &o, old_size, now);
}

/* TRUNCATE and PUNCH of a staged content. */
static int op_staged_cut(struct pfs_kv_txn *t, struct pfs_mutation *m)
{
	uint64_t size, stored, off = m->op == PFS_OP_PUNCH ? m->offset : m->size;
	uint64_t end = UINT64_MAX;
	int64_t ret;

	if (m->op == PFS_OP_PUNCH && m->length < UINT64_MAX - m->offset)
		end = m->offset + m->length;
	ret = staged_get(t, m->content, &size, &stored);
	if (ret <= 0)
		return ret < 0 ? (int)ret : -ENOENT;
	if (off >= size)
		return 0;
	if (end >= size)
		ret = pfs_kv_content_truncate(t->c, m->content, size, off, &stored);
	else
		ret = pfs_kv_content_punch(t->c, m->content, off, end, &stored);
	if (ret < 0)
		return (int)ret;
	if (end >= size)
		size = off;
	ret = pfs_sql_write(t->c, KV_STAGED_ADD, "iiii", (int64_t)m->content,
			    (int64_t)t->kv->session, (int64_t)size, (int64_t)stored);
	return ret < 0 ? (int)ret : 0;
}

static int op_discard(struct pfs_kv_txn *t, struct pfs_mutation *m)
{
	uint64_t size, stored;
	int64_t ret = staged_get(t, m->content, &size, &stored);

	if (ret <= 0)
		return ret < 0 ? (int)ret : -ENOENT;
	ret = pfs_sql_write(t->c, KV_STAGED_DEL, "i", (int64_t)m->content);
	return ret < 0 ? (int)ret : kv_content_give_up(t, m->content, size, stored);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static int kv_apply_op(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	switch (m->op) {
	case PFS_OP_CREATE:
		return kv_op_create(t, m, now);
	case PFS_OP_WRITE:
		return op_write(t, m, now);
	case PFS_OP_APPEND:
		return op_append(t, m, now);
	case PFS_OP_REPLACE:
		return op_replace(t, m, now);
	case PFS_OP_TRUNCATE:
		return m->content ? op_staged_cut(t, m) : op_truncate(t, m, now);
	case PFS_OP_PUNCH:
		return m->content ? op_staged_cut(t, m) : op_punch(t, m, now);
	case PFS_OP_COPY:
		return op_copy(t, m, now);
	case PFS_OP_SETATTR:
		return op_setattr(t, m, now);
	case PFS_OP_REMOVE:
		return kv_op_remove(t, m, now);
	case PFS_OP_RENAME:
		return m->flags & PFS_F_EXCHANGE ? kv_op_exchange(t, m, now)
						 : kv_op_rename(t, m, now);
	case PFS_OP_LINK:
		return kv_op_link(t, m, now);
	case PFS_OP_SETXATTR:
	case PFS_OP_REMOVEXATTR:
		return op_xattr(t, m, now);
	case PFS_OP_STAGE:
		return op_stage(t, m);
	case PFS_OP_PUBLISH:
		return op_publish(t, m, now);
	case PFS_OP_DISCARD:
		return op_discard(t, m);
	}
	return -EOPNOTSUPP;
}

/* Errors that a check gives before anything was written. */
static bool kv_expected(int err)
{
	switch (-err) {
	case EEXIST:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case EINVAL:
	case ENAMETOOLONG:
	case EFBIG:
	case EPERM:
	case EMLINK:
	case ENODATA:
	case EAGAIN:
	case ERANGE:
	case E2BIG:
	case EOPNOTSUPP:
	case EXDEV:
		return true;
	default:
		return false;
	}
}

int pfs_kv_apply(struct pfs_kv_txn *t, struct pfs_batch *batch, bool *unexpected)
{
	size_t i;
	int err = 0;

	*unexpected = false;
	for (i = 0; i < batch->nops && !err; i++) {
		err = kv_apply_op(t, &batch->ops[i], batch->now);
		if (err)
			batch->failed = i;
	}
	if (err && !kv_expected(err))
		*unexpected = true;
	return err;
}
