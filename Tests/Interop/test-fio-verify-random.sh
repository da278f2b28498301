#!/usr/bin/env bash
# fio: 4 KiB random writes at depth 32 with flushes, every block read back and its crc32c verified,
# on every device kind. Checklist 44, 54, 71.
. "$(dirname "$0")/lib.sh"

verify() {
  fio_verify "$URI" --rw=randwrite --bs=4k --size=64M --io_size=128M --iodepth=32 --verify=crc32c \
    --verify_backlog=1024 --fsync=128
}
for_each_device 64M verify
