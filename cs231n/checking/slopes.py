"""Slopes of a layer's output along directions, and the steps and the noise of measuring them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["Layer", "Slopes", "least_step", "spacing", "usual_step"]

_STEPS = (1.0, 1 / 8, 8.0, 1 / 64)  # multiples of h to try


class Slopes(NamedTuple):
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
class Layer:
    """A layer that keeps its contract, at one point."""

    evaluate: Callable[[Sequence[np.ndarray]], np.ndarray]
    arrays: list[np.ndarray]
    gradients: list[np.ndarray]
    out: np.ndarray
    dout: np.ndarray
    steps: list[float]
    eps: float
    tolerance: float

    def slopes(self, k: int, direction: np.ndarray, factor: float = 1.0) -> Slopes:
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
        return Slopes(
            analytic=float(np.sum(gradient * moved)),
            left=float(np.sum(left * self.dout)) / h,
            right=float(np.sum(right * self.dout)) / h,
            norm=float(np.linalg.norm(gradient)),
            noise=self.noise(k, gradient, touched),
        )

    def noise(self, k: int, gradient: np.ndarray, touched: np.ndarray | bool) -> float:
        """Return what rounding, of the output, of argument k or of its gradient, does to a slope.

        A gradient may be a sum that cancels, such as a bias in front of batch normalisation.
        """
        size = np.linalg.norm(self.out * self.dout * touched)
        size += np.linalg.norm(gradient * self.arrays[k])
        size += self.eps ** (1 / 3) * np.linalg.norm(self.out * self.dout)
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
            if self.steps[k] * factor < least_step(self.arrays[k], self.eps):
                continue
            least = min(least, self.slopes(k, direction, factor).error(self.tolerance))
            if least <= self.tolerance:
                break
        return least


def spacing(arrays: Sequence[np.ndarray]) -> float:
    """Return the spacing of numbers at 1 in the coarsest dtype among the arrays, and float64."""
    return max([float(np.finfo(np.float64).eps), *(float(np.finfo(a.dtype).eps) for a in arrays)])


def least_step(array: np.ndarray, eps: float) -> float:
    """Return the smallest step that survives the rounding of the array's values."""
    return 16 * eps * float(np.max(np.abs(array), initial=0.0))


def usual_step(array: np.ndarray, gradient: np.ndarray, size: float, eps: float) -> float:
    """Return a step at which truncation and rounding are about equal.

    They are (h / scale)**2 and eps * scale / h.  The scale is the distance over which the output
    changes by its own size, as far as one step of the gradient tells, but not beyond the spread of
    the array or 1 (to which softmax, tanh and the like bend), whichever is larger.
    """
    spread = float(np.std(array, dtype=np.float64)) if array.size else 0.0
    spread = spread or float(np.max(np.abs(array), initial=0.0)) or 1.0
    norm = float(np.linalg.norm(gradient))
    scale = max(size / norm if norm else np.inf, 1e-3 * spread)
    return max(eps ** (1 / 3) * min(scale, max(spread, 1.0)), least_step(array, eps))
