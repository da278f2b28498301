#!/usr/bin/env python3
"""delaytap: a network cable with a latency, for kernels without netem.

Makes two tap devices and hands Ethernet frames from one to the other, each as many milliseconds later
as the last line of standard input says (0 at first). Prints "ready" when both are there; they go with
the process, which ends with its standard input.
"""
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAME_BYTES_MAX = 65536
# More are dropped, as a full switch would.
QUEUE_LIMIT = 20000


def open_tap(name):
    """A tap device, which is there while it is open."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def take(descriptor, queue, target, delay):
    """Queues what has come in at one end."""
    for _ in range(64):
        try:
            frame = os.read(descriptor, FRAME_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            # The device is down.
            time.sleep(0.001)
            return
        if len(queue) < QUEUE_LIMIT:
            queue.append((time.monotonic() + delay, target, frame))


def deliver(queue):
    """Hands out what is due; a receiver that is down or full loses it."""
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        _, target, frame = queue.popleft()
        try:
            os.write(target, frame)
        except OSError:
            pass


def main():
    """Forwards until standard input ends."""
    ends = [open_tap(name) for name in sys.argv[1:3]]
    queue, delay = collections.deque(), 0.0
    print("ready", flush=True)
    while True:
        # select has microseconds where epoll has milliseconds. The delay is the same for all: they are in order.
        timeout = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        ready = select.select([*ends, sys.stdin], [], [], timeout)[0]
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            delay = float(line) / 1000
        for here, there in (ends, reversed(ends)):
            if here in ready:
                take(here, queue, there, delay)
        deliver(queue)


if __name__ == "__main__":
    main()
