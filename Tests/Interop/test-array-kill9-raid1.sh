#!/usr/bin/env bash
# RAID-1: kill -9 under a verifying load, one member of two damaged, cut short, taken away and brought back
# meanwhile: no acknowledged block is lost, every read is right, and all are in sync at the end.
# timeout: 300
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/array-kill9.sh"

array_kill9 raid1 2 1
