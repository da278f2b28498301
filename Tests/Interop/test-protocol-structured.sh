#!/usr/bin/env bash
# Structured reads: chunks cover the request exactly, holes included; with DF there is one content
# chunk; an early error is structured too. Checklist 45, 47, 48, 50-52.
. "$(dirname "$0")/lib.sh"

structured() {
  python3 - "$SOCKET" <<'PY'
import os, sys, nbd
client = nbd.Client(sys.argv[1], structured=True)
pattern = bytearray(64 << 20)
for offset, length in ((0, 4096), (10000, 3000), (1 << 20, 1 << 20), (5 << 20, 100), (40 << 20, 3 << 20)):
    data = os.urandom(length)
    client.write(offset, data)
    pattern[offset : offset + length] = data
requests = ((0, 64 << 10), (1, 1), (4095, 20000), (0, 6 << 20), (3 << 20, 3 << 20), (0, 32 << 20), (39 << 20, 8 << 20))
for offset, length in requests:
    nbd.check(client.read(offset, length) == pattern[offset : offset + length], f"wrong bytes: {length} at {offset}")
    error, content, _ = client.request(nbd.READ, offset, length, nbd.DF)
    if error == 0:
        nbd.check(len(content) == 1, f"DF: {len(content)} content chunks")
        nbd.check(client.assemble(content, offset, length) == pattern[offset : offset + length], "DF: wrong bytes")
    else:
        nbd.check(error == nbd.EOVERFLOW and length > 65536, f"DF: errno {error} for {length} bytes")
# Longer than the largest payload: in pieces, or refused; never a chunk beyond the limit.
error, content, _ = client.request(nbd.READ, 0, 48 << 20)
nbd.check(error in (0, nbd.EOVERFLOW, nbd.EINVAL), f"read of 48 MiB: errno {error}")
if error == 0:
    nbd.check(client.assemble(content, 0, 48 << 20) == pattern[: 48 << 20], "read of 48 MiB: wrong bytes")
    nbd.check(all(isinstance(part, int) or len(part) <= 32 << 20 for part in content.values()), "a chunk beyond the limit")
cookie = client.submit(nbd.READ, 1 << 40, 512)
head = client.receive(4)
nbd.check(int.from_bytes(head, "big") == nbd.CHUNK_MAGIC, "the error of a READ is not structured")
PY
}
for_each_device 64M structured
