#!/bin/bash
# A table of keys and values that belongs to an application, through real tools, with a client of the
# database beside the mount.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tables.sh"

value() { app "SELECT value FROM kv WHERE key = '$1'"; }
rows() { app "SELECT key || '=' || value || '@' || coalesce(CAST(expiration AS text), '-') FROM $1 ORDER BY key COLLATE $collate"; }
attr() { getfattr --only-values -n "user.persistfs.$1" "$2"; }

if [ "$engine" = postgres ]; then
	collate='"C"'
else
	collate=BINARY
fi
for table in kv back; do
	app "CREATE TABLE $table (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)"
done
app "INSERT INTO kv VALUES ('session:A:S', '{\"id\": \"S\"}', NULL),
	('session:A:S:T1', '{\"turn\": 1}', '2035-01-02T03:04:05+00:00'),
	('exp:old', 'x', '2025-01-02 03:04:05+00:00'), ('a/b', 'slash', NULL)"
before=$(rows kv)

config "$T/persistfs.ini" <<-END
	$(engine_section app)

	[defaults]
	backend = app
	layout = plain
	expires_column = expiration

	[store:look]
	table = ${S}kv

	[store:flat]
	table = ${S}kv
	read_only = no

	[store:tree]
	table = ${S}kv
	separator = :
	read_only = no

	[store:back]
	table = ${S}back
	separator = :
	read_only = no
END
mount_ini "$T/persistfs.ini" "$MNT"

say "looking"
eq "keys" "$(ls "$MNT/look" | tr '\n' ' ')" "a%2Fb session:A:S session:A:S:T1 "
eq "a value" "$(cat "$MNT/look/session:A:S")" '{"id": "S"}'
eq "a tree" "$(cd "$MNT/tree" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" \
	"./a%2Fb ./session/A/S/%VALUE ./session/A/S/T1 "
eq "grep -r" "$(grep -rl turn "$MNT/tree")" "$MNT/tree/session/A/S/T1"
refused "Read-only file system" touch "$MNT/look/new"
refused "Read-only file system" bash -c "echo x >'$MNT/look/a%2Fb'"
eq "nothing has changed" "$(rows kv)" "$before"
case $engine in
sqlite) eq "no table of ours" "$(sql "SELECT count(*) FROM sqlite_master WHERE name LIKE 'persistfs%'")" 0 ;;
postgres) eq "no table of ours" "$(pg "SELECT count(*) FROM pg_class WHERE relnamespace = '$PG_SCHEMA'::regnamespace AND relname ~ '^persistfs'")" 0 ;;
esac

say "writing, both ways"
cd "$MNT/flat"
printf %s v1 >plain
eq "made" "$(value plain)" v1
printf %s v2 >plain
eq "written" "$(value plain)" v2
printf %s -more >>plain
eq "appended" "$(value plain)" v2-more
app "UPDATE kv SET value = 'theirs' WHERE key = 'plain'"
# Where the engine tells nothing, an open asks.
[ "$engine" != sqlite ] || eventually grep -q theirs plain
eq "theirs" "$(cat plain)" theirs
app "UPDATE kv SET value = 'theirs, and longer' WHERE key = 'plain'"
[ "$engine" != sqlite ] || eventually grep -q longer plain
eq "theirs again" "$(cat plain)" "theirs, and longer"
app "UPDATE kv SET value = 'short' WHERE key = 'plain'"
[ "$engine" != sqlite ] || eventually grep -q short plain
eq "and again" "$(cat plain)" short
app "INSERT INTO kv (key, value) VALUES ('fresh', 'f')"
eventually test -e fresh
app "DELETE FROM kv WHERE key = 'fresh'"
eventually test ! -e fresh
touch plain touched
# Nothing was written: that is known with the last close, for which close(2) does not wait.
touched() { [ "$(app "SELECT length(value) FROM kv WHERE key = 'touched'")" = 0 ]; }
eventually touched
rm touched

say "mv keeps the row, and replaces a value only"
id=$(app "SELECT expiration FROM kv WHERE key = 'session:A:S:T1'")
mv session:A:S:T1 renamed
eq "expiry" "$(app "SELECT expiration FROM kv WHERE key = 'renamed'")" "$id"
printf %s new >other
mv other renamed
eq "the value" "$(value renamed)" new
eq "the row" "$(app "SELECT expiration FROM kv WHERE key = 'renamed'")" "$id"
mv renamed session:A:S:T1

say "editors"
printf 'one\ntwo\n' >text
sed -i 's/two/2/' text
eq "sed -i" "$(value text)" "one
2"
vim=$(command -v vim || command -v vim.tiny || :)
if [ -n "$vim" ]; then
	"$vim" -es -u NONE -c 'set nocp backup writebackup' -c '%s/one/1/' -c wq text </dev/null || fail "vim"
	eq "vim" "$(value text)" "1
2"
	rm -f text~
fi
cp --remove-destination /dev/stdin text <<<copied
eq "cp --remove-destination" "$(value text)" copied
eq "scratch names are no keys" "$(app "SELECT count(*) FROM kv WHERE key LIKE 'sed%' OR key LIKE '.%' OR key LIKE '%~'")" 0
rm text plain

say "expiry"
left=$(attr ttl session:A:S:T1)
[ "${left%.*}" -gt 100000000 ] || fail "ttl is $left"
setfattr -n user.persistfs.ttl -v 3600 session:A:S
eq "in the future" "$(app "SELECT count(*) FROM kv WHERE key = 'session:A:S' AND expiration > '2026-01-01'")" 1
printf %s again >session:A:S
eq "a write keeps it" "$(app "SELECT count(*) FROM kv WHERE key = 'session:A:S' AND expiration > '2026-01-01'")" 1
setfattr -x user.persistfs.ttl session:A:S
eq "for ever" "$(app "SELECT expiration IS NULL FROM kv WHERE key = 'session:A:S'" | tr t 1)" 1

say "what does not fit is refused, and said"
printf 'a\377' >"$T/bad"
refused "Invalid or incomplete" cp "$T/bad" session:A:S
eq "the old value" "$(value session:A:S)" again
has UTF-8 "$MNT/.persistfs/stores/flat/errors"
eq "why" "$(attr error session:A:S | grep -c UTF-8)" 1
refused "Invalid or incomplete" bash -c 'printf "a\377b" >session:A:S'
eq "the old value" "$(value session:A:S)" again
printf 'né€\n' >"$T/text"
dd if="$T/text" of=session:A:S bs=1 status=none
eq "in parts" "$(value session:A:S)" "né€"
printf %s again >session:A:S

say "out and back in, with rsync"
cd "$T"
app "DELETE FROM kv WHERE key = 'exp:old'"
rsync -r "$MNT/tree/" out/
rsync -r out/ "$MNT/back/"
eq "the same keys and values" "$(app "SELECT key || '=' || value FROM back ORDER BY key COLLATE $collate")" \
	"$(app "SELECT key || '=' || value FROM kv ORDER BY key COLLATE $collate")"
if setfattr -n user.test -v x out 2>/dev/null; then
	rm -r "$MNT"/back/*
	rsync -rX "$MNT/tree/" out/
	rsync -rX out/ "$MNT/back/"
	eq "with times" "$(app "SELECT key FROM back WHERE CAST(expiration AS text) LIKE '2035-01-02_03:04:05%'")" \
		session:A:S:T1
	eq "and no others" "$(app "SELECT count(*) FROM back WHERE expiration IS NOT NULL")" 1
fi
diff -r out "$MNT/back" || fail "diff"
rm -r "$MNT/back/session"
eq "rm -r" "$(ls -A "$MNT/back")" "a%2Fb"
mkdir -p "$MNT/back/x/y"
echo z >"$MNT/back/x/y/z"
eq "mkdir" "$(app "SELECT key FROM back WHERE key LIKE 'x%'")" x:y:z

say "a view can only be read"
stop
app "CREATE VIEW shown AS SELECT key, value FROM kv"
sed -i "s/^table = .*back/table = ${S}shown/; /^expires_column/d" "$T/persistfs.ini"
mount_ini "$T/persistfs.ini" "$MNT"
eq "read" "$(cat "$MNT/back/a%2Fb")" slash
has "read-only: shown is a view" "$MNT/.persistfs/stores/back/health"
refused "Read-only file system" bash -c "echo x >'$MNT/back/a%2Fb'"
stop
