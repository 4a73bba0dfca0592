"""The state of a run of the Solver: one dataclass, as a tree for a checkpoint and back."""

from __future__ import annotations

import math
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.optim import DEFAULTS, STATE
from cs231n.training.arguments import check_form, shapes

__all__ = ["TASKS", "RunState", "check_model", "identity", "new_identity"]

_WHERE = "Solver.resume"
_HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")
TASKS = ("epoch", "check", "step end", "epoch end")  # after an update, in this order
_MOST_TEXT = 10_000  # characters
_FORM = {
    **dict.fromkeys(("params", "best_params", "optim_configs", "generators"), dict),
    **dict.fromkeys(("iteration", "epoch"), int),
    **dict.fromkeys(("bn_params", "best_bn_params"), list),
    **dict.fromkeys(("order", *_HISTORIES), np.ndarray),
    "best_val_acc": float,
}


def new_identity() -> str:
    """Return a name for a run that no other has.

    It is drawn from the system, for the numbers of published logs depend on NumPy's generator.

    Returns
    -------
    run : str
    """
    return secrets.token_hex(16)


@dataclass
class RunState:
    """What changes while a run goes on, but for the model and the generators.

    Parameters
    ----------
    optim_configs : dict of str to dict
        Hyperparameters and state of the update rule of each parameter.
    run : str
        Identity of the run, which its checkpoints bear.
    iteration : int
        Updates made in this call of `Solver.train`, by which the schedule goes.
    epoch : int
        Epochs done.
    pending : list of str
        Which of the `TASKS` are still to be done after the last update: to count an epoch, to
        check the accuracies, and to call the callbacks.
    called : int
        How many callbacks were called in the first of these, if it is one for callbacks.
    stop : str
        Why the run was stopped before its end, '' if it was not.
    learning_rate, gradient_norm : float
        Of the last step; nan if unknown.
    order : ndarray of int
        What is left of the epoch's order of the samples.
    loss_history, train_acc_history, val_acc_history, val_loss_history : list of float
    accuracy_iterations : list of int
        How many losses there were when each of the accuracies was measured.
    best_val_acc : float
    best_params : dict of str to ndarray
    best_bn_params : list of dict
        Running statistics that belong to the best parameters.
    average : dict of str to ndarray
        Averages of the parameters, empty where there are none.
    average_bn_params : list of dict
        Averages of the running statistics.
    seconds : float
        Spent in training, in all sessions.
    """

    optim_configs: dict[str, dict[str, Any]]
    run: str = field(default_factory=new_identity)
    iteration: int = 0
    epoch: int = 0
    pending: list[str] = field(default_factory=list)
    called: int = 0
    stop: str = ""
    learning_rate: float = math.nan
    gradient_norm: float = math.nan
    order: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    loss_history: list[float] = field(default_factory=list)
    train_acc_history: list[float] = field(default_factory=list)
    val_acc_history: list[float] = field(default_factory=list)
    val_loss_history: list[float] = field(default_factory=list)
    accuracy_iterations: list[int] = field(default_factory=list)
    best_val_acc: float = -math.inf
    best_params: dict[str, np.ndarray] = field(default_factory=dict)
    best_bn_params: list[dict[str, Any]] = field(default_factory=list)
    average: dict[str, np.ndarray] = field(default_factory=dict)
    average_bn_params: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def tree(self) -> dict[str, Any]:
        """Return the state as `cs231n.training.checkpoint.save` takes it.

        Returns
        -------
        tree : dict
            With the histories as arrays.
        """
        found = dict(vars(self))
        for name in (*_HISTORIES, "val_loss_history"):
            found[name] = np.array(found[name], dtype=float)
        found["accuracy_iterations"] = np.array(self.accuracy_iterations, dtype=np.int64)
        return found

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], per_epoch: int, N: int) -> RunState:
        """Return the state in a checkpoint, once every value is seen to make sense.

        Parameters
        ----------
        tree : mapping
            From `cs231n.training.checkpoint.load`.
        per_epoch : int
            Iterations of an epoch.
        N : int
            Training samples.

        Returns
        -------
        state : RunState

        Raises
        ------
        ValueError, TypeError
            If a value is missing or cannot be that of a run.
        """
        check_form("", tree, _FORM)
        _check_histories(tree)
        _check_order(tree["order"], N)
        accuracy_iterations = _measured(tree, per_epoch)
        seconds = tree.get("seconds", 0.0)
        return cls(
            run=identity(tree),
            iteration=tree["iteration"],
            epoch=tree["epoch"],
            pending=_pending(tree.get("pending", [])),
            called=checks.integer(_WHERE, "called", tree.get("called", 0), 0, 10**6),
            stop=_text("stop", tree.get("stop", "")),
            learning_rate=_float("learning_rate", tree.get("learning_rate", math.nan)),
            gradient_norm=_float("gradient_norm", tree.get("gradient_norm", math.nan)),
            val_loss_history=_val_losses(tree),
            accuracy_iterations=accuracy_iterations,
            seconds=checks.number(_WHERE, "seconds", seconds, 0, 1e12),
            **{name: tree[name] for name in ("optim_configs", "order", "best_params")},
            best_val_acc=tree["best_val_acc"],
            best_bn_params=tree["best_bn_params"],
            average=dict(tree.get("average", {})),
            average_bn_params=list(tree.get("average_bn_params", [])),
            **{name: tree[name].tolist() for name in _HISTORIES},
        )


def identity(tree: Mapping[str, Any]) -> str:
    """Return the identity of the run that a checkpoint belongs to.

    Parameters
    ----------
    tree : mapping
        From `cs231n.training.checkpoint.load`.

    Returns
    -------
    run : str
        As it was drawn; of a checkpoint that was written before runs had one, a text that its
        first loss gives, and '' of any other tree.
    """
    run = tree.get("run")
    if isinstance(run, str) and run:
        return run
    losses = tree.get("loss_history")
    if isinstance(losses, np.ndarray) and losses.ndim == 1 and len(losses):
        return f"first loss {losses[0]!r}"
    return ""


def _pending(found: Any) -> list[str]:
    """Return what an interrupted iteration has left to do."""
    if not isinstance(found, list) or found != [task for task in TASKS if task in found]:
        raise ValueError(f"{_WHERE}: pending is {found!r:.40}; expected some of {', '.join(TASKS)}")
    return list(found)


def _text(name: str, found: Any) -> str:
    """Return a text of a size that can be printed."""
    if not isinstance(found, str) or len(found) > _MOST_TEXT:
        raise ValueError(f"{_WHERE}: {name} is {found!r:.40}; expected a text")
    return found


def _float(name: str, found: Any) -> float:
    """Return a number, which may be nan."""
    if not isinstance(found, (int, float, np.floating)):
        raise ValueError(f"{_WHERE}: {name} is {found!r:.40}; expected a number")
    return float(found)


def _val_losses(tree: Mapping[str, Any]) -> list[float]:
    """Return the validation losses; older checkpoints have none, which is nan."""
    count = len(tree["val_acc_history"])
    found = tree.get("val_loss_history", np.full(count, math.nan))
    is_array = isinstance(found, np.ndarray) and found.dtype == np.float64
    if not is_array or found.shape != (count,):
        raise ValueError(f"{_WHERE}: val_loss_history is no list of {count} numbers")
    return [float(loss) for loss in found]


def _measured(tree: Mapping[str, Any], per_epoch: int) -> list[int]:
    """Return when the accuracies were measured; older checkpoints leave it to the epochs."""
    count, steps = len(tree["val_acc_history"]), len(tree["loss_history"])
    stored = tree.get("accuracy_iterations")
    if stored is None:
        ends = [1, *range(per_epoch if per_epoch > 1 else 2, steps + 1, per_epoch)]
        return (ends + [steps] * count)[:count]
    if (
        not isinstance(stored, np.ndarray)
        or stored.shape != (count,)
        or stored.dtype.kind != "i"
        or not (np.diff(stored) >= 0).all()
        or not ((stored >= 0) & (stored <= steps)).all()
    ):
        raise ValueError(f"{_WHERE}: accuracy_iterations are no {count} numbers of iterations")
    return [int(one) for one in stored]


def _check_histories(tree: Mapping[str, Any]) -> None:
    """Raise a ValueError where the histories or the counts cannot be those of one run."""
    for name in _HISTORIES:
        if tree[name].ndim != 1 or tree[name].dtype != np.float64:
            raise ValueError(f"{_WHERE}: {name} is no list of numbers")
    steps = len(tree["loss_history"])
    checks.integer(_WHERE, "iteration", tree["iteration"], least=0, most=steps)
    checks.integer(_WHERE, "epoch", tree["epoch"], least=0, most=steps)
    if len(tree["train_acc_history"]) != len(tree["val_acc_history"]):
        raise ValueError(f"{_WHERE}: train_acc_history and val_acc_history differ in length")
    best = tree["best_val_acc"]
    if math.isnan(best):
        raise ValueError(f"{_WHERE}: best_val_acc is {best}; expected a number")


def check_model(tree: Mapping[str, Any], model: Any) -> None:
    """Raise a ValueError where the arrays in a checkpoint are not those of a model.

    Parameters
    ----------
    tree : mapping
        From `cs231n.training.checkpoint.load`.
    model : object

    Raises
    ------
    ValueError
        If parameters, running statistics or configurations of the update rule are others.
    """
    check_form("", tree, _FORM)
    params = model.params
    for kind in ("params", "best_params"):
        found, expected = shapes(tree[kind]), shapes(params)
        if found != expected and (found or kind == "params"):
            raise ValueError(f"{_WHERE}: {kind} are {found}; expected {expected}")
    _check_dicts("optim_configs", [*tree["optim_configs"].values()], len(params))
    if tree["optim_configs"].keys() != params.keys():
        raise ValueError(f"{_WHERE}: optim_configs are not those of {', '.join(params)}")
    _check_configs(tree, params)
    statistics = len(getattr(model, "bn_params", []))
    _check_dicts("bn_params", tree["bn_params"], statistics)
    _check_dicts("best_bn_params", tree["best_bn_params"], statistics if tree["best_params"] else 0)
    _check_average(tree, model)


def _check_average(tree: Mapping[str, Any], model: Any) -> None:
    """Raise a ValueError where the averages are no arrays like what they are averages of."""
    average, statistics = tree.get("average", {}), tree.get("average_bn_params", [])
    check_form(" average", average, dict)
    check_form(" average_bn_params", statistics, list)
    expected = shapes(model.params)
    if average and average.keys() != {name for name in expected if name not in _frozen(model)}:
        raise ValueError(f"{_WHERE}: average is not that of {', '.join(expected)}")
    for name, found in shapes(average).items():
        if found != expected[name]:
            raise ValueError(f"{_WHERE}: average {name} is {found}; expected {expected[name]}")
    if statistics:
        _check_dicts("average_bn_params", statistics, len(tree["bn_params"]))
    for of_average, of_model in zip(statistics, tree["bn_params"]):
        arrays = {key: x for key, x in of_model.items() if isinstance(x, np.ndarray)}
        if shapes(of_average) != shapes(arrays):
            raise ValueError(f"{_WHERE}: average_bn_params are not those of the running statistics")


def _frozen(model: Any) -> set[str]:
    """Return the names of the parameters that do not learn."""
    return set(getattr(model, "frozen", ()))


def _check_configs(tree: Mapping[str, Any], params: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError where a rule of this package finds anything but its own state."""
    rule = tree["configuration"]["arguments"].get("update_rule")
    if rule not in DEFAULTS or "rule" in tree["configuration"]:
        return  # the state of a user's rule may be anything
    for name, config in tree["optim_configs"].items():
        for key, value in config.items():
            what = f"optim_configs {name} {key}"
            if key == "t":
                checks.integer(_WHERE, what, value, least=0)
            elif any(key in arrays for arrays in STATE.values()):
                is_array = isinstance(value, np.ndarray) and value.dtype.kind == "f"
                if not is_array or value.shape != params[name].shape:
                    raise ValueError(f"{_WHERE}: {what} is no array like the parameter")
            else:
                _check_number(what, value)


def _check_number(what: str, value: Any) -> None:
    """Raise a ValueError for what is no number, or beyond the numbers of a float."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if not is_number or abs(value) > sys.float_info.max or math.isnan(value):
        raise ValueError(f"{_WHERE}: {what} is {value!r:.60}; expected a finite number")


def _check_dicts(name: str, found: list[Any], count: int) -> None:
    """Raise a ValueError unless there are so many dicts."""
    if len(found) != count or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"{_WHERE}: {name} are no {count} dicts")


def _check_order(order: np.ndarray, N: int) -> None:
    """Raise a ValueError unless these are indices of samples, each at most once."""
    if order.ndim != 1 or order.dtype.kind != "i" or len(np.unique(order)) != len(order):
        raise ValueError(f"{_WHERE}: the order of the epoch is no list of different indices")
    if len(order) and not (order.min() >= 0 and order.max() < N):
        raise ValueError(f"{_WHERE}: the order of the epoch goes beyond the {N} samples")
