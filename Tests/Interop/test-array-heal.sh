#!/usr/bin/env bash
# Bytes of one member (two of RAID-6) are overwritten while it is served: every read is right, every
# damaged block that reads meet is healed and counted, to the block, and what was healed is right on the
# member. Damage beyond redundancy is EIO for exactly the blocks that are lost.
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

# check_blocks ACTION ARGUMENT...: the device's contents, known to array-blocks.py.
check_blocks() { python3 "$HERE/array-blocks.py" "$1" --socket "$SOCKET" --name a "${@:2}" || fail "$level: $1"; }
# settled: everything is home, and the log is empty.
settled() { [[ $(array_fact a '.log.dirty_bytes == 0 and .log.checkpoint >= .log.last - 8') == true ]]; }

heal() { # heal LEVEL MEMBER-COUNT VICTIM...
  level=$1
  local n members=() layout expected damaged healed victim hits=() before lost
  note "$level"
  for ((n = 0; n < $2; n++)); do members+=("$DATA/$level-$n"); done
  create_array a "$level" 32M "${members[@]}"
  serve_array a "${members[@]}"
  check_blocks fill
  wait_until 30 settled || fail "$level: the log does not empty itself"
  for victim in "${@:3}"; do
    damage "${members[victim]}" data --written --count 150
    cp "$WORK/damage" "$WORK/hit-$victim"
    hits+=(--hit "$victim:$WORK/hit-$victim")
  done
  damaged=$(jq -s 'map(.data | length) | add' "$WORK"/hit-*)
  # Every read is right, and after it all that reads can meet is healed.
  layout=(--level "$level" --members "$2" "${hits[@]}")
  expected=$(python3 "$HERE/array-blocks.py" expect "${layout[@]}")
  check_blocks verify
  wait_until 60 heals_to "$expected" ||
    fail "$level: $(array_fact a .healed_blocks) blocks were healed, not $expected of those that were damaged"
  # A read that was hedged has the whole row looked at, and meets bad parity as well.
  before=$(array_fact a .healed_blocks)
  [[ $before -le $damaged ]] || fail "$level: $before blocks were healed, and $damaged were damaged"
  [[ $(array_fact a '[.members[].healed_blocks] | add') -eq $before ]] || fail "$level: the members' counters do not add up to $before"
  for ((n = 0; n < $2; n++)); do
    healed=$(array_fact a ".members[$n].healed_blocks")
    if [[ " ${*:3} " == *" $n "* ]]; then
      [[ $healed -gt 0 ]] || fail "$level: nothing was healed on member $n"
    else
      [[ $healed -eq 0 ]] || fail "$level: $healed blocks were healed on member $n, which had no damage"
    fi
  done
  array_is a optimal || fail "$level: healing left the array $(array_state a)"
  check_blocks verify
  [[ $(array_fact a .healed_blocks) -le $damaged ]] || fail "$level: blocks were healed twice"
  [[ $(array_fact a .lost_blocks) -eq 0 ]] || fail "$level: blocks are lost"

  # Beyond redundancy: the same rows on one member more than the level can spare.
  python3 "$HERE/array-blocks.py" ruin --level "$level" --members "$2" "${members[@]/#/--member=}" >"$WORK/ruined"
  check_blocks verify --lost "$WORK/ruined"
  array_is a damaged || fail "$level: blocks are lost, and the array is $(array_state a)"
  lost=$(jq length "$WORK/ruined")
  [[ $(array_fact a .lost_blocks) -eq $lost ]] || fail "$level: $lost blocks are lost, and status counts $(array_fact a .lost_blocks)"
  grep -q 'error: block [0-9]* is beyond redundancy' "$LOG" || fail "$level: the log does not tell of lost blocks"
  # A write makes a lost block good.
  check_blocks rewrite --lost "$WORK/ruined"
  wait_until 30 array_is a optimal || fail "$level: nothing is lost any more, and the array is $(array_state a)"
  check_blocks verify
  stop_server
  expect_clean a "${members[@]}"
  rm -f "${members[@]}" "$ASHLAR_STATE_DIR/a.json" "$WORK"/hit-*
}
heals_to() { check_blocks meet "${layout[@]}"; [[ $(array_fact a .healed_blocks) -ge $1 ]]; }

heal raid1 2 1
heal raid5 4 2
heal raid6 5 0 3
heal raid10 4 1
