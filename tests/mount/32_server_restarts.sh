#!/bin/bash
# The server is restarted, killed and stopped in the middle of a load, and comes back in time: no
# application sees an error, nothing that was promised is missing, nothing is there twice.
# time limit: 400 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
BACKEND_LINES=$'timeout = 2s\nretry_timeout = 60s'
start_beside
seed=${PERSISTFS_SEED:-$RANDOM}
log=$T/promises
: >"$log"

restart() { server_ctl restart; }
kill_and_start() { server_ctl kill && server_ctl start; }
# A black hole for longer than `timeout`.
stop_and_go()
{
	server_ctl pause
	sleep 4
	server_ctl resume
}
cut()
{
	for _ in 1 2 3 4 5 6 7 8; do
		cut_connections
		sleep 0.1
	done
}

for round in $(seq "$(amount 1 1 10)"); do
	for fault in restart kill_and_start stop_and_go cut; do
		say "round $round: $fault"
		ms=6000
		[ "$fault" = stop_and_go ] && ms=9000
		"$helpers/crash" load "$M" "$log" through $((seed + round)) 0 "$ms" &
		load=$!
		lines=$(amount 200 600 5000)
		(for i in $(seq "$lines"); do echo "$fault $round $i" >>"$M/counted"; done) &
		counter=$!
		sleep 1
		$fault
		# Back: how long until a change goes through?
		within 20000 "recovery" bash -c "echo back >'$M/probe'"
		note "$fault: the first commit after the server's return took $took ms"
		wait "$load" || fail "an application saw an error"
		wait "$counter" || fail "an appender saw an error"
		"$helpers/crash" verify "$M" "$log" through
		for i in $(seq "$lines"); do echo "$fault $round $i"; done >"$T/wanted"
		grep "^$fault $round " "$M/counted" | diff - "$T/wanted" >"$T/diff" ||
			fail "not once each: $(head -c 300 "$T/diff")"
	done
done

say "8 appenders to one file while connections are cut"
"$helpers/writers" append "$M/log" 8 "$(amount 100 300 3000)" &
appenders=$!
while kill -0 "$appenders" 2>/dev/null; do
	cut_connections
	sleep 0.15
done
wait "$appenders" || fail "appenders"
eq "every line once" "$(wc -l <"$M/log")" $((8 * $(amount 100 300 3000)))

say "health is ok by itself"
eventually healthy
cp "$log" "$T/promises.log"
remount
"$helpers/crash" verify "$M" "$log" through
stop
