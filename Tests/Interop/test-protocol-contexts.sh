#!/usr/bin/env bash
# Metadata contexts: order, wildcards, unknown names, lengths that lie, and BLOCK_STATUS with and
# without a selection, also at the longest length. Checklist 31-34, 59, 66, 67.
. "$(dirname "$0")/lib.sh"

serve disk --memory 5G
python3 - "$SOCKET" <<'PY'
import struct, sys, nbd
address = sys.argv[1]

def greeted(structured=True):
    raw = nbd.RawConnection(address)
    raw.greet()
    if structured:
        nbd.check(raw.option(nbd.STRUCTURED_REPLY)[-1][0] == nbd.REP_ACK, "STRUCTURED_REPLY")
        raw.structured = True
    return raw

def names(replies):
    nbd.check(replies[-1][0] == nbd.REP_ACK, f"context option failed: {replies[-1]}")
    return [data[4:].decode() for kind, data in replies if kind == nbd.REP_META]

raw = greeted(False)
for option in (nbd.LIST_META, nbd.SET_META):
    replies = raw.option(option, raw.query_bytes("disk", ["base:allocation"]))
    nbd.check(replies[-1][0] == nbd.ERR_INVALID, "contexts before structured replies: not INVALID")

raw = greeted()
nbd.check(raw.option(nbd.STRUCTURED_REPLY)[-1][0] in (nbd.REP_ACK, nbd.ERR_INVALID), "STRUCTURED_REPLY twice")
nbd.check(names(raw.option(nbd.LIST_META, raw.query_bytes("disk", []))) == ["base:allocation"], "LIST_META without queries")
nbd.check(names(raw.option(nbd.LIST_META, raw.query_bytes("disk", ["base:"]))) == ["base:allocation"], "LIST_META base:")
nbd.check(names(raw.option(nbd.LIST_META, raw.query_bytes("disk", ["x-other:a", "base:nothing"]))) == [], "LIST_META unknown")
nbd.check(names(raw.option(nbd.SET_META, raw.query_bytes("disk", []))) == [], "SET_META without queries")
nbd.check(names(raw.option(nbd.SET_META, raw.query_bytes("disk", ["base:"]))) == [], "SET_META base:")
nbd.check(names(raw.option(nbd.SET_META, raw.query_bytes("disk", ["x-other:a", "base:allocation", "base:allocation"])))
          == ["base:allocation"], "SET_META with an unknown and a repeated name")
replies = raw.option(nbd.SET_META, raw.query_bytes("nobody", ["base:allocation"]))
nbd.check(replies[-1][0] == nbd.ERR_UNKNOWN, "SET_META of an unknown export")
good = raw.query_bytes("disk", ["base:allocation"])
lies = {
    "no data": b"", "cut": good[:-1], "cut in the count": good[:10], "more data": good + b"x",
    "name length 2^32-1": struct.pack(">I", 0xFFFFFFFF) + good[4:],
    "query count 2^32-1": good[:8] + struct.pack(">I", 0xFFFFFFFF) + good[12:],
    "query length 2^32-1": good[:12] + struct.pack(">I", 0xFFFFFFFF) + good[16:],
}
for option in (nbd.LIST_META, nbd.SET_META):
    for text, data in lies.items():
        nbd.check(raw.option(option, data)[-1][0] == nbd.ERR_INVALID, f"option {option}, {text}: not INVALID")
# A failed SET_META drops the former selection.
nbd.check(names(raw.option(nbd.SET_META, good)) == ["base:allocation"], "SET_META")
raw.option(nbd.SET_META, lies["cut"])
raw.go("disk")
raw.send(raw.request_bytes(nbd.BLOCK_STATUS, 1, 0, 4096))
nbd.check(raw.reply()[1] == nbd.EINVAL, "BLOCK_STATUS after a failed SET_META")

# A selection for one name does not hold for a GO with another.
raw = greeted()
nbd.check(names(raw.option(nbd.SET_META, raw.query_bytes("", ["base:allocation"]))) in ([], ["base:allocation"]), "SET_META of the default export")
raw.go("disk")
raw.send(raw.request_bytes(nbd.BLOCK_STATUS, 1, 0, 4096))
nbd.check(raw.reply()[1] == nbd.EINVAL, "BLOCK_STATUS with a selection for another name")

client = nbd.Client(address, "disk", structured=True)
nbd.check(client.request(nbd.BLOCK_STATUS, 0, 4096)[0] == nbd.EINVAL, "BLOCK_STATUS without a selection")

client = nbd.Client(address, "disk", structured=True, contexts=["base:allocation"])
identity = client.contexts["base:allocation"]
client.write(1 << 20, b"x" * 65536)
client.write(5 << 20, b"x" * 65536)
for offset, length, flags in (
    (0, 8 << 20, 0), (0, 8 << 20, nbd.REQ_ONE), (1 << 20, 4096, 0), (1, 1, 0), (4097, 10 << 20, 0),
    (0, 0xFFFFFFFF, 0), (12345, 0xFFFFFFFF, 0), (4096, 0xFFFFF000, nbd.REQ_ONE), ((5 << 30) - 1, 1, 0),
):
    error, _, found = client.request(nbd.BLOCK_STATUS, offset, length, flags)
    nbd.check(error == 0 and len(found) == 1, f"BLOCK_STATUS {offset}+{length}: errno {error}, {len(found)} chunks")
    context, extents = found[0]
    nbd.check(context == identity and extents, "wrong context, or no extents")
    nbd.check(all(size > 0 and state in (0, 2, 3) for size, state in extents), f"odd extents {extents[:5]}")
    nbd.check(sum(size for size, _ in extents[:-1]) < length, "an extent begins behind the request")
    if flags & nbd.REQ_ONE:
        nbd.check(len(extents) == 1 and extents[0][0] <= length, "REQ_ONE: more than one, or too long")
for offset, length in ((5 << 30, 1), ((5 << 30) - 1, 2), (1 << 63, 4096), ((1 << 64) - 512, 1024)):
    nbd.check(client.request(nbd.BLOCK_STATUS, offset, length)[0] == nbd.EINVAL, "BLOCK_STATUS past the end")
PY
stop_server
