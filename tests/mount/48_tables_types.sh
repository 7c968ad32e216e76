#!/bin/bash
# Tables as directories on both SQL engines: types, keys, selections and writes, as the engine's own
# client sees them.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tables.sh"
M=$MNT/app

if [ "$engine" = postgres ]; then
	pg "CREATE TABLE types (id uuid PRIMARY KEY, b boolean, n numeric(30, 10), d double precision,
		t timestamptz, a int[], j jsonb, x bytea, c char(4), i bigint)"
	pg "INSERT INTO types VALUES ('6f1b1c4e-0000-4000-8000-000000000001', true, 12345678901234567890.5, 0.1,
		'2024-02-03 04:05:06.7+00', '{1,2,NULL}', '{\"k\": [1, 2]}', '\\x00ff', 'ab', 9223372036854775807)"
	blob='\x00ff'
	bytes=BYTEA
else
	blob=
	bytes=BLOB
fi
app "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INTEGER CHECK (age < 150))"
app "INSERT INTO users VALUES (1, 'alice', 'a@x', 42), (2, 'bob', NULL, NULL)"
app "CREATE TABLE orders (u INTEGER REFERENCES users (id), name TEXT NOT NULL, data $bytes, PRIMARY KEY (u, name))"
app "INSERT INTO orders VALUES (1, 'a,b/c', NULL)"
app "CREATE VIEW grown AS SELECT name FROM users WHERE age > 18"

config "$T/persistfs.ini" <<-END
	$(engine_section app)

	[defaults]
	backend = app
	kind = sql

	[store:app]
	read_only = no

	[store:look]
END
mount_ini "$T/persistfs.ini" "$MNT"
# Those of the test, among others of the database.
M=$MNT/app/$S
L=$MNT/look/$S

say "reading"
eq rows "$(ls "${L}users" | tr '\n' ' ')" "1 2 "
eq json "$(cat "${L}users/2.json")" '{"id":2,"name":"bob","email":null,"age":null}'
eq keys "$(ls "${L}orders")" "1,a%2Cb%2Fc"
eq view "$(cat "${L}grown/1/name")" alice
eq by "$(ls "${L}users/.by/email/a@x")" 1
eq where "$(cat "${L}users/.where/name/contains/o/.where/age/is-null/yes/.count")" 1
eq like "$(ls "${L}users/.where/name/like/a%25/.order/age.desc/.first/3")" 1
eq export "$(cat "${L}users/.columns/id,name/.export/csv")" "$(printf 'id,name\n1,alice\n2,bob')"
refused Read-only rmdir "${L}users/1"
if [ -n "$blob" ]; then
	row=$(ls "${L}types")
	for column in b n d t a j c i; do
		eq "type of $column" "$(cat "${L}types/$row/$column")" "$(pg "SET TimeZone = UTC; SELECT $column FROM ${S}types")"
	done
	eq bytes "$(file_hex "${L}types/$row/x")" 00FF
	has '"n":12345678901234567890.5000000000,' "${L}types/$row.json"
	echo '{7,8}' >"${M}types/$row/a"
	echo '{"k": 3}' >"${M}types/$row/j"
	echo '2025-01-01 00:00:00+01' >"${M}types/$row/t"
	echo '1.25' >"${M}types/$row/n"
	eq written "$(pg "SELECT a::text || j || n || (t = '2024-12-31 23:00Z') FROM ${S}types")" '{7,8}{"k": 3}1.2500000000true'
	echo x >"$T/x"
	refused "Invalid argument" cp "$T/x" "${M}types/$row/t"
	setfattr -n user.persistfs.incr -v 0.5 "${M}types/$row/n"
	eq incr "$(pg "SELECT n FROM ${S}types")" 1.7500000000
fi

say "writing"
echo carol >"${M}users/1/name"
eq column "$(app "SELECT name FROM ${S}users WHERE id = 1")" carol
eq "the row at once" "$(cat "${M}users/1.json")" '{"id":1,"name":"carol","email":"a@x","age":42}'
sed -i s/carol/dave/ "${M}users/1/name"
eq sed "$(app "SELECT name FROM ${S}users WHERE id = 1")" dave
echo '{"age": 43}' >"${M}users/1.json"
eventually grep -q 43 "${M}users/1/age"
if [ -n "$S" ]; then
	# PostgreSQL would round it.
	refused "Invalid argument" bash -c 'echo "{\"age\": 1.5}" >"$1"' bash "${M}users/1.json"
fi
echo '{"name": "json"}' >"${M}users/7.json"
eq json "$(app "SELECT age FROM ${S}users WHERE id = 1") $(app "SELECT name FROM ${S}users WHERE id = 7")" "43 json"
setfattr -n user.persistfs.incr -v 2 "${M}users/1/age"
eq incr "$(app "SELECT age FROM ${S}users WHERE id = 1")" 45
mkdir "${M}users/5"
echo new >"${M}users/5/name"
eq inserted "$(app "SELECT name FROM ${S}users WHERE id = 5")" new
printf '\0\n' >"$T/blob"
cp "$T/blob" "${M}orders/1,a%2Cb%2Fc/data"
eq bytes "$(file_hex "${M}orders/1,a%2Cb%2Fc/data")" 000A
mkdir "${M}orders/7,x"
eq "a row of two keys" "$(app "SELECT count(*) FROM ${S}orders")" 2

say "refusals"
printf '%s' a@x >"$T/x"
refused "File exists" cp "$T/x" "${M}users/2/email"
echo 151 >"$T/x"
refused "Invalid argument" cp "$T/x" "${M}users/2/age"
echo x >"$T/x"
refused "Invalid argument" cp "$T/x" "${M}users/2/age"
refused "resource busy" rmdir "${M}users/1"
refused "resource busy" mkdir "${M}orders/9,x"
eq stands "$(app "SELECT count(*) FROM ${S}users WHERE email IS NULL AND id = 2 AND age IS NULL")" 1
refused "not permitted" rm -r "${M}users"
rmdir "${M}orders/7,x"
rm "${M}users/7.json"
eq removed "$(app "SELECT count(*) FROM ${S}users")" 3

if [ "$engine" = postgres ]; then
	say "views that the engine can update"
	pg "CREATE VIEW ${S}adults AS SELECT age + 0 AS years, name AS \"the name\", id AS k, age FROM ${S}users WHERE age > 18"
	pg "CREATE VIEW ${S}swapped AS SELECT u AS name, name AS u FROM ${S}orders WHERE u IN (SELECT id FROM ${S}users)"
	pg "CREATE VIEW ${S}joined AS SELECT users.id, orders.name FROM ${S}users JOIN ${S}orders ON u = id"
	pg "CREATE VIEW ${S}grouped AS SELECT id, count(*) FROM ${S}users GROUP BY id"
	eventually test -d "${M}grouped"
	eq keys "$(ls "${M}adults")" 1
	eq json "$(cat "${M}adults/1.json")" '{"years":45,"the name":"dave","k":1,"age":45}'
	echo erin >"${M}adults/1/the name"
	eq written "$(pg "SELECT name FROM ${S}users WHERE id = 1")" erin
	refused "not permitted" bash -c 'echo 5 >"$1"' bash "${M}adults/1/years"
	refused "Invalid argument" bash -c 'echo 5 >"$1"' bash "${M}adults/1/age"
	eq stands "$(pg "SELECT age FROM ${S}users WHERE id = 1")" 45
	echo '{"the name": "grace", "age": 20}' >"${M}adults/8.json"
	rmdir "${M}adults/8"
	eq removed "$(pg "SELECT count(*) FROM ${S}users WHERE id = 8")" 0
	# What hangs on the table hangs on the view.
	pg "CREATE TABLE ${S}child (id int PRIMARY KEY REFERENCES ${S}users ON DELETE CASCADE); INSERT INTO ${S}child VALUES (1)"
	echo '{"k": 1, "the name": "x"}' >"$T/rows"
	refused "not permitted" cp "$T/rows" "${M}adults/.import/replace/jsonl"
	eq child "$(pg "SELECT count(*) FROM ${S}child")" 1
	echo '{"k": 9, "the name": "heidi", "age": 33}' >"${M}adults/.import/append/jsonl"
	eq appended "$(pg "DELETE FROM ${S}users WHERE id = 9 RETURNING name")" heidi
	pg "DROP TABLE ${S}child"
	# Without a key that can be told from the view's own text its rows have numbers, and stand.
	for view in swapped joined grouped grown; do
		has "^writable: no" "${M}$view/.info"
		eq "mode of $view" "$(stat -c %a "${M}$view")" 500
	done
	pg "DROP VIEW ${S}adults, ${S}swapped, ${S}joined, ${S}grouped"
fi

say "names that are no key"
for name in abc 1.5 1e400 Inf 0x1 99999999999999999999 01; do
	refused "No such file" stat "${M}users/$name"
	refused "No such file" stat "${L}users/.where/age/ge/0/$name"
done
if [ -n "$S" ]; then
	refused "No such file" stat "${M}types/abc"
	pg "SET client_min_messages = warning;
		CREATE TABLE ${S}wide (n numeric PRIMARY KEY, v text); INSERT INTO ${S}wide VALUES (1e300, 'w'), ('NaN', 'n');
		CREATE TABLE ${S}heir (PRIMARY KEY (id)) INHERITS (${S}users); INSERT INTO ${S}heir VALUES (2, 'other', '', 1);
		CREATE COLLATION ${S}nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE ${S}nd (k text COLLATE ${S}nocase PRIMARY KEY, v text); INSERT INTO ${S}nd VALUES ('Key', 'v')"
	eventually test -d "${M}nd"
	eq "a long number" "$(cat "${M}wide"/1*/v) $(cat "${M}wide/NaN/v")" "w n"
	# Rows of the heirs may have the same key.
	eventually grep -q inherit "${M}users/.info"
	eq heirs "$(ls "${M}users" | wc -l)" "$(pg "SELECT count(*) FROM ${S}users")"
	refused "not permitted" rmdir "${M}users/1"
	eq heir "$(cat "${M}heir/2/name")" other
	pg "DROP TABLE ${S}heir"
	eventually test -d "${M}users/5/"
	eq "another case" "$(ls "${M}nd") $(cat "${M}nd/Key/v")" "Key v"
	refused "No such file" stat "${M}nd/key"
	pg "CREATE TABLE ${S}large (id int PRIMARY KEY, v bytea); INSERT INTO ${S}large
		SELECT 1, decode(repeat('00ff41aa', 2 * 1024 * 1024), 'hex')"
	eventually test -d "${M}large/1"
	eq "a large value" "$(md5sum <"${M}large/1/v")" "$(pg "SELECT md5(v) || '  -' FROM ${S}large")"
	read_some() { dd if="${M}large/1/v" bs=64k skip=50 count=2 status=none | md5sum; }
	read_some >"$T/some"
	pg "UPDATE ${S}large SET v = overlay(v PLACING 'x'::bytea FROM 64 * 1024 * 50 + 70000)"
	if read_some | cmp -s "$T/some"; then fail "a large value was not read anew"; fi
	refused "not supported" ls "${M}nd/.where/k/like/K%25"
fi

say "hostile names"
hostile=('a"b' "a'b" 'a;DROP TABLE users;--' '$1' '?1' 'a b' 'é€' 'a\b' '%s' ':x' 'select' $'two\nlines')
# As an identifier, with its schema.
quoted() { printf '%s"%s"' "${S:+$PG_SCHEMA.}" "${1//\"/\"\"}"; }
column() { printf '"%s%s"' "$1" "${2//\"/\"\"}"; }
# As a file: a percent sign in front is an escape.
table_file() { if [ -n "$S" ]; then printf %s "$S$1"; else printf %s "${1/#%/%25}"; fi; }
for name in "${hostile[@]}"; do
	app "CREATE TABLE $(quoted "$name") ($(column "" "$name") text NOT NULL PRIMARY KEY,
		$(column "v " "$name") text NOT NULL)"
done
eventually test -d "$MNT/app/$(table_file "$name")"
for name in "${hostile[@]}"; do
	text=${name//\'/\'\'}
	file=${name/#%/%25}
	table=$MNT/app/$(table_file "$name")
	mkdir "$table/$file"
	printf %s "$name" >"$table/$file/v $name"
	eq stored "$(app "SELECT count(*) FROM $(quoted "$name")
		WHERE $(column "" "$name") = '$text' AND $(column "v " "$name") = '$text'")" 1
	eq read "$(cat "$table/$file/$file")" "$name"
	eq selected "$(ls "$table/.where/v $name/eq/$file/.order/$file")" "$(ls "$table")"
	eq contains "$(cat "$table/.where/v $name/contains/$file/.count")" 1
	rmdir "$table/$file"
	eq deleted "$(app "SELECT count(*) FROM $(quoted "$name")")" 0
done
eq users "$(app "SELECT count(*) FROM ${S}users")" 3

stop
