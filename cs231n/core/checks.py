"""Checks of arguments, and the messages about wrong shapes, dtypes, options, modes and caches.

Each check takes the name of the calling function first, so that the message starts with the name
that the user typed, says what was found, and says what is expected.  In a layer the name is left
empty, for `cs231n.core.contract` puts it there.

The letters of a shape mean the same size everywhere in the package:

====== =====================================  ======= ==================================
N      samples in the batch                   D       inputs (features) of a sample
C      channels of an image, classes          M       outputs of an affine layer
H, W   height and width of an image           F       filters
HH, WW height and width of a window           G       groups of channels
OH, OW height and width of an output map
====== =====================================  ======= ==================================
"""

from __future__ import annotations

import difflib
import functools
import math
import operator
import os
import stat
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

__all__ = [
    "WORDS",
    "any_array",
    "are_floats",
    "attributes",
    "batch_shape",
    "bn_options",
    "cache",
    "choice",
    "dropout_options",
    "empty_error",
    "eps",
    "exact_shape",
    "flag",
    "float_arrays",
    "float_dtype",
    "function",
    "generator",
    "groups",
    "hints",
    "inputs",
    "integer",
    "keep_dtype",
    "labels",
    "mapping",
    "mode",
    "not_float_error",
    "number",
    "option",
    "optional_flag",
    "options",
    "path",
    "real_array",
    "regular_file",
    "required",
    "room_for_weight",
    "same_shape",
    "sequence",
    "shapes",
    "shapes_of_floats",
    "shortcut",
    "upstream",
]

# What the letters of a shape count, for messages.
WORDS = {
    "N": "samples",
    "C": "channels",
    "D": "inputs",
    "M": "outputs",
    "F": "filters",
}
_REQUIRED = object()
# There is one object for each of these dtypes, so that `is` will do, which takes a tenth of `==`;
# what should have another one takes the way of the arrays that are made right first.
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_FEW = 32  # labels
MOST_WEIGHTS = 2**29  # in one array: 4 GB of float64, as they are drawn
MOST = 2**31 - 1  # of sizes and counts: no array is as long, and C takes it


def float_arrays(where: str, **arrays: Any) -> list[np.ndarray]:
    """Return the arrays as float32 or float64, integers and booleans in the others' dtype.

    Where no array is a float, integers become float64.  Nothing is copied that is a float array
    already.  Other dtypes (float16, complex, strings, objects) are a TypeError.
    """
    found = [
        value if are_floats(value) else _as_array(where, name, value)
        for name, value in arrays.items()
    ]
    if all(map(are_floats, found)):
        return found
    floats = [array.dtype for array in found if array.dtype.kind == "f"]
    common = np.result_type(*floats) if floats else np.dtype(np.float64)
    return [array if array.dtype.kind == "f" else array.astype(common) for array in found]


def shapes_of_floats(values: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of those that `are_floats`, which is written out here for speed."""
    return tuple(
        [
            value.shape
            for value in values
            if type(value) is np.ndarray and (value.dtype is _FLOAT32 or value.dtype is _FLOAT64)
        ]
    )


def are_floats(value: Any) -> TypeGuard[np.ndarray]:
    """Tell whether this is an array of float32 or float64 in native byte order, as layers want."""
    return type(value) is np.ndarray and (value.dtype is _FLOAT32 or value.dtype is _FLOAT64)


def _as_array(where: str, name: str, value: Any) -> np.ndarray:
    """Return value as an array of float32, float64, integers or booleans in native byte order."""
    array = any_array(where, name, value)
    if array.dtype.kind not in "biu" and array.dtype.name not in ("float32", "float64"):
        raise TypeError(
            f"{where}: {name} has dtype {array.dtype}; expected float32, float64 or integers"
            f" (convert it with {name}.astype(np.float32))"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def any_array(where: str, name: str, value: Any) -> np.ndarray:
    """Return value as an array of any dtype; a ValueError where its rows differ in length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: {name} is not a rectangular array ({error})") from error


def real_array(where: str, name: str, value: Any) -> np.ndarray:
    """Return value as an array of integers, booleans or floats of any size."""
    array = any_array(where, name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} has dtype {array.dtype}; expected real numbers")
    return array


def shapes(where: str, **specs: tuple[np.ndarray, str]) -> dict[str, int]:
    """Return the size of each letter; a ValueError where arrays disagree about one.

    Each keyword is ``name=(array, "N C H W")``.  A spec may hold the digit 1 for an axis of
    length one, and may end in ``...`` for any further axes.
    """
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for name, (array, spec) in specs.items():
        letters = spec.split()
        rest = letters[-1] == "..."
        letters = letters[:-1] if rest else letters
        if array.ndim < len(letters) or (array.ndim > len(letters) and not rest):
            raise ValueError(
                f"{where}: {name} has shape {array.shape}; expected {_tuple_text(spec)}"
            )
        for letter, size in zip(letters, array.shape):
            known = 1 if letter == "1" else sizes.setdefault(letter, size)
            first.setdefault(letter, name)
            if size != known:
                raise ValueError(_disagreement(where, letter, first[letter], name, specs))
    return sizes


def _tuple_text(spec: str) -> str:
    """Write 'N C' as '(N, C)' and 'M' as '(M,)'."""
    letters = spec.split()
    return f"({letters[0]},)" if len(letters) == 1 else f"({', '.join(letters)})"


def _disagreement(
    where: str, letter: str, first: str, second: str, specs: Mapping[str, tuple[np.ndarray, str]]
) -> str:
    """Say that two arrays give one letter different sizes."""
    (one, one_spec), (two, two_spec) = specs[first], specs[second]
    if letter == "1":
        return f"{where}: {second} has shape {two.shape}; expected {_tuple_text(two_spec)}"
    one_size = one.shape[one_spec.split().index(letter)]
    two_size = two.shape[two_spec.split().index(letter)]
    word = WORDS.get(letter, letter)
    return (
        f"{where}: {first} has {one_size} {word} but {second} has {two_size}"
        f" ({first} {one.shape}, {second} {two.shape};"
        f" expected {first} {_tuple_text(one_spec)}, {second} {_tuple_text(two_spec)})"
    )


def labels(where: str, y: Any, N: int, C: int) -> np.ndarray:
    """Return y (N,) as an integer array whose values lie in [0, C)."""
    if type(y) is not np.ndarray:
        y = any_array(where, "y", y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"{where}: y has dtype {y.dtype}; expected integers (class labels)")
    if y.shape != (N,):
        raise ValueError(f"{where}: y has shape {y.shape}; expected ({N},), a label for each row")
    if N and _reach_outside(y, C):
        raise ValueError(
            f"{where}: y has labels from {y.min()} to {y.max()};"
            f" expected 0 to {C - 1}, for there are {C} classes"
        )
    return y


def _reach_outside(y: np.ndarray, C: int) -> bool:
    """Tell whether there are labels outside of [0, C)."""
    if len(y) <= _FEW:  # as Python's integers, for a reduction takes longer to begin with
        few = y.tolist()
        return min(few) < 0 or max(few) >= C
    # A label below zero is a large number without its sign, so that one pass sees both ends.
    unsigned = y if y.dtype.kind == "u" else y.view(_unsigned(y.dtype))
    return bool(np.maximum.reduce(unsigned) >= C)


@functools.cache
def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the same integers without their sign."""
    return np.dtype(dtype.str.replace("i", "u"))


def exact_shape(where: str, name: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
    """Raise a ValueError where the array does not have the expected shape."""
    if array.shape != expected:
        raise ValueError(f"{where}: {name} has shape {array.shape}; expected {expected}")


def same_shape(where: str, name: str, x: np.ndarray, other: str, y: np.ndarray) -> None:
    """Raise a ValueError unless the shapes agree or one is that of a scalar."""
    if x.shape != y.shape and x.ndim > 0 and y.ndim > 0:
        raise ValueError(
            f"{where}: {name} has shape {x.shape} but {other} has shape {y.shape};"
            f" expected equal shapes, or a scalar"
        )


def not_float_error(where: str, name: str, dtype: np.dtype[Any]) -> TypeError:
    """Return the error of an array that must be of floats, with the reason."""
    message = f"{where}: {name} has dtype {dtype}; expected a real float"
    if dtype.kind in "biu":
        message += (
            f", for a small step on integers is rounded away and the difference quotient would"
            f" be zero (convert it with {name}.astype(float))"
        )
    return TypeError(message)


def batch_shape(where: str, name: str, found: Any) -> tuple[int, int, int, int]:
    """Return the shape of a batch of images as four integers."""
    if not isinstance(found, Sequence) or len(found) != 4:
        raise ValueError(f"{where}: {name} is {found!r}; expected (N, C, H, W)")
    N, C, H, W = (integer(where, name, size, least=0) for size in found)
    return N, C, H, W


def upstream(where: str, dout: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the upstream gradient as a float array of the given shape, that of the output."""
    (dout,) = float_arrays(where, dout=dout)
    if dout.shape != shape:
        raise ValueError(
            f"{where}: dout has shape {dout.shape}; expected {shape},"
            f" the shape of the output that the forward pass gave"
        )
    return dout


def keep_dtype(gradient: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Return the gradient in the dtype of the array that it belongs to."""
    return gradient.astype(array.dtype, copy=False)


def cache(where: str, found: Any, expected: type) -> Any:
    """Return the cache; a TypeError where it does not come from this layer's forward pass."""
    # Of the tuples, those of a subclass are a fast twin's caches.
    if type(found) is expected or (isinstance(found, expected) and not isinstance(found, tuple)):
        return found
    raise TypeError(
        f"{where}: cache is a {type(found).__name__}; expected the {expected.__name__}"
        f" that the forward pass of the same layer returns"
    )


def options(where: str, name: str, found: Any) -> MutableMapping[str, Any]:
    """Return a dict of options; a TypeError where it is none."""
    if type(found) is dict or isinstance(found, MutableMapping):
        return found
    raise TypeError(f"{where}: {name} is a {type(found).__name__}; expected a dict of options")


def mapping(where: str, name: str, found: Any) -> Mapping[str, Any]:
    """Return a dict, or what reads like one; a TypeError where it is none."""
    if isinstance(found, Mapping):
        return found
    raise TypeError(f"{where}: {name} is a {type(found).__name__}; expected a dict")


def option(
    where: str,
    found: Mapping[str, Any],
    name: str,
    known: Collection[str],
    default: Any = _REQUIRED,
) -> Any:
    """Return one option; a ValueError that lists the known ones where a required one is missing."""
    if name in found:
        return found[name]
    if default is not _REQUIRED:
        return default
    raise ValueError(
        f"{where}: option {name!r} is missing; found {sorted(map(str, found))},"
        f" expected {', '.join(map(repr, known))}"
    )


def required(where: str, found: Mapping[str, Any], *names: str) -> None:
    """Raise a ValueError that lists the options of these names where one is missing."""
    for name in names:
        option(where, found, name, names)


def flag(where: str, name: str, value: Any) -> bool:
    """Return value as a bool; a TypeError for what is neither true nor false, such as an array."""
    if value is True or value is False:
        return value
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{where}: {name} is a {type(value).__name__}; expected True or False"
        ) from None


def optional_flag(where: str, name: str, value: Any) -> bool | None:
    """Return value as a bool, or None as it is."""
    return None if value is None else flag(where, name, value)


def room_for_weight(where: str, names: str, *shape: int) -> None:
    """Raise a ValueError for sizes, of these arguments, that no weight can have."""
    if math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(
            f"{where}: {names} would make a weight of shape {shape};"
            f" expected at most {MOST_WEIGHTS} numbers"
        )


def integer(where: str, name: str, value: Any, least: int, most: float = MOST) -> int:
    """Return value as an int from ``least`` to ``most``."""
    if type(value) is int and least <= value <= most:
        return value
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{where}: {name} is {value!r} ({type(value).__name__}); expected an integer >= {least}"
        ) from None
    if whole < least:
        raise ValueError(f"{where}: {name} is {whole}; expected an integer >= {least}")
    if whole > most:
        raise ValueError(f"{where}: {name} is {whole}; expected an integer <= {most}")
    return whole


def number(
    where: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return value as a Python float in [low, high], without an end that is open.

    A Python float, for NumPy 2 would promote float32 arrays by a NumPy float64 scalar.
    """
    if type(value) is float and low < value < high:
        return value
    expected = f"a number in {'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"
    try:
        result = None if isinstance(value, (str, bytes, bytearray)) else float(value)
    except OverflowError:
        result = math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        result = None
    if result is None:
        raise TypeError(
            f"{where}: {name} is {value!r} ({type(value).__name__}); expected {expected}"
        )
    at_open_end = (low_open and result == low) or (high_open and result == high)
    if not low <= result <= high or at_open_end:
        raise ValueError(f"{where}: {name} is {result}; expected {expected}")
    return result


def choice(where: str, name: str, value: Any, known: Collection[Any]) -> Any:
    """Return value, one of the known ones."""
    try:
        if value in known:
            return value
    except (TypeError, ValueError):  # a list has no hash, an array no truth
        pass
    text = [repr(item) for item in known]
    listed = text[0] if len(text) == 1 else f"{', '.join(text[:-1])} or {text[-1]}"
    raise ValueError(f"{where}: {name} is {value!r}; expected {listed}")


def mode(where: str, found: Mapping[str, Any]) -> str:
    """Return the required option 'mode', which is 'train' or 'test'."""
    value = found.get("mode")
    if type(value) is str and value in ("train", "test"):
        return value
    return str(choice(where, "mode", option(where, found, "mode", ("mode",)), ("train", "test")))


def float_dtype(where: str, value: Any, known: Collection[str] = ()) -> np.dtype[Any]:
    """Return the argument 'dtype' as a dtype of floats, one of the known names if there are any."""
    try:
        dtype = np.dtype(value)
    except TypeError as error:
        raise TypeError(f"{where}: dtype is {value!r}; expected np.float32 or the like") from error
    if known:
        choice(where, "dtype", dtype.name, known)
    elif dtype.kind != "f":
        raise TypeError(f"{where}: dtype is {dtype}; expected a float type such as np.float32")
    return dtype


def sequence(where: str, name: str, value: Any) -> list[Any]:
    """Return the items of a list, a tuple or the like."""
    try:
        return list(value)
    except TypeError as error:
        raise TypeError(
            f"{where}: {name} is a {type(value).__name__}; expected a sequence"
        ) from error


def hints(unknown: Iterable[Any], known: Iterable[str]) -> str:
    """Return a list of unknown names, each with the known one that looks most like it."""
    names = sorted(known)
    near = ((name, difflib.get_close_matches(str(name), names, n=1)) for name in unknown)
    return ", ".join(
        f"{name!r}" + "".join(f" (did you mean {one!r}?)" for one in close) for name, close in near
    )


def function(where: str, name: str, value: Any) -> None:
    """Raise a TypeError for what cannot be called."""
    if not callable(value):
        raise TypeError(f"{where}: {name} is a {type(value).__name__}; expected a function")


def generator(where: str, rng: Any) -> Any:
    """Return the argument 'rng', a generator, or NumPy's global source of draws for None."""
    if rng is None:
        return np.random
    if isinstance(rng, np.random.Generator):
        return rng
    raise TypeError(
        f"{where}: rng is a {type(rng).__name__}; expected a numpy.random.Generator or None"
    )


def attributes(where: str, name: str, value: Any, *needed: str) -> None:
    """Raise a TypeError for an object without the needed attributes."""
    missing = [attribute for attribute in needed if not hasattr(value, attribute)]
    if missing:
        raise TypeError(
            f"{where}: {name} is a {type(value).__name__} without {' and '.join(missing)};"
            f" expected an object with {', '.join(needed)}"
        )


def inputs(where: str, x: np.ndarray, w: np.ndarray) -> None:
    """Refuse samples of x (N, d1, ..., dk) that are not of the D numbers that w (D, M) takes."""
    D = int(np.prod(x.shape[1:]))
    if w.shape[0] != D:
        raise ValueError(
            f"{where}: x has {D} inputs for each sample but w has {w.shape[0]} rows"
            f" (x {x.shape}, w {w.shape}; expected x (N, d1, ..., dk), w (d1 * ... * dk, M))"
        )


def empty_error(where: str, name: str, array: np.ndarray, letter: str) -> ValueError:
    """Return the error of an array without numbers along the axis of this letter."""
    units = {"N": "sample", "C": "channel", "D": "input", "H": "pixel", "W": "pixel"}
    return ValueError(
        f"{where}: {name} has shape {array.shape}; expected at least one {units[letter]}"
    )


def groups(x: np.ndarray, G: Any, where: str = "") -> int:
    """Return the number of groups, which must divide the channels of x (N, C, ...)."""
    G = integer(where, "G", G, 1)
    if x.shape[1] % G:
        raise ValueError(
            f"{where}: x has shape {x.shape} and G is {G}; expected channels divisible by G"
        )
    return G


def eps(name: str, param: Any, where: str = "") -> float:
    """Return the option 'eps' of a dict of this name, by default 1e-5."""
    value = options(where, name, param).get("eps", 1e-5)
    return number(where, "eps", value, 0, low_open=True)


def bn_options(
    bn_param: MutableMapping[str, Any], x: np.ndarray, where: str = ""
) -> tuple[str, float, float, np.ndarray, np.ndarray]:
    """Return mode, eps, momentum, running mean and variance; the statistics are zeros at first."""
    found = options(where, "bn_param", bn_param).get
    train_or_test = mode(where, bn_param)
    small = number(where, "eps", found("eps", 1e-5), 0, math.inf, True)
    momentum = number(where, "momentum", found("momentum", 0.9), 0, 1)
    running_mean: Any = found("running_mean")
    running_var: Any = found("running_var")
    known = shapes_of_floats((running_mean, running_var)) == 2 * (x.shape[1:2],)
    if not known or running_mean.dtype is not x.dtype or running_var.dtype is not x.dtype:
        running_mean = _running(where, bn_param, "running_mean", x)
        running_var = _running(where, bn_param, "running_var", x)
    return train_or_test, small, momentum, running_mean, running_var


def _running(where: str, bn_param: Mapping[str, Any], name: str, x: np.ndarray) -> np.ndarray:
    """Return a running statistic of axis 1 of x, as wide as x at least, which is zeros at first."""
    if name not in bn_param:
        return np.zeros(x.shape[1], x.dtype)
    (running,) = float_arrays(where, **{name: bn_param[name]})
    exact_shape(where, name, running, x.shape[1:2])
    return running.astype(np.result_type(running, x), copy=False)


def shortcut(x: np.ndarray, found: np.ndarray, stride: Any) -> int:
    """Return the stride with which what came into a residual block fits what the block has made."""
    stride = integer("", "stride", stride, least=1)
    _, K, *pixels = found[:, :, ::stride, ::stride].shape
    if K > x.shape[1] or tuple(pixels) != x.shape[2:]:
        raise ValueError(
            f": shortcut has shape {found.shape} and stride {stride}; expected at most the"
            f" {x.shape[1]} channels of x, and {x.shape[2]}x{x.shape[3]} pixels taken"
        )
    return stride


def dropout_options(dropout_param: Any, where: str = "") -> tuple[str, float, Any]:
    """Return mode, keep probability and source of draws; NumPy's own is seeded by 'seed'."""
    dropout_param = options(where, "dropout_param", dropout_param)
    train_or_test = mode(where, dropout_param)
    p = option(where, dropout_param, "p", ("p", "mode", "seed", "rng"))
    p = number(where, "p", p, 0, 1, low_open=True)
    seed = dropout_param.get("seed")
    try:
        if seed is not None:
            np.random.seed(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: seed is {seed!r}; expected 0 to 2**32 - 1") from error
    return train_or_test, p, generator(where, dropout_param.get("rng"))


def path(where: str, name: str, value: Any) -> Path:
    """Return the path of a file or folder, with ~ expanded; a TypeError where it is none."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{where}: {name} is {value!r} ({type(value).__name__}); expected a path")
    if "\0" in str(value):
        raise ValueError(
            f"{where}: {name} is {str(value)!r}; expected a path without null characters"
        )
    return Path(value).expanduser()


def regular_file(where: str, name: Path) -> None:
    """Raise a ValueError for a pipe or a device, which may block or have no end.

    A folder is left to whoever opens it, for that error names it.
    """
    kind = name.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise ValueError(f"{where}: {name} is a pipe, a socket or a device; expected a file")
