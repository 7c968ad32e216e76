# shellcheck shell=bash
# What the mount tests share. Sourced by every test after `set -euo pipefail`, and by run-mount for
# clean_up. A test has a directory T of its own, gone afterwards; below it the mount point MNT, the
# store's directory M and the database DB. With PERSISTFS_PLAIN=1 M is a plain directory, and what
# needs a real mount is skipped. PERSISTFS_ENGINE (default sqlite) says where `start` keeps its store;
# a test with a line "# every engine" near its top can be run on each.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
BUILD=${BUILD:-$top/build}
helpers=$BUILD/tests/mount
persistfs=$BUILD/persistfs

# ---- what tests say -----------------------------------------------------------------------------

say() { echo "== $*"; }

# Shown beside a passed test.
note() { echo "note: $*"; }

fail()
{
	echo "FAILED (line ${BASH_LINENO[0]}): $*"
	exit 1
}

skip()
{
	echo "skip: $*"
	exit 77
}

# eq WHAT GOT WANTED
eq()
{
	if [ "$2" != "$3" ]; then
		printf 'got:    %.400q\nwanted: %.400q\n' "$2" "$3"
		echo "FAILED (line ${BASH_LINENO[0]}): $1"
		exit 1
	fi
}

# The command must fail; what it says must hold the text (an extended regular expression).
# refused PATTERN COMMAND...
refused()
{
	local pattern=$1 status=0
	shift
	"$@" >"$T/refused.out" 2>&1 || status=$?
	if [ "$status" = 0 ]; then
		echo "FAILED (line ${BASH_LINENO[0]}): not refused: $*"
		exit 1
	fi
	if ! grep -E -q -- "$pattern" "$T/refused.out"; then
		cat "$T/refused.out"
		echo "FAILED (line ${BASH_LINENO[0]}): refused, but nothing of '$pattern': $*"
		exit 1
	fi
}

# As refused, with this exit status.  refused_with STATUS PATTERN COMMAND...
refused_with()
{
	local wanted=$1 pattern=$2 status=0
	shift 2
	"$@" >"$T/refused.out" 2>&1 || status=$?
	if [ "$status" != "$wanted" ] || ! grep -E -q -- "$pattern" "$T/refused.out"; then
		cat "$T/refused.out"
		echo "FAILED (line ${BASH_LINENO[0]}): exit status $status (wanted $wanted)," \
			"wanted '$pattern': $*"
		exit 1
	fi
}

# has PATTERN FILE: the file holds a line that matches.
has()
{
	if ! grep -E -q -- "$1" "$2"; then
		echo "---- $2:"
		cat "$2"
		echo "FAILED (line ${BASH_LINENO[0]}): nothing of '$1' in $2"
		exit 1
	fi
}

# eventually COMMAND...: true within 10 s. For what has no event of its own to wait for.
eventually()
{
	local end=$((SECONDS + 10))
	until "$@"; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "FAILED (line ${BASH_LINENO[0]}): not within 10 s: $*"
			exit 1
		fi
		sleep 0.02
	done
}

# ---- what tests may use -------------------------------------------------------------------------

plain() { [ -n "${PERSISTFS_PLAIN:-}" ]; }
short() { [ -n "${PERSISTFS_SHORT:-}" ]; }
soak() { [ -n "${PERSISTFS_SOAK:-}" ]; }

# How much of something: amount SHORT NORMAL SOAK
amount()
{
	if soak; then echo "$3"; elif short; then echo "$1"; else echo "$2"; fi
}

need_mount()
{
	if plain; then skip "says something only about a mount"; fi
}

have_root()
{
	[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

need_root()
{
	have_root || skip "needs root, or sudo that asks nothing"
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

need_command()
{
	command -v "$1" >/dev/null || skip "there is no $1 here"
}

# ---- engines ------------------------------------------------------------------------------------

engine=${PERSISTFS_ENGINE:-sqlite}

# A server that is needed and not there: a failure in CI, else skipped, loudly.  need_server [ENGINE]
need_server()
{
	case ${1:-$engine} in
	postgres)
		[ -n "${PERSISTFS_TEST_POSTGRES:-}" ] || skip "no PostgreSQL: run it in scripts/with-services"
		;;
	redis)
		[ -n "${PERSISTFS_TEST_REDIS:-}" ] || skip "no Redis: run it in scripts/with-services"
		;;
	esac
}

# The server's control script.  server_ctl start|stop|restart|kill|pause|resume|pid [OPTION...]
server_ctl()
{
	case $engine in
	postgres) "$PERSISTFS_TEST_POSTGRES_CTL" "$@" ;;
	redis) "$PERSISTFS_TEST_REDIS_CTL" "$@" ;;
	*) fail "$engine has no server" ;;
	esac
}

redis_socket() { echo "${PERSISTFS_TEST_REDIS#unix://}"; }

# psql and redis-cli on the test's own schema or database.
pg()
{
	PGOPTIONS="-c search_path=${PG_SCHEMA:-public}" psql -X -q -A -t \
		"$PERSISTFS_TEST_POSTGRES${PG_DATABASE:+ dbname=$PG_DATABASE}" -c "$1"
}
rcli() { redis-cli -s "$(redis_socket)" -n "${REDIS_DB:-0}" "$@"; }

# All that the database holds, in words, sorted. Times in seconds since 1970, ids of streams as they are.
redis_content()
{
	rcli --raw --no-auth-warning EVAL "
		local out = {}
		local function sorted(k, list, n)
			local t = {}
			for i = 1, #list, n do t[#t + 1] = table.concat(list, '=', i, i + n - 1) end
			table.sort(t)
			return k .. ' ' .. table.concat(t, ',')
		end
		for _, k in ipairs(redis.call('KEYS', '*')) do
			local t, v = redis.call('TYPE', k).ok
			if t == 'string' then v = k .. ' ' .. redis.call('GET', k)
			elseif t == 'hash' then v = sorted(k, redis.call('HGETALL', k), 2)
			elseif t == 'set' then v = sorted(k, redis.call('SMEMBERS', k), 1)
			elseif t == 'zset' then v = sorted(k, redis.call('ZRANGE', k, 0, -1, 'WITHSCORES'), 2)
			elseif t == 'list' then v = k .. ' ' .. table.concat(redis.call('LRANGE', k, 0, -1), ',')
			else
				v = k
				for _, e in ipairs(redis.call('XRANGE', k, '-', '+')) do
					v = v .. ' ' .. e[1] .. ' ' .. table.concat(e[2], ',')
				end
			end
			out[#out + 1] = t .. ' ' .. v .. ' ' .. redis.call('EXPIRETIME', k)
		end
		table.sort(out)
		return table.concat(out, '\n')" 0
}

# A schema or database of the test's own, empty, gone at the end (clean_up).
own_place()
{
	need_server
	case $engine in
	postgres)
		PG_SCHEMA=t_$$_$RANDOM
		echo "postgres $PG_SCHEMA" >>"$T/places"
		;;
	redis)
		REDIS_DB=$((1 + $$ % 60))
		echo "redis $REDIS_DB" >>"$T/places"
		rcli FLUSHDB >/dev/null
		;;
	esac
}

drop_places()
{
	local kind place
	[ -e "$1/places" ] || return 0
	while read -r kind place; do
		case $kind in
		postgres)
			"$PERSISTFS_TEST_POSTGRES_CTL" resume
			"$PERSISTFS_TEST_POSTGRES_CTL" start &&
				pg "SET client_min_messages = warning; DROP SCHEMA IF EXISTS $place CASCADE"
			;;
		database)
			psql -X -q "$PERSISTFS_TEST_POSTGRES" -c "DROP DATABASE IF EXISTS $place WITH (FORCE)"
			;;
		redis)
			"$PERSISTFS_TEST_REDIS_CTL" resume
			"$PERSISTFS_TEST_REDIS_CTL" start && REDIS_DB=$place rcli FLUSHDB >/dev/null
			;;
		esac
	done <"$1/places"
}

# engine_section NAME [LINE...]: a [backend:NAME] for the engine under test.
engine_section()
{
	local name=$1
	shift
	echo "[backend:$name]"
	echo "type = $engine"
	case $engine in
	sqlite) echo "path = $DB" ;;
	postgres) printf '%s\n' "url = $PERSISTFS_TEST_POSTGRES" "schema = $PG_SCHEMA" ;;
	redis) printf '%s\n' "url = $PERSISTFS_TEST_REDIS" "db = $REDIS_DB" ;;
	esac
	printf '%s\n' "$@"
}

# Whether the engine under test offers a capability, as `persistfs backends show` lists them.
offers()
{
	plain || "$persistfs" backends show "$engine" | grep -q -w -- "$1"
}

# How many keys of the store `data` another client of the database finds below a directory.
# stored_keys DIR PREFIX
stored_keys()
{
	case $engine in
	sqlite) sql "SELECT count(*) FROM persistfs_kv WHERE namespace = 'data' AND dir = '$1' AND name GLOB '$2*'" ;;
	postgres) pg "SELECT count(*) FROM persistfs_kv WHERE namespace = 'data' AND dir = '$1' AND name LIKE '$2%'" ;;
	redis) rcli --scan --pattern "data:${1:+$1/}$2*" | wc -l ;;
	esac
}

# The value of a small key as another client of the database finds it.  stored_value DIR NAME
stored_value()
{
	case $engine in
	sqlite) sql "SELECT CAST(value AS TEXT) FROM persistfs_kv WHERE namespace = 'data' AND dir = '$1' AND name = '$2'" ;;
	postgres) pg "SELECT convert_from(value, 'UTF8') FROM persistfs_kv WHERE namespace = 'data' AND dir = '$1' AND name = '$2'" ;;
	redis) rcli GET "data:${1:+$1/}$2" ;;
	esac
}

# ---- mounts -------------------------------------------------------------------------------------

# config FILE <<END: writes a configuration, adding the log of this test.
config()
{
	{
		printf '[mount]\nlog = %s\n\n' "$T/daemon.log"
		cat
	} >"$1"
}

# start [LINE...]: mounts one store `data`; every LINE is added to its section. MOUNT_OPTIONS is
# passed to -o, every line of BACKEND_LINES is added to the backend's section.
start()
{
	MNT=$T/mnt
	M=$MNT/data
	DB=$T/store.db
	mkdir -p "$MNT"
	if plain; then
		mkdir -p "$M"
		return
	fi
	own_place
	config "$T/persistfs.ini" <<-END
		$(engine_section local ${BACKEND_LINES:+"$BACKEND_LINES"})

		[store:data]
		backend = local
		$(printf '%s\n' "$@")
	END
	mount_ini "$T/persistfs.ini" "$MNT"
}

# mount_ini INI MOUNTPOINT
mount_ini()
{
	"$persistfs" mount -c "$1" ${MOUNT_OPTIONS:+-o "$MOUNT_OPTIONS"} "$2"
	mountpoint -q "$2" || fail "mount returned, and nothing is mounted at $2"
}

# stop [MOUNTPOINT]: unmounts; everything is in the database and the daemon is gone afterwards.
stop()
{
	local at=${1:-$MNT} pid
	if plain; then return; fi
	pid=$(daemon_pid "$at")
	"$persistfs" umount "$at"
	if mountpoint -q "$at"; then
		echo "FAILED (line ${BASH_LINENO[0]}): umount returned, and $at is still mounted"
		exit 1
	fi
	wait_gone "$pid"
}

remount()
{
	if plain; then return; fi
	stop
	mount_ini "$T/persistfs.ini" "$MNT"
}

# Whether process PID is a persistfs whose command line has PATTERN (options of grep and a text).
is_daemon()
{
	local pid=$1
	shift
	[ "$(cat "/proc/$pid/comm")" = persistfs ] && tr '\0' '\n' <"/proc/$pid/cmdline" | grep -q -F "$@"
} 2>/dev/null

# The daemon that serves a mount point: it is the one that names it on its command line.
daemon_pid()
{
	local dir
	for dir in /proc/[0-9]*; do
		if is_daemon "${dir##*/}" -x -- "$1"; then
			echo "${dir##*/}"
			return
		fi
	done
	fail "no daemon serves $1" >&2
}

wait_gone()
{
	local end=$((SECONDS + 30))
	while [ -e "/proc/$1" ] && [ "$(sed -n 's/^State:.\(.\).*/\1/p' "/proc/$1/status")" != Z ]; do
		[ "$SECONDS" -lt "$end" ] || fail "process $1 is still there after 30 s"
		sleep 0.01
	done 2>/dev/null
}

# kB of VmRSS, VmHWM ... of the daemon.  daemon_kb FIELD
daemon_kb()
{
	sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$(daemon_pid "$MNT")/status"
}

# Sanitizers need memory and time of their own.
sanitized() { [ "${BUILD##*/}" != build ]; }

# sql STATEMENT...: another client of the same database.
sql()
{
	sqlite3 -batch -bail -cmd '.timeout 5000' "${DB:?}" "$@"
}

# key DIR NAME: the value of a key as hex, as sqlite3 sees it.
key_hex()
{
	sql "SELECT hex(value) FROM persistfs_kv
		WHERE namespace = 'data' AND dir = '$1' AND name = '$2'"
}

file_hex() { od -An -v -tx1 "$1" | tr -d ' \n' | tr a-f A-F; }

# A database that a daemon has left must be sound, for SQLite and for us: every entry has its object
# and every object its entries, nothing is left of sessions, staged contents or removed files, a
# directory's path is its names joined, and usage is what can be counted.
check_database()
{
	local db=${1:-$DB} found
	if plain || [ "$engine" != sqlite ]; then return; fi
	eq "integrity of $db" "$(sqlite3 "$db" 'PRAGMA integrity_check')" ok
	found=$(sqlite3 -batch -bail "$db" <"$here/orphans.sql") || fail "orphans.sql"
	eq "what is left over in $db" "$found" ""
}

# ---- beginning and end --------------------------------------------------------------------------

# Unmounts everything below a directory and ends the daemons that serve it. Says so when there was
# something. Never waits for a daemon.
clean_up()
{
	local dir=$1 mount pid

	while read -r mount; do
		echo "clean-up: unmounting $mount"
		if [ "$(id -u)" = 0 ]; then
			umount -l "$mount"
		else
			fusermount3 -u -z "$mount" 2>/dev/null || sudo -n umount -l "$mount"
		fi
	done < <(cut -d ' ' -f 5 /proc/self/mountinfo | grep -F "$dir/" | sort -r)
	for pid in /proc/[0-9]*; do
		if is_daemon "${pid##*/}" -- "$dir/"; then
			echo "clean-up: killing daemon ${pid##*/}"
			kill -9 "${pid##*/}" 2>/dev/null
		fi
	done
	drop_places "$dir"
	return 0
}

leave()
{
	local status=$? job

	trap - EXIT ERR
	set +e
	for job in $(jobs -p); do
		kill "$job" 2>/dev/null
	done
	if [ -n "${remove_at_end:-}" ]; then
		rm -f "$remove_at_end"
	fi
	if [ -n "${own_directory:-}" ]; then
		clean_up "$T"
		rm -rf --one-file-system "$T"
	fi
	exit "$status"
}

begin()
{
	if [ -z "${T:-}" ]; then
		T=$(mktemp -d "${TMPDIR:-/tmp}/persistfs-test.XXXXXX")
		own_directory=yes
		export HOME=$T
	fi
	set -E
	trap 'echo "FAILED (line $LINENO of ${BASH_SOURCE[0]##*/}): $BASH_COMMAND" >&2' ERR
	trap leave EXIT
	trap 'exit 143' TERM
	umask 022
	cd "$T" || exit 1
}
