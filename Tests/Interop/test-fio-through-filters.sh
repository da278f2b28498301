#!/usr/bin/env bash
# nbdkit's NBD plugin as the client, with requests split to 64 KiB, padded to 512 bytes and every
# write forced to FUA, carries fio's verified load. Checklist 53, 55.
. "$(dirname "$0")/lib.sh"

filtered() {
  local proxy=$WORK/proxy.sock pid
  nbdkit -f -U "$proxy" --filter=blocksize --filter=fua nbd socket="$SOCKET" export="$1" \
    minblock=512 maxdata=64k fuamode=force >"$WORK/proxy.log" 2>&1 &
  pid=$!
  on_exit "stop_pid $pid"
  wait_until 10 nbdinfo --size "nbd+unix:///?socket=$proxy" || { cat "$WORK/proxy.log"; fail "nbdkit cannot connect"; }
  fio_verify "nbd+unix:///?socket=$proxy" --rw=randrw --bsrange=4k-256k --size=48M --iodepth=16 \
    --verify=crc32c --verify_backlog=64
  qemu-io -f raw -c 'write -P 3 1000 3000' -c 'read -P 3 1000 3000' "nbd+unix:///?socket=$proxy" >/dev/null ||
    fail "an unaligned pattern through the filters"
  stop_pid "$pid"
  rm -f "$proxy"
}
for_each_device 48M filtered
