#!/usr/bin/env bash
# qemu-img converts an image to the device, finds both equal, and finds one changed byte.
# Checklist 45, 48, 66.
. "$(dirname "$0")/lib.sh"

truncate -s 48M "$DATA/good.img"
dd if=/dev/urandom of="$DATA/good.img" bs=64k count=200 seek=100 conv=notrunc status=none
compare() {
  qemu-img convert -n -f raw -O raw "$DATA/good.img" "$URI"
  qemu-img compare -f raw -F raw "$URI" "$DATA/good.img" >/dev/null || fail "the contents differ"
  qemu-io -f raw -c 'write -P 1 40000001 1' "$URI" >/dev/null
  expect_status 1 qemu-img compare -q -f raw -F raw "$URI" "$DATA/good.img"
}
for_each_device 48M compare
