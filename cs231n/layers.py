"""Reference layers: forward and backward passes in plain NumPy, in the order they are taught.

This file is written to be read; `cs231n.fast_layers` holds twins of the slow ones.  Every layer is
a pair of functions, ``f_forward(x, *weights, *options) -> (out, cache)`` and
``f_backward(dout, cache) -> dx`` or ``(dx, *dweights)``; a loss gives ``(loss, dx)``.

N samples; D inputs, M outputs; C channels or classes; H, W image; F filters; HH, WW window;
OH, OW output map; G groups of channels.  ``dv`` is the gradient of the loss with respect to v.

A layer never writes to its arguments, except for the running statistics in ``bn_param``.  float32
stays float32, integers are computed in the dtype of the other arrays or in float64, and a gradient
has the shape and dtype of its array.

What all layers share is said in the line above each, and done by `cs231n.core.contract`: arrays are
made of what came, and a ValueError or TypeError that names the function is raised where an array is
not float32, float64 or integer, shapes do not fit together, an option is missing or wrong, a label
is no class, dout does not have the output's shape, or the cache is another layer's.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.core.contract import backward, forward
from cs231n.core.window import Window

__all__ = [
    "affine_backward", "affine_forward", "batchnorm_backward", "batchnorm_backward_alt",
    "batchnorm_forward", "conv_backward_naive", "conv_forward_naive", "dropout_backward",
    "dropout_forward", "global_avg_pool_backward", "global_avg_pool_forward",
    "global_max_pool_backward", "global_max_pool_forward", "layernorm_backward",
    "layernorm_forward", "max_pool_backward_naive", "max_pool_forward_naive", "relu_backward",
    "relu_forward", "softmax_loss", "spatial_batchnorm_backward", "spatial_batchnorm_forward",
    "spatial_groupnorm_backward", "spatial_groupnorm_forward", "svm_loss",
]  # fmt: skip

Array = np.ndarray
Options = MutableMapping[str, Any]
Gradients = tuple[Array, Array, Array]  # of x, and of the weights in order
GradientsOrNone = tuple[Array | None, Array, Array]


class AffineCache(NamedTuple):
    """x (N, d1, ..., dk), w (D, M), b (M,)."""

    x: Array
    w: Array
    b: Array

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return len(self.x), self.w.shape[1]


@forward(x="N D...", w="D M", b="M")
def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineCache]:
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
    """
    rows = x.reshape(len(x), len(w))  # (N, D)
    return rows @ w + b, AffineCache(x, w, b)


@backward(AffineCache, x="N D...", w="D M", b="M")
def affine_backward(dout: Array, cache: AffineCache, need_dx: bool = True) -> GradientsOrNone:
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

    Notes
    -----
    From ``out = rows @ w + b``: ``drows = dout @ w.T``, ``dw = rows.T @ dout``, and b is added to
    every row, so db sums over the rows.
    """
    x, w, _ = cache
    rows = x.reshape(len(x), len(w))  # (N, D)
    dx = (dout @ w.T).reshape(x.shape) if need_dx else None
    dw = rows.T @ dout  # (D, M)
    return dx, dw, dout.sum(axis=0)


@forward(x="...")
def relu_forward(x: Array) -> tuple[Array, Array]:
    """Compute the forward pass of a layer of rectified linear units, ``max(x, 0)``.

    Parameters
    ----------
    x : ndarray of any shape
        Input.

    Returns
    -------
    out : ndarray of the same shape
    cache : ndarray of the same shape
        x itself.

    References
    ----------
    Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010.
    """
    return np.maximum(x, 0), x


@backward(np.ndarray)
def relu_backward(dout: Array, cache: Array) -> Array:
    """Back-propagate through rectified linear units.

    Parameters
    ----------
    dout : ndarray of any shape
        Upstream gradient.
    cache : ndarray of the same shape
        From `relu_forward`.

    Returns
    -------
    dx : ndarray of the same shape
        dout where the input was positive, zero elsewhere (at zero, too).
    """
    return np.where(cache > 0, dout, 0)


@forward(x="N C", y="in C")
def softmax_loss(x: Array, y: Array, label_smoothing: float = 0.0) -> tuple[float, Array]:
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

    Notes
    -----
    Subtracting each row's largest score changes no probability and keeps exp from overflowing.
    The gradient is ``(p - t) / N`` with the target ``t = onehot(y)``.  The loss is summed in
    float64, for a float32 sum over many samples would lose digits.

    Smoothing by s makes the target ``t = (1 - s) * onehot(y) + s / C`` and the loss the mean of
    ``-sum(t * log p)``: the network is not driven to be certain.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, Rethinking the Inception Architecture for Computer
    Vision, CVPR 2016 (label smoothing).
    """
    N, C = x.shape
    s = checks.number("", "label_smoothing", label_smoothing, 0, 1)
    if N == 0:
        return 0.0, np.zeros_like(x)
    t = np.full_like(x, s / C)  # (N, C)
    t[np.arange(N), y] += 1 - s

    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # Where the target is 0 the product is, too, also if a score of minus infinity makes p 0.
    log_likelihood = np.multiply(t, log_p, out=np.zeros_like(x), where=t > 0).sum(axis=1)
    dx = (np.exp(log_p) - t) / N
    return float(-log_likelihood.sum(dtype=np.float64) / N), dx


@forward(x="N C", y="in C")
def svm_loss(x: Array, y: Array) -> tuple[float, Array]:
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

    References
    ----------
    Weston and Watkins, Support Vector Machines for Multi-Class Pattern Recognition, ESANN 1999.
    """
    N = len(x)
    if N == 0:
        return 0.0, np.zeros_like(x)
    correct = np.arange(N), y

    margins = np.maximum(x - x[correct][:, None] + 1, 0)
    margins[correct] = 0
    dx = (margins > 0).astype(x.dtype)
    dx[correct] = -dx.sum(axis=1)  # each violated margin pushes the correct score up
    return float(margins.sum(dtype=np.float64) / N), dx / N


class BatchNormCache(NamedTuple):
    """x_hat (N, D) normalised input, gamma (D,), beta (D,), std (D,), mode."""

    x_hat: Array
    gamma: Array
    beta: Array
    std: Array
    mode: str


@forward(x="N* D", gamma="D", beta="D")
def batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, BatchNormCache]:
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
    mode, eps, momentum, running_mean, running_var = checks.bn_options(bn_param, x)
    if mode == "train":
        x_hat, mean, var, std = _normalise(x, eps, axis=0)
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    else:
        std = np.sqrt(running_var + eps)
        x_hat = checks.keep_dtype((x - running_mean) / std, x)
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return gamma * x_hat + beta, BatchNormCache(x_hat, gamma, beta, std, mode)


@backward(BatchNormCache, x_hat="N D", gamma="D", beta="D", std="D")
def batchnorm_backward(dout: Array, cache: BatchNormCache) -> Gradients:
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

    Notes
    -----
    The graph is ``mean -> centred = x - mean -> var = mean(centred ** 2) -> std = sqrt(var + eps)
    -> x_hat = centred / std``; the gradient walks it from the right to the left, and where a node
    feeds two others it is the sum of what comes back from both.
    """
    x_hat, gamma, _, std, mode = cache
    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    dx_hat = dout * gamma  # (N, D)
    if mode == "test":  # the statistics are constants
        return dx_hat / std, dgamma, dbeta

    centred = x_hat * std
    # A column's numbers share one std, and d(centred / std) / dstd = -centred / std**2 for each.
    dstd = -(dx_hat * x_hat).sum(axis=0) / std  # (D,)
    dvar = dstd / (2 * std)
    dcentred = dx_hat / std + dvar * 2 * centred / len(dout)
    dmean = -dcentred.sum(axis=0)
    return dcentred + dmean / len(dout), dgamma, dbeta


@backward(BatchNormCache, x_hat="N D", gamma="D", beta="D", std="D")
def batchnorm_backward_alt(dout: Array, cache: BatchNormCache) -> Gradients:
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

    Notes
    -----
    With ``g = dout * gamma``, the nodes of `batchnorm_backward` collapse to
    ``dx = (g - mean(g) - x_hat * mean(g * x_hat)) / std``: the part of g along the constant
    vector and along x_hat is taken out, for a change of x in these directions is normalised away.
    """
    x_hat, gamma, _, std, mode = cache
    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    if mode == "test":
        return dout * (gamma / std), dgamma, dbeta
    return _normalise_backward(dout * gamma, x_hat, std, axis=0), dgamma, dbeta


def _normalise(x: Array, eps: float, axis: int) -> tuple[Array, ...]:
    """Return x with mean 0 and variance 1 along the axis, and mean, variance and deviation."""
    # In float64: the division magnifies what rounding leaves of a constant column in float32.
    mean = checks.keep_dtype(x.mean(axis=axis, keepdims=True, dtype=np.float64), x)
    centred = x - mean
    var = (centred**2).mean(axis=axis, keepdims=True)
    std = np.sqrt(var + eps)
    return centred / std, mean.squeeze(axis), var.squeeze(axis), std.squeeze(axis)


def _normalise_backward(dx_hat: Array, x_hat: Array, std: Array, axis: int) -> Array:
    """Back-propagate through `_normalise`: (g - mean(g) - x_hat * mean(g * x_hat)) / std."""
    mean = dx_hat.mean(axis=axis, keepdims=True)
    along = (dx_hat * x_hat).mean(axis=axis, keepdims=True)
    return (dx_hat - mean - x_hat * along) / np.expand_dims(std, axis)


class LayerNormCache(NamedTuple):
    """x_hat (N, D) normalised input, gamma (D,), beta (D,), std (N,)."""

    x_hat: Array
    gamma: Array
    beta: Array
    std: Array


@forward(x="N D+", gamma="D", beta="D")
def layernorm_forward(
    x: Array, gamma: Array, beta: Array, ln_param: Options
) -> tuple[Array, LayerNormCache]:
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

    References
    ----------
    Ba, Kiros and Hinton, Layer Normalization, 2016 (arXiv:1607.06450).
    """
    x_hat, _, _, std = _normalise(x, checks.eps("ln_param", ln_param), axis=1)
    return gamma * x_hat + beta, LayerNormCache(x_hat, gamma, beta, std)


@backward(LayerNormCache, x_hat="N D", gamma="D", beta="D", std="N")
def layernorm_backward(dout: Array, cache: LayerNormCache) -> Gradients:
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

    Notes
    -----
    The formula of `batchnorm_backward_alt` along rows instead of columns.
    """
    x_hat, gamma, _, std = cache
    dbeta = dout.sum(axis=0)  # (D,)
    dgamma = (dout * x_hat).sum(axis=0)  # (D,)
    return _normalise_backward(dout * gamma, x_hat, std, axis=1), dgamma, dbeta


class DropoutCache(NamedTuple):
    """dropout_param; mask, of the input's shape, 0 or 1 / p, in test mode all 1."""

    dropout_param: Options
    mask: Array


@forward(x="...")
def dropout_forward(x: Array, dropout_param: Options) -> tuple[Array, DropoutCache]:
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

    Notes
    -----
    Dividing by p while training keeps every unit's expected value, so that nothing is left to do
    when testing.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting, JMLR 15, 2014.
    """
    mode, p, rng = checks.dropout_options(dropout_param)
    if mode == "test":
        mask = np.broadcast_to(x.dtype.type(1), x.shape)
    else:
        mask = np.less(rng.random(x.shape), p).astype(x.dtype) / p
    return x * mask, DropoutCache(dict(dropout_param), mask)


@backward(DropoutCache, mask="...?")
def dropout_backward(dout: Array, cache: DropoutCache) -> Array:
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
    """
    return dout * cache.mask


class ConvCache(NamedTuple):
    """x (N, C, H, W), w (F, C, HH, WW), b (F,), conv_param."""

    x: Array
    w: Array
    b: Array
    conv_param: Options

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return len(self.x), len(self.w), *Window.for_conv(self.w, self.conv_param).over(self.x)


@forward(x="N C H W", w="F C HH WW", b="F")
def conv_forward_naive(
    x: Array, w: Array, b: Array, conv_param: Options
) -> tuple[Array, ConvCache]:
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

    Notes
    -----
    ``out[n, f, i, j] = sum(window of image n at (i, j) * w[f]) + b[f]``: the filter is not
    flipped, so strictly this is a cross-correlation.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition,
    Proceedings of the IEEE 86(11), 1998.
    """
    window = Window.for_conv(w, conv_param)
    out = np.empty((len(x), len(w), *window.over(x)), np.result_type(x, w, b))
    padded = window.pad_image(x)  # (N, C, H + 2 pad, W + 2 pad)
    for n, f, i, j in np.ndindex(out.shape):
        rows, columns = window.pixels(i, j)
        out[n, f, i, j] = np.sum(padded[n, :, rows, columns] * w[f]) + b[f]
    return out, ConvCache(x, w, b, dict(conv_param))


@backward(ConvCache, x="N C H W", w="F C HH WW", b="F")
def conv_backward_naive(
    dout: Array, cache: ConvCache, need_dx: bool = True, need_dw: bool = True
) -> tuple[Array | None, Array | None, Array]:
    """Back-propagate through a convolutional layer.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
        Upstream gradient.
    cache : ConvCache
        From `conv_forward_naive`.
    need_dx : bool
        Whether to compute dx; a network's first layer can do without.
    need_dw : bool
        Whether to return dw, which frozen filters can do without.

    Returns
    -------
    dx : ndarray of shape (N, C, H, W), or None if not needed
    dw : ndarray of shape (F, C, HH, WW), or None if not needed
    db : ndarray of shape (F,)

    Notes
    -----
    Each output is a sum of products ``pixel * weight``, so its gradient flows to every pixel of
    its window, scaled by the weight, and to every weight, scaled by the pixel.
    """
    x, w, _, conv_param = cache
    window = Window.for_conv(w, conv_param)
    padded = window.pad_image(x)
    dpadded = np.zeros(padded.shape, np.result_type(w, dout))
    dw = np.zeros(w.shape, np.result_type(x, dout))
    for n, f, i, j in np.ndindex(dout.shape):
        rows, columns = window.pixels(i, j)
        dw[f] += dout[n, f, i, j] * padded[n, :, rows, columns]
        if need_dx:
            dpadded[n, :, rows, columns] += dout[n, f, i, j] * w[f]
    dx = window.crop(dpadded).copy() if need_dx else None
    return dx, dw if need_dw else None, dout.sum(axis=(0, 2, 3))


class MaxPoolCache(NamedTuple):
    """x (N, C, H, W), pool_param."""

    x: Array
    pool_param: Options

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return *self.x.shape[:2], *Window.for_pool(self.pool_param).over(self.x)


@forward(x="N C H W")
def max_pool_forward_naive(x: Array, pool_param: Options) -> tuple[Array, MaxPoolCache]:
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
    """
    window = Window.for_pool(pool_param)
    out = np.empty((*x.shape[:2], *window.over(x)), x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        rows, columns = window.pixels(i, j)
        out[n, c, i, j] = x[n, c, rows, columns].max()
    return out, MaxPoolCache(x, dict(pool_param))


@backward(MaxPoolCache, x="N C H W")
def max_pool_backward_naive(dout: Array, cache: MaxPoolCache) -> Array:
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
    """
    x, pool_param = cache
    window = Window.for_pool(pool_param)
    dx = np.zeros_like(x, order="C")
    for n, c, i, j in np.ndindex(dout.shape):
        rows, columns = window.pixels(i, j)
        pixels, dpixels = x[n, c, rows, columns], dx[n, c, rows, columns]
        largest = np.unravel_index(np.argmax(pixels), pixels.shape)
        dpixels[largest] += dout[n, c, i, j]
    return dx


class GlobalAvgPoolCache(NamedTuple):
    """shape (N, C, H, W) and dtype of the input."""

    shape: tuple[int, int, int, int]
    dtype: np.dtype

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return self.shape[:2]


@forward(x="N C H+ W+")
def global_avg_pool_forward(x: Array) -> tuple[Array, GlobalAvgPoolCache]:
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

    References
    ----------
    Lin, Chen and Yan, Network in Network, ICLR 2014.
    """
    return _pixels(x).mean(axis=2), GlobalAvgPoolCache(x.shape, x.dtype)


@backward(GlobalAvgPoolCache)
def global_avg_pool_backward(dout: Array, cache: GlobalAvgPoolCache) -> Array:
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
    """
    (N, C, H, W), dtype = cache
    pixels = np.repeat(dout[:, :, None] / (H * W), H * W, axis=2)
    return pixels.reshape(N, C, H, W).astype(dtype, copy=False)


class GlobalMaxPoolCache(NamedTuple):
    """argmax (N, C) place of the largest pixel; shape (N, C, H, W) and dtype of the input."""

    argmax: Array
    shape: tuple[int, int, int, int]
    dtype: np.dtype

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, and so of dout."""
        return self.shape[:2]


@forward(x="N C H+ W+")
def global_max_pool_forward(x: Array) -> tuple[Array, GlobalMaxPoolCache]:
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
    """
    pixels = _pixels(x)
    argmax = pixels.argmax(axis=2)
    out = np.take_along_axis(pixels, argmax[:, :, None], axis=2)[:, :, 0].copy()
    return out, GlobalMaxPoolCache(argmax, x.shape, x.dtype)


@backward(GlobalMaxPoolCache)
def global_max_pool_backward(dout: Array, cache: GlobalMaxPoolCache) -> Array:
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
    """
    argmax, (N, C, H, W), dtype = cache
    dx = np.zeros((N, C, H * W), dtype)
    np.put_along_axis(dx, argmax[:, :, None], dout[:, :, None], axis=2)
    return dx.reshape(N, C, H, W)


def _pixels(x: Array) -> Array:
    """Return images (N, C, H, W) as (N, C, H * W)."""
    N, C, H, W = x.shape
    return x.reshape(N, C, H * W)


class SpatialBatchNormCache(NamedTuple):
    """batchnorm, the cache of the rows (N * H * W, C); out_shape (N, C, H, W)."""

    batchnorm: BatchNormCache
    out_shape: tuple[int, int, int, int]


@forward(x="N* C H* W*", gamma="C", beta="C")
def spatial_batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, SpatialBatchNormCache]:
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

    Notes
    -----
    Every pixel is a sample of its channel, because a convolution treats all places alike: batch
    normalisation of N * H * W rows of C inputs.
    """
    rows, cache = batchnorm_forward(_pixels_as_rows(x), gamma, beta, bn_param)
    return _rows_as_pixels(rows, x.shape), SpatialBatchNormCache(cache, x.shape)


@backward(SpatialBatchNormCache)
def spatial_batchnorm_backward(dout: Array, cache: SpatialBatchNormCache) -> Gradients:
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
    """
    rows, dgamma, dbeta = batchnorm_backward_alt(_pixels_as_rows(dout), cache.batchnorm)
    return _rows_as_pixels(rows, cache.out_shape), dgamma, dbeta


def _pixels_as_rows(x: Array) -> Array:
    """Turn images (N, C, H, W) into rows (N * H * W, C)."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(N * H * W, C)


def _rows_as_pixels(rows: Array, shape: tuple[int, int, int, int]) -> Array:
    """Turn rows (N * H * W, C) into images of shape (N, C, H, W), in C order."""
    N, C, H, W = shape
    return np.ascontiguousarray(rows.reshape(N, H, W, C).transpose(0, 3, 1, 2))


class GroupNormCache(NamedTuple):
    """x_hat (N, C, H, W) normalised input, gamma and beta (1, C, 1, 1), std (N, G)."""

    x_hat: Array
    gamma: Array
    beta: Array
    std: Array


@forward(x="N C+ H+ W+", gamma="1 C 1 1", beta="1 C 1 1")
def spatial_groupnorm_forward(
    x: Array, gamma: Array, beta: Array, G: int, gn_param: Options
) -> tuple[Array, GroupNormCache]:
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

    References
    ----------
    Wu and He, Group Normalization, ECCV 2018.
    """
    N, C, H, W = x.shape
    G, eps = checks.groups(x, G), checks.eps("gn_param", gn_param)
    x_hat, _, _, std = _normalise(x.reshape(N * G, C // G * H * W), eps, axis=1)
    x_hat = x_hat.reshape(x.shape)
    return gamma * x_hat + beta, GroupNormCache(x_hat, gamma, beta, std.reshape(N, G))


@backward(GroupNormCache, x_hat="N C H W", gamma="1 C 1 1", beta="1 C 1 1", std="N G|C")
def spatial_groupnorm_backward(dout: Array, cache: GroupNormCache) -> Gradients:
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
    """
    x_hat, gamma, _, std = cache
    (_, C, H, W), (N, G) = x_hat.shape, std.shape
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)  # (1, C, 1, 1)
    dgamma = (dout * x_hat).sum(axis=(0, 2, 3), keepdims=True)
    groups = N * G, C // G * H * W
    dx_hat = (dout * gamma).reshape(groups)
    dx = _normalise_backward(dx_hat, x_hat.reshape(groups), std.reshape(N * G), axis=1)
    return dx.reshape(x_hat.shape), dgamma, dbeta
