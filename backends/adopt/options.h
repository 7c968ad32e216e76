/*
 * The options of a store that shows others' data: rows for pfs_store_options, so that a section
 * [store:NAME] has them all. Which layouts take which of them is pfs_view_option_layouts().
 */
#ifndef PFS_BACKENDS_ADOPT_OPTIONS_H
#define PFS_BACKENDS_ADOPT_OPTIONS_H

#include "backends/backend.h"

enum pfs_scratch { PFS_SCRATCH_MEMORY, PFS_SCRATCH_STORE, PFS_SCRATCH_REFUSE };
enum pfs_final_newline { PFS_NEWLINE_EXACT, PFS_NEWLINE_STRIP };

/* clang-format off */
#define PFS_VIEW_OPTIONS                                                                           \
	{.name = "preset", .type = PFS_OPT_ENUM,                                                   \
	 .choices = "llamastack|langgraph-store|marimo",                                           \
	 .help = "plain, native: what the data of a known application looks like; other options "   \
		 "take precedence"},                                                               \
	{.name = "table", .type = PFS_OPT_STRING,                                                  \
	 .help = "plain: the table or view of keys and values, SCHEMA.TABLE where it is needed"},  \
	{.name = "key_column", .type = PFS_OPT_STRING,                                             \
	 .help = "plain: the column of keys; default: key"},                                       \
	{.name = "value_column", .type = PFS_OPT_STRING,                                           \
	 .help = "plain: the column of values; default: value"},                                   \
	{.name = "namespace_column", .type = PFS_OPT_STRING,                                       \
	 .help = "plain: a column that keeps keys apart; without `namespace` its values are "      \
		 "directories"},                                                                   \
	{.name = "namespace_separator", .type = PFS_OPT_STRING,                                    \
	 .help = "plain: what stands between `namespace` and the rest of a key, such as :"},       \
	{.name = "expires_column", .type = PFS_OPT_STRING,                                         \
	 .help = "plain: the column of the times when keys expire"},                               \
	{.name = "mtime_column", .type = PFS_OPT_STRING,                                           \
	 .help = "plain, sql: the column that says when a row was changed"},                       \
	{.name = "prefix", .type = PFS_OPT_STRING,                                                 \
	 .help = "plain, native: only keys that begin so are shown, without it"},                  \
	{.name = "separator", .type = PFS_OPT_STRING,                                              \
	 .help = "plain, native: what divides a key into directories; default: nothing for plain, "\
		 ": for native"},                                                                  \
	{.name = "final_newline", .type = PFS_OPT_ENUM, .choices = "exact|strip",                  \
	 .help = "strip: the newline at the end of a whole rewrite is left out where the old "     \
		 "value had none; default: exact, but strip for sql"},                             \
	{.name = "scratch", .type = PFS_OPT_ENUM, .choices = "memory|store|refuse",                \
	 .def = "memory",                                                                          \
	 .help = "others' data: where editors' temporary files go: the daemon's memory, the store "\
		 "as keys, or nowhere"},                                                           \
	{.name = "file_mode", .type = PFS_OPT_MODE, .def = "0600",                                 \
	 .help = "others' data: the permissions of files"},                                        \
	{.name = "dir_mode", .type = PFS_OPT_MODE, .def = "0700",                                  \
	 .help = "others' data: the permissions of directories"}
/* clang-format on */

/* PFS_VIEW_OPTIONS as a table of its own, ended by name NULL. */
extern const struct pfs_option pfs_view_options[];
/* The layouts (enum pfs_layout bits) that take the option; 0: it is none of the table above. */
unsigned pfs_view_option_layouts(const char *name);

#endif
