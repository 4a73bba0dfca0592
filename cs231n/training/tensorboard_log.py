"""A callback that writes event files for TensorBoard."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from cs231n.core import checks
from cs231n.training.callback import Callback

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes losses, accuracies and rates as TensorBoard shows them (``tensorboard --logdir``).

    Parameters
    ----------
    folder : str or path
        Where the event files go; each session of a run has its own, and a resumed one takes back
        what came after the checkpoint.
    every : int
        Iterations between two training losses.

    Raises
    ------
    ModuleNotFoundError
        If the package tensorboard is missing: ``pip install "cs231n[tensorboard]"``.
    """

    needs_gradient_norm = True
    repeatable = True

    def __init__(self, folder: str | os.PathLike[str], every: int = 1) -> None:
        self.folder = str(checks.path("TensorBoard", "folder", folder))
        self.every = checks.integer("TensorBoard", "every", every, 1)
        _proto()  # tell now that it is missing, not after an hour
        self._writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, which writes a file of its own."""
        return {**vars(self), "_writer": None}

    def on_train_begin(self, solver: Any) -> None:
        """Open a new event file, and take back what is after the point from which the run goes on.

        Parameters
        ----------
        solver : Solver
        """
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(self.folder)
        done = len(solver.loss_history)
        if done:
            event = _proto().Event(wall_time=time.time(), step=done + 1)
            event.session_log.status = event.session_log.START
            self._writer.add_event(event)

    def on_step_end(self, solver: Any) -> None:
        """Write the numbers of the iteration.

        Parameters
        ----------
        solver : Solver
        """
        iteration = len(solver.loss_history)
        found = {}
        if iteration % self.every == 0:
            found["loss/training"] = solver.loss_history[-1]
            found["learning rate"] = solver.learning_rate
            found["gradient norm"] = solver.gradient_norm
        if solver.accuracy_iterations[-1:] == [iteration]:
            found["loss/validation"] = solver.val_loss_history[-1]
            found["accuracy/training"] = solver.train_acc_history[-1]
            found["accuracy/validation"] = solver.val_acc_history[-1]
        self._write(iteration, found)

    def _write(self, step: int, found: dict[str, float]) -> None:
        """Write numbers as one event; nan is left out."""
        values = {tag: float(value) for tag, value in found.items() if not math.isnan(value)}
        if not values or self._writer is None:
            return
        event = _proto().Event(wall_time=time.time(), step=step)
        for tag, value in values.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self._writer.add_event(event)

    def on_train_end(self, solver: Any) -> None:
        """Close the file.

        Parameters
        ----------
        solver : Solver
        """
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _proto() -> Any:
    """Return the module of TensorBoard's events; nothing else of the package imports it."""
    try:
        from tensorboard.compat.proto import event_pb2
    except ImportError as error:
        raise ModuleNotFoundError(
            'TensorBoard: the package tensorboard is missing; pip install "cs231n[tensorboard]"'
        ) from error
    return event_pb2
