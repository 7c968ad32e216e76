/*
 * Names as the database keeps them: text, in UTF-8. A name that is UTF-8 and has no percent sign in a
 * bad place is kept as it is; unescape(escape(name)) is the name for every sequence of bytes. What
 * two names joined by a slash become is the same joined by a slash.
 */
#include <string.h>

#include "backends/postgres/postgres.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that an escape at p says; -1: there is none. */
static int escaped(const char *p, size_t n)
{
	int byte;

	if (n < 3 || p[0] != '%' || hex(p[1]) < 0 || hex(p[2]) < 0)
		return -1;
	byte = hex(p[1]) * 16 + hex(p[2]);
	return byte >= 0x80 || byte == '%' ? byte : -1;
}

/* The length of what needs no escape. */
static size_t plain(struct pfs_bytes name, size_t at)
{
	size_t len;

	while (at < name.len && escaped(name.p + at, name.len - at) < 0) {
		len = pfs_utf8_sequence(name.p + at, name.len - at);
		if (len == 0)
			break;
		at += len;
	}
	return at;
}

bool pg_text_escape(struct pfs_bytes name, struct pfs_buf *out)
{
	size_t at = plain(name, 0), from = 0;

	if (at == name.len)
		return false;
	while (at < name.len) {
		pfs_buf_add(out, name.p + from, at - from);
		pfs_buf_printf(out, "%%%02X", (unsigned char)name.p[at]);
		from = at + 1;
		at = plain(name, from);
	}
	pfs_buf_add(out, name.p + from, at - from);
	return true;
}

bool pg_text_unescape(struct pfs_bytes text, struct pfs_buf *out)
{
	const char *p = memchr(text.p, '%', text.len);
	size_t at = p ? (size_t)(p - text.p) : text.len;
	bool any = false;

	out->len = 0;
	if (!p)
		return false;
	pfs_buf_add(out, text.p, at);
	while (at < text.len) {
		int byte = escaped(text.p + at, text.len - at);
		char c = byte < 0 ? text.p[at] : (char)byte;

		pfs_buf_add(out, &c, 1);
		any = any || byte >= 0;
		at += byte < 0 ? 1 : 3;
	}
	return any;
}
