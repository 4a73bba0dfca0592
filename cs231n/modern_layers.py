"""Reference layers that the course does not have: younger activations, and parts of residual nets.

This file is written to be read as `cs231n.layers` is, whose form, letters and errors are theirs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.core.contract import backward, forward

__all__ = [
    "gelu_backward",
    "gelu_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "scale_backward",
    "scale_forward",
    "shortcut_backward",
    "shortcut_forward",
    "silu_backward",
    "silu_forward",
]

Array = np.ndarray


class LeakyReluCache(NamedTuple):
    """x of any shape, slope."""

    x: Array
    slope: float


@forward(x="...")
def leaky_relu_forward(x: Array, slope: float = 0.01) -> tuple[Array, LeakyReluCache]:
    """Compute the forward pass of leaky rectified linear units.

    Parameters
    ----------
    x : ndarray of any shape
        Input.
    slope : float
        Slope where the input is not positive; a unit that is off still learns.

    Returns
    -------
    out : ndarray of the same shape
        x where it is positive, ``slope * x`` elsewhere.
    cache : LeakyReluCache
        What the backward pass needs.

    References
    ----------
    Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013.
    """
    slope = checks.number("", "slope", slope)
    return np.where(x > 0, x, slope * x), LeakyReluCache(x, slope)


@backward(LeakyReluCache, x="...")
def leaky_relu_backward(dout: Array, cache: LeakyReluCache) -> Array:
    """Back-propagate through leaky rectified linear units.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : LeakyReluCache
        From `leaky_relu_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        dout where the input was positive, ``slope * dout`` elsewhere (at zero, too).
    """
    x, slope = cache
    return np.where(x > 0, dout, checks.number("", "slope", slope) * dout)


class SiluCache(NamedTuple):
    """x of any shape."""

    x: Array


@forward(x="...")
def silu_forward(x: Array) -> tuple[Array, SiluCache]:
    """Compute the forward pass of sigmoid linear units (SiLU, swish), ``x * sigmoid(x)``.

    Parameters
    ----------
    x : ndarray of any shape
        Input.

    Returns
    -------
    out : ndarray of the same shape
    cache : SiluCache
        What the backward pass needs.

    References
    ----------
    Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning, Neural Networks 107, 2018.

    Ramachandran, Zoph and Le, Searching for Activation Functions, 2017 (arXiv:1710.05941).
    """
    return x * _sigmoid(x), SiluCache(x)


@backward(SiluCache, x="...")
def silu_backward(dout: Array, cache: SiluCache) -> Array:
    """Back-propagate through sigmoid linear units.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : SiluCache
        From `silu_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        With ``s = sigmoid(x)`` and ``ds/dx = s * (1 - s)``: ``dout * (s + x * s * (1 - s))``.
    """
    s = _sigmoid(cache.x)
    return dout * (s + cache.x * s * (1 - s))


class GeluCache(NamedTuple):
    """x of any shape, form."""

    x: Array
    form: str


@forward(x="...")
def gelu_forward(x: Array, form: str = "exact") -> tuple[Array, GeluCache]:
    """Compute the forward pass of Gaussian error linear units.

    Parameters
    ----------
    x : ndarray of any shape
        Input.
    form : {'exact', 'tanh'}
        'tanh' is an older, cheaper approximation, which differs by less than 5e-4.

    Returns
    -------
    out : ndarray of the same shape
    cache : GeluCache
        What the backward pass needs.

    Notes
    -----
    The exact form is ``x * P(x)``, where ``P(x) = (1 + erf(x / sqrt(2))) / 2`` is the probability
    that a normally distributed number is below x.  The tanh form puts
    ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) / 2`` in place of P.

    References
    ----------
    Hendrycks and Gimpel, Gaussian Error Linear Units (GELUs), 2016 (arXiv:1606.08415).
    """
    if checks.choice("", "form", form, ("exact", "tanh")) == "exact":
        P = (1 + _erf(x / math.sqrt(2))) / 2
    else:
        P = (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return checks.keep_dtype(x * P, x), GeluCache(x, form)


@backward(GeluCache, x="...")
def gelu_backward(dout: Array, cache: GeluCache) -> Array:
    """Back-propagate through Gaussian error linear units.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : GeluCache
        From `gelu_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        ``dout * (P(x) + x * dP/dx)``; in the exact form dP/dx is the density of the normal
        distribution, ``exp(-x ** 2 / 2) / sqrt(2 * pi)``.
    """
    x, form = cache
    if checks.choice("", "form", form, ("exact", "tanh")) == "exact":
        P = (1 + _erf(x / math.sqrt(2))) / 2
        dP = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    else:
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        P = (1 + t) / 2
        dP = (1 - t**2) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return dout * (P + x * dP)


def _sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), by the exponential of no positive number: none overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _erf(z: Array) -> Array:
    """Return the error function in float64, to an absolute error below 2e-15.

    The series ``2 / sqrt(pi) * exp(-z**2) * sum of 2**n * z**(2n + 1) / (1 * 3 * ... * (2n + 1))``
    (Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 7.1.6) has terms of one sign
    only: nothing cancels, in contrast to the Taylor series.
    """
    sign, z = np.sign(z), np.clip(z.astype(np.float64), -6, 6)
    square = z * z
    term = total = z
    # Each term is the one before times 2 * square / (2n + 1), so the last ones are below 1e-17.
    for n in range(1, 25 + int(4 * np.fmax.reduce(square, axis=None, initial=0))):
        term = term * (2 * square / (2 * n + 1))
        total = total + term
    erf = 2 / math.sqrt(math.pi) * np.exp(-square) * total
    return np.where(square < 36, erf, sign)  # beyond 6, float64 has no number between erf and 1


class ShortcutCache(NamedTuple):
    """out_shape (N, C, H, W), shape of the shortcut, dtype of x, dtype of the shortcut, stride."""

    out_shape: tuple[int, int, int, int]
    shape: tuple[int, int, int, int]
    x_dtype: Any
    dtype: Any
    stride: int


@forward(x="N C H W", shortcut="N K I J")
def shortcut_forward(x: Array, shortcut: Array, stride: int = 1) -> tuple[Array, ShortcutCache]:
    """Compute the sum at the end of a residual block: x, and what came into the block.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        What the layers of the block have made.
    shortcut : ndarray of shape (N, K, I, J)
        What came into the block, with K <= C channels.
    stride : int
        Of the block as a whole: every so many-th pixel of the shortcut is taken, and these must be
        H x W.

    Returns
    -------
    out : ndarray of shape (N, C, H, W)
        x, to whose first K channels the shortcut is added.
    cache : ShortcutCache
        What the backward pass needs.

    Notes
    -----
    A block that halves the image and has more filters than its input has channels thus needs no
    parameters for its shortcut (option A of the paper): the channels that are not there are zeros.

    References
    ----------
    He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
    """
    stride = checks.shortcut(x, shortcut, stride)
    taken = shortcut[:, :, ::stride, ::stride]  # (N, K, H, W)
    out = x.astype(np.result_type(x, shortcut))
    out[:, : taken.shape[1]] += taken
    return out, ShortcutCache(x.shape, shortcut.shape, x.dtype, shortcut.dtype, stride)


@backward(ShortcutCache)
def shortcut_backward(dout: Array, cache: ShortcutCache) -> tuple[Array, Array]:
    """Back-propagate through the sum at the end of a residual block.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : ShortcutCache
        From `shortcut_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
        dout: a sum hands its gradient to both.
    dshortcut : ndarray of shape (N, K, I, J)
        dout where a pixel was taken, zero elsewhere.
    """
    _, shape, x_dtype, dtype, stride = cache
    dshortcut = np.zeros(shape, dtype)
    dshortcut[:, :, ::stride, ::stride] = dout[:, : shape[1]]
    return dout.astype(x_dtype), dshortcut


class ScaleCache(NamedTuple):
    """x of any shape, factor."""

    x: Array
    factor: float


@forward(x="...")
def scale_forward(x: Array, factor: float) -> tuple[Array, ScaleCache]:
    """Compute the forward pass of a layer that multiplies by a fixed factor.

    Parameters
    ----------
    x : ndarray of any shape
        Input.
    factor : float
        Behind the scores a factor below 1 makes the first predictions less certain, whatever the
        initial weights are.

    Returns
    -------
    out : ndarray of the same shape
        ``factor * x``.
    cache : ScaleCache
        What the backward pass needs.
    """
    factor = checks.number("", "factor", factor)
    return factor * x, ScaleCache(x, factor)


@backward(ScaleCache, x="...")
def scale_backward(dout: Array, cache: ScaleCache) -> Array:
    """Back-propagate through the multiplication by a fixed factor.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : ScaleCache
        From `scale_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        ``factor * dout``.
    """
    return checks.number("", "factor", cache.factor) * dout
