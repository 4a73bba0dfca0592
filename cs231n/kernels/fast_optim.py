"""Update rules in one compiled pass over memory, for the Solver.

The rules of `cs231n.optim` are a chain of NumPy operations, each of which reads and writes arrays
as large as the parameter.  Their twins here touch each number once and work in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cs231n import optim
from cs231n.core import checks
from cs231n.kernels import backend

__all__ = ["add_scaled", "update"]

_COMPILED = ("sgd", "sgd_momentum", "nesterov_momentum", "rmsprop", "adam")


def update(
    rule: str | optim.Rule,
    w: np.ndarray,
    dw: np.ndarray,
    config: optim.Config,
    l2: float = 0.0,
) -> np.ndarray:
    """Step the parameter w by an update rule, in place where a compiled twin serves.

    Parameters
    ----------
    rule : str or callable
        Name of a rule of `cs231n.optim`, or a function of the same form.
    w : ndarray
        Parameter, which may be overwritten.
    dw : ndarray of w's shape
        Gradient of the loss with respect to w.
    config : dict
        The rule's hyperparameters and state; its arrays may be overwritten.
    l2 : float
        ``l2 * w`` is added to the gradient on the way, which saves passes over memory.

    Returns
    -------
    next_w : ndarray of w's shape
        w itself where it was stepped in place.

    Raises
    ------
    ValueError, TypeError
        As the rule of `cs231n.optim` does.
    """
    kernels = backend.kernels()  # once, for another thread may choose others meanwhile
    if rule in _COMPILED and hasattr(kernels, str(rule)) and _alike(w, dw):
        _step_in_place(getattr(kernels, str(rule)), str(rule), w, dw, config, l2)
        return w
    if l2:
        dw = checks.keep_dtype(dw + l2 * w, dw)
    reference = optim.RULES[rule] if isinstance(rule, str) else rule
    next_w, new_config = reference(w, dw, config)
    if new_config is not config:
        config.clear()
        config.update(new_config)
    return next_w


def add_scaled(y: np.ndarray, a: float, x: np.ndarray) -> np.ndarray:
    """Return y + a * x, written into y where that is an array that can take it.

    Parameters
    ----------
    y, x : ndarray of one shape
    a : float

    Returns
    -------
    total : ndarray of y's shape and dtype
    """
    if _alike(y, x) and x.flags.c_contiguous and x.flags.aligned:
        backend.kernels().add_scaled(y.reshape(-1), a, x.reshape(-1))
        return y
    return checks.keep_dtype(y + a * x, y)


def _alike(w: np.ndarray, dw: np.ndarray) -> bool:
    """Tell whether kernels can write into w, not empty and in C order, and take dw of its dtype."""
    return (
        w.flags.carray
        and w.dtype.isnative
        and w.dtype.name in ("float32", "float64")
        and isinstance(dw, np.ndarray)
        and dw.dtype == w.dtype
        and dw.shape == w.shape
        and w.size > 0
    )


def _step_in_place(
    kernel: Callable[..., None],
    rule: str,
    w: np.ndarray,
    dw: np.ndarray,
    config: optim.Config,
    l2: float,
) -> None:
    """Step w and the arrays of the config by the compiled kernel of the rule's name."""
    read = optim.damped if "momentum" in rule else optim.hyperparameters
    values = read(rule, config)
    for name in optim.STATE[rule]:
        array = optim.state(rule, config, name, w)
        config[name] = np.require(array, w.dtype, ["C", "A", "W"])
    steps = [optim.count_step(rule, config)] if rule == "adam" else []
    arrays = [w, np.require(dw, None, ["C", "A"]), *(config[name] for name in optim.STATE[rule])]
    kernel(*(array.reshape(-1) for array in arrays), *values, *steps, l2)
