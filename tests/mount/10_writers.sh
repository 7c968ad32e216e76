#!/bin/bash
# Many writers at once: 500 to files of their own, 8 appending to one.
# time limit: 240 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start
mkdir "$M/many"
say "500 concurrent writers"
"$helpers/writers" distinct "$M/many" "$(amount 100 500 2000)"
say "8 appenders"
lines=$(amount 100 500 10000)
"$helpers/writers" append "$M/log" 8 "$lines"
cksum "$M/log" "$M"/many/* | sed "s|$M||" >"$T/before"
remount
cksum "$M/log" "$M"/many/* | sed "s|$M||" >"$T/after"
diff "$T/before" "$T/after"
eq "records" "$(wc -l <"$M/log")" $((8 * lines))

say "8 shells appending with >>"
for who in 1 2 3 4 5 6 7 8; do
	(for i in $(seq 25); do echo "$who $i" >>"$M/shells"; done) &
	shells[who]=$!
done
for who in 1 2 3 4 5 6 7 8; do
	wait "${shells[who]}"
done
eq "lines" "$(wc -l <"$M/shells")" 200
eq "distinct lines" "$(sort -u "$M/shells" | wc -l)" 200
stop
check_database
