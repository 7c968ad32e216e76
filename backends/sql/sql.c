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

/* Step to the end: the rows changed or -errno. */
static int64_t finish(struct pfs_sql_conn *c, struct pfs_sql_query *q, int err)
{
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

int64_t pfs_sql_run(struct pfs_sql_conn *c, unsigned stmt, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	va_list ap;
	int err;

	va_start(ap, types);
	err = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	return finish(c, q, err);
}

int pfs_sql_write(struct pfs_sql_conn *c, unsigned stmt, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	int64_t ret;
	va_list ap;

	va_start(ap, types);
	if (c->driver->write)
		ret = c->driver->write(c, stmt, types, ap);
	else
		ret = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	if (!c->driver->write)
		ret = finish(c, q, (int)ret);
	return ret < 0 ? (int)ret : 0;
}

/* The first column of the first row; ends the query. */
static int first(struct pfs_sql_conn *c, struct pfs_sql_query *q, int err, int64_t *out)
{
	if (!err)
		err = c->driver->step(c, q);
	if (err == 1)
		*out = c->driver->integer(q, 0);
	c->driver->end(c, q);
	return err;
}

int pfs_sql_later(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	va_list ap;
	int ret;

	va_start(ap, types);
	if (c->driver->later)
		ret = c->driver->later(c, stmt, out, types, ap);
	else
		ret = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	if (!c->driver->later)
		ret = first(c, q, ret, out);
	return ret < 0 ? ret : 0;
}

int pfs_sql_integer(struct pfs_sql_conn *c, unsigned stmt, int64_t *out, const char *types, ...)
{
	struct pfs_sql_query *q = NULL;
	va_list ap;
	int err;

	va_start(ap, types);
	err = c->driver->begin(c, stmt, &q, types, ap);
	va_end(ap);
	return first(c, q, err, out);
}
