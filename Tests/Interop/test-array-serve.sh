#!/usr/bin/env bash
# An array is served by its name, wherever its members were, and by its members in any order without
# a registry; degraded when that is safe; not when a member is in use, or could have gone on alone.
. "$(dirname "$0")/lib.sh"

cd "$DATA"
pattern() { # pattern COMMAND: of qemu-io, which tells of some failures by words only
  timeout 60 qemu-io -f raw -c "$1" "$URI" >"$WORK/io" 2>&1 || { cat "$WORK/io"; fail "qemu-io: $1"; }
  if grep -q failed "$WORK/io"; then cat "$WORK/io"; fail "qemu-io: $1"; fi
}
create() { timeout 60 "$ASHLAR" create "$@" >/dev/null; }

create a --level raid5 --size 64M --log-size 4m a0 a1 a2
serve_array a a
pattern 'write -P 1 0 4M'
expect_status 0 "$ASHLAR" status a --check >/dev/null
expect_refusal "already being served: see 'ashlar status a', or stop the other one" "$ASHLAR" serve a
expect_refusal 'a0 is in use: process' "$ASHLAR" serve a0 a1
stop_server

# A member is no plain device, except to look at.
expect_refusal "a0 is a member of array 'a' \(slot 0\)" "$ASHLAR" serve --file a0 --name plain
serve plain --file a0 --read-only
stop_server

# Without the registry, shuffled, through links.
rm -r "$ASHLAR_STATE_DIR"
expect_refusal "no array called 'a' is known" "$ASHLAR" serve a
ln -s "$DATA/a1" "$WORK/link"
serve_array a a2 "$WORK/link" a0
pattern 'read -P 1 0 4M'
stop_server
# That has written the registry anew, with the places of then.
jq -e '[.members[].place] | any(endswith("/link"))' "$ASHLAR_STATE_DIR/a.json" >/dev/null || fail "the registry has not learned the places"

# A registry that was cut short is a warning for those who name members, and refused for a name.
truncate -s 20 "$ASHLAR_STATE_DIR/a.json"
expect_refusal 'cannot be understood' "$ASHLAR" serve a
serve_array a a0 a1 a2
grep -q 'warning: the registry' "$LOG" || fail "no warning about the damaged registry"
stop_server

# Degraded: one is missing, and two remain.
mv a2 away
serve_array a a
array_is a degraded || fail "the array is $(array_state a), not degraded"
expect_status 1 "$ASHLAR" status a --check >"$WORK/out"
grep -q '^a: degraded' "$WORK/out" || { cat "$WORK/out"; fail "status --check"; }
pattern 'read -P 1 0 4M'
pattern 'write -P 2 1M 1M'
stop_server
# The one that was away comes back and is brought up to date.
mv away a2
serve_array a a
wait_until 30 array_is a optimal || fail "the array stays $(array_state a)"
pattern 'read -P 2 1M 1M'
stop_server
# Another array's member at its place is no member: left out, by name, and the place is watched on.
create b --level raid5 --size 64M --log-size 4m b0 b1 b2
mv a2 away; cp b2 a2
serve_array a a
array_is a degraded || fail "the array is $(array_state a), not degraded"
grep -q "warning: left out: at .*/a2 is now a member of array 'b'" "$LOG" || fail "the log does not say what is at the place"
"$ASHLAR" status a >"$WORK/out"
grep -q "at .*/a2 is now a member of array 'b'" "$WORK/out" || { cat "$WORK/out"; fail "status does not say why member 2 is missing"; }
mv away a2
wait_until 30 array_is a optimal || fail "the member that is back at its place is not taken back"
stop_server
# One that was cut short while nobody looked is missing, by its place, and taken back when it is whole.
truncate -s 8M a2
serve_array a a
array_is a degraded || fail "the array is $(array_state a), not degraded"
"$ASHLAR" status a >"$WORK/out"
if ! grep -q "missing .*/a2" "$WORK/out" || ! grep -q "a2 was cut short: it has 8388608 bytes" "$WORK/out"; then
  cat "$WORK/out"
  fail "status does not tell of the member that was cut short"
fi
truncate -s 64M a2
wait_until 30 array_is a optimal || fail "the member that is whole again is not taken back"
pattern 'read -P 2 1M 1M'
stop_server
# A process that was killed holds its files until its last writes are done: a start waits for that.
( exec 9<>a1; flock 9; sleep 8 & ) # the lock belongs to a process that is gone
serve_array a a || fail "a start does not wait for a killed process"
stop_server
# Two are missing: too few.
mv a1 away1; mv a2 away2
expect_refusal 'raid5 needs 2' "$ASHLAR" serve a
mv away1 a1; mv away2 a2

# A mirror whose other half could have gone on alone; the registry proves that it did not.
create m --level raid1 --size 64M --log-size 4m m0 m1
serve_array m m
pattern 'write -P 3 0 1M'
stop_server
mv m1 away
cp -a "$ASHLAR_STATE_DIR" "$WORK/state.kept"
serve_array m m
stop_server
rm -r "$ASHLAR_STATE_DIR"; cp -a "$WORK/state.kept" "$ASHLAR_STATE_DIR"
create f --level raid1 --size 64M --log-size 4m f0 f1
rm "$ASHLAR_STATE_DIR/f.json"
expect_refusal 'could have gone on' "$ASHLAR" serve f0
serve_array f f0 --force
stop_server
