/*
 * The kernel's side of a mount: a libfuse session whose every request becomes one call of fs/fs.h
 * and exactly one reply. Nothing else knows libfuse.
 */
#ifndef PFS_MOUNT_SESSION_H
#define PFS_MOUNT_SESSION_H

#include "fs/fs.h"

struct pfs_session;

struct pfs_session_config {
	const char *source;   /* the mount's source for mount(8) and df, without secrets */
	const char *options;  /* further mount options for libfuse, or NULL */
	unsigned max_threads; /* that answer requests to one backend at the same time */
	size_t nbackends;     /* of fs */
};

/*
 * Make a session over `fs` (borrowed, must outlive it) and give fs its kernel side. Mounts nothing.
 * *out: owned. -errno with msg.
 */
int pfs_session_new(const struct pfs_session_config *config, struct pfs_fs *fs,
		    struct pfs_session **out, struct pfs_msg *msg);
/* mountpoint: absolute; copied by libfuse. -errno with msg (libfuse itself also tells stderr). */
int pfs_session_mount(struct pfs_session *s, const char *mountpoint, struct pfs_msg *msg);
/*
 * Answer requests until the file system is unmounted or pfs_session_stop() is called; all requests
 * taken have been answered then. Returns 0 or -errno.
 */
int pfs_session_loop(struct pfs_session *s);
/*
 * Ask the loop to end, now or when it begins. From another thread than the loop's. Waits for
 * invalidations that are on their way.
 */
void pfs_session_stop(struct pfs_session *s);
/*
 * Detach the mount if it is still there: programs that have files open get ENOTCONN from now on.
 * After the loop.
 */
void pfs_session_unmount(struct pfs_session *s);
/*
 * Release the files that were open when the mount was detached. After the loop, best after
 * pfs_fs_drain() (which knows them), and before pfs_fs_free().
 */
void pfs_session_close_files(struct pfs_session *s);
/* After pfs_fs_free(): fs may announce invalidations until then (they are dropped). NULL: no-op. */
void pfs_session_free(struct pfs_session *s);

#endif
