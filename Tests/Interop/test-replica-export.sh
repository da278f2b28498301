#!/usr/bin/env bash
# What only one node has after a fork is listed as bytes, saved in a file that nothing is overwritten by, and
# given up for that file: then the node has the other's data. Nothing of it is given up for less.
. "$(dirname "$0")/lib.sh"
. "$HERE/array.sh"
. "$HERE/replica.sh"

for node in left right; do
  create_array $node raid1 64M "$DATA/$node.0" "$DATA/$node.1"
  serve_node $node "unix:$WORK/$node.repl" "$DATA/$node.0" "$DATA/$node.1"
done
"$ASHLAR" replica add left "unix:$WORK/right.repl" --peer-timeout 500ms >/dev/null
expect_in_step left 30
put() { qemu-io -f raw -c "write -P $2 $3 $4" "$(socket_uri "$1")" >"$WORK/put" 2>&1 || { cat "$WORK/put"; fail "write to $1"; }; }
put left 1 0 64k

# Left is stopped dead, right goes on; then right is gone and left goes on: both have written.
kill -KILL "${NODE[left]}"
{ wait "${NODE[left]}" || true; } 2>/dev/null
"$ASHLAR" promote right --force right >/dev/null || fail "promote right"
put right 2 4096 8k
stop_node right
serve_node left "unix:$WORK/left.repl" "$DATA/left.0" "$DATA/left.1"
"$ASHLAR" promote left --force left >/dev/null || fail "left goes on"
put left 3 1M 12k
put left 4 8192 4k
serve_node right "unix:$WORK/right.repl" "$DATA/right.0" "$DATA/right.1"
"$ASHLAR" promote right --force right >/dev/null || fail "right goes on"
met() { [[ -n $(node_fact left .divergence) ]]; }
wait_until 30 met || fail "the fork is not met"

ranges=$("$ASHLAR" replica diff left --json | jq -c '.done[0].ranges')
[[ $ranges == '[{"offset_bytes":8192,"byte_count":4096},{"offset_bytes":1048576,"byte_count":12288}]' ]] || fail "diff lists $ranges"
expect_refusal "--discard 16384" "$ASHLAR" replica resync left
touch "$WORK/taken"
expect_refusal "exists" "$ASHLAR" replica export-diverged left "$WORK/taken"
[[ ! -s $WORK/taken ]] || fail "a file that exists was written to"
cd "$WORK"
"$ASHLAR" replica export-diverged left saved --json >export.json || fail "export"
[[ $(jq -r '.done[0].file' export.json) == "$WORK/saved" ]] || fail "the file is named $(jq -c .done export.json)"
# By the page of the format: a page of head, of ranges, of states, then the blocks in order.
[[ $(stat -c %s saved) == $(((3 + 4) * 4096)) ]] || fail "the file has $(stat -c %s saved) bytes"
[[ $(od -v -An -tx1 -w1 -j12288 saved | sort | uniq -c | tr -s ' \n' ' ') == ' 12288 03 4096 04 ' ]] || fail "the file holds something else"

cp saved changed
printf '\377' | dd of=changed bs=1 seek=20000 conv=notrunc status=none
expect_refusal "no receipt.*checksum" "$ASHLAR" replica resync left --exported changed
expect_refusal "no receipt" "$ASHLAR" replica resync left --exported taken
put left 5 2M 4k
expect_refusal "export it again" "$ASHLAR" replica resync left --exported saved
"$ASHLAR" replica export-diverged left again >/dev/null || fail "export again"
"$ASHLAR" replica resync left --exported again >resync.log 2>&1 || { cat resync.log; fail "resync"; }
expect_in_step right 60
for node in left right; do nbdcopy "$(socket_uri $node)" "$node.image" || fail "nbdcopy of $node"; done
cmp left.image right.image || fail "the nodes differ"
[[ $(od -v -An -tx1 -w1 -j4096 -N12288 left.image | sort | uniq -c | tr -s ' \n' ' ') == ' 4096 01 8192 02 ' ]] || fail "left does not have right's data"
let_primary_speak
for node in left right; do stop_node $node; done
for node in left right; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
