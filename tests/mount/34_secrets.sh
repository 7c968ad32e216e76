#!/bin/bash
# A password is in no list of processes, log, message, configuration that is shown, control file or
# list of mounts, whether it comes from the command line, an ini, a file or the environment.
# time limit: 120 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
MNT=$T/mnt
mkdir "$MNT"
own_place
export PERSISTFS_DEBUG=1

# A user with a password, by TCP.
secret=
case $engine in
postgres)
	secret=$PERSISTFS_TEST_POSTGRES_PASSWORD
	port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<<"$PERSISTFS_TEST_POSTGRES")
	with_password="postgres://persistfs:$secret@127.0.0.1:$port/persistfs"
	without="postgres://persistfs@127.0.0.1:$port/persistfs"
	wrong="postgres://persistfs:Wr0ng$RANDOM@127.0.0.1:$port/persistfs"
	place="schema = $PG_SCHEMA"
	;;
redis)
	secret=s3cret$RANDOM$RANDOM
	rcli ACL SETUSER tester on ">$secret" '~*' '&*' +@all >/dev/null
	url=127.0.0.1:$PERSISTFS_TEST_REDIS_PORT
	with_password="redis://tester:$secret@$url/$REDIS_DB"
	without="redis://$url/$REDIS_DB"
	wrong="redis://tester:Wr0ng$RANDOM@$url/$REDIS_DB"
	place="user = tester"
	;;
esac

hidden()
{
	local what=$1
	shift
	if grep -r -a -l -F -e "$secret" "$@" 2>/dev/null; then
		fail "$what shows the password"
	fi
}

# Everything that a mount shows of itself.
nothing_shows()
{
	local pid
	pid=$(daemon_pid "$MNT")
	# This script has it in its own arguments nowhere.
	hidden "ps" /proc/[0-9]*/cmdline
	tr '\0' ' ' <"/proc/$pid/cmdline" >"$T/cmdline"
	cat /proc/self/mountinfo /proc/mounts >"$T/mountinfo"
	"$persistfs" status "$MNT" >"$T/status" 2>&1 || :
	mkdir -p "$T/control"
	(cd "$MNT/.persistfs" && find . -type f) | while read -r file; do
		cat "$MNT/.persistfs/$file"
	done >"$T/control/all" 2>&1
	has 'type' "$T/control/all"
	df "$MNT" >"$T/df" 2>&1 || :
	find /run/persistfs "$T/run" -type f -exec cat {} + >"$T/state" 2>/dev/null || :
	for file in cmdline mountinfo status control df state daemon.log said; do
		[ ! -e "$T/$file" ] || hidden "$file" "$T/$file"
	done
}

say "SOURCE with a password"
XDG_CONFIG_HOME=$T PERSISTFS_CONFIG='' "$persistfs" mount "$with_password" "$MNT" >"$T/said" 2>&1
echo x >"$MNT/data/file"
nothing_shows
has '://(persistfs|tester):\*+@|://\S*\*\*\*' "$T/mountinfo"
"$persistfs" umount "$MNT" >>"$T/said" 2>&1
hidden "messages" "$T/said"
case $engine in
postgres) pg "DROP SCHEMA IF EXISTS persistfs CASCADE" 2>/dev/null ;;
esac

try()
{
	say "$1"
	shift
	config "$T/own.ini"
	chmod 600 "$T/own.ini"
	"$persistfs" config check -c "$T/own.ini" >"$T/said" 2>&1
	"$persistfs" config show -c "$T/own.ini" >>"$T/said" 2>&1
	"$persistfs" mount -c "$T/own.ini" "$MNT" >>"$T/said" 2>&1 || {
		cat "$T/said"
		fail "not mounted"
	}
	echo x >"$MNT/data/file"
	cut_connections
	eq "after a reconnection" "$(cat "$MNT/data/file")" x
	nothing_shows
	"$persistfs" umount "$MNT" >>"$T/said" 2>&1
	hidden "messages" "$T/said"
}

try "url = with a password" <<END
[backend:local]
type = $engine
url = $with_password
${PG_SCHEMA:+schema = $PG_SCHEMA}
[store:data]
END
chmod 644 "$T/own.ini"
refused_with 78 'chmod 600' "$persistfs" mount -c "$T/own.ini" "$MNT"
hidden "the refusal" "$T/refused.out"

try "password =" <<END
[backend:local]
type = $engine
url = $without
password = $secret
$place
[store:data]
END

install -m 600 /dev/null "$T/pw"
echo "$secret" >"$T/pw"
try "password_file =" <<END
[backend:local]
type = $engine
url = $without
password_file = $T/pw
$place
[store:data]
END
rm "$T/pw"

export TEST_SECRET=$secret
try "password = \${env...}" <<END
[backend:local]
type = $engine
url = $without
password = \${env.TEST_SECRET}
$place
[store:data]
END
unset TEST_SECRET

say "a wrong password: said, at once, and not quoted"
config "$T/wrong.ini" <<END
[backend:local]
type = $engine
url = $wrong
${PG_SCHEMA:+schema = $PG_SCHEMA}
[store:data]
END
chmod 600 "$T/wrong.ini"
status=0
timed "$persistfs" mount -c "$T/wrong.ini" "$MNT" || status=$?
eq "exit status" "$status" 69
[ "$took" -lt 10000 ] || fail "it took $took ms"
has 'password|auth|WRONGPASS' "$T/within"
secret=$(sed 's/.*\(Wr0ng[0-9]*\).*/\1/' <<<"$wrong")
hidden "the message" "$T/within" "$T/daemon.log"
[ "$engine" != redis ] || rcli ACL DELUSER tester >/dev/null
