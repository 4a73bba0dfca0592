"""The table of a search: a row for each trial, in the order of their numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs231n.files import storage

__all__ = ["ENDED", "Row", "best", "text", "write"]

ENDED = ("done", "diverged", "pruned", "failed")  # states of a trial at which nothing is left to do


@dataclass
class Row:
    """What a trial was and has come to.

    Parameters
    ----------
    number : int
    state : {'done', 'diverged', 'pruned', 'failed', 'unfinished'}
    seed : int
    values : dict
        By the names of the space.
    best_val_acc : float
        nan if there is none.
    folder : str
        Its run folder, within that of the search.
    epochs, accuracies : list of float
        Validation accuracies and when they were measured.
    message : str
        Why it ended, if not because it was done.
    """

    number: int
    state: str
    seed: int
    values: dict[str, Any]
    best_val_acc: float = math.nan
    folder: str = ""
    epochs: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    message: str = ""

    def __str__(self) -> str:
        """Return a line about the trial."""
        reached = "" if math.isnan(self.best_val_acc) else f" best_val_acc {self.best_val_acc:.4f}"
        values = ", ".join(f"{name} {shown(value)}" for name, value in self.values.items())
        note = f" ({self.message})" if self.message else ""
        return f"trial {self.number} {self.state}:{reached} with {values}{note}"


def shown(value: Any) -> str:
    """Return a value as a text that is short."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def best(rows: Iterable[Row]) -> Row | None:
    """Return the row of the best trial that was not cut short, the first of several."""
    found = [row for row in rows if row.state == "done" and not math.isnan(row.best_val_acc)]
    return max(found, key=lambda row: row.best_val_acc, default=None)


def text(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return the table as CSV; every number is written so that it is read back the same.

    Parameters
    ----------
    rows : sequence of Row
    names : sequence of str
        Of the space.

    Returns
    -------
    text : str
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", "state", *names, "best_val_acc", "seed", "folder", "message"])
    for row in rows:
        values = [row.values.get(name, "") for name in names]
        reached = "" if math.isnan(row.best_val_acc) else repr(row.best_val_acc)
        writer.writerow(
            [row.number, row.state, *values, reached, row.seed, row.folder, row.message]
        )
    return stream.getvalue()


def write(path: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Write the table.

    Parameters
    ----------
    path : Path
    rows : sequence of Row
    names : sequence of str
        Of the space.
    """
    storage.write_text(path, text(rows, names))
