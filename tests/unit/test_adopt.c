/*
 * What all views of others' data have in common (backends/adopt/), over a view of the test's own: a list
 * of keys in memory, which the test changes behind the mount's back, and which can be made to refuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/adopt/options.h"
#include "backends/adopt/view.h"
#include "fs/fs.h"

/* ---- the view ------------------------------------------------------------------------------- */

#define KEYS 64

struct key {
	char path[300];
	char *value;
	size_t len;
	bool dir;
	uint64_t version;
	int64_t expires;
};

struct test_view {
	struct pfs_view view;
	struct key keys[KEYS];
	size_t nkeys;
	uint64_t versions;
	int refuse;  /* writes fail with this */
	int writes;  /* slots called */
	int removes;
	bool unversioned;
	/* Called once, in the next call of the slot. */
	void (*in_stat)(void), (*in_rename)(void), (*in_write)(void), (*in_remove)(void);
	struct pfs_store *store;
	uint64_t root, id;
};

static struct test_view *tv;

static struct key *key_find(struct pfs_bytes path)
{
	size_t i;

	for (i = 0; i < tv->nkeys; i++)
		if (strlen(tv->keys[i].path) == path.len &&
		    !memcmp(tv->keys[i].path, path.p, path.len))
			return &tv->keys[i];
	return NULL;
}

static void key_put(const char *path, const char *value, size_t len)
{
	struct key *k = key_find(pfs_bytes_str(path));

	if (!k) {
		assert_true(tv->nkeys < KEYS);
		k = &tv->keys[tv->nkeys++];
		memset(k, 0, sizeof(*k));
		snprintf(k->path, sizeof(k->path), "%s", path);
	}
	free(k->value);
	k->value = malloc(len + 1);
	memcpy(k->value, value, len);
	k->value[len] = '\0';
	k->len = len;
	k->version = ++tv->versions;
}

static void key_drop(struct key *k)
{
	free(k->value);
	*k = tv->keys[--tv->nkeys];
}

/* A directory is what keys lie in, or what was made. */
static bool is_dir(struct pfs_bytes path)
{
	struct key *k = key_find(path);
	size_t i;

	if (!path.len || (k && k->dir))
		return true;
	for (i = 0; i < tv->nkeys; i++)
		if (strlen(tv->keys[i].path) > path.len && tv->keys[i].path[path.len] == '/' &&
		    !memcmp(tv->keys[i].path, path.p, path.len))
			return true;
	return false;
}

static void key_attr(const struct key *k, struct pfs_view_attr *out)
{
	*out = (struct pfs_view_attr){.mode = S_IFREG, .size = k->len, .expires = k->expires,
				      .version = tv->unversioned ? 0 : k->version};
}

static void run_once(void (**fn)(void))
{
	void (*now)(void) = *fn;

	*fn = NULL;
	if (now)
		now();
}

static void tv_free(struct pfs_view *view)
{
	(void)view;
	while (tv->nkeys)
		key_drop(&tv->keys[0]);
	free(tv);
	tv = NULL;
}

static int tv_start(struct pfs_view *view, struct pfs_msg *msg)
{
	(void)view;
	(void)msg;
	return 0;
}

static int tv_stat(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_attr *out)
{
	struct key *k;

	(void)view;
	run_once(&tv->in_stat);
	k = key_find(path);
	if (is_dir(path))
		*out = (struct pfs_view_attr){.mode = S_IFDIR};
	else if (k)
		key_attr(k, out);
	else
		return -ENOENT;
	return 0;
}

static int tv_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after,
		   size_t limit, pfs_view_entry_fn fn, void *arg, bool *end)
{
	char last[300], best[300], full[600];
	size_t i, told, skip = path.len ? path.len + 1 : 0;
	struct pfs_view_attr attr;
	int err;

	*end = true;
	if (!is_dir(path))
		return -ENOENT;
	snprintf(last, sizeof(last), "%.*s", (int)after.len, after.p);
	for (told = 0; told <= limit; told++) {
		best[0] = '\0';
		for (i = 0; i < tv->nkeys; i++) {
			const char *p = tv->keys[i].path;
			char name[300];

			if (strlen(p) <= skip || (skip && (memcmp(p, path.p, path.len) || p[path.len] != '/')))
				continue;
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + skip, "/"), p + skip);
			if (strcmp(name, last) > 0 && (!best[0] || strcmp(name, best) < 0))
				strcpy(best, name);
		}
		if (!best[0])
			return 0;
		if (told == limit) {
			*end = false;
			return 0;
		}
		snprintf(full, sizeof(full), "%.*s%s%s", (int)path.len, path.p, skip ? "/" : "", best);
		assert_int_equal(tv_stat(view, pfs_bytes_str(full), &attr), 0);
		err = fn(arg, pfs_bytes_str(best), &attr);
		if (err)
			return err;
		strcpy(last, best);
	}
	return 0;
}

static ssize_t tv_read(struct pfs_view *view, struct pfs_bytes path, uint64_t off, void *buf,
		       size_t len, uint64_t *version)
{
	struct key *k = key_find(path);

	(void)view;
	if (!k)
		return is_dir(path) ? -EISDIR : -ENOENT;
	*version = tv->unversioned ? 0 : k->version;
	if (off >= k->len)
		return 0;
	if (len > k->len - off)
		len = k->len - off;
	memcpy(buf, k->value + off, len);
	return (ssize_t)len;
}

static int tv_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w)
{
	struct key *k = key_find(path);
	struct pfs_buf out = {0};
	char name[300];
	int err;

	(void)view;
	tv->writes++;
	if (tv->refuse) {
		pfs_error_text_set("the engine's own words");
		return tv->refuse;
	}
	if (w->create && k)
		return -EEXIST;
	if (!w->create && !k)
		return -ENOENT;
	snprintf(name, sizeof(name), "%.*s", (int)path.len, path.p);
	if (w->how == PFS_VIEW_WHOLE) {
		pfs_buf_add(&out, w->data.p, w->data.len);
	} else {
		struct pfs_bytes old = {k ? k->value : "", k ? k->len : 0};

		err = w->edit(w->arg, old, &out);
		if (err)
			return err;
	}
	key_put(name, out.data ? out.data : "", out.len);
	pfs_buf_release(&out);
	key_attr(key_find(path), &w->attr);
	run_once(&tv->in_write);
	return 0;
}

static int tv_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how)
{
	struct key *k;

	(void)view;
	tv->removes++;
	run_once(&tv->in_remove);
	k = key_find(path);
	if (!k)
		return -ENOENT;
	if (how->only && !pfs_view_is_content(how->only, (struct pfs_bytes){k->value, k->len}))
		return -ESTALE;
	key_drop(k);
	return 0;
}

static int tv_mkdir(struct pfs_view *view, struct pfs_bytes path)
{
	char name[300];

	(void)view;
	if (is_dir(path) || key_find(path))
		return -EEXIST;
	snprintf(name, sizeof(name), "%.*s", (int)path.len, path.p);
	key_put(name, "", 0);
	key_find(path)->dir = true;
	return 0;
}

static int tv_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		     struct pfs_view_attr *out)
{
	struct key *k = key_find(from), *there = key_find(to);

	(void)view;
	if (!k)
		return -ENOENT;
	if (there && !replace)
		return -EEXIST;
	if (there) {
		key_drop(there);
		k = key_find(from);
	}
	snprintf(k->path, sizeof(k->path), "%.*s", (int)to.len, to.p);
	run_once(&tv->in_rename);
	key_attr(key_find(to), out);
	return 0;
}

static int tv_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires)
{
	struct key *k = key_find(path);

	(void)view;
	if (!k)
		return -ENOENT;
	k->expires = expires;
	return 0;
}

static ssize_t tv_xattr_get(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
			    void *buf, size_t len)
{
	(void)view;
	if (!key_find(path) || !pfs_bytes_eq(name, PFS_BYTES("type")))
		return -ENODATA;
	if (len && len < 4)
		return -ERANGE;
	if (len)
		memcpy(buf, "text", 4);
	return 4;
}

static int tv_xattr_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_buf *out)
{
	(void)view;
	if (key_find(path))
		pfs_buf_add(out, "type", 5);
	return 0;
}

static const struct pfs_view_ops tv_ops = {
	.free = tv_free,
	.start = tv_start,
	.stat = tv_stat,
	.list = tv_list,
	.read = tv_read,
	.write = tv_write,
	.remove = tv_remove,
	.mkdir = tv_mkdir,
	.rename = tv_rename,
	.set_expires = tv_set_expires,
	.xattr_get = tv_xattr_get,
	.xattr_list = tv_xattr_list,
};

static const struct pfs_engine tv_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "test",
	.capabilities = PFS_CAP_LATE_CREATE | PFS_CAP_TOLD_XATTRS | PFS_CAP_EXPIRY | PFS_CAP_PUSH,
};

/* ---- a file system over it ------------------------------------------------------------------ */

struct ground {
	struct pfs_option *host_options;
	struct pfs_option_set host_set, set;
	struct pfs_backend *host, *b;
	struct pfs_backend *backends[1];
	bool lazy[1];
	struct pfs_store_config store;
	struct pfs_fs_config config;
	struct pfs_fs *fs;
	struct pfs_node *root;
	struct pfs_ctx ctx;
};

static struct ground *g;

static int setup_with(const char *scratch)
{
	const struct pfs_engine *memory = pfs_engine_find("memory");
	struct pfs_msg msg = {{0}};
	struct pfs_entry e;
	size_t failed;

	g = calloc(1, sizeof(*g));
	tv = calloc(1, sizeof(*tv));
	tv->view.ops = &tv_ops;
	g->host_options = pfs_engine_options(memory);
	assert_int_equal(pfs_option_set_init(&g->host_set, g->host_options), 0);
	assert_int_equal(pfs_option_set_init(&g->set, pfs_view_options), 0);
	if (scratch)
		assert_int_equal(pfs_option_set_text(&g->set, "scratch", scratch, &msg), 0);
	assert_int_equal(pfs_backend_new("host", memory, &g->host_set, &g->host, &msg), 0);
	assert_int_equal(pfs_adopt_new("s", &tv_engine, g->host, &g->set, &tv->view, &g->b, &msg), 0);
	g->backends[0] = g->b;
	g->store = (struct pfs_store_config){
		.name = "s", .backend = g->b, .backend_name = "host", .ns = "s",
		.commit_interval = NSEC_PER_SEC, .attr_timeout = NSEC_PER_SEC};
	g->config = (struct pfs_fs_config){.stores = &g->store, .nstores = 1,
					   .backends = g->backends, .lazy = g->lazy, .nbackends = 1,
					   .dirty_limit = 64 << 20, .uid = getuid(), .gid = getgid()};
	g->ctx = (struct pfs_ctx){.uid = getuid(), .gid = getgid()};
	assert_int_equal(pfs_fs_new(&g->config, &g->fs, &msg), 0);
	assert_int_equal(pfs_fs_start(g->fs, &failed, &msg), 0);
	assert_int_equal(pfs_fs_lookup(g->fs, pfs_fs_root(g->fs), PFS_BYTES("s"), &e), 0);
	g->root = e.node;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(NULL);
}

static int setup_refuse(void **state)
{
	(void)state;
	return setup_with("refuse");
}

static int setup_store(void **state)
{
	(void)state;
	return setup_with("store");
}

static int teardown(void **state)
{
	struct pfs_msg msg;

	(void)state;
	pfs_fs_drain(g->fs, &msg);
	pfs_fs_free(g->fs);
	pfs_backend_free(g->b);
	pfs_backend_free(g->host);
	pfs_option_set_release(&g->host_set);
	pfs_option_set_release(&g->set);
	free(g->host_options);
	free(g);
	return 0;
}

static struct pfs_node *look(const char *name)
{
	struct pfs_entry e;

	assert_int_equal(pfs_fs_lookup(g->fs, g->root, pfs_bytes_str(name), &e), 0);
	return e.node;
}

static void expect_absent(const char *name)
{
	assert_null(look(name));
}

static struct stat stat_of(const char *name)
{
	struct pfs_node *node = look(name);
	struct pfs_entry e;

	assert_non_null(node);
	assert_int_equal(pfs_fs_getattr(g->fs, node, NULL, &e), 0);
	pfs_fs_forget(g->fs, node, 1);
	return e.st;
}

static void expect_shown(const char *name, const char *text)
{
	struct pfs_node *node = look(name);
	struct pfs_open_hints hints;
	struct pfs_file *f;
	char buf[1000];
	ssize_t n;

	assert_non_null(node);
	assert_int_equal(pfs_fs_open(g->fs, &g->ctx, node, O_RDONLY, &f, &hints), 0);
	n = pfs_fs_read(g->fs, f, buf, sizeof(buf) - 1, 0);
	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
	pfs_fs_release(g->fs, f);
	pfs_fs_forget(g->fs, node, 1);
}

static void expect_key(const char *path, const char *value)
{
	struct key *k = key_find(pfs_bytes_str(path));

	assert_non_null(k);
	assert_string_equal(k->value, value);
}

static void expect_no_key(const char *path)
{
	assert_null(key_find(pfs_bytes_str(path)));
}

static int try_create(const char *name, int flags, struct pfs_file **f)
{
	struct pfs_open_hints hints;
	struct pfs_entry e;
	int err;

	err = pfs_fs_create(g->fs, &g->ctx, g->root, pfs_bytes_str(name), 0644, flags | O_CREAT, &e, f,
			    &hints);
	if (!err)
		pfs_fs_forget(g->fs, e.node, 1);
	return err;
}

static void write_to(struct pfs_file *f, const char *text, off_t off)
{
	size_t n = strlen(text);

	assert_int_equal(pfs_fs_write(g->fs, &g->ctx, f, text, n, off, false), n);
}

/* open (making it if need be), truncate, write, close; returns what close said. */
static int put_file(const char *name, const char *text)
{
	struct pfs_node *node = look(name);
	struct pfs_open_hints hints;
	struct pfs_file *f;
	int err;

	if (node) {
		assert_int_equal(
			pfs_fs_open(g->fs, &g->ctx, node, O_WRONLY | O_TRUNC, &f, &hints), 0);
		pfs_fs_forget(g->fs, node, 1);
	} else {
		assert_int_equal(try_create(name, O_WRONLY | O_TRUNC, &f), 0);
	}
	write_to(f, text, 0);
	err = pfs_fs_flush(g->fs, f);
	pfs_fs_release(g->fs, f);
	return err;
}

static int move(const char *from, const char *to, unsigned flags)
{
	return pfs_fs_rename(g->fs, g->root, pfs_bytes_str(from), g->root, pfs_bytes_str(to), flags);
}

static int drop(const char *name)
{
	return pfs_fs_unlink(g->fs, g->root, pfs_bytes_str(name));
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void a_key_is_a_file_and_what_others_write_shows(void **state)
{
	struct stat st;

	(void)state;
	key_put("a", "one", 3);
	expect_shown("a", "one");
	st = stat_of("a");
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	key_put("a", "other", 5);
	pfs_view_changed(&tv->view, &PFS_BYTES("a"));
	expect_shown("a", "other");
	assert_int_equal(stat_of("a").st_size, 5);
	key_drop(key_find(PFS_BYTES("a")));
	pfs_view_changed(&tv->view, &PFS_BYTES("a"));
	expect_absent("a");
}

static void a_rewrite_is_one_write_of_the_whole_value(void **state)
{
	struct pfs_file *f;

	(void)state;
	key_put("a", "old", 3);
	assert_int_equal(put_file("a", "the new value"), 0);
	expect_key("a", "the new value");
	assert_int_equal(tv->writes, 1);
	/* Nobody sees a new key before it has its value. */
	assert_int_equal(try_create("b", O_WRONLY | O_TRUNC, &f), 0);
	expect_no_key("b");
	assert_int_equal(pfs_fs_flush(g->fs, f), 0);
	expect_no_key("b");
	write_to(f, "b's", 0);
	write_to(f, " value", 3);
	expect_no_key("b");
	assert_int_equal(pfs_fs_flush(g->fs, f), 0);
	expect_key("b", "b's value");
	assert_int_equal(tv->writes, 2);
	pfs_fs_release(g->fs, f);
}

static void a_file_that_was_only_made_is_an_empty_key_at_its_close(void **state)
{
	struct pfs_file *f;

	(void)state;
	assert_int_equal(try_create("t", O_WRONLY, &f), 0);
	expect_no_key("t");
	assert_int_equal(try_create("t", O_WRONLY | O_EXCL, &(struct pfs_file *){NULL}), -EEXIST);
	pfs_fs_release(g->fs, f);
	expect_key("t", "");
}

static void writes_in_place_and_appends_are_folded(void **state)
{
	struct pfs_node *node;
	struct pfs_open_hints hints;
	struct pfs_file *f;

	(void)state;
	key_put("a", "0123456789", 10);
	node = look("a");
	assert_int_equal(pfs_fs_open(g->fs, &g->ctx, node, O_RDWR, &f, &hints), 0);
	write_to(f, "AB", 2);
	write_to(f, "YZ", 8);
	assert_int_equal(pfs_fs_flush(g->fs, f), 0);
	pfs_fs_release(g->fs, f);
	expect_key("a", "01AB4567YZ");
	assert_int_equal(tv->writes, 1);
	assert_int_equal(pfs_fs_open(g->fs, &g->ctx, node, O_WRONLY | O_APPEND, &f, &hints), 0);
	/* Somebody else appends meanwhile: the engine decides where ours goes. */
	key_put("a", "01AB4567YZ+", 11);
	write_to(f, "end", 10);
	assert_int_equal(pfs_fs_flush(g->fs, f), 0);
	pfs_fs_release(g->fs, f);
	expect_key("a", "01AB4567YZ+end");
	pfs_fs_forget(g->fs, node, 1);
}

static void a_refused_write_leaves_the_old_value_and_says_why(void **state)
{
	struct pfs_node *node;
	char text[100];
	ssize_t n;

	(void)state;
	key_put("a", "old", 3);
	tv->refuse = -EINVAL;
	assert_int_equal(put_file("a", "impossible"), -EINVAL);
	expect_key("a", "old");
	expect_shown("a", "old");
	node = look("a");
	n = pfs_fs_getxattr(g->fs, node, PFS_BYTES("user.persistfs.error"), text, sizeof(text));
	assert_int_equal(n, strlen("the engine's own words"));
	tv->refuse = 0;
	assert_int_equal(put_file("a", "possible"), 0);
	assert_int_equal(pfs_fs_getxattr(g->fs, node, PFS_BYTES("user.persistfs.error"), text,
					 sizeof(text)), -ENODATA);
	pfs_fs_forget(g->fs, node, 1);
}

static void scratch_files_never_reach_the_engine(void **state)
{
	(void)state;
	assert_int_equal(put_file(".note.swp", "swap"), 0);
	assert_int_equal(put_file("4913", "probe"), 0);
	expect_shown(".note.swp", "swap");
	assert_int_equal(tv->nkeys, 0);
	assert_int_equal(tv->writes, 0);
	assert_int_equal(drop("4913"), 0);
	expect_absent("4913");
	/* A key of such a name is a key. */
	key_put("x~", "a key", 5);
	pfs_view_changed(&tv->view, &PFS_BYTES("x~"));
	assert_int_equal(put_file("x~", "still a key"), 0);
	expect_key("x~", "still a key");
}

static void renaming_a_scratch_file_onto_a_key_writes_the_key(void **state)
{
	(void)state;
	key_put("a", "old", 3);
	key_find(PFS_BYTES("a"))->expires = pfs_now_ns() + 1000 * NSEC_PER_SEC;
	assert_int_equal(put_file("sedXYZ123", "new"), 0);
	assert_int_equal(move("sedXYZ123", "a", 0), 0);
	expect_key("a", "new");
	assert_true(key_find(PFS_BYTES("a"))->expires > 0);
	expect_absent("sedXYZ123");
	assert_int_equal(tv->removes, 0);
	/* And onto none makes one. */
	assert_int_equal(put_file(".b.A1b2C3", "b"), 0);
	assert_int_equal(move(".b.A1b2C3", "b", 1 /* RENAME_NOREPLACE */), 0);
	expect_key("b", "b");
	assert_int_equal(put_file(".b.A1b2C3", "c"), 0);
	assert_int_equal(move(".b.A1b2C3", "b", 1), -EEXIST);
	expect_key("b", "b");
	expect_shown(".b.A1b2C3", "c");
}

/* vim: rename f to f~, make f, write, remove f~. */
static void a_backup_by_rename_keeps_the_key_until_it_is_written_anew(void **state)
{
	(void)state;
	key_put("f", "old", 3);
	key_find(PFS_BYTES("f"))->expires = 77 * NSEC_PER_SEC + pfs_now_ns();
	assert_int_equal(move("f", "f~", 0), 0);
	expect_key("f", "old"); /* the engine's clients see it all the time */
	expect_absent("f");
	expect_shown("f~", "old");
	assert_int_equal(put_file("f", "new"), 0);
	expect_key("f", "new");
	assert_true(key_find(PFS_BYTES("f"))->expires > 0);
	assert_int_equal(drop("f~"), 0);
	expect_key("f", "new");
	assert_int_equal(tv->removes, 0);
	expect_shown("f", "new");
}

static void a_key_moved_to_a_scratch_name_goes_with_that_file(void **state)
{
	(void)state;
	key_put("f", "old", 3);
	assert_int_equal(move("f", "f~", 0), 0);
	assert_int_equal(drop("f~"), 0);
	expect_no_key("f");
	expect_absent("f");
	/* But not when it has changed since. */
	key_put("g", "old", 3);
	assert_int_equal(move("g", "g~", 0), 0);
	key_put("g", "somebody's", 10);
	assert_int_equal(drop("g~"), 0);
	expect_key("g", "somebody's");
	expect_shown("g", "somebody's");
	/* Moved back it is what it was. */
	assert_int_equal(move("g", "g~", 0), 0);
	assert_int_equal(move("g~", "g", 0), 0);
	expect_key("g", "somebody's");
	assert_int_equal(move("g", "g~", 0), 0);
	assert_int_equal(move("g~", "h", 0), 0);
	expect_key("h", "somebody's");
	expect_no_key("g");
}

static void list_root(struct pfs_store *s)
{
	struct pfs_list *list;
	uint64_t root;

	assert_int_equal(pfs_store_root(s, &root), 0);
	assert_int_equal(pfs_store_list(s, root, 0, 100, &list), 0);
	pfs_list_free(list);
}

/* Who looks into the directory in between has not seen the key, and does not agree to its end. */
static void a_key_that_was_moved_and_changed_stays_though_its_directory_was_listed(void **state)
{
	struct pfs_store *s;
	struct pfs_msg msg;

	(void)state;
	key_put("f", "old", 3);
	assert_int_equal(move("f", "f~", 0), 0);
	key_put("f", "new", 3);
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, &msg), 0);
	list_root(s);
	pfs_store_free(s);
	assert_int_equal(drop("f~"), 0);
	expect_key("f", "new");
}

static void somebody_writes(void)
{
	key_put("f", "somebody's", 10);
}

/* Also at the last moment: the view removes what it was, and nothing else. */
static void a_key_that_was_moved_and_is_being_changed_stays(void **state)
{
	(void)state;
	key_put("f", "old", 3);
	assert_int_equal(move("f", "f~", 0), 0);
	tv->in_remove = somebody_writes;
	assert_int_equal(drop("f~"), 0);
	expect_key("f", "somebody's");
	expect_shown("f", "somebody's");
}

/* A view that knows no versions of large values: the content says whether it is what was moved. */
static void a_key_without_a_version_that_was_moved_and_changed_stays(void **state)
{
	(void)state;
	tv->unversioned = true;
	key_put("f", "old", 3);
	assert_int_equal(move("f", "f~", 0), 0);
	key_put("f", "new", 3);
	assert_int_equal(drop("f~"), 0);
	expect_key("f", "new");
	key_put("g", "old", 3);
	assert_int_equal(move("g", "g~", 0), 0);
	assert_int_equal(put_file("g~", "edited"), 0);
	assert_int_equal(drop("g~"), 0);
	expect_no_key("g");
}

static void a_key_that_goes_by_a_scratch_name_keeps_its_expiry(void **state)
{
	int64_t expires = pfs_now_ns() + 1000 * NSEC_PER_SEC;

	(void)state;
	key_put("f", "value", 5);
	key_find(PFS_BYTES("f"))->expires = expires;
	assert_int_equal(move("f", "f~", 0), 0);
	assert_int_equal(move("f~", "g", 0), 0);
	expect_no_key("f");
	expect_key("g", "value");
	assert_int_equal(key_find(PFS_BYTES("g"))->expires, expires);
}

/* Asked for its attributes by its old name, while it is renamed. */
static void rename_while_stat(void)
{
	struct pfs_batch batch = {0};
	struct pfs_mutation m = {.op = PFS_OP_RENAME, .dir = tv->root, .name = PFS_BYTES("f"),
				 .dir2 = tv->root, .name2 = PFS_BYTES("g")};

	batch.ops = &m;
	batch.nops = 1;
	batch.epoch = pfs_store_epoch(tv->store);
	assert_int_equal(pfs_store_commit(tv->store, &batch), 0);
}

static void a_file_that_is_renamed_while_somebody_looks_is_still_there(void **state)
{
	struct pfs_attr attr, again;
	struct pfs_store *s;
	struct pfs_msg msg;

	(void)state;
	key_put("f", "value", 5);
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, &msg), 0);
	assert_int_equal(pfs_store_root(s, &tv->root), 0);
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("f"), &attr), 0);
	tv->store = s;
	tv->in_stat = rename_while_stat;
	assert_int_equal(pfs_store_getattr(s, attr.id, &again), 0);
	assert_int_equal(again.size, 5);
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("g"), &again), 0);
	assert_int_equal(again.id, attr.id);
	pfs_store_free(s);
}

/* The other way about: who looks finds nothing there between the engine's rename and ours. */
static void look_while_renamed(void)
{
	struct pfs_attr attr;

	(void)pfs_store_getattr(tv->store, tv->id, &attr);
}

static void a_file_that_is_looked_at_while_it_is_renamed_is_still_there(void **state)
{
	struct pfs_attr attr, again;
	struct pfs_store *s;
	struct pfs_msg msg;

	(void)state;
	key_put("f", "value", 5);
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, &msg), 0);
	assert_int_equal(pfs_store_root(s, &tv->root), 0);
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("f"), &attr), 0);
	tv->store = s;
	tv->id = attr.id;
	tv->in_rename = look_while_renamed;
	rename_while_stat();
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("g"), &again), 0);
	assert_int_equal(again.size, 5);
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("f"), &again), -ENOENT);
	pfs_store_free(s);
}

static void write_while_renamed(void)
{
	struct pfs_seg seg = {.p = "NEW", .len = 3};
	struct pfs_mutation m = {.op = PFS_OP_WRITE, .id = tv->id, .segs = &seg, .nsegs = 1};
	struct pfs_batch batch = {.ops = &m, .nops = 1, .epoch = pfs_store_epoch(tv->store)};

	assert_int_equal(pfs_store_commit(tv->store, &batch), 0);
}

static void what_is_written_to_a_scratch_file_while_it_becomes_a_key_is_in_it(void **state)
{
	struct pfs_attr attr;
	struct pfs_store *s;
	struct pfs_msg msg;

	(void)state;
	assert_int_equal(put_file("f~", "old"), 0);
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, &msg), 0);
	assert_int_equal(pfs_store_root(s, &tv->root), 0);
	assert_int_equal(pfs_store_lookup(s, tv->root, PFS_BYTES("f~"), &attr), 0);
	tv->store = s;
	tv->id = attr.id;
	tv->in_write = write_while_renamed;
	assert_int_equal(move("f~", "f", 0), 0);
	expect_key("f", "NEW");
	pfs_store_free(s);
}

/* Whether a value without a version has changed is known by what was told alone. */
static void a_listing_makes_no_change_of_a_value_and_hides_none(void **state)
{
	struct pfs_attr first, attr;
	struct pfs_store *s;
	struct pfs_msg msg;
	uint64_t root;
	int i;

	(void)state;
	tv->unversioned = true;
	pfs_view_changed(&tv->view, NULL);
	key_put("f", "one", 3);
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, &msg), 0);
	assert_int_equal(pfs_store_root(s, &root), 0);
	list_root(s);
	assert_int_equal(pfs_store_lookup(s, root, PFS_BYTES("f"), &first), 0);
	for (i = 0; i < 3; i++) {
		key_put("f", i % 2 ? "one" : "two", 3);
		pfs_view_changed(&tv->view, &PFS_BYTES("f"));
		assert_int_equal(pfs_store_getattr(s, first.id, &attr), 0);
		assert_true(attr.content_version > first.content_version);
		first = attr;
		list_root(s);
		assert_int_equal(pfs_store_getattr(s, first.id, &attr), 0);
		assert_int_equal(attr.content_version, first.content_version);
		assert_int_equal(attr.mtime, first.mtime);
	}
	pfs_store_free(s);
}

static void an_unlinked_file_that_is_open_can_still_be_read(void **state)
{
	struct pfs_open_hints hints;
	struct pfs_file *f;
	struct pfs_node *node;
	char buf[10];

	(void)state;
	key_put("a", "value", 5);
	node = look("a");
	assert_int_equal(pfs_fs_open(g->fs, &g->ctx, node, O_RDONLY, &f, &hints), 0);
	assert_int_equal(drop("a"), 0);
	expect_no_key("a");
	assert_int_equal(pfs_fs_read(g->fs, f, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "value", 5);
	pfs_fs_release(g->fs, f);
	pfs_fs_forget(g->fs, node, 1);
}

static bool count_entry(void *arg, const char *name, const struct pfs_entry *entry, off_t next)
{
	(void)entry;
	(void)next;
	if (strcmp(name, ".") && strcmp(name, "..")) {
		strcat(arg, name);
		strcat(arg, " ");
	}
	return true;
}

static void a_listing_has_keys_in_order_and_scratch_files_behind(void **state)
{
	char names[1000] = "";
	struct pfs_open_hints hints;
	struct pfs_dir *dir;

	(void)state;
	key_put("c", "3", 1);
	key_put("a", "1", 1);
	key_put("d/x", "4", 1);
	key_put("b", "2", 1);
	assert_int_equal(put_file("z~", "scratch"), 0);
	assert_int_equal(move("b", "b~", 0), 0);
	assert_int_equal(pfs_fs_opendir(g->fs, g->root, &dir, &hints), 0);
	assert_int_equal(pfs_fs_readdir(g->fs, dir, 0, false, count_entry, names), 0);
	pfs_fs_releasedir(g->fs, dir);
	assert_true(strncmp(names, "a c d ", 6) == 0);
	assert_non_null(strstr(names, "z~ "));
	assert_non_null(strstr(names, "b~ "));
	assert_null(strstr(names, "b "));
}

static void what_is_so_already_may_be_set_and_nothing_else(void **state)
{
	struct pfs_node *node;
	struct stat st = {0};
	struct pfs_entry e;

	(void)state;
	key_put("a", "v", 1);
	node = look("a");
	st.st_mode = 0600;
	st.st_uid = getuid();
	assert_int_equal(pfs_fs_setattr(g->fs, &g->ctx, node, NULL, &st,
					PFS_FS_SET_MODE | PFS_FS_SET_UID, &e), 0);
	st.st_mode = 0644;
	assert_int_equal(pfs_fs_setattr(g->fs, &g->ctx, node, NULL, &st, PFS_FS_SET_MODE, &e),
			 -EOPNOTSUPP);
	assert_int_equal(pfs_fs_setattr(g->fs, &g->ctx, node, NULL, &st, PFS_FS_SET_MTIME_NOW, &e),
			 0);
	st.st_mtim.tv_sec = 1000;
	assert_int_equal(pfs_fs_setattr(g->fs, &g->ctx, node, NULL, &st, PFS_FS_SET_MTIME, &e),
			 -EOPNOTSUPP);
	assert_int_equal(tv->writes, 0);
	pfs_fs_forget(g->fs, node, 1);
}

static void attributes_of_the_view_are_told_and_others_refused(void **state)
{
	struct pfs_node *node;
	struct pfs_buf names = {0};
	char buf[50];

	(void)state;
	key_put("a", "v", 1);
	node = look("a");
	assert_int_equal(pfs_fs_getxattr(g->fs, node, PFS_BYTES("user.persistfs.type"), buf, 50), 4);
	assert_int_equal(pfs_fs_listxattr(g->fs, node, &names), 0);
	assert_string_equal(names.data, "user.persistfs.type");
	pfs_buf_release(&names);
	assert_int_equal(pfs_fs_setxattr(g->fs, node, PFS_BYTES("user.mine"), "x", 1, 0),
			 -EOPNOTSUPP);
	assert_int_equal(pfs_fs_setxattr(g->fs, node, PFS_BYTES("user.persistfs.ttl"), "100", 3, 0), 0);
	assert_true(key_find(PFS_BYTES("a"))->expires > pfs_now_ns());
	assert_int_equal(pfs_fs_getxattr(g->fs, node, PFS_BYTES("user.persistfs.created"), buf, 50),
			 -ENODATA);
	pfs_fs_forget(g->fs, node, 1);
}

static void links_symlinks_and_devices_are_refused(void **state)
{
	struct pfs_node *node;
	struct pfs_entry e;

	(void)state;
	key_put("a", "v", 1);
	node = look("a");
	assert_int_equal(pfs_fs_link(g->fs, node, g->root, PFS_BYTES("b"), &e), -EPERM);
	assert_int_equal(pfs_fs_symlink(g->fs, &g->ctx, g->root, PFS_BYTES("l"), PFS_BYTES("a"), &e),
			 -EPERM);
	assert_int_equal(pfs_fs_mknod(g->fs, &g->ctx, g->root, PFS_BYTES("p"), S_IFIFO | 0600, 0, &e),
			 -EPERM);
	/* emacs keeps its lock in one. */
	assert_int_equal(pfs_fs_symlink(g->fs, &g->ctx, g->root, PFS_BYTES(".#a"), PFS_BYTES("me@here"),
					&e), 0);
	pfs_fs_forget(g->fs, e.node, 1);
	assert_int_equal(drop(".#a"), 0);
	assert_int_equal(tv->nkeys, 1);
	pfs_fs_forget(g->fs, node, 1);
}

static void scratch_can_be_refused(void **state)
{
	struct pfs_file *f;

	(void)state;
	assert_int_equal(try_create("a~", O_WRONLY, &f), -EPERM);
	assert_int_equal(put_file("a", "v"), 0);
	expect_key("a", "v");
}

static void scratch_can_be_kept_as_keys(void **state)
{
	(void)state;
	assert_int_equal(put_file("a~", "v"), 0);
	expect_key("a~", "v");
}

static void many_keys_are_forgotten_and_found_again(void **state)
{
	struct pfs_store *s = NULL;
	struct pfs_attr attr, again;
	uint64_t root;
	char name[20];
	int i;

	(void)state;
	assert_int_equal(pfs_backend_open(g->b, "s", false, &s, NULL), 0);
	assert_int_equal(pfs_store_root(s, &root), 0);
	key_put("first", "1", 1);
	assert_int_equal(pfs_store_lookup(s, root, PFS_BYTES("first"), &attr), 0);
	/* Of more names than are remembered. */
	for (i = 0; i < 140000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		if (i % 2000 == 0)
			key_put(i % 4000 ? "p" : "q", "", 0);
		snprintf(tv->keys[0].path, sizeof(tv->keys[0].path), "%s", name);
		assert_int_equal(pfs_store_lookup(s, root, pfs_bytes_str(name), &again), 0);
	}
	snprintf(tv->keys[0].path, sizeof(tv->keys[0].path), "first");
	assert_int_equal(pfs_store_getattr(s, attr.id, &again), -ENOENT);
	assert_int_equal(pfs_store_lookup(s, root, PFS_BYTES("first"), &again), 0);
	assert_int_not_equal(again.id, attr.id);
	pfs_store_free(s);
}

static void the_patterns_of_scratch_names(void **state)
{
	static const char *const yes[] = {".a.swp", ".a.swpx", ".a.swo", "4913", "a~", "#a#", ".#a",
					  "sedAbC123", ".goutputstream-XYZ", ".file.txt.Q9zL4b"};
	static const char *const no[] = {"a", ".a", "a.swp", "sed", "sedation", "sed-script", "~a", ".a.b",
					 ".config", ".bashrc"};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(yes); i++)
		if (!pfs_scratch_name(pfs_bytes_str(yes[i])))
			fail_msg("%s is scratch", yes[i]);
	for (i = 0; i < PFS_ARRAY_SIZE(no); i++)
		if (pfs_scratch_name(pfs_bytes_str(no[i])))
			fail_msg("%s is not scratch", no[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_key_is_a_file_and_what_others_write_shows),
		T(a_rewrite_is_one_write_of_the_whole_value),
		T(a_file_that_was_only_made_is_an_empty_key_at_its_close),
		T(writes_in_place_and_appends_are_folded),
		T(a_refused_write_leaves_the_old_value_and_says_why),
		T(scratch_files_never_reach_the_engine),
		T(renaming_a_scratch_file_onto_a_key_writes_the_key),
		T(a_backup_by_rename_keeps_the_key_until_it_is_written_anew),
		T(a_key_moved_to_a_scratch_name_goes_with_that_file),
		T(a_key_that_was_moved_and_changed_stays_though_its_directory_was_listed),
		T(a_key_that_was_moved_and_is_being_changed_stays),
		T(a_key_without_a_version_that_was_moved_and_changed_stays),
		T(a_key_that_goes_by_a_scratch_name_keeps_its_expiry),
		T(a_file_that_is_renamed_while_somebody_looks_is_still_there),
		T(a_file_that_is_looked_at_while_it_is_renamed_is_still_there),
		T(what_is_written_to_a_scratch_file_while_it_becomes_a_key_is_in_it),
		T(a_listing_makes_no_change_of_a_value_and_hides_none),
		T(an_unlinked_file_that_is_open_can_still_be_read),
		T(a_listing_has_keys_in_order_and_scratch_files_behind),
		T(what_is_so_already_may_be_set_and_nothing_else),
		T(attributes_of_the_view_are_told_and_others_refused),
		T(links_symlinks_and_devices_are_refused),
		T(many_keys_are_forgotten_and_found_again),
		cmocka_unit_test_setup_teardown(scratch_can_be_refused, setup_refuse, teardown),
		cmocka_unit_test_setup_teardown(scratch_can_be_kept_as_keys, setup_store, teardown),
		cmocka_unit_test(the_patterns_of_scratch_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
