/*
 * Content as chunks: reading and writing ranges, holes, truncation. Every function keeps the
 * invariant that no chunk reaches behind the size its caller gives the object, and follows what is
 * stored by the lengths of the chunks it replaces. Runs inside the caller's transaction (reading:
 * any connection).
 */
#include <errno.h>
#include <string.h>

#include "backends/sql/kv.h"

#define INDEX_MASK ((UINT64_C(1) << PFS_KV_INDEX_BITS) - 1)

static int64_t chunk_key(uint64_t content, uint64_t index)
{
	return (int64_t)(content << PFS_KV_INDEX_BITS | index);
}

void pfs_kv_gather_begin(struct pfs_kv_gather *g, uint64_t off, void *buf, size_t len)
{
	*g = (struct pfs_kv_gather){.off = off, .end = off + len, .done = off, .to = buf};
}

void pfs_kv_gather_add(struct pfs_kv_gather *g, int64_t key, struct pfs_bytes data)
{
	uint64_t at = ((uint64_t)key & INDEX_MASK) * PFS_KV_CHUNK;
	uint64_t from = at > g->off ? at : g->off, end = at + data.len;

	if (end > g->end)
		end = g->end;
	if (end <= from)
		return;
	memset(g->to + (g->done - g->off), 0, from - g->done);
	memcpy(g->to + (from - g->off), data.p + (from - at), end - from);
	g->done = end;
	g->any = true;
}

void pfs_kv_gather_end(struct pfs_kv_gather *g)
{
	memset(g->to + (g->done - g->off), 0, g->end - g->done);
}

int pfs_kv_content_read(struct pfs_sql_conn *c, uint64_t content, uint64_t off, void *buf,
			size_t len, bool *any)
{
	uint64_t first = off / PFS_KV_CHUNK, last = (off + len - 1) / PFS_KV_CHUNK;
	struct pfs_sql_query *q = NULL;
	struct pfs_kv_gather g;
	int ret;

	*any = false;
	if (len == 0)
		return 0;
	pfs_kv_gather_begin(&g, off, buf, len);
	ret = pfs_sql_begin(c, KV_READ, &q, "ii", chunk_key(content, first),
			    chunk_key(content, last));
	while (!ret && (ret = pfs_sql_step(c, q)) == 1) {
		ret = 0;
		pfs_kv_gather_add(&g, c->driver->integer(q, 0), c->driver->bytes(q, 1));
	}
	pfs_sql_end(c, q);
	if (!ret)
		pfs_kv_gather_end(&g);
	*any = g.any;
	return ret;
}

#define NEXT_ROWS INT64_C(1000)

/*
 * One page of the search below, from chunk `from`: 1 when the end was found, 0 when there may be
 * more, from *next on, or -errno.
 */
static int next_page(struct pfs_sql_conn *c, int64_t from, int64_t last, uint64_t off, bool run,
		     uint64_t *start, uint64_t *end, bool *found, int64_t *next)
{
	struct pfs_sql_query *q = NULL;
	int64_t rows = 0;
	bool done = false;
	int ret;

	ret = pfs_sql_begin(c, KV_CHUNKS_NEXT, &q, "iii", from, last, run ? NEXT_ROWS : 2);
	while (!ret && !done && (ret = pfs_sql_step(c, q)) == 1) {
		int64_t key = c->driver->integer(q, 0);
		uint64_t at = ((uint64_t)key & INDEX_MASK) * PFS_KV_CHUNK;
		uint64_t stop = at + (uint64_t)c->driver->integer(q, 1);

		ret = 0;
		rows++;
		*next = key + 1;
		if (stop <= off)
			continue;
		if (*found && at != *end) {
			done = true;
			break;
		}
		if (!*found)
			*start = at > off ? at : off;
		*found = true;
		*end = stop;
		done = !run;
	}
	pfs_sql_end(c, q);
	return ret < 0 ? ret : done || rows < (run ? NEXT_ROWS : 2);
}

int pfs_kv_content_next(struct pfs_sql_conn *c, uint64_t content, uint64_t size, uint64_t off,
			bool run, uint64_t *start, uint64_t *end)
{
	int64_t next, last;
	bool found = false;
	int ret = 0;

	if (off >= size)
		return -ENXIO;
	next = chunk_key(content, off / PFS_KV_CHUNK);
	last = chunk_key(content, (size - 1) / PFS_KV_CHUNK);
	while (ret == 0)
		ret = next_page(c, next, last, off, run, start, end, &found, &next);
	if (ret < 0)
		return ret;
	return found ? 0 : -ENXIO;
}

/* The stored length of a chunk; 0 when there is none. */
static int64_t chunk_len(struct pfs_sql_conn *c, int64_t key)
{
	int64_t len = 0;
	int ret = pfs_sql_integer(c, KV_CHUNK_LEN, &len, "i", key);

	return ret < 0 ? ret : len;
}

/* Read a chunk into buf, which is zeroed behind its end. Its stored length or -errno. */
static int64_t chunk_get(struct pfs_sql_conn *c, int64_t key, char buf[PFS_KV_CHUNK])
{
	struct pfs_sql_query *q = NULL;
	size_t len = 0;
	int ret;

	ret = pfs_sql_begin(c, KV_CHUNK_GET, &q, "i", key);
	if (!ret)
		ret = pfs_sql_step(c, q);
	if (ret == 1) {
		struct pfs_bytes data = c->driver->bytes(q, 0);

		len = data.len < PFS_KV_CHUNK ? data.len : PFS_KV_CHUNK;
		memcpy(buf, data.p, len);
	}
	pfs_sql_end(c, q);
	if (ret < 0)
		return ret;
	memset(buf + len, 0, PFS_KV_CHUNK - len);
	return (int64_t)len;
}

static int chunk_put(struct pfs_sql_conn *c, int64_t key, const void *data, size_t len)
{
	int64_t ret = pfs_sql_write(c, KV_CHUNK_PUT, "ib", key, data, len);

	return ret < 0 ? (int)ret : 0;
}

/* Write [at, at+len) of one chunk. fresh: there is none yet. */
static int chunk_write(struct pfs_sql_conn *c, int64_t key, size_t at, const char *data, size_t len,
		       bool fresh, uint64_t *stored)
{
	char buf[PFS_KV_CHUNK];
	int64_t old = 0;

	if (at == 0 && !fresh)
		old = chunk_len(c, key);
	if (old < 0)
		return (int)old;
	if (at == 0 && (int64_t)len >= old) {
		*stored += len - (uint64_t)old;
		return chunk_put(c, key, data, len);
	}
	if (fresh)
		memset(buf, 0, at);
	else
		old = chunk_get(c, key, buf);
	if (old < 0)
		return (int)old;
	memcpy(buf + at, data, len);
	len = at + len > (size_t)old ? at + len : (size_t)old;
	*stored += len - (uint64_t)old;
	return chunk_put(c, key, buf, len);
}

/* How many chunks a content of `size` can have; behind them nothing is stored. */
static uint64_t chunk_count(uint64_t size)
{
	return size == 0 ? 0 : (size - 1) / PFS_KV_CHUNK + 1;
}

int pfs_kv_content_write(struct pfs_sql_conn *c, uint64_t content, uint64_t size,
			 const struct pfs_seg *segs, size_t nsegs, uint64_t *stored)
{
	uint64_t chunks = chunk_count(size);
	size_t i;
	int err = 0;

	for (i = 0; i < nsegs && !err; i++) {
		const char *p = segs[i].p;
		uint64_t off = segs[i].off, end = off + segs[i].len;

		while (off < end && !err) {
			uint64_t index = off / PFS_KV_CHUNK;
			size_t at = off % PFS_KV_CHUNK, n = PFS_KV_CHUNK - at;

			if (n > end - off)
				n = (size_t)(end - off);
			err = chunk_write(c, chunk_key(content, index), at, p, n, index >= chunks,
					  stored);
			if (index >= chunks)
				chunks = index + 1;
			p += n;
			off += n;
		}
	}
	return err;
}

/* Remove the chunks from index `first` to `last`. */
static int chunks_remove(struct pfs_sql_conn *c, uint64_t content, uint64_t first, uint64_t last,
			 uint64_t *stored)
{
	int64_t freed = 0, ret;

	if (first > last)
		return 0;
	ret = pfs_sql_integer(c, KV_CHUNKS_LEN, &freed, "ii", chunk_key(content, first),
			      chunk_key(content, last));
	if (ret == 1 && freed > 0)
		ret = pfs_sql_write(c, KV_CHUNKS_DEL, "ii", chunk_key(content, first),
				    chunk_key(content, last));
	if (ret < 0)
		return (int)ret;
	*stored -= (uint64_t)freed;
	return 0;
}

/* Segs in order, none overlapping: the common case. */
static bool segs_plain(const struct pfs_seg *segs, size_t nsegs)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < nsegs; i++) {
		if (segs[i].off < end)
			return false;
		end = segs[i].off + segs[i].len;
	}
	return true;
}

/* The part of segs that falls into chunk `index`, in buf or borrowed; *len: up to its last byte. */
static const char *replace_gather(const struct pfs_seg *segs, size_t nsegs, uint64_t index,
				  char buf[PFS_KV_CHUNK], size_t *len)
{
	uint64_t start = index * PFS_KV_CHUNK, end = start + PFS_KV_CHUNK;
	size_t i;

	*len = 0;
	for (i = 0; i < nsegs && segs[i].off < end; i++) {
		uint64_t from = segs[i].off > start ? segs[i].off : start;
		uint64_t to = segs[i].off + segs[i].len < end ? segs[i].off + segs[i].len : end;
		const char *p = (const char *)segs[i].p + (from - segs[i].off);

		if (to <= from)
			continue;
		if (from == start && (to == end || i + 1 == nsegs || segs[i + 1].off >= end)) {
			*len = (size_t)(to - from);
			return p;
		}
		memset(buf + *len, 0, (size_t)(from - start) - *len);
		memcpy(buf + (from - start), p, (size_t)(to - from));
		*len = (size_t)(to - start);
	}
	return buf;
}

/* Replace by segs that are plain; chunks between and behind them are removed. */
static int replace_plain(struct pfs_sql_conn *c, uint64_t content, uint64_t old_chunks,
			 const struct pfs_seg *segs, size_t nsegs, uint64_t *stored)
{
	uint64_t next = 0, dropped = 0;
	char buf[PFS_KV_CHUNK];
	size_t seg = 0, len;
	int err = 0;

	while (!err) {
		uint64_t index = next;
		const char *data;

		while (seg < nsegs &&
		       (segs[seg].len == 0 || segs[seg].off + segs[seg].len <= next * PFS_KV_CHUNK))
			seg++;
		if (seg == nsegs)
			break;
		if (segs[seg].off / PFS_KV_CHUNK > index)
			index = segs[seg].off / PFS_KV_CHUNK;
		data = replace_gather(segs + seg, nsegs - seg, index, buf, &len);
		if (index > next && next < old_chunks)
			err = chunks_remove(c, content, next,
					    (index < old_chunks ? index : old_chunks) - 1,
					    &dropped);
		if (!err)
			err = chunk_put(c, chunk_key(content, index), data, len);
		*stored += len;
		next = index + 1;
	}
	if (!err && next < old_chunks)
		err = chunks_remove(c, content, next, old_chunks - 1, &dropped);
	return err;
}

int pfs_kv_content_replace(struct pfs_sql_conn *c, uint64_t content, uint64_t old_size,
			   const struct pfs_seg *segs, size_t nsegs, uint64_t *stored)
{
	uint64_t old_chunks = chunk_count(old_size), dropped = 0;
	int err = 0;

	*stored = 0;
	if (segs_plain(segs, nsegs))
		return replace_plain(c, content, old_chunks, segs, nsegs, stored);
	if (old_chunks > 0)
		err = chunks_remove(c, content, 0, old_chunks - 1, &dropped);
	return err ? err : pfs_kv_content_write(c, content, 0, segs, nsegs, stored);
}

/* Zero [at, end) of one chunk, or cut it where nothing follows. */
static int chunk_clear(struct pfs_sql_conn *c, int64_t key, size_t at, size_t end, uint64_t *stored)
{
	char buf[PFS_KV_CHUNK];
	int64_t old, len, ret;

	old = chunk_len(c, key);
	if (old <= (int64_t)at)
		return old < 0 ? (int)old : 0;
	ret = chunk_get(c, key, buf);
	len = old;
	if ((int64_t)end >= old)
		len = (int64_t)at;
	else
		memset(buf + at, 0, end - at);
	if (ret >= 0 && len > 0)
		ret = chunk_put(c, key, buf, (size_t)len);
	else if (ret >= 0)
		ret = pfs_sql_write(c, KV_CHUNKS_DEL, "ii", key, key);
	*stored -= (uint64_t)(old - len);
	return ret < 0 ? (int)ret : 0;
}

int pfs_kv_content_punch(struct pfs_sql_conn *c, uint64_t content, uint64_t off, uint64_t end,
			 uint64_t *stored)
{
	uint64_t first = off / PFS_KV_CHUNK, last = (end - 1) / PFS_KV_CHUNK;
	size_t at = off % PFS_KV_CHUNK, stop = (end - 1) % PFS_KV_CHUNK + 1;
	int err = 0;

	if (off >= end)
		return 0;
	if (first == last)
		return chunk_clear(c, chunk_key(content, first), at, stop, stored);
	if (at != 0) {
		err = chunk_clear(c, chunk_key(content, first), at, PFS_KV_CHUNK, stored);
		first++;
	}
	if (!err && stop < PFS_KV_CHUNK) {
		err = chunk_clear(c, chunk_key(content, last), 0, stop, stored);
		last--;
	}
	if (!err && first <= last)
		err = chunks_remove(c, content, first, last, stored);
	return err;
}

int pfs_kv_content_truncate(struct pfs_sql_conn *c, uint64_t content, uint64_t old_size,
			    uint64_t size, uint64_t *stored)
{
	uint64_t end = old_size + PFS_KV_CHUNK - 1;

	/* Up to the end of the last chunk, so that it goes whole. */
	return size >= old_size
		       ? 0
		       : pfs_kv_content_punch(c, content, size, end - end % PFS_KV_CHUNK, stored);
}
