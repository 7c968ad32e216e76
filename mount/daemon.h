/*
 * The process behind a mount: started, shown to answer, told to end, and what it leaves behind.
 */
#ifndef PFS_MOUNT_DAEMON_H
#define PFS_MOUNT_DAEMON_H

#include "mount/cli.h"
#include "mount/config.h"

struct pfs_daemon_config {
	struct pfs_config *config; /* owned: consumed by pfs_daemon_run() */
	const char *mountpoint;	   /* absolute, resolved */
	const struct pfs_fuse_options *options;
	bool foreground;
};

/*
 * Mount, and return the exit status of `persistfs mount`: in the foreground when the mount has
 * ended, else as soon as the tree answers (the daemon goes on as another process) or it is known
 * that it will not. Faults are told on stderr, and nothing stays mounted then.
 */
int pfs_daemon_run(const struct pfs_daemon_config *config);

#endif
