/*
 * Changes of content: the ops of a batch are folded into one write of the view, so that the engine has the old
 * value or the new one. Scratch files are changed in memory.
 */
#include "backends/adopt/commit.h"

static struct adopt_staged *staged_find(struct adopt *a, uint64_t id)
{
	struct adopt_staged *st = a->staged;

	while (st && st->id != id)
		st = st->next;
	return st;
}

static struct adopt_staged *staged_make(struct adopt *a, uint64_t id)
{
	struct adopt_staged *st = staged_find(a, id);

	if (st)
		return st;
	st = calloc(1, sizeof(*st));
	if (!st)
		return NULL;
	st->id = id;
	st->next = a->staged;
	a->staged = st;
	return st;
}

void adopt_staged_drop(struct adopt *a, uint64_t id)
{
	struct adopt_staged **slot = &a->staged, *st;

	while (*slot && (*slot)->id != id)
		slot = &(*slot)->next;
	st = *slot;
	if (!st)
		return;
	*slot = st->next;
	adopt_text_clear(a, &st->text);
	free(st);
}

/* STAGE, and TRUNCATE and PUNCH of a staged content. */
int adopt_change_staged(struct adopt *a, const struct pfs_mutation *m)
{
	struct pfs_mutation as_write = *m;
	struct adopt_staged *st;
	struct pfs_buf out = {0};
	int err;

	pthread_mutex_lock(&a->lock);
	st = m->op == PFS_OP_STAGE ? staged_make(a, m->content) : staged_find(a, m->content);
	err = st ? 0 : m->op == PFS_OP_STAGE ? -ENOMEM : -ENOENT;
	if (m->op == PFS_OP_STAGE)
		as_write.op = PFS_OP_WRITE;
	if (!err)
		err = adopt_edit(&as_write, 1, NULL, adopt_bytes(&st->text), &out);
	if (!err)
		err = adopt_check_room(a, out.len);
	if (!err) {
		adopt_text_clear(a, &st->text);
		st->text = out;
		out = (struct pfs_buf){0};
		adopt_account(a, 0, st->text.len);
	}
	pfs_buf_release(&out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

void adopt_fold_release(struct adopt_fold *f)
{
	free(f->ops);
	pfs_buf_release(&f->staged);
}

static int fold_staged(struct adopt *a, struct adopt_fold *f, uint64_t content)
{
	struct adopt_staged *st;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	st = staged_find(a, content);
	if (st)
		pfs_buf_add(&f->staged, st->text.data, st->text.len);
	pfs_buf_str(&f->staged, "");
	if (!st)
		err = -ENOENT;
	else if (f->staged.failed)
		err = -ENOMEM;
	pthread_mutex_unlock(&a->lock);
	f->has_staged = !err;
	f->content = content;
	return err;
}

int adopt_fold_make(struct adopt *a, const struct pfs_batch *batch, uint64_t id,
		    struct adopt_fold *f)
{
	size_t i;
	int err = 0;

	f->ops = calloc(batch->nops, sizeof(*f->ops));
	if (!f->ops)
		return -ENOMEM;
	for (i = 0; i < batch->nops && !err; i++) {
		const struct pfs_mutation *m = &batch->ops[i];

		if (m->op == PFS_OP_STAGE) {
			err = adopt_change_staged(a, m);
			continue;
		}
		if (m->id != id || (m->op != PFS_OP_CREATE && !adopt_is_content_op(m->op)))
			err = -EOPNOTSUPP;
		if (!err && m->op == PFS_OP_PUBLISH)
			err = fold_staged(a, f, m->content);
		if (!err)
			f->ops[f->n++] = *m;
	}
	return err;
}

int adopt_fold_edit(void *arg, struct pfs_bytes old, struct pfs_buf *out)
{
	const struct adopt_fold *f = arg;

	return adopt_edit(f->ops, f->n, f->has_staged ? &f->staged : NULL, old, out);
}

/* How the view is asked to write: the less it must read the better. *data is owned. */
static int fold_write(struct adopt_fold *f, struct pfs_view_write *w, struct pfs_buf *data)
{
	size_t i;
	int err = 0;

	w->edit = adopt_fold_edit;
	w->arg = f;
	w->how = PFS_VIEW_APPEND;
	for (i = 0; i < f->n; i++)
		if (f->ops[i].op != PFS_OP_APPEND)
			w->how = PFS_VIEW_EDIT;
	if (adopt_edit_whole(&f->ops[0]))
		w->how = PFS_VIEW_WHOLE;
	/* Appended to nothing, what is appended is the value. */
	if (w->how != PFS_VIEW_EDIT)
		err = adopt_fold_edit(f, PFS_BYTES(""), data);
	w->data = adopt_bytes(data);
	return err;
}

void adopt_results(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
		   const struct pfs_view_write *w)
{
	struct pfs_attr attr;
	uint64_t end, off;
	size_t i, k;

	adopt_attr(a, node, &attr);
	end = w && w->how == PFS_VIEW_APPEND ? attr.size - w->data.len : attr.size;
	for (i = 0; i < batch->nops; i++) {
		struct pfs_mutation *m = &batch->ops[i];

		m->attr = attr;
		if (m->op != PFS_OP_APPEND)
			continue;
		off = w && w->how == PFS_VIEW_APPEND ? end : m->offset;
		m->offset = off;
		for (k = 0; k < m->nsegs; k++)
			end += m->segs[k].len;
	}
}

/* Where APPENDs land when the ops are applied to a value of `size` bytes. */
static void place_appends(struct pfs_batch *batch, uint64_t size)
{
	size_t i, k;

	for (i = 0; i < batch->nops; i++) {
		struct pfs_mutation *m = &batch->ops[i];

		if (m->op == PFS_OP_REPLACE || m->op == PFS_OP_TRUNCATE || m->op == PFS_OP_PUBLISH)
			size = m->size;
		if (m->op == PFS_OP_APPEND)
			m->offset = size;
		for (k = 0; k < m->nsegs; k++) {
			if (m->op == PFS_OP_APPEND)
				size += m->segs[k].len;
			else if (m->op == PFS_OP_WRITE && m->segs[k].off + m->segs[k].len > size)
				size = m->segs[k].off + m->segs[k].len;
		}
	}
}

/* The file is in memory and stays there. */
static int write_memory(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
			struct adopt_fold *f)
{
	struct pfs_buf out = {0};
	int err;

	pthread_mutex_lock(&a->lock);
	place_appends(batch, node->text.len);
	err = adopt_in_memory(node) ? adopt_fold_edit(f, adopt_bytes(&node->text), &out)
				    : NODE_AGAIN;
	if (!err)
		err = adopt_check_room(a, out.len);
	if (!err) {
		adopt_set_text(a, node, &out);
		adopt_results(a, batch, node, NULL);
	}
	pfs_buf_release(&out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* What an EDIT made of a value of this length: noted for where appends landed. */
struct edit_note {
	struct adopt_fold *fold;
	struct pfs_batch *batch;
};

static int edit_noting(void *arg, struct pfs_bytes old, struct pfs_buf *out)
{
	struct edit_note *note = arg;

	place_appends(note->batch, old.len);
	return adopt_fold_edit(note->fold, old, out);
}

/* What a trial, which has one piece, is of. */
static struct pfs_bytes seg_bytes(const struct pfs_mutation *m)
{
	return m->nsegs ? (struct pfs_bytes){m->segs[0].p, m->segs[0].len} : PFS_BYTES("");
}

static int write_view(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
		      struct adopt_fold *f)
{
	struct edit_note note = {f, batch};
	struct pfs_view_write w = {0};
	struct pfs_buf path = {0}, data = {0};
	int err;

	if (!a->view->ops->write)
		return -EPERM;
	err = fold_write(f, &w, &data);
	if (w.how == PFS_VIEW_EDIT) {
		w.edit = edit_noting;
		w.arg = &note;
	} else {
		place_appends(batch, 0);
	}
	w.trial = batch->trial;
	pthread_mutex_lock(&a->lock);
	w.create = node->state == ADOPT_NEW && !node->over;
	w.seen = node->read_version;
	if (!err)
		err = adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
	pthread_mutex_unlock(&a->lock);
	if (!err)
		err = a->view->ops->write(a->view, adopt_bytes(&path), &w);
	if (batch->trial && !adopt_refused(err, seg_bytes(&batch->ops[0])))
		err = 0;
	else if (!err)
		err = adopt_carry(a, node, &path, &w.attr);
	pthread_mutex_lock(&a->lock);
	if (err) {
		adopt_note_error(node, err);
	} else if (!batch->trial) {
		adopt_is_key(a, node, &w.attr);
		node->read_version = w.attr.version;
		adopt_results(a, batch, node, &w);
	}
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(&path);
	pfs_buf_release(&data);
	return err;
}

/* Whether a trial is for the view to answer: what is in memory takes anything. */
static bool tries(struct adopt *a, const struct adopt_node *node)
{
	bool is;

	pthread_mutex_lock(&a->lock);
	is = node->state == ADOPT_KEY || node->state == ADOPT_NEW;
	pthread_mutex_unlock(&a->lock);
	return is;
}

int adopt_commit_content(struct adopt *a, struct pfs_batch *batch, uint64_t id)
{
	struct adopt_node *node = adopt_get(a, id);
	struct adopt_fold f = {0};
	int err;

	if (!node)
		return -ENOENT;
	if (!S_ISREG(node->mode) && !S_ISLNK(node->mode)) {
		err = S_ISDIR(node->mode) ? -EISDIR : -EINVAL;
		goto out;
	}
	err = adopt_fold_make(a, batch, id, &f);
	if (!err)
		err = batch->trial && !tries(a, node) ? 0 : NODE_AGAIN;
	while (err == NODE_AGAIN)
		err = node->state == ADOPT_SCRATCH || node->state == ADOPT_GONE
			      ? write_memory(a, batch, node, &f)
			      : write_view(a, batch, node, &f);
	if (!err && f.content) {
		pthread_mutex_lock(&a->lock);
		adopt_staged_drop(a, f.content);
		pthread_mutex_unlock(&a->lock);
	}
out:
	adopt_fold_release(&f);
	adopt_put(a, node);
	return err;
}
