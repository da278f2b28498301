#!/usr/bin/env bash
# STARTTLS where no TLS is configured: refused with POLICY or UNSUP, INVALID when it carries data,
# never TLS_REQD, and negotiation goes on in plain. Checklist 16.
. "$(dirname "$0")/lib.sh"

serve disk --memory 16M
python3 - "$SOCKET" <<'PY'
import sys, nbd
raw = nbd.RawConnection(sys.argv[1])
raw.greet()
nbd.check(raw.option(nbd.STARTTLS)[-1][0] in (nbd.ERR_POLICY, nbd.ERR_UNSUP), "STARTTLS was not refused")
nbd.check(raw.option(nbd.STARTTLS, b"x")[-1][0] in (nbd.ERR_INVALID, nbd.ERR_POLICY, nbd.ERR_UNSUP), "STARTTLS with data")
raw.send(raw.option_bytes(nbd.STARTTLS) + raw.option_bytes(nbd.LIST))
nbd.check(raw.option_replies(nbd.STARTTLS)[-1][0] & nbd.ERR, "STARTTLS was not refused")
nbd.check(raw.option_replies(nbd.LIST)[-1][0] == nbd.REP_ACK, "not in step after STARTTLS")
raw.go("disk")
PY
stop_server
