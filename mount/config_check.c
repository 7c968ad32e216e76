/*
 * Checking the sections of a configuration, one by one and against each other: names, types, what
 * the engines offer, stores that would lie inside or on top of each other. Everything is looked at
 * in one run; nothing is constructed and, apart from files of passwords and the identity of data
 * files, nothing outside the configuration is touched.
 */
#include "backends/adopt/options.h"
#include "mount/config_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MSEC 1000000LL

/* `namespace` comes first: [defaults] has all but it. */
const struct pfs_option pfs_store_options[] = {
	{.name = "namespace",
	 .type = PFS_OPT_STRING,
	 .help = "which namespace of the backend is shown, * for all of them; default: the store's "
		 "name, with . for /"},
	{.name = "backend",
	 .type = PFS_OPT_STRING,
	 .help = "which [backend:NAME]; default: the only one, or the one named default"},
	{.name = "layout",
	 .type = PFS_OPT_ENUM,
	 .choices = "own|plain|native",
	 .def = "own",
	 .help = "own: as persistfs lays data out; plain: a table of keys and values that an "
		 "application has; native: the keys of a Redis as they are"},
	{.name = "kind",
	 .type = PFS_OPT_ENUM,
	 .choices = "kv|sql",
	 .def = "kv",
	 .help = "kv: keys are files; sql: tables, rows and columns are"},
	{.name = "read_only",
	 .type = PFS_OPT_BOOL,
	 .def = "no",
	 .help = "refuse every change; the default is yes where others' data is shown"},
	{.name = "create",
	 .type = PFS_OPT_BOOL,
	 .def = "yes",
	 .help = "make the namespace if there is none; read_only turns the default to no"},
	{.name = "write_mode",
	 .type = PFS_OPT_ENUM,
	 .choices = "through|queued",
	 .def = "through",
	 .help = "through: a call returns when its change is committed; queued: when it is "
		 "accepted"},
	{.name = "queue_delay",
	 .type = PFS_OPT_DURATION,
	 .def = "5ms",
	 .min = 0,
	 .max = 60 * NSEC_PER_SEC,
	 .help = "queued: how long an accepted change may wait for its commit"},
	{.name = "max_write_queue_size",
	 .type = PFS_OPT_INT,
	 .def = "1000",
	 .min = 1,
	 .max = 1000000,
	 .help = "queued: changes that may wait; further writers wait for room"},
	{.name = "commit_interval",
	 .type = PFS_OPT_DURATION,
	 .def = "1s",
	 .min = MSEC,
	 .max = 3600 * NSEC_PER_SEC,
	 .help = "how soon the data of a file that stays open is committed"},
	{.name = "attr_timeout",
	 .type = PFS_OPT_DURATION,
	 .def = "1s",
	 .min = 0,
	 .max = 24 * 3600 * NSEC_PER_SEC,
	 .help = "how long the kernel may cache while the engine cannot tell of changes"},
	{.name = "ttl",
	 .type = PFS_OPT_DURATION,
	 .min = MSEC,
	 .max = 36500LL * 24 * 3600 * NSEC_PER_SEC,
	 .help = "when keys expire; only on engines with expiry; default: never"},
	{.name = "ttl_on_write",
	 .type = PFS_OPT_ENUM,
	 .choices = "keep|refresh",
	 .def = "keep",
	 .help = "whether writing to a key that expires leaves its time or begins ttl anew"},
	PFS_VIEW_OPTIONS,
	PFS_OPTION_END,
};

const struct pfs_option pfs_mount_options[] = {
	{.name = "dirty_limit",
	 .type = PFS_OPT_SIZE,
	 .def = "64M",
	 .min = INT64_C(1) << 20,
	 .max = INT64_C(1) << 40,
	 .help = "written data that may wait in memory for its commit, in the whole mount"},
	{.name = "log",
	 .type = PFS_OPT_STRING,
	 .def = "syslog",
	 .help = "syslog, stderr, or the path of a file"},
	{.name = "log_format",
	 .type = PFS_OPT_ENUM,
	 .choices = "text|json",
	 .def = "text",
	 .help = "how a line of the log looks"},
	PFS_OPTION_END,
};

/* "[store:a] key: TEXT", at the line where the key was written; the section's own if it was not. */
static void fault_of(struct cfg *cfg, const struct cfg_section *s, const char *key, const char *fmt,
		     ...) PFS_PRINTF(4, 5);
static void fault_of(struct cfg *cfg, const struct cfg_section *s, const char *key, const char *fmt,
		     ...)
{
	struct cfg_origin origin = pfs_config_origin(s, key);
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		cfg->faults->failed = true;
		return;
	}
	pfs_faults_at(cfg->faults, origin.line, "[%s] %s: %s", s->title, key, text);
	free(text);
}

/* The names of the engines, or of those with a capability or a kind: "a, b" or "none". */
static void engine_names(const struct cfg *cfg, uint32_t caps, unsigned kinds, struct pfs_buf *out)
{
	const struct pfs_engine *e;
	size_t i, n = 0;

	for (i = 0; (e = cfg->engines[i]); i++) {
		if ((e->capabilities & caps) == caps && (e->kinds & kinds) == kinds)
			pfs_buf_printf(out, "%s%s", n++ ? ", " : "", e->name);
	}
	pfs_buf_str(out, n ? "" : "none");
}

/* ---- [backend:NAME] -------------------------------------------------------------------------- */

static const struct pfs_engine *find_engine(const struct cfg *cfg, const char *name)
{
	size_t i;

	for (i = 0; cfg->engines[i]; i++) {
		if (!strcmp(cfg->engines[i]->name, name))
			return cfg->engines[i];
	}
	return NULL;
}

static void say_type(struct cfg *cfg, const struct cfg_section *s, const char *type)
{
	const char *names[64];
	struct pfs_buf avail = {0};
	size_t n;

	for (n = 0; n < PFS_ARRAY_SIZE(names) && cfg->engines[n]; n++)
		names[n] = cfg->engines[n]->name;
	pfs_config_available(&avail, type, names, n);
	if (avail.failed)
		cfg->faults->failed = true;
	else if (type)
		fault_of(cfg, s, "type", "unknown type '%s'%s", type, avail.data);
	else
		fault_of(cfg, s, "type", "required%s", avail.data);
	pfs_buf_release(&avail);
}

/* The file at `path` by device and inode, or, while it is not there, by the real path of what is. */
static int file_identity(struct cfg_backend *b, const char *path)
{
	char head[PATH_MAX], real[PATH_MAX], *slash;
	struct stat st;

	if (!stat(path, &st))
		return asprintf(&b->identity, "%s inode %ju:%ju", b->engine->name,
				(uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	memcpy(head, path, strlen(path) + 1);
	real[0] = '\0';
	while ((slash = strrchr(head, '/'))) {
		*slash = '\0';
		if (realpath(*head ? head : "/", real) || slash == head)
			break;
	}
	return asprintf(&b->identity, "%s path %s/%s", b->engine->name,
			strcmp(real, "/") ? real : "",
			path + strlen(head) + strspn(path + strlen(head), "/"));
}

/*
 * Where data lies, so that two backends which lead to the same are recognised: what the engine says,
 * or the file that an option `path` names. Otherwise every backend is its own.
 */
static int backend_identity(struct cfg_backend *b)
{
	const struct pfs_option *opt = pfs_option_find(b->table, "path");
	const char *path =
		opt && opt->type == PFS_OPT_PATH ? pfs_config_get(&b->s, "path")->str : NULL;
	struct pfs_buf place = {0};
	int n;

	if (b->engine->place)
		b->engine->place(&b->s.set, &place);
	if (place.len)
		n = asprintf(&b->identity, "%s at %s", b->engine->name, place.data);
	else if (path && strlen(path) < PATH_MAX)
		n = file_identity(b, path);
	else
		n = asprintf(&b->identity, "backend %s", b->s.name);
	if (n < 0 || place.failed)
		n = -1;
	pfs_buf_release(&place);
	if (n < 0)
		b->identity = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* A name behind the colon that can be a path component. */
static const char *component_fault(const char *name, size_t len)
{
	if (!len)
		return "an empty name";
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return "'.' and '..' are no names";
	if (strchr(" \t", name[0]) || strchr(" \t", name[len - 1]))
		return "blanks around a name";
	if (memmem(name, len, "${", 2))
		return "${...} is for values, not for names";
	return NULL;
}

/* Only the key `type`, or, of the others, those that every backend has. */
static int fill_common(struct cfg *cfg, struct cfg_backend *b, const struct pfs_ini_section *ini,
		       bool type)
{
	struct pfs_ini_section one = {ini->name, ini->line, ini->keys, 1};
	int err = 0;

	for (; one.keys < ini->keys + ini->nkeys && !err; one.keys++) {
		if (type == !strcmp(one.keys->name, "type"))
			err = pfs_config_section_fill(cfg, &b->s, &one, false);
	}
	return err;
}

static int check_backend(struct cfg *cfg, struct cfg_backend *b, const struct pfs_ini_section *ini)
{
	const char *type, *wrong;
	int err;

	err = pfs_config_section_init(&b->s, ini, pfs_backend_common_options);
	if (err)
		return err;
	wrong = component_fault(b->s.name, strlen(b->s.name));
	if (!wrong && strchr(b->s.name, '/'))
		wrong = "a '/' in the name of a backend";
	if (wrong)
		pfs_faults_at(cfg->faults, ini->line, "[%s]: %s; a section is [backend:NAME]",
			      ini->name, wrong);
	/* First the type: it says which other keys there are. */
	err = fill_common(cfg, b, ini, true);
	if (err)
		return err;
	type = pfs_config_get(&b->s, "type")->str;
	b->engine = type ? find_engine(cfg, type) : NULL;
	if (!b->engine) {
		if (type || !pfs_config_written(&b->s, "type"))
			say_type(cfg, &b->s, type);
		return fill_common(cfg, b, ini, false);
	}
	pfs_config_section_release(&b->s);
	b->table = pfs_engine_options(b->engine);
	err = b->table ? pfs_config_section_init(&b->s, ini, b->table) : -ENOMEM;
	if (!err)
		err = pfs_config_section_fill(cfg, &b->s, ini, true);
	if (!err)
		err = pfs_config_section_finish(cfg, &b->s);
	return err ? err : backend_identity(b);
}

/* ---- [store:NAME] ---------------------------------------------------------------------------- */

static void check_store_name(struct cfg *cfg, const struct cfg_section *s)
{
	const char *p = s->name, *wrong = NULL;
	size_t len;

	if (*p == '/' || (*p && p[strlen(p) - 1] == '/'))
		wrong = "a '/' at the start or the end of the name";
	else if (!strncmp(p, ".persistfs", 10) && (!p[10] || p[10] == '/'))
		wrong = "'.persistfs' is the control tree's name";
	for (; !wrong; p += len + 1) {
		len = strcspn(p, "/");
		wrong = component_fault(p, len);
		if (!p[len])
			break;
	}
	if (wrong)
		pfs_faults_at(cfg->faults, s->line,
			      "[%s]: %s; a section is [store:NAME] or [store:DIR/NAME]", s->title,
			      wrong);
}

static struct cfg_backend *find_backend(struct cfg *cfg, const char *name)
{
	size_t i;

	for (i = 0; i < cfg->nbackends; i++) {
		if (!strcmp(cfg->backends[i].s.name, name))
			return &cfg->backends[i];
	}
	return NULL;
}

/* name: NULL when none was given. */
static void say_backend(struct cfg *cfg, const struct cfg_section *s, const char *name)
{
	const char **names = calloc(cfg->nbackends + 1, sizeof(*names));
	struct pfs_buf avail = {0};
	size_t i;

	assert(cfg->backends); /* made before any store is looked at */
	for (i = 0; names && i < cfg->nbackends; i++)
		names[i] = cfg->backends[i].s.name;
	if (names)
		pfs_config_available(&avail, name, names, cfg->nbackends);
	if (!names || avail.failed)
		cfg->faults->failed = true;
	else if (name)
		fault_of(cfg, s, "backend", "unknown backend '%s'%s", name, avail.data);
	else if (cfg->nbackends)
		fault_of(cfg, s, "backend",
			 "required, because there are several and none is named "
			 "'default'%s",
			 avail.data);
	else
		fault_of(cfg, s, "backend", "there is no [backend:NAME] section");
	pfs_buf_release(&avail);
	free(names);
}

static void resolve_backend(struct cfg *cfg, struct cfg_store *store)
{
	const char *name = pfs_config_get(&store->s, "backend")->str;

	if (name)
		store->backend = find_backend(cfg, name);
	else if (cfg->nbackends == 1)
		store->backend = &cfg->backends[0];
	else
		store->backend = find_backend(cfg, "default");
	if (store->backend)
		store->backend->used = true;
	else if (name || !pfs_config_written(&store->s, "backend"))
		say_backend(cfg, &store->s, name);
}

/* The backends of the configuration that offer `kind`: "a, b" or "none". */
static void backends_with_kind(const struct cfg *cfg, unsigned kind, struct pfs_buf *out)
{
	size_t i, n = 0;

	for (i = 0; i < cfg->nbackends; i++) {
		if (cfg->backends[i].engine && (cfg->backends[i].engine->kinds & kind))
			pfs_buf_printf(out, "%s%s", n++ ? ", " : "", cfg->backends[i].s.name);
	}
	pfs_buf_str(out, n ? "" : "none");
}

/* The layouts of `bits` by name: "own, plain". */
static void layout_names(unsigned bits, struct pfs_buf *out)
{
	static const char *const names[] = {"own", "plain", "native"};
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		if (bits & (1u << i))
			pfs_buf_printf(out, "%s%s", out->len ? ", " : "", names[i]);
	pfs_buf_str(out, "");
}

/* Does the store's own section say so? What [defaults] says is for the stores that it fits. */
static bool says(const struct cfg_store *store, const char *name)
{
	return pfs_config_get(&store->s, name)->given &&
	       !strcmp(pfs_config_origin(&store->s, name).section, store->s.title);
}

/* Options of stores that show others' data, in a store that does not, or not such data. */
static void check_view_options(struct cfg *cfg, const struct cfg_store *store)
{
	const struct pfs_option *opt;
	struct pfs_buf names = {0};

	for (opt = pfs_view_options; opt->name; opt++) {
		unsigned layouts = pfs_view_option_layouts(opt->name);

		if (!says(store, opt->name) || (layouts & store->layout))
			continue;
		names.len = 0;
		layout_names(layouts, &names);
		fault_of(cfg, &store->s, opt->name, "is not for this layout; it is for: %s%s",
			 names.data ? names.data : "",
			 layouts & PFS_LAYOUT_TABLES ? ", and kind = sql" : "");
		cfg->faults->failed |= names.failed;
	}
	pfs_buf_release(&names);
}

/* What a store that shows others' data has no place for. */
static void check_adopted(struct cfg *cfg, const struct cfg_store *store)
{
	if (store->ns && !strcmp(store->ns, "*"))
		fault_of(cfg, &store->s, "namespace",
			 "'*' is for layout own; without a namespace all keys are shown");
	if (says(store, "write_mode") && pfs_config_get(&store->s, "write_mode")->num)
		fault_of(cfg, &store->s, "write_mode",
			 "'queued' is for layout own: what an application reads is written at once");
	if (says(store, "layout") && store->layout == PFS_LAYOUT_TABLES)
		fault_of(cfg, &store->s, "layout", "is for kind = kv; kind = sql has none");
	if (says(store, "ttl"))
		fault_of(cfg, &store->s, "ttl",
			 "is for layout own; set user.persistfs.ttl on a file instead");
}

static void check_layout(struct cfg *cfg, const struct cfg_store *store)
{
	const struct pfs_engine *e = store->backend->engine;
	struct pfs_buf names = {0};

	if (!(e->layouts & store->layout) && store->layout != PFS_LAYOUT_TABLES) {
		layout_names(e->layouts, &names);
		fault_of(cfg, &store->s, "layout",
			 "backend '%s' (type %s) does not offer '%s'; available: %s",
			 store->backend->s.name, e->name, pfs_config_get(&store->s, "layout")->str,
			 names.data ? names.data : "");
		cfg->faults->failed |= names.failed;
		pfs_buf_release(&names);
	}
	check_view_options(cfg, store);
	if (store->layout != PFS_LAYOUT_OWN)
		check_adopted(cfg, store);
}

/* What persistfs's own layout can do on some engines and not on others. */
static void check_own(struct cfg *cfg, const struct cfg_store *store)
{
	const struct pfs_engine *e = store->backend->engine;
	const char *backend = store->backend->s.name;
	struct pfs_buf names = {0};

	if (pfs_config_get(&store->s, "ttl")->str && !(e->capabilities & PFS_CAP_EXPIRY)) {
		engine_names(cfg, PFS_CAP_EXPIRY, 0, &names);
		fault_of(cfg, &store->s, "ttl",
			 "backend '%s' (type %s) cannot expire keys; types that can: %s", backend,
			 e->name, names.data);
		names.len = 0;
	}
	if (store->ns && !strcmp(store->ns, "*") && !(e->capabilities & PFS_CAP_NAMESPACES)) {
		engine_names(cfg, PFS_CAP_NAMESPACES, 0, &names);
		fault_of(cfg, &store->s, "namespace",
			 "'*': backend '%s' (type %s) cannot list namespaces; types that can: %s",
			 backend, e->name, names.data);
	}
	cfg->faults->failed |= names.failed;
	pfs_buf_release(&names);
}

/* What the store wants against what the engine of its backend offers. */
static void check_offer(struct cfg *cfg, const struct cfg_store *store)
{
	const struct pfs_engine *e = store->backend->engine;
	unsigned kind = 1u << pfs_config_get(&store->s, "kind")->num;
	struct pfs_buf names = {0};

	if (!(e->kinds & kind)) {
		backends_with_kind(cfg, kind, &names);
		fault_of(cfg, &store->s, "kind",
			 "backend '%s' (type %s) does not offer '%s'; backends that do: %s",
			 store->backend->s.name, e->name, pfs_config_get(&store->s, "kind")->str,
			 names.data);
	}
	cfg->faults->failed |= names.failed;
	pfs_buf_release(&names);
	check_layout(cfg, store);
	if (store->layout == PFS_LAYOUT_OWN)
		check_own(cfg, store);
}

static int check_namespace(struct cfg *cfg, struct cfg_store *store)
{
	const char *given = pfs_config_get(&store->s, "namespace")->str;
	char *p;

	store->ns = strdup(given ? given : store->s.name);
	if (!store->ns)
		return -ENOMEM;
	if (!given) {
		for (p = store->ns; *p; p++)
			*p = *p == '/' ? '.' : *p;
	} else if (!*given || strchr(given, '/') || !strcmp(given, ".") || !strcmp(given, "..")) {
		fault_of(
			cfg, &store->s, "namespace",
			"impossible value; it must be a name without '/', or * for all namespaces");
	} else if (strlen(given) > PFS_NAME_MAX) {
		fault_of(cfg, &store->s, "namespace", "longer than %d bytes", PFS_NAME_MAX);
	}
	return 0;
}

/* What [defaults] gives comes first; the section's own keys take its place. */
static int inherit(struct cfg *cfg, struct cfg_store *store)
{
	const struct cfg_section *defaults = &cfg->defaults;
	const struct pfs_option *opt;
	size_t i;
	int err;

	for (opt = defaults->set.table; opt && opt->name; opt++) {
		i = (size_t)(opt - defaults->set.table);
		if (!defaults->set.values[i].given)
			continue;
		err = pfs_option_set_text(&store->s.set, opt->name, defaults->set.values[i].str,
					  NULL);
		if (err)
			return err;
		store->s.origins[i + 1] = defaults->origins[i];
	}
	return 0;
}

/* Set what a key is where it is not written. */
static int set_default(struct cfg_store *store, const char *name, const char *text)
{
	const struct pfs_option_value *value = pfs_config_get(&store->s, name);
	int err;

	if (value->given)
		return 0;
	err = pfs_option_set_text(&store->s.set, name, text, NULL);
	store->s.set.values[value - store->s.set.values].given = false;
	return err;
}

/*
 * How its data lies. Others' data is not written to without being told, and only a store that may be
 * written to makes its namespace without being told.
 */
static int set_layout(struct cfg_store *store)
{
	int err = 0;

	store->layout = pfs_config_get(&store->s, "kind")->num
				? PFS_LAYOUT_TABLES
				: 1u << pfs_config_get(&store->s, "layout")->num;
	if (store->layout != PFS_LAYOUT_OWN)
		err = set_default(store, "read_only", "yes");
	if (!err && pfs_config_get(&store->s, "read_only")->num)
		err = set_default(store, "create", "no");
	return err;
}

static int check_store(struct cfg *cfg, struct cfg_store *store, const struct pfs_ini_section *ini)
{
	int err;

	err = pfs_config_section_init(&store->s, ini, pfs_store_options);
	if (!err)
		err = inherit(cfg, store);
	if (!err)
		err = pfs_config_section_fill(cfg, &store->s, ini, true);
	if (err)
		return err;
	check_store_name(cfg, &store->s);
	err = set_layout(store);
	if (!err)
		err = check_namespace(cfg, store);
	if (err)
		return err;
	resolve_backend(cfg, store);
	if (store->backend && store->backend->engine)
		check_offer(cfg, store);
	return 0;
}

/* ---- stores against each other --------------------------------------------------------------- */

static int name_cmp(const void *a, const void *b)
{
	return strcmp(((const struct cfg_store *)a)->s.name, ((const struct cfg_store *)b)->s.name);
}

/* `agents` and `agents/sessions`: one would lie inside the other. */
static int check_nesting(struct cfg *cfg)
{
	struct cfg_store *store, probe, **found;
	void *tree = NULL;
	char *prefix, *p;
	size_t i;
	int err = 0;

	for (i = 0; i < cfg->nstores && !err; i++) {
		if (!tsearch(&cfg->stores[i], &tree, name_cmp))
			err = -ENOMEM;
	}
	for (i = 0; i < cfg->nstores && !err; i++) {
		store = &cfg->stores[i];
		prefix = strdup(store->s.name);
		if (!prefix)
			err = -ENOMEM;
		for (p = prefix; p && (p = strchr(p, '/')); *p++ = '/') {
			*p = '\0';
			probe.s.name = prefix;
			found = tfind(&probe, &tree, name_cmp);
			if (found)
				pfs_faults_at(
					cfg->faults, store->s.line,
					"[%s]: lies inside store '%s' of line %u; a store cannot "
					"hold another",
					store->s.title, prefix, (*found)->s.line);
		}
		free(prefix);
	}
	for (i = 0; i < cfg->nstores; i++)
		tdelete(&cfg->stores[i], &tree, name_cmp);
	return err;
}

static bool shows_all(const struct cfg_store *store)
{
	return !strcmp(store->ns, "*");
}

/* By data, `*` first, then by namespace, then by line. */
static int place_cmp(const void *pa, const void *pb)
{
	const struct cfg_store *a = *(struct cfg_store *const *)pa,
			       *b = *(struct cfg_store *const *)pb;
	int c = strcmp(a->backend->identity, b->backend->identity);

	if (!c)
		c = shows_all(b) - shows_all(a);
	if (!c)
		c = strcmp(a->ns, b->ns);
	return c ? c : (a->s.line > b->s.line) - (a->s.line < b->s.line);
}

static void say_overlap(struct cfg *cfg, const struct cfg_store *a, const struct cfg_store *b)
{
	const struct cfg_store *first = a->s.line < b->s.line ? a : b, *second = first == a ? b : a;
	const struct cfg_store *all = shows_all(a) ? a : b;
	struct pfs_buf where = {0};

	if (a->backend == b->backend)
		pfs_buf_printf(&where, "backend '%s'", a->backend->s.name);
	else
		pfs_buf_printf(&where, "one %s, to which backends '%s' and '%s' both lead",
			       a->backend->engine->place ? "database" : "file",
			       first->backend->s.name, second->backend->s.name);
	if (where.failed)
		cfg->faults->failed = true;
	else if (shows_all(all))
		fault_of(cfg, &second->s, "namespace",
			 "overlaps store '%s' of line %u: '%s' shows every namespace of %s",
			 first->s.name, first->s.line, all->s.name, where.data);
	else
		fault_of(cfg, &second->s, "namespace",
			 "overlaps store '%s' of line %u: both show '%s' of %s", first->s.name,
			 first->s.line, a->ns, where.data);
	pfs_buf_release(&where);
}

static int check_overlaps(struct cfg *cfg)
{
	struct cfg_store **places, *prev, *all;
	size_t i, n = 0;

	places = calloc(cfg->nstores + 1, sizeof(struct cfg_store *));
	if (!places)
		return -ENOMEM;
	for (i = 0; i < cfg->nstores; i++) {
		if (cfg->stores[i].backend && cfg->stores[i].backend->identity &&
		    cfg->stores[i].layout == PFS_LAYOUT_OWN)
			places[n++] = &cfg->stores[i];
	}
	qsort(places, n, sizeof(struct cfg_store *), place_cmp);
	for (i = 0, all = NULL; i < n; i++) {
		prev = i && !strcmp(places[i - 1]->backend->identity, places[i]->backend->identity)
			       ? places[i - 1]
			       : NULL;
		if (!prev)
			all = shows_all(places[i]) ? places[i] : NULL;
		else if (all)
			say_overlap(cfg, all, places[i]);
		else if (!strcmp(prev->ns, places[i]->ns))
			say_overlap(cfg, prev, places[i]);
	}
	free(places);
	return 0;
}

/* ---- everything ------------------------------------------------------------------------------ */

/* The kind of a section: its name up to the colon. */
static bool section_is(const struct pfs_ini_section *s, const char *kind)
{
	size_t len = strlen(kind);

	return !strncmp(s->name, kind, len) && s->name[len] == ':';
}

static void unknown_section(struct cfg *cfg, const struct pfs_ini_section *s)
{
	static const char *const kinds[] = {"backend", "store", "defaults", "mount"};
	char word[64];
	const char *near, *colon = strchr(s->name, ':');

	snprintf(word, sizeof(word), "%.*s", (int)(colon ? colon - s->name : (long)strlen(s->name)),
		 s->name);
	near = pfs_nearest(word, kinds, PFS_ARRAY_SIZE(kinds));
	pfs_faults_at(cfg->faults, s->line,
		      "[%s]: unknown section; available: [backend:NAME], [store:NAME], [defaults], "
		      "[mount]%s%s%s%s",
		      s->name, near ? " — did you mean '" : "", near ? near : "",
		      !near						 ? ""
		      : strcmp(near, "backend") && strcmp(near, "store") ? ""
									 : ":NAME",
		      near ? "'?" : "");
}

static void check_log(struct cfg *cfg)
{
	static const char *const words[] = {"syslog", "stderr"};
	const char *log = pfs_config_get(&cfg->mount, "log")->str, *near;

	if (!log || !strcmp(log, "syslog") || !strcmp(log, "stderr") || strchr(log, '/'))
		return;
	near = pfs_nearest(log, words, PFS_ARRAY_SIZE(words));
	fault_of(cfg, &cfg->mount, "log",
		 "impossible value '%s'; available: syslog, stderr, a path with a '/'%s%s%s", log,
		 near ? " — did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* [defaults] and [mount], which may be missing. */
static int check_singles(struct cfg *cfg)
{
	const struct pfs_ini_section *defaults = NULL, *mount = NULL, *s;
	size_t i;
	int err;

	for (i = 0; i < cfg->ini.nsections; i++) {
		s = &cfg->ini.sections[i];
		if (!strcmp(s->name, "defaults"))
			defaults = s;
		else if (!strcmp(s->name, "mount"))
			mount = s;
		else if (!section_is(s, "backend") && !section_is(s, "store"))
			unknown_section(cfg, s);
	}
	err = pfs_config_section_init(&cfg->defaults, defaults, PFS_DEFAULTS_OPTIONS);
	if (!err)
		err = pfs_config_section_fill(cfg, &cfg->defaults, defaults, true);
	if (!err)
		err = pfs_config_section_init(&cfg->mount, mount, pfs_mount_options);
	if (!err)
		err = pfs_config_section_fill(cfg, &cfg->mount, mount, true);
	if (!err)
		check_log(cfg);
	return err;
}

int pfs_config_check(struct cfg *cfg)
{
	size_t i;
	int err;

	err = check_singles(cfg);
	cfg->backends = calloc(cfg->ini.nsections + 1, sizeof(*cfg->backends));
	cfg->stores = calloc(cfg->ini.nsections + 1, sizeof(*cfg->stores));
	if (!cfg->backends || !cfg->stores)
		return -ENOMEM;
	for (i = 0; i < cfg->ini.nsections && !err && cfg->faults->n <= PFS_FAULTS_MAX; i++) {
		if (section_is(&cfg->ini.sections[i], "backend"))
			err = check_backend(cfg, &cfg->backends[cfg->nbackends++],
					    &cfg->ini.sections[i]);
	}
	for (i = 0; i < cfg->ini.nsections && !err && cfg->faults->n <= PFS_FAULTS_MAX; i++) {
		if (section_is(&cfg->ini.sections[i], "store"))
			err = check_store(cfg, &cfg->stores[cfg->nstores++], &cfg->ini.sections[i]);
	}
	if (!err)
		err = check_nesting(cfg);
	if (!err)
		err = check_overlaps(cfg);
	if (!err && !cfg->nstores && !cfg->ini.partial && cfg->faults->n <= PFS_FAULTS_MAX)
		pfs_faults_at(cfg->faults, 0, "nothing to mount: there is no [store:NAME] section");
	return err;
}
