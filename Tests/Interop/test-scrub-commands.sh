#!/usr/bin/env bash
# Scrub by command: one that is paused, or cancelled, or whose server ends says so to who waits for it
# (2); it goes on after a restart from where it was; a second one is refused; what is kept beside the
# registry may be lost, bad, or another array's. Found is 1, clean 0, not running 3.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

# A member whose reads take a while, so that a scrub does.
truncate -s 160M "$DATA/m2"
nbdkit -f -U "$WORK/kit.sock" --filter=delay file "$DATA/m2" rdelay=200ms 2>"$WORK/kit.log" &
KIT=$!
on_exit "stop_pid $KIT"
slow="nbd+unix:///?socket=$WORK/kit.sock"
wait_until 10 nbdinfo --size "$slow" || { cat "$WORK/kit.log"; fail "nbdkit does not answer"; }
members=("$DATA/m0" "$DATA/m1" "$slow")
create_array a raid5 160M "${members[@]}"
serve_array a a
qemu-img bench -f raw -w -c 1600 -d 16 -s 128k -S 128k -n -t none "$URI" >/dev/null || fail "cannot fill the array"
scrub() { # scrub STATUS WORDS ARGUMENT...
  local expected=$1 words=$2 status=0; shift 2
  timeout 120 "$ASHLAR" scrub a "$@" >"$WORK/out" 2>&1 || status=$?
  [[ $status -eq $expected ]] || { cat "$WORK/out"; "$ASHLAR" status a; fail "scrub $* ended with $status, not $expected"; }
  grep -qE -- "$words" "$WORK/out" || { cat "$WORK/out"; fail "scrub $* does not say '$words'"; }
}
waits() { # waits NAME ARGUMENT...: in the background; its status comes to WORK/NAME
  local name=$1; shift
  { status=0; timeout 120 "$ASHLAR" scrub a "$@" --wait >"$WORK/$name.out" 2>&1 || status=$?; echo "$status" >"$WORK/$name"; } &
}
ended() { wait_until 60 test -s "$WORK/$1" || fail "the wait does not end"; [[ $(<"$WORK/$1") -eq $2 ]] || { cat "$WORK/$1.out"; fail "the wait ended with $(<"$WORK/$1"), not $2"; }; }
has_begun() { [[ $(array_fact a '.scrub.done_pages // 0') -gt 0 ]]; }
no_scrub_left() { [[ $(array_fact a .scrub) == null ]]; }
state=$ASHLAR_STATE_DIR/a.scrub.json

note "paused, and resumed"
scrub 0 'has begun' --check
wait_until 30 has_begun || fail "the scrub does not come on"
scrub 1 'under way' --repair
waits first
sleep 1
scrub 0 'paused' --pause
ended first 2
# The step that is under way is the last one.
rests() { before=$(array_fact a .scrub.done_pages); sleep 1.5; [[ $(array_fact a '"\(.scrub.paused) \(.scrub.done_pages)"') == "true $before" ]]; }
wait_until 20 rests || fail "a paused scrub goes on"
"$ASHLAR" status a | grep -qE 'scrub: \[=*> *\] [0-9.]+ %, paused' || { "$ASHLAR" status a; fail "status has no bar of the paused scrub"; }

note "over a restart"
jq -e '.version == 1 and .run.paused and .run.kind == "check"' "$state" >/dev/null || { cat "$state"; fail "the scrub is not kept"; }
stop_server
serve_array a a
[[ $(array_fact a '"\(.scrub.kind) \(.scrub.paused)"') == "check true" ]] || fail "the scrub does not go on after a restart"
[[ $(array_fact a .scrub.done_pages) -ge $before ]] || fail "the scrub begins anew after a restart"
waits second --resume
sleep 1
stop_server
ended second 2
serve_array a a
wait_until 60 no_scrub_left || fail "the scrub does not end"
[[ $(array_fact a '.scrub_history | map(.kind + " " + .ending) | join(",")') == "check completed" ]] || fail "the history is $(array_fact a .scrub_history)"

note "cancelled"
waits third --repair
wait_until 30 has_begun || fail "the scrub does not come on"
scrub 0 'has ended' --cancel
ended third 2
[[ $(array_fact a '.scrub_history[-1].ending') == cancelled ]] || fail "the history does not tell of the cancelled scrub"
scrub 1 'no scrub' --cancel

note "to the end, with what was found"
scrub 0 'nothing found' --check --wait
damage "$DATA/m0" data --written --count 30
scrub 1 'found [0-9]+ .*not repaired' --check --wait
scrub 1 'standing' --wait --json
jq -e '.standing == "found" and .upkeep.scrub_history[-1].counts.found == .upkeep.scrub_history[-1].counts.repaired' < <(tail -n 1 "$WORK/out") >/dev/null ||
  { cat "$WORK/out"; fail "the JSON of scrub --wait"; }
scrub 0 'nothing found' --check --wait

note "what is kept is lost, bad, or another array's"
for content in '' '{' '{"version":1,"array_id":"of-another","run":null,"history":[]}' '{"version":7}'; do
  stop_server
  printf '%s' "$content" >"$state"
  serve_array a a
  [[ $(array_fact a '"\(.scrub) \(.scrub_history | length)"') == "null 0" ]] || fail "'$content' was taken for a state"
  expect_array a 5 optimal
done
stop_server
rm "$state"
serve_array a a
scrub 0 'nothing found' --check --wait
stop_server
scrub 3 'not running' --wait
scrub 1 'not running'
stop_pid "$KIT"
