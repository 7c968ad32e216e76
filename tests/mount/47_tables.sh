#!/bin/bash
# Tables of an application as directories, through real tools, with sqlite3 beside the mount.
# time limit: 60 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
need_mount
MNT=$T/mnt
DB=$T/app.db
M=$MNT/app
mkdir "$MNT"

sql <<'END'
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INT, pic BLOB);
CREATE INDEX users_age ON users (age);
INSERT INTO users VALUES (1, 'alice', 'a@x', 42, x'00ff10'), (2, 'bob', NULL, NULL, NULL);
CREATE TABLE writes (thread TEXT NOT NULL, ns TEXT NOT NULL DEFAULT '', idx INTEGER NOT NULL,
	channel TEXT NOT NULL, value BLOB, PRIMARY KEY (thread, ns, idx));
INSERT INTO writes VALUES ('t/1', '', 0, 'ch', x'c0'), ('t2', 'n,s', 1, 'ch', NULL);
CREATE TABLE kept (id INTEGER PRIMARY KEY, note TEXT);
INSERT INTO kept VALUES (1, 'a'), (2, 'b');
CREATE VIRTUAL TABLE docs USING fts5 (body);
INSERT INTO docs VALUES ('hello world');
CREATE VIEW grown AS SELECT name FROM users WHERE age > 18;
END

config "$T/persistfs.ini" <<-END
	[backend:app]
	type = sqlite
	path = $DB

	[store:look]
	backend = app
	kind = sql

	[store:app]
	backend = app
	kind = sql
	read_only = no
END
before=$(sql .dump | cksum)
mount_ini "$T/persistfs.ini" "$MNT"

say "looking"
eq tables "$(ls "$MNT/look" | tr '\n' ' ')" "docs grown kept users writes "
eq rows "$(ls "$MNT/look/writes" | tr '\n' ' ')" "t%2F1,%EMPTY,0 t2,n%2Cs,1 "
eq column "$(cat "$MNT/look/users/1/name")" alice
eq blob "$(file_hex "$MNT/look/users/1/pic")" 00FF10
eq json "$(cat "$MNT/look/users/2.json")" '{"id":2,"name":"bob","email":null,"age":null,"pic":null}'
eq count "$(cat "$MNT/look/users/.count")" 2
eq by "$(ls "$MNT/look/users/.by/age/42")" 1
eq order "$(ls -U "$MNT/look/users/.order/name.desc" | tr '\n' ' ')" "2 1 "
eq "what find sees" "$(find "$MNT/look" | wc -l)" 40
eq csv "$(cat "$MNT/look/users/.columns/id,name/.export/csv")" "$(printf 'id,name\n1,alice\n2,bob')"
eq json "$(cat "$MNT/look/users/.order/name.desc/.columns/id/.export/json")" "$(printf '[{"id":2},\n{"id":1}]')"
cp "$MNT/look/users/.by/age/42/.export/jsonl" "$T/export"
eq jsonl "$(cat "$T/export")" '{"id":1,"name":"alice","email":"a@x","age":42,"pic":"AP8Q"}'
eq tsv "$(tail -n 1 "$MNT/look/kept/.last/1/.export/tsv")" "$(printf '2\tb')"
eq sample "$(wc -l <"$MNT/look/users/.sample/1/.export/jsonl")" 1
eq grep "$(cd "$MNT/look" && grep -r -l -a alice . | sort | tr '\n' ' ')" "./grown/1/name ./users/1/name "
rsync -r "$MNT/look/" "$T/out/"
diff -r "$MNT/look" "$T/out"
eq null "$(getfattr --only-values -n user.persistfs.null "$MNT/look/users/2/email")" 1
refused "Read-only" sh -c "echo x > $MNT/look/users/1/name"
refused "Read-only" rmdir "$MNT/look/users/1"
eq "a dump before and after" "$(sql .dump | cksum)" "$before"

"$persistfs" status "$MNT" >"$T/status" || fail "status"
has "usage: not counted: another application's data" "$T/status"
eq usage "$(cat "$MNT/.persistfs/stores/look/usage")" "not counted: another application's data"

say "a table of many rows"
sql "CREATE TABLE many (k TEXT PRIMARY KEY NOT NULL, n INT);
	WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 150000)
	INSERT INTO many SELECT 'k' || i, i % 100 FROM c"
eventually test -d "$MNT/look/many"
eq "each row once" "$(ls -U "$MNT/look/many" | sort -u | wc -l)" 150000
eq "in another order" "$(ls -U "$MNT/look/many/.order/n" | sort -u | wc -l)" 150000
eq "what was looked up before" "$(cat "$MNT/look/users/.count")" 2
sql "DROP TABLE many"
before=$(sql .dump | cksum)

say "changing a column"
echo carol >"$M/users/1/name"
eq stored "$(sql "SELECT name || typeof(name) FROM users WHERE id = 1")" caroltext
eq "the row at once" "$(cat "$M/users/1.json")" '{"id":1,"name":"carol","email":"a@x","age":42,"pic":"AP8Q"}'
sed -i s/carol/dave/ "$M/users/1/name"
eq "sed, the row at once" "$(cut -c1-21 "$M/users/1.json")" '{"id":1,"name":"dave"'
sed -i s/dave/dora/ "$M/users/.where/name/eq/dave/1/name"
eq "out of its selection" "$(ls "$M/users/.where/name/eq/dave")$(sql "SELECT name FROM users WHERE id = 1")" dora
echo dave >"$M/users/1/name"
eq "sed, the selection at once" "$(cat "$M/users/.by/age/42/1/name")" dave
printf '\0\n' >"$T/blob"
cp "$T/blob" "$M/users/1/pic"
eq blob "$(sql "SELECT hex(pic) FROM users WHERE id = 1")" 000A
for vi in vim.tiny vim; do
	if command -v $vi >/dev/null; then
		$vi -es -u NONE -c '%s/dave/erin/' -c wq "$M/users/1/name" </dev/null
		eq "$vi" "$(sql "SELECT quote(name) FROM users WHERE id = 1")" "'erin'"
		$vi -es -u NONE -c '%s/erin/finn/' -c wq "$M/users/1.json" </dev/null
		eq "$vi, a row" "$(sql "SELECT quote(name) FROM users WHERE id = 1")" "'finn'"
		break
	fi
done
echo '{"age": 43, "email": null}' >"$M/users/1.json"
eq partial "$(sql "SELECT age || ifnull(email, 'null') FROM users WHERE id = 1")" 43null
setfattr -n user.persistfs.incr -v 2 "$M/users/1/age"
eq incr "$(cat "$M/users/1/age")" 45
setfattr -n user.persistfs.null -v 1 "$M/users/1/age"
eq null "$(sql "SELECT age IS NULL FROM users WHERE id = 1")" 1

say "what the engine refuses"
echo b@x >"$M/users/2/email"
refused "File exists" cp "$M/users/2/email" "$M/users/1/email"
eq "the old value stands" "$(sql "SELECT ifnull(email, 'null') FROM users WHERE id = 1")" null
has 'UNIQUE constraint failed' <(getfattr --only-values -n user.persistfs.error "$M/users/1/email")
echo x >"$T/x"
refused "Invalid argument" cp "$T/x" "$M/users/2/age"

say "rows"
mkdir "$M/users/5"
eq "not complete" "$(sql "SELECT count(*) FROM users")" 2
echo new >"$M/users/5/name"
eq inserted "$(sql "SELECT name FROM users WHERE id = 5")" new
mkdir "$M/users/6"
rmdir "$M/users/6"
eq forgotten "$(ls "$M/users" | tr '\n' ' ')" "1 2 5 "
rmdir "$M/users/5"
eq deleted "$(sql "SELECT count(*) FROM users")" 2
echo '{"name": "json"}' >"$M/users/7.json"
eq inserted "$(cat "$M/users/7/name")" json
rm "$M/users/7.json"
eq deleted "$(ls "$M/users" | tr '\n' ' ')" "1 2 "
before=$(sql "SELECT count(*) FROM users")
refused "Operation not permitted" rm -rf "$M/users" "$M/writes"
eq "rm -rf destroys nothing" "$(sql "SELECT count(*) FROM users")" "$before"
refused "Operation not permitted" rmdir "$M/users"

say "out of a table and into an empty one"
rsync -r "$M/kept/" "$T/kept/"
sql "DELETE FROM kept"
eventually test ! -e "$M/kept/1"
rsync -r "$T/kept/" "$M/kept/"
eq back "$(sql "SELECT group_concat(id || note) FROM kept")" 1a,2b

rsync -r "$M/writes/" "$T/writes/"
sql "DELETE FROM writes"
eventually test ! -e "$M/writes/t2,n%2Cs,1"
rsync -r "$T/writes/" "$M/writes/"
eq "back, rows that were not complete at first" "$(sql "SELECT group_concat(thread || ns || idx || channel || hex(value)) FROM writes")" t/10chC0,t2n,s1ch

say "what others change"
sql "UPDATE users SET name = 'other' WHERE id = 1; CREATE TABLE later (x)"
eventually grep -q other "$M/users/1/name"
eventually test -d "$M/later"

stop
eq integrity "$(sql "PRAGMA integrity_check")" ok
eq "nothing of ours" "$(sql "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'persistfs%'")" 0
