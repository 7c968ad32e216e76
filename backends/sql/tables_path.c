/*
 * Paths: which table, which rows of it, and which row, column or virtual file. The catalogue alone is
 * asked. Segments have ranks, which never fall along a path; .by and .where may repeat.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/tables.h"

const char *const tables_op_names[TABLES_OPS] = {"eq", "ne",   "lt",	   "le",     "gt",
						 "ge", "like", "contains", "prefix", "is-null"};
const char *const tables_import_names[TABLES_IMPORT_HOWS] = {"append", "upsert", "replace"};
const char *const tables_format_names[TABLES_FORMATS] = {"csv", "json", "jsonl", "tsv"};

/* rank: order in a path; parts: names that follow. */
static const struct segment {
	const char *name;
	size_t parts;
	unsigned rank;
	bool repeats;
} segments[TABLES_SEGMENTS] = {
	[TABLES_BY] = {".by", 2, 1, true},
	[TABLES_WHERE] = {".where", 3, 1, true},
	[TABLES_ORDER] = {".order", 1, 2, false},
	[TABLES_FIRST] = {".first", 1, 3, false},
	[TABLES_LAST] = {".last", 1, 3, false},
	[TABLES_PAGE] = {".page", 2, 3, false},
	[TABLES_COLUMNS] = {".columns", 1, 4, false},
	[TABLES_SAMPLE] = {".sample", 1, 5, false},
	[TABLES_EXPORTS] = {".export", 1, 6, false},
};

static int find_word(const char *const *words, size_t n, struct pfs_bytes word)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (pfs_bytes_eq(pfs_bytes_str(words[i]), word))
			return (int)i;
	return -1;
}

/* The next name of *path; false: there is none. */
static bool next_name(struct pfs_bytes *path, struct pfs_bytes *name)
{
	const char *slash;

	if (!path->len)
		return false;
	slash = memchr(path->p, '/', path->len);
	*name = (struct pfs_bytes){path->p, slash ? (size_t)(slash - path->p) : path->len};
	path->p += name->len + (slash != NULL);
	path->len -= name->len + (slash != NULL);
	return true;
}

/* ---- keys ----------------------------------------------------------------------------------- */

void tables_key_release(struct tables_key *k)
{
	size_t i;

	for (i = 0; i < TABLES_KEYS; i++)
		pfs_buf_release(&k->texts[i]);
}

static int parse_rowid(struct pfs_bytes digits, struct tables_key *out)
{
	int err = tables_name_parse(digits, TABLES_INTEGER, &out->values[0], &out->texts[0]);

	out->n = 1;
	if (!err && out->values[0].type != PFS_VALUE_INTEGER)
		err = -ENOENT;
	return err == -EILSEQ ? -ENOENT : err;
}

int tables_key_parse(const struct tables_table *t, struct pfs_bytes name, struct tables_key *out)
{
	const char *mark = "%ROWID", *comma;
	struct pfs_bytes part;
	int err = 0;

	out->name = name;
	out->lookup = pfs_name_is_short(name);
	if (out->lookup)
		return 0;
	if (!t->nkeys)
		return parse_rowid(name, out);
	if (t->nullable && name.len > strlen(mark) && !memcmp(name.p, mark, strlen(mark))) {
		out->by_rowid = true;
		return parse_rowid(
			(struct pfs_bytes){name.p + strlen(mark), name.len - strlen(mark)}, out);
	}
	while (!err && out->n < t->nkeys) {
		comma = out->n + 1 < t->nkeys ? memchr(name.p, ',', name.len) : NULL;
		if (out->n + 1 < t->nkeys && !comma)
			return -ENOENT;
		part = (struct pfs_bytes){name.p, comma ? (size_t)(comma - name.p) : name.len};
		err = tables_name_parse(part, t->columns[t->keys[out->n]].affinity,
					&out->values[out->n], &out->texts[out->n]);
		if (!err && out->values[out->n].type == PFS_VALUE_NULL)
			err = -ENOENT; /* %ROWID says which row that is */
		out->n++;
		name.p += part.len + (comma != NULL);
		name.len -= part.len + (comma != NULL);
	}
	return err == -EILSEQ ? -ENOENT : err;
}

/* ---- segments ------------------------------------------------------------------------------- */

static int parse_count(struct pfs_bytes name, int64_t least, int64_t *out)
{
	bool integer;

	if (!tables_is_number(name, &integer, out) || !integer || *out < least ||
	    (name.len > 1 && name.p[0] == '0') || name.p[0] == '+')
		return -ENOENT;
	return 0;
}

static int add_filter(struct tables_place *p, size_t column, enum tables_op op,
		      struct pfs_bytes name)
{
	const struct tables_column *col = &p->table->columns[column];
	struct tables_filter *f;
	int err;

	if (p->nfilters == TABLES_FILTERS)
		return -ENOENT;
	f = &p->filters[p->nfilters++];
	f->column = column;
	f->op = op;
	if (op == TABLES_IS_NULL) {
		bool yes = pfs_bytes_eq(name, PFS_BYTES("yes"));

		f->value = pfs_value_integer(yes);
		return yes || pfs_bytes_eq(name, PFS_BYTES("no")) ? 0 : -ENOENT;
	}
	err = tables_name_parse(name, op >= TABLES_LIKE ? TABLES_TEXT : col->affinity, &f->value,
				&f->text);
	if (!err && f->value.type == PFS_VALUE_NULL) {
		if (op != TABLES_EQ && op != TABLES_NE)
			return -ENOENT;
		f->op = TABLES_IS_NULL;
		f->value = pfs_value_integer(op == TABLES_EQ);
	}
	return err == -EILSEQ ? -ENOENT : err;
}

static int set_order(struct tables_place *p, struct pfs_bytes name)
{
	static const char desc[] = ".desc";
	size_t n = sizeof(desc) - 1;

	p->order = tables_find_column(p->table, name);
	if (p->order < 0 && name.len > n && !memcmp(name.p + name.len - n, desc, n)) {
		p->order = tables_find_column(p->table, (struct pfs_bytes){name.p, name.len - n});
		p->desc = true;
	}
	return p->order < 0 ? -ENOENT : 0;
}

static int set_columns(struct tables_place *p, struct pfs_bytes names)
{
	struct pfs_value v = {0};
	struct pfs_buf text = {0};
	const char *comma;
	int err = 0, column;
	bool more = true;

	p->columns = calloc(names.len + 1, sizeof(*p->columns));
	if (!p->columns)
		return -ENOMEM;
	while (more && !err) {
		comma = names.len ? memchr(names.p, ',', names.len) : NULL;
		more = comma != NULL;
		struct pfs_bytes part = {names.p, comma ? (size_t)(comma - names.p) : names.len};

		err = tables_name_parse(part, TABLES_TEXT, &v, &text);
		column = err ? -1 : tables_column_named(p->table, v.bytes);
		if (!err && column < 0)
			err = -ENOENT;
		if (!err)
			p->columns[p->ncolumns++] = (size_t)column;
		names.p += part.len + more;
		names.len -= part.len + more;
	}
	pfs_buf_release(&text);
	return err == -EILSEQ ? -ENOENT : err;
}

/* A name behind the segment that is being read. */
static int take_part(struct tables_place *p, struct pfs_bytes name)
{
	bool column = (p->segment == TABLES_BY || p->segment == TABLES_WHERE) && !p->nparts;
	int found, err = 0;

	if (column) {
		found = tables_find_column(p->table, name);
		if (found < 0 || (p->segment == TABLES_BY && !p->table->columns[found].indexed))
			return -ENOENT;
		p->segment_column = (size_t)found;
	} else if (p->segment == TABLES_WHERE && p->nparts == 1) {
		found = find_word(tables_op_names, TABLES_OPS, name);
		if (found < 0)
			return -ENOENT;
		p->segment_op = (enum tables_op)found;
	} else if (p->segment == TABLES_BY) {
		err = add_filter(p, p->segment_column, TABLES_EQ, name);
	} else if (p->segment == TABLES_WHERE) {
		err = add_filter(p, p->segment_column, p->segment_op, name);
	} else if (p->segment == TABLES_ORDER) {
		err = set_order(p, name);
	} else if (p->segment == TABLES_FIRST || p->segment == TABLES_LAST) {
		err = parse_count(name, 0, &p->limit);
		p->first = p->segment == TABLES_FIRST;
		p->last = !p->first;
	} else if (p->segment == TABLES_PAGE && !p->nparts) {
		err = parse_count(name, 1, &p->offset);
	} else if (p->segment == TABLES_PAGE) {
		err = parse_count(name, 1, &p->limit);
		if (!err && __builtin_mul_overflow(p->offset - 1, p->limit, &p->offset))
			err = -ENOENT;
	} else if (p->segment == TABLES_COLUMNS) {
		err = set_columns(p, name);
	} else if (p->segment == TABLES_SAMPLE) {
		err = parse_count(name, 0, &p->sample);
	} else {
		found = find_word(tables_format_names, TABLES_FORMATS, name);
		p->kind = TABLES_EXPORT;
		p->format = (enum tables_format)found;
		return found < 0 ? -ENOENT : 0;
	}
	p->nparts++;
	if (!err && p->nparts == segments[p->segment].parts)
		p->kind = TABLES_ROWS;
	return err;
}

/* ---- names in a directory of rows ----------------------------------------------------------- */

static int take_virtual(struct tables_place *p, struct pfs_bytes name, unsigned *rank)
{
	size_t i;

	if (pfs_bytes_eq(name, PFS_BYTES(".count"))) {
		p->kind = TABLES_COUNT;
		p->virtual_ = true;
		return 0;
	}
	if (!p->virtual_ &&
	    (pfs_bytes_eq(name, PFS_BYTES(".schema")) || pfs_bytes_eq(name, PFS_BYTES(".info")))) {
		p->kind = name.p[1] == 's' ? TABLES_SCHEMA : TABLES_INFO;
		p->virtual_ = true;
		return 0;
	}
	if (!p->virtual_ && pfs_bytes_eq(name, PFS_BYTES(".import"))) {
		p->kind = TABLES_IMPORTS;
		p->virtual_ = true;
		return 0;
	}
	for (i = 0; i < TABLES_SEGMENTS; i++) {
		const struct segment *s = &segments[i];

		if (!pfs_bytes_eq(name, pfs_bytes_str(s->name)))
			continue;
		if (s->rank < *rank || (s->rank == *rank && !s->repeats))
			return -ENOENT;
		*rank = s->rank;
		p->kind = TABLES_SEGMENT;
		p->segment = (enum tables_segment)i;
		p->nparts = 0;
		p->virtual_ = true;
		return 0;
	}
	return -ENOENT;
}

static int take_import(struct tables_place *p, struct pfs_bytes name)
{
	int found = p->nparts ? find_word(tables_format_names, TABLES_IMPORT_FORMATS, name)
			      : find_word(tables_import_names, TABLES_IMPORT_HOWS, name);

	if (found < 0)
		return -ENOENT;
	if (p->nparts++) {
		p->kind = TABLES_IMPORT;
		p->format = (enum tables_format)found;
	} else {
		p->how = (enum tables_import_how)found;
	}
	return 0;
}

static int take_row(struct tables_place *p, struct pfs_bytes name)
{
	size_t i, n;

	p->kind = TABLES_ROW;
	for (i = 0; i < TABLES_FORMATS; i++) {
		n = strlen(tables_format_names[i]);
		if (i == TABLES_JSONL || name.len <= n + 1 || name.p[name.len - n - 1] != '.' ||
		    memcmp(name.p + name.len - n, tables_format_names[i], n) != 0)
			continue;
		p->kind = TABLES_ROW_FILE;
		p->format = (enum tables_format)i;
		name.len -= n + 1;
		break;
	}
	return tables_key_parse(p->table, name, &p->key);
}

static int take_cell(struct tables_place *p, struct pfs_bytes name)
{
	int column = tables_find_column(p->table, name);
	size_t i;

	if (column < 0)
		return -ENOENT;
	for (i = 0; p->columns && i < p->ncolumns; i++)
		if (p->columns[i] == (size_t)column)
			break;
	if (p->columns && i == p->ncolumns)
		return -ENOENT;
	p->kind = TABLES_CELL;
	p->column = (size_t)column;
	return 0;
}

static int take(const struct tables_catalog *c, struct tables_place *p, struct pfs_bytes name,
		unsigned *rank)
{
	switch (p->kind) {
	case TABLES_ROOT:
		p->table_name = name;
		p->table = tables_find(c, name);
		p->kind = TABLES_ROWS;
		return p->table ? 0 : -ENOENT;
	case TABLES_ROWS:
		return name.p[0] == '.' ? take_virtual(p, name, rank) : take_row(p, name);
	case TABLES_SEGMENT:
		return take_part(p, name);
	case TABLES_IMPORTS:
		return take_import(p, name);
	case TABLES_ROW:
		return take_cell(p, name);
	default:
		return -ENOTDIR;
	}
}

int tables_path(const struct tables_catalog *c, struct pfs_bytes path, struct tables_place *out)
{
	struct pfs_bytes name;
	unsigned rank = 0;
	int err = 0;

	*out = (struct tables_place){.kind = TABLES_ROOT, .order = -1, .limit = -1, .sample = -1};
	while (!err && next_name(&path, &name))
		err = take(c, out, name, &rank);
	return err;
}

void tables_place_release(struct tables_place *p)
{
	size_t i;

	for (i = 0; i < p->nfilters; i++)
		pfs_buf_release(&p->filters[i].text);
	tables_key_release(&p->key);
	free(p->columns);
}

size_t tables_shown(const struct tables_place *p)
{
	return p->columns ? p->ncolumns : p->table->nshown;
}

size_t tables_shown_at(const struct tables_place *p, size_t i)
{
	return p->columns ? p->columns[i] : p->table->shown[i];
}
