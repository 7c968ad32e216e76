/*
 * The engines of this build, and the options that all of them share. An engine joins by one line in
 * the list below; nothing else in the tree names engines.
 */
#include "backends/backend.h"

#include <stdlib.h>
#include <string.h>

extern const struct pfs_engine pfs_memory_engine;
extern const struct pfs_engine pfs_postgres_engine;
extern const struct pfs_engine pfs_redis_engine;
extern const struct pfs_engine pfs_sqlite_engine;

/* In order of name. */
static const struct pfs_engine *const engines[] = {
	&pfs_memory_engine,
	&pfs_postgres_engine,
	&pfs_redis_engine,
	&pfs_sqlite_engine,
	NULL,
};

const struct pfs_option pfs_backend_common_options[] = {
	{.name = "type",
	 .type = PFS_OPT_STRING,
	 .required = true,
	 .help = "which engine keeps the data; see `persistfs backends list`"},
	{.name = "connect",
	 .type = PFS_OPT_ENUM,
	 .choices = "lazy|eager",
	 .def = "eager",
	 .help = "eager: the mount fails if the engine cannot be reached; lazy: it comes when it "
		 "can"},
	{.name = "create_on_write",
	 .type = PFS_OPT_BOOL,
	 .def = "no",
	 .help = "what persistfs needs is made with the first write, and not at start"},
	{.name = "pool_size",
	 .type = PFS_OPT_INT,
	 .def = "4",
	 .min = 1,
	 .max = 64,
	 .help = "connections that are kept open"},
	{.name = "max_overflow",
	 .type = PFS_OPT_INT,
	 .def = "4",
	 .min = 0,
	 .max = 64,
	 .help = "connections beyond pool_size that may be opened under load"},
	{.name = "timeout",
	 .type = PFS_OPT_DURATION,
	 .def = "5s",
	 .min = 1000000,
	 .max = 3600 * NSEC_PER_SEC,
	 .help = "how long one attempt may take"},
	{.name = "retry_timeout",
	 .type = PFS_OPT_DURATION,
	 .def = "30s",
	 .min = 0,
	 .max = 24 * 3600 * NSEC_PER_SEC,
	 .help = "how long a call is tried again in all before it fails"},
	{.name = "lock_timeout",
	 .type = PFS_OPT_DURATION,
	 .def = "30s",
	 .min = NSEC_PER_SEC,
	 .max = 3600 * NSEC_PER_SEC,
	 .help = "how long a mount may be silent before its locks and sessions are taken away"},
	PFS_OPTION_END,
};

const struct pfs_engine *const *pfs_engines(void)
{
	return engines;
}

const struct pfs_engine *pfs_engine_find(const char *name)
{
	size_t i;

	for (i = 0; engines[i]; i++) {
		if (!strcmp(engines[i]->name, name))
			return engines[i];
	}
	return NULL;
}

static size_t table_length(const struct pfs_option *table)
{
	size_t n = 0;

	while (table && table[n].name)
		n++;
	return n;
}

struct pfs_option *pfs_engine_options(const struct pfs_engine *engine)
{
	size_t ncommon = table_length(pfs_backend_common_options);
	size_t nown = table_length(engine->options);
	struct pfs_option *out;

	out = calloc(ncommon + nown + 1, sizeof(*out));
	if (!out)
		return NULL;
	memcpy(out, pfs_backend_common_options, ncommon * sizeof(*out));
	if (nown)
		memcpy(out + ncommon, engine->options, nown * sizeof(*out));
	return out;
}
