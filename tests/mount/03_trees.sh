#!/bin/bash
# Real trees: copied in, compared, and compared again after a remount.
# time limit: 400 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start

# At most N files of a tree, as a list of paths below it.
some_files()
{
	(cd "$1" && find . -type f -size -2000k -print0 | LC_ALL=C sort -z) |
		head -z -n "$2" || :
}

count=$(amount 300 3000 1000000)
for tree in /usr/share/doc /usr/include; do
	name=${tree##*/}
	mkdir -p "$T/$name" "$M/$name"
	some_files "$tree" "$count" >"$T/list"
	say "$tree: $(tr -cd '\0' <"$T/list" | wc -c) files"
	tar -C "$tree" --null -T "$T/list" -cf - | tar -C "$T/$name" -xf -
	cp -a "$T/$name/." "$M/$name/"
	diff -r "$T/$name" "$M/$name"
done

describe()
{
	(cd "$1" && find . -printf '%P|%y|%m|%T@|%l|' \( -type d -printf '\n' -o -printf '%s\n' \)) |
		LC_ALL=C sort
}

remount
for name in doc include; do
	say "$name after a remount"
	diff -r "$T/$name" "$M/$name"
	describe "$T/$name" >"$T/wanted"
	describe "$M/$name" >"$T/got"
	diff "$T/wanted" "$T/got" || fail "cp -a keeps modes, times and links"
done

say "grep, find and du agree"
eq "grep -r" "$(cd "$M/include" && grep -r -l define . | LC_ALL=C sort | cksum)" \
	"$(cd "$T/include" && grep -r -l define . | LC_ALL=C sort | cksum)"
eq "find" "$(find "$M/include" -name '*.h' | wc -l)" "$(find "$T/include" -name '*.h' | wc -l)"

say "cp -r within the mount, then rm -r"
cp -r "$M/include" "$M/second"
diff -r "$M/include" "$M/second"
rm -r "$M/second"
[ ! -e "$M/second" ] || fail "rm -r left something"
stop
check_database
