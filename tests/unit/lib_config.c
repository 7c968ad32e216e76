/*
 * The shared part of the configuration's tests.
 */
#include "tests/unit/lib_config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char cfgtest_dir[256];

/* ---- engines --------------------------------------------------------------------------------- */

static void free_backend(struct pfs_backend *b)
{
	pfs_backend_release(b);
	free(b);
}

static const struct pfs_backend_ops ops = {.free = free_backend};

static int create(const struct pfs_engine *engine, const char *name,
		  const struct pfs_option_set *set, struct pfs_backend **out)
{
	struct pfs_backend *b = calloc(1, sizeof(*b));
	int err = b ? pfs_backend_init(b, engine, &ops, name, set) : -ENOMEM;

	if (err)
		free(b);
	else
		*out = b;
	return err;
}

static const struct pfs_engine file_engine, ram_engine, vault_engine;

static int file_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		       struct pfs_msg *msg)
{
	if (strstr(pfs_option_get(set, "path")->str, "/refused")) {
		pfs_msg_set(msg, "this engine refuses that path");
		return -EINVAL;
	}
	return create(&file_engine, name, set, out);
}

static int ram_create(const char *name, const struct pfs_option_set *set, struct pfs_backend **out,
		      struct pfs_msg *msg)
{
	(void)msg;
	return create(&ram_engine, name, set, out);
}

static int vault_create(const char *name, const struct pfs_option_set *set,
			struct pfs_backend **out, struct pfs_msg *msg)
{
	(void)msg;
	return create(&vault_engine, name, set, out);
}

static const struct pfs_option file_options[] = {
	{.name = "path", .type = PFS_OPT_PATH, .required = true, .help = "the file"},
	{.name = "spare", .type = PFS_OPT_PATH, .def = "~/spare", .help = "another file"},
	{.name = "cache",
	 .type = PFS_OPT_SIZE,
	 .def = "8M",
	 .min = 65536,
	 .max = 1 << 30,
	 .help = "memory for pages"},
	PFS_OPTION_END,
};

static const struct pfs_option vault_options[] = {
	{.name = "url", .type = PFS_OPT_STRING, .help = "where the server is"},
	{.name = "password", .type = PFS_OPT_STRING, .secret = true, .help = "the password"},
	{.name = "password_file", .type = PFS_OPT_PATH, .help = "a file that holds the password"},
	{.name = "pin",
	 .type = PFS_OPT_INT,
	 .secret = true,
	 .min = 1,
	 .max = 9999,
	 .help = "a pin"},
	PFS_OPTION_END,
};

/* The server, without who asks it. */
static void vault_place(const struct pfs_option_set *set, struct pfs_buf *out)
{
	const char *url = pfs_option_get(set, "url")->str, *at = url ? strrchr(url, '@') : NULL;

	if (url)
		pfs_buf_str(out, at ? at + 1 : url + strcspn(url, "/"));
}

static int vault_adopt(struct pfs_backend *host, enum pfs_layout layout, const char *name,
		       const struct pfs_option_set *store, struct pfs_backend **out,
		       struct pfs_msg *msg)
{
	int err = vault_create(name, host->set, out, msg);

	(void)layout;
	(void)store;
	if (!err)
		(*out)->host = host;
	return err;
}

static const struct pfs_engine file_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "file",
	.help = "a file",
	.kinds = PFS_KIND_KV,
	.layouts = PFS_LAYOUT_OWN,
	.capabilities = PFS_CAP_NAMESPACES,
	.options = file_options,
	.create = file_create,
	.schemes = "file",
};

static const struct pfs_engine ram_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "ram",
	.help = "memory",
	.kinds = PFS_KIND_KV,
	.layouts = PFS_LAYOUT_OWN,
	.create = ram_create,
};

static const struct pfs_engine vault_engine = {
	.spec_version = PFS_SPEC_VERSION,
	.name = "vault",
	.help = "a server",
	.kinds = PFS_KIND_KV | PFS_KIND_SQL,
	.layouts = PFS_LAYOUT_OWN | PFS_LAYOUT_PLAIN | PFS_LAYOUT_TABLES,
	.adopt = vault_adopt,
	.capabilities = PFS_CAP_NAMESPACES | PFS_CAP_EXPIRY,
	.options = vault_options,
	.create = vault_create,
	.schemes = "vault|safe",
	.place = vault_place,
};

const struct pfs_engine *const cfgtest_engines[] = {&file_engine, &ram_engine, &vault_engine, NULL};

/* ---- files ----------------------------------------------------------------------------------- */

int lib_config_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(cfgtest_dir, sizeof(cfgtest_dir), "%.200s/persistfs-config-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(cfgtest_dir))
		return -1;
	/* Nothing of the person who runs the tests. */
	setenv("HOME", cfgtest_path("home"), 1);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("XDG_DATA_HOME");
	unsetenv("PERSISTFS_CONFIG");
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int lib_config_teardown(void **state)
{
	(void)state;
	return nftw(cfgtest_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *cfgtest_path(const char *name)
{
	static char bufs[4][512];
	static unsigned next;
	char *buf = bufs[next++ % 4];

	snprintf(buf, sizeof(bufs[0]), "%s/%s", cfgtest_dir, name);
	return buf;
}

void cfgtest_write_bytes(const char *name, const void *p, size_t n)
{
	char path[512], *slash;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", cfgtest_dir, name);
	for (slash = path + strlen(cfgtest_dir) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		assert_true(!mkdir(path, 0755) || errno == EEXIST);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
	close(fd);
}

void cfgtest_write(const char *name, const char *text)
{
	cfgtest_write_bytes(name, text, strlen(text));
}

/* ---- loading --------------------------------------------------------------------------------- */

static void print_faults(const struct pfs_faults *faults)
{
	size_t i;

	for (i = 0; i < faults->n; i++)
		print_error("fault: %s\n", faults->lines[i]);
}

struct pfs_config *cfgtest_load(const char *ini)
{
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;
	int err;

	cfgtest_write("persistfs.ini", ini);
	src.file = cfgtest_path("persistfs.ini");
	err = pfs_config_load(&src, &config, &faults);
	print_faults(&faults);
	assert_int_equal(faults.n, 0);
	assert_int_equal(err, 0);
	pfs_faults_release(&faults);
	return config;
}

const struct pfs_store_config *cfgtest_store(const struct pfs_config *config, const char *name)
{
	size_t i;

	for (i = 0; i < config->fs.nstores; i++) {
		if (!strcmp(config->fs.stores[i].name, name))
			return &config->fs.stores[i];
	}
	fail_msg("there is no store '%s'", name);
	return NULL;
}

/* "F:3: @/x" -> "/tmp/.../persistfs.ini:3: /tmp/.../x" */
static char *spell_out(const char *want)
{
	struct pfs_buf buf = {0};
	const char *dir;

	if (want[0] == 'F' && want[1] == ':') {
		pfs_buf_printf(&buf, "%s/persistfs.ini", cfgtest_dir);
		want++;
	}
	while ((dir = strstr(want, "@/"))) {
		pfs_buf_add(&buf, want, (size_t)(dir - want));
		pfs_buf_str(&buf, cfgtest_dir);
		want = dir + 1;
	}
	pfs_buf_str(&buf, want);
	return buf.data;
}

void cfgtest_same_faults_(const struct pfs_faults *faults, const char *const *want)
{
	size_t i;
	char *text;

	for (i = 0; i < faults->n && want[i]; i++) {
		text = spell_out(want[i]);
		if (strcmp(faults->lines[i], text))
			print_error("wanted: %s\n   got: %s\n", text, faults->lines[i]);
		assert_string_equal(faults->lines[i], text);
		free(text);
	}
	if (i < faults->n || want[i])
		print_faults(faults);
	if (want[i])
		fail_msg("missing: %s", want[i]);
	assert_int_equal(faults->n, i);
}

void cfgtest_faults_(const char *ini, const char *const *want)
{
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;
	int err;

	cfgtest_write("persistfs.ini", ini);
	src.file = cfgtest_path("persistfs.ini");
	err = pfs_config_load(&src, &config, &faults);
	pfs_config_free(config);
	cfgtest_same_faults_(&faults, want);
	assert_int_equal(err, -EINVAL);
	pfs_faults_release(&faults);
}
