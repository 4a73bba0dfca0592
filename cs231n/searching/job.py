"""A trial as a worker sees it: numbers, a seed, a folder, and a line back to the study."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n.fast_layers import get_num_threads, set_num_threads
from cs231n.files import storage
from cs231n.searching import study
from cs231n.solver import DivergedError

__all__ = ["STOP", "Job", "Outcome", "Pruned", "Stopped", "store_data", "work"]

STOP = "stop"  # a file of this name in the folder of a search ends its trials
_DATA = "data"
# One trial at a time in a process: layers draw from NumPy's global generator, which threads share.
_ALONE = threading.Lock()


class Pruned(Exception):  # noqa: N818 (no error, but the end of a trial)
    """The trial is hopeless, as the pruner sees it."""


class Stopped(Exception):  # noqa: N818
    """The search was stopped; the trial goes on when the search does."""


class Outcome(NamedTuple):
    """What a trial has come to: state, accuracies with the epochs they belong to, a message."""

    state: str
    best: float
    epochs: list[float] = []
    accuracies: list[float] = []
    message: str = ""


@dataclass
class Job:
    """What a trial gets.

    Parameters
    ----------
    number : int
        Of the trial, from 0.
    seed : int
        Of the trial: nothing else may decide about its random draws.
    values : dict
        A value for each name of the space.
    folder : Path
        Folder of the trial's own.
    """

    number: int
    seed: int
    values: dict[str, Any]
    folder: Path
    _trial_id: int = -1
    _study: tuple[str | None, str, str | None] = (None, "", None)

    @property
    def data(self) -> dict[str, np.ndarray]:
        """The data that `search` was given, read once in each process."""
        folder = self.folder.parent / _DATA
        return _read_data(folder, folder.stat().st_mtime_ns)

    def report(self, solver: Any) -> None:
        """Tell the study the validation accuracy, and end a trial that is hopeless or stopped.

        Parameters
        ----------
        solver : Solver
            In training; its `on_check` may be this function.
        """
        if os.path.lexists(self.folder.parent / STOP):
            raise Stopped(f"trial {self.number}: the search was stopped")
        storage_name, name, pruner = self._study
        if pruner is None:
            return
        found = _opened(self.folder.parent, storage_name, name, pruner)
        study.report(found, self._trial_id, solver.epoch, solver.val_acc_history[-1])
        if study.is_pruned(found, self._trial_id):
            raise Pruned(f"trial {self.number}: pruned after epoch {solver.epoch}")


@functools.lru_cache(maxsize=1)
def _opened(folder: Path, storage_name: str | None, name: str, pruner: str) -> Any:
    """Open the study once for all trials of a process."""
    return study.opened(folder, storage_name, name, study.pruner(pruner))


@functools.lru_cache(maxsize=1)
def _read_data(folder: Path, when: int) -> dict[str, np.ndarray]:
    """Return the arrays in a folder, which all processes of a machine share in memory."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def store_data(folder: Path, data: dict[str, Any]) -> None:
    """Write arrays where the workers find them.

    Parameters
    ----------
    folder : Path
        Folder of the search.
    data : dict of str to ndarray
    """
    (folder / _DATA).mkdir(exist_ok=True)
    for name, array in data.items():
        with storage.replacing(folder / _DATA / f"{name}.npy") as file:
            np.save(file, np.asarray(array), allow_pickle=False)
    os.utime(folder / _DATA)


def work(trial: Callable[[Job], Any], job: Job, threads: int | None) -> Outcome:
    """Run a trial in a worker, and return what it has come to.

    Parameters
    ----------
    trial : callable
    job : Job
    threads : int or None
        Kernel threads, None for as many as there are.

    Returns
    -------
    outcome : Outcome
    """
    seen: list[Any] = []
    with _ALONE, _kernel_threads(threads):
        try:
            return _outcome("done", trial(_watched(job, seen)))
        except Pruned as end:
            return _outcome("pruned", seen[-1], str(end))
        except DivergedError as end:
            return _outcome("diverged", seen[-1] if seen else -math.inf, str(end))


def _watched(job: Job, seen: list[Any]) -> Job:
    """Return a job that remembers the solver which reports."""
    report = job.report

    def remember(solver: Any) -> None:
        seen[:] = [solver]
        report(solver)

    job.report = remember  # type: ignore[method-assign]
    return job


@contextmanager
def _kernel_threads(threads: int | None) -> Any:
    """Set the number of kernel threads for the body."""
    before = get_num_threads()
    if threads is not None:
        set_num_threads(threads)
    try:
        yield
    finally:
        set_num_threads(before)


def _outcome(state: str, found: Any, message: str = "") -> Outcome:
    """Return what a trial has come to, from its solver or its number."""
    accuracies = getattr(found, "val_acc_history", None)
    if accuracies is None:
        return Outcome(state, float(found), message=message)
    best = getattr(found, "best_val_acc", max(accuracies, default=-math.inf))
    epochs = [one / found.iterations_per_epoch for one in getattr(found, "accuracy_iterations", [])]
    return Outcome(state, float(best), epochs, list(accuracies), message)
