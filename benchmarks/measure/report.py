"""Markdown: tables and the words around them."""

import json
import pathlib
import re

from . import figures


def table(head, rows):
    """A Markdown table; columns of numbers, but for the first, are aligned to the right."""
    aligns = ["---:" if all(re.fullmatch(r"[-0-9.,x%() ]+", cell) for cell in column) else "---"
              for column in list(zip(*rows))[1:]] or ["---"] * (len(head) - 1)
    lines = ["| " + " | ".join(head) + " |", "|---|" + "|".join(aligns) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value):
    """Three significant digits or so, thousands set apart."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def median(spread):
    """The median of a spread."""
    return number(spread["median"]) if spread else "-"


def extent(spread):
    """The least and the greatest of a spread."""
    return f"{number(spread['min'])} - {number(spread['max'])}" if spread else "-"


def times(spread, has_extent=True):
    """A spread of ratios: `1.50x (1.42 - 1.61)`."""
    if not spread:
        return "-"
    text = f"{spread['median']:.2f}x"
    return text + (f" ({spread['min']:.2f} - {spread['max']:.2f})" if has_extent else "")


def percent(spread):
    """A share of one core."""
    return f"{spread['median'] * 100:.0f} %" if spread else "-"


def machine_lines(machine, options, runs=()):
    """What was measured on, and how undisturbed, as a list."""
    programs = ", ".join(f"{name} ({version})" for name, version in machine["programs"].items())
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    lines = [
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores{memory}, "
        f"{machine['kernel']}", programs, *options,
        f"before: load average {machine['load']}, {machine['busy_before'] * 100:.0f} % of a core "
        "busy"]
    others, stolen = (figures.spread_of(runs, name) for name in ("others_busy", "stolen"))
    if others:
        lines[-1] += (
            f"; during the runs everything but client and server used {percent(others)} of a core "
            f"(at most {others['max'] * 100:.0f} %), and the host kept {percent(stolen)} (at most "
            f"{stolen['max'] * 100:.0f} %)")
    return "\n".join(f"- {line}" for line in lines)


def caption(document):
    """What a picture was made from, on one line."""
    facts, rounds = document["machine"], document["options"]["rounds"]
    return (f"Medians of {rounds} round{'s' if rounds > 1 else ''}; {facts['cpu']}, "
            f"{facts['cores']} cores, {facts['kernel']}, {facts['date']}")


CPU_NOTE = (
    "CPU is user and system time of the process with all of its threads, io_uring's workers "
    "included, and of its children (/proc/PID/stat); what threads of the kernel itself do for it "
    "(kworker) is not in it. Ratios are taken between runs of one round; shown is the "
    "median over the rounds, and the least and the greatest.")


def json_text(document):
    """The document with each entry of a list, and each pair of an object, on a line of its own."""
    def lines(value):
        if isinstance(value, list) and value:
            return "[\n  " + ",\n  ".join(json.dumps(entry) for entry in value) + "\n ]"
        if isinstance(value, dict) and value:
            pairs = (f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
            return "{\n  " + ",\n  ".join(pairs) + "\n }"
        return json.dumps(value)
    pairs = (f" {json.dumps(key)}: {lines(value)}" for key, value in document.items())
    return "{\n" + ",\n".join(pairs) + "\n}\n"


def write_results(options, text, document, picture):
    """Prints the report and writes the files that were asked for."""
    print(text)
    for path, content in (
            (options.markdown, text + "\n"), (options.svg, picture),
            (options.json, json_text(document))):
        if path:
            pathlib.Path(path).write_text(content, encoding="utf-8")
