#!/bin/bash
# The server has no room: PostgreSQL's disk is full, Redis has reached maxmemory. ENOSPC is told, what
# was acknowledged is there, and it goes on when there is room.
# time limit: 180 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
need_server
own_place
MNT=$T/mnt
M=$MNT/data
mkdir "$MNT" "$T/kept"
url=
superuser=$(sed 's/user=[^ ]*/user=postgres/; s/dbname=[^ ]*/dbname=postgres/' <<<"${PERSISTFS_TEST_POSTGRES:-}")
super() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$superuser" -c "$1"; }

used() { rcli INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p'; }

little_room()
{
	case $engine in
	postgres)
		mkdir "$T/small"
		as_root mount -t tmpfs -o "size=16m,mode=700,uid=$(stat -c %u "/proc/$(server_ctl pid)")" \
			tmpfs "$T/small"
		super "CREATE TABLESPACE small LOCATION '$T/small'"
		super "GRANT CREATE ON TABLESPACE small TO persistfs"
		url="url = $PERSISTFS_TEST_POSTGRES options='-c default_tablespace=small'"
		;;
	redis) rcli CONFIG SET maxmemory $(($(used) + 12000000)) >/dev/null ;;
	esac
}

more_room()
{
	case $engine in
	postgres) as_root mount -o remount,size=64m "$T/small" ;;
	redis) rcli CONFIG SET maxmemory $(($(used) + 60000000)) >/dev/null ;;
	esac
}

as_before()
{
	trap '' ERR
	set +e
	"$persistfs" umount "$MNT" 2>/dev/null
	case $engine in
	postgres)
		as_root mount -o remount,size=64m "$T/small"
		pg "SET client_min_messages = warning; DROP SCHEMA IF EXISTS $PG_SCHEMA CASCADE"
		super "DROP TABLESPACE small"
		as_root umount "$T/small"
		;;
	redis) rcli CONFIG SET maxmemory 0 >/dev/null ;;
	esac
}

[ "$engine" = redis ] || need_root
trap 'status=$?; as_before; (exit "$status"); leave' EXIT
little_room
config "$T/persistfs.ini" <<END
$(engine_section local | if [ -n "$url" ]; then sed "s|^url = .*|$url|"; else cat; fi)
timeout = 2s
retry_timeout = 10s
[store:data]
backend = local
END
mount_ini "$T/persistfs.ini" "$MNT"
echo before >"$M/edited"
echo before >"$M/held"
echo "line" >"$M/log"

say "fill it up"
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
[ -n "$full" ] || fail "400 files of 200 kB fit"
has 'No space left' "$T/said"
[ "$full" -gt 10 ] || fail "full after $full files"
refused 'No space left' cp "$T/one" "$M/another"
refused 'No space left' cp "$T/one" "$M/edited"
has 'ENOSPC|No space|full|OOM' "$MNT/.persistfs/stores/data/errors"
healthy || has 'space|full|memory|OOM' "$MNT/.persistfs/backends/local/health"

say "what was acknowledged is there, while full"
for f in "$T"/kept/*; do
	cmp "$f" "$M/${f##*/}"
done
eq "the old value, for other clients" "$(stored_value '' edited)" before

if [ "$engine" = redis ]; then
	say "removing makes room"
	for i in $(seq 10); do
		rm "$M/f$i" "$T/kept/f$i"
	done
	room() { cp "$T/one" "$M/after" 2>/dev/null; }
	eventually room
	cp "$T/one" "$T/kept/after"
	n=0
	while cp "$T/one" "$M/g$n" 2>/dev/null; do n=$((n + 1)); done
fi

say "a writer that was told, and has its file open, goes on when there is room"
head -c 3000000 /dev/urandom >"$T/one"
exec 8>"$M/held"
! cat "$T/one" 2>"$T/said" >&8 || fail "3 MB more fit"
has 'No space left' "$T/said"
more_room
# Within retry_timeout: what was dirty is not given up.
synced() { sync "$M/held"; } 2>/dev/null
eventually synced
exec 8>&-
cmp "$T/one" "$M/held"
cp "$T/one" "$T/kept/held"
for i in $(seq 20); do
	head -c 200000 /dev/urandom >"$T/kept/k$i"
	cp "$T/kept/k$i" "$M/k$i"
done
echo after >"$M/edited"
echo line >>"$M/log"
eq "appended" "$(cat "$M/log")" $'line\nline'
eventually healthy
rm -f "$M/f$full" "$M/another" "$M/edited" "$M/log" "$M/fill" "$M"/g[0-9]*
stop
mount_ini "$T/persistfs.ini" "$MNT"
diff -r "$T/kept" "$M"
stop
