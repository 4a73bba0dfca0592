"""Convolutional networks.

All of `cs231n.layers`, `cs231n.layer_utils` and `cs231n.fast_layers` can be imported from here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cs231n import fast_layers, layer_utils, layers
from cs231n._reexport import reexport
from cs231n.classifiers.network import Network, gaussian
from cs231n.core import checks
from cs231n.im2col import Window
from cs231n.layer_utils import AFFINE, CONV_RELU, POOL, RELU

__all__, __getattr__ = reexport(__name__, ["ThreeLayerConvNet"], layers, layer_utils, fast_layers)


class ThreeLayerConvNet(Network):
    """A network of the form conv - relu - 2x2 max pool - affine - relu - affine - softmax.

    The convolution has stride 1 and pads (filter_size - 1) / 2 pixels, which keeps the image's
    size for odd filters.

    Parameters
    ----------
    input_dim : tuple (C, H, W)
        Shape of an image.
    num_filters : int
        Number of filters F.
    filter_size : int
        Height and width of the filters in pixels.
    hidden_dim : int
        Number of units of the hidden affine layer.
    num_classes : int
        Number of classes.
    weight_scale : float
        Standard deviation of the initial weights.
    reg : float
        Strength of L2 regularisation, with the factor 0.5.
    dtype : dtype
        np.float32 or np.float64.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible.
    """

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (3, 32, 32),
        num_filters: int = 32,
        filter_size: int = 7,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reg, dtype)
        where = "ThreeLayerConvNet"
        C, H, W = self.input_shape = image_shape(where, input_dim)
        F = checks.integer(where, "num_filters", num_filters, least=1)
        size = checks.integer(where, "filter_size", filter_size, least=1)
        M = checks.integer(where, "hidden_dim", hidden_dim, least=1)
        classes = checks.integer(where, "num_classes", num_classes, least=1)
        draw = gaussian(checks.number(where, "weight_scale", weight_scale, low=0))

        conv_param = {"stride": 1, "pad": (size - 1) // 2}
        pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        OH, OW = Window(size, size, **conv_param).output_size(where, H, W)
        OH, OW = Window.for_pool(where, pool_param).output_size(where, OH, OW)
        self._add(CONV_RELU, conv_param, W1=draw(F, C, size, size), b1=np.zeros(F))
        self._add(POOL, pool_param)
        self._add(AFFINE, W2=draw(F * OH * OW, M), b2=np.zeros(M))
        self._add(RELU)
        self._add(AFFINE, W3=draw(M, classes), b3=np.zeros(classes))


def image_shape(where: str, input_dim: Any) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an image as three positive integers."""
    try:
        C, H, W = input_dim
    except (TypeError, ValueError):
        raise ValueError(f"{where}: input_dim is {input_dim!r}; expected (C, H, W)") from None
    C, H, W = (checks.integer(where, "input_dim", size, least=1) for size in (C, H, W))
    return C, H, W
