/*
 * The contract about byte-range locks: fcntl's rules between owners, and between two sessions where
 * the engine is shared.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TO_END UINT64_MAX

static int lock(struct pfs_store *s, uint64_t id, uint64_t owner, uint64_t start, uint64_t end,
		enum pfs_lock_mode mode)
{
	struct pfs_lock l = {owner, start, end, mode}, conflict = {0};

	return pfs_store_lock(s, id, &l, &conflict);
}

/* Can another owner take [at, at] in this mode? Leaves nothing behind. */
static bool is_free(struct contract *c, uint64_t id, uint64_t at, enum pfs_lock_mode mode)
{
	int err = lock(c->s, id, 999, at, at, mode);

	if (err == 0)
		assert_int_equal(lock(c->s, id, 999, at, at, PFS_LOCK_NONE), 0);
	else
		assert_int_equal(err, -EAGAIN);
	return err == 0;
}

static void exclusive_excludes_and_shared_shares(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	struct pfs_lock want = {2, 5, 5, PFS_LOCK_SHARED}, conflict;

	assert_int_equal(lock(c->s, id, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(pfs_store_lock(c->s, id, &want, &conflict), -EAGAIN);
	assert_int_equal(conflict.start, 0);
	assert_int_equal(conflict.end, 9);
	assert_int_equal(conflict.mode, PFS_LOCK_EXCLUSIVE);
	assert_int_equal(pfs_store_lock(c->s, id, &want, NULL), -EAGAIN);
	assert_int_equal(lock(c->s, id, 2, 10, TO_END, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(c->s, id, 1, 0, 9, PFS_LOCK_SHARED), 0);
	assert_int_equal(pfs_store_lock(c->s, id, &want, &conflict), 0);
	assert_int_equal(lock(c->s, id, 1, 0, 9, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	assert_int_equal(lock(c->s, id, 2, 0, TO_END, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(c->s, id, 1, 0, TO_END, PFS_LOCK_EXCLUSIVE), 0);
}

static void an_owner_s_new_lock_replaces_its_old_one_in_that_range(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", ""), i;

	assert_int_equal(lock(c->s, id, 1, 0, 99, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(c->s, id, 1, 40, 59, PFS_LOCK_NONE), 0);
	for (i = 0; i < 100; i++)
		assert_int_equal(is_free(c, id, i, PFS_LOCK_SHARED), i >= 40 && i < 60);
	assert_int_equal(lock(c->s, id, 1, 20, 79, PFS_LOCK_SHARED), 0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(is_free(c, id, i, PFS_LOCK_SHARED), i >= 20 && i < 80);
		assert_false(is_free(c, id, i, PFS_LOCK_EXCLUSIVE));
	}
	assert_int_equal(lock(c->s, id, 1, 50, TO_END, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(c->s, id, 1, 0, 9, PFS_LOCK_NONE), 0);
	for (i = 0; i < 110; i++)
		assert_int_equal(is_free(c, id, i, PFS_LOCK_EXCLUSIVE), i < 10 || i >= 50);
	assert_int_equal(lock(c->s, id, 1, 0, TO_END, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(c->s, id, 2, 0, TO_END, PFS_LOCK_EXCLUSIVE), 0);
}

static void a_lock_to_the_end_covers_everything_that_comes(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");

	assert_int_equal(lock(c->s, id, 1, 100, TO_END, PFS_LOCK_EXCLUSIVE), 0);
	assert_true(is_free(c, id, 99, PFS_LOCK_EXCLUSIVE));
	assert_false(is_free(c, id, 100, PFS_LOCK_EXCLUSIVE));
	assert_false(is_free(c, id, INT64_MAX, PFS_LOCK_EXCLUSIVE));
	assert_int_equal(lock(c->s, id, 1, 200, TO_END, PFS_LOCK_NONE), 0);
	assert_true(is_free(c, id, 200, PFS_LOCK_EXCLUSIVE));
	assert_true(is_free(c, id, INT64_MAX, PFS_LOCK_EXCLUSIVE));
	assert_false(is_free(c, id, 199, PFS_LOCK_EXCLUSIVE));
}

static void locks_of_different_objects_do_not_meet(void **state)
{
	struct contract *c = *state;
	uint64_t a = c_file(c, c->root, "a", ""), b = c_dir(c, c->root, "b");

	assert_int_equal(lock(c->s, a, 1, 0, TO_END, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(c->s, b, 2, 0, TO_END, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(c->s, a, 1, 5, 4, PFS_LOCK_EXCLUSIVE), -EINVAL);
}

#define CELLS 40

/* What each owner has at each byte, 0..CELLS-1, as an array would keep it. */
static void random_locks_match_an_array(void **state)
{
	struct contract *c = *state;
	uint64_t seed = c_seed("locks", 99), id = c_file(c, c->root, "f", "");
	unsigned char have[3][CELLS] = {{0}};
	int i;

	for (i = 0; i < 600; i++) {
		uint64_t owner = c_below(&seed, 3), at = c_below(&seed, CELLS), k, o;
		uint64_t end = at + c_below(&seed, CELLS - at);
		enum pfs_lock_mode mode = (enum pfs_lock_mode)c_below(&seed, 3);
		int want = 0;

		for (o = 0; o < 3; o++) {
			for (k = at; k <= end && o != owner && mode; k++) {
				if (have[o][k] && (mode == PFS_LOCK_EXCLUSIVE ||
						   have[o][k] == PFS_LOCK_EXCLUSIVE))
					want = -EAGAIN;
			}
		}
		assert_int_equal(lock(c->s, id, owner, at, end, mode), want);
		for (k = at; k <= end && !want; k++)
			have[owner][k] = (unsigned char)mode;
	}
}

static void waiting_for_a_lock_gives_up_in_time(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	struct pfs_lock want = {2, 0, 10, PFS_LOCK_EXCLUSIVE}, conflict;
	int64_t start = pfs_monotonic_ns();

	assert_int_equal(lock(c->s, id, 1, 0, 0, PFS_LOCK_SHARED), 0);
	assert_int_equal(pfs_store_lock_wait(c->s, id, &want, &conflict, 50000000), -EAGAIN);
	assert_true(pfs_monotonic_ns() - start >= 50000000);
	assert_int_equal(conflict.mode, PFS_LOCK_SHARED);
	assert_int_equal(lock(c->s, id, 1, 0, 0, PFS_LOCK_NONE), 0);
	assert_int_equal(pfs_store_lock_wait(c->s, id, &want, &conflict, 0), 0);
}

struct counting {
	struct contract *c;
	uint64_t id;
};

/* Read, add one, write, under the lock. */
static const char *count_up(void *arg, unsigned i)
{
	struct counting *t = arg;
	struct pfs_lock take = {100 + i, 0, TO_END, PFS_LOCK_EXCLUSIVE}, conflict;
	int round;

	for (round = 0; round < 20; round++) {
		struct pfs_lock drop = take;
		struct pfs_mutation m;
		uint32_t value = 0;
		struct pfs_seg seg = {0, &value, sizeof(value)};

		if (pfs_store_lock_wait(t->c->s, t->id, &take, &conflict, 30 * NSEC_PER_SEC))
			return "the lock did not come";
		if (pfs_store_read(t->c->s, t->id, 0, &value, sizeof(value)) < 0)
			return "cannot read";
		value++;
		m = m_content(PFS_OP_WRITE, t->id, &seg, 1);
		if (s_batch(t->c->s, &m, 1, NULL))
			return "cannot write";
		drop.mode = PFS_LOCK_NONE;
		if (pfs_store_lock(t->c->s, t->id, &drop, NULL))
			return "cannot unlock";
	}
	return NULL;
}

static void a_lock_makes_read_and_write_one_step(void **state)
{
	struct contract *c = *state;
	struct counting t = {c, c_file(c, c->root, "f", "")};
	uint32_t value = 0;

	c_threads(4, count_up, &t);
	assert_int_equal(pfs_store_read(c->s, t.id, 0, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 80);
}

static void locks_hold_between_sessions_and_die_with_theirs(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	struct pfs_backend *other = c_backend(c, NULL, NULL);
	struct pfs_lock conflict;
	struct pfs_lock want = {1, 0, 10, PFS_LOCK_EXCLUSIVE};
	struct pfs_store *s;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	assert_int_equal(lock(s, id, 1, 0, 5, PFS_LOCK_EXCLUSIVE), 0);
	/* The same owner number in another session is another owner. */
	assert_int_equal(pfs_store_lock(c->s, id, &want, &conflict), -EAGAIN);
	assert_int_equal(conflict.start, 0);
	assert_int_equal(conflict.end, 5);
	assert_int_equal(lock(c->s, id, 1, 6, 10, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(s, id, 1, 6, 10, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(s, id, 7, 6, 6, PFS_LOCK_SHARED), -EAGAIN);
	pfs_store_free(s);
	pfs_backend_free(other);
	assert_int_equal(pfs_store_lock(c->s, id, &want, &conflict), 0);
}

const struct contract_case contract_lock_cases[] = {
	CASE_NEEDS(exclusive_excludes_and_shared_shares, PFS_CAP_LOCKS),
	CASE_NEEDS(an_owner_s_new_lock_replaces_its_old_one_in_that_range, PFS_CAP_LOCKS),
	CASE_NEEDS(a_lock_to_the_end_covers_everything_that_comes, PFS_CAP_LOCKS),
	CASE_NEEDS(locks_of_different_objects_do_not_meet, PFS_CAP_LOCKS),
	CASE_NEEDS(random_locks_match_an_array, PFS_CAP_LOCKS),
	CASE_NEEDS(waiting_for_a_lock_gives_up_in_time, PFS_CAP_LOCKS),
	CASE_NEEDS(a_lock_makes_read_and_write_one_step, PFS_CAP_LOCKS),
	CASE_NEEDS(locks_hold_between_sessions_and_die_with_theirs, PFS_CAP_LOCKS | NEEDS_SHARED),
	{NULL},
};
