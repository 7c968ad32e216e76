/*
 * Which names are scratch: an editor's swap file, a temporary that will be renamed onto the file that
 * is saved, a backup. They are no keys of anybody's application, so that they live in the daemon's
 * memory. The patterns are those of vim, emacs, sed -i, GIO and rsync.
 */
#include <fnmatch.h>
#include <string.h>

#include "backends/adopt/view.h"

static const char *const patterns[] = {
	".*.sw?",	      /* vim's swap files */
	".*.sw?x",	      /* vim looks whether the file system keeps names apart */
	"4913",		      /* vim looks whether it may make files */
	"*~",		      /* backups */
	"#*#",		      /* emacs: what is not saved yet */
	".#*",		      /* emacs: locks */
	"sed??????",	      /* sed -i */
	".goutputstream-*",   /* GIO */
	".?*.??????",	      /* rsync: .NAME.XXXXXX */
};

bool pfs_scratch_name(struct pfs_bytes name)
{
	char text[PFS_NAME_MAX + 1];
	size_t i;

	if (name.len == 0 || name.len > PFS_NAME_MAX)
		return false;
	memcpy(text, name.p, name.len);
	text[name.len] = '\0';
	for (i = 0; i < PFS_ARRAY_SIZE(patterns); i++)
		if (fnmatch(patterns[i], text, 0) == 0)
			return true;
	return false;
}
