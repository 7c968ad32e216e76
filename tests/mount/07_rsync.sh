#!/bin/bash
# rsync -a twice: the second run has nothing to do, also after a remount.
# time limit: 120 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_command rsync
start
mkdir -p "$T/tree/sub/empty"
(cd /usr/include && find . -type f -size -200k | LC_ALL=C sort | head -n "$(amount 60 400 4000)" || :) \
	>"$T/list"
tar -C /usr/include -T "$T/list" -cf - | tar -C "$T/tree" -xf -
ln -s sub/none "$T/tree/dangling"
echo x >"$T/tree/one"
if offers hard_links; then
	ln "$T/tree/one" "$T/tree/sub/two"
fi
chmod 600 "$T/tree/one"
chmod 2750 "$T/tree/sub"
touch -d '2001-02-03 04:05:06.789012345' "$T/tree/sub/empty" "$T/tree/one"

# Everything rsync would still do; nothing, we hope.
again() { rsync -aHX --itemize-changes "$@" "$T/tree/" "$M/tree/"; }

say "first run"
rsync -aHX "$T/tree/" "$M/tree/"
diff -r --no-dereference "$T/tree" "$M/tree"
say "second run"
eq "second run" "$(again)" ""
eq "second run by checksum" "$(again --checksum)" ""
remount
eq "after a remount" "$(again)" ""

say "a change, a new file and a removed one"
echo changed >>"$T/tree/one"
echo new >"$T/tree/new"
rm "$T/tree/dangling"
rsync -aHX --delete "$T/tree/" "$M/tree/"
diff -r --no-dereference "$T/tree" "$M/tree"
! offers hard_links || eq "hard links are kept" "$(stat -c %h "$M/tree/sub/two")" 2
eq "nothing left to do" "$(again --delete)" ""

say "out again, in place and with partial files"
rsync -aHX "$M/tree/" "$T/back/"
diff -r --no-dereference "$T/tree" "$T/back"
head -c 700000 /dev/urandom >"$T/tree/big"
rsync -a --inplace "$T/tree/" "$M/tree/"
printf X | dd of="$T/tree/big" bs=1 seek=350000 conv=notrunc status=none
rsync -a --ignore-times --inplace --no-whole-file "$T/tree/" "$M/tree/"
cmp "$T/tree/big" "$M/tree/big"
stop
check_database
