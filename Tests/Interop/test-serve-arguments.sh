#!/usr/bin/env bash
# What cannot be served is refused before anything is created, with a message that says what to do;
# an existing file is never resized or emptied.
. "$(dirname "$0")/lib.sh"

refused() { # refused PATTERN ARGUMENT...
  local pattern=$1 status=0; shift
  timeout 10 "$ASHLAR" serve "$@" >"$WORK/out" 2>&1 || status=$?
  [[ $status -ne 0 && $status -ne 124 && $status -lt 128 ]] || { cat "$WORK/out"; fail "status $status for: serve $*"; }
  grep -qiE -- "$pattern" "$WORK/out" || { cat "$WORK/out"; fail "the message does not help: serve $*"; }
}
refused 'file|memory'
refused 'size' --file "$DATA/missing.img"
[[ ! -e $DATA/missing.img ]] || fail "a file was created without a size"
refused 'missing|no such|exist' --file "$DATA/no/such/folder.img" --size 16M
refused 'size' --memory banana
refused 'size|outside|memory' --memory 0
refused 'size|outside|memory' --memory 99999999999999999999G
refused 'direct' --file "$DATA/x.img" --size 1M --direct maybe
refused 'unknown|option' --memory 16M --frobnicate
refused 'memory|file' --memory 16M --file "$DATA/x.img"
refused 'name' --memory 16M --name ../../etc/passwd
refused 'name' --memory 16M --name ''
refused 'directory|regular|folder|file' --file "$DATA"
[[ ! -e $DATA/x.img ]] || fail "a refused command created a file"

printf 'precious' >"$DATA/keep.img"
truncate -s 8M "$DATA/keep.img"
status=0
timeout 5 "$ASHLAR" serve --file "$DATA/keep.img" --size 4M >"$WORK/out" 2>&1 || status=$?
[[ $status -ne 0 ]] || fail "an existing file was taken with another size"
[[ $(stat -c %s "$DATA/keep.img") == 8388608 && $(head -c 8 "$DATA/keep.img") == precious ]] || fail "the existing file was changed"

# The name comes from the file, sizes take suffixes, and an odd size is served to its last byte.
truncate -s 1000001 "$DATA/odd.name.img"
"$ASHLAR" serve --file "$DATA/odd.name.img" >"$WORK/odd.log" 2>&1 &
SERVER=$!
on_exit "stop_pid $SERVER"
wait_until 10 nbdinfo --size "$(socket_uri odd.name)" || { cat "$WORK/odd.log"; fail "no service by the file's own name"; }
[[ $(nbdinfo --size "$(socket_uri odd.name)") == 1000001 ]] || fail "an odd size was rounded"
python3 - "$ASHLAR_RUNTIME_DIR/odd.name.sock" <<'PY'
import sys, nbd
client = nbd.Client(sys.argv[1])
client.write(999990, b"0123456789!")
nbd.check(client.read(999990, 11) == b"0123456789!", "the last bytes")
nbd.check(client.request(nbd.READ, 999990, 12)[0] == nbd.EINVAL, "a read past an odd end")
PY
stop_server
[[ $(stat -c %s "$DATA/odd.name.img") == 1000001 ]] || fail "the file has grown"
for size in 4096 4k 4KiB 16M 1G; do
  serve sized --memory "$size"
  [[ $(nbdinfo --size "$URI") == "$(numfmt --from=auto "$(sed 's/KiB/Ki/; s/k$/Ki/; s/M$/Mi/; s/G$/Gi/' <<<"$size")")" ]] || fail "--memory $size"
  stop_server
done

# A start that fails for its sockets has not created the file.
status=0
timeout 10 "$ASHLAR" serve --name new --file "$DATA/new.img" --size 1M --listen "unix:$WORK/none/x" \
  >"$WORK/out" 2>&1 || status=$?
[[ $status -eq 1 ]] || fail "status $status from a listener in a missing folder"
[[ ! -e $DATA/new.img ]] || fail "a failed start left the file it had created"
[[ -z $(ls "$ASHLAR_RUNTIME_DIR") ]] || fail "a failed start left $(ls "$ASHLAR_RUNTIME_DIR")"
