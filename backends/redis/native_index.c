/* See native_index.h. */
#include "backends/redis/native_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A block is divided when it holds more, as long as it has two entries. */
#define BLOCK_MAX 4096u

/* Entries one behind the other: a length of four bytes, the type, the string. */
struct native_block {
	uint32_t len, cap;
	uint32_t n;
	char data[];
};

#define HEAD 5u

struct entry {
	struct pfs_bytes s;
	unsigned char type;
	uint32_t at, size; /* in the block */
};

static struct entry entry_at(const struct native_block *b, uint32_t at)
{
	struct entry e = {.at = at};
	uint32_t len;

	memcpy(&len, b->data + at, sizeof(len));
	e.type = (unsigned char)b->data[at + 4];
	e.s = (struct pfs_bytes){b->data + at + HEAD, len};
	e.size = HEAD + len;
	return e;
}

static int compare(struct pfs_bytes a, struct pfs_bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* The last block that begins at or before s, or the first one. */
static size_t block_of(const struct native_index *ix, struct pfs_bytes s)
{
	size_t low = 0, high = ix->nblocks;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (compare(entry_at(ix->blocks[mid], 0).s, s) <= 0)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* The first place in b whose entry is at or behind s; b->len: none. *equal: it is s. */
static uint32_t place_of(const struct native_block *b, struct pfs_bytes s, bool *equal)
{
	uint32_t at = 0;

	*equal = false;
	while (at < b->len) {
		struct entry e = entry_at(b, at);
		int c = compare(e.s, s);

		if (c >= 0) {
			*equal = c == 0;
			break;
		}
		at += e.size;
	}
	return at;
}

static int make_room(struct native_index *ix, size_t i, uint32_t more)
{
	struct native_block *b = ix->blocks[i], *more_room;
	uint32_t cap = b->cap;

	while (cap < b->len + more)
		cap += cap < BLOCK_MAX ? cap / 2 + 64 : cap;
	if (cap == b->cap)
		return 0;
	more_room = realloc(b, sizeof(*b) + cap);
	if (!more_room)
		return -ENOMEM;
	ix->bytes += cap - more_room->cap;
	more_room->cap = cap;
	ix->blocks[i] = more_room;
	return 0;
}

static int block_insert(struct native_index *ix, size_t i, uint32_t cap)
{
	struct native_block *b = malloc(sizeof(*b) + cap), **blocks = ix->blocks;
	size_t n = ix->cap ? 2 * ix->cap : 64;

	if (b && ix->nblocks == ix->cap) {
		blocks = realloc(ix->blocks, n * sizeof(struct native_block *));
		if (blocks) {
			ix->blocks = blocks;
			ix->bytes += (n - ix->cap) * sizeof(struct native_block *);
			ix->cap = n;
		}
	}
	if (!b || !blocks) {
		free(b);
		return -ENOMEM;
	}
	*b = (struct native_block){.cap = cap};
	memmove(blocks + i + 1, blocks + i, (ix->nblocks - i) * sizeof(struct native_block *));
	blocks[i] = b;
	ix->nblocks++;
	ix->bytes += sizeof(*b) + cap;
	return 0;
}

/* Move the second half of block i to a new one. Without memory it just stays large. */
static void divide(struct native_index *ix, size_t i)
{
	struct native_block *b = ix->blocks[i], *other;
	uint32_t at = 0, n = 0;

	while (n + 1 < b->n && at + entry_at(b, at).size <= b->len / 2) {
		at += entry_at(b, at).size;
		n++;
	}
	if (n == 0) {
		at = entry_at(b, 0).size;
		n = 1;
	}
	if (block_insert(ix, i + 1, b->len - at))
		return;
	other = ix->blocks[i + 1];
	memcpy(other->data, b->data + at, b->len - at);
	other->len = b->len - at;
	other->n = b->n - n;
	b->len = at;
	b->n = n;
}

int native_index_put(struct native_index *ix, struct pfs_bytes s, unsigned char type,
		     unsigned char *old)
{
	uint32_t at, len = (uint32_t)s.len, size = HEAD + len;
	struct native_block *b;
	bool equal;
	size_t i;
	int err;

	if (!ix->nblocks && block_insert(ix, 0, BLOCK_MAX / 4))
		return -ENOMEM;
	i = ix->blocks[0]->n ? block_of(ix, s) : 0;
	at = place_of(ix->blocks[i], s, &equal);
	if (equal) {
		*old = (unsigned char)ix->blocks[i]->data[at + 4];
		ix->blocks[i]->data[at + 4] = (char)type;
		return 0;
	}
	*old = 0;
	err = make_room(ix, i, size);
	if (err)
		return err;
	b = ix->blocks[i];
	memmove(b->data + at + size, b->data + at, b->len - at);
	memcpy(b->data + at, &len, sizeof(len));
	b->data[at + 4] = (char)type;
	if (len)
		memcpy(b->data + at + HEAD, s.p, len);
	b->len += size;
	b->n++;
	ix->n++;
	if (b->len > BLOCK_MAX && b->n > 1)
		divide(ix, i);
	return 0;
}

static void block_remove(struct native_index *ix, size_t i)
{
	ix->bytes -= sizeof(struct native_block) + ix->blocks[i]->cap;
	free(ix->blocks[i]);
	ix->nblocks--;
	memmove(ix->blocks + i, ix->blocks + i + 1,
		(ix->nblocks - i) * sizeof(struct native_block *));
}

unsigned char native_index_remove(struct native_index *ix, struct pfs_bytes s)
{
	struct native_block *b;
	struct entry e;
	uint32_t at;
	bool equal;
	size_t i;

	if (!ix->nblocks)
		return 0;
	i = block_of(ix, s);
	b = ix->blocks[i];
	at = place_of(b, s, &equal);
	if (!equal)
		return 0;
	e = entry_at(b, at);
	memmove(b->data + at, b->data + at + e.size, b->len - at - e.size);
	b->len -= e.size;
	b->n--;
	ix->n--;
	if (!b->n)
		block_remove(ix, i);
	return e.type;
}

unsigned char native_index_seek(const struct native_index *ix, struct pfs_bytes from,
				struct pfs_bytes *out)
{
	struct entry e;
	uint32_t at;
	bool equal;
	size_t i;

	if (!ix->nblocks)
		return 0;
	i = block_of(ix, from);
	at = place_of(ix->blocks[i], from, &equal);
	if (at == ix->blocks[i]->len) {
		if (++i == ix->nblocks)
			return 0;
		at = 0;
	}
	e = entry_at(ix->blocks[i], at);
	*out = e.s;
	return e.type;
}

unsigned char native_index_find(const struct native_index *ix, struct pfs_bytes s)
{
	struct pfs_bytes found;
	unsigned char type = native_index_seek(ix, s, &found);

	return type && pfs_bytes_eq(found, s) ? type : 0;
}

bool native_index_begins(const struct native_index *ix, struct pfs_bytes s)
{
	struct pfs_bytes found;

	return native_index_seek(ix, s, &found) && found.len >= s.len &&
	       (!s.len || !memcmp(found.p, s.p, s.len));
}

void native_index_release(struct native_index *ix)
{
	size_t i;

	for (i = 0; i < ix->nblocks; i++)
		free(ix->blocks[i]);
	free(ix->blocks);
	*ix = (struct native_index){0};
}
