#!/usr/bin/env bash
# A kernel that forbids io_uring, or has none, is met with an error that says what to do.
. "$(dirname "$0")/lib.sh"

refused() { # refused ERRNO PATTERN
  local status=0
  timeout 10 python3 "$HERE/without-iouring.py" "$1" "$ASHLAR" serve --memory 16M --name disk \
    >"$WORK/out" 2>&1 || status=$?
  [[ $status -eq 1 ]] || { cat "$WORK/out"; fail "exit status $status, not 1"; }
  [[ $(wc -l <"$WORK/out") -eq 1 ]] || { cat "$WORK/out"; fail "not one line"; }
  grep -qE -- "$2" "$WORK/out" || { cat "$WORK/out"; fail "the message does not help"; }
}
refused 1 'forbids io_uring.*io_uring_disabled.*seccomp'    # EPERM
refused 38 'Linux 6.1 or newer'                             # ENOSYS
refused 12 'ulimit -l'                                      # ENOMEM
[[ ! -e $ASHLAR_RUNTIME_DIR/disk.sock ]] || fail "a socket was left behind"
