"""What compare-replication reports: ratios, targets and tables."""

from . import catchup, figures, options as settings, replication, report
from .replication import LOADS, NONE, PGBENCH

MEASURES = ("iops_home", "mbps_home", "op_us", "p99_us", "server_cpu_us", "tps")
TITLES = {**{w.key: w.title for w in LOADS}, PGBENCH: "pgbench, 4 clients, ext4",
          catchup.WORK: "catch-up by comparison"}
LABELS = {**{way.key: way.label for way in replication.ALL}, catchup.WORK: "mode C, loopback",
          catchup.BOUND: "dd, or one TCP stream"}
BOUND_WORDS = (
    "*of the bound*: at depth 1 the time of an operation, of the round trip and (on loopback) of what the same work "
    "took without a replica in the same round; at depth 32 the IOPS, of 32 in each round trip or (if less) of the "
    "same mode without a delay; of a catch-up the speed, of what dd takes to read the bytes once and to write them "
    "to each member, or (if less) of what a TCP stream carries. The round trip is that of an echo over the same "
    "link, of as many bytes as a record and its acknowledgement, just before each run.")


def main_measure(work):
    """The figure that a work is about."""
    if work == PGBENCH:
        return "tps"
    if work == catchup.WORK:
        return "mbps"
    return "mbps_home" if next(w for w in LOADS if w.key == work).is_by_bandwidth else "iops_home"


def comparisons(runs):
    """The ratios of each way to the array without a replica."""
    groups = figures.grouped(runs, "work", "contender")
    pairs = [(way.key, NONE.key) for way in replication.NEAR]
    pairs += [(replication.NEAR[2].key, replication.FULL.key)]
    return [
        {"work": work, "ours": ours, "peer": peer,
         **{name: figures.ratio(groups[work, ours], groups[work, peer], name) for name in MEASURES}}
        for work in TITLES for ours, peer in pairs
        if (work, ours) in groups and (work, peer) in groups]


def judged(runs, ratios, table):
    """What targets.json asks of replication, and whether it is reached: only what was measured."""
    found = []
    for target in table["replication"]["targets"]:
        name = target["measure"]
        if "peer" in target:
            spread = next((r[name] for r in ratios if all(
                r[key] == target[key] for key in ("work", "ours", "peer"))), None)
        else:
            spread = figures.spread_of(
                [r for r in runs if (r["work"], r["contender"]) == (target["work"], target["ours"])], name)
        if spread:
            value = spread["median"]
            is_reached = value >= target["min"] if "min" in target else value <= target["max"]
            found.append({**target, "value": value, "is_reached": is_reached})
    return found


def markdown(document, options, client):
    """The report for people."""
    runs = document["runs"]
    parts = ["# An array with a replica beside one without", report.machine_lines(document["machine"], [
        settings.told(options, f"files on {document['filesystem']}, direct I/O; client: {client}; both nodes, "
                      "their disks and the client on this machine"),
        *(f"left out: {what}: {why}" for what, why in document["left_out"].items())], runs)]
    groups, rows = figures.grouped(runs, "work", "contender"), []
    for (work, key), of in sorted(groups.items(), key=_place):
        name = main_measure(work)
        rows.append([TITLES[work], LABELS[key], *(report.median(figures.spread_of(of, measure)) for measure in (
            name, "op_us", "p99_us", "round_trip_us", "server_cpu_us")),
            report.extent(figures.spread_of(of, name)), report.times(figures.spread_of(of, "of_bound"))])
    parts += ["## Medians", report.table(
        ["work", "array", "IOPS, MB/s or tps", "us per operation", "p99 us", "round trip us", "servers' CPU us/op",
         "least - greatest", "of the bound"], rows)]
    rows = [[TITLES[r["work"]], f"{LABELS[r['ours']]} / {LABELS[r['peer']]}", report.times(r[main_measure(r["work"])]),
             report.times(r["op_us"], False), report.times(r["p99_us"], False), report.times(r["server_cpu_us"], False)]
            for r in document["ratios"]]
    if rows:
        parts += ["## Ratios", report.table(
            ["work", "with / without", "IOPS, MB/s or tps", "time per operation", "p99", "servers' CPU/op"], rows)]
    if document["targets"]:
        parts += ["## Targets", report.table(
            ["work", "array", "figure", "target", "measured", ""],
            [_target_row(target) for target in document["targets"]])]
    parts += ["## How", "IOPS, MB/s: operations divided by the time of the run *and* of what it left to do: a flush, "
              "and until neither log holds anything that is not home. *us per operation* is without that. "
              + BOUND_WORDS + " " + report.CPU_NOTE, "```\n" + "\n".join(document["commands"]) + "\n```"]
    return "\n\n".join(parts)


def _place(item):
    (work, contender), _ = item
    return list(TITLES).index(work), list(LABELS).index(contender)


def _target_row(target):
    bound = f"at least {target['min']:g}x" if "min" in target else f"at most {target['max']:g}x"
    of = f" / {LABELS[target['peer']]}" if "peer" in target else ""
    words = {"of_bound": "of the bound", "iops_home": "IOPS", "mbps_home": "MB/s", "tps": "transactions/s"}
    return [TITLES[target["work"]], LABELS[target["ours"]] + of, words.get(target["measure"], target["measure"]),
            bound, f"{target['value']:.2f}x", "reached" if target["is_reached"] else "**MISSED**"]
