#!/bin/bash
# A SQLite database kept on the mount: its locking and its journal work there.
# time limit: 180 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start
inner=$M/inner.db
rows=$(amount 40 150 1000)

for mode in delete truncate wal; do
	say "journal_mode = $mode, two processes"
	rm -f "$inner" "$inner-wal" "$inner-shm"
	eq "journal mode" "$(sqlite3 "$inner" "PRAGMA journal_mode = $mode")" "$mode"
	sqlite3 "$inner" 'CREATE TABLE t (who INT, n INT, filler BLOB); CREATE INDEX i ON t (n)'
	for who in 1 2; do
		for n in $(seq "$rows"); do
			echo "INSERT INTO t VALUES ($who, $n, randomblob(500));"
		done | sqlite3 -bail -cmd '.timeout 60000' "$inner" &
		pids[who]=$!
	done
	wait "${pids[1]}" || fail "the first writer"
	wait "${pids[2]}" || fail "the second writer"
	eq "rows of both" "$(sqlite3 "$inner" 'SELECT count(*) FROM t')" $((rows * 2))
	eq "integrity" "$(sqlite3 "$inner" 'PRAGMA integrity_check')" ok
done

say "a rolled back transaction leaves nothing"
before=$(sqlite3 "$inner" 'SELECT count(*) FROM t')
sqlite3 "$inner" 'PRAGMA cache_size = 10; BEGIN; DELETE FROM t; INSERT INTO t
	WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
	SELECT 9, n, randomblob(800) FROM c; ROLLBACK'
eq "rows after a rollback" "$(sqlite3 "$inner" 'SELECT count(*) FROM t')" "$before"

say "vacuum, and mmap for reading"
sqlite3 "$inner" 'DELETE FROM t WHERE who = 2; VACUUM'
eq "read through mmap" \
	"$(sqlite3 -cmd 'PRAGMA mmap_size = 100000000' "$inner" 'SELECT count(*) FROM t' | tail -n 1)" \
	"$rows"
sum=$(sqlite3 "$inner" 'SELECT hex(filler) FROM t ORDER BY who, n' | cksum)
remount
eq "the same after a remount" \
	"$(sqlite3 "$inner" 'SELECT hex(filler) FROM t ORDER BY who, n' | cksum)" "$sum"
eq "integrity" "$(sqlite3 "$inner" 'PRAGMA integrity_check')" ok
stop
check_database
