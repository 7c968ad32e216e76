#!/bin/bash
# A directory with very many entries: listed whole while others come and go, in bounded memory.
# time limit: 400 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start
count=$(amount 10000 100000 1000000)
[ "$engine" = sqlite ] || count=$(amount 2000 10000 200000)
mkdir "$M/big"
"$helpers/dirs" fill "$M/big" "$count"
remount
plain || before=$(daemon_kb VmRSS)

say "listed while other names come and go"
"$helpers/dirs" walk "$M/big" "$count"
eq "ls -f" "$(ls -f "$M/big" | wc -l)" $((count + 2))
eq "find" "$(find "$M/big" -type f | wc -l)" "$count"
stat "$M/big/lasting-0" "$M/big/lasting-$((count - 1))" >/dev/null
[ ! -e "$M/big/lasting-$count" ] || fail "a name that nobody made"

if ! plain; then
	after=$(daemon_kb VmRSS)
	peak=$(daemon_kb VmHWM)
	note "$count names: daemon's memory $((before / 1024)) MiB, $((after / 1024)) MiB after listing," \
		"peak $((peak / 1024)) MiB"
	sanitized || [ "$peak" -lt 204800 ] || soak ||
		fail "the daemon needed $((peak / 1024)) MiB"
	say "another client of the database sees as many"
	eq "keys" "$(stored_keys big '')" "$count"
fi

say "removed again"
"$helpers/dirs" empty "$M/big" "$count"
rmdir "$M/big"
stop
check_database
