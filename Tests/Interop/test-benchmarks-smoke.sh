#!/usr/bin/env bash
# The harness of the benchmarks: its unit tests pass; a short comparison of two servers leaves a table,
# JSON with every run, and a picture that is XML; a pattern that matches nothing is an error; and
# interrupted in a run, it leaves nothing behind.
. "$(dirname "$0")/lib.sh"
export TMPDIR=$WORK

compare=("$ROOT/benchmarks/compare-servers" --binary "$ASHLAR" --dir "$DATA" --size 16M
  --only '(ashlar|nbdkit)-memory/randread-4k-qd32')

note "what needs no server"
(cd "$ROOT/benchmarks" && python3 -m unittest measure.tests >"$WORK/out" 2>&1) ||
  { cat "$WORK/out" >&2; fail "unit tests of the harness"; }

note "one round of two servers"
"${compare[@]}" --rounds 1 --seconds 0.3 --json "$WORK/r.json" --svg "$WORK/r.svg" --markdown "$WORK/r.md" \
  >"$WORK/out" 2>"$WORK/err" || { cat "$WORK/err" >&2; fail "the comparison failed"; }
python3 - "$WORK" <<'PYTHON'
import json, pathlib, sys
import xml.etree.ElementTree as tree

work = pathlib.Path(sys.argv[1])
document = json.loads((work / "r.json").read_text())
runs = {run["server"]: run for run in document["runs"]}
assert set(runs) == {"ashlar-memory", "nbdkit-memory"} and len(document["runs"]) == 2, runs
for run in runs.values():
    for name in ("iops", "mbps", "p50_us", "p99_us", "server_cpu_us", "client_cpu_us"):
        assert run[name] > 0, (name, run)
    assert run["operations"] >= run["iops"] * 0.1, run
ratio = runs["ashlar-memory"]["iops"] / runs["nbdkit-memory"]["iops"]
assert abs(document["ratios"][0]["iops"]["median"] - ratio) < 1e-9, document["ratios"]
assert {target["workload"] for target in document["targets"]} == {"randread-4k-qd32"}
bars = [r for r in tree.parse(work / "r.svg").iter("{http://www.w3.org/2000/svg}rect")
        if r.get("class") in ("ours", "peer")]
assert len(bars) == 4 and all(float(bar.get("width")) > 0 for bar in bars), len(bars)
assert (work / "r.md").read_text().count("| 4 KiB random read, depth 32 |") == 5
assert str(work) not in (work / "r.json").read_text() + (work / "r.md").read_text()
PYTHON

note "a pattern that matches nothing"
expect_status 1 "${compare[@]}" --only nonsense 2>"$WORK/err"
grep -q "matches nothing" "$WORK/err" || fail "it does not say what is wrong: $(cat "$WORK/err")"

note "interrupted in a run"
"${compare[@]}" --rounds 9 --seconds 30 >"$WORK/out" 2>"$WORK/err" &
comparison=$!
on_exit "stop_pid $comparison"
has_begun() { pgrep -f "fio .*$WORK/.*--runtime=30000ms" >/dev/null; }
wait_until 15 has_begun || fail "no run has begun: $(cat "$WORK/err")"
kill -TERM "$comparison"
expect_exit "$comparison" 143 10
[[ -z $(left_behind "$WORK" "$DATA") ]] || fail "it left behind: $(left_behind "$WORK" "$DATA")"
