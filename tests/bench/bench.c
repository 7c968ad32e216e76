/*
 * The driver of the benchmark. It is given two mounted directories and runs the phases of phases.c
 * on both: phase by phase, one mount right after the other, the first one alternating from round to
 * round, so that whatever else the machine does meets both alike. A phase's result is the median over
 * the rounds; its ratio is the median of the rounds' own ratios. Markdown goes to stdout, progress
 * to stderr.
 *
 * "Cold" means that the kernel has forgotten every name, attribute and page of this mount and of no
 * other: mount(MS_REMOUNT) makes it drop all that is not in use. The daemons keep what they have.
 *
 * Clients are processes. They are forked for each phase, prepare, and start together; the time is
 * from the first one's start to the last one's end.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define CLIENTS_MAX 8
#define ROUNDS_MAX  99
#define PHASES_MAX  32
#define WORK_MAX    1024
#define SETTLE_US   20000
#define QUIET_US    200000
#define FORGET_US   30000

/* One of the two: its mount point and a writable directory in it. */
struct side {
	const char *label, *mount, *dir;
};

/* What a client tells the driver, in shared memory. */
struct outcome {
	int64_t start, end; /* ns */
	long ops;	    /* -1: failed */
	int err;
};

struct bench {
	struct side side[2];
	struct bench_scale scale;
	enum bench_kind kind;
	unsigned rounds;
	const char *only; /* run no phase but this and those it follows; NULL: all */
	const char *tar;
	struct outcome *shared; /* CLIENTS_MAX of them */
	char *buf;
	bool failed;
	/* Seconds per operation (per MiB), by phase, side and round. */
	double seconds[PHASES_MAX][2][ROUNDS_MAX];
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* round: its index, negative while warming up; phase NULL: wipe the line. */
static void progress(const struct bench *b, int round, unsigned clients, const char *phase)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K");
	if (phase && round < 0)
		fprintf(stderr, "warming up, %u client(s): %s", clients, phase);
	else if (phase)
		fprintf(stderr, "round %d of %u, %u client(s): %s", round + 1, b->rounds, clients,
			phase);
	fflush(stderr);
}

/* ---- one phase on one side ------------------------------------------------------------------ */

static void forget(const struct side *side)
{
	struct statvfs st;

	if (mount("none", side->mount, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL))
		die(side->mount);
	/* The daemon is told in the background: let it finish, and see that it answers. */
	usleep(FORGET_US);
	if (statvfs(side->mount, &st))
		die(side->mount);
}

static void client_main(struct bench *b, const struct bench_phase *phase, unsigned id,
			unsigned clients, const char *work, int ready, int go)
{
	const struct bench_scale *s = &b->scale;
	struct bench_client c = {.first = s->files / clients * id,
				 .end = s->files / clients * (id + 1),
				 .blocks = s->big / clients * (BENCH_MIB / BENCH_BLOCK),
				 .random = s->random / clients,
				 .fsyncs = s->fsyncs / clients,
				 .buf = b->buf,
				 .fd = -1};
	struct outcome *o = &b->shared[id];
	char path[4096], byte = 0;

	o->ops = -1;
	snprintf(path, sizeof(path), "%s/c%u", work, id);
	if (chdir(path) || (phase->prepare && phase->prepare(&c))) {
		o->err = errno;
		_exit(1);
	}
	memset(c.buf, 'a' + (int)id, BENCH_MIB); /* this process's own pages from here on */
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) < 0)
		_exit(1);
	o->start = now_ns();
	o->ops = phase->run(&c);
	o->err = errno;
	o->end = now_ns();
	_exit(0);
}

/* Start the clients, let them go together, wait. Returns seconds, and the operations in *ops. */
static double run_clients(struct bench *b, const struct bench_phase *phase, unsigned clients,
			  const char *work, long *ops)
{
	int ready[2], go[2];
	int64_t start = INT64_MAX, end = 0;
	unsigned i;
	char byte;

	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		die("pipe");
	memset(b->shared, 0, CLIENTS_MAX * sizeof(*b->shared));
	for (i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			close(go[1]);
			close(ready[0]);
			client_main(b, phase, i, clients, work, ready[1], go[0]);
		}
	}
	close(ready[1]);
	close(go[0]);
	for (i = 0; i < clients; i++) {
		if (read(ready[0], &byte, 1) != 1)
			break;
	}
	close(go[1]); /* the end of the file is the starting shot */
	while (wait(NULL) > 0)
		;
	close(ready[0]);
	*ops = 0;
	for (i = 0; i < clients; i++) {
		const struct outcome *o = &b->shared[i];

		if (o->ops < 0) {
			errno = o->err;
			*ops = -1;
			break;
		}
		*ops += o->ops;
		start = o->start < start ? o->start : start;
		end = o->end > end ? o->end : end;
	}
	return (double)(end - start) / 1e9;
}

/*
 * A shell command in `work`; returns seconds, and in *ops 1 or -1. Its output is read and dropped: grep
 * would stop at the first hit if it saw /dev/null.
 */
static double run_command(const char *command, const char *work, const char *tar, long *ops)
{
	static char sink[65536];
	int64_t start = now_ns();
	int status, out[2];
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		if (dup2(out[1], STDOUT_FILENO) < 0 || chdir(work) || setenv("TREE_TAR", tar, 1))
			_exit(126);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	while (read(out[0], sink, sizeof(sink)) > 0)
		;
	close(out[0]);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	*ops = WIFEXITED(status) && !WEXITSTATUS(status) ? 1 : -1;
	return (double)(now_ns() - start) / 1e9;
}

/* Returns seconds per operation, or NAN after having said why. */
static double run_phase(struct bench *b, const struct bench_phase *phase, const struct side *side,
			unsigned clients, const char *work)
{
	unsigned i, n = phase->repeat ? phase->repeat : 1;
	double seconds = 0;
	long ops = 0;

	if (phase->before) {
		run_command(phase->before, work, b->tar, &ops);
		ops = 0;
		usleep(SETTLE_US);
	}
	if (phase->pause_ms)
		usleep(phase->pause_ms * 1000);
	for (i = 0; i < n; i++) {
		long done = 0;

		if (phase->cold)
			forget(side);
		seconds += phase->command ? run_command(phase->command, work, b->tar, &done)
					  : run_clients(b, phase, clients, work, &done);
		if (done <= 0) {
			progress(b, 0, 0, NULL);
			fprintf(stderr, "bench: %s on %s, %u client(s): %s\n", phase->name,
				side->label, clients,
				phase->command ? "the command failed" : strerror(errno));
			b->failed = true;
			return NAN;
		}
		ops += done;
	}
	return seconds / (double)ops;
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void make_work(char work[WORK_MAX], const struct side *side, unsigned clients)
{
	char path[2 * WORK_MAX + 16];
	unsigned i;

	snprintf(work, WORK_MAX, "%s/bench", side->dir);
	if (mkdir(work, 0755))
		die(work);
	for (i = 0; i < clients; i++) {
		snprintf(path, sizeof(path), "%s/c%u", work, i);
		if (mkdir(path, 0755))
			die(path);
	}
}

static void remove_work(const char *work)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid) {
		execlp("rm", "rm", "-rf", work, (char *)NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		fprintf(stderr, "bench: could not remove %s\n", work);
	usleep(SETTLE_US);
}

static bool wanted(const struct bench *b, const struct bench_phase *phase)
{
	/* What changes the files is always run: later phases need it. */
	return !b->only || !phase->reads || !strcmp(b->only, phase->name) ||
	       (phase[1].name && phase[1].follows && !strcmp(b->only, phase[1].name));
}

/* All phases of a table, once, on both sides. record: round's index, or -1 for the warm-up. */
static void run_round(struct bench *b, const struct bench_phase *table, unsigned clients,
		      int record)
{
	unsigned first = record < 0 ? 0 : (unsigned)record % 2, p, end, i, s;
	char work[2][WORK_MAX];

	for (s = 0; s < 2; s++)
		make_work(work[s], &b->side[s], clients);
	for (p = 0; table[p].name; p = end) {
		for (end = p + 1; table[end].name && table[end].follows; end++)
			;
		for (s = 0; s < 2; s++) {
			unsigned who = s ^ first;

			for (i = p; i < end; i++) {
				double t = NAN;

				progress(b, record, clients, table[i].name);
				if (wanted(b, &table[i]))
					t = run_phase(b, &table[i], &b->side[who], clients,
						      work[who]);
				if (record >= 0)
					b->seconds[i][who][record] = t;
			}
			/* What a daemon does afterwards is not the next phase's, nor the other's. */
			usleep(table[p].reads ? SETTLE_US : QUIET_US);
		}
	}
	for (s = 0; s < 2; s++)
		remove_work(work[s]);
	progress(b, 0, 0, NULL);
}

/* ---- the report ----------------------------------------------------------------------------- */

struct result {
	double seconds[2], ratio, low, high; /* NAN: none */
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	if (!n)
		return NAN;
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static struct result summarize(struct bench *b, unsigned phase)
{
	double v[3][ROUNDS_MAX];
	struct result r;
	unsigned i, n = 0;

	for (i = 0; i < b->rounds; i++) {
		double base = b->seconds[phase][0][i], ours = b->seconds[phase][1][i];

		if (isnan(base) || isnan(ours))
			continue;
		v[0][n] = base;
		v[1][n] = ours;
		v[2][n++] = base / ours;
	}
	r.seconds[0] = median(v[0], n);
	r.seconds[1] = median(v[1], n);
	r.ratio = median(v[2], n);
	r.low = n ? v[2][0] : NAN;
	r.high = n ? v[2][n - 1] : NAN;
	return r;
}

static void print_time(double seconds, enum bench_unit unit)
{
	if (isnan(seconds))
		printf(" failed |");
	else if (unit == BENCH_MIB_PER_S)
		printf(" %.0f MiB/s |", 1 / seconds);
	else if (seconds >= 0.001)
		printf(" %.1f ms |", seconds * 1e3);
	else
		printf(" %.1f µs |", seconds * 1e6);
}

static void print_result(const struct result *r, enum bench_unit unit, double target, bool show)
{
	print_time(r->seconds[0], unit);
	print_time(r->seconds[1], unit);
	if (isnan(r->ratio)) {
		printf(" – |");
	} else {
		bool below = target > 0 && r->ratio < target;

		printf(" %s%.2f%s (%.2f–%.2f) |", below ? "**" : "", r->ratio,
		       below ? "** below" : "", r->low, r->high);
	}
	if (show && target > 0)
		printf(" %g |", target);
	else if (show)
		printf(" |");
}

/* One table: a row per phase. many: the results with eight clients, or NULL. */
static void report(const struct bench *b, const struct bench_phase *table, const struct result *one,
		   const struct result *many)
{
	unsigned i;

	printf("| %s | %s | %s | ratio (range) | target |", many ? "1 client" : "tool",
	       b->side[0].label, b->side[1].label);
	if (many)
		printf(" 8 clients: %s | %s | ratio (range) |", b->side[0].label, b->side[1].label);
	printf(" on return |\n|---|--:|--:|--:|--:|%s---|\n", many ? "--:|--:|--:|" : "");
	for (i = 0; table[i].name; i++) {
		const struct bench_phase *p = &table[i];

		if (!wanted(b, p))
			continue;
		printf("| %s |", p->name);
		print_result(&one[i], p->unit, p->target[b->kind], true);
		if (many)
			print_result(&many[i], p->unit, 0, false);
		printf(" %s |\n", p->means ? p->means : "");
	}
	printf("\n");
	fflush(stdout);
}

static void bench_table(struct bench *b, const struct bench_phase *table, unsigned clients,
			struct result *out)
{
	struct bench_scale full = b->scale;
	unsigned r, i;

	b->scale.files /= 4;
	b->scale.random /= 4;
	run_round(b, table, clients, -1);
	b->scale = full;
	for (r = 0; r < b->rounds; r++)
		run_round(b, table, clients, (int)r);
	for (i = 0; table[i].name; i++)
		out[i] = summarize(b, i);
}

/* ---- the command line ----------------------------------------------------------------------- */

static const char usage[] =
	"usage: bench [-r ROUNDS] [-q] [-o PHASE] [-t TABLE] [-b DATABASE]\n"
	"             LABEL MOUNT DIR LABEL MOUNT DIR TAR\n"
	"       bench -g DIR\n"
	"Runs the phases in the two directories DIR, which lie in the mounts MOUNT, and prints "
	"the\n"
	"ratio of their times: the first divided by the second. TAR has the tree that -g writes.\n"
	"-q less work   -o this phase (and those that write) alone   -t micro or tools alone\n"
	"-b what the second one's database is: sqlite (default), postgres or redis\n";

static enum bench_kind kind_of(const char *name)
{
	static const char *const names[BENCH_KINDS] = {"sqlite", "postgres", "redis"};
	unsigned i;

	for (i = 0; i < BENCH_KINDS; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	fputs(usage, stderr);
	exit(64);
}

static void options(struct bench *b, int argc, char **argv, const char **table)
{
	int c, s;

	while ((c = getopt(argc, argv, "g:r:qo:t:b:h")) != -1) {
		if (c == 'g') {
			if (mkdir(optarg, 0755) || bench_tree(optarg))
				die(optarg);
			exit(0);
		} else if (c == 'r') {
			b->rounds = (unsigned)atoi(optarg);
		} else if (c == 'q') {
			b->scale = (struct bench_scale){200, 32, 400, 80};
		} else if (c == 'o') {
			b->only = optarg;
		} else if (c == 't') {
			*table = optarg;
		} else if (c == 'b') {
			b->kind = kind_of(optarg);
		} else {
			fputs(usage, stderr);
			exit(c == 'h' ? 0 : 64);
		}
	}
	if (argc - optind != 7 || b->rounds < 1 || b->rounds > ROUNDS_MAX) {
		fputs(usage, stderr);
		exit(64);
	}
	for (s = 0; s < 2; s++, optind += 3)
		b->side[s] = (struct side){argv[optind], argv[optind + 1], argv[optind + 2]};
	b->tar = argv[optind];
}

int main(int argc, char **argv)
{
	static struct bench b = {.rounds = 5, .scale = {1000, 256, 2000, 400}};
	static struct result one[PHASES_MAX], many[PHASES_MAX];
	const char *table = "all";

	options(&b, argc, argv, &table);
	b.shared = mmap(NULL, CLIENTS_MAX * sizeof(*b.shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	b.buf = aligned_alloc(BENCH_BLOCK, BENCH_MIB);
	if (b.shared == MAP_FAILED || !b.buf || bench_names(b.scale.files))
		die("memory");
	if (strcmp(table, "tools")) {
		bench_table(&b, bench_micro, 1, one);
		bench_table(&b, bench_micro, CLIENTS_MAX, many);
		report(&b, bench_micro, one, many);
	}
	if (strcmp(table, "micro")) {
		bench_table(&b, bench_tools, 1, one);
		report(&b, bench_tools, one, NULL);
	}
	return b.failed ? 1 : 0;
}
