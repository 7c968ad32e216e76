#!/bin/bash
# A git repository that lives on the mount.
# time limit: 180 s
# every engine
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin

need_command git
start
export GIT_CONFIG_GLOBAL=$T/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.name test
git config --global user.email test@example.org
git config --global init.defaultBranch main
git config --global --add safe.directory '*'

repo=$M/repo
git init -q "$repo"
files=$(amount 60 300 3000)
(cd /usr/include && find . -type f -size -200k | LC_ALL=C sort | head -n "$files" || :) >"$T/list"
tar -C /usr/include -T "$T/list" -cf - | tar -C "$repo" -xf -

say "add, commit, status"
git -C "$repo" add -A
git -C "$repo" commit -q -m first
eq "clean after a commit" "$(git -C "$repo" status --porcelain)" ""
eq "all files are in" "$(git -C "$repo" ls-files | wc -l)" "$(wc -l <"$T/list")"
changed=$(git -C "$repo" ls-files | sed -n 1p)
echo "/* changed */" >>"$repo/$changed"
echo new >"$repo/new"
eq "status sees a change and a new file" \
	"$(git -C "$repo" status --porcelain | LC_ALL=C sort | cut -c 1-2 | tr '\n' ' ')" " M ?? "
git -C "$repo" add -A
git -C "$repo" commit -q -m second

say "branch, merge, stash, gc, fsck"
git -C "$repo" checkout -q -b side HEAD~1
echo side >"$repo/side"
git -C "$repo" add side
git -C "$repo" commit -q -m side
git -C "$repo" checkout -q main
[ ! -e "$repo/side" ] || fail "checkout left a file of the other branch"
git -C "$repo" merge -q -m merge side
eq "merged" "$(cat "$repo/side")" side
echo stashed >>"$repo/new"
git -C "$repo" stash -q
git -C "$repo" stash pop -q
eq "stashed and back" "$(tail -n 1 "$repo/new")" stashed
git -C "$repo" commit -q -a -m third
git -C "$repo" gc -q
git -C "$repo" fsck --strict

say "clone on the mount and off it"
git clone -q "$repo" "$M/clone"
git clone -q "$repo" "$T/outside"
diff -r -x .git "$M/clone" "$T/outside"
remount
git -C "$repo" fsck --strict
git -C "$M/clone" fsck --strict
eq "clean after a remount" "$(git -C "$repo" status --porcelain)" ""
diff -r -x .git "$repo" "$T/outside"
stop
check_database
