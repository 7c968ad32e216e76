/*
 * Extended attributes: user.* and trusted.* are kept with the object; user.persistfs.* tell about it
 * and are not listed, so that copies do not carry them. Other classes are refused.
 */
#include <stdio.h>
#include <sys/xattr.h>
#include <time.h>

#include "fs/internal.h"

static bool has_prefix(struct pfs_bytes name, const char *prefix)
{
	size_t n = strlen(prefix);

	return name.len >= n && memcmp(name.p, prefix, n) == 0;
}

/* Names that are kept; -EOPNOTSUPP for classes that are not offered. */
static int check_name(const struct pfs_node *node, struct pfs_bytes name)
{
	if (!pfs_node_is_object(node))
		return -EOPNOTSUPP;
	if (!has_prefix(name, "user.") && !has_prefix(name, "trusted."))
		return -EOPNOTSUPP;
	if (name.len > PFS_XATTR_NAME_MAX)
		return -ERANGE;
	if (pfs_vol_offers(node->vol, PFS_CAP_XATTRS) || has_prefix(name, PFS_XATTR_PREFIX))
		return 0;
	return -EOPNOTSUPP;
}

/* Commit one change of the object, after everything that waits before it. */
static int commit_change(struct pfs_fs *fs, struct pfs_node *node, struct pfs_mutation *m)
{
	struct pfs_batch batch = {.ops = m, .nops = 1};
	struct pfs_stamp stamp;
	int err;

	if (node->vol->config->write_mode == PFS_WRITE_QUEUED)
		err = pfs_queue_settle(node->vol);
	else
		err = pfs_node_settle(fs, node);
	stamp = pfs_stamp_take(fs);
	if (!err)
		err = pfs_node_id(node, &m->id);
	if (!err)
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
	if (!err)
		pfs_node_set_attr(fs, node, &m->attr, stamp);
	return err == -ENOENT ? -ESTALE : err;
}

/* ---- expiry --------------------------------------------------------------------------------- */

static bool about_expiry(struct pfs_bytes name)
{
	return pfs_bytes_eq(name, PFS_BYTES(PFS_XATTR_PREFIX "ttl")) ||
	       pfs_bytes_eq(name, PFS_BYTES(PFS_XATTR_PREFIX "expires"));
}

static bool offers_expiry(const struct pfs_node *node)
{
	return pfs_vol_offers(node->vol, PFS_CAP_EXPIRY);
}

/* Seconds, or seconds since the epoch, with nine digits behind the point; -ENODATA: never. */
static int tell_expiry(const struct pfs_attr *attr, bool left, struct pfs_buf *out)
{
	int64_t ns = attr->expires;

	if (!ns)
		return -ENODATA;
	if (left)
		ns = ns > pfs_now_ns() ? ns - pfs_now_ns() : 0;
	pfs_buf_printf(out, "%lld.%09lld", (long long)(ns / NSEC_PER_SEC),
		       (long long)(ns % NSEC_PER_SEC));
	return 0;
}

/* A number of seconds, up to nine digits behind a point. */
static int parse_seconds(const char *text, int64_t *ns)
{
	int64_t whole = 0, part = 0, unit = NSEC_PER_SEC;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *p - '0', &whole))
			return -ERANGE;
	if (p == text)
		return -EINVAL;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9' && unit > 1; p++)
			part += (*p - '0') * (unit /= 10);
	if (*p)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, NSEC_PER_SEC, ns) ||
	    __builtin_add_overflow(*ns, part, ns))
		return -ERANGE;
	return 0;
}

/* "90", "0.5", or as in persistfs.ini: "24h". */
static int parse_ttl(const char *text, int64_t *ns)
{
	static const struct pfs_option duration = {.name = "ttl", .type = PFS_OPT_DURATION};
	struct pfs_option_value value = {0};
	struct pfs_msg msg;
	int err = parse_seconds(text, ns);

	if (err != -EINVAL)
		return err;
	if (pfs_option_parse(&duration, text, &value, &msg))
		return -EINVAL;
	*ns = value.num;
	return 0;
}

/* Seconds since the epoch, or RFC 3339 in UTC: 2031-12-24T18:00:00Z. */
static int parse_time(const char *text, int64_t *ns)
{
	struct tm tm = {0};
	const char *end;
	int err = parse_seconds(text, ns);

	if (err != -EINVAL)
		return err;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (!end || *end)
		return -EINVAL;
	return __builtin_mul_overflow((int64_t)timegm(&tm), NSEC_PER_SEC, ns) ? -ERANGE : 0;
}

/* What `value` says, as a time; 0: never. */
static int expiry_of(struct pfs_bytes name, struct pfs_bytes value, int64_t *out)
{
	char text[64];
	int64_t ns = 0;
	int err;

	if (value.len >= sizeof(text) || memchr(value.p, '\0', value.len))
		return -EINVAL;
	memcpy(text, value.p, value.len);
	text[value.len] = '\0';
	if (!pfs_bytes_eq(name, PFS_BYTES(PFS_XATTR_PREFIX "ttl")))
		return parse_time(text, out);
	err = parse_ttl(text, &ns);
	if (!err && ns && __builtin_add_overflow(ns, pfs_now_ns(), &ns))
		err = -ERANGE;
	*out = ns;
	return err;
}

static int set_expiry(struct pfs_fs *fs, struct pfs_node *node, int64_t expires, int flags)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR};
	struct pfs_attr attr;
	int err;

	err = pfs_node_prepare(node);
	if (err)
		return err;
	if (!offers_expiry(node))
		return -EOPNOTSUPP;
	err = pfs_node_attr(fs, node, &attr);
	if (err)
		return err;
	/* What others keep may expire whatever it is shown as: that is for the view to say. */
	if (!S_ISREG(attr.mode) && !pfs_vol_offers(node->vol, PFS_CAP_TOLD_XATTRS))
		return -EOPNOTSUPP;
	if ((flags & XATTR_CREATE) && attr.expires)
		return -EEXIST;
	if ((flags & XATTR_REPLACE) && !attr.expires)
		return -ENODATA;
	m.set.mask = PFS_SET_EXPIRES;
	m.set.expires = expires;
	err = commit_change(fs, node, &m);
	if (!err)
		pfs_inval_known_later(fs, node);
	return err;
}

static int virtual_value(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name,
			 struct pfs_buf *out)
{
	struct pfs_bytes what = {name.p + strlen(PFS_XATTR_PREFIX),
				 name.len - strlen(PFS_XATTR_PREFIX)};
	struct pfs_attr attr;
	int err;

	if (pfs_bytes_eq(what, PFS_BYTES("store"))) {
		pfs_buf_str(out, node->vol->name);
		return 0;
	}
	if (pfs_bytes_eq(what, PFS_BYTES("backend"))) {
		pfs_buf_str(out, node->vol->config->backend_name);
		return 0;
	}
	if (pfs_bytes_eq(what, PFS_BYTES("key"))) {
		pfs_node_key(fs, node, out);
		return 0;
	}
	err = pfs_node_attr(fs, node, &attr);
	if (err)
		return err;
	if (about_expiry(name) && !offers_expiry(node))
		return -EOPNOTSUPP;
	if (about_expiry(name))
		return tell_expiry(&attr, pfs_bytes_eq(what, PFS_BYTES("ttl")), out);
	if (pfs_bytes_eq(what, PFS_BYTES("version")))
		pfs_buf_printf(out, "%llu", (unsigned long long)attr.version);
	else if (pfs_bytes_eq(what, PFS_BYTES("created")) && attr.btime)
		pfs_buf_printf(out, "%lld.%09lld", (long long)(attr.btime / NSEC_PER_SEC),
			       (long long)(attr.btime % NSEC_PER_SEC));
	else
		return -ENODATA;
	return 0;
}

static ssize_t give(const struct pfs_buf *value, void *buf, size_t len)
{
	if (value->failed)
		return -ENOMEM;
	if (len && value->len > len)
		return -ERANGE;
	if (len && value->len)
		memcpy(buf, value->data, value->len);
	return (ssize_t)value->len;
}

ssize_t pfs_fs_getxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name, void *buf,
			size_t len)
{
	struct pfs_buf value = {0};
	uint64_t id;
	ssize_t n;
	int err;

	err = check_name(node, name);
	if (err)
		return err;
	if (has_prefix(name, PFS_XATTR_PREFIX)) {
		err = virtual_value(fs, node, name, &value);
		n = err ? err : give(&value, buf, len);
		pfs_buf_release(&value);
		if (n != -ENODATA || !pfs_vol_offers(node->vol, PFS_CAP_TOLD_XATTRS))
			return n;
	}
	err = pfs_node_id(node, &id);
	if (err)
		return err;
	n = pfs_store_xattr_get(atomic_load(&node->vol->store), id, name, buf, len);
	if (n != -ENOENT)
		return n;
	/* Not in the engine yet: nothing can have been set. */
	return node->pins ? -ENODATA : -ESTALE;
}

int pfs_fs_listxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_buf *out)
{
	uint64_t id;
	int err;

	(void)fs;
	if (!pfs_node_is_object(node))
		return 0;
	err = pfs_node_id(node, &id);
	if (!err)
		err = pfs_store_xattr_list(atomic_load(&node->vol->store), id, out);
	if (err == -EOPNOTSUPP || err == -ENODATA)
		return 0;
	if (err == -ENOENT)
		return node->pins ? 0 : -ESTALE;
	return err;
}

static int change(struct pfs_fs *fs, struct pfs_node *node, struct pfs_mutation *m)
{
	int err = pfs_node_prepare(node);

	if (err)
		return err;
	if (has_prefix(m->name, PFS_XATTR_PREFIX) && !pfs_vol_offers(node->vol, PFS_CAP_TOLD_XATTRS))
		return -EPERM;
	return commit_change(fs, node, m);
}

int pfs_fs_setxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name,
		    const void *value, size_t len, int flags)
{
	struct pfs_seg seg = {.p = value, .len = len};
	struct pfs_mutation m = {.op = PFS_OP_SETXATTR, .name = name, .segs = &seg, .nsegs = 1};
	int64_t expires;
	int err;

	err = check_name(node, name);
	if (err)
		return err;
	if (about_expiry(name)) {
		err = expiry_of(name, (struct pfs_bytes){value, len}, &expires);
		return err ? err : set_expiry(fs, node, expires, flags);
	}
	if (len > PFS_XATTR_SIZE_MAX)
		return -E2BIG;
	if (flags & XATTR_CREATE)
		m.flags |= PFS_F_CREATE;
	if (flags & XATTR_REPLACE)
		m.flags |= PFS_F_REPLACE;
	return change(fs, node, &m);
}

int pfs_fs_removexattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVEXATTR, .name = name};
	int err;

	err = check_name(node, name);
	if (!err && about_expiry(name))
		return set_expiry(fs, node, 0, XATTR_REPLACE);
	return err ? err : change(fs, node, &m);
}
