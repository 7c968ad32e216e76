/*
 * One JSON object, as the values of a row: strings decoded, everything else as it was written, so that
 * the digits of a number stay. What lies nested in it is kept as text.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables_write.h"

#define DEPTH_MAX 512

struct reader {
	const char *p, *end;
};

static int wrong(const char *what)
{
	pfs_error_text_set("no JSON object of columns: %s", what);
	return -EINVAL;
}

static void skip_space(struct reader *r)
{
	while (r->p < r->end && strchr(" \t\r\n", *r->p) && *r->p)
		r->p++;
}

static bool next_is(struct reader *r, char c)
{
	skip_space(r);
	if (r->p == r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

static int hex4(struct reader *r, uint32_t *out)
{
	int i;

	*out = 0;
	if (r->end - r->p < 4)
		return wrong("an escape is cut off");
	for (i = 0; i < 4; i++, r->p++) {
		if (!isxdigit((unsigned char)*r->p))
			return wrong("\\u wants four hex digits");
		*out = *out * 16 + (uint32_t)(isdigit((unsigned char)*r->p)
						      ? *r->p - '0'
						      : (*r->p | 32) - 'a' + 10);
	}
	return 0;
}

static void add_utf8(struct pfs_buf *out, uint32_t c)
{
	char b[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

	for (i = n - 1; i > 0; i--, c >>= 6)
		b[i] = (char)(0x80 | (c & 0x3f));
	b[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
	pfs_buf_add(out, b, n);
}

static int unicode(struct reader *r, struct pfs_buf *out)
{
	uint32_t c, low;
	int err = hex4(r, &c);

	if (!err && c >= 0xd800 && c < 0xdc00) {
		if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
			return wrong("half of a surrogate pair");
		r->p += 2;
		err = hex4(r, &low);
		if (!err && (low < 0xdc00 || low > 0xdfff))
			err = wrong("half of a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (!err && c >= 0xdc00 && c < 0xe000) {
		err = wrong("half of a surrogate pair");
	}
	if (!err)
		add_utf8(out, c);
	return err;
}

/* Behind the opening quote; `out` may be NULL. */
static int string(struct reader *r, struct pfs_buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	struct pfs_buf none = {0}, *b = out ? out : &none;
	const char *at;
	int err = 0;

	while (!err) {
		if (r->p == r->end)
			err = wrong("a string has no end");
		else if (*r->p == '"')
			break;
		else if ((unsigned char)*r->p < ' ')
			err = wrong("a control character in a string");
		else if (*r->p != '\\')
			pfs_buf_add(b, r->p++, 1);
		else if (++r->p == r->end)
			err = wrong("a string has no end");
		else if (*r->p == 'u' && r->p++)
			err = unicode(r, b);
		else if (*r->p && (at = strchr(from, *r->p)) && r->p++)
			pfs_buf_add(b, &to[at - from], 1);
		else
			err = wrong("an unknown escape");
	}
	r->p += !err;
	pfs_buf_release(&none);
	return err;
}

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static int number(struct reader *r)
{
	const char *first;

	r->p += *r->p == '-';
	first = r->p;
	while (r->p < r->end && isdigit((unsigned char)*r->p))
		r->p++;
	if (r->p == first || (*first == '0' && r->p - first > 1))
		return wrong("something that is no value");
	if (r->p < r->end && *r->p == '.') {
		first = ++r->p;
		while (r->p < r->end && isdigit((unsigned char)*r->p))
			r->p++;
		if (r->p == first)
			return wrong("a number ends with its point");
	}
	if (r->p < r->end && (*r->p | 32) == 'e') {
		r->p++;
		r->p += r->p < r->end && (*r->p == '+' || *r->p == '-');
		first = r->p;
		while (r->p < r->end && isdigit((unsigned char)*r->p))
			r->p++;
		if (r->p == first)
			return wrong("a number without its exponent");
	}
	return 0;
}

static bool word(struct reader *r, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0)
		return false;
	r->p += n;
	return true;
}

static int skip_value(struct reader *r, int depth);

/* An object or array, behind its opening bracket. */
static int skip_nested(struct reader *r, bool object, int depth)
{
	char close = object ? '}' : ']';
	int err = 0;

	if (depth > DEPTH_MAX)
		return wrong("nested too deeply");
	if (next_is(r, close))
		return 0;
	do {
		if (object) {
			if (!next_is(r, '"'))
				return wrong("a name in quotes is missing");
			err = string(r, NULL);
			if (!err && !next_is(r, ':'))
				err = wrong("a colon is missing");
		}
		if (!err)
			err = skip_value(r, depth + 1);
	} while (!err && next_is(r, ','));
	if (!err && !next_is(r, close))
		err = wrong("a bracket is not closed");
	return err;
}

static int skip_value(struct reader *r, int depth)
{
	skip_space(r);
	if (next_is(r, '"'))
		return string(r, NULL);
	if (next_is(r, '{'))
		return skip_nested(r, true, depth);
	if (next_is(r, '['))
		return skip_nested(r, false, depth);
	if (r->p == r->end)
		return wrong("a value is missing");
	return word(r, "null") || word(r, "true") || word(r, "false") ? 0 : number(r);
}

static int field_value(struct reader *r, struct tables_json_field *f)
{
	const char *first;
	int err;

	skip_space(r);
	first = r->p;
	if (r->p == r->end)
		return wrong("a value is missing");
	if (next_is(r, '"')) {
		f->kind = TABLES_JSON_STRING;
		return string(r, &f->text);
	}
	err = skip_value(r, 0);
	if (err)
		return err;
	f->kind = *first == 'n'			       ? TABLES_JSON_NULL
		  : *first == 't' || *first == 'f'     ? TABLES_JSON_BOOL
		  : *first == '{' || *first == '['     ? TABLES_JSON_NESTED
						       : TABLES_JSON_NUMBER;
	pfs_buf_add(&f->text, first, (size_t)(r->p - first));
	return 0;
}

static int field(struct reader *r, struct tables_json *out)
{
	struct tables_json_field *more, *f;
	int err;

	if (out->n == TABLES_COLUMNS_MAX)
		return wrong(TABLES_TOO_MANY);
	more = realloc(out->fields, (out->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	out->fields = more;
	f = &more[out->n++];
	*f = (struct tables_json_field){0};
	pfs_buf_str(&f->name, "");
	pfs_buf_str(&f->text, "");
	if (!next_is(r, '"'))
		return wrong("a name in quotes is missing");
	err = string(r, &f->name);
	if (!err && !next_is(r, ':'))
		err = wrong("a colon is missing");
	if (!err)
		err = field_value(r, f);
	return err ? err : f->name.failed || f->text.failed ? -ENOMEM : 0;
}

int tables_json_parse(struct pfs_bytes text, struct tables_json *out)
{
	struct reader r = {text.p, text.p + text.len};
	int err = 0;

	*out = (struct tables_json){0};
	if (!next_is(&r, '{'))
		return wrong("it does not begin with {");
	if (!next_is(&r, '}')) {
		do
			err = field(&r, out);
		while (!err && next_is(&r, ','));
		if (!err && !next_is(&r, '}'))
			err = wrong("it does not end with }");
	}
	skip_space(&r);
	if (!err && r.p != r.end)
		err = wrong("something follows it");
	return err;
}

void tables_json_release(struct tables_json *j)
{
	size_t i;

	for (i = 0; i < j->n; i++) {
		pfs_buf_release(&j->fields[i].name);
		pfs_buf_release(&j->fields[i].text);
	}
	free(j->fields);
}
