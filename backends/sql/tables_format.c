/*
 * Rows as text. Numbers are what the engine prints, with all digits that tell them apart, text is unchanged,
 * blobs are base64.
 *
 *	JSON	an object a row, columns in order; NULL is null, what is no number to JSON is a string
 *	CSV	RFC 4180 with a head line and newlines alone; NULL is nothing, empty text "". So is text in
 *		quotes that would read as a number in a column whose values have types
 *	TSV	a head line; \t, \n, \r and \\ are escaped so, NULL is \N
 */
#include <stdio.h>
#include <string.h>

#include "backends/sql/tables.h"

static void base64(struct pfs_bytes b, struct pfs_buf *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)b.p;
	size_t i, n;
	char quad[4];

	for (i = 0; i < b.len; i += 3) {
		n = b.len - i < 3 ? b.len - i : 3;
		uint32_t word = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				(n > 2 ? p[i + 2] : 0);

		quad[0] = digits[word >> 18];
		quad[1] = digits[word >> 12 & 63];
		quad[2] = n > 1 ? digits[word >> 6 & 63] : '=';
		quad[3] = n > 2 ? digits[word & 63] : '=';
		pfs_buf_add(out, quad, 4);
	}
}

/* JSON has no infinity: SQLite reads a large number as one, PostgreSQL the words "Infinity" and "NaN". */
static void real(struct pfs_bytes b, struct pfs_buf *out)
{
	if (pfs_bytes_eq(b, PFS_BYTES("Inf")))
		pfs_buf_str(out, "9e999");
	else if (pfs_bytes_eq(b, PFS_BYTES("-Inf")))
		pfs_buf_str(out, "-9e999");
	else if (memchr(b.p, 'n', b.len) || memchr(b.p, 'N', b.len))
		pfs_buf_json(out, b.p, b.len);
	else
		pfs_buf_add(out, b.p, b.len);
}

static void json_value(const struct pfs_value *v, struct pfs_buf *out)
{
	switch (v->type) {
	case PFS_VALUE_NULL:
		pfs_buf_str(out, "null");
		return;
	case PFS_VALUE_BLOB:
		pfs_buf_str(out, "\"");
		base64(v->bytes, out);
		pfs_buf_str(out, "\"");
		return;
	case PFS_VALUE_TEXT:
		pfs_buf_json(out, v->bytes.p, v->bytes.len);
		return;
	case PFS_VALUE_REAL:
		real(v->bytes, out);
		return;
	default:
		pfs_buf_add(out, v->bytes.p, v->bytes.len);
	}
}

static void csv_text(struct pfs_bytes s, bool quoted, struct pfs_buf *out)
{
	size_t i;

	quoted |= !s.len;
	for (i = 0; i < s.len && !quoted; i++)
		quoted = strchr("\",\n\r", s.p[i]) && s.p[i];
	if (!quoted) {
		pfs_buf_add(out, s.p, s.len);
		return;
	}
	pfs_buf_str(out, "\"");
	for (i = 0; i < s.len; i++) {
		if (s.p[i] == '"')
			pfs_buf_str(out, "\"");
		pfs_buf_add(out, &s.p[i], 1);
	}
	pfs_buf_str(out, "\"");
}

static void tsv_text(struct pfs_bytes s, struct pfs_buf *out)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		switch (s.p[i]) {
		case '\t':
			pfs_buf_str(out, "\\t");
			break;
		case '\n':
			pfs_buf_str(out, "\\n");
			break;
		case '\r':
			pfs_buf_str(out, "\\r");
			break;
		case '\\':
			pfs_buf_str(out, "\\\\");
			break;
		default:
			pfs_buf_add(out, &s.p[i], 1);
		}
	}
}

static void field(enum tables_format f, enum tables_affinity affinity, const struct pfs_value *v,
		  struct pfs_buf *out)
{
	struct pfs_bytes text = v->bytes;
	bool integer;
	int64_t num;

	if (v->type == PFS_VALUE_NULL)
		pfs_buf_str(out, f == TABLES_TSV ? "\\N" : "");
	else if (v->type == PFS_VALUE_BLOB && (v->bytes.len || f == TABLES_TSV))
		base64(v->bytes, out);
	else if (f == TABLES_TSV)
		tsv_text(text, out);
	else
		csv_text(text,
			 affinity != TABLES_TEXT && v->type == PFS_VALUE_TEXT &&
				 tables_is_number(v->bytes, &integer, &num),
			 out);
}

static const struct tables_column *shown(const struct tables_place *p, size_t i)
{
	return &p->table->columns[tables_shown_at(p, i)];
}

void tables_format_head(enum tables_format f, const struct tables_place *p, struct pfs_buf *out)
{
	size_t i;

	if (f == TABLES_JSON)
		pfs_buf_str(out, "[");
	if (f == TABLES_JSON || f == TABLES_JSONL)
		return;
	for (i = 0; i < tables_shown(p); i++) {
		struct pfs_value v = pfs_value_text(pfs_bytes_str(shown(p, i)->name));

		if (i)
			pfs_buf_str(out, f == TABLES_TSV ? "\t" : ",");
		field(f, TABLES_TEXT, &v, out);
	}
	pfs_buf_str(out, "\n");
}

void tables_format_tail(enum tables_format f, struct pfs_buf *out)
{
	if (f == TABLES_JSON)
		pfs_buf_str(out, "]\n");
}

void tables_format_row(enum tables_format f, const struct tables_place *p,
		       const struct pfs_rows_db *db, struct pfs_rows *r, int first, uint64_t i,
		       struct pfs_buf *out)
{
	bool json = f == TABLES_JSON || f == TABLES_JSONL;
	struct pfs_value v;
	size_t k;

	if (json)
		pfs_buf_str(out, f == TABLES_JSON && i ? ",\n{" : "{");
	for (k = 0; k < tables_shown(p); k++) {
		db->ops->column(r, first + (int)k, &v);
		if (k)
			pfs_buf_str(out, f == TABLES_TSV ? "\t" : ",");
		if (json) {
			pfs_buf_json(out, shown(p, k)->name, strlen(shown(p, k)->name));
			pfs_buf_str(out, ":");
			json_value(&v, out);
		} else {
			field(f, shown(p, k)->affinity, &v, out);
		}
	}
	if (json)
		pfs_buf_str(out, "}");
	if (f != TABLES_JSON)
		pfs_buf_str(out, "\n");
}
