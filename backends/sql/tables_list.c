/*
 * Listings: tables, rows in the order of their keys, columns, and the directories on the way to a selection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/tables_import.h"
#include "backends/sql/tables_write.h"

/* A page of a listing. */
struct page {
	struct tables_session *s;
	struct tables_place *p;
	struct pfs_bytes path, after;
	size_t limit, told;
	pfs_view_entry_fn fn;
	void *arg;
	bool *end;
};

static int tell(struct page *page, struct pfs_bytes name, const struct pfs_view_attr *attr)
{
	struct pfs_view_attr told = *attr;

	told.derived = tables_is_derived(page->p);
	page->told++;
	return page->fn(page->arg, name, &told);
}

static bool full(const struct page *page)
{
	return page->told >= page->limit;
}

/* Names that are all known, in the order of `name_at`: those behind `after`. */
static int list_names(struct page *page, size_t n,
		      const char *(*name_at)(const struct page *, size_t),
		      int (*attr_at)(const struct page *, size_t, struct pfs_view_attr *))
{
	struct pfs_view_attr attr;
	size_t i = 0;
	int err = 0;

	if (page->after.len) {
		while (i < n && !pfs_bytes_eq(pfs_bytes_str(name_at(page, i)), page->after))
			i++;
		if (i == n) /* it went: what follows cannot be told */
			return -ESTALE;
		i++;
	}
	for (; i < n && !full(page) && !err; i++) {
		err = attr_at(page, i, &attr);
		if (!err)
			err = tell(page, pfs_bytes_str(name_at(page, i)), &attr);
	}
	*page->end = i == n;
	return err;
}

static const char *table_name(const struct page *page, size_t i)
{
	return page->s->catalog->tables[i].file;
}

static int table_attr(const struct page *page, size_t i, struct pfs_view_attr *out)
{
	tables_dir_attr(&page->s->catalog->tables[i], out);
	return 0;
}

static int list_root(struct page *page)
{
	const struct tables_catalog *c = page->s->catalog;
	struct pfs_view_attr attr;
	size_t i;
	int err = 0;

	for (i = 0; i < c->ntables && !full(page) && !err; i++) {
		struct pfs_bytes name = pfs_bytes_str(table_name(page, i));
		size_t n = name.len < page->after.len ? name.len : page->after.len;
		int cmp = n ? memcmp(name.p, page->after.p, n) : 0;

		if (cmp < 0 || (cmp == 0 && name.len <= page->after.len))
			continue;
		err = table_attr(page, i, &attr);
		if (!err)
			err = tell(page, name, &attr);
	}
	*page->end = i == c->ntables;
	return err;
}

/* Columns of a row, in the order of the table. */
static int list_row(struct page *page)
{
	struct tables_place *p = page->p;
	size_t n = p->columns ? p->ncolumns : p->table->ncolumns, first = 0, i;
	size_t *columns = calloc(n + 1, sizeof(*columns));
	int mtime = tables_mtime_column(page->s->v, p->table), err, at;
	struct pfs_view_attr attr;
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	int64_t changed = 0;

	if (!columns)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		columns[i] = p->columns ? p->columns[i] : i;
	if (page->after.len) {
		at = tables_find_column(p->table, page->after);
		for (first = 0; first < n && (int)columns[first] != at; first++)
			;
		first++;
	}
	columns[n] = mtime < 0 ? 0 : (size_t)mtime;
	err = tables_row(page->s, p, columns, n + (mtime >= 0), &r);
	if (!err && mtime >= 0) {
		tables_column_at(page->s, r, tables_nkeys(p->table) + n, &v);
		changed = tables_time_of(&v);
	}
	for (i = first; i < n && !err && !full(page); i++) {
		const struct tables_column *col = &p->table->columns[columns[i]];

		tables_column_at(page->s, r, tables_nkeys(p->table) + i, &v);
		tables_cell_attr(p->table, col, &v, &attr);
		attr.mtime = changed;
		err = tell(page, pfs_bytes_str(col->file), &attr);
	}
	*page->end = i >= n;
	page->s->v->db->ops->end(r);
	free(columns);
	if (err == -ENOENT && tables_pending_can(p))
		err = tables_pending_columns(page->s->v, p, page->after, page->limit, page->fn,
					     page->arg, page->end);
	return err;
}

/* Tell rows until the page is full. *more: there may be others. */
static int tell_rows(struct page *page, const struct tables_sql *sql, bool *more)
{
	const struct tables_table *t = page->p->table;
	struct pfs_view_attr attr;
	struct pfs_buf name = {0};
	struct pfs_rows *r = NULL;
	int err;

	tables_dir_attr_of(tables_row_writable(t), &attr);
	*more = true;
	err = tables_first_row(page->s, sql, &r);
	while (!err) {
		err = tables_row_name(page->s, t, r, &name);
		if (!err)
			err = tell(page, (struct pfs_bytes){name.data, name.len}, &attr);
		if (!err && full(page))
			break;
		if (!err)
			err = page->s->v->db->ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	if (err == -ENOENT) {
		*more = false;
		err = 0;
	}
	page->s->v->db->ops->end(r);
	pfs_buf_release(&name);
	return err;
}

/* Rows in the order of their keys; those whose keys have NULLs come last. */
static int list_by_key(struct page *page, const struct tables_key *after, bool *more)
{
	const struct tables_table *t = page->p->table;
	bool nulls = after && after->by_rowid;
	struct tables_sql sql = {0};
	int err = 0;

	*more = false;
	if (!nulls) {
		tables_sql_select(&sql, page->p, NULL, 0);
		if (t->nullable)
			tables_sql_null_key(&sql, t, false);
		if (after)
			tables_sql_after(&sql, t, after);
		tables_sql_order(&sql, page->p);
		tables_sql_limit(&sql, (int64_t)page->limit);
		err = tell_rows(page, &sql, more);
		tables_sql_release(&sql);
	}
	if (err || *more || !t->nullable)
		return err;
	tables_sql_select(&sql, page->p, NULL, 0);
	tables_sql_null_key(&sql, t, true);
	if (nulls) {
		tables_sql_str(&sql, " AND ");
		tables_sql_column(&sql, t->rowid);
		tables_sql_str(&sql, " > ");
		tables_sql_param(&sql, &after->values[0]);
	}
	tables_sql_str(&sql, " ORDER BY ");
	tables_sql_column(&sql, t->rowid);
	tables_sql_limit(&sql, (int64_t)(page->limit - page->told));
	err = tell_rows(page, &sql, more);
	tables_sql_release(&sql);
	return err;
}

/* Rows that are not complete yet come behind all others. */
static int list_pending(struct page *page, struct pfs_bytes after)
{
	return tables_pending_list(page->s->v, page->p->table, after, page->limit - page->told,
				   page->fn, page->arg, page->end);
}

static int list_rows(struct page *page)
{
	const struct tables_table *t = page->p->table;
	struct tables_key key = {0};
	bool more = false, resumes = page->after.len > 0;
	int err = 0;

	if (page->p->order >= 0 || page->p->sample >= 0)
		return tables_drawn_list(page->s, page->p, page->path, page->after, page->limit,
					 page->fn, page->arg, page->end);
	if (resumes && !page->p->virtual_ && tables_pending_has(page->s->v, t, page->after))
		return list_pending(page, page->after);
	if (resumes)
		err = tables_key_parse(t, page->after, &key);
	if (!err && key.lookup)
		err = tables_find_short(page->s, t, &key);
	/* It has gone: on from what it began with. */
	if (err == -ENOENT && key.lookup && t->nkeys == 1)
		err = tables_key_parse(t, pfs_name_short_stem(page->after), &key);
	if (err == -ENOENT)
		err = -ESTALE;
	if (!err)
		err = list_by_key(page, resumes ? &key : NULL, &more);
	tables_key_release(&key);
	*page->end = !more;
	if (!err && !more && !page->p->virtual_ && page->told < page->limit)
		err = list_pending(page, PFS_BYTES(""));
	else if (!err && !more && !page->p->virtual_)
		*page->end = false; /* they are asked for then */
	return err;
}

/* ---- directories on the way to a selection -------------------------------------------------- */

static int plain_dir(const struct page *page, size_t i, struct pfs_view_attr *out)
{
	(void)i;
	tables_dir_attr(page->p->table, out);
	return 0;
}

static const char *column_file(const struct page *page, size_t i)
{
	return page->p->table->columns[i].file;
}

static const char *op_name(const struct page *page, size_t i)
{
	(void)page;
	return tables_op_names[i];
}

static const char *format_name(const struct page *page, size_t i)
{
	(void)page;
	return tables_format_names[i];
}

static int export_attr(const struct page *page, size_t i, struct pfs_view_attr *out)
{
	(void)page;
	(void)i;
	*out = (struct pfs_view_attr){.mode = S_IFREG | 0444, .version = 1, .unsized = true};
	return 0;
}

static const char *import_name(const struct page *page, size_t i)
{
	(void)page;
	return tables_import_names[i];
}

static int import_attr_at(const struct page *page, size_t i, struct pfs_view_attr *out)
{
	(void)page;
	(void)i;
	tables_import_attr(out);
	return 0;
}

static int list_imports(struct page *page)
{
	return page->p->nparts
		       ? list_names(page, TABLES_IMPORT_FORMATS, format_name, import_attr_at)
		       : list_names(page, TABLES_IMPORT_HOWS, import_name, plain_dir);
}

/* Columns with an index. */
static int list_indexed(struct page *page)
{
	const struct tables_table *t = page->p->table;
	struct pfs_view_attr attr;
	size_t i = 0;
	int err = 0;

	if (page->after.len)
		i = (size_t)tables_find_column(t, page->after) + 1;
	tables_dir_attr(t, &attr);
	for (; i < t->ncolumns && !err && !full(page); i++)
		if (t->columns[i].indexed)
			err = tell(page, pfs_bytes_str(t->columns[i].file), &attr);
	*page->end = i >= t->ncolumns;
	return err;
}

/* The values of a column that has an index, NULL first, but for those that are too long for a name. */
static int list_values(struct page *page)
{
	const struct tables_column *col = &page->p->table->columns[page->p->segment_column];
	struct tables_sql sql = {0};
	struct pfs_buf text = {0}, name = {0};
	struct pfs_view_attr attr;
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	bool more = true;
	int err = 0;

	tables_sql_str(&sql, "SELECT DISTINCT ");
	tables_sql_column(&sql, col->name);
	tables_sql_from(&sql, page->p);
	if (page->after.len) {
		err = tables_name_parse(page->after, col->affinity, &v, &text);
		tables_sql_str(&sql, " AND ");
		tables_sql_column(&sql, col->name);
		tables_sql_str(&sql, v.type == PFS_VALUE_NULL ? " IS NOT NULL" : " > ");
		if (v.type != PFS_VALUE_NULL)
			tables_sql_value(&sql, &v);
	}
	tables_sql_str(&sql, " ORDER BY 1");
	tables_dir_attr(page->p->table, &attr);
	if (!err)
		err = tables_first_row(page->s, &sql, &r);
	while (!err) {
		tables_column_at(page->s, r, 0, &v);
		name.len = 0;
		pfs_buf_str(&name, "");
		tables_name_value(&v, col->affinity, false, &name);
		tables_name_dot(&name);
		if (name.failed)
			err = -ENOMEM;
		else if (name.len <= PFS_NAME_MAX)
			err = tell(page, (struct pfs_bytes){name.data, name.len}, &attr);
		if (!err && full(page))
			break;
		if (!err)
			err = page->s->v->db->ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	if (err == -ENOENT) {
		more = false;
		err = 0;
	}
	*page->end = !more;
	page->s->v->db->ops->end(r);
	tables_sql_release(&sql);
	pfs_buf_release(&text);
	pfs_buf_release(&name);
	return err;
}

static int list_segment(struct page *page)
{
	const struct tables_place *p = page->p;

	if (p->segment == TABLES_BY)
		return p->nparts ? list_values(page) : list_indexed(page);
	if ((p->segment == TABLES_WHERE && !p->nparts) || p->segment == TABLES_ORDER)
		return list_names(page, p->table->ncolumns, column_file, plain_dir);
	if (p->segment == TABLES_WHERE && p->nparts == 1)
		return list_names(page, TABLES_OPS, op_name, plain_dir);
	if (p->segment == TABLES_EXPORTS)
		return list_names(page, TABLES_FORMATS, format_name, export_attr);
	*page->end = true; /* anything goes */
	return 0;
}

static int list_place(struct page *page)
{
	int err = tables_check(page->p->table);

	if (err)
		return err;
	switch (page->p->kind) {
	case TABLES_ROOT:
		return list_root(page);
	case TABLES_ROWS:
		return list_rows(page);
	case TABLES_SEGMENT:
		return list_segment(page);
	case TABLES_IMPORTS:
		return list_imports(page);
	case TABLES_ROW:
		return list_row(page);
	default:
		return -ENOTDIR;
	}
}

int tables_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
		pfs_view_entry_fn fn, void *arg, bool *end)
{
	struct tables_session s;
	struct tables_place p;
	struct page page = {.s = &s,
			    .p = &p,
			    .path = path,
			    .after = after,
			    .limit = limit,
			    .fn = fn,
			    .arg = arg,
			    .end = end};
	int err;

	err = tables_enter(tables_of(view), false, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err)
		err = list_place(&page);
	tables_place_release(&p);
	return tables_leave(&s, err);
}
