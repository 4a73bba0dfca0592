"""A callback that writes a table of the run, line by line while it goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cs231n.core import checks
from cs231n.files import storage
from cs231n.files.regular import NO_SURPRISE, read_text
from cs231n.training.callback import Callback

__all__ = ["CSVLog"]

_COLUMNS = (
    *("iteration", "epoch", "loss", "learning_rate", "gradient_norm", "seconds"),
    *("train_acc", "val_acc", "val_loss"),
)
_MOST = 2**30  # bytes of a table that is gone on with


class CSVLog(Callback):
    """Writes a line for each iteration into a file, at once, so that it can be read meanwhile.

    The columns are iteration, epoch, loss, learning_rate, gradient_norm (of all gradients together,
    before clipping), seconds of training, and, in the rows where these were measured, train_acc,
    val_acc and val_loss.

    Parameters
    ----------
    path : str or path
        File.  A run that begins replaces what is there; one that is resumed goes on after the last
        iteration that its checkpoint knows.
    every : int
        Iterations between lines; those with accuracies are always written.
    """

    needs_gradient_norm = True
    repeatable = True

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = str(checks.path("CSVLog", "path", path))
        self.every = checks.integer("CSVLog", "every", every, 1)
        self._last = 0  # iteration that was written

    def on_train_begin(self, solver: Any) -> None:
        """Begin the table, or cut off what a killed run has written after its last checkpoint.

        Parameters
        ----------
        solver : Solver
        """
        done = len(solver.loss_history)
        lines = [",".join(_COLUMNS)]
        if done and Path(self.path).exists():
            old = read_text("CSVLog", Path(self.path), _MOST).split("\n")[:-1]  # whole lines
            if old[:1] != lines:
                raise ValueError(f"CSVLog: {self.path} is no table of this form")
            lines += [line for line in old[1:] if _iteration(line) <= done]
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(self.path, "".join(f"{line}\n" for line in lines))
        self._last = max((_iteration(line) for line in lines[1:]), default=0)

    def on_step_end(self, solver: Any) -> None:
        """Append the line of the iteration.

        Parameters
        ----------
        solver : Solver
        """
        iteration = len(solver.loss_history)
        measured = solver.accuracy_iterations[-1:] == [iteration]
        if iteration <= self._last or not (measured or iteration % self.every == 0):
            return
        row = [
            *(iteration, iteration / solver.iterations_per_epoch, solver.loss_history[-1]),
            *(solver.learning_rate, solver.gradient_norm, round(solver.train_seconds, 3)),
        ]
        histories = (solver.train_acc_history, solver.val_acc_history, solver.val_loss_history)
        row += [history[-1] for history in histories] if measured else [""] * 3
        self._append(f"{','.join(map(str, row))}\n")
        self._last = iteration

    def _append(self, line: str) -> None:
        """Write a line to the end of the file, through no link."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | NO_SURPRISE)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            file.write(line.encode())


def _iteration(line: str) -> int:
    """Return the iteration that a line is about."""
    text = line.partition(",")[0]
    if not text.isdecimal() or line.count(",") != len(_COLUMNS) - 1:
        raise ValueError(f"CSVLog: found the line {line!r:.80}; expected {', '.join(_COLUMNS)}")
    return int(text)
