#!/usr/bin/env bash
# base:allocation tells written ranges from holes, and a trimmed or zeroed range becomes a hole
# again, on every device kind. Checklist 31, 34, 63, 64, 66-68.
. "$(dirname "$0")/lib.sh"

expect_map() { # expect_map KIND JSON: offset, length, type of each extent
  # A block device does not tell what it holds: "allocated" is always a true answer.
  [[ $1 != block ]] || set -- block '[[0,8388608,0]]'
  shift
  nbdinfo --map --json "$URI" | jq -c '[.[] | [.offset, .length, .type]]' >"$WORK/map"
  [[ $(cat "$WORK/map") == "$1" ]] || fail "the map is $(cat "$WORK/map"), not $1"
}
map() {
  expect_map "$1" '[[0,8388608,3]]'
  qemu-io -f raw -c 'write -P 0x5a 1M 2M' -c 'write -P 0xa5 6M 1M' "$URI" >/dev/null
  expect_map "$1" '[[0,1048576,3],[1048576,2097152,0],[3145728,3145728,3],[6291456,1048576,0],[7340032,1048576,3]]'
  qemu-io -f raw -c 'discard 1M 1M' -c 'write -zu 6M 1M' "$URI" >/dev/null
  expect_map "$1" '[[0,2097152,3],[2097152,1048576,0],[3145728,5242880,3]]'
  qemu-io -f raw -c 'read -P 0 1M 1M' -c 'read -P 0x5a 2M 1M' -c 'read -P 0 3M 5M' "$URI" >/dev/null ||
    fail "what the map calls zero is not"
  # Without leave to punch a hole (NO_HOLE) the range reads as zeros, and has its space: on a file it
  # takes blocks. (The map may still call it a hole: file systems do not tell provisioned zeros apart.)
  local before=0
  [[ $1 == memory ]] || before=$(stat -c %b "$DATA/$1.img")
  qemu-io -f raw -c 'write -z 4M 64k' -c 'read -P 0 4M 64k' "$URI" >/dev/null || fail "write zeroes"
  [[ $1 == memory || $(stat -c %b "$DATA/$1.img") -ge $((before + 128)) ]] || fail "NO_HOLE provisioned no space"
}
for_each_device 8M map
