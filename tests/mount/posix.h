/*
 * What the POSIX case programs share: checks that go on after a failure, small steps, and the
 * runner. Included once by each program. usage of them all: PROGRAM DIR [CASE...]; every check that
 * failed is printed, exit status 1 if there was one. Every case works in an empty directory of its
 * own, which is its working directory. Cases that need several users run only as root.
 */
#ifndef TESTS_MOUNT_POSIX_H
#define TESTS_MOUNT_POSIX_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534

static const char *current_case;
static int failures;

static inline void check(bool ok, const char *what, int line)
{
	if (ok)
		return;
	printf("%s: line %d: %s (errno: %s)\n", current_case, line, what, strerror(errno));
	failures++;
}

static inline void check_fails(long got, int wanted, const char *what, int line)
{
	if (got == -1 && errno == wanted)
		return;
	printf("%s: line %d: %s: wanted %s, got %s\n", current_case, line, what, strerror(wanted),
	       got == -1 ? strerror(errno) : "success");
	failures++;
}

/* Both go on after a failure. */
#define CHECK(x)	check((x), #x, __LINE__)
#define FAILS(x, error) check_fails((long)(x), (error), #x, __LINE__)

/* The database has no hard links: the test says so when it knows from the engine's capabilities. */
static inline bool has_links(void)
{
	return !getenv("PERSISTFS_NO_LINKS");
}

/* ---- small steps ---------------------------------------------------------------------------- */

static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}

static inline bool holds(const char *path, const char *text)
{
	char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, n) == 0;
}

static inline bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static inline struct stat stat_of(const char *path)
{
	struct stat st = {0};

	CHECK(lstat(path, &st) == 0);
	return st;
}

static inline bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline int rename_flags(const char *from, const char *to, unsigned flags)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* How often `name` is listed in `dir`; -1: it cannot be listed. */
static inline int listed(const char *dir, const char *name)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return -1;
	while ((e = readdir(d)))
		n += strcmp(e->d_name, name) == 0;
	closedir(d);
	return n;
}

/* Entries without . and .. */
static inline int entries(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return -1;
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

/* Run `fn` in a child as another user; its failures are ours. */
static inline void as_nobody(void (*fn)(void))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		failures = 0;
		CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0);
		CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
		fn();
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- running the cases ---------------------------------------------------------------------- */

struct test_case {
	const char *name;
	void (*fn)(void);
	bool root;
};

#define CASE(fn)      {#fn, fn, false}
#define ROOT_CASE(fn) {#fn, fn, true}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline bool wanted(const struct test_case *c, int argc, char **argv)
{
	if (c->root && geteuid() != 0)
		return false;
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], c->name) == 0)
			return true;
	return argc == 2;
}

static inline int run_cases(int argc, char **argv, const struct test_case *cases, size_t n)
{
	int ran = 0, bad = 0;

	if (argc < 2 || chdir(argv[1]) != 0) {
		fprintf(stderr, "usage: PROGRAM DIR [CASE...]\n");
		return 64;
	}
	umask(022);
	for (size_t i = 0; i < n; i++) {
		if (!wanted(&cases[i], argc, argv))
			continue;
		current_case = cases[i].name;
		failures = 0;
		if (mkdir("case", 0755) != 0 || chdir("case") != 0) {
			perror("case");
			return 1;
		}
		cases[i].fn();
		CHECK(chdir("..") == 0);
		CHECK(nftw("case", remove_one, 32, FTW_DEPTH | FTW_PHYS) == 0);
		ran++;
		bad += failures != 0;
	}
	printf("%d cases, %d failed\n", ran, bad);
	return bad || !ran ? 1 : 0;
}

#endif
