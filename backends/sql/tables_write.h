/* Writing to tables: what tables.c asks of tables_write.c, tables_pending.c and tables_json.c. */
#ifndef PFS_BACKENDS_SQL_TABLES_WRITE_H
#define PFS_BACKENDS_SQL_TABLES_WRITE_H

#include "backends/sql/tables.h"

/* The slots of the same names; see backends/adopt/view.h. */
int tables_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w);
int tables_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how);
int tables_mkdir(struct pfs_view *view, struct pfs_bytes path);
int tables_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		     struct pfs_bytes value, struct pfs_view_attr *out);

/* A value that goes into a column. */
struct tables_assign {
	size_t column;
	struct pfs_value value;
	struct pfs_buf bytes; /* owned: those of the value, where they are nobody else's */
};

/* 0, or -EPERM: no table, or one that cannot be written, with why. */
int tables_writable(const struct tables_table *t);
struct tables_json_field;
/* What a field says for a column where `old` stands. Its bytes are the field's or the assignment's. */
int tables_field_value(const struct tables_table *t, const struct tables_column *col,
		       const struct pfs_value *old, const struct tables_json_field *f,
		       struct tables_assign *out);

/* INSERT the row of p->key with n more columns. -EILSEQ: the engine makes another key of it. */
int tables_insert(struct tables_session *s, struct tables_place *p,
		  const struct tables_assign *values, size_t n);

/* As many columns as a table can have; a row that names more is not read to its end. */
#define TABLES_COLUMNS_MAX 32767
#define TABLES_TOO_MANY	   "it has more values than a table can have columns"

/* ---- tables_json.c -------------------------------------------------------------------------- */

enum tables_json_kind {
	TABLES_JSON_NULL, TABLES_JSON_BOOL, TABLES_JSON_NUMBER, TABLES_JSON_STRING,
	TABLES_JSON_NESTED,
};

struct tables_json_field {
	struct pfs_buf name, text; /* text: of strings what they say, else as written */
	enum tables_json_kind kind;
};

struct tables_json {
	struct tables_json_field *fields;
	size_t n;
};

/* 0; -EINVAL with what is wrong as pfs_error_text(); -ENOMEM. To be released in any case. */
int tables_json_parse(struct pfs_bytes text, struct tables_json *out);
void tables_json_release(struct tables_json *j);

/* ---- tables_pending.c ----------------------------------------------------------------------- */

/*
 * A row that was made by mkdir and lacks columns which must not be NULL. It lives in memory, is shown by
 * this mount alone, and becomes one INSERT when it is complete. Calls take v->pending_lock, which is held
 * over the INSERT; a place is ROW or CELL, of no selection.
 */
bool tables_pending_can(const struct tables_place *p);
/* -EEXIST: there is one. Inserted at once where nothing is missing. */
int tables_pending_make(struct tables_session *s, struct tables_place *p);
/* -ENOENT: there is none; 0: forgotten. */
int tables_pending_forget(struct tables *v, const struct tables_place *p);
/* -ENOENT: no such row, or not that column yet. */
int tables_pending_stat(struct tables *v, const struct tables_place *p, struct pfs_view_attr *out);
ssize_t tables_pending_read(struct tables *v, const struct tables_place *p, uint64_t off, void *buf,
			    size_t len, uint64_t *version);
/* 1: is given and NULL. */
int tables_pending_null(struct tables *v, const struct tables_place *p);
/* The value that a column has so far, copied; -ENOENT: no such row; *given: it has one. */
int tables_pending_value(struct tables *v, const struct tables_place *p, struct pfs_value *out,
			 struct pfs_buf *bytes, bool *given);
/* Give it one, which may complete the row. */
int tables_pending_give(struct tables_session *s, struct tables_place *p,
			const struct pfs_value *value);
/* Names behind `after` (a pending row's, or "" for all) as a listing tells them. */
bool tables_pending_has(struct tables *v, const struct tables_table *t, struct pfs_bytes name);
int tables_pending_list(struct tables *v, const struct tables_table *t, struct pfs_bytes after,
			size_t limit, pfs_view_entry_fn fn, void *arg, bool *end);
/* Columns that are given, in the order of the table. -ENOENT: no such row. */
int tables_pending_columns(struct tables *v, const struct tables_place *p, struct pfs_bytes after,
			   size_t limit, pfs_view_entry_fn fn, void *arg, bool *end);
void tables_pending_free(struct tables *v);

#endif
