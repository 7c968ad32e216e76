/*
 * Configurations that are right: where they are found, what their values become, what is kept secret,
 * the verbs, and that the example, the manual and the code name the same options. The faults are in
 * test_config_faults.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/lib_config.h"

#define RAM   "[backend:r]\ntype = ram\n"
#define FILE_ "[backend:f]\ntype = file\npath = f.db\n"
#define VAULT "[backend:v]\ntype = vault\n"

/* Load as the program does, with the engines of the build; NULL after faults, which are printed. */
static struct pfs_config *load(const struct pfs_config_source *src)
{
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;
	size_t i;

	pfs_config_load(src, &config, &faults);
	for (i = 0; i < faults.n; i++)
		print_error("%s\n", faults.lines[i]);
	pfs_faults_release(&faults);
	return config;
}

static const struct pfs_option_value *backend_value(const struct pfs_config *config, size_t i,
						    const char *name)
{
	assert_true(i < config->fs.nbackends);
	return pfs_option_get(config->fs.backends[i]->set, name);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void every_value_has_its_documented_default(void **state)
{
	struct pfs_config *c = cfgtest_load(FILE_ "[store:notes]\n");
	const struct pfs_store_config *s = cfgtest_store(c, "notes");

	(void)state;
	assert_string_equal(c->source, cfgtest_path("persistfs.ini"));
	assert_string_equal(c->log, "syslog");
	assert_false(c->log_given);
	assert_false(c->log_json);
	assert_int_equal(c->fs.dirty_limit, 64 << 20);
	assert_int_equal(c->fs.uid, getuid());
	assert_int_equal(c->fs.gid, getgid());
	assert_int_equal(c->fs.nstores, 1);
	assert_int_equal(c->fs.nbackends, 1);
	assert_false(c->fs.lazy[0]);
	assert_string_equal(c->fs.config_text, c->text.data);
	assert_string_equal(s->backend_name, "f");
	assert_ptr_equal(s->backend, c->fs.backends[0]);
	assert_string_equal(s->ns, "notes");
	assert_true(s->create);
	assert_false(s->read_only);
	assert_int_equal(s->write_mode, PFS_WRITE_THROUGH);
	assert_int_equal(s->queue_delay, 5000000);
	assert_int_equal(s->max_write_queue_size, 1000);
	assert_int_equal(s->commit_interval, NSEC_PER_SEC);
	assert_true(s->retry_timeout == 30 * NSEC_PER_SEC);
	assert_int_equal(s->attr_timeout, NSEC_PER_SEC);
	assert_int_equal(s->ttl, 0);
	assert_int_equal(s->dir_mode, 0755);
	assert_int_equal(s->file_mode, 0644);
	assert_int_equal(backend_value(c, 0, "pool_size")->num, 4);
	assert_int_equal(backend_value(c, 0, "max_overflow")->num, 4);
	assert_true(backend_value(c, 0, "timeout")->num == 5 * NSEC_PER_SEC);
	pfs_config_free(c);
}

static void every_value_can_be_given(void **state)
{
	struct pfs_config *c = cfgtest_load(
		VAULT "connect = lazy\npool_size = 1\nmax_overflow = 0\ntimeout = 250ms\n"
		      "retry_timeout = 0\nurl = tcp://host:1\n"
		      "[store:a b/c]\nbackend = v\nnamespace = n\nlayout = own\nkind = kv\n"
		      "read_only = yes\ncreate = yes\nwrite_mode = queued\nqueue_delay = 20ms\n"
		      "max_write_queue_size = 7\ncommit_interval = 2s\nattr_timeout = 0\nttl = 1d\n"
		      "[mount]\ndirty_limit = 1G\nlog = stderr\nlog_format = json\n");
	const struct pfs_store_config *s = cfgtest_store(c, "a b/c");

	(void)state;
	assert_true(c->fs.lazy[0]);
	assert_int_equal(backend_value(c, 0, "pool_size")->num, 1);
	assert_int_equal(backend_value(c, 0, "max_overflow")->num, 0);
	assert_int_equal(backend_value(c, 0, "timeout")->num, 250000000);
	assert_string_equal(backend_value(c, 0, "url")->str, "tcp://host:1");
	assert_string_equal(s->ns, "n");
	assert_true(s->read_only);
	assert_true(s->create);
	assert_int_equal(s->write_mode, PFS_WRITE_QUEUED);
	assert_int_equal(s->queue_delay, 20000000);
	assert_int_equal(s->max_write_queue_size, 7);
	assert_true(s->commit_interval == 2 * NSEC_PER_SEC);
	assert_int_equal(s->attr_timeout, 0);
	assert_int_equal(s->retry_timeout, 0);
	assert_true(s->ttl == 86400 * NSEC_PER_SEC);
	assert_int_equal(c->fs.dirty_limit, 1 << 30);
	assert_string_equal(c->log, "stderr");
	assert_true(c->log_given);
	assert_true(c->log_json);
	pfs_config_free(c);
}

static void defaults_hold_for_stores_that_do_not_say_otherwise(void **state)
{
	struct pfs_config *c =
		cfgtest_load(RAM VAULT "[store:a]\n[store:b]\nwrite_mode = through\nbackend = r\n"
				       "[defaults]\nbackend = v\nwrite_mode = queued\n"
				       "commit_interval = 3s\n");

	(void)state;
	assert_string_equal(cfgtest_store(c, "a")->backend_name, "v");
	assert_int_equal(cfgtest_store(c, "a")->write_mode, PFS_WRITE_QUEUED);
	assert_true(cfgtest_store(c, "a")->commit_interval == 3 * NSEC_PER_SEC);
	assert_string_equal(cfgtest_store(c, "b")->backend_name, "r");
	assert_int_equal(cfgtest_store(c, "b")->write_mode, PFS_WRITE_THROUGH);
	assert_true(cfgtest_store(c, "b")->commit_interval == 3 * NSEC_PER_SEC);
	pfs_config_free(c);
}

static void others_data_is_shown_by_a_backend_of_its_own_and_read_only(void **state)
{
	struct pfs_config *c = cfgtest_load(
		VAULT "[defaults]\nwrite_mode = queued\nttl = 1h\nscratch = refuse\n[store:own]\n"
		      "[store:t]\nkind = sql\n[store:p]\nlayout = plain\nread_only = no\n");

	(void)state;
	assert_int_equal(c->fs.nbackends, 3);
	assert_null(cfgtest_store(c, "own")->backend->host);
	assert_true(cfgtest_store(c, "own")->backend->own);
	assert_ptr_equal(cfgtest_store(c, "t")->backend->host, cfgtest_store(c, "own")->backend);
	assert_true(cfgtest_store(c, "t")->read_only);
	assert_false(cfgtest_store(c, "p")->read_only);
	assert_int_equal(cfgtest_store(c, "p")->write_mode, PFS_WRITE_THROUGH);
	assert_int_equal(cfgtest_store(c, "p")->ttl, 0);
	pfs_config_free(c);
	c = cfgtest_load(VAULT "[store:t]\nkind = sql\n");
	assert_false(cfgtest_store(c, "t")->backend->host->own);
	pfs_config_free(c);
}

static void the_backend_may_be_left_out_when_there_is_one_or_one_is_default(void **state)
{
	struct pfs_config *c = cfgtest_load(RAM "[store:a]\n");

	(void)state;
	assert_string_equal(cfgtest_store(c, "a")->backend_name, "r");
	pfs_config_free(c);
	c = cfgtest_load(
		RAM
		"[backend:default]\ntype = file\npath = x\n[store:a]\n[store:b]\nbackend = r\n");
	assert_string_equal(cfgtest_store(c, "a")->backend_name, "default");
	assert_string_equal(cfgtest_store(c, "b")->backend_name, "r");
	pfs_config_free(c);
}

static void a_read_only_store_does_not_make_its_namespace_unless_told(void **state)
{
	struct pfs_config *c =
		cfgtest_load(FILE_ "[store:a]\nread_only = yes\n[store:b]\nread_only = yes\n"
				   "create = yes\n[store:c]\ncreate = no\n");

	(void)state;
	assert_false(cfgtest_store(c, "a")->create);
	assert_true(cfgtest_store(c, "b")->create);
	assert_false(cfgtest_store(c, "c")->create);
	pfs_config_free(c);
}

static void the_namespace_of_a_nested_store_has_dots_for_slashes(void **state)
{
	struct pfs_config *c = cfgtest_load(FILE_ "[store:agents/sessions/old]\n");

	(void)state;
	assert_string_equal(cfgtest_store(c, "agents/sessions/old")->ns, "agents.sessions.old");
	pfs_config_free(c);
}

static void only_backends_that_a_store_refers_to_are_constructed(void **state)
{
	struct pfs_config *c =
		cfgtest_load(FILE_ RAM VAULT "connect = lazy\n[store:a]\nbackend = v\n"
					     "[store:b]\nbackend = r\n");

	(void)state;
	assert_int_equal(c->ndeclared, 3);
	assert_int_equal(c->fs.nbackends, 2);
	assert_string_equal(c->fs.backends[0]->name, "r");
	assert_string_equal(c->fs.backends[1]->name, "v");
	assert_false(c->fs.lazy[0]);
	assert_true(c->fs.lazy[1]);
	assert_ptr_equal(cfgtest_store(c, "a")->backend, c->fs.backends[1]);
	pfs_config_free(c);
}

static void paths_start_at_the_directory_of_the_ini_or_at_home(void **state)
{
	struct pfs_config *c =
		cfgtest_load(FILE_ "[backend:g]\ntype = file\npath = ~/x/g.db\nspare = /s\n"
				   "[store:a]\nbackend = f\n[store:b]\nbackend = g\n"
				   "[mount]\nlog = ./logs/x\n");

	(void)state;
	assert_string_equal(backend_value(c, 0, "path")->str, cfgtest_path("f.db"));
	assert_string_equal(backend_value(c, 0, "spare")->str, cfgtest_path("home/spare"));
	assert_false(backend_value(c, 0, "spare")->given);
	assert_string_equal(backend_value(c, 1, "path")->str, cfgtest_path("home/x/g.db"));
	assert_string_equal(backend_value(c, 1, "spare")->str, "/s");
	assert_string_equal(c->log, cfgtest_path("./logs/x"));
	pfs_config_free(c);
}

static void environment_variables_and_their_defaults_are_put_in(void **state)
{
	static const char ini[] = "[backend:f]\ntype = ${env.PFS_TEST_TYPE:=file}\n"
				  "path = ${env.PFS_TEST_DIR:=~/d}/${env.PFS_TEST_NAME}.db\n"
				  "spare = /$HOME/$x$/${env.PFS_TEST_DIR:=}e\n[store:a]\n";
	struct pfs_config *c;

	(void)state;
	unsetenv("PFS_TEST_DIR");
	setenv("PFS_TEST_NAME", "n ;x", 1);
	c = cfgtest_load(ini);
	assert_string_equal(backend_value(c, 0, "path")->str, cfgtest_path("home/d/n ;x.db"));
	assert_string_equal(backend_value(c, 0, "spare")->str, "/$HOME/$x$/e");
	pfs_config_free(c);
	setenv("PFS_TEST_DIR", "/else/${env.PFS_TEST_NAME}", 1);
	c = cfgtest_load(ini);
	/* What comes out is not looked at again. */
	assert_string_equal(backend_value(c, 0, "path")->str, "/else/${env.PFS_TEST_NAME}/n ;x.db");
	pfs_config_free(c);
	setenv("PFS_TEST_DIR", "", 1); /* as in the shell, := is also for what is empty */
	c = cfgtest_load(ini);
	assert_string_equal(backend_value(c, 0, "path")->str, cfgtest_path("home/d/n ;x.db"));
	pfs_config_free(c);
	unsetenv("PFS_TEST_DIR");
	unsetenv("PFS_TEST_NAME");
}

static void a_real_configuration_with_many_stores_loads(void **state)
{
	static const char ini[] =
		"; machine of the agents\n[mount]\nlog = /var/log/persistfs.log\nlog_format = "
		"json\n\n"
		"[defaults]\nbackend = local\ncommit_interval = 500ms\n\n"
		"[backend:local]\ntype = file\npath = ~/store.db\npool_size = 8\n"
		"[backend:archive]\ntype = file\npath = /srv/archive.db\nconnect = lazy\n"
		"[backend:team]\ntype = vault\nurl = tcp://db.example.org:5000\n"
		"password = ${env.PFS_TEST_PASSWORD}\nconnect = lazy\nretry_timeout = 5s\n\n"
		"[store:notes]\n[store:projects/alpha]\n[store:projects/beta]\nwrite_mode = "
		"queued\n"
		"[store:agents/sessions]\nnamespace = sess\nbackend = team\nttl = 24h\n"
		"[store:agents/memory]\nnamespace = mem\nbackend = team\n"
		"[store:agents/work/trees]\nwrite_mode = queued\nqueue_delay = 50ms\n"
		"[store:archive/2023]\nbackend = archive\nread_only = yes\n"
		"[store:archive/2024]\nbackend = archive\nread_only = yes\n"
		"[store:tables]\nbackend = team\nkind = sql\nnamespace = public\n"
		"[store:config]\nread_only = on\n";
	struct pfs_config *c;
	size_t i;

	(void)state;
	setenv("PFS_TEST_PASSWORD", "hunter2", 1);
	c = cfgtest_load(ini);
	assert_int_equal(c->fs.nstores, 10);
	assert_int_equal(c->fs.nbackends, 4); /* one shows the tables */
	for (i = 0; i < c->fs.nstores; i++)
		assert_int_equal(c->fs.stores[i].commit_interval, 500000000);
	assert_string_equal(cfgtest_store(c, "agents/sessions")->ns, "sess");
	assert_string_equal(cfgtest_store(c, "agents/work/trees")->ns, "agents.work.trees");
	assert_true(cfgtest_store(c, "agents/memory")->retry_timeout == 5 * NSEC_PER_SEC);
	assert_true(cfgtest_store(c, "config")->read_only);
	assert_string_equal(backend_value(c, 2, "password")->str, "hunter2");
	pfs_config_free(c);
	unsetenv("PFS_TEST_PASSWORD");
}

/* ---- the effective configuration ------------------------------------------------------------- */

static void the_effective_configuration_has_every_value(void **state)
{
	struct pfs_config *c = cfgtest_load("[defaults]\nattr_timeout = 9s\n[store:a/b]\n"
					    "write_mode = queued\n" FILE_);
	struct pfs_buf want = {0};

	(void)state;
	pfs_buf_printf(
		&want,
		"; persistfs %s, effective configuration of %s/persistfs.ini\n\n"
		"[mount]\ndirty_limit = 64M\nlog = syslog\nlog_format = text\n\n"
		"[backend:f]\ntype = file\nconnect = eager\ncreate_on_write = no\n"
		"pool_size = 4\nmax_overflow = 4\n"
		"timeout = 5s\nretry_timeout = 30s\nlock_timeout = 30s\npath = %s/f.db\nspare = "
		"%s/home/spare\n"
		"cache = 8M\n\n"
		"[store:a/b]\nnamespace = a.b\nbackend = f\nlayout = own\nkind = kv\n"
		"read_only = no\ncreate = yes\nwrite_mode = queued\nqueue_delay = 5ms\n"
		"max_write_queue_size = 1000\ncommit_interval = 1s\nattr_timeout = "
		"9s\nttl_on_write = keep\n",
		PFS_VERSION, cfgtest_dir, cfgtest_dir, cfgtest_dir);
	assert_string_equal(c->text.data, want.data);
	pfs_buf_release(&want);
	pfs_config_free(c);
}

static void the_effective_configuration_can_be_loaded_again(void **state)
{
	struct pfs_config *c, *again;
	char *first, *second;

	(void)state;
	setenv("PFS_TEST_DIR", "/else", 1);
	c = cfgtest_load(
		"[backend:f]\ntype = file\npath = ${env.PFS_TEST_DIR}/x\n" VAULT
		"[defaults]\nbackend = f\nfile_mode = 0640\n[store:a/b]\n[store:c]\nbackend = v\n"
		"namespace = *\nttl = 1h\n[store:t]\nbackend = v\nlayout = plain\ntable = x\n"
		"[store:ro]\nread_only = yes\n[store:s]\nbackend = v\nkind = sql\n");
	first = strdup(strchr(c->text.data, '\n'));
	again = cfgtest_load(c->text.data);
	second = strdup(strchr(again->text.data, '\n'));
	assert_string_equal(first, second);
	assert_false(cfgtest_store(again, "ro")->create);
	free(first);
	free(second);
	pfs_config_free(c);
	pfs_config_free(again);
	unsetenv("PFS_TEST_DIR");
}

static void secrets_never_show(void **state)
{
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_config *c;

	(void)state;
	/* In the ini itself, if nobody else can read it. */
	cfgtest_write("secret.ini",
		      VAULT "password = hunter2 x\npin = 4711\n"
			    "url = x://me:hunter2@h:1/?a=x://:hunter2@i\n[store:a]\n");
	assert_int_equal(chmod(cfgtest_path("secret.ini"), 0600), 0);
	src.file = cfgtest_path("secret.ini");
	c = load(&src);
	assert_non_null(c);
	assert_string_equal(backend_value(c, 0, "password")->str, "hunter2 x");
	assert_int_equal(backend_value(c, 0, "pin")->num, 4711);
	assert_null(strstr(c->text.data, "hunter"));
	assert_null(strstr(c->text.data, "4711"));
	assert_non_null(strstr(c->text.data, "\npassword = ********\n"));
	assert_non_null(strstr(c->text.data, "\nurl = x://me:********@"));
	pfs_config_free(c);
	/* Out of the environment: the ini may be readable then. */
	setenv("PFS_TEST_SECRET", "hunter2", 1);
	c = cfgtest_load(VAULT "password = ${env.PFS_TEST_SECRET}\n"
			       "url = x://me:${env.PFS_TEST_SECRET}@host\n[store:a]\n");
	assert_string_equal(backend_value(c, 0, "password")->str, "hunter2");
	assert_string_equal(backend_value(c, 0, "url")->str, "x://me:hunter2@host");
	assert_null(strstr(c->text.data, "hunter"));
	pfs_config_free(c);
	unsetenv("PFS_TEST_SECRET");
	/* Out of a file. */
	cfgtest_write("pw", "hunter2\n");
	assert_int_equal(chmod(cfgtest_path("pw"), 0600), 0);
	c = cfgtest_load(VAULT "password_file = pw\n[store:a]\n");
	assert_string_equal(backend_value(c, 0, "password")->str, "hunter2");
	assert_null(strstr(c->text.data, "hunter"));
	assert_non_null(strstr(c->text.data, "\npassword = ********\n"));
	pfs_config_free(c);
}

static void url_passwords_are_masked_in_any_text(void **state)
{
	static const char *const cases[][2] = {
		{"plain", "plain"},
		{"x://host/p", "x://host/p"},
		{"x://me@host", "x://me@host"},
		{"x://me:pw@host", "x://me:********@host"},
		{"x://:p@w@host/y", "x://:********@host/y"},
		{"x://:p/w@host", "x://:********@host"},
		{"x://:@host", "x://:@host"},
		{"redis://pw@host/0", "redis://********@host/0"},
		{"url = rediss://pw@host", "url = rediss://********@host"},
		{"unix://pw@/run/sock", "unix://********@/run/sock"},
		{"redis://host/0", "redis://host/0"},
		{"x://host:1/a", "x://host:1/a"},
		{"x://m:p w@h", "x://m:********@h"},
		{"'x://m:p@h' and 'y://n:q@i'", "'x://m:********@h' and 'y://n:********@i'"},
		{"x://m@h/db?a=1&password=pw&b=2", "x://m@h/db?a=1&password=********&b=2"},
		{"x://m:pw@h/db?Password=pw", "x://m:********@h/db?Password=********"},
		{"host=h password=pw user=u", "host=h password=******** user=u"},
		{"password='p w' user=u", "password='********' user=u"},
		/* As libpq reads them. */
		{"password= pw user=u", "password= ******** user=u"},
		{"password = pw user=u", "password = ******** user=u"},
		{"password ='it\\'s x' user=u", "password ='********' user=u"},
		{"password=p\\ w user=u", "password=******** user=u"},
		{"password=", "password="},
		{"password_file=/pw, no password here", "password_file=/pw, no password here"},
		{"'x://m:p@h' has no '@'", "'x://m:********@h' has no '@'"},
		{"://", "://"},
	};
	struct pfs_buf out = {0};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		pfs_redact_urls(&out, cases[i][0]);
		assert_string_equal(out.data, cases[i][1]);
		pfs_buf_release(&out);
		out = (struct pfs_buf){0};
	}
}

/* ---- the search ------------------------------------------------------------------------------ */

static void expect_found(const char *source)
{
	struct pfs_config_source src = {.engines = cfgtest_engines,
					.system_file = cfgtest_path("etc/persistfs.ini")};
	struct pfs_config *c = load(&src);

	assert_non_null(c);
	assert_string_equal(c->source, source);
	pfs_config_free(c);
}

static void the_search_goes_from_the_environment_over_home_to_etc(void **state)
{
	static const char ini[] = RAM "[store:a]\n";
	char cwd[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	cfgtest_write("cwd/persistfs.ini", ini);
	assert_int_equal(chdir(cfgtest_path("cwd")), 0);
	cfgtest_write("given.ini", ini);
	cfgtest_write("xdg/persistfs/persistfs.ini", ini);
	cfgtest_write("home/.config/persistfs/persistfs.ini", ini);
	cfgtest_write("etc/persistfs.ini", ini);

	setenv("PERSISTFS_CONFIG", cfgtest_path("given.ini"), 1);
	setenv("XDG_CONFIG_HOME", cfgtest_path("xdg"), 1);
	expect_found(cfgtest_path("given.ini"));
	setenv("PERSISTFS_CONFIG", "", 1);
	expect_found(cfgtest_path("xdg/persistfs/persistfs.ini"));
	unsetenv("PERSISTFS_CONFIG");
	unlink(cfgtest_path("xdg/persistfs/persistfs.ini"));
	expect_found(cfgtest_path("etc/persistfs.ini"));
	unsetenv("XDG_CONFIG_HOME");
	expect_found(cfgtest_path("home/.config/persistfs/persistfs.ini"));
	setenv("XDG_CONFIG_HOME", "relative/is/ignored", 1);
	expect_found(cfgtest_path("home/.config/persistfs/persistfs.ini"));
	unsetenv("XDG_CONFIG_HOME");
	unlink(cfgtest_path("home/.config/persistfs/persistfs.ini"));
	expect_found(cfgtest_path("etc/persistfs.ini"));
	unlink(cfgtest_path("etc/persistfs.ini"));
	assert_int_equal(chdir(cwd), 0);
}

static void a_configuration_that_was_named_but_is_missing_is_a_fault(void **state)
{
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_faults faults = {0};
	struct pfs_config *c = NULL;

	(void)state;
	setenv("PERSISTFS_CONFIG", cfgtest_path("missing.ini"), 1);
	assert_int_equal(pfs_config_load(&src, &c, &faults), -EINVAL);
	cfgtest_same_faults(&faults, "@/missing.ini: cannot be read: No such file or directory");
	pfs_faults_release(&faults);
	unsetenv("PERSISTFS_CONFIG");
}

static void the_built_in_default_is_one_sqlite_store_below_the_data_directory(void **state)
{
	struct pfs_config_source src = {.system_file = cfgtest_path("etc/none.ini")};
	struct pfs_config *c;
	char cwd[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	cfgtest_write("cwd/persistfs.ini", "nonsense\n"); /* never looked at */
	assert_int_equal(chdir(cfgtest_path("cwd")), 0);
	c = load(&src);
	assert_non_null(c);
	assert_string_equal(c->source, "built-in default");
	assert_int_equal(c->fs.nstores, 1);
	assert_string_equal(c->fs.stores[0].name, "data");
	assert_string_equal(c->fs.stores[0].ns, "data");
	assert_string_equal(c->fs.stores[0].backend_name, "local");
	assert_true(c->fs.stores[0].create);
	assert_string_equal(backend_value(c, 0, "type")->str, "sqlite");
	assert_string_equal(backend_value(c, 0, "path")->str,
			    cfgtest_path("home/.local/share/persistfs/store.db"));
	pfs_config_free(c);
	setenv("XDG_DATA_HOME", cfgtest_path("xdg"), 1);
	c = load(&src);
	assert_non_null(c);
	assert_string_equal(backend_value(c, 0, "path")->str,
			    cfgtest_path("xdg/persistfs/store.db"));
	pfs_config_free(c);
	unsetenv("XDG_DATA_HOME");
	assert_int_equal(chdir(cwd), 0);
}

static void home_comes_from_the_user_database_when_it_is_not_set(void **state)
{
	struct pfs_config_source src = {.system_file = cfgtest_path("etc/none.ini")};
	struct pfs_config *c;

	(void)state;
	unsetenv("HOME");
	setenv("XDG_CONFIG_HOME", cfgtest_path("nothing"), 1);
	c = load(&src);
	assert_non_null(c);
	assert_int_equal(backend_value(c, 0, "path")->str[0], '/');
	pfs_config_free(c);
	unsetenv("XDG_CONFIG_HOME");
	setenv("HOME", cfgtest_path("home"), 1);
}

static void a_sqlite_source_is_taken_literally_and_from_the_current_directory(void **state)
{
	static const char *const cases[][2] = {
		{"sqlite:x.db", "cwd/x.db"},
		{"sqlite:${env.HOME} ;x \"y\"", "cwd/${env.HOME} ;x \"y\""},
		{"sqlite:~/y.db", "home/y.db"},
	};
	struct pfs_config_source src = {0};
	char cwd[PATH_MAX], longer[300] = "sqlite:/";
	struct pfs_config *c;
	size_t i;

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	cfgtest_write("cwd/persistfs.ini", "nonsense\n");
	assert_int_equal(chdir(cfgtest_path("cwd")), 0);
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		src.source = cases[i][0];
		c = load(&src);
		assert_non_null(c);
		assert_string_equal(c->source, cases[i][0]);
		assert_string_equal(c->fs.stores[0].name, "data");
		assert_string_equal(backend_value(c, 0, "path")->str, cfgtest_path(cases[i][1]));
		pfs_config_free(c);
	}
	memset(longer + 8, 'x', 250);
	src.source = longer;
	c = load(&src);
	assert_non_null(c);
	assert_string_equal(backend_value(c, 0, "path")->str, longer + 7);
	pfs_config_free(c);
	assert_int_equal(chdir(cwd), 0);
}

static void a_url_is_the_url_of_one_backend_and_shown_without_its_password(void **state)
{
	static const char *const sources[] = {"vault://me:hunter2@host:1/x?y=${env.HOME}",
					      "safe://me:hunter2@host:1/x?y=${env.HOME}"};
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_config *c;
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(sources); i++) {
		src.source = sources[i];
		c = load(&src);
		assert_non_null(c);
		assert_string_equal(backend_value(c, 0, "url")->str, sources[i]);
		assert_string_equal(backend_value(c, 0, "type")->str, "vault");
		assert_int_equal(backend_value(c, 0, "create_on_write")->num, 1);
		assert_string_equal(c->fs.stores[0].name, "data");
		assert_null(c->fs.stores[0].backend->host);
		assert_non_null(strstr(c->source, "://me:********@host:1/x?y=${env.HOME}"));
		assert_null(strstr(c->source, "hunter2"));
		assert_null(strstr(c->text.data, "hunter2"));
		pfs_config_free(c);
	}
}

static void beside_a_url_s_store_is_what_others_keep_there(void **state)
{
	struct pfs_config_source src = {.engines = cfgtest_engines, .source = "vault://h/"};
	struct pfs_config *c;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		src.write_others = i;
		c = load(&src);
		assert_non_null(c);
		assert_int_equal(c->fs.nstores, 2);
		assert_string_equal(c->fs.stores[1].name, "tables");
		assert_string_equal(c->fs.stores[1].backend_name, "others");
		assert_ptr_equal(c->fs.stores[1].backend->host, c->fs.backends[1]);
		assert_int_equal(c->fs.stores[1].read_only, !src.write_others);
		assert_false(c->fs.stores[0].read_only);
		pfs_config_free(c);
	}
}

static void a_source_without_a_scheme_is_an_ini(void **state)
{
	struct pfs_config_source src = {.engines = cfgtest_engines};
	struct pfs_config *c;

	(void)state;
	cfgtest_write("my:own.ini", RAM "[store:a]\n");
	src.source = cfgtest_path("my:own.ini");
	c = load(&src);
	assert_non_null(c);
	assert_string_equal(c->source, src.source);
	pfs_config_free(c);
}

/* ---- anything at all ------------------------------------------------------------------------- */

static void mutated_configurations_are_loaded_or_refused_with_faults(void **state)
{
	static const char sample[] = RAM FILE_ VAULT
		"pin = ${env.PFS_TEST_PIN:=7}\nurl = x://a:b@c\n[defaults]\nbackend = f\n"
		"[store:a/b]\nkind = sql\nttl = 1h\n[store:a]\nnamespace = *\n"
		"[store:x]\nwrite_mode = queued\n[mount]\nlog = ~/x\n";
	const char *s = getenv("PERSISTFS_SEED");
	unsigned seed = s ? (unsigned)strtoul(s, NULL, 10) : (unsigned)time(NULL);
	struct pfs_config_source src = {.engines = cfgtest_engines};
	char text[sizeof(sample)];
	int round, edits, err, refused = 0;

	(void)state;
	print_message("seed %u\n", seed);
	src.file = cfgtest_path("fuzz.ini");
	for (round = 0; round < 1000; round++) {
		struct pfs_faults faults = {0};
		struct pfs_config *c = NULL;
		size_t i;

		memcpy(text, sample, sizeof(sample));
		for (edits = rand_r(&seed) % 12; edits; edits--)
			text[(size_t)rand_r(&seed) % (sizeof(sample) - 1)] =
				sample[(size_t)rand_r(&seed) % (sizeof(sample) - 1)];
		cfgtest_write_bytes("fuzz.ini", text, sizeof(sample) - 1);
		src.file = cfgtest_path("fuzz.ini");
		err = pfs_config_load(&src, &c, &faults);
		assert_true(err ? err == -EINVAL && !c && faults.n : c && !faults.n);
		for (i = 1; i < faults.n; i++)
			assert_true(faults.at[i - 1] <= faults.at[i]);
		refused += err != 0;
		pfs_config_free(c);
		pfs_faults_release(&faults);
	}
	assert_int_equal(refused, 1000); /* the sample itself has faults */
}

/* ---- the example, the manual, the verbs ------------------------------------------------------- */

static char *read_text(const char *path)
{
	struct pfs_buf buf = {0};
	char piece[4096];
	size_t n;
	FILE *f = fopen(path, "r");

	if (!f)
		fail_msg("%s cannot be read; run the tests at the top of the repository", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		pfs_buf_add(&buf, piece, n);
	fclose(f);
	return buf.data;
}

static void the_example_of_the_repository_is_accepted(void **state)
{
	struct pfs_config_source src = {.file = "persistfs.ini"};
	struct pfs_config *c = load(&src);

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->fs.nbackends, 5); /* one shows others' data */
	assert_int_equal(c->fs.nstores, 7);
	pfs_config_free(c);
}

/* Does "\nname = " or, commented out, "\n;name = " stand in text? */
static bool has_key(const char *text, const char *name)
{
	struct pfs_msg plain, comment;

	pfs_msg_set(&plain, "\n%s = ", name);
	pfs_msg_set(&comment, "\n;%s = ", name);
	return strstr(text, plain.text) || strstr(text, comment.text);
}

static void example_has(const char *text, const struct pfs_option *opts)
{
	for (; opts->name; opts++) {
		if (!has_key(text, opts->name))
			fail_msg("persistfs.ini lacks %s", opts->name);
	}
}

static void the_example_of_the_repository_has_every_option(void **state)
{
	char *text = read_text("persistfs.ini");
	const struct pfs_engine *const *e;

	(void)state;
	example_has(text, pfs_mount_options);
	example_has(text, pfs_store_options);
	example_has(text, pfs_backend_common_options);
	for (e = pfs_engines(); *e; e++)
		example_has(text, (*e)->options);
	free(text);
}

/*
 * The manual names each option as `.It Cm NAME`, with its default or that it is required, in the
 * section that begins with `header`.
 */
static void manual_has(const char *text, const char *header, const struct pfs_option *opts,
		       size_t *count)
{
	struct pfs_msg item;
	const char *at, *end, *line;

	text = strstr(text, header);
	if (!text)
		fail_msg("persistfs.ini.5 lacks a section %s", header);

	for (; opts->name; opts++, ++*count) {
		pfs_msg_set(&item, "\n.It Cm %s\n", opts->name);
		at = strstr(text, item.text);
		if (!at)
			fail_msg("persistfs.ini.5 lacks %s", opts->name);
		if (!opts->required && !opts->def)
			continue;
		end = strstr(at + 1, "\n.");
		while (end && strncmp(end, "\n.It ", 5) && strncmp(end, "\n.El", 4))
			end = strstr(end + 1, "\n.");
		pfs_msg_set(&item, "\nDefault: %s.\n", opts->required ? "" : opts->def);
		line = opts->required ? "\nRequired.\n" : item.text;
		at = strstr(at, line);
		if (!at || (end && at > end))
			fail_msg("persistfs.ini.5: %s lacks \"%s\"", opts->name, line);
	}
}

static void the_manual_has_every_option_with_its_default_and_no_other(void **state)
{
	char *text = read_text("docs/persistfs.ini.5"), *p;
	const struct pfs_engine *const *e;
	size_t count = 0, items = 0;
	struct pfs_msg header;

	(void)state;
	manual_has(text, ".Sh [mount]", pfs_mount_options, &count);
	manual_has(text, ".Sh [store:NAME]", pfs_store_options, &count);
	manual_has(text, ".Sh [backend:NAME]", pfs_backend_common_options, &count);
	for (e = pfs_engines(); *e; e++) {
		pfs_msg_set(&header, ".Ss Type %s\n", (*e)->name);
		manual_has(text, header.text, (*e)->options, &count);
	}
	for (p = text; (p = strstr(p, "\n.It Cm ")); p++)
		items++;
	assert_int_equal(items, count);
	free(text);
}

/* Run a verb with its output in DIR/out and DIR/err; returns its status. */
static int run(int (*verb)(int, char **), char **argv)
{
	int saved[2] = {dup(1), dup(2)}, fd[2], status, argc = 0;

	while (argv[argc])
		argc++;
	fflush(stdout);
	fflush(stderr);
	fd[0] = open(cfgtest_path("out"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fd[1] = open(cfgtest_path("err"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	dup2(fd[0], 1);
	dup2(fd[1], 2);
	status = verb(argc, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(fd[0]);
	close(fd[1]);
	close(saved[0]);
	close(saved[1]);
	return status;
}

#define RUN(verb, ...) run(verb, (char *[]){__VA_ARGS__, NULL})
#define W(s)	       ((char *)(uintptr_t)(s))

static void expect_output(const char *file, const char *want)
{
	char *text = read_text(cfgtest_path(file));

	if (!text || !strstr(text, want))
		fail_msg("\"%s\" is not in: %s", want, text ? text : "nothing");
	free(text);
}

static void config_check_says_ok_or_prints_the_faults(void **state)
{
	char *ini = strdup(cfgtest_path("verb.ini")), want[600];

	(void)state;
	cfgtest_write("verb.ini", "[backend:b]\ntype = memory\n[store:a]\n[store:c]\n");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("check"), W("-c"), ini), 0);
	snprintf(want, sizeof(want), "%s: ok, 1 backend, 2 stores\n", ini);
	expect_output("out", want);
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("show"), W("-c"), ini), 0);
	expect_output("out", "\n[store:c]\nnamespace = c\nbackend = b\n");
	cfgtest_write("verb.ini", "[backend:b]\ntype = memry\n[store:a]\nx = 1\n");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("check"), W("-c"), ini), 78);
	expect_output("err", "type: unknown type 'memry'; available: memory, postgres, redis, "
			     "sqlite — did you mean "
			     "'memory'?\n");
	expect_output("err", "verb.ini:4: [store:a] x: unknown key");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("show"), W("-c"), ini), 78);
	free(ini);
}

static void backends_list_and_show_tell_types_and_options(void **state)
{
	(void)state;
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("list")), 0);
	expect_output("out", "\nmemory ");
	expect_output("out", "\nsqlite ");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("list"), W("--json")), 0);
	expect_output("out", "\"type\": \"sqlite\"");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("show"), W("sqlite")), 0);
	expect_output("out", "kinds:        kv, sql\n");
	expect_output("out", "layouts:      own, plain\n");
	expect_output("out", "\n  pool_size (number, default 4)\n");
	expect_output("out", "\n      a number from 1 to 64\n");
	expect_output("out", "\n  type (string, required)\n");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("show"), W("memory"), W("--json")),
			 0);
	expect_output(
		"out",
		"{\"name\": \"connect\", \"type\": \"lazy|eager\", \"default\": \"eager\", "
		"\"required\": false, \"secret\": false, \"values\": \"one of: lazy, eager\"");
	expect_output("out", "\"capabilities\": [\"hard_links\", ");
}

static void an_unknown_type_and_wrong_usage_are_told(void **state)
{
	(void)state;
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("show"), W("sqlit")), 1);
	expect_output("err", "persistfs backends: unknown type 'sqlit'; available: memory, "
			     "postgres, redis, sqlite — did "
			     "you mean 'sqlite'?\n");
	assert_int_equal(RUN(pfs_verb_backends, W("backends")), 2);
	expect_output("err", "say what to do: list or show TYPE");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("show")), 2);
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("list"), W("x")), 2);
	expect_output("err", "'x' is one operand too many");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("list"), W("--jsn")), 2);
	expect_output("err", "unknown option '--jsn'");
	assert_int_equal(RUN(pfs_verb_config, W("config")), 2);
	expect_output("err", "say what to do: check or show");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("chek")), 2);
	expect_output("err", "unknown: 'chek'; available: check, show");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("check"), W("-c")), 2);
	expect_output("err", "option '-c' wants a value");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("check"), W("x.ini")), 2);
	expect_output("err", "a file is given by -c FILE");
	assert_int_equal(RUN(pfs_verb_config, W("config"), W("--help")), 0);
	expect_output("out", "persistfs config check [-c FILE]");
	assert_int_equal(RUN(pfs_verb_backends, W("backends"), W("--help")), 0);
	expect_output("out", "persistfs backends list [--json]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_has_its_documented_default),
		cmocka_unit_test(every_value_can_be_given),
		cmocka_unit_test(defaults_hold_for_stores_that_do_not_say_otherwise),
		cmocka_unit_test(others_data_is_shown_by_a_backend_of_its_own_and_read_only),
		cmocka_unit_test(the_backend_may_be_left_out_when_there_is_one_or_one_is_default),
		cmocka_unit_test(a_read_only_store_does_not_make_its_namespace_unless_told),
		cmocka_unit_test(the_namespace_of_a_nested_store_has_dots_for_slashes),
		cmocka_unit_test(only_backends_that_a_store_refers_to_are_constructed),
		cmocka_unit_test(paths_start_at_the_directory_of_the_ini_or_at_home),
		cmocka_unit_test(environment_variables_and_their_defaults_are_put_in),
		cmocka_unit_test(a_real_configuration_with_many_stores_loads),
		cmocka_unit_test(the_effective_configuration_has_every_value),
		cmocka_unit_test(the_effective_configuration_can_be_loaded_again),
		cmocka_unit_test(secrets_never_show),
		cmocka_unit_test(url_passwords_are_masked_in_any_text),
		cmocka_unit_test(the_search_goes_from_the_environment_over_home_to_etc),
		cmocka_unit_test(a_configuration_that_was_named_but_is_missing_is_a_fault),
		cmocka_unit_test(the_built_in_default_is_one_sqlite_store_below_the_data_directory),
		cmocka_unit_test(home_comes_from_the_user_database_when_it_is_not_set),
		cmocka_unit_test(a_sqlite_source_is_taken_literally_and_from_the_current_directory),
		cmocka_unit_test(a_url_is_the_url_of_one_backend_and_shown_without_its_password),
		cmocka_unit_test(beside_a_url_s_store_is_what_others_keep_there),
		cmocka_unit_test(a_source_without_a_scheme_is_an_ini),
		cmocka_unit_test(mutated_configurations_are_loaded_or_refused_with_faults),
		cmocka_unit_test(the_example_of_the_repository_is_accepted),
		cmocka_unit_test(the_example_of_the_repository_has_every_option),
		cmocka_unit_test(the_manual_has_every_option_with_its_default_and_no_other),
		cmocka_unit_test(config_check_says_ok_or_prints_the_faults),
		cmocka_unit_test(backends_list_and_show_tell_types_and_options),
		cmocka_unit_test(an_unknown_type_and_wrong_usage_are_told),
	};

	return cmocka_run_group_tests(tests, lib_config_setup, lib_config_teardown);
}
