#!/bin/bash
# Several stores, namespaces and files; read-only ones; the root and directories between.
# time limit: 120 s
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_mount
MNT=$T/mnt
DB=$T/store.db
mkdir "$MNT"
config "$T/persistfs.ini" <<END
[backend:one]
type = sqlite
path = $DB

[backend:two]
type = sqlite
path = $T/second.db

[backend:mem]
type = memory

[defaults]
backend = one

[store:notes]

[store:agents/sessions]
namespace = sess

[store:agents/state/deep]

[store:cache]
backend = two
namespace = notes

[store:archive]
namespace = arch

[store:scratch]
backend = mem
END

say "stores do not see each other"
mount_ini "$T/persistfs.ini" "$MNT"
eq "the root" "$(ls -A "$MNT" | tr '\n' ' ')" "agents archive cache notes scratch "
eq "below agents" "$(cd "$MNT/agents" && find . | LC_ALL=C sort | tr '\n' ' ')" \
	". ./sessions ./state ./state/deep "
for store in notes agents/sessions agents/state/deep cache scratch; do
	echo "$store" >"$MNT/$store/same"
	mkdir "$MNT/$store/dir"
done
for store in notes agents/sessions agents/state/deep cache scratch; do
	eq "its own" "$(cat "$MNT/$store/same")" "$store"
	eq "nothing else" "$(ls -A "$MNT/$store" | tr '\n' ' ')" "dir same "
done
eq "namespaces of one file" \
	"$(sql "SELECT namespace FROM persistfs_kv WHERE name = 'same' ORDER BY 1" | tr '\n' ' ')" \
	"agents.state.deep notes sess "
eq "the other file" "$(sqlite3 "$T/second.db" "SELECT CAST(value AS TEXT) FROM persistfs_kv")" cache
refused 'cross-device|Invalid cross' ln "$MNT/notes/same" "$MNT/cache/linked"
mv "$MNT/notes/same" "$MNT/cache/moved"
eq "mv copies between stores" "$(cat "$MNT/cache/moved")" notes
[ ! -e "$MNT/notes/same" ] || fail "mv left the source"

say "the root and directories between take nothing"
for dir in "$MNT" "$MNT/agents" "$MNT/agents/state"; do
	refused 'not permitted' mkdir "$dir/new"
	refused 'not permitted' touch "$dir/new"
	refused 'not permitted' ln -s x "$dir/new"
done
refused 'not permitted|busy|Permission' rmdir "$MNT/notes"
refused 'not permitted|busy|Permission' mv "$MNT/notes" "$MNT/other"
refused 'not permitted|cross-device|busy|Permission' mv "$MNT/notes/dir" "$MNT/dir"
refused 'not permitted|Permission' rmdir "$MNT/agents"

say "read_only = yes: what was never written cannot be shown, and is not made"
echo kept >"$MNT/archive/file"
mkdir "$MNT/archive/old"
echo kept >"$MNT/archive/old/file"
stop
sed 's/^namespace = arch/namespace = none\nread_only = yes/' "$T/persistfs.ini" >"$T/none.ini"
refused_with 69 "no namespace 'none'" "$persistfs" mount -c "$T/none.ini" "$MNT"
sed -i 's/^namespace = arch/&\nread_only = yes/' "$T/persistfs.ini"
mount_ini "$T/persistfs.ini" "$MNT"
eq "memory forgets, as it says" "$(ls -A "$MNT/scratch")" ""
refused 'Read-only' touch "$MNT/archive/x"
refused 'Read-only' mkdir "$MNT/archive/x"
file=$MNT/archive/old/file
eq "read" "$(cat "$file")" kept
refused 'Read-only' sh -c "echo x >'$file'"
refused 'Read-only' sh -c "echo x >>'$file'"
refused 'Read-only' rm -f "$file"
refused 'Read-only' mv "$file" "$file.new"
refused 'Read-only' chmod 600 "$file"
refused 'Read-only' touch "$file"
refused 'Read-only' ln "$file" "$file.new"
refused 'Read-only' ln -s x "$file.new"
refused 'Read-only' truncate -s 0 "$file"
refused 'Read-only' rmdir "$MNT/archive/old"
refused 'Read-only' setfattr -n user.x -v y "$file"
eq "unharmed" "$(cat "$file")" kept
echo writable >"$MNT/notes/other"
stop

say "-o ro"
MOUNT_OPTIONS=ro mount_ini "$T/persistfs.ini" "$MNT"
eq "read" "$(cat "$MNT/notes/other")" writable
refused 'Read-only' touch "$MNT/notes/other"
refused 'Read-only' touch "$MNT/notes/new"
refused 'Read-only' rm -f "$MNT/notes/other"
stop
check_database
check_database "$T/second.db"

say "namespace = *"
config "$T/all.ini" <<END
[backend:one]
type = sqlite
path = $DB
[store:all]
namespace = *
END
mount_ini "$T/all.ini" "$MNT"
eq "every namespace" "$(ls "$MNT/all" | tr '\n' ' ')" "agents.state.deep arch notes sess "
eq "its content" "$(cat "$MNT/all/arch/old/file")" kept
mkdir "$MNT/all/fresh"
echo x >"$MNT/all/fresh/file"
eq "a namespace made by mkdir" "$(sql "SELECT key FROM persistfs_kv WHERE namespace = 'fresh'")" file
refused 'no such namespace' sql "INSERT INTO persistfs_kv (namespace, key, value) VALUES ('by-sql', 'k', 'v')"
sql "INSERT INTO persistfs_kv (namespace, key, value) VALUES ('fresh', 'k', 'v')"
eventually test -e "$MNT/all/fresh/k"
refused . touch "$MNT/all/file"
refused 'not empty|not permitted' rmdir "$MNT/all/fresh"
stop
mount_ini "$T/all.ini" "$MNT"
eq "made for good" "$(cat "$MNT/all/fresh/file")" x
stop

say "create = no makes nothing"
config "$T/none.ini" <<END
[backend:one]
type = sqlite
path = $DB
[store:absent]
create = no
END
refused . "$persistfs" mount -c "$T/none.ini" "$MNT"
has absent "$T/refused.out"
eq "nothing was made" "$(sqlite3 "$DB" "SELECT count(*) FROM persistfs_namespaces WHERE name = 'absent'")" 0
check_database
