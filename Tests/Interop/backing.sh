# shellcheck shell=bash
# For tests that watch or break what is below the served file: a FUSE file in WORK/below, backed by
# nbdkit, so that each fdatasync of the server arrives there as one FLUSH request.

# make_backing NBDKIT-ARGUMENT...: leaves the file's path in BACKING. 16 MiB.
make_backing() {
  require_mounts
  mkdir "$WORK/below"
  nbdfuse "$WORK/below/disk" [ nbdkit --exit-with-parent "$@" ] >"$WORK/below.log" 2>&1 &
  local pid=$!
  on_exit "stop_backing $pid"
  BACKING=$WORK/below/disk
  wait_until 10 has_size "$BACKING" 16777216 || { cat "$WORK/below.log" >&2; fail "nbdfuse did not come up"; }
}
has_size() { [[ $(stat -c %s "$1" 2>/dev/null) == "$2" ]]; }
stop_backing() {
  wait_until 5 fusermount3 -u "$WORK/below" || umount -l "$WORK/below"
  stop_pid "$1" 5
}
