#!/usr/bin/env bash
# A reader of the log that stops reading holds up nobody: requests, status and stop go on while
# standard error is a full pipe.
. "$(dirname "$0")/lib.sh"

mkfifo "$WORK/log"
# shellcheck disable=SC2217  # it holds the pipe open and never reads
sleep 600 <"$WORK/log" & reader=$!
on_exit "kill $reader 2>/dev/null || true"
truncate -s 16M "$DATA/disk.img"
"$ASHLAR" serve --file "$DATA/disk.img" --name disk --handshake-timeout 1s 2>"$WORK/log" & server=$!
on_exit "kill -9 $server 2>/dev/null || true"
for _ in {1..100}; do [[ -S $ASHLAR_RUNTIME_DIR/disk.sock ]] && break; sleep 0.05; done
# Fill the pipe: each client that breaks the protocol is a line. 20 lines in 10 s are written, so the
# pipe is made small first.
python3 - "$server" <<'PY'
import fcntl, os, sys
pipe = os.open(f"/proc/{sys.argv[1]}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
fcntl.fcntl(pipe, 1031, 4096)                # F_SETPIPE_SZ
try:
    while True:
        os.write(pipe, b"x")
except BlockingIOError:
    pass
PY
uri=$(socket_uri disk)
python3 - "$ASHLAR_RUNTIME_DIR/disk.sock" <<'PY'
import socket, sys
for _ in range(5):
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    client.recv(18)
    client.sendall(b"\xff\xff\xff\xff")      # unknown client flags: a violation, and a line
    while client.recv(100):
        pass
PY
timeout 10 qemu-io -f raw -c 'write -P 7 0 64k' -c 'read -P 7 0 64k' "$uri" >/dev/null || fail "I/O waits for the log"
timeout 10 "$ASHLAR" status disk >/dev/null || fail "status waits for the log"
timeout 20 "$ASHLAR" stop disk >/dev/null || fail "stop waits for the log"
wait "$server" || fail "the server ended with status $?"
