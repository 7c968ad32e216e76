#!/bin/bash
# Files that become rows, on both SQL engines, through real tools: what comes back of an export, what is
# refused and how it is said, and 200,000 rows.
# time limit: 120 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tables.sh"

# says PATTERN FILE: what the last import by this file was refused for.
says() { has "$1" <(getfattr --only-values -n user.persistfs.error "$2" 2>/dev/null); }

if [ "$engine" = postgres ]; then
	bytes=BYTEA
else
	bytes=BLOB
fi
app "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INTEGER CHECK (age < 150),
	pic $bytes)"
app "INSERT INTO users VALUES (1, 'alice', 'a@x', 42, NULL), (2, 'b,\"o\"b', NULL, NULL, NULL), (3, '', '', NULL, NULL)"
app "CREATE TABLE orders (id INTEGER PRIMARY KEY, u INTEGER REFERENCES users (id), note TEXT)"
app "CREATE TABLE lines (o INTEGER REFERENCES orders (id) ON DELETE CASCADE, n INTEGER, PRIMARY KEY (o, n))"
app "CREATE TABLE many (id INTEGER PRIMARY KEY, name TEXT, pad TEXT)"
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
M=$MNT/app/$S
L=$MNT/look/$S
I=${M}users/.import

say "names"
case " $(ls -a "${M}users" | tr '\n' ' ')" in
*" .import "*) fail "it is listed" ;;
esac
(cd "$I/append" && [ -e csv ]) || fail "no directory to be in"
eq formats "$(ls "$I/upsert" | tr '\n' ' ')" "csv json jsonl "
eq mode "$(stat -c '%a %s' "$I/append/csv")" "200 0"
refused "Permission denied" cat "$I/append/csv"
refused "Read-only" cp "$T/persistfs.ini" "${L}users/.import/append/csv"
refused "not permitted" cp "$T/persistfs.ini" "${M}grown/.import/append/csv"
says 'grown cannot be written: a view' "${M}grown/.import/append/csv"

say "every tool"
printf 'id,name\n10,cp\n' >"$T/csv"
cp "$T/csv" "$I/append/csv"
printf '[{"id":11,"name":"cat"}]' >"$T/json"
cat "$T/json" >"$I/append/json"
echo '{"id":12,"name":"tee"}' | tee "$I/append/jsonl" >/dev/null
echo '{"id":13,"name":"at the end"}' >>"$I/append/jsonl"
echo '{"id":14,"name":"again"}' | tee -a "$I/append/jsonl" >/dev/null
printf 'name,id\ndd,15' | dd bs=1M of="$I/append/csv" conv=fsync status=none
{ sleep 0.1; echo '{"id":16,"name":"late"}'; } >"$I/append/jsonl"
{ cat "$T/json" | sed 's/11/17/'; } >"$I/append/json"
# Who has only inherited it ends nothing, least of all within a row.
{ printf 'id,name\n9,who'; sh -c : >/dev/null; printf 'le\n'; } >"$I/append/csv"
eq "not cut off" "$(app "SELECT name FROM ${S}users WHERE id = 9")" whole
if command -v jq >/dev/null; then
	jq -c '.[] | .id = 18' "$T/json" >"$I/append/jsonl"
else
	sed 's/[][]//g; s/11/18/' "$T/json" >"$I/append/jsonl"
fi
if command -v python3 >/dev/null; then
	python3 - "$I/append/csv" <<-'END'
		import csv, sys
		with open(sys.argv[1], "w", newline="") as f:
		    csv.writer(f).writerows([["id", "name"], [19, 'py "quoted"\nlines']])
	END
else
	printf 'id,name\r\n19,"py ""quoted""\nlines"\r\n' >"$I/append/csv"
fi
eq "all of them" "$(app "SELECT count(*) FROM ${S}users WHERE id BETWEEN 10 AND 19")" 10
eq "as it was meant" "$(app "SELECT count(*) FROM ${S}users WHERE name = 'py \"quoted\"' || chr(10) || 'lines'" 2>/dev/null ||
	app "SELECT count(*) FROM users WHERE name = 'py \"quoted\"' || char(10) || 'lines'")" 1
eq "shown at once" "$(cat "${M}users/10/name")" cp
before=$(app "SELECT count(*) FROM ${S}users")
: >"$I/replace/csv"
touch "$I/replace/json"
truncate -s 0 "$I/replace/jsonl"
cp /dev/null "$I/replace/csv"
refused "error|Invalid" sh -c "{ sh -c 'echo id,name'; sh -c 'echo 1,x'; } >$I/replace/csv"
says 'no rows' "$I/replace/csv"
eq "what writes nothing does nothing" "$(app "SELECT count(*) FROM ${S}users")" "$before"

say "what is exported comes back"
head -c 3000 /dev/urandom >"$T/pic"
cp "$T/pic" "${M}users/1/pic"
: >"$T/empty"
setfattr -n user.persistfs.null -v 0 "${M}users/2/pic"
for format in csv json jsonl; do
	cp "${M}users/.export/$format" "$T/before"
	cp "$T/before" "$I/replace/$format"
	cmp "$T/before" "${M}users/.export/$format"
	app "DELETE FROM ${S}users"
	cp "$T/before" "$I/append/$format"
	cmp "$T/before" "${M}users/.export/$format"
	cp "${M}users/.export/$format" "$I/upsert/$format" # from one file of the mount to another
	cmp "$T/before" "${M}users/.export/$format"
done
cmp "$T/pic" "${M}users/1/pic"
eq "an empty blob is no NULL" "$(app "SELECT count(*) FROM ${S}users WHERE pic IS NULL AND id < 4")" 1
if [ "$engine" = postgres ]; then
	pg "CREATE DOMAIN ${S}raw AS bytea; CREATE DOMAIN ${S}rawer AS ${S}raw"
	pg "CREATE TABLE types (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b boolean, n numeric, d double precision,
		f real, t timestamptz, a int[], j jsonb, x ${S}rawer, c char(4), i bigint, m text[], u uuid, v interval,
		twice bigint GENERATED ALWAYS AS (i / 2) STORED)"
	pg "INSERT INTO types (b, n, d, f, t, a, j, x, c, i, m, u, v) VALUES
		(true, 123456789012345678901234567890.123456789, 0.1::float8 + 0.2, 0.1, '2024-02-03 04:05:06.789+02',
		 '{1,NULL}', '{\"k\": [1, null, \"x\"]}', '\\x00ff41', 'ab', 9223372036854775807, '{\"a,b\",\"\",NULL,\"n\\\\n\"}',
		 '6f1b1c4e-0000-4000-8000-000000000001', '1 day 02:03:04.5'),
		(false, 'NaN', 'Infinity', '-Infinity', 'infinity', '{}', 'null', '', '', -9223372036854775808, '{}', NULL, NULL),
		(NULL, -0.00, 'NaN', 'NaN', NULL, NULL, '\"s\"', NULL, NULL, NULL, NULL, NULL, '-1 mon')"
	types() { pg "SELECT md5(string_agg(t::text || coalesce(t.twice, 0), '|' ORDER BY id)) FROM ${S}types t"; }
	eventually test -d "${M}types"
	before=$(types)
	for format in csv json jsonl; do
		cp "${M}types/.export/$format" "$T/before"
		cp "$T/before" "${M}types/.import/replace/$format"
		eq "types by $format" "$(types)" "$before"
	done
	if command -v jq >/dev/null; then
		jq -e 'length == 3' "${M}types/.export/json" >/dev/null || fail "no JSON"
	fi
	printf 'id,twice\n1,5\n' >"$T/csv"
	refused "Invalid argument" cp "$T/csv" "${M}types/.import/upsert/csv"
	says 'row 1, line 2: column twice: the engine computes it' "${M}types/.import/upsert/csv"
	printf '{"id":1,"x":5}\n' >"$T/csv"
	refused "Invalid argument" cp "$T/csv" "${M}types/.import/upsert/jsonl"
	says 'column x .*wants base64' "${M}types/.import/upsert/jsonl"
	printf 'id,i\n1,1.5\n' >"$T/csv"
	refused "Invalid argument" cp "$T/csv" "${M}types/.import/upsert/csv"
	says 'row 1, line 2: .*invalid input syntax' "${M}types/.import/upsert/csv"
	eq "nothing of it" "$(types)" "$before"

	pg "CREATE TABLE parts (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
		CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
		CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (20)"
	pg "CREATE TABLE base (k int PRIMARY KEY); CREATE TABLE derived (extra text) INHERITS (base); INSERT INTO derived VALUES (1, 'x')"
	eventually test -d "${M}base"
	printf 'k,v\n1,a\n11,b\n' >"${M}parts/.import/replace/csv"
	printf 'k,v\n2,c\n12,d\n' >"${M}parts/.import/replace/csv"
	eq "partitions" "$(pg "SELECT string_agg(v, '' ORDER BY k) FROM parts_high")" d
	pg "CREATE TABLE of_low (k int REFERENCES parts_low (k) ON DELETE CASCADE); INSERT INTO of_low VALUES (2)"
	printf 'k,v\n2,e\n' >"$T/csv"
	refused "not permitted" cp "$T/csv" "${M}parts/.import/replace/csv"
	eq "rows that belong to a partition's stay" "$(pg "SELECT k FROM of_low")" 2
	printf 'k\n1\n' >"$T/csv"
	refused "not permitted" cp "$T/csv" "${M}base/.import/replace/csv"
	eq "rows of heirs stay" "$(pg "SELECT extra FROM derived")" x
fi

say "upsert and replace"
echo '{"id":1,"age":43}' >"$I/upsert/jsonl"
eq "a part of a row" "$(app "SELECT name || age || email FROM ${S}users WHERE id = 1")" alice43a@x
printf 'email,age\na@x,44\n' >"$I/upsert/csv"
eq "by a unique key" "$(app "SELECT name || age FROM ${S}users WHERE id = 1")" alice44
printf 'id,name\n30,one\n31,two\n30,three\n' >"$I/upsert/csv"
eq "a row twice" "$(app "SELECT name FROM ${S}users WHERE id = 30")" three
printf 'name\nx\n' >"$T/csv"
refused "Invalid argument" cp "$T/csv" "$I/upsert/csv"
says 'users cannot be updated by these columns' "$I/upsert/csv"
app "INSERT INTO ${S}orders VALUES (1, 1, 'x')"
printf 'id,name\n2,x\n' >"$T/csv"
refused "resource busy" cp "$T/csv" "$I/replace/csv"
eq "nothing of it" "$(app "SELECT name FROM ${S}users WHERE id = 1")" alice
app "INSERT INTO ${S}lines VALUES (1, 1)"
printf 'id,u\n1,1\n' >"$T/csv"
refused "not permitted" cp "$T/csv" "${M}orders/.import/replace/csv"
says 'lines would lose rows' "${M}orders/.import/replace/csv"
printf 'o,n\n1,5\n1,6\n' >"${M}lines/.import/replace/csv"
eq replaced "$(app "SELECT sum(n) FROM ${S}lines")" 11
echo '[]' >"${M}lines/.import/replace/json"
eq "nothing left" "$(app "SELECT count(*) FROM ${S}lines")" 0

if [ "$engine" = postgres ]; then
	say "replace leaves nothing that others add meanwhile"
	mkfifo "$T/app"
	psql -X -q "$PERSISTFS_TEST_POSTGRES" <"$T/app" >/dev/null &
	application=$!
	exec 5>"$T/app"
	echo "SET application_name = 'adds'; BEGIN; DELETE FROM ${S}lines; INSERT INTO ${S}lines VALUES (1, 8);" >&5
	activity() { pg "SELECT count(*) FROM pg_stat_activity WHERE $1"; }
	added() { [ "$(activity "application_name = 'adds' AND state = 'idle in transaction' AND query LIKE 'INSERT%'")" = 1 ]; }
	eventually added
	printf 'o,n\n1,5\n' >"${M}lines/.import/replace/csv" &
	import=$!
	waits() { [ "$(activity "wait_event_type = 'Lock' AND query LIKE '%lines%'")" = 1 ]; }
	eventually waits
	echo "COMMIT;" >&5
	exec 5>&-
	wait "$application" "$import"
	eq "its rows alone" "$(pg "SELECT string_agg(n::text, ' ') FROM ${S}lines")" 5
	pg "DELETE FROM ${S}lines"
fi

say "refusals, and who is told"
before=$(app "SELECT count(*) FROM ${S}users")
printf 'id,name\n40,new\n1,old\n' >"$T/csv"
refused "File exists" cp "$T/csv" "$I/append/csv"
says 'row 2, line 3: .*(UNIQUE|unique)' "$I/append/csv"
has 'users/.import/append/csv.*EEXIST.*row 2, line 3' "$MNT/.persistfs/stores/app/errors"
refused "File exists" sh -c "cat $T/csv > $I/append/csv"
printf 'id,u\n40,1\n41,99\n' >"$T/csv"
refused "resource busy" cp "$T/csv" "${M}orders/.import/append/csv"
says 'row 2, line 3' "${M}orders/.import/append/csv"
printf 'id,name,age\n40,x,1\n41,x,151\n' >"$T/csv"
refused "Invalid argument" cp "$T/csv" "$I/append/csv"
says 'row 2, line 3: .*[Cc]onstraint|row 2, line 3: .*CHECK' "$I/append/csv"
printf 'id,name,nom\n40,x,y\n' >"$T/csv"
refused "error writing.*Invalid argument" cp "$T/csv" "$I/append/csv"
says "line 1: .*users has no column 'nom'; available: id, name, email, age, pic" "$I/append/csv"
printf 'id,name\n40,x\n41,"y' >"$T/csv"
refused "Invalid argument" cp "$T/csv" "$I/append/csv"
says 'cut off' "$I/append/csv"
printf '{"id":40,"name":"x"}\n{"id":41,"name"' >"$T/jsonl"
refused "Invalid argument" cp "$T/jsonl" "$I/append/jsonl"
printf '[{"id":40,"name":"x"},' >"$T/json"
refused "Invalid argument" cp "$T/json" "$I/append/json"
printf '{"id":40,"name":"x\0"}\n' >"$T/jsonl"
refused "Invalid argument|Invalid or incomplete" cp "$T/jsonl" "$I/append/jsonl"
refused "Invalid argument" dd if="$T/jsonl" of="$I/append/jsonl" bs=8 seek=1 conv=notrunc status=none
says 'from its first byte' "$I/append/jsonl"
refused "Invalid argument" truncate -s 5 "$I/append/jsonl"
refused "error|Invalid" sh -c "{ sh -c 'echo id,name; echo 50,x'; sh -c 'echo 51,x'; } >$I/append/csv"
says 'has ended this import' "$I/append/csv"
eq "what the first close had" "$(app "SELECT count(*) FROM ${S}users WHERE id IN (50, 51)")" 1
app "DELETE FROM ${S}users WHERE id IN (40, 50)"
eq "nothing of the others" "$(app "SELECT count(*) FROM ${S}users WHERE id < 40 OR id > 41")" "$before"
app "DELETE FROM ${S}users WHERE id >= 40"

if [ "$engine" = postgres ]; then
	pg "REVOKE INSERT ON ${S}lines FROM CURRENT_USER"
	printf 'o,n\n1,1\n' >"$T/csv"
	refused "Permission denied" cp "$T/csv" "${M}lines/.import/append/csv"
	says 'row 1, line 2: .*permission denied' "${M}lines/.import/append/csv"
fi

say "who writes slowly, and is killed"
mkfifo "$T/fifo"
cat "$T/fifo" >"$I/append/json" &
writer=$!
exec 5>"$T/fifo"
printf '[{"id":60,"name":"slow"},' >&5
app "INSERT INTO ${S}orders VALUES (7, 1, 'meanwhile')" # nothing is locked
kill -KILL "$writer"
wait "$writer" || :
exec 5>&-
for signal in KILL TERM; do
	cat "$T/fifo" >"$I/replace/csv" &
	writer=$!
	exec 5>"$T/fifo"
	printf 'id,name\n62,slow\n63,sl' >&5
	written() { grep -q "^wchar: [1-9]" "/proc/$writer/io"; }
	eventually written
	kill -$signal "$writer"
	wait "$writer" || :
	exec 5>&-
	has 'replace/csv.*ECANCELED.*was killed' "$MNT/.persistfs/stores/app/errors"
done
eq "rows stay when a replace is killed" "$(app "SELECT name FROM ${S}users WHERE id = 1")" alice
echo '{"id":61,"name":"next"}' >"$I/append/jsonl"
eq "nothing of what was cut off" "$(app "SELECT count(*) FROM ${S}users WHERE id IN (60, 61)")" 1

say "many rows"
count=$(amount 20000 200000 200000)
awk -v n="$count" 'BEGIN {
	pad = "0123456789012345678901234567890123456789012345678901234567890123456789"
	for (i = 1; i <= n; i++) printf "{\"id\":%d,\"name\":\"row %d\",\"pad\":\"%s%s%s\"}\n", i, i, pad, pad, pad
}' >"$T/many"
cp "$T/many" "${M}many/.import/append/jsonl"
eq "all rows" "$(app "SELECT count(*) || ' ' || min(length(pad)) FROM ${S}many")" "$count 210"
cmp "$T/many" "${M}many/.export/jsonl"
cp "${M}many/.export/csv" "$T/csv"
sed -i '$s/row/last/' "$T/csv"
cp "$T/csv" "${M}many/.import/upsert/csv"
eq upserted "$(app "SELECT count(*) FROM ${S}many WHERE name LIKE 'last%'")" 1
cmp "$T/csv" "${M}many/.export/csv"
printf '%s,x,y\n' "$count" >>"$T/csv"
refused "File exists" cp "$T/csv" "${M}many/.import/replace/csv"
says "row $((count + 1)), line $((count + 2)):" "${M}many/.import/replace/csv"
eq "as before" "$(app "SELECT count(*) FROM ${S}many")" "$count"
peak=$(daemon_kb VmHWM)
note "$count rows, $(($(stat -c %s "$T/many") >> 20)) MiB: daemon's peak $((peak / 1024)) MiB"
sanitized || [ "$peak" -lt 32768 ] || fail "the daemon needed $((peak / 1024)) MiB"

stop
