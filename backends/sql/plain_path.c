/*
 * From paths to keys, by the law of names.h; and the directories that have no key in them. Those are
 * kept in memory by their paths: what mkdir made, and what was emptied here, until rmdir.
 */
#include "backends/sql/plain.h"

void plain_place_release(struct plain_place *p)
{
	pfs_buf_release(&p->ns);
	pfs_buf_release(&p->key);
}

/* The first name of *rest, which loses it. */
static struct pfs_bytes take_name(struct pfs_bytes *rest)
{
	const char *slash = memchr(rest->p, '/', rest->len);
	struct pfs_bytes name = {rest->p, slash ? (size_t)(slash - rest->p) : rest->len};
	size_t n = name.len + (slash != NULL);

	*rest = (struct pfs_bytes){rest->p + n, rest->len - n};
	return name;
}

/* ---- short names ---------------------------------------------------------------------------- */

/* A path of which some names are short: one after the other, by what the engine has. */
static int resolve_names(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes rest,
			 struct plain_place *out)
{
	struct pfs_buf again = {0};
	struct pfs_bytes path = rest, name, key;
	bool first = true, own = false;
	int err = 0;

	while (rest.len && !err) {
		name = take_name(&rest);
		if (!rest.len && !first && v->enc.separator.len &&
		    pfs_bytes_eq(name, PFS_BYTES("%VALUE"))) {
			out->own_value = true;
			break;
		}
		if (!first)
			pfs_buf_add(&out->key, v->enc.separator.p, v->enc.separator.len);
		first = false;
		if (pfs_name_is_short(name))
			err = plain_find_short(v, c, plain_bytes(&out->ns), plain_bytes(&out->key),
					       name, &out->key);
		else
			err = pfs_names_to_key(&v->flat, name, &out->key, &own);
	}
	if (err)
		return err;
	/* What was found must be called so. */
	key = (struct pfs_bytes){out->key.data + v->prefix.len, out->key.len - v->prefix.len};
	err = pfs_names_from_key(&v->enc, key, out->own_value, &again, NULL);
	if (!err && !pfs_bytes_eq(plain_bytes(&again), path))
		err = -EILSEQ;
	pfs_buf_release(&again);
	return err;
}

/* ---- paths ---------------------------------------------------------------------------------- */

static int resolve_ns(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes *rest,
		      struct plain_place *out)
{
	struct pfs_bytes name;
	bool own = false;
	int err;

	if (v->ns_value) {
		pfs_buf_str(&out->ns, v->ns_value);
		return out->ns.failed ? -ENOMEM : 0;
	}
	if (!rest->len) {
		out->what = PLAIN_SPACES;
		return 0;
	}
	name = take_name(rest);
	err = pfs_name_is_short(name) ? plain_find_short_ns(v, c, name, &out->ns)
				      : pfs_names_to_key(&v->flat, name, &out->ns, &own);
	pfs_buf_str(&out->ns, "");
	return err;
}

int plain_resolve(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes path,
		  struct plain_place *out)
{
	struct pfs_bytes rest = path;
	int err = 0;

	*out = (struct plain_place){.what = PLAIN_TOP, .path = path};
	if (v->ns.there)
		err = resolve_ns(v, c, &rest, out);
	if (err || out->what == PLAIN_SPACES)
		return err;
	pfs_buf_add(&out->key, v->prefix.data, v->prefix.len);
	pfs_buf_str(&out->key, "");
	if (out->key.failed)
		return -ENOMEM;
	if (!rest.len)
		return 0;
	out->what = PLAIN_KEY;
	err = pfs_names_to_key(&v->enc, rest, &out->key, &out->own_value);
	if (err > 0) {
		out->own_value = false;
		err = resolve_names(v, c, rest, out);
	}
	return err;
}

int plain_below(const struct plain *v, const struct plain_place *p, struct pfs_buf *out)
{
	pfs_buf_add(out, p->key.data, p->key.len);
	if (p->what == PLAIN_KEY)
		pfs_buf_add(out, v->enc.separator.p, v->enc.separator.len);
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

bool plain_bound(const struct plain *v, struct pfs_buf *b)
{
	/* Text that must stay UTF-8 ends with its last character. */
	if (v->enc.text && b->len && (unsigned char)b->data[b->len - 1] >= 0x7f) {
		pfs_buf_str(b, "\xf4\x8f\xbf\xbf");
		return true;
	}
	while (b->len && (unsigned char)b->data[b->len - 1] == 0xff)
		b->data[--b->len] = '\0';
	if (b->len)
		b->data[b->len - 1]++;
	return b->len > 0;
}

struct pfs_value plain_key_value(const struct plain *v, struct pfs_bytes key)
{
	struct pfs_value value = pfs_value_text(key);

	if (v->key.type == PLAIN_BYTES)
		value.type = PFS_VALUE_BLOB;
	return value;
}

size_t plain_ident(const struct plain *v, const struct plain_place *p, struct pfs_value *out)
{
	out[0] = plain_key_value(v, plain_bytes(&p->key));
	if (!v->ns.there)
		return 1;
	out[1] = pfs_value_text(plain_bytes(&p->ns));
	if (v->ns.type == PLAIN_BYTES)
		out[1].type = PFS_VALUE_BLOB;
	return 2;
}

/* ---- directories without keys --------------------------------------------------------------- */

#define DIRS_MAX 65536

static int path_cmp(const char *a, struct pfs_bytes b)
{
	size_t n = strlen(a);
	int cmp = memcmp(a, b.p, n < b.len ? n : b.len);

	return cmp ? cmp : (n > b.len) - (n < b.len);
}

/* The first that is not before `path`. */
static size_t find(const struct plain_dirs *dirs, struct pfs_bytes path)
{
	size_t low = 0, high = dirs->n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (path_cmp(dirs->paths[mid], path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool begins(const char *text, struct pfs_bytes with)
{
	return strlen(text) >= with.len && memcmp(text, with.p, with.len) == 0;
}

static bool is_at(const struct plain_dirs *dirs, size_t i, struct pfs_bytes path)
{
	return i < dirs->n && path_cmp(dirs->paths[i], path) == 0;
}

/* path and a slash; nothing for the root. */
static int inside(struct pfs_bytes path, struct pfs_buf *out)
{
	pfs_buf_add(out, path.p, path.len);
	pfs_buf_str(out, path.len ? "/" : "");
	return out->failed ? -ENOMEM : 0;
}

bool plain_dirs_has(struct plain *v, struct pfs_bytes path)
{
	struct pfs_buf in = {0};
	bool there = false;
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	if (v->dirs.n && inside(path, &in) == 0) {
		there = is_at(&v->dirs, find(&v->dirs, path), path);
		i = find(&v->dirs, plain_bytes(&in));
		there |= i < v->dirs.n && begins(v->dirs.paths[i], plain_bytes(&in));
	}
	pthread_mutex_unlock(&v->dirs_lock);
	pfs_buf_release(&in);
	return there;
}

static int insert(struct plain_dirs *dirs, size_t i, struct pfs_bytes path)
{
	size_t cap = dirs->cap ? dirs->cap * 2 : 64;
	char **paths, *copy;

	if (dirs->n >= DIRS_MAX)
		return -ENOSPC;
	if (dirs->n == dirs->cap) {
		paths = realloc(dirs->paths, cap * sizeof(*paths));
		if (!paths)
			return -ENOMEM;
		dirs->paths = paths;
		dirs->cap = cap;
	}
	copy = strndup(path.p, path.len);
	if (!copy)
		return -ENOMEM;
	memmove(&dirs->paths[i + 1], &dirs->paths[i], (dirs->n - i) * sizeof(*dirs->paths));
	dirs->paths[i] = copy;
	dirs->n++;
	return 0;
}

int plain_dirs_add(struct plain *v, struct pfs_bytes path)
{
	int err = 0;
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	i = find(&v->dirs, path);
	if (!is_at(&v->dirs, i, path))
		err = insert(&v->dirs, i, path);
	pthread_mutex_unlock(&v->dirs_lock);
	return err;
}

bool plain_dirs_remove(struct plain *v, struct pfs_bytes path)
{
	bool there;
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	i = find(&v->dirs, path);
	there = is_at(&v->dirs, i, path);
	if (there) {
		free(v->dirs.paths[i]);
		v->dirs.n--;
		memmove(&v->dirs.paths[i], &v->dirs.paths[i + 1],
			(v->dirs.n - i) * sizeof(*v->dirs.paths));
	}
	pthread_mutex_unlock(&v->dirs_lock);
	return there;
}

static struct pfs_bytes name_in(const char *path, size_t skip)
{
	return (struct pfs_bytes){path + skip, strcspn(path + skip, "/")};
}

static int name_cmp(struct pfs_bytes a, struct pfs_bytes b)
{
	int cmp = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	return cmp ? cmp : (a.len > b.len) - (a.len < b.len);
}

bool plain_dirs_next(struct plain *v, struct pfs_bytes path, struct pfs_bytes after,
		     struct pfs_buf *out)
{
	struct pfs_bytes name, best = {NULL, 0};
	struct pfs_buf in = {0};
	size_t i;

	pthread_mutex_lock(&v->dirs_lock);
	if (v->dirs.n && inside(path, &in) == 0) {
		/* Names are not in the order of paths: "a!" stands before "a/b", and behind "a". */
		for (i = find(&v->dirs, plain_bytes(&in));
		     i < v->dirs.n && begins(v->dirs.paths[i], plain_bytes(&in)); i++) {
			name = name_in(v->dirs.paths[i], in.len);
			if (name.len && name_cmp(name, after) > 0 &&
			    (!best.p || name_cmp(name, best) < 0))
				best = name;
		}
		if (best.p) {
			pfs_buf_add(out, best.p, best.len);
			pfs_buf_str(out, "");
		}
	}
	pthread_mutex_unlock(&v->dirs_lock);
	pfs_buf_release(&in);
	return best.p != NULL;
}

void plain_dirs_release(struct plain *v)
{
	size_t i;

	for (i = 0; i < v->dirs.n; i++)
		free(v->dirs.paths[i]);
	free(v->dirs.paths);
}
