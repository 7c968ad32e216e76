/*
 * What changes entries: create, remove, rename, exchange, link. Directories carry their path;
 * moving one rewrites the paths of the directories below it and touches no file.
 *
 * An entry that a rename replaces keeps its sequence, as does one that is renamed within its
 * directory, so that a listing that is under way tells every entry once.
 */
#include <errno.h>
#include <string.h>

#include "backends/sql/kv_write.h"

static int check_name(struct pfs_bytes name)
{
	if (name.len > PFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (name.len == 0 || memchr(name.p, '/', name.len) || memchr(name.p, '\0', name.len))
		return -EINVAL;
	if (pfs_bytes_eq(name, PFS_BYTES(".")) || pfs_bytes_eq(name, PFS_BYTES("..")))
		return -EINVAL;
	return 0;
}

/* Is `dir` a directory that takes entries? The one that was asked last is remembered. */
static int check_dir(struct pfs_kv_txn *t, uint64_t dir)
{
	struct pfs_kv_object o;
	int err;

	if (t->kv->known_dir == dir && t->kv->known_ns == t->ns)
		return 0;
	err = pfs_kv_getattr(t->kv, t->c, t->ns, dir, &o);
	if (!err && !S_ISDIR(o.a.mode))
		err = -ENOTDIR;
	if (!err && o.a.nlink == 0)
		err = -ENOENT;
	if (err)
		return err;
	t->kv->known_dir = dir;
	t->kv->known_ns = t->ns;
	return 0;
}

static int get_entry(struct pfs_kv_txn *t, uint64_t dir, struct pfs_bytes name,
		     struct pfs_kv_object *o)
{
	int ret;

	ret = pfs_kv_entry(t->kv, t->c, t->ns, dir, name, o);
	if (ret == 1 && t->ntouched > 0 && S_ISDIR(o->a.mode)) {
		ret = kv_touch_flush(t, o->a.id);
		if (!ret)
			ret = pfs_kv_entry(t->kv, t->c, t->ns, dir, name, o);
	}
	if (ret != 0)
		return ret < 0 ? ret : 0;
	ret = check_dir(t, dir);
	return ret ? ret : -ENOENT;
}

static int get_path(struct pfs_kv_txn *t, uint64_t dir, struct pfs_buf *out)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(t->c, KV_DIR_PATH, &q, "i", (int64_t)dir);
	if (!ret)
		ret = pfs_sql_step(t->c, q);
	if (ret == 1) {
		struct pfs_bytes path = t->c->driver->bytes(q, 0);

		pfs_buf_add(out, path.p, path.len);
		ret = out->failed ? -ENOMEM : 0;
	} else if (ret == 0) {
		pfs_error_text_set("directory %llu has no row in persistfs_dirs",
				   (unsigned long long)dir);
		ret = -EIO;
	}
	pfs_sql_end(t->c, q);
	return ret;
}

/* The path of an entry in `dir`. */
static int entry_path(struct pfs_kv_txn *t, uint64_t dir, struct pfs_bytes name,
		      struct pfs_buf *out)
{
	int err;

	err = get_path(t, dir, out);
	if (!err && out->len > 0)
		pfs_buf_add(out, "/", 1);
	pfs_buf_add(out, name.p, name.len);
	if (!err && out->failed)
		err = -ENOMEM;
	return err;
}

/* 1, 0: the name is taken, or -errno. */
static int64_t entry_put(struct pfs_kv_txn *t, uint64_t dir, struct pfs_bytes name, uint64_t id,
			 uint64_t seq)
{
	struct pfs_kv_object o;
	int ret;

	if (!pfs_sql_queues(t->c))
		return pfs_sql_run(t->c, KV_ENTRY_PUT, "itii", (int64_t)dir, name.p, name.len,
				   (int64_t)id, (int64_t)seq);
	ret = pfs_kv_entry(t->kv, t->c, t->ns, dir, name, &o);
	if (ret != 0)
		return ret < 0 ? ret : 0;
	ret = pfs_sql_write(t->c, KV_ENTRY_PUT, "itii", (int64_t)dir, name.p, name.len, (int64_t)id,
			    (int64_t)seq);
	return ret ? ret : 1;
}

/* ---- create and link ------------------------------------------------------------------------ */

static int create_dir_row(struct pfs_kv_txn *t, const struct pfs_mutation *m)
{
	struct pfs_buf path = {0};
	int64_t ret;

	ret = entry_path(t, m->dir, m->name, &path);
	if (!ret)
		ret = pfs_sql_write(t->c, KV_DIR_ADD, "iiit", (int64_t)m->id, (int64_t)t->ns,
				    (int64_t)m->dir, path.data, path.len);
	pfs_buf_release(&path);
	return ret < 0 ? (int)ret : 0;
}

static int create_check(const struct pfs_mutation *m)
{
	size_t i;
	int err;

	err = check_name(m->name);
	if (!err && m->size > PFS_KV_SIZE_MAX)
		err = -EFBIG;
	for (i = 0; i < m->nsegs && !err; i++)
		if (m->segs[i].len > m->size || m->segs[i].off > m->size - m->segs[i].len)
			err = -EINVAL;
	return err;
}

/* Is the directory one, and the name free? Where asking costs a round trip, in one question. */
static int64_t create_entry(struct pfs_kv_txn *t, const struct pfs_mutation *m)
{
	struct pfs_kv_object there;
	uint32_t nlink = 0;
	int64_t ret;

	if (!pfs_sql_queues(t->c)) {
		ret = check_dir(t, m->dir);
		return ret ? ret : entry_put(t, m->dir, m->name, m->id, m->id);
	}
	ret = pfs_kv_entry_in(t->kv, t->c, t->ns, m->dir, m->name, &there, &nlink);
	if (ret >= 0 && nlink == 0)
		ret = -ENOENT;
	if (ret != 0)
		return ret < 0 ? ret : 0;
	ret = pfs_sql_write(t->c, KV_ENTRY_PUT, "itii", (int64_t)m->dir, m->name.p, m->name.len,
			    (int64_t)m->id, (int64_t)m->id);
	return ret ? ret : 1;
}

int kv_op_create(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_attr a = {.id = m->id,
			     .mode = m->set.mode,
			     .uid = m->set.uid,
			     .gid = m->set.gid,
			     .rdev = m->set.rdev,
			     .mtime = m->set.mtime,
			     .ctime = now,
			     .btime = now,
			     .version = 1,
			     .content_version = 1};
	bool is_dir = S_ISDIR(a.mode);
	int64_t ret;

	ret = create_check(m);
	if (ret)
		return (int)ret;
	a.nlink = is_dir ? 2 : 1;
	a.size = is_dir ? 0 : m->size;
	ret = create_entry(t, m);
	if (ret <= 0)
		return ret < 0 ? (int)ret : -EEXIST;
	if (a.size > 0)
		ret = pfs_kv_content_replace(t->c, m->id, 0, m->segs, m->nsegs, &a.stored);
	if (ret >= 0)
		ret = pfs_sql_write(t->c, KV_OBJECT_ADD, "iiiiiiiiiii", (int64_t)a.id,
				    (int64_t)t->ns, (int64_t)a.mode, (int64_t)a.uid, (int64_t)a.gid,
				    (int64_t)a.nlink, (int64_t)a.rdev, (int64_t)a.size,
				    (int64_t)a.stored, a.mtime, now);
	if (ret >= 0 && is_dir)
		ret = create_dir_row(t, m);
	if (ret >= 0)
		ret = kv_touch(t, m->dir, now);
	if (ret >= 0)
		ret = kv_usage(t, t->ns, 1, (int64_t)a.size);
	if (ret >= 0)
		ret = kv_change(t, KV_CHANGE_ENTRY, m->dir, a.id, m->name);
	m->attr = a;
	return ret < 0 ? (int)ret : 0;
}

int kv_op_link(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	int64_t ret;

	ret = check_name(m->name);
	if (!ret)
		ret = pfs_kv_getattr(t->kv, t->c, t->ns, m->id, &o);
	if (!ret)
		ret = check_dir(t, m->dir);
	if (ret)
		return (int)ret;
	if (S_ISDIR(o.a.mode))
		return -EPERM;
	if (o.a.nlink == 0)
		return -ENOENT;
	if (o.a.nlink == UINT32_MAX)
		return -EMLINK;
	if ((m->flags & PFS_F_IF_VERSION) && o.a.version != m->expect_version)
		return -EAGAIN;
	ret = entry_put(t, m->dir, m->name, m->id, kv_txn_id(t));
	if (ret <= 0)
		return ret < 0 ? (int)ret : -EEXIST;
	o.a.nlink++;
	o.a.version++;
	o.a.ctime = now;
	ret = kv_object_put(t, &o);
	if (!ret)
		ret = kv_touch(t, m->dir, now);
	if (!ret)
		ret = kv_change(t, KV_CHANGE_ENTRY, m->dir, m->id, m->name);
	if (!ret)
		ret = kv_change(t, KV_CHANGE_ATTR, 0, m->id, PFS_BYTES(""));
	m->attr = o.a;
	return (int)ret;
}

/* ---- remove --------------------------------------------------------------------------------- */

static int check_empty(struct pfs_kv_txn *t, uint64_t dir)
{
	int64_t one = 0;
	int ret = pfs_sql_integer(t->c, KV_ENTRY_ANY, &one, "i", (int64_t)dir);

	return ret == 1 ? -ENOTEMPTY : ret;
}

/* An object lost a name. */
static int object_unlinked(struct pfs_kv_txn *t, struct pfs_kv_object *o, int64_t now)
{
	int64_t ret = 0;

	o->a.nlink = S_ISDIR(o->a.mode) ? 0 : o->a.nlink - 1;
	o->a.version++;
	o->a.ctime = now;
	if (S_ISDIR(o->a.mode))
		t->kv->known_dir = 0;
	if (S_ISDIR(o->a.mode))
		ret = pfs_sql_write(t->c, KV_DIR_DEL, "i", (int64_t)o->a.id);
	if (ret >= 0)
		ret = kv_object_put(t, o);
	if (ret >= 0 && o->a.nlink == 0) {
		ret = kv_usage(t, o->ns, -1, -(int64_t)o->a.size);
		if (!ret)
			ret = pfs_kv_ids_add(&t->orphans, o->a.id);
	}
	if (ret >= 0)
		ret = kv_change(t, o->a.nlink ? KV_CHANGE_ATTR : KV_CHANGE_GONE, 0, o->a.id,
				PFS_BYTES(""));
	return ret < 0 ? (int)ret : 0;
}

int kv_op_remove(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_kv_object o;
	int64_t ret;

	ret = get_entry(t, m->dir, m->name, &o);
	if (ret)
		return (int)ret;
	if ((m->flags & PFS_F_DIR) && !S_ISDIR(o.a.mode))
		return -ENOTDIR;
	if (!(m->flags & PFS_F_DIR) && S_ISDIR(o.a.mode))
		return -EISDIR;
	if ((m->flags & PFS_F_IF_VERSION) && o.a.version != m->expect_version)
		return -EAGAIN;
	if (S_ISDIR(o.a.mode))
		ret = check_empty(t, o.a.id);
	if (ret)
		return (int)ret;
	ret = pfs_sql_write(t->c, KV_ENTRY_DEL, "it", (int64_t)m->dir, m->name.p, m->name.len);
	if (ret >= 0)
		ret = object_unlinked(t, &o, now);
	if (!ret)
		ret = kv_touch(t, m->dir, now);
	if (!ret)
		ret = kv_change(t, KV_CHANGE_ENTRY, m->dir, o.a.id, m->name);
	m->attr = o.a;
	m->other = o.a;
	return (int)ret;
}

/* ---- rename --------------------------------------------------------------------------------- */

/* Every path from `from` down begins with `to` instead. */
static int move_paths(struct pfs_kv_txn *t, uint64_t ns, struct pfs_bytes from, struct pfs_bytes to)
{
	struct pfs_buf low = {0}, high = {0};
	int64_t ret = -ENOMEM;

	pfs_buf_add(&low, from.p, from.len);
	pfs_buf_add(&low, "/", 1);
	pfs_buf_add(&high, from.p, from.len);
	pfs_buf_add(&high, "0", 1); /* the character after '/' */
	if (!low.failed && !high.failed)
		ret = pfs_sql_write(t->c, KV_DIRS_MOVE, "itttt", (int64_t)ns, from.p, from.len,
				    low.data, low.len, high.data, high.len, to.p, to.len);
	pfs_buf_release(&low);
	pfs_buf_release(&high);
	return ret < 0 ? (int)ret : 0;
}

static struct pfs_bytes buf_bytes(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->len ? b->data : "", b->len};
}

/* Would directory `path`, moved to `dest`, be inside itself? */
static bool path_inside(const struct pfs_buf *path, const struct pfs_buf *dest)
{
	return dest->len >= path->len && memcmp(dest->data, path->data, path->len) == 0 &&
	       (dest->len == path->len || dest->data[path->len] == '/');
}

/* Where a directory moves from and to; -EINVAL: into itself or below. */
static int dir_paths(struct pfs_kv_txn *t, const struct pfs_kv_object *o, uint64_t dir2,
		     struct pfs_bytes name2, struct pfs_buf *from, struct pfs_buf *to)
{
	struct pfs_buf parent = {0};
	int err;

	err = get_path(t, o->a.id, from);
	if (!err)
		err = get_path(t, dir2, &parent);
	if (!err && parent.len > 0 && path_inside(from, &parent))
		err = -EINVAL;
	pfs_buf_release(&parent);
	return err ? err : entry_path(t, dir2, name2, to);
}

static int dir_set_parent(struct pfs_kv_txn *t, uint64_t id, uint64_t dir)
{
	int64_t ret = pfs_sql_write(t->c, KV_DIR_MOVE, "ii", (int64_t)id, (int64_t)dir);

	return ret < 0 ? (int)ret : 0;
}

/* What rename(2) says about replacing `target` by `source`. */
static int rename_check(struct pfs_kv_txn *t, const struct pfs_kv_object *source,
			const struct pfs_kv_object *target, unsigned flags)
{
	if (flags & PFS_F_NOREPLACE)
		return -EEXIST;
	if (S_ISDIR(source->a.mode) && !S_ISDIR(target->a.mode))
		return -ENOTDIR;
	if (!S_ISDIR(source->a.mode) && S_ISDIR(target->a.mode))
		return -EISDIR;
	return S_ISDIR(target->a.mode) ? check_empty(t, target->a.id) : 0;
}

/* The entries' part of a rename. */
static int rename_entries(struct pfs_kv_txn *t, const struct pfs_mutation *m,
			  const struct pfs_kv_object *source, bool replaces)
{
	uint64_t seq = m->dir == m->dir2 ? source->seq : kv_txn_id(t);
	int64_t ret;

	if (!replaces) {
		ret = pfs_sql_write(t->c, KV_ENTRY_MOVE, "ititi", (int64_t)m->dir, m->name.p,
				    m->name.len, (int64_t)m->dir2, m->name2.p, m->name2.len,
				    (int64_t)seq);
	} else {
		ret = pfs_sql_write(t->c, KV_ENTRY_DEL, "it", (int64_t)m->dir, m->name.p,
				    m->name.len);
		if (ret >= 0)
			ret = pfs_sql_write(t->c, KV_ENTRY_SET, "iti", (int64_t)m->dir2, m->name2.p,
					    m->name2.len, (int64_t)source->a.id);
	}
	return ret < 0 ? (int)ret : 0;
}

/* An object has another name now. */
static int object_renamed(struct pfs_kv_txn *t, struct pfs_kv_object *o, int64_t now)
{
	o->a.version++;
	o->a.ctime = now;
	return kv_object_put(t, o);
}

/* Both parents and both names. */
static int rename_told(struct pfs_kv_txn *t, const struct pfs_mutation *m, uint64_t id,
		       uint64_t id2, int64_t now)
{
	int err;

	err = kv_touch(t, m->dir, now);
	if (!err && m->dir2 != m->dir)
		err = kv_touch(t, m->dir2, now);
	if (!err)
		err = kv_change(t, KV_CHANGE_ENTRY, m->dir, id2, m->name);
	if (!err)
		err = kv_change(t, KV_CHANGE_ENTRY, m->dir2, id, m->name2);
	return err;
}

/* Source and target of a rename. *found: there is a target. */
static int rename_look(struct pfs_kv_txn *t, const struct pfs_mutation *m,
		       struct pfs_kv_object *source, struct pfs_kv_object *target, bool *found)
{
	int err;

	err = check_name(m->name2);
	if (!err)
		err = get_entry(t, m->dir, m->name, source);
	if (!err && m->dir2 != m->dir)
		err = check_dir(t, m->dir2);
	if (!err && (m->flags & PFS_F_IF_VERSION) && source->a.version != m->expect_version)
		err = -EAGAIN;
	if (err)
		return err;
	err = get_entry(t, m->dir2, m->name2, target);
	*found = !err;
	return err == -ENOENT ? 0 : err;
}

int kv_op_rename(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_buf from = {0}, to = {0};
	struct pfs_kv_object source, target = {0};
	bool found = false;
	int err;

	memset(&m->other, 0, sizeof(m->other));
	err = rename_look(t, m, &source, &target, &found);
	if (!err && found && source.a.id == target.a.id && !(m->flags & PFS_F_NOREPLACE)) {
		m->attr = source.a;
		goto out;
	}
	if (!err && S_ISDIR(source.a.mode))
		err = dir_paths(t, &source, m->dir2, m->name2, &from, &to);
	if (!err && found)
		err = rename_check(t, &source, &target, m->flags);
	if (err)
		goto out;
	err = rename_entries(t, m, &source, found);
	if (!err && found)
		err = object_unlinked(t, &target, now);
	if (!err && S_ISDIR(source.a.mode)) {
		err = move_paths(t, source.ns, buf_bytes(&from), buf_bytes(&to));
		if (!err && m->dir2 != m->dir)
			err = dir_set_parent(t, source.a.id, m->dir2);
	}
	if (!err)
		err = object_renamed(t, &source, now);
	if (!err)
		err = rename_told(t, m, source.a.id, 0, now);
	m->attr = source.a;
	if (found)
		m->other = target.a;
out:
	pfs_buf_release(&from);
	pfs_buf_release(&to);
	return err;
}

/* The directories among two entries that change places take their paths along. */
static int exchange_paths(struct pfs_kv_txn *t, const struct pfs_mutation *m,
			  const struct pfs_kv_object *a, const struct pfs_kv_object *b,
			  const struct pfs_buf *path_a, const struct pfs_buf *path_b)
{
	/* No path begins with a slash: a place to park one of the two. */
	struct pfs_bytes parked = PFS_BYTES("//");
	bool dir_a = S_ISDIR(a->a.mode), dir_b = S_ISDIR(b->a.mode);
	int err = 0;

	if (dir_a)
		err = move_paths(t, a->ns, buf_bytes(path_a), parked);
	if (!err && dir_b)
		err = move_paths(t, a->ns, buf_bytes(path_b), buf_bytes(path_a));
	if (!err && dir_a)
		err = move_paths(t, a->ns, parked, buf_bytes(path_b));
	if (!err && dir_a)
		err = dir_set_parent(t, a->a.id, m->dir2);
	if (!err && dir_b)
		err = dir_set_parent(t, b->a.id, m->dir);
	return err;
}

static int exchange_entries(struct pfs_kv_txn *t, const struct pfs_mutation *m, uint64_t a,
			    uint64_t b)
{
	int64_t ret;

	ret = pfs_sql_write(t->c, KV_ENTRY_SET, "iti", (int64_t)m->dir, m->name.p, m->name.len,
			    (int64_t)b);
	if (ret >= 0)
		ret = pfs_sql_write(t->c, KV_ENTRY_SET, "iti", (int64_t)m->dir2, m->name2.p,
				    m->name2.len, (int64_t)a);
	return ret < 0 ? (int)ret : 0;
}

int kv_op_exchange(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now)
{
	struct pfs_buf a_path = {0}, b_path = {0}, unused = {0};
	struct pfs_kv_object a, b = {0};
	bool found = false;
	int err;

	err = rename_look(t, m, &a, &b, &found);
	if (!err && !found)
		err = -ENOENT;
	if (!err && a.a.id == b.a.id)
		goto done;
	if (!err && S_ISDIR(a.a.mode))
		err = dir_paths(t, &a, m->dir2, m->name2, &a_path, &unused);
	if (!err && S_ISDIR(b.a.mode)) {
		unused.len = 0;
		err = dir_paths(t, &b, m->dir, m->name, &b_path, &unused);
	}
	if (!err && a_path.len == 0)
		err = entry_path(t, m->dir, m->name, &a_path);
	if (!err && b_path.len == 0)
		err = entry_path(t, m->dir2, m->name2, &b_path);
	if (err)
		goto out;
	err = exchange_entries(t, m, a.a.id, b.a.id);
	if (!err && (S_ISDIR(a.a.mode) || S_ISDIR(b.a.mode)))
		err = exchange_paths(t, m, &a, &b, &a_path, &b_path);
	if (!err)
		err = object_renamed(t, &a, now);
	if (!err)
		err = object_renamed(t, &b, now);
	if (!err)
		err = rename_told(t, m, a.a.id, b.a.id, now);
done:
	m->attr = a.a;
	m->other = b.a;
out:
	pfs_buf_release(&a_path);
	pfs_buf_release(&b_path);
	pfs_buf_release(&unused);
	return err;
}
