/*
 * Files that become rows: TABLE/.import/HOW/FORMAT. What is written is read at once, so that what is wrong
 * with it is said where it stands, and the values are kept in a file without a name. When that was all, one
 * transaction puts them into the table: whoever writes slowly holds no lock, and memory stays bounded.
 *
 *	tables_import.c		what a file says, as values of columns
 *	tables_import_parse.c	CSV, and where a JSON object ends
 *	tables_import_keep.c	the file of rows, and keys
 *	tables_import_run.c	the transaction
 */
#ifndef PFS_BACKENDS_SQL_TABLES_IMPORT_H
#define PFS_BACKENDS_SQL_TABLES_IMPORT_H

#include <stdio.h>

#include "backends/sql/tables_write.h"

/* The slot of the name; see backends/adopt/view.h. */
int tables_intake(struct pfs_view *view, struct pfs_bytes path, struct pfs_intake **out);

/* ---- tables_import_parse.c ------------------------------------------------------------------ */

struct tables_csv_field {
	struct pfs_buf text;
	bool quoted;
};

/*
 * RFC 4180, lines ended by CRLF or LF. Zero-initialised is at the beginning; to be released.
 */
struct tables_csv {
	struct tables_csv_field *fields; /* of the record */
	size_t n, cap;
	uint64_t line, first; /* lines ended so far; the line that the record begins in, from 1 */
	size_t bytes;	      /* in the record */
	enum { CSV_START, CSV_FIELD, CSV_BARE, CSV_QUOTED, CSV_QUOTE, CSV_CR, CSV_DONE } state;
};

/*
 * Take bytes off *data, up to the end of a record: 1, and its fields are there until the next call. 0: there
 * is none yet, and no data is left. -EINVAL with what is wrong as pfs_error_text(), -EFBIG, -ENOMEM.
 */
int tables_csv_next(struct tables_csv *p, struct pfs_bytes *data);
/* There is no more: 1, a record that had no newline; 0; -EINVAL: it is cut off. */
int tables_csv_end(struct tables_csv *p);
void tables_csv_release(struct tables_csv *p);

/* Objects one by one: of an array, or one a line. Zero-initialised but for `lines`; to be released. */
struct tables_json_split {
	bool lines;
	struct pfs_buf text; /* of the object */
	uint64_t line, first;
	unsigned depth;
	bool string, escape;
	enum { SPLIT_BEGIN, SPLIT_FIRST, SPLIT_NEXT, SPLIT_OBJECT, SPLIT_AFTER, SPLIT_END } state;
};

/* As those of CSV. What is in an object is not looked at. */
int tables_json_next(struct tables_json_split *p, struct pfs_bytes *data);
int tables_json_end(struct tables_json_split *p);
void tables_json_split_release(struct tables_json_split *p);

/* ---- tables_import_keep.c ------------------------------------------------------------------- */

struct tables_unique {
	size_t *columns; /* owned */
	size_t n;
};

struct tables_import {
	struct pfs_intake base;
	struct tables *v;
	struct tables_catalog *catalog; /* counted: as it was when the file was opened */
	const struct tables_table *table;
	enum tables_import_how how;
	enum tables_format format;
	struct tables_csv csv;
	struct tables_json_split json;
	size_t *header; /* CSV: the columns, once they are known */
	size_t nheader;
	struct tables_unique *unique; /* UPSERT: beside the primary key */
	size_t nunique;
	uint64_t rows;
	/* The row that is being read: as many as the table has columns; is a column among them? */
	struct tables_assign *values;
	bool *given;
	size_t n;
	int fd;		     /* the rows, see tables_import_keep() */
	struct pfs_buf kept; /* not in it yet */
};

/* Say which row the text of the error is about. Returns err. */
int tables_import_at(uint64_t row, uint64_t line, int err);

/* Keep the row that im->values has, which began in this line. */
int tables_import_keep(struct tables_import *im, uint64_t line);

struct tables_row_head {
	uint64_t row, line, n, bytes;
};

struct tables_kept_row {
	struct tables_row_head head;
	struct tables_assign *values; /* owned, the bytes behind them; also after a failure */
};

/* The next of the rows that were kept. */
int tables_import_next(FILE *f, struct tables_kept_row *out);
/* The unique keys of the table, within a session. */
int tables_import_keys(struct tables_import *im, struct tables_session *s);
/* By which key a row with im->given is found: *n 0: by none. Borrowed. */
const size_t *tables_import_key(const struct tables_import *im, size_t *n);
/* The table, as the parameter of the engine's statements about it. */
struct pfs_value tables_import_param(const struct tables_table *t);

/* ---- tables_import_run.c -------------------------------------------------------------------- */

/* Put all rows into the table, or none. */
int tables_import_run(struct tables_import *im);

#endif
