#!/usr/bin/env bash
# nbdkit as a disk that fails, beside a file: reads with EIO are computed and written again; a write or a
# flush that fails puts the member out, by name, and no flush succeeds falsely; a slow member's reads are
# hedged; one that hangs is set aside within its deadline, and taken back when it answers.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/array.sh"

kits=0
# kit FILE ARGUMENT...: nbdkit on it; leaves its process in KIT and its URI in URI_OF_KIT.
kit() {
  kits=$((kits + 1))
  local socket=$WORK/kit$kits.sock
  nbdkit -f -U "$socket" "${@:2}" 2>>"$WORK/kit$kits.log" &
  KIT=$!
  on_exit "kill -CONT $KIT 2>/dev/null; stop_pid $KIT"
  URI_OF_KIT="nbd+unix:///?socket=$socket"
  wait_until 10 nbdinfo --size "$URI_OF_KIT" || { cat "$WORK/kit$kits.log"; fail "nbdkit does not answer"; }
}
begin() { # begin NAME ARGUMENT...: two files and an nbdkit of these arguments on the third; serves them.
  local name=$1; shift
  note "$name"
  rm -f "$STATE" "$WORK/trip"
  truncate -s 96M "$DATA/$name"
  kit "$DATA/$name" "$@"
  create_array "$name" raid5 96M "$DATA/$name-0" "$DATA/$name-1" "$URI_OF_KIT"
  serve_array "$name" "$name" --member-timeout 3s
}
load() { # load NAME SECONDS: nothing may fail
  verify_acked load "$1" --seconds "$2" >"$WORK/load.json" || fail "$1: a wrong block"
  note "load: $(cat "$WORK/load.json")"
  ! grep -q errno "$WORK/load.json" || fail "$1: a client saw an error: $(cat "$WORK/load.json")"
}
check() {
  verify_acked check "$1" >"$WORK/check.json" || fail "$1: an acknowledged block is gone or wrong"
  note "check: $(cat "$WORK/check.json")"
}
heals() { check "$1"; [[ $(array_fact "$1" '.members[2].healed_blocks') -gt 0 ]]; }
end() { # end NAME
  stop_server
  stop_pid "$KIT"
}

begin read --filter=error file "$DATA/read" error-pread=EIO error-pread-rate=20% error-pread-file="$WORK/trip"
load read 2
touch "$WORK/trip"
check read; check read
member_is read 2 current || fail "read errors put the member out"
[[ $(array_fact read '.members[2].error_count') -gt 0 ]] || fail "no read failed: that proves nothing"
wait_until 20 heals read || fail "blocks that could not be read were not written again"
rm "$WORK/trip"
check read
end read

begin write --filter=error file "$DATA/write" error-pwrite=EIO error-pwrite-rate=100% error-pwrite-file="$WORK/trip"
load write 1
touch "$WORK/trip"
load write 1
expect_member write 2 10 out
expect_cause write 2 'failed a write'
check write
end write

# shellcheck disable=SC2016  # nbdkit expands it
begin flush eval get_size='echo 96M' can_write='exit 0' can_flush='exit 0' \
  pread='dd if='"$DATA/flush"' iflag=skip_bytes,count_bytes skip=$4 count=$3 2>/dev/null' \
  pwrite='dd of='"$DATA/flush"' conv=notrunc oflag=seek_bytes seek=$4 2>/dev/null' \
  flush='test ! -e '"$WORK/trip"' || { echo EIO flush >&2; exit 1; }'
load flush 2
touch "$WORK/trip"
load flush 2
expect_member flush 2 10 out
expect_cause flush 2 'failed to make its writes durable'
rm "$WORK/trip"
load flush 1
sleep 3
member_is flush 2 out || fail "a member whose flush failed was taken back by itself: $(member_state flush 2)"
check flush
end flush

begin slow --filter=delay file "$DATA/slow" delay-read=700ms
load slow 2
begun=$EPOCHREALTIME
check slow
note "read in $(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }') s"
member_is slow 2 current || fail "a slow member was put out"
end slow

begin hung file "$DATA/hung"
load hung 1
start_load hung 12
kill -STOP "$KIT"
expect_member hung 2 10 out
expect_cause hung 2 'did not answer in time'
timeout 5 "$ASHLAR" status hung >"$WORK/status" || true
wait "$LOAD" || fail "hung: the load found a wrong block"
note "load: $(cat "$WORK/load.json")"
! grep -q errno "$WORK/load.json" || fail "hung: a client saw an error"
check hung
kill -CONT "$KIT"
# nbdkit aborts now and then when it finds its connection gone: then it is started again, as a service
# would be.
back() {
  array_is hung optimal && return
  if is_gone "$KIT"; then
    rm -f "${URI_OF_KIT#*socket=}"
    nbdkit -f -U "${URI_OF_KIT#*socket=}" file "$DATA/hung" 2>>"$WORK/kit$kits.log" &
    KIT=$!
    on_exit "stop_pid $KIT"
  fi
  return 1
}
wait_until 90 back || { timeout 10 "$ASHLAR" status hung; fail "the array is $(array_state hung), not optimal"; }
check hung
end hung
