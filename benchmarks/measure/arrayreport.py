"""What compare-arrays reports: ratios, targets, tables and the picture."""

from . import chart, contenders, figures, options as settings, report, upkeep, workloads

MEASURES = ("iops_home", "mbps_home", "op_us", "p50_us", "p99_us", "server_cpu_us", "tps", "mbps")
UNITS = {"iops_home": "IOPS", "mbps_home": "MB/s", "tps": "transactions/s", "mbps": "MB/s",
         "op_us": "us"}
TARGET_WORDS = {
    "iops_home": "IOPS", "mbps_home": "MB/s", "op_us": "time per operation", "tps": "transactions/s",
    "mbps": "speed", "p99_of_budget": "p99 of clients"}
LOADS = {workload.key: workload for workload in workloads.FOR_ARRAYS}
BY_KEY = {contender.key: contender for contender in contenders.ALL}


def title(work):
    """How a work is called."""
    if work in LOADS:
        return LOADS[work].title
    return upkeep.TITLES.get(work, "pgbench, 4 clients, ext4")


def label(key):
    """How a contender is called."""
    return BY_KEY[key].label if key in BY_KEY else "dd, the same bytes"


def main_measure(work):
    """The figure that a work is about."""
    if work in LOADS:
        return "mbps_home" if LOADS[work].is_by_bandwidth else "iops_home"
    return "tps" if work == "pgbench" else "mbps"


def works_in(runs):
    """The works that were done, as they are declared."""
    done = {run["work"] for run in runs}
    return [work for work in (*LOADS, "pgbench", *upkeep.TITLES) if work in done]


def comparisons(runs):
    """The ratios of ours to each peer: a list of dictionaries."""
    groups = figures.grouped(runs, "work", "contender")
    pairs = [(ours.key, peer.key) for ours, peer in contenders.PAIRS]
    pairs.append((contenders.RAID5.key, upkeep.DD))
    return [
        {"work": work, "ours": ours, "peer": peer,
         **{name: figures.ratio(groups[work, ours], groups[work, peer], name)
            for name in MEASURES}}
        for work in works_in(runs) for ours, peer in pairs
        if (work, ours) in groups and (work, peer) in groups]


def judged(runs, ratios, table):
    """What targets.json asks of arrays, and whether it is reached: only what was measured."""
    found = []
    for target in table["arrays"]["targets"]:
        name = target["measure"]
        if "peer" in target:
            spread = next((r[name] for r in ratios if all(
                r[key] == target[key] for key in ("work", "ours", "peer"))), None)
        else:
            spread = figures.spread_of(
                [r for r in runs if (r["work"], r["contender"]) == (target["work"], target["ours"])],
                name)
        if spread:
            value = spread["median"]
            is_reached = value >= target["min"] if "min" in target else value <= target["max"]
            found.append({**target, "value": value, "is_reached": is_reached})
    return found


def markdown(document, options, client):
    """The report for people."""
    runs = document["runs"]
    parts = ["# Arrays side by side", report.machine_lines(document["machine"], [
        settings.told(options, f"files on {document['filesystem']}, direct I/O; client: {client}"),
        *(f"left out: {what}: {why}" for what, why in document["left_out"].items())], runs)]
    groups = figures.grouped(runs, "work", "contender")
    rows = []
    for work in works_in(runs):
        name = main_measure(work)
        for key in (*BY_KEY, upkeep.DD):
            if (work, key) in groups:
                of = groups[work, key]
                rows.append([title(work), label(key), *(
                    report.median(figures.spread_of(of, measure))
                    for measure in (name, "op_us", "p99_us", "server_cpu_us", "drain_seconds")),
                    report.extent(figures.spread_of(of, name))])
    parts += ["## Medians", report.table(
        ["work", "contender", "IOPS, MB/s or tps", "us per operation", "p99 us",
         "server CPU us/op", "left to do, s", "least - greatest"], rows)]
    rows = [
        [title(r["work"]), f"{label(r['ours'])} / {label(r['peer'])}",
         report.times(r[main_measure(r["work"])]), report.times(r["op_us"], False),
         report.times(r["p99_us"], False), report.times(r["server_cpu_us"], False)]
        for r in document["ratios"]]
    if rows:
        parts += ["## Ratios", report.table(
            ["work", "ours / peer", "IOPS, MB/s or tps", "time per operation", "p99",
             "server CPU/op"], rows)]
    if document["targets"]:
        parts += ["## Targets", report.table(
            ["work", "ours / peer", "figure", "target", "measured", ""],
            [_target_row(target) for target in document["targets"]])]
    commands = [*document["contenders"].values(), *document["client_commands"]]
    parts += [
        "## How", "IOPS, MB/s: operations divided by the time of the run *and* of what it left to "
        "do: a flush, and for Ashlar's arrays until the log holds nothing that is not home. "
        "*us per operation* is without that: the inverse of the client's IOPS; at depth 1 it is "
        "the latency of a write with its flush. p99 is the client's (of the flush alone where "
        "there is one). " + report.CPU_NOTE + " What btrfs does, it does in such threads.",
        "```\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(parts)


def _target_row(target):
    bound = f"at least {target['min']:g}x" if "min" in target else f"at most {target['max']:g}x"
    peer = label(target["peer"]) if "peer" in target else "the budget"
    return [title(target["work"]), f"{label(target['ours'])} / {peer}",
            TARGET_WORDS[target["measure"]], bound, f"{target['value']:.2f}x",
            "reached" if target["is_reached"] else "**MISSED**"]


def picture(document, client):
    """The chart: a group for each work."""
    runs = figures.grouped(document["runs"], "work", "contender")
    groups = []
    for work in works_in(document["runs"]):
        name, bars = main_measure(work), []
        for key in (*BY_KEY, upkeep.DD):
            of = runs.get((work, key))
            if not of:
                continue
            speed = figures.spread_of(of, name)
            second = figures.spread_of(of, "p99_us") or figures.spread_of(of, "op_us")
            is_base = key in (contenders.PLAIN.key, upkeep.DD)
            bars.append(chart.Bar(
                label(key), (speed["median"], second["median"] if second else None),
                (f"{report.median(speed)} {UNITS[name]}",
                 f"{report.median(second)} us" if second else ""),
                "bound" if is_base else "ours" if BY_KEY[key].is_ours else "peer"))
        groups.append(chart.Group(title(work), bars))
    return chart.bars(
        f"Arrays side by side, client {client}", report.caption(document),
        ("IOPS, MB/s, transactions/s: longer is better",
         "p99, or time per transaction: shorter is better"), groups)
