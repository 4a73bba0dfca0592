"""The recipes: text files with the options of `train`, and what was measured of them.

A recipe is what one types behind ``python -m cs231n train``, over several lines; a line or the rest
of one that begins with ``#`` is a comment, and the first comment says what the recipe is.
"""

from __future__ import annotations

import csv
import functools
import shlex
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from cs231n.files import storage

__all__ = ["Measured", "measured", "names", "text", "title", "words"]

_FOLDER = Path(__file__).parent
_WHERE = "recipes"


class Measured(NamedTuple):
    """Means over the runs with several seeds.

    Parameters
    ----------
    seeds : int
        How many runs there were.
    accuracy : float
        Of all test images.
    augmented : float or None
        The same by the scores of changed copies, too.
    seconds : float
        Time of training.
    """

    seeds: int
    accuracy: float
    augmented: float | None
    seconds: float


@functools.cache
def names() -> list[str]:
    """Return the names of the recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def text(name: str) -> str:
    """Return the file of a recipe."""
    return storage.read_text(_WHERE, _FOLDER / f"{name}.txt")


def title(name: str) -> str:
    """Return what a recipe is, in a sentence."""
    return text(name).splitlines()[0].removeprefix("#").strip()


def words(name: str) -> list[str]:
    """Return the words of a recipe, as the command line has them."""
    return shlex.split(text(name), comments=True)


def measured(name: str) -> Measured | None:
    """Return what was measured of a recipe, None where nothing was."""
    table = storage.read_text(_WHERE, _FOLDER / "measured.csv").splitlines()
    rows = [row for row in csv.DictReader(table) if row["recipe"] == name]
    if not rows:
        return None
    accuracies, augmented, seconds = (
        [float(row[column]) for row in rows if row[column]]
        for column in ("test_accuracy", "test_accuracy_augmented", "train_seconds")
    )
    return Measured(
        seeds=len(rows),
        accuracy=fmean(accuracies),
        augmented=fmean(augmented) if augmented else None,
        seconds=fmean(seconds),
    )
