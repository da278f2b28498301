#!/usr/bin/env bash
# CAN_MULTI_CONN: what was answered on one connection is what every other connection reads, without
# a flush, also for overlapping and unaligned writes, trims and zeroes. Checklist 41.
. "$(dirname "$0")/lib.sh"

visible() {
  python3 - "$SOCKET" <<'PY'
import random, sys, nbd
clients = [nbd.Client(sys.argv[1], structured=index % 2 == 0) for index in range(8)]
nbd.check(all(client.flags >> 8 & 1 for client in clients), "CAN_MULTI_CONN is not set")
dice = random.Random(5)
model = bytearray(1 << 20)
for turn in range(3000):
    writer, reader = dice.sample(clients, 2)
    offset = dice.randrange(len(model) - 70000)
    length = dice.choice((1, 511, 512, 4096, 5000, 65536))
    if turn % 10 == 9:
        error = writer.request(nbd.WRITE_ZEROES, offset, length, dice.choice((0, nbd.NO_HOLE)))[0]
        nbd.check(error == 0, f"errno {error}")
        model[offset : offset + length] = bytes(length)
    else:
        data = dice.randbytes(length)
        writer.write(offset, data)
        model[offset : offset + length] = data
    start = max(0, offset - 1000)
    nbd.check(reader.read(start, length + 2000) == model[start : start + length + 2000], f"turn {turn}: another connection reads something else")
PY
}
for_each_device 4M visible
