"""Medians, spreads and ratios of runs. A run is a dictionary of names and figures."""

import collections
import statistics


def grouped(runs, *names):
    """The runs by the values of these names, in the order of first appearance."""
    groups = collections.defaultdict(list)
    for run in runs:
        groups[tuple(run[name] for name in names)].append(run)
    return dict(groups)


def spread(values):
    """{median, min, max} of those that are there, or None."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spread_of(runs, measure):
    """The spread of one figure over the runs."""
    return spread(run.get(measure) for run in runs)


def ratio(ours, theirs, measure):
    """The spread of the ratios of one figure, round by round.

    The two of one round ran shortly behind each other, so what disturbs a whole round is in both
    and cancels out.
    """
    by_round = {run["round"]: run for run in theirs}
    ratios = []
    for run in ours:
        other = by_round.get(run["round"], {})
        if run.get(measure) is not None and other.get(measure):
            ratios.append(run[measure] / other[measure])
    return spread(ratios)
