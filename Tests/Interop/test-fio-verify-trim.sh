#!/usr/bin/env bash
# fio: trims and writes mixed, what was written verified by sha1, on every device kind. The last
# run trims and writes a block in the same breath: the protocol leaves the order open, and users who
# try exactly this expect to find what they wrote.
# Checklist 63.
. "$(dirname "$0")/lib.sh"

verify() {
  fio_verify "$URI" --rw=randtrimwrite --bs=16k --size=32M --iodepth=8 --serialize_overlap=1 --verify=sha1
  fio_verify "$URI" --rw=randtrimwrite --bsrange=4k-64k --size=32M --iodepth=8 --serialize_overlap=1 --verify=sha1
  fio_verify "$URI" --rw=randtrimwrite --bs=4k --size=32M --iodepth=32 --verify=sha1
}
for_each_device 64M verify
