"""The clients that make the load, and how their reports are read: both write fio's JSON."""

import json
import shutil

from .processes import Failure, run_client, words

# What a client may take beyond the time it was asked for.
PATIENCE_SECONDS = 60


class Fio:
    """fio, with its nbd engine or, on a file, its io_uring engine and direct I/O."""

    key = "fio"
    title = "fio"

    def check(self):
        """Fails when it cannot be used here."""
        if not shutil.which("fio"):
            raise Failure("fio is missing: apt-get install fio")
        engines, _ = run_client(["fio", "--enghelp"], "/", 20)
        if "nbd" not in engines.split():
            raise Failure("this fio has no nbd engine: it was built without libnbd")

    def command(self, target, workload, size, seconds, seed, connections=1):
        """A run of one workload on an NBD URI or a file."""
        if "://" in target:
            engine = ["--ioengine=nbd", f"--uri={target}"]
        else:
            engine = ["--ioengine=io_uring", "--direct=1", f"--filename={target}"]
        return [
            "fio", "--name=compare", *engine, f"--size={size}",
            *_load(workload, seconds, seed, workload.iodepth // connections),
            f"--numjobs={connections}", "--group_reporting", "--lat_percentiles=1",
            "--output-format=json"]


class Bench:
    """`ashlar bench`, whose options and report are fio's."""

    key = "bench"
    title = "ashlar bench"

    def __init__(self, ashlar):
        self.ashlar = ashlar

    def check(self):
        """Fails when it cannot be used here."""
        try:
            run_client([self.ashlar, "bench", "--help"], "/", 20)
        except Failure:
            raise Failure(f"{self.ashlar} has no command 'bench': use --client fio") from None

    def command(self, target, workload, size, seconds, seed, connections=1):
        """A run of one workload on an NBD URI or a file."""
        # It spares what looks like somebody's data unless told otherwise; this is nobody's.
        more = [] if workload.rw in ("read", "randread") else ["--overwrite"]
        more += [f"--connections={connections}"] if connections > 1 else []
        return [
            self.ashlar, "bench", target, f"--size={size}",
            *_load(workload, seconds, seed, workload.iodepth),
            "--output-format=json", *more]


def _load(workload, seconds, seed, iodepth):
    # What is random is drawn anew each time: the map of the blocks that were done costs time.
    random = ["--norandommap", f"--randseed={seed}"] if workload.rw.startswith("rand") else []
    return [
        f"--rw={workload.rw}", f"--bs={workload.bs}", f"--iodepth={iodepth}",
        "--time_based", f"--runtime={round(seconds * 1000)}ms", *random, *workload.extra]


def measure(client, command, workload, folder, seconds, prefix=(), environment=None):
    """Runs a client's command and reads its report: one run's figures."""
    command = [*prefix, *command]
    output, cpu = run_client(command, folder, seconds + PATIENCE_SECONDS, environment)
    try:
        figures = read_report(output, workload)
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(
            f"{words(command)}: its report cannot be read ({error!r}):\n{output[-1000:]}"
        ) from error
    if figures["operations"] == 0:
        raise Failure(f"{words(command)}: it did nothing:\n{output[-1000:]}")
    figures["client"] = client.key
    figures["client_cpu_us"] = cpu * 1e6 / figures["operations"]
    figures["client_busy"] = cpu / figures["seconds"]
    return figures


def read_report(output, workload):
    """Operations, IOPS, MB/s and latency from a report in fio's JSON; notes may precede it."""
    document = json.loads(output[output.index("{"):])
    if document.get("interrupted"):
        raise ValueError("the run was interrupted")
    jobs = document["jobs"]
    for job in jobs:
        if job.get("error", 0) != 0:
            raise ValueError(f"the job ended with error {job['error']}")
    sides = [job[side] for job in jobs for side in ("read", "write") if side in job]
    sides = [side for side in sides if side["total_ios"] > 0]
    latencies = [
        p for p in (_latency(job, workload.latency_of) for job in jobs) if p is not None]
    return {
        "operations": sum(side["total_ios"] for side in sides),
        "seconds": max((side["runtime"] for side in sides), default=0) / 1000,
        "iops": sum(side["iops"] for side in sides),
        "mbps": sum(side["bw_bytes"] for side in sides) / 1e6,
        # Several jobs are shown by the slowest.
        "p50_us": max((p[0] for p in latencies), default=None),
        "p99_us": max((p[1] for p in latencies), default=None),
    }


def _latency(job, side):
    """Median and 99th percentile in microseconds, or None where the report has none.

    From submission to completion where the report tells it (lat); fio's clat begins when its
    engine has handed the request over, which for a large write is after it was sent.
    """
    report = job.get(side, {})
    for kind in ("lat_ns", "clat_ns"):
        percentiles = report.get(kind, {}).get("percentile")
        if percentiles:
            return percentiles["50.000000"] / 1000, percentiles["99.000000"] / 1000
    return None


def chosen(name, ashlar):
    """The clients that `--client` names, checked."""
    every = {"fio": [Fio()], "bench": [Bench(ashlar)], "both": [Fio(), Bench(ashlar)]}
    for client in every[name]:
        client.check()
    return every[name]
