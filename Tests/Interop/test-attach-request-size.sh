#!/usr/bin/env bash
# "ashlar attach" limits what one request carries, by FUSE and a loop device: 64 KiB unless told
# otherwise (P6), so that no request that arrives is larger, whatever the client does; a higher limit
# lets larger ones through, which shows that the test sees them.
. "$(dirname "$0")/lib.sh"
. "$HERE/mount.sh"
. "$HERE/request-sizes.sh"

require_mounts
mkdir "$WORK/mnt"
server() { # server NAME: takes down every request in WORK/NAME.requests
  nbdkit -f -U "$WORK/$1.sock" --filter=log memory 512M logfile="$WORK/$1.requests" 2>"$WORK/$1.kit" &
  KIT=$!
  on_exit "stop_pid $KIT"
  URI_OF_KIT="nbd+unix:///?socket=$WORK/$1.sock"
  wait_until 10 nbdinfo --size "$URI_OF_KIT" || { cat "$WORK/$1.kit"; fail "nbdkit does not answer"; }
}
sizes() { # sizes NAME LIMIT OPTION...
  local name=$1 limit=$2; shift 2
  server "$name"
  device=$("$ASHLAR" attach "$URI_OF_KIT" --fuse "$@") || fail "attach"
  on_exit "'$ASHLAR' detach '$URI_OF_KIT' --force >/dev/null 2>&1"
  echo "max_sectors_kb of $device: $(cat "/sys/block/${device#/dev/}/queue/max_sectors_kb")"
  drive "$device" "$WORK/mnt"
  "$ASHLAR" detach "$URI_OF_KIT" || fail "detach"
  stop_pid "$KIT"
  judge "$WORK/$name.requests" "$limit" || fail "$name"
}
sizes default 65536
sizes small 16384 --max-request 16k
# More than this libnbd's FUSE does not take at once.
sizes large 131072 --max-request 128k
