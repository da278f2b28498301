#!/usr/bin/env bash
# Two nodes with an arbiter in a file: a dead primary's replica is promoted without force, once; the old primary
# does not serve by itself; and where the arbiter cannot be asked nobody is promoted, nor goes on alone.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"
. "$HERE/replica.sh"

mkdir "$WORK/shared"
arbiter=$WORK/shared/record
start() { serve_node "$1" "unix:$WORK/$1.repl" "$DATA/$1.0" "$DATA/$1.1" --arbiter "file:$arbiter"; }
for node in left right; do create_array $node raid1 64M "$DATA/$node.0" "$DATA/$node.1"; start $node; done
"$ASHLAR" replica add left "unix:$WORK/right.repl" --peer-timeout 500ms >/dev/null
expect_in_step left 30
in_sync() { [[ $(jq '.in_sync | length' "$arbiter" 2>/dev/null) == "$1" ]]; }
holder() { [[ $(jq -r .holder "$arbiter") == "$(array_fact "$1" .id)" ]]; }
wait_until 10 in_sync 2 || fail "the arbiter does not know of the replica"
holder left || fail "left does not hold it"
put() { qemu-io -f raw -c "write -P $2 $3 $4" "$(socket_uri "$1")" >"$WORK/put" 2>&1; }
put left 1 0 64k || fail "write to left"

# Not to be asked: nobody is promoted, although the primary is dead.
kill -KILL "${NODE[left]}"
{ wait "${NODE[left]}" || true; } 2>/dev/null
# The replica has to notice first: until then its primary is called connected.
is_alone() { [[ $(node_fact right '.peers[0].connection') == "" ]]; }
wait_until 10 is_alone || fail "right does not notice that its primary is dead"
mv "$WORK/shared" "$WORK/away"
expect_refusal "arbiter" "$ASHLAR" promote right
mv "$WORK/away" "$WORK/shared"
promoted() { "$ASHLAR" promote right >"$WORK/promote" 2>&1; }
wait_until 10 promoted || { cat "$WORK/promote"; fail "right is not promoted"; }
holder right || fail "right does not hold it"
put right 2 4096 8k || fail "write to right"

# Right dies; left may not go on by itself.
kill -KILL "${NODE[right]}"
{ wait "${NODE[right]}" || true; } 2>/dev/null
start left
sleep 4
if put left 3 0 4k; then fail "left serves although right was promoted"; fi
expect_refusal "have not been heard" "$ASHLAR" promote left
# Right may, without force and without anybody.
start right
writes() { put right 4 8192 4k; }
wait_until 20 writes || fail "right does not go on"
expect_in_step right 30
wait_until 10 in_sync 2 || fail "the arbiter does not know that left is in sync"
for node in left right; do nbdcopy "$(socket_uri $node)" "$WORK/$node.image" || fail "nbdcopy of $node"; done
cmp "$WORK/left.image" "$WORK/right.image" || fail "the nodes differ"
let_primary_speak
for node in right left; do stop_node $node; done
for node in left right; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
