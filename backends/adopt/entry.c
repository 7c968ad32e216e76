/*
 * Making and removing: keys, directories, and what lives in memory.
 */
#include "backends/adopt/commit.h"

/* A node in memory at (dir, name), of the batch's first op. `text` is consumed. */
static int make_memory(struct adopt *a, struct adopt_node *dir, const struct pfs_mutation *m,
		       enum adopt_state state, bool over, struct pfs_buf *text)
{
	struct adopt_node *there, *node;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	there = adopt_child(a, dir, m->name);
	if (there && there->hidden)
		adopt_unhide(a, there);
	else if (there && adopt_in_memory(there))
		err = -EEXIST;
	if (!err)
		err = adopt_check_room(a, text->len);
	if (!err && there)
		adopt_detach(a, there);
	node = err ? NULL : adopt_node_new(a, dir, m->name, m->id, state, m->set.mode);
	if (!err && !node)
		err = -ENOMEM;
	if (node) {
		node->uid = m->set.uid;
		node->gid = m->set.gid;
		node->over = over;
		adopt_set_text(a, node, text);
	}
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(text);
	return err;
}

/* How the name stands: hidden by a scratch file, in memory, or for the view to say. */
static int name_state(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name, bool *hidden)
{
	struct adopt_node *there;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	there = adopt_child(a, dir, name);
	*hidden = there && there->hidden;
	if (there && adopt_in_memory(there))
		err = -EEXIST;
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* A file that the view is to have at once. */
static int make_key(struct adopt *a, struct adopt_node *dir, struct pfs_batch *batch,
		    const struct pfs_buf *path, bool hidden)
{
	struct pfs_mutation *m = &batch->ops[0];
	struct pfs_view_write w = {.how = PFS_VIEW_WHOLE, .create = !hidden};
	struct pfs_buf data = {0}, none = {0};
	struct adopt_fold f = {0};
	struct adopt_node *node;
	int err;

	if (!a->view->ops->write)
		return -EPERM;
	err = adopt_fold_make(a, batch, m->id, &f);
	if (!err)
		err = adopt_fold_edit(&f, PFS_BYTES(""), &data);
	w.data = adopt_bytes(&data);
	if (!err)
		err = a->view->ops->write(a->view, adopt_bytes(path), &w);
	if (!err)
		err = make_memory(a, dir, m, ADOPT_NEW, false, &none);
	node = err ? NULL : adopt_get(a, m->id);
	if (node) {
		pthread_mutex_lock(&a->lock);
		adopt_is_key(a, node, &w.attr);
		adopt_results(a, batch, node, NULL);
		if (f.content)
			adopt_staged_drop(a, f.content);
		pthread_mutex_unlock(&a->lock);
	}
	adopt_put(a, node);
	adopt_fold_release(&f);
	pfs_buf_release(&data);
	return err;
}

static int make_dir(struct adopt *a, struct adopt_node *dir, struct pfs_mutation *m,
		    const struct pfs_buf *path)
{
	struct adopt_node *node, *there;
	int err;

	if (!a->view->ops->mkdir)
		return -EPERM;
	err = a->view->ops->mkdir(a->view, adopt_bytes(path));
	if (err)
		return err;
	pthread_mutex_lock(&a->lock);
	there = adopt_child(a, dir, m->name);
	if (there)
		adopt_detach(a, there);
	node = adopt_node_new(a, dir, m->name, m->id, ADOPT_KEY, S_IFDIR);
	if (node)
		adopt_pin(node);
	pthread_mutex_unlock(&a->lock);
	if (!node)
		return -ENOMEM;
	err = adopt_ask(a, node, &m->attr);
	adopt_put(a, node);
	return err;
}

static bool is_late(const struct pfs_batch *batch)
{
	const struct pfs_mutation *m = &batch->ops[0];

	return batch->nops == 1 && (m->flags & PFS_F_LATE) && !m->size && !m->nsegs;
}

static int make_file(struct adopt *a, struct adopt_node *dir, struct pfs_batch *batch,
		     const struct pfs_buf *path, bool hidden)
{
	struct pfs_mutation *m = &batch->ops[0];
	bool scratch = pfs_scratch_name(m->name);
	struct pfs_buf text = {0};
	struct adopt_fold f = {0};
	int err;

	if (scratch && a->scratch == PFS_SCRATCH_REFUSE) {
		pfs_error_text_set("scratch = refuse: '%.*s' is a name of editors' temporary files",
				   (int)m->name.len, m->name.p);
		return -EPERM;
	}
	scratch &= a->scratch == PFS_SCRATCH_MEMORY;
	if (!scratch && !S_ISREG(m->set.mode))
		return -EPERM;
	if (!scratch && !is_late(batch))
		return make_key(a, dir, batch, path, hidden);
	if (!scratch && !a->view->ops->write)
		return -EPERM;
	err = adopt_exists(a, path, scratch);
	if (err > 0)
		err = hidden ? 0 : -EEXIST;
	if (err)
		return err;
	err = adopt_fold_make(a, batch, m->id, &f);
	if (!err)
		err = adopt_fold_edit(&f, PFS_BYTES(""), &text);
	if (!err)
		err = make_memory(a, dir, m, scratch ? ADOPT_SCRATCH : ADOPT_NEW, hidden, &text);
	if (!err) {
		struct adopt_node *node = adopt_get(a, m->id);

		pthread_mutex_lock(&a->lock);
		if (node)
			adopt_results(a, batch, node, NULL);
		pthread_mutex_unlock(&a->lock);
		adopt_put(a, node);
	}
	adopt_fold_release(&f);
	pfs_buf_release(&text);
	return err;
}

int adopt_commit_create(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];
	struct adopt_node *dir = NULL;
	struct pfs_buf path = {0};
	bool hidden = false;
	int err;

	err = adopt_get_dir(a, m->dir, &dir);
	if (!err)
		err = name_state(a, dir, m->name, &hidden);
	if (!err)
		err = adopt_path_of(a, dir, m->name, &path);
	if (!err)
		err = S_ISDIR(m->set.mode) ? make_dir(a, dir, m, &path)
					   : make_file(a, dir, batch, &path, hidden);
	adopt_put(a, dir);
	pfs_buf_release(&path);
	return err;
}

/* ---- removing ------------------------------------------------------------------------------- */

static int remove_key(struct adopt *a, struct adopt_node *dir, struct pfs_mutation *m)
{
	bool is_dir = m->flags & PFS_F_DIR, held;
	struct pfs_view_remove how = {.dir = is_dir};
	struct pfs_buf path = {0}, text = {0};
	struct adopt_node *node;
	int err;

	if (!a->view->ops->remove)
		return -EPERM;
	pthread_mutex_lock(&a->lock);
	node = adopt_child(a, dir, m->name);
	held = node && node->holds && !is_dir;
	if (node) {
		how.seen = node->read_version;
		adopt_pin(node);
	}
	err = adopt_path(dir, m->name, &path);
	pthread_mutex_unlock(&a->lock);
	/* Who has it open can go on reading. */
	if (!err && held)
		err = adopt_load(a, &path, &text);
	if (!err)
		err = a->view->ops->remove(a->view, adopt_bytes(&path), &how);
	pthread_mutex_lock(&a->lock);
	if (node && (!err || err == -ENOENT) && node->parent) {
		adopt_detach(a, node);
		if (held && !err && !adopt_check_room(a, text.len))
			adopt_set_text(a, node, &text);
		adopt_attr(a, node, &m->other);
	}
	if (node)
		adopt_unpin(a, node);
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(&text);
	pfs_buf_release(&path);
	return err;
}

int adopt_commit_remove(struct adopt *a, struct pfs_mutation *m)
{
	struct adopt_node *dir = NULL, *node;
	bool memory = false, hidden = false, over = false;
	int err;

	m->other = (struct pfs_attr){0};
	err = adopt_get_dir(a, m->dir, &dir);
	if (err)
		return err;
	pthread_mutex_lock(&a->lock);
	node = adopt_child(a, dir, m->name);
	if (node) {
		memory = adopt_in_memory(node);
		hidden = node->hidden;
		over = memory && node->over;
		adopt_pin(node);
	}
	pthread_mutex_unlock(&a->lock);
	if (hidden)
		err = -ENOENT;
	else if (memory && (m->flags & PFS_F_DIR))
		err = -ENOTDIR;
	else if (memory)
		err = adopt_remove_kept(a, node);
	else
		err = remove_key(a, dir, m);
	if (!err && memory) {
		pthread_mutex_lock(&a->lock);
		adopt_detach(a, node);
		adopt_attr(a, node, &m->other);
		pthread_mutex_unlock(&a->lock);
	}
	if (!err && over) { /* the key that was to be written anew */
		err = remove_key(a, dir, m);
		err = err == -ENOENT ? 0 : err;
	}
	adopt_put(a, node);
	adopt_put(a, dir);
	return err;
}
