/*
 * A table of keys and values that belongs to another application, as files: layout = plain, over any
 * engine with a driver of rows.h. A key is a file, or with `separator` a path; where a namespace column
 * has no fixed value its values are the first directories.
 *
 *	plain.c		the view: look-up, reading, attributes; beginning and end
 *	plain_options.c	what the options and presets say
 *	plain_catalog.c	what the engine's catalogue says of the table; the statements
 *	plain_list.c	directories
 *	plain_path.c	paths and keys; directories that have no key (yet)
 *	plain_write.c	writing, removing, renaming
 *
 * Locks, leaves both: dirs_lock guards the directories without keys and the marks of listings; tell_lock
 * is held while a change is told.
 */
#ifndef PFS_BACKENDS_SQL_PLAIN_H
#define PFS_BACKENDS_SQL_PLAIN_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/adopt/options.h"
#include "backends/adopt/view.h"
#include "backends/names.h"
#include "backends/sql/rows.h"
#include "backends/sql/wake.h"

/* What is written to a column of values, or compared with one of keys. */
enum plain_type {
	PLAIN_TEXT,  /* UTF-8 without NUL, nothing else */
	PLAIN_BYTES, /* any bytes */
	PLAIN_LOOSE, /* text where it is text, else bytes */
	PLAIN_OTHER, /* a text that the engine parses: JSON, numbers */
};

/* How a column says when. */
enum plain_time {
	PLAIN_TIMESTAMPTZ,
	PLAIN_TIMESTAMP, /* without a zone: UTC is meant */
	PLAIN_SECONDS,	 /* whole ones since 1970 */
	PLAIN_REAL,	 /* the same with fractions */
	PLAIN_TIMETEXT,	 /* text such as 2025-01-02T03:04:05+00:00 */
	PLAIN_ANYTIME,	 /* each value is a text or a number */
};

struct plain_column {
	const char *name; /* of the options; NULL: not used */
	bool preset;	  /* the preset's: it need not exist */
	/* By the catalogue: */
	bool there, computed;
	bool bytewise; /* the engine orders it by bytes */
	bool loose;    /* it takes different texts for equal, and nothing can be said against that */
	bool readable;
	enum plain_type type;
	enum plain_time time;
	struct pfs_buf quoted;
};

struct plain;

/* What differs between engines. All have static life. */
struct plain_dialect {
	const char *engine;
	/*
	 * ?1 the name as given: kind ("table", "view", ...), schema, name, may read, may insert, may
	 * update, may delete, rows have versions. At most one row.
	 */
	const char *table_sql;
	const char *names_sql;	 /* the names of what could be shown, some of them */
	const char *columns_sql; /* ?1 schema ?2 table: name, type, bytewise, readable, computed */
	const char *unique_sql;	 /* ?1 schema ?2 table ?3 ?4 columns: a row if a key has no others */
	void (*classify)(struct plain_column *c, struct pfs_bytes type);
	/* Append: alias.column is NULL or in the future. */
	void (*alive)(struct pfs_buf *sql, const char *alias, const struct plain_column *c);
	/* Append: now, as the column has it. */
	void (*now)(struct pfs_buf *sql, const struct plain_column *c);
	/* Append the columns of plain_row_fill(), and how a piece of a value is had (?1 from, ?2 length). */
	void (*row)(struct pfs_buf *sql, const struct plain *v, bool whole);
	void (*piece)(struct pfs_buf *sql, const struct plain *v);
	/* Append a condition that leaves out keys of other types than the column's; may append nothing. */
	void (*keys)(struct pfs_buf *sql, const struct plain *v, const char *alias);
	const char *collate; /* behind a column: order it by bytes */
	bool always_collate; /* the catalogue does not say whether that is needed; it costs nothing */
	bool pushes;	     /* data_version tells */
};

extern const struct plain_dialect plain_sqlite, plain_postgres;

enum plain_stmt {
	PLAIN_ROW,	/* one row, by key */
	PLAIN_ROW_LOCK, /* the same, for writing */
	PLAIN_VALUE_LOCK, /* with the value, for writing */
	PLAIN_PIECE,
	PLAIN_BELOW,	  /* is there a key in a range? */
	PLAIN_NS_HAS,
	PLAIN_NS_NEXT,
	PLAIN_UPDATE,
	PLAIN_REVIVE, /* UPDATE of a row that had expired */
	PLAIN_INSERT,
	PLAIN_DELETE,
	PLAIN_RENAME,
	PLAIN_EXPIRE,
	PLAIN_STMT_COUNT
};

/* A directory that somebody made, or emptied, here: the table has no place for it. Paths. */
struct plain_dirs {
	char **paths; /* sorted */
	size_t n, cap;
};

/* Where a listing that told `name` last goes on. */
struct plain_mark {
	char *path, *name;
	struct pfs_buf key;
	bool after; /* behind the key; false: from it on */
};
#define PLAIN_MARKS 32

struct plain {
	struct pfs_view base;
	struct pfs_rows_db *db;
	const struct plain_dialect *dialect;
	int64_t retry_timeout;
	/* Of the options; texts are borrowed from them, or static. */
	bool read_only, strip;
	const char *tables; /* the one; tables_preset: one or more, divided by '|' */
	bool tables_preset;
	struct plain_column key, value, ns, expires, mtime;
	const char *ns_value; /* the only value of `ns` that is shown */
	struct pfs_buf prefix; /* what the keys begin with that are shown */
	struct pfs_key_encoding enc, flat; /* of keys, and of single names */
	struct pfs_buf after_separator;	   /* plain_bound() of the separator */
	/* By the catalogue, set by start: */
	struct pfs_buf from; /* the table, quoted */
	char *schema, *table;
	bool versions;	  /* rows have one; else it is made from the value */
	bool may_insert, may_update, may_delete;
	struct pfs_msg why_read_only;
	struct pfs_buf sql[PLAIN_STMT_COUNT];
	bool started;

	pthread_mutex_t dirs_lock;
	struct plain_dirs dirs;
	struct plain_mark marks[PLAIN_MARKS];
	unsigned next_mark;

	pthread_mutex_t tell_lock;
	uint64_t version; /* what data_version said when a change was told last */
	struct pfs_wake wake;
	pthread_t thread;
	bool watching;
};

static inline struct plain *plain_of(struct pfs_view *view)
{
	return pfs_container_of(view, struct plain, base);
}

static inline struct pfs_bytes plain_bytes(const struct pfs_buf *b)
{
	return (struct pfs_bytes){b->data ? b->data : "", b->len};
}

/*
 * A view of a table in `host`, read through `db` (consumed, also on failure). As engine->adopt.
 */
int plain_adopt(struct pfs_backend *host, struct pfs_rows_db *db, const struct plain_dialect *dialect,
		const char *name, const struct pfs_option_set *store, struct pfs_backend **out,
		struct pfs_msg *msg);

/* ---- plain.c -------------------------------------------------------------------------------- */

/*
 * Run fn with a connection; errors of one that writes are as a view's slot has them. It is run again where the connection broke, or where that happened at
 * COMMIT and `repeat` says that doing it twice does no harm.
 */
typedef int (*plain_fn)(struct plain *v, struct pfs_rows_conn *c, void *arg);
int plain_with(struct plain *v, bool write, bool repeat, plain_fn fn, void *arg);

/* One row as it was read. */
struct plain_row {
	struct pfs_buf key;
	struct pfs_view_attr attr;
	bool alive; /* it has not expired */
	bool null;  /* its value is */
	enum pfs_value_type expires; /* how that stands in the row */
	/* Where the statement has the value: */
	enum pfs_value_type type;
	struct pfs_buf value;
};
void plain_row_release(struct plain_row *row);
/* From the columns of dialect->row; keep: also the value. 0 or -ENOMEM. */
int plain_row_fill(struct plain *v, struct pfs_rows *r, bool keep, struct plain_row *out);

/* ---- plain_options.c, plain_catalog.c -------------------------------------------------------- */

/* *expiry: there may be times at which keys go. -EINVAL with msg. */
int plain_options(struct plain *v, const struct pfs_option_set *store, bool *expiry,
		  struct pfs_msg *msg);
/* Look at the table and make the statements. */
int plain_look(struct plain *v, struct pfs_rows_conn *c, struct pfs_msg *msg);
/* Append alias.key, as it is compared and ordered. */
void plain_key(struct pfs_buf *sql, const struct plain *v, const char *alias);
/* The same of alias.namespace. */
void plain_space(struct pfs_buf *sql, const struct plain *v, const char *alias);
/* Append AND and the condition that a row is there for who looks. */
void plain_shown(struct pfs_buf *sql, const struct plain *v, const char *alias);
/* Do the engine and we order keys alike? Else only the keys as a whole have an order, the engine's. */
bool plain_ordered(const struct plain *v);

/* ---- plain_path.c --------------------------------------------------------------------------- */

/* What a path means. */
struct plain_place {
	enum plain_what {
		PLAIN_SPACES, /* the directory of namespaces */
		PLAIN_TOP,    /* the directory that all keys (of a namespace) begin in */
		PLAIN_KEY,
	} what;
	struct pfs_buf ns, key; /* as they stand in the table */
	bool own_value;		/* the file %VALUE in the directory of the key */
	struct pfs_bytes path;	/* borrowed */
};
void plain_place_release(struct plain_place *p);
/* -EILSEQ, -ENOENT: a short name that nothing has. May ask the engine. */
int plain_resolve(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes path,
		  struct plain_place *out);
/* What keys below the place begin with. */
int plain_below(const struct plain *v, const struct plain_place *p, struct pfs_buf *out);
/* The first text behind all that begin with `b`, in place. False: there is none. */
bool plain_bound(const struct plain *v, struct pfs_buf *b);
/* A key as a parameter; and the columns that name a row: how many. */
struct pfs_value plain_key_value(const struct plain *v, struct pfs_bytes key);
size_t plain_ident(const struct plain *v, const struct plain_place *p, struct pfs_value *out);

/* Is there a directory without keys at `path`, or below it? */
bool plain_dirs_has(struct plain *v, struct pfs_bytes path);
/* 0, -ENOSPC, -ENOMEM; there already: fine. */
int plain_dirs_add(struct plain *v, struct pfs_bytes path);
/* False: there was none. */
bool plain_dirs_remove(struct plain *v, struct pfs_bytes path);
/* The first name in directory `path` behind `after` of such a one, appended; false: none. */
bool plain_dirs_next(struct plain *v, struct pfs_bytes path, struct pfs_bytes after,
		     struct pfs_buf *out);
void plain_dirs_release(struct plain *v);

/* ---- plain_list.c --------------------------------------------------------------------------- */

int plain_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
	       pfs_view_entry_fn fn, void *arg, bool *end);
/* The key in the range that begins with `begins` whose name is `name`: appended to key. -ENOENT. */
int plain_find_short(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes ns,
		     struct pfs_bytes begins, struct pfs_bytes name, struct pfs_buf *key);
int plain_find_short_ns(struct plain *v, struct pfs_rows_conn *c, struct pfs_bytes name,
			struct pfs_buf *ns);
void plain_marks_release(struct plain *v);

/* ---- what is there, asked on a connection --------------------------------------------------- */

/* The row of a key: 1, 0 where there is none, -errno. */
int plain_row(struct plain *v, struct pfs_rows_conn *c, enum plain_stmt stmt,
	      const struct plain_place *p, struct plain_row *out);
/* Is there a key below the place, or a directory without? 1, 0, -errno. */
int plain_is_dir(struct plain *v, struct pfs_rows_conn *c, const struct plain_place *p);

/* ---- plain_write.c -------------------------------------------------------------------------- */

int plain_write(struct pfs_view *view, struct pfs_bytes path, struct pfs_view_write *w);
int plain_remove(struct pfs_view *view, struct pfs_bytes path, const struct pfs_view_remove *how);
int plain_mkdir(struct pfs_view *view, struct pfs_bytes path);
int plain_rename(struct pfs_view *view, struct pfs_bytes from, struct pfs_bytes to, bool replace,
		 struct pfs_view_attr *out);
int plain_set_expires(struct pfs_view *view, struct pfs_bytes path, int64_t expires);
int plain_xattr_set(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes name,
		    struct pfs_bytes value, struct pfs_view_attr *out);

#endif
