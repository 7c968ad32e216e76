/*
 * A backend made of a view: the calls that look. Others' data has no ids, so that nodes in memory have
 * them (node.c); a call takes the path of a node, asks the view without the lock, and notes what it said.
 * Files in memory (scratch, and what is not in the engine yet) are answered from there.
 */
#include <unistd.h>

#include "backends/adopt/adopt.h"

/* ---- asking the view ------------------------------------------------------------------------ */

/* The view says that there is something of another type, or nothing, at a node's path. */
static void not_there(struct adopt *a, struct adopt_node *node)
{
	if (node->state == ADOPT_KEY && node->parent && !node->hidden && !adopt_moving(node))
		adopt_detach(a, node);
}

/* Has the node this path still? The lock is held. */
static bool is_at(const struct adopt_node *node, const struct pfs_buf *path)
{
	struct pfs_buf now = {0};
	int err = adopt_path(node, (struct pfs_bytes){NULL, 0}, &now);
	bool same = err == -ENOMEM || (!err && now.len == path->len &&
				       memcmp(now.data, path->data, now.len) == 0);

	pfs_buf_release(&now);
	return same;
}

/* What nothing can be called is not there. */
static int view_stat(struct adopt *a, const struct pfs_buf *path, struct pfs_view_attr *told)
{
	int err = a->view->ops->stat(a->view, (struct pfs_bytes){path->data, path->len}, told);

	return err == -EILSEQ ? -ENOENT : err;
}

/* Ask at the path that the node has. It may have another one by the time of the answer: *moved. */
static int ask_once(struct adopt *a, struct adopt_node *node, struct pfs_attr *out, bool *moved)
{
	struct pfs_buf path = {0};
	struct pfs_view_attr told = {0};
	uint64_t changes;
	int err;

	pthread_mutex_lock(&a->lock);
	changes = a->changes;
	err = adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
	pthread_mutex_unlock(&a->lock);
	if (!err)
		err = view_stat(a, &path, &told);
	pthread_mutex_lock(&a->lock);
	*moved = node->state == ADOPT_KEY && node->parent && !is_at(node, &path);
	if (!err && (told.mode & S_IFMT) != (node->mode & S_IFMT))
		err = -ENOENT;
	if (err == -ENOTDIR)
		err = -ENOENT;
	if (err == -ENOENT && !*moved && node->known && adopt_moving(node)) {
		adopt_attr(a, node, out); /* it has left there, and not come to where it goes */
		err = 0;
	} else if (err == -ENOENT && !*moved) {
		not_there(a, node);
	} else if (!err && !*moved) {
		adopt_told(a, node, &told, changes);
		adopt_attr(a, node, out);
	}
	pthread_mutex_unlock(&a->lock);
	pfs_buf_release(&path);
	return err;
}

int adopt_ask(struct adopt *a, struct adopt_node *node, struct pfs_attr *out)
{
	bool moved;
	int err;

	do
		err = ask_once(a, node, out, &moved);
	while (moved);
	return err;
}

/* The node of `id`, pinned, or NULL. Where it is in memory *out is filled and *done set. */
static struct adopt_node *enter(struct adopt *a, uint64_t id, struct pfs_attr *out, bool *done)
{
	struct adopt_node *node;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	*done = node && adopt_in_memory(node);
	if (*done && out)
		adopt_attr(a, node, out);
	if (node)
		adopt_pin(node);
	pthread_mutex_unlock(&a->lock);
	return node;
}

static void leave(struct adopt *a, struct adopt_node *node)
{
	pthread_mutex_lock(&a->lock);
	adopt_unpin(a, node);
	pthread_mutex_unlock(&a->lock);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int ad_root(struct pfs_store *s, uint64_t *id)
{
	*id = adopt_of(s->backend)->root->id;
	return 0;
}

static int ad_alloc_ids(struct pfs_store *s, unsigned n, uint64_t *first)
{
	struct adopt *a = adopt_of(s->backend);

	pthread_mutex_lock(&a->lock);
	*first = a->next_id;
	a->next_id += n;
	pthread_mutex_unlock(&a->lock);
	return 0;
}

static int ad_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	bool done;
	int err = 0;

	node = enter(a, id, out, &done);
	if (!node)
		return -ENOENT;
	if (!done)
		err = adopt_ask(a, node, out);
	leave(a, node);
	return err;
}

/*
 * The node of what the view has said to be at (dir, name): the one that is known, or a new one. The
 * lock is held. NULL: out of memory.
 */
static struct adopt_node *node_of(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name,
				  const struct pfs_view_attr *told, uint64_t changes)
{
	struct adopt_node *node = adopt_child(a, dir, name);

	if (node && !adopt_in_memory(node) && (node->mode & S_IFMT) != (told->mode & S_IFMT)) {
		adopt_detach(a, node);
		node = NULL;
	}
	if (!node)
		node = adopt_node_new(a, dir, name, 0, ADOPT_KEY, told->mode & S_IFMT);
	/* What is hidden is compared later with what it was then. */
	if (node && !adopt_in_memory(node) && !node->hidden)
		adopt_told(a, node, told, changes);
	return node;
}

static int look_up(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name,
		   struct pfs_attr *out)
{
	struct pfs_view_attr told = {0};
	struct pfs_buf path = {0};
	struct adopt_node *node;
	uint64_t changes = 0;
	bool hidden;
	int err;

	pthread_mutex_lock(&a->lock);
	node = adopt_child(a, dir, name);
	hidden = node && node->hidden;
	if (node && adopt_in_memory(node)) {
		adopt_attr(a, node, out);
		pthread_mutex_unlock(&a->lock);
		return 0;
	}
	changes = a->changes;
	err = adopt_path(dir, name, &path);
	pthread_mutex_unlock(&a->lock);
	if (!err && hidden)
		err = -ENOENT;
	if (!err)
		err = view_stat(a, &path, &told);
	pfs_buf_release(&path);
	pthread_mutex_lock(&a->lock);
	node = adopt_child(a, dir, name);
	if (err == -ENOENT && node)
		not_there(a, node);
	if (!err) {
		node = node_of(a, dir, name, &told, changes);
		err = node ? 0 : -ENOMEM;
	}
	if (!err)
		adopt_attr(a, node, out);
	pthread_mutex_unlock(&a->lock);
	return err;
}

static int ad_lookup(struct pfs_store *s, uint64_t dir, struct pfs_bytes name, struct pfs_attr *out)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	bool done;
	int err;

	node = enter(a, dir, NULL, &done);
	/* Forgotten among many, maybe, while the kernel has it still: it is to look that up again. */
	if (!node)
		return -ESTALE;
	err = done || !S_ISDIR(node->mode) ? -ENOTDIR : look_up(a, node, name, out);
	leave(a, node);
	return err;
}

static int ad_parent(struct pfs_store *s, uint64_t dir, uint64_t *out)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	int err = 0;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, dir);
	if (!node || (node != a->root && !node->parent))
		err = -ENOENT;
	else if (!S_ISDIR(node->mode))
		err = -ENOTDIR;
	else
		*out = node->parent ? node->parent->id : node->id;
	pthread_mutex_unlock(&a->lock);
	return err;
}

static ssize_t text_read(const struct pfs_buf *text, uint64_t off, void *buf, size_t len)
{
	if (off >= text->len)
		return 0;
	if (len > text->len - (size_t)off)
		len = text->len - (size_t)off;
	memcpy(buf, text->data + off, len);
	return (ssize_t)len;
}

/* A content that this session has staged: it has no end. The lock is held. */
static ssize_t staged_read(struct adopt *a, uint64_t id, uint64_t off, void *buf, size_t len)
{
	const struct adopt_staged *st = a->staged;
	ssize_t n;

	while (st && st->id != id)
		st = st->next;
	if (!st)
		return -ENOENT;
	n = text_read(&st->text, off, buf, len);
	memset((char *)buf + n, 0, len - (size_t)n);
	return (ssize_t)len;
}

static ssize_t view_read(struct adopt *a, struct adopt_node *node, uint64_t off, void *buf,
			 size_t len)
{
	struct pfs_buf path = {0};
	uint64_t version = 0;
	ssize_t n;

	pthread_mutex_lock(&a->lock);
	n = adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
	pthread_mutex_unlock(&a->lock);
	if (!n)
		n = a->view->ops->read(a->view, (struct pfs_bytes){path.data, path.len}, off, buf,
				       len, &version);
	pfs_buf_release(&path);
	if (n < 0)
		return n;
	pthread_mutex_lock(&a->lock);
	node->read_version = version;
	pthread_mutex_unlock(&a->lock);
	return n;
}

static ssize_t ad_read(struct pfs_store *s, uint64_t id, uint64_t off, void *buf, size_t len)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	ssize_t n;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	if (node && S_ISDIR(node->mode))
		n = -EISDIR;
	else if (node && adopt_in_memory(node))
		n = text_read(&node->text, off, buf, len);
	else if (node)
		n = 1;
	else
		n = staged_read(a, id, off, buf, len);
	if (!node || n != 1 || adopt_in_memory(node)) {
		pthread_mutex_unlock(&a->lock);
		return n;
	}
	adopt_pin(node);
	pthread_mutex_unlock(&a->lock);
	n = view_read(a, node, off, buf, len);
	leave(a, node);
	return n;
}

static int ad_snapshot(struct pfs_store *s, uint64_t id, int *fd)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	struct pfs_buf path = {0};
	bool done;
	int err;

	node = enter(a, id, NULL, &done);
	if (!node)
		return -ENOENT;
	pthread_mutex_lock(&a->lock);
	err = done ? -EOPNOTSUPP : adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
	pthread_mutex_unlock(&a->lock);
	if (!err)
		err = a->view->ops->snapshot
			      ? a->view->ops->snapshot(
					a->view, (struct pfs_bytes){path.data, path.len}, fd)
			      : -EOPNOTSUPP;
	pfs_buf_release(&path);
	leave(a, node);
	return err;
}

/* ---- listing -------------------------------------------------------------------------------- */

/*
 * First what the view has, in its order, then what is in memory, in order of ids. A cursor is the id of
 * the entry's node, with this bit where the second part has begun.
 */
#define CURSOR_MEMORY (UINT64_C(1) << 62)

struct listing {
	struct adopt *a;
	struct adopt_node *dir;
	struct pfs_list *list;
	struct pfs_buf last; /* the name that the view told last */
	uint64_t changes;
};

static int list_entry(void *arg, struct pfs_bytes name, const struct pfs_view_attr *told)
{
	struct listing *l = arg;
	struct adopt_node *node;
	struct pfs_attr attr;
	int err = -ENOMEM;

	l->last.len = 0;
	pfs_buf_add(&l->last, name.p, name.len);
	pfs_buf_str(&l->last, "");
	if (l->last.failed)
		return err;
	pthread_mutex_lock(&l->a->lock);
	node = node_of(l->a, l->dir, name, told, l->changes);
	if (node && (adopt_in_memory(node) || node->hidden)) {
		err = 0; /* told with the other files in memory, or not at all */
	} else if (node) {
		adopt_attr(l->a, node, &attr);
		err = pfs_list_add(l->list, node->id, name, &attr);
	}
	pthread_mutex_unlock(&l->a->lock);
	return err;
}

/* A page of what the view has, behind l->last. */
static int list_view(struct adopt *a, struct listing *l, size_t limit, bool *end)
{
	struct pfs_buf path = {0}, after = {0};
	int err;

	pfs_buf_add(&after, l->last.data, l->last.len);
	pfs_buf_str(&after, "");
	pthread_mutex_lock(&a->lock);
	l->changes = a->changes;
	err = adopt_path(l->dir, (struct pfs_bytes){NULL, 0}, &path);
	pthread_mutex_unlock(&a->lock);
	if (!err && after.failed)
		err = -ENOMEM;
	if (!err)
		err = a->view->ops->list(a->view, (struct pfs_bytes){path.data, path.len},
					 (struct pfs_bytes){after.data, after.len}, limit,
					 list_entry, l, end);
	pfs_buf_release(&after);
	pfs_buf_release(&path);
	return err;
}

static int by_node_id(const void *pa, const void *pb)
{
	const struct adopt_node *a = *(struct adopt_node *const *)pa,
				*b = *(struct adopt_node *const *)pb;

	return (a->id > b->id) - (a->id < b->id);
}

/* The lock is held. */
static int list_memory(struct adopt *a, struct listing *l, uint64_t after, size_t limit, bool *end)
{
	struct adopt_node **found = NULL, **more, *node;
	size_t n = 0, i;
	struct pfs_attr attr;
	int err = 0;

	for (i = 0; i < a->buckets && !err; i++) {
		for (node = a->by_id[i]; node; node = node->id_next) {
			if (node->parent != l->dir || !adopt_in_memory(node) || node->id <= after)
				continue;
			more = realloc(found, (n + 1) * sizeof(struct adopt_node *));
			if (!more) {
				err = -ENOMEM;
				break;
			}
			found = more;
			found[n++] = node;
		}
	}
	if (n)
		qsort(found, n, sizeof(struct adopt_node *), by_node_id);
	for (i = 0; i < n && l->list->n < limit && !err; i++) {
		adopt_attr(a, found[i], &attr);
		err = pfs_list_add(l->list, found[i]->id | CURSOR_MEMORY,
				   (struct pfs_bytes){found[i]->name, found[i]->len}, &attr);
	}
	*end = i == n;
	free(found);
	return err;
}

/* Where a listing goes on behind `cursor`: a copy of that entry's name. The lock is held. */
static int resume_name(struct adopt *a, uint64_t cursor, struct pfs_buf *out)
{
	struct adopt_node *node;

	pfs_buf_str(out, "");
	if (!cursor)
		return out->failed ? -ENOMEM : 0;
	node = adopt_find(a, cursor);
	if (!node)
		return -ESTALE;
	pfs_buf_add(out, node->name, node->len);
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

static int list_dir(struct adopt *a, struct adopt_node *dir, uint64_t cursor, size_t limit,
		    struct pfs_list *list)
{
	struct listing l = {.a = a, .dir = dir, .list = list};
	bool end = false, memory = cursor & CURSOR_MEMORY;
	int err = 0;

	if (!memory) {
		pthread_mutex_lock(&a->lock);
		err = resume_name(a, cursor, &l.last);
		pthread_mutex_unlock(&a->lock);
	}
	/* What is told and not shown leaves room for more. */
	while (!err && !memory && !end && list->n < limit)
		err = list_view(a, &l, limit - list->n, &end);
	if (!err && (memory || end)) {
		pthread_mutex_lock(&a->lock);
		err = list_memory(a, &l, memory ? cursor & ~CURSOR_MEMORY : 0, limit, &end);
		pthread_mutex_unlock(&a->lock);
	}
	pfs_buf_release(&l.last);
	pfs_list_finish(list, !err && end);
	return err;
}

static int ad_list(struct pfs_store *s, uint64_t dir, uint64_t cursor, size_t limit,
		   struct pfs_list **out)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;
	struct pfs_list *list;
	bool done;
	int err;

	list = pfs_list_new(limit);
	if (!list)
		return -ENOMEM;
	node = enter(a, dir, NULL, &done);
	if (!node)
		err = -ENOENT;
	else
		err = done || !S_ISDIR(node->mode) ? -ENOTDIR
						   : list_dir(a, node, cursor, limit, list);
	if (node)
		leave(a, node);
	if (err)
		pfs_list_free(list);
	else
		*out = list;
	return err;
}

/* ---- attributes ----------------------------------------------------------------------------- */

bool adopt_own_name(struct pfs_bytes *name)
{
	size_t n = strlen(ADOPT_XATTR_PREFIX);

	if (name->len <= n || memcmp(name->p, ADOPT_XATTR_PREFIX, n) != 0)
		return false;
	name->p += n;
	name->len -= n;
	return true;
}

static ssize_t give(const char *text, void *buf, size_t len)
{
	size_t n = text ? strlen(text) : 0;

	if (!text)
		return -ENODATA;
	if (len && n > len)
		return -ERANGE;
	if (len)
		memcpy(buf, text, n);
	return (ssize_t)n;
}

/* Of a scratch file. The lock is held. */
static ssize_t give_kept(const struct adopt_node *node, struct pfs_bytes wanted, void *buf, size_t len)
{
	struct pfs_bytes name, value;
	size_t at = 0;

	while (adopt_kept_xattr(node, &at, &name, &value)) {
		if (!pfs_bytes_eq(name, wanted))
			continue;
		if (len && value.len > len)
			return -ERANGE;
		if (len)
			memcpy(buf, value.p, value.len);
		return (ssize_t)value.len;
	}
	return -ENODATA;
}

static void list_kept(const struct adopt_node *node, struct pfs_buf *out)
{
	struct pfs_bytes name, value;
	size_t at = 0;

	while (adopt_kept_xattr(node, &at, &name, &value)) {
		pfs_buf_str(out, ADOPT_XATTR_PREFIX);
		pfs_buf_add(out, name.p, name.len + 1);
	}
	if (node->expires)
		pfs_buf_add(out, ADOPT_XATTR_PREFIX "expires", sizeof(ADOPT_XATTR_PREFIX "expires"));
}

static ssize_t ad_xattr_get(struct pfs_store *s, uint64_t id, struct pfs_bytes name, void *buf,
			    size_t len)
{
	struct adopt *a = adopt_of(s->backend);
	struct pfs_buf path = {0};
	struct adopt_node *node;
	ssize_t n;
	bool done;

	if (!adopt_own_name(&name))
		return -ENODATA;
	node = enter(a, id, NULL, &done);
	if (!node)
		return -ENOENT;
	pthread_mutex_lock(&a->lock);
	if (pfs_bytes_eq(name, PFS_BYTES("error"))) {
		n = give(node->error, buf, len);
		done = true;
	} else {
		n = done ? give_kept(node, name, buf, len) : adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
		done |= n != 0;
	}
	pthread_mutex_unlock(&a->lock);
	if (!done)
		n = a->view->ops->xattr_get
			    ? a->view->ops->xattr_get(a->view,
						      (struct pfs_bytes){path.data, path.len}, name,
						      buf, len)
			    : -ENODATA;
	pfs_buf_release(&path);
	leave(a, node);
	return n;
}

static int list_names(struct adopt *a, const struct pfs_buf *path, struct pfs_buf *out)
{
	struct pfs_buf names = {0};
	const char *p;
	int err;

	err = a->view->ops->xattr_list(a->view, (struct pfs_bytes){path->data, path->len}, &names);
	for (p = names.data; !err && p && p < names.data + names.len; p += strlen(p) + 1) {
		pfs_buf_str(out, ADOPT_XATTR_PREFIX);
		pfs_buf_add(out, p, strlen(p) + 1);
	}
	if (names.failed || out->failed)
		err = -ENOMEM;
	pfs_buf_release(&names);
	return err;
}

static int ad_xattr_list(struct pfs_store *s, uint64_t id, struct pfs_buf *out)
{
	struct adopt *a = adopt_of(s->backend);
	struct pfs_buf path = {0};
	struct adopt_node *node;
	bool done;
	int err;

	node = enter(a, id, NULL, &done);
	if (!node)
		return -ENOENT;
	pthread_mutex_lock(&a->lock);
	err = done ? 0 : adopt_path(node, (struct pfs_bytes){NULL, 0}, &path);
	if (done)
		list_kept(node, out);
	pthread_mutex_unlock(&a->lock);
	if (!err && !done && a->view->ops->xattr_list)
		err = list_names(a, &path, out);
	pfs_buf_release(&path);
	leave(a, node);
	return err;
}

/* ---- open files ----------------------------------------------------------------------------- */

static void ad_hold(struct pfs_store *s, uint64_t id)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	if (node)
		node->holds++;
	pthread_mutex_unlock(&a->lock);
}

static void ad_release(struct pfs_store *s, uint64_t id)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_node *node;

	pthread_mutex_lock(&a->lock);
	node = adopt_find(a, id);
	if (node && node->holds) {
		adopt_pin(node);
		node->holds--;
		if (!node->holds && node->state == ADOPT_NEW)
			adopt_detach(a, node);
		adopt_unpin(a, node);
	}
	pthread_mutex_unlock(&a->lock);
}

/* ---- what others change --------------------------------------------------------------------- */

void pfs_view_changed(struct pfs_view *view, const struct pfs_bytes *path)
{
	static const struct pfs_event all = {.type = PFS_EVENT_ALL};
	struct adopt *a = adopt_of(view->backend);
	struct pfs_event events[2];
	struct adopt_node *node, *dir;
	struct pfs_bytes name;
	size_t n = 0, i;

	pthread_mutex_lock(&a->lock);
	a->changes++;
	if (!path) {
		for (i = 0; i < a->buckets; i++)
			for (node = a->by_id[i]; node; node = node->id_next)
				node->changed = a->changes;
	} else {
		node = adopt_by_path(a, *path, &dir, &name);
		if (node) {
			node->changed = a->changes;
			events[n++] = (struct pfs_event){.type = PFS_EVENT_CONTENT, .id = node->id};
		}
		if (dir)
			events[n++] = (struct pfs_event){
				.type = PFS_EVENT_ENTRY, .dir = dir->id, .name = name};
	}
	pthread_mutex_unlock(&a->lock);
	if (!path)
		pfs_backend_notify(&a->base, &all, 1);
	else
		pfs_backend_notify(&a->base, events, n);
}

/* Events about all known entries of a directory; names are copied. The lock is held. */
static size_t tell_entries(struct adopt *a, const struct adopt_node *dir, struct pfs_event *events,
			   size_t max, struct pfs_buf *names)
{
	struct adopt_node *node;
	size_t n = 0, i, at = 0;

	for (i = 0; i < a->buckets && n < max; i++) {
		for (node = a->by_id[i]; node && n < max; node = node->id_next) {
			if (node->parent != dir || adopt_in_memory(node))
				continue;
			node->changed = a->changes;
			events[n++] = (struct pfs_event){.type = PFS_EVENT_CONTENT, .id = node->id};
			events[n++] = (struct pfs_event){.type = PFS_EVENT_ENTRY,
							 .dir = dir->id,
							 .name = {NULL, node->len}};
			pfs_buf_add(names, node->name, node->len);
		}
	}
	for (i = 1; i < n && !names->failed; i += 2) {
		events[i].name.p = names->data + at;
		at += events[i].name.len;
	}
	return names->failed ? 0 : n;
}

void pfs_view_changed_below(struct pfs_view *view, const struct pfs_bytes *path)
{
	struct adopt *a = adopt_of(view->backend);
	struct adopt_node *node, *dir;
	struct pfs_event *events = NULL;
	struct pfs_buf names = {0};
	struct pfs_bytes name;
	size_t n = 0, max;

	pfs_view_changed(view, path);
	pthread_mutex_lock(&a->lock);
	node = adopt_by_path(a, *path, &dir, &name);
	a->changes++;
	max = node ? 2 * node->children : 0;
	events = max ? malloc(max * sizeof(*events)) : NULL;
	if (events)
		n = tell_entries(a, node, events, max, &names);
	pthread_mutex_unlock(&a->lock);
	if (max && !n) /* no memory to say which */
		pfs_view_changed(view, NULL);
	else if (n)
		pfs_backend_notify(&a->base, events, n);
	free(events);
	pfs_buf_release(&names);
}

/* ---- the backend ---------------------------------------------------------------------------- */

static int ad_start(struct pfs_backend *b, struct pfs_msg *msg)
{
	struct adopt *a = adopt_of(b);

	return a->view->ops->start(a->view, msg);
}

static int ad_namespace_open(struct pfs_backend *b, const char *ns, bool create,
			     struct pfs_store **out, struct pfs_msg *msg)
{
	struct pfs_store *s = calloc(1, sizeof(*s));
	int err = s ? pfs_store_init(s, b, ns) : -ENOMEM;

	(void)create;
	if (err) {
		free(s);
		pfs_msg_set(msg, "%s", strerror(-err));
		return err;
	}
	*out = s;
	return 0;
}

static void ad_store_free(struct pfs_store *s)
{
	pfs_store_release(s);
	free(s);
}

static int ad_sync(struct pfs_backend *b)
{
	struct adopt *a = adopt_of(b);

	return a->view->ops->sync ? a->view->ops->sync(a->view) : 0;
}

static int ad_catch_up(struct pfs_backend *b)
{
	struct adopt *a = adopt_of(b);

	return a->view->ops->catch_up ? a->view->ops->catch_up(a->view) : 0;
}

/* The others here have no sessions. */
static unsigned ad_sessions(struct pfs_backend *b)
{
	(void)b;
	return 0;
}

static int ad_statfs(struct pfs_backend *b, struct pfs_statfs *out)
{
	struct adopt *a = adopt_of(b);

	return a->view->ops->statfs ? a->view->ops->statfs(a->view, out) : 0;
}

static void ad_health(struct pfs_backend *b, struct pfs_health *out)
{
	struct adopt *a = adopt_of(b);

	if (a->view->ops->health)
		a->view->ops->health(a->view, out);
}

static void ad_connections(struct pfs_backend *b, struct pfs_connections *out)
{
	struct adopt *a = adopt_of(b);

	if (a->view->ops->connections)
		a->view->ops->connections(a->view, out);
}

static void ad_free(struct pfs_backend *b)
{
	struct adopt *a = adopt_of(b);

	if (a->view)
		a->view->ops->free(a->view); /* its threads end */
	adopt_nodes_release(a);
	pthread_mutex_destroy(&a->lock);
	pfs_backend_release(b);
	free(a);
}

static const struct pfs_backend_ops adopt_ops = {
	.start = ad_start,
	.free = ad_free,
	.namespace_open = ad_namespace_open,
	.store_free = ad_store_free,
	.root = ad_root,
	.alloc_ids = ad_alloc_ids,
	.lookup = ad_lookup,
	.getattr = ad_getattr,
	.list = ad_list,
	.parent = ad_parent,
	.read = ad_read,
	.snapshot = ad_snapshot,
	.intake = adopt_intake,
	.xattr_get = ad_xattr_get,
	.xattr_list = ad_xattr_list,
	.commit = adopt_commit,
	.sync = ad_sync,
	.hold = ad_hold,
	.release = ad_release,
	.sessions = ad_sessions,
	.statfs = ad_statfs,
	.catch_up = ad_catch_up,
	.health = ad_health,
	.connections = ad_connections,
};

int pfs_adopt_new(const char *name, const struct pfs_engine *engine, struct pfs_backend *host,
		  const struct pfs_option_set *store, struct pfs_view *view,
		  struct pfs_backend **out, struct pfs_msg *msg)
{
	struct adopt *a = calloc(1, sizeof(*a));
	int err = a ? pfs_backend_init(&a->base, engine, &adopt_ops, name, host->set) : -ENOMEM;

	if (err) {
		view->ops->free(view);
		free(a);
		goto out;
	}
	pthread_mutex_init(&a->lock, NULL);
	a->base.host = host;
	a->view = view;
	view->backend = &a->base;
	a->file_mode = (uint32_t)pfs_option_get(store, "file_mode")->num;
	a->dir_mode = (uint32_t)pfs_option_get(store, "dir_mode")->num;
	a->scratch = (enum pfs_scratch)pfs_option_get(store, "scratch")->num;
	a->uid = (uint32_t)getuid();
	a->gid = (uint32_t)getgid();
	err = adopt_nodes_init(a);
	if (err)
		ad_free(&a->base);
	else
		*out = &a->base;
out:
	if (err)
		pfs_msg_set(msg, "%s", strerror(-err));
	return err;
}
