/*
 * Between session.c and ops.c only: the handlers of requests, and what they find as user data.
 */
#ifndef PFS_MOUNT_OPS_H
#define PFS_MOUNT_OPS_H

#include <fuse_lowlevel.h>
#include <pthread.h>

#include "fs/fs.h"

struct pfs_handle;

/* What fuse_req_userdata() points to. */
struct pfs_ops_data {
	struct pfs_fs *fs;
	pthread_mutex_t lock;	    /* the list */
	struct pfs_handle *handles; /* everything the kernel has open */
};

extern const struct fuse_lowlevel_ops pfs_ops;

/* `fs` is borrowed. */
void pfs_ops_init(struct pfs_ops_data *ops, struct pfs_fs *fs);
/* Release what the kernel had open when it was cut off. No request may be under way. */
void pfs_ops_close_all(struct pfs_ops_data *ops);

/* A node's id in the kernel. */
fuse_ino_t pfs_ops_ino(struct pfs_fs *fs, struct pfs_node *node);

#endif
