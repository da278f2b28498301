#!/usr/bin/env bash
# nbdkit's checkwrite filter compares what it is sent, data and claimed zeros alike, with the
# original. Checklist 48, 64, 66, 68.
. "$(dirname "$0")/lib.sh"

truncate -s 64M "$DATA/good.img"
for at in 0 3 17 40; do
  dd if=/dev/urandom of="$DATA/good.img" bs=1M count=2 seek=$at conv=notrunc status=none
done
checked() {
  nbdcopy "$DATA/good.img" "$URI"
  nbdcopy "$URI" -- [ nbdkit --exit-with-parent --filter=checkwrite file "$DATA/good.img" ] ||
    fail "contents or claimed zeros differ"
  # The same steps find one wrong byte.
  qemu-io -f raw -c 'write -P 0x77 17000001 1' "$URI" >/dev/null
  if nbdcopy "$URI" -- [ nbdkit --exit-with-parent --filter=checkwrite file "$DATA/good.img" ] 2>/dev/null; then
    fail "checkwrite did not see a wrong byte"
  fi
}
for_each_device 64M checked
