#!/bin/bash
# AIECS's sessions with their counters, conversations and checkpoints: tables of both SQL engines, hashes and
# lists of Redis, each by three lines.
# time limit: 60 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
. "$here/apps.sh"

aiecs() { app aiecs "$@"; }

fill()
{
	aiecs session s1 ann '{"plan": "pro", "tags": ["a", "ü"]}'
	aiecs session 'team/7:x y' bob '{}'
	aiecs session .s3 '' 'null'
	aiecs request s1 0.5
	aiecs say s1 user 'hello aiecs' '{"n": 1}'
	aiecs say s1 assistant $'two\nlines' '\N'
	aiecs say s1 user '' '\N'
	aiecs say 'team/7:x y' user 'quo"te'"'"$'\n' '\N'
	aiecs checkpoint th/1 cp-1 '{"step": 1}'
	aiecs checkpoint th/1 cp-2 '{"step": 2, "state": {"k": null}}'
	aiecs checkpoint th2 'cp,3 %' '[]'
}

# ---- tables --------------------------------------------------------------------------------------

sql_place()
{
	local now=CURRENT_TIMESTAMP json=JSON serial="INTEGER PRIMARY KEY AUTOINCREMENT"
	if [ "$engine" = postgres ]; then
		now="NOW()"
		json=JSONB
		serial="SERIAL PRIMARY KEY"
	fi
	place "$1"
	ddl "
		CREATE TABLE sessions (session_id VARCHAR(255) PRIMARY KEY, user_id VARCHAR(255) NOT NULL,
			created_at TIMESTAMP DEFAULT $now, updated_at TIMESTAMP DEFAULT $now,
			status VARCHAR(50) DEFAULT 'active', metadata $json, request_count INTEGER DEFAULT 0,
			total_processing_time FLOAT DEFAULT 0.0, error_count INTEGER DEFAULT 0);
		CREATE TABLE conversations (id $serial, session_id VARCHAR(255) NOT NULL, role VARCHAR(50) NOT NULL,
			content TEXT NOT NULL, timestamp TIMESTAMP DEFAULT $now, metadata $json,
			FOREIGN KEY (session_id) REFERENCES sessions (session_id));
		CREATE INDEX idx_conversations_session ON conversations (session_id);
		CREATE TABLE checkpoints (thread_id VARCHAR(255) NOT NULL, checkpoint_id VARCHAR(255) NOT NULL,
			data $json NOT NULL, created_at TIMESTAMP DEFAULT $now, PRIMARY KEY (thread_id, checkpoint_id));"
}

content() { for table in sessions conversations checkpoints; do rows "$table"; done; }
one_table() { rows "$table"; }


tables()
{
	local S=$MNT/app/sessions C=$MNT/app/conversations P=$MNT/app/checkpoints
	sql_place b
	sql_place a
	fill
	ddl "UPDATE sessions SET created_at = '2025-02-03 04:05:06', updated_at = '2025-02-03 04:05:06'"
	remember
	mounted "[store:app]" "backend = a" "kind = sql" "mtime_column = updated_at" "read_only = no" \
		"[store:back]" "backend = b" "kind = sql" "read_only = no" "final_newline = exact"

	say "looking"
	eq sessions "$(ls -A "$S" | LC_ALL=C sort | tr '\n' ' ')" "%2Es3 s1 team%2F7:x y "
	same "$S/s1/metadata" aiecs metadata s1
	same "$P/th%2F1,cp-2/data" aiecs data th/1 cp-2
	same "$P/th2,cp%2C3 %/data" aiecs data th2 'cp,3 %'
	eq "a counter" "$(cat "$S/s1/request_count") $(cat "$S/s1/total_processing_time")" "1 0.5"
	eq "of a session" "$(ls "$C/.by/session_id/s1" | tr '\n' ' ')" "1 2 3 "
	cat "$C/.by/session_id/s1/.order/id.desc/"*"/content" >"$T/found"
	eq "the last" "$(cat "$C/.by/session_id/s1/.last/2/2/content")" $'two\nlines'
	eq "grep -r" "$(cd "$C" && grep -rl aiecs . | cut -d / -f 2)" "$(aiecs grep aiecs)"
	eq "when it was changed" "$(date -u -r "$S/s1/status" +%FT%T)" 2025-02-03T04:05:06
	look_around "$MNT/app"
	look_around "$MNT/back"
	unchanged looking

	say "written by either"
	touch -d "@$((EPOCHSECONDS - 2))" "$T/mark" # updated_at may have whole seconds
	printf closed >"$S/s1/status"
	eq "a status" "$(aiecs status s1)" "ann|closed|1|0.5"
	aiecs request s1 0.25
	setfattr -n user.persistfs.incr -v 1 "$S/s1/request_count"
	eq "counted by both" "$(aiecs status s1)" "ann|closed|3|0.75"
	count_is() { [ "$(cat "$S/s1/request_count")" = "$1" ]; }
	eventually count_is 3
	sed -i 's/pro/free/' "$S/s1/metadata"
	eq "sed -i" "$(aiecs metadata s1)" '{"plan": "free", "tags": ["a", "ü"]}'
	eq "it stays json" "$(cat "$S/s1.json" | grep -c '"request_count":3')" 1
	echo '{"status": "idle", "error_count": 2}' >"$S/team%2F7:x y.json"
	eq "some columns" "$(aiecs status 'team/7:x y' | cut -d '|' -f 1-3)" "bob|idle|0"
	mkdir "$S/s9"
	printf carl >"$S/s9/user_id"
	eq "the defaults" "$(aiecs status s9 | cut -d '|' -f 1-3)" "carl|active|0"
	echo '{"session_id": "s9", "role": "user", "content": "from the mount"}' >"$C/100.json"
	eq "what was said" "$(aiecs history s9)" "from the mount"
	refused "resource busy" rmdir "$S/s9"
	printf none >"$T/x"
	refused "resource busy" cp "$T/x" "$C/1/session_id"
	eq "it stays" "$(cat "$C/1/session_id") $(aiecs history s1 | wc -l)" "s1 3"
	echo '{"session_id": "none", "role": "user", "content": "x"}' >"$T/x"
	refused "resource busy" cp "$T/x" "$C/101.json"
	eq "no such row" "$(ls "$C" | tr '\n' ' ')" "1 100 2 3 4 "
	rm "$C/100.json"
	rmdir "$S/s9"
	finds_nothing aiecs status s9
	aiecs end .s3
	eventually gone "$S/%2Es3"
	printf '{"step": 9}' >"$P/th%2F1,cp-1/data"
	eq "a checkpoint" "$(aiecs data th/1 cp-1)" '{"step": 9}'
	newer_sessions() { [ "$(newer "$T/mark" "$S" | cut -d / -f 2 | sort -u)" = "$1" ]; }
	eventually newer_sessions s1

	say "out, and into an empty one"
	# Rows follow those that they refer to.
	for table in sessions conversations checkpoints; do
		out_and_back "app/$table" "back/$table" one_table
	done
	diff <(content) <(at b && content)
}

# ---- Redis ---------------------------------------------------------------------------------------

keys()
{
	local S=$MNT/app/session C=$MNT/app/conversation P=$MNT/app/checkpoints
	place b
	place a
	fill
	remember
	mounted "[store:app]" "backend = a" "layout = native" "read_only = no" \
		"[store:back]" "backend = b" "layout = native" "read_only = no"

	say "looking"
	eq sessions "$(ls -A "$S" | LC_ALL=C sort | tr '\n' ' ')" ".s3 s1 team%2F7 "
	same "$S/s1/metadata" aiecs metadata s1
	same "$S/team%2F7/x y/metadata" aiecs metadata 'team/7:x y'
	same "$P/th%2F1/cp-2" aiecs data th/1 cp-2
	same "$P/th2/cp,3 %" aiecs data th2 'cp,3 %'
	eq "newest first" "$(for f in "$C"/s1/*; do printf '%s;' "$(cat "$f")"; done)" $';two\nlines;hello aiecs;'
	eq "as the program finds them" "$(aiecs history s1)" $'\ntwo\\nlines\nhello aiecs'
	eq "grep -r" "$(cd "$MNT/app" && grep -rl aiecs .)" ./conversation/s1/00000002
	look_around "$MNT/app"
	unchanged looking

	say "written by either"
	left=$(rcli TTL session:s1)
	printf closed >"$S/s1/status"
	eq "a status" "$(aiecs status s1 | tr '\n' '|')" "ann|closed|1|0.5|"
	aiecs request s1 0.25
	setfattr -n user.persistfs.incr -v 1 "$S/s1/request_count"
	eq "counted by both" "$(aiecs status s1 | tr '\n' '|')" "ann|closed|3|0.75|"
	count_is() { [ "$(cat "$S/s1/request_count")" = "$1" ]; }
	eventually count_is 3
	sed -i 's/pro/free/' "$S/s1/metadata"
	eq "sed -i" "$(aiecs metadata s1)" '{"plan": "free", "tags": ["a", "ü"]}'
	[ "$(rcli TTL session:s1)" -ge $((left - 60)) ] || fail "the time to live"
	printf %s 'from the mount' >>"$C/s1/+head"
	eq "what was said" "$(aiecs history s1 | head -n 1)" "from the mount"
	aiecs say s1 assistant 'an answer' '\N'
	heard() { [ "$(cat "$C/s1/00000000")" = "an answer" ]; }
	eventually heard
	eq "all of it" "$(ls "$C/s1" | wc -l)" "$(rcli LLEN conversation:s1)"
	mkdir "$S/s9"
	printf carl >"$S/s9/user_id"
	printf active >"$S/s9/status"
	eq "a session" "$(aiecs status s9 | head -n 2 | tr '\n' ' ')" "carl active "
	setfattr -n user.persistfs.ttl -v 1h "$S/s9"
	[ "$(rcli TTL session:s9)" -gt 3500 ] || fail "no time to live"
	find "$MNT/app" -newer "$T" >/dev/null
	touch -d "@$EPOCHREALTIME" "$T/mark"
	aiecs checkpoint th/1 cp-1 '{"step": 9}'
	same "$P/th%2F1/cp-1" aiecs data th/1 cp-1
	is_newer() { [ "$(newer "$T/mark" "$MNT/app")" = ./checkpoints/th%2F1/cp-1 ]; }
	eventually is_newer
	rm -r "$S/s9"
	eq "ended" "$(rcli EXISTS session:s9)" 0
	aiecs end .s3
	eventually gone "$S/.s3"

	say "out, and into an empty one"
	out_and_back app back redis_content
}

case $engine in
redis) keys ;;
*) tables ;;
esac
stop
