/*
 * What an import remembers: its rows, in a file without a name, and the keys by which an upsert finds those
 * that are there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables_import.h"

#define PIECE (256u << 10) /* rows are written in pieces of so much */

/* ---- kept rows ------------------------------------------------------------------------------ */

/* In the file: a head, n of these, and the bytes of the values. */
struct kept_value {
	uint32_t column, type;
	int64_t num;
	uint64_t len;
};

int tables_import_keep(struct tables_import *im, uint64_t line)
{
	struct tables_row_head head = {.row = im->rows, .line = line, .n = im->n};
	size_t i;

	for (i = 0; i < im->n; i++)
		head.bytes += im->values[i].value.bytes.len;
	pfs_buf_add(&im->kept, &head, sizeof(head));
	for (i = 0; i < im->n; i++) {
		const struct pfs_value *v = &im->values[i].value;
		struct kept_value kept = {.column = (uint32_t)im->values[i].column,
					  .type = (uint32_t)v->type,
					  .num = v->num,
					  .len = v->bytes.len};

		pfs_buf_add(&im->kept, &kept, sizeof(kept));
	}
	for (i = 0; i < im->n; i++)
		pfs_buf_add(&im->kept, im->values[i].value.bytes.p, im->values[i].value.bytes.len);
	if (im->kept.failed)
		return -ENOMEM;
	return im->kept.len >= PIECE ? tables_temp_drain(im->fd, &im->kept) : 0;
}

static int get(FILE *f, void *to, size_t len)
{
	if (fread(to, 1, len, f) == len)
		return 0;
	pfs_error_text_set(
		"the rows that were kept in the directory of temporary files are damaged");
	return -EIO;
}

int tables_import_next(FILE *f, struct tables_kept_row *out)
{
	struct kept_value kept;
	char *bytes;
	size_t i;
	int err;

	out->values = NULL;
	err = get(f, &out->head, sizeof(out->head));
	if (err)
		return err;
	out->values = calloc(1, out->head.n * sizeof(*out->values) + out->head.bytes + 1);
	if (!out->values)
		return -ENOMEM;
	bytes = (char *)(out->values + out->head.n);
	for (i = 0; i < out->head.n && !err; i++) {
		err = get(f, &kept, sizeof(kept));
		if (err)
			break;
		out->values[i].column = kept.column;
		out->values[i].value = (struct pfs_value){.type = (enum pfs_value_type)kept.type,
							  .num = kept.num,
							  .bytes = {bytes, kept.len}};
		bytes += kept.len;
	}
	return err ? err : get(f, out->values + out->head.n, out->head.bytes);
}

/* ---- keys ----------------------------------------------------------------------------------- */

struct pfs_value tables_import_param(const struct tables_table *t)
{
	return pfs_value_text(pfs_bytes_str(t->engine->typed ? t->relation : t->name));
}

/* A row of the engine's unique_keys: another column of the last key, or the first of a new one. */
static int add_key_column(struct tables_import *im, bool first, int column)
{
	struct tables_unique *keys, *k;
	size_t *more;

	if (first) {
		keys = realloc(im->unique, (im->nunique + 1) * sizeof(*keys));
		if (!keys)
			return -ENOMEM;
		im->unique = keys;
		keys[im->nunique++] = (struct tables_unique){0};
	}
	k = &im->unique[im->nunique - 1];
	more = realloc(k->columns, (k->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	k->columns = more;
	more[k->n++] = column < 0 ? SIZE_MAX : (size_t)column; /* which no row gives */
	return 0;
}

int tables_import_keys(struct tables_import *im, struct tables_session *s)
{
	const struct pfs_rows_ops *ops = im->v->db->ops;
	struct pfs_value param = tables_import_param(im->table), key, name;
	struct pfs_rows *r = NULL;
	int64_t last = 0;
	int err;

	err = ops->query(s->c, im->table->engine->unique_keys, &param, 1, &r);
	while (!err && (err = ops->next(r)) > 0) {
		ops->column(r, 0, &key);
		ops->column(r, 1, &name);
		err = add_key_column(im, !im->nunique || key.num != last,
				     name.type == PFS_VALUE_NULL
					     ? -1
					     : tables_column_named(im->table, name.bytes));
		last = key.num;
	}
	ops->end(r);
	return err;
}

static bool all_given(const struct tables_import *im, const size_t *columns, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (columns[i] == SIZE_MAX || !im->given[columns[i]])
			return false;
	return n > 0;
}

const size_t *tables_import_key(const struct tables_import *im, size_t *n)
{
	size_t i;

	*n = im->table->nkeys;
	if (all_given(im, im->table->keys, *n))
		return im->table->keys;
	for (i = 0; i < im->nunique; i++) {
		*n = im->unique[i].n;
		if (all_given(im, im->unique[i].columns, *n))
			return im->unique[i].columns;
	}
	*n = 0;
	return NULL;
}
