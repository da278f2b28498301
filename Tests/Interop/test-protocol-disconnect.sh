#!/usr/bin/env bash
# DISC right behind a burst of requests: all are finished and answered, then the end. A client that
# just vanishes costs nothing. Checklist 57.
. "$(dirname "$0")/lib.sh"

disconnect() {
  python3 - "$SOCKET" <<'PY'
import sys, nbd
address = sys.argv[1]
for _ in range(5):
    client = nbd.Client(address)
    burst = b"".join(client.request_bytes(nbd.WRITE, index, index << 16, 1 << 16, nbd.FUA, bytes([index]) * (1 << 16)) for index in range(64))
    client.send(burst + client.request_bytes(nbd.FLUSH, 64) + client.request_bytes(nbd.DISC, 65))
    answered = set()
    try:
        while True:
            cookie, error, *_ = client.reply()
            nbd.check(error == 0, f"errno {error}")
            answered.add(cookie)
    except nbd.Closed:
        pass
    nbd.check(answered == set(range(65)), f"{len(answered)} of 65 requests were answered before the end")
for count in (1, 27, 28, 29, 1000, 4123, 100000):
    client = nbd.Client(address)
    client.send(b"".join(client.request_bytes(nbd.WRITE, index, 0, 4096, 0, b"v" * 4096) for index in range(32))[:count])
    client.close()
witness = nbd.Client(address)
nbd.check(witness.read(63 << 16, 1 << 16) == b"\x3f" * (1 << 16), "a write before DISC is not there")
PY
}
for_each_device 16M disconnect
