#!/usr/bin/env bash
# nbdinfo sees one export with its name, description, size and block sizes, and the default export
# is the same device. Checklist 1, 15, 24, 25, 27, 29.
. "$(dirname "$0")/lib.sh"

serve disk --memory 64M --description "a device for tests"
nbdinfo --list --json "$URI" >"$WORK/list.json"
jq -e '.exports | length == 1' "$WORK/list.json" >/dev/null || fail "LIST shows not exactly one export"
jq -e '.exports[0] | ."export-name" == "disk" and .description == "a device for tests"
  and ."export-size" == 67108864' "$WORK/list.json" >/dev/null || { cat "$WORK/list.json"; fail "LIST is wrong"; }
jq -e '.protocol == "newstyle-fixed"' "$WORK/list.json" >/dev/null || fail "not fixed newstyle"
jq -e '.exports[0] | .block_size_minimum == 1 and .block_size_preferred == 4096 and .block_size_maximum == 33554432' \
  "$WORK/list.json" >/dev/null || { cat "$WORK/list.json"; fail "the block sizes are wrong"; }

[[ $(nbdinfo --size "$URI") == 67108864 ]] || fail "wrong size by name"
[[ $(nbdinfo --size "nbd+unix:///?socket=$SOCKET") == 67108864 ]] || fail "wrong size of the default export"
if nbdinfo --size "nbd+unix:///nobody?socket=$SOCKET" 2>/dev/null; then fail "an unknown export was opened"; fi
stop_server
