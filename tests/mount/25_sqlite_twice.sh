#!/bin/bash
# A SQLite database kept on the store and used through two mounts at once: its locks hold, its
# journals are seen, nothing is lost.
# every engine
# time limit: 400 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

need_mount
start_two
rows=$(amount 20 80 1000)

# Inserts of one writer; another one's transaction is waited for.
insert()
{
	local who=$1 file=$2 n
	for n in $(seq "$rows"); do
		echo "INSERT INTO t VALUES ($who, $n, randomblob(700));"
		[ $((n % 10)) != 0 ] || echo 'SELECT count(*) FROM t;'
	done | sqlite3 -bail -cmd '.timeout 120000' "$file" >/dev/null
}

for mode in delete truncate persist; do
	say "journal_mode = $mode: two writers on each mount"
	flock "$M/inner.db.lock" sqlite3 "$M/inner.db" 'DROP TABLE IF EXISTS t;
		CREATE TABLE t (who INT, n INT, filler BLOB); CREATE INDEX i ON t (n)'
	eq "journal mode" "$(sqlite3 "$M/inner.db" "PRAGMA journal_mode = $mode")" "$mode"
	eventually test -s "$M2/inner.db"
	pids=()
	for who in 1 2 3 4; do
		file=$M/inner.db
		[ $((who % 2)) = 0 ] || file=$M2/inner.db
		insert "$who" "$file" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "a writer"
	done
	for file in "$M/inner.db" "$M2/inner.db"; do
		eq "rows of all in $file" "$(sqlite3 "$file" 'SELECT count(*) FROM t')" $((rows * 4))
		eq "different rows" "$(sqlite3 "$file" 'SELECT count(DISTINCT who * 100000 + n) FROM t')" \
			$((rows * 4))
		eq "integrity" "$(sqlite3 "$file" 'PRAGMA integrity_check')" ok
	done
done

say "a transaction whose process is killed is rolled back by the other mount"
for i in $(seq "$(amount 3 6 40)"); do
	before=$(sqlite3 -cmd '.timeout 60000' "$M2/inner.db" 'SELECT count(*) FROM t')
	mkfifo "$T/commands"
	sqlite3 -bail -cmd '.timeout 60000' "$M/inner.db" <"$T/commands" >"$T/answers" &
	pid=$!
	exec 7>"$T/commands"
	# More than the cache holds, so that the database file itself is written before the end.
	cat >&7 <<-END
		PRAGMA cache_size = 5;
		BEGIN IMMEDIATE;
		UPDATE t SET filler = randomblob(900);
		DELETE FROM t WHERE who = 1;
		SELECT 'halfway';
	END
	eventually grep -q halfway "$T/answers"
	kill -9 "$pid"
	exec 7>&-
	wait "$pid" 2>/dev/null || true
	eq "rows after the kill" \
		"$(sqlite3 -cmd '.timeout 60000' "$M2/inner.db" 'SELECT count(*) FROM t')" "$before"
	eq "integrity there" "$(sqlite3 "$M2/inner.db" 'PRAGMA integrity_check')" ok
	eq "integrity here" "$(sqlite3 "$M/inner.db" 'PRAGMA integrity_check')" ok
	rm "$T/commands" "$T/answers"
done
stop_two
check_database
