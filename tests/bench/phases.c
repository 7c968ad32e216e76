/*
 * The phases: what a client does, operation by operation, in its own directory. Plain system calls,
 * as a program would make them; nothing here knows which file system it runs on. Names are made
 * before the clock starts. bench.c decides when, how often and on which mount.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define LINE_APPENDED 100

/* Per file: its name, the name it is renamed to, a name that nobody has. */
struct names {
	char file[12], renamed[12], missing[12];
};

static struct names *names;

int bench_names(unsigned n)
{
	unsigned i;

	names = calloc(n, sizeof(*names));
	if (!names)
		return -1;
	for (i = 0; i < n; i++) {
		snprintf(names[i].file, sizeof(names[i].file), "f%06u", i);
		snprintf(names[i].renamed, sizeof(names[i].renamed), "r%06u", i);
		snprintf(names[i].missing, sizeof(names[i].missing), "m%06u", i);
	}
	return 0;
}

/* Open, write one piece, close. */
static int put(const char *name, int flags, const void *p, size_t len)
{
	int fd = open(name, flags, 0644);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, p, len);
	if (n != (ssize_t)len) {
		if (n >= 0)
			errno = EIO;
		close(fd);
		return -1;
	}
	return close(fd);
}

static long run_create(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (put(names[i].file, O_WRONLY | O_CREAT, c->buf, BENCH_BLOCK))
			return -1;
	}
	return c->end - c->first;
}

static long run_stat(struct bench_client *c)
{
	struct stat st;
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (stat(names[i].file, &st))
			return -1;
	}
	return c->end - c->first;
}

static long run_missing(struct bench_client *c)
{
	struct stat st;
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (!stat(names[i].missing, &st)) {
			errno = EEXIST;
			return -1;
		}
		if (errno != ENOENT)
			return -1;
	}
	return c->end - c->first;
}

/* As ls -l goes about it: each name is looked at as it comes. */
static long run_list(struct bench_client *c)
{
	DIR *dir = opendir(".");
	struct dirent *de;
	struct stat st;
	long n = 0;

	if (!dir)
		return -1;
	errno = 0;
	while ((de = readdir(dir))) {
		if (lstat(de->d_name, &st))
			break;
		n += de->d_name[0] == 'f';
		errno = 0;
	}
	closedir(dir);
	if (!errno && n != c->end - c->first)
		errno = EIO;
	return errno ? -1 : n;
}

/* As cat does: read until nothing more comes. */
static long run_read(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		int fd = open(names[i].file, O_RDONLY);
		ssize_t n, sum = 0;

		if (fd < 0)
			return -1;
		while ((n = read(fd, c->buf, 128 * 1024)) > 0)
			sum += n;
		close(fd);
		if (sum < BENCH_BLOCK) {
			errno = n < 0 ? errno : EIO;
			return -1;
		}
	}
	return c->end - c->first;
}

static long run_overwrite(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (put(names[i].file, O_WRONLY | O_TRUNC, c->buf, BENCH_BLOCK))
			return -1;
	}
	return c->end - c->first;
}

static long run_append(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (put(names[i].file, O_WRONLY | O_APPEND, c->buf, LINE_APPENDED))
			return -1;
	}
	return c->end - c->first;
}

static int prepare_log(struct bench_client *c)
{
	c->fd = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644);
	return c->fd < 0 ? -1 : 0;
}

/* A log that stays open. */
static long run_log(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (write(c->fd, c->buf, LINE_APPENDED) != LINE_APPENDED)
			return -1;
	}
	return c->end - c->first;
}

/* An editor's save: a temporary file, renamed over the old one. */
static long run_save(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (put("temp", O_WRONLY | O_CREAT | O_TRUNC, c->buf, BENCH_BLOCK) ||
		    rename("temp", names[i].file))
			return -1;
	}
	return c->end - c->first;
}

static long run_rename(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (rename(names[i].file, names[i].renamed))
			return -1;
	}
	return c->end - c->first;
}

static long run_unlink(struct bench_client *c)
{
	unsigned i;

	for (i = c->first; i < c->end; i++) {
		if (unlink(names[i].renamed))
			return -1;
	}
	return c->end - c->first;
}

static int prepare_fsync(struct bench_client *c)
{
	c->fd = open("journal", O_WRONLY | O_CREAT, 0644);
	return c->fd < 0 ? -1 : 0;
}

static long run_fsync(struct bench_client *c)
{
	unsigned i;

	for (i = 0; i < c->fsyncs; i++) {
		if (pwrite(c->fd, c->buf, BENCH_BLOCK, (off_t)i * BENCH_BLOCK) != BENCH_BLOCK ||
		    fsync(c->fd))
			return -1;
	}
	return c->fsyncs;
}

static long run_big_write(struct bench_client *c)
{
	int fd = open("big", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	unsigned i, n = c->blocks / (BENCH_MIB / BENCH_BLOCK);

	if (fd < 0)
		return -1;
	for (i = 0; i < n; i++) {
		if (write(fd, c->buf, BENCH_MIB) != BENCH_MIB) {
			close(fd);
			return -1;
		}
	}
	return close(fd) ? -1 : (long)n;
}

static long run_big_read(struct bench_client *c)
{
	int fd = open("big", O_RDONLY);
	long n = 0;

	if (fd < 0)
		return -1;
	while (read(fd, c->buf, BENCH_MIB) == BENCH_MIB)
		n++;
	close(fd);
	if (n != (long)(c->blocks / (BENCH_MIB / BENCH_BLOCK))) {
		errno = EIO;
		return -1;
	}
	return n;
}

/* The i-th of a sequence that meets every block once: blocks is a power of two, the factor odd. */
static off_t random_block(const struct bench_client *c, unsigned i)
{
	uint64_t block = ((uint64_t)i * 2654435761u + 12345) & (c->blocks - 1);

	return (off_t)(block * BENCH_BLOCK);
}

static int prepare_random_read(struct bench_client *c)
{
	c->fd = open("big", O_RDONLY);
	return c->fd < 0 ? -1 : 0;
}

static long run_random_read(struct bench_client *c)
{
	unsigned i;

	for (i = 0; i < c->random; i++) {
		if (pread(c->fd, c->buf, BENCH_BLOCK, random_block(c, i)) != BENCH_BLOCK)
			return -1;
	}
	return c->random;
}

static int prepare_random_write(struct bench_client *c)
{
	c->fd = open("big", O_WRONLY);
	return c->fd < 0 ? -1 : 0;
}

static long run_random_write(struct bench_client *c)
{
	unsigned i;

	for (i = 0; i < c->random; i++) {
		if (pwrite(c->fd, c->buf, BENCH_BLOCK, random_block(c, i)) != BENCH_BLOCK)
			return -1;
	}
	if (close(c->fd))
		return -1;
	c->fd = -1;
	return c->random;
}

/* clang-format off */
const struct bench_phase bench_micro[] = {
	{ .name = "create 4 KiB", .run = run_create, .target = {0.5, 0.2, 0.35}, .means = "committed" },
	{ .name = "first stat", .cold = true, .repeat = 3, .run = run_stat, .target = {0.9},
	  .reads = true },
	{ .name = "second stat", .follows = true, .pause_ms = 1100, .run = run_stat, .target = {10, 10, 10},
	  .reads = true },
	{ .name = "missing name, once", .cold = true, .repeat = 3, .run = run_missing,
	  .reads = true },
	{ .name = "missing name, again", .follows = true, .run = run_missing, .target = {5},
	  .reads = true },
	{ .name = "ls -l, cold", .cold = true, .repeat = 5, .run = run_list, .target = {0.8, 0.5, 0.5},
	  .reads = true },
	{ .name = "read 4 KiB, cold", .cold = true, .repeat = 2, .run = run_read, .target = {0.8},
	  .reads = true },
	{ .name = "read 4 KiB, warm", .follows = true, .run = run_read, .target = {0.8, 0.8, 0.8},
	  .reads = true },
	{ .name = "overwrite 4 KiB", .run = run_overwrite, .target = {0.5}, .means = "committed" },
	{ .name = "append 100 B", .run = run_append, .means = "committed" },
	{ .name = "append to an open log", .prepare = prepare_log, .run = run_log,
	  .means = "accepted" },
	{ .name = "save (write, rename over)", .run = run_save, .means = "committed" },
	{ .name = "rename", .run = run_rename, .target = {0.5}, .means = "committed" },
	{ .name = "write 4 KiB + fsync", .prepare = prepare_fsync, .run = run_fsync,
	  .means = "durable" },
	{ .name = "unlink", .run = run_unlink, .target = {0.5}, .means = "committed" },
	{ .name = "write, 1 MiB blocks", .repeat = 3, .unit = BENCH_MIB_PER_S,
	  .run = run_big_write, .target = {0.3}, .means = "committed" },
	{ .name = "read, 1 MiB blocks, cold", .cold = true, .repeat = 3, .unit = BENCH_MIB_PER_S,
	  .run = run_big_read, .target = {0.5}, .reads = true },
	{ .name = "random read 4 KiB, cold", .cold = true, .repeat = 2,
	  .prepare = prepare_random_read, .run = run_random_read, .reads = true },
	{ .name = "random write 4 KiB", .prepare = prepare_random_write, .run = run_random_write,
	  .means = "committed at close" },
	{ .name = NULL },
};

#define IN_TREE "cd tree && "
const struct bench_phase bench_tools[] = {
	{ .name = "untar", .command = "tar -xf \"$TREE_TAR\"", .means = "committed" },
	{ .name = "find, cold", .cold = true, .command = "find tree -type f -size +8k",
	  .reads = true },
	{ .name = "grep -r, cold", .cold = true, .command = "grep -r needle tree", .reads = true },
	{ .name = "cp -r", .command = "cp -r tree copy", .means = "committed" },
	{ .name = "git add + commit", .before = IN_TREE "git init -q",
	  .command = IN_TREE "git add -A && git commit -q -m tree", .means = "committed" },
	{ .name = "git status", .pause_ms = 1100, .command = IN_TREE "git status --short",
	  .means = "committed" },
	{ .name = "rm -rf", .command = "rm -rf copy", .means = "committed" },
	{ .name = NULL },
};
/* clang-format on */

/* ---- the tree of the tools ------------------------------------------------------------------ */

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* Lines of words, as source has them: most files 1 to 8 KiB, every twentieth 64 KiB. */
static int write_text(int fd, unsigned n, uint64_t *state)
{
	static const char *const words[] = {"static", "return",	 "struct", "if (err)", "goto out;",
					    "const",  "pointer", "length", "name",     "value"};
	size_t want = n % 20 ? 1024 + next_random(state) % 7168 : 65536, done = 0;
	char line[128];

	while (done < want) {
		int len = 0, word;

		for (word = 0; word < 8; word++)
			len += snprintf(line + len, sizeof(line) - (size_t)len, "%s ",
					words[next_random(state) % 10]);
		len += snprintf(line + len, sizeof(line) - (size_t)len, "%s%u\n",
				next_random(state) % 500 ? "" : "needle ", next_random(state));
		if (write(fd, line, (size_t)len) != len)
			return -1;
		done += (size_t)len;
	}
	return 0;
}

int bench_tree(const char *dir)
{
	uint64_t state = 1;
	char path[4096];
	unsigned i;

	for (i = 0; i < 2000; i++) {
		int fd, err;

		if (i % 200 == 0) {
			snprintf(path, sizeof(path), "%s/part%u", dir, i / 200);
			if (mkdir(path, 0755))
				return -1;
		}
		if (i % 20 == 0) {
			snprintf(path, sizeof(path), "%s/part%u/dir%02u", dir, i / 200,
				 i / 20 % 10);
			if (mkdir(path, 0755))
				return -1;
		}
		snprintf(path, sizeof(path), "%s/part%u/dir%02u/file%02u.c", dir, i / 200,
			 i / 20 % 10, i % 20);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0)
			return -1;
		err = write_text(fd, i, &state);
		if (close(fd) || err)
			return -1;
	}
	return 0;
}
