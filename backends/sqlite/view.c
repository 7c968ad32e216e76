/*
 * What SQL clients see: the view persistfs_kv, one row per entry of every namespace, and the
 * triggers by which INSERT, UPDATE and DELETE on it work while the store is mounted.
 *
 * Two rules of SQLite shape the triggers. The conflict clause of the outer statement overrides
 * those inside: so no statement here relies on one, except `probe`, by which a trigger learns that
 * it serves REPLACE or INSERT OR IGNORE. And WITH works only in subselects. persistfs_mkdirs and
 * persistfs_put are views without rows that serve as procedures; persistfs_steps and
 * persistfs_probe are empty between statements.
 *
 * session 0 stands for SQL clients. Changes are told only where a session is registered.
 */
#include "backends/sqlite/sqlite.h"

#define NOW  "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000)"
#define LIVE "EXISTS (SELECT 1 FROM persistfs_sessions)"

/* Usage of namespace `ns` grows by so many objects and bytes. */
#define USAGE(ns, objects, bytes)                                                                  \
	"INSERT INTO persistfs_usage(ns, session, objects, bytes) SELECT " ns ", 0, 0, 0"          \
	"  WHERE NOT EXISTS (SELECT 1 FROM persistfs_usage WHERE ns = " ns " AND session = 0);"    \
	"UPDATE persistfs_usage SET objects = objects + " objects ", bytes = bytes + " bytes       \
	"  WHERE ns = " ns " AND session = 0;"

/* The parts of `key`: all up to the last slash, and what follows it. */
#define KEY_DIR(key)  "rtrim(rtrim(" key ", replace(" key ", '/', '')), '/')"
#define KEY_NAME(key) "substr(" key ", length(rtrim(" key ", replace(" key ", '/', ''))) + 1)"

/* What cannot be a name, as a condition. */
#define BAD_NAME(n)                                                                                \
	"(" n " IS NULL OR " n " IN ('', '.', '..') OR instr(" n ", '/') > 0"                      \
	"  OR instr(CAST(" n " AS BLOB), x'00') > 0 OR length(CAST(" n " AS BLOB)) > 255)"

/* The 1-row-per-piece content of an object, zeros where nothing is stored, as one blob. */
#define VALUE                                                                                      \
	"CASE"                                                                                     \
	" WHEN o.mode & 61440 NOT IN (32768, 40960) OR o.size > 67108864 THEN NULL"                \
	" WHEN o.size = 0 THEN x''"                                                                \
	" WHEN o.size <= 16384 THEN (SELECT CAST(coalesce(max(c.data), x'')"                       \
	"    || zeroblob(o.size - coalesce(max(length(c.data)), 0)) AS BLOB)"                      \
	"    FROM persistfs_chunks c WHERE c.key = o.content << 26)"                               \
	" ELSE (SELECT CAST(group_concat(piece, '') AS BLOB) FROM ("                               \
	"    WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i"                       \
	"       WHERE (n + 1) * 16384 < o.size)"                                                   \
	"    SELECT coalesce(c.data, x'') || zeroblob(min(16384, o.size - n * 16384)"              \
	"       - coalesce(length(c.data), 0)) AS piece"                                           \
	"    FROM i LEFT JOIN persistfs_chunks c ON c.key = (o.content << 26) | n ORDER BY n))"    \
	" END"

#define TYPE                                                                                       \
	"CASE o.mode & 61440 WHEN 32768 THEN 'file' WHEN 16384 THEN 'dir' WHEN 40960 THEN"         \
	" 'symlink' WHEN 4096 THEN 'fifo' WHEN 49152 THEN 'socket' ELSE 'device' END"

static const char view[] =
	"CREATE VIEW persistfs_kv AS SELECT"
	" n.name AS namespace,"
	" CASE d.path WHEN '' THEN e.name ELSE d.path || '/' || e.name END AS key,"
	" d.path AS dir, e.name AS name, " VALUE " AS value, o.size AS size, o.mtime AS mtime,"
	" o.mode & 4095 AS mode, " TYPE " AS type, o.uid AS uid, o.gid AS gid, o.id AS object"
	" FROM persistfs_namespaces n"
	" JOIN persistfs_dirs d ON d.ns = n.id"
	" JOIN persistfs_entries e ON e.parent = d.id"
	" JOIN persistfs_objects o ON o.id = e.object;";

/* Scratch: the directories to make, from the top; what a put works on; the probe. */
static const char scratch[] =
	"CREATE TABLE persistfs_steps("
	"  depth INTEGER PRIMARY KEY, id INTEGER, parent INTEGER, above TEXT, path TEXT, name "
	"TEXT);"
	"CREATE TABLE persistfs_probe(id INTEGER PRIMARY KEY, replaced INTEGER NOT NULL);"
	"CREATE VIEW persistfs_mkdirs AS SELECT 0 AS ns, '' AS path WHERE 0;"
	"CREATE VIEW persistfs_content AS SELECT 0 AS content, x'' AS value WHERE 0;";

/* INSERT INTO persistfs_mkdirs(ns, path): make the directories of `path` that are missing. */
static const char mkdirs[] =
	"CREATE TRIGGER persistfs_mkdirs_insert INSTEAD OF INSERT ON persistfs_mkdirs"
	" WHEN NOT EXISTS (SELECT 1 FROM persistfs_dirs WHERE ns = NEW.ns AND path = NEW.path) "
	"BEGIN"
	" DELETE FROM persistfs_steps;"
	" INSERT INTO persistfs_steps(depth, above, path, name)"
	"  SELECT depth, above, path, name FROM ("
	"   WITH RECURSIVE s(depth, above, path, name, rest) AS ("
	"    SELECT 0, '', '', '', CAST(NEW.path AS TEXT) || '/'"
	"    UNION ALL"
	"    SELECT depth + 1, path,"
	"     CASE depth WHEN 0 THEN '' ELSE path || '/' END || substr(rest, 1, instr(rest, '/') - "
	"1),"
	"     substr(rest, 1, instr(rest, '/') - 1), substr(rest, instr(rest, '/') + 1)"
	"    FROM s WHERE rest <> '')"
	"   SELECT depth, above, path, name FROM s WHERE depth > 0);"
	" SELECT RAISE(ABORT, 'dir is no path of a directory: it has a part that is no name')"
	"  WHERE EXISTS (SELECT 1 FROM persistfs_steps WHERE " BAD_NAME(
		"name") ");"
			" DELETE FROM persistfs_steps WHERE EXISTS (SELECT 1 FROM persistfs_dirs d"
			"  WHERE d.ns = NEW.ns AND d.path = persistfs_steps.path);"
			" SELECT RAISE(ABORT, 'dir leads through something that is not a "
			"directory')"
			"  WHERE EXISTS (SELECT 1 FROM persistfs_steps s"
			"   JOIN persistfs_dirs d ON d.ns = NEW.ns AND d.path = s.above"
			"   JOIN persistfs_entries e ON e.parent = d.id AND e.name = s.name);"
			" UPDATE persistfs_meta SET value = value + (SELECT max(depth) FROM "
			"persistfs_steps)"
			"  WHERE key = 'next_id';"
			" UPDATE persistfs_steps SET id ="
			"  (SELECT value FROM persistfs_meta WHERE key = 'next_id') - depth;"
			" UPDATE persistfs_steps SET parent = coalesce("
			"  (SELECT p.id FROM persistfs_steps p WHERE p.path = "
			"persistfs_steps.above AND p.depth > 0),"
			"  (SELECT d.id FROM persistfs_dirs d WHERE d.ns = NEW.ns"
			"    AND d.path = persistfs_steps.above));"
			" INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, size, "
			"stored, version,"
			"   content_version, content, mtime, ctime, btime)"
			"  SELECT s.id, NEW.ns, 16877, r.uid, r.gid, 2, 0, 0, 0, 1, 1, s.id, " NOW
			", " NOW ", " NOW
			"  FROM persistfs_steps s JOIN persistfs_objects r ON r.id = NEW.ns;"
			" INSERT INTO persistfs_dirs(id, ns, parent, path)"
			"  SELECT id, NEW.ns, parent, path FROM persistfs_steps;"
			" INSERT INTO persistfs_entries(parent, name, object, seq)"
			"  SELECT parent, name, id, id FROM persistfs_steps;"
			" UPDATE persistfs_objects SET mtime = " NOW ", ctime = " NOW
			", version = version + 1"
			"  WHERE id IN (SELECT parent FROM persistfs_steps);"
			" INSERT INTO persistfs_changes(session, type, dir, object, name)"
			"  SELECT 0, 1, parent, id, name FROM persistfs_steps WHERE " LIVE
			";" USAGE("NEW.ns", "(SELECT count(*) FROM persistfs_steps)",
				  "0") " DELETE FROM persistfs_steps;"
				       "END;";

/* INSERT INTO persistfs_content(content, value): the pieces of a content that has none. */
static const char content[] =
	"CREATE TRIGGER persistfs_content_insert INSTEAD OF INSERT ON persistfs_content "
	"BEGIN"
	" SELECT RAISE(ABORT, 'value is above 64 MiB; write the file through the mount')"
	"  WHERE length(CAST(NEW.value AS BLOB)) > 67108864;"
	" INSERT INTO persistfs_chunks(key, data)"
	"  SELECT (NEW.content << 26) | n, substr(CAST(NEW.value AS BLOB), n * 16384 + 1, 16384)"
	"  FROM (WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i"
	"     WHERE (n + 1) * 16384 < length(CAST(NEW.value AS BLOB)))"
	"    SELECT n FROM i WHERE length(CAST(NEW.value AS BLOB)) > 0);"
	"END;";

/*
 * Where the file NEW.(namespace, dir, name) or NEW.key is to be. `at` yields ns, dir, name; `there`
 * also parent and object, when there is something.
 */
#define NEW_DIR                                                                                    \
	"(CASE WHEN NEW.key IS NOT NULL AND NEW.name IS NULL THEN " KEY_DIR(                       \
		"CAST(NEW.key AS TEXT)") " ELSE coalesce(CAST(NEW.dir AS TEXT), '') END)"
#define NEW_NAME                                                                                   \
	"(CASE WHEN NEW.key IS NOT NULL AND NEW.name IS NULL THEN " KEY_NAME(                      \
		"CAST(NEW.key AS TEXT)") " ELSE CAST(NEW.name AS TEXT) END)"
#define NEW_NS	   "(SELECT id FROM persistfs_namespaces WHERE name = NEW.namespace)"
#define NEW_PARENT "(SELECT id FROM persistfs_dirs WHERE ns = " NEW_NS " AND path = " NEW_DIR ")"
#define NEW_OBJECT                                                                                 \
	"(SELECT object FROM persistfs_entries WHERE parent = " NEW_PARENT " AND name = " NEW_NAME \
	")"

static const char insert[] =
	"CREATE TRIGGER persistfs_kv_insert INSTEAD OF INSERT ON persistfs_kv "
	"BEGIN"
	" SELECT RAISE(ABORT, 'no such namespace') WHERE " NEW_NS " IS NULL;"
	" SELECT RAISE(ABORT, 'give dir and name, or key')"
	"  WHERE NEW.key IS NULL AND NEW.name IS NULL;"
	" SELECT RAISE(ABORT, 'key and dir/name do not agree')"
	"  WHERE NEW.key IS NOT NULL AND NEW.name IS NOT NULL AND CAST(NEW.key AS TEXT) <>"
	"   CASE WHEN " NEW_DIR " = '' THEN '' ELSE " NEW_DIR " || '/' END || NEW.name;"
	" SELECT RAISE(ABORT, 'key has an empty part: no slash at its begin, no two in a row')"
	"  WHERE substr(CAST(NEW.key AS TEXT), 1, 1) = '/' OR instr(CAST(NEW.key AS TEXT), '//') > "
	"0;"
	" SELECT RAISE(ABORT, 'no file can have this name') WHERE " BAD_NAME(
		NEW_NAME) ";"
			  " SELECT RAISE(ABORT, 'only files can be inserted; directories come with "
			  "them')"
			  "  WHERE NEW.type IS NOT NULL AND NEW.type <> 'file';"
			  " INSERT INTO persistfs_mkdirs(ns, path) SELECT " NEW_NS ", " NEW_DIR ";"
			  /* Something is there: plain INSERT is refused, OR IGNORE does nothing, REPLACE goes on. */
			  " INSERT OR IGNORE INTO persistfs_probe(id, replaced) SELECT 1, 0"
			  "  WHERE " NEW_OBJECT " IS NOT NULL;"
			  " INSERT OR IGNORE INTO persistfs_probe(id, replaced) SELECT 1, 1"
			  "  WHERE " NEW_OBJECT " IS NOT NULL;"
			  " INSERT OR IGNORE INTO persistfs_probe(id, replaced) SELECT 2, 0"
			  "  WHERE " NEW_OBJECT " IS NOT NULL;"
			  " INSERT OR REPLACE INTO persistfs_probe(id, replaced) SELECT 2, 1"
			  "  WHERE " NEW_OBJECT " IS NOT NULL;"
			  " SELECT RAISE(ABORT, 'there is a directory or special file of this "
			  "name')"
			  "  WHERE (SELECT sum(replaced) FROM persistfs_probe) > 0 AND NOT EXISTS ("
			  "   SELECT 1 FROM persistfs_objects WHERE id = " NEW_OBJECT
			  " AND mode & 61440 = 32768);"
			  " SELECT RAISE(ABORT, 'there is a file of this name; use REPLACE or "
			  "UPDATE')"
			  "  WHERE (SELECT sum(replaced) FROM persistfs_probe) = 1;"
			  " INSERT INTO persistfs_changes(session, type, dir, object, name)"
			  "  SELECT 0, 0, 0, 0, '' WHERE (SELECT sum(replaced) FROM "
			  "persistfs_probe) = 0 AND " LIVE ";"
			  " UPDATE persistfs_kv SET value = NEW.value, mtime = "
			  "coalesce(NEW.mtime, " NOW "),"
			  "   mode = coalesce(NEW.mode, mode)"
			  "  WHERE (SELECT sum(replaced) FROM persistfs_probe) = 2"
			  "   AND namespace = NEW.namespace AND dir = " NEW_DIR
			  " AND name = " NEW_NAME ";"
			  /* Nothing is there: a new object. */
			  " UPDATE persistfs_meta SET value = value + 1 WHERE key = 'next_id' "
			  "AND " NEW_OBJECT " IS NULL;"
			  " INSERT INTO persistfs_steps(depth, id, parent, name)"
			  "  SELECT 0, (SELECT value - 1 FROM persistfs_meta WHERE key = "
			  "'next_id'), " NEW_PARENT ", " NEW_NAME " WHERE " NEW_OBJECT " IS NULL;"
			  " INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, "
			  "size, stored, version,"
			  "   content_version, content, mtime, ctime, btime)"
			  "  SELECT s.id, p.ns, 32768 | (coalesce(NEW.mode, 420) & 4095), "
			  "coalesce(NEW.uid, p.uid),"
			  "   coalesce(NEW.gid, p.gid), 1, 0, coalesce(length(CAST(NEW.value AS "
			  "BLOB)), 0),"
			  "   coalesce(length(CAST(NEW.value AS BLOB)), 0), 1, 1, s.id,"
			  "   coalesce(NEW.mtime, " NOW "), " NOW ", " NOW
			  "  FROM persistfs_steps s JOIN persistfs_objects p ON p.id = s.parent;"
			  " INSERT INTO persistfs_content(content, value)"
			  "  SELECT id, NEW.value FROM persistfs_steps WHERE NEW.value IS NOT NULL;"
			  " INSERT INTO persistfs_entries(parent, name, object, seq)"
			  "  SELECT parent, name, id, id FROM persistfs_steps;"
			  " UPDATE persistfs_objects SET mtime = " NOW ", ctime = " NOW
			  ", version = version + 1"
			  "  WHERE id IN (SELECT parent FROM persistfs_steps);"
			  " INSERT INTO persistfs_changes(session, type, dir, object, name)"
			  "  SELECT 0, 1, parent, id, name FROM persistfs_steps WHERE " LIVE
			  ";" USAGE(NEW_NS, "(SELECT count(*) FROM persistfs_steps)",
				    "coalesce((SELECT o.size FROM persistfs_steps s JOIN "
				    "persistfs_objects o"
				    " ON o.id = s.id), 0)") " DELETE FROM persistfs_steps;"
							    " DELETE FROM persistfs_probe;"
							    "END;";

/* The new place of a row that is updated: by key when that changed, else by dir and name. */
#define TO_DIR                                                                                     \
	"(CASE WHEN NEW.key IS NOT OLD.key THEN " KEY_DIR(                                         \
		"CAST(NEW.key AS TEXT)") " ELSE CAST(NEW.dir AS TEXT) END)"
#define TO_NAME                                                                                    \
	"(CASE WHEN NEW.key IS NOT OLD.key THEN " KEY_NAME(                                        \
		"CAST(NEW.key AS TEXT)") " ELSE CAST(NEW.name AS TEXT) END)"
#define OLD_NS	   "(SELECT id FROM persistfs_namespaces WHERE name = OLD.namespace)"
#define OLD_PARENT "(SELECT id FROM persistfs_dirs WHERE ns = " OLD_NS " AND path = OLD.dir)"
#define TO_PARENT  "(SELECT id FROM persistfs_dirs WHERE ns = " OLD_NS " AND path = " TO_DIR ")"

/* The value changed: other pieces under the same content. */
static const char update_value[] =
	"CREATE TRIGGER persistfs_kv_update_value INSTEAD OF UPDATE OF value ON persistfs_kv"
	" WHEN CAST(NEW.value AS BLOB) IS NOT OLD.value "
	"BEGIN"
	" SELECT RAISE(ABORT, 'only ordinary files have a value that can be set')"
	"  WHERE OLD.type <> 'file';" USAGE(OLD_NS, "0",
					    "coalesce(length(CAST(NEW.value AS BLOB)), 0) - "
					    "OLD.size") " DELETE FROM persistfs_chunks WHERE key "
							"BETWEEN"
							"  (SELECT content << 26 FROM "
							"persistfs_objects WHERE id = OLD.object) "
							"AND"
							"  (SELECT (content << 26) | 67108863 FROM "
							"persistfs_objects WHERE id = OLD.object);"
							" INSERT INTO persistfs_content(content, "
							"value)"
							"  SELECT content, NEW.value FROM "
							"persistfs_objects"
							"  WHERE id = OLD.object AND NEW.value IS "
							"NOT NULL;"
							" UPDATE persistfs_objects SET size = "
							"coalesce(length(CAST(NEW.value AS BLOB)), "
							"0),"
							"   stored = "
							"coalesce(length(CAST(NEW.value AS BLOB)), "
							"0), version = version + 1,"
							"   content_version = content_version + 1, "
							"ctime = " NOW ","
							"   mtime = CASE WHEN NEW.mtime IS NOT "
							"OLD.mtime THEN NEW.mtime ELSE " NOW " END"
							"  WHERE id = OLD.object;"
							" INSERT INTO persistfs_changes(session, "
							"type, dir, object, name)"
							"  SELECT 0, 3, 0, OLD.object, '' "
							"WHERE " LIVE ";"
							"END;";

static const char update_attr[] =
	"CREATE TRIGGER persistfs_kv_update_attr INSTEAD OF UPDATE OF mode, uid, gid, mtime"
	" ON persistfs_kv"
	" WHEN NEW.mode IS NOT OLD.mode OR NEW.uid IS NOT OLD.uid OR NEW.gid IS NOT OLD.gid"
	"  OR NEW.mtime IS NOT OLD.mtime "
	"BEGIN"
	" SELECT RAISE(ABORT, 'mode, uid, gid and mtime are whole numbers') WHERE"
	"  typeof(NEW.mode) <> 'integer' OR typeof(NEW.uid) <> 'integer'"
	"  OR typeof(NEW.gid) <> 'integer' OR typeof(NEW.mtime) <> 'integer';"
	" UPDATE persistfs_objects SET mode = (mode & 61440) | (NEW.mode & 4095), uid = NEW.uid,"
	"   gid = NEW.gid, mtime = CASE WHEN NEW.mtime IS NOT OLD.mtime THEN NEW.mtime ELSE mtime "
	"END,"
	"   ctime = " NOW ", version = version + 1"
	"  WHERE id = OLD.object;"
	" INSERT INTO persistfs_changes(session, type, dir, object, name)"
	"  SELECT 0, 2, 0, OLD.object, '' WHERE " LIVE ";"
	"END;";

static const char update_place[] =
	"CREATE TRIGGER persistfs_kv_update_place INSTEAD OF UPDATE OF namespace, key, dir, name"
	" ON persistfs_kv"
	" WHEN NEW.namespace IS NOT OLD.namespace OR NEW.key IS NOT OLD.key"
	"  OR NEW.dir IS NOT OLD.dir OR NEW.name IS NOT OLD.name "
	"BEGIN"
	" SELECT RAISE(ABORT, 'a file cannot change its namespace')"
	"  WHERE NEW.namespace IS NOT OLD.namespace;"
	" SELECT RAISE(ABORT, 'key has an empty part: no slash at its begin, no two in a row')"
	"  WHERE substr(CAST(NEW.key AS TEXT), 1, 1) = '/' OR instr(CAST(NEW.key AS TEXT), '//') > "
	"0;"
	" SELECT RAISE(ABORT, 'no file can have this name')"
	"  WHERE " TO_DIR " IS NULL OR " BAD_NAME(
		TO_NAME) ";"
			 " SELECT RAISE(ABORT, 'a directory cannot move into itself')"
			 "  WHERE OLD.type = 'dir' AND (" TO_DIR " = OLD.key"
			 "   OR substr(" TO_DIR ", 1, length(OLD.key) + 1) = OLD.key || '/');"
			 " INSERT INTO persistfs_mkdirs(ns, path) SELECT " OLD_NS ", " TO_DIR ";"
			 " SELECT RAISE(ABORT, 'there is a file or directory of the new name')"
			 "  WHERE EXISTS (SELECT 1 FROM persistfs_entries WHERE parent = " TO_PARENT
			 "   AND name = " TO_NAME ");"
			 " UPDATE persistfs_meta SET value = value + 1 WHERE key = 'next_id';"
			 " INSERT INTO persistfs_changes(session, type, dir, object, name)"
			 "  SELECT 0, 1, " OLD_PARENT ", OLD.object, OLD.name WHERE " LIVE ";"
			 " INSERT INTO persistfs_changes(session, type, dir, object, name)"
			 "  SELECT 0, 1, " TO_PARENT ", OLD.object, " TO_NAME " WHERE " LIVE ";"
			 " UPDATE persistfs_objects SET mtime = " NOW ", ctime = " NOW
			 ", version = version + 1"
			 "  WHERE id IN (" OLD_PARENT ", " TO_PARENT ");"
			 " UPDATE persistfs_objects SET ctime = " NOW
			 ", version = version + 1 WHERE id = OLD.object;"
			 " INSERT INTO persistfs_steps(depth, id, parent, above, path, name)"
			 "  SELECT 0, OLD.object, " TO_PARENT ", OLD.key,"
			 "   CASE " TO_DIR " WHEN '' THEN '' ELSE " TO_DIR " || '/' END || " TO_NAME
			 ", " TO_NAME ";"
			 " UPDATE persistfs_entries SET"
			 "   parent = (SELECT parent FROM persistfs_steps WHERE depth = 0),"
			 "   name = (SELECT name FROM persistfs_steps WHERE depth = 0),"
			 "   seq = (SELECT value - 1 FROM persistfs_meta WHERE key = 'next_id')"
			 "  WHERE parent = " OLD_PARENT " AND name = OLD.name;"
			 " UPDATE persistfs_dirs SET"
			 "   parent = CASE id WHEN OLD.object THEN (SELECT parent FROM "
			 "persistfs_steps WHERE depth = 0)"
			 "    ELSE parent END,"
			 "   path = CAST(CAST((SELECT path FROM persistfs_steps WHERE depth = 0) "
			 "AS BLOB)"
			 "    || substr(CAST(path AS BLOB), length(CAST(OLD.key AS BLOB)) + 1) AS "
			 "TEXT)"
			 "  WHERE OLD.type = 'dir' AND ns = " OLD_NS
			 "   AND (path = OLD.key OR (path >= OLD.key || '/' AND path < OLD.key || "
			 "'0'));"
			 " DELETE FROM persistfs_steps;"
			 "END;";

static const char update_fixed[] =
	"CREATE TRIGGER persistfs_kv_update_fixed INSTEAD OF UPDATE OF size, type, object"
	" ON persistfs_kv"
	" WHEN NEW.size IS NOT OLD.size OR NEW.type IS NOT OLD.type OR NEW.object IS NOT "
	"OLD.object "
	"BEGIN"
	" SELECT RAISE(ABORT, 'size, type and object follow from the file; they cannot be set');"
	"END;";

static const char delete[] =
	"CREATE TRIGGER persistfs_kv_delete INSTEAD OF DELETE ON persistfs_kv "
	"BEGIN"
	" SELECT RAISE(ABORT, 'a directory that is not empty cannot be deleted')"
	"  WHERE EXISTS (SELECT 1 FROM persistfs_entries WHERE parent = OLD.object);"
	" INSERT INTO persistfs_changes(session, type, dir, object, name)"
	"  SELECT 0, 1, " OLD_PARENT ", OLD.object, OLD.name WHERE " LIVE ";"
	" UPDATE persistfs_objects SET mtime = " NOW ", ctime = " NOW ", version = version + 1"
	"  WHERE id = " OLD_PARENT ";"
	" DELETE FROM persistfs_entries WHERE parent = " OLD_PARENT " AND name = OLD.name;"
	" DELETE FROM persistfs_dirs WHERE id = OLD.object;"
	" UPDATE persistfs_objects SET nlink = CASE OLD.type WHEN 'dir' THEN 0 ELSE nlink - 1 END,"
	"   ctime = " NOW ", version = version + 1 WHERE id = OLD.object;"
	" INSERT INTO persistfs_orphans(object, session) SELECT id, 0 FROM persistfs_objects"
	"  WHERE id = OLD.object AND nlink = 0;"
	" INSERT INTO persistfs_changes(session, type, dir, object, name)"
	"  SELECT 0, CASE nlink WHEN 0 THEN 4 ELSE 2 END, 0, id, '' FROM persistfs_objects"
	"  WHERE id = OLD.object AND " LIVE
	";" USAGE(OLD_NS, "(SELECT -count(*) FROM persistfs_orphans WHERE object = OLD.object)",
		  "coalesce((SELECT -size FROM persistfs_objects WHERE id = OLD.object AND nlink = "
		  "0), 0)") "END;";

const char *const sqlite_view_sql[] = {view,	     scratch,	   mkdirs,	content,
				       insert,	     update_value, update_attr, update_place,
				       update_fixed, delete,	   NULL};
