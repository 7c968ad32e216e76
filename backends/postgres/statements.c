/*
 * Statements of PostgreSQL alone, and those of the own schema that it needs in other words. ?NNN are
 * parameters here too. Every number is a bigint: parameters are sent as such.
 */
#include "backends/postgres/postgres.h"

/* The server's clock, in ns: sessions of all hosts are measured by it. */
#define NOW "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"

/* NOLINTBEGIN(bugprone-suspicious-missing-comma): every element is named */
const char *const pg_sql[PG_STMT_COUNT] = {
	[KV_LIST] = "SELECT " PFS_KV_OBJECT ", e.seq, e.name FROM persistfs_entries e"
		    " JOIN persistfs_objects o ON o.id = e.object"
		    " WHERE e.parent = ?1 AND e.seq > ?2 ORDER BY e.seq LIMIT ?3",
	/* It was looked for first; should a program that ignores the lock be faster, this raises. */
	[KV_ENTRY_PUT] = "INSERT INTO persistfs_entries(parent, name, object, seq)"
			 " VALUES (?1, ?2, ?3, ?4)",
	[KV_DIR_TOUCH] = "UPDATE persistfs_objects SET"
			 " mtime = CASE WHEN ?2 > ctime THEN ?2 ELSE mtime END,"
			 " ctime = greatest(?2, ctime), version = version + ?3 WHERE id = ?1",
	/* Found by the tree: paths can be too long for a sorted index. */
	[KV_DIRS_MOVE] =
		"WITH RECURSIVE below(id) AS ("
		" SELECT id FROM persistfs_dirs WHERE ns = ?1 AND path = ?2"
		" UNION ALL SELECT d.id FROM persistfs_dirs d JOIN below b ON d.parent = b.id"
		" WHERE d.id <> d.parent)"
		" UPDATE persistfs_dirs d SET path = ?5::text || substr(d.path, length(?2::text) + "
		"1)"
		" FROM below b WHERE d.id = b.id AND ?3::text IS NOT NULL AND ?4::text IS NOT NULL",
	[KV_CHUNK_CUT] = "UPDATE persistfs_chunks SET data = substr(data, 1, ?2::bigint::int)"
			 " WHERE key = ?1",
	[KV_USAGE_GET] = "SELECT coalesce(sum(objects), 0)::bigint, coalesce(sum(bytes), 0)::bigint"
			 " FROM persistfs_usage WHERE ns = ?1",
	[KV_SESSION_ADD] =
		"INSERT INTO persistfs_sessions(id, heartbeat, pid, started, host, acked)"
		" SELECT ?1, " NOW " + 0 * ?2::bigint, ?3, ?4, ?5, coalesce(max(seq), 0)"
		" FROM persistfs_changes",
	[KV_SESSION_BEAT] = "UPDATE persistfs_sessions SET heartbeat = " NOW " + 0 * ?2::bigint"
			    " WHERE id = ?1",
	/* While the server was away nobody could say anything. */
	[KV_SESSION_LIST] =
		"SELECT id, " NOW " - greatest(heartbeat,"
		" (extract(epoch FROM pg_postmaster_start_time()) * 1000000000)::bigint)"
		" + 0 * ?2::bigint, pid, started, host FROM persistfs_sessions WHERE id <> ?1",
	/* A connection that was opened before there was a session knows no changes of its own. */
	[KV_CHANGES_AFTER] =
		"SELECT seq, session, type, dir, object, name FROM persistfs_changes WHERE seq > ?1"
		" AND session IS DISTINCT FROM"
		" nullif(current_setting('persistfs.session', true)::bigint, 0)"
		" ORDER BY seq LIMIT ?2",
	[KV_LOCK_CONFLICT] =
		"SELECT owner, first, last, mode, session FROM persistfs_locks WHERE object = ?1"
		" AND NOT (session = ?2 AND owner = ?3) AND first <= ?5 AND last >= ?4"
		" AND (mode = 2 OR ?6::bigint = 2) ORDER BY first LIMIT 1",

	[PG_STMT_BEGIN] = "BEGIN ISOLATION LEVEL READ COMMITTED",
	[PG_STMT_COMMIT] = "COMMIT",
	[PG_STMT_ROLLBACK] = "ROLLBACK",
	[PG_STMT_SAVE] = "SAVEPOINT batch",
	[PG_STMT_RELEASE] = "RELEASE SAVEPOINT batch",
	[PG_STMT_UNDO] = "ROLLBACK TO SAVEPOINT batch",
	[PG_STMT_LOCK] = "SELECT pg_advisory_xact_lock(?1)",
	[PG_STMT_PATIENT] = "SELECT set_config('statement_timeout', '0', true)",
	[PG_STMT_ENTER] = "SELECT pg_current_xact_id()::text::bigint, count(*),"
			  " count(*) FILTER (WHERE id = ?1), pg_backend_pid()::bigint"
			  " FROM persistfs_sessions",
	[PG_STMT_DONE] = "UPDATE persistfs_sessions SET done = ?2 WHERE id = ?1",
	/*
	 * What became of transaction ?1, which said ?3 by the statement above: 1 it was committed, 0
	 * not, 2 the session is gone, and that is not known. That a number of a transaction is
	 * committed says nothing: a server that crashed before it had logged ours gives it out again.
	 */
	[PG_STMT_STATUS] =
		"SELECT CASE WHEN s.done = ?3 THEN 1 WHEN s.done IS NOT NULL THEN 0"
		" WHEN pg_xact_status(?1::bigint::text::xid8) = 'aborted' THEN 0 ELSE 2 END::bigint"
		" FROM (SELECT 1) one LEFT JOIN persistfs_sessions s ON s.id = ?2",
	[PG_STMT_NOTIFY] = "SELECT pg_notify(?1, ?2)",
	[PG_STMT_FLUSH_LOG] = "SELECT set_config('synchronous_commit', 'on', true),"
			      " pg_logical_emit_message(true, 'persistfs', 'sync')",
	/* ?2, ?3: the first and the last chunk */
	[PG_STMT_READ] = "SELECT o.mode, o.size, o.ns, o.nlink, c.key, c.data"
			 " FROM persistfs_objects o LEFT JOIN persistfs_chunks c"
			 " ON c.key >= (o.content << 26) + ?2 AND c.key <= (o.content << 26) + ?3"
			 " WHERE o.id = ?1 ORDER BY c.key",
	/* The chunk at offset ?2 (-1: at the end) of object ?1. */
	[PG_STMT_TAIL_GET] =
		"SELECT c.data FROM persistfs_objects o JOIN persistfs_chunks c ON c.key ="
		" (o.content << 26) + (CASE WHEN ?2::bigint < 0 THEN o.size ELSE ?2 END >> 14)"
		" WHERE o.id = ?1",
	[PG_STMT_TAIL_LEN] =
		"SELECT length(c.data) FROM persistfs_objects o JOIN persistfs_chunks c ON c.key ="
		" (o.content << 26) + (CASE WHEN ?2::bigint < 0 THEN o.size ELSE ?2 END >> 14)"
		" WHERE o.id = ?1",
	/* What gather.c has. KV_ENTRY_PUT, KV_CHUNK_PUT and KV_OBJECT_ADD, once each: */
	[PG_STMT_PUT_FILE] =
		"WITH entry AS (INSERT INTO persistfs_entries(parent, name, object, seq)"
		" VALUES (?1, ?2, ?3, ?4)),"
		" chunk AS (INSERT INTO persistfs_chunks(key, data) VALUES (?5, ?6)"
		" ON CONFLICT(key) DO UPDATE SET data = excluded.data)"
		" INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, size, stored,"
		" version, content_version, content, mtime, ctime, btime) VALUES (?7, ?8, ?9, ?10,"
		" ?11, ?12, ?13, ?14, ?15, 1, 1, ?7, ?16, ?17, ?17)",
	/* The same, many of them; ?N is a column. */
	[PG_STMT_PUT_FILES] =
		"WITH entry AS (INSERT INTO persistfs_entries(parent, name, object, seq)"
		" SELECT * FROM unnest(?1::bigint[], ?2::text[], ?3::bigint[], ?4::bigint[])),"
		" chunk AS (INSERT INTO persistfs_chunks(key, data)"
		" SELECT * FROM unnest(?5::bigint[], ?6::bytea[])"
		" ON CONFLICT(key) DO UPDATE SET data = excluded.data)"
		" INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, size, stored,"
		" version, content_version, content, mtime, ctime, btime)"
		" SELECT id, ns, mode, uid, gid, nlink, rdev, size, stored, 1, 1, id, mtime, ctime,"
		" ctime FROM unnest(?7::bigint[], ?8::bigint[], ?9::bigint[], ?10::bigint[], ?11::bigint[],"
		" ?12::bigint[], ?13::bigint[], ?14::bigint[], ?15::bigint[], ?16::bigint[],"
		" ?17::bigint[]) t(id, ns, mode, uid, gid, nlink, rdev, size, stored, mtime, ctime)",
	[PG_STMT_PUT_CHUNKS] = "INSERT INTO persistfs_chunks(key, data)"
			       " SELECT * FROM unnest(?1::bigint[], ?2::bytea[])"
			       " ON CONFLICT(key) DO UPDATE SET data = excluded.data",
	/* KV_DIR_TOUCH, of different directories. */
	[PG_STMT_TOUCH_DIRS] =
		"UPDATE persistfs_objects o SET"
		" mtime = CASE WHEN t.now > o.ctime THEN t.now ELSE o.mtime END,"
		" ctime = greatest(t.now, o.ctime), version = o.version + t.more"
		" FROM unnest(?1::bigint[], ?2::bigint[], ?3::bigint[]) t(id, now, more)"
		" WHERE o.id = t.id",
};
/* NOLINTEND(bugprone-suspicious-missing-comma) */
