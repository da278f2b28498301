"""Arrays on files: made, served, asked, killed; and a client that writes one block at a time."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from . import processes
from .processes import Failure

START_SECONDS = 120
MAGIC_OPTION, MAGIC_REQUEST, MAGIC_REPLY = 0x49484156454F5054, 0x25609513, 0x67446698
WRITE, DISCONNECT, FLUSH, FUA = 1, 2, 3, 1


class ArrayBench:
    """A scratch folder with one array at a time; leaves nothing behind."""

    def __init__(self, ashlar, folder, prefix=()):
        self.ashlar, self.parent = str(ashlar), folder
        self.prefix = prefix
        self.server = self.scratch = self.run = None

    def __enter__(self):
        self.parent.mkdir(parents=True, exist_ok=True)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="array.", dir=self.parent))
        self.data = self.scratch / "members"
        self.data.mkdir()
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="ashlar."))
        self.environment = {
            "ASHLAR_RUNTIME_DIR": str(self.run), "ASHLAR_STATE_DIR": str(self.run)}
        return self

    def __exit__(self, kind, *_):
        handlers = processes.ignore_signals()
        self.kill()
        # Why a run failed is in the server's words, which go with the folder.
        path = self.data / "log"
        if kind and path.exists():
            print(path.read_text(errors="replace")[-2000:], file=sys.stderr, flush=True)
        for folder in (self.scratch, self.run):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        processes.restore_signals(handlers)

    # Making and serving

    def create(self, level, member_count, size, *options, prepare=None):
        """Makes array `a` of new sparse files; returns the seconds that took.

        `prepare` makes each member's file beforehand, where sparse ones will not do.
        """
        self.kill()
        # The files of the one before, and what is remembered of it.
        for folder in (self.data, self.run):
            for path in folder.iterdir():
                path.unlink()
        self.members = [self.data / f"m{index}" for index in range(member_count)]
        for member in self.members if prepare else []:
            prepare(member)
        start = time.monotonic()
        result = subprocess.run(
            [self.ashlar, "create", "a", "--level", level, "--size", size, *options,
             *self.members], env={**os.environ, **self.environment}, capture_output=True,
            text=True, stdin=subprocess.DEVNULL, check=False)
        if result.returncode:
            raise Failure(f"ashlar create: {result.stderr}")
        return time.monotonic() - start

    def serve(self, *options):
        """Starts the array; returns the seconds from the start of the program to its answer."""
        self.log = (self.data / "log").open("ab")
        start = time.monotonic()
        self.server = processes.start(
            [*self.prefix, self.ashlar, "serve", *self.members, *options], self.data, output=self.log,
            environment=self.environment)
        while time.monotonic() - start < START_SECONDS:
            try:
                self.status()
                return time.monotonic() - start
            except (OSError, ValueError):
                pass
            if self.server.poll() is not None:
                break
            time.sleep(0.002)
        self.kill()
        raise Failure(f"the array does not start: {(self.data / 'log').read_text()[-2000:]}")

    def status(self):
        """What the server says of itself."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(START_SECONDS)
            link.connect(str(self.run / "a.control"))
            link.sendall(b'{"version":1,"command":"status"}\n')
            with link.makefile("rb") as stream:
                return json.loads(stream.readline())["status"]

    def process_kib(self, name):
        """A figure of the server's /proc/PID/status, in KiB."""
        for line in pathlib.Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise Failure(f"/proc/PID/status has no {name}")

    def stop(self):
        """Ends the server in good order."""
        if self.server:
            self.server.terminate()
            if self.server.wait(START_SECONDS):
                raise Failure("the server failed at its end")
            self._forget()

    def kill(self):
        """Ends the server as a crash does."""
        if self.server:
            self.server.kill()
            self.server.wait()
            self._forget()

    def _forget(self):
        self.server = None
        self.log.close()

    # Counting

    def operations(self):
        """Reads, writes and flushes of all members since the start."""
        members = self.status()["array"]["members"]
        return tuple(sum(member[kind]["count"] for member in members)
                     for kind in ("read", "write", "flush"))

    def wait_for_home(self, seconds=120):
        """Until the log is empty and nothing moves any more."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            log = self.status()["array"]["log"]
            now = log["fill_bytes"], log["dirty_bytes"], self.operations()
            if now == last and not log["dirty_bytes"] and log["checkpoint"] + 1 >= log["last"]:
                return
            last = now
            time.sleep(0.25)
        raise Failure("the array does not come to rest")

    @property
    def uri(self):
        """For fio."""
        return f"nbd+unix:///a?socket={self.run / 'a.sock'}"

    def connect(self):
        """A client."""
        return BlockClient(self.run / "a.sock")


class BlockClient:
    """Writes one block at a time over NBD, and waits for each."""

    def __init__(self, path, export="a"):
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(60)
        self.link.connect(str(path))
        self._receive(18)
        # Fixed newstyle, no zeros; then EXPORT_NAME, which the server answers with the export.
        self.link.sendall(struct.pack(">IQII", 3, MAGIC_OPTION, 1, len(export)) + export.encode())
        self.size, _ = struct.unpack(">QH", self._receive(10))

    def close(self):
        """Says good-bye."""
        self.link.sendall(struct.pack(">IHHQQI", MAGIC_REQUEST, 0, DISCONNECT, 0, 0, 0))
        self.link.close()

    def write(self, offset, data):
        """One write."""
        self._request(WRITE, 0, offset, data)

    def write_durably(self, offset, data):
        """One write with FUA."""
        self._request(WRITE, FUA, offset, data)

    def flush(self):
        """One flush."""
        self._request(FLUSH, 0, 0, b"")

    def _request(self, kind, flags, offset, data):
        self.link.sendall(
            struct.pack(">IHHQQI", MAGIC_REQUEST, flags, kind, 0, offset, len(data)) + data)
        magic, error, _ = struct.unpack(">IIQ", self._receive(16))
        if magic != MAGIC_REPLY or error:
            raise Failure(f"the server answers a request with error {error}")

    def _receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.link.recv(count - len(data))
            if not piece:
                raise Failure("the server has closed the connection")
            data += piece
        return data
