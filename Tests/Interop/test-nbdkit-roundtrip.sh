#!/usr/bin/env bash
# nbdkit's NBD plugin re-exports the device: the same size, flags and bytes. Checklist 24, 26, 44.
. "$(dirname "$0")/lib.sh"

dd if=/dev/urandom of="$DATA/source.bin" bs=1M count=24 status=none
roundtrip() {
  nbdcopy "$DATA/source.bin" "$URI"
  [[ $(nbdinfo --size -- [ nbdkit --exit-with-parent nbd socket="$SOCKET" export="$1" ]) == 25165824 ]] || fail "size"
  for what in flush fua zero trim multi-conn cache; do
    nbdinfo --can "$what" -- [ nbdkit --exit-with-parent nbd socket="$SOCKET" export="$1" ] || fail "cannot $what"
  done
  nbdcopy -- [ nbdkit --exit-with-parent nbd socket="$SOCKET" export="$1" ] "$DATA/back.bin"
  cmp "$DATA/source.bin" "$DATA/back.bin" || fail "nbdkit read other bytes"
}
for_each_device 24M roundtrip
