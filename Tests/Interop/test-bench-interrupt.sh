#!/usr/bin/env bash
# SIGINT and SIGTERM end a run early: what was measured so far is reported, with a note, and the exit
# code tells the signal; the JSON is whole.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

# launch ARGUMENT...: in the background, and waits until it measures; leaves pid. A script's background
# jobs ignore SIGINT, and what ignores it from the start would never see it: python sets that right.
launch() {
  : >"$WORK/err"
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ASHLAR" bench "$URI" --iodepth=8 --time_based --runtime=1000 --eta=always \
    "$@" >"$WORK/out" 2>"$WORK/err" &
  pid=$!
  on_exit "stop_pid $pid"
  wait_until 10 grep -q IOPS "$WORK/err" || { cat "$WORK/err" >&2; fail "the run does not start"; }
}

serve disk --memory 16M
OUT=$WORK/out
for signal in INT:130 TERM:143; do
  launch --rw=randrw --json
  kill "-${signal%:*}" "$pid"
  expect_exit "$pid" "${signal#*:}" 7
  json_holds '.interrupted and .interrupted_after_ms > 500 and .jobs[0].read.total_ios > 0'
  json_holds '.jobs[0].error == 0 and .abandoned_ios == 0'
  says "$WORK/err" 'interrupted after [0-9.]+ s'
done

# A server that is stuck: the first signal waits for it, for a while, the second ends at once.
launch --rw=randread
kill -STOP "$SERVER"
on_exit "kill -CONT $SERVER 2>/dev/null || true"
kill -INT "$pid"
wait_until 3 grep -q interrupted "$WORK/err" || { cat "$WORK/err" >&2; fail "the interrupt is not shown"; }
kill -INT "$pid"
expect_exit "$pid" 130 2
kill -CONT "$SERVER"

# One signal alone: the wait ends by itself, and what was measured is told.
launch --rw=randread
kill -STOP "$SERVER"
# Only when it stands still are there requests that it will not answer.
wait_until 5 grep -q '^State:.T' "/proc/$SERVER/status" || fail "the server does not stop"
sleep 0.2
kill -INT "$pid"
expect_exit "$pid" 130 8
kill -CONT "$SERVER"
says "$WORK/out" 'interrupted after'
says "$WORK/out" 'read .*IOPS'
says "$WORK/out" 'never answered'
stop_server
