#!/usr/bin/env bash
# Standard streams that are closed at the start are no danger: no disk is given their numbers, so
# that nothing that is said to the operator is written onto one.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

image=$DATA/disk.img
# descriptors PROCESS: what its standard streams are.
descriptors() { local n; for n in 0 1 2; do readlink "/proc/$1/fd/$n" || true; done; }

truncate -s 16M "$image"
"$ASHLAR" serve --file "$image" --name disk <&- >&- 2>&- &
pid=$!
on_exit "stop_pid $pid"
wait_until 10 nbdinfo --size "$(socket_uri disk)" || fail "the server does not answer"
[[ $(descriptors "$pid" | sort -u) == /dev/null ]] ||
  fail "its standard streams are: $(descriptors "$pid" | tr '\n' ' ')"
"$ASHLAR" stop disk
cmp -n 16777216 "$image" /dev/zero || fail "what the server said was written onto its disk"

# Neither is a report; and that it went nowhere is an error.
status=0
"$ASHLAR" bench "$image" --rw=read --size=1M --eta=never <&- >&- 2>"$WORK/err" || status=$?
[[ $status -eq 1 ]] || { cat "$WORK/err" >&2; fail "status $status for a report that went nowhere"; }
says "$WORK/err" 'standard output is closed'
cmp -n 16777216 "$image" /dev/zero || fail "the report was written onto the target"

# What else was asked for is written all the same.
status=0
"$ASHLAR" bench "$image" --rw=write --size=1M --verify=crc32c --verify_state_save="$WORK/saved" \
  --plot="$WORK/plot.svg" --eta=never >&- 2>"$WORK/err" || status=$?
[[ $status -eq 1 ]] || { cat "$WORK/err" >&2; fail "status $status for a report that went nowhere"; }
says "$WORK/err" 'standard output is closed'
says "$WORK/plot.svg" '</svg>'
bench_status 0 "$image" --rw=read --size=1M --verify=crc32c --verify_state_load="$WORK/saved"
says "$OUT" '256 blocks checked .*none bad'
