/*
 * The statements of the own schema, in the order of enum pfs_kv_stmt. They are written once, in
 * what SQLite and PostgreSQL both understand, but for the few that backends/postgres/statements.c has
 * in its own words; ?NNN are parameters. No statement raises for an expected outcome.
 */
#include "backends/sql/kv.h"

#define OBJECT PFS_KV_OBJECT

const char *const pfs_kv_sql[KV_STMT_COUNT] = {
	[KV_LOOKUP] = "SELECT " OBJECT ", e.seq FROM persistfs_entries e"
		      " JOIN persistfs_objects o ON o.id = e.object"
		      " WHERE e.parent = ?1 AND e.name = ?2",
	/* The directory first, so that a miss says in the same statement whether it is one. */
	[KV_LOOKUP_IN] = "SELECT " OBJECT ", e.seq, d.mode, d.ns, d.nlink"
			 " FROM persistfs_objects d"
			 " LEFT JOIN persistfs_entries e ON e.parent = d.id AND e.name = ?2"
			 " LEFT JOIN persistfs_objects o ON o.id = e.object WHERE d.id = ?1",
	[KV_GETATTR] = "SELECT " OBJECT " FROM persistfs_objects o WHERE o.id = ?1",
	[KV_LIST] = "SELECT " OBJECT ", e.seq, e.name FROM persistfs_entries e"
		    " CROSS JOIN persistfs_objects o ON o.id = e.object"
		    " WHERE e.parent = ?1 AND e.seq > ?2 ORDER BY e.seq LIMIT ?3",
	[KV_PARENT] = "SELECT parent FROM persistfs_dirs WHERE id = ?1",
	[KV_READ] = "SELECT key, data FROM persistfs_chunks WHERE key BETWEEN ?1 AND ?2"
		    " ORDER BY key",
	[KV_ENTRY_ANY] = "SELECT 1 FROM persistfs_entries WHERE parent = ?1 LIMIT 1",
	[KV_ENTRY_PUT] = "INSERT INTO persistfs_entries(parent, name, object, seq)"
			 " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
	[KV_ENTRY_DEL] = "DELETE FROM persistfs_entries WHERE parent = ?1 AND name = ?2",
	[KV_ENTRY_MOVE] = "UPDATE persistfs_entries SET parent = ?3, name = ?4, seq = ?5"
			  " WHERE parent = ?1 AND name = ?2",
	[KV_ENTRY_SET] = "UPDATE persistfs_entries SET object = ?3 WHERE parent = ?1 AND name = ?2",
	[KV_OBJECT_ADD] = "INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, size,"
			  " stored, version, content_version, content, mtime, ctime, btime)"
			  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, 1, ?1, ?10, ?11, ?11)",
	[KV_OBJECT_PUT] = "UPDATE persistfs_objects SET mode = ?2, uid = ?3, gid = ?4, nlink = ?5,"
			  " size = ?6, stored = ?7, version = ?8, content_version = ?9,"
			  " content = ?10, mtime = ?11, ctime = ?12 WHERE id = ?1",
	[KV_OBJECT_DEL] = "DELETE FROM persistfs_objects WHERE id = ?1",
	/* Times of directories do not go back when commits overtake one another. */
	[KV_DIR_TOUCH] = "UPDATE persistfs_objects SET mtime = iif(?2 > ctime, ?2, mtime),"
			 " ctime = max(?2, ctime), version = version + ?3 WHERE id = ?1",
	[KV_DIR_ADD] = "INSERT INTO persistfs_dirs(id, ns, parent, path) VALUES (?1, ?2, ?3, ?4)",
	[KV_DIR_DEL] = "DELETE FROM persistfs_dirs WHERE id = ?1",
	[KV_DIR_PATH] = "SELECT path FROM persistfs_dirs WHERE id = ?1",
	[KV_DIR_MOVE] = "UPDATE persistfs_dirs SET parent = ?2 WHERE id = ?1",
	/* ?2: the old path, ?3: the same and '/', ?4: the same and '0', ?5: the new path */
	[KV_DIRS_MOVE] = "UPDATE persistfs_dirs SET path = CAST(CAST(?5 AS BLOB) ||"
			 " substr(CAST(path AS BLOB), length(CAST(?2 AS BLOB)) + 1) AS TEXT)"
			 " WHERE ns = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4))",
	[KV_CHUNK_GET] = "SELECT data FROM persistfs_chunks WHERE key = ?1",
	[KV_CHUNK_LEN] = "SELECT length(data) FROM persistfs_chunks WHERE key = ?1",
	[KV_CHUNK_PUT] = "INSERT INTO persistfs_chunks(key, data) VALUES (?1, ?2)"
			 " ON CONFLICT(key) DO UPDATE SET data = excluded.data",
	[KV_CHUNK_CUT] = "UPDATE persistfs_chunks SET data = substr(data, 1, ?2) WHERE key = ?1",
	[KV_CHUNKS_LEN] = "SELECT sum(length(data)) FROM persistfs_chunks"
			  " WHERE key BETWEEN ?1 AND ?2",
	[KV_CHUNKS_DEL] = "DELETE FROM persistfs_chunks WHERE key BETWEEN ?1 AND ?2",
	[KV_CHUNKS_DEL_SOME] = "DELETE FROM persistfs_chunks WHERE key IN (SELECT key FROM"
			       " persistfs_chunks WHERE key BETWEEN ?1 AND ?2 ORDER BY key"
			       " LIMIT ?3)",
	[KV_CHUNKS_NEXT] = "SELECT key, length(data) FROM persistfs_chunks"
			   " WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3",
	[KV_XATTR_GET] = "SELECT value FROM persistfs_xattrs WHERE object = ?1 AND name = ?2",
	[KV_XATTR_LIST] = "SELECT name FROM persistfs_xattrs WHERE object = ?1 ORDER BY name",
	[KV_XATTR_ADD] = "INSERT INTO persistfs_xattrs(object, name, value) VALUES (?1, ?2, ?3)"
			 " ON CONFLICT DO NOTHING",
	[KV_XATTR_PUT] = "INSERT INTO persistfs_xattrs(object, name, value) VALUES (?1, ?2, ?3)"
			 " ON CONFLICT(object, name) DO UPDATE SET value = excluded.value",
	[KV_XATTR_DEL] = "DELETE FROM persistfs_xattrs WHERE object = ?1 AND name = ?2",
	[KV_XATTRS_DEL] = "DELETE FROM persistfs_xattrs WHERE object = ?1",
	[KV_STAGED_ADD] = "INSERT INTO persistfs_staged(content, session, size, stored)"
			  " VALUES (?1, ?2, ?3, ?4) ON CONFLICT(content) DO UPDATE SET"
			  " session = excluded.session, size = excluded.size,"
			  " stored = excluded.stored",
	[KV_STAGED_GET] = "SELECT size, stored FROM persistfs_staged"
			  " WHERE content = ?1 AND session = ?2",
	[KV_STAGED_DEL] = "DELETE FROM persistfs_staged WHERE content = ?1",
	[KV_STAGED_DEAD] = "SELECT content FROM persistfs_staged WHERE session NOT IN"
			   " (SELECT id FROM persistfs_sessions)",
	[KV_ORPHAN_ADD] = "INSERT INTO persistfs_orphans(object, session) VALUES (?1, ?2)"
			  " ON CONFLICT DO NOTHING",
	[KV_ORPHANS_DEAD] = "SELECT object FROM persistfs_orphans WHERE session NOT IN"
			    " (SELECT id FROM persistfs_sessions)",
	[KV_ORPHANS_CLAIM] = "UPDATE persistfs_orphans SET session = ?1 WHERE session NOT IN"
			     " (SELECT id FROM persistfs_sessions)",
	[KV_ORPHAN_DEL] = "DELETE FROM persistfs_orphans WHERE object = ?1",
	[KV_ORPHANS_SCAN] = "SELECT id FROM persistfs_objects WHERE nlink = 0",
	[KV_HOLD_ADD] = "INSERT INTO persistfs_holds(object, session) VALUES (?1, ?2)"
			" ON CONFLICT DO NOTHING",
	[KV_HOLDS_DEL] = "DELETE FROM persistfs_holds WHERE object = ?1 AND session = ?2",
	[KV_HELD_ELSEWHERE] = "SELECT 1 FROM persistfs_holds WHERE object = ?1 AND session <> ?2"
			      " LIMIT 1",
	[KV_IDS_RESERVE] = "UPDATE persistfs_meta SET value = value + ?1 WHERE key = 'next_id'"
			   " RETURNING value - ?1",
	[KV_IDS_RETURN] = "UPDATE persistfs_meta SET value = ?1 WHERE key = 'next_id'"
			  " AND value = ?2",
	[KV_NS_GET] = "SELECT id, root FROM persistfs_namespaces WHERE name = ?1",
	[KV_NS_BY_ID] = "SELECT root FROM persistfs_namespaces WHERE id = ?1",
	[KV_NS_LIST] = "SELECT id, name FROM persistfs_namespaces ORDER BY id",
	[KV_NS_ADD] = "INSERT INTO persistfs_namespaces(id, name, root) VALUES (?1, ?2, ?1)",
	[KV_NS_DEL] = "DELETE FROM persistfs_namespaces WHERE id = ?1",
	[KV_USAGE_GET] = "SELECT total(objects), total(bytes) FROM persistfs_usage WHERE ns = ?1",
	[KV_USAGE_ADD] = "INSERT INTO persistfs_usage(ns, session, objects, bytes)"
			 " VALUES (?1, ?2, ?3, ?4) ON CONFLICT(ns, session) DO UPDATE SET"
			 " objects = persistfs_usage.objects + excluded.objects,"
			 " bytes = persistfs_usage.bytes + excluded.bytes",
	[KV_USAGE_FOLD] = "INSERT INTO persistfs_usage(ns, session, objects, bytes)"
			  " SELECT ns, 0, sum(objects), sum(bytes) FROM persistfs_usage"
			  " WHERE session = ?1 GROUP BY ns"
			  " ON CONFLICT(ns, session) DO UPDATE SET"
			  " objects = persistfs_usage.objects + excluded.objects,"
			  " bytes = persistfs_usage.bytes + excluded.bytes",
	[KV_USAGE_FOLD_DEL] = "DELETE FROM persistfs_usage WHERE session = ?1",
	[KV_USAGE_CLEAR] = "DELETE FROM persistfs_usage",
	[KV_USAGE_SCAN] = "INSERT INTO persistfs_usage(ns, session, objects, bytes)"
			  " SELECT ns, 0, count(*) - 1, sum(size) FROM persistfs_objects"
			  " WHERE nlink > 0 GROUP BY ns",
	[KV_SESSION_ADD] = "INSERT INTO persistfs_sessions(id, heartbeat, pid, started, host,"
			   " acked) SELECT ?1, ?2, ?3, ?4, ?5, coalesce(max(seq), 0)"
			   " FROM persistfs_changes",
	[KV_SESSION_BEAT] = "UPDATE persistfs_sessions SET heartbeat = ?2 WHERE id = ?1",
	[KV_SESSION_DEL] = "DELETE FROM persistfs_sessions WHERE id = ?1",
	[KV_SESSION_COUNT] = "SELECT count(*), count(*) FILTER (WHERE id = ?1)"
			     " FROM persistfs_sessions",
	[KV_SESSION_LIST] = "SELECT id, ?2 - heartbeat, pid, started, host FROM persistfs_sessions"
			    " WHERE id <> ?1",
	[KV_SESSION_ACK] = "UPDATE persistfs_sessions SET acked = ?2 WHERE id = ?1",
	[KV_SESSION_ACKED] = "SELECT min(acked) FROM persistfs_sessions WHERE id <> ?1",
	[KV_LOCKS_SESSION_DEL] = "DELETE FROM persistfs_locks WHERE session = ?1",
	[KV_HOLDS_SESSION_DEL] = "DELETE FROM persistfs_holds WHERE session = ?1",
	[KV_CHANGE_ADD] = "INSERT INTO persistfs_changes(session, type, dir, object, name)"
			  " VALUES (?1, ?2, ?3, ?4, ?5)",
	[KV_CHANGES_AFTER] = "SELECT seq, session, type, dir, object, name FROM persistfs_changes"
			     " WHERE seq > ?1 ORDER BY seq LIMIT ?2",
	[KV_CHANGES_LAST] = "SELECT coalesce(max(seq), 0) FROM persistfs_changes",
	[KV_CHANGES_TRIM] = "DELETE FROM persistfs_changes WHERE seq < ?1",
	[KV_LOCK_CONFLICT] =
		"SELECT owner, first, last, mode, session FROM persistfs_locks WHERE object = ?1"
		" AND NOT (session = ?2 AND owner = ?3) AND first <= ?5 AND last >= ?4"
		" AND (mode = 2 OR ?6 = 2) ORDER BY first LIMIT 1",
	[KV_LOCK_OWN] = "SELECT first, last, mode FROM persistfs_locks WHERE object = ?1"
			" AND session = ?2 AND owner = ?3 ORDER BY first",
	[KV_LOCK_DEL] = "DELETE FROM persistfs_locks WHERE object = ?1 AND session = ?2"
			" AND owner = ?3",
	[KV_LOCK_ADD] = "INSERT INTO persistfs_locks(object, session, owner, first, last, mode)"
			" VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
};
