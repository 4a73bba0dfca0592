"""Sandwiches: layers that are so often used together that one call for both is convenient.

`sandwich` composes any number of stages; `affine_relu` is written out by hand as the thing to
read.  A sandwich takes x, then the weights of all its stages in order, then their options in order;
its backward pass returns dx and the gradients of the weights in the same order.

The fast layers are used, unless ``backend("reference")`` selects the reference.  A
convolution or a batch normalisation of images applies the relu that follows it while it stores its
results, a batch normalisation the other activations, too.  Everything in `cs231n.layers`,
`cs231n.modern_layers` and `cs231n.fast_layers` can be imported from here as well.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers, layers, modern_layers
from cs231n.core import checks

# Notebooks expect all layers here too.
from cs231n.fast_layers import *  # noqa: F403
from cs231n.kernels.backend import REFERENCE, backend
from cs231n.layers import *  # noqa: F403
from cs231n.modern_layers import *  # noqa: F403

_OWN = [
    "AFFINE",
    "BATCHNORM",
    "CONV",
    "CONV_RELU",
    "DROPOUT",
    "GELU",
    "GLOBAL_AVG_POOL",
    "GLOBAL_MAX_POOL",
    "LAYERNORM",
    "LEAKY_RELU",
    "POOL",
    "RELU",
    "SCALE",
    "SHORTCUT",
    "SILU",
    "SPATIAL_BATCHNORM",
    "SPATIAL_BATCHNORM_GELU",
    "SPATIAL_BATCHNORM_LEAKY_RELU",
    "SPATIAL_BATCHNORM_RELU",
    "SPATIAL_BATCHNORM_SILU",
    "SPATIAL_GROUPNORM",
    "Stage",
    "affine_bn_relu_backward",
    "affine_bn_relu_dropout_backward",
    "affine_bn_relu_dropout_forward",
    "affine_bn_relu_forward",
    "affine_ln_relu_backward",
    "affine_ln_relu_dropout_backward",
    "affine_ln_relu_dropout_forward",
    "affine_ln_relu_forward",
    "affine_relu_backward",
    "affine_relu_dropout_backward",
    "affine_relu_dropout_forward",
    "affine_relu_forward",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_bn_relu_pool_backward",
    "conv_bn_relu_pool_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "sandwich",
]
# Set in a way that type checkers don't see: they cannot add up the lists of several modules, and
# where they see no list they take all public names.
globals()["__all__"] = [
    *_OWN,
    *layers.__all__,
    *modern_layers.__all__,
    *fast_layers.__all__,
]


_Pass = Callable[..., Any]


class Stage(NamedTuple):
    """A layer as a building block.

    ``forward(x, *weights, *options)`` and ``backward(dout, cache)`` follow the layer contract;
    `weights` and `options` name the arguments.
    """

    name: str
    forward: Callable[..., tuple[np.ndarray, Any]]
    backward: Callable[..., Any]
    weights: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def run(self, x: np.ndarray, values: Sequence[Any]) -> tuple[np.ndarray, Any]:
        """Return out and the cache, by the layer or by the reference, whichever is selected."""
        first, *others = self._passes(0)
        if not others:
            return first(x, *values)
        caches = []
        for function in (first, *others):  # each takes its own of the values, which come in order
            count = _arguments(function)
            x, cache = function(x, *values[:count])
            caches.append(cache)
            values = values[count:]
        return x, tuple(caches)

    def gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool = True, skipped: Sequence[str] = ()
    ) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return dx and the gradients of the weights; what is not needed may be None.

        `skipped` names the weights whose gradients are not.
        """
        backward, *others = self._passes(1)
        if others:
            cache, *caches = cache
            for function, other in zip(others[::-1], caches[::-1]):
                dout = function(dout, other)
        spared = [*([] if need_dx else ["need_dx"]), *(f"need_d{name}" for name in skipped)]
        flags = dict.fromkeys((flag for flag in spared if flag in _flags(backward)), False)
        result = backward(dout, cache, **flags)
        return (result[0], tuple(result[1:])) if self.weights else (result, ())

    def _passes(self, way: int) -> list[_Pass]:
        """Return the way there (0) or back (1), or the reference's where these are selected."""
        if backend() == REFERENCE and self.forward in _REFERENCES:
            return [_as_it_is_now(passes[way]) for passes in _REFERENCES[self.forward]]
        return [self.forward if way == 0 else self.backward]


def _as_it_is_now(function: _Pass) -> _Pass:
    """Return what stands in the function's place: a reader may have put another there."""
    home = sys.modules.get(getattr(function, "__module__", ""))
    current: _Pass = getattr(home, getattr(function, "__name__", ""), function)
    return current


@functools.cache
def _arguments(forward: Callable[..., Any]) -> int:
    """Return how many weights and options a forward pass takes."""
    return len(inspect.signature(forward).parameters) - 1


@functools.cache
def _flags(backward: Callable[..., Any]) -> list[str]:
    """Return the flags of a backward pass, by which gradients that are costly can be left out."""
    return list(inspect.signature(backward).parameters)[2:]


def softmax_loss_selected(
    x: np.ndarray, y: np.ndarray, label_smoothing: float
) -> tuple[float, np.ndarray]:
    """Compute the softmax loss, by the reference where that is selected."""
    selected = layers.softmax_loss if backend() == REFERENCE else fast_layers.softmax_loss_fast
    return selected(x, y, label_smoothing) if label_smoothing else selected(x, y)


class SandwichCache(tuple[Any, ...]):
    """The caches of a sandwich's layers in order, as a tuple; `stages` tells whose they are."""

    stages: tuple[Stage, ...]

    def __new__(cls, stages: Sequence[Stage], caches: Iterable[Any]) -> SandwichCache:
        """Make a tuple of the caches."""
        self = super().__new__(cls, caches)
        self.stages = tuple(stages)
        return self

    def __getnewargs__(self) -> tuple[tuple[Stage, ...], tuple[Any, ...]]:
        """Return what copies and pickles are made from."""
        return self.stages, tuple(self)


class AffineReluCache(NamedTuple):
    """affine and relu, the caches of the two layers."""

    affine: layers.AffineCache
    relu: np.ndarray


def affine_relu_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, AffineReluCache]:
    """Compute the forward pass of an affine layer followed by rectified linear units.

    Parameters
    ----------
    x : ndarray of shape (N, d1, ..., dk)
        Input.
    w : ndarray of shape (D, M)
        Weights.
    b : ndarray of shape (M,)
        Biases.

    Returns
    -------
    out : ndarray of shape (N, M)
    cache : AffineReluCache
        What the backward pass needs.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together.
    """
    a, affine_cache = layers.affine_forward(x, w, b)
    out, relu_cache = layers.relu_forward(a)
    return out, AffineReluCache(affine_cache, relu_cache)


def affine_relu_backward(
    dout: np.ndarray, cache: AffineReluCache, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Back-propagate through an affine layer followed by rectified linear units.

    Parameters
    ----------
    dout : ndarray of shape (N, M)
        Upstream gradient.
    cache : AffineReluCache
        From `affine_relu_forward`, or a tuple ``(affine_cache, relu_cache)``.
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
    """
    need_dx = checks.flag("affine_relu_backward", "need_dx", need_dx)
    parts = _parts("affine_relu_backward", cache, AffineReluCache, ("affine", "relu"))
    affine_cache, relu_cache = parts
    da = layers.relu_backward(dout, relu_cache)
    return layers.affine_backward(da, affine_cache, need_dx)


def _parts(where: str, cache: Any, expected: type, names: Sequence[str]) -> Sequence[Any]:
    """Return the caches of a sandwich's layers, which may also come as a plain tuple."""
    if type(cache) is not tuple:
        return checks.cache(where, cache, expected)
    if len(cache) != len(names):
        form = ", ".join(f"{name}_cache" for name in names)
        raise TypeError(f"{where}: cache is a tuple of {len(cache)}; expected ({form})")
    return cache


def forward_through(
    stages: Sequence[Stage], x: np.ndarray, arguments: Sequence[Sequence[Any]]
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Run the stages one after another on their weights and options; return out and caches."""
    caches = []
    for stage, values in zip(stages, arguments):
        x, cache = stage.run(x, values)
        caches.append(cache)
    return x, tuple(caches)


def backward_through(
    stages: Sequence[Stage], dout: np.ndarray, caches: Sequence[Any], need_dx: bool = True
) -> tuple[np.ndarray | None, list[tuple[np.ndarray, ...]]]:
    """Run the stages backward; return dx and, stage by stage, the gradients of the weights."""
    gradients = []
    for index in reversed(range(len(stages))):
        dout, dweights = stages[index].gradients(dout, caches[index], need_dx or index > 0)
        gradients.append(dweights)
    return dout, gradients[::-1]


def sandwich(
    *stages: Stage,
) -> tuple[Callable[..., tuple[np.ndarray, SandwichCache]], Callable[..., Any]]:
    """Compose stages into one layer.

    Parameters
    ----------
    *stages : Stage
        The layers in forward order.

    Returns
    -------
    forward, backward : callable
        ``forward(x, *weights, *options) -> (out, cache)`` with the weights of all stages in order
        and then their options in order; ``backward(dout, cache, need_dx=True)`` gives dx and the
        gradients of the weights.  Both carry a name, a signature and a docstring.

    Raises
    ------
    ValueError, TypeError
        If there is no stage, one is none, or two stages have an option of the same name.

    Examples
    --------
    >>> conv_bn_relu_forward, conv_bn_relu_backward = sandwich(CONV, SPATIAL_BATCHNORM, RELU)
    """
    for stage in stages:
        if not isinstance(stage, Stage):
            raise TypeError(f"sandwich: found {stage!r:.60}; expected stages, such as AFFINE, RELU")
    weights = [name for stage in stages for name in stage.weights]
    options = [name for stage in stages for name in stage.options]
    names = ["x", *weights, *options]
    if not stages or len(set(names)) < len(names):
        raise ValueError(
            f"sandwich: arguments {names} of {[stage.name for stage in stages]};"
            f" expected at least one stage and no name twice"
        )
    title = "_".join(stage.name for stage in stages)
    signature = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )

    def forward(*args: Any, **kwargs: Any) -> tuple[np.ndarray, SandwichCache]:
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{title}_forward: {error}; expected {', '.join(names)}") from None
        arguments = [[bound[name] for name in stage.weights + stage.options] for stage in stages]
        out, caches = forward_through(stages, bound["x"], arguments)
        return out, SandwichCache(stages, _split(stages, caches))

    def backward(dout: np.ndarray, cache: SandwichCache, need_dx: bool = True) -> Any:
        need_dx = checks.flag(f"{title}_backward", "need_dx", need_dx)
        caches = _joined(f"{title}_backward", stages, cache)
        dx, gradients = backward_through(stages, dout, caches, need_dx)
        dweights = [gradient for stage in gradients for gradient in stage]
        return (dx, *dweights) if dweights else dx

    _describe(forward, f"{title}_forward", _forward_text(stages, names), signature)
    _describe(backward, f"{title}_backward", _backward_text(stages, weights))
    return forward, backward


def _layers_of(stage: Stage) -> tuple[str, ...]:
    """Return the names of the layers that a stage is to the reader: two where they are fused."""
    fused = PARTS[stage] if stage in _CACHES else (stage,)
    return tuple(part.name for part in fused)


def _split(stages: Sequence[Stage], caches: Iterable[Any]) -> Iterator[Any]:
    """Yield a cache for each layer; a fused stage has one that holds those of its layers."""
    for stage, cache in zip(stages, caches):
        yield from cache if stage in _CACHES else (cache,)


def _joined(where: str, stages: tuple[Stage, ...], cache: Any) -> list[Any]:
    """Return a cache for each stage, from those of the layers; a TypeError where it is wrong."""
    names = [name for stage in stages for name in _layers_of(stage)]
    parts = iter(_parts(where, cache, SandwichCache, names))
    if isinstance(cache, SandwichCache) and cache.stages != stages:
        raise TypeError(f"{where}: cache is of {_named(cache.stages)}; expected {_named(stages)}")
    return [
        _CACHES[stage](*islice(parts, len(PARTS[stage]))) if stage in _CACHES else next(parts)
        for stage in stages
    ]


def _named(stages: Sequence[Stage]) -> str:
    """Name a sandwich by its layers; the functions tell apart what has the same name."""
    return f"sandwich({', '.join(stage.forward.__name__ for stage in stages)})"


def _describe(
    function: Any, name: str, text: str, signature: inspect.Signature | None = None
) -> None:
    """Give a composed function the name, docstring and signature that `help` shows."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    if signature is not None:
        function.__signature__ = signature


def _forward_text(stages: Sequence[Stage], names: Sequence[str]) -> str:
    """Write the docstring of a sandwich's forward pass."""
    return (
        f"Compute the forward pass of {', '.join(stage.name for stage in stages)} in a row.\n\n"
        f"Parameters\n----------\n{', '.join(names)}\n"
        f"    As for {', '.join(f'`{stage.forward.__name__}`' for stage in stages)}.\n\n"
        f"Returns\n-------\nout : ndarray\n"
        f"cache : SandwichCache\n    What the backward pass needs.\n"
    )


def _backward_text(stages: Sequence[Stage], weights: Sequence[str]) -> str:
    """Write the docstring of a sandwich's backward pass."""
    results = ["dx", *(f"d{name}" for name in weights)]
    return (
        f"Back-propagate through {', '.join(stage.name for stage in stages)} in a row.\n\n"
        f"Parameters\n----------\ndout : ndarray\n    Upstream gradient.\n"
        f"cache : SandwichCache\n    From the forward pass of the same sandwich, or a tuple of a"
        f" cache for each layer.\n"
        f"need_dx : bool\n    Whether to compute dx; a network's first layer can do without.\n\n"
        f"Returns\n-------\n{', '.join(results)} : ndarray\n"
    )


AFFINE = Stage(
    "affine", fast_layers.affine_forward_fast, fast_layers.affine_backward_fast, ("w", "b")
)
RELU = Stage("relu", fast_layers.relu_forward_fast, fast_layers.relu_backward_fast)
LEAKY_RELU = Stage(
    "leaky_relu",
    fast_layers.leaky_relu_forward_fast,
    fast_layers.leaky_relu_backward_fast,
    options=("slope",),
)
GELU = Stage(
    "gelu", fast_layers.gelu_forward_fast, fast_layers.gelu_backward_fast, options=("form",)
)
SILU = Stage("silu", fast_layers.silu_forward_fast, fast_layers.silu_backward_fast)
BATCHNORM = Stage(
    "bn",
    fast_layers.batchnorm_forward_fast,
    fast_layers.batchnorm_backward_fast,
    ("gamma", "beta"),
    ("bn_param",),
)
LAYERNORM = Stage(
    "ln",
    fast_layers.layernorm_forward_fast,
    fast_layers.layernorm_backward_fast,
    ("gamma", "beta"),
    ("ln_param",),
)
DROPOUT = Stage(
    "dropout", layers.dropout_forward, layers.dropout_backward, options=("dropout_param",)
)
CONV = Stage(
    "conv",
    fast_layers.conv_forward_fast,
    fast_layers.conv_backward_fast,
    ("w", "b"),
    ("conv_param",),
)
CONV_RELU = Stage(
    "conv_relu",
    fast_layers.conv_relu_forward_fast,
    fast_layers.conv_relu_backward_fast,
    ("w", "b"),
    ("conv_param",),
)
POOL = Stage(
    "pool",
    fast_layers.max_pool_forward_fast,
    fast_layers.max_pool_backward_fast,
    options=("pool_param",),
)
GLOBAL_AVG_POOL = Stage("gavg", layers.global_avg_pool_forward, layers.global_avg_pool_backward)
GLOBAL_MAX_POOL = Stage("gmax", layers.global_max_pool_forward, layers.global_max_pool_backward)
SHORTCUT = Stage(
    "shortcut",
    modern_layers.shortcut_forward,
    modern_layers.shortcut_backward,
    weights=("shortcut",),
    options=("stride",),
)
SCALE = Stage(
    "scale", modern_layers.scale_forward, modern_layers.scale_backward, options=("factor",)
)
SPATIAL_BATCHNORM = Stage(
    "bn",
    fast_layers.spatial_batchnorm_forward_fast,
    fast_layers.spatial_batchnorm_backward_fast,
    ("gamma", "beta"),
    ("bn_param",),
)
SPATIAL_BATCHNORM_RELU = Stage(
    "bn_relu",
    fast_layers.spatial_batchnorm_relu_forward_fast,
    fast_layers.spatial_batchnorm_relu_backward_fast,
    ("gamma", "beta"),
    ("bn_param",),
)
SPATIAL_BATCHNORM_LEAKY_RELU = Stage(
    "bn_leaky_relu",
    fast_layers.spatial_batchnorm_leaky_relu_forward_fast,
    fast_layers.spatial_batchnorm_leaky_relu_backward_fast,
    ("gamma", "beta"),
    ("bn_param", "slope"),
)
SPATIAL_BATCHNORM_GELU = Stage(
    "bn_gelu",
    fast_layers.spatial_batchnorm_gelu_forward_fast,
    fast_layers.spatial_batchnorm_gelu_backward_fast,
    ("gamma", "beta"),
    ("bn_param", "form"),
)
SPATIAL_BATCHNORM_SILU = Stage(
    "bn_silu",
    fast_layers.spatial_batchnorm_silu_forward_fast,
    fast_layers.spatial_batchnorm_silu_backward_fast,
    ("gamma", "beta"),
    ("bn_param",),
)
SPATIAL_GROUPNORM = Stage(
    "gn",
    fast_layers.spatial_groupnorm_forward_fast,
    fast_layers.spatial_groupnorm_backward_fast,
    ("gamma", "beta"),
    ("G", "gn_param"),
)

# The activation that a batch normalisation of images applies while it stores its results.
BEHIND_BATCHNORM: dict[Stage, Stage] = {
    SPATIAL_BATCHNORM_RELU: RELU,
    SPATIAL_BATCHNORM_LEAKY_RELU: LEAKY_RELU,
    SPATIAL_BATCHNORM_GELU: GELU,
    SPATIAL_BATCHNORM_SILU: SILU,
}

# The layers that a stage does at once.
PARTS: dict[Stage, tuple[Stage, ...]] = {
    CONV_RELU: (CONV, RELU),
    **{stage: (SPATIAL_BATCHNORM, unit) for stage, unit in BEHIND_BATCHNORM.items()},
}

# What is one stage, but two layers to the reader: the class of its cache, which holds one for each.
_CACHES: dict[Stage, Callable[..., Any]] = {CONV_RELU: fast_layers.FastConvReluCache}

# The two passes of each layer that a stage does, in the reference.
_REFERENCES: dict[_Pass, tuple[tuple[_Pass, _Pass], ...]] = {
    AFFINE.forward: ((layers.affine_forward, layers.affine_backward),),
    RELU.forward: ((layers.relu_forward, layers.relu_backward),),
    LEAKY_RELU.forward: ((modern_layers.leaky_relu_forward, modern_layers.leaky_relu_backward),),
    GELU.forward: ((modern_layers.gelu_forward, modern_layers.gelu_backward),),
    SILU.forward: ((modern_layers.silu_forward, modern_layers.silu_backward),),
    BATCHNORM.forward: ((layers.batchnorm_forward, layers.batchnorm_backward),),
    LAYERNORM.forward: ((layers.layernorm_forward, layers.layernorm_backward),),
    CONV.forward: ((layers.conv_forward_naive, layers.conv_backward_naive),),
    POOL.forward: ((layers.max_pool_forward_naive, layers.max_pool_backward_naive),),
    SPATIAL_BATCHNORM.forward: (
        (layers.spatial_batchnorm_forward, layers.spatial_batchnorm_backward),
    ),
    SPATIAL_GROUPNORM.forward: (
        (layers.spatial_groupnorm_forward, layers.spatial_groupnorm_backward),
    ),
    # They have no fast twin.
    **{
        stage.forward: ((stage.forward, stage.backward),)
        for stage in (DROPOUT, GLOBAL_AVG_POOL, GLOBAL_MAX_POOL, SHORTCUT, SCALE)
    },
}
_REFERENCES |= {
    stage.forward: tuple(passes for part in parts for passes in _REFERENCES[part.forward])
    for stage, parts in PARTS.items()
}


def references(stage: Stage) -> tuple[tuple[_Pass, _Pass], ...]:
    """Return the two passes of each layer that a stage does, in the reference."""
    return _REFERENCES[stage.forward]


affine_bn_relu_forward, affine_bn_relu_backward = sandwich(AFFINE, BATCHNORM, RELU)
affine_ln_relu_forward, affine_ln_relu_backward = sandwich(AFFINE, LAYERNORM, RELU)
affine_relu_dropout_forward, affine_relu_dropout_backward = sandwich(AFFINE, RELU, DROPOUT)
affine_bn_relu_dropout_forward, affine_bn_relu_dropout_backward = sandwich(
    AFFINE, BATCHNORM, RELU, DROPOUT
)
affine_ln_relu_dropout_forward, affine_ln_relu_dropout_backward = sandwich(
    AFFINE, LAYERNORM, RELU, DROPOUT
)
conv_relu_forward, conv_relu_backward = sandwich(CONV_RELU)
conv_bn_relu_forward, conv_bn_relu_backward = sandwich(CONV, SPATIAL_BATCHNORM_RELU)
conv_relu_pool_forward, conv_relu_pool_backward = sandwich(CONV_RELU, POOL)
conv_bn_relu_pool_forward, conv_bn_relu_pool_backward = sandwich(CONV, SPATIAL_BATCHNORM_RELU, POOL)
