/*
 * A backend that fails when it is told to: it passes every call on to another backend, except those
 * that its plan makes fail. For tests of the contract and of fs/, which see a struct pfs_backend
 * like any other.
 *
 *	struct pfs_backend *b = fault_new(inner);		   inner: not started; consumed
 *	fault_plan(b, &(struct fault){.calls = FAULT_COMMIT, .nth = 3, .err = -EIO});
 *	... the third commit from now fails, the fourth works again ...
 *	n = fault_seen(b);					   how many commits there were
 *	pfs_backend_free(b);					   frees inner too
 *
 * The classic loop runs a case with nth = 1, 2, ... until fault_fired() says that it was not reached.
 */
#ifndef PFS_TESTS_LIB_FAULT_H
#define PFS_TESTS_LIB_FAULT_H

#include "backends/backend.h"

enum fault_calls {
	FAULT_LOOKUP = 1u << 0,
	FAULT_GETATTR = 1u << 1, /* also: parent, root */
	FAULT_LIST = 1u << 2,
	FAULT_READ = 1u << 3,  /* also: seek */
	FAULT_XATTR = 1u << 4, /* get and list */
	FAULT_COMMIT = 1u << 5,
	FAULT_SYNC = 1u << 6,
	FAULT_START = 1u << 7,
	FAULT_OPEN = 1u << 8, /* namespaces: open, list, remove */
	FAULT_IDS = 1u << 9,
	FAULT_LOCK = 1u << 10,
	FAULT_ALL = (1u << 11) - 1,
};

struct fault {
	unsigned calls;	  /* FAULT_... bits */
	unsigned nth;	  /* the n-th such call from now fails (1: the next) */
	unsigned times;	  /* so many fail in a row; 0: one; UINT_MAX: all from there on */
	int err;	  /* with this -errno */
	bool after;	  /* the call is made first, and only its answer is lost (-EIO: nobody knows) */
	int64_t pause_ns; /* before failing: an engine that answers late */
};

/* inner: consumed, not started; its watcher must not be set. Never NULL (asserts memory). */
struct pfs_backend *fault_new(struct pfs_backend *inner);
/* Takes the place of any earlier plan and starts counting at 0. NULL: fail nothing. Thread-safe. */
void fault_plan(struct pfs_backend *b, const struct fault *plan);
/* Calls of the plan's kinds since it was made, and how many of them failed by it. */
unsigned fault_seen(struct pfs_backend *b);
unsigned fault_fired(struct pfs_backend *b);
/* The backend behind it, for looking at what is really there. */
struct pfs_backend *fault_inner(struct pfs_backend *b);

#endif
