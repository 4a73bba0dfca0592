"""A callback that ends a training which does not get better any more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cs231n.core import checks
from cs231n.training.callback import Callback

__all__ = ["EarlyStopping"]

_MONITORS = {"val_acc": 1, "val_loss": -1}  # and whether more or less is better


class EarlyStopping(Callback):
    """Stops the training after some epochs in which the validation accuracy or loss was no better.

    The Solver keeps the parameters with the best validation accuracy in any case.

    Parameters
    ----------
    patience : int
        Epochs without a better value, after which training stops.
    monitor : {'val_acc', 'val_loss'}
        What is to get better: the accuracy larger, or the loss smaller.
    min_delta : float
        By how much at least.

    Attributes
    ----------
    best : float
        Best value so far.
    waited : int
        Epochs since then.

    References
    ----------
    Prechelt, Early Stopping - But When?, in Neural Networks: Tricks of the Trade, 1998.
    """

    def __init__(self, patience: int = 5, monitor: str = "val_acc", min_delta: float = 0.0) -> None:
        where = "EarlyStopping"
        self.patience = checks.integer(where, "patience", patience, 1)
        self.monitor = checks.choice(where, "monitor", monitor, tuple(_MONITORS))
        self.min_delta = checks.number(where, "min_delta", min_delta, 0)
        self._reset()

    def _reset(self) -> None:
        """Forget what was seen."""
        self.best, self.waited = -_MONITORS[self.monitor] * math.inf, 0

    def on_train_begin(self, solver: Any) -> None:
        """Count anew, unless an interrupted training goes on.

        Parameters
        ----------
        solver : Solver
        """
        if solver.state.iteration == 0:
            self._reset()

    def on_epoch_end(self, solver: Any) -> None:
        """Compare the epoch with the best one, and stop the training if it is time.

        Parameters
        ----------
        solver : Solver
        """
        value = getattr(solver, f"{self.monitor}_history")[-1]
        if _MONITORS[self.monitor] * (value - self.best) > self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            solver.stop(
                f"{self.monitor} was not better than {self.best:g} for {self.waited} epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take best value and count from `state_dict`.

        Parameters
        ----------
        state : mapping
        """
        where = "EarlyStopping.load_state_dict"
        best = checks.number(where, "best", state["best"])
        self.waited = checks.integer(where, "waited", state["waited"], 0)
        self.best = best
