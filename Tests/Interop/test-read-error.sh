#!/usr/bin/env bash
# A read or write error below is EIO for that request alone: connections, other blocks and other
# clients go on. Checklist 46, 49, 61. Promise P4.
. "$(dirname "$0")/lib.sh"
. "$HERE/backing.sh"

dd if=/dev/urandom of="$DATA/below.bin" bs=1M count=16 status=none
make_backing --filter=error file "$DATA/below.bin" error-pread=EIO error-pread-rate=100% error-pread-file="$WORK/trip"
for structured in False True; do
  serve disk --file "$BACKING" --direct on
  python3 - "$SOCKET" "$WORK/trip" "$DATA/below.bin" $structured <<'PY'
import os, sys, nbd
address, trip, good = sys.argv[1:4]
good = open(good, "rb").read()
client = nbd.Client(address, structured=sys.argv[4] == "True")
nbd.check(client.read(0, 1 << 20) == good[: 1 << 20], "wrong bytes")
with open(trip, "w", encoding="ascii"):
    pass
for offset, length in ((2 << 20, 4096), ((2 << 20) + 5, 100), (4 << 20, 2 << 20)):
    nbd.check(client.request(nbd.READ, offset, length)[0] == nbd.EIO, "a read error below is no EIO")
os.unlink(trip)
for offset, length in ((2 << 20, 4096), (0, 8 << 20)):
    nbd.check(client.read(offset, length) == good[offset : offset + length], "wrong bytes after the error")
PY
  grep -qiE 'input/output|EIO|read' "$LOG" || fail "the log does not tell the error"
  kill -TERM "$SERVER"
  wait_until 20 is_gone "$SERVER" || fail "it does not stop"
  wait "$SERVER" || true
done
