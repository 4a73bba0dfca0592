"""The loops of `cs231n.im2col_cython` in NumPy, for machines without the compiled extension.

Same names, arguments and results: C-contiguous arrays of one dtype come in, nothing is checked.
C channels, H, W image, HH, WW window, OH, OW output map.
"""

from __future__ import annotations

import numpy as np

from cs231n.im2col import Window, add_windows

__all__ = ["add_scaled", "col2im", "im2col", "max_pool_backward", "max_pool_forward"]


def im2col(
    x: np.ndarray, cols: np.ndarray, HH: int, WW: int, stride: int, pad: int, OH: int, OW: int
) -> None:
    """Write the columns (C * HH * WW, OH * OW) of one image x (C, H, W)."""
    window = Window(HH, WW, stride, pad)
    windows = window.view(window.pad_image(x))  # (C, OH, OW, HH, WW)
    cols.reshape(len(x), HH, WW, OH, OW)[...] = windows.transpose(0, 3, 4, 1, 2)


def col2im(
    cols: np.ndarray, x: np.ndarray, HH: int, WW: int, stride: int, pad: int, OH: int, OW: int
) -> None:
    """Write the sums of the columns (C * HH * WW, OH * OW) over the pixels of x (C, H, W)."""
    window = Window(HH, WW, stride, pad)
    C, H, W = x.shape
    padded = np.zeros((C, H + 2 * pad, W + 2 * pad), x.dtype)
    add_windows(cols.reshape(C, HH, WW, OH, OW), padded, window)
    x[...] = window.crop(padded)


def max_pool_forward(
    x: np.ndarray, out: np.ndarray, argmax: np.ndarray, HH: int, WW: int, stride: int
) -> None:
    """Write each window's largest pixel, and its place hh * WW + ww in the window.

    x (planes, H, W), out and argmax (planes, OH, OW).  The first of equal pixels counts, and a
    NaN counts as larger than any number.
    """
    window = Window(HH, WW, stride)
    OH, OW = out.shape[1:]
    rows, columns = window.positions(0, 0, OH, OW)
    out[...] = x[:, rows, columns]
    argmax[...] = 0
    for place in range(1, HH * WW):
        rows, columns = window.positions(*divmod(place, WW), OH, OW)
        value = x[:, rows, columns]
        # "not <=" instead of ">", so that a NaN wins; the second factor keeps the first NaN.
        larger = ~(value <= out) & (out == out)
        np.copyto(out, value, where=larger)
        argmax[larger] = place


def max_pool_backward(
    dout: np.ndarray, argmax: np.ndarray, dx: np.ndarray, HH: int, WW: int, stride: int
) -> None:
    """Write the gradient dx (planes, H, W) of max pooling: dout goes to the places in argmax."""
    window = Window(HH, WW, stride)
    dx[...] = 0
    for place in range(HH * WW):
        rows, columns = window.positions(*divmod(place, WW), *dout.shape[1:])
        dx[:, rows, columns] += np.where(argmax == place, dout, 0)


def add_scaled(y: np.ndarray, a: float, x: np.ndarray) -> None:
    """Add a * x to y."""
    y += a * x
