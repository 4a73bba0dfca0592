"""Networks whose parameters are there already: nothing is drawn, and nothing is made for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["given", "in_use", "parameter", "zeros"]

_given: ContextVar[Mapping[str, np.ndarray] | None] = ContextVar("_given", default=None)


@contextmanager
def given(params: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Let the networks that the body makes take these parameters, instead of drawing their own.

    A description from a file may ask for any size: none is believed before an array of it is there.

    Parameters
    ----------
    params : mapping of str to ndarray

    Yields
    ------
    None
    """
    token = _given.set(params)
    try:
        yield
    finally:
        _given.reset(token)


def in_use() -> bool:
    """Tell whether networks take parameters that are there."""
    return _given.get() is not None


def zeros(*shape: int) -> np.ndarray:
    """Return what stands for weights of this shape without taking memory."""
    return np.broadcast_to(np.float64(0), shape)


def parameter(where: str, name: str, weight: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the parameter of a layer: the weight in a dtype, or what is there in its place.

    Parameters
    ----------
    where : str
        Name of the network's class, for messages.
    name : str
        Of the parameter.
    weight : ndarray
        As it was drawn.
    dtype : dtype
        Of the network.

    Returns
    -------
    parameter : ndarray

    Raises
    ------
    ValueError
        If there is no such parameter, or it has another shape.
    """
    params = _given.get()
    if params is None:
        return weight.astype(dtype)
    if name not in params:
        raise ValueError(f"{where}: there is no {name} of shape {weight.shape}")
    checks.exact_shape(where, name, params[name], weight.shape)
    return params[name]
