/*
 * Directories. Keys are read in pages in the order of the keys, each page from behind the last, so that a
 * directory of any size takes little memory. With a separator the names in a directory are the first
 * components of what follows: where many keys have the same one, the next page begins behind all of them.
 *
 * A name is told where its own key is, or if it has none, where the first key below it is. Keys stand
 * between the two ("a", "a!", "a:b"), so where a listing stopped is remembered, and not only guessed from
 * the name. Directories without keys come last.
 */
#include "backends/sql/plain.h"

#define PAGE_FIRST 64
#define PAGE_MAX   1024

/* Where in the order: at `key` or behind it; without one, at the beginning. */
struct position {
	struct pfs_buf key;
	bool set, after;
};

struct listing {
	struct plain *v;
	struct plain_place dir;
	struct pfs_bytes after; /* the name that the caller had last */
	size_t limit, told;
	pfs_view_entry_fn fn;
	void *arg;
	bool *end;
	struct pfs_buf below, bound; /* keys in the directory are in [below, bound) */
	bool bounded;
	struct position at;
	struct pfs_buf last; /* the name that was told last */
	struct pfs_buf name; /* of an entry */
};

static void listing_release(struct listing *l)
{
	plain_place_release(&l->dir);
	pfs_buf_release(&l->below);
	pfs_buf_release(&l->bound);
	pfs_buf_release(&l->at.key);
	pfs_buf_release(&l->last);
	pfs_buf_release(&l->name);
}

static void listing_reset(struct listing *l)
{
	struct pfs_bytes path = l->dir.path;

	listing_release(l);
	l->dir = (struct plain_place){.path = path};
	l->below = l->bound = l->last = l->name = (struct pfs_buf){0};
	l->at = (struct position){0};
}

static void go_to(struct position *at, struct pfs_bytes key, bool after)
{
	at->set = true;
	at->after = after;
	at->key.len = 0;
	pfs_buf_add(&at->key, key.p, key.len);
	pfs_buf_str(&at->key, "");
}

/* ---- marks ---------------------------------------------------------------------------------- */

static void mark_release(struct plain_mark *m)
{
	free(m->path);
	free(m->name);
	pfs_buf_release(&m->key);
	*m = (struct plain_mark){0};
}

void plain_marks_release(struct plain *v)
{
	size_t i;

	for (i = 0; i < PLAIN_MARKS; i++)
		mark_release(&v->marks[i]);
}

static bool same(const char *text, struct pfs_bytes bytes)
{
	return text && pfs_bytes_eq(pfs_bytes_str(text), bytes);
}

static bool mark_find(struct listing *l)
{
	struct plain *v = l->v;
	bool found = false;
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	for (i = 0; i < PLAIN_MARKS && !found; i++) {
		const struct plain_mark *m = &v->marks[i];

		found = same(m->path, l->dir.path) && same(m->name, l->after);
		if (found)
			go_to(&l->at, plain_bytes(&m->key), m->after);
	}
	pthread_mutex_unlock(&v->dirs_lock);
	return found;
}

/* A listing of the same place by somebody else may have left one already: the newest counts. */
static void mark_set(struct listing *l)
{
	struct plain *v = l->v;
	struct plain_mark *m;
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	m = &v->marks[v->next_mark];
	for (i = 0; i < PLAIN_MARKS; i++)
		if (same(v->marks[i].path, l->dir.path) &&
		    same(v->marks[i].name, plain_bytes(&l->last)))
			m = &v->marks[i];
	if (m == &v->marks[v->next_mark])
		v->next_mark = (v->next_mark + 1) % PLAIN_MARKS;
	mark_release(m);
	m->path = strndup(l->dir.path.p, l->dir.path.len);
	m->name = strndup(l->last.data, l->last.len);
	pfs_buf_add(&m->key, l->at.key.data, l->at.key.len);
	pfs_buf_str(&m->key, "");
	m->after = l->at.after;
	if (!m->path || !m->name || m->key.failed)
		mark_release(m);
	pthread_mutex_unlock(&v->dirs_lock);
}

/* ---- pages ---------------------------------------------------------------------------------- */

struct entry {
	struct plain_row row;
	bool below; /* there are keys below this one */
};

struct page {
	struct entry *entries;
	size_t n;
	bool end;
};

static void page_release(struct page *page)
{
	size_t i;

	for (i = 0; i < page->n; i++)
		plain_row_release(&page->entries[i].row);
	free(page->entries);
	*page = (struct page){0};
}

/* A statement that is being put together. */
struct building {
	struct pfs_buf sql;
	struct pfs_value params[10];
	size_t n;
};

static void param(struct building *b, struct pfs_value value)
{
	b->params[b->n++] = value;
	pfs_buf_printf(&b->sql, "?%zu", b->n);
}

/* Has a row keys below it? */
static void add_below(struct building *b, struct plain *v)
{
	const struct pfs_bytes range[] = {v->enc.separator, plain_bytes(&v->after_separator)};
	bool blob = v->key.type == PLAIN_BYTES && v->dialect->always_collate;
	int i;

	if (!v->enc.separator.len) {
		pfs_buf_str(&b->sql, "0");
		return;
	}
	pfs_buf_printf(&b->sql, "CASE WHEN EXISTS (SELECT 1 FROM %s c WHERE ", v->from.data);
	for (i = 0; i < 2; i++) {
		plain_key(&b->sql, v, "c");
		pfs_buf_printf(&b->sql, "%s%st.%s || ", i ? " < " : " >= ", blob ? "CAST(" : "",
			       v->key.quoted.data);
		param(b, plain_key_value(v, range[i]));
		pfs_buf_printf(&b->sql, "%s%s", blob ? " AS BLOB)" : "", i ? "" : " AND ");
	}
	if (v->ns.there) {
		pfs_buf_str(&b->sql, " AND ");
		plain_space(&b->sql, v, "c");
		pfs_buf_printf(&b->sql, " = t.%s", v->ns.quoted.data);
	}
	plain_shown(&b->sql, v, "c");
	pfs_buf_str(&b->sql, ") THEN 1 ELSE 0 END");
}

/* Which keys: in the directory, from where the listing is. */
static void add_range(struct building *b, struct listing *l)
{
	struct plain *v = l->v;
	struct pfs_value row[2];

	pfs_buf_str(&b->sql, "1 = 1");
	if (v->ns.there) {
		(void)plain_ident(v, &l->dir, row);
		pfs_buf_str(&b->sql, " AND ");
		plain_space(&b->sql, v, "t");
		pfs_buf_str(&b->sql, " = ");
		param(b, row[1]);
	}
	if (l->at.set) {
		pfs_buf_str(&b->sql, " AND ");
		plain_key(&b->sql, v, "t");
		pfs_buf_str(&b->sql, l->at.after ? " > " : " >= ");
		param(b, plain_key_value(v, plain_bytes(&l->at.key)));
	}
	if (plain_ordered(v) && l->bounded) {
		pfs_buf_str(&b->sql, " AND ");
		plain_key(&b->sql, v, "t");
		pfs_buf_str(&b->sql, " < ");
		param(b, plain_key_value(v, plain_bytes(&l->bound)));
	} else if (!plain_ordered(v) && l->below.len) {
		pfs_buf_printf(&b->sql, " AND starts_with(t.%s::text, ", v->key.quoted.data);
		param(b, pfs_value_text(plain_bytes(&l->below)));
		pfs_buf_str(&b->sql, ")");
	}
	plain_shown(&b->sql, v, "t");
}

static int build(struct building *b, struct listing *l, size_t rows)
{
	struct plain *v = l->v;

	pfs_buf_str(&b->sql, "SELECT ");
	v->dialect->row(&b->sql, v, false);
	pfs_buf_str(&b->sql, ", ");
	add_below(b, v);
	pfs_buf_printf(&b->sql, " FROM %s t WHERE ", v->from.data);
	add_range(b, l);
	pfs_buf_str(&b->sql, " ORDER BY ");
	plain_key(&b->sql, v, "t");
	pfs_buf_printf(&b->sql, " LIMIT %zu", rows);
	return b->sql.failed ? -ENOMEM : 0;
}

static int page_rows(struct listing *l, struct pfs_rows *r, size_t rows, struct page *page)
{
	const struct pfs_rows_ops *ops = l->v->db->ops;
	struct pfs_value below;
	int ret = 0;

	while (page->n < rows && (ret = ops->next(r)) > 0) {
		struct entry *e = &page->entries[page->n++];

		ret = plain_row_fill(l->v, r, false, &e->row);
		if (ret)
			return ret;
		ops->column(r, 6, &below);
		e->below = below.num != 0;
	}
	return ret < 0 ? ret : 0;
}

static int page_read(struct listing *l, struct pfs_rows_conn *c, size_t rows, struct page *page)
{
	struct building b = {0};
	struct pfs_rows *r = NULL;
	int err;

	page->entries = calloc(rows, sizeof(*page->entries));
	err = page->entries ? build(&b, l, rows) : -ENOMEM;
	if (!err)
		err = l->v->db->ops->query(c, b.sql.data, b.params, b.n, &r);
	if (!err)
		err = page_rows(l, r, rows, page);
	l->v->db->ops->end(r);
	page->end = page->n < rows;
	pfs_buf_release(&b.sql);
	return err;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The first component of what follows in the directory; *below: there is more behind it. */
static struct pfs_bytes component(const struct listing *l, struct pfs_bytes key, bool *below)
{
	struct pfs_bytes rest = {key.p + l->below.len, key.len - l->below.len};
	struct pfs_bytes sep = l->v->enc.separator;
	const char *at = sep.len && rest.len ? memmem(rest.p, rest.len, sep.p, sep.len) : NULL;

	*below = at != NULL;
	if (at)
		rest.len = (size_t)(at - rest.p);
	return rest;
}

/* The path of an entry in the directory. */
static void path_of(const struct listing *l, struct pfs_buf *out)
{
	pfs_buf_add(out, l->dir.path.p, l->dir.path.len);
	pfs_buf_str(out, l->dir.path.len ? "/" : "");
	pfs_buf_add(out, l->name.data, l->name.len);
	pfs_buf_str(out, "");
}

static int tell(struct listing *l, const struct pfs_view_attr *attr)
{
	int err = l->fn(l->arg, plain_bytes(&l->name), attr);

	if (err)
		return err;
	l->told++;
	l->last.len = 0;
	pfs_buf_add(&l->last, l->name.data, l->name.len);
	pfs_buf_str(&l->last, "");
	return l->last.failed ? -ENOMEM : 0;
}

/* Tell of a name; directories without keys wait for their turn. */
static int tell_name(struct listing *l, struct pfs_bytes name, const struct pfs_view_attr *attr)
{
	struct pfs_buf path = {0};
	bool waits;
	int err;

	l->name.len = 0;
	err = pfs_names_from_key(&l->v->flat, name, false, &l->name, NULL);
	if (err == -EILSEQ) /* no name of a file leads to it */
		return 0;
	if (err)
		return err;
	path_of(l, &path);
	waits = !path.failed && plain_dirs_has(l->v, plain_bytes(&path));
	err = path.failed ? -ENOMEM : 0;
	pfs_buf_release(&path);
	/* Without a unique key one name can stand in two rows. */
	if (err || waits || (l->told && pfs_bytes_eq(plain_bytes(&l->last), plain_bytes(&l->name))))
		return err;
	return tell(l, attr);
}

static struct pfs_view_attr dir_attr(const struct plain *v)
{
	return (struct pfs_view_attr){.mode = S_IFDIR | (v->may_insert || v->may_delete ? 0 : 0555)};
}

/* Is there a row of the key that is below + name? 1, 0, -errno. */
static int has_row(struct listing *l, struct pfs_rows_conn *c, struct pfs_bytes name)
{
	struct plain_place p = {.what = PLAIN_KEY};
	struct plain_row row = {0};
	int ret;

	pfs_buf_add(&p.ns, l->dir.ns.data, l->dir.ns.len);
	pfs_buf_add(&p.key, l->below.data, l->below.len);
	pfs_buf_add(&p.key, name.p, name.len);
	pfs_buf_str(&p.key, "");
	ret = p.ns.failed || p.key.failed ? -ENOMEM : plain_row(l->v, c, PLAIN_ROW, &p, &row);
	if (ret > 0 && !row.alive)
		ret = 0;
	plain_row_release(&row);
	plain_place_release(&p);
	return ret;
}

/* Behind all keys that begin with below + name + separator. */
static int skip_group(struct listing *l, struct pfs_bytes name)
{
	struct pfs_buf end = {0};

	pfs_buf_add(&end, l->below.data, l->below.len);
	pfs_buf_add(&end, name.p, name.len);
	pfs_buf_add(&end, l->v->enc.separator.p, l->v->enc.separator.len);
	if (end.failed || !plain_bound(l->v, &end)) {
		pfs_buf_release(&end);
		return -ENOMEM;
	}
	go_to(&l->at, plain_bytes(&end), false);
	pfs_buf_release(&end);
	return l->at.key.failed ? -ENOMEM : 0;
}

static int tell_group(struct listing *l, struct pfs_rows_conn *c, struct pfs_bytes name)
{
	struct pfs_view_attr attr = dir_attr(l->v);
	int ret = has_row(l, c, name);

	if (ret == 0)
		ret = tell_name(l, name, &attr);
	if (ret >= 0)
		ret = skip_group(l, name);
	return ret;
}

static bool before(struct pfs_bytes a, struct pfs_bytes b)
{
	int cmp = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	return cmp ? cmp < 0 : a.len < b.len;
}

/* One page's entries, as far as there is room. *used: how many were looked at. */
static int tell_page(struct listing *l, struct pfs_rows_conn *c, const struct page *page, size_t *used)
{
	struct pfs_view_attr dir = dir_attr(l->v);
	struct pfs_bytes key, name;
	size_t i;
	int err = 0;

	for (i = 0; i < page->n && l->told < l->limit && !err; i++) {
		const struct entry *e = &page->entries[i];
		bool below;

		key = plain_bytes(&e->row.key);
		/* Still in the group that was told? */
		if (l->v->enc.separator.len && l->at.set && before(key, plain_bytes(&l->at.key)))
			continue;
		name = component(l, key, &below);
		if (below) {
			err = tell_group(l, c, name);
		} else {
			err = tell_name(l, name, e->below ? &dir : &e->row.attr);
			go_to(&l->at, key, true);
		}
	}
	*used = i;
	return err ? err : l->at.key.failed ? -ENOMEM : 0;
}

static int tell_keys(struct listing *l, struct pfs_rows_conn *c, bool *done)
{
	size_t rows = l->v->enc.separator.len ? PAGE_FIRST : PAGE_MAX, used;
	struct page page = {0};
	size_t told;
	int err = 0;

	*done = false;
	while (!err && !*done && l->told < l->limit) {
		told = l->told;
		if (!l->v->enc.separator.len && rows > l->limit - l->told)
			rows = l->limit - l->told;
		err = page_read(l, c, rows, &page);
		if (!err)
			err = tell_page(l, c, &page, &used);
		*done = !err && page.end && used == page.n;
		page_release(&page);
		/* Where few keys make one name, read more at once; where many do, less. */
		if (l->v->enc.separator.len && l->told - told > rows / 2 && rows < PAGE_MAX)
			rows *= 4;
		else if (l->told - told < 4 && rows > 16)
			rows /= 2;
	}
	return err;
}

/* ---- directories without keys --------------------------------------------------------------- */

static int tell_waiting(struct listing *l, struct pfs_bytes after)
{
	struct pfs_view_attr attr = dir_attr(l->v);
	struct pfs_buf last = {0};
	int err = 0;

	pfs_buf_add(&last, after.p, after.len);
	pfs_buf_str(&last, "");
	l->name.len = 0;
	while (!err && l->told < l->limit &&
	       plain_dirs_next(l->v, l->dir.path, plain_bytes(&last), &l->name)) {
		err = l->name.failed || last.failed ? -ENOMEM : tell(l, &attr);
		last.len = 0;
		pfs_buf_add(&last, l->name.data, l->name.len);
		pfs_buf_str(&last, "");
		l->name.len = 0;
	}
	pfs_buf_release(&last);
	*l->end = !err && l->told < l->limit;
	return err;
}

/* ---- namespaces ----------------------------------------------------------------------------- */

/* The first namespace behind *ns, which it becomes: 1, 0, -errno. */
static int next_ns(struct plain *v, struct pfs_rows_conn *c, struct pfs_buf *ns)
{
	struct pfs_value value = pfs_value_text(plain_bytes(ns));
	struct pfs_rows *r = NULL;
	int ret;

	if (v->ns.type == PLAIN_BYTES)
		value.type = PFS_VALUE_BLOB;
	ret = v->db->ops->query(c, v->sql[PLAIN_NS_NEXT].data, &value, 1, &r);
	if (!ret)
		ret = v->db->ops->next(r);
	if (ret > 0) {
		struct pfs_buf found = {0};

		v->db->ops->column(r, 0, &value);
		pfs_buf_add(&found, value.bytes.p, value.bytes.len);
		pfs_buf_str(&found, "");
		pfs_buf_release(ns);
		*ns = found;
	}
	v->db->ops->end(r);
	return ret > 0 && ns->failed ? -ENOMEM : ret;
}

/* The empty text comes before all others, and nothing comes before it. */
static int tell_empty_ns(struct listing *l, struct pfs_rows_conn *c)
{
	struct pfs_view_attr attr = dir_attr(l->v);
	struct plain_place p = {.what = PLAIN_TOP, .path = PFS_BYTES("%EMPTY")};
	int ret = plain_is_dir(l->v, c, &p);

	return ret > 0 ? tell_name(l, PFS_BYTES(""), &attr) : ret;
}

static int tell_spaces(struct listing *l, struct pfs_rows_conn *c, bool *done)
{
	struct pfs_view_attr attr = dir_attr(l->v);
	int ret = 0;

	if (!l->at.set)
		ret = tell_empty_ns(l, c);
	l->at.set = l->at.after = true;
	pfs_buf_str(&l->at.key, "");
	while (ret >= 0 && l->told < l->limit) {
		ret = next_ns(l->v, c, &l->at.key);
		if (ret <= 0)
			break;
		ret = tell_name(l, plain_bytes(&l->at.key), &attr);
	}
	*done = ret == 0 && l->told < l->limit;
	return ret < 0 ? ret : 0;
}

int plain_find_short_ns(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes name,
			struct pfs_buf *ns)
{
	struct pfs_buf at = {0}, found = {0};
	int ret;

	pfs_buf_str(&at, "");
	while ((ret = next_ns(v, c, &at)) > 0) {
		found.len = 0;
		(void)pfs_names_from_key(&v->flat, plain_bytes(&at), false, &found, NULL);
		if (pfs_bytes_eq(plain_bytes(&found), name))
			break;
	}
	if (ret > 0)
		pfs_buf_add(ns, at.data, at.len);
	pfs_buf_release(&at);
	pfs_buf_release(&found);
	return ret < 0 ? ret : ret == 0 ? -ENOENT : 0;
}

/* ---- short names ---------------------------------------------------------------------------- */

/* Go through keys from the readable part of the name on. */
static int search_keys(struct listing *l, struct pfs_rows_conn *c, struct pfs_bytes name,
		       struct pfs_buf *key)
{
	struct pfs_buf found = {0};
	struct page page = {0};
	bool done = false, below;
	int ret = -ENOENT;
	size_t i;

	while (ret == -ENOENT && !done) {
		ret = page_read(l, c, PAGE_MAX, &page);
		done = ret || page.end;
		ret = ret ? ret : -ENOENT;
		for (i = 0; i < page.n && ret == -ENOENT; i++) {
			struct pfs_bytes part = component(l, plain_bytes(&page.entries[i].row.key),
							  &below);

			found.len = 0;
			(void)pfs_names_from_key(&l->v->flat, part, false, &found, NULL);
			if (!pfs_bytes_eq(plain_bytes(&found), name))
				continue;
			pfs_buf_add(key, part.p, part.len);
			ret = 0;
		}
		if (page.n)
			go_to(&l->at, plain_bytes(&page.entries[page.n - 1].row.key), true);
		page_release(&page);
	}
	pfs_buf_release(&found);
	return ret;
}

int plain_find_short(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes ns,
		     struct pfs_bytes begins, struct pfs_bytes name, struct pfs_buf *key)
{
	struct listing l = {.v = v};
	struct pfs_buf from = {0}, to = {0};
	int err;

	pfs_buf_add(&l.dir.ns, ns.p, ns.len);
	pfs_buf_str(&l.dir.ns, "");
	pfs_buf_add(&l.below, begins.p, begins.len);
	pfs_buf_str(&l.below, "");
	pfs_buf_add(&from, begins.p, begins.len);
	pfs_name_short_begins(&v->flat, name, &from);
	pfs_buf_add(&to, from.data, from.len);
	if (from.failed || to.failed || l.below.failed || l.dir.ns.failed) {
		err = -ENOMEM;
	} else {
		if (plain_ordered(v))
			go_to(&l.at, plain_bytes(&from), false);
		l.bounded = plain_bound(v, &to);
		pfs_buf_add(&l.bound, to.data, to.len);
		pfs_buf_str(&l.bound, "");
		err = search_keys(&l, c, name, key);
	}
	listing_release(&l);
	pfs_buf_release(&from);
	pfs_buf_release(&to);
	return err;
}

/* ---- listing -------------------------------------------------------------------------------- */

/* The part of a key that is called `name` in the directory. */
static int part_of(struct listing *l, struct pfs_rows_conn *c, struct pfs_buf *out)
{
	bool own;

	if (pfs_name_is_short(l->after) && l->dir.what == PLAIN_SPACES)
		return plain_find_short_ns(l->v, c, l->after, out);
	if (pfs_name_is_short(l->after))
		return plain_find_short(l->v, c, plain_bytes(&l->dir.ns), plain_bytes(&l->below),
					l->after, out);
	return pfs_names_to_key(&l->v->flat, l->after, out, &own);
}

/* Where the name that the caller had last is, if that is not remembered. */
static int find_after(struct listing *l, struct pfs_rows_conn *c)
{
	struct pfs_buf part = {0}, key = {0};
	int ret;

	ret = part_of(l, c, &part);
	if (ret == -ENOENT) {
		ret = 0; /* gone, and its key with it: once more from its beginning */
		pfs_name_short_begins(&l->v->flat, l->after, &part);
	}
	pfs_buf_add(&key, l->below.data, l->below.len);
	pfs_buf_add(&key, part.data, part.len);
	pfs_buf_str(&key, "");
	if (key.failed)
		ret = -ENOMEM;
	if (!ret && l->dir.what != PLAIN_SPACES && l->v->enc.separator.len) {
		ret = has_row(l, c, plain_bytes(&part));
		if (ret == 0)
			ret = skip_group(l, plain_bytes(&part));
		else if (ret > 0)
			go_to(&l->at, plain_bytes(&key), true);
	} else if (!ret) {
		go_to(&l->at, plain_bytes(&key), true);
	}
	pfs_buf_release(&part);
	pfs_buf_release(&key);
	return ret < 0 ? ret : 0;
}

/* The value of the directory's own key comes first. */
static int tell_own_value(struct listing *l, struct pfs_rows_conn *c)
{
	struct plain_row row = {0};
	int ret = 0;

	if (l->dir.what == PLAIN_KEY)
		ret = plain_row(l->v, c, PLAIN_ROW, &l->dir, &row);
	if (ret > 0 && row.alive) {
		l->name.len = 0;
		pfs_buf_str(&l->name, "%VALUE");
		ret = l->name.failed ? -ENOMEM : tell(l, &row.attr);
	}
	plain_row_release(&row);
	return ret < 0 ? ret : 0;
}

static int check_dir(struct listing *l, struct pfs_rows_conn *c)
{
	struct plain_row row = {0};
	int ret = l->dir.own_value ? 0 : plain_is_dir(l->v, c, &l->dir);

	if (ret == 0 && l->dir.what == PLAIN_KEY) {
		ret = plain_row(l->v, c, PLAIN_ROW, &l->dir, &row);
		ret = ret > 0 && row.alive ? -ENOTDIR : ret;
	}
	plain_row_release(&row);
	return ret < 0 ? ret : ret == 0 ? -ENOENT : 0;
}

static int set_range(struct listing *l)
{
	int err;

	if (l->dir.what == PLAIN_SPACES)
		return 0;
	err = plain_below(l->v, &l->dir, &l->below);
	if (err)
		return err;
	pfs_buf_add(&l->bound, l->below.data, l->below.len);
	pfs_buf_str(&l->bound, "");
	l->bounded = plain_bound(l->v, &l->bound);
	if (l->below.len && plain_ordered(l->v))
		go_to(&l->at, plain_bytes(&l->below), false);
	return l->bound.failed || l->at.key.failed ? -ENOMEM : 0;
}

/* Is the name that was had last a directory without keys? Those come at the end. */
static bool waiting(struct listing *l)
{
	struct pfs_buf path = {0};
	bool is;

	l->name.len = 0;
	pfs_buf_add(&l->name, l->after.p, l->after.len);
	path_of(l, &path);
	is = !path.failed && plain_dirs_has(l->v, plain_bytes(&path));
	pfs_buf_release(&path);
	return is;
}

static int list_from(struct listing *l, struct pfs_rows_conn *c)
{
	bool done = false;
	int err = 0;

	if (!l->after.len)
		err = tell_own_value(l, c);
	else if (!mark_find(l) && !(l->dir.what == PLAIN_KEY &&
				    pfs_bytes_eq(l->after, PFS_BYTES("%VALUE"))))
		err = find_after(l, c);
	if (!err && l->dir.what == PLAIN_SPACES)
		err = tell_spaces(l, c, &done);
	else if (!err)
		err = tell_keys(l, c, &done);
	if (!err && l->told && !done)
		mark_set(l);
	if (!err && done)
		err = tell_waiting(l, PFS_BYTES(""));
	return err;
}

static int do_list(struct plain *v, struct pfs_rows_conn *c, void *arg)
{
	struct listing *l = arg;
	struct pfs_bytes path = l->dir.path;
	int err;

	listing_reset(l); /* it may be run again */
	*l->end = false;
	err = plain_resolve(v, c, path, &l->dir);
	if (!err)
		err = check_dir(l, c);
	if (!err)
		err = set_range(l);
	if (!err && l->after.len && waiting(l))
		err = tell_waiting(l, l->after);
	else if (!err)
		err = list_from(l, c);
	/* What was told is not told again: the caller goes on behind it. */
	if (err == -EHOSTDOWN && l->told)
		err = 0;
	return err;
}

int plain_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
	       pfs_view_entry_fn fn, void *arg, bool *end)
{
	struct plain *v = plain_of(view);
	struct listing l = {.v = v,
			    .dir.path = path,
			    .after = after,
			    .limit = limit,
			    .fn = fn,
			    .arg = arg,
			    .end = end};
	int err = plain_with(v, false, true, do_list, &l);

	listing_release(&l);
	return err == -EILSEQ ? -ENOENT : err;
}
