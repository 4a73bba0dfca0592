"""The layers of a network, walked forward and back; a residual block forks them and adds again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n.classifiers.layer import FORK, Layer
from cs231n.kernels import fast_optim
from cs231n.layer_utils import SHORTCUT

__all__ = ["Step", "backward", "forward_steps"]

Params = Mapping[str, np.ndarray]


class Step(NamedTuple):
    """A layer, its output and its cache; a fork, which only keeps what comes in, has none."""

    layer: Layer
    out: np.ndarray
    cache: Any


def forward_steps(
    layers: Sequence[Layer],
    params: Params,
    x: np.ndarray,
    prepared: Callable[[Any], Any] = lambda option: option,
) -> Iterator[Step]:
    """Run the layers one after another.

    Parameters
    ----------
    layers : sequence of Layer
    params : mapping of str to ndarray
    x : ndarray
        Input of the first.
    prepared : callable
        What is made of each option before a layer gets it.

    Yields
    ------
    step : Step
    """
    forks = []
    for layer in layers:
        cache = None
        if layer.stage == FORK:
            forks.append(x)
        else:
            weights = [params[name] for name in layer.weights]
            if layer.stage == SHORTCUT:
                weights = [forks.pop()]
            x, cache = layer.stage.run(x, [*weights, *map(prepared, layer.options)])
        yield Step(layer, x, cache)


def backward(
    layers: Sequence[Layer],
    dout: np.ndarray,
    caches: list[Any],
    frozen: Collection[str] = (),
    need_dx: bool = False,
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Walk back through the layers, as far as something learns.

    Parameters
    ----------
    layers : sequence of Layer
    dout : ndarray
        Gradient of the last one's output.
    caches : list
        Of the layers, from `forward_steps`.  It is emptied: each is taken out when it is used, so
        that the memory of what nobody else holds serves the layers before.
    frozen : collection of str
        Names of parameters that need no gradient.
    need_dx : bool
        Whether the gradient of the input is needed.

    Returns
    -------
    dx : ndarray or None
    grads : dict of str to ndarray
        By the names of the parameters, in forward order.
    """
    learning = [i for i, layer in enumerate(layers) if set(layer.weights) - set(frozen)]
    first = 0 if need_dx else min(learning, default=len(layers))
    del caches[:first]
    dx: Any = dout
    joined: list[np.ndarray] = []
    gradients = []
    for index in reversed(range(first, len(layers))):
        layer = layers[index]
        if layer.stage == FORK:
            caches.pop()
            dx = fast_optim.add_scaled(dx, 1.0, joined.pop())
            continue
        skipped = _skipped(layer, frozen)
        dx, dweights = layer.stage.gradients(dx, caches.pop(), need_dx or index > first, skipped)
        if layer.stage == SHORTCUT:
            joined.append(dweights[0])
        gradients.append(dict(zip(layer.weights, dweights)))
    grads = {name: dw for part in gradients[::-1] for name, dw in part.items()}
    return (dx if need_dx else None), {n: dw for n, dw in grads.items() if n not in frozen}


def _skipped(layer: Layer, frozen: Collection[str]) -> list[str]:
    """Return the arguments of a layer whose gradients need not be computed."""
    return [role for name, role in zip(layer.weights, layer.stage.weights) if name in frozen]
