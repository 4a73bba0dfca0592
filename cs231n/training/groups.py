"""Groups of parameters that the Solver steps otherwise than the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from cs231n.core import checks

__all__ = ["Group", "checked", "of_parameters"]

_WHERE = "Solver"


class Group(NamedTuple):
    """How the parameters of a group are stepped.

    Parameters
    ----------
    rate : float
        Factor on the learning rate.
    weight_decay : float or None
        Strength of decoupled weight decay; None is the Solver's, for weights alone.
    until : float
        Part of the training after which they stay as they are, in [0, 1].
    """

    rate: float = 1.0
    weight_decay: float | None = None
    until: float = 1.0


def checked(groups: Any, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the groups as plain numbers, once each is seen to be of parameters of the model.

    Parameters
    ----------
    groups : mapping of str to mapping
        By names of parameters, or patterns such as 'beta*': some of the fields of `Group`.
    names : iterable of str
        Of the model's parameters.

    Returns
    -------
    groups : dict of str to dict

    Raises
    ------
    ValueError, TypeError
        If a pattern fits no parameter, or a number is unknown or out of its range.
    """
    names = list(names)
    found = {}
    for pattern, settings in checks.mapping(_WHERE, "groups", groups).items():
        if not any(fnmatchcase(name, str(pattern)) for name in names):
            raise ValueError(
                f"{_WHERE}: groups has {pattern!r}, which fits none of the parameters"
                f" {', '.join(names)}"
            )
        settings = checks.mapping(_WHERE, f"groups[{pattern!r}]", settings)
        found[str(pattern)] = {
            str(name): _number(str(pattern), name, value) for name, value in settings.items()
        }
    return found


def _number(pattern: str, name: Any, value: Any) -> float:
    """Return a field of a group, which is a number in its range."""
    if name not in Group._fields:
        raise ValueError(
            f"{_WHERE}: groups[{pattern!r}] has {name!r}; expected some of"
            f" {', '.join(Group._fields)}"
        )
    what = f"groups[{pattern!r}][{name!r}]"
    return checks.number(_WHERE, what, value, 0, 1 if name == "until" else math.inf)


def of_parameters(
    groups: Mapping[str, Mapping[str, float]], names: Iterable[str]
) -> dict[str, Group]:
    """Return the group of each parameter: of several that fit, later ones add to earlier ones.

    Parameters
    ----------
    groups : mapping of str to mapping
        From `checked`.
    names : iterable of str

    Returns
    -------
    groups : dict of str to Group
    """
    found = {}
    for name in names:
        settings: dict[str, Any] = {}
        for pattern, more in groups.items():
            settings.update(more if fnmatchcase(name, pattern) else {})
        found[name] = Group(**settings)
    return found
