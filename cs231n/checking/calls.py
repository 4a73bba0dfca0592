"""Calls of a layer's two functions, and what their contract says about what they return."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Calls", "ContractError", "counted", "observe"]


class ContractError(Exception):
    """The layer breaks its contract, so that there is nothing to compare."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True)
class Calls:
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
            raise ContractError(f"{name} returned {_described(result)}; expected {expected}")
        out = np.asarray(result[0])
        if out.dtype.kind != "f":
            raise ContractError(f"{name} returned an output of dtype {out.dtype}; expected a float")
        if self.backward is None and out.ndim:
            raise ContractError(f"{name} returned a loss of shape {out.shape}; expected a scalar")
        return out, result[1]

    def differentiate(self, dout: np.ndarray, cache: Any, arrays: dict[str, np.ndarray]) -> Any:
        """Return a gradient for each array, of its shape and dtype."""
        result = self.backward(dout, cache) if self.backward else cache
        found = list(result) if isinstance(result, (tuple, list)) else [result]
        name = _name(self.backward or self.forward)
        if len(found) != len(arrays):
            raise ContractError(
                f"{name} returned {counted(len(found), 'gradient')}; expected {len(arrays)},"
                f" for {', '.join(arrays)}"
            )
        problems = [
            problem
            for (argument, array), gradient in zip(arrays.items(), found)
            if (problem := _gradient_problem(array, gradient, f"the gradient of {argument}"))
        ]
        if problems:
            raise ContractError(*(f"{name}: {problem}" for problem in problems))
        return [np.array(gradient) for gradient in found]


def _name(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of what else can be called."""
    return getattr(function, "__name__", type(function).__name__)


def _described(value: Any) -> str:
    """Say what kind of value was returned."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def counted(count: int, noun: str) -> str:
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


def observe(
    calls: Calls, arrays: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return out, dout and the gradients; raise ContractError if the layer breaks its contract.

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
            raise ContractError(
                f"{_name(calls.backward or calls.forward)} gives another gradient of {name} when it"
                f" is called again with the same cache, after other forward calls: does it write"
                f" to the cache, or do calls share a buffer?"
            )
    return first, dout, gradients


def _unwritten(
    function: Callable[..., Any], after: dict[str, np.ndarray], before: dict[str, np.ndarray]
) -> None:
    """Raise ContractError if the function wrote to the arrays that it was given."""
    written = [name for name in before if not np.array_equal(before[name], after[name])]
    if written:
        raise ContractError(
            f"{_name(function)} writes to {', '.join(written)}, which belong to the caller"
        )


def _usable(calls: Calls, out: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    """Raise ContractError if the output is not finite, or not of the arrays' dtype."""
    name = _name(calls.forward)
    if not np.all(np.isfinite(out)):
        raise ContractError(f"{name} returned an output that holds nan or infinity")
    expected = np.result_type(*arrays.values())
    if calls.backward and out.dtype != expected:
        raise ContractError(f"{name} returned an output of dtype {out.dtype}; expected {expected}")


def _repeatable(calls: Calls, first: np.ndarray, again: np.ndarray, out: np.ndarray) -> None:
    """Raise ContractError if forward gives another output again, or changes an earlier one."""
    name = _name(calls.forward)
    if _differ(first, again):
        raise ContractError(
            f"{name} gives another output when it is called again with the same input; a gradient"
            f" check needs one function (for dropout, put a 'seed' into the options)"
        )
    if _differ(first, out):
        raise ContractError(f"{name} overwrites the output of an earlier call")


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether arrays differ by more than the rounding of one sum in another order."""
    if one.shape != other.shape:
        return True
    largest = float(np.max(np.abs(one), initial=0.0))
    return bool(np.any(np.abs(one - other) > 64 * np.finfo(one.dtype).eps * largest))
