#!/usr/bin/env bash
# nbdcopy brings a file with data and holes there and back unchanged, with its several connections,
# on every device kind. Checklist 41, 44-48, 53, 54.
. "$(dirname "$0")/lib.sh"

truncate -s 96M "$DATA/source.bin"
dd if=/dev/urandom of="$DATA/source.bin" bs=1M count=40 conv=notrunc status=none
dd if=/dev/urandom of="$DATA/source.bin" bs=4099 count=1000 seek=14000 conv=notrunc status=none
copy() {
  nbdcopy --flush "$DATA/source.bin" "$URI"
  rm -f "$DATA/back.bin"
  nbdcopy "$URI" "$DATA/back.bin"
  cmp "$DATA/source.bin" "$DATA/back.bin" || fail "nbdcopy got other bytes back"
  nbdcopy --synchronous --request-size=65536 "$URI" "$DATA/back.bin"
  cmp "$DATA/source.bin" "$DATA/back.bin" || fail "nbdcopy got other bytes back, one request at a time"
}
for_each_device 96M copy
