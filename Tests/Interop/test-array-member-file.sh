#!/usr/bin/env bash
# The file of a member is removed, replaced or cut short while it is served: the member is put out and
# status says why; nothing is lost meanwhile; when the file is back it is taken back without a restart.
# So is one that was absent at the start, and a copy of some time before. A stranger is not.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/array.sh"

members=("$DATA/m0" "$DATA/m1" "$DATA/m2")
create_array a raid5 64M "${members[@]}"
create_array other raid5 64M "$DATA/o0" "$DATA/o1" "$DATA/o2"
whole() { # whole WHEN
  expect_array a 60 optimal
  check_now "$1"
}
check_now() {
  verify_acked check a >"$WORK/check.json" || fail "$1: an acknowledged block is gone or wrong"
  note "$1: $(cat "$WORK/check.json")"
}
write_some() { verify_acked load a --seconds 1 >"$WORK/load.json" || fail "$1: the load found a wrong block"; }

serve_array a a
write_some "before all"
cp --sparse=always "$DATA/m1" "$DATA/copy"

note "removed"
mv "$DATA/m1" "$DATA/away"
expect_member a 1 15 out
expect_cause a 1 'no longer at its place: it was removed or renamed'
write_some "removed"
check_now "removed"
mv "$DATA/away" "$DATA/m1"
whole "renamed back"

note "replaced by a member of another array, then by its own copy of before"
mv "$DATA/m1" "$DATA/away"
cp --sparse=always "$DATA/o1" "$DATA/m1"
expect_member a 1 15 out
expect_cause a 1 'no longer at its place'
wait_until 15 grep -q "is not taken back: it belongs to array 'other'" "$LOG" || fail "the log does not say who is there"
write_some "replaced"
mv "$DATA/copy" "$DATA/m1"
whole "an old copy"
rm "$DATA/away"

note "cut short"
size=$(stat -c %s "$DATA/m2")
truncate -s 30M "$DATA/m2"
expect_member a 2 15 out
expect_cause a 2 'was cut short: it ends at byte'
write_some "cut short"
check_now "cut short"
truncate -s "$size" "$DATA/m2"
whole "whole again"
stop_server
expect_clean a "${members[@]}"

note "absent at the start"
mv "$DATA/m0" "$DATA/away"
serve_array a a
expect_member a 0 5 missing
write_some "absent"
mv "$DATA/away" "$DATA/m0"
whole "back"
# Now any other may go.
mv "$DATA/m2" "$DATA/away"
expect_member a 2 15 out
check_now "without another"
mv "$DATA/away" "$DATA/m2"
whole "all back"
stop_server
expect_clean a "${members[@]}"

note "cut short before the start"
truncate -s 30M "$DATA/m1"
serve_array a a
expect_member a 1 5 missing
grep -q 'cut short' "$LOG" || fail "the log does not say that a member was cut short"
truncate -s "$size" "$DATA/m1"
whole "whole again after the start"
stop_server
expect_clean a "${members[@]}"

# One that went on alone is not overwritten.
note "gone on alone"
create_array b raid1 64M "$DATA/b0" "$DATA/b1"
mv "$DATA/b1" "$DATA/away"
serve_array b b
stop_server
mv "$DATA/b0" "$DATA/b0.kept"; mv "$DATA/away" "$DATA/b1"
rm "$ASHLAR_STATE_DIR/b.json"
serve_array b "$DATA/b1" --force
stop_server
rm "$ASHLAR_STATE_DIR/b.json"
mv "$DATA/b1" "$DATA/away"; mv "$DATA/b0.kept" "$DATA/b0"
sum=$(sha256sum <"$DATA/away")
serve_array b "$DATA/b0"
mv "$DATA/away" "$DATA/b1"
sleep 5
[[ $(member_state b 1) == missing ]] || fail "a member that went on alone was taken: $(member_state b 1)"
stop_server
[[ $(sha256sum <"$DATA/b1") == "$sum" ]] || fail "a member that went on alone was written to"
