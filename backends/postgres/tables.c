/*
 * What PostgreSQL's catalogues say to the view of tables. Relations that the search path finds are called
 * by their name, others SCHEMA.NAME; those of the system and of persistfs are left out, and columns that
 * the user may neither read nor change. Parameters take their types from the columns beside them, so that
 * every type is parsed as psql would.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/postgres/rows.h"
#include "backends/postgres/tables.h"
#include "backends/sql/tables.h"

/* How long a schema that has changed may go unnoticed: the question reads the catalogues. */
#define VERSION_AGE NSEC_PER_SEC

#define COLUMNS                                                                                    \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"    \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
#define SHOWN                                                                                      \
	" WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'"                    \
	" AND n.nspname <> 'information_schema' AND c.relname !~ '^persistfs_'"                    \
	" AND a.attnum > 0 AND NOT a.attisdropped"

/* Its rows are also those of other tables, in which its key is not unique. */
#define HAS_HEIRS(table)                                                                           \
	"EXISTS (SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class p ON p.oid = h.inhparent"  \
	" WHERE p.oid = " table " AND p.relkind = 'r')"

static const char version_sql[] =
	"SELECT coalesce(sum(pg_catalog.hashtext(c.oid || ' ' || c.xmin::text || ' ' || n.xmin::text"
	" || ' ' || c.relname || ' ' || a.attnum || ' ' || a.xmin::text)::bigint), 0)::bigint # count(*)"
	COLUMNS SHOWN;

/*
 * The columns of a table that those of a view are, by its rule, for views that PostgreSQL updates: they have
 * one table, and each of its rows once at most, so that its key is theirs. What a query inside the view
 * selects stands in the rule too: a number that comes twice is left out.
 */
#define ORIGINS                                                                                    \
	"WITH origins AS (SELECT r.ev_class AS view, m[1]::int AS attnum,"                         \
	"  max(m[2]::bigint)::oid AS base, max(m[3]::int)::int2 AS origin"                         \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid"           \
	" CROSS JOIN LATERAL pg_catalog.regexp_matches(r.ev_action::text, ':resno (\\d+) :resname"   \
	" (?:\\\\.|\\S)+ :ressortgroupref \\d+ :resorigtbl (\\d+) :resorigcol (\\d+)"                 \
	" :resjunk false', 'g') AS m"                                                              \
	" WHERE c.relkind = 'v' AND c.oid >= 16384 AND r.ev_type = '1' AND m[1]::int <= c.relnatts"\
	"  AND pg_catalog.pg_relation_is_updatable(c.oid, false) & 4 <> 0"                         \
	" GROUP BY 1, 2 HAVING count(*) = 1),"                                                     \
	" bases AS (SELECT view, max(base) AS base FROM origins WHERE base <> 0"                   \
	" GROUP BY 1 HAVING count(DISTINCT base) = 1)"

/* One row a column; `src` is where the column is, `b` what a view is of. */
static const char columns_sql[] =
	ORIGINS
	"SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN '' ELSE n.nspname END, c.relname,"
	" CASE WHEN " HAS_HEIRS("c.oid") " THEN 'h' ELSE c.relkind::text END, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),"
	" (a.attnotnull OR coalesce(src.attnotnull, false))::int,"
	" (a.atthasdef OR coalesce(src.atthasdef OR src.attidentity <> '', false))::int,"
	" CASE WHEN src.attidentity = 'a' THEN 2 WHEN coalesce(src.attgenerated, '') <> '' OR"
	"  c.relkind = 'v' AND NOT pg_catalog.pg_column_is_updatable(c.oid, a.attnum, true)"
	"  THEN 1 ELSE 0 END,"
	" coalesce((SELECT pg_catalog.array_position(k.conkey, src.attnum)"
	"  FROM pg_catalog.pg_constraint k WHERE k.conrelid = src.attrelid AND k.contype = 'p'"
	"  AND NOT " HAS_HEIRS("src.attrelid") "), 0)::int,"
	" EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = src.attrelid"
	"  AND i.indkey[0] = src.attnum AND i.indpred IS NULL AND i.indisvalid)::int,"
	" coalesce((SELECT pg_catalog.array_length(k.conkey, 1) FROM pg_catalog.pg_constraint k"
	"  WHERE k.conrelid = coalesce(b.base, c.oid) AND k.contype = 'p'"
	"  AND NOT " HAS_HEIRS("k.conrelid") "), 0)::int,"
	" CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END, c.oid::bigint,"
	" EXISTS (WITH RECURSIVE b (oid) AS (SELECT a.atttypid UNION ALL SELECT y.typbasetype FROM b"
	"  JOIN pg_catalog.pg_type y ON y.oid = b.oid AND y.typtype = 'd')"
	"  SELECT FROM b WHERE b.oid = 'pg_catalog.bytea'::regtype),"
	" pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')::int,"
	" pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE')::int,"
	" pg_catalog.has_any_column_privilege(c.oid, 'INSERT')::int,"
	" pg_catalog.has_table_privilege(c.oid, 'DELETE')::int,"
	" pg_catalog.pg_relation_is_updatable(c.oid, true),"
	" (c.relkind = 'r' AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))::int"
	COLUMNS
	" LEFT JOIN bases b ON b.view = c.oid"
	" LEFT JOIN origins o ON o.view = c.oid AND o.attnum = a.attnum AND o.base = b.base"
	" LEFT JOIN pg_catalog.pg_attribute src ON src.attrelid = coalesce(b.base, c.oid)"
	"  AND src.attnum = CASE WHEN c.relkind = 'v' THEN o.origin ELSE a.attnum END"
	SHOWN
	" AND (pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')"
	"  OR pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE')"
	"  AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT'))"
	" ORDER BY n.nspname, c.relname, a.attnum";

/* Bits of COL_CAN: 1 << CMD_UPDATE and so on. */
#define CAN_UPDATE 4
#define CAN_INSERT 8
#define CAN_DELETE 16

enum {
	COL_SCHEMA, COL_RELATION, COL_KIND, COL_NAME, COL_TYPE, COL_NOT_NULL, COL_DEFAULT,
	COL_COMPUTED, COL_KEY, COL_INDEXED, COL_NKEYS, COL_VIEW, COL_OID, COL_BINARY, COL_SELECT,
	COL_UPDATE, COL_INSERT, COL_DELETE, COL_CAN, COL_ALL,
};

static struct pfs_value value_at(struct pfs_rows_db *db, struct pfs_rows *r, int i)
{
	struct pfs_value v;

	db->ops->column(r, i, &v);
	if (!v.bytes.p)
		v.bytes = PFS_BYTES("");
	return v;
}

static int pgt_version(struct pfs_rows_db *db, struct pfs_rows_conn *c, uint64_t *out)
{
	struct pfs_rows *r = NULL;
	int err;

	err = db->ops->query(c, version_sql, NULL, 0, &r);
	if (!err)
		err = db->ops->next(r);
	if (err > 0) {
		*out = (uint64_t)value_at(db, r, 0).num;
		err = 0;
	} else if (!err) {
		err = -EIO;
	}
	db->ops->end(r);
	return err;
}

/* ---- tables --------------------------------------------------------------------------------- */

static bool is_word(struct pfs_bytes s, const char *word)
{
	return pfs_bytes_eq(s, pfs_bytes_str(word));
}

/* Until its columns are known. */
static const char keyless_view[] = "a view whose rows have no key";

static int begin_table(struct pfs_rows_db *db, struct pfs_rows *r, struct tables_catalog *c,
		       struct tables_table **out)
{
	struct pfs_bytes kind = value_at(db, r, COL_KIND).bytes;
	int64_t can = value_at(db, r, COL_CAN).num;
	struct pfs_value view;
	struct tables_table *t;

	t = tables_catalog_add(c, value_at(db, r, COL_SCHEMA).bytes,
			       value_at(db, r, COL_RELATION).bytes);
	if (!t)
		return -ENOMEM;
	t->read_only = is_word(kind, "m")   ? "a materialized view"
		       : is_word(kind, "f") ? "a foreign table"
		       : !can		    ? "a view"
		       : is_word(kind, "v") ? keyless_view
		       : is_word(kind, "h") ? "other tables inherit from it, and its key is not unique in them"
					    : NULL;
	t->no_insert = !value_at(db, r, COL_INSERT).num || !(can & CAN_INSERT);
	t->no_delete = !value_at(db, r, COL_DELETE).num || !(can & CAN_DELETE);
	t->no_update = true; /* as far as is known */
	/* Who may read some columns may not read those of the system. */
	t->stamped = value_at(db, r, COL_ALL).num != 0;
	view = value_at(db, r, COL_VIEW);
	if (view.type != PFS_VALUE_NULL)
		t->schema = strndup(view.bytes.p, view.bytes.len);
	*out = t;
	return 0;
}

static int add_column(struct pfs_rows_db *db, struct pfs_rows *r, struct tables_table *t)
{
	static const char *const integers[] = {"smallint", "integer", "bigint"};
	struct pfs_bytes type = value_at(db, r, COL_TYPE).bytes;
	struct tables_column *col;
	size_t i;

	col = tables_add_column(t, value_at(db, r, COL_NAME).bytes, type);
	if (!col)
		return -ENOMEM;
	for (i = 0; i < PFS_ARRAY_SIZE(integers); i++)
		if (is_word(type, integers[i]))
			col->affinity = TABLES_INTEGER;
	col->binary = is_word(value_at(db, r, COL_BINARY).bytes, "t"); /* or a domain of it */
	col->not_null = value_at(db, r, COL_NOT_NULL).num != 0;
	col->has_default = value_at(db, r, COL_DEFAULT).num != 0;
	col->computed = value_at(db, r, COL_COMPUTED).num != 0;
	col->identity = value_at(db, r, COL_COMPUTED).num == 2;
	col->unreadable = !value_at(db, r, COL_SELECT).num;
	col->unwritable = !value_at(db, r, COL_UPDATE).num ||
			  !(value_at(db, r, COL_CAN).num & CAN_UPDATE);
	t->no_update &= col->unwritable;
	col->key = col->unreadable ? 0 : (unsigned)value_at(db, r, COL_KEY).num;
	col->indexed = value_at(db, r, COL_INDEXED).num != 0;
	return 0;
}

/* What would make the table, as far as columns and the key say it. */
static char *describe(const struct tables_table *t, size_t nkeys)
{
	struct pfs_buf out = {0};
	size_t i, k;

	pfs_buf_printf(&out, "CREATE TABLE %s (", t->relation);
	for (i = 0; i < t->ncolumns; i++) {
		pfs_buf_str(&out, i ? ",\n\t" : "\n\t");
		pfs_rows_ident(&out, pfs_bytes_str(t->columns[i].name));
		pfs_buf_printf(&out, " %s%s", t->columns[i].type,
			       t->columns[i].not_null ? " NOT NULL" : "");
	}
	for (k = 1; k <= nkeys; k++)
		for (i = 0; i < t->ncolumns; i++)
			if (t->columns[i].key == k) {
				pfs_buf_str(&out, k == 1 ? ",\n\tPRIMARY KEY (" : ", ");
				pfs_rows_ident(&out, pfs_bytes_str(t->columns[i].name));
			}
	pfs_buf_str(&out, nkeys ? ")\n);\n" : "\n);\n");
	if (out.failed) {
		pfs_buf_release(&out);
		return NULL;
	}
	return out.data;
}

/* All columns are there: how are rows called? */
static int end_table(struct tables_table *t, size_t nkeys)
{
	struct pfs_buf name = {0};
	size_t i, seen = 0;

	if (!t)
		return 0;
	for (i = 0; i < t->ncolumns; i++)
		seen += t->columns[i].key != 0;
	if (!t->schema)
		t->schema = describe(t, seen == nkeys ? nkeys : 0);
	if (!t->schema)
		return -ENOMEM;
	if (nkeys && seen == nkeys && nkeys <= TABLES_KEYS) {
		if (t->read_only == keyless_view)
			t->read_only = NULL;
		return 0;
	}
	pfs_buf_str(&name, "row");
	while (!name.failed &&
	       tables_column_named(t, (struct pfs_bytes){name.data, name.len}) >= 0)
		pfs_buf_str(&name, "_");
	if (name.failed) {
		pfs_buf_release(&name);
		return -ENOMEM;
	}
	t->numbered = true;
	t->rowid = name.data;
	if (!t->read_only)
		t->read_only = "it has no primary key";
	return 0;
}

static int pgt_load(struct pfs_rows_db *db, struct pfs_rows_conn *c, struct tables_catalog *out)
{
	struct tables_table *t = NULL;
	struct pfs_rows *r = NULL;
	int64_t oid = -1;
	size_t nkeys = 0;
	int err;

	err = db->ops->query(c, columns_sql, NULL, 0, &r);
	while (!err && (err = db->ops->next(r)) > 0) {
		err = 0;
		if (value_at(db, r, COL_OID).num != oid) {
			err = end_table(t, nkeys);
			if (!err)
				err = begin_table(db, r, out, &t);
			oid = value_at(db, r, COL_OID).num;
			nkeys = (size_t)value_at(db, r, COL_NKEYS).num;
		}
		if (!err)
			err = add_column(db, r, t);
	}
	db->ops->end(r);
	return err ? err : end_table(t, nkeys);
}

static const char unique_keys_sql[] =
	"SELECT i.indexrelid::bigint, a.attname FROM pg_catalog.pg_index i"
	" CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS at (n)"
	" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[at.n]"
	"  AND a.attnum > 0"
	" WHERE i.indrelid = ?1::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate"
	"  AND i.indpred IS NULL ORDER BY i.indexrelid, at.n";

/*
 * Foreign keys of other tables, also to a partition of this one, and tables that inherit, whose rows are found
 * in this one too. A view's are those of what it is made of.
 */
static const char collateral_sql[] =
	"WITH these AS (SELECT ?1::regclass::oid AS oid UNION"
	"  SELECT d.refobjid FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d"
	"  ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid"
	"   AND d.refclassid = 'pg_catalog.pg_class'::regclass WHERE r.ev_class = ?1::regclass),"
	" own AS (SELECT oid FROM these UNION"
	"  SELECT p.relid FROM these, pg_catalog.pg_partition_tree(these.oid) AS p)"
	" SELECT k.conrelid::regclass::text FROM pg_catalog.pg_constraint k"
	" WHERE k.confrelid IN (SELECT oid FROM own) AND k.conrelid NOT IN (SELECT oid FROM own)"
	"  AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')"
	" UNION ALL SELECT h.inhrelid::regclass::text FROM pg_catalog.pg_inherits h"
	" JOIN these t ON t.oid = h.inhparent JOIN pg_catalog.pg_class c ON c.oid = h.inhparent"
	" WHERE c.relkind = 'r'";

static const struct tables_engine pg_engine = {
	.version = pgt_version,
	.load = pgt_load,
	.version_age = VERSION_AGE,
	.as_text = "::text",
	.row_stamp = "t.tableoid || ' ' || t.ctid::text || ' ' || t.xmin::text",
	.size = {"octet_length(", "::text)"},
	.position = "strpos",
	.insert = "INSERT INTO ",
	.insert_params = 1600,
	.unique_keys = unique_keys_sql,
	.collateral = collateral_sql,
	.defer = "SET CONSTRAINTS ALL DEFERRED",
	.lock = " IN SHARE ROW EXCLUSIVE MODE",
	.typed = true,
};

static const struct pfs_engine descriptor = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "postgres-tables",
	.help = "the tables of a PostgreSQL database",
	.kinds = PFS_KIND_SQL,
	.layouts = PFS_LAYOUT_TABLES,
	.capabilities = PFS_CAP_LATE_CREATE | PFS_CAP_TOLD_XATTRS | PFS_CAP_PERSISTENT |
			PFS_CAP_TRIALS,
};

int pg_tables_adopt(struct pfs_backend *host, const char *name, const struct pfs_option_set *store,
		    struct pfs_backend **out, struct pfs_msg *msg)
{
	bool read_only = pfs_option_get(store, "read_only")->num != 0;
	struct pfs_rows_db *db = NULL;
	int err;

	err = pg_rows_new(host, read_only, &db);
	if (err) {
		pfs_msg_set(msg, "%s", strerror(-err));
		return err;
	}
	return pfs_tables_new(name, &descriptor, host, store, &pg_engine, db, out, msg);
}
