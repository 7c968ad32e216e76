/* Tests of fs/lockset.c: the rules of fcntl(2), and a property test against one mode per byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/lockset.h"

#define S PFS_LOCK_SHARED
#define X PFS_LOCK_EXCLUSIVE
#define N PFS_LOCK_NONE

static void set(struct pfs_lockset *s, uint64_t owner, uint64_t start, uint64_t end,
		enum pfs_lock_mode mode)
{
	struct pfs_lock l = {.owner = owner, .start = start, .end = end, .mode = mode};

	assert_int_equal(pfs_lockset_set(s, &l, 1, NULL), 0);
}

static bool conflicts(const struct pfs_lockset *s, uint64_t owner, uint64_t start, uint64_t end,
		      enum pfs_lock_mode mode)
{
	struct pfs_lock l = {.owner = owner, .start = start, .end = end, .mode = mode};

	return pfs_lockset_conflict(s, &l) != NULL;
}

static bool covers(const struct pfs_lockset *s, uint64_t start, uint64_t end,
		   enum pfs_lock_mode mode)
{
	struct pfs_lock l = {.start = start, .end = end, .mode = mode};

	return pfs_lockset_covers(s, &l);
}

static void unlocking_the_middle_splits(void **state)
{
	struct pfs_lockset s = {0};

	(void)state;
	set(&s, 1, 0, 99, X);
	set(&s, 1, 40, 59, N);
	assert_int_equal(s.n, 2);
	assert_true(conflicts(&s, 2, 39, 39, S));
	assert_false(conflicts(&s, 2, 40, 59, X));
	assert_true(conflicts(&s, 2, 60, 60, S));
	set(&s, 1, 40, 59, X);
	assert_int_equal(s.n, 1);
	pfs_lockset_release(&s);
}

static void the_two_kinds_do_not_join(void **state)
{
	struct pfs_lockset s = {0};

	(void)state;
	set(&s, 1, 0, PFS_LOCK_POSIX_END, X);
	set(&s, 1, PFS_LOCK_FLOCK_AT, PFS_LOCK_FLOCK_AT, X);
	assert_int_equal(s.n, 2);
	assert_true(covers(&s, 0, PFS_LOCK_FLOCK_AT, X));
	assert_false(covers(&s, 0, UINT64_MAX, S));
	pfs_lockset_release(&s);
}

static void what_was_taken_through_a_file_goes_with_it(void **state)
{
	struct pfs_lock a = {.owner = 1, .start = 0, .end = 9, .mode = X};
	struct pfs_lock b = {.owner = 1, .start = 10, .end = 19, .mode = X};
	struct pfs_lockset s = {0};
	int file = 0, other = 0;

	(void)state;
	assert_int_equal(pfs_lockset_set(&s, &a, 1, &file), 0);
	assert_int_equal(pfs_lockset_set(&s, &b, 1, &other), 0);
	pfs_lockset_drop_file(&s, &file);
	assert_false(pfs_lockset_has(&s, 1, 0, 9));
	assert_true(pfs_lockset_has(&s, 1, 10, 19));
	pfs_lockset_release(&s);
}

static void a_lease_shrinks_upwards_to_what_is_needed(void **state)
{
	struct pfs_lockset lease = {0}, needed = {0};
	struct pfs_lock piece;

	(void)state;
	set(&lease, 0, 0, UINT64_MAX, X);
	set(&needed, 7, 10, 19, S);
	set(&needed, 8, 15, 29, S);
	set(&needed, 9, 40, 49, X);
	assert_true(pfs_lockset_excess(&lease, &needed, 0, &piece));
	assert_int_equal(piece.start, 0);
	assert_int_equal(piece.end, 9);
	assert_int_equal(piece.mode, N);
	assert_true(pfs_lockset_excess(&lease, &needed, 10, &piece));
	assert_int_equal(piece.end, 29);
	assert_int_equal(piece.mode, S);
	assert_true(pfs_lockset_excess(&lease, &needed, 30, &piece));
	assert_int_equal(piece.start, 30);
	assert_int_equal(piece.end, 39);
	assert_true(pfs_lockset_excess(&lease, &needed, 40, &piece));
	assert_int_equal(piece.start, 50);
	assert_true(piece.end == UINT64_MAX);
	pfs_lockset_release(&lease);
	pfs_lockset_release(&needed);
}

/* ---- against one mode per byte and owner ---------------------------------------------------- */

#define OWNERS 3
#define BYTES  24

static enum pfs_lock_mode model[OWNERS][BYTES];

static enum pfs_lock_mode strongest(uint64_t at, uint64_t but)
{
	enum pfs_lock_mode mode = N;

	for (uint64_t o = 0; o < OWNERS; o++)
		if (o != but && model[o][at] > mode)
			mode = model[o][at];
	return mode;
}

static void check_against_model(const struct pfs_lockset *s, uint64_t owner, uint64_t start,
				uint64_t end, enum pfs_lock_mode mode)
{
	bool conflict = false, covered = true;

	for (uint64_t at = start; at <= end; at++) {
		enum pfs_lock_mode others = strongest(at, owner);

		conflict |= mode != N && (others == X || (others == S && mode == X));
		covered &= strongest(at, OWNERS) >= mode;
	}
	assert_int_equal(conflicts(s, owner, start, end, mode), conflict);
	assert_int_equal(covers(s, start, end, mode), covered);
}

static void sets_say_what_single_bytes_would(void **state)
{
	struct pfs_lockset s = {0}, all = {0};
	struct pfs_lock piece;
	uint64_t x = 88172645463325252u;

	(void)state;
	set(&all, 0, 0, BYTES - 1, X);
	for (int i = 0; i < 50000; i++) {
		uint64_t owner, start, end, from = 0;
		enum pfs_lock_mode mode;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		owner = x % OWNERS;
		start = (x >> 8) % BYTES;
		end = start + (x >> 16) % (BYTES - start);
		mode = (x >> 24) % 3;
		check_against_model(&s, owner, start, end, mode);
		set(&s, owner, start, end, mode);
		for (uint64_t at = start; at <= end; at++)
			model[owner][at] = mode;
		/* Excess pieces are what the model says, and nothing is left out. */
		for (uint64_t at = 0; at < BYTES; at++) {
			if (at >= from && pfs_lockset_excess(&all, &s, at, &piece) &&
			    piece.start == at)
				from = piece.end + 1;
			if (at < from)
				assert_int_equal(strongest(at, OWNERS), piece.mode);
			else
				assert_int_equal(strongest(at, OWNERS), X);
		}
	}
	pfs_lockset_release(&s);
	pfs_lockset_release(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unlocking_the_middle_splits),
		cmocka_unit_test(the_two_kinds_do_not_join),
		cmocka_unit_test(what_was_taken_through_a_file_goes_with_it),
		cmocka_unit_test(a_lease_shrinks_upwards_to_what_is_needed),
		cmocka_unit_test(sets_say_what_single_bytes_would),
	};

	return cmocka_run_group_tests_name("lockset", tests, NULL, NULL);
}
