/*
 * A large value that is being read. Engines tell a value as a whole, however little of it is asked for; so it
 * is kept, as a file without a name, for the reads that follow: until anything is known to have changed, or
 * another one is read. Only where the engine says when others change something.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sql/poll.h"
#include "backends/sql/tables.h"

/* Below this the engine may be asked again. */
#define LARGE (1u << 20)

struct tables_large {
	char *path;
	uint64_t changes; /* when it was read */
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

/* The value that is kept, if it is that of `path`; its descriptor is the caller's. */
static bool find(struct tables *v, struct pfs_bytes path, struct tables_large *out)
{
	bool found;

	pthread_mutex_lock(&v->lock);
	found = v->large && pfs_bytes_eq(pfs_bytes_str(v->large->path), path);
	if (found) {
		*out = *v->large;
		out->fd = fcntl(v->large->fd, F_DUPFD_CLOEXEC, 0);
	}
	pthread_mutex_unlock(&v->lock);
	return found && out->fd >= 0;
}

uint64_t tables_large_changes(struct tables *v)
{
	return v->poll && pfs_backend_pushing(v->view.backend) ? pfs_rows_poll_changes(v->poll) : 0;
}

ssize_t tables_large_read(struct tables *v, struct pfs_bytes path, uint64_t off, void *buf,
			  size_t len, uint64_t *version)
{
	struct tables_large l;
	ssize_t n = -ENOENT;

	if (!find(v, path, &l))
		return -ENOENT;
	if (pfs_rows_poll_now(v->poll) || tables_large_changes(v) != l.changes)
		replace(v, NULL);
	else if (off >= l.size)
		n = 0;
	else
		n = pread(l.fd, buf, len < l.size - off ? len : (size_t)(l.size - off), (off_t)off);
	close(l.fd);
	*version = l.version;
	return n < 0 ? -ENOENT : n;
}

void tables_large_keep(struct tables *v, struct pfs_bytes path, uint64_t changes,
		       struct pfs_bytes value, uint64_t version)
{
	struct tables_large *l;

	if (value.len < LARGE || !changes)
		return;
	l = calloc(1, sizeof(*l));
	if (!l)
		return;
	*l = (struct tables_large){.path = strndup(path.p, path.len),
				   .changes = changes,
				   .size = value.len,
				   .version = version,
				   .fd = -1};
	if (l->path && !tables_file(&l->fd, value))
		replace(v, l);
	else
		large_free(l);
}
