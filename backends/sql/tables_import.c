/*
 * What is written to a file of .import, as values of columns. The rules for a value are those of writing a
 * cell (tables_write.c), but that in a column of numbers nothing at all is NULL, as .export writes it, and
 * empty text is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sql/tables_import.h"

static struct tables_import *import_of(struct pfs_intake *in)
{
	return pfs_container_of(in, struct tables_import, base);
}

int tables_import_at(uint64_t row, uint64_t line, int err)
{
	char text[400];

	if (!err)
		return 0;
	snprintf(text, sizeof(text), "%s", *pfs_error_text() ? pfs_error_text() : strerror(-err));
	if (row)
		pfs_error_text_set("row %llu, line %llu: %s", (unsigned long long)row,
				   (unsigned long long)line, text);
	else
		pfs_error_text_set("line %llu: %s", (unsigned long long)line, text);
	return err;
}

/* ---- values --------------------------------------------------------------------------------- */

static int find_column(const struct tables_import *im, struct pfs_bytes name, size_t *out)
{
	const struct tables_table *t = im->table;
	struct pfs_buf all = {0};
	int at = tables_column_named(t, name);
	size_t i;

	if (at >= 0) {
		*out = (size_t)at;
		return 0;
	}
	for (i = 0; i < t->ncolumns; i++)
		pfs_buf_printf(&all, "%s%s", i ? ", " : "", t->columns[i].name);
	pfs_error_text_set("%s has no column '%.*s'; available: %s", t->name,
			   (int)(name.len < 100 ? name.len : 100), name.p,
			   all.failed ? "" : all.data);
	pfs_buf_release(&all);
	return -EINVAL;
}

static int refuse(const struct tables_column *col, const char *why)
{
	pfs_error_text_set("column %s%s%s: %s", col->name, *col->type ? " " : "", col->type, why);
	return -EINVAL;
}

/* Of what strtod() takes: no words and no other bases. */
static bool is_decimal(struct pfs_bytes b)
{
	size_t i;

	for (i = 0; i < b.len; i++)
		if (!b.p[i] || !strchr("0123456789+-.eE", b.p[i]))
			return false;
	return b.len > 0;
}

/* How SQLite prints what its own parser reads as a number too large. */
static bool is_infinite(struct pfs_bytes b)
{
	return pfs_bytes_eq(b, PFS_BYTES("Inf")) || pfs_bytes_eq(b, PFS_BYTES("-Inf"));
}

/* What an engine would put into the column, and nobody means, is refused; a number becomes one. */
static int check_field(const struct tables_column *col, bool typed, struct tables_json_field *f,
		       bool bare)
{
	struct pfs_bytes text = {f->text.data, f->text.len};
	bool numbers = col->affinity == TABLES_INTEGER || col->affinity == TABLES_REAL, integer;
	int64_t num;

	if (f->kind == TABLES_JSON_NESTED && (numbers || col->binary))
		return refuse(col, numbers ? "wants a number" : "wants base64");
	if (typed && col->binary && (f->kind == TABLES_JSON_NUMBER || f->kind == TABLES_JSON_BOOL))
		return refuse(col, "wants base64");
	if (f->kind != TABLES_JSON_STRING || col->binary || col->affinity == TABLES_TEXT)
		return 0;
	if (numbers && !text.len)
		return refuse(col,
			      "wants a number, and this is empty text; NULL is null, or nothing "
			      "between two commas");
	if (typed)
		return 0; /* the engine parses it */
	if (bare && is_infinite(text)) {
		const char *as = text.p[0] == '-' ? "-9e999" : "9e999";

		f->text.len = 0;
		pfs_buf_str(&f->text, as);
		f->kind = TABLES_JSON_NUMBER;
		return f->text.failed ? -ENOMEM : 0;
	}
	if (numbers && !is_decimal(text))
		return refuse(col, "wants a number");
	if (bare && is_decimal(text) && tables_is_number(text, &integer, &num))
		f->kind = TABLES_JSON_NUMBER;
	return 0;
}

/* Give the row a value. The bytes of `f` are the row's then. bare: CSV without quotes. */
static int give(struct tables_import *im, size_t column, struct tables_json_field *f, bool bare)
{
	const struct tables_column *col = &im->table->columns[column];
	struct tables_assign *a = &im->values[im->n];
	static const struct pfs_value none;
	bool own;
	int err;

	if (im->given[column])
		return refuse(col, "is given twice");
	*a = (struct tables_assign){.column = column};
	err = check_field(col, im->table->engine->typed, f, bare);
	if (!err)
		err = tables_field_value(im->table, col, &none, f, a);
	own = a->bytes.data != NULL;
	if (err) {
		pfs_buf_release(&a->bytes);
		return err;
	}
	im->given[column] = true;
	im->n++;
	if (!own) {
		a->bytes = f->text;
		f->text = (struct pfs_buf){0};
	}
	return 0;
}

/* The row has been kept, or refused. */
static void forget_row(struct tables_import *im)
{
	size_t i;

	for (i = 0; i < im->n; i++) {
		im->given[im->values[i].column] = false;
		pfs_buf_release(&im->values[i].bytes);
	}
	im->n = 0;
}

static int end_row(struct tables_import *im, uint64_t line, int err)
{
	size_t n = 1;

	im->rows++;
	if (!err && !im->n) {
		pfs_error_text_set("a row gives a column at least");
		err = -EINVAL;
	}
	if (!err && im->how == TABLES_UPSERT)
		(void)tables_import_key(im, &n);
	if (!n) {
		pfs_error_text_set(
			"%s cannot be updated by these columns: all of its primary key are needed, "
			"or of a unique key",
			im->table->name);
		err = -EINVAL;
	}
	if (!err)
		err = tables_import_keep(im, line);
	forget_row(im);
	return tables_import_at(im->rows, line, err);
}

/* ---- CSV ------------------------------------------------------------------------------------ */

static int csv_header(struct tables_import *im)
{
	const struct tables_csv *csv = &im->csv;
	size_t i, k;
	int err = 0;

	im->header = calloc(csv->n, sizeof(*im->header));
	if (!im->header)
		return -ENOMEM;
	for (i = 0; i < csv->n && !err; i++) {
		const struct pfs_buf *name = &csv->fields[i].text;

		err = find_column(im, (struct pfs_bytes){name->data, name->len}, &im->header[i]);
		for (k = 0; k < i && !err; k++)
			if (im->header[k] == im->header[i])
				err = refuse(&im->table->columns[im->header[i]], "is named twice");
	}
	im->nheader = csv->n;
	return tables_import_at(0, csv->first, err);
}

static int csv_row(struct tables_import *im)
{
	struct tables_csv *csv = &im->csv;
	size_t i;
	int err = 0;

	if (csv->n != im->nheader) {
		pfs_error_text_set("it has %zu values, and the line of names %zu", csv->n,
				   im->nheader);
		err = -EINVAL;
	}
	for (i = 0; i < csv->n && !err; i++) {
		struct tables_csv_field *from = &csv->fields[i];
		struct tables_json_field f = {.text = from->text, .kind = TABLES_JSON_STRING};

		if (!from->quoted && !from->text.len)
			f.kind = TABLES_JSON_NULL;
		err = give(im, im->header[i], &f, !from->quoted);
		from->text = f.text; /* unless the row has it now */
	}
	return end_row(im, csv->first, err);
}

static int csv_record(struct tables_import *im)
{
	return im->header ? csv_row(im) : csv_header(im);
}

static int csv_write(struct tables_import *im, struct pfs_bytes data)
{
	int err;

	while ((err = tables_csv_next(&im->csv, &data)) > 0) {
		err = csv_record(im);
		if (err)
			return err;
	}
	return tables_import_at(im->header ? im->rows + 1 : 0, im->csv.first, err);
}

static int csv_end(struct tables_import *im)
{
	int err = tables_csv_end(&im->csv);

	if (err > 0)
		return csv_record(im);
	if (!err && !im->header) {
		pfs_error_text_set("it begins with a line of the columns' names, which is missing");
		err = -EINVAL;
	}
	return tables_import_at(im->header ? im->rows + 1 : 0, im->csv.first, err);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static int json_row(struct tables_import *im)
{
	struct tables_json j = {0};
	size_t i, column = 0;
	int err;

	err = tables_json_parse((struct pfs_bytes){im->json.text.data, im->json.text.len}, &j);
	for (i = 0; i < j.n && !err; i++) {
		struct tables_json_field *f = &j.fields[i];

		err = find_column(im, (struct pfs_bytes){f->name.data, f->name.len}, &column);
		if (!err)
			err = give(im, column, f, false);
	}
	tables_json_release(&j);
	return end_row(im, im->json.first, err);
}

static int json_at(const struct tables_import *im, int err)
{
	bool inside = im->json.state == SPLIT_OBJECT;

	return tables_import_at(inside ? im->rows + 1 : 0,
				inside ? im->json.first : im->json.line + 1, err);
}

static int json_write(struct tables_import *im, struct pfs_bytes data)
{
	int err;

	while ((err = tables_json_next(&im->json, &data)) > 0) {
		err = json_row(im);
		if (err)
			return err;
	}
	return json_at(im, err);
}

static int json_end(struct tables_import *im)
{
	return json_at(im, tables_json_end(&im->json));
}

/* ---- the file ------------------------------------------------------------------------------- */

static int im_write(struct pfs_intake *in, int64_t off, struct pfs_bytes data)
{
	struct tables_import *im = import_of(in);

	(void)off;
	return im->format == TABLES_CSV ? csv_write(im, data) : json_write(im, data);
}

/* A line of names alone may be all that the first of several commands had to say. */
static int check_replace(const struct tables_import *im)
{
	if (im->rows || im->how != TABLES_REPLACE || im->format == TABLES_JSON)
		return 0;
	pfs_error_text_set("no rows: what empties the table is [] as json");
	return -EINVAL;
}

static int im_finish(struct pfs_intake *in)
{
	struct tables_import *im = import_of(in);
	int err = im->format == TABLES_CSV ? csv_end(im) : json_end(im);

	if (!err)
		err = check_replace(im);
	return err ? err : tables_import_run(im);
}

static void im_free(struct pfs_intake *in)
{
	struct tables_import *im = import_of(in);
	size_t i;

	if (im->fd >= 0)
		close(im->fd);
	if (im->values && im->given)
		forget_row(im);
	for (i = 0; i < im->nunique; i++)
		free(im->unique[i].columns);
	free(im->unique);
	tables_csv_release(&im->csv);
	tables_json_split_release(&im->json);
	pfs_buf_release(&im->kept);
	free(im->header);
	free(im->values);
	free(im->given);
	tables_catalog_put(im->v, im->catalog);
	free(im);
}

static const struct pfs_intake_ops import_ops = {im_write, im_finish, im_free};

static int begin(struct tables_session *s, const struct tables_place *p, struct tables_import *im)
{
	size_t n = p->table->ncolumns;

	im->catalog = tables_catalog_keep(s);
	im->table = p->table;
	im->how = p->how;
	im->format = p->format;
	im->json.lines = p->format == TABLES_JSONL;
	im->values = calloc(n + 1, sizeof(*im->values));
	im->given = calloc(n + 1, sizeof(*im->given));
	if (!im->values || !im->given)
		return -ENOMEM;
	return im->how == TABLES_UPSERT ? tables_import_keys(im, s) : 0;
}

int tables_intake(struct pfs_view *view, struct pfs_bytes path, struct pfs_intake **out)
{
	struct tables *v = pfs_container_of(view, struct tables, view);
	struct tables_import *im = calloc(1, sizeof(*im));
	struct tables_session s;
	struct tables_place p;
	int err;

	if (!im)
		return -ENOMEM;
	im->base.ops = &import_ops;
	im->v = v;
	im->fd = -1;
	err = tables_enter(v, false, &s);
	if (!err) {
		err = tables_path(s.catalog, path, &p);
		if (!err && p.kind != TABLES_IMPORT)
			err = -EPERM;
		if (!err)
			err = tables_writable(p.table);
		if (!err)
			err = begin(&s, &p, im);
		tables_place_release(&p);
		err = tables_leave(&s, err);
	}
	if (!err)
		err = tables_temp_file(&im->fd);
	if (err)
		im_free(&im->base);
	else
		*out = &im->base;
	return err;
}
