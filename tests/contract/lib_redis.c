/* See lib_redis.h. */
#include "tests/contract/lib_redis.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

redisContext *rd_connect(int db)
{
	const char *url = getenv("PERSISTFS_TEST_REDIS");
	redisContext *c;

	assert_non_null(url);
	assert_int_equal(strncmp(url, "unix://", 7), 0);
	c = redisConnectUnix(url + 7);
	assert_non_null(c);
	if (c->err)
		fail_msg("%s: %s", url, c->errstr);
	rd_do(c, "SELECT %d", db);
	return c;
}

static redisReply *run(redisContext *c, const char *format, va_list ap)
{
	redisReply *r = redisvCommand(c, format, ap);

	if (!r)
		fail_msg("%s: %s", format, c->errstr);
	if (r->type == REDIS_REPLY_ERROR)
		fail_msg("%s: %s", format, r->str);
	return r;
}

redisReply *rd_command(redisContext *c, const char *format, ...)
{
	redisReply *r;
	va_list ap;

	va_start(ap, format);
	r = run(c, format, ap);
	va_end(ap);
	return r;
}

void rd_do(redisContext *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	freeReplyObject(run(c, format, ap));
	va_end(ap);
}

long long rd_number(redisContext *c, const char *format, ...)
{
	redisReply *r;
	long long n;
	va_list ap;

	va_start(ap, format);
	r = run(c, format, ap);
	va_end(ap);
	n = r->type == REDIS_REPLY_INTEGER ? r->integer : r->str ? atoll(r->str) : 0;
	freeReplyObject(r);
	return n;
}

static void empty(void)
{
	redisContext *c = rd_connect(RD_DATABASE);

	rd_do(c, "FLUSHDB");
	redisFree(c);
}

void rd_prepare(struct contract *c)
{
	char url[256];

	snprintf(url, sizeof(url), "%s?db=%d", getenv("PERSISTFS_TEST_REDIS"), RD_DATABASE);
	c_option(c, "url", url);
	empty();
}

void rd_remove(struct contract *c)
{
	(void)c;
	empty();
}
