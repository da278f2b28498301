#!/usr/bin/env bash
# The handshake as a whole has a deadline: a client that sends a byte every second, one that is
# silent, and one that negotiates forever are closed at --handshake-timeout; a client that came
# through is not. Requirement S2.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M --handshake-timeout 4s
python3 - "$SOCKET" <<'PY'
import struct, sys, threading, time, nbd
address = sys.argv[1]
done = nbd.Client(address)
lives = {}

def live(name, feed):
    raw = nbd.RawConnection(address)
    start = time.monotonic()
    raw.socket.settimeout(0.2)
    for piece in feed(raw):
        try:
            raw.socket.sendall(piece)
        except OSError:
            break
        until = time.monotonic() + 1
        closed = False
        while time.monotonic() < until and not closed:
            try:
                closed = raw.socket.recv(65536) == b""
            except TimeoutError:
                pass
            except OSError:
                closed = True
        if closed:
            break
    lives[name] = time.monotonic() - start

def trickle(raw):
    data = struct.pack(">I", 3) + raw.option_bytes(nbd.GO, raw.name_bytes("disk"))
    return (data[index : index + 1] for index in range(len(data)))

def silent(raw):
    return (b"" for _ in range(20))

def talker(raw):
    yield struct.pack(">I", 3)
    for _ in range(20):
        yield raw.option_bytes(nbd.LIST)

threads = [threading.Thread(target=live, args=(name, feed)) for name, feed in
           (("trickle", trickle), ("silent", silent), ("talker", talker))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for name, seconds in lives.items():
    print(f"    {name}: closed after {seconds:.1f} s")
    nbd.check(3 <= seconds <= 7, f"{name} was closed after {seconds:.1f} s, not 4")
nbd.check(done.read(0, 512) == bytes(512), "a client that had come through was closed, too")
PY
stop_server
