/*
 * The contract about several clients at once: threads of one backend, and two backends on the same
 * data where the engine is shared.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 8

/* ---- appending ------------------------------------------------------------------------------ */

#define APPENDS 60

struct appending {
	struct pfs_store *s[2]; /* threads take turns with them */
	uint64_t id;
	uint64_t landed[THREADS][APPENDS];
};

/* A record says who wrote it and how long it is: "<thread>:<round>:<length>:xxxx...\n". */
static size_t record(char *buf, size_t size, unsigned thread, unsigned round)
{
	size_t len = 10 + (thread * 7919u + round * 104729u) % 900;
	int n = snprintf(buf, size, "%u:%u:%zu:", thread, round, len);

	memset(buf + n, 'a' + (int)thread, len);
	buf[(size_t)n + len] = '\n';
	return (size_t)n + len + 1;
}

static const char *append_records(void *arg, unsigned i)
{
	struct appending *t = arg;
	char buf[1024];
	unsigned round;

	for (round = 0; round < APPENDS; round++) {
		size_t len = record(buf, sizeof(buf), i, round);
		struct pfs_seg segs[2] = {{0, buf, len / 2}, {0, buf + len / 2, len - len / 2}};
		struct pfs_mutation m = m_content(PFS_OP_APPEND, t->id, segs, 2);

		if (s_batch(t->s[i % 2], &m, 1, NULL))
			return "an append failed";
		t->landed[i][round] = m.offset;
	}
	return NULL;
}

static void check_appended(struct pfs_store *s, const struct appending *t)
{
	struct pfs_attr attr;
	char want[1024], got[1024];
	uint64_t total = 0;
	unsigned i, round;

	for (i = 0; i < THREADS; i++) {
		for (round = 0; round < APPENDS; round++) {
			size_t len = record(want, sizeof(want), i, round);

			assert_int_equal(pfs_store_read(s, t->id, t->landed[i][round], got, len),
					 len);
			assert_memory_equal(want, got, len);
			total += len;
		}
	}
	/* Every record is where it was said to be, and nothing else is in the file. */
	assert_int_equal(pfs_store_getattr(s, t->id, &attr), 0);
	assert_int_equal(attr.size, total);
}

static void appends_from_many_threads_are_neither_lost_nor_torn(void **state)
{
	struct contract *c = *state;
	struct appending *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->s[0] = t->s[1] = c->s;
	t->id = c_file(c, c->root, "log", "");
	c_threads(THREADS, append_records, t);
	check_appended(c->s, t);
	c_assert_usage_exact(c);
	free(t);
}

static void appends_from_two_sessions_are_neither_lost_nor_torn(void **state)
{
	struct contract *c = *state;
	struct appending *t = calloc(1, sizeof(*t));
	struct pfs_backend *other = c_backend(c, NULL, NULL);

	assert_non_null(t);
	t->s[0] = c->s;
	assert_int_equal(pfs_backend_open(other, "test", false, &t->s[1], NULL), 0);
	t->id = c_file(c, c->root, "log", "");
	c_threads(THREADS, append_records, t);
	check_appended(c->s, t);
	check_appended(t->s[1], t);
	pfs_store_free(t->s[1]);
	pfs_backend_free(other);
	c_assert_usage_exact(c);
	free(t);
}

/* ---- one winner ----------------------------------------------------------------------------- */

struct racing {
	struct pfs_store *s[2];
	uint64_t dir, id[THREADS];
	int err[THREADS];
};

static const char *create_the_same(void *arg, unsigned i)
{
	struct racing *t = arg;
	struct pfs_mutation m = m_create(t->id[i], t->dir, "winner", S_IFREG | 0600);

	t->err[i] = s_batch(t->s[i % 2], &m, 1, NULL);
	return t->err[i] == 0 || t->err[i] == -EEXIST ? NULL : "neither made nor -EEXIST";
}

static void race(struct contract *c, struct pfs_store *s2, int rounds)
{
	struct racing t = {.s = {c->s, s2}, .dir = c->root};
	int round;

	for (round = 0; round < rounds; round++) {
		uint64_t winner = 0;
		unsigned i;

		for (i = 0; i < THREADS; i++)
			t.id[i] = c_id(c);
		c_threads(THREADS, create_the_same, &t);
		for (i = 0; i < THREADS; i++) {
			if (t.err[i] == 0) {
				assert_int_equal(winner, 0);
				winner = t.id[i];
			}
		}
		assert_true(winner != 0);
		assert_int_equal(c_lookup(c, c->root, "winner"), winner);
		c_remove(c, c->root, "winner");
	}
	c_assert_usage_exact(c);
}

static void of_many_creates_of_one_name_one_wins(void **state)
{
	struct contract *c = *state;

	race(c, c->s, 30);
}

static void of_creates_in_two_sessions_one_wins(void **state)
{
	struct contract *c = *state;
	struct pfs_backend *other = c_backend(c, NULL, NULL);
	struct pfs_store *s;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	race(c, s, 15);
	pfs_store_free(s);
	pfs_backend_free(other);
}

/* ---- failing alone -------------------------------------------------------------------------- */

#define BATCHES 40

struct failing {
	struct contract *c;
	uint64_t dir, ids[THREADS][BATCHES][3];
};

/* Every third batch has a mutation that fails, in turn at each of its places. */
static const char *commit_some_that_fail(void *arg, unsigned i)
{
	struct failing *t = arg;
	char names[3][48];
	int round, k;

	for (round = 0; round < BATCHES; round++) {
		bool fails = round % 3 == 0;
		size_t bad = (size_t)(round / 3 % 3), failed = 99;
		struct pfs_mutation m[3];
		int err;

		for (k = 0; k < 3; k++) {
			snprintf(names[k], sizeof(names[k]), "%u-%d-%d", i, round, k);
			m[k] = m_create(t->ids[i][round][k], t->dir, names[k], S_IFREG | 0600);
		}
		if (fails)
			m[bad].name = PFS_BYTES("taken");
		err = s_batch(t->c->s, m, 3, &failed);
		if (fails && (err != -EEXIST || failed != bad))
			return "a batch that must fail did not, or blames another mutation";
		if (!fails && err)
			return "a batch failed with its neighbours";
	}
	return NULL;
}

static void concurrent_batches_fail_alone(void **state)
{
	struct contract *c = *state;
	struct failing *t = calloc(1, sizeof(*t));
	char name[48];
	int i, round, k;

	assert_non_null(t);
	t->c = c;
	t->dir = c_dir(c, c->root, "d");
	c_file(c, t->dir, "taken", "");
	for (i = 0; i < THREADS; i++) {
		for (round = 0; round < BATCHES; round++) {
			for (k = 0; k < 3; k++)
				t->ids[i][round][k] = c_id(c);
		}
	}
	c_threads(THREADS, commit_some_that_fail, t);
	for (i = 0; i < THREADS; i++) {
		for (round = 0; round < BATCHES; round++) {
			for (k = 0; k < 3; k++) {
				snprintf(name, sizeof(name), "%d-%d-%d", i, round, k);
				assert_int_equal(c_lookup(c, t->dir, name),
						 round % 3 ? t->ids[i][round][k] : 0);
			}
		}
	}
	c_assert_usage_exact(c);
	free(t);
}

/* ---- nothing gets lost ---------------------------------------------------------------------- */

#define RING 12

static const char *exchange_names(void *arg, unsigned i)
{
	struct contract *c = arg;
	uint64_t seed = 1000 + i;
	int round;

	for (round = 0; round < 60; round++) {
		char a[16], b[16];
		struct pfs_mutation m;

		snprintf(a, sizeof(a), "r%d", (int)c_below(&seed, RING));
		snprintf(b, sizeof(b), "r%d", (int)c_below(&seed, RING));
		m = m_rename(c->root, a, c->root, b, PFS_F_EXCHANGE);
		if (s_batch(c->s, &m, 1, NULL))
			return "an exchange failed";
	}
	return NULL;
}

static void concurrent_exchanges_lose_no_object(void **state)
{
	struct contract *c = *state;
	uint64_t ids[RING];
	char name[16];
	int i, j;

	for (i = 0; i < RING; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		ids[i] = c_file(c, c->root, name, "");
	}
	c_threads(THREADS, exchange_names, c);
	for (i = 0; i < RING; i++) {
		int found = 0;

		for (j = 0; j < RING; j++) {
			snprintf(name, sizeof(name), "r%d", j);
			found += c_lookup(c, c->root, name) == ids[i];
		}
		assert_int_equal(found, 1);
	}
}

struct versioned {
	struct contract *c;
	uint64_t id;
};

static const char *add_one_if_unchanged(void *arg, unsigned i)
{
	struct versioned *t = arg;
	int done = 0;

	(void)i;
	while (done < 25) {
		uint32_t value = 0;
		struct pfs_seg seg = {0, &value, sizeof(value)};
		struct pfs_mutation m = m_content(PFS_OP_REPLACE, t->id, &seg, 1);
		struct pfs_attr attr;
		int err;

		if (pfs_store_getattr(t->c->s, t->id, &attr))
			return "cannot getattr";
		if (pfs_store_read(t->c->s, t->id, 0, &value, sizeof(value)) < 0)
			return "cannot read";
		value++;
		m.flags = PFS_F_IF_VERSION;
		m.expect_version = attr.version;
		err = s_batch(t->c->s, &m, 1, NULL);
		if (err && err != -EAGAIN)
			return "neither done nor -EAGAIN";
		done += err == 0;
	}
	return NULL;
}

static void a_version_precondition_loses_no_update(void **state)
{
	struct contract *c = *state;
	struct versioned t = {c, c_file(c, c->root, "f", "")};
	uint32_t value = 0;

	c_threads(4, add_one_if_unchanged, &t);
	assert_int_equal(pfs_store_read(c->s, t.id, 0, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 100);
}

#define WHOLE_MAX 200000

/* Thread 0 rewrites the file with one letter; the others never see two. */
static const char *rewrite_and_read(void *arg, unsigned i)
{
	struct versioned *t = arg;
	uint64_t seed = 77 + i;
	char *buf = malloc(WHOLE_MAX);
	const char *wrong = buf ? NULL : "no memory";
	int round;

	for (round = 0; round < 60 && !wrong; round++) {
		ssize_t n, k;

		if (i == 0) {
			struct pfs_seg seg = {0, buf, 1 + c_below(&seed, WHOLE_MAX)};
			struct pfs_mutation m = m_content(PFS_OP_REPLACE, t->id, &seg, 1);

			memset(buf, 'a' + round % 26, seg.len);
			if (s_batch(t->c->s, &m, 1, NULL))
				wrong = "cannot rewrite";
			continue;
		}
		n = pfs_store_read(t->c->s, t->id, 0, buf, WHOLE_MAX);
		if (n < 1)
			wrong = "a rewritten file was empty";
		for (k = 1; k < n && !wrong; k++) {
			if (buf[k] != buf[0])
				wrong = "a read mixed two states";
		}
	}
	free(buf);
	return wrong;
}

static void a_read_comes_from_one_state(void **state)
{
	struct contract *c = *state;
	struct versioned t = {c, c_file(c, c->root, "f", "a")};

	c_threads(4, rewrite_and_read, &t);
}

/* Half of the threads fill a directory, half remove it and make it anew. */
static const char *fill_or_remove(void *arg, unsigned i)
{
	struct contract *c = arg;
	int round;

	for (round = 0; round < 40; round++) {
		struct pfs_attr dir;
		struct pfs_mutation m;
		uint64_t id;
		char name[48];
		int err = s_lookup(c->s, c->root, "contested", &dir);

		if (pfs_store_alloc_ids(c->s, 1, &id))
			return "no id";
		snprintf(name, sizeof(name), "f%u-%d", i, round);
		if (err == -ENOENT)
			m = m_create(id, c->root, "contested", S_IFDIR | 0700);
		else if (i % 2)
			m = m_create(id, dir.id, name, S_IFREG | 0600);
		else
			m = m_remove(c->root, "contested", PFS_F_DIR);
		err = s_batch(c->s, &m, 1, NULL);
		if (err && err != -ENOENT && err != -EEXIST && err != -ENOTEMPTY)
			return "an unexpected error";
		if (!err && i % 2 && round % 2 && m.op == PFS_OP_CREATE && m.dir != c->root) {
			m = m_remove(m.dir, name, 0);
			if (s_batch(c->s, &m, 1, NULL))
				return "what was made could not be removed";
		}
	}
	return NULL;
}

static void no_file_is_made_in_a_directory_that_goes(void **state)
{
	struct contract *c = *state;

	c_threads(4, fill_or_remove, c);
	c_assert_usage_exact(c);
}

/* ---- ids ------------------------------------------------------------------------------------ */

#define ALLOCS 100

struct allocating {
	struct pfs_store *s[2];
	struct {
		uint64_t first, n;
	} got[THREADS * ALLOCS];
};

static const char *allocate(void *arg, unsigned i)
{
	struct allocating *t = arg;
	uint64_t seed = i;
	unsigned k;

	for (k = 0; k < ALLOCS; k++) {
		uint64_t n = 1 + c_below(&seed, k % 10 ? 20 : 3000);

		if (pfs_store_alloc_ids(t->s[i % 2], (unsigned)n, &t->got[i * ALLOCS + k].first))
			return "cannot allocate";
		t->got[i * ALLOCS + k].n = n;
	}
	return NULL;
}

static int by_first(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void check_disjoint(struct allocating *t)
{
	size_t i;

	qsort(t->got, PFS_ARRAY_SIZE(t->got), sizeof(t->got[0]), by_first);
	for (i = 1; i < PFS_ARRAY_SIZE(t->got); i++)
		assert_true(t->got[i - 1].first + t->got[i - 1].n <= t->got[i].first);
}

static void no_id_is_given_twice_to_any_thread(void **state)
{
	struct contract *c = *state;
	struct allocating *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->s[0] = t->s[1] = c->s;
	c_threads(THREADS, allocate, t);
	check_disjoint(t);
	free(t);
}

static void no_id_is_given_twice_to_any_session(void **state)
{
	struct contract *c = *state;
	struct allocating *t = calloc(1, sizeof(*t));
	struct pfs_backend *other = c_backend(c, NULL, NULL);

	assert_non_null(t);
	t->s[0] = c->s;
	assert_int_equal(pfs_backend_open(other, "test", false, &t->s[1], NULL), 0);
	c_threads(THREADS, allocate, t);
	check_disjoint(t);
	pfs_store_free(t->s[1]);
	pfs_backend_free(other);
	free(t);
}

/* ---- two sessions --------------------------------------------------------------------------- */

static void what_one_session_commits_the_other_reads_at_once(void **state)
{
	struct contract *c = *state;
	struct pfs_backend *other = c_backend(c, NULL, NULL);
	struct pfs_store *s;
	struct pfs_seg seg = {0, "other", 5};
	struct pfs_mutation m;
	struct pfs_attr attr;
	uint64_t id, root;
	int i;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	assert_int_equal(pfs_store_root(s, &root), 0);
	assert_int_equal(root, c->root);
	for (i = 0; i < 20; i++) {
		id = c_file(c, c->root, "f", "mine");
		assert_int_equal(s_lookup(s, root, "f", &attr), 0);
		assert_int_equal(attr.id, id);
		s_assert_text(s, id, "mine");
		m = m_content(PFS_OP_REPLACE, id, &seg, 1);
		assert_int_equal(s_batch(s, &m, 1, NULL), 0);
		c_assert_text(c, id, "other");
		m = m_remove(root, "f", 0);
		assert_int_equal(s_batch(s, &m, 1, NULL), 0);
		assert_int_equal(c_lookup(c, c->root, "f"), 0);
		assert_int_equal(pfs_store_getattr(c->s, id, &attr), -ENOENT);
	}
	assert_int_equal(pfs_backend_heartbeat(c->b), 0);
	assert_int_equal(pfs_backend_heartbeat(other), 0);
	pfs_store_free(s);
	pfs_backend_free(other);
	c_assert_usage_exact(c);
}

static void an_object_held_in_one_session_outlives_its_removal_by_another(void **state)
{
	struct contract *c = *state;
	struct pfs_backend *other = c_backend(c, NULL, NULL);
	uint64_t id = c_file(c, c->root, "f", "held");
	struct pfs_mutation m = m_remove(c->root, "f", 0);
	struct pfs_store *s;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	pfs_store_hold(c->s, id);
	assert_int_equal(s_batch(s, &m, 1, NULL), 0);
	assert_int_equal(c_lookup(c, c->root, "f"), 0);
	c_assert_text(c, id, "held");
	assert_int_equal(pfs_backend_maintain(other, "sweep", NULL), 0);
	c_assert_text(c, id, "held");
	pfs_store_free(s);
	pfs_backend_free(other);
	c_assert_text(c, id, "held");
	pfs_store_release_id(c->s, id);
	c_assert_usage_exact(c);
}

/* ---- watching ------------------------------------------------------------------------------- */

struct heard {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t n;
	struct {
		struct pfs_event event;
		char name[64];
	} events[4096];
};

static void hear(void *arg, const struct pfs_event *events, size_t n)
{
	struct heard *h = arg;
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < n && h->n < PFS_ARRAY_SIZE(h->events); i++, h->n++) {
		h->events[h->n].event = events[i];
		snprintf(h->events[h->n].name, sizeof(h->events[h->n].name), "%.*s",
			 (int)events[i].name.len, events[i].name.p ? events[i].name.p : "");
	}
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
}

/* Does event i say that (dir, name), or the object id, has changed in this way or a larger one? */
static bool says(const struct heard *h, size_t i, enum pfs_event_type type, uint64_t id,
		 const char *name)
{
	const struct pfs_event *e = &h->events[i].event;

	if (e->type == PFS_EVENT_ALL)
		return true;
	if (type == PFS_EVENT_ENTRY)
		return e->type == type && e->dir == id && strcmp(h->events[i].name, name) == 0;
	return e->id == id && (e->type == type || e->type == PFS_EVENT_CONTENT);
}

/* Wait for such an event after `from`, 5 s at most; how long did it take, in ms? */
static int64_t wait_for(struct heard *h, size_t from, enum pfs_event_type type, uint64_t id,
			const char *name)
{
	int64_t start = pfs_monotonic_ns();
	struct timespec deadline;
	bool found = false;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 5;
	pthread_mutex_lock(&h->lock);
	while (!found && !err) {
		for (; from < h->n && !found; from++)
			found = says(h, from, type, id, name);
		if (!found)
			err = pthread_cond_timedwait(&h->cond, &h->lock, &deadline);
	}
	pthread_mutex_unlock(&h->lock);
	if (!found)
		fail_msg("no event of type %d for %llu '%s'", type, (unsigned long long)id, name);
	return (pfs_monotonic_ns() - start) / 1000000;
}

static size_t heard_so_far(struct heard *h)
{
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = h->n;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static struct heard *heard_new(void)
{
	struct heard *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->cond, NULL);
	return h;
}

static void heard_free(struct heard *h)
{
	pthread_cond_destroy(&h->cond);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static void a_watcher_hears_everything_that_others_change(void **state)
{
	struct contract *c = *state;
	struct heard *h = heard_new();
	struct pfs_backend *other = c_backend(c, hear, h);
	struct pfs_store *s;
	struct pfs_mutation m;
	uint64_t id, dir = c_dir(c, c->root, "d");
	int64_t slowest = 0, took;
	size_t from;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	from = heard_so_far(h);
	id = c_file(c, dir, "new", "");
	took = wait_for(h, from, PFS_EVENT_ENTRY, dir, "new");
	slowest = took > slowest ? took : slowest;

	from = heard_so_far(h);
	c_write(c, id, 0, "text", 4);
	took = wait_for(h, from, PFS_EVENT_CONTENT, id, "");
	slowest = took > slowest ? took : slowest;

	from = heard_so_far(h);
	m = m_setattr(id, PFS_SET_MODE, 0400);
	c_do(c, &m);
	wait_for(h, from, PFS_EVENT_ATTR, id, "");

	from = heard_so_far(h);
	c_rename(c, dir, "new", c->root, "moved", 0);
	wait_for(h, from, PFS_EVENT_ENTRY, dir, "new");
	wait_for(h, from, PFS_EVENT_ENTRY, c->root, "moved");

	from = heard_so_far(h);
	c_remove(c, c->root, "moved");
	took = wait_for(h, from, PFS_EVENT_ENTRY, c->root, "moved");
	slowest = took > slowest ? took : slowest;
	print_message("slowest event: %lld ms\n", (long long)slowest);
	assert_true(slowest < 1000);
	pfs_store_free(s);
	pfs_backend_free(other);
	heard_free(h);
}

static void a_watcher_does_not_hear_its_own_commits(void **state)
{
	struct contract *c = *state;
	struct heard *h = heard_new();
	struct pfs_backend *other = c_backend(c, hear, h);
	struct pfs_mutation m;
	struct pfs_store *s;
	size_t i;

	assert_int_equal(pfs_backend_open(other, "test", false, &s, NULL), 0);
	for (i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "own%zu", i);
		m = m_create(c_id(c), c->root, name, S_IFREG | 0600);
		assert_int_equal(s_batch(s, &m, 1, NULL), 0);
	}
	c_file(c, c->root, "marker", "");
	wait_for(h, 0, PFS_EVENT_ENTRY, c->root, "marker");
	for (i = 0; i < h->n; i++)
		assert_true(strncmp(h->events[i].name, "own", 3) != 0);
	pfs_store_free(s);
	pfs_backend_free(other);
	heard_free(h);
}

static void a_burst_of_changes_is_heard_to_the_last(void **state)
{
	enum { N = 500 };
	struct contract *c = *state;
	struct heard *h = heard_new();
	struct pfs_backend *other = c_backend(c, hear, h);
	char name[16];
	int i;

	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		c_file(c, c->root, name, "");
	}
	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		wait_for(h, 0, PFS_EVENT_ENTRY, c->root, name);
	}
	pfs_backend_free(other);
	i = (int)heard_so_far(h);
	c_file(c, c->root, "after", "");
	assert_int_equal(heard_so_far(h), i); /* silent once it is freed */
	heard_free(h);
}

static void sessions_are_counted(void **state)
{
	struct contract *c = *state;
	struct pfs_backend *other = c_backend(c, NULL, NULL);
	int tries;

	/* Told from what the last heartbeat saw. */
	for (tries = 0; tries < 100 && pfs_backend_sessions(c->b) != 2; tries++)
		assert_int_equal(pfs_backend_heartbeat(c->b), 0);
	assert_int_equal(pfs_backend_sessions(c->b), 2);
	assert_int_equal(pfs_backend_sessions(other), 2);
	pfs_backend_free(other);
	for (tries = 0; tries < 100 && pfs_backend_sessions(c->b) != 1; tries++)
		assert_int_equal(pfs_backend_heartbeat(c->b), 0);
	assert_int_equal(pfs_backend_sessions(c->b), 1);
}

#define PUSHED (PFS_CAP_PUSH | NEEDS_SHARED)

const struct contract_case contract_many_cases[] = {
	CASE(appends_from_many_threads_are_neither_lost_nor_torn),
	CASE(of_many_creates_of_one_name_one_wins),
	CASE(concurrent_batches_fail_alone),
	CASE(concurrent_exchanges_lose_no_object),
	CASE(a_version_precondition_loses_no_update),
	CASE(a_read_comes_from_one_state),
	CASE(no_file_is_made_in_a_directory_that_goes),
	CASE(no_id_is_given_twice_to_any_thread),
	CASE_NEEDS(appends_from_two_sessions_are_neither_lost_nor_torn, NEEDS_SHARED),
	CASE_NEEDS(of_creates_in_two_sessions_one_wins, NEEDS_SHARED),
	CASE_NEEDS(no_id_is_given_twice_to_any_session, NEEDS_SHARED),
	CASE_NEEDS(what_one_session_commits_the_other_reads_at_once, NEEDS_SHARED),
	CASE_NEEDS(an_object_held_in_one_session_outlives_its_removal_by_another, NEEDS_SHARED),
	CASE_NEEDS(sessions_are_counted, NEEDS_SHARED),
	CASE_NEEDS(a_watcher_hears_everything_that_others_change, PUSHED),
	CASE_NEEDS(a_watcher_does_not_hear_its_own_commits, PUSHED),
	CASE_NEEDS(a_burst_of_changes_is_heard_to_the_last, PUSHED),
	{NULL},
};
