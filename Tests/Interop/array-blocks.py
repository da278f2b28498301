#!/usr/bin/env python3
"""An array whose every block is known, and where its blocks lie.

  array-blocks.py fill    --socket S --name N        writes blocks that tell their number, and flushes
  array-blocks.py verify  --socket S --name N [--lost F]     reads all: right, or EIO for those in F
  array-blocks.py rewrite --socket S --name N --lost F       writes those in F again
  array-blocks.py meet    --socket S --name N --level L --members M --hit SLOT:FILE...   reads what was hit
  array-blocks.py expect  --level L --members M --hit SLOT:FILE...   how many blocks reads will have healed
  array-blocks.py ruin    --level L --members M --member=PATH...     damages rows beyond redundancy

Two thirds of the device are filled. FILE is what damage-member.py printed; `ruin` prints the blocks of
the array that are lost. The layouts are written here once more, from docs/formats.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import random
import struct
import sys

import nbd

BLOCK, CHUNK = 4096, 16
RUN = 64


def load_damage():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "damage-member.py")
    spec = importlib.util.spec_from_file_location("damage_member", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content(block):
    head = struct.pack("<Q", block)
    return (head + hashlib.blake2b(head, digest_size=56).digest()) * (BLOCK // 64)


def filled(size):
    return size // BLOCK * 2 // 3


class Layout:
    """Which block of the array lies where, for chunks of 64 KiB."""

    def __init__(self, level, members):
        self.level, self.members = level, members
        self.parity = {"raid5": 1, "raid6": 2}.get(level, 0)

    def row(self, slot, block):
        """The row of a member's block, and its position there: data first."""
        chunk, offset = divmod(block, CHUNK)
        if self.level == "raid1":
            return block, slot
        if self.level == "raid10":
            number, copy = divmod(chunk * self.members + slot, 2)
            return number * CHUNK + offset, copy
        # Left-symmetric: P moves down from the last member, Q and then the data follow it.
        place = (self.members - 1) - chunk % self.members
        step = (slot - place) % self.members
        data = self.members - self.parity
        return block, data + step if step < self.parity else step - self.parity

    def place(self, row, position):
        """Slot and member block: the other way round."""
        for slot in range(self.members):
            if self.level == "raid10":
                number, offset = divmod(row, CHUNK)
                chunk, slot = divmod(number * 2 + position, self.members)
                return slot, chunk * CHUNK + offset
            if self.row(slot, row)[1] == position:
                return slot, row
        raise AssertionError

    def is_data(self, position):
        return self.parity == 0 or position < self.members - self.parity

    def block(self, row, position):
        """The array's block."""
        if self.parity == 0:
            return row
        chunk, offset = divmod(row, CHUNK)
        data = self.members - self.parity
        return (chunk * data + position) * CHUNK + offset

    def width(self):
        return {"raid1": self.members, "raid10": 2}.get(self.level, self.members)


def fill(options):
    client = nbd.Client(options.socket, options.name, timeout=60)
    count = filled(client.size)
    for start in range(0, count, RUN):
        blocks = range(start, min(start + RUN, count))
        client.write(start * BLOCK, b"".join(content(block) for block in blocks))
    client.flush()
    client.disconnect()


def verify(options):
    client = nbd.Client(options.socket, options.name, timeout=60)
    lost = set(read_lost(options))
    count, failed, wrong = filled(client.size), set(), []
    for start in range(0, client.size // BLOCK, RUN):
        blocks = range(start, min(start + RUN, client.size // BLOCK))
        try:
            data = client.read(start * BLOCK, len(blocks) * BLOCK)
            parts = [data[index * BLOCK : (index + 1) * BLOCK] for index in range(len(blocks))]
        except nbd.Refused:
            parts = []
            for block in blocks:
                try:
                    parts.append(client.read(block * BLOCK, BLOCK))
                except nbd.Refused as error:
                    nbd.check(error.code == nbd.EIO, f"block {block}: errno {error.code}, not EIO")
                    failed.add(block)
                    parts.append(None)
        for block, part in zip(blocks, parts):
            if part is not None and part != (content(block) if block < count else bytes(BLOCK)):
                wrong.append(block)
    nbd.check(not wrong, f"{len(wrong)} blocks are wrong, the first is {wrong[:1]}")
    nbd.check(failed == lost, f"EIO and not lost: {sorted(failed - lost)[:9]}; lost and not EIO: {sorted(lost - failed)[:9]}")
    client.disconnect()


def read_lost(options):
    if not options.lost:
        return []
    with open(options.lost, encoding="ascii") as file:
        return json.load(file)


def rewrite(options):
    client = nbd.Client(options.socket, options.name, timeout=60)
    for block in read_lost(options):
        client.write(block * BLOCK, content(block))
    client.flush()
    client.disconnect()


def hit_rows(options, layout):
    """The positions that were damaged, by row."""
    rows = {}
    for hit in options.hit:
        slot, path = hit.split(":", 1)
        with open(path, encoding="ascii") as file:
            for block in json.load(file)["data"]:
                row, position = layout.row(int(slot), block)
                rows.setdefault(row, []).append(position)
    return rows


def expect(options):
    """A read that meets one bad block has its whole row looked at; parity alone is met by no read."""
    layout = Layout(options.level, options.members)
    rows = hit_rows(options, layout).values()
    print(sum(len(positions) for positions in rows if any(layout.is_data(each) for each in positions)))


def meet(options):
    """Reads the damaged blocks one by one, many at once in random order: of a mirror it is chance which
    copy a read goes to, and only what is read is met."""
    layout = Layout(options.level, options.members)
    blocks = []
    for row, positions in hit_rows(options, layout).items():
        data = {0} if layout.parity == 0 else {each for each in positions if layout.is_data(each)}
        blocks += [layout.block(row, position) for position in data]
    client = nbd.Client(options.socket, options.name, timeout=60)
    random.shuffle(blocks)
    for start in range(0, len(blocks), 16):
        flying = {client.submit(nbd.READ, block * BLOCK, BLOCK): block for block in blocks[start : start + 16]}
        while flying:
            cookie, error, found, _ = client.reply({each: BLOCK for each in flying})
            block = flying.pop(cookie)
            nbd.check(not error, f"block {block}: errno {error}")
            nbd.check(found[None] == content(block), f"block {block} is wrong")
    client.disconnect()


def ruin(options):
    damage = load_damage()
    members = [damage.Member(path) for path in options.member]
    first, end = damage.regions(members[0])["data"]
    layout = Layout(options.level, options.members)
    redundancy = {"raid1": options.members - 1, "raid6": 2}.get(options.level, 1)
    dice, lost = random.Random(1), []
    written = [row for row in range(end - first) if not members[0].is_hole(first + row)]
    if options.level == "raid10":
        written = [layout.row(0, row)[0] for row in written]
    for row in dice.sample(written, 12):
        hit = []
        for position in dice.sample(range(layout.width()), redundancy + 1):
            slot, block = layout.place(row, position)
            member = members[slot]
            if member.is_hole(first + block):
                continue
            member.write(first + block, dice.randbytes(BLOCK))
            hit.append(position)
        if len(hit) > redundancy:
            data = {0} if layout.parity == 0 else {each for each in hit if layout.is_data(each)}
            lost += [layout.block(row, position) for position in data]
    print(json.dumps(sorted(lost)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("fill", "verify", "rewrite", "meet", "expect", "ruin"))
    parser.add_argument("--socket")
    parser.add_argument("--name", default="")
    parser.add_argument("--lost")
    parser.add_argument("--level")
    parser.add_argument("--members", type=int)
    parser.add_argument("--hit", action="append", default=[])
    parser.add_argument("--member", action="append", default=[])
    options = parser.parse_args()
    globals()[options.action](options)


if __name__ == "__main__":
    sys.exit(main())
