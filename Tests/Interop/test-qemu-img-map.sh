#!/usr/bin/env bash
# qemu-img sees written ranges as data and the rest as zeros. Checklist 66-68.
. "$(dirname "$0")/lib.sh"

map() {
  local expected='[[0,4194304,true,false],[4194304,1048576,false,true],[5242880,11534336,true,false]]'
  # A block device does not tell what it holds: all of it counts as data.
  [[ $1 != block ]] || expected='[[0,16777216,false,true]]'
  qemu-io -f raw -c 'write -P 7 4M 1M' "$URI" >/dev/null
  qemu-img map -f raw --output=json "$URI" |
    jq -c '[.[] | [.start, .length, .zero, .data]]' >"$WORK/map"
  [[ $(cat "$WORK/map") == "$expected" ]] || fail "the map is $(cat "$WORK/map")"
}
for_each_device 16M map
