/*
 * What the benchmark's two halves share: the phases (phases.c), each a piece of work that a client
 * process does, and the driver (bench.c), which runs them on two mounts in turn and reports.
 */
#ifndef PFS_BENCH_BENCH_H
#define PFS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_BLOCK 4096
#define BENCH_MIB   (1024 * 1024)

/* How much work a round is. Shared among the clients. */
struct bench_scale {
	unsigned files;	 /* small files */
	unsigned big;	 /* MiB of the large file(s) */
	unsigned random; /* random accesses */
	unsigned fsyncs;
};

/* One client: a process of its own, whose working directory is its own directory in the mount. */
struct bench_client {
	unsigned first, end; /* its share of the files: first <= i < end */
	unsigned blocks;     /* 4 KiB blocks of its large file */
	unsigned random, fsyncs;
	char *buf; /* BENCH_MIB bytes, filled */
	int fd;	   /* what prepare opened, or -1 */
};

enum bench_unit { BENCH_PER_OP, BENCH_MIB_PER_S };

/* What the database is: the ratios that are wanted depend on it. */
enum bench_kind { BENCH_SQLITE, BENCH_POSTGRES, BENCH_REDIS, BENCH_KINDS };

struct bench_phase {
	const char *name;
	bool cold;	   /* the kernel forgets the mount's names, attributes and pages first */
	bool follows;	   /* at once after the phase before, on the same mount */
	unsigned pause_ms; /* wait so long first */
	unsigned repeat;   /* so often, each time as cold as `cold` says; 0: once */
	enum bench_unit unit;
	double target[BENCH_KINDS]; /* ratio wanted with one client; 0: none */
	const char *means; /* what holds when the last call of the operation has returned */
	/* Not timed; NULL: nothing. Returns 0 or -1 with errno. */
	int (*prepare)(struct bench_client *c);
	/* Timed. Returns the number of operations (of MiB), or -1 with errno. */
	long (*run)(struct bench_client *c);
	/* Real tools: shell commands in the work directory instead, each timed as one operation. */
	const char *before; /* not timed; NULL: nothing */
	const char *command;
	bool reads; /* writes nothing */
};

extern const struct bench_phase bench_micro[], bench_tools[]; /* ended by name NULL */

/* Names of file i; valid until the process ends. */
int bench_names(unsigned n);

/* Write the tree that the tools work on into `dir`: 2,000 files in 100 directories. */
int bench_tree(const char *dir);

#endif
