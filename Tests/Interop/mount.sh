# shellcheck shell=bash
# For the mount tests: "ashlar attach" by FUSE and a loop device, and a verified load on a file
# system on it.

# attach NAME: leaves the block device in DEVICE.
attach() {
  require_mounts
  DEVICE=$("$ASHLAR" attach "$1" --fuse) || fail "attach failed"
  on_exit "detach_if_attached $1"
  [[ -b $DEVICE ]] || fail "attach printed no block device: $DEVICE"
}
detach() {
  "$ASHLAR" detach "$1" || fail "detach failed"
}
detach_if_attached() { "$ASHLAR" detach "$1" >/dev/null 2>&1; }

# check_fs KIND DEVICE
check_fs() {
  case $1 in
    ext4) e2fsck -fn "$2" >"$WORK/fsck" 2>&1 ;;
    xfs) xfs_repair -n "$2" >"$WORK/fsck" 2>&1 ;;
  esac || { cat "$WORK/fsck"; fail "the $1 file system is damaged"; }
}

# mount_cycle KIND: mkfs, load, sums, detach, attach again, verify: twice over, so that the second
# round works on a used device. The detach matters: page caches hide what is wrong below them.
mount_cycle() {
  local kind=$1 round mnt=$WORK/mnt
  serve disk --file "$DATA/disk.img" --size 1G
  mkdir -p "$mnt"
  attach disk
  [[ $(blockdev --getsize64 "$DEVICE") == 1073741824 ]] || fail "the block device has a wrong size"
  case $kind in
    ext4) mkfs.ext4 -q -F "$DEVICE" ;;
    xfs) mkfs.xfs -q -f "$DEVICE" ;;
  esac
  for round in 1 2; do
    mount -t "$kind" "$DEVICE" "$mnt"
    note "$kind on $DEVICE, round $round: fio, sqlite, many small files"
    (cd "$WORK" && fio --name=files --directory="$mnt" --rw=randrw --bsrange=512-64k --bs_unaligned --size=48M \
      --numjobs=2 --ioengine=psync --fsync=64 --verify=crc32c --verify_fatal=1 --end_fsync=1 --minimal >"$WORK/fio.out" 2>&1) ||
      { cat "$WORK/fio.out"; fail "fio on the file system"; }
    (cd "$WORK" && fio --name=direct --directory="$mnt" --rw=randwrite --bs=4k --size=48M --direct=1 --ioengine=libaio \
      --iodepth=16 --verify=crc32c --verify_fatal=1 --minimal >"$WORK/fio.out" 2>&1) ||
      { cat "$WORK/fio.out"; fail "fio by direct I/O on the file system"; }
    sqlite3 "$mnt/t.db" "pragma journal_mode=wal; pragma synchronous=full; create table if not exists t(a integer primary key, b blob);
      with recursive c(i) as (select 1 union all select i+1 from c where i<20000) insert into t(b) select randomblob(200) from c;
      pragma integrity_check" | tail -n 1 | grep -qx ok || fail "sqlite"
    mkdir -p "$mnt/many.$round"
    python3 - "$mnt/many.$round" <<'PY'
import os, random, sys
folder, dice = sys.argv[1], random.Random(1)
for index in range(400):
    with open(f"{folder}/{index}", "wb") as file:
        file.write(dice.randbytes(dice.randrange(1, 60000)))
    if index % 3 == 2:
        os.rename(f"{folder}/{index}", f"{folder}/renamed-{index}")
    if index % 5 == 4:
        os.truncate(f"{folder}/{index - 1}" if index % 3 else f"{folder}/renamed-{index}", 100) if index % 3 == 2 else os.unlink(f"{folder}/{index}")
PY
    (cd "$mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$WORK/sums"
    rm -f "$mnt/many.$round/1"*
    grep -v "many.$round/1" "$WORK/sums" >"$WORK/sums.left"
    fstrim "$mnt" || fail "fstrim"
    umount "$mnt"
    check_fs "$kind" "$DEVICE"
    detach disk
    stop_server
    serve disk --file "$DATA/disk.img"
    attach disk
    check_fs "$kind" "$DEVICE"
    mount -t "$kind" "$DEVICE" "$mnt"
    (cd "$mnt" && sha256sum -c --quiet "$WORK/sums.left") || fail "files changed across detach and attach"
    umount "$mnt"
  done
  detach disk
  [[ -z $(losetup -nO NAME -j "$DATA/disk.img") ]] || fail "a loop device is left"
  stop_server
}
