/*
 * Names of files for keys, tables and columns. The rules are stricter than those of names.c, because a
 * key has parts, each part a type, and a directory of rows virtual names: a name that begins with a dot
 * or ends with the suffix of a format is none of a key's. Whoever looks a row up compares the name that
 * was asked for with the one that its key has, so that a row has one name alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/tables.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that the escape at s stands for; -1: it is none. */
static int escape_at(struct pfs_bytes s, size_t i)
{
	int high, low;

	if (s.len - i < 3 || s.p[i] != '%')
		return -1;
	high = hex_digit(s.p[i + 1]);
	low = hex_digit(s.p[i + 2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static size_t digits_at(const char *p)
{
	size_t n = 0;

	while (p[n] >= '0' && p[n] <= '9')
		n++;
	return n;
}

/* Digits with a point, or an exponent; strtod() would take more. */
static bool is_decimal(const char *p)
{
	size_t n = digits_at(p), more = p[n] == '.' ? digits_at(p + n + 1) : 0;

	if (!n && !more)
		return false;
	p += p[n] == '.' ? n + 1 + more : n;
	if (*p != 'e' && *p != 'E')
		return !*p;
	p += 1 + (p[1] == '-' || p[1] == '+');
	n = digits_at(p);
	return n && !p[n];
}

bool tables_is_number(struct pfs_bytes text, bool *integer, int64_t *num)
{
	char buf[400], *p = buf;
	size_t n;

	*integer = false;
	*num = 0;
	if (!text.len || text.len >= sizeof(buf) || memchr(text.p, '\0', text.len))
		return false;
	memcpy(buf, text.p, text.len);
	buf[text.len] = '\0';
	p += *p == '-' || *p == '+';
	n = digits_at(p);
	if (n && !p[n] && buf[0] != '+') {
		errno = 0;
		*num = strtoll(buf, NULL, 10);
		*integer = !errno;
		return true;
	}
	/* As the engine prints what is beyond all numbers. */
	return is_decimal(p) || (!strcmp(p, "Inf") && buf[0] != '+');
}

static void add_text(struct pfs_bytes s, bool many, struct pfs_buf *out)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (c == '/' || c == '\0' || (c == ',' && many) ||
		    (c == '%' && (i == 0 || escape_at(s, i) >= 0 ||
				  (i + 1 < s.len && s.p[i + 1] == '~'))))
			pfs_buf_printf(out, "%%%02X", (unsigned char)c);
		else
			pfs_buf_add(out, &c, 1);
	}
}

void tables_name_value(const struct pfs_value *v, enum tables_affinity affinity, bool many,
		       struct pfs_buf *out)
{
	bool integer;
	int64_t num;
	size_t i;

	switch (v->type) {
	case PFS_VALUE_NULL:
		pfs_buf_str(out, "%NULL");
		return;
	case PFS_VALUE_BLOB:
		pfs_buf_str(out, "%x");
		for (i = 0; i < v->bytes.len; i++)
			pfs_buf_printf(out, "%02x", (unsigned char)v->bytes.p[i]);
		return;
	case PFS_VALUE_TEXT:
		if (!v->bytes.len)
			pfs_buf_str(out, "%EMPTY");
		else if (affinity != TABLES_TEXT && tables_is_number(v->bytes, &integer, &num))
			pfs_buf_str(out, "%T");
		add_text(v->bytes, many, out);
		return;
	default:
		pfs_buf_add(out, v->bytes.p, v->bytes.len);
		return;
	}
}

static bool ends_with(struct pfs_bytes s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.len > n && !memcmp(s.p + s.len - n, suffix, n);
}

/* The byte at `at` becomes its escape. */
static void escape_byte(struct pfs_buf *b, size_t at)
{
	char rest[8];
	size_t n = b->len - at - 1;

	memcpy(rest, b->data + at + 1, n);
	b->len = at;
	pfs_buf_str(b, "%2E");
	pfs_buf_add(b, rest, n);
}

void tables_name_dot(struct pfs_buf *out)
{
	struct pfs_buf rest = {0};

	if (out->failed || !out->len || out->data[0] != '.')
		return;
	pfs_buf_add(&rest, out->data + 1, out->len - 1);
	out->len = 0;
	pfs_buf_str(out, "%2E");
	pfs_buf_add(out, rest.data, rest.len);
	out->failed |= rest.failed;
	pfs_buf_release(&rest);
}

void tables_name_finish(struct pfs_buf *out)
{
	struct pfs_buf key = {0};
	size_t i, n;

	if (out->failed)
		return;
	for (i = 0; i < TABLES_FORMATS; i++) {
		n = strlen(tables_format_names[i]) + 1;
		if (i != TABLES_JSONL && out->len > n && out->data[out->len - n] == '.' &&
		    ends_with((struct pfs_bytes){out->data, out->len}, tables_format_names[i])) {
			escape_byte(out, out->len - n);
			break;
		}
	}
	tables_name_dot(out);
	if (!out->failed && out->len > PFS_NAME_MAX) {
		pfs_buf_add(&key, out->data, out->len);
		if (!key.failed)
			pfs_name_shorten((struct pfs_bytes){key.data, key.len}, out, 0);
		out->failed |= key.failed;
	}
	pfs_buf_release(&key);
}

static int parse_blob(struct pfs_bytes hex, struct pfs_value *out, struct pfs_buf *text)
{
	size_t i;

	if (hex.len % 2)
		return -EILSEQ;
	for (i = 0; i < hex.len; i += 2) {
		const char *digits = "0123456789abcdef";
		const char *high = strchr(digits, hex.p[i]), *low = strchr(digits, hex.p[i + 1]);
		char byte;

		if (!high || !low || !hex.p[i] || !hex.p[i + 1])
			return -EILSEQ;
		byte = (char)((high - digits) * 16 + (low - digits));
		pfs_buf_add(text, &byte, 1);
	}
	*out = (struct pfs_value){.type = PFS_VALUE_BLOB};
	return 0;
}

static void parse_text(struct pfs_bytes part, struct pfs_buf *text)
{
	size_t i;

	for (i = 0; i < part.len; i++) {
		int c = escape_at(part, i);
		char byte = (char)(c < 0 ? part.p[i] : c);

		pfs_buf_add(text, &byte, 1);
		i += c < 0 ? 0 : 2;
	}
}

int tables_name_parse(struct pfs_bytes part, enum tables_affinity affinity, struct pfs_value *out,
		      struct pfs_buf *text)
{
	bool integer = false, typed = affinity != TABLES_TEXT;
	struct pfs_bytes rest;
	int err = 0;

	text->len = 0;
	pfs_buf_str(text, "");
	*out = (struct pfs_value){.type = PFS_VALUE_TEXT};
	if (pfs_bytes_eq(part, PFS_BYTES("%NULL"))) {
		out->type = PFS_VALUE_NULL;
	} else if (pfs_bytes_eq(part, PFS_BYTES("%EMPTY"))) {
		;
	} else if (part.len >= 2 && !memcmp(part.p, "%x", 2)) {
		err = parse_blob((struct pfs_bytes){part.p + 2, part.len - 2}, out, text);
	} else {
		rest = part;
		if (typed && part.len >= 2 && !memcmp(part.p, "%T", 2)) {
			rest = (struct pfs_bytes){part.p + 2, part.len - 2};
			typed = false;
		}
		parse_text(rest, text);
		if (typed && !text->failed &&
		    tables_is_number((struct pfs_bytes){text->data, text->len}, &integer,
				     &out->num))
			out->type = integer ? PFS_VALUE_INTEGER : PFS_VALUE_REAL;
	}
	if (text->failed)
		return -ENOMEM;
	out->bytes = (struct pfs_bytes){text->data, text->len};
	return err;
}
