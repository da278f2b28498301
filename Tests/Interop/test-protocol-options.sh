#!/usr/bin/env bash
# Options that no client should send are answered or end the connection, and the stream stays in
# step: unknown options, data where none belongs, lengths that lie, thousands of options.
# Checklist 6-10, 12, 14, 15, 23, 24, 26, 30, 36. Requirement S2.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
python3 - "$SOCKET" "$SERVER" <<'PY'
import struct, sys, nbd
address, server = sys.argv[1], int(sys.argv[2])

def greeted():
    raw = nbd.RawConnection(address)
    raw.greet()
    return raw

def last(replies):
    return replies[-1][0]

raw = greeted()
# An unknown option with data, and LIST, in one segment.
raw.send(raw.option_bytes(77, b"z" * 1000) + raw.option_bytes(nbd.LIST))
nbd.check(last(raw.option_replies(77)) == nbd.ERR_UNSUP, "unknown option: not UNSUP")
listed = raw.option_replies(nbd.LIST)
nbd.check([kind for kind, _ in listed] == [nbd.REP_SERVER, nbd.REP_ACK], "LIST behind an unknown option")
length = struct.unpack(">I", listed[0][1][:4])[0]
nbd.check(listed[0][1][4 : 4 + length] == b"disk", "LIST: wrong name")
for option, text in ((4, "PEEK_EXPORT"), (11, "EXTENDED_HEADERS"), (0, "0"), (0xFFFFFFFF, "2^32-1")):
    nbd.check(last(raw.option(option)) == nbd.ERR_UNSUP, f"option {text}: not UNSUP")
nbd.check(last(raw.option(nbd.LIST, b"x")) == nbd.ERR_INVALID, "LIST with data: not INVALID")
nbd.check(last(raw.option(nbd.STRUCTURED_REPLY, b"x")) == nbd.ERR_INVALID, "STRUCTURED_REPLY with data: not INVALID")

# INFO and GO with lengths that lie. Each is refused, and the next option is understood.
raw = greeted()
lies = {
    "no data": b"",
    "three bytes": b"\0\0\0",
    "name length 2^32-1": struct.pack(">I", 0xFFFFFFFF) + b"\0\0",
    "name longer than the data": struct.pack(">I", 9) + b"disk\0\0",
    "no room for the count": struct.pack(">I", 4) + b"disk\0",
    "a count above the data": struct.pack(">I", 4) + b"disk" + struct.pack(">HH", 2, 3),
    "a count of 65535": struct.pack(">I", 4) + b"disk" + struct.pack(">H", 65535),
    "data behind the last": struct.pack(">I", 4) + b"disk" + struct.pack(">H", 0) + b"xx",
}
for option in (nbd.INFO, nbd.GO):
    for text, data in lies.items():
        nbd.check(last(raw.option(option, data)) == nbd.ERR_INVALID, f"option {option}, {text}: not INVALID")
        if option == nbd.GO:
            raw.close()
            raw = greeted()
for length in (257, 4096):
    raw = greeted()
    nbd.check(last(raw.option(nbd.GO, raw.name_bytes("n" * length))) == nbd.ERR_UNKNOWN, f"a name of {length} bytes")
for name in ("n" * 4097, "n" * 60000):
    raw = greeted()
    nbd.check(last(raw.option(nbd.GO, raw.name_bytes(name))) in (nbd.ERR_INVALID, nbd.ERR_UNKNOWN), f"a name of {len(name)} bytes")
    nbd.check(last(raw.option(nbd.LIST)) == nbd.REP_ACK, "not in step after a long name")
unknown = greeted().option(nbd.INFO, raw.name_bytes("nobody"))
nbd.check([kind for kind, _ in unknown] == [nbd.ERR_UNKNOWN], "unknown export: not just UNKNOWN")
text = unknown[0][1].decode("utf-8")
nbd.check("\0" not in text and len(text) <= 4096, "odd error text")

# INFO, then GO: the same answer. Unknown info types are ignored.
raw = greeted()
data = raw.name_bytes("disk", (0, 1, 2, 3, 999, 65535))
first, second = raw.option(nbd.INFO, data), raw.option(nbd.GO, data)
nbd.check(sorted(first) == sorted(second), "INFO and GO differ")
kinds = sorted(struct.unpack(">H", item[:2])[0] for kind, item in first if kind == nbd.REP_INFO)
nbd.check(kinds[0] == 0 and set(kinds) <= {0, 1, 2, 3} and len(kinds) == len(set(kinds)), f"info types {kinds}")
nbd.check(1 in kinds and 3 in kinds, "name and block sizes were asked for")
raw.send(raw.request_bytes(nbd.READ, 5, 0, 512))
nbd.check(raw.reply({5: 512})[:2] == (5, 0), "no transmission after GO")

# ABORT is acknowledged, then the end.
raw = greeted()
nbd.check(last(raw.option(nbd.ABORT, b"ignored")) == nbd.REP_ACK and raw.is_closed(), "ABORT")

# Lengths that are an attack: closed, not read, nothing allocated.
before = nbd.status_kib(server, "VmHWM")
for length in (0xFFFFFFFF, 0x7FFFFFFF, 1 << 20):
    raw = greeted()
    raw.send(raw.option_bytes(nbd.LIST, length=length))
    nbd.check(raw.is_closed(), f"option length {length:#x}: still connected")
nbd.check(nbd.status_kib(server, "VmHWM") - before < 16384, "memory grew with the claimed length")

# 5000 options: cut short.
raw = greeted()
answered = 0
try:
    for _ in range(5000):
        raw.option(nbd.LIST)
        answered += 1
    nbd.check(False, "5000 options were all answered")
except nbd.Closed:
    nbd.check(answered >= 16, f"cut after {answered} options already")
PY
[[ $(nbdinfo --size "$URI") == 16777216 ]] || fail "no service afterwards"
stop_server
