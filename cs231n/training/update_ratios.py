"""A callback that looks at what the course teaches to look at: updates, dead relus, activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cs231n.core import checks
from cs231n.training.callback import Callback
from cs231n.visual.figures import finish, label, new_figure, shown, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["UpdateRatios"]

_FEW = 20  # measurements that are drawn as points, too
_RULE_OF_THUMB = 1e-3
_STATE = ("iterations", "ratios", "epochs", "dead", "histograms", "before", "before_at")


class UpdateRatios(Callback):
    """Measures how large updates are beside the weights, which relus are dead, what layers give.

    Parameters
    ----------
    every : int
        Iterations between two measurements of updates.
    samples : int
        Validation images, the first ones, on which the layers are looked at after each epoch.
    bins : int
        Bars of the histograms of activations.

    Attributes
    ----------
    iterations : list of int
        After which updates were measured.
    ratios : dict of str to list of float
        For each parameter, the norm of the update over the norm of what was updated; about 1e-3 is
        healthy for weights.
    epochs : list of int
        After which the layers were looked at.
    dead : dict of str to list of float
        For each relu, the share of its units that were zero for all the images.
    histograms : dict of str to list of tuple (counts, edges)
        Of what each layer gave.

    Notes
    -----
    Nothing is drawn at random, and no running statistic changes.  A model without a method
    ``activations(X)`` has its updates measured only.
    """

    repeatable = True

    def __init__(self, every: int = 10, samples: int = 100, bins: int = 50) -> None:
        where = "UpdateRatios"
        self.every = checks.integer(where, "every", every, 1)
        self.samples = checks.integer(where, "samples", samples, 1)
        self.bins = checks.integer(where, "bins", bins, 1, 10_000)
        self._reset()

    def _reset(self) -> None:
        """Begin with nothing."""
        self.iterations: list[int] = []
        self.ratios: dict[str, list[float]] = {}
        self.epochs: list[int] = []
        self.dead: dict[str, list[float]] = {}
        self.histograms: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._before: dict[str, np.ndarray] = {}  # the parameters before the step to measure
        self._before_at = -1  # after how many iterations these were

    def on_train_begin(self, solver: Any) -> None:
        """Begin anew with a new run.

        Parameters
        ----------
        solver : Solver
        """
        if not solver.loss_history:
            self._reset()
        self._keep_parameters(solver)

    def _keep_parameters(self, solver: Any) -> None:
        """Copy the parameters where the next step is to be measured."""
        done = len(solver.loss_history)
        # Also those that are kept already: since then the best ones may have come into the model.
        if (done + 1) % self.every == 0 and not solver.state.pending:
            self._keep(solver, done)

    def _keep(self, solver: Any, done: int) -> None:
        """Copy the parameters."""
        self._before = {name: np.array(w) for name, w in solver.model.params.items()}
        self._before_at = done

    def on_step_end(self, solver: Any) -> None:
        """Measure the step, and keep the parameters if the next one is to be measured.

        Parameters
        ----------
        solver : Solver
        """
        done = len(solver.loss_history)
        if self._before_at == done - 1 and self.iterations[-1:] != [done]:
            found = {name: _ratio(w, self._before[name]) for name, w in solver.model.params.items()}
            with solver.uninterrupted():
                self._before = {}
                _append(self.ratios, found)
                self.iterations.append(done)
        if (done + 1) % self.every == 0:
            self._keep(solver, done)

    def on_epoch_end(self, solver: Any) -> None:
        """Look at the layers.

        Parameters
        ----------
        solver : Solver
        """
        if not hasattr(solver.model, "activations") or self.epochs[-1:] == [solver.epoch]:
            return
        with solver.undisturbed():
            found = solver.model.activations(solver.X_val[: self.samples])
        histograms = {name: _histogram(values, self.bins) for name, values in found.items()}
        dead = {name: _dead(values) for name, values in found.items() if "relu" in name}
        with solver.uninterrupted():
            _append(self.histograms, histograms)
            _append(self.dead, dead)
            self.epochs.append(solver.epoch)

    def plot(self, title: str | None = None, path: Any = None) -> Figure:
        """Draw the ratios over the iterations, and the dead relus over the epochs.

        Parameters
        ----------
        title : str, optional
            Heading of the figure.
        path : str or path, optional
            Where to save the figure.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If nothing was measured yet.
        """
        if not self.iterations:
            raise ValueError(
                f"UpdateRatios.plot: nothing was measured; expected a run of {self.every} or more"
                f" iterations"
            )
        figure = new_figure(10, 3.8)
        updates, dead = figure.subplots(1, 2)
        self._draw_ratios(updates)
        figure.legend(
            handles=updates.lines[: len(self.ratios)], loc="outside left upper", fontsize=7
        )
        for (color, line), (name, shares) in zip(styles(), self.dead.items()):
            epochs = self.epochs[-len(shares) :]
            dead.plot(epochs, shares, line, color=color, marker="o", label=shown(name))
        label(dead, f"Units that are zero for all of {self.samples} images", "epoch", "accuracy")
        dead.set_ylabel("share of dead units")
        dead.set_ylim(0, max([0.05, *(1.1 * max(shares) for shares in self.dead.values())]))
        if self.dead:
            dead.legend(fontsize=7, edgecolor="none")
        return finish(figure, title, path)

    def _draw_ratios(self, axes: Axes) -> None:
        """Draw the ratio of each parameter over the iterations, few of them with their points."""
        marker = "." if len(self.iterations) < _FEW else ""
        for (color, line), (name, ratios) in zip(styles(), self.ratios.items()):
            positive = np.where(np.array(ratios) > 0, ratios, np.nan)
            axes.plot(
                self.iterations, positive, line, color=color, marker=marker, label=shown(name)
            )
        axes.axhline(_RULE_OF_THUMB, color="0.6", linewidth=0.8)
        label(axes, "Norm of the update / norm of the parameter", "iteration", "ratio")
        axes.set_yscale("log")

    def state_dict(self) -> dict[str, Any]:
        """Return all measurements."""
        return {
            "iterations": np.array(self.iterations, dtype=np.int64),
            "ratios": {name: np.array(found) for name, found in self.ratios.items()},
            "epochs": np.array(self.epochs, dtype=np.int64),
            "dead": {name: np.array(found) for name, found in self.dead.items()},
            "histograms": {
                name: [[counts, edges] for counts, edges in found]
                for name, found in self.histograms.items()
            },
            "before": dict(self._before),
            "before_at": self._before_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the measurements from `state_dict`.

        Parameters
        ----------
        state : mapping
        """
        where = "UpdateRatios.load_state_dict"
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise ValueError(f"{where}: the state lacks {', '.join(missing)}")
        iterations, epochs = (
            _counts(where, name, state[name]) for name in ("iterations", "epochs")
        )
        ratios = _lists(where, "ratios", state["ratios"], len(iterations))
        dead = _lists(where, "dead", state["dead"], len(epochs))
        histograms = {
            str(name): [_pair(where, pair) for pair in checks.sequence(where, "histograms", pairs)]
            for name, pairs in checks.mapping(where, "histograms", state["histograms"]).items()
        }
        before = checks.mapping(where, "before", state["before"])
        kept = {str(name): checks.real_array(where, "before", w) for name, w in before.items()}
        at = checks.integer(where, "before_at", state["before_at"], -1)
        self.iterations, self.ratios, self.epochs, self.dead = iterations, ratios, epochs, dead
        self.histograms, self._before, self._before_at = histograms, kept, at


def _append(lists: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Append each to the list of its name."""
    for name, value in found.items():
        lists.setdefault(name, []).append(value)


def _dead(values: np.ndarray) -> float:
    """Return the share of units that are zero for all samples."""
    return float((values.reshape(len(values), -1) == 0).all(axis=0).mean())


def _ratio(after: np.ndarray, before: np.ndarray) -> float:
    """Return the norm of a change over that of what changed, nan where that is zero."""
    norm = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / norm if norm > 0 else float("nan")


def _histogram(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the histogram of the finite values."""
    known = values[np.isfinite(values)].astype(np.float64)
    return np.histogram(known if len(known) else np.zeros(1), bins)


def _counts(where: str, name: str, found: Any) -> list[int]:
    """Return numbers that grow, of iterations or epochs."""
    array = checks.real_array(where, name, found)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not (np.diff(array) > 0).all():
        raise ValueError(f"{where}: {name} are no numbers that grow")
    return [int(one) for one in array]


def _lists(where: str, name: str, found: Any, most: int) -> dict[str, list[float]]:
    """Return lists of numbers by name."""
    lists = {}
    for key, values in checks.mapping(where, name, found).items():
        array = checks.real_array(where, name, values)
        if array.ndim != 1 or len(array) > most:
            raise ValueError(f"{where}: {name} has shape {array.shape}; expected at most {most}")
        lists[str(key)] = [float(value) for value in array]
    return lists


def _pair(where: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and edges of a histogram."""
    found = [
        checks.real_array(where, "histograms", one) for one in checks.sequence(where, "", pair)
    ]
    if len(found) != 2 or found[0].ndim != 1 or found[1].shape != (len(found[0]) + 1,):
        raise ValueError(f"{where}: a histogram is no pair of counts and edges")
    return found[0], found[1]
