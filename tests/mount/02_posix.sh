#!/bin/bash
# POSIX and Linux semantics, case by case.
# time limit: 120 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

if [ "$(id -u)" = 0 ]; then
	MOUNT_OPTIONS=allow_other,suid,dev
fi
start
offers hard_links || export PERSISTFS_NO_LINKS=1

status=0
for program in posix_names posix_files posix_attrs; do
	mkdir "$M/$program"
	say "$program"
	"$helpers/$program" "$M/$program" || status=1
	rmdir "$M/$program" || status=1
done
[ "$status" = 0 ] || fail "the cases above"
[ "$(id -u)" = 0 ] || note "cases with several users need root and were left out"
stop
check_database
