/*
 * persistfs.ini: finding it, reading it, checking all of it, and what comes out: backends that have
 * been constructed (not started) and the description of the tree for fs/.
 *
 * Every fault of a configuration is found in one run and told with file:line, section and key, what
 * was wrong and what is available.
 */
#ifndef PFS_MOUNT_CONFIG_H
#define PFS_MOUNT_CONFIG_H

#include "fs/fs.h"
#include "mount/faults.h"

/* The file of the whole machine, when the person has none. */
#define PFS_CONFIG_SYSTEM_FILE "/etc/persistfs.ini"

struct pfs_config {
	struct pfs_fs_config fs; /* ready for pfs_fs_new(); everything in it is owned by the config */
	char *source;		 /* for people: the path of the ini, "sqlite:PATH" or "built-in default" */
	char *log;		 /* "syslog", "stderr" or a path */
	bool log_given;		 /* the ini says so; false: the default */
	bool log_json;
	size_t ndeclared; /* [backend:...] sections, also those that no store refers to */
	struct pfs_buf text; /* the whole effective configuration as ini, secrets redacted */
};

/* Where a configuration comes from. At most one of file and source is given. */
struct pfs_config_source {
	const char *file;   /* -c FILE or a SOURCE that names an ini */
	/*
	 * "sqlite:PATH", "redis://...": a store `data`, made on first use where others have data, which is
	 * shown beside it as `keys` or `tables`. Without a scheme: as file.
	 */
	const char *source;
	bool write_others; /* with `source`: what others keep there can be written to */
	/* What the loader otherwise takes from the build: */
	const struct pfs_engine *const *engines; /* ended by NULL; NULL: pfs_engines() */
	const char *system_file;		 /* NULL: PFS_CONFIG_SYSTEM_FILE */
};

/*
 * Find (file; else source; else $PERSISTFS_CONFIG, $XDG_CONFIG_HOME/persistfs/persistfs.ini (default
 * ~/.config), /etc/persistfs.ini, the built-in default) and load. *out owned. -EINVAL: faults tells
 * what is wrong (exit 78); -ENOMEM.
 */
int pfs_config_load(const struct pfs_config_source *src, struct pfs_config **out,
		    struct pfs_faults *faults);
/* Frees the backends too (pfs_backend_free); the pfs_fs must be gone. NULL: no-op. */
void pfs_config_free(struct pfs_config *config);

/* The keys of [store:NAME] (and, without namespace, of [defaults]) and of [mount]. */
extern const struct pfs_option pfs_store_options[];
extern const struct pfs_option pfs_mount_options[];

/*
 * Verbs: print to stdout/stderr, return the exit status. argv[0] is the verb itself ("config",
 * "backends").
 */
int pfs_verb_config(int argc, char **argv);   /* check|show [-c FILE] */
int pfs_verb_backends(int argc, char **argv); /* list|show TYPE [--json] */

#endif
