/*
 * The memory engine's contents: arrays of chunks by index, where a missing chunk is a hole. A chunk
 * is changed in place only by the batch that made it; any other change puts a new chunk in its place
 * and gives the old one to the journal, so that a failed batch is undone by putting it back.
 */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 64u

struct mem_content *mem_content_new(struct mem_namespace *ns)
{
	struct mem_content *c = calloc(1, sizeof(*c));

	if (c)
		c->ns = ns;
	return c;
}

void mem_content_free(struct mem_backend *mb, struct mem_content *c)
{
	size_t i;

	if (!c)
		return;
	mem_give_room(mb, c->stored);
	for (i = 0; i < c->n; i++)
		free(c->slots[i].chunk);
	free(c->slots);
	free(c);
}

/* The first slot with an index of at least `index`. Appending is the common case: try it first. */
static size_t slot_at(const struct mem_content *c, uint64_t index)
{
	size_t low = 0, high = c->n;

	if (high == 0 || c->slots[high - 1].index < index)
		return high;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->slots[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct mem_chunk *chunk_at(const struct mem_content *c, uint64_t index)
{
	size_t i = slot_at(c, index);

	return i < c->n && c->slots[i].index == index ? c->slots[i].chunk : NULL;
}

void mem_content_read(const struct mem_content *c, uint64_t off, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		uint32_t at = (uint32_t)(off % MEM_CHUNK_SIZE);
		size_t piece = MEM_CHUNK_SIZE - at, data = 0;
		const struct mem_chunk *chunk = chunk_at(c, off / MEM_CHUNK_SIZE);

		if (piece > len)
			piece = len;
		if (chunk && chunk->cap > at)
			data = chunk->cap - at < piece ? chunk->cap - at : piece;
		if (data)
			memcpy(p, chunk->data + at, data);
		memset(p + data, 0, piece - data);
		p += piece;
		off += piece;
		len -= piece;
	}
}

/* Room in the array for one more slot. */
static int slots_reserve(struct mem_content *c)
{
	size_t cap = c->cap ? 2 * c->cap : 1;
	struct mem_slot *slots;

	if (c->n < c->cap)
		return 0;
	slots = realloc(c->slots, cap * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	c->slots = slots;
	c->cap = cap;
	return 0;
}

/* Put `chunk` (NULL: a hole) at index; returns what was there. The array has room. */
static struct mem_chunk *slot_exchange(struct mem_content *c, uint64_t index,
				       struct mem_chunk *chunk)
{
	size_t i = slot_at(c, index);
	bool there = i < c->n && c->slots[i].index == index;
	struct mem_chunk *old = there ? c->slots[i].chunk : NULL;

	if (old)
		c->stored -= old->cap;
	if (chunk)
		c->stored += chunk->cap;
	if (there && chunk) {
		c->slots[i].chunk = chunk;
	} else if (there) {
		memmove(&c->slots[i], &c->slots[i + 1], (c->n - i - 1) * sizeof(*c->slots));
		c->n--;
	} else if (chunk) {
		memmove(&c->slots[i + 1], &c->slots[i], (c->n - i) * sizeof(*c->slots));
		c->slots[i] = (struct mem_slot){index, chunk};
		c->n++;
	}
	return old;
}

/* The journal's way back. Chunks that the batch made are freed here. */
void mem_content_restore(struct mem_content *c, uint64_t index, struct mem_chunk *chunk)
{
	free(slot_exchange(c, index, chunk));
}

/*
 * Make chunk `index` one that this batch may write up to byte `end`: the one that is there, a larger
 * copy of it, or a new one of zeros.
 */
static int chunk_for_write(struct mem_journal *j, struct mem_content *c, uint64_t index,
			   uint32_t end, struct mem_chunk **out)
{
	struct mem_chunk *old = chunk_at(c, index), *chunk;
	uint32_t old_cap = old ? old->cap : 0;
	uint32_t cap = old_cap > CHUNK_MIN ? old_cap : CHUNK_MIN;
	int err;

	if (old && old->batch == j->batch && old->cap >= end) {
		*out = old;
		return 0;
	}
	while (cap < end)
		cap *= 2;
	err = mem_journal_reserve(j);
	if (!err)
		err = slots_reserve(c);
	if (!err)
		err = mem_take_room(j->mb, cap - old_cap);
	if (err)
		return err;
	chunk = malloc(sizeof(*chunk) + cap);
	if (!chunk) {
		mem_give_room(j->mb, cap - old_cap);
		return -ENOMEM;
	}
	chunk->cap = cap;
	chunk->batch = j->batch;
	if (old)
		memcpy(chunk->data, old->data, old_cap);
	memset(chunk->data + old_cap, 0, cap - old_cap);
	mem_journal_chunk(j, c, index, slot_exchange(c, index, chunk));
	*out = chunk;
	return 0;
}

int mem_content_write(struct mem_journal *j, struct mem_content *c, uint64_t off, const void *p,
		      size_t len)
{
	const char *from = p;

	while (len) {
		uint32_t at = (uint32_t)(off % MEM_CHUNK_SIZE);
		size_t piece = MEM_CHUNK_SIZE - at;
		struct mem_chunk *chunk;
		int err;

		if (piece > len)
			piece = len;
		err = chunk_for_write(j, c, off / MEM_CHUNK_SIZE, at + (uint32_t)piece, &chunk);
		if (err)
			return err;
		memcpy(chunk->data + at, from, piece);
		from += piece;
		off += piece;
		len -= piece;
	}
	return 0;
}

/* Zeros at [at, end) of chunk `index`, if there is such a chunk. */
static int chunk_zero(struct mem_journal *j, struct mem_content *c, uint64_t index, uint32_t at,
		      uint32_t end)
{
	struct mem_chunk *chunk = chunk_at(c, index);
	int err;

	if (!chunk || at >= end || at >= chunk->cap)
		return 0;
	if (end > chunk->cap)
		end = chunk->cap;
	err = chunk_for_write(j, c, index, end, &chunk);
	if (!err)
		memset(chunk->data + at, 0, end - at);
	return err;
}

/* Chunks [first, last) become holes; the array closes up once. */
static int chunks_drop(struct mem_journal *j, struct mem_content *c, uint64_t first, uint64_t last)
{
	size_t low = slot_at(c, first), high = slot_at(c, last), i;
	int err = 0;

	if (low == high)
		return 0;
	for (i = high; i > low; i--) {
		struct mem_slot *slot = &c->slots[i - 1];

		err = mem_journal_reserve(j);
		if (err)
			break;
		c->stored -= slot->chunk->cap;
		mem_give_room(j->mb, slot->chunk->cap);
		mem_journal_chunk(j, c, slot->index, slot->chunk);
	}
	memmove(&c->slots[i], &c->slots[high], (c->n - high) * sizeof(*c->slots));
	c->n -= high - i;
	return err;
}

int mem_content_punch(struct mem_journal *j, struct mem_content *c, uint64_t off, uint64_t end)
{
	uint64_t first = off / MEM_CHUNK_SIZE, last = end / MEM_CHUNK_SIZE;
	uint32_t at = (uint32_t)(off % MEM_CHUNK_SIZE), tail = (uint32_t)(end % MEM_CHUNK_SIZE);
	int err;

	if (off >= end)
		return 0;
	if (first == last)
		return chunk_zero(j, c, first, at, tail);
	if (at) {
		err = chunk_zero(j, c, first, at, MEM_CHUNK_SIZE);
		if (err)
			return err;
		first++;
	}
	err = chunk_zero(j, c, last, 0, tail);
	return err ? err : chunks_drop(j, c, first, last);
}

int mem_content_copy(struct mem_journal *j, struct mem_content *c, uint64_t off2,
		     const struct mem_content *from, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	int err = 0;

	while (off < end && !err) {
		size_t i = slot_at(from, off / MEM_CHUNK_SIZE);
		uint64_t start = i < from->n ? from->slots[i].index * MEM_CHUNK_SIZE : end;
		const struct mem_chunk *chunk = i < from->n ? from->slots[i].chunk : NULL;
		uint64_t piece;

		if (start > off) { /* a hole up to the next chunk */
			piece = (start < end ? start : end) - off;
			err = mem_content_punch(j, c, off2, off2 + piece);
		} else if (off - start < chunk->cap) {
			piece = start + chunk->cap - off;
			if (piece > end - off)
				piece = end - off;
			err = mem_content_write(j, c, off2, chunk->data + (off - start), piece);
		} else { /* the rest of a chunk that is not filled */
			piece = start + MEM_CHUNK_SIZE - off;
			if (piece > end - off)
				piece = end - off;
			err = mem_content_punch(j, c, off2, off2 + piece);
		}
		off += piece;
		off2 += piece;
	}
	return err;
}

int mem_content_seek(const struct mem_content *c, uint64_t size, uint64_t off, bool hole,
		     uint64_t *out)
{
	uint64_t index = off / MEM_CHUNK_SIZE, start;
	size_t i;

	if (off >= size)
		return -ENXIO;
	i = slot_at(c, index);
	if (hole) {
		while (i < c->n && c->slots[i].index == index) {
			i++;
			index++;
		}
		start = index * MEM_CHUNK_SIZE;
		*out = start < off ? off : start < size ? start : size;
		return 0;
	}
	if (i == c->n)
		return -ENXIO;
	start = c->slots[i].index * MEM_CHUNK_SIZE;
	if (start >= size)
		return -ENXIO;
	*out = start < off ? off : start;
	return 0;
}
