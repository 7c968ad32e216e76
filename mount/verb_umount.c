/*
 * `persistfs umount`: unmounts without force, then waits for the daemon itself, since umount(2)
 * returns while the daemon still writes. What the daemon left as its last word decides the status.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/cli.h"
#include "mount/deadline.h"
#include "mount/state.h"

static int fail(const struct pfs_msg *msg)
{
	fprintf(stderr, "persistfs: %s\n", msg->text);
	return 1;
}

/* ---- taking it off -------------------------------------------------------------------------- */

struct fusermount {
	const char *path;
	bool lazy;
};

/* In the child. */
static int fusermount_exec(void *arg, int fd)
{
	const struct fusermount *f = arg;

	dup2(fd, 1);
	dup2(fd, 2);
	setenv("LC_ALL", "C", 1);
	if (f->lazy)
		execlp("fusermount3", "fusermount3", "-u", "-z", "--", f->path, (char *)NULL);
	else
		execlp("fusermount3", "fusermount3", "-u", "--", f->path, (char *)NULL);
	dprintf(fd, "cannot run fusermount3: %s", strerror(errno));
	return 125;
}

/* As a user who is not root may. 0 or -errno with msg. */
static int detach_user(const char *path, bool lazy, struct pfs_msg *msg)
{
	struct fusermount f = {.path = path, .lazy = lazy};
	struct pfs_buf said = {0};
	int err;

	/* Unmounting writes back what is mapped: as long as that takes. */
	err = pfs_deadline_run(fusermount_exec, &f, -1, &said);
	pfs_buf_str(&said, "");
	if (err > 0) {
		err = !said.failed && strstr(said.data, "busy") ? -EBUSY : -EPERM;
		pfs_msg_set(msg, "%.400s", said.failed ? "fusermount3 failed" : said.data);
		msg->text[strcspn(msg->text, "\n")] = '\0';
	} else if (err < 0) {
		pfs_msg_set(msg, "fusermount3: %s", strerror(-err));
	}
	pfs_buf_release(&said);
	return err;
}

static int detach(const char *path, bool lazy, struct pfs_msg *msg)
{
	int err;

	if (geteuid() != 0)
		return detach_user(path, lazy, msg);
	err = umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) ? -errno : 0;
	if (err)
		pfs_msg_set(msg, "cannot unmount %s: %s", path, strerror(-err));
	return err;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static int wait_drained(const struct pfs_state_info *state, const char *path)
{
	struct pfs_msg why = {{0}}, msg;

	if (pfs_state_wait(state, &why) == 0)
		return 0;
	pfs_msg_set(&msg, "%s: unmounted, but data was lost: %.400s", path, why.text);
	return fail(&msg);
}

static int unmount_dead(const char *path)
{
	struct pfs_msg msg;

	if (detach(path, true, &msg))
		return fail(&msg);
	printf("%s: its daemon had died; the dead mount is detached\n", path);
	return 0;
}

static int unmount_living(const char *path, const struct pfs_state_info *state)
{
	struct pfs_msg msg;
	int err;

	err = detach(path, false, &msg);
	if (err == -EBUSY)
		pfs_msg_set(&msg,
			    "%s is busy: a program has a file open there or works in it "
			    "(fuser -vm '%s' shows which); it stays mounted",
			    path, path);
	if (err)
		return fail(&msg);
	if (state)
		return wait_drained(state, path);
	pfs_msg_set(&msg, "%s is unmounted, but its daemon could not be found to wait for it",
		    path);
	return fail(&msg);
}

static int unmount(const char *path, const struct pfs_mount *m, const struct pfs_state_info *state)
{
	struct pfs_msg msg;

	if (!m && state) /* umount(8) came first; the daemon still writes */
		return wait_drained(state, path);
	if (!m) {
		pfs_msg_set(&msg, "nothing is mounted at %s", path);
		return fail(&msg);
	}
	if (strcmp(m->fstype, PFS_FSTYPE) != 0) {
		pfs_msg_set(&msg, "%s is a mount of type %s, not of persistfs", path, m->fstype);
		return fail(&msg);
	}
	if (!state && pfs_mount_is_dead(path))
		return unmount_dead(path);
	return unmount_living(path, state);
}

static int umount_at(const char *given)
{
	struct pfs_state_list states = {0};
	struct pfs_mount_list mounts = {0};
	const struct pfs_mount *m;
	char *path = NULL;
	struct pfs_msg msg;
	int err, status;

	err = pfs_path_resolve(given, &path);
	if (err) {
		pfs_msg_set(&msg, "%s: %s", given, strerror(-err));
		return fail(&msg);
	}
	err = pfs_mounts_read(&mounts);
	m = err ? NULL : pfs_mounts_at(&mounts, path);
	if (!err)
		err = pfs_states_read(m && geteuid() == 0 ? m->uid : geteuid(), &states);
	if (err) {
		pfs_msg_set(&msg, "cannot find out what is mounted: %s", strerror(-err));
		status = fail(&msg);
	} else {
		status = unmount(path, m, pfs_states_at(&states, path));
	}
	pfs_states_release(&states);
	pfs_mounts_release(&mounts);
	free(path);
	return status;
}

int pfs_verb_umount(int argc, char **argv)
{
	struct pfs_msg msg = {{0}};
	const char *path;
	bool help;

	if (pfs_operand_parse(argc, argv, &path, &help, &msg))
		return pfs_cli_usage("umount", &msg);
	if (help) {
		fputs(pfs_cli_help("umount"), stdout);
		return 0;
	}
	if (!path) {
		pfs_msg_set(&msg, "no MOUNTPOINT given");
		return pfs_cli_usage("umount", &msg);
	}
	return umount_at(path);
}
