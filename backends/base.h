/*
 * What every layer above and every engine below uses: messages for people, byte strings, growing
 * buffers, clocks and the log. Depends on nothing of persistfs.
 */
#ifndef PFS_BACKENDS_BASE_H
#define PFS_BACKENDS_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PFS_VERSION "0.1.0"

#define pfs_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define PFS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PFS_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define NSEC_PER_SEC 1000000000LL

/* Bytes that belong to somebody else (borrowed): names and values, not NUL-terminated. */
struct pfs_bytes {
	const char *p;
	size_t len;
};

#define PFS_BYTES(s) ((struct pfs_bytes){(s), sizeof(s) - 1})
struct pfs_bytes pfs_bytes_str(const char *s);
bool pfs_bytes_eq(struct pfs_bytes a, struct pfs_bytes b);
/* The length of the well-formed UTF-8 sequence at p (n > 0 bytes are there): 1..4; 0: none. */
size_t pfs_utf8_sequence(const char *p, size_t n);

/* A message for a person, built once, where the fault is known. Empty means: none. */
struct pfs_msg {
	char text[512];
};

void pfs_msg_set(struct pfs_msg *m, const char *fmt, ...) PFS_PRINTF(2, 3); /* m may be NULL */
void pfs_msg_clear(struct pfs_msg *m);					     /* m may be NULL */

/*
 * A growing buffer. Zero-initialised is empty. A failed growth sets `failed`, and later appends
 * are no-ops, so that a caller checks once at the end. `data` is always NUL-terminated when
 * len > 0 or after pfs_buf_str().
 */
struct pfs_buf {
	char *data;
	size_t len, cap;
	bool failed;
};

void pfs_buf_add(struct pfs_buf *b, const void *p, size_t n);
void pfs_buf_str(struct pfs_buf *b, const char *s);
void pfs_buf_printf(struct pfs_buf *b, const char *fmt, ...) PFS_PRINTF(2, 3);
/* A quoted JSON string; bytes that are no UTF-8 become U+FFFD. */
void pfs_buf_json(struct pfs_buf *b, const char *s, size_t n);
void pfs_buf_release(struct pfs_buf *b);

int64_t pfs_now_ns(void);	/* CLOCK_REALTIME */
int64_t pfs_monotonic_ns(void); /* CLOCK_MONOTONIC */

/*
 * The log. Thread-safe; never blocks on anything but the log's own target. Secrets must not be
 * passed in. Before pfs_log_open() it goes to stderr as text. Each call makes one line: control
 * characters in it become '?'. PFS_LOG_DEBUG is dropped unless PERSISTFS_DEBUG is set in the
 * environment. errno is left alone.
 */
enum pfs_log_level { PFS_LOG_ERROR, PFS_LOG_WARN, PFS_LOG_INFO, PFS_LOG_DEBUG };

/*
 * target: "syslog", "stderr" or a path (0600, appended). json: one JSON object per line. 0, or
 * -errno with msg; the log then stays as it was.
 */
int pfs_log_open(const char *target, bool json, struct pfs_msg *msg);
void pfs_log_close(void);
void pfs_log(enum pfs_log_level level, const char *fmt, ...) PFS_PRINTF(2, 3);

/*
 * The text in which the engine last explained a failure to this thread: set by engines where they
 * map an unexpected error, read by fs/ right after a call failed. Never NULL; "" when there is none.
 */
void pfs_error_text_set(const char *fmt, ...) PFS_PRINTF(1, 2);
void pfs_error_text_clear(void);
const char *pfs_error_text(void);

#endif
