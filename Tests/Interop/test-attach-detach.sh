#!/usr/bin/env bash
# attach prints a block device of the right size at once, says so again or refuses when attached,
# and fails clearly without a server; detach undoes it in the right order, refuses while mounted,
# and works after the server was killed.
. "$(dirname "$0")/lib.sh"
. "$HERE/mount.sh"

require_mounts
status=0; "$ASHLAR" attach disk --fuse >"$WORK/out" 2>&1 || status=$?
[[ $status -ne 0 && $status -lt 128 ]] || fail "attach without a server: status $status"
grep -qiE 'not running|no server' "$WORK/out" || { cat "$WORK/out"; fail "attach does not say that the server is missing"; }

serve disk --memory 64M
attach disk
first=$DEVICE
[[ $(blockdev --getsize64 "$DEVICE") == 67108864 ]] || fail "wrong size"
dd if=/dev/urandom of="$WORK/data" bs=1M count=8 status=none
dd if="$WORK/data" of="$DEVICE" bs=1M oflag=direct conv=fsync status=none
dd if="$DEVICE" bs=1M count=8 iflag=direct status=none | cmp - "$WORK/data" || fail "wrong bytes"
status=0; again=$("$ASHLAR" attach disk --fuse 2>/dev/null) || status=$?
[[ $status -ne 0 || $again == "$first" ]] || fail "a second attach made a second device: $again"

mkfs.ext4 -q -F "$DEVICE"
mkdir "$WORK/mnt"
mount "$DEVICE" "$WORK/mnt"
status=0; "$ASHLAR" detach disk >"$WORK/out" 2>&1 || status=$?
[[ $status -ne 0 && $status -lt 128 ]] || fail "detach of a mounted device: status $status"
grep -qiE 'use|busy|mount' "$WORK/out" || { cat "$WORK/out"; fail "detach does not say that it is mounted"; }
{ touch "$WORK/mnt/still-here" && sync -f "$WORK/mnt"; } || fail "the refused detach broke the mount"
umount "$WORK/mnt"
detach disk
[[ $(losetup -nO BACK-FILE "$first" 2>/dev/null) != "$WORK"* ]] || fail "the loop device is left"
! findmnt -rno TARGET -t fuse,fuse.nbdfuse | grep -qF "$WORK" || fail "the FUSE mount is left"
status=0; "$ASHLAR" detach disk >"$WORK/out" 2>&1 || status=$?
[[ $status -ne 0 && $status -lt 128 ]] || fail "detach twice: status $status"
"$ASHLAR" attach disk --fuse --json | jq -e '[.. | strings | select(startswith("/dev/"))] | length == 1' >/dev/null ||
  fail "attach --json does not name the device"

# The server is killed: detach still cleans up.
kill_server
detach disk
! findmnt -rno TARGET | grep -qF "$WORK" || fail "a mount is left after the server's death"
! losetup -nO BACK-FILE | grep -qF "$WORK" || fail "a loop device is left after the server's death"
