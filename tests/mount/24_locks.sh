#!/bin/bash
# flock and fcntl locks hold within a mount and across two of the same store; they end with their
# process, and with their mount.
# every engine
# time limit: 240 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

need_mount
locks=$helpers/locks
BACKEND_LINES="lock_timeout = 4s"
start_two
times=$(amount 100 500 5000)

# hold NAME KIND MODE FILE: in the background, has it until `let_go NAME`.
declare -A holder_in holder_pid
hold()
{
	local name=$1 out=$T/holder.$1
	shift
	rm -f "$out"
	mkfifo "$T/in.$name"
	"$locks" "$@" <"$T/in.$name" >"$out" 2>&1 &
	holder_pid[$name]=$!
	exec {fd}>"$T/in.$name"
	holder_in[$name]=$fd
	eventually grep -q locked "$out"
}
let_go()
{
	local fd=${holder_in[$1]}
	echo q >&"$fd"
	exec {fd}>&-
	wait "${holder_pid[$1]}" || fail "holder $1: $(cat "$T/holder.$1")"
	rm "$T/in.$1"
}

say "what fcntl(2) and flock(2) promise, in one mount and in two"
"$locks" rules "$M/rules" "$M/rules"
"$locks" rules "$M/rules" "$M2/rules"
"$locks" rules "$M2/rules" "$M/rules"
"$locks" deadlock "$M/one" "$M/two"

for kind in flock fcntl; do
	say "$kind: 4 processes on 2 mounts count to $((4 * times))"
	flock "$M/counter" sh -c "echo 0 >'$M/counter'"
	"$locks" count $kind "$times" "$M/counter" "$M2/counter" "$M/counter" "$M2/counter"
	eq "the counter" "$(flock "$M/counter" cat "$M/counter")" $((4 * times))
	eq "the counter there" "$(flock "$M2/counter" cat "$M2/counter")" $((4 * times))

	say "$kind: tried elsewhere"
	hold a hold $kind ex "$M/tried"
	eq "exclusive" "$("$locks" try $kind sh "$M2/tried")" busy
	let_go a
	eq "unlocked" "$("$locks" try $kind ex "$M2/tried")" free
	hold a hold $kind sh "$M/tried"
	eq "shared" "$("$locks" try $kind sh "$M2/tried")" free
	eq "shared, wanted exclusive" "$("$locks" try $kind ex "$M2/tried")" busy

	say "$kind: a lock that waits can be interrupted, and is had when the other one goes"
	eq "interrupted" "$("$locks" interrupt $kind "$M2/tried")" interrupted
	"$locks" count $kind 1 "$M2/tried" &
	waiter=$!
	let_go a
	wait "$waiter" || fail "the one that waited"

	say "$kind: a process that is killed has no locks"
	hold a hold $kind ex "$M/killed"
	eq "while it lives" "$("$locks" try $kind ex "$M2/killed")" busy
	kill -9 "${holder_pid[a]}"
	wait "${holder_pid[a]}" 2>/dev/null || true
	free_there() { [ "$("$locks" try $kind ex "$M2/killed")" = free ]; }
	eventually free_there
	rm "$T/in.a"
done

say "a lock on an unlocked file is not in the way, however often the other mount had it"
for i in $(seq 50); do
	eq "try $i here" "$("$locks" try flock ex "$M/mine")" free
	eq "try $i there" "$("$locks" try fcntl ex "$M2/mine")" free
done

say "F_GETLK tells"
hold a hold fcntl ex "$M/getlk"
eq "here" "$("$locks" getlk sh "$M/getlk")" "ex 0 0 here"
eq "there" "$("$locks" getlk sh "$M2/getlk")" "ex 0 0 elsewhere"
let_go a
eq "free here" "$("$locks" getlk ex "$M/getlk")" free
eq "free there" "$("$locks" getlk ex "$M2/getlk")" free

say "flock(1), and what is written under a lock is there for the next"
for i in $(seq "$(amount 20 50 500)"); do
	flock "$M/text" sh -c "echo first $i >'$M/text.value'"
	eq "read there" "$(flock "$M2/text" cat "$M2/text.value")" "first $i"
	flock "$M2/text" sh -c "echo second $i >>'$M2/text.value'"
	eq "read here" "$(flock "$M/text" cat "$M/text.value")" "first $i
second $i"
done

say "a mount that is killed loses its locks"
hold a hold flock ex "$M2/dead"
eq "while it lives" "$("$locks" try flock ex "$M/dead")" busy
pid=$(daemon_pid "$MNT2")
kill -9 "$pid"
wait_gone "$pid"
before=$SECONDS
flock -w 15 "$M/dead" true || fail "still locked $((SECONDS - before)) s after its mount was killed"
kill "${holder_pid[a]}"
wait "${holder_pid[a]}" 2>/dev/null || true
rm "$T/in.a"
"$persistfs" umount "$MNT2"
mount_ini "$T/persistfs.ini" "$MNT2"

say "a mount that slept for too long cannot write under a lock that it lost"
hold a write old "$M2/slept"
echo >&"${holder_in[a]}"
eventually grep -q written "$T/holder.a"
pid=$(daemon_pid "$MNT2")
kill -STOP "$pid"
flock -w 20 "$M/other" true
"$locks" count fcntl 1 "$M/slept"
echo new >"$M/slept.value"
printf 'new' | dd of="$M/slept" conv=notrunc status=none
kill -CONT "$pid"
echo >&"${holder_in[a]}"
echo q >&"${holder_in[a]}"
wait "${holder_pid[a]}"
has 'Input/output error' "$T/holder.a"
eq "what the one wrote who had the lock" "$(head -c 3 "$M/slept")" new
eq "the same there" "$(head -c 3 "$M2/slept")" new
"$locks" count flock 3 "$M/counter" "$M2/counter"
stop_two
check_database
