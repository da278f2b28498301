#!/usr/bin/env bash
# TCP listeners on IPv4 and IPv6 loopback beside a unix one, all at once; Nagle's delay is off.
# Checklist 3.
. "$(dirname "$0")/lib.sh"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
listeners=(--listen "unix:$ASHLAR_RUNTIME_DIR/disk.sock" --listen "tcp:127.0.0.1:$port")
uris=("nbd+unix:///disk?socket=$ASHLAR_RUNTIME_DIR/disk.sock" "nbd://127.0.0.1:$port/disk")
if python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
  listeners+=(--listen "tcp:[::1]:$port")
  uris+=("nbd://[::1]:$port/disk")
else
  note "no IPv6 here: only IPv4 is tested"
fi
serve disk --memory 32M "${listeners[@]}"
for uri in "${uris[@]}"; do
  [[ $(nbdinfo --size "$uri") == 33554432 ]] || fail "no service at $uri"
  fio_verify "$uri" --rw=randrw --bsrange=512-64k --bs_unaligned --size=16M --iodepth=16 --verify=crc32c
done
# One request at a time: with Nagle's algorithm against delayed acknowledgements it takes 40 ms each.
python3 - "127.0.0.1:$port" <<'PY'
import sys, time, nbd
client = nbd.Client(sys.argv[1], structured=True)
start = time.monotonic()
for _ in range(100):
    client.read(0, 70000)
seconds = time.monotonic() - start
print(f"    100 reads of 70000 bytes, one after the other: {seconds:.2f} s")
nbd.check(seconds < 2, "replies are delayed")
PY
"$ASHLAR" status disk --json | grep -q "$port" || fail "the status does not show the TCP listener"
stop_server
