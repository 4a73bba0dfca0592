"""What may watch a run, and how the Solver calls it."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cs231n.core import checks

__all__ = ["HOOKS", "Callback", "Callbacks"]

HOOKS = ("on_train_begin", "on_step_end", "on_epoch_end", "on_train_end")
_MOST = 1000  # callbacks that a checkpoint may tell of


class Callback:
    """Something that watches a run of the Solver; derived classes fill in what they need.

    Any object with one of the four methods will do.  Each gets the Solver, whose histories, model
    and `learning_rate` it may read, and whose `stop` ends the training.

    Notes
    -----
    A callback that measures with the model does so in ``with solver.undisturbed():``, so that the
    numbers of the run stay what they would be without it; in ``with solver.aside():`` its time does
    not count either, and averages stand in for the parameters.

    One that has a state which the further course depends on gives it by `state_dict` and takes it
    back by `load_state_dict`: it goes into the checkpoints.
    """

    #: Whether the Solver is to measure ``solver.gradient_norm`` at each step, which costs a little.
    needs_gradient_norm = False

    #: Whether a call may be made twice for one step without harm; else its state is copied before
    #: each call, and put back where the call is interrupted and will be made again.
    repeatable = False

    def on_train_begin(self, solver: Any) -> None:
        """Do what is due before the first step of a call of `train`.

        Parameters
        ----------
        solver : Solver
        """

    def on_step_end(self, solver: Any) -> None:
        """Do what is due after an update, and after the accuracies that were measured with it.

        Parameters
        ----------
        solver : Solver
        """

    def on_epoch_end(self, solver: Any) -> None:
        """Do what is due at the end of an epoch, after its last `on_step_end`.

        Parameters
        ----------
        solver : Solver
        """

    def on_train_end(self, solver: Any) -> None:
        """Do what is due when training ends, in whatever way; the model has its best parameters.

        Parameters
        ----------
        solver : Solver
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint is to keep: dicts and lists of numbers, texts and arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` once returned.

        Parameters
        ----------
        state : mapping
            It may come from a stranger's file: believe nothing that is in it.
        """

    def __repr__(self) -> str:
        """Say what it is, with its public settings."""
        shown = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and isinstance(value, (int, float, str))
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


class Callbacks:
    """The callbacks of a run: calls them in their order, and lets none of them harm the run.

    Parameters
    ----------
    given : sequence of objects
        With some of the `HOOKS` as methods.
    tell : callable
        Called with a line for the user.

    Raises
    ------
    TypeError
        If one has none of these methods, or is a class.
    """

    def __init__(self, given: Any, tell: Callable[[str], None]) -> None:
        where = "Solver"
        if isinstance(given, (str, Mapping)) or hasattr(given, "on_train_begin"):
            raise TypeError(f"{where}: callbacks is {given!r:.80}; expected a list of callbacks")
        self.given: Sequence[Any] = tuple(checks.sequence(where, "callbacks", given))
        for one in self.given:
            if isinstance(one, type):
                raise TypeError(
                    f"{where}: the callback {one.__name__} is a class; expected an object,"
                    f" {one.__name__}(...)"
                )
            if not any(callable(getattr(one, hook, None)) for hook in HOOKS):
                raise TypeError(
                    f"{where}: the callback {one!r:.80} has none of the methods {', '.join(HOOKS)}"
                )
        self._tell = tell
        self._off: set[int] = set()  # those that failed

    @property
    def need_gradient_norm(self) -> bool:
        """Whether one of them reads ``solver.gradient_norm``."""
        return any(getattr(one, "needs_gradient_norm", False) for one in self.given)

    def begin(self, solver: Any) -> None:
        """Call `on_train_begin` of all, also of those that failed in an earlier training."""
        self._off = set()
        for index in range(len(self.given)):
            self.call(index, "on_train_begin", solver)

    def end(self, solver: Any) -> None:
        """Call `on_train_end` of all."""
        for index in range(len(self.given)):
            self.call(index, "on_train_end", solver)

    def call(self, index: int, hook: str, solver: Any, count: bool = False) -> None:
        """Call a method of one; its error is told, and then it is not called any more.

        Where it is interrupted before it was counted, its state is what it was, for it will be
        called again.
        """
        one = self.given[index]
        method = getattr(one, hook, None)
        if method is None or index in self._off:
            return
        repeatable = getattr(one, "repeatable", False)
        before = {} if repeatable else self._state(index)
        try:
            try:
                method(solver)
            except Exception as error:
                self._failed(index, hook, error)
            if count:
                solver.count_callback(index)
        except BaseException:
            if before and not (count and solver.state.called > index):
                one.load_state_dict(before)
            raise

    def _failed(self, index: int, hook: str, error: Exception) -> None:
        """Tell of an error of one, where it was raised, and call it no more."""
        self._off.add(index)
        place = "".join(traceback.format_tb(error.__traceback__)[-1:])
        self._tell(
            f"Solver: the callback {_name(self.given[index])} failed in {hook}"
            f" ({type(error).__name__}: {error}); training goes on without it\n{place}".rstrip()
        )

    def _state(self, index: int) -> dict[str, Any]:
        """Return a copy of the state of one, which is empty for those that have none."""
        one = self.given[index]
        if not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")):
            return {}
        try:
            return copy.deepcopy(dict(one.state_dict()))
        except Exception as error:
            self._off.add(index)
            self._tell(f"Solver: the callback {_name(one)} gives no state ({error!r})")
            return {}

    def states(self) -> list[dict[str, Any]]:
        """Return name and state of each that has one, for a checkpoint."""
        found = ((_name(one), self._state(index)) for index, one in enumerate(self.given))
        return [{"name": name, "state": state} for name, state in found if state]

    def set_states(self, stored: Any) -> None:
        """Give each its state from a checkpoint, in which those of one name stand in their order.

        Raises
        ------
        ValueError, TypeError
            If the checkpoint does not hold such states, or a callback refuses its own.
        """
        left = _checked_states(stored)
        for one in self.given:
            found = next((item for item in left if item["name"] == _name(one)), None)
            if found is None:
                continue
            left.remove(found)
            _give(one, found["state"])
        missing = [item["name"] for item in left]
        if missing:
            self._tell(
                f"Solver.resume: the run had the callbacks {', '.join(missing)}, which were not"
                f" given again; it goes on without them"
            )


def _give(one: Any, state: Mapping[str, Any]) -> None:
    """Give a callback its state; its error says whose it is."""
    try:
        one.load_state_dict(state)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(
            f"Solver.resume: the callback {_name(one)} refuses its state in the checkpoint: {error}"
        ) from error


def _checked_states(stored: Any) -> list[dict[str, Any]]:
    """Return the states in a checkpoint."""
    right = isinstance(stored, list) and len(stored) <= _MOST
    if not right or not all(
        isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get("state"), dict)
        for item in stored
    ):
        raise ValueError("Solver.resume: callbacks are no list of names and states")
    return list(stored)


def _name(one: Any) -> str:
    """Return the name of a callback, that of its class."""
    return type(one).__name__
