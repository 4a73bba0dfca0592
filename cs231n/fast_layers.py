"""Convolution and pooling at speed: the same functions as in `cs231n.layers`, and the same results.

This module checks, allocates and dispatches; the arithmetic is in the kernels that
`cs231n.kernels.backend` chooses.  The letters of the shapes are explained in `cs231n.layers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.core.checks import keep_dtype
from cs231n.im2col import Window
from cs231n.kernels import numpy_kernels, workspace
from cs231n.kernels.backend import backend, kernels
from cs231n.kernels.threads import get_num_threads, set_num_threads

__all__ = [
    "affine_backward_fast",
    "affine_forward_fast",
    "backend",
    "batchnorm_backward_fast",
    "batchnorm_forward_fast",
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "conv_relu_backward_fast",
    "conv_relu_forward_fast",
    "get_num_threads",
    "layernorm_backward_fast",
    "layernorm_forward_fast",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
    "relu_backward_fast",
    "relu_forward_fast",
    "set_num_threads",
    "softmax_loss_fast",
    "spatial_batchnorm_backward_fast",
    "spatial_batchnorm_forward_fast",
    "spatial_batchnorm_relu_backward_fast",
    "spatial_batchnorm_relu_forward_fast",
    "spatial_groupnorm_backward_fast",
    "spatial_groupnorm_forward_fast",
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
    """
    return _conv_forward("conv_forward_fast", x, w, b, conv_param)


def _conv_forward(
    where: str,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    conv_param: Mapping[str, Any],
    relu: bool = False,
) -> tuple[np.ndarray, FastConvCache]:
    """Compute a convolution, with the relu applied if asked for."""
    x, w, b = checks.float_arrays(where, x=x, w=w, b=b)
    sizes = checks.shapes(where, x=(x, "N C H W"), w=(w, "F C HH WW"), b=(b, "F"))
    window = Window.for_conv(where, w, conv_param)
    OH, OW = window.output_size(where, sizes["H"], sizes["W"])
    dtype = np.result_type(x, w, b)
    out = workspace.empty((sizes["N"], sizes["F"], OH, OW), dtype)
    _kernels(x, w, out).conv_forward(*_contiguous(dtype, x, w, b), out, window, relu)
    return out, FastConvCache(x, w, b, window)


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
    """
    where = "conv_backward_fast"
    x, w, b, window = checks.cache(where, cache, FastConvCache)
    OH, OW = window.output_size(where, *x.shape[2:])
    dout = checks.upstream(where, dout, (len(x), len(w), OH, OW))
    dtype = np.result_type(x, w, b)

    images, filters, dout = _contiguous(dtype, x, w, dout)
    kernels = _kernels(x, w, dout)
    dw, db = workspace.empty(w.shape, dtype), np.empty(len(w), dtype)
    kernels.conv_dw(images, dout, dw, db, window)
    dx = None
    if need_dx:
        dx = workspace.empty(x.shape, dtype)
        kernels.conv_dx(filters, dout, dx, window)
        dx = keep_dtype(dx, x)
    return dx, keep_dtype(dw, w), keep_dtype(db, b)


class FastMaxPoolCache(NamedTuple):
    """argmax (N, C, OH, OW) offset in the window; shape and dtype of x; window."""

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
    out = workspace.empty((N * C, OH, OW), x.dtype)
    # Four places need no more than a byte, and a byte a window is less to write and to read.
    argmax = workspace.empty(out.shape, np.uint8 if window == (2, 2, 2, 0) else np.intc)
    _kernels(planes, out).max_pool_forward(planes, out, argmax, window)
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
    dx = workspace.empty((planes[0], *shape[2:]), dtype)
    _kernels(douts, dx).max_pool_backward(douts, argmax.reshape(planes), dx, window)
    return dx.reshape(shape)


class FastAffineCache(NamedTuple):
    """x (N, d1, ..., dk), w (D, M), b (M,)."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray


def affine_forward_fast(
    x: np.ndarray, w: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, FastAffineCache]:
    """Compute the forward pass of an affine layer, into memory that is used again.

    Parameters
    ----------
    x : ndarray of shape (N, d1, ..., dk)
        Input; each sample is flattened to a row of D numbers.
    w : ndarray of shape (D, M)
        Weights.
    b : ndarray of shape (M,)
        Biases.

    Returns
    -------
    out : ndarray of shape (N, M)
    cache : FastAffineCache
        What `affine_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together.
    """
    where = "affine_forward_fast"
    x, w, b = checks.float_arrays(where, x=x, w=w, b=b)
    checks.shapes(where, x=(x, "N ..."), w=(w, "D M"), b=(b, "M"))
    rows = checks.rows(where, x, w)
    dtype = np.result_type(x, w, b)
    out = workspace.empty((len(x), w.shape[1]), dtype)
    rows, weights, biases = _aligned(dtype, rows, w, b)
    _kernels(rows, out).product(rows, weights, out, np.ascontiguousarray(biases))
    return out, FastAffineCache(x, w, b)


def affine_backward_fast(
    dout: np.ndarray, cache: FastAffineCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through an affine layer, into memory that is used again.

    Parameters
    ----------
    dout : ndarray of shape (N, M)
        Upstream gradient.
    cache : FastAffineCache
        From `affine_forward_fast`.
    need_dx : bool
        Whether to compute dx; a network's first layer can do without.

    Returns
    -------
    dx : ndarray of shape (N, d1, ..., dk), or None if not needed
    dw : ndarray of shape (D, M)
    db : ndarray of shape (M,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "affine_backward_fast"
    x, w, b = checks.cache(where, cache, FastAffineCache)
    dout = checks.upstream(where, dout, (len(x), w.shape[1]))
    dtype = np.result_type(x, w, b)
    rows, weights, dout = _aligned(dtype, checks.rows(where, x, w), w, dout)
    product = _kernels(rows, dout).product
    dw = workspace.empty(w.shape, dtype)
    product(rows.T, dout, dw)
    dx = None
    if need_dx:
        drows = workspace.empty(rows.shape, dtype)
        product(dout, weights.T, drows)
        dx = keep_dtype(drows, x).reshape(x.shape)
    return dx, keep_dtype(dw, w), keep_dtype(dout.sum(axis=0), b)


class FastReluCache(NamedTuple):
    """out, the output, of any shape: positive where the input was."""

    out: np.ndarray


def relu_forward_fast(x: np.ndarray) -> tuple[np.ndarray, FastReluCache]:
    """Compute the forward pass of rectified linear units, fast.

    Parameters
    ----------
    x : ndarray of any shape
        Input.

    Returns
    -------
    out : ndarray of the same shape
        ``max(x, 0)``.
    cache : FastReluCache
        What `relu_backward_fast` needs.

    Raises
    ------
    TypeError
        If x is not float32, float64 or integer.
    """
    (x,) = checks.float_arrays("relu_forward_fast", x=x)
    (x,) = _contiguous(x.dtype, x)
    out = workspace.empty(x.shape, x.dtype)
    _kernels(out).relu_forward(x.reshape(-1), out.reshape(-1))
    return out, FastReluCache(out)


def relu_backward_fast(dout: np.ndarray, cache: FastReluCache) -> np.ndarray:
    """Back-propagate through rectified linear units, fast.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : FastReluCache
        From `relu_forward_fast`.

    Returns
    -------
    dx : ndarray of the same shape

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    (out,) = checks.cache("relu_backward_fast", cache, FastReluCache)
    dout = checks.upstream("relu_backward_fast", dout, out.shape)
    return _relu_gradient(dout, out)


def _relu_gradient(dout: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return dout where the output of the units is positive, zero elsewhere."""
    (dout,) = _contiguous(out.dtype, dout)
    dx = workspace.empty(out.shape, out.dtype)
    _kernels(dx).relu_backward(dout.reshape(-1), out.reshape(-1), dx.reshape(-1))
    return dx


class FastConvReluCache(NamedTuple):
    """conv, the convolution's cache; out (N, F, OH, OW), the output."""

    conv: FastConvCache
    out: np.ndarray


def conv_relu_forward_fast(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, conv_param: Mapping[str, Any]
) -> tuple[np.ndarray, FastConvReluCache]:
    """Compute a convolution whose results pass rectified linear units before they are stored.

    Parameters
    ----------
    x, w, b, conv_param
        As for `conv_forward_fast`.

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW)
    cache : FastConvReluCache
        What `conv_relu_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `conv_forward_fast` does.
    """
    out, cache = _conv_forward("conv_relu_forward_fast", x, w, b, conv_param, relu=True)
    return out, FastConvReluCache(cache, out)


def conv_relu_backward_fast(
    dout: np.ndarray, cache: FastConvReluCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through a convolution followed by rectified linear units.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
        Upstream gradient.
    cache : FastConvReluCache
        From `conv_relu_forward_fast`.
    need_dx : bool
        Whether to compute dx; a network's first layer can do without.

    Returns
    -------
    dx, dw, db
        As from `conv_backward_fast`.

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "conv_relu_backward_fast"
    conv, out = checks.cache(where, cache, FastConvReluCache)
    dout = checks.upstream(where, dout, out.shape)
    return conv_backward_fast(_relu_gradient(dout, out), conv, need_dx)


class FastNormCache(NamedTuple):
    """Layer's name, train mode, x as (N, C, pixels), shape and dtype of x, gamma, beta, statistics.

    Mean and variance are those of channels, or of the groups of each image; outside train mode
    they are the running ones.  The last entry is the output of the relu, where one was applied.
    """

    layer: str
    train: bool
    x: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    eps: float
    relu_out: np.ndarray | None = None


def batchnorm_forward_fast(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, FastNormCache]:
    """Compute the forward pass of batch normalisation, fast.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Input.
    gamma, beta : ndarray of shape (D,)
        Scale and shift.
    bn_param : dict
        As for `cs231n.layers.batchnorm_forward`; the running statistics are kept in it.

    Returns
    -------
    out : ndarray of shape (N, D)
    cache : FastNormCache
        What `batchnorm_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `cs231n.layers.batchnorm_forward` does.
    """
    where = "batchnorm_forward_fast"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N D"), gamma=(gamma, "D"), beta=(beta, "D"))
    return _batch_norm(where, x, gamma, beta, bn_param)


def spatial_batchnorm_forward_fast(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, FastNormCache]:
    """Compute the forward pass of spatial batch normalisation, fast.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Input.
    gamma, beta : ndarray of shape (C,)
        Scale and shift.
    bn_param : dict
        As for `cs231n.layers.batchnorm_forward`; the running statistics are kept in it.

    Returns
    -------
    out : ndarray of shape (N, C, H, W)
    cache : FastNormCache
        What `spatial_batchnorm_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `cs231n.layers.spatial_batchnorm_forward` does.
    """
    where = "spatial_batchnorm_forward_fast"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N C H W"), gamma=(gamma, "C"), beta=(beta, "C"))
    return _batch_norm(where, x, gamma, beta, bn_param)


def spatial_batchnorm_relu_forward_fast(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, FastNormCache]:
    """Normalise images, and apply rectified linear units before the results are stored.

    Parameters
    ----------
    x, gamma, beta, bn_param
        As for `spatial_batchnorm_forward_fast`.

    Returns
    -------
    out : ndarray of shape (N, C, H, W)
    cache : FastNormCache
        What `spatial_batchnorm_relu_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `spatial_batchnorm_forward_fast` does.
    """
    where = "spatial_batchnorm_relu_forward_fast"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N C H W"), gamma=(gamma, "C"), beta=(beta, "C"))
    return _batch_norm(where, x, gamma, beta, bn_param, relu=True)


def _batch_norm(
    where: str,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    bn_param: MutableMapping[str, Any],
    relu: bool = False,
) -> tuple[np.ndarray, FastNormCache]:
    """Normalise each channel of checked x (N, C, ...) over all samples and pixels.

    The relu is applied to the output if asked for.
    """
    mode, eps, momentum, running_mean, running_var = checks.bn_options(where, bn_param, x)
    dtype, train = np.result_type(x, gamma, beta), mode == "train"
    planes, scale, shift = _contiguous(dtype, _planes(x), gamma, beta)
    out = workspace.empty(planes.shape, dtype)
    if train:
        mean, var = np.empty_like(scale), np.empty_like(scale)
        if out.size:
            kernels().batch_norm_forward(planes, scale, shift, out, mean, var, eps, relu)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    else:
        mean, var = _contiguous(dtype, running_mean, running_var)
        scale = scale / np.sqrt(var + eps)
        np.multiply(planes, scale[:, None], out=out)
        out += (shift - mean * scale)[:, None]
        if relu:
            np.maximum(out, 0, out=out)
    layer, relu_out = where.removesuffix("_forward_fast"), out if relu else None
    statistics = mean, var, eps
    cache = FastNormCache(
        layer, train, planes, x.shape, x.dtype, gamma, beta, *statistics, relu_out
    )
    return out.reshape(x.shape), cache


def batchnorm_backward_fast(
    dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through batch normalisation, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, D)
        Upstream gradient.
    cache : FastNormCache
        From `batchnorm_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, D)
    dgamma, dbeta : ndarray of shape (D,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    return _norm_backward("batchnorm", dout, cache)


def spatial_batchnorm_backward_fast(
    dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through spatial batch normalisation, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : FastNormCache
        From `spatial_batchnorm_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    return _norm_backward("spatial_batchnorm", dout, cache)


def spatial_batchnorm_relu_backward_fast(
    dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through spatial batch normalisation followed by rectified linear units.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : FastNormCache
        From `spatial_batchnorm_relu_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    return _norm_backward("spatial_batchnorm_relu", dout, cache)


def layernorm_forward_fast(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, ln_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, FastNormCache]:
    """Compute the forward pass of layer normalisation, fast.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Input.
    gamma, beta : ndarray of shape (D,)
        Scale and shift.
    ln_param : dict
        'eps' : added to the variance, default 1e-5.

    Returns
    -------
    out : ndarray of shape (N, D)
    cache : FastNormCache
        What `layernorm_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `cs231n.layers.layernorm_forward` does.
    """
    where = "layernorm_forward_fast"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N D"), gamma=(gamma, "D"), beta=(beta, "D"))
    checks.groups(where, x, 1)
    eps = checks.eps(where, checks.options(where, "ln_param", ln_param))
    return _group_norm("layernorm", x, gamma, beta, 1, eps)


def layernorm_backward_fast(
    dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through layer normalisation, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, D)
        Upstream gradient.
    cache : FastNormCache
        From `layernorm_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, D)
    dgamma, dbeta : ndarray of shape (D,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    return _norm_backward("layernorm", dout, cache)


def spatial_groupnorm_forward_fast(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, G: int, gn_param: Mapping[str, Any]
) -> tuple[np.ndarray, FastNormCache]:
    """Compute the forward pass of spatial group normalisation, fast.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Input.
    gamma, beta : ndarray of shape (1, C, 1, 1)
        Scale and shift.
    G : int
        Number of groups of channels, a divisor of C.
    gn_param : dict
        'eps' : added to the variance, default 1e-5.

    Returns
    -------
    out : ndarray of shape (N, C, H, W)
    cache : FastNormCache
        What `spatial_groupnorm_backward_fast` needs.

    Raises
    ------
    ValueError, TypeError
        As `cs231n.layers.spatial_groupnorm_forward` does.
    """
    where = "spatial_groupnorm_forward_fast"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N C H W"), gamma=(gamma, "1 C 1 1"), beta=(beta, "1 C 1 1"))
    G = checks.groups(where, x, G)
    eps = checks.eps(where, checks.options(where, "gn_param", gn_param))
    return _group_norm("spatial_groupnorm", x, gamma, beta, G, eps)


def spatial_groupnorm_backward_fast(
    dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through spatial group normalisation, fast.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : FastNormCache
        From `spatial_groupnorm_forward_fast`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dgamma, dbeta : ndarray of shape (1, C, 1, 1)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    return _norm_backward("spatial_groupnorm", dout, cache)


def _group_norm(
    layer: str, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, G: int, eps: float
) -> tuple[np.ndarray, FastNormCache]:
    """Normalise each of G groups of channels of each image of checked x (N, C, ...)."""
    dtype = np.result_type(x, gamma, beta)
    planes, scale, shift = _contiguous(dtype, _planes(x), gamma.reshape(-1), beta.reshape(-1))
    out = workspace.empty(planes.shape, dtype)
    mean, var = np.empty(len(x) * G, dtype), np.empty(len(x) * G, dtype)
    if out.size:
        kernels().group_norm_forward(planes, scale, shift, out, mean, var, eps)
    cache = FastNormCache(layer, True, planes, x.shape, x.dtype, gamma, beta, mean, var, eps)
    return out.reshape(x.shape), cache


def _norm_backward(
    layer: str, dout: np.ndarray, cache: FastNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx, dgamma and dbeta of any of the normalisations."""
    where = f"{layer}_backward_fast"
    checks.cache(where, cache, FastNormCache)
    if cache.layer != layer:
        raise TypeError(f"{where}: cache is from {cache.layer}_forward_fast; expected {layer}'s")
    dout = checks.upstream(where, dout, cache.shape)
    x, mean, var, relu = cache.x, cache.mean, cache.var, cache.relu_out is not None
    planes, scale, shift = _contiguous(
        x.dtype, dout.reshape(x.shape), cache.gamma.reshape(-1), cache.beta.reshape(-1)
    )
    dx = workspace.empty(x.shape, x.dtype)
    dgamma, dbeta = np.zeros_like(scale), np.zeros_like(scale)
    if cache.train and dx.size:
        results = mean, var, dx, dgamma, dbeta, cache.eps
        if layer in ("layernorm", "spatial_groupnorm"):
            kernels().group_norm_backward(planes, x, scale, *results)
        else:
            kernels().batch_norm_backward(planes, x, scale, shift, *results, relu)
    elif not cache.train:
        if cache.relu_out is not None:
            planes = _relu_gradient(planes, cache.relu_out)
        std = np.sqrt(var + cache.eps)
        np.multiply(planes, (scale / std)[:, None], out=dx)
        dgamma = np.einsum("ncp,ncp->c", planes, x - mean[:, None]) / std
        dbeta = planes.sum(axis=(0, 2))
    dgamma, dbeta = (d.reshape(cache.gamma.shape) for d in (dgamma, dbeta))
    dx = dx.astype(cache.dtype, copy=False).reshape(cache.shape)
    return dx, keep_dtype(dgamma, cache.gamma), keep_dtype(dbeta, cache.beta)


def _planes(x: np.ndarray) -> np.ndarray:
    """Return x (N, C, ...) as (N, C, pixels)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def softmax_loss_fast(
    x: np.ndarray, y: np.ndarray, label_smoothing: float = 0.0
) -> tuple[float, np.ndarray]:
    """Compute the loss and gradient of softmax classification, fast.

    Parameters
    ----------
    x : ndarray of shape (N, C)
        Scores of the C classes.
    y : ndarray of shape (N,)
        Labels, integers in [0, C).
    label_smoothing : float
        Part of the target, in [0, 1], that is shared by all classes alike.

    Returns
    -------
    loss : float
        Mean over the batch of the cross-entropy; 0 for no samples.
    dx : ndarray of shape (N, C)

    Raises
    ------
    ValueError, TypeError
        As `cs231n.layers.softmax_loss` does.
    """
    where = "softmax_loss_fast"
    s = checks.number(where, "label_smoothing", label_smoothing, 0, 1)
    (x,) = checks.float_arrays(where, x=x)
    N, C = checks.shapes(where, x=(x, "N C")).values()
    y = checks.labels(where, y, N, C)
    if N == 0:
        return 0.0, np.zeros_like(x)
    (scores,), (y,) = _contiguous(x.dtype, x), _contiguous(np.dtype(np.int64), y)
    losses, dx = np.empty(N, x.dtype), np.empty(x.shape, x.dtype)
    kernels().softmax_loss(scores, y, losses, dx)
    if s:
        _smooth_labels(scores, y, s, losses, dx)
    return float(losses.sum(dtype=np.float64) / N), dx


def _smooth_labels(
    scores: np.ndarray, y: np.ndarray, s: float, losses: np.ndarray, dx: np.ndarray
) -> None:
    """Turn losses and gradient of the labels into those of targets smoothed by s.

    ``-mean(log p) = -log p[y] + mean(x[y] - x)``, so the kernel's losses need no other logarithm.
    """
    N, C = scores.shape
    correct = np.arange(N), y
    losses += s * (scores[correct][:, None] - scores).mean(axis=1)
    dx -= s / (C * N)
    dx[correct] += s / N


def _kernels(*arrays: np.ndarray) -> ModuleType:
    """Return the kernels in use; NumPy's for empty arrays, which have no first element to name."""
    return kernels() if all(array.size for array in arrays) else numpy_kernels


def _aligned(dtype: np.dtype, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the arrays, of any strides, aligned and in one dtype; copied only if they are not."""
    return [np.require(array, dtype, ["A"]) for array in arrays]


def _contiguous(dtype: np.dtype, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the arrays in C order, aligned and in one dtype, copied only where they are not."""
    return [np.require(array, dtype, ["C", "A"]) for array in arrays]


# Tutorials call the layers by the names of the course's several implementations of them.
conv_forward_im2col = conv_forward_strides = conv_forward_fast
conv_backward_im2col = conv_backward_strides = conv_backward_fast
max_pool_forward_reshape = max_pool_forward_im2col = max_pool_forward_fast
max_pool_backward_reshape = max_pool_backward_im2col = max_pool_backward_fast
