#!/usr/bin/env bash
# Promise P1: kill -9 under a verifying load, again and again; after each restart every acknowledged
# block is there. Direct and buffered files.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"

rounds=${KILL9_ROUNDS:-6}
for direct in on off; do
  rm -f "$STATE"
  total=0
  for ((round = 1; round <= rounds; round++)); do
    serve disk --file "$DATA/disk-$direct.img" --size 96M --direct "$direct"
    kill_under_load disk
    total=$((total + $(jq .blocks "$WORK/load.json")))
    serve disk --file "$DATA/disk-$direct.img" --direct "$direct"
    verify_acked check disk >"$WORK/check.json" || fail "round $round, --direct $direct: an acknowledged block is gone"
    note "check: $(cat "$WORK/check.json")"
    stop_server
  done
  [[ $total -gt $((rounds * 100)) ]] || fail "only $total blocks were acknowledged: that proves nothing"
done
