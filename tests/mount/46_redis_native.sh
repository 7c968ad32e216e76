#!/bin/bash
# The keys of another application's Redis as files: real tools on one side, redis-cli on the other.
# time limit: 60 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
[ "$engine" = redis ] || exit 0
need_command getfattr
own_place
MNT=$T/mnt
M=$MNT/app
mkdir "$MNT"

# use LINE...: mounts the database as the store `app`, with these lines more.
use()
{
	config "$T/persistfs.ini" <<-END
		$(engine_section local)

		[store:app]
		backend = local
		layout = native
		$(printf '%s\n' "$@")
	END
	mount_ini "$T/persistfs.ini" "$MNT"
}

# The shapes of an application that keeps sessions as hashes and conversations as lists.
rcli >/dev/null <<-'END'
	HSET session:1 user ann status active created 2025-01-01T00:00:00
	EXPIRE session:1 3600
	HSET session:2 user bob status idle
	LPUSH conversation:1 "first" "second" "newest"
	SET user:ann:name Ann
	SET user:ann "{\"id\": 1}"
	SET token:abc secret EX 7200
	SADD tags red blue "with space"
	ZADD scores 1.5 ann 20 bob
	SET text "one\ntwo\n"
	XADD events 1-1 kind login user ann
	XADD events 2-1 kind "with \"quotes\""
	SET "odd/na%me" x
END
redis_content >"$T/before"

say "read only unless told otherwise; looking changes nothing"
use
refused 'Read-only' touch "$M/new"
eq "names" "$(cd "$M" && echo *)" "conversation events.jsonl odd%2Fna%me scores session tags text token user"
eq "a field" "$(cat "$M/session/1/user")" ann
eq "newest first" "$(cat "$M/conversation/1/00000000")" newest
eq "the key that others begin with" "$(cat "$M/user/ann/%VALUE")" '{"id": 1}'
eq "a score" "$(cat "$M/scores/bob")" 20
grep -r Ann "$M" >"$T/found"
eq "grep -r" "$(cat "$T/found")" "$M/user/ann/name:Ann"
find "$M" -newermt 2001-01-01 -type f >"$T/files"
eq "find" "$(wc -l <"$T/files")" 19
getfattr -d -R -m . "$M" >/dev/null 2>&1
redis_content >"$T/after"
cmp "$T/before" "$T/after"
has 'index: 11 keys, complete: yes' "$MNT/.persistfs/stores/app/health"
rsync -rX "$M/" "$T/copy/"
stop

say "write with real tools"
use 'read_only = no'
printf %s v1 >"$M/config"
eq "printf" "$(rcli GET config)" v1
echo more >>"$M/config"
eq ">>" "$(rcli GET config)" "v1more"
echo new-secret >"$M/token/abc"
ttl=$(rcli TTL token:abc)
[ "$ttl" -gt 7000 ] || fail "the time to live has become $ttl"
sed -i s/two/2/ "$M/text"
eq "sed -i" "$(rcli GET text)" $'one\n2'
if command -v vim >/dev/null; then
	TERM=dumb vim -N -u NONE -i NONE -es -c '%s/one/1/' -c wq "$M/text" </dev/null
	eq "vim" "$(rcli GET text)" $'1\n2'
	TERM=dumb vim -N -u NONE -i NONE -es -c '%s/active/closed/' -c wq "$M/session/1/status" </dev/null
	eq "vim in a hash" "$(rcli HGET session:1 status)" closed
fi
cp "$M/text" "$T/text"
echo from-cp >"$T/text"
cp --remove-destination "$T/text" "$M/text"
eq "cp" "$(rcli GET text)" from-cp
mv "$M/text" "$M/text2"
eq "mv" "$(rcli EXISTS text) $(rcli GET text2)" "0 from-cp"
touch "$M/text2"
touch "$M/tags/green"
eq "a member" "$(rcli SISMEMBER tags green)" 1
rm "$M/tags/green" "$M/text2"
eq "rm" "$(rcli EXISTS text2) $(rcli SISMEMBER tags green)" "0 0"
mkdir "$M/cart"
echo 2 >"$M/cart/apples"
eq "mkdir and a file" "$(rcli TYPE cart) $(rcli HGET cart apples)" "hash 2"
rm -r "$M/cart"
eq "rm -r" "$(rcli EXISTS cart)" 0
echo queued >>"$M/conversation/1/+"
printf %s front >"$M/conversation/1/+head"
eq "a list" "$(rcli LRANGE conversation:1 0 -1 | tr '\n' ,)" "front,newest,second,first,queued,,"
eq "is shown" "$(echo $(ls "$M/conversation/1"))" "00000000 00000001 00000002 00000003 00000004"
refused 'Operation not permitted' rm "$M/conversation/1/00000002"
setfattr -n user.persistfs.ttl -v 60 "$M/config"
[ "$(rcli TTL config)" -gt 50 ] || fail "no time to live"
rcli SET hits 41 >/dev/null
setfattr -n user.persistfs.incr -v 1 "$M/hits"
eq "a counter" "$(cat "$M/hits") $(rcli GET hits)" "42 42"
cp -a "$M/conversation/1" "$M/copied"
eq "cp -a" "$(rcli LRANGE copied 0 -1)" "$(rcli LRANGE conversation:1 0 -1)"
mv "$M/conversation" "$M/talks"
eq "mv of a directory" "$(rcli LLEN talks:1) $(rcli EXISTS conversation:1)" "5 0"
printf %s away >"$M/session/1/status"
[ "$(rcli TTL session:1)" -gt 3500 ] || fail "the session expires at another time"
eq "no scratch files" "$(rcli KEYS '*sw*') $(rcli KEYS '*~') $(rcli KEYS 'sed*')" "  "

say "what others write is seen at once"
cat "$M/hits" >/dev/null
shows() { [ "$(cat "$M/hits")" = "$1" ]; }
for i in 1 2 3 4 5 6 7 8 9 10; do
	rcli SET hits "n$i" >/dev/null
	start=${EPOCHREALTIME/[.,]/}
	eventually shows "n$i"
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	[ "$took" -le "${worst:-0}" ] || worst=$took
done
note "a SET shows after at most $worst ms"
rcli SET fresh:deep:key x >/dev/null
eventually test -e "$M/fresh/deep/key"
rcli DEL fresh:deep:key >/dev/null
gone() { [ ! -e "$M/fresh" ]; }
eventually gone

say "the connections are cut, and nothing stale stays"
cut_connections
rcli SET hits after >/dev/null
eventually shows after

say "out of it and back into an empty one"
rcli FLUSHDB >/dev/null
gone() { [ -z "$(ls "$M/copied")" ]; }
eventually gone
rmdir "$M/copied" # it was made here: it stays until then
empty() { [ -z "$(ls "$M")" ]; }
eventually empty
rsync -rX "$T/copy/" "$M/"
redis_content >"$T/after"
diff "$T/before" "$T/after"

say "large elements are listed without having them all in memory"
rcli CONFIG SET appendonly no >/dev/null
rcli EVAL "local v = string.rep('x', 1048576)
	for i = 1, 150 do redis.call('HSET', 'large', i, v) redis.call('RPUSH', 'row', v) end" 0 >/dev/null
before=$(daemon_kb VmHWM)
eventually test -d "$M/row"
eq fields "$(ls "$M/large" | wc -l)" 150
eq elements "$(ls -l "$M/row" | grep -c 1048576)" 150
peak=$(($(daemon_kb VmHWM) - before))
note "$peak kB for 150 elements of 1 MiB each"
sanitized || [ "$peak" -lt 65536 ] || fail "over 64 MiB"
rcli DEL large row >/dev/null
rcli CONFIG SET appendonly yes >/dev/null
stop
