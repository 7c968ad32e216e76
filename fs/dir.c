/*
 * Listing directories. Entries come from the engine a page at a time, in order of their sequence,
 * which is also the offset that the kernel passes to resume: whatever comes or goes meanwhile, an
 * entry that stays is told exactly once. A page is kept between calls and thrown away as soon as
 * anything in the directory changed.
 */
#include <stdio.h>

#include "fs/internal.h"

#define PAGE_ENTRIES 256
/* Offsets: 1 behind ".", 2 behind "..", then those of the entries. */
#define OFF_DOT	   1
#define OFF_DOTDOT 2

struct pfs_dir {
	struct pfs_node *node; /* counted */
	uint64_t held;	       /* its id, held in the engine; 0: no object */
	pthread_mutex_t lock;  /* the page */
	struct pfs_list *page;
	size_t pos;	 /* next entry of the page */
	uint64_t cursor; /* behind which it stands */
	struct pfs_stamp stamp;
};

int pfs_fs_opendir(struct pfs_fs *fs, struct pfs_node *node, struct pfs_dir **out,
		   struct pfs_open_hints *hints)
{
	struct pfs_dir *dir;
	uint64_t id = 0;
	int err;

	if (pfs_node_is_object(node)) {
		err = pfs_node_id(node, &id);
		if (err && err != -ENODATA) /* nothing has been made yet: it is empty */
			return err;
	}
	dir = calloc(1, sizeof(*dir));
	if (!dir)
		return -ENOMEM;
	dir->node = node;
	pthread_mutex_init(&dir->lock, NULL);
	pfs_node_ref(fs, node);
	/* Removed by others it is still a directory to those who have it open. */
	dir->held = id;
	if (id)
		pfs_store_hold(atomic_load(&node->vol->store), id);
	*hints = (struct pfs_open_hints){0};
	/*
	 * The kernel may go on with a listing where it has lost a part of an earlier one. Others' data has
	 * its ids in memory, and the entry that was there may be forgotten by now.
	 */
	if (id && pfs_vol_pushes(node->vol) &&
	    !node->vol->config->backend->host)
		hints->cache_dir = hints->keep_cache = true;
	*out = dir;
	return 0;
}

void pfs_fs_releasedir(struct pfs_fs *fs, struct pfs_dir *dir)
{
	if (dir->held)
		pfs_store_release_id(atomic_load(&dir->node->vol->store), dir->held);
	pfs_list_free(dir->page);
	pthread_mutex_destroy(&dir->lock);
	pfs_node_unref(fs, dir->node);
	free(dir);
}

/* "." and ".." */
static bool fill_dots(struct pfs_fs *fs, struct pfs_dir *dir, off_t *off, pfs_fill_fn fill,
		      void *arg)
{
	struct pfs_entry e = {0};

	e.st.st_mode = S_IFDIR;
	e.st.st_ino = dir->node->ino;
	if (*off < OFF_DOT) {
		if (!fill(arg, ".", &e, OFF_DOT))
			return false;
		*off = OFF_DOT;
	}
	if (*off < OFF_DOTDOT) {
		pfs_node_lock(fs, dir->node);
		if (dir->node->known_parent)
			e.st.st_ino = dir->node->known_parent->ino;
		pfs_node_unlock(fs, dir->node);
		if (!fill(arg, "..", &e, OFF_DOTDOT))
			return false;
		*off = OFF_DOTDOT;
	}
	return true;
}

/* One child of the fixed part or of the control tree; these nodes are permanent. */
static bool fill_node(struct pfs_fs *fs, struct pfs_node *node, const char *name, bool plus,
		      off_t next, pfs_fill_fn fill, void *arg)
{
	struct pfs_entry e = {0};

	/* A store that does not answer must not keep its neighbours from being listed. */
	if (plus && pfs_node_is_object(node))
		pfs_root_fill(fs, node, &e);
	else if (plus && pfs_entry_fill(fs, node, NULL, PFS_BYTES(""), pfs_stamp_take(fs), &e))
		return true;
	if (!plus) {
		e.st.st_ino = node->ino;
		e.st.st_mode = S_IFDIR;
		if (node->kind == PFS_NODE_CONTROL)
			pfs_control_stat(fs, node, &e.st);
	}
	return fill(arg, name, &e, next);
}

static int list_virtual(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, bool plus,
			pfs_fill_fn fill, void *arg)
{
	struct pfs_vdir *v = dir->node->vdir;
	size_t i;

	for (i = (size_t)off - OFF_DOTDOT; i < v->nchildren; i++) {
		struct pfs_vdir *child = v->children[i];

		if (!fill_node(fs, child->vol ? child->vol->root : child->node, child->name, plus,
			       (off_t)(i + OFF_DOTDOT + 1), fill, arg))
			break;
	}
	return 0;
}

static int list_control(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, bool plus,
			pfs_fill_fn fill, void *arg)
{
	struct pfs_node *node;
	uint64_t i;
	char *name;
	bool more = true;
	int err;

	for (i = (uint64_t)off - OFF_DOTDOT; more; i++) {
		err = pfs_control_child(fs, dir->node, i, &name);
		if (err)
			return err == -ENOENT ? 0 : err;
		err = pfs_control_lookup(fs, dir->node, pfs_bytes_str(name), &node);
		if (!err)
			more = fill_node(fs, node, name, plus, (off_t)(i + OFF_DOTDOT + 1), fill,
					 arg);
		free(name);
	}
	return 0;
}

/* The namespaces of a backend; a look-up by name opens one. */
static int list_set(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, pfs_fill_fn fill, void *arg)
{
	struct pfs_backend *backend = dir->node->vdir->set->config->backend;
	struct pfs_namespace_list list = {0};
	struct pfs_entry e = {0};
	size_t i;
	int err;

	(void)fs;
	err = pfs_backend_start(backend, NULL);
	if (!err)
		err = pfs_backend_namespaces(backend, &list);
	if (err)
		return err == -ENODATA ? 0 : err;
	for (i = 0; i < list.n; i++) {
		off_t next = (off_t)list.items[i].id + OFF_DOTDOT;

		if (next <= off)
			continue;
		e.st.st_mode = S_IFDIR;
		e.st.st_ino = (dir->node->ino << 32) | list.items[i].id;
		if (!fill(arg, list.items[i].name, &e, next))
			break;
	}
	pfs_namespace_list_release(&list);
	return 0;
}

/* ---- objects -------------------------------------------------------------------------------- */

/* Is the page still what the engine would say? dir->lock is held. */
static bool page_good(struct pfs_fs *fs, struct pfs_dir *dir, uint64_t cursor)
{
	bool good;

	if (!dir->page || dir->cursor != cursor)
		return false;
	if (dir->pos == dir->page->n && !dir->page->end)
		return false;
	pfs_node_lock(fs, dir->node);
	good = dir->stamp.own >= dir->node->changed && dir->stamp.seen == atomic_load(&fs->seen);
	pfs_node_unlock(fs, dir->node);
	return good;
}

static int page_fetch(struct pfs_fs *fs, struct pfs_dir *dir, uint64_t cursor)
{
	struct pfs_list *page = NULL;
	uint64_t id;
	int err;

	pfs_list_free(dir->page);
	dir->page = NULL;
	(void)pfs_queue_settle(dir->node->vol);
	dir->stamp = pfs_stamp_take(fs);
	err = pfs_node_id(dir->node, &id);
	if (!err)
		err = pfs_store_list(atomic_load(&dir->node->vol->store), id, cursor, PAGE_ENTRIES,
				     &page);
	/* A directory that was removed while it is open has nothing in it, nor has one not made yet. */
	if (err == -ENOENT || err == -ENODATA) {
		page = pfs_list_new(0);
		if (!page)
			return -ENOMEM;
		pfs_list_finish(page, true);
		err = 0;
	}
	if (err)
		return err;
	dir->page = page;
	dir->pos = 0;
	dir->cursor = cursor;
	return 0;
}

/* Tell one entry; false: it did not fit. */
static bool fill_object(struct pfs_fs *fs, struct pfs_dir *dir, const struct pfs_dirent *d,
			bool plus, pfs_fill_fn fill, void *arg)
{
	struct pfs_vol *vol = dir->node->vol;
	struct pfs_entry e = {0};
	struct pfs_node *node = NULL;
	char name[PFS_NAME_MAX + 1];

	if (d->name.len > PFS_NAME_MAX)
		return true; /* no name that any call could carry */
	memcpy(name, d->name.p, d->name.len);
	name[d->name.len] = '\0';
	if (plus && atomic_load(&fs->nnodes) < PFS_PLUS_NODES_MAX)
		node = pfs_node_get(vol, &d->attr, dir->stamp, 1, 0);
	if (node && pfs_entry_fill(fs, node, dir->node, d->name, dir->stamp, &e)) {
		pfs_fs_forget(fs, node, 1);
		node = NULL;
	}
	if (!node) {
		e = (struct pfs_entry){0};
		e.st.st_ino = ((uint64_t)vol->ordinal << 39) | d->attr.id;
		e.st.st_mode = d->attr.mode;
	}
	if (fill(arg, name, &e, (off_t)d->cursor))
		return true;
	if (node)
		pfs_fs_forget(fs, node, 1);
	return false;
}

static int list_object(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, bool plus,
		       pfs_fill_fn fill, void *arg)
{
	uint64_t cursor = off <= OFF_DOTDOT ? 0 : (uint64_t)off;
	int err = 0;

	for (;;) {
		const struct pfs_dirent *d;

		if (!page_good(fs, dir, cursor)) {
			err = page_fetch(fs, dir, cursor);
			if (err)
				return err;
		}
		if (dir->pos == dir->page->n) {
			if (dir->page->end || dir->page->n == 0)
				return 0;
			continue;
		}
		d = &dir->page->entries[dir->pos];
		if (!fill_object(fs, dir, d, plus, fill, arg))
			return 0;
		dir->pos++;
		dir->cursor = cursor = d->cursor;
	}
}

int pfs_fs_readdir(struct pfs_fs *fs, struct pfs_dir *dir, off_t off, bool plus, pfs_fill_fn fill,
		   void *arg)
{
	int err;

	if (off < 0)
		return -EINVAL;
	pthread_mutex_lock(&dir->lock);
	err = 0;
	if (fill_dots(fs, dir, &off, fill, arg)) {
		switch (dir->node->kind) {
		case PFS_NODE_VIRTUAL:
			err = list_virtual(fs, dir, off, plus, fill, arg);
			break;
		case PFS_NODE_SET:
			err = list_set(fs, dir, off, fill, arg);
			break;
		case PFS_NODE_CONTROL:
			err = list_control(fs, dir, off, plus, fill, arg);
			break;
		default:
			err = list_object(fs, dir, off, plus, fill, arg);
			break;
		}
	}
	pthread_mutex_unlock(&dir->lock);
	return err;
}

int pfs_fs_fsyncdir(struct pfs_fs *fs, struct pfs_node *node)
{
	int err;

	(void)fs;
	if (!pfs_node_is_object(node))
		return 0;
	if (pfs_vol_unmade(node->vol))
		return 0;
	err = pfs_queue_settle(node->vol);
	return err ? err : pfs_backend_sync(node->vol->config->backend);
}
