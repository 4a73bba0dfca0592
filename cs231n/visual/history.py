"""What a run tells of its course: from a Solver, or from the history in a run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.files.regular import read_text

__all__ = ["History", "of_runs", "read_history"]

_FILE = "history.csv"
_MOST = 2**28  # bytes of a history: some millions of iterations
_NEEDED = ("loss", "train_acc", "val_acc")
_ATTRIBUTES = ("loss_history", "train_acc_history", "val_acc_history")


class History(NamedTuple):
    """What is drawn of one run.

    name of the run, loss of each iteration, accuracies train and val at the epochs 0, 1, ..., and
    the validation losses val_loss, which were measured after val_iterations; these may be empty.
    """

    name: str
    loss: np.ndarray
    train: np.ndarray
    val: np.ndarray
    val_loss: np.ndarray
    val_iterations: np.ndarray


def of_runs(where: str, runs: Any) -> list[History]:
    """Return the histories of several runs, from a dict by name or a sequence of run folders."""
    if isinstance(runs, Mapping):
        return [read_history(where, run, str(name)) for name, run in runs.items()]
    if isinstance(runs, (str, PathLike)):
        raise TypeError(f"{where}: runs is {runs!r:.60}; expected several of them")
    given = checks.sequence(where, "runs", runs)
    return [
        read_history(
            where, run, Path(run).name if isinstance(run, (str, PathLike)) else f"run {number}"
        )
        for number, run in enumerate(given, start=1)
    ]


def read_history(where: str, run: Any, name: str = "") -> History:
    """Return the history of a Solver, or of anything with its lists, or of a run folder."""
    if isinstance(run, (str, PathLike)):
        history = _from_folder(where, checks.path(where, "run", run), name)
    else:
        history = _from_lists(where, run, name)
    if history.loss.size == 0:
        of = f" of {name!r}" if name else ""
        raise ValueError(f"{where}: the loss_history{of} is empty; expected a run that was trained")
    return history


def _from_lists(where: str, run: Any, name: str) -> History:
    """Return the lists of a Solver."""
    missing = [attribute for attribute in _ATTRIBUTES if not hasattr(run, attribute)]
    if missing:
        raise TypeError(
            f"{where}: a {type(run).__name__} has no {', '.join(missing)}; expected a Solver,"
            f" or a dict of names and Solvers"
        )
    loss, train, val = (_numbers(where, run, attribute) for attribute in _ATTRIBUTES)
    val_loss, at = (_numbers(where, run, a) for a in ("val_loss_history", "accuracy_iterations"))
    if len(at) != len(val_loss):
        at, val_loss = np.empty(0), np.empty(0)
    return History(name, loss, train, val, val_loss, at)


def _numbers(where: str, run: Any, attribute: str) -> np.ndarray:
    """Return a list of a run; None in it is no number, and no list is an empty one."""
    found = getattr(run, attribute, [])
    try:
        numbers = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {attribute} is no list of numbers ({error})") from error
    if numbers.ndim != 1:
        raise ValueError(f"{where}: {attribute} is {found!r:.60}; expected a list of numbers")
    return numbers


def _from_folder(where: str, folder: Path, name: str) -> History:
    """Return what the table in a run folder says."""
    path = folder / _FILE
    reader = csv.DictReader(io.StringIO(read_text(where, path, _MOST)))
    found = reader.fieldnames or []
    if not set(_NEEDED) <= set(found):
        raise ValueError(
            f"{where}: {path} has the columns {', '.join(map(str, found)) or 'none'};"
            f" expected {', '.join(_NEEDED)}"
        )
    try:
        rows = [[float(row.get(key) or "nan") for key in (*_NEEDED, "val_loss")] for row in reader]
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{where}: {path} is no table of numbers ({error})") from error
    table = np.array(rows).reshape(-1, 4)
    measured = np.flatnonzero(np.isfinite(table[:, 2]))
    with_loss = np.flatnonzero(np.isfinite(table[:, 3]))
    loss, train, val, val_loss = table.T
    return History(name, loss, train[measured], val[measured], val_loss[with_loss], with_loss + 1.0)
