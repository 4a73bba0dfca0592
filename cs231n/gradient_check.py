"""Gradient checking: numerical gradients, and a checker of layers that explains what it finds.

The ``eval_numerical_gradient*`` functions and `grad_check_sparse` move one entry of an array at a
time, in place, because the functions that notebooks hand over often ignore their argument and read
the array from the outside.  The entry gets its exact value back, also when the function raises.

The checker of whole layers, `cs231n.checking.check_layer`, can be imported from here as well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cs231n.checking.check_layer import Entry, GradientPrecisionWarning, LayerReport, check_layer
from cs231n.checking.rel_error import rel_error
from cs231n.core import checks

__all__ = [
    "Entry",
    "GradientPrecisionWarning",
    "LayerReport",
    "check_layer",
    "eval_numerical_gradient",
    "eval_numerical_gradient_array",
    "eval_numerical_gradient_blobs",
    "eval_numerical_gradient_net",
    "grad_check_sparse",
    "rel_error",
]

Index = tuple[int, ...]


def _perturbable(where: str, name: str, x: Any, h: float) -> float:
    """Return h as a float; raise unless x is an array whose entries may be moved by h in place."""
    h = checks.number(where, "h", h, 0, low_open=True)
    if h == math.inf:
        raise ValueError(f"{where}: h is {h}; expected a small number")
    if not isinstance(x, np.ndarray):
        raise TypeError(
            f"{where}: {name} is a {type(x).__name__}; expected an ndarray,"
            f" for its entries are moved in place"
        )
    if x.dtype.kind != "f":
        raise checks.not_float_error(where, name, x.dtype)
    if not x.flags.writeable:
        raise ValueError(
            f"{where}: {name} is read-only, but its entries must be moved in place;"
            f" pass a copy, {name}.copy(), to the function and to {where}"
        )
    return h


def _slope(
    where: str, measure: Callable[[], Any], x: np.ndarray, index: Index, h: float, weight: Any = 1.0
) -> float:
    """Return the central difference of sum(weight * measure()) as x[index] moves by h each way.

    In float32, where x + h - x is far from h, it divides by the step that was made.  In float64
    the difference is a matter of the last digits, and 2 * h gives those of published checks.
    """
    value = x[index]
    try:
        x[index] = value + h
        above, plus = float(x[index]), measure()
        x[index] = value - h
        below, minus = float(x[index]), measure()
    finally:
        x[index] = value
    if above == below:
        raise ValueError(
            f"{where}: a step of h = {h:g} does not change the entry {value} at {index} in"
            f" {x.dtype}; expected a larger h, or float64"
        )
    step = 2 * h if x.dtype == np.float64 else above - below
    return float(np.sum((plus - minus) * weight)) / step


def _gradient(
    where: str,
    measure: Callable[[], Any],
    x: np.ndarray,
    h: float,
    weight: Any = 1.0,
    verbose: bool = False,
) -> np.ndarray:
    """Return the slope at each index, in the shape and dtype of x."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        gradient[index] = _slope(where, measure, x, index, h, weight)
        if verbose:
            print(index, gradient[index])
    return gradient


def _output(where: str, value: Any) -> np.ndarray:
    """Return what f gave as a float64 array of our own: f may write its next result over it."""
    if isinstance(value, tuple):
        raise TypeError(
            f"{where}: f returned a tuple of {len(value)}; expected the output alone"
            f" (lambda x: forward(x)[0])"
        )
    return np.array(value, dtype=np.float64)


def _scalar(where: str, value: Any) -> float:
    """Return what f gave as a float."""
    result = _output(where, value)
    if result.size != 1:
        raise ValueError(
            f"{where}: f returned an array of shape {result.shape}; expected a scalar"
            f" (eval_numerical_gradient_array is for functions that return arrays)"
        )
    return float(result.reshape(()))


def eval_numerical_gradient(
    f: Callable[[np.ndarray], float], x: np.ndarray, verbose: bool = True, h: float = 0.00001
) -> np.ndarray:
    """Compute the gradient of a scalar function by central differences.

    Parameters
    ----------
    f : callable
        ``f(x)`` gives a scalar.  It may ignore its argument and read x from the outside.
    x : ndarray of any shape, float
        Where to take the gradient.  Its entries are moved in place and put back exactly.
    verbose : bool
        Whether to print each index and its slope.
    h : float
        Step, to each side.

    Returns
    -------
    gradient : ndarray of the shape and dtype of x

    Raises
    ------
    TypeError
        If x is not an array of floats, or f returns a tuple.
    ValueError
        If x is read-only, f does not give a scalar, or h is lost in the rounding of x.

    Notes
    -----
    ``(f(x + h e_i) - f(x - h e_i)) / 2h`` for each entry i.  The error is of the order of ``h**2``
    (truncation) plus ``eps / h`` (rounding).

    Examples
    --------
    >>> eval_numerical_gradient(lambda x: np.sum(x**2), np.array([1.0, 2.0]), False).round(6)
    array([2., 4.])
    """
    where = "eval_numerical_gradient"
    verbose = checks.flag(where, "verbose", verbose)
    checks.function(where, "f", f)
    h = _perturbable(where, "x", x, h)
    return _gradient(where, lambda: _scalar(where, f(x)), x, h, verbose=verbose)


def eval_numerical_gradient_array(
    f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, df: Any, h: float = 1e-5
) -> np.ndarray:
    """Compute the gradient of ``sum(f(x) * df)`` by central differences.

    Parameters
    ----------
    f : callable
        ``f(x)`` gives an array.  It may ignore its argument and read x from the outside.
    x : ndarray of any shape, float
        Where to take the gradient.  Its entries are moved in place and put back exactly.
    df : ndarray of the shape of f(x), or a scalar
        Upstream gradient.
    h : float
        Step, to each side.

    Returns
    -------
    gradient : ndarray of the shape and dtype of x

    Raises
    ------
    TypeError
        If x is not an array of floats, or f returns a tuple.
    ValueError
        If x is read-only, df does not have the shape of f(x), or h is lost in the rounding of x.
    """
    where = "eval_numerical_gradient_array"
    checks.function(where, "f", f)
    h = _perturbable(where, "x", x, h)
    weight = checks.real_array(where, "df", df).astype(np.float64)

    def measure() -> np.ndarray:
        out = _output(where, f(x))
        checks.same_shape(where, "df", weight, "f(x)", out)
        return out

    return _gradient(where, measure, x, h, weight)


def eval_numerical_gradient_blobs(
    f: Callable[..., Any], inputs: Sequence[Any], output: Any, h: float = 1e-5
) -> list[np.ndarray]:
    """Compute the gradients of a function that works on blobs, by central differences.

    A blob is an object with two arrays of the same shape, ``vals`` and ``diffs``.

    Parameters
    ----------
    f : callable
        ``f(*inputs, output)`` computes ``output.vals`` from the inputs' ``vals``.
    inputs : sequence of blobs
        Their ``vals`` are moved in place and put back exactly.
    output : blob
        Its ``diffs`` is the upstream gradient.
    h : float
        Step, to each side.

    Returns
    -------
    gradients : list of ndarray
        One for each input, of the shape and dtype of its ``vals``.

    Raises
    ------
    TypeError, ValueError
        As `eval_numerical_gradient_array`.
    """
    where = "eval_numerical_gradient_blobs"
    checks.function(where, "f", f)
    inputs = checks.sequence(where, "inputs", inputs)
    checks.attributes(where, "output", output, "diffs")
    weight = checks.real_array(where, "output.diffs", output.diffs).astype(np.float64)

    def measure() -> np.ndarray:
        f(*inputs, output)
        out = _output(where, output.vals)
        checks.same_shape(where, "output.diffs", weight, "output.vals", out)
        return out

    for number, blob in enumerate(inputs):
        checks.attributes(where, f"inputs[{number}]", blob, "vals")
        h = _perturbable(where, f"inputs[{number}].vals", blob.vals, h)
    return [_gradient(where, measure, blob.vals, h, weight) for blob in inputs]


def eval_numerical_gradient_net(
    net: Any, inputs: Sequence[Any], output: Any, h: float = 1e-5
) -> list[np.ndarray]:
    """Compute the gradients of a network that works on blobs, by central differences.

    Parameters
    ----------
    net : object with a method ``forward()``
        ``net.forward()`` computes ``output.vals`` from the inputs' ``vals``.
    inputs, output, h
        As in `eval_numerical_gradient_blobs`.

    Returns
    -------
    gradients : list of ndarray
        One for each input, of the shape and dtype of its ``vals``.

    Raises
    ------
    TypeError, ValueError
        As `eval_numerical_gradient_array`.
    """
    checks.attributes("eval_numerical_gradient_net", "net", net, "forward")
    return eval_numerical_gradient_blobs(lambda *blobs: net.forward(), inputs, output, h=h)


def grad_check_sparse(
    f: Callable[[np.ndarray], float],
    x: np.ndarray,
    analytic_grad: np.ndarray,
    num_checks: int = 10,
    h: float = 1e-5,
    rng: np.random.Generator | None = None,
) -> float:
    """Compare a gradient with central differences at a few random entries, and print each.

    Parameters
    ----------
    f : callable
        ``f(x)`` gives a scalar.  It may ignore its argument and read x from the outside.
    x : ndarray of any shape, float
        Where to take the gradient.  Its entries are moved in place and put back exactly.
    analytic_grad : ndarray of the shape of x
        The gradient to check.
    num_checks : int
        How many entries to draw, with replacement.
    h : float
        Step, to each side.
    rng : numpy.random.Generator, optional
        Where the indices come from.  By default they are drawn axis by axis with Python's
        ``random.randrange``, so NumPy's global generator is left alone and ``random.seed``
        repeats a check.

    Returns
    -------
    error : float
        The largest relative error, as `rel_error` defines it; 0 where nothing was checked.

    Raises
    ------
    TypeError
        If x is not an array of floats, f returns a tuple or rng is no generator.
    ValueError
        If the shapes of x and analytic_grad differ, x is read-only, f does not give a scalar, or h
        is lost in the rounding of x.
    """
    where = "grad_check_sparse"
    checks.function(where, "f", f)
    h = _perturbable(where, "x", x, h)
    analytic_grad = checks.real_array(where, "analytic_grad", analytic_grad)
    if analytic_grad.shape != x.shape:
        raise ValueError(
            f"{where}: analytic_grad has shape {analytic_grad.shape}; expected {x.shape},"
            f" the shape of x"
        )
    draw = random.randrange if rng is None else checks.generator(where, rng).integers
    errors = []
    for _ in range(checks.integer(where, "num_checks", num_checks, 0) if x.size else 0):
        index = tuple(int(draw(size)) for size in x.shape)
        numeric = _slope(where, lambda: _scalar(where, f(x)), x, index, h)
        analytic = analytic_grad[index]
        error = rel_error(numeric, analytic)
        errors.append(error)
        print(f"numerical: {numeric:f} analytic: {analytic:f}, relative error: {error:e}")
    return float(np.max(errors, initial=0.0))
