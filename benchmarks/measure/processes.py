"""Processes that end with the measurement, what they cost, and how a program ends."""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Why nothing was measured, for the user."""


class Interrupted(BaseException):
    """A signal asked for the end; it passes every handler of ordinary errors."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def run_program(name, main):
    """Runs `main` and turns how it ends into an exit status and one line of explanation."""

    def interrupt(number, _):
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        status = main() or 0
        sys.stdout.flush()
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        status = 1
    except Interrupted as interruption:
        print(f"{name}: interrupted; what was started has ended", file=sys.stderr)
        status = 128 + interruption.number
    except BrokenPipeError:
        # The reader of our output has left; what is flushed at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


def ignore_signals():
    """From now on nothing interrupts. Returns what `restore_signals` wants."""
    return {number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


def restore_signals(handlers):
    """Undoes `ignore_signals`."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def adopt_daemons():
    """Makes daemons that our children start children of ours, so that they are waited for."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _before_exec():
    # A child does not outlive us, not even when we are killed.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(command, folder, output=None, environment=None, has_input=False):
    """Starts a child in a session of its own: a signal from the terminal reaches us alone."""
    try:
        return subprocess.Popen(
            [str(word) for word in command], cwd=folder,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=output or subprocess.PIPE, stderr=output or subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=_before_exec, env={**os.environ, **(environment or {})})
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from error


def run_client(command, folder, seconds_max, environment=None):
    """Runs a client to its end.

    Returns its standard output and the CPU seconds of it and its children. Fails when it
    fails, and when it takes too long.
    """
    before = os.times()
    process = start(command, folder, environment=environment)
    try:
        output, errors = process.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired:
        raise Failure(f"{words(command)}: no end after {seconds_max:.0f} s") from None
    finally:
        if process.poll() is None:
            end_tree(process)
    if process.returncode != 0:
        raise Failure(
            f"{words(command)}: exit status {process.returncode}\n{(errors + output)[-2000:]}")
    after = os.times()
    spent = (after.children_user - before.children_user
             + after.children_system - before.children_system)
    return output, spent


def words(command):
    """A command as one line."""
    return " ".join(str(word) for word in command)


def _stat(pid):
    """(state, parent, CPU ticks of it and of its children that have ended), or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), sum(map(int, fields[11:15]))


def is_running(pid):
    """Whether a process is there and no zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _tree(pid):
    """The CPU ticks of a process and of each of its descendants."""
    everyone = {int(name): _stat(name) for name in os.listdir("/proc") if name.isdigit()}
    ticks, parents = {}, [pid]
    for parent in parents:
        stat = everyone.get(parent)
        if stat:
            ticks[parent] = stat[2]
            parents += [child for child, stat in everyone.items() if stat and stat[1] == parent]
    return ticks


def cpu_seconds(pid):
    """CPU seconds of a process: all of its threads, its children, and those that have ended.

    io_uring's worker threads belong to the process and are counted; threads of the kernel itself
    (kworker, the poller of a submission queue) are not.
    """
    # A child that ends for each connection is counted once its parent has noticed.
    for _ in range(100):
        ticks = _tree(pid)
        if len(ticks) <= 1:
            break
        time.sleep(0.01)
    return sum(ticks.values()) / TICKS_PER_SECOND


def end_tree(process):
    """Ends a child and all that it has started, also what has left its session, as fio's jobs do."""
    os.kill(process.pid, signal.SIGSTOP)
    for pid in reversed(_tree(process.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def stop(pid, seconds=10):
    """Asks one of our children to end, insists after `seconds`, and waits for it."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    return
            except ChildProcessError:
                return
            time.sleep(0.02)
