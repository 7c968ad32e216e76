#!/bin/bash
# What the engine refuses is told by write(2), for shells do not ask what close says; and what may yet become
# a value is not refused, whichever tool writes it.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tables.sh"

json=TEXT
if [ "$engine" = postgres ]; then
	json=jsonb
	check=
else
	check='CHECK (json_valid(j))'
fi
app "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, age INTEGER CHECK (age < 150),
	born DATE, j $json $check, note TEXT, up TEXT GENERATED ALWAYS AS (upper(email)) STORED)"
app "INSERT INTO users (id, email, age, born, j) VALUES (1, 'a@x', 42, '2020-01-02', '{}'), (2, 'b@x', NULL, NULL, '1')"
app "CREATE TABLE orders (id INTEGER PRIMARY KEY, u INTEGER NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
app "INSERT INTO orders VALUES (1, 1)"

config "$T/persistfs.ini" <<-END
	$(engine_section app)

	[store:app]
	backend = app
	kind = sql
	read_only = no
END
mount_ini "$T/persistfs.ini" "$MNT"
M=$MNT/app/$S
E=$MNT/.persistfs/stores/app/errors

all() { app "SELECT id, email, age, born, j, note FROM ${S}users ORDER BY id"; app "SELECT * FROM ${S}orders"; }
before=$(all)

# unwritten PATTERN FILE TEXT: bash's own echo, which hears of its write only, fails; FILE has what it had.
unwritten()
{
	local had
	had=$(cat "$2")
	refused "$1" bash -c 'echo "$2" >"$1"' bash "$2" "$3"
	eq "what $2 shows" "$(cat "$2")" "$had"
	refused "$1" bash -c 'printf %s "$2" >"$1"' bash "$2" "$3"
	eq "what $2 shows" "$(cat "$2")" "$had"
}

say "echo is told"
unwritten "File exists" "${M}users/2/email" a@x
has '[uU][nN][iI][qQ][uU][eE]' <(getfattr --only-values -n user.persistfs.error "${M}users/2/email")
has "users/2/email	EEXIST	.*[uU][nN][iI][qQ][uU][eE]" "$E"
unwritten "Invalid argument" "${M}users/2/age" 151
has "users/2/age	EINVAL	.*(CHECK|check)" "$E"
unwritten "Invalid argument" "${M}users/2/age" x
unwritten "resource busy" "${M}orders/1/u" 99
has "orders/1/u	EBUSY" "$E"
unwritten "Invalid argument" "${M}users/2.json" '{"agee": 1}'
unwritten "Invalid argument" "${M}users/2.json" 'no object'
unwritten "Invalid argument" "${M}users/2/j" "oops"
printf 'a\377b' >"$T/bytes"
refused "Invalid or incomplete" bash -c 'printf "a\377b" >"$1"' bash "${M}users/2/note"
refused "Invalid argument" bash -c 'echo "{\"age\": 151}" >"$1"' bash "${M}users/3.json"
eventually test ! -e "${M}users/3.json"
[ "$engine" = sqlite ] || unwritten "Invalid argument" "${M}users/2/born" 2020-13-01
eq "nothing has changed" "$(all)" "$before"

say "what is known at close only"
printf '{"u": 99%5000s}' "" >"$T/long"
refused "resource busy" cp "$T/long" "${M}orders/1.json"
eq "what it shows" "$(cat "${M}orders/1/u")" 1
has "orders/1.json	EBUSY	uncommitted data was lost" "$E"
eq "nothing has changed" "$(all)" "$before"

say "the file is failed, not its next"
exec 5>"${M}users/2/email"
refused "File exists" bash -c 'echo a@x >&5'
refused "File exists" bash -c 'echo c@x >&5'
exec 5>&-
eq "nothing has changed" "$(all)" "$before"
echo c@x >"${M}users/2/email"
eq "the next" "$(app "SELECT email FROM ${S}users WHERE id = 2")" c@x
refused "No such attribute" getfattr --only-values -n user.persistfs.error "${M}users/2/email"
refused "File exists" bash -c 'printf "%s" x >>"$1"; echo -n "" >"$1"; printf a@x >>"$1"' bash "${M}users/2/email"
app "UPDATE ${S}users SET email = 'b@x' WHERE id = 2"
eventually grep -q b@x "${M}users/2/email"

say "what comes in parts"
value="{\"a\": \"$(head -c 300000 /dev/zero | tr '\0' x)\", \"b\": [1, {\"c\": \"\\\"}\"}]}"
printf %s "$value" >"$T/value"
printf '{"j": %s, "age": 7}' "$value" >"$T/row"
for size in 1000 4096 131072; do
	dd if="$T/value" of="${M}users/1/j" bs="$size" status=none
	dd if="$T/row" of="${M}users/2.json" bs="$size" status=none
	eq "with $size" "$(app "SELECT count(*) FROM ${S}users WHERE length(j$([ -z "$S" ] || echo ::text)) > 300000")" 2
	app "UPDATE ${S}users SET j = '{}', age = 1"
	eventually grep -q '"age":1,' "${M}users/2.json"
done
cp "$T/value" "${M}users/1/j"
printf '{"j": {"ü": "%s"}, "note": "né\\u20ac"}' é >"$T/row"
dd if="$T/row" of="${M}users/2.json" bs=1 status=none
eq note "$(cat "${M}users/2/note")" "né€"
printf 'né€' >"$T/row"
dd if="$T/row" of="${M}users/2/note" bs=1 status=none
eq note "$(cat "${M}users/2/note")" "né€"
printf 17 >"$T/row"
dd if="$T/row" of="${M}users/2/age" bs=1 status=none
eq age "$(app "SELECT age FROM ${S}users WHERE id = 2")" 17
if [ "$engine" = postgres ]; then
	# A value whose first byte alone is none is to be written at once; nothing is lost by that.
	printf 2021-02-03 >"$T/row"
	refused "Invalid argument" dd if="$T/row" of="${M}users/1/born" bs=1 status=none
	eq born "$(cat "${M}users/1/born")" 2020-01-02
	cp "$T/row" "${M}users/1/born"
	eq born "$(cat "${M}users/1/born")" 2021-02-03
fi
printf '{\n\t"age": 3,\n\t"j": {\n\t}\n}\n' >"${M}users/2.json"
eq age "$(cat "${M}users/2/age")" 3
{ echo '{"age":'; echo '4}'; } >"${M}users/2.json"
eq age "$(cat "${M}users/2/age")" 4
if command -v python3 >/dev/null; then
	python3 - "${M}users/2.json" <<-'END'
		import json, sys
		with open(sys.argv[1], "w") as f:
		    json.dump({"age": 5, "j": {"k": "y" * 20000}, "note": ["z"] * 3}, f, indent=1)
	END
	eq age "$(cat "${M}users/2/age")" 5
	python3 - "${M}users/2/email" <<-'END'
		import errno, sys
		try:
		    with open(sys.argv[1], "w") as f:
		        f.write("a@x")
		except OSError as e:
		    sys.exit(0 if e.errno == errno.EEXIST else e)
		sys.exit("not told")
	END
fi

say "tools that rename"
sed -i s/5/6/ "${M}users/2/age"
eq sed "$(cat "${M}users/2/age")" 6
vim=$(command -v vim || command -v vim.tiny || :)
if [ -n "$vim" ]; then
	"$vim" -es -u NONE -c 'set nocp backup writebackup' -c '%s/b@x/d@x/' -c wq "${M}users/2/email" </dev/null || fail "vim"
	eq vim "$(app "SELECT email FROM ${S}users WHERE id = 2")" d@x
	rm -f "${M}users/2/email~"
fi
echo 8 >"$T/age"
rsync "$T/age" "${M}users/2/age"
eq rsync "$(cat "${M}users/2/age")" 8
refused "Invalid argument" sed -i s/8/800/ "${M}users/2/age"
eq "sed, refused" "$(cat "${M}users/2/age")" 8

say "a column that is computed"
refused "not permitted|ermission denied" bash -c 'echo x >"$1"' bash "${M}users/2/up"

stop
