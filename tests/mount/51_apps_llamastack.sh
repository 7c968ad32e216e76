#!/bin/bash
# The keys and values of llama-stack, where it keeps them: a table in SQLite and PostgreSQL, there also by its
# later name, ogx, and strings in Redis.
# time limit: 90 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin
. "$here/apps.sh"

# A key, its file where keys are flat, and where colons divide them.
keys=(
	'reg:v2::model:meta/llama:8b' 'reg:v2::model:meta%2Fllama:8b' 'reg/v2/%EMPTY/model/meta%2Fllama/8b'
	'agents:A1:S1' 'agents:A1:S1' 'agents/A1/S1/%VALUE'
	'agents:A1:S1:T1' 'agents:A1:S1:T1' 'agents/A1/S1/T1'
	'agents:A1:S1:.dot' 'agents:A1:S1:.dot' 'agents/A1/S1/.dot'
	'a b/c//ü €' 'a b%2Fc%2F%2Fü €' 'a b%2Fc%2F%2Fü €'
	'100%' '100%' '100%'
	'a%2Fb' 'a%252Fb' 'a%252Fb'
	'.' '%2E' '%2E'
	'..' '%2E.' '%2E.'
	'4913' '4913' '4913'
	'notes~' 'notes~' 'notes~'
	"quo'te\"" "quo'te\"" "quo'te\""
	$'two\nlines' $'two\nlines' $'two\nlines'
	':end:' ':end:' '%EMPTY/end/%EMPTY'
	'vector_io::faiss:ix:1' 'vector_io::faiss:ix:1' 'vector_io/%EMPTY/faiss/ix/1'
)
wide=$(printf 'w%.0s' {1..300}) # too long for the name of a file

if short; then keys=("${keys[@]:0:12}"); fi

# set_key KEY VALUE [TIME SECONDS]
set_key()
{
	if [ "$engine" != redis ]; then
		app "$stack" set "$1" "$2" "${3:-\\N}"
	elif [ $# = 4 ]; then
		app "$stack" set-until "$1" "$2" "$4"
	else
		app "$stack" set "$1" "$2"
	fi
}
get() { app "$stack" get "$1"; }
no_key() { finds_nothing "$stack" get "$1"; }

# When a key expires, in seconds since 1970.
expires()
{
	case $engine in
	sqlite) sql "SELECT strftime('%s', expiration) FROM $table WHERE key = '$1'" ;;
	postgres) pg "SELECT extract(epoch FROM expiration)::bigint FROM $table WHERE key = '$1'" ;;
	redis) rcli EXPIRETIME "$1" ;;
	esac
}

# All that the program would find, with times, sorted.
content()
{
	case $engine in
	sqlite) rows "$table" "key, value, strftime('%s', expiration)" "expiration IS NULL OR julianday(expiration) > julianday('now')" ;;
	postgres) rows "$table" "*" "expiration IS NULL OR expiration > NOW()" ;;
	redis) redis_content ;;
	esac
}

# How many keys there are.
count()
{
	case $engine in
	redis) rcli DBSIZE ;;
	*) content | wc -l ;;
	esac
}

# The keys whose values hold a word, by the program's own means.
find_keys()
{
	local key
	if [ "$engine" != redis ]; then
		app "$stack" find "$1"
		return
	fi
	app "$stack" range "" | while read -r key; do
		if get "${key//\\n/$'\n'}" | grep -q "$1"; then echo "$key"; fi
	done
}

fill()
{
	local i
	for ((i = 0; i < ${#keys[@]}; i += 3)); do
		set_key "${keys[i]}" "{\"n\": $i, \"of\": \"llama\"}"
	done
	set_key 'vector_io::faiss:ix:1' indexed
	set_key "$wide" wide
	set_key long "<$T/long"
	set_key empty ""
	set_key 'until:T' later 2035-01-02T03:04:05+00:00 2051319845
	set_key 'until:space' later '2035-01-02 03:04:05+00:00' 2051319845
	if [ "$engine" != redis ]; then
		app "$stack" set 'past:T' llama 2025-01-02T03:04:05+00:00
		app "$stack" set 'past:space' llama '2025-01-02 03:04:05+00:00'
		app "$stack" set none '\N' '\N'
	fi
}

looks()
{
	local i
	say "$table: what the program wrote"
	for ((i = 0; i < ${#keys[@]}; i += 3)); do
		same "$F/${keys[i + 1]}" "$stack" get "${keys[i]}"
		same "$D/${keys[i + 2]}" "$stack" get "${keys[i]}"
	done
	same "$F/long" "$stack" get long
	same "$F"/wwww*%~* "$stack" get "$wide"
	same "$D"/wwww*%~* "$stack" get "$wide"
	eq "one namespace" "$(ls -A "$MNT/faiss")" ix:1
	eq "its keys" "$(cat "$MNT/faiss/ix:1")" indexed
	eq "an empty value" "$(stat -c %s "$F/empty")" 0
	no_key past:T
	test ! -e "$F/past:T"
	test ! -e "$D/past"
	eq "keys" "$(find "$F" -type f -print0 | tr -cd '\0' | wc -c)" "$(count)"
	eq "and as a tree" "$(find "$D" -type f -print0 | tr -cd '\0' | wc -c)" "$(count)"
	find_keys llama | sed 's/\\n/ /' | LC_ALL=C sort >"$T/wanted"
	(cd "$F" && grep -r -l -Z llama .) | tr '\n\0' ' \n' |
		sed 's/^\.\///; s/%252F/%_2F/g; s/%2F/\//g; s/%_/%/g; s/%2E/./g' | LC_ALL=C sort >"$T/found"
	diff "$T/wanted" "$T/found"
	look_around "$F"
	look_around "$D"
	unchanged looking
}

emptied() { [ "$(get copied; echo .)" = . ]; }

writes()
{
	local i
	say "$table: what the mount writes"
	for ((i = 0; i < ${#keys[@]}; i += 3)); do
		printf %s "flat $i" >"$F/${keys[i + 1]}"
		eq "written: ${keys[i]}" "$(get "${keys[i]}")" "flat $i"
		printf %s "tree, $i" >"$D/${keys[i + 2]}"
		eq "written: ${keys[i]}" "$(get "${keys[i]}")" "tree, $i"
	done
	echo new >"$D/agents/A1/S1/T2"
	eq "a new key" "$(get agents:A1:S1:T2; echo .)" $'new\n.'
	eq "of those that begin so" "$(app "$stack" range agents:A1:S1:T agents:A1:S1:U | LC_ALL=C sort | tr '\n' ' ')" \
		"agents:A1:S1:T1 agents:A1:S1:T2 "
	cp "$T/long" "$F/copied"
	get copied | cmp - "$T/long"
	: >"$F/copied"
	# Nothing was written: that is known with the last close, for which close(2) does not wait.
	eventually emptied
	printf '{"a": [1, 2]}\n' >"$D/agents/A1/S1/T1"
	sed -i s/2/3/ "$D/agents/A1/S1/T1"
	eq "sed -i" "$(get agents:A1:S1:T1)" '{"a": [1, 3]}'
	vi=$(command -v vim || command -v vim.tiny)
	"$vi" -es -u NONE -c 'set nocp backup writebackup' -c '%s/3/4/' -c wq "$D/agents/A1/S1/T1" </dev/null
	eq "vim" "$(get agents:A1:S1:T1)" '{"a": [1, 4]}'
	rm -f "$D/agents/A1/S1/T1~"
	# What jq and others do, by a name that is a key like any.
	sed s/4/5/ "$D/agents/A1/S1/T1" >"$D/agents/A1/S1/T1.new"
	mv "$D/agents/A1/S1/T1.new" "$D/agents/A1/S1/T1"
	eq "rename" "$(get agents:A1:S1:T1)" '{"a": [1, 5]}'
	no_key agents:A1:S1:T1.new
	echo wider >"$(echo "$F"/wwww*%~*)"
	eq "by its short name" "$(get "$wide")" wider
	rm "$D"/wwww*%~* # which only the table can tell the key of
	no_key "$wide"
	printf %s more >"$MNT/faiss/ix:2"
	eq "in a namespace" "$(get vector_io::faiss:ix:2)" more
	rm "$D/agents/A1/S1/T2"
	no_key agents:A1:S1:T2
	app "$stack" delete copied
	eventually gone "$F/copied"
}

times()
{
	say "$table: times"
	for key in until:T until:space; do
		printf %s kept >"$F/$key"
		eq "written" "$(get $key)" kept
		eq "a write keeps the time" "$(expires $key)" 2051319845
		sed -i s/kept/again/ "$F/$key"
		eq "and sed -i" "$(get $key) $(expires $key)" "again 2051319845"
	done
	setfattr -n user.persistfs.expires -v 2036-02-03T04:05:06Z "$D/agents/A1/S1/T1"
	eq "set" "$(expires agents:A1:S1:T1)" 2085624306
	eq "the value stands" "$(get agents:A1:S1:T1)" '{"a": [1, 5]}'
	set_key fresh x 2035-01-02T03:04:05+00:00 2051319845
	eventually test -e "$F/fresh"
	eq "what the program set" "$(getfattr --absolute-names --only-values -n user.persistfs.expires "$F/fresh")" 2051319845.000000000
	setfattr -n user.persistfs.expires -v 2025-01-01T00:00:00Z "$F/fresh"
	eventually gone "$F/fresh"
	no_key fresh
	printf %s back >"$F/fresh"
	eq "anew, for ever" "$(get fresh)" back
}

news()
{
	say "$table: find -newer"
	find "$F" -type f -newer "$T" >/dev/null
	# Not by touch alone, whose clock is coarser.
	touch -d "@$EPOCHREALTIME" "$T/mark"
	set_key agents:A1:S1 changed
	is_newer() { [ "$(newer "$T/mark" "$F")" = ./agents:A1:S1 ]; }
	eventually is_newer
	same "$F/agents:A1:S1" "$stack" get agents:A1:S1
}

# empty_again STORE: and the place behind it.
empty_again()
{
	find "$MNT/$1" -mindepth 1 -delete
	eq "emptied" "$(at b && count)" 0
}

back()
{
	local kind=$1 to=$2
	shift 2
	content >"$T/wanted"
	rsync -rX "$@" "$MNT/$kind/" "$T/out.$kind.$table/"
	rsync -rX "$@" "$T/out.$kind.$table/" "$MNT/back/$kind/"
	(at "$to" && content) >"$T/found"
	diff "$T/wanted" "$T/found"
	diff -r "$T/out.$kind.$table" "$MNT/back/$kind"
	find "$MNT/back/$kind" -mindepth 1 -delete
	eq "emptied" "$(at "$to" && count)" 0
}

back()
{
	say "$table: out, and into an empty one"
	# Two of the keys look like an editor's files: they are kept where those are keys like others, and
	# then rsync must not make files of its own.
	out_and_back flat back/flat content --inplace
	empty_again back/flat
	app "$stack" delete 4913
	app "$stack" delete notes~
	eventually gone "$D/4913"
	eventually gone "$D/notes~"
	out_and_back tree back/tree content
	empty_again back/tree
}

# story TABLE SHAPE LINES: from beginning to end, on the empty places a and b.
story()
{
	local store="read_only = no
$3"
	table=$1
	stack=llamastack:$table
	at b
	ddl "$2"
	at a
	ddl "$2"
	fill
	remember
	mounted "[store:flat]" "backend = a" "$store" "${flat:-}" \
		"[store:tree]" "backend = a" "$store" "separator = :" \
		"[store:faiss]" "backend = a" "$store" "${flat:-}" "$faiss" \
		"[store:back/flat]" "backend = b" "$store" "scratch = store" "${flat:-}" \
		"[store:back/tree]" "backend = b" "$store" "separator = :"
	looks
	writes
	times
	news
	back
	stop
}

head -c 300000 /dev/urandom | base64 >"$T/long"
F=$MNT/flat
D=$MNT/tree
plain="layout = plain
preset = llamastack"
faiss="namespace = vector_io::faiss"
place a
place b
case $engine in
sqlite) story kvstore "CREATE TABLE kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)" "$plain" ;;
postgres)
	story llamastack_kvstore "CREATE TABLE llamastack_kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)" "$plain"
	rm -r "$T/out"
	keys=("${keys[@]:0:12}")
	story ogx_kvstore "DROP TABLE llamastack_kvstore;
		CREATE TABLE ogx_kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMPTZ);
		CREATE INDEX idx_ogx_kvstore_expiration ON ogx_kvstore (expiration) WHERE expiration IS NOT NULL" "$plain"
	;;
redis)
	flat="separator ="
	faiss="prefix = vector_io::faiss:"
	story keys "" "layout = native"
	;;
esac
