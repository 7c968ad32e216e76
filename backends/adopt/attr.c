/*
 * Changes of attributes: of what is in memory, and those that a view keeps.
 */
#include "backends/adopt/commit.h"

static void set_memory(struct adopt_node *node, const struct pfs_set *set)
{
	if (set->mask & PFS_SET_MODE)
		node->mode = (node->mode & S_IFMT) | (set->mode & 07777);
	if (set->mask & PFS_SET_UID)
		node->uid = set->uid;
	if (set->mask & PFS_SET_GID)
		node->gid = set->gid;
	if (set->mask & PFS_SET_MTIME)
		node->mtime = set->mtime;
	if (set->mask & PFS_SET_EXPIRES)
		node->expires = set->expires;
	node->version++;
}

/* How far from the present a time may be that is meant to be it. */
#define NOW_MEANS (2 * NSEC_PER_SEC)

/* Others' data has no place for these: what is so already is fine, the rest refused. */
static int set_key(const struct pfs_attr *attr, const struct pfs_set *set)
{
	int64_t late = pfs_now_ns() - set->mtime;

	if ((set->mask & PFS_SET_MODE) && (set->mode & 07777) != (attr->mode & 07777))
		return -EOPNOTSUPP;
	if ((set->mask & PFS_SET_UID) && set->uid != attr->uid)
		return -EOPNOTSUPP;
	if ((set->mask & PFS_SET_GID) && set->gid != attr->gid)
		return -EOPNOTSUPP;
	if ((set->mask & PFS_SET_MTIME) && set->mtime != attr->mtime &&
	    (late > NOW_MEANS || late < -NOW_MEANS))
		return -EOPNOTSUPP;
	return 0;
}

static int set_expires(struct adopt *a, struct adopt_node *node, int64_t expires)
{
	struct pfs_buf path = {0};
	int err;

	if (!a->view->ops->set_expires)
		return -EOPNOTSUPP;
	err = adopt_path_of(a, node, (struct pfs_bytes){NULL, 0}, &path);
	if (!err)
		err = a->view->ops->set_expires(a->view, adopt_bytes(&path), expires);
	pfs_buf_release(&path);
	return err;
}

int adopt_commit_setattr(struct adopt *a, struct pfs_mutation *m)
{
	struct adopt_node *node = adopt_get(a, m->id);
	struct pfs_attr before;
	bool memory;
	int err = 0;

	if (!node)
		return -ENOENT;
	pthread_mutex_lock(&a->lock);
	memory = adopt_in_memory(node);
	if (memory && (m->set.mask & PFS_SET_EXPIRES) && !a->view->ops->set_expires) {
		err = -EOPNOTSUPP;
	} else if (memory) {
		set_memory(node, &m->set);
		adopt_attr(a, node, &m->attr);
	}
	pthread_mutex_unlock(&a->lock);
	if (!err && !memory)
		err = adopt_ask(a, node, &m->attr);
	if (!err && !memory)
		err = set_key(&m->attr, &m->set);
	if (!err && !memory && (m->set.mask & PFS_SET_EXPIRES)) {
		before = m->attr;
		err = set_expires(a, node, m->set.expires);
		if (!err)
			err = adopt_ask(a, node, &m->attr);
		if (err == -ENOENT) { /* it was set, to a time that has passed */
			err = 0;
			m->attr = before;
			m->attr.expires = m->set.expires;
		}
	}
	adopt_put(a, node);
	return err;
}

/* Room for what is set on a scratch file. */
#define KEPT_XATTRS_MAX PFS_XATTR_SIZE_MAX

/* The attributes of a scratch file are for the key that it will be: copying tools set them before. */
static int keep_xattr(struct adopt *a, struct adopt_node *node, struct pfs_bytes name,
		      struct pfs_bytes value, struct pfs_attr *out)
{
	struct pfs_buf kept = {0};
	struct pfs_bytes other, its;
	uint32_t len = (uint32_t)value.len;
	size_t at = 0;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	while (adopt_kept_xattr(node, &at, &other, &its)) {
		uint32_t n = (uint32_t)its.len;

		if (pfs_bytes_eq(other, name))
			continue;
		pfs_buf_add(&kept, other.p, other.len + 1);
		pfs_buf_add(&kept, &n, sizeof(n));
		pfs_buf_add(&kept, its.p, its.len);
	}
	if (value.p) {
		pfs_buf_add(&kept, name.p, name.len);
		pfs_buf_add(&kept, "", 1);
		pfs_buf_add(&kept, &len, sizeof(len));
		pfs_buf_add(&kept, value.p, value.len);
	}
	if (kept.failed)
		err = -ENOMEM;
	else if (kept.len > KEPT_XATTRS_MAX)
		err = -ENOSPC;
	if (!err) {
		pfs_buf_release(&node->xattrs);
		node->xattrs = kept;
		node->version++;
		adopt_attr(a, node, out);
	} else {
		pfs_buf_release(&kept);
	}
	pthread_mutex_unlock(&a->lock);
	return err;
}

int adopt_commit_xattr(struct adopt *a, struct pfs_mutation *m)
{
	struct pfs_bytes name = m->name, value = {NULL, 0};
	struct adopt_node *node = adopt_get(a, m->id);
	struct pfs_view_attr told = {0};
	struct pfs_buf path = {0};
	int err;

	if (!node)
		return -ENOENT;
	if (!a->view->ops->xattr_set || node->state == ADOPT_GONE || !adopt_own_name(&name)) {
		err = -EOPNOTSUPP;
		goto out;
	}
	if (m->op == PFS_OP_SETXATTR)
		value = m->nsegs ? (struct pfs_bytes){m->segs[0].p, m->segs[0].len} : PFS_BYTES("");
	if (m->op == PFS_OP_SETXATTR && !value.p)
		value.p = "";
	if (adopt_in_memory(node)) {
		err = keep_xattr(a, node, name, value, &m->attr);
		goto out;
	}
	err = adopt_path_of(a, node, (struct pfs_bytes){NULL, 0}, &path);
	if (!err)
		err = a->view->ops->xattr_set(a->view, adopt_bytes(&path), name, value, &told);
	pthread_mutex_lock(&a->lock);
	if (err) {
		adopt_note_error(node, err);
	} else {
		node->changed = ++a->changes; /* an attribute may have made another value of it */
		adopt_told(a, node, &told, a->changes - 1);
		adopt_attr(a, node, &m->attr);
	}
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(&path);
out:
	adopt_put(a, node);
	return err;
}
