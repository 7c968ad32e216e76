/*
 * Asking a tree that may not answer: in a child process, with a deadline.
 */
#ifndef PFS_MOUNT_DEADLINE_H
#define PFS_MOUNT_DEADLINE_H

#include "backends/base.h"

/*
 * Run fn(arg, fd) in a child process. What it writes to fd is appended to `out` (may be NULL), what
 * it returns (0 to 125) is the result. -ETIMEDOUT when it took longer than timeout_ms (negative: no deadline): the child is
 * killed and not waited for, since it may be stuck in the kernel. Other -errno: it could not be run
 * or died. The process must have one thread only.
 */
int pfs_deadline_run(int (*fn)(void *arg, int fd), void *arg, int timeout_ms, struct pfs_buf *out);

/*
 * Whether the FUSE mount at `path` has lost its daemon. A mount that does not answer in time counts
 * as living. The process must have one thread only.
 */
bool pfs_mount_is_dead(const char *path);

#endif
