/*
 * The entry of the program: which verb was asked for, and nothing else.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/cli.h"
#include "mount/config.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{"mount", pfs_verb_mount},   {"umount", pfs_verb_umount}, {"unmount", pfs_verb_umount},
	{"status", pfs_verb_status}, {"config", pfs_verb_config}, {"backends", pfs_verb_backends},
};

/* Descriptors 0 to 2 exist, so that nothing of ours is opened there by chance. */
static void open_std_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static int dispatch(int argc, char **argv)
{
	const char *first = argc > 1 ? argv[1] : NULL;
	struct pfs_msg msg;
	size_t i;

	if (!first) {
		pfs_msg_set(&msg, "no verb given; verbs: mount, umount, status, config, backends");
		return pfs_cli_usage(NULL, &msg);
	}
	for (i = 0; i < PFS_ARRAY_SIZE(verbs); i++) {
		if (strcmp(first, verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
		printf("persistfs %s\n", PFS_VERSION);
		return 0;
	}
	if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 ||
	    strcmp(first, "help") == 0) {
		fputs(pfs_cli_help(NULL), stdout);
		return 0;
	}
	if (pfs_cli_is_mount(argc, argv))
		return pfs_verb_mount(argc, argv);
	pfs_msg_set(&msg, "unknown verb '%s'; verbs: mount, umount, status, config, backends",
		    first);
	return pfs_cli_usage(NULL, &msg);
}

int main(int argc, char **argv)
{
	int status;

	open_std_fds();
	status = dispatch(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		perror("persistfs: standard output");
		status = status ? status : 1;
	}
	return status;
}
