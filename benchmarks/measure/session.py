"""One measurement: a folder, the servers in it, and runs against them."""

import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from . import clients, machine, processes
from .processes import Failure
from .workloads import Workload

START_SECONDS = 20
BLOCK = 1 << 20


@dataclasses.dataclass
class Running:
    """A server that was started, or a file that is used without one (no `pid`)."""

    server: object
    pid: int
    uri: str
    file: pathlib.Path
    pidfile: pathlib.Path


def _daemon_pid(running):
    """The number of a server that has left the foreground; None for others, and before."""
    try:
        return int(running.pidfile.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Session:
    """Starts servers, fills their devices, runs clients; leaves nothing behind.

    The devices' files lie under `folder`, sockets where their paths are short. `pins` are the
    words put before the server's and the client's commands.
    """

    def __init__(self, programs, size, folder, is_pinned=False):
        self.programs = {name: str(path) for name, path in programs.items()}
        self.size = size
        self.folder = folder
        self.pins = (("taskset", "-c", "0"), ("taskset", "-c", "1")) if is_pinned else ((), ())
        self.running = []
        self.places = {}

    def __enter__(self):
        if self.pins[0] and not {0, 1} <= os.sched_getaffinity(0):
            raise Failure("--pin needs cores 0 and 1")
        processes.adopt_daemons()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.sockets = None
        try:
            self.data = pathlib.Path(tempfile.mkdtemp(prefix="data.", dir=self.folder))
            self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="ashlar."))
        except BaseException as error:
            self.__exit__()
            if isinstance(error, OSError):
                raise Failure(f"no scratch folder: {error}") from error
            raise
        return self

    def __exit__(self, *_):
        handlers = processes.ignore_signals()
        self.release_clients()
        for running in reversed(self.running):
            pid = _daemon_pid(running) or running.pid
            if pid:
                processes.stop(pid)
        self.release_devices()
        for folder in (self.data, self.sockets):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        processes.restore_signals(handlers)

    def release_clients(self):
        """Before the servers end: what uses them. For those that have such things."""

    def release_devices(self):
        """When the servers have ended: what they lay on. For those that have such things."""

    def check_disk(self):
        """Fails unless the devices' files would be on a disk. Returns the file system's name."""
        return machine.check_disk(self.data.resolve())

    # Servers

    def start(self, server):
        """Starts a server on a device full of data and waits until it answers."""
        socket, file = self.sockets / f"{server.key}.sock", self.data / f"{server.key}.img"
        pidfile = self.sockets / f"{server.key}.pid"
        configuration = self.sockets / f"{server.key}.conf"
        places = {
            **self.programs, "size": self.size, "socket": socket, "file": file,
            "pidfile": pidfile, "configuration": configuration}
        if server.device == "file":
            self.fill_file(file, server.is_direct)
        if not server.command:
            return Running(server, None, str(file), file, pidfile)
        if server.configuration:
            configuration.write_text(server.configuration.format(**places), encoding="utf-8")
        running = self.launch(
            server, [word.format(**places) for word in server.command],
            f"nbd+unix:///{server.export}?socket={socket}", file)
        if server.device == "memory" and server.stores:
            self.fill_by_client(running)
        return running

    def launch(self, server, command, uri, file):
        """Starts a server's command and waits until it answers."""
        command = [*self.pins[0], *command]
        log = self.sockets / f"{server.key}.log"
        with log.open("w", encoding="utf-8") as output:
            process = processes.start(
                command, self.sockets, output, {"ASHLAR_RUNTIME_DIR": str(self.sockets / "run")})
        pidfile = self.sockets / f"{server.key}.pid"
        running = Running(server, process.pid, uri, file, pidfile)
        self.running.append(running)
        self._wait_until_ready(running, process, log)
        return running

    def _wait_until_ready(self, running, process, log):
        is_daemon = running.server.is_daemon
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None and not (is_daemon and process.returncode == 0):
                break
            running.pid = _daemon_pid(running) if is_daemon else process.pid
            if running.pid and _answers(running.uri):
                return
            time.sleep(0.05)
        raise Failure(
            f"{running.server.label} does not answer: {processes.words(process.args)}\n"
            + log.read_text(encoding="utf-8", errors="replace")[-1000:])

    # Devices

    def fill_file(self, file, is_direct, byte_count=None, is_blank=False):
        """Makes a file of which every block has been written, with no two alike, or with zeros."""
        block = bytes(BLOCK) if is_blank else random.Random(str(file.name)).randbytes(BLOCK)
        byte_count = byte_count or byte_size(self.size)
        try:
            with file.open("xb") as output:
                os.posix_fallocate(output.fileno(), 0, byte_count)
                for number in range(0, byte_count, BLOCK):
                    output.write(block if is_blank else number.to_bytes(8, "little") + block[8:])
                output.flush()
                os.fsync(output.fileno())
                if is_direct:
                    os.posix_fadvise(output.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise Failure(f"cannot fill {file}: {error.strerror}") from error

    def fill_by_client(self, running):
        """Writes all of a device over NBD."""
        # By the client that is always there; fio's buffers are random and never zero.
        fill = Workload("fill", "fill", "write", "1M", 8, latency_of="write")
        command = clients.Fio().command(running.uri, fill, self.size, 1, 1)
        command = [word for word in command if not word.startswith(("--time_based", "--runtime"))]
        processes.run_client(command, self.sockets, 300)

    def settle(self):
        """Writes back what earlier runs left, so that no run pays for another."""
        for path in self.data.glob("*.img"):
            with path.open("rb") as file:
                os.fsync(file.fileno())

    # Runs

    def measure(self, running, client, workload, seconds, seed, connections=1):
        """One run: the client's figures, and the server's CPU time for each operation."""
        self.settle()
        command = client.command(running.uri, workload, self.size, seconds, seed, connections)
        before, (busy, stolen) = self._server_seconds(running), machine.busy_seconds()
        start = time.monotonic()
        try:
            figures = clients.measure(
                client, command, workload, self.sockets, seconds, self.pins[1],
                {"ASHLAR_RUNTIME_DIR": str(self.sockets / "run")})
        except Failure as failure:
            if running.pid and not processes.is_running(running.pid):
                raise Failure(f"{running.server.label} has ended; then {failure}") from failure
            raise
        now_busy, now_stolen = machine.busy_seconds()
        whole = time.monotonic() - start
        spent = self._server_seconds(running) - before
        if running.pid and not processes.is_running(running.pid):
            raise Failure(f"{running.server.label} has ended during {workload.title}")
        others = now_busy - busy - spent - figures["client_busy"] * figures["seconds"]
        return {
            **figures,
            "server_cpu_us": spent * 1e6 / figures["operations"] if running.pid else None,
            "server_busy": spent / figures["seconds"] if running.pid else None,
            "others_busy": max(0, others) / whole,
            "stolen": (now_stolen - stolen) / whole}

    @staticmethod
    def _server_seconds(running):
        return processes.cpu_seconds(running.pid) if running.pid else 0

    def shown(self, command):
        """A command without this machine's paths."""
        text = processes.words(command)
        for name, path in self.programs.items():
            text = text.replace(path, name if name != "echo" else "bare-echo")
        return text.replace(str(self.data), "DIR").replace(str(self.sockets), "DIR")

    def shown_server(self, server):
        """How a server is started, as the reader would type it."""
        places = {
            "ashlar": "ashlar", "echo": "bare-echo", "size": self.size,
            "socket": f"DIR/{server.key}.sock", "file": f"DIR/{server.key}.img",
            "pidfile": f"DIR/{server.key}.pid", "configuration": f"DIR/{server.key}.conf"}
        return processes.words([*self.pins[0], *(word.format(**places) for word in server.command)])


def _answers(uri):
    """Whether a client gets an answer there."""
    try:
        answer = subprocess.run(
            ["nbdinfo", "--size", uri], capture_output=True, timeout=START_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def byte_size(text):
    """64M or 1G as a number."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    digits, unit = text[:-1], text[-1:].upper()
    if unit not in units or not digits.isdigit() or int(digits) == 0:
        raise Failure(f"'{text}' is no size: a number with K, M, G or T is wanted")
    byte_count = int(digits) << units[unit]
    if byte_count % BLOCK != 0:
        raise Failure(f"'{text}' is no size: whole MiB are wanted")
    return byte_count


class Progress:
    """Which run it is, on standard error."""

    def __init__(self, total, seconds):
        self.total, self.done = total, 0
        print(
            f"{total} runs of {seconds:g} s, about {total * (seconds + 0.5) / 60:.0f} minutes",
            file=sys.stderr, flush=True)

    def show(self, text):
        """Tells of one run that has ended."""
        self.done += 1
        print(f"[{self.done}/{self.total}] {text}", file=sys.stderr, flush=True)


def shuffled(things, seed):
    """In an order that the seed decides: no one always runs behind the same other."""
    things = list(things)
    random.Random(seed).shuffle(things)
    return things
