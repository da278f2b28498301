# shellcheck shell=bash disable=SC2016  # what on_exit is given is evaluated at the end
# For the tests in this folder: source it first. Gives each test folders of its own, the program,
# and servers whose end is part of the verdict.
#   WORK     scratch in TMPDIR with a short path: sockets, mount points, logs
#   DATA     scratch in the repository's file system, where direct I/O works: the devices' files
#   ASHLAR   the program
# In a test's header, "# timeout: N" changes its time limit from 120 s, and "# slow" leaves it out
# of "tools/test --fast".
set -Eeuo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../tools/lib.sh
. "$HERE/../../tools/lib.sh"
export PYTHONPATH=$HERE

# skip REASON: end without a verdict. Only for what this machine cannot do.
skip() {
  printf 'SKIP: %s\n' "$*"
  exit 77
}
# fail TEXT: end with a verdict.
fail() {
  trap - ERR
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}
# report_failure LINE STATUS COMMAND: what ended the test; a here-document is left out.
report_failure() { printf 'FAIL: line %s: status %s from: %s\n' "$1" "$2" "${3%%$'\n'*}" >&2; }
trap 'report_failure "$LINENO" "$?" "$BASH_COMMAND"' ERR

mkdir -p "$ROOT/.build/interop"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/ashlar.XXXXXX")
DATA=$(mktemp -d "$ROOT/.build/interop/data.XXXXXX")
chmod 755 "$WORK" "$DATA"
SERVER='' SERVER_LOGS=()
on_exit 'rm -rf "$WORK" "$DATA"'
# shellcheck disable=SC2154  # "status" is run_exit_actions' own
on_exit 'show_logs "$status"'
on_exit 'unmount_all "$WORK"; detach_loops "$DATA"; detach_loops "$WORK"; unmount_all "$WORK"; unmount_all "$DATA"'
export ASHLAR_RUNTIME_DIR=$WORK/run ASHLAR_STATE_DIR=$WORK/state
mkdir -p "$ASHLAR_RUNTIME_DIR" "$ASHLAR_STATE_DIR"
build_release >/dev/null

# show_logs STATUS: after a failure, what the servers said.
show_logs() {
  local log
  [[ $1 -ne 0 && $1 -ne 77 ]] || return 0
  for log in "${SERVER_LOGS[@]}"; do
    printf -- '--- last lines of %s\n' "${log##*/}" >&2
    tail -n 30 "$log" >&2
  done
}

# socket_uri NAME: the export's URI on its default listener.
socket_uri() { printf 'nbd+unix:///%s?socket=%s/%s.sock\n' "$1" "$ASHLAR_RUNTIME_DIR" "$1"; }

# serve NAME ARGUMENT...: start "ashlar serve ARGUMENT... --name NAME" and wait until it answers.
# Leaves SERVER (its process), SOCKET, URI and LOG.
serve() {
  local name=$1; shift
  # shellcheck disable=SC2034  # for the tests
  SOCKET=$ASHLAR_RUNTIME_DIR/$name.sock
  URI=$(socket_uri "$name")
  LOG=$WORK/$name.log
  [[ " ${SERVER_LOGS[*]} " == *" $LOG "* ]] || SERVER_LOGS+=("$LOG")
  start_server "$LOG" "$URI" "$@" --name "$name" || fail "the server did not start: $*"
}

# serve_array NAME ARGUMENT...: start "ashlar serve ARGUMENT...", by whose members or name the array is
# called NAME, and wait until it answers. Leaves SERVER, SOCKET, URI and LOG.
serve_array() {
  local name=$1; shift
  # shellcheck disable=SC2034  # for the tests
  SOCKET=$ASHLAR_RUNTIME_DIR/$name.sock
  URI=$(socket_uri "$name")
  LOG=$WORK/$name.log
  [[ " ${SERVER_LOGS[*]} " == *" $LOG "* ]] || SERVER_LOGS+=("$LOG")
  start_server "$LOG" "$URI" "$@" || fail "the array did not start: $*"
}

# array_state NAME: its state in one word. array_is NAME WORD.
array_state() { timeout 10 "$ASHLAR" status "$1" --json | jq -r '.devices[0].status.array.state'; }
array_is() { [[ $(array_state "$1") == "$2" ]]; }

# expect_refusal WORDS COMMAND...: it ends with status 1, in time, and says so in these words (a
# pattern of grep -E).
expect_refusal() {
  local words=$1 status=0; shift
  timeout 30 "$@" >"$WORK/refusal" 2>&1 || status=$?
  if [[ $status -ne 1 ]] || ! grep -qE -- "$words" "$WORK/refusal"; then
    cat "$WORK/refusal" >&2
    fail "status $status, not a refusal with '$words', from: $*"
  fi
}

# expect_exit PID STATUS SECONDS: a child ends by itself, in time, with that status.
expect_exit() {
  local status=0
  wait_until "$3" is_gone "$1" || fail "process $1 still runs after $3 s"
  wait "$1" || status=$?
  [[ $status -eq $2 ]] || fail "process $1 ended with status $status, not $2"
}
is_gone() { ! is_running "$1"; }

# stop_server: by SIGTERM; it must end with status 0 within 20 s. A server that has crashed fails.
stop_server() {
  is_running "$SERVER" || fail "the server has ended by itself"
  kill -TERM "$SERVER"
  expect_exit "$SERVER" 0 20
}

# kill_server: by SIGKILL, at whatever instant this is.
kill_server() {
  kill -KILL "$SERVER"
  { wait "$SERVER" || true; } 2>/dev/null
}

# for_each_device SIZE FUNCTION: call it with a server of each device kind: a file by direct I/O, a
# file through the page cache, a block device, memory. The kind is its argument.
for_each_device() {
  local size=$1 body=$2 kind loop
  for kind in direct buffered block memory; do
    note "device: $kind"
    case $kind in
      direct) serve direct --file "$DATA/direct.img" --size "$size" --direct on ;;
      buffered) serve buffered --file "$DATA/buffered.img" --size "$size" --direct off ;;
      block)
        truncate -s "$size" "$DATA/block.img"
        loop=$(losetup -f --show --direct-io=on "$DATA/block.img")
        serve block --file "$loop"
        ;;
      memory) serve memory --memory "$size" ;;
    esac
    "$body" "$kind"
    stop_server
    [[ $kind != block ]] || losetup -d "$loop"
    rm -f "$DATA/$kind.img"
  done
}

# expect_status STATUS COMMAND...
expect_status() {
  local expected=$1 status=0; shift
  "$@" || status=$?
  [[ $status -eq $expected ]] || fail "status $status, not $expected, from: $*"
}

# resident_kib PID: its resident memory now. resident_max_kib PID: its highest.
resident_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
resident_max_kib() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

# require_root, require_mounts: for what needs a mount, a loop device, FUSE.
require_root() { [[ $EUID -eq 0 ]] || skip "needs root"; }
require_loop() {
  require_root
  [[ -e /dev/loop-control ]] || skip "this kernel has no loop devices"
}
require_mounts() {
  require_loop
  [[ -e /dev/fuse ]] || skip "this kernel has no FUSE"
}

# fio_verify URI ARGUMENT...: an fio job on its NBD engine that reads back and verifies what it wrote.
fio_verify() {
  local uri=$1; shift
  (cd "$WORK" && fio --name=verify --ioengine=nbd --uri="$uri" --verify_fatal=1 --exitall_on_error=1 \
    --randrepeat=0 --group_reporting --minimal "$@" >"$WORK/fio.out" 2>&1) ||
    { cat "$WORK/fio.out" >&2; fail "fio found an error: $*"; }
}
