/*
 * Between session.c and ops.c only: the handlers of requests, and what they find as user data.
 */
#ifndef PFS_MOUNT_OPS_H
#define PFS_MOUNT_OPS_H

#include <fuse_lowlevel.h>
#include <pthread.h>

#include "fs/fs.h"

struct pfs_handle;
struct pfs_parked;

/* What fuse_req_userdata() points to. */
struct pfs_ops_data {
	struct pfs_fs *fs;
	pthread_mutex_t lock;	    /* the lists */
	struct pfs_handle *handles; /* everything the kernel has open */
	struct pfs_parked *parked;  /* requests for locks that wait */
};

extern const struct fuse_lowlevel_ops pfs_ops;

/* `fs` is borrowed. */
void pfs_ops_init(struct pfs_ops_data *ops, struct pfs_fs *fs);
/* Answer requests that wait. No request may be under way. */
void pfs_ops_answer_all(struct pfs_ops_data *ops);
/* Release what the kernel had open when it was cut off. No request may be under way. */
void pfs_ops_close_all(struct pfs_ops_data *ops);

/* What the kernel's `fh` of an open file means. NULL: fi is NULL. */
struct pfs_file *pfs_ops_file(const struct fuse_file_info *fi);

/* ops_lock.c */
void pfs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void pfs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		  int sleep);
void pfs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);
void pfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* A node's id in the kernel. */
fuse_ino_t pfs_ops_ino(struct pfs_fs *fs, struct pfs_node *node);

#endif
