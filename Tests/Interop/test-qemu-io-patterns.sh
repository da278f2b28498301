#!/usr/bin/env bash
# qemu's NBD client reads back the patterns it wrote: aligned, unaligned, with FUA, as zeros, after
# a discard, with many requests at once. Checklist 44, 45, 53, 55, 63, 64.
. "$(dirname "$0")/lib.sh"

patterns() {
  qemu-io -f raw -c 'write -P 0xab 1M 64k' -c 'read -P 0xab 1M 64k' -c 'write -z 1M 32k' \
    -c 'read -P 0 1M 32k' -c 'read -P 0xab 1081344 32k' -c 'writev -f -P 0x11 3000 512 1024' \
    -c 'read -P 0x11 3000 1536' -c 'read -P 0 0 3000' -c 'discard 2M 64k' -c 'flush' "$URI" \
    >"$WORK/out" 2>&1 || { cat "$WORK/out"; fail "a pattern is wrong"; }
  if grep -qiE 'fail|error' "$WORK/out"; then cat "$WORK/out"; fail "qemu-io met an error"; fi
  qemu-io -f raw -c 'write -P 0xff 0 8M' -c 'write -f -P 1 1 1' -c 'write -P 2 4095 2' \
    -c 'write -P 3 511 4097' -c 'read -P 0xff 0 1' -c 'read -P 1 1 1' -c 'read -P 0xff 2 509' \
    -c 'read -P 3 511 4097' -c 'read -P 0xff 4608 1000' -c 'write -z 8191 4098' -c 'read -P 0xff 8190 1' \
    -c 'read -P 0 8191 4098' -c 'read -P 0xff 12289 1' "$URI" >"$WORK/out" 2>&1 ||
    { cat "$WORK/out"; fail "an unaligned pattern is wrong"; }
  qemu-io -f raw -c 'aio_write -P 1 0 1M' -c 'aio_write -P 2 1M 1M' -c 'aio_write -P 3 2M 1M' \
    -c 'aio_write -f -P 4 3M 1M' -c 'aio_flush' -c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' \
    -c 'read -P 3 2M 1M' -c 'read -P 4 3M 1M' "$URI" >"$WORK/out" 2>&1 ||
    { cat "$WORK/out"; fail "a pattern written among others is wrong"; }
  # The control: a wrong expectation fails.
  if qemu-io -f raw -c 'read -P 9 0 1M' "$URI" >/dev/null 2>&1; then fail "qemu-io does not compare"; fi
}
for_each_device 32M patterns
