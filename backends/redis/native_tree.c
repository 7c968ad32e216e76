/*
 * What is known of the keys of a database without asking: which there are and of which type, in the
 * order of their paths; and what only the daemon knows: directories that were made and are nobody's
 * yet. native_watch.c keeps it true; what this mount itself writes is noted at once.
 */
#include "backends/redis/native.h"

/* ---- sorting form --------------------------------------------------------------------------- */

/* How many bytes from `at` on stand for themselves. */
static size_t plain_run(struct pfs_bytes sep, struct pfs_bytes key, size_t at)
{
	size_t i;

	for (i = at; i < key.len; i++)
		if ((unsigned char)key.p[i] <= 1 ||
		    (sep.len && key.p[i] == sep.p[0] && key.len - i >= sep.len &&
		     !memcmp(key.p + i, sep.p, sep.len)))
			break;
	return i - at;
}

int native_sort_form(const struct pfs_key_encoding *enc, struct pfs_bytes key, struct pfs_buf *out)
{
	struct pfs_bytes sep = enc->separator;
	size_t i = 0, n;

	while (i < key.len) {
		n = plain_run(sep, key, i);
		pfs_buf_add(out, key.p + i, n);
		i += n;
		if (i == key.len)
			break;
		if (sep.len && key.len - i >= sep.len && !memcmp(key.p + i, sep.p, sep.len)) {
			pfs_buf_add(out, "\0", 1);
			i += sep.len;
			continue;
		}
		pfs_buf_add(out, key.p[i] ? "\1\2" : "\1\1", 2);
		i++;
	}
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

int native_key_of_sort(const struct native *v, struct pfs_bytes sort, struct pfs_buf *out)
{
	size_t i;

	pfs_buf_add(out, v->prefix.p, v->prefix.len);
	for (i = 0; i < sort.len; i++) {
		if (sort.p[i] == '\0')
			pfs_buf_add(out, v->enc.separator.p, v->enc.separator.len);
		else if (sort.p[i] == '\1' && i + 1 < sort.len)
			pfs_buf_add(out, sort.p[++i] == '\1' ? "\0" : "\1", 1);
		else
			pfs_buf_add(out, &sort.p[i], 1);
	}
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

bool native_shown(const struct native *v, struct pfs_bytes key)
{
	const struct native_tree *t = &v->tree;
	size_t i;

	if (key.len < v->prefix.len || memcmp(key.p, v->prefix.p, v->prefix.len) != 0)
		return false;
	for (i = 0; i < t->nhidden; i++)
		if (key.len >= t->hidden[i].len &&
		    !memcmp(key.p, t->hidden[i].p, t->hidden[i].len))
			return false;
	return true;
}

/* ---- what is there -------------------------------------------------------------------------- */

bool native_tree_has_below(const struct native_tree *t, struct pfs_bytes sort)
{
	struct pfs_buf below = {0};
	bool is;

	pfs_buf_add(&below, sort.p, sort.len);
	pfs_buf_add(&below, "\0", 1);
	is = !below.failed && (native_index_begins(&t->keys, native_bytes(&below)) ||
			       native_index_begins(&t->pending, native_bytes(&below)));
	pfs_buf_release(&below);
	return is;
}

bool native_tree_is_dir(const struct native_tree *t, struct pfs_bytes sort)
{
	return native_tree_has_below(t, sort) ||
	       native_index_find(&t->pending, sort) == NATIVE_KEYS;
}

/* ---- when what is nobody's yet will expire -------------------------------------------------- */

struct native_later {
	struct native_later *next;
	int64_t expires;
	size_t len;
	char sort[];
};

static struct native_later **later_slot(struct native_tree *t, struct pfs_bytes sort)
{
	struct native_later **slot = &t->later;

	while (*slot && !pfs_bytes_eq((struct pfs_bytes){(*slot)->sort, (*slot)->len}, sort))
		slot = &(*slot)->next;
	return slot;
}

int64_t native_tree_expires(struct native_tree *t, struct pfs_bytes sort)
{
	struct native_later *later = *later_slot(t, sort);

	return later ? later->expires : 0;
}

int native_tree_set_expires(struct native_tree *t, struct pfs_bytes sort, int64_t expires)
{
	struct native_later **slot = later_slot(t, sort), *later = *slot;

	if (later && !expires) {
		*slot = later->next;
		free(later);
		return 0;
	}
	if (!later && expires) {
		later = calloc(1, sizeof(*later) + sort.len);
		if (!later)
			return -ENOMEM;
		later->len = sort.len;
		if (sort.len)
			memcpy(later->sort, sort.p, sort.len);
		*slot = later;
	}
	if (later)
		later->expires = expires;
	return 0;
}

/* Why it is waited for in vain. */
static int not_complete(struct native *v)
{
	const struct native_tree *t = &v->tree;

	if (t->broken) {
		pfs_error_text_set("there is no memory for an index of all keys of %s",
				   v->host->target.where);
		return -ENOMEM;
	}
	if (pfs_pool_down(&v->host->pool)) {
		pfs_error_text_set("%s cannot be reached", v->host->target.where);
		return -EHOSTDOWN;
	}
	pfs_error_text_set("the index of the keys of %s is not complete yet: %zu keys so far",
			   v->host->target.where, t->keys.n);
	return -EAGAIN;
}

int native_tree_wait_more(struct native *v, int64_t until)
{
	struct timespec ts = {.tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC};
	struct native_tree *t = &v->tree;

	if (!t->broken && !pthread_cond_timedwait(&t->changed, &t->lock, &ts))
		return 0;
	return t->complete ? 0 : not_complete(v);
}

int native_tree_wait(struct native *v)
{
	int64_t until = pfs_monotonic_ns() + v->host->retry_timeout;
	int err = 0;

	while (!v->tree.complete && !err)
		err = native_tree_wait_more(v, until);
	return err;
}

/* ---- what this mount writes ----------------------------------------------------------------- */

uint32_t *native_tree_mark(struct native_tree *t, struct pfs_bytes key)
{
	return &t->marks[redis_hash(key.p, key.len) & (NATIVE_MARKS - 1)];
}

void native_tree_wrote(struct native *v, struct pfs_bytes key, enum native_type type)
{
	struct pfs_buf sort = {0};
	unsigned char old;
	int err;

	native_text_changed(v, key);
	err = native_sort_form(
		&v->enc, (struct pfs_bytes){key.p + v->prefix.len, key.len - v->prefix.len}, &sort);
	pthread_mutex_lock(&v->tree.lock);
	++*native_tree_mark(&v->tree, key);
	if (!err && type)
		err = native_index_put(&v->tree.keys, native_bytes(&sort), (unsigned char)type,
				       &old);
	else if (!err)
		native_index_remove(&v->tree.keys, native_bytes(&sort));
	v->tree.broken |= err != 0;
	pthread_mutex_unlock(&v->tree.lock);
	pfs_buf_release(&sort);
	native_watch_look(v, key);
}

struct native_written *native_tree_written(struct native_tree *t, struct pfs_bytes key)
{
	return &t->written[redis_hash(key.p, key.len) & (NATIVE_WRITTEN - 1)];
}

void native_tree_holds(struct native *v, struct pfs_bytes key, const struct pfs_bytes *value,
		       int64_t expires)
{
	struct native_written *w = native_tree_written(&v->tree, key);
	uint64_t h = redis_hash(key.p, key.len);

	pthread_mutex_lock(&v->tree.lock);
	if (value && value->len <= REDIS_VERIFY_MAX)
		*w = (struct native_written){h, redis_hash(value->p, value->len), value->len,
					     expires};
	else if (w->key == h)
		*w = (struct native_written){0};
	pthread_mutex_unlock(&v->tree.lock);
}

void native_tree_saw(struct native *v, struct pfs_bytes key, uint64_t size,
		     const struct pfs_bytes *value)
{
	struct native_written *w = native_tree_written(&v->tree, key);

	pthread_mutex_lock(&v->tree.lock);
	if (w->key == redis_hash(key.p, key.len) &&
	    (w->size != size ||
	     (value && (!value->p || redis_hash(value->p, value->len) != w->hash))))
		*w = (struct native_written){0};
	pthread_mutex_unlock(&v->tree.lock);
}

void native_tree_forget(struct native_tree *t, struct pfs_bytes key,
			const struct native_written *what)
{
	struct native_written *w = native_tree_written(t, key);

	pthread_mutex_lock(&t->lock);
	if (w->key == what->key && w->hash == what->hash)
		*w = (struct native_written){0};
	pthread_mutex_unlock(&t->lock);
}

int native_tree_keep_dirs(struct native *v, struct pfs_bytes sort)
{
	struct native_tree *t = &v->tree;
	unsigned char old;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	while (sort.len && !err) {
		while (sort.len && sort.p[sort.len - 1] != '\0')
			sort.len--;
		if (!sort.len)
			break;
		sort.len--;
		/* A directory that is there by itself keeps those above it. */
		if (native_tree_is_dir(t, sort) || native_index_find(&t->keys, sort) ||
		    native_index_find(&t->pending, sort))
			break;
		err = native_index_put(&t->pending, sort, NATIVE_KEYS, &old);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

int native_tree_init(struct native_tree *t)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void native_tree_release(struct native_tree *t)
{
	size_t i;

	struct native_later *later;

	native_index_release(&t->keys);
	native_index_release(&t->pending);
	while ((later = t->later)) {
		t->later = later->next;
		free(later);
	}
	for (i = 0; i < t->nhidden; i++)
		free(t->hidden[i].p);
	free(t->hidden);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->changed);
}
