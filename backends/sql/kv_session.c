/*
 * Namespaces, sessions, what dead sessions left, sweeping, and locks. All run inside a transaction
 * of the caller; kv->lock guards the lists in memory and is not held over statements.
 *
 * An object without a name (nlink 0) is in the list of the session that removed its last name. In
 * the database it has a row in `orphans` only where other sessions are registered, or when an SQL
 * client removed it (session 0); a session that was alone and died is made up for by one scan.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sql/kv.h"

#define SWEEP_OBJECTS 256 /* at most so many in one step */
#define SWEEP_LATEST  (5 * NSEC_PER_SEC)
#define SWEEP_MANY    20000 /* objects and contents */

/* ---- namespaces ----------------------------------------------------------------------------- */

int pfs_kv_ns_create(struct pfs_sql_conn *c, const char *name, uint64_t root, uint32_t mode,
		     uint32_t uid, uint32_t gid, int64_t now)
{
	int64_t ret;

	ret = pfs_sql_write(c, KV_NS_ADD, "it", (int64_t)root, name, strlen(name));
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_OBJECT_ADD, "iiiiiiiiiii", (int64_t)root, (int64_t)root,
				    (int64_t)(S_IFDIR | mode), (int64_t)uid, (int64_t)gid,
				    INT64_C(2), INT64_C(0), INT64_C(0), INT64_C(0), now, now);
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_DIR_ADD, "iiit", (int64_t)root, (int64_t)root,
				    (int64_t)root, "", (size_t)0);
	return ret < 0 ? (int)ret : 0;
}

int pfs_kv_ns_remove(struct pfs_kv *kv, struct pfs_sql_conn *c, const char *name)
{
	uint64_t ns = 0, root = 0;
	struct pfs_kv_object o;
	int64_t ret, one = 0;

	ret = pfs_kv_ns_get(c, name, &ns, &root);
	if (ret)
		return (int)ret;
	ret = pfs_sql_integer(c, KV_ENTRY_ANY, &one, "i", (int64_t)root);
	if (ret != 0)
		return ret < 0 ? (int)ret : -ENOTEMPTY;
	ret = pfs_kv_getattr(kv, c, ns, root, &o);
	if (!ret)
		ret = pfs_sql_write(c, KV_XATTRS_DEL, "i", (int64_t)root);
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_DIR_DEL, "i", (int64_t)root);
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_OBJECT_DEL, "i", (int64_t)root);
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_NS_DEL, "i", (int64_t)ns);
	if (ret >= 0 && kv->shared)
		ret = pfs_kv_change_add(kv, c, KV_CHANGE_GONE, 0, root, PFS_BYTES(""));
	return ret < 0 ? (int)ret : 0;
}

/* ---- sessions ------------------------------------------------------------------------------- */

int pfs_kv_session_add(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id,
		       const struct pfs_kv_self *self)
{
	int64_t ret;

	ret = pfs_sql_write(c, KV_SESSION_ADD, "iiiit", (int64_t)id, pfs_now_ns(), self->pid,
			    self->started, self->host, strlen(self->host));
	if (ret >= 0)
		kv->session = id;
	return ret < 0 ? (int)ret : 0;
}

int pfs_kv_session_beat(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	int64_t ret;

	ret = pfs_sql_run(c, KV_SESSION_BEAT, "ii", (int64_t)kv->session, pfs_now_ns());
	if (ret == 0)
		return -ESTALE;
	if (ret > 0 && !kv->eager && kv->shared)
		ret = pfs_kv_change_add(kv, c, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	return ret < 0 ? (int)ret : 0;
}

int pfs_kv_session_count(struct pfs_kv *kv, struct pfs_sql_conn *c, unsigned *out, bool *own)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_SESSION_COUNT, &q, "i", (int64_t)kv->session);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		*out = (unsigned)c->driver->integer(q, 0);
		if (own)
			*own = c->driver->integer(q, 1) != 0;
	}
	pfs_sql_end(c, q);
	return ret < 0 ? ret : 0;
}

char *pfs_kv_describe_host(void)
{
	char boot[64] = "", ns[64] = "", host[128] = "", text[300];
	ssize_t n;
	FILE *f;

	f = fopen("/proc/sys/kernel/random/boot_id", "re");
	if (f && !fgets(boot, sizeof(boot), f))
		boot[0] = '\0';
	if (f)
		fclose(f);
	boot[strcspn(boot, "\n")] = '\0';
	n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);
	ns[n > 0 ? n : 0] = '\0';
	gethostname(host, sizeof(host) - 1);
	snprintf(text, sizeof(text), "%s %s %s", host, boot, ns);
	return strdup(text);
}

uint64_t pfs_kv_process_started(uint64_t pid)
{
	char path[64], text[1024], *p;
	uint64_t started = 0;
	size_t n;
	FILE *f;
	int i;

	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	p = strrchr(text, ')'); /* the name of the command may hold anything */
	if (p && (p[1] == '\0' || p[2] == 'Z' || p[2] == 'X'))
		return 0; /* ended, only nobody has collected it: as in a container without init */
	for (i = 0; p && i < 20; i++)
		p = strchr(p + 1, ' ');
	if (p)
		started = strtoull(p, NULL, 10);
	return started;
}

static bool session_dead(const struct pfs_kv *kv, const struct pfs_kv_self *self, int64_t silent,
			 int64_t pid, int64_t started, struct pfs_bytes host)
{
	if (silent > kv->lease)
		return true;
	return pfs_bytes_eq(host, pfs_bytes_str(self->host)) &&
	       pfs_kv_process_started((uint64_t)pid) != (uint64_t)started;
}

int pfs_kv_session_reap(struct pfs_kv *kv, struct pfs_sql_conn *c, const struct pfs_kv_self *self,
			unsigned *dead)
{
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_ids ids = {0};
	size_t i;
	int ret;

	ret = pfs_sql_begin(c, KV_SESSION_LIST, &q, "ii", (int64_t)kv->session, pfs_now_ns());
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		ret = 0;
		if (session_dead(kv, self, c->driver->integer(q, 1), c->driver->integer(q, 2),
				 c->driver->integer(q, 3), c->driver->bytes(q, 4)))
			ret = pfs_kv_ids_add(&ids, (uint64_t)c->driver->integer(q, 0));
	}
	pfs_sql_end(c, q);
	for (i = 0; i < ids.n && !ret; i++)
		ret = pfs_kv_session_end(c, ids.v[i]);
	*dead = (unsigned)ids.n;
	free(ids.v);
	return ret;
}

int pfs_kv_session_end(struct pfs_sql_conn *c, uint64_t id)
{
	static const enum pfs_kv_stmt steps[] = {KV_LOCKS_SESSION_DEL, KV_HOLDS_SESSION_DEL,
						 KV_USAGE_FOLD, KV_USAGE_FOLD_DEL, KV_SESSION_DEL};
	int64_t ret = 0;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(steps) && ret >= 0; i++)
		ret = pfs_sql_write(c, steps[i], "i", (int64_t)id);
	return ret < 0 ? (int)ret : 0;
}

int pfs_kv_session_shared(struct pfs_kv *kv, struct pfs_sql_conn *c, bool shared, bool *flushed)
{
	int err = 0;

	if (shared && !kv->shared) {
		err = pfs_kv_usage_flush(kv, c);
		if (!err)
			err = pfs_kv_orphans_flush(kv, c);
		*flushed = true;
	}
	kv->shared = shared;
	return err;
}

int pfs_kv_session_leave(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	int err;

	err = pfs_kv_usage_flush(kv, c);
	if (!err)
		err = pfs_kv_orphans_flush(kv, c);
	if (!err)
		err = pfs_kv_end_ids(kv, c);
	return err ? err : pfs_kv_session_end(c, kv->session);
}

/* ---- what nobody owns ----------------------------------------------------------------------- */

static int orphan_add(struct pfs_kv_orphans *list, uint64_t id, uint64_t after)
{
	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		void *p = realloc(list->v, cap * sizeof(*list->v));

		if (!p)
			return -ENOMEM;
		list->v = p;
		list->cap = cap;
	}
	list->v[list->n++] = (struct pfs_kv_orphan){.id = id, .after = after};
	return 0;
}

void pfs_kv_orphan(struct pfs_kv *kv, struct pfs_kv_orphans *list, uint64_t id, uint64_t after)
{
	pthread_mutex_lock(&kv->lock);
	orphan_add(list, id, after);
	pthread_mutex_unlock(&kv->lock);
}

/* Gather the ids that a statement tells. */
static int gather(struct pfs_sql_conn *c, enum pfs_kv_stmt stmt, struct pfs_kv_ids *out)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, stmt, &q, "");
	while (!ret && (ret = pfs_sql_step(c, q)) == 1)
		ret = pfs_kv_ids_add(out, (uint64_t)c->driver->integer(q, 0));
	pfs_sql_end(c, q);
	return ret;
}

static bool orphan_known(const struct pfs_kv *kv, uint64_t id)
{
	size_t i;

	for (i = 0; i < kv->orphans.n; i++)
		if (kv->orphans.v[i].id == id)
			return true;
	for (i = 0; i < kv->parked.n; i++)
		if (kv->parked.v[i].id == id)
			return true;
	return false;
}

/* The last change that is in the database. */
static int last_change(struct pfs_sql_conn *c, uint64_t *out)
{
	int64_t last = 0;
	int ret = pfs_sql_integer(c, KV_CHANGES_LAST, &last, "");

	*out = (uint64_t)last;
	return ret < 0 ? ret : 0;
}

int pfs_kv_recover(struct pfs_kv *kv, struct pfs_sql_conn *c, bool scan)
{
	struct pfs_kv_ids objects = {0}, contents = {0};
	uint64_t after = 0;
	int64_t ret;
	size_t i;

	ret = gather(c, KV_STAGED_DEAD, &contents);
	if (!ret)
		ret = gather(c, scan ? KV_ORPHANS_SCAN : KV_ORPHANS_DEAD, &objects);
	if (!ret && kv->shared)
		ret = last_change(c, &after);
	if (!ret && objects.n > 0)
		ret = pfs_sql_write(c, KV_ORPHANS_CLAIM, "i", (int64_t)kv->session);
	if (ret >= 0 && scan)
		ret = pfs_sql_write(c, KV_USAGE_CLEAR, "");
	if (ret >= 0 && scan)
		ret = pfs_sql_write(c, KV_USAGE_SCAN, "");
	if (ret >= 0) {
		pthread_mutex_lock(&kv->lock);
		if (scan)
			kv->nusage = 0;
		for (i = 0; i < objects.n; i++)
			if (!orphan_known(kv, objects.v[i]))
				orphan_add(&kv->orphans, objects.v[i], after);
		for (i = 0; i < contents.n; i++)
			orphan_add(&kv->contents, contents.v[i], 0);
		pthread_mutex_unlock(&kv->lock);
	}
	free(objects.v);
	free(contents.v);
	return ret < 0 ? (int)ret : 0;
}

/* Another session appeared: write down what was kept in memory while this one was alone. */
int pfs_kv_usage_flush(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	struct pfs_kv_usage *usage = NULL;
	size_t n = 0, i;
	int64_t ret = 0;

	pthread_mutex_lock(&kv->lock);
	if (kv->nusage > 0)
		usage = malloc(kv->nusage * sizeof(*usage));
	if (usage) {
		n = kv->nusage;
		memcpy(usage, kv->usage, n * sizeof(*usage));
	}
	pthread_mutex_unlock(&kv->lock);
	for (i = 0; i < n && ret >= 0; i++)
		if (usage[i].objects != 0 || usage[i].bytes != 0)
			ret = pfs_sql_write(c, KV_USAGE_ADD, "iiii", (int64_t)usage[i].ns,
					    (int64_t)kv->session, usage[i].objects, usage[i].bytes);
	free(usage);
	if (ret >= 0)
		ret = pfs_kv_dirtimes_flush(kv, c);
	return ret < 0 ? (int)ret : 0;
}

void pfs_kv_usage_flushed(struct pfs_kv *kv)
{
	pthread_mutex_lock(&kv->lock);
	kv->nusage = 0;
	pthread_mutex_unlock(&kv->lock);
	pfs_kv_dirtimes_flushed(kv);
}

int pfs_kv_orphans_flush(struct pfs_kv *kv, struct pfs_sql_conn *c)
{
	struct pfs_kv_ids ids = {0};
	int64_t ret = 0;
	size_t i;

	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < kv->orphans.n && !ret; i++)
		ret = pfs_kv_ids_add(&ids, kv->orphans.v[i].id);
	for (i = 0; i < kv->parked.n && !ret; i++)
		ret = pfs_kv_ids_add(&ids, kv->parked.v[i].id);
	pthread_mutex_unlock(&kv->lock);
	for (i = 0; i < ids.n && ret >= 0; i++)
		ret = pfs_sql_write(c, KV_ORPHAN_ADD, "ii", (int64_t)ids.v[i],
				    (int64_t)kv->session);
	free(ids.v);
	return ret < 0 ? (int)ret : 0;
}

/* ---- sweeping ------------------------------------------------------------------------------- */

size_t pfs_kv_sweepable(struct pfs_kv *kv)
{
	size_t n;

	pthread_mutex_lock(&kv->lock);
	n = kv->orphans.n + kv->contents.n;
	pthread_mutex_unlock(&kv->lock);
	return n;
}

bool pfs_kv_sweep_time(struct pfs_kv *kv, uint64_t committed, struct pfs_kv_house *h)
{
	size_t waiting = pfs_kv_sweepable(kv);
	bool quiet = committed == h->committed;

	h->committed = committed;
	if (waiting == 0)
		h->since = 0;
	else if (h->since == 0)
		h->since = pfs_monotonic_ns();
	return waiting > 0 &&
	       (quiet || waiting > SWEEP_MANY || pfs_monotonic_ns() - h->since > SWEEP_LATEST);
}

/* Take the next orphan that may go: one that is held is parked until its release. */
static bool sweep_take(struct pfs_kv *kv, struct pfs_kv_sweep *s, struct pfs_kv_orphan *out)
{
	bool found = false;

	pthread_mutex_lock(&kv->lock);
	while (!found && kv->orphans.n > 0) {
		*out = kv->orphans.v[--kv->orphans.n];
		if (pfs_kv_held_locked(kv, out->id))
			orphan_add(&kv->parked, out->id, out->after);
		else
			found = orphan_add(&s->taken, out->id, out->after) == 0;
	}
	pthread_mutex_unlock(&kv->lock);
	return found;
}

static bool sweep_take_content(struct pfs_kv *kv, struct pfs_kv_sweep *s, uint64_t *out)
{
	bool found = false;

	pthread_mutex_lock(&kv->lock);
	if (kv->contents.n > 0) {
		*out = kv->contents.v[kv->contents.n - 1].id;
		found = orphan_add(&s->contents, *out, 0) == 0;
		kv->contents.n -= found;
	}
	pthread_mutex_unlock(&kv->lock);
	return found;
}

/* Remove chunks of a content, at most *budget: 1 when all are gone, 0, or -errno. */
static int sweep_chunks(struct pfs_sql_conn *c, uint64_t content, int64_t *budget)
{
	uint64_t low = content << PFS_KV_INDEX_BITS;
	uint64_t high = low | ((UINT64_C(1) << PFS_KV_INDEX_BITS) - 1);
	int64_t n;

	n = pfs_sql_run(c, KV_CHUNKS_DEL_SOME, "iii", (int64_t)low, (int64_t)high, *budget);
	if (n < 0)
		return (int)n;
	*budget -= n;
	return *budget > 0 ? 1 : 0;
}

/* Remove one object: 1 when it is gone, 0 when not yet, or -errno. */
static int sweep_object(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id, int64_t *budget)
{
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_object o = {0};
	int64_t ret;
	bool elsewhere = false;

	ret = pfs_sql_begin(c, KV_GETATTR, &q, "i", (int64_t)id);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1)
		pfs_kv_row_object(c, q, 0, &o);
	pfs_sql_end(c, q);
	if (ret < 0)
		return (int)ret;
	if (ret == 1 && o.a.nlink == 0) {
		int64_t one = 0;

		ret = kv->shared ? pfs_sql_integer(c, KV_HELD_ELSEWHERE, &one, "ii", (int64_t)id,
						   (int64_t)kv->session)
				 : 0;
		elsewhere = ret == 1;
		if (!ret)
			ret = o.a.stored > 0 ? sweep_chunks(c, o.content, budget) : 1;
		if (ret != 1 || elsewhere)
			return ret < 0 ? (int)ret : 0;
		ret = pfs_sql_write(c, KV_XATTRS_DEL, "i", (int64_t)id);
		if (ret >= 0)
			ret = pfs_sql_write(c, KV_OBJECT_DEL, "i", (int64_t)id);
	}
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_ORPHAN_DEL, "i", (int64_t)id);
	return ret < 0 ? (int)ret : 1;
}

int pfs_kv_sweep_step(struct pfs_kv *kv, struct pfs_sql_conn *c, struct pfs_kv_sweep *s,
		      int64_t budget)
{
	struct pfs_kv_orphan orphan;
	int64_t acked = INT64_MAX;
	uint64_t content;
	int ret = 1;

	if (kv->shared) {
		ret = pfs_sql_integer(c, KV_SESSION_ACKED, &acked, "i", (int64_t)kv->session);
		if (ret < 0)
			return ret;
	}
	while (budget > 0 && sweep_take_content(kv, s, &content)) {
		ret = sweep_chunks(c, content, &budget);
		if (ret == 1) {
			s->contents.v[s->contents.n - 1].done = true;
			ret = (int)pfs_sql_write(c, KV_STAGED_DEL, "i", (int64_t)content);
		}
		if (ret < 0)
			return ret;
		s->progress = true;
	}
	while (budget > 0 && s->taken.n < SWEEP_OBJECTS && sweep_take(kv, s, &orphan)) {
		int64_t before = budget--;

		ret = 0;
		if ((int64_t)orphan.after <= acked)
			ret = sweep_object(kv, c, orphan.id, &budget);
		if (ret < 0)
			return ret;
		s->taken.v[s->taken.n - 1].done = ret == 1;
		s->progress = s->progress || ret == 1 || budget < before - 1;
	}
	return 0;
}

/* Put back what was taken and is not done. */
static void sweep_put_back(struct pfs_kv_orphans *list, const struct pfs_kv_orphans *taken,
			   bool committed)
{
	size_t i;

	for (i = 0; i < taken->n; i++)
		if (!committed || !taken->v[i].done)
			orphan_add(list, taken->v[i].id, taken->v[i].after);
}

bool pfs_kv_sweep_done(struct pfs_kv *kv, struct pfs_kv_sweep *s, bool committed)
{
	bool more;

	pthread_mutex_lock(&kv->lock);
	sweep_put_back(&kv->orphans, &s->taken, committed);
	sweep_put_back(&kv->contents, &s->contents, committed);
	more = committed && s->progress && (kv->orphans.n > 0 || kv->contents.n > 0);
	pthread_mutex_unlock(&kv->lock);
	free(s->taken.v);
	free(s->contents.v);
	*s = (struct pfs_kv_sweep){0};
	return more;
}

/* ---- locks ---------------------------------------------------------------------------------- */

static uint64_t lock_unpos(int64_t pos)
{
	return (uint64_t)pos ^ (UINT64_C(1) << 63);
}

/* -EAGAIN and whose lock it is, 0: free, or -errno. */
static int lock_conflict(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id,
			 const struct pfs_lock *lock, struct pfs_lock *conflict, uint64_t *whose)
{
	struct pfs_sql_query *q = NULL;
	int ret;

	ret = pfs_sql_begin(c, KV_LOCK_CONFLICT, &q, "iiiiii", (int64_t)id, (int64_t)kv->session,
			    (int64_t)lock->owner, pfs_kv_lock_pos(lock->start),
			    pfs_kv_lock_pos(lock->end), (int64_t)lock->mode);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		conflict->owner = (uint64_t)c->driver->integer(q, 0);
		conflict->start = lock_unpos(c->driver->integer(q, 1));
		conflict->end = lock_unpos(c->driver->integer(q, 2));
		conflict->mode = (enum pfs_lock_mode)c->driver->integer(q, 3);
		*whose = (uint64_t)c->driver->integer(q, 4);
		ret = -EAGAIN;
	}
	pfs_sql_end(c, q);
	return ret;
}

#define TELL_AGAIN (50 * 1000000LL)

/* A refusal of a lock on `id`: is it to be told, or was it a moment ago? */
static bool lock_tell(struct pfs_kv *kv, uint64_t id)
{
	int64_t now = pfs_monotonic_ns();
	struct pfs_kv_told *t;
	bool tell = true;
	size_t i;

	pthread_mutex_lock(&kv->lock);
	for (i = 0; i < PFS_ARRAY_SIZE(kv->told); i++)
		if (kv->told[i].id == id)
			break;
	if (i == PFS_ARRAY_SIZE(kv->told))
		i = kv->ntold++ % PFS_ARRAY_SIZE(kv->told);
	else
		tell = now - kv->told[i].at >= TELL_AGAIN;
	t = &kv->told[i];
	if (tell)
		*t = (struct pfs_kv_told){.id = id, .at = now};
	pthread_mutex_unlock(&kv->lock);
	return tell;
}

/* Refused: the session in the way is told. */
static int lock_refused(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id, uint64_t whose,
			bool *tell)
{
	int err;

	*tell = whose != kv->session && lock_tell(kv, id);
	if (!*tell)
		return -EAGAIN;
	err = pfs_kv_change_add(kv, c, KV_CHANGE_LOCK, whose, id, PFS_BYTES(""));
	return err ? err : -EAGAIN;
}

struct lock_ranges {
	struct lock_range {
		int64_t first, last, mode;
	} * v;
	size_t n;
};

static int lock_ranges_add(struct lock_ranges *r, int64_t first, int64_t last, int64_t mode)
{
	void *p;

	if (first > last)
		return 0;
	p = realloc(r->v, (r->n + 1) * sizeof(*r->v));
	if (!p)
		return -ENOMEM;
	r->v = p;
	r->v[r->n++] = (struct lock_range){first, last, mode};
	return 0;
}

/* What the owner has, without [first, last]; ranges of `mode` that touch it are taken into it. */
static int lock_others(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t id,
		       const struct pfs_lock *lock, int64_t *first, int64_t *last,
		       struct lock_ranges *out)
{
	struct pfs_sql_query *q = NULL;
	int64_t start = *first, end = *last;
	int ret;

	ret = pfs_sql_begin(c, KV_LOCK_OWN, &q, "iii", (int64_t)id, (int64_t)kv->session,
			    (int64_t)lock->owner);
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		int64_t from = c->driver->integer(q, 0), to = c->driver->integer(q, 1);
		int64_t mode = c->driver->integer(q, 2);
		bool touches = from <= (end == INT64_MAX ? end : end + 1) &&
			       to >= (start == INT64_MIN ? start : start - 1);

		ret = 0;
		if (touches && mode == (int64_t)lock->mode) {
			*first = from < *first ? from : *first;
			*last = to > *last ? to : *last;
			continue;
		}
		if (to < start || from > end) {
			ret = lock_ranges_add(out, from, to, mode);
			continue;
		}
		if (from < start)
			ret = lock_ranges_add(out, from, start - 1, mode);
		if (!ret && to > end)
			ret = lock_ranges_add(out, end + 1, to, mode);
	}
	pfs_sql_end(c, q);
	return ret;
}

int pfs_kv_lock(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t ns, uint64_t id,
		const struct pfs_lock *lock, struct pfs_lock *conflict, bool *tell)
{
	uint64_t whose = 0;
	int64_t first = pfs_kv_lock_pos(lock->start), last = pfs_kv_lock_pos(lock->end), ret = 0;
	struct lock_ranges ranges = {0};
	struct pfs_kv_object o;
	size_t i;

	*tell = false;
	ret = pfs_kv_getattr(kv, c, ns, id, &o);
	if (!ret && lock->mode != PFS_LOCK_NONE)
		ret = lock_conflict(kv, c, id, lock, conflict, &whose);
	if (ret == -EAGAIN)
		return lock_refused(kv, c, id, whose, tell);
	if (!ret)
		ret = lock_others(kv, c, id, lock, &first, &last, &ranges);
	if (!ret && lock->mode != PFS_LOCK_NONE)
		ret = lock_ranges_add(&ranges, first, last, (int64_t)lock->mode);
	if (!ret)
		ret = pfs_sql_write(c, KV_LOCK_DEL, "iii", (int64_t)id, (int64_t)kv->session,
				    (int64_t)lock->owner);
	for (i = 0; i < ranges.n && ret >= 0; i++)
		ret = pfs_sql_write(c, KV_LOCK_ADD, "iiiiii", (int64_t)id, (int64_t)kv->session,
				    (int64_t)lock->owner, ranges.v[i].first, ranges.v[i].last,
				    ranges.v[i].mode);
	if (ret >= 0 && kv->shared)
		ret = pfs_kv_change_add(kv, c, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	free(ranges.v);
	return ret < 0 ? (int)ret : 0;
}
