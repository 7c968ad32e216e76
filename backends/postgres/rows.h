/* Rows of others' tables in a PostgreSQL database: the driver of backends/sql/rows.h. */
#ifndef PFS_BACKENDS_POSTGRES_ROWS_H
#define PFS_BACKENDS_POSTGRES_ROWS_H

#include "backends/sql/rows.h"

/*
 * For the database of `host`, which need not be started: no I/O. read_only: nothing can be written
 * through it. *out: owned, ops->free(). 0 or -ENOMEM.
 */
int pg_rows_new(struct pfs_backend *host, bool read_only, struct pfs_rows_db **out);

#endif
