#!/usr/bin/env bash
# Two nodes are compared while a client writes: they are the same. Blocks that a node has lost on all of its
# members are mended from the other one, either way, and are whole afterwards; the command says so, with its
# exit status too.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"
. "$HERE/replica.sh"

for node in left right; do
  create_array $node raid1 128M "$DATA/$node.0" "$DATA/$node.1"
  serve_node $node "unix:$WORK/$node.repl" "$DATA/$node.0" "$DATA/$node.1"
done
expect_refusal "not a primary" "$ASHLAR" replica verify left --no-wait
"$ASHLAR" replica add left "unix:$WORK/right.repl" >/dev/null
expect_in_step left 30
verify() { # verify STATUS ARGUMENT...: compare, and expect that exit status
  local expected=$1 status=0; shift
  timeout 60 "$ASHLAR" replica verify left "$@" --json >"$WORK/verify.json" 2>"$WORK/verify.err" || status=$?
  # On a busy machine a connection may fall silent for two seconds: the comparison says that it was interrupted.
  if [[ $status == 2 && $expected != 2 ]]; then
    sleep 3
    expect_in_step left 30
    status=0
    timeout 60 "$ASHLAR" replica verify left "$@" --json >"$WORK/verify.json" 2>"$WORK/verify.err" || status=$?
  fi
  [[ $status == "$expected" ]] || { cat "$WORK/verify.json" "$WORK/verify.err"; fail "verify ends with $status, not $expected"; }
}
fact() { jq -r "$1" "$WORK/verify.json"; }

qemu-io -f raw -c 'write -P 7 0 48M' "$(socket_uri left)" >/dev/null
(cd "$WORK" && exec fio --name=write --ioengine=nbd --uri="$(socket_uri left)" --rw=randwrite --bsrange=4k-64k --iodepth=4 --offset=64M --size=32M \
  --time_based --runtime=4 --minimal >"$WORK/fio.out" 2>&1) &
load=$!
on_exit "stop_pid $load"
sleep 1
verify 0
[[ $(fact .verify.state) == complete && $(fact '.verify.written_blocks >= 12288') == true ]] || fail "under load: $(fact -c .verify)"
wait "$load" || { cat "$WORK/fio.out"; fail "fio"; }
[[ $("$ASHLAR" replica verify left "unix:$WORK/right.repl") == *"they are the same"* ]] || fail "what a person is told"

# The same blocks of both members, once for each node; the other one has them.
for node in right left; do
  stop_node right
  stop_node left
  for node_again in left right; do serve_node $node_again "unix:$WORK/$node_again.repl" "$DATA/$node_again.0" "$DATA/$node_again.1"; done
  expect_in_step left 30
  for member in 0 1; do
    python3 "$HERE/damage-member.py" "$DATA/$node.$member" data --written --count 5 --seed 11 >"$WORK/damage.$member"
  done
  cmp "$WORK/damage.0" "$WORK/damage.1" || fail "the members were not damaged alike"
  verify 1 "unix:$WORK/right.repl"
  there=mended_there_blocks; [[ $node == right ]] || there=mended_here_blocks
  [[ $(fact ".verify.$there >= 1 and .verify.unreadable_blocks == 0 and .verify.different_blocks == 0") == true ]] || fail "damage at $node: $(fact -c .verify)"
  note "$node had lost $(fact ".verify.$there") blocks, and has them again"
  verify 0
done
for node in left right; do nbdcopy "$(socket_uri $node)" "$WORK/$node.image" || fail "nbdcopy of $node"; done
cmp "$WORK/left.image" "$WORK/right.image" || fail "the nodes differ"
"$ASHLAR" replica verify left --no-wait >/dev/null
"$ASHLAR" replica verify left --cancel >/dev/null
let_primary_speak
stop_node right
verify 2
stop_node left
verify 3
for node in left right; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
