/*
 * The contract about content: writing, appending, replacing, truncating, punching, copying, holes and
 * staged contents. Random operations are held against a plain array in memory.
 */
#include "tests/contract/lib_contract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

static void writes_land_where_they_are_sent_and_grow_the_file(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "0123456789");
	struct pfs_seg segs[] = {{2, "ab", 2}, {3, "XY", 2}, {12, "end", 3}, {0, NULL, 0}};
	struct pfs_mutation m = m_content(PFS_OP_WRITE, id, segs, 4);
	char buf[32];

	m.set.mask = PFS_SET_MTIME;
	m.set.mtime = 77;
	c_do(c, &m);
	assert_int_equal(m.attr.size, 15);
	assert_int_equal(m.attr.mtime, 77);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, sizeof(buf)), 15);
	assert_memory_equal(buf, "01aXY56789\0\0end", 15);
	assert_int_equal(pfs_store_read(c->s, id, 4, buf, 3), 3);
	assert_memory_equal(buf, "Y56", 3);
	assert_int_equal(pfs_store_read(c->s, id, 14, buf, 5), 1);
	assert_int_equal(pfs_store_read(c->s, id, 15, buf, 5), 0);
	assert_int_equal(pfs_store_read(c->s, id, 1000, buf, 5), 0);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, 0), 0);
}

static void content_ops_without_a_given_mtime_take_the_batch_s_time(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	struct pfs_seg seg = {0, "x", 1};
	struct pfs_mutation m = m_content(PFS_OP_WRITE, id, &seg, 1);
	struct pfs_batch batch = {.ops = &m, .nops = 1, .now = 1000000000000000001};
	struct pfs_attr attr;

	batch.epoch = pfs_store_epoch(c->s);
	assert_int_equal(pfs_store_commit(c->s, &batch), 0);
	attr = c_attr(c, id);
	assert_int_equal(attr.mtime, 1000000000000000001);
	assert_int_equal(attr.ctime, 1000000000000000001);
}

static void content_ops_want_a_regular_file(void **state)
{
	struct contract *c = *state;
	struct pfs_seg seg = {0, "x", 1};
	struct pfs_mutation m;
	uint64_t ids[3], file = c_file(c, c->root, "f", "text");
	int want[] = {-EISDIR, -EINVAL, -ENOENT};
	char *before;
	size_t i;

	ids[0] = c_dir(c, c->root, "d");
	ids[1] = c_symlink(c, c->root, "s", "t");
	ids[2] = c_id(c);
	before = c_dump(c);
	for (i = 0; i < 3; i++) {
		c_fails(c, m_content(PFS_OP_WRITE, ids[i], &seg, 1), want[i]);
		c_fails(c, m_content(PFS_OP_APPEND, ids[i], &seg, 1), want[i]);
		c_fails(c, m_content(PFS_OP_REPLACE, ids[i], &seg, 1), want[i]);
		c_fails(c, m_size(PFS_OP_TRUNCATE, ids[i], 0), want[i]);
		c_fails(c, m_punch(ids[i], 0, 10), want[i]);
		c_fails(c, m_copy(file, 0, 4, ids[i], 0), want[i]);
		c_fails(c, m_copy(ids[i], 0, 4, file, 0), want[i]);
		m = m_size(PFS_OP_PUBLISH, ids[i], 0);
		m.content = c_id(c);
		c_fails(c, m, want[i]);
	}
	c_assert_unchanged(c, before);
}

static void beyond_the_largest_size_is_efbig(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "text");
	struct pfs_seg seg = {INT64_MAX, "xy", 2};
	struct pfs_mutation m;

	c_fails(c, m_content(PFS_OP_WRITE, id, &seg, 1), -EFBIG);
	seg.off = UINT64_MAX;
	c_fails(c, m_content(PFS_OP_WRITE, id, &seg, 1), -EFBIG);
	seg.off = PFS_SIZE_MAX - 1;
	c_fails(c, m_content(PFS_OP_WRITE, id, &seg, 1), -EFBIG);
	c_fails(c, m_size(PFS_OP_TRUNCATE, id, PFS_SIZE_MAX + 1), -EFBIG);
	c_fails(c, m_copy(id, 0, 2, id, PFS_SIZE_MAX - 1), -EFBIG);
	c_fails(c, m_size(PFS_OP_TRUNCATE, id, UINT64_MAX), -EFBIG);
	c_fails(c, m_punch(id, 1, UINT64_MAX), -EFBIG);
	c_fails(c, m_copy(id, 0, 4, id, UINT64_MAX - 2), -EFBIG);
	c_fails(c, m_copy(id, 0, 3, id, 2), -EINVAL);
	seg.off = 3;
	m = m_content(PFS_OP_REPLACE, id, &seg, 1);
	m.size = 4;
	c_fails(c, m, -EINVAL);
	c_assert_text(c, id, "text");
	m = m_size(PFS_OP_TRUNCATE, id, PFS_SIZE_MAX);
	c_do(c, &m);
	seg.off = 0;
	c_fails(c, m_content(PFS_OP_APPEND, id, &seg, 1), -EFBIG);
	m = m_punch(id, 1, INT64_MAX - 1);
	c_do(c, &m);
	m = m_size(PFS_OP_TRUNCATE, id, 4);
	c_do(c, &m);
	{
		char buf[8];

		assert_int_equal(pfs_store_read(c->s, id, 0, buf, 8), 4);
		assert_memory_equal(buf, "t\0\0\0", 4);
	}
}

static void every_size_from_nothing_to_many_chunks_comes_back(void **state)
{
	static const size_t sizes[] = {
		0,	1,	2,	511,	 4095,	  4096,	   4097,    8191,
		8192,	16383,	16384,	16385,	 65535,	  65536,   65537,   131072,
		262143, 262144, 262145, 1048575, 1048576, 1048577, 3000001,
	};
	struct contract *c = *state;
	char *data = malloc(3000001), *back = malloc(3000002);
	uint64_t seed = c_seed("sizes", 1);
	size_t i;

	assert_true(data && back);
	c_fill(&seed, data, 3000001);
	for (i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		struct pfs_seg seg = {0, data, sizes[i]};
		struct pfs_mutation m = m_create(c_id(c), c->root, "f", S_IFREG | 0600);

		m.segs = &seg;
		m.nsegs = 1;
		m.size = sizes[i];
		c_do(c, &m);
		assert_int_equal(pfs_store_read(c->s, m.id, 0, back, 3000002), sizes[i]);
		assert_memory_equal(data, back, sizes[i]);
		seg.p = data + 1;
		seg.len = sizes[i] ? sizes[i] - 1 : 0;
		m = m_content(PFS_OP_REPLACE, m.id, &seg, 1);
		c_do(c, &m);
		assert_int_equal(pfs_store_read(c->s, m.id, 0, back, 3000002), seg.len);
		assert_memory_equal(data + 1, back, seg.len);
		c_remove(c, c->root, "f");
	}
	c_assert_usage_exact(c);
	free(data);
	free(back);
}

static void append_tells_where_its_pieces_landed(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "");
	struct pfs_seg segs[] = {{99, "one ", 4}, {0, "two ", 4}, {5, "three", 5}};
	struct pfs_mutation m = m_content(PFS_OP_APPEND, id, segs, 3);

	m.offset = 12345;
	c_do(c, &m);
	assert_int_equal(m.offset, 0);
	c_assert_text(c, id, "one two three");
	m = m_content(PFS_OP_APPEND, id, segs, 1);
	c_do(c, &m);
	assert_int_equal(m.offset, 13);
	assert_int_equal(m.attr.size, 17);
	m = m_size(PFS_OP_TRUNCATE, id, 3);
	c_do(c, &m);
	m = m_content(PFS_OP_APPEND, id, segs + 1, 1);
	c_do(c, &m);
	assert_int_equal(m.offset, 3);
	c_assert_text(c, id, "onetwo ");
}

static void what_was_cut_off_never_comes_back(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "secret text"), seed = 5;
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, id, 2);
	char *data = malloc(300000), *back = malloc(300000), *zeros = calloc(1, 300000);

	assert_true(data && back && zeros);
	c_do(c, &m);
	m = m_size(PFS_OP_TRUNCATE, id, 11);
	c_do(c, &m);
	assert_int_equal(pfs_store_read(c->s, id, 0, back, 20), 11);
	assert_memory_equal(back, "se\0\0\0\0\0\0\0\0\0", 11);

	c_fill(&seed, data, 300000);
	c_write(c, id, 0, data, 300000);
	m = m_size(PFS_OP_TRUNCATE, id, 70001);
	c_do(c, &m);
	c_write(c, id, 299999, "x", 1);
	assert_int_equal(pfs_store_read(c->s, id, 0, back, 300000), 300000);
	assert_memory_equal(back, data, 70001);
	assert_memory_equal(back + 70001, zeros, 299999 - 70001);
	free(data);
	free(back);
	free(zeros);
}

/* ---- sparse --------------------------------------------------------------------------------- */

static void far_offsets_read_as_zeros_up_to_the_data(void **state)
{
	static const uint64_t at[] = {4 * GiB - 3, 5 * GiB + 12345, 1023 * GiB, 1024 * GiB - 10};
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "start");
	char buf[16];
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(at); i++) {
		struct pfs_mutation m;

		c_write(c, id, at[i], "needle", 6);
		assert_int_equal(c_attr(c, id).size, at[i] + 6);
		assert_int_equal(pfs_store_read(c->s, id, at[i] - 5, buf, 16), 11);
		assert_memory_equal(buf, "\0\0\0\0\0needle", 11);
		m = m_size(PFS_OP_TRUNCATE, id, at[i] + 3);
		c_do(c, &m);
		assert_int_equal(pfs_store_read(c->s, id, at[i], buf, 16), 3);
	}
	assert_true(c_attr(c, id).stored < 4 * MiB);
	assert_int_equal(pfs_store_read(c->s, id, 0, buf, 8), 8);
	assert_memory_equal(buf, "start\0\0\0", 8);
	c_assert_usage_exact(c);
}

static void seek_finds_data_and_holes(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", ""), at, seed = 3;
	char data[4096];
	struct pfs_mutation m;

	assert_int_equal(pfs_store_seek(c->s, id, 0, false, &at), -ENXIO);
	assert_int_equal(pfs_store_seek(c->s, id, 0, true, &at), -ENXIO);
	c_fill(&seed, data, sizeof(data));
	c_write(c, id, 0, data, sizeof(data));
	c_write(c, id, 5 * GiB, data, sizeof(data));
	m = m_size(PFS_OP_TRUNCATE, id, 6 * GiB);
	c_do(c, &m);
	assert_int_equal(pfs_store_seek(c->s, id, 0, false, &at), 0);
	assert_int_equal(at, 0);
	assert_int_equal(pfs_store_seek(c->s, id, 100, false, &at), 0);
	assert_int_equal(at, 100);
	assert_int_equal(pfs_store_seek(c->s, id, 100, true, &at), 0);
	assert_true(at >= sizeof(data) && at <= MiB);
	assert_int_equal(pfs_store_seek(c->s, id, 2 * GiB, true, &at), 0);
	assert_int_equal(at, 2 * GiB);
	assert_int_equal(pfs_store_seek(c->s, id, 2 * GiB, false, &at), 0);
	assert_true(at <= 5 * GiB && at >= 5 * GiB - MiB);
	assert_int_equal(pfs_store_seek(c->s, id, 5 * GiB + 1, true, &at), 0);
	assert_true(at >= 5 * GiB + sizeof(data) && at <= 5 * GiB + MiB);
	assert_int_equal(pfs_store_seek(c->s, id, 5 * GiB + MiB, false, &at), -ENXIO);
	assert_int_equal(pfs_store_seek(c->s, id, 6 * GiB - 1, true, &at), 0);
	assert_int_equal(at, 6 * GiB - 1);
	assert_int_equal(pfs_store_seek(c->s, id, 6 * GiB, true, &at), -ENXIO);
	assert_int_equal(pfs_store_seek(c->s, id, 6 * GiB, false, &at), -ENXIO);
	assert_int_equal(pfs_store_seek(c->s, c_id(c), 0, false, &at), -ENOENT);
	c_write(c, id, 6 * GiB - 1, "x", 1);
	assert_int_equal(pfs_store_seek(c->s, id, 6 * GiB - 1, true, &at), 0);
	assert_int_equal(at, 6 * GiB); /* every file ends with a hole */
}

static void punching_gives_room_back(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", ""), seed = 3, full;
	char *data = malloc(4 * MiB);
	struct pfs_mutation m;

	assert_non_null(data);
	c_fill(&seed, data, 4 * MiB);
	c_write(c, id, 0, data, 4 * MiB);
	full = c_attr(c, id).stored;
	assert_true(full >= 4 * MiB);
	m = m_punch(id, 1 * MiB, 2 * MiB);
	c_do(c, &m);
	assert_int_equal(m.attr.size, 4 * MiB);
	assert_true(m.attr.stored <= full - MiB);
	m = m_punch(id, 0, 100 * GiB);
	c_do(c, &m);
	assert_int_equal(m.attr.size, 4 * MiB);
	assert_int_equal(m.attr.stored, 0);
	m = m_size(PFS_OP_TRUNCATE, id, 0);
	c_do(c, &m);
	assert_int_equal(m.attr.stored, 0);
	free(data);
}

static void copies_take_holes_along_and_end_with_the_source(void **state)
{
	struct contract *c = *state;
	uint64_t from = c_file(c, c->root, "a", "head"), to = c_file(c, c->root, "b", "0123456789");
	uint64_t done;
	struct pfs_mutation m;
	char buf[16];

	c_write(c, from, 3 * GiB, "tail", 4);
	m = m_copy(from, 2, 1, to, 5);
	c_do(c, &m);
	assert_int_equal(m.length, 1);
	c_assert_text(c, to, "01234a6789");
	for (done = 0; done < 3 * GiB + 3; done += m.length) {
		m = m_copy(from, 1 + done, 10 * GiB, to, done);
		c_do(c, &m);
		assert_true(m.length >= MiB || done + m.length == 3 * GiB + 3);
	}
	assert_int_equal(m.attr.size, 3 * GiB + 3);
	assert_true(m.attr.stored < 4 * MiB);
	assert_int_equal(pfs_store_read(c->s, to, 0, buf, 10), 10);
	assert_memory_equal(buf, "ead\0\0\0\0\0\0\0", 10);
	assert_int_equal(pfs_store_read(c->s, to, 3 * GiB - 2, buf, 10), 5);
	assert_memory_equal(buf, "\0tail", 5);
	m = m_copy(from, 4 * GiB, 10, to, 0);
	c_do(c, &m);
	assert_int_equal(m.length, 0);
	assert_int_equal(m.attr.size, 3 * GiB + 3);
	m = m_copy(from, 0, 0, to, 5 * GiB);
	c_do(c, &m);
	assert_int_equal(m.attr.size, 3 * GiB + 3); /* nothing was copied: nothing grows */
	c_assert_usage_exact(c);
}

/* ---- staged contents ------------------------------------------------------------------------ */

static struct pfs_mutation m_publish(uint64_t id, uint64_t content, uint64_t size)
{
	struct pfs_mutation m = m_size(PFS_OP_PUBLISH, id, size);

	m.content = content;
	return m;
}

static void staged_data_shows_only_when_it_is_published(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "old value"), content = c_id(c);
	struct pfs_seg segs[] = {{0, "new ", 4}, {4, "value!", 6}};
	struct pfs_mutation m;
	char *before = c_dump(c);

	m = m_content(PFS_OP_STAGE, content, &segs[1], 1);
	c_do(c, &m);
	m = m_content(PFS_OP_STAGE, content, &segs[0], 1);
	c_do(c, &m);
	c_assert_unchanged(c, before);
	m = m_publish(id, content, 9); /* the last byte staged is past the size */
	c_do(c, &m);
	c_assert_text(c, id, "new value");
	m = m_size(PFS_OP_TRUNCATE, id, 10);
	c_do(c, &m);
	assert_int_equal(m.attr.size, 10);
	{
		char buf[10];

		assert_int_equal(pfs_store_read(c->s, id, 0, buf, 10), 10);
		assert_memory_equal(buf, "new value\0", 10);
	}
	c_fails(c, m_publish(id, content, 9), -ENOENT);
	c_assert_usage_exact(c);
}

static void discarded_data_is_gone(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "old"), content = c_id(c);
	struct pfs_seg seg = {0, "new", 3};
	struct pfs_mutation m = m_content(PFS_OP_STAGE, content, &seg, 1);
	struct pfs_mutation drop = {.op = PFS_OP_DISCARD, .content = content};
	char *before = c_dump(c);

	c_fails(c, drop, -ENOENT);
	c_do(c, &m);
	c_do(c, &drop);
	c_fails(c, drop, -ENOENT);
	c_fails(c, m_publish(id, content, 3), -ENOENT);
	c_assert_unchanged(c, before);
}

static void a_staged_content_may_be_large_and_sparse(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "old"), content = c_id(c), seed = 9, i;
	char *data = malloc(MiB), *back = malloc(MiB);
	struct pfs_mutation m;

	assert_true(data && back);
	c_fill(&seed, data, MiB);
	for (i = 0; i < 8; i++) {
		struct pfs_seg seg = {i * MiB + i, data, MiB};

		m = m_content(PFS_OP_STAGE, content, &seg, 1);
		c_do(c, &m);
	}
	m = m_publish(id, content, 5 * GiB);
	m.set.mask = PFS_SET_MTIME;
	m.set.mtime = 4242;
	c_do(c, &m);
	assert_int_equal(m.attr.size, 5 * GiB);
	assert_int_equal(m.attr.mtime, 4242);
	for (i = 0; i < 8; i++) {
		assert_int_equal(pfs_store_read(c->s, id, i * MiB + i, back, MiB - 1), MiB - 1);
		assert_memory_equal(data, back, MiB - 1);
	}
	c_assert_usage_exact(c);
	free(data);
	free(back);
}

static void an_unpublished_content_ends_with_its_session(void **state)
{
	struct contract *c = *state;
	uint64_t id = c_file(c, c->root, "f", "old"), content = c_id(c);
	struct pfs_seg seg = {0, "new", 3};
	struct pfs_mutation m = m_content(PFS_OP_STAGE, content, &seg, 1);

	c_do(c, &m);
	c_reopen(c);
	c_fails(c, m_publish(id, content, 3), -ENOENT);
	c_assert_text(c, id, "old");
}

/* ---- against a model ------------------------------------------------------------------------ */

#define MODEL_MAX 400000u

struct model {
	char *data; /* MODEL_MAX bytes, zeros past size */
	size_t size;
	uint64_t id;
};

static size_t some_length(uint64_t *seed)
{
	static const size_t scales[] = {1, 16, 300, 5000, 40000, 150000};

	return c_below(seed, scales[c_below(seed, PFS_ARRAY_SIZE(scales))] + 1);
}

/* Offsets are often where chunks meet. */
static size_t some_offset(uint64_t *seed, size_t size)
{
	size_t off = c_below(seed, 4) ? c_below(seed, size + 1) : c_below(seed, MODEL_MAX);

	if (c_below(seed, 3) == 0)
		off = off / 4096 * 4096;
	return off < MODEL_MAX ? off : MODEL_MAX;
}

static void model_write(struct model *m, size_t off, const char *p, size_t len)
{
	memcpy(m->data + off, p, len);
	if (len && off + len > m->size)
		m->size = off + len;
}

static void model_resize(struct model *m, size_t size)
{
	if (size < m->size)
		memset(m->data + size, 0, m->size - size);
	m->size = size;
}

static void step_write(struct contract *c, struct model *f, uint64_t *seed, const char *noise)
{
	struct pfs_seg segs[3];
	size_t n = 1 + c_below(seed, 3), i;
	struct pfs_mutation m;

	for (i = 0; i < n; i++) {
		size_t off = some_offset(seed, f->size), len = some_length(seed);

		if (len > MODEL_MAX - off)
			len = MODEL_MAX - off;
		segs[i] = (struct pfs_seg){off, noise + c_below(seed, 1000), len};
		model_write(f, off, segs[i].p, len);
	}
	m = m_content(PFS_OP_WRITE, f->id, segs, n);
	c_do(c, &m);
}

static void step_append(struct contract *c, struct model *f, uint64_t *seed, const char *noise)
{
	size_t len = some_length(seed), before = f->size;
	struct pfs_seg seg = {0, noise + c_below(seed, 1000), len};
	struct pfs_mutation m;

	if (len > MODEL_MAX - f->size)
		return;
	m = m_content(PFS_OP_APPEND, f->id, &seg, 1);
	model_write(f, f->size, seg.p, len);
	c_do(c, &m);
	assert_int_equal(m.offset, before);
}

static void step_replace(struct contract *c, struct model *f, uint64_t *seed, const char *noise)
{
	size_t len = some_length(seed), off = some_offset(seed, 100000);
	struct pfs_seg seg;
	struct pfs_mutation m;

	if (len > MODEL_MAX - off)
		len = MODEL_MAX - off;
	seg = (struct pfs_seg){off, noise + c_below(seed, 1000), len};
	m = m_content(PFS_OP_REPLACE, f->id, &seg, 1);
	m.size = off + len + c_below(seed, MODEL_MAX - off - len + 1);
	model_resize(f, 0);
	model_write(f, off, seg.p, len);
	f->size = m.size;
	c_do(c, &m);
}

static void step_truncate(struct contract *c, struct model *f, uint64_t *seed)
{
	struct pfs_mutation m = m_size(PFS_OP_TRUNCATE, f->id, some_offset(seed, f->size));

	model_resize(f, m.size);
	c_do(c, &m);
}

static void step_punch(struct contract *c, struct model *f, uint64_t *seed)
{
	size_t off = some_offset(seed, f->size), len = some_length(seed), end;
	struct pfs_mutation m = m_punch(f->id, off, len);

	end = off + len < f->size ? off + len : f->size;
	if (off < end)
		memset(f->data + off, 0, end - off);
	c_do(c, &m);
}

static void step_copy(struct contract *c, struct model *from, struct model *to, uint64_t *seed)
{
	size_t off = some_offset(seed, from->size), len = some_length(seed);
	size_t off2 = some_offset(seed, to->size), whole = 0;
	struct pfs_mutation m;

	if (len > MODEL_MAX - off2)
		len = MODEL_MAX - off2;
	if (from == to && off < off2 + len && off2 < off + len)
		return;
	m = m_copy(from->id, off, len, to->id, off2);
	if (off < from->size)
		whole = len < from->size - off ? len : from->size - off;
	if (whole)
		model_write(to, off2, from->data + off, whole);
	c_do(c, &m);
	assert_int_equal(m.length, whole);
}

/* Holes hold zeros, and what is not zero is data. */
static void check_holes(struct contract *c, const struct model *f)
{
	uint64_t at = 0, data, hole;

	while (at < f->size) {
		int err = pfs_store_seek(c->s, f->id, at, false, &data);
		size_t i;

		if (err == -ENXIO)
			data = f->size;
		else
			assert_int_equal(err, 0);
		assert_true(data >= at && data <= f->size);
		for (i = at; i < data; i++)
			assert_int_equal(f->data[i], 0);
		if (data == f->size)
			break;
		assert_int_equal(pfs_store_seek(c->s, f->id, data, true, &hole), 0);
		assert_true(hole > data && hole <= f->size);
		at = hole;
	}
}

static void check_model(struct contract *c, const struct model *f, char *buf, uint64_t *seed,
			bool whole)
{
	size_t off = whole ? 0 : some_offset(seed, f->size);
	size_t len = whole ? MODEL_MAX : some_length(seed), want = 0;

	if (off < f->size)
		want = len < f->size - off ? len : f->size - off;
	assert_int_equal(pfs_store_read(c->s, f->id, off, buf, len), want);
	if (want)
		assert_memory_equal(buf, f->data + off, want);
	assert_int_equal(c_attr(c, f->id).size, f->size);
	if (whole)
		check_holes(c, f);
}

static void random_step(struct contract *c, struct model files[2], struct model *f, uint64_t *seed,
			const char *noise)
{
	switch (c_below(seed, 8)) {
	case 0:
	case 1:
	case 2:
		step_write(c, f, seed, noise);
		break;
	case 3:
		step_append(c, f, seed, noise);
		break;
	case 4:
		step_replace(c, f, seed, noise);
		break;
	case 5:
		step_truncate(c, f, seed);
		break;
	case 6:
		step_punch(c, f, seed);
		break;
	default:
		step_copy(c, &files[c_below(seed, 2)], f, seed);
		break;
	}
}

static void random_content_ops_match_a_plain_array(void **state)
{
	struct contract *c = *state;
	uint64_t seed = c_seed("content ops", 20240601);
	char *noise = malloc(MODEL_MAX + 1000), *buf = malloc(MODEL_MAX);
	struct model files[2];
	int i;

	assert_true(noise && buf);
	c_fill(&seed, noise, MODEL_MAX + 1000);
	for (i = 0; i < 2; i++) {
		files[i] = (struct model){.data = calloc(1, MODEL_MAX + 1)};
		assert_non_null(files[i].data);
		files[i].id = c_file(c, c->root, i ? "b" : "a", "");
	}
	for (i = 0; i < 600; i++) {
		struct model *f = &files[c_below(&seed, 2)];

		random_step(c, files, f, &seed, noise);
		check_model(c, f, buf, &seed, i % 20 == 0);
	}
	for (i = 0; i < 2; i++) {
		check_model(c, &files[i], buf, &seed, true);
		free(files[i].data);
	}
	c_assert_usage_exact(c);
	free(noise);
	free(buf);
}

const struct contract_case contract_content_cases[] = {
	CASE(writes_land_where_they_are_sent_and_grow_the_file),
	CASE(content_ops_without_a_given_mtime_take_the_batch_s_time),
	CASE(content_ops_want_a_regular_file),
	CASE_NEEDS(beyond_the_largest_size_is_efbig, PFS_CAP_SPARSE),
	CASE(every_size_from_nothing_to_many_chunks_comes_back),
	CASE(append_tells_where_its_pieces_landed),
	CASE(what_was_cut_off_never_comes_back),
	CASE_NEEDS(far_offsets_read_as_zeros_up_to_the_data, PFS_CAP_SPARSE),
	CASE_NEEDS(seek_finds_data_and_holes, PFS_CAP_SPARSE),
	CASE_NEEDS(punching_gives_room_back, PFS_CAP_SPARSE),
	CASE_NEEDS(copies_take_holes_along_and_end_with_the_source, PFS_CAP_SPARSE),
	CASE(staged_data_shows_only_when_it_is_published),
	CASE(discarded_data_is_gone),
	CASE(a_staged_content_may_be_large_and_sparse),
	CASE_NEEDS(an_unpublished_content_ends_with_its_session, PFS_CAP_PERSISTENT),
	CASE(random_content_ops_match_a_plain_array),
	{NULL},
};
