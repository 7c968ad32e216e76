/*
 * Connections, scripts, and what the server's errors mean. A connection that failed in any way is
 * closed, for nobody knows what is still on its way on it; the pool opens another. Calls made by
 * redis_call() change nothing, or may be done twice; commits have their own way (commit.c).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"
#include "backends/redis/scripts.h"

static const char *const script_texts[REDIS_SCRIPTS_] = {
	[REDIS_READ] = redis_script_read,	[REDIS_LOOK] = redis_script_look,
	[REDIS_COMMIT] = redis_script_commit,	[REDIS_CREATE] = redis_script_create,
	[REDIS_CHANGE] = redis_script_change,	[REDIS_RENAME] = redis_script_rename,
	[REDIS_SESSION] = redis_script_session, [REDIS_CHECK] = redis_script_check,
};

/*
 * Set by whoever loads them first; the server computes them, always the same. Before that they are empty, and the
 * first call of a script loads all: who only looks leaves none on the server.
 */
static char script_sha[REDIS_SCRIPTS_][41];
static pthread_mutex_t sha_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- errors --------------------------------------------------------------------------------- */

/* Words of an error reply (alone, or inside what a script passed on), and what they mean. */
static const struct {
	const char *word;
	int err;
} meanings[] = {
	{"LOADING ", REDIS_LOST},
	{"MASTERDOWN ", REDIS_LOST},
	{"BUSY ", REDIS_LOST},
	{"TRYAGAIN ", REDIS_LOST},
	{"max number of clients", REDIS_LOST},
	{"READONLY ", -EROFS},
	{"NOREPLICAS ", -EROFS},
	{"OOM ", -ENOSPC},
	{"MISCONF ", -EIO},
	{"WRONGTYPE ", -EINVAL},
	{"not a valid float", -EINVAL},
	{"not an integer", -EINVAL},
	{"resulting score is not a number", -EINVAL},
	{"would overflow", -ERANGE},
	{"would produce NaN", -ERANGE},
	{"Invalid stream ID", -EINVAL},
	{"equal or smaller than the target stream", -EINVAL},
	{"NOAUTH ", -EACCES},
	{"WRONGPASS ", -EACCES},
	{"NOPERM ", -EACCES},
	{"invalid password", -EACCES},
	{"without any password configured", -EACCES},
	{"can't run this command", -EACCES},
	{"can't access at least one of the keys", -EACCES},
	{"No permissions", -EACCES},
};

int redis_error(const redisReply *r)
{
	size_t i;

	if (r->type != REDIS_REPLY_ERROR)
		return 0;
	pfs_error_text_set("redis says: %.*s", (int)(r->len < 300 ? r->len : 300), r->str);
	for (i = 0; i < PFS_ARRAY_SIZE(meanings); i++)
		if (strstr(r->str, meanings[i].word))
			return meanings[i].err;
	return -EIO;
}

static int lost(const redisContext *c)
{
	if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
		pfs_error_text_set("redis did not answer in time");
	else if (c->err)
		pfs_error_text_set("the connection to redis broke: %s", c->errstr);
	else
		pfs_error_text_set("no memory for a request to redis");
	return REDIS_LOST;
}

int redis_reply(redisContext *c, redisReply **out)
{
	void *reply = NULL;

	errno = 0;
	if (redisGetReply(c, &reply) != REDIS_OK || !reply)
		return lost(c);
	*out = reply;
	return 0;
}

int redis_command(redisContext *c, redisReply **out, const char *format, ...)
{
	redisReply *r;
	va_list ap;
	int err;

	errno = 0;
	va_start(ap, format);
	r = redisvCommand(c, format, ap);
	va_end(ap);
	if (!r)
		return lost(c);
	err = redis_error(r);
	if (err)
		freeReplyObject(r);
	else
		*out = r;
	return err;
}

/* ---- scripts -------------------------------------------------------------------------------- */

bool redis_is_noscript(const redisReply *r)
{
	return r->type == REDIS_REPLY_ERROR && !strncmp(r->str, "NOSCRIPT", 8);
}

int redis_load_scripts(redisContext *c)
{
	redisReply *r = NULL;
	size_t i;
	int err;

	for (i = 0; i < REDIS_SCRIPTS_; i++) {
		err = redis_command(c, &r, "SCRIPT LOAD %s", script_texts[i]);
		if (err)
			return err;
		pthread_mutex_lock(&sha_lock);
		if (r->type == REDIS_REPLY_STRING && r->len == 40)
			memcpy(script_sha[i], r->str, 41);
		pthread_mutex_unlock(&sha_lock);
		freeReplyObject(r);
	}
	return 0;
}

#define HEAD_ARGS 5

int redis_append(redisContext *c, enum redis_script script, const char *gen, const char *ns,
		 const struct redis_args *a)
{
	const char **argv = malloc((a->n + HEAD_ARGS) * sizeof(*argv));
	size_t *len = malloc((a->n + HEAD_ARGS) * sizeof(*len)), i;
	char sha[sizeof(script_sha[0])];
	const char *head[HEAD_ARGS] = {"EVALSHA", sha, "0", gen, ns};
	int err = REDIS_LOST;

	errno = 0;
	pthread_mutex_lock(&sha_lock);
	memcpy(sha, script_sha[script], sizeof(sha));
	pthread_mutex_unlock(&sha_lock);
	if (!argv || !len || a->failed) {
		pfs_error_text_set("no memory for a request to redis");
		goto out;
	}
	for (i = 0; i < HEAD_ARGS; i++) {
		argv[i] = head[i];
		len[i] = strlen(head[i]);
	}
	memcpy(argv + HEAD_ARGS, a->argv, a->n * sizeof(*argv));
	memcpy(len + HEAD_ARGS, a->len, a->n * sizeof(*len));
	if (redisAppendCommandArgv(c, (int)(a->n + HEAD_ARGS), argv, len) == REDIS_OK)
		err = 0;
	else
		lost(c);
out:
	free(argv);
	free(len);
	return err;
}

int redis_eval(redisContext *c, enum redis_script script, const char *gen, const char *ns,
	       const struct redis_args *a, redisReply **out)
{
	redisReply *r = NULL;
	int err, tries;

	for (tries = 0; tries < 2; tries++) {
		err = redis_append(c, script, gen, ns, a);
		if (!err)
			err = redis_reply(c, &r);
		if (err || !redis_is_noscript(r))
			break;
		freeReplyObject(r);
		r = NULL;
		err = redis_load_scripts(c);
		if (err)
			return err;
	}
	if (err || !r)
		return err ? err : REDIS_LOST;
	err = redis_error(r);
	if (!err && (r->type != REDIS_REPLY_ARRAY || r->elements < 1)) {
		pfs_error_text_set("redis answered a script in another form than it has");
		err = -EIO;
	}
	if (err)
		freeReplyObject(r);
	else
		*out = r;
	return err;
}

/* ---- connecting ----------------------------------------------------------------------------- */

static int authenticate(struct redis_target *t, redisContext *c)
{
	redisReply *r = NULL;
	int err;

	if (!t->password)
		return 0;
	if (t->user)
		err = redis_command(c, &r, "AUTH %s %s", t->user, t->password);
	else
		err = redis_command(c, &r, "AUTH %s", t->password);
	if (!err)
		freeReplyObject(r);
	return err;
}

static redisContext *dial(struct redis_backend *b)
{
	struct redis_target *t = &b->target;
	struct timeval tv = {.tv_sec = b->timeout / NSEC_PER_SEC,
			     .tv_usec = b->timeout % NSEC_PER_SEC / 1000};
	redisContext *c;

	if (t->socket)
		c = redisConnectUnixWithTimeout(t->socket, tv);
	else
		c = redisConnectWithTimeout(t->host ? t->host : "localhost", t->port, tv);
	if (c && !c->err)
		redisSetTimeout(c, tv);
	if (c && !c->err && !t->socket)
		redisEnableKeepAlive(c);
	return c;
}

int redis_connect(struct redis_backend *b, redisContext **out)
{
	redisContext *c = dial(b);
	redisReply *r = NULL;
	int err = 0;

	if (!c || c->err) {
		pfs_error_text_set("cannot reach %s: %s", b->target.where,
				   c ? c->errstr : "no memory");
		err = REDIS_LOST;
	}
	if (!err)
		err = authenticate(&b->target, c);
	if (!err && b->target.db) {
		err = redis_command(c, &r, "SELECT %d", b->target.db);
		if (!err)
			freeReplyObject(r);
	}
	if (err) {
		redisFree(c);
		return err == REDIS_LOST ? -EHOSTDOWN : err;
	}
	*out = c;
	return 0;
}

static int greet(struct redis_backend *b, redisContext *c)
{
	char run[48], version[32];
	redisReply *r = NULL;
	int err = redis_command(c, &r, "INFO server");

	if (err)
		return err;
	redis_info(r->str ? r->str : "", "run_id", run, sizeof(run));
	redis_info(r->str ? r->str : "", "redis_version", version, sizeof(version));
	freeReplyObject(r);
	if (atoi(version) < 6) {
		pfs_error_text_set("%s is version %s; 6.0 or later is needed", b->target.where,
				   version);
		return -EOPNOTSUPP;
	}
	return redis_resume(b, c, run, false);
}

static int pool_open(void *arg, void **out)
{
	struct redis_backend *b = arg;
	struct redis_conn *conn = calloc(1, sizeof(*conn));
	int err = conn ? redis_connect(b, &conn->ctx) : -ENOMEM;

	if (!err) {
		err = greet(b, conn->ctx);
		if (err)
			redisFree(conn->ctx);
	}
	if (err) {
		free(conn);
		return err == REDIS_LOST ? -EHOSTDOWN : err;
	}
	*out = conn;
	return 0;
}

static void pool_close(void *arg, void *p)
{
	struct redis_conn *conn = p;

	(void)arg;
	redisFree(conn->ctx);
	free(conn);
}

const struct pfs_pool_ops redis_pool_ops = {.open = pool_open, .close = pool_close};

int redis_get(struct redis_backend *b, int64_t deadline, struct redis_conn **out)
{
	void *conn = NULL;
	int err;

	pfs_error_text_clear();
	err = pfs_pool_get(&b->pool, deadline, &conn);
	if (err == -EBUSY)
		pfs_error_text_set("all connections to %s were busy", b->target.where);
	else if (err == -EHOSTDOWN && !pfs_error_text()[0])
		pfs_error_text_set("%s cannot be reached", b->target.where);
	*out = conn;
	return err;
}

void redis_put(struct redis_backend *b, struct redis_conn *conn, int err)
{
	pfs_pool_put(&b->pool, conn, err == REDIS_LOST);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int attempt(struct redis_backend *b, enum redis_script script, const char *ns,
		   const struct redis_args *a, int64_t deadline, redisReply **out)
{
	struct redis_conn *conn;
	struct redis_state state;
	redisReply *r = NULL;
	int err = redis_get(b, deadline, &conn);

	if (err)
		return err;
	redis_state_get(b, &state);
	err = redis_eval(conn->ctx, script, state.gen, ns, a, &r);
	if (!err) {
		uint64_t code = redis_number(r, 0);

		if (code == REDIS_OTHER_DATA) {
			err = redis_data_moved(b, conn->ctx, &state);
			err = err ? err : -ESTALE;
		} else if (code) {
			err = -(int)code;
		}
		if (err == -EIO && r->elements > 1 && r->element[1]->type == REDIS_REPLY_STRING)
			pfs_error_text_set("%s", r->element[1]->str);
	}
	redis_put(b, conn, err);
	if (err && r)
		freeReplyObject(r);
	else
		*out = r;
	return err;
}

int redis_call(struct redis_backend *b, enum redis_script script, const char *ns,
	       const struct redis_args *a, int64_t deadline, redisReply **out)
{
	int err;

	if (!deadline)
		deadline = pfs_monotonic_ns() + b->retry_timeout;
	do
		err = attempt(b, script, ns, a, deadline, out);
	while (err == REDIS_LOST && pfs_monotonic_ns() < deadline);
	return err == REDIS_LOST ? -EHOSTDOWN : err;
}
