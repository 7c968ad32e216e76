#!/bin/bash
# O_EXCL, mkdir, rename without replacing, link and symlink are exact across two mounts of a store:
# of many who want a name one gets it.
# every engine
# time limit: 300 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

start_two
rounds=$(amount 100 500 10000)
kinds="create mkdir rename symlink"
touch "$M/probe"
if ln "$M/probe" "$M/probe2" 2>/dev/null; then
	kinds="$kinds link"
fi
rm -f "$M/probe" "$M/probe2"
for kind in $kinds; do
	say "$kind: 8 processes, $rounds rounds"
	"$helpers/race" "$kind" 8 "$rounds" "$M" "$M2"
done
eq "what is left" "$(ls -A "$M")" ""
if ! plain; then
	empty() { [ -z "$(ls -A "$M2")" ]; }
	eventually empty
	stop_two
	check_database
fi
