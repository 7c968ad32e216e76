/*
 * Renaming. Where a scratch file takes the name of a key that is a write of the key; a key that takes a scratch
 * name stays in the engine while the scratch file is there.
 */
#include "backends/adopt/commit.h"

struct renaming {
	struct adopt *a;
	struct pfs_mutation *m;
	struct adopt_node *dir, *dir2; /* pinned */
	struct adopt_node *node;       /* what is moved, pinned; NULL: not known yet */
	struct pfs_buf from, to;       /* paths */
	bool replace, hidden2, scratch2;
	uint64_t written; /* content_version of the text that the view was given; 0: none was */
};

/* The nodes follow what has happened. NODE_AGAIN: there is another text in the file by now. */
static int moved(struct renaming *r, const struct pfs_view_attr *told)
{
	struct adopt *a = r->a;
	struct adopt_node *there;
	int err;

	pthread_mutex_lock(&a->lock);
	if (r->written && adopt_in_memory(r->node) && r->node->content_version != r->written) {
		pthread_mutex_unlock(&a->lock);
		return NODE_AGAIN;
	}
	there = adopt_child(a, r->dir2, r->m->name2);
	if (there && there->hidden)
		adopt_unhide(a, there);
	if (there && there != r->node) {
		adopt_attr(a, there, &r->m->other);
		r->m->other.nlink = 0;
	}
	/* What has lost its name meanwhile was not moved, but where the view says that it was. */
	err = r->node->parent || told || S_ISDIR(r->node->mode)
		      ? adopt_move(a, r->node, r->dir2, r->m->name2)
		      : -ENOENT;
	if (!err && told)
		adopt_is_key(a, r->node, told);
	if (!err)
		adopt_attr(a, r->node, &r->m->attr);
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* Is a scratch file the copy of a value that is none? The lock is held. */
static bool stands_for_null(const struct adopt_node *node)
{
	struct pfs_bytes name, value;
	size_t at = 0;

	while (!node->text.len && adopt_kept_xattr(node, &at, &name, &value))
		if (pfs_bytes_eq(name, PFS_BYTES("null")))
			return pfs_bytes_eq(value, PFS_BYTES("1"));
	return false;
}

static int scratch_to_key_once(struct renaming *r)
{
	struct adopt *a = r->a;
	struct pfs_view_write w = {.how = PFS_VIEW_WHOLE};
	struct pfs_buf text = {0};
	struct adopt_node *kept;
	bool home = false;
	int err;

	if (!a->view->ops->write || !S_ISREG(r->node->mode))
		return -EPERM;
	err = adopt_exists(a, &r->to, false);
	if (err < 0)
		return err;
	if (err > 0 && !r->replace && !r->hidden2)
		return -EEXIST;
	w.create = err == 0;
	pthread_mutex_lock(&a->lock);
	pfs_buf_add(&text, r->node->text.data, r->node->text.len);
	w.null = stands_for_null(r->node);
	r->written = r->node->content_version;
	kept = r->node->kept;
	home = kept && kept->parent == r->dir2 &&
	       pfs_bytes_eq((struct pfs_bytes){kept->name, kept->len}, r->m->name2);
	pthread_mutex_unlock(&a->lock);
	pfs_buf_str(&text, "");
	w.data = adopt_bytes(&text);
	err = text.failed ? -ENOMEM : a->view->ops->write(a->view, adopt_bytes(&r->to), &w);
	pfs_buf_release(&text);
	if (!err)
		err = adopt_carry(a, r->node, &r->to, &w.attr);
	/* The key that the scratch file was has moved on with it. */
	if (!err && kept && !home)
		err = adopt_remove_kept(a, r->node);
	if (err) {
		pthread_mutex_lock(&a->lock);
		adopt_note_error(r->node, err);
		pthread_mutex_unlock(&a->lock);
		return err;
	}
	return moved(r, &w.attr);
}

/* A scratch file becomes a key, or another key's value. */
static int scratch_to_key(struct renaming *r)
{
	int err;

	do {
		err = scratch_to_key_once(r);
		r->replace |= err == NODE_AGAIN; /* what is there is ours */
	} while (err == NODE_AGAIN);
	return err;
}

/* A key takes a scratch name, as a backup: it stays in the engine while the backup is there. */
static int key_to_scratch(struct renaming *r)
{
	struct adopt *a = r->a;
	struct adopt_node *hidden;
	struct pfs_buf text = {0};
	int err;

	err = adopt_exists(a, &r->to, true);
	if (err)
		return err < 0 ? err : -EEXIST;
	err = adopt_load(a, &r->from, &text);
	if (err)
		goto out;
	err = moved(r, NULL);
	if (err)
		goto out;
	pthread_mutex_lock(&a->lock);
	hidden = adopt_node_new(a, r->dir, r->m->name, 0, ADOPT_KEY, S_IFREG);
	if (hidden) {
		hidden->hidden = true;
		hidden->told = r->node->told;
		hidden->known = true;
		hidden->content = pfs_view_content_of(adopt_bytes(&text));
		adopt_pin(hidden);
	}
	r->node->kept = hidden;
	r->node->expires = r->node->told.expires;
	r->node->mode = S_IFREG | a->file_mode;
	adopt_state_set(a, r->node, ADOPT_SCRATCH);
	adopt_set_text(a, r->node, &text);
	adopt_attr(a, r->node, &r->m->attr);
	pthread_mutex_unlock(&a->lock);
	err = hidden ? 0 : -ENOMEM;
out:
	pfs_buf_release(&text);
	return err;
}

static void set_moving(struct renaming *r, int more)
{
	pthread_mutex_lock(&r->a->lock);
	r->node->moving += (unsigned)more;
	pthread_mutex_unlock(&r->a->lock);
}

static int key_to_key(struct renaming *r)
{
	struct adopt *a = r->a;
	struct pfs_view_attr told = {0};
	int err;

	if (!a->view->ops->rename)
		return -EXDEV;
	set_moving(r, 1);
	err = a->view->ops->rename(a->view, adopt_bytes(&r->from), adopt_bytes(&r->to),
				   r->replace || r->hidden2, &told);
	if (!err)
		err = moved(r, S_ISDIR(told.mode) ? NULL : &told);
	set_moving(r, -1);
	return err;
}

static int rename_memory(struct renaming *r)
{
	struct adopt_node *there;
	int err;

	if (r->node->state == ADOPT_SCRATCH && !r->scratch2)
		return scratch_to_key(r);
	err = adopt_exists(r->a, &r->to, r->scratch2);
	if (err < 0)
		return err;
	if (err > 0 && !r->replace && !r->hidden2)
		return -EEXIST;
	if (err > 0 && r->node->state == ADOPT_SCRATCH)
		return scratch_to_key(r);
	pthread_mutex_lock(&r->a->lock);
	there = adopt_child(r->a, r->dir2, r->m->name2);
	if (there && adopt_in_memory(there) && there != r->node && !r->replace)
		err = -EEXIST;
	else if (r->node->state == ADOPT_NEW)
		r->node->over = err > 0;
	pthread_mutex_unlock(&r->a->lock);
	return err == -EEXIST ? err : moved(r, NULL);
}

static int rename_one(struct renaming *r)
{
	struct pfs_view_attr told = {0};
	struct pfs_attr attr;
	int err = 0;

	if (r->node && adopt_in_memory(r->node))
		return rename_memory(r);
	if (!r->node) {
		err = r->a->view->ops->stat(r->a->view, adopt_bytes(&r->from), &told);
		if (err)
			return err;
		pthread_mutex_lock(&r->a->lock);
		r->node =
			adopt_node_new(r->a, r->dir, r->m->name, 0, ADOPT_KEY, told.mode & S_IFMT);
		if (r->node)
			adopt_pin(r->node);
		pthread_mutex_unlock(&r->a->lock);
		if (!r->node)
			return -ENOMEM;
	}
	err = adopt_ask(r->a, r->node, &attr);
	if (err)
		return err;
	if (r->scratch2 && S_ISREG(attr.mode))
		return key_to_scratch(r);
	return key_to_key(r);
}

int adopt_commit_rename(struct adopt *a, struct pfs_mutation *m)
{
	struct renaming r = {.a = a, .m = m, .replace = !(m->flags & PFS_F_NOREPLACE)};
	struct adopt_node *there;
	bool hidden = false;
	int err;

	m->other = (struct pfs_attr){0};
	if (m->flags & PFS_F_EXCHANGE)
		return -EINVAL;
	err = adopt_get_dir(a, m->dir, &r.dir);
	if (!err)
		err = adopt_get_dir(a, m->dir2, &r.dir2);
	if (err)
		goto out;
	pthread_mutex_lock(&a->lock);
	r.node = adopt_child(a, r.dir, m->name);
	if (r.node) {
		hidden = r.node->hidden;
		adopt_pin(r.node);
	}
	there = adopt_child(a, r.dir2, m->name2);
	r.hidden2 = there && there->hidden;
	r.scratch2 = a->scratch == PFS_SCRATCH_MEMORY && pfs_scratch_name(m->name2);
	err = adopt_path(r.dir, m->name, &r.from);
	if (!err)
		err = adopt_path(r.dir2, m->name2, &r.to);
	pthread_mutex_unlock(&a->lock);
	if (!err && hidden)
		err = -ENOENT;
	if (!err && there && there == r.node)
		err = a->view->ops->stat ? adopt_ask(a, r.node, &m->attr) : 0;
	else if (!err)
		err = rename_one(&r);
out:
	adopt_put(a, r.node);
	adopt_put(a, r.dir);
	adopt_put(a, r.dir2);
	pfs_buf_release(&r.from);
	pfs_buf_release(&r.to);
	return err;
}
