# shellcheck shell=bash
# For the kill -9 tests: a load that remembers what was acknowledged, and a server killed under it.

STATE=$WORK/acknowledged
verify_acked() { # verify_acked ACTION NAME OPTION...
  local action=$1 name=$2; shift 2
  python3 "$HERE/verify-acked.py" "$action" --socket "$ASHLAR_RUNTIME_DIR/$name.sock" --name "$name" \
    --state "$STATE" "$@"
}

# start_load NAME SECONDS OPTION...: in the background; returns when its first write has been
# acknowledged. Leaves its process in LOAD; it prints to WORK/load.json.
start_load() {
  local name=$1 seconds=$2; shift 2
  rm -f "$WORK/started"
  verify_acked load "$name" --seconds "$seconds" --started "$WORK/started" "$@" >"$WORK/load.json" &
  LOAD=$!
  on_exit "stop_pid $LOAD 2"
  wait_until 20 test -e "$WORK/started" || fail "no write was acknowledged"
}
# pause_up_to MILLISECONDS: a random while, so that what follows comes at any instant.
pause_up_to() { sleep "$(awk -v r=$RANDOM -v max="$1" 'BEGIN { printf "%.3f", r / 32768 * max / 1000 }')"; }

# kill_under_load NAME: load it, kill the server within a second, wait for the load to notice.
kill_under_load() {
  local name=$1; shift
  start_load "$name" 30 "$@"
  pause_up_to 1000
  end_load_by_kill
}
# end_load_by_kill: the second half of it, of a load that was started before.
end_load_by_kill() {
  local status=0
  is_running "$SERVER" || fail "the server ended before it was killed"
  is_running "$LOAD" || { cat "$WORK/load.json"; fail "the load ended before the server was killed"; }
  kill_server
  wait "$LOAD" || status=$?
  note "load: $(cat "$WORK/load.json")"
  [[ $status -eq 0 ]] || fail "the load found a wrong block before the kill"
  [[ $(jq '.lost // 0' "$WORK/load.json") -gt 0 ]] || fail "no connection was lost: was the right server killed?"
}
