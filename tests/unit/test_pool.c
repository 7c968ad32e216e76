/*
 * The connection pool over connections that are only counted: limits and deadlines, what a broken
 * connection takes with it, and an engine that goes away and comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "backends/pool.h"

#define MSEC 1000000LL

/* ---- an engine ------------------------------------------------------------------------------ */

struct fake {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int fail;    /* what open() says */
	bool gate;   /* open() waits while this is set */
	int opening; /* threads inside open() */
	int opening_max;
	int opens, closes, tries;
};

static struct fake fake;
static struct pfs_pool pool;

static int fake_open(void *arg, void **out)
{
	struct fake *f = arg;
	int err;

	pthread_mutex_lock(&f->lock);
	f->tries++;
	if (++f->opening > f->opening_max)
		f->opening_max = f->opening;
	pthread_cond_broadcast(&f->changed);
	while (f->gate)
		pthread_cond_wait(&f->changed, &f->lock);
	f->opening--;
	err = f->fail;
	if (!err) {
		f->opens++;
		*out = malloc(1);
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

static void fake_close(void *arg, void *conn)
{
	struct fake *f = arg;

	free(conn);
	pthread_mutex_lock(&f->lock);
	f->closes++;
	pthread_mutex_unlock(&f->lock);
}

static const struct pfs_pool_ops fake_ops = {.open = fake_open, .close = fake_close};

static void fake_set(int fail, bool gate)
{
	pthread_mutex_lock(&fake.lock);
	fake.fail = fail;
	fake.gate = gate;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

static int fake_tries(void)
{
	int n;

	pthread_mutex_lock(&fake.lock);
	n = fake.tries;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

static void fake_await_opening(void)
{
	pthread_mutex_lock(&fake.lock);
	while (fake.opening == 0)
		pthread_cond_wait(&fake.changed, &fake.lock);
	pthread_mutex_unlock(&fake.lock);
}

static void begin(unsigned size, unsigned overflow, int64_t grace)
{
	fake = (struct fake){.lock = PTHREAD_MUTEX_INITIALIZER,
			     .changed = PTHREAD_COND_INITIALIZER};
	assert_int_equal(pfs_pool_init(&pool, &fake_ops, &fake, size, overflow, grace), 0);
}

static void end(void)
{
	pfs_pool_release(&pool);
	assert_int_equal(fake.opens, fake.closes);
}

static int64_t in(int64_t ns)
{
	return pfs_monotonic_ns() + ns;
}

static void *get(int64_t wait)
{
	void *conn = NULL;

	assert_int_equal(pfs_pool_get(&pool, in(wait), &conn), 0);
	assert_non_null(conn);
	return conn;
}

static int get_error(int64_t wait)
{
	void *conn = NULL;

	return pfs_pool_get(&pool, in(wait), &conn);
}

static struct pfs_connections counts(void)
{
	struct pfs_connections c = {0};

	pfs_pool_counts(&pool, &c);
	return c;
}

/* A caller on a thread of its own. It gives back what it gets. */
struct caller {
	pthread_t thread;
	int64_t deadline;
	int err;
};

static void *caller_main(void *arg)
{
	struct caller *c = arg;
	void *conn = NULL;

	c->err = pfs_pool_get(&pool, c->deadline, &conn);
	pfs_pool_put(&pool, conn, false);
	return NULL;
}

static void caller_start(struct caller *c, int64_t wait)
{
	c->deadline = in(wait);
	assert_int_equal(pthread_create(&c->thread, NULL, caller_main, c), 0);
}

static int caller_end(struct caller *c)
{
	pthread_join(c->thread, NULL);
	return c->err;
}

static void await_waiting(unsigned n)
{
	const struct timespec ms = {.tv_nsec = MSEC};
	unsigned now;

	do {
		pthread_mutex_lock(&pool.lock);
		now = pool.nwaiting;
		pthread_mutex_unlock(&pool.lock);
		if (now != n)
			nanosleep(&ms, NULL);
	} while (now != n);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void what_is_beyond_size_and_not_needed_is_closed(void **state)
{
	void *conns[5], *two[2];
	int i;

	(void)state;
	begin(2, 3, NSEC_PER_SEC);
	assert_int_equal(counts().open, 0);
	for (i = 0; i < 5; i++)
		conns[i] = get(-1);
	assert_int_equal(counts().open, 5);
	assert_int_equal(counts().busy, 5);
	assert_int_equal(counts().limit, 5);
	pool.low_since = pfs_monotonic_ns(); /* the last look: nothing is idle */
	for (i = 0; i < 5; i++)
		pfs_pool_put(&pool, conns[i], false);
	assert_int_equal(counts().open, 5);
	assert_int_equal(counts().busy, 0);
	pool.low_since = 1; /* long ago */
	pfs_pool_probe(&pool);
	assert_int_equal(fake.closes, 0);

	/* Since then four at once were needed: one was not. */
	for (i = 0; i < 4; i++)
		conns[i] = get(-1);
	for (i = 0; i < 4; i++)
		pfs_pool_put(&pool, conns[i], false);
	pool.low_since = 1;
	pfs_pool_probe(&pool);
	assert_int_equal(fake.closes, 1);

	/* Now two. */
	two[0] = get(-1);
	two[1] = get(-1);
	pfs_pool_put(&pool, two[0], false);
	pool.low_since = 1;
	pfs_pool_put(&pool, two[1], false); /* looks too */
	assert_int_equal(fake.closes, 3);
	assert_int_equal(counts().open, 2);
	for (i = 0; i < 100; i++)
		pfs_pool_put(&pool, get(-1), false);
	pool.low_since = 1;
	pfs_pool_probe(&pool);
	assert_int_equal(fake.opens, 5);
	assert_int_equal(fake.closes, 3);
	end();
}

static void who_comes_back_soon_spares_another(void **state)
{
	struct caller caller;
	void *conn;

	(void)state;
	begin(1, 1, NSEC_PER_SEC);
	conn = get(0);
	caller_start(&caller, 60 * NSEC_PER_SEC);
	await_waiting(1);
	pfs_pool_put(&pool, conn, false);
	assert_int_equal(caller_end(&caller), 0);
	assert_in_range(fake.opens, 1, 2); /* 2: this machine was slow */

	/* One that does not come back does not keep anybody waiting for long. */
	conn = get(0);
	pfs_pool_put(&pool, get(60 * NSEC_PER_SEC), false);
	assert_int_equal(fake.opens, 2);
	pfs_pool_put(&pool, conn, false);
	end();
}

static void a_full_pool_is_ebusy_at_the_deadline(void **state)
{
	int64_t start;
	void *a, *b;

	(void)state;
	begin(1, 1, NSEC_PER_SEC);
	a = get(0);
	b = get(0);
	start = pfs_monotonic_ns();
	assert_int_equal(get_error(50 * MSEC), -EBUSY);
	assert_true(pfs_monotonic_ns() - start >= 50 * MSEC);
	assert_int_equal(get_error(-1), -EBUSY);
	assert_false(pfs_pool_down(&pool));
	pfs_pool_put(&pool, a, false);
	pfs_pool_put(&pool, b, false);
	end();
}

static void who_waits_gets_what_comes_free(void **state)
{
	struct caller callers[4];
	void *conn;
	int i;

	(void)state;
	begin(1, 0, NSEC_PER_SEC);
	conn = get(0);
	for (i = 0; i < 4; i++)
		caller_start(&callers[i], 60 * NSEC_PER_SEC);
	await_waiting(4);
	pfs_pool_put(&pool, conn, false);
	for (i = 0; i < 4; i++)
		assert_int_equal(caller_end(&callers[i]), 0);
	assert_int_equal(fake.opens, 1);
	assert_int_equal(counts().waits, 4);
	end();
}

static void sizes_out_of_range_are_einval(void **state)
{
	struct pfs_pool p;

	(void)state;
	assert_int_equal(pfs_pool_init(&p, &fake_ops, NULL, 0, 1, 0), -EINVAL);
	assert_int_equal(pfs_pool_init(&p, &fake_ops, NULL, PFS_POOL_MAX, 1, 0), -EINVAL);
	assert_int_equal(pfs_pool_init(&p, &fake_ops, NULL, 1, -1, 0), -EINVAL);
	pfs_pool_release(&p);
}

/* ---- broken connections --------------------------------------------------------------------- */

static void a_broken_one_takes_those_of_its_time_along(void **state)
{
	void *idle, *busy, *broken, *fresh;

	(void)state;
	begin(4, 0, NSEC_PER_SEC);
	idle = get(0);
	busy = get(0);
	broken = get(0);
	pfs_pool_put(&pool, idle, false);
	pfs_pool_put(&pool, broken, true);
	assert_int_equal(fake.closes, 2);
	assert_true(pfs_pool_down(&pool));

	fresh = get(0);
	assert_false(pfs_pool_down(&pool));
	pfs_pool_put(&pool, fresh, false);
	pfs_pool_put(&pool, busy, false);
	assert_int_equal(fake.closes, 3);
	assert_int_equal(counts().open, 1);
	assert_ptr_equal(get(0), fresh);
	pfs_pool_put(&pool, fresh, false);
	end();
}

static void a_second_victim_of_one_loss_takes_nothing_along(void **state)
{
	void *a, *b, *fresh;

	(void)state;
	begin(4, 0, NSEC_PER_SEC);
	a = get(0);
	b = get(0);
	pfs_pool_put(&pool, a, true);
	fresh = get(0);
	pfs_pool_put(&pool, fresh, false);
	pfs_pool_put(&pool, b, true);
	assert_false(pfs_pool_down(&pool));
	assert_ptr_equal(get(0), fresh);
	pfs_pool_put(&pool, fresh, false);
	end();
}

static void drain_closes_busy_ones_when_they_come_back(void **state)
{
	void *a, *b;

	(void)state;
	begin(4, 0, NSEC_PER_SEC);
	a = get(0);
	b = get(0);
	pfs_pool_put(&pool, a, false);
	pfs_pool_drain(&pool);
	assert_int_equal(fake.closes, 1);
	assert_false(pfs_pool_down(&pool));
	pfs_pool_put(&pool, b, false);
	assert_int_equal(fake.closes, 2);
	end();
}

/* ---- an engine that is away ----------------------------------------------------------------- */

static void callers_wait_for_an_engine_that_comes_back(void **state)
{
	struct caller callers[8];
	void *conn;
	int i;

	(void)state;
	begin(4, 4, 60 * NSEC_PER_SEC);
	conn = get(0);
	fake_set(-EHOSTDOWN, false);
	pfs_pool_put(&pool, conn, true);
	for (i = 0; i < 8; i++)
		caller_start(&callers[i], 60 * NSEC_PER_SEC);
	while (fake_tries() < 4)
		;
	assert_true(pfs_pool_down(&pool));
	fake_set(0, false);
	for (i = 0; i < 8; i++)
		assert_int_equal(caller_end(&callers[i]), 0);
	assert_false(pfs_pool_down(&pool));
	end();
}

static void one_at_a_time_tries(void **state)
{
	struct caller callers[6];
	void *conn;
	int i;

	(void)state;
	begin(8, 0, 60 * NSEC_PER_SEC);
	conn = get(0);
	fake_set(-EHOSTDOWN, true);
	pfs_pool_put(&pool, conn, true);
	fake.opening_max = 0;
	for (i = 0; i < 6; i++)
		caller_start(&callers[i], 60 * NSEC_PER_SEC);
	fake_await_opening();
	await_waiting(5);
	pfs_pool_probe(&pool); /* somebody tries already: returns */
	assert_int_equal(fake_tries(), 2);
	fake_set(-EHOSTDOWN, false);
	while (fake_tries() < 5)
		;
	assert_int_equal(fake.opening_max, 1);
	fake_set(0, false);
	for (i = 0; i < 6; i++)
		assert_int_equal(caller_end(&callers[i]), 0);
	end();
}

static void after_the_grace_nobody_waits_and_only_the_probe_tries(void **state)
{
	const struct timespec second = {.tv_sec = 1};
	int64_t start = pfs_monotonic_ns();
	int tries;

	(void)state;
	begin(2, 0, 100 * MSEC);
	fake_set(-EHOSTDOWN, false);
	assert_int_equal(get_error(60 * NSEC_PER_SEC), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - start >= 100 * MSEC);
	tries = fake_tries();
	assert_in_range(tries, 2, 8);
	fake_set(0, false);
	assert_int_equal(get_error(60 * NSEC_PER_SEC), -EHOSTDOWN);
	assert_int_equal(fake_tries(), tries);

	pfs_pool_probe(&pool);
	if (pfs_pool_down(&pool)) { /* not due yet: it is within the longest delay and a quarter */
		nanosleep(&second, NULL);
		nanosleep(&second, NULL);
		pfs_pool_probe(&pool);
	}
	assert_false(pfs_pool_down(&pool));
	assert_int_equal(fake_tries(), tries + 1);
	pfs_pool_put(&pool, get(0), false);
	assert_int_equal(fake.opens, 1);
	end();
}

static void the_deadline_counts_before_the_grace(void **state)
{
	int64_t start;

	(void)state;
	begin(2, 0, 3600 * NSEC_PER_SEC);
	fake_set(-EHOSTDOWN, false);
	assert_int_equal(get_error(-1), -EHOSTDOWN);
	assert_int_equal(fake_tries(), 1);
	start = pfs_monotonic_ns();
	assert_int_equal(get_error(60 * MSEC), -EHOSTDOWN);
	assert_true(pfs_monotonic_ns() - start >= 60 * MSEC);
	end();
}

static void the_delay_grows_to_a_second(void **state)
{
	int64_t last = 0, delay;
	int i;

	(void)state;
	begin(1, 0, 0);
	fake_set(-EHOSTDOWN, false);
	for (i = 0; i < 10; i++) {
		pool.retry_at = pool.retry_at ? 1 : 0; /* due */
		assert_int_equal(get_error(60 * NSEC_PER_SEC), -EHOSTDOWN);
		assert_int_equal(fake_tries(), i + 1);
		delay = pool.retry_at - pfs_monotonic_ns();
		assert_true(delay <= NSEC_PER_SEC + NSEC_PER_SEC / 4);
		assert_true(pool.delay >= last);
		last = pool.delay;
	}
	assert_int_equal(last, NSEC_PER_SEC);
	assert_int_equal(get_error(60 * NSEC_PER_SEC), -EHOSTDOWN);
	assert_int_equal(fake_tries(), 10);
	fake_set(0, false);
	pool.retry_at = 1;
	pfs_pool_put(&pool, get(0), false);
	assert_int_equal(pool.delay, 0);
	end();
}

static void another_error_is_said_as_it_is(void **state)
{
	void *conn;

	(void)state;
	begin(2, 0, 60 * NSEC_PER_SEC);
	fake_set(-EACCES, false);
	assert_int_equal(get_error(60 * NSEC_PER_SEC), -EACCES);
	assert_true(pfs_pool_down(&pool));
	pool.retry_at = in(3600 * NSEC_PER_SEC);
	assert_int_equal(get_error(60 * NSEC_PER_SEC), -EACCES);
	assert_int_equal(fake_tries(), 1);
	pool.retry_at = 1;
	fake_set(0, false);
	conn = get(0);
	assert_false(pfs_pool_down(&pool));
	pfs_pool_put(&pool, conn, false);
	end();
}

static void a_pool_that_cannot_grow_is_not_down(void **state)
{
	struct caller caller;
	void *conn;

	(void)state;
	begin(4, 0, 10 * MSEC);
	conn = get(0);
	fake_set(-EHOSTDOWN, false);
	assert_int_equal(get_error(50 * MSEC), -EBUSY);
	assert_false(pfs_pool_down(&pool));
	caller_start(&caller, 60 * NSEC_PER_SEC);
	await_waiting(1);
	pfs_pool_put(&pool, conn, false);
	assert_int_equal(caller_end(&caller), 0);
	assert_int_equal(fake.opens, 1);
	end();
}

static void a_probe_of_a_sound_pool_opens_nothing(void **state)
{
	(void)state;
	begin(4, 0, NSEC_PER_SEC);
	pfs_pool_probe(&pool);
	assert_int_equal(fake_tries(), 0);
	pfs_pool_put(&pool, get(0), false);
	pfs_pool_probe(&pool);
	assert_int_equal(fake_tries(), 1);
	end();
}

/* ---- all at once ---------------------------------------------------------------------------- */

static void *storm_main(void *arg)
{
	unsigned i, seed = (unsigned)(uintptr_t)arg;
	void *conn;

	for (i = 0; i < 3000; i++) {
		conn = NULL;
		if (pfs_pool_get(&pool, in(60 * NSEC_PER_SEC), &conn) == 0)
			pfs_pool_put(&pool, conn, rand_r(&seed) % 50 == 0);
	}
	return NULL;
}

static void many_threads_and_many_losses_keep_the_counts(void **state)
{
	struct pfs_connections c;
	pthread_t threads[8];
	uintptr_t i;

	(void)state;
	begin(2, 1, 60 * NSEC_PER_SEC);
	for (i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm_main, (void *)(i + 1)), 0);
	for (i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	c = counts();
	assert_int_equal(c.busy, 0);
	assert_true(c.open <= 3);
	assert_true(fake.opening_max <= 3);
	assert_true(c.opened > 100);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_beyond_size_and_not_needed_is_closed),
		cmocka_unit_test(who_comes_back_soon_spares_another),
		cmocka_unit_test(a_full_pool_is_ebusy_at_the_deadline),
		cmocka_unit_test(who_waits_gets_what_comes_free),
		cmocka_unit_test(sizes_out_of_range_are_einval),
		cmocka_unit_test(a_broken_one_takes_those_of_its_time_along),
		cmocka_unit_test(a_second_victim_of_one_loss_takes_nothing_along),
		cmocka_unit_test(drain_closes_busy_ones_when_they_come_back),
		cmocka_unit_test(callers_wait_for_an_engine_that_comes_back),
		cmocka_unit_test(one_at_a_time_tries),
		cmocka_unit_test(after_the_grace_nobody_waits_and_only_the_probe_tries),
		cmocka_unit_test(the_deadline_counts_before_the_grace),
		cmocka_unit_test(the_delay_grows_to_a_second),
		cmocka_unit_test(another_error_is_said_as_it_is),
		cmocka_unit_test(a_pool_that_cannot_grow_is_not_down),
		cmocka_unit_test(a_probe_of_a_sound_pool_opens_nothing),
		cmocka_unit_test(many_threads_and_many_losses_keep_the_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
