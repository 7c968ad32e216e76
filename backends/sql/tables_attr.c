/*
 * What files and directories are like: mode, size, version, time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/names.h"
#include "backends/sql/tables.h"

/* Different contents have different versions, as good as 64 bits can tell. */
uint64_t tables_version(uint64_t seed, struct pfs_bytes b)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed * UINT64_C(0x9e3779b97f4a7c15), word;
	size_t i;

	for (i = 0; i + 8 <= b.len; i += 8) {
		memcpy(&word, b.p + i, 8);
		h = (h ^ word) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 32;
	}
	for (; i < b.len; i++)
		h = (h ^ (unsigned char)b.p[i]) * UINT64_C(0x100000001b3);
	h = (h ^ b.len) * UINT64_C(0x9fb21c651e98df25);
	h ^= h >> 29;
	return h ? h : 1;
}

/* Below a selection the same row has another path; what changes by the one is not told of the other. */
bool tables_is_derived(const struct tables_place *p)
{
	return p->virtual_ || p->kind == TABLES_ROW_FILE;
}

void tables_dir_attr_of(bool writable, struct pfs_view_attr *out)
{
	*out = (struct pfs_view_attr){.mode = S_IFDIR | (writable ? 0777 : 0555), .version = 1};
}

void tables_dir_attr(const struct tables_table *t, struct pfs_view_attr *out)
{
	tables_dir_attr_of(!t || (!t->read_only && !(t->no_insert && t->no_delete)), out);
}

bool tables_row_writable(const struct tables_table *t)
{
	return !t->read_only && !(t->no_insert && t->no_update);
}

void tables_import_attr(struct pfs_view_attr *out)
{
	*out = (struct pfs_view_attr){.mode = S_IFREG | 0200, .version = 1, .intake = true};
}

void tables_file_attr(struct pfs_bytes content, bool read_only, struct pfs_view_attr *out)
{
	*out = (struct pfs_view_attr){.mode = S_IFREG | (read_only ? 0444 : 0),
				      .size = content.len,
				      .version = tables_version(1, content)};
}

void tables_cell_attr(const struct tables_table *t, const struct tables_column *col,
		      const struct pfs_value *v, struct pfs_view_attr *out)
{
	bool writable = !t->read_only && !col->computed && !col->unwritable;

	*out = (struct pfs_view_attr){.mode = S_IFREG | (writable ? 0222 : 0) |
					      (col->unreadable ? 0 : 0444),
				      .size = v->bytes.len,
				      .version = tables_version((uint64_t)v->type + 2, v->bytes)};
}

int tables_mtime_column(const struct tables *v, const struct tables_table *t)
{
	int at = v->mtime_column ? tables_column_named(t, pfs_bytes_str(v->mtime_column)) : -1;

	return at >= 0 && t->columns[at].unreadable ? -1 : at;
}

/* Whole numbers are seconds since 1970; 0: it says no time. */
int64_t tables_time_of(const struct pfs_value *v)
{
	int64_t at = 0;

	if (v->type == PFS_VALUE_INTEGER && v->num > 0 && v->num < INT64_MAX / NSEC_PER_SEC)
		return v->num * NSEC_PER_SEC;
	if (v->type != PFS_VALUE_TEXT || pfs_rows_parse_time(v->bytes, &at))
		return 0;
	return at;
}
