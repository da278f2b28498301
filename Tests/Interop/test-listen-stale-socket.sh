#!/usr/bin/env bash
# A socket left by kill -9 is replaced at the next start; one that a running server owns is not; a
# file that is no socket is left alone.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
kill_server
[[ -S $SOCKET ]] || fail "kill -9 removed the socket: this test proves nothing"
serve disk --memory 16M
first=$SERVER

status=0
timeout 10 "$ASHLAR" serve --memory 32M --name disk >"$WORK/second" 2>&1 || status=$?
[[ $status -ne 0 && $status -ne 124 && $status -lt 128 ]] || { cat "$WORK/second"; fail "a second server of the same name: status $status"; }
grep -qiE 'running|in use|already' "$WORK/second" || { cat "$WORK/second"; fail "the message does not say why"; }
status=0
timeout 10 "$ASHLAR" serve --memory 32M --name other --listen "unix:$SOCKET" >"$WORK/second" 2>&1 || status=$?
[[ $status -eq 1 ]] || { cat "$WORK/second"; fail "a second server at the same socket: status $status"; }
grep -q 'somebody already listens at .*: choose another --listen' "$WORK/second" ||
  { cat "$WORK/second"; fail "the message does not say what to do"; }
[[ $(nbdinfo --size "$URI") == 16777216 ]] || fail "the first server lost its socket"
"$ASHLAR" status disk --check >/dev/null || fail "the first server lost its control socket"
SERVER=$first
stop_server
[[ ! -e $SOCKET && ! -e $ASHLAR_RUNTIME_DIR/disk.control ]] || fail "sockets are left after a proper end"

echo precious >"$WORK/file"
status=0
timeout 10 "$ASHLAR" serve --memory 16M --name disk --listen "unix:$WORK/file" >"$WORK/second" 2>&1 || status=$?
[[ $status -ne 0 && $status -ne 124 ]] || fail "it took a file for its socket"
[[ $(cat "$WORK/file") == precious ]] || fail "it destroyed a file that is no socket"
