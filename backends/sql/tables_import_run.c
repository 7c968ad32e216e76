/*
 * The rows of an import on their way into the table: kept in a file without a name until all are there, then
 * put in by one transaction. Where an engine has more of it, several rows are one statement; when it refuses
 * them they are tried one by one, so that the message names the row, and so that an upsert may have a row
 * twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sql/tables_import.h"

#define BATCH_ROWS  256
#define BATCH_BYTES (1u << 20)
#define SAVEPOINT   "persistfs_import"

/* ---- statements ----------------------------------------------------------------------------- */

/* Rows that give the same columns, in the same order. */
struct batch {
	struct tables_kept_row rows[BATCH_ROWS];
	size_t n, bytes;
};

static const struct tables_column *column_at(const struct tables_import *im,
					     const struct tables_kept_row *row, size_t i)
{
	return &im->table->columns[row->values[i].column];
}

static void add_name(struct tables_sql *sql, const char *name)
{
	pfs_rows_ident(&sql->text, pfs_bytes_str(name));
}

/* Columns that the engine computes are not put in; what it makes of them is compared. */
static bool is_put(const struct tables_column *col)
{
	return !col->computed || col->identity;
}

static bool has(const size_t *columns, size_t n, size_t column)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (columns[i] == column)
			return true;
	return false;
}

/* The key that an upsert finds the row by. */
static const size_t *key_of(struct tables_import *im, const struct tables_kept_row *row, size_t *n)
{
	const size_t *key;
	size_t i;

	for (i = 0; i < row->head.n; i++)
		im->given[row->values[i].column] = true;
	key = tables_import_key(im, n);
	for (i = 0; i < row->head.n; i++)
		im->given[row->values[i].column] = false;
	return key;
}

/* Is the i-th value one that an upsert changes in a row that is there? */
static bool is_set(const struct tables_import *im, const struct tables_kept_row *row, size_t i,
		   const size_t *key, size_t nkey)
{
	return is_put(column_at(im, row, i)) && !has(key, nkey, row->values[i].column);
}

/* *updates: there is something to change. */
static void on_conflict(struct tables_import *im, const struct tables_kept_row *row,
			struct tables_sql *sql, bool *updates)
{
	const size_t *key;
	size_t i, n;

	key = key_of(im, row, &n);
	tables_sql_str(sql, " ON CONFLICT (");
	for (i = 0; i < n; i++) {
		tables_sql_str(sql, i ? ", " : "");
		add_name(sql, im->table->columns[key[i]].name);
	}
	tables_sql_str(sql, ") DO ");
	for (i = 0; i < row->head.n; i++) {
		if (!is_set(im, row, i, key, n))
			continue;
		tables_sql_str(sql, *updates ? ", " : "UPDATE SET ");
		add_name(sql, column_at(im, row, i)->name);
		tables_sql_str(sql, " = excluded.");
		add_name(sql, column_at(im, row, i)->name);
		*updates = true;
	}
	if (!*updates)
		tables_sql_str(sql, "NOTHING");
}

/* Columns that the engine computes, for compare(), behind a word; false: none is there. */
static bool computed(const struct tables_import *im, const struct tables_kept_row *row,
		     const char *first, struct tables_sql *sql)
{
	size_t i, n = 0;

	for (i = 0; i < row->head.n; i++) {
		if (is_put(column_at(im, row, i)))
			continue;
		tables_sql_str(sql, n++ ? ", " : first);
		add_name(sql, column_at(im, row, i)->name);
	}
	return n > 0;
}

/* *strict: each row is one that is changed. */
static void make_insert(struct tables_import *im, const struct tables_kept_row *rows, size_t n,
			struct tables_sql *sql, bool *strict)
{
	bool identity = false, updates = false;
	size_t i, k, put = 0;

	tables_sql_str(sql, im->table->engine->insert);
	tables_sql_str(sql, im->table->relation);
	for (i = 0; i < rows->head.n; i++) {
		const struct tables_column *col = column_at(im, rows, i);

		identity |= col->identity;
		if (!is_put(col))
			continue;
		tables_sql_str(sql, put++ ? ", " : " (");
		add_name(sql, col->name);
	}
	tables_sql_str(sql, !put       ? " DEFAULT VALUES"
			    : identity ? ") OVERRIDING SYSTEM VALUE VALUES "
				       : ") VALUES ");
	for (k = 0; put && k < n; k++) {
		tables_sql_str(sql, k ? ", (" : "(");
		for (i = put = 0; i < rows[k].head.n; i++) {
			if (!is_put(column_at(im, &rows[k], i)))
				continue;
			tables_sql_str(sql, put++ ? ", " : "");
			tables_sql_value(sql, &rows[k].values[i].value);
		}
		tables_sql_str(sql, ")");
	}
	if (im->how == TABLES_UPSERT)
		on_conflict(im, rows, sql, &updates);
	*strict = im->how != TABLES_UPSERT || updates;
	(void)computed(im, rows, " RETURNING ", sql);
}

/* Is it the same value? A number may be written in several ways. */
static bool is_same(const struct pfs_value *now, const struct pfs_value *v)
{
	if (now->type == PFS_VALUE_REAL && v->type == PFS_VALUE_REAL)
		return pfs_value_real(now) == pfs_value_real(v);
	return (now->type == PFS_VALUE_NULL) == (v->type == PFS_VALUE_NULL) &&
	       pfs_bytes_eq(now->bytes, v->bytes);
}

/* What the engine has computed is what the row says. */
static int compare(struct tables_import *im, const struct tables_kept_row *row, struct pfs_rows *r)
{
	struct pfs_value now;
	size_t i;
	int at = 0;

	for (i = 0; i < row->head.n; i++) {
		const struct tables_column *col = column_at(im, row, i);
		const struct pfs_value *v = &row->values[i].value;

		if (is_put(col))
			continue;
		im->v->db->ops->column(r, at++, &now);
		if (is_same(&now, v))
			continue;
		pfs_error_text_set("column %s: the engine computes it, as %.*s: leave it out",
				   col->name,
				   now.type == PFS_VALUE_NULL
					   ? 4
					   : (int)(now.bytes.len < 100 ? now.bytes.len : 100),
				   now.type == PFS_VALUE_NULL ? "NULL" : now.bytes.p);
		return -EINVAL;
	}
	return 0;
}

/* Run a statement about rows. Rows changed, or found by a SELECT, or -errno. */
static int64_t run(struct tables_session *s, struct tables_import *im,
		   const struct tables_kept_row *row, struct tables_sql *sql, bool select)
{
	const struct pfs_rows_ops *ops = im->v->db->ops;
	struct pfs_rows *r = NULL;
	int64_t found = 0;
	int err;

	err = sql->text.failed ? -ENOMEM
			       : ops->query(s->c, sql->text.data, sql->params, sql->n, &r);
	while (!err && (err = ops->next(r)) > 0) {
		err = compare(im, row, r);
		found++;
	}
	ops->end(r);
	return err ? err : select ? found : ops->changes(s->c);
}

/*
 * Does an upsert of the row leave out a column? What an INSERT puts there (nothing, or a default) may be
 * refused before the engine looks for a row that is there already. needed: and surely is.
 */
static bool is_partial(const struct tables_import *im, const struct tables_kept_row *row,
		       bool needed)
{
	size_t i, all = 0, put = 0;

	if (im->how != TABLES_UPSERT)
		return false;
	for (i = 0; i < im->table->ncolumns; i++) {
		const struct tables_column *col = &im->table->columns[i];

		all += is_put(col) && (!needed || (col->not_null && !col->has_default));
	}
	for (i = 0; i < row->head.n; i++) {
		const struct tables_column *col = column_at(im, row, i);

		put += is_put(col) && (!needed || (col->not_null && !col->has_default));
	}
	return put < all;
}

/* What an upsert changes of a row, as UPDATE ... SET; false: nothing, and the row is looked for. */
static bool set_values(const struct tables_import *im, const struct tables_kept_row *row,
		       const size_t *key, size_t nkey, struct tables_sql *sql)
{
	size_t i, set = 0;

	for (i = 0; i < row->head.n; i++) {
		if (!is_set(im, row, i, key, nkey))
			continue;
		tables_sql_str(sql, set ? ", " : "UPDATE ");
		tables_sql_str(sql, set ? "" : im->table->relation);
		tables_sql_str(sql, set++ ? "" : " AS t SET ");
		add_name(sql, column_at(im, row, i)->name);
		tables_sql_str(sql, " = ");
		tables_sql_value(sql, &row->values[i].value);
	}
	if (set)
		return true;
	if (!computed(im, row, "SELECT ", sql))
		tables_sql_str(sql, "SELECT 1");
	tables_sql_str(sql, " FROM ");
	tables_sql_str(sql, im->table->relation);
	tables_sql_str(sql, " AS t");
	return false;
}

/* UPDATE the row that has this key. 1, 0: there is none, or -errno. */
static int update(struct tables_session *s, struct tables_import *im,
		  const struct tables_kept_row *row)
{
	struct tables_sql sql = {0};
	const size_t *key;
	size_t i, k, n;
	int64_t rows;
	bool set;

	key = key_of(im, row, &n);
	set = set_values(im, row, key, n, &sql);
	for (k = 0; k < n; k++) {
		for (i = 0; row->values[i].column != key[k]; i++)
			;
		tables_sql_str(&sql, k ? " AND " : " WHERE ");
		tables_sql_column(&sql, im->table->columns[key[k]].name);
		tables_sql_str(&sql, " = ");
		tables_sql_value(&sql, &row->values[i].value);
	}
	if (set)
		(void)computed(im, row, " RETURNING ", &sql);
	rows = run(s, im, row, &sql, !set);
	tables_sql_release(&sql);
	if (rows <= 1)
		return (int)rows;
	pfs_error_text_set("the engine finds %lld rows of this key", (long long)rows);
	return -EPERM;
}

static int put_rows(struct tables_session *s, struct tables_import *im,
		    const struct tables_kept_row *rows, size_t n)
{
	struct tables_sql sql = {0};
	bool strict = false;
	int64_t changed = 0;

	if (n == 1 && is_partial(im, rows, false))
		changed = update(s, im, rows);
	if (changed)
		return changed < 0 ? (int)changed : 0;
	make_insert(im, rows, n, &sql, &strict);
	changed = run(s, im, rows, &sql, false);
	tables_sql_release(&sql);
	if (changed < 0)
		return (int)changed;
	if (!strict || changed == (int64_t)n)
		return 0;
	pfs_error_text_set(
		"the engine did not put it in, and says no more: a trigger of the table keeps rows"
		" out");
	return -EINVAL;
}

static int run_text(struct tables_session *s, const char *sql)
{
	int64_t n = pfs_rows_run(s->v->db, s->c, sql, NULL, 0);

	return n < 0 ? (int)n : 0;
}

static int put_one_by_one(struct tables_session *s, struct tables_import *im, struct batch *b)
{
	size_t i;
	int err = 0;

	for (i = 0; i < b->n && !err; i++) {
		err = put_rows(s, im, &b->rows[i], 1);
		tables_import_at(b->rows[i].head.row, b->rows[i].head.line, err);
	}
	return err;
}

static int put_together(struct tables_session *s, struct tables_import *im, struct batch *b)
{
	char text[400];
	int err = run_text(s, "SAVEPOINT " SAVEPOINT), first;

	if (err)
		return err;
	first = put_rows(s, im, b->rows, b->n);
	if (!first)
		return run_text(s, "RELEASE SAVEPOINT " SAVEPOINT);
	snprintf(text, sizeof(text), "%s", pfs_error_text());
	err = run_text(s, "ROLLBACK TO SAVEPOINT " SAVEPOINT);
	if (err) { /* the connection is of no use any more */
		pfs_error_text_set("%s", text);
		return first;
	}
	err = put_one_by_one(s, im, b);
	return err ? err : run_text(s, "RELEASE SAVEPOINT " SAVEPOINT);
}

static void batch_clear(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->n; i++)
		free(b->rows[i].values);
	b->n = b->bytes = 0;
}

static int batch_put(struct tables_session *s, struct tables_import *im, struct batch *b)
{
	int err = b->n > 1 ? put_together(s, im, b) : put_one_by_one(s, im, b);

	batch_clear(b);
	return err;
}

/* Can the row be put in by the statement of those before? */
static bool fits(const struct tables_import *im, const struct batch *b,
		 const struct tables_kept_row *row)
{
	size_t i;

	if (!b->n)
		return true;
	if (b->n == BATCH_ROWS || b->bytes >= BATCH_BYTES || row->head.n != b->rows[0].head.n ||
	    (b->n + 1) * row->head.n > im->table->engine->insert_params ||
	    is_partial(im, row, true))
		return false;
	for (i = 0; i < row->head.n; i++)
		if (row->values[i].column != b->rows[0].values[i].column ||
		    !is_put(column_at(im, row, i)))
			return false;
	return true;
}

/* ---- the transaction ------------------------------------------------------------------------ */

/* Run a statement that is about the table as a whole. */
static int run_about(struct tables_session *s, const struct tables_import *im, const char *before,
		     const char *behind)
{
	struct tables_sql sql = {0};
	int err;

	tables_sql_str(&sql, before);
	tables_sql_str(&sql, im->table->relation);
	tables_sql_str(&sql, behind);
	err = sql.text.failed ? -ENOMEM : run_text(s, sql.text.data);
	tables_sql_release(&sql);
	return err;
}

/* Rows of others that are not committed yet are not seen by a DELETE, and would stay. */
static int lock_table(struct tables_session *s, const struct tables_import *im)
{
	const char *lock = im->table->engine->lock;

	return lock ? run_about(s, im, "LOCK TABLE ", lock) : 0;
}

/* DELETE of all rows, where no other table loses any by it. */
static int delete_all(struct tables_session *s, const struct tables_import *im)
{
	const struct pfs_rows_ops *ops = im->v->db->ops;
	struct pfs_value param = tables_import_param(im->table), name;
	struct pfs_rows *r = NULL;
	int err;

	err = ops->query(s->c, im->table->engine->collateral, &param, 1, &r);
	if (!err)
		err = ops->next(r);
	if (err > 0) {
		ops->column(r, 0, &name);
		pfs_error_text_set(
			"%s cannot be replaced: %.*s would lose rows, or values, with it; upsert "
			"changes only the rows that it is given",
			im->table->name, (int)name.bytes.len, name.bytes.p);
		err = -EPERM;
	}
	ops->end(r);
	if (!err)
		err = run_text(s, im->table->engine->defer);
	if (!err)
		err = lock_table(s, im);
	return err ? err : run_about(s, im, "DELETE FROM ", "");
}

/* The table is still as it was when the file was opened, as far as rows of it are concerned. */
static int check_table(struct tables_session *s, const struct tables_import *im)
{
	const struct tables_table *now = tables_find(s->catalog, pfs_bytes_str(im->table->file));
	size_t i;
	int err;

	if (s->catalog == im->catalog)
		return 0;
	err = now ? tables_writable(now) : -ESTALE;
	for (i = 0; !err && i < im->table->ncolumns; i++) {
		const struct tables_column *was = &im->table->columns[i], *is = &now->columns[i];

		if (i == now->ncolumns || strcmp(was->name, is->name) ||
		    strcmp(was->type, is->type) || was->computed != is->computed)
			err = -ESTALE;
	}
	if (err == -ESTALE)
		pfs_error_text_set("%s was made another table meanwhile: write it again",
				   im->table->name);
	return err;
}

static int put_all(struct tables_session *s, struct tables_import *im, FILE *f)
{
	struct batch *b = calloc(1, sizeof(*b));
	struct tables_kept_row row;
	uint64_t i;
	int err = b ? 0 : -ENOMEM;

	for (i = 0; i < im->rows && !err; i++) {
		err = tables_import_next(f, &row);
		if (!err && !fits(im, b, &row))
			err = batch_put(s, im, b);
		if (err) {
			free(row.values);
			break;
		}
		b->bytes += row.head.bytes;
		b->rows[b->n++] = row;
	}
	if (!err && b->n)
		err = batch_put(s, im, b);
	if (b)
		batch_clear(b);
	free(b);
	return err;
}

int tables_import_run(struct tables_import *im)
{
	struct tables_session s;
	FILE *f;
	int err;

	if (!im->rows && im->how != TABLES_REPLACE)
		return 0;
	err = tables_temp_drain(im->fd, &im->kept);
	if (err)
		return err;
	if (lseek(im->fd, 0, SEEK_SET) < 0)
		return -errno;
	f = fdopen(im->fd, "r");
	if (!f)
		return -errno;
	im->fd = -1;
	err = tables_enter(im->v, true, &s);
	if (!err) {
		err = check_table(&s, im);
		if (!err && im->how == TABLES_REPLACE)
			err = delete_all(&s, im);
		if (!err)
			err = put_all(&s, im, f);
		err = tables_leave(&s, err);
	}
	fclose(f);
	return err;
}
