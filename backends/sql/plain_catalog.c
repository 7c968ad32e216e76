/*
 * What the engine's catalogue says of the table, and the statements that follow from it. All names in
 * statements are quoted; everything else that comes from outside is a parameter.
 */
#include <stdio.h>

#include "backends/sql/plain.h"

/* ---- asking --------------------------------------------------------------------------------- */

static int ask(struct plain *v, struct pfs_rows_conn *c, const char *sql,
	       const struct pfs_value *params, size_t n, struct pfs_rows **out)
{
	int err = v->db->ops->query(c, sql, params, n, out);

	if (err)
		return err;
	err = v->db->ops->next(*out);
	if (err <= 0) {
		v->db->ops->end(*out);
		*out = NULL;
	}
	return err;
}

static struct pfs_value text_at(struct plain *v, struct pfs_rows *r, int i)
{
	struct pfs_value value;

	v->db->ops->column(r, i, &value);
	return value;
}

static bool true_at(struct plain *v, struct pfs_rows *r, int i)
{
	return text_at(v, r, i).num != 0;
}

static char *copy_at(struct plain *v, struct pfs_rows *r, int i)
{
	struct pfs_value value = text_at(v, r, i);

	return strndup(value.bytes.p ? value.bytes.p : "", value.bytes.len);
}

/* "a, b, c" of the first column. */
static void names_of(struct plain *v, struct pfs_rows_conn *c, const char *sql,
		     const struct pfs_value *params, size_t n, struct pfs_buf *out)
{
	struct pfs_rows *r = NULL;
	struct pfs_value value;

	if (v->db->ops->query(c, sql, params, n, &r))
		return;
	while (v->db->ops->next(r) > 0 && out->len < 300) {
		value = text_at(v, r, 0);
		pfs_buf_printf(out, "%s%.*s", out->len ? ", " : "", (int)value.bytes.len,
			       value.bytes.p);
	}
	v->db->ops->end(r);
}

/* ---- the table ------------------------------------------------------------------------------ */

static void take_table(struct plain *v, struct pfs_rows *r, struct pfs_bytes kind)
{
	free(v->schema);
	free(v->table);
	v->schema = copy_at(v, r, 1);
	v->table = copy_at(v, r, 2);
	v->may_insert = true_at(v, r, 4);
	v->may_update = true_at(v, r, 5);
	v->may_delete = true_at(v, r, 6);
	v->versions = true_at(v, r, 7);
	pfs_msg_clear(&v->why_read_only);
	if (!pfs_bytes_eq(kind, PFS_BYTES("table")))
		pfs_msg_set(&v->why_read_only, "%s is a %.*s", v->table, (int)kind.len, kind.p);
	else if (!v->may_insert && !v->may_update && !v->may_delete)
		pfs_msg_set(&v->why_read_only, "this user has no privilege to change %s", v->table);
}

/* One of those that the options say. 1, 0, -errno. */
static int try_table(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes name,
		     struct pfs_msg *msg)
{
	const struct pfs_value param = pfs_value_text(name);
	struct pfs_rows *r = NULL;
	int err;

	err = ask(v, c, v->dialect->table_sql, &param, 1, &r);
	if (err <= 0)
		return err;
	take_table(v, r, text_at(v, r, 0).bytes);
	if (!v->schema || !v->table) {
		err = -ENOMEM;
	} else if (!true_at(v, r, 3)) {
		pfs_msg_set(msg, "this user may not read %s; GRANT SELECT ON it", v->table);
		err = -EACCES;
	}
	v->db->ops->end(r);
	return err;
}

static int find_table(struct plain *v, struct pfs_rows_conn *c, struct pfs_msg *msg)
{
	struct pfs_buf names = {0};
	const char *p = v->tables;
	unsigned found = 0;
	int ret = 0;

	while (*p && ret >= 0) {
		size_t n = v->tables_preset ? strcspn(p, "|") : strlen(p);

		ret = try_table(v, c, (struct pfs_bytes){p, n}, msg);
		found += ret > 0;
		p += n + (p[n] == '|');
	}
	if (ret < 0)
		return ret;
	if (found == 1)
		return 0;
	names_of(v, c, v->dialect->names_sql, NULL, 0, &names);
	if (found > 1)
		pfs_msg_set(msg, "there are several tables of this preset (%s): set `table`", v->tables);
	else
		pfs_msg_set(msg, "there is no table '%s'; there are: %s", v->tables,
			    names.len ? names.data : "none");
	pfs_buf_release(&names);
	return -ENOENT;
}

/* ---- columns -------------------------------------------------------------------------------- */

static struct plain_column *wanted(struct plain *v, struct pfs_bytes name)
{
	struct plain_column *all[] = {&v->key, &v->value, &v->ns, &v->expires, &v->mtime};
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(all); i++)
		if (all[i]->name && pfs_bytes_eq(pfs_bytes_str(all[i]->name), name))
			return all[i];
	return NULL;
}

static int take_columns(struct plain *v, struct pfs_rows_conn *c, const struct pfs_value params[2])
{
	struct plain_column *column;
	struct pfs_rows *r = NULL;
	int err;

	err = v->db->ops->query(c, v->dialect->columns_sql, params, 2, &r);
	if (err)
		return err;
	while ((err = v->db->ops->next(r)) > 0) {
		column = wanted(v, text_at(v, r, 0).bytes);
		if (!column)
			continue;
		column->there = true;
		column->bytewise = true_at(v, r, 2);
		column->readable = true_at(v, r, 3);
		column->computed = true_at(v, r, 4);
		column->loose = true_at(v, r, 5);
		v->dialect->classify(column, text_at(v, r, 1).bytes);
	}
	v->db->ops->end(r);
	return err;
}

static int check_column(struct plain *v, struct pfs_rows_conn *c, struct plain_column *column,
			bool needed, const struct pfs_value params[2], struct pfs_msg *msg)
{
	struct pfs_buf names = {0};

	if (!column->name)
		return 0;
	column->quoted.len = 0;
	pfs_rows_ident(&column->quoted, pfs_bytes_str(column->name));
	if (column->quoted.failed)
		return -ENOMEM;
	if (column->there && column->readable)
		return 0;
	if (column->there) {
		pfs_msg_set(msg, "this user may not read column '%s' of %s", column->name, v->table);
		return -EACCES;
	}
	if (column->preset && !needed)
		return 0;
	names_of(v, c, v->dialect->columns_sql, params, 2, &names);
	pfs_msg_set(msg, "%s has no column '%s'; it has: %s", v->table, column->name,
		    names.len ? names.data : "none");
	pfs_buf_release(&names);
	return -ENOENT;
}

static int find_columns(struct plain *v, struct pfs_rows_conn *c, struct pfs_msg *msg)
{
	struct plain_column *all[] = {&v->key, &v->value, &v->ns, &v->expires, &v->mtime};
	const struct pfs_value params[2] = {pfs_value_text(pfs_bytes_str(v->schema)),
					    pfs_value_text(pfs_bytes_str(v->table))};
	size_t i;
	int err;

	for (i = 0; i < PFS_ARRAY_SIZE(all); i++)
		all[i]->there = false;
	err = take_columns(v, c, params);
	for (i = 0; i < PFS_ARRAY_SIZE(all) && !err; i++)
		err = check_column(v, c, all[i], i < 3, params, msg);
	return err;
}

/* ---- what can be done with it --------------------------------------------------------------- */

static int find_unique(struct plain *v, struct pfs_rows_conn *c)
{
	const char *ns = v->ns.there ? v->ns.name : v->key.name;
	const struct pfs_value params[] = {pfs_value_text(pfs_bytes_str(v->schema)),
					   pfs_value_text(pfs_bytes_str(v->table)),
					   pfs_value_text(pfs_bytes_str(v->key.name)),
					   pfs_value_text(pfs_bytes_str(ns))};
	struct pfs_rows *r = NULL;
	int ret;

	if (v->why_read_only.text[0])
		return 0;
	ret = ask(v, c, v->dialect->unique_sql, params, PFS_ARRAY_SIZE(params), &r);
	v->db->ops->end(r);
	if (ret == 0)
		pfs_msg_set(&v->why_read_only,
			    "%s has no unique key on (%s%s%s) alone, so that two rows can have one "
			    "name; a UNIQUE index on that makes it writable",
			    v->table, v->ns.there ? v->ns.name : "", v->ns.there ? ", " : "",
			    v->key.name);
	else if (ret > 0 && (v->value.computed || v->key.computed))
		pfs_msg_set(&v->why_read_only, "a column of %s is computed by the engine", v->table);
	return ret < 0 ? ret : 0;
}

/* Only texts and bytes have beginnings, and one order with names. */
static bool has_order(const struct plain_column *c)
{
	return c->type != PLAIN_OTHER && !c->loose;
}

static int check_order(struct plain *v, struct pfs_msg *msg)
{
	if (v->ns.there && !v->ns_value && !has_order(&v->ns)) {
		pfs_msg_set(msg,
			    "column '%s' of %s is neither text nor bytes, or takes different texts for "
			    "equal: of such a namespace_column one value can be shown (namespace)",
			    v->ns.name, v->table);
		return -EINVAL;
	}
	if (has_order(&v->key))
		return 0;
	if (!v->enc.separator.len && !v->prefix.len)
		return 0;
	pfs_msg_set(msg,
		    "column '%s' of %s is neither text nor bytes, or takes different texts for equal: prefix, separator and "
		    "namespace_separator are not for it",
		    v->key.name, v->table);
	return -EINVAL;
}

/* ---- statements ----------------------------------------------------------------------------- */

static struct pfs_buf *begin(struct plain *v, enum plain_stmt stmt, const char *text)
{
	v->sql[stmt].len = 0;
	pfs_buf_str(&v->sql[stmt], text);
	return &v->sql[stmt];
}

/* WHERE this row, from parameter n on. */
static void ident(struct pfs_buf *sql, const struct plain *v, int n)
{
	pfs_buf_printf(sql, " WHERE %s = ?%d", v->key.quoted.data, n);
	/* One column can take for equal what is not. */
	if (v->dialect->always_collate && v->key.type != PLAIN_OTHER)
		pfs_buf_printf(sql, " AND %s%s = ?%d", v->key.quoted.data, v->dialect->collate, n);
	if (v->ns.there)
		pfs_buf_printf(sql, " AND %s = ?%d", v->ns.quoted.data, n + 1);
	if (v->ns.there && v->dialect->always_collate && v->ns.type != PLAIN_OTHER)
		pfs_buf_printf(sql, " AND %s%s = ?%d", v->ns.quoted.data, v->dialect->collate, n + 1);
}

void plain_key(struct pfs_buf *sql, const struct plain *v, const char *alias)
{
	bool named = v->dialect->always_collate
			     ? v->key.type != PLAIN_OTHER
			     : !v->key.bytewise && v->key.type == PLAIN_TEXT && v->enc.separator.len;

	pfs_buf_printf(sql, "%s.%s%s", alias, v->key.quoted.data, named ? v->dialect->collate : "");
}

void plain_space(struct pfs_buf *sql, const struct plain *v, const char *alias)
{
	bool named = v->dialect->always_collate && v->ns.type != PLAIN_OTHER;

	pfs_buf_printf(sql, "%s.%s%s", alias, v->ns.quoted.data, named ? v->dialect->collate : "");
}

bool plain_ordered(const struct plain *v)
{
	if (v->key.type == PLAIN_OTHER)
		return false;
	return v->dialect->always_collate || v->key.bytewise || v->enc.separator.len;
}

/* Rows that are there for who looks: not expired, and of the right type. */
void plain_shown(struct pfs_buf *sql, const struct plain *v, const char *alias)
{
	pfs_buf_str(sql, " AND ");
	v->dialect->alive(sql, alias, &v->expires);
	v->dialect->keys(sql, v, alias);
}

static void select_row(struct plain *v, enum plain_stmt stmt, bool whole, const char *lock)
{
	struct pfs_buf *sql = begin(v, stmt, "SELECT ");

	v->dialect->row(sql, v, whole);
	pfs_buf_printf(sql, " FROM %s t", v->from.data);
	ident(sql, v, 1);
	pfs_buf_str(sql, lock);
}

static void select_others(struct plain *v)
{
	struct pfs_buf *sql = begin(v, PLAIN_PIECE, "SELECT ");

	v->dialect->piece(sql, v);
	pfs_buf_printf(sql, " FROM %s t", v->from.data);
	ident(sql, v, v->versions ? 3 : 1);

	sql = begin(v, PLAIN_BELOW, "SELECT 1 FROM ");
	pfs_buf_printf(sql, "%s t WHERE ", v->from.data);
	plain_key(sql, v, "t");
	pfs_buf_str(sql, " >= ?1 AND ");
	plain_key(sql, v, "t");
	pfs_buf_str(sql, " < ?2");
	if (v->ns.there) {
		pfs_buf_str(sql, " AND ");
		plain_space(sql, v, "t");
		pfs_buf_str(sql, " = ?3");
	}
	plain_shown(sql, v, "t");
	pfs_buf_str(sql, " LIMIT 1");
	if (!v->ns.there)
		return;
	sql = begin(v, PLAIN_NS_HAS, "SELECT 1 FROM ");
	pfs_buf_printf(sql, "%s t WHERE ", v->from.data);
	plain_space(sql, v, "t");
	pfs_buf_str(sql, " = ?1");
	plain_shown(sql, v, "t");
	pfs_buf_str(sql, " LIMIT 1");
	sql = begin(v, PLAIN_NS_NEXT, "SELECT ");
	pfs_buf_printf(sql, "t.%s FROM %s t WHERE ", v->ns.quoted.data, v->from.data);
	plain_space(sql, v, "t");
	pfs_buf_str(sql, " > ?1");
	plain_shown(sql, v, "t");
	pfs_buf_str(sql, " ORDER BY ");
	plain_space(sql, v, "t");
	pfs_buf_str(sql, " LIMIT 1");
}

static void update(struct plain *v, enum plain_stmt stmt, const char *more)
{
	struct pfs_buf *sql = begin(v, stmt, "UPDATE ");

	pfs_buf_printf(sql, "%s SET %s = ?1", v->from.data, v->value.quoted.data);
	if (v->mtime.there && !v->mtime.computed) {
		pfs_buf_printf(sql, ", %s = ", v->mtime.quoted.data);
		v->dialect->now(sql, &v->mtime);
	}
	if (v->expires.there && more)
		pfs_buf_printf(sql, ", %s = NULL", v->expires.quoted.data);
	ident(sql, v, 2);
}

static void change_others(struct plain *v)
{
	struct pfs_buf *sql = begin(v, PLAIN_INSERT, "INSERT INTO ");

	pfs_buf_printf(sql, "%s (%s, %s%s%s", v->from.data, v->value.quoted.data, v->key.quoted.data,
		       v->ns.there ? ", " : "", v->ns.there ? v->ns.quoted.data : "");
	if (v->mtime.there && !v->mtime.computed)
		pfs_buf_printf(sql, ", %s", v->mtime.quoted.data);
	pfs_buf_printf(sql, ") VALUES (?1, ?2%s", v->ns.there ? ", ?3" : "");
	if (v->mtime.there && !v->mtime.computed) {
		pfs_buf_str(sql, ", ");
		v->dialect->now(sql, &v->mtime);
	}
	pfs_buf_str(sql, ")");

	sql = begin(v, PLAIN_DELETE, "DELETE FROM ");
	pfs_buf_str(sql, v->from.data);
	ident(sql, v, 1);

	sql = begin(v, PLAIN_RENAME, "UPDATE ");
	pfs_buf_printf(sql, "%s SET %s = ?1", v->from.data, v->key.quoted.data);
	if (v->ns.there)
		pfs_buf_printf(sql, ", %s = ?2", v->ns.quoted.data);
	ident(sql, v, v->ns.there ? 3 : 2);

	sql = begin(v, PLAIN_EXPIRE, "UPDATE ");
	if (v->expires.there)
		pfs_buf_printf(sql, "%s SET %s = ?1", v->from.data, v->expires.quoted.data);
	ident(sql, v, 2);
}

static int make_statements(struct plain *v)
{
	int i;

	v->from.len = 0;
	pfs_rows_ident(&v->from, pfs_bytes_str(v->schema));
	pfs_buf_str(&v->from, ".");
	pfs_rows_ident(&v->from, pfs_bytes_str(v->table));
	if (v->from.failed)
		return -ENOMEM;
	select_row(v, PLAIN_ROW, false, "");
	select_row(v, PLAIN_ROW_LOCK, false, v->db->lock);
	select_row(v, PLAIN_VALUE_LOCK, true, v->db->lock);
	select_others(v);
	update(v, PLAIN_UPDATE, NULL);
	update(v, PLAIN_REVIVE, "expires");
	change_others(v);
	for (i = 0; i < PLAIN_STMT_COUNT; i++)
		if (v->sql[i].failed)
			return -ENOMEM;
	return 0;
}

int plain_look(struct plain *v, struct pfs_rows_conn *c, struct pfs_msg *msg)
{
	int err;

	err = find_table(v, c, msg);
	if (!err)
		err = find_columns(v, c, msg);
	if (!err)
		err = check_order(v, msg);
	if (!err)
		err = find_unique(v, c);
	if (v->why_read_only.text[0])
		v->may_insert = v->may_update = v->may_delete = false;
	if (!err)
		err = make_statements(v);
	return err;
}
