/*
 * What a batch means to a view. A batch of fs/ is about one file or one name: content ops are folded into
 * one write (content.c), names are made, removed and moved (entry.c, rename.c).
 *
 * Every function takes the lock for itself and asks the view without it. Two calls about the same name at
 * the same time are ordered by the engine; the nodes follow.
 */
#include "backends/adopt/commit.h"

static int check_version(struct adopt *a, const struct pfs_batch *batch)
{
	const struct pfs_mutation *m = &batch->ops[0];
	struct pfs_attr attr = {0};
	struct adopt_node *node;
	int err = 0;

	if (!(m->flags & PFS_F_IF_VERSION))
		return 0;
	node = adopt_get(a, m->id);
	if (!node)
		return -ENOENT;
	if (!adopt_in_memory(node))
		err = adopt_ask(a, node, &attr);
	else
		attr.version = node->version;
	adopt_put(a, node);
	return err ? err : attr.version == m->expect_version ? 0 : -EAGAIN;
}

static int commit_single(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];

	if (batch->nops != 1)
		return -EOPNOTSUPP;
	switch (m->op) {
	case PFS_OP_SETATTR:
		return adopt_commit_setattr(a, m);
	case PFS_OP_REMOVE:
		return adopt_commit_remove(a, m);
	case PFS_OP_RENAME:
		return adopt_commit_rename(a, m);
	case PFS_OP_LINK:
		return -EPERM;
	case PFS_OP_SETXATTR:
	case PFS_OP_REMOVEXATTR:
		return adopt_commit_xattr(a, m);
	case PFS_OP_STAGE:
		return adopt_change_staged(a, m);
	case PFS_OP_DISCARD:
		pthread_mutex_lock(&a->lock);
		adopt_staged_drop(a, m->content);
		pthread_mutex_unlock(&a->lock);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* The file that the batch changes the content of; 0: it does something else. */
static uint64_t content_of(const struct pfs_batch *batch)
{
	size_t i;

	for (i = 0; i < batch->nops; i++)
		if (adopt_is_content_op(batch->ops[i].op) && batch->ops[i].id)
			return batch->ops[i].id;
	return 0;
}

int adopt_change_error(int err, bool *final)
{
	*final = err == -EBUSY || err == -EINPROGRESS;
	if (err == -EAGAIN)
		return -EBUSY;
	return err == -EINPROGRESS ? -EIO : err;
}

static int commit(struct adopt *a, struct pfs_batch *batch)
{
	struct pfs_mutation *m = &batch->ops[0];
	uint64_t id = content_of(batch);
	int err;

	if (m->op == PFS_OP_CREATE)
		err = adopt_commit_create(a, batch);
	else if (id)
		err = adopt_commit_content(a, batch, id);
	else if ((m->op == PFS_OP_TRUNCATE || m->op == PFS_OP_PUNCH) && m->content)
		err = batch->nops == 1 ? adopt_change_staged(a, m) : -EOPNOTSUPP;
	else
		err = commit_single(a, batch);
	return adopt_change_error(err, &batch->final);
}

int adopt_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	struct adopt *a = adopt_of(s->backend);
	int err;

	pfs_error_text_clear();
	err = check_version(a, batch);
	if (!err)
		err = commit(a, batch);
	if (err)
		pfs_msg_set(&batch->msg, "%s", pfs_error_text());
	return err;
}
