#!/usr/bin/env bash
# 16 requests at once, read and write, with flushes in between, finish. Checklist 54, 71.
. "$(dirname "$0")/lib.sh"

bench() {
  qemu-img bench -f raw -t none -w -c 3000 -d 16 "$URI" >/dev/null || fail "writes"
  qemu-img bench -f raw -t none -w -c 1000 -d 16 --flush-interval=32 "$URI" >/dev/null || fail "writes and flushes"
  qemu-img bench -f raw -t none -c 3000 -d 16 "$URI" >/dev/null || fail "reads"
}
for_each_device 64M bench
