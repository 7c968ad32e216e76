/*
 * The conveniences over a driver: begin with arguments, run to the end, one number.
 */
#include "backends/sql/sql.h"

#include <errno.h>

int pfs_sql_begin(struct pfs_sql_conn *c, unsigned stmt, struct pfs_sql_query **out,
		  const char *types, ...)
{
	va_list ap;
	int err;

	va_start(ap, types);
	err = c->driver->begin(c, stmt, out, types, ap);
	va_end(ap);
	return err;
}

int64_t pfs_sql_run(struct pfs_sql_conn *c, unsigned stmt, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	va_list ap;
	int err;

	va_start(ap, types);
	err = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	while (!err) {
		err = c->driver->step(c, q);
		if (err == 1)
			err = 0;
		else if (!err)
			break;
	}
	c->driver->end(c, q);
	return err ? err : c->driver->changes(c);
}

int pfs_sql_integer(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	va_list ap;
	int err;

	va_start(ap, types);
	err = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	if (!err)
		err = c->driver->step(c, q);
	if (err == 1)
		*out = c->driver->integer(q, 0);
	c->driver->end(c, q);
	return err;
}
