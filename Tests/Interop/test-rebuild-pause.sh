#!/usr/bin/env bash
# A rebuild that is paused stays paused when the server is stopped or killed and started again, and
# status says so and how to go on; "serve --no-resync" holds back members that come back and spares
# until "rebuild --resume", but not what "member add" and "member replace" begin.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

cd "$DATA"
members=("$DATA/m0" "$DATA/m1")
create_array a raid1 256M "${members[@]}"
serve_array a a
qemu-io -f raw -c 'write -q -P 0x5a 0 128M' -c 'flush' "$URI" >/dev/null || fail "a write"

note "paused"
timeout 20 "$ASHLAR" rebuild a --pause >"$WORK/out" || { cat "$WORK/out"; fail "rebuild --pause"; }
timeout 60 "$ASHLAR" member replace a 1 new >"$WORK/out" || { cat "$WORK/out"; fail "member replace"; }
grep -q 'waits until .*--resume' "$WORK/out" || { cat "$WORK/out"; fail "replace says nothing of the pause"; }
state=$ASHLAR_STATE_DIR/a.rebuild.json
jq -e '.version == 1 and .paused' "$state" >/dev/null || { cat "$state"; fail "the pause is not kept"; }

is_paused() { # is_paused WHEN
  [[ $(array_fact a '"\(.rebuild_paused) \(.reserves | length)"') == 'true 1' ]] || { "$ASHLAR" status a; fail "$1: rebuilds are not paused"; }
  "$ASHLAR" status a | grep -q "paused, over restarts too: 'ashlar rebuild a --resume' goes on" || { "$ASHLAR" status a; fail "$1: status does not say it"; }
  timeout 20 "$ASHLAR" rebuild a --wait >"$WORK/out" && fail "$1: a wait for what is paused ends well"
  grep -q 'paused; --resume goes on' "$WORK/out" || { cat "$WORK/out"; fail "$1: rebuild does not say it"; }
}
is_paused "at once"
kill_server
serve_array a a
grep -q "rebuilds are paused: 'ashlar rebuild a --resume'" "$LOG" || { cat "$LOG"; fail "the log does not say it"; }
sleep 3
is_paused "after a kill"
stop_server
# By its members, too.
serve_array a m0 m1 new
is_paused "after a stop"

note "and resumed, for good"
timeout 20 "$ASHLAR" rebuild a --resume --wait >"$WORK/out" || { cat "$WORK/out"; fail "rebuild --resume --wait"; }
[[ $(array_fact a '"\(.members[1].place) \(.rebuild_paused)"') == "$DATA/new false" ]] || { "$ASHLAR" status a; fail "the replacement has not taken the place"; }
stop_server
serve_array a a
[[ $(array_fact a .rebuild_paused) == false ]] || fail "a pause that was ended is back after a restart"
stop_server
# A file of no use pauses nothing, and is named.
printf '{' >"$state"
serve_array a a
grep -q 'a.rebuild.json cannot be understood' "$LOG" || { cat "$LOG"; fail "a damaged file is not named"; }
[[ $(array_fact a .rebuild_paused) == false ]] || fail "a damaged file pauses"
stop_server

note "--no-resync"
mv new hidden
serve_array a a --force
qemu-io -f raw -c 'write -q -P 0x6b 0 8M' -c 'flush' "$URI" >/dev/null || fail "a write without a member"
stop_server
mv hidden new
serve_array a a --no-resync --spare-delay 0s
sleep 4
[[ $(member_state a 1) == out ]] || { "$ASHLAR" status a; fail "--no-resync brings a member up to date"; }
"$ASHLAR" status a | grep -q "(--no-resync): 'ashlar rebuild a --resume'" || { "$ASHLAR" status a; fail "status does not say what is held back"; }
timeout 20 "$ASHLAR" rebuild a --wait >"$WORK/out" && fail "a wait for what is held back ends well"
grep -q 'no-resync holds them back' "$WORK/out" || { cat "$WORK/out"; fail "rebuild does not say it"; }
timeout 60 "$ASHLAR" member replace a 0 third >/dev/null || fail "member replace"
has_third() { [[ $(array_fact a '"\(.members[0].place) \(.members[0].state)"') == "$DATA/third current" ]]; }
wait_until 60 has_third || { "$ASHLAR" status a; fail "--no-resync keeps a replacement from its start"; }
[[ $(member_state a 1) == out ]] || fail "a replacement begun by command took another member with it"
timeout 20 "$ASHLAR" rebuild a --resume --wait >"$WORK/out" || { cat "$WORK/out"; "$ASHLAR" status a; fail "rebuild --resume --wait"; }
expect_array a 5 optimal
stop_server
expect_clean a third new
