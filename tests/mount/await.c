/*
 * How long until a change shows? usage: await LIMIT_MS WHAT PATH [ARG] -- COMMAND...
 * Runs COMMAND (another client of the database) and, from its end on, looks until it is so:
 *	content PATH TEXT	the file holds exactly TEXT
 *	size PATH BYTES		stat says so
 *	mode PATH OCTAL		stat says so
 *	exists PATH, absent PATH
 *	listed DIR NAME, unlisted DIR NAME
 * Prints the milliseconds it took. Exit 1 if LIMIT_MS passed or COMMAND failed.
 */
#include <dirent.h>
#include <sys/wait.h>

#include "tests/mount/helper.h"

static bool is_content(const char *path, const char *text)
{
	size_t len;
	char *data = read_file(path, &len);
	bool so = data && len == strlen(text) && memcmp(data, text, len) == 0;

	free(data);
	return so;
}

static bool is_listed(const char *path, const char *name)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool so = false;

	if (!d)
		return false;
	while (!so && (e = readdir(d)))
		so = strcmp(e->d_name, name) == 0;
	closedir(d);
	return so;
}

static bool is_so(const char *what, const char *path, const char *arg)
{
	struct stat st;
	bool there = lstat(path, &st) == 0;

	if (strcmp(what, "content") == 0)
		return is_content(path, arg);
	if (strcmp(what, "size") == 0)
		return there && st.st_size == atoll(arg);
	if (strcmp(what, "mode") == 0)
		return there && (st.st_mode & 07777) == strtoul(arg, NULL, 8);
	if (strcmp(what, "exists") == 0)
		return there;
	if (strcmp(what, "absent") == 0)
		return !there;
	if (strcmp(what, "listed") == 0)
		return is_listed(path, arg);
	if (strcmp(what, "unlisted") == 0)
		return there && !is_listed(path, arg);
	errno = 0;
	die("await: no such question: %s", what);
}

static void run(char **command)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(2, 1); /* our own output is the number */
		execvp(command[0], command);
		die("%s", command[0]);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("await: cannot run %s", command[0]);
	errno = 0;
	if (status != 0)
		die("await: %s failed", command[0]);
}

int main(int argc, char **argv)
{
	double limit, start, took = 0;
	int command = 0;

	for (int i = 4; i < argc && !command; i++)
		if (strcmp(argv[i], "--") == 0)
			command = i + 1;
	if (!command || command >= argc || command > 6) {
		fprintf(stderr, "usage: await LIMIT_MS WHAT PATH [ARG] -- COMMAND...\n");
		return 64;
	}
	limit = atof(argv[1]);
	run(argv + command);
	start = now_ms();
	while (!is_so(argv[2], argv[3], argv[4])) {
		took = now_ms() - start;
		errno = 0;
		if (took > limit)
			die("not %s %s %s within %.0f ms", argv[2], argv[3],
			    command == 6 ? argv[4] : "", limit);
		sleep_ms(0.3);
	}
	printf("%.1f\n", took);
	return 0;
}
