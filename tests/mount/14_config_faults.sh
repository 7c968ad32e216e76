#!/bin/bash
# Faults of a configuration, from the command line: exit status 78, and where and what.
# time limit: 60 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
MNT=$T/mnt
mkdir "$MNT"

# faulty PATTERN <<END: the configuration is refused, by `config check` and by mount, and the
# message holds the pattern.
faulty()
{
	cat >"$T/faulty.ini"
	refused_with 78 "$1" "$persistfs" config check -c "$T/faulty.ini"
	refused_with 78 "$1" "$persistfs" mount -c "$T/faulty.ini" "$MNT"
	! mountpoint -q "$MNT" || fail "mounted with a faulty configuration"
	return 0
}

say "one fault each"
faulty 'faulty.ini:4.*unknown backend .chache..*available: cache, local.*did you mean .cache.' <<END
[backend:cache]
type = memory
[store:a]
backend = chache
[backend:local]
type = memory
END
faulty 'faulty.ini:2.*type.*unknown type .sqlit..*sqlite' <<END
[backend:a]
type = sqlit
[store:s]
END
faulty 'faulty.ini:3.*pathh.*path' <<END
[backend:a]
type = sqlite
pathh = $T/x.db
[store:s]
END
faulty 'faulty.ini:5.*write_mode.*thru.*through.*queued' <<END
[backend:a]
type = sqlite
path = $T/x.db
[store:s]
write_mode = thru
END
faulty 'faulty.ini:1.*unknown section.*did you mean' <<END
[bakend:a]
type = memory
END
faulty 'faulty.ini:3' <<END
[backend:a]
type = memory
type = sqlite
[store:s]
END
faulty 'faulty.ini:5' <<END
[backend:a]
type = memory
[store:s]
[store:t]
[store:s]
END
faulty 'PFS_TEST_UNSET' <<END
[backend:a]
type = sqlite
path = \${env.PFS_TEST_UNSET}/x.db
[store:s]
END
faulty 'agents' <<END
[backend:a]
type = memory
[store:agents]
[store:agents/sessions]
END
faulty 'overlaps' <<END
[backend:a]
type = sqlite
path = $T/x.db
[store:s]
namespace = same
[store:t]
namespace = same
END
faulty 'kind' <<END
[backend:a]
type = memory
[store:s]
kind = sql
END
faulty 'nothing to mount|no .store' <<END
[backend:a]
type = memory
END

say "all faults in one run"
cat >"$T/many.ini" <<END
[backend:a]
type = nothing
[store:s]
backend = b
colour = red
read_only = perhaps
END
refused_with 78 many.ini:2 "$persistfs" config check -c "$T/many.ini"
for line in 2 4 5 6; do
	has "many.ini:$line" "$T/refused.out"
done

say "a file that is not there, and one that may not be read"
refused_with 78 'No such file' "$persistfs" mount -c "$T/none.ini" "$MNT"
has none.ini "$T/refused.out"

say "secrets are not told"
cat >"$T/secret.ini" <<END
[backend:a]
type = memory
password = hunter2
[store:s]
END
refused_with 78 . "$persistfs" mount -c "$T/secret.ini" "$MNT"
! grep -q hunter2 "$T/refused.out" || fail "the value of an unknown key may be a secret"

say "what is right is accepted, and the search order is told"
config "$T/good.ini" <<END
[backend:a]
type = sqlite
path = \${env.PFS_TEST_UNSET:=$T}/good.db
[store:s]
END
"$persistfs" config check -c "$T/good.ini"
"$persistfs" config show -c "$T/good.ini" >"$T/shown"
has 'good.db' "$T/shown"
PERSISTFS_CONFIG=$T/good.ini "$persistfs" mount "$MNT" >"$T/told" 2>&1
has 'good.ini' "$T/told"
[ -d "$MNT/s" ] || fail "the store is not there"
stop
mkdir -p "$T/xdg/persistfs"
cp "$T/good.ini" "$T/xdg/persistfs/persistfs.ini"
XDG_CONFIG_HOME=$T/xdg "$persistfs" mount "$MNT" >"$T/told" 2>&1
has 'xdg/persistfs/persistfs.ini' "$T/told"
stop
"$persistfs" config check -c "$top/persistfs.ini"
if ! [ -e /etc/persistfs.ini ]; then
	(cd "$T" && cp good.ini persistfs.ini && "$persistfs" mount "$MNT" >"$T/told" 2>&1)
	has 'built-in' "$T/told"
	echo x >"$MNT/data/x"
	[ -f "$HOME/.local/share/persistfs/store.db" ] || fail "the default's place"
	stop
	check_database "$HOME/.local/share/persistfs/store.db"
fi

say "two backends that lead to the same server and database count as one"
# same 'LINES OF ONE' 'LINES OF THE OTHER': stores of one namespace on both are refused.
pair()
{
	printf '[backend:one]\n%s\n[backend:two]\n%s\n' "$1" "$2"
	printf '[store:a]\nbackend = one\nnamespace = n\n[store:b]\nbackend = two\nnamespace = n\n'
}
same() { pair "$1" "$2" | faulty "overlaps store 'a'.*both show 'n' of one database"; }
apart()
{
	pair "$1" "$2" >"$T/apart.ini"
	"$persistfs" config check -c "$T/apart.ini" >"$T/told" 2>&1 || fail "refused: $(cat "$T/told")"
}
pg=$'type = postgres\n'
same "${pg}url = postgres://me@db.example:5433/app" "${pg}host = db.example
port = 5433
dbname = app
user = you"
same "${pg}url = host=db.example dbname=app" "${pg}url = postgresql://db.example/app?sslmode=require"
apart "${pg}url = postgres://db.example/app" "${pg}url = postgres://db.example/other"
apart "${pg}url = postgres://db.example/app" "${pg}url = postgres://db.example/app
schema = other"
rd=$'type = redis\n'
same "${rd}url = redis://cache.example:6380/1" "${rd}host = cache.example
port = 6380
db = 1"
same "${rd}url = unix:///run/r.sock" "${rd}socket = /run/r.sock"
apart "${rd}url = redis://cache.example/1" "${rd}url = redis://cache.example/2"

say "a password in a file that others can read"
for url in postgres://me:pass@db/app 'host=db password=pass' "host=db password = 'pass'" redis://:pass@h/; do
	type=postgres
	[[ $url != redis* ]] || type=redis
	printf '[backend:a]\ntype = %s\nurl = %s\n[store:s]\n' $type "$url" >"$T/open.ini"
	chmod 644 "$T/open.ini"
	refused_with 78 'open.ini:3.*chmod 600' "$persistfs" mount -c "$T/open.ini" "$MNT"
	! grep -q 'pass@\|pass$\|=pass' "$T/refused.out" || fail "the message shows it"
	chmod 600 "$T/open.ini"
	"$persistfs" config check -c "$T/open.ini"
done

say "SOURCE"
refused_with 78 'a source is sqlite:PATH|postgres://' "$persistfs" mount memory: "$MNT"
refused_with 78 "type 'mysql' is not available" "$persistfs" mount mysql://h/d "$MNT"
refused_with 69 "local" "$persistfs" mount "redis://:hunter2@127.0.0.1:1/0" "$MNT"
! grep -q hunter2 "$T/refused.out" || fail "the message shows the password"
refused_with 69 "local" "$persistfs" mount "postgres://me:hunter2@127.0.0.1:1/d" "$MNT"
! grep -q hunter2 "$T/refused.out" || fail "the message shows the password"

say "wrong use"
refused . "$persistfs"
refused 'unknown verb' "$persistfs" mout "$MNT"
refused 'MOUNTPOINT' "$persistfs" mount
refused_with 1 'does not exist' "$persistfs" mount -c "$T/good.ini" "$T/nowhere"
refused_with 1 'no directory' "$persistfs" mount -c "$T/good.ini" "$T/good.ini"
refused 'unknown mount option' "$persistfs" mount -c "$T/good.ini" -o colour "$MNT"
refused 'below the mount point' "$persistfs" mount "sqlite:$MNT/in.db" "$MNT"
"$persistfs" --version | grep -q '^persistfs [0-9]' || fail "--version"
"$persistfs" --help | grep -q mount || fail "--help"
"$persistfs" backends list | grep -q sqlite || fail "backends list"
"$persistfs" backends show sqlite | grep -q path || fail "backends show"
