#!/bin/bash
# Who may use a Redis, and where: a user of the access control list with the rights that are needed and
# no others, by TCP and by the socket; a database by number, and nothing of it in another.
# time limit: 60 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
[ "$engine" = redis ] || exit 0
need_server
own_place
MNT=$T/mnt
M=$MNT/data
mkdir "$MNT"
first=$REDIS_DB
second=$((REDIS_DB % 60 + 2))
echo "redis $second" >>"$T/places"
user=u$$
trap 'rcli ACL DELUSER "$user" >/dev/null 2>&1 || :; leave' EXIT
# As the manual says it.
rights=('~data:*' '~/data:*' '~//*' '&//changes*' '&__redis__:invalidate' '+@all' '-@admin'
	'-@dangerous' '+info')
rcli ACL SETUSER "$user" reset on '>pw' "${rights[@]}" >/dev/null

at()
{
	config "$T/persistfs.ini" <<-END
		[backend:local]
		type = redis
		$(printf '%s\n' "$@")
		[store:data]
	END
	chmod 600 "$T/persistfs.ini"
}

check()
{
	mount_ini "$T/persistfs.ini" "$MNT"
	echo "$1" >"$M/file"
	mkdir -p "$M/dir"
	head -c 9000000 /dev/urandom >"$T/big"
	cp "$T/big" "$M/dir/big"
	cmp "$T/big" "$M/dir/big"
	mv "$M/dir" "$M/moved"
	rm -r "$M/moved"
	flock -n "$M/file" true
	eq "in database $REDIS_DB" "$(stored_value '' file)" "$1"
	rcli SET data:file theirs >/dev/null
	seen() { [ "$(cat "$M/file")" = theirs ]; }
	eventually seen
	rcli SET data:new theirs >/dev/null
	eq "a key of another program" "$(cat "$M/new")" theirs
	cut_connections
	eq "after a reconnection" "$(cat "$M/new")" theirs
	echo "$1" >"$M/file"
	rm "$M/new"
	eventually healthy
	stop
}

say "by TCP, database $first"
at "url = redis://$user:pw@127.0.0.1:$PERSISTFS_TEST_REDIS_PORT/$first"
check one
say "by the socket, database $second, with options"
at "socket = $(redis_socket)" "db = $second" "user = $user" "password = pw"
REDIS_DB=$second check two
eq "the first database" "$(REDIS_DB=$first rcli GET data:file)" one
say "by the socket, as a url"
at "url = unix://$user:pw@$(redis_socket)?db=$second"
REDIS_DB=$second check three
eq "the first database" "$(REDIS_DB=$first rcli GET data:file)" one

say "a database that the server has not: refused"
at "url = redis://$user:pw@127.0.0.1:$PERSISTFS_TEST_REDIS_PORT/5000"
refused_with 69 'DB index is out of range' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"

say "rights that do not suffice: refused, with the server's words"
at "url = redis://$user:pw@127.0.0.1:$PERSISTFS_TEST_REDIS_PORT/$first"
for missing in '-evalsha' '-subscribe' '-client|tracking' resetchannels; do
	rcli ACL SETUSER "$user" reset on '>pw' "${rights[@]}" "$missing" >/dev/null
	refused_with 69 'redis says: .*(NOPERM|permission)' "$persistfs" mount -c "$T/persistfs.ini" "$MNT"
done
