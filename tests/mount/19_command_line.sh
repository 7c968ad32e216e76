#!/bin/bash
# mount, umount, status, signals, the control tree, fstab's way of calling.
# time limit: 120 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
start

say "mounted twice is refused, and the first stays"
refused 'already mounted' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
mountpoint -q "$MNT" || fail "the first mount is gone"

say "the control tree opens by name and is not listed"
C=$MNT/.persistfs
echo x >"$M/x"
cat "$M/x" >/dev/null
eq "not listed" "$(ls -A "$MNT")" data
eq "version" "$(grep -c '[0-9]\.[0-9]' "$C/version")" 1
has "store.db" "$C/config"
has '^persistfs_[a-z_]*({.*})? [0-9]' "$C/metrics"
eq "health" "$(cat "$C/stores/data/health")" ok
eq "health" "$(cat "$C/backends/local/health")" ok
for file in stores/data/usage stores/data/queue stores/data/errors \
	backends/local/capabilities backends/local/connections; do
	cat "$C/$file" >"$T/out" || fail "cannot read $file"
done
has hard_links "$C/backends/local/capabilities"
has '[0-9]' "$C/stores/data/usage"
refused . sh -c "echo x >$C/version"
refused . mkdir "$C/new"
refused . rm -f "$C/version"
eq "find does not walk into it" "$(find "$MNT" -name version)" ""

say "status"
# All mounts of the machine: another one, which is not this test's, may be in trouble, and is told.
"$persistfs" status >"$T/status" || has 'unhealthy: ' "$T/status"
has "$MNT" "$T/status"
"$persistfs" status "$MNT" >"$T/status"
has 'data' "$T/status"
has 'ok' "$T/status"
refused . "$persistfs" status "$T"

say "extended attributes tell about keys, and are not listed"
eq "key" "$(getfattr --only-values -n user.persistfs.key "$M/x" 2>/dev/null)" x
eq "store" "$(getfattr --only-values -n user.persistfs.store "$M/x" 2>/dev/null)" data
eq "not listed" "$(getfattr -d -m - "$M/x" 2>/dev/null)" ""

say "umount of a busy mount is refused and changes nothing"
cd "$M"
refused busy "$persistfs" umount "$MNT"
cd "$T"
eq "still there" "$(cat "$M/x")" x

say "umount waits for the drain"
for i in $(seq 100); do
	echo "$i" >"$M/drain$i"
done
stop
eq "all there" "$(sqlite3 "$DB" "SELECT count(*) FROM persistfs_kv WHERE name LIKE 'drain%'")" 100
check_database
refused 'nothing is mounted|not mounted' "$persistfs" umount "$MNT"

say "SIGTERM and SIGINT drain and unmount"
for signal in TERM INT; do
	mount_ini "$T/persistfs.ini" "$MNT"
	pid=$(daemon_pid "$MNT")
	exec 9>"$M/held-$signal"
	echo written >&9
	kill "-$signal" "$pid"
	exec 9>&- || :
	wait_gone "$pid"
	! mountpoint -q "$MNT" || fail "SIG$signal left the mount"
	eq "SIG$signal" "$(sqlite3 "$DB" "SELECT CAST(value AS TEXT) FROM persistfs_kv WHERE name = 'held-$signal'")" written
	check_database
done

say "in the foreground"
"$persistfs" mount -f -c "$T/persistfs.ini" "$MNT" >"$T/foreground.log" 2>&1 &
foreground=$!
answers() { grep -q '^mounted' "$T/foreground.log" && [ -e "$M/x" ]; }
eventually answers
"$persistfs" umount "$MNT"
wait "$foreground" || fail "persistfs mount -f ended with $?"

say "a daemon that was killed: the mount is dead, umount clears it, mount says so"
mount_ini "$T/persistfs.ini" "$MNT"
pid=$(daemon_pid "$MNT")
kill -9 "$pid"
wait_gone "$pid"
refused 'umount' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
"$persistfs" umount "$MNT"
! mountpoint -q "$MNT" || fail "umount left a dead mount"
mount_ini "$T/persistfs.ini" "$MNT"
eq "again" "$(cat "$M/x")" x
stop

say "as fstab calls it: persistfs FILE.ini MNT -o OPTIONS"
options=dev,suid,rw
[ "$(id -u)" != 0 ] || options=allow_other,$options
"$persistfs" "$T/persistfs.ini" "$MNT" -o "$options"
eq "mounted" "$(cat "$M/x")" x
has "$MNT fuse.persistfs" /proc/mounts
stop

if [ "$(id -u)" = 0 ] && [ -x /sbin/mount.fuse3 ]; then
	say "mount -t fuse.persistfs"
	# mount(8) looks for the program in directories of its own.
	program=/usr/local/bin/persistfs
	if ! [ -e "$program" ]; then
		rm -f "$program"
		remove_at_end=$program
		ln -s "$persistfs" "$program"
	fi
	mount -t fuse.persistfs -o ro "$T/persistfs.ini" "$MNT"
	eq "mounted" "$(cat "$M/x")" x
	refused 'Read-only' touch "$M/new"
	stop
fi

say "sqlite:PATH"
"$persistfs" mount "sqlite:$T/by source.db" "$MNT"
echo y >"$M/y"
stop
eq "there" "$(sqlite3 "$T/by source.db" 'SELECT CAST(value AS TEXT) FROM persistfs_kv')" y
check_database

if [ "$(id -u)" = 0 ]; then
	say "allow_other"
	mount_ini "$T/persistfs.ini" "$MNT"
	refused 'ermission' setpriv --reuid 65534 --regid 65534 --clear-groups cat "$M/x"
	stop
	MOUNT_OPTIONS=allow_other mount_ini "$T/persistfs.ini" "$MNT"
	eq "others read" "$(setpriv --reuid 65534 --regid 65534 --clear-groups cat "$M/x")" x
	refused 'ermission' setpriv --reuid 65534 --regid 65534 --clear-groups touch "$M/new"
	stop
fi

say "two mounts of one database see each other"
mkdir "$T/mnt2"
mount_ini "$T/persistfs.ini" "$MNT"
mount_ini "$T/persistfs.ini" "$T/mnt2"
N=$T/mnt2/data
for i in $(seq 5); do
	echo "one $i" >"$M/shared"
	"$helpers/await" 1000 content "$N/shared" "one $i
" -- true >>"$T/latencies"
	echo "two $i" >"$N/shared"
	"$helpers/await" 1000 content "$M/shared" "two $i
" -- true >>"$T/latencies"
	cat "$M/shared" "$N/shared" >/dev/null
done
stop "$T/mnt2"
stop
check_database
