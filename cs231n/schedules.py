"""Learning-rate schedules: the factor on the learning rate as training progresses.

A schedule is a function of the progress, 0 at the start of training and 1 at its end; a number
gives a number and an array gives an array, so that a schedule can be plotted.  The Solver
multiplies its learning rate by the factor at each iteration::

    Solver(..., schedule=schedules.cosine)
    Solver(..., schedule=functools.partial(schedules.one_cycle, peak=0.25))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["Schedule", "constant", "cosine", "one_cycle", "step"]

Schedule = Callable[[Any], Any]


def constant(progress: Any) -> Any:
    """Leave the learning rate as it is.

    Parameters
    ----------
    progress : float or ndarray
        Part of the training that is done, in [0, 1].

    Returns
    -------
    factor : float or ndarray
        1 everywhere.
    """
    return np.ones(checks.real_array("constant", "progress", progress).shape)[()]


def step(progress: Any, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> Any:
    """Multiply the learning rate by a factor at given places.

    Parameters
    ----------
    progress : float or ndarray
        Part of the training that is done, in [0, 1].
    at : sequence of float
        Where the learning rate drops, in ascending order.
    factor : float
        What it is multiplied by at each of them.

    Returns
    -------
    factor : float or ndarray
        ``factor ** number of places reached``.

    Raises
    ------
    ValueError, TypeError
        If a place is not in [0, 1], the places do not ascend or the factor is negative.
    """
    places = [
        checks.number("step", "at", place, 0, 1) for place in checks.sequence("step", "at", at)
    ]
    if places != sorted(places):
        raise ValueError(f"step: at is {places}; expected places in ascending order")
    drop = checks.number("step", "factor", factor, 0)
    progress = checks.real_array("step", "progress", progress)
    return drop ** np.searchsorted(places, progress, side="right").astype(float)


def cosine(progress: Any, warmup: float = 0.0, final: float = 0.0) -> Any:
    """Let the learning rate fall along half a wave of the cosine.

    Parameters
    ----------
    progress : float or ndarray
        Part of the training that is done, in [0, 1].
    warmup : float
        Part of the training in which the learning rate first rises linearly from 0.
    final : float
        Factor at the end.

    Returns
    -------
    factor : float or ndarray
        ``final + (1 - final) * (1 + cos(pi * q)) / 2`` after the warm-up, where q goes from 0 to 1.

    Raises
    ------
    ValueError, TypeError
        If warmup or final is no number in [0, 1].

    References
    ----------
    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017.
    """
    warmup = checks.number("cosine", "warmup", warmup, 0, 1)
    final = checks.number("cosine", "final", final, 0, 1)
    progress = checks.real_array("cosine", "progress", progress)
    rise = np.interp(progress, [0, warmup], [0, 1])  # 1 after the warm-up
    q = np.interp(progress, [warmup, 1], [0, 1])  # 0 until its end
    return rise * (final + (1 - final) * (1 + np.cos(np.pi * q)) / 2)


def one_cycle(progress: Any, peak: float = 0.3, start: float = 0.04, final: float = 0.0) -> Any:
    """Let the learning rate rise to a peak and fall again, both along straight lines.

    Parameters
    ----------
    progress : float or ndarray
        Part of the training that is done, in [0, 1].
    peak : float
        Where the factor is 1.
    start, final : float
        Factor at the start and at the end.

    Returns
    -------
    factor : float or ndarray

    Raises
    ------
    ValueError, TypeError
        If peak, start or final is no number in [0, 1].

    Notes
    -----
    The low rate at the start lets the statistics of a fresh network settle, the high one crosses
    the plain quickly and keeps away from narrow valleys, and the fall averages the noise out.

    References
    ----------
    Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates, 2018.
    """
    peak = checks.number("one_cycle", "peak", peak, 0, 1)
    start = checks.number("one_cycle", "start", start, 0, 1)
    final = checks.number("one_cycle", "final", final, 0, 1)
    progress = checks.real_array("one_cycle", "progress", progress)
    return np.interp(progress, [0, peak, 1], [start, 1, final])
