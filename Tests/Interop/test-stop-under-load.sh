#!/usr/bin/env bash
# SIGTERM and "ashlar stop" under load: what is in flight is finished or refused with ESHUTDOWN, the
# server ends with 0 within the bound, and everything acknowledged is in the file.
# Checklist 11, 70. Requirement S14.
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"

for how in term stop term stop; do
  note "by $how"
  rm -f "$STATE" "$DATA/disk.img"
  serve disk --file "$DATA/disk.img" --size 64M
  start_load disk 30
  pause_up_to 500
  is_running "$LOAD" || { cat "$WORK/load.json"; fail "the load ended before the server was stopped"; }
  begin=$EPOCHREALTIME
  case $how in
    term) kill -TERM "$SERVER" ;;
    stop)
      "$ASHLAR" stop disk >/dev/null || fail "stop failed"
      [[ ! -e $SOCKET ]] || fail "stop returned before the server had ended"
      ;;
  esac
  expect_exit "$SERVER" 0 15
  awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "    ended after %.1f s\n", b - a }'
  wait "$LOAD" || fail "the load met a wrong block"
  note "load: $(cat "$WORK/load.json")"
  jq -e '[keys[] | select(test("errno")) | select(test("errno-108$") | not)] == []' "$WORK/load.json" >/dev/null ||
    fail "requests failed with something else than ESHUTDOWN"
  serve disk --file "$DATA/disk.img"
  verify_acked check disk >"$WORK/check.json" || fail "an acknowledged block is not in the file"
  stop_server
done
