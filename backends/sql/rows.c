/* What views of SQL tables need over any engine: see rows.h. */
#include "backends/sql/rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void pfs_rows_ident(struct pfs_buf *sql, struct pfs_bytes name)
{
	size_t i;

	pfs_buf_add(sql, "\"", 1);
	for (i = 0; i < name.len; i++) {
		if (name.p[i] == '"')
			pfs_buf_add(sql, "\"", 1);
		pfs_buf_add(sql, &name.p[i], 1);
	}
	pfs_buf_str(sql, "\"");
}

int64_t pfs_rows_run(struct pfs_rows_db *db, struct pfs_rows_conn *c, const char *sql,
		     const struct pfs_value *params, size_t n)
{
	struct pfs_rows *r = NULL;
	int err;

	err = db->ops->query(c, sql, params, n, &r);
	while (!err && (err = db->ops->next(r)) > 0)
		err = 0;
	db->ops->end(r);
	return err ? err : db->ops->changes(c);
}

int pfs_rows_run_one(struct pfs_rows_db *db, struct pfs_rows_conn *c, const char *sql,
		     const struct pfs_value *params, size_t n)
{
	int64_t rows = pfs_rows_run(db, c, sql, params, n);

	if (rows <= 1)
		return (int)rows;
	pfs_error_text_set("the engine finds %lld rows of this key (tables that inherit, or a"
			   " collation that takes them for equal): none was changed",
			   (long long)rows);
	return -EPERM;
}

/* "+00", "+0530", "-01:00", "Z" or nothing, which is UTC: seconds east. -EINVAL. */
static int parse_zone(const char *p, int *out)
{
	int sign = *p == '-' ? -1 : 1, h = 0, m = 0, n = 0;

	*out = 0;
	if (!*p || !strcmp(p, "Z") || !strcmp(p, "z"))
		return 0;
	if (*p != '+' && *p != '-')
		return -EINVAL;
	if (sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) < 2 || p[1 + n]) {
		m = n = 0;
		if (sscanf(p + 1, "%2d%2d%n", &h, &m, &n) < 2 || p[1 + n]) {
			m = n = 0;
			if (sscanf(p + 1, "%2d%n", &h, &n) < 1 || p[1 + n])
				return -EINVAL;
		}
	}
	*out = sign * (h * 3600 + m * 60);
	return 0;
}

int pfs_rows_parse_time(struct pfs_bytes text, int64_t *out)
{
	char buf[64], *p;
	int64_t part = 0, unit = NSEC_PER_SEC;
	struct tm tm = {0};
	int zone;

	if (text.len >= sizeof(buf))
		return -EINVAL;
	memcpy(buf, text.p, text.len);
	buf[text.len] = '\0';
	p = strptime(buf, "%Y-%m-%d", &tm);
	if (!p)
		return -EINVAL;
	if (*p == ' ' || *p == 'T') {
		p = strptime(p + 1, "%H:%M:%S", &tm);
		if (!p)
			return -EINVAL;
		if (*p == '.')
			for (p++; *p >= '0' && *p <= '9'; p++)
				if (unit > 1)
					part += (*p - '0') * (unit /= 10);
		while (*p == ' ')
			p++;
	}
	if (parse_zone(p, &zone))
		return -EINVAL;
	*out = ((int64_t)timegm(&tm) - zone) * NSEC_PER_SEC + part;
	return 0;
}
