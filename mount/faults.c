/*
 * The list of faults, and the masking of passwords in URLs. Used by one thread, before anything is
 * mounted.
 */
#include "mount/faults.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MASK "********"

/*
 * The password of the URL whose authority starts at `start`. One that was not escaped may hold slashes
 * and blanks: everything up to the last '@' is taken for it; only a quote, with which messages end what
 * they quote, ends the search. alone: one without a ':' too.
 * Returns its length, 0: there is none.
 */
static size_t url_password(const char *start, bool alone, const char **out)
{
	const char *at = memrchr(start, '@', strcspn(start, "'")), *colon;

	colon = at ? memchr(start, ':', (size_t)(at - start)) : NULL;
	if (!at || (!colon && !alone))
		return 0;
	*out = colon ? colon + 1 : start;
	return (size_t)(at - *out);
}

/* Whether what stands alone before the '@' is a password, as in the URLs of redis-cli, and no name. */
static bool password_alone(const char *text, const char *url)
{
	static const char *const schemes[] = {"redis", "rediss", "unix"};
	size_t i, len;

	for (i = 0; i < PFS_ARRAY_SIZE(schemes); i++) {
		len = strlen(schemes[i]);
		if ((size_t)(url - text) >= len && !strncasecmp(url - len, schemes[i], len))
			return true;
	}
	return false;
}

/*
 * The value behind a `password` and its '=', in the query of a URL or in a list of words, where blanks
 * may stand around the '=' and the value may be quoted. NULL: no '=' follows.
 */
static const char *word_password(const char *start, size_t *len)
{
	const char *p = start + strspn(start, " ");
	char quote;

	if (*p++ != '=')
		return NULL;
	p += strspn(p, " ");
	quote = *p == '\'' ? *p++ : '\0';
	for (*len = 0; p[*len] && !(quote ? p[*len] == quote : !!strchr("& '", p[*len])); ++*len) {
		if (p[*len] == '\\' && p[*len + 1])
			++*len;
	}
	return p;
}

void pfs_redact_urls(struct pfs_buf *out, const char *text)
{
	static const char word[] = "password";
	const char *url, *key, *pw = NULL;
	size_t len = 0;

	for (;;) {
		url = strstr(text, "://");
		key = strcasestr(text, word);
		if (!url && !key)
			break;
		if (url && (!key || url < key)) {
			len = url_password(url + 3, password_alone(text, url), &pw);
			if (!len)
				pw = url + 3;
		} else {
			pw = word_password(key + strlen(word), &len);
			if (!pw) {
				pw = key + strlen(word);
				len = 0;
			}
		}
		pfs_buf_add(out, text, (size_t)(pw - text));
		if (len)
			pfs_buf_str(out, MASK);
		text = pw + len;
	}
	pfs_buf_str(out, text);
}

static void faults_push(struct pfs_faults *f, unsigned line, char *text)
{
	char **lines = NULL;
	unsigned *at = NULL;

	/* Grow by doubling: n is a power of two when full. */
	if (!(f->n & (f->n - 1))) {
		size_t cap = f->n ? f->n * 2 : 1;

		lines = realloc(f->lines, cap * sizeof(*lines));
		if (lines)
			f->lines = lines;
		at = realloc(f->at, cap * sizeof(*at));
		if (at)
			f->at = at;
		if (!lines || !at) {
			free(text);
			f->failed = true;
			return;
		}
	}
	f->lines[f->n] = text;
	f->at[f->n++] = line;
}

static void faults_vadd(struct pfs_faults *f, const char *file, unsigned line, const char *fmt,
			va_list ap)
{
	struct pfs_buf buf = {0};
	char *text;

	if (f->n > PFS_FAULTS_MAX)
		return;
	if (f->n == PFS_FAULTS_MAX) {
		line = UINT_MAX;
		file = NULL;
		fmt = "more faults follow; these are the first 1000";
	}
	if (vasprintf(&text, fmt, ap) < 0) {
		f->failed = true;
		return;
	}
	if (file && line)
		pfs_buf_printf(&buf, "%s:%u: ", file, line);
	else if (file)
		pfs_buf_printf(&buf, "%s: ", file);
	pfs_redact_urls(&buf, text);
	free(text);
	if (buf.failed) {
		pfs_buf_release(&buf);
		f->failed = true;
		return;
	}
	faults_push(f, line, buf.data);
}

void pfs_faults_add(struct pfs_faults *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	faults_vadd(f, NULL, 0, fmt, ap);
	va_end(ap);
}

void pfs_faults_at(struct pfs_faults *f, unsigned line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	faults_vadd(f, f->file, line, fmt, ap);
	va_end(ap);
}

struct ranked {
	char *text;
	unsigned line;
	size_t rank;
};

static int ranked_cmp(const void *pa, const void *pb)
{
	const struct ranked *a = pa, *b = pb;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

void pfs_faults_sort(struct pfs_faults *f)
{
	struct ranked *all;
	size_t i;

	if (f->n < 2)
		return;
	all = calloc(f->n, sizeof(*all));
	if (!all) {
		f->failed = true;
		return;
	}
	for (i = 0; i < f->n; i++)
		all[i] = (struct ranked){f->lines[i], f->at[i], i};
	qsort(all, f->n, sizeof(*all), ranked_cmp);
	for (i = 0; i < f->n; i++) {
		f->lines[i] = all[i].text;
		f->at[i] = all[i].line;
	}
	free(all);
}

void pfs_faults_release(struct pfs_faults *f)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		free(f->lines[i]);
	free(f->lines);
	free(f->at);
	free(f->file);
	*f = (struct pfs_faults){0};
}
