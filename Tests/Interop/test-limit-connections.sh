#!/usr/bin/env bash
# --max-connections: further clients wait or are closed, those inside go on, and a place that
# becomes free is used. Requirement S2.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M --max-connections 5
python3 - "$SOCKET" <<'PY'
import socket, sys, time, nbd
address = sys.argv[1]
nbd_ready = []
deadline = time.monotonic() + 10
while len(nbd_ready) < 5:          # the start-up probe's place may still be taken
    nbd.check(time.monotonic() < deadline, f"only {len(nbd_ready)} of 5 connections")
    try:
        nbd_ready.append(nbd.Client(address, timeout=2))
    except (nbd.Closed, TimeoutError, ConnectionError):
        time.sleep(0.1)
for _ in range(20):
    try:
        raw = nbd.RawConnection(address, timeout=0.2)
        raw.receive(16)
        nbd.check(False, "a sixth client was served")
    except (nbd.Closed, TimeoutError, ConnectionError, BlockingIOError):
        pass
    finally:
        raw.close()
for client in nbd_ready:
    client.write(0, b"x" * 4096)
nbd_ready.pop().disconnect()

def one_more():
    try:
        nbd_ready.append(nbd.Client(address, timeout=2))
        return True
    except (nbd.Closed, TimeoutError, ConnectionError):
        return False
nbd.wait_until(one_more, 10, "the free place was not given to a new client")
nbd.check(nbd_ready[-1].read(0, 4096) == b"x" * 4096, "the new client")
PY
"$ASHLAR" status disk --check >/dev/null || fail "status needs a place, too"
stop_server
