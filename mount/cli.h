/*
 * The command line: what was asked for, as structures, and the texts of --help. Pure: nothing here
 * touches the system except to see whether a first argument names a file.
 */
#ifndef PFS_MOUNT_CLI_H
#define PFS_MOUNT_CLI_H

#include "backends/base.h"

/* Exit statuses, besides 0 and 1. */
enum pfs_exit {
	PFS_EXIT_USAGE = 2,
	PFS_EXIT_UNAVAILABLE = 69, /* EX_UNAVAILABLE: an eager backend could not be started */
	PFS_EXIT_CONFIG = 78,	   /* EX_CONFIG */
};

/* Request threads: as libfuse has it by default, and how many -o max_threads may ask for. */
#define PFS_THREADS_DEFAULT 10
#define PFS_THREADS_MAX	    256

/* What the words after -o mean for us. */
struct pfs_fuse_options {
	struct pfs_buf pass; /* for libfuse, comma-separated as given; no data: none */
	unsigned max_threads;
	bool rw; /* the last of ro and rw was rw */
};

/*
 * Add one -o text to `o` (initialised with pfs_fuse_options_init). Returns 0, -EINVAL with what is
 * wrong and what is known in msg, or -ENOMEM.
 */
int pfs_fuse_options_parse(struct pfs_fuse_options *o, const char *text, struct pfs_msg *msg);
void pfs_fuse_options_init(struct pfs_fuse_options *o);
void pfs_fuse_options_release(struct pfs_fuse_options *o);
/* Append text to b as the value of a libfuse option: commas and backslashes escaped. */
void pfs_fuse_options_escape(struct pfs_buf *b, const char *text);

/* `persistfs mount`. Strings are borrowed from argv. */
struct pfs_mount_args {
	const char *config;	/* -c; NULL: not given */
	const char *source;	/* NULL: not given */
	const char *mountpoint; /* never NULL after a successful parse, unless help */
	bool foreground;
	bool help;
	/*
	 * -o rw, said by a person: where a URL shows others' data, it can be written to. mount(8) says rw
	 * whatever stands in fstab, and calls without the verb.
	 */
	bool write_others;
	struct pfs_fuse_options options;
};

/*
 * argv[0] is the verb, or the program where there was none; options may stand anywhere. Returns 0, -EINVAL (usage; msg tells),
 * -EPROTO (an -o word that cannot be; msg tells) or -ENOMEM. out: released by the caller in any
 * case with pfs_mount_args_release().
 */
int pfs_mount_args_parse(struct pfs_mount_args *out, int argc, char **argv, struct pfs_msg *msg);
void pfs_mount_args_release(struct pfs_mount_args *args);

/*
 * For verbs that take at most one operand and no option but --help. Returns 0, or -EINVAL with msg.
 * *operand: borrowed from argv, NULL when there is none.
 */
int pfs_operand_parse(int argc, char **argv, const char **operand, bool *help, struct pfs_msg *msg);

/* "sqlite:PATH", "redis://...": a scheme in front; anything else names an ini file. */
bool pfs_source_is_url(const char *source);
/*
 * Whether a command line without a verb means `mount` (as fstab calls us): the first argument looks
 * like a SOURCE, or is an option of mount. With a directory and nothing else it does not.
 */
bool pfs_cli_is_mount(int argc, char **argv);

/* The help of a verb ("mount", "umount", "status"), or of the whole program (NULL). Never NULL. */
const char *pfs_cli_help(const char *verb);
/* Print "persistfs VERB: text" and where help is to stderr; returns PFS_EXIT_USAGE. */
int pfs_cli_usage(const char *verb, const struct pfs_msg *msg);

/* The verbs of this part: print to stdout and stderr, return the exit status. */
int pfs_verb_mount(int argc, char **argv);
int pfs_verb_umount(int argc, char **argv);
int pfs_verb_status(int argc, char **argv);

#endif
