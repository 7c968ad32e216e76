#!/bin/bash
# Random operations on the mount and on a plain directory: the same results, the same trees.
# time limit: 300 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

seed=${PERSISTFS_SEED:-$RANDOM}
runs=$(amount 2 6 100)
steps=$(amount 1500 6000 20000)
if [ "$engine" != sqlite ]; then
	runs=$(amount 1 2 50)
	steps=$(amount 1000 3000 20000)
fi
offers hard_links || export PERSISTFS_NO_LINKS=1
note "seeds $seed to $((seed + runs - 1)), $steps steps each (PERSISTFS_SEED=$seed does it again)"
start
for run in $(seq 0 $((runs - 1))); do
	mkdir "$M/run" "$T/plain"
	"$helpers/model" $((seed + run)) "$steps" "$M/run" "$T/plain"
	remount
	diff -r --no-dereference "$T/plain" "$M/run"
	# The same seed goes on in the same trees: old files under a new mount.
	"$helpers/model" $((seed + run + 1000)) $((steps / 4)) "$M/run" "$T/plain"
	rm -r "$M/run" "$T/plain"
done
stop
check_database

if ! plain; then
	say "queued"
	sed -i 's/^backend = local/&\nwrite_mode = queued/' "$T/persistfs.ini"
	mount_ini "$T/persistfs.ini" "$MNT"
	mkdir "$M/run" "$T/plain"
	"$helpers/model" "$seed" "$steps" "$M/run" "$T/plain"
	remount
	diff -r --no-dereference "$T/plain" "$M/run"
	stop
	check_database
fi
