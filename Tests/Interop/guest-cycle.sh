#!/bin/bash
# Runs in a guest: the kernel's NBD client attached to DEVICE, or to HOST_IP:NBD_PORT by nbd-client.
# mkfs, mount, write, fstrim, fsck, detach, attach again: every file is there.
#   FS (ext4 or xfs), and ASHLAR (a program: serve and attach inside the guest) or NBD_PORT
set -euo pipefail
: "${FS:=ext4}" "${ASHLAR:=}" "${NBD_PORT:=}"
device=/dev/nbd0

attach() {
  if [[ -n $ASHLAR ]]; then
    [[ $("$ASHLAR" attach disk) == "$device" ]] || { echo "ashlar attach did not take $device"; return 1; }
  else
    nbd-client -b 4096 -t 30 -N disk "$HOST_IP" "$NBD_PORT" $device >/dev/null || { echo "nbd-client cannot attach"; return 1; }
  fi
  nbd-client -c $device >/dev/null || { echo "$device is not attached"; return 1; }
}
detach() {
  if [[ -n $ASHLAR ]]; then "$ASHLAR" detach disk; else nbd-client -d $device >/dev/null; fi
  local _
  for _ in {1..20}; do
    nbd-client -c $device >/dev/null || return 0      # status 1: free
    sleep 0.1
  done
  echo "$device is still attached"; return 1
}
check() {
  case $FS in
    ext4) e2fsck -fn $device >/run/fsck 2>&1 ;;
    xfs) xfs_repair -n $device >/run/fsck 2>&1 ;;
  esac || { cat /run/fsck; echo "the file system is damaged"; return 1; }
}

modprobe nbd max_part=0
if [[ -n $ASHLAR ]]; then
  export ASHLAR_RUNTIME_DIR=/run/ashlar ASHLAR_STATE_DIR=/run/state
  mkdir -p /run/ashlar /run/state /run/below
  mkfs.ext4 -q -F /dev/ubda
  mount /dev/ubda /run/below                         # direct I/O needs a real file system
  "$ASHLAR" serve --file /run/below/disk.img --size 512M --name disk >/run/log 2>&1 & server=$!
  for _ in {1..100}; do
    "$ASHLAR" status disk --check >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  "$ASHLAR" status disk || { cat /run/log; exit 1; }
fi
attach || { [[ ! -e /run/log ]] || cat /run/log; exit 1; }
queue=/sys/block/nbd0/queue
echo "size $(($(cat /sys/block/nbd0/size) / 2048)) MiB, write cache $(cat $queue/write_cache), fua $(cat $queue/fua), discard $(cat $queue/discard_max_bytes)"
[[ $(cat $queue/write_cache) == "write back" ]] || { echo "the kernel does not see a write cache to flush"; exit 1; }
[[ $(cat $queue/fua) == 1 ]] || { echo "the kernel does not use FUA"; exit 1; }
[[ $(cat $queue/discard_max_bytes) -gt 0 ]] || { echo "the kernel does not use TRIM"; exit 1; }
[[ $(cat /sys/block/nbd0/size) == 1048576 ]] || { echo "wrong size"; exit 1; }
case $FS in
  ext4) mkfs.ext4 -q -F $device ;;
  xfs) mkfs.xfs -q -f $device ;;
esac
mount -t "$FS" $device /mnt
dd if=/dev/urandom of=/mnt/big bs=1M count=24 conv=fsync status=none
mkdir /mnt/many
for ((i = 0; i < 200; i++)); do echo "file $i" >/mnt/many/$i; done
# Each of these is a journal commit with a FUA write.
for ((i = 0; i < 20; i++)); do dd if=/dev/urandom of=/mnt/sync.$i bs=4k count=3 conv=fsync status=none; done
sync
(cd /mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum) >/run/sums
rm /mnt/many/1*; grep -v 'many/1' /run/sums >/run/sums.left
fstrim /mnt
umount /mnt
check
detach
attach
check
mount -t "$FS" $device /mnt
(cd /mnt && sha256sum -c --quiet /run/sums.left) || { echo "files changed across detach and attach"; exit 1; }
umount /mnt
detach
if [[ -n $ASHLAR ]]; then
  "$ASHLAR" stop disk
  wait "$server" || { echo "the server ended with status $?"; cat /run/log; exit 1; }
  # Linux 6.1 closes a ring's files after its process has ended: a moment's grace, which is shown.
  begin=$(cut -d' ' -f1 /proc/uptime)
  for _ in {1..50}; do umount /run/below 2>/dev/null && break; sleep 0.1; done
  if mountpoint -q /run/below; then echo "the file is still held 5 s after the server's end"; exit 1; fi
  echo "the file was free $(awk -v a="$begin" -v b="$(cut -d' ' -f1 /proc/uptime)" 'BEGIN { printf "%.1f", b - a }') s after the server's end"
fi
echo "$FS cycle done"
