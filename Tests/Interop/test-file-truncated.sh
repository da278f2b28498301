#!/usr/bin/env bash
# Another program truncates the served file: what was acknowledged beyond the new end comes back as
# an error, never as zeros, also after a write beyond the end; the device stops; the status
# says failed, why, and what to do. Direct and buffered files. Promises P4, P8.
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"

for direct in on off; do
  note "--direct $direct"
  rm -f "$STATE" "$DATA/disk.img"
  serve disk --file "$DATA/disk.img" --size 32M --direct "$direct"
  verify_acked load disk --seconds 2 >/dev/null || fail "a wrong block before anything happened"
  expect_status 0 "$ASHLAR" status disk --check >/dev/null
  truncate -s 8M "$DATA/disk.img"
  verify_acked check disk --errors-allowed >"$WORK/check.json" || fail "zeros for what was acknowledged"
  note "after truncate: $(cat "$WORK/check.json")"
  jq -e '."read-errors" > 100' "$WORK/check.json" >/dev/null || fail "reads beyond the new end did not fail"
  jq -e '.blocks > 100' "$WORK/check.json" >/dev/null || note "reads before the new end fail as well"
  # A write beyond the end would grow the file again and turn the lost part into zeros.
  expect_status 1 qemu-io -f raw -c 'write -P 1 31M 4k' "$URI" >/dev/null 2>&1
  verify_acked check disk --errors-allowed >"$WORK/check.json" || fail "zeros for what was acknowledged, after a write beyond the end"
  expect_status 2 "$ASHLAR" status disk --check >"$WORK/status"
  grep -qiE 'truncat|shr[ua]nk|short|smaller|size' "$WORK/status" || { cat "$WORK/status"; fail "the status does not tell the cause"; }
  grep -qiE 'truncat|shr[ua]nk|short|smaller|size' "$LOG" || fail "the log does not tell the cause"
  "$ASHLAR" status disk --json | jq -e . >/dev/null || fail "the status is not JSON"
  # It can still be stopped; a flush that cannot be vouched for need not end with 0.
  kill -TERM "$SERVER"
  wait_until 20 is_gone "$SERVER" || fail "it does not stop"
  wait "$SERVER" || true
done
