/*
 * What SQL clients see: the view persistfs_kv, one row per entry of every namespace, and the
 * triggers by which INSERT, UPDATE and DELETE on it work while the store is mounted.
 *
 * The triggers take the lock of the writers first, then look at everything anew: what the client's
 * statement read before may be old. They say what they changed in the same channel as mounts do.
 * Every function runs with the schema as its search path, whatever the client's is.
 *
 * session 0 stands for SQL clients. Changes are told only where a session is registered.
 */
#include "backends/postgres/postgres.h"

#define FUNCTION(head, language)                                                                   \
	"CREATE FUNCTION " head " LANGUAGE " language " SET search_path FROM CURRENT AS $f$ "
#define END " $f$;"

#define TYPE                                                                                       \
	"CASE o.mode & 61440 WHEN 32768 THEN 'file' WHEN 16384 THEN 'dir' WHEN 40960 THEN"         \
	" 'symlink' WHEN 4096 THEN 'fifo' WHEN 49152 THEN 'socket' ELSE 'device' END"

/* clang-format off */
const char pg_view_sql[] =
	/* The content of an object as one value, zeros where nothing is stored. */
	FUNCTION("persistfs_value(c bigint, size bigint) RETURNS bytea STABLE", "sql")
	"SELECT CASE WHEN size = 0 THEN ''::bytea ELSE (SELECT string_agg(coalesce(k.data, '')"
	" || CASE WHEN least(16384, size - i * 16384) > coalesce(length(k.data), 0)"
	"    THEN decode(repeat('00', (least(16384, size - i * 16384)"
	"     - coalesce(length(k.data), 0))::int), 'hex') ELSE '' END, '' ORDER BY i)"
	" FROM generate_series(0, (size - 1) / 16384) i"
	" LEFT JOIN persistfs_chunks k ON k.key = (c << 26) + i) END" END

	"CREATE VIEW persistfs_kv AS SELECT n.name AS namespace,"
	" CASE d.path WHEN '' THEN e.name ELSE d.path || '/' || e.name END AS key,"
	" d.path AS dir, e.name AS name,"
	" CASE WHEN o.mode & 61440 IN (32768, 40960) AND o.size <= 67108864"
	"  THEN persistfs_value(o.content, o.size) END AS value,"
	" o.size AS size, o.mtime AS mtime, o.mode & 4095 AS mode, " TYPE " AS type,"
	" o.uid AS uid, o.gid AS gid, o.id AS object"
	" FROM persistfs_namespaces n JOIN persistfs_dirs d ON d.ns = n.id"
	" JOIN persistfs_entries e ON e.parent = d.id"
	" JOIN persistfs_objects o ON o.id = e.object;"

	FUNCTION("persistfs_now() RETURNS bigint", "sql")
	"SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint" END

	/* The lock of the writers, and word to those who listen. */
	FUNCTION("persistfs_enter() RETURNS void", "plpgsql")
	"DECLARE me bigint := (SELECT oid FROM pg_namespace WHERE nspname = current_schema());"
	" BEGIN PERFORM pg_advisory_xact_lock((1885762304::bigint << 32) + me);"
	" PERFORM pg_notify('persistfs_' || me, '0'); END" END

	FUNCTION("persistfs_change(kind int, dir bigint, object bigint, name text) RETURNS void",
		 "sql")
	"INSERT INTO persistfs_changes(session, type, dir, object, name)"
	" SELECT 0, kind, dir, object, name WHERE EXISTS (SELECT 1 FROM persistfs_sessions)" END

	FUNCTION("persistfs_count(n bigint, o bigint, b bigint) RETURNS void", "sql")
	"INSERT INTO persistfs_usage(ns, session, objects, bytes) VALUES (n, 0, o, b)"
	" ON CONFLICT(ns, session) DO UPDATE SET"
	" objects = persistfs_usage.objects + excluded.objects,"
	" bytes = persistfs_usage.bytes + excluded.bytes" END

	FUNCTION("persistfs_next_id() RETURNS bigint", "sql")
	"UPDATE persistfs_meta SET value = value + 1 WHERE key = 'next_id' RETURNING value - 1" END

	FUNCTION("persistfs_touch(dir bigint, t bigint) RETURNS void", "sql")
	"UPDATE persistfs_objects SET mtime = CASE WHEN t > ctime THEN t ELSE mtime END,"
	" ctime = greatest(t, ctime), version = version + 1 WHERE id = dir" END

	/* What no file can be called; %80 to %FF and %25 stand for bytes that are no text. */
	FUNCTION("persistfs_check_name(name text) RETURNS void", "plpgsql")
	"BEGIN IF name IS NULL OR name IN ('', '.', '..') OR strpos(name, '/') > 0"
	" OR octet_length(name) > 255 OR name ~ '%(25|[89A-F][0-9A-F])' THEN"
	" RAISE EXCEPTION 'no file can have this name'; END IF; END" END

	FUNCTION("persistfs_add(n bigint, at bigint, called text, id bigint, mode bigint, uid bigint,"
		 " gid bigint, size bigint, mtime bigint, t bigint) RETURNS void",
		 "plpgsql")
	"BEGIN INSERT INTO persistfs_objects(id, ns, mode, uid, gid, nlink, rdev, size, stored,"
	"  version, content_version, content, mtime, ctime, btime)"
	" VALUES (id, n, mode, uid, gid, CASE WHEN mode & 61440 = 16384 THEN 2 ELSE 1 END, 0, size,"
	"  size, 1, 1, id, mtime, t, t);"
	" INSERT INTO persistfs_entries(parent, name, object, seq) VALUES (at, called, id, id);"
	" PERFORM persistfs_touch(at, t), persistfs_change(1, at, id, called),"
	"  persistfs_count(n, 1, size); END" END

	/* The directory `path`, made where it is missing. */
	FUNCTION("persistfs_mkdirs(n bigint, want text) RETURNS bigint", "plpgsql")
	"DECLARE at bigint; made bigint; part text; done text := ''; t bigint := persistfs_now();"
	" r persistfs_objects; BEGIN"
	" SELECT d.id INTO at FROM persistfs_dirs d WHERE d.ns = n AND d.path = want;"
	" IF FOUND THEN RETURN at; END IF;"
	" SELECT * INTO r FROM persistfs_objects o WHERE o.id = n;"
	" at := n;"
	" FOREACH part IN ARRAY string_to_array(want, '/') LOOP"
	"  IF part IS NULL OR part IN ('', '.', '..') OR octet_length(part) > 765 THEN"
	"   RAISE EXCEPTION 'dir is no path of a directory: it has a part that is no name'; END IF;"
	"  done := CASE done WHEN '' THEN part ELSE done || '/' || part END;"
	"  SELECT e.object INTO made FROM persistfs_entries e WHERE e.parent = at AND e.name = part;"
	"  IF NOT FOUND THEN"
	"   PERFORM persistfs_check_name(part);"
	"   made := persistfs_next_id();"
	"   PERFORM persistfs_add(n, at, part, made, 16877, r.uid, r.gid, 0, t, t);"
	"   INSERT INTO persistfs_dirs(id, ns, parent, path) VALUES (made, n, at, done);"
	"  ELSIF NOT EXISTS (SELECT 1 FROM persistfs_dirs d WHERE d.id = made) THEN"
	"   RAISE EXCEPTION 'dir leads through something that is not a directory';"
	"  END IF;"
	"  at := made;"
	" END LOOP; RETURN at; END" END

	FUNCTION("persistfs_put(c bigint, v bytea) RETURNS void", "plpgsql")
	"BEGIN IF length(v) > 67108864 THEN"
	"  RAISE EXCEPTION 'value is above 64 MiB; write the file through the mount'; END IF;"
	" DELETE FROM persistfs_chunks WHERE key BETWEEN c << 26 AND (c << 26) + 67108863;"
	" INSERT INTO persistfs_chunks(key, data)"
	"  SELECT (c << 26) + i, substr(v, i * 16384 + 1, 16384)"
	"  FROM generate_series(0, (length(v) - 1) / 16384) i WHERE length(v) > 0; END" END

	/* The parts of `key`, or of dir and name; they must agree. */
	FUNCTION("persistfs_place(INOUT key text, INOUT dir text, INOUT name text)", "plpgsql")
	"DECLARE cut int := length(key) - strpos(reverse(key), '/'); BEGIN"
	" IF key IS NULL AND name IS NULL THEN"
	"  RAISE EXCEPTION 'give dir and name, or key'; END IF;"
	" IF left(key, 1) = '/' OR strpos(key, '//') > 0 THEN RAISE EXCEPTION"
	"  'key has an empty part: no slash at its begin, no two in a row'; END IF;"
	" IF key IS NOT NULL AND name IS NOT NULL AND key <>"
	"  (CASE coalesce(dir, '') WHEN '' THEN '' ELSE dir || '/' END || name) THEN"
	"  RAISE EXCEPTION 'key and dir/name do not agree'; END IF;"
	" IF name IS NULL THEN"
	"  dir := CASE strpos(key, '/') WHEN 0 THEN '' ELSE left(key, cut) END;"
	"  name := CASE strpos(key, '/') WHEN 0 THEN key ELSE substr(key, cut + 2) END; END IF;"
	" dir := coalesce(dir, ''); END" END

	FUNCTION("persistfs_kv_insert() RETURNS trigger", "plpgsql")
	"DECLARE n bigint; at bigint; id bigint; t bigint; p persistfs_objects; BEGIN"
	" PERFORM persistfs_enter();"
	" SELECT s.id INTO n FROM persistfs_namespaces s WHERE s.name = NEW.namespace;"
	" IF n IS NULL THEN RAISE EXCEPTION 'no such namespace'; END IF;"
	" SELECT * INTO NEW.key, NEW.dir, NEW.name FROM persistfs_place(NEW.key, NEW.dir, NEW.name);"
	" PERFORM persistfs_check_name(NEW.name);"
	" IF NEW.type <> 'file' THEN"
	"  RAISE EXCEPTION 'only files can be inserted; directories come with them'; END IF;"
	" at := persistfs_mkdirs(n, NEW.dir);"
	" IF EXISTS (SELECT 1 FROM persistfs_entries e WHERE e.parent = at AND e.name = NEW.name) THEN"
	"  RAISE EXCEPTION 'there is a file of this name; use UPDATE'"
	"   USING ERRCODE = 'unique_violation'; END IF;"
	" SELECT * INTO p FROM persistfs_objects o WHERE o.id = at;"
	" id := persistfs_next_id(); t := persistfs_now();"
	" NEW.size := coalesce(length(NEW.value), 0); NEW.mtime := coalesce(NEW.mtime, t);"
	" NEW.mode := coalesce(NEW.mode, 420) & 4095; NEW.uid := coalesce(NEW.uid, p.uid);"
	" NEW.gid := coalesce(NEW.gid, p.gid); NEW.type := 'file'; NEW.object := id;"
	" PERFORM persistfs_put(id, NEW.value);"
	" PERFORM persistfs_add(n, at, NEW.name, id, 32768 | NEW.mode, NEW.uid, NEW.gid, NEW.size,"
	"  NEW.mtime, t);"
	" RETURN NEW; END" END

	/* Another value, if the one that the client read is still there. */
	FUNCTION("persistfs_kv_set(o persistfs_objects, was bytea, v bytea) RETURNS void", "plpgsql")
	"BEGIN IF o.mode & 61440 <> 32768 THEN"
	"  RAISE EXCEPTION 'only ordinary files have a value that can be set'; END IF;"
	" IF was IS NOT NULL AND was IS DISTINCT FROM persistfs_value(o.content, o.size) THEN"
	"  RAISE EXCEPTION 'the file was changed meanwhile; try again'"
	"   USING ERRCODE = 'serialization_failure'; END IF;"
	" PERFORM persistfs_put(o.content, v), persistfs_change(3, 0, o.id, ''),"
	"  persistfs_count(o.ns, 0, coalesce(length(v), 0) - o.size);"
	" UPDATE persistfs_objects SET size = coalesce(length(v), 0), stored = coalesce(length(v), 0),"
	"  version = version + 1, content_version = content_version + 1, ctime = persistfs_now(),"
	"  mtime = persistfs_now() WHERE id = o.id; END" END

	FUNCTION("persistfs_kv_move(o persistfs_objects, at bigint, n persistfs_kv, w persistfs_kv)"
		 " RETURNS void",
		 "plpgsql")
	"DECLARE dest bigint; t bigint := persistfs_now(); path text; BEGIN"
	" IF w.key IS DISTINCT FROM n.key THEN"
	"  SELECT q.dir, q.name INTO w.dir, w.name FROM persistfs_place(w.key, NULL, NULL) q; END IF;"
	" IF w.dir IS NULL THEN RAISE EXCEPTION 'no file can have this name'; END IF;"
	" IF w.name IS DISTINCT FROM n.name THEN PERFORM persistfs_check_name(w.name); END IF;"
	" path := CASE w.dir WHEN '' THEN '' ELSE w.dir || '/' END || w.name;"
	" IF n.type = 'dir' AND (w.dir = n.key OR left(w.dir, length(n.key) + 1) = n.key || '/') THEN"
	"  RAISE EXCEPTION 'a directory cannot move into itself'; END IF;"
	" dest := persistfs_mkdirs(o.ns, w.dir);"
	" IF EXISTS (SELECT 1 FROM persistfs_entries e WHERE e.parent = dest AND e.name = w.name) THEN"
	"  RAISE EXCEPTION 'there is a file or directory of the new name'"
	"   USING ERRCODE = 'unique_violation'; END IF;"
	" UPDATE persistfs_entries e SET parent = dest, name = w.name, seq = persistfs_next_id()"
	"  WHERE e.parent = at AND e.name = n.name;"
	" UPDATE persistfs_objects SET ctime = t, version = version + 1 WHERE id = o.id;"
	" PERFORM persistfs_touch(at, t), persistfs_change(1, at, o.id, n.name),"
	"  persistfs_change(1, dest, o.id, w.name);"
	" IF dest <> at THEN PERFORM persistfs_touch(dest, t); END IF;"
	" IF n.type = 'dir' THEN"
	"  UPDATE persistfs_dirs d SET parent = dest WHERE d.id = o.id;"
	"  WITH RECURSIVE below(id) AS (SELECT o.id UNION ALL SELECT d.id FROM persistfs_dirs d"
	"   JOIN below b ON d.parent = b.id WHERE d.id <> d.parent)"
	"  UPDATE persistfs_dirs d SET path = kv_path || substr(d.path, length(n.key) + 1)"
	"   FROM below b, (SELECT path AS kv_path) k WHERE d.id = b.id; END IF; END" END

	FUNCTION("persistfs_kv_update() RETURNS trigger", "plpgsql")
	"DECLARE o persistfs_objects; at bigint; BEGIN"
	" PERFORM persistfs_enter();"
	" IF NEW.size IS DISTINCT FROM OLD.size OR NEW.type IS DISTINCT FROM OLD.type"
	"  OR NEW.object IS DISTINCT FROM OLD.object THEN RAISE EXCEPTION"
	"  'size, type and object follow from the file; they cannot be set'; END IF;"
	" IF NEW.namespace IS DISTINCT FROM OLD.namespace THEN"
	"  RAISE EXCEPTION 'a file cannot change its namespace'; END IF;"
	" SELECT e.parent INTO at FROM persistfs_namespaces s JOIN persistfs_dirs d ON d.ns = s.id"
	"  JOIN persistfs_entries e ON e.parent = d.id WHERE s.name = OLD.namespace"
	"  AND d.path = OLD.dir AND e.name = OLD.name AND e.object = OLD.object;"
	" IF NOT FOUND THEN RETURN NULL; END IF;" /* it went meanwhile */
	" SELECT * INTO o FROM persistfs_objects q WHERE q.id = OLD.object;"
	" IF NEW.value IS DISTINCT FROM OLD.value THEN"
	"  PERFORM persistfs_kv_set(o, OLD.value, NEW.value); END IF;"
	" IF NEW.mode IS DISTINCT FROM OLD.mode OR NEW.uid IS DISTINCT FROM OLD.uid"
	"  OR NEW.gid IS DISTINCT FROM OLD.gid OR NEW.mtime IS DISTINCT FROM OLD.mtime THEN"
	"  IF NEW.mode IS NULL OR NEW.uid IS NULL OR NEW.gid IS NULL OR NEW.mtime IS NULL THEN"
	"   RAISE EXCEPTION 'mode, uid, gid and mtime are whole numbers'; END IF;"
	"  UPDATE persistfs_objects q SET mode = (q.mode & 61440) | (NEW.mode & 4095),"
	"   uid = NEW.uid, gid = NEW.gid, version = q.version + 1, ctime = persistfs_now(),"
	"   mtime = CASE WHEN NEW.mtime <> OLD.mtime THEN NEW.mtime ELSE q.mtime END"
	"   WHERE q.id = OLD.object;"
	"  PERFORM persistfs_change(2, 0, OLD.object, ''); END IF;"
	" IF NEW.key IS DISTINCT FROM OLD.key OR NEW.dir IS DISTINCT FROM OLD.dir"
	"  OR NEW.name IS DISTINCT FROM OLD.name THEN"
	"  PERFORM persistfs_kv_move(o, at, OLD, NEW); END IF;"
	" RETURN NEW; END" END

	FUNCTION("persistfs_kv_delete() RETURNS trigger", "plpgsql")
	"DECLARE o persistfs_objects; at bigint; t bigint := persistfs_now(); BEGIN"
	" PERFORM persistfs_enter();"
	" SELECT e.parent INTO at FROM persistfs_namespaces s JOIN persistfs_dirs d ON d.ns = s.id"
	"  JOIN persistfs_entries e ON e.parent = d.id WHERE s.name = OLD.namespace"
	"  AND d.path = OLD.dir AND e.name = OLD.name AND e.object = OLD.object;"
	" IF NOT FOUND THEN RETURN NULL; END IF;"
	" IF EXISTS (SELECT 1 FROM persistfs_entries e WHERE e.parent = OLD.object) THEN"
	"  RAISE EXCEPTION 'a directory that is not empty cannot be deleted'; END IF;"
	" PERFORM persistfs_change(1, at, OLD.object, OLD.name), persistfs_touch(at, t);"
	" DELETE FROM persistfs_entries e WHERE e.parent = at AND e.name = OLD.name;"
	" DELETE FROM persistfs_dirs d WHERE d.id = OLD.object;"
	" UPDATE persistfs_objects q SET nlink = CASE OLD.type WHEN 'dir' THEN 0 ELSE q.nlink - 1 END,"
	"  ctime = t, version = q.version + 1 WHERE q.id = OLD.object RETURNING * INTO o;"
	" PERFORM persistfs_change(CASE o.nlink WHEN 0 THEN 4 ELSE 2 END, 0, o.id, '');"
	" IF o.nlink = 0 THEN"
	"  INSERT INTO persistfs_orphans(object, session) VALUES (o.id, 0) ON CONFLICT DO NOTHING;"
	"  PERFORM persistfs_count(o.ns, -1, -o.size); END IF;"
	" RETURN OLD; END" END

	"CREATE TRIGGER persistfs_kv_insert INSTEAD OF INSERT ON persistfs_kv"
	" FOR EACH ROW EXECUTE FUNCTION persistfs_kv_insert();"
	"CREATE TRIGGER persistfs_kv_update INSTEAD OF UPDATE ON persistfs_kv"
	" FOR EACH ROW EXECUTE FUNCTION persistfs_kv_update();"
	"CREATE TRIGGER persistfs_kv_delete INSTEAD OF DELETE ON persistfs_kv"
	" FOR EACH ROW EXECUTE FUNCTION persistfs_kv_delete();";
/* clang-format on */
