/*
 * The law of names. Own layouts store a name literally wherever the engine's type can hold it. Where
 * it cannot, and where keys of somebody else's are shown as files, every key has exactly one canonical
 * file name, and that name leads back to the key; a name that is canonical for no key is -EILSEQ.
 *
 * Escapes are %XX in capitals, and only for what must be:
 *	/ inside a component	%2F
 *	NUL			%00
 *	. and ..		%2E and %2E.
 *	no bytes at all		%EMPTY
 *	a % that would otherwise read as one of these (or as %VALUE or a short form): %25
 * So `foo%20bar` and `100%` are themselves, and `a%2Fb` is `a%252Fb`.
 *
 * A key that is also a prefix of others ("a" beside "a:b") is a directory, and its own value is the
 * file %VALUE in it. A component that would be longer than PFS_NAME_MAX bytes is cut and ends with %~
 * and 32 digits of a SHA-256 over the whole component: stable, but it opens only by looking through
 * the keys.
 *
 * Nothing here blocks or keeps state.
 */
#ifndef PFS_BACKENDS_NAMES_H
#define PFS_BACKENDS_NAMES_H

#include "backends/backend.h"

/* How the keys of a store are made. */
struct pfs_key_encoding {
	struct pfs_bytes separator; /* between components; len 0: a key is one name */
	bool text;		    /* keys are UTF-8 without NUL; false: any bytes */
};

/* What own layouts take as it is: pfs_entry_name_check(). 0, -EINVAL or -ENAMETOOLONG. */
int pfs_name_check(struct pfs_bytes name);

/*
 * The canonical path of `key`, components joined by '/', appended to `path`. own_value: the key is
 * also a prefix of others. *lookup (may be NULL): a component has its short form.
 * Returns 0, -EILSEQ (no key of a text encoding) or -ENOMEM.
 */
int pfs_names_from_key(const struct pfs_key_encoding *enc, struct pfs_bytes key, bool own_value,
		       struct pfs_buf *path, bool *lookup);

/*
 * The key whose canonical path is `path`, appended to `key`. *own_value: it ended with %VALUE.
 * Returns 0; 1: a component is a short form, and key has got nothing; -EILSEQ: canonical for no key;
 * -ENOMEM.
 */
int pfs_names_to_key(const struct pfs_key_encoding *enc, struct pfs_bytes path, struct pfs_buf *key,
		     bool *own_value);

/*
 * The end of `path`, from `start` on, is an encoded name that is too long: it becomes its short form, with
 * the hash of `key`. A buffer that failed is left alone.
 */
void pfs_name_shorten(struct pfs_bytes key, struct pfs_buf *path, size_t start);

/* Is this the short form of a longer name? */
bool pfs_name_is_short(struct pfs_bytes name);
/* The readable part of one. */
struct pfs_bytes pfs_name_short_stem(struct pfs_bytes name);
/* The same as a part of a key, appended; that may be nothing. */
void pfs_name_short_begins(const struct pfs_key_encoding *enc, struct pfs_bytes name,
			   struct pfs_buf *out);

/*
 * The name of an own layout in an engine whose type holds nothing but UTF-8: bytes that are none
 * become %XX, and a % that would read as one %25; and back. The text may be longer than PFS_NAME_MAX.
 * Appended to `out`. Returns 0, -EILSEQ (text that stands for no name), -ENOMEM.
 */
int pfs_name_to_text(struct pfs_bytes name, struct pfs_buf *out);
int pfs_name_from_text(struct pfs_bytes text, struct pfs_buf *out);

#endif
