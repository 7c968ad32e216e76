#!/bin/bash
# A database as SOURCE, without an ini: data/, which is made on first use, and beside it what others
# keep there, which looking does not change.
# time limit: 90 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
MNT=$T/mnt
mkdir "$MNT"
own_place

# An application's data; how it is seen whole; where a value of it is; what has its own layout.
case $engine in
sqlite)
	DB=$T/app.db
	source=sqlite:$DB
	sql "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes VALUES (1, 'hello')"
	dump() { sql .dump; }
	set_value() { sql "UPDATE notes SET text = '$1'"; }
	others=tables
	value=$MNT/tables/notes/1/text
	;;
postgres)
	base="$PERSISTFS_TEST_POSTGRES"
	name=t_$$_$RANDOM
	psql -X -q "$base" -c "CREATE DATABASE $name"
	echo "database $name" >>"$T/places"
	unset PG_SCHEMA
	own="$base dbname=$name"
	pg() { psql -X -q -A -t "$own" -c "$1"; }
	host=$(sed 's/.*host=\([^ ]*\).*/\1/' <<<"$base")
	port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<<"$base")
	source="postgres://persistfs@:$port/$name?host=${host//\//%2F}"
	pg "CREATE TABLE notes (id int PRIMARY KEY, text text); INSERT INTO notes VALUES (1, 'hello')"
	dump() { pg_dump "$own" | grep -v -E '^.(un)?restrict '; }
	set_value() { pg "UPDATE notes SET text = '$1'"; }
	others=tables
	value=$MNT/tables/notes/1/text
	;;
redis)
	source=unix://$(redis_socket)?db=$REDIS_DB
	rcli SET note:1 hello >/dev/null
	rcli SCRIPT FLUSH >/dev/null
	dump() { rcli KEYS '*' | sort; rcli GET note:1; rcli INFO memory | grep -a scripts; }
	set_value() { rcli SET note:1 "$1" >/dev/null; }
	others=keys
	value=$MNT/keys/note/1
	;;
esac
shown() { [ "$(cat "$value")" = "$1" ]; }

say "looking changes nothing"
before=$(dump)
"$persistfs" mount "$source" "$MNT" | tee "$T/said"
has "$others/ is another application's data on 'others', read-only" "$T/said"
eq "what is there" "$(ls "$MNT" | tr '\n' ' ')" "data $others "
eq "nothing in data" "$(ls -A "$MNT/data")" ""
eq "others' value" "$(cat "$value")" hello
refused 'No such file' cat "$MNT/data/x"
refused 'No such file' rm "$MNT/data/x"
refused 'Read-only' sh -c "printf no >'$value'"
find "$MNT" -ls >"$T/found"
df "$MNT/data" >/dev/null
eq "no attributes" "$(getfattr -m - "$MNT/data" 2>&1)" ""
has '^ok' "$MNT/.persistfs/stores/data/health"
has 'first write' "$MNT/.persistfs/stores/data/health"
eq usage "$(head -n 1 "$MNT/.persistfs/stores/data/usage")" "objects: 0"
set_value changed
eventually shown changed
set_value hello
cp "$MNT/.persistfs/config" "$T/again.ini"
"$persistfs" status "$MNT" >"$T/status" || { cat "$T/status"; fail "status"; }
stop
eq "nothing was added" "$(dump)" "$before"

if [ "$engine" = redis ]; then
	say "who may only read can look"
	rcli ACL SETUSER looks on '>pw' '~*' '&*' +@read +@connection +info +subscribe +psubscribe '+config|get' >/dev/null
	"$persistfs" mount "${source/unix:\/\//unix://looks:pw@}" "$MNT"
	eq "others' value" "$(cat "$value")" hello
	refused 'Permission denied' mkdir "$MNT/data/d"
	has 'EACCES.*NOPERM' "$MNT/.persistfs/stores/data/errors"
	eq "still empty" "$(ls -A "$MNT/data")" ""
	has '^ok' "$MNT/.persistfs/stores/data/health"
	stop
	rcli ACL DELUSER looks >/dev/null
	eq "nothing was added" "$(dump)" "$before"
fi

say "what is in effect can be written to a file, and mounted"
"$persistfs" mount -c "$T/again.ini" "$MNT"
eq "what is there" "$(ls "$MNT" | tr '\n' ' ')" "data $others "
eq "others' value" "$(cat "$value")" hello
stop
eq "nothing was added" "$(dump)" "$before"

say "data is made on first use"
"$persistfs" mount "$source" "$MNT"
if [ "$engine" = sqlite ]; then
	# The file is another application's: it stays so.
	refused 'Read-only' touch "$MNT/data/x"
	refused 'Read-only' mkdir "$MNT/data/d"
	has 'other tables' "$MNT/.persistfs/stores/data/errors"
	eq "still empty" "$(ls -A "$MNT/data")" ""
	stop
	eq "nothing was added" "$(dump)" "$before"
else
	mkdir "$MNT/data/d"
	echo mine >"$MNT/data/d/x"
	eq "mine" "$(cat "$MNT/data/d/x")" mine
	(cd "$MNT/$others" && find . | sort) >"$T/seen"
	grep -i -e persistfs -e mine -e data "$T/seen" && fail "not hidden"
	if [ "$engine" = redis ]; then
		eq "as redis-cli has it" "$(rcli GET data:d/x)" mine
	else
		eq "as psql has it" "$(pg "SELECT convert_from(value, 'UTF8') FROM persistfs.persistfs_kv WHERE name = 'x'")" mine
	fi
	stop
	"$persistfs" mount "$source" "$MNT"
	eq "there again" "$(cat "$MNT/data/d/x")" mine
	stop
fi

say "-o rw"
"$persistfs" mount -o rw "$source" "$MNT" | tee "$T/said"
has "and can be written to" "$T/said"
printf new >"$value"
eq "written" "$(cat "$value")" new
has new <(dump)
stop
say "rw of an fstab is nobody's word"
"$persistfs" "$source" "$MNT" -o rw,nodev >"$T/said"
has "read-only" "$T/said"
refused 'Read-only' sh -c "printf no >'$value'"
stop

if [ "$engine" = sqlite ]; then
	say "an application has crashed within a transaction"
	sqlite3 "$T/busy.db" >/dev/null <<-END
		CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
		INSERT INTO notes VALUES (1, 'hello');
		PRAGMA cache_size = 2;
		BEGIN;
		WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
		INSERT INTO notes SELECT i, 'not committed' FROM n;
		.shell cp "$T/busy.db" "$T/crashed.db"; cp "$T/busy.db-journal" "$T/crashed.db-journal"
	END
	"$persistfs" mount "sqlite:$T/crashed.db" "$MNT"
	eq "what was committed" "$(cat "$MNT/tables/notes/.count")" 1
	stop

	say "a file with nothing of others has data alone"
	"$persistfs" mount "sqlite:$T/new.db" "$MNT"
	echo y >"$MNT/data/y"
	eq "alone" "$(ls "$MNT")" data
	sqlite3 "$T/new.db" 'CREATE TABLE later (id INTEGER PRIMARY KEY)'
	stop
	"$persistfs" mount "sqlite:$T/new.db" "$MNT"
	eq "both" "$(ls "$MNT" | tr '\n' ' ')" "data tables "
	eq "others' alone" "$(ls "$MNT/tables")" later
	echo z >"$MNT/data/z"
	eq "both written" "$(cat "$MNT/data/y" "$MNT/data/z" | tr '\n' ' ')" "y z "
	stop
fi

say "two mounts: one makes, the other sees"
if [ "$engine" != sqlite ]; then
	case $engine in
	redis) rcli FLUSHDB >/dev/null ;;
	postgres) pg 'SET client_min_messages = warning; DROP SCHEMA persistfs CASCADE' ;;
	esac
	mkdir "$T/mnt2"
	"$persistfs" mount "$source" "$MNT"
	"$persistfs" mount "$source" "$T/mnt2"
	eq "empty" "$(ls "$T/mnt2/data")" ""
	echo here >"$MNT/data/z"
	sees() { [ "$(cat "$T/mnt2/data/z" 2>/dev/null)" = here ]; }
	eventually sees
	echo there >"$T/mnt2/data/w"
	eq "the way back" "$(cat "$MNT/data/w")" there
	"$persistfs" umount "$T/mnt2"
	stop
fi

say "the server is away at the first write"
if [ "$engine" != sqlite ]; then
	case $engine in
	redis) rcli FLUSHDB >/dev/null ;;
	postgres) pg 'SET client_min_messages = warning; DROP SCHEMA persistfs CASCADE' ;;
	esac
	"$persistfs" mount "$source" "$MNT"
	exec 5<"$MNT/data"
	make() { chmod 700 /proc/self/fd/5 2>"$T/why"; } # without a look-up before
	server_ctl stop
	away() { ! make && grep -q 'Host is down' "$T/why"; }
	away || fail "$(cat "$T/why")"
	refused 'Host is down' ls "$MNT/data"
	server_ctl start
	until make; do
		grep -q 'Host is down' "$T/why" || fail "$(cat "$T/why")"
		sleep 0.1
	done
	exec 5<&-
	echo late >"$MNT/data/x"
	eq "made" "$(cat "$MNT/data/x")" late
	stop
fi
