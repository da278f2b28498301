# shellcheck shell=bash
# For the kill -9 tests: a load that remembers what was acknowledged, and a server killed under it.

STATE=$WORK/acknowledged
verify_acked() { # verify_acked ACTION NAME OPTION...
  local action=$1 name=$2; shift 2
  python3 "$HERE/verify-acked.py" "$action" --socket "$ASHLAR_RUNTIME_DIR/$name.sock" --name "$name" \
    --state "$STATE" "$@"
}

# kill_under_load NAME: load it, kill the server 0.2 to 1.2 s later, wait for the load to notice.
kill_under_load() {
  local load status=0 name=$1; shift
  verify_acked load "$name" --seconds 30 "$@" >"$WORK/load.json" &
  load=$!
  on_exit "stop_pid $load 2"
  sleep "$(awk -v r=$RANDOM 'BEGIN { printf "%.3f", 0.2 + r / 32768 }')"
  is_running "$SERVER" || fail "the server ended before it was killed"
  is_running "$load" || { cat "$WORK/load.json"; fail "the load ended before the server was killed"; }
  kill_server
  wait "$load" || status=$?
  note "load: $(cat "$WORK/load.json")"
  [[ $status -eq 0 ]] || fail "the load found a wrong block before the kill"
  [[ $(jq '.lost // 0' "$WORK/load.json") -gt 0 ]] || fail "no connection was lost: was the right server killed?"
}
