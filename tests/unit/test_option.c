/*
 * Option tables: what a value may look like, what is said when it may not, defaults, and the word
 * that was meant.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/backend.h"

static const struct pfs_option table[] = {
	{.name = "text", .type = PFS_OPT_STRING, .def = "abc"},
	{.name = "flag", .type = PFS_OPT_BOOL, .def = "yes"},
	{.name = "count", .type = PFS_OPT_INT, .def = "4", .min = 1, .max = 64},
	{.name = "free", .type = PFS_OPT_INT},
	{.name = "size", .type = PFS_OPT_SIZE, .def = "64M", .min = 1024, .max = INT64_C(1) << 40},
	{.name = "wait",
	 .type = PFS_OPT_DURATION,
	 .def = "5ms",
	 .min = 1000000,
	 .max = 3600 * NSEC_PER_SEC},
	{.name = "mode", .type = PFS_OPT_ENUM, .choices = "through|queued", .def = "queued"},
	{.name = "where", .type = PFS_OPT_PATH},
	{.name = "pin", .type = PFS_OPT_INT, .secret = true, .min = 1, .max = 99},
	PFS_OPTION_END,
};

static void expect_num(const char *name, const char *text, int64_t want)
{
	struct pfs_option_value value = {0};
	struct pfs_msg msg = {0};
	int err;

	err = pfs_option_parse(pfs_option_find(table, name), text, &value, &msg);
	if (err)
		print_error("%s = %s: %s\n", name, text, msg.text);
	assert_int_equal(err, 0);
	assert_true(value.num == want);
	assert_null(value.str);
}

static void expect_refused(const char *name, const char *text, const char *want)
{
	struct pfs_option_value value = {.num = 77};
	struct pfs_msg msg = {0};

	assert_int_equal(pfs_option_parse(pfs_option_find(table, name), text, &value, &msg),
			 -EINVAL);
	assert_string_equal(msg.text, want);
	assert_int_equal(value.num, 77);
}

static void a_flag_is_one_of_eight_words_in_any_case(void **state)
{
	static const char *const yes[] = {"yes", "true", "on", "1", "YES", "On"};
	static const char *const no[] = {"no", "false", "off", "0", "No", "OFF"};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(yes); i++) {
		expect_num("flag", yes[i], 1);
		expect_num("flag", no[i], 0);
	}
	expect_refused("flag", "maybe", "impossible value 'maybe'; it must be one of: yes, no");
	expect_refused("flag", "", "impossible value ''; it must be one of: yes, no");
}

static void a_number_is_decimal_and_within_its_bounds(void **state)
{
	static const char *const bad[] = {"",
					  "x",
					  "0",
					  "65",
					  "-1",
					  "4x",
					  "0x4",
					  "4.5",
					  "+4",
					  "--4",
					  " 4",
					  "4 ",
					  "99999999999999999999"};
	struct pfs_msg want;
	size_t i;

	(void)state;
	expect_num("count", "1", 1);
	expect_num("count", "64", 64);
	expect_num("count", "007", 7);
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		pfs_msg_set(&want, "impossible value '%s'; it must be a number from 1 to 64",
			    bad[i]);
		expect_refused("count", bad[i], want.text);
	}
	expect_num("free", "0", 0);
	expect_num("free", "9223372036854775807", INT64_MAX);
	expect_refused("free", "-1", "impossible value '-1'; it must be a number from 0");
	expect_refused("free", "9223372036854775808",
		       "impossible value '9223372036854775808'; it must be a number from 0");
}

static void a_size_is_in_bytes_or_powers_of_1024(void **state)
{
	static const char right[] = "it must be a size from 1K to 1T, such as 4096, 64K, 64M or 1G";
	static const char *const bad[] = {"64MB", "64Mi", "M",	      "-1K",
					  "1023", "2T",	  "8388608T", "1,5G"};
	struct pfs_msg want;
	size_t i;

	(void)state;
	expect_num("size", "4096", 4096);
	expect_num("size", "1K", 1024);
	expect_num("size", "64M", 64 << 20);
	expect_num("size", "64 m", 64 << 20);
	expect_num("size", "1g", 1 << 30);
	expect_num("size", "1T", INT64_C(1) << 40);
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		pfs_msg_set(&want, "impossible value '%s'; %s", bad[i], right);
		expect_refused("size", bad[i], want.text);
	}
}

static void a_duration_needs_its_unit(void **state)
{
	static const char right[] =
		"it must be a duration from 1ms to 1h, such as 5ms, 30s, 10m, 24h or 7d";
	static const char *const bad[] = {"5",	"5x",  "s",  "0",
					  "2h", "-1s", "1d", "999999999999999d"};
	struct pfs_msg want;
	size_t i;

	(void)state;
	expect_num("wait", "5ms", 5000000);
	expect_num("wait", "1500us", 1500000);
	expect_num("wait", "2000000ns", 2000000);
	expect_num("wait", "30s", 30 * NSEC_PER_SEC);
	expect_num("wait", "10m", 600 * NSEC_PER_SEC);
	expect_num("wait", "1h", 3600 * NSEC_PER_SEC);
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		pfs_msg_set(&want, "impossible value '%s'; %s", bad[i], right);
		expect_refused("wait", bad[i], want.text);
	}
}

static void a_choice_is_its_index_and_a_wrong_one_names_all_and_the_nearest(void **state)
{
	(void)state;
	expect_num("mode", "through", 0);
	expect_num("mode", "queued", 1);
	expect_refused(
		"mode", "queud",
		"impossible value 'queud'; available: through, queued — did you mean 'queued'?");
	expect_refused("mode", "other", "impossible value 'other'; available: through, queued");
	expect_refused("mode", "", "impossible value ''; available: through, queued");
	expect_refused("mode", "through|queued",
		       "impossible value 'through|queued'; available: through, queued");
}

static void a_path_is_not_empty(void **state)
{
	(void)state;
	expect_num("where", "x", 0);
	expect_refused("where", "", "empty; it must be a path");
}

static void a_secret_is_never_quoted(void **state)
{
	(void)state;
	expect_refused("pin", "hunter2", "impossible value; it must be a number from 1 to 99");
}

static void a_set_starts_with_the_defaults_and_takes_texts(void **state)
{
	struct pfs_option_set set;
	struct pfs_msg msg = {0};

	(void)state;
	assert_int_equal(pfs_option_set_init(&set, table), 0);
	assert_string_equal(pfs_option_get(&set, "text")->str, "abc");
	assert_int_equal(pfs_option_get(&set, "size")->num, 64 << 20);
	assert_int_equal(pfs_option_get(&set, "mode")->num, 1);
	assert_false(pfs_option_get(&set, "mode")->given);
	assert_null(pfs_option_get(&set, "where")->str);

	assert_int_equal(pfs_option_set_text(&set, "count", "7", &msg), 0);
	assert_int_equal(pfs_option_get(&set, "count")->num, 7);
	assert_string_equal(pfs_option_get(&set, "count")->str, "7");
	assert_true(pfs_option_get(&set, "count")->given);

	assert_int_equal(pfs_option_set_text(&set, "count", "700", &msg), -EINVAL);
	assert_int_equal(pfs_option_get(&set, "count")->num, 7);
	assert_int_equal(pfs_option_set_text(&set, "nothing", "7", &msg), -ENOENT);
	pfs_option_set_release(&set);
	pfs_option_set_release(&set);
}

static void the_nearest_word_is_few_edits_away(void **state)
{
	static const char *const names[] = {"cache", "local", "archive", "a", "read_only"};
	size_t n = PFS_ARRAY_SIZE(names);
	char longer[200];

	(void)state;
	assert_string_equal(pfs_nearest("chache", names, n), "cache");
	assert_string_equal(pfs_nearest("cahce", names, n), "cache");
	assert_string_equal(pfs_nearest("lcoal", names, n), "local");
	assert_string_equal(pfs_nearest("LOCAL", names, n), "local");
	assert_string_equal(pfs_nearest("readonly", names, n), "read_only");
	assert_string_equal(pfs_nearest("read-only", names, n), "read_only");
	assert_null(pfs_nearest("postgres", names, n));
	assert_null(pfs_nearest("b", names, n));
	assert_null(pfs_nearest("", names, n));
	assert_null(pfs_nearest("cache", names, 0));
	memset(longer, 'c', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_null(pfs_nearest(longer, names, n));
}

static void check_table(const struct pfs_option *opts)
{
	struct pfs_option_value value = {0};
	const struct pfs_option *opt;
	struct pfs_msg msg = {0};

	for (opt = opts; opt->name; opt++) {
		assert_ptr_equal(pfs_option_find(opts, opt->name), opt); /* no name twice */
		assert_non_null(opt->help);
		assert_null(strchr(opt->help, '\n'));
		assert_false(opt->required && opt->def);
		assert_false(opt->secret && opt->def);
		assert_true(opt->type != PFS_OPT_ENUM || opt->choices);
		if (opt->def && pfs_option_parse(opt, opt->def, &value, &msg))
			fail_msg("default of %s: %s", opt->name, msg.text);
	}
}

static void every_engine_of_the_build_is_sorted_and_has_a_sound_table(void **state)
{
	const struct pfs_engine *const *e;
	struct pfs_option *opts;

	(void)state;
	assert_non_null(*pfs_engines());
	for (e = pfs_engines(); *e; e++) {
		assert_int_equal((*e)->spec_version, PFS_SPEC_VERSION);
		assert_true((*e)->kinds != 0);
		assert_ptr_equal(pfs_engine_find((*e)->name), *e);
		assert_true(!e[1] || strcmp(e[0]->name, e[1]->name) < 0);
		opts = pfs_engine_options(*e);
		assert_non_null(opts);
		check_table(opts);
		assert_string_equal(opts[0].name, "type");
		free(opts);
	}
	assert_null(pfs_engine_find("none"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flag_is_one_of_eight_words_in_any_case),
		cmocka_unit_test(a_number_is_decimal_and_within_its_bounds),
		cmocka_unit_test(a_size_is_in_bytes_or_powers_of_1024),
		cmocka_unit_test(a_duration_needs_its_unit),
		cmocka_unit_test(a_choice_is_its_index_and_a_wrong_one_names_all_and_the_nearest),
		cmocka_unit_test(a_path_is_not_empty),
		cmocka_unit_test(a_secret_is_never_quoted),
		cmocka_unit_test(a_set_starts_with_the_defaults_and_takes_texts),
		cmocka_unit_test(the_nearest_word_is_few_edits_away),
		cmocka_unit_test(every_engine_of_the_build_is_sorted_and_has_a_sound_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
