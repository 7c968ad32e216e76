#!/bin/bash
# The first minutes: write, read, list, remove, and all of it again after a remount.
# time limit: 60 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start

say "files and directories"
echo "hello" >"$M/hello.txt"
eq "what was written is read" "$(cat "$M/hello.txt")" hello
mkdir -p "$M/work/deep"
printf 'no newline' >"$M/work/deep/raw"
cp "$M/hello.txt" "$M/work/copy"
mv "$M/work/copy" "$M/work/moved"
ln -s moved "$M/work/link"
: >"$M/empty"
eq "the listing" "$(cd "$M" && find . | LC_ALL=C sort | tr '\n' ' ')" \
	". ./empty ./hello.txt ./work ./work/deep ./work/deep/raw ./work/link ./work/moved "
grep -r -q hello "$M" || fail "grep finds nothing"
head -c 3000000 /dev/urandom >"$T/random"
cp "$T/random" "$M/random"
cmp "$T/random" "$M/random"

say "shells write in many ways"
{ sleep 0.1; echo late; } >"$M/hello.txt"
eq "a write after two flushes" "$(cat "$M/hello.txt")" late
{ printf 'b\na\n' | sort; } >"$M/hello.txt"
eq "a pipeline's output" "$(tr '\n' ' ' <"$M/hello.txt")" "a b "
echo more >>"$M/hello.txt"
eq "appended" "$(tr '\n' ' ' <"$M/hello.txt")" "a b more "
exec 5<>"$M/both"
echo written >&5
eq "read while open for writing" "$(cat "$M/both")" written
exec 5>&-
: >"$M/hello.txt"
eq "emptied" "$(stat -c %s "$M/hello.txt")" 0

say "again after a remount"
find "$M" -printf '%P %y %m %s %T@ %l\n' | LC_ALL=C sort >"$T/before"
remount
find "$M" -printf '%P %y %m %s %T@ %l\n' | LC_ALL=C sort >"$T/after"
diff "$T/before" "$T/after"
cmp "$T/random" "$M/random"

rm -r "$M/work" "$M/random"
[ ! -e "$M/work" ] || fail "removed, and still there"
stop
check_database
