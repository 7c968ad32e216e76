/*
 * Which mounts there are: what the kernel says (mountinfo) and what the daemons left written (one
 * small file per mount, locked as long as its daemon lives). Nothing here touches a mounted tree, so
 * nothing here can hang on one.
 */
#ifndef PFS_MOUNT_STATE_H
#define PFS_MOUNT_STATE_H

#include "backends/base.h"

#define PFS_FSTYPE "fuse.persistfs"

/* ---- what the kernel says ------------------------------------------------------------------- */

struct pfs_mount {
	char *path, *fstype, *source;
	unsigned major, minor;
	unsigned uid; /* who mounted it, for FUSE */
};
struct pfs_mount_list {
	struct pfs_mount *items; /* in the order of mounting */
	size_t n;
};

/* All mounts this process sees. 0 or -errno; *out: release in any case. */
int pfs_mounts_read(struct pfs_mount_list *out);
void pfs_mounts_release(struct pfs_mount_list *list);
/* What is mounted at exactly this path, the topmost; borrowed from the list, NULL: nothing. */
const struct pfs_mount *pfs_mounts_at(const struct pfs_mount_list *list, const char *path);

/*
 * The absolute path without symlinks and dots, as the kernel names it; works on a mount point whose
 * daemon is dead. *out: owned. -errno.
 */
int pfs_path_resolve(const char *path, char **out);

/* ---- what the daemons wrote ----------------------------------------------------------------- */

struct pfs_state; /* of this process's own mount */

/*
 * Write and lock the file for a mount of this process. *out: owned. -errno with msg. Strings are
 * copied. Keep it until the process ends: the lock says that we live.
 */
int pfs_state_new(const char *mountpoint, const char *source, struct pfs_state **out,
		  struct pfs_msg *msg);
/* Leave word how the last drain went: `lost` NULL or empty: everything was written. */
void pfs_state_finish(struct pfs_state *state, const char *lost);
/* Remove the file (a waiting umount has it open and still reads it). NULL: no-op. */
void pfs_state_remove(struct pfs_state *state);

/* Somebody's mount, found. */
struct pfs_state_info {
	char *mountpoint, *source;
	pid_t pid;
	int64_t started; /* ns since the epoch */
	int fd;		 /* of the file, open for reading */
	int pidfd;
};
struct pfs_state_list {
	struct pfs_state_info *items;
	size_t n;
};

/*
 * What `uid`'s living daemons (and root's) have written. Files of dead ones are removed where this
 * process may. 0 or -errno; *out: release in any case.
 */
int pfs_states_read(uid_t uid, struct pfs_state_list *out);
void pfs_states_release(struct pfs_state_list *list);
/* The one started last at this mount point, or NULL. Borrowed from the list. */
const struct pfs_state_info *pfs_states_at(const struct pfs_state_list *list,
					   const char *mountpoint);
/*
 * Wait until the daemon is gone, and say on stderr that we do when it takes long. Returns 0 if it
 * had written everything, -EIO with what was lost in msg, or -errno of the waiting itself.
 */
int pfs_state_wait(const struct pfs_state_info *info, struct pfs_msg *msg);

#endif
