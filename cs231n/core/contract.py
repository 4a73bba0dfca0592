"""The contract of the layers as two decorators; a body under them is a formula and nothing else.

    @forward(x="N C H W", w="F C HH WW", b="F")
    def conv_forward(x, w, b, conv_param): ...

    @backward(ConvCache, x="N C H W", w="F C HH WW", b="F")
    def conv_backward(dout, cache): ...

A spec, which `cs231n.core.specs` reads, gives the axes of an argument, or of an entry of the cache.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from cs231n.core import checks
from cs231n.core.specs import Specs

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
CacheCheck = Callable[[Any, Any], tuple[Any, tuple[np.ndarray, ...]]]


class _Form(NamedTuple):
    """What a cache is: its type, the names of its entries, and which of them have specs."""

    cache_type: type
    fields: tuple[str, ...]
    entries: slice
    specs: Mapping[str, str]


_FORMS: dict[Callable[..., Any], _Form] = {}  # of caches that may stand first in another layer's


def forward(**specs: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a layer float arrays whose shapes agree; its first arguments have these specs."""
    checked = Specs(specs).check

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        body: Callable[..., R] = function
        return _layer(function, len(specs), lambda given: body(*checked(given)))

    return decorate


def backward(
    cache_type: type, first: Callable[..., Any] | None = None, /, **specs: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a layer its own cache, dout of the output's shape, and each gradient its dtype.

    The specs are those of entries of the cache in a row, and the gradients belong to the first of
    them, in order.  The output's shape is the cache's `out_shape`, or that of its first array.  The
    cache of ``backward(np.ndarray)`` is an array itself.  What a cache holds is checked at each
    call, for anybody may have changed it.

    Of two layers in one, `first` is the backward pass of the one whose cache is the first entry: it
    is checked as that one does, and the gradients belong to its arrays.
    """
    form = _form(cache_type, specs)
    if first is not None and first not in _FORMS:
        raise ValueError(f"backward: the cache of {first.__name__} cannot stand in another")
    own = _cache_check(form) if first is None else _nested_check(form, _FORMS[first])
    has_shape = hasattr(cache_type, "out_shape")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        body: Callable[..., Any] = function
        flag_names = list(inspect.signature(function).parameters)[2:]

        def run(given: tuple[Any, ...]) -> Any:
            dout, cache, flags = given[0], given[1], given[2:]
            cache, arrays = own(cache, dout)
            shape = cache.out_shape if has_shape else arrays[0].shape
            if not (checks.are_floats(dout) and dout.shape == shape):
                dout = checks.upstream("", dout, shape)
            if flags:
                flags = tuple([checks.flag("", *pair) for pair in zip(flag_names, flags)])
            return _in_dtypes(body(dout, cache, *flags), arrays)

        layer = _layer(function, 2, run)
        if first is None and cache_type is not np.ndarray and not _optional(specs):
            _FORMS[layer] = form
        return layer

    return decorate


def _form(cache_type: type, specs: Mapping[str, str]) -> _Form:
    """Return the form of a cache; an array is the only entry of its own."""
    fields: tuple[str, ...] = getattr(cache_type, "_fields", ())
    start = fields.index(next(iter(specs))) if specs else 0
    entries = slice(start, start + len(specs))
    if fields[entries] != tuple(specs):
        raise ValueError(f"backward: {[*specs]} are no entries in a row of {cache_type.__name__}")
    return _Form(cache_type, fields, entries, specs)


def _optional(specs: Mapping[str, str]) -> list[str]:
    """Return the names of the entries that may be None."""
    return [name for name, spec in specs.items() if spec.endswith("?")]


def _cache_check(form: _Form) -> CacheCheck:
    """Return the function that makes of a cache this layer's own, and returns its arrays, too."""
    cache_type, fields, entries, specs = form
    is_array, optional = cache_type is np.ndarray, _optional(specs)
    checked = Specs({"cache": "..."} if is_array else specs).check

    def own(cache: Any, dout: Any) -> tuple[Any, tuple[np.ndarray, ...]]:
        if type(cache) is not cache_type:
            cache = _own(cache, cache_type, fields)
        for name in optional:  # as the mask of the course's dropout in test mode
            if getattr(cache, name) is None:
                (dout,) = checks.float_arrays("", dout=dout)
                cache = cache._replace(**{name: np.ones_like(dout)})
        found = (cache,) if is_array else cache[entries]
        arrays = checked(found)
        if arrays is not found:
            cache = arrays[0] if is_array else cache._replace(**dict(zip(specs, arrays)))
        return cache, arrays

    return own


def _nested_check(form: _Form, first_form: _Form) -> CacheCheck:
    """Return the check of a cache whose first entry is another layer's; its arrays are returned."""
    cache_type, fields, entries, specs = form
    first_type, first_fields, first_entries, first_specs = first_form
    if set(specs) & set(first_specs):
        raise ValueError(f"backward: {cache_type.__name__} and {first_type.__name__} share names")
    checked, count = Specs({**first_specs, **specs}).check, len(first_specs)

    def own(cache: Any, dout: Any) -> tuple[Any, tuple[np.ndarray, ...]]:
        if type(cache) is not cache_type:
            cache = _own(cache, cache_type, fields)
        first = cache[0]
        if type(first) is not first_type:
            first = _own(first, first_type, first_fields)
        found = (*first[first_entries], *cache[entries])
        arrays = checked(found)
        if arrays is not found or first is not cache[0]:
            first = first._replace(**dict(zip(first_specs, arrays)))
            cache = cache._make((first, *cache[1:]))._replace(**dict(zip(specs, arrays[count:])))
        return cache, arrays[:count]

    return own


def _layer(
    function: Callable[P, R], count: int, run: Callable[[tuple[Any, ...]], R]
) -> Callable[P, R]:
    """Return what users call: all arguments go to `run`, and errors get the function's name."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def layer(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(_bound(signature, args, kwargs) if kwargs or len(args) < count else args)
        except (TypeError, ValueError) as error:
            _name(error, function)
            raise

    return layer


def _bound(signature: inspect.Signature, args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Return all arguments by position; a TypeError if they do not fit."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f": {error}") from None
    bound.apply_defaults()  # `args` ends at the first argument that was left out
    return bound.args


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


def _in_dtypes(gradients: Any, arrays: tuple[np.ndarray, ...]) -> Any:
    """Return each gradient in the dtype of its array; None, for one not asked for, stays."""
    if not arrays:
        return gradients
    if not isinstance(gradients, tuple):
        return checks.keep_dtype(gradients, arrays[0])
    return tuple(
        [
            one if one is None or one.dtype is of.dtype else one.astype(of.dtype)
            for one, of in zip(gradients, arrays)
        ]
    )
