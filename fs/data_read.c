/*
 * What this mount shows of a file: the engine's bytes, those of a commit under way on top, and what
 * was written and is not committed on top of that (data.c has them). Bytes that were appended have
 * no place yet where other mounts may append too: they are committed before they are shown.
 */
#include "fs/internal.h"

/* What lies under this mount's dirty bytes. Returns bytes read, the rest of buf is zeroed. */
static ssize_t read_base(struct pfs_data *data, uint64_t base, void *buf, size_t len, uint64_t off)
{
	struct pfs_node *node = data->node;
	uint64_t id;
	ssize_t n = 0;
	int err;

	err = pfs_node_id(node, &id);
	if (err)
		return err;
	if (base)
		n = pfs_store_read(atomic_load(&node->vol->store), base, off, buf, len);
	if (n < 0)
		return n == -ENOENT ? -ESTALE : n;
	if ((size_t)n < len)
		memset((char *)buf + n, 0, len - (size_t)n);
	return n;
}

/*
 * Before bytes up to `end` are shown: what was appended gets its place. data->lock is held, and
 * dropped meanwhile.
 */
static int settle_append(struct pfs_data *data, uint64_t end)
{
	int err;

	if (data->busy && end > data->committing_at)
		pfs_data_wait_idle(data);
	if (end <= data->append_at)
		return 0;
	pthread_mutex_unlock(&data->lock);
	err = pfs_data_commit(data, PFS_GOAL_PUBLISH);
	pthread_mutex_lock(&data->lock);
	return err;
}

static void lay(const struct pfs_dirty *d, uint64_t below, uint64_t off, void *buf, size_t len)
{
	if (below > off)
		pfs_dirty_overlay(d, off, buf, below - off < len ? (size_t)(below - off) : len);
}

/* How far this mount's bytes reach that have a place, those before committing_at and append_at. */
static uint64_t placed_end(const struct pfs_data *data)
{
	uint64_t old = data->busy ? pfs_dirty_end(&data->committing, data->committing_at) : 0;
	uint64_t fresh = pfs_dirty_end(&data->dirty, data->append_at);

	return old > fresh ? old : fresh;
}

/*
 * Put what was written over the n bytes that the engine has; returns how many there are now. `placed`:
 * only what has its place in the engine; appended bytes are left out until then. data->lock is held.
 */
static ssize_t lay_over(struct pfs_data *data, bool placed, ssize_t n, void *buf, size_t len,
			uint64_t off)
{
	uint64_t size = off + (uint64_t)n, end = data->size;

	if (placed && !data->rewrite)
		end = placed_end(data);
	if (data->local && (data->rewrite || end > size))
		size = end;
	lay(&data->committing, placed && data->busy ? data->committing_at : UINT64_MAX, off, buf,
	    len);
	lay(&data->dirty, placed ? data->append_at : UINT64_MAX, off, buf, len);
	return size > off ? (size - off < len ? (ssize_t)(size - off) : (ssize_t)len) : 0;
}

/* The engine's bytes, such that no commit came between them and what is laid over. Lock as above. */
static ssize_t read_under(struct pfs_data *data, void *buf, size_t len, uint64_t off)
{
	uint64_t commits, base;
	ssize_t n;

	do {
		commits = data->commits;
		base = data->rewrite ? data->content : data->create ? 0 : data->node->id;
		pthread_mutex_unlock(&data->lock);
		n = read_base(data, base, buf, len, off);
		pthread_mutex_lock(&data->lock);
		/* A staged content is gone as soon as it is published. */
		if (n == -ESTALE)
			pfs_data_wait_idle(data);
	} while (commits != data->commits);
	return n;
}

/*
 * Nothing may be left out that was written before the read began: the kernel knows that it is there,
 * and fills the gap with zeros. So where this mount was alone at the beginning, and nothing was given
 * its place, and is not any more (its push channel is lost, say), the read begins anew.
 */
static ssize_t read_local(struct pfs_data *data, void *buf, size_t len, uint64_t off)
{
	bool placed;
	ssize_t n;

	do {
		placed = pfs_data_shared(data);
		n = placed ? settle_append(data, off + len) : 0;
		if (n == 0)
			n = read_under(data, buf, len, off);
	} while (n >= 0 && !placed && pfs_data_shared(data));
	return n < 0 ? n : lay_over(data, placed, n, buf, len, off);
}

static ssize_t read_engine(struct pfs_data *data, void *buf, size_t len, uint64_t off)
{
	struct pfs_store *store;
	uint64_t id;
	ssize_t n;
	int err;

	err = pfs_node_id(data->node, &id);
	if (err)
		return err;
	store = atomic_load(&data->node->vol->store);
	n = pfs_store_read(store, id, off, buf, len);
	return n == -ENOENT ? -ESTALE : n;
}

ssize_t pfs_data_read(struct pfs_data *data, void *buf, size_t len, uint64_t off)
{
	ssize_t n = 0;
	bool local;

	pthread_mutex_lock(&data->lock);
	local = data->local;
	if (local)
		n = read_local(data, buf, len, off);
	pthread_mutex_unlock(&data->lock);
	return local ? n : read_engine(data, buf, len, off);
}

ssize_t pfs_data_peek(struct pfs_data *data, void *buf, size_t len, uint64_t off)
{
	ssize_t n = 0;
	bool local;

	pthread_mutex_lock(&data->lock);
	local = data->local;
	if (local)
		n = read_under(data, buf, len, off);
	if (local && n >= 0)
		n = lay_over(data, pfs_data_shared(data), n, buf, len, off);
	pthread_mutex_unlock(&data->lock);
	return local ? n : read_engine(data, buf, len, off);
}
