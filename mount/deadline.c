/*
 * A child process that is given up when it takes too long. The end of its output is the end of its
 * work, so there is one thing to wait for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/deadline.h"

#define DEAD_CHECK_MS 2000

/* Read until the end or the deadline (negative: none). */
static int collect(int fd, int64_t deadline, struct pfs_buf *out)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char chunk[4096];
	int64_t left;
	ssize_t n;

	for (;;) {
		left = deadline < 0 ? -1 : (deadline - pfs_monotonic_ns()) / 1000000;
		if (left <= 0 && deadline >= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (!p.revents)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0 && out)
			pfs_buf_add(out, chunk, (size_t)n);
	}
}

int pfs_deadline_run(int (*fn)(void *arg, int fd), void *arg, int timeout_ms, struct pfs_buf *out)
{
	int64_t deadline = -1;
	int fds[2], status = 0, err;
	pid_t pid;

	if (timeout_ms >= 0)
		deadline = pfs_monotonic_ns() + timeout_ms * (NSEC_PER_SEC / 1000);
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		err = -errno;
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	if (pid == 0) {
		close(fds[0]);
		_exit(fn(arg, fds[1]));
	}
	close(fds[1]);
	err = collect(fds[0], deadline, out);
	close(fds[0]);
	if (err) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, WNOHANG);
		return err;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* In the child. The kernel answers stat(2) from what it has cached, but not statfs(2). */
static int dead_check(void *arg, int fd)
{
	struct statvfs st;

	(void)fd;
	return statvfs(*(const char **)arg, &st) && (errno == ENOTCONN || errno == ECONNABORTED);
}

bool pfs_mount_is_dead(const char *path)
{
	return pfs_deadline_run(dead_check, &path, DEAD_CHECK_MS, NULL) == 1;
}
