#!/usr/bin/env bash
# Out of descriptors: accepting pauses without spinning, those inside go on, status answers, and
# service is back when descriptors are. Requirement S13.
. "$(dirname "$0")/lib.sh"

ulimit -Sn 64
serve disk --memory 16M --max-connections 1000 --handshake-timeout 60s
ulimit -Sn "$(ulimit -Hn)" 2>/dev/null || true
python3 - "$SOCKET" "$SERVER" "$ASHLAR" <<'PY'
import resource, subprocess, sys, time, nbd
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
address, server, ashlar = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(f"/proc/{server}/limits", encoding="ascii") as limits:
    line = next(line for line in limits if line.startswith("Max open files"))
print(f"    the server's limit: {line.split()[3]}")
witness = nbd.Client(address)
crowd = []
for _ in range(100):
    try:
        crowd.append(nbd.RawConnection(address, timeout=0.2))
    except (BlockingIOError, TimeoutError, ConnectionError):
        break
time.sleep(0.5)
before = nbd.cpu_seconds(server)
time.sleep(2)
spun = nbd.cpu_seconds(server) - before
nbd.check(spun < 0.5, f"{spun} s of CPU in 2 s of waiting for descriptors")
witness.write(0, b"x" * 4096)
nbd.check(witness.read(0, 4096) == b"x" * 4096, "a client inside suffers")
state = subprocess.run([ashlar, "status", "disk", "--json"], capture_output=True, timeout=10, check=False)
nbd.check(state.returncode == 0, f"status does not answer: {state.stderr.decode()}")
for raw in crowd:
    raw.close()

def served():
    try:
        return nbd.Client(address, timeout=2).read(0, 4096) == b"x" * 4096
    except (nbd.Closed, TimeoutError, ConnectionError):
        return False
nbd.wait_until(served, 15, "no service after descriptors were free again")
PY
stop_server
