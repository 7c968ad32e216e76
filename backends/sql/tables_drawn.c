/*
 * Listings whose order the engine must make anew each time: by a column, or at random. The names are drawn
 * once, when a listing starts, and its pages come from there, so that each is told once whatever happens
 * to the rows meanwhile. A few are kept; one that is gone when it is asked for is drawn again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables.h"

#define KEPT	  8
#define NAMES_MAX (64u << 20) /* bytes of one listing */

struct tables_drawn {
	struct tables_drawn *next; /* the youngest first */
	char *path;
	struct pfs_buf names; /* each with a NUL behind it */
	size_t at;	      /* behind the name that was told last */
};

static void drawn_free(struct tables_drawn *d)
{
	if (!d)
		return;
	free(d->path);
	pfs_buf_release(&d->names);
	free(d);
}

void tables_drawn_free(struct tables *v)
{
	struct tables_drawn *d;

	while ((d = v->drawn)) {
		v->drawn = d->next;
		drawn_free(d);
	}
}

/* Take the listing of `path` out of those that are kept; NULL: there is none. */
static struct tables_drawn *take(struct tables *v, struct pfs_bytes path)
{
	struct tables_drawn **slot = &v->drawn, *d;

	pthread_mutex_lock(&v->lock);
	while (*slot && !pfs_bytes_eq(pfs_bytes_str((*slot)->path), path))
		slot = &(*slot)->next;
	d = *slot;
	if (d)
		*slot = d->next;
	pthread_mutex_unlock(&v->lock);
	return d;
}

static void keep(struct tables *v, struct tables_drawn *d)
{
	struct tables_drawn **slot = &v->drawn, *old;
	size_t n;

	pthread_mutex_lock(&v->lock);
	d->next = v->drawn;
	v->drawn = d;
	for (n = 0; *slot && n < KEPT; n++)
		slot = &(*slot)->next;
	old = *slot;
	*slot = NULL;
	pthread_mutex_unlock(&v->lock);
	drawn_free(old);
}

static int draw(struct tables_session *s, const struct tables_place *p, struct pfs_buf *out)
{
	struct tables_sql sql = {0};
	struct pfs_buf name = {0};
	struct pfs_rows *r = NULL;
	int err;

	tables_sql_select(&sql, p, NULL, 0);
	if (p->sample >= 0) {
		tables_sql_str(&sql, " ORDER BY random()");
		tables_sql_limit(&sql, p->sample);
	} else {
		tables_sql_order(&sql, p);
	}
	err = tables_first_row(s, &sql, &r);
	while (!err) {
		err = tables_row_name(s, p->table, r, &name);
		if (!err)
			pfs_buf_add(out, name.data, name.len + 1);
		if (!err && out->failed)
			err = -ENOMEM;
		if (!err && out->len > NAMES_MAX) {
			pfs_error_text_set("too many rows to be listed in this order; .first and "
					   ".page take a part, .export all");
			err = -EFBIG;
		}
		if (!err)
			err = s->v->db->ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	s->v->db->ops->end(r);
	tables_sql_release(&sql);
	pfs_buf_release(&name);
	return err == -ENOENT ? 0 : err;
}

static int drawn_new(struct tables_session *s, const struct tables_place *p, struct pfs_bytes path,
		     struct tables_drawn **out)
{
	struct tables_drawn *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (d)
		d->path = strndup(path.p, path.len);
	if (d && d->path)
		err = draw(s, p, &d->names);
	if (err)
		drawn_free(d);
	else
		*out = d;
	return err;
}

/* Go to where the name `after` ends. */
static int find(struct tables_drawn *d, struct pfs_bytes after)
{
	const char *names = d->names.data;
	size_t n;

	if (d->at > after.len && !memcmp(names + d->at - after.len - 1, after.p, after.len) &&
	    (d->at == after.len + 1 || !names[d->at - after.len - 2]))
		return 0;
	for (d->at = 0; d->at < d->names.len; d->at += n) {
		n = strlen(names + d->at) + 1;
		if (pfs_bytes_eq((struct pfs_bytes){names + d->at, n - 1}, after)) {
			d->at += n;
			return 0;
		}
	}
	return -ESTALE;
}

int tables_drawn_list(struct tables_session *s, const struct tables_place *p, struct pfs_bytes path,
		      struct pfs_bytes after, size_t limit, pfs_view_entry_fn fn, void *arg,
		      bool *end)
{
	const struct pfs_view_attr attr = {
		.mode = S_IFDIR | (p->table->read_only ? 0555 : 0), .version = 1, .derived = true};
	struct tables_drawn *d = take(s->v, path);
	size_t n;
	int err = 0;

	if (d && !after.len) {
		drawn_free(d);
		d = NULL;
	}
	if (!d)
		err = drawn_new(s, p, path, &d);
	if (!err)
		err = after.len ? find(d, after) : 0;
	for (; !err && limit && d->at < d->names.len; limit--) {
		n = strlen(d->names.data + d->at);
		err = fn(arg, (struct pfs_bytes){d->names.data + d->at, n}, &attr);
		d->at += n + 1;
	}
	*end = !err && d->at >= d->names.len;
	if (err)
		drawn_free(d);
	else
		keep(s->v, d);
	return err;
}
