/*
 * The table of nodes: ids for what has none. A node is found by its id, and by its directory and name.
 * Nodes of keys that nobody has open are forgotten when there are many; their ids then answer -ENOENT,
 * and the same names get new ones.
 */
#include "backends/adopt/adopt.h"

#define FIRST_BUCKETS 256

static size_t id_bucket(const struct adopt *a, uint64_t id)
{
	return (id * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (a->buckets - 1);
}

static size_t name_bucket(const struct adopt *a, const struct adopt_node *dir,
			  struct pfs_bytes name)
{
	uint64_t h = dir->id * UINT64_C(0x9e3779b97f4a7c15);
	size_t i;

	for (i = 0; i < name.len; i++)
		h = (h ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	return (h ^ h >> 29) & (a->buckets - 1);
}

static struct pfs_bytes name_of(const struct adopt_node *node)
{
	return (struct pfs_bytes){node->name, node->len};
}

/* ---- order of use --------------------------------------------------------------------------- */

static bool in_use_order(const struct adopt *a, const struct adopt_node *node)
{
	return node->older || node->younger || a->oldest == node;
}

static void use_unlink(struct adopt *a, struct adopt_node *node)
{
	if (!in_use_order(a, node))
		return;
	*(node->older ? &node->older->younger : &a->oldest) = node->younger;
	*(node->younger ? &node->younger->older : &a->youngest) = node->older;
	node->older = node->younger = NULL;
}

static void use_now(struct adopt *a, struct adopt_node *node)
{
	if (node->state != ADOPT_KEY || node == a->root)
		return;
	use_unlink(a, node);
	node->older = a->youngest;
	*(a->youngest ? &a->youngest->younger : &a->oldest) = node;
	a->youngest = node;
}

/* ---- the tables ----------------------------------------------------------------------------- */

static void id_link(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node **slot = &a->by_id[id_bucket(a, node->id)];

	node->id_next = *slot;
	*slot = node;
}

static void id_unlink(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node **slot = &a->by_id[id_bucket(a, node->id)];

	while (*slot != node)
		slot = &(*slot)->id_next;
	*slot = node->id_next;
}

static void name_link(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node **slot = &a->by_name[name_bucket(a, node->parent, name_of(node))];

	node->name_next = *slot;
	*slot = node;
}

static void name_unlink(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node **slot = &a->by_name[name_bucket(a, node->parent, name_of(node))];

	while (*slot != node)
		slot = &(*slot)->name_next;
	*slot = node->name_next;
}

static void grow(struct adopt *a)
{
	size_t old = a->buckets, i;
	struct adopt_node **ids, **names, **old_ids = a->by_id, **old_names = a->by_name, *node, *next;

	ids = calloc(old * 2, sizeof(struct adopt_node *));
	names = calloc(old * 2, sizeof(struct adopt_node *));
	if (!ids || !names) { /* longer chains, then */
		free(ids);
		free(names);
		return;
	}
	a->by_id = ids;
	a->by_name = names;
	a->buckets = old * 2;
	for (i = 0; i < old; i++) {
		for (node = old_ids[i]; node; node = next) {
			next = node->id_next;
			id_link(a, node);
		}
		for (node = old_names[i]; node; node = next) {
			next = node->name_next;
			name_link(a, node);
		}
	}
	free(old_ids);
	free(old_names);
}

/* ---- texts ---------------------------------------------------------------------------------- */

void adopt_account(struct adopt *a, size_t before, size_t after)
{
	a->memory += after - before;
}

void adopt_text_clear(struct adopt *a, struct pfs_buf *text)
{
	adopt_account(a, text->len, 0);
	pfs_buf_release(text);
	*text = (struct pfs_buf){0};
}

bool adopt_kept_xattr(const struct adopt_node *node, size_t *at, struct pfs_bytes *name,
		      struct pfs_bytes *value)
{
	const char *p = node->xattrs.data + *at;
	uint32_t len;

	if (*at >= node->xattrs.len)
		return false;
	*name = pfs_bytes_str(p);
	p += name->len + 1;
	memcpy(&len, p, sizeof(len));
	*value = (struct pfs_bytes){p + sizeof(len), len};
	*at += name->len + 1 + sizeof(len) + len;
	return true;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void node_free(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node *kept = node->kept;

	use_unlink(a, node);
	id_unlink(a, node);
	adopt_text_clear(a, &node->text);
	pfs_buf_release(&node->xattrs);
	free(node->error);
	free(node->name);
	a->nnodes--;
	free(node);
	if (kept) {
		kept->hidden = false;
		adopt_unpin(a, kept);
	}
}

static bool unused(const struct adopt_node *node)
{
	return !node->holds && !node->pins && !node->children;
}

static void forget_oldest(struct adopt *a)
{
	struct adopt_node *node, *next;
	int looked = 0;

	for (node = a->oldest; node && a->nnodes > ADOPT_NODES_MAX && looked < 64; node = next) {
		next = node->younger;
		looked++;
		if (unused(node) && !node->hidden)
			adopt_detach(a, node);
	}
}

struct adopt_node *adopt_find(struct adopt *a, uint64_t id)
{
	struct adopt_node *node = a->by_id[id_bucket(a, id)];

	while (node && node->id != id)
		node = node->id_next;
	if (node)
		use_now(a, node);
	return node;
}

struct adopt_node *adopt_child(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name)
{
	struct adopt_node *node = a->by_name[name_bucket(a, dir, name)];

	while (node && !(node->parent == dir && pfs_bytes_eq(name_of(node), name)))
		node = node->name_next;
	if (node)
		use_now(a, node);
	return node;
}

static struct adopt_node *node_alloc(struct adopt *a, struct pfs_bytes name)
{
	struct adopt_node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->name = strndup(name.p, name.len);
	if (!node->name) {
		free(node);
		return NULL;
	}
	node->len = name.len;
	node->uid = a->uid;
	node->gid = a->gid;
	node->version = node->content_version = 1;
	node->mtime = node->btime = pfs_now_ns();
	return node;
}

struct adopt_node *adopt_node_new(struct adopt *a, struct adopt_node *dir, struct pfs_bytes name,
				  uint64_t id, enum adopt_state state, uint32_t mode)
{
	struct adopt_node *node = node_alloc(a, name);

	if (!node)
		return NULL;
	node->id = id ? id : a->next_id++;
	node->state = state;
	node->mode = mode;
	node->parent = dir;
	dir->children++;
	id_link(a, node);
	name_link(a, node);
	a->nnodes++;
	use_now(a, node);
	adopt_pin(node);
	adopt_pin(dir);
	if (a->nnodes > a->buckets)
		grow(a);
	if (a->nnodes > ADOPT_NODES_MAX)
		forget_oldest(a);
	dir->pins--;
	node->pins--;
	return node;
}

void adopt_detach(struct adopt *a, struct adopt_node *node)
{
	struct adopt_node *dir = node->parent;

	if (dir) {
		name_unlink(a, node);
		node->parent = NULL;
		dir->children--;
		if (dir->state == ADOPT_GONE && unused(dir))
			node_free(a, dir);
	}
	node->hidden = false;
	adopt_state_set(a, node, ADOPT_GONE);
	if (unused(node))
		node_free(a, node);
}

int adopt_move(struct adopt *a, struct adopt_node *node, struct adopt_node *dir,
	       struct pfs_bytes name)
{
	struct adopt_node *there = adopt_child(a, dir, name);
	char *copy;

	if (there == node)
		return 0;
	copy = strndup(name.p, name.len);
	if (!copy)
		return -ENOMEM;
	if (there)
		adopt_detach(a, there);
	if (node->parent) {
		name_unlink(a, node);
		node->parent->children--;
	} else { /* somebody found nothing under its old name meanwhile */
		adopt_state_set(a, node, ADOPT_KEY);
	}
	free(node->name);
	node->name = copy;
	node->len = name.len;
	node->parent = dir;
	dir->children++;
	name_link(a, node);
	return 0;
}

bool adopt_moving(const struct adopt_node *node)
{
	while (node && !node->moving)
		node = node->parent;
	return node != NULL;
}

void adopt_state_set(struct adopt *a, struct adopt_node *node, enum adopt_state state)
{
	node->state = state;
	if (state == ADOPT_KEY)
		use_now(a, node);
	else
		use_unlink(a, node);
}

void adopt_pin(struct adopt_node *node)
{
	node->pins++;
}

void adopt_unpin(struct adopt *a, struct adopt_node *node)
{
	node->pins--;
	if (node->state == ADOPT_GONE && unused(node))
		node_free(a, node);
}

int adopt_nodes_init(struct adopt *a)
{
	a->buckets = FIRST_BUCKETS;
	a->by_id = calloc(a->buckets, sizeof(struct adopt_node *));
	a->by_name = calloc(a->buckets, sizeof(struct adopt_node *));
	a->next_id = PFS_ID_FIRST;
	a->root = node_alloc(a, PFS_BYTES(""));
	if (!a->by_id || !a->by_name || !a->root)
		return -ENOMEM;
	a->root->id = a->next_id++;
	a->root->mode = S_IFDIR;
	id_link(a, a->root);
	a->nnodes = 1;
	return 0;
}

void adopt_nodes_release(struct adopt *a)
{
	struct adopt_staged *staged;
	struct adopt_node *node, *next;
	size_t i;

	for (i = 0; a->by_id && i < a->buckets; i++) {
		for (node = a->by_id[i]; node; node = next) {
			next = node->id_next;
			pfs_buf_release(&node->text);
			pfs_buf_release(&node->xattrs);
			free(node->error);
			free(node->name);
			free(node);
		}
	}
	while ((staged = a->staged)) {
		a->staged = staged->next;
		pfs_buf_release(&staged->text);
		free(staged);
	}
	free(a->by_id);
	free(a->by_name);
}

/* ---- paths ---------------------------------------------------------------------------------- */

#define DEPTH_MAX 2048

int adopt_path(const struct adopt_node *node, struct pfs_bytes name, struct pfs_buf *out)
{
	const struct adopt_node *way[DEPTH_MAX];
	size_t n = 0;

	for (; node->parent; node = node->parent) {
		if (n == DEPTH_MAX)
			return -ENAMETOOLONG;
		way[n++] = node;
	}
	if (node->state == ADOPT_GONE)
		return -ENOENT;
	while (n--) {
		pfs_buf_add(out, way[n]->name, way[n]->len);
		if (n || name.p)
			pfs_buf_add(out, "/", 1);
	}
	if (name.p)
		pfs_buf_add(out, name.p, name.len);
	pfs_buf_str(out, "");
	return out->failed ? -ENOMEM : 0;
}

struct adopt_node *adopt_by_path(struct adopt *a, struct pfs_bytes path, struct adopt_node **dir,
				 struct pfs_bytes *name)
{
	struct adopt_node *node = a->root;
	const char *slash;

	*dir = NULL;
	*name = (struct pfs_bytes){"", 0};
	while (node && path.len) {
		slash = memchr(path.p, '/', path.len);
		*name = (struct pfs_bytes){path.p,
					   slash ? (size_t)(slash - path.p) : path.len};
		*dir = node;
		node = adopt_child(a, node, *name);
		path.p += name->len + (slash != NULL);
		path.len -= name->len + (slash != NULL);
	}
	if (path.len) /* a directory on the way is not known */
		*dir = NULL;
	return node;
}

/* ---- attributes ----------------------------------------------------------------------------- */

void adopt_told(struct adopt *a, struct adopt_node *node, const struct pfs_view_attr *told,
		uint64_t changes)
{
	bool first = !node->known, content;

	(void)a;
	content = first || told->version != node->told.version || told->size != node->told.size ||
		  (!told->version && node->changed > node->told_changes);
	if (content && !first)
		node->content_version++;
	if (content && !first)
		node->mtime = pfs_now_ns();
	if (!first && (content || told->expires != node->told.expires ||
		       told->mode != node->told.mode || told->mtime != node->told.mtime))
		node->version++;
	if (told->mtime)
		node->mtime = told->mtime;
	node->told = *told;
	node->told_changes = changes;
	node->known = true;
}

void adopt_attr(const struct adopt *a, const struct adopt_node *node, struct pfs_attr *out)
{
	uint32_t type = node->mode & S_IFMT, bits = node->mode & 07777;
	bool memory = node->state != ADOPT_KEY;

	if (!memory) {
		bits = S_ISDIR(type) ? a->dir_mode : a->file_mode;
		if (node->told.mode & 07777)
			bits &= node->told.mode & 07777;
	}
	*out = (struct pfs_attr){
		.id = node->id,
		.mode = type | bits,
		.uid = node->uid,
		.gid = node->gid,
		.nlink = node->state == ADOPT_GONE ? 0 : S_ISDIR(type) ? 2 : 1,
		.size = memory ? node->text.len : node->told.size,
		.version = node->version,
		.content_version = node->content_version,
		.mtime = node->mtime,
		.ctime = node->mtime,
		.btime = memory ? node->btime : 0, /* nobody knows */
		.expires = memory ? node->expires : node->told.expires,
		.derived = !memory && node->told.derived,
		.unsized = !memory && node->told.unsized,
		.intake = !memory && node->told.intake,
	};
	if (S_ISDIR(type))
		out->size = 0;
	out->stored = out->size;
}
