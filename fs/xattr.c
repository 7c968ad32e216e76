/*
 * Extended attributes: user.* and trusted.* are kept with the object; user.persistfs.* tell about it
 * and are not listed, so that copies do not carry them. Other classes are refused.
 */
#include <stdio.h>
#include <sys/xattr.h>

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
	if (!(pfs_backend_capabilities(node->vol->config->backend) & PFS_CAP_XATTRS))
		return -EOPNOTSUPP;
	return 0;
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
	if (pfs_bytes_eq(what, PFS_BYTES("version")))
		pfs_buf_printf(out, "%llu", (unsigned long long)attr.version);
	else if (pfs_bytes_eq(what, PFS_BYTES("created")))
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
	if (err == -EOPNOTSUPP)
		return 0;
	if (err == -ENOENT)
		return node->pins ? 0 : -ESTALE;
	return err;
}

/* Commit one change of an xattr, after everything that waits before it. */
static int change(struct pfs_fs *fs, struct pfs_node *node, struct pfs_mutation *m)
{
	struct pfs_batch batch = {.ops = m, .nops = 1};
	struct pfs_stamp stamp;
	int err;

	if (!pfs_node_writable(node))
		return -EROFS;
	if (has_prefix(m->name, PFS_XATTR_PREFIX))
		return -EPERM;
	if (node->vol->config->write_mode == PFS_WRITE_QUEUED)
		err = pfs_queue_settle(node->vol);
	else
		err = pfs_data_commit_node(fs, node, PFS_GOAL_CREATE);
	stamp = pfs_stamp_take(fs);
	if (!err)
		err = pfs_node_id(node, &m->id);
	if (!err)
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
	if (!err)
		pfs_node_set_attr(fs, node, &m->attr, stamp);
	return err == -ENOENT ? -ESTALE : err;
}

int pfs_fs_setxattr(struct pfs_fs *fs, struct pfs_node *node, struct pfs_bytes name,
		    const void *value, size_t len, int flags)
{
	struct pfs_seg seg = {.p = value, .len = len};
	struct pfs_mutation m = {.op = PFS_OP_SETXATTR, .name = name, .segs = &seg, .nsegs = 1};
	int err;

	err = check_name(node, name);
	if (err)
		return err;
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
	return err ? err : change(fs, node, &m);
}
