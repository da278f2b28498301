# shellcheck shell=bash
# For the tests of "attach --max-request": what arrives at a server that takes everything down, here
# and in a guest.

# largest LOG WORD: the bytes of the largest request of this kind (Read, Write) in nbdkit's log.
largest() {
  local hex max=0
  while read -r hex; do [[ $((hex)) -le $max ]] || max=$((hex)); done \
    < <(sed -nE "s/.* $2 id=[0-9]+ offset=[0x0-9a-f]+ count=(0x[0-9a-f]+) .*/\1/p" "$1")
  printf '%d\n' "$max"
}

# drive DEVICE FOLDER: all ways by which a kernel makes large requests: direct and buffered, through a
# file system, with read ahead.
drive() {
  local device=$1 mnt=$2
  dd if=/dev/urandom of="$device" bs=4M count=8 oflag=direct status=none
  dd if="$device" of=/dev/null bs=4M count=8 iflag=direct status=none
  dd if=/dev/urandom of="$device" bs=1M count=32 conv=fsync status=none
  mkfs.ext4 -q -F "$device"
  mount "$device" "$mnt"
  dd if=/dev/urandom of="$mnt/large" bs=8M count=6 conv=fsync status=none
  echo 3 >/proc/sys/vm/drop_caches
  cat "$mnt/large" >/dev/null
  umount "$mnt"
}

# judge LOG LIMIT: nothing larger has arrived, and what did arrive was as large as that.
judge() {
  local kind size
  for kind in Read Write; do
    size=$(largest "$1" "$kind")
    echo "largest $kind: $size of $2 bytes"
    [[ $size -le $2 ]] || { echo "a $kind of $size bytes arrived, more than $2"; return 1; }
    [[ $size -eq $2 ]] || { echo "no $kind of $2 bytes arrived: that proves nothing"; return 1; }
  done
}
