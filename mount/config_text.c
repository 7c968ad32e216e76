/*
 * The effective configuration as an ini: every option of every section with the value that counts,
 * defaults included. Secrets and the passwords of URLs are masked; the rest can be loaded again.
 */
#include "backends/adopt/options.h"
#include "mount/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void write_value(struct pfs_buf *out, const char *name, const char *value, bool secret)
{
	pfs_buf_printf(out, "%s = ", name);
	if (secret)
		pfs_buf_str(out, PFS_CONFIG_MASK);
	else
		pfs_redact_urls(out, value);
	pfs_buf_str(out, "\n");
}

/* layout: of a store; options that are for others are left out. 0: no store. */
static void write_section(struct pfs_buf *out, const struct cfg_section *s, unsigned layout)
{
	const struct pfs_option *opt;
	unsigned layouts;
	const char *value;

	for (opt = s->set.table; opt->name; opt++) {
		value = s->set.values[opt - s->set.table].str;
		layouts = layout ? pfs_view_option_layouts(opt->name) : 0;
		if (layout == PFS_LAYOUT_TABLES && !strcmp(opt->name, "layout"))
			continue; /* is of kind = kv, and has a default */
		if (value && (!layouts || (layouts & layout)))
			write_value(out, opt->name, value, opt->secret);
	}
}

/* What a store takes from elsewhere than its own section is written out too. */
static void write_store(struct pfs_buf *out, const struct cfg_store *store)
{
	pfs_buf_printf(out, "\n[%s]\n", store->s.title);
	/* Others' data has a namespace only where one was given. */
	if (!pfs_config_get(&store->s, "namespace")->str && store->layout == PFS_LAYOUT_OWN)
		write_value(out, "namespace", store->ns, false);
	if (!pfs_config_get(&store->s, "backend")->str)
		write_value(out, "backend", store->backend->s.name, false);
	write_section(out, &store->s, store->layout);
}

int pfs_config_write(struct cfg *cfg)
{
	struct pfs_buf *out = &cfg->pub.text;
	size_t i;

	pfs_buf_printf(out, "; persistfs %s, effective configuration of %s\n", PFS_VERSION,
		       cfg->pub.source);
	pfs_buf_str(out, "\n[mount]\n");
	write_section(out, &cfg->mount, 0);
	for (i = 0; i < cfg->nbackends; i++) {
		pfs_buf_printf(out, "\n[%s]\n", cfg->backends[i].s.title);
		write_section(out, &cfg->backends[i].s, 0);
	}
	for (i = 0; i < cfg->nstores; i++)
		write_store(out, &cfg->stores[i]);
	return out->failed ? -ENOMEM : 0;
}
