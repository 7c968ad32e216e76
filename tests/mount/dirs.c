/*
 * Directories with many entries. usage:
 *	dirs fill DIR N		makes the lasting names
 *	dirs walk DIR N		lists while a thread makes and removes other names: every lasting
 *				name exactly once, every passing name (each is used once) at most once
 *	dirs empty DIR N	removes the lasting names
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/mount/helper.h"

#define MAX_PASSING (16 << 20)

static int dir_fd;
static atomic_bool stop;
static atomic_int passing;

static void touch(const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0 || close(fd) != 0)
		die("create %s", name);
}

static void *disturb(void *arg)
{
	char name[32];
	int i = 0;

	(void)arg;
	while (!atomic_load(&stop)) {
		snprintf(name, sizeof(name), "passing-%d", i);
		touch(name);
		atomic_store(&passing, ++i);
		if (i > 20) {
			snprintf(name, sizeof(name), "passing-%d", i - 20);
			if (unlinkat(dir_fd, name, 0) != 0)
				die("unlink %s", name);
		}
	}
	for (int j = 0; j < i; j++) {
		snprintf(name, sizeof(name), "passing-%d", j);
		if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
			die("unlink %s", name);
	}
	return NULL;
}

static void list_once(const char *path, unsigned char *seen, int n)
{
	unsigned char *passed = calloc(1, MAX_PASSING);
	struct dirent *e;
	DIR *d = opendir(path);

	if (!d || !passed)
		die("opendir %s", path);
	memset(seen, 0, n);
	errno = 0;
	while ((e = readdir(d))) {
		int i;

		if (sscanf(e->d_name, "lasting-%d", &i) == 1 && i >= 0 && i < n) {
			if (seen[i]++)
				die("%s is listed twice", e->d_name);
		} else if (sscanf(e->d_name, "passing-%d", &i) == 1 && i < MAX_PASSING) {
			if (passed[i]++)
				die("%s is listed twice", e->d_name);
		} else if (e->d_name[0] != '.') {
			die("nobody made %s", e->d_name);
		}
	}
	if (errno)
		die("readdir");
	closedir(d);
	for (int i = 0; i < n; i++)
		if (!seen[i])
			die("lasting-%d is not listed", i);
	free(passed);
}

static void walk(const char *path, int n)
{
	unsigned char *seen = malloc(n);
	double start = now_ms();
	pthread_t thread;

	errno = pthread_create(&thread, NULL, disturb, NULL);
	if (errno)
		die("thread");
	for (int round = 0; round < 3; round++)
		list_once(path, seen, n);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	printf("3 listings of %d names in %.0f ms, %d other names came meanwhile\n", n,
	       now_ms() - start, atomic_load(&passing));
	list_once(path, seen, n);
	free(seen);
}

int main(int argc, char **argv)
{
	double start = now_ms();
	char name[32];
	int n;

	if (argc != 4) {
		fprintf(stderr, "usage: dirs fill|walk|empty DIR N\n");
		return 64;
	}
	n = atoi(argv[3]);
	dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY);
	if (dir_fd < 0)
		die("open %s", argv[2]);
	if (strcmp(argv[1], "walk") == 0) {
		walk(argv[2], n);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "lasting-%d", i);
		if (strcmp(argv[1], "fill") == 0)
			touch(name);
		else if (unlinkat(dir_fd, name, 0) != 0)
			die("unlink %s", name);
	}
	printf("%s: %d names in %.0f ms\n", argv[1], n, now_ms() - start);
	return 0;
}
