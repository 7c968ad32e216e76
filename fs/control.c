/*
 * The control tree, .persistfs: what the mount is and how it is doing, as files. Which files there
 * are is one list of paths (each_path), made from the configuration whenever it is needed; the rest
 * follows from it. A file's content is made when it is opened.
 */
#include <stdio.h>
#include <time.h>

#include "fs/internal.h"

/* Inode numbers: behind those of the fixed part. */
#define INO_FIRST_CONTROL (UINT64_C(1) << 32)

typedef void (*render_fn)(struct pfs_fs *fs, const void *about, struct pfs_buf *out);

/* ---- files of the mount --------------------------------------------------------------------- */

static void render_version(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	(void)fs;
	(void)about;
	pfs_buf_printf(out, "persistfs %s\n", PFS_VERSION);
}

static void render_config(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	(void)about;
	pfs_buf_str(out, fs->config->config_text ? fs->config->config_text : "");
}

static void metric_head(struct pfs_buf *out, const char *name, const char *type, const char *help)
{
	pfs_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* One line per kind of call of every backend. */
static void metric_calls(struct pfs_fs *fs, struct pfs_buf *out, const char *name, int what)
{
	struct pfs_call_stats stats[PFS_CALL_COUNT_];
	size_t i, c;

	for (i = 0; i < fs->config->nbackends; i++) {
		pfs_backend_stats(fs->config->backends[i], stats);
		for (c = 0; c < PFS_CALL_COUNT_; c++) {
			pfs_buf_printf(out, "%s{backend=\"%s\",call=\"%s\"} ", name,
				       fs->config->backends[i]->name, pfs_call_names[c]);
			if (what == 0)
				pfs_buf_printf(out, "%llu\n", (unsigned long long)stats[c].calls);
			else if (what == 1)
				pfs_buf_printf(out, "%llu\n", (unsigned long long)stats[c].errors);
			else
				pfs_buf_printf(out, "%.9f\n", (double)stats[c].nanoseconds / 1e9);
		}
	}
}

/* One value of a store; its name may have anything in it. */
static void metric_store(struct pfs_buf *out, const char *name, struct pfs_vol *vol, size_t value)
{
	const char *p;

	if (atomic_load(&vol->closed))
		return;
	pfs_buf_printf(out, "%s{store=\"", name);
	for (p = vol->name; *p; p++) {
		if (*p == '\n')
			pfs_buf_str(out, "\\n");
		else if (*p == '"' || *p == '\\')
			pfs_buf_printf(out, "\\%c", *p);
		else
			pfs_buf_add(out, p, 1);
	}
	pfs_buf_printf(out, "\"} %zu\n", value);
}

static void render_metrics(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_vol **vols;
	size_t i, n;

	(void)about;
	metric_head(out, "persistfs_calls_total", "counter", "Calls to the engine.");
	metric_calls(fs, out, "persistfs_calls_total", 0);
	metric_head(out, "persistfs_call_errors_total", "counter", "Calls that failed with trouble.");
	metric_calls(fs, out, "persistfs_call_errors_total", 1);
	metric_head(out, "persistfs_call_seconds_total", "counter", "Time spent in calls.");
	metric_calls(fs, out, "persistfs_call_seconds_total", 2);
	metric_head(out, "persistfs_dirty_bytes", "gauge", "Written and not yet committed.");
	pfs_buf_printf(out, "persistfs_dirty_bytes %llu\n",
		       (unsigned long long)atomic_load(&fs->dirty_bytes));
	metric_head(out, "persistfs_nodes", "gauge", "Objects that the kernel or the daemon knows.");
	pfs_buf_printf(out, "persistfs_nodes %zu\n", atomic_load(&fs->nnodes));
	metric_head(out, "persistfs_queue_length", "gauge", "Accepted changes not yet committed.");
	vols = pfs_vols_snapshot(fs, &n);
	for (i = 0; vols && i < n; i++)
		metric_store(out, "persistfs_queue_length", vols[i],
			     atomic_load(&vols[i]->npending));
	metric_head(out, "persistfs_failures_total", "counter", "Failures noted in errors.");
	for (i = 0; vols && i < n; i++)
		metric_store(out, "persistfs_failures_total", vols[i],
			     atomic_load(&vols[i]->nfailures));
	free(vols);
}

/* ---- files of a backend --------------------------------------------------------------------- */

static void backend_health(const struct pfs_backend *backend, struct pfs_buf *out)
{
	struct pfs_health h = {0};

	pfs_backend_health((struct pfs_backend *)backend, &h);
	if (h.ok)
		pfs_buf_str(out, "ok\n");
	else
		pfs_buf_printf(out, "unhealthy: %s\n", h.why.text[0] ? h.why.text : "not started");
	if (h.durable.text[0])
		pfs_buf_printf(out, "fsync: not safe against power loss: %s\n", h.durable.text);
	if (h.note.text[0])
		pfs_buf_printf(out, "%s\n", h.note.text);
	if (h.read_only.text[0])
		pfs_buf_printf(out, "read-only: %s\n", h.read_only.text);
}

static void render_backend_health(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	(void)fs;
	backend_health(about, out);
}

static void render_capabilities(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	const struct pfs_backend *backend = about;
	uint32_t caps = pfs_backend_capabilities(backend);
	size_t i;

	(void)fs;
	pfs_buf_printf(out, "type: %s\nspec_version: %u\n", backend->engine->name,
		       backend->engine->spec_version);
	for (i = 0; pfs_capability_names[i]; i++)
		pfs_buf_printf(out, "%s: %s\n", pfs_capability_names[i],
			       caps & (1u << i) ? "yes" : "no");
}

static void render_connections(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_connections c = {0};

	(void)fs;
	pfs_backend_connections((struct pfs_backend *)about, &c);
	pfs_buf_printf(out, "open: %u\nbusy: %u\nlimit: %u\nopened: %llu\nerrors: %llu\nwaits: %llu\n",
		       c.open, c.busy, c.limit, (unsigned long long)c.opened,
		       (unsigned long long)c.errors, (unsigned long long)c.waits);
}

static void render_latency(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_call_stats stats[PFS_CALL_COUNT_];
	size_t c, b;

	(void)fs;
	pfs_backend_stats(about, stats);
	for (c = 0; c < PFS_CALL_COUNT_; c++) {
		pfs_buf_printf(out, "%s: calls %llu errors %llu mean_us %.1f", pfs_call_names[c],
			       (unsigned long long)stats[c].calls,
			       (unsigned long long)stats[c].errors,
			       stats[c].calls ? (double)stats[c].nanoseconds / 1e3 /
							(double)stats[c].calls
					      : 0.0);
		for (b = 0; b < PFS_LATENCY_BUCKETS; b++)
			if (stats[c].buckets[b])
				pfs_buf_printf(out, " <%lluus:%llu", 1ULL << b,
					       (unsigned long long)stats[c].buckets[b]);
		pfs_buf_str(out, "\n");
	}
}

/* ---- files of a store ----------------------------------------------------------------------- */

static void render_store_health(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_vol *vol = (struct pfs_vol *)about;

	(void)fs;
	pthread_mutex_lock(&vol->open_lock);
	if (!atomic_load(&vol->store) && vol->open_error && vol->open_error != -ENODATA) {
		pfs_buf_printf(out, "unhealthy: %s\n",
			       vol->open_msg.text[0] ? vol->open_msg.text
						     : strerror(-vol->open_error));
		pthread_mutex_unlock(&vol->open_lock);
		return;
	}
	pthread_mutex_unlock(&vol->open_lock);
	backend_health(vol->config->backend, out);
	if (vol->config->read_only)
		pfs_buf_str(out, "read_only: yes\n");
}

static void render_usage(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_vol *vol = (struct pfs_vol *)about;
	struct pfs_usage usage = {0};
	int err;

	(void)fs;
	err = pfs_vol_open(vol, NULL);
	if (!err)
		err = pfs_queue_settle(vol);
	if (!err)
		err = pfs_store_usage(atomic_load(&vol->store), &usage);
	if (err == -EOPNOTSUPP)
		pfs_buf_str(out, "not counted: another application's data\n");
	else if (err && err != -ENODATA) /* that is: nothing has been made yet */
		pfs_buf_printf(out, "error: %s\n", strerror(-err));
	else
		pfs_buf_printf(out, "objects: %llu\nbytes: %llu\n",
			       (unsigned long long)usage.objects, (unsigned long long)usage.bytes);
}

static void render_queue(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_vol *vol = (struct pfs_vol *)about;
	const struct pfs_data *data;
	size_t dirty = 0, failing = 0;

	(void)fs;
	pthread_mutex_lock(&vol->lock);
	for (data = vol->dirty; data; data = data->next) {
		dirty++;
		failing += data->failing_since != 0;
	}
	pfs_buf_printf(out,
		       "write_mode: %s\nqueued: %zu\nqueued_total: %llu\ndirty_files: %zu\n"
		       "failing_files: %zu\nlost: %llu\n",
		       vol->config->write_mode == PFS_WRITE_QUEUED ? "queued" : "through",
		       atomic_load(&vol->npending), (unsigned long long)vol->queued_total, dirty,
		       failing, (unsigned long long)vol->queue_lost);
	pthread_mutex_unlock(&vol->lock);
}

static void render_errors(struct pfs_fs *fs, const void *about, struct pfs_buf *out)
{
	struct pfs_vol *vol = (struct pfs_vol *)about;
	size_t i, first;
	char when[32];
	struct tm tm;
	time_t sec;

	(void)fs;
	pthread_mutex_lock(&vol->lock);
	first = vol->nfailures > PFS_FAILURES ? vol->nfailures - PFS_FAILURES : 0;
	for (i = first; i < vol->nfailures; i++) {
		const struct pfs_failure *f = &vol->failures[i % PFS_FAILURES];

		sec = (time_t)(f->when / NSEC_PER_SEC);
		gmtime_r(&sec, &tm);
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		pfs_buf_printf(out, "%s\t%s\t%s\t%s\n", when, f->path, strerrorname_np(f->err),
			       f->text);
	}
	pthread_mutex_unlock(&vol->lock);
}

/* ---- the list of paths ---------------------------------------------------------------------- */

struct control_file {
	const char *name;
	render_fn render;
};

static const struct control_file mount_files[] = {
	{"version", render_version},
	{"config", render_config},
	{"metrics", render_metrics},
};
static const struct control_file backend_files[] = {
	{"health", render_backend_health},
	{"capabilities", render_capabilities},
	{"connections", render_connections},
	{"latency", render_latency},
};
static const struct control_file store_files[] = {
	{"health", render_store_health},
	{"usage", render_usage},
	{"queue", render_queue},
	{"errors", render_errors},
};

/* Told of every file; true ends the walk. */
typedef bool (*path_fn)(void *arg, const char *path, const struct control_file *file,
			const void *about);

static bool each_file(const char *dir, const struct control_file *files, size_t n,
		      const void *about, path_fn fn, void *arg)
{
	char path[1024];
	size_t i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%s", dir, files[i].name);
		if (fn(arg, path, &files[i], about))
			return true;
	}
	return false;
}

static void each_path(struct pfs_fs *fs, path_fn fn, void *arg)
{
	struct pfs_vol **vols;
	char dir[1024];
	size_t i, n;
	bool done;

	done = each_file("", mount_files, PFS_ARRAY_SIZE(mount_files), NULL, fn, arg);
	for (i = 0; i < fs->config->nbackends && !done; i++) {
		if (fs->config->backends[i]->host) /* a view is told with its store */
			continue;
		snprintf(dir, sizeof(dir), "backends/%s/", fs->config->backends[i]->name);
		done = each_file(dir, backend_files, PFS_ARRAY_SIZE(backend_files),
				 fs->config->backends[i], fn, arg);
	}
	vols = pfs_vols_snapshot(fs, &n);
	for (i = 0; vols && i < n && !done; i++) {
		if (atomic_load(&vols[i]->closed))
			continue;
		snprintf(dir, sizeof(dir), "stores/%s/", vols[i]->name);
		done = each_file(dir, store_files, PFS_ARRAY_SIZE(store_files), vols[i], fn, arg);
	}
	free(vols);
}

/* What a path is: a file, a directory on the way to one, or nothing. */
struct find {
	const char *path;
	size_t len;
	const struct control_file *file;
	const void *about;
	bool dir;
};

static bool find_path(void *arg, const char *path, const struct control_file *file,
		      const void *about)
{
	struct find *f = arg;

	if (strncmp(path, f->path, f->len) != 0)
		return false;
	if (path[f->len] == '\0') {
		f->file = file;
		f->about = about;
		return true;
	}
	f->dir |= f->len == 0 || path[f->len] == '/';
	return false;
}

static struct find what_is(struct pfs_fs *fs, const char *path)
{
	struct find f = {.path = path, .len = strlen(path)};

	each_path(fs, find_path, &f);
	return f;
}

/* The distinct next components below a directory, in order of the list. */
struct children {
	const char *dir;
	size_t len;
	char **names;
	size_t n;
	bool failed;
};

static bool collect_child(void *arg, const char *path, const struct control_file *file,
			  const void *about)
{
	struct children *c = arg;
	const char *rest = path;
	char **names, *name;
	size_t i, len;

	(void)file;
	(void)about;
	if (c->len) {
		if (strncmp(path, c->dir, c->len) != 0 || path[c->len] != '/')
			return false;
		rest = path + c->len + 1;
	}
	len = strcspn(rest, "/");
	for (i = 0; i < c->n; i++)
		if (strlen(c->names[i]) == len && memcmp(c->names[i], rest, len) == 0)
			return false;
	name = strndup(rest, len);
	names = realloc(c->names, (c->n + 1) * sizeof(*names));
	if (names)
		c->names = names;
	if (!name || !names) {
		free(name);
		c->failed = true;
		return true;
	}
	c->names[c->n++] = name;
	return false;
}

int pfs_control_child(struct pfs_fs *fs, const struct pfs_node *node, uint64_t index, char **name)
{
	struct children c = {.dir = node->control, .len = strlen(node->control)};
	size_t i;
	int err = -ENOENT;

	each_path(fs, collect_child, &c);
	if (c.failed)
		err = -ENOMEM;
	for (i = 0; i < c.n; i++) {
		if (i == index && !c.failed) {
			*name = c.names[i];
			err = 0;
		} else {
			free(c.names[i]);
		}
	}
	free(c.names);
	return err;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

int pfs_control_init(struct pfs_fs *fs)
{
	fs->controls = NULL;
	return 0;
}

void pfs_control_release(struct pfs_fs *fs)
{
	struct pfs_node *node;

	while ((node = fs->controls)) {
		fs->controls = node->control_next;
		free(node->control);
		free(node);
	}
}

/* The node of a path that is there; made once. */
static struct pfs_node *node_of(struct pfs_fs *fs, const char *path)
{
	struct pfs_node *node;
	uint64_t ino = INO_FIRST_CONTROL;

	pthread_mutex_lock(&fs->control_lock);
	for (node = fs->controls; node; node = node->control_next, ino++)
		if (strcmp(node->control, path) == 0)
			break;
	if (!node) {
		node = pfs_node_new_fixed(fs, PFS_NODE_CONTROL, ino);
		if (node)
			node->control = strdup(path);
		if (node && !node->control) {
			free(node);
			node = NULL;
		}
		if (node) {
			node->control_next = fs->controls;
			fs->controls = node;
		}
	}
	pthread_mutex_unlock(&fs->control_lock);
	return node;
}

int pfs_control_lookup(struct pfs_fs *fs, struct pfs_node *parent, struct pfs_bytes name,
		       struct pfs_node **out)
{
	char path[1024] = "";
	struct find f;

	if (parent)
		snprintf(path, sizeof(path), "%s%s%.*s", parent->control,
			 parent->control[0] ? "/" : "", (int)name.len, name.p);
	f = what_is(fs, path);
	if (!f.file && !f.dir)
		return -ENOENT;
	*out = node_of(fs, path);
	return *out ? 0 : -ENOMEM;
}

void pfs_control_stat(struct pfs_fs *fs, struct pfs_node *node, struct stat *st)
{
	struct find f = what_is(fs, node->control);
	int64_t now = pfs_now_ns();

	memset(st, 0, sizeof(*st));
	st->st_ino = node->ino;
	st->st_mode = f.file ? S_IFREG | 0444 : S_IFDIR | 0555;
	st->st_nlink = 1;
	st->st_uid = fs->config->uid;
	st->st_gid = fs->config->gid;
	st->st_mtim.tv_sec = (time_t)(now / NSEC_PER_SEC);
	st->st_ctim = st->st_atim = st->st_mtim;
}

int pfs_control_render(struct pfs_fs *fs, const struct pfs_node *node, struct pfs_buf *out)
{
	struct find f = what_is(fs, node->control);

	if (!f.file)
		return f.dir ? -EISDIR : -ENOENT;
	f.file->render(fs, f.about, out);
	return out->failed ? -ENOMEM : 0;
}
