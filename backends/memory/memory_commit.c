/*
 * The memory engine's batches: one function per mutation, and the journal. A mutation checks what it
 * can before its first change, and notes every change in the journal. When one fails, the journal is
 * undone backwards; when all have passed, it is walked forwards to free what the batch replaced.
 * Undoing allocates nothing, so it cannot fail.
 */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINK_MAX_COUNT 0x7fffffffu

enum mem_undo_kind {
	UNDO_ATTR,	   /* o had these attributes */
	UNDO_PARENT,	   /* directory o had this parent */
	UNDO_OBJECT_NEW,   /* o was made */
	UNDO_REAP,	   /* o lost its last name: goes when all is done, if nobody holds it */
	UNDO_ENTRY_NEW,	   /* e was made */
	UNDO_ENTRY_GONE,   /* e was hidden */
	UNDO_ENTRY_OBJECT, /* e led to o */
	UNDO_CHUNK,	   /* c had this chunk at index */
	UNDO_CONTENT,	   /* o had content c */
	UNDO_CONTENT_NEW,  /* c was made */
	UNDO_STAGED_NEW,   /* c was put among the staged */
	UNDO_STAGED_OUT,   /* c was taken from the staged, and has a new owner */
	UNDO_STAGED_GONE,  /* c was taken from the staged, and goes */
	UNDO_XATTR,	   /* o got `added` and lost `removed`; either may be NULL */
};

struct mem_undo {
	enum mem_undo_kind kind;
	struct mem_object *o;
	union {
		struct {
			struct pfs_attr attr;
			uint64_t touched;
		};
		struct mem_object *parent;
		struct mem_entry *e;
		struct {
			struct mem_content *c;
			uint64_t index;
			struct mem_chunk *chunk;
		};
		struct {
			struct mem_xattr *added, *removed;
		};
	};
};

/* ---- the journal ---------------------------------------------------------------------------- */

/* No step of a mutation notes more than this many changes between two reservations. */
#define RESERVE 8

int mem_journal_reserve(struct mem_journal *j)
{
	size_t cap = j->cap ? 2 * j->cap : 32;
	struct mem_undo *records;

	if (j->n + RESERVE <= j->cap)
		return 0;
	records = realloc(j->records, cap * sizeof(*records));
	if (!records)
		return -ENOMEM;
	j->records = records;
	j->cap = cap;
	return 0;
}

static struct mem_undo *journal_note(struct mem_journal *j, enum mem_undo_kind kind,
				     struct mem_object *o)
{
	struct mem_undo *u = &j->records[j->n++];

	u->kind = kind;
	u->o = o;
	return u;
}

void mem_journal_chunk(struct mem_journal *j, struct mem_content *c, uint64_t index,
		       struct mem_chunk *old)
{
	struct mem_undo *u = journal_note(j, UNDO_CHUNK, NULL);

	u->c = c;
	u->index = index;
	u->chunk = old;
}

static void xattr_unlink(struct mem_object *o, struct mem_xattr *x)
{
	struct mem_xattr **p = &o->xattrs;

	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
}

static void xattr_link(struct mem_object *o, struct mem_xattr *x)
{
	x->next = o->xattrs;
	o->xattrs = x;
}

static void undo_one(struct mem_backend *mb, struct mem_undo *u)
{
	switch (u->kind) {
	case UNDO_ATTR:
		u->o->attr = u->attr;
		u->o->touched = u->touched;
		break;
	case UNDO_PARENT:
		u->o->parent = u->parent;
		break;
	case UNDO_OBJECT_NEW:
		mem_object_free(mb, u->o);
		break;
	case UNDO_ENTRY_NEW:
		mem_entry_hide(mb, u->e);
		mem_entry_drop(mb, u->e);
		break;
	case UNDO_ENTRY_GONE:
		mem_entry_unhide(mb, u->e);
		break;
	case UNDO_ENTRY_OBJECT:
		u->e->object = u->o;
		break;
	case UNDO_CHUNK:
		mem_content_restore(u->c, u->index, u->chunk);
		break;
	case UNDO_CONTENT:
		u->o->content = u->c;
		break;
	case UNDO_CONTENT_NEW:
		mem_content_free(mb, u->c);
		break;
	case UNDO_STAGED_NEW:
		mem_table_remove(&mb->staged, &u->c->link);
		mem_content_free(mb, u->c);
		break;
	case UNDO_STAGED_OUT:
	case UNDO_STAGED_GONE:
		mem_table_add(&mb->staged, &u->c->link, mem_hash_id(u->c->id));
		break;
	case UNDO_XATTR:
		if (u->added)
			xattr_unlink(u->o, u->added);
		free(u->added);
		if (u->removed)
			xattr_link(u->o, u->removed);
		break;
	case UNDO_REAP:
		break;
	}
}

static void journal_undo(struct mem_journal *j)
{
	while (j->n)
		undo_one(j->mb, &j->records[--j->n]);
}

/* Objects go last: entries and contents that go may be theirs. */
static void journal_finish(struct mem_journal *j)
{
	struct mem_backend *mb = j->mb;
	struct mem_undo *u;

	for (u = j->records; u < j->records + j->n; u++) {
		switch (u->kind) {
		case UNDO_ENTRY_GONE:
			mem_entry_drop(mb, u->e);
			break;
		case UNDO_CHUNK:
			free(u->chunk);
			break;
		case UNDO_CONTENT:
		case UNDO_STAGED_GONE:
			mem_content_free(mb, u->c);
			break;
		case UNDO_XATTR:
			free(u->removed);
			break;
		default:
			break;
		}
	}
	for (u = j->records; u < j->records + j->n; u++) {
		if (u->kind == UNDO_REAP)
			mem_object_reap(mb, u->o);
	}
	j->n = 0;
}

/* ---- changes that are noted ----------------------------------------------------------------- */

static void note_attr(struct mem_journal *j, struct mem_object *o)
{
	struct mem_undo *u = journal_note(j, UNDO_ATTR, o);

	u->attr = o->attr;
	u->touched = o->touched;
}

/* The attributes of o are about to change. */
static void change_attr(struct mem_journal *j, struct mem_object *o)
{
	note_attr(j, o);
	o->attr.version++;
	o->attr.ctime = j->now;
}

/* A child of dir came or went: its times move once in a batch. */
static void touch_parent(struct mem_journal *j, struct mem_object *dir)
{
	if (dir->touched == j->batch)
		return;
	note_attr(j, dir);
	dir->attr.version++;
	if (j->now > dir->attr.ctime)
		dir->attr.mtime = dir->attr.ctime = j->now;
	dir->touched = j->batch;
}

static uint32_t without_setid(uint32_t mode)
{
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

/* The attributes of o have been noted. */
static void set_expiry(struct mem_journal *j, struct mem_object *o, int64_t expires)
{
	o->attr.expires = expires;
	mem_expiry_note(j->mb, expires);
}

/* The content of o has changed, as mutation m says. */
static void change_content(struct mem_journal *j, struct mem_object *o,
			   const struct pfs_mutation *m, uint64_t size)
{
	change_attr(j, o);
	o->attr.content_version++;
	o->attr.mtime = m->set.mask & PFS_SET_MTIME ? m->set.mtime : j->now;
	if (m->set.mask & PFS_SET_KILLPRIV)
		o->attr.mode = without_setid(o->attr.mode);
	if (m->set.mask & PFS_SET_EXPIRES)
		set_expiry(j, o, m->set.expires);
	mem_object_resize(o, size);
}

static void drop_link(struct mem_journal *j, struct mem_object *o)
{
	change_attr(j, o);
	o->attr.nlink = S_ISDIR(o->attr.mode) ? 0 : o->attr.nlink - 1;
	if (o->attr.nlink == 0)
		journal_note(j, UNDO_REAP, o);
}

static void set_parent(struct mem_journal *j, struct mem_object *o, struct mem_object *parent)
{
	if (!S_ISDIR(o->attr.mode))
		return;
	journal_note(j, UNDO_PARENT, o)->parent = o->parent;
	o->parent = parent;
}

static int add_entry(struct mem_journal *j, struct mem_object *dir, struct pfs_bytes name,
		     struct mem_object *o)
{
	struct mem_entry *e;
	int err = mem_journal_reserve(j);

	if (!err)
		err = mem_entry_new(j->mb, dir, name, o, &e);
	if (!err)
		journal_note(j, UNDO_ENTRY_NEW, NULL)->e = e;
	return err;
}

static void hide_entry(struct mem_journal *j, struct mem_entry *e)
{
	journal_note(j, UNDO_ENTRY_GONE, NULL)->e = e;
	mem_entry_hide(j->mb, e);
}

static void point_entry(struct mem_journal *j, struct mem_entry *e, struct mem_object *o)
{
	journal_note(j, UNDO_ENTRY_OBJECT, e->object)->e = e;
	e->object = o;
}

/* ---- finding -------------------------------------------------------------------------------- */

/* What lost its last name earlier in the batch is gone already, unless it is held. */
static int find_object(struct mem_journal *j, uint64_t id, struct mem_object **out)
{
	struct mem_object *o = mem_object_find(j->mb, j->ns, id);

	if (!o || (o->attr.nlink == 0 && mem_hold_count(j->mb, id) == 0))
		return -ENOENT;
	*out = o;
	return 0;
}

static int find_file(struct mem_journal *j, uint64_t id, struct mem_object **out)
{
	int err = find_object(j, id, out);

	if (err)
		return err;
	if (S_ISDIR((*out)->attr.mode))
		return -EISDIR;
	return S_ISREG((*out)->attr.mode) ? 0 : -EINVAL;
}

/* A directory that has not been removed. */
static int find_dir(struct mem_journal *j, uint64_t id, struct mem_object **out)
{
	int err = find_object(j, id, out);

	if (err)
		return err;
	if (!S_ISDIR((*out)->attr.mode))
		return -ENOTDIR;
	return (*out)->attr.nlink ? 0 : -ENOENT;
}

static int find_entry(struct mem_journal *j, uint64_t dir, struct pfs_bytes name,
		      struct mem_object **dir_out, struct mem_entry **out)
{
	int err = find_dir(j, dir, dir_out);

	*out = err ? NULL : mem_entry_find(j->mb, *dir_out, name);
	return err;
}

/* ---- contents ------------------------------------------------------------------------------- */

static int write_segs(struct mem_journal *j, struct mem_content *c, const struct pfs_mutation *m,
		      uint64_t *end)
{
	size_t i;
	int err = 0;

	for (i = 0; i < m->nsegs && !err; i++) {
		const struct pfs_seg *seg = &m->segs[i];

		err = mem_content_write(j, c, seg->off, seg->p, seg->len);
		if (seg->len && seg->off + seg->len > *end)
			*end = seg->off + seg->len;
	}
	return err;
}

/* Everything at and past `size` becomes a hole. */
static int cut_content(struct mem_journal *j, struct mem_content *c, uint64_t size)
{
	if (c->n == 0)
		return 0;
	return mem_content_punch(j, c, size, (c->slots[c->n - 1].index + 1) * MEM_CHUNK_SIZE);
}

static void swap_content(struct mem_journal *j, struct mem_object *o, struct mem_content *c)
{
	journal_note(j, UNDO_CONTENT, o)->c = o->content;
	o->content = c;
}

static int op_write(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	uint64_t end;
	int err = find_file(j, m->id, &o);

	if (err)
		return err;
	end = o->attr.size;
	err = write_segs(j, o->content, m, &end);
	if (!err)
		change_content(j, o, m, end);
	return err;
}

static int op_append(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	uint64_t end;
	size_t i;
	int err = find_file(j, m->id, &o);

	if (err)
		return err;
	end = o->attr.size;
	m->offset = end;
	for (i = 0; i < m->nsegs && !err; i++) {
		if (m->segs[i].len > PFS_SIZE_MAX - end)
			return -EFBIG;
		err = mem_content_write(j, o->content, end, m->segs[i].p, m->segs[i].len);
		end += m->segs[i].len;
	}
	if (!err)
		change_content(j, o, m, end);
	return err;
}

static int op_replace(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	struct mem_content *c;
	uint64_t end = 0;
	int err = find_file(j, m->id, &o);

	if (err)
		return err;
	c = mem_content_new(j->ns);
	if (!c)
		return -ENOMEM;
	journal_note(j, UNDO_CONTENT_NEW, NULL)->c = c;
	err = write_segs(j, c, m, &end);
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	swap_content(j, o, c);
	change_content(j, o, m, m->size);
	return 0;
}

static int find_staged(struct mem_journal *j, uint64_t id, struct mem_content **out)
{
	struct mem_link *link = mem_table_first(&j->mb->staged, mem_hash_id(id));

	for (; link; link = mem_table_next(link)) {
		struct mem_content *c = pfs_container_of(link, struct mem_content, link);

		if (c->id == id && c->ns == j->ns) {
			*out = c;
			return 0;
		}
	}
	return -ENOENT;
}

static int op_truncate(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_content *staged;
	struct mem_object *o;
	int err;

	if (m->content) {
		err = find_staged(j, m->content, &staged);
		return err ? err : cut_content(j, staged, m->size);
	}
	err = find_file(j, m->id, &o);
	if (!err && m->size < o->attr.size)
		err = cut_content(j, o->content, m->size);
	if (!err)
		err = mem_journal_reserve(j);
	if (!err)
		change_content(j, o, m, m->size);
	return err;
}

static int op_punch(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_content *staged;
	struct mem_object *o;
	int err;

	if (m->content) {
		err = find_staged(j, m->content, &staged);
		return err ? err : mem_content_punch(j, staged, m->offset, m->offset + m->length);
	}
	err = find_file(j, m->id, &o);
	if (!err)
		err = mem_content_punch(j, o->content, m->offset, m->offset + m->length);
	if (!err)
		err = mem_journal_reserve(j);
	if (!err)
		change_content(j, o, m, o->attr.size);
	return err;
}

static int op_copy(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o, *from;
	uint64_t length = m->length, end;
	int err = find_file(j, m->id, &o);

	if (!err)
		err = find_file(j, m->source, &from);
	if (err)
		return err;
	if (m->offset >= from->attr.size)
		length = 0;
	else if (length > from->attr.size - m->offset)
		length = from->attr.size - m->offset;
	if (length && (m->offset2 > PFS_SIZE_MAX || length > PFS_SIZE_MAX - m->offset2))
		return -EFBIG;
	m->length = length;
	err = mem_content_copy(j, o->content, m->offset2, from->content, m->offset, length);
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	end = m->offset2 + length;
	change_content(j, o, m, length && end > o->attr.size ? end : o->attr.size);
	return 0;
}

static int op_stage(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_content *c;
	uint64_t end = 0;

	if (find_staged(j, m->content, &c)) {
		c = mem_content_new(j->ns);
		if (!c)
			return -ENOMEM;
		c->id = m->content;
		mem_table_add(&j->mb->staged, &c->link, mem_hash_id(c->id));
		journal_note(j, UNDO_STAGED_NEW, NULL)->c = c;
	}
	return write_segs(j, c, m, &end);
}

static int op_publish(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	struct mem_content *c;
	int err = find_file(j, m->id, &o);

	if (!err)
		err = find_staged(j, m->content, &c);
	if (!err)
		err = cut_content(j, c, m->size);
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	mem_table_remove(&j->mb->staged, &c->link);
	journal_note(j, UNDO_STAGED_OUT, NULL)->c = c;
	swap_content(j, o, c);
	change_content(j, o, m, m->size);
	return 0;
}

static int op_discard(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_content *c;
	int err = find_staged(j, m->content, &c);

	if (err)
		return err;
	mem_table_remove(&j->mb->staged, &c->link);
	journal_note(j, UNDO_STAGED_GONE, NULL)->c = c;
	return 0;
}

/* ---- objects and entries -------------------------------------------------------------------- */

static int new_object(struct mem_journal *j, const struct pfs_mutation *m, struct mem_object **out)
{
	bool has_content = S_ISREG(m->set.mode) || S_ISLNK(m->set.mode);
	struct pfs_attr attr = {
		.id = m->id,
		.mode = m->set.mode,
		.uid = m->set.uid,
		.gid = m->set.gid,
		.nlink = S_ISDIR(m->set.mode) ? 2 : 1,
		.rdev = m->set.rdev,
		.size = has_content ? m->size : 0,
		.version = 1,
		.content_version = 1,
		.mtime = m->set.mtime,
		.ctime = j->now,
		.btime = j->now,
		.expires = m->set.expires,
	};
	uint64_t end = 0;
	int err;

	if (attr.expires && !S_ISREG(attr.mode))
		return -EINVAL;
	err = mem_object_new(j->mb, j->ns, &attr, out);
	if (err)
		return err;
	journal_note(j, UNDO_OBJECT_NEW, *out);
	mem_expiry_note(j->mb, attr.expires);
	if (!has_content)
		return 0;
	(*out)->content = mem_content_new(j->ns);
	return (*out)->content ? write_segs(j, (*out)->content, m, &end) : -ENOMEM;
}

static int op_create(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *dir, *o;
	struct mem_entry *e;
	int err = find_entry(j, m->dir, m->name, &dir, &e);

	if (err)
		return err;
	if (e)
		return -EEXIST;
	if (mem_object_find(j->mb, j->ns, m->id))
		return -EINVAL; /* ids are used once */
	err = new_object(j, m, &o);
	if (!err)
		err = add_entry(j, dir, m->name, o);
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	set_parent(j, o, dir);
	touch_parent(j, dir);
	return 0;
}

static int op_setattr(struct mem_journal *j, struct pfs_mutation *m)
{
	const struct pfs_set *set = &m->set;
	struct mem_object *o;
	int err = find_object(j, m->id, &o);

	if (!err && set->mask & PFS_SET_EXPIRES && !S_ISREG(o->attr.mode))
		err = -EINVAL;
	if (err)
		return err;
	change_attr(j, o);
	if (set->mask & PFS_SET_EXPIRES)
		set_expiry(j, o, set->expires);
	if (set->mask & PFS_SET_MODE)
		o->attr.mode = (o->attr.mode & S_IFMT) | (set->mode & 07777);
	if (set->mask & PFS_SET_UID)
		o->attr.uid = set->uid;
	if (set->mask & PFS_SET_GID)
		o->attr.gid = set->gid;
	if (set->mask & PFS_SET_MTIME)
		o->attr.mtime = set->mtime;
	if (set->mask & PFS_SET_KILLPRIV)
		o->attr.mode = without_setid(o->attr.mode);
	return 0;
}

static int op_remove(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *dir, *o;
	struct mem_entry *e;
	int err = find_entry(j, m->dir, m->name, &dir, &e);

	if (err)
		return err;
	if (!e)
		return -ENOENT;
	o = e->object;
	if (m->flags & PFS_F_DIR && !S_ISDIR(o->attr.mode))
		return -ENOTDIR;
	if (!(m->flags & PFS_F_DIR) && S_ISDIR(o->attr.mode))
		return -EISDIR;
	if (o->children.live)
		return -ENOTEMPTY;
	hide_entry(j, e);
	set_parent(j, o, NULL);
	drop_link(j, o);
	touch_parent(j, dir);
	mem_object_attr(o, &m->other);
	return 0;
}

static int op_link(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *dir, *o;
	struct mem_entry *e;
	int err = find_object(j, m->id, &o);

	if (!err && S_ISDIR(o->attr.mode))
		return -EPERM;
	if (!err)
		err = find_entry(j, m->dir, m->name, &dir, &e);
	if (err)
		return err;
	if (e)
		return -EEXIST;
	if (o->attr.nlink == 0)
		return -ENOENT;
	if (o->attr.nlink >= LINK_MAX_COUNT)
		return -EMLINK;
	err = add_entry(j, dir, m->name, o);
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	change_attr(j, o);
	o->attr.nlink++;
	touch_parent(j, dir);
	return 0;
}

/* May entry `from` (in no way `to`) be moved to dir2, where `to` is (NULL: nothing)? */
static int check_rename(const struct pfs_mutation *m, const struct mem_entry *from,
			const struct mem_object *dir, const struct mem_entry *to,
			const struct mem_object *dir2)
{
	bool from_is_dir = S_ISDIR(from->object->attr.mode), to_is_dir;

	if (m->flags & PFS_F_NOREPLACE && to)
		return -EEXIST;
	if (from_is_dir && mem_is_below(dir2, from->object))
		return -EINVAL;
	if (!to)
		return 0;
	to_is_dir = S_ISDIR(to->object->attr.mode);
	if (m->flags & PFS_F_EXCHANGE)
		return to_is_dir && mem_is_below(dir, to->object) ? -EINVAL : 0;
	if (from_is_dir && !to_is_dir)
		return -ENOTDIR;
	if (!from_is_dir && to_is_dir)
		return -EISDIR;
	return to->object->children.live ? -ENOTEMPTY : 0;
}

static void exchange_entries(struct mem_journal *j, struct pfs_mutation *m, struct mem_entry *from,
			     struct mem_entry *to)
{
	struct mem_object *a = from->object, *b = to->object;

	point_entry(j, from, b);
	point_entry(j, to, a);
	set_parent(j, a, to->dir);
	set_parent(j, b, from->dir);
	change_attr(j, a);
	change_attr(j, b);
	mem_object_attr(b, &m->other);
}

static int op_rename(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *dir, *dir2, *o;
	struct mem_entry *from, *to;
	int64_t expires = 0;
	int err = find_entry(j, m->dir, m->name, &dir, &from);

	if (!err)
		err = find_entry(j, m->dir2, m->name2, &dir2, &to);
	if (err)
		return err;
	if (!from || (!to && m->flags & PFS_F_EXCHANGE))
		return -ENOENT;
	m->other = (struct pfs_attr){0};
	o = from->object;
	m->id = o->attr.id;
	if (to && to->object == o && !(m->flags & PFS_F_NOREPLACE))
		return 0;
	err = check_rename(m, from, dir, to, dir2);
	if (err)
		return err;
	if (m->flags & PFS_F_EXCHANGE) {
		exchange_entries(j, m, from, to);
		goto touch;
	}
	if (to) { /* the name stays, and with it its place in a listing */
		struct mem_object *replaced = to->object;

		expires = replaced->attr.expires;
		point_entry(j, to, o);
		set_parent(j, replaced, NULL);
		drop_link(j, replaced);
		mem_object_attr(replaced, &m->other);
	} else {
		err = add_entry(j, dir2, m->name2, o);
	}
	if (!err)
		err = mem_journal_reserve(j);
	if (err)
		return err;
	hide_entry(j, from);
	set_parent(j, o, dir2);
	change_attr(j, o);
	if (expires && !o->attr.expires && S_ISREG(o->attr.mode))
		set_expiry(j, o, expires);
touch:
	err = mem_journal_reserve(j);
	if (err)
		return err;
	touch_parent(j, dir);
	touch_parent(j, dir2);
	return 0;
}

/* ---- extended attributes -------------------------------------------------------------------- */

static void replace_xattr(struct mem_journal *j, struct mem_object *o, struct mem_xattr *added,
			  struct mem_xattr *removed)
{
	struct mem_undo *u = journal_note(j, UNDO_XATTR, o);

	u->added = added;
	u->removed = removed;
	if (removed) {
		xattr_unlink(o, removed);
		mem_give_room(j->mb, removed->name_len + removed->value_len);
	}
	if (added)
		xattr_link(o, added);
	change_attr(j, o);
}

static int op_setxattr(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	struct mem_xattr *old, *x;
	size_t len = m->nsegs ? m->segs[0].len : 0;
	int err = find_object(j, m->id, &o);

	if (err)
		return err;
	old = mem_xattr_find(o, m->name);
	if (old && m->flags & PFS_F_CREATE)
		return -EEXIST;
	if (!old && m->flags & PFS_F_REPLACE)
		return -ENODATA;
	err = mem_take_room(j->mb, m->name.len + len);
	if (err)
		return err;
	x = malloc(sizeof(*x) + m->name.len + len);
	if (!x) {
		mem_give_room(j->mb, m->name.len + len);
		return -ENOMEM;
	}
	x->name_len = m->name.len;
	x->value_len = len;
	memcpy(x->data, m->name.p, m->name.len);
	if (len)
		memcpy(x->data + m->name.len, m->segs[0].p, len);
	replace_xattr(j, o, x, old);
	return 0;
}

static int op_removexattr(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	struct mem_xattr *old;
	int err = find_object(j, m->id, &o);

	if (err)
		return err;
	old = mem_xattr_find(o, m->name);
	if (!old)
		return -ENODATA;
	replace_xattr(j, o, NULL, old);
	return 0;
}

/* ---- the batch ------------------------------------------------------------------------------ */

typedef int (*op_fn)(struct mem_journal *j, struct pfs_mutation *m);

static const op_fn op_fns[] = {
	[PFS_OP_CREATE] = op_create,
	[PFS_OP_WRITE] = op_write,
	[PFS_OP_APPEND] = op_append,
	[PFS_OP_REPLACE] = op_replace,
	[PFS_OP_TRUNCATE] = op_truncate,
	[PFS_OP_PUNCH] = op_punch,
	[PFS_OP_COPY] = op_copy,
	[PFS_OP_SETATTR] = op_setattr,
	[PFS_OP_REMOVE] = op_remove,
	[PFS_OP_RENAME] = op_rename,
	[PFS_OP_LINK] = op_link,
	[PFS_OP_SETXATTR] = op_setxattr,
	[PFS_OP_REMOVEXATTR] = op_removexattr,
	[PFS_OP_STAGE] = op_stage,
	[PFS_OP_PUBLISH] = op_publish,
	[PFS_OP_DISCARD] = op_discard,
};

static int apply(struct mem_journal *j, struct pfs_mutation *m)
{
	struct mem_object *o;
	int err = mem_journal_reserve(j);

	if (err)
		return err;
	if (m->flags & PFS_F_IF_VERSION) {
		err = find_object(j, m->id, &o);
		if (err)
			return err;
		if (o->attr.version != m->expect_version)
			return -EAGAIN;
	}
	err = op_fns[m->op](j, m);
	if (err || m->op == PFS_OP_STAGE || m->op == PFS_OP_DISCARD || m->op == PFS_OP_REMOVE)
		return err;
	if (m->content && (m->op == PFS_OP_TRUNCATE || m->op == PFS_OP_PUNCH))
		return 0;
	err = find_object(j, m->id, &o);
	if (!err)
		mem_object_attr(o, &m->attr);
	return err;
}

int mem_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	struct mem_backend *mb = mem_store_backend(s);
	struct mem_journal j = {.mb = mb, .ns = mem_store(s)->ns, .now = batch->now};
	struct pfs_usage usage;
	uint64_t used;
	size_t i;
	int err = 0;

	mem_expire(mb);
	pthread_rwlock_wrlock(&mb->lock);
	j.batch = mb->next_batch++;
	used = mb->used;
	usage = j.ns->usage;
	for (i = 0; i < batch->nops && !err; i++) {
		err = apply(&j, &batch->ops[i]);
		if (err)
			batch->failed = i;
	}
	if (err) {
		journal_undo(&j);
		mb->used = used;
		j.ns->usage = usage;
	} else {
		journal_finish(&j);
	}
	pthread_rwlock_unlock(&mb->lock);
	free(j.records);
	return err;
}
