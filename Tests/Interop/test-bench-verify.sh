#!/usr/bin/env bash
# --verify=crc32c finds what happens to a file below the server, and names it: a flipped bit, a stale
# block, a block of another place, a torn block, zeros. Blocks that nothing happened to are not named.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

# Damage below a server is seen only where no cache hides it: it is stopped and started around it.
image=$DATA/disk.img
start() { serve disk --file "$image" --size 16M; }
start
work=(--bs=8k --verify=crc32c --randseed=77)
bench_status 0 disk --rw=write "${work[@]}" --verify_state_save="$WORK/old.saved"
stop_server
cp "$image" "$WORK/old.img"
start
# Every block a second and a third time.
bench_status 0 disk --rw=randwrite --iodepth=16 --io_size=32M "${work[@]}" --verify_state_save="$WORK/saved" --json
json_holds '.jobs[0].verify | .blocks == 2048 and .bad == 0'
stop_server

check() { # check STATUS KIND COUNT [ARGUMENT...]: KIND "" for no fault at all
  local status=$1 kind=$2 count=$3; shift 3
  start
  bench_status "$status" disk --rw=read "${work[@]}" --json "$@"
  if [[ -n $kind ]]; then
    json_holds ".jobs[0].verify | .bad == $count and .faults == {\"$kind\": $count}"
  else
    json_holds '.jobs[0].verify | .bad == 0 and .blocks == 2048'
  fi
  stop_server
}
exact=(--verify_state_load="$WORK/saved")
note "control: nothing happened"
check 0 '' 0
check 0 '' 0 "${exact[@]}"
cp "$image" "$WORK/good.img"
# inject KIND OFFSET COMMAND...: damages the file, expects this one fault, and repairs it.
inject() {
  local kind=$1 offset=$2; shift 2
  note "$kind"
  "$@"
  check 1 "$kind" 1 "${exact[@]}"
  json_holds ".jobs[0].verify.first[0] | startswith(\"block at offset $offset (8192 bytes): $kind\")"
  says "$ERR_TEXT" "$kind"
}
repair() { cp "$WORK/good.img" "$image"; }
put() { dd if="$1" of="$image" bs=4096 skip="$2" seek="$3" count="$4" conv=notrunc status=none; }
flip() { # flip OFFSET: one bit
  python3 - "$image" "$1" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 0x10]))
PY
}
inject corrupt 81920 flip 82933
json_holds '.jobs[0].verify.first[0] | contains("byte 1013") and contains("bit 4")'
check 1 corrupt 1
repair
inject misplaced 163840 put "$WORK/good.img" 100 40 2
json_holds '.jobs[0].verify.first[0] | contains("409600")'
check 1 misplaced 1
repair
inject zeros 245760 put /dev/zero 0 60 2
check 1 zeros 1
repair
# An earlier generation of the same run: one run writes all of it twice, in four seconds, and what the
# first pass has left is kept as soon as its last block is there.
start
"$ASHLAR" bench disk --rw=write "${work[@]}" --rate_iops=1000 --io_size=32M --eta=never \
  --verify_state_save="$WORK/twice.saved" >"$WORK/twice.out" 2>&1 &
writer=$!
on_exit "stop_pid $writer"
last_block_changed() { ! cmp -s -i 16769024 "$image" "$WORK/good.img"; }
wait_until 30 last_block_changed || { cat "$WORK/twice.out" >&2; fail "the first pass does not end"; }
cp "$image" "$WORK/first-pass.img"
expect_exit "$writer" 0 30
stop_server
cp "$image" "$WORK/good.img"
exact=(--verify_state_load="$WORK/twice.saved")
inject stale 16769024 put "$WORK/first-pass.img" 4094 4094 2
note "a stale block is sound in itself: without the saved state it passes"
check 0 '' 0
repair
inject torn 16769024 put "$WORK/first-pass.img" 4095 4095 1
json_holds '.jobs[0].verify.first[0] | contains("sectors 8-15 of generation 1")'
check 1 torn 1
repair
note "what an older run left"
inject foreign 8192 put "$WORK/old.img" 2 2 2
repair
check 0 '' 0 "${exact[@]}"
