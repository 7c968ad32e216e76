/*
 * Private to kv_write.c and kv_entries.c: the pieces that mutations are made of. All run inside the
 * transaction `t`.
 */
#ifndef PFS_BACKENDS_SQL_KV_WRITE_H
#define PFS_BACKENDS_SQL_KV_WRITE_H

#include "backends/sql/kv.h"

/* A content up to this size is removed within the mutation; a larger one is left to the sweep. */
#define KV_DROP_NOW (64 * PFS_KV_CHUNK)

/* An id that the transaction took beforehand; 0: there is none. */
uint64_t kv_txn_id(struct pfs_kv_txn *t);
/* The times of `dir` move to `now` before COMMIT. */
int kv_touch(struct pfs_kv_txn *t, uint64_t dir, int64_t now);
/* Write down the times of `dir` (0: of all) that are still to be moved. */
int kv_touch_flush(struct pfs_kv_txn *t, uint64_t dir);
int kv_usage(struct pfs_kv_txn *t, uint64_t ns, int64_t objects, int64_t bytes);
/* Tell other sessions, if there are any. */
int kv_change(struct pfs_kv_txn *t, enum pfs_kv_change type, uint64_t dir, uint64_t id,
	      struct pfs_bytes name);
int kv_object_put(struct pfs_kv_txn *t, const struct pfs_kv_object *o);

int kv_op_create(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now);
int kv_op_remove(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now);
int kv_op_rename(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now);
int kv_op_exchange(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now);
int kv_op_link(struct pfs_kv_txn *t, struct pfs_mutation *m, int64_t now);

#endif
