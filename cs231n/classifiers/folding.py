"""In test mode a convolution, the batch norm behind it and the activation are one convolution.

Batch norm then is ``scale * x + shift`` with constants for each channel, and that of a convolution
is the convolution with filters and biases that are multiplied and moved.  The folded filters are
made anew for each batch: nothing is kept that could be out of date when somebody changes a
parameter or a statistic in place.  Where filters are so large, and images so few, that this takes
longer than to normalise the maps, the maps are: scores of an image alone may differ by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cs231n.classifiers.layer import Layer
from cs231n.core import checks
from cs231n.kernels import workspace
from cs231n.kernels.backend import REFERENCE, backend
from cs231n.layer_utils import BEHIND_BATCHNORM, CONV, CONV_RELU, RELU, SPATIAL_BATCHNORM

__all__ = ["folded"]

# What is left of a normalisation behind the convolution that it is folded into.
_LEFT = {SPATIAL_BATCHNORM: None, **BEHIND_BATCHNORM}
_PIXELS = 64  # of a usual map: filters of more numbers than the maps of all images are not folded


def folded(
    layers: Sequence[Layer], params: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> tuple[list[Layer], dict[str, np.ndarray]]:
    """Return layers that give the same scores in test mode with fewer passes over the images.

    Parameters
    ----------
    layers : sequence of Layer
        Of a network.
    params : mapping of str to ndarray
        Their weights.
    shape : tuple of int
        Of the images.

    Returns
    -------
    layers : list of Layer
        The same ones where the reference layers are in use.
    params : dict of str to ndarray
        The same, but for the filters and biases in front of a batch normalisation.
    """
    params = dict(params)
    if backend() == REFERENCE:
        return list(layers), params
    N = shape[0] if shape else 0  # such images are for the first layer to refuse
    return list(_folded(layers, params, N)), params


def _folded(layers: Sequence[Layer], params: dict[str, np.ndarray], N: int) -> Iterator[Layer]:
    """Yield the layers; what is folded is put into params."""
    following: list[Layer | None] = [*layers[1:], None]
    taken = False
    for layer, behind in zip(layers, following):
        if taken:
            taken = False
            continue
        if behind is None or not _pays(layer, behind, params, N):
            yield layer
            continue
        unit, taken = _LEFT[behind.stage], True
        params.update(zip(layer.weights, _fold(layer, behind, params)))
        if unit == RELU:
            yield layer._replace(stage=CONV_RELU)
            continue
        yield layer
        if unit is not None:
            yield Layer(unit, (), behind.options[1:])


def _pays(layer: Layer, behind: Layer, params: Mapping[str, np.ndarray], N: int) -> bool:
    """Tell whether two layers can be one, and its filters are made sooner than maps normalised."""
    if layer.stage != CONV or behind.stage not in _LEFT:
        return False
    shape = params[layer.weights[0]].shape  # other than four axes are for the layer to refuse
    return len(shape) == 4 and math.prod(shape[1:]) <= N * _PIXELS


def _fold(layer: Layer, behind: Layer, params: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the filters and biases of a convolution and the batch norm behind it."""
    w, b = (params[name] for name in layer.weights)
    gamma, beta = (params[name].astype(np.float64) for name in behind.weights)
    bn_param: dict[str, Any] = {**behind.options[0], "mode": "test"}
    channels = np.empty((0, len(w)), w.dtype)
    _, eps, _, mean, var = checks.bn_options(bn_param, channels, "Network.loss")
    scale = gamma / np.sqrt(var.astype(np.float64) + eps)
    filters = workspace.empty(w.shape, w.dtype)
    np.multiply(w, scale.astype(w.dtype)[:, None, None, None], out=filters)
    return [filters, ((b - mean) * scale + beta).astype(b.dtype)]
