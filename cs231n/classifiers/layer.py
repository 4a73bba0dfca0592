"""What a network is a list of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cs231n.layer_utils import Stage

__all__ = ["FORK", "Layer"]


class Layer(NamedTuple):
    """A stage of a network, the names of its weights in `params`, and its options."""

    stage: Stage
    weights: tuple[str, ...]
    options: tuple[Any, ...]


def _fork_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
    """Pass x on; the chain of layers keeps it for the shortcut at the block's end."""
    return x, None


def _fork_backward(dout: np.ndarray, cache: None) -> np.ndarray:
    """Pass dout on; the chain of layers adds what comes back through the shortcut."""
    return dout


FORK = Stage("fork", _fork_forward, _fork_backward)
