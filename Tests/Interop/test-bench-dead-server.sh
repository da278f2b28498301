#!/usr/bin/env bash
# A server that dies or falls silent in a run ends it within seconds, with an error that says so and
# with what was measured until then; one that was never there is an error at once.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

launch() { # launch ARGUMENT...: in the background, and waits until it measures
  : >"$WORK/err"
  "$ASHLAR" bench "$URI" --rw=randrw --iodepth=16 --time_based --runtime=1000 --json --eta=always "$@" \
    >"$WORK/out" 2>"$WORK/err" &
  pid=$!
  on_exit "stop_pid $pid"
  wait_until 10 grep -q IOPS "$WORK/err" || { cat "$WORK/err" >&2; fail "the run does not start"; }
}
OUT=$WORK/out
for connections in 1 4; do
  serve disk --memory 16M
  launch --connections=$connections
  kill_server
  expect_exit "$pid" 1 3
  json_holds '.jobs[0].error != 0 and .jobs[0].read.total_ios > 0'
  json_holds '.jobs[0].first_error | contains("lost")'
  says "$WORK/err" 'lost'
done
serve disk --memory 16M
launch --timeout=3s
kill -STOP "$SERVER"
on_exit "kill -CONT $SERVER 2>/dev/null || true"
expect_exit "$pid" 1 9
json_holds '.jobs[0].error != 0 and .jobs[0].read.total_ios > 0'
# A silent server before the run: the handshake has the same limit.
status=0
timeout 9 "$ASHLAR" bench "$URI" --rw=read --timeout=2s >"$WORK/out" 2>"$WORK/err" || status=$?
[[ $status -eq 1 ]] || { cat "$WORK/err" >&2; fail "status $status from a server that is silent"; }
kill -CONT "$SERVER"
stop_server
bench_status 1 "$URI" --rw=read
says "$ERR_TEXT" 'nobody listens|no socket'
bench_status 1 nbd://127.0.0.1:1/x --rw=read
says "$ERR_TEXT" 'nobody listens'
