/*
 * The ground floor: buffers, JSON strings, UTF-8, messages, and what the log writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/base.h"

static void a_buffer_grows_and_stays_terminated(void **state)
{
	struct pfs_buf b = {0};
	size_t i;

	(void)state;
	pfs_buf_str(&b, "");
	assert_string_equal(b.data, "");
	for (i = 0; i < 1000; i++) {
		pfs_buf_add(&b, "x", 1);
		assert_int_equal(b.data[b.len], '\0');
	}
	pfs_buf_printf(&b, "%d-%s", 42, "end");
	assert_int_equal(b.len, 1006);
	assert_string_equal(b.data + 1000, "42-end");
	pfs_buf_release(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
}

static void a_buffer_that_cannot_grow_says_so_and_ignores_the_rest(void **state)
{
	struct pfs_buf b = {0};

	(void)state;
	pfs_buf_str(&b, "kept");
	pfs_buf_add(&b, "x", SIZE_MAX / 2);
	assert_true(b.failed);
	pfs_buf_str(&b, "more");
	assert_string_equal(b.data, "kept");
	pfs_buf_release(&b);
}

static void any_bytes_make_a_json_string(void **state)
{
	static const struct {
		struct pfs_bytes in;
		const char *out;
	} cases[] = {
		{{"", 0}, "\"\""},
		{{"plain", 5}, "\"plain\""},
		{{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
		{{"\n\t\x01\x7f\0", 5}, "\"\\n\\u0009\\u0001\\u007f\\u0000\""},
		{{"\xc3\xa9\xf0\x9f\x98\x80", 6}, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
		{{"a\xff"
		  "b\xc3",
		  4},
		 "\"a\\ufffdb\\ufffd\""},
	};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		struct pfs_buf b = {0};

		pfs_buf_json(&b, cases[i].in.p, cases[i].in.len);
		assert_string_equal(b.data, cases[i].out);
		pfs_buf_release(&b);
	}
}

static void only_well_formed_utf8_is_a_sequence(void **state)
{
	static const struct {
		const char *p;
		size_t n, want;
	} cases[] = {
		{"a", 1, 1},
		{"\0", 1, 1},
		{"\x7f", 1, 1},
		{"\xc3\xa9", 2, 2},
		{"\xc3\xa9", 1, 0},
		{"\x80", 1, 0},
		{"\xc0\x80", 2, 0},
		{"\xc1\xbf", 2, 0},
		{"\xc2\x80", 2, 2},
		{"\xe0\x9f\xbf", 3, 0},
		{"\xe0\xa0\x80", 3, 3},
		{"\xed\x9f\xbf", 3, 3},
		{"\xed\xa0\x80", 3, 0},
		{"\xef\xbf\xbf", 3, 3},
		{"\xf0\x8f\xbf\xbf", 4, 0},
		{"\xf0\x90\x80\x80", 4, 4},
		{"\xf4\x8f\xbf\xbf", 4, 4},
		{"\xf4\x90\x80\x80", 4, 0},
		{"\xf5\x80\x80\x80", 4, 0},
		{"\xe2\x82"
		 "a",
		 3, 0},
		{"\xff", 1, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < PFS_ARRAY_SIZE(cases); i++)
		assert_int_equal(pfs_utf8_sequence(cases[i].p, cases[i].n), cases[i].want);
}

static void a_message_is_cut_and_may_be_unwanted(void **state)
{
	struct pfs_msg m;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[999] = '\0';
	pfs_msg_set(&m, "%s", text);
	assert_int_equal(strlen(m.text), sizeof(m.text) - 1);
	pfs_msg_clear(&m);
	assert_string_equal(m.text, "");
	pfs_msg_set(NULL, "nobody");
	pfs_msg_clear(NULL);
}

static void *set_error_text(void *arg)
{
	(void)arg;
	pfs_error_text_set("of %s", "another thread");
	return NULL;
}

static void the_error_text_belongs_to_its_thread(void **state)
{
	pthread_t thread;

	(void)state;
	assert_string_equal(pfs_error_text(), "");
	pfs_error_text_set("disk %d is full", 7);
	assert_int_equal(pthread_create(&thread, NULL, set_error_text, NULL), 0);
	pthread_join(thread, NULL);
	assert_string_equal(pfs_error_text(), "disk 7 is full");
	pfs_error_text_clear();
	assert_string_equal(pfs_error_text(), "");
}

/* ---- the log -------------------------------------------------------------------------------- */

static char log_path[64];

static int make_log_path(void **state)
{
	int fd;

	(void)state;
	strcpy(log_path, "/tmp/test-log-XXXXXX");
	fd = mkstemp(log_path);
	assert_true(fd >= 0);
	close(fd);
	unlink(log_path);
	return 0;
}

static int remove_log(void **state)
{
	(void)state;
	pfs_log_close();
	unlink(log_path);
	return 0;
}

static char *read_log(void)
{
	static char text[200000];
	int fd = open(log_path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	return text;
}

static void a_log_file_is_private_appended_to_and_one_line_per_call(void **state)
{
	struct stat st;
	char *text, *line;

	(void)state;
	assert_int_equal(pfs_log_open(log_path, false, NULL), 0);
	assert_int_equal(stat(log_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	errno = EXDEV;
	pfs_log(PFS_LOG_ERROR, "cannot open %s", "two\nlines\x1b[31m");
	assert_int_equal(errno, EXDEV);
	assert_int_equal(pfs_log_open(log_path, false, NULL), 0);
	pfs_log(PFS_LOG_WARN, "second");
	text = read_log();
	line = strchr(text, '\n');
	assert_non_null(line);
	*line = '\0';
	assert_string_equal(text + 24, " error: cannot open two?lines?[31m");
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[23], 'Z');
	assert_string_equal(line + 1 + 24, " warning: second\n");
}

static void a_json_log_has_one_object_per_line(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(pfs_log_open(log_path, true, NULL), 0);
	pfs_log(PFS_LOG_INFO, "say \"%s\"", "\xff");
	text = read_log();
	assert_int_equal(strncmp(text, "{\"time\":\"2", 10), 0);
	assert_non_null(
		strstr(text, "Z\",\"level\":\"info\",\"message\":\"say \\\"\\ufffd\\\"\"}\n"));
}

static void a_log_that_cannot_be_opened_says_why_and_leaves_the_old_one(void **state)
{
	struct pfs_msg msg = {{0}};

	(void)state;
	assert_int_equal(pfs_log_open(log_path, false, NULL), 0);
	assert_int_equal(pfs_log_open("/nonexistent/dir/log", false, &msg), -ENOENT);
	assert_non_null(strstr(msg.text, "/nonexistent/dir/log"));
	pfs_log(PFS_LOG_ERROR, "still here");
	assert_non_null(strstr(read_log(), "still here"));
}

static void debug_lines_are_dropped_unless_asked_for(void **state)
{
	(void)state;
	unsetenv("PERSISTFS_DEBUG");
	assert_int_equal(pfs_log_open(log_path, false, NULL), 0);
	pfs_log(PFS_LOG_DEBUG, "hidden");
	assert_string_equal(read_log(), "");
	setenv("PERSISTFS_DEBUG", "1", 1);
	pfs_log(PFS_LOG_DEBUG, "shown");
	unsetenv("PERSISTFS_DEBUG");
	assert_non_null(strstr(read_log(), " debug: shown\n"));
}

static void *log_much(void *arg)
{
	int i;

	for (i = 0; i < 200; i++)
		pfs_log(PFS_LOG_INFO, "%s", (const char *)arg);
	return NULL;
}

static void lines_of_many_threads_do_not_mix(void **state)
{
	static char texts[4][100];
	pthread_t threads[4];
	char *line, *save = NULL;
	int i, lines = 0;

	(void)state;
	assert_int_equal(pfs_log_open(log_path, false, NULL), 0);
	for (i = 0; i < 4; i++) {
		memset(texts[i], 'a' + i, sizeof(texts[i]) - 1);
		assert_int_equal(pthread_create(&threads[i], NULL, log_much, texts[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (line = strtok_r(read_log(), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *body = line + 24 + strlen(" info: ");

		assert_in_range(body[0], 'a', 'd');
		assert_string_equal(body, texts[body[0] - 'a']);
		lines++;
	}
	assert_int_equal(lines, 800);
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, make_log_path, remove_log)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_buffer_grows_and_stays_terminated),
		cmocka_unit_test(a_buffer_that_cannot_grow_says_so_and_ignores_the_rest),
		cmocka_unit_test(any_bytes_make_a_json_string),
		cmocka_unit_test(only_well_formed_utf8_is_a_sequence),
		cmocka_unit_test(a_message_is_cut_and_may_be_unwanted),
		cmocka_unit_test(the_error_text_belongs_to_its_thread),
		LOG_TEST(a_log_file_is_private_appended_to_and_one_line_per_call),
		LOG_TEST(a_json_log_has_one_object_per_line),
		LOG_TEST(a_log_that_cannot_be_opened_says_why_and_leaves_the_old_one),
		LOG_TEST(debug_lines_are_dropped_unless_asked_for),
		LOG_TEST(lines_of_many_threads_do_not_mix),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
