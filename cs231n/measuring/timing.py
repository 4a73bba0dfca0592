"""Agreement and time of competitors: several implementations of one computation."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Contest", "Times", "load_torch", "measure", "measure_calls", "require_agreement"]

Contest = Mapping[str, Callable[[], Any]]

# Threads of BLAS and OpenMP go on spinning after their work and would slow the next competitor.
_PAUSE = 0.03  # seconds
# After the pause, caches, page tables and sleeping processors have to be warmed.
_WARM_UP = 0.02  # seconds
_TIMED_RUNS = 3
_SLOW = frozenset({"naive", "numpy"})
_SLOW_ROUNDS = 3
_BURST = 0.001  # seconds of calls that are timed at once


class Times(NamedTuple):
    """Median and minimum of a competitor's times, in seconds."""

    median: float
    least: float


def load_torch() -> Any:
    """Return PyTorch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def require_agreement(title: str, contest: Contest, tolerance: float) -> None:
    """Run every competitor once and compare its results with those of the first.

    Parameters
    ----------
    title : str
        What is computed, for the message.
    contest : mapping of str to callable
        Each returns an array, or a tuple of arrays, of NumPy or PyTorch.
    tolerance : float
        Bound on the largest difference, relative to the largest number.

    Raises
    ------
    ArithmeticError
        If results differ in number, in shape or by more than the tolerance.
    """
    results = {name: _arrays(run()) for name, run in contest.items()}
    reference, expected = next(iter(results.items()))
    for name, found in results.items():
        shapes, wanted = ([array.shape for array in arrays] for arrays in (found, expected))
        if shapes != wanted:
            raise ArithmeticError(f"{title}: {name} gives {shapes}; {reference} gives {wanted}")
        for one, other in zip(expected, found):
            error = np.abs(one - other).max() / max(np.abs(one).max(), np.finfo(one.dtype).tiny)
            if not error < tolerance:
                raise ArithmeticError(f"{title}: {name} differs from {reference} by {error:.1e}")


def _arrays(result: Any) -> list[np.ndarray]:
    """Return copies of a result, one array or several, which a later step may overwrite."""
    results = result if isinstance(result, tuple) else (result,)
    return [np.asarray(array).copy() for array in results]


def measure(
    contest: Contest, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Times]:
    """Time the competitors in turn, every second round in reverse order.

    A turn is a pause, in which other threads fall asleep, runs that are not timed for at least 20
    milliseconds, and three runs that are.  The slow competitors, 'naive' and 'numpy', have three
    turns at most, of one run without a warm-up.

    Parameters
    ----------
    contest : mapping of str to callable
        Competitors by name.
    rounds : int
        Turns of each, at least one.
    clock : callable
        Returns seconds; `time.process_time` does not count what other processes take.

    Returns
    -------
    times : dict of str to Times
    """
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    for index in range(rounds):
        for name in list(contest)[:: -1 if index % 2 else 1]:
            if name in _SLOW and index >= _SLOW_ROUNDS:
                continue
            seconds[name] += _turn(contest[name], 1 if name in _SLOW else _TIMED_RUNS, clock)
    return {name: Times(statistics.median(all_), min(all_)) for name, all_ in seconds.items()}


def measure_calls(
    contest: Contest, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time calls that are too short to be timed one by one; a turn is a millisecond of them.

    There is no pause between the turns, so all competitors must use a single thread.  What other
    processes take only adds to so short a time, so that the least is what a call takes.

    Parameters
    ----------
    contest, rounds, clock
        As for `measure`.

    Returns
    -------
    seconds : dict of str to float
        Of one call of each competitor, in the turn that was least disturbed.
    """
    counts = {name: max(1, int(_BURST / _seconds(run, clock, 3))) for name, run in contest.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    for index in range(rounds):
        for name in list(contest)[:: -1 if index % 2 else 1]:
            seconds[name].append(_seconds(contest[name], clock, counts[name]))
    return {name: min(all_) for name, all_ in seconds.items()}


def _turn(run: Callable[[], Any], timed: int, clock: Callable[[], float]) -> list[float]:
    """Return the times of a competitor's runs, after a warm-up where there are several."""
    time.sleep(_PAUSE)
    if timed > 1:
        _warm_up(run)
    return [_seconds(run, clock) for _ in range(timed)]


def _warm_up(run: Callable[[], Any]) -> None:
    """Run for a while, at least once."""
    end = time.perf_counter() + _WARM_UP
    run()
    while time.perf_counter() < end:
        run()


def _seconds(run: Callable[[], Any], clock: Callable[[], float], calls: int = 1) -> float:
    """Return the time of one run, the mean of several, the release of its results included."""
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls
