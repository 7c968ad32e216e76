/*
 * Taking back what the kernel has cached when somebody else changed the data. The backend's thread
 * tells events (watch_events): node attributes are dropped and fs->seen moves at once, so that no
 * answer computed before is cached after. Telling the kernel may block on requests under way, so
 * one thread per backend does that, from a queue; when the queue overflows everything is taken back.
 *
 * A kernel that was told to forget a file's attributes asks for them where they are wanted (stat, read,
 * open), but copy_file_range, splice and sendfile, and pages mapped into memory, go by the size that it
 * last knew. So of an open file that others made longer the kernel is told the size as well. That asks
 * the engine, so it comes when there is nothing else to tell, and not while the engine is not heard of.
 */
#include <stdio.h>
#include <time.h>

#include "fs/internal.h"

#define QUEUE_MAX 65536
/* Negative answers taken back at a time when a volume's list is full: others wait meanwhile. */
#define NEGATIVES_AT_ONCE 4096

struct pfs_inval_item {
	struct pfs_inval_item *next;
	struct pfs_node *node; /* counted */
	int64_t off;	       /* of inval_inode */
	bool entry;
	size_t len;
	char name[];
};

/*
 * A name that the kernel says it does not have, while an answer about it may be on its way: an answer
 * is what the kernel has when its caller runs again. Up to Linux 6.18 it is waited for, as the directory
 * is locked; later kernels look first. Nothing tells when, so the name is taken back a few times more.
 */
struct pfs_again {
	struct pfs_again *next;
	struct pfs_node *dir; /* counted */
	int64_t due, pause, until;
	uint64_t hash;
	size_t len;
	char name[];
};
#define AGAIN_MAX   4096
#define AGAIN_FIRST (1000 * 1000LL)
/* An answer is taken by the kernel within... */
#define UNDER_WAY_MAX NSEC_PER_SEC

static void item_free(struct pfs_fs *fs, struct pfs_inval_item *item)
{
	pfs_node_unref(fs, item->node);
	free(item);
}

/* The lock is held. */
static void want_all(struct pfs_invalidator *inv)
{
	inv->all = true;
	inv->alls++;
}

/* Queue one item; consumes the ref of node. */
static void push(struct pfs_invalidator *inv, struct pfs_node *node, int64_t off,
		 const struct pfs_bytes *name)
{
	size_t len = name ? name->len : 0;
	struct pfs_inval_item *item = malloc(sizeof(*item) + len + 1);

	pthread_mutex_lock(&inv->lock);
	if (!item || inv->n >= QUEUE_MAX || inv->stop) {
		want_all(inv);
	} else {
		item->next = NULL;
		item->node = node;
		item->off = off;
		item->entry = name != NULL;
		item->len = len;
		if (name)
			memcpy(item->name, name->p, len);
		item->name[len] = '\0';
		if (inv->last)
			inv->last->next = item;
		else
			inv->first = item;
		inv->last = item;
		inv->n++;
		inv->pushed++;
		node = NULL;
		item = NULL;
	}
	pthread_cond_signal(&inv->work);
	pthread_mutex_unlock(&inv->lock);
	free(item);
	if (node)
		pfs_node_unref(inv->fs, node);
}

static bool is_open(struct pfs_fs *fs, struct pfs_node *node)
{
	bool is;

	pfs_node_lock(fs, node);
	is = node->data != NULL;
	pfs_node_unlock(fs, node);
	return is;
}

/* Without memory, or with the file closed, grown_from says what is due at the next open. */
static void push_growth(struct pfs_invalidator *inv, struct pfs_node *node)
{
	struct pfs_inval_item *item;

	if (atomic_exchange(&node->growth_queued, true))
		return;
	item = calloc(1, sizeof(*item) + 1);
	if (!item) {
		atomic_store(&node->growth_queued, false);
		return;
	}
	pfs_node_ref(inv->fs, node);
	item->node = node;
	pthread_mutex_lock(&inv->lock);
	if (inv->grown_last)
		inv->grown_last->next = item;
	else
		inv->grown = item;
	inv->grown_last = item;
	inv->grown_pushed++;
	pthread_cond_signal(&inv->work);
	pthread_mutex_unlock(&inv->lock);
}

static struct pfs_invalidator *of_backend(struct pfs_fs *fs, const struct pfs_backend *backend)
{
	size_t i;

	for (i = 0; i < fs->config->nbackends; i++)
		if (fs->invalidators[i].backend == backend)
			return &fs->invalidators[i];
	return NULL;
}

void pfs_inval_node_later(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_invalidator *inv = of_backend(fs, node->vol->config->backend);

	if (!inv)
		return;
	pfs_node_ref(fs, node);
	push(inv, node, 0, NULL);
}

void pfs_inval_entry_later(struct pfs_fs *fs, struct pfs_node *dir, struct pfs_bytes name)
{
	struct pfs_invalidator *inv = of_backend(fs, dir->vol->config->backend);

	if (!inv)
		return;
	pfs_node_ref(fs, dir);
	push(inv, dir, 0, &name);
}

/* The name that the kernel knows the node by (owned), and the directory of it (counted); NULL: none. */
static char *known_name(struct pfs_fs *fs, struct pfs_node *node, struct pfs_node **parent)
{
	char *name = NULL;

	pfs_node_lock(fs, node);
	*parent = node->known_parent;
	if (*parent) {
		name = strdup(node->known_name);
		pfs_node_ref(fs, *parent);
	}
	pfs_node_unlock(fs, node);
	return name;
}

void pfs_inval_known_later(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_node *parent;
	char *name;

	name = known_name(fs, node, &parent);
	if (name)
		pfs_inval_entry_later(fs, parent, pfs_bytes_str(name));
	if (parent)
		pfs_node_unref(fs, parent);
	pfs_inval_node_later(fs, node);
	free(name);
}

void pfs_inval_growth_later(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_invalidator *inv = of_backend(fs, node->vol->config->backend);

	if (inv)
		push_growth(inv, node);
}

void pfs_inval_negatives_later(struct pfs_vol *vol)
{
	struct pfs_invalidator *inv = of_backend(vol->fs, vol->config->backend);

	if (!inv)
		return;
	pthread_mutex_lock(&inv->lock);
	inv->negatives = true;
	pthread_cond_signal(&inv->work);
	pthread_mutex_unlock(&inv->lock);
}

void pfs_inval_settle(struct pfs_fs *fs, const struct pfs_backend *backend)
{
	struct pfs_invalidator *inv = of_backend(fs, backend);
	uint64_t target, alls;

	if (!inv)
		return;
	pthread_mutex_lock(&inv->lock);
	target = inv->pushed;
	alls = inv->alls;
	while (inv->runs && !inv->stop && (inv->told < target || inv->alls_told < alls))
		pthread_cond_wait(&inv->quiet, &inv->lock);
	/* What these have found to have grown. */
	target = inv->grown_pushed;
	while (inv->runs && !inv->stop && inv->grown_told < target)
		pthread_cond_wait(&inv->quiet, &inv->lock);
	pthread_mutex_unlock(&inv->lock);
}

/*
 * What a foreign change means for our own cache of attributes; the kernel's turn comes later. Of what it
 * is told of sizes from now on nobody can say whether it takes it, until it was told to forget.
 */
static void forget_attr(struct pfs_fs *fs, struct pfs_node *node)
{
	pfs_node_grown_from(node, atomic_load(&node->told_size) + 1);
	pfs_node_lock(fs, node);
	if (!node->pins)
		node->attr_valid = false;
	pfs_node_unlock(fs, node);
}

static void forget_attr_each(void *arg, struct pfs_node *node)
{
	forget_attr(arg, node);
}

static void forget_all(const struct pfs_invalidator *inv)
{
	struct pfs_vol **vols;
	size_t i, n;

	pfs_nodes_each(inv->fs, inv->backend, forget_attr_each, inv->fs);
	vols = pfs_vols_snapshot(inv->fs, &n);
	for (i = 0; vols && i < n; i++)
		if (vols[i]->config->backend == inv->backend)
			forget_attr(inv->fs, vols[i]->root);
	free(vols);
}

static void push_all(struct pfs_invalidator *inv)
{
	pthread_mutex_lock(&inv->lock);
	want_all(inv);
	pthread_cond_signal(&inv->work);
	pthread_mutex_unlock(&inv->lock);
}

static bool about_all(const struct pfs_event *ev)
{
	return ev->type == PFS_EVENT_ALL || ev->type == PFS_EVENT_REPLACED;
}

/* The node that the event is about, counted; NULL: nobody knows it. */
static struct pfs_node *event_node(const struct pfs_invalidator *inv, const struct pfs_event *ev)
{
	return pfs_node_find(inv->fs, inv->backend, ev->type == PFS_EVENT_ENTRY ? ev->dir : ev->id);
}

static void forget_event(const struct pfs_invalidator *inv, const struct pfs_event *ev)
{
	struct pfs_node *node;

	if (about_all(ev)) {
		forget_all(inv);
		/* Wishes for locks may have been missed; of other data nothing is locked. */
		if (ev->type == PFS_EVENT_ALL)
			pfs_locks_asked(inv->fs, inv->backend, 0);
		else
			pfs_locks_replaced(inv->fs, inv->backend);
		return;
	}
	node = ev->type == PFS_EVENT_LOCK ? NULL : event_node(inv, ev);
	if (!node)
		return;
	forget_attr(inv->fs, node);
	pfs_node_unref(inv->fs, node);
}

static void push_event(struct pfs_invalidator *inv, const struct pfs_event *ev)
{
	struct pfs_node *node;

	if (about_all(ev)) {
		push_all(inv);
		return;
	}
	node = ev->type == PFS_EVENT_LOCK ? NULL : event_node(inv, ev);
	if (node)
		push(inv, node, ev->type == PFS_EVENT_ATTR ? -1 : 0,
		     ev->type == PFS_EVENT_ENTRY ? &ev->name : NULL);
}

static uint64_t name_hash(const struct pfs_node *dir, struct pfs_bytes name)
{
	return pfs_entry_hash((uintptr_t)dir, name);
}

static _Atomic int64_t *named_at(struct pfs_fs *fs, uint64_t hash)
{
	return &fs->named_at[(hash >> 24) % PFS_NAMED_SLOTS];
}

void pfs_inval_naming(struct pfs_fs *fs, const struct pfs_node *dir, struct pfs_bytes name)
{
	atomic_store_explicit(named_at(fs, name_hash(dir, name)), pfs_monotonic_ns(),
			      memory_order_relaxed);
}

static void again_free(struct pfs_fs *fs, struct pfs_again *a)
{
	pfs_node_unref(fs, a->dir);
	free(a);
}

static struct pfs_again *again_find(struct pfs_invalidator *inv, uint64_t hash,
				    const struct pfs_node *dir, struct pfs_bytes name)
{
	struct pfs_again *a;

	for (a = inv->again; a; a = a->next)
		if (a->hash == hash && a->dir == dir && a->len == name.len &&
		    memcmp(a->name, name.p, name.len) == 0)
			return a;
	return NULL;
}

/* Take back `name` once more, if an answer about it may be under way. */
static void once_more(struct pfs_invalidator *inv, struct pfs_node *dir, struct pfs_bytes name)
{
	uint64_t hash = name_hash(dir, name);
	int64_t now = pfs_monotonic_ns(), until;
	struct pfs_again *a;

	until = atomic_load(named_at(inv->fs, hash)) + UNDER_WAY_MAX;
	if (until <= now)
		return;
	a = again_find(inv, hash, dir, name);
	if (!a && inv->nagain < AGAIN_MAX) {
		a = calloc(1, sizeof(*a) + name.len + 1);
		if (a) {
			pfs_node_ref(inv->fs, dir);
			a->dir = dir;
			a->hash = hash;
			a->len = name.len;
			memcpy(a->name, name.p, name.len);
			a->next = inv->again;
			inv->again = a;
			inv->nagain++;
		}
	}
	if (!a)
		return;
	a->pause = AGAIN_FIRST;
	a->due = now + a->pause;
	a->until = until;
	if (!inv->again->next || a->due < inv->again_at)
		inv->again_at = a->due;
}

static void tell_entry(struct pfs_invalidator *inv, struct pfs_node *dir, struct pfs_bytes name)
{
	struct pfs_fs *fs = inv->fs;

	if (fs->kernel.inval_entry && !fs->kernel.inval_entry(fs->kernel_arg, dir, name))
		once_more(inv, dir, name);
}

/* Take back the names that are due. */
static void tell_again(struct pfs_invalidator *inv)
{
	struct pfs_again *a, **p = &inv->again;
	struct pfs_fs *fs = inv->fs;
	int64_t now = pfs_monotonic_ns(), next = 0;

	while ((a = *p)) {
		if (a->due <= now) {
			if (fs->kernel.inval_entry(fs->kernel_arg, a->dir,
						   (struct pfs_bytes){a->name, a->len}) ||
			    a->due >= a->until) {
				*p = a->next;
				inv->nagain--;
				again_free(fs, a);
				continue;
			}
			a->pause *= 2;
			a->due = now + a->pause < a->until ? now + a->pause : a->until;
		}
		if (!next || a->due < next)
			next = a->due;
		p = &a->next;
	}
	inv->again_at = next;
}

static bool looked_up(struct pfs_fs *fs, struct pfs_node *node)
{
	bool is;

	pfs_node_lock(fs, node);
	is = !node->permanent && node->lookups > 0;
	pfs_node_unlock(fs, node);
	return is;
}

/*
 * An inode that the kernel does not have while its look-up counts: the look-up is on its way to be given
 * back, or the answer has been sent and the inode is not made of it yet; it would be, of what was
 * true before. Nothing tells when: asked again until one of the two has happened.
 */
static void kernel_forgets(struct pfs_fs *fs, struct pfs_node *node, int64_t off)
{
	const struct timespec pause = {.tv_nsec = 200 * 1000};
	int64_t until = pfs_monotonic_ns() + NSEC_PER_SEC;

	while (!fs->kernel.inval_inode(fs->kernel_arg, node, off, 0) && looked_up(fs, node) &&
	       pfs_monotonic_ns() < until)
		nanosleep(&pause, NULL);
}

/*
 * Tell the kernel the size of an open file that others made longer. Whatever passes meanwhile is told
 * after this, or finds grown_from set.
 */
static void tell_growth(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_data *data;
	struct pfs_attr attr;
	uint64_t from;
	bool due;
	char last;
	int err;

	data = pfs_data_get(fs, node, false, &err);
	if (!data)
		return;
	from = atomic_exchange(&node->grown_from, 0);
	err = from ? pfs_node_visible(fs, node, &attr) : 0;
	due = from && (err || (S_ISREG(attr.mode) && attr.size >= from));
	if (due && !err && fs->kernel.file_grew &&
	    pfs_node_tell_size(fs, node, attr.content_version, &attr.size) &&
	    pfs_data_peek(data, &last, 1, attr.size - 1) == 1) {
		fs->kernel.file_grew(fs->kernel_arg, node, (int64_t)attr.size, last);
		due = false;
	}
	if (due)
		pfs_node_grown_from(node, from);
	pfs_data_put(data);
}

/*
 * off 0: the pages too. Until they are gone the kernel is told no other size (pfs_node_tell_size);
 * what it reads meanwhile is new, and counts as pages again.
 */
static void tell_inode(struct pfs_fs *fs, struct pfs_node *node, int64_t off)
{
	if (off >= 0) {
		atomic_store(&node->dropping, true);
		atomic_store(&node->pages, false);
	}
	if (fs->kernel.inval_inode)
		kernel_forgets(fs, node, off);
	if (off >= 0) {
		pfs_node_dropped(fs, node);
		pfs_node_grown_from(node, atomic_load(&node->told_size) + 1);
	}
}

/* Answers on their way from before this moment are not to be cached. */
static void see(struct pfs_fs *fs)
{
	pthread_rwlock_wrlock(&fs->reply_lock);
	atomic_fetch_add(&fs->seen, 1);
	pthread_rwlock_unlock(&fs->reply_lock);
}

/*
 * `seen` moves twice: before our own attributes are dropped, so that no older answer takes their
 * place, and after, for the answers that were made from them meanwhile. The kernel is told after that.
 */
static void watch_events(void *arg, const struct pfs_event *events, size_t n)
{
	struct pfs_invalidator *inv = arg;
	size_t i, changes = 0;

	for (i = 0; i < n; i++) {
		if (events[i].type == PFS_EVENT_LOCK)
			pfs_locks_asked(inv->fs, inv->backend, events[i].id);
		else
			changes++;
	}
	if (!changes)
		return;
	see(inv->fs);
	for (i = 0; i < n; i++)
		forget_event(inv, &events[i]);
	see(inv->fs);
	for (i = 0; i < n; i++)
		push_event(inv, &events[i]);
}

int pfs_inval_node_now(struct pfs_fs *fs, struct pfs_node *node)
{
	struct pfs_attr attr;
	bool stale;
	int err;

	see(fs);
	forget_attr(fs, node);
	see(fs);
	err = pfs_node_attr(fs, node, &attr);
	stale = atomic_load(&node->dropping) ||
		(atomic_load(&node->pages) && atomic_load(&node->pages_of) != attr.content_version);
	if (err)
		return err;
	tell_inode(fs, node, stale ? 0 : -1);
	tell_growth(fs, node);
	return 0;
}

static void tell_content(struct pfs_invalidator *inv, struct pfs_node *node)
{
	tell_inode(inv->fs, node, 0);
	if (is_open(inv->fs, node))
		push_growth(inv, node);
}

static void tell_each(void *arg, struct pfs_node *node)
{
	struct pfs_invalidator *inv = arg;
	struct pfs_fs *fs = inv->fs;
	struct pfs_node *parent;
	char *name;

	name = known_name(fs, node, &parent);
	if (name)
		tell_entry(inv, parent, pfs_bytes_str(name));
	if (parent)
		pfs_node_unref(fs, parent);
	tell_content(inv, node);
	free(name);
}

/* Take the oldest `max` out of the list; NULL: none. vol->lock is held. */
static struct pfs_negative *take_negatives(struct pfs_vol *vol, size_t max, size_t *n)
{
	struct pfs_negative *list = vol->negatives;

	*n = vol->nnegatives;
	if (*n <= max) {
		vol->negatives = NULL;
		vol->nnegatives = vol->negatives_cap = 0;
		return list;
	}
	*n = max;
	list = malloc(max * sizeof(*list));
	if (!list) {
		*n = 0;
		return NULL;
	}
	memcpy(list, vol->negatives, max * sizeof(*list));
	vol->nnegatives -= max;
	memmove(vol->negatives, vol->negatives + max, vol->nnegatives * sizeof(*list));
	return list;
}

/* Names that the kernel knows not to exist. */
static void tell_negatives(struct pfs_invalidator *inv, struct pfs_vol *vol, size_t max)
{
	struct pfs_negative *list;
	size_t i, n;

	pthread_mutex_lock(&vol->lock);
	list = take_negatives(vol, max, &n);
	pthread_mutex_unlock(&vol->lock);
	for (i = 0; i < n; i++) {
		struct pfs_node *dir = list[i].dir;

		tell_entry(inv, dir, pfs_bytes_str(list[i].name));
		pfs_node_unref(vol->fs, dir);
		free(list[i].name);
	}
	free(list);
}

static void tell_all(struct pfs_invalidator *inv)
{
	struct pfs_vol **vols;
	size_t i, n;

	pfs_nodes_each(inv->fs, inv->backend, tell_each, inv);
	vols = pfs_vols_snapshot(inv->fs, &n);
	for (i = 0; vols && i < n; i++) {
		if (vols[i]->config->backend != inv->backend)
			continue;
		tell_inode(inv->fs, vols[i]->root, 0);
		tell_negatives(inv, vols[i], SIZE_MAX);
	}
	free(vols);
}

static void tell_full_negatives(struct pfs_invalidator *inv)
{
	struct pfs_vol **vols;
	size_t i, n;
	bool full;

	vols = pfs_vols_snapshot(inv->fs, &n);
	for (i = 0; vols && i < n; i++) {
		pthread_mutex_lock(&vols[i]->lock);
		full = vols[i]->config->backend == inv->backend &&
		       vols[i]->nnegatives == PFS_NEGATIVE_MAX;
		pthread_mutex_unlock(&vols[i]->lock);
		if (full)
			tell_negatives(inv, vols[i], NEGATIVES_AT_ONCE);
	}
	free(vols);
}

static void tell_item(struct pfs_invalidator *inv, struct pfs_inval_item *item)
{
	if (item->entry)
		tell_entry(inv, item->node, (struct pfs_bytes){item->name, item->len});
	if (item->off < 0)
		tell_inode(inv->fs, item->node, item->off);
	else
		tell_content(inv, item->node);
}

/* Take the oldest of a list; NULL: it is empty. The lock is held. */
static struct pfs_inval_item *take(struct pfs_inval_item **first, struct pfs_inval_item **last)
{
	struct pfs_inval_item *item = *first;

	if (item)
		*first = item->next;
	if (!*first)
		*last = NULL;
	return item;
}

/* The lock is held, and let go of meanwhile. */
static void tell_next_growth(struct pfs_invalidator *inv)
{
	struct pfs_inval_item *item = take(&inv->grown, &inv->grown_last);

	pthread_mutex_unlock(&inv->lock);
	atomic_store(&item->node->growth_queued, false);
	/* When it is heard of again, everything is told again. */
	if (pfs_backend_pushing(inv->backend))
		tell_growth(inv->fs, item->node);
	item_free(inv->fs, item);
	pthread_mutex_lock(&inv->lock);
	inv->grown_told++;
	pthread_cond_broadcast(&inv->quiet);
}

/* Nothing else is queued. The lock is held. */
static void wait_for_work(struct pfs_invalidator *inv)
{
	struct timespec ts = {.tv_sec = inv->again_at / NSEC_PER_SEC,
			      .tv_nsec = inv->again_at % NSEC_PER_SEC};

	if (inv->again)
		pthread_cond_timedwait(&inv->work, &inv->lock, &ts);
	else
		pthread_cond_wait(&inv->work, &inv->lock);
}

static void *invalidator_main(void *arg)
{
	struct pfs_invalidator *inv = arg;
	struct pfs_inval_item *item;
	bool all, negatives;
	uint64_t alls;

	pthread_mutex_lock(&inv->lock);
	while (!inv->stop) {
		if (inv->again && pfs_monotonic_ns() >= inv->again_at) {
			pthread_mutex_unlock(&inv->lock);
			tell_again(inv);
			pthread_mutex_lock(&inv->lock);
			continue;
		}
		if (!inv->first && !inv->all && !inv->negatives) {
			if (inv->grown)
				tell_next_growth(inv);
			else
				wait_for_work(inv);
			continue;
		}
		all = inv->all;
		alls = inv->alls;
		negatives = inv->negatives;
		inv->all = inv->negatives = false;
		item = take(&inv->first, &inv->last);
		inv->n -= item != NULL;
		pthread_mutex_unlock(&inv->lock);
		if (all)
			tell_all(inv);
		if (negatives)
			tell_full_negatives(inv);
		if (item) {
			tell_item(inv, item);
			item_free(inv->fs, item);
		}
		pthread_mutex_lock(&inv->lock);
		inv->alls_told = alls;
		inv->told += item != NULL;
		pthread_cond_broadcast(&inv->quiet);
	}
	pthread_cond_broadcast(&inv->quiet);
	pthread_mutex_unlock(&inv->lock);
	return NULL;
}

int pfs_invalidators_init(struct pfs_fs *fs)
{
	pthread_condattr_t monotonic;
	size_t i;

	fs->invalidators = calloc(fs->config->nbackends ? fs->config->nbackends : 1,
				  sizeof(*fs->invalidators));
	if (!fs->invalidators)
		return -ENOMEM;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	for (i = 0; i < fs->config->nbackends; i++) {
		struct pfs_invalidator *inv = &fs->invalidators[i];

		inv->fs = fs;
		inv->backend = fs->config->backends[i];
		pthread_mutex_init(&inv->lock, NULL);
		pthread_cond_init(&inv->work, &monotonic);
		pthread_cond_init(&inv->quiet, NULL);
		pfs_backend_watch(inv->backend, watch_events, inv);
	}
	pthread_condattr_destroy(&monotonic);
	return 0;
}

int pfs_invalidators_start(struct pfs_fs *fs)
{
	size_t i;
	int err;

	for (i = 0; i < fs->config->nbackends; i++) {
		err = pthread_create(&fs->invalidators[i].thread, NULL, invalidator_main,
				     &fs->invalidators[i]);
		if (err)
			return -err;
		fs->invalidators[i].runs = true;
	}
	return 0;
}

void pfs_invalidators_stop(struct pfs_fs *fs)
{
	size_t i;

	for (i = 0; fs->invalidators && i < fs->config->nbackends; i++) {
		struct pfs_invalidator *inv = &fs->invalidators[i];

		pfs_backend_watch(inv->backend, NULL, NULL);
		pthread_mutex_lock(&inv->lock);
		inv->stop = true;
		pthread_cond_signal(&inv->work);
		pthread_cond_broadcast(&inv->quiet);
		pthread_mutex_unlock(&inv->lock);
		if (inv->runs)
			pthread_join(inv->thread, NULL);
		inv->runs = false;
	}
}

void pfs_invalidators_release(struct pfs_fs *fs)
{
	size_t i;

	for (i = 0; fs->invalidators && i < fs->config->nbackends; i++) {
		struct pfs_invalidator *inv = &fs->invalidators[i];
		struct pfs_inval_item *item;
		struct pfs_again *a;

		while ((item = take(&inv->first, &inv->last)) ||
		       (item = take(&inv->grown, &inv->grown_last)))
			item_free(fs, item);
		while ((a = inv->again)) {
			inv->again = a->next;
			again_free(fs, a);
		}
		pthread_cond_destroy(&inv->work);
		pthread_cond_destroy(&inv->quiet);
		pthread_mutex_destroy(&inv->lock);
	}
	free(fs->invalidators);
	fs->invalidators = NULL;
}
