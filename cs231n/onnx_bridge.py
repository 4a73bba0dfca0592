"""A network as an ONNX model, which other runtimes take: pixels in, scores and probabilities out.

The normalisation of the images is part of the model, so that nobody has to know of it.  Where an
operator of ONNX does something else than the layer here, the layer is put together of several:

- Group normalisation is instance normalisation of the groups, with scale and shift behind it.
- Dropout does nothing outside of training, and is left out.

The package `onnx` is optional: it is imported when a function first needs it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from cs231n import __version__
from cs231n.classifiers.inputs import Inputs
from cs231n.classifiers.layer import Layer
from cs231n.classifiers.network import Network
from cs231n.layer_utils import (
    AFFINE,
    BATCHNORM,
    CONV,
    CONV_RELU,
    DROPOUT,
    GLOBAL_AVG_POOL,
    GLOBAL_MAX_POOL,
    LAYERNORM,
    POOL,
    RELU,
    SPATIAL_BATCHNORM,
    SPATIAL_BATCHNORM_RELU,
    SPATIAL_GROUPNORM,
    Stage,
)

__all__ = ["to_onnx"]

_OPSET = 17  # the first with layer normalisation
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
    for layer in model._layers:
        _ADDERS[_known(layer.stage)](graph, model, layer)
    graph.add("Identity", output="scores")
    graph.add("Softmax", output="probabilities", axis=1)
    return graph.model(shape, model)


class _Graph:
    """Nodes in a row, each of which takes what the one before gives."""

    def __init__(self, onnx: Any, first: str) -> None:
        self._onnx, self._last, self._count = onnx, first, 0
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, kind: str, *constants: Any, output: str = "", **attributes: Any) -> None:
        """Append a node of this kind; constants follow its input."""
        self._count += 1
        names = [self._constant(array) for array in constants]
        output = output or f"x{self._count}"
        node = self._onnx.helper.make_node(kind, [self._last, *names], [output], **attributes)
        self._nodes.append(node)
        self._last = output

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


def _known(stage: Stage) -> Stage:
    """Return a stage that can be added."""
    if stage not in _ADDERS:
        raise ValueError(f"to_onnx: {stage.name!r} has no counterpart in ONNX here")
    return stage


def _normalize(graph: _Graph, inputs: Inputs) -> None:
    """Add what is done to pixels from 0 to 255."""
    done = inputs.normalization
    if done.white != 255:
        graph.add("Mul", np.array(done.white / 255))
    for kind, array in (("Sub", done.mean), ("Div", done.deviation)):
        if array is not None:
            graph.add(kind, array if array.ndim == 3 else array[:, None, None])


def _weights(model: Network, layer: Layer) -> list[np.ndarray]:
    """Return the weights of a layer in their order."""
    return [model.params[name] for name in layer.weights]


def _eps(layer: Layer) -> float:
    """Return what keeps a normalisation from dividing by zero."""
    return float(layer.options[-1].get("eps", 1e-5))


def _affine(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add an affine layer, which takes an image as a vector."""
    graph.add("Flatten", axis=1)
    graph.add("Gemm", *_weights(model, layer))


def _conv(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add a convolution."""
    stride, pad = (int(layer.options[0][name]) for name in ("stride", "pad"))
    graph.add("Conv", *_weights(model, layer), strides=[stride] * 2, pads=[pad] * 4)


def _pool(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add max pooling."""
    param = layer.options[0]
    size = [int(param["pool_height"]), int(param["pool_width"])]
    graph.add("MaxPool", kernel_shape=size, strides=[int(param["stride"])] * 2)


def _batchnorm(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add batch normalisation by the running statistics, of vectors or of channels."""
    gamma, beta = _weights(model, layer)
    param = layer.options[0]
    running = [param.get(key, np.zeros_like(gamma)) for key in ("running_mean", "running_var")]
    graph.add("BatchNormalization", gamma, beta, *running, epsilon=_eps(layer))


def _layernorm(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add layer normalisation."""
    graph.add("LayerNormalization", *_weights(model, layer), axis=-1, epsilon=_eps(layer))


def _groupnorm(graph: _Graph, model: Network, layer: Layer) -> None:
    """Add group normalisation of an image whose size is told by the layers before."""
    gamma, beta = _weights(model, layer)
    groups = int(layer.options[0])
    height, width = _size_before(model, layer)
    ones = np.ones(groups, np.float32)
    graph.add("Reshape", np.array([0, groups, -1]))
    graph.add("InstanceNormalization", ones, 0 * ones, epsilon=_eps(layer))
    graph.add("Reshape", np.array([-1, gamma.size, height, width]))
    graph.add("Mul", gamma)
    graph.add("Add", beta)


def _size_before(model: Network, layer: Layer) -> tuple[int, int]:
    """Return height and width of the images that a layer takes, found by running a sample."""
    x = np.zeros((1, *model.input_shape), model.dtype)
    for other in model._layers:
        if other is layer:
            break
        options = [{**o, "mode": "test"} if isinstance(o, dict) else o for o in other.options]
        x, _ = other.stage.forward(x, *_weights(model, other), *options)
    return x.shape[2], x.shape[3]


def _nodes(*kinds: str) -> Callable[[_Graph, Network, Layer], None]:
    """Return what adds nodes without weights and options."""

    def add(graph: _Graph, model: Network, layer: Layer) -> None:
        for kind in kinds:
            graph.add(kind)

    return add


def _then_relu(
    first: Callable[[_Graph, Network, Layer], None],
) -> Callable[[_Graph, Network, Layer], None]:
    """Return what adds a layer and the relu that is fused with it."""

    def add(graph: _Graph, model: Network, layer: Layer) -> None:
        first(graph, model, layer)
        graph.add("Relu")

    return add


_ADDERS: dict[Stage, Callable[[_Graph, Network, Layer], None]] = {
    AFFINE: _affine,
    RELU: _nodes("Relu"),
    BATCHNORM: _batchnorm,
    LAYERNORM: _layernorm,
    DROPOUT: _nodes(),
    CONV: _conv,
    CONV_RELU: _then_relu(_conv),
    POOL: _pool,
    GLOBAL_AVG_POOL: _nodes("GlobalAveragePool", "Flatten"),
    GLOBAL_MAX_POOL: _nodes("GlobalMaxPool", "Flatten"),
    SPATIAL_BATCHNORM: _batchnorm,
    SPATIAL_BATCHNORM_RELU: _then_relu(_batchnorm),
    SPATIAL_GROUPNORM: _groupnorm,
}
