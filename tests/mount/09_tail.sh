#!/bin/bash
# tail -f sees what another process appends, while it appends.
# time limit: 60 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start
: >"$M/log"
tail -n +1 -f -s 0.05 --pid=$$ "$M/log" >"$T/seen" &
tail_pid=$!
lines=$(amount 50 300 3000)
for i in $(seq "$lines"); do
	echo "line $i"
done >"$T/wanted"

say "a writer that keeps the file open"
exec 6>>"$M/log"
while read -r line; do
	echo "$line" >&6
done <"$T/wanted"
same() { cmp -s "$T/wanted" "$T/seen"; }
eventually same
exec 6>&-

say "writers that open it each time"
for i in 1 2 3; do
	echo "again $i" >>"$M/log"
	echo "again $i" >>"$T/wanted"
done
eventually same

say "the log is truncated and goes on"
: >"$M/log"
sleep 0.2
echo fresh >>"$M/log"
fresh() { [ "$(tail -n 1 "$T/seen")" = fresh ]; }
eventually fresh
kill "$tail_pid"
wait "$tail_pid" 2>/dev/null || :
remount
eq "after a remount" "$(cat "$M/log")" fresh
stop
check_database
