/*
 * How the server is: what it promises of durability, how much room it has, and whether it may take
 * our records away. Asked now and then by the engine's thread; calls tell what was seen last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"

void redis_info(const char *info, const char *name, char *out, size_t size)
{
	const char *p = info;
	size_t len = strlen(name), n = 0;

	out[0] = '\0';
	while ((p = strstr(p, name)) != NULL) {
		if ((p == info || p[-1] == '\n') && p[len] == ':')
			break;
		p += len;
	}
	if (!p)
		return;
	for (p += len + 1; p[n] && p[n] != '\r' && p[n] != '\n' && n + 1 < size; n++)
		out[n] = p[n];
	out[n] = '\0';
}

static uint64_t field_number(const char *info, const char *name)
{
	char text[32];

	redis_info(info, name, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

/* What sync() cannot promise. `fsync` is appendfsync, "" if the server does not tell. */
static void judge_durability(const char *info, const char *fsync, struct pfs_msg *out)
{
	char text[64];

	if (!field_number(info, "aof_enabled"))
		pfs_msg_set(out,
			    "redis keeps no log (appendonly no): power failure and restart lose "
			    "everything since its last snapshot; set appendonly yes and "
			    "appendfsync always");
	else if (!strcmp(fsync, "everysec"))
		pfs_msg_set(
			out,
			"redis syncs its log every second (appendfsync everysec): power failure "
			"loses up to 2 s of writes; set appendfsync always");
	else if (!strcmp(fsync, "no"))
		pfs_msg_set(out,
			    "redis leaves syncing its log to the system (appendfsync no): power "
			    "failure loses up to 30 s of writes; set appendfsync always");
	else if (strcmp(fsync, "always") != 0)
		pfs_msg_set(
			out,
			"redis does not tell us how it syncs its log (CONFIG GET is not allowed): "
			"power failure may lose writes unless appendfsync is always");
	redis_info(info, "aof_last_write_status", text, sizeof(text));
	if (!out->text[0] && text[0] && strcmp(text, "ok") != 0)
		pfs_msg_set(out, "redis could not write its log (aof_last_write_status: %s)", text);
}

static void judge(const char *info, const char *fsync, struct pfs_health *out)
{
	char policy[64], role[32];

	*out = (struct pfs_health){.ok = true};
	judge_durability(info, fsync, &out->durable);
	redis_info(info, "maxmemory_policy", policy, sizeof(policy));
	redis_info(info, "role", role, sizeof(role));
	if (field_number(info, "maxmemory") && !strncmp(policy, "allkeys-", 8)) {
		out->ok = false;
		pfs_msg_set(&out->why,
			    "maxmemory-policy %s may take away files and our records of them when "
			    "memory is short; set maxmemory-policy noeviction (or volatile-ttl)",
			    policy);
	} else if (!strcmp(role, "slave")) {
		out->ok = false;
		pfs_msg_set(&out->why,
			    "this server is a replica: nothing can be written, and what it "
			    "shows may be old; use the master");
	}
}

static void read_room(const char *info, struct pfs_statfs *out)
{
	uint64_t used = field_number(info, "used_memory"), total = field_number(info, "maxmemory");

	if (!total)
		total = field_number(info, "total_system_memory");
	out->total = total;
	out->available = total > used ? total - used : 0;
}

/* appendfsync as CONFIG GET tells it; "" if it is not allowed. 0 or REDIS_LOST. */
static int ask_fsync(redisContext *c, char *out, size_t size)
{
	redisReply *r = NULL;
	int err = redis_command(c, &r, "CONFIG GET appendfsync");

	out[0] = '\0';
	if (err)
		return err == REDIS_LOST ? err : 0;
	if (r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
	    r->element[1]->type == REDIS_REPLY_STRING && r->element[1]->len < size)
		memcpy(out, r->element[1]->str, r->element[1]->len + 1);
	freeReplyObject(r);
	return 0;
}

int redis_look_at_health(struct redis_backend *b)
{
	struct pfs_health health;
	struct redis_conn *conn;
	redisReply *r = NULL;
	char fsync[32] = "";
	int err = redis_get(b, pfs_monotonic_ns() + b->timeout, &conn);

	if (err)
		return err;
	err = redis_command(conn->ctx, &r, "INFO");
	if (!err)
		err = ask_fsync(conn->ctx, fsync, sizeof(fsync));
	if (!err && r->str) {
		judge(r->str, fsync, &health);
		pthread_mutex_lock(&b->state_lock);
		b->health = health;
		read_room(r->str, &b->statfs);
		pthread_mutex_unlock(&b->state_lock);
	}
	freeReplyObject(r);
	redis_put(b, conn, err);
	return err;
}

/* ---- are our records in order? -------------------------------------------------------------- */

struct todo {
	uint64_t *ids;
	size_t n;
};

static int todo_add(struct todo *t, uint64_t id)
{
	uint64_t *grown = realloc(t->ids, (t->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	t->ids = grown;
	grown[t->n++] = id;
	return 0;
}

/* One directory; those in it come after. */
static int check_directory(struct redis_backend *b, const char *ns, struct todo *t, uint64_t id,
			   struct pfs_msg *msg)
{
	struct redis_args a = {0};
	redisReply *r = NULL;
	size_t i;
	int err;

	redis_arg_str(&a, "verify");
	redis_arg_u64(&a, id);
	err = redis_call(b, REDIS_SESSION, ns, &a, 0, &r);
	redis_args_release(&a);
	if (err) {
		pfs_msg_set(msg, "namespace '%s': %s", ns,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
		return err;
	}
	for (i = 1; i < r->elements && !err; i++)
		err = todo_add(t, redis_number(r, i));
	freeReplyObject(r);
	return err;
}

static int check_namespace(struct redis_backend *b, const char *ns, struct pfs_msg *msg)
{
	struct redis_args a = {0};
	struct todo t = {0};
	redisReply *r = NULL;
	int err;

	redis_arg_str(&a, "root");
	err = redis_call(b, REDIS_READ, ns, &a, 0, &r);
	redis_args_release(&a);
	if (err && err != -ENOENT)
		pfs_msg_set(msg, "namespace '%s': %s", ns, pfs_error_text());
	if (err)
		return err == -ENOENT ? 0 : err;
	err = todo_add(&t, redis_number(r, 1));
	freeReplyObject(r);
	while (!err && t.n)
		err = check_directory(b, ns, &t, t.ids[--t.n], msg);
	free(t.ids);
	return err == -ENOENT ? 0 : err; /* removed meanwhile */
}

int redis_check_tree(struct redis_backend *b, struct pfs_msg *msg)
{
	struct redis_namespace *ns = NULL;
	int err = 0;

	while (!err && (ns = redis_namespace_next(b, ns)) != NULL)
		err = check_namespace(b, ns->name, msg);
	return err;
}
