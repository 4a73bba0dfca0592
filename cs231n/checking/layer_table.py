"""Every layer once: its functions, its fast twin, its stage, its counterpart, and examples.

`check`, `bench`, the bridge to PyTorch and the tests read this table; a layer is added to all of
them by a row here.  It stands in `checking` because that is what it is for, to have each layer
compared with all that it must agree with, and it imports nothing above the layers and sandwiches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers, layer_utils, layers, modern_layers
from cs231n.checking import counterparts
from cs231n.checking.counterparts import Counterpart, followed
from cs231n.layer_utils import Stage

__all__ = ["LAYERS", "SANDWICHES", "Example", "LayerRow", "Passes"]


class Passes(NamedTuple):
    """The functions of a layer; backward is None for a loss, which gives its gradient at once."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """Name of the layer, such as 'conv_naive': that of the function without the direction."""
        function = self.forward if self.backward is None else self.backward
        return function.__name__.replace("_backward", "")


class Example(NamedTuple):
    """Shapes of x and the weights, and the options, with which a layer can be run."""

    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Any, ...] = ()

    def draw(self, rng: np.random.Generator, dtype: Any = np.float64) -> list[np.ndarray]:
        """Return random arrays of these shapes."""
        return [rng.standard_normal(shape).astype(dtype) for shape in self.shapes]


class LayerRow(NamedTuple):
    """A row of the table.

    examples have a name where there are several; the first is the usual one.  parts names the rows
    of the layers that a fused one is the twin of, where it has no reference of its own.
    """

    examples: Mapping[str, Example]
    reference: Passes | None = None
    fast: Passes | None = None
    stage: Stage | None = None
    counterpart: Counterpart | None = None
    parts: tuple[str, ...] = ()

    @property
    def passes(self) -> Iterator[Passes]:
        """The implementations that there are."""
        return (passes for passes in (self.reference, self.fast) if passes is not None)

    @property
    def example(self) -> Example:
        """The usual example."""
        return next(iter(self.examples.values()))


_TRAIN = {"mode": "train"}
_TEST = {
    "mode": "test",
    "running_mean": np.array([0.3, -0.2, 0.1]),
    "running_var": np.array([0.7, 1.5, 2.0]),
}
_DROP = {"mode": "train", "p": 0.6, "seed": 231}
_CONV = {"stride": 2, "pad": 1}
_POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}
_OVERLAP = {"pool_height": 3, "pool_width": 2, "stride": 1}
_LABELS = np.array([2, 0, 1, 1])

_SCALES = ((3,), (3,))
_ROWS = ((4, 3), *_SCALES)
_IMAGES = ((2, 3, 4, 5), *_SCALES)
_GROUPS = ((2, 4, 3, 2), (1, 4, 1, 1), (1, 4, 1, 1))
_PIXELS = ((2, 2, 6, 5),)
_FILTERS = (*_PIXELS, (3, 2, 3, 2), (3,))
_AFFINE = ((4, 2, 3), (6, 3), (3,))


def _one(shapes: tuple[tuple[int, ...], ...], *options: Any) -> dict[str, Example]:
    """Return a single example, which needs no name."""
    return {"": Example(shapes, options)}


def _train_and_test(shapes: tuple[tuple[int, ...], ...], *unit: Any) -> dict[str, Example]:
    """Return the examples of a batch normalisation, and of units with these options after it."""
    return {
        "train": Example(shapes, (_TRAIN, *unit)),
        "test": Example(shapes, (_TEST, *unit)),
    }


LAYERS = {
    "affine": LayerRow(
        _one(_AFFINE),
        Passes(layers.affine_forward, layers.affine_backward),
        Passes(fast_layers.affine_forward_fast, fast_layers.affine_backward_fast),
        layer_utils.AFFINE,
        counterparts.AFFINE,
    ),
    "relu": LayerRow(
        _one(_PIXELS),
        Passes(layers.relu_forward, layers.relu_backward),
        Passes(fast_layers.relu_forward_fast, fast_layers.relu_backward_fast),
        layer_utils.RELU,
        counterparts.RELU,
    ),
    "leaky_relu": LayerRow(
        _one(_PIXELS, 0.1),
        Passes(modern_layers.leaky_relu_forward, modern_layers.leaky_relu_backward),
        Passes(fast_layers.leaky_relu_forward_fast, fast_layers.leaky_relu_backward_fast),
        layer_utils.LEAKY_RELU,
        counterparts.LEAKY_RELU,
    ),
    "gelu": LayerRow(
        {"exact": Example(_PIXELS, ("exact",)), "tanh": Example(_PIXELS, ("tanh",))},
        Passes(modern_layers.gelu_forward, modern_layers.gelu_backward),
        Passes(fast_layers.gelu_forward_fast, fast_layers.gelu_backward_fast),
        layer_utils.GELU,
        counterparts.GELU,
    ),
    "silu": LayerRow(
        _one(_PIXELS),
        Passes(modern_layers.silu_forward, modern_layers.silu_backward),
        Passes(fast_layers.silu_forward_fast, fast_layers.silu_backward_fast),
        layer_utils.SILU,
        counterparts.SILU,
    ),
    "softmax_loss": LayerRow(
        _one(((4, 3),), _LABELS),
        Passes(layers.softmax_loss),
        Passes(fast_layers.softmax_loss_fast),
        counterpart=counterparts.SOFTMAX_LOSS,
    ),
    "svm_loss": LayerRow(_one(((4, 3),), _LABELS), Passes(layers.svm_loss)),
    "batchnorm": LayerRow(
        _train_and_test(_ROWS),
        Passes(layers.batchnorm_forward, layers.batchnorm_backward),
        Passes(fast_layers.batchnorm_forward_fast, fast_layers.batchnorm_backward_fast),
        layer_utils.BATCHNORM,
        counterparts.BATCHNORM,
    ),
    "batchnorm_alt": LayerRow(
        _train_and_test(_ROWS),
        Passes(layers.batchnorm_forward, layers.batchnorm_backward_alt),
        counterpart=counterparts.BATCHNORM,
    ),
    "layernorm": LayerRow(
        _one(_ROWS, {}),
        Passes(layers.layernorm_forward, layers.layernorm_backward),
        Passes(fast_layers.layernorm_forward_fast, fast_layers.layernorm_backward_fast),
        layer_utils.LAYERNORM,
        counterparts.LAYERNORM,
    ),
    "dropout": LayerRow(
        {
            "train": Example(_PIXELS, (_DROP,)),
            "test": Example(_PIXELS, ({**_DROP, "mode": "test"},)),
        },
        Passes(layers.dropout_forward, layers.dropout_backward),
        stage=layer_utils.DROPOUT,
        counterpart=counterparts.DROPOUT,
    ),
    "conv": LayerRow(
        _one(_FILTERS, _CONV),
        Passes(layers.conv_forward_naive, layers.conv_backward_naive),
        Passes(fast_layers.conv_forward_fast, fast_layers.conv_backward_fast),
        layer_utils.CONV,
        counterparts.CONV,
    ),
    "conv_relu": LayerRow(
        _one(_FILTERS, _CONV),
        None,
        Passes(fast_layers.conv_relu_forward_fast, fast_layers.conv_relu_backward_fast),
        layer_utils.CONV_RELU,
        followed(counterparts.CONV, counterparts.RELU),
        parts=("conv", "relu"),
    ),
    "max_pool": LayerRow(
        _one(_PIXELS, _OVERLAP),
        Passes(layers.max_pool_forward_naive, layers.max_pool_backward_naive),
        Passes(fast_layers.max_pool_forward_fast, fast_layers.max_pool_backward_fast),
        layer_utils.POOL,
        counterparts.MAX_POOL,
    ),
    "global_avg_pool": LayerRow(
        _one(_PIXELS),
        Passes(layers.global_avg_pool_forward, layers.global_avg_pool_backward),
        stage=layer_utils.GLOBAL_AVG_POOL,
        counterpart=counterparts.GLOBAL_AVG_POOL,
    ),
    "global_max_pool": LayerRow(
        _one(_PIXELS),
        Passes(layers.global_max_pool_forward, layers.global_max_pool_backward),
        stage=layer_utils.GLOBAL_MAX_POOL,
        counterpart=counterparts.GLOBAL_MAX_POOL,
    ),
    "shortcut": LayerRow(
        {
            "": Example(((2, 3, 4, 5), (2, 3, 4, 5)), (1,)),
            "stride 2": Example(((2, 3, 2, 3), (2, 2, 4, 5)), (2,)),
        },
        Passes(modern_layers.shortcut_forward, modern_layers.shortcut_backward),
        stage=layer_utils.SHORTCUT,
        counterpart=counterparts.SHORTCUT,
    ),
    "scale": LayerRow(
        _one(((4, 3),), 0.3),
        Passes(modern_layers.scale_forward, modern_layers.scale_backward),
        stage=layer_utils.SCALE,
        counterpart=counterparts.SCALE,
    ),
    "spatial_batchnorm": LayerRow(
        _train_and_test(_IMAGES),
        Passes(layers.spatial_batchnorm_forward, layers.spatial_batchnorm_backward),
        Passes(
            fast_layers.spatial_batchnorm_forward_fast, fast_layers.spatial_batchnorm_backward_fast
        ),
        layer_utils.SPATIAL_BATCHNORM,
        counterparts.SPATIAL_BATCHNORM,
    ),
    "spatial_batchnorm_relu": LayerRow(
        _train_and_test(_IMAGES),
        None,
        Passes(
            fast_layers.spatial_batchnorm_relu_forward_fast,
            fast_layers.spatial_batchnorm_relu_backward_fast,
        ),
        layer_utils.SPATIAL_BATCHNORM_RELU,
        followed(counterparts.SPATIAL_BATCHNORM, counterparts.RELU),
        parts=("spatial_batchnorm", "relu"),
    ),
    "spatial_batchnorm_leaky_relu": LayerRow(
        _train_and_test(_IMAGES, 0.1),
        None,
        Passes(
            fast_layers.spatial_batchnorm_leaky_relu_forward_fast,
            fast_layers.spatial_batchnorm_leaky_relu_backward_fast,
        ),
        layer_utils.SPATIAL_BATCHNORM_LEAKY_RELU,
        followed(counterparts.SPATIAL_BATCHNORM, counterparts.LEAKY_RELU, 1),
        parts=("spatial_batchnorm", "leaky_relu"),
    ),
    "spatial_batchnorm_gelu": LayerRow(
        _train_and_test(_IMAGES, "exact"),
        None,
        Passes(
            fast_layers.spatial_batchnorm_gelu_forward_fast,
            fast_layers.spatial_batchnorm_gelu_backward_fast,
        ),
        layer_utils.SPATIAL_BATCHNORM_GELU,
        followed(counterparts.SPATIAL_BATCHNORM, counterparts.GELU, 1),
        parts=("spatial_batchnorm", "gelu"),
    ),
    "spatial_batchnorm_silu": LayerRow(
        _train_and_test(_IMAGES),
        None,
        Passes(
            fast_layers.spatial_batchnorm_silu_forward_fast,
            fast_layers.spatial_batchnorm_silu_backward_fast,
        ),
        layer_utils.SPATIAL_BATCHNORM_SILU,
        followed(counterparts.SPATIAL_BATCHNORM, counterparts.SILU),
        parts=("spatial_batchnorm", "silu"),
    ),
    "spatial_groupnorm": LayerRow(
        _one(_GROUPS, 2, {}),
        Passes(layers.spatial_groupnorm_forward, layers.spatial_groupnorm_backward),
        Passes(
            fast_layers.spatial_groupnorm_forward_fast, fast_layers.spatial_groupnorm_backward_fast
        ),
        layer_utils.SPATIAL_GROUPNORM,
        counterparts.SPATIAL_GROUPNORM,
    ),
}

_U = layer_utils
# Sandwiches are fast themselves; their parts are rows of the table above.
SANDWICHES = {
    "affine_relu": LayerRow(
        _one(_AFFINE),
        fast=Passes(_U.affine_relu_forward, _U.affine_relu_backward),
        parts=("affine", "relu"),
    ),
    "affine_bn_relu": LayerRow(
        _one(_AFFINE + _SCALES, _TRAIN),
        fast=Passes(_U.affine_bn_relu_forward, _U.affine_bn_relu_backward),
        parts=("affine", "batchnorm", "relu"),
    ),
    "affine_ln_relu": LayerRow(
        _one(_AFFINE + _SCALES, {}),
        fast=Passes(_U.affine_ln_relu_forward, _U.affine_ln_relu_backward),
        parts=("affine", "layernorm", "relu"),
    ),
    "affine_relu_dropout": LayerRow(
        _one(_AFFINE, _DROP),
        fast=Passes(_U.affine_relu_dropout_forward, _U.affine_relu_dropout_backward),
        parts=("affine", "relu", "dropout"),
    ),
    "affine_bn_relu_dropout": LayerRow(
        _one(_AFFINE + _SCALES, _TRAIN, _DROP),
        fast=Passes(_U.affine_bn_relu_dropout_forward, _U.affine_bn_relu_dropout_backward),
        parts=("affine", "batchnorm", "relu", "dropout"),
    ),
    "affine_ln_relu_dropout": LayerRow(
        _one(_AFFINE + _SCALES, {}, _DROP),
        fast=Passes(_U.affine_ln_relu_dropout_forward, _U.affine_ln_relu_dropout_backward),
        parts=("affine", "layernorm", "relu", "dropout"),
    ),
    "conv_relu": LayerRow(
        _one(_FILTERS, _CONV),
        fast=Passes(_U.conv_relu_forward, _U.conv_relu_backward),
        parts=("conv", "relu"),
    ),
    "conv_bn_relu": LayerRow(
        _one(_FILTERS + _SCALES, _CONV, _TRAIN),
        fast=Passes(_U.conv_bn_relu_forward, _U.conv_bn_relu_backward),
        parts=("conv", "spatial_batchnorm", "relu"),
    ),
    "conv_relu_pool": LayerRow(
        _one(_FILTERS, _CONV, _POOL),
        fast=Passes(_U.conv_relu_pool_forward, _U.conv_relu_pool_backward),
        parts=("conv", "relu", "max_pool"),
    ),
    "conv_bn_relu_pool": LayerRow(
        _one(_FILTERS + _SCALES, _CONV, _TRAIN, _POOL),
        fast=Passes(_U.conv_bn_relu_pool_forward, _U.conv_bn_relu_pool_backward),
        parts=("conv", "spatial_batchnorm", "relu", "max_pool"),
    ),
}
