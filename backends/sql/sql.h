/*
 * The thin driver between what SQL engines share (backends/sql/) and one engine: statements are
 * numbered, prepared once per connection, and bound by a format string.
 *
 * A connection is used by one thread at a time. A query that was begun must be ended before the
 * same statement is begun again on that connection.
 */
#ifndef PFS_BACKENDS_SQL_SQL_H
#define PFS_BACKENDS_SQL_SQL_H

#include "backends/base.h"

struct pfs_sql_conn;
struct pfs_sql_query; /* a statement that is running; the engine's own type */

struct pfs_sql_driver {
	/*
	 * Bind statement `stmt`. One letter of `types` per parameter, in order:
	 *	i  int64_t
	 *	t  const void *, size_t: text, bytes as they are
	 *	b  const void *, size_t: blob
	 * What is bound is borrowed until end(). 0 and *out, or -errno.
	 */
	int (*begin)(struct pfs_sql_conn *c, unsigned stmt, struct pfs_sql_query **out,
		     const char *types, va_list ap);
	/* The next row: 1, 0 when there is none, or -errno. */
	int (*step)(struct pfs_sql_conn *c, struct pfs_sql_query *q);
	/* Columns of the row; blobs and texts are borrowed until the next step or end. */
	int64_t (*integer)(struct pfs_sql_query *q, int column);
	struct pfs_bytes (*bytes)(struct pfs_sql_query *q, int column);
	void (*end)(struct pfs_sql_conn *c, struct pfs_sql_query *q); /* NULL: no-op */
	/* Rows changed by the statement that was last run to its end. */
	int64_t (*changes)(struct pfs_sql_conn *c);
	/*
	 * NULL, or: run a statement whose outcome is not needed now. It may be queued; then a
	 * failure is told by whatever next waits on the connection, COMMIT at the latest. What is
	 * bound is copied. 0 or -errno.
	 */
	int (*write)(struct pfs_sql_conn *c, unsigned stmt, const char *types, va_list ap);
	/* NULL, or as write, for one integer: *out has it when what was queued has been answered. */
	int (*later)(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types,
		     va_list ap);
};

/* What an engine's connection embeds. */
struct pfs_sql_conn {
	const struct pfs_sql_driver *driver;
};

int pfs_sql_begin(struct pfs_sql_conn *c, unsigned stmt, struct pfs_sql_query **out,
		  const char *types, ...);
/* Run a statement to its end. The number of rows changed, or -errno. */
int64_t pfs_sql_run(struct pfs_sql_conn *c, unsigned stmt, const char *types, ...);
/* The first column of the first row: 1 and *out, 0 (no row), or -errno. NULL counts as 0. */
int pfs_sql_integer(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types, ...);

/* As pfs_sql_run, where the outcome is not needed: queued where the driver can. 0 or -errno. */
int pfs_sql_write(struct pfs_sql_conn *c, unsigned stmt, const char *types, ...);
/* As pfs_sql_integer; *out is valid after the next answer, COMMIT's at the latest. 0 or -errno. */
int pfs_sql_later(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types, ...);

/* Does it cost a round trip to learn how many rows a statement changed? Then look first. */
static inline bool pfs_sql_queues(const struct pfs_sql_conn *c)
{
	return c->driver->write != NULL;
}

static inline int pfs_sql_step(struct pfs_sql_conn *c, struct pfs_sql_query *q)
{
	return c->driver->step(c, q);
}

static inline void pfs_sql_end(struct pfs_sql_conn *c, struct pfs_sql_query *q)
{
	c->driver->end(c, q);
}

#endif
