#!/bin/bash
# scripts/quickstart, twice: from nothing to a mounted directory, and once more.
# time limit: 200 s
# only the plain build
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
export HOME=$T/home
mkdir "$HOME"

say "the first time"
"$top/scripts/quickstart" "$T/place/mnt" | tee "$T/first"
mountpoint -q "$T/place/mnt" || fail "nothing is mounted"
has 'hello from a file' "$T/first"
has 'SELECT .*persistfs_kv' "$T/first"
has 'umount' "$T/first"
echo own >"$T/place/mnt/data/own"

say "the second time"
sleep 1
"$top/scripts/quickstart" "$T/place/mnt" >"$T/second"
has 'already' "$T/second"
eq "nothing was lost" "$(cat "$T/place/mnt/data/own")" own

say "after the daemon was killed"
pid=$(daemon_pid "$T/place/mnt")
kill -9 "$pid"
wait_gone "$pid"
"$top/scripts/quickstart" "$T/place/mnt" >"$T/third"
eq "nothing was lost" "$(cat "$T/place/mnt/data/own")" own

say "the line it prints unmounts"
line=$(tail -n 1 "$T/third")
eval "$line"
! mountpoint -q "$T/place/mnt" || fail "still mounted"

say "a failure leaves nothing mounted"
chmod 000 "$HOME/.local/share/persistfs/store.db"
if [ "$(id -u)" = 0 ]; then
	echo "no database at all, to be sure" >"$HOME/.local/share/persistfs/store.db"
	rm -f "$HOME/.local/share/persistfs/store.db-wal"
fi
refused . "$top/scripts/quickstart" "$T/place/mnt"
! mountpoint -q "$T/place/mnt" || fail "a failure left the mount"
refused usage "$top/scripts/quickstart" a b
