#!/bin/bash
# What sqlite3 selects is what cat shows, and what sqlite3 writes shows within 100 ms.
# time limit: 120 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
start

say "files as rows, byte for byte"
mkdir -p "$M/work/deep"
head -c 100000 /dev/urandom >"$M/work/deep/random"
printf 'with\0nul\nand no newline' >"$M/nul"
: >"$M/empty"
echo "todo" >"$M/work/todo.txt"
printf '\xff\xfe\xfd' >"$M/bytes"
eq "random bytes" "$(key_hex work/deep random)" "$(file_hex "$M/work/deep/random")"
eq "a NUL" "$(key_hex '' nul)" "$(file_hex "$M/nul")"
eq "invalid UTF-8" "$(key_hex '' bytes)" "FFFEFD"
eq "an empty file is an empty value" \
	"$(sql "SELECT typeof(value), length(value), size FROM persistfs_kv WHERE name = 'empty'")" "blob|0|0"
eq "key, dir and name" \
	"$(sql "SELECT namespace, key, dir, name FROM persistfs_kv WHERE name = 'todo.txt'")" \
	"data|work/todo.txt|work|todo.txt"
eq "all of them" "$(sql "SELECT count(*) FROM persistfs_kv WHERE namespace = 'data' AND type = 'file'")" 5
eq "directories" "$(sql "SELECT key FROM persistfs_kv WHERE type = 'dir' ORDER BY key" | tr '\n' ' ')" "work work/deep "
(cd "$M" && find . -type f -printf '%P %s\n' | LC_ALL=C sort) >"$T/files"
sql "SELECT key || ' ' || size FROM persistfs_kv WHERE type = 'file'" | LC_ALL=C sort >"$T/rows"
diff "$T/files" "$T/rows"
plan=$(sql "EXPLAIN QUERY PLAN SELECT value FROM persistfs_kv
	WHERE namespace = 'data' AND dir = 'work' AND name = 'todo.txt'")
case $plan in
*SCAN\ [nedo]* | *SCAN\ persistfs*) fail "the look-up scans a table: $plan" ;;
esac

say "a change by a file is in the row when close returns"
for i in $(seq 20); do
	echo "version $i" >"$M/work/todo.txt"
	eq "row" "$(sql "SELECT CAST(value AS TEXT) FROM persistfs_kv WHERE key = 'work/todo.txt'")" "version $i"
done
mv "$M/work/todo.txt" "$M/work/done.txt"
eq "renamed" "$(sql "SELECT key FROM persistfs_kv WHERE name IN ('todo.txt', 'done.txt')")" work/done.txt
mv "$M/work" "$M/play"
eq "a renamed directory" "$(sql "SELECT key FROM persistfs_kv WHERE name = 'done.txt'")" play/done.txt
rm "$M/play/done.txt"
eq "removed" "$(sql "SELECT count(*) FROM persistfs_kv WHERE name = 'done.txt'")" 0

# shows WHAT PATH [ARG] SQL: how long until the change by sqlite3 is seen; gathers the latencies.
: >"$T/latencies"
shows()
{
	local sql_text=${*: -1}
	"$helpers/await" 1000 "${@:1:$#-1}" -- \
		sqlite3 -batch -bail -cmd '.timeout 5000' "$DB" "$sql_text" >"$T/latency" ||
		fail "$1 $2 did not come of: $sql_text"
	cat "$T/latency" >>"$T/latencies"
}

kv=persistfs_kv
where="namespace = 'data' AND dir = 'd' AND name"
rounds=$(amount 3 10 100)
say "sqlite3 writes while the kernel has everything cached, $rounds rounds"
mkdir "$M/d"
for i in $(seq "$rounds"); do
	name=k$i
	# A negative entry and a listing without the name are in the cache.
	[ ! -e "$M/d/$name" ] && [ ! -e "$M/d/$name" ]
	ls -l "$M/d" >"$T/ls"
	shows exists "$M/d/$name" "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', 'd', '$name', 'one')"
	eq "inserted" "$(cat "$M/d/$name")" one
	ls -l "$M/d" >"$T/ls"
	# The content and the attributes are in the cache.
	cat "$M/d/$name" "$M/d/$name" >"$T/cat"
	shows content "$M/d/$name" "two-$i" "UPDATE $kv SET value = 'two-$i' WHERE $where = '$name'"
	stat "$M/d/$name" >"$T/stat"
	shows size "$M/d/$name" 5000 "UPDATE $kv SET value = zeroblob(5000) WHERE $where = '$name'"
	# The entry is in the cache, and the listing too.
	ls -l "$M/d" >"$T/ls"
	shows absent "$M/d/$name" "DELETE FROM $kv WHERE $where = '$name'"
	ls "$M/d" >"$T/ls"
	shows listed "$M/d" "l$i" "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', 'd', 'l$i', x'00ff')"
	eq "a blob" "$(file_hex "$M/d/l$i")" 00FF
	ls "$M/d" >"$T/ls"
	shows unlisted "$M/d" "l$i" "DELETE FROM $kv WHERE $where = 'l$i'"
done

say "sqlite3 renames, and makes directories"
echo moving >"$M/d/from"
cat "$M/d/from" >"$T/cat"
shows exists "$M/d/to" "UPDATE $kv SET name = 'to' WHERE $where = 'from'"
"$helpers/await" 1000 absent "$M/d/from" -- true >>"$T/latencies"
eq "renamed" "$(cat "$M/d/to")" moving
shows content "$M/new/deep/x" hi "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', 'new/deep', 'x', 'hi')"
shows exists "$M/by/key" "INSERT INTO $kv (namespace, key, value) VALUES ('data', 'by/key', 'k')"
printf more >>"$M/new/deep/x"
eq "and files write it on" "$(sql "SELECT CAST(value AS TEXT) FROM $kv WHERE key = 'new/deep/x'")" "himore"

say "a program that keeps the file open sees the change"
echo before >"$M/d/open"
exec 7<"$M/d/open"
shows content "$M/d/open" after "UPDATE $kv SET value = 'after' WHERE $where = 'open'"
eq "through the open descriptor" "$(cat <&7)" after
exec 7<&-

say "REPLACE writes over, and keeps the rest of the tree"
shows content "$M/d/to" replaced "REPLACE INTO $kv (namespace, dir, name, value) VALUES ('data', 'd', 'to', 'replaced')"
eq "the tree" "$(cat "$M/new/deep/x" "$M/by/key")" himorek
sql "INSERT OR IGNORE INTO $kv (namespace, dir, name, value) VALUES ('data', 'd', 'to', 'ignored')"
eq "INSERT OR IGNORE" "$(cat "$M/d/to")" replaced

say "permissions, times and a renamed directory"
shows mode "$M/d/to" 600 "UPDATE $kv SET mode = 384 WHERE $where = 'to'"
sql "UPDATE $kv SET mtime = 1000000000000000000 WHERE $where = 'to'"
old() { [ "$(stat -c %Y "$M/d/to")" = 1000000000 ]; }
eventually old
ls -R "$M" >"$T/ls"
shows content "$M/renamed/deep/x" himore "UPDATE $kv SET name = 'renamed' WHERE namespace = 'data' AND key = 'new'"
"$helpers/await" 1000 absent "$M/new" -- true >>"$T/latencies"

say "what is no name is refused"
for bad in "'a/b'" "''" "'.'" "'..'" NULL; do
	refused . sql "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', '', $bad, 'x')"
done
refused . sql "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', 'd/to', 'x', 'below a file')"
refused . sql "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', '', 'd', 'over a directory')"
refused . sql "INSERT INTO $kv (namespace, dir, name, value) VALUES ('data', 'd', 'to', 'exists')"
eq "nothing came of it" "$(cat "$M/d/to")" replaced

median=$(sort -n "$T/latencies" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
worst=$(sort -n "$T/latencies" | tail -n 1)
note "seen after $median ms (median), $worst ms (worst) of $(wc -l <"$T/latencies") changes by sqlite3"
sanitized || awk "BEGIN {exit !($median <= 100)}" || fail "the median is over 100 ms"

find "$M" -type f -exec cksum {} + | LC_ALL=C sort >"$T/before"
remount
find "$M" -type f -exec cksum {} + | LC_ALL=C sort >"$T/after"
diff "$T/before" "$T/after"
stop
check_database
