#!/usr/bin/env bash
# A FLUSH is a real fdatasync below, after every write that was answered, whichever connection it
# came by; a write with FUA is not answered before it is stable; a write without is not synced.
# Checklist 41, 54, 55. Promise P2.
. "$(dirname "$0")/lib.sh"
. "$HERE/backing.sh"

make_backing --filter=log memory 16M logfile="$WORK/below.requests"
for direct in on off; do
  note "--direct $direct"
  serve disk --file "$BACKING" --direct "$direct"
  python3 - "$SOCKET" "$WORK/below.requests" <<'PY'
import re, sys, time, nbd
address, log = sys.argv[1], sys.argv[2]

def below():
    """What has arrived below so far: a list of "write" and "flush", in the order of their ends."""
    with open(log, encoding="utf-8") as lines:
        return [match.group(1) for match in (re.search(r"\.\.\.(Write|Flush|Zero|Trim)\b.*return=0", line) for line in lines) if match]

first, second = nbd.Client(address), nbd.Client(address)
first.flush()
for turn in range(5):
    start = len(below())
    first.write(turn * 65536, b"a" * 4096)
    nbd.check("Flush" not in below()[start:], "a write without FUA was synced: the next check would prove nothing")
    second.flush()
    seen = below()[start:]
    nbd.check("Flush" in seen, "FLUSH on the other connection was answered, but nothing was synced")
    nbd.check("Write" in seen and seen.index("Write") < len(seen) - 1 - seen[::-1].index("Flush"),
              f"the write was not below before the sync: {seen}")
for turn in range(5):
    start = len(below())
    first.write(turn * 65536 + 8192, b"b" * 4096, nbd.FUA)
    seen = below()[start:]
    nbd.check("Write" in seen and "Flush" in seen and seen.index("Write") < len(seen) - 1 - seen[::-1].index("Flush"),
              f"a write with FUA was answered after {seen}")
for command in (nbd.TRIM, nbd.WRITE_ZEROES):
    start = len(below())
    error = first.request(command, 1 << 20, 65536, nbd.FUA)[0]
    nbd.check(error == 0, f"command {command} with FUA: errno {error}")
    nbd.check("Flush" in below()[start:], f"command {command} with FUA was answered without a sync")
# An idle server syncs nothing, and the end syncs what is not synced.
start = len(below())
first.write(0, b"c" * 4096)
time.sleep(0.2)
PY
  count=$(grep -c 'Flush.*return=0' "$WORK/below.requests")
  stop_server
  [[ $(grep -c 'Flush.*return=0' "$WORK/below.requests") -gt $count ]] || fail "the end of the server synced nothing"
done
