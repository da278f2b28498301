#!/usr/bin/env bash
# The negative control of the kill -9 tests: a server that keeps its writes in a private overlay
# loses them with its process, and the verifier says so; one that gives back stale or foreign
# blocks is caught as well.
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"

lossy() { # lossy FILTER...: nbdkit on the same file
  rm -f "$ASHLAR_RUNTIME_DIR/lossy.sock"
  nbdkit -f -U "$ASHLAR_RUNTIME_DIR/lossy.sock" "$@" file "$DATA/lossy.img" >"$WORK/lossy.log" 2>&1 &
  SERVER=$!
  on_exit "stop_pid $SERVER 2"
  wait_until 10 nbdinfo --size "$(socket_uri lossy)" || fail "nbdkit did not start"
}
truncate -s 32M "$DATA/lossy.img"
lossy --filter=cow
kill_under_load lossy
lossy
expect_status 1 verify_acked check lossy >"$WORK/check.json" 2>"$WORK/problems"
grep -q 'found zeros' "$WORK/problems" || { cat "$WORK/problems"; fail "lost blocks were not reported as such"; }
stop_pid "$SERVER"

# An honest server first, then one whose later writes vanish: stale blocks.
rm -f "$STATE"
lossy
verify_acked load lossy --seconds 2 >/dev/null
verify_acked check lossy >/dev/null || fail "the verifier blames an honest server"
stop_pid "$SERVER"
lossy --filter=cow
verify_acked load lossy --seconds 2 >/dev/null
stop_pid "$SERVER"
lossy
expect_status 1 verify_acked check lossy >"$WORK/check.json" 2>"$WORK/problems"
grep -qE 'found block [0-9]+ version' "$WORK/problems" || { cat "$WORK/problems"; fail "stale blocks were not reported as such"; }
stop_pid "$SERVER"
