#!/bin/bash
# marimo's cache in Redis: pickles as strings, called NAME/KIND_HASH.pickle, that never expire, by its preset.
# time limit: 60 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
[ "$engine" = redis ] || exit 0
. "$here/apps.sh"

cache() { app marimo "$@"; }

place b
place a
for ((i = 0; i < 256; i++)); do printf "\\x$(printf %02x "$i")"; done >"$T/bytes"
head -c 300000 /dev/urandom >"$T/large"
cache put slow_sum/E_0aF-_9.pickle "@$T/bytes"
cache put slow_sum/C_17.json '{"hash": "17", "defs": {"x": "marimo"}}'
cache put slow_sum/P_large.pickle "@$T/large"
cache put 'my cell: ü/X_1.pickle' x
cache put 'Lib.f/E_%2F.pickle' ''
cache put lone.pickle alone
# What nobody but its key tells from a directory, and a name like that of a stream.
cache put slow_sum itself
cache put logs/E_1.jsonl '{"a": 1}'
remember
mounted "[store:cache]" "backend = a" "layout = native" "preset = marimo" "read_only = no" \
	"[store:back]" "backend = b" "layout = native" "preset = marimo" "read_only = no"
M=$MNT/cache

say "looking"
eq names "$(cd "$M" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" \
	"./Lib.f/E_%252F.pickle ./logs/E_1.jsonl ./lone.pickle ./my cell: ü/X_1.pickle ./slow_sum/%VALUE ./slow_sum/C_17.json ./slow_sum/E_0aF-_9.pickle ./slow_sum/P_large.pickle "
same "$M/slow_sum/E_0aF-_9.pickle" marimo get slow_sum/E_0aF-_9.pickle
same "$M/slow_sum/P_large.pickle" marimo get slow_sum/P_large.pickle
same "$M/my cell: ü/X_1.pickle" marimo get 'my cell: ü/X_1.pickle'
same "$M/Lib.f/E_%252F.pickle" marimo get Lib.f/E_%2F.pickle
same "$M/slow_sum/%VALUE" marimo get slow_sum
same "$M/logs/E_1.jsonl" marimo get logs/E_1.jsonl
eq "grep -r" "$(cd "$M" && grep -r -l -a marimo .)" ./slow_sum/C_17.json
look_around "$M"
look_around "$MNT/back"
unchanged looking

say "written by either"
cp "$T/large" "$M/slow_sum/E_0aF-_9.pickle"
cache get slow_sum/E_0aF-_9.pickle | cmp - "$T/large"
sed -i s/17/18/ "$M/slow_sum/C_17.json"
eq "sed -i" "$(cache get slow_sum/C_17.json)" '{"hash": "18", "defs": {"x": "marimo"}}'
vi=$(command -v vim || command -v vim.tiny)
"$vi" -es -u NONE -c '%s/18/19/' -c 'set noeol nofixeol' -c wq "$M/slow_sum/C_17.json" </dev/null
eq "vim" "$(cache get slow_sum/C_17.json)" '{"hash": "19", "defs": {"x": "marimo"}}'
# A directory that is made here holds keys, and is no hash.
mkdir "$M/fresh"
cp "$T/bytes" "$M/fresh/E_2.pickle"
cache get fresh/E_2.pickle | cmp - "$T/bytes"
# What a program does that replaces a file.
cp "$T/large" "$M/fresh/new.tmp"
mv "$M/fresh/new.tmp" "$M/fresh/E_2.pickle"
cache get fresh/E_2.pickle | cmp - "$T/large"
eq "one key" "$(rcli KEYS 'fresh*')" fresh/E_2.pickle
find "$M" -newer "$T" >/dev/null
touch -d "@$EPOCHREALTIME" "$T/mark"
cache put slow_sum/E_3.pickle made
cache put lone.pickle changed
are_newer() { [ "$(newer "$T/mark" "$M" | tr '\n' ' ')" = "./lone.pickle ./slow_sum/E_3.pickle " ]; }
eventually are_newer
same "$M/lone.pickle" marimo get lone.pickle
cache clear slow_sum/E_3.pickle
eventually gone "$M/slow_sum/E_3.pickle"
rm -r "$M/slow_sum"
eq "cleared" "$(cache list | grep -c slow || :)" 0

say "out, and into an empty one"
out_and_back cache back redis_content
stop
