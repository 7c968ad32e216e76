/*
 * What a batch means to a view. A batch of fs/ is about one file or one name: content ops are folded into
 * one write of the view, so that the engine has the old value or the new one. Scratch files are changed in
 * memory, and renaming one onto a key is a write of that key.
 *
 * Every function takes the lock for itself and asks the view without it. Two calls about the same name at
 * the same time are ordered by the engine; the nodes follow.
 */
#include "backends/adopt/adopt.h"

static struct pfs_bytes bytes_of(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->data ? b->data : "", b->len};
}

/* Pinned, or NULL. */
static struct adopt_node *get(struct adopt *a, uint64_t id)
{
	struct adopt_node *node;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	if (node)
		adopt_pin(node);
	pthread_mutex_unlock(&a->lock);
	return node;
}

static void put(struct adopt *a, struct adopt_node *node)
{
	if (!node)
		return;
	pthread_mutex_lock(&a->lock);
	adopt_unpin(a, node);
	pthread_mutex_unlock(&a->lock);
}

static int path_of(struct adopt *a, struct adopt_node *node, struct pfs_bytes name,
		   struct pfs_buf *out)
{
	int err;

	pthread_mutex_lock(&a->lock);
	err = adopt_path(node, name, out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* A directory of the view's, pinned. */
static int get_dir(struct adopt *a, uint64_t id, struct adopt_node **out)
{
	struct adopt_node *dir = get(a, id);

	if (!dir)
		return -ENOENT;
	if (!S_ISDIR(dir->mode) || adopt_in_memory(dir)) {
		put(a, dir);
		return -ENOTDIR;
	}
	*out = dir;
	return 0;
}

/* Is there something at `path`? 1, 0 or -errno. A scratch file's name need not be one of keys. */
static int exists(struct adopt *a, const struct pfs_buf *path, bool scratch)
{
	struct pfs_view_attr told = {0};
	int err = a->view->ops->stat(a->view, bytes_of(path), &told);

	return err == -ENOENT || (scratch && err == -EILSEQ) ? 0 : err ? err : 1;
}

void adopt_note_error(struct adopt_node *node, int err)
{
	const char *text = pfs_error_text();

	free(node->error);
	node->error = err ? strdup(text[0] ? text : strerror(-err)) : NULL;
}

static int check_room(const struct adopt *a, size_t more)
{
	return a->memory + more > ADOPT_MEMORY_MAX ? -ENOSPC : 0;
}

/* `text` is consumed. The lock is held. */
static void set_text(struct adopt *a, struct adopt_node *node, struct pfs_buf *text)
{
	adopt_text_clear(a, &node->text);
	node->text = *text;
	*text = (struct pfs_buf){0};
	adopt_account(a, 0, node->text.len);
	node->version++;
	node->content_version++;
	node->mtime = pfs_now_ns();
}

/*
 * The file at `path` has been written from memory, where it was given more than its content: the key gets
 * that too. *told is what the write said.
 */
static int carry(struct adopt *a, struct adopt_node *node, const struct pfs_buf *path,
		 struct pfs_view_attr *told)
{
	const struct pfs_view_ops *ops = a->view->ops;
	struct adopt_node copy = {0};
	struct pfs_bytes name, value;
	size_t at = 0;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	if (adopt_in_memory(node)) {
		copy.expires = node->expires;
		pfs_buf_add(&copy.xattrs, node->xattrs.data, node->xattrs.len);
	}
	pthread_mutex_unlock(&a->lock);
	if (copy.xattrs.failed)
		err = -ENOMEM;
	while (!err && adopt_kept_xattr(&copy, &at, &name, &value))
		err = ops->xattr_set ? ops->xattr_set(a->view, bytes_of(path), name, value, told)
				     : -EOPNOTSUPP;
	pfs_buf_release(&copy.xattrs);
	if (err || !copy.expires)
		return err;
	if (!ops->set_expires)
		return -EOPNOTSUPP;
	err = ops->set_expires(a->view, bytes_of(path), copy.expires);
	if (!err)
		err = ops->stat(a->view, bytes_of(path), told);
	return err == -ENOENT ? 0 : err; /* the time has passed already */
}

/* A node is a key, as a write has just said. The lock is held. */
static void is_key(struct adopt *a, struct adopt_node *node, const struct pfs_view_attr *told)
{
	adopt_text_clear(a, &node->text);
	pfs_buf_release(&node->xattrs);
	node->xattrs = (struct pfs_buf){0};
	node->over = false;
	node->expires = 0;
	node->mode = S_IFREG;
	node->uid = a->uid;
	node->gid = a->gid;
	if (node->state != ADOPT_GONE)
		adopt_state_set(a, node, ADOPT_KEY);
	node->version++;
	node->content_version++;
	node->mtime = pfs_now_ns();
	node->known = false;
	adopt_told(a, node, told, a->changes);
	adopt_note_error(node, 0);
}

/* ---- whole values --------------------------------------------------------------------------- */

#define LOAD_TRIES 16

/* All of a value. -EAGAIN: it was changed between two pieces. */
static int load_once(struct adopt *a, const struct pfs_buf *path, char *piece, size_t len,
		     struct pfs_buf *out)
{
	uint64_t first = 0, version;
	ssize_t n = 1;

	out->len = 0;
	while (n > 0) {
		version = 0;
		n = a->view->ops->read(a->view, bytes_of(path), out->len, piece, len, &version);
		if (n >= 0 && out->len == 0)
			first = version;
		else if (n >= 0 && version != first)
			n = -EAGAIN;
		if (n > 0)
			pfs_buf_add(out, piece, (size_t)n);
		if (out->len > PFS_VIEW_VALUE_MAX)
			n = -EFBIG;
	}
	pfs_buf_str(out, "");
	return n < 0 ? (int)n : out->failed ? -ENOMEM : 0;
}

static int load(struct adopt *a, const struct pfs_buf *path, struct pfs_buf *out)
{
	const size_t len = 1 << 20;
	char *piece = malloc(len);
	int err = piece ? -EAGAIN : -ENOMEM, tries;

	for (tries = 0; err == -EAGAIN && tries < LOAD_TRIES; tries++)
		err = load_once(a, path, piece, len, out);
	free(piece);
	return err == -EAGAIN ? -EBUSY : err;
}

/* ---- keys that were moved to a scratch name ------------------------------------------------- */

/* Nobody hides the key any more. The lock is held. */
static void unhide(struct adopt *a, struct adopt_node *hidden)
{
	struct adopt_node *node;
	size_t i;

	for (i = 0; i < a->buckets; i++)
		for (node = a->by_id[i]; node; node = node->id_next)
			if (node->kept == hidden) {
				node->kept = NULL;
				hidden->hidden = false;
				adopt_unpin(a, hidden);
				return;
			}
}

/* The scratch file is going for good: so does the key that it was, unless it has changed since. */
static int remove_kept(struct adopt *a, struct adopt_node *node)
{
	struct pfs_view_content content = {0};
	struct pfs_view_remove how = {.only = &content};
	struct adopt_node *kept;
	struct pfs_buf path = {0};
	int err;

	pthread_mutex_lock(&a->lock);
	kept = node->kept;
	if (kept)
		content = kept->content;
	err = kept ? adopt_path(kept, (struct pfs_bytes){NULL, 0}, &path) : 0;
	pthread_mutex_unlock(&a->lock);
	if (!kept || err)
		return kept && err == -ENOENT ? 0 : err;
	err = a->view->ops->remove ? a->view->ops->remove(a->view, bytes_of(&path), &how) : -EPERM;
	if (err == -ENOENT || err == -EISDIR || err == -ESTALE) /* it is another by now */
		err = 0;
	pfs_buf_release(&path);
	if (err)
		return err;
	pthread_mutex_lock(&a->lock);
	unhide(a, kept);
	pthread_mutex_unlock(&a->lock);
	return 0;
}

/* ---- content -------------------------------------------------------------------------------- */

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

static void staged_drop(struct adopt *a, uint64_t id)
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
static int change_staged(struct adopt *a, const struct pfs_mutation *m)
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
		err = adopt_edit(&as_write, 1, NULL, bytes_of(&st->text), &out);
	if (!err)
		err = check_room(a, out.len);
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

/* The content ops of a batch, and what they need. */
struct fold {
	struct pfs_mutation *ops; /* owned */
	size_t n;
	struct pfs_buf staged; /* owned: of PUBLISH */
	bool has_staged;
	uint64_t content; /* to be dropped when it was published */
};

static void fold_release(struct fold *f)
{
	free(f->ops);
	pfs_buf_release(&f->staged);
}

static int fold_staged(struct adopt *a, struct fold *f, uint64_t content)
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

/* Gather what the batch does to the content of `id`; staged contents are changed on the way. */
static int fold_make(struct adopt *a, const struct pfs_batch *batch, uint64_t id, struct fold *f)
{
	size_t i;
	int err = 0;

	f->ops = calloc(batch->nops, sizeof(*f->ops));
	if (!f->ops)
		return -ENOMEM;
	for (i = 0; i < batch->nops && !err; i++) {
		const struct pfs_mutation *m = &batch->ops[i];

		if (m->op == PFS_OP_STAGE) {
			err = change_staged(a, m);
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

static int fold_edit(void *arg, struct pfs_bytes old, struct pfs_buf *out)
{
	const struct fold *f = arg;

	return adopt_edit(f->ops, f->n, f->has_staged ? &f->staged : NULL, old, out);
}

/* How the view is asked to write: the less it must read the better. *data is owned. */
static int fold_write(struct fold *f, struct pfs_view_write *w, struct pfs_buf *data)
{
	size_t i;
	int err = 0;

	w->edit = fold_edit;
	w->arg = f;
	w->how = PFS_VIEW_APPEND;
	for (i = 0; i < f->n; i++)
		if (f->ops[i].op != PFS_OP_APPEND)
			w->how = PFS_VIEW_EDIT;
	if (adopt_edit_whole(&f->ops[0]))
		w->how = PFS_VIEW_WHOLE;
	/* Appended to nothing, what is appended is the value. */
	if (w->how != PFS_VIEW_EDIT)
		err = fold_edit(f, PFS_BYTES(""), data);
	w->data = bytes_of(data);
	return err;
}

/* The results of a batch on one file: where appended bytes went, and its attributes. */
static void results(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
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

/* A node has become another thing meanwhile: to be tried again. */
#define NODE_AGAIN 1

/* The file is in memory and stays there. */
static int write_memory(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
			struct fold *f)
{
	struct pfs_buf out = {0};
	int err;

	pthread_mutex_lock(&a->lock);
	place_appends(batch, node->text.len);
	err = adopt_in_memory(node) ? fold_edit(f, bytes_of(&node->text), &out) : NODE_AGAIN;
	if (!err)
		err = check_room(a, out.len);
	if (!err) {
		set_text(a, node, &out);
		results(a, batch, node, NULL);
	}
	pfs_buf_release(&out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* What an EDIT made of a value of this length: noted for where appends landed. */
struct edit_note {
	struct fold *fold;
	struct pfs_batch *batch;
};

static int edit_noting(void *arg, struct pfs_bytes old, struct pfs_buf *out)
{
	struct edit_note *note = arg;

	place_appends(note->batch, old.len);
	return fold_edit(note->fold, old, out);
}

/* What a trial, which has one piece, is of. */
static struct pfs_bytes seg_bytes(const struct pfs_mutation *m)
{
	return m->nsegs ? (struct pfs_bytes){m->segs[0].p, m->segs[0].len} : PFS_BYTES("");
}

static int write_view(struct adopt *a, struct pfs_batch *batch, struct adopt_node *node,
		      struct fold *f)
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
		err = a->view->ops->write(a->view, bytes_of(&path), &w);
	if (batch->trial && !adopt_refused(err, seg_bytes(&batch->ops[0])))
		err = 0;
	else if (!err)
		err = carry(a, node, &path, &w.attr);
	pthread_mutex_lock(&a->lock);
	if (err) {
		adopt_note_error(node, err);
	} else if (!batch->trial) {
		is_key(a, node, &w.attr);
		node->read_version = w.attr.version;
		results(a, batch, node, &w);
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

static int commit_content(struct adopt *a, struct pfs_batch *batch, uint64_t id)
{
	struct adopt_node *node = get(a, id);
	struct fold f = {0};
	int err;

	if (!node)
		return -ENOENT;
	if (!S_ISREG(node->mode) && !S_ISLNK(node->mode)) {
		err = S_ISDIR(node->mode) ? -EISDIR : -EINVAL;
		goto out;
	}
	err = fold_make(a, batch, id, &f);
	if (!err)
		err = batch->trial && !tries(a, node) ? 0 : NODE_AGAIN;
	while (err == NODE_AGAIN)
		err = node->state == ADOPT_SCRATCH || node->state == ADOPT_GONE
			      ? write_memory(a, batch, node, &f)
			      : write_view(a, batch, node, &f);
	if (!err && f.content) {
		pthread_mutex_lock(&a->lock);
		staged_drop(a, f.content);
		pthread_mutex_unlock(&a->lock);
	}
out:
	fold_release(&f);
	put(a, node);
	return err;
}

/* ---- making --------------------------------------------------------------------------------- */

/* A node in memory at (dir, name), of the batch's first op. `text` is consumed. */
static int make_memory(struct adopt *a, struct adopt_node *dir, const struct pfs_mutation *m,
		       enum adopt_state state, bool over, struct pfs_buf *text)
{
	struct adopt_node *there, *node;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	there = adopt_child(a, dir, m->name);
	if (there && there->hidden)
		unhide(a, there);
	else if (there && adopt_in_memory(there))
		err = -EEXIST;
	if (!err)
		err = check_room(a, text->len);
	if (!err && there)
		adopt_detach(a, there);
	node = err ? NULL : adopt_node_new(a, dir, m->name, m->id, state, m->set.mode);
	if (!err && !node)
		err = -ENOMEM;
	if (node) {
		node->uid = m->set.uid;
		node->gid = m->set.gid;
		node->over = over;
		set_text(a, node, text);
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
	struct fold f = {0};
	struct adopt_node *node;
	int err;

	if (!a->view->ops->write)
		return -EPERM;
	err = fold_make(a, batch, m->id, &f);
	if (!err)
		err = fold_edit(&f, PFS_BYTES(""), &data);
	w.data = bytes_of(&data);
	if (!err)
		err = a->view->ops->write(a->view, bytes_of(path), &w);
	if (!err)
		err = make_memory(a, dir, m, ADOPT_NEW, false, &none);
	node = err ? NULL : get(a, m->id);
	if (node) {
		pthread_mutex_lock(&a->lock);
		is_key(a, node, &w.attr);
		results(a, batch, node, NULL);
		if (f.content)
			staged_drop(a, f.content);
		pthread_mutex_unlock(&a->lock);
	}
	put(a, node);
	fold_release(&f);
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
	err = a->view->ops->mkdir(a->view, bytes_of(path));
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
	put(a, node);
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
	struct fold f = {0};
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
	err = exists(a, path, scratch);
	if (err > 0)
		err = hidden ? 0 : -EEXIST;
	if (err)
		return err;
	err = fold_make(a, batch, m->id, &f);
	if (!err)
		err = fold_edit(&f, PFS_BYTES(""), &text);
	if (!err)
		err = make_memory(a, dir, m, scratch ? ADOPT_SCRATCH : ADOPT_NEW, hidden, &text);
	if (!err) {
		struct adopt_node *node = get(a, m->id);

		pthread_mutex_lock(&a->lock);
		if (node)
			results(a, batch, node, NULL);
		pthread_mutex_unlock(&a->lock);
		put(a, node);
	}
	fold_release(&f);
	pfs_buf_release(&text);
	return err;
}

static int commit_create(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];
	struct adopt_node *dir = NULL;
	struct pfs_buf path = {0};
	bool hidden = false;
	int err;

	err = get_dir(a, m->dir, &dir);
	if (!err)
		err = name_state(a, dir, m->name, &hidden);
	if (!err)
		err = path_of(a, dir, m->name, &path);
	if (!err)
		err = S_ISDIR(m->set.mode) ? make_dir(a, dir, m, &path)
					   : make_file(a, dir, batch, &path, hidden);
	put(a, dir);
	pfs_buf_release(&path);
	return err;
}

/* ---- attributes ----------------------------------------------------------------------------- */

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
	err = path_of(a, node, (struct pfs_bytes){NULL, 0}, &path);
	if (!err)
		err = a->view->ops->set_expires(a->view, bytes_of(&path), expires);
	pfs_buf_release(&path);
	return err;
}

static int commit_setattr(struct adopt *a, struct pfs_mutation *m)
{
	struct adopt_node *node = get(a, m->id);
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
	put(a, node);
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

static int commit_xattr(struct adopt *a, struct pfs_mutation *m)
{
	struct pfs_bytes name = m->name, value = {NULL, 0};
	struct adopt_node *node = get(a, m->id);
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
		value = m->nsegs ? (struct pfs_bytes){m->segs[0].p, m->segs[0].len}
				 : PFS_BYTES("");
	if (m->op == PFS_OP_SETXATTR && !value.p)
		value.p = "";
	if (adopt_in_memory(node)) {
		err = keep_xattr(a, node, name, value, &m->attr);
		goto out;
	}
	err = path_of(a, node, (struct pfs_bytes){NULL, 0}, &path);
	if (!err)
		err = a->view->ops->xattr_set(a->view, bytes_of(&path), name, value, &told);
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
	put(a, node);
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
		err = load(a, &path, &text);
	if (!err)
		err = a->view->ops->remove(a->view, bytes_of(&path), &how);
	pthread_mutex_lock(&a->lock);
	if (node && (!err || err == -ENOENT) && node->parent) {
		adopt_detach(a, node);
		if (held && !err && !check_room(a, text.len))
			set_text(a, node, &text);
		adopt_attr(a, node, &m->other);
	}
	if (node)
		adopt_unpin(a, node);
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(&text);
	pfs_buf_release(&path);
	return err;
}

static int commit_remove(struct adopt *a, struct pfs_mutation *m)
{
	struct adopt_node *dir = NULL, *node;
	bool memory = false, hidden = false, over = false;
	int err;

	m->other = (struct pfs_attr){0};
	err = get_dir(a, m->dir, &dir);
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
		err = remove_kept(a, node);
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
	put(a, node);
	put(a, dir);
	return err;
}

/* ---- renaming ------------------------------------------------------------------------------- */

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
		unhide(a, there);
	if (there && there != r->node) {
		adopt_attr(a, there, &r->m->other);
		r->m->other.nlink = 0;
	}
	/* What has lost its name meanwhile was not moved, but where the view says that it was. */
	err = r->node->parent || told || S_ISDIR(r->node->mode)
		      ? adopt_move(a, r->node, r->dir2, r->m->name2)
		      : -ENOENT;
	if (!err && told)
		is_key(a, r->node, told);
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
	err = exists(a, &r->to, false);
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
	w.data = bytes_of(&text);
	err = text.failed ? -ENOMEM : a->view->ops->write(a->view, bytes_of(&r->to), &w);
	pfs_buf_release(&text);
	if (!err)
		err = carry(a, r->node, &r->to, &w.attr);
	/* The key that the scratch file was has moved on with it. */
	if (!err && kept && !home)
		err = remove_kept(a, r->node);
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

	err = exists(a, &r->to, true);
	if (err)
		return err < 0 ? err : -EEXIST;
	err = load(a, &r->from, &text);
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
		hidden->content = pfs_view_content_of(bytes_of(&text));
		adopt_pin(hidden);
	}
	r->node->kept = hidden;
	r->node->expires = r->node->told.expires;
	r->node->mode = S_IFREG | a->file_mode;
	adopt_state_set(a, r->node, ADOPT_SCRATCH);
	set_text(a, r->node, &text);
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
	err = a->view->ops->rename(a->view, bytes_of(&r->from), bytes_of(&r->to),
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
	err = exists(r->a, &r->to, r->scratch2);
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
		err = r->a->view->ops->stat(r->a->view, bytes_of(&r->from), &told);
		if (err)
			return err;
		pthread_mutex_lock(&r->a->lock);
		r->node = adopt_node_new(r->a, r->dir, r->m->name, 0, ADOPT_KEY,
					 told.mode & S_IFMT);
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

static int commit_rename(struct adopt *a, struct pfs_mutation *m)
{
	struct renaming r = {.a = a, .m = m, .replace = !(m->flags & PFS_F_NOREPLACE)};
	struct adopt_node *there;
	bool hidden = false;
	int err;

	m->other = (struct pfs_attr){0};
	if (m->flags & PFS_F_EXCHANGE)
		return -EINVAL;
	err = get_dir(a, m->dir, &r.dir);
	if (!err)
		err = get_dir(a, m->dir2, &r.dir2);
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
	put(a, r.node);
	put(a, r.dir);
	put(a, r.dir2);
	pfs_buf_release(&r.from);
	pfs_buf_release(&r.to);
	return err;
}

/* ---- batches -------------------------------------------------------------------------------- */

static int check_version(struct adopt *a, const struct pfs_batch *batch)
{
	const struct pfs_mutation *m = &batch->ops[0];
	struct pfs_attr attr = {0};
	struct adopt_node *node;
	int err = 0;

	if (!(m->flags & PFS_F_IF_VERSION))
		return 0;
	node = get(a, m->id);
	if (!node)
		return -ENOENT;
	if (!adopt_in_memory(node))
		err = adopt_ask(a, node, &attr);
	else
		attr.version = node->version;
	put(a, node);
	return err ? err : attr.version == m->expect_version ? 0 : -EAGAIN;
}

static int commit_single(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];

	if (batch->nops != 1)
		return -EOPNOTSUPP;
	switch (m->op) {
	case PFS_OP_SETATTR:
		return commit_setattr(a, m);
	case PFS_OP_REMOVE:
		return commit_remove(a, m);
	case PFS_OP_RENAME:
		return commit_rename(a, m);
	case PFS_OP_LINK:
		return -EPERM;
	case PFS_OP_SETXATTR:
	case PFS_OP_REMOVEXATTR:
		return commit_xattr(a, m);
	case PFS_OP_STAGE:
		return change_staged(a, m);
	case PFS_OP_DISCARD:
		pthread_mutex_lock(&a->lock);
		staged_drop(a, m->content);
		pthread_mutex_unlock(&a->lock);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* The file that the batch changes the content of; 0: it does something else. */
static uint64_t content_of(const struct pfs_batch *batch)
{
	size_t i;

	for (i = 0; i < batch->nops; i++)
		if (adopt_is_content_op(batch->ops[i].op) && batch->ops[i].id)
			return batch->ops[i].id;
	return 0;
}

int adopt_change_error(int err, bool *final)
{
	*final = err == -EBUSY || err == -EINPROGRESS;
	if (err == -EAGAIN)
		return -EBUSY;
	return err == -EINPROGRESS ? -EIO : err;
}

static int commit(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];
	uint64_t id = content_of(batch);
	int err;

	if (m->op == PFS_OP_CREATE)
		err = commit_create(a, batch);
	else if (id)
		err = commit_content(a, batch, id);
	else if ((m->op == PFS_OP_TRUNCATE || m->op == PFS_OP_PUNCH) && m->content)
		err = batch->nops == 1 ? change_staged(a, m) : -EOPNOTSUPP;
	else
		err = commit_single(a, batch);
	return adopt_change_error(err, &batch->final);
}

int adopt_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	struct adopt *a = adopt_of(s->backend);
	int err;

	pfs_error_text_clear();
	err = check_version(a, batch);
	if (!err)
		err = commit(a, batch);
	if (err)
		pfs_msg_set(&batch->msg, "%s", pfs_error_text());
	return err;
}
