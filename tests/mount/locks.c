/*
 * Locks as processes see them. KIND is flock or fcntl, MODE is sh or ex. usage:
 *	locks count KIND N FILE FILE2 ...	a process per FILE (names of one file): each adds 1 to the number
 *						in it N times, under a lock
 *	locks hold KIND MODE FILE		takes it, prints "locked", has it until its stdin ends or says q
 *	locks write TEXT FILE			as hold fcntl ex, and writes TEXT for every line on stdin; prints
 *						"written" or the error
 *	locks try KIND MODE FILE		prints "free" or "busy"; waits for nobody, and unlocks what it
 *						had, since close(2) of a flock waits for no answer
 *	locks range MODE START LEN FILE		as try, for a range of an fcntl lock
 *	locks getlk MODE FILE			prints "free", or who has which range
 *	locks interrupt KIND FILE		waits until an alarm comes; prints "interrupted"
 *	locks rules FILE FILE2			two names of one file: what fcntl(2) and flock(2) promise
 *	locks deadlock FILE FILE2		two files: two processes that would wait for each other
 */
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "tests/mount/helper.h"

static bool is_flock;
static short mode;

static int range(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, cmd, &l) ? -errno : 0;
}

/* 0 or -errno. */
static int lock(int fd, short type, bool wait)
{
	int op = type == F_WRLCK ? LOCK_EX : type == F_RDLCK ? LOCK_SH : LOCK_UN;

	if (is_flock)
		return flock(fd, wait ? op : op | LOCK_NB) ? -errno : 0;
	return range(fd, wait ? F_SETLKW : F_SETLK, type, 0, 0);
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);

	if (fd < 0)
		die("open %s", path);
	return fd;
}

static void expect(const char *what, int got, int wanted)
{
	errno = 0;
	if (got != wanted)
		die("%s: %s, wanted: %s", what, got ? strerror(-got) : "success",
		    wanted ? strerror(-wanted) : "success");
}

static void wait_all(void)
{
	int status, failed = 0;

	while (wait(&status) > 0)
		failed += status != 0;
	errno = 0;
	if (failed)
		die("%d processes failed", failed);
}

/* ---- count ---------------------------------------------------------------------------------- */

static void count(const char *path, int n)
{
	int fd = open_file(path);
	char text[32];
	ssize_t len;

	for (int i = 0; i < n; i++) {
		expect("lock", lock(fd, F_WRLCK, true), 0);
		len = pread(fd, text, sizeof(text) - 1, 0);
		if (len < 0)
			die("read %s", path);
		text[len] = 0;
		len = snprintf(text, sizeof(text), "%d\n", atoi(text) + 1);
		if (pwrite(fd, text, len, 0) != len)
			die("write %s", path);
		expect("unlock", lock(fd, F_UNLCK, true), 0);
	}
	if (close(fd) != 0)
		die("close %s", path);
}

static void count_all(char **paths, int n, int times)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			count(paths[i], times);
			_exit(0);
		}
	}
	wait_all();
}

/* ---- one at a time -------------------------------------------------------------------------- */

static void hold(const char *path)
{
	int fd = open_file(path);
	char c;

	expect("lock", lock(fd, mode, true), 0);
	printf("locked\n");
	while (read(0, &c, 1) == 1 && c != 'q')
		;
	expect("unlock", lock(fd, F_UNLCK, true), 0);
}

static void write_lines(const char *text, const char *path)
{
	int fd = open_file(path), err;
	char c;

	expect("lock", lock(fd, F_WRLCK, true), 0);
	printf("locked\n");
	while (read(0, &c, 1) == 1 && c != 'q') {
		err = pwrite(fd, text, strlen(text), 0) < 0 ? -errno : 0;
		printf("%s\n", err ? strerror(-err) : "written");
	}
	err = close(fd) ? -errno : 0;
	printf("closed: %s\n", err ? strerror(-err) : "fine");
}

static void tell_try(int err)
{
	if (err != 0 && err != -EAGAIN && err != -EACCES)
		expect("lock", err, 0);
	printf("%s\n", err ? "busy" : "free");
}

static void getlk(const char *path)
{
	struct flock l = {.l_type = mode, .l_whence = SEEK_SET};

	if (fcntl(open_file(path), F_GETLK, &l) != 0)
		die("F_GETLK");
	if (l.l_type == F_UNLCK)
		printf("free\n");
	else
		printf("%s %lld %lld %s\n", l.l_type == F_WRLCK ? "ex" : "sh", (long long)l.l_start,
		       (long long)l.l_len, l.l_pid > 0 ? "here" : "elsewhere");
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void interrupt(const char *path)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	int fd = open_file(path), err;

	sigaction(SIGALRM, &sa, NULL);
	alarm(1);
	err = lock(fd, F_WRLCK, true);
	expect("a lock that an alarm interrupts", err, -EINTR);
	printf("interrupted\n");
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* What another process finds: 0 or -EAGAIN. */
static int elsewhere(const char *path, short type, off_t start, off_t len)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(-range(open_file(path), F_SETLK, type, start, len));
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		die("fork");
	return -WEXITSTATUS(status);
}

static void rules_fcntl(const char *a, const char *b)
{
	int fd = open_file(a), other;

	expect("100 bytes", range(fd, F_SETLK, F_WRLCK, 100, 100), 0);
	expect("before", elsewhere(b, F_WRLCK, 0, 100), 0);
	expect("behind", elsewhere(b, F_WRLCK, 200, 0), 0);
	expect("the first of them", elsewhere(b, F_RDLCK, 100, 1), -EAGAIN);
	expect("the last of them", elsewhere(b, F_RDLCK, 199, 1), -EAGAIN);
	expect("unlock the middle", range(fd, F_SETLK, F_UNLCK, 140, 20), 0);
	expect("the middle", elsewhere(b, F_WRLCK, 140, 20), 0);
	expect("left of it", elsewhere(b, F_WRLCK, 139, 1), -EAGAIN);
	expect("right of it", elsewhere(b, F_WRLCK, 160, 1), -EAGAIN);
	expect("weaker on the left", range(fd, F_SETLK, F_RDLCK, 100, 40), 0);
	expect("reading with it", elsewhere(b, F_RDLCK, 100, 40), 0);
	expect("writing there", elsewhere(b, F_WRLCK, 100, 40), -EAGAIN);
	expect("join all", range(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	expect("the far end", elsewhere(b, F_RDLCK, 1LL << 62, 1), -EAGAIN);
	/* Any close drops what the process has. */
	other = open_file(a);
	close(other);
	expect("after a close", elsewhere(b, F_WRLCK, 0, 0), 0);
	close(fd);
}

static void rules_flock(const char *a, const char *b)
{
	int fd = open_file(a), again = dup(fd), other = open_file(a), there = open_file(b);

	is_flock = true;
	expect("exclusive", lock(fd, F_WRLCK, false), 0);
	expect("another open file", lock(other, F_RDLCK, false), -EAGAIN);
	expect("the other name", lock(there, F_RDLCK, false), -EAGAIN);
	expect("fcntl knows nothing of it", elsewhere(b, F_WRLCK, 0, 0), 0);
	close(fd);
	expect("a duplicate has it still", lock(there, F_RDLCK, false), -EAGAIN);
	expect("weaker", lock(again, F_RDLCK, false), 0);
	expect("shared", lock(there, F_RDLCK, false), 0);
	expect("shared by three", lock(other, F_RDLCK, false), 0);
	expect("not alone", lock(there, F_WRLCK, false), -EAGAIN);
	close(again);
	close(other);
	expect("alone", lock(there, F_WRLCK, true), 0);
	close(there);
}

/* Two processes, each has one file and wants the other's. */
static void deadlock(char **paths)
{
	int ready[2], go[2], errors = 0, status;
	pid_t pids[2];
	char c[2] = {0};

	if (pipe(ready) || pipe(go))
		die("pipe");
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int fds[2] = {open_file(paths[0]), open_file(paths[1])}, err;

			expect("the first", range(fds[i], F_SETLKW, F_WRLCK, 0, 0), 0);
			if (write(ready[1], c, 1) != 1 || read(go[0], c, 1) != 1)
				die("pipe");
			alarm(20);
			err = range(fds[!i], F_SETLKW, F_WRLCK, 0, 0);
			_exit(err == -EDEADLK ? 7 : err ? 1 : 0);
		}
	}
	for (int i = 0; i < 2; i++)
		if (read(ready[0], c, 1) != 1)
			die("pipe");
	if (write(go[1], c, 2) != 2)
		die("pipe");
	for (int i = 0; i < 2; i++) {
		waitpid(pids[i], &status, 0);
		errno = 0;
		if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 7))
			die("a process ended with %x", status);
		errors += WEXITSTATUS(status) == 7;
	}
	if (errors != 1)
		die("%d of two were told of the deadlock", errors);
}

static short mode_of(const char *text)
{
	return strcmp(text, "ex") == 0 ? F_WRLCK : F_RDLCK;
}

static void try(int fd, short wanted)
{
	int err = lock(fd, wanted, false);

	if (!err)
		expect("unlock", lock(fd, F_UNLCK, false), 0);
	tell_try(err);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	is_flock = argc > 2 && strcmp(argv[2], "flock") == 0;
	if (argc > 4 && strcmp(what, "count") == 0) {
		count_all(argv + 4, argc - 4, atoi(argv[3]));
	} else if (argc == 5 && (strcmp(what, "hold") == 0 || strcmp(what, "try") == 0)) {
		mode = mode_of(argv[3]);
		if (what[0] == 'h')
			hold(argv[4]);
		else
			try(open_file(argv[4]), mode);
	} else if (argc == 4 && strcmp(what, "write") == 0) {
		write_lines(argv[2], argv[3]);
	} else if (argc == 6 && strcmp(what, "range") == 0) {
		tell_try(range(open_file(argv[5]), F_SETLK, mode_of(argv[2]), atoll(argv[3]),
			       atoll(argv[4])));
	} else if (argc == 4 && strcmp(what, "getlk") == 0) {
		mode = mode_of(argv[2]);
		getlk(argv[3]);
	} else if (argc == 4 && strcmp(what, "interrupt") == 0) {
		interrupt(argv[3]);
	} else if (argc == 4 && strcmp(what, "rules") == 0) {
		rules_fcntl(argv[2], argv[3]);
		rules_flock(argv[2], argv[3]);
	} else if (argc == 4 && strcmp(what, "deadlock") == 0) {
		deadlock(argv + 2);
	} else {
		fprintf(stderr, "usage: see tests/mount/locks.c\n");
		return 64;
	}
	return 0;
}
