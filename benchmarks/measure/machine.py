"""What a measurement was made on, and whether the machine was fit for it."""

import datetime
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from .processes import Failure

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of one core: what else may run before the figures show it.
QUIET_SHARE = 0.1
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
VERSION_OPTIONS = {"nbd-server": "-V"}


def warn(text):
    """Says what may spoil the figures."""
    print(f"WARNING: {text}", file=sys.stderr, flush=True)


def busy_seconds():
    """CPU seconds that anything has used on this machine, and those that its host has kept."""
    fields = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, fields[:8])
    return ((user + nice + system + interrupts + soft_interrupts) / TICKS_PER_SECOND,
            stolen / TICKS_PER_SECOND)


def check_quiet():
    """Looks for a second at what else is running, and warns. Returns what goes into a report."""
    start, (busy, stolen) = time.monotonic(), busy_seconds()
    time.sleep(1)
    elapsed = time.monotonic() - start
    now_busy, now_stolen = busy_seconds()
    shares = (now_busy - busy) / elapsed, (now_stolen - stolen) / elapsed
    if max(shares) > QUIET_SHARE:
        warn(f"something else runs here ({shares[0] * 100:.0f} % of a core, and "
             f"{shares[1] * 100:.0f} % kept by the host): the figures will show it")
    return {"load": round(os.getloadavg()[0], 2), "busy_before": round(shares[0], 3),
            "stolen_before": round(shares[1], 3)}


def first_line(command):
    """The first line that a command prints with a digit in it, or 'unknown'."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False,
            stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (result.stdout + result.stderr).splitlines()
    return next((line.strip() for line in lines if re.search(r"\d", line)), "unknown")


def describe(programs, quiet):
    """The machine, as it goes into a report.

    `programs` maps names to what is run; `quiet` is what `check_quiet` found.
    """
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    memory = re.search(r"(\d+) kB", pathlib.Path("/proc/meminfo").read_text(encoding="utf-8"))
    system = os.uname()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model.group(1) if model else system.machine,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else None,
        "kernel": f"{system.sysname} {system.release}",
        **quiet,
        "programs": {
            name: first_line([path, VERSION_OPTIONS.get(name, "--version")])
            for name, path in programs.items()},
    }


def check_programs(programs):
    """Fails when one is missing. `programs` maps a program to its Debian package."""
    missing = [f"{name} (package {package})" for name, package in programs.items()
               if not shutil.which(name)]
    if missing:
        raise Failure(f"missing: {', '.join(missing)}; install them with apt-get")


def find_ashlar(given, root):
    """The program to measure: what was named, else the release build."""
    path = pathlib.Path(given or os.environ.get("ASHLAR") or release(root, "ashlar")).absolute()
    return _executable(path, "give --binary, or build it: " + build_command("ashlar"))


def find_echo(given, root):
    """The bare echo: what was named, else the release build."""
    return find_program(given, root, "bare-echo", "--echo")


def find_program(given, root, product, option):
    """A program of ours: what `option` named, else the release build."""
    path = pathlib.Path(given or release(root, product)).absolute()
    return _executable(path, f"give {option}, or build it: " + build_command(product))


def release(root, product):
    """Where `tools/lib.sh` has release builds made."""
    return root / ".build/release-tree/release" / product


def build_command(product):
    """How that build is made."""
    return f"swift build -c release --scratch-path .build/release-tree --product {product}"


def _executable(path, advice):
    if not os.access(path, os.X_OK) or path.is_dir():
        raise Failure(f"{path} is no program: {advice}")
    return path


def check_disk(folder):
    """Fails unless `folder` lies on a disk and takes direct I/O."""
    kind = _filesystem(folder)
    if kind in IN_MEMORY:
        raise Failure(f"{folder} is on {kind}, in memory: name a folder on a disk with --dir")
    path = folder / "direct"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
        try:
            with mmap.mmap(-1, 4096) as page:
                os.pwrite(descriptor, page, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Failure(
            f"no direct I/O in {folder} ({error.strerror}): name another folder with --dir"
        ) from error
    finally:
        path.unlink(missing_ok=True)
    return kind


def _filesystem(folder):
    best, kind = -1, "unknown"
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, behind = line.partition(" - ")
        point = before.split()[4]
        if len(point) > best and folder.is_relative_to(point):
            best, kind = len(point), behind.split()[0]
    return kind
