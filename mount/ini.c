/*
 * Reading persistfs.ini with inih. The reader function hands inih one line at a time: it counts
 * them, looks at each before inih does, reports what inih would silently get wrong and replaces such
 * a line by an empty one. Sections are taken from the reader, because inih tells none that has no
 * keys. What the keys mean is config.c's business.
 */
#include "mount/ini.h"

#include <errno.h>
#include <ini.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS	  " \t"
#define NAME_MAX_ 49 /* what inih keeps of a section or a key */

struct reader {
	const char *p, *end;
	unsigned line;
	struct pfs_ini *ini;
	struct pfs_faults *faults;
	void *seen;   /* tsearch() tree of struct seen */
	long section; /* index of the current one; -1: none yet */
	bool skip;    /* in a section whose header was faulty */
	bool failed;  /* out of memory */
};

/* Where "section]" or "section]key" was first. */
struct seen {
	unsigned line;
	size_t section;
	char name[];
};

static int seen_cmp(const void *a, const void *b)
{
	return strcmp(((const struct seen *)a)->name, ((const struct seen *)b)->name);
}

/*
 * Remember "section]key" unless it was seen before; returns where it was first, this
 * line if it is new. Borrowed; NULL: out of memory.
 */
static const struct seen *see(struct reader *r, const char *section, const char *key, size_t index)
{
	size_t slen = strlen(section), klen = strlen(key);
	struct seen *item, **found;

	item = malloc(sizeof(*item) + slen + klen + 2);
	if (!item)
		return NULL;
	item->line = r->line;
	item->section = index;
	memcpy(item->name, section, slen);
	item->name[slen] = ']';
	memcpy(item->name + slen + 1, key, klen + 1);
	found = tsearch(item, &r->seen, seen_cmp);
	if (!found || *found != item)
		free(item);
	return found ? *found : NULL;
}

static void *grow(void *array, size_t n, size_t size)
{
	if (n & (n - 1)) /* n is a power of two when the array is full */
		return array;
	return realloc(array, (n ? n * 2 : 1) * size);
}

struct pfs_ini_section *pfs_ini_add_section(struct pfs_ini *ini, const char *name, unsigned line)
{
	struct pfs_ini_section *sections;
	char *copy;

	sections = grow(ini->sections, ini->nsections, sizeof(*sections));
	if (!sections)
		return NULL;
	ini->sections = sections;
	copy = strdup(name);
	if (!copy)
		return NULL;
	sections += ini->nsections++;
	*sections = (struct pfs_ini_section){.name = copy, .line = line};
	return sections;
}

int pfs_ini_add_key(struct pfs_ini_section *section, const char *name, const char *value,
		    unsigned line, bool literal)
{
	struct pfs_ini_key *keys, key = {.line = line, .literal = literal};

	keys = grow(section->keys, section->nkeys, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	section->keys = keys;
	key.name = strdup(name);
	key.value = strdup(value);
	if (!key.name || !key.value) {
		free(key.name);
		free(key.value);
		return -ENOMEM;
	}
	keys[section->nkeys++] = key;
	return 0;
}

void pfs_ini_release(struct pfs_ini *ini)
{
	size_t i, j;

	for (i = 0; i < ini->nsections; i++) {
		for (j = 0; j < ini->sections[i].nkeys; j++) {
			free(ini->sections[i].keys[j].name);
			free(ini->sections[i].keys[j].value);
		}
		free(ini->sections[i].keys);
		free(ini->sections[i].name);
	}
	free(ini->sections);
	*ini = (struct pfs_ini){0};
}

/* ---- looking at a line before inih does ------------------------------------------------------ */

/* Where a comment starts that follows something on the line: a `;` behind a blank. NULL: nowhere. */
static char *trailing_comment(char *text)
{
	char *p;

	for (p = strchr(text, ';'); p; p = strchr(p + 1, ';')) {
		if (p == text || strchr(BLANKS, p[-1]))
			return p;
	}
	return NULL;
}

/* Does [name] at `text` end well? Cuts a comment off. */
static bool check_section(struct reader *r, char *text)
{
	char *end = strchr(text, ']'), *rest;
	size_t len;

	if (!end) {
		pfs_faults_at(r->faults, r->line, "section header without its ']'");
		return false;
	}
	rest = end + 1 + strspn(end + 1, BLANKS);
	if (*rest && !(rest > end + 1 && (*rest == ';' || *rest == '#'))) {
		pfs_faults_at(r->faults, r->line,
			      "something follows the ']' of the section header; a comment there "
			      "starts with ' ;'");
		return false;
	}
	end[1] = '\0';
	*end = '\0';
	len = strlen(text + 1);
	if (trailing_comment(text + 1)) {
		pfs_faults_at(r->faults, r->line, "' ;' inside a section name");
		return false;
	}
	if (len > NAME_MAX_) {
		pfs_faults_at(r->faults, r->line,
			      "section name of %zu bytes; at most %d are possible", len, NAME_MAX_);
		return false;
	}
	*end = ']';
	return true;
}

static bool check_value(struct reader *r, char *value)
{
	size_t len;

	value += strspn(value, BLANKS);
	len = strlen(value);
	if (trailing_comment(value)) {
		pfs_faults_at(
			r->faults, r->line,
			"' ;' in a value: put a comment on a line of its own, and a value that "
			"needs ' ;' into ${env.NAME}");
		return false;
	}
	if (len > 1 && value[0] == '"' && value[len - 1] == '"') {
		pfs_faults_at(r->faults, r->line,
			      "quotes around a value: remove them, they would become part of it");
		return false;
	}
	return true;
}

/* text: a line `key = value`. */
static bool check_key(struct reader *r, char *text)
{
	char *eq = strchr(text, '='), *colon = strchr(text, ':'), *comment = trailing_comment(text);
	size_t len;

	if (!eq) {
		pfs_faults_at(r->faults, r->line,
			      "no '=': a line is 'key = value', '[section]' or a "
			      "comment that starts with ';' or '#'");
		return false;
	}
	if (colon && colon < eq) {
		pfs_faults_at(r->faults, r->line, "':' in a key: a line is 'key = value'");
		return false;
	}
	for (len = (size_t)(eq - text); len && strchr(BLANKS, text[len - 1]);)
		len--;
	if (comment && comment < eq) {
		pfs_faults_at(r->faults, r->line,
			      "' ;' in a key: a comment has a line of its own, and a line is "
			      "'key = value'");
		return false;
	}
	if (!len) {
		pfs_faults_at(r->faults, r->line, "no key before the '='");
		return false;
	}
	if (len > NAME_MAX_) {
		pfs_faults_at(r->faults, r->line, "key of %zu bytes; at most %d are possible", len,
			      NAME_MAX_);
		return false;
	}
	return check_value(r, eq + 1);
}

static bool check_characters(struct reader *r, const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 ? *text != '\t' : *text == 0x7f) {
			pfs_faults_at(r->faults, r->line, "control character 0x%02x",
				      (unsigned char)*text);
			return false;
		}
	}
	return true;
}

/* A line that inih may see as it is. `text`: NUL-terminated, no line end, no blanks at its end. */
static bool check_line(struct reader *r, char *text)
{
	if (!check_characters(r, text))
		return false;
	if (strchr(BLANKS, *text)) {
		pfs_faults_at(
			r->faults, r->line,
			"blanks at the start of the line would join it to the one above; remove "
			"them");
		return false;
	}
	return *text == '[' ? check_section(r, text) : check_key(r, text);
}

/* ---- sections and keys ----------------------------------------------------------------------- */

/* The keys of a duplicate are added to the first section of that name, to be checked there. */
static void enter_section(struct reader *r, const char *name)
{
	const struct seen *first = see(r, name, "", r->ini->nsections);

	if (!first) {
		r->failed = true;
		return;
	}
	r->section = (long)first->section;
	if (first->line != r->line)
		pfs_faults_at(r->faults, r->line,
			      "[%s]: duplicate section; the first one is in line %u", name,
			      first->line);
	else if (!pfs_ini_add_section(r->ini, name, r->line))
		r->failed = true;
}

/* `name` and `value` as inih has cut them out of a line that was checked. */
static int on_key(void *arg, const char *cut_section, const char *name, const char *value)
{
	struct reader *r = arg;
	struct pfs_ini_section *section;
	const struct seen *first;

	(void)cut_section;
	if (r->failed || r->skip)
		return 1;
	if (r->section < 0) {
		pfs_faults_at(r->faults, r->line, "%s: key before any [section]", name);
		return 1;
	}
	section = &r->ini->sections[r->section];
	first = see(r, section->name, name, 0);
	if (first && first->line != r->line)
		pfs_faults_at(r->faults, r->line,
			      "[%s] %s: duplicate key; the first one is in line %u", section->name,
			      name, first->line);
	else if (!first || pfs_ini_add_key(section, name, value, r->line, false))
		r->failed = true;
	return 1;
}

/* The next line, without its end and the blanks before it, into buf. Its true length; -1: no more. */
static long take_line(struct reader *r, char *buf, size_t size)
{
	const char *start = r->p, *stop;
	size_t len;

	if (start == r->end)
		return -1;
	stop = memchr(start, '\n', (size_t)(r->end - start));
	r->p = stop ? stop + 1 : r->end;
	if (!stop)
		stop = r->end;
	r->line++;
	while (stop > start && strchr(BLANKS "\r", stop[-1]))
		stop--;
	len = (size_t)(stop - start);
	memcpy(buf, start, len < size ? len : size - 1);
	buf[len < size ? len : size - 1] = '\0';
	return (long)len;
}

static bool is_comment(const char *text)
{
	text += strspn(text, BLANKS);
	return !*text || *text == ';' || *text == '#';
}

/* What inih calls for a line: as fgets(), with num the size of its buffer. */
static char *read_line(char *str, int num, void *arg)
{
	struct reader *r = arg;
	bool good = false;
	char *end;
	long len;

	len = r->failed ? -1 : take_line(r, str, (size_t)num);
	if (len < 0)
		return NULL;
	if (is_comment(str)) {
		*str = '\0';
		return str;
	}
	if (len > num - 2) /* room for a line end, which some builds of inih look for */
		pfs_faults_at(r->faults, r->line, "line of %ld bytes; at most %d are possible", len,
			      num - 2);
	else
		good = check_line(r, str);
	if (*str == '[') {
		/* After a faulty header its keys belong nowhere: nothing is said about them. */
		r->skip = !good;
		r->ini->partial |= !good;
		if (good) {
			end = strchr(str, ']');
			*end = '\0';
			enter_section(r, str + 1);
			*end = ']';
		}
	}
	if (!good)
		*str = '\0';
	return str;
}

static unsigned line_of(const char *text, const char *p)
{
	unsigned line = 1;

	while ((text = memchr(text, '\n', (size_t)(p - text)))) {
		text++;
		line++;
	}
	return line;
}

int pfs_ini_parse(struct pfs_ini *ini, const char *text, size_t len, struct pfs_faults *faults)
{
	struct reader r = {
		.p = text, .end = text + len, .ini = ini, .faults = faults, .section = -1};
	const char *nul = len ? memchr(text, '\0', len) : NULL;

	*ini = (struct pfs_ini){0};
	if (nul) {
		pfs_faults_at(faults, line_of(text, nul), "NUL byte: this is not a text file");
		ini->partial = true;
		return 0;
	}
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		r.p += 3;
	ini_parse_stream(read_line, &r, on_key, &r);
	tdestroy(r.seen, free);
	return r.failed || faults->failed ? -ENOMEM : 0;
}
