#!/usr/bin/env bash
# Plain TCP outside loopback is refused without --insecure-plain, with a way out in the message, and
# works, loudly, with it; odd listeners are refused as well.
. "$(dirname "$0")/lib.sh"

refused() { # refused PATTERN LISTENER...
  local pattern=$1 status=0; shift
  timeout 10 "$ASHLAR" serve --memory 16M --name disk "$@" >"$WORK/out" 2>&1 || status=$?
  [[ $status -ne 0 && $status -ne 124 ]] || { cat "$WORK/out"; fail "not refused: $*"; }
  [[ $status -lt 128 ]] || { cat "$WORK/out"; fail "it crashed: $*"; }
  grep -qiE -- "$pattern" "$WORK/out" || { cat "$WORK/out"; fail "the message does not help: $*"; }
}
refused '--insecure-plain' --listen tcp:0.0.0.0:0
refused '--insecure-plain' --listen 'tcp:[::]:0'
refused '--insecure-plain' --listen "unix:$WORK/a.sock" --listen tcp:192.0.2.1:10809
refused 'listen' --listen tcp:127.0.0.1:99999
refused 'listen' --listen carrier-pigeon:home
refused 'listen|long|path' --listen "unix:$WORK/$(printf 'x%.0s' {1..120})"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
serve disk --memory 16M --insecure-plain --listen "unix:$ASHLAR_RUNTIME_DIR/disk.sock" --listen "tcp:0.0.0.0:$port"
nbdinfo --size "nbd://127.0.0.1:$port/disk" >/dev/null || fail "no service"
grep -qiE 'insecure|plain|encrypt' "$LOG" || fail "it does not say loudly that this is insecure"
stop_server
