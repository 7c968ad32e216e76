/*
 * Mountinfo and state files. A state file is named by its daemon's pid, written complete and locked
 * (flock) before it gets its name, and its lock goes with the process, however that ends: so whoever
 * finds a file it can lock has found a dead daemon's. Its lines are "key value"; `drained` or `lost`
 * is added by the daemon as its last word.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount/state.h"

#define STATE_SUFFIX ".mount"
#define STATE_MAX    65536
#define NOTICE_MS    2000

struct pfs_state {
	char *path;
	int fd;
};

/* ---- text ----------------------------------------------------------------------------------- */

/* Undo the \ooo of mountinfo and of our own files, in place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

static void add_escaped(struct pfs_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '\n' || *s == '\\')
			pfs_buf_printf(b, "\\%03o", (unsigned)(unsigned char)*s);
		else
			pfs_buf_add(b, s, 1);
	}
}

/* The whole of a small file; NULL with errno. Owned. */
static char *read_all(int fd, off_t max)
{
	struct pfs_buf b = {0};
	char chunk[4096];
	ssize_t n;
	off_t at = 0;

	while (at < max && (n = pread(fd, chunk, sizeof(chunk), at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		pfs_buf_add(&b, chunk, (size_t)n);
		at += n;
	}
	pfs_buf_str(&b, "");
	if (b.failed || !b.data) {
		pfs_buf_release(&b);
		errno = ENOMEM;
		return NULL;
	}
	return b.data;
}

/* ---- mountinfo ------------------------------------------------------------------------------ */

/* One line: "36 35 0:32 /root /mnt opts [optional...] - fstype source super". */
static int mount_parse(char *line, struct pfs_mount *out)
{
	char *save = NULL, *field, *dash, *path = NULL, *fstype, *source, *super, *uid;
	int i;

	memset(out, 0, sizeof(*out));
	dash = strstr(line, " - ");
	if (!dash)
		return -EINVAL;
	*dash = '\0';
	for (i = 0, field = strtok_r(line, " ", &save); field && i < 5;
	     i++, field = strtok_r(NULL, " ", &save)) {
		if (i == 2 && sscanf(field, "%u:%u", &out->major, &out->minor) != 2)
			return -EINVAL;
		if (i == 4)
			path = field;
	}
	fstype = strtok_r(dash + 3, " ", &save);
	source = strtok_r(NULL, " ", &save);
	super = strtok_r(NULL, " ", &save);
	if (!path || !fstype || !source)
		return -EINVAL;
	uid = super ? strstr(super, "user_id=") : NULL;
	if (uid)
		out->uid = (unsigned)strtoul(uid + 8, NULL, 10);
	unescape(path);
	unescape(source);
	out->path = strdup(path);
	out->fstype = strdup(fstype);
	out->source = strdup(source);
	return out->path && out->fstype && out->source ? 0 : -ENOMEM;
}

static void mount_release(struct pfs_mount *m)
{
	free(m->path);
	free(m->fstype);
	free(m->source);
}

int pfs_mounts_read(struct pfs_mount_list *out)
{
	struct pfs_mount m, *items;
	char *line = NULL;
	size_t size = 0;
	int err = 0;
	FILE *f;

	memset(out, 0, sizeof(*out));
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -errno;
	while (!err && getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		err = mount_parse(line, &m);
		if (err == -EINVAL) {
			err = 0;
			continue;
		}
		items = err ? NULL : realloc(out->items, (out->n + 1) * sizeof(*items));
		if (!items) {
			mount_release(&m);
			err = -ENOMEM;
			break;
		}
		out->items = items;
		items[out->n++] = m;
	}
	if (!err && ferror(f))
		err = -EIO;
	free(line);
	fclose(f);
	return err;
}

void pfs_mounts_release(struct pfs_mount_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		mount_release(&list->items[i]);
	free(list->items);
	memset(list, 0, sizeof(*list));
}

const struct pfs_mount *pfs_mounts_at(const struct pfs_mount_list *list, const char *path)
{
	size_t i;

	for (i = list->n; i-- > 0;) {
		if (strcmp(list->items[i].path, path) == 0)
			return &list->items[i];
	}
	return NULL;
}

int pfs_path_resolve(const char *path, char **out)
{
	char *copy = NULL, *slash, *dir = NULL, *full = NULL;
	const char *base;
	int err = 0;

	full = realpath(path, NULL);
	if (full || errno == ENOENT || errno == ENOTDIR)
		goto out;
	/* The last step may lead into a tree that does not answer: resolve what is before it. */
	copy = strdup(path);
	if (!copy)
		goto out;
	while ((slash = strrchr(copy, '/')) && slash != copy && !slash[1])
		*slash = '\0';
	base = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	dir = realpath(!slash ? "." : *copy ? copy : "/", NULL);
	if (dir && asprintf(&full, "%s/%s", dir[1] ? dir : "", base) < 0)
		full = NULL;
out:
	if (full)
		*out = full;
	else
		err = errno ? -errno : -ENOMEM;
	free(copy);
	free(dir);
	return err;
}

/* ---- where state files are ------------------------------------------------------------------ */

#define STATE_DIRS 3

/*
 * The directories in which `uid`'s state files may be, the preferred one first; NULL where there is
 * none. Root's are always found in /run, whatever session its shell belongs to.
 */
static void state_dirs(uid_t uid, char *out[STATE_DIRS])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	memset(out, 0, sizeof(char *) * STATE_DIRS);
	if (uid == 0) {
		out[0] = strdup("/run/persistfs");
	} else {
		if (uid == geteuid() && runtime && runtime[0] == '/' &&
		    asprintf(&out[0], "%s/persistfs", runtime) < 0)
			out[0] = NULL;
		if (asprintf(&out[1], "/run/user/%u/persistfs", (unsigned)uid) < 0)
			out[1] = NULL;
	}
	if (asprintf(&out[2], "/tmp/persistfs-%u", (unsigned)uid) < 0)
		out[2] = NULL;
}

static void state_dirs_free(char *dirs[STATE_DIRS])
{
	size_t i;

	for (i = 0; i < STATE_DIRS; i++)
		free(dirs[i]);
}

/* Open a directory that is uid's and that nobody else may write to. The descriptor, or -errno. */
static int state_dir_open(const char *path, uid_t uid)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || st.st_uid != uid || (st.st_mode & 022)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

/* The first of our own directories that is there or can be made. *path: borrowed from dirs. */
static int state_dir_make(char *dirs[STATE_DIRS], const char **path)
{
	uid_t uid = geteuid();
	int fd = -ENOENT;
	size_t i;

	for (i = 0; i < STATE_DIRS; i++) {
		if (!dirs[i])
			continue;
		*path = dirs[i];
		/* Anybody may ask for the status of what root has mounted. */
		if (mkdir(dirs[i], uid == 0 ? 0755 : 0700) && errno != EEXIST) {
			fd = -errno;
			continue;
		}
		fd = state_dir_open(dirs[i], uid);
		if (fd >= 0)
			break;
	}
	return fd;
}

/* ---- writing one ---------------------------------------------------------------------------- */

static int state_write(int fd, const char *mountpoint, const char *source)
{
	struct pfs_buf b = {0};
	int err = -ENOMEM;

	pfs_buf_printf(&b, "pid %d\nstarted %lld\nmountpoint ", (int)getpid(),
		       (long long)pfs_now_ns());
	add_escaped(&b, mountpoint);
	pfs_buf_str(&b, "\nsource ");
	add_escaped(&b, source);
	pfs_buf_str(&b, "\n");
	if (!b.failed)
		err = write(fd, b.data, b.len) == (ssize_t)b.len ? 0 : -EIO;
	pfs_buf_release(&b);
	return err;
}

int pfs_state_new(const char *mountpoint, const char *source, struct pfs_state **out,
		  struct pfs_msg *msg)
{
	char temporary[32], name[32], *dirs[STATE_DIRS];
	const char *dir = "/run/persistfs";
	struct pfs_state *s;
	int dirfd, err;

	state_dirs(geteuid(), dirs);
	s = calloc(1, sizeof(*s));
	if (s)
		s->fd = -1;
	dirfd = state_dir_make(dirs, &dir);
	err = s ? dirfd : -ENOMEM;
	if (err < 0)
		goto out;
	snprintf(temporary, sizeof(temporary), "%d.new", (int)getpid());
	snprintf(name, sizeof(name), "%d" STATE_SUFFIX, (int)getpid());
	s->fd = openat(dirfd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (s->fd < 0 || flock(s->fd, LOCK_EX | LOCK_NB) || fchmod(s->fd, 0644)) {
		err = -errno;
		goto out;
	}
	err = state_write(s->fd, mountpoint, source);
	if (!err && renameat(dirfd, temporary, dirfd, name))
		err = -errno;
	if (!err && asprintf(&s->path, "%s/%s", dir, name) < 0) {
		s->path = NULL;
		err = -ENOMEM;
	}
	if (err) {
		unlinkat(dirfd, temporary, 0);
		unlinkat(dirfd, name, 0);
		goto out;
	}
	*out = s;
	s = NULL;
out:
	if (err < 0)
		pfs_msg_set(msg, "cannot write a state file in %s: %s", dir, strerror(-err));
	else
		err = 0;
	if (dirfd >= 0)
		close(dirfd);
	pfs_state_remove(s);
	state_dirs_free(dirs);
	return err;
}

void pfs_state_finish(struct pfs_state *state, const char *lost)
{
	struct pfs_buf b = {0};

	if (lost && *lost) {
		pfs_buf_str(&b, "lost ");
		add_escaped(&b, lost);
		pfs_buf_str(&b, "\n");
	} else {
		pfs_buf_str(&b, "drained\n");
	}
	if (b.failed || write(state->fd, b.data, b.len) != (ssize_t)b.len)
		pfs_log(PFS_LOG_ERROR, "cannot write to %s", state->path);
	pfs_buf_release(&b);
}

void pfs_state_remove(struct pfs_state *state)
{
	if (!state)
		return;
	if (state->path)
		unlink(state->path);
	free(state->path);
	/* The descriptor stays open, its lock held, until the process is gone. */
	free(state);
}

/* ---- finding them --------------------------------------------------------------------------- */

static void info_release(struct pfs_state_info *info)
{
	free(info->mountpoint);
	free(info->source);
	if (info->fd >= 0)
		close(info->fd);
	if (info->pidfd >= 0)
		close(info->pidfd);
}

/* Whether somebody holds the lock; if nobody does we hold it now. */
static bool state_locked(int fd)
{
	return flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

static int info_parse(char *text, struct pfs_state_info *info)
{
	char *save = NULL, *line;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unescape(line);
		if (strncmp(line, "pid ", 4) == 0)
			info->pid = (pid_t)strtol(line + 4, NULL, 10);
		else if (strncmp(line, "started ", 8) == 0)
			info->started = strtoll(line + 8, NULL, 10);
		else if (strncmp(line, "mountpoint ", 11) == 0 && !info->mountpoint)
			info->mountpoint = strdup(line + 11);
		else if (strncmp(line, "source ", 7) == 0 && !info->source)
			info->source = strdup(line + 7);
	}
	return info->pid > 0 && info->mountpoint && info->source ? 0 : -EINVAL;
}

/* Returns 0, or -errno when the file tells of nothing (and was removed, if its daemon is dead). */
static int info_open(int dirfd, const char *name, struct pfs_state_info *info)
{
	struct stat mine, named;
	char *text = NULL;
	int err = 0;

	memset(info, 0, sizeof(*info));
	info->pidfd = -1;
	info->fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (info->fd < 0)
		return -errno;
	text = read_all(info->fd, STATE_MAX);
	err = text ? info_parse(text, info) : -ENOMEM;
	if (err)
		goto out;
	/* The pid is looked up before the lock is seen held: so it is still that process. */
	info->pidfd = (int)syscall(SYS_pidfd_open, info->pid, 0);
	if (info->pidfd < 0 || !state_locked(info->fd)) {
		if (!fstat(info->fd, &mine) && !fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) &&
		    mine.st_ino == named.st_ino)
			unlinkat(dirfd, name, 0);
		err = -ESRCH;
	}
out:
	free(text);
	if (err)
		info_release(info);
	return err;
}

static int states_read_dir(const char *path, uid_t uid, struct pfs_state_list *out)
{
	struct pfs_state_info info, *items;
	struct dirent *d;
	int fd, err = 0;
	size_t len;
	DIR *dir;

	fd = state_dir_open(path, uid);
	if (fd < 0)
		return 0;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (!err && (d = readdir(dir))) {
		len = strlen(d->d_name);
		if (len <= strlen(STATE_SUFFIX) ||
		    strcmp(d->d_name + len - strlen(STATE_SUFFIX), STATE_SUFFIX) != 0 ||
		    info_open(dirfd(dir), d->d_name, &info))
			continue;
		items = realloc(out->items, (out->n + 1) * sizeof(*items));
		if (!items) {
			info_release(&info);
			err = -ENOMEM;
			break;
		}
		out->items = items;
		items[out->n++] = info;
	}
	closedir(dir);
	return err;
}

static int states_read_user(uid_t uid, struct pfs_state_list *out)
{
	char *dirs[STATE_DIRS];
	int err = 0;
	size_t i, j;

	state_dirs(uid, dirs);
	for (i = 0; i < STATE_DIRS && !err; i++) {
		bool again = !dirs[i];

		for (j = 0; j < i && !again; j++)
			again = dirs[j] && strcmp(dirs[i], dirs[j]) == 0;
		if (!again)
			err = states_read_dir(dirs[i], uid, out);
	}
	state_dirs_free(dirs);
	return err;
}

int pfs_states_read(uid_t uid, struct pfs_state_list *out)
{
	int err = 0;

	memset(out, 0, sizeof(*out));
	if (uid != 0)
		err = states_read_user(uid, out);
	if (!err)
		err = states_read_user(0, out);
	return err;
}

void pfs_states_release(struct pfs_state_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		info_release(&list->items[i]);
	free(list->items);
	memset(list, 0, sizeof(*list));
}

const struct pfs_state_info *pfs_states_at(const struct pfs_state_list *list,
					   const char *mountpoint)
{
	const struct pfs_state_info *found = NULL;
	size_t i;

	for (i = 0; i < list->n; i++) {
		if (strcmp(list->items[i].mountpoint, mountpoint) == 0 &&
		    (!found || list->items[i].started > found->started))
			found = &list->items[i];
	}
	return found;
}

int pfs_state_wait(const struct pfs_state_info *info, struct pfs_msg *msg)
{
	struct pollfd p = {.fd = info->pidfd, .events = POLLIN};
	char *text, *line, *save = NULL;
	int err = -EIO, n, timeout = NOTICE_MS;

	while ((n = poll(&p, 1, timeout)) <= 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			fprintf(stderr,
				"persistfs: waiting for the daemon (pid %d) to write everything "
				"out\n",
				(int)info->pid);
			timeout = -1;
		}
	}
	text = read_all(info->fd, STATE_MAX);
	if (!text)
		return -ENOMEM;
	pfs_msg_set(msg, "its daemon (pid %d) ended before it had written everything out",
		    (int)info->pid);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strcmp(line, "drained") == 0) {
			pfs_msg_clear(msg);
			err = 0;
		} else if (strncmp(line, "lost ", 5) == 0) {
			unescape(line);
			pfs_msg_set(msg, "%s", line + 5);
		}
	}
	free(text);
	return err;
}
