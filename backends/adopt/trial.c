/*
 * What the error of a trial means. A trial is of what the first write(2) of a file has, which mostly is the
 * value, for shells and echo; but it may be the beginning of one, and then only what no more bytes can mend
 * is told. Whether it is the beginning of one nobody says; so it is taken for the whole but where it is as
 * long as a buffer, or evidently goes on.
 */
#include "backends/adopt/adopt.h"

/* Programs gather this much, or more, before they write. */
#define BUFFER_MIN 4096

/* Does it end within a character? */
static bool ends_in_character(struct pfs_bytes b)
{
	unsigned char c = 0x80;
	size_t n = 0;

	while (n < 3 && n < b.len && (c & 0xc0) == 0x80)
		c = (unsigned char)b.p[b.len - ++n];
	if (c < 0xc2 || c > 0xf4)
		return false;
	return n < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u);
}

/* Is it JSON, or an array of PostgreSQL's, that is not closed yet? */
static bool is_open(struct pfs_bytes b)
{
	bool quoted = false;
	size_t depth = 0, i = 0;

	while (i < b.len && strchr(" \t\r\n", b.p[i]))
		i++;
	if (i == b.len || !strchr("{[\"", b.p[i]))
		return false;
	for (; i < b.len; i++) {
		char c = b.p[i];

		if (c == '\\' && quoted)
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']') && depth)
			depth--;
	}
	return quoted || depth > 0;
}

bool adopt_refused(int err, struct pfs_bytes value)
{
	switch (err) {
	case 0:
	case -EAGAIN: /* trouble: the commit may have none */
	case -EHOSTDOWN:
	case -EIO:
	case -ENOMEM:
	case -ENOSPC:
		return false;
	case -EINVAL:
	case -EILSEQ:
	case -EEXIST:
	case -EBUSY:
		return value.len < BUFFER_MIN && !is_open(value) && !ends_in_character(value);
	default:
		return true;
	}
}
