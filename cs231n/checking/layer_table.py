"""Every layer once: its functions, its fast twin, its stage, its counterpart, and examples.

A stage knows its fast functions, and `layer_utils` those of the reference that they stand for.

`check`, `bench`, the bridge to PyTorch and the tests read this table; a layer is added to all of
them by a row here.  It stands in `checking` because that is what it is for, to have each layer
compared with all that it must agree with, and it imports nothing above the layers and sandwiches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers, layer_utils, layers
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


def _row(
    stage: Stage, examples: Mapping[str, Example], counterpart: Counterpart, parts: str = ""
) -> LayerRow:
    """Return the row of a stage, whose layer may be the reference's own or have a fast twin."""
    fast, others = Passes(stage.forward, stage.backward), layer_utils.references(stage)
    reference = None if parts else Passes(*others[0])
    twin = None if fast == reference else fast
    return LayerRow(examples, reference, twin, stage, counterpart, tuple(parts.split()))


_U, _C = layer_utils, counterparts
LAYERS = {
    "affine": _row(_U.AFFINE, _one(_AFFINE), _C.AFFINE),
    "relu": _row(_U.RELU, _one(_PIXELS), _C.RELU),
    "leaky_relu": _row(_U.LEAKY_RELU, _one(_PIXELS, 0.1), _C.LEAKY_RELU),
    "gelu": _row(
        _U.GELU,
        {"exact": Example(_PIXELS, ("exact",)), "tanh": Example(_PIXELS, ("tanh",))},
        _C.GELU,
    ),
    "silu": _row(_U.SILU, _one(_PIXELS), _C.SILU),
    "softmax_loss": LayerRow(
        _one(((4, 3),), _LABELS),
        Passes(layers.softmax_loss),
        Passes(fast_layers.softmax_loss_fast),
        counterpart=_C.SOFTMAX_LOSS,
    ),
    "svm_loss": LayerRow(_one(((4, 3),), _LABELS), Passes(layers.svm_loss)),
    "batchnorm": _row(_U.BATCHNORM, _train_and_test(_ROWS), _C.BATCHNORM),
    "batchnorm_alt": LayerRow(
        _train_and_test(_ROWS),
        Passes(layers.batchnorm_forward, layers.batchnorm_backward_alt),
        counterpart=_C.BATCHNORM,
    ),
    "layernorm": _row(_U.LAYERNORM, _one(_ROWS, {}), _C.LAYERNORM),
    "dropout": _row(
        _U.DROPOUT,
        {
            "train": Example(_PIXELS, (_DROP,)),
            "test": Example(_PIXELS, ({**_DROP, "mode": "test"},)),
        },
        _C.DROPOUT,
    ),
    "conv": _row(_U.CONV, _one(_FILTERS, _CONV), _C.CONV),
    "conv_relu": _row(_U.CONV_RELU, _one(_FILTERS, _CONV), followed(_C.CONV, _C.RELU), "conv relu"),
    "max_pool": _row(_U.POOL, _one(_PIXELS, _OVERLAP), _C.MAX_POOL),
    "global_avg_pool": _row(_U.GLOBAL_AVG_POOL, _one(_PIXELS), _C.GLOBAL_AVG_POOL),
    "global_max_pool": _row(_U.GLOBAL_MAX_POOL, _one(_PIXELS), _C.GLOBAL_MAX_POOL),
    "shortcut": _row(
        _U.SHORTCUT,
        {
            "": Example(((2, 3, 4, 5), (2, 3, 4, 5)), (1,)),
            "stride 2": Example(((2, 3, 2, 3), (2, 2, 4, 5)), (2,)),
        },
        _C.SHORTCUT,
    ),
    "scale": _row(_U.SCALE, _one(((4, 3),), 0.3), _C.SCALE),
    "spatial_batchnorm": _row(_U.SPATIAL_BATCHNORM, _train_and_test(_IMAGES), _C.SPATIAL_BATCHNORM),
    "spatial_batchnorm_relu": _row(
        _U.SPATIAL_BATCHNORM_RELU,
        _train_and_test(_IMAGES),
        followed(_C.SPATIAL_BATCHNORM, _C.RELU),
        "spatial_batchnorm relu",
    ),
    "spatial_batchnorm_leaky_relu": _row(
        _U.SPATIAL_BATCHNORM_LEAKY_RELU,
        _train_and_test(_IMAGES, 0.1),
        followed(_C.SPATIAL_BATCHNORM, _C.LEAKY_RELU, 1),
        "spatial_batchnorm leaky_relu",
    ),
    "spatial_batchnorm_gelu": _row(
        _U.SPATIAL_BATCHNORM_GELU,
        _train_and_test(_IMAGES, "exact"),
        followed(_C.SPATIAL_BATCHNORM, _C.GELU, 1),
        "spatial_batchnorm gelu",
    ),
    "spatial_batchnorm_silu": _row(
        _U.SPATIAL_BATCHNORM_SILU,
        _train_and_test(_IMAGES),
        followed(_C.SPATIAL_BATCHNORM, _C.SILU),
        "spatial_batchnorm silu",
    ),
    "spatial_groupnorm": _row(_U.SPATIAL_GROUPNORM, _one(_GROUPS, 2, {}), _C.SPATIAL_GROUPNORM),
}

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
