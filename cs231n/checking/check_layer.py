"""A checker of layers that explains what it finds.

`check_layer` compares a backward pass with its forward pass along random directions.  It costs a
few forward passes however large the arrays are, and looks for single entries only where something
disagrees.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cs231n.checking.calls import Calls, ContractError, counted, observe
from cs231n.checking.report import Entry, LayerReport, is_fault, summary, unexplained
from cs231n.checking.search import check_argument
from cs231n.checking.slopes import Layer, least_step, spacing, usual_step
from cs231n.core import checks

__all__ = ["Entry", "GradientPrecisionWarning", "LayerReport", "check_layer"]


class GradientPrecisionWarning(UserWarning):
    """The arrays are too coarse for a sharp gradient check."""


def check_layer(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    x: np.ndarray,
    *weights: np.ndarray,
    options: Any = (),
    names: Sequence[str] | None = None,
    h: float | None = None,
    directions: int = 4,
    rng: np.random.Generator | int | None = None,
    tolerance: float | None = None,
    verbose: bool = False,
) -> LayerReport:
    """Check the backward pass of a layer, or the gradient of a loss, and explain what is wrong.

    Parameters
    ----------
    forward : callable
        ``forward(x, *weights, *options)`` gives ``(out, cache)``, or ``(loss, dx)`` for a loss.
    backward : callable or None
        ``backward(dout, cache)`` gives dx, or ``(dx, *dweights)``.  None for a loss.
    x : ndarray of floats
        Input of the layer; float64 for a sharp check.
    *weights : ndarray of floats
        The other arguments that have a gradient, in order.
    options : tuple or list, or a single option
        Arguments of forward that have no gradient: ``conv_param``, ``(G, gn_param)``, labels.  Each
        call gets a copy, so that running means stay as they are.
    names : sequence of str, optional
        What to call x and the weights; by default the names of forward's parameters.
    h : float, optional
        Step of the difference quotients; by default one for each array, that suits the dtype, the
        spread of the values and the size of the gradient.  An eighth, a sixty-fourth and eight
        times the step are tried where it doesn't agree.
    directions : int
        How many random directions to try for each argument.
    rng : numpy.random.Generator or int, optional
        Where the upstream gradient and the directions come from, or a seed; by default the same
        for each call.
    tolerance : float, optional
        Largest error accepted, as a fraction of the gradient's norm; by default 1e-8 in float64
        and about 1e-3 in float32.
    verbose : bool
        Whether to print the report.

    Returns
    -------
    report : LayerReport
        True where all is right.  Otherwise ``report.message`` says what is wrong: the worst entry
        with its analytic and numeric gradient, or what the layer does that it must not.

    Raises
    ------
    TypeError
        If x or a weight is not an array of floats.
    ValueError
        If x or a weight holds nan or infinity, or an option of the check is out of range.

    Warns
    -----
    GradientPrecisionWarning
        If an array is coarser than float64, with the error to expect.

    Notes
    -----
    With a random upstream gradient dout, ``L = sum(out * dout)`` is a scalar.  For a direction v of
    random signs the product of v with the gradient is compared with
    ``(L(x + h v) - L(x - h v)) / 2h``, at the cost of two forward passes.  Every entry of v being 1
    or -1, an error in one entry can't hide.  Where the two disagree for several h, the entries to
    blame are found by halving v.  An entry at which the slopes to the left and to the right differ
    however small h is, such as the input zero of a ReLU, is a kink: it is named, and is no error if
    the gradient lies between the two.  In float32 the step is a thousand times larger, so that many
    kinks lie within it.

    Also checked: that the gradients have the shapes and dtypes of their arrays, that neither
    function writes to its arguments, and that calling either one again changes nothing.

    Examples
    --------
    >>> def square_forward(x):
    ...     return x**2, x
    >>> def square_backward(dout, x):
    ...     return 3 * x * dout
    >>> report = check_layer(square_forward, square_backward, np.array([[1.0, 2.0]]))
    >>> report.ok, report.worst.argument, report.worst.index
    (False, 'x', (0, 1))
    """
    where = "check_layer"
    verbose = checks.flag(where, "verbose", verbose)
    checks.function(where, "forward", forward)
    if backward is not None:
        checks.function(where, "backward", backward)
    names = _argument_names(where, forward, 1 + len(weights), names)
    arrays = [_float_copy(where, name, array) for name, array in zip(names, (x, *weights))]
    eps = spacing(arrays)
    if h is not None:
        least = max(least_step(array, eps) for array in arrays)
        h = checks.number(where, "h", h, least, low_open=True)
    if tolerance is None:
        tolerance = max(1e-8, 40 * eps ** (2 / 3))
    tolerance = checks.number(where, "tolerance", tolerance, 0, low_open=True)
    _warn_if_coarse(where, dict(zip(names, arrays)), h, tolerance)
    report = _report(
        Calls(forward, backward, options if isinstance(options, (tuple, list)) else (options,)),
        dict(zip(names, arrays)),
        h,
        tolerance,
        checks.integer(where, "directions", directions, 1),
        _generator(where, rng),
    )
    if verbose:
        print(report)
    return report


def _generator(where: str, rng: Any) -> np.random.Generator:
    """Return a generator: the one given, or one from a seed."""
    try:
        return np.random.default_rng(231 if rng is None else rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: rng is {rng!r}; expected a Generator or a seed") from error


def _argument_names(
    where: str, forward: Callable[..., Any], count: int, names: Sequence[str] | None
) -> list[str]:
    """Return a name for each array: those given, or those of forward's parameters."""
    if names is not None:
        given = checks.sequence(where, "names", names)
        if len(given) != count or len(set(map(str, given))) != count:
            raise ValueError(
                f"{where}: names is {names!r}; expected {count} different names, one for each array"
            )
        return [str(name) for name in given]
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # some compiled functions have no signature
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [parameter.name for parameter in parameters if parameter.kind in kinds][:count]
    return found + [f"argument {number}" for number in range(len(found), count)]


def _float_copy(where: str, name: str, value: Any) -> np.ndarray:
    """Return a copy of an array of finite floats."""
    array = checks.any_array(where, name, value).copy(order="K")
    if array.dtype.kind != "f":
        raise checks.not_float_error(where, name, array.dtype)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{where}: {name} holds nan or infinity; expected finite numbers")
    return array


def _warn_if_coarse(
    where: str, arrays: dict[str, np.ndarray], h: float | None, tolerance: float
) -> None:
    """Warn of arrays that are coarser than float64, with the error to expect."""
    coarse = [name for name, array in arrays.items() if array.dtype.itemsize < 8]
    if not coarse:
        return
    coarsest = max((array.dtype for array in arrays.values()), key=lambda d: np.finfo(d).eps)
    eps = float(np.finfo(coarsest).eps)
    step = eps ** (1 / 3) if h is None else h
    warnings.warn(
        f"{where}: {counted(len(coarse), 'array')} ({', '.join(coarse)}) in {coarsest}: expect a"
        f" relative error of about {eps / step + step**2:.0e}, of which {eps / step:.0e} is"
        f" rounding (eps / h) and {step**2:.0e} truncation (h^2); errors in the gradient below"
        f" {tolerance:.0e} pass unseen.  Convert with .astype(np.float64) for a sharp check.",
        GradientPrecisionWarning,
        stacklevel=3,
    )


def _report(
    calls: Calls,
    arrays: dict[str, np.ndarray],
    h: float | None,
    tolerance: float,
    directions: int,
    rng: np.random.Generator,
) -> LayerReport:
    """Compare the gradients of all arrays and put what was found into words."""
    try:
        out, dout, gradients = observe(calls, arrays, rng)
    except ContractError as broken:
        return summary(calls.title, [], {}, [], list(broken.problems), tolerance)
    layer = _layer(calls, list(arrays.values()), gradients, (out, dout), h, tolerance)
    lines, errors, entries, problems = [], {}, [], []
    for k, (name, array) in enumerate(arrays.items()):
        signs = [rng.choice([-1, 1], array.shape).astype(array.dtype) for _ in range(directions)]
        error, found = check_argument(layer, k, name, signs)
        entries += found
        if not error <= tolerance and not any(is_fault(entry) for entry in found):
            problems.append(unexplained(name, error, found))
        allowed = max(tolerance, layer.resolution(k))
        errors[name] = error * allowed / tolerance
        hidden = ", for rounding hides less" if allowed > tolerance else ""
        lines.append(f"{name}: error {errors[name]:.1e} (at most {allowed:.0e}{hidden})")
    return summary(calls.title, lines, errors, entries, problems, tolerance)


def _layer(
    calls: Calls,
    arrays: list[np.ndarray],
    gradients: list[np.ndarray],
    out_and_dout: tuple[np.ndarray, np.ndarray],
    h: float | None,
    tolerance: float,
) -> Layer:
    """Return the layer, ready to be compared with its gradients in float64."""
    out, dout = (array.astype(np.float64) for array in out_and_dout)
    gradients = [gradient.astype(np.float64) for gradient in gradients]
    size, eps = float(np.linalg.norm(out * dout)), spacing(arrays)
    return Layer(
        evaluate=lambda changed: calls.run(changed)[0],
        arrays=arrays,
        gradients=gradients,
        out=out,
        dout=dout,
        steps=[usual_step(a, g, size, eps) if h is None else h for a, g in zip(arrays, gradients)],
        eps=eps,
        tolerance=tolerance,
    )
