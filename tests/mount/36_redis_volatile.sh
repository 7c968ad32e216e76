#!/bin/bash
# A Redis that keeps nothing over a restart: said beforehand, and afterwards the store is empty and
# works; what was open is gone, and nothing old is shown as new.
# time limit: 60 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
[ "$engine" = redis ] || exit 0
need_server
back_to_normal() { server_ctl restart >/dev/null 2>&1 || :; }
server_ctl restart --appendonly no --save ''
trap 'back_to_normal; leave' EXIT
BACKEND_LINES=$'timeout = 2s\nretry_timeout = 20s'
start_beside

say "told: what fsync is worth here"
"$persistfs" status "$MNT" >"$T/status" || :
has 'fsync|power|durable' "$T/status"
for i in $(seq 20); do
	echo "old $i" >"$M/f$i"
done
mkdir "$M/dir"
echo old >"$M/dir/file"
exec 5<"$M/f1"

say "a restart loses all of it"
server_ctl restart --appendonly no --save ''
lost() { [ -z "$(ls "$M")" ]; } 2>/dev/null
eventually lost
eventually healthy
[ ! -e "$M/f1" ] || fail "f1 is still there"
refused 'No such file|Stale' cat "$M/dir/file"
refused 'No such file|Stale|Input/output' cat <&5
exec 5<&-

say "and works"
for i in $(seq 20); do
	echo "new $i" >"$M/f$i"
done
for i in $(seq 20); do
	eq "f$i" "$(cat "$M/f$i")" "new $i"
	eq "f$i for redis-cli" "$(stored_value '' "f$i")" "new $i"
done
stop
