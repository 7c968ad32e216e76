-- What tests/bench/pgbench-create.sql fills: the tables that a create of persistfs writes to, and a
-- directory for each of eight clients.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS persistfs_bench CASCADE;
CREATE SCHEMA persistfs_bench;
SET search_path = persistfs_bench;
CREATE TABLE objects (
	id bigint PRIMARY KEY, ns bigint NOT NULL, mode integer NOT NULL, uid bigint NOT NULL,
	gid bigint NOT NULL, nlink bigint NOT NULL, size bigint NOT NULL, version bigint NOT NULL,
	content bigint NOT NULL, mtime bigint NOT NULL, ctime bigint NOT NULL, btime bigint NOT NULL);
CREATE TABLE entries (
	parent bigint NOT NULL, name bytea NOT NULL, object bigint NOT NULL, seq bigint NOT NULL,
	PRIMARY KEY (parent, name));
CREATE INDEX ON entries (parent, seq);
CREATE TABLE chunks (key bigint PRIMARY KEY, data bytea NOT NULL);
ALTER TABLE chunks ALTER data SET STORAGE EXTERNAL;
INSERT INTO objects
	SELECT i, 1, 16877, 0, 0, 2, 0, 1, i, 0, 0, 0 FROM generate_series(0, 7) i;
