#!/bin/bash
# MemPalace's drawers, where it keeps them: settings, documents with vectors, their full-text index and a graph in
# SQLite, a table for each collection in PostgreSQL, each by three lines.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
. "$here/apps.sh"

# Vectors of three floats: 1, -2, 0.5.
printf '\0\0\200\77\0\0\0\300\0\0\0\77' >"$T/vector"
printf '\0\0\200\77\0\0\200\77\0\0\200\77' >"$T/ones"
head -c 90000 /dev/urandom | base64 >"$T/long"

if [ "$engine" = sqlite ]; then
	table=documents
	vector=@$T/vector
	ones=@$T/ones
	first=1,
	metadata=metadata_json
	tables="meta collections documents entities triples"
	names="1,.hidden 1,d%2F1:x 1,long 1,ü %2C2 "
	dot=.hidden
	odd="1,ü %2C2"
	shape="
		CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
		CREATE TABLE collections (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
			dimension INTEGER, created_at TEXT NOT NULL);
		CREATE TABLE documents (collection_id INTEGER NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL,
			metadata_json TEXT NOT NULL, embedding BLOB NOT NULL, dim INTEGER NOT NULL, created_at TEXT NOT NULL,
			updated_at TEXT NOT NULL, PRIMARY KEY (collection_id, id),
			FOREIGN KEY (collection_id) REFERENCES collections (id) ON DELETE CASCADE);
		CREATE VIRTUAL TABLE docs_fts USING fts5 (collection_id UNINDEXED, doc_id UNINDEXED, document);
		CREATE TABLE entities (id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT DEFAULT 'unknown',
			properties TEXT DEFAULT '{}', created_at TEXT DEFAULT CURRENT_TIMESTAMP);
		CREATE TABLE triples (id TEXT PRIMARY KEY, subject TEXT NOT NULL, predicate TEXT NOT NULL,
			object TEXT NOT NULL, valid_from TEXT, valid_to TEXT, confidence REAL DEFAULT 1.0, source_file TEXT,
			extracted_at TEXT DEFAULT CURRENT_TIMESTAMP, FOREIGN KEY (subject) REFERENCES entities (id),
			FOREIGN KEY (object) REFERENCES entities (id));
		CREATE INDEX idx_triples_subject ON triples (subject);"
else
	# Without the extension that has them, vectors are a domain over what is nearest.
	table=mempalace_drawers
	vector='{1,-2,0.5}'
	ones='{1,1,1}'
	first=
	metadata=metadata
	tables=$table
	names="%2Ehidden d%2F1:x long ü ,2 "
	dot=%2Ehidden
	odd="ü ,2"
	shape="
		CREATE DOMAIN vector AS real[] CHECK (cardinality(VALUE) = 3);
		CREATE TABLE $table (id text PRIMARY KEY, document text NOT NULL DEFAULT '',
			metadata jsonb NOT NULL DEFAULT '{}', embedding vector, updated_at timestamptz);
		CREATE INDEX ON $table USING gin (metadata);"
fi

palace() { app mempalace:drawers "$@"; }
content() { local name; for name in $tables; do rows "$name"; done; }
one_table() { rows "$name"; }

place b
ddl "$shape"
place a
ddl "$shape"
if [ "$engine" = sqlite ]; then
	palace collection drawers 3
	palace collection 'closets/2' '\N'
	palace set schema_version 4
	palace set 'model:path' '/srv/models/a b'
	palace set 'a/b: ü' ''
	palace index 'd/1:x' 'hello palace'
	palace entity ann 'Ann' person '{"born": 1980}'
	palace entity 'proj:x/y' 'Project' '\N' '\N'
	palace fact t1 ann works_on 'proj:x/y' 2025-01-01 '\N' 0.5
	palace fact t2 ann 'lives in' 'proj:x/y' '\N' 2025-02-01 1
fi
palace keep 'd/1:x' 'hello palace' '{"wing": "east", "n": 1}' "$vector"
palace keep 'ü ,2' '' '{}' "$ones"
palace keep .hidden $'two\nlines\n' '{"wing": "east"}' "$vector"
palace keep long "<$T/long" '{"wing": "west"}' "$vector"
remember

stores=("[store:app]" "backend = a" "kind = sql" "read_only = no"
	"[store:back]" "backend = b" "kind = sql" "read_only = no" "final_newline = exact")
[ "$engine" != sqlite ] || stores+=(
	"[store:meta]" "backend = a" "layout = plain" "table = meta" "read_only = no"
	"[store:backmeta]" "backend = b" "layout = plain" "table = meta" "read_only = no")
mounted "${stores[@]}"
D=$MNT/app/$table

say "looking"
eq rows "$(ls -A "$D" | LC_ALL=C sort | tr '\n' ' ')" "$names"
same "$D/${first}d%2F1:x/document" mempalace:drawers document 'd/1:x'
same "$D/${first}$dot/document" mempalace:drawers document .hidden
same "$D/${first}long/document" mempalace:drawers document long
same "$D/${first}long/embedding" mempalace:drawers vector long
eq "grep -r" "$(cd "$D" && grep -rl 'hello palace' . | LC_ALL=C sort)" "./${first}d%2F1:x/document"
eq "as the program finds it" "$(palace find 'hello palace')" 'd/1:x'
eq "of a wing" "$(grep -rl '"east"' "$D" | wc -l)" "$(palace of east | wc -l)"
if [ "$engine" = sqlite ]; then
	eq "the index" "$(cat "$MNT/app/docs_fts/1/document")" 'hello palace'
	eq "settings" "$(ls "$MNT/meta" | tr '\n' ' ')" "a%2Fb: ü model:path schema_version "
	same "$MNT/meta/model:path" mempalace setting model:path
	eq "facts" "$(ls "$MNT/app/triples/.by/subject/ann" | tr '\n' ' ')" "t1 t2 "
	eq "a number" "$(cat "$MNT/app/triples/t1/confidence")" 0.5
	look_around "$MNT/meta"
fi
look_around "$MNT/app"
look_around "$MNT/back"
unchanged looking

say "written by either"
printf 'a new text' >"$D/${first}d%2F1:x/document"
eq "a document" "$(palace document 'd/1:x')" 'a new text'
sed -i 's/new/newer/' "$D/${first}d%2F1:x/document"
eq "sed -i" "$(palace find newer)" 'd/1:x'
cp "$T/long" "$D/${first}$dot/document"
palace document .hidden | cmp - "$T/long" # what stood there ended in a newline too
printf '{"wing": "north"}' >"$D/${first}d%2F1:x/$metadata"
eq "metadata" "$(palace of north)" 'd/1:x'
if [ "$engine" = sqlite ]; then
	cp "$T/ones" "$D/${first}long/embedding"
	palace vector long | cmp - "$T/ones"
	printf %s 5 >"$MNT/meta/schema_version"
	eq "a setting" "$(palace setting schema_version)" 5
	printf %s on >"$MNT/meta/new:flag"
	eq "a new one" "$(palace setting new:flag)" on
	rm "$MNT/meta/a%2Fb: ü"
	finds_nothing mempalace setting 'a/b: ü'
	palace set seen yes
	eventually test -e "$MNT/meta/seen"
	echo '{"subject": "ann", "predicate": "knows", "object": "ann", "confidence": 0.25}' >"$MNT/app/triples/t3.json"
	eq "facts" "$(palace facts ann)" $'works_on|Project|0.5\nknows|Ann|0.25'
	echo 2025-03-01 >"$MNT/app/triples/t1/valid_to"
	eq "facts" "$(palace facts ann)" 'knows|Ann|0.25'
	refused "resource busy" rmdir "$MNT/app/entities/ann"
	refused "Permission denied|not permitted|Read-only" rmdir "$MNT/app/docs_fts/1"
	eq "what it finds" "$(palace match palace)" 'd/1:x'
else
	echo "$ones" >"$D/long/embedding"
	eq "a vector" "$(palace vector long)" "$ones"
	echo '{1,2}' >"$T/short"
	refused "Invalid argument" cp "$T/short" "$D/long/embedding"
	eq "the old one stands" "$(palace vector long)" "$ones"
fi
rmdir "$D/${first}long"
finds_nothing mempalace:drawers document long
palace drop 'ü ,2'
eventually gone "$D/$odd"

say "find -newer"
find "$MNT/app" -newer "$T" >/dev/null
touch -d "@$EPOCHREALTIME" "$T/mark"
ddl "UPDATE $table SET document = 'changed' WHERE id = 'd/1:x'"
is_newer() { [ "$(newer "$T/mark" "$MNT/app")" = "./$table/${first}d%2F1:x/document" ]; }
eventually is_newer

say "out, and into an empty one"
except=docs_fts # the program makes it of the documents
out_and_back app back content
if [ "$engine" = sqlite ]; then
	name=meta
	(at b && sql "DELETE FROM meta")
	eventually gone "$MNT/backmeta/seen"
	out_and_back meta backmeta one_table
fi
stop
