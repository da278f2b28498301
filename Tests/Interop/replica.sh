# shellcheck shell=bash disable=SC2034  # SERVER is for lib.sh
# For the tests of two nodes with the same array: start them, and what they say of replication.

declare -A NODE=()
# serve_node NAME ADDRESS MEMBER...: serve an array that listens to other nodes at ADDRESS, and wait until
# it says how it is: a node that is not the primary may refuse all clients. Leaves its process in NODE[NAME].
serve_node() {
  local name=$1 address=$2 log=$WORK/$1.log; shift 2
  [[ " ${SERVER_LOGS[*]} " == *" $log "* ]] || SERVER_LOGS+=("$log")
  "$ASHLAR" serve "$@" --replication "$address" >>"$log" 2>&1 </dev/null &
  NODE[$name]=$!
  on_exit "stop_pid ${NODE[$name]}"
  wait_until 20 node_answers "$name" || fail "$name does not start"
}
node_answers() { timeout 5 "$ASHLAR" status "$1" --json 2>/dev/null | jq -e '.devices[0].status.array != null' >/dev/null; }
# stop_node NAME: it must end with status 0.
stop_node() {
  SERVER=${NODE[$1]}
  stop_server
}
# node_fact NAME FILTER: of what it says of replication, by jq.
node_fact() { array_fact "$1" ".replication | $2"; }
# is_in_step PRIMARY: its one replica counts and has everything.
is_in_step() {
  [[ $(node_fact "$1" '.role + " " + (.peers[0].counts | tostring) + " " + .peers[0].connection') == "primary true in step" ]]
}
expect_in_step() { # expect_in_step PRIMARY SECONDS
  wait_until "$2" is_in_step "$1" || { timeout 10 "$ASHLAR" status "$1"; fail "the replica of $1 does not come in step"; }
}
# let_primary_speak: a replica keeps in its log what its primary has not called durable (rule C1), and is not clean
# when it is stopped before that. The primary says it four times in two seconds.
let_primary_speak() { sleep 2; }
