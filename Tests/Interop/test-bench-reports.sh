#!/usr/bin/env bash
# The reports: scripts made for fio's JSON read ours, terse has fio's fields, the plot is well-formed
# XML, several jobs come from an ini file, and --output writes only there.
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=bench.sh
. "$HERE/bench.sh"

serve disk --memory 64M
job=(--name=load --rw=randrw --rwmixread=70 --bs=4k --iodepth=8 --runtime=2 --time_based --fsync=32)
bench_status 0 "$URI" "${job[@]}" --json
fio --ioengine=nbd --uri="$URI" "${job[@]}" --output-format=json --output="$WORK/fio.json" >/dev/null
# Every field that fio tells of a direction, and of sync, is ours as well, of the same type.
# shellcheck disable=SC2016  # jq's variables
paths='[paths(type != "object" and type != "array") as $p | {key: ($p | join("/")), value: (getpath($p) | type)}] | from_entries'
for part in read write trim sync '"job options"'; do
  jq ".jobs[0].$part | $paths" "$WORK/fio.json" >"$WORK/theirs"
  jq ".jobs[0].$part | $paths" "$OUT" >"$WORK/ours"
  # shellcheck disable=SC2016  # jq's variables
  absent=$(jq -r --slurpfile ours "$WORK/ours" 'to_entries[] | select($ours[0][.key] != .value) | .key' "$WORK/theirs" |
    grep -vE '^(ioengine|uri)$' || true)
  [[ -z $absent ]] || fail "in fio's $part, but not ours: $absent"
done
json_holds '.jobs[0].jobname == "load" and .jobs[0].error == 0 and (.jobs | length) == 1'
json_holds '.jobs[0].read | .iops > 0 and .bw_bytes > 0 and (.runtime >= 1990 and .runtime < 3000)'
json_holds '.jobs[0].read | (.iops * .runtime / 1000 - .total_ios | fabs) < 0.01 * .total_ios'
json_holds '.jobs[0].read | .io_bytes == .total_ios * 4096 and .lat_ns.N == .total_ios'
json_holds '.jobs[0].read.clat_ns.percentile | .["50.000000"] <= .["99.000000"] and .["99.000000"] <= .["99.990000"]'
json_holds '.jobs[0] | (.read.total_ios / (.read.total_ios + .write.total_ios) - 0.7 | fabs) < 0.03'
json_holds '.samples | length >= 30'

# Terse: as many fields as fio's, and the same ones where both are certain.
bench_status 0 "$URI" --name=t --rw=read --bs=64k --output-format=terse
fio --name=t --ioengine=null --rw=read --bs=64k --size=64M --output-format=terse >"$WORK/fio.terse"
fields() { tr -cd ';' <"$1" | wc -c; }
[[ $(fields "$OUT") -eq $(fields "$WORK/fio.terse") ]] || fail "$(fields "$OUT") fields, not $(fields "$WORK/fio.terse")"
for number in 1 3 4 5 6; do
  [[ $(cut -d';' -f$number "$OUT") == "$(cut -d';' -f$number "$WORK/fio.terse")" ]] || fail "field $number differs"
done

# Several jobs of a file, one behind the other; the command line wins.
cat >"$WORK/two.ini" <<'INI'
[global]
bs=4k
size=8M
; a comment
[fill]
rw=write
bs=64k
[look]
stonewall
rw=randread
iodepth=4
INI
# What fio has written is somebody's data, hence --overwrite.
bench_status 1 "$URI" "$WORK/two.ini"
says "$ERR_TEXT" 'holds data'
bench_status 0 "$URI" "$WORK/two.ini" --overwrite --output="$WORK/report.json" --plot="$WORK/plot.svg" --output-format=json --size=4M
[[ ! -s $OUT ]] || fail "--output left something on standard output"
OUT=$WORK/report.json
json_holds '[.jobs[].jobname] == ["fill", "look"] and [.jobs[].groupid] == [0, 1]'
json_holds '.jobs[0].write.total_ios == 64 and .jobs[1].read.total_ios == 1024'
python3 - "$WORK/plot.svg" <<'PY'
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "{http://www.w3.org/2000/svg}svg", root.tag
texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
for wanted in ("IOPS", "latency, logarithmic", "p99", "seconds since the start"):
    assert wanted in texts, (wanted, texts)
assert any("fill" in text for text in texts), texts
PY
bench_status 0 "$URI" --rw=randread --iodepth=4 --size=1M
says "$OUT" 'read .*IOPS'
says "$OUT" 'p99.99'
bench_status 1 "$URI" --rw=read --size=1M --output="$WORK/none/x"
says "$ERR_TEXT" 'cannot write'
stop_server
