/*
 * The keys of a Redis as they are: every type read and written beside another client of the server, the
 * names of keys, times to live, what others change, and that looking changes nothing.
 */
#include "tests/contract/lib_redis_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mount/config.h"

/* The view, its host, and its store; on the server of the case. */
struct nv {
	struct rs *r;
	struct pfs_option_set set;
	struct pfs_backend *host, *b;
	struct pfs_store *s;
	uint64_t root;
};

static int nv_setup(void **state)
{
	struct nv *t = calloc(1, sizeof(*t));
	void *r = NULL;

	assert_non_null(t);
	rs_setup(&r);
	t->r = r;
	assert_int_equal(pfs_option_set_init(&t->set, pfs_store_options), 0);
	*state = t;
	return 0;
}

static void stop(struct nv *t)
{
	pfs_store_free(t->s);
	pfs_backend_free(t->b);
	pfs_backend_free(t->host);
	t->s = NULL;
	t->b = t->host = NULL;
}

static int nv_teardown(void **state)
{
	struct nv *t = *state;
	void *r = t->r;

	stop(t);
	pfs_option_set_release(&t->set);
	free(t);
	return rs_teardown(&r);
}

static void option(struct nv *t, const char *name, const char *value)
{
	assert_int_equal(pfs_option_set_text(&t->set, name, value, NULL), 0);
}

static int try_adopt(struct nv *t, struct pfs_msg *msg)
{
	t->host = rs_new(t->r);
	t->host->own = false;
	return t->host->engine->adopt(t->host, PFS_LAYOUT_NATIVE, "keys", &t->set, &t->b, msg);
}

static void wait_pushing(struct nv *t, bool pushing)
{
	rs_wait_pushing(t->b, pushing);
}

static void start_only(struct nv *t)
{
	struct pfs_msg msg = {{0}};
	int err = try_adopt(t, &msg);

	if (!err)
		err = pfs_backend_start(t->host, &msg);
	if (!err)
		err = pfs_backend_start(t->b, &msg);
	if (!err)
		err = pfs_backend_open(t->b, "keys", false, &t->s, &msg);
	if (err)
		fail_msg("%s (%s)", msg.text, strerror(-err));
	assert_int_equal(pfs_store_root(t->s, &t->root), 0);
}

static void start(struct nv *t)
{
	start_only(t);
	wait_pushing(t, true);
}

/* What others did before is seen. */
static void catch_up(struct nv *t)
{
	assert_int_equal(pfs_backend_catch_up(t->b), 0);
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* The directory of a path, and its last name. */
static int parent_of(struct nv *t, const char *path, uint64_t *dir, struct pfs_bytes *name)
{
	struct pfs_attr attr;
	const char *slash;
	int err = 0;

	*dir = t->root;
	while (!err && (slash = strchr(path, '/'))) {
		err = pfs_store_lookup(t->s, *dir, (struct pfs_bytes){path, (size_t)(slash - path)},
				       &attr);
		*dir = attr.id;
		path = slash + 1;
	}
	*name = pfs_bytes_str(path);
	return err;
}

static int walk(struct nv *t, const char *path, struct pfs_attr *out)
{
	struct pfs_bytes name;
	uint64_t dir;
	int err = parent_of(t, path, &dir, &name);

	if (!err && !name.len)
		return pfs_store_getattr(t->s, dir, out);
	return err ? err : pfs_store_lookup(t->s, dir, name, out);
}

static uint64_t id_of(struct nv *t, const char *path)
{
	struct pfs_attr attr = {0};
	int err = walk(t, path, &attr);

	if (err)
		fail_msg("%s: %s (%s)", path, strerror(-err), pfs_error_text());
	return attr.id;
}

static uint64_t fresh_id(struct nv *t)
{
	uint64_t id;

	assert_int_equal(pfs_store_alloc_ids(t->s, 1, &id), 0);
	return id;
}

/* What a path holds; a static buffer. */
static const char *text_of(struct nv *t, const char *path)
{
	static char text[4096];
	ssize_t n = pfs_store_read(t->s, id_of(t, path), 0, text, sizeof(text) - 1);

	if (n < 0)
		fail_msg("%s: %s (%s)", path, strerror((int)-n), pfs_error_text());
	text[n] = '\0';
	return text;
}

#define assert_text(t, path, text) assert_string_equal(text_of(t, path), text)

static void assert_size(struct nv *t, const char *path, uint64_t size)
{
	struct pfs_attr attr;

	assert_int_equal(walk(t, path, &attr), 0);
	assert_int_equal(attr.size, size);
}

/* The names in a directory, each behind a blank; by pages of `limit`. */
static const char *names_by(struct nv *t, const char *path, size_t limit)
{
	static char text[16384];
	uint64_t dir = id_of(t, path), cursor = 0;
	struct pfs_list *list;
	bool end = false;
	size_t n = 0, i;

	text[0] = '\0';
	while (!end) {
		assert_int_equal(pfs_store_list(t->s, dir, cursor, limit, &list), 0);
		for (i = 0; i < list->n; i++) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %.*s",
					      (int)list->entries[i].name.len,
					      list->entries[i].name.p);
			cursor = list->entries[i].cursor;
		}
		end = list->end;
		pfs_list_free(list);
	}
	return text;
}

#define assert_names(t, path, names) assert_string_equal(names_by(t, path, 100), names)

static int change(struct nv *t, struct pfs_mutation m)
{
	return s_batch(t->s, &m, 1, NULL);
}

/* Make the path hold this: a new file, or another content. */
static int put_bytes(struct nv *t, const char *path, const char *p, size_t len)
{
	struct pfs_seg seg = {0, p, len};
	struct pfs_mutation m = {.op = PFS_OP_REPLACE, .segs = &seg, .nsegs = len > 0, .size = len};
	struct pfs_attr attr;
	uint64_t dir;
	int err = walk(t, path, &attr);

	m.id = attr.id;
	if (err == -ENOENT) {
		err = parent_of(t, path, &dir, &m.name);
		m.op = PFS_OP_CREATE;
		m.dir = dir;
		m.id = fresh_id(t);
		m.set.mode = S_IFREG | 0600;
	}
	return err ? err : change(t, m);
}

static int put(struct nv *t, const char *path, const char *text)
{
	return put_bytes(t, path, text, strlen(text));
}

static int append(struct nv *t, const char *path, const char *text)
{
	struct pfs_seg seg = {0, text, strlen(text)};

	return change(t, m_content(PFS_OP_APPEND, id_of(t, path), &seg, 1));
}

static int make_dir(struct nv *t, const char *path)
{
	struct pfs_mutation m = {.op = PFS_OP_CREATE, .set.mode = S_IFDIR | 0700};
	int err = parent_of(t, path, &m.dir, &m.name);

	m.id = fresh_id(t);
	return err ? err : change(t, m);
}

static int unlink_at(struct nv *t, const char *path, uint32_t flags)
{
	struct pfs_mutation m = {.op = PFS_OP_REMOVE, .flags = flags};
	int err = parent_of(t, path, &m.dir, &m.name);

	return err ? err : change(t, m);
}

static int move(struct nv *t, const char *from, const char *to, uint32_t flags)
{
	struct pfs_mutation m = {.op = PFS_OP_RENAME, .flags = flags};
	int err = parent_of(t, from, &m.dir, &m.name);

	if (!err)
		err = parent_of(t, to, &m.dir2, &m.name2);
	return err ? err : change(t, m);
}

static int set_attr(struct nv *t, const char *path, const char *name, const char *value)
{
	struct pfs_seg seg = {0, value, strlen(value)};

	return change(t, m_setxattr(id_of(t, path), name, &seg, 0));
}

static const char *type_of(struct nv *t, const char *path)
{
	static char text[64];
	ssize_t n = pfs_store_xattr_get(t->s, id_of(t, path), PFS_BYTES("user.persistfs.type"),
					text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* ---- the server's side ---------------------------------------------------------------------- */

static const char *ask(struct nv *t, const char *format, ...)
{
	static char text[4096];
	redisReply *r;
	va_list ap;

	va_start(ap, format);
	r = redisvCommand(t->r->cli, format, ap);
	va_end(ap);
	assert_non_null(r);
	if (r->type == REDIS_REPLY_INTEGER)
		snprintf(text, sizeof(text), "%lld", r->integer);
	else
		snprintf(text, sizeof(text), "%s", r->str ? r->str : "(nil)");
	freeReplyObject(r);
	return text;
}

#define assert_key(t, want, ...) assert_string_equal(ask(t, __VA_ARGS__), want)

/* All that the server has, as text; free(). */
static char *everything(struct nv *t)
{
	static const char script[] =
		"local out = {} for _, k in ipairs(redis.call('KEYS', '*')) do "
		"out[#out + 1] = redis.sha1hex(k) .. redis.sha1hex(redis.call('DUMP', k)) .. "
		"redis.call('PEXPIRETIME', k) end table.sort(out) return table.concat(out, ' ')";
	redisReply *r = rd_command(t->r->cli, "EVAL %s 0", script);
	char *text = strdup(r->str);

	assert_non_null(text);
	freeReplyObject(r);
	return text;
}

static void some_keys(struct nv *t)
{
	redisContext *c = t->r->cli;

	rd_do(c, "SET user:1 alice");
	rd_do(c, "SET user:2 bob EX 1000");
	rd_do(c, "SET a own");
	rd_do(c, "SET a:b below");
	rd_do(c, "HSET sess:1 role admin name x");
	rd_do(c, "RPUSH conv:1 one two three");
	rd_do(c, "SADD tags red blue");
	rd_do(c, "ZADD board 1.5 ann 0.1 bob");
	rd_do(c, "XADD events 1-1 k v");
}

/* ---- looking -------------------------------------------------------------------------------- */

static void every_type_is_shown_and_looking_changes_nothing(void **state)
{
	struct nv *t = *state;
	char *before, *after;

	some_keys(t);
	before = everything(t);
	start(t);
	assert_names(t, "", " a board conv events.jsonl sess tags user");
	assert_text(t, "user/1", "alice");
	assert_size(t, "user/1", 5);
	assert_names(t, "a", " %VALUE b");
	assert_text(t, "a/%VALUE", "own");
	assert_text(t, "a/b", "below");
	assert_names(t, "sess/1", " name role");
	assert_text(t, "sess/1/role", "admin");
	assert_names(t, "conv/1", " 00000000 00000001 00000002");
	assert_text(t, "conv/1/00000001", "two");
	assert_size(t, "conv/1/+", 0);
	assert_names(t, "tags", " blue red");
	assert_size(t, "tags/red", 0);
	assert_text(t, "board/ann", "1.5");
	assert_text(t, "board/bob", ask(t, "ZSCORE board bob"));
	assert_size(t, "board/bob", strlen(ask(t, "ZSCORE board bob")));
	assert_text(t, "events.jsonl", "{\"id\":\"1-1\",\"fields\":{\"k\":\"v\"}}\n");
	assert_string_equal(type_of(t, "user"), "keys");
	assert_string_equal(type_of(t, "user/1"), "string");
	assert_string_equal(type_of(t, "sess/1"), "hash");
	assert_string_equal(type_of(t, "conv/1"), "list");
	assert_string_equal(type_of(t, "tags"), "set");
	assert_string_equal(type_of(t, "board"), "zset");
	assert_string_equal(type_of(t, "events.jsonl"), "stream");
	assert_string_equal(type_of(t, "tags/red"), "");
	stop(t);
	after = everything(t);
	assert_string_equal(after, before);
	free(before);
	free(after);
}

static void every_name_of_a_key_leads_back_to_it(void **state)
{
	static const struct pfs_bytes keys[] = {
		{"with space", 10},   {"new\nline", 8},	  {"sl/ash", 6},      {"\xff\x01\x00z", 4},
		{"100%", 4},	      {"%VALUE", 6},	  {"%EMPTY", 6},      {"a%2Fb", 5},
		{".", 1},	      {"..:x", 4},	  {":", 1},	      {"", 0},
		{"p", 1},	      {"p:q", 3},	  {"p!q", 3},	      {"p:q:r", 5},
		{"\x01", 1},	      {"\x01:\x00", 3},	  {"x.jsonl", 7},     {"\xc3\xa9t\xc3\xa9", 5},
	};
	struct nv *t = *state;
	char key[301];
	size_t i, total = PFS_ARRAY_SIZE(keys) + 1, found = 0;
	struct pfs_buf todo = {0};

	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++)
		rd_do(t->r->cli, "SET %b value%d", keys[i].p, keys[i].len, (int)i);
	memset(key, 'k', 300);
	key[300] = '\0';
	rd_do(t->r->cli, "SET %s value%d", key, (int)i);
	start(t);
	/* Every file of the tree holds another value, and there are as many as keys. */
	pfs_buf_add(&todo, "", 1);
	for (i = 0; i < todo.len; i += strlen(todo.data + i) + 1) {
		char *names = strdup(names_by(t, todo.data + i, 2)), *dir = strdup(todo.data + i);
		struct pfs_list *list;
		size_t k;

		free(names);
		assert_int_equal(pfs_store_list(t->s, id_of(t, dir), 0, 1000, &list), 0);
		for (k = 0; k < list->n; k++) {
			char path[1024];
			struct pfs_attr attr;

			snprintf(path, sizeof(path), "%s%s%.*s", dir, dir[0] ? "/" : "",
				 (int)list->entries[k].name.len, list->entries[k].name.p);
			assert_int_equal(walk(t, path, &attr), 0);
			if (S_ISDIR(attr.mode)) {
				pfs_buf_add(&todo, path, strlen(path) + 1);
				continue;
			}
			assert_int_equal(strncmp(text_of(t, path), "value", 5), 0);
			found++;
		}
		pfs_list_free(list);
		free(dir);
	}
	pfs_buf_release(&todo);
	assert_int_equal(found, total);
	assert_int_equal(put(t, "sl%2Fash", "again"), 0);
	assert_key(t, "again", "GET %s", "sl/ash");
	assert_int_equal(put(t, "%EMPTY/%EMPTY", "again"), 0);
	assert_key(t, "again", "GET %s", ":");
	assert_int_equal(put(t, "%EMPTY/%VALUE", "again"), 0);
	assert_key(t, "again", "GET %b", "", (size_t)0);
	assert_int_equal(put(t, "p/q/%VALUE", "again"), 0);
	assert_key(t, "again", "GET p:q");
	assert_int_equal(put(t, "c:d", "x"), -EILSEQ);
	assert_int_equal(put(t, "%41", "x"), 0);
	assert_key(t, "x", "GET %s", "%41");
}

static void long_names_of_fields_open(void **state)
{
	struct nv *t = *state;
	char field[301], path[320];

	memset(field, 'f', 300);
	field[300] = '\0';
	rd_do(t->r->cli, "HSET h %s long short s", field);
	start(t);
	snprintf(path, sizeof(path), "h/%s", names_by(t, "h", 1) + 1);
	*strchr(path, ' ') = '\0';
	assert_text(t, path, "long");
	assert_int_equal(put(t, path, "changed"), 0);
	assert_key(t, "changed", "HGET h %s", field);
}

static void listings_in_pages_tell_each_name_once(void **state)
{
	struct nv *t = *state;
	char want[8192] = "", one[32];
	size_t limit;
	int i;

	for (i = 0; i < 300; i++) {
		rd_do(t->r->cli, "SET dir:%03d x", i);
		rd_do(t->r->cli, "SET dir:%03d:sub y", i);
		rd_do(t->r->cli, "HSET h %03d x", i);
		rd_do(t->r->cli, "RPUSH l x");
		snprintf(one, sizeof(one), " %03d", i);
		strcat(want, one);
	}
	start(t);
	for (limit = 1; limit < 1000; limit = 3 * limit + 1) {
		assert_string_equal(names_by(t, "dir", limit), want);
		assert_string_equal(names_by(t, "h", limit), want);
	}
	assert_int_equal(strlen(names_by(t, "l", 7)), 300 * 9);
}

static void a_listing_waits_for_all_keys(void **state)
{
	struct nv *t = *state;
	uint64_t cursor = 0, dir;
	struct pfs_list *list;
	size_t n = 0;
	bool end = false;

	rd_do(t->r->cli, "EVAL %s 0", "for i = 1, 100000 do redis.call('SET', 'd:' .. i, i) end");
	start_only(t);
	assert_text(t, "d/777", "777");
	dir = id_of(t, "d");
	while (!end) {
		assert_int_equal(pfs_store_list(t->s, dir, cursor, 4000, &list), 0);
		n += list->n;
		cursor = list->n ? list->entries[list->n - 1].cursor : cursor;
		end = list->end;
		pfs_list_free(list);
	}
	assert_int_equal(n, 100000);
}

static void who_may_not_track_reads_keys_and_is_told_that_listing_cannot_be(void **state)
{
	struct nv *t = *state;
	struct pfs_health health = {0};
	struct pfs_list *list;

	rd_do(t->r->cli, "SET key value");
	rd_do(t->r->cli, "ACL SETUSER weak on >pw ~* &* +@all -client");
	rs_option(t->r, "user", "weak");
	rs_option(t->r, "password", "pw");
	rs_option(t->r, "retry_timeout", "300ms");
	start_only(t);
	assert_text(t, "key", "value");
	assert_int_equal(put(t, "key", "new"), 0);
	assert_key(t, "new", "GET key");
	assert_int_equal(pfs_store_list(t->s, t->root, 0, 100, &list), -EAGAIN);
	assert_non_null(strstr(pfs_error_text(), "not complete"));
	pfs_backend_health(t->b, &health);
	assert_non_null(strstr(health.note.text, "complete: no"));
	assert_non_null(strstr(health.note.text, "NOPERM"));
}

static void keys_of_persistfs_are_hidden(void **state)
{
	struct nv *t = *state;
	struct rs *r = t->r;

	rs_start(r);
	rs_file(r, r->root, "mine", "x");
	rd_do(r->cli, "SET theirs y");
	rd_do(r->cli, "SET dir:a z");
	start(t);
	assert_names(t, "", " dir theirs");
	assert_int_equal(move(t, "dir", "test", 0), -EPERM);
	assert_key(t, "z", "GET dir:a");
	assert_int_equal(put(t, "test/new", "x"), -ENOENT);
	assert_int_equal(make_dir(t, "test"), 0);
	assert_int_equal(put(t, "test", "x"), -EISDIR);
	assert_text(t, "theirs", "y");
	stop(t);
}

static void a_view_alone_makes_nothing(void **state)
{
	struct nv *t = *state;

	start(t);
	assert_names(t, "", "");
	assert_int_equal(pfs_backend_heartbeat(t->host), 0);
	assert_int_equal(pfs_backend_sync(t->host), 0);
	assert_int_equal(pfs_backend_sync(t->b), 0);
	catch_up(t);
	stop(t);
	assert_int_equal(rd_number(t->r->cli, "DBSIZE"), 0);
}

static void a_prefix_shows_what_begins_with_it(void **state)
{
	struct nv *t = *state;

	rd_do(t->r->cli, "SET app[1]:x in");
	rd_do(t->r->cli, "SET app1:x out");
	rd_do(t->r->cli, "SET other out");
	option(t, "prefix", "app[1]:");
	start(t);
	assert_names(t, "", " x");
	assert_text(t, "x", "in");
	assert_int_equal(put(t, "y", "new"), 0);
	assert_key(t, "new", "GET %s", "app[1]:y");
	rd_do(t->r->cli, "SET %s foreign", "app[1]:z:w");
	catch_up(t);
	assert_names(t, "", " x y z");
}

static void the_preset_of_marimo_makes_strings_in_directories(void **state)
{
	struct pfs_msg msg = {{0}};
	struct nv *t = *state;

	rd_do(t->r->cli, "SET %s %s", "cache/E_abc.pickle", "data");
	option(t, "preset", "langgraph-store");
	assert_int_equal(try_adopt(t, &msg), -EINVAL);
	assert_non_null(strstr(msg.text, "marimo"));
	pfs_backend_free(t->host);
	option(t, "preset", "marimo");
	start(t);
	assert_text(t, "cache/E_abc.pickle", "data");
	assert_int_equal(make_dir(t, "other"), 0);
	assert_int_equal(put(t, "other/E_1.pickle", "x"), 0);
	assert_key(t, "x", "GET %s", "other/E_1.pickle");
	assert_int_equal(put(t, "a:b", "flat"), 0);
	assert_key(t, "flat", "GET a:b");
}

/* ---- strings -------------------------------------------------------------------------------- */

static void strings_are_written_and_keep_their_time_to_live(void **state)
{
	struct pfs_seg seg = {2, "XX", 2};
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(put(t, "user/2", "longer than before"), 0);
	assert_key(t, "longer than before", "GET user:2");
	assert_true(rd_number(t->r->cli, "TTL user:2") > 900);
	assert_int_equal(append(t, "user/2", ", and more"), 0);
	assert_key(t, "longer than before, and more", "GET user:2");
	assert_true(rd_number(t->r->cli, "TTL user:2") > 900);
	assert_int_equal(change(t, m_content(PFS_OP_WRITE, id_of(t, "user/2"), &seg, 1)), 0);
	assert_key(t, "loXXer than before, and more", "GET user:2");
	assert_true(rd_number(t->r->cli, "TTL user:2") > 900);
	assert_int_equal(change(t, m_size(PFS_OP_TRUNCATE, id_of(t, "user/2"), 3)), 0);
	assert_key(t, "loX", "GET user:2");
	assert_true(rd_number(t->r->cli, "TTL user:2") > 900);
	assert_int_equal(put_bytes(t, "bin", "\0\xff\n", 3), 0);
	assert_int_equal(rd_number(t->r->cli, "STRLEN bin"), 3);
	assert_int_equal(rd_number(t->r->cli, "TTL bin"), -1);
	assert_int_equal(put(t, "empty", ""), 0);
	assert_int_equal(rd_number(t->r->cli, "EXISTS empty"), 1);
	assert_int_equal(unlink_at(t, "user/2", 0), 0);
	assert_int_equal(rd_number(t->r->cli, "EXISTS user:2"), 0);
	assert_names(t, "user", " 1");
	assert_int_equal(unlink_at(t, "user/1", 0), 0);
	assert_names(t, "user", "");
	assert_int_equal(unlink_at(t, "user", PFS_F_DIR), 0);
	assert_int_equal(unlink_at(t, "a/b", 0), 0);
	catch_up(t);
	assert_text(t, "a", "own");
}

static void renaming_keeps_the_right_time_to_live(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(move(t, "user/2", "user/3", PFS_F_NOREPLACE), 0);
	assert_true(rd_number(t->r->cli, "TTL user:3") > 900);
	assert_int_equal(move(t, "user/3", "user/1", PFS_F_NOREPLACE), -EEXIST);
	assert_int_equal(move(t, "user/1", "user/3", 0), 0);
	assert_key(t, "alice", "GET user:3");
	assert_true(rd_number(t->r->cli, "TTL user:3") > 900);
	assert_int_equal(rd_number(t->r->cli, "EXISTS user:1"), 0);
	assert_int_equal(move(t, "user/3", "new", 0), 0);
	assert_key(t, "alice", "GET new");
	assert_int_equal(move(t, "new", "tags", 0), -EINVAL);
	assert_int_equal(move(t, "new", "events.jsonl", 0), -EINVAL);
	assert_key(t, "alice", "GET new");
	assert_int_equal(move(t, "sess/1", "sess/2", 0), 0);
	assert_key(t, "admin", "HGET sess:2 role");
	assert_int_equal(move(t, "sess/2/role", "sess/2/rank", 0), 0);
	assert_key(t, "admin", "HGET sess:2 rank");
	assert_key(t, "(nil)", "HGET sess:2 role");
}

static void directories_of_keys_are_renamed_at_once(void **state)
{
	struct nv *t = *state;
	struct pfs_attr attr;

	some_keys(t);
	start(t);
	assert_int_equal(move(t, "user", "people", 0), 0);
	assert_key(t, "alice", "GET people:1");
	assert_true(rd_number(t->r->cli, "TTL people:2") > 900);
	assert_int_equal(rd_number(t->r->cli, "EXISTS user:1 user:2"), 0);
	assert_names(t, "people", " 1 2");
	assert_text(t, "people/1", "alice");
	assert_int_equal(walk(t, "user", &attr), -ENOENT);
	assert_int_equal(move(t, "a", "b", 0), 0);
	assert_text(t, "b/%VALUE", "own");
	assert_text(t, "b/b", "below");
	assert_int_equal(move(t, "b", "people", 0), -ENOTEMPTY);
	assert_int_equal(move(t, "b", "tags", 0), -ENOTEMPTY);
	assert_int_equal(move(t, "b", "people/1", 0), -ENOTDIR);
	assert_int_equal(make_dir(t, "new"), 0);
	assert_int_equal(move(t, "sess", "new/sess", 0), 0);
	assert_key(t, "admin", "HGET new:sess:1 role");
	rd_do(t->r->cli, "SET free:1 x");
	catch_up(t);
	rd_do(t->r->cli, "SET taken:1 mine"); /* not known here, perhaps */
	assert_int_equal(move(t, "free", "taken", PFS_F_NOREPLACE) == 0, 0);
	assert_key(t, "mine", "GET taken:1");
}

static void times_to_live_are_set_and_told(void **state)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR, .set.mask = PFS_SET_EXPIRES};
	struct pfs_attr attr;
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(walk(t, "user/2", &attr), 0);
	assert_true(attr.expires / 1000000 == rd_number(t->r->cli, "PEXPIRETIME user:2"));
	m.id = attr.id;
	m.set.expires = pfs_now_ns() + 50 * NSEC_PER_SEC;
	assert_int_equal(change(t, m), 0);
	assert_true(rd_number(t->r->cli, "TTL user:2") <= 50);
	m.set.expires = 0;
	assert_int_equal(change(t, m), 0);
	assert_int_equal(rd_number(t->r->cli, "TTL user:2"), -1);
	m.id = id_of(t, "sess/1"); /* a key of elements too */
	m.set.expires = pfs_now_ns() + 50 * NSEC_PER_SEC;
	assert_int_equal(change(t, m), 0);
	assert_true(rd_number(t->r->cli, "TTL sess:1") > 40);
	m.id = id_of(t, "sess/1/role");
	assert_int_equal(change(t, m), -EOPNOTSUPP);
}

/* rsync's temporary file of a key whose name is an escape. */
static void scratch_files_need_no_name_of_keys(void **state)
{
	struct pfs_attr attr;
	struct nv *t = *state;

	start(t);
	assert_int_equal(put(t, ".%2E.abcdef", "value"), 0);
	assert_string_equal(text_of(t, ".%2E.abcdef"), "value");
	assert_int_equal(move(t, ".%2E.abcdef", "%2E", 0), 0);
	assert_key(t, "value", "GET .");
	assert_int_equal(move(t, "%2E", "%2E~", 0), 0);
	assert_int_equal(put(t, "%2E", "again"), 0);
	assert_key(t, "again", "GET .");
	assert_int_equal(walk(t, "%2Ex", &attr), -ENOENT);
	assert_int_equal(put(t, "%2Ex", "x"), -EILSEQ);
	assert_int_equal(rd_number(t->r->cli, "DBSIZE"), 1);
}

/* As rsync -X and cp -a do it. */
static void what_is_set_on_a_scratch_file_goes_with_it(void **state)
{
	struct pfs_mutation m = {.op = PFS_OP_SETATTR, .set.mask = PFS_SET_EXPIRES};
	struct pfs_attr attr;
	struct nv *t = *state;

	start(t);
	assert_int_equal(put(t, ".key.abcdef", "value"), 0);
	m.id = id_of(t, ".key.abcdef");
	m.set.expires = pfs_now_ns() + 1000 * NSEC_PER_SEC;
	assert_int_equal(change(t, m), 0);
	assert_int_equal(set_attr(t, ".key.abcdef", "user.persistfs.type", "string"), 0);
	assert_string_equal(type_of(t, ".key.abcdef"), "string");
	assert_int_equal(rd_number(t->r->cli, "DBSIZE"), 0);
	assert_int_equal(move(t, ".key.abcdef", "key", 0), 0);
	assert_key(t, "value", "GET key");
	assert_true(rd_number(t->r->cli, "TTL key") > 900);
	assert_int_equal(walk(t, "key", &attr), 0);
	assert_true(attr.expires > 0);
	assert_int_equal(put(t, ".ev.jsonl.abcdef", "{\"id\":\"1-1\",\"fields\":{\"k\":\"v\"}}\n"), 0);
	assert_int_equal(set_attr(t, ".ev.jsonl.abcdef", "user.persistfs.type", "stream"), 0);
	assert_int_equal(move(t, ".ev.jsonl.abcdef", "ev.jsonl", 0), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN ev"), 1);
	assert_int_equal(rd_number(t->r->cli, "EXISTS ev.jsonl"), 0);
	assert_string_equal(type_of(t, "ev.jsonl"), "stream");
	assert_int_equal(put(t, "no.jsonl", "text\n"), 0);
	assert_int_equal(set_attr(t, "no.jsonl", "user.persistfs.type", "stream"), -EINVAL);
	assert_key(t, "text\n", "GET no.jsonl");
}

static void counters_are_added_to(void **state)
{
	struct nv *t = *state;

	rd_do(t->r->cli, "SET n 40 EX 1000");
	rd_do(t->r->cli, "HSET h n 1 text x");
	start(t);
	assert_int_equal(set_attr(t, "n", "user.persistfs.incr", "2"), 0);
	assert_text(t, "n", "42");
	assert_int_equal(set_attr(t, "n", "user.persistfs.incr", "-0.5"), 0);
	assert_key(t, "41.5", "GET n");
	assert_true(rd_number(t->r->cli, "TTL n") > 900);
	assert_int_equal(set_attr(t, "h/n", "user.persistfs.incr", "-3"), 0);
	assert_text(t, "h/n", "-2");
	assert_int_equal(set_attr(t, "h/text", "user.persistfs.incr", "1"), -EINVAL);
	assert_key(t, "x", "HGET h text");
}

/* ---- other types ---------------------------------------------------------------------------- */

static void fields_of_hashes_are_files(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	rd_do(t->r->cli, "EXPIRE sess:1 1000");
	start(t);
	assert_int_equal(put(t, "sess/1/role", "user"), 0);
	assert_key(t, "user", "HGET sess:1 role");
	assert_int_equal(append(t, "sess/1/role", "s"), 0);
	assert_key(t, "users", "HGET sess:1 role");
	assert_int_equal(put(t, "sess/1/a:b", "colon"), 0);
	assert_key(t, "colon", "HGET sess:1 a:b");
	assert_true(rd_number(t->r->cli, "TTL sess:1") > 900);
	assert_int_equal(make_dir(t, "sess/1/dir"), -EPERM);
	assert_int_equal(unlink_at(t, "sess/1", PFS_F_DIR), -ENOTEMPTY);
	assert_int_equal(unlink_at(t, "sess/1/role", 0), 0);
	assert_int_equal(unlink_at(t, "sess/1/name", 0), 0);
	assert_int_equal(unlink_at(t, "sess/1/a:b", 0), 0);
	assert_int_equal(rd_number(t->r->cli, "EXISTS sess:1"), 0);
	/* Emptied it stays, and is a hash again with the next file. */
	assert_names(t, "sess/1", "");
	assert_int_equal(put(t, "sess/1/role", "again"), 0);
	assert_key(t, "again", "HGET sess:1 role");
	assert_int_equal(unlink_at(t, "sess/1/role", 0), 0);
	assert_int_equal(unlink_at(t, "sess/1", PFS_F_DIR), 0);
	assert_names(t, "sess", "");
}

static void new_directories_become_what_they_are_told(void **state)
{
	struct nv *t = *state;
	struct pfs_attr attr;

	start(t);
	assert_int_equal(make_dir(t, "h"), 0);
	assert_int_equal(rd_number(t->r->cli, "DBSIZE"), 0);
	assert_string_equal(type_of(t, "h"), "hash");
	assert_int_equal(put(t, "h/f", "v"), 0);
	assert_key(t, "v", "HGET h f");
	assert_int_equal(make_dir(t, "l"), 0);
	assert_int_equal(set_attr(t, "l", "user.persistfs.type", "list"), 0);
	assert_int_equal(put(t, "l/00000000", "first"), 0);
	assert_int_equal(put(t, "l/00000001", "second"), 0);
	assert_key(t, "second", "LINDEX l 1");
	assert_int_equal(make_dir(t, "s"), 0);
	assert_int_equal(set_attr(t, "s", "user.persistfs.type", "set"), 0);
	assert_int_equal(put(t, "s/member", ""), 0);
	assert_int_equal(rd_number(t->r->cli, "SISMEMBER s member"), 1);
	assert_int_equal(make_dir(t, "z"), 0);
	assert_int_equal(set_attr(t, "z", "user.persistfs.type", "zset"), 0);
	assert_int_equal(put(t, "z/member", "2.5\n"), 0);
	assert_key(t, "2.5", "ZSCORE z member");
	assert_int_equal(make_dir(t, "d"), 0);
	assert_int_equal(set_attr(t, "d", "user.persistfs.type", "keys"), 0);
	assert_int_equal(put(t, "d/x", "string"), 0);
	assert_key(t, "string", "GET d:x");
	assert_int_equal(set_attr(t, "h", "user.persistfs.type", "list"), -EINVAL);
	assert_int_equal(set_attr(t, "h", "user.persistfs.type", "hash"), 0);
	assert_int_equal(make_dir(t, "e"), 0);
	assert_int_equal(make_dir(t, "e"), -EEXIST);
	assert_int_equal(make_dir(t, "e/e"), 0);
	assert_int_equal(unlink_at(t, "e", PFS_F_DIR), -ENOTEMPTY);
	assert_int_equal(unlink_at(t, "e/e", PFS_F_DIR), 0);
	assert_int_equal(unlink_at(t, "e", PFS_F_DIR), 0);
	assert_int_equal(walk(t, "e", &attr), -ENOENT);
}

/* As cp -a does it: the type comes when all is there. */
static void a_type_that_comes_late_makes_it_of_the_hash(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(make_dir(t, "l"), 0);
	assert_int_equal(put(t, "l/00000001", "b"), 0);
	assert_int_equal(put(t, "l/00000000", "a"), 0);
	assert_int_equal(set_attr(t, "l", "user.persistfs.type", "set"), -EINVAL);
	assert_key(t, "hash", "TYPE l");
	assert_int_equal(set_attr(t, "l", "user.persistfs.type", "list"), 0);
	assert_key(t, "b", "LINDEX l 1");
	assert_text(t, "l/00000000", "a");
	assert_string_equal(type_of(t, "l"), "list");
	assert_int_equal(make_dir(t, "z"), 0);
	assert_int_equal(put(t, "z/m", "no number"), 0);
	assert_int_equal(set_attr(t, "z", "user.persistfs.type", "zset"), -EINVAL);
	assert_key(t, "no number", "HGET z m");
	assert_int_equal(put(t, "z/m", "1.5"), 0);
	assert_int_equal(set_attr(t, "z", "user.persistfs.type", "zset"), 0);
	assert_key(t, "1.5", "ZSCORE z m");
	assert_int_equal(set_attr(t, "sess/1", "user.persistfs.type", "list"), -EINVAL);
	assert_key(t, "admin", "HGET sess:1 role");
}

static void lists_are_changed_only_where_that_is_safe(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(append(t, "conv/1/+", "four"), 0);
	assert_int_equal(append(t, "conv/1/+head", "zero"), 0);
	assert_key(t, "zero", "LINDEX conv:1 0");
	assert_key(t, "four", "LINDEX conv:1 -1");
	assert_names(t, "conv/1", " 00000000 00000001 00000002 00000003 00000004");
	assert_text(t, "conv/1/00000002", "two");
	assert_int_equal(put(t, "conv/1/00000002", "TWO"), 0);
	assert_key(t, "TWO", "LINDEX conv:1 2");
	assert_text(t, "conv/1/00000002", "TWO");
	rd_do(t->r->cli, "LPUSH conv:1 newest"); /* all move on */
	assert_int_equal(put(t, "conv/1/00000002", "lost?"), -ESTALE);
	assert_key(t, "one", "LINDEX conv:1 2");
	assert_int_equal(unlink_at(t, "conv/1/00000002", 0), -EPERM);
	assert_int_equal(unlink_at(t, "conv/1/00000005", 0), 0);
	assert_int_equal(unlink_at(t, "conv/1/00000000", 0), 0);
	assert_key(t, "zero", "LINDEX conv:1 0");
	assert_key(t, "three", "LINDEX conv:1 -1");
	assert_int_equal(put(t, "conv/1/00000009", "x"), -EINVAL);
	assert_int_equal(put(t, "conv/1/name", "x"), -EPERM);
}

static void sets_and_scores_refuse_what_they_cannot_hold(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(put(t, "tags/green", ""), 0);
	assert_int_equal(rd_number(t->r->cli, "SISMEMBER tags green"), 1);
	assert_int_equal(put(t, "tags/green", "content"), -EINVAL);
	assert_int_equal(unlink_at(t, "tags/red", 0), 0);
	assert_names(t, "tags", " blue green");
	assert_int_equal(put(t, "board/ann", "7"), 0);
	assert_text(t, "board/ann", "7");
	assert_int_equal(put(t, "board/ann", "seven"), -EINVAL);
	assert_non_null(strstr(pfs_error_text(), "float"));
	assert_text(t, "board/ann", "7");
	assert_int_equal(unlink_at(t, "board/bob", 0), 0);
	assert_names(t, "board", " ann");
}

static void streams_grow_by_lines(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	rd_do(t->r->cli, "XADD events 2-1 k %b k x", "\xff\x00", (size_t)2);
	start(t);
	assert_text(t, "events.jsonl",
		    "{\"id\":\"1-1\",\"fields\":{\"k\":\"v\"}}\n"
		    "{\"id\":\"2-1\",\"base64\":[[\"aw==\",\"/wA=\"],[\"aw==\",\"eA==\"]]}\n");
	assert_int_equal(append(t, "events.jsonl", "{\"id\":\"3-1\",\"fields\":{\"a\":\"\\u00e9\"}}\n"
						   "{\"id\":\"4-1\",\"base64\":[[\"aw==\",\"/wA=\"]]}\n"),
			 0);
	assert_int_equal(append(t, "events.jsonl", "{\"plain\": 1, \"id2\": \"x\"}\n"), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN events"), 5);
	assert_non_null(strstr(text_of(t, "events.jsonl"), "\"fields\":{\"a\":\"\xc3\xa9\"}}\n{\"id\":\"4-1\","
							   "\"base64\":[[\"aw==\",\"/wA=\"]]}\n"));
	assert_non_null(strstr(text_of(t, "events.jsonl"), "{\"plain\":\"1\",\"id2\":\"x\"}"));
	assert_int_equal(append(t, "events.jsonl", "no json\n"), -EINVAL);
	assert_int_equal(append(t, "events.jsonl", "{\"a\":\"b\"}\n{\"a\":{}}\n"), -EINVAL);
	assert_int_equal(put(t, "events.jsonl", "{}\n"), -EPERM);
	assert_int_equal(rd_number(t->r->cli, "XLEN events"), 5);
	assert_int_equal(unlink_at(t, "events.jsonl", 0), 0);
	assert_int_equal(rd_number(t->r->cli, "EXISTS events"), 0);
	/* Where a key has the stream's name, both can be had. */
	rd_do(t->r->cli, "XADD events 1-1 k v");
	rd_do(t->r->cli, "SET events.jsonl string");
	catch_up(t);
	assert_text(t, "events.jsonl", "string");
	assert_text(t, "events", "{\"id\":\"1-1\",\"fields\":{\"k\":\"v\"}}\n");
}

struct restless {
	redisContext *c;
	bool stop; /* atomic */
};

/* A key that comes and goes, as one that expires and is made anew, and is of another type in between. */
static void *restless_main(void *arg)
{
	static const char *const commands[] = {"SET k %b", "DEL k", "HSET k f %b", "DEL k", "XADD k * f %b",
					       "DEL k"};
	struct restless *r = arg;
	char value[900];
	size_t i;

	memset(value, 'v', sizeof(value));
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		for (i = 0; i < PFS_ARRAY_SIZE(commands); i++)
			freeReplyObject(redisCommand(r->c, commands[i], value, sizeof(value)));
	return NULL;
}

/* What goes between two questions is not read as something empty. */
static void a_key_is_read_as_it_is_or_not_at_all(void **state)
{
	struct nv *t = *state;
	struct restless other = {.c = redisConnectUnix(t->r->socket)};
	char value[900], text[1000];
	uint64_t id, stream = 0;
	struct pfs_attr attr;
	size_t i, seen = 0;
	pthread_t thread;
	ssize_t n;

	memset(value, 'v', sizeof(value));
	rd_do(t->r->cli, "CONFIG SET appendonly no");
	rd_do(t->r->cli, "SET k %b", value, sizeof(value));
	start(t);
	id = id_of(t, "k");
	assert_int_equal(pthread_create(&thread, NULL, restless_main, &other), 0);
	for (i = 0; i < 4000; i++) {
		int err = walk(t, i % 2 ? "k" : "k.jsonl", &attr);

		assert_true(!err || err == -ENOENT);
		if (!err && S_ISREG(attr.mode))
			assert_true(attr.size >= sizeof(value));
		if (err || !S_ISREG(attr.mode))
			continue;
		id = i % 2 ? attr.id : id;
		stream = i % 2 ? stream : attr.id;
		n = pfs_store_read(t->s, i % 2 ? id : stream, 0, text, sizeof(text));
		if (n < 0 && n != -ENOENT && n != -EISDIR)
			fail_msg("%s (%s)", strerror((int)-n), pfs_error_text());
		if (n >= 0)
			assert_true(n >= (ssize_t)sizeof(value));
		seen += n >= 0;
	}
	__atomic_store_n(&other.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	redisFree(other.c);
	assert_true(seen > 0);
}

/* Removes what each page of a listing ended with; how many names were told. */
static size_t count_removing(struct nv *t, const char *path, const char *command, const char *key)
{
	uint64_t dir = id_of(t, path), cursor = 0;
	struct pfs_list *list;
	size_t n = 0, i;
	bool end = false;
	char name[301];

	while (!end) {
		int err = pfs_store_list(t->s, dir, cursor, 2, &list);

		if (err)
			fail_msg("%s: %s (%s)", path, strerror(-err), pfs_error_text());
		for (i = 0; i < list->n; i++)
			cursor = list->entries[i].cursor;
		n += list->n;
		end = list->end;
		if (list->n) {
			memset(name, list->entries[list->n - 1].name.p[0], 300);
			rd_do(t->r->cli, command, key, name, (size_t)300);
		}
		pfs_list_free(list);
		catch_up(t);
	}
	return n;
}

/* What has gone is gone; a listing goes on behind where it was, also where the name was a short one. */
static void a_listing_goes_on_behind_long_names_that_are_gone(void **state)
{
	struct nv *t = *state;
	struct pfs_list *list, *more;
	char name[301];
	uint64_t id;
	int c;

	start(t);
	for (c = 'a'; c < 'h'; c++) {
		memset(name, c, 300);
		rd_do(t->r->cli, "HSET h %b v", name, (size_t)300);
		rd_do(t->r->cli, "SET dir:%b v", name, (size_t)300);
		rd_do(t->r->cli, "SET %b v", name, (size_t)300);
	}
	catch_up(t);
	assert_int_equal(count_removing(t, "h", "HDEL %s %b", "h"), 7);
	assert_int_equal(count_removing(t, "dir", "DEL %s%b", "dir:"), 7);
	rd_do(t->r->cli, "DEL h");
	catch_up(t);
	assert_int_equal(count_removing(t, "", "DEL %s%b", ""), 8);
	/* More than a page of them. */
	rd_do(t->r->cli, "HSET h a v b v c v d v e v f v g v");
	catch_up(t);
	id = id_of(t, "h");
	assert_int_equal(pfs_store_list(t->s, id, 0, 2, &list), 0);
	rd_do(t->r->cli, "HDEL h c d e f");
	assert_int_equal(pfs_store_list(t->s, id, list->entries[1].cursor, 2, &more), 0);
	assert_int_equal(more->n, 1);
	assert_true(more->end);
	pfs_list_free(list);
	pfs_list_free(more);
}

/* The keys of two databases change places, of which the server tells nobody. */
static void databases_that_are_swapped_are_noticed(void **state)
{
	struct nv *t = *state;
	redisContext *other = redisConnectUnix(t->r->socket);
	struct pfs_attr attr;
	int tries;

	rd_do(t->r->cli, "SET a 1");
	rd_do(t->r->cli, "SET b:c 2");
	rd_do(other, "SELECT 3");
	rd_do(other, "SET b 3");
	rd_do(other, "SET z 4");
	start(t);
	assert_names(t, "", " a b");
	rd_do(t->r->cli, "SWAPDB 0 3");
	for (tries = 0; tries < 100 && strcmp(names_by(t, "", 100), " b z") != 0; tries++)
		usleep(100000);
	assert_names(t, "", " b z");
	assert_int_equal(walk(t, "b", &attr), 0);
	assert_true(S_ISREG(attr.mode));
	redisFree(other);
}

/* Two workers that take from one list: what the other has moved up is not taken unread. */
static void only_the_element_that_was_read_is_removed(void **state)
{
	struct nv *t = *state;

	rd_do(t->r->cli, "RPUSH queue a b c d");
	start(t);
	assert_text(t, "queue/00000000", "a");
	rd_do(t->r->cli, "LPOP queue");
	assert_int_equal(unlink_at(t, "queue/00000000", 0), -ESTALE);
	assert_key(t, "b", "LINDEX queue 0");
	assert_text(t, "queue/00000000", "b");
	assert_int_equal(unlink_at(t, "queue/00000000", 0), 0);
	assert_key(t, "c", "LINDEX queue 0");
	assert_int_equal(unlink_at(t, "queue/00000000", 0), 0); /* whatever it is: it was not read */
	assert_key(t, "d", "LINDEX queue 0");
}

/* A backup by renaming, as vim's: its end is the key's, while that is what it was. */
static void a_backup_goes_with_the_key_it_was(void **state)
{
	static const char *const keys[] = {"str", "long", "h/f", "z/m", "st.jsonl"};
	struct nv *t = *state;
	char large[3000], backup[32];
	struct pfs_attr attr;
	size_t i, again;

	memset(large, 'x', sizeof(large));
	for (again = 0; again < 2; again++) {
		rd_do(t->r->cli, "SET str v");
		rd_do(t->r->cli, "SET long %b", large, sizeof(large));
		rd_do(t->r->cli, "HSET h f v g v");
		rd_do(t->r->cli, "ZADD z 1 m 2 n");
		rd_do(t->r->cli, "XADD st * k v");
		if (!again)
			start(t);
		catch_up(t);
		for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
			snprintf(backup, sizeof(backup), "%s~", keys[i]);
			assert_int_equal(move(t, keys[i], backup, 0), 0);
		}
		if (again) {
			large[2999] = 'y';
			rd_do(t->r->cli, "SET str w");
			rd_do(t->r->cli, "SET long %b", large, sizeof(large));
			rd_do(t->r->cli, "HSET h f w");
			rd_do(t->r->cli, "ZADD z 3 m");
			rd_do(t->r->cli, "XADD st * k w");
		}
		for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
			snprintf(backup, sizeof(backup), "%s~", keys[i]);
			assert_int_equal(unlink_at(t, backup, 0), 0);
			catch_up(t);
			assert_int_equal(walk(t, keys[i], &attr), again ? 0 : -ENOENT);
		}
	}
}

/* Bytes that this process has asked the system for. */
static unsigned long long bytes_read(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "rchar: %llu", &n), 1);
	fclose(f);
	return n;
}

static size_t read_pieces(struct nv *t, uint64_t id, size_t size, char *text)
{
	ssize_t n = 1;
	size_t at = 0;

	while (n > 0) {
		n = pfs_store_read(t->s, id, at, text + at, size - at < 16384 ? size - at : 16384);
		assert_true(n >= 0);
		at += (size_t)n;
	}
	return at;
}

/* A piece costs a piece, and is of what the stream holds. */
static void what_is_large_is_read_in_pieces(void **state)
{
	const size_t size = 4 << 20;
	struct nv *t = *state;
	char *text = calloc(1, size), large[2000];
	struct pfs_attr attr, field;
	unsigned long long before;
	size_t n, i;

	assert_non_null(text);
	memset(large, 'x', sizeof(large));
	rd_do(t->r->cli, "CONFIG SET appendonly no");
	for (i = 0; i < 1500; i++)
		rd_do(t->r->cli, "XADD s * f %b", large, sizeof(large));
	start(t);
	assert_int_equal(walk(t, "s.jsonl", &attr), 0);
	before = bytes_read();
	assert_int_equal(read_pieces(t, attr.id, size, text), attr.size);
	assert_true(bytes_read() - before < 8 * size);
	rd_do(t->r->cli, "HSET h f %b g v", text, (size_t)3 << 20);
	catch_up(t);
	assert_int_equal(walk(t, "h/f", &field), 0);
	before = bytes_read();
	assert_int_equal(read_pieces(t, field.id, size, text), field.size);
	assert_true(bytes_read() - before < 8 * size);
	assert_int_equal(pfs_store_read(t->s, field.id, 0, text, 16384), 16384);
	assert_text(t, "h/g", "v");
	rd_do(t->r->cli, "HSET h f other");
	catch_up(t);
	assert_text(t, "h/f", "other");
	/* In the middle of it somebody adds to it, then another makes it anew. */
	assert_int_equal(pfs_store_read(t->s, attr.id, 0, text, 16384), 16384);
	rd_do(t->r->cli, "XADD s * last one");
	catch_up(t);
	n = read_pieces(t, attr.id, size, text);
	assert_true(n > attr.size);
	assert_memory_equal(text + n - 25, "\"fields\":{\"last\":\"one\"}}\n", 25);
	assert_int_equal(pfs_store_read(t->s, attr.id, 0, text, 16384), 16384);
	assert_int_equal(append(t, "s.jsonl", "{\"own\":\"one\"}\n"), 0);
	n = read_pieces(t, attr.id, size, text);
	assert_memory_equal(text + n - 24, "\"fields\":{\"own\":\"one\"}}\n", 24);
	assert_int_equal(pfs_store_read(t->s, attr.id, 0, text, 16384), 16384);
	rd_do(t->r->cli, "DEL s");
	rd_do(t->r->cli, "XADD s 1-1 k v");
	catch_up(t);
	assert_text(t, "s.jsonl", "{\"id\":\"1-1\",\"fields\":{\"k\":\"v\"}}\n");
	free(text);
}

/* The key of x.jsonl is x, which may be something else, that is not seen under that name. */
static void a_stream_takes_no_others_place(void **state)
{
	struct nv *t = *state;
	struct pfs_attr attr;

	rd_do(t->r->cli, "XADD s 1-1 k v");
	rd_do(t->r->cli, "HSET hash f v");
	rd_do(t->r->cli, "SET string v");
	rd_do(t->r->cli, "SET dir:a v");
	rd_do(t->r->cli, "SET dir.jsonl {\"a\":1}");
	start(t);
	assert_int_equal(make_dir(t, "made"), 0);
	assert_int_equal(move(t, "s.jsonl", "hash.jsonl", 0), -EEXIST);
	assert_int_equal(move(t, "s.jsonl", "string.jsonl", 0), -EEXIST);
	assert_int_equal(move(t, "s.jsonl", "made.jsonl", 0), -EEXIST);
	assert_key(t, "v", "HGET hash f");
	assert_key(t, "v", "GET string");
	assert_int_equal(rd_number(t->r->cli, "XLEN s"), 1);
	assert_int_equal(set_attr(t, "dir.jsonl", "user.persistfs.type", "stream"), -EEXIST);
	assert_int_equal(unlink_at(t, "dir.jsonl", 0), 0);
	assert_int_equal(move(t, "s.jsonl", "dir.jsonl", 0), -EEXIST);
	assert_int_equal(rd_number(t->r->cli, "EXISTS dir"), 0);
	assert_int_equal(move(t, "s.jsonl", "other.jsonl", 0), 0);
	assert_int_equal(walk(t, "other.jsonl", &attr), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN other"), 1);
}

/* What it is then cannot be asked: the line is added all the same, and not again. */
static void what_was_added_to_a_stream_is_added(void **state)
{
	struct nv *t = *state;
	struct pfs_seg seg = {0, "{\"a\":\"b\"}\n", 10};
	uint64_t id;

	rd_do(t->r->cli, "XADD events 1-1 k v");
	start(t);
	id = id_of(t, "events.jsonl");
	rd_do(t->r->cli, "ACL SETUSER default -xrange");
	assert_int_equal(change(t, m_content(PFS_OP_APPEND, id, &seg, 1)), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN events"), 2);
}

/* EXEC does what it can: what the server would refuse of a part must be known before. */
static void of_several_lines_all_or_none_are_added(void **state)
{
	struct nv *t = *state;

	rd_do(t->r->cli, "XADD s 5-0 k v");
	rd_do(t->r->cli, "SET two.jsonl %s EX 1000",
	      "{\"id\":\"2-0\",\"fields\":{\"k\":\"v\"}}\n{\"id\":\"1-0\",\"fields\":{\"k\":\"v\"}}\n");
	rd_do(t->r->cli, "SET one.jsonl %s EX 1000", "{\"id\":\"2-0\",\"fields\":{\"k\":\"v\"}}\n");
	start(t);
	assert_int_equal(set_attr(t, "two.jsonl", "user.persistfs.type", "stream"), -EINVAL);
	assert_int_equal(rd_number(t->r->cli, "EXISTS two.jsonl"), 1);
	assert_int_equal(rd_number(t->r->cli, "EXISTS two"), 0);
	assert_int_equal(append(t, "s.jsonl", "{\"k\":\"v\"}\n{\"id\":\"4-0\",\"fields\":{\"k\":\"v\"}}\n"),
			 -EINVAL);
	assert_int_equal(rd_number(t->r->cli, "XLEN s"), 1);
	assert_int_equal(append(t, "s.jsonl", "{\"id\":\"6-1\",\"fields\":{\"k\":\"v\"}}\n"
					      "{\"id\":\"6-1\",\"fields\":{\"k\":\"v\"}}\n"), -EINVAL);
	assert_int_equal(rd_number(t->r->cli, "XLEN s"), 1);
	assert_int_equal(append(t, "s.jsonl", "{\"id\":\"6-1\",\"fields\":{\"k\":\"v\"}}\n"
					      "{\"id\":\"7\",\"fields\":{\"k\":\"v\"}}\n{\"k\":\"v\"}\n"), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN s"), 4);
	assert_int_equal(set_attr(t, "one.jsonl", "user.persistfs.type", "stream"), 0);
	assert_int_equal(rd_number(t->r->cli, "XLEN one"), 1);
	assert_true(rd_number(t->r->cli, "TTL one") > 900);
}

static void a_key_of_another_type_is_refused_and_left_alone(void **state)
{
	struct nv *t = *state;
	uint64_t id;
	struct pfs_seg seg = {0, "x", 1};
	struct pfs_mutation m;

	some_keys(t);
	start(t);
	id = id_of(t, "user/1");
	rd_do(t->r->cli, "DEL user:1");
	rd_do(t->r->cli, "RPUSH user:1 list");
	m = m_content(PFS_OP_REPLACE, id, &seg, 1);
	m.size = 1;
	assert_int_not_equal(change(t, m), 0);
	assert_key(t, "list", "TYPE user:1");
	assert_int_not_equal(change(t, m_content(PFS_OP_APPEND, id, &seg, 1)), 0);
	assert_key(t, "list", "LINDEX user:1 0");
	catch_up(t);
	assert_text(t, "user/1/00000000", "list");
}

static void what_the_server_refuses_has_its_errno_and_text(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	rd_do(t->r->cli, "CONFIG SET maxmemory 1");
	assert_int_equal(put(t, "user/1", "new"), -ENOSPC);
	assert_non_null(strstr(pfs_error_text(), "OOM"));
	rd_do(t->r->cli, "CONFIG SET maxmemory 0");
	assert_text(t, "user/1", "alice");
	rd_do(t->r->cli, "REPLICAOF 127.0.0.1 1");
	assert_int_equal(put(t, "user/1", "new"), -EROFS);
	rd_do(t->r->cli, "REPLICAOF NO ONE");
	rd_do(t->r->cli, "ACL SETUSER default -set");
	assert_int_equal(put(t, "user/1", "new"), -EACCES);
	assert_non_null(strstr(pfs_error_text(), "NOPERM"));
	rd_do(t->r->cli, "ACL SETUSER default +@all");
	assert_int_equal(put(t, "user/1", "new"), 0);
	assert_text(t, "user/1", "new");
}

/* ---- others --------------------------------------------------------------------------------- */

static void what_others_change_is_seen(void **state)
{
	struct nv *t = *state;
	struct pfs_attr attr, again;

	some_keys(t);
	start(t);
	assert_int_equal(walk(t, "user/1", &attr), 0);
	rd_do(t->r->cli, "SET user:1 ALICE");
	catch_up(t);
	assert_int_equal(walk(t, "user/1", &again), 0);
	assert_true(again.content_version > attr.content_version);
	assert_text(t, "user/1", "ALICE");
	rd_do(t->r->cli, "SET deep:er:key x");
	rd_do(t->r->cli, "DEL user:2 sess:1");
	rd_do(t->r->cli, "HSET tags2 f v");
	catch_up(t);
	assert_names(t, "", " a board conv deep events.jsonl tags tags2 user");
	assert_names(t, "deep", " er");
	assert_names(t, "user", " 1");
	assert_int_equal(walk(t, "user/2", &attr), -ENOENT);
	/* A file becomes a directory when a key begins with it, and one again. */
	rd_do(t->r->cli, "SET user:1:x y");
	catch_up(t);
	assert_text(t, "user/1/%VALUE", "ALICE");
	rd_do(t->r->cli, "DEL user:1:x");
	catch_up(t);
	assert_text(t, "user/1", "ALICE");
	rd_do(t->r->cli, "FLUSHDB");
	catch_up(t);
	assert_names(t, "", "");
}

static void its_own_writes_are_no_news(void **state)
{
	struct nv *t = *state;
	struct pfs_attr attr, again;

	start(t);
	assert_int_equal(put(t, "key", "value"), 0);
	assert_int_equal(walk(t, "key", &attr), 0);
	catch_up(t);
	catch_up(t);
	assert_int_equal(walk(t, "key", &again), 0);
	assert_int_equal(again.content_version, attr.content_version);
	assert_int_equal(again.mtime, attr.mtime);
}

/* The ids of the connections that hear: of the one that is told, or the one that asks. */
static long long client_id(struct nv *t, bool told)
{
	redisReply *r = rd_command(t->r->cli, "CLIENT LIST");
	long long id = 0;
	char *line;

	for (line = strtok(r->str, "\n"); line; line = strtok(NULL, "\n"))
		if (strstr(line, told ? " sub=1 " : "flags=t"))
			id = atoll(line + 3);
	freeReplyObject(r);
	return id;
}

static void lost_tracking_is_noticed_and_made_anew(void **state)
{
	struct nv *t = *state;
	int i;

	some_keys(t);
	start(t);
	for (i = 0; i < 2; i++) {
		assert_text(t, "user/1", i ? "while deaf" : "alice");
		rd_do(t->r->cli, "CLIENT KILL ID %lld", client_id(t, i == 0));
		rd_do(t->r->cli, "SET user:1 %s", i ? "again" : "while deaf");
		rd_do(t->r->cli, "SET unheard%d x", i);
		wait_pushing(t, false);
		wait_pushing(t, true);
		assert_text(t, "user/1", i ? "again" : "while deaf");
		assert_text(t, i ? "unheard1" : "unheard0", "x");
	}
}

static void a_server_that_is_away_is_waited_for_and_not_guessed_about(void **state)
{
	struct nv *t = *state;
	struct pfs_list *list;

	rs_option(t->r, "retry_timeout", "300ms");
	rs_option(t->r, "timeout", "300ms");
	some_keys(t);
	start(t);
	rs_server_kill(t->r);
	wait_pushing(t, false);
	assert_int_equal(pfs_store_list(t->s, t->root, 0, 100, &list), -EHOSTDOWN);
	assert_int_equal(put(t, "user/1", "x"), -EHOSTDOWN);
	rs_server_start(t->r, true);
	wait_pushing(t, true);
	assert_names(t, "", " a board conv events.jsonl sess tags user");
	assert_int_equal(put(t, "user/1", "x"), 0);
}

static void final_newlines_are_kept_unless_told_otherwise(void **state)
{
	struct nv *t = *state;

	some_keys(t);
	start(t);
	assert_int_equal(put(t, "user/1", "line\n"), 0);
	assert_key(t, "line\n", "GET user:1");
	stop(t);
	rd_do(t->r->cli, "SET user:1 none");
	option(t, "final_newline", "strip");
	start(t);
	assert_int_equal(put(t, "user/1", "line\n"), 0);
	assert_key(t, "line", "GET user:1");
	assert_int_equal(put(t, "sess/1/role", "line\n"), 0);
	assert_key(t, "line", "HGET sess:1 role");
	assert_int_equal(put(t, "user/3", "new\n"), 0);
	assert_key(t, "new\n", "GET user:3");
	assert_int_equal(put(t, "user/3", "newer\n"), 0);
	assert_key(t, "newer\n", "GET user:3");
}

int main(void)
{
#define NV(fn) cmocka_unit_test_setup_teardown(fn, nv_setup, nv_teardown)
	const struct CMUnitTest tests[] = {
		NV(every_type_is_shown_and_looking_changes_nothing),
		NV(every_name_of_a_key_leads_back_to_it),
		NV(long_names_of_fields_open),
		NV(listings_in_pages_tell_each_name_once),
		NV(a_listing_waits_for_all_keys),
		NV(who_may_not_track_reads_keys_and_is_told_that_listing_cannot_be),
		NV(keys_of_persistfs_are_hidden),
		NV(a_view_alone_makes_nothing),
		NV(a_prefix_shows_what_begins_with_it),
		NV(the_preset_of_marimo_makes_strings_in_directories),
		NV(strings_are_written_and_keep_their_time_to_live),
		NV(renaming_keeps_the_right_time_to_live),
		NV(directories_of_keys_are_renamed_at_once),
		NV(times_to_live_are_set_and_told),
		NV(scratch_files_need_no_name_of_keys),
		NV(what_is_set_on_a_scratch_file_goes_with_it),
		NV(counters_are_added_to),
		NV(fields_of_hashes_are_files),
		NV(new_directories_become_what_they_are_told),
		NV(a_type_that_comes_late_makes_it_of_the_hash),
		NV(lists_are_changed_only_where_that_is_safe),
		NV(sets_and_scores_refuse_what_they_cannot_hold),
		NV(streams_grow_by_lines),
		NV(a_key_is_read_as_it_is_or_not_at_all),
		NV(a_listing_goes_on_behind_long_names_that_are_gone),
		NV(databases_that_are_swapped_are_noticed),
		NV(only_the_element_that_was_read_is_removed),
		NV(a_backup_goes_with_the_key_it_was),
		NV(a_stream_takes_no_others_place),
		NV(what_was_added_to_a_stream_is_added),
		NV(what_is_large_is_read_in_pieces),
		NV(of_several_lines_all_or_none_are_added),
		NV(a_key_of_another_type_is_refused_and_left_alone),
		NV(what_the_server_refuses_has_its_errno_and_text),
		NV(what_others_change_is_seen),
		NV(its_own_writes_are_no_news),
		NV(lost_tracking_is_noticed_and_made_anew),
		NV(a_server_that_is_away_is_waited_for_and_not_guessed_about),
		NV(final_newlines_are_kept_unless_told_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
