#!/bin/bash
# One file used through two mounts: appends, removed while open, replaced, and a mount that dies.
# every engine
# time limit: 240 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

start_two
say "8 appenders on two mounts, read on both meanwhile"
for i in $(seq "$(amount 2 4 20)"); do
	"$helpers/writers" append "$M/log.$i" 8 "$(amount 50 200 2000)" "$M2/log.$i"
	rm "$M/log.$i"
done


say "8 appenders here, read there"
for i in $(seq "$(amount 2 4 20)"); do
	"$helpers/writers" append "$M/far.$i" 8 "$(amount 50 200 2000)" - "$M2/far.$i"
	rm "$M/far.$i"
done
if plain; then exit 0; fi

gone() { ! [ -e "$1" ]; }
holds() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

say "a file that is removed elsewhere stays readable while it is open"
printf 'still here' >"$M/open"
eventually holds "$M2/open" 'still here'
exec 7<"$M2/open" 8<>"$M2/open"
rm "$M/open"
eventually gone "$M2/open"
printf 'new' >"$M/open"
eq "the old one by its descriptor" "$(cat /proc/$$/fd/7)" 'still here'
printf 'STILL' >&8
eq "written to after the removal" "$(cat <&7)" 'STILL here'
eventually holds "$M2/open" new
exec 7<&- 8>&-
eq "the new one" "$(cat "$M2/open")" new

say "a file that is replaced by rename elsewhere: old by descriptor, new by name"
printf 'first' >"$M/replaced"
eventually holds "$M2/replaced" first
exec 7<"$M2/replaced"
printf 'second' >"$M/temporary"
mv "$M/temporary" "$M/replaced"
eventually holds "$M2/replaced" second
eq "by descriptor" "$(cat <&7)" first
exec 7<&-

if offers expiry && command -v setfattr >/dev/null; then
	say "a file that expires is gone on both mounts, and shows nothing where it is open"
	ttl() { getfattr --only-values -n user.persistfs.ttl "$1"; }
	printf 'for a while' >"$M/expires"
	eventually holds "$M2/expires" 'for a while'
	setfattr -n user.persistfs.ttl -v 1h "$M/expires"
	told() { ttl "$M2/expires" 2>/dev/null | grep -q '^3[56]'; }
	eventually told
	setfattr -n user.persistfs.ttl -v 1.5 "$M/expires"
	exec 7<"$M2/expires" 8<"$M/expires"
	eq "while it lives" "$(cat "$M2/expires")" 'for a while'
	eventually gone "$M/expires"
	eventually gone "$M2/expires"
	refused 'Stale|No such' cat <&7
	refused 'Stale|No such' cat <&8
	exec 7<&- 8<&-
	unlisted() { ! ls "$M" "$M2" | grep -q -x expires; }
	eventually unlisted
	printf 'another' >"$M/expires"
	eventually holds "$M2/expires" another
	refused 'No such attribute' ttl "$M/expires"
elif ! offers expiry && command -v setfattr >/dev/null; then
	touch "$M/expires"
	refused 'not supported' setfattr -n user.persistfs.ttl -v 1h "$M/expires"
fi

say "a mount that dies leaves nothing behind after the next start"
exec 7>"$M2/dying"
printf 'uncommitted' >&7
printf 'removed' >"$M2/removed"
exec 8<"$M2/removed"
rm "$M2/removed"
mkdir "$M2/directory"
flock "$M2/directory" true
flock "$M2/open" true
head -c 9000000 /dev/zero >"$M2/large" # staged while it is written
pid=$(daemon_pid "$MNT2")
kill -9 "$pid"
wait_gone "$pid"
exec 7>&- 8>&- || true
"$persistfs" umount "$MNT2"
stop
mount_ini "$T/persistfs.ini" "$MNT"
eq "what was closed" "$(stat -c %s "$M/large")" 9000000
eventually gone "$M/removed"
stop
check_database
