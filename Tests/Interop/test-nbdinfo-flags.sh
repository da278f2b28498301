#!/usr/bin/env bash
# The transmission flags say what the device can do, on every kind, and nothing more when it is
# read-only. Checklist 28, 37-41.
. "$(dirname "$0")/lib.sh"

can() { for what in "$@"; do nbdinfo --can "$what" "$URI" || fail "cannot $what"; done; }
cannot() { for what in "$@"; do expect_status 2 nbdinfo --can "$what" "$URI"; done; }

writable() {
  can write flush fua multi-conn df zero fast-zero trim cache structured-reply
  expect_status 2 nbdinfo --is read-only "$URI"
}
for_each_device 16M writable

truncate -s 16M "$DATA/ro.img"
serve ro --file "$DATA/ro.img" --read-only
nbdinfo --is read-only "$URI" || fail "not read-only"
cannot write trim zero fast-zero
can read multi-conn structured-reply
qemu-io -r -f raw -c 'read -P 0 0 64k' "$URI" >/dev/null || fail "cannot read a read-only device"
stop_server
