"""Which area of the server, or of what is below it, a sample of perf belongs to."""

import collections
import re

# The first that matches decides, from the innermost frame outwards: a copy inside a socket is a copy.
KERNEL = (
    ("kernel: copying",
     r"copy_(to|from)_(iter|user)|_copy_(to|from)|copy_user|rep_movs|copyin|copyout|memcpy|skb_copy"
     r"|fault_in_|clear_(huge_)?page|clear_user"),
    ("kernel: waking and scheduling",
     r"sched|try_to_wake_up|ttwu|wake_up|wakeup|pick_next|finish_task_switch|switch_(to|mm)|futex"
     r"|enqueue_task|dequeue_task|hrtimer|autoremove_wake|default_wake"),
    ("kernel: sockets",
     r"^_*(unix_|sock_|skb_|tcp_|sk_|kfree_skb|consume_skb|alloc_skb|build_skb|napi_|ip_|inet_|scm_"
     r"|sys_(send|recv)|maybe_wait_stream|wait_for_unix)"),
    ("kernel: io_uring", r"^_*(io_|x64_sys_io_uring|do_sys_io_uring|sys_io_uring)"),
)
KERNEL = tuple((area, re.compile(pattern)) for area, pattern in KERNEL)
KERNEL_REST = "kernel: the rest"

CONCURRENCY, STANDARD = "Swift concurrency runtime", "Swift standard library and runtime"
LIBC_COPYING, LIBC = "C library: copying", "C library: locks, thread-local data, clock"
POLLING = "Ring: polling before it sleeps"
OUR_REST, OTHER = "Ashlar: the rest", "elsewhere"
MODULES = {
    "NBDWire": "NBDWire: parsing and headers", "NBDServer": "NBDServer", "Volumes": "Volumes",
    "Ring": "Ring and the seam", "IO": "Ring and the seam", "CUring": "Ring and the seam",
    "Units": OUR_REST, "Control": OUR_REST, "ashlar": OUR_REST,
}
ORDER = (
    *(area for area, _ in KERNEL), KERNEL_REST, CONCURRENCY, STANDARD, LIBC_COPYING, LIBC,
    MODULES["NBDWire"], MODULES["NBDServer"], MODULES["Volumes"], MODULES["Ring"], POLLING, OUR_REST, OTHER)

LIBRARIES = (
    (CONCURRENCY, re.compile(r"^libswift_Concurrency")),
    (STANDARD, re.compile(r"^libswift|^libstdc\+\+|^libgcc")),
    (MODULES["Ring"], re.compile(r"^liburing")),
)
COPYING = re.compile(r"mem(cpy|move|set|cmp)|bcopy")
FRAME = re.compile(r"^\s*(?P<address>[0-9a-f]+)\s+(?P<symbol>.*?)\s+\((?P<library>[^()]*)\)\s*$")


def parsed(text):
    """The stacks in the output of `perf script -F ip,sym,dso`, innermost frame first."""
    for block in text.split("\n\n"):
        frames = [FRAME.match(line) for line in block.splitlines()]
        frames = [(f["symbol"].split("+0x")[0], f["library"]) for f in frames if f]
        if frames:
            yield frames


def is_kernel(library):
    """Whether a frame is the kernel's."""
    return library.startswith(("[kernel", "[guest.kernel")) or library.endswith(".ko")


def area_of(frames, program):
    """The area of one stack. `program` is the file name of the server."""
    symbol, library = frames[0]
    if is_kernel(library):
        return _kernel_area(frames)
    name = library.rpartition("/")[2]
    if name == program:
        return _own_area(symbol)
    for area, pattern in LIBRARIES:
        if pattern.search(name):
            return area
    if re.match(r"libc[.-]", name) and COPYING.search(symbol):
        return LIBC_COPYING
    return LIBC if re.match(r"libc[.-]|libpthread|ld-linux|\[vdso\]", name) else OTHER


def _kernel_area(frames):
    for symbol, library in frames:
        if not is_kernel(library):
            break
        for area, pattern in KERNEL:
            if pattern.search(symbol):
                return area
    return KERNEL_REST


def _own_area(symbol):
    """By the module in a mangled Swift name; the runtime is here, too, when linked statically."""
    if "pollForCompletion" in symbol:
        return POLLING
    match = re.match(r"_?\$[sS](\d+)", symbol)
    if match:
        module = symbol[match.end():match.end() + int(match.group(1))]
        return MODULES.get(module, OUR_REST)
    if re.match(r"_?\$[sS]Sc|swift_(task|job|continuation|asyncLet|taskGroup|executor)", symbol):
        return CONCURRENCY
    if re.match(r"_?\$[sS]|_?swift_", symbol):
        return STANDARD
    if COPYING.search(symbol):
        return LIBC_COPYING
    return MODULES["Ring"] if symbol.startswith(("io_uring", "__io_uring")) else OUR_REST


def summed(stacks, program):
    """How many samples fall into each area, and on each innermost symbol: two counters."""
    areas, symbols = collections.Counter(), collections.Counter()
    for frames in stacks:
        area = area_of(frames, program)
        areas[area] += 1
        symbols[frames[0][0], area] += 1
    return areas, symbols
