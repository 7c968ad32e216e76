/*
 * How soon a change made through one mount is seen through another mount of the same store, with what
 * the kernel caches: median, 90th percentile and worst, in milliseconds, by kind of change and how it
 * is looked for. usage:
 *	agree [-l LIMIT_MS] ROUNDS DIR DIR2
 * DIR and DIR2 are names of the same directory, empty. With -l a change that is not seen within
 * LIMIT_MS is an error; without, after 10 s.
 */
#include <dirent.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "tests/mount/helper.h"

#define ROUNDS_MAX 10000

static double limit = 10000;
static char from[600], to[600]; /* who changes, who looks */
static int round_number;

static const char *in(const char *dir, const char *name)
{
	static char buf[4][1200];
	static int i;

	i = (i + 1) % 4;
	snprintf(buf[i], sizeof(buf[i]), "%s/%s", dir, name);
	return buf[i];
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write_all(fd, text, strlen(text)) != 0 || close(fd) != 0)
		die("write %s", path);
}

/* ---- looking -------------------------------------------------------------------------------- */

static bool listed(const char *name)
{
	DIR *d = opendir(to);
	struct dirent *e;
	bool found = false;

	if (!d)
		die("opendir %s", to);
	while ((e = readdir(d)))
		found |= strcmp(e->d_name, name) == 0;
	closedir(d);
	return found;
}

static bool there(const char *name)
{
	struct stat st;

	if (stat(in(to, name), &st) == 0)
		return true;
	if (errno != ENOENT)
		die("stat %s", in(to, name));
	return false;
}

static bool has_size(off_t size)
{
	struct stat st;

	return stat(in(to, "file"), &st) == 0 && st.st_size == size;
}

/* Whole: neither another length nor other bytes. */
static bool reads(const char *text)
{
	char buf[256];
	int fd = open(in(to, "file"), O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (n < 0)
		die("read %s", in(to, "file"));
	close(fd);
	return (size_t)n == strlen(text) && memcmp(buf, text, n) == 0;
}

/* ---- kinds of change ------------------------------------------------------------------------ */

static char value[256];

static void new_value(void)
{
	snprintf(value, sizeof(value), "value %08d", round_number);
}

static void rewrite(void)
{
	new_value();
	put(in(from, "file"), value);
}

static void write_in_place(void)
{
	int fd = open(in(from, "file"), O_WRONLY);

	snprintf(value, sizeof(value), "VALUE %08d", round_number);
	if (fd < 0 || pwrite(fd, value, strlen(value), 0) < 0 || close(fd) != 0)
		die("write %s", in(from, "file"));
}

static void append(void)
{
	int fd = open(in(from, "file"), O_WRONLY | O_APPEND);

	strcat(value, " and more");
	if (fd < 0 || write_all(fd, " and more", 9) != 0 || close(fd) != 0)
		die("append to %s", in(from, "file"));
}

static void shrink(void)
{
	value[5] = 0;
	if (truncate(in(from, "file"), 5) != 0)
		die("truncate %s", in(from, "file"));
}

static void create(void)
{
	put(in(from, "fresh"), "x");
}

static void make_dir(void)
{
	if (mkdir(in(from, "fresh"), 0755) != 0)
		die("mkdir %s", in(from, "fresh"));
}

static void take_away(void)
{
	if (remove(in(from, "fresh")) != 0)
		die("remove %s", in(from, "fresh"));
}

static void move(void)
{
	if (rename(in(from, "fresh"), in(from, "moved")) != 0)
		die("rename %s", in(from, "fresh"));
}

static void change_mode(void)
{
	if (chmod(in(from, "file"), round_number % 2 ? 0600 : 0644) != 0)
		die("chmod %s", in(from, "file"));
}

static bool reads_value(void)
{
	return reads(value);
}

static bool sized_value(void)
{
	return has_size(strlen(value));
}

static bool fresh_there(void)
{
	return there("fresh");
}

static bool fresh_listed(void)
{
	return listed("fresh");
}

static bool fresh_gone(void)
{
	return !there("fresh");
}

static bool fresh_unlisted(void)
{
	return !listed("fresh");
}

static bool moved_there(void)
{
	return there("moved") && !there("fresh");
}

static bool moved_listed(void)
{
	return listed("moved") && !listed("fresh");
}

static bool mode_there(void)
{
	struct stat st;

	return stat(in(to, "file"), &st) == 0 &&
	       (st.st_mode & 0777) == (round_number % 2 ? 0600 : 0644);
}

/* Before a change both sides agree, and the looking one has everything cached. */
static void prepare_file(void)
{
	new_value();
	strcat(value, " before");
	put(in(from, "file"), value);
	chmod(in(from, "file"), round_number % 2 ? 0644 : 0600);
}

static void prepare_none(void)
{
	unlink(in(from, "moved"));
	rmdir(in(from, "fresh"));
	unlink(in(from, "fresh"));
}

static void prepare_fresh(void)
{
	prepare_none();
	put(in(from, "fresh"), "x");
}

static bool ready_file(void)
{
	struct stat st;

	return reads_value() && sized_value() && stat(in(to, "file"), &st) == 0 &&
	       (st.st_mode & 0777) == (round_number % 2 ? 0644 : 0600);
}

/*
 * Looked at through a descriptor from before the change, by calls for which the kernel goes by what it
 * knows of the size.
 */
static int held = -1;

static bool ready_held(void)
{
	if (!ready_file())
		return false;
	held = open(in(to, "file"), O_RDONLY);
	if (held < 0)
		die("open %s", in(to, "file"));
	return true;
}

/* `fd` has n bytes copied from `held`: are they all? */
static bool copied(int fd, ssize_t n)
{
	char buf[256];
	bool whole;

	if (n < 0 || pread(fd, buf, sizeof(buf), 0) != n)
		die("a copy of %s", in(to, "file"));
	whole = (size_t)n == strlen(value) && memcmp(buf, value, n) == 0;
	close(fd);
	if (whole)
		close(held);
	return whole;
}

static bool copies_value(void)
{
	int fd = open(in(to, "copy"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	off_t start = 0;

	return copied(fd, copy_file_range(held, &start, fd, NULL, sizeof(value), 0));
}

static bool sends_value(void)
{
	int fd = memfd_create("copy", MFD_CLOEXEC);
	off_t start = 0;

	return copied(fd, sendfile(fd, held, &start, sizeof(value)));
}

static bool ready_none(void)
{
	return !there("fresh") && !listed("fresh") && !there("moved") && !listed("moved");
}

static bool ready_fresh(void)
{
	return there("fresh") && listed("fresh") && !there("moved") && !listed("moved");
}

static const struct kind {
	const char *what, *how;
	void (*prepare)(void);
	bool (*ready)(void);
	void (*change)(void);
	bool (*seen)(void);
} kinds[] = {
	{"rewrite", "cat", prepare_file, ready_file, rewrite, reads_value},
	{"rewrite", "stat", prepare_file, ready_file, rewrite, sized_value},
	{"write in place", "cat", prepare_file, ready_file, write_in_place, NULL},
	{"grow", "stat", prepare_file, ready_file, append, sized_value},
	{"grow", "cat", prepare_file, ready_file, append, reads_value},
	{"grow", "copy", prepare_file, ready_held, append, copies_value},
	{"grow", "send", prepare_file, ready_held, append, sends_value},
	{"shrink", "stat", prepare_file, ready_file, shrink, sized_value},
	{"shrink", "cat", prepare_file, ready_file, shrink, reads_value},
	{"chmod", "stat", prepare_file, ready_file, change_mode, mode_there},
	{"create", "stat", prepare_none, ready_none, create, fresh_there},
	{"create", "ls", prepare_none, ready_none, create, fresh_listed},
	{"mkdir", "stat", prepare_none, ready_none, make_dir, fresh_there},
	{"remove", "stat", prepare_fresh, ready_fresh, take_away, fresh_gone},
	{"remove", "ls", prepare_fresh, ready_fresh, take_away, fresh_unlisted},
	{"rename", "stat", prepare_fresh, ready_fresh, move, moved_there},
	{"rename", "ls", prepare_fresh, ready_fresh, move, moved_listed},
};

/* ---- measuring ------------------------------------------------------------------------------ */

/* In place: the beginning is the new value, the rest is as before. */
static bool in_place_seen(void)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s before", value);
	return reads(whole);
}

static double wait_for(const struct kind *k, bool (*seen)(void), const char *what)
{
	double start = now_ms(), now;

	while (!seen()) {
		now = now_ms();
		errno = 0;
		if (now - start > limit)
			die("%s by %s, round %d: %s is not seen after %.0f ms", k->what, k->how,
			    round_number, what, limit);
		sleep_ms(0.2);
	}
	return now_ms() - start;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const struct kind *k, int rounds, char **dirs)
{
	static double took[ROUNDS_MAX];

	for (int i = 0; i < rounds; i++) {
		round_number++;
		snprintf(from, sizeof(from), "%s", dirs[i % 2]);
		snprintf(to, sizeof(to), "%s", dirs[!(i % 2)]);
		k->prepare();
		wait_for(k, k->ready, "the state before");
		k->change();
		took[i] = wait_for(k, k->seen ? k->seen : in_place_seen, "the change");
	}
	qsort(took, rounds, sizeof(*took), by_value);
	printf("%-15s %-5s %9.2f %9.2f %9.2f\n", k->what, k->how, took[rounds / 2],
	       took[rounds * 9 / 10], took[rounds - 1]);
}

int main(int argc, char **argv)
{
	int rounds, opt;

	while ((opt = getopt(argc, argv, "l:")) == 'l')
		limit = atof(optarg);
	rounds = opt == -1 && argc - optind == 3 ? atoi(argv[optind]) : 0;
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: agree [-l LIMIT_MS] ROUNDS DIR DIR2\n");
		return 64;
	}
	umask(022);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%-15s %-5s %9s %9s %9s   ms\n", "change", "by", "median", "90 %", "worst");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		measure(&kinds[i], rounds, argv + optind + 1);
	return 0;
}
