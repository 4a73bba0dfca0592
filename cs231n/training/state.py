"""What a run of the Solver consists of: taken out for a checkpoint, checked, and put back.

These functions know the inside of the Solver: it has the training loop, they have the rest.  What
cannot be stored, functions and objects, is named in the configuration and must be given again.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from cs231n.core import checks
from cs231n.kernels import backend

if TYPE_CHECKING:
    from cs231n.solver import Solver

__all__ = ["SPLITS", "arguments", "capture", "restore"]

_WHERE = "Solver.resume"
SPLITS = ("X_train", "y_train", "X_val", "y_val")
_HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")
# Arguments of the Solver: what the numbers of a run depend on, and what may change on the way.
_FIXED = (
    *("update_rule", "optim_config", "lr_decay", "batch_size", "num_train_samples"),
    *("num_val_samples", "replace", "augment", "schedule", "weight_decay", "clip_norm"),
)
_FREE = ("num_epochs", "print_every", "verbose", "checkpoint_every")
_NEW = ("checkpoint_name", "progress", "rng")  # not stored, or not under this name
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
# What a checkpoint holds, and of which kind it is.
_FORM = {
    "configuration": {
        **dict.fromkeys(("network", "data", "functions", "generators", "computed by"), dict),
        "arguments": {"optim_config": dict},
    },
    **dict.fromkeys(("params", "best_params", "optim_configs", "generators"), dict),
    **dict.fromkeys(("iteration", "epoch"), int),
    **dict.fromkeys(("bn_params", "best_bn_params"), list),
    **dict.fromkeys(("order", *_HISTORIES), np.ndarray),
    "best_val_acc": float,
}
_SAMPLES = 1000  # of each array of data, whose contents are compared


def capture(solver: Solver) -> dict[str, Any]:
    """Return everything that the further course of a run depends on.

    Parameters
    ----------
    solver : Solver

    Returns
    -------
    state : dict
        As `cs231n.training.checkpoint.save` takes it.

    Raises
    ------
    TypeError
        If the solver draws from something whose state cannot be read.
    """
    return {
        "configuration": _configuration(solver),
        "iteration": solver._iteration,
        "epoch": solver.epoch,
        "order": solver._order,
        "params": dict(solver.model.params),
        "bn_params": list(getattr(solver.model, "bn_params", [])),
        "optim_configs": solver.optim_configs,
        "best_val_acc": solver.best_val_acc,
        "best_params": solver.best_params,
        "best_bn_params": solver._best_statistics,
        **{name: np.array(getattr(solver, name), dtype=float) for name in _HISTORIES},
        "generators": {name: _state_of(rng) for name, rng in _generators(solver)},
    }


def arguments(state: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the Solver that goes on with a stored run.

    Parameters
    ----------
    state : mapping
        From `cs231n.training.checkpoint.load`.
    changes : mapping of str to anything
        Arguments that differ, and the functions, which no file can hold.

    Returns
    -------
    arguments : dict

    Raises
    ------
    TypeError, ValueError
        If a change is not one that a run can go on with, or a function is missing.
    """
    _check_form("", state, _FORM)
    configuration = state["configuration"]
    functions = configuration["functions"]
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
    stored = {
        name: value
        for name, value in configuration["arguments"].items()
        if name in (*_FIXED, *_FREE)
    }
    kind = configuration["generators"].get("solver")
    rng = {} if kind is None else {"rng": _generator(kind)}
    return {**stored, **rng, **changes}


def restore(solver: Solver, state: Mapping[str, Any]) -> None:
    """Put a stored run into a solver that was made for it.

    Parameters
    ----------
    solver : Solver
        Of the same network and data, with the arguments from `arguments`.
    state : mapping
        From `cs231n.training.checkpoint.load`.

    Raises
    ------
    ValueError
        If network, dtype, data or a function is another one; names what differs.  The solver and
        its model are then as they were.
    """
    found, stored = _configuration(solver), state["configuration"]
    differing = [
        line
        for name in ("network", "data", "functions", "generators")
        for line in _differences(name, found[name], stored[name])
    ]
    if differing:
        raise ValueError(f"{_WHERE}: the checkpoint is that of another run: {'; '.join(differing)}")
    _check_arrays(solver, state)
    _warn_of_other_kernels(found, stored)
    _set_states(solver, state["generators"])
    _put_back(solver, state)


def _put_back(solver: Solver, state: Mapping[str, Any]) -> None:
    """Replace what the solver and its model hold by what was stored."""
    model = solver.model
    model.params = {name: state["params"][name] for name in model.params}
    for param, stored in zip(getattr(model, "bn_params", []), state["bn_params"]):
        param.clear()
        param.update(stored)
    solver._iteration, solver.epoch = state["iteration"], state["epoch"]
    solver._order = state["order"]
    solver.optim_configs = {name: state["optim_configs"][name] for name in model.params}
    solver.best_val_acc = state["best_val_acc"]
    solver.best_params = state["best_params"]
    solver._best_statistics = state["best_bn_params"]
    for name in _HISTORIES:
        setattr(solver, name, state[name].tolist())


def _configuration(solver: Solver) -> dict[str, Any]:
    """Return what a run is made of: network, data, arguments, and what computes it."""
    given = {name: getattr(solver, name) for name in (*_FIXED, *_FREE)}
    functions = {name: _name_of(value) for name, value in given.items() if callable(value)}
    return {
        "network": _describe(solver.model),
        "data": _fingerprints(solver),
        "arguments": {name: value for name, value in given.items() if name not in functions},
        "functions": functions,
        "generators": _kinds(solver),
        "computed by": {"kernels": backend.backend(), "numpy": np.__version__},
    }


def _describe(model: Any) -> dict[str, Any]:
    """Return what tells a network from others: its form, and the shapes and dtypes of its arrays.

    A network of this package also names its layers with their options.
    """
    form = model.form() if hasattr(model, "form") else {"reg": repr(getattr(model, "reg", None))}
    return {"class": type(model).__name__, "params": _shapes(model.params), **form}


def _fingerprints(solver: Solver) -> dict[str, str]:
    """Return what tells the solver's data from others, computed once."""
    if not solver._fingerprints:
        solver._fingerprints = {name: _fingerprint(getattr(solver, name)) for name in SPLITS}
    return solver._fingerprints


def _fingerprint(array: np.ndarray) -> str:
    """Return dtype, shape and a digest of the contents, cheaply: of samples spread over the array.

    All the labels are in it, which are few bytes; of a large array of images, a thousand.
    """
    step = 1 if array.ndim == 1 else max(len(array) // _SAMPLES, 1)
    content = np.ascontiguousarray(array[::step])
    digest = hashlib.sha256(content.reshape(-1).view(np.uint8).data).hexdigest()
    return f"{array.dtype} {array.shape} with contents {digest[:16]}"


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


def _name_of(function: Any) -> str:
    """Return a text that tells a function or an object from others, the same in every process."""
    if inspect.isfunction(function):
        name = f"{function.__module__}.{function.__qualname__}"
        if name.startswith("cs231n."):
            return name
        settings = [value for value in _held(function) if isinstance(value, (int, float, str))]
        return f"{name}{settings or ''} with code {_digest(_code_text(function.__code__))}"
    if isinstance(function, functools.partial):
        named = (f"{key}={_name_of(value)}" for key, value in function.keywords.items())
        return f"{_name_of(function.func)}({', '.join([*map(_name_of, function.args), *named])})"
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


def _held(function: Any) -> Iterator[Any]:
    """Yield what a function has besides its code: arguments of a partial, defaults, a closure."""
    if isinstance(function, functools.partial):
        yield from (*function.args, *function.keywords.values())
    elif inspect.isfunction(function):
        yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # not bound yet
                yield cell.cell_contents


def _generators(solver: Solver) -> Iterator[tuple[str, Any]]:
    """Yield the name and the source of every kind of random draw in a run.

    NumPy's global generator is always one: layers draw from it.
    """
    yield "global", np.random
    options = getattr(solver.model, "dropout_param", {})
    sources = [("solver", solver._rng)]
    for name in ("augment", "schedule", "update_rule"):
        drawn_from = enumerate(_drawn_from(getattr(solver, name)))
        sources += [(f"{name} {index}" if index else name, rng) for index, rng in drawn_from]
    for name, rng in [*sources, ("dropout", options.get("rng"))]:
        if rng is not None and rng is not np.random:
            yield name, rng


def _drawn_from(function: Any) -> list[Any]:
    """Return the generators that a function or an object draws from, as far as they can be seen."""
    known = (np.random.Generator, np.random.RandomState)
    own = getattr(function, "rng", None)
    return [*([] if own is None else [own]), *(x for x in _held(function) if isinstance(x, known))]


def _kinds(solver: Solver) -> dict[str, str]:
    """Return the algorithm of each source of draws, or whose generator it shares."""
    kinds: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, rng in _generators(solver):
        owner = owners.setdefault(id(rng), name)
        algorithm = type(getattr(rng, "bit_generator", rng)).__name__
        kinds[name] = algorithm if owner == name else f"the same as for {owner}"
    return kinds


def _generator(kind: str) -> np.random.Generator:
    """Return a new generator of a kind, whose state is yet to be set."""
    checks.choice(_WHERE, "the checkpoint's generator", kind, _GENERATORS)
    return np.random.Generator(getattr(np.random, kind)())


def _state_of(rng: Any) -> dict[str, Any]:
    """Return the state of a generator."""
    if rng is np.random:
        return dict(np.random.get_state(legacy=False))
    if isinstance(rng, np.random.Generator):
        return dict(rng.bit_generator.state)
    raise TypeError(
        f"Solver: draws come from a {type(rng).__name__}, whose state no checkpoint can hold;"
        f" expected a numpy.random.Generator"
    )


def _set_states(solver: Solver, states: Mapping[str, Any]) -> None:
    """Let all generators go on from their states."""
    try:
        for name, rng in _generators(solver):
            if rng is np.random:
                np.random.set_state(states[name])
            else:
                rng.bit_generator.state = states[name]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{_WHERE}: the state of the random draws is wrong ({error!r})") from error


def _warn_of_other_kernels(found: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Say so where the run was computed in another way, for then the last digits may differ."""
    lines = list(_differences("", found["computed by"], stored["computed by"]))
    if lines:
        text = ";".join(lines).strip()
        print(f"{_WHERE}: the last digits may differ from here on: {text}", file=sys.stderr)


def _check_form(place: str, found: Any, form: Any) -> None:
    """Raise a ValueError where a part of a checkpoint is missing or of another kind."""
    if isinstance(form, dict):
        _check_form(place, found, dict)
        for name, kind in form.items():
            _check_form(f"{place} {name}", found.get(name), kind)
    elif not isinstance(found, form):
        raise ValueError(
            f"{_WHERE}: the checkpoint's{place} is a {type(found).__name__};"
            f" expected a {form.__name__}"
        )


def _check_arrays(solver: Solver, state: Mapping[str, Any]) -> None:
    """Raise a ValueError where the numbers in a checkpoint cannot be those of this run."""
    checks.integer(_WHERE, "iteration", state["iteration"], least=1)
    checks.integer(_WHERE, "epoch", state["epoch"], least=0)
    expected = _shapes(solver.model.params)
    for kind in ("params", "best_params"):
        found = _shapes(state[kind])
        if found != expected and (found or kind == "params"):
            raise ValueError(f"{_WHERE}: {kind} are {found}; expected {expected}")
    _check_dicts("optim_configs", [*state["optim_configs"].values()], len(expected))
    if state["optim_configs"].keys() != expected.keys():
        raise ValueError(f"{_WHERE}: optim_configs are not those of {', '.join(expected)}")
    statistics = len(getattr(solver.model, "bn_params", []))
    _check_dicts("bn_params", state["bn_params"], statistics)
    _check_dicts(
        "best_bn_params", state["best_bn_params"], statistics if state["best_params"] else 0
    )
    _check_order(state["order"], len(solver.X_train))
    for name in _HISTORIES:
        if state[name].ndim != 1 or state[name].dtype != np.float64:
            raise ValueError(f"{_WHERE}: {name} is no list of numbers")


def _shapes(params: Mapping[str, Any]) -> dict[str, str]:
    """Return dtype and shape of each parameter, as texts."""
    return {
        name: f"{getattr(w, 'dtype', type(w).__name__)} {np.shape(w)}" for name, w in params.items()
    }


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
