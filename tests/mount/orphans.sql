-- What no database may hold once its last daemon has ended; one line per finding, none is good.
SELECT 'an object without an entry: ' || o.id FROM persistfs_objects o
  WHERE NOT EXISTS (SELECT 1 FROM persistfs_entries e WHERE e.object = o.id)
    AND o.id NOT IN (SELECT root FROM persistfs_namespaces);
SELECT 'an entry without its object: ' || parent || ' ' || object FROM persistfs_entries
  WHERE object NOT IN (SELECT id FROM persistfs_objects);
SELECT 'an entry in no directory: ' || parent || ' ' || object FROM persistfs_entries
  WHERE parent NOT IN (SELECT id FROM persistfs_dirs);
SELECT 'links: object ' || o.id || ' says ' || o.nlink || ', has ' || count(*)
  FROM persistfs_objects o JOIN persistfs_entries e ON e.object = o.id
  WHERE o.id NOT IN (SELECT id FROM persistfs_dirs)
  GROUP BY o.id HAVING count(*) <> o.nlink;
SELECT 'chunks of no object: content ' || (key >> 26) || ', ' || count(*) FROM persistfs_chunks
  WHERE (key >> 26) NOT IN (SELECT content FROM persistfs_objects) GROUP BY key >> 26;
SELECT 'attributes of no object: ' || object FROM persistfs_xattrs
  WHERE object NOT IN (SELECT id FROM persistfs_objects);
SELECT 'a directory without an object: ' || id FROM persistfs_dirs
  WHERE id NOT IN (SELECT id FROM persistfs_objects);
SELECT 'a wrong path: ' || d.path FROM persistfs_dirs d
  JOIN persistfs_entries e ON e.object = d.id JOIN persistfs_dirs p ON p.id = e.parent
  WHERE CAST(d.path AS BLOB) <> CAST(CASE WHEN p.path = '' THEN '' ELSE p.path || '/' END || e.name
        AS BLOB) OR d.parent <> p.id OR d.ns <> p.ns;
SELECT 'a staged content: ' || content FROM persistfs_staged;
SELECT 'a removed object: ' || object FROM persistfs_orphans;
SELECT 'held: ' || object FROM persistfs_holds;
SELECT 'locked: ' || object FROM persistfs_locks;
SELECT 'a session: ' || id FROM persistfs_sessions;
SELECT 'usage of namespace ' || n.id || ' says ' || u.objects || ' objects, ' || u.bytes ||
       ' bytes; there are ' || c.objects || ', ' || c.bytes
  FROM persistfs_namespaces n
  JOIN (SELECT ns, sum(objects) AS objects, sum(bytes) AS bytes FROM persistfs_usage GROUP BY ns) u
    ON u.ns = n.id
  JOIN (SELECT ns, count(*) - 1 AS objects, sum(size) AS bytes FROM persistfs_objects GROUP BY ns) c
    ON c.ns = n.id
  WHERE u.objects <> c.objects OR u.bytes <> c.bytes;
