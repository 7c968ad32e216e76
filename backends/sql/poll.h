/*
 * Hearing of what others commit where the engine tells no more than that something has changed: a thread
 * that asks data_version of rows.h.
 */
#ifndef PFS_BACKENDS_SQL_POLL_H
#define PFS_BACKENDS_SQL_POLL_H

#include "backends/adopt/view.h"
#include "backends/sql/rows.h"

struct pfs_rows_poll;

/*
 * Starts it: every 20 ms, and when it is woken, db->ops->data_version is asked, and a change told by
 * pfs_view_changed(view, NULL). While it cannot be asked the view's backend is not pushing. Where the engine
 * has nothing of the kind only own writes are told. 0 or -errno.
 */
int pfs_rows_poll_start(struct pfs_view *view, struct pfs_rows_db *db, struct pfs_rows_poll **out);
void pfs_rows_poll_stop(struct pfs_rows_poll *p); /* NULL: no-op */
/*
 * This view has written, which may show at other paths too (a row as JSON, computed columns, what triggers
 * do): tell of it at once. Does not wait.
 */
void pfs_rows_poll_wrote(struct pfs_rows_poll *p);
/* Moves with every change that was told, and with own writes; from 1. 0: the engine tells nothing. */
uint64_t pfs_rows_poll_changes(struct pfs_rows_poll *p);
/* What was committed before the call has been told. */
int pfs_rows_poll_now(struct pfs_rows_poll *p);

#endif
