#!/bin/bash
# What a user may do with tables and columns shows as mode bits, and holds for root too, whom the kernel asks
# nothing.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tables.sh"
chmod 755 "$T"

app "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, pass TEXT,
	up TEXT GENERATED ALWAYS AS (upper(name)) STORED)"
app "INSERT INTO users (id, name, pass) VALUES (1, 'alice', 'secret'), (2, 'bob', 'hidden')"
app "CREATE TABLE log (id INTEGER PRIMARY KEY, line TEXT)"
app "INSERT INTO log VALUES (1, 'first')"
app "CREATE VIEW names AS SELECT name FROM users"

config "$T/persistfs.ini" <<-END
	$(engine_section app)

	[store:app]
	backend = app
	kind = sql
	read_only = no
	file_mode = 0666
	dir_mode = 0777
END
MOUNT_OPTIONS=$([ "$(id -u)" != 0 ] || echo allow_other) mount_ini "$T/persistfs.ini" "$MNT"
M=$MNT/app/$S

mode() { stat -c %a "$1"; }
# modes WANTED PATH...
modes()
{
	local wanted=$1 path
	shift
	for path; do
		eq "mode of $path" "$(mode "$path")" "$wanted"
	done
}

say "what can be written, and what not"
modes 777 "${M}users" "${M}users/1" "${M}users/.by/id/1" "$MNT/app"
modes 666 "${M}users/1/name" "${M}users/1/pass" "${M}users/1.json"
modes 444 "${M}users/1/up" "${M}users/1.csv" "${M}users/.count" "${M}names/1/name" "${M}names/1.json"
modes 555 "${M}names" "${M}names/1"
eq "ls -l" "$(stat -c '%A %n' "${M}users/1"/* | sed 's|/.*/||' | tr '\n' ' ')" \
	"-rw-rw-rw- id -rw-rw-rw- name -rw-rw-rw- pass -r--r--r-- up "

# As a user whom the kernel asks.
ordinary() { setpriv --reuid=65534 --regid=65534 --clear-groups -- bash -c "$@"; }
if [ "$(id -u)" = 0 ]; then
	refused "ermission denied" ordinary 'echo x >"$1"' bash "${M}users/1/up"
	refused "ermission denied" ordinary 'mkdir "$1"' bash "${M}names/9"
fi

if [ "$engine" = sqlite ]; then
	stop
	say "a file that cannot be written"
	if [ "$(id -u)" = 0 ]; then
		mkdir "$T/ro"
		mount --bind -o ro "$T" "$T/ro" 2>/dev/null || skip "the rest: cannot bind"
		mount -o remount,bind,ro "$T/ro"
		sed -i "s|^path = .*|path = $T/ro/app.db|" "$T/persistfs.ini"
	else
		chmod 444 "$DB"
	fi
	mount_ini "$T/persistfs.ini" "$MNT" | tee "$T/said"
	has "app/ is another application's data on 'app', read-only: the file .*app.db" "$T/said"
	eq read "$(cat "${M}users/1/name")" alice
	refused "Read-only" bash -c 'echo x >"$1"' bash "${M}users/1/name"
	has "^read-only: .*app.db" "$MNT/.persistfs/stores/app/health"
	modes 444 "${M}users/1/name"
	modes 555 "${M}users"
	stop
	[ "$(id -u)" != 0 ] || umount "$T/ro"
	exit
fi

say "privileges"
pg "REVOKE ALL ON ${S}users, ${S}log FROM CURRENT_USER;
	GRANT SELECT (id, name, up), UPDATE (name, pass) ON ${S}users TO CURRENT_USER;
	GRANT SELECT, INSERT ON ${S}log TO CURRENT_USER"
# A schema that has changed is noticed within a second, and the kernel is told within another.
changed() { [ "$(mode "${M}users/1/pass")" = 222 ]; }
eventually changed
modes 222 "${M}users/1/pass"
modes 444 "${M}users/1/id"
modes 666 "${M}users/1/name" "${M}users/1.json"
modes 555 "${M}users"
modes 777 "${M}users/1" "${M}log" "${M}log/1"
modes 444 "${M}log/1/line"
eq "all columns" "$(ls "${M}users/1" | tr '\n' ' ')" "id name pass up "
eq "what may be read" "$(cat "${M}users/1.json")" '{"id":1,"name":"alice","up":"ALICE"}'
eq "in an export" "$(cat "${M}users/.export/csv" | head -n 1)" id,name,up
has "column: pass text, may not be read" "${M}users/.info"
refused "ermission denied" cat "${M}users/1/pass"
refused "ermission denied" cat "${M}users/.columns/pass/.export/csv"
refused "ermission denied" ls "${M}users/.where/pass/eq/secret"
printf %s new >"${M}users/1/pass"
echo '{"pass": "newer", "name": "carol"}' >"${M}users/2.json"
refused "ermission denied" bash -c 'echo x >>"$1"' bash "${M}users/1/pass"
refused "ermission denied" rmdir "${M}users/1"
refused "ermission denied" mkdir "${M}users/3"
refused "ermission denied" bash -c 'echo "{\"name\": \"x\"}" >"$1"' bash "${M}users/3.json"
refused "ermission denied" bash -c 'echo x >"$1"' bash "${M}log/1/line"
has "log/1/line	EACCES	.*permission denied" "$MNT/.persistfs/stores/app/errors"
refused "ermission denied" rmdir "${M}log/1"
echo '{"line": "second"}' >"${M}log/2.json"
pg "GRANT ALL ON ${S}users, ${S}log TO CURRENT_USER"
eq "what was written" "$(pg "SELECT string_agg(name || pass, ' ' ORDER BY id) FROM ${S}users")" "alicenew carolnewer"
eq "and in the log" "$(pg "SELECT string_agg(line, ' ' ORDER BY id) FROM ${S}log")" "first second"
stop

say "a user who may only read"
sed -i "s/^url = .*/& options='-c default_transaction_read_only=on'/" "$T/persistfs.ini"
mount_ini "$T/persistfs.ini" "$MNT" | tee "$T/said"
has "app/ is another application's data on 'app', read-only: the server" "$T/said"
has "read-only: the server lets this user only read" "$MNT/.persistfs/stores/app/health"
refused "Read-only" bash -c 'echo x >"$1"' bash "${M}users/1/name"
stop
