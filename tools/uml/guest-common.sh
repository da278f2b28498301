# shellcheck shell=bash disable=SC2154
# The parts of run-uml that know nothing of User-Mode Linux. It sets these before start_run: cache
# initrd limit work log quiet stamp server wait_port name (words), disks files guest_env modules
# (arrays).

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 125; }
note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# quote VALUE: in single quotes, for any POSIX shell.
quote() { local q="'\\''"; printf "'%s'" "${1//\'/$q}"; }

# absolute PATH: without resolving the last part; refuses what a kernel command line cannot carry.
absolute() {
  local dir path
  dir=$(cd "$(dirname "$1")" 2>/dev/null && pwd) || die "no such folder: $(dirname "$1")"
  path=${dir%/}/$(basename "$1")
  case $path in *[[:space:],:]*) die "no blank, comma or colon in paths, please: $path" ;; esac
  printf '%s\n' "$path"
}

own_work='' server_pid='' guest_pid='' pump_pid=''

# cleanup STATUS: what this run made goes, by its number or path. Runs on every exit.
cleanup() {
  local status=$1
  trap '' INT TERM HUP
  set +e
  stop_group "$guest_pid"
  [[ -z $pump_pid ]] || wait "$pump_pid" 2>/dev/null
  stop_group "$server_pid"
  if declare -F cleanup_net >/dev/null; then cleanup_net; fi
  [[ -z $own_work ]] || rm -rf "$own_work"
  exit "$status"
}

# start_run KIND TEST: check, make the scratch folder and the default initramfs, stage the test.
start_run() {
  local kind=$1 test_script=$2 entry source target
  [[ -n $cache ]] || die "say where the kernels are: -k CACHE or UML_CACHE"
  [[ -s $cache/$kind/linux ]] || die "no $kind kernel in $cache: run fetch-kernels"
  [[ -f $test_script ]] || die "no such test: $test_script"
  [[ $limit =~ ^[1-9][0-9]*$ ]] || die "--timeout takes whole seconds"
  [[ ${#disks[@]} -le 8 ]] || die "at most 8 disks"
  cache=$(absolute "$cache")
  trap 'cleanup $?' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [[ -n $work ]]; then
    mkdir -p "$work"
    work=$(mktemp -d "$(absolute "$work")/$kind.XXXXXX")
  else
    work=$(mktemp -d)
  fi
  own_work=$work
  if [[ -z $initrd ]]; then
    initrd=$cache/$kind/default.cpio
    if [[ ! -s $initrd || $here/mkinitrd -nt $initrd || $here/guest-init -nt $initrd ]]; then
      "$here/mkinitrd" -k "$cache" -o "$initrd" -w "$work" >&2
    fi
  fi
  [[ -s $initrd ]] || die "no such initramfs: $initrd"
  mkdir -p "$work/stage/guest"
  install -m 755 "$test_script" "$work/stage/guest/test"
  for entry in "${files[@]}"; do
    source=${entry%%:*} target=${source##*/}
    [[ $entry != *:* ]] || target=${entry#*:}
    mkdir -p "$(dirname "$work/stage/guest/$target")"
    cp -L "$source" "$work/stage/guest/$target"
  done
}

# prepare_disk FILE[:SIZE]: check or create it, leave its absolute path in disk_file.
prepare_disk() {
  local size=''
  disk_file=$1
  [[ $disk_file != *:* ]] || { size=${disk_file##*:}; disk_file=${disk_file%:*}; }
  disk_file=$(absolute "$disk_file")
  [[ -z $size ]] || truncate -s "$size" "$disk_file"
  [[ -e $disk_file ]] || die "no such disk: $disk_file (FILE:SIZE creates it)"
}

# finish_initrd TEST-ARGS...: what the guest's init reads, appended to the initramfs as one more
# archive. Concatenated cpio archives unpack one after the other, so the base is built only once.
finish_initrd() {
  local pair arg
  guest_env+=("GUEST_NAME=$name" "GUEST_MODULES=${modules[*]}")
  token=$RANDOM$RANDOM$$
  {
    printf 'GUEST_TOKEN=%s\n' "$token"
    for pair in "${guest_env[@]}"; do
      [[ $pair == *=* && ${pair%%=*} =~ ^[A-Za-z_][A-Za-z_0-9]*$ ]] || die "not KEY=VALUE: $pair"
      printf 'export %s=%s\n' "${pair%%=*}" "$(quote "${pair#*=}")"
    done
    printf 'set --'
    for arg in "$@"; do printf ' %s' "$(quote "$arg")"; done
    printf '\n'
  } >"$work/stage/guest/env"
  { cat "$initrd"; (cd "$work/stage" && find . | cpio -o -H newc --quiet -R 0:0); } >"$work/initrd"
}

# start_server: in a process group of its own; wait until it listens (without connecting to it).
start_server() {
  local try
  if [[ -n $server ]]; then
    setpriv --pdeathsig TERM setsid bash -c "$server" </dev/null >&2 &
    server_pid=$!
  fi
  [[ -n $wait_port ]] || return 0
  for ((try = 0; ; try++)); do
    [[ -z $(ss -Hltn "sport = :$wait_port") ]] || return 0
    [[ -z $server_pid ]] || kill -0 "$server_pid" 2>/dev/null || die "the server ended: $server"
    [[ $try -lt 200 ]] || die "nothing listens on port $wait_port"
    sleep 0.05
  done
}

# console_pump LOG: copy the console to LOG, and what lies between the start of the test and the
# marker to standard output, line by line.
console_pump() {
  local log=$1 line start=${EPOCHREALTIME/./} shown=0
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%$'\r'}
    if [[ $stamp -eq 1 ]]; then
      printf -v line '%7.2f %s' "$(((${EPOCHREALTIME/./} - start) / 10000))e-2" "$line"
    fi
    printf '%s\n' "$line" >>"$log"
    case $line in
      *GUEST-START*) shown=1 ;;
      *GUEST-EXIT*) shown=0 ;;
      *) [[ $shown -eq 0 || $quiet -eq 1 ]] || printf '%s\n' "$line" ;;
    esac
  done
}

# wait_guest PID LIMIT: wait for a child at most LIMIT seconds; status 124 when it ran longer.
wait_guest() {
  local pid=$1 deadline=$((SECONDS + $2))
  while kill -0 "$pid" 2>/dev/null; do
    [[ $SECONDS -lt $deadline ]] || return 124
    sleep 0.05
  done
}

# stop_group PID: end a child of ours that leads its own process group, and what is left of the
# group. A UML kernel that is killed outright leaves the host processes of its guest behind.
stop_group() {
  local pid=$1 try
  [[ -n $pid ]] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  for try in {1..40}; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL -- "-$pid" 2>/dev/null || true
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# guest_status LOG: the status from the marker line with this run's token; 126 without one.
guest_status() {
  local found
  found=$(grep -aoE "GUEST-EXIT $token [0-9]+" "$1" | tail -n 1 || true)
  [[ -n $found ]] || return 126
  return "${found##* }"
}

# run_guest COMMAND...: run it with its output as the console, and exit with the test's status.
run_guest() {
  local status=0 why='' started=$EPOCHREALTIME
  [[ -n $log ]] || log=$work/console
  : >"$log"
  mkfifo "$work/fifo"
  console_pump "$log" <"$work/fifo" &
  pump_pid=$!
  # Should this script be killed outright, its guest is told to end, too.
  setpriv --pdeathsig TERM nice -n "${UML_NICE:-10}" "$@" </dev/null >"$work/fifo" 2>&1 &
  guest_pid=$!
  wait_guest "$guest_pid" "$limit" 2>/dev/null || status=$?   # the shell would report a panic as "Aborted"
  stop_group "$guest_pid"; guest_pid=''
  wait "$pump_pid" 2>/dev/null || true; pump_pid=''
  [[ $status -eq 124 ]] || guest_status "$log" || status=$?
  case $status in
    124) why=": stopped at the limit" ;;
    126) why=": the guest ended without a status" ;;
  esac
  # What no status explains, the console may.
  if [[ -n $why ]] && { [[ $quiet -eq 1 ]] || ! grep -aq GUEST-START "$log"; }; then cat "$log" >&2; fi
  note "status $status after $(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s$why"
  exit "$status"
}
