#!/bin/bash
# The tables in which llama-stack keeps what it was asked and has answered, on both SQL engines, by three lines.
# time limit: 60 s
# SQL engines
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
. "$here/apps.sh"

tables="chat_completions conversation_items openai_files openai_responses"
shape="
	CREATE TABLE chat_completions (id VARCHAR NOT NULL, created INTEGER, model VARCHAR, choices JSON,
		input_messages JSON, access_attributes JSON, owner_principal VARCHAR, PRIMARY KEY (id));
	CREATE TABLE openai_responses (id VARCHAR NOT NULL, created_at INTEGER, response_object JSON, model VARCHAR,
		access_attributes JSON, owner_principal VARCHAR, PRIMARY KEY (id));
	CREATE TABLE conversation_items (id VARCHAR NOT NULL, conversation_id VARCHAR, created_at INTEGER,
		item_data JSON, access_attributes JSON, owner_principal VARCHAR, PRIMARY KEY (id));
	CREATE TABLE openai_files (id VARCHAR NOT NULL, filename VARCHAR, purpose VARCHAR, bytes INTEGER,
		created_at INTEGER, expires_at INTEGER, file_path VARCHAR, access_attributes JSON,
		owner_principal VARCHAR, PRIMARY KEY (id));"
stack() { app llamastack "$@"; }

place b
ddl "$shape"
place a
ddl "$shape"
long=$(head -c 60000 /dev/urandom | base64 -w 0)
stack chat chat-1 1750000001 llama3 '[{"index": 0, "message": "hello"}]' '["q"]' '\N' ''
stack chat 'chat/2:ü x,y' 1750000002 llama3 '[ ]' "[\"$long\"]" '{"roles":["a"]}' ann
stack chat .hidden 1750000003 other/model null '\N' '\N' '\N'
stack chat '%EMPTY' 1750000004 'llama3' '{"b":1,"a":{"x":"two\nlines"}}' '0.10' '"text"' $'two\nlines\n'
stack chat '' 5 '' '{}' '[]' '\N' '\N'
stack item i1 c1 1 '{"text": "hello there"}'
stack item i2 c1 2 '{"text": "again"}'
stack file f1 'a b.pdf' assistants 12 1750000000 '\N' /srv/a
stack file f2 'über.txt' batch 0 1750000000 100 ''
remember

mounted "[store:app]" "backend = a" "kind = sql" "read_only = no" \
	"[store:back]" "backend = b" "kind = sql" "read_only = no" "final_newline = exact"
M=$MNT/app
C=$M/chat_completions

say "looking"
eq tables "$(ls "$M" | tr '\n' ' ')" "$tables "
same "$C/chat-1/choices" llamastack choices chat-1
same "$C/chat%2F2:ü x,y/choices" llamastack choices 'chat/2:ü x,y'
eq rows "$(ls -A "$C" | LC_ALL=C sort | tr '\n' ' ')" "%25EMPTY %2Ehidden %EMPTY chat%2F2:ü x,y chat-1 "
eq "the newest" "$(ls -U "$C/.where/model/eq/llama3/.order/created.desc/.first/2" | tr '\n' ' ')" "%25EMPTY chat%2F2:ü x,y "
eq "as the program finds them" "$(stack newest llama3 | cut -d '|' -f 2 | tr '\n' ' ')" "1750000004 1750000002 "
eq "grep -r" "$(cd "$M" && grep -rl hello . | LC_ALL=C sort | tr '\n' ' ')" \
	"./chat_completions/chat-1/choices ./conversation_items/i1/item_data "
eq "a field of a row" "$(stat -c %s "$C/%2Ehidden/choices") $(cat "$C/%2Ehidden/choices")" "4 null"
eq NULL "$(getfattr --absolute-names --only-values -n user.persistfs.null "$C/%2Ehidden/input_messages")" 1
refused "No such attribute" getfattr -n user.persistfs.null "$C/chat-1/owner_principal" # is empty
look_around "$M"
look_around "$MNT/back"
unchanged looking

say "the mount writes, the program reads"
printf '%s' '[{"index": 1}]' >"$C/chat-1/choices"
eq json "$(stack choices chat-1)" '[{"index": 1}]'
sed -i 's/1/7/' "$C/chat-1/choices"
eq sed "$(stack choices chat-1)" '[{"index": 7}]'
echo bob >"$C/chat-1/owner_principal"
eq text "$(stack newest llama3 | tail -n 1)" "chat/2:ü x,y|1750000002|llama3|ann"
setfattr -n user.persistfs.incr -v 9 "$C/chat-1/created"
eq number "$(stack newest llama3 | head -n 1)" "chat-1|1750000010|llama3|bob"
printf '{"id": "chat-9", "created": 1750000090, "model": "llama3", "choices": [9]}' >"$C/chat-9.json"
eq "a row" "$(stack newest llama3 | head -n 1) $(stack choices chat-9)" "chat-9|1750000090|llama3|\\N [9]"
mkdir "$C/chat-10"
echo 1750000100 >"$C/chat-10/created"
echo llama3 >"$C/chat-10/model"
eq "and another" "$(stack newest llama3 | head -n 1)" "chat-10|1750000100|llama3|\\N"
echo 1 >"$M/openai_files/f2/expires_at"
eq "an expiry" "$(stack live-files 50)" "f1|a b.pdf"
setfattr -n user.persistfs.null -v 1 "$M/openai_files/f2/expires_at"
eq "for ever" "$(stack live-files 50 | wc -l)" 2
printf '{"broken' >"$T/broken"
if [ "$engine" = postgres ]; then
	refused "Invalid argument" cp "$T/broken" "$C/chat-1/choices"
	eq "the old value stands" "$(stack choices chat-1)" '[{"index": 7}]'
fi

say "deleted on either side"
rmdir "$C/chat-10"
eq "not the newest" "$(stack newest llama3 | head -n 1 | cut -d '|' -f 1)" chat-9
stack drop chat-9
eventually gone "$C/chat-9"

say "find -newer"
find "$M" -newer "$T" >/dev/null
touch -d "@$EPOCHREALTIME" "$T/mark"
stack item i3 c1 3 '{"text": "new"}'
ddl "UPDATE conversation_items SET item_data = '{\"text\": \"other\"}' WHERE id = 'i1'"
are_newer() { [ "$(newer "$T/mark" "$M" | tr '\n' ' ')" = "$1" ]; }
row() { printf './conversation_items/i3/%s ' access_attributes conversation_id created_at id item_data owner_principal; }
eventually are_newer "./conversation_items/i1/item_data $(row)"

say "a row as one file"
cp "$C/chat-1.json" "$C/%25EMPTY.json" "$C/%2Ehidden.json" "$MNT/back/chat_completions/"
wanted=$(rows chat_completions '*' "id IN ('chat-1', '%EMPTY', '.hidden')")
eq "the same" "$(at b && rows chat_completions)" "$wanted"
rmdir "$MNT/back/chat_completions/"*

say "out, and into an empty one"
content() { for table in $tables; do rows "$table"; done; }
out_and_back app back content
stop
