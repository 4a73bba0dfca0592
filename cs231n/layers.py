"""Reference layers: forward and backward passes in plain NumPy, in the order they are taught.

This file is written to be read; `cs231n.fast_layers` holds twins of the slow ones.  Every layer is
a pair of functions, ``f_forward(x, *weights, *options) -> (out, cache)`` and
``f_backward(dout, cache) -> dx`` or ``(dx, *dweights)``; a loss gives ``(loss, dx)``.

N samples; D inputs, M outputs; C channels or classes; H, W image; F filters; HH, WW window;
OH, OW output map; G groups of channels.  ``dv`` is the gradient of the loss with respect to v.

A layer never writes to its arguments, except for the running statistics in ``bn_param``.  float32
stays float32, integers are computed in the dtype of the other arrays or in float64, and a gradient
has the shape and dtype of its array.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.core.checks import keep_dtype
from cs231n.im2col import Window

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "conv_backward_naive",
    "conv_forward_naive",
    "dropout_backward",
    "dropout_forward",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "global_max_pool_backward",
    "global_max_pool_forward",
    "layernorm_backward",
    "layernorm_forward",
    "max_pool_backward_naive",
    "max_pool_forward_naive",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
    "svm_loss",
]


class AffineCache(NamedTuple):
    """x (N, d1, ..., dk), w (D, M), b (M,)."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray


def affine_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, AffineCache]:
    """Compute the forward pass of an affine (fully connected) layer.

    Parameters
    ----------
    x : ndarray of shape (N, d1, ..., dk)
        Input; each sample is flattened to a row of D = d1 * ... * dk numbers.
    w : ndarray of shape (D, M)
        Weights.
    b : ndarray of shape (M,)
        Biases.

    Returns
    -------
    out : ndarray of shape (N, M)
        ``rows @ w + b``.
    cache : AffineCache
        What the backward pass needs.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    TypeError
        If an array is not float32, float64 or integer.
    """
    where = "affine_forward"
    x, w, b = checks.float_arrays(where, x=x, w=w, b=b)
    checks.shapes(where, x=(x, "N ..."), w=(w, "D M"), b=(b, "M"))
    rows = checks.rows(where, x, w)
    return rows @ w + b, AffineCache(x, w, b)


def affine_backward(
    dout: np.ndarray, cache: AffineCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through an affine layer.

    Parameters
    ----------
    dout : ndarray of shape (N, M)
        Upstream gradient.
    cache : AffineCache
        From `affine_forward`.
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

    Notes
    -----
    From ``out = rows @ w + b``: ``drows = dout @ w.T``, ``dw = rows.T @ dout``, and b is added to
    every row, so db sums over the rows.
    """
    where = "affine_backward"
    x, w, b = checks.cache(where, cache, AffineCache)
    dout = checks.upstream(where, dout, (len(x), w.shape[1]))
    rows = checks.rows(where, x, w)
    dx = keep_dtype(dout @ w.T, x).reshape(x.shape) if need_dx else None
    dw = rows.T @ dout  # (D, M)
    db = dout.sum(axis=0)  # (M,)
    return dx, keep_dtype(dw, w), keep_dtype(db, b)


class ReluCache(NamedTuple):
    """x, the input, of any shape."""

    x: np.ndarray


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, ReluCache]:
    """Compute the forward pass of a layer of rectified linear units, ``max(x, 0)``.

    Parameters
    ----------
    x : ndarray of any shape
        Input.

    Returns
    -------
    out : ndarray of the same shape
    cache : ReluCache
        What the backward pass needs.

    Raises
    ------
    TypeError
        If x is not float32, float64 or integer.

    References
    ----------
    Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010.
    """
    (x,) = checks.float_arrays("relu_forward", x=x)
    return np.maximum(x, 0), ReluCache(x)


def relu_backward(dout: np.ndarray, cache: ReluCache) -> np.ndarray:
    """Back-propagate through rectified linear units.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : ReluCache
        From `relu_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        dout where the input was positive, zero elsewhere (at zero, too).

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    (x,) = checks.cache("relu_backward", cache, ReluCache)
    dout = checks.upstream("relu_backward", dout, x.shape)
    return keep_dtype(np.where(x > 0, dout, 0), x)


def softmax_loss(
    x: np.ndarray, y: np.ndarray, label_smoothing: float = 0.0
) -> tuple[float, np.ndarray]:
    """Compute the loss and gradient of softmax classification (cross-entropy).

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
        Mean over the batch of ``-log p[y]``, with ``p = exp(x) / sum(exp(x))``; 0 for no samples.
    dx : ndarray of shape (N, C)
        Gradient of the loss with respect to the scores.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, a label is no class or label_smoothing is not in [0, 1].

    Notes
    -----
    Subtracting each row's largest score changes no probability and keeps exp from overflowing.
    The gradient is ``(p - onehot(y)) / N``.  The loss is summed in float64, for a float32 sum
    over many samples would lose digits.

    Smoothing by s makes the target ``t = (1 - s) * onehot(y) + s / C``, the loss the mean of
    ``-sum(t * log p)`` and the gradient ``(p - t) / N``: the network is not driven to be certain.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, Rethinking the Inception Architecture for Computer
    Vision, CVPR 2016 (label smoothing).
    """
    s = checks.number("softmax_loss", "label_smoothing", label_smoothing, 0, 1)
    (x,) = checks.float_arrays("softmax_loss", x=x)
    N, C = checks.shapes("softmax_loss", x=(x, "N C")).values()
    y = checks.labels("softmax_loss", y, N, C)
    if N == 0:
        return 0.0, np.zeros_like(x)
    correct = np.arange(N), y

    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_likelihood = log_p[correct]
    dx = np.exp(log_p)
    dx[correct] -= 1
    if s:
        log_likelihood = (1 - s) * log_likelihood + s * log_p.mean(axis=1)
        dx[correct] += s
        dx -= s / C
    dx /= N
    return float(-log_likelihood.sum(dtype=np.float64) / N), dx


def svm_loss(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the loss and gradient of multiclass SVM classification (hinge, margin 1).

    Parameters
    ----------
    x : ndarray of shape (N, C)
        Scores of the C classes.
    y : ndarray of shape (N,)
        Labels, integers in [0, C).

    Returns
    -------
    loss : float
        Mean over the batch of ``sum over j != y of max(0, x[j] - x[y] + 1)``; 0 for no samples.
    dx : ndarray of shape (N, C)
        Gradient of the loss with respect to the scores.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, or a label is no class.

    References
    ----------
    Weston and Watkins, Support Vector Machines for Multi-Class Pattern Recognition, ESANN 1999.
    """
    (x,) = checks.float_arrays("svm_loss", x=x)
    N, C = checks.shapes("svm_loss", x=(x, "N C")).values()
    y = checks.labels("svm_loss", y, N, C)
    if N == 0:
        return 0.0, np.zeros_like(x)
    correct = np.arange(N), y

    margins = np.maximum(x - x[correct][:, None] + 1, 0)
    margins[correct] = 0
    loss = margins.sum(dtype=np.float64) / N

    dx = (margins > 0).astype(x.dtype)
    dx[correct] = -dx.sum(axis=1)  # each violated margin pushes the correct score up
    dx /= N
    return float(loss), dx


class BatchNormCache(NamedTuple):
    """x_hat (N, D) normalised input, gamma (D,), beta (D,), std (D,), mode."""

    x_hat: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    std: np.ndarray
    mode: str


def batchnorm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, BatchNormCache]:
    """Compute the forward pass of batch normalisation.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Input.
    gamma, beta : ndarray of shape (D,)
        Scale and shift.
    bn_param : dict
        'mode' : 'train' or 'test', required;
        'eps' : added to the variance, default 1e-5;
        'momentum' : of the running statistics, default 0.9;
        'running_mean', 'running_var' : ndarray of shape (D,), zeros at first.
        The running statistics are put into the dict, and train mode replaces them there.

    Returns
    -------
    out : ndarray of shape (N, D)
        ``gamma * x_hat + beta``.
    cache : BatchNormCache
        What both backward passes need.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, an option is missing or wrong, or a batch to train on
        is empty.

    Notes
    -----
    In train mode ``x_hat = (x - mean) / sqrt(var + eps)`` with the mean and the biased variance
    of each column over the batch, and ``running = momentum * running + (1 - momentum) * sample``.
    In test mode the running statistics take the place of the batch's.

    References
    ----------
    Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift, ICML 2015.
    """
    where = "batchnorm_forward"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N D"), gamma=(gamma, "D"), beta=(beta, "D"))
    mode, eps, momentum, running_mean, running_var = checks.bn_options(where, bn_param, x)

    if mode == "train":
        x_hat, mean, var, std = _normalise(x, eps, axis=0)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    else:
        std = np.sqrt(running_var + eps)
        x_hat = keep_dtype((x - running_mean) / std, x)
    return gamma * x_hat + beta, BatchNormCache(x_hat, gamma, beta, std, mode)


def batchnorm_backward(
    dout: np.ndarray, cache: BatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through batch normalisation, node by node of its graph.

    Parameters
    ----------
    dout : ndarray of shape (N, D)
        Upstream gradient.
    cache : BatchNormCache
        From `batchnorm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, D)
    dgamma, dbeta : ndarray of shape (D,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.

    Notes
    -----
    The graph is ``mean -> centred = x - mean -> var = mean(centred ** 2) -> std = sqrt(var + eps)
    -> x_hat = centred / std``; the gradient walks it from the right to the left, and where a node
    feeds two others it is the sum of what comes back from both.
    """
    where = "batchnorm_backward"
    x_hat, gamma, beta, std, mode = checks.cache(where, cache, BatchNormCache)
    dout = checks.upstream(where, dout, x_hat.shape)
    N = len(x_hat)

    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    dx_hat = dout * gamma  # (N, D)
    if mode == "test":  # the statistics are constants
        dx = dx_hat / std
    else:
        centred = x_hat * std
        dstd = -(dx_hat * x_hat).sum(axis=0) / std  # (D,)
        dvar = dstd / (2 * std)
        dcentred = dx_hat / std + dvar * 2 * centred / N
        dmean = -dcentred.sum(axis=0)
        dx = dcentred + dmean / N
    return keep_dtype(dx, x_hat), keep_dtype(dgamma, gamma), keep_dtype(dbeta, beta)


def batchnorm_backward_alt(
    dout: np.ndarray, cache: BatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through batch normalisation by one formula, derived on paper.

    Parameters
    ----------
    dout : ndarray of shape (N, D)
        Upstream gradient.
    cache : BatchNormCache
        From `batchnorm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, D)
    dgamma, dbeta : ndarray of shape (D,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.

    Notes
    -----
    With ``g = dout * gamma``, the nodes of `batchnorm_backward` collapse to
    ``dx = (g - mean(g) - x_hat * mean(g * x_hat)) / std``: the part of g along the constant
    vector and along x_hat is taken out, for a change of x in these directions is normalised away.
    """
    where = "batchnorm_backward_alt"
    x_hat, gamma, beta, std, mode = checks.cache(where, cache, BatchNormCache)
    dout = checks.upstream(where, dout, x_hat.shape)

    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    if mode == "test":
        dx = dout * (gamma / std)
    else:
        dx = _normalise_backward(dout * gamma, x_hat, std, axis=0)
    return keep_dtype(dx, x_hat), keep_dtype(dgamma, gamma), keep_dtype(dbeta, beta)


def _normalise(
    x: np.ndarray, eps: float, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x with mean 0 and variance 1 along the axis, and mean, variance and deviation."""
    # In float64: the division magnifies what rounding leaves of a constant column in float32.
    mean = keep_dtype(x.mean(axis=axis, keepdims=True, dtype=np.float64), x)
    centred = x - mean
    var = (centred**2).mean(axis=axis, keepdims=True)
    std = np.sqrt(var + eps)
    return centred / std, mean.squeeze(axis), var.squeeze(axis), std.squeeze(axis)


def _normalise_backward(
    dx_hat: np.ndarray, x_hat: np.ndarray, std: np.ndarray, axis: int
) -> np.ndarray:
    """Back-propagate through `_normalise`: (g - mean(g) - x_hat * mean(g * x_hat)) / std."""
    mean = dx_hat.mean(axis=axis, keepdims=True)
    along = (dx_hat * x_hat).mean(axis=axis, keepdims=True)
    return (dx_hat - mean - x_hat * along) / np.expand_dims(std, axis)


class LayerNormCache(NamedTuple):
    """x_hat (N, D) normalised input, gamma (D,), beta (D,), std (N,)."""

    x_hat: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    std: np.ndarray


def layernorm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, ln_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, LayerNormCache]:
    """Compute the forward pass of layer normalisation.

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
        ``gamma * x_hat + beta``, where x_hat is each row with mean 0 and variance 1.
    cache : LayerNormCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together or an option is wrong.

    References
    ----------
    Ba, Kiros and Hinton, Layer Normalization, 2016 (arXiv:1607.06450).
    """
    where = "layernorm_forward"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N D"), gamma=(gamma, "D"), beta=(beta, "D"))
    checks.groups(where, x, 1)
    eps = checks.eps(where, checks.options(where, "ln_param", ln_param))
    x_hat, _, _, std = _normalise(x, eps, axis=1)
    return gamma * x_hat + beta, LayerNormCache(x_hat, gamma, beta, std)


def layernorm_backward(
    dout: np.ndarray, cache: LayerNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through layer normalisation.

    Parameters
    ----------
    dout : ndarray of shape (N, D)
        Upstream gradient.
    cache : LayerNormCache
        From `layernorm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, D)
    dgamma, dbeta : ndarray of shape (D,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.

    Notes
    -----
    The formula of `batchnorm_backward_alt` along rows instead of columns.
    """
    where = "layernorm_backward"
    x_hat, gamma, beta, std = checks.cache(where, cache, LayerNormCache)
    dout = checks.upstream(where, dout, x_hat.shape)
    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    dx = _normalise_backward(dout * gamma, x_hat, std, axis=1)
    return keep_dtype(dx, x_hat), keep_dtype(dgamma, gamma), keep_dtype(dbeta, beta)


class DropoutCache(NamedTuple):
    """mask, of the input's shape, 0 or 1 / p, None in test mode; shape and dtype of the input."""

    mask: np.ndarray | None
    shape: tuple[int, ...]
    dtype: np.dtype


def dropout_forward(
    x: np.ndarray, dropout_param: Mapping[str, Any]
) -> tuple[np.ndarray, DropoutCache]:
    """Compute the forward pass of inverted dropout.

    Parameters
    ----------
    x : ndarray of any shape
        Input.
    dropout_param : dict
        'p' : probability of keeping a unit, in (0, 1], required;
        'mode' : 'train' or 'test', required;
        'seed' : given to `numpy.random.seed` at each call, so that a gradient check sees one mask;
        'rng' : a `numpy.random.Generator` to draw from instead of NumPy's global generator.

    Returns
    -------
    out : ndarray of the same shape
        In train mode each unit is zero with probability 1 - p, else ``x / p``; in test mode x.
    cache : DropoutCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If an option is missing or wrong.

    Notes
    -----
    Dividing by p while training keeps every unit's expected value, so that nothing is left to do
    when testing.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting, JMLR 15, 2014.
    """
    where = "dropout_forward"
    (x,) = checks.float_arrays(where, x=x)
    dropout_param = checks.options(where, "dropout_param", dropout_param)
    mode = checks.mode(where, dropout_param)
    p = checks.option(where, dropout_param, "p", ("p", "mode", "seed", "rng"))
    p = checks.number(where, "p", p, 0, 1, low_open=True)
    if dropout_param.get("seed") is not None:
        _seed(where, dropout_param["seed"])
    if mode == "test":
        return x.copy(), DropoutCache(None, x.shape, x.dtype)
    draw = checks.generator(where, dropout_param.get("rng")).random(x.shape)
    mask = np.less(draw, p).astype(x.dtype) / p
    return x * mask, DropoutCache(mask, x.shape, x.dtype)


def _seed(where: str, seed: Any) -> None:
    """Seed NumPy's global generator."""
    try:
        np.random.seed(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: seed is {seed!r}; expected 0 to 2**32 - 1") from error


def dropout_backward(dout: np.ndarray, cache: DropoutCache) -> np.ndarray:
    """Back-propagate through inverted dropout.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : DropoutCache
        From `dropout_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        ``dout * mask`` in train mode, dout in test mode.

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    mask, shape, dtype = checks.cache("dropout_backward", cache, DropoutCache)
    dout = checks.upstream("dropout_backward", dout, shape)
    return (dout.copy() if mask is None else dout * mask).astype(dtype, copy=False)


class ConvCache(NamedTuple):
    """x (N, C, H, W), w (F, C, HH, WW), b (F,), window (HH, WW, stride, pad)."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    window: Window


def conv_forward_naive(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, conv_param: Mapping[str, Any]
) -> tuple[np.ndarray, ConvCache]:
    """Compute the forward pass of a convolutional layer.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    w : ndarray of shape (F, C, HH, WW)
        Filters.
    b : ndarray of shape (F,)
        Biases.
    conv_param : dict
        'stride' : pixels between neighbouring windows, required;
        'pad' : rows and columns of zeros added on each side, required.

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW)
        ``OH = floor((H + 2 * pad - HH) / stride) + 1``, OW likewise.
    cache : ConvCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, the filter does not fit into the padded image, or an
        option is missing or wrong.

    Notes
    -----
    ``out[n, f, i, j] = sum(window of image n at (i, j) * w[f]) + b[f]``: the filter is not
    flipped, so strictly this is a cross-correlation.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition,
    Proceedings of the IEEE 86(11), 1998.
    """
    where = "conv_forward_naive"
    x, w, b = checks.float_arrays(where, x=x, w=w, b=b)
    sizes = checks.shapes(where, x=(x, "N C H W"), w=(w, "F C HH WW"), b=(b, "F"))
    window = Window.for_conv(where, w, conv_param)
    OH, OW = window.output_size(where, sizes["H"], sizes["W"])

    padded = window.pad_image(x)  # (N, C, H + 2 pad, W + 2 pad)
    out = np.empty((sizes["N"], sizes["F"], OH, OW), np.result_type(x, w, b))
    for n, f, i, j in np.ndindex(out.shape):
        rows, columns = window.pixels(i, j)
        out[n, f, i, j] = np.sum(padded[n, :, rows, columns] * w[f]) + b[f]
    return out, ConvCache(x, w, b, window)


def conv_backward_naive(
    dout: np.ndarray, cache: ConvCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through a convolutional layer.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
        Upstream gradient.
    cache : ConvCache
        From `conv_forward_naive`.
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
    Each output is a sum of products ``pixel * weight``, so its gradient flows to every pixel of
    its window, scaled by the weight, and to every weight, scaled by the pixel.
    """
    where = "conv_backward_naive"
    x, w, b, window = checks.cache(where, cache, ConvCache)
    OH, OW = window.output_size(where, *x.shape[2:])
    dout = checks.upstream(where, dout, (len(x), len(w), OH, OW))

    padded = window.pad_image(x)
    dpadded = np.zeros(padded.shape, np.result_type(w, dout))
    dw = np.zeros(w.shape, np.result_type(x, dout))
    for n, f, i, j in np.ndindex(dout.shape):
        rows, columns = window.pixels(i, j)
        dw[f] += dout[n, f, i, j] * padded[n, :, rows, columns]
        if need_dx:
            dpadded[n, :, rows, columns] += dout[n, f, i, j] * w[f]
    db = dout.sum(axis=(0, 2, 3))  # (F,)
    dx = keep_dtype(window.crop(dpadded), x).copy() if need_dx else None
    return dx, keep_dtype(dw, w), keep_dtype(db, b)


class MaxPoolCache(NamedTuple):
    """x (N, C, H, W), window (HH, WW, stride, pad)."""

    x: np.ndarray
    window: Window


def max_pool_forward_naive(
    x: np.ndarray, pool_param: Mapping[str, Any]
) -> tuple[np.ndarray, MaxPoolCache]:
    """Compute the forward pass of a max pooling layer.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    pool_param : dict
        'pool_height', 'pool_width' : size HH x WW of the window in pixels, required;
        'stride' : pixels between neighbouring windows, required.

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW)
        The largest pixel of each window; ``OH = floor((H - HH) / stride) + 1``, OW likewise.
    cache : MaxPoolCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If x does not have four axes, the window does not fit, or an option is missing or wrong.
    """
    where = "max_pool_forward_naive"
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    window = Window.for_pool(where, pool_param)
    OH, OW = window.output_size(where, H, W)

    out = np.empty((N, C, OH, OW), x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        rows, columns = window.pixels(i, j)
        out[n, c, i, j] = x[n, c, rows, columns].max()
    return out, MaxPoolCache(x, window)


def max_pool_backward_naive(dout: np.ndarray, cache: MaxPoolCache) -> np.ndarray:
    """Back-propagate through a max pooling layer.

    Parameters
    ----------
    dout : ndarray of shape (N, C, OH, OW)
        Upstream gradient.
    cache : MaxPoolCache
        From `max_pool_forward_naive`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
        The gradient goes to the largest pixel of each window, to the first one of a tie (row by
        row); pixels where windows overlap get the sum.

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "max_pool_backward_naive"
    x, window = checks.cache(where, cache, MaxPoolCache)
    OH, OW = window.output_size(where, *x.shape[2:])
    dout = checks.upstream(where, dout, (*x.shape[:2], OH, OW))

    dx = np.zeros_like(x, order="C")
    for n, c, i, j in np.ndindex(dout.shape):
        rows, columns = window.pixels(i, j)
        first = np.argmax(x[n, c, rows, columns])
        hh, ww = divmod(int(first), window.WW)
        dx[n, c, i * window.stride + hh, j * window.stride + ww] += dout[n, c, i, j]
    return dx


class GlobalAvgPoolCache(NamedTuple):
    """shape (N, C, H, W) and dtype of the input."""

    shape: tuple[int, int, int, int]
    dtype: np.dtype


def global_avg_pool_forward(x: np.ndarray) -> tuple[np.ndarray, GlobalAvgPoolCache]:
    """Compute the forward pass of global average pooling: the mean of each channel's pixels.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.

    Returns
    -------
    out : ndarray of shape (N, C)
    cache : GlobalAvgPoolCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If x does not have four axes, or its images have no pixels.

    References
    ----------
    Lin, Chen and Yan, Network in Network, ICLR 2014.
    """
    pixels = _pixels("global_avg_pool_forward", x)  # (N, C, H * W)
    return pixels.mean(axis=2), GlobalAvgPoolCache(np.shape(x), pixels.dtype)


def global_avg_pool_backward(dout: np.ndarray, cache: GlobalAvgPoolCache) -> np.ndarray:
    """Back-propagate through global average pooling: every pixel has the same share.

    Parameters
    ----------
    dout : ndarray of shape (N, C)
        Upstream gradient.
    cache : GlobalAvgPoolCache
        From `global_avg_pool_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "global_avg_pool_backward"
    (N, C, H, W), dtype = checks.cache(where, cache, GlobalAvgPoolCache)
    dout = checks.upstream(where, dout, (N, C))
    dx = np.empty((N, C, H, W), dtype)
    dx[...] = (dout / (H * W))[:, :, None, None]
    return dx


class GlobalMaxPoolCache(NamedTuple):
    """argmax (N, C) place of the largest pixel; shape (N, C, H, W) and dtype of the input."""

    argmax: np.ndarray
    shape: tuple[int, int, int, int]
    dtype: np.dtype


def global_max_pool_forward(x: np.ndarray) -> tuple[np.ndarray, GlobalMaxPoolCache]:
    """Compute the forward pass of global max pooling: the largest of each channel's pixels.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.

    Returns
    -------
    out : ndarray of shape (N, C)
    cache : GlobalMaxPoolCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If x does not have four axes, or its images have no pixels.
    """
    pixels = _pixels("global_max_pool_forward", x)  # (N, C, H * W)
    argmax = pixels.argmax(axis=2)
    out = np.take_along_axis(pixels, argmax[:, :, None], axis=2)[:, :, 0].copy()
    return out, GlobalMaxPoolCache(argmax, np.shape(x), pixels.dtype)


def global_max_pool_backward(dout: np.ndarray, cache: GlobalMaxPoolCache) -> np.ndarray:
    """Back-propagate through global max pooling.

    Parameters
    ----------
    dout : ndarray of shape (N, C)
        Upstream gradient.
    cache : GlobalMaxPoolCache
        From `global_max_pool_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
        The gradient goes to the largest pixel of each channel, to the first one of a tie.

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "global_max_pool_backward"
    argmax, (N, C, H, W), dtype = checks.cache(where, cache, GlobalMaxPoolCache)
    dout = checks.upstream(where, dout, (N, C))
    dx = np.zeros((N, C, H * W), dtype)
    np.put_along_axis(dx, argmax[:, :, None], dout[:, :, None], axis=2)
    return dx.reshape(N, C, H, W)


def _pixels(where: str, x: Any) -> np.ndarray:
    """Return images (N, C, H, W) as (N, C, H * W), with at least one pixel in each."""
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    if H * W == 0:
        raise ValueError(f"{where}: x has shape {x.shape}; expected at least one pixel")
    return x.reshape(N, C, H * W)


class SpatialBatchNormCache(NamedTuple):
    """batchnorm, the cache of the rows (N * H * W, C); shape (N, C, H, W) of the input."""

    batchnorm: BatchNormCache
    shape: tuple[int, int, int, int]


def spatial_batchnorm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: MutableMapping[str, Any]
) -> tuple[np.ndarray, SpatialBatchNormCache]:
    """Compute the forward pass of spatial batch normalisation.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Input.
    gamma, beta : ndarray of shape (C,)
        Scale and shift.
    bn_param : dict
        As for `batchnorm_forward`, the running statistics of shape (C,).

    Returns
    -------
    out : ndarray of shape (N, C, H, W)
    cache : SpatialBatchNormCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together or an option is missing or wrong.

    Notes
    -----
    Every pixel is a sample of its channel, because a convolution treats all places alike: batch
    normalisation of N * H * W rows of C inputs.
    """
    where = "spatial_batchnorm_forward"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    checks.shapes(where, x=(x, "N C H W"), gamma=(gamma, "C"), beta=(beta, "C"))
    checks.bn_options(where, bn_param, x)  # here already, so that a message names this function
    rows, cache = batchnorm_forward(_pixels_as_rows(x), gamma, beta, bn_param)
    return _rows_as_pixels(rows, x.shape), SpatialBatchNormCache(cache, x.shape)


def spatial_batchnorm_backward(
    dout: np.ndarray, cache: SpatialBatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through spatial batch normalisation.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : SpatialBatchNormCache
        From `spatial_batchnorm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "spatial_batchnorm_backward"
    batchnorm, shape = checks.cache(where, cache, SpatialBatchNormCache)
    dout = checks.upstream(where, dout, shape)
    rows, dgamma, dbeta = batchnorm_backward_alt(_pixels_as_rows(dout), batchnorm)
    return _rows_as_pixels(rows, shape), dgamma, dbeta


def _pixels_as_rows(x: np.ndarray) -> np.ndarray:
    """Turn images (N, C, H, W) into rows (N * H * W, C)."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(N * H * W, C)


def _rows_as_pixels(rows: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Turn rows (N * H * W, C) into images of shape (N, C, H, W), in C order."""
    N, C, H, W = shape
    return np.ascontiguousarray(rows.reshape(N, H, W, C).transpose(0, 3, 1, 2))


class GroupNormCache(NamedTuple):
    """x_hat (N, C, H, W) normalised input, gamma and beta (1, C, 1, 1), std (N, G)."""

    x_hat: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    std: np.ndarray


def spatial_groupnorm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, G: int, gn_param: Mapping[str, Any]
) -> tuple[np.ndarray, GroupNormCache]:
    """Compute the forward pass of spatial group normalisation.

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
        ``gamma * x_hat + beta``, where in x_hat each group of C / G channels of each image has
        mean 0 and variance 1.
    cache : GroupNormCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, G does not divide C, or an option is wrong.

    References
    ----------
    Wu and He, Group Normalization, ECCV 2018.
    """
    where = "spatial_groupnorm_forward"
    x, gamma, beta = checks.float_arrays(where, x=x, gamma=gamma, beta=beta)
    sizes = checks.shapes(where, x=(x, "N C H W"), gamma=(gamma, "1 C 1 1"), beta=(beta, "1 C 1 1"))
    N, C, H, W = sizes["N"], sizes["C"], sizes["H"], sizes["W"]
    G = checks.groups(where, x, G)
    eps = checks.eps(where, checks.options(where, "gn_param", gn_param))

    groups = x.reshape(N * G, C // G * H * W)
    x_hat, _, _, std = _normalise(groups, eps, axis=1)
    x_hat = x_hat.reshape(x.shape)
    return gamma * x_hat + beta, GroupNormCache(x_hat, gamma, beta, std.reshape(N, G))


def spatial_groupnorm_backward(
    dout: np.ndarray, cache: GroupNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-propagate through spatial group normalisation.

    Parameters
    ----------
    dout : ndarray of shape (N, C, H, W)
        Upstream gradient.
    cache : GroupNormCache
        From `spatial_groupnorm_forward`.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dgamma, dbeta : ndarray of shape (1, C, 1, 1)

    Raises
    ------
    ValueError, TypeError
        If dout does not have the output's shape, or the cache is another layer's.
    """
    where = "spatial_groupnorm_backward"
    x_hat, gamma, beta, std = checks.cache(where, cache, GroupNormCache)
    dout = checks.upstream(where, dout, x_hat.shape)
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)  # (1, C, 1, 1)
    dgamma = (dout * x_hat).sum(axis=(0, 2, 3), keepdims=True)
    (_, C, H, W), (N, G) = x_hat.shape, std.shape
    groups = N * G, C // G * H * W
    dx_hat = (dout * gamma).reshape(groups)
    dx = _normalise_backward(dx_hat, x_hat.reshape(groups), std.reshape(N * G), axis=1)
    dx = dx.reshape(x_hat.shape)
    return keep_dtype(dx, x_hat), keep_dtype(dgamma, gamma), keep_dtype(dbeta, beta)
