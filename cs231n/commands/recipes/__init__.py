"""List the recipes for `train`, or print one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from cs231n.commands.recipes import files

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "recipe", nargs="?", choices=files.names(), help="print the options of this one"
    )


def run(options: argparse.Namespace) -> int:
    """Print a table, or a recipe as it stands in its file."""
    if options.recipe is not None:
        print(files.text(options.recipe), end="")
        return 0
    print("\n".join(_table()))
    return 0


def _table() -> Iterator[str]:
    """Yield a line for each recipe: what it is, and what was measured of it."""
    rows = [("recipe", "test accuracy", "training", "what it is")]
    rows += [(name, _accuracy(name), _time(name), files.title(name)) for name in files.names()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip()
    yield ""
    yield "Options of one: python -m cs231n recipes NAME"
    yield "Train by one:   python -m cs231n train --recipe NAME, and options that are to differ"


def _accuracy(name: str) -> str:
    """Return the mean accuracy, and of how many seeds it is that."""
    found = files.measured(name)
    if found is None:
        return "not measured"
    accuracy = f"{100 * found.accuracy:.2f} %"
    if found.augmented is not None:
        accuracy += f", {100 * found.augmented:.2f} % with copies"
    return f"{accuracy} (seeds: {found.seeds})"


def _time(name: str) -> str:
    """Return the mean time of training."""
    found = files.measured(name)
    return "" if found is None else f"{found.seconds:.0f} s"
