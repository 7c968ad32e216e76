/*
 * The programs whose data the mount shows, as far as their statements go: each keeps its own tables
 * or keys in its own words.
 * usage: apps ENGINE PLACE PROGRAM[:TABLE] ACTION [ARG...]
 * PLACE is a file of SQLite, a connection string of libpq, or SOCKET:DATABASE of a Redis. An ARG is
 * text, \N for none, @FILE for the bytes of a file, or <FILE for its text. Prints what the program
 * would find: one value as it is, or rows, one a line. Exit 3: there is nothing, or nothing that the
 * program takes (those of SQLite read text alone where they wrote text).
 */
#include <hiredis.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include "tests/mount/helper.h"

#define MAX_ARGS 12
#define NOTHING	 3

#define NOT_OVER_PG	"(expiration IS NULL OR expiration > NOW())"
#define NOT_OVER_SQLITE "(expiration IS NULL OR julianday(expiration) > julianday('now'))"
#define DRAWER		"collection_id = (SELECT id FROM collections WHERE name = '$T')"

enum answer {
	NONE,
	TEXT,  /* one value */
	BYTES, /* one value of SQL that is a blob */
	ROWS,
};

/*
 * $1 and so on are the ARGs, $T the TABLE. sqlite NULL: as postgres. Commands of Redis are divided
 * by ';'.
 */
static const struct action {
	const char *program, *name;
	enum answer answer;
	const char *postgres, *sqlite, *redis;
} actions[] = {
	/* llama-stack: keys and values that expire. */
	{"llamastack", "set", NONE,
	 "INSERT INTO $T (key, value, expiration) VALUES ($1, $2, $3) ON CONFLICT (key) "
	 "DO UPDATE SET value = EXCLUDED.value, expiration = EXCLUDED.expiration",
	 "INSERT OR REPLACE INTO $T (key, value, expiration) VALUES ($1, $2, $3)", "SET $1 $2"},
	{"llamastack", "set-until", NONE, NULL, NULL, "SET $1 $2 ; EXPIREAT $1 $3"},
	{"llamastack", "get", TEXT, "SELECT value FROM $T WHERE key = $1 AND " NOT_OVER_PG,
	 "SELECT value FROM $T WHERE key = $1 AND " NOT_OVER_SQLITE, "GET $1"},
	{"llamastack", "range", ROWS,
	 "SELECT key FROM $T WHERE key COLLATE \"C\" >= $1 AND key COLLATE \"C\" < $2 "
	 "AND " NOT_OVER_PG,
	 "SELECT key FROM $T WHERE key >= $1 AND key < $2 AND " NOT_OVER_SQLITE, "KEYS $1*"},
	{"llamastack", "find", ROWS,
	 "SELECT key FROM $T WHERE value LIKE '%' || $1 || '%' AND " NOT_OVER_PG,
	 "SELECT key FROM $T WHERE value LIKE '%' || $1 || '%' AND " NOT_OVER_SQLITE, NULL},
	{"llamastack", "delete", NONE, "DELETE FROM $T WHERE key = $1", NULL, "DEL $1"},
	/* What it was asked and has answered. */
	{"llamastack", "chat", NONE,
	 "INSERT INTO chat_completions (id, created, model, choices, input_messages, "
	 "access_attributes, "
	 "owner_principal) VALUES ($1, $2, $3, $4, $5, $6, $7)",
	 NULL, NULL},
	{"llamastack", "choices", TEXT, "SELECT choices FROM chat_completions WHERE id = $1", NULL,
	 NULL},
	{"llamastack", "newest", ROWS,
	 "SELECT id, created, model, owner_principal FROM chat_completions WHERE model = $1 "
	 "ORDER BY created DESC, id LIMIT 2",
	 NULL, NULL},
	{"llamastack", "drop", NONE, "DELETE FROM chat_completions WHERE id = $1", NULL, NULL},
	{"llamastack", "item", NONE,
	 "INSERT INTO conversation_items (id, conversation_id, created_at, item_data) VALUES ($1, "
	 "$2, $3, $4)",
	 NULL, NULL},
	{"llamastack", "items", ROWS,
	 "SELECT id, item_data FROM conversation_items WHERE conversation_id = $1 ORDER BY "
	 "created_at",
	 NULL, NULL},
	{"llamastack", "file", NONE,
	 "INSERT INTO openai_files (id, filename, purpose, bytes, created_at, expires_at, "
	 "file_path) "
	 "VALUES ($1, $2, $3, $4, $5, $6, $7)",
	 NULL, NULL},
	{"llamastack", "live-files", ROWS,
	 "SELECT id, filename FROM openai_files WHERE expires_at IS NULL OR expires_at > $1 ORDER "
	 "BY id",
	 NULL, NULL},

	/* LangGraph: a memory of items in namespaces, joined by dots. */
	{"langgraph", "put", NONE,
	 "INSERT INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes) "
	 "VALUES ($1, $2, $3, NOW(), NOW(), $4, $5) ON CONFLICT (prefix, key) DO UPDATE SET value "
	 "= EXCLUDED.value, "
	 "updated_at = NOW(), expires_at = EXCLUDED.expires_at, ttl_minutes = EXCLUDED.ttl_minutes",
	 "INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, "
	 "ttl_minutes) "
	 "VALUES ($1, $2, $3, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, $4, $5)",
	 NULL},
	{"langgraph", "get", TEXT, "SELECT value::text FROM store WHERE prefix = $1 AND key = $2",
	 "SELECT value FROM store WHERE prefix = $1 AND key = $2", NULL},
	{"langgraph", "refresh", NONE,
	 "UPDATE store SET expires_at = NOW() + (ttl_minutes || ' minutes')::interval "
	 "WHERE prefix = $1 AND key = $2 AND ttl_minutes IS NOT NULL",
	 "UPDATE store SET expires_at = DATETIME(CURRENT_TIMESTAMP, '+' || ttl_minutes || ' "
	 "minutes') "
	 "WHERE prefix = $1 AND key = $2 AND ttl_minutes IS NOT NULL",
	 NULL},
	{"langgraph", "search", ROWS,
	 "SELECT prefix, key FROM store WHERE prefix LIKE $1 || '%' AND value ->> 'kind' = $2",
	 "SELECT prefix, key FROM store WHERE prefix LIKE $1 || '%' AND json_extract(value, "
	 "'$.kind') = $2",
	 NULL},
	{"langgraph", "namespaces", ROWS, "SELECT DISTINCT prefix FROM store", NULL, NULL},
	{"langgraph", "delete", NONE, "DELETE FROM store WHERE prefix = $1 AND key = $2", NULL,
	 NULL},
	{"langgraph", "sweep", NONE,
	 "DELETE FROM store WHERE expires_at IS NOT NULL AND expires_at < CURRENT_TIMESTAMP", NULL,
	 NULL},
	/* Its checkpoints, of a thread and a namespace that is mostly empty, and what was written since. */
	{"langgraph", "checkpoint", NONE,
	 "INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, "
	 "type, checkpoint, "
	 "metadata) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (thread_id, checkpoint_ns, "
	 "checkpoint_id) "
	 "DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata",
	 "INSERT OR REPLACE INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, "
	 "parent_checkpoint_id, type, "
	 "checkpoint, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7)",
	 "HSET checkpoint$$1$$2$$3 checkpoint_id $3 parent_checkpoint_id $4 type $5 checkpoint $6 "
	 "metadata $7"},
	{"langgraph", "latest", ROWS,
	 "SELECT checkpoint_id, parent_checkpoint_id, type FROM checkpoints WHERE thread_id = $1 "
	 "AND checkpoint_ns = $2 ORDER BY checkpoint_id DESC LIMIT 1",
	 NULL, "KEYS checkpoint$$1$$2$*"},
	{"langgraph", "state", BYTES,
	 "SELECT convert_to(checkpoint::text, 'UTF8') FROM checkpoints WHERE thread_id = $1 AND "
	 "checkpoint_ns = $2 "
	 "AND checkpoint_id = $3",
	 "SELECT checkpoint FROM checkpoints WHERE thread_id = $1 AND checkpoint_ns = $2 AND "
	 "checkpoint_id = $3",
	 "HGET checkpoint$$1$$2$$3 checkpoint"},
	{"langgraph", "forget", NONE, "DELETE FROM checkpoints WHERE thread_id = $1", NULL,
	 "DEL checkpoint$$1$$2$$3"},
	{"langgraph", "write", NONE,
	 "INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, "
	 "channel, type, blob) "
	 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (thread_id, checkpoint_ns, "
	 "checkpoint_id, task_id, idx) "
	 "DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob",
	 "INSERT OR REPLACE INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, "
	 "channel, type, value) "
	 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	 "HSET writes$$1$$2$$3$$4$$5 channel $6 type $7 value $8 ; ZADD write_keys$$1$$2$$3 $5 "
	 "writes$$1$$2$$3$$4$$5"},
	{"langgraph", "writes", ROWS,
	 "SELECT task_id, idx, channel, type FROM checkpoint_writes WHERE thread_id = $1 AND "
	 "checkpoint_ns = $2 "
	 "AND checkpoint_id = $3 ORDER BY task_id, idx",
	 "SELECT task_id, idx, channel, type FROM writes WHERE thread_id = $1 AND checkpoint_ns = "
	 "$2 "
	 "AND checkpoint_id = $3 ORDER BY task_id, idx",
	 "ZRANGE write_keys$$1$$2$$3 0 -1"},
	{"langgraph", "written", BYTES,
	 "SELECT blob FROM checkpoint_writes WHERE thread_id = $1 AND checkpoint_ns = $2 AND "
	 "checkpoint_id = $3 "
	 "AND task_id = $4 AND idx = $5",
	 "SELECT value FROM writes WHERE thread_id = $1 AND checkpoint_ns = $2 AND checkpoint_id = "
	 "$3 "
	 "AND task_id = $4 AND idx = $5",
	 "HGET writes$$1$$2$$3$$4$$5 value"},
	{"langgraph", "blob", NONE,
	 "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) "
	 "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
	 NULL, NULL},
	/* What nodes have computed, for a while. */
	{"langgraph", "cache", NONE, NULL, NULL, "SET langgraph:cache:$1:$2 $3 EX $4"},
	{"langgraph", "cached", TEXT, NULL, NULL, "GET langgraph:cache:$1:$2"},

	/* marimo: pickles by name and hash. */
	{"marimo", "put", NONE, NULL, NULL, "SET $1 $2"},
	{"marimo", "get", TEXT, NULL, NULL, "GET $1"},
	{"marimo", "list", ROWS, NULL, NULL, "KEYS *"},
	{"marimo", "clear", NONE, NULL, NULL, "DEL $1"},

	/* AIECS: sessions with counters, their conversations, checkpoints. */
	{"aiecs", "session", NONE,
	 "INSERT INTO sessions (session_id, user_id, metadata) VALUES ($1, $2, $3)", NULL,
	 "HSET session:$1 user_id $2 status active metadata $3 request_count 0 "
	 "total_processing_time 0 ; "
	 "EXPIRE session:$1 86400"},
	{"aiecs", "status", ROWS,
	 "SELECT user_id, status, request_count, total_processing_time FROM sessions WHERE "
	 "session_id = $1",
	 NULL, "HMGET session:$1 user_id status request_count total_processing_time"},
	{"aiecs", "request", NONE,
	 "UPDATE sessions SET request_count = request_count + 1, total_processing_time = "
	 "total_processing_time + "
	 "CAST($2 AS FLOAT), updated_at = CURRENT_TIMESTAMP WHERE session_id = $1",
	 NULL,
	 "HINCRBY session:$1 request_count 1 ; HINCRBYFLOAT session:$1 total_processing_time $2"},
	{"aiecs", "metadata", TEXT, "SELECT metadata::text FROM sessions WHERE session_id = $1",
	 "SELECT metadata FROM sessions WHERE session_id = $1", "HGET session:$1 metadata"},
	{"aiecs", "end", NONE, "DELETE FROM sessions WHERE session_id = $1", NULL,
	 "DEL session:$1"},
	{"aiecs", "say", NONE,
	 "INSERT INTO conversations (session_id, role, content, metadata) VALUES ($1, $2, $3, $4)",
	 NULL, "LPUSH conversation:$1 $3 ; EXPIRE conversation:$1 86400"},
	{"aiecs", "history", ROWS,
	 "SELECT content FROM conversations WHERE session_id = $1 ORDER BY id DESC LIMIT 20", NULL,
	 "LRANGE conversation:$1 0 19"},
	{"aiecs", "grep", ROWS,
	 "SELECT id FROM conversations WHERE content LIKE '%' || $1 || '%' ORDER BY id", NULL,
	 NULL},
	{"aiecs", "checkpoint", NONE,
	 "INSERT INTO checkpoints (thread_id, checkpoint_id, data) VALUES ($1, $2, $3) "
	 "ON CONFLICT (thread_id, checkpoint_id) DO UPDATE SET data = EXCLUDED.data",
	 NULL, "HSET checkpoints:$1 $2 $3"},
	{"aiecs", "data", TEXT,
	 "SELECT data::text FROM checkpoints WHERE thread_id = $1 AND checkpoint_id = $2",
	 "SELECT data FROM checkpoints WHERE thread_id = $1 AND checkpoint_id = $2",
	 "HGET checkpoints:$1 $2"},

	/* MemPalace: documents with vectors, and a graph of what is known. */
	{"mempalace", "set", NONE, NULL, "INSERT OR REPLACE INTO meta (key, value) VALUES ($1, $2)",
	 NULL},
	{"mempalace", "setting", TEXT, NULL, "SELECT value FROM meta WHERE key = $1", NULL},
	{"mempalace", "collection", NONE, NULL,
	 "INSERT INTO collections (name, dimension, created_at) VALUES ($1, $2, "
	 "'2025-03-04T05:06:07Z')",
	 NULL},
	{"mempalace", "keep", NONE,
	 "INSERT INTO \"mempalace_$T\" (id, document, metadata, embedding, updated_at) VALUES ($1, "
	 "$2, $3, $4, NOW()) "
	 "ON CONFLICT (id) DO UPDATE SET document = EXCLUDED.document, metadata = "
	 "EXCLUDED.metadata, "
	 "embedding = EXCLUDED.embedding, updated_at = NOW()",
	 "INSERT OR REPLACE INTO documents (collection_id, id, document, metadata_json, embedding, "
	 "dim, created_at, "
	 "updated_at) SELECT id, $1, $2, $3, $4, length($4) / 4, '2025-03-04T05:06:07Z', "
	 "'2025-03-04T05:06:07Z' "
	 "FROM collections WHERE name = '$T'",
	 NULL},
	{"mempalace", "index", NONE, NULL,
	 "INSERT INTO docs_fts (collection_id, doc_id, document) SELECT id, $1, $2 FROM "
	 "collections WHERE name = '$T'",
	 NULL},
	{"mempalace", "match", ROWS, NULL, "SELECT doc_id FROM docs_fts WHERE docs_fts MATCH $1",
	 NULL},
	{"mempalace", "document", TEXT, "SELECT document FROM \"mempalace_$T\" WHERE id = $1",
	 "SELECT document FROM documents WHERE id = $1 AND " DRAWER, NULL},
	{"mempalace", "vector", BYTES,
	 "SELECT convert_to(embedding::text, 'UTF8') FROM \"mempalace_$T\" WHERE id = $1",
	 "SELECT embedding FROM documents WHERE id = $1 AND " DRAWER, NULL},
	{"mempalace", "find", ROWS,
	 "SELECT id FROM \"mempalace_$T\" WHERE document LIKE '%' || $1 || '%' ORDER BY id",
	 "SELECT id FROM documents WHERE document LIKE '%' || $1 || '%' AND " DRAWER " ORDER BY id",
	 NULL},
	{"mempalace", "of", ROWS,
	 "SELECT id FROM \"mempalace_$T\" WHERE metadata ->> 'wing' = $1 ORDER BY id",
	 "SELECT id FROM documents WHERE json_extract(metadata_json, '$.wing') = $1 AND " DRAWER
	 " ORDER BY id",
	 NULL},
	{"mempalace", "drop", NONE, "DELETE FROM \"mempalace_$T\" WHERE id = $1",
	 "DELETE FROM documents WHERE id = $1 AND " DRAWER, NULL},
	{"mempalace", "entity", NONE, NULL,
	 "INSERT OR REPLACE INTO entities (id, name, type, properties) VALUES ($1, $2, $3, $4)",
	 NULL},
	{"mempalace", "fact", NONE, NULL,
	 "INSERT INTO triples (id, subject, predicate, object, valid_from, valid_to, confidence) "
	 "VALUES ($1, $2, $3, $4, $5, $6, $7)",
	 NULL},
	{"mempalace", "facts", ROWS, NULL,
	 "SELECT t.predicate, e.name, t.confidence FROM triples t JOIN entities e ON e.id = "
	 "t.object "
	 "WHERE t.subject = $1 AND t.valid_to IS NULL ORDER BY t.id",
	 NULL},
};

/* ---- arguments -------------------------------------------------------------------------------- */

static struct arg {
	const char *p; /* NULL: none */
	size_t len;
	bool bytes;
} args[MAX_ARGS];
static int n_args;
static const char *table; /* or NULL */

static void take_args(char **given, int n)
{
	int i;

	if (n > MAX_ARGS)
		die("at most %d arguments", MAX_ARGS);
	n_args = n;
	for (i = 0; i < n; i++) {
		struct arg *a = &args[i];

		*a = (struct arg){.p = given[i], .len = strlen(given[i])};
		if (strcmp(given[i], "\\N") == 0) {
			*a = (struct arg){0};
		} else if (given[i][0] == '@' || given[i][0] == '<') {
			a->bytes = given[i][0] == '@';
			a->p = read_file(given[i] + 1, &a->len);
			if (!a->p)
				die("%s", given[i] + 1);
		}
	}
}

/* ---- what is printed -------------------------------------------------------------------------- */

static void print_value(const void *p, size_t len)
{
	fwrite(p, 1, len, stdout);
}

/* A column of a row: on one line whatever it holds. */
static void print_column(const char *p, size_t len, bool last)
{
	size_t i;

	if (!p)
		fputs("\\N", stdout);
	for (i = 0; p && i < len; i++) {
		if (p[i] == '\n')
			fputs("\\n", stdout);
		else
			putchar(p[i]);
	}
	putchar(last ? '\n' : '|');
}

/* A statement with the table's name in it, owned. */
static char *make_statement(const char *text)
{
	size_t room = strlen(text) + 1 + 8 * (table ? strlen(table) : 0);
	char *out = malloc(room), *to = out;

	if (!out)
		die("no memory");
	for (; *text; text++) {
		if (table && text[0] == '$' && text[1] == 'T') {
			to = stpcpy(to, table);
			text++;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
	return out;
}

/* ---- engines: each returns how many rows or values it has printed ------------------------------- */

static int run_sqlite(const char *place, const char *words, enum answer answer)
{
	char *text = make_statement(words);
	sqlite3 *db;
	sqlite3_stmt *q;
	int i, rc, found = 0;

	if (sqlite3_open_v2(place, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(db, 10000) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, text, -1, &q, NULL) != SQLITE_OK)
		die("%s: %s", text, sqlite3_errmsg(db));
	for (i = 0; i < n_args; i++) {
		char name[16];
		int at;

		snprintf(name, sizeof(name), "$%d", i + 1);
		at = sqlite3_bind_parameter_index(q, name);
		if (args[i].bytes)
			sqlite3_bind_blob64(q, at, args[i].p, args[i].len, SQLITE_STATIC);
		else
			sqlite3_bind_text64(q, at, args[i].p, args[i].len, SQLITE_STATIC,
					    SQLITE_UTF8);
	}
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		int n = sqlite3_column_count(q);
		int type = sqlite3_column_type(q, 0);

		if (answer != ROWS) {
			if (type != (answer == TEXT ? SQLITE_TEXT : SQLITE_BLOB))
				exit(NOTHING);
			print_value(sqlite3_column_blob(q, 0), sqlite3_column_bytes(q, 0));
		}
		for (i = 0; answer == ROWS && i < n; i++) {
			const char *p = (const char *)sqlite3_column_text(q, i);

			print_column(p, sqlite3_column_bytes(q, i), i == n - 1);
		}
		found++;
	}
	if (rc != SQLITE_DONE)
		die("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_finalize(q);
	sqlite3_close(db);
	free(text);
	return found;
}

static int run_postgres(const char *place, const char *words, enum answer answer)
{
	PGconn *c = PQconnectdb(place);
	const char *values[MAX_ARGS];
	int lengths[MAX_ARGS], formats[MAX_ARGS];
	char *text = make_statement(words);
	PGresult *r;
	int i, k, found;

	for (i = 0; i < n_args; i++) {
		values[i] = args[i].p;
		lengths[i] = (int)args[i].len;
		formats[i] = args[i].bytes;
	}
	r = PQexecParams(c, text, n_args, NULL, values, lengths, formats, answer == BYTES);
	if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
		die("%s: %s", text, PQerrorMessage(c));
	found = PQntuples(r);
	for (i = 0; i < found; i++) {
		int n = PQnfields(r);

		if (answer != ROWS) {
			if (PQgetisnull(r, i, 0))
				exit(NOTHING);
			print_value(PQgetvalue(r, i, 0), PQgetlength(r, i, 0));
		}
		for (k = 0; answer == ROWS && k < n; k++)
			print_column(PQgetisnull(r, i, k) ? NULL : PQgetvalue(r, i, k),
				     PQgetlength(r, i, k), k == n - 1);
	}
	PQclear(r);
	PQfinish(c);
	free(text);
	return found;
}

/* A word of a command with the arguments in it, owned. */
static char *make_word(const char *word, size_t n, size_t *len)
{
	size_t room = n, i;
	char *out;

	for (i = 0; i < MAX_ARGS; i++)
		room += args[i].len * n;
	out = malloc(room + 1);
	if (!out)
		die("no memory");
	for (*len = 0; n; word++, n--) {
		if (*word == '$' && n > 1 && word[1] >= '1' && word[1] <= '9') {
			const struct arg *arg = &args[*++word - '1'];

			n--;
			memcpy(out + *len, arg->p ? arg->p : "", arg->len);
			*len += arg->len;
		} else {
			out[(*len)++] = *word;
		}
	}
	return out;
}

static int print_reply(enum answer answer, const redisReply *r)
{
	size_t i;

	switch (r->type) {
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
		if (answer != NONE)
			print_value(r->str, r->len);
		return 1;
	case REDIS_REPLY_INTEGER:
		if (answer != NONE)
			printf("%lld\n", r->integer);
		return 1;
	case REDIS_REPLY_ARRAY:
		for (i = 0; i < r->elements; i++)
			print_column(r->element[i]->str, r->element[i]->len, true);
		return (int)r->elements;
	default:
		return 0;
	}
}

static int run_redis(const char *place, const char *commands, enum answer answer)
{
	const char *colon = strrchr(place, ':'), *at = commands;
	char path[4096];
	redisContext *c;
	redisReply *r;
	int found = 0;

	snprintf(path, sizeof(path), "%.*s", (int)(colon - place), place);
	c = redisConnectUnix(path);
	if (!c || c->err)
		die("%s: %s", path, c ? c->errstr : "no memory");
	freeReplyObject(redisCommand(c, "SELECT %s", colon + 1));
	while (*at) {
		const char *words[MAX_ARGS * 2];
		size_t lens[MAX_ARGS * 2];
		int n = 0;

		while (*at && *at != ';') {
			size_t len = strcspn(at, " ");

			words[n] = make_word(at, len, &lens[n]);
			n++;
			at += len;
			at += strspn(at, " ");
		}
		if (*at)
			at += 2;
		r = redisCommandArgv(c, n, words, lens);
		if (!r || r->type == REDIS_REPLY_ERROR)
			die("%s: %s", commands, r ? r->str : c->errstr);
		found += print_reply(answer, r);
		freeReplyObject(r);
		while (n)
			free((void *)words[--n]);
	}
	redisFree(c);
	return found;
}

/* What the program says to an engine. */
static const char *statement(const struct action *a, const char *engine)
{
	if (strcmp(engine, "redis") == 0)
		return a->redis;
	return strcmp(engine, "sqlite") == 0 && a->sqlite ? a->sqlite : a->postgres;
}

int main(int argc, char **argv)
{
	const struct action *a = actions, *end = actions + sizeof(actions) / sizeof(actions[0]);
	const char *engine, *text;
	char *colon;
	int found;

	if (argc < 5)
		die("usage: apps ENGINE PLACE PROGRAM[:TABLE] ACTION [ARG...]");
	engine = argv[1];
	colon = strchr(argv[3], ':');
	if (colon) {
		*colon = '\0';
		table = colon + 1;
	}
	while (a < end && (strcmp(a->program, argv[3]) != 0 || strcmp(a->name, argv[4]) != 0))
		a++;
	text = a < end ? statement(a, engine) : NULL;
	if (!text)
		die("%s does not '%s' in %s", argv[3], argv[4], engine);
	take_args(argv + 5, argc - 5);
	if (strcmp(engine, "sqlite") == 0)
		found = run_sqlite(argv[2], text, a->answer);
	else if (strcmp(engine, "postgres") == 0)
		found = run_postgres(argv[2], text, a->answer);
	else
		found = run_redis(argv[2], text, a->answer);
	return found || a->answer == NONE ? 0 : NOTHING;
}
