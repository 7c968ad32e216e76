# shellcheck shell=bash
# For tests of an application's tables on both SQL engines. Sourced behind lib.sh, and begins the test: MNT is a
# mount point, DB the database of SQLite, S the tables' schema in PostgreSQL with its dot (else empty).

# The application's own client. app STATEMENT
app()
{
	case $engine in
	sqlite) sql "PRAGMA foreign_keys = ON; $1" ;;
	postgres) pg "$1" ;;
	esac
}

begin
need_mount
own_place
MNT=$T/mnt
DB=$T/app.db
S=
mkdir "$MNT"
if [ "$engine" = postgres ]; then
	pg "SET client_min_messages = warning; DROP SCHEMA IF EXISTS $PG_SCHEMA CASCADE; CREATE SCHEMA $PG_SCHEMA"
	S=$PG_SCHEMA.
fi
