"""Arrays with a replica on a second node of this machine, and how far they are from what bounds them."""

import dataclasses
import json
import time

from . import arrays, links, processes
from .contenders import ArraySession, Contender
from .processes import Failure
from .session import BLOCK, Running, byte_size
from .workloads import FSYNC, WRITE_1M, WRITE_32, Workload

WRITE_1 = Workload(
    "randwrite-4k-qd1", "4 KiB random write, depth 1", "randwrite", "4k", 1, latency_of="write")
PATIENCE_SECONDS = 120
LEVEL, MEMBER_COUNT = "raid1", 2
PGBENCH = "pgbench"


@dataclasses.dataclass(frozen=True)
class Way(Contender):
    """One way to have an array: alone, or mirrored in a mode over a link."""

    mode: str = ""
    """'' for none, or A, B, C"""
    delay_ms: float = 0
    """Of the cable, each way; 0 for loopback."""
    array: str = ""
    """Ways with the same one share an array."""


def _way(key, label, mode, array, delay_ms=0, options=(), only=()):
    return Way(
        key, label, "file", (), is_ours=True, is_direct=True, kind="array", level=LEVEL,
        member_count=MEMBER_COUNT, options=options, only_works=only, mode=mode, delay_ms=delay_ms,
        array=array)


NONE = _way("none", "no replica", "", "none")
FULL = _way("none-full", "no replica, --log-policy full", "", "full", 0, ("--log-policy", "full"),
            (WRITE_1M.key,))
NEAR = tuple(_way(f"mode-{mode.lower()}", f"mode {mode}, loopback", mode, "near") for mode in "ABC")
FAR_WORKS = (WRITE_1.key, FSYNC.key, WRITE_32.key)
FAR = tuple(_way(f"mode-{mode.lower()}-{delay}ms", f"mode {mode}, {delay} ms each way", mode, "far", delay,
                 (), FAR_WORKS if mode == "C" else (WRITE_32.key,))
            for delay in (1, 5) for mode in "AC")
ALL = (NONE, FULL, *NEAR, *FAR)
LOADS = (FSYNC, WRITE_1, WRITE_32, WRITE_1M)


class Pair:
    """An array `a`, and one on a second node that can be made its replica."""

    def __init__(self, session, link, name, size):
        self.session, self.link, self.size = session, link, size
        self.near = arrays.ArrayBench(session.ashlar, session.data, session.pins[0])
        self.far = arrays.ArrayBench(session.ashlar, session.data, (*session.pins[0], *link.prefix))
        self.name, self.mode = name, None
        self.is_served = False

    @property
    def benches(self):
        """Both nodes."""
        return self.near, self.far

    def make(self, *options, is_written=True):
        """Makes and serves both arrays; their members have been written, logs too, as after a while of use."""
        each = (byte_size(self.size) * 101 // 100 + 288 * BLOCK) // BLOCK * BLOCK
        for bench in self.benches:
            bench.__enter__()
            bench.create(
                LEVEL, MEMBER_COUNT, str(each), *options,
                prepare=(lambda path: self.session.fill_file(path, True, each, is_blank=True))
                if is_written else None)
            self.serve(bench)
        return self

    def serve(self, bench):
        """Starts a node."""
        address = self.link.addresses[self.benches.index(bench)]
        bench.serve("--replication", address, *self.link.flags)

    def mirror(self, mode, *options):
        """Makes the far one the near one's replica, in a mode."""
        processes.run_client(
            [self.session.ashlar, "replica", "add", "a", self.link.addresses[1], "--mode", mode, *options],
            self.session.data, 60, self.near.environment)
        self.mode = mode
        self.wait_in_step()

    def peer(self):
        """What the primary says of its replica."""
        return self.near.status()["array"]["replication"]["peers"][0]

    def wait_in_step(self, seconds=PATIENCE_SECONDS, step=0.02):
        """Until writes wait for the replica."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            peer = self.peer()
            if peer["connection"] == "in step" and peer["counts"]:
                return
            time.sleep(step)
        raise Failure(f"the replica does not come in step: {json.dumps(peer)}")

    def wait_for_home(self):
        """Until neither log holds anything that is not home."""
        for bench in self.benches:
            while bench.status()["array"]["log"]["dirty_bytes"]:
                time.sleep(0.002)

    def close(self):
        """Ends both and removes their files."""
        for bench in self.benches:
            if bench.scratch:
                bench.__exit__(None)


class ReplicationSession(ArraySession):
    """Starts arrays with and without a replica."""

    def __init__(self, ashlar, size, folder, is_pinned=False):
        super().__init__(ashlar, size, folder, is_pinned)
        self.links, self.pairs = {}, {}

    def release_clients(self):
        super().release_clients()
        for pair in self.pairs.values():
            pair.close()
        for link in self.links.values():
            link.__exit__()

    def link(self, is_far):
        """Loopback or the cable, made once."""
        if is_far not in self.links:
            if is_far:
                links.Cable.check()
            self.links[is_far] = (links.Cable if is_far else links.Loopback)().__enter__()
        return self.links[is_far]

    def start(self, server):
        """Serves a way's array, filled; ways of one array share it."""
        if not server.mode:
            return super().start(server)
        pair = self.pairs.get(server.array)
        if not pair:
            link = self.link(server.delay_ms > 0)
            pair = self.pairs[server.array] = Pair(self, link, server.array, self.size)
            pair.make(*server.options)
            pair.mirror("A")
            self.fill_by_client(self._running(server, pair))
        return self._running(server, pair)

    @staticmethod
    def _running(server, pair):
        bench = pair.near
        return Running(server, bench.server.pid, bench.uri, bench.data, bench.run / "no-daemon")

    def set_up(self, server):
        """What a way wants before it is measured: its mode, and the latency of its link."""
        pair = self.pairs.get(server.array)
        if not pair:
            return
        if server.delay_ms:
            pair.link.set_delay(server.delay_ms)
        if pair.mode != server.mode:
            pair.mirror(server.mode)
        pair.wait_in_step()

    def drain(self, running):
        """Flushes, and waits until all is home on both nodes."""
        pair = self.pairs.get(running.server.array)
        if not pair:
            return super().drain(running)
        start = time.monotonic()
        client = pair.near.connect()
        client.flush()
        client.close()
        pair.wait_for_home()
        return time.monotonic() - start

    def measure(self, running, client, workload, seconds, seed, connections=1):
        """One run; with a replica, the round trip just before it."""
        self.set_up(running.server)
        link = self.link(running.server.delay_ms > 0)
        round_trip = link.round_trip_us(50 if running.server.delay_ms else 400)
        figures = super().measure(running, client, workload, seconds, seed, connections)
        if running.server.mode and not self.pairs[running.server.array].peer()["counts"]:
            raise Failure(f"{running.server.label}: the replica was set aside during {workload.title}")
        return {**figures, "round_trip_us": round_trip, "delay_ms": running.server.delay_ms}

    def _server_seconds(self, running):
        pair = self.pairs.get(running.server.array)
        if not pair:
            return super()._server_seconds(running)
        return sum(processes.cpu_seconds(bench.server.pid) for bench in pair.benches)

    def shown_way(self, way):
        """How it is made and served, as the reader would type it."""
        text = self.shown_contender(way)
        if not way.mode:
            return text
        link = f"  # {way.delay_ms} ms each way" if way.delay_ms else ""
        return f"{text} --replication HERE  # and the same THERE; ashlar replica add a THERE --mode {way.mode}{link}"


def does(way, work):
    """Whether a way takes part in a work."""
    if work == PGBENCH:
        return way in (NONE, *NEAR)
    if way.delay_ms or way.only_works:
        return work in way.only_works
    return True


def check(way):
    """Raises LeftOut where a way cannot be had here."""
    if way.delay_ms:
        links.Cable.check()


def with_bounds(runs):
    """The runs, each with what the fastest possible would take, and how much of that it takes.

    Of depth 1: the round trip and, on loopback, what the same work takes without a replica in the same round.
    Of depth 32: no more than so many are on their way in one round trip, and no more than without a delay.
    """
    by_key = {(run["round"], run["work"], run["contender"]): run for run in runs}
    found = []
    for run in runs:
        more = {}
        way = next((way for way in ALL if way.key == run["contender"]), None)
        alone = by_key.get((run["round"], run["work"], NONE.key))
        near = by_key.get((run["round"], run["work"], f"mode-{way.mode.lower()}")) if way else None
        if way and way.mode == "C" and run["work"] in (FSYNC.key, WRITE_1.key):
            if way.delay_ms:
                more["of_bound"] = run["op_us"] / run["round_trip_us"]
            elif alone:
                more["of_bound"] = run["op_us"] / (alone["op_us"] + run["round_trip_us"])
        if way and way.delay_ms and run["work"] == WRITE_32.key and near:
            bound = near["iops"]
            if way.mode == "C":
                bound = min(bound, 32e6 / run["round_trip_us"])
            more["of_bound"] = run["iops"] / bound
        found.append({**run, **more})
    return found
