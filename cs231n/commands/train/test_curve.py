"""The accuracy of the test images along the way: to be looked at, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.callbacks import Callback
from cs231n.core import checks
from cs231n.files import storage

__all__ = ["COLUMNS", "FILE", "TestCurve"]

FILE = "test_curve.csv"
COLUMNS = ("iteration", "epoch", "seconds", "test_acc")
_WHERE = "TestCurve"
_MOST = 100_000  # rows that a checkpoint may hold


class TestCurve(Callback):
    """Measures all test images after each epoch and writes a table of it.

    No choice depends on what it finds, no number of the run on whether it is there, and the time
    that it takes is not counted as training.

    Parameters
    ----------
    path : Path
        Where the table is written, anew each time.
    X, y : ndarray
        Test images and labels.

    Raises
    ------
    ValueError
        If there are none.
    """

    __test__ = False  # to pytest its name looks like that of a test

    def __init__(self, path: Path, X: np.ndarray, y: np.ndarray) -> None:
        if not len(X):
            raise ValueError("--test-curve is of test images; expected --num-test above 0")
        self._path, self._X, self._y = path, X, y
        self._rows: list[list[float]] = []

    def on_train_begin(self, solver: Any) -> None:
        """Begin a table, unless an interrupted training goes on.

        Parameters
        ----------
        solver : Solver
        """
        if solver.state.iteration == 0:
            self._rows = []

    def on_epoch_end(self, solver: Any) -> None:
        """Measure, and write the table.

        Parameters
        ----------
        solver : Solver
        """
        with solver.aside():
            accuracy = solver.check_accuracy(self._X, self._y)
        row = [len(solver.loss_history), solver.epoch, round(solver.train_seconds, 3), accuracy]
        self._rows.append(row)
        lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in self._rows)]
        storage.write_text(self._path, "".join(f"{line}\n" for line in lines))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": [list(row) for row in self._rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the rows from `state_dict`.

        Parameters
        ----------
        state : mapping
        """
        rows = checks.sequence(_WHERE, "rows", state["rows"])
        if len(rows) > _MOST or any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"{_WHERE}: rows are none of {', '.join(COLUMNS)}")
        self._rows = [[_number(value) for value in row] for row in rows]


def _number(value: Any) -> float:
    """Return a number of a row, a whole one as it is."""
    number = checks.number(_WHERE, "a row", value, low=0)
    return int(value) if isinstance(value, int) else number
