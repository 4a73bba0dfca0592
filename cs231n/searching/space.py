"""What is searched: ranges of numbers and lists of values, from Python or from a word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks

__all__ = ["Choice", "Range", "checked", "grid", "parsed"]


class Range(NamedTuple):
    """The numbers from `low` to `high`, both included: integers where both are.

    Parameters
    ----------
    low, high : int or float
    log : bool
        Whether the logarithm of the number is spread evenly, instead of the number.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Any, name: str) -> float:
        """Return the number that the study has for a trial."""
        if self.whole:
            return int(trial.suggest_int(name, self.low, self.high, log=self.log))
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))

    def points(self, count: int) -> list[float]:
        """Return so many numbers of the range, evenly spread, or all integers if they are fewer."""
        if self.log:
            spread = np.geomspace(self.low, self.high, count)
        else:
            spread = np.linspace(self.low, self.high, count)
        if self.whole:
            return [int(one) for one in np.unique(np.rint(spread))]
        return [float(one) for one in np.clip(spread, self.low, self.high)]


class Choice(NamedTuple):
    """One of several values: numbers, texts, flags.

    Parameters
    ----------
    values : tuple
    """

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the value that the study has for a trial."""
        return trial.suggest_categorical(name, list(self.values))

    def points(self, count: int) -> list[Any]:
        """Return all values."""
        return list(self.values)


def parsed(text: str, kind: Callable[[str], Any]) -> Any:
    """Return the range or the list that a word describes, or the value that it is.

    Parameters
    ----------
    text : str
        ``low:high``, ``low:high:log`` (of numbers), ``one,two,three``, or a value.
    kind : callable
        Makes a value from a text, such as float.

    Returns
    -------
    found : Range, Choice or value

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if kind in (int, float) and ":" in text:
        return _range(text, kind)
    if "," in text:
        return _checked_choice(text, Choice(tuple(kind(word) for word in text.split(","))))
    return kind(text)


def _range(text: str, kind: Callable[[str], Any]) -> Range:
    """Return the range that a word describes."""
    low, high, *rest = text.split(":")
    if rest not in ([], ["log"]):
        raise ValueError(f"{text!r} is no range; expected low:high or low:high:log")
    return _checked_range(text, Range(kind(low), kind(high), bool(rest)))


def _checked_range(name: str, found: Range) -> Range:
    """Return a range, or raise a ValueError where there are no numbers in it."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        raise ValueError(f"{name}: found {found.low} to {found.high}; expected finite numbers")
    if not found.low < found.high:
        raise ValueError(
            f"{name}: found {found.low} to {found.high}; expected a low end below the high one"
        )
    if found.log and not found.low > 0:
        raise ValueError(
            f"{name}: a logarithmic range begins at {found.low}; expected a number above 0"
        )
    return found


def _checked_choice(name: str, found: Choice) -> Choice:
    """Return a choice, or raise a ValueError where it has no values, or one twice."""
    texts = list(map(repr, found.values))
    if len(texts) < 1 or len(set(texts)) < len(texts):
        raise ValueError(f"{name}: found the values {', '.join(texts)}; expected each once")
    return found


def checked(where: str, space: Any) -> dict[str, Range | Choice]:
    """Return a space with a Range or a Choice for each name; a plain sequence is a choice.

    Parameters
    ----------
    where : str
        Name of the function that was called, for messages.
    space : mapping of str to Range, Choice or sequence

    Returns
    -------
    space : dict of str to Range or Choice

    Raises
    ------
    ValueError, TypeError
        If it is empty, or a dimension is none of these.
    """
    found: Mapping[str, Any] = checks.mapping(where, "space", space)
    if not found:
        raise ValueError(f"{where}: space is empty; expected at least one name with its range")
    return {str(name): _dimension(f"{where}: {name}", value) for name, value in found.items()}


def _dimension(name: str, value: Any) -> Range | Choice:
    """Return a Range or a Choice."""
    if isinstance(value, Range):
        return _checked_range(name, value)
    if isinstance(value, Choice):
        return _checked_choice(name, value)
    if isinstance(value, (list, tuple)):
        return _checked_choice(name, Choice(tuple(value)))
    raise TypeError(f"{name} is {value!r:.60}; expected a Range, a Choice or a list of values")


def grid(space: Mapping[str, Range | Choice], points: int) -> dict[str, list[Any]]:
    """Return the values of each dimension on a grid.

    Parameters
    ----------
    space : mapping of str to Range or Choice
    points : int
        Values of a range; a choice has all of its own.

    Returns
    -------
    values : dict of str to list
    """
    return {name: dimension.points(points) for name, dimension in space.items()}
