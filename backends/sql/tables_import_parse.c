/*
 * Where rows end in what is written, as it comes: records of CSV, and the objects of a JSON array or of JSON
 * lines, which tables_json.c then reads. A row is in memory as a whole, all of a file never.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sql/tables_import.h"

#define TOO_LONG "a row is longer than 256 MiB"

static int wrong(const char *what)
{
	pfs_error_text_set("%s", what);
	return -EINVAL;
}

/* A mark that some programs begin a file with. */
static void skip_bom(struct pfs_bytes *data)
{
	if (data->len >= 3 && !memcmp(data->p, "\xef\xbb\xbf", 3)) {
		data->p += 3;
		data->len -= 3;
	}
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* The record has grown. */
static int count(struct tables_csv *p, size_t more)
{
	p->bytes += more;
	if (p->bytes <= PFS_VIEW_VALUE_MAX)
		return 0;
	pfs_error_text_set(TOO_LONG);
	return -EFBIG;
}

static int begin_field(struct tables_csv *p)
{
	size_t cap = p->cap ? 2 * p->cap : 16;
	struct tables_csv_field *more;

	if (p->n == TABLES_COLUMNS_MAX)
		return wrong(TABLES_TOO_MANY);
	if (p->n == p->cap) {
		more = realloc(p->fields, cap * sizeof(*more));
		if (!more)
			return -ENOMEM;
		memset(more + p->cap, 0, (cap - p->cap) * sizeof(*more));
		p->fields = more;
		p->cap = cap;
	}
	p->fields[p->n].text.len = 0;
	pfs_buf_str(&p->fields[p->n].text, "");
	p->fields[p->n++].quoted = false;
	p->state = CSV_FIELD;
	return 0;
}

/* Bytes of a field, up to one that means something there. */
static int take_text(struct tables_csv *p, struct pfs_bytes *data)
{
	struct pfs_buf *text = &p->fields[p->n - 1].text;
	bool quoted = p->state == CSV_QUOTED;
	const char *end = data->p + data->len, *at = data->p;
	size_t n;

	while (at < end && *at != '"' && (quoted || (*at != ',' && *at != '\n' && *at != '\r'))) {
		p->line += *at == '\n';
		at++;
	}
	n = (size_t)(at - data->p);
	pfs_buf_add(text, data->p, n);
	data->len -= n;
	data->p = at;
	return text->failed ? -ENOMEM : count(p, n);
}

/* A byte outside of quotes that ends a field, or begins a quote. 1: the record is there. */
static int take_mark(struct tables_csv *p, char c)
{
	if (p->state == CSV_CR && c != '\n')
		return wrong("a carriage return alone; in a value it stands in quotes");
	switch (c) {
	case ',':
		return begin_field(p);
	case '\r':
		p->state = CSV_CR;
		return 0;
	case '\n':
		p->line++;
		p->state = CSV_START;
		return 1;
	default:
		return wrong("a quote in a value that does not begin with one; it is doubled, and "
			     "the value "
			     "in quotes");
	}
}

static int take_quote(struct tables_csv *p)
{
	if (p->state == CSV_QUOTED) {
		p->state = CSV_QUOTE;
		return 0;
	}
	if (p->state == CSV_QUOTE) { /* the second of two stands for one */
		pfs_buf_str(&p->fields[p->n - 1].text, "\"");
		p->state = CSV_QUOTED;
		return 0;
	}
	if (p->state != CSV_FIELD)
		return take_mark(p, '"');
	p->fields[p->n - 1].quoted = true;
	p->state = CSV_QUOTED;
	return 0;
}

static int take_csv(struct tables_csv *p, struct pfs_bytes *data)
{
	char c = data->p[0];
	bool mark = c == ',' || c == '\n' || c == '\r';

	if (p->state == CSV_CR || (c != '"' && mark && p->state != CSV_QUOTED)) {
		data->p++;
		data->len--;
		return take_mark(p, c);
	}
	if (c == '"') {
		data->p++;
		data->len--;
		return take_quote(p);
	}
	if (p->state == CSV_QUOTE)
		return wrong("something behind the quote that ends a value; within it quotes are "
			     "doubled");
	if (p->state == CSV_FIELD)
		p->state = CSV_BARE;
	return take_text(p, data);
}

int tables_csv_next(struct tables_csv *p, struct pfs_bytes *data)
{
	int err = 0;

	if (!p->first)
		skip_bom(data);
	while (!err && data->len) {
		if (p->state == CSV_START) {
			p->n = p->bytes = 0;
			p->first = p->line + 1;
			err = begin_field(p);
		}
		if (!err)
			err = take_csv(p, data);
	}
	return err;
}

int tables_csv_end(struct tables_csv *p)
{
	if (p->state == CSV_QUOTED)
		return wrong("it is cut off: a value in quotes has no end");
	if (p->state == CSV_CR)
		return wrong("it is cut off behind a carriage return");
	if (p->state == CSV_START)
		return 0;
	p->state = CSV_START;
	return 1;
}

void tables_csv_release(struct tables_csv *p)
{
	size_t i;

	for (i = 0; i < p->cap; i++)
		pfs_buf_release(&p->fields[i].text);
	free(p->fields);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A byte between objects. */
static int take_between(struct tables_json_split *p, char c)
{
	if (c == '\n' && p->lines && p->state == SPLIT_AFTER)
		p->state = SPLIT_FIRST;
	if (is_space(c))
		return 0;
	if (p->state == SPLIT_BEGIN && c == '[') {
		p->state = SPLIT_FIRST;
		return 0;
	}
	if (p->state == SPLIT_BEGIN)
		return wrong("it does not begin with [: it is an array of objects; jsonl takes one "
			     "object a "
			     "line");
	if (p->state == SPLIT_END)
		return wrong("something follows the array");
	if (p->state == SPLIT_AFTER && p->lines)
		return wrong("something follows the object in its line");
	if (p->state == SPLIT_AFTER && c == ',') {
		p->state = SPLIT_NEXT;
		return 0;
	}
	if ((p->state == SPLIT_AFTER || p->state == SPLIT_FIRST) && c == ']' && !p->lines) {
		p->state = SPLIT_END;
		return 0;
	}
	if (p->state == SPLIT_AFTER)
		return wrong("between two objects there is a comma, and ] behind the last");
	if (c != '{')
		return wrong(p->state == SPLIT_FIRST && p->lines && c == '['
				     ? "a row is an object of columns; an array of them is json, "
				       "not jsonl"
				     : "a row is an object of columns: {\"COLUMN\": VALUE, ...}");
	p->state = SPLIT_OBJECT;
	p->first = p->line + 1;
	p->text.len = 0;
	return 0;
}

/* Up to the end of the object: 1; or of the data. */
static int take_object(struct tables_json_split *p, struct pfs_bytes *data)
{
	const char *end = data->p + data->len, *at = data->p;
	bool done = false;

	for (; at < end && !done; at++) {
		if (*at == '\n' && p->lines)
			return wrong("the object does not end in its line");
		p->line += *at == '\n';
		if (p->string) {
			p->string = p->escape || *at != '"';
			p->escape = !p->escape && *at == '\\';
		} else if (*at == '"') {
			p->string = true;
		} else if (*at == '{' || *at == '[') {
			p->depth++;
		} else if (*at == '}' || *at == ']') {
			done = --p->depth == 0;
		}
	}
	pfs_buf_add(&p->text, data->p, (size_t)(at - data->p));
	data->len -= (size_t)(at - data->p);
	data->p = at;
	if (p->text.failed)
		return -ENOMEM;
	if (p->text.len > PFS_VIEW_VALUE_MAX) {
		pfs_error_text_set(TOO_LONG);
		return -EFBIG;
	}
	if (done)
		p->state = SPLIT_AFTER;
	return done;
}

int tables_json_next(struct tables_json_split *p, struct pfs_bytes *data)
{
	int err = 0;

	if (p->state == SPLIT_BEGIN)
		skip_bom(data);
	if (p->state == SPLIT_BEGIN && p->lines)
		p->state = SPLIT_FIRST;
	while (!err && data->len) {
		if (p->state != SPLIT_OBJECT) {
			err = take_between(p, data->p[0]);
			if (err)
				break;
		}
		if (p->state == SPLIT_OBJECT) {
			err = take_object(p, data);
			continue;
		}
		p->line += data->p[0] == '\n';
		data->p++;
		data->len--;
	}
	return err;
}

int tables_json_end(struct tables_json_split *p)
{
	if (p->state == SPLIT_OBJECT)
		return wrong("it is cut off: the object has no end");
	if (!p->lines && p->state != SPLIT_END)
		return wrong("it is cut off: the array has no end");
	return 0;
}

void tables_json_split_release(struct tables_json_split *p)
{
	pfs_buf_release(&p->text);
}
