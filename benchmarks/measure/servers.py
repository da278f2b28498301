"""The servers that are compared, and how each is started."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Server:
    """One way to serve a device. Words of `command` are filled in by `Session.start`."""

    key: str
    label: str
    device: str
    """'memory' or 'file'"""
    command: tuple
    is_ours: bool = False
    is_direct: bool = False
    export: str = ""
    configuration: str = ""
    """What goes into {configuration}, if anything."""
    is_daemon: bool = False
    """It leaves the foreground and writes its process number to {pidfile}."""
    stores: bool = True
    transport: str = "unix socket"


ASHLAR_MEMORY = Server(
    "ashlar-memory", "Ashlar, memory", "memory", is_ours=True,
    command=("{ashlar}", "serve", "--memory", "{size}", "--name", "memory",
             "--listen", "unix:{socket}"))
NBDKIT_MEMORY = Server(
    "nbdkit-memory", "nbdkit, memory plugin", "memory",
    command=("nbdkit", "--foreground", "--unix", "{socket}", "memory", "{size}"))
ASHLAR_FILE = Server(
    "ashlar-file", "Ashlar, file, buffered", "file", is_ours=True,
    command=("{ashlar}", "serve", "--file", "{file}", "--direct", "off", "--name", "file",
             "--listen", "unix:{socket}"))
NBDKIT_FILE = Server(
    "nbdkit-file", "nbdkit, file plugin", "file",
    command=("nbdkit", "--foreground", "--unix", "{socket}", "file", "{file}"))
QEMU_WRITEBACK = Server(
    "qemu-writeback", "qemu-nbd, writeback, threads", "file",
    command=("qemu-nbd", "-t", "-e", "16", "-f", "raw", "--cache=writeback", "--aio=threads",
             "-k", "{socket}", "{file}"))
NBD_SERVER = Server(
    "nbd-server", "nbd-server", "file", is_daemon=True, export="disk",
    configuration="[generic]\nunixsock = {socket}\n[disk]\nexportname = {file}\n"
                  "flush = true\nfua = true\n",
    command=("nbd-server", "-C", "{configuration}", "-p", "{pidfile}"))
ASHLAR_DIRECT = Server(
    "ashlar-direct", "Ashlar, file, direct", "file", is_ours=True, is_direct=True,
    command=("{ashlar}", "serve", "--file", "{file}", "--direct", "on", "--name", "direct",
             "--listen", "unix:{socket}"))
QEMU_DIRECT = Server(
    "qemu-direct", "qemu-nbd, cache=none, io_uring", "file", is_direct=True,
    command=("qemu-nbd", "-t", "-e", "16", "-f", "raw", "--cache=none", "--aio=io_uring",
             "-k", "{socket}", "{file}"))
BARE_ECHO = Server(
    "bare-echo", "bare echo", "memory", stores=False,
    command=("{echo}", "--listen", "{socket}", "--size", "{size}"))
PLAIN_FILE = Server("file", "file, no server", "file", command=(), is_direct=True)

COMPARED = (
    ASHLAR_MEMORY, NBDKIT_MEMORY, ASHLAR_FILE, NBDKIT_FILE, QEMU_WRITEBACK, NBD_SERVER,
    ASHLAR_DIRECT, QEMU_DIRECT)
PAIRS = (
    (ASHLAR_MEMORY, NBDKIT_MEMORY), (ASHLAR_FILE, NBDKIT_FILE), (ASHLAR_FILE, QEMU_WRITEBACK),
    (ASHLAR_FILE, NBD_SERVER), (ASHLAR_DIRECT, QEMU_DIRECT))
"""Ours, and the peer on the same kind of device."""

PACKAGES = {
    "nbdkit": "nbdkit", "qemu-nbd": "qemu-utils", "nbd-server": "nbd-server", "fio": "fio",
    "nbdinfo": "libnbd-bin"}


def programs_of(servers):
    """The peers' programs that these servers need: {program: Debian package}."""
    wanted = {server.command[0] for server in servers if server.command} | {"nbdinfo", "fio"}
    return {name: package for name, package in PACKAGES.items() if name in wanted}
