/*
 * Rows that are put together. Rows for the tables that most transactions add to are kept back and go
 * out in one statement: those of a create, of a group of creates, the chunks of a large write. What
 * is sent for a row is little beside what the server spends on each statement.
 *
 * Anything else that is sent on the connection is sent after them (pg_send), so that nothing sees a
 * state in which they are missing; among themselves they have no order but that times of directories
 * are moved after all that is put. A column is kept as the array that travels.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define ROWS_MAX   64
#define BYTES_MAX  (128u << 10)
#define ARRAY_HEAD 20u /* of an array of one dimension: dimensions, nulls, type, length, first index */

static const struct {
	const char *columns;
	unsigned stmt; /* for one row */
	bool once; /* a key (the first column) may not be there twice */
} tables[PG_TABLES] = {
	[PG_ENTRIES] = {"itii", KV_ENTRY_PUT, false},
	[PG_CHUNKS] = {"ib", KV_CHUNK_PUT, true},
	[PG_OBJECTS] = {"iiiiiiiiiii", KV_OBJECT_ADD, false},
	[PG_TIMES] = {"iii", KV_DIR_TOUCH, true},
};

static void add_int(struct pfs_buf *b, uint32_t v)
{
	v = htobe32(v);
	pfs_buf_add(b, &v, sizeof(v));
}

static void set_int(char *at, uint32_t v)
{
	v = htobe32(v);
	memcpy(at, &v, sizeof(v));
}

static uint32_t get_int(const char *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return be32toh(v);
}

/* ---- keeping -------------------------------------------------------------------------------- */

static void column_begin(struct pfs_buf *column, char type)
{
	column->len = 0;
	column->failed = false; /* what found no memory went with its transaction */
	add_int(column, 1);
	add_int(column, 0);
	add_int(column, type == 'i' ? 20 : type == 't' ? 25 : 17); /* bigint, text, bytea */
	add_int(column, 0);
	add_int(column, 1);
}

static bool has_key(const struct pg_rows *rows, const struct pg_params *p)
{
	const size_t step = sizeof(uint32_t) + sizeof(int64_t);
	unsigned i;

	for (i = 0; i < rows->n; i++)
		if (memcmp(rows->columns[0].data + ARRAY_HEAD + i * step + sizeof(uint32_t),
			   p->values[0], sizeof(int64_t)) == 0)
			return true;
	return false;
}

static enum pg_table table_of(unsigned stmt)
{
	unsigned t = 0;

	while (t < PG_TABLES && tables[t].stmt != stmt)
		t++;
	return (enum pg_table)t;
}

static int keep(struct pg_conn *c, enum pg_table t, const struct pg_params *p)
{
	struct pg_rows *rows = &c->rows[t];
	int i;

	for (i = 0; i < p->n; i++) {
		struct pfs_buf *column = &rows->columns[i];

		if (rows->n == 0)
			column_begin(column, tables[t].columns[i]);
		add_int(column, (uint32_t)p->lengths[i]);
		pfs_buf_add(column, p->values[i], (size_t)p->lengths[i]);
		if (column->failed)
			return -ENOMEM;
		c->kept += (size_t)p->lengths[i];
	}
	rows->n++;
	return 0;
}

int pg_gather_keep(struct pg_conn *c, unsigned stmt, const struct pg_params *p, bool *kept)
{
	enum pg_table t = table_of(stmt);
	int err = 0;

	*kept = t < PG_TABLES && c->in_txn;
	if (!*kept)
		return 0;
	if (c->rows[t].n == ROWS_MAX || c->kept >= BYTES_MAX ||
	    (tables[t].once && has_key(&c->rows[t], p)))
		err = pg_gather_send(c);
	return err ? err : keep(c, t, p);
}

void pg_gather_drop(struct pg_conn *c)
{
	unsigned t;

	for (t = 0; t < PG_TABLES; t++)
		c->rows[t].n = 0;
	c->kept = 0;
}

void pg_gather_release(struct pg_conn *c)
{
	unsigned t, i;

	for (t = 0; t < PG_TABLES; t++)
		for (i = 0; i < PG_COLUMNS; i++)
			pfs_buf_release(&c->rows[t].columns[i]);
	pg_gather_drop(c);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void param(struct pg_params *p, const char *value, size_t len)
{
	p->values[p->n] = value;
	p->lengths[p->n] = (int)len;
	p->formats[p->n++] = 1;
}

/* The columns of a table as one parameter each. */
static void param_arrays(struct pg_conn *c, enum pg_table t, struct pg_params *p)
{
	struct pg_rows *rows = &c->rows[t];
	size_t i, n = strlen(tables[t].columns);

	for (i = 0; i < n; i++) {
		struct pfs_buf *column = &rows->columns[i];

		if (rows->n == 0)
			column_begin(column, tables[t].columns[i]);
		set_int(column->data, rows->n ? 1 : 0);
		set_int(column->data + 12, rows->n);
		/* One without elements has no dimension, nor what is said of it. */
		param(p, column->data, rows->n ? column->len : 12);
	}
}

/* One row as a parameter for each column; at: where it begins in each, moved to the next. */
static void param_row(struct pg_conn *c, enum pg_table t, size_t at[PG_COLUMNS],
		      struct pg_params *p)
{
	size_t i, n = strlen(tables[t].columns);

	for (i = 0; i < n; i++) {
		const char *cell = c->rows[t].columns[i].data + at[i];
		size_t len = get_int(cell);

		param(p, cell + sizeof(uint32_t), len);
		at[i] += sizeof(uint32_t) + len;
	}
}

static void first_row(size_t at[PG_COLUMNS])
{
	size_t i;

	for (i = 0; i < PG_COLUMNS; i++)
		at[i] = ARRAY_HEAD;
}

static int send_each(struct pg_conn *c, enum pg_table t, unsigned n)
{
	size_t at[PG_COLUMNS];
	unsigned i;
	int err = 0;

	first_row(at);
	for (i = 0; i < n && !err; i++) {
		struct pg_params p = {.n = 0};

		param_row(c, t, at, &p);
		err = pg_send(c, tables[t].stmt, &p, PG_SENT_WRITE, NULL);
	}
	return err;
}

/* The rows of up to three tables as arrays. */
static int send_arrays(struct pg_conn *c, unsigned stmt, const enum pg_table *which, size_t n)
{
	struct pg_params p = {.n = 0};
	size_t i;

	for (i = 0; i < n; i++)
		param_arrays(c, which[i], &p);
	return pg_send(c, stmt, &p, PG_SENT_WRITE, NULL);
}

static const enum pg_table put_tables[] = {PG_ENTRIES, PG_CHUNKS, PG_OBJECTS};

static int send_file(struct pg_conn *c)
{
	struct pg_params p = {.n = 0};
	size_t i, at[PG_COLUMNS];

	for (i = 0; i < PFS_ARRAY_SIZE(put_tables); i++) {
		first_row(at);
		param_row(c, put_tables[i], at, &p);
	}
	return pg_send(c, PG_STMT_PUT_FILE, &p, PG_SENT_WRITE, NULL);
}

/* n: how many rows there are of each table. */
static int send_put(struct pg_conn *c, const unsigned n[PG_TABLES])
{
	const enum pg_table chunks = PG_CHUNKS;
	int err;

	if (n[PG_ENTRIES] == 1 && n[PG_CHUNKS] == 1 && n[PG_OBJECTS] == 1)
		return send_file(c);
	if (n[PG_ENTRIES] > 1 && n[PG_OBJECTS] > 1)
		return send_arrays(c, PG_STMT_PUT_FILES, put_tables,
				   PFS_ARRAY_SIZE(put_tables));
	err = send_each(c, PG_ENTRIES, n[PG_ENTRIES]);
	if (!err && n[PG_CHUNKS] > 1)
		err = send_arrays(c, PG_STMT_PUT_CHUNKS, &chunks, 1);
	else if (!err)
		err = send_each(c, PG_CHUNKS, n[PG_CHUNKS]);
	return err ? err : send_each(c, PG_OBJECTS, n[PG_OBJECTS]);
}

int pg_gather_send(struct pg_conn *c)
{
	const enum pg_table times = PG_TIMES;
	unsigned n[PG_TABLES], t, sum = 0;
	int err;

	for (t = 0; t < PG_TABLES; t++)
		sum += n[t] = c->rows[t].n;
	if (sum == 0 || c->sending)
		return 0;
	c->sending = true;
	err = send_put(c, n);
	if (!err && n[PG_TIMES] > 1)
		err = send_arrays(c, PG_STMT_TOUCH_DIRS, &times, 1);
	else if (!err)
		err = send_each(c, PG_TIMES, n[PG_TIMES]);
	c->sending = false;
	pg_gather_drop(c);
	return err;
}
