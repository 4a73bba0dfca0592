"""The kernels of `cs231n.kernels.native` in NumPy, for machines without the compiled extension.

Same names, arguments and results: C-contiguous arrays of one dtype come in, results are written
into arrays that the caller made, nothing is checked.  The letters are those of `cs231n.layers`.

A convolution is a matrix product here (im2col): the windows of a few images are laid side by side,
in a buffer that stays in the processor's cache, and are multiplied by the filters straight into the
output.  The backward pass makes the columns again, for that is cheaper than keeping them
(Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks for Document
Processing, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cs231n.im2col import Window, add_windows

__all__ = [
    "add_scaled",
    "batch_norm_backward",
    "batch_norm_forward",
    "conv_dw",
    "conv_dx",
    "conv_forward",
    "group_norm_backward",
    "group_norm_forward",
    "max_pool_backward",
    "max_pool_forward",
    "product",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
]

_CACHED = 1 << 21  # bytes of columns that are made at once


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


def conv_dw(
    x: np.ndarray, dout: np.ndarray, dw: np.ndarray, db: np.ndarray, window: Window
) -> None:
    """Write the gradients of the filters and biases: ``dw = dout @ cols.T`` over all images."""
    dfilters, dmaps = _as_matrices(dw, dout)
    dfilters[...] = 0
    for group, cols in _columns(x, dout, window):
        dfilters += np.matmul(dmaps[group], cols.transpose(0, 2, 1)).sum(axis=0)
    db[...] = dmaps.sum(axis=2).sum(axis=0)  # the long contiguous axis first


def conv_dx(w: np.ndarray, dout: np.ndarray, dx: np.ndarray, window: Window) -> None:
    """Write the gradient of the images: ``dcols = w.T @ dout``, added back into each image."""
    filters, dmaps = _as_matrices(w, dout)
    (C, H, W), (OH, OW) = dx.shape[1:], dout.shape[2:]
    images = _images_at_once(dx, dout, window)
    dcols = np.empty((images, filters.shape[1], OH * OW), dx.dtype)
    padded = np.empty((images, C, H + 2 * window.pad, W + 2 * window.pad), dx.dtype)
    for start in range(0, len(dx), images):
        group = slice(start, start + images)
        n = len(dx[group])
        np.matmul(filters.T, dmaps[group], out=dcols[:n])
        padded[...] = 0
        windows = dcols[:n].reshape(n, C, window.HH, window.WW, OH, OW)
        add_windows(windows, padded[:n], window)
        dx[group] = window.crop(padded[:n])


def _as_matrices(w: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return views (F, C * HH * WW) of filters and (N, F, OH * OW) of output maps."""
    N, F, OH, OW = out.shape
    return w.reshape(F, w[:1].size), out.reshape(N, F, OH * OW)


def _images_at_once(x: np.ndarray, out: np.ndarray, window: Window) -> int:
    """Return the number of images whose columns together stay in the processor's cache."""
    column = x.shape[1] * window.HH * window.WW * out.shape[2] * out.shape[3]
    return max(_CACHED // max(column * x.itemsize, 1), 1)


def _columns(x: np.ndarray, out: np.ndarray, window: Window) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield each group of images with its columns, in one buffer for all of them."""
    C, H, W = x.shape[1:]
    images = _images_at_once(x, out, window)
    padded = np.zeros((images, C, H + 2 * window.pad, W + 2 * window.pad), x.dtype)
    windows = window.view(padded).transpose(0, 1, 4, 5, 2, 3)  # (images, C, HH, WW, OH, OW)
    cols = np.empty(windows.shape, x.dtype)
    rows = C * window.HH * window.WW
    for start in range(0, len(x), images):
        group = slice(start, start + images)
        n = len(x[group])
        window.crop(padded)[:n] = x[group]
        cols[:n] = windows[:n]
        yield group, cols[:n].reshape(n, rows, out.shape[2] * out.shape[3])


def max_pool_forward(x: np.ndarray, out: np.ndarray, argmax: np.ndarray, window: Window) -> None:
    """Write each window's largest pixel, and its offset from the window's first pixel.

    x (planes, H, W), out and argmax (planes, OH, OW).  The first of equal pixels counts, and a
    NaN counts as larger than any number.
    """
    for index, (offset, rows, columns) in enumerate(_places(x, argmax, window)):
        value = x[:, rows, columns]
        if index == 0:
            out[...], argmax[...] = value, 0
            continue
        # "not <=" instead of ">", so that a NaN wins; the second factor keeps the first NaN.
        larger = ~(value <= out) & (out == out)
        np.copyto(out, value, where=larger)
        argmax[larger] = offset


def max_pool_backward(dout: np.ndarray, argmax: np.ndarray, dx: np.ndarray, window: Window) -> None:
    """Write the gradient dx (planes, H, W) of max pooling: dout goes to the places in argmax."""
    dx[...] = 0
    for offset, rows, columns in _places(dx, argmax, window):
        dx[:, rows, columns] += np.where(argmax == offset, dout, 0)


def _places(
    x: np.ndarray, argmax: np.ndarray, window: Window
) -> Iterator[tuple[int, slice, slice]]:
    """Yield each place of the window: its offset in argmax, and its pixels in the planes x.

    An offset counts pixels of the image's rows, or of the window's own rows where it must fit
    into a byte.
    """
    row = window.WW if argmax.dtype == np.uint8 else x.shape[2]
    for hh in range(window.HH):
        for ww in range(window.WW):
            yield hh * row + ww, *window.positions(hh, ww, *argmax.shape[1:])


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


def batch_norm_forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    out: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
    relu: bool = False,
) -> None:
    """Write the output, mean and variance of x (N, C, pixels), normalised channel by channel.

    The relu is applied to the output if asked for.
    """
    mean[...] = x.mean(axis=(0, 2), dtype=np.float64)
    np.subtract(x, mean[:, None], out=out)
    var[...] = np.einsum("ncp,ncp->c", out, out) / (x.size / len(var))
    out *= (gamma / np.sqrt(var + eps))[:, None]
    out += beta[:, None]
    if relu:
        np.maximum(out, 0, out=out)


def batch_norm_backward(
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
    relu: bool = False,
) -> None:
    """Write the gradients of x (N, C, pixels), gamma and beta."""
    std, count = np.sqrt(var + eps), x.size / len(var)
    x_hat = x - mean[:, None]
    if relu:  # computed as in the forward pass: no unit may be on in one and off in the other
        dout = np.where(x_hat * (gamma / std)[:, None] + beta[:, None] > 0, dout, 0)
    x_hat /= std[:, None]
    dout.sum(axis=(0, 2), out=dbeta)
    dgamma[...] = np.einsum("ncp,ncp->c", dout, x_hat)
    np.subtract(dout, (dbeta / count)[:, None], out=dx)
    dx -= x_hat * (dgamma / count)[:, None]
    dx *= (gamma / std)[:, None]


def group_norm_forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    out: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
) -> None:
    """Write the output, mean and variance (N * G,) of x (N, C, pixels), normalised by groups."""
    rows = x.reshape(len(mean), -1)
    mean[...] = rows.mean(axis=1, dtype=np.float64)
    centred = rows - mean[:, None]
    var[...] = np.einsum("rk,rk->r", centred, centred) / rows.shape[1]
    centred /= np.sqrt(var + eps)[:, None]
    np.multiply(centred.reshape(x.shape), gamma[:, None], out=out)
    out += beta[:, None]


def group_norm_backward(
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
    """Write the gradients of x (N, C, pixels), gamma and beta."""
    std = np.sqrt(var + eps)[:, None]
    x_hat = (x.reshape(len(mean), -1) - mean[:, None]) / std
    dout.sum(axis=(0, 2), out=dbeta)
    dgamma[...] = np.einsum("ncp,ncp->c", dout, x_hat.reshape(x.shape))
    g = (dout * gamma[:, None]).reshape(x_hat.shape)
    along = (g * x_hat).mean(axis=1, keepdims=True)
    rows = (g - g.mean(axis=1, keepdims=True) - x_hat * along) / std
    dx[...] = rows.reshape(x.shape)


def softmax_loss(x: np.ndarray, y: np.ndarray, losses: np.ndarray, dx: np.ndarray) -> None:
    """Write the loss of each row of scores x (N, C), and the gradient dx of their mean."""
    shifted = x - x.max(axis=1, keepdims=True)
    np.exp(shifted, out=dx)
    total = dx.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    losses[...] = np.log(total[:, 0]) - shifted[rows, y]
    dx /= total
    dx[rows, y] -= 1
    dx /= len(y)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Write a @ b, plus bias to every row if there is one; a and b may be transposed views."""
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
