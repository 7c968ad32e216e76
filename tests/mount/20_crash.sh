#!/bin/bash
# kill -9 of the daemon under load, again and again: what was promised is there, whole.
# time limit: 500 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
seed=${PERSISTFS_SEED:-$RANDOM}
rounds=$(amount 2 10 200)
[ "$engine" = sqlite ] || rounds=$(amount 2 4 100)
note "seed $seed, $rounds kills in each write mode (PERSISTFS_SEED=$seed does it again)"

# What the daemons that were killed left is swept in the background; the session that lives, what it
# holds and what it has not counted up yet stay until it ends.
swept()
{
	[ "$engine" = sqlite ] || return 0
	[ -z "$(sqlite3 -cmd '.timeout 5000' "$DB" <"$here/orphans.sql" |
		grep -v -e '^a session' -e '^held' -e '^usage')" ]
}

for mode in through queued; do
	mkdir -p "$T/$mode"
	log=$T/$mode/promises
	: >"$log"
	MNT=$T/$mode/mnt
	DB=$T/$mode/store.db
	mkdir "$MNT"
	own_place
	config "$T/$mode/persistfs.ini" <<-END
		$(engine_section local)
		[store:data]
		backend = local
		write_mode = $mode
	END
	"$persistfs" mount -c "$T/$mode/persistfs.ini" "$MNT"
	RANDOM=$seed
	for round in $(seq "$rounds"); do
		pid=$(daemon_pid "$MNT")
		ms=$((50 + RANDOM % 1200))
		say "$mode, round $round: killed after $ms ms"
		"$helpers/crash" load "$MNT/data" "$log" "$mode" $((seed + round)) "$pid" "$ms"
		wait_gone "$pid"
		cp "$log" "$T/promises.log"
		"$persistfs" umount "$MNT"
		"$persistfs" mount -c "$T/$mode/persistfs.ini" "$MNT"
		"$helpers/crash" verify "$MNT/data" "$log" "$mode"
		if [ $((round % 5)) = 0 ] || [ "$round" = "$rounds" ]; then
			eventually swept
			stop
			check_database
			"$persistfs" mount -c "$T/$mode/persistfs.ini" "$MNT"
			"$helpers/crash" verify "$MNT/data" "$log" "$mode"
		fi
	done
	stop
	check_database
	rm "$T/promises.log"
done
