# shellcheck shell=bash
# For test-array-kill9-LEVEL.sh: kill -9 under a verifying load again and again, while one and the same
# member (two of RAID-6) is damaged, cut short, taken away and brought back, with the server dead and
# with it alive. KILL9_ROUNDS says how often; each sixth round is of the same kind.
. "$HERE/kill9.sh"
. "$HERE/array.sh"

# array_kill9 LEVEL MEMBER-COUNT VICTIM...: the slots that suffer.
array_kill9() {
  local level=$1 count=$2 rounds=${KILL9_ROUNDS:-6} round total=0 n
  victims=("${@:3}") members=()
  for ((n = 0; n < count; n++)); do members+=("$DATA/m$n"); done
  create_array a "$level" 48M "${members[@]}"
  for ((round = 1; round <= rounds; round++)); do
    note "round $round"
    rm -f "$WORK/a.log"
    begin_array
    "round_$(((round - 1) % 6 + 1))"
    total=$((total + $(jq .blocks "$WORK/load.json")))
    wait_until 60 array_is a optimal ||
      { timeout 10 "$ASHLAR" status a; fail "round $round: the array stays $(array_state a)"; }
    check_array "at the end of round $round"
    stop_server
    expect_clean a "${members[@]}"
  done
  [[ $total -gt $((rounds * 100)) ]] || fail "only $total blocks were acknowledged: that proves nothing"
}

begin_array() { serve_array a a --member-timeout 5s; }
check_array() { # check_array WHEN
  verify_acked check a >"$WORK/check.json" || fail "$1: an acknowledged block is gone or wrong"
  note "check $1: $(cat "$WORK/check.json")"
  [[ $(array_fact a .lost_blocks) -eq 0 ]] || fail "$1: blocks are lost"
}
each_victim() { local slot; for slot in "${victims[@]}"; do "$@" "$slot"; done; }
damage_all() { damage "$DATA/m$1" data log table --count 60; }
away() { mv "$DATA/m$1" "$DATA/away$1"; }
back() { mv "$DATA/away$1" "$DATA/m$1"; }
cut_short() { # somewhere in the data
  size=$(stat -c %s "$DATA/m$1")
  truncate -s $((size / 2 + RANDOM % 1000 * 512)) "$DATA/m$1"
}
made_whole() { truncate -s "$size" "$DATA/m$1"; }
absent() { expect_member a "$1" 10 missing; }
returned() { expect_member a "$1" 30 syncing current; }

# Nothing else happens.
round_1() { kill_under_load a; begin_array; check_array "after the kill"; }
# Damaged with the server dead: data, log and table; then one of the superblocks.
round_2() {
  kill_under_load a
  each_victim damage_all
  begin_array
  check_array "with damage"
  kill_under_load a
  each_victim damage_superblock
  begin_array
  check_array "with a damaged superblock"
}
damage_superblock() { local copies=(a b); damage "$DATA/m$1" "${copies[RANDOM % 2]}" --count 1; }
# Taken away, and brought back for a later start; the resync is killed once.
round_3() {
  kill_under_load a
  each_victim away
  begin_array
  each_victim absent
  array_is a degraded || fail "the array is $(array_state a), not degraded"
  check_array "without members"
  kill_under_load a
  each_victim back
  begin_array
  kill_under_load a
  begin_array
  check_array "with members back"
}
# Cut short with the server dead.
round_4() {
  kill_under_load a
  each_victim cut_short
  begin_array
  each_victim absent
  grep -q 'cut short' "$LOG" || fail "the log does not say that a member was cut short"
  check_array "with a member cut short"
  kill_under_load a
  each_victim made_whole
  begin_array
  check_array "with a member whole again"
}
# Damaged under load.
round_5() {
  start_load a 30
  each_victim damage_all
  pause_up_to 1000
  each_victim damage_all
  end_load_by_kill
  begin_array
  check_array "with damage under load"
}
# Taken away under load, and brought back under load, without a restart.
round_6() {
  start_load a 30
  each_victim away
  each_victim gone
  pause_up_to 1000
  each_victim back
  each_victim returned
  end_load_by_kill
  begin_array
  check_array "with members away and back under load"
}
gone() { expect_member a "$1" 20 out; expect_cause a "$1" 'no longer'; }
