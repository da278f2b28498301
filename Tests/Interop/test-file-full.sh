#!/usr/bin/env bash
# The file system below a sparse file runs full: writes get ENOSPC, which the log says in clear
# words, reads stay right, nothing acknowledged is lost, and there is service again when space is.
# Direct and buffered files. Checklist 58, 61.
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/full.sh"

make_small_fs 56M
for direct in on off; do
  note "--direct $direct"
  rm -f "$STATE" "$DATA/small/"*.img
  fallocate -l 16M "$DATA/small/ballast.img"
  serve disk --file "$DATA/small/disk.img" --size 256M --direct "$direct"
  verify_acked load disk --seconds 6 >"$WORK/load.json" || fail "a wrong block or a lost connection while the disk was full"
  note "load: $(cat "$WORK/load.json")"
  jq -e '."write-errno-28" > 0' "$WORK/load.json" >/dev/null || fail "no write met ENOSPC"
  jq -e '(.lost // 0) == 0 and ([to_entries[] | select(.key | startswith("read-errno"))] | length) == 0' \
    "$WORK/load.json" >/dev/null || fail "connections or reads failed because the disk was full"
  grep -qiE 'no space|full|ENOSPC' "$LOG" || fail "the log does not say that the disk is full"
  [[ $(grep -ciE 'no space|full|ENOSPC' "$LOG") -lt 200 ]] || fail "the log repeats that the disk is full for every write"
  verify_acked check disk >"$WORK/check.json" || fail "an acknowledged block is wrong while the disk is full"
  is_running "$SERVER" || fail "the server ended"
  # Space again: writes succeed again.
  rm "$DATA/small/ballast.img"
  verify_acked load disk --seconds 0.3 >"$WORK/again.json" || fail "a wrong block when space was free again"
  note "with space again: $(cat "$WORK/again.json")"
  jq -e '.write > 0' "$WORK/again.json" >/dev/null || fail "no write succeeds though there is space again"
  verify_acked check disk >"$WORK/check.json" || fail "an acknowledged block is wrong afterwards"
  stop_server
  serve disk --file "$DATA/small/disk.img" --direct "$direct"
  verify_acked check disk >"$WORK/check.json" || fail "an acknowledged block is wrong after a restart"
  stop_server
done
