"""A callback that shows the curves while they grow."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.training import progress_bar
from cs231n.training.callback import Callback
from cs231n.visual.curves import plot_history

__all__ = ["LiveCurves"]

_BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_WIDTH = 30  # characters of the curve in a terminal


class LiveCurves(Callback):
    """Draws the training curves anew as they grow: a figure in a notebook, a line in a terminal.

    Parameters
    ----------
    seconds : float
        Least time between two drawings of the figure within an epoch, and at least ten times what
        a drawing takes; at the end of each epoch it is drawn in any case.  A terminal gets its line
        at the end of each epoch.
    """

    repeatable = True

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = checks.number("LiveCurves", "seconds", seconds, 0)
        self._handle: Any = None  # of the picture in the notebook
        self._next = -math.inf  # when it may be drawn again

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; the picture stays with this one."""
        return {**vars(self), "_handle": None}

    def on_train_begin(self, solver: Any) -> None:
        """Begin a new picture.

        Parameters
        ----------
        solver : Solver
        """
        self._handle, self._next = None, -math.inf

    def on_step_end(self, solver: Any) -> None:
        """Draw, if it is time.

        Parameters
        ----------
        solver : Solver
        """
        if progress_bar.in_notebook() and time.monotonic() >= self._next:
            self._show(solver)

    def on_epoch_end(self, solver: Any) -> None:
        """Draw, or print a line.

        Parameters
        ----------
        solver : Solver
        """
        if progress_bar.in_notebook():
            self._show(solver)
        else:
            solver.print_line(_line(solver, sys.stdout))

    def on_train_end(self, solver: Any) -> None:
        """Draw the whole curves.

        Parameters
        ----------
        solver : Solver
        """
        if self._handle is not None:
            self._show(solver)

    def _show(self, solver: Any) -> None:
        """Draw the figure in its place in the notebook."""
        from IPython.display import Image, display

        start = time.monotonic()
        picture = Image(data=plot_history(solver)._repr_png_())  # type: ignore[attr-defined]
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
        now = time.monotonic()
        self._next = now + max(self.seconds, 10 * (now - start))


def _line(solver: Any, stream: Any) -> str:
    """Return the course of the loss as a line of blocks, and where the numbers stand."""
    numbers = (
        f"epoch {solver.epoch}: loss {_mean_of_last(solver):.4f}, val_loss"
        f" {solver.val_loss_history[-1]:.4f}, val_acc {solver.val_acc_history[-1]:.4f}"
    )
    curve = spark(solver.loss_history, _WIDTH)
    try:
        curve.encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return numbers
    return f"{curve} {numbers}"


def _mean_of_last(solver: Any) -> float:
    """Return the mean loss of the last epoch."""
    losses = np.array(solver.loss_history[-solver.iterations_per_epoch :])
    known = losses[np.isfinite(losses)]
    return float(known.mean()) if len(known) else math.nan


def spark(values: Sequence[float], width: int) -> str:
    """Return a curve of so many characters, each the mean of a part of the values."""
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(width, len(values)))
    finite = [part[np.isfinite(part)] for part in parts]
    means = np.array([part.mean() if len(part) else np.nan for part in finite])
    known = means[np.isfinite(means)]
    if not len(known):
        return "?" * len(means)
    span = np.ptp(known) or 1.0
    return "".join(
        "?" if np.isnan(mean) else _BLOCKS[round((mean - known.min()) / span * (len(_BLOCKS) - 1))]
        for mean in means
    )
