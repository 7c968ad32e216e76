/*
 * A large value that is being read. Engines tell a value as a whole, however little of it is asked for; so it
 * is kept, as a file without a name, for the reads that follow, with a stamp that would be another if the value
 * were. Where the engine says when others change something that is how often it did; else the engine has one
 * of the row.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sql/poll.h"
#include "backends/sql/tables.h"

/* Below this the engine may be asked again. */
#define LARGE (1u << 20)

struct tables_large {
	char *path, *stamp;
	uint64_t size, version;
	int fd;
};

static void large_free(struct tables_large *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	free(l->stamp);
	free(l);
}

/* `l`, or none, is the one that is kept. */
static void replace(struct tables *v, struct tables_large *l)
{
	struct tables_large *old;

	pthread_mutex_lock(&v->lock);
	old = v->large;
	v->large = l;
	pthread_mutex_unlock(&v->lock);
	large_free(old);
}

void tables_large_free(struct tables *v)
{
	replace(v, NULL);
}

/* Is it that of `path`, and of the stamp? Then *out is as it, with a descriptor of the caller's. */
static bool find(struct tables *v, struct pfs_bytes path, const char *stamp,
		 struct tables_large *out)
{
	bool found;

	pthread_mutex_lock(&v->lock);
	found = v->large && pfs_bytes_eq(pfs_bytes_str(v->large->path), path) &&
		!strcmp(v->large->stamp, stamp);
	if (found) {
		*out = *v->large;
		out->fd = fcntl(v->large->fd, F_DUPFD_CLOEXEC, 0);
		found = out->fd >= 0;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

void tables_large_stamp(struct tables *v, char stamp[TABLES_STAMP])
{
	unsigned long long n = 0;

	stamp[0] = '\0';
	if (v->poll && pfs_backend_pushing(v->view.backend))
		n = pfs_rows_poll_changes(v->poll);
	if (n)
		snprintf(stamp, TABLES_STAMP, "%llu", n);
}

int tables_large_row_stamp(struct tables_session *s, const struct tables_place *p,
			   char stamp[TABLES_STAMP])
{
	struct tables_sql sql = {0};
	struct pfs_rows *r = NULL;
	struct pfs_value value;
	int err;

	if (!p->table->stamped || p->table->numbered || p->key.lookup)
		return 0;
	tables_sql_str(&sql, "SELECT ");
	tables_sql_str(&sql, p->table->engine->row_stamp);
	tables_sql_from(&sql, p);
	tables_sql_is(&sql, p->table, &p->key);
	err = tables_first_row(s, &sql, &r);
	if (!err) {
		tables_column_at(s, r, 0, &value);
		if (value.bytes.len < TABLES_STAMP)
			snprintf(stamp, TABLES_STAMP, "%.*s", (int)value.bytes.len, value.bytes.p);
	}
	s->v->db->ops->end(r);
	tables_sql_release(&sql);
	return err;
}

ssize_t tables_large_read(struct tables *v, struct pfs_bytes path, const char *stamp, uint64_t off,
			  void *buf, size_t len, uint64_t *version)
{
	struct tables_large l;
	ssize_t n = 0;

	if (!stamp[0] || !find(v, path, stamp, &l))
		return -ENOENT;
	if (off < l.size)
		n = pread(l.fd, buf, len < l.size - off ? len : (size_t)(l.size - off), (off_t)off);
	close(l.fd);
	*version = l.version;
	return n < 0 ? -ENOENT : n;
}

void tables_large_keep(struct tables *v, struct pfs_bytes path, const char *stamp,
		       struct pfs_bytes value, uint64_t version)
{
	struct tables_large *l;

	if (value.len < LARGE || !stamp[0])
		return;
	l = calloc(1, sizeof(*l));
	if (!l)
		return;
	*l = (struct tables_large){.path = strndup(path.p, path.len),
				   .stamp = strdup(stamp),
				   .size = value.len,
				   .version = version,
				   .fd = -1};
	if (l->path && l->stamp && !tables_file(&l->fd, value))
		replace(v, l);
	else
		large_free(l);
}
