#!/usr/bin/env bash
# --stall-timeout: a write whose payload never comes and a client that never reads its replies are
# dropped; an idle client is not. Requirements S3, S4.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M --stall-timeout 3s
python3 - "$SOCKET" <<'PY'
import sys, time, nbd
address = sys.argv[1]
idle = nbd.Client(address)
owing, trickling, deaf = nbd.Client(address), nbd.Client(address), nbd.Client(address)
owing.send(owing.request_bytes(nbd.WRITE, 1, 0, 1 << 20) + b"p" * 1000)
trickling.send(trickling.request_bytes(nbd.WRITE, 1, 0, 1 << 20))
deaf.socket.setblocking(False)
try:
    deaf.socket.send(b"".join(deaf.request_bytes(nbd.READ, index, 0, 1 << 20) for index in range(1000)))
except BlockingIOError:
    pass
start = time.monotonic()
dropped = None
while time.monotonic() < start + 9:       # a byte every 0.3 s must not extend it
    try:
        trickling.send(b"t")
    except nbd.Closed:
        dropped = time.monotonic() - start
        break
    time.sleep(0.3)
nbd.check(dropped is not None and dropped > 1.5, f"the trickling write was dropped after {dropped} s")
print(f"    the trickling write was dropped after {dropped:.1f} s")
nbd.check(owing.is_closed(5), "the write without payload was not dropped")
nbd.check(deaf.is_closed(30), "the client that never reads was not dropped")
nbd.check(idle.read(0, 512) == bytes(512), "the idle client was dropped, too")
PY
stop_server
