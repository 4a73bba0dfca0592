"""Convolution and pooling at speed: the same functions as in `cs231n.layers`, and the same results.

This module checks, allocates and dispatches; the loops are in the kernels that `cs231n.backend`
chooses.  A convolution lays the windows of one image side by side in a buffer that serves all
images and so stays in the processor's cache (im2col), and multiplies it by the filters straight
into the output; the columns are made again in the backward pass, for that is cheaper than keeping
them.  The letters of the shapes are explained in `cs231n.layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n import checks
from cs231n.backend import backend, kernels
from cs231n.checks import keep_dtype
from cs231n.im2col import Window

__all__ = [
    "backend",
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
]


class FastConvCache(NamedTuple):
    """x (N, C, H, W), w (F, C, HH, WW), b (F,), window (HH, WW, stride, pad)."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    window: Window


def conv_forward_fast(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, conv_param: Mapping[str, Any]
) -> tuple[np.ndarray, FastConvCache]:
    """Compute the forward pass of a convolutional layer, fast.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    w : ndarray of shape (F, C, HH, WW)
        Filters.
    b : ndarray of shape (F,)
        Biases.
    conv_param : dict
        'stride' and 'pad', as for `cs231n.layers.conv_forward_naive`.

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW)
        ``OH = floor((H + 2 * pad - HH) / stride) + 1``, OW likewise.
    cache : FastConvCache
        What `conv_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, the filter does not fit into the padded image, or an
        option is missing or wrong.

    References
    ----------
    Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks for Document
    Processing, 2006 (the passage to a matrix product).
    """
    where = "conv_forward_fast"
    x, w, b = checks.float_arrays(where, x=x, w=w, b=b)
    sizes = checks.shapes(where, x=(x, "N C H W"), w=(w, "F C HH WW"), b=(b, "F"))
    window = Window.for_conv(where, w, conv_param)
    OH, OW = window.output_size(where, sizes["H"], sizes["W"])
    N, F, dtype = sizes["N"], sizes["F"], np.result_type(x, w, b)

    images, filters, bias = _contiguous(dtype, x, w.reshape(F, w[:1].size), b[:, None])
    cols = np.empty((filters.shape[1], OH * OW), dtype)
    out = np.empty((N, F, OH * OW), dtype)
    im2col = kernels().im2col
    for n in range(N):
        im2col(images[n], cols, *window, OH, OW)
        np.matmul(filters, cols, out=out[n])
        out[n] += bias
    return out.reshape(N, F, OH, OW), FastConvCache(x, w, b, window)


def conv_backward_fast(
    dout: np.ndarray, cache: FastConvCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through a convolutional layer, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
        Upstream gradient.
    cache : FastConvCache
        From `conv_forward_fast`.
    need_dx : bool
        Whether to compute dx; a network's first layer can do without.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W), or None if not needed
    dw : ndarray of shape (F, C, HH, WW)
    db : ndarray of shape (F,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.

    Notes
    -----
    From ``out = w @ cols``: ``dw = dout @ cols.T`` and ``dcols = w.T @ dout``, which col2im adds
    back into the image.
    """
    where = "conv_backward_fast"
    x, w, b, window = checks.cache(where, cache, FastConvCache)
    (N, C, H, W), F = x.shape, len(w)
    OH, OW = window.output_size(where, H, W)
    dout = checks.upstream(where, dout, (N, F, OH, OW))
    dtype = np.result_type(x, w, b)

    images, filters, douts = _contiguous(
        dtype, x, w.reshape(F, w[:1].size), dout.reshape(N, F, OH * OW)
    )
    cols = np.empty((filters.shape[1], OH * OW), dtype)
    dw = np.zeros(filters.shape, dtype)
    dx = np.empty((N, C, H, W), dtype) if need_dx else None
    im2col, col2im = kernels().im2col, kernels().col2im
    for n in range(N):
        im2col(images[n], cols, *window, OH, OW)
        dw += douts[n] @ cols.T
        if dx is not None:
            np.matmul(filters.T, douts[n], out=cols)
            col2im(cols, dx[n], *window, OH, OW)
    db = douts.sum(axis=2).sum(axis=0)  # (F,), the long contiguous axis first
    dx = None if dx is None else keep_dtype(dx, x)
    return dx, keep_dtype(dw, w).reshape(w.shape), keep_dtype(db, b)


class FastMaxPoolCache(NamedTuple):
    """argmax (N, C, OH, OW) place in the window, shape (N, C, H, W) and dtype of x, window."""

    argmax: np.ndarray
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    window: Window


def max_pool_forward_fast(
    x: np.ndarray, pool_param: Mapping[str, Any]
) -> tuple[np.ndarray, FastMaxPoolCache]:
    """Compute the forward pass of a max pooling layer, fast.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    pool_param : dict
        'pool_height', 'pool_width' and 'stride', as for `cs231n.layers.max_pool_forward_naive`.

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW)
        The largest pixel of each window; ``OH = floor((H - HH) / stride) + 1``, OW likewise.
    cache : FastMaxPoolCache
        What `max_pool_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        If x does not have four axes, the window does not fit, or an option is missing or wrong.
    """
    where = "max_pool_forward_fast"
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    window = Window.for_pool(where, pool_param)
    OH, OW = window.output_size(where, H, W)

    (planes,) = _contiguous(x.dtype, x.reshape(N * C, H, W))
    out = np.empty((N * C, OH, OW), x.dtype)
    argmax = np.empty(out.shape, np.intc)
    kernels().max_pool_forward(planes, out, argmax, window.HH, window.WW, window.stride)
    cache = FastMaxPoolCache(argmax.reshape(N, C, OH, OW), x.shape, x.dtype, window)
    return out.reshape(N, C, OH, OW), cache


def max_pool_backward_fast(dout: np.ndarray, cache: FastMaxPoolCache) -> np.ndarray:
    """Back-propagate through a max pooling layer, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, C, OH, OW)
        Upstream gradient.
    cache : FastMaxPoolCache
        From `max_pool_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
        The gradient goes to the largest pixel of each window, to the first one of a tie.

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "max_pool_backward_fast"
    argmax, shape, dtype, window = checks.cache(where, cache, FastMaxPoolCache)
    dout = checks.upstream(where, dout, argmax.shape)
    planes = (shape[0] * shape[1], *argmax.shape[2:])

    (douts,) = _contiguous(dtype, dout.reshape(planes))
    dx = np.empty((planes[0], *shape[2:]), dtype)
    kernels().max_pool_backward(
        douts, argmax.reshape(planes), dx, window.HH, window.WW, window.stride
    )
    return dx.reshape(shape)


def _contiguous(dtype: np.dtype, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the arrays in C order and in one dtype, copied only where they are not."""
    return [np.ascontiguousarray(array, dtype) for array in arrays]


# Tutorials call the layers by the names of the course's several implementations of them.
conv_forward_im2col = conv_forward_strides = conv_forward_fast
conv_backward_im2col = conv_backward_strides = conv_backward_fast
max_pool_forward_reshape = max_pool_forward_im2col = max_pool_forward_fast
max_pool_backward_reshape = max_pool_backward_im2col = max_pool_backward_fast
