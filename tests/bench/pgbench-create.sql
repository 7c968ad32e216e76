-- One create of a file of 4 KiB, as rows: its object, its entry, its content, its parent's time.
-- For pgbench -D n=0.
\set n :n + 1
\set id (:client_id + 1) * 1000000000 + :n
BEGIN;
INSERT INTO persistfs_bench.objects
	VALUES (:id, 1, 33188, 0, 0, 1, 4096, 1, :id, 1, 1, 1);
INSERT INTO persistfs_bench.entries
	VALUES (:client_id, convert_to('f' || :id, 'UTF8'), :id, :id) ON CONFLICT DO NOTHING;
INSERT INTO persistfs_bench.chunks
	VALUES (:id, convert_to(repeat('x', 4096), 'UTF8'));
UPDATE persistfs_bench.objects SET mtime = :id, ctime = :id, version = version + 1
	WHERE id = :client_id;
COMMIT;
