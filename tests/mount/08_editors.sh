#!/bin/bash
# How editors save: a temporary file renamed over the old one, backups, swap files.
# time limit: 60 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

start
printf 'one\ntwo\nthree\n' >"$M/text"
chmod 640 "$M/text"

say "write a temporary file, rename it over"
for i in 1 2 3 4 5 6 7 8 9 10; do
	printf 'version %d\n' "$i" >"$M/.text.tmp$i"
	sync -d "$M/.text.tmp$i"
	mv "$M/.text.tmp$i" "$M/text"
	eq "saved" "$(cat "$M/text")" "version $i"
done
eq "nothing else stays" "$(ls -A "$M")" text

say "a reader never sees half a save"
(
	for i in $(seq 200); do
		printf '%0100d\n' "$i" >"$M/.save"
		mv "$M/.save" "$M/saved"
	done
) &
writer=$!
while kill -0 "$writer" 2>/dev/null; do
	if [ -e "$M/saved" ]; then
		size=$(wc -c <"$M/saved")
		[ "$size" = 101 ] || fail "a reader saw $size bytes"
	fi
done
wait "$writer"

say "rename the old away as a backup, then write anew"
mv "$M/text" "$M/text~"
echo fresh >"$M/text"
eq "new" "$(cat "$M/text")" fresh
eq "backup" "$(cat "$M/text~")" "version 10"

say "sed -i"
printf 'one\ntwo\nthree\n' >"$M/text"
chmod 640 "$M/text"
sed -i 's/two/2/' "$M/text"
eq "sed -i" "$(tr '\n' ' ' <"$M/text")" "one 2 three "
eq "sed -i keeps the mode" "$(stat -c %a "$M/text")" 640
sed -i.bak 's/one/1/' "$M/text"
eq "sed -i.bak" "$(cat "$M/text.bak" "$M/text" | tr '\n' ' ')" "one 2 three 1 2 three "

vim=$(command -v vim || command -v vim.tiny || :)
if [ -n "$vim" ]; then
	say "$vim"
	for style in 'set backupcopy=no' 'set backupcopy=yes' 'set backup'; do
		printf 'alpha\nbeta\n' >"$M/edited"
		TERM=dumb "$vim" -N -u NONE -i NONE -es --cmd "$style" \
			-c '%s/beta/gamma/' -c 'wq' "$M/edited" </dev/null
		eq "vim with $style" "$(tr '\n' ' ' <"$M/edited")" "alpha gamma "
	done
	eq "no swap file stays" "$(find "$M" -name '.*.sw?')" ""
fi
remount
eq "after a remount" "$(tr '\n' ' ' <"$M/text")" "1 2 three "
stop
check_database
