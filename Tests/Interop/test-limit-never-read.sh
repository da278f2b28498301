#!/usr/bin/env bash
# A hundred clients that ask for much and never read a reply: the server stops reading from them, its
# memory stays bounded, another client is served at once, and SIGTERM ends it in time.
# Requirements S3, S14.
. "$(dirname "$0")/lib.sh"

serve disk --memory 64M --max-connections 200 --stall-timeout 600s
before=$(resident_kib "$SERVER")
python3 - "$SOCKET" "$SERVER" "$before" <<'PY'
import sys, time, nbd
address, server, before = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
witness = nbd.Client(address)
witness.write(0, b"x" * (8 << 20))
asked, deaf = 0, []
for _ in range(100):
    client = nbd.Client(address)
    client.socket.setblocking(False)
    burst = b"".join(client.request_bytes(nbd.READ, index, 0, 1 << 20) for index in range(4000))
    try:
        asked += client.socket.send(burst) // 28
    except BlockingIOError:
        pass
    deaf.append(client)
latencies = []
end = time.monotonic() + 5
while time.monotonic() < end:
    start = time.monotonic()
    witness.write(4096, b"y" * 4096)
    nbd.check(witness.read(4096, 4096) == b"y" * 4096, "wrong bytes")
    latencies.append(time.monotonic() - start)
latencies.sort()
grown = nbd.status_kib(server, "VmHWM") - before
print(f"    {asked} reads of 1 MiB asked for and not taken; resident memory grew by {grown >> 10} MiB;"
      f" the other client: {len(latencies)} turns, p99 {latencies[len(latencies) * 99 // 100] * 1000:.1f} ms")
nbd.check(asked > 1000, "too few requests went out to prove anything")
nbd.check(grown < 800 << 10, f"resident memory grew by {grown} KiB")
nbd.check(latencies[len(latencies) * 99 // 100] < 0.25, "the other client was slow")
cpu = nbd.cpu_seconds(server)
time.sleep(2)
spun = nbd.cpu_seconds(server) - cpu
nbd.check(spun < 0.5, f"{spun} s of CPU in 2 s of nothing to do")
PY
kill -TERM "$SERVER"
expect_exit "$SERVER" 0 20
