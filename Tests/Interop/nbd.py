"""A small NBD client for tests that say what well-behaved clients never would.

Blocking sockets with a timeout, no dependency beyond Python 3. Names and numbers are those of the
NBD protocol. `Client(address)` negotiates and can then read, write and flush; `RawConnection` does
nothing by itself.
"""

import os
import socket
import struct
import sys
import time

GREETING, OPTION_MAGIC, OPTION_REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF

FIXED_NEWSTYLE, NO_ZEROES = 1, 2
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META = 1, 2, 3, 5, 6, 7, 8, 9, 10
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR = 1 << 31
ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_UNKNOWN, ERR_TOO_BIG = ERR + 1, ERR + 2, ERR + 3, ERR + 6, ERR + 9
ERR_SHUTDOWN = ERR + 7

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA = 1, 2, 4, 8

CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_ERROR, CHUNK_ERROR_OFFSET = 0, 1, 2, 5, 32769, 32770
DONE = 1

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108
WIRE_ERRORS = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN}

MIB = 1 << 20


class Closed(Exception):
    """The server closed or reset the connection."""


class Refused(Exception):
    """The server answered an option with an error, or a request with an errno."""

    def __init__(self, code, what=""):
        super().__init__(f"{what}: error {code & 0x7FFFFFFF}")
        self.code = code


def check(condition, text):
    """Ends the program with a verdict unless `condition` holds."""
    if not condition:
        print(f"FAIL: {text}", file=sys.stderr)
        sys.exit(1)


def open_socket(address, timeout=20.0):
    """Connects to `/path/of/a.sock` or `HOST:PORT`."""
    if address.startswith("/"):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout)
        link.connect(address)
    else:
        host, port = address.rsplit(":", 1)
        link = socket.create_connection((host.strip("[]"), int(port)), timeout)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


class RawConnection:
    """Bytes to and from a server, and the framing of options and requests. Decides nothing."""

    def __init__(self, address, timeout=20.0):
        self.socket = open_socket(address, timeout)
        self.structured = False
        self.size = self.flags = None

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed() from error

    def receive(self, count):
        """Exactly `count` bytes, or `Closed`."""
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self.socket.recv(min(count - len(parts), MIB))
            except ConnectionResetError as error:
                raise Closed() from error
            if not part:
                raise Closed()
            parts += part
        return bytes(parts)

    def is_closed(self, within=10.0):
        """True when the server ends the connection in time; what it says before is dropped."""
        self.socket.settimeout(within)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.socket.close()

    # --- Handshake

    def greet(self, flags=FIXED_NEWSTYLE | NO_ZEROES):
        """Reads the greeting, answers with `flags` (None: not at all), returns the server's flags."""
        check(self.receive(8) == GREETING and self.receive(8) == OPTION_MAGIC, "wrong greeting")
        offered = struct.unpack(">H", self.receive(2))[0]
        if flags is not None:
            self.send(struct.pack(">I", flags))
        return offered

    @staticmethod
    def option_bytes(option, data=b"", length=None, magic=OPTION_MAGIC):
        return magic + struct.pack(">II", option, len(data) if length is None else length) + data

    def option_reply(self):
        """One option reply: (option, type, data)."""
        magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
        check(magic == OPTION_REPLY_MAGIC, "wrong option reply magic")
        check(length <= 65536, f"option reply of {length} bytes")
        return option, kind, self.receive(length)

    def option(self, option, data=b""):
        """Sends an option; returns all its replies as (type, data), the last one ACK or an error."""
        self.send(self.option_bytes(option, data))
        return self.option_replies(option)

    def option_replies(self, option):
        replies = []
        while True:
            answered, kind, data = self.option_reply()
            check(answered == option, f"reply for option {answered}, not {option}")
            replies.append((kind, data))
            if kind == REP_ACK or kind & ERR:
                return replies

    @staticmethod
    def name_bytes(name, infos=()):
        """The data of INFO and GO."""
        raw = name.encode()
        return struct.pack(">I", len(raw)) + raw + struct.pack(f">H{len(infos)}H", len(infos), *infos)

    @staticmethod
    def query_bytes(name, queries):
        """The data of LIST_META and SET_META."""
        raw = name.encode()
        data = struct.pack(">I", len(raw)) + raw + struct.pack(">I", len(queries))
        for query in queries:
            data += struct.pack(">I", len(query)) + query.encode()
        return data

    def go(self, name=""):
        """Enters transmission by GO."""
        replies = self.option(GO, self.name_bytes(name))
        if replies[-1][0] != REP_ACK:
            raise Refused(replies[-1][0], "GO")
        for kind, data in replies:
            if kind == REP_INFO and struct.unpack(">H", data[:2])[0] == 0:
                self.size, self.flags = struct.unpack(">QH", data[2:])
        check(self.size is not None, "GO without INFO_EXPORT")

    # --- Transmission

    @staticmethod
    def request_bytes(command, cookie, offset=0, length=0, flags=0, payload=b"", magic=REQUEST_MAGIC):
        return struct.pack(">IHHQQI", magic, flags, command, cookie, offset, length) + payload

    def reply(self, lengths=None):
        """One whole reply: (cookie, errno, {offset: bytes or hole length}, [status extents]).

        `lengths` maps the cookies of reads to their lengths; only simple replies need it.
        """
        content, extents, error = {}, [], 0
        while True:
            magic = struct.unpack(">I", self.receive(4))[0]
            if magic == SIMPLE_MAGIC:
                error, cookie = struct.unpack(">IQ", self.receive(12))
                if error == 0 and lengths and cookie in lengths:
                    check(not self.structured, "a simple reply to a structured READ")
                    content[None] = self.receive(lengths[cookie])
                return cookie, error, content, extents
            check(magic == CHUNK_MAGIC and self.structured, f"wrong reply magic {magic:#x}")
            flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
            check(length <= 33 * MIB, f"chunk of {length} bytes")
            data = self.receive(length)
            if kind == CHUNK_DATA:
                check(length >= 9, "OFFSET_DATA without data")
                content[struct.unpack(">Q", data[:8])[0]] = data[8:]
            elif kind == CHUNK_HOLE:
                check(length == 12, "OFFSET_HOLE of a wrong length")
                offset, count = struct.unpack(">QI", data)
                check(count > 0, "an empty hole")
                content[offset] = count
            elif kind == CHUNK_STATUS:
                check(length >= 12 and length % 8 == 4, "BLOCK_STATUS of a wrong length")
                context = struct.unpack(">I", data[:4])[0]
                extents.append((context, list(struct.iter_unpack(">II", data[4:]))))
            elif kind & 0x8000:
                check(length >= 6, "ERROR chunk too short")
                error = struct.unpack(">I", data[:4])[0]
                check(error != 0, "ERROR chunk without an error")
            else:
                check(kind == CHUNK_NONE and length == 0 and flags & DONE, f"odd chunk type {kind}")
            if flags & DONE:
                return cookie, error, content, extents


class Client(RawConnection):
    """A negotiated connection with one request at a time, and pipelining by `submit` and `reply`."""

    def __init__(self, address, name="", structured=False, contexts=(), timeout=20.0):
        super().__init__(address, timeout)
        self.greet()
        if structured:
            check(self.option(STRUCTURED_REPLY)[-1][0] == REP_ACK, "no structured replies")
            self.structured = True
        self.contexts = {}
        if contexts:
            for kind, data in self.option(SET_META, self.query_bytes(name, list(contexts))):
                if kind == REP_META:
                    self.contexts[data[4:].decode()] = struct.unpack(">I", data[:4])[0]
        self.go(name)
        self.next_cookie = 1

    def submit(self, command, offset=0, length=0, flags=0, payload=b"", cookie=None):
        if cookie is None:
            cookie, self.next_cookie = self.next_cookie, self.next_cookie + 1
        self.send(self.request_bytes(command, cookie, offset, length, flags, payload))
        return cookie

    def request(self, command, offset=0, length=0, flags=0, payload=b""):
        """Sends one request and waits: (errno, content, extents)."""
        cookie = self.submit(command, offset, length, flags, payload)
        answered, error, content, extents = self.reply({cookie: length} if command == READ else None)
        check(answered == cookie, f"reply for cookie {answered}, not {cookie}")
        check(error == 0 or error in WIRE_ERRORS, f"errno {error} is not for the wire")
        return error, content, extents

    def read(self, offset, length, flags=0):
        error, content, _ = self.request(READ, offset, length, flags)
        if error:
            raise Refused(error, f"read of {length} at {offset}")
        return self.assemble(content, offset, length)

    def assemble(self, content, offset, length):
        """The bytes of a READ; its chunks must cover the request exactly."""
        if not self.structured:
            return content[None] if length else b""
        result, position = bytearray(), offset
        for start in sorted(content):
            part = content[start]
            part = bytes(part) if isinstance(part, int) else part
            check(start == position, f"a chunk at {start}, expected {position}")
            result += part
            position += len(part)
        check(len(result) == length, f"{len(result)} bytes for a read of {length}")
        return bytes(result)

    def write(self, offset, data, flags=0):
        error = self.request(WRITE, offset, len(data), flags, data)[0]
        if error:
            raise Refused(error, f"write of {len(data)} at {offset}")

    def flush(self):
        error = self.request(FLUSH)[0]
        if error:
            raise Refused(error, "flush")

    def disconnect(self):
        try:
            self.send(self.request_bytes(DISC, 0))
        except Closed:
            pass
        self.close()


def status_kib(pid, field="VmRSS"):
    """A field of /proc/PID/status in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise KeyError(field)


def cpu_seconds(pid):
    """CPU time of a process until now."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition, seconds, text):
    """Polls until `condition()` holds; ends the program with a verdict when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{text} (waited {seconds} s)")
        time.sleep(0.02)
