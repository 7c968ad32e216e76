/*
 * The PostgreSQL engine: its descriptor and options, how a backend begins and ends, and maintenance.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/postgres/postgres.h"
#include "backends/postgres/rows.h"
#include "backends/postgres/tables.h"
#include "backends/sql/plain.h"

/* ---- maintenance ---------------------------------------------------------------------------- */

/* Entries, objects and chunks must belong together. */
static const char check_sql[] =
	"SELECT 'entries without an object', count(*) FROM persistfs_entries e"
	" WHERE NOT EXISTS (SELECT 1 FROM persistfs_objects o WHERE o.id = e.object)"
	" UNION ALL SELECT 'entries in no directory', count(*) FROM persistfs_entries e"
	" WHERE NOT EXISTS (SELECT 1 FROM persistfs_dirs d WHERE d.id = e.parent)"
	" UNION ALL SELECT 'objects with a wrong number of names', count(*) FROM persistfs_objects "
	"o"
	" WHERE o.nlink > 0 AND o.mode & 61440 <> 16384 AND o.nlink <>"
	" (SELECT count(*) FROM persistfs_entries e WHERE e.object = o.id)"
	" UNION ALL SELECT 'objects with a wrong number of stored bytes', count(*)"
	" FROM persistfs_objects o WHERE o.stored <> (SELECT coalesce(sum(length(c.data)), 0)"
	" FROM persistfs_chunks c WHERE c.key >= o.content << 26 AND c.key < (o.content + 1) << 26)"
	" AND o.nlink > 0"
	" UNION ALL SELECT 'directories with a wrong path', count(*) FROM persistfs_dirs d"
	" JOIN persistfs_dirs p ON p.id = d.parent JOIN persistfs_entries e ON e.object = d.id"
	" WHERE d.id <> d.parent AND d.path <>"
	" CASE p.path WHEN '' THEN '' ELSE p.path || '/' END || e.name";

/* SQL that takes as long as it takes, on a connection of its own. */
static int run_alone(struct pg_backend *b, const char *sql, PGresult **res)
{
	struct pg_conn *c = NULL;
	int err;

	err = pg_conn_open(b, false, &c);
	if (!err)
		err = pg_exec(c,
			      "SET statement_timeout = 0; SET enable_hashjoin = on;"
			      "SET enable_mergejoin = on; SET enable_seqscan = on",
			      NULL);
	if (!err) {
		c->patience = 3600 * NSEC_PER_SEC;
		err = pg_exec(c, sql, res);
	}
	pg_conn_close(c);
	return err;
}

static int check_tables(struct pg_backend *b, struct pfs_msg *msg)
{
	PGresult *res = NULL;
	int err, i;

	err = run_alone(b, check_sql, &res);
	for (i = 0; !err && i < PQntuples(res); i++) {
		if (strcmp(PQgetvalue(res, i, 1), "0") == 0)
			continue;
		pfs_msg_set(msg, "schema %s is damaged: %s %s", b->schema, PQgetvalue(res, i, 1),
			    PQgetvalue(res, i, 0));
		err = -EIO;
	}
	PQclear(res);
	return err;
}

/* Every table of ours; VACUUM is no part of a transaction, so one statement at a time. */
static int each_table(struct pg_backend *b, const char *verb)
{
	static const char *const names[] = {"entries", "objects", "chunks",  "dirs",
					    "xattrs",  "changes", "orphans", "usage"};
	char sql[100];
	size_t i;
	int err = 0;

	for (i = 0; i < PFS_ARRAY_SIZE(names) && !err; i++) {
		snprintf(sql, sizeof(sql), "%s persistfs_%s", verb, names[i]);
		err = run_alone(b, sql, NULL);
	}
	return err;
}

int pg_backend_maintain(struct pfs_backend *base, const char *verb, struct pfs_msg *msg)
{
	struct pg_backend *b = pg_of(base);
	int err;

	if (!pg_is_open(b))
		return -EHOSTDOWN;
	if (strcmp(verb, "sweep") == 0) {
		err = pg_sweep(b, INT64_MAX);
		if (!err)
			err = pg_session_recover(b);
		if (!err)
			err = pg_sweep(b, INT64_MAX);
	} else if (strcmp(verb, "check") == 0) {
		err = check_tables(b, msg);
	} else if (strcmp(verb, "analyze") == 0) {
		err = each_table(b, "ANALYZE");
	} else {
		err = each_table(b, "VACUUM");
	}
	if (err && msg && !msg->text[0])
		pfs_msg_set(msg, "%s: %s", verb,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

void pg_backend_free(struct pfs_backend *base)
{
	struct pg_backend *b = pg_of(base);

	pg_threads_stop(b);
	if (pg_is_open(b) && !pg_readonly(b) && !pfs_pool_down(&b->pool)) {
		(void)pg_session_recover(b); /* what others left, and what their holds had kept */
		pg_sweep(b, pfs_monotonic_ns() + 2 * NSEC_PER_SEC);
		pg_session_end(b);
	}
	pfs_pool_release(&b->pool);
	pg_rows_release(b);
	pfs_commit_release(&b->commit);
	pg_watch_release(b);
	pfs_kv_release(&b->kv);
	pthread_mutex_destroy(&b->health_lock);
	pthread_mutex_destroy(&b->writer);
	free(b->ident);
	free(b->url);
	free(b->schema);
	free(b->password);
	free(b->host);
	pfs_backend_release(base);
	free(b);
}

/* The schema's name, quoted for SQL. */
static char *quoted(const char *name)
{
	struct pfs_buf out = {0};

	pfs_buf_add(&out, "\"", 1);
	for (; *name; name++) {
		if (*name == '"')
			pfs_buf_add(&out, "\"", 1);
		pfs_buf_add(&out, name, 1);
	}
	pfs_buf_add(&out, "\"", 1);
	if (out.failed)
		pfs_buf_release(&out);
	return out.data;
}

static int start(struct pg_backend *b, struct pfs_msg *msg)
{
	struct pg_conn *c = NULL;
	int err;

	pfs_error_text_clear();
	err = pg_conn_open(b, false, &c);
	if (!err)
		err = pg_layout(c, msg);
	if (!err)
		err = pg_conn_prepare(c, true); /* notes which store this is */
	pg_conn_close(c);
	if (!err && !pg_readonly(b))
		err = pg_session_begin(b);
	if (err)
		return err;
	err = pg_threads_start(b);
	if (err && !pg_readonly(b))
		pg_session_end(b);
	return err;
}

int pg_backend_start(struct pfs_backend *base, struct pfs_msg *msg)
{
	struct pg_backend *b = pg_of(base);
	int err;

	if (!base->own) /* views have connections of their own */
		return 0;
	err = start(b, msg);
	if (err) {
		if (msg && !msg->text[0])
			pfs_msg_set(msg, "%s",
				    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
		return err;
	}
	__atomic_store_n(&b->opened, true, __ATOMIC_RELEASE);
	pg_trouble(b, NULL);
	return 0;
}

static char *copy_of(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* A connection string is checked before anything is tried; its text is never repeated. */
static int check_url(const struct pg_backend *b, struct pfs_msg *msg)
{
	PQconninfoOption *info;
	char *ignored = NULL;

	if (!b->url)
		return 0;
	info = PQconninfoParse(b->url, &ignored);
	PQfreemem(ignored);
	if (!info) {
		pfs_msg_set(msg, "url is no connection string: write postgres://USER@HOST/DATABASE,"
				 " or words such as host=/run/postgresql dbname=test");
		return -EINVAL;
	}
	PQconninfoFree(info);
	return 0;
}

static int set_options(struct pg_backend *b, const struct pfs_option_set *set)
{
	b->create = pfs_option_get(set, "create")->num != 0;
	b->pool_size = (unsigned)pfs_option_get(set, "pool_size")->num;
	b->max_overflow = (unsigned)pfs_option_get(set, "max_overflow")->num;
	b->timeout = pfs_option_get(set, "timeout")->num;
	b->retry_timeout = pfs_option_get(set, "retry_timeout")->num;
	b->kv.lease = pfs_option_get(set, "lock_timeout")->num;
	b->kv.eager = true;
	b->url = copy_of(pfs_option_get(set, "url")->str);
	b->password = copy_of(pfs_option_get(set, "password")->str);
	b->schema = copy_of(pfs_option_get(set, "schema")->str);
	b->host = pfs_kv_describe_host();
	b->ident = b->schema ? quoted(b->schema) : NULL;
	return b->ident && b->host ? 0 : -ENOMEM;
}

static int pq_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		     struct pfs_msg *msg)
{
	struct pg_backend *b = calloc(1, sizeof(*b));
	unsigned size;
	int err;

	if (!b)
		return -ENOMEM;
	err = pfs_backend_init(&b->base, &pfs_postgres_engine, &pg_ops, name, set);
	if (err) {
		free(b);
		return err;
	}
	b->base.pushing = false;
	b->sessions = 1;
	pthread_mutex_init(&b->health_lock, NULL);
	pthread_mutex_init(&b->writer, NULL);
	pg_watch_init(b);
	pg_rows_init(b);
	err = pfs_kv_init(&b->kv);
	if (!err)
		err = set_options(b, set);
	/* One of the connections listens. */
	size = b->pool_size > 1 ? b->pool_size - 1 : 1;
	if (!err)
		err = pg_commit_init(b);
	if (!err)
		err = pfs_pool_init(&b->pool, &pg_pool_ops, b, size, b->max_overflow,
				    b->retry_timeout);
	if (!err)
		err = pfs_pool_init(&b->others.pool, &pg_rows_pool_ops, b, b->pool_size,
				    b->max_overflow, b->retry_timeout);
	if (err)
		pfs_msg_set(msg, "%s", strerror(-err));
	else
		err = check_url(b, msg);
	if (err) {
		pg_backend_free(&b->base);
		return err;
	}
	*out = &b->base;
	return 0;
}

/* The value of a word, from the connection string, the options or libpq's defaults. */
static const char *place_word(const PQconninfoOption *info, const struct pfs_option_set *set,
			      const char *word)
{
	const struct pfs_option *own = pfs_option_find(set->table, word);
	const char *text = own ? pfs_option_get(set, word)->str : NULL;

	for (; (!text || !text[0]) && info && info->keyword; info++)
		if (strcmp(info->keyword, word) == 0)
			return info->val ? info->val : "";
	return text ? text : "";
}

static void pq_place(const struct pfs_option_set *set, struct pfs_buf *out)
{
	static const char *const words[] = {"service", "host", "hostaddr", "port", "dbname"};
	const char *url = pfs_option_get(set, "url")->str;
	PQconninfoOption *given = url ? PQconninfoParse(url, NULL) : NULL;
	PQconninfoOption *defaults = PQconndefaults();
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(words); i++) {
		const char *text = place_word(given, set, words[i]);

		pfs_buf_str(out, text[0] ? text : place_word(defaults, set, words[i]));
		pfs_buf_str(out, " ");
	}
	pfs_buf_str(out, pfs_option_get(set, "schema")->str);
	PQconninfoFree(given);
	PQconninfoFree(defaults);
}

static int pq_adopt(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		    const struct pfs_option_set *store, struct pfs_backend **out,
		    struct pfs_msg *msg)
{
	bool read_only = pfs_option_get(store, "read_only")->num != 0;
	struct pfs_rows_db *db = NULL;
	int err;

	if (layout == PFS_LAYOUT_TABLES)
		return pg_tables_adopt(host, name, store, out, msg);
	if (layout != PFS_LAYOUT_PLAIN)
		return -EOPNOTSUPP;
	err = pg_rows_new(host, read_only, &db);
	return err ? err : plain_adopt(host, db, &plain_postgres, name, store, out, msg);
}

static const struct pfs_option pg_options[] = {
	{.name = "url",
	 .type = PFS_OPT_STRING,
	 .help = "a connection string of libpq: postgres://USER@HOST/DATABASE, or words"},
	{.name = "host", .type = PFS_OPT_STRING, .help = "host name, or directory of the socket"},
	{.name = "port", .type = PFS_OPT_STRING, .help = "port, 5432 unless given"},
	{.name = "dbname", .type = PFS_OPT_STRING, .help = "the database"},
	{.name = "user", .type = PFS_OPT_STRING, .help = "who connects"},
	{.name = "password", .type = PFS_OPT_STRING, .secret = true, .help = "the user's password"},
	{.name = "password_file",
	 .type = PFS_OPT_PATH,
	 .help = "a file that the password is read from"},
	{.name = "schema",
	 .type = PFS_OPT_STRING,
	 .def = "persistfs",
	 .help = "the schema that holds the tables"},
	{.name = "create",
	 .type = PFS_OPT_BOOL,
	 .def = "yes",
	 .help = "make the schema and its tables when they do not exist"},
	PFS_OPTION_END,
};

const struct pfs_engine pfs_postgres_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "postgres",
	.help = "a PostgreSQL database",
	.kinds = PFS_KIND_KV | PFS_KIND_SQL,
	.layouts = PFS_LAYOUT_OWN | PFS_LAYOUT_PLAIN | PFS_LAYOUT_TABLES,
	.capabilities = PFS_CAP_HARD_LINKS | PFS_CAP_XATTRS | PFS_CAP_PUSH | PFS_CAP_DURABLE_SYNC |
			PFS_CAP_RANGED_WRITES | PFS_CAP_LOCKS | PFS_CAP_NAMESPACES |
			PFS_CAP_SPARSE | PFS_CAP_PERSISTENT | PFS_CAP_LISTS_ALL,
	.options = pg_options,
	.create = pq_create,
	.schemes = "postgres|postgresql",
	.place = pq_place,
	.adopt = pq_adopt,
};
