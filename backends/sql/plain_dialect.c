/*
 * What the view of a key-value table says to SQLite and to PostgreSQL in different words.
 *
 * SQLite gives a whole value whenever its length is wanted, so that a version is made from it. PostgreSQL
 * knows both without looking at the value: octet_length() and xmin, the transaction that wrote the row.
 */
#include <strings.h>

#include "backends/sql/plain.h"

/* alias.column, or NULL where there is none. */
static void column(struct pfs_buf *sql, const char *alias, const struct plain_column *c,
		   const char *cast)
{
	if (c->there)
		pfs_buf_printf(sql, "%s.%s%s", alias, c->quoted.data, cast);
	else
		pfs_buf_str(sql, "NULL");
}

static bool contains(struct pfs_bytes text, const char *word)
{
	size_t n = strlen(word), i;

	for (i = 0; i + n <= text.len; i++)
		if (strncasecmp(text.p + i, word, n) == 0)
			return true;
	return false;
}

/* ---- SQLite --------------------------------------------------------------------------------- */

/* By the rules for the affinity of a declared type. */
static void lite_classify(struct plain_column *c, struct pfs_bytes type)
{
	c->type = PLAIN_OTHER;
	c->time = PLAIN_ANYTIME;
	if (contains(type, "INT"))
		c->time = PLAIN_SECONDS;
	else if (contains(type, "CHAR") || contains(type, "CLOB") || contains(type, "TEXT"))
		c->type = PLAIN_TEXT;
	else if (contains(type, "BLOB"))
		c->type = PLAIN_BYTES;
	else if (type.len == 0)
		c->type = PLAIN_LOOSE;
	else if (contains(type, "REAL") || contains(type, "FLOA") || contains(type, "DOUB"))
		c->time = PLAIN_REAL;
}

/* Times that SQLite cannot read do not expire. */
static void lite_alive(struct pfs_buf *sql, const char *alias, const struct plain_column *c)
{
	const char *q = c->quoted.data;

	if (!c->there) {
		pfs_buf_str(sql, "1");
		return;
	}
	pfs_buf_printf(sql,
		       "(%s.%s IS NULL OR CASE WHEN typeof(%s.%s) = 'text'"
		       " THEN coalesce(julianday(%s.%s) > julianday('now'), 1)"
		       " ELSE %s.%s > (julianday('now') - 2440587.5) * 86400.0 END)",
		       alias, q, alias, q, alias, q, alias, q);
}

static void lite_now(struct pfs_buf *sql, const struct plain_column *c)
{
	if (c->time == PLAIN_SECONDS)
		pfs_buf_str(sql, "CAST(strftime('%s', 'now') AS INTEGER)");
	else if (c->time == PLAIN_REAL)
		pfs_buf_str(sql, "(julianday('now') - 2440587.5) * 86400.0");
	else
		pfs_buf_str(sql, "CURRENT_TIMESTAMP");
}

static void lite_row(struct pfs_buf *sql, const struct plain *v, bool whole)
{
	(void)whole;
	pfs_buf_printf(sql, "t.%s, t.%s, NULL, ", v->key.quoted.data, v->value.quoted.data);
	column(sql, "t", &v->expires, "");
	pfs_buf_str(sql, ", ");
	column(sql, "t", &v->mtime, "");
	pfs_buf_str(sql, ", ");
	lite_alive(sql, "t", &v->expires);
}

static void lite_piece(struct pfs_buf *sql, const struct plain *v)
{
	lite_row(sql, v, true);
}

static void lite_keys(struct pfs_buf *sql, const struct plain *v, const char *alias)
{
	static const char *const types[] = {
		[PLAIN_TEXT] = "= 'text'",
		[PLAIN_BYTES] = "= 'blob'",
		[PLAIN_LOOSE] = "= 'text'",
		[PLAIN_OTHER] = "<> 'blob'",
	};

	pfs_buf_printf(sql, " AND typeof(%s.%s) %s", alias, v->key.quoted.data, types[v->key.type]);
}

const struct plain_dialect plain_sqlite = {
	.engine = "sqlite",
	.table_sql = "SELECT CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual table' ELSE type END,"
		     " 'main', name, 1, 1, 1, 1, 0 FROM sqlite_master"
		     " WHERE type IN ('table', 'view')"
		     " AND (name = ?1 COLLATE NOCASE OR 'main.' || name = ?1 COLLATE NOCASE)",
	.names_sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
		     " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
		     " AND name NOT LIKE 'persistfs\\_%' ESCAPE '\\' ORDER BY name LIMIT 20",
	.columns_sql = "SELECT name, type, 1, 1, hidden >= 2, 0 FROM pragma_table_xinfo(?2, ?1)"
		       " WHERE hidden <> 1",
	.unique_sql =
		"SELECT 1 FROM pragma_index_list(?2, ?1) l WHERE l.\"unique\" AND NOT l.partial"
		" AND NOT EXISTS (SELECT 1 FROM pragma_index_info(l.name, ?1) i"
		" WHERE i.name IS NULL OR i.name NOT IN (?3, ?4))"
		" UNION ALL SELECT 1 FROM pragma_table_info(?2, ?1) c"
		" WHERE c.pk = 1 AND c.name = ?3 AND upper(c.type) = 'INTEGER' AND NOT EXISTS"
		" (SELECT 1 FROM pragma_table_info(?2, ?1) o WHERE o.pk > 1) LIMIT 1",
	.classify = lite_classify,
	.alive = lite_alive,
	.now = lite_now,
	.row = lite_row,
	.piece = lite_piece,
	.keys = lite_keys,
	.collate = " COLLATE BINARY",
	.always_collate = true,
	.pushes = true,
};

/* ---- PostgreSQL ----------------------------------------------------------------------------- */

static void pg_classify(struct plain_column *c, struct pfs_bytes type)
{
	static const struct {
		const char *name;
		enum plain_time time;
	} times[] = {
		{"timestamp with time zone", PLAIN_TIMESTAMPTZ},
		{"timestamp without time zone", PLAIN_TIMESTAMP},
		{"date", PLAIN_TIMESTAMP},
		{"bigint", PLAIN_SECONDS},
		{"integer", PLAIN_SECONDS},
		{"double precision", PLAIN_REAL},
		{"real", PLAIN_REAL},
		{"numeric", PLAIN_REAL},
	};
	static const char *const texts[] = {"text", "character varying", "character", "citext", "name"};
	size_t i;

	c->type = pfs_bytes_eq(type, PFS_BYTES("bytea")) ? PLAIN_BYTES : PLAIN_OTHER;
	for (i = 0; i < PFS_ARRAY_SIZE(texts); i++)
		if (pfs_bytes_eq(type, pfs_bytes_str(texts[i])))
			c->type = PLAIN_TEXT;
	c->time = PLAIN_TIMETEXT;
	for (i = 0; i < PFS_ARRAY_SIZE(times); i++)
		if (pfs_bytes_eq(type, pfs_bytes_str(times[i].name)))
			c->time = times[i].time;
}

/* A text as a time, whatever day of a month it says; what has not this form does not expire. */
static void pg_alive_text(struct pfs_buf *sql, const char *alias, const char *q)
{
	pfs_buf_printf(sql,
		       "CASE WHEN %s.%s ~ '^[1-9][0-9]{3}-(0[1-9]|1[0-2])-[0-3][0-9][ T]"
		       "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?"
		       "(Z|[+-][01][0-9]:[0-5][0-9])?$' THEN ",
		       alias, q);
	pfs_buf_printf(sql,
		       "make_date(substr(%s.%s, 1, 4)::int, substr(%s.%s, 6, 2)::int, 1)"
		       " + (substr(%s.%s, 9, 2)::int - 1) + substring(%s.%s from 12 for 8)::interval",
		       alias, q, alias, q, alias, q, alias, q);
	pfs_buf_printf(sql,
		       " - coalesce(substring(%s.%s from '[+-][0-9]{2}:[0-9]{2}$'), '0')::interval"
		       " > now() AT TIME ZONE 'UTC' ELSE true END",
		       alias, q);
}

static void pg_alive(struct pfs_buf *sql, const char *alias, const struct plain_column *c)
{
	const char *q = c->quoted.data;

	if (!c->there) {
		pfs_buf_str(sql, "true");
		return;
	}
	pfs_buf_printf(sql, "(%s.%s IS NULL OR ", alias, q);
	if (c->time == PLAIN_TIMESTAMPTZ)
		pfs_buf_printf(sql, "%s.%s > now()", alias, q);
	else if (c->time == PLAIN_TIMESTAMP)
		pfs_buf_printf(sql, "%s.%s > now() AT TIME ZONE 'UTC'", alias, q);
	else if (c->time == PLAIN_TIMETEXT)
		pg_alive_text(sql, alias, q);
	else
		pfs_buf_printf(sql, "%s.%s > extract(epoch FROM now())", alias, q);
	pfs_buf_str(sql, ")");
}

static void pg_now(struct pfs_buf *sql, const struct plain_column *c)
{
	if (c->time == PLAIN_TIMESTAMPTZ)
		pfs_buf_str(sql, "now()");
	else if (c->time == PLAIN_TIMESTAMP)
		pfs_buf_str(sql, "now() AT TIME ZONE 'UTC'");
	else if (c->time == PLAIN_TIMETEXT)
		pfs_buf_str(sql, "to_char(now() AT TIME ZONE 'UTC',"
				 " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')");
	else
		pfs_buf_printf(sql, "%s(extract(epoch FROM now()))",
			       c->time == PLAIN_SECONDS ? "floor" : "");
}

/* The value as psql prints it, or bytes. */
static const char *pg_cast(const struct plain *v)
{
	return v->value.type == PLAIN_BYTES ? "" : "::text";
}

static void pg_row(struct pfs_buf *sql, const struct plain *v, bool whole)
{
	bool value = whole || !v->versions;

	pfs_buf_printf(sql, "t.%s%s, ", v->key.quoted.data,
		       v->key.type == PLAIN_BYTES ? "" : "::text");
	pfs_buf_printf(sql, value ? "t.%s%s, " : "octet_length(t.%s%s), ", v->value.quoted.data,
		       pg_cast(v));
	pfs_buf_str(sql, v->versions ? "t.xmin::text, " : "NULL, ");
	column(sql, "t", &v->expires, "::text");
	pfs_buf_str(sql, ", ");
	column(sql, "t", &v->mtime, "::text");
	pfs_buf_str(sql, ", (");
	pg_alive(sql, "t", &v->expires);
	pfs_buf_str(sql, ")::int");
}

static void pg_piece(struct pfs_buf *sql, const struct plain *v)
{
	if (!v->versions) {
		pg_row(sql, v, true);
		return;
	}
	pfs_buf_printf(sql, "t.%s%s, ", v->key.quoted.data,
		       v->key.type == PLAIN_BYTES ? "" : "::text");
	pfs_buf_printf(sql,
		       v->value.type == PLAIN_BYTES
			       ? "substr(t.%s, ?1::int, ?2::int)"
			       : "substr(convert_to(t.%s::text, 'UTF8'), ?1::int, ?2::int)",
		       v->value.quoted.data);
	pfs_buf_str(sql, ", t.xmin::text, NULL, NULL, (");
	pg_alive(sql, "t", &v->expires);
	pfs_buf_str(sql, ")::int");
}

static void pg_keys(struct pfs_buf *sql, const struct plain *v, const char *alias)
{
	(void)sql;
	(void)v;
	(void)alias;
}

const struct plain_dialect plain_postgres = {
	.engine = "postgres",
	.table_sql =
		"SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'"
		" WHEN 'f' THEN 'foreign table' ELSE 'table' END, n.nspname, c.relname,"
		" has_any_column_privilege(c.oid, 'SELECT')::int,"
		" has_any_column_privilege(c.oid, 'INSERT')::int,"
		" has_any_column_privilege(c.oid, 'UPDATE')::int,"
		" has_table_privilege(c.oid, 'DELETE')::int, (c.relkind IN ('r', 'p', 'm'))::int"
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND"
		" (c.relname = ?1::text AND pg_catalog.pg_table_is_visible(c.oid)"
		" OR n.nspname || '.' || c.relname = ?1::text) ORDER BY c.relname = ?1::text DESC LIMIT 1",
	.names_sql =
		"SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.'"
		" END || c.relname FROM pg_catalog.pg_class c"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'"
		" AND n.nspname <> 'information_schema' AND c.relname !~ '^persistfs_'"
		" ORDER BY 1 LIMIT 20",
	.columns_sql =
		"SELECT a.attname, pg_catalog.format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype"
		" ELSE t.oid END, NULL), (a.attcollation = 0 OR l.collname IN ('C', 'POSIX', 'ucs_basic')"
		" OR (l.collname = 'default' AND"
		" coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') <> 'i' AND"
		" d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8', 'C.UTF8')))::int,"
		" has_column_privilege(c.oid, a.attnum, 'SELECT')::int, (a.attgenerated <> '')::int,"
		" coalesce(t.typname = 'citext' OR to_jsonb(l) ->> 'collisdeterministic' = 'false', false)::int"
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
		" JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
		" JOIN pg_catalog.pg_database d ON d.datname = current_database()"
		" LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation"
		" WHERE n.nspname = ?1 AND c.relname = ?2 AND a.attnum > 0 AND NOT a.attisdropped"
		" ORDER BY a.attnum",
	.unique_sql =
		"SELECT 1 FROM pg_catalog.pg_index i"
		" JOIN pg_catalog.pg_class c ON c.oid = i.indrelid"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE n.nspname = ?1 AND c.relname = ?2 AND i.indisunique AND i.indisvalid"
		" AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS"
		" (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid"
		" AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])"
		" AND a.attname NOT IN (?3, ?4)) LIMIT 1",
	.classify = pg_classify,
	.alive = pg_alive,
	.now = pg_now,
	.row = pg_row,
	.piece = pg_piece,
	.keys = pg_keys,
	.collate = " COLLATE \"C\"",
};
