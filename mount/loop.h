/*
 * The threads that take requests from the kernel and answer them. Every request belongs to a share (in
 * persistfs: the backend that may have to be asked) or to none; of one share only so many are worked
 * on at the same time, and the others wait in its queue while their threads go on receiving. So a share
 * whose requests hang holds its own threads and nobody else's.
 */
#ifndef PFS_MOUNT_LOOP_H
#define PFS_MOUNT_LOOP_H

#include <fuse_lowlevel.h>
#include <stddef.h>

#include <linux/fuse.h>

struct pfs_loop;

struct pfs_loop_config {
	struct fuse_session *se; /* borrowed */
	size_t nshares;
	unsigned share_threads; /* requests of one share at the same time */
	/*
	 * The share of a request, or nshares: of none, worked on at once by whoever received it. `len`
	 * bytes are there: the header and what follows. Does not block.
	 */
	size_t (*route)(void *arg, const struct fuse_in_header *h, size_t len);
	void *arg;
};

/* *out owned. SIGUSR1 is the loop's: blocked in the caller from now on. -ENOMEM. */
int pfs_loop_new(const struct pfs_loop_config *config, struct pfs_loop **out);
/*
 * Answer requests until the file system is unmounted or pfs_loop_stop() was called, before or during
 * this call; all requests taken have been answered then. 0 or -errno. Once per loop.
 */
int pfs_loop_run(struct pfs_loop *loop);
/* From any thread. Does not wait. */
void pfs_loop_stop(struct pfs_loop *loop);
/* After pfs_loop_run(). NULL: no-op. */
void pfs_loop_free(struct pfs_loop *loop);

#endif
