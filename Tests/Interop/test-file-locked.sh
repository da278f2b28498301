#!/usr/bin/env bash
# Two servers of one file would destroy it: the second is refused; it can be served again when the
# first has ended, also by kill -9.
. "$(dirname "$0")/lib.sh"

serve first --file "$DATA/disk.img" --size 16M
first=$SERVER
status=0
timeout 10 "$ASHLAR" serve --file "$DATA/disk.img" --name second >"$WORK/second" 2>&1 || status=$?
[[ $status -ne 0 && $status -ne 124 && $status -lt 128 ]] || { cat "$WORK/second"; fail "a second server of the same file: status $status"; }
grep -qiE 'use|lock|another|serve' "$WORK/second" || { cat "$WORK/second"; fail "the message does not say why"; }
SERVER=$first
kill_server
serve second --file "$DATA/disk.img"
stop_server
