#!/usr/bin/env bash
# fio: mixed reads and writes of 512 bytes to 128 KiB at any offset, verified by md5, on every
# device kind. Checklist 28, 59.
. "$(dirname "$0")/lib.sh"

verify() {
  fio_verify "$URI" --rw=randrw --bsrange=512-128k --bs_unaligned --size=96M --iodepth=16 --verify=md5 \
    --verify_backlog=256
}
for_each_device 96M verify
