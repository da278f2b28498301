#!/usr/bin/env bash
# Odd options get an error that names them and says what would be right, with status 64, before
# anything is written; what a target holds is not destroyed without being named.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

image=$DATA/a.img
truncate -s 16M "$image"
odd() { # odd PATTERN ARGUMENT...
  local pattern=$1; shift
  bench_status 64 "$@"
  says "$ERR_TEXT" "$pattern"
  [[ ! -s $OUT ]] || fail "an odd option left something on standard output: $*"
}
odd '--rw is missing' "$image"
odd 'TARGET is missing' --rw=read
odd "did you mean '--iodepth'" "$image" --rw=read --iodpeth=4
odd "'sideways' is not one of read, write" "$image" --rw=sideways
odd '--bs: .*banana' "$image" --rw=read --bs=banana
odd '--bs: .*kB' "$image" --rw=read --bs=4kB
odd '--bs: .*0' "$image" --rw=read --bs=0
odd 'bs.*multiple' "$image" --rw=read --bs=1000 --direct=1
odd '--bsrange' "$image" --rw=read --bsrange=8k
odd 'iodepth.*outside' "$image" --rw=read --iodepth=0
odd 'numjobs.*outside' "$image" --rw=read --numjobs=0
odd 'rwmixread.*outside' "$image" --rw=rw --rwmixread=101
odd 'rwmixread.*goes with' "$image" --rw=read --rwmixread=50
odd 'time_based needs runtime' "$image" --rw=read --time_based
odd 'runtime' "$image" --rw=read --runtime=soon
odd 'size=.*passes' "$image" --rw=read --size=1G
odd 'offset' "$image" --rw=read --offset=16M
odd 'smaller than a block|less than a block' "$image" --rw=read --size=1k
odd 'random_distribution.*not supported' "$image" --rw=randread --random_distribution=gauss
odd 'random_distribution' "$image" --rw=randread --random_distribution=zipf:1
odd 'verify.*not supported' "$image" --rw=write --verify=md5
odd 'verify.*numjobs' "$image" --rw=write --verify=crc32c --numjobs=2
odd 'verify.*exclude' "$image" --rw=trim --verify=crc32c
odd 'fsync.*counts writes' "$image" --rw=read --fsync=1
odd 'given twice' "$image" --rw=read --bs=4k --bs=8k
odd 'exclude each other' "$image" --rw=read --json --output-format=terse
odd 'is not one of normal' "$image" --rw=read --output-format=xml
odd 'unknown option' "$image" --rw=read --frobnicate
odd 'verify_state_save' "$image" --rw=read --verify_state_save="$WORK/x"
odd 'verify_state_load' "$image" --rw=write --verify_state_load="$WORK/x"
odd 'cannot read the job file' "$image" "$WORK/none.ini"
odd 'already' "$image" "$image.2" --rw=read
printf '[global]\nrw=read\n[a]\nbss=4k\n' >"$WORK/odd.ini"
odd "odd.ini:4: .*did you mean 'bs'" "$image" "$WORK/odd.ini"
printf '[a]\nbs=4k\n' >"$WORK/rwless.ini"
odd "job 'a': --rw is missing" "$image" "$WORK/rwless.ini"
odd 'more than half of the memory' "$image" --rw=read --bs=16M --iodepth=65536
odd '--connections is for NBD' "$image" --rw=read --connections=2
mkdir "$WORK/folder.ini"
odd 'cannot read the job file .*EISDIR' "$image" "$WORK/folder.ini"
bench_status 1 nbds://localhost/x --rw=read
says "$ERR_TEXT" 'only nbd://'
bench_status 1 "$DATA" --rw=read
says "$ERR_TEXT" 'neither a regular file nor a block device'
cmp -n 16777216 "$image" /dev/zero || fail "a refused command has written"
odd 'size=.*block|multiple|less than' "$DATA/made.img" --rw=write --size=1M --bs=2M
odd 'leaves nothing|multiple' "$DATA/made.img" --rw=write --size=1M --bs=1000 --direct=1
[[ ! -e $DATA/made.img ]] || fail "a refused command left the file that it had created"

# A report does not go where it would destroy the target, under whatever name, or a served file;
# and a run that does not begin leaves no empty one.
ln "$image" "$DATA/link.img"
for output in --output --plot; do
  odd 'is the target, and writing .*link.img would destroy it' "$image" --rw=read "$output=$DATA/link.img"
done
odd 'is the target' "$image" --rw=write --verify=crc32c --verify_state_save="$DATA/link.img"
rm "$DATA/link.img"
odd 'is the target' "$DATA/made.img" --rw=write --size=1M --output="$DATA/made.img"
[[ ! -e $DATA/made.img ]] || fail "a refused command left its report"
bench_status 1 "$image" --rw=read --size=64k --output="$WORK/same" --plot="$WORK/same"
says "$ERR_TEXT" 'same is in use'
[[ ! -e $WORK/same ]] || fail "a refused command left its report"
odd 'passes' "$image" --rw=read --size=1G --output="$WORK/left.json"
[[ ! -e $WORK/left.json ]] || fail "a refused command left an empty report"
echo before >"$WORK/kept.json"
odd 'passes' "$image" --rw=read --size=1G --output="$WORK/kept.json"
[[ $(<"$WORK/kept.json") == before ]] || fail "a refused command emptied an earlier report"
cmp -n 16777216 "$image" /dev/zero || fail "a refused report was written onto the target"
serve disk --file "$image"
bench_status 1 disk --rw=read --size=64k --output="$image"
says "$ERR_TEXT" 'a.img is in use'
cmp -n 16777216 "$image" /dev/zero || fail "a report was written onto a served file"
bench_status 0 disk --rw=read --size=64k --direct=0
says "$ERR_TEXT" 'direct=0 makes no difference'
stop_server

# What may not be looked at is not said to be missing.
if [[ $EUID -eq 0 ]] && command -v setpriv >/dev/null; then
  mkdir -m 700 "$WORK/closed"
  nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env "ASHLAR_RUNTIME_DIR=$WORK/none")
  if "${nobody[@]}" "$ASHLAR" version >/dev/null 2>&1; then
    "${nobody[@]}" "$ASHLAR" bench "$WORK/closed/a.img" --rw=read >"$WORK/closed.out" 2>&1 || true
    says "$WORK/closed.out" 'EACCES'
  fi
fi

# Somebody's data is not overwritten; our own is, and zeros are.
destroys() { bench_status "$1" "$image" --rw=randwrite --size=1M "${@:2}"; }
destroys 0
destroys 0
bench_status 0 "$image" --rw=write --size=1M --verify=crc32c
destroys 0
printf 'precious' | dd of="$image" bs=1 seek=16700000 conv=notrunc status=none
cp "$image" "$WORK/before.img"
destroys 1
says "$ERR_TEXT" 'holds data .*--overwrite'
bench_status 1 "$image" --rw=trim
cmp "$image" "$WORK/before.img" || fail "a refused job has written"
bench_status 0 "$image" --rw=read
destroys 0 --overwrite
for kind in ext4 xfs swap; do
  rm -f "$image"
  truncate -s 512M "$image"
  case $kind in
    ext4) mkfs.ext4 -q "$image" ;;
    xfs) command -v mkfs.xfs >/dev/null || continue; mkfs.xfs -q "$image" ;;
    swap) mkswap "$image" >/dev/null ;;
  esac
  destroys 1
  says "$ERR_TEXT" "holds .*($kind|ext4|XFS|swap space)"
  serve disk --file "$image"
  bench_status 1 disk --rw=randwrite --size=1M
  says "$ERR_TEXT" 'holds .*--overwrite'
  # Served, so nobody else may write to it; not even with the option.
  destroys 1 --overwrite
  says "$ERR_TEXT" 'in use'
  stop_server
done
serve disk --file "$image" --read-only
bench_status 1 disk --rw=write
says "$ERR_TEXT" 'read-only'
bench_status 0 disk --rw=read --size=1M
stop_server

# A block device that is mounted is refused whatever is said; reading it is not.
if [[ $EUID -eq 0 && -e /dev/loop-control ]]; then
  rm -f "$image"
  truncate -s 64M "$image"
  loop=$(losetup -f --show "$image")
  bench_status 0 "$loop" --rw=randwrite --iodepth=4 --size=1M --json
  json_holds '.jobs[0].target | startswith("block device ")'
  mkfs.ext4 -q "$loop"
  bench_status 1 "$loop" --rw=randwrite
  says "$ERR_TEXT" 'holds an ext.* file system'
  mkdir "$WORK/mnt"
  mount "$loop" "$WORK/mnt"
  printf 'precious\n' >"$WORK/mnt/file"
  bench_status 1 "$loop" --rw=randwrite --overwrite
  says "$ERR_TEXT" 'in use'
  bench_status 0 "$loop" --rw=read --size=1M
  umount "$WORK/mnt"
  e2fsck -fn "$loop" >"$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the file system was damaged"; }
  losetup -d "$loop"
fi
