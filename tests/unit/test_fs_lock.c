/*
 * Tests of fs/lock.c and fs/locker.c: owners of the mount among themselves, and another mount, which
 * here is another owner of the engine's locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/lib_fs.h"

#define ELSEWHERE 77

struct waiter {
	struct pfs_lock_call call;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	int err;
};

static void waiter_done(struct pfs_lock_call *call, int err)
{
	struct waiter *w = pfs_container_of(call, struct waiter, call);

	pthread_mutex_lock(&w->lock);
	w->done = true;
	w->err = err;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static void begin(struct waiter *w, struct pfs_file *f, uint64_t owner, uint64_t start,
		  uint64_t end, enum pfs_lock_mode mode, bool wait)
{
	*w = (struct waiter){
		.call = {.file = f, .pid = (uint32_t)owner, .wait = wait, .done = waiter_done}};
	w->call.lock = (struct pfs_lock){owner, start, end, mode};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
}

static int finish(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return w->err;
}

/* Ask; what has to wait is waited for. */
static int ask(struct test_fs *t, struct waiter *w)
{
	int ret = pfs_fs_lock(t->fs, &w->call);

	if (ret <= 0)
		return ret;
	pfs_fs_lock_wait(t->fs, &w->call);
	return finish(w);
}

static int lock(struct test_fs *t, struct pfs_file *f, uint64_t owner, uint64_t start, uint64_t end,
		enum pfs_lock_mode mode)
{
	struct waiter w;

	begin(&w, f, owner, start, end, mode, false);
	return ask(t, &w);
}

static struct pfs_file *file(struct test_fs *t)
{
	test_put(t, "f", "value");
	return test_open(t, test_lookup(t, t->root, "f"), O_RDWR);
}

static uint64_t file_id(struct test_fs *t)
{
	struct pfs_attr attr;
	uint64_t root;

	assert_int_equal(pfs_store_root(t->side, &root), 0);
	assert_int_equal(pfs_store_lookup(t->side, root, PFS_BYTES("f"), &attr), 0);
	return attr.id;
}

static int elsewhere(struct test_fs *t, uint64_t start, uint64_t end, enum pfs_lock_mode mode)
{
	struct pfs_lock l = {ELSEWHERE, start, end, mode};

	return pfs_store_lock(t->side, file_id(t), &l, NULL);
}

/* The engine says that somebody was refused. */
static void somebody_asked(struct test_fs *t)
{
	struct pfs_event ev = {.type = PFS_EVENT_LOCK, .id = file_id(t)};

	pfs_backend_notify(t->backends[0], &ev, 1);
}

static int elsewhere_wait(struct test_fs *t, uint64_t start, uint64_t end, enum pfs_lock_mode mode)
{
	struct pfs_lock l = {ELSEWHERE, start, end, mode};

	return pfs_store_lock_wait(t->side, file_id(t), &l, NULL, 5 * NSEC_PER_SEC);
}

static void owners_of_one_mount_exclude_each_other(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);

	(void)state;
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 2, 5, 5, PFS_LOCK_SHARED), -EAGAIN);
	assert_int_equal(lock(t, f, 2, 10, 19, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_SHARED), 0);
	assert_int_equal(lock(t, f, 2, 0, 9, PFS_LOCK_SHARED), 0);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	assert_int_equal(lock(t, f, 2, 0, PFS_LOCK_POSIX_END, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 2, PFS_LOCK_FLOCK_AT, PFS_LOCK_FLOCK_AT, PFS_LOCK_EXCLUSIVE),
			 0);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void a_waiter_gets_it_from_the_one_who_unlocks(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);
	struct waiter w;

	(void)state;
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	begin(&w, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(pfs_fs_lock(t->fs, &w.call), 1);
	pfs_fs_lock_wait(t->fs, &w.call);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_NONE), 0);
	assert_int_equal(finish(&w), 0);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_SHARED), -EAGAIN);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void a_waiter_that_is_cancelled_is_interrupted(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);
	struct waiter w;

	(void)state;
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	begin(&w, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(pfs_fs_lock(t->fs, &w.call), 1);
	pfs_fs_lock_cancel(t->fs, &w.call);
	pfs_fs_lock_wait(t->fs, &w.call);
	assert_int_equal(finish(&w), -EINTR);
	begin(&w, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(pfs_fs_lock(t->fs, &w.call), 1);
	pfs_fs_lock_wait(t->fs, &w.call);
	pfs_fs_lock_stop(t->fs);
	assert_int_equal(finish(&w), -EINTR);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void waiting_in_a_circle_is_edeadlk(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);
	struct waiter a, b;

	(void)state;
	assert_int_equal(lock(t, f, 1, 0, 0, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 2, 1, 1, PFS_LOCK_EXCLUSIVE), 0);
	begin(&a, f, 1, 1, 1, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(pfs_fs_lock(t->fs, &a.call), 1);
	pfs_fs_lock_wait(t->fs, &a.call);
	begin(&b, f, 2, 0, 0, PFS_LOCK_EXCLUSIVE, true);
	/* The thread may just be looking at the file: then the call is parked, and looked at there. */
	assert_int_equal(ask(t, &b), -EDEADLK);
	assert_int_equal(lock(t, f, 2, 1, 1, PFS_LOCK_NONE), 0);
	assert_int_equal(finish(&a), 0);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void a_lease_is_given_back_for_what_is_really_locked(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);

	(void)state;
	assert_int_equal(lock(t, f, 1, 10, 19, PFS_LOCK_EXCLUSIVE), 0);
	/* The first lock took the whole file, also where nobody has locked anything. */
	assert_int_equal(elsewhere(t, 50, 50, PFS_LOCK_SHARED), -EAGAIN);
	somebody_asked(t);
	assert_int_equal(elsewhere_wait(t, 20, UINT64_MAX - 1, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(elsewhere_wait(t, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(elsewhere(t, 10, 10, PFS_LOCK_SHARED), -EAGAIN);
	/* Now only what is asked for is locked, and only while it is. */
	assert_int_equal(lock(t, f, 1, 10, 19, PFS_LOCK_NONE), 0);
	assert_int_equal(elsewhere(t, 10, 19, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 1, 15, 15, PFS_LOCK_SHARED), -EAGAIN);
	assert_int_equal(elsewhere(t, 0, UINT64_MAX, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(t, f, 1, 15, 15, PFS_LOCK_SHARED), 0);
	assert_int_equal(elsewhere(t, 15, 15, PFS_LOCK_SHARED), 0);
	assert_int_equal(elsewhere(t, 15, 15, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void what_was_written_is_committed_before_others_get_the_lock(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);

	(void)state;
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	test_write(t, f, "V", 0);
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_NONE), 0);
	test_expect_stored(t, "f", "value");
	somebody_asked(t);
	assert_int_equal(elsewhere_wait(t, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	test_expect_stored(t, "f", "Value");
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void a_lock_waits_for_another_mount(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);
	struct waiter w;

	(void)state;
	assert_int_equal(elsewhere(t, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_int_equal(lock(t, f, 1, 5, 5, PFS_LOCK_SHARED), -EAGAIN);
	begin(&w, f, 1, 5, 5, PFS_LOCK_SHARED, false);
	w.call.test = true;
	assert_int_equal(ask(t, &w), 0);
	assert_int_equal(w.call.lock.mode, PFS_LOCK_EXCLUSIVE);
	assert_int_equal(w.call.lock.end, 9);
	assert_int_equal(w.call.pid, 0);
	begin(&w, f, 1, 5, 5, PFS_LOCK_SHARED, true);
	assert_int_equal(pfs_fs_lock(t->fs, &w.call), 1);
	pfs_fs_lock_wait(t->fs, &w.call);
	assert_int_equal(elsewhere(t, 0, 9, PFS_LOCK_NONE), 0);
	assert_int_equal(finish(&w), 0);
	assert_int_equal(elsewhere(t, 5, 5, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void the_end_of_an_open_file_drops_its_locks(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t), *other = file(t);
	struct waiter w;

	(void)state;
	assert_int_equal(lock(t, f, 1, PFS_LOCK_FLOCK_AT, PFS_LOCK_FLOCK_AT, PFS_LOCK_EXCLUSIVE),
			 0);
	assert_int_equal(lock(t, f, 5, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	pfs_fs_release(t->fs, f);
	begin(&w, other, 2, PFS_LOCK_FLOCK_AT, PFS_LOCK_FLOCK_AT, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(ask(t, &w), 0);
	begin(&w, other, 6, 0, 9, PFS_LOCK_EXCLUSIVE, true);
	assert_int_equal(ask(t, &w), 0);
	pfs_fs_release(t->fs, other);
	test_fs_free(t);
}

/* A call whose answer keeps the thread of fs/ until it is let go. */
struct gate {
	struct waiter w;
	pthread_mutex_t shut;
};

static void gate_done(struct pfs_lock_call *call, int err)
{
	struct gate *g = pfs_container_of(call, struct gate, w.call);

	waiter_done(call, err);
	pthread_mutex_lock(&g->shut);
	pthread_mutex_unlock(&g->shut);
}

static void gate_close(struct test_fs *t, struct gate *g, struct pfs_file *f)
{
	pthread_mutex_init(&g->shut, NULL);
	pthread_mutex_lock(&g->shut);
	begin(&g->w, f, 3, 0, 9, PFS_LOCK_EXCLUSIVE, true);
	g->w.call.done = gate_done;
	assert_int_equal(pfs_fs_lock(t->fs, &g->w.call), 1);
	pfs_fs_lock_cancel(t->fs, &g->w.call);
	pfs_fs_lock_wait(t->fs, &g->w.call);
	assert_int_equal(finish(&g->w), -EINTR);
}

/* The next file that is opened often lies where the one was that has just ended. */
static void the_end_of_a_file_leaves_the_locks_of_the_next_one(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t), *old, *fresh;
	struct pfs_node *node = test_lookup(t, t->root, "f");
	struct gate g;

	(void)state;
	old = test_open(t, node, O_RDWR);
	/* No lease: what was locked is dropped by the thread, not at once. */
	assert_int_equal(elsewhere(t, 50, 50, PFS_LOCK_SHARED), 0);
	assert_int_equal(lock(t, old, 1, 0, 9, PFS_LOCK_SHARED), 0);
	assert_int_equal(lock(t, f, 2, 0, 9, PFS_LOCK_SHARED), 0);
	gate_close(t, &g, f);
	pfs_fs_release(t->fs, old);
	fresh = test_open(t, node, O_RDWR);
	assert_int_equal(lock(t, fresh, 4, 0, 9, PFS_LOCK_SHARED), 0);
	pthread_mutex_unlock(&g.shut);
	assert_int_equal(lock(t, f, 2, 0, 9, PFS_LOCK_NONE), 0);
	assert_int_equal(lock(t, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	pfs_fs_release(t->fs, fresh);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

/* A close does not wait for its unlock, which without a lease is the thread's: that may be busy. */
static void what_a_closed_file_had_is_in_nobodys_way(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t), *old;
	struct waiter tried, told;
	struct gate g;

	(void)state;
	old = test_open(t, test_lookup(t, t->root, "f"), O_RDWR);
	assert_int_equal(elsewhere(t, 50, 50, PFS_LOCK_SHARED), 0);
	assert_int_equal(lock(t, old, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	gate_close(t, &g, f);
	pfs_fs_release(t->fs, old);
	begin(&told, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE, false);
	told.call.test = true;
	assert_int_equal(pfs_fs_lock(t->fs, &told.call), 1);
	pfs_fs_lock_wait(t->fs, &told.call);
	begin(&tried, f, 2, 0, 9, PFS_LOCK_EXCLUSIVE, false);
	assert_int_equal(pfs_fs_lock(t->fs, &tried.call), 1);
	pfs_fs_lock_wait(t->fs, &tried.call);
	pthread_mutex_unlock(&g.shut);
	assert_int_equal(finish(&told), 0);
	assert_int_equal(told.call.lock.mode, PFS_LOCK_NONE);
	assert_int_equal(finish(&tried), 0);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static const struct pfs_backend_ops *real_ops;
static bool told_dead;

static int dead_once(struct pfs_backend *b)
{
	if (told_dead)
		return real_ops->heartbeat ? real_ops->heartbeat(b) : 0;
	told_dead = true;
	return -ESTALE;
}

/* As after the machine slept: the session ended, but nothing was locked. */
static void a_session_that_was_dead_without_locks_can_lock(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t);
	static struct pfs_backend_ops ops;

	(void)state;
	real_ops = t->backends[0]->ops;
	ops = *real_ops;
	ops.heartbeat = dead_once;
	t->backends[0]->ops = &ops;
	assert_int_equal(lock(t, f, 1, 0, 9, PFS_LOCK_EXCLUSIVE), 0);
	assert_true(told_dead);
	assert_int_equal(elsewhere(t, 0, 9, PFS_LOCK_EXCLUSIVE), -EAGAIN);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

static void closes_are_heard_once_a_file_was_locked(void **state)
{
	struct test_fs *t = test_fs_new(PFS_WRITE_THROUGH, NULL);
	struct pfs_file *f = file(t), *reader;
	struct pfs_node *node = test_lookup(t, t->root, "f");
	struct pfs_open_hints hints;

	(void)state;
	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, O_RDONLY, &reader, &hints), 0);
	assert_true(hints.noflush);
	pfs_fs_release(t->fs, reader);
	assert_int_equal(lock(t, f, 1, PFS_LOCK_FLOCK_AT, PFS_LOCK_FLOCK_AT, PFS_LOCK_SHARED), 0);
	assert_false(pfs_fs_has_posix_locks(f));
	assert_int_equal(lock(t, f, 1, 0, 0, PFS_LOCK_SHARED), 0);
	assert_true(pfs_fs_has_posix_locks(f));
	assert_int_equal(pfs_fs_open(t->fs, &t->ctx, node, O_RDONLY, &reader, &hints), 0);
	assert_false(hints.noflush);
	pfs_fs_release(t->fs, reader);
	pfs_fs_release(t->fs, f);
	test_fs_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owners_of_one_mount_exclude_each_other),
		cmocka_unit_test(a_waiter_gets_it_from_the_one_who_unlocks),
		cmocka_unit_test(a_waiter_that_is_cancelled_is_interrupted),
		cmocka_unit_test(waiting_in_a_circle_is_edeadlk),
		cmocka_unit_test(a_lease_is_given_back_for_what_is_really_locked),
		cmocka_unit_test(what_was_written_is_committed_before_others_get_the_lock),
		cmocka_unit_test(a_lock_waits_for_another_mount),
		cmocka_unit_test(the_end_of_an_open_file_drops_its_locks),
		cmocka_unit_test(the_end_of_a_file_leaves_the_locks_of_the_next_one),
		cmocka_unit_test(what_a_closed_file_had_is_in_nobodys_way),
		cmocka_unit_test(a_session_that_was_dead_without_locks_can_lock),
		cmocka_unit_test(closes_are_heard_once_a_file_was_locked),
	};

	return cmocka_run_group_tests_name("fs locks", tests, NULL, NULL);
}
