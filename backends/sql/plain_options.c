/* What the options of a store with layout = plain say, and what presets add to them. */
#include "backends/sql/plain.h"

struct preset {
	const char *name, *sqlite, *postgres; /* tables */
	const char *ns, *expires, *mtime, *ns_separator;
};

static const struct preset presets[] = {
	{.name = "llamastack",
	 .sqlite = "kvstore",
	 .postgres = "llamastack_kvstore|ogx_kvstore",
	 .expires = "expiration",
	 .ns_separator = ":"},
	{.name = "langgraph-store",
	 .sqlite = "store",
	 .postgres = "store",
	 .ns = "prefix",
	 .expires = "expires_at",
	 .mtime = "updated_at"},
};

/* What was given, and is not empty. */
static const char *text_of(const struct pfs_option_set *store, const char *name)
{
	const char *text = pfs_option_get(store, name)->str;

	return text && text[0] ? text : NULL;
}

static int find_preset(const struct pfs_option_set *store, const struct preset **out,
		       struct pfs_msg *msg)
{
	const char *name = text_of(store, "preset");
	size_t i;

	*out = NULL;
	if (!name)
		return 0;
	for (i = 0; i < PFS_ARRAY_SIZE(presets); i++)
		if (strcmp(presets[i].name, name) == 0)
			*out = &presets[i];
	if (*out)
		return 0;
	pfs_msg_set(msg, "preset = %s is for Redis, with layout = native", name);
	return -EINVAL;
}

static void column(struct plain_column *c, const struct pfs_option_set *store, const char *option,
		   const char *preset)
{
	const char *given = text_of(store, option);

	c->name = given ? given : preset;
	c->preset = !given;
}

/* No column twice. */
static int check_columns(struct plain *v, struct pfs_msg *msg)
{
	const struct plain_column *all[] = {&v->key, &v->value, &v->ns, &v->expires, &v->mtime};
	size_t i, k;

	for (i = 0; i < PFS_ARRAY_SIZE(all); i++)
		for (k = 0; k < i; k++)
			if (all[i]->name && all[k]->name && !strcmp(all[i]->name, all[k]->name)) {
				pfs_msg_set(msg, "column '%s' is given for two things", all[i]->name);
				return -EINVAL;
			}
	return 0;
}

/* Whose keys: a value of the column, or what they begin with. */
static int set_namespace(struct plain *v, const struct pfs_option_set *store,
			 const struct preset *preset, struct pfs_msg *msg)
{
	const char *ns = pfs_option_get(store, "namespace")->given ? text_of(store, "namespace") : NULL;
	const char *given = text_of(store, "namespace_separator"), *separator = given;

	if (!separator && preset)
		separator = preset->ns_separator;
	if (v->ns.name && given) {
		pfs_msg_set(msg, "namespace_column and namespace_separator exclude each other");
		return -EINVAL;
	}
	if (!ns && given) {
		pfs_msg_set(msg, "namespace_separator wants a `namespace`, whose keys are shown");
		return -EINVAL;
	}
	if (ns && v->ns.name) {
		v->ns_value = ns;
	} else if (ns && separator) {
		pfs_buf_str(&v->prefix, ns);
		pfs_buf_str(&v->prefix, separator);
	} else if (ns) {
		pfs_msg_set(msg, "`namespace` wants namespace_column, or namespace_separator if keys "
				 "begin with it");
		return -EINVAL;
	}
	return 0;
}

int plain_options(struct plain *v, const struct pfs_option_set *store, bool *expiry,
		  struct pfs_msg *msg)
{
	const struct preset *preset;
	const char *text;
	int err;

	err = find_preset(store, &preset, msg);
	if (err)
		return err;
	v->tables = text_of(store, "table");
	v->tables_preset = !v->tables;
	if (!v->tables && preset)
		v->tables = strcmp(v->dialect->engine, "sqlite") == 0 ? preset->sqlite
								      : preset->postgres;
	if (!v->tables) {
		pfs_msg_set(msg, "'table' is missing: which one has the keys and values?");
		return -EINVAL;
	}
	column(&v->key, store, "key_column", "key");
	column(&v->value, store, "value_column", "value");
	column(&v->ns, store, "namespace_column", preset ? preset->ns : NULL);
	column(&v->expires, store, "expires_column", preset ? preset->expires : NULL);
	column(&v->mtime, store, "mtime_column", preset ? preset->mtime : NULL);
	err = check_columns(v, msg);
	if (!err)
		err = set_namespace(v, store, preset, msg);
	if (err)
		return err;
	text = text_of(store, "prefix");
	pfs_buf_str(&v->prefix, text ? text : "");
	text = text_of(store, "separator");
	if (text)
		v->enc.separator = pfs_bytes_str(text);
	text = text_of(store, "final_newline");
	v->strip = text && strcmp(text, "strip") == 0;
	v->read_only = pfs_option_get(store, "read_only")->num != 0;
	*expiry = v->expires.name != NULL;
	return v->prefix.failed ? -ENOMEM : 0;
}
