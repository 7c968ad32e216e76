/*
 * Where the server is: from `url`, or from host, port, socket, db, user and password, which are taken
 * where the url does not say.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* [p, end) with %XX decoded; NULL: no memory. */
static char *decoded(const char *p, const char *end)
{
	char *out = malloc((size_t)(end - p) + 1), *to = out;

	while (out && p < end) {
		if (*p == '%' && end - p > 2 && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
			*to++ = (char)(hex(p[1]) * 16 + hex(p[2]));
			p += 3;
		} else {
			*to++ = *p++;
		}
	}
	if (out)
		*to = '\0';
	return out;
}

static bool number(const char *text, int max, int *out)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || v > max)
		return false;
	*out = (int)v;
	return true;
}

static int wrong(struct pfs_msg *msg, const char *what)
{
	pfs_msg_set(msg,
		    "url: %s; it must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or "
		    "unix:///PATH[?db=N]",
		    what);
	return -EINVAL;
}

static int set_text(char **to, const char *p, const char *end)
{
	free(*to);
	*to = decoded(p, end);
	return *to ? 0 : -ENOMEM;
}

/*
 * USER:PASSWORD or :PASSWORD; one word alone is the user where the option has the password, and else, as
 * redis-cli has it, the password.
 */
static int parse_login(struct redis_target *t, const char *p, const char *end)
{
	const char *colon = memchr(p, ':', (size_t)(end - p));
	int err = 0;

	if (!colon && t->password)
		return set_text(&t->user, p, end);
	if (colon && colon > p)
		err = set_text(&t->user, p, colon);
	if (!err)
		err = set_text(&t->password, colon ? colon + 1 : p, end);
	return err;
}

static int parse_host(struct redis_target *t, const char *p, const char *end, struct pfs_msg *msg)
{
	const char *colon = NULL, *q;
	char *port;
	bool good;

	if (p < end && *p == '[') { /* an IPv6 address */
		const char *close = memchr(p, ']', (size_t)(end - p));

		if (!close || (close + 1 < end && close[1] != ':'))
			return wrong(msg, "']' is missing");
		if (close + 1 < end)
			colon = close + 1;
		if (set_text(&t->host, p + 1, close))
			return -ENOMEM;
	} else {
		for (q = p; q < end; q++)
			colon = *q == ':' ? q : colon;
		if (p < (colon ? colon : end) && set_text(&t->host, p, colon ? colon : end))
			return -ENOMEM;
	}
	if (!colon)
		return 0;
	port = decoded(colon + 1, end);
	good = port && number(port, 65535, &t->port);
	free(port);
	return good ? 0 : wrong(msg, "the port is no number from 0 to 65535");
}

static int parse_tcp(struct redis_target *t, const char *p, struct pfs_msg *msg)
{
	const char *slash = strchr(p, '/'), *end = slash ? slash : p + strlen(p), *at = NULL, *q;
	int err = 0;

	for (q = p; q < end; q++)
		at = *q == '@' ? q : at;
	if (at)
		err = parse_login(t, p, at);
	if (!err)
		err = parse_host(t, at ? at + 1 : p, end, msg);
	if (!err && slash && slash[1] && !number(slash + 1, 1 << 20, &t->db))
		err = wrong(msg, "the database is no number");
	return err;
}

static int parse_unix(struct redis_target *t, const char *p, struct pfs_msg *msg)
{
	const char *query = strchr(p, '?'), *end = query ? query : p + strlen(p), *at, *q;
	int err = 0;

	at = NULL;
	for (q = p; q < end && *q != '/'; q++)
		at = *q == '@' ? q : at;
	if (at)
		err = parse_login(t, p, at);
	p = at ? at + 1 : p;
	if (!err && *p != '/')
		return wrong(msg, "the path of the socket must begin with '/'");
	if (!err)
		err = set_text(&t->socket, p, end);
	if (!err && query && (strncmp(query + 1, "db=", 3) || !number(query + 4, 1 << 20, &t->db)))
		err = wrong(msg, "after '?' only db=NUMBER is known");
	return err;
}

static int parse_url(struct redis_target *t, const char *url, struct pfs_msg *msg)
{
	if (!strncmp(url, "redis://", 8))
		return parse_tcp(t, url + 8, msg);
	if (!strncmp(url, "unix://", 7))
		return parse_unix(t, url + 7, msg);
	if (!strncmp(url, "rediss://", 9)) {
		pfs_msg_set(
			msg,
			"url: rediss:// needs TLS, which this build has not (hiredis %d.%d.%d); "
			"use redis:// through a tunnel (stunnel, ssh) or unix://",
			HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
		return -EINVAL;
	}
	return wrong(msg, "unknown scheme");
}

static char *copy_of(const char *s)
{
	return s && *s ? strdup(s) : NULL;
}

int redis_target_init(struct redis_target *t, const struct pfs_option_set *set, struct pfs_msg *msg)
{
	const char *url = pfs_option_get(set, "url")->str;
	const struct pfs_option_value *host = pfs_option_get(set, "host");
	int err = 0;

	*t = (struct redis_target){.port = (int)pfs_option_get(set, "port")->num,
				   .db = (int)pfs_option_get(set, "db")->num};
	t->socket = copy_of(pfs_option_get(set, "socket")->str);
	t->host = copy_of(host->str);
	t->user = copy_of(pfs_option_get(set, "user")->str);
	t->password = copy_of(pfs_option_get(set, "password")->str);
	if (t->socket && (host->given || (url && *url))) {
		pfs_msg_set(msg, "socket: with it there can be neither host nor url");
		err = -EINVAL;
	}
	if (!err && url && *url)
		err = parse_url(t, url, msg);
	if (!err && t->user && !t->password) {
		pfs_msg_set(msg, "user: a password is needed with it");
		err = -EINVAL;
	}
	if (t->socket)
		snprintf(t->where, sizeof(t->where), "redis at %.200s, database %d", t->socket,
			 t->db);
	else
		snprintf(t->where, sizeof(t->where), "redis at %.200s:%d, database %d",
			 t->host ? t->host : "localhost", t->port, t->db);
	if (err == -ENOMEM)
		pfs_msg_set(msg, "no memory");
	if (err)
		redis_target_release(t);
	return err;
}

static void forget(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

void redis_target_release(struct redis_target *t)
{
	free(t->socket);
	free(t->host);
	free(t->user);
	forget(&t->password);
	t->socket = t->host = t->user = NULL;
}
