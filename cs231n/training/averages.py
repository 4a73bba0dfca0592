"""Averages of the parameters along the way: these are tested, and end in the model.

Steps with a high learning rate jump to and fro over a valley; the mean of the places where they
land lies further down in it than any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.training.state import RunState

__all__ = ["DEFAULTS", "Averaging", "put", "swapped"]

_WHERE = "Solver"
DEFAULTS: dict[str, dict[str, float]] = {
    "ema": {"decay": 0.999},
    "lookahead": {"decay": 0.95, "every": 5, "power": 3.0},
}


class Averaging(NamedTuple):
    """A way to average.

    Parameters
    ----------
    kind : {'ema', 'lookahead'}
    decay : float
        Share of the average that is kept at each step, in [0, 1].
    every : int
        Steps between two looks at the parameters.
    power : float
        By which the share grows over the training, in Lookahead.

    Notes
    -----
    'ema' is the exponential moving average, ``average = s * average + (1 - s) * w`` after each
    step, with ``s = min(decay, n / (n + 9))`` after n steps, so that the beginning is soon
    forgotten.

    'lookahead' does the same every few steps with ``s = decay ** every * (n / steps) ** power``,
    and then also puts the parameters where the average is.  After the last step s is 1: what the
    last steps did is left out.

    References
    ----------
    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; Zhang, Lucas,
    Ba and Hinton, Lookahead Optimizer: k Steps Forward, 1 Step Back, NeurIPS 2019; Jordan, 94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU, 2024 (arXiv:2404.00498), for the growing share.
    """

    kind: str
    decay: float
    every: int = 1
    power: float = 0.0

    @classmethod
    def checked(cls, kind: Any, config: Mapping[str, Any]) -> Averaging | None:
        """Return the way to average that the Solver's arguments describe, None for none."""
        if kind is None:
            return None
        kind = checks.choice(_WHERE, "average", kind, DEFAULTS)
        unknown = [str(name) for name in config if name not in DEFAULTS[kind]]
        if unknown:
            raise ValueError(
                f"{_WHERE}: average_config has {', '.join(unknown)}; {kind} takes"
                f" {', '.join(DEFAULTS[kind])}"
            )
        found: dict[str, Any] = {**DEFAULTS[kind], **config}
        found["decay"] = checks.number(_WHERE, "decay", found["decay"], 0, 1)
        if kind == "lookahead":
            found["every"] = checks.integer(_WHERE, "every", found["every"], least=1)
            found["power"] = checks.number(_WHERE, "power", found["power"], low=0)
        return cls(kind, **found)

    def share(self, step: int, steps: int) -> float | None:
        """Return what share the average keeps after a step, None where it stays as it is."""
        if self.kind == "ema":
            return min(self.decay, step / (step + 9))
        if step == steps:
            return 1.0
        if step % self.every:
            return None
        return float(self.decay**self.every * min(step / max(steps, 1), 1.0) ** self.power)

    def begin(self, state: RunState, params: Mapping[str, np.ndarray]) -> None:
        """Begin with the parameters as they are, unless that is done already."""
        if not state.average:
            state.average = {name: np.array(w) for name, w in params.items()}

    def after_step(
        self, state: RunState, model: Any, step: int, steps: int
    ) -> dict[str, np.ndarray]:
        """Move the average; return the parameters that the model is to go on with, if others.

        Parameters
        ----------
        state : RunState
            Whose average and statistics of it are replaced.
        model : object
        step, steps : int
            How many steps were made in this training, and how many there will have been.

        Returns
        -------
        params : dict of str to ndarray
            New arrays.
        """
        share = self.share(step, steps)
        if share is None:
            return {}
        state.average = {
            name: _moved(w, model.params[name], share) for name, w in state.average.items()
        }
        statistics = [_arrays(param) for param in getattr(model, "bn_params", [])]
        before = state.average_bn_params or statistics
        state.average_bn_params = [
            {key: _moved(old.get(key, x), x, share) for key, x in new.items()}
            for old, new in zip(before, statistics)
        ]
        if self.kind != "lookahead":
            return {}
        _put_statistics(model, state)
        return {name: w.copy() for name, w in state.average.items()}


def _moved(average: np.ndarray, x: np.ndarray, share: float) -> np.ndarray:
    """Return an average that keeps so much of itself, in the dtype of what is averaged."""
    return checks.keep_dtype(share * average + (1 - share) * x, x)


def _arrays(param: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the running statistics in the options of a normalisation."""
    return {key: value for key, value in param.items() if isinstance(value, np.ndarray)}


def _put_statistics(model: Any, state: RunState) -> None:
    """Put copies of the averaged statistics into the model."""
    for param, average in zip(getattr(model, "bn_params", []), state.average_bn_params):
        param.update({key: x.copy() for key, x in average.items()})


def put(model: Any, state: RunState) -> None:
    """Put copies of the averages into the model, where there are any.

    Parameters
    ----------
    model : object
    state : RunState
    """
    model.params = {**model.params, **{name: w.copy() for name, w in state.average.items()}}
    _put_statistics(model, state)


@contextmanager
def swapped(model: Any, state: RunState, held: Any) -> Iterator[None]:
    """Let the model have the averages in the body, and then again what it had.

    Parameters
    ----------
    model : object
    state : RunState
    held : context manager
        In which no signal comes between two assignments.

    Yields
    ------
    None
    """
    if not state.average:
        yield
        return
    params = model.params
    statistics = [_arrays(param) for param in getattr(model, "bn_params", [])]
    try:
        with held:
            put(model, state)
        yield
    finally:
        with held:
            model.params = params
            for param, found in zip(getattr(model, "bn_params", []), statistics):
                param.update(found)
