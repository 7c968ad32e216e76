/*
 * The text of an ini file: what is accepted, and that nothing is cut, joined or skipped in silence.
 * The last tests feed random bytes and mutated files; replay one with PERSISTFS_SEED=N.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mount/ini.h"
#include "tests/unit/lib_config.h"

static struct pfs_ini ini;
static struct pfs_faults faults;

static void done(void)
{
	pfs_ini_release(&ini);
	pfs_faults_release(&faults);
}

static void parse_bytes(const char *text, size_t len)
{
	done(); /* what a failed test left */
	faults.file = strdup("F");
	assert_int_equal(pfs_ini_parse(&ini, text, len, &faults), 0);
	pfs_faults_sort(&faults);
}

static void parse(const char *text)
{
	parse_bytes(text, strlen(text));
}

static void expect_key(size_t section, size_t key, const char *name, const char *value,
		       unsigned line)
{
	const struct pfs_ini_key *k;

	assert_true(section < ini.nsections);
	assert_true(key < ini.sections[section].nkeys);
	k = &ini.sections[section].keys[key];
	assert_string_equal(k->name, name);
	assert_string_equal(k->value, value);
	assert_int_equal(k->line, line);
}

/* The text has these faults and no others. */
#define expect_faults(text, ...)                                                                   \
	do {                                                                                       \
		parse(text);                                                                       \
		expect_lines((const char *const[]){__VA_ARGS__, NULL});                            \
		done();                                                                            \
	} while (0)

static void expect_lines(const char *const *want)
{
	size_t i;

	for (i = 0; i < faults.n && want[i]; i++)
		assert_string_equal(faults.lines[i], want[i]);
	assert_int_equal(faults.n, i);
	assert_null(want[i]);
}

/* ---- what is accepted ------------------------------------------------------------------------ */

static void sections_and_keys_come_in_order_with_their_lines(void **state)
{
	(void)state;
	parse("; a comment\n# another\n\n[one]\na = 1\nb=2\n   ; an indented comment\n\n[two]\n\t\n"
	      "[three:x/y z]\nc = a = b\nd = # ; x");
	assert_int_equal(faults.n, 1);
	assert_string_equal(
		faults.lines[0],
		"F:13: ' ;' in a value: put a comment on a line of its own, and a value "
		"that needs ' ;' into ${env.NAME}");
	assert_int_equal(ini.nsections, 3);
	assert_string_equal(ini.sections[0].name, "one");
	assert_int_equal(ini.sections[0].line, 4);
	assert_string_equal(ini.sections[1].name, "two");
	assert_int_equal(ini.sections[1].nkeys, 0);
	assert_int_equal(ini.sections[1].line, 9);
	assert_string_equal(ini.sections[2].name, "three:x/y z");
	expect_key(0, 0, "a", "1", 5);
	expect_key(0, 1, "b", "2", 6);
	expect_key(2, 0, "c", "a = b", 12);
	done();
}

static void blanks_around_keys_and_values_are_dropped(void **state)
{
	(void)state;
	parse("[s] \t\na =  1  \nb\t=\tx y\t\nempty =\nalso =   \n");
	assert_int_equal(faults.n, 0);
	expect_key(0, 0, "a", "1", 2);
	expect_key(0, 1, "b", "x y", 3);
	expect_key(0, 2, "empty", "", 4);
	expect_key(0, 3, "also", "", 5);
	done();
}

static void crlf_a_byte_order_mark_and_a_missing_last_newline_are_accepted(void **state)
{
	(void)state;
	parse("\xef\xbb\xbf[s]\r\na = 1\r\n\r\nb = 2");
	assert_int_equal(faults.n, 0);
	assert_string_equal(ini.sections[0].name, "s");
	expect_key(0, 0, "a", "1", 2);
	expect_key(0, 1, "b", "2", 4);
	done();
}

static void a_comment_may_follow_a_section_header(void **state)
{
	(void)state;
	parse("[one]   ; about one\n[two]\t# about [two]\na = 1\n");
	assert_int_equal(faults.n, 0);
	assert_int_equal(ini.nsections, 2);
	assert_string_equal(ini.sections[0].name, "one");
	expect_key(1, 0, "a", "1", 3);
	done();
}

static void semicolons_hashes_colons_and_bytes_above_127_are_part_of_a_value(void **state)
{
	(void)state;
	parse("[s]\na = x;y\nb = x #y\nc = unix:///run/x\nd = gr\xc3\xbc\xc3\x9f\xff\ne = \"a\" "
	      "b\n");
	assert_int_equal(faults.n, 0);
	expect_key(0, 0, "a", "x;y", 2);
	expect_key(0, 1, "b", "x #y", 3);
	expect_key(0, 2, "c", "unix:///run/x", 4);
	expect_key(0, 3, "d", "gr\xc3\xbc\xc3\x9f\xff", 5);
	expect_key(0, 4, "e", "\"a\" b", 6);
	done();
}

static void an_empty_file_has_no_sections_and_no_faults(void **state)
{
	(void)state;
	parse("");
	assert_int_equal(faults.n, 0);
	assert_int_equal(ini.nsections, 0);
	done();
}

/* ---- what is not ----------------------------------------------------------------------------- */

/* "[s]\nk = xxx...\n" with a line of `len` bytes. */
static void make_long(char *out, size_t len)
{
	memcpy(out, "[s]\nk = ", 8);
	memset(out + 8, 'x', len - 4);
	memcpy(out + 4 + len, "\n", 2);
}

static void a_line_is_never_cut(void **state)
{
	char text[400];

	(void)state;
	make_long(text, 198);
	parse(text);
	assert_int_equal(faults.n, 0);
	assert_int_equal(strlen(ini.sections[0].keys[0].value), 194);
	done();
	make_long(text, 199);
	expect_faults(text, "F:2: line of 199 bytes; at most 198 are possible");
	make_long(text, 300);
	expect_faults(text, "F:2: line of 300 bytes; at most 198 are possible");
}

static void blanks_and_comments_do_not_count_for_the_length_of_a_line(void **state)
{
	char text[1200] = "[s]\n; ";

	(void)state;
	memset(text + 6, 'c', 500);
	strcpy(text + 506, "\nk = v");
	memset(text + 512, ' ', 500);
	strcpy(text + 1012, "\nl = w\n");
	parse(text);
	assert_int_equal(faults.n, 0);
	expect_key(0, 0, "k", "v", 3);
	expect_key(0, 1, "l", "w", 4);
	done();
}

static void a_section_name_is_never_cut(void **state)
{
	(void)state;
	parse("[store:0123456789012345678901234567890123456789012]\n");
	assert_int_equal(faults.n, 0);
	assert_int_equal(strlen(ini.sections[0].name), 49);
	done();
	expect_faults("[store:01234567890123456789012345678901234567890123]\nk = v\n",
		      "F:1: section name of 50 bytes; at most 49 are possible");
}

static void a_key_is_never_cut(void **state)
{
	(void)state;
	expect_faults("[s]\nk012345678901234567890123456789012345678901234567 = v\n"
		      "k0123456789012345678901234567890123456789012345678 = v\n",
		      "F:3: key of 50 bytes; at most 49 are possible");
}

static void a_comment_behind_a_value_is_refused_rather_than_cut_off(void **state)
{
	static const char *const values[] = {"4 ; four", "a b ;", "; nothing", "x\t; y"};
	char text[100];
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(values); i++) {
		snprintf(text, sizeof(text), "[s]\nk = %s\nl = 1\n", values[i]);
		expect_faults(text,
			      "F:2: ' ;' in a value: put a comment on a line of its own, and a "
			      "value that needs ' ;' into ${env.NAME}");
	}
}

static void a_comment_inside_a_key_is_refused(void **state)
{
	(void)state;
	expect_faults("[s]\nkey ;= value\nother ; was = 1\n",
		      "F:2: ' ;' in a key: a comment has a line of its own, and a line is 'key = value'",
		      "F:3: ' ;' in a key: a comment has a line of its own, and a line is 'key = value'");
}

static void a_comment_inside_a_section_name_is_refused(void **state)
{
	(void)state;
	expect_faults("[a ;b]\n", "F:1: ' ;' inside a section name");
	expect_faults("[;b]\n", "F:1: ' ;' inside a section name");
}

static void quotes_around_a_value_are_refused(void **state)
{
	(void)state;
	expect_faults("[s]\nk = \"a b\"\n",
		      "F:2: quotes around a value: remove them, they would become part of it");
}

static void an_indented_line_is_not_joined_to_the_one_above(void **state)
{
	static const char want[] = "F:3: blanks at the start of the line would join it to the one "
				   "above; remove them";

	(void)state;
	expect_faults("[s]\nk = v\n  l = w\n", want);
	expect_faults("[s]\nk = v\n\tmore\n", want);
	expect_faults("[s]\nk = v\n [t]\n", want);
}

static void a_line_without_equals_sign_is_named(void **state)
{
	(void)state;
	expect_faults("[s]\nread_only\nk = v\n",
		      "F:2: no '=': a line is 'key = value', '[section]' "
		      "or a comment that starts with ';' or '#'");
	expect_faults("[s]\nkey: value\n", "F:2: no '=': a line is 'key = value', '[section]' or a "
					   "comment that starts with ';' or '#'");
	expect_faults("[s]\nurl: a=b\n", "F:2: ':' in a key: a line is 'key = value'");
	expect_faults("[s]\n= value\n", "F:2: no key before the '='");
}

static void a_key_before_any_section_is_named(void **state)
{
	(void)state;
	expect_faults("k = v\n[s]\nl = w\n", "F:1: k: key before any [section]");
}

static void a_header_without_its_end_is_named_and_its_keys_belong_nowhere(void **state)
{
	(void)state;
	parse("[a]\nk = 1\n[b\nk = 2\n[c] x\nk = 3\n[d]x;\n[e]\nk = 4\n");
	assert_int_equal(ini.nsections, 2);
	assert_int_equal(ini.sections[0].nkeys, 1);
	expect_key(1, 0, "k", "4", 9);
	expect_lines((const char *const[]){
		"F:3: section header without its ']'",
		"F:5: something follows the ']' of the section header; a comment there starts with "
		"' ;'",
		"F:7: something follows the ']' of the section header; a comment there starts with "
		"' ;'",
		NULL});
	done();
}

static void duplicates_name_the_line_of_the_first(void **state)
{
	(void)state;
	expect_faults("[s]\nk = 1\n[t]\nk = 1\n[s]\nl = 2\nk = 3\n[s]\n",
		      "F:5: [s]: duplicate section; the first one is in line 1",
		      "F:7: [s] k: duplicate key; the first one is in line 2",
		      "F:8: [s]: duplicate section; the first one is in line 1");
}

static void nul_bytes_and_control_characters_are_named(void **state)
{
	static const char text[] = "[s]\nk = v\nl = a\0b\n";

	(void)state;
	parse_bytes(text, sizeof(text) - 1);
	expect_lines((const char *const[]){"F:3: NUL byte: this is not a text file", NULL});
	assert_int_equal(ini.nsections, 0);
	done();
	expect_faults("[s]\nk = a\rb\nl = \x1b[0m\nm = \x7f\n", "F:2: control character 0x0d",
		      "F:3: control character 0x1b", "F:4: control character 0x7f");
}

static void a_file_that_is_all_faults_names_the_first_thousand(void **state)
{
	struct pfs_buf text = {0};
	int i;

	(void)state;
	for (i = 0; i < 5000; i++)
		pfs_buf_str(&text, "nonsense\n");
	parse_bytes(text.data, text.len);
	assert_int_equal(faults.n, 1001);
	assert_true(!strncmp(faults.lines[999], "F:1000: ", 8));
	assert_string_equal(faults.lines[1000], "more faults follow; these are the first 1000");
	done();
	pfs_buf_release(&text);
}

/* ---- anything at all ------------------------------------------------------------------------- */

static unsigned seed_from_env(void)
{
	const char *s = getenv("PERSISTFS_SEED");
	unsigned seed = s ? (unsigned)strtoul(s, NULL, 10) : (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	return seed;
}

/*
 * Whatever the text was: every key of the result stands in its line of the text, whole, and every
 * line that is neither empty, comment, section nor key has a fault.
 */
static void check_nothing_is_silent(const char *text, size_t len)
{
	size_t i, j, lines = 0, told = 0;
	const char *p, *end, *stop;

	parse_bytes(text, len);
	for (i = 0; i < ini.nsections; i++)
		told += 1 + ini.sections[i].nkeys;
	end = text + len;
	p = len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? text + 3 : text; /* a byte order mark */
	for (; p < end; p = stop + 1) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (!stop)
			stop = end;
		for (j = 0; p + j < stop && strchr(" \t\r", p[j]) && p[j]; j++)
			;
		if (p + j < stop && p[j] != ';' && p[j] != '#')
			lines++;
	}
	/* Keys below a faulty header are the only lines that nothing is said about. */
	if (faults.n == 0)
		assert_int_equal(told, lines);
	else
		assert_true(told <= lines);
	for (i = 0; i < faults.n; i++)
		assert_true(!strncmp(faults.lines[i], "F:", 2) || i == 1000);
	done();
}

static const char sample[] =
	"; comment\n[backend:local]   ; where it is\ntype = sqlite\n"
	"path = ${env.XDG_DATA_HOME:=~/.local/share}/persistfs/store.db\n\n"
	"[defaults]\nread_only = no\n[store:agents/sessions]\nbackend = local\n"
	"ttl = 24h\r\n[mount]\nlog = syslog\n";

static void random_bytes_never_break_the_parser(void **state)
{
	static const char alphabet[] = "[]=;:# \t\n\r\nab\"\x01\xef\xbb\xbf\n";
	unsigned seed = seed_from_env();
	char text[1024];
	size_t i, len;
	int round;

	(void)state;
	for (round = 0; round < 4000; round++) {
		len = (size_t)rand_r(&seed) % sizeof(text);
		for (i = 0; i < len; i++)
			text[i] = round % 4
					  ? alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)]
					  : (char)rand_r(&seed);
		check_nothing_is_silent(text, len);
	}
}

static void mutated_files_never_break_the_parser(void **state)
{
	unsigned seed = seed_from_env();
	char text[2 * sizeof(sample)];
	size_t len, at, n;
	int round, edits;

	(void)state;
	for (round = 0; round < 4000; round++) {
		len = sizeof(sample) - 1;
		memcpy(text, sample, len);
		for (edits = 1 + rand_r(&seed) % 8; edits; edits--) {
			at = (size_t)rand_r(&seed) % len;
			n = 1 + (size_t)rand_r(&seed) % 16;
			switch (rand_r(&seed) % 3) {
			case 0:
				text[at] = (char)rand_r(&seed);
				break;
			case 1: /* cut */
				n = n < len - at ? n : len - at - 1;
				memmove(text + at, text + at + n, len - at - n);
				len -= n;
				break;
			default: /* repeat */
				n = n < len - at ? n : len - at;
				memmove(text + at + n, text + at, len - at);
				len += n;
			}
		}
		check_nothing_is_silent(text, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_and_keys_come_in_order_with_their_lines),
		cmocka_unit_test(blanks_around_keys_and_values_are_dropped),
		cmocka_unit_test(crlf_a_byte_order_mark_and_a_missing_last_newline_are_accepted),
		cmocka_unit_test(a_comment_may_follow_a_section_header),
		cmocka_unit_test(semicolons_hashes_colons_and_bytes_above_127_are_part_of_a_value),
		cmocka_unit_test(an_empty_file_has_no_sections_and_no_faults),
		cmocka_unit_test(a_line_is_never_cut),
		cmocka_unit_test(blanks_and_comments_do_not_count_for_the_length_of_a_line),
		cmocka_unit_test(a_section_name_is_never_cut),
		cmocka_unit_test(a_key_is_never_cut),
		cmocka_unit_test(a_comment_behind_a_value_is_refused_rather_than_cut_off),
		cmocka_unit_test(a_comment_inside_a_key_is_refused),
		cmocka_unit_test(a_comment_inside_a_section_name_is_refused),
		cmocka_unit_test(quotes_around_a_value_are_refused),
		cmocka_unit_test(an_indented_line_is_not_joined_to_the_one_above),
		cmocka_unit_test(a_line_without_equals_sign_is_named),
		cmocka_unit_test(a_key_before_any_section_is_named),
		cmocka_unit_test(a_header_without_its_end_is_named_and_its_keys_belong_nowhere),
		cmocka_unit_test(duplicates_name_the_line_of_the_first),
		cmocka_unit_test(nul_bytes_and_control_characters_are_named),
		cmocka_unit_test(a_file_that_is_all_faults_names_the_first_thousand),
		cmocka_unit_test(random_bytes_never_break_the_parser),
		cmocka_unit_test(mutated_files_never_break_the_parser),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
