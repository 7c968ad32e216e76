/*
 * The fixed part of the tree (root, directories on the way to stores, stores at their places), and
 * the life of the whole: building, starting, draining, freeing. Knows which volume is where; what
 * happens inside a volume is the other files' matter.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fs/internal.h"

/* How long a new session is quiet where there are others. */
#define SESSION_GRACE (250 * 1000 * 1000)

/* Inode numbers of the fixed part: below 1 << 39, where those of volume 1 begin. */
#define INO_FIRST_VIRTUAL 2

static struct pfs_vdir *vdir_new(const char *name, size_t len, struct pfs_vdir *parent)
{
	struct pfs_vdir *dir = calloc(1, sizeof(*dir)), **children;

	if (!dir)
		return NULL;
	dir->name = strndup(name, len);
	dir->parent = parent;
	if (!dir->name)
		goto fail;
	if (parent) {
		children = realloc(parent->children,
				   (parent->nchildren + 1) * sizeof(*parent->children));
		if (!children)
			goto fail;
		children[parent->nchildren++] = dir;
		parent->children = children;
	}
	return dir;
fail:
	free(dir->name);
	free(dir);
	return NULL;
}

static void vdir_free(struct pfs_vdir *dir)
{
	size_t i;

	if (!dir)
		return;
	for (i = 0; i < dir->nchildren; i++)
		vdir_free(dir->children[i]);
	free(dir->children);
	free(dir->name);
	free(dir->node);
	free(dir);
}

static struct pfs_vdir *vdir_child(struct pfs_vdir *dir, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < dir->nchildren; i++)
		if (strlen(dir->children[i]->name) == len &&
		    memcmp(dir->children[i]->name, name, len) == 0)
			return dir->children[i];
	return NULL;
}

/* The directory of a store's name, with those on the way to it. */
static struct pfs_vdir *vdir_path(struct pfs_vdir *top, const char *path)
{
	struct pfs_vdir *dir = top, *child;

	while (dir && *path) {
		size_t len = strcspn(path, "/");

		child = vdir_child(dir, path, len);
		dir = child ? child : vdir_new(path, len, dir);
		path += len + (path[len] == '/');
	}
	return dir;
}

/* Give every directory of the fixed part its node. */
static int vdir_nodes(struct pfs_fs *fs, struct pfs_vdir *dir, uint64_t *ino)
{
	size_t i;
	int err = 0;

	if (!dir->vol) {
		dir->node = pfs_node_new_fixed(fs, dir->set ? PFS_NODE_SET : PFS_NODE_VIRTUAL,
					       dir == fs->top ? 1 : (*ino)++);
		if (!dir->node)
			return -ENOMEM;
		dir->node->vdir = dir;
	}
	for (i = 0; i < dir->nchildren && !err; i++)
		err = vdir_nodes(fs, dir->children[i], ino);
	return err;
}

static int place_store(struct pfs_fs *fs, const struct pfs_store_config *config)
{
	struct pfs_vdir *dir = vdir_path(fs->top, config->name);
	struct pfs_set_store *set;

	if (!dir)
		return -ENOMEM;
	if (strcmp(config->ns, "*") != 0) {
		dir->vol = pfs_vol_new(fs, config, config->name, config->ns);
		return dir->vol ? 0 : -ENOMEM;
	}
	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->fs = fs;
	set->config = config;
	pthread_mutex_init(&set->lock, NULL);
	fs->sets[fs->nsets++] = set;
	dir->set = set;
	return 0;
}

int pfs_fs_new(const struct pfs_fs_config *config, struct pfs_fs **out, struct pfs_msg *msg)
{
	struct pfs_fs *fs = calloc(1, sizeof(*fs));
	uint64_t ino = INO_FIRST_VIRTUAL;
	pthread_rwlockattr_t writer_first;
	size_t i;
	int err = -ENOMEM;

	if (!fs)
		goto out;
	fs->config = config;
	fs->dirty_limit = config->dirty_limit;
	pthread_mutex_init(&fs->control_lock, NULL);
	fs->started_at = pfs_now_ns();
	pthread_mutex_init(&fs->vols_lock, NULL);
	/* Replies never pause under load: invalidations must not wait for that. */
	pthread_rwlockattr_init(&writer_first);
	pthread_rwlockattr_setkind_np(&writer_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&fs->reply_lock, &writer_first);
	pthread_rwlockattr_destroy(&writer_first);
	fs->sets = calloc(config->nstores ? config->nstores : 1, sizeof(*fs->sets));
	fs->top = vdir_new("", 0, NULL);
	if (!fs->sets || !fs->top || pfs_nodes_init(fs))
		goto out;
	err = 0;
	for (i = 0; i < config->nstores && !err; i++)
		err = place_store(fs, &config->stores[i]);
	if (!err)
		err = vdir_nodes(fs, fs->top, &ino);
	if (!err)
		err = pfs_control_init(fs);
	if (!err)
		err = pfs_ahead_init(fs);
	if (!err)
		err = pfs_lockers_init(fs);
	if (!err)
		err = pfs_invalidators_init(fs);
	if (!err) {
		*out = fs;
		fs = NULL;
	}
out:
	if (err == -ENOMEM && msg && !msg->text[0])
		pfs_msg_set(msg, "out of memory");
	pfs_fs_free(fs);
	return err;
}

struct pfs_vol **pfs_vols_snapshot(struct pfs_fs *fs, size_t *n)
{
	struct pfs_vol **copy;

	pthread_mutex_lock(&fs->vols_lock);
	*n = fs->nvols;
	copy = malloc((fs->nvols ? fs->nvols : 1) * sizeof(*copy));
	if (copy)
		memcpy(copy, fs->vols, fs->nvols * sizeof(*copy));
	pthread_mutex_unlock(&fs->vols_lock);
	return copy;
}

static bool backend_lazy(const struct pfs_fs *fs, const struct pfs_backend *backend)
{
	size_t i;

	for (i = 0; i < fs->config->nbackends; i++)
		if (fs->config->backends[i] == backend)
			return fs->config->lazy && fs->config->lazy[i];
	return false;
}

/*
 * A mount that is alone takes liberties (a create waits for its close), and gives them up when it hears
 * of another: so the other lets it hear first.
 */
void pfs_backend_started(struct pfs_backend *backend)
{
	const struct timespec grace = {.tv_nsec = SESSION_GRACE};

	if (pfs_backend_sessions(backend) > 1)
		nanosleep(&grace, NULL);
}

/* Start a backend and open the stores on it, so that what is wrong is told before the mount. */
static int start_backend(struct pfs_fs *fs, size_t i, struct pfs_msg *msg)
{
	struct pfs_backend *backend = fs->config->backends[i];
	struct pfs_msg why = {""};
	size_t v;
	int err;

	err = pfs_backend_start(backend, &why);
	if (err == -ENODATA) /* nothing has been made yet */
		return 0;
	if (err) {
		pfs_msg_set(msg, "backend '%s': %s", backend->name,
			    why.text[0] ? why.text : strerror(-err));
		return err;
	}
	pfs_backend_started(backend);
	for (v = 0; v < fs->nvols && !err; v++) {
		if (fs->vols[v]->config->backend != backend)
			continue;
		err = pfs_vol_open(fs->vols[v], &why);
		if (err)
			pfs_msg_set(msg, "store '%s': %s", fs->vols[v]->name,
				    why.text[0] ? why.text : strerror(-err));
	}
	return err;
}

int pfs_fs_start(struct pfs_fs *fs, size_t *failed_backend, struct pfs_msg *msg)
{
	size_t i;
	int err = 0;

	*failed_backend = SIZE_MAX;
	fs->started = true;
	for (i = 0; i < fs->config->nbackends && !err; i++) {
		if (backend_lazy(fs, fs->config->backends[i]))
			continue;
		err = start_backend(fs, i, msg);
		if (err)
			*failed_backend = i;
	}
	if (!err) {
		err = pfs_invalidators_start(fs);
		if (err)
			pfs_msg_set(msg, "cannot start a thread: %s", strerror(-err));
	}
	return err;
}

void pfs_fs_set_kernel(struct pfs_fs *fs, const struct pfs_kernel_ops *ops, void *arg)
{
	fs->kernel = *ops;
	fs->kernel_arg = arg;
}

struct pfs_node *pfs_fs_root(struct pfs_fs *fs)
{
	struct pfs_vdir *top = fs->top;

	return top->node ? top->node : top->vol->root;
}

static const struct pfs_store_config *vdir_store(const struct pfs_vdir *dir)
{
	if (dir->set)
		return dir->set->config;
	return dir->vol ? dir->vol->config : NULL;
}

/* The store whose engine is asked for a control file. */
static const struct pfs_store_config *control_store(const struct pfs_fs *fs, const char *path)
{
	const char *name = path + strlen("stores/"), *end = strrchr(path, '/');
	size_t i, len;

	if (strncmp(path, "stores/", strlen("stores/")) != 0 || strcmp(end, "/usage") != 0)
		return NULL;
	for (i = 0; i < fs->config->nstores; i++) {
		len = strlen(fs->config->stores[i].name);
		if (strncmp(fs->config->stores[i].name, name, len) == 0 &&
		    (name[len] == '/' || name[len] == '\0'))
			return &fs->config->stores[i];
	}
	return NULL;
}

size_t pfs_fs_backend_of(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_bytes name)
{
	const struct pfs_store_config *store = NULL;
	struct pfs_vdir *child;
	size_t i;

	if (node->kind == PFS_NODE_OBJECT) {
		store = node->vol->config;
	} else if (node->kind == PFS_NODE_CONTROL) {
		store = control_store(fs, node->control);
	} else if (node->kind == PFS_NODE_SET) {
		store = vdir_store(node->vdir);
	} else if (name.len) {
		child = vdir_child(node->vdir, name.p, name.len);
		store = child ? vdir_store(child) : NULL;
	}
	for (i = 0; store && i < fs->config->nbackends; i++)
		if (fs->config->backends[i] == store->backend)
			return i;
	return fs->config->nbackends;
}

size_t pfs_fs_backend_of_stat(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_bytes name)
{
	struct pfs_vdir *child = NULL;
	bool unreachable;

	if (name.len && node->kind == PFS_NODE_VIRTUAL)
		child = vdir_child(node->vdir, name.p, name.len);
	if (name.len)
		unreachable = child && child->vol && pfs_root_unreachable(child->vol->root);
	else
		unreachable = pfs_root_unreachable(node);
	return unreachable ? fs->config->nbackends : pfs_fs_backend_of(fs, node, name);
}

void pfs_fs_reply_begin(struct pfs_fs *fs, struct pfs_entry *e)
{
	pthread_rwlock_rdlock(&fs->reply_lock);
	if (e && e->seen != atomic_load(&fs->seen))
		e->entry_timeout = e->attr_timeout = 0;
}

void pfs_fs_reply_end(struct pfs_fs *fs)
{
	pthread_rwlock_unlock(&fs->reply_lock);
}

/* Commit all of one volume: what is queued, then what is dirty, until neither is left. */
static int drain_vol(struct pfs_vol *vol)
{
	struct pfs_data *data;
	int err, first;

	first = pfs_queue_settle(vol);
	for (;;) {
		pthread_mutex_lock(&vol->lock);
		data = vol->dirty;
		if (data)
			data->users++;
		pthread_mutex_unlock(&vol->lock);
		if (!data)
			return first;
		pfs_data_drop_unwritten(data);
		err = pfs_data_commit(data, PFS_GOAL_PUBLISH);
		if (err) {
			pfs_data_give_up(data, err);
			first = first ? first : err;
		}
		pfs_data_put(data);
	}
}

int pfs_fs_drain(struct pfs_fs *fs, struct pfs_msg *msg)
{
	struct pfs_vol **vols;
	size_t i, n;
	int err, first = 0;

	vols = pfs_vols_snapshot(fs, &n);
	for (i = 0; vols && i < n; i++) {
		if (!atomic_load(&vols[i]->store))
			continue;
		err = drain_vol(vols[i]);
		if (err && !first) {
			first = err;
			pfs_msg_set(msg, "store '%s': data was lost: %s", vols[i]->name,
				    strerror(-err));
		}
	}
	free(vols);
	for (i = 0; i < fs->config->nbackends; i++) {
		if (!fs->config->backends[i]->started)
			continue;
		err = pfs_backend_sync(fs->config->backends[i]);
		if (err && err != -EOPNOTSUPP && !first) {
			first = err;
			pfs_msg_set(msg, "backend '%s': sync failed: %s",
				    fs->config->backends[i]->name, strerror(-err));
		}
	}
	return first;
}

void pfs_fs_free(struct pfs_fs *fs)
{
	size_t i;

	if (!fs)
		return;
	for (i = 0; i < fs->nvols; i++)
		pfs_vol_stop(fs->vols[i]);
	pfs_invalidators_stop(fs);
	pfs_lockers_stop(fs);
	pfs_lockers_release(fs);
	pfs_invalidators_release(fs);
	pfs_control_release(fs);
	for (i = 0; i < fs->nvols; i++)
		pfs_vol_release(fs->vols[i]);
	pfs_ahead_release(fs);
	pfs_nodes_release(fs);
	for (i = 0; i < fs->nvols; i++)
		pfs_vol_free(fs->vols[i]);
	free(fs->vols);
	for (i = 0; i < fs->nsets; i++) {
		pthread_mutex_destroy(&fs->sets[i]->lock);
		free(fs->sets[i]->vols);
		free(fs->sets[i]);
	}
	free(fs->sets);
	vdir_free(fs->top);
	pthread_mutex_destroy(&fs->vols_lock);
	pthread_mutex_destroy(&fs->control_lock);
	pthread_rwlock_destroy(&fs->reply_lock);
	free(fs);
}
