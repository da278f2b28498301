"""Rebuild and scrub of a full RAID-5, beside reading and copying the same bytes of the same files."""

import os
import signal
import subprocess
import time

from . import clients, processes
from .arrays import ArrayBench
from .contenders import RAID5, LeftOut, help_of, member_bytes
from .processes import Failure
from .session import BLOCK, Running, byte_size
from .workloads import Workload

BUDGET_MS = 20
LONGEST_SECONDS = 300
# What clients do meanwhile: less than the disk can, all the time.
LOAD = Workload(
    "foreground", "4 KiB random, 70 % read, depth 4, 1000 a second", "randrw", "4k", 4,
    extra=("--rwmixread=70", "--rate_iops=700,300"))
BUDGET_WORDS = ("--latency-budget", f"{BUDGET_MS}ms")
TITLES = {
    "scrub": "scrub of a full RAID-5", "rebuild": "rebuild of a member",
    "scrub-budget": f"scrub, clients at work, budget {BUDGET_MS} ms",
    "rebuild-budget": f"rebuild, clients at work, budget {BUDGET_MS} ms"}
DD = "dd"


def check(ashlar, work):
    """Raises LeftOut when the program lacks the commands that a work needs."""
    wanted = {"scrub": (("scrub", "--wait"),),
              "rebuild": (("member", "replace"), ("rebuild", "--wait"))}[work.split("-")[0]]
    for command, option in wanted:
        words = help_of(ashlar, command)
        if option not in words:
            raise LeftOut(f"this ashlar has no '{command} {option}'")
        if work.endswith("-budget") and command != "member" and BUDGET_WORDS[0] not in words:
            raise LeftOut(f"this ashlar has no '{command} {BUDGET_WORDS[0]}'")


class Upkeep:
    """One full array, and the works on it. The session fills files and runs the load."""

    def __init__(self, session):
        self.session = session
        self.bench = ArrayBench(session.ashlar, session.data, session.pins[0])
        session.benches["upkeep"] = self.bench
        self.bench.__enter__()
        self.share = -(-byte_size(session.size) // RAID5.data_count // BLOCK)
        self.byte_count = member_bytes(RAID5, byte_size(session.size))
        self.bench.create(
            RAID5.level, RAID5.member_count, str(self.byte_count), prepare=self._prepare)
        self.bench.serve()
        self.running = Running(
            RAID5, self.bench.server.pid, self.bench.uri, self.bench.data,
            self.bench.run / "no-daemon")
        session.fill_by_client(self.running)
        self.count, self.retired = 0, []

    def measure(self, work):
        """One run of a work, and of dd on the same files just before it: two figures."""
        self.bench.wait_for_home()
        kind = work.split("-")[0]
        has_load = work.endswith("-budget")
        bound, todo = getattr(self, f"_{kind}")()
        moved = RAID5.member_count * self.share * BLOCK / 1e6
        load = self._start_load() if has_load else None
        start = time.monotonic()
        for command in todo:
            self._ashlar(*command, *(BUDGET_WORDS if has_load and command[0] != "member" else ()))
        seconds = time.monotonic() - start
        while self.retired:
            self.retired.pop().unlink()
        run = {"mbps": moved / seconds, "seconds": seconds}
        if load:
            p99 = self._end_load(load)
            run |= {"p99_us": p99, "p99_of_budget": p99 / 1000 / BUDGET_MS}
        state = self.bench.status()["array"]["state"]
        if state != "optimal":
            raise Failure(f"after {work} the array is {state}")
        return run, {"mbps": moved / bound, "seconds": bound}

    def _scrub(self):
        bound = self._together(*(self._reading(member) for member in self.bench.members))
        return bound, [("scrub", "a", "--wait")]

    def _rebuild(self):
        """A member fails and a new one takes its place."""
        old = self.bench.members[self.count % RAID5.member_count]
        self.count += 1
        new = self.bench.data / f"n{self.count}"
        self._prepare(new)
        bound = self._together(
            *(self._reading(member) for member in self.bench.members if member != old),
            ["dd", "if=/dev/zero", f"of={new}", "oflag=direct", "conv=notrunc,fdatasync",
             *self._extent("seek")])
        self._ashlar("member", "fail", "a", old)
        self.bench.members[self.bench.members.index(old)] = new
        self.retired.append(old)
        return bound, [("member", "replace", "a", old, new), ("rebuild", "a", "--wait")]

    def _prepare(self, path):
        # What a member is made of must look unused.
        self.session.fill_file(path, True, self.byte_count, is_blank=True)

    def _extent(self, name):
        # Data lies at the end of a member; all of it has been written.
        skipped = self.byte_count // BLOCK - self.share
        return ["bs=1M", f"{name}={skipped}", f"count={self.share}"]

    def _reading(self, path):
        return ["dd", f"if={path}", "of=/dev/null", "iflag=direct", *self._extent("skip")]

    def _together(self, *commands):
        """Runs them at the same time and returns the seconds until the last one has ended."""
        start, running = time.monotonic(), []
        try:
            running += [processes.start(command, self.bench.data) for command in commands]
            for process in running:
                _, errors = process.communicate(timeout=LONGEST_SECONDS)
                if process.returncode:
                    raise Failure(f"{processes.words(process.args)}: {errors}")
            return time.monotonic() - start
        finally:
            for process in running:
                if process.poll() is None:
                    processes.end_tree(process)

    def _ashlar(self, *words):
        processes.run_client([self.session.ashlar, *words], self.bench.data, LONGEST_SECONDS,
                             self.bench.environment)

    # What clients do meanwhile

    def _start_load(self):
        report = self.bench.data / "load.json"
        process = processes.start(
            [*self.session.pins[1], *clients.Fio().command(
                self.bench.uri, LOAD, self.session.size, LONGEST_SECONDS, 1),
             f"--output={report}"], self.bench.data, subprocess.DEVNULL)
        self.session.clients.callback(_end, process)
        return process, report

    @staticmethod
    def _end_load(load):
        process, report = load
        if process.poll() is not None:
            raise Failure(f"{processes.words(process.args)}: it has ended before its time")
        os.kill(process.pid, signal.SIGINT)
        process.wait(clients.PATIENCE_SECONDS)
        # The slower of both sides: a write waits for the log's flush, if for anything.
        text = report.read_text()
        sides = [clients.read_report(text, side) for side in (
            LOAD, Workload("w", "", LOAD.rw, LOAD.bs, LOAD.iodepth, latency_of="write"))]
        return max(side["p99_us"] for side in sides)


def _end(process):
    if process.poll() is None:
        processes.end_tree(process)
