#!/usr/bin/env bash
# A WRITE header of 2 GiB without its payload allocates nothing and ends the connection; a hundred
# of them do no harm. Checklist 53. Requirement S4.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
python3 - "$SOCKET" "$SERVER" <<'PY'
import sys, nbd
address, server = sys.argv[1], int(sys.argv[2])
witness = nbd.Client(address)
witness.write(0, b"x" * 65536)
before = nbd.status_kib(server, "VmHWM")
for length in (0x80000000, 0xFFFFFFFF):
    for structured in (False, True):
        client = nbd.Client(address, structured=structured)
        try:
            client.send(client.request_bytes(nbd.WRITE, 1, 0, length) + b"p" * 100000)
        except nbd.Closed:
            pass
        nbd.check(client.is_closed(), f"WRITE of {length}: still connected")
grown = nbd.status_kib(server, "VmHWM") - before
print(f"    resident memory grew by at most {grown} KiB")
nbd.check(grown < 20 << 10, f"resident memory grew by {grown} KiB")
# 32 MiB each from 60 clients that never send the payload: within the byte budget, not 60 times that.
clients = [nbd.Client(address) for _ in range(60)]
for client in clients:
    client.send(client.request_bytes(nbd.WRITE, 1, 0, 32 << 20) + b"p" * 4096)
nbd.check(witness.read(0, 65536) == b"x" * 65536, "another client suffers")
grown = nbd.status_kib(server, "VmHWM") - before
print(f"    with 60 clients that owe 32 MiB each: by {grown} KiB")
nbd.check(grown < 600 << 10, f"resident memory grew by {grown} KiB")
PY
stop_server
