"""A network as an ONNX model, which other runtimes take: pixels in, scores and probabilities out.

The normalisation of the images is part of the model, so that nobody has to know of it.  Where an
operator of ONNX does something else than the layer here, the layer is put together of several:

- Group normalisation is instance normalisation of the groups, with scale and shift behind it.
- Gelu is written out as its formula, and silu, which ONNX does not have, as x times its sigmoid.
- The shortcut of a residual block is a slice of every so many-th pixel and zeros for the channels
  that are not there, added to what the block has made.
- Dropout does nothing outside of training, and is left out.

The package `onnx` is optional: it is imported when a function first needs it.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cs231n import __version__
from cs231n.classifiers.inputs import Inputs
from cs231n.classifiers.layer import FORK, Layer
from cs231n.classifiers.network import Network
from cs231n.classifiers.summary import outputs
from cs231n.layer_utils import (
    AFFINE,
    BATCHNORM,
    CONV,
    DROPOUT,
    GELU,
    GLOBAL_AVG_POOL,
    GLOBAL_MAX_POOL,
    LAYERNORM,
    LEAKY_RELU,
    PARTS,
    POOL,
    RELU,
    SCALE,
    SHORTCUT,
    SILU,
    SPATIAL_BATCHNORM,
    SPATIAL_GROUPNORM,
    Stage,
)

__all__ = ["to_onnx"]

_OPSET = 17  # the first with layer normalisation; fewer runtimes take 20, the first with gelu
_IR_VERSION = 8  # of the file, as old as that


def to_onnx(model: Network) -> Any:
    """Return a network as an ONNX model, in float32.

    Parameters
    ----------
    model : Network
        Of this package; with `inputs`, its normalisation is part of the model.

    Returns
    -------
    onnx.ModelProto
        With the input ``images``, float32 of shape (N, C, H, W) with pixels from 0 to 255 (or of
        shape (N, ...) as the network takes it, if it does not know its images), and the outputs
        ``scores`` and ``probabilities`` of shape (N, C).  The names of the classes are in its
        metadata, a JSON list under ``class_names``.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    TypeError, ValueError
        If model is no Network, or has a layer that is not known here.

    Examples
    --------
    >>> onnx.save(to_onnx(model), "model.onnx")  # doctest: +SKIP
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError(
            f"to_onnx: the package onnx is missing ({error}); it is optional, and"
            f" `pip install onnx` installs it"
        ) from error
    if not isinstance(model, Network):
        raise TypeError(f"to_onnx: model is a {type(model).__name__}; expected a Network")
    shape = model.input_shape if model.inputs is None else model.inputs.image_shape
    graph = _Graph(onnx, "images")
    if model.inputs is not None:
        _normalize(graph, model.inputs)
    sample = np.zeros((1, *model.input_shape), model.dtype)
    for layer, out in zip(model._layers, outputs(model._layers, model.params, sample)):
        graph.shape = out.shape[1:]
        _add_layer(graph, model, layer)
    graph.add("Identity", output="scores")
    graph.add("Softmax", output="probabilities", axis=1)
    return graph.model(shape, model)


class _Graph:
    """Nodes in a row, each of which takes what the one before gives.

    `last` names what that is.  `shape` is that of a sample behind the layer that is being added,
    and `forks` are names and numbers of channels of what the open residual blocks have begun with.
    """

    def __init__(self, onnx: Any, first: str) -> None:
        self._onnx, self.last, self._count = onnx, first, 0
        self.shape: tuple[int, ...] = ()
        self.forks: list[tuple[str, int]] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, kind: str, *others: Any, output: str = "", **attributes: Any) -> None:
        """Append a node of this kind; constants and names of results follow its input."""
        self._count += 1
        names = [one if isinstance(one, str) else self._constant(one) for one in others]
        output = output or f"x{self._count}"
        node = self._onnx.helper.make_node(kind, [self.last, *names], [output], **attributes)
        self._nodes.append(node)
        self.last = output

    def _constant(self, array: Any) -> str:
        """Keep an array, and return its name: floats become float32."""
        array = np.asarray(array)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"c{len(self._constants)}"
        self._constants.append(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        )
        return name

    def model(self, shape: tuple[int, ...], network: Network) -> Any:
        """Return the model, once ONNX finds nothing wrong with it."""
        helper, number = self._onnx.helper, self._onnx.TensorProto.FLOAT
        results = [
            helper.make_tensor_value_info(name, number, ["N", network.num_classes])
            for name in ("scores", "probabilities")
        ]
        images = helper.make_tensor_value_info("images", number, ["N", *shape])
        graph = helper.make_graph(
            self._nodes, type(network).__name__, [images], results, self._constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="cs231n",
            producer_version=__version__,
        )
        if network.inputs is not None:
            names = json.dumps(network.inputs.class_names)
            helper.set_model_props(model, {"class_names": names})
        self._onnx.checker.check_model(model, full_check=True)
        return model


def _add_layer(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add a layer, or the two that one stage does at once: the second has no weights."""
    first, *units = PARTS.get(layer.stage, (layer.stage,))
    weights = [model.params[name] for name in layer.weights]
    count = len(first.options)
    _adder(first)(graph, *weights, *layer.options[:count])
    for unit in units:
        _adder(unit)(graph, *layer.options[count:])


def _adder(stage: Stage) -> Callable[..., None]:
    """Return what adds a stage; raise a ValueError where nothing does."""
    if stage not in _ADDERS:
        raise ValueError(f"to_onnx: {stage.name!r} has no counterpart in ONNX here")
    return _ADDERS[stage]


def _normalize(graph: _Graph, inputs: Inputs) -> None:
    """Add what is done to pixels from 0 to 255."""
    done = inputs.normalization
    if done.white != 255:
        graph.add("Mul", np.array(done.white / 255))
    for kind, array in (("Sub", done.mean), ("Div", done.deviation)):
        if array is not None:
            graph.add(kind, array if array.ndim == 3 else array[:, None, None])


def _eps(param: dict[str, Any]) -> float:
    """Return what keeps a normalisation from dividing by zero."""
    return float(param.get("eps", 1e-5))


def _affine(graph: _Graph, w: np.ndarray, b: np.ndarray) -> None:
    """Add an affine layer, which takes an image as a vector."""
    graph.add("Flatten", axis=1)
    graph.add("Gemm", w, b)


def _conv(graph: _Graph, w: np.ndarray, b: np.ndarray, conv_param: dict[str, Any]) -> None:
    """Add a convolution."""
    stride, pad = (int(conv_param[name]) for name in ("stride", "pad"))
    graph.add("Conv", w, b, strides=[stride] * 2, pads=[pad] * 4)


def _pool(graph: _Graph, pool_param: dict[str, Any]) -> None:
    """Add max pooling."""
    size = [int(pool_param["pool_height"]), int(pool_param["pool_width"])]
    graph.add("MaxPool", kernel_shape=size, strides=[int(pool_param["stride"])] * 2)


def _batchnorm(
    graph: _Graph, gamma: np.ndarray, beta: np.ndarray, bn_param: dict[str, Any]
) -> None:
    """Add batch normalisation by the running statistics, of vectors or of channels."""
    running = [bn_param.get(key, np.zeros_like(gamma)) for key in ("running_mean", "running_var")]
    graph.add("BatchNormalization", gamma, beta, *running, epsilon=_eps(bn_param))


def _layernorm(
    graph: _Graph, gamma: np.ndarray, beta: np.ndarray, ln_param: dict[str, Any]
) -> None:
    """Add layer normalisation."""
    graph.add("LayerNormalization", gamma, beta, axis=-1, epsilon=_eps(ln_param))


def _groupnorm(
    graph: _Graph, gamma: np.ndarray, beta: np.ndarray, groups: int, gn_param: dict[str, Any]
) -> None:
    """Add group normalisation of an image."""
    ones = np.ones(groups, np.float32)
    graph.add("Reshape", np.array([0, groups, -1]))
    graph.add("InstanceNormalization", ones, 0 * ones, epsilon=_eps(gn_param))
    graph.add("Reshape", np.array([-1, *graph.shape]))
    graph.add("Mul", gamma)
    graph.add("Add", beta)


def _leaky_relu(graph: _Graph, slope: float) -> None:
    """Add leaky rectified linear units."""
    graph.add("LeakyRelu", alpha=float(slope))


def _silu(graph: _Graph) -> None:
    """Add sigmoid linear units, ``x * sigmoid(x)``."""
    x = graph.last
    graph.add("Sigmoid")
    graph.add("Mul", x)


def _gelu(graph: _Graph, form: str) -> None:
    """Add Gaussian error linear units, ``x * (1 + e) / 2`` with an erf or a tanh for e."""
    x = graph.last
    if form == "exact":
        graph.add("Mul", math.sqrt(0.5))
        graph.add("Erf")
    else:
        graph.add("Mul", x)
        graph.add("Mul", 0.044715)
        graph.add("Add", 1.0)
        graph.add("Mul", x)  # x + 0.044715 * x ** 3
        graph.add("Mul", math.sqrt(2 / math.pi))
        graph.add("Tanh")
    graph.add("Add", 1.0)
    graph.add("Mul", x)
    graph.add("Mul", 0.5)


def _scale(graph: _Graph, factor: float) -> None:
    """Add the multiplication by a fixed factor."""
    graph.add("Mul", float(factor))


def _fork(graph: _Graph) -> None:
    """Keep what comes into a residual block."""
    graph.forks.append((graph.last, graph.shape[0]))


def _shortcut(graph: _Graph, stride: int) -> None:
    """Add the sum at the end of a residual block: its result, and what came in."""
    made = graph.last
    graph.last, channels = graph.forks.pop()
    if stride > 1:
        ends = [np.iinfo(np.int64).max] * 2  # of the axes, whatever their lengths are
        graph.add("Slice", [0, 0], ends, [2, 3], [stride, stride])
    if channels < graph.shape[0]:
        graph.add("Pad", [0, 0, 0, 0, 0, graph.shape[0] - channels, 0, 0])
    graph.add("Add", made)


def _nodes(*kinds: str) -> Callable[[_Graph], None]:
    """Return what adds nodes without weights and options."""

    def add(graph: _Graph) -> None:
        for kind in kinds:
            graph.add(kind)

    return add


def _dropout(graph: _Graph, dropout_param: dict[str, Any]) -> None:
    """Add nothing: in test mode all units are kept."""


# What adds a layer takes the graph, then weights and options as the layer does.
_ADDERS: dict[Stage, Callable[..., None]] = {
    AFFINE: _affine,
    RELU: _nodes("Relu"),
    LEAKY_RELU: _leaky_relu,
    GELU: _gelu,
    SILU: _silu,
    SCALE: _scale,
    BATCHNORM: _batchnorm,
    LAYERNORM: _layernorm,
    DROPOUT: _dropout,
    CONV: _conv,
    POOL: _pool,
    GLOBAL_AVG_POOL: _nodes("GlobalAveragePool", "Flatten"),
    GLOBAL_MAX_POOL: _nodes("GlobalMaxPool", "Flatten"),
    SPATIAL_BATCHNORM: _batchnorm,
    SPATIAL_GROUPNORM: _groupnorm,
    FORK: _fork,
    SHORTCUT: _shortcut,
}
