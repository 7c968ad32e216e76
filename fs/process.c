/* What the system tells of a process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/internal.h"

#define EXITING 0x4u /* PF_EXITING */

bool pfs_process_killed(uint32_t pid)
{
	char path[32], line[1024];
	const char *name_end, *last;
	unsigned flags = 0;
	bool killed = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	f = pid ? fopen(path, "re") : NULL;
	if (f && fgets(line, sizeof(line), f) && (name_end = strrchr(line, ')')) &&
	    sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & EXITING)) {
		last = strrchr(name_end, ' '); /* as wait(2) tells it; 0 where it may not be seen */
		killed = (atoi(last) & 0x7f) != 0;
	}
	if (f)
		fclose(f);
	return killed;
}
