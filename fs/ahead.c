/*
 * Looking up ahead: who looks up one entry of a directory after another is answered from pages of it
 * that were listed beforehand, attributes and all, at a fraction of what a question each would cost.
 *
 * What is answered so is what readdirplus tells from its page, under the same stamps: it is believed
 * while nobody else changed anything (fs->seen), and no node was freed whose changes would have to be
 * known (fs->forgotten). Of an entry that this mount changed the engine is asked (pfs_ahead_changed),
 * and of an object that it changed the node knows better than the page (pfs_node_get). Where engines
 * cannot tell what others do nothing is read ahead.
 *
 * Pages come in the order of the listing, from its start, a short one first. One that is not made use
 * of doubles the number of look-ups that the next one waits for, and behind ENTRIES_MAX there is none
 * at all; so a few look-ups in a large directory cost no listing, and many a small part of what they
 * cost themselves. A page that is made use of is followed by the next one at once.
 *
 * A directory's pages are in a place that it shares with others, the latest of which has it: that
 * bounds the memory. place->lock guards a place; no engine call is made under it.
 */
#include "fs/internal.h"

#define PLACES	    32
#define ENTRIES_MAX 2048 /* in a place */
#define PAGE_FIRST  16
#define PAGE_MAX    512
#define PAGES_MAX   16
/* Look-ups in a row that go to the engine before the first page is fetched. */
#define NEED_FIRST 3
#define NEED_MAX   65536
/* Those are in a row that are no further apart. */
#define ROW_GAP (10 * NSEC_PER_SEC)

struct known {
	const struct pfs_dirent *entry;
	bool ask; /* this mount changed it since */
};

/* An entry that this mount changed and no page has. */
struct changed {
	struct changed *next;
	struct pfs_dirent entry;
	char name[];
};

struct place {
	pthread_mutex_t lock;
	/* The directory; vol NULL: none. */
	const struct pfs_vol *vol;
	uint64_t dir, epoch;
	uint64_t life; /* moves when what was known is dropped */
	struct pfs_stamp stamp;
	struct pfs_list *pages[PAGES_MAX];
	unsigned npages;
	struct changed *changed;
	size_t n; /* entries in both */
	uint64_t cursor; /* of the last one in a page */
	bool from_start, whole; /* whole: to the end of the listing */
	struct known *table; /* open addressing, at most half full */
	size_t size;
	bool busy;    /* a page is being fetched */
	bool useless; /* no more pages in this life */
	/* What is known of the look-ups. */
	unsigned asked; /* in a row, of the engine */
	int64_t asked_at;
	uint64_t last; /* hash of the last one */
	unsigned hits; /* answered since the last page came */
	unsigned need;
	size_t want;
};

struct pfs_ahead {
	struct place places[PLACES];
};

int pfs_ahead_init(struct pfs_fs *fs)
{
	size_t i;

	fs->ahead = calloc(1, sizeof(*fs->ahead));
	if (!fs->ahead)
		return -ENOMEM;
	for (i = 0; i < PLACES; i++)
		pthread_mutex_init(&fs->ahead->places[i].lock, NULL);
	return 0;
}

static void pages_free(struct place *p)
{
	struct changed *c;

	while (p->npages > 0)
		pfs_list_free(p->pages[--p->npages]);
	while ((c = p->changed)) {
		p->changed = c->next;
		free(c);
	}
	free(p->table);
	p->table = NULL;
	p->size = p->n = 0;
}

void pfs_ahead_release(struct pfs_fs *fs)
{
	size_t i;

	if (!fs->ahead)
		return;
	for (i = 0; i < PLACES; i++) {
		pages_free(&fs->ahead->places[i]);
		pthread_mutex_destroy(&fs->ahead->places[i].lock);
	}
	free(fs->ahead);
	fs->ahead = NULL;
}

/* ---- the life of what is known; all with the lock ------------------------------------------- */

/* Has the last page been worth its while? A listed entry costs a small part of a look-up. */
static bool page_paid(const struct place *p)
{
	return p->npages > 0 && p->hits * 4 >= p->pages[p->npages - 1]->n;
}

static void judge(struct place *p)
{
	if (page_paid(p))
		p->need = NEED_FIRST;
	else if (p->npages > 0 && p->need < NEED_MAX)
		p->need *= 2;
	p->hits = 0;
	p->asked = 0;
}

/* Nothing is known, as of `stamp`. */
static void place_renew(struct place *p, struct pfs_stamp stamp)
{
	judge(p);
	pages_free(p);
	p->life++;
	p->stamp = stamp;
	p->cursor = 0;
	p->from_start = true;
	p->whole = p->busy = p->useless = false;
	p->want = PAGE_FIRST;
}

static bool place_true(const struct place *p, struct pfs_fs *fs)
{
	return p->stamp.own >= atomic_load(&fs->forgotten) &&
	       p->stamp.seen == atomic_load(&fs->seen);
}

/* The place is the directory's, and what it knows is true. */
static void place_take(struct place *p, struct pfs_node *dir, uint64_t id, uint64_t epoch,
		       struct pfs_stamp stamp)
{
	if (p->vol != dir->vol || p->dir != id || p->epoch != epoch) {
		place_renew(p, stamp);
		p->vol = dir->vol;
		p->dir = id;
		p->epoch = epoch;
		p->need = NEED_FIRST;
		p->last = 0;
	} else if (!place_true(p, dir->vol->fs)) {
		place_renew(p, stamp);
	}
}

/* ---- the table; all with the lock ----------------------------------------------------------- */

/* Where the entry is, or belongs. There is a table. */
static struct known *table_at(const struct place *p, uint64_t hash, struct pfs_bytes name)
{
	size_t i = hash & (p->size - 1);

	while (p->table[i].entry && !pfs_bytes_eq(p->table[i].entry->name, name))
		i = (i + 1) & (p->size - 1);
	return &p->table[i];
}

/* Room for as many entries; false: no memory. */
static bool table_reserve(struct place *p, size_t n)
{
	struct known *old = p->table;
	size_t i, had = p->size, size = had ? had : 64;

	while (size < n * 2)
		size *= 2;
	if (size == had)
		return true;
	p->table = calloc(size, sizeof(*p->table));
	if (!p->table) {
		p->table = old;
		return false;
	}
	p->size = size;
	for (i = 0; i < had; i++)
		if (old[i].entry)
			*table_at(p, pfs_entry_hash(p->dir, old[i].entry->name),
				  old[i].entry->name) = old[i];
	free(old);
	return true;
}

/* ---- pages ---------------------------------------------------------------------------------- */

/* With the lock: a look-up goes to the engine; is a page to be fetched instead? */
static bool page_wanted(struct place *p, uint64_t hash)
{
	bool again = hash == p->last, paid = page_paid(p);
	int64_t now;

	p->last = hash;
	if (again || p->busy || p->whole || p->useless)
		return false;
	now = pfs_monotonic_ns();
	if (now - p->asked_at > ROW_GAP)
		p->asked = 0;
	p->asked_at = now;
	p->asked++;
	if (!paid && p->asked < p->need)
		return false;
	if (p->npages == PAGES_MAX || p->n + p->want > ENTRIES_MAX) {
		p->useless = !paid;
		if (!paid)
			return false;
		pages_free(p);
		p->from_start = false;
	}
	return true;
}

/* With the lock: list is consumed. */
static bool page_add(struct place *p, struct pfs_list *list)
{
	struct known *at;
	size_t i;

	judge(p);
	if (!table_reserve(p, p->n + list->n)) {
		p->useless = true;
		pfs_list_free(list);
		return false;
	}
	for (i = 0; i < list->n; i++) {
		at = table_at(p, pfs_entry_hash(p->dir, list->entries[i].name),
			      list->entries[i].name);
		if (!at->entry)
			at->entry = &list->entries[i];
	}
	p->whole = list->end;
	if (list->n > 0)
		p->cursor = list->entries[list->n - 1].cursor;
	p->pages[p->npages++] = list;
	p->n += list->n;
	if (p->want < PAGE_MAX)
		p->want *= 2;
	return true;
}

/* The lock is held on entry and return, not between. Whether there is a page more. */
static bool page_fetch(struct place *p, struct pfs_node *dir, uint64_t id)
{
	uint64_t life = p->life, cursor = p->cursor;
	struct pfs_list *list = NULL;
	size_t want = p->want;

	p->busy = true;
	pthread_mutex_unlock(&p->lock);
	(void)pfs_store_list(atomic_load(&dir->vol->store), id, cursor, want, &list);
	pthread_mutex_lock(&p->lock);
	if (p->life != life) {
		pfs_list_free(list);
		return false;
	}
	p->busy = false;
	p->useless = !list;
	if (!list || !place_true(p, dir->vol->fs)) {
		pfs_list_free(list);
		return false;
	}
	return page_add(p, list);
}

/* ---- looking up ----------------------------------------------------------------------------- */

/* With the lock: what the pages say. */
static enum pfs_ahead_answer answer(struct place *p, uint64_t hash, struct pfs_bytes name,
				    struct pfs_attr *attr)
{
	const struct known *known = p->table ? table_at(p, hash, name) : NULL;
	const struct pfs_dirent *d = known ? known->entry : NULL;
	uint32_t can = pfs_backend_capabilities(p->vol->config->backend);

	if (!d && (!p->whole || !p->from_start || !(can & PFS_CAP_LISTS_ALL)))
		return PFS_AHEAD_UNKNOWN;
	if (d && (known->ask || (d->attr.expires && d->attr.expires <= pfs_now_ns())))
		return PFS_AHEAD_UNKNOWN;
	p->hits++;
	if (!d)
		return PFS_AHEAD_ABSENT;
	*attr = d->attr;
	return PFS_AHEAD_FOUND;
}

static struct place *place_of(const struct pfs_node *dir, uint64_t id)
{
	return &dir->vol->fs->ahead->places[(id ^ dir->vol->ordinal) % PLACES];
}

enum pfs_ahead_answer pfs_ahead_lookup(struct pfs_node *dir, uint64_t id, struct pfs_bytes name,
				       struct pfs_attr *attr, struct pfs_stamp *stamp)
{
	struct pfs_vol *vol = dir->vol;
	uint64_t hash = pfs_entry_hash(id, name);
	struct place *p = place_of(dir, id);
	enum pfs_ahead_answer ret;

	if (!pfs_vol_pushes(vol))
		return PFS_AHEAD_UNKNOWN;
	pthread_mutex_lock(&p->lock);
	place_take(p, dir, id, pfs_store_epoch(atomic_load(&vol->store)), *stamp);
	ret = answer(p, hash, name, attr);
	if (ret == PFS_AHEAD_UNKNOWN && page_wanted(p, hash) && page_fetch(p, dir, id))
		ret = answer(p, hash, name, attr);
	if (ret != PFS_AHEAD_UNKNOWN)
		*stamp = p->stamp;
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* ---- changes by this mount ------------------------------------------------------------------ */

/* With the lock: of this name the engine is asked. false: no memory. */
static bool entry_changed(struct place *p, struct pfs_bytes name)
{
	uint64_t hash = pfs_entry_hash(p->dir, name);
	struct known *at;
	struct changed *c;

	if (!table_reserve(p, p->n + 1))
		return false;
	at = table_at(p, hash, name);
	at->ask = true;
	if (at->entry)
		return true;
	c = calloc(1, sizeof(*c) + name.len);
	if (!c)
		return false;
	memcpy(c->name, name.p, name.len);
	c->entry.name = (struct pfs_bytes){c->name, name.len};
	c->next = p->changed;
	p->changed = c;
	at->entry = &c->entry;
	p->n++;
	return true;
}

void pfs_ahead_changed(struct pfs_node *dir, struct pfs_bytes name)
{
	uint64_t id = dir->id;
	struct place *p = place_of(dir, id);

	pthread_mutex_lock(&p->lock);
	if (p->vol == dir->vol && p->dir == id) {
		/* The page may be of before or after. */
		if (p->busy)
			place_renew(p, p->stamp);
		else if (p->npages > 0 && (p->n >= ENTRIES_MAX || !entry_changed(p, name)))
			place_renew(p, p->stamp);
	}
	pthread_mutex_unlock(&p->lock);
}
