/*
 * What the schema says. A catalogue is made whole and never changed; a new one takes its place when the
 * engine says that the schema has moved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables.h"

struct tables_table *tables_catalog_add(struct tables_catalog *c, struct pfs_bytes schema,
					struct pfs_bytes name)
{
	struct tables_table *more = realloc(c->tables, (c->ntables + 1) * sizeof(*more)), *t;
	struct pfs_buf full = {0}, relation = {0};

	if (!more)
		return NULL;
	c->tables = more;
	t = &more[c->ntables];
	if (schema.len) {
		pfs_buf_add(&full, schema.p, schema.len);
		pfs_buf_str(&full, ".");
		pfs_rows_ident(&relation, schema);
		pfs_buf_str(&relation, ".");
	}
	pfs_buf_add(&full, name.p, name.len);
	pfs_buf_str(&full, "");
	pfs_rows_ident(&relation, name);
	if (full.failed || relation.failed) {
		pfs_buf_release(&full);
		pfs_buf_release(&relation);
		return NULL;
	}
	*t = (struct tables_table){
		.name = full.data, .relation = relation.data, .engine = c->engine};
	c->ntables++;
	return t;
}

struct tables_column *tables_add_column(struct tables_table *t, struct pfs_bytes name,
					struct pfs_bytes type)
{
	struct tables_column *more = realloc(t->columns, (t->ncolumns + 1) * sizeof(*more)), *col;

	if (!more)
		return NULL;
	t->columns = more;
	col = &more[t->ncolumns];
	*col = (struct tables_column){.name = strndup(name.p, name.len),
				      .type = strndup(type.p, type.len)};
	if (!col->name || !col->type) {
		free(col->name);
		free(col->type);
		return NULL;
	}
	t->ncolumns++;
	return col;
}

static char *file_name(const char *name)
{
	struct pfs_value v = pfs_value_text(pfs_bytes_str(name));
	struct pfs_buf out = {0};

	tables_name_value(&v, TABLES_TEXT, false, &out);
	tables_name_finish(&out);
	if (out.failed) {
		pfs_buf_release(&out);
		return NULL;
	}
	return out.data;
}

static int finish_table(struct tables_table *t)
{
	unsigned place;
	size_t i;

	t->file = file_name(t->name);
	t->keys = calloc(t->ncolumns + 1, sizeof(*t->keys));
	t->shown = calloc(t->ncolumns + 1, sizeof(*t->shown));
	if (!t->file || !t->keys || !t->shown)
		return -ENOMEM;
	for (i = 0; i < t->ncolumns; i++) {
		if (!t->columns[i].unreadable)
			t->shown[t->nshown++] = i;
		t->columns[i].file = file_name(t->columns[i].name);
		if (!t->columns[i].file)
			return -ENOMEM;
	}
	for (place = 1; !t->numbered && t->nkeys + 1 == place && place <= TABLES_KEYS; place++)
		for (i = 0; i < t->ncolumns; i++)
			if (t->columns[i].key == place)
				t->keys[t->nkeys++] = i;
	if (t->nkeys == 1)
		t->columns[t->keys[0]].indexed = true;
	return 0;
}

static int by_file(const void *a, const void *b)
{
	return strcmp(((const struct tables_table *)a)->file,
		      ((const struct tables_table *)b)->file);
}

int tables_catalog_finish(struct tables_catalog *c)
{
	size_t i;
	int err = 0;

	for (i = 0; i < c->ntables && !err; i++)
		err = finish_table(&c->tables[i]);
	if (!err && c->ntables)
		qsort(c->tables, c->ntables, sizeof(*c->tables), by_file);
	return err;
}

void tables_catalog_free(struct tables_catalog *c)
{
	size_t i, k;

	if (!c)
		return;
	for (i = 0; i < c->ntables; i++) {
		struct tables_table *t = &c->tables[i];

		for (k = 0; k < t->ncolumns; k++) {
			free(t->columns[k].name);
			free(t->columns[k].file);
			free(t->columns[k].type);
		}
		free(t->columns);
		free(t->keys);
		free(t->shown);
		free(t->name);
		free(t->file);
		free(t->relation);
		free(t->schema);
		free(t->fault);
		free(t->rowid);
	}
	free(c->tables);
	free(c);
}

static bool is_name(const char *name, struct pfs_bytes asked)
{
	return pfs_bytes_eq(pfs_bytes_str(name), asked);
}

const struct tables_table *tables_find(const struct tables_catalog *c, struct pfs_bytes file)
{
	size_t i;

	for (i = 0; i < c->ntables; i++)
		if (is_name(c->tables[i].file, file))
			return &c->tables[i];
	return NULL;
}

int tables_find_column(const struct tables_table *t, struct pfs_bytes file)
{
	size_t i;

	for (i = 0; i < t->ncolumns; i++)
		if (is_name(t->columns[i].file, file))
			return (int)i;
	return -1;
}

int tables_column_named(const struct tables_table *t, struct pfs_bytes name)
{
	size_t i;

	for (i = 0; i < t->ncolumns; i++)
		if (is_name(t->columns[i].name, name))
			return (int)i;
	return -1;
}
