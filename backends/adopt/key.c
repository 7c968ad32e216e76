/*
 * What all changes of a view need: nodes by id, what stands at a path, whole values, and what becomes of a
 * node when the view has written its key.
 */
#include "backends/adopt/commit.h"

struct pfs_bytes adopt_bytes(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->data ? b->data : "", b->len};
}

struct adopt_node *adopt_get(struct adopt *a, uint64_t id)
{
	struct adopt_node *node;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	if (node)
		adopt_pin(node);
	pthread_mutex_unlock(&a->lock);
	return node;
}

void adopt_put(struct adopt *a, struct adopt_node *node)
{
	if (!node)
		return;
	pthread_mutex_lock(&a->lock);
	adopt_unpin(a, node);
	pthread_mutex_unlock(&a->lock);
}

int adopt_path_of(struct adopt *a, struct adopt_node *node, struct pfs_bytes name,
		  struct pfs_buf *out)
{
	int err;

	pthread_mutex_lock(&a->lock);
	err = adopt_path(node, name, out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

int adopt_get_dir(struct adopt *a, uint64_t id, struct adopt_node **out)
{
	struct adopt_node *dir = adopt_get(a, id);

	if (!dir)
		return -ENOENT;
	if (!S_ISDIR(dir->mode) || adopt_in_memory(dir)) {
		adopt_put(a, dir);
		return -ENOTDIR;
	}
	*out = dir;
	return 0;
}

int adopt_exists(struct adopt *a, const struct pfs_buf *path, bool scratch)
{
	struct pfs_view_attr told = {0};
	int err = a->view->ops->stat(a->view, adopt_bytes(path), &told);

	return err == -ENOENT || (scratch && err == -EILSEQ) ? 0 : err ? err : 1;
}

void adopt_note_error(struct adopt_node *node, int err)
{
	const char *text = pfs_error_text();

	free(node->error);
	node->error = err ? strdup(text[0] ? text : strerror(-err)) : NULL;
}

int adopt_check_room(const struct adopt *a, size_t more)
{
	return a->memory + more > ADOPT_MEMORY_MAX ? -ENOSPC : 0;
}

void adopt_set_text(struct adopt *a, struct adopt_node *node, struct pfs_buf *text)
{
	adopt_text_clear(a, &node->text);
	node->text = *text;
	*text = (struct pfs_buf){0};
	adopt_account(a, 0, node->text.len);
	node->version++;
	node->content_version++;
	node->mtime = pfs_now_ns();
}

int adopt_carry(struct adopt *a, struct adopt_node *node, const struct pfs_buf *path,
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
		err = ops->xattr_set ? ops->xattr_set(a->view, adopt_bytes(path), name, value, told)
				     : -EOPNOTSUPP;
	pfs_buf_release(&copy.xattrs);
	if (err || !copy.expires)
		return err;
	if (!ops->set_expires)
		return -EOPNOTSUPP;
	err = ops->set_expires(a->view, adopt_bytes(path), copy.expires);
	if (!err)
		err = ops->stat(a->view, adopt_bytes(path), told);
	return err == -ENOENT ? 0 : err; /* the time has passed already */
}

void adopt_is_key(struct adopt *a, struct adopt_node *node, const struct pfs_view_attr *told)
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
		n = a->view->ops->read(a->view, adopt_bytes(path), out->len, piece, len, &version);
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

int adopt_load(struct adopt *a, const struct pfs_buf *path, struct pfs_buf *out)
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

void adopt_unhide(struct adopt *a, struct adopt_node *hidden)
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

int adopt_remove_kept(struct adopt *a, struct adopt_node *node)
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
	err = a->view->ops->remove ? a->view->ops->remove(a->view, adopt_bytes(&path), &how)
				   : -EPERM;
	if (err == -ENOENT || err == -EISDIR || err == -ESTALE) /* it is another by now */
		err = 0;
	pfs_buf_release(&path);
	if (err)
		return err;
	pthread_mutex_lock(&a->lock);
	adopt_unhide(a, kept);
	pthread_mutex_unlock(&a->lock);
	return 0;
}
