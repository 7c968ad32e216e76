#!/bin/bash
# Encrypted connections. PostgreSQL: sslmode=require and verify-full against a certificate made here,
# and a clear refusal where the server has no SSL, or another certificate. Redis: rediss:// is refused.
# time limit: 120 s
# only servers
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"
begin

need_mount
need_server
MNT=$T/mnt
M=$MNT/data
mkdir "$MNT"

if [ "$engine" = redis ]; then
	for source in "rediss://localhost:$PERSISTFS_TEST_REDIS_PORT" "rediss://:s3cret@localhost/3"; do
		refused_with 78 'rediss:// needs TLS' "$persistfs" mount "$source" "$MNT"
		! grep -q s3cret "$T/refused.out" || fail "the refusal shows the password"
	done
	config "$T/tls.ini" <<-END
		[backend:local]
		type = redis
		url = rediss://localhost
		[store:data]
	END
	refused_with 78 'tls.ini:[0-9]+.*rediss:// needs TLS' "$persistfs" mount -c "$T/tls.ini" "$MNT"
	refused_with 78 'rediss:// needs TLS' "$persistfs" config check -c "$T/tls.ini"
	! mountpoint -q "$MNT" || fail "mounted all the same"
	exit 0
fi

need_command openssl
own_place
port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<<"$PERSISTFS_TEST_POSTGRES")
superuser=$(sed 's/user=[^ ]*/user=postgres/; s/dbname=[^ ]*/dbname=postgres/' <<<"$PERSISTFS_TEST_POSTGRES")
certificate()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj "/CN=localhost" -addext "subjectAltName=DNS:localhost" \
		-keyout "$T/$1.key" -out "$T/$1.crt" 2>/dev/null
	chmod 600 "$T/$1.key"
	[ "$(id -u)" != 0 ] || chown postgres "$T/$1.key"
}
super() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$superuser" "$@"; }
ssl_off()
{
	super -c "ALTER SYSTEM RESET ssl" -c "ALTER SYSTEM RESET ssl_cert_file" \
		-c "ALTER SYSTEM RESET ssl_key_file" -c "SELECT pg_reload_conf()" >/dev/null
}

# mount_with OPTIONS: words for libpq. The exit status is that of mount.
mount_with()
{
	config "$T/persistfs.ini" <<-END
		[backend:local]
		type = postgres
		url = host=localhost hostaddr=127.0.0.1 port=$port user=persistfs dbname=persistfs $1
		password = $PERSISTFS_TEST_POSTGRES_PASSWORD
		schema = $PG_SCHEMA
		timeout = 2s
		[store:data]
	END
	chmod 600 "$T/persistfs.ini"
	"$persistfs" mount -c "$T/persistfs.ini" "$MNT"
}

say "a server without SSL: refused at once, and with reason"
refused_with 69 'does not support SSL' mount_with "sslmode=require"
! mountpoint -q "$MNT" || fail "mounted all the same"

certificate server
certificate other
trap 'ssl_off; leave' EXIT
super -c "ALTER SYSTEM SET ssl_cert_file = '$T/server.crt'" \
	-c "ALTER SYSTEM SET ssl_key_file = '$T/server.key'" -c "ALTER SYSTEM SET ssl = on" \
	-c "SELECT pg_reload_conf()" >/dev/null
has_ssl() { [ "$(super -c 'SHOW ssl')" = on ]; }
eventually has_ssl
encrypted() { super -c "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
	WHERE application_name = 'persistfs' AND $1"; }

for words in "sslmode=require" "sslmode=verify-full sslrootcert=$T/server.crt"; do
	say "$words"
	mount_with "$words"
	echo "over $words" >"$M/file"
	eq "read back" "$(cat "$M/file")" "over $words"
	head -c 3000000 /dev/urandom >"$T/big"
	cp "$T/big" "$M/big"
	[ "$(encrypted ssl)" -ge 2 ] || fail "the server counts no encrypted connections"
	eq "connections in the clear" "$(encrypted 'NOT ssl')" 0
	pg "UPDATE persistfs_kv SET value = 'theirs' WHERE namespace = 'data' AND dir = '' AND name = 'file'"
	seen() { [ "$(cat "$M/file")" = theirs ]; }
	eventually seen
	cut_connections
	cmp "$T/big" "$M/big"
	eq "after a reconnection, in the clear" "$(encrypted 'NOT ssl')" 0
	stop
done

say "a certificate of somebody else, or for another name: refused"
refused_with 69 'certificate verify failed' mount_with "sslmode=verify-full sslrootcert=$T/other.crt"
refused_with 69 'server certificate for|root certificate' mount_with \
	"sslmode=verify-full sslrootcert=$T/server.crt host=127.0.0.1"
refused_with 69 'does not exist' mount_with "sslmode=verify-ca sslrootcert=$T/none.crt"
