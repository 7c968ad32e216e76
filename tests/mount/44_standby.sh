#!/bin/bash
# A hot standby of PostgreSQL: mounted by itself it is read-only and follows; with two hosts in `url`
# the primary is found, and when that is gone and the standby promoted, the mount goes on there.
# time limit: 180 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
[ "$engine" = postgres ] || exit 0
need_server
own_place
MNT=$T/mnt
M=$MNT/data
MNT2=$T/mnt2
M2=$MNT2/data
mkdir "$MNT" "$MNT2"
primary_host=$(sed 's/.*host=\([^ ]*\).*/\1/' <<<"$PERSISTFS_TEST_POSTGRES")
port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<<"$PERSISTFS_TEST_POSTGRES")
superuser=$(sed 's/user=[^ ]*/user=postgres/; s/dbname=[^ ]*/dbname=postgres/' <<<"$PERSISTFS_TEST_POSTGRES")
programs=$(dirname "$(readlink "/proc/$(server_ctl pid)/exe")")
as=()
if [ "$(id -u)" = 0 ]; then
	as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi
super() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
standby_super="host=$T/standby.d port=$port user=postgres dbname=postgres"
rounds=$(amount 100 200 3000)

as_before()
{
	server_ctl start || :
	super "$superuser" -c "ALTER SYSTEM RESET synchronous_standby_names" -c "SELECT pg_reload_conf()"
} >/dev/null
trap 'as_before; leave' EXIT

say "a standby"
mkdir -m 777 "$T/standby.d"
(cd / && "${as[@]}" "$programs/pg_basebackup" -d "$superuser" -D "$T/standby.d/data" -R -X stream \
	-c fast --no-sync)
"${as[@]}" "$programs/postgres" -D "$T/standby.d/data" -k "$T/standby.d" -c listen_addresses= \
	>"$T/standby.log" 2>&1 &
standby=$!
up() { "$programs/pg_isready" -q -h "$T/standby.d" -p "$port"; }
eventually up
# What was answered is on the standby as well.
super "$superuser" -c "ALTER SYSTEM SET synchronous_standby_names = '*'" -c "SELECT pg_reload_conf()" >/dev/null
synchronous() { [ "$(super "$superuser" -c "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")" = 1 ]; }
eventually synchronous

# at FILE HOST PORTS [WORDS]
at()
{
	config "$1" <<-END
		[backend:local]
		type = postgres
		url = host=$2 port=$3 user=persistfs dbname=persistfs ${4:-}
		schema = $PG_SCHEMA
		timeout = 2s
		retry_timeout = 60s
		attr_timeout = 200ms
		[store:data]
	END
}

say "two hosts: the one that takes writes is found, also as the second"
at "$T/both.ini" "$T/standby.d,$primary_host" "$port,$port" "target_session_attrs=read-write"
mount_ini "$T/both.ini" "$MNT"
echo one >"$M/file"
mkdir "$M/dir"
head -c 500000 /dev/urandom >"$T/big"
cp "$T/big" "$M/dir/big"
eq "on the primary" "$(stored_value '' file)" one

say "the standby by itself: all is there, nothing can be written, and it follows"
at "$T/standby.ini" "$T/standby.d" "$port"
there() { [ "$(psql -X -q -A -t "host=$T/standby.d port=$port user=persistfs dbname=persistfs" \
	-c "SELECT count(*) FROM $PG_SCHEMA.persistfs_kv WHERE name = 'big'" 2>/dev/null)" = 1 ]; }
eventually there
mount_ini "$T/standby.ini" "$MNT2"
eq "read" "$(cat "$M2/file")" one
cmp "$T/big" "$M2/dir/big"
eq "listed" "$(ls "$M2")" $'dir\nfile'
refused 'Read-only file system' touch "$M2/new"
refused 'Read-only file system' cp "$T/big" "$M2/file"
refused 'Read-only file system' rm "$M2/file"
refused 'Read-only file system' mkdir "$M2/dir/sub"
eq "after that" "$(cat "$M2/file")" one
"$persistfs" status "$MNT2" >"$T/status" || :
has 'read-only' "$T/status"
at "$T/none.ini" "$T/standby.d" "$port"
sed -i 's/^schema = .*/schema = none/' "$T/none.ini"
refused_with 69 'read-only' "$persistfs" mount -c "$T/none.ini" "$T"
echo two >"$M/file"
echo three >"$M/third"
follows() { [ "$(cat "$M2/file")" = two ] && [ "$(cat "$M2/third")" = three ]; } 2>/dev/null
eventually follows

say "the primary dies under load, the standby is promoted: every line once"
(for i in $(seq "$rounds"); do echo "$i" >>"$M/counted"; done) &
counter=$!
begun() { [ "$(wc -l <"$M/counted")" -ge 20 ]; } 2>/dev/null
eventually begun
server_ctl kill
super "$standby_super" -c "SELECT pg_promote()" >/dev/null
within 60000 "the first change after that" bash -c "echo four >'$M/fourth'"
note "the first change went through $took ms after the promotion"
wait "$counter" || fail "an appender saw an error"
seq "$rounds" | diff - "$M/counted" >"$T/diff" || fail "not once each: $(head -c 300 "$T/diff")"
eq "what was there" "$(cat "$M/file" "$M/third" "$M/fourth")" $'two\nthree\nfour'
eventually healthy

say "the mount of the standby takes writes as well"
writes() { echo five >"$M2/fifth"; } 2>/dev/null
eventually writes
seen() { [ "$(cat "$M/fifth")" = five ] && [ "$(cat "$M2/fourth")" = four ]; } 2>/dev/null
eventually seen
stop "$MNT2"
stop
mount_ini "$T/both.ini" "$MNT"
eq "after a remount" "$(cat "$M/fifth")" five
stop
kill -INT "$standby"
wait "$standby" || :
