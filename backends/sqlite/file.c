/*
 * The database file: making or checking it at the start, noticing that the path names another one,
 * and the end of the session. What is opened here changes only with the gate's write side held.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/sqlite/sqlite.h"

#define MAGIC_TMPFS 0x01021994
#define MAGIC_RAMFS 0x858458f6

void sqlite_trouble(struct sqlite_backend *b, const char *fmt, ...)
{
	struct pfs_msg msg = {""};
	bool changed;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(msg.text, sizeof(msg.text), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_lock(&b->health_lock);
	changed = strcmp(msg.text, b->trouble.text) != 0;
	b->trouble = msg;
	pthread_mutex_unlock(&b->health_lock);
	if (changed && msg.text[0])
		pfs_log(PFS_LOG_ERROR, "backend %s: %s", b->base.name, msg.text);
	else if (changed)
		pfs_log(PFS_LOG_INFO, "backend %s: %s is in order again", b->base.name, b->path);
}

void sqlite_note_damage(struct sqlite_backend *b, struct sqlite_conn *c)
{
	int code = sqlite3_errcode(c->db) & 0xff;

	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		sqlite_trouble(b, "database %s is damaged (%s); restore it from a backup", b->path,
			       sqlite3_errstr(code));
}

/* ---- making it ------------------------------------------------------------------------------ */

/* Make the directories of `path` that are missing, for the owner alone. */
static int make_parents(const char *path, struct pfs_msg *msg)
{
	char *copy = strdup(path), *p;
	int err = copy ? 0 : -ENOMEM;

	for (p = copy ? strchr(copy + 1, '/') : NULL; p && !err; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0700) != 0 && errno != EEXIST) {
			err = -errno;
			pfs_msg_set(msg, "cannot make directory %s for the database: %s", copy,
				    strerror(errno));
		}
		*p = '/';
	}
	free(copy);
	return err;
}

/* Make the file, empty, or see that it is one that can be opened. */
static int prepare_file(struct sqlite_backend *b, struct pfs_msg *msg)
{
	struct stat st;
	int fd, err = 0;

	if (stat(b->path, &st) != 0 && errno == ENOENT && b->create) {
		err = make_parents(b->path, msg);
		if (err)
			return err;
		fd = open(b->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0) {
			fchmod(fd, 0600);
			close(fd);
		} else if (errno != EEXIST) {
			err = -errno;
			pfs_msg_set(msg, "cannot create database %s: %s", b->path, strerror(-err));
			return err;
		}
	}
	if (stat(b->path, &st) != 0) {
		err = -errno;
		if (err == -ENOENT)
			pfs_msg_set(msg, "database %s does not exist, and create = no", b->path);
		else
			pfs_msg_set(msg, "cannot reach database %s: %s", b->path, strerror(-err));
	} else if (S_ISDIR(st.st_mode)) {
		err = -EISDIR;
		pfs_msg_set(msg, "%s is a directory; path must name a database file", b->path);
	} else if (!S_ISREG(st.st_mode)) {
		err = -EINVAL;
		pfs_msg_set(msg, "%s is not a regular file", b->path);
	} else if (euidaccess(b->path, R_OK) != 0) {
		err = -errno;
		pfs_msg_set(msg, "cannot read database %s: %s", b->path, strerror(-err));
	}
	return err;
}

/* A file that cannot be written is opened as it is, if its log holds nothing. */
static void choose_mode(struct sqlite_backend *b)
{
	struct stat st;
	char *slash;
	char *dir = strdup(b->path);

	b->readonly = b->immutable = false;
	if (!dir)
		return;
	slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	if (euidaccess(b->path, W_OK) != 0)
		b->readonly = true;
	if (b->readonly && euidaccess(slash ? dir : ".", W_OK) != 0)
		b->immutable = stat(b->wal_path, &st) != 0 || st.st_size == 0;
	free(dir);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int log_grown(void *arg, sqlite3 *db, const char *name, int frames)
{
	struct sqlite_backend *b = arg;
	unsigned before = __atomic_exchange_n(&b->wal_frames, (unsigned)frames, __ATOMIC_RELAXED);

	(void)db;
	(void)name;
	if (before / SQLITE_CHECKPOINT_AT != (unsigned)frames / SQLITE_CHECKPOINT_AT &&
	    (unsigned)frames > before)
		pfs_wake_up(&b->house);
	return SQLITE_OK;
}

static int open_failed(struct sqlite_backend *b, int err, struct pfs_msg *msg)
{
	if (msg && !msg->text[0])
		pfs_msg_set(msg, "cannot open database %s: %s", b->path,
			    pfs_error_text()[0] ? pfs_error_text() : strerror(-err));
	return err;
}

static int open_writer(struct sqlite_backend *b, struct pfs_msg *msg)
{
	int flags = b->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int64_t version = 0;
	int err, code;

	err = sqlite_conn_open(b, flags, 8192, SQLITE_GATHER, &b->conn);
	code = b->open_code;
	if (!err) {
		err = sqlite_query_int(b->conn, "PRAGMA schema_version", &version);
		code = sqlite3_errcode(b->conn->db) & 0xff;
	}
	if (err && code == SQLITE_NOTADB)
		pfs_msg_set(msg, "%s is not a database; name another path, or move this file away",
			    b->path);
	else if (err && code == SQLITE_CORRUPT)
		pfs_msg_set(msg,
			    "database %s is damaged (%s); restore it from a backup, or see"
			    " `sqlite3 %s .recover`",
			    b->path, pfs_error_text(), b->path);
	if (!err && sqlite3_db_readonly(b->conn->db, "main") == 1)
		b->readonly = true;
	if (!err)
		err = sqlite_layout(b->conn, !b->readonly, msg);
	if (!err && !b->readonly)
		sqlite3_wal_hook(b->conn->db, log_grown, b);
	return err ? open_failed(b, err, msg) : 0;
}

static void note_file(struct sqlite_backend *b, const struct stat *st)
{
	struct statfs fs;

	b->dev = st->st_dev;
	b->ino = st->st_ino;
	b->volatile_fs = statfs(b->path, &fs) == 0 && ((unsigned long)fs.f_type == MAGIC_TMPFS ||
						       (unsigned long)fs.f_type == MAGIC_RAMFS);
}

/* The log must be there for sync to have a file; the first write makes it. */
static int open_log(struct sqlite_backend *b)
{
	b->wal_fd = open(b->wal_path, O_RDONLY | O_CLOEXEC);
	if (b->wal_fd >= 0)
		return 0;
	pfs_error_text_set("cannot open %s: %s", b->wal_path, strerror(errno));
	return -EIO;
}

int sqlite_session_register(struct sqlite_backend *b, uint64_t id)
{
	const struct pfs_kv_self self = {
		.pid = getpid(),
		.started = (int64_t)pfs_kv_process_started((uint64_t)getpid()),
		.host = b->host};
	struct pfs_sql_conn *c = &b->conn->sql;
	unsigned dead = 0, n = 1;
	int64_t last = 0;
	int err;

	b->kv.session = 0;
	while (id == 0 && !pfs_kv_take_ids(&b->kv, 1, &id)) {
		err = sqlite_reserve(b, 1);
		if (err)
			return err;
	}
	err = sqlite_txn_begin(b);
	if (err)
		return err;
	err = pfs_kv_session_reap(&b->kv, c, &self, &dead);
	if (!err)
		err = pfs_kv_session_add(&b->kv, c, id, &self);
	if (!err)
		err = pfs_kv_session_count(&b->kv, c, &n, NULL);
	b->kv.shared = n > 1;
	if (!err && b->kv.shared)
		err = pfs_kv_change_add(&b->kv, c, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	if (!err)
		err = pfs_kv_recover(&b->kv, c, dead > 0 && n == 1);
	if (!err && pfs_sql_integer(c, KV_CHANGES_LAST, &last, "") < 0)
		err = -EIO;
	if (err) {
		sqlite_txn_rollback(b);
		return err;
	}
	b->seen_change = (uint64_t)last;
	__atomic_store_n(&b->sessions, n, __ATOMIC_RELAXED);
	return sqlite_txn_commit(b);
}

/* What cannot be looked at may have one: opening it tells what is wrong. */
static bool has_layout(const struct sqlite_backend *b)
{
	bool ours = false, others = false;

	if (access(b->path, F_OK) != 0)
		return errno != ENOENT;
	return sqlite_tables_of(b->path, &ours, &others) != 0 || ours;
}

/* Open all that a database needs; b->opened says that it went well. */
static int open_all(struct sqlite_backend *b, struct pfs_msg *msg)
{
	struct stat st;
	int err;

	if (b->create && !b->base.make && !has_layout(b))
		return -ENODATA;
	err = prepare_file(b, msg);
	if (err)
		return err;
	choose_mode(b);
	if (stat(b->path, &st) != 0)
		return open_failed(b, -errno, msg);
	note_file(b, &st);
	__atomic_store_n(&b->moved, false, __ATOMIC_RELAXED);
	err = open_writer(b, msg);
	if (!err && !b->readonly)
		err = sqlite_conn_open(b, SQLITE_OPEN_READWRITE, 256, NULL, &b->ckpt);
	if (!err && !b->readonly)
		err = sqlite_session_register(b, 0);
	if (!err && !b->readonly)
		err = open_log(b);
	if (!err)
		sqlite_look(b); /* from here on others' changes count */
	__atomic_store_n(&b->foreign, false, __ATOMIC_RELAXED);
	if (err) {
		open_failed(b, err, msg);
		sqlite_file_close(b, false);
		return err;
	}
	b->synced = 0;
	__atomic_store_n(&b->opened, true, __ATOMIC_RELEASE);
	return 0;
}

int sqlite_file_start(struct sqlite_backend *b, struct pfs_msg *msg)
{
	int err;

	pthread_rwlock_wrlock(&b->gate);
	err = open_all(b, msg);
	pthread_rwlock_unlock(&b->gate);
	if (err)
		return err;
	sqlite_trouble(b, NULL);
	if (!b->readonly)
		sqlite_sweep(b, pfs_monotonic_ns() + NSEC_PER_SEC);
	return 0;
}

/* ---- closing -------------------------------------------------------------------------------- */

static int end_session(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	int err;

	(void)arg;
	b->flushed_usage = true;
	err = pfs_kv_session_leave(&b->kv, &c->sql);
	if (!err && b->kv.shared)
		err = pfs_kv_change_add(&b->kv, &c->sql, KV_CHANGE_NONE, 0, 0, PFS_BYTES(""));
	return err;
}

/* What other sessions left, and what their holds had kept. */
static int recover_left(struct sqlite_backend *b, struct sqlite_conn *c, void *arg)
{
	(void)arg;
	return pfs_kv_recover(&b->kv, &c->sql, false);
}

void sqlite_file_close(struct sqlite_backend *b, bool keep_log)
{
	if (sqlite_is_open(b) && !keep_log && !b->readonly) {
		(void)sqlite_txn(b, recover_left, NULL);
		sqlite_sweep(b, pfs_monotonic_ns() + 2 * NSEC_PER_SEC);
		sqlite_txn(b, end_session, NULL);
	}
	__atomic_store_n(&b->opened, false, __ATOMIC_RELEASE);
	pfs_pool_drain(&b->pool);
	sqlite_conn_close(b->ckpt, true);
	b->ckpt = NULL;
	if (b->wal_fd >= 0)
		close(b->wal_fd);
	b->wal_fd = -1;
	sqlite_conn_close(b->conn, keep_log);
	b->conn = NULL;
}

/* ---- another file in its place -------------------------------------------------------------- */

bool sqlite_file_same(struct sqlite_backend *b)
{
	struct stat st;
	bool same = stat(b->path, &st) == 0 && st.st_dev == b->dev && st.st_ino == b->ino &&
		    st.st_size > 0;

	if (!same && !__atomic_exchange_n(&b->moved, true, __ATOMIC_RELAXED))
		pfs_wake_up(&b->watch);
	if (!same)
		pfs_error_text_set("database file %s was removed, replaced or emptied", b->path);
	return same;
}

/*
 * The log that the old file left at the path would be taken for the new file's. It is moved aside,
 * not removed: without it the old file may lack what was committed last.
 */
static void move_stale_log(struct sqlite_backend *b)
{
	struct pfs_buf shm = {0}, aside = {0};
	struct stat ours, there;

	pfs_buf_printf(&shm, "%s-shm", b->path);
	pfs_buf_printf(&aside, "%s-of-replaced-%lld", b->wal_path, (long long)pfs_now_ns());
	if (!shm.failed && !aside.failed && b->wal_fd >= 0 && fstat(b->wal_fd, &ours) == 0 &&
	    stat(b->wal_path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino) {
		if (rename(b->wal_path, aside.data) == 0)
			pfs_log(PFS_LOG_WARN, "the log of the replaced database is kept as %s",
				aside.data);
		unlink(shm.data);
	}
	pfs_buf_release(&shm);
	pfs_buf_release(&aside);
}

/* The file that was away is at its place again: nothing was written meanwhile. */
static bool back_again(struct sqlite_backend *b, const struct stat *st)
{
	if (!sqlite_is_open(b) || st->st_dev != b->dev || st->st_ino != b->ino)
		return false;
	sqlite_trouble(b, NULL);
	__atomic_store_n(&b->moved, false, __ATOMIC_RELEASE);
	return true;
}

void sqlite_file_exchange(struct sqlite_backend *b)
{
	const struct pfs_event event = {.type = PFS_EVENT_REPLACED};
	struct pfs_msg msg = {""};
	bool create = b->create;
	struct stat st;

	if (stat(b->path, &st) != 0) {
		sqlite_trouble(b, "database file %s was removed; put it back, or unmount", b->path);
		return;
	}
	if (st.st_size == 0 && sqlite_is_open(b) && st.st_ino == b->ino) {
		sqlite_trouble(b, "database file %s was emptied; unmount, and restore it", b->path);
		return;
	}
	if (back_again(b, &st))
		return;
	pthread_rwlock_wrlock(&b->gate);
	if (sqlite_is_open(b))
		move_stale_log(b);
	sqlite_file_close(b, true);
	pfs_kv_reset(&b->kv);
	b->create = false; /* never make one where somebody took it away */
	if (open_all(b, &msg) != 0) {
		sqlite_trouble(b, "%s", msg.text);
	} else {
		__atomic_add_fetch(&b->base.epoch, 1, __ATOMIC_RELEASE);
		pfs_log(PFS_LOG_WARN, "backend %s: database file %s was replaced by another",
			b->base.name, b->path);
		sqlite_trouble(b, NULL);
		pfs_backend_notify(&b->base, &event, 1);
	}
	b->create = create;
	pthread_rwlock_unlock(&b->gate);
}
