#!/usr/bin/env bash
# "ashlar attach" where the kernel has NBD: server and client in one guest with kernel 6.1; attach
# takes /dev/nbd0, FUA and TRIM work, detach frees it, stop ends the server with 0.
# slow
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/uml.sh"

require_guest
truncate -s 1G "$DATA/below.img"
"$ROOT/tools/uml/run-uml" --no-net --host-root --timeout 150 --disk "$DATA/below.img" --env FS=ext4 --env ASHLAR="$ASHLAR" \
  "$HERE/guest-cycle.sh" >"$WORK/out" 2>"$WORK/uml.log" || { tail -n 60 "$WORK/uml.log" "$WORK/out" >&2; fail "attach in the guest"; }
sed 's/^/    /' "$WORK/out"
grep -q 'cycle done' "$WORK/out" || fail "the guest did not come to the end"
