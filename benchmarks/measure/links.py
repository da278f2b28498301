"""What lies between two nodes: loopback, or a cable with a latency into a network namespace."""

import contextlib
import os
import pathlib
import socket
import statistics
import sys
import time

from . import processes
from .contenders import LeftOut
from .processes import Failure

HERE = pathlib.Path(__file__).resolve().parent
# A record of 4 KiB goes out, an acknowledgement comes back.
REQUEST_BYTES, ANSWER_BYTES = 4096 + 160, 112
ECHO = f"""
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    link = listener.accept()[0]
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while link.recv({REQUEST_BYTES}, socket.MSG_WAITALL):
        link.sendall(bytes({ANSWER_BYTES}))
"""


class Loopback:
    """The other node is on this machine, by TCP."""

    prefix = ()
    near = far = "127.0.0.1"
    flags = ()

    def __init__(self):
        self.ports = [free_port(), free_port(), free_port()]
        self.echo = None

    def __enter__(self):
        self.echo = self.start_echo()
        return self

    def __exit__(self, *_):
        if self.echo:
            self.echo.kill()
            self.echo.wait()

    @property
    def addresses(self):
        """Where the near and the far node listen."""
        return f"tcp:{self.near}:{self.ports[0]}", f"tcp:{self.far}:{self.ports[1]}"

    def start_echo(self):
        """A process at the far end that answers."""
        echo = processes.start(
            [*self.prefix, sys.executable, "-c", ECHO, self.far, self.ports[2]], HERE)
        if echo.stdout.readline().strip() != "ready":
            raise Failure("the echo at the far end does not start: " + echo.stderr.read()[-500:])
        return echo

    def round_trip_us(self, count=200):
        """The median time until an answer, of as many bytes as a record and its acknowledgement."""
        request, times = bytes(REQUEST_BYTES), []
        with socket.create_connection((self.far, self.ports[2]), 10) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                start = time.perf_counter()
                link.sendall(request)
                link.recv(ANSWER_BYTES, socket.MSG_WAITALL)
                times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6


class Cable(Loopback):
    """The other node is in a network namespace, behind a cable whose latency can be set.

    Namespace and devices go with the two processes that hold them.
    """

    # As much as two members of one network would take; nobody else has it here.
    near, far = "10.98.76.1", "10.98.76.2"
    flags = ("--insecure-plain",)

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.cable = None

    @staticmethod
    def check():
        """Raises LeftOut where there can be none."""
        if os.geteuid() != 0 or not pathlib.Path("/dev/net/tun").exists():
            raise LeftOut("a cable with a latency wants root and /dev/net/tun")

    def __enter__(self):
        names = f"adA{os.getpid()}", f"adB{os.getpid()}"
        holder = self._hold(["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"])
        self.cable = self._hold([sys.executable, HERE / "delaytap.py", *names])
        self.prefix = ("nsenter", "-t", str(holder.pid), "-n")
        inside = list(self.prefix)
        for command in (
                ["ip", "link", "set", names[1], "netns", str(holder.pid)],
                ["ip", "addr", "add", f"{self.near}/30", "dev", names[0]],
                ["ip", "link", "set", names[0], "mtu", "9000", "up"],
                [*inside, "ip", "addr", "add", f"{self.far}/30", "dev", names[1]],
                [*inside, "ip", "link", "set", names[1], "mtu", "9000", "up"],
                [*inside, "ip", "link", "set", "lo", "up"]):
            processes.run_client(command, "/", 20)
        return super().__enter__()

    def _hold(self, command):
        process = processes.start(command, HERE, has_input=True)
        self.stack.callback(_end, process)
        if process.stdout.readline().strip() != "ready":
            self.stack.close()
            raise Failure(f"{processes.words(command)} does not start")
        return process

    def __exit__(self, *_):
        super().__exit__()
        self.stack.close()

    def set_delay(self, milliseconds):
        """From now on everything takes so long, each way."""
        self.cable.stdin.write(f"{milliseconds}\n")
        self.cable.stdin.flush()


def _end(process):
    process.kill()
    process.wait()


def free_port():
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
