/*
 * What this mount holds, and the end of what has no name. Removing a name leaves the object where it
 * was, under its id, with a number; each session hears of it, tells the server whether it holds the
 * object, and how far it has heard. Whatever all live sessions have heard of and none holds is swept.
 *
 * holds.lock guards everything here and is not held over I/O.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"

int redis_holds_init(struct redis_holds *h)
{
	*h = (struct redis_holds){0};
	return -pthread_mutex_init(&h->lock, NULL);
}

void redis_holds_release(struct redis_holds *h)
{
	struct redis_namespace *ns, *next_ns;
	struct redis_hold *hold, *next;
	size_t i;

	for (i = 0; i < REDIS_HOLD_BUCKETS; i++) {
		for (hold = h->buckets[i]; hold; hold = next) {
			next = hold->next;
			free(hold);
		}
	}
	for (ns = h->namespaces; ns; ns = next_ns) {
		next_ns = ns->next;
		free(ns->tell);
		free(ns->untell);
		free(ns->explained);
		free(ns->name);
		free(ns);
	}
	pthread_mutex_destroy(&h->lock);
}

/* ---- holding -------------------------------------------------------------------------------- */

static struct redis_hold **find(struct redis_holds *h, uint64_t id)
{
	struct redis_hold **p = &h->buckets[id % REDIS_HOLD_BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

bool redis_held(struct redis_backend *b, uint64_t id)
{
	bool held;

	pthread_mutex_lock(&b->holds.lock);
	held = *find(&b->holds, id) != NULL;
	pthread_mutex_unlock(&b->holds.lock);
	return held;
}

/* Without memory for the count the object is not held: it goes with its last name. */
void redis_hold(struct pfs_store *s, uint64_t id)
{
	struct redis_holds *h = &redis_of_store(s)->holds;
	struct redis_store *store = pfs_container_of(s, struct redis_store, base);
	struct redis_hold **p;

	pthread_mutex_lock(&h->lock);
	p = find(h, id);
	if (!*p) {
		*p = calloc(1, sizeof(**p));
		if (*p) {
			(*p)->id = id;
			(*p)->ns = store->ns->name;
		}
	}
	if (*p)
		(*p)->count++;
	pthread_mutex_unlock(&h->lock);
}

static void add_id(uint64_t **list, size_t *n, uint64_t id)
{
	uint64_t *grown = realloc(*list, (*n + 1) * sizeof(*grown));

	if (!grown)
		return; /* it stays until the session ends */
	grown[(*n)++] = id;
	*list = grown;
}

static struct redis_namespace *named(struct redis_holds *h, const char *name)
{
	struct redis_namespace *ns = h->namespaces;

	while (ns && strcmp(ns->name, name) != 0)
		ns = ns->next;
	return ns;
}

void redis_release(struct pfs_store *s, uint64_t id)
{
	struct redis_backend *b = redis_of_store(s);
	struct redis_holds *h = &b->holds;
	struct redis_namespace *ns;
	struct redis_hold **p, *hold;
	bool wake = false;

	pthread_mutex_lock(&h->lock);
	p = find(h, id);
	hold = *p;
	if (hold && --hold->count == 0) {
		*p = hold->next;
		ns = named(h, hold->ns);
		if (hold->told && ns) {
			add_id(&ns->untell, &ns->nuntell, id);
			ns->sweep = wake = true;
		}
		free(hold);
	}
	pthread_mutex_unlock(&h->lock);
	if (wake)
		redis_watch_wake(b);
}

/* With the lock held: `hold` has no name any more; the server is to know that it is held. */
static void tell(struct redis_holds *h, struct redis_hold *hold)
{
	struct redis_namespace *ns = named(h, hold->ns);

	if (hold->told || !ns)
		return;
	hold->told = true;
	add_id(&ns->tell, &ns->ntell, hold->id);
}

void redis_hold_gone(struct redis_backend *b, uint64_t n, uint64_t id)
{
	struct redis_holds *h = &b->holds;
	struct redis_namespace *ns;
	struct redis_hold *hold;

	pthread_mutex_lock(&h->lock);
	hold = *find(h, id);
	if (hold)
		tell(h, hold);
	if (n > h->heard)
		h->heard = n;
	for (ns = h->namespaces; ns; ns = ns->next)
		ns->sweep = true;
	pthread_mutex_unlock(&h->lock);
}

struct redis_namespace *redis_namespace_of(struct redis_backend *b, const char *name, bool create)
{
	struct redis_namespace *ns, **end = &b->holds.namespaces;

	pthread_mutex_lock(&b->holds.lock);
	ns = named(&b->holds, name);
	if (!ns) {
		ns = calloc(1, sizeof(*ns));
		if (ns)
			ns->name = strdup(name);
		if (ns && !ns->name) {
			free(ns);
			ns = NULL;
		}
		if (ns) {
			ns->sweep = true; /* what dead sessions left */
			while (*end)
				end = &(*end)->next;
			*end = ns;
		}
	}
	if (ns)
		ns->create |= create;
	pthread_mutex_unlock(&b->holds.lock);
	return ns;
}

struct redis_namespace *redis_namespace_next(struct redis_backend *b,
					     const struct redis_namespace *ns)
{
	struct redis_namespace *next;

	pthread_mutex_lock(&b->holds.lock);
	next = ns ? ns->next : b->holds.namespaces;
	pthread_mutex_unlock(&b->holds.lock);
	return next;
}

void redis_holds_reset(struct redis_backend *b)
{
	struct redis_holds *h = &b->holds;
	struct redis_namespace *ns;
	struct redis_hold *hold;
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < REDIS_HOLD_BUCKETS; i++)
		for (hold = h->buckets[i]; hold; hold = hold->next)
			hold->told = false;
	for (ns = h->namespaces; ns; ns = ns->next) {
		ns->ntell = ns->nuntell = 0;
		ns->sweep = true;
		ns->tracked = false;
	}
	h->heard = 0;
	pthread_mutex_unlock(&h->lock);
}

/* ---- sweeping ------------------------------------------------------------------------------- */

struct sweeping {
	uint64_t heard, *tell, *untell;
	size_t ntell, nuntell;
};

static void add_list(struct redis_args *a, const uint64_t *ids, size_t n)
{
	size_t i;

	redis_arg_u64(a, n);
	for (i = 0; i < n; i++)
		redis_arg_u64(a, ids[i]);
}

/* Take what is to be told of ns; it is the caller's now. */
static void take(struct redis_holds *h, struct redis_namespace *ns, struct sweeping *out)
{
	pthread_mutex_lock(&h->lock);
	*out = (struct sweeping){h->heard, ns->tell, ns->untell, ns->ntell, ns->nuntell};
	ns->tell = ns->untell = NULL;
	ns->ntell = ns->nuntell = 0;
	ns->sweep = false;
	pthread_mutex_unlock(&h->lock);
}

static void give_back(struct redis_holds *h, struct redis_namespace *ns, struct sweeping *s,
		      bool done, bool more, bool waits)
{
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; !done && i < s->ntell; i++)
		add_id(&ns->tell, &ns->ntell, s->tell[i]);
	for (i = 0; !done && i < s->nuntell; i++)
		add_id(&ns->untell, &ns->nuntell, s->untell[i]);
	ns->sweep |= !done || more;
	ns->waits = waits;
	pthread_mutex_unlock(&h->lock);
	free(s->tell);
	free(s->untell);
}

/* Returns whether there is more to do at once. */
static bool sweep_one(struct redis_backend *b, struct redis_namespace *ns)
{
	struct redis_args a = {0};
	struct redis_state state;
	redisReply *r = NULL;
	struct sweeping s;
	bool more = false, waits = false;
	int err;

	take(&b->holds, ns, &s);
	redis_state_get(b, &state);
	redis_arg_str(&a, "sweep");
	redis_arg_u64(&a, state.session);
	redis_arg_u64(&a, s.heard);
	add_list(&a, s.tell, s.ntell);
	add_list(&a, s.untell, s.nuntell);
	err = redis_call(b, REDIS_SESSION, ns->name, &a, pfs_monotonic_ns() + b->timeout, &r);
	redis_args_release(&a);
	if (!err) {
		waits = redis_number(r, 1) > 0;
		more = redis_number(r, 2) > 0;
		freeReplyObject(r);
	}
	give_back(&b->holds, ns, &s, !err, more, waits);
	return more;
}

bool redis_sweep(struct redis_backend *b)
{
	struct redis_namespace *ns = NULL;
	bool more = false, due;

	while ((ns = redis_namespace_next(b, ns)) != NULL) {
		pthread_mutex_lock(&b->holds.lock);
		due = ns->sweep;
		pthread_mutex_unlock(&b->holds.lock);
		if (due)
			more |= sweep_one(b, ns);
	}
	return more;
}

/* ---- after deafness ------------------------------------------------------------------------- */

/* All ids that are held in ns: n of them, owned. */
static uint64_t *held_in(struct redis_holds *h, const struct redis_namespace *ns, size_t *n)
{
	uint64_t *ids = NULL;
	struct redis_hold *hold;
	size_t i;

	*n = 0;
	pthread_mutex_lock(&h->lock);
	for (i = 0; i < REDIS_HOLD_BUCKETS; i++)
		for (hold = h->buckets[i]; hold; hold = hold->next)
			if (!strcmp(hold->ns, ns->name))
				add_id(&ids, n, hold->id);
	pthread_mutex_unlock(&h->lock);
	return ids;
}

static int catch_up_one(struct redis_backend *b, struct redis_namespace *ns, uint64_t *heard)
{
	struct redis_args a = {0};
	redisReply *r = NULL, *list;
	size_t n, i;
	uint64_t *ids = held_in(&b->holds, ns, &n);
	int err;

	redis_arg_str(&a, "nameless");
	for (i = 0; i < n; i++)
		redis_arg_u64(&a, ids[i]);
	err = redis_call(b, REDIS_SESSION, ns->name, &a, pfs_monotonic_ns() + b->timeout, &r);
	redis_args_release(&a);
	free(ids);
	if (err)
		return err;
	*heard = redis_number(r, 1);
	list = r->elements > 2 ? r->element[2] : NULL;
	for (i = 0; list && i < list->elements; i++)
		redis_hold_gone(b, 0, redis_number(list, i));
	freeReplyObject(r);
	return 0;
}

int redis_holds_catch_up(struct redis_backend *b)
{
	struct redis_namespace *ns = NULL;
	uint64_t least = UINT64_MAX, heard;
	int err = 0;

	while (!err && (ns = redis_namespace_next(b, ns)) != NULL) {
		err = catch_up_one(b, ns, &heard);
		if (!err && heard < least)
			least = heard;
	}
	pthread_mutex_lock(&b->holds.lock);
	if (!err && least != UINT64_MAX && least > b->holds.heard)
		b->holds.heard = least;
	pthread_mutex_unlock(&b->holds.lock);
	return err;
}
