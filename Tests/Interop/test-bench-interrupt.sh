#!/usr/bin/env bash
# SIGINT and SIGTERM end a run early: what was measured so far is reported, with a note, and the exit
# code tells the signal; the JSON is whole.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

serve disk --memory 16M
for signal in INT:130 TERM:143; do
  # Background jobs of a script ignore SIGINT; setsid and a subshell with the default do not help,
  # so python sets it right.
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ASHLAR" bench "$URI" --rw=randrw --iodepth=8 --time_based --runtime=1000 \
    --json --eta=always >"$WORK/out" 2>"$WORK/err" &
  pid=$!
  on_exit "stop_pid $pid"
  wait_until 10 grep -q IOPS "$WORK/err"
  kill "-${signal%:*}" "$pid"
  expect_exit "$pid" "${signal#*:}" 7
  OUT=$WORK/out
  json_holds '.interrupted and .interrupted_after_ms > 500 and .jobs[0].read.total_ios > 0'
  json_holds '.jobs[0].error == 0 and .abandoned_ios == 0'
  says "$WORK/err" 'interrupted after [0-9.]+ s'
done
# The report for people says so, too; and a second signal ends at once, also while a server is stuck.
python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ASHLAR" bench "$URI" --rw=randread --iodepth=8 --time_based --runtime=1000 \
  --eta=always >"$WORK/out" 2>"$WORK/err" &
pid=$!
on_exit "stop_pid $pid"
wait_until 10 grep -q IOPS "$WORK/err"
kill -STOP "$SERVER"
on_exit "kill -CONT $SERVER 2>/dev/null || true"
kill -INT "$pid"
wait_until 3 grep -q interrupted "$WORK/err" || fail "the interrupt is not shown"
kill -INT "$pid"
expect_exit "$pid" 130 2
# Once only: the wait for the stuck server is bounded, and what was measured is told.
kill -CONT "$SERVER"
python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ASHLAR" bench "$URI" --rw=randread --iodepth=8 --time_based --runtime=1000 \
  --eta=always >"$WORK/out" 2>"$WORK/err" &
pid=$!
on_exit "stop_pid $pid"
wait_until 10 grep -q IOPS "$WORK/err"
kill -STOP "$SERVER"
kill -INT "$pid"
expect_exit "$pid" 130 8
kill -CONT "$SERVER"
says "$WORK/out" 'interrupted after'
says "$WORK/out" 'read .*IOPS'
says "$WORK/out" 'never answered'
stop_server
