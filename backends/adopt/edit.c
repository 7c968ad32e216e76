/*
 * What content mutations make of a value that is in memory as a whole. Bounded by PFS_VIEW_VALUE_MAX,
 * which is checked before anything is allocated.
 */
#include "backends/adopt/adopt.h"

bool adopt_is_content_op(enum pfs_op op)
{
	switch (op) {
	case PFS_OP_WRITE:
	case PFS_OP_APPEND:
	case PFS_OP_REPLACE:
	case PFS_OP_TRUNCATE:
	case PFS_OP_PUNCH:
	case PFS_OP_PUBLISH:
		return true;
	default:
		return false;
	}
}

bool adopt_edit_whole(const struct pfs_mutation *m)
{
	return m->op == PFS_OP_CREATE || m->op == PFS_OP_REPLACE || m->op == PFS_OP_PUBLISH ||
	       (m->op == PFS_OP_TRUNCATE && m->size == 0);
}

/* Cut, or grow with zeros. */
static int resize(struct pfs_buf *out, uint64_t size)
{
	static const char zeros[4096];
	size_t n;

	if (size > PFS_VIEW_VALUE_MAX)
		return -EFBIG;
	if (size < out->len)
		out->len = (size_t)size;
	while (out->len < size && !out->failed) {
		n = (size_t)size - out->len;
		pfs_buf_add(out, zeros, n < sizeof(zeros) ? n : sizeof(zeros));
	}
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

static int put(struct pfs_buf *out, uint64_t off, const void *p, size_t len)
{
	int err = 0;

	if (off > PFS_VIEW_VALUE_MAX || len > PFS_VIEW_VALUE_MAX - off)
		return -EFBIG;
	if (off + len > out->len)
		err = resize(out, off + len);
	if (!err && len)
		memcpy(out->data + off, p, len);
	return err;
}

static int put_segs(const struct pfs_mutation *m, struct pfs_buf *out)
{
	size_t i;
	int err = 0;

	for (i = 0; i < m->nsegs && !err; i++)
		err = put(out, m->segs[i].off, m->segs[i].p, m->segs[i].len);
	return err;
}

static int append(const struct pfs_mutation *m, struct pfs_buf *out)
{
	size_t i;
	int err = 0;

	for (i = 0; i < m->nsegs && !err; i++)
		err = put(out, out->len, m->segs[i].p, m->segs[i].len);
	return err;
}

static void punch(const struct pfs_mutation *m, struct pfs_buf *out)
{
	uint64_t end = m->offset + m->length;

	if (m->offset >= out->len)
		return;
	if (end > out->len)
		end = out->len;
	memset(out->data + m->offset, 0, (size_t)(end - m->offset));
}

static int edit_one(const struct pfs_mutation *m, const struct pfs_buf *staged, struct pfs_buf *out)
{
	int err;

	switch (m->op) {
	case PFS_OP_CREATE:
	case PFS_OP_REPLACE:
		out->len = 0;
		err = resize(out, m->size);
		return err ? err : put_segs(m, out);
	case PFS_OP_WRITE:
		return put_segs(m, out);
	case PFS_OP_APPEND:
		return append(m, out);
	case PFS_OP_TRUNCATE:
		return resize(out, m->size);
	case PFS_OP_PUNCH:
		punch(m, out);
		return 0;
	case PFS_OP_PUBLISH:
		if (!staged)
			return -ENOENT;
		out->len = 0;
		err = put(out, 0, staged->data, staged->len < m->size ? staged->len : m->size);
		return err ? err : resize(out, m->size);
	default:
		return -EOPNOTSUPP;
	}
}

int adopt_edit(const struct pfs_mutation *ops, size_t n, const struct pfs_buf *staged,
	       struct pfs_bytes old, struct pfs_buf *out)
{
	size_t i;
	int err = 0;

	if (!adopt_edit_whole(&ops[0]))
		err = put(out, 0, old.p, old.len);
	for (i = 0; i < n && !err; i++)
		err = edit_one(&ops[i], staged, out);
	pfs_buf_str(out, "");
	return err ? err : out->failed ? -ENOMEM : 0;
}

struct pfs_view_content pfs_view_content_of(struct pfs_bytes value)
{
	struct pfs_view_content out = {value.len, UINT64_C(0xcbf29ce484222325)};
	size_t i;

	for (i = 0; i < value.len; i++)
		out.digest = (out.digest ^ (unsigned char)value.p[i]) * UINT64_C(0x100000001b3);
	return out;
}

bool pfs_view_is_content(const struct pfs_view_content *want, struct pfs_bytes value)
{
	return value.len == want->size && pfs_view_content_of(value).digest == want->digest;
}
