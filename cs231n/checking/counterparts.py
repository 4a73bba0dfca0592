"""Layers in PyTorch: each as modules to build a net from, and as a function of tensors.

PyTorch is optional: its modules come as an argument, so that nothing is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "AFFINE",
    "BATCHNORM",
    "CONV",
    "DROPOUT",
    "GELU",
    "GLOBAL_AVG_POOL",
    "GLOBAL_MAX_POOL",
    "LAYERNORM",
    "LEAKY_RELU",
    "MAX_POOL",
    "RELU",
    "SCALE",
    "SHORTCUT",
    "SILU",
    "SOFTMAX_LOSS",
    "SPATIAL_BATCHNORM",
    "SPATIAL_GROUPNORM",
    "Counterpart",
    "followed",
]

Options = dict[str, Any]


class Counterpart(NamedTuple):
    """What a layer is in PyTorch.

    ``function(F, x, *weights, *options)`` with ``F = torch.nn.functional`` takes tensors, and the
    weights in the shapes of ours.  ``modules(nn, *weights, *options)`` with ``nn = torch.nn`` takes
    arrays; the first of the modules has the weights, and is a `kind`.  function is None where no
    outputs can be compared.
    """

    function: Callable[..., Any] | None
    modules: Callable[..., list[Any]]
    kind: str = ""


def followed(layer: Counterpart, unit: Counterpart, options: int = 0) -> Counterpart:
    """Return the counterpart of a layer and of units after it, which take the last options."""
    function, modules, through = layer.function, layer.modules, unit.function

    def split(arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        count = len(arguments) - options
        return arguments[:count], arguments[count:]

    def both(F: Any, x: Any, *arguments: Any) -> Any:
        assigned, rest = split(arguments)
        return through(F, function(F, x, *assigned), *rest)  # type: ignore[misc]

    def build(nn: Any, *arguments: Any) -> list[Any]:
        assigned, rest = split(arguments)
        return [*modules(nn, *assigned), *unit.modules(nn, *rest)]

    return Counterpart(both, build, layer.kind)


def _affine(nn: Any, w: np.ndarray, b: np.ndarray) -> list[Any]:
    return [nn.Linear(*w.shape)]


def _conv(nn: Any, w: np.ndarray, b: np.ndarray, conv_param: Options) -> list[Any]:
    F, C, HH, WW = w.shape
    return [nn.Conv2d(C, F, (HH, WW), stride=conv_param["stride"], padding=conv_param["pad"])]


def _relu(nn: Any) -> list[Any]:
    return [nn.ReLU(inplace=True)]  # nobody else reads its input


def _leaky_relu(nn: Any, slope: float) -> list[Any]:
    return [nn.LeakyReLU(slope)]


def _gelu(nn: Any, form: str) -> list[Any]:
    return [nn.GELU(approximate=_approximate(form))]


def _approximate(form: str) -> str:
    """Return what PyTorch calls a form of gelu."""
    return {"exact": "none", "tanh": "tanh"}[form]


def _silu(nn: Any) -> list[Any]:
    return [nn.SiLU()]


def _scale(nn: Any, factor: float) -> list[Any]:
    class Scale(nn.Module):
        """Multiplies by a factor."""

        def forward(self, x: Any) -> Any:
            return factor * x

    return [Scale()]


def _shortcut(F: Any, x: Any, shortcut: Any, stride: int) -> Any:
    taken = shortcut[:, :, ::stride, ::stride]
    return x + F.pad(taken, (0, 0, 0, 0, 0, x.shape[1] - taken.shape[1]))


def _residual(nn: Any, inside: list[Any], stride: int) -> list[Any]:
    """Return a module with others inside, to whose output its input is added."""

    class Residual(nn.Module):
        """Adds its input to what the modules inside make of it."""

        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Sequential(*inside)

        def forward(self, x: Any) -> Any:
            return _shortcut(nn.functional, self.inside(x), x, stride)

    return [Residual()]


def _max_pool(nn: Any, pool_param: Options) -> list[Any]:
    return [nn.MaxPool2d(_window(pool_param), stride=pool_param["stride"])]


def _window(pool_param: Options) -> tuple[int, int]:
    """Return height and width of a window."""
    return pool_param["pool_height"], pool_param["pool_width"]


def _batchnorm_modules(kind: str) -> Callable[..., list[Any]]:
    """Return the builder of a batch normalisation of this kind."""

    def build(nn: Any, gamma: np.ndarray, beta: np.ndarray, bn_param: Options) -> list[Any]:
        momentum = round(1 - bn_param.get("momentum", 0.9), 12)  # 0.1, not 0.09999999999999998
        return [getattr(nn, kind)(gamma.size, eps=_eps(bn_param), momentum=momentum)]

    return build


def _batchnorm(F: Any, x: Any, gamma: Any, beta: Any, bn_param: Options) -> Any:
    if bn_param["mode"] == "train":
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=_eps(bn_param))
    statistics = (x.new_tensor(bn_param[key]) for key in ("running_mean", "running_var"))
    return F.batch_norm(x, *statistics, gamma, beta, eps=_eps(bn_param))


def _layernorm(nn: Any, gamma: np.ndarray, beta: np.ndarray, ln_param: Options) -> list[Any]:
    return [nn.LayerNorm(gamma.size, eps=_eps(ln_param))]


def _groupnorm(
    nn: Any, gamma: np.ndarray, beta: np.ndarray, G: int, gn_param: Options
) -> list[Any]:
    return [nn.GroupNorm(G, gamma.size, eps=_eps(gn_param))]


def _eps(param: Options) -> float:
    """Return the option 'eps', whose default is PyTorch's."""
    return param.get("eps", 1e-5)


AFFINE = Counterpart(lambda F, x, w, b: F.linear(x.flatten(1), w.T, b), _affine, "Linear")
RELU = Counterpart(lambda F, x: F.relu(x), _relu)
LEAKY_RELU = Counterpart(lambda F, x, slope: F.leaky_relu(x, slope), _leaky_relu)
GELU = Counterpart(lambda F, x, form: F.gelu(x, approximate=_approximate(form)), _gelu)
SILU = Counterpart(lambda F, x: F.silu(x), _silu)
SCALE = Counterpart(lambda F, x, factor: factor * x, _scale)
# Its modules are those of the block, which come before the stride.
SHORTCUT = Counterpart(_shortcut, _residual)
SOFTMAX_LOSS = Counterpart(
    lambda F, x, y: F.cross_entropy(x, y), lambda nn, y: [nn.CrossEntropyLoss()]
)
CONV = Counterpart(
    lambda F, x, w, b, param: F.conv2d(x, w, b, stride=param["stride"], padding=param["pad"]),
    _conv,
    "Conv2d",
)
MAX_POOL = Counterpart(
    lambda F, x, param: F.max_pool2d(x, _window(param), param["stride"]), _max_pool
)
GLOBAL_AVG_POOL = Counterpart(
    lambda F, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    lambda nn: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
)
GLOBAL_MAX_POOL = Counterpart(
    lambda F, x: F.adaptive_max_pool2d(x, 1).flatten(1),
    lambda nn: [nn.AdaptiveMaxPool2d(1), nn.Flatten()],
)
# Its draws are PyTorch's own, so that there is no output to compare.
DROPOUT = Counterpart(None, lambda nn, dropout_param: [nn.Dropout(1 - dropout_param["p"])])
BATCHNORM = Counterpart(_batchnorm, _batchnorm_modules("BatchNorm1d"), "BatchNorm1d")
SPATIAL_BATCHNORM = Counterpart(_batchnorm, _batchnorm_modules("BatchNorm2d"), "BatchNorm2d")
LAYERNORM = Counterpart(
    lambda F, x, gamma, beta, param: F.layer_norm(x, gamma.shape, gamma, beta, _eps(param)),
    _layernorm,
    "LayerNorm",
)
SPATIAL_GROUPNORM = Counterpart(
    lambda F, x, gamma, beta, G, param: F.group_norm(
        x, G, gamma.flatten(), beta.flatten(), _eps(param)
    ),
    _groupnorm,
    "GroupNorm",
)
