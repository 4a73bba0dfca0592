"""A search for the learning rate: one short run in which it rises, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from cs231n.core import checks
from cs231n.solver import DivergedError, Solver
from cs231n.visual.figures import COLORS, finish, label, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RateSearch", "find_learning_rate"]

_SMOOTH = 0.9  # of the moving average of the losses
_LOST = 3.0  # times the smallest averaged loss: the rate is too high by then
_PART = 0.2  # of the rate with the least averaged loss
_LEAST = 10  # steps before the search may end


class RateSearch:
    """What `find_learning_rate` found; in a notebook it shows its curve.

    Attributes
    ----------
    rates : ndarray of shape (steps,)
        Learning rates that were tried, rising.
    losses : ndarray of shape (steps,)
        Loss of the minibatch before the step with each.
    smoothed : ndarray of shape (steps,)
        Their moving average.
    suggestion : float
        A fifth of the rate with the least averaged loss, which lags behind; nan where the loss does
        not fall.
    """

    def __init__(self, rates: np.ndarray, losses: np.ndarray) -> None:
        self.rates, self.losses = rates, losses
        self.smoothed = _smoothed(losses)
        self.suggestion = _suggested(rates, self.smoothed)

    def plot(self, title: str | None = None, path: str | PathLike[str] | None = None) -> Figure:
        """Draw the loss over the rate, and mark the suggestion.

        Parameters
        ----------
        title : str, optional
            Heading of the figure.
        path : str or path, optional
            Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

        Returns
        -------
        figure : matplotlib.figure.Figure
        """
        figure = new_figure(6.5, 3.8)
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, ".", color=COLORS[0], alpha=0.4, label="one minibatch")
        axes.plot(self.rates, self.smoothed, color=COLORS[0], label="moving average")
        if np.isfinite(self.suggestion):
            text = f"suggestion: {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color=COLORS[1], linestyle="--", label=text)
        low, start = float(self.smoothed.min()), float(self.smoothed[0])
        margin = 0.2 * max(start - low, 0.05 * abs(start), 1e-9)
        axes.set_ylim(low - margin, start + 2 * margin)
        label(axes, "Loss while the learning rate rises", "learning rate", "loss")
        axes.set_xscale("log")
        axes.legend(edgecolor="none", fontsize=9)
        return finish(figure, title, path)

    def _repr_png_(self) -> bytes:
        """Return the curve, for notebooks."""
        return bytes(vars(self.plot())["_repr_png_"]())

    def __repr__(self) -> str:
        """Say what is suggested."""
        span = f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        return f"RateSearch(suggestion={self.suggestion:.2g}, {span})"


def find_learning_rate(
    model: Any,
    data: Mapping[str, np.ndarray],
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    **arguments: Any,
) -> RateSearch:
    """Try rising learning rates on a model, each for one step, and suggest one.

    Parameters
    ----------
    model : object
        As the `Solver` takes it; it is afterwards as it was before.
    data : mapping
        As the `Solver` takes it.
    lowest, highest : float
        Rates of the first and of the last step; those between rise by equal factors.
    steps : int
        Steps at most; the search ends where the loss has risen far above its least.
    **arguments
        Of the `Solver`: `update_rule`, `batch_size`, `optim_config` without a rate, `groups`, whose
        'rate' multiplies each of those tried, and so on.

    Returns
    -------
    search : RateSearch
        With rates, losses and the suggestion; ``search.plot()`` draws them.

    Raises
    ------
    ValueError, TypeError
        If lowest is not below highest, an argument is wrong, or the loss is no number from the
        start on.

    Notes
    -----
    Parameters, running statistics and the positions of all generators come back, NumPy's global one
    among them: a training that follows prints the same numbers as without the search.

    References
    ----------
    Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.
    """
    where = "find_learning_rate"
    lowest = checks.number(where, "lowest", lowest, 0, 1e30, low_open=True)
    highest = checks.number(where, "highest", highest, lowest, 1e30, low_open=True)
    steps = checks.integer(where, "steps", steps, _LEAST, 100_000)
    checks.mapping(where, "data", data)
    _refuse_arguments(where, arguments)
    config = {**dict(arguments.pop("optim_config", None) or {}), "learning_rate": lowest}
    quiet = {"verbose": False, "progress": False, "on_divergence": "raise"}
    endless = {"num_epochs": checks.MOST}  # so that no group's 'until' comes before the last rate
    # Of the plain dict the model does not remember its data.
    solver = Solver(model, dict(data), optim_config=config, **{**arguments, **quiet, **endless})
    rates = np.geomspace(lowest, highest, steps)
    factors = {name: one["learning_rate"] / lowest for name, one in solver.optim_configs.items()}
    losses = _losses(solver, rates, factors)
    if len(losses) < 2:
        raise ValueError(f"{where}: the loss is no number at the lowest rate, {lowest:g}")
    return RateSearch(rates[: len(losses)], np.array(losses))


def _refuse_arguments(where: str, arguments: Mapping[str, Any]) -> None:
    """Raise a TypeError for arguments of the Solver that would do nothing or harm."""
    wrong = sorted({"schedule", "callbacks", "checkpoint_name"} & set(arguments))
    if wrong:
        raise TypeError(
            f"{where}: {', '.join(wrong)} has no sense in a search for the rate; expected other"
            f" arguments of the Solver"
        )


def _losses(solver: Solver, rates: np.ndarray, factors: Mapping[str, float]) -> list[float]:
    """Step with each rate, times a parameter's factor, until the loss is lost; undo all of it."""
    model = solver.model
    params = dict(model.params)  # the Solver steps copies of these
    dropout = dict(getattr(model, "dropout_param", None) or {})
    losses: list[float] = []
    try:
        with solver.undisturbed(), np.errstate(all="ignore"):
            for rate in rates:
                for name, config in solver.optim_configs.items():
                    config["learning_rate"] = float(rate) * factors[name]
                solver.step()
                losses.append(solver.loss_history[-1])
                smoothed = _smoothed(np.array(losses))
                if len(losses) > _LEAST and smoothed[-1] > _LOST * smoothed.min():
                    break
    except DivergedError:
        return losses
    finally:
        model.params.clear()
        model.params.update(params)
        if dropout:
            model.dropout_param.update(dropout)
    return losses


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Return the exponential moving average, corrected for its start."""
    average, found = 0.0, []
    for index, loss in enumerate(losses, start=1):
        average = _SMOOTH * average + (1 - _SMOOTH) * loss
        found.append(average / (1 - _SMOOTH**index))
    return np.array(found)


def _suggested(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """Return a part of the rate with the least loss, nan where nothing falls."""
    best = int(np.argmin(smoothed))
    return float(rates[best] * _PART) if best else float("nan")
