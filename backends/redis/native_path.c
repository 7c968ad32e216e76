/*
 * Which key, or which part of one, a path means. What it can mean follows from its names alone
 * (native_place_init), what it does mean from the index of keys and the server (native_find): a key
 * that others begin with, "a" beside "a:b", is a directory of keys, and itself the entry %VALUE there.
 */
#include "backends/redis/native.h"

#define VALUE_NAME PFS_BYTES("%VALUE")
#define STREAM_END PFS_BYTES(".jsonl")

static const struct pfs_key_encoding flat = {.separator = {"", 0}};

/* ---- names ---------------------------------------------------------------------------------- */

int native_sort_component(struct pfs_bytes component, struct pfs_buf *out)
{
	return native_sort_form(&flat, component, out);
}

int native_element_name(struct pfs_bytes element, struct pfs_buf *out)
{
	return pfs_names_from_key(&flat, element, false, out, NULL);
}

void native_element_begins(struct pfs_bytes name, struct pfs_buf *out)
{
	pfs_name_short_begins(&flat, name, out);
}

int native_element_of(struct pfs_bytes name, struct pfs_buf *out)
{
	bool own;

	return pfs_names_to_key(&flat, name, out, &own);
}

bool native_list_index(struct pfs_bytes name, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (name.len < 8 || name.len > 12 || (name.len > 8 && name.p[0] == '0'))
		return false;
	for (i = 0; i < name.len; i++) {
		if (name.p[i] < '0' || name.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(name.p[i] - '0');
	}
	*out = v;
	return true;
}

static bool has_separator(const struct native *v, struct pfs_bytes s)
{
	return v->enc.separator.len &&
	       memmem(s.p, s.len, v->enc.separator.p, v->enc.separator.len) != NULL;
}

/* ---- what a path can mean ------------------------------------------------------------------- */

/*
 * The component below directory `dir` (a sorting form that ends with its separator) whose canonical
 * name is the short form `name`: it must be a key's that is known. 0, -ENOENT or another error.
 */
static int find_short(struct native *v, struct pfs_bytes dir, struct pfs_bytes name,
		      struct pfs_buf *out)
{
	struct pfs_buf from = {0}, sort = {0}, key = {0}, candidate = {0};
	struct pfs_bytes found;
	size_t begin;
	int err;

	pfs_buf_add(&from, dir.p, dir.len);
	pfs_buf_str(&from, "");
	pthread_mutex_lock(&v->tree.lock);
	err = native_tree_wait(v);
	while (!err && !from.failed) {
		struct pfs_bytes c;
		const char *end;

		if (!native_index_seek(&v->tree.keys, native_bytes(&from), &found) ||
		    found.len < dir.len || memcmp(found.p, dir.p, dir.len) != 0) {
			err = -ENOENT;
			break;
		}
		c = (struct pfs_bytes){found.p + dir.len, found.len - dir.len};
		end = c.len ? memchr(c.p, '\0', c.len) : NULL;
		if (end)
			c.len = (size_t)(end - c.p);
		sort.len = key.len = candidate.len = 0;
		pfs_buf_add(&sort, c.p, c.len);
		err = native_key_of_sort(v, c, &key);
		begin = v->prefix.len;
		if (!err && key.len - begin > PFS_NAME_MAX / 4)
			err = native_element_name(
				(struct pfs_bytes){key.data + begin, key.len - begin}, &candidate);
		if (!err && candidate.len && pfs_bytes_eq(native_bytes(&candidate), name)) {
			pfs_buf_add(out, key.data + begin, key.len - begin);
			break;
		}
		from.len = 0;
		pfs_buf_add(&from, dir.p, dir.len);
		pfs_buf_add(&from, sort.data, sort.len);
		pfs_buf_add(&from, "\1", 1);
	}
	pthread_mutex_unlock(&v->tree.lock);
	if (from.failed || sort.failed || out->failed)
		err = -ENOMEM;
	pfs_buf_release(&from);
	pfs_buf_release(&sort);
	pfs_buf_release(&key);
	pfs_buf_release(&candidate);
	return err;
}

/* Append the component that `name` stands for to key and sort. first: no separator before it. */
static int add_component(struct native *v, struct pfs_bytes name, bool first, struct pfs_buf *key,
			 struct pfs_buf *sort)
{
	struct pfs_buf c = {0};
	int err;

	if (!first) {
		pfs_buf_add(key, v->enc.separator.p, v->enc.separator.len);
		pfs_buf_add(sort, "\0", 1);
	}
	if (!first && !v->enc.separator.len)
		return -EILSEQ;
	err = native_element_of(name, &c);
	if (err == 1)
		err = find_short(v, native_bytes(sort), name, &c);
	if (!err && has_separator(v, native_bytes(&c)))
		err = -EILSEQ;
	if (!err) {
		pfs_buf_add(key, c.data, c.len);
		err = native_sort_component(native_bytes(&c), sort);
	}
	pfs_buf_str(key, "");
	pfs_buf_release(&c);
	return err ? err : key->failed || sort->failed ? -ENOMEM : 0;
}

/* Joined, components may make a separator that was in none of them. */
static int check_joined(struct native *v, const struct pfs_buf *key, const struct pfs_buf *sort)
{
	struct pfs_buf again = {0};
	int err;

	if (v->enc.separator.len < 2)
		return 0;
	err = native_sort_form(
		&v->enc, (struct pfs_bytes){key->data + v->prefix.len, key->len - v->prefix.len},
		&again);
	if (!err && !pfs_bytes_eq(native_bytes(&again), native_bytes(sort)))
		err = -EILSEQ;
	pfs_buf_release(&again);
	return err;
}

/* The last name, as a part of a key: p->key, and the stream that it may be the name of. */
static int place_key(struct native *v, struct pfs_bytes name, bool first, struct native_place *p)
{
	int err;

	pfs_buf_add(&p->key, p->dir_key.data, p->dir_key.len);
	pfs_buf_add(&p->sort, p->dir_sort.data, p->dir_sort.len);
	err = add_component(v, name, first, &p->key, &p->sort);
	if (!err)
		err = check_joined(v, &p->key, &p->sort);
	p->is_key = !err;
	if (err || name.len <= STREAM_END.len ||
	    memcmp(name.p + name.len - STREAM_END.len, STREAM_END.p, STREAM_END.len) != 0)
		return err;
	pfs_buf_add(&p->stream, p->dir_key.data, p->dir_key.len);
	pfs_buf_add(&p->stream_sort, p->dir_sort.data, p->dir_sort.len);
	name.len -= STREAM_END.len;
	if (add_component(v, name, first, &p->stream, &p->stream_sort))
		p->stream.len = 0;
	return 0;
}

static int place_last(struct native *v, struct pfs_bytes name, bool first, struct native_place *p)
{
	int err;

	p->top = first;
	if (!first) {
		err = native_element_of(name, &p->element);
		p->is_element = err >= 0;
		if (err == 1) { /* to be looked for among the elements */
			pfs_buf_add(&p->element, name.p, name.len);
			p->is_short = true;
		}
		if (err == -ENOMEM)
			return err;
	}
	if (p->dir_own)
		return p->is_element ? 0 : -EILSEQ;
	if (!first && v->enc.separator.len && pfs_bytes_eq(name, VALUE_NAME)) {
		pfs_buf_add(&p->key, p->dir_key.data, p->dir_key.len);
		pfs_buf_add(&p->sort, p->dir_sort.data, p->dir_sort.len);
		p->own_value = p->is_key = true;
		return p->key.failed || p->sort.failed ? -ENOMEM : 0;
	}
	err = place_key(v, name, first, p);
	/* A name that no key can have, or a short form that no key here has, may be an element's. */
	return (err == -EILSEQ || err == -ENOENT) && p->is_element ? 0 : err;
}

int native_place_init(struct native *v, struct pfs_bytes path, struct native_place *p)
{
	bool first = true;
	int err = 0;

	*p = (struct native_place){.root = path.len == 0};
	pfs_buf_add(&p->dir_key, v->prefix.p, v->prefix.len);
	pfs_buf_str(&p->dir_key, "");
	pfs_buf_str(&p->dir_sort, "");
	while (path.len && !err) {
		const char *slash = memchr(path.p, '/', path.len);
		struct pfs_bytes name = {path.p, slash ? (size_t)(slash - path.p) : path.len};

		if (!slash) {
			err = place_last(v, name, first, p);
			break;
		}
		if (p->dir_own)
			err = -ENOENT;
		else if (!first && v->enc.separator.len && pfs_bytes_eq(name, VALUE_NAME))
			p->dir_own = true;
		else
			err = add_component(v, name, first, &p->dir_key, &p->dir_sort);
		first = false;
		path.p += name.len + 1;
		path.len -= name.len + 1;
	}
	if (!err && !first)
		err = check_joined(v, &p->dir_key, &p->dir_sort);
	return err;
}

void native_place_release(struct native_place *p)
{
	pfs_buf_release(&p->key);
	pfs_buf_release(&p->sort);
	pfs_buf_release(&p->dir_key);
	pfs_buf_release(&p->dir_sort);
	pfs_buf_release(&p->element);
	pfs_buf_release(&p->stream);
	pfs_buf_release(&p->stream_sort);
}

/* ---- what it does mean ---------------------------------------------------------------------- */

/* What the index says of a place. */
struct known {
	bool complete, shown;
	bool dir, dir_dir;	      /* the path, and its directory, are directories of keys */
	bool below;		      /* something is below the path */
	int64_t expires, dir_expires; /* of what is pending */
	enum native_type pending, dir_pending;
	bool stream_named; /* there is a key with the name that the stream of this key would have */
};

static void look_at_tree(struct native *v, const struct native_place *p, struct known *k)
{
	struct native_tree *t = &v->tree;
	struct pfs_buf named = {0};

	k->complete = t->complete;
	k->shown = p->is_key && native_shown(v, native_bytes(&p->key));
	k->dir = p->is_key && native_tree_is_dir(t, native_bytes(&p->sort));
	k->pending = p->is_key ? native_index_find(&t->pending, native_bytes(&p->sort)) : 0;
	k->dir_dir = native_tree_is_dir(t, native_bytes(&p->dir_sort));
	k->dir_pending = native_index_find(&t->pending, native_bytes(&p->dir_sort));
	k->below = k->dir && native_tree_has_below(t, native_bytes(&p->sort));
	k->expires = k->pending ? native_tree_expires(t, native_bytes(&p->sort)) : 0;
	k->dir_expires = k->dir_pending ? native_tree_expires(t, native_bytes(&p->dir_sort)) : 0;
	pfs_buf_add(&named, p->sort.data, p->sort.len);
	pfs_buf_add(&named, STREAM_END.p, STREAM_END.len);
	k->stream_named = p->is_key && !named.failed &&
			  (native_index_find(&t->keys, native_bytes(&named)) ||
			   native_tree_is_dir(t, native_bytes(&named)));
	pfs_buf_release(&named);
}

/* What the server says of it. */
struct told {
	enum native_type type, dir_type, stream_type;
	uint64_t size, version;
	int64_t expires, stream_expires;
};

static int take_type(redisContext *c, enum native_type *out)
{
	redisReply *r = NULL;
	int err = native_reply(c, &r);

	if (!err)
		*out = native_type_of((struct pfs_bytes){r->str, r->len});
	freeReplyObject(r);
	return err;
}

/* All keys that decide about it. */
static int watch(redisContext *c, const struct native_place *p)
{
	struct pfs_bytes argv[4] = {PFS_BYTES("WATCH")};
	size_t n = 1;

	if (p->is_key)
		argv[n++] = native_bytes(&p->key);
	if (p->is_element)
		argv[n++] = native_bytes(&p->dir_key);
	if (p->stream.len)
		argv[n++] = native_bytes(&p->stream);
	return n > 1 ? native_sendv(c, argv, n) : 0;
}

static int take_any(redisContext *c)
{
	redisReply *r = NULL;
	int err = native_reply(c, &r);

	freeReplyObject(r);
	return err;
}

static int ask(struct native *v, redisContext *c, const struct native_place *p, bool watched,
	       struct told *t)
{
	bool dir = p->is_element, stream = p->stream.len > 0;
	struct pfs_bytes key = native_bytes(&p->key);
	int err = 0, gone;

	watched &= p->is_key || dir || stream;
	if (watched)
		err = watch(c, p);
	if (!err && p->is_key)
		err = native_send(c, PFS_BYTES("TYPE"), key);
	if (!err && p->is_key)
		err = native_string_send(c, key);
	if (!err && p->is_key)
		err = native_expires_send(v, c, key);
	if (!err && dir)
		err = native_send(c, PFS_BYTES("TYPE"), native_bytes(&p->dir_key));
	if (!err && stream)
		err = native_send(c, PFS_BYTES("TYPE"), native_bytes(&p->stream));
	if (!err && stream)
		err = native_expires_send(v, c, native_bytes(&p->stream));
	if (!err && watched)
		err = take_any(c);
	if (!err && p->is_key)
		err = take_type(c, &t->type);
	if (!err && p->is_key) {
		gone = native_string_reply(c, &t->size, &t->version);
		err = gone == -ENOENT ? 0 : gone; /* of another type */
	}
	if (!err && p->is_key) {
		gone = native_expires_reply(v, c, &t->expires);
		if (gone == -ENOENT) /* between the two */
			t->type = NATIVE_NONE;
		else
			err = gone;
	}
	if (!err && dir)
		err = take_type(c, &t->dir_type);
	if (!err && stream)
		err = take_type(c, &t->stream_type);
	if (!err && stream) {
		gone = native_expires_reply(v, c, &t->stream_expires);
		err = gone == -ENOENT ? 0 : gone;
	}
	return err;
}

static void found_key(const struct told *t, struct native_found *f)
{
	f->kind = NATIVE_IS_KEY;
	f->type = t->type;
	f->size = t->type == NATIVE_STRING ? t->size : 0;
	f->version = t->type == NATIVE_STRING ? t->version : 0;
	f->expires = t->expires;
}

/* Does the place's directory belong to one key, and is `p` one of its elements? */
static bool in_elements(const struct native_place *p, const struct known *k, enum native_type type)
{
	return p->is_element && native_has_elements(type) && (p->dir_own || !k->dir_dir);
}

static bool decide(const struct native_place *p, struct known *k, const struct told *t,
		   struct native_found *f)
{
	enum native_type into = k->dir_pending;

	f->key = native_bytes(&p->key);
	f->sort = native_bytes(&p->sort);
	f->element = native_bytes(&p->element);
	if (p->own_value ? !k->dir : k->dir) {
		f->kind = p->own_value			? NATIVE_IS_NOTHING
			  : k->below || t->type != NATIVE_NONE ? NATIVE_IS_DIR
							: NATIVE_IS_PENDING;
		f->type = p->own_value ? NATIVE_NONE : NATIVE_KEYS;
		return !p->own_value || k->complete;
	}
	if (t->type && k->shown &&
	    (t->type != NATIVE_STREAM || p->own_value || k->stream_named)) {
		found_key(t, f);
		return true;
	}
	if (in_elements(p, k, t->dir_type) || (!t->dir_type && in_elements(p, k, into))) {
		f->kind = NATIVE_IS_ELEMENT;
		f->missing = !t->dir_type;
		f->type = f->missing ? into : t->dir_type;
		f->expires = f->missing ? k->dir_expires : 0;
		f->key = native_bytes(&p->dir_key);
		f->sort = native_bytes(&p->dir_sort);
		return true;
	}
	if (p->stream.len && t->stream_type == NATIVE_STREAM) {
		f->kind = NATIVE_IS_KEY;
		f->type = NATIVE_STREAM;
		f->expires = t->stream_expires;
		f->key = native_bytes(&p->stream);
		f->sort = native_bytes(&p->stream_sort);
		return true;
	}
	if (p->own_value && k->pending == NATIVE_KEYS)
		k->pending = NATIVE_NONE; /* it is the directory that is pending */
	f->kind = k->pending ? NATIVE_IS_PENDING : NATIVE_IS_NOTHING;
	f->type = k->pending;
	f->expires = k->expires;
	f->room = p->is_key && k->shown && !t->type && !p->dir_own &&
		  (p->own_value || p->top || k->dir_dir || into == NATIVE_KEYS);
	return k->complete || k->pending;
}

/* The short form of an element's name opens by looking through the elements. */
static int find_element(redisContext *c, struct native_place *p, struct native_found *f)
{
	struct pfs_buf found = {0};
	int err;

	if (!p->is_short)
		return 0;
	if (f->missing || f->type == NATIVE_LIST)
		return -ENOENT;
	err = native_element_short(c, f->type, f->key, f->element, &found);
	if (err) {
		pfs_buf_release(&found);
		return err;
	}
	pfs_buf_release(&p->element);
	p->element = found;
	p->is_short = false;
	f->element = native_bytes(&p->element);
	return 0;
}

/* Decide with what the server said; *waited: for the index to know more. */
static int decide_waiting(struct native *v, const struct native_place *p, const struct told *t,
			  bool *waited, struct native_found *out)
{
	int64_t until = pfs_monotonic_ns() + v->host->retry_timeout;
	bool sure = false;
	int err = 0;

	*waited = false;
	pthread_mutex_lock(&v->tree.lock);
	while (!sure && !err) {
		struct known k = {0};

		*out = (struct native_found){0};
		look_at_tree(v, p, &k);
		sure = decide(p, &k, t, out);
		if (!sure)
			err = native_tree_wait_more(v, until);
		*waited |= !sure;
	}
	pthread_mutex_unlock(&v->tree.lock);
	return err;
}

int native_find(struct native *v, redisContext *c, struct native_place *p, bool watched,
		struct native_found *out)
{
	bool waited = true;
	int err = 0, tries;

	*out = (struct native_found){.kind = NATIVE_IS_DIR};
	if (p->root)
		return 0;
	/* After a while the server may say something else. */
	for (tries = 0; waited && !err && tries < 2; tries++) {
		struct told t = {0};

		err = ask(v, c, p, watched, &t);
		if (!err)
			err = decide_waiting(v, p, &t, &waited, out);
	}
	if (!err && out->kind == NATIVE_IS_ELEMENT)
		err = find_element(c, p, out);
	return err;
}
