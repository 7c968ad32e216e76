/*
 * What SQLite's schema says to the view of tables. Tables of SQLite's own and of persistfs are left out,
 * and those in which virtual tables keep their data.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables.h"
#include "backends/sqlite/rows.h"
#include "backends/sqlite/tables.h"

/* A row of a statement about the schema. */
typedef int (*row_fn)(void *arg, struct pfs_rows_db *db, struct pfs_rows *r);

/* Run a statement with at most one parameter, a name. */
static int each_row(struct pfs_rows_db *db, struct pfs_rows_conn *c, const char *sql,
		    const char *name, row_fn fn, void *arg)
{
	struct pfs_value v = pfs_value_text(pfs_bytes_str(name ? name : ""));
	struct pfs_rows *r = NULL;
	int err;

	err = db->ops->query(c, sql, &v, name != NULL, &r);
	while (!err) {
		err = db->ops->next(r);
		if (err <= 0)
			break;
		err = fn(arg, db, r);
	}
	db->ops->end(r);
	return err;
}

static struct pfs_value value_at(struct pfs_rows_db *db, struct pfs_rows *r, int i)
{
	struct pfs_value v;

	db->ops->column(r, i, &v);
	if (!v.bytes.p)
		v.bytes = PFS_BYTES("");
	return v;
}

static int version_row(void *arg, struct pfs_rows_db *db, struct pfs_rows *r)
{
	*(uint64_t *)arg = (uint64_t)value_at(db, r, 0).num;
	return 0;
}

static int lite_version(struct pfs_rows_db *db, struct pfs_rows_conn *c, uint64_t *out)
{
	return each_row(db, c, "PRAGMA main.schema_version", NULL, version_row, out);
}

/* ---- tables --------------------------------------------------------------------------------- */

static bool starts_with(struct pfs_bytes s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.len >= n && !strncasecmp(s.p, prefix, n);
}

/* What is told of a table before its columns are known. */
struct kind {
	bool is_view, is_virtual, without_rowid;
};

struct found {
	struct tables_catalog *catalog;
	struct kind *kinds; /* owned; as catalog->tables */
};

static int table_row(void *arg, struct pfs_rows_db *db, struct pfs_rows *r)
{
	struct found *f = arg;
	struct pfs_bytes name = value_at(db, r, 0).bytes, type = value_at(db, r, 1).bytes;
	struct kind *more;

	if (starts_with(name, "sqlite_") || starts_with(name, "persistfs_") ||
	    pfs_bytes_eq(type, PFS_BYTES("shadow")))
		return 0;
	more = realloc(f->kinds, (f->catalog->ntables + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	f->kinds = more;
	more[f->catalog->ntables] = (struct kind){
		.is_view = pfs_bytes_eq(type, PFS_BYTES("view")),
		.is_virtual = pfs_bytes_eq(type, PFS_BYTES("virtual")),
		.without_rowid = value_at(db, r, 2).num != 0,
	};
	return tables_catalog_add(f->catalog, PFS_BYTES(""), name) ? 0 : -ENOMEM;
}

/* ---- columns -------------------------------------------------------------------------------- */

static bool has_word(struct pfs_bytes type, const char *word)
{
	size_t n = strlen(word), i;

	for (i = 0; i + n <= type.len; i++)
		if (!strncasecmp(type.p + i, word, n))
			return true;
	return false;
}

/* As SQLite determines it: see "Determination Of Column Affinity" in its documentation. */
static enum tables_affinity affinity_of(struct pfs_bytes type)
{
	if (has_word(type, "INT"))
		return TABLES_INTEGER;
	if (has_word(type, "CHAR") || has_word(type, "CLOB") || has_word(type, "TEXT"))
		return TABLES_TEXT;
	if (!type.len || has_word(type, "BLOB"))
		return TABLES_ANY;
	if (has_word(type, "REAL") || has_word(type, "FLOA") || has_word(type, "DOUB"))
		return TABLES_REAL;
	return TABLES_NUMERIC;
}

/* name, type, not null, default, key, hidden */
static int column_row(void *arg, struct pfs_rows_db *db, struct pfs_rows *r)
{
	struct tables_table *t = arg;
	struct pfs_bytes type = value_at(db, r, 1).bytes;
	int64_t hidden = value_at(db, r, 5).num;
	struct tables_column *col;

	if (hidden == 1) /* of a virtual table: an argument, no data */
		return 0;
	col = tables_add_column(t, value_at(db, r, 0).bytes, type);
	if (!col)
		return -ENOMEM;
	col->affinity = affinity_of(type);
	col->binary = has_word(type, "BLOB");
	col->not_null = value_at(db, r, 2).num != 0;
	col->has_default = value_at(db, r, 3).type != PFS_VALUE_NULL;
	col->key = (unsigned)value_at(db, r, 4).num;
	col->computed = hidden > 1;
	return 0;
}

static int indexed_row(void *arg, struct pfs_rows_db *db, struct pfs_rows *r)
{
	struct tables_table *t = arg;
	int at = tables_column_named(t, value_at(db, r, 0).bytes);

	if (at >= 0)
		t->columns[at].indexed = true;
	return 0;
}

static int schema_row(void *arg, struct pfs_rows_db *db, struct pfs_rows *r)
{
	struct pfs_bytes text = value_at(db, r, 0).bytes;
	struct pfs_buf *out = arg;

	pfs_buf_add(out, text.p, text.len);
	pfs_buf_str(out, ";\n");
	return out->failed ? -ENOMEM : 0;
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* A name by which the row id can be had: one that no column has taken. */
static int find_rowid(struct tables_table *t)
{
	static const char *const names[] = {"rowid", "_rowid_", "oid"};
	size_t i, k;

	for (i = 0; i < PFS_ARRAY_SIZE(names); i++) {
		for (k = 0; k < t->ncolumns && strcasecmp(t->columns[k].name, names[i]); k++)
			;
		if (k < t->ncolumns)
			continue;
		t->rowid = strdup(names[i]);
		return t->rowid ? 0 : -ENOMEM;
	}
	return 0;
}

/* A name for the number of a row, which no column has. */
static int name_number(struct tables_table *t)
{
	struct pfs_buf name = {0};

	pfs_buf_str(&name, "row");
	while (tables_column_named(t, (struct pfs_bytes){name.data, name.len}) >= 0 && !name.failed)
		pfs_buf_str(&name, "_");
	if (name.failed) {
		pfs_buf_release(&name);
		return -ENOMEM;
	}
	t->numbered = true;
	t->rowid = name.data;
	return 0;
}

static bool is_integer_key(const struct tables_column *col)
{
	return !strcasecmp(col->type, "INTEGER");
}

/*
 * How rows are called. In tables with row ids SQLite lets the parts of a key be NULL that are not said to
 * be otherwise, but for the one INTEGER that is the row id.
 */
static int find_key(struct tables_table *t, const struct kind *kind)
{
	unsigned n = 0;
	bool nullable = false;
	size_t i;
	int err;

	for (i = 0; i < t->ncolumns; i++) {
		if (!t->columns[i].key)
			continue;
		n++;
		nullable |= !t->columns[i].not_null;
		/* The leading column of a key has its index. */
		t->columns[i].indexed |= t->columns[i].key == 1;
	}
	if (kind->is_view)
		return name_number(t);
	if (kind->without_rowid && n && n <= TABLES_KEYS)
		return 0;
	err = kind->without_rowid ? 0 : find_rowid(t);
	if (err)
		return err;
	if ((!n || n > TABLES_KEYS) && !t->rowid)
		return name_number(t);
	if (n > TABLES_KEYS) /* by row id, then */
		for (i = 0; i < t->ncolumns; i++)
			t->columns[i].key = 0;
	for (i = 0; n == 1 && i < t->ncolumns; i++)
		if (t->columns[i].key && is_integer_key(&t->columns[i])) {
			nullable = false;
			t->columns[i].has_default = true;
		}
	t->nullable = n && n <= TABLES_KEYS && nullable && t->rowid;
	return 0;
}

static int load_columns(struct pfs_rows_db *db, struct pfs_rows_conn *c, struct tables_table *t,
			const struct kind *kind)
{
	struct pfs_buf schema = {0};
	int err;

	err = each_row(db, c,
		       "SELECT name, type, \"notnull\", dflt_value, pk, hidden"
		       " FROM pragma_table_xinfo(?1, 'main')",
		       t->name, column_row, t);
	if (!err)
		err = each_row(db, c,
			       "SELECT x.name FROM pragma_index_list(?1, 'main') AS i,"
			       " pragma_index_info(i.name, 'main') AS x"
			       " WHERE x.seqno = 0 AND NOT i.partial",
			       t->name, indexed_row, t);
	if (!err)
		err = each_row(db, c,
			       "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ?1 AND"
			       " sql IS NOT NULL ORDER BY type <> 'table' AND type <> 'view', rowid",
			       t->name, schema_row, &schema);
	if (!err)
		err = find_key(t, kind);
	t->schema = schema.data;
	return err;
}

static int load_table(struct pfs_rows_db *db, struct pfs_rows_conn *c, struct tables_table *t,
		      const struct kind *kind)
{
	int err;

	if (kind->is_view)
		t->read_only = "a view";
	else if (kind->is_virtual)
		t->read_only = "a virtual table";
	pfs_error_text_clear();
	err = load_columns(db, c, t, kind);
	/* One that cannot be opened (a module that is not there, a view of what is gone) stands alone. */
	if (err == -ENOTSUP || (!err && !t->ncolumns)) {
		t->fault = strdup(err && *pfs_error_text() ? pfs_error_text()
							   : "SQLite does not say its columns");
		t->read_only = "it cannot be read";
		err = t->fault ? 0 : -ENOMEM;
	} else if (!err && t->numbered && !t->read_only) {
		t->read_only = "its rows have no key";
	}
	return err;
}

static int lite_load(struct pfs_rows_db *db, struct pfs_rows_conn *c, struct tables_catalog *out)
{
	struct found found = {.catalog = out};
	struct pfs_health health = {0};
	size_t i;
	int err;

	err = each_row(db, c,
		       "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'", NULL,
		       table_row, &found);
	for (i = 0; found.kinds && i < out->ntables && !err; i++)
		err = load_table(db, c, &out->tables[i], &found.kinds[i]);
	db->ops->health(db, &health);
	for (i = 0; i < out->ntables && health.read_only.text[0]; i++)
		if (!out->tables[i].read_only)
			out->tables[i].read_only = "the file cannot be written";
	free(found.kinds);
	return err;
}

static const struct tables_engine lite_engine = {
	.version = lite_version,
	.load = lite_load,
	.as_text = "",
	.size = {"length(CAST(", " AS BLOB))"},
	.position = "instr",
	/* Whatever the constraints of the table say of conflicts: a row that is not put in is an error. */
	.insert = "INSERT OR ABORT INTO ",
	.unique_keys = "SELECT i.seq, x.name FROM pragma_index_list(?1, 'main') AS i,"
		       " pragma_index_info(i.name, 'main') AS x WHERE i.\"unique\" AND NOT i.partial"
		       " ORDER BY i.seq, x.seqno",
	.collateral = "SELECT m.name FROM main.sqlite_schema AS m, pragma_foreign_key_list(m.name, 'main')"
		      " AS f WHERE m.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE AND"
		      " f.on_delete NOT IN ('NO ACTION', 'RESTRICT') AND m.name <> ?1 COLLATE NOCASE",
	.defer = "PRAGMA defer_foreign_keys = ON",
};

static const struct pfs_engine descriptor = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "sqlite-tables",
	.help = "the tables of an SQLite database file",
	.kinds = PFS_KIND_SQL,
	.layouts = PFS_LAYOUT_TABLES,
	.capabilities = PFS_CAP_LATE_CREATE | PFS_CAP_TOLD_XATTRS | PFS_CAP_PERSISTENT |
			PFS_CAP_PUSH | PFS_CAP_TRIALS,
};

int sqlite_tables_adopt(struct pfs_backend *host, const char *name,
			const struct pfs_option_set *store, struct pfs_backend **out,
			struct pfs_msg *msg)
{
	bool read_only = pfs_option_get(store, "read_only")->num != 0;
	struct pfs_rows_db *db = NULL;
	int err;

	err = sqlite_rows_new(host, read_only, &db);
	if (err) {
		pfs_msg_set(msg, "%s", strerror(-err));
		return err;
	}
	return pfs_tables_new(name, &descriptor, host, store, &lite_engine, db, out, msg);
}
