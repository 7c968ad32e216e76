/*
 * A VFS over SQLite's own that gathers what one commit writes into the log: a header and a page for
 * every page that changed, each a system call of its own, become one call. All other files and all
 * other calls go straight to the VFS below.
 *
 * What is gathered is written before anybody could miss it: with the page of the commit frame (so
 * that a full disk still fails the commit), before the log is read, synced, truncated or measured,
 * when the buffer is full, and when a write does not follow on the last one; such a write goes
 * straight on, for it may be the last of its commit (SQLite writes some headers again). A frame's
 * header holds in its bytes 4 to 7 the size of the database after a commit, and zero otherwise.
 *
 * A file belongs to one connection, which has one user at a time: no lock is needed.
 */
#include <stdlib.h>
#include <string.h>

#include "backends/sqlite/sqlite.h"

#define GATHER_SIZE  (120 << 10) /* SQLite's unix VFS takes less than 128 KiB in one write */
#define FRAME_HEADER 24

struct gather_file {
	sqlite3_file base; /* must be first */
	char *buf;
	sqlite3_int64 at;  /* where buf belongs in the file */
	sqlite3_int64 end; /* behind the last write */
	int len;
	bool commit;	    /* the frame that is being written is a commit's */
	sqlite3_file below; /* and the rest of the file of the VFS below */
};

static sqlite3_vfs gather_vfs;

static struct gather_file *gather_of(sqlite3_file *file)
{
	return (struct gather_file *)(void *)file;
}

static int gather_flush(struct gather_file *g)
{
	int len = g->len;

	g->len = 0;
	if (len == 0)
		return SQLITE_OK;
	return g->below.pMethods->xWrite(&g->below, g->buf, len, g->at);
}

static int gather_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 off)
{
	struct gather_file *g = gather_of(file);
	bool follows = off == g->end;
	int rc = SQLITE_OK;

	if (n == FRAME_HEADER)
		g->commit = memcmp((const char *)p + 4, "\0\0\0\0", 4) != 0;
	if (!follows || g->len + n > GATHER_SIZE)
		rc = gather_flush(g);
	if (rc != SQLITE_OK)
		return rc;
	g->end = off + n;
	if (!follows || n > GATHER_SIZE)
		return g->below.pMethods->xWrite(&g->below, p, n, off);
	if (g->len == 0)
		g->at = off;
	memcpy(g->buf + g->len, p, (size_t)n);
	g->len += n;
	return n == FRAME_HEADER || (n == SQLITE_PAGE && !g->commit) ? SQLITE_OK : gather_flush(g);
}

static int gather_read(sqlite3_file *file, void *p, int n, sqlite3_int64 off)
{
	struct gather_file *g = gather_of(file);
	int rc = gather_flush(g);

	return rc != SQLITE_OK ? rc : g->below.pMethods->xRead(&g->below, p, n, off);
}

static int gather_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct gather_file *g = gather_of(file);
	int rc = gather_flush(g);

	return rc != SQLITE_OK ? rc : g->below.pMethods->xTruncate(&g->below, size);
}

static int gather_sync(sqlite3_file *file, int flags)
{
	struct gather_file *g = gather_of(file);
	int rc = gather_flush(g);

	return rc != SQLITE_OK ? rc : g->below.pMethods->xSync(&g->below, flags);
}

static int gather_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	struct gather_file *g = gather_of(file);
	int rc = gather_flush(g);

	return rc != SQLITE_OK ? rc : g->below.pMethods->xFileSize(&g->below, size);
}

static int gather_close(sqlite3_file *file)
{
	struct gather_file *g = gather_of(file);
	int rc;

	/* What no commit has followed is worth nothing. */
	rc = g->below.pMethods->xClose(&g->below);
	free(g->buf);
	return rc;
}

static int gather_lock(sqlite3_file *file, int lock)
{
	return gather_of(file)->below.pMethods->xLock(&gather_of(file)->below, lock);
}

static int gather_unlock(sqlite3_file *file, int lock)
{
	return gather_of(file)->below.pMethods->xUnlock(&gather_of(file)->below, lock);
}

static int gather_reserved(sqlite3_file *file, int *out)
{
	return gather_of(file)->below.pMethods->xCheckReservedLock(&gather_of(file)->below, out);
}

static int gather_control(sqlite3_file *file, int op, void *arg)
{
	return gather_of(file)->below.pMethods->xFileControl(&gather_of(file)->below, op, arg);
}

static int gather_sector(sqlite3_file *file)
{
	return gather_of(file)->below.pMethods->xSectorSize(&gather_of(file)->below);
}

static int gather_device(sqlite3_file *file)
{
	return gather_of(file)->below.pMethods->xDeviceCharacteristics(&gather_of(file)->below);
}

static const sqlite3_io_methods gather_methods = {
	.iVersion = 1, /* a log has no shared memory and is not mapped */
	.xClose = gather_close,
	.xRead = gather_read,
	.xWrite = gather_write,
	.xTruncate = gather_truncate,
	.xSync = gather_sync,
	.xFileSize = gather_file_size,
	.xLock = gather_lock,
	.xUnlock = gather_unlock,
	.xCheckReservedLock = gather_reserved,
	.xFileControl = gather_control,
	.xSectorSize = gather_sector,
	.xDeviceCharacteristics = gather_device,
};

static int gather_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	sqlite3_vfs *below = vfs->pAppData;
	struct gather_file *g = gather_of(file);
	int rc;

	if (!(flags & SQLITE_OPEN_WAL))
		return below->xOpen(below, name, file, flags, out);
	memset(g, 0, sizeof(*g));
	g->buf = malloc(GATHER_SIZE);
	if (!g->buf)
		return SQLITE_NOMEM;
	rc = below->xOpen(below, name, &g->below, flags, out);
	if (rc == SQLITE_OK) {
		g->base.pMethods = &gather_methods;
		return SQLITE_OK;
	}
	if (g->below.pMethods)
		g->below.pMethods->xClose(&g->below);
	free(g->buf);
	return rc;
}

void sqlite_gather_register(void)
{
	sqlite3_vfs *below = sqlite3_vfs_find(NULL);

	if (!below)
		return;
	gather_vfs = *below;
	gather_vfs.szOsFile = (int)sizeof(struct gather_file) + below->szOsFile;
	gather_vfs.zName = SQLITE_GATHER;
	gather_vfs.pNext = NULL;
	gather_vfs.pAppData = below;
	gather_vfs.xOpen = gather_open;
	sqlite3_vfs_register(&gather_vfs, 0);
}
