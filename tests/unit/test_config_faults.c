/*
 * Every fault that a configuration can have: refused, told with file and line, with section and key,
 * what was wrong and what is available. "F" is the ini, "@" its directory; the engines are those of
 * lib_config.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/lib_config.h"

#define RAM   "[backend:r]\ntype = ram\n"		/* 2 lines */
#define FILE_ "[backend:f]\ntype = file\npath = f.db\n" /* 3 lines */
#define VAULT "[backend:v]\ntype = vault\n"		/* 2 lines */

#define STORE_KEYS                                                                                 \
	"namespace, backend, layout, kind, read_only, create, write_mode, queue_delay, "           \
	"max_write_queue_size, commit_interval, attr_timeout, ttl, ttl_on_write, preset, table, "  \
	"key_column, value_column, namespace_column, namespace_separator, expires_column, "        \
	"mtime_column, prefix, separator, final_newline, ... (27 in all)"
#define COMMON_KEYS \
	"type, connect, create_on_write, pool_size, max_overflow, timeout, retry_timeout, "        \
	"lock_timeout"

/* ---- sections -------------------------------------------------------------------------------- */

static void an_unknown_section_is_named(void **state)
{
	(void)state;
	cfgtest_faults(RAM
		       "[store:a]\n[stor:b]\n[bakend:c]\n[mounts]\n[Defaults]\n[other]\n[store]\n",
		       "F:4: [stor:b]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount] — did you mean 'store:NAME'?",
		       "F:5: [bakend:c]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount] — did you mean 'backend:NAME'?",
		       "F:6: [mounts]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount] — did you mean 'mount'?",
		       "F:7: [Defaults]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount] — did you mean 'defaults'?",
		       "F:8: [other]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount]",
		       "F:9: [store]: unknown section; available: [backend:NAME], [store:NAME], "
		       "[defaults], [mount] — did you mean 'store:NAME'?");
}

static void a_duplicate_store_backend_and_key_names_the_first(void **state)
{
	(void)state;
	cfgtest_faults(RAM "[store:a]\nread_only = no\nread_only = yes\n[store:a]\n[backend:r]\n"
			   "type = ram\n",
		       "F:5: [store:a] read_only: duplicate key; the first one is in line 4",
		       "F:6: [store:a]: duplicate section; the first one is in line 3",
		       "F:7: [backend:r]: duplicate section; the first one is in line 1",
		       "F:8: [backend:r] type: duplicate key; the first one is in line 2");
}

static void a_file_without_stores_has_nothing_to_mount(void **state)
{
	(void)state;
	cfgtest_faults("", "F: nothing to mount: there is no [store:NAME] section");
	cfgtest_faults(RAM, "F: nothing to mount: there is no [store:NAME] section");
}

static void faults_of_the_text_come_with_all_others_in_order_of_line(void **state)
{
	(void)state;
	cfgtest_faults(
		"key = before\n[backend:r]\ntype = rma\npool_size = 0\n  timeout = 5s\n[store:a\n"
		"backend = r\n[store:b]\nbackend = q\nread_only\n",
		"F:1: key: key before any [section]",
		"F:3: [backend:r] type: unknown type 'rma'; available: file, ram, vault — did you "
		"mean 'ram'?",
		"F:4: [backend:r] pool_size: impossible value '0'; it must be a number from 1 to "
		"64",
		"F:5: blanks at the start of the line would join it to the one above; remove them",
		"F:6: section header without its ']'",
		"F:9: [store:b] backend: unknown backend 'q'; available: r",
		"F:10: no '=': a line is 'key = value', '[section]' or a comment that starts with "
		"';' or '#'");
}

/* ---- backends -------------------------------------------------------------------------------- */

static void an_unknown_type_names_those_of_the_build(void **state)
{
	(void)state;
	cfgtest_faults(
		"[backend:b]\ntype = postgres\n[store:a]\n",
		"F:2: [backend:b] type: unknown type 'postgres'; available: file, ram, vault");
	cfgtest_faults("[backend:b]\ntype =\n[store:a]\n",
		       "F:2: [backend:b] type: unknown type ''; available: file, ram, vault");
}

static void a_missing_type_is_required(void **state)
{
	(void)state;
	cfgtest_faults("[store:a]\n[backend:b]\npool_size = 3\n",
		       "F:2: [backend:b] type: required; available: file, ram, vault");
}

static void a_missing_required_option_is_named_at_its_section(void **state)
{
	(void)state;
	cfgtest_faults("[store:a]\n[backend:f]\ntype = file\n",
		       "F:2: [backend:f] path: required (the file)");
}

static void an_unknown_key_of_a_backend_names_those_of_its_type(void **state)
{
	(void)state;
	cfgtest_faults(RAM "path = x\npoolsize = 3\n[store:a]\n",
		       "F:3: [backend:r] path: unknown key; available: " COMMON_KEYS,
		       "F:4: [backend:r] poolsize: unknown key; available: " COMMON_KEYS
		       " — did you mean 'pool_size'?");
	cfgtest_faults(VAULT "passwrd = hunter2\n[store:a]\n",
		       "F:3: [backend:v] passwrd: unknown key; available: " COMMON_KEYS
		       ", url, password, password_file, pin — did you mean 'password'?");
}

static void an_impossible_value_of_a_backend_tells_what_is_possible(void **state)
{
	(void)state;
	cfgtest_faults(
		FILE_ "connect = never\nmax_overflow = 65\ntimeout = 0\nretry_timeout = 30\n"
		      "cache = 1K\n[store:a]\n",
		"F:4: [backend:f] connect: impossible value 'never'; available: lazy, eager",
		"F:5: [backend:f] max_overflow: impossible value '65'; it must be a number from 0 "
		"to 64",
		"F:6: [backend:f] timeout: impossible value '0'; it must be a duration from 1ms "
		"to 1h, such as 5ms, 30s, 10m, 24h or 7d",
		"F:7: [backend:f] retry_timeout: impossible value '30'; it must be a duration from "
		"0 to 1d, such as 5ms, 30s, 10m, 24h or 7d",
		"F:8: [backend:f] cache: impossible value '1K'; it must be a size from 64K to 1G, "
		"such as 4096, 64K, 64M or 1G");
	cfgtest_faults("[backend:f]\ntype = file\npath =\n[store:a]\n",
		       "F:3: [backend:f] path: empty; it must be a path");
	cfgtest_faults(
		"[backend:f]\ntype = file\npath = ~root/x\n[store:a]\n",
		"F:3: [backend:f] path: of ~ only '~/...' is understood; write the directory out");
}

static void a_bad_name_of_a_backend_is_named(void **state)
{
	(void)state;
	cfgtest_faults(
		"[backend:]\ntype = ram\n[backend:a/b]\ntype = ram\n[backend:..]\ntype = ram\n"
		"[backend: r]\ntype = ram\n[store:a]\nbackend = a/b\n",
		"F:1: [backend:]: an empty name; a section is [backend:NAME]",
		"F:3: [backend:a/b]: a '/' in the name of a backend; a section is [backend:NAME]",
		"F:5: [backend:..]: '.' and '..' are no names; a section is [backend:NAME]",
		"F:7: [backend: r]: blanks around a name; a section is [backend:NAME]");
}

static void what_an_engine_itself_refuses_is_told_at_the_section(void **state)
{
	(void)state;
	cfgtest_faults("[store:a]\n[backend:f]\ntype = file\npath = /refused\n",
		       "F:2: [backend:f]: this engine refuses that path");
}

/* ---- stores ---------------------------------------------------------------------------------- */

static void an_unknown_backend_names_those_that_are_there(void **state)
{
	(void)state;
	cfgtest_faults(
		"[backend:cache]\ntype = ram\n[backend:local]\ntype = ram\n[store:a]\n"
		"backend = chache\n[store:b]\nbackend = other\n",
		"F:6: [store:a] backend: unknown backend 'chache'; available: cache, local — did "
		"you mean 'cache'?",
		"F:8: [store:b] backend: unknown backend 'other'; available: cache, local");
}

static void a_backend_must_be_named_when_there_are_several(void **state)
{
	(void)state;
	cfgtest_faults(
		"[backend:cache]\ntype = ram\n[backend:local]\ntype = ram\n[store:a]\n",
		"F:5: [store:a] backend: required, because there are several and none is named "
		"'default'; available: cache, local");
	cfgtest_faults("[store:a]\n", "F:1: [store:a] backend: there is no [backend:NAME] section");
}

static void an_unknown_key_of_a_store_names_all_keys(void **state)
{
	(void)state;
	cfgtest_faults(RAM "[store:a]\nreadonly = yes\npassword = x\n",
		       "F:4: [store:a] readonly: unknown key; available: " STORE_KEYS
		       " — did you mean 'read_only'?",
		       "F:5: [store:a] password: unknown key; available: " STORE_KEYS);
}

static void an_impossible_value_of_a_store_tells_what_is_possible(void **state)
{
	(void)state;
	cfgtest_faults(
		RAM "[store:a]\nread_only = maybe\ncreate = x\nwrite_mode = thru\n"
		    "queue_delay = 5\nmax_write_queue_size = 0\ncommit_interval = 0\n"
		    "attr_timeout = -1s\nkind = table\nlayout = flat\n",
		"F:4: [store:a] read_only: impossible value 'maybe'; it must be one of: yes, no",
		"F:5: [store:a] create: impossible value 'x'; it must be one of: yes, no",
		"F:6: [store:a] write_mode: impossible value 'thru'; available: through, queued",
		"F:7: [store:a] queue_delay: impossible value '5'; it must be a duration from 0 to "
		"1m, such as 5ms, 30s, 10m, 24h or 7d",
		"F:8: [store:a] max_write_queue_size: impossible value '0'; it must be a number "
		"from 1 to 1000000",
		"F:9: [store:a] commit_interval: impossible value '0'; it must be a duration from "
		"1ms to 1h, such as 5ms, 30s, 10m, 24h or 7d",
		"F:10: [store:a] attr_timeout: impossible value '-1s'; it must be a duration from "
		"0 "
		"to 1d, such as 5ms, 30s, 10m, 24h or 7d",
		"F:11: [store:a] kind: impossible value 'table'; available: kv, sql",
		"F:12: [store:a] layout: impossible value 'flat'; available: own, plain, native");
}

static void a_bad_name_of_a_store_is_named(void **state)
{
	static const struct {
		const char *name, *wrong;
	} bad[] = {
		{"", "an empty name"},
		{"a//b", "an empty name"},
		{"a/./b", "'.' and '..' are no names"},
		{"..", "'.' and '..' are no names"},
		{"/a", "a '/' at the start or the end of the name"},
		{"a/", "a '/' at the start or the end of the name"},
		{"/", "a '/' at the start or the end of the name"},
		{".persistfs", "'.persistfs' is the control tree's name"},
		{".persistfs/x", "'.persistfs' is the control tree's name"},
		{" a", "blanks around a name"},
		{"a /b", "blanks around a name"},
		{"a/${env.HOME}", "${...} is for values, not for names"},
	};
	char ini[200], want[300];
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		snprintf(ini, sizeof(ini), RAM "[store:%s]\nnamespace = n\n", bad[i].name);
		snprintf(want, sizeof(want),
			 "F:3: [store:%s]: %s; a section is [store:NAME] or [store:DIR/NAME]",
			 bad[i].name, bad[i].wrong);
		cfgtest_faults(ini, want);
	}
}

static void a_component_of_a_name_that_no_directory_could_have_is_refused(void **state)
{
	char ini[400] = RAM "[store:";

	(void)state;
	memset(ini + strlen(ini), 'x', 256);
	strcat(ini, "]\n");
	cfgtest_faults(ini, "F:3: line of 264 bytes; at most 198 are possible");
}

static void a_bad_namespace_is_named(void **state)
{
	static const char want[] = "F:5: [store:a] namespace: impossible value; it must be a name "
				   "without '/', or * for all namespaces";
	char longer[300];

	(void)state;
	cfgtest_faults(FILE_ "[store:a]\nnamespace =\n", want);
	cfgtest_faults(FILE_ "[store:a]\nnamespace = a/b\n", want);
	cfgtest_faults(FILE_ "[store:a]\nnamespace = ..\n", want);
	memset(longer, 'n', sizeof(longer));
	longer[256] = '\0';
	setenv("PFS_TEST_NS", longer, 1);
	cfgtest_faults(FILE_ "[store:a]\nnamespace = ${env.PFS_TEST_NS}\n",
		       "F:5: [store:a] namespace: longer than 255 bytes");
	unsetenv("PFS_TEST_NS");
}

static void a_store_inside_another_is_refused(void **state)
{
	(void)state;
	cfgtest_faults(
		FILE_ "[store:agents/sessions/old]\n[store:agents]\n[store:agents/x]\n"
		      "[store:agents2/x]\n[store:agent]\n",
		"F:4: [store:agents/sessions/old]: lies inside store 'agents' of line 5; a store "
		"cannot hold another",
		"F:6: [store:agents/x]: lies inside store 'agents' of line 5; a store cannot hold "
		"another");
}

/* ---- stores that show the same --------------------------------------------------------------- */

static void two_stores_of_one_namespace_are_refused(void **state)
{
	(void)state;
	cfgtest_faults(
		FILE_ "[store:a]\nnamespace = n\n[store:b]\nnamespace = n\n[store:n]\n",
		"F:7: [store:b] namespace: overlaps store 'a' of line 4: both show 'n' of backend "
		"'f'",
		"F:8: [store:n] namespace: overlaps store 'b' of line 6: both show 'n' of backend "
		"'f'");
}

static void all_namespaces_overlap_every_other_store_of_the_backend(void **state)
{
	(void)state;
	cfgtest_faults(
		FILE_ "[store:a]\n[store:all]\nnamespace = *\n[store:b]\n[store:again]\n"
		      "namespace = *\n" VAULT "[store:v]\nbackend = v\n",
		"F:4: [store:a] backend: required, because there are several and none is named "
		"'default'; available: f, v",
		"F:5: [store:all] backend: required, because there are several and none is named "
		"'default'; available: f, v",
		"F:7: [store:b] backend: required, because there are several and none is named "
		"'default'; available: f, v",
		"F:8: [store:again] backend: required, because there are several and none is named "
		"'default'; available: f, v");
	cfgtest_faults(
		VAULT "[defaults]\nbackend = f\n" FILE_
		      "[store:a]\n[store:all]\nnamespace = *\n[store:b]\n[store:again]\n"
		      "namespace = *\n[store:v]\nbackend = v\n",
		"F:10: [store:all] namespace: overlaps store 'a' of line 8: 'all' shows every "
		"namespace of backend 'f'",
		"F:11: [store:b] namespace: overlaps store 'all' of line 9: 'all' shows every "
		"namespace of backend 'f'",
		"F:13: [store:again] namespace: overlaps store 'all' of line 9: 'all' shows every "
		"namespace of backend 'f'");
}

static void two_backends_that_lead_to_one_database_count_as_one(void **state)
{
	(void)state;
	cfgtest_faults("[backend:v]\ntype = vault\nurl = vault://me@host/x\n"
		       "[backend:w]\ntype = vault\nurl = safe://you@host/x\n"
		       "[backend:other]\ntype = vault\nurl = safe://you@host/y\n"
		       "[store:a]\nbackend = v\nnamespace = n\n"
		       "[store:b]\nbackend = w\nnamespace = n\n"
		       "[store:c]\nbackend = other\nnamespace = n\n",
		       "F:15: [store:b] namespace: overlaps store 'a' of line 10: both show 'n' of "
		       "one database, to which backends 'v' and 'w' both lead");
}

static void two_backends_that_lead_to_one_file_count_as_one(void **state)
{
	static const char stores[] = "[store:a]\nbackend = f\nnamespace = n\n"
				     "[store:b]\nbackend = g\nnamespace = n\n";
	static const char want[] =
		"F:12: [store:b] namespace: overlaps store 'a' of line 7: both show "
		"'n' of one file, to which backends 'f' and 'g' both lead";
	char ini[600];

	(void)state;
	cfgtest_write("real/x", "");
	assert_int_equal(symlink("real", cfgtest_path("link")), 0);
	/* While the file does not exist its directory tells. */
	snprintf(ini, sizeof(ini),
		 "[backend:f]\ntype = file\npath = real/new.db\n[backend:g]\ntype = file\n"
		 "path = link/../real/new.db\n%s",
		 stores);
	cfgtest_faults(ini, want);
	cfgtest_write("real/new.db", "");
	cfgtest_faults(ini, want);
	assert_int_equal(symlink("real/new.db", cfgtest_path("other.db")), 0);
	snprintf(ini, sizeof(ini),
		 "[backend:f]\ntype = file\npath = real/new.db\n[backend:g]\ntype = file\n"
		 "path = other.db\n%s",
		 stores);
	cfgtest_faults(ini, want);
	snprintf(ini, sizeof(ini),
		 "[backend:f]\ntype = file\npath = real/no/where/new.db\n[backend:g]\ntype = file\n"
		 "path = link/no/where/new.db\n%s",
		 stores);
	cfgtest_faults(ini, want);
	snprintf(ini, sizeof(ini),
		 "[backend:f]\ntype = file\npath = real/no/where/a.db\n[backend:g]\ntype = file\n"
		 "path = link/no/where/b.db\n%s",
		 stores);
	pfs_config_free(cfgtest_load(ini));
}

/* ---- what the engine does not offer ---------------------------------------------------------- */

static void a_kind_that_the_backend_lacks_names_the_backends_that_have_it(void **state)
{
	(void)state;
	cfgtest_faults(
		RAM VAULT "[backend:w]\ntype = vault\n[store:a]\nbackend = r\nkind = sql\n",
		"F:9: [store:a] kind: backend 'r' (type ram) does not offer 'sql'; backends that "
		"do: v, w");
	cfgtest_faults(
		RAM "[store:a]\nkind = sql\n",
		"F:4: [store:a] kind: backend 'r' (type ram) does not offer 'sql'; backends that "
		"do: none");
}

static void a_layout_that_the_backend_lacks_names_what_is(void **state)
{
	(void)state;
	cfgtest_faults(RAM "[store:a]\nlayout = plain\n",
		       "F:4: [store:a] layout: backend 'r' (type ram) does not offer 'plain'; "
		       "available: own");
	cfgtest_faults(RAM "[defaults]\nlayout = native\n[store:a]\n",
		       "F:4: [store:a] layout: backend 'r' (type ram) does not offer 'native'; "
		       "available: own");
}

static void options_of_others_data_are_refused_where_they_mean_nothing(void **state)
{
	(void)state;
	cfgtest_faults(RAM "[store:a]\ntable = t\nscratch = refuse\n",
		       "F:4: [store:a] table: is not for this layout; it is for: plain",
		       "F:5: [store:a] scratch: is not for this layout; it is for: plain, native, and "
		       "kind = sql");
	cfgtest_faults(VAULT "[store:a]\nkind = sql\nkey_column = k\nlayout = plain\n",
		       "F:5: [store:a] key_column: is not for this layout; it is for: plain",
		       "F:6: [store:a] layout: is for kind = kv; kind = sql has none");
	cfgtest_faults(VAULT "[store:a]\nlayout = plain\nfile_mode = rw-r--r--\ndir_mode = 1777\n",
		       "F:5: [store:a] file_mode: impossible value 'rw-r--r--'; it must be permissions "
		       "in octal from 0000 to 0777, such as 0640",
		       "F:6: [store:a] dir_mode: impossible value '1777'; it must be permissions in "
		       "octal from 0000 to 0777, such as 0640");
}

static void what_others_data_has_no_place_for_is_refused(void **state)
{
	(void)state;
	cfgtest_faults(VAULT "[store:a]\nlayout = plain\nnamespace = *\nwrite_mode = queued\n"
			     "ttl = 1h\n",
		       "F:5: [store:a] namespace: '*' is for layout own; without a namespace all keys "
		       "are shown",
		       "F:6: [store:a] write_mode: 'queued' is for layout own: what an application "
		       "reads is written at once",
		       "F:7: [store:a] ttl: is for layout own; set user.persistfs.ttl on a file "
		       "instead");
}

static void a_ttl_where_keys_cannot_expire_names_the_types_that_can(void **state)
{
	(void)state;
	cfgtest_faults(
		FILE_ "[store:a]\nttl = 24h\n",
		"F:5: [store:a] ttl: backend 'f' (type file) cannot expire keys; types that can: "
		"vault");
}

static void all_namespaces_of_a_backend_that_has_one_names_the_types_that_can(void **state)
{
	(void)state;
	cfgtest_faults(
		RAM "[store:a]\nnamespace = *\n",
		"F:4: [store:a] namespace: '*': backend 'r' (type ram) cannot list namespaces; "
		"types that can: file, vault");
}

/* ---- [defaults] and [mount] ------------------------------------------------------------------ */

static void defaults_have_the_keys_of_a_store_but_no_namespace(void **state)
{
	(void)state;
	cfgtest_faults(
		RAM "[defaults]\nnamespace = n\nread_only = 3\n[store:a]\n",
		"F:4: [defaults] namespace: unknown key; available: backend, layout, kind, "
		"read_only, create, write_mode, queue_delay, max_write_queue_size, "
		"commit_interval, attr_timeout, ttl, ttl_on_write, preset, table, key_column, "
		"value_column, namespace_column, namespace_separator, expires_column, "
		"mtime_column, prefix, separator, final_newline, scratch, ... (26 in all)",
		"F:5: [defaults] read_only: impossible value '3'; it must be one of: yes, no");
}

static void faults_of_the_mount_section_are_named(void **state)
{
	(void)state;
	cfgtest_faults(
		RAM "[store:a]\n[mount]\ndirty_limit = 1K\nlog = sysolg\nlog_format = xml\n"
		    "dirtylimit = 1M\n",
		"F:5: [mount] dirty_limit: impossible value '1K'; it must be a size from 1M to 1T, "
		"such as 4096, 64K, 64M or 1G",
		"F:6: [mount] log: impossible value 'sysolg'; available: syslog, stderr, a path "
		"with a '/' — did you mean 'syslog'?",
		"F:7: [mount] log_format: impossible value 'xml'; available: text, json",
		"F:8: [mount] dirtylimit: unknown key; available: dirty_limit, log, log_format — "
		"did you mean 'dirty_limit'?");
}

/* ---- ${env...} ------------------------------------------------------------------------------- */

static void an_environment_variable_that_is_not_set_is_named(void **state)
{
	(void)state;
	unsetenv("PFS_TEST_UNSET");
	cfgtest_faults(
		"[backend:f]\ntype = file\npath = ${env.PFS_TEST_UNSET}/x\n[store:a]\n",
		"F:3: [backend:f] path: the environment variable PFS_TEST_UNSET is not set; set it "
		"or write ${env.PFS_TEST_UNSET:=default}");
	cfgtest_faults(
		"[backend:f]\ntype = ${env.PFS_TEST_UNSET}\n[store:a]\n",
		"F:2: [backend:f] type: the environment variable PFS_TEST_UNSET is not set; set it "
		"or write ${env.PFS_TEST_UNSET:=default}");
}

static void a_malformed_substitution_tells_the_two_forms(void **state)
{
	static const char *const bad[] = {
		"${HOME}",     "${env.}",     "${env.1A}",	"${env.A-B}",	     "${}",
		"${env.A:-d}", "${env:HOME}", "x${ env.HOME }", "${env.A:=${env.B}}"};
	char ini[200];
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		snprintf(ini, sizeof(ini), "[backend:f]\ntype = file\npath = %s\n[store:a]\n",
			 bad[i]);
		cfgtest_faults(ini,
			       "F:3: [backend:f] path: malformed ${...}; available: ${env.NAME}, "
			       "${env.NAME:=default}");
	}
	cfgtest_faults("[backend:f]\ntype = file\npath = ${env.HOME\n[store:a]\n",
		       "F:3: [backend:f] path: malformed ${...}: the '}' is missing; available: "
		       "${env.NAME}, ${env.NAME:=default}");
}

static void a_control_character_from_the_environment_is_refused(void **state)
{
	(void)state;
	setenv("PFS_TEST_CTRL", "x\n[store:evil]", 1);
	cfgtest_faults(
		"[backend:f]\ntype = file\npath = ${env.PFS_TEST_CTRL}\n[store:a]\n",
		"F:3: [backend:f] path: the environment variable PFS_TEST_CTRL holds a control "
		"character");
	unsetenv("PFS_TEST_CTRL");
}

/* ---- secrets --------------------------------------------------------------------------------- */

static void a_password_in_a_file_that_others_can_read_tells_the_chmod(void **state)
{
	(void)state;
	cfgtest_faults(
		VAULT "password = hunter2\n[store:a]\n",
		"F:3: [backend:v] password: a password stands in a file that others can read "
		"(mode 0644); run: chmod 600 '@/persistfs.ini'");
	cfgtest_faults(
		VAULT "url = x://me:hunter2@host/\n[store:a]\n",
		"F:3: [backend:v] url: a password stands in a file that others can read (mode "
		"0644); run: chmod 600 '@/persistfs.ini'");
	cfgtest_faults(
		VAULT "password = ${env.PFS_TEST_UNSET:=hunter2}\n[store:a]\n",
		"F:3: [backend:v] password: a password stands in a file that others can read "
		"(mode 0644); run: chmod 600 '@/persistfs.ini'");
}

static void an_impossible_secret_is_never_quoted(void **state)
{
	(void)state;
	setenv("PFS_TEST_SECRET", "hunter2", 1);
	cfgtest_faults(
		VAULT "pin = ${env.PFS_TEST_SECRET}\npool_size = ${env.PFS_TEST_SECRET}\n"
		      "[store:a]\n",
		"F:3: [backend:v] pin: impossible value; it must be a number from 1 to 9999",
		"F:4: [backend:v] pool_size: impossible value; it must be a number from 1 to 64");
	unsetenv("PFS_TEST_SECRET");
	cfgtest_faults(
		VAULT "connect = x://me:hunter2@host\n[store:a]\n",
		"F:3: [backend:v] connect: impossible value 'x://me:********@host'; available: "
		"lazy, eager",
		"F:3: [backend:v] connect: a password stands in a file that others can read (mode "
		"0644); run: chmod 600 '@/persistfs.ini'");
}

static void a_password_file_must_be_readable_and_its_owners_alone(void **state)
{
	static const char ini[] = VAULT "password_file = secret\n[store:a]\n";

	(void)state;
	cfgtest_faults(ini,
		       "F:3: [backend:v] password_file: '@/secret' cannot be read: No such file or "
		       "directory");
	cfgtest_write("secret", "hunter2\n");
	cfgtest_faults(ini,
		       "F:3: [backend:v] password_file: others can read it (mode 0644); run: chmod "
		       "600 '@/secret'");
	assert_int_equal(chmod(cfgtest_path("secret"), 0604), 0);
	cfgtest_faults(ini,
		       "F:3: [backend:v] password_file: others can read it (mode 0604); run: chmod "
		       "600 '@/secret'");
	cfgtest_write("secret", "");
	assert_int_equal(chmod(cfgtest_path("secret"), 0600), 0);
	cfgtest_faults(ini,
		       "F:3: [backend:v] password_file: '@/secret' must hold one line of 1 to 4096 "
		       "bytes");
	cfgtest_write("secret", "two\nlines\n");
	assert_int_equal(chmod(cfgtest_path("secret"), 0600), 0);
	cfgtest_faults(ini,
		       "F:3: [backend:v] password_file: '@/secret' must hold one line of 1 to 4096 "
		       "bytes");
	assert_int_equal(unlink(cfgtest_path("secret")), 0);
	assert_int_equal(mkdir(cfgtest_path("secret"), 0700), 0);
	cfgtest_faults(ini, "F:3: [backend:v] password_file: '@/secret' is no regular file");
}

static void a_password_given_twice_is_refused(void **state)
{
	(void)state;
	setenv("PFS_TEST_SECRET", "hunter2", 1);
	cfgtest_write("secret2", "hunter2\n");
	assert_int_equal(chmod(cfgtest_path("secret2"), 0600), 0);
	cfgtest_faults(VAULT
		       "password = ${env.PFS_TEST_SECRET}\npassword_file = secret2\n[store:a]\n",
		       "F:4: [backend:v] password_file: password is given too; keep one of them");
	unsetenv("PFS_TEST_SECRET");
}

/* ---- the file itself and sources ------------------------------------------------------------- */

static void expect_source(const struct pfs_config_source *src, const char *want)
{
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;

	assert_int_equal(pfs_config_load(src, &config, &faults), -EINVAL);
	assert_null(config);
	cfgtest_same_faults(&faults, want);
	pfs_faults_release(&faults);
}

static void expect_file(const char *name, const char *want)
{
	expect_source(
		&(struct pfs_config_source){.file = cfgtest_path(name), .engines = cfgtest_engines},
		want);
}

static void a_missing_file_a_directory_and_a_huge_file_are_told(void **state)
{
	char *text = malloc(1024 * 1024 + 1);

	(void)state;
	expect_file("nothing.ini", "@/nothing.ini: cannot be read: No such file or directory");
	cfgtest_write("sub/x", "");
	expect_file("sub", "@/sub: is a directory; an ini file is needed");
	memset(text, '\n', 1024 * 1024 + 1);
	cfgtest_write_bytes("huge.ini", text, 1024 * 1024 + 1);
	expect_file("huge.ini", "@/huge.ini: larger than 1 MiB; this is no configuration");
	cfgtest_write_bytes("nul.ini", "[store:a]\n\0", 11);
	expect_file("nul.ini", "@/nul.ini:2: NUL byte: this is not a text file");
	free(text);
}

/* Run `fn` in a child that is nobody; returns false where that is not possible. */
static bool as_nobody(void (*fn)(void))
{
	int status;
	pid_t pid;

	if (getuid() != 0)
		return false;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (setgid(54321) || setuid(54321))
			_exit(3);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

/* In a child that cannot use cmocka's assertions. */
static void die_unless(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s\n", what);
		_exit(2);
	}
}

static void load_unreadable(void)
{
	struct pfs_config_source src = {.file = cfgtest_path("private.ini"),
					.engines = cfgtest_engines};
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;

	die_unless(pfs_config_load(&src, &config, &faults) == -EINVAL && faults.n == 1, "no fault");
	die_unless(strstr(faults.lines[0], "/private.ini: cannot be read: Permission denied"),
		   faults.lines[0]);
	pfs_faults_release(&faults);
}

static void a_file_without_permission_is_told(void **state)
{
	(void)state;
	cfgtest_write("private.ini", RAM "[store:a]\n");
	assert_int_equal(chmod(cfgtest_path("private.ini"), 0), 0);
	assert_int_equal(chmod(cfgtest_dir, 0755), 0);
	if (!as_nobody(load_unreadable))
		load_unreadable();
}

static void load_homeless(void)
{
	struct pfs_config_source src = {.engines = cfgtest_engines, .system_file = "/nonexistent"};
	struct pfs_faults faults = {0};
	struct pfs_config *config = NULL;

	unsetenv("HOME");
	die_unless(pfs_config_load(&src, &config, &faults) == -EINVAL && faults.n == 1, "no fault");
	die_unless(
		!strcmp(faults.lines[0],
			"built-in default: the home directory is not known: $HOME is not set and "
			"user 54321 is not in the user database"),
		faults.lines[0]);
	pfs_faults_release(&faults);
}

static void the_built_in_default_without_any_home_is_a_clear_fault(void **state)
{
	(void)state;
	if (!as_nobody(load_homeless))
		skip(); /* only root can become somebody without a home */
}

static void a_source_that_no_type_takes_names_what_there_is(void **state)
{
	static const struct {
		const char *source, *want;
	} cases[] = {
		{"carrier://localhost/x",
		 "carrier://localhost/x: type 'carrier' is not available in this build; available: "
		 "file, ram, vault"},
		{"carrier://:hunter2@localhost/",
		 "carrier://:********@localhost/: type 'carrier' is not available in this build; "
		 "available: file, ram, vault"},
		{"ram:",
		 "ram:: a source is file:PATH, vault://... or an ini file; type 'ram' needs an ini "
		 "file"},
		{"vault:there", "vault:there: a source is file:PATH, vault://... or an ini file"},
		{"file:", "file:: the path is missing; a source is file:PATH"},
		{"file:~user/x",
		 "file:~user/x: of ~ only '~/...' is understood; write the directory out"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++)
		expect_source(&(struct pfs_config_source){.source = cases[i].source,
							  .engines = cfgtest_engines},
			      cases[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unknown_section_is_named),
		cmocka_unit_test(a_duplicate_store_backend_and_key_names_the_first),
		cmocka_unit_test(a_file_without_stores_has_nothing_to_mount),
		cmocka_unit_test(faults_of_the_text_come_with_all_others_in_order_of_line),
		cmocka_unit_test(an_unknown_type_names_those_of_the_build),
		cmocka_unit_test(a_missing_type_is_required),
		cmocka_unit_test(a_missing_required_option_is_named_at_its_section),
		cmocka_unit_test(an_unknown_key_of_a_backend_names_those_of_its_type),
		cmocka_unit_test(an_impossible_value_of_a_backend_tells_what_is_possible),
		cmocka_unit_test(a_bad_name_of_a_backend_is_named),
		cmocka_unit_test(what_an_engine_itself_refuses_is_told_at_the_section),
		cmocka_unit_test(an_unknown_backend_names_those_that_are_there),
		cmocka_unit_test(a_backend_must_be_named_when_there_are_several),
		cmocka_unit_test(an_unknown_key_of_a_store_names_all_keys),
		cmocka_unit_test(an_impossible_value_of_a_store_tells_what_is_possible),
		cmocka_unit_test(a_bad_name_of_a_store_is_named),
		cmocka_unit_test(a_component_of_a_name_that_no_directory_could_have_is_refused),
		cmocka_unit_test(a_bad_namespace_is_named),
		cmocka_unit_test(a_store_inside_another_is_refused),
		cmocka_unit_test(two_stores_of_one_namespace_are_refused),
		cmocka_unit_test(all_namespaces_overlap_every_other_store_of_the_backend),
		cmocka_unit_test(two_backends_that_lead_to_one_file_count_as_one),
		cmocka_unit_test(two_backends_that_lead_to_one_database_count_as_one),
		cmocka_unit_test(a_kind_that_the_backend_lacks_names_the_backends_that_have_it),
		cmocka_unit_test(a_layout_that_the_backend_lacks_names_what_is),
		cmocka_unit_test(options_of_others_data_are_refused_where_they_mean_nothing),
		cmocka_unit_test(what_others_data_has_no_place_for_is_refused),
		cmocka_unit_test(a_ttl_where_keys_cannot_expire_names_the_types_that_can),
		cmocka_unit_test(all_namespaces_of_a_backend_that_has_one_names_the_types_that_can),
		cmocka_unit_test(defaults_have_the_keys_of_a_store_but_no_namespace),
		cmocka_unit_test(faults_of_the_mount_section_are_named),
		cmocka_unit_test(an_environment_variable_that_is_not_set_is_named),
		cmocka_unit_test(a_malformed_substitution_tells_the_two_forms),
		cmocka_unit_test(a_control_character_from_the_environment_is_refused),
		cmocka_unit_test(a_password_in_a_file_that_others_can_read_tells_the_chmod),
		cmocka_unit_test(an_impossible_secret_is_never_quoted),
		cmocka_unit_test(a_password_file_must_be_readable_and_its_owners_alone),
		cmocka_unit_test(a_password_given_twice_is_refused),
		cmocka_unit_test(a_missing_file_a_directory_and_a_huge_file_are_told),
		cmocka_unit_test(a_file_without_permission_is_told),
		cmocka_unit_test(the_built_in_default_without_any_home_is_a_clear_fault),
		cmocka_unit_test(a_source_that_no_type_takes_names_what_there_is),
	};

	return cmocka_run_group_tests(tests, lib_config_setup, lib_config_teardown);
}
