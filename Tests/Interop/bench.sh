# shellcheck shell=bash
# Shared by the tests of "ashlar bench". Source it behind lib.sh.

# bench_status STATUS ARGUMENT...: runs it and demands that exit code; leaves OUT and ERR_TEXT.
bench_status() {
  local expected=$1 status=0; shift
  OUT=$WORK/bench.out ERR_TEXT=$WORK/bench.err
  timeout 60 "$ASHLAR" bench "$@" --eta=never >"$OUT" 2>"$ERR_TEXT" || status=$?
  [[ $status -eq $expected ]] ||
    { cat "$OUT" "$ERR_TEXT" >&2; fail "status $status, not $expected, from: bench $*"; }
}
# says FILE PATTERN: fails unless the text is there.
says() { grep -qE -- "$2" "$1" || { cat "$1" >&2; fail "nothing of '$2'"; }; }
# says_not FILE PATTERN
says_not() { ! grep -qE -- "$2" "$1" || { cat "$1" >&2; fail "found '$2'"; }; }
# json_holds FILTER: a jq condition on the report.
json_holds() { jq -e "$1" "$OUT" >/dev/null || { cat "$OUT" >&2; fail "not so: $1"; }; }
