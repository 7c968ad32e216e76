/*
 * Writing to tables. A call is one transaction, and in it reads what is there, makes the new values of
 * that, and runs one statement, so that the engine has the old row or the new one. What the engine says
 * against a value is its to say (rows.h); here is refused what it would take and an application not
 * expect: text for a number, bytes that are no text, another key for a row.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/tables_write.h"

static int refuse(int err, const struct tables_column *col, const char *why)
{
	pfs_error_text_set("column %s%s%s: %s", col->name, *col->type ? " " : "", col->type, why);
	return err;
}

int tables_writable(const struct tables_table *t)
{
	if (!t)
		return -EPERM;
	if (!t->fault && !t->read_only)
		return 0;
	pfs_error_text_set("%s cannot be written: %s", t->name,
			   t->fault ? t->fault : t->read_only);
	return -EPERM;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool same(const struct pfs_value *a, const struct pfs_value *b)
{
	return a->type == b->type && pfs_bytes_eq(a->bytes, b->bytes);
}

static bool is_text(struct pfs_bytes b)
{
	size_t i, n;

	for (i = 0; i < b.len; i += n) {
		n = pfs_utf8_sequence(b.p + i, b.len - i);
		if (!n || !b.p[i])
			return false;
	}
	return true;
}

/* Is a value for this column, where `old` stands, made of bytes? */
static bool is_blob(const struct tables_column *col, const struct pfs_value *old)
{
	return old->type == PFS_VALUE_BLOB || (old->type == PFS_VALUE_NULL && col->binary);
}

/*
 * Text as a value of the column. A column of numbers takes numbers, unless text is what stands in it;
 * nothing at all is NULL there.
 */
static int text_value(const struct tables_column *col, const struct pfs_value *old,
		      struct pfs_bytes text, struct pfs_value *out)
{
	bool numbers = col->affinity == TABLES_INTEGER || col->affinity == TABLES_REAL, integer;
	size_t digits;
	int64_t num;

	if (!is_text(text))
		return refuse(-EILSEQ, col, "these bytes are no text");
	*out = pfs_value_text(text);
	if (!numbers || old->type == PFS_VALUE_TEXT)
		return 0;
	if (!text.len) {
		*out = (struct pfs_value){0};
		return 0;
	}
	if (!tables_is_number(text, &integer, &num))
		return refuse(-EINVAL, col, "wants a number");
	if (!integer)
		out->type = PFS_VALUE_REAL;
	for (digits = text.p[0] == '-'; digits < text.len; digits++)
		if (text.p[digits] < '0' || text.p[digits] > '9')
			break;
	if (col->affinity == TABLES_INTEGER && digits == text.len && !integer)
		return refuse(-EINVAL, col, "the number does not fit into 64 bits");
	return 0;
}

/* ---- statements ----------------------------------------------------------------------------- */

/* Run a statement that changes one row. -ENOENT: it changed none. */
static int run_one(struct tables_session *s, struct tables_sql *sql)
{
	int n;

	if (sql->text.failed)
		return -ENOMEM;
	n = pfs_rows_run_one(s->v->db, s->c, sql->text.data, sql->params, sql->n);
	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

static void add_name(struct tables_sql *sql, const char *name)
{
	pfs_rows_ident(&sql->text, pfs_bytes_str(name));
}

int tables_insert(struct tables_session *s, struct tables_place *p,
		  const struct tables_assign *values, size_t n)
{
	const struct tables_table *t = p->table;
	struct tables_sql sql = {0};
	struct pfs_rows *r = NULL;
	size_t i;
	int err;

	tables_sql_str(&sql, "INSERT INTO ");
	tables_sql_str(&sql, t->relation);
	for (i = 0; i < p->key.n; i++) {
		tables_sql_str(&sql, i ? ", " : " (");
		add_name(&sql, t->nkeys ? t->columns[t->keys[i]].name : t->rowid);
	}
	for (i = 0; i < n; i++) {
		tables_sql_str(&sql, ", ");
		add_name(&sql, t->columns[values[i].column].name);
	}
	for (i = 0; i < p->key.n; i++) {
		tables_sql_str(&sql, i ? ", " : ") VALUES (");
		tables_sql_value(&sql, &p->key.values[i]);
	}
	for (i = 0; i < n; i++) {
		tables_sql_str(&sql, ", ");
		tables_sql_value(&sql, &values[i].value);
	}
	tables_sql_str(&sql, ")");
	err = run_one(s, &sql);
	tables_sql_release(&sql);
	if (!err)
		err = tables_row(s, p, NULL, 0, &r);
	s->v->db->ops->end(r);
	if (err == -ENOENT) {
		pfs_error_text_set("the engine makes another key of %.*s", (int)p->key.name.len,
				   p->key.name.p);
		err = -EILSEQ;
	}
	return err;
}

static int update(struct tables_session *s, const struct tables_place *p,
		  const struct tables_assign *values, size_t n)
{
	struct tables_sql sql = {0};
	size_t i;
	int err;

	if (!n)
		return 0;
	tables_sql_str(&sql, "UPDATE ");
	tables_sql_str(&sql, p->table->relation);
	tables_sql_str(&sql, " AS t SET ");
	for (i = 0; i < n; i++) {
		tables_sql_str(&sql, i ? ", " : "");
		add_name(&sql, p->table->columns[values[i].column].name);
		tables_sql_str(&sql, " = ");
		tables_sql_value(&sql, &values[i].value);
	}
	tables_sql_str(&sql, " WHERE TRUE");
	tables_sql_is(&sql, p->table, &p->key);
	err = run_one(s, &sql);
	tables_sql_release(&sql);
	return err;
}

static int delete_row(struct tables_session *s, struct tables_place *p)
{
	struct pfs_rows *r = NULL;
	struct tables_sql sql = {0};
	int err;

	err = tables_row(s, p, NULL, 0, &r); /* by its own name, and in the selection */
	if (err)
		return err;
	s->v->db->ops->end(r);
	tables_sql_str(&sql, "DELETE FROM ");
	tables_sql_str(&sql, p->table->relation);
	tables_sql_str(&sql, " AS t WHERE TRUE");
	tables_sql_is(&sql, p->table, &p->key);
	err = run_one(s, &sql);
	tables_sql_release(&sql);
	return err;
}

/* ---- a cell --------------------------------------------------------------------------------- */

/* The value that a cell has. -ENOENT: there is no such row. */
static int old_value(struct tables_session *s, struct tables_place *p, struct pfs_value *out,
		     struct pfs_buf *bytes)
{
	struct pfs_rows *r = NULL;
	int err;

	err = tables_row(s, p, &p->column, 1, &r);
	if (err)
		return err;
	tables_column_at(s, r, tables_nkeys(p->table), out);
	pfs_buf_add(bytes, out->bytes.p, out->bytes.len);
	pfs_buf_str(bytes, "");
	out->bytes = (struct pfs_bytes){bytes->data, bytes->len};
	s->v->db->ops->end(r);
	return bytes->failed ? -ENOMEM : 0;
}

static bool ends_in_newline(struct pfs_bytes b)
{
	return b.len && b.p[b.len - 1] == '\n';
}

/* What a write makes of the old value: *made is into w->data or `out`. */
static int new_bytes(const struct tables *v, const struct pfs_view_write *w, bool blob,
		     struct pfs_bytes old, struct pfs_buf *out, struct pfs_bytes *made)
{
	int err = 0;

	if (w->how == PFS_VIEW_WHOLE) {
		*made = w->data;
		if (v->strip && !blob && ends_in_newline(*made) && !ends_in_newline(old))
			made->len--;
		return 0;
	}
	if (w->how == PFS_VIEW_EDIT) {
		err = w->edit(w->arg, old, out);
	} else {
		pfs_buf_add(out, old.p, old.len);
		pfs_buf_add(out, w->data.p, w->data.len);
	}
	*made = (struct pfs_bytes){out->data ? out->data : "", out->len};
	return err ? err : out->failed ? -ENOMEM : 0;
}

/* May the column become this? `there`: the row is in the table; else its name says the key. */
static int check_column(const struct tables_place *p, bool there, const struct pfs_value *old,
			const struct pfs_value *value)
{
	const struct tables_column *col = &p->table->columns[p->column];
	size_t i;

	if (col->computed && !(there && same(old, value)))
		return refuse(-EPERM, col, "the engine computes it");
	if (!col->key || !p->table->nkeys)
		return 0;
	for (i = 0; !there && i < p->key.n; i++)
		if (p->table->keys[i] == p->column)
			old = &p->key.values[i];
	if (old->type != PFS_VALUE_NULL && pfs_bytes_eq(old->bytes, value->bytes))
		return 0;
	return refuse(-EPERM, col, "is a part of the key, which the row's name says");
}

static int set_cell(struct tables_session *s, struct tables_place *p, bool there,
		    const struct pfs_value *old, const struct pfs_value *value)
{
	struct tables_assign a = {.column = p->column, .value = *value};
	int err = check_column(p, there, old, value);

	if (err)
		return err;
	if (!there)
		return tables_pending_give(s, p, value);
	return p->table->columns[p->column].key || p->table->columns[p->column].computed
		       ? 0
		       : update(s, p, &a, 1);
}

/* The cell as it is, of a row or of one that is not complete yet: *there tells. */
static int load_cell(struct tables_session *s, struct tables_place *p, struct pfs_value *old,
		     struct pfs_buf *bytes, bool *there, bool *given)
{
	int err = old_value(s, p, old, bytes);

	*there = *given = !err;
	if (err == -ENOENT && tables_pending_can(p))
		err = tables_pending_value(s->v, p, old, bytes, given);
	return err;
}

static int stat_cell(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out)
{
	struct tables_place row = *p;
	int err;

	/* What was written may have taken the row out of the selection. */
	row.nfilters = 0;
	row.limit = -1;
	err = tables_stat_place(s, &row, out);

	if (err == -ENOENT && tables_pending_can(p))
		err = tables_pending_stat(s->v, p, out);
	return err;
}

static int write_cell(struct tables_session *s, struct tables_place *p, struct pfs_view_write *w)
{
	const struct tables_column *col = &p->table->columns[p->column];
	struct pfs_buf bytes = {0}, out = {0};
	struct pfs_value old, value = {0};
	struct pfs_bytes made = {0};
	bool there, given;
	int err;

	err = load_cell(s, p, &old, &bytes, &there, &given);
	if (!err && w->create && given)
		err = -EEXIST;
	if (!err && !w->create && !given)
		err = -ENOENT;
	if (!err && col->unreadable && w->how != PFS_VIEW_WHOLE)
		err = refuse(-EACCES, col, "may not be read, so that nothing can be added to it");
	if (!err)
		err = new_bytes(s->v, w, is_blob(col, &old), old.bytes, &out, &made);
	if (!err && !w->null && is_blob(col, &old))
		value = (struct pfs_value){.type = PFS_VALUE_BLOB, .bytes = made};
	else if (!err && !w->null)
		err = text_value(col, &old, made, &value);
	if (!err)
		err = set_cell(s, p, there, &old, &value);
	if (!err && (!w->trial || there))
		err = stat_cell(s, p, &w->attr);
	if (err == -ENOENT && there)
		err = refuse(-EINVAL, col, "with this value the row would be in the view no more");
	pfs_buf_release(&bytes);
	pfs_buf_release(&out);
	return err;
}

/* ---- a row as JSON -------------------------------------------------------------------------- */

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int decode_base64(const struct tables_column *col, struct pfs_bytes text,
			 struct pfs_buf *out)
{
	size_t i, k, n = text.len;
	char three[3];

	pfs_buf_str(out, "");
	if (n % 4)
		return refuse(-EINVAL, col, "wants base64");
	for (i = 0; i < n; i += 4) {
		bool last = i + 4 == n;
		size_t pad = last ? (text.p[i + 3] == '=') + (text.p[i + 2] == '=') : 0;
		uint32_t word = 0;

		for (k = 0; k < 4; k++) {
			int d = k >= 4 - pad ? 0 : base64_digit(text.p[i + k]);

			if (d < 0)
				return refuse(-EINVAL, col, "wants base64");
			word = word << 6 | (uint32_t)d;
		}
		three[0] = (char)(word >> 16);
		three[1] = (char)(word >> 8);
		three[2] = (char)word;
		pfs_buf_add(out, three, 3 - pad);
	}
	return 0;
}

static int field_value(const struct tables_column *col, const struct pfs_value *old,
		       const struct tables_json_field *f, struct tables_assign *out)
{
	struct pfs_bytes text = {f->text.data, f->text.len};
	bool integer;
	int64_t num = 0;
	int err;

	switch (f->kind) {
	case TABLES_JSON_NULL:
		out->value = (struct pfs_value){0};
		return 0;
	case TABLES_JSON_BOOL:
		out->value = pfs_value_integer(text.p[0] == 't');
		out->value.bytes = text.p[0] == 't' ? PFS_BYTES("1") : PFS_BYTES("0");
		return 0;
	case TABLES_JSON_NUMBER:
		err = text_value(col, old, text, &out->value);
		if (err || col->affinity == TABLES_TEXT)
			return err;
		if (tables_is_number(text, &integer, &num)) {
			out->value.type = integer ? PFS_VALUE_INTEGER : PFS_VALUE_REAL;
			out->value.num = num;
		}
		return 0;
	case TABLES_JSON_STRING:
		if (!is_blob(col, old))
			return text_value(col, old, text, &out->value);
		err = decode_base64(col, text, &out->bytes);
		out->value = (struct pfs_value){.type = PFS_VALUE_BLOB,
						.bytes = {out->bytes.data, out->bytes.len}};
		return err ? err : out->bytes.failed ? -ENOMEM : 0;
	default:
		out->value = pfs_value_text(text);
		return 0;
	}
}

int tables_field_value(const struct tables_table *t, const struct tables_column *col,
		       const struct pfs_value *old, const struct tables_json_field *f,
		       struct tables_assign *out)
{
	int err;

	/* An engine that parses words as the type of the column would round a number to fit. */
	if (t->engine->typed && f->kind == TABLES_JSON_BOOL) {
		out->value = pfs_value_text((struct pfs_bytes){f->text.data, f->text.len});
		return 0;
	}
	err = field_value(col, old, f, out);
	if (!err && t->engine->typed &&
	    (out->value.type == PFS_VALUE_INTEGER || out->value.type == PFS_VALUE_REAL))
		out->value.type = PFS_VALUE_TEXT;
	return err;
}

/* The columns that the object changes in a row that is at `r`, or NULL: makes. */
static int assignments(struct tables_session *s, struct tables_place *p, struct pfs_rows *r,
		       const struct tables_json *j, struct tables_assign *out, size_t *n)
{
	struct tables_place cell = *p;
	struct pfs_value old;
	size_t i;
	int err = 0, at;

	for (i = 0; i < j->n && !err; i++) {
		const struct tables_json_field *f = &j->fields[i];
		struct tables_assign *a = &out[*n];
		const struct tables_column *col;

		at = tables_column_named(p->table, (struct pfs_bytes){f->name.data, f->name.len});
		if (at < 0) {
			pfs_error_text_set("%s has no column %s", p->table->name, f->name.data);
			return -EINVAL;
		}
		col = &p->table->columns[at];
		old = (struct pfs_value){0};
		if (r)
			tables_column_at(s, r, tables_nkeys(p->table) + (size_t)at, &old);
		(*n)++;
		a->column = cell.column = (size_t)at;
		err = tables_field_value(p->table, col, &old, f, a);
		if (!err && r && !col->unreadable && same(&old, &a->value)) {
			pfs_buf_release(&a->bytes);
			*a = (struct tables_assign){0};
			(*n)--;
		} else if (!err) {
			err = check_column(&cell, r != NULL, &old, &a->value);
			if (!err && col->key && p->table->nkeys)
				(*n)--; /* as its name says */
		}
	}
	return err;
}

static int apply_json(struct tables_session *s, struct tables_place *p, const struct tables_json *j,
		      bool create)
{
	size_t ncolumns = p->table->ncolumns, n = 0, i;
	struct tables_assign *values = calloc(j->n + 1, sizeof(*values));
	size_t *columns = calloc(ncolumns + 1, sizeof(*columns));
	struct pfs_rows *r = NULL;
	int err = values && columns ? 0 : -ENOMEM;

	for (i = 0; i < ncolumns && !err; i++)
		columns[i] = i;
	if (!err) {
		err = tables_row(s, p, columns, ncolumns, &r);
		if (err == -ENOENT && create)
			err = 0;
		else if (!err && create)
			err = -EEXIST;
	}
	if (!err)
		err = assignments(s, p, r, j, values, &n);
	s->v->db->ops->end(r);
	if (!err)
		err = create ? tables_insert(s, p, values, n) : update(s, p, values, n);
	for (i = 0; values && i < j->n; i++)
		pfs_buf_release(&values[i].bytes);
	free(values);
	free(columns);
	return err;
}

/* A row that is not there yet gets the key that its name says: only if that is its canonical name. */
static int check_new_name(const struct tables_place *p)
{
	const struct tables_table *t = p->table;
	struct pfs_buf name = {0};
	size_t i;
	int err = 0;

	if (p->virtual_ || p->key.lookup || p->key.by_rowid)
		return -EPERM;
	for (i = 0; i < p->key.n; i++) {
		pfs_buf_str(&name, i ? "," : "");
		if (p->key.values[i].type != PFS_VALUE_BLOB)
			tables_name_value(&p->key.values[i],
					  t->nkeys ? t->columns[t->keys[i]].affinity
						   : TABLES_INTEGER,
					  t->nkeys > 1, &name);
		else
			tables_name_value(&p->key.values[i], TABLES_ANY, false, &name);
	}
	tables_name_finish(&name);
	if (name.failed)
		err = -ENOMEM;
	else if (!pfs_bytes_eq((struct pfs_bytes){name.data, name.len}, p->key.name))
		err = -EILSEQ;
	pfs_buf_release(&name);
	return err;
}

static int write_json(struct tables_session *s, struct tables_place *p, struct pfs_view_write *w)
{
	struct pfs_buf old = {0}, out = {0};
	struct pfs_bytes made = {0};
	struct tables_json j = {0};
	int err = 0;

	if (p->format != TABLES_JSON || p->columns)
		return -EPERM;
	if (w->create)
		err = check_new_name(p);
	if (!err && !w->create && w->how != PFS_VIEW_WHOLE)
		err = tables_render(s, p, &old);
	if (!err)
		err = new_bytes(s->v, w, true, (struct pfs_bytes){old.data ? old.data : "", old.len},
				&out, &made);
	if (!err)
		err = tables_json_parse(made, &j);
	if (!err)
		err = apply_json(s, p, &j, w->create);
	if (!err && !w->trial)
		err = tables_stat_place(s, p, &w->attr);
	tables_json_release(&j);
	pfs_buf_release(&old);
	pfs_buf_release(&out);
	return err;
}

/* ---- the slots ------------------------------------------------------------------------------ */

static int write_at(struct tables_session *s, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct tables_place p;
	int err;

	s->trial = w->trial;
	err = tables_path(s->catalog, path, &p);
	if (err == -ENOENT && w->create)
		err = -EPERM; /* no table, column or row has such a name */
	if (!err)
		err = tables_writable(p.table);
	if (!err && p.kind == TABLES_CELL)
		err = write_cell(s, &p, w);
	else if (!err)
		err = p.kind == TABLES_ROW_FILE ? write_json(s, &p, w) : -EPERM;
	tables_place_release(&p);
	return err;
}

/* Columns that are set to values may be so twice; nothing else is done again that may have been done. */
int tables_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct tables *v = tables_of(view);
	int64_t deadline = pfs_monotonic_ns() + v->retry_timeout;
	bool repeatable = w->how == PFS_VIEW_WHOLE && !w->create, again;
	struct tables_session s;
	int err;

	do {
		err = tables_enter(v, true, &s);
		if (err)
			return err;
		err = tables_leave(&s, write_at(&s, path, w));
		again = err == -EHOSTDOWN || (err == -EINPROGRESS && repeatable);
	} while (again && pfs_monotonic_ns() < deadline);
	return err;
}

static int remove_place(struct tables_session *s, struct tables_place *p, bool dir)
{
	int err;

	switch (p->kind) {
	case TABLES_ROW:
		if (!dir)
			return -EISDIR;
		err = delete_row(s, p);
		if (err == -ENOENT && tables_pending_can(p))
			err = tables_pending_forget(s->v, p);
		return err;
	case TABLES_ROW_FILE:
		if (dir)
			return -ENOTDIR;
		return p->format == TABLES_JSON ? delete_row(s, p) : -EPERM;
	case TABLES_CELL:
		pfs_error_text_set("a column cannot be removed from one row; user.persistfs.null "
				   "makes it NULL, rmdir removes the row");
		return dir ? -ENOTDIR : -EPERM;
	default:
		return -EPERM;
	}
}

/* Does it hold this still? */
static int check_content(struct tables_session *s, struct tables_place *p,
			 const struct pfs_view_content *want)
{
	struct pfs_buf text = {0};
	struct pfs_value value;
	int err = 0;

	if (want)
		err = p->kind == TABLES_CELL ? old_value(s, p, &value, &text)
					     : tables_render(s, p, &text);
	if (!err && want && !pfs_view_is_content(want, (struct pfs_bytes){text.data, text.len}))
		err = -ESTALE;
	pfs_buf_release(&text);
	return err;
}

int tables_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how)
{
	struct tables_session s;
	struct tables_place p;
	int err;

	err = tables_enter(tables_of(view), true, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err)
		err = tables_writable(p.table);
	if (!err && (p.kind == TABLES_ROW_FILE || p.kind == TABLES_CELL))
		err = check_content(&s, &p, how->only);
	if (!err)
		err = remove_place(&s, &p, how->dir);
	tables_place_release(&p);
	return tables_leave(&s, err);
}

int tables_mkdir(struct pfs_view *view, struct pfs_bytes path)
{
	struct tables_session s;
	struct tables_place p;
	struct pfs_rows *r = NULL;
	int err;

	err = tables_enter(tables_of(view), true, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (err == -ENOENT)
		err = p.kind == TABLES_ROW ? -EILSEQ : -EPERM;
	if (!err)
		err = tables_writable(p.table);
	if (!err && p.kind != TABLES_ROW)
		err = p.kind == TABLES_ROWS || p.kind == TABLES_SEGMENT ? -EEXIST : -EPERM;
	if (!err && p.table->no_insert) {
		pfs_error_text_set("permission denied to insert into %s", p.table->name);
		err = -EACCES;
	}
	if (!err)
		err = check_new_name(&p);
	if (!err) {
		err = tables_row(&s, &p, NULL, 0, &r);
		s.v->db->ops->end(r);
		err = err == -ENOENT ? 0 : err ? err : -EEXIST;
	}
	if (!err)
		err = tables_pending_make(&s, &p);
	tables_place_release(&p);
	return tables_leave(&s, err);
}

/* ---- attributes ----------------------------------------------------------------------------- */

static int set_null(struct tables_session *s, struct tables_place *p, bool null)
{
	const struct tables_column *col = &p->table->columns[p->column];
	struct pfs_value old, value = {0};
	struct pfs_buf bytes = {0};
	bool there, given;
	int err;

	err = load_cell(s, p, &old, &bytes, &there, &given);
	if (!err && !null && old.type == PFS_VALUE_NULL)
		value = (struct pfs_value){.type = col->binary ? PFS_VALUE_BLOB : PFS_VALUE_TEXT,
					   .bytes = PFS_BYTES("")};
	if (!err && (old.type == PFS_VALUE_NULL) != null)
		err = set_cell(s, p, there, &old, &value);
	pfs_buf_release(&bytes);
	return err;
}

/* UPDATE col = col + n, by the engine; of whole numbers a whole number. */
static int increment(struct tables_session *s, struct tables_place *p, struct pfs_bytes by)
{
	const struct tables_column *col = &p->table->columns[p->column];
	struct pfs_value old, now, n = {.bytes = by};
	struct pfs_buf bytes = {0};
	struct tables_sql sql = {0};
	bool integer;
	int err;

	if (!tables_is_number(by, &integer, &n.num))
		return refuse(-EINVAL, col, "can be changed by a number only");
	n.type = p->table->engine->typed ? PFS_VALUE_TEXT
		 : integer		  ? PFS_VALUE_INTEGER
					  : PFS_VALUE_REAL;
	err = old_value(s, p, &old, &bytes);
	if (!err && old.type != PFS_VALUE_INTEGER && old.type != PFS_VALUE_REAL)
		err = refuse(-EINVAL, col, "holds no number");
	if (!err && (col->key || col->computed))
		err = refuse(-EPERM, col, "cannot be changed");
	if (err)
		goto out;
	tables_sql_str(&sql, "UPDATE ");
	tables_sql_str(&sql, p->table->relation);
	tables_sql_str(&sql, " AS t SET ");
	add_name(&sql, col->name);
	tables_sql_str(&sql, " = ");
	tables_sql_column(&sql, col->name);
	tables_sql_str(&sql, " + ");
	tables_sql_value(&sql, &n);
	tables_sql_str(&sql, " WHERE TRUE");
	tables_sql_is(&sql, p->table, &p->key);
	err = run_one(s, &sql);
	pfs_buf_release(&bytes);
	bytes = (struct pfs_buf){0};
	if (!err)
		err = old_value(s, p, &now, &bytes);
	if (!err && old.type == PFS_VALUE_INTEGER && integer && now.type != PFS_VALUE_INTEGER)
		err = refuse(-EINVAL, col, "the number does not fit into 64 bits");
out:
	tables_sql_release(&sql);
	pfs_buf_release(&bytes);
	return err;
}

int tables_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		     struct pfs_bytes value, struct pfs_view_attr *out)
{
	bool null = pfs_bytes_eq(name, PFS_BYTES("null"));
	bool incr = pfs_bytes_eq(name, PFS_BYTES("incr")) && value.p;
	bool yes = value.p && pfs_bytes_eq(value, PFS_BYTES("1"));
	struct tables_session s;
	struct tables_place p;
	int err;

	if (!null && !incr)
		return -EOPNOTSUPP;
	if (null && value.p && !yes && !pfs_bytes_eq(value, PFS_BYTES("0")))
		return -EINVAL;
	err = tables_enter(tables_of(view), true, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err)
		err = tables_writable(p.table);
	if (!err && p.kind != TABLES_CELL)
		err = -EOPNOTSUPP;
	if (!err)
		err = null ? set_null(&s, &p, yes) : increment(&s, &p, value);
	if (!err)
		err = stat_cell(&s, &p, out);
	tables_place_release(&p);
	return tables_leave(&s, err);
}
