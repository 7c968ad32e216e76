/* Rows that are not complete yet: see tables_write.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables_write.h"

struct tables_pending {
	struct tables_pending *next;
	char *table, *name; /* as files */
	struct cell {
		char *column; /* its name */
		struct pfs_value value;
		struct pfs_buf bytes;
	} *cells;
	size_t ncells;
};

static struct pfs_bytes row_name(const struct tables_place *p)
{
	return p->key.name;
}

/* ---- the list: all with the lock held ------------------------------------------------------- */

static struct tables_pending **slot_of(struct tables *v, const struct tables_table *t,
				       struct pfs_bytes name)
{
	struct tables_pending **slot = &v->pending;

	while (*slot && (strcmp((*slot)->table, t->file) != 0 ||
			 !pfs_bytes_eq(pfs_bytes_str((*slot)->name), name)))
		slot = &(*slot)->next;
	return slot;
}

static struct tables_pending *find(struct tables *v, const struct tables_place *p)
{
	return *slot_of(v, p->table, row_name(p));
}

static struct cell *cell_of(const struct tables_pending *row, const char *column)
{
	size_t i;

	for (i = 0; i < row->ncells; i++)
		if (!strcmp(row->cells[i].column, column))
			return &row->cells[i];
	return NULL;
}

static void free_row(struct tables_pending *row)
{
	size_t i;

	for (i = 0; i < row->ncells; i++) {
		free(row->cells[i].column);
		pfs_buf_release(&row->cells[i].bytes);
	}
	free(row->cells);
	free(row->table);
	free(row->name);
	free(row);
}

static void drop(struct tables_pending **slot)
{
	struct tables_pending *row = *slot;

	*slot = row->next;
	free_row(row);
}

static struct cell *add_cell(struct tables_pending *row, const char *column)
{
	struct cell *more = realloc(row->cells, (row->ncells + 1) * sizeof(*more)), *cell;

	if (!more)
		return NULL;
	row->cells = more;
	cell = &more[row->ncells];
	*cell = (struct cell){.column = strdup(column)};
	if (!cell->column)
		return NULL;
	row->ncells++;
	return cell;
}

static int set_cell(struct cell *cell, const struct pfs_value *value)
{
	struct pfs_buf bytes = {0};

	pfs_buf_add(&bytes, value->bytes.p, value->bytes.len);
	pfs_buf_str(&bytes, "");
	if (bytes.failed) {
		pfs_buf_release(&bytes);
		return -ENOMEM;
	}
	pfs_buf_release(&cell->bytes);
	cell->bytes = bytes;
	cell->value = *value;
	cell->value.bytes = (struct pfs_bytes){bytes.data, bytes.len};
	return 0;
}

static bool complete(const struct tables_table *t, const struct tables_pending *row)
{
	const struct cell *cell;
	size_t i;

	for (i = 0; i < t->ncolumns; i++) {
		const struct tables_column *col = &t->columns[i];

		if (!col->not_null || col->has_default || col->computed || col->key)
			continue;
		cell = cell_of(row, col->name);
		if (!cell || cell->value.type == PFS_VALUE_NULL)
			return false;
	}
	return true;
}

static int insert(struct tables_session *s, struct tables_place *p,
		  const struct tables_pending *row)
{
	struct tables_assign *values = calloc(row->ncells + 1, sizeof(*values));
	size_t i, n = 0;
	int err, at;

	if (!values)
		return -ENOMEM;
	for (i = 0; i < row->ncells; i++) {
		at = tables_column_named(p->table, pfs_bytes_str(row->cells[i].column));
		if (at < 0 || p->table->columns[at].key) /* dropped meanwhile; the name says it */
			continue;
		values[n].column = (size_t)at;
		values[n++].value = row->cells[i].value;
	}
	err = tables_insert(s, p, values, n);
	free(values);
	return err;
}

/* ---- rows ----------------------------------------------------------------------------------- */

bool tables_pending_can(const struct tables_place *p)
{
	return !p->virtual_ && (p->kind == TABLES_ROW || p->kind == TABLES_CELL);
}

int tables_pending_make(struct tables_session *s, struct tables_place *p)
{
	struct tables_pending *row = calloc(1, sizeof(*row));
	struct tables *v = s->v;
	int err = row ? 0 : -ENOMEM;

	if (!err) {
		row->table = strdup(p->table->file);
		row->name = strndup(row_name(p).p, row_name(p).len);
		err = row->table && row->name ? 0 : -ENOMEM;
	}
	pthread_mutex_lock(&v->pending_lock);
	if (!err && find(v, p))
		err = -EEXIST;
	if (!err && complete(p->table, row)) {
		err = insert(s, p, row);
	} else if (!err) {
		row->next = v->pending;
		v->pending = row;
		row = NULL;
	}
	pthread_mutex_unlock(&v->pending_lock);
	if (row)
		free_row(row);
	return err;
}

int tables_pending_forget(struct tables *v, const struct tables_place *p)
{
	struct tables_pending **slot;
	int err = -ENOENT;

	pthread_mutex_lock(&v->pending_lock);
	slot = slot_of(v, p->table, row_name(p));
	if (*slot) {
		drop(slot);
		err = 0;
	}
	pthread_mutex_unlock(&v->pending_lock);
	return err;
}

/* ---- columns -------------------------------------------------------------------------------- */

int tables_pending_value(struct tables *v, const struct tables_place *p, struct pfs_value *out,
			 struct pfs_buf *bytes, bool *given)
{
	const struct tables_pending *row;
	const struct cell *cell;
	int err = 0;

	*out = (struct pfs_value){0};
	*given = false;
	bytes->len = 0;
	pthread_mutex_lock(&v->pending_lock);
	row = find(v, p);
	cell = row && p->kind == TABLES_CELL
		       ? cell_of(row, p->table->columns[p->column].name) : NULL;
	if (cell) {
		pfs_buf_add(bytes, cell->bytes.data, cell->bytes.len);
		pfs_buf_str(bytes, "");
		*out = cell->value;
		out->bytes = (struct pfs_bytes){bytes->data, bytes->len};
		*given = true;
	}
	if (!row)
		err = -ENOENT;
	else if (bytes->failed)
		err = -ENOMEM;
	pthread_mutex_unlock(&v->pending_lock);
	return err;
}

int tables_pending_stat(struct tables *v, const struct tables_place *p, struct pfs_view_attr *out)
{
	struct pfs_buf bytes = {0};
	struct pfs_value value;
	bool given;
	int err;

	err = tables_pending_value(v, p, &value, &bytes, &given);
	if (!err && p->kind == TABLES_ROW)
		*out = (struct pfs_view_attr){.mode = S_IFDIR, .version = 1};
	else if (!err && given)
		tables_cell_attr(p->table, &p->table->columns[p->column], &value, out);
	else if (!err)
		err = -ENOENT;
	pfs_buf_release(&bytes);
	return err;
}

ssize_t tables_pending_read(struct tables *v, const struct tables_place *p, uint64_t off, void *buf,
			    size_t len, uint64_t *version)
{
	struct pfs_buf bytes = {0};
	struct pfs_view_attr attr;
	struct pfs_value value;
	bool given;
	ssize_t n;

	n = tables_pending_value(v, p, &value, &bytes, &given);
	if (!n && !given)
		n = -ENOENT;
	if (!n) {
		tables_cell_attr(p->table, &p->table->columns[p->column], &value, &attr);
		*version = attr.version;
		if (off < bytes.len) {
			n = (ssize_t)(len < bytes.len - off ? len : bytes.len - off);
			memcpy(buf, bytes.data + off, (size_t)n);
		}
	}
	pfs_buf_release(&bytes);
	return n;
}

int tables_pending_null(struct tables *v, const struct tables_place *p)
{
	struct pfs_buf bytes = {0};
	struct pfs_value value;
	bool given;
	int err;

	err = tables_pending_value(v, p, &value, &bytes, &given);
	pfs_buf_release(&bytes);
	return err ? err : given && value.type == PFS_VALUE_NULL;
}

int tables_pending_give(struct tables_session *s, struct tables_place *p,
			const struct pfs_value *value)
{
	const char *column = p->table->columns[p->column].name;
	struct tables *v = s->v;
	struct tables_pending **slot;
	struct cell *cell, before = {0};
	bool fresh;
	int err;

	pthread_mutex_lock(&v->pending_lock);
	slot = slot_of(v, p->table, row_name(p));
	cell = *slot ? cell_of(*slot, column) : NULL;
	fresh = !cell;
	if (*slot && !cell)
		cell = add_cell(*slot, column);
	err = !*slot ? -ENOENT : cell ? 0 : -ENOMEM;
	if (!err) {
		before = *cell;
		cell->bytes = (struct pfs_buf){0};
		err = set_cell(cell, value);
	}
	if (!err && complete(p->table, *slot)) {
		err = insert(s, p, *slot);
		if (!err && !s->trial)
			err = s->v->db->ops->commit(s->c); /* the row is forgotten with it, or not */
		if (!err && !s->trial) {
			s->committed = true;
			drop(slot);
			cell = NULL;
		}
	}
	/* What the engine refused, or was only tried, was not given. */
	if ((err || s->trial) && cell) {
		pfs_buf_release(&cell->bytes);
		cell->bytes = before.bytes;
		cell->value = before.value;
		if (fresh) {
			free(cell->column);
			*cell = (*slot)->cells[--(*slot)->ncells];
		}
	} else {
		pfs_buf_release(&before.bytes);
	}
	pthread_mutex_unlock(&v->pending_lock);
	return err;
}

/* ---- listings ------------------------------------------------------------------------------- */

bool tables_pending_has(struct tables *v, const struct tables_table *t, struct pfs_bytes name)
{
	bool has;

	pthread_mutex_lock(&v->pending_lock);
	has = *slot_of(v, t, name) != NULL;
	pthread_mutex_unlock(&v->pending_lock);
	return has;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a table's rows, in order: an owned array of owned names. */
static int copy_names(struct tables *v, const struct tables_table *t, char ***out, size_t *n)
{
	const struct tables_pending *row;
	char **names = NULL, **more;
	int err = 0;

	*n = 0;
	pthread_mutex_lock(&v->pending_lock);
	for (row = v->pending; row && !err; row = row->next) {
		if (strcmp(row->table, t->file) != 0)
			continue;
		more = realloc(names, (*n + 1) * sizeof(char *));
		names = more ? more : names;
		if (more)
			names[*n] = strdup(row->name);
		if (more && names[*n])
			(*n)++;
		else
			err = -ENOMEM;
	}
	pthread_mutex_unlock(&v->pending_lock);
	if (*n)
		qsort(names, *n, sizeof(char *), by_text);
	*out = names;
	return err;
}

int tables_pending_list(struct tables *v, const struct tables_table *t, struct pfs_bytes after,
			size_t limit, pfs_view_entry_fn fn, void *arg, bool *end)
{
	const struct pfs_view_attr attr = {.mode = S_IFDIR, .version = 1};
	char **names = NULL, *from = strndup(after.p, after.len);
	size_t n = 0, i = 0, told = 0;
	int err;

	err = copy_names(v, t, &names, &n);
	if (!from)
		err = -ENOMEM;
	for (; i < n && !err && told < limit; i++) {
		if (*from && strcmp(names[i], from) <= 0)
			continue;
		told++;
		err = fn(arg, pfs_bytes_str(names[i]), &attr);
	}
	*end = i == n;
	for (i = 0; i < n; i++)
		free(names[i]);
	free(names);
	free(from);
	return err;
}

int tables_pending_columns(struct tables *v, const struct tables_place *p, struct pfs_bytes after,
			   size_t limit, pfs_view_entry_fn fn, void *arg, bool *end)
{
	size_t i = 0, told = 0;
	int err = tables_pending_has(v, p->table, row_name(p)) ? 0 : -ENOENT;

	if (after.len)
		i = (size_t)tables_find_column(p->table, after) + 1;
	for (; i < p->table->ncolumns && !err && told < limit; i++) {
		struct tables_place cell = {.kind = TABLES_CELL, .table = p->table,
					    .key.name = row_name(p), .column = i};
		struct pfs_view_attr attr;

		err = tables_pending_stat(v, &cell, &attr);
		if (!err) {
			told++;
			err = fn(arg, pfs_bytes_str(p->table->columns[i].file), &attr);
		} else if (err == -ENOENT) {
			err = 0;
		}
	}
	*end = i >= p->table->ncolumns;
	return err;
}

void tables_pending_free(struct tables *v)
{
	while (v->pending)
		drop(&v->pending);
}
