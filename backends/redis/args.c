/*
 * Arguments of scripts, and what their replies say.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"

#define DIGITS_BLOCK 64

struct redis_digits {
	struct redis_digits *next;
	size_t n;
	char text[DIGITS_BLOCK][24];
};

void redis_args_release(struct redis_args *a)
{
	struct redis_digits *d, *next;

	for (d = a->digits; d; d = next) {
		next = d->next;
		free(d);
	}
	free(a->argv);
	free(a->len);
	*a = (struct redis_args){0};
}

static bool args_grow(struct redis_args *a)
{
	size_t cap = a->cap ? 2 * a->cap : 64;
	const char **argv = realloc(a->argv, cap * sizeof(*argv));
	size_t *len;

	if (!argv)
		return false;
	a->argv = argv;
	len = realloc(a->len, cap * sizeof(*len));
	if (!len)
		return false;
	a->len = len;
	a->cap = cap;
	return true;
}

void redis_arg_bytes(struct redis_args *a, const void *p, size_t len)
{
	if (a->n == a->cap && !args_grow(a)) {
		a->failed = true;
		return;
	}
	a->argv[a->n] = len ? p : "";
	a->len[a->n++] = len;
}

void redis_arg_str(struct redis_args *a, const char *s)
{
	redis_arg_bytes(a, s, strlen(s));
}

static char *digits(struct redis_args *a)
{
	struct redis_digits *d = a->digits;

	if (!d || d->n == DIGITS_BLOCK) {
		d = malloc(sizeof(*d));
		if (!d) {
			a->failed = true;
			return NULL;
		}
		d->next = a->digits;
		d->n = 0;
		a->digits = d;
	}
	return d->text[d->n++];
}

void redis_arg_u64(struct redis_args *a, uint64_t v)
{
	char *text = digits(a), *p = text ? text + 24 : NULL;

	if (!p)
		return;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	redis_arg_bytes(a, p, (size_t)(text + 24 - p));
}

void redis_arg_i64(struct redis_args *a, int64_t v)
{
	char *text;

	if (v >= 0) {
		redis_arg_u64(a, (uint64_t)v);
		return;
	}
	text = digits(a);
	if (text)
		redis_arg_bytes(a, text, (size_t)snprintf(text, 24, "%" PRId64, v));
}

void redis_arg_ms(struct redis_args *a, int64_t ns)
{
	redis_arg_u64(a, ns <= 0 ? (ns < 0) : ((uint64_t)ns + 999999) / 1000000);
}

void redis_arg_position(struct redis_args *a, uint64_t v)
{
	char *text = digits(a);

	if (text)
		redis_arg_bytes(a, text, (size_t)snprintf(text, 24, "%020" PRIu64, v));
}

/* The next number of a record, which ends with a blank or the text. */
static bool next_number(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	bool minus = s < end && *s == '-';
	uint64_t v = 0;

	s += minus;
	if (s == end || *s < '0' || *s > '9')
		return false;
	for (; s < end && *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (uint64_t)(*s - '0');
	if (s < end && *s != ' ')
		return false;
	*out = minus ? 0 - v : v;
	*p = s < end ? s + 1 : s;
	return true;
}

int redis_parse_attr_text(struct pfs_bytes text, struct pfs_attr *out)
{
	const char *p = text.p, *end = text.p + text.len;
	uint64_t v[15];
	size_t i;

	/* Link count, kind, then the fields of a record in lib.lua. */
	if (!next_number(&p, end, &v[0]) || end - p < 2)
		goto bad;
	p += 2;
	for (i = 1; i < PFS_ARRAY_SIZE(v); i++)
		if (!next_number(&p, end, &v[i]))
			goto bad;
	*out = (struct pfs_attr){
		.nlink = (uint32_t)v[0],
		.id = v[1],
		.mode = (uint32_t)v[2],
		.uid = (uint32_t)v[3],
		.gid = (uint32_t)v[4],
		.rdev = v[5],
		.version = v[6],
		.content_version = v[7],
		.mtime = (int64_t)v[8],
		.ctime = (int64_t)v[9],
		.btime = (int64_t)v[10],
		.size = v[11],
		.stored = v[12],
		.expires = (int64_t)v[14] * 1000000,
	};
	return 0;
bad:
	pfs_error_text_set("a record is damaged: '%.*s'", (int)(text.len < 200 ? text.len : 200),
			   text.p);
	return -EIO;
}

int redis_parse_attr(const redisReply *r, struct pfs_attr *out)
{
	if (!r || r->type != REDIS_REPLY_STRING)
		return redis_parse_attr_text(PFS_BYTES(""), out);
	return redis_parse_attr_text((struct pfs_bytes){r->str, r->len}, out);
}

uint64_t redis_number(const redisReply *r, size_t i)
{
	if (!r || r->type != REDIS_REPLY_ARRAY || i >= r->elements)
		return 0;
	r = r->element[i];
	if (r->type == REDIS_REPLY_INTEGER)
		return (uint64_t)r->integer;
	return r->type == REDIS_REPLY_STRING ? strtoull(r->str, NULL, 10) : 0;
}
