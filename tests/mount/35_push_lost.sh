#!/bin/bash
# The connection by which a mount hears of others' changes is cut again and again: what others change
# meanwhile is seen all the same, and nothing stale stays.
# time limit: 120 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
BACKEND_LINES=$'timeout = 2s'
start_two

seen()
{
	[ "$(cat "$M2/file")" = "$1" ] && [ "$(stat -c %s "$M2/file")" = $((${#1} + 1)) ] &&
		[ "$(cat "$M2/dir/moving")" = "$1" ] && [ -e "$M2/dir/new$1" ] && [ ! -e "$M2/dir/gone$1" ]
} 2>/dev/null

mkdir "$M/dir"
echo 0 >"$M/file"
echo 0 >"$M/dir/moving"
for i in $(seq "$(amount 5 15 100)"); do
	: >"$M/dir/gone$i"
	# All in the second mount's kernel: content, attributes, names that are there and that are not.
	eventually test -e "$M2/dir/gone$i"
	cat "$M2/file" "$M2/dir/moving" >/dev/null
	ls -l "$M2/dir" >/dev/null
	[ ! -e "$M2/dir/new$i" ] || fail "new$i is there already"

	[ $((i % 2)) = 0 ] || cut_connections
	echo "$i" >"$M/file"
	echo "$i" >"$M/dir/.new"
	mv "$M/dir/.new" "$M/dir/moving"
	rm "$M/dir/gone$i"
	: >"$M/dir/new$i"
	[ $((i % 2)) = 1 ] || cut_connections
	start=${EPOCHREALTIME/[.,]/}
	eventually seen "$i"
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	[ "$took" -le "${worst:-0}" ] || worst=$took
done
note "seen at the latest $worst ms after the change"
stop_two
