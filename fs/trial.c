/*
 * What a file's first write is told. Shells do not ask what close says, so what the engine has against a
 * value is asked for when it is written, and not only committed at close.
 */
#include "fs/internal.h"

/* As a commit of this write alone would have it. False: it is not the first. */
static bool plan_trial(struct pfs_data *data, enum pfs_append append, struct pfs_mutation *m)
{
	uint64_t end = m->segs[0].off + m->segs[0].len;
	bool first;

	pthread_mutex_lock(&data->lock);
	pfs_data_wait_idle(data);
	first = !data->written && !data->create && !data->content && pfs_dirty_empty(&data->dirty);
	m->op = data->rewrite ? PFS_OP_REPLACE : append ? PFS_OP_APPEND : PFS_OP_WRITE;
	if (data->rewrite)
		m->size = end > data->size ? end : data->size;
	m->set.mtime = pfs_now_ns();
	m->set.mask = PFS_SET_MTIME;
	pthread_mutex_unlock(&data->lock);
	return first;
}

/* Whoever else writes the file goes on; without them the old content stands from now on. */
static void refuse(struct pfs_data *data)
{
	struct pfs_node *node = data->node;
	bool others;

	pthread_mutex_lock(&data->lock);
	data->refused = true;
	others = data->writers > 1;
	pthread_mutex_unlock(&data->lock);
	if (others)
		return;
	pfs_data_drop_unwritten(data);
	pfs_node_drop_attr(node->vol->fs, node);
	pfs_inval_node_later(node->vol->fs, node);
}

int pfs_data_try(struct pfs_data *data, const void *buf, size_t len, uint64_t off,
		 enum pfs_append append)
{
	struct pfs_node *node = data->node;
	struct pfs_seg seg = {.off = off, .p = buf, .len = len};
	struct pfs_mutation m = {.segs = &seg, .nsegs = 1};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .trial = true};
	int err;

	if (!plan_trial(data, append, &m))
		return 0;
	err = pfs_node_id(node, &m.id);
	if (!err)
		err = pfs_vol_commit(node->vol, &batch, node, PFS_BYTES(""));
	if (err)
		refuse(data);
	return err == -ENOENT ? -ESTALE : err;
}
