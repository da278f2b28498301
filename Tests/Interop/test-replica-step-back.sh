#!/usr/bin/env bash
# A replica that was away for longer than the log reaches back is copied to, and keeps what that overwrites in a
# file. The file is full: the copy waits, and both nodes say why. The primary is lost: the replica returns to
# the state before the copy, and is promoted by force; or it goes on without a way back. Then a seed: an array
# that was filled by other means.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"
. "$HERE/replica.sh"

put() { qemu-io -f raw -c "write -P $2 $3 $4" "$(socket_uri "$1")" >"$WORK/put" 2>&1 || { cat "$WORK/put"; fail "write to $1"; }; }
# expect_byte NODE BYTE: its first 24 MiB are full of it.
expect_byte() { qemu-io -r -f raw -c "read -P $2 0 24M" "$(socket_uri "$1")" 2>&1 | grep -q "^read 25165824" || fail "$1 is not full of $2"; }
serve() { serve_node "$1" "unix:$WORK/$1.repl" "$DATA/$1.0" "$DATA/$1.1" "${@:2}"; }
create() { create_array "$1" raid1 64M "$DATA/$1.0" "$DATA/$1.1"; }
is_full() { [[ $(node_fact "$1" '.peers[0].last_end') == *"is full"* ]]; }
expect_failure() { # expect_failure WORDS COMMAND...
  local words=$1; shift
  ! timeout 20 "$@" >"$WORK/refusal" 2>&1 || fail "not refused: $*"
  grep -q -- "$words" "$WORK/refusal" || fail "no word of $words: $(cat "$WORK/refusal")"
}
# begin_copy PRIMARY REPLICA: both are full of ones and in step; then the replica was away for so long that the
# copy overwrites more than its file holds.
begin_copy() {
  create "$1"
  create "$2"
  serve "$1"
  serve "$2" --undo "$DATA/undo" --undo-size 16M
  "$ASHLAR" replica add "$1" "unix:$WORK/$2.repl" --peer-timeout 500ms >/dev/null
  expect_in_step "$1" 30
  put "$1" 1 0 24M
  wait_until 20 is_in_step "$1" || fail "in step"
  stop_node "$2"
  put "$1" 2 0 24M
  put "$1" 3 0 24M
  serve "$2" --undo "$DATA/undo"
  wait_until 60 is_full "$1" || { "$ASHLAR" status "$1"; fail "the copy does not wait"; }
  is_full "$2" || fail "the replica does not say why"
  [[ $(node_fact "$2" .consistent) == false ]] || fail "the replica is consistent amid a copy"
  [[ $(node_fact "$2" .refusal) == *step-back* ]] || fail "the replica does not say what can be done"
}

head -c 32M /dev/urandom >"$DATA/other"
create lone
expect_failure "--replication" "$ASHLAR" serve lone --undo "$DATA/undo"
expect_failure "something else" "$ASHLAR" serve lone --replication "unix:$WORK/lone.repl" --undo "$DATA/other"

begin_copy left right
kill -KILL "${NODE[left]}"
{ wait "${NODE[left]}" || true; } 2>/dev/null
expect_refusal "inconsistent" "$ASHLAR" promote right --force right
"$ASHLAR" replica step-back right >"$WORK/back" || fail "step-back"
grep -q "as it was at record" "$WORK/back" || fail "step-back says $(cat "$WORK/back")"
expect_byte right 1
expect_refusal "force" "$ASHLAR" promote right
"$ASHLAR" promote right --force right >/dev/null || fail "promote after the step back"
expect_byte right 1
put right 4 0 24M
stop_node right

rm -f "$DATA/undo" "$DATA"/left.* "$DATA"/right.*
begin_copy near far
"$ASHLAR" replica step-back far --give-up >/dev/null || fail "give up"
expect_in_step near 60
expect_byte far 3
expect_refusal "consistent" "$ASHLAR" replica step-back far
"$ASHLAR" replica remove near "unix:$WORK/far.repl" >/dev/null || fail "remove"
stop_node far

# A copy of the device, of which a part is old.
serve lone
nbdcopy "$(socket_uri near)" "$WORK/image" || fail "nbdcopy"
nbdcopy "$WORK/image" "$(socket_uri lone)" || fail "nbdcopy"
put lone 9 1M 64k
expect_refusal "not empty" "$ASHLAR" replica add near "unix:$WORK/lone.repl"
expect_failure "--discard lone" "$ASHLAR" replica seed lone
"$ASHLAR" replica seed lone --discard lone >/dev/null || fail "seed"
! timeout 20 nbdcopy "$(socket_uri lone)" null: 2>/dev/null || fail "a seed is served"
"$ASHLAR" replica add near "unix:$WORK/lone.repl" >/dev/null || fail "add the seed"
expect_in_step near 60
expect_byte lone 3
let_primary_speak
for node in near lone; do stop_node $node; done
for node in near lone; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
