"""A replica that was away while all of a device was written: how fast it is brought up to date."""

import socket
import threading
import time

from . import clients, processes
from .processes import Failure
from .replication import LEVEL, MEMBER_COUNT, Pair
from .session import BLOCK, byte_size
from .workloads import Workload

WORK, BOUND = "catch-up", "bound"
STREAM_BYTES = 1 << 30
FILL = Workload("fill", "fill", "write", "1M", 8, ("--refill_buffers",), latency_of="write")


class CatchUp:
    """A pair of nodes, whose replica is away again and again."""

    def __init__(self, session, size):
        self.session, self.size = session, size
        self.pair = session.pairs[WORK] = Pair(session, session.link(False), WORK, size)
        self.pair.make()
        self.pair.mirror("C")
        self.scratch = [session.data / f"bound{index}" for index in range(MEMBER_COUNT)]
        for path in self.scratch:
            session.fill_file(path, True, byte_size(size), is_blank=True)

    def measure(self, number):
        """Ours, and what the machine can do: two runs."""
        pair = self.pair
        pair.far.stop()
        self._write(number)
        bound = self._bound()
        pair.serve(pair.far)
        deadline = time.monotonic() + 60
        while pair.peer()["connection"] not in ("copying", "catching up", "in step"):
            if time.monotonic() > deadline:
                raise Failure("the replica is not called any more")
            time.sleep(0.005)
        start = time.monotonic()
        before = self._cpu_seconds()
        is_copy = pair.peer()["connection"] == "copying"
        pair.wait_in_step(600)
        seconds = time.monotonic() - start
        pair.wait_for_home()
        home = time.monotonic() - start
        if not is_copy:
            raise Failure("the replica was not away for longer than the log reaches")
        count = byte_size(self.size)
        return ({"mbps": count / home / 1e6, "seconds": seconds, "drain_seconds": home - seconds,
                 "server_busy": (self._cpu_seconds() - before) / home,
                 "of_bound": count / home / 1e6 / bound["mbps"]}, bound)

    def _cpu_seconds(self):
        return sum(processes.cpu_seconds(bench.server.pid) for bench in self.pair.benches)

    def _write(self, number):
        command = clients.Fio().command(self.pair.near.uri, FILL, self.size, 1, 1)
        command = [word for word in command if not word.startswith(("--time_based", "--runtime"))]
        processes.run_client([*command, f"--randseed={number}"], self.session.sockets, 600)
        self.pair.near.connect().flush()
        while self.pair.near.status()["array"]["log"]["dirty_bytes"]:
            time.sleep(0.01)

    def _bound(self):
        """What the disk does when the same bytes are read once and written to each member by dd, and
        what loopback carries in one stream; the lesser counts."""
        count = byte_size(self.size)
        member = self.pair.near.members[0]
        skipped = member.stat().st_size // BLOCK - count // BLOCK
        extent = ["bs=1M", f"count={count // BLOCK}"]
        commands = [["dd", f"if={member}", "of=/dev/null", "iflag=direct", f"skip={skipped}", *extent]]
        commands += [["dd", "if=/dev/zero", f"of={path}", "oflag=direct", "conv=notrunc,fdatasync", *extent]
                     for path in self.scratch]
        start = time.monotonic()
        running = [processes.start(command, self.session.data) for command in commands]
        for process in running:
            _, errors = process.communicate(timeout=600)
            if process.returncode:
                raise Failure(f"{processes.words(process.args)}: {errors}")
        disk = count / (time.monotonic() - start) / 1e6
        link = stream_mbps()
        return {"mbps": min(disk, link), "disk_mbps": disk, "link_mbps": link}

    def shown(self):
        """How it is done, as the reader would type it."""
        each = byte_size(self.size) // BLOCK
        return (f"# catch-up: two nodes, each {LEVEL} of {MEMBER_COUNT} for {each} MiB; the replica's server ends, "
                f"fio writes {each} MiB, the replica's server starts")


def stream_mbps():
    """What one TCP connection over loopback carries."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as source:
        target = listener.accept()[0]
        sender = threading.Thread(target=_send, args=(source,))
        start = time.monotonic()
        sender.start()
        memory, received = bytearray(1 << 20), 0
        while received < STREAM_BYTES:
            received += target.recv_into(memory)
        seconds = time.monotonic() - start
        sender.join()
        target.close()
    return STREAM_BYTES / seconds / 1e6


def _send(source):
    block = bytes(1 << 20)
    for _ in range(STREAM_BYTES >> 20):
        source.sendall(block)
