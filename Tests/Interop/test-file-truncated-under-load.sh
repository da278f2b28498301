#!/usr/bin/env bash
# Another program truncates the served file while writes are in flight, some of which land beyond
# the new end afterwards: still an error and never zeros for what was acknowledged, and no new
# acknowledgement of a write that is lost. Direct and buffered files. Promises P4, P8.
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"

for direct in on off; do
  for round in 1 2 3; do
    note "--direct $direct, round $round"
    rm -f "$STATE" "$DATA/disk.img"
    serve disk --file "$DATA/disk.img" --size 64M --direct "$direct"
    start_load disk 3
    sleep 1
    pause_up_to 1000
    truncate -s 16M "$DATA/disk.img"
    status=0; wait "$LOAD" || status=$?
    note "load: $(cat "$WORK/load.json")"
    [[ $status -eq 0 ]] || fail "wrong contents under load"
    jq -e '[to_entries[] | select(.key | test("errno")) | .value] | add > 0' "$WORK/load.json" >/dev/null ||
      fail "no request failed"
    is_running "$SERVER" || fail "the server ended"
    verify_acked check disk --errors-allowed >"$WORK/check.json" || fail "zeros or old bytes for what was acknowledged"
    note "check: $(cat "$WORK/check.json")"
    expect_status 2 "$ASHLAR" status disk --check >/dev/null
    kill -TERM "$SERVER"
    wait_until 20 is_gone "$SERVER" || fail "it does not stop"
    wait "$SERVER" || true
  done
done
