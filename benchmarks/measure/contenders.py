"""Arrays and their peers, on files of one file system with direct I/O, all served by NBD."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time

from . import arrays, processes
from .processes import Failure
from .servers import Server
from .session import BLOCK, Running, Session, byte_size

LOG_BYTES = 256 << 20
# Superblocks, checksums and the page map: far more than they need.
TABLE_BYTES = 32 << 20
REST_SECONDS = 60


class LeftOut(Exception):
    """Why this machine or this program cannot take part with something."""


@dataclasses.dataclass(frozen=True)
class Contender(Server):
    """One way to keep a device on files."""

    kind: str = ""
    """'plain', 'array', 'btrfs' or 'quorum'"""
    level: str = ""
    member_count: int = 1
    data_count: int = 1
    """The members' worth of data."""
    options: tuple = ()
    """Of `ashlar create`, or of qemu's quorum."""
    only_works: tuple = ()
    """The works that it does; all if there are none."""

    def does(self, work):
        """Whether it takes part in a work."""
        return not self.only_works or work in self.only_works


def _contender(key, label, kind, level="", members=1, data=1, options=(), only=()):
    return Contender(
        key, label, "file", (), is_ours=kind == "array", is_direct=True, kind=kind, level=level,
        member_count=members, data_count=data, options=options, only_works=only)


PLAIN = _contender("plain", "Ashlar, plain file", "plain")
RAID5 = _contender(
    "ashlar-raid5", "Ashlar RAID-5 of 4", "array", "raid5", 4, 3, ("--log-policy", "auto"))
RAID5_FULL = _contender(
    "ashlar-raid5-full", "Ashlar RAID-5 of 4, --log-policy full", "array", "raid5", 4, 3,
    ("--log-policy", "full"), ("write-1m-qd4",))
RAID6 = _contender("ashlar-raid6", "Ashlar RAID-6 of 4", "array", "raid6", 4, 2)
RAID10 = _contender("ashlar-raid10", "Ashlar RAID-10 of 4", "array", "raid10", 4, 2)
RAID1 = _contender("ashlar-raid1", "Ashlar RAID-1 of 2", "array", "raid1", 2, 1)
BTRFS_RAID1 = _contender("btrfs-raid1", "btrfs raid1 of 2", "btrfs", "raid1", 2, 1)
BTRFS_RAID10 = _contender("btrfs-raid10", "btrfs raid10 of 4", "btrfs", "raid10", 4, 2)
BTRFS_RAID5 = _contender("btrfs-raid5", "btrfs raid5 of 4", "btrfs", "raid5", 4, 3)
QUORUM_2 = _contender(
    "quorum-2", "qemu quorum of 2, first answers", "quorum", "", 2, 1,
    ("vote-threshold=1", "read-pattern=fifo"))
QUORUM_4 = _contender(
    "quorum-4", "qemu quorum of 4, 3 must agree", "quorum", "", 4, 1, ("vote-threshold=3",))

ALL = (PLAIN, RAID5, RAID5_FULL, RAID6, RAID10, RAID1, BTRFS_RAID1, BTRFS_RAID10, BTRFS_RAID5,
       QUORUM_2, QUORUM_4)
PAIRS = (
    *((contender, PLAIN) for contender in ALL[1:]), (RAID5, RAID5_FULL), (RAID5, BTRFS_RAID5),
    (RAID5, BTRFS_RAID1), (RAID1, BTRFS_RAID1), (RAID1, QUORUM_2), (RAID10, BTRFS_RAID10),
    (RAID10, QUORUM_4))
"""Ours, or whoever is held to the plain file, and its peer."""
PACKAGES = {"btrfs": {"mkfs.btrfs": "btrfs-progs", "losetup": "mount", "mount": "mount"},
            "quorum": {"qemu-storage-daemon": "qemu-system-common"}}


def help_of(ashlar, *command):
    """What a command of the program says of itself; empty when there is none."""
    result = subprocess.run(
        [str(ashlar), *command, "--help"], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False)
    return result.stdout if result.returncode == 0 else ""


def check(contender, ashlar):
    """Raises LeftOut when it cannot be measured here."""
    for option in contender.options[:1] if contender.kind == "array" else ():
        if option not in help_of(ashlar, "create"):
            raise LeftOut(f"this ashlar create has no {option}")
    for program, package in PACKAGES.get(contender.kind, {}).items():
        if not shutil.which(program):
            raise LeftOut(f"{program} is missing (package {package})")
    if contender.kind == "btrfs":
        if os.geteuid() != 0:
            raise LeftOut("loop devices and mounts want root")
        if "\tbtrfs\n" not in pathlib.Path("/proc/filesystems").read_text(encoding="ascii"):
            raise LeftOut("this kernel has no btrfs (modprobe btrfs)")


def member_bytes(contender, byte_count):
    """The size of each member's file, in whole MiB."""
    share = -(-byte_count // contender.data_count // BLOCK) * BLOCK
    if contender.kind == "array":
        return share + share // 100 // BLOCK * BLOCK + LOG_BYTES + TABLE_BYTES
    if contender.kind == "btrfs":
        # Copies on write leave the old content until it is committed, and metadata wants room.
        return max(1 << 30, 2 * share)
    return share


class ArraySession(Session):
    """Starts contenders, and sees that no run pays for what another has left to be done."""

    def __init__(self, ashlar, size, folder, is_pinned=False):
        super().__init__({"ashlar": ashlar}, size, folder, is_pinned)
        self.ashlar = str(ashlar)
        self.benches = {}
        self.devices = contextlib.ExitStack()
        self.clients = contextlib.ExitStack()

    def release_clients(self):
        self.clients.close()
        for bench in self.benches.values():
            bench.__exit__(None)

    def release_devices(self):
        self.devices.close()

    # Starting

    def start(self, server):
        """Makes a contender's device, starts it and fills the device."""
        try:
            if server.kind == "array":
                running = self._start_array(server)
            elif server.kind == "quorum":
                running = self._start_quorum(server)
            else:
                running = self._start_file(server)
        except Failure as failure:
            # Of peers this machine decides what works; of ours everything must.
            if server.kind in ("array", "plain"):
                raise
            raise LeftOut(str(failure).splitlines()[0]) from failure
        self.fill_by_client(running)
        return running

    def _start_array(self, contender):
        bench = arrays.ArrayBench(self.ashlar, self.data, self.pins[0])
        self.benches[contender.key] = bench
        bench.__enter__()
        # All of a member has been written, its log too, as after a while of use.
        each = member_bytes(contender, byte_size(self.size))
        bench.create(
            contender.level, contender.member_count, str(each), *contender.options,
            prepare=lambda path: self.fill_file(path, True, each, is_blank=True))
        bench.serve()
        return Running(
            contender, bench.server.pid, bench.uri, bench.data, bench.run / "no-daemon")

    def _start_file(self, contender):
        if contender.kind == "btrfs":
            file = self._make_btrfs(contender) / "disk.img"
        else:
            file = self.data / f"{contender.key}.img"
        self.fill_file(file, True)
        return self.launch(contender, self.file_command(contender, self.ashlar, file, self.sockets),
                           self._uri(contender), file)

    @staticmethod
    def file_command(contender, ashlar, file, sockets):
        """How a plain file is served."""
        return [ashlar, "serve", "--file", str(file), "--direct", "on", "--name", contender.key,
                "--listen", f"unix:{sockets / contender.key}.sock"]

    def _start_quorum(self, contender):
        files = [self.data / f"{contender.key}.{index}.img"
                 for index in range(contender.member_count)]
        for file in files:
            self.fill_file(file, True)
        return self.launch(
            contender, self.quorum_command(contender, files, self.sockets),
            self._uri(contender), files[0])

    @staticmethod
    def quorum_command(contender, files, sockets):
        """qemu's daemon with a quorum of files, served by NBD."""
        nodes, children = [], []
        for index, file in enumerate(files):
            nodes += ["--blockdev", f"driver=file,node-name=file{index},filename={file},"
                      "cache.direct=on,aio=io_uring"]
            children.append(f"children.{index}=file{index}")
        return [
            "qemu-storage-daemon", *nodes, "--blockdev",
            ",".join(["driver=quorum,node-name=quorum", *contender.options, *children]),
            "--nbd-server",
            f"addr.type=unix,addr.path={sockets / contender.key}.sock,max-connections=16",
            "--export", f"type=nbd,id=export,node-name=quorum,name={contender.key},writable=on"]

    def _uri(self, contender):
        return f"nbd+unix:///{contender.key}?socket={self.sockets / contender.key}.sock"

    def _make_btrfs(self, contender):
        """A btrfs over loop devices, mounted. Returns where."""
        loops = []
        each = member_bytes(contender, byte_size(self.size))
        for index in range(contender.member_count):
            file = self.data / f"{contender.key}.{index}.member"
            self.fill_file(file, True, each)
            loop = run(["losetup", "--find", "--show", "--direct-io=on", str(file)]).strip()
            self.devices.callback(_quietly, ["losetup", "--detach", loop])
            loops.append(loop)
        run(["mkfs.btrfs", "-q", "-f", "-K", "-d", contender.level, "-m", btrfs_metadata(contender),
             *loops])
        folder = self.data / f"{contender.key}.mount"
        folder.mkdir()
        run(["mount", "-t", "btrfs", "-o",
             ",".join(["noatime", *(f"device={loop}" for loop in loops)]), loops[0], str(folder)])
        self.devices.callback(_quietly, ["umount", str(folder)])
        return folder

    # Rest

    def drain(self, running):
        """Flushes, and waits until what a run wrote is where it stays. Returns the seconds."""
        bench, contender = self.benches.get(running.server.key), running.server
        start = time.monotonic()
        client = bench.connect() if bench else arrays.BlockClient(
            self.sockets / f"{contender.key}.sock", contender.key)
        client.flush()
        client.close()
        while bench and bench.status()["array"]["log"]["dirty_bytes"]:
            if time.monotonic() - start > REST_SECONDS:
                raise Failure(f"{contender.label} does not come to rest")
            time.sleep(0.002)
        return time.monotonic() - start

    def settle(self):
        """Each run has been drained already."""

    def measure(self, running, client, workload, seconds, seed, connections=1):
        """One run, and what was left to do behind it.

        What a run left is counted with it: a log or a cache only puts work off.
        """
        figures = super().measure(running, client, workload, seconds, seed, connections)
        rest = self.drain(running)
        share = figures["seconds"] / (figures["seconds"] + rest)
        return {**figures, "op_us": 1e6 / figures["iops"], "drain_seconds": rest,
                "iops_home": figures["iops"] * share, "mbps_home": figures["mbps"] * share}

    def shown_contender(self, contender):
        """How it is made and served, as the reader would type it."""
        folder = pathlib.Path("DIR")
        each = member_bytes(contender, byte_size(self.size)) // BLOCK
        members = [f"m{index}" for index in range(contender.member_count)]
        if contender.kind == "array":
            return processes.words(
                ["ashlar create a --level", contender.level, "--size", f"{each}m",
                 *contender.options, *members, "&&", *self.pins[0], "ashlar serve", *members])
        if contender.kind == "quorum":
            return processes.words(
                [*self.pins[0], *self.quorum_command(contender, members, folder)])
        serve = processes.words([*self.pins[0], *self.file_command(
            contender, "ashlar", folder / f"{contender.key}.img", folder)])
        if contender.kind == "plain":
            return serve
        return (f"mkfs.btrfs -f -K -d {contender.level} -m {btrfs_metadata(contender)} LOOP...  # "
                f"{contender.member_count} x losetup --direct-io=on, files of {each} MiB\n{serve}")


def btrfs_metadata(contender):
    """How btrfs keeps its metadata: what its authors advise beside raid5."""
    return "raid1" if contender.level == "raid5" else contender.level


def run(command, environment=None, seconds=120):
    """Runs a command to its end and returns what it prints; fails when it fails."""
    return processes.run_client(command, "/", seconds, environment)[0]


def _quietly(command):
    """For the end: what cannot be undone is told, and the rest is undone nevertheless."""
    for _ in range(50):
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if result.returncode == 0:
            return
        time.sleep(0.1)
    print(f"WARNING: {processes.words(command)}: {result.stderr.strip()}", file=sys.stderr,
          flush=True)
