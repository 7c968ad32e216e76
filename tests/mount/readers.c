/*
 * usage: readers GO FILE...: opens every FILE, says "opened", waits until the file GO is there, then
 * reads the first bytes of all files at the same time. Exit status 0 also when reads fail.
 */
#include <pthread.h>

#include "tests/mount/helper.h"

#define MAX_FILES 1000

static void *read_one(void *arg)
{
	char buf[4096];
	ssize_t n = pread((int)(intptr_t)arg, buf, sizeof(buf), 0);

	return n < 0 ? NULL : arg;
}

int main(int argc, char **argv)
{
	const struct timespec wait = {.tv_nsec = 20 * 1000 * 1000};
	pthread_t threads[MAX_FILES];
	int fds[MAX_FILES];
	int i, n = argc - 2;

	if (n < 1 || n > MAX_FILES)
		die("usage: readers GO FILE...");
	for (i = 0; i < n; i++) {
		fds[i] = open(argv[i + 2], O_RDONLY);
		if (fds[i] < 0)
			die("open %s", argv[i + 2]);
	}
	printf("opened\n");
	fflush(stdout);
	while (access(argv[1], F_OK) != 0)
		nanosleep(&wait, NULL);
	for (i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, read_one, (void *)(intptr_t)fds[i]))
			die("a thread");
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
