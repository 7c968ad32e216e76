/* The options of stores that show others' data: see options.h. */
#include "backends/adopt/options.h"

#include <string.h>

const struct pfs_option pfs_view_options[] = {PFS_VIEW_OPTIONS, PFS_OPTION_END};

#define ALL (PFS_LAYOUT_PLAIN | PFS_LAYOUT_NATIVE | PFS_LAYOUT_TABLES)

static const struct {
	const char *name;
	unsigned layouts;
} takes[] = {
	{"preset", PFS_LAYOUT_PLAIN | PFS_LAYOUT_NATIVE},
	{"table", PFS_LAYOUT_PLAIN},
	{"key_column", PFS_LAYOUT_PLAIN},
	{"value_column", PFS_LAYOUT_PLAIN},
	{"namespace_column", PFS_LAYOUT_PLAIN},
	{"namespace_separator", PFS_LAYOUT_PLAIN},
	{"expires_column", PFS_LAYOUT_PLAIN},
	{"mtime_column", PFS_LAYOUT_PLAIN | PFS_LAYOUT_TABLES},
	{"prefix", PFS_LAYOUT_PLAIN | PFS_LAYOUT_NATIVE},
	{"separator", PFS_LAYOUT_PLAIN | PFS_LAYOUT_NATIVE},
	{"final_newline", ALL},
	{"scratch", ALL},
	{"file_mode", ALL},
	{"dir_mode", ALL},
};

unsigned pfs_view_option_layouts(const char *name)
{
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(takes); i++)
		if (strcmp(takes[i].name, name) == 0)
			return takes[i].layouts;
	return 0;
}
