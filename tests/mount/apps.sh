# shellcheck shell=bash
# What the tests of applications' data share. Sourced behind `begin`. A *place* is a database of an
# application: a file, a database of PostgreSQL, a numbered one of Redis. Its [backend:NAME] is in
# $T/backends. `at NAME` makes sql, pg, rcli, app and the rest of these functions talk to it.

need_mount
need_server
need_command getfattr
MNT=$T/mnt
declare -A numbers=()

at()
{
	here_at=$1
	DB=$T/$1.db
	PG_DATABASE=t_$$_$1
	REDIS_DB=${numbers[$1]:=$((1 + ($$ + ${#numbers[@]}) % 60))}
}

# place NAME: a new one, empty.
place()
{
	at "$1"
	case $engine in
	sqlite) sql "" ;;
	postgres)
		echo "database $PG_DATABASE" >>"$T/places"
		PG_DATABASE= pg "CREATE DATABASE $PG_DATABASE"
		;;
	redis)
		echo "redis $REDIS_DB" >>"$T/places"
		rcli FLUSHDB >/dev/null
		;;
	esac
	case $engine in
	sqlite) printf '[backend:%s]\ntype = sqlite\npath = %s\n' "$1" "$DB" ;;
	postgres) printf '[backend:%s]\ntype = postgres\nurl = %s dbname=%s\n' "$1" "$PERSISTFS_TEST_POSTGRES" "$PG_DATABASE" ;;
	redis) printf '[backend:%s]\ntype = redis\nurl = %s\ndb = %s\n' "$1" "$PERSISTFS_TEST_REDIS" "$REDIS_DB" ;;
	esac >>"$T/backends"
}

# Statements of whoever sets up or looks at the data.
ddl()
{
	case $engine in
	sqlite) sql "$1" ;;
	postgres) pg "SET client_min_messages = warning; $1" ;;
	esac
}

# The program's own client on its own data. app PROGRAM[:TABLE] ACTION [ARG...]
app()
{
	case $engine in
	sqlite) "$helpers/apps" sqlite "$DB" "$@" ;;
	postgres) "$helpers/apps" postgres "$PERSISTFS_TEST_POSTGRES dbname=$PG_DATABASE" "$@" ;;
	redis) "$helpers/apps" redis "$(redis_socket):$REDIS_DB" "$@" ;;
	esac
}

# The program must find nothing.  finds_nothing PROGRAM ACTION [ARG...]
finds_nothing()
{
	local status=0
	app "$@" >"$T/theirs" || status=$?
	eq "app $* finds nothing" "$status" 3
}

# The rows of a table, or columns of it, one a line, sorted; SQLite's tell types. rows TABLE [COLUMNS [WHERE]]
rows()
{
	case $engine in
	sqlite) sqlite3 -batch -bail -cmd '.timeout 5000' -cmd '.mode insert' "$DB" "SELECT ${2:-*} FROM $1 ${3:+WHERE $3}" ;;
	postgres) pg "COPY (SELECT ${2:-*} FROM $1 ${3:+WHERE $3}) TO STDOUT" ;;
	esac | LC_ALL=C sort
}

# All that is in the place: schema and content, or every key with type and time.
dump()
{
	case $engine in
	sqlite) sql "PRAGMA journal_mode; PRAGMA user_version; PRAGMA application_id" .dump ;;
	# Newer ones begin and end with a word at random.
	postgres) pg_dump "$PERSISTFS_TEST_POSTGRES dbname=$PG_DATABASE" | sed '/^\\\(un\)\?restrict /d' ;;
	redis) redis_content ;;
	esac
}

# unchanged WHAT: since `remember`.
remember() { dump >"$T/dump.$here_at"; }
unchanged()
{
	dump >"$T/dump.now"
	diff "$T/dump.$here_at" "$T/dump.now" >"$T/dump.diff" || {
		head -n 20 "$T/dump.diff"
		echo "FAILED (line ${BASH_LINENO[0]}): $1 has changed the data"
		exit 1
	}
}

# mounted LINE...: mounts the places with these stores.
mounted()
{
	config "$T/persistfs.ini" < <(
		cat "$T/backends"
		printf '%s\n' "[defaults]" "attr_timeout = 100ms" "$@"
	)
	mkdir -p "$MNT"
	mount_ini "$T/persistfs.ini" "$MNT"
}

# As programs look at a tree, all of it.
look_around()
{
	local status=0
	ls -lR "$1" >/dev/null
	grep -r -a -e no-such-word "$1" || status=$?
	eq "grep -r finds nothing, and reads all" "$status" 1
	find "$1" -newermt 2001-01-01 >/dev/null
	getfattr -d -R -m . --absolute-names "$1" >/dev/null
}

# what FILE holds is what the program has for a key: same FILE PROGRAM ACTION ARG...
same()
{
	local file=$1
	shift
	app "$@" >"$T/theirs"
	eventually cmp -s "$T/theirs" "$file"
}

# newer FILE DIR: the files below DIR that are newer, as find says, sorted, with DIR cut off.
newer() { (cd "$2" && find . -type f -newer "$1" | LC_ALL=C sort); }
gone() { [ ! -e "$1" ]; }

# out_and_back FROM TO CHECK OPTION...: with rsync, out of the store FROM into a directory, from there into the
# store TO of the place b, which is empty, and once more over what is there now; each time CHECK of
# both places must print the same. What is called $except is left out.
out_and_back()
{
	local from=$1 to=$2 check=$3 place=$here_at over
	shift 3
	mkdir -p "$T/out/$from"
	"$check" >"$T/wanted"
	[ -z "${except:-}" ] || set -- --exclude "$except" "$@"
	rsync -rX "$@" "$MNT/$from/" "$T/out/$from/"
	for over in "" --ignore-times; do
		rsync -rX $over "$@" "$T/out/$from/" "$MNT/$to/"
		at b
		"$check" >"$T/found"
		at "$place"
		diff "$T/wanted" "$T/found"
	done
	diff -r -x "${except:-}" "$T/out/$from" "$MNT/$to"
}
