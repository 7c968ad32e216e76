/*
 * The law of names: examples that a reader can check by eye, every short string of the bytes that
 * matter in both directions, and random long ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"

static const struct pfs_key_encoding whole = {{NULL, 0}, false};
static const struct pfs_key_encoding colon = {{":", 1}, false};
static const struct pfs_key_encoding colons = {{"::", 2}, false};
static const struct pfs_key_encoding slash = {{"/", 1}, false};
static const struct pfs_key_encoding whole_text = {{NULL, 0}, true};
static const struct pfs_key_encoding colon_text = {{":", 1}, true};

static const struct pfs_key_encoding *const encodings[] = {
	&whole, &colon, &colons, &slash, &whole_text, &colon_text,
};

static struct pfs_bytes bytes_of(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->data, b->len};
}

/* key <-> path, both ways. */
static void assert_pair(const struct pfs_key_encoding *enc, struct pfs_bytes key, const char *path,
			bool own)
{
	struct pfs_buf got = {0}, back = {0};
	bool lookup = true, own_back = !own;

	assert_int_equal(pfs_names_from_key(enc, key, own, &got, &lookup), 0);
	assert_string_equal(got.data, path);
	assert_false(lookup);
	assert_int_equal(pfs_names_to_key(enc, bytes_of(&got), &back, &own_back), 0);
	assert_int_equal(own_back, own);
	assert_int_equal(back.len, key.len);
	assert_memory_equal(back.data, key.p, key.len);
	pfs_buf_release(&got);
	pfs_buf_release(&back);
}

static void assert_no_name(const struct pfs_key_encoding *enc, const char *path)
{
	struct pfs_buf key = {0};
	bool own;

	pfs_buf_str(&key, "kept");
	if (pfs_names_to_key(enc, pfs_bytes_str(path), &key, &own) != -EILSEQ)
		fail_msg("'%s' is taken for a name", path);
	assert_string_equal(key.data, "kept");
	assert_int_equal(key.len, 4);
	pfs_buf_release(&key);
}

static void ordinary_names_are_themselves(void **state)
{
	static const char *const names[] = {
		"a",   "todo.txt", "foo%20bar", "100%",	   "%",	       "%%", "%a",   "%zz",
		"%2f", "%41",	   "% ",	"...",	   ".a",       "a.", "a..b", "~",
		"%~",  "%~0",	   "EMPTY",	"%EMPTYX", "x%EMPTY",  "\n", "\xff", "%C3%A9",
		"%FF", "user:1",   " ",		"-rf",	   "\xc3\xa9",
	};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(names); i++)
		assert_pair(&whole, pfs_bytes_str(names[i]), names[i], false);
}

static void what_cannot_stand_in_a_name_is_escaped(void **state)
{
	(void)state;
	assert_pair(&whole, PFS_BYTES("a/b"), "a%2Fb", false);
	assert_pair(&whole, PFS_BYTES("/"), "%2F", false);
	assert_pair(&whole, PFS_BYTES("a\0b"), "a%00b", false);
	assert_pair(&whole, PFS_BYTES("."), "%2E", false);
	assert_pair(&whole, PFS_BYTES(".."), "%2E.", false);
	assert_pair(&whole, PFS_BYTES(""), "%EMPTY", false);
	assert_pair(&whole, PFS_BYTES("%EMPTY"), "%25EMPTY", false);
	assert_pair(&whole, PFS_BYTES("%VALUE"), "%25VALUE", false);
	assert_pair(&whole, PFS_BYTES("%25EMPTY"), "%2525EMPTY", false);
}

static void a_percent_is_escaped_only_where_it_would_read_as_an_escape(void **state)
{
	(void)state;
	assert_pair(&whole, PFS_BYTES("a%2Fb"), "a%252Fb", false);
	assert_pair(&whole, PFS_BYTES("%252Fb"), "%25252Fb", false);
	assert_pair(&whole, PFS_BYTES("%00"), "%2500", false);
	assert_pair(&whole, PFS_BYTES("%2E"), "%252E", false);
	assert_pair(&whole, PFS_BYTES("%25"), "%2525", false);
	assert_pair(&whole, PFS_BYTES("%%2F"), "%%252F", false);
	assert_pair(&whole, PFS_BYTES("%/"), "%%2F", false);
	assert_pair(&whole, PFS_BYTES("%2/F"), "%2%2FF", false);
	/* NUL is no byte of text, so nothing stands for it there. */
	assert_pair(&whole_text, PFS_BYTES("%00"), "%00", false);
}

static void names_that_no_key_has_are_eilseq(void **state)
{
	static const char *const bad[] = {
		"a%2Eb",     "%2E%2E", ".%2E", "%25", "100%25", "%2541", "%2525x%25",
		"a%2F%2541", "%VALUE", "",     "/",   "a/",	"/a",	 "%25VALU",
	};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++)
		assert_no_name(&whole, bad[i]);
	assert_no_name(&whole, "a/b");
	assert_no_name(&whole, "a/%VALUE");
	assert_no_name(&colon, "a:b");
	assert_no_name(&colon, "a//b");
	assert_no_name(&colon, "%VALUE/a");
	assert_no_name(&colon, "a/%VALUE/%VALUE");
	assert_no_name(&colons, "a:/b");
	assert_no_name(&whole_text, "\xff");
	assert_no_name(&colon_text, "a/\xed\xa0\x80");
}

static void a_separator_makes_directories(void **state)
{
	(void)state;
	assert_pair(&colon, PFS_BYTES("user:1:name"), "user/1/name", false);
	assert_pair(&colon, PFS_BYTES("a/b:c"), "a%2Fb/c", false);
	assert_pair(&colon, PFS_BYTES("a::b"), "a/%EMPTY/b", false);
	assert_pair(&colon, PFS_BYTES(":"), "%EMPTY/%EMPTY", false);
	assert_pair(&colon, PFS_BYTES("..:."), "%2E./%2E", false);
	assert_pair(&colons, PFS_BYTES("a::b:c"), "a/b:c", false);
	assert_pair(&colons, PFS_BYTES("a:::b"), "a/:b", false);
	assert_pair(&slash, PFS_BYTES("a/b//c"), "a/b/%EMPTY/c", false);
}

static void a_key_that_is_also_a_prefix_keeps_its_own_value_inside(void **state)
{
	(void)state;
	assert_pair(&colon, PFS_BYTES("a"), "a/%VALUE", true);
	assert_pair(&colon, PFS_BYTES("a:b"), "a/b/%VALUE", true);
	assert_pair(&colon, PFS_BYTES(""), "%EMPTY/%VALUE", true);
	assert_pair(&colon, PFS_BYTES("a:%VALUE"), "a/%25VALUE", false);
}

static void keys_of_a_text_encoding_are_text(void **state)
{
	struct pfs_buf path = {0};

	(void)state;
	assert_pair(&colon_text, PFS_BYTES("gr\xc3\xbc\xc3\x9f:dich"), "gr\xc3\xbc\xc3\x9f/dich",
		    false);
	assert_int_equal(pfs_names_from_key(&whole_text, PFS_BYTES("\xff"), false, &path, NULL),
			 -EILSEQ);
	assert_int_equal(pfs_names_from_key(&whole_text, PFS_BYTES("a\0b"), false, &path, NULL),
			 -EILSEQ);
	pfs_buf_release(&path);
}

static void long_names_get_a_stable_short_form(void **state)
{
	char key[600], want[PFS_NAME_MAX + 1];
	struct pfs_buf path = {0}, back = {0};
	bool lookup = false, own;

	(void)state;
	memset(key, 'a', sizeof(key));
	assert_int_equal(
		pfs_names_from_key(&whole, (struct pfs_bytes){key, 255}, false, &path, &lookup), 0);
	assert_int_equal(path.len, 255);
	assert_false(lookup);
	assert_false(pfs_name_is_short(bytes_of(&path)));
	path.len = 0;
	assert_int_equal(
		pfs_names_from_key(&whole, (struct pfs_bytes){key, 256}, false, &path, &lookup), 0);
	memset(want, 'a', 221);
	memcpy(want + 221,
	       "%~"
	       "02d7160d77e18c6447be80c2e355c7ed",
	       34);
	assert_int_equal(path.len, 255);
	assert_memory_equal(path.data, want, 255);
	assert_true(lookup);
	assert_true(pfs_name_is_short(bytes_of(&path)));
	assert_int_equal(pfs_names_to_key(&whole, bytes_of(&path), &back, &own), 1);
	assert_int_equal(back.len, 0);

	/* A key that looks like a short form is none. */
	assert_int_equal(pfs_names_from_key(&whole, bytes_of(&path), false, &back, &lookup), 0);
	assert_true(lookup); /* with its escape it is too long */
	back.len = 0;
	path.len = 0;
	pfs_buf_str(&path, "x%~0123456789abcdef0123456789abcdef");
	assert_int_equal(pfs_names_from_key(&whole, bytes_of(&path), false, &back, &lookup), 0);
	assert_string_equal(back.data, "x%25~0123456789abcdef0123456789abcdef");
	assert_false(lookup);
	pfs_buf_release(&path);
	pfs_buf_release(&back);
}

static void a_short_form_is_cut_between_characters(void **state)
{
	char key[600];
	struct pfs_buf path = {0};
	bool lookup;
	size_t shift, i, n;

	(void)state;
	for (shift = 0; shift < 3; shift++) {
		memset(key, 'x', shift);
		for (i = shift; i + 3 <= sizeof(key); i += 3)
			memcpy(key + i, "\xe2\x82\xac", 3);
		path.len = 0;
		assert_int_equal(pfs_names_from_key(&whole, (struct pfs_bytes){key, i}, false,
						    &path, &lookup),
				 0);
		assert_true(lookup && path.len <= 255);
		for (i = 0; i < path.len; i += n) {
			n = pfs_utf8_sequence(path.data + i, path.len - i);
			assert_true(n > 0);
		}
		memset(key, 'x', shift);
		memset(key + shift, '/', 100);
		path.len = 0;
		assert_int_equal(pfs_names_from_key(&whole, (struct pfs_bytes){key, shift + 100},
						    false, &path, &lookup),
				 0);
		assert_true(lookup);
		assert_memory_equal(path.data + path.len - 34 - 3, "%2F", 3);
	}
	pfs_buf_release(&path);
}

/* ---- properties ----------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Every component of a path is a legal name. */
static void assert_legal(struct pfs_bytes path)
{
	size_t start = 0, i;

	for (i = 0; i <= path.len; i++) {
		if (i < path.len && path.p[i] != '/')
			continue;
		assert_int_equal(pfs_name_check((struct pfs_bytes){path.p + start, i - start}), 0);
		start = i + 1;
	}
}

/* As a key: it has a path of legal names, which leads back. */
static void check_key(const struct pfs_key_encoding *enc, struct pfs_bytes key, bool own)
{
	static struct pfs_buf path, back;
	bool lookup, own_back;
	int err;

	path.len = back.len = 0;
	err = pfs_names_from_key(enc, key, own, &path, &lookup);
	if (err == -EILSEQ) {
		assert_true(enc->text);
		return;
	}
	assert_int_equal(err, 0);
	assert_legal(bytes_of(&path));
	err = pfs_names_to_key(enc, bytes_of(&path), &back, &own_back);
	assert_int_equal(err, lookup);
	if (lookup)
		return;
	assert_int_equal(own_back, own);
	assert_true(pfs_bytes_eq(bytes_of(&back), key));
}

/* As a path: if it leads to a key, it is the path of that key. */
static void check_path(const struct pfs_key_encoding *enc, struct pfs_bytes path)
{
	static struct pfs_buf key, back;
	bool own;
	int err;

	key.len = back.len = 0;
	err = pfs_names_to_key(enc, path, &key, &own);
	if (err) {
		assert_true(err == -EILSEQ || err == 1);
		assert_int_equal(key.len, 0);
		return;
	}
	assert_int_equal(pfs_names_from_key(enc, bytes_of(&key), own, &back, NULL), 0);
	assert_true(pfs_bytes_eq(bytes_of(&back), path));
}

/* As a name kept in a text type, and as a text that may stand for a name. */
static void check_text(struct pfs_bytes s)
{
	static struct pfs_buf text, back;
	size_t i, n;

	text.len = back.len = 0;
	assert_int_equal(pfs_name_to_text(s, &text), 0);
	for (i = 0; i < text.len; i += n) {
		n = pfs_utf8_sequence(text.data + i, text.len - i);
		assert_true(n > 0);
	}
	assert_int_equal(pfs_name_from_text(bytes_of(&text), &back), 0);
	assert_true(pfs_bytes_eq(bytes_of(&back), s));
	text.len = back.len = 0;
	if (pfs_name_from_text(s, &back) == 0) {
		assert_int_equal(pfs_name_to_text(bytes_of(&back), &text), 0);
		assert_true(pfs_bytes_eq(bytes_of(&text), s));
	}
}

static void check_everything(struct pfs_bytes s)
{
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(encodings); i++) {
		check_key(encodings[i], s, false);
		if (encodings[i]->separator.len)
			check_key(encodings[i], s, true);
		check_path(encodings[i], s);
	}
	check_text(s);
}

/* Every string over `alphabet` of at most `max` bytes (6 or fewer). */
static void check_all_strings(const char *alphabet, size_t size, size_t max)
{
	char s[6];
	size_t len, i, k, count = 1;

	for (len = 0; len <= max; len++, count *= size) {
		for (i = 0; i < count; i++) {
			size_t rest = i;

			for (k = 0; k < len; k++, rest /= size)
				s[k] = alphabet[rest % size];
			check_everything((struct pfs_bytes){s, len});
		}
	}
}

static void every_short_string_of_the_bytes_that_matter_leads_there_and_back(void **state)
{
	static const char alphabet[] = {'%', '2', '5', 'F',  'E',    '0',
					'.', '/', ':', '\0', '\xc3', '\xa9'};

	(void)state;
	check_all_strings(alphabet, sizeof(alphabet), 4);
	check_all_strings("%25F", 4, 6);
	check_all_strings(":./%", 4, 6);
}

static void every_pair_of_bytes_leads_there_and_back(void **state)
{
	char s[2];
	unsigned i;

	(void)state;
	for (i = 0; i < 65536; i++) {
		s[0] = (char)(i >> 8);
		s[1] = (char)i;
		check_everything((struct pfs_bytes){s, 2});
	}
}

static void random_strings_lead_there_and_back(void **state)
{
	static const char *const pieces[] = {
		"%",
		"%2F",
		"%25",
		"%2E",
		"%00",
		"%EMPTY",
		"%VALUE",
		"%~",
		"%C3",
		".",
		"..",
		"/",
		":",
		"::",
		"a",
		"\xff",
		"\xe2\x82\xac",
		"0123456789abcdef0123456789abcdef",
		"long long long",
	};
	const char *given = getenv("PERSISTFS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 42;
	struct pfs_buf s = {0};
	int i;

	(void)state;
	print_message("names: PERSISTFS_SEED=%" PRIu64 "\n", seed);
	for (i = 0; i < 8000; i++) {
		int n = (int)(next_random(&seed) % (i % 10 ? 8 : 60));

		pfs_buf_str(&s, "");
		s.len = 0;
		while (n-- > 0) {
			uint64_t r = next_random(&seed);
			char byte = (char)(r >> 32);

			if (r % 3)
				pfs_buf_str(&s, pieces[r / 3 % PFS_ARRAY_SIZE(pieces)]);
			else
				pfs_buf_add(&s, &byte, 1);
		}
		check_everything(bytes_of(&s));
	}
	pfs_buf_release(&s);
}

static void no_two_keys_share_a_path(void **state)
{
	/* Keys that differ in one escape only, or in what a cut takes away. */
	static const char *const keys[] = {
		"a/b", "a%2Fb", "a%252Fb", "",	   "%EMPTY", "%25EMPTY",
		".",   "%2E",	"..",	   "%2E.", "%",	     "%25",
	};
	char long_a[400], long_b[400];
	struct pfs_buf paths[PFS_ARRAY_SIZE(keys)] = {{0}}, a = {0}, b = {0};
	size_t i, j;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++) {
		assert_int_equal(
			pfs_names_from_key(&whole, pfs_bytes_str(keys[i]), false, &paths[i], NULL),
			0);
		for (j = 0; j < i; j++)
			assert_string_not_equal(paths[i].data, paths[j].data);
	}
	for (i = 0; i < PFS_ARRAY_SIZE(keys); i++)
		pfs_buf_release(&paths[i]);
	memset(long_a, 'k', sizeof(long_a));
	memset(long_b, 'k', sizeof(long_b));
	long_b[399] = 'l';
	assert_int_equal(
		pfs_names_from_key(&whole, (struct pfs_bytes){long_a, 400}, false, &a, NULL), 0);
	assert_int_equal(
		pfs_names_from_key(&whole, (struct pfs_bytes){long_b, 400}, false, &b, NULL), 0);
	assert_string_not_equal(a.data, b.data);
	pfs_buf_release(&a);
	pfs_buf_release(&b);
}

static void names_that_are_no_text_are_escaped_in_text_types_only(void **state)
{
	static const struct {
		struct pfs_bytes name;
		const char *text;
	} pairs[] = {
		{{"plain", 5}, "plain"},	 {{"caf\xc3\xa9", 5}, "caf\xc3\xa9"},
		{{"caf\xe9", 4}, "caf%E9"},	 {{"%E9", 3}, "%25E9"},
		{{"foo%20bar", 9}, "foo%20bar"}, {{"100%", 4}, "100%"},
		{{"%25", 3}, "%2525"},		 {{"\xff\xfe", 2}, "%FF%FE"},
	};
	static const char *const bad[] = {"%C3%A9", "%25", "%2541"};
	struct pfs_buf got = {0};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(pairs); i++) {
		got.len = 0;
		assert_int_equal(pfs_name_to_text(pairs[i].name, &got), 0);
		assert_string_equal(got.data, pairs[i].text);
		got.len = 0;
		assert_int_equal(pfs_name_from_text(pfs_bytes_str(pairs[i].text), &got), 0);
		assert_true(pfs_bytes_eq(bytes_of(&got), pairs[i].name));
	}
	for (i = 0; i < PFS_ARRAY_SIZE(bad); i++)
		assert_int_equal(pfs_name_from_text(pfs_bytes_str(bad[i]), &got), -EILSEQ);
	pfs_buf_release(&got);
}

static void a_literal_name_has_1_to_255_bytes_and_is_no_path(void **state)
{
	char name[257];

	(void)state;
	memset(name, '%', sizeof(name));
	assert_int_equal(pfs_name_check((struct pfs_bytes){name, 1}), 0);
	assert_int_equal(pfs_name_check((struct pfs_bytes){name, 255}), 0);
	assert_int_equal(pfs_name_check((struct pfs_bytes){name, 256}), -ENAMETOOLONG);
	assert_int_equal(pfs_name_check(PFS_BYTES("")), -EINVAL);
	assert_int_equal(pfs_name_check(PFS_BYTES(".")), -EINVAL);
	assert_int_equal(pfs_name_check(PFS_BYTES("..")), -EINVAL);
	assert_int_equal(pfs_name_check(PFS_BYTES("...")), 0);
	assert_int_equal(pfs_name_check(PFS_BYTES("a/b")), -EINVAL);
	assert_int_equal(pfs_name_check(PFS_BYTES("a\0b")), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_names_are_themselves),
		cmocka_unit_test(what_cannot_stand_in_a_name_is_escaped),
		cmocka_unit_test(a_percent_is_escaped_only_where_it_would_read_as_an_escape),
		cmocka_unit_test(names_that_no_key_has_are_eilseq),
		cmocka_unit_test(a_separator_makes_directories),
		cmocka_unit_test(a_key_that_is_also_a_prefix_keeps_its_own_value_inside),
		cmocka_unit_test(keys_of_a_text_encoding_are_text),
		cmocka_unit_test(long_names_get_a_stable_short_form),
		cmocka_unit_test(a_short_form_is_cut_between_characters),
		cmocka_unit_test(every_short_string_of_the_bytes_that_matter_leads_there_and_back),
		cmocka_unit_test(every_pair_of_bytes_leads_there_and_back),
		cmocka_unit_test(random_strings_lead_there_and_back),
		cmocka_unit_test(no_two_keys_share_a_path),
		cmocka_unit_test(names_that_are_no_text_are_escaped_in_text_types_only),
		cmocka_unit_test(a_literal_name_has_1_to_255_bytes_and_is_no_path),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
