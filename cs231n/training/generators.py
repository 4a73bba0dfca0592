"""Sources of random draws: which ones a run draws from, their states, and what a state may be.

A function draws from whatever it can reach: globals that its code names, attributes, what it is
bound to, closures, defaults, arguments of partials, Python's `random`.  All of that is searched.
What cannot be kept in a file is named, so that the run can say so.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import random
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks

__all__ = ["Sources", "find", "kinds", "new", "put_back", "set_states", "states", "without"]

_WHERE = "Solver.resume"
_KINDS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_GLOBAL: Any = np.random.mtrand._rand  # whose methods are the functions of np.random
_PYTHON: Any = random._inst  # whose methods are those of random
_MOST_ITEMS, _MOST_OBJECTS = 1000, 20_000  # looked at: what holds more is data
_MAKERS = ("default_rng", "RandomState", "SystemRandom", "urandom")  # of draws of their own
_FOREIGN = ("torch", "secrets")  # modules that draw from elsewhere
_BEGINNINGS = ("__init__", "__new__", "__post_init__")  # of an object that is there already
_PLAIN = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic)


class Sources(NamedTuple):
    """What a run draws from, by name, and texts that say which draws no checkpoint can keep."""

    kept: list[tuple[str, Any]]
    lost: list[str]


def find(rng: Any, functions: Mapping[str, Any], model: Any) -> Sources:
    """Return every source of random draws in a run.

    NumPy's global generator is always one: layers draw from it.

    Parameters
    ----------
    rng : Generator or numpy.random
        What the Solver draws from.
    functions : mapping of str to callable
        What the user gave it, by the name of the argument.
    model : object

    Returns
    -------
    sources : Sources
    """
    kept, lost = [("global", np.random), ("solver", rng)], []
    for name, function in functions.items():
        found, trouble = _reachable(function)
        kept += [(f"{name} {index}" if index else name, one) for index, one in enumerate(found)]
        lost += [f"{name} {text}" for text in trouble]
    dropout = (getattr(model, "dropout_param", None) or {}).get("rng")
    found, trouble = _reachable(dict(getattr(model, "__dict__", {})))
    others = [one for one in found if one is not dropout]
    kept += [("dropout", dropout), *((f"model {i}", one) for i, one in enumerate(others, start=1))]
    lost += [f"the model {text}" for text in trouble]
    return Sources([(name, one) for name, one in kept if not _is_twice(name, one)], lost)


def _is_twice(name: str, source: Any) -> bool:
    """Tell whether there is no such source, or it is the global one under another name."""
    return source is None or (source is np.random and name != "global")


def _reachable(start: Any) -> tuple[list[Any], list[str]]:
    """Return the generators that a function or an object can reach, nearest first, and trouble."""
    seen: dict[int, Any] = {}
    found: list[Any] = []
    trouble: list[str] = []
    todo = deque([start])
    while todo and len(seen) < _MOST_OBJECTS:
        value = todo.popleft()
        if isinstance(value, _PLAIN) or id(value) in seen or value is _GLOBAL:
            continue
        seen[id(value)] = value
        text = _trouble(value)
        if text:
            trouble.append(text)
        elif _is_source(value):
            found.append(random if value is _PYTHON else value)
        else:
            todo.extend(_held(value))
    return list({id(one): one for one in found}.values()), trouble


def _is_source(value: Any) -> bool:
    """Tell whether this is something to draw from whose state can be read and set."""
    known = (np.random.Generator, np.random.RandomState, random.Random)
    return value is random or isinstance(value, known)


def _trouble(value: Any) -> str:
    """Return what is wrong with drawing from a value, '' for nothing."""
    module = getattr(value if inspect.ismodule(value) else type(value), "__name__", "")
    home = module if inspect.ismodule(value) else type(value).__module__
    name = getattr(value, "__name__", "")
    if isinstance(value, random.SystemRandom) or (callable(value) and name in _MAKERS):
        return f"draws from {name or 'a SystemRandom'}, which begins anew at each call"
    if home.split(".")[0] in _FOREIGN:
        return f"can draw from {home.split('.')[0]}"
    if isinstance(value, types.GeneratorType) or home == "itertools":
        return f"goes on with an iterator ({module})"
    if isinstance(value, (np.random.BitGenerator, np.random.SeedSequence)):
        return f"holds a {module} without a generator"
    return ""


def _held(value: Any) -> Iterator[Any]:
    """Yield what a value holds: what its code can reach, or its attributes or items."""
    if isinstance(value, functools.partial):
        yield from (*value.args, *value.keywords.values(), value.func)
    elif inspect.ismethod(value):
        yield from (value.__self__, value.__func__)
    elif inspect.isfunction(value):
        yield from _held_by_function(value)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, property):
        yield value.fget
    elif isinstance(value, Mapping):
        yield from itertools.islice(value.values(), _MOST_ITEMS)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from itertools.islice(value, _MOST_ITEMS)
    elif inspect.isbuiltin(value):
        yield None if inspect.ismodule(value.__self__) else value.__self__
    elif not inspect.ismodule(value):
        yield from _held_by_object(value)


def _held_by_function(function: Any) -> Iterator[Any]:
    """Yield defaults, closure, and the globals that the code of a function of the user's names."""
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not bound yet
            yield cell.cell_contents
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        yield wrapped
    if _is_library(function.__module__, function.__code__.co_filename):
        return
    names = set(_names(function.__code__))
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield value
        if inspect.ismodule(value):
            yield from _held_by_module(value, names)


def _held_by_module(module: types.ModuleType, names: set[str]) -> Iterator[Any]:
    """Yield the contents of a module that the code which uses it names."""
    for name in sorted(names & vars(module).keys()):
        value = vars(module)[name]
        yield value
        if inspect.ismodule(value) and value is not module:
            yield from (vars(value)[one] for one in sorted(names & vars(value).keys()))


def _held_by_object(value: Any) -> Iterator[Any]:
    """Yield the attributes of an object, and the contents of its classes."""
    if isinstance(value, type):
        classes: Iterable[type] = value.__mro__
        done: tuple[str, ...] = ()
    else:
        classes, done = type(value).__mro__, _BEGINNINGS
        yield from list(getattr(value, "__dict__", {}).values())
        slots = (vars(one).get("__slots__", ()) for one in classes)
        names = (name for one in slots for name in ([one] if isinstance(one, str) else one))
        yield from (getattr(value, name, None) for name in names)
    for one in classes:
        if not _is_library(one.__module__, ""):
            yield from [held for name, held in vars(one).items() if name not in done]


def _is_library(module: Any, filename: str) -> bool:
    """Tell whether code is not the user's: Python's, an installed package's, or ours."""
    top = str(module).split(".")[0]
    home = str(getattr(sys.modules.get(top), "__file__", "") or filename)
    return (
        top in ("builtins", "cs231n")
        or (top in sys.stdlib_module_names and top != "__main__")
        or any(part in place for place in (home, filename) for part in ("site-packages", "dist-pa"))
    )


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that code, and code inside it, looks up in modules and objects."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def kinds(sources: Sources) -> dict[str, str]:
    """Return the algorithm of each source, or whose generator it shares.

    Parameters
    ----------
    sources : Sources

    Returns
    -------
    kinds : dict of str to str
    """
    found: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, source in sources.kept:
        owner = owners.setdefault(id(source), name)
        algorithm = type(getattr(source, "bit_generator", source)).__name__
        if source is random:
            algorithm = "random"
        found[name] = algorithm if owner == name else f"the same as for {owner}"
    return found


def new(kind: str) -> np.random.Generator:
    """Return a new generator of a kind, whose state is yet to be set.

    Parameters
    ----------
    kind : str
        As `kinds` names it.

    Returns
    -------
    rng : Generator

    Raises
    ------
    ValueError
        If NumPy has no such kind.
    """
    checks.choice(_WHERE, "the checkpoint's generator", kind, _KINDS)
    return np.random.Generator(getattr(np.random, kind)())


def states(sources: Sources) -> dict[str, dict[str, Any]]:
    """Return the state of each source, which is a copy.

    Parameters
    ----------
    sources : Sources

    Returns
    -------
    states : dict of str to dict
    """
    return {name: _state(source) for name, source in sources.kept}


def _state(source: Any) -> dict[str, Any]:
    """Return the state of one source."""
    if isinstance(source, np.random.Generator):
        return dict(source.bit_generator.state)
    if source is random or isinstance(source, random.Random):
        _, words, gauss = source.getstate()
        state = {"key": np.array(words[:-1], np.uint32), "pos": words[-1]}
        return {"bit_generator": "random", "state": state, "gauss": gauss}
    return dict(source.get_state(legacy=False))


def set_states(sources: Sources, found: Mapping[str, Any]) -> None:
    """Let all sources go on from their states, once these are seen to be states of theirs.

    NumPy believes what it is given: a position beyond the numbers that were drawn in advance would
    be read from memory that is not the generator's.

    Parameters
    ----------
    sources : Sources
    found : mapping of str to dict
        As `states` returned it.

    Raises
    ------
    ValueError
        If a state is missing, or is none of its generator; nothing is set then.
    """
    for name, source in sources.kept:
        _check_state(name, source, found.get(name))
    try:
        for name, source in sources.kept:
            _set_state(source, found[name])
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{_WHERE}: the state of the random draws is wrong ({error!r})") from error


def put_back(sources: Sources, found: Mapping[str, Any]) -> None:
    """Let all sources go on from states that `states` returned in this process.

    Parameters
    ----------
    sources : Sources
    found : mapping of str to dict
    """
    for name, source in sources.kept:
        _set_state(source, found[name])


def _set_state(source: Any, state: Any) -> None:
    """Let one source go on from a state that was checked."""
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    elif source is random or isinstance(source, random.Random):
        words = (*state["state"]["key"].tolist(), state["state"]["pos"])
        source.setstate((3, words, state["gauss"]))
    else:
        source.set_state(state)


class _Whole(NamedTuple):
    """An integer from low to high."""

    low: int
    high: int

    def allows(self, value: Any) -> bool:
        """Tell whether a value is one."""
        return type(value) is int and self.low <= value <= self.high


class _Words(NamedTuple):
    """So many words of a type of unsigned integers."""

    dtype: type
    length: int

    def allows(self, value: Any) -> bool:
        """Tell whether a value is an array of these."""
        return (
            isinstance(value, np.ndarray)
            and value.dtype == self.dtype
            and value.shape == (self.length,)
        )


class _Key(_Words):
    """Words that are not all zero, for a generator of zeros gives nothing but zeros."""

    def allows(self, value: Any) -> bool:
        """Tell whether a value is an array of these."""
        return super().allows(value) and bool(value.any())


class _Gauss(NamedTuple):
    """A normal number that was drawn in advance."""

    optional: bool

    def allows(self, value: Any) -> bool:
        """Tell whether a value is one, or None where there need not be any."""
        if value is None:
            return self.optional
        return type(value) is float and math.isfinite(value)


_TWISTER = {"state": {"key": _Key(np.uint32, 624), "pos": _Whole(0, 624)}}
_HALF = {"has_uint32": _Whole(0, 1), "uinteger": _Whole(0, 2**32 - 1)}
_LARGE = _Whole(0, 2**128 - 1)
_FORMS: dict[str, dict[str, Any]] = {
    "MT19937": _TWISTER,
    "PCG64": {"state": {"state": _LARGE, "inc": _LARGE}, **_HALF},
    "PCG64DXSM": {"state": {"state": _LARGE, "inc": _LARGE}, **_HALF},
    "Philox": {
        "state": {"counter": _Words(np.uint64, 4), "key": _Words(np.uint64, 2)},
        **{"buffer": _Words(np.uint64, 4), "buffer_pos": _Whole(0, 4), **_HALF},
    },
    "SFC64": {"state": {"state": _Words(np.uint64, 4)}, **_HALF},
    "legacy": {**_TWISTER, "has_gauss": _Whole(0, 1), "gauss": _Gauss(False)},
    "random": {**_TWISTER, "gauss": _Gauss(True)},
}


def without(sources: Sources, names: Iterable[str]) -> Sources:
    """Return the sources but for some, which then go on from wherever they are.

    Parameters
    ----------
    sources : Sources
    names : iterable of str

    Returns
    -------
    sources : Sources
    """
    left_out = set(names)
    return Sources([pair for pair in sources.kept if pair[0] not in left_out], sources.lost)


def _check_state(name: str, source: Any, state: Any) -> None:
    """Raise a ValueError unless a state is one that this source could have been in."""
    algorithm = type(getattr(source, "bit_generator", source)).__name__
    form = algorithm
    if source is np.random or isinstance(source, np.random.RandomState):
        algorithm, form = "MT19937", "legacy"
    elif source is random or isinstance(source, random.Random):
        algorithm = form = "random"
    expected = {"bit_generator": algorithm, **_FORMS.get(form, {})}
    wrong = list(_wrong(state, expected, ""))
    if wrong:
        raise ValueError(
            f"{_WHERE}: the state of the random draws of {name} is wrong:{wrong[0]};"
            f" expected that of a {algorithm}"
        )


def _wrong(found: Any, form: Any, place: str) -> Iterator[str]:
    """Yield the places in which a state does not have the form of one."""
    if isinstance(form, dict):
        if not isinstance(found, dict) or found.keys() != form.keys():
            yield f"{place} has not the entries {', '.join(form)}"
            return
        for key, part in form.items():
            yield from _wrong(found[key], part, f"{place} {key}")
    elif isinstance(form, str):
        if found != form:
            yield f"{place} is {found!r:.40}"
    elif not form.allows(found):
        yield f"{place} is {found!r:.40}"
