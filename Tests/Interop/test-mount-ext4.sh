#!/usr/bin/env bash
# ext4 on an attached device: fio and sqlite verify what they wrote, fstrim, fsck, checksums of all
# files after detaching, restarting the server and attaching again.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/mount.sh"

mount_cycle ext4
