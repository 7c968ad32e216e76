/*
 * Option tables: one row describes one key of persistfs.ini. Parsing, validation, help, the
 * `backends show` verb and the redaction of secrets all come from these tables.
 */
#ifndef PFS_BACKENDS_OPTION_H
#define PFS_BACKENDS_OPTION_H

#include "backends/base.h"

enum pfs_option_type {
	PFS_OPT_STRING,
	PFS_OPT_PATH,	  /* ~ and relative paths are resolved by the parser (relative to the ini) */
	PFS_OPT_BOOL,	  /* yes/no, true/false, on/off, 1/0 */
	PFS_OPT_INT,	  /* decimal, between min and max */
	PFS_OPT_SIZE,	  /* bytes: 64M, 1G, 4096; K M G T are powers of 1024 */
	PFS_OPT_DURATION, /* stored in ns: 5ms, 30s, 24h, 7d */
	PFS_OPT_ENUM,	  /* one of `choices`, separated by '|'; stored as its index */
	PFS_OPT_MODE,	  /* permissions in octal: 0640 */
};

struct pfs_option {
	const char *name;
	enum pfs_option_type type;
	const char *def; /* as it would be written in the ini; NULL: none */
	bool required;
	bool secret;
	const char *choices;  /* PFS_OPT_ENUM */
	int64_t min, max;     /* numbers, sizes, durations; both 0: any non-negative */
	const char *help;     /* one line */
};

#define PFS_OPTION_END {.name = NULL}

/* One parsed value. `str` is the text after substitution (owned by the set); `num` for the rest. */
struct pfs_option_value {
	const char *str; /* NULL: neither given nor defaulted */
	int64_t num;
	bool given; /* written in the ini, not a default */
};

/* Values in the order of the table they were parsed with. */
struct pfs_option_set {
	const struct pfs_option *table; /* ended by a row with name NULL */
	struct pfs_option_value *values;
};

/* The value of `name`, which must be in the set's table (assert). Never NULL. */
const struct pfs_option_value *pfs_option_get(const struct pfs_option_set *set, const char *name);

/*
 * Parse `text` as `opt` says. Returns 0 and fills num (and leaves str alone), or -EINVAL with what
 * was wrong and what would be right in msg.
 */
int pfs_option_parse(const struct pfs_option *opt, const char *text, struct pfs_option_value *out,
		     struct pfs_msg *msg);

/* Fill `set` for `table` with the defaults. Returns 0 or -ENOMEM. */
int pfs_option_set_init(struct pfs_option_set *set, const struct pfs_option *table);
/* Set one value from text. Returns 0, -ENOENT (no such option), -EINVAL (msg), -ENOMEM. */
int pfs_option_set_text(struct pfs_option_set *set, const char *name, const char *text,
			struct pfs_msg *msg);
void pfs_option_set_release(struct pfs_option_set *set);

/* The row of `name` in a table, or NULL. */
const struct pfs_option *pfs_option_find(const struct pfs_option *table, const char *name);
/* "string", "path", "yes|no", "number", "size", "duration" or the choices. */
const char *pfs_option_type_name(const struct pfs_option *opt);
/* What a value may be, for people: "a number from 1 to 64", "one of: lazy, eager". */
void pfs_option_describe(const struct pfs_option *opt, struct pfs_msg *out);
/*
 * The one of names[0..n) that `word` was probably meant to be: few edits away. Borrowed from names;
 * NULL when nothing is near.
 */
const char *pfs_nearest(const char *word, const char *const *names, size_t n);

#endif
