/*
 * `persistfs backends list` and `persistfs backends show TYPE`: the engines of this build and, from
 * their tables, what each can do and which keys its section of persistfs.ini has.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "mount/cli.h"
#include "mount/config.h"

static const char help_backends[] =
	"persistfs backends list [--json]\n"
	"persistfs backends show TYPE [--json]\n"
	"\n"
	"list names the types of backends in this build. show tells what one can do and every key "
	"that\n"
	"its section [backend:NAME] may have.\n"
	"\n"
	"Exit status: 0 done, 1 there is no such TYPE, 2 wrong usage.\n";

static const char *const kind_names[] = {"kv", "sql", NULL};
/* Of kind kv: enum pfs_layout without PFS_LAYOUT_TABLES, which kind = sql says. */
static const char *const layout_names[] = {"own", "plain", "native", NULL};

/* ---- as text --------------------------------------------------------------------------------- */

/* The names of the bits in `bits`, joined by `sep`. */
static void add_bits(struct pfs_buf *out, uint32_t bits, const char *const *names, const char *sep)
{
	unsigned i, n = 0;

	for (i = 0; names[i]; i++) {
		if (bits & (1u << i))
			pfs_buf_printf(out, "%s%s", n++ ? sep : "", names[i]);
	}
	pfs_buf_str(out, n ? "" : "none");
}

static void list_text(struct pfs_buf *out)
{
	const struct pfs_engine *const *e;

	pfs_buf_printf(out, "%-10s %-8s %s\n", "TYPE", "KINDS", "WHAT IT IS");
	for (e = pfs_engines(); *e; e++) {
		struct pfs_buf kinds = {0};

		add_bits(&kinds, (*e)->kinds, kind_names, ",");
		pfs_buf_printf(out, "%-10s %-8s %s\n", (*e)->name, kinds.data ? kinds.data : "",
			       (*e)->help);
		out->failed |= kinds.failed;
		pfs_buf_release(&kinds);
	}
}

static void option_text(struct pfs_buf *out, const struct pfs_option *opt)
{
	struct pfs_msg range;

	pfs_buf_printf(out, "  %s (%s", opt->name, pfs_option_type_name(opt));
	if (opt->required)
		pfs_buf_str(out, ", required");
	else if (opt->def)
		pfs_buf_printf(out, ", default %s", opt->def);
	else
		pfs_buf_str(out, ", no default");
	pfs_buf_printf(out, "%s)\n      %s\n", opt->secret ? ", secret" : "", opt->help);
	if (opt->min || opt->max) {
		pfs_option_describe(opt, &range);
		pfs_buf_printf(out, "      %s\n", range.text);
	}
}

static void show_text(struct pfs_buf *out, const struct pfs_engine *e,
		      const struct pfs_option *opts)
{
	pfs_buf_printf(out, "%s: %s\n\nkinds:        ", e->name, e->help);
	add_bits(out, e->kinds, kind_names, ", ");
	pfs_buf_str(out, "\nlayouts:      ");
	add_bits(out, e->layouts, layout_names, ", ");
	pfs_buf_str(out, "\ncapabilities: ");
	add_bits(out, e->capabilities, pfs_capability_names, ", ");
	pfs_buf_printf(out, "\nspec version: %u\n\nkeys of [backend:NAME]:\n", e->spec_version);
	for (; opts->name; opts++)
		option_text(out, opts);
}

/* ---- as JSON --------------------------------------------------------------------------------- */

/* "name": "value" or, without a value, "name": null */
static void json_member(struct pfs_buf *out, const char *name, const char *value)
{
	pfs_buf_printf(out, "\"%s\": ", name);
	if (value)
		pfs_buf_json(out, value, strlen(value));
	else
		pfs_buf_str(out, "null");
}

static void json_bits(struct pfs_buf *out, const char *name, uint32_t bits,
		      const char *const *names)
{
	unsigned i, n = 0;

	pfs_buf_printf(out, "\"%s\": [", name);
	for (i = 0; names[i]; i++) {
		if (bits & (1u << i))
			pfs_buf_printf(out, "%s\"%s\"", n++ ? ", " : "", names[i]);
	}
	pfs_buf_str(out, "]");
}

/* The members of an engine's object, without its braces. */
static void json_engine(struct pfs_buf *out, const struct pfs_engine *e)
{
	json_member(out, "type", e->name);
	pfs_buf_str(out, ", ");
	json_member(out, "help", e->help);
	pfs_buf_printf(out, ", \"spec_version\": %u, ", e->spec_version);
	json_bits(out, "kinds", e->kinds, kind_names);
	pfs_buf_str(out, ", ");
	json_bits(out, "layouts", e->layouts, layout_names);
	pfs_buf_str(out, ", ");
	json_bits(out, "capabilities", e->capabilities, pfs_capability_names);
}

static void json_option(struct pfs_buf *out, const struct pfs_option *opt)
{
	struct pfs_msg values;

	pfs_option_describe(opt, &values);
	pfs_buf_str(out, "    {");
	json_member(out, "name", opt->name);
	pfs_buf_str(out, ", ");
	json_member(out, "type", pfs_option_type_name(opt));
	pfs_buf_str(out, ", ");
	json_member(out, "default", opt->def);
	pfs_buf_printf(out, ", \"required\": %s, \"secret\": %s, ",
		       opt->required ? "true" : "false", opt->secret ? "true" : "false");
	json_member(out, "values", values.text);
	pfs_buf_str(out, ", ");
	json_member(out, "help", opt->help);
	pfs_buf_str(out, "}");
}

static void list_json(struct pfs_buf *out)
{
	const struct pfs_engine *const *e;

	pfs_buf_str(out, "[");
	for (e = pfs_engines(); *e; e++) {
		pfs_buf_str(out, e == pfs_engines() ? "\n  {" : ",\n  {");
		json_engine(out, *e);
		pfs_buf_str(out, "}");
	}
	pfs_buf_str(out, "\n]\n");
}

static void show_json(struct pfs_buf *out, const struct pfs_engine *e,
		      const struct pfs_option *opts)
{
	const struct pfs_option *opt;

	pfs_buf_str(out, "{");
	json_engine(out, e);
	pfs_buf_str(out, ",\n  \"options\": [");
	for (opt = opts; opt->name; opt++) {
		pfs_buf_str(out, opt == opts ? "\n" : ",\n");
		json_option(out, opt);
	}
	pfs_buf_str(out, "\n  ]}\n");
}

/* ---- the verb -------------------------------------------------------------------------------- */

struct backends_args {
	const char *what, *type;
	bool json, help;
};

/* Returns 0, or -EINVAL with msg. */
static int parse_args(struct backends_args *out, int argc, char **argv, struct pfs_msg *msg)
{
	int i;

	for (i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "--help") || !strcmp(a, "-h"))
			out->help = true;
		else if (!strcmp(a, "--json"))
			out->json = true;
		else if (a[0] != '-' && !out->what)
			out->what = a;
		else if (a[0] != '-' && !out->type && !strcmp(out->what, "show"))
			out->type = a;
		else {
			pfs_msg_set(msg,
				    a[0] == '-' ? "unknown option '%s'"
						: "'%s' is one operand too many",
				    a);
			return -EINVAL;
		}
	}
	if (out->help)
		return 0;
	if (!out->what)
		pfs_msg_set(msg, "say what to do: list or show TYPE");
	else if (strcmp(out->what, "list") && strcmp(out->what, "show"))
		pfs_msg_set(msg, "unknown: '%s'; available: list, show TYPE", out->what);
	else if (!strcmp(out->what, "show") && !out->type)
		pfs_msg_set(msg, "show wants a TYPE; see `persistfs backends list`");
	else
		return 0;
	return -EINVAL;
}

static int unknown_type(const char *type)
{
	const struct pfs_engine *const *e;
	const char *names[64], *near;
	size_t n = 0;

	fprintf(stderr, "persistfs backends: unknown type '%s'; available: ", type);
	for (e = pfs_engines(); *e && n < PFS_ARRAY_SIZE(names); e++) {
		fprintf(stderr, "%s%s", n ? ", " : "", (*e)->name);
		names[n++] = (*e)->name;
	}
	near = pfs_nearest(type, names, n);
	if (near)
		fprintf(stderr, " — did you mean '%s'?", near);
	fputc('\n', stderr);
	return 1;
}

static int show(const char *type, bool json, struct pfs_buf *out)
{
	const struct pfs_engine *e = pfs_engine_find(type);
	struct pfs_option *opts;

	if (!e)
		return unknown_type(type);
	opts = pfs_engine_options(e);
	if (!opts) {
		out->failed = true;
		return 0;
	}
	if (json)
		show_json(out, e, opts);
	else
		show_text(out, e, opts);
	free(opts);
	return 0;
}

int pfs_verb_backends(int argc, char **argv)
{
	struct backends_args args = {0};
	struct pfs_msg msg = {0};
	struct pfs_buf out = {0};
	int status = 0;

	if (parse_args(&args, argc, argv, &msg))
		return pfs_cli_usage("backends", &msg);
	if (args.help)
		pfs_buf_str(&out, help_backends);
	else if (args.type)
		status = show(args.type, args.json, &out);
	else if (args.json)
		list_json(&out);
	else
		list_text(&out);
	if (out.failed) {
		fprintf(stderr, "persistfs backends: out of memory\n");
		status = 1;
	} else if (out.data) {
		fwrite(out.data, 1, out.len, stdout);
	}
	pfs_buf_release(&out);
	return status;
}
