"""The options that all comparisons share."""

import argparse
import pathlib

from . import figures
from .session import byte_size

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def parser_for(text, has_rounds=True):
    """A parser that has the shared options, described by a program's doc string.

    Without rounds there is nothing to compare, and no picture.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if has_rounds:
        parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    else:
        parser.set_defaults(rounds=1, svg=None)
    parser.add_argument("--seconds", type=float, default=3, help="of each run; default: 3")
    parser.add_argument("--size", default="1G", help="of each device; default: 1G")
    parser.add_argument(
        "--pin", action="store_true", help="servers on core 0, clients on core 1; default: free")
    parser.add_argument(
        "--binary", metavar="PATH", help="the ashlar program; default: $ASHLAR or the release build")
    parser.add_argument(
        "--dir", metavar="DIR", help="where the devices' files go, on a disk; default: .build")
    for name in ("json", "svg", "markdown") if has_rounds else ("json", "markdown"):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write the results as {name}")
    return parser


ARRAYS = {"raid1": 2, "raid5": 4, "raid6": 4, "raid10": 4}
"""The levels that are measured, with so many members."""


def array_parser(text):
    """A parser with the options that the measurements of arrays share."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--levels", default=",".join(ARRAYS), help=f"default: {','.join(ARRAYS)}")
    parser.add_argument(
        "--binary", metavar="PATH", help="the ashlar program; default: $ASHLAR or the release build")
    parser.add_argument(
        "--dir", metavar="DIR", help="where the members go, on a disk; default: .build")
    for name in ("json", "markdown"):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write the results as {name}")
    parser.set_defaults(svg=None)
    return parser


def parsed_for_arrays(parser, arguments):
    """The options, checked; `levels` as a list."""
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    options.levels = options.levels.split(",")
    for level in options.levels:
        if level not in ARRAYS:
            parser.error(f"--levels: {level} is not one of {', '.join(ARRAYS)}")
    _check_folders(parser, options, ("json", "markdown"))
    return options


def parsed(parser, arguments):
    """The options, checked."""
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    if not 0.1 <= options.seconds <= 3600:
        parser.error("--seconds: from 0.1 to 3600")
    byte_size(options.size)
    _check_folders(parser, options, ("json", "svg", "markdown"))
    return options


def _check_folders(parser, options, names):
    for name in names:
        path = getattr(options, name)
        if path and not pathlib.Path(path).absolute().parent.is_dir():
            parser.error(f"--{name}: {path}: its folder does not exist")


def data_folder(options):
    """Where the devices' files go."""
    return pathlib.Path(options.dir).absolute() if options.dir else ROOT / ".build/benchmarks"


def recorded(options, **more):
    """What a result's JSON says of how it was made."""
    return {"rounds": options.rounds, "seconds": options.seconds, "size": options.size,
            "pinned": options.pin, **more}


def told(options, what):
    """The same for people: one line."""
    pinning = "servers on core 0, clients on core 1" if options.pin else "no pinning"
    return (f"rounds: {options.rounds}, runs of {options.seconds:g} s, interleaved; devices of "
            f"{options.size}, written throughout; {pinning}; {what}")


def spreads(runs, names):
    """The spread of each figure over some runs."""
    return {name: figures.spread_of(runs, name) for name in names}
