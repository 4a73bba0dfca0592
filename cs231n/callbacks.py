"""Callbacks: what watches a run of the Solver, tells of it, and may stop it.

They are given to the Solver as a list, ``callbacks=[EarlyStopping(3), CSVLog("log.csv")]``, and to
`Solver.resume` again, which gives each the state that it had.  Any object with one of the methods
of `Callback` will do.
"""

from cs231n.training.callback import Callback
from cs231n.training.csv_log import CSVLog
from cs231n.training.live import LiveCurves
from cs231n.training.stopping import EarlyStopping
from cs231n.training.tensorboard_log import TensorBoard
from cs231n.training.update_ratios import UpdateRatios

__all__ = ["CSVLog", "Callback", "EarlyStopping", "LiveCurves", "TensorBoard", "UpdateRatios"]
