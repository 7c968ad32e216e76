/*
 * See lib_postgres.h.
 */
#include "tests/contract/lib_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

PGconn *pq_client(const char *schema)
{
	const char *where = getenv("PERSISTFS_TEST_POSTGRES");
	PGconn *client;

	assert_non_null(where);
	client = PQconnectdb(where);
	if (PQstatus(client) != CONNECTION_OK)
		fail_msg("no server: %s", PQerrorMessage(client));
	pq_sql(client, "SET client_min_messages = error");
	if (schema)
		pq_sql(client, "SET search_path = \"%s\"", schema);
	return client;
}

static PGresult *run(PGconn *client, int binary, const char *fmt, va_list ap)
{
	PGresult *res;
	char *sql = NULL;

	assert_true(vasprintf(&sql, fmt, ap) >= 0);
	res = binary ? PQexecParams(client, sql, 0, NULL, NULL, NULL, NULL, 1)
		     : PQexec(client, sql);
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQresultErrorMessage(res));
	free(sql);
	return res;
}

void pq_sql(PGconn *client, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	PQclear(run(client, 0, fmt, ap));
	va_end(ap);
}

/* The only cell of a result (consumed), as text. */
static char *cell(PGresult *res)
{
	char *text;

	assert_int_equal(PQntuples(res), 1);
	text = PQgetisnull(res, 0, 0) ? NULL : strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return text;
}

char *pq_text(PGconn *client, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = cell(run(client, 0, fmt, ap));
	va_end(ap);
	return text;
}

int64_t pq_int(PGconn *client, const char *fmt, ...)
{
	int64_t value;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = cell(run(client, 0, fmt, ap));
	va_end(ap);
	if (!text)
		return -1;
	value = text[0] == 't' ? 1 : strtoll(text, NULL, 10);
	free(text);
	return value;
}

char *pq_bytes(PGconn *client, size_t *len, const char *fmt, ...)
{
	PGresult *res;
	va_list ap;
	char *out;

	va_start(ap, fmt);
	res = run(client, 1, fmt, ap);
	va_end(ap);
	assert_int_equal(PQntuples(res), 1);
	*len = (size_t)PQgetlength(res, 0, 0);
	out = malloc(*len + 1);
	assert_non_null(out);
	memcpy(out, PQgetvalue(res, 0, 0), *len);
	PQclear(res);
	return out;
}

void pq_sql_fails(PGconn *client, const char *sql, const char *what)
{
	PGresult *res = PQexec(client, sql);

	if (PQresultStatus(res) != PGRES_FATAL_ERROR)
		fail_msg("%s: that went well", sql);
	if (!strstr(PQresultErrorMessage(res), what))
		fail_msg("%s: %s", sql, PQresultErrorMessage(res));
	PQclear(res);
}

void pq_prepare(struct contract *c)
{
	static unsigned count;
	char url[600];

	/* The case's own name also for its connections, by which it can count and kill them. */
	snprintf(c->place, sizeof(c->place), "case_%d_%u", (int)getpid(), ++count);
	snprintf(url, sizeof(url), "%s application_name=%s", getenv("PERSISTFS_TEST_POSTGRES"),
		 c->place);
	c_option(c, "url", url);
	c_option(c, "schema", c->place);
}

void pq_remove(struct contract *c)
{
	PGconn *client = pq_client(NULL);

	pq_sql(client, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", c->place);
	PQfinish(client);
}

const struct contract_engine *pq_engine(void)
{
	const struct contract_engine *engine = contract_engines;

	while (strcmp(engine->name, "postgres") != 0)
		engine++;
	return engine;
}

int pq_run(const struct CMUnitTest *tests, size_t n, int argc, char **argv)
{
	const char *ci = getenv("CI");

	if (!getenv("PERSISTFS_TEST_POSTGRES")) {
		fprintf(stderr,
			"postgres: NOT TESTED: PERSISTFS_TEST_POSTGRES says of no server\n");
		return ci && strcmp(ci, "true") == 0;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("postgres", tests, n, NULL, NULL);
}
