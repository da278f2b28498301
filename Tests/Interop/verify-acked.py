#!/usr/bin/env python3
"""Writes over NBD, remembers what was acknowledged, and later demands it back.

  verify-acked.py load  --socket S --name N --state F --seconds T [--writers 4] [--depth 8]
  verify-acked.py check --socket S --name N --state F [--errors-allowed]

`load` writes 1 to 16 blocks of 4 KiB at random places, many at once, with a flush or FUA now and
then, and reads some back, until the time is up or the connection is lost; then it saves, for each
block, the last acknowledged version and the versions whose outcome is open (not answered, or
answered with an error). Each sector of 512 bytes tells its block, version and index, so that old,
foreign and torn contents are told apart.

`check` reads every block: each sector must be the acknowledged version or one that is open. What it
finds becomes the block's version: an open write may not appear, vanish and appear again. With
--errors-allowed a read may fail, but never return anything else.

Both print one JSON line and end with 0, or with 1 when something acknowledged is wrong.
"""

import argparse
import collections
import hashlib
import json
import pickle
import random
import struct
import sys
import threading
import time

import nbd

BLOCK, SECTOR = 4096, 512
SHOWN_MAX, RUN_MAX = 10, 64


def block_bytes(block, version):
    """The contents of a block; version 0 is what was never written."""
    if version == 0:
        return bytes(BLOCK)
    parts = []
    for index in range(BLOCK // SECTOR):
        head = struct.pack("<QIHH", block, version, index, 0xAC4D)
        parts.append(head + (hashlib.blake2b(head, digest_size=62).digest() * 8))
    return b"".join(parts)


def sector_name(data):
    """What a sector says of itself, for a report."""
    if data == bytes(SECTOR):
        return "zeros"
    block, version, index, mark = struct.unpack("<QIHH", data[:16])
    return f"block {block} version {version} sector {index}" if mark == 0xAC4D else "foreign bytes"


class Book:
    """What each block may hold. Blocks are owned by one writer each, so there is no lock."""

    def __init__(self, block_count):
        self.block_count = block_count
        self.acknowledged = {}
        self.open = collections.defaultdict(list)
        self.sequence = 0
        self.problems = []

    def judge(self, block, data):
        """Compares a block with what it may hold; returns its version, or None when it is torn
        between legal versions or wrong."""
        versions = [self.acknowledged.get(block, 0), *self.open.get(block, ())]
        candidates = [block_bytes(block, version) for version in versions]
        for version, candidate in zip(versions, candidates):
            if data == candidate:
                return version
        for start in range(0, BLOCK, SECTOR):
            sector = data[start : start + SECTOR]
            if all(sector != candidate[start : start + SECTOR] for candidate in candidates):
                self.problems.append(
                    f"block {block} sector {start // SECTOR}: acknowledged version {versions[0]}, "
                    f"open {versions[1:]}, found {sector_name(sector)}"
                )
                break
        return None


class Writer(threading.Thread):
    """One connection, `depth` requests in flight, its own part of the device."""

    def __init__(self, options, book, index, sequence):
        super().__init__(daemon=True)
        self.options, self.book, self.index = options, book, index
        share = book.block_count // options.writers
        self.first, self.end = index * share, (index + 1) * share
        self.sequence = sequence
        self.random = random.Random(options.seed * 1000 + index)
        self.busy = set()
        self.flying = {}
        self.counts = collections.Counter()
        self.failure = None

    def run(self):
        try:
            client = nbd.Client(self.options.socket, self.options.name, timeout=self.options.patience)
            deadline = time.monotonic() + self.options.seconds
            while time.monotonic() < deadline:
                while len(self.flying) < self.options.depth:
                    self.submit(client)
                self.complete(client)
            while self.flying:
                self.complete(client)
            client.disconnect()
        except (nbd.Closed, ConnectionError, FileNotFoundError):
            self.counts["lost"] += 1
        except TimeoutError:
            self.failure = f"no reply for {self.options.patience} s"
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = f"{type(error).__name__}: {error}"

    def submit(self, client):
        roll = self.random.random()
        if roll < 0.02:
            self.flying[client.submit(nbd.FLUSH)] = ("flush", 0, 0, 0)
            return
        count = self.random.choice((1, 1, 1, 1, 2, 4, 16))
        start = self.random.randrange(self.first, self.end - count)
        blocks = range(start, start + count)
        if any(block in self.busy for block in blocks):
            return
        self.busy.update(blocks)
        if roll < 0.15:
            cookie = client.submit(nbd.READ, start * BLOCK, count * BLOCK)
            self.flying[cookie] = ("read", start, count, 0)
            return
        self.sequence += 1
        for block in blocks:
            self.book.open[block].append(self.sequence)
        payload = b"".join(block_bytes(block, self.sequence) for block in blocks)
        # Noted before it is sent: a connection that breaks while sending leaves it open.
        cookie = client.next_cookie
        self.flying[cookie] = ("write", start, count, self.sequence)
        flags = nbd.FUA if roll > 0.97 else 0
        client.submit(nbd.WRITE, start * BLOCK, len(payload), flags, payload)

    def complete(self, client):
        if not self.flying:
            return
        lengths = {cookie: entry[2] * BLOCK for cookie, entry in self.flying.items() if entry[0] == "read"}
        cookie, error, content, _ = client.reply(lengths)
        nbd.check(cookie in self.flying, f"a reply for cookie {cookie}, which is not in flight")
        kind, start, count, version = self.flying.pop(cookie)
        blocks = range(start, start + count)
        self.busy.difference_update(blocks)
        if error:
            self.counts[f"{kind}-errno-{error}"] += 1
            return
        self.counts[kind] += 1
        if kind == "write" and self.options.started:
            with open(self.options.started, "w", encoding="ascii"):
                pass
            self.options.started = None
        if kind == "write":
            for block in blocks:
                self.book.acknowledged[block] = version
                self.book.open.pop(block, None)
            self.counts["blocks"] += count
        elif kind == "read":
            for index, block in enumerate(blocks):
                self.book.judge(block, content[None][index * BLOCK : (index + 1) * BLOCK])


def finish(book, options, counts):
    with open(options.state, "wb") as state:
        pickle.dump((book.block_count, book.acknowledged, dict(book.open), book.sequence), state)
    for problem in book.problems[:SHOWN_MAX]:
        print(f"FAIL: {problem}", file=sys.stderr)
    if len(book.problems) > SHOWN_MAX:
        print(f"FAIL: and {len(book.problems) - SHOWN_MAX} more", file=sys.stderr)
    counts["problems"] = len(book.problems)
    print(json.dumps(counts, sort_keys=True))
    return 1 if book.problems else 0


def read_book(options, size):
    book = Book(size // BLOCK)
    try:
        with open(options.state, "rb") as state:
            block_count, book.acknowledged, still_open, book.sequence = pickle.load(state)
    except FileNotFoundError:
        return book
    book.open.update(still_open)
    book.block_count = block_count
    return book


def load(options):
    with_size = nbd.Client(options.socket, options.name, timeout=options.patience)
    book = read_book(options, with_size.size)
    with_size.disconnect()
    # Each writer numbers its own blocks, so equal numbers of two writers do not meet.
    writers = [Writer(options, book, index, book.sequence) for index in range(options.writers)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    book.sequence = max(writer.sequence for writer in writers)
    counts = sum((writer.counts for writer in writers), collections.Counter())
    book.problems += [f"writer {writer.index}: {writer.failure}" for writer in writers if writer.failure]
    return finish(book, options, counts)


def contents(client, blocks):
    """Each block with its bytes, or None for a read error. Neighbours are read together."""
    index = 0
    while index < len(blocks):
        count = 1
        while count < RUN_MAX and index + count < len(blocks) and blocks[index + count] == blocks[index] + count:
            count += 1
        try:
            data = client.read(blocks[index] * BLOCK, count * BLOCK)
            yield from ((blocks[index] + each, data[each * BLOCK : (each + 1) * BLOCK]) for each in range(count))
        except nbd.Refused:
            for block in blocks[index : index + count]:
                try:
                    yield block, client.read(block * BLOCK, BLOCK)
                except nbd.Refused:
                    yield block, None
        index += count


def check(options):
    client = nbd.Client(options.socket, options.name, timeout=options.patience)
    book = read_book(options, client.size)
    counts = collections.Counter()
    for block, data in contents(client, sorted(set(book.acknowledged) | set(book.open))):
        if data is None:
            counts["read-errors"] += 1
            if not options.errors_allowed:
                book.problems.append(f"block {block}: read error")
            continue
        version = book.judge(block, data)
        counts["blocks"] += 1
        if version is not None:
            counts["open-applied"] += version != book.acknowledged.get(block, 0)
            book.acknowledged[block] = version
            book.open.pop(block, None)
        else:
            counts["torn-or-wrong"] += 1
    client.disconnect()
    return finish(book, options, counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("load", "check"))
    parser.add_argument("--socket", required=True)
    parser.add_argument("--name", default="")
    parser.add_argument("--state", required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--patience", type=float, default=20, help="seconds without a reply that fail")
    parser.add_argument("--started", help="a file to create when the first write has been acknowledged")
    parser.add_argument("--errors-allowed", action="store_true")
    options = parser.parse_args()
    sys.exit(load(options) if options.action == "load" else check(options))


if __name__ == "__main__":
    main()
