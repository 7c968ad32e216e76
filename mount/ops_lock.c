/*
 * The requests about locks: getlk, setlk, flock, and the flush that drops a process's fcntl locks.
 * What has to wait for others is parked, so that it occupies no thread, and answered from a thread of
 * fs/; the kernel's INTERRUPT ends it before. ops->lock guards the list of what is parked.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>

#include "mount/ops.h"

/*
 * A request for a lock that waits for others. It is in ops->parked from before it can be answered
 * until it is, so that an interrupt, which knows the request alone, finds it.
 */
struct pfs_parked {
	struct pfs_parked *prev, *next;
	struct pfs_ops_data *ops;
	fuse_req_t req;
	int err; /* of the flush that the unlock belongs to */
	struct pfs_lock_call call;
};

static void reply_lock(fuse_req_t req, const struct pfs_lock_call *call, int err)
{
	static const short types[] = {F_UNLCK, F_RDLCK, F_WRLCK};
	struct flock lock = {0};

	if (err || !call->test) {
		fuse_reply_err(req, -err);
		return;
	}
	lock.l_type = types[call->lock.mode];
	lock.l_whence = SEEK_SET;
	lock.l_start = (off_t)call->lock.start;
	lock.l_pid = (pid_t)call->pid;
	if (call->lock.end < PFS_LOCK_POSIX_END)
		lock.l_len = (off_t)(call->lock.end - call->lock.start + 1);
	fuse_reply_lock(req, &lock);
}

static void lock_done(struct pfs_lock_call *call, int err)
{
	struct pfs_parked *p = pfs_container_of(call, struct pfs_parked, call);

	pthread_mutex_lock(&p->ops->lock);
	if (p->next)
		p->next->prev = p->prev;
	if (p->prev)
		p->prev->next = p->next;
	else
		p->ops->parked = p->next;
	pthread_mutex_unlock(&p->ops->lock);
	reply_lock(p->req, call, p->err ? p->err : err);
	free(p);
}

/* The kernel's INTERRUPT; may run at any time, also when the request was answered just now. */
static void lock_interrupted(fuse_req_t req, void *arg)
{
	struct pfs_ops_data *ops = arg;
	struct pfs_parked *p;

	pthread_mutex_lock(&ops->lock);
	for (p = ops->parked; p && p->req != req; p = p->next)
		;
	if (p)
		pfs_fs_lock_cancel(ops->fs, &p->call);
	pthread_mutex_unlock(&ops->lock);
}

/* err: what is answered in any case. */
static void do_lock(fuse_req_t req, struct pfs_lock_call *call, int err)
{
	struct pfs_ops_data *ops = fuse_req_userdata(req);
	struct pfs_parked *p;
	int ret;

	ret = pfs_fs_lock(ops->fs, call);
	if (ret <= 0) {
		reply_lock(req, call, err ? err : ret);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		fuse_reply_err(req, err ? -err : ENOLCK);
		return;
	}
	*p = (struct pfs_parked){.ops = ops, .req = req, .err = err, .call = *call};
	p->call.done = lock_done;
	pthread_mutex_lock(&ops->lock);
	p->next = ops->parked;
	if (p->next)
		p->next->prev = p;
	ops->parked = p;
	pthread_mutex_unlock(&ops->lock);
	/* Only now may it be answered: the request must be there to be registered. */
	fuse_req_interrupt_func(req, lock_interrupted, ops);
	pfs_fs_lock_wait(ops->fs, &p->call);
}

static int lock_call(struct pfs_lock_call *call, struct fuse_file_info *fi,
		     const struct flock *lock)
{
	*call = (struct pfs_lock_call){.file = pfs_ops_file(fi), .pid = (uint32_t)lock->l_pid};
	call->lock.owner = fi->lock_owner;
	call->lock.start = (uint64_t)lock->l_start;
	call->lock.end = lock->l_len ? (uint64_t)lock->l_start + (uint64_t)lock->l_len - 1
				     : PFS_LOCK_POSIX_END;
	if (lock->l_start < 0 || lock->l_len < 0 || call->lock.end > PFS_LOCK_POSIX_END)
		return -EINVAL;
	switch (lock->l_type) {
	case F_RDLCK:
		call->lock.mode = PFS_LOCK_SHARED;
		return 0;
	case F_WRLCK:
		call->lock.mode = PFS_LOCK_EXCLUSIVE;
		return 0;
	case F_UNLCK:
		call->lock.mode = PFS_LOCK_NONE;
		return 0;
	default:
		return -EINVAL;
	}
}

void pfs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct pfs_lock_call call;
	int err;

	(void)ino;
	err = lock_call(&call, fi, lock);
	if (!err && call.lock.mode == PFS_LOCK_NONE)
		err = -EINVAL;
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	call.test = true;
	do_lock(req, &call, 0);
}

void pfs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		  int sleep)
{
	struct pfs_lock_call call;
	int err;

	(void)ino;
	err = lock_call(&call, fi, lock);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	call.wait = sleep != 0;
	do_lock(req, &call, 0);
}

void pfs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct pfs_lock_call call = {.file = pfs_ops_file(fi), .wait = !(op & LOCK_NB)};

	(void)ino;
	call.lock.owner = fi->lock_owner;
	call.lock.start = call.lock.end = PFS_LOCK_FLOCK_AT;
	if (op & LOCK_EX)
		call.lock.mode = PFS_LOCK_EXCLUSIVE;
	else if (op & LOCK_SH)
		call.lock.mode = PFS_LOCK_SHARED;
	do_lock(req, &call, 0);
}

/* A close also drops the fcntl locks that its process has on the file. */
void pfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct pfs_ops_data *ops = fuse_req_userdata(req);
	struct pfs_lock_call call = {.file = pfs_ops_file(fi)};
	struct pfs_ctx ctx = {.pid = (uint32_t)fuse_req_ctx(req)->pid, .owner = fi->lock_owner};
	int err;

	(void)ino;
	err = pfs_fs_close(ops->fs, &ctx, call.file);
	if (!pfs_fs_has_posix_locks(call.file)) {
		fuse_reply_err(req, -err);
		return;
	}
	call.lock.owner = fi->lock_owner;
	call.lock.end = PFS_LOCK_POSIX_END;
	do_lock(req, &call, err);
}

void pfs_ops_answer_all(struct pfs_ops_data *ops)
{
	pfs_fs_lock_stop(ops->fs);
}
