/*
 * What the helper programs of the mount tests share: dying with a word, whole reads and writes,
 * a clock, and random numbers that a seed repeats.
 */
#ifndef TESTS_MOUNT_HELPER_H
#define TESTS_MOUNT_HELPER_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Prints the message, and errno's where it is set, and exits 1. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (saved)
		fprintf(stderr, " (%s)", strerror(saved));
	fputc('\n', stderr);
	exit(1);
}

static inline double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static inline void sleep_ms(double ms)
{
	struct timespec t = {(time_t)(ms / 1e3), (long)(ms * 1e6) % 1000000000L};

	nanosleep(&t, NULL);
}

struct rng {
	uint64_t state;
};

/* The splitmix generator: any seed is a good one. */
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

static inline void rng_fill(struct rng *r, void *p, size_t n)
{
	unsigned char *out = p;
	uint64_t v;

	while (n) {
		size_t part = n < 8 ? n : 8;

		v = rng_next(r);
		memcpy(out, &v, part);
		out += part;
		n -= part;
	}
}

/* All of it; 0 or -errno. */
static inline int write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t done = write(fd, at, n);

		if (done < 0)
			return -errno;
		at += done;
		n -= done;
	}
	return 0;
}

/* The whole file, owned, with a NUL behind it; *len its length. NULL with errno. */
static inline char *read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY);
	char *data = NULL;
	struct stat st;
	ssize_t n = 1;

	*len = 0;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) != 0)
		goto out;
	data = malloc(st.st_size + 1);
	if (!data)
		goto out;
	while (*len < (size_t)st.st_size && n > 0) {
		n = read(fd, data + *len, st.st_size - *len);
		*len += n > 0 ? n : 0;
	}
	data[*len] = '\0';
	if (n < 0) {
		free(data);
		data = NULL;
	}
out:
	close(fd);
	return data;
}

#endif
