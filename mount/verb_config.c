/*
 * `persistfs config check` and `persistfs config show`: what a configuration says, or everything
 * that is wrong with it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mount/cli.h"
#include "mount/config.h"

static const char help_config[] =
	"persistfs config check [-c FILE]\n"
	"persistfs config show [-c FILE]\n"
	"\n"
	"check finds and checks the configuration as mount would, and names every fault. show "
	"prints\n"
	"the effective one: all sections with all values, secrets masked.\n"
	"\n"
	"Without -c: $PERSISTFS_CONFIG, $XDG_CONFIG_HOME/persistfs/persistfs.ini, "
	"/etc/persistfs.ini,\n"
	"else the built-in default.\n"
	"\n"
	"Exit status: 0 no fault, 2 wrong usage, 78 the configuration has faults.\n";

struct config_args {
	const char *what; /* "check" or "show" */
	const char *file;
	bool help;
};

/* Returns 0, or -EINVAL with msg. */
static int parse_args(struct config_args *out, int argc, char **argv, struct pfs_msg *msg)
{
	int i;

	for (i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
			out->help = true;
			return 0;
		}
		if (!strcmp(a, "-c") || !strcmp(a, "--config")) {
			if (++i == argc) {
				pfs_msg_set(msg, "option '%s' wants a value", a);
				return -EINVAL;
			}
			out->file = argv[i];
		} else if (!strncmp(a, "--config=", 9)) {
			out->file = a + 9;
		} else if (!strncmp(a, "-c", 2)) {
			out->file = a + 2;
		} else if (a[0] == '-') {
			pfs_msg_set(msg, "unknown option '%s'", a);
			return -EINVAL;
		} else if (out->what) {
			pfs_msg_set(msg, "'%s' is one operand too many; a file is given by -c FILE",
				    a);
			return -EINVAL;
		} else {
			out->what = a;
		}
	}
	if (!out->what) {
		pfs_msg_set(msg, "say what to do: check or show");
		return -EINVAL;
	}
	if (strcmp(out->what, "check") && strcmp(out->what, "show")) {
		pfs_msg_set(msg, "unknown: '%s'; available: check, show", out->what);
		return -EINVAL;
	}
	return 0;
}

static void print_faults(const struct pfs_faults *faults)
{
	size_t i;

	for (i = 0; i < faults->n; i++)
		fprintf(stderr, "%s\n", faults->lines[i]);
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

int pfs_verb_config(int argc, char **argv)
{
	struct config_args args = {0};
	struct pfs_config_source src = {0};
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;
	struct pfs_msg msg = {0};
	int err, status = 0;

	if (parse_args(&args, argc, argv, &msg))
		return pfs_cli_usage("config", &msg);
	if (args.help) {
		fputs(help_config, stdout);
		return 0;
	}
	src.file = args.file;
	err = pfs_config_load(&src, &config, &faults);
	if (err == -ENOMEM) {
		fprintf(stderr, "persistfs config: out of memory\n");
		status = 1;
	} else if (err) {
		print_faults(&faults);
		status = PFS_EXIT_CONFIG;
	} else if (!strcmp(args.what, "show")) {
		fwrite(config->text.data, 1, config->text.len, stdout);
	} else {
		printf("%s: ok, %zu backend%s, %zu store%s\n", config->source, config->ndeclared,
		       plural(config->ndeclared), config->fs.nstores, plural(config->fs.nstores));
	}
	pfs_config_free(config);
	pfs_faults_release(&faults);
	return status;
}
