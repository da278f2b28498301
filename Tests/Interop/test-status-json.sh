#!/usr/bin/env bash
# status --json is one valid JSON value that counts what clients did; --watch follows.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M --description 'odd "name" \ here'
"$ASHLAR" status disk --json >"$WORK/before.json"
qemu-io -f raw -c 'write 0 64k' -c 'write 64k 64k' -c 'read 0 64k' -c flush "$URI" >/dev/null
"$ASHLAR" status disk --json >"$WORK/after.json"
for file in before after; do
  jq -es 'length == 1' "$WORK/$file.json" >/dev/null || { cat "$WORK/$file.json"; fail "not one JSON value"; }
  # One server asked for by name: an object, or a list of one.
  jq 'if type == "array" then .[0] else . end' "$WORK/$file.json" >"$WORK/$file.one"
done
jq -e '[.. | strings] | index("disk") != null and index("optimal") != null' "$WORK/after.one" >/dev/null ||
  { cat "$WORK/after.one"; fail "name or state is missing"; }
jq -e '[.. | numbers] | index(16777216) != null' "$WORK/after.one" >/dev/null || fail "the size is missing"
jq -e '[.. | numbers] | index(131072) != null' "$WORK/after.one" >/dev/null || { cat "$WORK/after.one"; fail "the bytes written are not counted"; }
jq -e '[.. | numbers] | index(131072) == null' "$WORK/before.one" >/dev/null || fail "bytes were counted before they were written"
status=0
timeout 3 "$ASHLAR" status disk --watch --json >"$WORK/watch" 2>/dev/null || status=$?
[[ $status -eq 124 ]] || fail "--watch ended by itself with status $status"
jq -es 'length >= 2' "$WORK/watch" >/dev/null || fail "--watch --json is not a stream of JSON values"
stop_server
