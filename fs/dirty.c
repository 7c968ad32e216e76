/*
 * Dirty byte ranges of one file: a hash of blocks of PFS_DIRTY_BLOCK bytes, each with the sorted
 * list of ranges that were written. A block has memory only for the span its ranges cover, so that
 * many small files and scattered writes stay small. Knows nothing of files, engines or locks.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dirty.h"

struct range {
	uint32_t start, end;
};

struct pfs_dirty_block {
	struct pfs_dirty_block *next;
	uint64_t index;
	unsigned char *data; /* bytes [base, base + cap) of the block */
	uint32_t base, cap;
	uint32_t n, max;
	struct range *ranges;
	struct range first; /* where ranges points while there is one */
};

#define GRAIN	    4096u
#define MIN_BUCKETS 16u

static size_t bucket_of(const struct pfs_dirty *d, uint64_t index)
{
	return (size_t)(index * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (d->nbuckets - 1);
}

static struct pfs_dirty_block *block_find(const struct pfs_dirty *d, uint64_t index)
{
	struct pfs_dirty_block *b;

	if (d->nblocks == 0)
		return NULL;
	if (d->last && d->last->index == index)
		return d->last;
	for (b = d->buckets[bucket_of(d, index)]; b; b = b->next)
		if (b->index == index)
			return b;
	return NULL;
}

static int rehash(struct pfs_dirty *d, size_t nbuckets)
{
	struct pfs_dirty_block **old = d->buckets, *b, *next;
	size_t nold = d->nbuckets, i;

	d->buckets = calloc(nbuckets, sizeof(*d->buckets));
	if (!d->buckets) {
		d->buckets = old;
		return -ENOMEM;
	}
	d->nbuckets = nbuckets;
	for (i = 0; i < nold; i++) {
		for (b = old[i]; b; b = next) {
			next = b->next;
			b->next = d->buckets[bucket_of(d, b->index)];
			d->buckets[bucket_of(d, b->index)] = b;
		}
	}
	free(old);
	return 0;
}

static struct pfs_dirty_block *block_make(struct pfs_dirty *d, uint64_t index)
{
	struct pfs_dirty_block *b = block_find(d, index);

	if (b)
		return b;
	if (d->nbuckets == 0 && rehash(d, MIN_BUCKETS))
		return NULL;
	if (d->nblocks >= d->nbuckets * 2)
		(void)rehash(d, d->nbuckets * 4); /* longer chains will do without memory */
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->index = index;
	b->ranges = &b->first;
	b->max = 1;
	b->next = d->buckets[bucket_of(d, index)];
	d->buckets[bucket_of(d, index)] = b;
	d->nblocks++;
	return b;
}

static void block_free(struct pfs_dirty *d, struct pfs_dirty_block *b)
{
	d->bytes -= b->cap;
	if (b->ranges != &b->first)
		free(b->ranges);
	free(b->data);
	free(b);
}

static void block_remove(struct pfs_dirty *d, struct pfs_dirty_block *b)
{
	struct pfs_dirty_block **p = &d->buckets[bucket_of(d, b->index)];

	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	d->nblocks--;
	if (d->last == b)
		d->last = NULL;
	block_free(d, b);
}

/* Make room for [start, end), growing in steps that double while the block fills from the front. */
static int block_reserve(struct pfs_dirty *d, struct pfs_dirty_block *b, uint32_t start,
			 uint32_t end)
{
	uint32_t lo = start / GRAIN * GRAIN, hi = (end + GRAIN - 1) / GRAIN * GRAIN, cap;
	unsigned char *data;

	if (b->data) {
		if (start >= b->base && end <= b->base + b->cap)
			return 0;
		if (lo > b->base)
			lo = b->base;
		if (hi < b->base + b->cap)
			hi = b->base + b->cap;
		cap = hi - lo;
		if (cap < 2 * b->cap)
			cap = 2 * b->cap;
		if (lo + cap > PFS_DIRTY_BLOCK)
			cap = PFS_DIRTY_BLOCK - lo;
	} else {
		cap = hi - lo;
	}
	if (b->data && lo == b->base) {
		data = realloc(b->data, cap);
		if (!data)
			return -ENOMEM;
	} else {
		data = malloc(cap);
		if (!data)
			return -ENOMEM;
		if (b->data)
			memcpy(data + (b->base - lo), b->data, b->cap);
		free(b->data);
	}
	d->bytes += cap - b->cap;
	b->data = data;
	b->base = lo;
	b->cap = cap;
	return 0;
}

/* Room for one more range. */
static int ranges_reserve(struct pfs_dirty_block *b)
{
	uint32_t max = b->max < 8 ? 8 : b->max * 2;
	struct range *r;

	if (b->n < b->max)
		return 0;
	r = malloc(max * sizeof(*r));
	if (!r)
		return -ENOMEM;
	memcpy(r, b->ranges, b->n * sizeof(*r));
	if (b->ranges != &b->first)
		free(b->ranges);
	b->ranges = r;
	b->max = max;
	return 0;
}

/* The first range that ends at or after pos. */
static uint32_t range_at(const struct pfs_dirty_block *b, uint32_t pos)
{
	uint32_t lo = 0, hi = b->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (b->ranges[mid].end < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Add [start, end), joining what it touches. Room has been reserved. */
static void range_add(struct pfs_dirty_block *b, uint32_t start, uint32_t end)
{
	uint32_t i = range_at(b, start), j = i;

	while (j < b->n && b->ranges[j].start <= end) {
		if (b->ranges[j].start < start)
			start = b->ranges[j].start;
		if (b->ranges[j].end > end)
			end = b->ranges[j].end;
		j++;
	}
	memmove(b->ranges + i + 1, b->ranges + j, (b->n - j) * sizeof(*b->ranges));
	b->ranges[i] = (struct range){start, end};
	b->n = b->n - (j - i) + 1;
}

static uint32_t piece(uint64_t off, uint64_t left)
{
	uint64_t room = PFS_DIRTY_BLOCK - off % PFS_DIRTY_BLOCK;

	return (uint32_t)(left < room ? left : room);
}

static void remove_empty(struct pfs_dirty *d, uint64_t off, uint64_t end)
{
	for (; off < end; off += piece(off, end - off)) {
		struct pfs_dirty_block *b = block_find(d, off / PFS_DIRTY_BLOCK);

		if (b && b->n == 0)
			block_remove(d, b);
	}
}

int pfs_dirty_write(struct pfs_dirty *d, uint64_t off, const void *p, size_t len)
{
	const unsigned char *src = p;
	uint64_t pos, end = off + len;
	uint32_t n;

	/* Reserve everything first, so that a write is in whole or not at all. */
	for (pos = off; pos < end; pos += n) {
		uint32_t start = (uint32_t)(pos % PFS_DIRTY_BLOCK);
		struct pfs_dirty_block *b = block_make(d, pos / PFS_DIRTY_BLOCK);

		n = piece(pos, end - pos);
		if (!b || block_reserve(d, b, start, start + n) || ranges_reserve(b)) {
			remove_empty(d, off, end);
			return -ENOMEM;
		}
		d->last = b;
	}
	for (pos = off; pos < end; pos += n) {
		uint32_t start = (uint32_t)(pos % PFS_DIRTY_BLOCK);
		struct pfs_dirty_block *b = block_find(d, pos / PFS_DIRTY_BLOCK);

		n = piece(pos, end - pos);
		memcpy(b->data + (start - b->base), src, n);
		range_add(b, start, start + n);
		src += n;
	}
	return 0;
}

static void overlay_block(const struct pfs_dirty_block *b, uint32_t start, uint32_t end,
			  unsigned char *dst)
{
	uint32_t i;

	for (i = range_at(b, start); i < b->n && b->ranges[i].start < end; i++) {
		uint32_t s = b->ranges[i].start > start ? b->ranges[i].start : start;
		uint32_t e = b->ranges[i].end < end ? b->ranges[i].end : end;

		if (s < e)
			memcpy(dst + (s - start), b->data + (s - b->base), e - s);
	}
}

void pfs_dirty_overlay(const struct pfs_dirty *d, uint64_t off, void *buf, size_t len)
{
	unsigned char *dst = buf;
	uint64_t end = off + len;
	uint32_t n;

	if (d->nblocks == 0)
		return;
	for (; off < end; off += n, dst += n) {
		uint32_t start = (uint32_t)(off % PFS_DIRTY_BLOCK);
		struct pfs_dirty_block *b = block_find(d, off / PFS_DIRTY_BLOCK);

		n = piece(off, end - off);
		if (b)
			overlay_block(b, start, start + n, dst);
	}
}

/* Take [start, end) out of the block's ranges. Without memory to split one, it stays dirty. */
static void block_drop(struct pfs_dirty_block *b, uint32_t start, uint32_t end)
{
	uint32_t i, out = 0;
	struct range tail = {0, 0};

	for (i = 0; i < b->n; i++) {
		struct range r = b->ranges[i];

		if (r.start < start && r.end > end) {
			/* A hole in the middle: one range becomes two. */
			if (ranges_reserve(b))
				return;
			tail = (struct range){end, r.end};
			memmove(b->ranges + i + 2, b->ranges + i + 1,
				(b->n - i - 1) * sizeof(*b->ranges));
			b->ranges[i].end = start;
			b->ranges[i + 1] = tail;
			b->n++;
			return;
		}
		if (r.start >= start && r.end <= end)
			continue;
		if (r.start < start && r.end > start)
			r.end = start;
		else if (r.start < end && r.end > end)
			r.start = end;
		b->ranges[out++] = r;
	}
	b->n = out;
}

static void drop_in(struct pfs_dirty *d, struct pfs_dirty_block *b, uint64_t off, uint64_t end)
{
	uint64_t base = b->index * PFS_DIRTY_BLOCK;
	uint32_t start = off > base ? (uint32_t)(off - base) : 0;
	uint32_t stop = end - base < PFS_DIRTY_BLOCK ? (uint32_t)(end - base) : PFS_DIRTY_BLOCK;

	block_drop(b, start, stop);
	if (b->n == 0)
		block_remove(d, b);
}

void pfs_dirty_drop(struct pfs_dirty *d, uint64_t off, uint64_t len)
{
	uint64_t end = off + len < off ? UINT64_MAX : off + len;
	struct pfs_dirty_block *b, *next;
	size_t i;

	if (end <= off)
		return;
	for (i = 0; i < d->nbuckets; i++) {
		for (b = d->buckets[i]; b; b = next) {
			next = b->next;
			if (b->index >= off / PFS_DIRTY_BLOCK &&
			    b->index <= (end - 1) / PFS_DIRTY_BLOCK)
				drop_in(d, b, off, end);
		}
	}
}

/* Write [start, end) of the older block where b has no ranges. */
static int merge_gap(struct pfs_dirty *d, const struct pfs_dirty_block *old, uint32_t start,
		     uint32_t end)
{
	return pfs_dirty_write(d, old->index * PFS_DIRTY_BLOCK + start,
			       old->data + (start - old->base), end - start);
}

static int merge_block(struct pfs_dirty *d, const struct pfs_dirty_block *old)
{
	uint32_t i;
	int err = 0;

	for (i = 0; i < old->n && !err; i++) {
		uint32_t pos = old->ranges[i].start, end = old->ranges[i].end;

		while (pos < end && !err) {
			struct pfs_dirty_block *b = block_find(d, old->index);
			uint32_t j = b ? range_at(b, pos + 1) : 0, stop = end;

			if (b && j < b->n && b->ranges[j].start <= pos) {
				pos = b->ranges[j].end;
				continue;
			}
			if (b && j < b->n && b->ranges[j].start < end)
				stop = b->ranges[j].start;
			err = merge_gap(d, old, pos, stop);
			pos = stop;
		}
	}
	return err;
}

int pfs_dirty_merge_under(struct pfs_dirty *d, struct pfs_dirty *older)
{
	struct pfs_dirty_block *b;
	size_t i;
	int err = 0;

	if (pfs_dirty_empty(d)) {
		pfs_dirty_clear(d);
		*d = *older;
		memset(older, 0, sizeof(*older));
		return 0;
	}
	for (i = 0; i < older->nbuckets && !err; i++)
		for (b = older->buckets[i]; b && !err; b = b->next)
			err = merge_block(d, b);
	if (!err)
		pfs_dirty_clear(older);
	return err;
}

static int seg_compare(const void *a, const void *b)
{
	const struct pfs_seg *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

int pfs_dirty_segs(const struct pfs_dirty *d, struct pfs_seg **out, size_t *n)
{
	struct pfs_dirty_block *b;
	struct pfs_seg *segs;
	size_t i, count = 0;
	uint32_t r;

	for (i = 0; i < d->nbuckets; i++)
		for (b = d->buckets[i]; b; b = b->next)
			count += b->n;
	segs = malloc((count + 1) * sizeof(*segs));
	if (!segs)
		return -ENOMEM;
	count = 0;
	for (i = 0; i < d->nbuckets; i++) {
		for (b = d->buckets[i]; b; b = b->next) {
			for (r = 0; r < b->n; r++) {
				segs[count].off = b->index * PFS_DIRTY_BLOCK + b->ranges[r].start;
				segs[count].p = b->data + (b->ranges[r].start - b->base);
				segs[count].len = b->ranges[r].end - b->ranges[r].start;
				count++;
			}
		}
	}
	qsort(segs, count, sizeof(*segs), seg_compare);
	*out = segs;
	*n = count;
	return 0;
}

uint64_t pfs_dirty_end(const struct pfs_dirty *d, uint64_t below)
{
	struct pfs_dirty_block *b;
	uint64_t at, end = 0;
	size_t i;
	uint32_t r;

	for (i = 0; i < d->nbuckets; i++) {
		for (b = d->buckets[i]; b; b = b->next) {
			at = b->index * PFS_DIRTY_BLOCK;
			for (r = 0; r < b->n && at + b->ranges[r].start < below; r++)
				if (at + b->ranges[r].end > end)
					end = at + b->ranges[r].end;
		}
	}
	return end < below ? end : below;
}

bool pfs_dirty_empty(const struct pfs_dirty *d)
{
	return d->nblocks == 0;
}

void pfs_dirty_clear(struct pfs_dirty *d)
{
	struct pfs_dirty_block *b, *next;
	size_t i;

	for (i = 0; i < d->nbuckets; i++) {
		for (b = d->buckets[i]; b; b = next) {
			next = b->next;
			block_free(d, b);
		}
	}
	free(d->buckets);
	assert(d->bytes == 0);
	memset(d, 0, sizeof(*d));
}
