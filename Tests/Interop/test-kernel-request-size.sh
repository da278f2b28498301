#!/usr/bin/env bash
# "ashlar attach" limits what one request carries on /dev/nbd, too: 64 KiB unless told otherwise (P6);
# seen at a server in a guest with kernel 6.1, with a higher limit to show that it is seen.
# slow
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/uml.sh"

require_guest
"$ROOT/tools/uml/run-uml" --no-net --host-root --timeout 150 --env SHARED="$HERE" --env ASHLAR="$ASHLAR" \
  "$HERE/guest-request-size.sh" >"$WORK/out" 2>"$WORK/uml.log" || { tail -n 60 "$WORK/uml.log" "$WORK/out" >&2; fail "attach in the guest"; }
sed 's/^/    /' "$WORK/out"
grep -q 'sizes done' "$WORK/out" || fail "the guest did not come to the end"
