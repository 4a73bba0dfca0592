"""The kernels of `cs231n.kernels.native` in NumPy, for machines without the compiled extension.

Those of the layers, by the same names, with the same arguments and results: C-contiguous arrays of
one dtype come in, results are written into arrays that the caller made, nothing is checked.  The
letters are those of `cs231n.layers`.

A convolution is a matrix product here (im2col): the windows of a few images are laid side by side,
in a buffer that stays in the processor's cache, and are multiplied by the filters straight into the
output.  The backward pass makes the columns again, for that is cheaper than keeping them
(Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks for Document
Processing, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cs231n import layers, modern_layers
from cs231n.core.window import Window

__all__ = [
    "activation_backward",
    "activation_forward",
    "add_scaled",
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_rest",
    "batchnorm_statistics",
    "batchnorm_sums",
    "conv_backward",
    "conv_forward",
    "few_affine_backward",
    "few_affine_forward",
    "few_relu_backward",
    "few_relu_forward",
    "groupnorm_backward",
    "groupnorm_forward",
    "matmul",
    "max_pool_backward",
    "max_pool_forward",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "sum_channels",
]

_CACHED = 1 << 21  # bytes of columns that are made at once
_BLOCK = 1 << 13  # units whose intermediate results stay in the cache
_ZERO = {dtype: np.zeros((), dtype) for dtype in map(np.dtype, ("float32", "float64"))}
_Index = tuple[Any, ...]


def conv_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    window: Window,
    relu: bool = False,
) -> None:
    """Write the output (N, F, OH, OW) of a convolution, with the relu applied if asked for."""
    filters, maps = _as_matrices(w, out)
    for group, cols in _columns(x, out, window):
        np.matmul(filters, cols, out=maps[group])
        maps[group] += b[:, None]
        if relu:
            np.maximum(maps[group], 0, out=maps[group])


def conv_backward(
    x: np.ndarray,
    w: np.ndarray,
    dout: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray,
    window: Window,
    relu: np.ndarray | None = None,
) -> None:
    """Write the gradients of the images and the filters, where asked for, and of the biases.

    Where a relu follows the convolution, its output is given, too.
    """
    if not len(x):
        for gradient in (dw, db):
            if gradient is not None:
                gradient[...] = 0
        return
    if relu is not None:
        dout = few_relu_backward(dout, relu)
    if dw is not None:
        _conv_dw(x, dout, dw, window)
    if dx is not None:
        _conv_dx(w, dout, dx, window)
    _, dmaps = _as_matrices(w, dout)
    db[...] = dmaps.sum(axis=2).sum(axis=0)  # the long contiguous axis first


def _conv_dw(x: np.ndarray, dout: np.ndarray, dw: np.ndarray, window: Window) -> None:
    """Write the gradient of the filters: ``dw = dout @ cols.T`` over all images."""
    dfilters, dmaps = _as_matrices(dw, dout)
    dfilters[...] = 0
    for group, cols in _columns(x, dout, window):
        dfilters += np.matmul(dmaps[group], cols.transpose(0, 2, 1)).sum(axis=0)


def _conv_dx(w: np.ndarray, dout: np.ndarray, dx: np.ndarray, window: Window) -> None:
    """Write the gradient of the images: ``dcols = w.T @ dout``, added back into each image."""
    filters, dmaps = _as_matrices(w, dout)
    images = _images_at_once(dx, dout, window)
    dcols = np.empty((images, filters.shape[1], dmaps.shape[2]), dx.dtype)
    windows = dcols.reshape(images, *w.shape[1:], *dout.shape[2:])
    dx[...] = 0
    for start in range(0, len(dx), images):
        group = slice(start, start + images)
        n = len(dx[group])
        np.matmul(filters.T, dmaps[group], out=dcols[:n])
        for column, pixel in _taps(dx, dout, window):
            dx[group][pixel] += windows[:n][column]


def _as_matrices(w: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return views (F, C * HH * WW) of filters and (N, F, OH * OW) of output maps."""
    N, F, OH, OW = out.shape
    return w.reshape(F, math.prod(w.shape[1:])), out.reshape(N, F, OH * OW)


def _images_at_once(x: np.ndarray, out: np.ndarray, window: Window) -> int:
    """Return the number of images, of those there are, whose columns fit the processor's cache."""
    column = x.shape[1] * window.HH * window.WW * out.shape[2] * out.shape[3]
    return max(min(_CACHED // max(column * x.itemsize, 1), len(x)), 1)


def _columns(x: np.ndarray, out: np.ndarray, window: Window) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield each group of images with its columns, in one buffer for all of them."""
    images, C = _images_at_once(x, out, window), x.shape[1]
    # What lies in the padding is zero in every group; the image itself is never padded, so that
    # the memory does not grow with pad.
    windows = np.zeros((images, C, window.HH, window.WW, *out.shape[2:]), x.dtype)
    cols = windows.reshape(images, C * window.HH * window.WW, out.shape[2] * out.shape[3])
    for start in range(0, len(x), images):
        group = slice(start, start + images)
        n = len(x[group])
        for column, pixel in _taps(x, out, window):
            windows[:n][column] = x[group][pixel]
        yield group, cols[:n]


def _taps(x: np.ndarray, out: np.ndarray, window: Window) -> Iterator[tuple[_Index, _Index]]:
    """Yield for each tap its index in windows (n, C, HH, WW, OH, OW), and that of its pixels in x.

    Windows whose tap lies outside of the image are left out.
    """
    axes = zip(x.shape[2:], out.shape[2:], (window.HH, window.WW))
    rows, columns = (
        [_inside(tap, *sizes[:2], window) for tap in range(sizes[2])] for sizes in axes
    )
    for hh, (OH, H) in enumerate(rows):
        for ww, (OW, W) in enumerate(columns):
            yield (..., hh, ww, OH, OW), (..., H, W)


def _inside(tap: int, size: int, positions: int, window: Window) -> tuple[slice, slice]:
    """Return the windows along an axis whose tap lies in the image, and the places of the tap."""
    start, stride = tap - window.pad, window.stride
    first = max(-(start // stride), 0)
    end = min(max(-((start - size) // stride), first), positions)
    if end <= first:
        return slice(0), slice(0)
    at = start + first * stride
    return slice(first, end), slice(at, at + (end - first - 1) * stride + 1, stride)


def max_pool_forward(x: np.ndarray, out: np.ndarray, argmax: np.ndarray, window: Window) -> None:
    """Write each window's largest pixel, and its offset from the window's first pixel.

    x (N, C, H, W), out and argmax (N, C, OH, OW).  The first of equal pixels counts, and a NaN
    counts as larger than any number.
    """
    if not x.size:
        return
    for index, (offset, rows, columns) in enumerate(_places(x, argmax, window)):
        value = x[..., rows, columns]
        if index == 0:
            out[...], argmax[...] = value, 0
            continue
        # "not <=" instead of ">", so that a NaN wins; the second factor keeps the first NaN.
        larger = ~(value <= out) & (out == out)
        np.copyto(out, value, where=larger)
        argmax[larger] = offset


def max_pool_backward(dout: np.ndarray, argmax: np.ndarray, dx: np.ndarray, window: Window) -> bool:
    """Write the gradient dx (N, C, H, W) of max pooling: dout goes to the places in argmax.

    Return whether each place is one of its window; if not, dx holds nothing of use.
    """
    dx[...] = 0
    if not dx.size:
        return True
    known = np.zeros(argmax.shape, bool)
    for offset, rows, columns in _places(dx, argmax, window):
        here = argmax == offset
        known |= here
        dx[..., rows, columns] += np.where(here, dout, 0)
    return bool(known.all())


def _places(
    x: np.ndarray, argmax: np.ndarray, window: Window
) -> Iterator[tuple[int, slice, slice]]:
    """Yield each place of the window: its offset in argmax, and its pixels in the images x.

    An offset counts pixels of the image's rows, or of the window's own rows where it must fit
    into a byte.
    """
    row = window.WW if argmax.dtype == np.uint8 else x.shape[3]
    for hh in range(window.HH):
        for ww in range(window.WW):
            yield hh * row + ww, *window.positions(hh, ww, *argmax.shape[2:])


def add_scaled(y: np.ndarray, a: float, x: np.ndarray) -> None:
    """Add a * x to y."""
    y += a * x


def relu_forward(x: np.ndarray, out: np.ndarray) -> None:
    """Write max(x, 0)."""
    np.maximum(x, 0, out=out)


def relu_backward(dout: np.ndarray, out: np.ndarray, dx: np.ndarray) -> None:
    """Write dout where out is positive, zero elsewhere."""
    dx[...] = 0
    np.copyto(dx, dout, where=out > 0)


def activation_forward(x: np.ndarray, out: np.ndarray, activation: str, slope: float = 0.0) -> None:
    """Write what units of an activation make of x (n,); the slope is that of a leaky relu."""
    forward, _, _, options = _unit(activation, slope)
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        out[block] = forward(x[block], *options)[0]


def activation_backward(
    dout: np.ndarray, x: np.ndarray, dx: np.ndarray, activation: str, slope: float = 0.0
) -> None:
    """Write dout times the slope of the activation at x (n,)."""
    _, backward, cache, options = _unit(activation, slope)
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        dx[block] = backward(dout[block], cache(x[block], *options))


# The reference's passes of each activation, which are as good in NumPy, what it keeps between them,
# and its options.
_UNITS: dict[str, tuple[Any, Any, Any, tuple[Any, ...]]] = {
    "relu": (layers.relu_forward, layers.relu_backward, lambda x: x, ()),
    "leaky_relu": (
        modern_layers.leaky_relu_forward,
        modern_layers.leaky_relu_backward,
        modern_layers.LeakyReluCache,
        (),
    ),
    "silu": (
        modern_layers.silu_forward,
        modern_layers.silu_backward,
        modern_layers.SiluCache,
        (),
    ),
    **{
        name: (
            modern_layers.gelu_forward,
            modern_layers.gelu_backward,
            modern_layers.GeluCache,
            (form,),
        )
        for name, form in (("gelu", "exact"), ("gelu_tanh", "tanh"))
    },
}


def _unit(activation: str, slope: float) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """Return the entry of an activation; the option of a leaky relu is its slope."""
    forward, backward, cache, options = _UNITS[activation]
    return forward, backward, cache, (slope,) if activation == "leaky_relu" else options


def batchnorm_forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    out: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
    activation: str = "",
    slope: float = 0.0,
    train: bool = True,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    momentum: float = 0.0,
) -> None:
    """Write the output of x (N, C, ...), normalised channel by channel.

    In train mode the mean and variance of the batch are written too, and the running ones follow
    them if they are given; else the mean and variance given are used.  The output passes the
    activation if there is one.
    """
    if not x.size:
        return
    x, out = _planes(x, out)
    if train:
        mean[...] = x.mean(axis=(0, 2), dtype=np.float64)
    np.subtract(x, mean[:, None], out=out)
    if train:
        var[...] = np.einsum("ncp,ncp->c", out, out) / (x.shape[0] * x.shape[2])
        for running, now in ((running_mean, mean), (running_var, var)):
            if running is not None:
                running[...] = momentum * running + (1 - momentum) * now
    out *= (gamma / np.sqrt(var + eps))[:, None]
    out += beta[:, None]
    if activation:
        activation_forward(out.reshape(-1), out.reshape(-1), activation, slope)


def batchnorm_backward(
    dout: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    eps: float,
    activation: str = "",
    slope: float = 0.0,
    train: bool = True,
) -> None:
    """Write the gradients of x (N, C, ...), gamma and beta.

    In train mode the mean and variance depend on x, else they are constants.
    """
    if not x.size:
        dgamma[...] = dbeta[...] = 0
        return
    dout, x, dx = _planes(dout, x, dx)
    centred, std = x - mean[:, None], np.sqrt(var + eps)
    dout = _through_units(dout, centred, gamma / std, beta, activation, slope)
    _write_sums(dout, centred, std, dgamma, dbeta)
    if train:
        _write_rest(dout, centred, gamma, std, dx, dgamma, dbeta, x.shape[0] * x.shape[2])
        # dx adds up to zero but for roundings, which a bias in front of the layer would gather
        dx -= dx.mean(axis=(0, 2))[:, None]
    else:
        np.multiply(dout, (gamma / std)[:, None], out=dx)


def batchnorm_statistics(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> None:
    """Write the mean and variance of each channel of x (N, C, ...)."""
    (x,) = _planes(x)
    mean[...] = x.mean(axis=(0, 2), dtype=np.float64)
    centred = x - mean[:, None]
    var[...] = np.einsum("ncp,ncp->c", centred, centred) / (x.shape[0] * x.shape[2])


def batchnorm_sums(
    dout: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    eps: float,
    activation: str = "",
    slope: float = 0.0,
) -> None:
    """Write the gradients of gamma and beta, as `batchnorm_backward` does."""
    dout, x = _planes(dout, x)
    centred, std = x - mean[:, None], np.sqrt(var + eps)
    dout = _through_units(dout, centred, gamma / std, beta, activation, slope)
    _write_sums(dout, centred, std, dgamma, dbeta)


def batchnorm_rest(
    dout: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    count: float,
    eps: float,
    activation: str = "",
    slope: float = 0.0,
) -> None:
    """Write the gradient of x, a part of a batch that has `count` numbers in each channel.

    mean, var, dgamma and dbeta are those of the whole batch.
    """
    dout, x, dx = _planes(dout, x, dx)
    centred, std = x - mean[:, None], np.sqrt(var + eps)
    dout = _through_units(dout, centred, gamma / std, beta, activation, slope)
    _write_rest(dout, centred, gamma, std, dx, dgamma, dbeta, count)


def _planes(*arrays: np.ndarray) -> list[np.ndarray]:
    """Return contiguous arrays (N, C, ...) as (N, C, pixels)."""
    return [array.reshape(*array.shape[:2], math.prod(array.shape[2:])) for array in arrays]


def _write_sums(
    dout: np.ndarray, centred: np.ndarray, std: np.ndarray, dgamma: np.ndarray, dbeta: np.ndarray
) -> None:
    """Write the gradients of scale and shift, given what is normalised without its mean."""
    dout.sum(axis=(0, 2), out=dbeta)
    dgamma[...] = np.einsum("ncp,ncp->c", dout, centred) / std


def _write_rest(
    dout: np.ndarray,
    centred: np.ndarray,
    gamma: np.ndarray,
    std: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    count: float,
) -> None:
    """Write dx where the mean and the variance depend on x."""
    np.subtract(dout, (dbeta / count)[:, None], out=dx)
    dx -= centred * (dgamma / (std * count))[:, None]
    dx *= (gamma / std)[:, None]


def _through_units(
    dout: np.ndarray,
    centred: np.ndarray,
    scale: np.ndarray,
    beta: np.ndarray,
    activation: str,
    slope: float,
) -> np.ndarray:
    """Return what comes back through the units behind batch norm."""
    if not activation:
        return dout
    # Of what the forward pass had: no unit may be on in one and off in the other.
    y, through = centred * scale[:, None] + beta[:, None], np.empty_like(dout)
    flat = dout.reshape(-1), y.reshape(-1), through.reshape(-1)
    activation_backward(*flat, activation, slope)
    return through


def groupnorm_forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    out: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
) -> None:
    """Write the output, mean and variance (N, G) of x (N, C, ...), normalised by groups."""
    x, out = _planes(x, out)
    groups = _groups(x, mean)
    mean[...] = groups.mean(axis=2, dtype=np.float64)
    centred = groups - mean[..., None]
    var[...] = np.einsum("ngk,ngk->ng", centred, centred) / groups.shape[2]
    centred /= np.sqrt(var + eps)[..., None]
    np.multiply(centred.reshape(x.shape), gamma[:, None], out=out)
    out += beta[:, None]


def groupnorm_backward(
    dout: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    eps: float,
) -> None:
    """Write the gradients of x (N, C, ...), gamma and beta."""
    dout, x, dx = _planes(dout, x, dx)
    std = np.sqrt(var + eps)[..., None]
    x_hat = (_groups(x, mean) - mean[..., None]) / std
    dout.sum(axis=(0, 2), out=dbeta)
    dgamma[...] = np.einsum("ncp,ncp->c", dout, x_hat.reshape(x.shape))
    g = (dout * gamma[:, None]).reshape(x_hat.shape)
    along = (g * x_hat).mean(axis=2, keepdims=True)
    dx[...] = ((g - g.mean(axis=2, keepdims=True) - x_hat * along) / std).reshape(x.shape)


def _groups(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the numbers (N, G, ...) of the groups of x (N, C, pixels), whose means are (N, G)."""
    G = mean.shape[1]
    return x.reshape(*mean.shape, x.shape[1] // G * x.shape[2])


def softmax_loss(
    x: np.ndarray, y: np.ndarray, losses: np.ndarray, dx: np.ndarray, label_smoothing: float = 0.0
) -> float:
    """Write the loss of each row of scores x (N, C), and the gradient dx of their mean.

    Returns the mean, 0 of no rows; the targets are smoothed labels if asked for.
    """
    if not len(x):
        return 0.0
    shifted = x - x.max(axis=1, keepdims=True)
    np.exp(shifted, out=dx)
    total = dx.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    losses[...] = np.log(total[:, 0]) - shifted[rows, y]
    dx /= total
    dx[rows, y] -= 1
    if label_smoothing:  # -mean(log p) = -log p[y] + mean(x[y] - x), infinite where p[y] is 0
        possible = np.isfinite(losses)
        behind = x[rows, y][possible, None] - x[possible]
        losses[possible] += label_smoothing * behind.mean(axis=1)
        dx -= label_smoothing / x.shape[1]
        dx[rows, y] += label_smoothing
    dx /= len(y)
    return float(losses.mean(dtype=np.float64))


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Write a @ b, plus bias to every row if there is one; a and b may be transposed views."""
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias


def sum_channels(a: np.ndarray, out: np.ndarray) -> None:
    """Write the sum of each channel of a (N, C, pixels)."""
    a.sum(axis=(0, 2), out=out)


# The formulas of the reference, for so few numbers that the way to a kernel and back takes longer,
# and for what here comes before or after a product;
# arrays of any strides and dtypes come in, results are returned.  Of the functions that give these,
# the shortest: `dot` has half the overhead of `@`.


def few_affine_forward(rows: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return rows @ w + b."""
    return rows.dot(w) + b


def few_affine_backward(
    dout: np.ndarray, rows: np.ndarray, w: np.ndarray, need_rows: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return the gradients of rows, or None, of w and of b."""
    drows = dout.dot(w.T) if need_rows else None
    return drows, rows.T.dot(dout), np.add.reduce(dout)


def few_relu_forward(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)."""
    return np.maximum(x, _ZERO[x.dtype])


def few_relu_backward(dout: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return dout where x is positive, zero elsewhere."""
    zero = _ZERO[x.dtype]
    return np.where(x > zero, dout, zero)
