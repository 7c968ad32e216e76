# shellcheck shell=bash
# For tests of what happens when a server goes away. Sourced behind lib.sh.

# within MS WHAT COMMAND...: must succeed, and in that time; output to $T/within, ms taken in $took.
# What it measures is an event; MS is a ceiling for slow machines.
within()
{
	local ceiling=$1 what=$2
	shift 2
	timed "$@" || {
		cat "$T/within"
		fail "$what"
	}
	[ "$took" -lt "$ceiling" ] || fail "$what took $took ms"
}

# timed COMMAND...: its exit status; ms taken in $took.
timed()
{
	local start=${EPOCHREALTIME/[.,]/} status=0
	"$@" >"$T/within" 2>&1 || status=$?
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	return "$status"
}

healthy() { grep -q '^ok' "$MNT/.persistfs/backends/local/health"; }
unhealthy() { ! healthy; }

# Two stores on servers beside each other: `data` on the engine under test, `other` on SQLite. Lines of
# BACKEND_LINES go to the section of the first.
start_beside()
{
	MNT=$T/mnt
	M=$MNT/data
	DB=$T/store.db
	mkdir -p "$MNT"
	own_place
	config "$T/persistfs.ini" <<-END
		$(engine_section local ${BACKEND_LINES:+"$BACKEND_LINES"})

		[backend:other]
		type = sqlite
		path = $T/other.db

		[store:data]
		backend = local

		[store:other]
		backend = other
	END
	mount_ini "$T/persistfs.ini" "$MNT"
}

# The other store, the root and the control tree answer although the server does not.
others_answer()
{
	within 5000 "a write to the other store" bash -c "echo $RANDOM >'$MNT/other/file'"
	within 5000 "a read of the other store" cat "$MNT/other/file"
	within 5000 "ls of the other store" ls -l "$MNT/other"
	within 5000 "ls of the root" ls "$MNT"
	within 5000 "the control tree" cat "$MNT/.persistfs/backends/local/health" \
		"$MNT/.persistfs/backends/local/connections" "$MNT/.persistfs/stores/data/health" \
		"$MNT/.persistfs/metrics" "$MNT/.persistfs/config"
}

# How many connections of persistfs the server counts.
server_connections()
{
	case $engine in
	postgres) pg "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'persistfs'" ;;
	redis) rcli CLIENT LIST | grep -c -v 'cmd=client|list' ;;
	esac
}

# Cut every connection that persistfs has at this moment, from the server's side.
cut_connections()
{
	case $engine in
	postgres) pg "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'persistfs'" ;;
	redis) rcli CLIENT KILL SKIPME yes ;;
	esac >/dev/null
}
