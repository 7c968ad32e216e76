/*
 * What the server tells as a whole only, and is read in pieces: the text of a stream, an element. It is kept
 * for the next piece, until the end has been read or the server has told that the key was written.
 */
#include "backends/redis/native.h"

/* Below this it may be asked for again. */
#define LARGE (256u << 10)

static uint32_t *changes_of(struct native_texts *t, struct pfs_bytes key)
{
	return &t->changes[redis_hash(key.p, key.len) & (NATIVE_TEXTS - 1)];
}

static void drop(struct native_texts *t)
{
	pfs_buf_release(&t->key);
	pfs_buf_release(&t->element);
	pfs_buf_release(&t->text);
}

static bool has_key(const struct native_texts *t, struct pfs_bytes key)
{
	return t->text.data && pfs_bytes_eq(native_bytes(&t->key), key);
}

static bool has(const struct native_texts *t, const struct native_found *f)
{
	return has_key(t, f->key) && t->is_element == (f->kind == NATIVE_IS_ELEMENT) &&
	       (!t->is_element || pfs_bytes_eq(native_bytes(&t->element), f->element));
}

void native_text_changed(struct native *v, struct pfs_bytes key)
{
	struct native_texts *t = &v->texts;

	pthread_mutex_lock(&t->lock);
	++*changes_of(t, key);
	if (has_key(t, key))
		drop(t);
	pthread_mutex_unlock(&t->lock);
}

void native_text_all_changed(struct native *v)
{
	struct native_texts *t = &v->texts;
	size_t i;

	pthread_mutex_lock(&t->lock);
	for (i = 0; i < NATIVE_TEXTS; i++)
		t->changes[i]++;
	drop(t);
	pthread_mutex_unlock(&t->lock);
}

/* A piece of `text`; *end: what follows is nothing. */
static size_t cut(const struct pfs_buf *text, uint64_t off, void *buf, size_t len, bool *end)
{
	size_t left = off < text->len ? text->len - (size_t)off : 0;

	*end = left <= len;
	len = left < len ? left : len;
	if (len)
		memcpy(buf, text->data + off, len);
	return len;
}

static bool read_kept(struct native *v, const struct native_found *f, uint64_t off, void *buf,
		      size_t *len, uint64_t *version)
{
	struct native_texts *t = &v->texts;
	bool found, end;

	pthread_mutex_lock(&t->lock);
	found = has(t, f) && pfs_backend_pushing(v->view.backend);
	if (found) {
		*len = cut(&t->text, off, buf, *len, &end);
		*version = t->version;
		if (end)
			drop(t);
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* All of it, from the server. */
static int ask(redisContext *c, const struct native_found *f, struct pfs_buf *out)
{
	redisReply *r = NULL;
	int err;

	if (f->kind != NATIVE_IS_ELEMENT)
		return native_stream_text(c, f->key, out);
	err = f->missing ? -ENOENT : native_element_send(c, f->type, f->key, f->element);
	if (!err)
		err = native_element_reply(c, f->type, &r);
	if (!err && f->type != NATIVE_SET)
		pfs_buf_add(out, r->str, r->len);
	pfs_buf_str(out, "");
	freeReplyObject(r);
	return err ? err : out->failed ? -ENOMEM : 0;
}

/* `text` is consumed. The lock is held. */
static void keep(struct native_texts *t, const struct native_found *f, struct pfs_buf *text,
		 uint64_t version)
{
	drop(t);
	pfs_buf_add(&t->key, f->key.p, f->key.len);
	pfs_buf_str(&t->key, "");
	pfs_buf_add(&t->element, f->element.p, f->element.len);
	pfs_buf_str(&t->element, "");
	t->is_element = f->kind == NATIVE_IS_ELEMENT;
	t->version = version;
	t->text = *text;
	*text = (struct pfs_buf){0};
	if (t->key.failed || t->element.failed)
		drop(t);
}

ssize_t native_text_read(struct native *v, redisContext *c, const struct native_found *f,
			 uint64_t off, void *buf, size_t len, uint64_t *version)
{
	struct native_texts *t = &v->texts;
	struct pfs_buf text = {0};
	uint32_t changes;
	bool end;
	int err;

	if (read_kept(v, f, off, buf, &len, version))
		return (ssize_t)len;
	pthread_mutex_lock(&t->lock);
	changes = *changes_of(t, f->key);
	pthread_mutex_unlock(&t->lock);
	err = ask(c, f, &text);
	if (err) {
		pfs_buf_release(&text);
		return err;
	}
	*version = f->type == NATIVE_SET ? 1 : redis_hash(text.data, text.len);
	len = cut(&text, off, buf, len, &end);
	pthread_mutex_lock(&t->lock);
	if (!end && text.len >= LARGE && changes == *changes_of(t, f->key) &&
	    pfs_backend_pushing(v->view.backend))
		keep(t, f, &text, *version);
	pthread_mutex_unlock(&t->lock);
	pfs_buf_release(&text);
	return (ssize_t)len;
}

void native_texts_init(struct native *v)
{
	pthread_mutex_init(&v->texts.lock, NULL);
}

void native_texts_release(struct native *v)
{
	drop(&v->texts);
	pthread_mutex_destroy(&v->texts.lock);
}
