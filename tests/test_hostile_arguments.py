"""Every public function with every kind of wrong argument: an error of ours, or a right answer.

The table is made from one good call of each function (`examples`).  An error is ours if it is a
ValueError or a TypeError (of a file also an OSError) that begins with the name of a function of the
package.  An answer is right if no warning comes with it and, where a fast layer has a reference
twin, both give the same.  Infinities and nan are let through as NumPy lets them through, with its
floating-point warnings left to `numpy.errstate`.
"""

import contextlib
import copy
import functools
import inspect
import io
import re
from collections.abc import Mapping

import numpy as np
import pytest
from conftest import KERNELS, assert_close
from examples import EXAMPLES, INTERNAL, is_built, public_functions

from cs231n import layers
from cs231n.kernels import backend

FUNCTIONS = public_functions()
# A message names the function alone, or with its class or module before it.
OURS = {".".join(name.split(".")[-parts:]) for name in FUNCTIONS for parts in (1, 2)} | {"Solver"}
COUNTS = ("directions", "num_checks", "max_iterations", "num_iterations", "num_epochs")

ANY = {"None": None, "an object": object(), "text": "no such thing"}
NO_TEXT = {**ANY, "a number": 3, "a list": [], "empty": "", "null": "a\0b", "bytes": b"x"}
NO_NUMBER = {**ANY, "a list": [], "complex": 1j, "two numbers": np.array([1.0, 2.0]), "a dict": {}}
NUMBERS = {"-1": -1, "0": 0, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 10**400}
INTEGERS = {**NUMBERS, "2.5": 2.5, "10**30": 10**30, "a NumPy float": np.float32(2.5)}
NO_ARRAY = {
    **ANY,
    "a number": 3.0,
    "a dict": {},
    "a ragged list": [[1.0, 2.0], [3.0]],
    "an empty list": [],
    "a function": len,
}


def wrong_arrays(array):
    """Yield the array in wrong dtypes, shapes and values."""
    for dtype in ("O", "U8", "S8", "c16", "f2", "?", "i1", "u8", "M8[s]"):
        yield f"dtype {dtype}", array.astype(dtype)
    yield "a record dtype", np.zeros(array.shape, [("a", "f8"), ("b", "i4")])
    for value in (np.nan, np.inf, -np.inf, 1e300):
        if array.dtype.kind == "f":
            yield f"full of {value}", np.full_like(array, value)
            yield (
                f"one {value}",
                np.where(np.arange(array.size).reshape(array.shape) == 1, value, array),
            )
    yield "one axis more", array[None]
    yield "no axis", array.sum()
    yield "twice", np.concatenate([array, array])
    yield "many axes", array.reshape((1,) * 20 + array.shape)
    for axis in range(array.ndim):
        yield f"axis {axis} empty", np.take(array, [], axis)
        yield f"axis {axis} shorter", np.take(array, [0], axis)
        yield f"axis {axis} gone", np.take(array, 0, axis)
    if array.dtype.kind in "iu":
        yield "negative", -1 - array
        yield "too large", array + 10**6


def wrong_options(found):
    """Yield a dict without each entry, with a misspelled one, and with wrong values."""
    for key, value in found.items():
        rest = {k: v for k, v in found.items() if k != key}
        yield f"no {key}", rest
        yield f"{key} misspelled", {**rest, f"{key}s": value}
        for what, wrong in wrong_values(value):
            yield f"{key} {what}", {**rest, key: wrong}
    yield "another key", {**found, "no_such_option": 1, 3: 4}


def wrong_values(value):
    """Yield what the argument is not, for whatever kind of value it is."""
    if isinstance(value, np.ndarray):
        yield from NO_ARRAY.items()
        yield from wrong_arrays(value)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from NO_ARRAY.items()
        yield "another layer's cache", layers.svm_loss
        yield "a plain tuple", tuple(value)
        yield "another cache", _other_cache(type(value).__name__)
    elif isinstance(value, Mapping):
        yield from {**ANY, "a list": [], "a number": 3, "pairs": list(value.items())}.items()
        yield from wrong_options(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        yield from {**NO_NUMBER, **INTEGERS}.items()
    elif isinstance(value, float):
        yield from {**NO_NUMBER, **NUMBERS}.items()
    elif isinstance(value, str):
        yield from {
            **ANY,
            "a number": 3,
            "a list": [],
            "empty": "",
            "null": "a\0b",
            "bytes": b"x",
        }.items()
    elif isinstance(value, (list, tuple)):
        yield from {**ANY, "a number": 3, "a list of nothing": [None], "of text": ["x"]}.items()
        plain = list if isinstance(value, list) else tuple  # subclasses are made in other ways
        yield "negative", plain([-1] * len(value))
        yield "longer", value + value
        yield "empty", plain()
    else:  # networks, functions, types
        yield from {**ANY, "a number": 3, "a list": []}.items()


@functools.cache
def _other_cache(name):
    """Return the cache of a layer whose caches have another type."""
    _, relu = layers.relu_forward(np.ones((2, 2)))
    _, affine = layers.affine_forward(np.ones((2, 2)), np.ones((2, 2)), np.ones(2))
    return affine if name == type(relu).__name__ else relu


def hostile_calls(name):
    """Yield a description and arguments: each argument in turn is wrong, or missing."""
    good = EXAMPLES[name]()
    for argument in good:
        if argument == "self":
            continue
        for what, wrong in wrong_values(good[argument]):
            if argument in COUNTS and what in ("huge", "10**30"):
                continue  # a right call that takes for ever
            yield f"{argument}: {what}", {**EXAMPLES[name](), argument: wrong}


with np.errstate(over="ignore"):  # numbers beyond the range of float32
    CASES = {name: list(hostile_calls(name)) for name in FUNCTIONS if name in EXAMPLES}


def is_ours(error, name):
    """Tell whether an error is of a kind and form that this package raises."""
    if isinstance(error, OSError):
        return takes_files(name)
    begins = re.match(r"([A-Za-z_0-9.]+): ", str(error))
    if begins is None or not isinstance(error, (ValueError, TypeError)):
        return False
    return begins[1] in OURS or begins[1].split(".")[0] in OURS or is_layer(begins[1])


def is_layer(name):
    """Tell whether this names a layer, such as a sandwich is made of."""
    return name.endswith(("_forward", "_backward", "_forward_fast", "_backward_fast"))


def takes_files(name):
    """Tell whether a function opens files."""
    return name.startswith(
        (
            "files.storage",
            "training.checkpoint",
            "data_utils",
            "data.builtin",
            "data.cifar10_batches",
            "data.download",
            "data.folder",
            "data.imagenet",
            "data.sets.get",
            "data.sets.load",
            "classifiers.stored",
            "data.load",
            "visual.curves",
            "image_utils.load",
        )
    ) or name.endswith((".save", ".load", ".resume"))


def call(function, arguments):
    """Call the function; use up what it returns if that is a context."""
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        result = function(**arguments)
        if hasattr(result, "gen"):  # that of a context
            with result:
                pass
        return result


@pytest.fixture(autouse=True)
def nothing_changes(tmp_path, monkeypatch):
    """Put kernels and threads back, and let nothing be found or written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CS231N_DATA", str(tmp_path / "none"))
    monkeypatch.setattr("cs231n.data.cifar10.__file__", str(tmp_path / "site/cs231n/data/x.py"))
    kernels, threads = backend.backend(), FUNCTIONS["kernels.threads.set_num_threads"](1)
    yield
    backend.select(kernels)
    FUNCTIONS["kernels.threads.set_num_threads"](threads)


def test_every_public_function_has_an_example():
    assert sorted(set(FUNCTIONS) - set(EXAMPLES)) == []
    assert sorted(set(EXAMPLES) - set(FUNCTIONS)) == []


def test_what_is_exempt_exists():
    everything = public_functions(internal={})
    absent = set() if is_built("kernels.native") else {"kernels.native"}
    for name in set(INTERNAL) - absent:
        assert any(found.startswith(name) for found in everything), name


# There is no good call without a file or stages.
INCOMPLETE = {
    "files.safe_pickle.load_pickle",
    "layer_utils.sandwich",
    *filter(takes_files, EXAMPLES),
}


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in INCOMPLETE])
def test_the_example_itself_is_accepted(name):
    call(FUNCTIONS[name], EXAMPLES[name]())


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", CASES)
def test_wrong_arguments_are_refused_or_answered(name):
    failures = []
    for what, arguments in CASES[name]:
        try:
            call(FUNCTIONS[name], arguments)
        except Exception as error:
            if not is_ours(error, name):
                failures.append(f"{what}: {type(error).__name__}: {error}"[:160])
    assert failures == []


def flags(name):
    """Return the arguments of a function that are true or false."""
    try:
        parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    except ValueError:  # of a class without arguments of its own
        return []
    return [
        each.name
        for each in parameters
        if isinstance(each.default, bool) or each.annotation in ("bool", "bool | None")
    ]


FLAGS = [(name, flag) for name in CASES for flag in flags(name)]


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_an_array_is_no_flag(name, flag):
    for wrong in (np.array([True, False]), np.ones((2, 2))):
        with pytest.raises(TypeError) as caught:
            call(FUNCTIONS[name], {**EXAMPLES[name](), flag: wrong})
        assert re.match(r"[\w.]+: ", str(caught.value))
        assert f": {flag} is a ndarray; expected True or False" in str(caught.value)
        assert is_ours(caught.value, name)


def test_there_are_flags_of_all_kinds():
    assert {"need_dx", "verbose", "replace", "progress", "subtract_mean"} <= {f for _, f in FLAGS}


def twin(name):
    """Return the name of the reference function of a fast one."""
    reference = name.replace("fast_layers.", "layers.").removesuffix("_fast")
    return reference if reference in FUNCTIONS else f"{reference}_naive"


TWINS = [name for name in FUNCTIONS if "fast_layers." in name and twin(name) in FUNCTIONS]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", [name for name in TWINS if "backward" not in name])
def test_fast_layers_and_their_twins_agree_about_wrong_arguments(name, kernels):
    """Both refuse, or both give the same wherever that is finite."""
    backend.select(kernels)
    for what, arguments in CASES[name]:
        outcomes = []
        for function in (FUNCTIONS[twin(name)], FUNCTIONS[name]):
            options = {key: copy.copy(value) for key, value in arguments.items()}
            try:
                outcomes.append(np.asarray(call(function, options)[0]))
            except (TypeError, ValueError):
                outcomes.append(None)
        expected, found = outcomes
        assert (expected is None) == (found is None), what
        if expected is not None and np.isfinite(expected).all():
            assert_close(found, expected, looser=10 if found.dtype == np.float64 else 1)


def test_there_are_twins_to_compare():
    assert len(TWINS) >= 16
