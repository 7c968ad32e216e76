#!/bin/bash
# Random operations through two mounts of a store, one after the other, and on a plain directory: the
# same results, the same trees, as if there were one mount.
# every engine
# time limit: 300 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

need_mount
seed=${PERSISTFS_SEED:-$RANDOM}
runs=$(amount 2 6 100)
steps=$(amount 800 3000 20000)
offers hard_links || export PERSISTFS_NO_LINKS=1
note "seeds $seed to $((seed + runs - 1)), $steps steps each (PERSISTFS_SEED=$seed does it again)"
start_two
seen() { [ -d "$M2/run$run" ]; }
for run in $(seq 0 $((runs - 1))); do
	mkdir "$M/run$run" "$T/plain"
	eventually seen
	"$helpers/model" --two-mounts "$M2/run$run" $((seed + run)) "$steps" "$M/run$run" "$T/plain"
	stop "$MNT2"
	mount_ini "$T/persistfs.ini" "$MNT2"
	diff -r --no-dereference "$T/plain" "$M2/run$run"
	rm -r "$M/run$run" "$T/plain"
done
stop_two

say "queued"
sed -i 's/^backend = local/&\nwrite_mode = queued/' "$T/persistfs.ini"
mount_ini "$T/persistfs.ini" "$MNT"
mount_ini "$T/persistfs.ini" "$MNT2"
mkdir "$M/queued" "$T/plain"
queued_seen() { [ -d "$M2/queued" ]; }
eventually queued_seen
"$helpers/model" --two-mounts "$M2/queued" "$seed" "$steps" "$M/queued" "$T/plain"
stop_two
check_database
