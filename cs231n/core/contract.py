"""The contract of the layers as two decorators; a body under them is a formula and nothing else.

    @forward(x="N C H W", w="F C HH WW", b="F")
    def conv_forward(x, w, b, conv_param): ...

    @backward(ConvCache, x="N C H W", w="F C HH WW", b="F")
    def conv_backward(dout, cache): ...

A spec gives the axes of an argument, or of an entry of the cache.  Equal letters are equal sizes, a
digit 1 is an axis of length one, ``...`` stands for any further axes and ``D...`` for axes that
hold D numbers.  ``H+`` is a size that may not be zero, ``N*`` one that may not where the options
say 'train', and ``in C`` are labels of the rows of x.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from cs231n.core import checks

__all__ = ["backward", "forward"]

P = ParamSpec("P")
R = TypeVar("R")
# The caches that the course documents: a plain tuple of one of these forms will do for them.
_DOCUMENTED = {
    ("x", "w", "b"),
    ("x", "w", "b", "conv_param"),
    ("x", "pool_param"),
    ("dropout_param", "mask"),
    ("conv", "relu"),
}


def forward(**specs: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a layer float arrays whose shapes agree; its first arguments have these specs."""
    checked, count = _Arrays(specs), len(specs)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        body = cast(Callable[..., R], function)

        @functools.wraps(function)
        def layer(*args: P.args, **kwargs: P.kwargs) -> R:
            given = args if not kwargs and len(args) >= count else _bound(body, args, kwargs)
            try:
                options = given[count:]
                return body(*checked(given[:count], options), *options)
            except (TypeError, ValueError) as error:
                _name(error, body)
                raise

        return layer

    return decorate


def backward(cache_type: type, **specs: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a layer its own cache, dout of the output's shape, and each gradient its dtype.

    The gradients belong to the first entries of the specs, in order.  The output's shape is the
    cache's `out_shape`, or that of its first array.  The cache of ``backward(np.ndarray)`` is an
    array itself.  What a cache holds is checked at each call, for anybody may have changed it.
    """
    is_array = cache_type is np.ndarray
    checked = _Arrays(specs or {"cache": "..."})
    fields: tuple[str, ...] = () if is_array else getattr(cache_type, "_fields")  # noqa: B009
    has_mask = "mask" in specs
    places, has_shape = [fields.index(name) for name in specs], hasattr(cache_type, "out_shape")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        body = cast(Callable[..., R], function)

        def run(dout: Any, cache: Any, *flags: Any) -> Any:
            cache = _own(cache, cache_type, fields)
            if has_mask and cache.mask is None:  # as in the course's dropout in test mode
                cache = cache._replace(mask=np.ones_like(dout))
            found = [cache] if is_array else [cache[place] for place in places]
            arrays = checked(found) if found else found
            if is_array:
                cache = arrays[0]
            elif arrays is not found:
                cache = cache._replace(**dict(zip(specs, arrays)))
            dout = _upstream(dout, cache.out_shape if has_shape else arrays[0].shape)
            if flags:
                flags = (checks.flag("", "need_dx", *flags),)
            return _in_dtypes(body(dout, cache, *flags), arrays)

        @functools.wraps(function)
        def layer(*args: P.args, **kwargs: P.kwargs) -> R:
            given = _bound(body, args, kwargs) if kwargs or len(args) != 2 else args
            try:
                return cast(R, run(*given))
            except (TypeError, ValueError) as error:
                _name(error, body)
                raise

        return layer

    return decorate


def _bound(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Return all arguments by position; a TypeError that names the function if they do not fit."""
    try:
        return inspect.signature(function).bind(*args, **kwargs).args
    except TypeError as error:
        raise TypeError(f"{function.__name__}: {error}") from None


def _name(error: Exception, function: Callable[..., Any]) -> None:
    """Put the function's name before a check's message; of nested layers, the outermost's."""
    message = vars(error).setdefault("unnamed", str(error))
    if message.startswith(": "):
        error.args = (function.__name__ + message,)


def _own(cache: Any, cache_type: type, fields: tuple[str, ...]) -> Any:
    """Return the cache as one of this type, made from a plain tuple if that has its form."""
    if type(cache) is tuple and len(cache) == len(fields) and fields in _DOCUMENTED:
        return cache_type(*cache)
    return checks.cache("", cache, cache_type)


def _upstream(dout: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the upstream gradient as a float array of the output's shape."""
    right = checks.are_floats(dout) and dout.shape == shape
    return dout if right else checks.upstream("", dout, shape)


def _in_dtypes(gradients: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Return each gradient in the dtype of its array; None, for one not asked for, stays."""
    if not arrays:
        return gradients
    if not isinstance(gradients, tuple):
        return checks.keep_dtype(gradients, arrays[0])
    return tuple(
        [
            gradient
            if gradient is None or gradient.dtype is array.dtype
            else checks.keep_dtype(gradient, array)
            for gradient, array in zip(gradients, arrays)
        ]
    )


class _Arrays:
    """The check of several arrays at once; what is right already passes in about a microsecond."""

    def __init__(self, specs: dict[str, str]) -> None:
        self.labels = any("in " in spec for spec in specs.values())
        kept = {name: spec.split() for name, spec in specs.items() if "in " not in spec}
        # What `checks.shapes` does not read is taken out of the specs, and checked here.
        self.plain = {
            name: " ".join("..." if "..." in axis else axis.rstrip("+*") for axis in axes)
            for name, axes in kept.items()
        }
        self.product = any("D..." in axes for axes in kept.values())
        first_axes = next(iter(kept.values()))
        self.filled = [(axis[0], axis[1]) for axis in first_axes if axis[-1] in "+*"]
        self.ranks: list[tuple[int, float]] = []
        self.equal: list[tuple[int, int, int, int]] = []
        first: dict[str, tuple[int, int]] = {}
        for array, spec in enumerate(self.plain.values()):
            letters = [letter for letter in spec.split() if letter != "..."]
            self.ranks.append((len(letters), math.inf if "..." in spec else len(letters)))
            for axis, letter in enumerate(letters):
                self.equal.append((array, axis, *first.setdefault(letter, (array, axis))))
        self.ones = [(a, i) for a, i, *place in self.equal if tuple(place) == first.get("1")]
        self.equal = [pair for pair in self.equal if pair[:2] != pair[2:]]

    def __call__(self, values: Sequence[Any], options: Sequence[Any] = ()) -> Sequence[Any]:
        """Return the values as arrays: the sequence itself where nothing had to be done."""
        if not self._right(values):
            count = len(self.plain)
            values = [*self._made_right(values[:count], options), *values[count:]]
        if self.labels:
            *arrays, y = values
            return [*arrays, checks.labels("", y, *arrays[0].shape)]
        return values

    def _right(self, values: Sequence[Any]) -> bool:
        """Tell quickly whether these are float arrays whose shapes agree."""
        shapes = []
        for value, (least, most) in zip(values, self.ranks):
            if not checks.are_floats(value):
                return False
            shape = value.shape
            if not least <= len(shape) <= most:
                return False
            shapes.append(shape)
        for array, axis, other, place in self.equal:
            if shapes[array][axis] != shapes[other][place]:
                return False
        if self.product and math.prod(shapes[0][1:]) != shapes[1][0]:
            return False
        if self.ones and any(shapes[array][axis] != 1 for array, axis in self.ones):
            return False
        return not (self.filled and 0 in shapes[0])

    def _made_right(self, values: Sequence[Any], options: Sequence[Any]) -> list[np.ndarray]:
        """Return float arrays, or say what is wrong with them."""
        arrays = checks.float_arrays("", **dict(zip(self.plain, values)))
        specs = dict(zip(self.plain, zip(arrays, self.plain.values())))
        sizes = checks.shapes("", **specs)
        if self.product:
            checks.rows("", *arrays[:2])
        trains = any(isinstance(one, Mapping) and one.get("mode") == "train" for one in options)
        for letter, mark in self.filled:
            if sizes[letter] == 0 and (mark == "+" or trains):
                raise checks.empty_error("", next(iter(specs)), arrays[0], self.filled[0][0])
        return arrays
