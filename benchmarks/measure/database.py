"""PostgreSQL with pgbench on ext4 on an attached device."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time

from . import processes
from .contenders import LeftOut, run
from .processes import Failure
from .session import byte_size

CLIENTS = 4
BYTES_MIN = 384 << 20
START_SECONDS = 60
NEEDED = {"nbdfuse": "libnbd-bin", "fusermount3": "fuse3", "losetup": "mount",
          "mkfs.ext4": "e2fsprogs", "setpriv": "util-linux"}
SETTINGS = {
    "listen_addresses": "", "shared_buffers": "64MB", "max_wal_size": "96MB", "min_wal_size": "32MB"}


def programs_of_postgres():
    """Where PostgreSQL's programs are, or None."""
    folders = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((f.parent for f in folders), key=lambda f: float(f.parent.name), default=None)


def check(size):
    """Raises LeftOut when there can be no database here."""
    if os.geteuid() != 0:
        raise LeftOut("attaching and mounting want root")
    if not programs_of_postgres():
        raise LeftOut("no PostgreSQL in /usr/lib/postgresql (package postgresql)")
    for program, package in NEEDED.items():
        if not shutil.which(program):
            raise LeftOut(f"{program} is missing (package {package})")
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not pathlib.Path(path).exists():
            raise LeftOut(f"there is no {path}")
    if byte_size(size) < BYTES_MIN:
        raise LeftOut(f"a database wants devices of {BYTES_MIN >> 20} MiB")


def scale_of(size):
    """pgbench's scale, so that tables and log fill about half of a device."""
    return max(1, byte_size(size) // (100 << 20))


class Database:
    """A cluster on one contender's device; only one runs at a time."""

    def __init__(self, session, running, template=None):
        self.session, self.running = session, running
        self.bin = programs_of_postgres()
        user = pwd.getpwnam("postgres")
        self.as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self.server = None
        # Where sockets and mount points are, the database's user must be able to search.
        session.sockets.chmod(0o711)
        self.folder = session.sockets / f"{running.server.key}.db"
        self.folder.mkdir(mode=0o755)
        self.run = self.folder / "run"
        self.run.mkdir()
        os.chown(self.run, user.pw_uid, user.pw_gid)
        self.environment = {"ASHLAR_RUNTIME_DIR": str(self.folder / "ashlar"),
                            "LC_ALL": "C.UTF-8", "HOME": str(self.run)}
        (self.folder / "ashlar").mkdir(mode=0o755)
        self._mount(session.clients)
        self.data = self.mount / "pg"
        if template:
            run(["cp", "-a", str(template.data), str(self.data)], seconds=300)
        else:
            self._make(user)
        os.sync()

    def _mount(self, undo):
        attached = json.loads(run(
            [self.session.ashlar, "attach", self.running.uri, "--fuse", "--json"],
            self.environment))
        undo.callback(self._detach, attached["name"])
        self.mount = self.folder / "mount"
        self.mount.mkdir()
        run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
             attached["device"]])
        run(["mount", "-o", "noatime", attached["device"], str(self.mount)])
        undo.callback(subprocess.run, ["umount", str(self.mount)], check=False)
        undo.callback(self.stop, signal.SIGQUIT)

    def _detach(self, name):
        subprocess.run(
            [self.session.ashlar, "detach", name], env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)

    def _make(self, user):
        self.data.mkdir(mode=0o700)
        os.chown(self.data, user.pw_uid, user.pw_gid)
        self._postgres("initdb", "-D", self.data, "-A", "trust", "-k", seconds=300)
        self.start()
        self._postgres("pgbench", "-i", "-q", "-s", scale_of(self.session.size), "postgres",
                       seconds=300)
        self.stop()

    def _postgres(self, program, *words, seconds=60):
        command = [*self.as_postgres, self.bin / program]
        if program != "initdb":
            command += ["-h", self.run, "-p", "5499"]
        return run([*command, *words], self.environment, seconds)

    def start(self):
        """Starts the cluster and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.server = processes.start(
                [*self.as_postgres, self.bin / "postgres", "-D", self.data, "-k", self.run,
                 "-p", "5499", *(f"--{name}={value}" for name, value in SETTINGS.items())],
                self.run, log, self.environment)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.server.poll() is None:
            with contextlib.suppress(Failure):
                self._postgres("pg_isready", "-q", "-t", "1")
                return
            time.sleep(0.05)
        raise Failure("PostgreSQL does not start: "
                      + (self.folder / "log").read_text(errors="replace")[-1000:])

    def stop(self, number=signal.SIGINT):
        """Ends the cluster: SIGINT in good order, SIGQUIT at once."""
        if not self.server:
            return
        self.server.send_signal(number)
        try:
            self.server.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            processes.end_tree(self.server)
        self.server = None

    def measure(self, seconds):
        """One run of pgbench on a checkpointed database: transactions a second, latency."""
        self.start()
        self._postgres("psql", "-qAtc", "checkpoint", "postgres")
        output = self._postgres(
            "pgbench", "-n", "-c", CLIENTS, "-j", 2, "-T", seconds, "postgres", seconds=seconds + 60)
        self.stop()
        found = {name: re.search(pattern, output) for name, pattern in (
            ("tps", r"^tps = ([0-9.]+)"), ("failed", r"failed transactions: (\d+)"),
            ("latency", r"latency average = ([0-9.]+) ms"),
            ("done", r"actually processed: (\d+)")) for pattern in [re.compile(pattern, re.M)]}
        if not all(found.values()) or found["failed"][1] != "0":
            raise Failure(f"pgbench on {self.running.server.label}: {output[-1000:]}")
        return {"tps": float(found["tps"][1]), "op_us": float(found["latency"][1]) * 1000,
                "operations": int(found["done"][1]), "seconds": seconds,
                "drain_seconds": self.session.drain(self.running)}
