#!/usr/bin/env bash
# EXPORT_NAME, the old way in: with and without the 124 zeros, for clients that did and did not
# confirm fixed newstyle; an unknown name closes. Checklist 4, 13.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
python3 - "$SOCKET" <<'PY'
import struct, sys, nbd
address = sys.argv[1]
for flags in (0, nbd.FIXED_NEWSTYLE, nbd.NO_ZEROES, nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES):
    for name in (b"disk", b""):
        raw = nbd.RawConnection(address)
        raw.greet(flags)
        # A request in the same segment: it must be found right behind the reply.
        raw.send(raw.option_bytes(nbd.EXPORT_NAME, name) + raw.request_bytes(nbd.READ, 0x1122334455667788, 0, 16))
        size, transmission = struct.unpack(">QH", raw.receive(10))
        nbd.check(size == 16 << 20 and transmission & nbd.HAS_FLAGS, f"size {size}, flags {transmission:#x}")
        nbd.check(not transmission & 0x80, "SEND_DF without structured replies")
        if not flags & nbd.NO_ZEROES:
            nbd.check(raw.receive(124) == bytes(124), "no 124 zeros")
        nbd.check(raw.reply({0x1122334455667788: 16})[:2] == (0x1122334455667788, 0), "no transmission")
        raw.close()
    raw = nbd.RawConnection(address)
    raw.greet(flags)
    raw.send(raw.option_bytes(nbd.EXPORT_NAME, b"nobody"))
    try:
        said = raw.socket.recv(1)
    except ConnectionResetError:
        said = b""
    nbd.check(said == b"", "an unknown name got an answer")
# Not fixed newstyle: any other option may be refused or answered, but never with TLS or a crash.
raw = nbd.RawConnection(address)
raw.greet(0)
raw.send(raw.option_bytes(nbd.STARTTLS))
try:
    nbd.check(raw.option_reply()[1] & nbd.ERR, "TLS was offered to a client without fixed newstyle")
except nbd.Closed:
    pass
PY
stop_server
