#!/usr/bin/env python3
"""Writes numbers in order to a primary, and reads them from its replica meanwhile.

usage: read-prefix.py PRIMARY-SOCKET NAME REPLICA-SOCKET NAME SECONDS OFFSET

Number n goes to block n modulo 8, each write acknowledged before the next begins. A reader that takes
the blocks from the last written to the first sees a prefix at each moment (docs/replication.md, section
6): what it reads later is never older than what a read before it implies. Prints counts as JSON.
"""

import json
import struct
import sys
import threading
import time

from nbd import Client, check

BLOCKS, SIZE = 8, 4096


def main():
    primary, primary_name, replica, replica_name = sys.argv[1:5]
    seconds, offset = float(sys.argv[5]), int(sys.argv[6])
    writer, reader = Client(primary, name=primary_name), Client(replica, name=replica_name)
    written, failures = [0], []

    def write():
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                number = written[0] + 1
                writer.write(offset + number % BLOCKS * SIZE, struct.pack("<Q", number) * (SIZE // 8))
                written[0] = number
        except Exception as error:  # the main thread says so
            failures.append(f"the writer: {error!r}")

    for block in range(BLOCKS):
        writer.write(offset + block * SIZE, bytes(SIZE))
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    reads = changes = newest = 0
    while thread.is_alive():
        # The newest number seen so far bounds from below what every block holds by now.
        for step in range(BLOCKS):
            block = (newest - step) % BLOCKS
            data = reader.read(offset + block * SIZE, SIZE)
            numbers = set(struct.unpack(f"<{SIZE // 8}Q", data))
            check(len(numbers) == 1, f"block {block} is torn: {sorted(numbers)[:4]}")
            number = numbers.pop()
            check(number == 0 or number % BLOCKS == block, f"block {block} holds {number}")
            floor = newest - (newest - block) % BLOCKS
            check(number >= floor, f"{number} in block {block}, but {newest} was there before: not a prefix")
            changes += number > newest
            newest = max(newest, number)
            reads += 1
    thread.join()
    check(not failures, "; ".join(failures))
    check(changes > 10, f"the replica showed {changes} changes: that proves nothing")
    print(json.dumps({"written": written[0], "reads": reads, "newest": newest, "changes": changes}))


main()
