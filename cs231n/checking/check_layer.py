"""A checker of layers that explains what it finds.

`check_layer` compares a backward pass with its forward pass along random directions.  It costs a
few forward passes however large the arrays are, and looks for single entries only where something
disagrees.
"""

from __future__ import annotations

import copy
import heapq
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cs231n.checking.rel_error import rel_error
from cs231n.core import checks

__all__ = ["Entry", "GradientPrecisionWarning", "LayerReport", "check_layer"]

_SMALL = 128  # entries of an array that is searched one by one; a larger one is halved
_SUSPECTS = 16  # entries looked at in one search,
_FAULTS_ENOUGH = 4  # or fewer, if so many are wrong
_ROUNDS = 8  # searches, each without the kinks that those before it found
_STEPS = (1.0, 1 / 8, 8.0, 1 / 64)  # multiples of h to try
_SHOWN = 5  # kinks in the message
_HALVINGS = (1.0, 0.5, 0.25)  # multiples of h that tell a kink from a curve
_FAULTS = {
    "wrong": "the gradient is wrong",
    "outside": "a kink, with slope {left:.6g} to the left and {right:.6g} to the right, and the"
    " gradient is not between them: wrong, unless several kinks meet here (check at other values)",
    "jump": "the output jumps here, so that there is no slope to compare with",
    "unclear": "the numeric slope depends on the step, so that nothing can be said: is the output"
    " nan, infinite or very steep nearby?",
}


class GradientPrecisionWarning(UserWarning):
    """The arrays are too coarse for a sharp gradient check."""


@dataclass(frozen=True)
class Entry:
    """What was found at one entry of an argument.

    verdict is 'wrong', 'kink' (the slopes to the left and to the right differ, and the gradient
    lies between them), 'outside' (a kink, but it does not), 'jump' (the output is not continuous)
    or 'unclear' (the slope depends on the step).  numeric is the central difference; cause names
    the usual reason of a kink.
    """

    argument: str
    index: tuple[int, ...]
    value: float
    verdict: str
    analytic: float
    numeric: float
    left: float
    right: float
    cause: str

    @property
    def error(self) -> float:
        """Relative error of the gradient here, as `rel_error` defines it."""
        return rel_error(self.analytic, self.numeric)

    @property
    def difference(self) -> float:
        """How far the gradient is from the central difference; infinite if that is nan."""
        difference = abs(self.analytic - self.numeric)
        return difference if difference >= 0 else float("inf")

    def __str__(self) -> str:
        """Say it in a sentence."""
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        place = f"{self.argument}{index} = {self.value:.6g}"
        if self.verdict == "kink":
            return (
                f"{place} lies on a kink ({self.cause}): slope {self.left:.6g} to the left,"
                f" {self.right:.6g} to the right; the gradient {self.analytic:.6g} lies between"
            )
        explanation = _FAULTS.get(self.verdict, "").format(left=self.left, right=self.right)
        return (
            f"{place}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g},"
            f" relative error {self.error:.1e}: {explanation}"
        )


@dataclass(frozen=True)
class LayerReport:
    """What `check_layer` found; true where the gradients are right, and printed as a text.

    Attributes
    ----------
    ok : bool
        Whether all gradients agree, but for kinks.
    errors : dict of str to float
        For each argument the largest disagreement along a random direction, relative to the norm
        of its gradient.
    worst : Entry or None
        The entry that disagrees most; None where nothing disagrees or no single entry does.
    kinks : tuple of Entry
        Entries at which the output has a corner and the gradient lies between the two slopes.
    problems : tuple of str
        Whatever else is wrong, such as a gradient of the wrong shape.
    tolerance : float
        Largest error accepted.
    message : str
        All of it in words.
    """

    ok: bool
    errors: dict[str, float]
    worst: Entry | None
    kinks: tuple[Entry, ...]
    problems: tuple[str, ...]
    tolerance: float
    message: str

    def __bool__(self) -> bool:
        """Return whether the gradients are right."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class _ContractError(Exception):
    """The layer breaks its contract, so that there is nothing to compare."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


class _Slopes(NamedTuple):
    """Slopes of the output along a direction.

    norm is that of the gradient's entries on the way, noise what rounding may add to a slope.
    """

    analytic: float
    left: float
    right: float
    norm: float
    noise: float

    @property
    def numeric(self) -> float:
        """The central difference."""
        return (self.left + self.right) / 2

    @property
    def gap(self) -> float:
        """How much left and right differ: by the curvature times the step, or by a kink."""
        return abs(self.right - self.left)

    @property
    def difference(self) -> float:
        """How far the gradient is from the central difference."""
        return abs(self.numeric - self.analytic)

    def error(self, tolerance: float) -> float:
        """Return the difference relative to the norm: at most tolerance where it may be noise."""
        scale = max(self.norm, abs(self.numeric), self.noise / tolerance)
        return self.difference / scale if scale else 0.0


@dataclass(frozen=True)
class _Layer:
    """A layer that keeps its contract, at one point."""

    evaluate: Callable[[Sequence[np.ndarray]], np.ndarray]
    arrays: list[np.ndarray]
    gradients: list[np.ndarray]
    out: np.ndarray
    dout: np.ndarray
    steps: list[float]
    eps: float
    tolerance: float

    def slopes(self, k: int, direction: np.ndarray, factor: float = 1.0) -> _Slopes:
        """Compare argument k's gradient with how sum(out * dout) changes along a direction.

        The step is factor times the usual one, whose noise is the one allowed for.
        """
        h = self.steps[k] * factor
        step = direction * direction.dtype.type(h)
        above, below = self.arrays[k] + step, self.arrays[k] - step
        moved = (above.astype(np.float64) - below) / (2 * h)  # rounded: not quite the direction
        left, right = self.out - self._moved(k, below), self._moved(k, above) - self.out
        gradient = self.gradients[k] * (direction != 0)
        touched = (left != 0) | (right != 0)  # elsewhere, rounding cancels
        return _Slopes(
            analytic=float(np.sum(gradient * moved)),
            left=float(np.sum(left * self.dout)) / h,
            right=float(np.sum(right * self.dout)) / h,
            norm=float(np.linalg.norm(gradient)),
            noise=self.noise(k, gradient, touched),
        )

    def noise(self, k: int, gradient: np.ndarray, touched: np.ndarray | bool) -> float:
        """Return what rounding, of the output or of argument k, may do to a slope."""
        size = np.linalg.norm(self.out * self.dout * touched)
        size += np.linalg.norm(gradient * self.arrays[k])
        return 8 * self.eps * float(size) / self.steps[k]

    def resolution(self, k: int) -> float:
        """Return the relative error that rounding hides, 0 where the gradient is mere rounding."""
        norm = float(np.linalg.norm(self.gradients[k]))
        noise = self.noise(k, self.gradients[k], True)
        return noise / norm if norm > noise else 0.0

    def _moved(self, k: int, array: np.ndarray) -> np.ndarray:
        """Return the output with another argument k, in float64."""
        arrays = [*self.arrays[:k], array, *self.arrays[k + 1 :]]
        return self.evaluate(arrays).astype(np.float64)

    def error(self, k: int, direction: np.ndarray) -> float:
        """Return the relative disagreement along a direction, at the step where it is smallest.

        A wrong gradient disagrees at every step; a right one need not agree at each, for a small
        step shows the rounding, and a large one the curvature or a kink close by.
        """
        least = np.inf
        for factor in _STEPS:
            if self.steps[k] * factor < _least_step(self.arrays[k], self.eps):
                continue
            least = min(least, self.slopes(k, direction, factor).error(self.tolerance))
            if least <= self.tolerance:
                break
        return least


def _eps(arrays: Sequence[np.ndarray]) -> float:
    """Return the spacing of numbers at 1 in the coarsest dtype among the arrays, and float64."""
    return max([float(np.finfo(np.float64).eps), *(float(np.finfo(a.dtype).eps) for a in arrays)])


def _least_step(array: np.ndarray, eps: float) -> float:
    """Return the smallest step that survives the rounding of the array's values."""
    return 16 * eps * float(np.max(np.abs(array), initial=0.0))


def _step(array: np.ndarray, gradient: np.ndarray, size: float, eps: float) -> float:
    """Return a step at which truncation and rounding are about equal.

    They are (h / scale)**2 and eps * scale / h.  The scale is the distance over which the output
    changes by its own size, as far as one step of the gradient tells, but not beyond the spread of
    the array or 1 (to which softmax, tanh and the like bend), whichever is larger.
    """
    spread = float(np.std(array, dtype=np.float64)) if array.size else 0.0
    spread = spread or float(np.max(np.abs(array), initial=0.0)) or 1.0
    norm = float(np.linalg.norm(gradient))
    scale = max(size / norm if norm else np.inf, 1e-3 * spread)
    return max(eps ** (1 / 3) * min(scale, max(spread, 1.0)), _least_step(array, eps))


def _check_argument(
    layer: _Layer, k: int, name: str, directions: list[np.ndarray]
) -> tuple[float, list[Entry]]:
    """Return argument k's largest error along the directions, and the entries that were found."""
    open_entries = np.ones_like(layer.arrays[k])
    largest, entries = 0.0, []
    for direction in directions:
        for _ in range(_ROUNDS):
            error = layer.error(k, direction * open_entries)
            if error <= layer.tolerance:
                break
            found = _search(layer, k, name, direction * open_entries)
            entries += found
            for entry in found:
                open_entries[entry.index] = 0
            if not found or any(_is_fault(entry) for entry in found):
                return error, entries
        else:
            return error, entries  # kinks, more than are worth looking for
        largest = max(largest, error)
    return largest, entries


def _is_fault(entry: Entry) -> bool:
    """Tell whether the entry shows the gradient to be wrong, or in doubt."""
    return entry.verdict in _FAULTS


def _search(layer: _Layer, k: int, name: str, direction: np.ndarray) -> list[Entry]:
    """Return entries of argument k that disagree along a direction, about the worst first.

    Groups of entries are halved until single ones are left, always the group that disagrees most
    for its size: that leads straight to an entry that stands out, and to some entry soon where all
    are wrong.
    """
    heap: list[tuple[float, int, np.ndarray]] = []  # first indices differ: arrays never compare

    def push(group: np.ndarray) -> None:
        part = np.zeros_like(direction)
        part.flat[group] = direction.flat[group]
        slopes = layer.slopes(k, part)
        if not slopes.error(layer.tolerance) <= layer.tolerance:
            heapq.heappush(heap, (-slopes.difference / group.size**0.5, int(group[0]), group))

    moved = np.flatnonzero(direction)
    for group in np.array_split(moved, moved.size if moved.size <= _SMALL else 1):
        push(group)
    found: list[Entry] = []
    while heap and len(found) < _SUSPECTS and sum(map(_is_fault, found)) < _FAULTS_ENOUGH:
        group = heapq.heappop(heap)[-1]
        if group.size == 1:
            found.append(_entry(layer, k, name, int(group[0])))
        else:
            for half in np.array_split(group, 2):
                push(half)
    return found


def _entry(layer: _Layer, k: int, name: str, position: int) -> Entry:
    """Look closely at one entry of argument k."""
    array, h = layer.arrays[k], layer.steps[k]
    index = tuple(int(i) for i in np.unravel_index(position, array.shape))
    direction = np.zeros_like(array)
    direction[index] = 1
    slopes = [layer.slopes(k, direction, factor) for factor in _HALVINGS]
    causes = ["a ReLU at zero"] if abs(array[index]) <= h else []
    causes += ["a tied maximum"] if np.count_nonzero(array == array[index]) > 1 else []
    first = slopes[0]
    return Entry(
        argument=name,
        index=index,
        value=float(array[index]),
        verdict=_verdict(slopes, layer.tolerance),
        analytic=float(layer.gradients[k][index]),
        numeric=first.numeric,
        left=first.left,
        right=first.right,
        cause=" or ".join(causes) or "a corner of the function",
    )


def _verdict(slopes: list[_Slopes], tolerance: float) -> str:
    """Tell a wrong gradient from a kink, a jump, and a slope that can't be measured.

    As the step shrinks, the gap between the right and the left slope shrinks with it on a smooth
    curve, stays at a kink, and grows at a jump.  'near' is no fault: a smaller step agrees, or what
    disagrees is within the noise.
    """
    if any(s.error(tolerance) <= tolerance for s in slopes):
        return "near"
    first, last = slopes[0], slopes[-1]
    noise = 2 * first.noise / _HALVINGS[-1]
    if last.gap > 2 * first.gap + noise:
        return "jump"
    slack = 0.01 * first.gap + first.noise + tolerance * first.norm
    low, high = min(first.left, first.right) - slack, max(first.left, first.right) + slack
    curve = all(
        abs(s.gap - factor * first.gap) <= 0.1 * first.gap + noise
        for s, factor in zip(slopes, _HALVINGS)
    )
    if low <= first.analytic <= high and (not curve or first.gap <= 10 * noise):
        return "near" if curve else "kink"
    scatter = max(abs(s.numeric - first.numeric) for s in slopes)
    steady = scatter <= 0.1 * abs(first.numeric) + noise
    if not steady or not first.difference > 2 * scatter:
        return "unclear"
    return "wrong" if curve else "outside"


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
    checks.function(where, "forward", forward)
    if backward is not None:
        checks.function(where, "backward", backward)
    names = _argument_names(where, forward, 1 + len(weights), names)
    arrays = [_float_copy(where, name, array) for name, array in zip(names, (x, *weights))]
    eps = _eps(arrays)
    if h is not None:
        least = max(_least_step(array, eps) for array in arrays)
        h = checks.number(where, "h", h, least, low_open=True)
    if tolerance is None:
        tolerance = max(1e-8, 40 * eps ** (2 / 3))
    tolerance = checks.number(where, "tolerance", tolerance, 0, low_open=True)
    _warn_if_coarse(where, dict(zip(names, arrays)), h, tolerance)
    report = _report(
        _Calls(forward, backward, options if isinstance(options, (tuple, list)) else (options,)),
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
        f"{where}: {_counted(len(coarse), 'array')} ({', '.join(coarse)}) in {coarsest}: expect a"
        f" relative error of about {eps / step + step**2:.0e}, of which {eps / step:.0e} is"
        f" rounding (eps / h) and {step**2:.0e} truncation (h^2); errors in the gradient below"
        f" {tolerance:.0e} pass unseen.  Convert with .astype(np.float64) for a sharp check.",
        GradientPrecisionWarning,
        stacklevel=3,
    )


@dataclass(frozen=True)
class _Calls:
    """The two functions of a layer (backward is None for a loss), and their options."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    options: Sequence[Any]

    @property
    def title(self) -> str:
        """The names of the functions."""
        functions = (self.forward, self.backward) if self.backward else (self.forward,)
        return " and ".join(_name(function) for function in functions)

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, Any]:
        """Return the output and the cache (the gradients of a loss)."""
        name = _name(self.forward)
        expected = "(out, cache)" if self.backward else "(loss, gradient)"
        result = self.forward(*arrays, *copy.deepcopy(tuple(self.options)))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise _ContractError(f"{name} returned {_described(result)}; expected {expected}")
        out = np.asarray(result[0])
        if out.dtype.kind != "f":
            raise _ContractError(
                f"{name} returned an output of dtype {out.dtype}; expected a float"
            )
        if self.backward is None and out.ndim:
            raise _ContractError(f"{name} returned a loss of shape {out.shape}; expected a scalar")
        return out, result[1]

    def differentiate(self, dout: np.ndarray, cache: Any, arrays: dict[str, np.ndarray]) -> Any:
        """Return a gradient for each array, of its shape and dtype."""
        result = self.backward(dout, cache) if self.backward else cache
        found = list(result) if isinstance(result, (tuple, list)) else [result]
        name = _name(self.backward or self.forward)
        if len(found) != len(arrays):
            raise _ContractError(
                f"{name} returned {_counted(len(found), 'gradient')}; expected {len(arrays)},"
                f" for {', '.join(arrays)}"
            )
        problems = [
            problem
            for (argument, array), gradient in zip(arrays.items(), found)
            if (problem := _gradient_problem(array, gradient, f"the gradient of {argument}"))
        ]
        if problems:
            raise _ContractError(*(f"{name}: {problem}" for problem in problems))
        return [np.array(gradient) for gradient in found]


def _name(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of what else can be called."""
    return getattr(function, "__name__", type(function).__name__)


def _described(value: Any) -> str:
    """Say what kind of value was returned."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _counted(count: int, noun: str) -> str:
    """Return '1 gradient' or '2 gradients'."""
    return f"{count} {noun}" + "s" * (count != 1)


def _gradient_problem(array: np.ndarray, gradient: Any, what: str) -> str | None:
    """Say what is wrong with a gradient's form, or return None."""
    if gradient is None:
        return f"{what} is None"
    gradient = np.asarray(gradient)
    if gradient.shape != array.shape:
        return f"{what} has shape {gradient.shape}; expected {array.shape}"
    if gradient.dtype != array.dtype:
        return f"{what} has dtype {gradient.dtype}; expected {array.dtype}"
    return None if np.all(np.isfinite(gradient)) else f"{what} holds nan or infinity"


def _observe(
    calls: _Calls, arrays: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return out, dout and the gradients; raise _ContractError if the layer breaks its contract.

    The second backward call comes after forward calls with the same and with another input, so
    that a buffer shared between calls shows.
    """
    given = {name: array.copy(order="K") for name, array in arrays.items()}
    out, cache = calls.run(list(given.values()))
    first = out.copy()
    _unwritten(calls.forward, given, arrays)
    _usable(calls, out, arrays)
    dout = np.asarray(rng.standard_normal(out.shape) if calls.backward else 1.0, dtype=out.dtype)
    passed = dout.copy()
    gradients = calls.differentiate(passed, cache, given)
    again = calls.run(list(given.values()))[0].copy()
    calls.run([1.01 * array + 0.01 for array in arrays.values()])
    repeated = calls.differentiate(passed, cache, given)
    _unwritten(calls.backward or calls.forward, {**given, "dout": passed}, {**arrays, "dout": dout})
    _repeatable(calls, first, again, out)
    for name, one, other in zip(arrays, gradients, repeated):
        if _differ(one, other):
            raise _ContractError(
                f"{_name(calls.backward or calls.forward)} gives another gradient of {name} when it"
                f" is called again with the same cache, after other forward calls: does it write"
                f" to the cache, or do calls share a buffer?"
            )
    return first, dout, gradients


def _unwritten(
    function: Callable[..., Any], after: dict[str, np.ndarray], before: dict[str, np.ndarray]
) -> None:
    """Raise _ContractError if the function wrote to the arrays that it was given."""
    written = [name for name in before if not np.array_equal(before[name], after[name])]
    if written:
        raise _ContractError(
            f"{_name(function)} writes to {', '.join(written)}, which belong to the caller"
        )


def _usable(calls: _Calls, out: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    """Raise _ContractError if the output is not finite, or not of the arrays' dtype."""
    name = _name(calls.forward)
    if not np.all(np.isfinite(out)):
        raise _ContractError(f"{name} returned an output that holds nan or infinity")
    expected = np.result_type(*arrays.values())
    if calls.backward and out.dtype != expected:
        raise _ContractError(f"{name} returned an output of dtype {out.dtype}; expected {expected}")


def _repeatable(calls: _Calls, first: np.ndarray, again: np.ndarray, out: np.ndarray) -> None:
    """Raise _ContractError if forward gives another output again, or changes an earlier one."""
    name = _name(calls.forward)
    if _differ(first, again):
        raise _ContractError(
            f"{name} gives another output when it is called again with the same input; a gradient"
            f" check needs one function (for dropout, put a 'seed' into the options)"
        )
    if _differ(first, out):
        raise _ContractError(f"{name} overwrites the output of an earlier call")


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether arrays differ by more than the rounding of one sum in another order."""
    if one.shape != other.shape:
        return True
    largest = float(np.max(np.abs(one), initial=0.0))
    return bool(np.any(np.abs(one - other) > 64 * np.finfo(one.dtype).eps * largest))


def _report(
    calls: _Calls,
    arrays: dict[str, np.ndarray],
    h: float | None,
    tolerance: float,
    directions: int,
    rng: np.random.Generator,
) -> LayerReport:
    """Compare the gradients of all arrays and put what was found into words."""
    try:
        out, dout, gradients = _observe(calls, arrays, rng)
    except _ContractError as broken:
        return _summary(calls.title, [], {}, [], list(broken.problems), tolerance)
    layer = _layer(calls, list(arrays.values()), gradients, (out, dout), h, tolerance)
    lines, errors, entries, problems = [], {}, [], []
    for k, (name, array) in enumerate(arrays.items()):
        signs = [rng.choice([-1, 1], array.shape).astype(array.dtype) for _ in range(directions)]
        error, found = _check_argument(layer, k, name, signs)
        entries += found
        if not error <= tolerance and not any(_is_fault(entry) for entry in found):
            problems.append(_unexplained(name, error, found))
        allowed = max(tolerance, layer.resolution(k))
        errors[name] = error * allowed / tolerance
        hidden = ", for rounding hides less" if allowed > tolerance else ""
        lines.append(f"{name}: error {errors[name]:.1e} (at most {allowed:.0e}{hidden})")
    return _summary(calls.title, lines, errors, entries, problems, tolerance)


def _layer(
    calls: _Calls,
    arrays: list[np.ndarray],
    gradients: list[np.ndarray],
    out_and_dout: tuple[np.ndarray, np.ndarray],
    h: float | None,
    tolerance: float,
) -> _Layer:
    """Return the layer, ready to be compared with its gradients in float64."""
    out, dout = (array.astype(np.float64) for array in out_and_dout)
    gradients = [gradient.astype(np.float64) for gradient in gradients]
    size, eps = float(np.linalg.norm(out * dout)), _eps(arrays)
    return _Layer(
        evaluate=lambda changed: calls.run(changed)[0],
        arrays=arrays,
        gradients=gradients,
        out=out,
        dout=dout,
        steps=[_step(a, g, size, eps) if h is None else h for a, g in zip(arrays, gradients)],
        eps=eps,
        tolerance=tolerance,
    )


def _unexplained(name: str, error: float, entries: list[Entry]) -> str:
    """Say that an argument's gradient disagrees though no entry is to blame."""
    kinks = sum(entry.verdict == "kink" for entry in entries)
    if kinks:
        return (
            f"{name}: so many kinks ({kinks} before the search stopped) that the gradient can't be"
            f" judged; check at random values, without many zeros or ties"
        )
    return (
        f"{name}: the slopes along a random direction disagree by {error:.1e} but those at single"
        f" entries do not; is there a kink or a jump close by?  Try other values, or another h"
    )


def _summary(
    title: str,
    lines: list[str],
    errors: dict[str, float],
    entries: list[Entry],
    problems: list[str],
    tolerance: float,
) -> LayerReport:
    """Return the report with its message."""
    faults = [entry for entry in entries if _is_fault(entry)]
    kinks = tuple(entry for entry in entries if entry.verdict == "kink")
    worst = max(faults, key=lambda entry: entry.difference, default=None)
    ok = not problems and not faults
    head = f"{title}: {'the gradients agree' if ok else 'FAILED'}"
    lines = [head, *lines, *problems, *([str(worst)] if worst else [])]
    lines += [str(kink) for kink in kinks[:_SHOWN]]
    lines += [f"and {len(kinks) - _SHOWN} more kinks"] if len(kinks) > _SHOWN else []
    return LayerReport(
        ok, errors, worst, kinks, tuple(problems), tolerance, message="\n  ".join(lines)
    )
