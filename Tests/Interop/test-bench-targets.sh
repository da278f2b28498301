#!/usr/bin/env bash
# ashlar bench works on a file, on an export over a unix socket and over TCP, and on a device by its
# NAME; each says what was taken, and counts every operation once.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

# A file that does not exist is created and stays; reading needs one that is there.
bench_status 1 "$DATA/none.img" --rw=read
says "$ERR_TEXT" 'nothing to read'
bench_status 1 "$DATA/none.img" --rw=write
says "$ERR_TEXT" '--size'
[[ ! -e $DATA/none.img ]] || fail "a file was created without a size"
bench_status 0 "$DATA/new.img" --rw=write --bs=64k --size=8M --json
says "$ERR_TEXT" 'created .*new.img'
[[ $(stat -c %s "$DATA/new.img") == 8388608 ]] || fail "the file has another size"
json_holds '.jobs[0].write.total_ios == 128 and .jobs[0].write.io_bytes == 8388608'
json_holds '.jobs[0].target | startswith("file ")'
for direct in 0 1; do
  bench_status 0 "$DATA/new.img" --rw=randread --direct=$direct --iodepth=8 --json
  json_holds '.jobs[0].read.total_ios == 2048 and .jobs[0].error == 0'
done
# fsync is a real fsync, fdatasync a real fdatasync: both are counted as sync.
bench_status 0 "$DATA/new.img" --rw=write --bs=64k --fsync=16 --fdatasync=4 --json
json_holds '.jobs[0].sync.total_ios == 40'
bench_status 0 "$DATA/new.img" --rw=trim --bs=64k --json
json_holds '.jobs[0].trim.total_ios == 128'
cmp -n 8388608 "$DATA/new.img" /dev/zero || fail "what was trimmed is not zero"

port=$((20000 + RANDOM % 20000))
serve disk --memory 16M --listen "unix:$ASHLAR_RUNTIME_DIR/disk.sock" --listen "tcp:127.0.0.1:$port"
for target in "$URI" "nbd://127.0.0.1:$port/disk" disk; do
  note "target: $target"
  for work in write randwrite randread rw randtrim; do
    bench_status 0 "$target" --rw=$work --bs=4k --iodepth=32 --json
    json_holds '[.jobs[0] | .read, .write, .trim | .total_ios] | add == 4096'
  done
  bench_status 0 "$target" --rw=randrw --bs=4k --iodepth=32 --connections=4 --numjobs=2 --group_reporting --json
  json_holds '.jobs | length == 1'
  json_holds '[.jobs[0] | .read, .write | .total_ios] | add == 8192'
done
# NAME is the device, also when a file has that name; the file is taken by its path.
cd "$WORK" || exit
cp "$DATA/new.img" disk
bench_status 0 disk --rw=read --size=1M --json
says "$ERR_TEXT" 'the device is taken'
json_holds '.jobs[0].target | startswith("nbd+unix:")'
bench_status 0 ./disk --rw=read --size=1M --json
json_holds '.jobs[0].target | startswith("file ./disk")'
stop_server
# Served no more: the file it is.
bench_status 0 disk --rw=read --size=1M --json
json_holds '.jobs[0].target | startswith("file disk")'
bench_status 1 other --rw=read
says "$ERR_TEXT" 'no device of that name'

# A server that lets in only so many is not just silent.
serve few --memory 16M --max-connections 3
bench_status 1 "$URI" --rw=read --connections=8 --timeout=2s
says "$ERR_TEXT" 'this run has opened [1-3] before: it may allow no more connections'
stop_server
