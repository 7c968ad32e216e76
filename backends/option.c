/*
 * Option tables: values of persistfs.ini from text, and what may be said about an option to a
 * person. Knows no section and no file; ${env...} and paths are resolved by mount/ before a value
 * comes here. No globals, no locks: a set belongs to one thread until it is complete and is only
 * read from then on.
 */
#include "backends/option.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAREST_MAX 64 /* longer words are not compared */

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first: formatting takes the first that divides. */
static const struct unit size_units[] = {
	{"T", INT64_C(1) << 40},
	{"G", INT64_C(1) << 30},
	{"M", INT64_C(1) << 20},
	{"K", INT64_C(1) << 10},
	{"", 1},
};

static const struct unit duration_units[] = {
	{"d", 86400 * NSEC_PER_SEC},
	{"h", 3600 * NSEC_PER_SEC},
	{"m", 60 * NSEC_PER_SEC},
	{"s", NSEC_PER_SEC},
	{"ms", 1000000},
	{"us", 1000},
	{"ns", 1},
};

static const char *const true_words[] = {"yes", "true", "on", "1"};
static const char *const false_words[] = {"no", "false", "off", "0"};

const struct pfs_option *pfs_option_find(const struct pfs_option *table, const char *name)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

const struct pfs_option_value *pfs_option_get(const struct pfs_option_set *set, const char *name)
{
	const struct pfs_option *opt = pfs_option_find(set->table, name);

	assert(opt);
	return &set->values[opt - set->table];
}

const char *pfs_option_type_name(const struct pfs_option *opt)
{
	switch (opt->type) {
	case PFS_OPT_STRING:
		return "string";
	case PFS_OPT_PATH:
		return "path";
	case PFS_OPT_BOOL:
		return "yes|no";
	case PFS_OPT_INT:
		return "number";
	case PFS_OPT_SIZE:
		return "size";
	case PFS_OPT_DURATION:
		return "duration";
	case PFS_OPT_ENUM:
		return opt->choices;
	case PFS_OPT_MODE:
		return "permissions";
	}
	return "?";
}

static void option_format(const struct pfs_option *opt, int64_t num, char *out, size_t size)
{
	const struct unit *units = NULL;
	size_t i, n = 0;

	if (opt->type == PFS_OPT_SIZE) {
		units = size_units;
		n = PFS_ARRAY_SIZE(size_units);
	} else if (opt->type == PFS_OPT_DURATION) {
		units = duration_units;
		n = PFS_ARRAY_SIZE(duration_units);
	}
	for (i = 0; i < n && num; i++) {
		if (num % units[i].factor == 0) {
			snprintf(out, size, "%" PRId64 "%s", num / units[i].factor, units[i].name);
			return;
		}
	}
	snprintf(out, size, "%" PRId64, num);
}

static bool option_bounded(const struct pfs_option *opt)
{
	return opt->min || opt->max;
}

/* "a|b" -> "a, b" */
static void choices_text(const char *choices, char *out, size_t size)
{
	size_t n = 0;

	for (; *choices && n + 3 < size; choices++) {
		if (*choices == '|')
			out[n++] = ',';
		out[n++] = *choices == '|' ? ' ' : *choices;
	}
	out[n] = '\0';
}

void pfs_option_describe(const struct pfs_option *opt, struct pfs_msg *out)
{
	char range[96] = " from 0", lo[32], hi[32], words[256];

	if (option_bounded(opt)) {
		option_format(opt, opt->min, lo, sizeof(lo));
		option_format(opt, opt->max, hi, sizeof(hi));
		snprintf(range, sizeof(range),
			 opt->max == INT64_MAX ? " from %s" : " from %s to %s", lo, hi);
	}
	switch (opt->type) {
	case PFS_OPT_STRING:
		pfs_msg_set(out, "a string");
		break;
	case PFS_OPT_PATH:
		pfs_msg_set(out, "a path");
		break;
	case PFS_OPT_BOOL:
		pfs_msg_set(out, "one of: yes, no");
		break;
	case PFS_OPT_INT:
		pfs_msg_set(out, "a number%s", range);
		break;
	case PFS_OPT_SIZE:
		pfs_msg_set(out, "a size%s, such as 4096, 64K, 64M or 1G", range);
		break;
	case PFS_OPT_DURATION:
		pfs_msg_set(out, "a duration%s, such as 5ms, 30s, 10m, 24h or 7d", range);
		break;
	case PFS_OPT_ENUM:
		choices_text(opt->choices, words, sizeof(words));
		pfs_msg_set(out, "one of: %s", words);
		break;
	case PFS_OPT_MODE:
		pfs_msg_set(out, "permissions in octal from 0000 to 0777, such as 0640");
		break;
	}
}

/* ---- the nearest word ----------------------------------------------------------------------- */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits that make b of a; a swap of neighbours counts one. Both at most NEAREST_MAX long. */
static size_t edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t rows[3][NEAREST_MAX + 1], i, j;
	size_t *before = rows[0], *prev = rows[1], *cur = rows[2], *tmp;

	for (j = 0; j <= blen; j++)
		prev[j] = before[j] = j;
	for (i = 1; i <= alen; i++) {
		cur[0] = i;
		for (j = 1; j <= blen; j++) {
			int ca = tolower((unsigned char)a[i - 1]);
			int cb = tolower((unsigned char)b[j - 1]);

			cur[j] = min3(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + (ca != cb));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < cur[j])
				cur[j] = before[j - 2] + 1;
		}
		tmp = before;
		before = prev;
		prev = cur;
		cur = tmp;
	}
	return prev[blen];
}

const char *pfs_nearest(const char *word, const char *const *names, size_t n)
{
	size_t len = strlen(word), best = len / 3 + 1, i, d, nlen;
	const char *found = NULL;

	if (!len || len > NEAREST_MAX)
		return NULL;
	for (i = 0; i < n; i++) {
		nlen = strlen(names[i]);
		if (!nlen || nlen > NEAREST_MAX)
			continue;
		d = edit_distance(word, len, names[i], nlen);
		/* Every letter changed is another word. */
		if (d <= best && d < (len > nlen ? len : nlen) && (!found || d < best)) {
			best = d;
			found = names[i];
		}
	}
	return found;
}

/* ---- parsing -------------------------------------------------------------------------------- */

static bool word_in(const char *text, const char *const *words, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (!strcasecmp(text, words[i]))
			return true;
	}
	return false;
}

static int parse_bool(const char *text, int64_t *out)
{
	if (word_in(text, true_words, PFS_ARRAY_SIZE(true_words)))
		*out = 1;
	else if (word_in(text, false_words, PFS_ARRAY_SIZE(false_words)))
		*out = 0;
	else
		return -EINVAL;
	return 0;
}

/* A decimal number and what follows it. */
static int parse_digits(const char *text, int64_t *out, const char **rest)
{
	const char *digits = *text == '-' ? text + 1 : text;
	char *end;

	if (!isdigit((unsigned char)*digits))
		return -EINVAL;
	errno = 0;
	*out = strtoll(text, &end, 10);
	*rest = end;
	return errno ? -ERANGE : 0;
}

static int parse_unit(const char *text, const struct unit *units, size_t n, int64_t *out)
{
	const char *rest;
	int64_t num;
	size_t i;
	int err;

	err = parse_digits(text, &num, &rest);
	if (err)
		return err;
	while (*rest == ' ')
		rest++;
	for (i = 0; i < n; i++) {
		if (!strcasecmp(rest, units[i].name))
			return __builtin_mul_overflow(num, units[i].factor, out) ? -ERANGE : 0;
	}
	if (num == 0 && !*rest) {
		*out = 0;
		return 0;
	}
	return -EINVAL;
}

static int parse_int(const char *text, int64_t *out)
{
	const char *rest;
	int err;

	err = parse_digits(text, out, &rest);
	if (!err && *rest)
		err = -EINVAL;
	return err;
}

static int parse_mode(const char *text, int64_t *out)
{
	size_t n = strspn(text, "01234567");

	if (n < 3 || n > 4 || text[n])
		return -EINVAL;
	*out = strtol(text, NULL, 8);
	return *out > 0777 ? -EINVAL : 0;
}

static int parse_choice(const char *choices, const char *text, int64_t *out)
{
	size_t len = strlen(text), n;
	int64_t i;

	for (i = 0; len && *choices; i++) {
		n = strcspn(choices, "|");
		if (n == len && !memcmp(choices, text, n)) {
			*out = i;
			return 0;
		}
		choices += n + (choices[n] == '|');
	}
	return -EINVAL;
}

static int parse_num(const struct pfs_option *opt, const char *text, int64_t *out)
{
	switch (opt->type) {
	case PFS_OPT_STRING:
	case PFS_OPT_PATH:
		return 0;
	case PFS_OPT_BOOL:
		return parse_bool(text, out);
	case PFS_OPT_INT:
		return parse_int(text, out);
	case PFS_OPT_SIZE:
		return parse_unit(text, size_units, PFS_ARRAY_SIZE(size_units), out);
	case PFS_OPT_DURATION:
		return parse_unit(text, duration_units, PFS_ARRAY_SIZE(duration_units), out);
	case PFS_OPT_ENUM:
		return parse_choice(opt->choices, text, out);
	case PFS_OPT_MODE:
		return parse_mode(text, out);
	}
	return -EINVAL;
}

static bool in_range(const struct pfs_option *opt, int64_t num)
{
	if (opt->type != PFS_OPT_INT && opt->type != PFS_OPT_SIZE && opt->type != PFS_OPT_DURATION)
		return true;
	if (!option_bounded(opt))
		return num >= 0;
	return num >= opt->min && num <= opt->max;
}

/* The choice that was meant, in buf, or "". */
static const char *nearest_choice(const struct pfs_option *opt, const char *text, char *buf,
				  size_t size)
{
	const char *names[32], *found;
	char *save = NULL, *p;
	size_t n = 0;

	snprintf(buf, size, "%s", opt->choices);
	for (p = strtok_r(buf, "|", &save); p && n < PFS_ARRAY_SIZE(names);
	     p = strtok_r(NULL, "|", &save))
		names[n++] = p;
	found = pfs_nearest(text, names, n);
	return found ? found : "";
}

static void say_wrong(const struct pfs_option *opt, const char *text, struct pfs_msg *msg)
{
	struct pfs_msg right;
	char words[256], buf[256];
	const char *near;

	pfs_option_describe(opt, &right);
	if (opt->secret) {
		pfs_msg_set(msg, "impossible value; it must be %s", right.text);
	} else if (opt->type == PFS_OPT_ENUM) {
		choices_text(opt->choices, words, sizeof(words));
		near = nearest_choice(opt, text, buf, sizeof(buf));
		pfs_msg_set(msg, "impossible value '%.100s'; available: %s%s%s%s", text, words,
			    *near ? " — did you mean '" : "", near, *near ? "'?" : "");
	} else {
		pfs_msg_set(msg, "impossible value '%.100s'; it must be %s", text, right.text);
	}
}

int pfs_option_parse(const struct pfs_option *opt, const char *text, struct pfs_option_value *out,
		     struct pfs_msg *msg)
{
	int64_t num = 0;

	if (parse_num(opt, text, &num) || !in_range(opt, num)) {
		say_wrong(opt, text, msg);
		return -EINVAL;
	}
	if (opt->type == PFS_OPT_PATH && !*text) {
		pfs_msg_set(msg, "empty; it must be a path");
		return -EINVAL;
	}
	out->num = num;
	return 0;
}

/* ---- sets ----------------------------------------------------------------------------------- */

static int value_set(const struct pfs_option *opt, struct pfs_option_value *value, const char *text,
		     bool given, struct pfs_msg *msg)
{
	struct pfs_option_value parsed = {0};
	int err;

	err = pfs_option_parse(opt, text, &parsed, msg);
	if (err)
		return err;
	parsed.str = strdup(text);
	if (!parsed.str)
		return -ENOMEM;
	parsed.given = given;
	free((char *)value->str);
	*value = parsed;
	return 0;
}

int pfs_option_set_init(struct pfs_option_set *set, const struct pfs_option *table)
{
	size_t n = 0, i;
	int err;

	while (table[n].name)
		n++;
	set->table = table;
	set->values = calloc(n + 1, sizeof(*set->values));
	if (!set->values)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		if (!table[i].def)
			continue;
		err = value_set(&table[i], &set->values[i], table[i].def, false, NULL);
		assert(err != -EINVAL);
		if (err) {
			pfs_option_set_release(set);
			return err;
		}
	}
	return 0;
}

int pfs_option_set_text(struct pfs_option_set *set, const char *name, const char *text,
			struct pfs_msg *msg)
{
	const struct pfs_option *opt = pfs_option_find(set->table, name);

	if (!opt)
		return -ENOENT;
	return value_set(opt, &set->values[opt - set->table], text, true, msg);
}

void pfs_option_set_release(struct pfs_option_set *set)
{
	size_t i;

	if (set->values) {
		for (i = 0; set->table[i].name; i++)
			free((char *)set->values[i].str);
	}
	free(set->values);
	set->values = NULL;
	set->table = NULL;
}
