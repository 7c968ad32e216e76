/*
 * A volume: one namespace of a backend at its place in the tree. Opening it (at start, or with the
 * first request where the backend is lazy), committing to it, and remembering what failed for
 * .persistfs and which negative answers the kernel may hold. Queue and dirty data are in queue.c and
 * data.c.
 */
#include <stdio.h>

#include "fs/internal.h"

/* A store that could not be opened is tried again after this. */
#define REOPEN_DELAY NSEC_PER_SEC
/* The same failure of the same file is noted again after this. */
#define FAILURE_AGAIN (10 * NSEC_PER_SEC)

struct pfs_vol *pfs_vol_new(struct pfs_fs *fs, const struct pfs_store_config *config,
			    const char *name, const char *ns)
{
	struct pfs_vol *vol = calloc(1, sizeof(*vol)), **vols;
	pthread_condattr_t monotonic;

	if (!vol)
		return NULL;
	vol->fs = fs;
	vol->config = config;
	vol->create = config->create && !config->read_only;
	vol->name = strdup(name);
	vol->ns = strdup(ns);
	vol->root_epoch = UINT64_MAX;
	vol->root = pfs_node_new_fixed(fs, PFS_NODE_OBJECT, 0);
	pthread_mutex_init(&vol->open_lock, NULL);
	pthread_mutex_init(&vol->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&vol->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&vol->room, NULL);
	if (!vol->name || !vol->ns || !vol->root)
		goto fail;
	vol->root->vol = vol;
	vol->root->epoch = UINT64_MAX;
	pthread_mutex_lock(&fs->vols_lock);
	vols = realloc(fs->vols, (fs->nvols + 1) * sizeof(*vols));
	if (vols) {
		fs->vols = vols;
		vols[fs->nvols++] = vol;
		vol->ordinal = (unsigned)fs->nvols;
		vol->root->ino = (uint64_t)vol->ordinal << 39;
	}
	pthread_mutex_unlock(&fs->vols_lock);
	if (vols)
		return vol;
fail:
	pfs_vol_free(vol);
	return NULL;
}

void pfs_vol_stop(struct pfs_vol *vol)
{
	pthread_mutex_lock(&vol->lock);
	vol->stop = true;
	pthread_cond_broadcast(&vol->work);
	pthread_cond_broadcast(&vol->room);
	pthread_mutex_unlock(&vol->lock);
	if (vol->committer_runs)
		pthread_join(vol->committer, NULL);
	vol->committer_runs = false;
}

void pfs_vol_close(struct pfs_vol *vol)
{
	atomic_store(&vol->closed, true);
	pfs_vol_stop(vol);
}

/* Let go of nodes and of what could not be committed; the nodes go next. */
void pfs_vol_release(struct pfs_vol *vol)
{
	size_t i;

	while (vol->first)
		pfs_queue_done(vol, vol->first);
	while (vol->dirty) {
		struct pfs_data *data = vol->dirty;

		pthread_mutex_lock(&vol->lock);
		data->users++;
		pthread_mutex_unlock(&vol->lock);
		pfs_data_give_up(data, -EIO);
		pfs_data_put(data);
	}
	for (i = 0; i < vol->nnegatives; i++) {
		pfs_node_unref(vol->fs, vol->negatives[i].dir);
		free(vol->negatives[i].name);
	}
	free(vol->negatives);
	vol->negatives = NULL;
	vol->nnegatives = 0;
}

void pfs_vol_free(struct pfs_vol *vol)
{
	if (!vol)
		return;
	pfs_store_free(atomic_load(&vol->store));
	pthread_mutex_destroy(&vol->open_lock);
	pthread_mutex_destroy(&vol->lock);
	pthread_cond_destroy(&vol->work);
	pthread_cond_destroy(&vol->room);
	free(vol->root);
	free(vol->failures);
	free(vol->name);
	free(vol->ns);
	free(vol);
}

static int vol_open(struct pfs_vol *vol, bool make, struct pfs_msg *msg)
{
	struct pfs_backend *backend = vol->config->backend;
	struct pfs_store *store = NULL;
	bool tried = false, started;
	int err = 0;

	if (atomic_load(&vol->store))
		return 0;
	pthread_mutex_lock(&vol->open_lock);
	if (atomic_load(&vol->store))
		goto out;
	err = vol->open_error;
	if (err && !(make && err == -ENODATA) &&
	    pfs_monotonic_ns() - vol->open_failed_at < REOPEN_DELAY)
		goto out;
	tried = true;
	pfs_msg_clear(&vol->open_msg);
	started = backend->started;
	err = make ? pfs_backend_make(backend, &vol->open_msg)
		   : pfs_backend_start(backend, &vol->open_msg);
	if (make && err == -EINVAL)
		err = -EROFS; /* not the caller's argument: a place that takes nothing */
	if (!err && !started)
		pfs_backend_started(backend);
	if (!err)
		err = pfs_backend_open(backend, vol->ns, vol->create, &store, &vol->open_msg);
	/* What could not be made is as it was: nothing is there. Of an engine that is down nobody knows. */
	vol->open_error = make && err && err != -EHOSTDOWN && !backend->started ? -ENODATA : err;
	vol->open_failed_at = pfs_monotonic_ns();
	if (!err)
		atomic_store(&vol->store, store);
out:
	if (err && msg)
		*msg = vol->open_msg;
	pthread_mutex_unlock(&vol->open_lock);
	if (err && err != -ENODATA && tried)
		pfs_vol_note_failure(vol, err, vol->root, PFS_BYTES(""), vol->open_msg.text);
	return err;
}

int pfs_vol_open(struct pfs_vol *vol, struct pfs_msg *msg)
{
	return vol_open(vol, false, msg);
}

int pfs_vol_make(struct pfs_vol *vol)
{
	return vol_open(vol, true, NULL);
}

bool pfs_vol_unmade(struct pfs_vol *vol)
{
	return !atomic_load(&vol->store) && pfs_vol_open(vol, NULL) == -ENODATA;
}

bool pfs_vol_pushes(const struct pfs_vol *vol)
{
	return pfs_backend_pushing(vol->config->backend);
}

bool pfs_vol_offers(const struct pfs_vol *vol, uint32_t capability)
{
	return pfs_backend_capabilities(vol->config->backend) & capability;
}

bool pfs_vol_alone(const struct pfs_vol *vol)
{
	return pfs_vol_pushes(vol) && pfs_backend_sessions(vol->config->backend) == 1;
}

double pfs_vol_timeout(const struct pfs_vol *vol)
{
	if (pfs_vol_pushes(vol))
		return PFS_LONG_TIMEOUT;
	return (double)vol->config->attr_timeout / NSEC_PER_SEC;
}

int64_t pfs_vol_expires(const struct pfs_vol *vol, uint32_t mode)
{
	return vol->config->ttl && S_ISREG(mode) ? pfs_now_ns() + vol->config->ttl : 0;
}

void pfs_vol_refresh(struct pfs_node *node, struct pfs_mutation *m)
{
	const struct pfs_store_config *config = node->vol->config;

	if (!config->ttl || !config->ttl_refresh || !pfs_node_attr_known(node).expires)
		return;
	m->set.mask |= PFS_SET_EXPIRES;
	m->set.expires = pfs_now_ns() + config->ttl;
}

/* What applications ask for and get told; not trouble. */
static bool expected(int err)
{
	switch (err) {
	case -ENOENT:
	case -EEXIST:
	case -ENOTEMPTY:
	case -ENOTDIR:
	case -EISDIR:
	case -ENODATA:
	case -EINVAL:
	case -EPERM:
	case -EAGAIN:
	case -ENAMETOOLONG:
	case -EMLINK:
	case -ERANGE:
		return true;
	default:
		return false;
	}
}

/*
 * What the engine refuses in its own words is to be found afterwards. But for removals: rm -r of what
 * cannot be removed would leave room for nothing else.
 */
static bool is_refusal(const struct pfs_batch *batch)
{
	return batch->trial || (batch->msg.text[0] && batch->ops[0].op != PFS_OP_REMOVE);
}

int pfs_vol_commit(struct pfs_vol *vol, struct pfs_batch *batch, struct pfs_node *node,
		   struct pfs_bytes name)
{
	struct pfs_store *store = atomic_load(&vol->store);
	int err;

	if (!batch->epoch)
		batch->epoch = node ? node->epoch : pfs_store_epoch(store);
	if (!batch->now)
		batch->now = pfs_now_ns();
	err = node ? pfs_locks_fence(node) : 0;
	if (err)
		return err;
	err = pfs_store_commit(store, batch);
	/* It may have happened all the same, or the engine has what this mount does not know of. */
	if (err)
		pfs_nodes_changed(vol->fs);
	if (err && (!expected(err) || is_refusal(batch)))
		pfs_vol_note_failure(vol, err, node, name,
				     batch->msg.text[0] ? batch->msg.text : pfs_error_text());
	return err;
}

/* A commit that is tried again and again fails the same way each time: that is one failure. */
static bool noted_lately(const struct pfs_vol *vol, const struct pfs_failure *f)
{
	size_t i, n = vol->nfailures < PFS_FAILURES ? vol->nfailures : PFS_FAILURES;

	for (i = 1; i <= n; i++) {
		const struct pfs_failure *g = &vol->failures[(vol->nfailures - i) % PFS_FAILURES];

		if (f->when - g->when > FAILURE_AGAIN)
			return false;
		if (g->err == f->err && strcmp(g->path, f->path) == 0 &&
		    strcmp(g->text, f->text) == 0)
			return true;
	}
	return false;
}

void pfs_vol_note_failure(struct pfs_vol *vol, int err, struct pfs_node *node,
			  struct pfs_bytes name, const char *text)
{
	struct pfs_failure f = {.when = pfs_now_ns(), .err = -err};
	struct pfs_buf key = {0};
	bool known;

	pfs_buf_add(&key, name.p, name.len);
	if (node)
		pfs_node_key(vol->fs, node, &key);
	pfs_buf_str(&key, "");
	snprintf(f.path, sizeof(f.path), "%s%s%s", vol->name, key.len ? "/" : "",
		 key.data ? key.data : "");
	pfs_buf_release(&key);
	snprintf(f.text, sizeof(f.text), "%s", text && text[0] ? text : strerror(-err));
	pthread_mutex_lock(&vol->lock);
	if (!vol->failures)
		vol->failures = calloc(PFS_FAILURES, sizeof(*vol->failures));
	known = vol->failures && noted_lately(vol, &f);
	if (vol->failures && !known)
		vol->failures[vol->nfailures++ % PFS_FAILURES] = f;
	pthread_mutex_unlock(&vol->lock);
	if (!known)
		pfs_log(PFS_LOG_ERROR, "%s: %s: %s", f.path, strerror(-err), f.text);
}

/* How long a negative answer spares a create its own question. */
#define ABSENT_FRESH (10 * 1000 * 1000LL)

uint64_t pfs_entry_hash(uint64_t dir, struct pfs_bytes name)
{
	uint64_t h = dir * UINT64_C(0x9e3779b97f4a7c15);
	size_t i;

	for (i = 0; i < name.len; i++)
		h = (h ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	return h;
}

void pfs_vol_note_absent(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name)
{
	uint64_t h = pfs_entry_hash(dir, name);
	struct pfs_absent *a = &vol->absent[(h >> 24) % PFS_ABSENT];

	atomic_store(&a->when, pfs_monotonic_ns());
	atomic_store(&a->hash, h);
}

bool pfs_vol_just_absent(struct pfs_vol *vol, uint64_t dir, struct pfs_bytes name)
{
	uint64_t h = pfs_entry_hash(dir, name);
	struct pfs_absent *a = &vol->absent[(h >> 24) % PFS_ABSENT];

	return atomic_load(&a->hash) == h &&
	       pfs_monotonic_ns() - atomic_load(&a->when) < ABSENT_FRESH;
}

/* Forget the negatives of directories that the kernel has forgotten. vol->lock is held. */
static size_t prune_negatives(struct pfs_vol *vol, struct pfs_negative *gone)
{
	size_t i, kept = 0, n = 0;

	for (i = 0; i < vol->nnegatives; i++) {
		struct pfs_negative neg = vol->negatives[i];
		bool needed;

		pfs_node_lock(vol->fs, neg.dir);
		needed = neg.dir->permanent || neg.dir->lookups > 0;
		pfs_node_unlock(vol->fs, neg.dir);
		if (needed)
			vol->negatives[kept++] = neg;
		else
			gone[n++] = neg;
	}
	vol->nnegatives = kept;
	return n;
}

static bool negatives_reserve(struct pfs_vol *vol)
{
	size_t cap = vol->negatives_cap ? vol->negatives_cap * 2 : 64;
	struct pfs_negative *list;

	if (vol->nnegatives < vol->negatives_cap)
		return true;
	list = realloc(vol->negatives, cap * sizeof(*list));
	if (!list)
		return false;
	vol->negatives = list;
	vol->negatives_cap = cap;
	return true;
}

double pfs_vol_negative_timeout(struct pfs_vol *vol, struct pfs_node *dir, struct pfs_bytes name)
{
	struct pfs_negative *gone = NULL;
	char *copy = strndup(name.p, name.len);
	size_t i, ngone = 0;
	bool noted = false, full;

	pthread_mutex_lock(&vol->lock);
	if (vol->nnegatives == PFS_NEGATIVE_MAX && pfs_monotonic_ns() >= vol->prune_at) {
		vol->prune_at = pfs_monotonic_ns() + NSEC_PER_SEC;
		gone = malloc(PFS_NEGATIVE_MAX * sizeof(*gone));
		if (gone)
			ngone = prune_negatives(vol, gone);
	}
	if (copy && vol->nnegatives < PFS_NEGATIVE_MAX && negatives_reserve(vol)) {
		pfs_node_ref(vol->fs, dir);
		vol->negatives[vol->nnegatives++] = (struct pfs_negative){dir, copy};
		noted = true;
	}
	full = vol->nnegatives == PFS_NEGATIVE_MAX;
	pthread_mutex_unlock(&vol->lock);
	if (full)
		pfs_inval_negatives_later(vol);
	for (i = 0; i < ngone; i++) {
		pfs_node_unref(vol->fs, gone[i].dir);
		free(gone[i].name);
	}
	free(gone);
	if (noted)
		return pfs_vol_timeout(vol);
	free(copy);
	return (double)vol->config->attr_timeout / NSEC_PER_SEC;
}
