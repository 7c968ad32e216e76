/*
 * Writing. Each call is one transaction: it reads the row first and keeps others from it, so that what it
 * decides by still holds when it writes. What has expired and still stands in the table is not there for
 * who looks; a key that is made anew takes its row.
 */
#include <stdio.h>
#include <time.h>

#include "backends/sql/plain.h"

/* ---- transactions --------------------------------------------------------------------------- */

struct change {
	int (*run)(struct plain *v, struct pfs_rows_conn *c, struct change *ch);
	struct plain_place at, to; /* resolved before run */
	struct pfs_bytes path, path2;
	struct pfs_view_write *w;
	struct pfs_view_attr *out;
	const struct pfs_view_content *only;
	int64_t expires, add;
	bool replace, dir, null;
	bool again; /* it was run before, and nobody knows whether it was done */
};

static int transaction(struct plain *v, struct pfs_rows_conn *c, void *arg)
{
	struct change *ch = arg;
	bool trial = ch->w && ch->w->trial;
	int err;

	err = v->db->ops->begin(c, true);
	if (!err)
		err = plain_resolve(v, c, ch->path, &ch->at);
	if (!err && ch->path2.p)
		err = plain_resolve(v, c, ch->path2, &ch->to);
	if (!err)
		err = ch->run(v, c, ch);
	if (!err)
		err = trial ? v->db->ops->check(c) : v->db->ops->commit(c);
	if (err || trial)
		v->db->ops->rollback(c);
	plain_place_release(&ch->at);
	plain_place_release(&ch->to);
	ch->at = ch->to = (struct plain_place){0};
	ch->again = err == -EINPROGRESS;
	return err;
}

static int apply(struct plain *v, struct change *ch, bool repeat)
{
	if (v->why_read_only.text[0]) {
		pfs_error_text_set("%s", v->why_read_only.text);
		return -EROFS;
	}
	return plain_with(v, true, repeat, transaction, ch);
}

/* Run a statement that must change one row. */
static int run_one(struct plain *v, struct pfs_rows_conn *c, enum plain_stmt stmt,
		   const struct pfs_value *params, size_t n)
{
	int rows = pfs_rows_run_one(v->db, c, v->sql[stmt].data, params, n);

	if (rows == 0) {
		pfs_error_text_set("%s: the engine did not take the row (a rule, a trigger or a policy?)",
				   v->table);
		return -EPERM;
	}
	return rows < 0 ? rows : 0;
}

/* As stat would say now. */
static int tell_attr(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p,
		     struct pfs_view_attr *out)
{
	struct plain_row row = {0};
	int ret = plain_row(v, c, PLAIN_ROW, p, &row);

	if (ret == 0) {
		pfs_error_text_set("%s: the engine keeps the row under another key", v->table);
		ret = -EINVAL;
	}
	*out = row.attr;
	plain_row_release(&row);
	return ret < 0 ? ret : 0;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool is_text(struct pfs_bytes s)
{
	size_t i, n;

	for (i = 0; i < s.len; i += n) {
		n = s.p[i] ? pfs_utf8_sequence(s.p + i, s.len - i) : 0;
		if (n == 0)
			return false;
	}
	return true;
}

/* Digits, with a minus or nothing before them, as printf writes the number that they are. */
static bool is_integer(struct pfs_bytes text, int64_t *out)
{
	char buf[24], again[24];

	if (text.len == 0 || text.len >= sizeof(buf))
		return false;
	memcpy(buf, text.p, text.len);
	buf[text.len] = '\0';
	errno = 0;
	*out = strtoll(buf, NULL, 10);
	snprintf(again, sizeof(again), "%lld", (long long)*out);
	return !errno && strcmp(buf, again) == 0;
}

/*
 * The bytes as the column, or the row that is there (NULL: none), has its value. A program that finds a
 * blob where it has always had text may take it for nothing.
 */
static int as_value(const struct plain *v, const struct plain_row *row, struct pfs_bytes bytes,
		    struct pfs_value *out)
{
	bool text = is_text(bytes), blob;
	int64_t num;

	/* Of a column that takes anything. */
	if (!v->versions && row && row->type == PFS_VALUE_INTEGER && is_integer(bytes, &num)) {
		*out = pfs_value_integer(num);
		return 0;
	}
	if (v->versions) /* the engine has one type for the column */
		blob = v->value.type == PLAIN_BYTES;
	else if (row && row->type == PFS_VALUE_BLOB)
		blob = true;
	else if (row && row->type == PFS_VALUE_TEXT && v->value.type != PLAIN_TEXT)
		blob = !text && v->value.type != PLAIN_OTHER;
	else
		blob = v->value.type == PLAIN_BYTES || (v->value.type == PLAIN_LOOSE && !text);
	if (!blob && !text) {
		pfs_error_text_set("column %s has text: bytes that are no UTF-8, or NUL, do not fit",
				   v->value.name);
		return -EILSEQ;
	}
	*out = (struct pfs_value){.type = blob ? PFS_VALUE_BLOB : PFS_VALUE_TEXT, .bytes = bytes};
	return 0;
}

/* The key of a row that is to be made. */
static int check_key(const struct plain *v, const struct plain_place *p)
{
	struct pfs_bytes key = plain_bytes(&p->key), ns = plain_bytes(&p->ns);

	if (v->key.type != PLAIN_BYTES && !is_text(key)) {
		pfs_error_text_set("column %s has text: a key is UTF-8 without NUL", v->key.name);
		return -EILSEQ;
	}
	return v->ns.there && v->ns.type != PLAIN_BYTES && !is_text(ns) ? -EILSEQ : 0;
}

/* ---- what paths allow ----------------------------------------------------------------------- */

/* The path is that of a file, or could be: not of a directory, and %VALUE in one only. */
static int check_file(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p)
{
	struct plain_place dir = *p;
	int ret;

	if (p->what != PLAIN_KEY)
		return -EISDIR;
	if (!v->enc.separator.len)
		return 0;
	if (p->own_value)
		dir.path.len -= strlen("/%VALUE");
	dir.own_value = false;
	ret = plain_is_dir(v, c, &dir);
	if (ret < 0)
		return ret;
	return p->own_value == (ret > 0) ? 0 : p->own_value ? -ENOENT : -EISDIR;
}

static struct pfs_bytes parent_of(struct pfs_bytes path)
{
	const char *slash = memrchr(path.p, '/', path.len);

	return (struct pfs_bytes){path.p, slash ? (size_t)(slash - path.p) : 0};
}

/*
 * A directory stays when the last key in it has gone, until somebody removes it: who empties one with
 * rm -r does that next. What cannot be noted is gone at once.
 */
static int directory_stays(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes path)
{
	struct pfs_bytes parent = parent_of(path);
	struct plain_place p = {0};
	int ret = 1;

	if (parent.len)
		ret = plain_resolve(v, c, parent, &p);
	if (!ret)
		ret = plain_is_dir(v, c, &p);
	plain_place_release(&p);
	if (ret == 0)
		(void)plain_dirs_add(v, parent);
	return ret < 0 ? ret : 0;
}

static int do_stays(struct plain *v, struct pfs_rows_conn *c, void *arg)
{
	return directory_stays(v, c, *(const struct pfs_bytes *)arg);
}

/* ---- write ---------------------------------------------------------------------------------- */

/* A whole rewrite, without the newline that the old value had not. */
static struct pfs_bytes stripped(const struct plain *v, const struct plain_row *old,
				 struct pfs_bytes data)
{
	bool had = old->value.len && old->value.data[old->value.len - 1] == '\n';

	if (v->strip && data.len && data.p[data.len - 1] == '\n' && !had)
		data.len--;
	return data;
}

/* data.p NULL: NULL */
static int put_row(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p,
		   const struct plain_row *old, struct pfs_bytes data)
{
	struct pfs_value params[3] = {{0}};
	size_t n;
	int err = 0;

	if (data.p)
		err = as_value(v, old, data, &params[0]);
	if (!err && !old)
		err = check_key(v, p);
	if (err)
		return err;
	n = 1 + plain_ident(v, p, &params[1]);
	if (!old)
		return run_one(v, c, PLAIN_INSERT, params, n);
	return run_one(v, c, old->alive ? PLAIN_UPDATE : PLAIN_REVIVE, params, n);
}

static int write_row(struct plain *v, struct pfs_rows_conn *c, struct change *ch,
		     const struct plain_row *old)
{
	struct pfs_view_write *w = ch->w;
	bool there = old && old->alive;
	struct pfs_buf edited = {0};
	struct pfs_bytes data = w->data;
	int err = 0;

	if (w->create && there)
		return -EEXIST;
	if (!w->create && !there)
		return -ENOENT;
	if (w->how != PFS_VIEW_WHOLE) {
		err = w->edit(w->arg, there ? plain_bytes(&old->value) : PFS_BYTES(""), &edited);
		data = plain_bytes(&edited);
	} else if (w->null) {
		data = (struct pfs_bytes){NULL, 0};
	} else if (there) {
		data = stripped(v, old, data);
	}
	if (!err)
		err = put_row(v, c, &ch->at, old, data);
	if (!err && !w->trial)
		err = tell_attr(v, c, &ch->at, &w->attr);
	pfs_buf_release(&edited);
	return err;
}

static int run_write(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	enum plain_stmt stmt = PLAIN_ROW_LOCK;
	struct plain_row old = {0};
	int ret;

	if (ch->w->how != PFS_VIEW_WHOLE || v->strip)
		stmt = PLAIN_VALUE_LOCK;
	/* A new row is guarded by its key; who may only insert cannot lock. */
	if (ch->w->create)
		stmt = v->key.type == PLAIN_OTHER ? PLAIN_ROW_LOCK : PLAIN_ROW;
	ret = check_file(v, c, &ch->at);
	if (!ret)
		ret = plain_row(v, c, stmt, &ch->at, &old);
	if (ret >= 0)
		ret = write_row(v, c, ch, ret ? &old : NULL);
	plain_row_release(&old);
	return ret;
}

/* Is there anything that could be said against a value? What takes all texts need not be asked of texts. */
static bool may_refuse(const struct plain *v, const struct pfs_view_write *w)
{
	struct pfs_health health = {0};

	v->db->ops->health(v->db, &health);
	if (health.read_only.text[0])
		return true;
	switch (v->value.type) {
	case PLAIN_TEXT:
		return w->how == PFS_VIEW_EDIT || !is_text(w->data);
	case PLAIN_OTHER:
		return true;
	default:
		return false;
	}
}

int plain_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct change ch = {.run = run_write, .path = path, .w = w};
	struct plain *v = plain_of(view);

	if (w->trial)
		return may_refuse(v, w) ? apply(v, &ch, true) : 0;
	return apply(v, &ch, w->how == PFS_VIEW_WHOLE && !w->create);
}

/* ---- remove, mkdir -------------------------------------------------------------------------- */

static int run_remove_dir(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_place *p = &ch->at;
	struct plain_row row = {0};
	bool waits = plain_dirs_has(v, p->path), own;
	int ret;

	if (p->what == PLAIN_KEY && p->own_value)
		return -ENOTDIR;
	(void)plain_dirs_remove(v, p->path);
	ret = plain_is_dir(v, c, p);
	if (ret == 0 && p->what == PLAIN_KEY)
		ret = plain_row(v, c, PLAIN_ROW, p, &row);
	own = ret > 0 && row.alive;
	if (ret > 0 && row.key.data && !row.alive)
		ret = 0;
	plain_row_release(&row);
	if (ret < 0 || ret > 0) {
		if (waits)
			(void)plain_dirs_add(v, p->path);
		return ret < 0 ? ret : own && !waits ? -ENOTDIR : -ENOTEMPTY;
	}
	return waits ? 0 : -ENOENT;
}

static int run_remove(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row row = {0};
	struct pfs_value params[2];
	int ret;

	if (ch->dir)
		return run_remove_dir(v, c, ch);
	ret = check_file(v, c, &ch->at);
	if (!ret)
		ret = plain_row(v, c, ch->only ? PLAIN_VALUE_LOCK : PLAIN_ROW, &ch->at, &row);
	if (ret == 0 || (ret > 0 && !row.alive))
		ret = ch->again ? 0 : -ENOENT;
	if (ret > 0 && ch->only && !pfs_view_is_content(ch->only, plain_bytes(&row.value)))
		ret = -ESTALE;
	if (ret > 0)
		ret = run_one(v, c, PLAIN_DELETE, params, plain_ident(v, &ch->at, params));
	plain_row_release(&row);
	return ret;
}

int plain_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how)
{
	struct change ch = {.run = run_remove, .path = path, .dir = how->dir, .only = how->only};
	struct plain *v = plain_of(view);
	struct pfs_bytes parent = path;
	int err;

	err = apply(v, &ch, true);
	if (!err)
		(void)plain_with(v, false, true, do_stays, &parent);
	return err == -EILSEQ ? -ENOENT : err;
}

static int run_mkdir(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row row = {0};
	int ret;

	if (ch->at.what == PLAIN_KEY && !v->enc.separator.len) {
		pfs_error_text_set("keys have no directories here; `separator` makes some of them");
		return -EPERM;
	}
	if (ch->at.own_value)
		return -EPERM;
	ret = plain_is_dir(v, c, &ch->at);
	if (ret == 0 && ch->at.what == PLAIN_KEY)
		ret = plain_row(v, c, PLAIN_ROW, &ch->at, &row);
	if (ret > 0 && row.key.data && !row.alive)
		ret = 0;
	plain_row_release(&row);
	if (ret == 0)
		ret = check_key(v, &ch->at);
	if (ret == 0)
		ret = plain_dirs_add(v, ch->at.path);
	return ret > 0 ? -EEXIST : ret;
}

int plain_mkdir(struct pfs_view *view, struct pfs_bytes path)
{
	struct change ch = {.run = run_mkdir, .path = path};

	return apply(plain_of(view), &ch, true);
}

/* ---- rename --------------------------------------------------------------------------------- */

/* The target is there: it takes the value, and keeps the rest; the source goes. */
static int take_value(struct plain *v, struct pfs_rows_conn *c, struct change *ch,
		      const struct plain_row *from, const struct plain_row *to)
{
	struct pfs_value params[2];
	int err;

	if (!ch->replace)
		return -EEXIST;
	err = put_row(v, c, &ch->to, to, plain_bytes(&from->value));
	if (!err)
		err = run_one(v, c, PLAIN_DELETE, params, plain_ident(v, &ch->at, params));
	return err;
}

/* The row gets another key. What stood there and had expired goes. */
static int take_key(struct plain *v, struct pfs_rows_conn *c, struct change *ch, bool expired)
{
	struct pfs_value params[4];
	size_t n = plain_ident(v, &ch->to, params);
	int err = 0;

	if (expired)
		err = run_one(v, c, PLAIN_DELETE, params, n);
	if (!err)
		err = check_key(v, &ch->to);
	n += plain_ident(v, &ch->at, params + n);
	return err ? err : run_one(v, c, PLAIN_RENAME, params, n);
}

static int run_rename(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row from = {0}, to = {0};
	int ret;

	ret = check_file(v, c, &ch->at);
	if (ret == -EISDIR)
		ret = -EXDEV;
	if (!ret)
		ret = check_file(v, c, &ch->to);
	if (!ret)
		ret = plain_row(v, c, PLAIN_VALUE_LOCK, &ch->at, &from);
	if (ret == 0 || (ret > 0 && !from.alive))
		ret = -ENOENT;
	if (ret > 0)
		ret = plain_row(v, c, PLAIN_ROW_LOCK, &ch->to, &to);
	if (ret > 0 && to.alive)
		ret = take_value(v, c, ch, &from, &to);
	else if (ret >= 0)
		ret = take_key(v, c, ch, ret > 0);
	if (!ret)
		ret = tell_attr(v, c, &ch->to, ch->out);
	plain_row_release(&from);
	plain_row_release(&to);
	return ret;
}

int plain_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		 struct pfs_view_attr *out)
{
	struct change ch = {
		.run = run_rename, .path = from, .path2 = to, .replace = replace, .out = out};
	struct plain *v = plain_of(view);
	int err = apply(v, &ch, false);

	if (!err)
		(void)plain_with(v, false, true, do_stays, &from);
	return err;
}

/* ---- expiry, NULL --------------------------------------------------------------------------- */

/* A time as the column, or the value that is there, has it; `text` holds what *out refers to. */
static void as_time(const struct plain *v, const struct plain_row *row, int64_t ns, char text[64],
		    struct pfs_value *out)
{
	enum plain_time how = v->expires.time;
	time_t s = (time_t)(ns / NSEC_PER_SEC);
	struct tm tm;
	size_t n;

	*out = (struct pfs_value){0};
	if (!ns)
		return;
	if (how == PLAIN_ANYTIME && row->expires == PFS_VALUE_INTEGER)
		how = PLAIN_SECONDS;
	if (how == PLAIN_ANYTIME && row->expires == PFS_VALUE_REAL)
		how = PLAIN_REAL;
	if (how == PLAIN_SECONDS) { /* not before its time */
		*out = pfs_value_integer(s + (ns % NSEC_PER_SEC != 0));
		return;
	}
	if (how == PLAIN_REAL) {
		n = (size_t)snprintf(text, 64, "%lld.%06lld", (long long)s,
				     (long long)(ns % NSEC_PER_SEC / 1000));
		*out = pfs_value_text((struct pfs_bytes){text, n});
		out->type = PFS_VALUE_REAL;
		return;
	}
	gmtime_r(&s, &tm);
	n = strftime(text, 64, "%Y-%m-%dT%H:%M:%S", &tm);
	if (ns % NSEC_PER_SEC / 1000)
		n += (size_t)snprintf(text + n, 64 - n, ".%06lld",
				      (long long)(ns % NSEC_PER_SEC / 1000));
	n += (size_t)snprintf(text + n, 64 - n, "+00:00");
	*out = pfs_value_text((struct pfs_bytes){text, n});
}

static int run_expire(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row row = {0};
	struct pfs_value params[3];
	char text[64];
	int ret;

	ret = check_file(v, c, &ch->at);
	if (!ret)
		ret = plain_row(v, c, PLAIN_ROW_LOCK, &ch->at, &row);
	if (ret == 0 || (ret > 0 && !row.alive))
		ret = -ENOENT;
	if (ret > 0) {
		as_time(v, &row, ch->expires, text, &params[0]);
		ret = run_one(v, c, PLAIN_EXPIRE, params, 1 + plain_ident(v, &ch->at, &params[1]));
	}
	plain_row_release(&row);
	return ret;
}

int plain_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires)
{
	struct change ch = {.run = run_expire, .path = path, .expires = expires};
	struct plain *v = plain_of(view);

	if (!v->expires.there) {
		pfs_error_text_set("%s has no column '%s' of times when keys expire", v->table,
				   v->expires.name ? v->expires.name : "");
		return -EOPNOTSUPP;
	}
	return apply(v, &ch, true);
}

static int run_null(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row row = {0};
	int ret;

	ret = check_file(v, c, &ch->at);
	if (!ret)
		ret = plain_row(v, c, PLAIN_ROW_LOCK, &ch->at, &row);
	if (ret == 0 || (ret > 0 && !row.alive))
		ret = -ENOENT;
	else if (ret > 0 && !ch->null && !row.null)
		ret = -ENODATA;
	if (ret > 0)
		ret = put_row(v, c, &ch->at, &row, ch->null ? (struct pfs_bytes){NULL, 0} : PFS_BYTES(""));
	if (!ret)
		ret = tell_attr(v, c, &ch->at, ch->out);
	plain_row_release(&row);
	return ret;
}

/* Add to a value that is a number. */
static int run_add(struct plain *v, struct pfs_rows_conn *c, struct change *ch)
{
	struct plain_row row = {0};
	char text[24];
	int64_t num;
	int ret, n;

	ret = check_file(v, c, &ch->at);
	if (!ret)
		ret = plain_row(v, c, PLAIN_VALUE_LOCK, &ch->at, &row);
	if (ret == 0 || (ret > 0 && !row.alive))
		ret = -ENOENT;
	if (ret > 0 && !is_integer(plain_bytes(&row.value), &num)) {
		pfs_error_text_set("the value is no whole number that can be added to");
		ret = -EINVAL;
	}
	if (ret > 0 && __builtin_add_overflow(num, ch->add, &num))
		ret = -ERANGE;
	if (ret > 0) {
		n = snprintf(text, sizeof(text), "%lld", (long long)num);
		ret = put_row(v, c, &ch->at, &row, (struct pfs_bytes){text, (size_t)n});
	}
	if (!ret)
		ret = tell_attr(v, c, &ch->at, ch->out);
	plain_row_release(&row);
	return ret;
}

int plain_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		    struct pfs_bytes value, struct pfs_view_attr *out)
{
	struct change ch = {.run = run_null, .path = path, .out = out, .null = value.p != NULL};

	if (pfs_bytes_eq(name, PFS_BYTES("incr")) && value.p) {
		ch.run = run_add;
		if (is_integer(value, &ch.add))
			return apply(plain_of(view), &ch, false);
		pfs_error_text_set("user.persistfs.incr is a whole number that is added");
		return -EINVAL;
	}
	if (!pfs_bytes_eq(name, PFS_BYTES("null")))
		return -EOPNOTSUPP;
	if (value.p && pfs_bytes_eq(value, PFS_BYTES("0"))) {
		ch.null = false;
	} else if (value.p && !pfs_bytes_eq(value, PFS_BYTES("1"))) {
		pfs_error_text_set("user.persistfs.null is 1 or 0");
		return -EINVAL;
	}
	return apply(plain_of(view), &ch, true);
}
