#!/bin/bash
# What one mount changes the other sees soon, by stat, ls and cat, though its kernel had it cached.
# every engine
# time limit: 300 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/two.sh"
begin

start_two
mkdir "$M/plain"
seen() { [ -d "$M2/plain" ]; }
eventually seen
"$helpers/agree" -l 1000 "$(amount 5 20 500)" "$M/plain" "$M2/plain" | tee "$T/latency"
note "median and worst of all kinds (ms): $(awk 'NR > 1 {
	if ($(NF - 2) > median) median = $(NF - 2); if ($NF > worst) worst = $NF
} END { print median ", " worst }' "$T/latency")"
if plain; then exit 0; fi
stop_two
check_database
