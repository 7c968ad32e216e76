/*
 * Many processes want the same name, through several mounts of one store: one of them gets it, the
 * others are told that it is there. usage:
 *	race KIND PROCESSES ROUNDS DIR DIR2 ...	KIND: create, mkdir, rename (NOREPLACE), link, symlink
 * DIR ... are names of one directory; process i uses the (i modulo their number)-th.
 */
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/mount/helper.h"

#define PROCESSES_MAX 64

static struct shared {
	pthread_barrier_t barrier;
	int winners, winner, failed;
} * shared;

static const char *kind;
static int me, processes;
static char own[600]; /* what this process renames or links */

static int make_source(void)
{
	int fd = open(own, O_WRONLY | O_CREAT | O_EXCL, 0644);
	char text[16];

	if (fd < 0)
		return -errno;
	snprintf(text, sizeof(text), "%d", me);
	if (write_all(fd, text, strlen(text)) != 0 || close(fd) != 0)
		return -errno;
	return 0;
}

/* 0: we have it. */
static int attempt(const char *path)
{
	char text[16];
	int fd;

	snprintf(text, sizeof(text), "%d", me);
	if (strcmp(kind, "mkdir") == 0)
		return mkdir(path, 0755) ? -errno : 0;
	if (strcmp(kind, "symlink") == 0)
		return symlink(text, path) ? -errno : 0;
	if (strcmp(kind, "link") == 0)
		return link(own, path) ? -errno : 0;
	if (strcmp(kind, "rename") == 0)
		return renameat2(AT_FDCWD, own, AT_FDCWD, path, RENAME_NOREPLACE) ? -errno : 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	if (fd < 0)
		return -errno;
	if (write_all(fd, text, strlen(text)) != 0 || close(fd) != 0)
		return -EIO;
	return 0;
}

/* What is there is the winner's, as soon as this mount has heard of it. */
static void check_winner(const char *path, const char *round)
{
	double until = now_ms() + 2000;
	char text[16] = "";
	ssize_t n = -1;
	struct stat st;
	int fd;

	if (strcmp(kind, "mkdir") == 0) {
		while (stat(path, &st) != 0 && now_ms() < until)
			sleep_ms(1);
		if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
			die("%s: %s is not there", round, path);
		return;
	}
	do {
		if (strcmp(kind, "symlink") == 0) {
			n = readlink(path, text, sizeof(text) - 1);
		} else {
			fd = open(path, O_RDONLY);
			n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
			if (fd >= 0)
				close(fd);
		}
		text[n > 0 ? n : 0] = 0;
		if (n > 0 && atoi(text) == shared->winner)
			return;
		sleep_ms(1);
	} while (now_ms() < until);
	errno = 0;
	die("%s: %s says '%s', the winner was %d", round, path, text, shared->winner);
}

static void clean(const char *path)
{
	if (strcmp(kind, "mkdir") == 0 ? rmdir(path) : unlink(path))
		die("removing %s", path);
}

static void run(const char *dir, int rounds)
{
	bool source = strcmp(kind, "rename") == 0 || strcmp(kind, "link") == 0;
	char path[600], round[64];
	int err;

	snprintf(own, sizeof(own), "%s/own-%d", dir, me);
	if (source && make_source() != 0)
		die("%s", own);
	for (int i = 0; i < rounds; i++) {
		snprintf(path, sizeof(path), "%s/name-%d", dir, i);
		snprintf(round, sizeof(round), "%s %d", kind, i);
		pthread_barrier_wait(&shared->barrier);
		err = attempt(path);
		if (!err) {
			__atomic_fetch_add(&shared->winners, 1, __ATOMIC_SEQ_CST);
			shared->winner = me;
		} else if (err != -EEXIST) {
			errno = -err;
			die("%s: process %d", round, me);
		}
		pthread_barrier_wait(&shared->barrier);
		errno = 0;
		if (shared->winners != 1)
			die("%s: %d have it", round, shared->winners);
		check_winner(path, round);
		pthread_barrier_wait(&shared->barrier);
		if (!err) {
			shared->winners = 0;
			clean(path);
			if (strcmp(kind, "rename") == 0 && make_source() != 0)
				die("%s", own);
		}
	}
	if (source && unlink(own) != 0)
		die("unlink %s", own);
}

int main(int argc, char **argv)
{
	pthread_barrierattr_t attr;
	int status, rounds, failed = 0;
	pid_t pids[PROCESSES_MAX];

	if (argc < 5) {
		fprintf(stderr, "usage: race KIND PROCESSES ROUNDS DIR DIR2 ...\n");
		return 64;
	}
	kind = argv[1];
	processes = atoi(argv[2]);
	rounds = atoi(argv[3]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || processes < 1 || processes > PROCESSES_MAX)
		die("mmap");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, processes);
	for (me = 0; me < processes; me++) {
		pids[me] = fork();
		if (pids[me] < 0)
			die("fork");
		if (pids[me] == 0) {
			run(argv[4 + me % (argc - 4)], rounds);
			_exit(0);
		}
	}
	/* One that fails leaves the others at the barrier. */
	for (int left = processes; left > 0; left--) {
		if (wait(&status) < 0)
			die("wait");
		failed += status != 0;
		for (int i = 0; failed == 1 && i < processes; i++)
			kill(pids[i], SIGKILL);
	}
	errno = 0;
	if (failed)
		die("%s: failed", kind);
	return 0;
}
