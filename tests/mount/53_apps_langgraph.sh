#!/bin/bash
# What LangGraph keeps: its memory in the tables `store`, its checkpoints in tables of SQLite and PostgreSQL, in
# Redis checkpoints as hashes and what its nodes have computed as strings.
# time limit: 60 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
. "$here/apps.sh"

graph() { app langgraph "$@"; }

# A state as the program packs it: bytes, with all of them.
for ((i = 0; i < 256; i++)); do printf "\\x$(printf %02x "$i")"; done >"$T/state"
head -c 200000 /dev/urandom >"$T/large"
: >"$T/none"

checkpoints()
{
	local state=@$T/state large=@$T/large meta
	meta='{"source": "loop", "step": 1}'
	if [ "$engine" = postgres ]; then
		state='{"v": 1, "channel_values": {"messages": ["hello graph"]}}'
		large='{"v": 1, "z": null, "a": 1e2}'
	elif [ "$engine" = sqlite ]; then
		printf %s "$meta" >"$T/meta"
		meta=@$T/meta
	fi
	graph checkpoint t/1 '' 1ef-0001 '\N' msgpack "$state" "$meta"
	graph checkpoint t/1 '' 1ef-0002 1ef-0001 msgpack "$large" "$meta"
	graph checkpoint t/1 'sub|a:1,b' 1ef-0003 1ef-0002 msgpack "$state" "$meta"
	graph checkpoint 'ü 2' '' 1ef-0004 '\N' json "$state" "$meta"
	graph write t/1 '' 1ef-0002 task-1 0 messages msgpack "@$T/state"
	graph write t/1 '' 1ef-0002 task-1 1 'branch:to:x' null "@$T/none"
	graph write t/1 '' 1ef-0002 task-1 -1 __error__ msgpack "@$T/large"
}

sql_store()
{
	if [ "$engine" = sqlite ]; then
		shape="
			CREATE TABLE store (prefix text NOT NULL, key text NOT NULL, value text NOT NULL,
				created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
				expires_at TIMESTAMP, ttl_minutes REAL, PRIMARY KEY (prefix, key));
			CREATE INDEX store_prefix_idx ON store (prefix);
			CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
				checkpoint_id TEXT NOT NULL, parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB,
				PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
			CREATE TABLE writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
				checkpoint_id TEXT NOT NULL, task_id TEXT NOT NULL, task_path TEXT NOT NULL DEFAULT '',
				idx INTEGER NOT NULL, channel TEXT NOT NULL, type TEXT, value BLOB,
				PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));"
		tables="checkpoints writes"
		writes=writes
		blob=value
		seconds="strftime('%s', expires_at)"
		zone=
	else
		shape="
			CREATE TABLE store (prefix text NOT NULL, key text NOT NULL, value jsonb NOT NULL,
				created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
				updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
				expires_at TIMESTAMP WITH TIME ZONE, ttl_minutes INT, PRIMARY KEY (prefix, key));
			CREATE INDEX store_prefix_idx ON store USING btree (prefix text_pattern_ops);
			CREATE TABLE checkpoint_migrations (v INTEGER PRIMARY KEY);
			CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
				checkpoint_id TEXT NOT NULL, parent_checkpoint_id TEXT, type TEXT, checkpoint JSONB NOT NULL,
				metadata JSONB NOT NULL DEFAULT '{}', PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
			CREATE TABLE checkpoint_blobs (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
				channel TEXT NOT NULL, version TEXT NOT NULL, type TEXT NOT NULL, blob BYTEA,
				PRIMARY KEY (thread_id, checkpoint_ns, channel, version));
			CREATE TABLE checkpoint_writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
				checkpoint_id TEXT NOT NULL, task_id TEXT NOT NULL, idx INTEGER NOT NULL, channel TEXT NOT NULL,
				type TEXT, blob BYTEA NOT NULL, task_path TEXT NOT NULL DEFAULT '',
				PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));"
		tables="checkpoints checkpoint_writes checkpoint_blobs checkpoint_migrations"
		writes=checkpoint_writes
		blob=blob
		seconds="extract(epoch FROM expires_at)::bigint"
		zone=+00
	fi
	place b
	ddl "$shape"
	place a
	ddl "$shape"
	graph put docs.user a '{"kind": "note", "text": "one"}' '\N' '\N'
	graph put docs.user 'b/c: ü' '{"kind": "note"}' '2035-01-02 03:04:05+00:00' 60
	graph put docs '.x' '{"kind": "other"}' '\N' '\N'
	graph put 'odd/prefix.:ü' '..' '"text"' '\N' '\N'
	graph put '' 'no prefix' '[]' '\N' '\N'
	graph put docs gone '{"kind": "note"}' '2025-01-02 03:04:05+00:00' 60
	ddl "UPDATE store SET created_at = '2025-02-03 04:05:06', updated_at = '2025-02-03 04:05:06$zone'"
	checkpoints
	if [ "$engine" = postgres ]; then
		graph blob t/1 '' messages '00001.0.5' msgpack "@$T/state"
		graph blob t/1 '' messages '00002.0.5' empty '\N'
		ddl "INSERT INTO checkpoint_migrations SELECT generate_series(0, 9)"
	fi
	remember
	mounted "[store:store]" "backend = a" "layout = plain" "preset = langgraph-store" "read_only = no" \
		"[store:user]" "backend = a" "layout = plain" "preset = langgraph-store" "namespace = docs.user" \
		"[store:app]" "backend = a" "kind = sql" "read_only = no" \
		"[store:back/store]" "backend = b" "layout = plain" "preset = langgraph-store" "read_only = no" \
		"[store:back/app]" "backend = b" "kind = sql" "read_only = no" "final_newline = exact"
}

live="expires_at IS NULL OR julianday(expires_at) > julianday('now')"
[ "$engine" = sqlite ] || live="expires_at IS NULL OR expires_at > NOW()"
items() { rows store "prefix, key, value, $seconds" "$live"; }
expires() { ddl "SELECT $seconds FROM store WHERE key = '$1'"; }
all() { for table in store $tables; do rows "$table"; done; }

memory()
{
	local S=$MNT/store
	say "the memory: looking"
	eq prefixes "$(ls -A "$S" | LC_ALL=C sort | tr '\n' ' ')" "%EMPTY docs docs.user odd%2Fprefix.:ü "
	same "$S/docs.user/a" langgraph get docs.user a
	same "$S/docs.user/b%2Fc: ü" langgraph get docs.user 'b/c: ü'
	same "$S/odd%2Fprefix.:ü/%2E." langgraph get 'odd/prefix.:ü' ..
	same "$S/%EMPTY/no prefix" langgraph get '' 'no prefix'
	test ! -e "$S/docs/gone"
	eq "one namespace" "$(ls -A "$MNT/user" | LC_ALL=C sort | tr '\n' ' ')" "a b%2Fc: ü "
	eq "when it was changed" "$(date -u -r "$S/docs/.x" +%FT%T)" 2025-02-03T04:05:06
	eq "grep -r" "$(cd "$S" && grep -rl '"note"' docs* | LC_ALL=C sort | tr '\n' ' ')" "docs.user/a docs.user/b%2Fc: ü "
	eq "as the program finds them" "$(graph search docs.u note | LC_ALL=C sort | tr '\n' ' ')" "docs.user|a docs.user|b/c: ü "
	for tree in "$S" "$MNT/user" "$MNT/app" "$MNT/back"; do look_around "$tree"; done
	unchanged looking

	say "the memory: written by either"
	touch -d "@$((${EPOCHSECONDS} - 2))" "$T/mark" # by whole seconds
	printf '{"n": 1, "kind": "note"}' >"$S/docs.user/b%2Fc: ü"
	eq "a value" "$(graph get docs.user 'b/c: ü' )" '{"n": 1, "kind": "note"}'
	eq "its time stays" "$(expires 'b/c: ü')" 2051319845
	sed -i 's/1/2/' "$S/docs.user/b%2Fc: ü"
	eq "sed -i" "$(graph get docs.user 'b/c: ü' )" '{"n": 2, "kind": "note"}'
	eq "its time stays" "$(expires 'b/c: ü')" 2051319845
	newer_items() { [ "$(newer "$T/mark" "$S" | tr '\n' ' ')" = "$1" ]; }
	eventually newer_items "./docs.user/b%2Fc: ü "
	graph put docs .x '{"kind": "changed"}' '\N' '\N'
	eventually newer_items "./docs.user/b%2Fc: ü ./docs/.x "
	same "$S/docs/.x" langgraph get docs .x
	graph refresh docs.user 'b/c: ü'
	soon() { [ "$(getfattr --absolute-names --only-values -n user.persistfs.ttl "$S/docs.user/b%2Fc: ü" | cut -d . -f 1)" -le 3600 ]; }
	eventually soon
	mkdir "$S/new.space"
	echo '{"kind": "note"}' >"$S/new.space/k"
	eq "a namespace" "$(graph namespaces | grep new)" new.space
	eq "found" "$(graph search new note)" "new.space|k"
	setfattr -n user.persistfs.ttl -v 1h "$S/new.space/k"
	graph sweep
	eq "not swept" "$(graph search new note)" "new.space|k"
	rm "$S/new.space/k"
	finds_nothing langgraph get new.space k
	rmdir "$S/new.space"
	graph delete docs .x
	eventually gone "$S/docs/.x"
	printf '{broken' >"$T/broken"
	if [ "$engine" = postgres ]; then
		refused "Invalid argument" cp "$T/broken" "$S/docs.user/a"
		same "$S/docs.user/a" langgraph get docs.user a
	fi

	say "the memory: out, and into an empty one"
	out_and_back store back/store items
	find "$MNT/back/store" -mindepth 1 -delete
	eq "emptied" "$(at b && rows store)" ""
}

sql_checkpoints()
{
	local C=$MNT/app/checkpoints W=$MNT/app/$writes key="t%2F1,%EMPTY,1ef-0002"
	say "checkpoints: looking"
	eq rows "$(ls -A "$C" | LC_ALL=C sort | tr '\n' ' ')" \
		"t%2F1,%EMPTY,1ef-0001 t%2F1,%EMPTY,1ef-0002 t%2F1,sub|a:1%2Cb,1ef-0003 ü 2,%EMPTY,1ef-0004 "
	same "$C/$key/checkpoint" langgraph state t/1 '' 1ef-0002
	same "$C/t%2F1,sub|a:1%2Cb,1ef-0003/checkpoint" langgraph state t/1 'sub|a:1,b' 1ef-0003
	eq latest "$(ls -U "$C/.where/thread_id/eq/t%2F1/.where/checkpoint_ns/eq/%EMPTY/.order/checkpoint_id.desc/.first/1")" "$key"
	eq "as the program finds it" "$(graph latest t/1 '')" "1ef-0002|1ef-0001|msgpack"
	same "$W/$key,task-1,0/$blob" langgraph written t/1 '' 1ef-0002 task-1 0
	same "$W/$key,task-1,-1/$blob" langgraph written t/1 '' 1ef-0002 task-1 -1
	eq "writes" "$(ls -A "$W" | wc -l)" "$(graph writes t/1 '' 1ef-0002 | wc -l)"

	say "checkpoints: written by either"
	if [ "$engine" = sqlite ]; then
		cp "$T/large" "$C/t%2F1,%EMPTY,1ef-0001/checkpoint"
		graph state t/1 '' 1ef-0001 | cmp - "$T/large"
		cp "$T/none" "$C/t%2F1,%EMPTY,1ef-0001/checkpoint"
		eq "no bytes" "$(graph state t/1 '' 1ef-0001 | wc -c)" 0
	else
		printf '{"v":2}' >"$C/t%2F1,%EMPTY,1ef-0001/checkpoint"
		eq "as the engine keeps it" "$(graph state t/1 '' 1ef-0001)" '{"v": 2}'
		eq "and the file" "$(cat "$C/t%2F1,%EMPTY,1ef-0001/checkpoint")" '{"v": 2}'
	fi
	cp "$T/state" "$W/$key,task-1,-1/$blob"
	graph written t/1 '' 1ef-0002 task-1 -1 | cmp - "$T/state"
	# A row is made when all is there that must be.
	mkdir "$W/$key,task-2,0"
	printf messages >"$W/$key,task-2,0/channel"
	cp "$T/large" "$W/$key,task-2,0/$blob"
	eq "a write" "$(graph writes t/1 '' 1ef-0002 | tail -n 1)" "task-2|0|messages|\\N"
	graph written t/1 '' 1ef-0002 task-2 0 | cmp - "$T/large"
	rmdir "$W/$key,task-2,0"
	finds_nothing langgraph written t/1 '' 1ef-0002 task-2 0
	find "$MNT/app" -newer "$T" >/dev/null
	touch -d "@$EPOCHREALTIME" "$T/mark"
	graph write t/1 '' 1ef-0002 task-1 0 messages msgpack "@$T/large"
	is_newer() { [ "$(newer "$T/mark" "$W")" = "./$key,task-1,0/$blob" ]; }
	eventually is_newer
	graph forget 'ü 2'
	eventually gone "$C/ü 2,%EMPTY,1ef-0004"

	say "out, and into empty ones"
	out_and_back app back/app all
}

# A Redis as the program keeps its checkpoints there, with a dollar sign between what a key is made of.
redis_checkpoints()
{
	local C=$MNT/app/checkpoint W=$MNT/app/writes
	place b
	place a
	checkpoints
	graph cache nodes.f '{"x": 1}/k' "msgpack:binary" 7200
	remember
	mounted "[store:app]" "backend = a" "layout = native" 'separator = $' "read_only = no" \
		"[store:back]" "backend = b" "layout = native" 'separator = $' "read_only = no"
	say "looking"
	same "$C/t%2F1/%EMPTY/1ef-0002/checkpoint" langgraph state t/1 '' 1ef-0002
	same "$C/t%2F1/sub|a:1,b/1ef-0003/checkpoint" langgraph state t/1 'sub|a:1,b' 1ef-0003
	eq latest "$(ls "$C/t%2F1/%EMPTY" | tail -n 1)" 1ef-0002
	eq "as the program finds it" "$(graph latest t/1 '' | LC_ALL=C sort | tail -n 1)" 'checkpoint$t/1$$1ef-0002'
	same "$W/t%2F1/%EMPTY/1ef-0002/task-1/0/value" langgraph written t/1 '' 1ef-0002 task-1 0
	same "$MNT/app/langgraph:cache:nodes.f:{\"x\": 1}%2Fk" langgraph cached nodes.f '{"x": 1}/k'
	eq "grep -r" "$(grep -rl -a __error__ "$MNT/app" | LC_ALL=C sort | head -n 1)" "$W/t%2F1/%EMPTY/1ef-0002/task-1/-1/channel"
	look_around "$MNT/app"
	unchanged looking

	say "written by either"
	cp "$T/large" "$C/t%2F1/%EMPTY/1ef-0001/checkpoint"
	graph state t/1 '' 1ef-0001 | cmp - "$T/large"
	mkdir -p "$C/new/%EMPTY/1ef-0009"
	cp "$T/state" "$C/new/%EMPTY/1ef-0009/checkpoint"
	eq "a checkpoint" "$(graph latest new '')" 'checkpoint$new$$1ef-0009'
	graph state new '' 1ef-0009 | cmp - "$T/state"
	rm -r "$C/new"
	finds_nothing langgraph latest new ''
	find "$MNT/app" -newer "$T" >/dev/null
	touch -d "@$EPOCHREALTIME" "$T/mark"
	graph write t/1 '' 1ef-0002 task-1 0 messages msgpack "@$T/none"
	same "$W/t%2F1/%EMPTY/1ef-0002/task-1/0/value" langgraph written t/1 '' 1ef-0002 task-1 0
	is_newer() { [ "$(newer "$T/mark" "$W")" = "./t%2F1/%EMPTY/1ef-0002/task-1/0/value" ]; }
	eventually is_newer
	graph forget 'ü 2' '' 1ef-0004
	eventually gone "$C/ü 2"
	ttl=$(rcli TTL 'langgraph:cache:nodes.f:{"x": 1}/k')
	printf %s json:1 >"$MNT/app/langgraph:cache:nodes.f:{\"x\": 1}%2Fk"
	eq "a cached value" "$(graph cached nodes.f '{"x": 1}/k')" json:1
	[ "$(rcli TTL 'langgraph:cache:nodes.f:{"x": 1}/k')" -gt $((ttl - 60)) ] || fail "the time to live"

	say "out, and into an empty one"
	out_and_back app back redis_content
}

if [ "$engine" = redis ]; then
	redis_checkpoints
else
	sql_store
	memory
	sql_checkpoints
fi
stop
