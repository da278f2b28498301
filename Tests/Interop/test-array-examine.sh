#!/usr/bin/env bash
# examine tells what members are and what would be started of them, in any order, also while they are
# in use, and writes nothing: whole, degraded, foreign, damaged, cut short, and nothing of ours.
. "$(dirname "$0")/lib.sh"

examine() { timeout 30 "$ASHLAR" examine "$@"; }
says() { grep -qE -- "$1" "$WORK/out" || { cat "$WORK/out"; fail "examine does not say '$1'"; }; }
cd "$DATA"
for array in a b; do
  timeout 60 "$ASHLAR" create "$array" --level raid5 --size 64M --log-size 4m "$array"{0,1,2} >/dev/null
done
sha256sum a? b? >"$WORK/sums"

examine a2 a0 a1 >"$WORK/out"
says "can start, all 3 members in sync, clean; raid5"
says "slot 2: .*/a2, in sync"
expect_status 0 examine a1 a0 >"$WORK/out" 2>&1
says 'degraded, 2 of 3 members in sync'
expect_status 1 examine a1 >"$WORK/out" 2>&1
says 'cannot start: of its 3 members 1 is present'
expect_status 1 examine a0 a1 a2 b0 >"$WORK/out" 2>&1
says 'members of 2 arrays'
expect_status 1 examine a0 a1 a2 gone >"$WORK/out" 2>&1
says 'not examined: .*/gone does not exist'
cp a0 copy
expect_status 1 examine a0 a1 copy >"$WORK/out" 2>&1
says 'the same member twice'
truncate -s 64M other; mkfs.ext4 -q other
expect_status 1 examine other >"$WORK/out" 2>&1
says 'other holds a file system \(ext4\)'
sha256sum -c --quiet "$WORK/sums" || fail "examine has changed a member"

# One superblock damaged: the other counts. Both: the member does.
cp a2 damaged; dd if=/dev/urandom of=damaged bs=4096 count=1 conv=notrunc status=none
examine a0 a1 damaged >"$WORK/out"
says 'superblock A'
says 'all 3 members in sync'
dd if=/dev/urandom of=damaged bs=4096 count=2 conv=notrunc status=none
expect_status 1 examine a0 a1 damaged >"$WORK/out" 2>&1
says 'degraded, 2 of 3 members'
cp a2 short; truncate -s 32M short
expect_status 1 examine a0 a1 short >"$WORK/out" 2>&1
says 'it was cut short'
says 'degraded, 2 of 3 members'
expect_status 1 examine short >"$WORK/out" 2>&1
says 'it was cut short'

examine a0 a1 a2 --json >"$WORK/json"
jq -e '.version == 1 and .can_start and (.members | length) == 3 and (.arrays[0].slots | length) == 3' "$WORK/json" >/dev/null ||
  { cat "$WORK/json"; fail "the JSON of examine"; }

# While it is served, and over NBD.
serve_array a a
expect_status 1 examine a0 a1 a2 >"$WORK/out" 2>&1
says "array 'a' .*: is in use now, all 3 members in sync"
stop_server
nbdkit -f -U "$WORK/kit.sock" file "$DATA/a1" 2>/dev/null &
on_exit "stop_pid $!"
wait_until 10 nbdinfo --size "nbd+unix:///?socket=$WORK/kit.sock" || fail "nbdkit does not answer"
examine a0 "nbd+unix:///?socket=$WORK/kit.sock" a2 >"$WORK/out"
says 'all 3 members in sync'
