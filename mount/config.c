/*
 * Finding a configuration, reading it and, once everything in it was found right, constructing the
 * backends and the description of the tree. The checking itself is config_check.c's.
 *
 * Runs in one thread, before the process forks; everything that comes out is only read afterwards.
 */
#include "mount/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILTIN_NAME	"built-in default"
#define STORE_DIR_MODE	0755
#define STORE_FILE_MODE 0644

/* ---- the file -------------------------------------------------------------------------------- */

static int fault_file(struct cfg *cfg, const char *what)
{
	pfs_faults_at(cfg->faults, 0, "%s", what);
	return -EINVAL;
}

/* All of the file, at most PFS_INI_MAX_BYTES. -EINVAL after a fault. */
static int read_all(struct cfg *cfg, int fd, struct pfs_buf *out)
{
	char piece[16384];
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			pfs_faults_at(cfg->faults, 0, "cannot be read: %s", strerror(errno));
			return -EINVAL;
		}
		pfs_buf_add(out, piece, (size_t)n);
		if (out->failed)
			return -ENOMEM;
		if (out->len > PFS_INI_MAX_BYTES)
			return fault_file(cfg, "larger than 1 MiB; this is no configuration");
	}
	return 0;
}

/* The directory of the file, absolute. */
static int set_dir(struct cfg *cfg, const char *file)
{
	char *real = realpath(file, NULL), *slash;

	if (!real) /* not a file with a name, such as a pipe */
		real = realpath(".", NULL);
	else if ((slash = strrchr(real, '/')))
		slash[slash == real] = '\0';
	cfg->dir = real;
	return real ? 0 : -ENOMEM;
}

/* A password in a file that others can read is no secret. */
static void check_permissions(struct cfg *cfg, const char *file, mode_t mode)
{
	if (!cfg->secret.line || !S_ISREG(mode) || !(mode & 077))
		return;
	pfs_faults_at(cfg->faults, cfg->secret.line,
		      "[%s] %s: a password stands in a file that others can read (mode %04o); run: "
		      "chmod 600 '%s'",
		      cfg->secret.section, cfg->secret_key, (unsigned)mode & 07777, file);
}

/* Opens, parses and checks. -EINVAL after a fault that leaves nothing to check. */
static int load_file(struct cfg *cfg, const char *file)
{
	struct pfs_buf text = {0};
	struct stat st = {0};
	int fd, err;

	cfg->pub.source = strdup(file);
	cfg->faults->file = strdup(file);
	if (!cfg->pub.source || !cfg->faults->file)
		return -ENOMEM;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		pfs_faults_at(cfg->faults, 0, "cannot be read: %s", strerror(errno));
		err = -EINVAL;
	} else if (S_ISDIR(st.st_mode)) {
		err = fault_file(cfg, "is a directory; an ini file is needed");
	} else {
		err = read_all(cfg, fd, &text);
	}
	if (!err)
		err = set_dir(cfg, file);
	if (!err)
		err = pfs_ini_parse(&cfg->ini, text.data ? text.data : "", text.len, cfg->faults);
	if (!err)
		err = pfs_config_check(cfg);
	if (!err)
		check_permissions(cfg, file, st.st_mode);
	if (fd >= 0)
		close(fd);
	if (text.data)
		explicit_bzero(text.data, text.len);
	pfs_buf_release(&text);
	return err;
}

/* ---- without a file -------------------------------------------------------------------------- */

static int add_backend(struct cfg *cfg, const char *title, const char *type, const char *key,
		       const char *value, bool create_on_write)
{
	struct pfs_ini_section *s = pfs_ini_add_section(&cfg->ini, title, 0);

	if (!s || pfs_ini_add_key(s, "type", type, 0, true) ||
	    pfs_ini_add_key(s, key, value, 0, true) ||
	    (create_on_write && pfs_ini_add_key(s, "create_on_write", "yes", 0, true)))
		return -ENOMEM;
	return 0;
}

/*
 * What others keep there, as the engine can show it without being told more; from a backend of its own,
 * which is there whether the own layout is or not.
 */
static int add_views(struct cfg *cfg, const struct pfs_engine *engine, const char *key,
		     const char *value)
{
	static const struct {
		unsigned layout;
		const char *title, *key, *word;
	} views[] = {
		{PFS_LAYOUT_NATIVE, "store:keys", "layout", "native"},
		{PFS_LAYOUT_TABLES, "store:tables", "kind", "sql"},
	};
	struct pfs_ini_section *s;
	size_t i;
	int err;

	err = add_backend(cfg, "backend:others", engine->name, key, value, false);
	for (i = 0; i < PFS_ARRAY_SIZE(views) && !err; i++) {
		if (!(engine->layouts & views[i].layout))
			continue;
		s = pfs_ini_add_section(&cfg->ini, views[i].title, 0);
		if (!s || pfs_ini_add_key(s, "backend", "others", 0, true) ||
		    pfs_ini_add_key(s, views[i].key, views[i].word, 0, true) ||
		    (cfg->write_others && pfs_ini_add_key(s, "read_only", "no", 0, true)))
			err = -ENOMEM;
	}
	return err;
}

/*
 * One backend with a store `data`; where `others` may have data there, that beside it. `name`: what was
 * asked for, for people; no secrets in it.
 */
static int load_single(struct cfg *cfg, const char *name, const char *type, const char *key,
		       const char *value, const struct pfs_engine *others)
{
	struct pfs_ini_section *s;
	int err;

	cfg->pub.source = strdup(name);
	cfg->faults->file = strdup(name);
	cfg->dir = realpath(".", NULL);
	if (!cfg->pub.source || !cfg->faults->file)
		return -ENOMEM;
	if (others && !(others->layouts & (PFS_LAYOUT_NATIVE | PFS_LAYOUT_TABLES)))
		others = NULL;
	err = add_backend(cfg, "backend:local", type, key, value, others);
	s = err ? NULL : pfs_ini_add_section(&cfg->ini, "store:data", 0);
	if (!s || pfs_ini_add_key(s, "backend", "local", 0, true) ||
	    pfs_ini_add_key(s, "namespace", "data", 0, true))
		return -ENOMEM;
	if (others)
		err = add_views(cfg, others, key, value);
	return err ? err : pfs_config_check(cfg);
}

/* $NAME if it is an absolute path (the XDG specification has others ignored), else ~/rest. */
static int xdg_dir(const char *name, const char *rest, char **out, struct pfs_msg *msg)
{
	const char *dir = getenv(name);
	char *home = NULL;
	int err;

	if (dir && *dir == '/') {
		*out = strdup(dir);
		return *out ? 0 : -ENOMEM;
	}
	err = pfs_config_home(&home, msg);
	if (!err && asprintf(out, "%s/%s", home, rest) < 0)
		err = -ENOMEM;
	free(home);
	return err;
}

static int load_builtin(struct cfg *cfg)
{
	struct pfs_msg msg = {0};
	char *dir = NULL, *path = NULL;
	int err;

	err = xdg_dir("XDG_DATA_HOME", ".local/share", &dir, &msg);
	if (err == -EINVAL)
		pfs_faults_add(cfg->faults, BUILTIN_NAME ": %s", msg.text);
	if (!err && asprintf(&path, "%s/persistfs/store.db", dir) < 0)
		err = -ENOMEM;
	if (!err)
		err = load_single(cfg, BUILTIN_NAME, "sqlite", "path", path, NULL);
	free(path);
	free(dir);
	return err;
}

/* ---- a backend as SOURCE -------------------------------------------------------------------- */

/* Whether `word` is one of `schemes`, which '|' separates. */
static bool scheme_of(const char *schemes, const char *word, size_t len)
{
	size_t n;

	for (; schemes; schemes = schemes[n] ? schemes + n + 1 : NULL) {
		n = strcspn(schemes, "|");
		if (n == len && !memcmp(schemes, word, len))
			return true;
	}
	return false;
}

/* The engine that has this scheme, or, failing that, this name; NULL: none. */
static const struct pfs_engine *scheme_engine(const struct cfg *cfg, const char *word, size_t len)
{
	const struct pfs_engine *const *e;

	for (e = cfg->engines; *e; e++)
		if (scheme_of((*e)->schemes, word, len))
			return *e;
	for (e = cfg->engines; *e; e++)
		if (scheme_of((*e)->name, word, len))
			return *e;
	return NULL;
}

static bool takes_url(const struct pfs_engine *engine)
{
	return engine->options && pfs_option_find(engine->options, "url");
}

/* The length of the scheme of "scheme:rest"; 0: it has none and is the name of a file. */
static size_t scheme_length(const struct cfg *cfg, const char *source)
{
	size_t n = 0;

	while (isalnum((unsigned char)source[n]) || (n && strchr("+-", source[n]) && source[n]))
		n++;
	if (!n || source[n] != ':')
		return 0;
	return !strncmp(source + n, "://", 3) || scheme_engine(cfg, source, n) ? n : 0;
}

/* "sqlite:PATH, redis://..." */
static void schemes_list(const struct cfg *cfg, struct pfs_buf *out)
{
	const struct pfs_engine *const *e;

	for (e = cfg->engines; *e; e++) {
		if ((*e)->schemes)
			pfs_buf_printf(out, "%s%.*s%s", out->len ? ", " : "",
				       (int)strcspn((*e)->schemes, "|"), (*e)->schemes,
				       takes_url(*e) ? "://..." : ":PATH");
	}
}

/* source: "scheme:PATH" as it was given. */
static int load_path(struct cfg *cfg, const struct pfs_engine *engine, const char *source)
{
	const char *given = strchr(source, ':') + 1;
	struct pfs_msg msg = {0};
	char *path = NULL, *dir;
	int err;

	if (!*given) {
		pfs_faults_add(cfg->faults, "%s: the path is missing; a source is %.*sPATH", source,
			       (int)(given - source), source);
		return -EINVAL;
	}
	dir = realpath(".", NULL);
	err = pfs_config_path(given, dir ? dir : "/", &path, &msg);
	if (err == -EINVAL)
		pfs_faults_add(cfg->faults, "%s: %s", source, msg.text);
	if (!err)
		err = load_single(cfg, source, engine->name, "path", path,
				  engine->others && engine->others(path) ? engine : NULL);
	free(path);
	free(dir);
	return err;
}

static int load_url(struct cfg *cfg, const struct pfs_engine *engine, const char *source)
{
	struct pfs_buf shown = {0};
	int err = -ENOMEM;

	pfs_redact_urls(&shown, source);
	if (!shown.failed)
		err = load_single(cfg, shown.data, engine->name, "url", source, engine);
	pfs_buf_release(&shown);
	return err;
}

/* A scheme of nobody, an engine that has none, or one without what follows it. */
static int fault_source(struct cfg *cfg, const char *source, size_t len,
			const struct pfs_engine *engine)
{
	struct pfs_buf names = {0};
	size_t i;

	if (engine)
		schemes_list(cfg, &names);
	for (i = 0; !engine && cfg->engines[i]; i++)
		pfs_buf_printf(&names, "%s%s", i ? ", " : "", cfg->engines[i]->name);
	pfs_buf_str(&names, ""); /* there may be none */
	if (names.failed)
		cfg->faults->failed = true;
	else if (!engine)
		pfs_faults_add(cfg->faults,
			       "%s: type '%.*s' is not available in this build; available: %s",
			       source, (int)len, source, names.data);
	else if (engine->schemes)
		pfs_faults_add(cfg->faults, "%s: a source is %s or an ini file", source,
			       names.data);
	else
		pfs_faults_add(cfg->faults,
			       "%s: a source is %s or an ini file; type '%s' needs an ini file",
			       source, names.data, engine->name);
	pfs_buf_release(&names);
	return -EINVAL;
}

static int load_source(struct cfg *cfg, const char *source)
{
	size_t len = scheme_length(cfg, source);
	const struct pfs_engine *engine;

	if (!len)
		return load_file(cfg, source);
	engine = scheme_engine(cfg, source, len);
	if (engine && engine->schemes && !takes_url(engine))
		return load_path(cfg, engine, source);
	if (engine && scheme_of(engine->schemes, source, len) && !strncmp(source + len, "://", 3))
		return load_url(cfg, engine, source);
	return fault_source(cfg, source, len, engine);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Whether a file is there to be used. One that cannot be looked at is, so that this is said. */
static bool present(const char *path)
{
	struct stat st;

	return !stat(path, &st) || (errno != ENOENT && errno != ENOTDIR);
}

static int load_found(struct cfg *cfg, const char *system_file)
{
	const char *given = getenv("PERSISTFS_CONFIG");
	char *dir = NULL, *file = NULL;
	int err;

	if (given && *given)
		return load_file(cfg, given);
	err = xdg_dir("XDG_CONFIG_HOME", ".config", &dir, NULL);
	if (err == -ENOMEM)
		return err;
	if (!err && asprintf(&file, "%s/persistfs/persistfs.ini", dir) < 0)
		file = NULL;
	if (file && present(file))
		err = load_file(cfg, file);
	else if (present(system_file))
		err = load_file(cfg, system_file);
	else
		err = load_builtin(cfg);
	free(file);
	free(dir);
	return err;
}

/* ---- what comes out -------------------------------------------------------------------------- */

static void fill_store(struct pfs_store_config *out, const struct cfg_store *store)
{
	const struct cfg_section *s = &store->s;
	bool own = store->layout == PFS_LAYOUT_OWN;

	*out = (struct pfs_store_config){
		.name = s->name,
		.backend = store->view ? store->view : store->backend->backend,
		.backend_name = store->backend->s.name,
		.ns = store->ns,
		.create = pfs_config_get(s, "create")->num,
		.read_only = pfs_config_get(s, "read_only")->num,
		.write_mode = own && pfs_config_get(s, "write_mode")->num ? PFS_WRITE_QUEUED
									   : PFS_WRITE_THROUGH,
		.queue_delay = pfs_config_get(s, "queue_delay")->num,
		.max_write_queue_size = (unsigned)pfs_config_get(s, "max_write_queue_size")->num,
		.commit_interval = pfs_config_get(s, "commit_interval")->num,
		.retry_timeout = pfs_config_get(&store->backend->s, "retry_timeout")->num,
		.attr_timeout = pfs_config_get(s, "attr_timeout")->num,
		.ttl = own ? pfs_config_get(s, "ttl")->num : 0,
		.ttl_refresh = pfs_config_get(s, "ttl_on_write")->num,
		.file_mode = STORE_FILE_MODE,
		.dir_mode = STORE_DIR_MODE,
	};
}

static bool lazy(const struct cfg_backend *b)
{
	return !strcmp(pfs_config_get(&b->s, "connect")->str, "lazy");
}

/* Of the backends only those that a store refers to. */
static int construct_backends(struct cfg *cfg)
{
	struct pfs_fs_config *fs = &cfg->pub.fs;
	struct cfg_backend *b;
	struct pfs_msg msg = {0};
	int err;

	fs->backends = calloc(cfg->nbackends + cfg->nstores + 1, sizeof(struct pfs_backend *));
	fs->lazy = calloc(cfg->nbackends + cfg->nstores + 1, sizeof(bool));
	if (!fs->backends || !fs->lazy)
		return -ENOMEM;
	for (b = cfg->backends; b < cfg->backends + cfg->nbackends; b++) {
		if (!b->used)
			continue;
		pfs_msg_clear(&msg);
		err = pfs_backend_new(b->s.name, b->engine, &b->s.set, &b->backend, &msg);
		if (err == -ENOMEM)
			return err;
		if (err) {
			pfs_faults_at(cfg->faults, b->s.line, "[%s]: %s", b->s.title,
				      *msg.text ? msg.text : strerror(-err));
			continue;
		}
		b->backend->own = false;
		fs->lazy[fs->nbackends] = lazy(b);
		fs->backends[fs->nbackends++] = b->backend;
	}
	return 0;
}

/* The views of others' data: a backend for each store that shows some. */
static int construct_views(struct cfg *cfg)
{
	struct pfs_fs_config *fs = &cfg->pub.fs;
	struct cfg_store *store;
	struct pfs_msg msg = {0};
	int err;

	for (store = cfg->stores; store < cfg->stores + cfg->nstores; store++) {
		struct cfg_backend *b = store->backend;

		if (!b->backend)
			continue;
		if (store->layout == PFS_LAYOUT_OWN) {
			b->backend->own = true;
			continue;
		}
		pfs_msg_clear(&msg);
		err = b->engine->adopt(b->backend, store->layout, store->s.name, &store->s.set,
				       &store->view, &msg);
		if (err == -ENOMEM)
			return err;
		if (err) {
			pfs_faults_at(cfg->faults, store->s.line, "[%s]: %s", store->s.title,
				      *msg.text ? msg.text : strerror(-err));
			continue;
		}
		fs->lazy[fs->nbackends] = lazy(b);
		fs->backends[fs->nbackends++] = store->view;
	}
	return 0;
}

/* A `log` that is a path is resolved here: the option's type is no path, for it has two words. */
static int resolve_log(struct cfg *cfg)
{
	const struct pfs_option_value *log = pfs_config_get(&cfg->mount, "log");
	struct pfs_msg msg = {0};
	char *path = NULL;
	int err;

	cfg->pub.log_given = log->given;
	if (!strchr(log->str, '/')) {
		cfg->pub.log = strdup(log->str);
		return cfg->pub.log ? 0 : -ENOMEM;
	}
	err = pfs_config_path(log->str, cfg->dir ? cfg->dir : "/", &path, &msg);
	if (!err)
		err = pfs_option_set_text(&cfg->mount.set, "log", path, NULL);
	if (err == -EINVAL)
		pfs_faults_at(cfg->faults, pfs_config_origin(&cfg->mount, "log").line,
			      "[mount] log: %s", msg.text);
	cfg->pub.log = path;
	return err;
}

static int finish(struct cfg *cfg)
{
	struct pfs_fs_config *fs = &cfg->pub.fs;
	size_t i;
	int err;

	err = resolve_log(cfg);
	if (!err)
		err = construct_backends(cfg);
	if (!err)
		err = construct_views(cfg);
	if (!err && cfg->faults->n)
		err = -EINVAL;
	if (!err)
		err = pfs_config_write(cfg);
	if (err)
		return err;
	fs->stores = calloc(cfg->nstores, sizeof(*fs->stores));
	if (!fs->stores)
		return -ENOMEM;
	for (i = 0; i < cfg->nstores; i++)
		fill_store(&fs->stores[i], &cfg->stores[i]);
	fs->nstores = cfg->nstores;
	fs->dirty_limit = (uint64_t)pfs_config_get(&cfg->mount, "dirty_limit")->num;
	fs->config_text = cfg->pub.text.data;
	fs->uid = getuid();
	fs->gid = getgid();
	cfg->pub.log_json = pfs_config_get(&cfg->mount, "log_format")->num;
	cfg->pub.ndeclared = cfg->nbackends;
	return 0;
}

int pfs_config_load(const struct pfs_config_source *src, struct pfs_config **out,
		    struct pfs_faults *faults)
{
	struct cfg *cfg;
	int err;

	*faults = (struct pfs_faults){0};
	cfg = calloc(1, sizeof(*cfg));
	if (!cfg)
		return -ENOMEM;
	cfg->engines = src->engines ? src->engines : pfs_engines();
	cfg->write_others = src->write_others;
	cfg->faults = faults;
	if (src->file)
		err = load_file(cfg, src->file);
	else if (src->source)
		err = load_source(cfg, src->source);
	else
		err = load_found(cfg, src->system_file ? src->system_file : PFS_CONFIG_SYSTEM_FILE);
	if (!err && !faults->n)
		err = finish(cfg);
	pfs_faults_sort(faults);
	if (!err && faults->n)
		err = -EINVAL;
	if (faults->failed)
		err = -ENOMEM;
	cfg->faults = NULL;
	if (err) {
		pfs_config_free(&cfg->pub);
		return err;
	}
	*out = &cfg->pub;
	return 0;
}

void pfs_config_free(struct pfs_config *config)
{
	struct cfg *cfg;
	size_t i;

	if (!config)
		return;
	cfg = pfs_container_of(config, struct cfg, pub);
	for (i = 0; cfg->stores && i < cfg->nstores; i++)
		pfs_backend_free(cfg->stores[i].view); /* before its host */
	for (i = 0; cfg->backends && i < cfg->nbackends; i++) {
		pfs_backend_free(cfg->backends[i].backend);
		pfs_config_section_release(&cfg->backends[i].s);
		free(cfg->backends[i].table);
		free(cfg->backends[i].identity);
	}
	for (i = 0; cfg->stores && i < cfg->nstores; i++) {
		pfs_config_section_release(&cfg->stores[i].s);
		free(cfg->stores[i].ns);
	}
	pfs_config_section_release(&cfg->defaults);
	pfs_config_section_release(&cfg->mount);
	free(cfg->backends);
	free(cfg->stores);
	free(config->fs.stores);
	free(config->fs.backends);
	free(config->fs.lazy);
	free(config->source);
	free(config->log);
	pfs_buf_release(&config->text);
	pfs_ini_release(&cfg->ini);
	free(cfg->dir);
	free(cfg);
}
