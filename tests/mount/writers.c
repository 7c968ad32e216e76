/*
 * Many at once. usage:
 *	writers distinct DIR N		N threads, each rewrites a file of its own; all are read back
 *	writers append FILE N LINES	N processes append LINES records each; none lost or torn
 */
#include <pthread.h>
#include <sys/wait.h>

#include "tests/mount/helper.h"

static const char *dir;
static pthread_barrier_t barrier;

static size_t content(uint64_t who, int generation, char *buf)
{
	struct rng r = {who * 1000 + generation};
	size_t len = 1 + rng_below(&r, 40000);

	rng_fill(&r, buf, len);
	return len;
}

static void rewrite(uint64_t who, int generation, const char *path)
{
	char buf[40000];
	size_t len = content(who, generation, buf), done = 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		die("open %s", path);
	while (done < len) {
		size_t part = len - done < 7000 ? len - done : 7000;

		if (write_all(fd, buf + done, part) != 0)
			die("write %s", path);
		done += part;
	}
	if (close(fd) != 0)
		die("close %s", path);
}

static void *distinct_thread(void *arg)
{
	uint64_t who = (uintptr_t)arg;
	char path[4096];

	snprintf(path, sizeof(path), "%s/writer-%03d", dir, (int)who);
	pthread_barrier_wait(&barrier);
	for (int generation = 0; generation < 3; generation++)
		rewrite(who, generation, path);
	return NULL;
}

static void check_distinct(int n)
{
	char path[4096], want[40000];
	size_t len;

	for (int i = 0; i < n; i++) {
		size_t wanted = content(i, 2, want);
		char *got;

		snprintf(path, sizeof(path), "%s/writer-%03d", dir, i);
		got = read_file(path, &len);
		if (!got)
			die("read %s", path);
		errno = 0;
		if (len != wanted || memcmp(got, want, len) != 0)
			die("%s holds something else (%zu bytes, wanted %zu)", path, len, wanted);
		free(got);
	}
}

static void distinct(int n)
{
	pthread_t *threads = calloc(n, sizeof(*threads));
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	pthread_barrier_init(&barrier, NULL, n);
	for (int i = 0; i < n; i++) {
		errno = pthread_create(&threads[i], &attr, distinct_thread, (void *)(uintptr_t)i);
		if (errno)
			die("thread %d", i);
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	check_distinct(n);
}

/* A record: who, number, filler that depends on both, newline. */
static size_t record(int who, int number, char *buf)
{
	int fill = (who * 131 + number * 17) % 900;
	size_t len = sprintf(buf, "%d %d %d ", who, number, fill);

	memset(buf + len, 'a' + (who + number) % 26, fill);
	len += fill;
	buf[len++] = '\n';
	return len;
}

static void append_one(const char *path, int who, int lines)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	char buf[1024];

	if (fd < 0)
		die("open %s", path);
	for (int i = 0; i < lines; i++) {
		size_t len = record(who, i, buf);

		if (write(fd, buf, len) != (ssize_t)len)
			die("append %s", path);
	}
	if (close(fd) != 0)
		die("close %s", path);
}

static void check_append(const char *path, int n, int lines)
{
	int *next = calloc(n, sizeof(*next)), who, number;
	char want[1024], *data, *at;
	size_t len, size;

	data = read_file(path, &size);
	if (!data)
		die("read %s", path);
	errno = 0;
	for (at = data; at < data + size; at += len) {
		data[size] = 0;
		if (sscanf(at, "%d %d", &who, &number) != 2 || who < 0 || who >= n)
			die("torn at byte %zd: %.40s", at - data, at);
		if (number != next[who]++)
			die("writer %d: record %d where %d was due", who, number, next[who] - 1);
		len = record(who, number, want);
		if (len > (size_t)(data + size - at) || memcmp(at, want, len) != 0)
			die("record %d of writer %d is torn", number, who);
	}
	for (who = 0; who < n; who++)
		if (next[who] != lines)
			die("writer %d: %d of %d records", who, next[who], lines);
	free(data);
	free(next);
}

static void append(const char *path, int n, int lines)
{
	int status, failed = 0;

	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			append_one(path, i, lines);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		failed += status != 0;
	errno = 0;
	if (failed)
		die("%d appenders failed", failed);
	check_append(path, n, lines);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "distinct") == 0) {
		dir = argv[2];
		distinct(atoi(argv[3]));
	} else if (argc == 5 && strcmp(argv[1], "append") == 0) {
		append(argv[2], atoi(argv[3]), atoi(argv[4]));
	} else {
		fprintf(stderr, "usage: writers distinct DIR N | append FILE N LINES\n");
		return 64;
	}
	return 0;
}
