# shellcheck shell=bash
# For tests with two mounts of the same store: M of the first, M2 of the second. Sourced behind lib.sh.

# start_two [LINE...]: as start, and a second mount at MNT2 of the same configuration. What stands in
# BACKEND_LINES is added to the backend's section.
start_two()
{
	start "$@"
	MNT2=$T/mnt2
	M2=$MNT2/data
	if plain; then
		M2=$M
		return
	fi
	mkdir -p "$MNT2"
	mount_ini "$T/persistfs.ini" "$MNT2"
}

# Unmounts both. What one of them removed while the other had it open may be left to the next start.
stop_two()
{
	stop "$MNT2"
	stop
	mount_ini "$T/persistfs.ini" "$MNT"
	stop
}
