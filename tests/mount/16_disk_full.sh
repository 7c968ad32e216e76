#!/bin/bash
# The disk below the database is full: ENOSPC is told, then there is room again, nothing is lost.
# time limit: 180 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
need_root
mkdir "$T/small" "$T/ballast"
as_root mount -t tmpfs -o size=24m,mode=777 tmpfs "$T/small"
MNT=$T/mnt
M=$MNT/data
DB=$T/small/store.db
mkdir "$MNT"
config "$T/persistfs.ini" <<END
[backend:local]
type = sqlite
path = $DB
retry_timeout = 1s
[store:data]
backend = local
END
mount_ini "$T/persistfs.ini" "$MNT"

say "fill it up"
mkdir "$T/kept"
full=
for i in $(seq 400); do
	head -c 200000 /dev/urandom >"$T/one"
	if cp "$T/one" "$M/f$i" 2>"$T/said"; then
		cp "$T/one" "$T/kept/f$i"
	else
		full=$i
		break
	fi
done
[ -n "$full" ] || fail "400 files of 200 kB fit into 24 MiB"
has 'No space left' "$T/said"
[ "$full" -gt 20 ] || fail "full after $full files"
refused 'No space left' cp "$T/one" "$M/another"
statfs=$(stat -f -c %a "$M")
echo "free blocks as statfs tells: $statfs"

say "what was acknowledged is there, while full"
for f in "$T"/kept/*; do
	cmp "$f" "$M/${f##*/}"
done
has 'ENOSPC|No space|full' "$MNT/.persistfs/stores/data/errors"

say "removing makes room"
removed() { rm "$M/f$1" 2>/dev/null; }
for i in 1 2 3 4 5 6 7 8; do
	eventually removed "$i"
	rm "$T/kept/f$i"
done
room() { cp "$T/one" "$M/after" 2>/dev/null; }
eventually room
cp "$T/one" "$T/kept/after"

say "the disk grows"
as_root mount -o remount,size=64m "$T/small"
for i in $(seq 30); do
	head -c 200000 /dev/urandom >"$T/one"
	cp "$T/one" "$M/g$i"
	cp "$T/one" "$T/kept/g$i"
done
for f in "$T"/kept/*; do
	cmp "$f" "$M/${f##*/}"
done

say "a writer that holds its file open is told, too, and can go on"
exec 8>"$M/held"
head -c 100000 /dev/urandom >"$T/one"
cat "$T/one" >&8
as_root mount -o remount,size=24m "$T/small" 2>/dev/null || : # more than that is in use
exec 8>&-
cmp "$T/one" "$M/held"
cp "$T/one" "$T/kept/held"

rm -f "$M/f$full" "$M/another"
stop
mount_ini "$T/persistfs.ini" "$MNT"
diff -r "$T/kept" "$M"
stop
check_database
as_root umount "$T/small"
