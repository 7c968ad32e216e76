/*
 * Reads that are made ahead. What a mutation reads first is known before the transaction begins;
 * so it is asked for together with BEGIN and the lock, and found here when the shared code asks.
 * An answer that a write of the same transaction may have changed is void; then asking costs one
 * more round trip, and nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define AHEAD_MAX 1024

static void key_of(struct pfs_buf *key, const struct pg_params *p)
{
	int i;

	for (i = 0; i < p->n; i++) {
		pfs_buf_add(key, (const char *)&p->lengths[i], sizeof(p->lengths[i]));
		pfs_buf_add(key, p->values[i], (size_t)p->lengths[i]);
	}
}

/* Do the parameters from `first` of `p` equal the beginning of the key? */
static bool key_begins(const struct pfs_buf *key, const struct pg_params *p, int first, int n)
{
	size_t at = 0;
	int i;

	for (i = first; i < first + n; i++) {
		size_t len = (size_t)p->lengths[i];

		if (key->len - at < sizeof(int) + len ||
		    memcmp(key->data + at, &p->lengths[i], sizeof(int)) != 0 ||
		    memcmp(key->data + at + sizeof(int), p->values[i], len) != 0)
			return false;
		at += sizeof(int) + len;
	}
	return true;
}

static struct pg_ahead *ahead_new(struct pg_conn *c, unsigned stmt)
{
	struct pg_ahead *a;

	if (c->nahead == c->ahead_cap) {
		size_t cap = c->ahead_cap ? c->ahead_cap * 2 : 32;

		if (cap > AHEAD_MAX)
			return NULL;
		a = realloc(c->ahead, cap * sizeof(*a));
		if (!a)
			return NULL;
		c->ahead = a;
		memset(a + c->ahead_cap, 0, (cap - c->ahead_cap) * sizeof(*a));
		c->ahead_cap = cap;
	}
	a = &c->ahead[c->nahead++];
	a->stmt = stmt;
	a->key.len = 0;
	a->res = NULL;
	a->valid = true;
	return a;
}

static struct pg_ahead *find(struct pg_conn *c, unsigned stmt, const struct pg_params *p)
{
	size_t i;

	for (i = 0; i < c->nahead; i++) {
		struct pg_ahead *a = &c->ahead[i];
		int k, len = 0;

		if (!a->valid || a->stmt != stmt)
			continue;
		for (k = 0; k < p->n; k++)
			len += (int)sizeof(int) + p->lengths[k];
		if (a->key.len == (size_t)len && key_begins(&a->key, p, 0, p->n))
			return a;
	}
	return NULL;
}

int pg_ahead(struct pg_conn *c, unsigned stmt, const char *types, ...)
{
	struct pg_ahead *a = NULL;
	struct pg_params p;
	va_list ap;
	int err;

	va_start(ap, types);
	err = pg_params_bind(&p, types, ap);
	va_end(ap);
	if (!err && !find(c, stmt, &p))
		a = ahead_new(c, stmt);
	if (a) {
		key_of(&a->key, &p);
		err = a->key.failed ? -ENOMEM : pg_send(c, stmt, &p, PG_SENT_READ, NULL);
		if (err)
			c->nahead--;
		else
			c->sent[c->nsent - 1].ahead = (size_t)(a - c->ahead);
	}
	pg_params_release(&p);
	return err;
}

struct pg_ahead *pg_ahead_find(struct pg_conn *c, unsigned stmt, const struct pg_params *p)
{
	struct pg_ahead *a = find(c, stmt, p);

	return a && a->res ? a : NULL;
}

void pg_ahead_clear(struct pg_conn *c)
{
	size_t i;

	for (i = 0; i < c->nahead; i++) {
		PQclear(c->ahead[i].res);
		c->ahead[i].res = NULL;
	}
	c->nahead = 0;
}

/* ---- what a write makes void ---------------------------------------------------------------- */

/* Is the object ?1 of a write the one that a look-up found, or the one that was asked for? */
static bool same_object(const struct pg_ahead *a, const struct pg_params *p)
{
	if (a->stmt == KV_GETATTR)
		return key_begins(&a->key, p, 0, 1);
	return (a->stmt == KV_LOOKUP || a->stmt == KV_LOOKUP_IN) && a->res &&
	       PQntuples(a->res) > 0 && PQgetlength(a->res, 0, 0) == 8 &&
	       memcmp(PQgetvalue(a->res, 0, 0), p->values[0], 8) == 0;
}

/* Or the directory in which it looked? Of that it tells what it is, and no times. */
static bool same_dir(const struct pg_ahead *a, const struct pg_params *p)
{
	return a->stmt == KV_LOOKUP_IN && key_begins(&a->key, p, 0, 1);
}

/* Was the entry (?n, ?n+1) looked up, or its directory asked whether it is empty? */
static bool same_entry(const struct pg_ahead *a, const struct pg_params *p, int n)
{
	if (a->stmt == KV_LOOKUP || a->stmt == KV_LOOKUP_IN)
		return key_begins(&a->key, p, n, 2);
	return a->stmt == KV_ENTRY_ANY && key_begins(&a->key, p, n, 1);
}

static bool touches(const struct pg_ahead *a, unsigned stmt, const struct pg_params *p)
{
	switch (stmt) {
	case KV_OBJECT_ADD:
	case KV_OBJECT_PUT:
	case KV_OBJECT_DEL:
		return same_object(a, p) || same_dir(a, p);
	case KV_DIR_TOUCH:
		return same_object(a, p);
	case KV_ENTRY_MOVE:
		return same_entry(a, p, 0) || same_entry(a, p, 2);
	case KV_ENTRY_PUT:
	case KV_ENTRY_DEL:
	case KV_ENTRY_SET:
		return same_entry(a, p, 0);
	case KV_DIR_ADD:
	case KV_DIR_DEL:
	case KV_DIR_MOVE:
	case KV_DIRS_MOVE:
		return a->stmt == KV_DIR_PATH;
	case KV_CHUNK_PUT:
	case KV_CHUNK_CUT:
		return (a->stmt == KV_CHUNK_GET || a->stmt == KV_CHUNK_LEN) &&
		       key_begins(&a->key, p, 0, 1);
	case KV_CHUNKS_DEL:
	case KV_CHUNKS_DEL_SOME:
		return a->stmt == KV_CHUNK_GET || a->stmt == KV_CHUNK_LEN ||
		       a->stmt == KV_CHUNKS_LEN;
	case KV_STAGED_ADD:
	case KV_STAGED_DEL:
		return a->stmt == KV_STAGED_GET;
	case KV_LOCK_ADD:
	case KV_LOCK_DEL:
		return a->stmt == KV_LOCK_CONFLICT || a->stmt == KV_LOCK_OWN;
	case PG_STMT_UNDO:
		return true;
	default:
		return false;
	}
}

void pg_ahead_void(struct pg_conn *c, unsigned stmt, const struct pg_params *p)
{
	size_t i;

	for (i = 0; i < c->nahead; i++)
		if (c->ahead[i].valid && touches(&c->ahead[i], stmt, p))
			c->ahead[i].valid = false;
}

/* ---- what mutations read -------------------------------------------------------------------- */

static int ahead_entry(struct pg_conn *c, uint64_t dir, struct pfs_bytes name)
{
	return pg_ahead(c, KV_LOOKUP, "it", (int64_t)dir, name.p, name.len);
}

static int ahead_object(struct pg_conn *c, uint64_t id)
{
	return pg_ahead(c, KV_GETATTR, "i", (int64_t)id);
}

/* The chunk that a write to `id` at `off` (-1: the end) changes in part. */
static int ahead_tail(struct pg_conn *c, const struct pfs_mutation *m, int64_t off)
{
	int err;

	if (m->nsegs != 1)
		return 0;
	err = pg_ahead(c, PG_STMT_TAIL_GET, "ii", (int64_t)m->id, off);
	return err ? err : pg_ahead(c, PG_STMT_TAIL_LEN, "ii", (int64_t)m->id, off);
}

static int ahead_rename(struct pg_conn *c, const struct pfs_mutation *m)
{
	int err;

	err = ahead_entry(c, m->dir, m->name);
	if (!err)
		err = ahead_entry(c, m->dir2, m->name2);
	if (!err)
		err = ahead_object(c, m->dir2);
	return err;
}

static int ahead_link(struct pg_conn *c, const struct pfs_mutation *m)
{
	int err = ahead_object(c, m->dir);

	return err ? err : ahead_entry(c, m->dir, m->name);
}

static int ahead_create(struct pg_conn *c, const struct pfs_mutation *m)
{
	int err;

	err = pg_ahead(c, KV_LOOKUP_IN, "it", (int64_t)m->dir, m->name.p, m->name.len);
	if (!err && S_ISDIR(m->set.mode))
		err = pg_ahead(c, KV_DIR_PATH, "i", (int64_t)m->dir);
	return err;
}

static int ahead_mutation(struct pg_conn *c, const struct pfs_mutation *m)
{
	int err = 0;

	switch (m->op) {
	case PFS_OP_CREATE:
		return ahead_create(c, m);
	case PFS_OP_REMOVE:
		return ahead_entry(c, m->dir, m->name);
	case PFS_OP_RENAME:
		return ahead_rename(c, m);
	case PFS_OP_LINK:
		err = ahead_link(c, m);
		break;
	case PFS_OP_STAGE:
	case PFS_OP_DISCARD:
		break;
	case PFS_OP_APPEND:
		err = ahead_tail(c, m, -1);
		break;
	case PFS_OP_WRITE:
		if (m->nsegs == 1 && m->segs[0].len <= PFS_KV_CHUNK)
			err = ahead_tail(c, m, (int64_t)m->segs[0].off);
		break;
	case PFS_OP_COPY:
		err = ahead_object(c, m->source);
		break;
	default:
		break;
	}
	if (!err && m->id)
		err = ahead_object(c, m->id);
	if (!err && m->content)
		err = pg_ahead(c, KV_STAGED_GET, "ii", (int64_t)m->content,
			       (int64_t)c->b->kv.session);
	return err;
}

int pg_ahead_batch(struct pg_conn *c, const struct pfs_batch *batch)
{
	size_t i;
	int err = 0;

	for (i = 0; i < batch->nops && !err; i++)
		err = ahead_mutation(c, &batch->ops[i]);
	return err;
}

/* The answer for the object whose id the key begins with. */
static const PGresult *object_ahead(struct pg_conn *c, const struct pfs_buf *key)
{
	size_t i, len = sizeof(int) + 8;

	for (i = 0; i < c->nahead; i++) {
		const struct pg_ahead *a = &c->ahead[i];

		if (a->stmt == KV_GETATTR && a->res && PQntuples(a->res) > 0 && a->key.len == len &&
		    memcmp(a->key.data, key->data, len) == 0)
			return a->res;
	}
	return NULL;
}

static int64_t be64_at(const char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return (int64_t)__builtin_bswap64(v);
}

/* From "the chunk at this offset of the object" to "the chunk of this key". */
static void tail_rename(struct pg_ahead *a, const PGresult *object)
{
	int64_t size = be64_at(PQgetvalue(object, 0, 6));
	int64_t content = be64_at(PQgetvalue(object, 0, 13));
	int64_t off = be64_at(a->key.data + 2 * sizeof(int) + 8);
	int len = 8;
	uint64_t key;

	if (off < 0)
		off = size;
	key = (uint64_t)content << PFS_KV_INDEX_BITS | (uint64_t)off / PFS_KV_CHUNK;
	key = __builtin_bswap64(key);
	a->stmt = a->stmt == PG_STMT_TAIL_GET ? KV_CHUNK_GET : KV_CHUNK_LEN;
	a->key.len = 0;
	pfs_buf_add(&a->key, (const char *)&len, sizeof(len));
	pfs_buf_add(&a->key, (const char *)&key, sizeof(key));
}

void pg_ahead_tails(struct pg_conn *c)
{
	const PGresult *object;
	size_t i;

	for (i = 0; i < c->nahead; i++) {
		struct pg_ahead *a = &c->ahead[i];

		if (a->stmt != PG_STMT_TAIL_GET && a->stmt != PG_STMT_TAIL_LEN)
			continue;
		object = object_ahead(c, &a->key);
		if (object)
			tail_rename(a, object);
		else
			a->valid = false;
	}
}
