/*
 * Tables, rows and columns as directories and files: kind = sql, over any engine with a driver of rows.h.
 *
 *	TABLE/KEY/COLUMN	the value as the engine's client prints it, but all digits of a real; blobs as
 *				they are
 *	TABLE/KEY.json .csv .tsv
 *	TABLE/.schema .count .info
 *	TABLE/.by/COLUMN/VALUE/ .where/COLUMN/OP/VALUE/ .order/COLUMN[.desc]/ .first/N/ .last/N/
 *		.page/N/SIZE/ .columns/A,B/ .sample/N/ .export/{csv,json,jsonl,tsv}
 *				a selection of rows; they chain in this order, each left out at will, and
 *				.by and .where come any number of times
 *	TABLE/.import/{append,upsert,replace}/{csv,json,jsonl}
 *				what is written there becomes rows, in one transaction
 *
 * A path becomes a place (tables_path.c), and a place one statement (tables_sql.c) whose identifiers are
 * those of the catalogue and whose values are parameters. What begins with a dot, and KEY.json, is never
 * listed.
 *
 *	tables.c	 the view: look-up, reading
 *	tables_list.c	 ... and listing
 *	tables_attr.c	 what files and directories are like
 *	tables_catalog.c what the schema says, kept until it changes
 *	tables_name.c	 names of files for keys, columns and tables
 *	tables_path.c	 paths
 *	tables_sql.c	 statements
 *	tables_format.c	 rows as JSON, CSV and TSV
 *	tables_drawn.c	 listings in another order than that of keys
 *	tables_export.c	 selections as one file
 *	tables_import*.c files that become rows: tables_import.h
 *	tables_large.c	 large values that are being read
 *	tables_write.c	 what is written
 *	tables_json.c	 one JSON object, read
 *	tables_pending.c rows that are not complete yet
 */
#ifndef PFS_BACKENDS_SQL_TABLES_H
#define PFS_BACKENDS_SQL_TABLES_H

#include "backends/adopt/options.h"
#include "backends/adopt/view.h"
#include "backends/sql/rows.h"

/*
 * What becomes of a value that is put into a column, and so how text from a file or a name is meant.
 * TABLES_TEXT: it stays text (also every type of an engine that parses text itself).
 */
enum tables_affinity {
	TABLES_TEXT,
	TABLES_INTEGER,
	TABLES_REAL,
	TABLES_NUMERIC,
	TABLES_ANY, /* each value has a type of its own */
};

struct tables_column {
	char *name, *file, *type; /* file: as a name of a file */
	enum tables_affinity affinity;
	bool binary; /* a value that is not there yet would be a blob */
	bool not_null, has_default, computed, indexed;
	bool identity; /* computed, but an INSERT can be told to take a value */
	bool unreadable, unwritable; /* the user may not SELECT it, or UPDATE it */
	unsigned key; /* 1, 2, ...: the place in the primary key; 0: none */
};

struct tables_table {
	char *name, *file;
	char *relation; /* as statements name it, quoted */
	const struct tables_engine *engine;
	char *schema; /* what made it, for .schema */
	char *fault;  /* NULL, or: why it cannot be shown */
	const char *read_only; /* NULL, or: why it cannot be written; static */
	bool stamped; /* engine->row_stamp can be asked for */
	bool numbered; /* rows have no key: they are called by their number in the engine's order */
	/* Privileges that the user has not; no_update: of no column. */
	bool no_insert, no_update, no_delete;
	bool nullable; /* a part of the key may be NULL: such rows are called by their row id */
	struct tables_column *columns;
	size_t ncolumns;
	size_t *shown; /* columns that may be read */
	size_t nshown;
	size_t *keys; /* columns of the key, in its order */
	size_t nkeys; /* 0: the key is `rowid` */
	char *rowid; /* the name of the row id; of numbered tables, of the number; NULL: there is none */
};

struct tables_catalog {
	unsigned refs; /* under the view's lock */
	uint64_t version;
	int64_t checked; /* monotonic; under the view's lock: when the version was last asked for */
	const struct tables_engine *engine;
	struct tables_table *tables; /* by file name */
	size_t ntables;
};

/* What an engine says about its schema. Called in a transaction. */
struct tables_engine {
	/* Moves when the schema does. */
	int (*version)(struct pfs_rows_db *db, struct pfs_rows_conn *c, uint64_t *out);
	/* Tell every table: tables_catalog_add() and what follows. */
	int (*load)(struct pfs_rows_db *db, struct pfs_rows_conn *c, struct tables_catalog *out);
	int64_t version_age;  /* ns that an answer of version may be old; 0: it is asked in every call */
	const char *as_text;  /* behind a column: its text, where the engine makes none by itself */
	/* What an INSERT begins with, and how many parameters one may have that makes several rows. */
	const char *insert;
	size_t insert_params; /* 0: one row each is as good */
	/*
	 * Of the table ?1 (its `relation` where `typed`, else its name): the columns of its unique keys, as a
	 * number that tells the keys apart, and a name (NULL: something else is in the key); the name of
	 * another table whose rows a DELETE of all of its rows would change or remove.
	 */
	const char *unique_keys, *collateral;
	const char *defer; /* foreign keys, where they can be, are looked at when the transaction ends */
	const char *row_stamp; /* an expression that is another for another state of a row; NULL: none */
	const char *size[2];  /* around a column: how many bytes its text has */
	const char *lock;  /* behind LOCK TABLE x: its writers wait; NULL: all writers do anyway */
	const char *position; /* the function that says where in a text another begins, from 1 */
	bool typed;	      /* parameters take the type that stands beside them */
};

/*
 * The view `name` of the tables of `db` (consumed, also on failure). `descriptor`: of its backend;
 * `store`, `host`, `out` and `msg` as for engine->adopt.
 */
int pfs_tables_new(const char *name, const struct pfs_engine *descriptor, struct pfs_backend *host,
		   const struct pfs_option_set *store, const struct tables_engine *engine,
		   struct pfs_rows_db *db, struct pfs_backend **out, struct pfs_msg *msg);

/* ---- tables_catalog.c ----------------------------------------------------------------------- */

/*
 * A table without columns; NULL: out of memory. Valid until the next is added. schema: of the relation, if
 * it must be said.
 */
struct tables_table *tables_catalog_add(struct tables_catalog *c, struct pfs_bytes schema,
					struct pfs_bytes name);
struct tables_column *tables_add_column(struct tables_table *t, struct pfs_bytes name,
					struct pfs_bytes type);
/* Keys and names of files, of all tables, in order. 0 or -ENOMEM. */
int tables_catalog_finish(struct tables_catalog *c);
void tables_catalog_free(struct tables_catalog *c);
const struct tables_table *tables_find(const struct tables_catalog *c, struct pfs_bytes file);
/* The index of a column by its file name or, with `name`, by its own; -1. */
int tables_find_column(const struct tables_table *t, struct pfs_bytes file);
int tables_column_named(const struct tables_table *t, struct pfs_bytes name);

/* ---- tables_name.c -------------------------------------------------------------------------- */

/*
 * A value as a part of a name. What is text stays as it is, but for the escapes %XX of '/', NUL, a '%'
 * that would read as one, and with `many` ','. %EMPTY, %NULL, %xHEX for blobs, and %TTEXT for text that
 * would read as a number in a column whose values have types.
 */
void tables_name_value(const struct pfs_value *v, enum tables_affinity affinity, bool many,
		       struct pfs_buf *out);
/* Escape a dot in front. */
void tables_name_dot(struct pfs_buf *out);
/* The parts are all there: escape what would be a virtual name, shorten what is too long. */
void tables_name_finish(struct pfs_buf *out);
/* The value that a part stands for; its bytes are in `text`. -EILSEQ, -ENOMEM. */
int tables_name_parse(struct pfs_bytes part, enum tables_affinity affinity, struct pfs_value *out,
		      struct pfs_buf *text);
/* Does it read as a number to the engine? *integer: as one that fits. */
bool tables_is_number(struct pfs_bytes text, bool *integer, int64_t *num);

/* ---- tables_path.c -------------------------------------------------------------------------- */

#define TABLES_FILTERS 16
#define TABLES_KEYS    16

enum tables_kind {
	TABLES_ROOT,	/* the tables */
	TABLES_ROWS,	/* a directory of rows: a table or a selection of it */
	TABLES_SEGMENT, /* a directory on the way to a selection: `segment` so far */
	TABLES_SCHEMA,
	TABLES_COUNT,
	TABLES_INFO,
	TABLES_EXPORT,
	TABLES_IMPORTS, /* .import, or a directory in it */
	TABLES_IMPORT,
	TABLES_ROW,
	TABLES_ROW_FILE,
	TABLES_CELL,
};

enum tables_op {
	TABLES_EQ, TABLES_NE, TABLES_LT, TABLES_LE, TABLES_GT, TABLES_GE, TABLES_LIKE,
	TABLES_CONTAINS, TABLES_PREFIX, TABLES_IS_NULL, TABLES_OPS,
};
extern const char *const tables_op_names[TABLES_OPS];

enum tables_segment {
	TABLES_BY, TABLES_WHERE, TABLES_ORDER, TABLES_FIRST, TABLES_LAST, TABLES_PAGE,
	TABLES_COLUMNS, TABLES_SAMPLE, TABLES_EXPORTS, TABLES_SEGMENTS,
};

enum tables_format { TABLES_CSV, TABLES_JSON, TABLES_JSONL, TABLES_TSV, TABLES_FORMATS };
extern const char *const tables_format_names[TABLES_FORMATS];

/* What an import does with the rows that are there. */
enum tables_import_how { TABLES_APPEND, TABLES_UPSERT, TABLES_REPLACE, TABLES_IMPORT_HOWS };
extern const char *const tables_import_names[TABLES_IMPORT_HOWS];
/* Of the formats the first: TSV is for reading. */
#define TABLES_IMPORT_FORMATS 3

struct tables_filter {
	size_t column;
	enum tables_op op;
	struct pfs_value value;
	struct pfs_buf text;
};

struct tables_key {
	bool by_rowid; /* of a table whose key is another: a part of it is NULL there */
	bool lookup;   /* a short form: found by looking through the keys */
	struct pfs_value values[TABLES_KEYS];
	struct pfs_buf texts[TABLES_KEYS];
	size_t n;
	struct pfs_bytes name; /* in the path */
};

struct tables_place {
	enum tables_kind kind;
	struct pfs_bytes table_name;
	const struct tables_table *table; /* NULL: ROOT */
	struct tables_filter filters[TABLES_FILTERS];
	size_t nfilters;
	int order; /* a column, -1: by key */
	bool desc, first, last;
	int64_t limit, offset; /* limit -1: none */
	int64_t sample;	       /* -1: none */
	size_t *columns;       /* owned: those that are shown; NULL: all */
	size_t ncolumns;
	/* SEGMENT: which one, and the names behind it. */
	enum tables_segment segment;
	size_t nparts;
	size_t segment_column;
	enum tables_op segment_op;
	enum tables_format format; /* EXPORT, IMPORT, ROW_FILE */
	enum tables_import_how how; /* IMPORT; IMPORTS with a part */
	struct tables_key key;	   /* ROW, ROW_FILE, CELL */
	size_t column;		   /* CELL */
	bool virtual_;		   /* a dot-segment is in the path */
};

/*
 * Where `path` leads by the catalogue; whether rows are there is not looked at. To be released also after
 * a failure. -ENOENT, -ENOTDIR, -ENOMEM.
 */
int tables_path(const struct tables_catalog *c, struct pfs_bytes path, struct tables_place *out);
void tables_place_release(struct tables_place *p);
/* The key that `name` in the table says. */
int tables_key_parse(const struct tables_table *t, struct pfs_bytes name, struct tables_key *out);
void tables_key_release(struct tables_key *k);
/* Is the column shown, and the i-th that is. */
size_t tables_shown(const struct tables_place *p);
size_t tables_shown_at(const struct tables_place *p, size_t i);

/* ---- tables_sql.c --------------------------------------------------------------------------- */

/* A statement. The bytes of its values are borrowed. */
struct tables_sql {
	struct pfs_buf text;
	struct pfs_value *params;
	size_t n, cap;
};

void tables_sql_release(struct tables_sql *s);
void tables_sql_str(struct tables_sql *s, const char *text);
/* t."NAME", which nothing but a column can be. */
void tables_sql_column(struct tables_sql *s, const char *name);
void tables_sql_param(struct tables_sql *s, const struct pfs_value *v);
/* How many columns of a result say which row it is: they come first. */
size_t tables_nkeys(const struct tables_table *t);
/*
 * SELECT what says which row it is, and the n columns, FROM the selection of p WHERE TRUE. What may not be
 * read is NULL.
 */
void tables_sql_select(struct tables_sql *s, const struct tables_place *p, const size_t *columns,
		       size_t n);
/* FROM the selection of p WHERE TRUE: statements of another kind begin themselves. */
void tables_sql_from(struct tables_sql *s, const struct tables_place *p);
/* SELECT count(*) FROM the selection of p, a sample of it too. */
void tables_sql_count(struct tables_sql *s, const struct tables_place *p);
/* AND it is the row of this key. */
void tables_sql_is(struct tables_sql *s, const struct tables_table *t, const struct tables_key *k);
/* AND a part of the key is NULL, or none. */
void tables_sql_null_key(struct tables_sql *s, const struct tables_table *t, bool null);
/* AND it follows the row of this key in the order of keys. */
void tables_sql_after(struct tables_sql *s, const struct tables_table *t,
		      const struct tables_key *k);
void tables_sql_order(struct tables_sql *s, const struct tables_place *p);
void tables_sql_limit(struct tables_sql *s, int64_t limit);
/* A value that is computed with: a number stays one whatever it stands beside. */
void tables_sql_value(struct tables_sql *s, const struct pfs_value *v);

/* ---- tables_format.c ------------------------------------------------------------------------ */

/* The line before the first row of a format, and what follows the last. */
void tables_format_head(enum tables_format f, const struct tables_place *p, struct pfs_buf *out);
void tables_format_tail(enum tables_format f, struct pfs_buf *out);
/* Row `i` (from 0): its shown columns start at column `first` of the result. */
void tables_format_row(enum tables_format f, const struct tables_place *p,
		       const struct pfs_rows_db *db, struct pfs_rows *r, int first, uint64_t i,
		       struct pfs_buf *out);

/* ---- tables.c: what the others use ---------------------------------------------------------- */

struct tables_pending;
struct tables_drawn;
struct tables_large;

struct tables {
	struct pfs_view view;
	const struct tables_engine *engine;
	struct pfs_rows_db *db;
	bool strip; /* final_newline */
	int64_t retry_timeout;
	const char *mtime_column; /* NULL: none; borrowed from the options */
	struct pfs_rows_poll *poll;

	pthread_mutex_t lock; /* of what follows; a leaf */
	struct tables_catalog *catalog;
	struct tables_drawn *drawn;
	struct tables_large *large;

	pthread_mutex_t pending_lock; /* of `pending`; held over the INSERT that ends it */
	struct tables_pending *pending;
};

/* A connection in a transaction, with the catalogue that holds in it. */
struct tables_session {
	struct tables *v;
	struct pfs_rows_conn *c;
	struct tables_catalog *catalog; /* counted */
	bool write, committed;
	bool trial; /* nothing is committed */
};

struct tables *tables_of(struct pfs_view *view);
/* Why the table cannot be shown: -errno. NULL: 0. */
int tables_check(const struct tables_table *t);
/* A short name: which key has it? Keys that are too short for one are left out by the engine. */
int tables_find_short(struct tables_session *s, const struct tables_table *t, struct tables_key *key);
/* A connection that turns out broken is made anew: nothing has been done on it yet. */
int tables_enter(struct tables *v, bool write, struct tables_session *out);
/* Keep the session's catalogue longer than the session: to be put. */
struct tables_catalog *tables_catalog_keep(struct tables_session *s);
void tables_catalog_put(struct tables *v, struct tables_catalog *c); /* NULL: no-op */
/* err 0: commit what was written. Returns err, or why it was not, as a view's slot has it. */
int tables_leave(struct tables_session *s, int err);
/* Run a statement up to its first row: 0 and *out, to be ended; -ENOENT: it has none. */
int tables_first_row(struct tables_session *s, const struct tables_sql *sql, struct pfs_rows **out);
/* The row of p->key, if it is in the selection of p; the n columns follow tables_nkeys(). */
int tables_row(struct tables_session *s, struct tables_place *p, const size_t *columns, size_t n,
	       struct pfs_rows **out);
void tables_column_at(struct tables_session *s, struct pfs_rows *r, size_t i,
		      struct pfs_value *out);
/* The name of the row that a result is at. */
int tables_row_name(struct tables_session *s, const struct tables_table *t, struct pfs_rows *r,
		    struct pfs_buf *out);
/* The content of a file that is made as a whole: all but cells and exports. */
int tables_render(struct tables_session *s, struct tables_place *p, struct pfs_buf *out);
int tables_stat_place(struct tables_session *s, struct tables_place *p, struct pfs_view_attr *out);
/* A page of the rows of p, which is at `path`: as the slot list. */
int tables_drawn_list(struct tables_session *s, const struct tables_place *p, struct pfs_bytes path,
		      struct pfs_bytes after, size_t limit, pfs_view_entry_fn fn, void *arg,
		      bool *end);
void tables_drawn_free(struct tables *v);
/* A file without a name. 0 or -errno. */
int tables_temp_file(int *fd);
/* Write what has been gathered, and empty it. */
int tables_temp_drain(int fd, struct pfs_buf *b);
/* The export at p, into a file without a name: see pfs_store_snapshot(). */
int tables_export(struct tables_session *s, struct tables_place *p, int *fd);
/* A file without a name that has this content. */
int tables_file(int *fd, struct pfs_bytes content);

/* ---- tables_attr.c -------------------------------------------------------------------------- */

/* A version for a content: the same for the same bytes. */
uint64_t tables_version(uint64_t seed, struct pfs_bytes b);
/* Is what is there made of other data? */
bool tables_is_derived(const struct tables_place *p);
void tables_dir_attr_of(bool writable, struct pfs_view_attr *out);
/* A directory of rows: they can be made or removed. t NULL: of tables. */
void tables_dir_attr(const struct tables_table *t, struct pfs_view_attr *out);
/* Can some column of a row be written? */
bool tables_row_writable(const struct tables_table *t);
/* Is of every table, and not to be opened where that cannot be written. */
void tables_import_attr(struct pfs_view_attr *out);
void tables_file_attr(struct pfs_bytes content, bool read_only, struct pfs_view_attr *out);
void tables_cell_attr(const struct tables_table *t, const struct tables_column *col,
		      const struct pfs_value *v, struct pfs_view_attr *out);
/* The column that says when a row was changed; -1: the table has none. */
int tables_mtime_column(const struct tables *v, const struct tables_table *t);
int64_t tables_time_of(const struct pfs_value *v);

/* ---- tables_list.c -------------------------------------------------------------------------- */

int tables_list(struct pfs_view *view, struct pfs_bytes path, struct pfs_bytes after, size_t limit,
		pfs_view_entry_fn fn, void *arg, bool *end);

/* ---- tables_large.c ------------------------------------------------------------------------- */

#define TABLES_STAMP 96

/* What stands for the state of all rows, asked before one is read; "": the engine does not tell. */
void tables_large_stamp(struct tables *v, char stamp[TABLES_STAMP]);
/* The same for that of the row of p->key, where the engine has such a thing. 0, -ENOENT... */
int tables_large_row_stamp(struct tables_session *s, const struct tables_place *p,
			   char stamp[TABLES_STAMP]);
/* Bytes of the value at `path`, if that is kept and of this stamp; -ENOENT. */
ssize_t tables_large_read(struct tables *v, struct pfs_bytes path, const char *stamp, uint64_t off,
			  void *buf, size_t len, uint64_t *version);
/* Keep it, if it is large. */
void tables_large_keep(struct tables *v, struct pfs_bytes path, const char *stamp,
		       struct pfs_bytes value, uint64_t version);
void tables_large_free(struct tables *v);

#endif
