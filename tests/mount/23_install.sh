#!/bin/bash
# make install puts the program, its manual and the example where they belong.
# time limit: 120 s
# only the plain build
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
env -u BUILD make -s -C "$top" install DESTDIR="$T/root" PREFIX=/usr
for file in bin/persistfs share/man/man1/persistfs.1 share/man/man5/persistfs.ini.5 \
	share/doc/persistfs/examples/persistfs.ini; do
	[ -s "$T/root/usr/$file" ] || fail "no $file"
done
"$T/root/usr/bin/persistfs" --version
"$T/root/usr/bin/persistfs" config check -c "$T/root/usr/share/doc/persistfs/examples/persistfs.ini"
