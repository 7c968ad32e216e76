#!/bin/bash
# Large values and sparse ones of 10 GiB, in bounded memory, and other clients are not kept waiting.
# time limit: 600 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

case $engine in
sqlite) real=$(amount 64 1024 4096) ;;
postgres) real=$(amount 32 128 1024) ;;
redis) real=$(amount 32 64 256) ;;
esac
free=$(df -k --output=avail "$T" | tail -n 1)
if [ "$free" -lt $((real * 1024 * 3)) ]; then
	skip "needs $((real * 3)) MiB free in ${TMPDIR:-/tmp}"
fi
start

memory()
{
	if plain; then return; fi
	local peak
	peak=$(daemon_kb VmHWM)
	note "$1: the daemon's peak memory is $((peak / 1024)) MiB"
	sanitized || [ "$peak" -lt 204800 ] || fail "$1: over 200 MiB"
}

# Another client of the database reads a small value all the time, and how long it waits at most is told.
# beside WHAT COMMAND...
beside()
{
	local what=$1 watcher
	shift
	if plain; then
		"$@"
		return
	fi
	rm -f "$T/enough"
	(
		worst=0
		n=0
		while [ ! -e "$T/enough" ]; do
			start=${EPOCHREALTIME/[.,]/}
			eq "the small value beside $what" "$(stored_value '' small)" small
			took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
			[ "$took" -le "$worst" ] || worst=$took
			n=$((n + 1))
		done
		note "$what: beside it the slowest of another client's $n reads took $worst ms"
	) &
	watcher=$!
	"$@"
	: >"$T/enough"
	wait "$watcher" || fail "another client of the database beside $what"
}

echo small >"$M/small"
say "a sparse file of 10 GiB"
"$helpers/bigfile" sparse "$M/sparse" 10240
"$helpers/bigfile" verify-sparse "$M/sparse" 10240
memory "10 GiB, sparse"
say "truncated down and up again"
truncate -s 4G "$M/sparse"
eq "size" "$(stat -c %s "$M/sparse")" 4294967296
truncate -s 100 "$M/sparse"
truncate -s 4G "$M/sparse"
eq "zeros" "$(head -c 20000000 "$M/sparse" | tail -c 10000000 | tr -d '\0' | wc -c)" 0
rm "$M/sparse"

say "$real MiB of data"
beside "writing $real MiB" "$helpers/bigfile" write "$M/real" "$real"
memory "$real MiB written"
beside "reading $real MiB" "$helpers/bigfile" verify "$M/real" "$real"
memory "$real MiB read"
if ! plain && [ "$engine" = sqlite ]; then
	eq "the row's size" "$(sql "SELECT size FROM persistfs_kv WHERE name = 'real'")" $((real << 20))
	[ "$real" -le 64 ] ||
		eq "the value is not shown" "$(sql "SELECT value IS NULL FROM persistfs_kv WHERE name = 'real'")" 1
	sql "SELECT count(*), sum(length(value)) FROM persistfs_kv" >"$T/count"
fi

say "rewritten while a reader has it open: old or new, and the old one goes"
exec 9<"$M/real"
"$helpers/bigfile" write "$M/real" $((real / 4))
exec 9<&-
remount
"$helpers/bigfile" verify "$M/real" $((real / 4))
memory "after a remount"

say "a copy within the mount"
cp "$M/real" "$M/copy"
cmp "$M/real" "$M/copy"
rm "$M/real" "$M/copy"
stop
check_database
