/*
 * The view of a table of keys and values: look-up, reading, attributes, and how it begins and ends. See
 * plain.h.
 */
#include <stdio.h>

#include "backends/sql/plain.h"

#define WATCH_PERIOD (NSEC_PER_SEC / 50)

/* ---- connections ---------------------------------------------------------------------------- */

int plain_with(struct plain *v, bool write, bool repeat, plain_fn fn, void *arg)
{
	int64_t deadline = pfs_monotonic_ns() + v->retry_timeout;
	struct pfs_rows_conn *c = NULL;
	bool again;
	int err;

	if (!v->started)
		return -EHOSTDOWN;
	do {
		err = v->db->ops->get(v->db, write, &c);
		if (err)
			break;
		err = fn(v, c, arg);
		v->db->ops->put(v->db, c, err == -EHOSTDOWN || err == -EINPROGRESS || err == -EIO);
		again = (err == -EHOSTDOWN || (err == -EINPROGRESS && repeat)) &&
			pfs_monotonic_ns() < deadline;
	} while (again);
	if (err == -EINPROGRESS)
		pfs_error_text_set("the connection broke at COMMIT: outcome unknown");
	/* It was there when the store was mounted. */
	if (err == -ENOTSUP)
		return -EIO;
	return write ? err : pfs_rows_told(err);
}

/* ---- rows ----------------------------------------------------------------------------------- */

void plain_row_release(struct plain_row *row)
{
	pfs_buf_release(&row->key);
	pfs_buf_release(&row->value);
}

/* Of a value that has no version; never 0. */
static uint64_t digest(const struct pfs_value *value)
{
	uint64_t h =
		value->bytes.len * UINT64_C(0x9e3779b97f4a7c15) + (value->type == PFS_VALUE_NULL);
	uint64_t word;
	size_t i, n;

	for (i = 0; i < value->bytes.len; i += n) {
		n = value->bytes.len - i < sizeof(word) ? value->bytes.len - i : sizeof(word);
		word = 0;
		memcpy(&word, value->bytes.p + i, n);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	return h ? h : 1;
}

static int64_t seconds(double s)
{
	if (s >= 9e9)
		return INT64_MAX;
	return s <= 0 ? 1 : (int64_t)(s * 1e9);
}

/* 0: it says no time. */
static int64_t time_of(const struct plain_column *c, const struct pfs_value *value)
{
	char text[64];
	int64_t ns = 0;

	if (value->type == PFS_VALUE_NULL)
		return 0;
	if (value->type == PFS_VALUE_TEXT && c->time != PLAIN_SECONDS && c->time != PLAIN_REAL)
		return pfs_rows_parse_time(value->bytes, &ns) ? 0 : ns;
	if (value->type == PFS_VALUE_BLOB || value->bytes.len >= sizeof(text))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)value->bytes.len, value->bytes.p);
	return seconds(strtod(text, NULL));
}

int plain_row_fill(struct plain *v, struct pfs_rows *r, bool keep, struct plain_row *out)
{
	struct pfs_value key, value, version, expires, mtime, alive;
	const struct pfs_rows_ops *ops = v->db->ops;

	ops->column(r, 0, &key);
	ops->column(r, 1, &value);
	ops->column(r, 2, &version);
	ops->column(r, 3, &expires);
	ops->column(r, 4, &mtime);
	ops->column(r, 5, &alive);
	out->key.len = out->value.len = 0;
	pfs_buf_add(&out->key, key.bytes.p, key.bytes.len);
	pfs_buf_str(&out->key, "");
	out->type = value.type;
	out->null = value.type == PFS_VALUE_NULL;
	out->alive = alive.num != 0;
	out->expires = expires.type;
	out->attr = (struct pfs_view_attr){
		.mode = S_IFREG | (v->may_update ? 0 : 0444),
		.expires = time_of(&v->expires, &expires),
		.mtime = time_of(&v->mtime, &mtime),
	};
	if (v->versions) {
		out->attr.version = strtoull(version.bytes.len ? version.bytes.p : "0", NULL, 10);
		out->attr.size = keep ? value.bytes.len : (uint64_t)value.num;
	} else {
		out->attr.version = digest(&value);
		out->attr.size = value.bytes.len;
	}
	if (keep) {
		pfs_buf_add(&out->value, value.bytes.p, value.bytes.len);
		pfs_buf_str(&out->value, "");
	}
	return out->key.failed || out->value.failed ? -ENOMEM : 0;
}

/* 1: the row is that of the key, for an engine can take for equal what is not. 0, -errno. */
static int first_row(struct plain *v, struct pfs_rows *r, bool keep, const struct plain_place *p,
		     struct plain_row *out)
{
	int ret = v->db->ops->next(r);

	if (ret <= 0)
		return ret;
	ret = plain_row_fill(v, r, keep, out);
	if (ret)
		return ret;
	return pfs_bytes_eq(plain_bytes(&out->key), plain_bytes(&p->key));
}

/* A name that is no value of the column's type is that of no key; to write it is a fault. */
static int no_such_key(const struct plain *v, enum plain_stmt stmt, int err)
{
	bool looks = stmt == PLAIN_ROW || stmt == PLAIN_PIECE;

	return err == -EINVAL && v->key.type == PLAIN_OTHER && looks ? 0 : err;
}

int plain_row(struct plain *v, struct pfs_rows_conn *c, enum plain_stmt stmt,
	      const struct plain_place *p, struct plain_row *out)
{
	struct pfs_value params[2];
	struct pfs_rows *r = NULL;
	size_t n = plain_ident(v, p, params);
	int ret;

	ret = v->db->ops->query(c, v->sql[stmt].data, params, n, &r);
	if (!ret)
		ret = first_row(v, r, stmt == PLAIN_VALUE_LOCK, p, out);
	v->db->ops->end(r);
	return no_such_key(v, stmt, ret);
}

/* Does the statement find a row? 1, 0, -errno. */
static int any_row(struct plain *v, struct pfs_rows_conn *c, enum plain_stmt stmt,
		   const struct pfs_value *params, size_t n)
{
	struct pfs_rows *r = NULL;
	int ret = v->db->ops->query(c, v->sql[stmt].data, params, n, &r);

	if (!ret)
		ret = v->db->ops->next(r);
	v->db->ops->end(r);
	return ret;
}

static int key_below(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p)
{
	struct pfs_buf from = {0}, to = {0};
	struct pfs_value params[3], row[2];
	size_t n = plain_ident(v, p, row);
	int ret;

	ret = plain_below(v, p, &from);
	if (!ret)
		ret = plain_below(v, p, &to);
	if (!ret && !plain_bound(v, &to))
		ret = -EILSEQ;
	params[0] = plain_key_value(v, plain_bytes(&from));
	params[1] = plain_key_value(v, plain_bytes(&to));
	params[2] = row[1];
	if (!ret)
		ret = any_row(v, c, PLAIN_BELOW, params, n + 1);
	pfs_buf_release(&from);
	pfs_buf_release(&to);
	return ret;
}

int plain_is_dir(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p)
{
	struct pfs_value row[2];

	if (plain_dirs_has(v, p->path))
		return 1;
	if (p->what == PLAIN_SPACES || (p->what == PLAIN_TOP && !p->path.len))
		return 1;
	if (p->what == PLAIN_TOP) {
		(void)plain_ident(v, p, row);
		return any_row(v, c, PLAIN_NS_HAS, &row[1], 1);
	}
	return v->enc.separator.len ? key_below(v, c, p) : 0;
}

/* The directory whose %VALUE the place is: a place of the same key. */
static struct plain_place dir_of_value(const struct plain_place *p)
{
	struct plain_place dir = *p;

	dir.path.len -= strlen("/%VALUE");
	dir.own_value = false;
	return dir;
}

/* ---- look-up -------------------------------------------------------------------------------- */

struct look {
	struct pfs_bytes path;
	struct pfs_view_attr *attr;
	bool null;
	/* To read: */
	uint64_t off;
	char *buf;
	size_t len;
	ssize_t n;
};

/* Is what the path names a file, as far as other keys are concerned? 0, -EISDIR, -ENOTDIR, -errno. */
static int check_file(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p)
{
	struct plain_place dir;
	int ret;

	if (p->what != PLAIN_KEY)
		return -EISDIR;
	if (!v->enc.separator.len)
		return 0;
	dir = p->own_value ? dir_of_value(p) : *p;
	ret = plain_is_dir(v, c, &dir);
	if (ret < 0)
		return ret;
	return p->own_value == (ret > 0) ? 0 : p->own_value ? -ENOTDIR : -EISDIR;
}

static int do_stat(struct plain *v, struct pfs_rows_conn *c, void *arg)
{
	struct look *look = arg;
	struct plain_place p;
	struct plain_row row = {0};
	int ret;

	ret = plain_resolve(v, c, look->path, &p);
	if (!ret)
		ret = check_file(v, c, &p);
	if (ret == -EISDIR) {
		ret = plain_is_dir(v, c, &p);
		*look->attr = (struct pfs_view_attr){
			.mode = S_IFDIR | (v->may_insert || v->may_delete ? 0 : 0555)};
		ret = ret == 0 ? -ENOENT : ret;
		goto out;
	}
	if (ret)
		goto out;
	ret = plain_row(v, c, PLAIN_ROW, &p, &row);
	if (ret > 0 && !row.alive)
		ret = 0;
	if (ret == 0)
		ret = -ENOENT;
	*look->attr = row.attr;
	look->null = row.null;
out:
	plain_row_release(&row);
	plain_place_release(&p);
	return ret > 0 ? 0 : ret;
}

/* No name of a key, or none that anybody has. */
static int absent(int err)
{
	return err == -EILSEQ ? -ENOENT : err;
}

static int pv_stat(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out)
{
	struct look look = {.path = path, .attr = out};

	return plain_with(plain_of(view), false, true, do_stat, &look);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Copy what the row has; it is all of the value, or the piece that was asked for. */
static int take_piece(struct plain *v, struct pfs_rows *r, struct look *look, struct plain_row *row)
{
	uint64_t off = v->versions ? 0 : look->off;
	struct pfs_value value;
	int err;

	err = plain_row_fill(v, r, false, row);
	if (err)
		return err;
	v->db->ops->column(r, 1, &value);
	look->n = 0;
	if (off < value.bytes.len) {
		size_t left = value.bytes.len - (size_t)off;

		look->n = (ssize_t)(left < look->len ? left : look->len);
		memcpy(look->buf, value.bytes.p + off, (size_t)look->n);
	}
	return 1;
}

static int read_place(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p,
		      struct look *look)
{
	size_t n = v->versions ? 2 : 0;
	struct pfs_value params[4];
	struct plain_row row = {0};
	struct pfs_rows *r = NULL;
	int ret;

	if (look->off >= INT32_MAX)
		return 0;
	params[0] = pfs_value_integer((int64_t)look->off + 1);
	params[1] = pfs_value_integer((int64_t)look->len);
	n += plain_ident(v, p, params + n);
	ret = v->db->ops->query(c, v->sql[PLAIN_PIECE].data, params, n, &r);
	if (!ret)
		ret = v->db->ops->next(r);
	if (ret > 0)
		ret = take_piece(v, r, look, &row);
	v->db->ops->end(r);
	if (ret > 0 && (!row.alive || !pfs_bytes_eq(plain_bytes(&row.key), plain_bytes(&p->key))))
		ret = 0;
	look->attr->version = row.attr.version;
	plain_row_release(&row);
	ret = no_such_key(v, PLAIN_PIECE, ret);
	return ret == 0 ? -ENOENT : ret > 0 ? 0 : ret;
}

static int do_read(struct plain *v, struct pfs_rows_conn *c, void *arg)
{
	struct look *look = arg;
	struct plain_place p;
	int err;

	err = plain_resolve(v, c, look->path, &p);
	if (!err && p.what != PLAIN_KEY)
		err = -EISDIR;
	if (!err)
		err = read_place(v, c, &p, look);
	plain_place_release(&p);
	return err;
}

static ssize_t pv_read(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf,
		       size_t len, uint64_t *version)
{
	struct pfs_view_attr attr = {0};
	struct look look = {.path = path, .attr = &attr, .off = off, .buf = buf, .len = len};
	int err = absent(plain_with(plain_of(view), false, true, do_read, &look));

	*version = attr.version;
	return err ? err : look.n;
}

/* ---- attributes ----------------------------------------------------------------------------- */

static ssize_t pv_xattr_get(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			    void *buf, size_t len)
{
	struct pfs_view_attr attr;
	struct look look = {.path = path, .attr = &attr};
	int err;

	if (!pfs_bytes_eq(name, PFS_BYTES("null")))
		return -ENODATA;
	err = absent(plain_with(plain_of(view), false, true, do_stat, &look));
	if (err)
		return err;
	if (!look.null)
		return -ENODATA;
	if (len)
		*(char *)buf = '1';
	return 1;
}

static int pv_xattr_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out)
{
	struct pfs_view_attr attr = {0};
	struct look look = {.path = path, .attr = &attr};
	int err = absent(plain_with(plain_of(view), false, true, do_stat, &look));

	if (!err && attr.expires)
		pfs_buf_add(out, "expires", sizeof("expires"));
	if (!err && look.null)
		pfs_buf_add(out, "null", sizeof("null"));
	return err ? err : out->failed ? -ENOMEM : 0;
}

/* ---- what others change --------------------------------------------------------------------- */

/* Where the engine tells that something has changed, anything may have. */
static int tell(struct plain *v)
{
	uint64_t version;
	bool moved;
	int err;

	pthread_mutex_lock(&v->tell_lock);
	err = v->db->ops->data_version(v->db, &version);
	moved = !err && version != v->version;
	if (moved)
		v->version = version;
	if (moved)
		pfs_view_changed(&v->base, NULL);
	pthread_mutex_unlock(&v->tell_lock);
	return pfs_rows_told(err);
}

static void *watch_main(void *arg)
{
	struct plain *v = arg;

	while (pfs_wake_wait(&v->wake, WATCH_PERIOD))
		(void)tell(v);
	return NULL;
}

static int pv_catch_up(struct pfs_view *view)
{
	struct plain *v = plain_of(view);

	return v->dialect->pushes ? tell(v) : 0;
}

/* ---- how it is ------------------------------------------------------------------------------ */

static void pv_health(struct pfs_view *view, struct pfs_health *out)
{
	struct plain *v = plain_of(view);

	v->db->ops->health(v->db, out);
	if (v->started && v->why_read_only.text[0])
		out->read_only = v->why_read_only;
}

static void pv_connections(struct pfs_view *view, struct pfs_connections *out)
{
	struct plain *v = plain_of(view);

	v->db->ops->connections(v->db, out);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void pv_free(struct pfs_view *view)
{
	struct plain *v = plain_of(view);
	struct plain_column *all[] = {&v->key, &v->value, &v->ns, &v->expires, &v->mtime};
	size_t i;

	if (v->watching) {
		pfs_wake_stop(&v->wake);
		pthread_join(v->thread, NULL);
	}
	v->db->ops->free(v->db);
	for (i = 0; i < PFS_ARRAY_SIZE(all); i++)
		pfs_buf_release(&all[i]->quoted);
	for (i = 0; i < PLAIN_STMT_COUNT; i++)
		pfs_buf_release(&v->sql[i]);
	plain_dirs_release(v);
	plain_marks_release(v);
	pfs_buf_release(&v->prefix);
	pfs_buf_release(&v->after_separator);
	pfs_buf_release(&v->from);
	pfs_wake_release(&v->wake);
	pthread_mutex_destroy(&v->dirs_lock);
	pthread_mutex_destroy(&v->tell_lock);
	free(v->schema);
	free(v->table);
	free(v);
}

static int start_watching(struct plain *v)
{
	int err;

	if (!v->dialect->pushes || v->watching)
		return 0;
	err = v->db->ops->data_version(v->db, &v->version);
	if (!err)
		err = -pthread_create(&v->thread, NULL, watch_main, v);
	v->watching = !err;
	return err;
}

static int pv_start(struct pfs_view *view, struct pfs_msg *msg)
{
	struct plain *v = plain_of(view);
	struct pfs_rows_conn *c = NULL;
	int err;

	pfs_error_text_clear();
	err = start_watching(v);
	if (!err)
		err = v->db->ops->get(v->db, false, &c);
	if (!err)
		err = plain_look(v, c, msg);
	if (c)
		v->db->ops->put(v->db, c, err == -EHOSTDOWN);
	if (err && msg && !msg->text[0])
		pfs_msg_set(msg, "%s", pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	if (err)
		return err == -ENOTSUP ? -EINVAL : pfs_rows_told(err);
	v->enc.text = strcmp(v->dialect->engine, "sqlite") != 0 && v->key.type != PLAIN_BYTES;
	v->flat.text = v->enc.text;
	v->after_separator.len = 0;
	pfs_buf_add(&v->after_separator, v->enc.separator.p, v->enc.separator.len);
	if (v->enc.separator.len && !plain_bound(v, &v->after_separator))
		return -EINVAL;
	view->backend->readonly = v->why_read_only.text[0] != '\0';
	if (v->why_read_only.text[0] && !v->read_only)
		pfs_log(PFS_LOG_WARN, "store %s is read-only: %s", view->backend->name,
			v->why_read_only.text);
	v->started = true;
	return 0;
}

static const struct pfs_view_ops plain_ops = {
	.free = pv_free,
	.start = pv_start,
	.stat = pv_stat,
	.list = plain_list,
	.read = pv_read,
	.write = plain_write,
	.remove = plain_remove,
	.mkdir = plain_mkdir,
	.rename = plain_rename,
	.set_expires = plain_set_expires,
	.xattr_get = pv_xattr_get,
	.xattr_list = pv_xattr_list,
	.xattr_set = plain_xattr_set,
	.catch_up = pv_catch_up,
	.health = pv_health,
	.connections = pv_connections,
};

#define ALWAYS                                                                                     \
	(PFS_CAP_LATE_CREATE | PFS_CAP_TOLD_XATTRS | PFS_CAP_PERSISTENT | PFS_CAP_DURABLE_SYNC |   \
	 PFS_CAP_TRIALS)
#define ENGINE(engine, more)                                                                       \
	{                                                                                          \
		.spec_version = PFS_SPEC_VERSION, .name = (engine),                                \
		.help = "a table of keys and values", .kinds = PFS_KIND_KV,                        \
		.layouts = PFS_LAYOUT_PLAIN, .capabilities = ALWAYS | (more),                      \
	}

/* By whether others' changes are told, and whether keys can expire. */
static const struct pfs_engine engines[2][2] = {
	{ENGINE("postgres", 0), ENGINE("postgres", PFS_CAP_EXPIRY)},
	{ENGINE("sqlite", PFS_CAP_PUSH), ENGINE("sqlite", PFS_CAP_PUSH | PFS_CAP_EXPIRY)},
};

int plain_adopt(struct pfs_backend *host, struct pfs_rows_db *db,
		const struct plain_dialect *dialect, const char *name,
		const struct pfs_option_set *store, struct pfs_backend **out, struct pfs_msg *msg)
{
	struct plain *v = calloc(1, sizeof(*v));
	bool expiry = false;
	int err;

	if (!v) {
		db->ops->free(db);
		return -ENOMEM;
	}
	v->base.ops = &plain_ops;
	v->db = db;
	v->dialect = dialect;
	v->retry_timeout = pfs_option_get(host->set, "retry_timeout")->num;
	pthread_mutex_init(&v->dirs_lock, NULL);
	pthread_mutex_init(&v->tell_lock, NULL);
	pfs_wake_init(&v->wake);
	err = plain_options(v, store, &expiry, msg);
	if (err) {
		pv_free(&v->base);
		return err;
	}
	return pfs_adopt_new(name, &engines[dialect->pushes][expiry], host, store, &v->base, out,
			     msg);
}
