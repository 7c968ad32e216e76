/*
 * What is wrong with a configuration: all faults of one run, each one line of text. Passwords in
 * URLs are masked here, whatever a message quotes.
 */
#ifndef PFS_MOUNT_FAULTS_H
#define PFS_MOUNT_FAULTS_H

#include "backends/base.h"

/* More are not kept: a file that is no configuration at all has one in every line. */
#define PFS_FAULTS_MAX 1000

struct pfs_faults {
	char **lines; /* without newlines; in order of line once the run is over */
	size_t n;
	unsigned *at; /* the line of the file that each is about; 0: the file as a whole */
	char *file;   /* how messages name the configuration; NULL: not at all */
	bool failed;  /* out of memory: some are missing */
};

/* A fault without file and line. */
void pfs_faults_add(struct pfs_faults *f, const char *fmt, ...) PFS_PRINTF(2, 3);
/* "FILE:LINE: ..." */
void pfs_faults_at(struct pfs_faults *f, unsigned line, const char *fmt, ...) PFS_PRINTF(3, 4);
/* By line, then in order of discovery. */
void pfs_faults_sort(struct pfs_faults *f);
void pfs_faults_release(struct pfs_faults *f);

/* Append `text` with every password in it masked: those of URLs, and what follows `password=`. */
void pfs_redact_urls(struct pfs_buf *out, const char *text);

#endif
