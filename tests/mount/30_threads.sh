#!/bin/bash
# A backend that does not answer holds its own threads only: other stores, the root and the control
# tree go on as before, callers that wait can be interrupted, and nothing of what waited is lost.
# time limit: 120 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
MNT=$T/mnt
DB=$T/slow.db
mkdir "$MNT"
config "$T/persistfs.ini" <<END
[backend:slow]
type = sqlite
path = $DB
timeout = 60s
retry_timeout = 60s

[backend:free]
type = sqlite
path = $T/free.db

[store:slow]
backend = slow

[store:free]
backend = free
END
mount_ini "$T/persistfs.ini" "$MNT"
# Files that are there: the kernel lets only one create at a time into a directory.
for i in $(seq 40); do
	echo before >"$MNT/slow/f$i"
done
echo before >"$MNT/slow/signalled"

# Another client has the database for itself until its input ends.
mkfifo "$T/in"
sqlite3 -batch -cmd '.timeout 20000' "$DB" <"$T/in" >"$T/locked" &
exec 5>"$T/in"
echo "BEGIN IMMEDIATE; SELECT 'locked';" >&5
eventually grep -q locked "$T/locked"

# The processes wait for an answer of the file system.
all_wait()
{
	local pid
	for pid; do
		[ "$(cat "/proc/$pid/wchan")" = request_wait_answer ] || return 1
	done
} 2>/dev/null

say "40 writers wait for the one that is locked"
declare -a writers late
for i in $(seq 40); do
	bash -c 'exec >"$0"; echo "$1"' "$MNT/slow/f$i" "$i" &
	writers[i]=$!
done
eventually all_wait "${writers[@]}"

# within MS WHAT COMMAND...: it must not take longer. The ceiling is far above what it takes, and far
# below what the others wait.
within()
{
	local ceiling=$1 what=$2 start=${EPOCHREALTIME/[.,]/} took
	shift 2
	"$@" >"$T/within" || fail "$what"
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	[ "$took" -lt "$ceiling" ] || fail "$what took $took ms"
	[ "$took" -le "${worst:-0}" ] || worst=$took
}

say "the other store, the root and the control tree answer"
for i in $(seq 20); do
	within 5000 "create" bash -c "echo $i >'$MNT/free/new$i'"
	within 5000 "read" cat "$MNT/free/new$i"
	within 5000 "list" ls -l "$MNT/free"
	within 5000 "the root" ls -l "$MNT"
	within 5000 "health" cat "$MNT/.persistfs/stores/slow/health" "$MNT/.persistfs/backends/slow/health"
	within 5000 "metrics" cat "$MNT/.persistfs/metrics"
done
within 5000 "8 writers" "$helpers/writers" distinct "$MNT/free" 20
note "beside 40 that waited the slowest took $worst ms"

say "one that waits behind others can be killed; other signals do not matter"
# Those behind the first 10 wait in the daemon.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
	stat -f "$MNT/slow/f$i" >/dev/null &
	late[i]=$!
done
# shellcheck disable=SC2016
perl -e '$SIG{USR1} = sub {}; chmod 0600, $ARGV[0] or die "chmod: $!\n"' "$MNT/slow/signalled" &
late[16]=$!
eventually all_wait "${late[@]}"
kill -USR1 "${late[16]}"
kill -KILL "${late[15]}"
ended() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
eventually ended "${late[15]}"

say "unlocked: what waited is done"
echo "ROLLBACK;" >&5
exec 5>&-
failures=0
for i in $(seq 40); do
	wait "${writers[i]}" || failures=$((failures + 1))
done
for i in $(seq 14) 16; do
	wait "${late[i]}" || failures=$((failures + 1))
done
eq "failures" "$failures" 0
eq "mode of the one that was signalled" "$(stat -c %a "$MNT/slow/signalled")" 600
for i in $(seq 40); do
	eq "content of f$i" "$(cat "$MNT/slow/f$i")" "$i"
done
stop
check_database
check_database "$T/free.db"

say "the daemon ends while others wait, and answers them"
mount_ini "$T/persistfs.ini" "$MNT"
stat "$MNT/slow/"* >/dev/null # an open of a name that is not known locks its directory
mkfifo "$T/in2"
sqlite3 -batch -cmd '.timeout 20000' "$DB" <"$T/in2" >"$T/locked2" &
exec 5>"$T/in2"
echo "BEGIN IMMEDIATE; SELECT 'locked';" >&5
eventually grep -q locked "$T/locked2"
writers=()
for i in $(seq 20); do
	bash -c 'exec >"$0"; echo "$1"' "$MNT/slow/f$i" "$i" &
	writers[i]=$!
done
eventually all_wait "${writers[@]}"
pid=$(daemon_pid "$MNT")
kill -TERM "$pid"
echo "ROLLBACK;" >&5
exec 5>&-
wait_gone "$pid"
for i in $(seq 20); do
	wait "${writers[i]}" || :
done
check_database
