#!/usr/bin/env bash
# Promise P1 on a full disk: kill -9 while writes meet ENOSPC; every acknowledged block is there.
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/full.sh"

make_small_fs 48M
for direct in on off; do
  note "--direct $direct"
  rm -f "$STATE" "$DATA/small/"*.img
  serve disk --file "$DATA/small/disk.img" --size 256M --direct "$direct"
  verify_acked load disk --seconds 4 >"$WORK/load.json" || fail "a wrong block"
  for round in 1 2 3; do
    kill_under_load disk
    [[ $round -gt 1 ]] || jq -e '."write-errno-28" > 0' "$WORK/load.json" >/dev/null || fail "the disk was not full"
    serve disk --file "$DATA/small/disk.img" --direct "$direct"
    verify_acked check disk >"$WORK/check.json" || fail "round $round: an acknowledged block is gone"
    note "check: $(cat "$WORK/check.json")"
  done
  stop_server
done
