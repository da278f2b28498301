#!/usr/bin/env python3
"""Damages a member of an array in place, by direct I/O, so that whoever serves it sees it at once.

  damage-member.py MEMBER REGION... [--count 40] [--seed N]

REGION is data, table, log, map, a or b (the superblocks). In each, `count` blocks at random places get
16 random bytes, are filled with random bytes, or get the bytes of another block of the region. With
--written only blocks that are not holes are taken. Prints the seed and the blocks hit of each region,
as JSON; data blocks are counted from the start of the data region.
"""

import argparse
import json
import mmap
import os
import random
import struct
import time

BLOCK = 4096


def regions(member):
    """Where the regions lie, from the superblock: docs/formats/superblock.md."""
    for copy in (0, 1):
        head = member.read(copy)
        if head[:8] == b"ASHLARSB":
            fields = struct.unpack_from("<7Q", head, 80)
            log, log_bytes, table, table_bytes, page_map, map_bytes, data = fields
            return {
                "a": (0, 1),
                "b": (1, 2),
                "log": (log // BLOCK, (log + log_bytes) // BLOCK),
                "table": (table // BLOCK, (table + table_bytes) // BLOCK),
                "map": (page_map // BLOCK, (page_map + map_bytes) // BLOCK),
                "data": (data // BLOCK, os.stat(member.path).st_size // BLOCK),
            }
    raise SystemExit("FAIL: no superblock to go by")


class Member:
    """A file's blocks, past the page cache."""

    def __init__(self, path):
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.memory = mmap.mmap(-1, BLOCK)

    def read(self, block):
        if os.preadv(self.file, [self.memory], block * BLOCK) != BLOCK:
            return bytes(BLOCK)
        return bytes(self.memory)

    def write(self, block, content):
        self.memory[:] = content
        os.pwritev(self.file, [self.memory], block * BLOCK)

    def is_hole(self, block):
        try:
            return os.lseek(self.file, block * BLOCK, os.SEEK_DATA) >= (block + 1) * BLOCK
        except OSError:
            return True


def damaged(member, old, first, end, dice):
    """Other bytes than `old`."""
    while True:
        kind = dice.randrange(3)
        if kind == 0:
            start = dice.randrange(BLOCK - 16)
            new = old[:start] + dice.randbytes(16) + old[start + 16 :]
        elif kind == 1:
            new = dice.randbytes(BLOCK)
        else:
            new = member.read(dice.randrange(first, end))
        if new != old:
            return new


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("member")
    parser.add_argument("regions", nargs="+")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--written", action="store_true")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    member = Member(options.member)
    found = regions(member)
    hit = {"seed": options.seed}
    for name in options.regions:
        first, end = found[name]
        places = [block for block in range(first, end) if not options.written or not member.is_hole(block)]
        places = sorted(dice.sample(places, min(options.count, len(places))))
        for block in places:
            member.write(block, damaged(member, member.read(block), first, end, dice))
        hit[name] = [block - first for block in places]
    print(json.dumps(hit))


if __name__ == "__main__":
    main()
