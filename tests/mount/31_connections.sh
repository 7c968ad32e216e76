#!/bin/bash
# Many stores share one backend's connections: never more than pool_size and max_overflow, by the
# server's own count, and who finds none free waits for its deadline and no longer.
# time limit: 120 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
MNT=$T/mnt
mkdir "$MNT"
own_place

# mount_stores LINE...: 40 stores of one backend.
mount_stores()
{
	{
		engine_section local "$@"
		for i in $(seq 40); do
			printf '[store:s%d]\nbackend = local\n' "$i"
		done
	} | config "$T/persistfs.ini"
	mount_ini "$T/persistfs.ini" "$MNT"
}

# Samples what the server counts while something runs; the greatest is in $T/most.
watch_connections()
{
	local n most=0
	while [ ! -e "$T/enough" ]; do
		n=$(server_connections)
		[ "$n" -le "$most" ] || most=$n
		echo "$most" >"$T/most"
	done
}

# load N: as many processes at once, each over all stores.
load()
{
	local i pids=() watcher
	rm -f "$T/enough"
	watch_connections &
	watcher=$!
	for i in $(seq "$1"); do
		(for s in $(seq 40); do
			echo "$i" >"$MNT/s$s/f$i"
			[ "$(cat "$MNT/s$s/f$i")" = "$i" ]
			ls -l "$MNT/s$s" >/dev/null
		done) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail "a writer"
	done
	: >"$T/enough"
	wait "$watcher"
	most=$(cat "$T/most")
}

say "40 stores, 12 processes, pool_size = 3"
mount_stores "pool_size = 3" "max_overflow = 0"
load 12
note "pool_size 3: the server counted at most $most connections"
[ "$most" -le 3 ] || fail "$most connections"
[ "$most" -ge 2 ] || fail "the server's count sees nothing of the load"
stop

say "max_overflow = 4 is used under load, and given back"
mount_stores "pool_size = 3" "max_overflow = 4"
load 12
note "pool_size 3, max_overflow 4: at most $most"
[ "$most" -le 7 ] || fail "$most connections"
few() { [ "$(server_connections)" -le 3 ]; }
eventually few
stop
none() { [ "$(server_connections)" = 0 ]; }
eventually none
