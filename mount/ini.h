/*
 * The text of persistfs.ini as sections and keys with their line numbers. inih does the reading;
 * what it would do silently (cut long lines and names, take ` ;` for a comment, join indented lines,
 * skip over what it does not understand) is found here first and reported.
 *
 * The form of the file:
 *	[section]  ; a comment may follow the bracket
 *	key = value
 *	; or # at the start of a line: a comment
 * Blanks around key and value are dropped. A value holds no ` ;` and no control character; what
 * needs one comes by ${env.NAME}. CRLF and a UTF-8 byte order mark are accepted.
 */
#ifndef PFS_MOUNT_INI_H
#define PFS_MOUNT_INI_H

#include "mount/faults.h"

#define PFS_INI_MAX_BYTES (1024 * 1024)

struct pfs_ini_key {
	char *name, *value;
	unsigned line;
	bool literal; /* not from a file: no ${...}, no ~ */
};

struct pfs_ini_section {
	char *name;
	unsigned line; /* 0: not from a file */
	struct pfs_ini_key *keys;
	size_t nkeys;
};

struct pfs_ini {
	struct pfs_ini_section *sections; /* in order of the file */
	size_t nsections;
	bool partial; /* a section header could not be read: sections may be missing */
};

/*
 * Parse text[0..len). What is wrong goes to faults; the rest is still in *ini, so that it can be
 * checked too. Returns 0 or -ENOMEM. Release *ini in either case.
 */
int pfs_ini_parse(struct pfs_ini *ini, const char *text, size_t len, struct pfs_faults *faults);

/* For configurations that are made, not read. The section is borrowed until the next one is added. */
struct pfs_ini_section *pfs_ini_add_section(struct pfs_ini *ini, const char *name, unsigned line);
int pfs_ini_add_key(struct pfs_ini_section *section, const char *name, const char *value,
		    unsigned line, bool literal);

void pfs_ini_release(struct pfs_ini *ini);

#endif
