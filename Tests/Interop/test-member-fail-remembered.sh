#!/usr/bin/env bash
# A member that "member fail" put out stays out when the server is stopped or killed and started again,
# and status, examine and the log say why; "member add" of its own place takes it again, with all of it
# written anew; one that was failed and is gone is refused in words.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

cd "$DATA"
members=("$DATA/m0" "$DATA/m1" "$DATA/m2")
create_array a raid5 64M "${members[@]}"
serve_array a a
qemu-io -f raw -c 'write -q -P 0x5a 0 8M' -c 'flush' "$URI" >/dev/null || fail "a write"

is_failed() { # is_failed WHAT
  [[ $(array_fact a '.members[1] | "\(.state) \(.failed_by_operator)"') == "out true" ]] || { "$ASHLAR" status a; fail "$1: member 1 is not failed"; }
  expect_cause a 1 "failed by an operator: 'ashlar member add NAME PLACE' takes it again"
  expect_array a 5 degraded
}
timeout 20 "$ASHLAR" member fail a 1 >"$WORK/out" || fail "member fail"
grep -q 'stays out until it is added again' "$WORK/out" || { cat "$WORK/out"; fail "fail does not say what it means"; }
is_failed "at once"
stop_server

note "restarts"
timeout 30 "$ASHLAR" examine "${members[@]}" >"$WORK/examined" 2>&1 || true
grep -q 'slot 1: .*m1, was failed by an operator' "$WORK/examined" || { cat "$WORK/examined"; fail "examine does not say it"; }
# Somebody has it in hand.
damage "$DATA/m1" data --count 200
serve_array a a
grep -q 'm1.* was failed by an operator' "$LOG" || { cat "$LOG"; fail "the log does not say it"; }
sleep 5
is_failed "after a stop"
kill_server
serve_array a "${members[@]}"
sleep 5
is_failed "after a kill, by its members"
timeout 30 "$ASHLAR" rebuild a --wait >"$WORK/out" && fail "rebuild --wait calls an array whole that lacks a member"
grep -q 'slot 1 (failed by an operator)' "$WORK/out" || { cat "$WORK/out"; fail "rebuild does not say that the member was failed"; }

note "taken again"
timeout 20 "$ASHLAR" member add a m1 --json >"$WORK/json" || { cat "$WORK/json"; fail "member add"; }
jq -e '.done[0].slot == 1 and .done[0].created == false and (.done[0].destroyed | length) == 0' "$WORK/json" >/dev/null ||
  { cat "$WORK/json"; fail "the JSON of member add"; }
timeout 60 "$ASHLAR" rebuild a --wait >"$WORK/out" || { cat "$WORK/out"; "$ASHLAR" status a; fail "its rebuild"; }
[[ $(array_fact a '.members[1] | "\(.state) \(.failed_by_operator) \(.cause)"') == "current false " ]] || fail "it is not current"
timeout 60 "$ASHLAR" scrub a --check --wait >"$WORK/out" || { cat "$WORK/out"; fail "what was damaged is still on it"; }
expect_refusal 'is where member 1 of this array is' "$ASHLAR" member add a m1
stop_server
expect_clean a "${members[@]}"

note "taken again while its file is elsewhere"
serve_array a a
timeout 20 "$ASHLAR" member fail a 1 >/dev/null || fail "member fail"
mv m1 hidden
timeout 20 "$ASHLAR" member add a m1 >/dev/null || fail "member add of a file that is elsewhere"
is_lost() { array_fact a '.members[1].cause' | grep -q 'no longer at its place'; }
wait_until 15 is_lost || { "$ASHLAR" status a; fail "a member that nobody would find again is used"; }
mv hidden m1
expect_member a 1 30 current

note "gone"
timeout 20 "$ASHLAR" member fail a 1 >/dev/null || fail "member fail"
stop_server
mv m1 hidden
serve_array a a
expect_cause a 1 'failed by an operator'
expect_refusal 'slot 1.* is not there' "$ASHLAR" member add a m1
mv hidden m1
# It turns up, and stays out.
expect_member a 1 20 out
sleep 3
is_failed "put back"
timeout 20 "$ASHLAR" member remove a 1 >/dev/null || fail "member remove"
[[ $(array_fact a '.members[1].failed_by_operator') == false ]] || fail "an empty slot is failed"
timeout 20 "$ASHLAR" member add a m1 --force >/dev/null 2>&1 || fail "the same file as a new member"
timeout 60 "$ASHLAR" rebuild a --wait >/dev/null || fail "its rebuild as a new member"
stop_server
