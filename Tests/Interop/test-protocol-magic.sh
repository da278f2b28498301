#!/usr/bin/env bash
# A wrong option magic, unknown client flags or a wrong request magic end that connection at once,
# and nobody else's. Checklist 1, 2, 5, 43.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
python3 - "$SOCKET" <<'PY'
import struct, sys, nbd
address = sys.argv[1]
witness = nbd.Client(address)

raw = nbd.RawConnection(address)
offered = raw.greet(None)
nbd.check(offered == nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES, f"handshake flags {offered:#x}")
raw.send(struct.pack(">I", 0x80000000 | offered))
nbd.check(raw.is_closed(), "unknown client flags: still connected")

for flags in (4, 0xFFFFFFFF):
    raw = nbd.RawConnection(address)
    raw.greet(flags)
    nbd.check(raw.is_closed(), f"client flags {flags:#x}: still connected")

raw = nbd.RawConnection(address)
raw.greet()
raw.send(raw.option_bytes(nbd.LIST, magic=b"IHAVEOPS"))
nbd.check(raw.is_closed(), "wrong option magic: still connected")

for structured in (False, True):
    client = nbd.Client(address, structured=structured)
    client.write(0, b"x" * 4096)
    client.send(client.request_bytes(nbd.READ, 1, 0, 4096, magic=0x25609512))
    nbd.check(client.is_closed(), "wrong request magic: still connected")

nbd.check(witness.read(0, 4096) == b"x" * 4096, "another client suffers")
PY
stop_server
