"""Layers at speed: the same functions as in `cs231n.layers` and `cs231n.modern_layers`.

The results are the same, too.  This module allocates and dispatches; arrays are checked by
`cs231n.core.contract`, the arithmetic is in the kernels that `cs231n.kernels.backend` chooses.  The
letters of the shapes, and what is raised when, are explained in `cs231n.layers`.  A cache may keep
more than the entries that it unpacks to, but a backward pass needs those only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from cs231n.core import checks
from cs231n.core.contract import backward, forward
from cs231n.core.window import Window
from cs231n.kernels import numpy_kernels, workspace
from cs231n.kernels.backend import backend, kernels_for
from cs231n.kernels.threads import get_num_threads, set_num_threads
from cs231n.layers import (
    AffineCache,
    Array,
    ConvCache,
    Gradients,
    GradientsOrNone,
    MaxPoolCache,
    Options,
)
from cs231n.modern_layers import GeluCache, LeakyReluCache, SiluCache

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
    "gelu_backward_fast",
    "gelu_forward_fast",
    "get_num_threads",
    "layernorm_backward_fast",
    "layernorm_forward_fast",
    "leaky_relu_backward_fast",
    "leaky_relu_forward_fast",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
    "relu_backward_fast",
    "relu_forward_fast",
    "set_num_threads",
    "silu_backward_fast",
    "silu_forward_fast",
    "softmax_loss_fast",
    "spatial_batchnorm_backward_fast",
    "spatial_batchnorm_forward_fast",
    "spatial_batchnorm_gelu_backward_fast",
    "spatial_batchnorm_gelu_forward_fast",
    "spatial_batchnorm_leaky_relu_backward_fast",
    "spatial_batchnorm_leaky_relu_forward_fast",
    "spatial_batchnorm_relu_backward_fast",
    "spatial_batchnorm_relu_forward_fast",
    "spatial_batchnorm_silu_backward_fast",
    "spatial_batchnorm_silu_forward_fast",
    "spatial_groupnorm_backward_fast",
    "spatial_groupnorm_forward_fast",
]


ConvGradients = tuple[Array | None, Array | None, Array]

_BYTE, _INT = np.dtype(np.uint8), np.dtype(np.intc)
# Of about so many numbers the way to a kernel and back takes as long as NumPy takes for the
# reference's formula, where that is a few of its functions; the factors beside it are measured.
_FEW = 4096


class FastConvCache(ConvCache):
    """x (N, C, H, W), w (F, C, HH, WW), b (F,), conv_param."""


@forward(x="N C H W", w="F C HH WW", b="F")
def conv_forward_fast(
    x: Array, w: Array, b: Array, conv_param: Options
) -> tuple[Array, FastConvCache]:
    """Compute the forward pass of a convolution; see `cs231n.layers.conv_forward_naive`.

    x (N, C, H, W), w (F, C, HH, WW), b (F,) -> out (N, F, OH, OW), cache
    """
    return _conv_forward(x, w, b, conv_param)


def _conv_forward(
    x: Array, w: Array, b: Array, conv_param: Options, relu: bool = False
) -> tuple[Array, FastConvCache]:
    """Compute a convolution, with the relu applied if asked for."""
    window, dtype = Window.for_conv(w, conv_param), _common(x, w, b)
    out = workspace.empty((len(x), len(w), *window.over(x)), dtype)
    kernels_for(x, w).conv_forward(*_contiguous(dtype, x, w, b), out, window, relu)
    return out, FastConvCache(x, w, b, dict(conv_param))


@backward(FastConvCache, x="N C H W", w="F C HH WW", b="F")
def conv_backward_fast(
    dout: Array, cache: FastConvCache, need_dx: bool = True, need_dw: bool = True
) -> ConvGradients:
    """Back-propagate through a convolution; see `cs231n.layers.conv_backward_naive`.

    dout (N, F, OH, OW) -> dx (N, C, H, W) or None, dw (F, C, HH, WW) or None, db (F,)
    """
    return _conv_backward(dout, cache, need_dx, need_dw)


def _conv_backward(
    dout: Array, cache: FastConvCache, need_dx: bool, need_dw: bool, relu: Array | None = None
) -> ConvGradients:
    """Return the gradients of a convolution, behind which may be a relu with this output."""
    x, w, b, conv_param = cache
    window, dtype = Window.for_conv(w, conv_param), _common(x, w, b)
    if relu is None:
        images, filters, dout = _contiguous(dtype, x, w, dout)
    else:
        checks.exact_shape("", "relu", relu, (len(x), len(w), *window.over(x)))
        images, filters, dout, relu = _contiguous(dtype, x, w, dout, relu)
    dx = workspace.empty(x.shape, dtype) if need_dx else None
    dw = workspace.empty(w.shape, dtype) if need_dw else None
    db = np.empty(len(w), dtype)
    kernels_for(x, w).conv_backward(images, filters, dout, dx, dw, db, window, relu)
    return dx, dw, db


class FastMaxPoolCache(MaxPoolCache):
    """x (N, C, H, W), pool_param.

    The forward pass leaves the places of the largest pixels in `argmax`, of which the two entries
    know nothing: a cache that was made from these has none, and the places are found again.
    """

    argmax: Array | None = None


@forward(x="N C H W")
def max_pool_forward_fast(x: Array, pool_param: Options) -> tuple[Array, FastMaxPoolCache]:
    """Compute the forward pass of max pooling; see `cs231n.layers.max_pool_forward_naive`.

    x (N, C, H, W) -> out (N, C, OH, OW), cache
    """
    out, argmax = _max_pool(x, Window.for_pool(pool_param))
    cache = FastMaxPoolCache(x, dict(pool_param))
    cache.argmax = argmax
    return out, cache


def _max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    """Return the largest pixel of each window of x (N, C, H, W), and its place."""
    (x,), shape = _contiguous(x.dtype, x), (*x.shape[:2], *window.over(x))
    out, argmax = workspace.empty(shape, x.dtype), workspace.empty(shape, _place_dtype(window))
    kernels_for(x).max_pool_forward(x, out, argmax, window)
    return out, argmax


def _place_dtype(window: Window) -> np.dtype[Any]:
    """Return the dtype of places: four need no more than a byte, and a byte is less to move."""
    return _BYTE if window == (2, 2, 2, 0) else _INT


@backward(FastMaxPoolCache, x="N C H W")
def max_pool_backward_fast(dout: Array, cache: FastMaxPoolCache) -> Array:
    """Back-propagate through max pooling; see `cs231n.layers.max_pool_backward_naive`.

    dout (N, C, OH, OW) -> dx (N, C, H, W)
    """
    x, window, places = cache.x, Window.for_pool(cache.pool_param), cache.argmax
    (dout,), dx = _contiguous(x.dtype, dout), workspace.empty(x.shape, x.dtype)
    unpool = kernels_for(x).max_pool_backward
    # A kernel refuses places that are outside of their windows, for anybody may have written them.
    if not (_may_be_places(places, dout, window) and unpool(dout, places, dx, window)):
        unpool(dout, _max_pool(x, window)[1], dx, window)
    return dx


def _may_be_places(found: Any, dout: Array, window: Window) -> TypeGuard[Array]:
    """Tell whether what a cache carries has the form of the places of the largest pixels."""
    return (
        type(found) is np.ndarray
        and found.dtype is _place_dtype(window)
        and found.shape == dout.shape
        and found.flags.c_contiguous
        and found.flags.aligned
    )


class FastAffineCache(AffineCache):
    """x (N, d1, ..., dk), w (D, M), b (M,)."""


@forward(x="N D...", w="D M", b="M")
def affine_forward_fast(x: Array, w: Array, b: Array) -> tuple[Array, FastAffineCache]:
    """Compute the forward pass of an affine layer; see `cs231n.layers.affine_forward`.

    x (N, d1, ..., dk), w (D, M), b (M,) -> out (N, M), cache
    """
    rows = x.reshape(len(x), len(w))
    if x.size * w.shape[1] < 4 * _FEW:
        return numpy_kernels.few_affine_forward(rows, w, b), FastAffineCache(x, w, b)
    dtype = _common(x, w, b)
    out = workspace.empty((len(x), w.shape[1]), dtype)
    rows, weights = _aligned(dtype, rows, w)
    kernels_for(rows, out).matmul(rows, weights, out, *_contiguous(dtype, b))
    return out, FastAffineCache(x, w, b)


@backward(FastAffineCache, x="N D...", w="D M", b="M")
def affine_backward_fast(
    dout: Array, cache: FastAffineCache, need_dx: bool = True
) -> GradientsOrNone:
    """Back-propagate through an affine layer; see `cs231n.layers.affine_backward`.

    dout (N, M) -> dx (N, d1, ..., dk) or None, dw (D, M), db (M,)
    """
    x, w, b = cache
    rows = x.reshape(len(x), len(w))
    if x.size * w.shape[1] < 4 * _FEW:
        drows, dw, db = numpy_kernels.few_affine_backward(dout, rows, w, need_dx)
        return None if drows is None else drows.reshape(x.shape), dw, db
    dtype = _common(x, w, b)
    rows, weights, dout = _aligned(dtype, rows, w, dout)
    kernels = kernels_for(rows, dout)
    dw = workspace.empty(w.shape, dtype)
    kernels.matmul(rows.T, dout, dw)
    dx = None
    if need_dx:
        drows = workspace.empty(rows.shape, dtype)
        kernels.matmul(dout, weights.T, drows)
        dx = drows.reshape(x.shape)
    db = np.empty(b.shape, dtype)
    kernels.sum_channels(*_contiguous(dtype, dout.reshape(*dout.shape, 1)), db)
    return dx, dw, db


@forward(x="...")
def relu_forward_fast(x: Array) -> tuple[Array, Array]:
    """Compute the forward pass of rectified linear units; see `cs231n.layers.relu_forward`.

    x of any shape -> out of the same shape, cache, which is x itself
    """
    if 2 * x.size < 3 * _FEW:
        return numpy_kernels.few_relu_forward(x), x
    (flat,) = _contiguous(x.dtype, x)
    out = workspace.empty(x.shape, x.dtype)
    kernels_for(out).relu_forward(flat.reshape(-1), out.reshape(-1))
    return out, x


@backward(np.ndarray)
def relu_backward_fast(dout: Array, cache: Array) -> Array:
    """Back-propagate through rectified linear units; see `cs231n.layers.relu_backward`.

    dout of any shape -> dx of the same shape
    """
    if 3 * cache.size < _FEW:
        return numpy_kernels.few_relu_backward(dout, cache)
    x, dout = _contiguous(cache.dtype, cache, dout)
    dx = workspace.empty(x.shape, x.dtype)
    kernels_for(dx).relu_backward(dout.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


class FastLeakyReluCache(LeakyReluCache):
    """x of any shape, slope."""


@forward(x="...")
def leaky_relu_forward_fast(x: Array, slope: float = 0.01) -> tuple[Array, FastLeakyReluCache]:
    """Compute the forward pass of leaky units; see `cs231n.modern_layers.leaky_relu_forward`.

    x of any shape -> out of the same shape, cache
    """
    slope = checks.number("", "slope", slope)
    return _activated(x, "leaky_relu", slope), FastLeakyReluCache(x, slope)


@backward(FastLeakyReluCache, x="...")
def leaky_relu_backward_fast(dout: Array, cache: FastLeakyReluCache) -> Array:
    """Back-propagate through leaky units; see `cs231n.modern_layers.leaky_relu_backward`.

    dout of any shape -> dx of the same shape
    """
    x, slope = cache.x, checks.number("", "slope", cache.slope)
    return _through(dout, x, "leaky_relu", slope)


class FastSiluCache(SiluCache):
    """x of any shape."""


@forward(x="...")
def silu_forward_fast(x: Array) -> tuple[Array, FastSiluCache]:
    """Compute the forward pass of sigmoid linear units; see `cs231n.modern_layers.silu_forward`.

    x of any shape -> out of the same shape, cache
    """
    return _activated(x, "silu"), FastSiluCache(x)


@backward(FastSiluCache, x="...")
def silu_backward_fast(dout: Array, cache: FastSiluCache) -> Array:
    """Back-propagate through sigmoid linear units; see `cs231n.modern_layers.silu_backward`.

    dout of any shape -> dx of the same shape
    """
    return _through(dout, cache.x, "silu")


class FastGeluCache(GeluCache):
    """x of any shape, form."""


@forward(x="...")
def gelu_forward_fast(x: Array, form: str = "exact") -> tuple[Array, FastGeluCache]:
    """Compute the forward pass of Gaussian error units; see `cs231n.modern_layers.gelu_forward`.

    x of any shape -> out of the same shape, cache
    """
    return _activated(x, gelu_kernel(form)), FastGeluCache(x, form)


@backward(FastGeluCache, x="...")
def gelu_backward_fast(dout: Array, cache: FastGeluCache) -> Array:
    """Back-propagate through Gaussian error units; see `cs231n.modern_layers.gelu_backward`.

    dout of any shape -> dx of the same shape
    """
    return _through(dout, cache.x, gelu_kernel(cache.form))


def gelu_kernel(form: str, where: str = "") -> str:
    """Return what the kernels call a form of gelu; an error of `where` if there is none such."""
    return {"exact": "gelu", "tanh": "gelu_tanh"}[
        checks.choice(where, "form", form, ("exact", "tanh"))
    ]


def _activated(x: Array, activation: str, slope: float = 0.0) -> Array:
    """Return what units of an activation make of x."""
    (flat,) = _contiguous(x.dtype, x)
    out = workspace.empty(x.shape, x.dtype)
    kernels_for(out).activation_forward(flat.reshape(-1), out.reshape(-1), activation, slope)
    return out


def _through(dout: Array, x: Array, activation: str, slope: float = 0.0) -> Array:
    """Return what comes back through units of an activation whose input was x."""
    x, dout = _contiguous(x.dtype, x, dout)
    dx = workspace.empty(x.shape, x.dtype)
    flat = dout.reshape(-1), x.reshape(-1), dx.reshape(-1)
    kernels_for(dx).activation_backward(*flat, activation, slope)
    return dx


class FastConvReluCache(NamedTuple):
    """conv, the convolution's cache; relu (N, F, OH, OW), the output, positive where its input is.

    `relu_backward_fast` takes the second as it takes the input.
    """

    conv: FastConvCache
    relu: Array

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return self.relu.shape


@forward(x="N C H W", w="F C HH WW", b="F")
def conv_relu_forward_fast(
    x: Array, w: Array, b: Array, conv_param: Options
) -> tuple[Array, FastConvReluCache]:
    """Compute a convolution whose results pass a relu before they are stored.

    x (N, C, H, W), w (F, C, HH, WW), b (F,) -> out (N, F, OH, OW), cache; see `conv_forward_fast`.
    The cache refers to out, which is not to be changed before the backward pass.
    """
    out, cache = _conv_forward(x, w, b, conv_param, relu=True)
    return out, FastConvReluCache(cache, out)


@backward(FastConvReluCache, conv_backward_fast, relu="N F OH OW")
def conv_relu_backward_fast(
    dout: Array, cache: FastConvReluCache, need_dx: bool = True, need_dw: bool = True
) -> ConvGradients:
    """Back-propagate through a convolution followed by a relu; see `conv_backward_fast`.

    dout (N, F, OH, OW) -> dx (N, C, H, W) or None, dw (F, C, HH, WW) or None, db (F,)
    """
    return _conv_backward(dout, cache.conv, need_dx, need_dw, cache.relu)


class FastBatchNormCache(NamedTuple):
    """x (N, D), gamma, beta, mean, var (D,), eps, mode; the statistics are those that were used."""

    x: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float
    mode: str


class FastSpatialBatchNormCache(FastBatchNormCache):
    """x (N, C, H, W), gamma, beta, mean, var (C,), eps, mode."""


class FastSpatialBatchNormReluCache(FastBatchNormCache):
    """x (N, C, H, W), gamma, beta, mean, var (C,), eps, mode."""


class FastSpatialBatchNormGeluCache(NamedTuple):
    """x (N, C, H, W), gamma, beta, mean, var (C,), eps, mode, form of the gelu."""

    x: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float
    mode: str
    form: str


class FastSpatialBatchNormLeakyReluCache(NamedTuple):
    """x (N, C, H, W), gamma, beta, mean, var (C,), eps, mode, slope of the leaky relu."""

    x: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float
    mode: str
    slope: float


class FastSpatialBatchNormSiluCache(FastBatchNormCache):
    """x (N, C, H, W), gamma, beta, mean, var (C,), eps, mode."""


class FastLayerNormCache(NamedTuple):
    """x (N, D), gamma, beta (D,), mean, var (N,), eps."""

    x: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float


class FastGroupNormCache(NamedTuple):
    """x (N, C, H, W), gamma, beta (1, C, 1, 1), mean, var (N, G), eps."""

    x: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    eps: float


@forward(x="N* D", gamma="D", beta="D")
def batchnorm_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, FastBatchNormCache]:
    """Compute the forward pass of batch normalisation; see `cs231n.layers.batchnorm_forward`.

    x (N, D), gamma, beta (D,) -> out (N, D), cache
    """
    out, cache = _batchnorm(x, gamma, beta, bn_param)
    return out, FastBatchNormCache(*cache)


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, FastSpatialBatchNormCache]:
    """Compute the forward pass of spatial batch normalisation.

    x (N, C, H, W), gamma, beta (C,) -> out (N, C, H, W), cache; see
    `cs231n.layers.spatial_batchnorm_forward`
    """
    out, cache = _batchnorm(x, gamma, beta, bn_param)
    return out, FastSpatialBatchNormCache(*cache)


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_relu_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, FastSpatialBatchNormReluCache]:
    """Normalise images, and apply a relu before the results are stored.

    x (N, C, H, W), gamma, beta (C,) -> out (N, C, H, W), cache; see
    `spatial_batchnorm_forward_fast`
    """
    out, cache = _batchnorm(x, gamma, beta, bn_param, "relu")
    return out, FastSpatialBatchNormReluCache(*cache)


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_gelu_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options, form: str = "exact"
) -> tuple[Array, FastSpatialBatchNormGeluCache]:
    """Normalise images, and apply a gelu before the results are stored.

    x (N, C, H, W), gamma, beta (C,) -> out (N, C, H, W), cache; see
    `spatial_batchnorm_forward_fast` and `gelu_forward_fast`
    """
    out, cache = _batchnorm(x, gamma, beta, bn_param, gelu_kernel(form))
    return out, FastSpatialBatchNormGeluCache._make((*cache, form))


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_leaky_relu_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options, slope: float = 0.01
) -> tuple[Array, FastSpatialBatchNormLeakyReluCache]:
    """Normalise images, and apply a leaky relu before the results are stored.

    x (N, C, H, W), gamma, beta (C,) -> out (N, C, H, W), cache; see
    `spatial_batchnorm_forward_fast` and `leaky_relu_forward_fast`
    """
    slope = checks.number("", "slope", slope)
    out, cache = _batchnorm(x, gamma, beta, bn_param, "leaky_relu", slope)
    return out, FastSpatialBatchNormLeakyReluCache._make((*cache, slope))


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_silu_forward_fast(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, FastSpatialBatchNormSiluCache]:
    """Normalise images, and apply a silu before the results are stored.

    x (N, C, H, W), gamma, beta (C,) -> out (N, C, H, W), cache; see
    `spatial_batchnorm_forward_fast` and `silu_forward_fast`
    """
    out, cache = _batchnorm(x, gamma, beta, bn_param, "silu")
    return out, FastSpatialBatchNormSiluCache(*cache)


def _batchnorm(
    x: Array,
    gamma: Array,
    beta: Array,
    bn_param: Options,
    activation: str = "",
    slope: float = 0.0,
) -> tuple[Array, tuple[Any, ...]]:
    """Normalise each channel of x (N, C, ...) over all samples and pixels; out, and the cache."""
    mode, eps, momentum, running_mean, running_var = checks.bn_options(bn_param, x)
    train = mode == "train"
    # Statistics that are kept may be longer than the rest, and then stay so.
    kept = _common(x, running_mean, running_var)
    dtype = _common(x, gamma, beta, *((running_mean, running_var) if train else ()))
    images, scale, shift = _contiguous(dtype, x, gamma, beta)
    out = workspace.empty(x.shape, dtype)
    # Copies, for kernels write to them: arrays in the dict are replaced, never written to.
    mean, var = new_mean, new_var = running_mean.astype(dtype), running_var.astype(dtype)
    if train:
        mean, var = np.empty(len(gamma), dtype), np.empty(len(gamma), dtype)
        running_mean, running_var = new_mean, new_var
    kernels_for(x).batchnorm_forward(
        images, scale, shift, out, mean, var, eps, activation, slope, train,
        new_mean, new_var, momentum,
    )  # fmt: skip
    if dtype is not x.dtype:
        out = out.astype(_common(x, gamma, beta), copy=False)
        running_mean, running_var = (
            a.astype(kept, copy=False) for a in (running_mean, running_var)
        )
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, (x, gamma, beta, mean, var, eps, mode)


@backward(FastBatchNormCache, x="N D", gamma="D", beta="D", mean="D", var="D")
def batchnorm_backward_fast(dout: Array, cache: FastBatchNormCache) -> Gradients:
    """Back-propagate through batch normalisation; see `cs231n.layers.batchnorm_backward`.

    dout (N, D) -> dx (N, D), dgamma, dbeta (D,)
    """
    return _batchnorm_backward(dout, cache)


@backward(FastSpatialBatchNormCache, x="N C H W", gamma="C", beta="C", mean="C", var="C")
def spatial_batchnorm_backward_fast(dout: Array, cache: FastSpatialBatchNormCache) -> Gradients:
    """Back-propagate through spatial batch normalisation.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (C,); see
    `cs231n.layers.spatial_batchnorm_backward`
    """
    return _batchnorm_backward(dout, cache)


@backward(FastSpatialBatchNormReluCache, x="N C H W", gamma="C", beta="C", mean="C", var="C")
def spatial_batchnorm_relu_backward_fast(
    dout: Array, cache: FastSpatialBatchNormReluCache
) -> Gradients:
    """Back-propagate through spatial batch normalisation followed by a relu.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (C,); see
    `spatial_batchnorm_backward_fast`
    """
    return _batchnorm_backward(dout, cache, "relu")


@backward(FastSpatialBatchNormGeluCache, x="N C H W", gamma="C", beta="C", mean="C", var="C")
def spatial_batchnorm_gelu_backward_fast(
    dout: Array, cache: FastSpatialBatchNormGeluCache
) -> Gradients:
    """Back-propagate through spatial batch normalisation followed by a gelu.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (C,); see
    `spatial_batchnorm_backward_fast`
    """
    return _batchnorm_backward(dout, cache, gelu_kernel(cache.form))


@backward(FastSpatialBatchNormLeakyReluCache, x="N C H W", gamma="C", beta="C", mean="C", var="C")
def spatial_batchnorm_leaky_relu_backward_fast(
    dout: Array, cache: FastSpatialBatchNormLeakyReluCache
) -> Gradients:
    """Back-propagate through spatial batch normalisation followed by a leaky relu.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (C,); see
    `spatial_batchnorm_backward_fast`
    """
    return _batchnorm_backward(dout, cache, "leaky_relu", checks.number("", "slope", cache.slope))


@backward(FastSpatialBatchNormSiluCache, x="N C H W", gamma="C", beta="C", mean="C", var="C")
def spatial_batchnorm_silu_backward_fast(
    dout: Array, cache: FastSpatialBatchNormSiluCache
) -> Gradients:
    """Back-propagate through spatial batch normalisation followed by a silu.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (C,); see
    `spatial_batchnorm_backward_fast`
    """
    return _batchnorm_backward(dout, cache, "silu")


def _batchnorm_backward(
    dout: Array, cache: Any, activation: str = "", slope: float = 0.0
) -> Gradients:
    """Return dx, dgamma and dbeta of a batch normalisation."""
    train = checks.choice("", "mode", cache.mode, ("train", "test")) == "train"
    options = activation, slope, train
    return _norm_backward("batchnorm_backward", dout, cache[:5], cache.eps, *options)


def _norm_backward(
    kernel: str, dout: Array, arrays: Sequence[Array], eps: Any, *options: Any
) -> Gradients:
    """Return dx, dgamma and dbeta, which a kernel makes of dout, x, weights and statistics."""
    x, gamma, *_ = arrays
    eps = checks.number("", "eps", eps, 0, math.inf, True)
    dtype = _common(*arrays)
    dx = workspace.empty(x.shape, dtype)
    dgamma, dbeta = np.empty(len(gamma), dtype), np.empty(len(gamma), dtype)
    run = getattr(kernels_for(x), kernel)
    run(*_contiguous(dtype, dout, *arrays), dx, dgamma, dbeta, eps, *options)
    return dx, dgamma, dbeta


@forward(x="N D+", gamma="D", beta="D")
def layernorm_forward_fast(
    x: Array, gamma: Array, beta: Array, ln_param: Options
) -> tuple[Array, FastLayerNormCache]:
    """Compute the forward pass of layer normalisation; see `cs231n.layers.layernorm_forward`.

    x (N, D), gamma, beta (D,) -> out (N, D), cache
    """
    eps = checks.eps("ln_param", ln_param)
    out, mean, var = _groupnorm(x, gamma, beta, 1, eps)
    return out, FastLayerNormCache(x, gamma, beta, mean[:, 0], var[:, 0], eps)


@backward(FastLayerNormCache, x="N D+", gamma="D", beta="D", mean="N", var="N")
def layernorm_backward_fast(dout: Array, cache: FastLayerNormCache) -> Gradients:
    """Back-propagate through layer normalisation; see `cs231n.layers.layernorm_backward`.

    dout (N, D) -> dx (N, D), dgamma, dbeta (D,)
    """
    x, gamma, _, mean, var, eps = cache
    arrays = x, gamma, mean[:, None], var[:, None]
    return _norm_backward("groupnorm_backward", dout, arrays, eps)


@forward(x="N C+ H+ W+", gamma="1 C 1 1", beta="1 C 1 1")
def spatial_groupnorm_forward_fast(
    x: Array, gamma: Array, beta: Array, G: int, gn_param: Options
) -> tuple[Array, FastGroupNormCache]:
    """Compute the forward pass of spatial group normalisation.

    x (N, C, H, W), gamma, beta (1, C, 1, 1) -> out (N, C, H, W), cache; see
    `cs231n.layers.spatial_groupnorm_forward`
    """
    G, eps = checks.groups(x, G), checks.eps("gn_param", gn_param)
    out, mean, var = _groupnorm(x, gamma, beta, G, eps)
    return out, FastGroupNormCache(x, gamma, beta, mean, var, eps)


@backward(
    FastGroupNormCache,
    x="N C+ H+ W+", gamma="1 C 1 1", beta="1 C 1 1", mean="N G|C", var="N G|C",
)  # fmt: skip
def spatial_groupnorm_backward_fast(dout: Array, cache: FastGroupNormCache) -> Gradients:
    """Back-propagate through spatial group normalisation.

    dout (N, C, H, W) -> dx (N, C, H, W), dgamma, dbeta (1, C, 1, 1); see
    `cs231n.layers.spatial_groupnorm_backward`
    """
    x, gamma, beta, mean, var, eps = cache
    arrays = x, gamma.reshape(-1), mean, var
    dx, dgamma, dbeta = _norm_backward("groupnorm_backward", dout, arrays, eps)
    return dx, dgamma.reshape(gamma.shape), dbeta.reshape(beta.shape)


def _groupnorm(
    x: Array, gamma: Array, beta: Array, G: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise each of G groups of channels of each image of x (N, C, ...)."""
    dtype = _common(x, gamma, beta)
    images, scale, shift = _contiguous(dtype, x, gamma.reshape(-1), beta.reshape(-1))
    out = workspace.empty(x.shape, dtype)
    mean, var = np.empty((len(x), G), dtype), np.empty((len(x), G), dtype)
    kernels_for(x).groupnorm_forward(images, scale, shift, out, mean, var, eps)
    return out, mean, var


@forward(x="N C", y="in C")
def softmax_loss_fast(x: Array, y: Array, label_smoothing: float = 0.0) -> tuple[float, Array]:
    """Compute the loss and gradient of softmax classification; see `cs231n.layers.softmax_loss`.

    x (N, C), y (N,) -> loss, dx (N, C)
    """
    s = checks.number("", "label_smoothing", label_smoothing, 0, 1)
    (scores,), (y,) = _contiguous(x.dtype, x), _contiguous(np.dtype(np.int64), y)
    losses, dx = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    return kernels_for(scores).softmax_loss(scores, y, losses, dx, s), dx


def _common(x: Array, *others: Array) -> np.dtype[Any]:
    """Return the dtype that arrays are computed in."""
    dtype = x.dtype
    for other in others:
        if other.dtype is not dtype:
            return np.result_type(x, *others)
    return dtype


def _aligned(dtype: np.dtype[Any], *arrays: Array) -> Sequence[Array]:
    """Return the arrays, of any strides, aligned and in one dtype; copied only if they are not."""
    for array in arrays:
        if array.dtype is not dtype or not array.flags.aligned:
            return [np.require(array, dtype, ["A"]) for array in arrays]
    return arrays


def _contiguous(dtype: np.dtype[Any], *arrays: Array) -> Sequence[Array]:
    """Return the arrays in C order, aligned and in one dtype, copied only where they are not."""
    for array in arrays:
        if array.dtype is not dtype or not array.flags.carray:
            return [_laid_out(dtype, array) for array in arrays]
    return arrays


def _laid_out(dtype: np.dtype[Any], array: Array) -> Array:
    """Return an array as kernels read it, whether it may be written to or not."""
    flags = array.flags
    if array.dtype is dtype and flags.c_contiguous and flags.aligned:
        return array
    return array.astype(dtype, "C")


# Tutorials call the layers by the names of the course's several implementations of them.
conv_forward_im2col = conv_forward_strides = conv_forward_fast
conv_backward_im2col = conv_backward_strides = conv_backward_fast
max_pool_forward_reshape = max_pool_forward_im2col = max_pool_forward_fast
max_pool_backward_reshape = max_pool_backward_im2col = max_pool_backward_fast
