#!/usr/bin/env bash
# RAID-5 under a verifying load, with scrubs: members are killed, damaged, failed, replaced, return
# stale or with another array's superblock, and the server is killed in a rebuild; no client sees an
# error, nothing acknowledged is lost, and status is right at every step. UPKEEP_MINUTES=10 for longer.
# slow
# timeout: 900
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/array.sh"
. "$HERE/array-upkeep.sh"

upkeep raid5 1
