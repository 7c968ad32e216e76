/*
 * `persistfs status`: what is mounted, as the kernel and the state files say, and how it is, as each
 * mount's control tree says. The control tree is read by a child process with a deadline, so that a
 * mount that does not answer is told and not waited for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/cli.h"
#include "mount/deadline.h"
#include "mount/state.h"

#define ANSWER_MS 4000
/* Counting asks the engine. */
#define USAGE_MS      1000
#define USAGE_LATE_MS 100
#define DEPTH_MAX     8

/* What reading a control tree came to; the exit status of the child. */
enum answer { ANSWER_OK, ANSWER_UNHEALTHY, ANSWER_DEAD, ANSWER_DENIED, ANSWER_FAILED };

/* ---- in the child --------------------------------------------------------------------------- */

/* The whole of a small file; NULL with errno. Owned. */
static char *read_text(int dirfd, const char *name)
{
	struct pfs_buf b = {0};
	char chunk[4096];
	ssize_t n;
	int fd;

	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		pfs_buf_add(&b, chunk, (size_t)n);
	close(fd);
	pfs_buf_str(&b, "");
	if (n < 0 || b.failed) {
		pfs_buf_release(&b);
		return NULL;
	}
	return b.data;
}

/* "  backend NAME: first line", and the further lines indented. */
static void print_lines(int out, const char *kind, const char *name, char *text)
{
	char *save = NULL, *line = strtok_r(text, "\n", &save);

	dprintf(out, "  %s %s: %s\n", kind, name, line ? line : "?");
	while ((line = strtok_r(NULL, "\n", &save)))
		dprintf(out, "    %s\n", line);
}

/* One line: "    queue: 3 changes; 12 KiB". text: NULL: nothing. */
static void print_joined(int out, const char *name, char *text)
{
	char *save = NULL, *line;
	const char *between = "";

	if (!text || !*text)
		return;
	dprintf(out, "    %s: ", name);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		dprintf(out, "%s%s", between, line);
		between = "; ";
	}
	dprintf(out, "\n");
}

static void print_queue(int out, int dirfd)
{
	char *text = read_text(dirfd, "queue");

	print_joined(out, "queue", text);
	free(text);
}

struct usage_job {
	int dirfd;
	int out; /* who reads there must not wait for a child that hangs */
};

static int copy_usage(void *arg, int out)
{
	struct usage_job *job = arg;
	char *text;

	close(job->out);
	text = read_text(job->dirfd, "usage");
	if (text)
		dprintf(out, "%s", text);
	free(text);
	return 0;
}

/* false: no answer. Where one store was late the others are given less time. */
static bool print_usage(int out, int dirfd)
{
	static int ms = USAGE_MS;
	struct usage_job job = {dirfd, out};
	struct pfs_buf text = {0};
	bool late;

	late = pfs_deadline_run(copy_usage, &job, ms, &text) == -ETIMEDOUT;
	if (late)
		dprintf(out, "    unhealthy: no answer within %d ms\n", ms);
	else
		print_joined(out, "usage", text.data);
	if (late)
		ms = USAGE_LATE_MS;
	pfs_buf_release(&text);
	return !late;
}

/* The directory `dirfd` of a backend or store called `name`. */
static enum answer tell_one(int out, const char *kind, const char *name, int dirfd, char *health)
{
	bool ok = strncmp(health, "ok", 2) == 0;

	print_lines(out, kind, name, health);
	if (ok && strcmp(kind, "store") == 0)
		ok = print_usage(out, dirfd);
	print_queue(out, dirfd);
	return ok ? ANSWER_OK : ANSWER_UNHEALTHY;
}

static enum answer tell_all(int out, const char *kind, const char *prefix, int fd, int depth);

/* An entry of backends/ or stores/: one of them, or a directory on the way to some. */
static enum answer tell_entry(int out, const char *kind, const char *name, int fd, int depth)
{
	char *health = read_text(fd, "health");
	enum answer answer;

	if (!health)
		return depth < DEPTH_MAX ? tell_all(out, kind, name, fd, depth + 1) : ANSWER_OK;
	answer = tell_one(out, kind, name, fd, health);
	free(health);
	return answer;
}

static enum answer tell_all(int out, const char *kind, const char *prefix, int fd, int depth)
{
	enum answer answer, worst = ANSWER_OK;
	struct dirent *d;
	char *name;
	DIR *dir;
	int sub;

	dir = fdopendir(dup(fd));
	if (!dir)
		return ANSWER_FAILED;
	while ((d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		sub = openat(fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (sub < 0)
			continue;
		if (asprintf(&name, "%s%s%s", prefix, *prefix ? "/" : "", d->d_name) >= 0) {
			answer = tell_entry(out, kind, name, sub, depth);
			worst = answer > worst ? answer : worst;
			free(name);
		}
		close(sub);
	}
	closedir(dir);
	return worst;
}

static enum answer answer_of(int error)
{
	if (error == ENOTCONN || error == ECONNABORTED)
		return ANSWER_DEAD;
	return error == EACCES || error == EPERM ? ANSWER_DENIED : ANSWER_FAILED;
}

/* arg: the mount point. */
static int tell(void *arg, int out)
{
	static const char *const dirs[] = {"backends", "stores"};
	static const char *const kinds[] = {"backend", "store"};
	enum answer answer, worst = ANSWER_OK;
	int root, control, fd, i;

	root = open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	control = root < 0 ? -1 : openat(root, ".persistfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (control < 0)
		return answer_of(errno);
	for (i = 0; i < 2; i++) {
		fd = openat(control, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		answer = fd < 0 ? answer_of(errno) : tell_all(out, kinds[i], "", fd, 0);
		worst = answer > worst ? answer : worst;
	}
	return worst;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static const char *answer_text(int result)
{
	switch (result) {
	case ANSWER_OK:
	case ANSWER_UNHEALTHY:
		return NULL;
	case ANSWER_DEAD:
		return "its daemon is dead; detach it: persistfs umount MOUNTPOINT";
	case ANSWER_DENIED:
		return "no permission to look into it";
	case -ETIMEDOUT:
		return "it does not answer";
	default:
		return "its control tree cannot be read";
	}
}

/* Returns whether it is healthy. */
static bool status_one(const struct pfs_mount *m, const struct pfs_state_info *state)
{
	struct pfs_buf text = {0};
	const char *trouble;
	int result;

	printf("%s from %s", m->path, m->source);
	if (state)
		printf(" (pid %d)", (int)state->pid);
	printf("\n");
	result = pfs_deadline_run(tell, m->path, ANSWER_MS, &text);
	if (text.len && !text.failed)
		fwrite(text.data, 1, text.len, stdout);
	trouble = answer_text(result);
	if (trouble)
		printf("  unhealthy: %s\n", trouble);
	pfs_buf_release(&text);
	return result == ANSWER_OK;
}

/* Daemons that are no longer mounted but still write. Returns how many. */
static size_t status_draining(const struct pfs_mount_list *mounts,
			      const struct pfs_state_list *states, const char *only)
{
	size_t i, found = 0;

	for (i = 0; i < states->n; i++) {
		const struct pfs_state_info *s = &states->items[i];
		const struct pfs_mount *m = pfs_mounts_at(mounts, s->mountpoint);

		if ((only && strcmp(only, s->mountpoint) != 0) ||
		    (m && strcmp(m->fstype, PFS_FSTYPE) == 0))
			continue;
		printf("%s from %s (pid %d)\n  unmounted; still writing to its stores\n",
		       s->mountpoint, s->source, (int)s->pid);
		found++;
	}
	return found;
}

static int status_all(const struct pfs_mount_list *mounts, const struct pfs_state_list *states,
		      const char *only)
{
	size_t i, found = 0;
	bool healthy = true;

	for (i = 0; i < mounts->n; i++) {
		const struct pfs_mount *m = &mounts->items[i];

		/* One that is covered by another mount cannot be reached. */
		if (strcmp(m->fstype, PFS_FSTYPE) != 0 || pfs_mounts_at(mounts, m->path) != m ||
		    (only && strcmp(only, m->path) != 0))
			continue;
		healthy &= status_one(m, pfs_states_at(states, m->path));
		found++;
	}
	found += status_draining(mounts, states, only);
	if (!found && only)
		fprintf(stderr, "persistfs: nothing of persistfs is mounted at %s\n", only);
	else if (!found)
		printf("nothing is mounted\n");
	return healthy && (found || !only) ? 0 : 1;
}

static int status_at(const char *given)
{
	struct pfs_mount_list mounts = {0};
	struct pfs_state_list states = {0};
	char *path = NULL;
	int err = 0, status;

	if (given)
		err = pfs_path_resolve(given, &path);
	if (err) {
		fprintf(stderr, "persistfs: %s: %s\n", given, strerror(-err));
		return 1;
	}
	err = pfs_mounts_read(&mounts);
	if (!err)
		err = pfs_states_read(geteuid(), &states);
	if (err)
		fprintf(stderr, "persistfs: cannot find out what is mounted: %s\n", strerror(-err));
	status = err ? 1 : status_all(&mounts, &states, path);
	pfs_states_release(&states);
	pfs_mounts_release(&mounts);
	free(path);
	return status;
}

int pfs_verb_status(int argc, char **argv)
{
	struct pfs_msg msg = {{0}};
	const char *path;
	bool help;

	if (pfs_operand_parse(argc, argv, &path, &help, &msg))
		return pfs_cli_usage("status", &msg);
	if (help) {
		fputs(pfs_cli_help("status"), stdout);
		return 0;
	}
	return status_at(path);
}
