#!/usr/bin/env bash
# The harness of the benchmarks: its unit tests pass; a short comparison of two servers leaves a table,
# JSON with every run, and a picture that is XML; a pattern that matches nothing is an error; and
# interrupted in a run, it leaves nothing behind. The same for the comparison of arrays, which leaves out, and
# says so, what this machine or this program cannot do.
# timeout: 300
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

arrays=("$ROOT/benchmarks/compare-arrays" --binary "$ASHLAR" --dir "$DATA" --size 32M)

note "one round of arrays: a plain file, RAID-1, and peers where this machine has them"
"${arrays[@]}" --only '(plain|ashlar-raid1|quorum-2|btrfs-raid1)/randwrite-4k' --rounds 1 --seconds 0.3 \
  --json "$WORK/a.json" --svg "$WORK/a.svg" --markdown "$WORK/a.md" >"$WORK/out" 2>"$WORK/err" ||
  { cat "$WORK/err" >&2; fail "the comparison of arrays failed"; }
python3 - "$WORK" <<'PYTHON'
import json, pathlib, sys
import xml.etree.ElementTree as tree

work = pathlib.Path(sys.argv[1])
document = json.loads((work / "a.json").read_text())
runs = {(run["contender"], run["work"]): run for run in document["runs"]}
works = {"randwrite-4k-fsync", "randwrite-4k-qd32"}
done = {contender for contender, _ in runs}
assert {"plain", "ashlar-raid1"} <= done <= {"plain", "ashlar-raid1", "quorum-2", "btrfs-raid1"}, done
# Who is missing is told.
told = json.dumps(document["left_out"])
assert all(word in told for key, word in (("quorum-2", "quorum of 2"), ("btrfs-raid1", "btrfs raid1"))
           if key not in done), told
assert set(runs) == {(contender, work) for contender in done for work in works}, set(runs)
for run in runs.values():
    # What a run leaves to do is part of it.
    share = run["seconds"] / (run["seconds"] + run["drain_seconds"])
    assert run["iops"] > 0 and abs(run["iops_home"] - run["iops"] * share) < 1e-6 * run["iops"], run
ratio = runs["ashlar-raid1", "randwrite-4k-fsync"]["op_us"] / runs["plain", "randwrite-4k-fsync"]["op_us"]
found = next(r for r in document["ratios"] if (r["work"], r["ours"], r["peer"]) == (
    "randwrite-4k-fsync", "ashlar-raid1", "plain"))
assert abs(found["op_us"]["median"] - ratio) < 1e-9, found
tree.parse(work / "a.svg")
assert str(work) not in (work / "a.json").read_text() + (work / "a.md").read_text()
PYTHON

note "rebuild and scrub are measured, or left out with a reason"
status=0
"${arrays[@]}" --only 'scrub$|rebuild$' --rounds 1 --seconds 0.3 --json "$WORK/u.json" >"$WORK/out" 2>"$WORK/err" || status=$?
if [[ $status -ne 0 ]]; then
  grep -q "^left out: .*this ashlar has no '" "$WORK/err" || { cat "$WORK/err" >&2; fail "rebuild and scrub"; }
fi

note "arrays, interrupted in a run"
"${arrays[@]}" --only '(ashlar-raid1|btrfs-raid1)/randread' --rounds 9 --seconds 30 >"$WORK/out" 2>"$WORK/err" &
comparison=$!
on_exit "stop_pid $comparison"
wait_until 60 has_begun || fail "no run of arrays has begun: $(cat "$WORK/err")"
kill -TERM "$comparison"
expect_exit "$comparison" 143 20
[[ -z $(left_behind "$WORK" "$DATA") ]] || fail "it left behind: $(left_behind "$WORK" "$DATA")"
