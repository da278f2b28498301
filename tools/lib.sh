# shellcheck shell=bash disable=SC2034  # much here is for those that source it
# Shared by the scripts under tools/ and Tests/Interop/. Source it; it does nothing by itself.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
export PYTHONDONTWRITEBYTECODE=1        # no __pycache__ beside the sources
# mkfs, losetup and friends live here, and a user's PATH may lack it.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
PROGRAM=${0##*/}

# Colours on a terminal only.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
  BOLD='' GREEN='' RED='' YELLOW='' PLAIN=''
fi

# say TEXT...: what happens now.
say() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }
# note TEXT...: a detail of it.
note() { printf '    %s\n' "$*"; }
warn() { printf '%s%s: %s%s\n' "$YELLOW" "$PROGRAM" "$*" "$PLAIN" >&2; }
# die TEXT...: say what went wrong and what to do, and end with status 1.
die() {
  printf '%s%s: %s%s\n' "$RED" "$PROGRAM" "$*" "$PLAIN" >&2
  exit 1
}

# --- Ending cleanly -----------------------------------------------------------------------------

EXIT_ACTIONS=()
# A signal may come while a command's output is redirected: what is said last goes here.
exec {OUT}>&1 {ERR}>&2

# on_exit COMMAND: run it when the script ends, the last one first; after INT, TERM and HUP too.
on_exit() {
  if [[ ${#EXIT_ACTIONS[@]} -eq 0 ]]; then
    trap 'run_exit_actions $?' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
  fi
  EXIT_ACTIONS+=("$1")
}

# run_exit_actions STATUS: the EXIT trap. Nothing interrupts it, and no failure stops it.
run_exit_actions() {
  local status=$1 index
  trap '' INT TERM HUP
  trap - EXIT ERR
  set +e
  exec 1>&"$OUT"
  exec 2>&"$ERR"
  for ((index = ${#EXIT_ACTIONS[@]} - 1; index >= 0; index--)); do
    eval "${EXIT_ACTIONS[index]}" </dev/null
  done
  EXIT_ACTIONS=()
  if declare -F last_word >/dev/null; then last_word "$status"; status=$?; fi
  exit "$status"
}

# run COMMAND...: in the background and awaited, so that a signal is acted upon at once and the
# command does not outlive the script.
run() {
  local pid status=0
  "$@" </dev/null &
  pid=$!
  on_exit "stop_pid $pid 5"
  wait "$pid" || status=$?
  unset 'EXIT_ACTIONS[-1]'
  return "$status"
}

# stop_pid PID [SECONDS]: ask a child of this script to end, insist after SECONDS (10).
stop_pid() {
  local pid=$1 tries=$((${2:-10} * 20)) try
  kill -TERM "$pid" 2>/dev/null || return 0
  kill -CONT "$pid" 2>/dev/null || true
  for ((try = 0; try < tries; try++)); do
    is_running "$pid" || break
    sleep 0.05
  done
  if is_running "$pid"; then kill -KILL "$pid" 2>/dev/null || true; fi
  wait "$pid" 2>/dev/null || true
}

# is_running PID: true while it is there and no zombie.
is_running() {
  local state
  state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 1
  [[ -n $state && $state != Z ]]
}

# wait_until SECONDS COMMAND...: poll until it succeeds.
wait_until() {
  local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000)); shift
  until "$@" >/dev/null 2>&1; do
    [[ ${EPOCHREALTIME/./} -lt $deadline ]] || return 1
    sleep 0.05
  done
}

# unmount_all FOLDER: what is mounted in it or on it, the last mounted first.
unmount_all() {
  local target
  findmnt -rno TARGET | awk -v dir="$1" '$0 == dir || index($0, dir "/") == 1' | tac |
    while read -r target; do
      wait_until 5 umount "$target" || umount -l "$target"
    done
}

# detach_loops FOLDER: the loop devices whose backing file lies in it.
detach_loops() {
  local device backing
  losetup -nO NAME,BACK-FILE 2>/dev/null | while read -r device backing; do
    [[ $backing != "$1"/* ]] || losetup -d "$device"
  done
}

# left_behind FOLDER...: print what a run left: mounts, loop devices and processes in its folders.
left_behind() {
  local folder pid words
  for folder in "$@"; do
    findmnt -rno TARGET,SOURCE | awk -v dir="$folder" '$1 == dir || index($1, dir "/") == 1 { print "mount " $0 }'
    losetup -nO NAME,BACK-FILE 2>/dev/null | awk -v dir="$folder/" 'index($2, dir) == 1 { print "loop device " $0 }'
    for pid in /proc/[0-9]*; do
      pid=${pid#/proc/}
      [[ $pid != "$$" && $pid != "$BASHPID" && $pid != "$PPID" ]] || continue
      words=$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null) || continue
      [[ $words != *"$folder/"* ]] || printf 'process %s: %.150s\n' "$pid" "$words"
    done
  done
}

# --- Packages -----------------------------------------------------------------------------------

# as_root COMMAND...: as root, by sudo when need be.
as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n -- "$@"; fi
}
can_be_root() { [[ $EUID -eq 0 ]] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]
}

# require PACKAGE...: install those Debian packages that are missing.
require() {
  local package missing=()
  command -v dpkg-query >/dev/null ||
    die "this is not a Debian system; install what corresponds to: $*"
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  can_be_root ||
    die "packages are missing; run this as root, or first: sudo apt-get install ${missing[*]}"
  say "Installing ${missing[*]}"
  local log; log=$(mktemp)
  if ! install_packages "${missing[@]}" >"$log" 2>&1; then
    # The lists may be missing or old.
    if ! { as_root apt-get update -q && install_packages "${missing[@]}"; } >"$log" 2>&1; then
      tail -n 15 "$log" >&2; rm -f "$log"
      die "cannot install ${missing[*]}: see above; is a package mirror reachable?"
    fi
  fi
  rm -f "$log"
}
install_packages() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

PACKAGES_BUILD=(liburing-dev libisal-dev libjansson-dev libsystemd-dev libblkid-dev pkg-config)
PACKAGES_SERVE=(libnbd-bin fuse3 e2fsprogs util-linux mount jq)
PACKAGES_DEMO=(postgresql libnbd-bin fuse3 e2fsprogs util-linux mount jq python3)
PACKAGES_TEST=("${PACKAGES_SERVE[@]}" nbdkit nbd-client fio xfsprogs qemu-utils qemu-block-extra
  socat strace sqlite3 python3 busybox-static cpio kmod iproute2 procps postgresql)
PACKAGES_BENCHMARKS=(fio nbdkit nbd-server qemu-utils libnbd-bin linux-perf util-linux mdadm python3
  btrfs-progs qemu-system-common drbd-utils busybox-static cpio iproute2)

# --- The program --------------------------------------------------------------------------------

# require_toolchain: a Swift compiler of 6.2 or later.
require_toolchain() {
  command -v swift >/dev/null ||
    die "no Swift toolchain: install Swift 6.3 from https://www.swift.org/install/linux/ and put it on the PATH"
}

# unit_tests: run all unit tests, which have been built. In four processes: what a simulated crash
# leaves of an array stays in memory until its process ends, and together that is more than 20 GiB.
unit_tests() {
  local part status=0
  for part in "--filter=RAIDTests\\.[A-D]" "--filter=RAIDTests\\.E" "--filter=RAIDTests\\.[F-Z]" "--skip=RAIDTests\\."; do
    run swift test --package-path "$ROOT" --disable-xctest --skip-build "$part" || status=$?
  done
  return "$status"
}

# build_release: build the optimised program unless ASHLAR names one; leaves its path in ASHLAR.
build_release() {
  if [[ -n ${ASHLAR:-} ]]; then
    [[ -x $ASHLAR ]] || die "ASHLAR=$ASHLAR is not a program"
    note "using $ASHLAR"
  else
    require_toolchain
    run swift build --package-path "$ROOT" -c release --scratch-path "$ROOT/.build/release-tree" \
      --product ashlar || die "the build failed, see above"
    ASHLAR=$ROOT/.build/release-tree/release/ashlar
    [[ -x $ASHLAR ]] || die "the build left no $ASHLAR"
  fi
  export ASHLAR
}

# start_server LOG URI ARGUMENT...: run "ashlar serve ARGUMENT..." in the background and wait until
# a client gets an answer at URI. Leaves its process number in SERVER.
start_server() {
  local log=$1 uri=$2; shift 2
  "$ASHLAR" serve "$@" >>"$log" 2>&1 </dev/null &
  SERVER=$!
  on_exit "stop_pid $SERVER"
  local deadline=$((SECONDS + 15))
  until nbdinfo --size "$uri" >/dev/null 2>&1; do
    if ! is_running "$SERVER" || [[ $SECONDS -ge $deadline ]]; then
      sed 's/^/    /' "$log" >&2
      printf '%s: the server does not answer at %s; its log is above\n' "$PROGRAM" "$uri" >&2
      return 1
    fi
    sleep 0.05
  done
}
