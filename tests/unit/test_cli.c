/*
 * The command line: operands and options of mount, and the words after -o.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount/cli.h"

#define ARGS(...) ((char **)(const char *[]){__VA_ARGS__, NULL})

static int parse(struct pfs_mount_args *out, char **argv, struct pfs_msg *msg)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	pfs_msg_clear(msg);
	return pfs_mount_args_parse(out, argc, argv, msg);
}

static void words_are(const char *given, const char *passed)
{
	struct pfs_fuse_options o;
	struct pfs_msg msg = {{0}};

	pfs_fuse_options_init(&o);
	assert_int_equal(pfs_fuse_options_parse(&o, given, &msg), 0);
	assert_string_equal(o.pass.data ? o.pass.data : "", passed);
	assert_string_equal(msg.text, "");
	pfs_fuse_options_release(&o);
}

static void words_are_refused(const char *given, const char *message)
{
	struct pfs_fuse_options o;
	struct pfs_msg msg = {{0}};

	pfs_fuse_options_init(&o);
	assert_int_equal(pfs_fuse_options_parse(&o, given, &msg), -EINVAL);
	if (!strstr(msg.text, message))
		fail_msg("'%s' is not in '%s'", message, msg.text);
	pfs_fuse_options_release(&o);
}

/* ---- -o ------------------------------------------------------------------------------------- */

static void words_the_kernel_knows_are_passed_on(void **state)
{
	(void)state;
	words_are("ro,allow_other,dev,suid", "ro,allow_other,dev,suid");
	words_are("", "");
	words_are(",,ro,,", "ro");
	words_are("context=\"a:b:c\",noexec", "context=\"a:b:c\",noexec");
}

static void words_of_fstab_are_dropped(void **state)
{
	(void)state;
	words_are("defaults,noauto,nofail,_netdev,user,users,user=joe,x-systemd.automount,"
		  "X-mount.mkdir,comment=x,relatime",
		  "");
	words_are("nofail,ro,x-gvfs-show,noatime", "ro,noatime");
}

static void an_unknown_word_is_refused_and_the_known_ones_are_told(void **state)
{
	(void)state;
	words_are_refused("ro,allow_othr", "unknown mount option 'allow_othr'; known: ro, rw");
	words_are_refused("allow_othe", "'allow_othe'");
	words_are_refused("allow_other=1", "'allow_other=1'");
	words_are_refused("fsname=", "'fsname='");
	words_are_refused("x", "'x'");
}

static void the_number_of_threads_is_checked(void **state)
{
	struct pfs_fuse_options o;
	struct pfs_msg msg;

	(void)state;
	pfs_fuse_options_init(&o);
	assert_int_equal(o.max_threads, PFS_THREADS_DEFAULT);
	assert_int_equal(pfs_fuse_options_parse(&o, "max_threads=256,ro", &msg), 0);
	assert_int_equal(o.max_threads, 256);
	assert_string_equal(o.pass.data, "ro");
	pfs_fuse_options_release(&o);
	words_are_refused("max_threads=0", "from 1 to 256");
	words_are_refused("max_threads=257", "from 1 to 256");
	words_are_refused("max_threads=18446744073709551617", "from 1 to 256");
	words_are_refused("max_threads=ten", "from 1 to 256");
	words_are_refused("max_threads=-1", "from 1 to 256");
}

static void an_escaped_comma_does_not_end_a_word(void **state)
{
	struct pfs_fuse_options o;
	struct pfs_msg msg;

	(void)state;
	pfs_fuse_options_init(&o);
	assert_int_equal(pfs_fuse_options_parse(&o, "fsname=a\\,b,ro", &msg), 0);
	assert_string_equal(o.pass.data, "fsname=a\\,b,ro");
	pfs_fuse_options_release(&o);
	words_are_refused("ro\\", "'ro\\'");
}

static void escaping_keeps_a_text_one_word(void **state)
{
	struct pfs_buf b = {0};

	(void)state;
	pfs_fuse_options_escape(&b, "sqlite:/a,b\\c");
	assert_string_equal(b.data, "sqlite:/a\\,b\\\\c");
	pfs_buf_release(&b);
}

/* ---- mount ---------------------------------------------------------------------------------- */

static void the_mount_point_alone_is_enough(void **state)
{
	struct pfs_mount_args a;
	struct pfs_msg msg;

	(void)state;
	assert_int_equal(parse(&a, ARGS("mount", "/mnt"), &msg), 0);
	assert_string_equal(a.mountpoint, "/mnt");
	assert_null(a.source);
	assert_null(a.config);
	assert_false(a.foreground);
	pfs_mount_args_release(&a);
}

static void options_may_stand_anywhere(void **state)
{
	struct pfs_mount_args a;
	struct pfs_msg msg;

	(void)state;
	setenv("POSIXLY_CORRECT", "1", 1);
	assert_int_equal(
		parse(&a,
		      ARGS("persistfs", "FILE.ini", "/mnt", "-o", "ro,allow_other,dev,suid", "-f"),
		      &msg),
		0);
	unsetenv("POSIXLY_CORRECT");
	assert_string_equal(a.source, "FILE.ini");
	assert_string_equal(a.mountpoint, "/mnt");
	assert_string_equal(a.options.pass.data, "ro,allow_other,dev,suid");
	assert_true(a.foreground);
	pfs_mount_args_release(&a);

	assert_int_equal(
		parse(&a, ARGS("mount", "-oro", "-fc", "x.ini", "/mnt", "-o", "dev"), &msg), 0);
	assert_string_equal(a.config, "x.ini");
	assert_string_equal(a.mountpoint, "/mnt");
	assert_string_equal(a.options.pass.data, "ro,dev");
	pfs_mount_args_release(&a);
}

static void operands_behind_two_dashes_may_look_like_options(void **state)
{
	struct pfs_mount_args a;
	struct pfs_msg msg;

	(void)state;
	assert_int_equal(parse(&a, ARGS("mount", "-f", "--", "-c", "-d"), &msg), 0);
	assert_string_equal(a.source, "-c");
	assert_string_equal(a.mountpoint, "-d");
	pfs_mount_args_release(&a);
}

static void wrong_usage_of_mount_is_told(void **state)
{
	static const struct {
		const char *argv[6];
		int err;
		const char *message;
	} cases[] = {
		{{"mount"}, -EINVAL, "no MOUNTPOINT"},
		{{"mount", "a", "b", "c"}, -EINVAL, "'c' is one operand too many"},
		{{"mount", "-c", "x.ini", "sqlite:/a", "/mnt"}, -EINVAL, "not both"},
		{{"mount", "/mnt", "-c"}, -EINVAL, "'-c' wants a value"},
		{{"mount", "-z", "/mnt"}, -EINVAL, "unknown option '-z'"},
		{{"mount", "--frob", "/mnt"}, -EINVAL, "unknown option '--frob'"},
		{{"mount", "/mnt", "-o", "frob"}, -EPROTO, "unknown mount option 'frob'"},
	};
	struct pfs_mount_args a;
	struct pfs_msg msg;
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(&a, (char **)cases[i].argv, &msg), cases[i].err);
		if (!strstr(msg.text, cases[i].message))
			fail_msg("'%s' is not in '%s'", cases[i].message, msg.text);
		pfs_mount_args_release(&a);
	}
}

static void help_needs_no_operands(void **state)
{
	struct pfs_mount_args a;
	struct pfs_msg msg;
	const char *operand;
	bool help;

	(void)state;
	assert_int_equal(parse(&a, ARGS("mount", "--help"), &msg), 0);
	assert_true(a.help);
	pfs_mount_args_release(&a);
	assert_int_equal(pfs_operand_parse(2, ARGS("umount", "-h"), &operand, &help, &msg), 0);
	assert_true(help);
	assert_non_null(strstr(pfs_cli_help("umount"), "persistfs umount MOUNTPOINT"));
	assert_non_null(strstr(pfs_cli_help(NULL), "Exit status"));
}

/* ---- which verb ----------------------------------------------------------------------------- */

static void a_source_in_front_means_mount(void **state)
{
	(void)state;
	assert_true(pfs_cli_is_mount(3, ARGS("persistfs", "no-such-file.ini", "/mnt")));
	assert_true(pfs_cli_is_mount(3, ARGS("persistfs", "./dir/file", "/mnt")));
	assert_true(pfs_cli_is_mount(3, ARGS("persistfs", "sqlite:x.db", "/mnt")));
	assert_true(pfs_cli_is_mount(5, ARGS("persistfs", "-o", "ro", "x.ini", "/mnt")));
	assert_false(pfs_cli_is_mount(2, ARGS("persistfs", "no-such-verb")));
	assert_false(pfs_cli_is_mount(2, ARGS("persistfs", ".ini-less")));
	assert_false(pfs_cli_is_mount(1, ARGS("persistfs")));
}

static void a_scheme_makes_a_source_a_url(void **state)
{
	(void)state;
	assert_true(pfs_source_is_url("sqlite:/var/x.db"));
	assert_true(pfs_source_is_url("redis://host"));
	assert_false(pfs_source_is_url("/etc/a:b.ini"));
	assert_false(pfs_source_is_url("./a:b"));
	assert_false(pfs_source_is_url(":x"));
	assert_false(pfs_source_is_url("plain.ini"));
}

static void one_operand_is_taken_and_a_second_refused(void **state)
{
	const char *operand;
	struct pfs_msg msg;
	bool help;

	(void)state;
	assert_int_equal(pfs_operand_parse(1, ARGS("status"), &operand, &help, &msg), 0);
	assert_null(operand);
	assert_int_equal(pfs_operand_parse(2, ARGS("status", "/mnt"), &operand, &help, &msg), 0);
	assert_string_equal(operand, "/mnt");
	assert_int_equal(pfs_operand_parse(3, ARGS("status", "--", "-x"), &operand, &help, &msg),
			 0);
	assert_string_equal(operand, "-x");
	assert_int_equal(pfs_operand_parse(3, ARGS("status", "a", "b"), &operand, &help, &msg),
			 -EINVAL);
	assert_int_equal(pfs_operand_parse(2, ARGS("status", "-q"), &operand, &help, &msg),
			 -EINVAL);
	assert_non_null(strstr(msg.text, "'-q'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_the_kernel_knows_are_passed_on),
		cmocka_unit_test(words_of_fstab_are_dropped),
		cmocka_unit_test(an_unknown_word_is_refused_and_the_known_ones_are_told),
		cmocka_unit_test(the_number_of_threads_is_checked),
		cmocka_unit_test(an_escaped_comma_does_not_end_a_word),
		cmocka_unit_test(escaping_keeps_a_text_one_word),
		cmocka_unit_test(the_mount_point_alone_is_enough),
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(operands_behind_two_dashes_may_look_like_options),
		cmocka_unit_test(wrong_usage_of_mount_is_told),
		cmocka_unit_test(help_needs_no_operands),
		cmocka_unit_test(a_source_in_front_means_mount),
		cmocka_unit_test(a_scheme_makes_a_source_a_url),
		cmocka_unit_test(one_operand_is_taken_and_a_second_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
