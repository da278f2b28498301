#!/usr/bin/env bash
# xfs on an attached device: fio and sqlite verify what they wrote, fstrim, fsck, checksums of all
# files after detaching, restarting the server and attaching again.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/mount.sh"

mount_cycle xfs
