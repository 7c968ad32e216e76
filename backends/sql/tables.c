/*
 * The view of tables: look-up, listing and reading. Every call is one transaction of one connection, with
 * the catalogue that holds in it, so that a schema which changes meanwhile is seen before or after.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/poll.h"
#include "backends/sql/tables_import.h"
#include "backends/sql/tables_write.h"

struct tables *tables_of(struct pfs_view *view)
{
	return pfs_container_of(view, struct tables, view);
}

/* ---- sessions ------------------------------------------------------------------------------- */

void tables_catalog_put(struct tables *v, struct tables_catalog *c)
{
	bool last;

	if (!c)
		return;
	pthread_mutex_lock(&v->lock);
	last = --c->refs == 0;
	pthread_mutex_unlock(&v->lock);
	if (last)
		tables_catalog_free(c);
}

struct tables_catalog *tables_catalog_keep(struct tables_session *s)
{
	pthread_mutex_lock(&s->v->lock);
	s->catalog->refs++;
	pthread_mutex_unlock(&s->v->lock);
	return s->catalog;
}

/* Take the catalogue that is kept, if it is of this version; NULL: if it is young enough. */
static bool kept(struct tables_session *s, const uint64_t *version, int64_t now)
{
	struct tables *v = s->v;
	struct tables_catalog *c;

	pthread_mutex_lock(&v->lock);
	c = v->catalog;
	if (c && (version ? c->version == *version
			  : now - c->checked < v->engine->version_age)) {
		if (version)
			c->checked = now;
		c->refs++;
		s->catalog = c;
	}
	pthread_mutex_unlock(&v->lock);
	return s->catalog != NULL;
}

/* A statement that fits no longer: the next call asks. */
static void catalog_doubt(struct tables *v)
{
	pthread_mutex_lock(&v->lock);
	if (v->catalog)
		v->catalog->checked = INT64_MIN / 2;
	pthread_mutex_unlock(&v->lock);
}

/* The catalogue of the session's transaction: the one that is kept, or a new one. */
static int catalog_get(struct tables_session *s)
{
	struct tables *v = s->v;
	struct tables_catalog *c = NULL, *old;
	int64_t now = pfs_monotonic_ns();
	uint64_t version = 0;
	int err;

	if (v->engine->version_age && kept(s, NULL, now))
		return 0;
	err = v->engine->version(v->db, s->c, &version);
	if (err || kept(s, &version, now))
		return err;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->version = version;
	c->checked = now;
	c->engine = v->engine;
	err = v->engine->load(v->db, s->c, c);
	if (!err)
		err = tables_catalog_finish(c);
	if (err) {
		tables_catalog_free(c);
		return err;
	}
	c->refs = 2;
	pthread_mutex_lock(&v->lock);
	old = v->catalog;
	v->catalog = c;
	pthread_mutex_unlock(&v->lock);
	tables_catalog_put(v, old);
	s->catalog = c;
	return 0;
}

static bool is_broken(int err)
{
	return err == -EIO || err == -EHOSTDOWN || err == -ENOMEM || err == -EINPROGRESS;
}

int tables_enter(struct tables *v, bool write, struct tables_session *out)
{
	int64_t deadline = pfs_monotonic_ns() + v->retry_timeout;
	struct tables_session s = {.v = v, .write = write};
	int err;

	do {
		err = v->db->ops->get(v->db, write, &s.c);
		if (err)
			break;
		err = v->db->ops->begin(s.c, write);
		if (!err)
			err = catalog_get(&s);
		if (err)
			v->db->ops->put(v->db, s.c, is_broken(err));
	} while (err == -EHOSTDOWN && pfs_monotonic_ns() < deadline);
	if (!err)
		*out = s;
	return write ? err : pfs_rows_told(err);
}

int tables_leave(struct tables_session *s, int err)
{
	struct tables *v = s->v;

	if (!err && s->trial)
		err = v->db->ops->check(s->c);
	else if (!err && s->write && !s->committed)
		err = v->db->ops->commit(s->c);
	if (err == -EINPROGRESS)
		pfs_error_text_set("the connection broke at COMMIT: outcome unknown");
	v->db->ops->put(v->db, s->c, is_broken(err)); /* rolls back what is left */
	if (err == -ENOTSUP)
		catalog_doubt(v);
	tables_catalog_put(v, s->catalog);
	if (s->write && !s->trial && (!err || s->committed))
		pfs_rows_poll_wrote(v->poll);
	return s->write ? err : pfs_rows_told(err);
}

int tables_first_row(struct tables_session *s, const struct tables_sql *sql, struct pfs_rows **out)
{
	const struct pfs_rows_ops *ops = s->v->db->ops;
	struct pfs_rows *r = NULL;
	int err;

	if (sql->text.failed)
		return -ENOMEM;
	err = ops->query(s->c, sql->text.data, sql->params, sql->n, &r);
	if (!err) {
		err = ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	if (err)
		ops->end(r);
	else
		*out = r;
	return err;
}

void tables_column_at(struct tables_session *s, struct pfs_rows *r, size_t i, struct pfs_value *out)
{
	s->v->db->ops->column(r, (int)i, out);
}

/* ---- rows ----------------------------------------------------------------------------------- */

int tables_row_name(struct tables_session *s, const struct tables_table *t, struct pfs_rows *r,
		    struct pfs_buf *out)
{
	struct pfs_value v;
	bool null = false;
	size_t i;

	out->len = 0;
	pfs_buf_str(out, "");
	for (i = 0; i < t->nkeys; i++) {
		tables_column_at(s, r, i, &v);
		null |= v.type == PFS_VALUE_NULL;
	}
	if (!t->nkeys || (null && t->nullable)) {
		pfs_buf_str(out, t->nkeys ? "%ROWID" : "");
		tables_column_at(s, r, t->nkeys, &v);
		pfs_buf_add(out, v.bytes.p, v.bytes.len);
		return out->failed ? -ENOMEM : 0;
	}
	for (i = 0; i < t->nkeys; i++) {
		tables_column_at(s, r, i, &v);
		pfs_buf_str(out, i ? "," : "");
		tables_name_value(&v, t->columns[t->keys[i]].affinity, t->nkeys > 1, out);
	}
	tables_name_finish(out);
	return out->failed ? -ENOMEM : 0;
}

static bool is_asked(const struct pfs_buf *name, struct pfs_bytes asked)
{
	return pfs_bytes_eq((struct pfs_bytes){name->data, name->len}, asked);
}

/* The key of the row that a result is at, as values of its own. */
static int copy_key(struct tables_session *s, const struct tables_table *t, struct pfs_rows *r,
		    struct tables_key *out)
{
	struct pfs_value *v;
	size_t i;

	for (i = 0; i < t->nkeys; i++) {
		v = &out->values[i];
		tables_column_at(s, r, i, v);
		out->texts[i].len = 0;
		pfs_buf_add(&out->texts[i], v->bytes.p, v->bytes.len);
		pfs_buf_str(&out->texts[i], "");
		if (out->texts[i].failed)
			return -ENOMEM;
		v->bytes.p = out->texts[i].data;
		if (t->engine->typed && v->type != PFS_VALUE_BLOB)
			v->type = PFS_VALUE_TEXT;
	}
	out->n = t->nkeys;
	out->lookup = false;
	return 0;
}

int tables_find_short(struct tables_session *s, const struct tables_table *t,
		      struct tables_key *key)
{
	struct tables_place all = {.table = t, .order = -1, .limit = -1, .sample = -1};
	struct tables_sql sql = {0};
	struct pfs_buf name = {0};
	struct pfs_rows *r = NULL;
	size_t i;
	int err;

	tables_sql_select(&sql, &all, NULL, 0);
	for (i = 0; i < t->nkeys; i++) {
		tables_sql_str(&sql, i ? " + " : " AND ");
		tables_sql_str(&sql, t->engine->size[0]);
		tables_sql_column(&sql, t->columns[t->keys[i]].name);
		tables_sql_str(&sql, t->engine->size[1]);
	}
	tables_sql_str(&sql, " >= 20");
	err = t->nkeys ? tables_first_row(s, &sql, &r) : -ENOENT;
	while (!err) {
		err = tables_row_name(s, t, r, &name);
		if (!err && is_asked(&name, key->name)) {
			err = copy_key(s, t, r, key);
			break;
		}
		if (!err)
			err = s->v->db->ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	s->v->db->ops->end(r);
	tables_sql_release(&sql);
	pfs_buf_release(&name);
	return err;
}

int tables_row(struct tables_session *s, struct tables_place *p, const size_t *columns, size_t n,
	       struct pfs_rows **out)
{
	struct tables_sql sql = {0};
	struct pfs_buf name = {0};
	int err = 0;

	if (p->key.lookup)
		err = tables_find_short(s, p->table, &p->key);
	if (err)
		return err;
	tables_sql_select(&sql, p, columns, n);
	tables_sql_is(&sql, p->table, &p->key);
	if (s->write && !p->table->numbered && !p->table->no_update && p->limit < 0)
		tables_sql_str(&sql, s->v->db->lock);
	err = tables_first_row(s, &sql, out);
	/* What a column's type cannot be is no key; who makes a row of it is told why it cannot be. */
	if (err == -EINVAL && p->table->nkeys && !s->write)
		err = -ENOENT;
	if (!err)
		err = tables_row_name(s, p->table, *out, &name);
	/* Another name for the same key, by a collation or a conversion of types, is none. */
	if (!err && !is_asked(&name, p->key.name)) {
		s->v->db->ops->end(*out);
		*out = NULL;
		err = -ENOENT;
	}
	pfs_buf_release(&name);
	tables_sql_release(&sql);
	return err;
}

/* ---- what is made as a whole ---------------------------------------------------------------- */

static int render_row(struct tables_session *s, struct tables_place *p, struct pfs_buf *out)
{
	size_t n = tables_shown(p), i, *columns = calloc(n + 1, sizeof(*columns));
	struct pfs_rows *r = NULL;
	int err;

	if (!columns)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		columns[i] = tables_shown_at(p, i);
	err = tables_row(s, p, columns, n, &r);
	if (!err) {
		enum tables_format f = p->format == TABLES_JSON ? TABLES_JSONL : p->format;

		tables_format_head(f, p, out);
		tables_format_row(f, p, s->v->db, r, (int)tables_nkeys(p->table), 0, out);
		s->v->db->ops->end(r);
	}
	free(columns);
	return err;
}

static int render_count(struct tables_session *s, struct tables_place *p, struct pfs_buf *out)
{
	struct tables_sql sql = {0};
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	int64_t n;
	int err;

	tables_sql_count(&sql, p);
	err = tables_first_row(s, &sql, &r);
	if (!err) {
		tables_column_at(s, r, 0, &v);
		n = p->sample >= 0 && v.num > p->sample ? p->sample : v.num;
		pfs_buf_printf(out, "%lld\n", (long long)n);
		s->v->db->ops->end(r);
	}
	tables_sql_release(&sql);
	return err == -ENOENT ? -EIO : err;
}

static void render_column(const struct tables_column *c, struct pfs_buf *out)
{
	pfs_buf_printf(out, "column: %s", c->name);
	if (*c->type)
		pfs_buf_printf(out, " %s", c->type);
	pfs_buf_printf(out, "%s%s%s%s%s%s\n", c->not_null ? ", not null" : "",
		       c->has_default ? ", has a default" : "", c->computed ? ", computed" : "",
		       c->indexed ? ", indexed" : "", c->unreadable ? ", may not be read" : "",
		       c->unwritable ? ", may not be changed" : "");
}

static void render_info(const struct tables_table *t, struct pfs_buf *out)
{
	size_t i;

	pfs_buf_printf(out, "table: %s\nkey:", t->name);
	for (i = 0; i < t->nkeys; i++)
		pfs_buf_printf(out, "%s %s", i ? "," : "", t->columns[t->keys[i]].name);
	if (!t->nkeys)
		pfs_buf_printf(out, " %s", t->fault	 ? "not known"
					   : t->numbered ? "none; rows are numbered"
							 : t->rowid);
	pfs_buf_printf(out, "\nwritable: %s%s%s\n", t->read_only ? "no (" : "yes",
		       t->read_only ? t->read_only : "", t->read_only ? ")" : "");
	if (t->no_insert || t->no_delete)
		pfs_buf_printf(out, "no privilege to:%s%s\n", t->no_insert ? " insert" : "",
			       t->no_delete ? " delete" : "");
	if (t->fault)
		pfs_buf_printf(out, "fault: %s\n", t->fault);
	for (i = 0; i < t->ncolumns; i++)
		render_column(&t->columns[i], out);
}

static int may_read(const struct tables_column *col)
{
	if (!col->unreadable)
		return 0;
	pfs_error_text_set("permission denied to read column %s", col->name);
	return -EACCES;
}

/* Columns that were asked for by name. */
static int check_columns(const struct tables_place *p)
{
	size_t i;
	int err = 0;

	for (i = 0; p->columns && i < p->ncolumns && !err; i++)
		err = may_read(&p->table->columns[p->columns[i]]);
	return err;
}

int tables_check(const struct tables_table *t)
{
	if (!t || !t->fault)
		return 0;
	pfs_error_text_set("%s: %s", t->name, t->fault);
	return -EIO;
}

int tables_render(struct tables_session *s, struct tables_place *p, struct pfs_buf *out)
{
	int err = 0;

	switch (p->kind) {
	case TABLES_SCHEMA:
		pfs_buf_str(out, p->table->schema ? p->table->schema : "");
		break;
	case TABLES_INFO:
		render_info(p->table, out);
		break;
	case TABLES_COUNT:
		err = tables_check(p->table);
		if (!err)
			err = render_count(s, p, out);
		break;
	default:
		err = tables_check(p->table);
		if (!err)
			err = check_columns(p);
		if (!err)
			err = render_row(s, p, out);
		break;
	}
	pfs_buf_str(out, "");
	return err ? err : out->failed ? -ENOMEM : 0;
}

/* ---- stat ----------------------------------------------------------------------------------- */

static int stat_cell(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out)
{
	int mtime = tables_mtime_column(s->v, p->table), err;
	size_t columns[2] = {p->column, mtime < 0 ? 0 : (size_t)mtime};
	struct pfs_rows *r = NULL;
	struct pfs_value v;

	err = tables_row(s, p, columns, mtime < 0 ? 1 : 2, &r);
	if (err)
		return err;
	tables_column_at(s, r, tables_nkeys(p->table), &v);
	tables_cell_attr(p->table, &p->table->columns[p->column], &v, out);
	if (mtime >= 0) {
		tables_column_at(s, r, tables_nkeys(p->table) + 1, &v);
		out->mtime = tables_time_of(&v);
	}
	s->v->db->ops->end(r);
	return 0;
}

static int stat_row(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out)
{
	struct pfs_rows *r = NULL;
	int err = tables_row(s, p, NULL, 0, &r);

	if (err)
		return err;
	s->v->db->ops->end(r);
	tables_dir_attr_of(tables_row_writable(p->table), out);
	return 0;
}

static int stat_place(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out)
{
	struct pfs_buf text = {0};
	int err;

	switch (p->kind) {
	case TABLES_ROOT:
	case TABLES_ROWS:
	case TABLES_SEGMENT:
	case TABLES_IMPORTS:
		tables_dir_attr(p->kind == TABLES_ROOT ? NULL : p->table, out);
		return 0;
	case TABLES_ROW:
		err = tables_check(p->table);
		return err ? err : stat_row(s, p, out);
	case TABLES_CELL:
		err = tables_check(p->table);
		return err ? err : stat_cell(s, p, out);
	case TABLES_EXPORT:
		*out = (struct pfs_view_attr){.mode = S_IFREG | 0444, .version = 1, .unsized = true};
		return 0;
	case TABLES_IMPORT:
		tables_import_attr(out);
		return 0;
	default:
		err = tables_render(s, p, &text);
		if (!err)
			tables_file_attr((struct pfs_bytes){text.data, text.len},
				  p->kind != TABLES_ROW_FILE || p->format != TABLES_JSON ||
					  !tables_row_writable(p->table),
				  out);
		pfs_buf_release(&text);
		return err;
	}
}

int tables_stat_place(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out)
{
	int err = stat_place(s, p, out);

	if (!err)
		out->derived = tables_is_derived(p);
	return err;
}

static int tb_stat(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out)
{
	struct tables_session s;
	struct tables_place p;
	int err;

	err = tables_enter(tables_of(view), false, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err) {
		err = tables_stat_place(&s, &p, out);
		if (err == -ENOENT && tables_pending_can(&p))
			err = tables_pending_stat(s.v, &p, out);
	}
	tables_place_release(&p);
	return tables_leave(&s, err);
}

/* ---- read ----------------------------------------------------------------------------------- */

static ssize_t give(struct pfs_bytes b, uint64_t off, void *buf, size_t len)
{
	if (off >= b.len)
		return 0;
	if (len > b.len - (size_t)off)
		len = b.len - (size_t)off;
	memcpy(buf, b.p + off, len);
	return (ssize_t)len;
}

/* Of `path`, with the stamp that was told before; "": none was. */
static ssize_t read_cell(struct tables_session *s, struct tables_place *p, struct pfs_bytes path,
			 char stamp[TABLES_STAMP], uint64_t off, void *buf, size_t len,
			 uint64_t *version)
{
	struct pfs_view_attr attr;
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	ssize_t n;

	n = tables_check(p->table);
	/* The first piece is often the only one. */
	if (!n && !stamp[0] && off) {
		n = tables_large_row_stamp(s, p, stamp);
		if (!n)
			n = tables_large_read(s->v, path, stamp, off, buf, len, version);
		if (n >= 0)
			return n;
		n = n == -ENOENT ? 0 : n;
	}
	if (!n)
		n = may_read(&p->table->columns[p->column]);
	if (!n)
		n = tables_row(s, p, &p->column, 1, &r);
	if (n)
		return n;
	tables_column_at(s, r, tables_nkeys(p->table), &v);
	tables_cell_attr(p->table, &p->table->columns[p->column], &v, &attr);
	*version = attr.version;
	n = give(v.bytes, off, buf, len);
	if (off + len < v.bytes.len && !p->table->numbered)
		tables_large_keep(s->v, path, stamp, v.bytes, *version);
	s->v->db->ops->end(r);
	return n;
}

static ssize_t read_place(struct tables_session *s, struct tables_place *p, struct pfs_bytes path,
			  char stamp[TABLES_STAMP], uint64_t off, void *buf, size_t len,
			  uint64_t *version)
{
	struct pfs_buf text = {0};
	struct pfs_bytes all;
	ssize_t n;

	switch (p->kind) {
	case TABLES_ROOT:
	case TABLES_ROWS:
	case TABLES_SEGMENT:
	case TABLES_IMPORTS:
	case TABLES_ROW:
		return -EISDIR;
	case TABLES_CELL:
		return read_cell(s, p, path, stamp, off, buf, len, version);
	case TABLES_EXPORT:
	case TABLES_IMPORT:
		return 0;
	default:
		n = tables_render(s, p, &text);
		all = (struct pfs_bytes){text.data, text.len};
		if (!n) {
			*version = tables_version(1, all);
			n = give(all, off, buf, len);
		}
		pfs_buf_release(&text);
		return n;
	}
}

static ssize_t tb_read(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf,
		       size_t len, uint64_t *version)
{
	struct tables *v = tables_of(view);
	char stamp[TABLES_STAMP];
	struct tables_session s;
	struct tables_place p;
	ssize_t n;
	int err;

	tables_large_stamp(v, stamp);
	n = tables_large_read(v, path, stamp, off, buf, len, version);
	if (n >= 0)
		return n;
	err = tables_enter(v, false, &s);
	if (err)
		return err;
	n = tables_path(s.catalog, path, &p);
	if (!n)
		n = read_place(&s, &p, path, stamp, off, buf, len, version);
	if (n == -ENOENT && p.kind == TABLES_CELL && tables_pending_can(&p))
		n = tables_pending_read(s.v, &p, off, buf, len, version);
	tables_place_release(&p);
	err = tables_leave(&s, n < 0 ? (int)n : 0);
	return err ? err : n;
}

static int tb_snapshot(struct pfs_view *view, struct pfs_bytes path, int *fd)
{
	struct tables_session s;
	struct tables_place p;
	int err;

	err = tables_enter(tables_of(view), false, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err)
		err = tables_check(p.table);
	if (!err)
		err = check_columns(&p);
	if (!err)
		err = p.kind == TABLES_EXPORT ? tables_export(&s, &p, fd) : -EOPNOTSUPP;
	tables_place_release(&p);
	return tables_leave(&s, err);
}

/* ---- attributes of a cell ------------------------------------------------------------------- */

/* Is the cell at `path` NULL? 1, 0, or -errno; what is no cell has none. */
static int is_null(struct pfs_view *view, struct pfs_bytes path)
{
	struct tables_session s;
	struct tables_place p;
	struct pfs_rows *r = NULL;
	struct pfs_value v;
	int err, null = 0;

	err = tables_enter(tables_of(view), false, &s);
	if (err)
		return err;
	err = tables_path(s.catalog, path, &p);
	if (!err && p.kind == TABLES_CELL && !tables_check(p.table)) {
		err = tables_row(&s, &p, &p.column, 1, &r);
		if (!err) {
			tables_column_at(&s, r, tables_nkeys(p.table), &v);
			null = v.type == PFS_VALUE_NULL;
			s.v->db->ops->end(r);
		} else if (err == -ENOENT && tables_pending_can(&p)) {
			null = tables_pending_null(s.v, &p);
			err = null < 0 ? null : 0;
		}
	}
	tables_place_release(&p);
	err = tables_leave(&s, err);
	return err ? err : null;
}

static ssize_t tb_xattr_get(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			    void *buf, size_t len)
{
	int null;

	if (!pfs_bytes_eq(name, PFS_BYTES("null")))
		return -ENODATA;
	null = is_null(view, path);
	if (null <= 0)
		return null ? null : -ENODATA;
	if (len)
		*(char *)buf = '1';
	return 1;
}

static int tb_xattr_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out)
{
	int null = is_null(view, path);

	if (null > 0)
		pfs_buf_add(out, "null", 5);
	return null < 0 ? null : out->failed ? -ENOMEM : 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int tb_start(struct pfs_view *view, struct pfs_msg *msg)
{
	struct tables *v = tables_of(view);
	struct tables_session s;
	int err;

	pfs_error_text_clear();
	err = tables_enter(v, false, &s);
	if (!err)
		err = tables_leave(&s, 0);
	if (!err && !v->poll)
		err = pfs_rows_poll_start(view, v->db, &v->poll);
	if (err)
		pfs_msg_set(msg, "%s", *pfs_error_text() ? pfs_error_text() : strerror(-err));
	return err;
}

static int tb_catch_up(struct pfs_view *view)
{
	struct tables *v = tables_of(view);

	return v->poll ? pfs_rows_poll_now(v->poll) : 0;
}

static void tb_health(struct pfs_view *view, struct pfs_health *out)
{
	struct tables *v = tables_of(view);

	v->db->ops->health(v->db, out);
}

static void tb_connections(struct pfs_view *view, struct pfs_connections *out)
{
	struct tables *v = tables_of(view);

	v->db->ops->connections(v->db, out);
}

static void tb_free(struct pfs_view *view)
{
	struct tables *v = tables_of(view);

	pfs_rows_poll_stop(v->poll);
	tables_catalog_free(v->catalog);
	tables_pending_free(v);
	tables_drawn_free(v);
	tables_large_free(v);
	v->db->ops->free(v->db);
	pthread_mutex_destroy(&v->pending_lock);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static const struct pfs_view_ops tables_ops = {
	.free = tb_free,
	.start = tb_start,
	.stat = tb_stat,
	.list = tables_list,
	.read = tb_read,
	.snapshot = tb_snapshot,
	.intake = tables_intake,
	.write = tables_write,
	.remove = tables_remove,
	.mkdir = tables_mkdir,
	.xattr_get = tb_xattr_get,
	.xattr_list = tb_xattr_list,
	.xattr_set = tables_xattr_set,
	.catch_up = tb_catch_up,
	.health = tb_health,
	.connections = tb_connections,
};

int pfs_tables_new(const char *name, const struct pfs_engine *descriptor, struct pfs_backend *host,
		   const struct pfs_option_set *store, const struct tables_engine *engine,
		   struct pfs_rows_db *db, struct pfs_backend **out, struct pfs_msg *msg)
{
	const struct pfs_option_value *newline = pfs_option_get(store, "final_newline");
	struct tables *v = calloc(1, sizeof(*v));

	if (pfs_option_get(store, "namespace")->given) {
		pfs_msg_set(msg, "namespace: kind = sql shows all tables, and they have none");
		db->ops->free(db);
		free(v);
		return -EINVAL;
	}
	if (!v) {
		db->ops->free(db);
		pfs_msg_set(msg, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	v->view.ops = &tables_ops;
	v->engine = engine;
	v->db = db;
	v->retry_timeout = pfs_option_get(host->set, "retry_timeout")->num;
	v->mtime_column = pfs_option_get(store, "mtime_column")->str;
	v->strip = !newline->str || newline->num == PFS_NEWLINE_STRIP;
	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->pending_lock, NULL);
	return pfs_adopt_new(name, descriptor, host, store, &v->view, out, msg);
}
