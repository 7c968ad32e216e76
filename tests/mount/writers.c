/*
 * Many at once. usage:
 *	writers distinct DIR N		N threads, each rewrites a file of its own; all are read back
 *	writers append FILE N LINES [FILE2 ...] [- FILE ...]	N processes append LINES records each; none lost or torn,
 *					and never seen so by those who read meanwhile. FILE2 ... are further
 *					names of the same file; writer i uses the (i modulo their number)-th.
 *					A name after "-" is only read by
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/mount/helper.h"

#define READ_MAX (32 << 20)

static const char *dir;
static char seen[READ_MAX];
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

/* opened: told a byte when the file is open. */
static void append_one(const char *path, int who, int lines, int opened)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	char buf[1024];

	if (fd < 0)
		die("open %s", path);
	if (write(opened, "", 1) != 1)
		die("pipe");
	for (int i = 0; i < lines; i++) {
		size_t len = record(who, i, buf);

		if (write(fd, buf, len) != (ssize_t)len)
			die("append %s", path);
	}
	if (close(fd) != 0)
		die("close %s", path);
}

/* Where two ranges of `len` bytes begin to differ. */
static size_t differ_at(const char *a, const char *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i;
}

/* The bytes around `at`, what is no character as \XX. */
static void show(const char *what, const char *p, size_t size, size_t at)
{
	size_t i = at > 40 ? at - 40 : 0, end = at + 80 < size ? at + 80 : size;

	fprintf(stderr, "%s, bytes %zu to %zu of %zu: ", what, i, end, size);
	for (; i < end; i++)
		fprintf(stderr, p[i] >= ' ' && p[i] <= '~' ? "%c" : "\\%02x", (unsigned char)p[i]);
	fputc('\n', stderr);
}

/* What read(2) gives until it says that this is all, into buf. */
static bool read_to_end(const char *path, char buf[READ_MAX], size_t *size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = 0;

	*size = 0;
	if (fd < 0)
		return false;
	while (*size + 65536 < READ_MAX && (n = read(fd, buf + *size, 65536)) > 0)
		*size += n;
	close(fd);
	return n == 0;
}

/* The record at byte `at` of what was read is not the one that is wanted: says what is there. */
__attribute__((noreturn)) static void torn(const char *path, size_t size, size_t at,
					   const char *want, size_t len)
{
	static char again[READ_MAX];
	size_t have = size - at < len ? size - at : len, where, size2;

	where = differ_at(seen + at, want, have);
	fprintf(stderr, "the record at byte %zu is wrong from byte %zu on\n", at, at + where);
	show("read", seen, size, at + where);
	show("wanted", want, len, where);
	if (!read_to_end(path, again, &size2))
		die("read %s again", path);
	where = differ_at(seen, again, size < size2 ? size : size2);
	fprintf(stderr, "read again it has %zu bytes, and differs from byte %zu on\n", size2, where);
	show("first", seen, size, where);
	show("again", again, size2, where);
	errno = 0;
	die("%s is not what was written", path);
}

/* Of what was read: whole records, of each writer the first ones in order; with `lines` all. */
static void check_records(const char *path, size_t size, int n, int lines)
{
	int *next = calloc(n, sizeof(*next)), who, number;
	size_t at, len;
	char want[1024];

	errno = 0;
	seen[size] = 0;
	for (at = 0; at < size; at += len) {
		if (sscanf(seen + at, "%d %d", &who, &number) != 2 || who < 0 || who >= n)
			torn(path, size, at, "", 0);
		len = record(who, next[who], want);
		if (number != next[who])
			fprintf(stderr, "writer %d: record %d where %d was due\n", who, number,
				next[who]);
		if (len > size - at || memcmp(seen + at, want, len) != 0)
			torn(path, size, at, want, len);
		next[who]++;
	}
	for (who = 0; who < n && lines; who++)
		if (next[who] != lines)
			die("writer %d: %d of %d records", who, next[who], lines);
	free(next);
}

/* Another mount hears of the last records a moment later. */
static void check_append(const char *path, int n, int lines)
{
	double until = now_ms() + 2000;
	size_t size, wanted = 0;
	char want[1024];

	for (int who = 0; who < n; who++)
		for (int i = 0; i < lines; i++)
			wanted += record(who, i, want);
	do {
		if (!read_to_end(path, seen, &size))
			die("read %s", path);
		check_records(path, size, n, size == wanted || now_ms() >= until ? lines : 0);
	} while (size != wanted);
}

static void watch(const char *path, int n)
{
	size_t size;

	for (;;) {
		if (read_to_end(path, seen, &size))
			check_records(path, size, n, 0);
		else if (errno != ENOENT)
			die("read %s", path);
	}
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return pid;
}

static void append(char **paths, int npaths, int n, int lines)
{
	int nwriters = 0;
	int status, failed = 0;
	pid_t writers[256], readers[16];
	int opened[2];
	char c;

	while (nwriters < npaths && strcmp(paths[nwriters], "-") != 0)
		nwriters++;
	if (nwriters < npaths)
		memmove(paths + nwriters, paths + nwriters + 1,
			(--npaths - nwriters) * sizeof(*paths));
	if (pipe(opened))
		die("pipe");
	for (int i = 0; i < n; i++) {
		writers[i] = start();
		if (writers[i] == 0) {
			append_one(paths[i % nwriters], i, lines, opened[1]);
			_exit(0);
		}
	}
	close(opened[1]);
	/* Those who open the file from now on know that it is being appended to. */
	for (int i = 0; i < n; i++)
		failed += read(opened[0], &c, 1) != 1;
	close(opened[0]);
	for (int i = 0; i < npaths; i++) {
		readers[i] = start();
		if (readers[i] == 0)
			watch(paths[i], n);
	}
	for (int i = 0; i < n; i++)
		failed += waitpid(writers[i], &status, 0) < 0 || status != 0;
	for (int i = 0; i < npaths; i++) {
		kill(readers[i], SIGKILL);
		failed += waitpid(readers[i], &status, 0) < 0 || !WIFSIGNALED(status);
	}
	errno = 0;
	if (failed)
		die("%d appenders or readers failed", failed);
	for (int i = 0; i < npaths; i++)
		check_append(paths[i], n, lines);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "distinct") == 0) {
		dir = argv[2];
		distinct(atoi(argv[3]));
	} else if (argc >= 5 && argc < 20 && atoi(argv[3]) <= 256 &&
		   strcmp(argv[1], "append") == 0) {
		char *first = argv[2];
		int n = atoi(argv[3]), lines = atoi(argv[4]);

		argv[4] = first;
		append(argv + 4, argc - 4, n, lines);
	} else {
		fprintf(stderr, "usage: writers distinct DIR N | append FILE N LINES [FILE2 ...] [- FILE ...]\n");
		return 64;
	}
	return 0;
}
