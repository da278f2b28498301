#!/usr/bin/env bash
# Sparse members on a file system that fills up: the member that gets ENOSPC is put out and named, the
# others go on, nothing acknowledged is lost; with the last one that can be spared the array stops
# accepting writes and says so, and what it has is read; with room again it recovers.
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$HERE/kill9.sh"
. "$HERE/full.sh"
. "$HERE/array.sh"

make_small_fs 40M
members=("$DATA/m0" "$DATA/small/m1" "$DATA/m2")
create_array a raid5 96M "${members[@]}"
serve_array a a
verify_acked load a --seconds 8 >"$WORK/load.json" || fail "a wrong block while the file system filled up"
note "load: $(cat "$WORK/load.json")"
expect_member a 1 30 out
expect_cause a 1 'failed a write \(.*[Nn]o space'
array_is a degraded || fail "the array is $(array_state a), not degraded"
[[ $(jq '[to_entries[] | select(.key | startswith("write-errno"))] | length' "$WORK/load.json") -eq 0 ]] ||
  fail "the array passed on an error that it could have hidden: $(cat "$WORK/load.json")"
verify_acked check a >"$WORK/check.json" || fail "an acknowledged block is gone"
# Killed in this state.
kill_under_load a
serve_array a a
verify_acked check a >"$WORK/check.json" || fail "after the kill: an acknowledged block is gone"
note "check: $(cat "$WORK/check.json")"
stop_server

# All of them on it: nobody can be spared.
rm -rf "${DATA:?}"/small/m* "$STATE"
members=("$DATA/small/n0" "$DATA/small/n1")
create_array b raid1 96M "${members[@]}"
serve_array b b
verify_acked load b --seconds 8 >"$WORK/load.json" || fail "a wrong block while the file system filled up"
note "load: $(cat "$WORK/load.json")"
wait_until 30 array_is b failed || fail "the array is $(array_state b), not failed"
timeout 10 "$ASHLAR" status b >"$WORK/status" || true
grep -qi 'no space' "$WORK/status" || { cat "$WORK/status"; fail "status does not name the reason"; }
verify_acked check b >"$WORK/check.json" || fail "an acknowledged block is gone"
note "check: $(cat "$WORK/check.json")"
kill_server
