/* The tables of a PostgreSQL database as directories: kind = sql. */
#ifndef PFS_BACKENDS_POSTGRES_TABLES_H
#define PFS_BACKENDS_POSTGRES_TABLES_H

#include "backends/backend.h"

/* engine->adopt for PFS_LAYOUT_TABLES. */
int pg_tables_adopt(struct pfs_backend *host, const char *name, const struct pfs_option_set *store,
		    struct pfs_backend **out, struct pfs_msg *msg);

#endif
