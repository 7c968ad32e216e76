/*
 * The ground floor: byte strings, messages for people, growing buffers, clocks, the log and the
 * engine's last words per thread. Knows nothing of stores.
 *
 * log_lock guards the log's target and form, and is held while a line is written.
 */
#include "backends/base.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* ---- byte strings --------------------------------------------------------------------------- */

struct pfs_bytes pfs_bytes_str(const char *s)
{
	return (struct pfs_bytes){s, strlen(s)};
}

bool pfs_bytes_eq(struct pfs_bytes a, struct pfs_bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

size_t pfs_utf8_sequence(const char *p, size_t n)
{
	const unsigned char *s = (const unsigned char *)p;
	unsigned low = 0x80, high = 0xbf;
	size_t len, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n < len)
		return 0;
	/* Overlong forms, surrogates and what is above U+10FFFF show in the second byte. */
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (i = 2; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

/* ---- messages ------------------------------------------------------------------------------- */

void pfs_msg_set(struct pfs_msg *m, const char *fmt, ...)
{
	va_list ap;

	if (!m)
		return;
	va_start(ap, fmt);
	vsnprintf(m->text, sizeof(m->text), fmt, ap);
	va_end(ap);
}

void pfs_msg_clear(struct pfs_msg *m)
{
	if (m)
		m->text[0] = '\0';
}

/* ---- growing buffers ------------------------------------------------------------------------ */

/* Room for n more bytes and a NUL. */
static bool buf_reserve(struct pfs_buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 64;
	char *data;

	if (b->failed)
		return false;
	if (n >= SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return false;
	}
	while (cap < b->len + n + 1)
		cap *= 2;
	if (cap == b->cap)
		return true;
	data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void pfs_buf_add(struct pfs_buf *b, const void *p, size_t n)
{
	if (!buf_reserve(b, n))
		return;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void pfs_buf_str(struct pfs_buf *b, const char *s)
{
	pfs_buf_add(b, s, strlen(s));
}

void pfs_buf_printf(struct pfs_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	if (!buf_reserve(b, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void pfs_buf_json(struct pfs_buf *b, const char *s, size_t n)
{
	size_t i, len;

	pfs_buf_add(b, "\"", 1);
	for (i = 0; i < n; i += len) {
		unsigned char c = (unsigned char)s[i];

		len = pfs_utf8_sequence(s + i, n - i);
		if (len == 0) {
			pfs_buf_str(b, "\\ufffd");
			len = 1;
		} else if (c == '"' || c == '\\') {
			pfs_buf_printf(b, "\\%c", c);
		} else if (c == '\n') {
			pfs_buf_str(b, "\\n");
		} else if (c < 0x20 || c == 0x7f) {
			pfs_buf_printf(b, "\\u%04x", c);
		} else {
			pfs_buf_add(b, s + i, len);
		}
	}
	pfs_buf_add(b, "\"", 1);
}

void pfs_buf_release(struct pfs_buf *b)
{
	free(b->data);
	*b = (struct pfs_buf){0};
}

/* ---- clocks --------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t pfs_now_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t pfs_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- the log -------------------------------------------------------------------------------- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = STDERR_FILENO;
static bool log_syslog, log_json;

static const char *const log_level_names[] = {"error", "warning", "info", "debug"};
static const int log_priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

int pfs_log_open(const char *target, bool json, struct pfs_msg *msg)
{
	bool to_syslog = strcmp(target, "syslog") == 0;
	int fd = STDERR_FILENO;

	if (!to_syslog && strcmp(target, "stderr") != 0) {
		fd = open(target, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd < 0) {
			int err = errno;

			pfs_msg_set(msg, "cannot open the log %s: %s", target, strerror(err));
			return -err;
		}
	}
	pfs_log_close();
	pthread_mutex_lock(&log_lock);
	if (to_syslog)
		openlog("persistfs", LOG_PID, LOG_DAEMON);
	log_syslog = to_syslog;
	log_json = json;
	log_fd = fd;
	pthread_mutex_unlock(&log_lock);
	return 0;
}

void pfs_log_close(void)
{
	pthread_mutex_lock(&log_lock);
	if (log_syslog)
		closelog();
	if (log_fd != STDERR_FILENO)
		close(log_fd);
	log_syslog = false;
	log_json = false;
	log_fd = STDERR_FILENO;
	pthread_mutex_unlock(&log_lock);
}

static void log_format_time(char out[32])
{
	int64_t now = pfs_now_ns();
	time_t sec = (time_t)(now / NSEC_PER_SEC);
	struct tm tm;
	size_t n;

	gmtime_r(&sec, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03dZ", (int)(now % NSEC_PER_SEC / 1000000));
}

static void log_build_line(struct pfs_buf *line, enum pfs_log_level level, const char *text)
{
	char when[32];

	log_format_time(when);
	if (log_json) {
		pfs_buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", when,
			       log_level_names[level]);
		pfs_buf_json(line, text, strlen(text));
		pfs_buf_str(line, "}\n");
	} else if (log_fd == STDERR_FILENO) {
		pfs_buf_printf(line, "persistfs: %s: %s\n", log_level_names[level], text);
	} else {
		pfs_buf_printf(line, "%s %s: %s\n", when, log_level_names[level], text);
	}
}

static void log_write(enum pfs_log_level level, const char *text)
{
	struct pfs_buf line = {0};

	pthread_mutex_lock(&log_lock);
	if (log_syslog && !log_json) {
		syslog(log_priorities[level], "%s", text);
		goto out;
	}
	log_build_line(&line, level, text);
	if (line.failed)
		goto out;
	if (log_syslog) {
		syslog(log_priorities[level], "%.*s", (int)line.len - 1, line.data);
	} else {
		/* One write is one line also where several processes append. */
		ssize_t n = write(log_fd, line.data, line.len);

		(void)n; /* nobody is left to be told */
	}
out:
	pthread_mutex_unlock(&log_lock);
	pfs_buf_release(&line);
}

void pfs_log(enum pfs_log_level level, const char *fmt, ...)
{
	int saved = errno;
	char text[2048], *p;
	va_list ap;

	if (level == PFS_LOG_DEBUG && !getenv("PERSISTFS_DEBUG"))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (p = text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	log_write(level, text);
	errno = saved;
}

/* ---- the engine's last words ---------------------------------------------------------------- */

static __thread char error_text[512];

void pfs_error_text_set(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error_text, sizeof(error_text), fmt, ap);
	va_end(ap);
}

void pfs_error_text_clear(void)
{
	error_text[0] = '\0';
}

const char *pfs_error_text(void)
{
	return error_text;
}
