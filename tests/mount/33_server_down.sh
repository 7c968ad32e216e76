#!/bin/bash
# The server is away for longer than retry_timeout: EHOSTDOWN, never a hang; the others go on; it comes
# back by itself. connect = lazy mounts without it, eager refuses.
# time limit: 200 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
BACKEND_LINES=$'timeout = 1s\nretry_timeout = 3s'
start_beside
echo one >"$M/file"
mkdir "$M/dir"
head -c 300000 /dev/zero >"$T/big"
for i in $(seq 100); do
	cp "$T/big" "$M/dir/big$i"
done
head -c 3000000 /dev/urandom >"$T/cold"
cp "$T/cold" "$MNT/other/cold"

# What the kernel has of the files' content goes.
uncache()
{
	local file
	for file; do
		dd if="$file" iflag=nocache count=0 status=none
	done
}

down_text='Host is down|No route'

# Nobody hangs: 3 s to try, 1 s for the last attempt, the rest for a slow machine.
fails_in_time()
{
	local what=$1 status=0
	shift
	timed "$@" || status=$?
	[ "$status" != 0 ] || fail "$what: not refused"
	grep -q -E "$down_text" "$T/within" || fail "$what: $(cat "$T/within")"
	[ "$took" -lt 15000 ] || fail "$what took $took ms to fail"
}

for fault in kill pause; do
	say "$fault"
	echo "before $fault" >"$M/late"
	uncache "$M"/dir/big*
	rm -f "$T/go"
	"$helpers/readers" "$T/go" "$M"/dir/big* >"$T/readers" &
	readers=$!
	eventually grep -q opened "$T/readers"
	server_ctl $fault
	: >"$T/go"
	# The server may get this one and act on it when it goes on.
	echo "late $fault" >"$T/late"
	cp "$T/late" "$M/late" 2>/dev/null & # a shell's echo would not tell that close failed
	late=$!
	uncache "$MNT/other/cold"
	within 2500 "a cold read beside 100 that wait" cmp "$T/cold" "$MNT/other/cold"
	fails_in_time "write" bash -c "echo two >'$M/new'"
	note "$fault: the first write failed after $took ms"
	eventually unhealthy
	others_answer
	# Known to be down: at once.
	worst=0
	for i in 1 2 3 4 5; do
		fails_in_time "write $i" bash -c "echo two >'$M/new$i'"
		[ "$took" -lt "$worst" ] || worst=$took
	done
	note "$fault: known to be down, the slowest of 5 writes failed after $worst ms"
	[ "$worst" -lt 2000 ] || fail "known to be down, and still $worst ms"
	fails_in_time "mkdir" mkdir "$M/dir/sub"
	fails_in_time "a read of what is not cached" cat "$M/dir/none"
	others_answer

	say "40 callers that wait do not keep others waiting"
	callers=()
	for i in $(seq 40); do
		cat "$M/dir/none$i" >/dev/null 2>&1 &
		callers+=($!)
	done
	others_answer
	within 2500 "ls -l of the root" ls -l "$MNT"
	for i in "${callers[@]}"; do wait "$i" || :; done
	wait "$readers"
	! wait "$late" || fail "the write in the middle: not refused"

	say "back"
	case $fault in
	kill) server_ctl start ;;
	pause) server_ctl resume ;;
	esac
	back=${EPOCHREALTIME/[.,]/}
	end=$((SECONDS + 20))
	until healthy; do
		[ "$SECONDS" -lt "$end" ] || fail "not healthy after 20 s"
		sleep 0.01
	done
	note "$fault: healthy $(((${EPOCHREALTIME/[.,]/} - back) / 1000)) ms after the server's return, without traffic"
	echo "new $fault" >"$M/late"
	eq "what was there is there" "$(cat "$M/file")" one
	for i in 1 2 3 4 5; do
		[ ! -e "$M/new$i" ] || [ ! -s "$M/new$i" ] || fail "a write that failed is there: new$i"
	done
	eq "not the late one" "$(cat "$M/late")" "new $fault"
	eq "nor in the database" "$(stored_value '' late)" "new $fault"
	echo "after $fault" >"$M/after"
	eq "a change" "$(cat "$M/after")" "after $fault"
	rm -f "$M/after" "$M"/new*
done
stop

say "eager refuses, lazy mounts"
server_ctl kill
status=0
timed "$persistfs" mount -c "$T/persistfs.ini" "$MNT" || status=$?
eq "exit status of eager" "$status" 69
note "eager: refused after $took ms"
[ "$took" -lt 10000 ] || fail "it took $took ms"
! mountpoint -q "$MNT" || fail "mounted all the same"
sed -i 's/^\[backend:local\]/&\nconnect = lazy/' "$T/persistfs.ini"
within 10000 "lazy" "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
note "lazy: mounted in $took ms"
others_answer
within 10000 "ls -l of the root" ls -l "$MNT"
fails_in_time "a store without its server" cat "$M/file"
eventually unhealthy
server_ctl start
works() { [ "$(cat "$M/file")" = one ]; } 2>/dev/null
eventually works
eventually healthy
stop
