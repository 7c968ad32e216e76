#!/bin/bash
# Database files that cannot be used: each is told as what it is, and nothing is harmed.
# time limit: 120 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
start
echo kept >"$M/file"
head -c 400000 /dev/urandom >"$T/random"
cp "$T/random" "$M/random"
stop
check_database

# not_mounted PATTERN DATABASE
not_mounted()
{
	refused "$1" "$persistfs" mount "sqlite:$2" "$MNT"
	! mountpoint -q "$MNT" || fail "mounted with $2"
	return 0
}

say "a file that is no database"
head -c 8192 /dev/urandom >"$T/noise.db"
cksum "$T/noise.db" >"$T/sum"
not_mounted 'not a (SQLite )?database' "$T/noise.db"
has noise.db "$T/refused.out"
cksum "$T/noise.db" | diff "$T/sum" -

say "a database with tables of the same name that are not ours"
sqlite3 "$T/foreign.db" 'CREATE TABLE persistfs_objects (mine INT); INSERT INTO persistfs_objects VALUES (1)'
not_mounted . "$T/foreign.db"
has foreign.db "$T/refused.out"
eq "untouched" "$(sqlite3 "$T/foreign.db" 'SELECT group_concat(name) FROM sqlite_master')" persistfs_objects

say "a database of somebody else"
sqlite3 "$T/theirs.db" 'CREATE TABLE theirs (n INT); INSERT INTO theirs VALUES (42)'
cksum "$T/theirs.db" >"$T/sum"
config "$T/theirs.ini" <<-END
	[backend:local]
	type = sqlite
	path = $T/theirs.db

	[store:data]
	backend = local
END
refused 'not a persistfs database' "$persistfs" mount "$T/theirs.ini" "$MNT"
! mountpoint -q "$MNT" || fail "mounted with it"
cksum "$T/theirs.db" | diff "$T/sum" -

say "a newer layout"
cp "$DB" "$T/newer.db"
sqlite3 "$T/newer.db" "UPDATE persistfs_meta SET value = value + 1 WHERE key = 'layout'"
eq "the layout was found" "$(sqlite3 "$T/newer.db" "SELECT count(*) FROM persistfs_meta WHERE key = 'layout'")" 1
not_mounted 'newer|layout' "$T/newer.db"

say "a corrupt file"
cp "$DB" "$T/corrupt.db"
size=$(stat -c %s "$T/corrupt.db")
dd if=/dev/urandom of="$T/corrupt.db" bs=4096 seek=1 count=$((size / 4096 / 2)) conv=notrunc status=none
if "$persistfs" mount "sqlite:$T/corrupt.db" "$MNT" >"$T/told" 2>&1; then
	find "$M" -type f -exec cat {} + >"$T/out" 2>"$T/told" || :
	has 'Input/output error' "$T/told"
	"$persistfs" umount "$MNT" || :
	! mountpoint -q "$MNT" || fail "cannot be unmounted"
else
	has 'corrupt|malformed|damaged' "$T/told"
fi

say "a truncated file"
cp "$DB" "$T/cut.db"
truncate -s $((size / 2)) "$T/cut.db"
if "$persistfs" mount "sqlite:$T/cut.db" "$MNT" >"$T/told" 2>&1; then
	find "$M" -type f -exec cat {} + >"$T/out" 2>"$T/told" || :
	has 'Input/output error' "$T/told"
	"$persistfs" umount "$MNT" || :
else
	has 'corrupt|malformed|damaged' "$T/told"
fi

say "a file in the place of a directory, and the other way round, no permission"
not_mounted 'ot a directory' "$T/noise.db/x.db"
mkdir "$T/dir.db"
not_mounted 'directory' "$T/dir.db"
if [ "$(id -u)" != 0 ]; then
	mkdir "$T/closed"
	chmod 500 "$T/closed"
	not_mounted 'ermission|Read-only|read-only' "$T/closed/x.db"
fi

say "a read-only database file can be read, and says so when written"
mkdir "$T/ro"
cp "$DB" "$T/ro/store.db"
if have_root; then
	as_root mount --bind "$T/ro" "$T/ro"
	as_root mount -o remount,ro,bind "$T/ro"
	config "$T/ro.ini" <<-END
		[backend:ro]
		type = sqlite
		path = $T/ro/store.db
		[store:data]
		read_only = yes
	END
	if "$persistfs" mount -c "$T/ro.ini" "$MNT" >"$T/told" 2>&1; then
		eq "read" "$(cat "$M/file")" kept
		cmp "$T/random" "$M/random"
		refused 'Read-only' touch "$M/new"
		stop
	else
		has 'ead-only' "$T/told"
	fi
	# Not marked as read-only: either refused with the reason, or every change is.
	if "$persistfs" mount "sqlite:$T/ro/store.db" "$MNT" >"$T/told" 2>&1; then
		eq "read" "$(cat "$M/file")" kept
		refused 'Read-only' touch "$M/new"
		refused 'Read-only' rm -f "$M/file"
		stop
	else
		has 'ead-only' "$T/told"
	fi
	as_root umount "$T/ro"
fi
eq "the file is as it was" "$(cksum <"$T/ro/store.db")" "$(cksum <"$DB")"

say "a database replaced under the mount is noticed"
mount_ini "$T/persistfs.ini" "$MNT"
eq "before" "$(cat "$M/file")" kept
sqlite3 "$DB" "VACUUM INTO '$T/other.db'"
sqlite3 "$T/other.db" "DELETE FROM persistfs_sessions;
	UPDATE persistfs_kv SET value = 'restored' WHERE name = 'file'"
mv "$T/other.db" "$DB"
rm -f "$DB-wal" "$DB-shm"
# Either the restored one is served, or the daemon says that it is not its database any more; no
# write may succeed into the file that is gone.
noticed() { [ "$(cat "$M/file" 2>/dev/null)" != kept ]; }
eventually noticed
if echo new >"$M/after" 2>/dev/null && sync "$M/after" 2>/dev/null; then
	eq "written into the database that is there" \
		"$(sql "SELECT CAST(value AS TEXT) FROM persistfs_kv WHERE name = 'after'")" new
else
	cat "$MNT/.persistfs/stores/data/health"
	has unhealthy "$MNT/.persistfs/stores/data/health"
fi
"$persistfs" umount "$MNT" >"$T/told" 2>&1 || cat "$T/told"
eq "sound" "$(sqlite3 "$DB" 'PRAGMA integrity_check')" ok
