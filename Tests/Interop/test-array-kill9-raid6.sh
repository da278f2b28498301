#!/usr/bin/env bash
# RAID-6: kill -9 under a verifying load, two members of five damaged, cut short, taken away and brought back
# meanwhile: no acknowledged block is lost, every read is right, and all are in sync at the end.
# timeout: 300
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/array-kill9.sh"

array_kill9 raid6 5 1 3
