#!/usr/bin/env bash
# SIGTERM while 90 clients hang in the handshake, some in the middle of an option: exit 0 within the
# bound. Requirements S2, S14.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M --handshake-timeout 60s
python3 - "$SOCKET" "$SERVER" <<'PY'
import os, signal, struct, sys, time, nbd
address, server = sys.argv[1], int(sys.argv[2])
hanging = []
for index in range(90):
    raw = nbd.RawConnection(address)
    if index % 3:
        raw.greet()
    if index % 3 == 2:
        raw.send(raw.option_bytes(nbd.GO, raw.name_bytes("disk"))[: 5 + index % 15])
    hanging.append(raw)
nbd.Client(address).write(0, b"x" * 512)
os.kill(server, signal.SIGTERM)
start = time.monotonic()
for raw in hanging:
    nbd.check(raw.is_closed(15), "a hanging client was not closed")
print(f"    all closed after {time.monotonic() - start:.1f} s")
PY
expect_exit "$SERVER" 0 15
