/*
 * What the files of the configuration loader share: config.c finds and reads, config_value.c turns
 * one text into one value, config_check.c checks sections against each other, config_text.c writes
 * the effective configuration.
 *
 * Faults go to a list and checking goes on; an int result is 0 or -ENOMEM, unless it says otherwise.
 */
#ifndef PFS_MOUNT_CONFIG_INTERNAL_H
#define PFS_MOUNT_CONFIG_INTERNAL_H

#include "mount/config.h"
#include "mount/ini.h"

#define PFS_CONFIG_MASK "********"

/* [defaults] has every key of [store:NAME] but the first one, which is `namespace`. */
#define PFS_DEFAULTS_OPTIONS (pfs_store_options + 1)

/* Where the value of an option was written. */
struct cfg_origin {
	unsigned line;	     /* 0: nowhere */
	const char *section; /* borrowed from the ini */
};

/* A section with its keys parsed by an option table. */
struct cfg_section {
	const char *title; /* "store:notes", borrowed from the ini */
	const char *name;  /* "notes"; "" where there is none */
	unsigned line;
	struct pfs_option_set set;
	struct cfg_origin *origins; /* as set.values */
};

struct cfg_backend {
	struct cfg_section s;
	const struct pfs_engine *engine; /* NULL: its type is unknown */
	struct pfs_option *table;	 /* owned */
	char *identity;			 /* the same for two backends that hold the same data */
	struct pfs_backend *backend;	 /* owned; NULL until everything was found right */
	bool used;			 /* a store refers to it */
	size_t index;			 /* in fs.backends */
};

struct cfg_store {
	struct cfg_section s;
	struct cfg_backend *backend; /* NULL: not known */
	enum pfs_layout layout;
	struct pfs_backend *view; /* owned: shows others' data; NULL: own layout */
	char *ns;
};

struct cfg {
	struct pfs_config pub;
	const struct pfs_engine *const *engines;
	struct pfs_faults *faults; /* borrowed; only while loading */
	struct pfs_ini ini;
	char *dir; /* relative paths start here */
	bool write_others;
	/* The first password that is written out in the file. */
	struct cfg_origin secret;
	const char *secret_key;
	struct cfg_section defaults, mount;
	struct cfg_backend *backends;
	size_t nbackends;
	struct cfg_store *stores;
	size_t nstores;
};

/* ---- config_value.c ------------------------------------------------------------------------- */

/* *out: owned; -EINVAL with msg when nobody knows where the home directory is. */
int pfs_config_home(char **out, struct pfs_msg *msg);
/* `~` and relative paths made absolute. *out owned. -EINVAL with msg, -ENOMEM. */
int pfs_config_path(const char *text, const char *dir, char **out, struct pfs_msg *msg);

int pfs_config_section_init(struct cfg_section *s, const struct pfs_ini_section *ini,
			    const struct pfs_option *table);
void pfs_config_section_release(struct cfg_section *s);
/* Parse every key of `ini` into `s`. all: a key that is not in the table is a fault. */
int pfs_config_section_fill(struct cfg *cfg, struct cfg_section *s,
			    const struct pfs_ini_section *ini, bool all);
/* Defaults that are paths, passwords in files, and what is required but missing. */
int pfs_config_section_finish(struct cfg *cfg, struct cfg_section *s);

const struct pfs_option_value *pfs_config_get(const struct cfg_section *s, const char *name);
/* Whether the section, or [defaults] for it, has the key at all, parsed or not. */
bool pfs_config_written(const struct cfg_section *s, const char *name);
/* The line and section to blame for the value of `name`: the section's own where it is a default. */
struct cfg_origin pfs_config_origin(const struct cfg_section *s, const char *name);
/*
 * "; available: a, b — did you mean 'a'?" for a `word` that is none of names. *out owned, "" when
 * out of memory.
 */
void pfs_config_available(struct pfs_buf *out, const char *word, const char *const *names,
			  size_t n);

/* ---- config_check.c ------------------------------------------------------------------------- */

/* All sections of cfg->ini. Nothing is constructed. */
int pfs_config_check(struct cfg *cfg);

/* ---- config_text.c -------------------------------------------------------------------------- */

/* Fill cfg->pub.text from a configuration without faults. */
int pfs_config_write(struct cfg *cfg);

#endif
