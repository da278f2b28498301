#!/usr/bin/env bash
# A replica's device is read by any client while its primary is written to: no read fails, and what is
# read is a prefix of what was written. In a pause a copy of it is the primary's file system, clean.
# slow
. "$(dirname "$0")/lib.sh"
. "$HERE/mount.sh"
. "$HERE/array.sh"
. "$HERE/replica.sh"

require_mounts
mnt=$WORK/mnt
mkdir -p "$mnt" "$WORK/copy"
for node in left right; do
  create_array $node raid1 256M "$DATA/$node.0" "$DATA/$node.1"
  serve_node $node "unix:$WORK/$node.repl" "$DATA/$node.0" "$DATA/$node.1"
done
replica=$(socket_uri right)
"$ASHLAR" replica add left "unix:$WORK/right.repl" --on-peer-loss stop >/dev/null
expect_in_step left 30
nbdinfo --is readonly "$replica" || fail "the replica's device is not read-only"
if qemu-io -f raw -c 'write 0 4k' "$replica" >/dev/null 2>&1; then fail "the replica takes a client's write"; fi

# A file system on a part of it; behind that blocks whose order is known.
attach left
mkfs.ext4 -q -F "$DEVICE" 192m
mount "$DEVICE" "$mnt"
# fio leaves files where it runs.
(cd "$WORK" && exec fio --name=write --directory="$mnt" --rw=randrw --bsrange=4k-64k --size=64M --numjobs=2 --ioengine=psync \
  --fsync=32 --time_based --runtime=12 --verify=crc32c --verify_fatal=1 --minimal >"$WORK/write.out" 2>&1) &
load=$!
on_exit "stop_pid $load"
python3 "$HERE/read-prefix.py" "$ASHLAR_RUNTIME_DIR/left.sock" left "$ASHLAR_RUNTIME_DIR/right.sock" right 10 209715200 >"$WORK/prefix" &
prefix=$!
on_exit "stop_pid $prefix"
(cd "$WORK" && exec fio --name=read --ioengine=nbd --uri="$replica" --rw=randread --bsrange=4k-128k --iodepth=8 --size=256M \
  --time_based --runtime=10 --minimal >"$WORK/read.out" 2>&1) &
reader=$!
on_exit "stop_pid $reader"
copies=0
while is_running "$reader"; do
  nbdcopy "$replica" "$WORK/copy.img" || fail "nbdcopy of the replica under load"
  copies=$((copies + 1))
done
wait "$reader" || { cat "$WORK/read.out"; fail "fio that reads the replica"; }
wait "$prefix" || { cat "$WORK/prefix"; fail "what the replica shows is no prefix"; }
is_running "$load" || { cat "$WORK/write.out"; fail "the load ended before the readers did"; }
wait "$load" || { cat "$WORK/write.out"; fail "fio on the primary"; }
note "under load: $copies whole copies, $(cat "$WORK/prefix")"

# A pause: what is mounted is what was written.
for ((number = 0; number < 200; number++)); do head -c $((number * 97)) /dev/urandom >"$mnt/small.$number"; done
(cd "$mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$WORK/sums"
umount "$mnt"
check_fs ext4 "$DEVICE"
detach left
nbdcopy "$replica" "$WORK/copy.img" || fail "nbdcopy of the replica in a pause"
check_fs ext4 "$WORK/copy.img"
mount -o ro,loop "$WORK/copy.img" "$WORK/copy"
(cd "$WORK/copy" && sha256sum -c --quiet "$WORK/sums") || fail "the copy's files are not those of the primary"
umount "$WORK/copy"
nbdcopy "$(socket_uri left)" "$WORK/primary.img" || fail "nbdcopy of the primary"
cmp "$WORK/primary.img" "$WORK/copy.img" || fail "the nodes differ"
expect_in_step left 10
let_primary_speak
stop_node left
stop_node right
for node in left right; do expect_clean $node "$DATA/$node.0" "$DATA/$node.1"; done
