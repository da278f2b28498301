# shellcheck shell=bash
# For the tests of arrays on real files: members in DATA, damage to them, and what must hold.

# create_array NAME LEVEL SIZE MEMBER...
create_array() {
  local name=$1 level=$2 size=$3; shift 3
  timeout 60 "$ASHLAR" create "$name" --level "$level" --size "$size" --log-size 4m "$@" >"$WORK/created" 2>&1 ||
    { cat "$WORK/created"; fail "create $name"; }
}

# damage MEMBER REGION... [--count N]: random bytes into its regions; see damage-member.py.
damage() { python3 "$HERE/damage-member.py" "$@" >"$WORK/damage" || fail "damage-member.py $*"; }

# array_fact NAME FILTER: of its status, by jq.
array_fact() { timeout 10 "$ASHLAR" status "$1" --json | jq -r ".devices[0].status.array | $2"; }
# member_state NAME SLOT. member_is NAME SLOT WORD...: one of these.
member_state() { array_fact "$1" ".members[$2].state"; }
member_is() {
  local state word
  state=$(member_state "$1" "$2"); shift 2
  for word in "$@"; do [[ $state != "$word" ]] || return 0; done
  return 1
}
# expect_member NAME SLOT SECONDS WORD...: it becomes one of these, in time.
expect_member() {
  local name=$1 slot=$2 seconds=$3; shift 3
  wait_until "$seconds" member_is "$name" "$slot" "$@" ||
    { timeout 10 "$ASHLAR" status "$name"; fail "member $slot is $(member_state "$name" "$slot"), not $*"; }
}
# expect_cause NAME SLOT WORDS: why it is out, as a pattern of grep -E.
expect_cause() {
  array_fact "$1" ".members[$2].cause" | grep -qE -- "$3" ||
    { timeout 10 "$ASHLAR" status "$1"; fail "status does not say '$3' of member $2"; }
}
expect_array() { # expect_array NAME SECONDS WORD
  wait_until "$2" array_is "$1" "$3" ||
    { timeout 10 "$ASHLAR" status "$1"; fail "the array is $(array_state "$1"), not $3"; }
}
# expect_clean NAME MEMBER...: after a stop, examine finds all in sync.
expect_clean() {
  local name=$1; shift
  timeout 30 "$ASHLAR" examine "$@" >"$WORK/examined" 2>&1 || { cat "$WORK/examined"; fail "examine refuses $name"; }
  grep -q "can start, all $# members in sync, clean" "$WORK/examined" || { cat "$WORK/examined"; fail "$name is not clean"; }
}
