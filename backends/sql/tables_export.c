/*
 * A selection as one file. Its statement runs to the end at once, into a file without a name: so it is of
 * one state, takes bounded memory, and whoever reads it slowly keeps no lock on the application's data.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/sql/tables.h"

/* Rows are gathered up to so many bytes. */
#define PIECE (256u << 10)

int tables_temp_file(int *fd)
{
	const char *dir = getenv("TMPDIR");
	FILE *file;

	*fd = open(dir && *dir ? dir : P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd >= 0)
		return 0;
	file = tmpfile(); /* a file system without O_TMPFILE */
	if (!file)
		return -errno;
	*fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
	fclose(file);
	return *fd < 0 ? -errno : 0;
}

int tables_temp_drain(int fd, struct pfs_buf *b)
{
	size_t done = 0;
	ssize_t n;

	if (b->failed)
		return -ENOMEM;
	while (done < b->len) {
		n = write(fd, b->data + done, b->len - done);
		if (n < 0 && errno != EINTR) {
			pfs_error_text_set("there is no room in the directory of temporary files, see TMPDIR");
			return -errno;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	b->len = 0;
	return 0;
}

int tables_file(int *fd, struct pfs_bytes content)
{
	/* Only looked at. */
	struct pfs_buf b = {.data = (char *)(uintptr_t)content.p, .len = content.len};
	int err = tables_temp_file(fd);

	if (!err)
		err = tables_temp_drain(*fd, &b);
	if (err && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return err;
}

static void select_rows(const struct tables_place *p, const size_t *columns, struct tables_sql *sql)
{
	tables_sql_select(sql, p, columns, tables_shown(p));
	if (p->sample >= 0) {
		tables_sql_str(sql, " ORDER BY random()");
		tables_sql_limit(sql, p->sample);
	} else {
		tables_sql_order(sql, p);
	}
}

static int write_rows(struct tables_session *s, struct tables_place *p, const struct tables_sql *sql,
		      int fd)
{
	struct pfs_buf out = {0};
	struct pfs_rows *r = NULL;
	uint64_t n = 0;
	int err;

	tables_format_head(p->format, p, &out);
	err = tables_first_row(s, sql, &r);
	while (!err) {
		tables_format_row(p->format, p, s->v->db, r, (int)tables_nkeys(p->table), n++, &out);
		if (out.len >= PIECE || out.failed)
			err = tables_temp_drain(fd, &out);
		if (!err)
			err = s->v->db->ops->next(r);
		err = err > 0 ? 0 : err ? err : -ENOENT;
	}
	s->v->db->ops->end(r);
	err = err == -ENOENT ? 0 : err;
	if (!err) {
		tables_format_tail(p->format, &out);
		err = tables_temp_drain(fd, &out);
	}
	pfs_buf_release(&out);
	return err;
}

int tables_export(struct tables_session *s, struct tables_place *p, int *fd)
{
	size_t n = tables_shown(p), i, *columns = calloc(n + 1, sizeof(*columns));
	struct tables_sql sql = {0};
	int err;

	if (!columns)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		columns[i] = tables_shown_at(p, i);
	select_rows(p, columns, &sql);
	err = tables_temp_file(fd);
	if (!err) {
		err = write_rows(s, p, &sql, *fd);
		if (err) {
			close(*fd);
			*fd = -1;
		}
	}
	tables_sql_release(&sql);
	free(columns);
	return err;
}
