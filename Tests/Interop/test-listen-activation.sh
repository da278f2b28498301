#!/usr/bin/env bash
# Socket activation: LISTEN_FDS hands over listening sockets, unix and TCP; a LISTEN_PID that is not
# ours is ignored.
. "$(dirname "$0")/lib.sh"

cat >"$WORK/activate.py" <<'PY'
"""activate.py PID-OFFSET SOCKET COMMAND...: listens on SOCKET and a TCP port, and becomes COMMAND
with both as descriptors 3 and 4."""
import os, socket, sys
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[2])
tcp = socket.socket()
tcp.bind(("127.0.0.1", 0))
for each in (unix, tcp):
    each.listen(16)
print(tcp.getsockname()[1], flush=True)
high = [os.dup(each.fileno()) for each in (unix, tcp)]
high = [os.fdopen(os.dup2(each, 10 + index), "wb", closefd=False).fileno() for index, each in enumerate(high)]
for index, each in enumerate(high):
    os.dup2(each, 3 + index, inheritable=True)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid() + int(sys.argv[1])), LISTEN_FDNAMES="nbd:nbd")
os.execv(sys.argv[3], sys.argv[3:])
PY
python3 "$WORK/activate.py" 0 "$WORK/given.sock" "$ASHLAR" serve --memory 16M --name disk >"$WORK/out" 2>"$WORK/disk.log" &
SERVER=$!
SERVER_LOGS=("$WORK/disk.log")
on_exit "stop_pid $SERVER"
wait_until 10 nbdinfo --size "nbd+unix:///disk?socket=$WORK/given.sock" || fail "no service on the socket that was handed over"
port=$(head -n 1 "$WORK/out")
[[ $(nbdinfo --size "nbd://127.0.0.1:$port/disk") == 16777216 ]] || fail "no service on the second socket"
[[ ! -e $ASHLAR_RUNTIME_DIR/disk.sock ]] || fail "it listens on the default socket as well"
"$ASHLAR" status disk --check >/dev/null || fail "no status"
stop_server
[[ -e $WORK/given.sock ]] || fail "it removed a socket that is not its own"

# Meant for another process: the default listener.
python3 "$WORK/activate.py" 1 "$WORK/other.sock" "$ASHLAR" serve --memory 16M --name disk >"$WORK/out" 2>>"$WORK/disk.log" &
SERVER=$!
on_exit "stop_pid $SERVER"
wait_until 10 nbdinfo --size "$(socket_uri disk)" || fail "no service on the default socket"
stop_server
