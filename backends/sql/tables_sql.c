/*
 * One statement of a place. Columns are written t."name": a name alone in quotes that is no column would
 * be a text to SQLite. Rows are ordered by what the path says and then by what tells them apart, so that
 * a listing can go on behind any of them.
 */
#include <stdlib.h>

#include "backends/sql/tables.h"

void tables_sql_release(struct tables_sql *s)
{
	pfs_buf_release(&s->text);
	free(s->params);
	*s = (struct tables_sql){0};
}

void tables_sql_str(struct tables_sql *s, const char *text)
{
	pfs_buf_str(&s->text, text);
}

void tables_sql_column(struct tables_sql *s, const char *name)
{
	tables_sql_str(s, "t.");
	pfs_rows_ident(&s->text, pfs_bytes_str(name));
}

void tables_sql_param(struct tables_sql *s, const struct pfs_value *v)
{
	size_t cap = s->cap ? 2 * s->cap : 16;
	struct pfs_value *more;

	if (s->n == s->cap) {
		more = realloc(s->params, cap * sizeof(*more));
		if (!more) {
			s->text.failed = true;
			return;
		}
		s->params = more;
		s->cap = cap;
	}
	s->params[s->n++] = *v;
	pfs_buf_printf(&s->text, "?%zu", s->n);
}

void tables_sql_value(struct tables_sql *s, const struct pfs_value *v)
{
	if (v->type == PFS_VALUE_REAL)
		tables_sql_str(s, "CAST(");
	tables_sql_param(s, v);
	if (v->type == PFS_VALUE_REAL)
		tables_sql_str(s, " AS REAL)");
}

static const char *column_name(const struct tables_table *t, size_t column)
{
	return t->columns[column].name;
}

/* ---- keys ----------------------------------------------------------------------------------- */

size_t tables_nkeys(const struct tables_table *t)
{
	return t->nkeys ? t->nkeys + t->nullable : 1;
}

static const char *key_name(const struct tables_table *t, size_t i)
{
	return i < t->nkeys ? column_name(t, t->keys[i]) : t->rowid;
}

void tables_sql_is(struct tables_sql *s, const struct tables_table *t, const struct tables_key *k)
{
	size_t i;

	for (i = 0; i < k->n; i++) {
		tables_sql_str(s, " AND ");
		tables_sql_column(s, k->by_rowid ? t->rowid : key_name(t, i));
		tables_sql_str(s, " = ");
		tables_sql_value(s, &k->values[i]);
	}
}

void tables_sql_null_key(struct tables_sql *s, const struct tables_table *t, bool null)
{
	size_t i;

	for (i = 0; i < t->nkeys; i++) {
		tables_sql_str(s, !i ? " AND (" : null ? " OR " : " AND ");
		tables_sql_column(s, key_name(t, i));
		tables_sql_str(s, null ? " IS NULL" : " IS NOT NULL");
	}
	tables_sql_str(s, ")");
}

/* ---- selections ----------------------------------------------------------------------------- */

/* The text of a column. */
static void text_of(struct tables_sql *s, const struct tables_table *t, size_t column)
{
	tables_sql_column(s, column_name(t, column));
	tables_sql_str(s, t->engine->as_text);
}

static void filter(struct tables_sql *s, const struct tables_table *t,
		   const struct tables_filter *f)
{
	static const char *const ops[] = {" = ", " <> ", " < ", " <= ", " > ", " >= "};

	tables_sql_str(s, " AND ");
	switch (f->op) {
	case TABLES_IS_NULL:
		tables_sql_column(s, column_name(t, f->column));
		tables_sql_str(s, f->value.num ? " IS NULL" : " IS NOT NULL");
		break;
	case TABLES_CONTAINS:
		tables_sql_str(s, t->engine->position);
		tables_sql_str(s, "(");
		text_of(s, t, f->column);
		tables_sql_str(s, ", ");
		tables_sql_param(s, &f->value);
		tables_sql_str(s, ") > 0");
		break;
	case TABLES_PREFIX:
		tables_sql_str(s, t->engine->position);
		tables_sql_str(s, "(");
		text_of(s, t, f->column);
		tables_sql_str(s, ", ");
		tables_sql_param(s, &f->value);
		tables_sql_str(s, ") = 1");
		break;
	case TABLES_LIKE:
		text_of(s, t, f->column);
		tables_sql_str(s, " LIKE ");
		tables_sql_param(s, &f->value);
		break;
	default:
		tables_sql_column(s, column_name(t, f->column));
		tables_sql_str(s, ops[f->op]);
		tables_sql_value(s, &f->value);
		break;
	}
}

static void base(struct tables_sql *s, const struct tables_place *p)
{
	const char *name = p->table->relation;
	size_t i;

	tables_sql_str(s, " FROM ");
	if (p->table->numbered) {
		tables_sql_str(s, "(SELECT row_number() OVER () AS ");
		pfs_rows_ident(&s->text, pfs_bytes_str(p->table->rowid));
		for (i = 0; i < p->table->nshown; i++) {
			tables_sql_str(s, ", v.");
			pfs_rows_ident(&s->text,
				       pfs_bytes_str(column_name(p->table, p->table->shown[i])));
		}
		tables_sql_str(s, " FROM ");
		tables_sql_str(s, name);
		tables_sql_str(s, " AS v)");
	} else {
		tables_sql_str(s, name);
	}
	tables_sql_str(s, " AS t WHERE TRUE");
	for (i = 0; i < p->nfilters; i++)
		filter(s, p->table, &p->filters[i]);
}

/* What tells rows of an ordered listing apart: the row id where there is one, for keys may have NULLs. */
static bool ties_by_rowid(const struct tables_place *p)
{
	return p->table->rowid && (p->order >= 0 || !p->table->nkeys);
}

static size_t nties(const struct tables_place *p)
{
	return ties_by_rowid(p) ? 1 : p->table->nkeys;
}

static const char *tie(const struct tables_place *p, size_t i)
{
	return ties_by_rowid(p) ? p->table->rowid : key_name(p->table, i);
}

static void order(struct tables_sql *s, const struct tables_place *p, bool backwards)
{
	size_t i;

	tables_sql_str(s, " ORDER BY ");
	if (p->order >= 0) {
		tables_sql_column(s, column_name(p->table, (size_t)p->order));
		tables_sql_str(s, p->desc != backwards ? " DESC, " : ", ");
	}
	for (i = 0; i < nties(p); i++) {
		tables_sql_str(s, i ? ", " : "");
		tables_sql_column(s, tie(p, i));
		tables_sql_str(s, backwards ? " DESC" : "");
	}
}

void tables_sql_order(struct tables_sql *s, const struct tables_place *p)
{
	order(s, p, false);
}

void tables_sql_limit(struct tables_sql *s, int64_t limit)
{
	struct pfs_value v = pfs_value_integer(limit);

	tables_sql_str(s, " LIMIT ");
	tables_sql_param(s, &v);
}

static void list(struct tables_sql *s, const struct tables_place *p, const size_t *columns,
		 size_t n)
{
	size_t i, nkeys = tables_nkeys(p->table);

	for (i = 0; i < nkeys; i++) {
		tables_sql_str(s, i ? ", " : "");
		tables_sql_column(s, key_name(p->table, i));
	}
	for (i = 0; i < n; i++) {
		tables_sql_str(s, ", ");
		if (p->table->columns[columns[i]].unreadable)
			tables_sql_str(s, "NULL");
		else
			tables_sql_column(s, column_name(p->table, columns[i]));
	}
}

/* Every column that the outer statement may want, under its own name. */
static void list_inner(struct tables_sql *s, const struct tables_place *p, const size_t *columns,
		       size_t n)
{
	const struct tables_table *t = p->table;
	size_t i, k;
	bool first = true, wanted;

	for (i = 0; i < t->ncolumns; i++) {
		wanted = p->order == (int)i || t->columns[i].key;
		for (k = 0; k < n && !wanted; k++)
			wanted = columns[k] == i && !t->columns[i].unreadable;
		if (!wanted)
			continue;
		tables_sql_str(s, first ? "" : ", ");
		tables_sql_column(s, t->columns[i].name);
		first = false;
	}
	if (t->rowid) {
		tables_sql_str(s, first ? "" : ", ");
		tables_sql_column(s, t->rowid);
		tables_sql_str(s, " AS ");
		pfs_rows_ident(&s->text, pfs_bytes_str(t->rowid));
	}
}

static void from(struct tables_sql *s, const struct tables_place *p, const size_t *columns,
		 size_t n)
{
	struct pfs_value offset = pfs_value_integer(p->offset);

	if (p->limit < 0) {
		base(s, p);
		return;
	}
	tables_sql_str(s, " FROM (SELECT ");
	list_inner(s, p, columns, n);
	base(s, p);
	order(s, p, p->last);
	tables_sql_limit(s, p->limit);
	tables_sql_str(s, " OFFSET ");
	tables_sql_param(s, &offset);
	tables_sql_str(s, ") AS t WHERE TRUE");
}

void tables_sql_select(struct tables_sql *s, const struct tables_place *p, const size_t *columns,
		       size_t n)
{
	tables_sql_str(s, "SELECT ");
	list(s, p, columns, n);
	from(s, p, columns, n);
}

void tables_sql_from(struct tables_sql *s, const struct tables_place *p)
{
	size_t all[1] = {p->kind == TABLES_SEGMENT ? p->segment_column : 0};

	from(s, p, all, p->kind == TABLES_SEGMENT);
}

void tables_sql_count(struct tables_sql *s, const struct tables_place *p)
{
	tables_sql_str(s, "SELECT count(*)");
	from(s, p, NULL, 0);
}

void tables_sql_after(struct tables_sql *s, const struct tables_table *t,
		      const struct tables_key *k)
{
	size_t i;

	tables_sql_str(s, " AND (");
	for (i = 0; i < k->n; i++) {
		tables_sql_str(s, i ? ", " : "");
		tables_sql_column(s, key_name(t, i));
	}
	tables_sql_str(s, ") > (");
	for (i = 0; i < k->n; i++) {
		tables_sql_str(s, i ? ", " : "");
		tables_sql_value(s, &k->values[i]);
	}
	tables_sql_str(s, ")");
}
