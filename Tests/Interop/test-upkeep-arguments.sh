#!/usr/bin/env bash
# The commands of an array's upkeep: wrong command lines end with 64 and do nothing; without a server,
# with a server of something else, or a member that is none, they end with their documented codes and
# say what to do.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"

wrong() { # wrong WORDS COMMAND...: a wrong command line, which says so
  local words=$1 status=0; shift
  timeout 10 "$ASHLAR" "$@" >"$WORK/out" 2>&1 || status=$?
  [[ $status -eq 64 ]] || { cat "$WORK/out"; fail "status $status, not 64, from: $*"; }
  grep -q -- "$words" "$WORK/out" || { cat "$WORK/out"; fail "'$words' is not said of: $*"; }
}
wrong 'ACTION is missing' member
wrong 'NAME is missing' member add
wrong 'MEMBER is missing' member add a
wrong "did you mean 'replace'" member replac a 0 x
wrong "'destroy' is not one of" member destroy a 0
wrong 'WITH is missing' member replace a 0
wrong "surplus argument 'x'" member fail a 0 x
wrong '--force is about' member fail a 0 --force
wrong '--force is about' member remove a 0 --force
wrong 'only nbd:// and nbd+unix://' member add a nbds://host/x
wrong 'NAME' member fail 'a/b' 0
wrong 'NAME is missing' rebuild
wrong 'exclude each other' rebuild a --pause --resume
wrong 'has no end' rebuild a --pause --wait
wrong 'a duration looks like' rebuild a --latency-budget 20
wrong 'is outside' rebuild a --latency-budget 1us
wrong 'is outside' scrub a --latency-budget 2h
wrong 'exclude each other' scrub a --check --repair
wrong 'exclude each other' scrub a --pause --cancel
wrong 'nothing to wait for' scrub a --cancel --wait
wrong "did you mean '--repair'" scrub a --repiar
wrong 'is for arrays' serve --memory 1M --spare-delay 5s
wrong 'is for arrays' serve --memory 1M --latency-budget 5ms
for command in member rebuild scrub; do
  timeout 10 "$ASHLAR" "$command" --help >"$WORK/help" || fail "$command --help"
  grep -q -- '--json' "$WORK/help" || fail "$command --help does not name --json"
done

note "nothing runs"
ends() { # ends STATUS WORDS COMMAND...
  local expected=$1 words=$2 status=0; shift 2
  timeout 30 "$ASHLAR" "$@" >"$WORK/out" 2>&1 || status=$?
  [[ $status -eq $expected ]] || { cat "$WORK/out"; fail "status $status, not $expected, from: $*"; }
  grep -qE -- "$words" "$WORK/out" || { cat "$WORK/out"; fail "'$words' is not said of: $*"; }
}
for order in "member add a $DATA/new" 'member fail a 0' 'member remove a 0' "member replace a 0 $DATA/new" 'rebuild a' 'rebuild a --pause' 'scrub a' 'scrub a --cancel'; do
  # shellcheck disable=SC2086
  ends 1 'a is not running' $order
done
ends 3 'a is not running' rebuild a --wait
ends 3 'a is not running' scrub a --check --wait
[[ ! -e $DATA/new ]] || fail "a file was made for nothing"

note "a plain device"
serve plain --memory 8M
for order in "member add plain $DATA/new" 'member fail plain 0' 'rebuild plain' 'rebuild plain --resume' 'scrub plain'; do
  # shellcheck disable=SC2086
  ends 1 'plain device' $order
done
ends 2 'plain device' scrub plain --wait
stop_server

note "an array"
create_array a raid5 64M "$DATA/m0" "$DATA/m1" "$DATA/m2"
serve_array a a
for member in 7 "$DATA/m9" 00000000-0000-0000-0000-000000000001 m; do
  for order in fail remove; do ends 1 'is no member of it' member "$order" a "$member"; done
  ends 1 'is no member of it' member replace a "$member" "$DATA/new"
done
[[ ! -e $DATA/new ]] || fail "a file was made for nothing"
ends 1 'serves' member remove a 1
ends 1 'not under way|no scrub|nothing' scrub a --pause
ends 1 'not under way|no scrub|nothing' scrub a --resume
ends 1 'not under way|no scrub|nothing' scrub a --cancel
ends 0 'all members are up to date' rebuild a
ends 0 'all members are up to date' rebuild a --wait
"$ASHLAR" rebuild a --json | jq -e '.version == 1 and .standing == "clean" and .upkeep.rebuild == null and .upkeep.reserves == []' >/dev/null ||
  fail "the JSON of rebuild"
ends 0 '50 ms' rebuild a --latency-budget 50ms
[[ $(array_fact a .latency_budget.asked_nanoseconds) == 50000000 ]] || fail "the budget was not taken"
ends 0 '30 ms' scrub a --latency-budget 30ms
[[ $(array_fact a .latency_budget.asked_nanoseconds) == 30000000 ]] || fail "the budget was not taken"
[[ $(array_fact a .scrub) == null && $(array_fact a '.scrub_history | length') == 0 ]] || fail "a budget began a scrub"
expect_array a 5 optimal

note "requests by hand: malformed ones are refused and do nothing"
cat >"$WORK/lines" <<'LINES'
{"version":1,"command":"member"}
{"version":1,"command":"member","action":"fail"}
{"version":1,"command":"member","action":"fail","member":7}
{"version":1,"command":"member","action":"add","place":"relative"}
{"version":1,"command":"member","action":"add","place":"ftp://host/x"}
{"version":1,"command":"scrub","action":"burn"}
{"version":1,"command":"latency-budget","nanoseconds":-5}
{"version":1,"command":"latency-budget","nanoseconds":1e300}
LINES
python3 - "$ASHLAR_RUNTIME_DIR/a.control" "$WORK/lines" >"$WORK/answers" <<'PYTHON'
import json, socket, sys
control = socket.socket(socket.AF_UNIX)
control.settimeout(10)
control.connect(sys.argv[1])
stream = control.makefile("rw")
for line in open(sys.argv[2]):
    stream.write(line)
    stream.flush()
    answer = json.loads(stream.readline())
    print(answer["ok"], answer["error"]["code"], answer["error"]["message"])
PYTHON
[[ $(grep -c '^False \(malformed_request\|bad_place\) ' "$WORK/answers") -eq 8 ]] || { cat "$WORK/answers"; fail "a malformed request was not refused"; }
expect_array a 5 optimal
stop_server
expect_clean a "$DATA/m0" "$DATA/m1" "$DATA/m2"
