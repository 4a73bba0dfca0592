"""What a run is made of: its arguments, and texts that tell its network, data and functions.

A checkpoint holds these, so that `resume` can see that it goes on with the same run.  What cannot
be stored, functions and objects, is named in the configuration and must be given again.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import re
import sys
import types
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from cs231n.kernels import backend
from cs231n.optim import STATE
from cs231n.training import generators

__all__ = [
    *("NAMES", "SPLITS", "check_form", "compare", "configuration", "fingerprint", "name_of"),
    *("flat", "of_resumed", "shapes", "shared", "whole_fingerprint"),
]

_WHERE = "Solver.resume"
SPLITS = ("X_train", "y_train", "X_val", "y_val")
# Arguments of the Solver: what the numbers of a run depend on, and what may change on the way.
_FIXED = (
    *("update_rule", "optim_config", "lr_decay", "batch_size", "num_train_samples"),
    *("num_val_samples", "replace", "augment", "schedule", "weight_decay", "clip_norm"),
    *("groups", "average", "average_config", "keep"),
)
_FREE = (
    *("num_epochs", "print_every", "verbose", "checkpoint_every", "on_divergence", "draw_ahead"),
)
# Not stored, or not under this name.
_NEW = ("checkpoint_name", "progress", "rng", "callbacks", "communicator", "sync_statistics")
NAMES = (*_FIXED, *_FREE)
_FORM = {
    **dict.fromkeys(("network", "data", "functions", "generators", "computed by"), dict),
    "arguments": {"optim_config": dict},
}
_SAMPLES = 1000  # of each array of data, whose contents are compared


def configuration(
    model: Any,
    data: Mapping[str, str],
    given: Mapping[str, Any],
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a run is made of: network, data, arguments, and what computes it.

    Parameters
    ----------
    model : object
        Network, or a model of the user's.
    data : mapping of str to str
        The `fingerprint` of each array.
    given : mapping of str to anything
        Arguments of the Solver by the `NAMES`.
    kinds : mapping of str to str
        Of the sources of random draws, from `cs231n.training.generators.kinds`.

    Returns
    -------
    configuration : dict
        Of texts and numbers.
    """
    functions = {name: name_of(value) for name, value in given.items() if callable(value)}
    return {
        "network": _describe(model),
        "data": dict(data),
        "arguments": {name: value for name, value in given.items() if name not in functions},
        "functions": functions,
        "generators": dict(kinds),
        "computed by": {"kernels": backend.backend(), "numpy": np.__version__},
    }


def of_resumed(stored: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the Solver that goes on with a stored run.

    Parameters
    ----------
    stored : dict
        The `configuration` in the checkpoint.
    changes : mapping of str to anything
        Arguments that differ, and the functions, which no file can hold.

    Returns
    -------
    arguments : dict

    Raises
    ------
    TypeError, ValueError
        If a change is not one that a run can go on with, a function is missing, or what is stored
        makes no sense.
    """
    check_form(" configuration", stored, _FORM)
    functions = stored["functions"]
    allowed = (*_FREE, *_NEW, *functions)
    wrong = sorted(set(changes) - set(allowed))
    if wrong:
        raise TypeError(
            f"{_WHERE}: {', '.join(wrong)} cannot change in the middle of a run;"
            f" expected some of {', '.join(allowed)}"
        )
    missing = [f"{name}={text}" for name, text in functions.items() if name not in changes]
    if missing:
        raise ValueError(
            f"{_WHERE}: the run used {', '.join(missing)}; expected the same again, for a"
            f" checkpoint holds no functions"
        )
    plain = {name: value for name, value in stored["arguments"].items() if name in NAMES}
    _check_numbers(plain)
    kind = stored["generators"].get("solver")
    rng = {} if kind is None else {"rng": generators.new(kind)}
    return {**plain, **rng, **changes}


def _check_numbers(plain: Mapping[str, Any]) -> None:
    """Raise a ValueError for stored arguments that are no plain values, or beyond all numbers."""
    groups = plain.get("groups", {})
    check_form(" configuration groups", groups, dict.fromkeys(groups, dict))
    for name, value in [*plain.items(), *groups.items()]:
        if name == "groups":
            continue
        inside = value if isinstance(value, dict) else {name: value}
        for key, one in inside.items():
            is_state = isinstance(value, dict) and any(key in names for names in STATE.values())
            if not (is_state and isinstance(one, np.ndarray)) and not _is_sensible(one):
                raise ValueError(
                    f"{_WHERE}: the checkpoint's {key} is {one!r:.60};"
                    f" expected a finite number, a flag or a name"
                )


def _is_sensible(value: Any) -> bool:
    """Tell whether a value is None, a text, a flag or a number that fits into a float."""
    if value is None or isinstance(value, (str, bool)):
        return True
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def compare(found: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise a ValueError where a run is another than the stored one, and mention other kernels.

    Parameters
    ----------
    found, stored : mapping
        From `configuration`; the stored one may be that of an older version.

    Raises
    ------
    ValueError
        If network, data, functions or generators are others; names what differs.
    """
    differing = [
        line
        for name in ("network", "data", "functions", "rule", "generators")
        for line in _differences(name, found.get(name, "missing"), stored.get(name, "missing"))
    ]
    if differing:
        raise ValueError(f"{_WHERE}: the checkpoint is that of another run: {'; '.join(differing)}")
    _warn_of_other_kernels(found, stored)


def _describe(model: Any) -> dict[str, Any]:
    """Return what tells a network from others: its form, and the shapes and dtypes of its arrays.

    A network of this package also names its layers with their options.
    """
    form = model.form() if hasattr(model, "form") else {"reg": repr(getattr(model, "reg", None))}
    return {"class": type(model).__name__, "params": shapes(model.params), **form}


def shapes(params: Mapping[str, Any]) -> dict[str, str]:
    """Return dtype and shape of each parameter, as texts.

    Parameters
    ----------
    params : mapping of str to ndarray

    Returns
    -------
    shapes : dict of str to str
    """
    return {
        name: f"{getattr(w, 'dtype', type(w).__name__)} {np.shape(w)}" for name, w in params.items()
    }


def fingerprint(array: np.ndarray) -> str:
    """Return dtype, shape and a digest of the contents, cheaply: of samples spread over the array.

    All the labels are in it, which are few bytes; of a large array of images, a thousand.

    Parameters
    ----------
    array : ndarray

    Returns
    -------
    text : str
    """
    step = 1 if array.ndim == 1 else max(len(array) // _SAMPLES, 1)
    content = np.ascontiguousarray(array[::step])
    digest = hashlib.sha256(content.reshape(-1).view(np.uint8).data).hexdigest()
    return f"{array.dtype} {array.shape} with contents {digest[:16]}"


def whole_fingerprint(*arrays: np.ndarray) -> str:
    """Return a checksum of all that arrays hold, quickly: it tells mistakes, not attacks.

    Parameters
    ----------
    *arrays : ndarray

    Returns
    -------
    text : str
    """
    total = 0
    for array in arrays:
        content = np.ascontiguousarray(array)
        total = zlib.crc32(content.reshape(-1).view(np.uint8).data, total)
        total = zlib.crc32(f"{content.dtype} {content.shape}".encode(), total)
    return f"{total:08x}"


def shared(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that all ranks of a run must have alike."""
    own = ("print_every", "verbose", "checkpoint_every")
    given = {name: value for name, value in found["arguments"].items() if name not in own}
    return {**found, "arguments": given}


def flat(found: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts and lists, by the path that leads there.

    Parameters
    ----------
    found : object
        Arrays in it become checksums.
    name : str
        Of the whole.

    Returns
    -------
    leaves : dict of str to object
    """
    if isinstance(found, np.ndarray):
        return {name: whole_fingerprint(found)}
    if isinstance(found, (list, tuple)):
        found = {str(index): one for index, one in enumerate(found)}
    if not isinstance(found, Mapping):
        return {name: found}
    leaves: dict[str, Any] = {}
    for key, value in found.items():
        leaves.update(flat(value, f"{name} {key}".strip()))
    return leaves


def _differences(name: str, found: Any, stored: Any) -> Iterator[str]:
    """Yield a line for each place in which two descriptions differ."""
    if isinstance(found, dict) and isinstance(stored, dict):
        for key in sorted({*found, *stored}, key=str):
            yield from _differences(
                f"{name} {key}", found.get(key, "missing"), stored.get(key, "missing")
            )
    elif isinstance(found, list) and isinstance(stored, list) and len(found) == len(stored):
        for index, pair in enumerate(zip(found, stored), start=1):
            yield from _differences(f"{name} {index}", *pair)
    elif found != stored:
        yield f"{name} is {found}, in the checkpoint {stored}"


def name_of(function: Any) -> str:
    """Return a text that tells a function or an object from others, the same in every process.

    Parameters
    ----------
    function : callable

    Returns
    -------
    name : str
        With settings and a digest of the code.
    """
    if inspect.isfunction(function):
        name = f"{function.__module__}.{function.__qualname__}"
        if name.startswith("cs231n."):
            return name
        settings = [
            value for value in _settings_of(function) if isinstance(value, (int, float, str))
        ]
        return f"{name}{settings or ''} with code {_digest(_code_text(function.__code__))}"
    if isinstance(function, functools.partial):
        named = (f"{key}={name_of(value)}" for key, value in function.keywords.items())
        return f"{name_of(function.func)}({', '.join([*map(name_of, function.args), *named])})"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(function))


def _code_text(value: Any) -> str:
    """Return what a function does as a text, the same in every process: two lambdas have one name.

    The value is its code or a constant in it; sets have another order in every process.
    """
    if isinstance(value, types.CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_code_text(value.co_consts)}"
    if isinstance(value, (tuple, frozenset)):
        items = map(_code_text, value)
        return str(list(items) if isinstance(value, tuple) else sorted(items))
    return repr(value)


def _digest(text: str) -> str:
    """Return a short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _settings_of(function: Any) -> Iterator[Any]:
    """Yield the defaults and the closure of a function."""
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not bound yet
            yield cell.cell_contents


def _warn_of_other_kernels(found: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Say so where the run was computed in another way, for then the last digits may differ."""
    lines = list(_differences("", found["computed by"], stored["computed by"]))
    if lines:
        text = ";".join(lines).strip()
        print(f"{_WHERE}: the last digits may differ from here on: {text}", file=sys.stderr)


def check_form(place: str, found: Any, form: Any) -> None:
    """Raise a ValueError where a part of a checkpoint is missing or of another kind.

    Parameters
    ----------
    place : str
        Where it stands in the checkpoint, for the message.
    found : anything
    form : type, or dict of forms
        What it must be.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if isinstance(form, dict):
        check_form(place, found, dict)
        for name, kind in form.items():
            check_form(f"{place} {name}", found.get(name), kind)
    elif not isinstance(found, form):
        raise ValueError(
            f"{_WHERE}: the checkpoint's{place} is a {type(found).__name__};"
            f" expected a {form.__name__}"
        )
