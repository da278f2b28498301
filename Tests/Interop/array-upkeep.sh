# shellcheck shell=bash
# For the tests of an array's upkeep: members that are lost and come back, under a load that remembers
# what was acknowledged and checks what it reads, with a scrub running; the status is right at every
# step. UPKEEP_MINUTES=N goes round again until so long has passed; one round by default.

# upkeep LEVEL SPAREABLE: an array of files and one export; how many members it can lose.
upkeep() {
  level=$1 spareable=$2
  local count=$((spareable + 3)) n end=$((SECONDS + ${UPKEEP_MINUTES:-0} * 60)) round=0
  members=() files=0
  truncate -s 96M "$DATA/exported"
  begin_kit
  for ((n = 0; n < count - 1; n++)); do new_file; members+=("$FILE"); done
  members+=("$URI_OF_KIT")
  create_array a "$level" 96M "${members[@]}"
  serve_array a a --member-timeout 3s --spare-delay 4s --latency-budget 100ms
  while :; do
    round=$((round + 1))
    note "$level, round $round"
    step "an export is killed and comes back" 12 kill_export
    step "a member's blocks are damaged" 10 corrupt_member
    step "a member is failed, and replaced" 12 fail_and_replace
    step "a member that serves is replaced" 12 replace_serving
    step "a spare takes the slot of a member that is gone" 20 spare_takes_over
    step "another array's member lies at a member's place" 16 foreign_superblock
    [[ $spareable -lt 2 ]] || step "two members at once" 16 lose_two
    return_stale
    killed_in_rebuild
    [[ $SECONDS -lt $end ]] || break
  done
  stop_server
  stop_pid "$KIT"
}

new_file() { files=$((files + 1)); FILE=$DATA/file$files; }

begin_kit() {
  rm -f "$WORK/kit.sock"
  nbdkit -f -U "$WORK/kit.sock" file "$DATA/exported" 2>>"$WORK/kit.log" &
  KIT=$!
  on_exit "stop_pid $KIT"
  URI_OF_KIT="nbd+unix:///?socket=$WORK/kit.sock"
  wait_until 10 nbdinfo --size "$URI_OF_KIT" || { cat "$WORK/kit.log"; fail "nbdkit does not answer"; }
}

# step WORDS SECONDS FUNCTION: it happens while the load runs; no client sees an error, and all is there.
step() {
  note "$1"
  begin_scrub
  start_load a "$2"
  "$3"
  end_load "$1"
}
end_load() {
  local status=0
  wait "$LOAD" || status=$?
  [[ $status -eq 0 ]] || { cat "$WORK/load.json"; fail "$level: $1: the load found a wrong block"; }
  ! grep -q errno "$WORK/load.json" || fail "$level: $1: a client saw an error: $(cat "$WORK/load.json")"
  [[ $(jq '.lost // 0' "$WORK/load.json") -eq 0 ]] || fail "$level: $1: a connection was lost"
  whole "$1"
}
# whole WORDS: the array is optimal, and everything acknowledged is there.
whole() {
  rebuilt "$1"
  expect_array a 30 optimal
  verify_acked check a >"$WORK/check.json" || { cat "$WORK/check.json"; fail "$level: $1: an acknowledged block is gone or wrong"; }
}
# rebuilt WORDS: by the command that waits for it.
rebuilt() {
  local status=0
  timeout 120 "$ASHLAR" rebuild a --wait >"$WORK/rebuild" 2>&1 || status=$?
  [[ $status -eq 0 ]] || { cat "$WORK/rebuild"; "$ASHLAR" status a; fail "$level: $1: rebuild --wait ended with $status"; }
}
# begin_scrub: unless one is under way.
begin_scrub() {
  [[ $(array_fact a .scrub) != null ]] || timeout 30 "$ASHLAR" scrub a >/dev/null || fail "scrub does not begin"
}
# scrubbed STATUS ARGUMENT...: a whole scrub ends with this status.
scrubbed() {
  local expected=$1 status=0; shift
  timeout 120 "$ASHLAR" scrub a "$@" --wait >"$WORK/scrub" 2>&1 || status=$?
  [[ $status -eq $expected ]] || { cat "$WORK/scrub"; "$ASHLAR" status a; fail "$level: scrub $* ended with $status, not $expected"; }
}
no_scrub() { [[ $(array_fact a .scrub) == null ]]; }
left_is() { [[ $(array_fact a .redundancy_left) == "$1" ]]; }
expect_left() { wait_until 10 left_is "$1" || { "$ASHLAR" status a; fail "$level: status says that $(array_fact a .redundancy_left) may be lost, not $1"; }; }
expect_line() { "$ASHLAR" status a >"$WORK/status"; grep -qE -- "$1" "$WORK/status" || { cat "$WORK/status"; fail "$level: status does not say '$1'"; }; }
member() { timeout 60 "$ASHLAR" member "$@" >"$WORK/member" 2>&1 || { cat "$WORK/member"; "$ASHLAR" status a; fail "$level: member $*"; }; }
slot_of() { array_fact a ".members[] | select(.place == \"$1\") | .slot"; }

kill_export() {
  local slot
  slot=$(slot_of "$URI_OF_KIT")
  kill -KILL "$KIT"
  { wait "$KIT" || true; } 2>/dev/null
  expect_member a "$slot" 10 out
  expect_left $((spareable - 1))
  expect_line 'can lose: '
  begin_kit
  # What its unanswered writes may still do is waited out first.
  expect_member a "$slot" 60 syncing current
}

corrupt_member() {
  damage "${members[0]}" data --written --count 60
  [[ $(jq '.data | length' "$WORK/damage") -gt 0 ]] || fail "nothing was damaged: that proves nothing"
  wait_until 60 no_scrub || fail "$level: the scrub does not end"
  scrubbed 1 --repair
  scrubbed 0 --check
  expect_line 'scrub: check completed'
  array_is a optimal || fail "$level: damage that was repaired left the array $(array_state a)"
}

fail_and_replace() {
  new_file
  member fail a "${members[1]}"
  expect_member a 1 5 out
  expect_left $((spareable - 1))
  [[ $spareable -gt 1 ]] || expect_refusal 'stop|too few' "$ASHLAR" member fail a 0
  member replace a 1 "$FILE"
  expect_member a 1 5 syncing current
  [[ $(array_fact a '.members[1].place') == "$FILE" ]] || fail "$level: the new member is not in the slot"
  rm "${members[1]}"
  members[1]=$FILE
}

replace_serving() {
  local least left
  new_file
  member replace a "${members[0]}" "$FILE"
  least=$spareable
  for _ in {1..100}; do
    left=$(array_fact a '"\(.redundancy_left) \(.reserves | length)"')
    [[ ${left% *} -ge $least ]] || least=${left% *}
    [[ ${left#* } -ne 0 ]] || break
    sleep 0.1
  done
  [[ $least -eq $spareable ]] || fail "$level: while a serving member was replaced only $least could be lost"
  rebuilt "replace a serving member"
  [[ $(array_fact a '"\(.members[0].place) \(.reserves | length)"') == "$FILE 0" ]] || { "$ASHLAR" status a; fail "$level: the replacement has not taken the place"; }
  rm "${members[0]}"
  members[0]=$FILE
}

spare_takes_over() {
  new_file
  member add a "$FILE"
  [[ $(array_fact a '.reserves[0].state') == spare ]] || fail "$level: the new member is no spare"
  expect_line 'spare .*'"$FILE"
  mv "${members[1]}" "$DATA/away"
  expect_member a 1 10 out
  wait_until 15 has_place 1 "$FILE" || { "$ASHLAR" status a; fail "$level: the spare does not take the slot"; }
  rm "$DATA/away"
  members[1]=$FILE
}
has_place() { [[ $(array_fact a ".members[$1].place") == "$2" ]]; }

foreign_superblock() {
  [[ -e $DATA/foreign ]] || create_array other raid1 96M "$DATA/foreign" "$DATA/foreign2"
  mv "${members[0]}" "$DATA/away"
  cp --sparse=always "$DATA/foreign" "${members[0]}"
  expect_member a 0 10 out
  expect_left $((spareable - 1))
  wait_until 15 grep -q "is not taken back: it belongs to array 'other'" "$LOG" || fail "$level: the log does not say whose superblock it is"
  expect_refusal "holds an ashlar member of array 'other'|is where member 0" "$ASHLAR" member replace a 0 "${members[0]}"
  mv "$DATA/away" "${members[0]}"
  expect_member a 0 20 syncing current
}

lose_two() {
  local slot
  new_file
  slot=$(slot_of "$URI_OF_KIT")
  kill -KILL "$KIT"
  { wait "$KIT" || true; } 2>/dev/null
  member fail a 0
  expect_left 0
  expect_line 'can lose: nothing more'
  expect_refusal 'stop|too few' "$ASHLAR" member fail a 1
  member replace a 0 "$FILE"
  begin_kit
  # What its unanswered writes may still do is waited out first.
  expect_member a "$slot" 60 syncing current
  rm "${members[0]}"
  members[0]=$FILE
}

# A file as it was some time before is brought up to date as a whole, and never read before.
return_stale() {
  note "a member returns as it was some time before"
  stop_server
  cp --sparse=always "${members[1]}" "$DATA/old"
  serve_array a a --member-timeout 3s --spare-delay 4s
  start_load a 3
  end_load "before the old copy"
  stop_server
  mv "$DATA/old" "${members[1]}"
  serve_array a a --member-timeout 3s --spare-delay 4s --latency-budget 100ms
  begin_scrub
  start_load a 6
  expect_member a 1 10 syncing current
  end_load "an old copy"
}

# A rebuild goes on after the server was killed in the middle of it.
killed_in_rebuild() {
  note "the server is killed during a rebuild"
  new_file
  start_load a 30
  member fail a 0
  member replace a 0 "$FILE"
  pause_up_to 1500
  end_load_by_kill
  rm "${members[0]}"
  members[0]=$FILE
  # nbdkit (1.32) may abort when a client of it is killed: that is not the array's doing.
  is_running "$KIT" || { note "nbdkit has ended with its client: $(tail -n 1 "$WORK/kit.log")"; begin_kit; }
  serve_array a a --member-timeout 3s --spare-delay 4s --latency-budget 100ms
  expect_member a 0 10 syncing current
  whole "killed in a rebuild"
}
