"""How far two arrays differ: what all gradient checks report."""

from __future__ import annotations

from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["rel_error"]


def rel_error(x: Any, y: Any) -> float:
    """Return the largest relative difference of two arrays.

    Parameters
    ----------
    x, y : array_like of the same shape, or one of them a scalar
        What to compare.

    Returns
    -------
    error : float
        ``max(|x - y| / max(1e-8, |x| + |y|))``; 0 for empty arrays, nan if a nan is among them.

    Raises
    ------
    ValueError, TypeError
        If the shapes differ and neither is a scalar, or what is compared are no real numbers.

    Examples
    --------
    >>> rel_error([1.0, 2.0], [1.0, 2.0])
    0.0
    """
    x, y = (
        checks.real_array("rel_error", name, value).astype(np.float64, copy=False)
        for name, value in (("x", x), ("y", y))
    )
    checks.same_shape("rel_error", "x", x, "y", y)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities give nan, which says enough
        error = np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))
    return float(np.max(error, initial=0.0))
