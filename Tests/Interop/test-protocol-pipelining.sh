#!/usr/bin/env bash
# Hundreds of requests in one segment, cookies that repeat, requests cut at every byte: each gets its
# reply, whole. Checklist 43, 44, 71.
. "$(dirname "$0")/lib.sh"

pipelining() {
  python3 - "$SOCKET" <<'PY'
import collections, struct, sys, threading, time, nbd
address = sys.argv[1]
client = nbd.Client(address)
block = [struct.pack(">Q", index) * 512 for index in range(500)]
sender = threading.Thread(target=client.send, args=(
    b"".join(client.request_bytes(nbd.WRITE, 1 << 63 | index, index * 4096, 4096, 0, block[index]) for index in range(500)),))
sender.start()
seen = collections.Counter()
for _ in range(500):
    cookie, error, *_ = client.reply()
    nbd.check(error == 0, f"errno {error}")
    seen[cookie] += 1
sender.join()
nbd.check(seen == collections.Counter(1 << 63 | index for index in range(500)), "a cookie is missing or came twice")
sender = threading.Thread(target=client.send, args=(
    b"".join(client.request_bytes(nbd.READ, index, index * 4096, 4096) for index in range(500)),))
sender.start()
for _ in range(500):
    cookie, error, content, _ = client.reply({index: 4096 for index in range(500)})
    nbd.check(error == 0 and content[None] == block[cookie], f"wrong bytes for request {cookie}")
sender.join()
# The same cookie for all.
client.send(b"".join(client.request_bytes(nbd.READ, 7, 0, 4096) for _ in range(20)))
for _ in range(20):
    cookie, error, content, _ = client.reply({7: 4096})
    nbd.check((cookie, error, content[None]) == (7, 0, block[0]), "repeated cookies")
# Byte by byte.
client.socket.setsockopt(6, 1, 1) if ":" in address else None
for byte in client.request_bytes(nbd.WRITE, 8, 8192, 64, 0, b"s" * 64) + client.request_bytes(nbd.READ, 9, 8192, 64):
    client.send(bytes([byte]))
replies = [client.reply({9: 64}) for _ in range(2)]
nbd.check(sorted(reply[0] for reply in replies) == [8, 9] and all(reply[1] == 0 for reply in replies), "byte by byte")
nbd.check(client.read(8192, 64) == b"s" * 64, "byte by byte: wrong bytes")
PY
}
for_each_device 16M pipelining
