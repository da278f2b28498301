#!/usr/bin/env bash
# An export that cannot be a member is refused, and the refusal says what it lacks and what to do: no
# FLUSH, read-only, blocks that are too large, nothing there, something that somebody may want.
. "$(dirname "$0")/lib.sh"

kits=0
# kit ARGUMENT...: an nbdkit; leaves its URI in KIT.
kit() {
  kits=$((kits + 1))
  local socket=$WORK/kit$kits.sock
  nbdkit -f -U "$socket" "$@" 2>"$WORK/kit$kits.log" &
  on_exit "stop_pid $!"
  KIT="nbd+unix:///?socket=$socket"
  wait_until 10 nbdinfo --size "$KIT" || { cat "$WORK/kit$kits.log"; fail "nbdkit does not answer: $*"; }
}
create() { expect_refusal "$1" "$ASHLAR" create a --level raid1 --size 64M --log-size 4m "$2" "$DATA/file"; }

# shellcheck disable=SC2016  # nbdkit expands it
kit eval get_size='echo 64M' pread='head -c $3 /dev/zero' can_write='exit 0' pwrite='cat >/dev/null' can_flush='exit 3'
create 'offers no FLUSH' "$KIT"
kit -r memory 64M
create 'reading only' "$KIT"
kit --filter=blocksize-policy memory 64M blocksize-minimum=8192 blocksize-preferred=8192 blocksize-error-policy=error
create 'multiples of 8192 bytes only' "$KIT"
create 'there is no socket' "nbd+unix:///?socket=$WORK/nowhere.sock"
[[ ! -e $DATA/file ]] || fail "a failed creation left a file behind"

# What is there is seen over NBD, too.
truncate -s 64M "$DATA/ext4"; mkfs.ext4 -q "$DATA/ext4"
kit file "$DATA/ext4"
create 'holds a file system \(ext4\)' "$KIT"
expect_refusal 'is given twice|the same as' "$ASHLAR" create a --level raid1 "$KIT" "$KIT"
