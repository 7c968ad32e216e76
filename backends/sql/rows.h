/*
 * Rows of somebody else's tables: statements whose text is made at run time, with typed values, over one
 * engine. For views (backends/adopt/); the own schema has sql.h.
 *
 * Identifiers get into a text by pfs_rows_ident() alone, values never: they are parameters, written ?1,
 * ?2, ... in the text, which a driver translates where its engine writes them otherwise.
 *
 * A connection is used by one thread at a time. Calls may block for the backend's `timeout`, and where the
 * engine cannot be reached for `retry_timeout`.
 */
#ifndef PFS_BACKENDS_SQL_ROWS_H
#define PFS_BACKENDS_SQL_ROWS_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

enum pfs_value_type { PFS_VALUE_NULL, PFS_VALUE_INTEGER, PFS_VALUE_REAL, PFS_VALUE_TEXT, PFS_VALUE_BLOB };

/* bytes: the text that the engine's own client prints, or the blob's bytes; also of numbers when read. */
struct pfs_value {
	enum pfs_value_type type;
	int64_t num;	 /* INTEGER */
	struct pfs_bytes bytes;
};

/* The number of a REAL, of which `bytes` is all that it has. */
static inline double pfs_value_real(const struct pfs_value *v)
{
	char text[400] = "";

	if (v->bytes.len < sizeof(text))
		memcpy(text, v->bytes.p, v->bytes.len);
	return strtod(text, NULL);
}

static inline struct pfs_value pfs_value_text(struct pfs_bytes bytes)
{
	return (struct pfs_value){.type = PFS_VALUE_TEXT, .bytes = bytes};
}

static inline struct pfs_value pfs_value_integer(int64_t num)
{
	return (struct pfs_value){.type = PFS_VALUE_INTEGER, .num = num};
}

struct pfs_rows_db;
struct pfs_rows_conn;
struct pfs_rows; /* a result that is being read */

/*
 * Errors, beside those of backends/backend.h, with pfs_error_text() in the engine's words:
 *	-EEXIST unique, -EINVAL check, not null, type, -EBUSY a foreign key, -EACCES privilege,
 *	-ENOTSUP no such table, column or function
 *	-EAGAIN	others have a lock or all connections, and time is up: pfs_rows_told()
 */
struct pfs_rows_ops {
	void (*free)(struct pfs_rows_db *db);
	/* write: the connection may be used to change data. */
	int (*get)(struct pfs_rows_db *db, bool write, struct pfs_rows_conn **out);
	/* broken: do not keep it. An open transaction is rolled back. */
	void (*put)(struct pfs_rows_db *db, struct pfs_rows_conn *c, bool broken);
	/*
	 * Begin a statement; parameters are borrowed until end. Results are streamed: not all of them need
	 * fit in memory. Only one statement of a connection is open at a time.
	 */
	int (*query)(struct pfs_rows_conn *c, const char *sql, const struct pfs_value *params, size_t n,
		     struct pfs_rows **out);
	/* The next row: 1, 0 when there is none, or -errno. */
	int (*next)(struct pfs_rows *r);
	/* Column i of the row; its bytes are borrowed until next or end. */
	void (*column)(struct pfs_rows *r, int i, struct pfs_value *out);
	void (*end)(struct pfs_rows *r); /* NULL: no-op */
	/* Rows changed by the statement that was last run to its end. */
	int64_t (*changes)(struct pfs_rows_conn *c);
	/*
	 * A transaction. Others can change what one that writes has read unless it was read by a SELECT
	 * that ends with db->lock.
	 */
	int (*begin)(struct pfs_rows_conn *c, bool write);
	/* What commit would have against it that no statement has said yet: constraints that wait for it. */
	int (*check)(struct pfs_rows_conn *c);
	/* -EINPROGRESS: the connection broke, and nobody knows whether it was done. */
	int (*commit)(struct pfs_rows_conn *c);
	void (*rollback)(struct pfs_rows_conn *c);
	/*
	 * Moves whenever any other connection may have changed any data: cheap to ask. -EOPNOTSUPP where
	 * the engine has nothing of the kind.
	 */
	int (*data_version)(struct pfs_rows_db *db, uint64_t *out);
	void (*connections)(struct pfs_rows_db *db, struct pfs_connections *out);
	/*
	 * Can the engine be reached, and written, as far as is known? Does no I/O; sets ok, why and
	 * read_only.
	 */
	void (*health)(struct pfs_rows_db *db, struct pfs_health *out);
};

struct pfs_rows_db {
	const struct pfs_rows_ops *ops;
	const char *lock; /* " FOR UPDATE", or "" where begin keeps all other writers out */
};

/* An error as backends/backend.h has it. */
static inline int pfs_rows_told(int err)
{
	return err == -EAGAIN ? -EBUSY : err;
}

/* Append "name" with the quotes doubled that it has. */
void pfs_rows_ident(struct pfs_buf *sql, struct pfs_bytes name);
/*
 * Run a statement that changes one row. 1, 0: it changed none, or -errno. -EPERM: it has changed others
 * too, that the engine takes for the same; the transaction is to be rolled back.
 */
int pfs_rows_run_one(struct pfs_rows_db *db, struct pfs_rows_conn *c, const char *sql,
		     const struct pfs_value *params, size_t n);
/* Run a statement to its end. Rows changed, or -errno. */
int64_t pfs_rows_run(struct pfs_rows_db *db, struct pfs_rows_conn *c, const char *sql,
		     const struct pfs_value *params, size_t n);
/* The engine's time for a text such as "2025-01-02 03:04:05+00:00" or with a T, ns; -EINVAL. */
int pfs_rows_parse_time(struct pfs_bytes text, int64_t *out);

#endif
