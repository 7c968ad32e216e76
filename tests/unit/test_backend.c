/*
 * What the calls of the store contract do by themselves: with an engine that offers nothing, with one
 * of another version of the contract, and with a memory engine that is full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

/* ---- an engine that offers nothing ---------------------------------------------------------- */

static struct pfs_store bare_store;

static void bare_free(struct pfs_backend *b)
{
	pfs_backend_release(b);
}

static int bare_open(struct pfs_backend *b, const char *ns, bool create, struct pfs_store **out,
		     struct pfs_msg *msg)
{
	(void)create;
	(void)msg;
	*out = &bare_store;
	return pfs_store_init(&bare_store, b, ns);
}

static int bare_getattr(struct pfs_store *s, uint64_t id, struct pfs_attr *out)
{
	(void)s;
	*out = (struct pfs_attr){.id = id, .mode = S_IFREG, .size = 100};
	return id == 17 ? 0 : -ENOENT;
}

static const struct pfs_backend_ops bare_ops = {
	.free = bare_free,
	.namespace_open = bare_open,
	.store_free = pfs_store_release,
	.getattr = bare_getattr,
};

static int bare_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		       struct pfs_msg *msg);

static const struct pfs_option bare_options[] = {PFS_OPTION_END};

static const struct pfs_engine bare_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "bare",
	.help = "offers nothing",
	.kinds = PFS_KIND_KV,
	.options = bare_options,
	.create = bare_create,
};

static struct pfs_backend bare;

static int bare_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		       struct pfs_msg *msg)
{
	(void)msg;
	*out = &bare;
	return pfs_backend_init(&bare, &bare_engine, &bare_ops, name, set);
}

static void what_an_engine_leaves_out_is_eopnotsupp_or_its_plain_meaning(void **state)
{
	struct pfs_mutation m = {.op = PFS_OP_TRUNCATE, .id = 17};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .epoch = 1};
	struct pfs_namespace_list list;
	struct pfs_lock lock = {1, 0, 1, PFS_LOCK_SHARED};
	struct pfs_connections connections;
	struct pfs_health health;
	struct pfs_usage usage;
	struct pfs_statfs fs;
	struct pfs_buf names = {0};
	struct pfs_backend *b;
	struct pfs_store *s;
	uint64_t at;
	char buf[8];

	(void)state;
	assert_int_equal(pfs_backend_new("b", &bare_engine, NULL, &b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "ns", true, &s, NULL), -EHOSTDOWN);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "ns", true, &s, NULL), 0);
	assert_int_equal(pfs_backend_namespaces(b, &list), -EOPNOTSUPP);
	assert_int_equal(pfs_backend_namespace_remove(b, "ns"), -EOPNOTSUPP);
	assert_int_equal(pfs_backend_sync(b), -EOPNOTSUPP);
	assert_int_equal(pfs_backend_maintain(b, "sweep", NULL), -EOPNOTSUPP);
	assert_int_equal(pfs_backend_heartbeat(b), 0);
	assert_int_equal(pfs_backend_sessions(b), 1);
	assert_int_equal(pfs_backend_statfs(b, &fs), 0);
	assert_int_equal(fs.total, 0);
	pfs_backend_connections(b, &connections);
	assert_int_equal(connections.open, 0);
	pfs_backend_health(b, &health);
	assert_true(health.ok);
	assert_true(health.durable.text[0] != '\0');
	assert_int_equal(pfs_store_commit(s, &batch), -EOPNOTSUPP);
	assert_int_equal(pfs_store_usage(s, &usage), -EOPNOTSUPP);
	assert_int_equal(pfs_store_parent(s, 17, &at), -EOPNOTSUPP);
	assert_int_equal(pfs_store_xattr_get(s, 17, PFS_BYTES("x"), buf, 8), -EOPNOTSUPP);
	assert_int_equal(pfs_store_xattr_list(s, 17, &names), -EOPNOTSUPP);
	assert_int_equal(pfs_store_lock(s, 17, &lock, NULL), -EOPNOTSUPP);
	pfs_store_hold(s, 17);
	pfs_store_release_id(s, 17);
	pfs_store_free(s);
	pfs_backend_free(b);
}

static void without_holes_an_object_is_one_piece_of_data(void **state)
{
	struct pfs_backend *b;
	struct pfs_store *s;
	uint64_t at;

	(void)state;
	assert_int_equal(pfs_backend_new("b", &bare_engine, NULL, &b, NULL), 0);
	assert_int_equal(pfs_backend_start(b, NULL), 0);
	assert_int_equal(pfs_backend_open(b, "ns", true, &s, NULL), 0);
	assert_int_equal(pfs_store_seek(s, 17, 5, false, &at), 0);
	assert_int_equal(at, 5);
	assert_int_equal(pfs_store_seek(s, 17, 5, true, &at), 0);
	assert_int_equal(at, 100);
	assert_int_equal(pfs_store_seek(s, 17, 100, false, &at), -ENXIO);
	assert_int_equal(pfs_store_seek(s, 18, 0, false, &at), -ENOENT);
	pfs_store_free(s);
	pfs_backend_free(b);
}

static void an_engine_of_another_spec_version_is_refused_by_name(void **state)
{
	struct pfs_engine old = bare_engine;
	struct pfs_backend *b = NULL;
	struct pfs_msg msg = {{0}};

	(void)state;
	old.spec_version = PFS_SPEC_VERSION + 1;
	assert_int_equal(pfs_backend_new("b", &old, NULL, &b, &msg), -EOPNOTSUPP);
	assert_null(b);
	assert_non_null(strstr(msg.text, "bare"));
}

static void every_capability_and_call_has_a_name(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; pfs_capability_names[i]; i++)
		assert_true(strlen(pfs_capability_names[i]) > 0);
	assert_int_equal(1u << (i - 1), PFS_CAP_TRIALS);
	for (i = 0; i < PFS_CALL_COUNT_; i++)
		assert_non_null(pfs_call_names[i]);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static void a_list_grows_beyond_what_it_was_made_for(void **state)
{
	struct pfs_list *list = pfs_list_new(0);
	struct pfs_attr attr = {.id = 99};
	char name[16];
	size_t i;

	(void)state;
	assert_non_null(list);
	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%zu", i);
		assert_int_equal(pfs_list_add(list, i + 16, pfs_bytes_str(name), &attr), 0);
	}
	pfs_list_finish(list, true);
	assert_int_equal(list->n, 1000);
	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%zu", i);
		assert_true(pfs_bytes_eq(list->entries[i].name, pfs_bytes_str(name)));
		assert_int_equal(list->entries[i].cursor, i + 16);
	}
	pfs_list_free(list);
	pfs_list_free(NULL);
}

/* ---- a memory engine that is full ----------------------------------------------------------- */

struct full {
	struct pfs_option *table;
	struct pfs_option_set set;
	struct pfs_backend *b;
	struct pfs_store *s;
	uint64_t root, next;
};

static int open_small(void **state)
{
	struct full *f = calloc(1, sizeof(*f));
	const struct pfs_engine *engine = pfs_engine_find("memory");

	assert_true(f && engine);
	*state = f;
	f->table = pfs_engine_options(engine);
	assert_non_null(f->table);
	assert_int_equal(pfs_option_set_init(&f->set, f->table), 0);
	assert_int_equal(pfs_option_set_text(&f->set, "max_size", "1M", NULL), 0);
	assert_int_equal(pfs_backend_new("small", engine, &f->set, &f->b, NULL), 0);
	assert_int_equal(pfs_backend_start(f->b, NULL), 0);
	assert_int_equal(pfs_backend_open(f->b, "ns", true, &f->s, NULL), 0);
	assert_int_equal(pfs_store_root(f->s, &f->root), 0);
	assert_int_equal(pfs_store_alloc_ids(f->s, 10000, &f->next), 0);
	return 0;
}

static int close_small(void **state)
{
	struct full *f = *state;

	assert_int_equal(pfs_backend_maintain(f->b, "check", NULL), 0);
	pfs_store_free(f->s);
	pfs_backend_free(f->b);
	pfs_option_set_release(&f->set);
	free(f->table);
	free(f);
	return 0;
}

static int commit(struct full *f, struct pfs_mutation *m, size_t n, size_t *failed)
{
	struct pfs_batch batch = {.ops = m, .nops = n, .now = 5, .epoch = pfs_store_epoch(f->s)};
	int err = pfs_store_commit(f->s, &batch);

	if (failed)
		*failed = batch.failed;
	return err;
}

static struct pfs_mutation create(struct full *f, const char *name)
{
	return (struct pfs_mutation){
		.op = PFS_OP_CREATE,
		.id = f->next++,
		.dir = f->root,
		.name = pfs_bytes_str(name),
		.set = {.mode = S_IFREG | 0600},
	};
}

static uint64_t available(struct full *f)
{
	struct pfs_statfs fs;

	assert_int_equal(pfs_backend_statfs(f->b, &fs), 0);
	return fs.available;
}

static void a_full_memory_engine_is_enospc_and_loses_nothing(void **state)
{
	struct full *f = *state;
	char *data = malloc(2 << 20);
	struct pfs_seg seg = {0, data, 100000};
	struct pfs_mutation m[3] = {create(f, "a"), create(f, "b"), create(f, "c")};
	uint64_t a = m[0].id, b = m[1].id, before;
	struct pfs_attr attr;
	size_t failed;
	char buf[100];

	assert_non_null(data);
	memset(data, 'x', 2 << 20);
	m[0].segs = &seg;
	m[0].nsegs = 1;
	m[0].size = seg.len;
	assert_int_equal(commit(f, m, 2, NULL), 0);
	before = available(f);

	seg = (struct pfs_seg){50000, data, 2 << 20};
	m[1] = (struct pfs_mutation){.op = PFS_OP_WRITE, .id = a, .segs = &seg, .nsegs = 1};
	m[0] = (struct pfs_mutation){.op = PFS_OP_TRUNCATE, .id = a, .size = 10};
	assert_int_equal(commit(f, m, 3, &failed), -ENOSPC);
	assert_int_equal(failed, 1);
	assert_int_equal(available(f), before);
	assert_int_equal(pfs_store_getattr(f->s, a, &attr), 0);
	assert_int_equal(attr.size, 100000);
	assert_int_equal(pfs_store_read(f->s, a, 60000, buf, 100), 100);
	assert_memory_equal(buf, data, 100);

	/* Room again: what did not fit before does now. */
	m[0] = (struct pfs_mutation){.op = PFS_OP_TRUNCATE, .id = a, .size = 0};
	assert_int_equal(commit(f, m, 1, NULL), 0);
	assert_true(available(f) >= before + 100000);
	seg = (struct pfs_seg){0, data, 800000};
	m[0] = (struct pfs_mutation){.op = PFS_OP_WRITE, .id = b, .segs = &seg, .nsegs = 1};
	assert_int_equal(commit(f, m, 1, NULL), 0);
	free(data);
}

static void empty_files_and_xattrs_take_room_too(void **state)
{
	struct full *f = *state;
	uint64_t start = available(f), first = f->next;
	struct pfs_seg value = {0, "", 0};
	struct pfs_mutation m;
	char name[32];
	int n, err = 0;

	for (n = 0; n < 9000 && !err; n++) {
		snprintf(name, sizeof(name), "file-%d", n);
		m = create(f, name);
		err = commit(f, &m, 1, NULL);
	}
	assert_int_equal(err, -ENOSPC);
	value.p = "0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789012345678901234567890123456789";
	value.len = 350;
	m = (struct pfs_mutation){.op = PFS_OP_SETXATTR, .id = first, .segs = &value, .nsegs = 1};
	m.name = PFS_BYTES("user.a");
	assert_int_equal(commit(f, &m, 1, NULL), -ENOSPC);
	for (n -= 2; n >= 0; n--) {
		snprintf(name, sizeof(name), "file-%d", n);
		m = (struct pfs_mutation){.op = PFS_OP_REMOVE, .dir = f->root};
		m.name = pfs_bytes_str(name);
		assert_int_equal(commit(f, &m, 1, NULL), 0);
	}
	assert_int_equal(available(f), start);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_engine_leaves_out_is_eopnotsupp_or_its_plain_meaning),
		cmocka_unit_test(without_holes_an_object_is_one_piece_of_data),
		cmocka_unit_test(an_engine_of_another_spec_version_is_refused_by_name),
		cmocka_unit_test(every_capability_and_call_has_a_name),
		cmocka_unit_test(a_list_grows_beyond_what_it_was_made_for),
		cmocka_unit_test_setup_teardown(a_full_memory_engine_is_enospc_and_loses_nothing,
						open_small, close_small),
		cmocka_unit_test_setup_teardown(empty_files_and_xattrs_take_room_too, open_small,
						close_small),
	};

	return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
