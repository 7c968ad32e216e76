/* The tables of a SQLite file as directories: kind = sql. */
#ifndef PFS_BACKENDS_SQLITE_TABLES_H
#define PFS_BACKENDS_SQLITE_TABLES_H

#include "backends/backend.h"

/* engine->adopt for PFS_LAYOUT_TABLES. */
int sqlite_tables_adopt(struct pfs_backend *host, const char *name,
			const struct pfs_option_set *store, struct pfs_backend **out,
			struct pfs_msg *msg);

#endif
