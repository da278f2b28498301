#!/usr/bin/env bash
# Requests that cannot be met get the right errno, and the stream stays in step: past the end,
# wrapping offsets, unknown commands and flags, a read-only device, too long.
# Checklist 38, 39, 52, 53, 55, 56, 58-62, 65.
. "$(dirname "$0")/lib.sh"

cat >"$WORK/errors.py" <<'PY'
import sys, nbd
address, size = sys.argv[1], 16 << 20
for structured in (False, True):
    client = nbd.Client(address, structured=structured)

    def expect(errno, command, offset=0, length=0, flags=0, payload=b"", text=""):
        error, *_ = client.request(command, offset, length, flags, payload)
        nbd.check(error in (errno if isinstance(errno, tuple) else (errno,)),
                  f"command {command} at {offset} length {length} flags {flags:#x}: errno {error}, not {errno} {text}")

    client.write(0, b"w" * 8192)
    for offset, length in ((size, 1), (size - 511, 512), (1 << 63, 512), ((1 << 64) - 512, 1024), ((1 << 64) - 1, 1)):
        expect(nbd.EINVAL, nbd.READ, offset, length)
        expect(nbd.EINVAL, nbd.TRIM, offset, length)
        expect(nbd.EINVAL, nbd.CACHE, offset, length)
        expect(nbd.ENOSPC, nbd.WRITE_ZEROES, offset, length)
        expect(nbd.ENOSPC, nbd.WRITE, offset, length, payload=b"p" * length)
    expect(nbd.EINVAL, nbd.FLUSH, 512, 0)
    expect(nbd.EINVAL, nbd.FLUSH, 0, 512)
    for command in (8, 99, 65535):
        expect(nbd.EINVAL, command)
    # Flags: unknown, or of another command; the payload of a write is consumed all the same.
    expect(nbd.EINVAL, nbd.WRITE, 0, 4096, 0x8000, b"q" * 4096)
    expect(nbd.EINVAL, nbd.WRITE, 0, 4096, nbd.FAST_ZERO, b"q" * 4096)
    expect(nbd.EINVAL, nbd.READ, 0, 4096, nbd.NO_HOLE)
    expect(nbd.EINVAL, nbd.TRIM, 0, 4096, nbd.REQ_ONE)
    expect(nbd.EINVAL, nbd.CACHE, 0, 4096, nbd.NO_HOLE)
    if not structured:
        expect(nbd.EINVAL, nbd.READ, 0, 4096, nbd.DF, text="DF was not negotiated")
    # FUA goes with everything.
    for command in (nbd.READ, nbd.TRIM, nbd.CACHE, nbd.WRITE_ZEROES):
        expect(0, command, 16384, 4096, nbd.FUA)
    expect(0, nbd.WRITE, 16384, 4096, nbd.FUA, b"f" * 4096)
    expect(0, nbd.FLUSH, 0, 0, nbd.FUA)
    # Nothing at all: unspecified, but no reason to leave. Not at the end either.
    for command in (nbd.READ, nbd.WRITE, nbd.TRIM, nbd.WRITE_ZEROES, nbd.CACHE):
        for offset in (0, size):
            expect((0, nbd.EINVAL, nbd.ENOSPC), command, offset, 0)
    # No payload: longer than 32 MiB is no offence. A read of 2 GiB is past the end here.
    expect(nbd.EINVAL, nbd.READ, 0, 0x80000000)
    expect(nbd.EINVAL, nbd.TRIM, 0, 0xFFFFFFFF)
    # 32 MiB of payload is no attack, even where it does not fit.
    expect(nbd.ENOSPC, nbd.WRITE, 0, 32 << 20, payload=bytes(32 << 20))
    nbd.check(client.read(0, 8192) == b"w" * 8192, "a refused request changed the contents")
    nbd.check(client.read(16384, 4096) == b"f" * 4096, "a write with FUA is lost")
    client.disconnect()
PY
serve disk --memory 16M
python3 "$WORK/errors.py" "$SOCKET"
stop_server

truncate -s 16M "$DATA/ro.img"
serve ro --file "$DATA/ro.img" --read-only
python3 - "$SOCKET" <<'PY'
import sys, nbd
client = nbd.Client(sys.argv[1])
nbd.check(client.flags & nbd.READ_ONLY, "READ_ONLY is not set")
nbd.check(client.request(nbd.WRITE, 0, 4096, 0, b"x" * 4096)[0] == nbd.EPERM, "WRITE: not EPERM")
nbd.check(client.request(nbd.TRIM, 0, 4096)[0] == nbd.EPERM, "TRIM: not EPERM")
nbd.check(client.request(nbd.WRITE_ZEROES, 0, 4096)[0] == nbd.EPERM, "WRITE_ZEROES: not EPERM")
nbd.check(client.read(0, 4096) == bytes(4096), "the contents changed")
PY
stop_server
