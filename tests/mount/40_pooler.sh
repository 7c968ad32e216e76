#!/bin/bash
# PostgreSQL behind pgbouncer. Lent by the session it is as the server itself, also when the pooler is
# restarted; lent by the transaction it is refused, for what a session is told would be lost.
# time limit: 120 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
[ "$engine" = postgres ] || exit 0
need_server
need_command pgbouncer
mkdir -m 777 "$T/pool"
as=()
if [ "$(id -u)" = 0 ]; then
	as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi
pooler=

# pooler_start MODE: a pgbouncer at $T/pool that lends by session, transaction or statement.
pooler_start()
{
	cat >"$T/pooler.ini" <<-END
		[databases]
		persistfs = $PERSISTFS_TEST_POSTGRES
		[pgbouncer]
		pool_mode = $1
		auth_type = any
		listen_port = 6432
		unix_socket_dir = $T/pool
		max_client_conn = 100
		default_pool_size = 20
	END
	"${as[@]}" "$(command -v pgbouncer)" "$T/pooler.ini" >>"$T/pooler.log" 2>&1 &
	pooler=$!
	eventually through -c 'SELECT 1' 2>/dev/null
}

pooler_stop()
{
	kill "$pooler"
	wait "$pooler" || :
}

through() { psql -X -q -A -t "host=$T/pool port=6432 dbname=persistfs" "$@" >/dev/null; }

BACKEND_LINES=$'timeout = 2s\nretry_timeout = 20s'
MNT=$T/mnt
M=$MNT/data
mkdir "$MNT"
own_place
config "$T/persistfs.ini" <<END
[backend:local]
type = postgres
url = host=$T/pool port=6432 dbname=persistfs
schema = $PG_SCHEMA
$BACKEND_LINES
[store:data]
END

say "lent by the session: files, directories, locks, others' changes"
pooler_start session
mount_ini "$T/persistfs.ini" "$MNT"
eventually healthy
has '^ok' "$MNT/.persistfs/backends/local/health"
echo one >"$M/file"
mkdir "$M/dir"
cp "$persistfs" "$M/dir/binary"
cmp "$persistfs" "$M/dir/binary"
mv "$M/file" "$M/dir/renamed"
eq "for psql" "$(stored_value dir renamed)" one
flock -n "$M/dir/renamed" true
pg "UPDATE persistfs_kv SET value = 'two' WHERE namespace = 'data' AND dir = 'dir' AND name = 'renamed'"
seen() { [ "$(cat "$M/dir/renamed")" = two ]; }
eventually seen
rm "$M/dir/renamed"
has 'PostgreSQL|^ok' "$MNT/.persistfs/backends/local/health"

say "the pooler is restarted under load: every line once"
lines=$(amount 150 400 5000)
(for i in $(seq "$lines"); do echo "$i" >>"$M/counted"; done) &
counter=$!
for i in 1 2 3; do
	sleep 0.3
	pooler_stop
	pooler_start session
done
wait "$counter" || fail "an appender saw an error"
seq "$lines" | diff - "$M/counted" >"$T/diff" || fail "not once each: $(head -c 300 "$T/diff")"
eventually healthy

say "a pooler that lends by the transaction from now on: refused, nothing is written"
pooler_stop
pooler_start transaction
refused 'Input/output|Host is down' cp "$persistfs" "$M/not"
eventually grep -q 'pool_mode = session' "$MNT/.persistfs/backends/local/health"
eq "nothing was written" "$(stored_value '' not)" ""
pooler_stop
pooler_start session
works() { echo three >"$M/after"; } 2>/dev/null
eventually works
eventually healthy
eq "after that" "$(stored_value '' after)" three
stop

for mode in transaction statement; do
	say "mounting by $mode: refused"
	pooler_stop
	pooler_start "$mode"
	refused_with 69 'pool_mode = session' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
	# Other clients that come and go give the pooler something else to lend.
	(while :; do through -c 'SELECT 1' || :; done) 2>/dev/null &
	others=$!
	for i in 1 2 3 4 5; do
		refused_with 69 'pool_mode = session' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
	done
	kill "$others"
	wait "$others" || :
done
pooler_stop
