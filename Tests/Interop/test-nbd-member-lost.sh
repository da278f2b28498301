#!/usr/bin/env bash
# Members that are exports: one that is lost under load is put out, nobody waits and nothing is lost;
# when its server is back it is brought up to date by itself and believed again; the array then does
# without another.
# timeout: 180
. "$(dirname "$0")/lib.sh"

declare -A KIT=()
uri() { printf 'nbd+unix:///?socket=%s/kit%s.sock' "$WORK" "$1"; }
# kit N: serves member N.
kit() {
  rm -f "$WORK/kit$1.sock"
  nbdkit -f -U "$WORK/kit$1.sock" file "$DATA/m$1" 2>>"$WORK/kit$1.log" &
  KIT[$1]=$!
  on_exit "stop_pid $!"
  wait_until 10 nbdinfo --size "$(uri "$1")" || fail "nbdkit $1 does not answer"
}
io() { # io COMMAND: of qemu-io, which tells of some failures by words only
  timeout 60 qemu-io -f raw -c "$1" "$URI" >"$WORK/io" 2>&1 || { cat "$WORK/io"; fail "qemu-io: $1"; }
  if grep -q failed "$WORK/io"; then cat "$WORK/io"; fail "qemu-io: $1"; fi
}

for n in 0 1 2; do truncate -s 128M "$DATA/m$n"; done
kit 1; kit 2
# A file and two exports.
timeout 60 "$ASHLAR" create a --level raid5 --log-size 8m "$DATA/m0" "$(uri 1)" "$(uri 2)" >"$WORK/out"
serve_array a a
io 'write -P 1 0 8M'

# Lost under load.
fio_verify "$URI" --rw=randwrite --bs=16k --size=64M --offset=16M --verify=crc32c --iodepth=8 --runtime=60 >"$WORK/load" 2>&1 &
load=$!
sleep 0.3
kill -KILL "${KIT[2]}"
wait "$load" || { cat "$WORK/load"; fail "the load saw an error when a member was lost"; }
io 'read -P 1 0 8M'
io 'write -P 2 0 1M'
wait_until 30 array_is a degraded || fail "the array is $(array_state a), not degraded"
timeout 10 "$ASHLAR" status a >"$WORK/status"
grep -qE '^ +(2 +out|.*disconnected)' "$WORK/status" || { cat "$WORK/status"; fail "status does not say which member is out"; }

# Back: brought up to date by itself.
kit 2
wait_until 90 array_is a optimal || { timeout 10 "$ASHLAR" status a; fail "the member that is back is not taken back"; }
io 'read -P 2 0 1M'
# Now another may go.
kill -KILL "${KIT[1]}"
io 'read -P 2 0 1M'
io 'read -P 1 1M 7M'
stop_server
