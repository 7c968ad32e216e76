#!/bin/bash
# write_mode = queued: accepted in order, drained by fsync, umount and SIGTERM.
# time limit: 120 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
start 'write_mode = queued' 'queue_delay = 20ms'

say "what was written is read at once, in order, through the same mount"
for i in $(seq 100); do
	echo "$i" >"$M/f"
	[ "$(cat "$M/f")" = "$i" ] || fail "read something older than $i"
done
mkdir "$M/d"
for i in $(seq 50); do
	echo "$i" >"$M/d/$i"
done
eq "listed at once" "$(ls "$M/d" | wc -l)" 50
mv "$M/d/50" "$M/d/last"
rm "$M/d/1"
eq "renamed and removed" "$(ls "$M/d" | wc -l)" 49

say "it comes to the database by itself"
arrived() { [ "$(stored_keys d '')" = 49 ]; }
eventually arrived

say "fsync drains"
for i in $(seq 10); do
	echo "synced $i" >"$M/synced"
	sync "$M/synced"
	eq "in the database" "$(stored_value '' synced)" "synced $i"
done

say "umount drains"
for i in $(seq 300); do
	echo "$i" >"$M/u$i"
done
stop
eq "all there" "$(stored_keys '' u)" 300
check_database

say "SIGTERM drains"
mount_ini "$T/persistfs.ini" "$MNT"
pid=$(daemon_pid "$MNT")
for i in $(seq 300); do
	echo "$i" >"$M/t$i"
done
head -c 5000000 /dev/urandom >"$T/big"
cp "$T/big" "$M/big"
kill -TERM "$pid"
wait_gone "$pid"
! mountpoint -q "$MNT" || fail "SIGTERM left the mount"
eq "all there" "$(stored_keys '' t)" 300
[ "$engine" != sqlite ] ||
	eq "the big one" "$(sqlite3 "$DB" "SELECT hex(value) FROM persistfs_kv WHERE name = 'big'" | cksum)" \
		"$(file_hex "$T/big" | sed 's/$/\n/' | cksum)"
check_database

say "500 writers and 8 appenders"
mount_ini "$T/persistfs.ini" "$MNT"
cmp "$T/big" "$M/big"
mkdir "$M/many"
"$helpers/writers" distinct "$M/many" "$(amount 50 300 2000)"
"$helpers/writers" append "$M/log" 8 "$(amount 50 200 5000)"
cksum "$M/log" "$M"/many/* >"$T/before"
remount
cksum "$M/log" "$M"/many/* | diff "$T/before" -
stop
check_database
