/*
 * A PostgreSQL server for tests: a schema for each case, and an SQL client beside the engine.
 */
#ifndef PFS_TESTS_LIB_POSTGRES_H
#define PFS_TESTS_LIB_POSTGRES_H

#include <libpq-fe.h>

#include "tests/contract/lib_contract.h"

/* For the contract's table of engines: PERSISTFS_TEST_POSTGRES, a schema that the case has alone. */
void pq_prepare(struct contract *c);
void pq_remove(struct contract *c);

/*
 * Run tests, whose initial state is the engine's row, if there is a server; without one say so, and
 * fail in CI. The exit status.
 */
int pq_run(const struct CMUnitTest *tests, size_t n, int argc, char **argv);
/* The engine's row in the contract's table. */
const struct contract_engine *pq_engine(void);

/* A connection of a client, in the schema where there is one (NULL: none). Fails where there is none. */
PGconn *pq_client(const char *schema);
/* Run SQL, or fail. */
void pq_sql(PGconn *client, const char *fmt, ...) PFS_PRINTF(2, 3);
/* The first column of the only row, as a number; as text (free()); the bytes of a bytea (free()). */
int64_t pq_int(PGconn *client, const char *fmt, ...) PFS_PRINTF(2, 3);
char *pq_text(PGconn *client, const char *fmt, ...) PFS_PRINTF(2, 3);
char *pq_bytes(PGconn *client, size_t *len, const char *fmt, ...) PFS_PRINTF(3, 4);
/* Fails with a message that has `what` in it. */
void pq_sql_fails(PGconn *client, const char *sql, const char *what);

#endif
