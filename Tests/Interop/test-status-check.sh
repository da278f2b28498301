#!/usr/bin/env bash
# status, status --check and stop tell by their exit codes: 0 optimal, 3 not running; a server that is
# stuck in I/O still answers. (2, failed, is in test-file-truncated and test-flush-failed.)
. "$(dirname "$0")/lib.sh"
. "$HERE/backing.sh"

expect_status 3 "$ASHLAR" status disk --check >/dev/null 2>&1
status=0; "$ASHLAR" stop disk >"$WORK/out" 2>&1 || status=$?
[[ $status -ne 0 && $status -lt 128 ]] || fail "stop of what does not run: status $status"
grep -qi 'not running' "$WORK/out" || { cat "$WORK/out"; fail "stop does not say that it is not running"; }

serve disk --memory 16M
expect_status 0 "$ASHLAR" status disk --check >/dev/null
expect_status 0 "$ASHLAR" status disk >"$WORK/out"
{ grep -q disk "$WORK/out" && grep -qi optimal "$WORK/out"; } || { cat "$WORK/out"; fail "status shows too little"; }
expect_status 0 "$ASHLAR" status >"$WORK/out"
grep -q disk "$WORK/out" || fail "status without a name does not list the server"
expect_status 0 "$ASHLAR" stop disk >/dev/null
expect_exit "$SERVER" 0 1
expect_status 3 "$ASHLAR" status disk --check >/dev/null 2>&1

# A server killed outright left its sockets behind: not running.
serve disk --memory 16M
kill_server
expect_status 3 "$ASHLAR" status disk --check >/dev/null 2>&1

# Stuck in I/O for good.
make_backing --filter=delay memory 16M delay-read=0 delay-write=8
serve disk --file "$BACKING"
timeout 5 qemu-io -f raw -c 'write 0 4k' "$URI" >/dev/null 2>&1 &
client=$!
on_exit "stop_pid $client 1"
sleep 1
begin=$EPOCHREALTIME
timeout 5 "$ASHLAR" status disk --json >"$WORK/status.json" || fail "status waits for I/O"
awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 1) }' || fail "status took more than a second"
jq -e . "$WORK/status.json" >/dev/null || fail "the status is not JSON"
kill_server
