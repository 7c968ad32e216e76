/*
 * Listing. Directories of keys come from the index, in its order; one page at a time, with what files
 * hold asked in one exchange. The elements of a key are gathered once, when its listing begins, since
 * the server tells them in no order; lists alone are read in pieces.
 */
#include "backends/redis/native.h"

#define VALUE_NAME PFS_BYTES("%VALUE")
#define STREAM_END PFS_BYTES(".jsonl")

/*
 * How many elements are asked for at once: the server tells values with names, and nobody how large they
 * are, so that many of large ones would be in memory together.
 */
#define PACE_FIRST 16
#define PACE_MAX   1000
#define PACE_BYTES (1u << 20)

/* How many next, when `n` were of so many bytes. */
static size_t pace(size_t n, size_t bytes)
{
	if (bytes > PACE_BYTES)
		return n > 4 ? n / 4 : 1;
	n = bytes < PACE_BYTES / 16 ? 4 * n : n;
	return n < PACE_MAX ? n : PACE_MAX;
}

/* ---- directories of keys -------------------------------------------------------------------- */

struct item {
	char *name; /* owned */
	size_t len;
	struct pfs_buf key; /* of what is a key */
	enum native_type type; /* NATIVE_KEYS: a directory that is no key */
	struct pfs_view_attr attr;
	bool gone;
};

struct page {
	struct item *items;
	size_t n, cap;
};

static void page_release(struct page *p)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		free(p->items[i].name);
		pfs_buf_release(&p->items[i].key);
	}
	free(p->items);
}

/* `name` is consumed. */
static int page_add(struct page *p, struct pfs_buf *name, enum native_type type,
		    struct pfs_buf *key)
{
	struct item *more;

	if (p->n == p->cap) {
		more = realloc(p->items, (p->cap ? 2 * p->cap : 64) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		p->items = more;
		p->cap = p->cap ? 2 * p->cap : 64;
	}
	p->items[p->n++] = (struct item){
		.name = name->data, .len = name->len, .type = type, .key = *key};
	*name = (struct pfs_buf){0};
	*key = (struct pfs_buf){0};
	return 0;
}

/* One component below a directory, as the index has it. */
struct child {
	struct pfs_buf sort; /* its path */
	struct pfs_bytes component; /* in sorting form, in `sort` */
	enum native_type type; /* of its key; NONE */
	bool dir, pending;
};

/* The first child at or behind `from`, below `dir` (with its separator). false: there is none. */
static bool next_child(const struct native_tree *t, struct pfs_bytes dir, struct pfs_bytes from,
		       struct child *out)
{
	const struct native_index *ix[2] = {&t->keys, &t->pending};
	struct pfs_bytes best = {NULL, 0}, found;
	const char *end;
	size_t i;

	for (i = 0; i < 2; i++) {
		if (!native_index_seek(ix[i], from, &found) || found.len < dir.len ||
		    (dir.len && memcmp(found.p, dir.p, dir.len) != 0))
			continue;
		end = memchr(found.p + dir.len, '\0', found.len - dir.len);
		if (end)
			found.len = (size_t)(end - found.p);
		if (!best.p || memcmp(found.p, best.p,
				      found.len < best.len ? found.len : best.len) < 0 ||
		    (found.len < best.len && !memcmp(found.p, best.p, found.len)))
			best = found;
	}
	if (!best.p)
		return false;
	out->sort.len = 0;
	pfs_buf_add(&out->sort, best.p, best.len);
	pfs_buf_str(&out->sort, "");
	out->component =
		(struct pfs_bytes){out->sort.data + dir.len, out->sort.len - dir.len};
	out->type = native_index_find(&t->keys, native_bytes(&out->sort));
	out->pending = native_index_find(&t->pending, native_bytes(&out->sort)) != 0;
	out->dir = native_tree_is_dir(t, native_bytes(&out->sort));
	return !out->sort.failed;
}

/* The stream at this path has a name of its own, unless there is a key that has it. */
static bool is_named(const struct native_tree *t, const struct child *c)
{
	struct pfs_buf named = {0};
	bool taken;

	pfs_buf_add(&named, c->sort.data, c->sort.len);
	pfs_buf_add(&named, STREAM_END.p, STREAM_END.len);
	taken = native_index_find(&t->keys, native_bytes(&named)) ||
		native_tree_is_dir(t, native_bytes(&named));
	pfs_buf_release(&named);
	return !taken;
}

static int add_child(const struct native *v, const struct child *c, struct page *p)
{
	struct pfs_buf key = {0}, raw = {0}, name = {0};
	enum native_type type = c->dir || !c->type ? NATIVE_KEYS : c->type;
	int err;

	err = native_key_of_sort(v, native_bytes(&c->sort), &key);
	if (!err)
		err = native_key_of_sort(v, c->component, &raw);
	if (!err)
		err = native_element_name((struct pfs_bytes){raw.data + v->prefix.len,
							     raw.len - v->prefix.len},
					  &name);
	if (!err && type == NATIVE_STREAM && is_named(&v->tree, c))
		pfs_buf_str(&name, ".jsonl");
	if (!err && name.failed)
		err = -ENOMEM;
	/* With its ending it may be longer than names are: then it is not to be had. */
	if (!err && name.len <= PFS_NAME_MAX)
		err = page_add(p, &name, type, &key);
	pfs_buf_release(&key);
	pfs_buf_release(&raw);
	pfs_buf_release(&name);
	return err;
}

/* Where a listing goes on behind `name`: in the place's sorting form. */
static int resume_at(struct native *v, struct native_place *place, struct pfs_buf *from)
{
	struct pfs_bytes sort = native_bytes(&place->sort);

	if (place->stream.len && native_index_find(&v->tree.keys, native_bytes(&place->stream_sort)) ==
					 NATIVE_STREAM &&
	    !native_index_find(&v->tree.keys, sort) && !native_tree_is_dir(&v->tree, sort))
		sort = native_bytes(&place->stream_sort);
	from->len = 0;
	pfs_buf_add(from, sort.p, sort.len);
	pfs_buf_add(from, "\1", 1);
	return from->failed ? -ENOMEM : 0;
}

/* What had this short form has gone: from what it began with. */
static int resume_short(struct pfs_bytes dir, struct pfs_bytes name, struct pfs_buf *from)
{
	struct pfs_buf begins = {0};
	int err;

	native_element_begins(name, &begins);
	from->len = 0;
	pfs_buf_add(from, dir.p, dir.len);
	err = begins.failed ? -ENOMEM : native_sort_component(native_bytes(&begins), from);
	pfs_buf_release(&begins);
	return err;
}

/*
 * The page's names; the lock is held. Behind `name`, which leads to the place `after`; both empty: from
 * the start.
 */
static int gather(struct native *v, struct pfs_bytes dir, struct native_place *after,
		  struct pfs_bytes name, size_t limit, struct page *p, bool *end)
{
	struct child c = {.sort = {0}};
	struct pfs_buf from = {0};
	int err;

	err = native_tree_wait(v);
	pfs_buf_add(&from, dir.p, dir.len);
	pfs_buf_str(&from, "");
	if (!err && after && after->is_key)
		err = resume_at(v, after, &from);
	else if (!err && after)
		err = resume_short(dir, name, &from);
	*end = false;
	while (!err && p->n < limit && !*end) {
		*end = from.failed || !next_child(&v->tree, dir, native_bytes(&from), &c);
		if (*end)
			break;
		err = add_child(v, &c, p);
		from.len = 0;
		pfs_buf_add(&from, c.sort.data, c.sort.len);
		pfs_buf_add(&from, "\1", 1);
	}
	if (from.failed || c.sort.failed)
		err = -ENOMEM;
	pfs_buf_release(&from);
	pfs_buf_release(&c.sort);
	return err;
}

/* What the page's keys are like, in one exchange. */
static int ask_page(struct native *v, redisContext *c, void *arg)
{
	struct page *p = arg;
	size_t i;
	int err = 0;

	for (i = 0; i < p->n && !err; i++) {
		struct item *it = &p->items[i];

		if (it->type == NATIVE_KEYS)
			continue;
		if (it->type == NATIVE_STRING)
			err = native_string_send(c, native_bytes(&it->key));
		if (!err)
			err = native_expires_send(v, c, native_bytes(&it->key));
	}
	for (i = 0; i < p->n && !err; i++) {
		struct item *it = &p->items[i];

		it->attr = (struct pfs_view_attr){
			.mode = it->type == NATIVE_STRING || it->type == NATIVE_OTHER ? S_IFREG
										      : S_IFDIR};
		if (it->type == NATIVE_KEYS)
			continue;
		if (it->type == NATIVE_STRING) {
			err = native_string_reply(c, &it->attr.size, &it->attr.version);
			it->gone = err == -ENOENT; /* of another type by now: it will be told */
			err = it->gone ? 0 : err;
			native_tree_saw(v, native_bytes(&it->key), it->attr.size, NULL);
		}
		if (!err)
			err = native_expires_reply(v, c, &it->attr.expires);
		if (err == -ENOENT) {
			it->gone = true;
			err = 0;
		}
	}
	for (i = 0; i < p->n && !err; i++) {
		struct item *it = &p->items[i];
		struct pfs_buf text = {0};

		if (it->type != NATIVE_STREAM || it->gone)
			continue;
		it->attr.mode = S_IFREG;
		err = native_stream_text(c, native_bytes(&it->key), &text);
		it->gone = err == -ENOENT || err == -ESTALE;
		err = it->gone ? 0 : err;
		it->attr.size = text.len;
		it->attr.version = redis_hash(text.data ? text.data : "", text.len);
		pfs_buf_release(&text);
	}
	return err;
}

static int tell_page(struct page *p, pfs_view_entry_fn fn, void *arg)
{
	size_t i;
	int err = 0;

	for (i = 0; i < p->n && !err; i++)
		if (!p->items[i].gone)
			err = fn(arg, (struct pfs_bytes){p->items[i].name, p->items[i].len},
				 &p->items[i].attr);
	return err;
}

/* The directory's own key, as its first entry. */
static int add_own(struct native *v, const struct native_place *dir, struct page *p)
{
	enum native_type type = NATIVE_NONE;
	struct pfs_buf key = {0}, name = {0};
	int err = 0;

	pthread_mutex_lock(&v->tree.lock);
	if (!dir->root)
		type = native_index_find(&v->tree.keys, native_bytes(&dir->sort));
	pthread_mutex_unlock(&v->tree.lock);
	if (type) {
		pfs_buf_add(&key, dir->key.data, dir->key.len);
		pfs_buf_add(&name, VALUE_NAME.p, VALUE_NAME.len);
		err = key.failed || name.failed ? -ENOMEM : page_add(p, &name, type, &key);
	}
	pfs_buf_release(&key);
	pfs_buf_release(&name);
	return err;
}

/* Append dir's separator. */
static int list_keys(struct native *v, struct pfs_bytes path, const struct native_place *dir,
		     struct pfs_bytes after, size_t limit, pfs_view_entry_fn fn, void *arg, bool *end)
{
	struct pfs_buf below = {0}, resume = {0};
	struct native_place place = {0};
	bool own = after.len == 0 || pfs_bytes_eq(after, VALUE_NAME);
	struct page page = {0};
	int err = 0;

	pfs_buf_add(&below, dir->sort.data, dir->sort.len);
	if (!dir->root)
		pfs_buf_add(&below, "\0", 1);
	pfs_buf_str(&below, "");
	if (!own) {
		pfs_buf_add(&resume, path.p, path.len);
		if (path.len)
			pfs_buf_str(&resume, "/");
		pfs_buf_add(&resume, after.p, after.len);
		err = native_place_init(v, native_bytes(&resume), &place);
		if (err == -ENOENT && pfs_name_is_short(after))
			err = 0;
	}
	if (!err && (below.failed || resume.failed))
		err = -ENOMEM;
	if (!err && !after.len)
		err = add_own(v, dir, &page);
	if (!err) {
		pthread_mutex_lock(&v->tree.lock);
		err = gather(v, native_bytes(&below), own ? NULL : &place, after, limit, &page, end);
		pthread_mutex_unlock(&v->tree.lock);
	}
	if (!err)
		err = native_do(v, ask_page, &page, NULL);
	if (!err)
		err = tell_page(&page, fn, arg);
	page_release(&page);
	native_place_release(&place);
	pfs_buf_release(&below);
	pfs_buf_release(&resume);
	return err;
}

/* ---- elements ------------------------------------------------------------------------------- */

/* The elements of a key, sorted, as they were when its listing began. */
struct native_names {
	struct pfs_buf key;
	struct pfs_buf bytes; /* each with its length before it */
	uint32_t *at;	      /* where each begins */
	size_t n;
};

static struct pfs_bytes name_at(const struct native_names *s, size_t i)
{
	uint32_t len;

	memcpy(&len, s->bytes.data + s->at[i], sizeof(len));
	return (struct pfs_bytes){s->bytes.data + s->at[i] + sizeof(len), len};
}

static void names_free(struct native_names *s)
{
	if (!s)
		return;
	pfs_buf_release(&s->key);
	pfs_buf_release(&s->bytes);
	free(s->at);
	free(s);
}

static int compare_names(const void *a, const void *b, void *arg)
{
	struct pfs_bytes x, y;
	uint32_t len;
	size_t n;
	int c;

	memcpy(&len, (const char *)arg + *(const uint32_t *)a, sizeof(len));
	x = (struct pfs_bytes){(const char *)arg + *(const uint32_t *)a + sizeof(len), len};
	memcpy(&len, (const char *)arg + *(const uint32_t *)b, sizeof(len));
	y = (struct pfs_bytes){(const char *)arg + *(const uint32_t *)b + sizeof(len), len};
	n = x.len < y.len ? x.len : y.len;
	c = n ? memcmp(x.p, y.p, n) : 0;
	return c ? c : (x.len > y.len) - (x.len < y.len);
}

/* Sorted, each once. */
static int names_sort(struct native_names *s, size_t n)
{
	uint32_t len, at = 0;
	size_t i, k = 0;

	if (s->bytes.failed || s->bytes.len > UINT32_MAX)
		return s->bytes.failed ? -ENOMEM : -EFBIG;
	s->at = malloc((n ? n : 1) * sizeof(*s->at));
	if (!s->at)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		memcpy(&len, s->bytes.data + at, sizeof(len));
		s->at[i] = at;
		at += (uint32_t)sizeof(len) + len;
	}
	if (n)
		qsort_r(s->at, n, sizeof(*s->at), compare_names, s->bytes.data);
	for (i = 0; i < n; i++)
		if (!k || compare_names(&s->at[k - 1], &s->at[i], s->bytes.data) != 0)
			s->at[k++] = s->at[i];
	s->n = k;
	return 0;
}

static int scan_once(redisContext *c, enum native_type type, struct native_names *s, char cursor[32],
		     size_t *n, size_t *at_once)
{
	struct pfs_bytes command = type == NATIVE_HASH	? PFS_BYTES("HSCAN")
				   : type == NATIVE_SET ? PFS_BYTES("SSCAN")
							: PFS_BYTES("ZSCAN");
	size_t i, step = type == NATIVE_SET ? 1 : 2, bytes = 0;
	redisReply *r = NULL, *list;
	char count[24];
	int err;

	snprintf(count, sizeof(count), "%zu", *at_once);

	err = native_send(c, command, native_bytes(&s->key), pfs_bytes_str(cursor),
			  PFS_BYTES("COUNT"), pfs_bytes_str(count));
	if (!err)
		err = native_reply(c, &r);
	if (!err && (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->len > 31 ||
		     r->element[1]->type != REDIS_REPLY_ARRAY))
		err = -EIO;
	list = err ? NULL : r->element[1];
	for (i = 0; list && i < list->elements; i += step) {
		uint32_t len = (uint32_t)list->element[i]->len;

		bytes += list->element[i]->len + list->element[i + step - 1]->len;
		pfs_buf_add(&s->bytes, &len, sizeof(len));
		pfs_buf_add(&s->bytes, list->element[i]->str, len);
		++*n;
	}
	if (list)
		memcpy(cursor, r->element[0]->str, r->element[0]->len + 1);
	*at_once = pace(*at_once, bytes);
	freeReplyObject(r);
	return err;
}

static int names_gather(redisContext *c, enum native_type type, struct pfs_bytes key,
			struct native_names **out)
{
	struct native_names *s = calloc(1, sizeof(*s));
	char cursor[32] = "0";
	size_t n = 0, at_once = PACE_FIRST;
	int err = s ? 0 : -ENOMEM;

	if (s) {
		pfs_buf_add(&s->key, key.p, key.len);
		pfs_buf_str(&s->key, "");
	}
	do
		err = err ? err : scan_once(c, type, s, cursor, &n, &at_once);
	while (!err && strcmp(cursor, "0") != 0);
	if (!err)
		err = names_sort(s, n);
	if (err)
		names_free(s);
	else
		*out = s;
	return err;
}

/* The element whose name is the short form `name`. */
int native_element_short(redisContext *c, enum native_type type, struct pfs_bytes key,
			 struct pfs_bytes name, struct pfs_buf *out)
{
	struct native_names *s = NULL;
	struct pfs_buf candidate = {0};
	size_t i;
	int err = names_gather(c, type, key, &s);

	for (i = 0; !err && i < s->n; i++) {
		if (name_at(s, i).len <= PFS_NAME_MAX / 4)
			continue;
		candidate.len = 0;
		err = native_element_name(name_at(s, i), &candidate);
		if (!err && pfs_bytes_eq(native_bytes(&candidate), name))
			break;
	}
	if (!err && i == s->n)
		err = -ENOENT;
	if (!err)
		pfs_buf_add(out, name_at(s, i).p, name_at(s, i).len);
	pfs_buf_release(&candidate);
	names_free(s);
	return err;
}

struct element_page {
	const struct native_found *found;
	struct pfs_bytes after; /* an element; p NULL: from the start */
	bool is_short;		/* `after` is the short form of a name */
	size_t limit;
	pfs_view_entry_fn fn;
	void *arg;
	bool *end;
};

/* The names of the listing that goes on, or new ones; NULL with *err. It is the caller's. */
static struct native_names *names_take(struct native *v, redisContext *c,
				       const struct element_page *p, int *err)
{
	struct native_names *s = NULL;

	pthread_mutex_lock(&v->names_lock);
	if (p->after.p && v->names && pfs_bytes_eq(native_bytes(&v->names->key), p->found->key)) {
		s = v->names;
		v->names = NULL;
	}
	pthread_mutex_unlock(&v->names_lock);
	*err = s ? 0 : names_gather(c, p->found->type, p->found->key, &s);
	return s;
}

static void names_leave(struct native *v, struct native_names *s)
{
	struct native_names *old;

	pthread_mutex_lock(&v->names_lock);
	old = v->names;
	v->names = s;
	pthread_mutex_unlock(&v->names_lock);
	names_free(old);
}

/* The first name behind `after`. */
static size_t names_behind(const struct native_names *s, struct pfs_bytes after)
{
	size_t low = 0, high = s->n;

	while (after.p && low < high) {
		size_t mid = low + (high - low) / 2;
		struct pfs_bytes x = name_at(s, mid);
		size_t n = x.len < after.len ? x.len : after.len;
		int c = n ? memcmp(x.p, after.p, n) : 0;

		if (c < 0 || (c == 0 && x.len <= after.len))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The same of a name in its short form; where its element has gone, from what that began with. */
static int names_behind_short(const struct native_names *s, struct pfs_bytes name, size_t *out)
{
	struct pfs_buf b = {0};
	int err = 0;

	for (*out = 0; !err && *out < s->n; (*out)++) {
		b.len = 0;
		if (name_at(s, *out).len > PFS_NAME_MAX / 4)
			err = native_element_name(name_at(s, *out), &b);
		if (!err && pfs_bytes_eq(native_bytes(&b), name)) {
			(*out)++;
			break;
		}
	}
	if (!err && !pfs_bytes_eq(native_bytes(&b), name)) {
		b.len = 0;
		native_element_begins(name, &b);
		*out = names_behind(s, native_bytes(&b));
		err = b.failed ? -ENOMEM : 0;
	}
	pfs_buf_release(&b);
	return err;
}

static int tell_element(const struct element_page *p, struct pfs_bytes element, const redisReply *r)
{
	struct pfs_view_attr attr;
	struct pfs_buf name = {0};
	int err = native_element_name(element, &name);

	native_element_attr(p->found->type, r, &attr);
	if (!err)
		err = p->fn(p->arg, native_bytes(&name), &attr);
	pfs_buf_release(&name);
	return err;
}

/* n of the names, from `first` on. *told: what the caller said. */
static int tell_some(redisContext *c, const struct element_page *p, const struct native_names *s,
		     size_t first, size_t n, size_t *bytes, size_t *n_told, int *told)
{
	size_t i;
	int err = 0;

	*bytes = 0;
	for (i = 0; i < n && !err; i++)
		err = native_element_send(c, p->found->type, p->found->key, name_at(s, first + i));
	for (i = 0; i < n && !err; i++) {
		redisReply *r = NULL;

		err = native_element_reply(c, p->found->type, &r);
		if (!err)
			*bytes += r->len;
		*n_told += !err;
		if (!err && !*told)
			*told = tell_element(p, name_at(s, first + i), r);
		else if (err == -ENOENT)
			err = 0;
		freeReplyObject(r);
	}
	return err;
}

static int list_names(struct native *v, redisContext *c, struct element_page *p)
{
	size_t first, i, n_told = 0, k = PACE_FIRST, bytes = 0;
	struct native_names *s;
	int err, told = 0;

	s = names_take(v, c, p, &err);
	if (err)
		return err;
	first = 0;
	if (p->is_short)
		err = names_behind_short(s, p->after, &first);
	else
		first = names_behind(s, p->after);
	/* Of those that have gone none is told: a page goes on until it has others. */
	for (i = first; i < s->n && n_told < p->limit && !err && !told; i += k, k = pace(k, bytes)) {
		k = k < s->n - i ? k : s->n - i;
		k = k < p->limit - n_told ? k : p->limit - n_told;
		err = tell_some(c, p, s, i, k, &bytes, &n_told, &told);
	}
	*p->end = i >= s->n;
	names_leave(v, s);
	return err ? err : told;
}

/* n elements from `first` on: *n becomes how many there were. */
static int list_some(redisContext *c, const struct element_page *p, uint64_t first, size_t *n,
		     size_t *bytes)
{
	char from[24], to[24], name[24];
	struct pfs_view_attr attr;
	redisReply *r = NULL;
	size_t i;
	int err;

	snprintf(from, sizeof(from), "%llu", (unsigned long long)first);
	snprintf(to, sizeof(to), "%llu", (unsigned long long)(first + *n - 1));
	err = native_send(c, PFS_BYTES("LRANGE"), p->found->key, pfs_bytes_str(from),
			  pfs_bytes_str(to));
	if (!err)
		err = native_reply(c, &r);
	if (err)
		return err;
	*n = r->elements;
	*bytes = 0;
	for (i = 0; i < r->elements && !err; i++) {
		*bytes += r->element[i]->len;
		snprintf(name, sizeof(name), "%08llu", (unsigned long long)first + i);
		native_element_attr(NATIVE_LIST, r->element[i], &attr);
		err = p->fn(p->arg, pfs_bytes_str(name), &attr);
	}
	freeReplyObject(r);
	return err;
}

static int list_list(redisContext *c, struct element_page *p)
{
	size_t told, want = PACE_FIRST, got, bytes = 0;
	uint64_t first = 0;
	int err = 0;

	if (p->after.p && native_list_index(p->after, &first))
		first++;
	*p->end = false;
	for (told = 0; told < p->limit && !*p->end && !err; told += got, want = pace(want, bytes)) {
		got = want = want < p->limit - told ? want : p->limit - told;
		err = list_some(c, p, first + told, &got, &bytes);
		*p->end = !err && got < want;
	}
	return err;
}

/* ---- which of both -------------------------------------------------------------------------- */

struct listed {
	struct native_place *place;
	struct native_found found;
	struct element_page elements;
	bool told; /* something: it cannot be begun anew */
};

static int count(void *arg, struct pfs_bytes name, const struct pfs_view_attr *attr)
{
	struct listed *l = arg;

	l->told = true;
	return l->elements.fn(l->elements.arg, name, attr);
}

static int list_now(struct native *v, redisContext *c, void *arg)
{
	struct listed *l = arg;
	struct element_page p = l->elements;
	struct pfs_buf after = {0};
	int err = native_find(v, c, l->place, false, &l->found);

	if (err || l->found.kind != NATIVE_IS_KEY || !native_has_elements(l->found.type))
		return err;
	p.found = &l->found;
	p.fn = count;
	p.arg = l;
	if (l->found.type != NATIVE_LIST && p.after.p) {
		err = native_element_of(p.after, &after);
		p.is_short = err == 1;
		err = err == 1 ? 0 : err;
		pfs_buf_str(&after, "");
		if (!p.is_short)
			p.after = native_bytes(&after);
	}
	if (!err)
		err = l->found.type == NATIVE_LIST ? list_list(c, &p) : list_names(v, c, &p);
	pfs_buf_release(&after);
	return err;
}

int native_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
		pfs_view_entry_fn fn, void *arg, bool *end)
{
	struct native *v = native_of(view);
	struct native_place place;
	struct listed l = {.place = &place,
			   .elements = {.limit = limit, .fn = fn, .arg = arg, .end = end}};
	int err = native_place_init(v, path, &place);

	if (after.len)
		l.elements.after = after;
	if (!err)
		err = native_do(v, list_now, &l, &l.told);
	if (err)
		goto out;
	switch (l.found.kind) {
	case NATIVE_IS_DIR:
		err = list_keys(v, path, &place, after, limit, fn, arg, end);
		break;
	case NATIVE_IS_PENDING:
		*end = true;
		break;
	case NATIVE_IS_KEY:
		err = native_has_elements(l.found.type) ? 0 : -ENOTDIR;
		break;
	case NATIVE_IS_ELEMENT:
		err = -ENOTDIR;
		break;
	default:
		err = -ENOENT;
	}
out:
	native_place_release(&place);
	return err;
}

void native_names_release(struct native *v)
{
	names_free(v->names);
}
