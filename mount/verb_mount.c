/*
 * `persistfs mount`: everything that can be known to be wrong before there is a daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/cli.h"
#include "mount/config.h"
#include "mount/daemon.h"
#include "mount/deadline.h"
#include "mount/state.h"

static int fail(const struct pfs_msg *msg)
{
	fprintf(stderr, "persistfs: %s\n", msg->text);
	return 1;
}

/* ---- the place ------------------------------------------------------------------------------ */

static int place_error(const char *path, int err, struct pfs_msg *msg)
{
	if (err == -ENOENT)
		pfs_msg_set(msg, "%s does not exist; make it first: mkdir -p '%s'", path, path);
	else if (err == -ENOTCONN || err == -ECONNABORTED)
		pfs_msg_set(msg,
			    "%s is left over from a mount whose daemon died; detach it first: "
			    "persistfs umount '%s'",
			    path, path);
	else
		pfs_msg_set(msg, "%s: %s", path, strerror(-err));
	return err;
}

/* Whether a file system of ours is there already. */
static int check_free(const char *path, struct pfs_msg *msg)
{
	struct pfs_mount_list mounts;
	const struct pfs_mount *m;
	int err;

	err = pfs_mounts_read(&mounts);
	if (err)
		pfs_msg_set(msg, "cannot read the list of mounts: %s", strerror(-err));
	m = err ? NULL : pfs_mounts_at(&mounts, path);
	if (m && strcmp(m->fstype, PFS_FSTYPE) == 0 && pfs_mount_is_dead(path)) {
		err = place_error(path, -ENOTCONN, msg);
	} else if (m && strcmp(m->fstype, PFS_FSTYPE) == 0) {
		pfs_msg_set(msg,
			    "%s is already mounted (from %s); unmount it first: "
			    "persistfs umount '%s'",
			    path, m->source, path);
		err = -EBUSY;
	}
	pfs_mounts_release(&mounts);
	return err;
}

/* *out: the mount point, resolved; owned. */
static int check_place(const char *path, char **out, struct pfs_msg *msg)
{
	char *full = NULL;
	struct stat st;
	int err;

	err = pfs_path_resolve(path, &full);
	if (err)
		return place_error(path, err, msg);
	if (stat(full, &st))
		err = place_error(full, -errno, msg);
	else
		err = check_free(full, msg);
	if (!err && !S_ISDIR(st.st_mode)) {
		pfs_msg_set(msg, "%s is no directory", full);
		err = -ENOTDIR;
	}
	if (!err)
		*out = full;
	else
		free(full);
	return err;
}

/* ---- the machine ---------------------------------------------------------------------------- */

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char *copy, *dir, *save = NULL, full[PATH_MAX];
	bool found = false;

	copy = strdup(path ? path : "/usr/bin:/bin");
	if (!copy)
		return false;
	for (dir = strtok_r(copy, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(full, sizeof(full), "%s/%s", dir, program);
		found = access(full, X_OK) == 0;
	}
	free(copy);
	return found;
}

/* Whether this process may mount a FUSE file system. */
static int check_fuse(struct pfs_msg *msg)
{
	int fd, err;

	if (geteuid() != 0 && !in_path("fusermount3")) {
		pfs_msg_set(msg, "fusermount3 is not in PATH, and only root can mount without it; "
				 "install the package fuse3");
		return -ENOENT;
	}
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	err = -errno;
	if (err == -EACCES || err == -EPERM)
		pfs_msg_set(msg,
			    "no permission for /dev/fuse (%s): root can give it (chmod a+rw "
			    "/dev/fuse); a container is started with --device /dev/fuse "
			    "--cap-add SYS_ADMIN",
			    strerror(-err));
	else
		pfs_msg_set(msg,
			    "this machine has no usable /dev/fuse (%s); load the module "
			    "(modprobe fuse); a container is started with --device /dev/fuse "
			    "--cap-add SYS_ADMIN",
			    strerror(-err));
	return err;
}

/* ---- the configuration ---------------------------------------------------------------------- */

/* Whether `path`, which need not exist, is in the directory `dir` (resolved). */
static bool path_below(const char *path, const char *dir)
{
	char *copy = strdup(path), *real = NULL, *slash;
	size_t n = strlen(dir);
	bool below;

	while (copy && !(real = realpath(copy, NULL)) && (slash = strrchr(copy, '/')) &&
	       slash != copy)
		*slash = '\0';
	below = real && strncmp(real, dir, n) == 0 && (real[n] == '\0' || real[n] == '/');
	free(real);
	free(copy);
	return below;
}

/* A database below the mount point would be asked for through itself. */
static int check_not_below(const struct pfs_config *config, const char *mountpoint,
			   struct pfs_msg *msg)
{
	size_t i, j;

	for (i = 0; i < config->fs.nbackends; i++) {
		const struct pfs_backend *b = config->fs.backends[i];

		for (j = 0; b->set && b->set->table[j].name; j++) {
			const char *value = b->set->values[j].str;

			if (b->set->table[j].type != PFS_OPT_PATH || !value || value[0] != '/' ||
			    !path_below(value, mountpoint))
				continue;
			pfs_msg_set(msg,
				    "backend '%s': %s %s lies below the mount point %s, where "
				    "the mount would hide it; mount elsewhere or move it",
				    b->name, b->set->table[j].name, value, mountpoint);
			return -EINVAL;
		}
	}
	if (config->log[0] == '/' && path_below(config->log, mountpoint)) {
		pfs_msg_set(msg, "the log %s lies below the mount point %s", config->log,
			    mountpoint);
		return -EINVAL;
	}
	return 0;
}

/* /proc/mounts and `status` are read in other directories: name the source for all of them. */
static int source_absolute(struct pfs_config *config)
{
	const char *source = config->source, *path = strchr(source, ':');
	char *full = realpath(source, NULL), *cwd;

	if (!full && pfs_source_is_url(source) && path[1] && !strchr("/~:", path[1])) {
		cwd = realpath(".", NULL);
		if (!cwd ||
		    asprintf(&full, "%.*s:%s/%s", (int)(path - source), source, cwd, path + 1) < 0)
			full = NULL;
		free(cwd);
		if (!full)
			return -ENOMEM;
	}
	if (full) {
		free(config->source);
		config->source = full;
	}
	return 0;
}

/* Returns 0 with *out owned, or an exit status; all faults have been told. */
static int load(const struct pfs_mount_args *args, const char *mountpoint, struct pfs_config **out)
{
	struct pfs_config_source src = {.file = args->config, .write_others = args->write_others};
	struct pfs_config *config = NULL;
	struct pfs_faults faults = {0};
	struct pfs_msg msg = {{0}};
	int err, status = 0;
	size_t i;

	if (args->source && pfs_source_is_url(args->source))
		src.source = args->source;
	else if (args->source)
		src.file = args->source;
	err = pfs_config_load(&src, &config, &faults);
	for (i = 0; i < faults.n; i++)
		fprintf(stderr, "%s\n", faults.lines[i]);
	if (err) {
		if (!faults.n)
			fprintf(stderr, "persistfs: %s\n", strerror(-err));
		status = err == -EINVAL ? PFS_EXIT_CONFIG : 1;
	} else if (check_not_below(config, mountpoint, &msg)) {
		fail(&msg);
		status = PFS_EXIT_CONFIG;
	} else if (source_absolute(config)) {
		pfs_msg_set(&msg, "%s", strerror(ENOMEM));
		status = fail(&msg);
	}
	if (status)
		pfs_config_free(config);
	else
		*out = config;
	pfs_faults_release(&faults);
	return status;
}

/*
 * What ps shows of this process is its arguments in memory: put the masked form over the one that was
 * given, cut where it is longer. *source: a copy of what was given, for us. 0 or -ENOMEM.
 */
static int hide_password(const char *shown, char **source)
{
	struct pfs_buf masked = {0};
	size_t len = strlen(shown);
	char *arg = (char *)shown; /* of argv: ours to write */
	int err = 0;

	pfs_redact_urls(&masked, shown);
	*source = strdup(shown);
	if (masked.failed || !*source)
		err = -ENOMEM;
	else if (strcmp(masked.data, shown) != 0)
		strncpy(arg, masked.data, len);
	pfs_buf_release(&masked);
	return err;
}

static int mount_with(const struct pfs_mount_args *args)
{
	struct pfs_daemon_config dc = {.options = &args->options, .foreground = args->foreground};
	char *mountpoint = NULL;
	struct pfs_msg msg = {{0}};
	int status;

	/* Descriptors of the caller have no business in a daemon. */
	close_range(3, ~0U, 0);
	if (check_place(args->mountpoint, &mountpoint, &msg) || check_fuse(&msg)) {
		status = fail(&msg);
		goto out;
	}
	dc.mountpoint = mountpoint;
	status = load(args, mountpoint, &dc.config);
	if (!status)
		status = pfs_daemon_run(&dc);
out:
	free(mountpoint);
	return status;
}

int pfs_verb_mount(int argc, char **argv)
{
	struct pfs_mount_args args;
	struct pfs_msg msg = {{0}};
	char *source = NULL;
	int err, status;

	err = pfs_mount_args_parse(&args, argc, argv, &msg);
	if (!err && args.source) {
		err = hide_password(args.source, &source);
		args.source = source;
	}
	if (err == -EINVAL) {
		status = pfs_cli_usage("mount", &msg);
	} else if (err) {
		if (err == -ENOMEM)
			pfs_msg_set(&msg, "%s", strerror(ENOMEM));
		status = fail(&msg);
	} else if (args.help) {
		fputs(pfs_cli_help("mount"), stdout);
		status = 0;
	} else {
		status = mount_with(&args);
	}
	pfs_mount_args_release(&args);
	free(source);
	return status;
}
