/*
 * What others changed: rows of `changes` become events. The caller tells them, and then says so in
 * the database, so that what this session holds is put down before the others may sweep it.
 */
#include <stdlib.h>

#include "backends/sql/kv.h"

#define NEWS_ROWS INT64_C(1000000)

static enum pfs_event_type event_type(int64_t change)
{
	switch (change) {
	case KV_CHANGE_ENTRY:
		return PFS_EVENT_ENTRY;
	case KV_CHANGE_CONTENT:
		return PFS_EVENT_CONTENT;
	case KV_CHANGE_LOCK:
		return PFS_EVENT_LOCK;
	default:
		return PFS_EVENT_ATTR;
	}
}

/* Has the row anything to tell to this session? */
static bool concerns(const struct pfs_kv *kv, int64_t type, int64_t dir)
{
	return type != KV_CHANGE_NONE && (type != KV_CHANGE_LOCK || (uint64_t)dir == kv->session);
}

/* One row, by somebody else. */
static int news_add(struct pfs_kv *kv, struct pfs_kv_news *news, struct pfs_sql_conn *c,
		    struct pfs_sql_query *q)
{
	int64_t type = c->driver->integer(q, 2), dir = c->driver->integer(q, 3);
	struct pfs_bytes name = c->driver->bytes(q, 5);
	struct pfs_event *event;
	int err = 0;

	news->rows++;
	if (!concerns(kv, type, dir))
		return 0;
	news->foreign = news->foreign || type != KV_CHANGE_LOCK;
	if (type == KV_CHANGE_GONE) {
		news->by_client = news->by_client || c->driver->integer(q, 1) == 0;
		err = pfs_kv_ids_add(&news->gone, (uint64_t)c->driver->integer(q, 4));
	}
	if (err || (news->n == PFS_KV_EVENTS_MAX && type != KV_CHANGE_LOCK)) {
		news->all = true;
		return err;
	}
	if (news->n == PFS_KV_EVENTS_MAX)
		news->n--; /* ALL says what that said; a refused lock must be told itself */
	event = &news->events[news->n++];
	event->type = event_type(type);
	event->dir = type == KV_CHANGE_LOCK ? 0 : (uint64_t)dir;
	event->id = (uint64_t)c->driver->integer(q, 4);
	event->name.len = name.len;
	event->name.p = (const char *)(uintptr_t)news->names.len; /* made a pointer at the end */
	pfs_buf_add(&news->names, name.p, name.len);
	return 0;
}

int pfs_kv_news_read(struct pfs_kv *kv, struct pfs_sql_conn *c, uint64_t *last,
		     struct pfs_kv_news *news)
{
	struct pfs_sql_query *q = NULL;
	size_t i;
	int ret;

	ret = pfs_sql_begin(c, KV_CHANGES_AFTER, &q, "ii", (int64_t)*last, NEWS_ROWS);
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		ret = 0;
		*last = (uint64_t)c->driver->integer(q, 0);
		news->seen++;
		if ((uint64_t)c->driver->integer(q, 1) != kv->session)
			ret = news_add(kv, news, c, q);
	}
	pfs_sql_end(c, q);
	for (i = 0; i < news->n; i++)
		news->events[i].name.p = news->names.data + (uintptr_t)news->events[i].name.p;
	if (news->names.failed || ret)
		news->all = true;
	return ret;
}

void pfs_kv_news_release(struct pfs_kv_news *news)
{
	free(news->gone.v);
	pfs_buf_release(&news->names);
}

int pfs_kv_news_ack(struct pfs_kv *kv, struct pfs_sql_conn *c, const struct pfs_kv_news *news,
		    uint64_t last)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < news->gone.n && ret >= 0; i++)
		if ((kv->eager || kv->shared) && pfs_kv_is_held(kv, news->gone.v[i]))
			ret = pfs_sql_write(c, KV_HOLD_ADD, "ii", (int64_t)news->gone.v[i],
					    (int64_t)kv->session);
	if (ret >= 0)
		ret = pfs_sql_write(c, KV_SESSION_ACK, "ii", (int64_t)kv->session, (int64_t)last);
	return ret;
}
