#!/usr/bin/env bash
# Promise P8: a failed fdatasync is an error for the client and is never retried into a success, also
# when the disk has recovered: the device has failed, and its status says so and what to do.
# Checklist 61.
. "$(dirname "$0")/lib.sh"
. "$HERE/backing.sh"

truncate -s 16M "$WORK/below.bin"
# shellcheck disable=SC2016
make_backing eval get_size='echo 16M' can_write='exit 0' can_flush='exit 0' \
  pread="dd if=$WORK/below.bin iflag=skip_bytes,count_bytes skip=\$4 count=\$3 2>/dev/null" \
  pwrite="dd of=$WORK/below.bin conv=notrunc oflag=seek_bytes seek=\$4 2>/dev/null" \
  flush="test ! -e $WORK/trip || { echo EIO the disk is broken >&2; exit 1; }"
for direct in on off; do
  note "--direct $direct"
  serve disk --file "$BACKING" --direct "$direct"
  python3 - "$SOCKET" "$WORK/trip" <<'PY'
import os, sys, nbd
address, trip = sys.argv[1], sys.argv[2]
client, other = nbd.Client(address), nbd.Client(address)
client.write(0, b"a" * 4096)
client.flush()
client.write(4096, b"b" * 4096)
with open(trip, "w", encoding="ascii"):
    pass
nbd.check(client.request(nbd.FLUSH)[0] == nbd.EIO, "a failed fdatasync did not fail the FLUSH")
os.unlink(trip)
for each in (client, other):
    for _ in range(3):
        nbd.check(each.request(nbd.FLUSH)[0] != 0, "a FLUSH after a failed one succeeded: the lost write is vouched for")
    nbd.check(each.request(nbd.WRITE, 8192, 4096, nbd.FUA, b"c" * 4096)[0] != 0, "a write with FUA succeeded after a failed sync")
PY
  expect_status 2 "$ASHLAR" status disk --check >"$WORK/status"
  "$ASHLAR" status disk --json | jq -e . >/dev/null || fail "the status is not JSON"
  grep -qiE 'flush|sync' "$LOG" || fail "the log does not tell the cause"
  kill -TERM "$SERVER"
  wait_until 20 is_gone "$SERVER" || fail "it does not stop"
  status=0; wait "$SERVER" || status=$?
  [[ $status -ne 0 ]] || fail "a server whose last flush failed ended with status 0"
done
